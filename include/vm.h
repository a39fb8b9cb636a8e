/* SPDX-License-Identifier: GPL-2.0 */
/* A virtual machine. Protection marks as in vcpu.h; [m]: vm->lock. */
#ifndef WAFER_VM_H
#define WAFER_VM_H

#include <linux/refcount.h>

#include "irq.h"
#include "mmu.h"

#define WAFER_MAX_VCPUS		288
#define WAFER_MAX_VCPU_ID	4096	/* ids are APIC ids and may be sparse */

struct wafer_vcpu;
struct wafer_msr_filter;

/**
 * struct wafer_vm - a virtual machine
 * @users: one for each file (VM, vCPU, statistics) and one for each asynchronous user
 * @mm: [I] the address space that made it; every ioctl must come from it
 * @lock: configuration: chips, vCPU creation, capabilities
 * @mmu: guest memory
 * @irq: interrupt wiring
 * @bus: in-kernel devices
 * @nr_vcpus: published with release, read with acquire; shrinks only when the VM goes
 * @max_vcpu_id: [m] KVM_CAP_MAX_VCPU_ID, 0: not set
 * @boot_cpu_id: [m]
 * @exits_disabled: KVM_X86_DISABLE_EXITS_*. This and the following to @tss_addr: [m] to write, read
 *	anywhere once set
 * @msr_exits: KVM_MSR_EXIT_REASON_* to user space
 * @tss_addr: KVM_SET_TSS_ADDR
 * @quirks_disabled: KVM_X86_QUIRK_*
 * @identity_map_addr: KVM_SET_IDENTITY_MAP_ADDR
 * @exception_payload: KVM_CAP_EXCEPTION_PAYLOAD
 * @triple_fault_event: KVM_CAP_X86_TRIPLE_FAULT_EVENT
 * @enforce_pv: KVM_CAP_ENFORCE_PV_FEATURE_CPUID
 * @exit_on_emulation_failure: KVM_CAP_EXIT_ON_EMULATION_FAILURE
 * @platform_info_read: KVM_CAP_MSR_PLATFORM_INFO
 * @vcpus: the first @nr_vcpus
 * @msr_filter: RCU
 * @time_lock: for what follows (vcpu/time.c)
 * @default_tsc_khz: [m] KVM_SET_TSC_KHZ on the VM, for vCPUs to come; 0: the host's
 * @tsc_khz: of the last write of a TSC, 0: none yet
 * @halt_poll_ns: KVM_CAP_HALT_POLL
 * @clock_ns: kvmclock is this at host TSC @clock_tsc, and goes on by @clock_khz
 * @clock_khz: see @clock_ns; what the host took for its TSC's frequency then
 * @clock_tsc: see @clock_ns
 * @clock_boot_ns: CLOCK_BOOTTIME at the same moment
 * @tsc_set: the VMM has set a TSC
 * @tsc_offset: of the last write of a TSC
 * @tsc_last_write: the value
 * @tsc_last_ns: the moment
 * @link: in the list of all VMs (vcpu/hardware.c)
 * @refusal: for WAFER_LAST_ERROR
 */
struct wafer_vm {
	refcount_t users;
	struct mm_struct *mm;
	struct mutex lock;
	struct wafer_mmu mmu;
	struct wafer_irq irq;
	struct wafer_bus bus[WAFER_NR_BUSES];
	u32 nr_vcpus, max_vcpu_id, boot_cpu_id, exits_disabled, msr_exits, tss_addr;
	u64 quirks_disabled, identity_map_addr;
	bool exception_payload, triple_fault_event, enforce_pv, exit_on_emulation_failure;
	bool platform_info_read, tsc_set;
	struct wafer_vcpu *vcpus[WAFER_MAX_VCPUS];
	struct wafer_msr_filter __rcu *msr_filter;
	raw_spinlock_t time_lock;
	u32 default_tsc_khz, tsc_khz, clock_khz, halt_poll_ns;
	u64 clock_ns, clock_tsc, clock_boot_ns, tsc_offset, tsc_last_write, tsc_last_ns;
	struct list_head link;
	struct wafer_refusal refusal;
};

/*
 * A VM for current->mm, the hardware taken. ERR_PTR: -EBUSY in use by another hypervisor, -ENOMEM.
 * The last put of a reference frees it, without waiting.
 */
struct wafer_vm *wafer_vm_create(void);
static inline void wafer_vm_get(struct wafer_vm *vm) { refcount_inc(&vm->users); }
void wafer_vm_put(struct wafer_vm *vm);

#define wafer_for_each_vcpu(vcpu, vm)						\
	/* pairs with the release in ioctl/vcpu.c: who is counted is complete */	\
	for (u32 i_ = 0; i_ < smp_load_acquire(&(vm)->nr_vcpus) &&		\
			 ((vcpu) = (vm)->vcpus[i_], true); i_++)

struct wafer_vcpu *wafer_vcpu_by_id(struct wafer_vm *vm, u32 id);

/*
 * Taking and giving back the hardware (vcpu/hardware.c): per-CPU, hotplug, suspend, reboot, panic.
 */
int wafer_hardware_init(void);
void wafer_hardware_exit(void);
int wafer_hardware_get(struct wafer_vm *vm);
void wafer_hardware_put(struct wafer_vm *vm);

/* wafer_bus_find() for ports and addresses that are mostly the VMM's. */
static inline int wafer_bus(struct wafer_vcpu *vcpu, enum wafer_bus_kind kind, gpa_t addr,
			    unsigned int len, void *val, bool write)
{
	if (!rcu_access_pointer(vcpu->vm->bus[kind].table))
		return -EOPNOTSUPP;
	return kind == WAFER_BUS_PIO ? wafer_bus_search(vcpu, kind, addr, len, val, write) :
				       wafer_bus_find(vcpu, kind, addr, len, val, write);
}

/* Time of the VM as a whole (vcpu/time.c). */
void wafer_vm_time_init(struct wafer_vm *vm);
void wafer_vm_tsc_went_back(struct wafer_vm *vm, u64 cycles);

#endif
