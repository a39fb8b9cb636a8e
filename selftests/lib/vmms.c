// SPDX-License-Identifier: GPL-2.0
/*
 * The VMMs: the calls of each in its order. What stands here was read in their sources: kvmtool of
 * 2024-08, Firecracker 1.17, cloud-hypervisor 54, crosvm of 2025, StratoVirt of 2024; QEMU 10.0's
 * q35 with its irqchip in the kernel.
 */
#include "vmm.h"

#define STEPS(name) static const struct vmm_step name[] =

/* ---- kvmtool: real mode, the PIC, no snapshots ---- */

static const int kvmtool_needs[] = {
	KVM_CAP_COALESCED_MMIO, KVM_CAP_SET_TSS_ADDR, KVM_CAP_PIT2, KVM_CAP_USER_MEMORY,
	KVM_CAP_IRQ_ROUTING, KVM_CAP_IRQCHIP, KVM_CAP_HLT, KVM_CAP_IRQ_INJECT_STATUS,
	KVM_CAP_EXT_CPUID, -1
};

STEPS(kvmtool_make) {
	CALL(open_device, 0), CALL(api_version, 0), CALL(create_vm, 0), CALL(needs, kvmtool_needs),
	CALL(tss, 0xfffbd000), CALL(irqchip, 0), CALL(pit2, 0), CALL(memory, 0), CALL(ask_vcpus, 0),
	END_OF_STEPS
};
STEPS(kvmtool_cpu_make) {
	CALL(create_vcpu, 0), CALL(ask_mmap_size, 0), CALL(map_vcpu, 0), CALL(lint, 0), END_OF_STEPS
};
STEPS(kvmtool_devices) {
	CALL(pc_routes, 0), CALL(assign_notify, 1), CALL(assign_irqfd, 0), CALL(coalesce, 0),
	CALL(signal_msi, 0),
	END_OF_STEPS
};
STEPS(kvmtool_cpu_boot) {
	CALL(ask_cpuid, 100), CALL(put_cpuid, 0), CALL(boot_sregs, 0), CALL(boot_regs, 0),
	CALL(boot_fpu, 0), CALL(boot_msrs, 0), END_OF_STEPS
};
STEPS(kvmtool_pause) {
	CALL(kvmclock_ctrl_of_vm, 0), END_OF_STEPS
};

/* ---- Firecracker: the 64-bit protocol, the full chip, every error is the end ---- */

static const int firecracker_needs[] = {
	KVM_CAP_IRQCHIP, KVM_CAP_IOEVENTFD, KVM_CAP_IRQFD, KVM_CAP_USER_MEMORY,
	KVM_CAP_SET_TSS_ADDR, KVM_CAP_PIT2, KVM_CAP_PIT_STATE2, KVM_CAP_ADJUST_CLOCK,
	KVM_CAP_DEBUGREGS, KVM_CAP_MP_STATE, KVM_CAP_VCPU_EVENTS, KVM_CAP_XCRS, KVM_CAP_XSAVE,
	KVM_CAP_EXT_CPUID, -1
};

STEPS(firecracker_make) {
	CALL(open_device, 0), CALL(api_version, 0), CALL(needs, firecracker_needs),
	CALL(ask_cpuid, 256), CALL(create_vm, 0), CALL(ask_mmap_size, 0), CALL(ask_slots, 0),
	CALL(ask_msr_list, 256), CALL(ask_xsave_size, 0), CALL(tss, 0xfffbd000), CALL(irqchip, 0),
	CALL(pit2, KVM_PIT_SPEAKER_DUMMY), END_OF_STEPS
};
STEPS(firecracker_cpu_make) {
	CALL(create_vcpu, 0), CALL(map_vcpu, 0), END_OF_STEPS
};
STEPS(firecracker_devices) {
	CALL(memory, KVM_MEM_LOG_DIRTY_PAGES), CALL(assign_notify, 0), CALL(assign_irqfd, 0),
	END_OF_STEPS
};
STEPS(firecracker_cpu_boot) {
	CALL(put_cpuid, 0), CALL(boot_msrs, 1), CALL(boot_regs, 0), CALL(boot_fpu, 0),
	CALL(boot_sregs, 0), CALL(lint, 0),
	END_OF_STEPS
};
STEPS(cpu_pause) {
	CALL(kvmclock_ctrl, 0), END_OF_STEPS
};
STEPS(firecracker_cpu_save) {
	GET(MP_STATE), GET(REGS), GET(SREGS), GET(XSAVE2), GET(XCRS), GET(DEBUGREGS), GET(LAPIC),
	CALL(ask_tsc_khz, 0), GET(CPUID2), CALL(save_msrs, 1), GET(EVENTS), END_OF_STEPS
};
STEPS(firecracker_save) {
	GET(PIT2), GET(CLOCK), GET(CHIP0), GET(CHIP1), GET(CHIP2), CALL(dirty_log, 0), END_OF_STEPS
};
STEPS(firecracker_cpu_restore) {
	SET(CPUID2), SET(MP_STATE), SET(REGS), SET(SREGS), SET(XSAVE2), SET(XCRS), SET(DEBUGREGS),
	SET(LAPIC), CALL(restore_msrs, 0), SET(EVENTS), CALL(kvmclock_ctrl, 0), END_OF_STEPS
};
STEPS(firecracker_restore) {
	SET(PIT2), SET(CLOCK), SET(CHIP0), SET(CHIP1), SET(CHIP2), END_OF_STEPS
};

/* ---- cloud-hypervisor: PVH, a split chip, x2APIC ---- */

static const int clh_needs[] = {
	KVM_CAP_ADJUST_CLOCK, KVM_CAP_EXT_CPUID, KVM_CAP_GET_TSC_KHZ, KVM_CAP_IMMEDIATE_EXIT,
	KVM_CAP_IOEVENTFD, KVM_CAP_IRQCHIP, KVM_CAP_IRQFD, KVM_CAP_IRQ_ROUTING, KVM_CAP_MP_STATE,
	KVM_CAP_SET_IDENTITY_MAP_ADDR, KVM_CAP_SET_TSS_ADDR, KVM_CAP_SPLIT_IRQCHIP,
	KVM_CAP_TSC_DEADLINE_TIMER, KVM_CAP_USER_MEMORY, KVM_CAP_USER_NMI, KVM_CAP_VCPU_EVENTS,
	KVM_CAP_XSAVE, -1
};
static const int clh_needs_of_vm[] = { KVM_CAP_XSAVE2, KVM_CAP_XCRS, -1 };

STEPS(clh_make) {
	CALL(open_device, 0), CALL(api_version, 0), CALL(needs, clh_needs), CALL(create_vm, 0),
	CALL(ask_mmap_size, 0), CALL(ask_msr_list, 256), CALL(identity_map, 0xfffbc000),
	CALL(tss, 0xfffbd000), CALL(split, 24), CALL(ask_vcpus, 0), CALL(memory, 0),
	CALL(ask_cpuid, 256), END_OF_STEPS
};
STEPS(clh_cpu_make) {
	CALL(create_vcpu, 0), CALL(needs_of_vm, clh_needs_of_vm), CALL(ask_xsave_size, 0),
	CALL(map_vcpu, 0), CALL(ask_tsc_khz, 0), END_OF_STEPS
};
STEPS(clh_cpu_boot) {
	CALL(put_cpuid, 1), CALL(boot_msrs, 1), CALL(boot_regs, 0), CALL(boot_sregs, 0),
	CALL(boot_fpu, 0), CALL(lint, 0), CALL(tsc_offset, 0), END_OF_STEPS
};
STEPS(clh_devices) {
	CALL(msi_routes, 0), CALL(assign_irqfd, 0), CALL(assign_notify, 0), END_OF_STEPS
};
STEPS(clh_cpu_save) {
	GET(CPUID2), GET(MP_STATE), GET(REGS), GET(SREGS), GET(XSAVE2), GET(XCRS), GET(LAPIC),
	GET(FPU), GET(NESTED), CALL(save_msrs, 0), GET(EVENTS), CALL(ask_tsc_khz, 0),
	GET(DEBUGREGS), END_OF_STEPS
};
/* A live migration's first pass and its last. */
STEPS(clh_save) {
	GET(CLOCK), CALL(memory, KVM_MEM_LOG_DIRTY_PAGES), CALL(dirty_log, 0), CALL(memory, 0),
	END_OF_STEPS
};
STEPS(clh_cpu_restore) {
	SET(CPUID2), SET(MP_STATE), SET(REGS), SET(SREGS), SET(XSAVE2), SET(XCRS), SET(LAPIC),
	SET(FPU), SET(XSAVE2), CALL(set_tsc_khz, 0), SET(DEBUGREGS), CALL(restore_msrs, 0),
	SET(EVENTS), END_OF_STEPS
};
STEPS(clh_restore) {
	SET(CLOCK), END_OF_STEPS
};

/* ---- crosvm: the 64-bit protocol, the chip with the kernel's own routes, MSRs one by one ---- */

static const int crosvm_needs[] = {
	KVM_CAP_IMMEDIATE_EXIT, KVM_CAP_TSC_DEADLINE_TIMER, KVM_CAP_XCRS, KVM_CAP_USER_MEMORY, -1
};

STEPS(crosvm_make) {
	CALL(open_device, 0), CALL(needs, crosvm_needs), CALL(create_vm, 0), CALL(memory, 0),
	CALL(identity_map, 0xfeffc000), CALL(tss, 0xfeffd000), CALL(irqchip, 0), CALL(pit2, 0),
	CALL(chip_routes, 0), CALL(ask_msr_list, 256), END_OF_STEPS
};
STEPS(crosvm_cpu_make) {
	CALL(ask_mmap_size, 0), CALL(create_vcpu, 0), CALL(map_vcpu, 0), CALL(ask_cpuid, 256),
	CALL(put_cpuid, 0), CALL(ask_xsave_size, 0), END_OF_STEPS
};
STEPS(crosvm_cpu_boot) {
	CALL(boot_regs, 0), CALL(boot_sregs, 0), CALL(boot_fpu, 0), CALL(boot_msrs, 1),
	CALL(lint, 0), END_OF_STEPS
};
STEPS(crosvm_devices) {
	CALL(assign_irqfd, 1), CALL(assign_notify, 0), END_OF_STEPS
};
STEPS(crosvm_cpu_save) {
	GET(MP_STATE), GET(REGS), GET(SREGS), GET(DEBUGREGS), GET(XCRS), CALL(save_msrs, 0),
	GET(XSAVE), GET(EVENTS), GET(LAPIC), CALL(save_tsc, 0), END_OF_STEPS
};
STEPS(crosvm_save) {
	GET(CHIP2), GET(CHIP0), GET(CHIP1), GET(PIT2), GET(CLOCK), END_OF_STEPS
};
STEPS(crosvm_cpu_restore) {
	SET(REGS), SET(SREGS), SET(DEBUGREGS), SET(XCRS), SET(LAPIC), CALL(one_by_one_msrs, 0),
	SET(XSAVE), SET(EVENTS), SET(MP_STATE), CALL(restore_tsc, 0), END_OF_STEPS
};
STEPS(crosvm_restore) {
	CALL(chip_routes, 0), SET(CHIP2), SET(CHIP0), SET(CHIP1), SET(PIT2), SET(CLOCK),
	END_OF_STEPS
};

/* ---- StratoVirt: the PIT comes before the chip; what it has no values for is set to zeros ---- */

STEPS(stratovirt_make) {
	CALL(open_device, 0), CALL(create_vm, 0), CALL(identity_map, 0xfef0c000),
	CALL(tss, 0xfef0d000), CALL(pit2, KVM_PIT_SPEAKER_DUMMY), CALL(ask_slots, 0),
	CALL(memory, 0), CALL(irqchip, 0), CALL(chip_routes, 0), CALL(ask_msr_list, 256),
	END_OF_STEPS
};
STEPS(stratovirt_cpu_make) {
	CALL(create_vcpu, 0), CALL(ask_mmap_size, 0), CALL(map_vcpu, 0), CALL(ask_cpuid, 256),
	CALL(ask_xsave_size, 0), END_OF_STEPS
};
STEPS(stratovirt_devices) {
	CALL(assign_irqfd, 0), CALL(assign_notify, 0), END_OF_STEPS
};
STEPS(stratovirt_cpu_boot) {
	CALL(put_cpuid, 0), GET(MP_STATE), SET(MP_STATE), CALL(boot_sregs, 0), CALL(boot_regs, 0),
	SET(XSAVE), SET(XCRS), SET(DEBUGREGS), CALL(lint, 0), CALL(boot_msrs, 1), SET(EVENTS),
	END_OF_STEPS
};
STEPS(stratovirt_cpu_save) {
	GET(MP_STATE), GET(REGS), GET(SREGS), GET(FPU), GET(LAPIC), CALL(save_msrs, 0), GET(EVENTS),
	GET(XSAVE), GET(XCRS), GET(DEBUGREGS), END_OF_STEPS
};
STEPS(stratovirt_save) {
	GET(PIT2), GET(CLOCK), GET(CHIP0), GET(CHIP1), GET(CHIP2), END_OF_STEPS
};
STEPS(stratovirt_cpu_restore) {
	CALL(put_cpuid, 0), SET(MP_STATE), SET(SREGS), SET(REGS), SET(XSAVE), SET(XCRS),
	SET(DEBUGREGS), SET(LAPIC), CALL(restore_msrs, 0), SET(EVENTS), END_OF_STEPS
};
STEPS(stratovirt_restore) {
	SET(PIT2), SET(CLOCK), SET(CHIP0), SET(CHIP1), SET(CHIP2), END_OF_STEPS
};

/* ---- QEMU: the same guest by its order of calls ---- */

static const int qemu_needs[] = {
	KVM_CAP_USER_MEMORY, KVM_CAP_DESTROY_MEMORY_REGION_WORKS, KVM_CAP_JOIN_MEMORY_REGIONS_WORKS,
	KVM_CAP_SET_TSS_ADDR, KVM_CAP_EXT_CPUID, KVM_CAP_MP_STATE, KVM_CAP_IRQ_ROUTING,
	KVM_CAP_INTERNAL_ERROR_DATA, KVM_CAP_IOEVENTFD, KVM_CAP_IOEVENTFD_ANY_LENGTH,
	KVM_CAP_SIGNAL_MSI, KVM_CAP_DEBUGREGS, KVM_CAP_XSAVE, KVM_CAP_VCPU_EVENTS,
	KVM_CAP_X86_ROBUST_SINGLESTEP, KVM_CAP_MCE, KVM_CAP_ADJUST_CLOCK,
	KVM_CAP_SET_IDENTITY_MAP_ADDR, KVM_CAP_IRQFD, -1
};

STEPS(qemu_make) {
	CALL(open_device, 0), CALL(api_version, 0), CALL(ask_slots, 0), CALL(create_vm, 0),
	CALL(ask_vcpus, 0), CALL(needs_of_vm, qemu_needs),
	CALL(enable, 1 << 16 | KVM_CAP_EXCEPTION_PAYLOAD), CALL(ask_msr_list, 0),
	CALL(ask_feature_msrs, 0), CALL(identity_map, 0xfeffc000), CALL(tss, 0xfeffd000),
	CALL(irqchip, 0), CALL(memory, 0), CALL(enable, VMM_CPUS << 16 | KVM_CAP_MAX_VCPU_ID),
	CALL(ask_cpuid, 1), CALL(ask_xsave_size, 0),
	END_OF_STEPS
};
STEPS(qemu_cpu_make) {
	CALL(create_vcpu, 0), CALL(ask_mmap_size, 0), CALL(map_vcpu, 0), CALL(stats_fd, 0),
	CALL(ask_tsc_khz, 0), CALL(mce, 0), CALL(put_cpuid, 0), END_OF_STEPS
};
STEPS(qemu_devices) {
	CALL(pit2, 0), CALL(pc_routes, 0), GET(CLOCK), CALL(assign_irqfd, 0),
	CALL(assign_notify, 0), SET(CLOCK),
	END_OF_STEPS
};
STEPS(qemu_cpu_boot) {
	CALL(boot_sregs, 0), CALL(boot_regs, 0), CALL(boot_fpu, 0), CALL(boot_msrs, 1),
	CALL(lint, 0), CALL(kvmclock_ctrl, 0), END_OF_STEPS
};
STEPS(qemu_cpu_save) {
	GET(EVENTS), GET(MP_STATE), GET(REGS), GET(XSAVE2), GET(XCRS), GET(SREGS), GET(SREGS2),
	CALL(save_msrs, 0), GET(LAPIC), GET(DEBUGREGS), END_OF_STEPS
};
STEPS(qemu_save) {
	GET(CHIP0), GET(CHIP1), GET(CHIP2), GET(PIT2), GET(CLOCK),
	CALL(memory, KVM_MEM_LOG_DIRTY_PAGES), CALL(dirty_log, 0),
	END_OF_STEPS
};
STEPS(qemu_cpu_restore) {
	SET(LAPIC), SET(SREGS2), CALL(set_tsc_khz, 0), SET(REGS), SET(XSAVE), SET(XCRS), SET(LAPIC),
	CALL(restore_msrs, 0), SET(EVENTS), SET(MP_STATE), SET(DEBUGREGS), CALL(kvmclock_ctrl, 0),
	END_OF_STEPS
};
STEPS(qemu_restore) {
	SET(CLOCK), SET(CHIP0), SET(CHIP1), SET(CHIP2), SET(PIT2), END_OF_STEPS
};

#define PHASES(n) \
	.make = n##_make, .cpu_make = n##_cpu_make, .devices = n##_devices, .cpu_boot = n##_cpu_boot
#define SNAPSHOT(n) \
	.cpu_save = n##_cpu_save, .save = n##_save, \
	.cpu_restore = n##_cpu_restore, .restore = n##_restore

const struct vmm_kind vmm_kinds[] = {
	{ .name = "kvmtool", .entry = ENTRY_REAL, .mmio = 0xd0000000, PHASES(kvmtool),
	  .pause = kvmtool_pause },
	{ .name = "firecracker", .entry = ENTRY_LONG, .guest = GUEST_IOAPIC | GUEST_SPEAKER,
	  .mmio = 0xc0001000,
	  PHASES(firecracker), .pause = cpu_pause, SNAPSHOT(firecracker) },
	{ .name = "cloud-hypervisor", .entry = ENTRY_PVH, .guest = GUEST_X2APIC, .mmio = 0xc0001000,
	  PHASES(clh), .pause = cpu_pause, SNAPSHOT(clh) },
	{ .name = "crosvm", .entry = ENTRY_LONG, .guest = GUEST_IOAPIC, .mmio = 0xd0000000,
	  PHASES(crosvm), .pause = cpu_pause, SNAPSHOT(crosvm), .restore_vm_first = true },
	{ .name = "stratovirt", .entry = ENTRY_LONG, .guest = GUEST_IOAPIC | GUEST_SPEAKER,
	  .mmio = 0xd0000000,
	  PHASES(stratovirt), .pause = cpu_pause, SNAPSHOT(stratovirt), .restore_vm_first = true },
	{ .name = "qemu", .entry = ENTRY_LONG, .guest = GUEST_IOAPIC, .mmio = 0xd0000000,
	  PHASES(qemu), .pause = cpu_pause, SNAPSHOT(qemu), .restore_vm_first = true },
};

const unsigned int vmm_nr_kinds = sizeof(vmm_kinds) / sizeof(vmm_kinds[0]);
