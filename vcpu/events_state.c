// SPDX-License-Identifier: GPL-2.0
/* Events and debug registers: KVM_GET_VCPU_EVENTS, KVM_GET_DEBUGREGS and the way back. */
#include "core.h"

static void put_exception(struct kvm_vcpu_events *e, const struct wafer_event *ev)
{
	e->exception.nr = ev->vector;
	e->exception.has_error_code = ev->has_error;
	e->exception.error_code = ev->error;
	e->exception_has_payload = ev->has_payload;
	e->exception_payload = ev->payload;
}

/*
 * What is in delivery is "injected". Software interrupts are not told: RIP still stands on the
 * instruction, which does it again.
 */
static void get_exception(struct wafer_vcpu *vcpu, struct kvm_vcpu_events *e)
{
	bool payload = vcpu->vm->exception_payload;

	if (vcpu->pending.kind == WAFER_EV_EXCEPTION) {
		/* A VMM that knows nothing of payloads finds DR6 or CR2 as they will be. */
		if (!payload)
			wafer_deliver_payload(vcpu, &vcpu->pending);
		put_exception(e, &vcpu->pending);
		e->exception.pending = 1;
		e->exception.injected = !payload;
	} else if (vcpu->reinject.kind == WAFER_EV_EXCEPTION) {
		put_exception(e, &vcpu->reinject);
		e->exception.injected = 1;
	}
}

/*
 * An interrupt on its way into the guest: injected, or given by KVM_INTERRUPT where there is no
 * local APIC. -1: none
 */
int wafer_interrupt_in_delivery(struct wafer_vcpu *vcpu)
{
	if (vcpu->reinject.kind == WAFER_EV_EXTINT)
		return vcpu->reinject.vector;
	return vcpu->lapic ? -1 : vcpu->extint;
}

static u32 valid_flags(const struct wafer_vm *vm)
{
	return KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW |
	       KVM_VCPUEVENT_VALID_SMM |
	       (vm->exception_payload ? KVM_VCPUEVENT_VALID_PAYLOAD : 0) |
	       (vm->triple_fault_event ? KVM_VCPUEVENT_VALID_TRIPLE_FAULT : 0);
}

void wafer_get_events(struct wafer_vcpu *vcpu, struct kvm_vcpu_events *e)
{
	u32 block = wafer_block(vcpu);
	int vector = wafer_interrupt_in_delivery(vcpu);

	memset(e, 0, sizeof(*e));
	get_exception(vcpu, e);
	e->interrupt.injected = vector >= 0;
	e->interrupt.nr = vector >= 0 ? vector : 0;
	/* KVM has SVM's one shadow bit as both; VMX accepts only one. */
	e->interrupt.shadow = (block & WAFER_BLOCK_MOVSS ? KVM_X86_SHADOW_INT_MOV_SS : 0) |
			      (block & WAFER_BLOCK_STI ? KVM_X86_SHADOW_INT_STI : 0);
	e->nmi.injected = vcpu->reinject.kind == WAFER_EV_NMI;
	e->nmi.pending = !!atomic_read(&vcpu->nmi_pending);
	e->nmi.masked = !!(block & WAFER_BLOCK_NMI);
	e->triple_fault.pending = vcpu->vm->triple_fault_event && vcpu->triple_fault;
	e->flags = valid_flags(vcpu->vm);
}

/*
 * One event is in delivery at most: an NMI before an interrupt before an exception, which would
 * come again by itself.
 */
static void set_delivery(struct wafer_vcpu *vcpu, const struct kvm_vcpu_events *e, bool pending)
{
	struct wafer_event ev = wafer_exception(e->exception.nr, e->exception.has_error_code,
						e->exception.error_code);

	vcpu->reinject.kind = vcpu->pending.kind = WAFER_EV_NONE;
	if (pending) {
		vcpu->pending = ev;
		vcpu->pending.has_payload = e->exception_has_payload;
		vcpu->pending.payload = e->exception_payload;
	} else if (e->exception.injected) {
		vcpu->reinject = ev;
	}
	if (e->nmi.injected)
		vcpu->reinject = (struct wafer_event){
			.kind = WAFER_EV_NMI, .vector = X86_TRAP_NMI,
		};
	else if (e->interrupt.injected)
		vcpu->reinject = (struct wafer_event){
			.kind = e->interrupt.soft ? WAFER_EV_SOFT_INT : WAFER_EV_EXTINT,
			.vector = e->interrupt.nr,
			.insn_len = e->interrupt.soft ? 2 : 0,		/* INT n */
		};
	if (!vcpu->lapic)
		vcpu->extint = -1;
}

static void set_blocking(struct wafer_vcpu *vcpu, const struct kvm_vcpu_events *e)
{
	u32 block = wafer_block(vcpu) & ~WAFER_BLOCK_NMI;

	if (e->flags & KVM_VCPUEVENT_VALID_SHADOW)
		block = e->interrupt.shadow & KVM_X86_SHADOW_INT_MOV_SS ? WAFER_BLOCK_MOVSS :
			e->interrupt.shadow & KVM_X86_SHADOW_INT_STI ? WAFER_BLOCK_STI : 0;
	wafer_put_block(vcpu, block | (e->nmi.masked ? WAFER_BLOCK_NMI : 0));
}

/**
 * wafer_set_events() - KVM_SET_VCPU_EVENTS
 * @vcpu: vCPU
 * @e: private to the caller
 *
 * Return: 0; -EINVAL with nothing changed.
 */
int wafer_set_events(struct wafer_vcpu *vcpu, const struct kvm_vcpu_events *e)
{
	u32 known = valid_flags(vcpu->vm) | KVM_VCPUEVENT_VALID_SIPI_VECTOR;
	bool pending = e->flags & KVM_VCPUEVENT_VALID_PAYLOAD && e->exception.pending;
	bool not_exception = e->exception.nr > 31 || e->exception.nr == X86_TRAP_NMI;
	bool smm = e->smi.smm || e->smi.pending || e->smi.smm_inside_nmi;
	int r = wafer_deny(vcpu, e->flags & ~known, "flags", e->flags,
			   "are known ones, PAYLOAD and TRIPLE_FAULT after KVM_ENABLE_CAP") ?:
		wafer_deny(vcpu, (e->exception.injected || pending) && not_exception,
			   "exception.nr", e->exception.nr, "is an exception") ?:
		wafer_deny(vcpu, e->flags & KVM_VCPUEVENT_VALID_SMM && smm, "smi", e->smi.smm,
			   "is 0: there is no SMM");

	if (r)
		return r;
	set_delivery(vcpu, e, pending);
	set_blocking(vcpu, e);
	if (e->flags & KVM_VCPUEVENT_VALID_NMI_PENDING) {
		atomic_set(&vcpu->nmi_pending, !!e->nmi.pending);
		wafer_hazard_set(vcpu, WAFER_H_NMI);
	}
	if (e->flags & KVM_VCPUEVENT_VALID_SIPI_VECTOR && vcpu->lapic)
		WRITE_ONCE(vcpu->sipi_vector, e->sipi_vector);
	if (e->flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT)
		vcpu->triple_fault = e->triple_fault.pending;
	wafer_hazards_set(vcpu, BIT(WAFER_H_EVENT) | BIT(WAFER_H_CHECK) |
			  (vcpu->triple_fault ? BIT(WAFER_H_EXIT) : 0));
	return 0;
}

void wafer_get_debugregs(struct wafer_vcpu *vcpu, struct kvm_debugregs *d)
{
	memcpy(d->db, vcpu->arch.dr, sizeof(d->db));
	d->dr6 = vcpu->arch.dr6;
	d->dr7 = vcpu->arch.dr7;
}

int wafer_set_debugregs(struct wafer_vcpu *vcpu, const struct kvm_debugregs *d)
{
	struct wafer_arch *a = &vcpu->arch;
	int r = wafer_deny(vcpu, d->flags, "flags", d->flags, "are 0") ?:
		wafer_deny(vcpu, (d->dr6 | d->dr7) >> 32, "dr6, dr7", d->dr6 | d->dr7,
			   "have 32 bits (SDM vol. 3 17.2.6)");

	if (r)
		return r;
	wafer_need(vcpu, WAFER_G_DR);
	memcpy(a->dr, d->db, sizeof(a->dr));
	a->dr6 = d->dr6;
	a->dr7 = d->dr7;
	wafer_touch(vcpu, WAFER_G_DR);
	wafer_hazards_set(vcpu, BIT(WAFER_H_INTERCEPT) | BIT(WAFER_H_CHECK));
	return 0;
}
