// SPDX-License-Identifier: GPL-2.0
/* State ioctls: general registers, run state, interrupts from the VMM, translation, sync regs. */
#include <asm/processor-flags.h>

#include "core.h"

/* struct kvm_regs is RAX, RBX, RCX, RDX, RSI, RDI, RSP, RBP, R8-R15, RIP, RFLAGS. */
static const u8 gpr_order[] = {
	WAFER_RAX, WAFER_RBX, WAFER_RCX, WAFER_RDX, WAFER_RSI, WAFER_RDI, WAFER_RSP, WAFER_RBP,
	WAFER_R8, WAFER_R9, WAFER_R10, WAFER_R11, WAFER_R12, WAFER_R13, WAFER_R14, WAFER_R15,
};
static_assert(offsetof(struct kvm_regs, rax) == 0 &&
	      offsetof(struct kvm_regs, rip) == sizeof(u64) * ARRAY_SIZE(gpr_order));

void wafer_get_regs(struct wafer_vcpu *vcpu, struct kvm_regs *r)
{
	wafer_need(vcpu, WAFER_G_RIP | WAFER_G_RSP | WAFER_G_RFLAGS);
	for (int i = 0; i < ARRAY_SIZE(gpr_order); i++)
		((u64 *)r)[i] = vcpu->arch.gpr[gpr_order[i]];
	r->rip = vcpu->arch.rip;
	r->rflags = vcpu->arch.rflags;
	if (unlikely(vcpu->guest_debug & KVM_GUESTDBG_SINGLESTEP && !vcpu->stepping))
		r->rflags &= ~(u64)X86_EFLAGS_TF;
}

/*
 * An exception that was waiting belonged to the old registers; one that is being delivered stays.
 * Who steps and moves RIP steps by TF from there on, which is not told then. (As in KVM: Snapchange
 * leaves KVM_GUESTDBG_SINGLESTEP on and steps when it sets TF.)
 */
void wafer_set_regs(struct wafer_vcpu *vcpu, const struct kvm_regs *r)
{
	for (int i = 0; i < ARRAY_SIZE(gpr_order); i++)
		vcpu->arch.gpr[gpr_order[i]] = ((const u64 *)r)[i];
	vcpu->arch.rip = r->rip;
	vcpu->arch.rflags = r->rflags | X86_EFLAGS_FIXED;
	wafer_touch(vcpu, WAFER_G_RIP | WAFER_G_RSP | WAFER_G_RFLAGS);
	vcpu->pending.kind = WAFER_EV_NONE;
	wafer_hazards_set(vcpu, BIT(WAFER_H_EVENT) | BIT(WAFER_H_CHECK));
	if (unlikely(vcpu->stepping && r->rip != vcpu->step_rip)) {
		vcpu->stepping = false;
		wafer_hazard_set(vcpu, WAFER_H_INTERCEPT);
	}
}

/*
 * INIT and SIPI that have arrived count as taken: they change RIP and CS, which the VMM reads next.
 */
void wafer_get_mp_state(struct wafer_vcpu *vcpu, struct kvm_mp_state *m)
{
	if (test_and_clear_bit(WAFER_H_INIT_SIPI, &vcpu->hazards))
		wafer_init_sipi(vcpu);
	m->mp_state = vcpu->mp_state;
	/* A kick that it has not seen yet is told so, as KVM does: there is no other place. */
	if (m->mp_state == KVM_MP_STATE_HALTED && test_bit(WAFER_GOT_UNHALT, &vcpu->init_sipi))
		m->mp_state = KVM_MP_STATE_RUNNABLE;
}

int wafer_set_mp_state(struct wafer_vcpu *vcpu, const struct kvm_mp_state *m)
{
	u32 state = m->mp_state;
	int r = wafer_deny(vcpu, state > KVM_MP_STATE_SIPI_RECEIVED, "mp_state", state,
			   "is one of x86's") ?:
		wafer_deny(vcpu, !vcpu->lapic && state != KVM_MP_STATE_RUNNABLE, "mp_state", state,
			   "is RUNNABLE, without a local APIC in the kernel");

	if (r)
		return r;
	if (state == KVM_MP_STATE_SIPI_RECEIVED) {
		state = KVM_MP_STATE_INIT_RECEIVED;
		set_bit(WAFER_GOT_SIPI, &vcpu->init_sipi);
		wafer_hazard_set(vcpu, WAFER_H_INIT_SIPI);
	}
	WRITE_ONCE(vcpu->mp_state, state);
	wafer_hazard_set(vcpu, WAFER_H_EVENT);
	return 0;
}

/**
 * wafer_interrupt() - KVM_INTERRUPT: a vector from the VMM's interrupt controller
 * @vcpu: vCPU
 * @irq: vector
 *
 * Return: 0; -EINVAL: no vector; -ENXIO: the PIC is in the kernel; -EEXIST: (split chip) one is
 * waiting already.
 */
int wafer_interrupt(struct wafer_vcpu *vcpu, u32 irq)
{
	enum wafer_chip_mode mode = vcpu->vm->irq.mode;

	if (irq >= 256)
		return wafer_refuse(&vcpu->refusal, -EINVAL, "irq", irq, "is below 256");
	if (mode == WAFER_CHIP_FULL)
		return wafer_refuse(&vcpu->refusal, -ENXIO, "irq", irq,
				    "comes from the PIC in the kernel");
	if (mode == WAFER_CHIP_SPLIT && vcpu->extint >= 0)
		return wafer_refuse(&vcpu->refusal, -EEXIST, "irq", irq,
				    "waits until the last one is taken");
	vcpu->extint = irq;
	wafer_hazard_set(vcpu, WAFER_H_EVENT);
	return 0;
}

/*
 * KVM_TRANSLATE: for debuggers, so rights do not count, only that something is mapped; ~0 is how
 * nothing is told.
 */
void wafer_translate_ioctl(struct wafer_vcpu *vcpu, struct kvm_translation *t)
{
	const u32 look = WAFER_FAULT_READ | WAFER_WALK_NO_AD;
	const gva_t gva = t->linear_address;
	struct wafer_event fault;
	gpa_t gpa = 0;

	t->valid = (!wafer_translate(vcpu, gva, look | WAFER_WALK_IMPLICIT, &gpa, &fault) ||
		    !wafer_translate(vcpu, gva, look | WAFER_WALK_USER, &gpa, &fault)) && ~gpa;
	t->physical_address = t->valid ? gpa : ~0ull;
	t->writeable = 1;
	t->usermode = 0;
}

/* The run page is the VMM's too: everything goes through a local copy. */
void wafer_sync_regs_out(struct wafer_vcpu *vcpu)
{
	u64 valid = READ_ONCE(vcpu->run->kvm_valid_regs);
	struct kvm_sync_regs regs = vcpu->run->s.regs;

	if (valid & KVM_SYNC_X86_REGS)
		wafer_get_regs(vcpu, &regs.regs);
	if (valid & KVM_SYNC_X86_SREGS)
		wafer_get_sregs(vcpu, &regs.sregs);
	if (valid & KVM_SYNC_X86_EVENTS)
		wafer_get_events(vcpu, &regs.events);
	vcpu->run->s.regs = regs;
}

/**
 * wafer_sync_regs_in() - take what kvm_dirty_regs says the VMM has changed
 * @vcpu: vCPU
 *
 * Return: 0; -EINVAL: unknown bits, or values that the ioctl of that name would refuse.
 */
int wafer_sync_regs_in(struct wafer_vcpu *vcpu)
{
	const u64 known = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS;
	u64 dirty = READ_ONCE(vcpu->run->kvm_dirty_regs);
	u64 bits = dirty | READ_ONCE(vcpu->run->kvm_valid_regs);
	struct kvm_sync_regs regs = vcpu->run->s.regs;
	int r = wafer_deny(vcpu, bits & ~known, "kvm_valid_regs, kvm_dirty_regs", bits,
			   "have known bits only");

	if (!r && dirty & KVM_SYNC_X86_REGS)
		wafer_set_regs(vcpu, &regs.regs);
	r = r ?: (dirty & KVM_SYNC_X86_SREGS ? wafer_set_sregs(vcpu, &regs.sregs) : 0) ?:
	    (dirty & KVM_SYNC_X86_EVENTS ? wafer_set_events(vcpu, &regs.events) : 0);
	if (!r)
		WRITE_ONCE(vcpu->run->kvm_dirty_regs, 0);
	return r;
}
