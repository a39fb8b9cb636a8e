// SPDX-License-Identifier: GPL-2.0
/* What KVM_CHECK_EXTENSION says, and what KVM_ENABLE_CAP switches on. */
#include "door.h"

#define VALID_QUIRKS	0x7f	/* KVM_X86_QUIRK_LINT0_REENABLED to _MWAIT_NEVER_UD_FAULTS */
#define VALID_MSR_EXITS	(KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN | \
			 KVM_MSR_EXIT_REASON_FILTER)
#define VALID_CLOCK	(KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC)
#define VALID_MANUAL	(KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET)
#define VALID_X2APIC	(KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK)
#define VALID_NO_EXITS	(KVM_X86_DISABLE_EXITS_HLT | KVM_X86_DISABLE_EXITS_PAUSE)
#define VALID_NO_EXITS_ASKED \
	(VALID_NO_EXITS | KVM_X86_DISABLE_EXITS_MWAIT | KVM_X86_DISABLE_EXITS_CSTATE)
#define RING_BYTES	(65536 * sizeof(struct kvm_dirty_gfn))

/* What is simply there. */
static const u8 present[] = {
	KVM_CAP_IRQCHIP, KVM_CAP_HLT, KVM_CAP_MMU_SHADOW_CACHE_CONTROL, KVM_CAP_USER_MEMORY,
	KVM_CAP_SET_TSS_ADDR, KVM_CAP_VAPIC, KVM_CAP_EXT_CPUID, KVM_CAP_CLOCKSOURCE, KVM_CAP_PIT,
	KVM_CAP_NOP_IO_DELAY, KVM_CAP_MP_STATE, KVM_CAP_SYNC_MMU,
	KVM_CAP_DESTROY_MEMORY_REGION_WORKS, KVM_CAP_USER_NMI, KVM_CAP_SET_GUEST_DEBUG,
	KVM_CAP_REINJECT_CONTROL, KVM_CAP_IRQ_INJECT_STATUS, KVM_CAP_JOIN_MEMORY_REGIONS_WORKS,
	KVM_CAP_IRQFD, KVM_CAP_PIT2, KVM_CAP_SET_BOOT_CPU_ID, KVM_CAP_PIT_STATE2, KVM_CAP_IOEVENTFD,
	KVM_CAP_SET_IDENTITY_MAP_ADDR, KVM_CAP_INTERNAL_ERROR_DATA, KVM_CAP_VCPU_EVENTS,
	KVM_CAP_DEBUGREGS, KVM_CAP_X86_ROBUST_SINGLESTEP, KVM_CAP_ENABLE_CAP, KVM_CAP_XSAVE,
	KVM_CAP_GET_TSC_KHZ, KVM_CAP_TSC_DEADLINE_TIMER, KVM_CAP_KVMCLOCK_CTRL, KVM_CAP_SIGNAL_MSI,
	KVM_CAP_READONLY_MEM, KVM_CAP_IRQFD_RESAMPLE, KVM_CAP_IOAPIC_POLARITY_IGNORED,
	KVM_CAP_ENABLE_CAP_VM, KVM_CAP_IOEVENTFD_NO_LENGTH, KVM_CAP_CHECK_EXTENSION_VM,
	KVM_CAP_DISABLE_QUIRKS, KVM_CAP_MULTI_ADDRESS_SPACE, KVM_CAP_SPLIT_IRQCHIP,
	KVM_CAP_IOEVENTFD_ANY_LENGTH, KVM_CAP_VCPU_ATTRIBUTES, KVM_CAP_IMMEDIATE_EXIT,
	KVM_CAP_GET_MSR_FEATURES, KVM_CAP_MSR_PLATFORM_INFO, KVM_CAP_COALESCED_PIO,
	KVM_CAP_EXCEPTION_PAYLOAD, KVM_CAP_HALT_POLL, KVM_CAP_LAST_CPU, KVM_CAP_STEAL_TIME,
	KVM_CAP_X86_USER_SPACE_MSR, KVM_CAP_X86_MSR_FILTER, KVM_CAP_ENFORCE_PV_FEATURE_CPUID,
	KVM_CAP_SREGS2, KVM_CAP_BINARY_STATS_FD, KVM_CAP_EXIT_ON_EMULATION_FAILURE,
	KVM_CAP_SYS_ATTRIBUTES, KVM_CAP_SYSTEM_EVENT_DATA, KVM_CAP_X86_TRIPLE_FAULT_EVENT,
	KVM_CAP_MEMORY_FAULT_INFO, KVM_CAP_USER_MEMORY2,
};

/**
 * wafer_check_extension() - KVM_CHECK_EXTENSION
 * @vm: the VM, or NULL from /dev/wafer
 * @cap: KVM_CAP_*; unknown ones are absent
 *
 * Return: what the capability's description says; 0: absent.
 */
long wafer_check_extension(struct wafer_vm *vm, long cap)
{
	/* What has a value of its own, or depends on the host. */
	const struct { u32 cap, value; } valued[] = {
		{ KVM_CAP_NR_MEMSLOTS, WAFER_MAX_SLOTS }, { KVM_CAP_MCE, 32 },
		{ KVM_CAP_NR_VCPUS, min_t(u32, num_online_cpus(), WAFER_MAX_VCPUS) },
		{ KVM_CAP_MAX_VCPUS, WAFER_MAX_VCPUS }, { KVM_CAP_MAX_VCPU_ID, WAFER_MAX_VCPU_ID },
		{ KVM_CAP_COALESCED_MMIO, KVM_COALESCED_MMIO_PAGE_OFFSET },
		{ KVM_CAP_IRQ_ROUTING, WAFER_MAX_GSI }, { KVM_CAP_ADJUST_CLOCK, VALID_CLOCK },
		{ KVM_CAP_SYNC_REGS, KVM_SYNC_X86_VALID_FIELDS },
		{ KVM_CAP_X2APIC_API, VALID_X2APIC },
		{ KVM_CAP_X86_DISABLE_EXITS, VALID_NO_EXITS },
		{ KVM_CAP_DISABLE_QUIRKS2, VALID_QUIRKS },
		{ KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, VALID_MANUAL },
		{ KVM_CAP_DIRTY_LOG_RING, RING_BYTES },
		{ KVM_CAP_DIRTY_LOG_RING_ACQ_REL, RING_BYTES },
		{ KVM_CAP_SET_GUEST_DEBUG2, WAFER_GUESTDBG_MASK },
		{ KVM_CAP_XCRS, boot_cpu_has(X86_FEATURE_XSAVE) },
		{ KVM_CAP_XSAVE2, wafer_xsave_bytes() },
		{ KVM_CAP_TSC_CONTROL, wafer_caps.has_tsc_scaling },
		{ KVM_CAP_VM_TSC_CONTROL, wafer_caps.has_tsc_scaling },
	};

	for (int i = 0; i < ARRAY_SIZE(present); i++)
		if (present[i] == cap)
			return 1;
	for (int i = 0; i < ARRAY_SIZE(valued); i++)
		if (valued[i].cap == cap)
			return valued[i].value;
	return 0;
}

/* Capabilities of a VM that are more than a value kept; vm->lock is held. */
static int max_vcpu_id(struct wafer_vm *vm, u64 limit)
{
	if (limit > WAFER_MAX_VCPU_ID || limit < vm->boot_cpu_id ||
	    ((vm->max_vcpu_id || vm->nr_vcpus) && vm->max_vcpu_id != limit))
		return -EINVAL;
	vm->max_vcpu_id = limit;
	return 0;
}

static int x2apic_api(struct wafer_vm *vm, u64 flags)
{
	vm->irq.x2apic_32bit_ids |= !!(flags & KVM_X2APIC_API_USE_32BIT_IDS);
	vm->irq.x2apic_no_broadcast_quirk |= !!(flags & KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK);
	return 0;
}

/*
 * All can be asked for, as in KVM, and what cannot be left out goes on: uhyve asks for MWAIT's
 * without looking whether it is there.
 */
static int disable_exits(struct wafer_vm *vm, u64 exits)
{
	vm->exits_disabled |= exits & VALID_NO_EXITS;
	wafer_vm_raise(vm, WAFER_H_INTERCEPT);
	return 0;
}

static int manual_protect(struct wafer_vm *vm, u64 flags)
{
	return wafer_mmu_set_manual_protect(&vm->mmu, flags);
}

static int dirty_ring(struct wafer_vm *vm, u64 bytes)
{
	if (vm->nr_vcpus)
		return wafer_refuse(&vm->refusal, -EINVAL, "vCPUs", vm->nr_vcpus, "none exist yet");
	return wafer_ring_enable(&vm->mmu, bytes);
}

/* What KVM_ENABLE_CAP knows: bits that args[0] may have, and where it is kept or what it does. */
#define KEEP(field) \
	.offset = offsetof(struct wafer_vm, field), .size = sizeof_field(struct wafer_vm, field)
static const struct switchable {
	u32 cap;
	u64 valid;
	int (*fn)(struct wafer_vm *vm, u64 arg);
	u32 offset, size;
} switchables[] = {
	/* This one does not say which there are. */
	{ KVM_CAP_DISABLE_QUIRKS, ~0ull, KEEP(quirks_disabled) },
	{ KVM_CAP_DISABLE_QUIRKS2, VALID_QUIRKS, KEEP(quirks_disabled) },
	{ KVM_CAP_MSR_PLATFORM_INFO, ~0ull, KEEP(platform_info_read) },
	{ KVM_CAP_EXCEPTION_PAYLOAD, ~0ull, KEEP(exception_payload) },
	{ KVM_CAP_X86_TRIPLE_FAULT_EVENT, ~0ull, KEEP(triple_fault_event) },
	{ KVM_CAP_HALT_POLL, U32_MAX, KEEP(halt_poll_ns) },
	{ KVM_CAP_X86_USER_SPACE_MSR, VALID_MSR_EXITS, KEEP(msr_exits) },
	{ KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1, KEEP(exit_on_emulation_failure) },
	{ KVM_CAP_SPLIT_IRQCHIP, ~0ull, wafer_enable_split_irqchip },
	{ KVM_CAP_MAX_VCPU_ID, ~0ull, max_vcpu_id },
	{ KVM_CAP_X2APIC_API, VALID_X2APIC, x2apic_api },
	{ KVM_CAP_X86_DISABLE_EXITS, VALID_NO_EXITS_ASKED, disable_exits },
	{ KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, VALID_MANUAL, manual_protect },
	{ KVM_CAP_DIRTY_LOG_RING, U32_MAX, dirty_ring },
	{ KVM_CAP_DIRTY_LOG_RING_ACQ_REL, U32_MAX, dirty_ring },
};

/**
 * wafer_vm_enable_cap() - KVM_ENABLE_CAP on a VM
 * @vm: the VM, vm->lock held
 * @cap: as user space gave it
 *
 * Return: 0; -EINVAL: not a capability that can be switched on, flags, or unknown bits in args[0];
 * or the capability's own error.
 */
long wafer_vm_enable_cap(struct wafer_vm *vm, const struct kvm_enable_cap *cap)
{
	const struct switchable *s = switchables, *end = s + ARRAY_SIZE(switchables);
	u64 arg = cap->args[0];

	if (cap->flags)
		return wafer_refuse(&vm->refusal, -EINVAL, "flags", cap->flags, "are 0");
	while (s < end && s->cap != cap->cap)
		s++;
	if (s == end)
		return wafer_refuse(&vm->refusal, -EINVAL, "cap", cap->cap,
				    "can be enabled on a VM");
	if (arg & ~s->valid)
		return wafer_refuse(&vm->refusal, -EINVAL, "args[0]", arg, "has known bits only");
	if (s->fn)
		return s->fn(vm, arg);
	if (s->size == sizeof(bool))
		arg = !!arg;
	memcpy((void *)vm + s->offset, &arg, s->size);	/* its low bytes */
	return 0;
}

/**
 * wafer_vcpu_enable_cap() - KVM_ENABLE_CAP on a vCPU
 * @vcpu: the vCPU, its mutex held
 * @cap: as user space gave it
 *
 * Return: 0 or -EINVAL.
 */
long wafer_vcpu_enable_cap(struct wafer_vcpu *vcpu, const struct kvm_enable_cap *cap)
{
	if (cap->cap != KVM_CAP_ENFORCE_PV_FEATURE_CPUID || cap->flags)
		return wafer_refuse(&vcpu->refusal, -EINVAL, "cap", cap->cap,
				    "can be enabled on a vCPU, without flags");
	vcpu->vm->enforce_pv = cap->args[0];
	return 0;
}
