// SPDX-License-Identifier: GPL-2.0
/* State ioctls: general registers, run state, interrupts from the VMM, translation, sync regs. */
#include <linux/string.h>
#include <asm/processor-flags.h>

#include "core.h"

/* struct kvm_regs has its general registers in an order of its own. */
static const struct { u16 offset; u8 gpr; } reg_place[] = {
	{ offsetof(struct kvm_regs, rax), WAFER_RAX },	{ offsetof(struct kvm_regs, rbx), WAFER_RBX },
	{ offsetof(struct kvm_regs, rcx), WAFER_RCX },	{ offsetof(struct kvm_regs, rdx), WAFER_RDX },
	{ offsetof(struct kvm_regs, rsi), WAFER_RSI },	{ offsetof(struct kvm_regs, rdi), WAFER_RDI },
	{ offsetof(struct kvm_regs, rsp), WAFER_RSP },	{ offsetof(struct kvm_regs, rbp), WAFER_RBP },
	{ offsetof(struct kvm_regs, r8), WAFER_R8 },	{ offsetof(struct kvm_regs, r9), WAFER_R9 },
	{ offsetof(struct kvm_regs, r10), WAFER_R10 },	{ offsetof(struct kvm_regs, r11), WAFER_R11 },
	{ offsetof(struct kvm_regs, r12), WAFER_R12 },	{ offsetof(struct kvm_regs, r13), WAFER_R13 },
	{ offsetof(struct kvm_regs, r14), WAFER_R14 },	{ offsetof(struct kvm_regs, r15), WAFER_R15 },
};

int wafer_get_regs(struct wafer_vcpu *vcpu, struct kvm_regs *r)
{
	int i;

	wafer_need(vcpu, WAFER_G_RIP | WAFER_G_RSP | WAFER_G_RFLAGS);
	for (i = 0; i < ARRAY_SIZE(reg_place); i++)
		*(u64 *)((void *)r + reg_place[i].offset) = vcpu->arch.gpr[reg_place[i].gpr];
	r->rip = vcpu->arch.rip;
	r->rflags = vcpu->arch.rflags;
	return 0;
}

/* An exception that was waiting belonged to the old registers; one that is being delivered stays (as in KVM). */
int wafer_set_regs(struct wafer_vcpu *vcpu, const struct kvm_regs *r)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(reg_place); i++)
		vcpu->arch.gpr[reg_place[i].gpr] = *(const u64 *)((const void *)r + reg_place[i].offset);
	vcpu->arch.rip = r->rip;
	vcpu->arch.rflags = r->rflags | X86_EFLAGS_FIXED;
	wafer_touch(vcpu, WAFER_G_RIP | WAFER_G_RSP | WAFER_G_RFLAGS);
	vcpu->pending.kind = WAFER_EV_NONE;
	wafer_hazard_set(vcpu, WAFER_H_EVENT);
	wafer_hazard_set(vcpu, WAFER_H_CHECK);
	return 0;
}

/* INIT and SIPI that have arrived count as taken: they change RIP and CS, which the VMM reads next. */
int wafer_get_mp_state(struct wafer_vcpu *vcpu, struct kvm_mp_state *m)
{
	if (test_and_clear_bit(WAFER_H_INIT_SIPI, &vcpu->hazards))
		wafer_init_sipi(vcpu);
	m->mp_state = vcpu->mp_state;
	return 0;
}

int wafer_set_mp_state(struct wafer_vcpu *vcpu, const struct kvm_mp_state *m)
{
	u32 state = m->mp_state;

	if (state > KVM_MP_STATE_SIPI_RECEIVED)
		return wafer_refuse(&vcpu->refusal, -EINVAL, "mp_state", state, "is one of x86's");
	if (!vcpu->lapic && state != KVM_MP_STATE_RUNNABLE)
		return wafer_refuse(&vcpu->refusal, -EINVAL, "mp_state", state,
				    "is RUNNABLE, without a local APIC in the kernel");
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
 * Return: 0; -EINVAL: no vector; -ENXIO: the PIC is in the kernel; -EEXIST: (split chip) one is waiting already.
 */
int wafer_interrupt(struct wafer_vcpu *vcpu, u32 irq)
{
	enum wafer_chip_mode mode = vcpu->vm->irq.mode;

	if (irq >= 256)
		return wafer_refuse(&vcpu->refusal, -EINVAL, "irq", irq, "is below 256");
	if (mode == WAFER_CHIP_FULL)
		return wafer_refuse(&vcpu->refusal, -ENXIO, "irq", irq, "comes from the PIC in the kernel");
	if (mode == WAFER_CHIP_SPLIT && vcpu->extint >= 0)
		return wafer_refuse(&vcpu->refusal, -EEXIST, "irq", irq, "waits until the last one is taken");
	vcpu->extint = irq;
	wafer_hazard_set(vcpu, WAFER_H_EVENT);
	return 0;
}

/* KVM_TRANSLATE: for debuggers, so rights do not count, only that something is mapped. */
int wafer_translate_ioctl(struct wafer_vcpu *vcpu, struct kvm_translation *t)
{
	const u32 look = WAFER_FAULT_READ | WAFER_WALK_NO_AD;
	struct wafer_event fault;
	gpa_t gpa = 0;
	int r;

	r = wafer_translate(vcpu, t->linear_address, look | WAFER_WALK_IMPLICIT, &gpa, false, &fault);
	if (r)
		r = wafer_translate(vcpu, t->linear_address, look | WAFER_WALK_USER, &gpa, false, &fault);
	t->physical_address = r ? ~0ull : gpa;
	t->valid = !r;
	t->writeable = 1;
	t->usermode = 0;
	return 0;
}

/* The run page is the VMM's too: everything goes through a local copy. */
void wafer_sync_regs_out(struct wafer_vcpu *vcpu)
{
	u64 valid = READ_ONCE(vcpu->run->kvm_valid_regs);
	struct kvm_sync_regs *out = &vcpu->run->s.regs;
	struct kvm_vcpu_events events;
	struct kvm_sregs sregs;

	if (valid & KVM_SYNC_X86_REGS)
		wafer_get_regs(vcpu, &out->regs);
	if (valid & KVM_SYNC_X86_SREGS) {
		memset(&sregs, 0, sizeof(sregs));
		wafer_get_sregs(vcpu, &sregs);
		out->sregs = sregs;
	}
	if (valid & KVM_SYNC_X86_EVENTS) {
		memset(&events, 0, sizeof(events));
		wafer_get_events(vcpu, &events);
		out->events = events;
	}
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
	struct kvm_run *run = vcpu->run;
	u64 dirty = READ_ONCE(run->kvm_dirty_regs);
	u64 valid = READ_ONCE(run->kvm_valid_regs);
	int r = 0;

	if (likely(!(dirty | valid)))
		return 0;
	if ((dirty | valid) & ~known)
		return wafer_refuse(&vcpu->refusal, -EINVAL, "kvm_valid_regs, kvm_dirty_regs", dirty | valid,
				    "have known bits only");
	if (dirty & KVM_SYNC_X86_REGS) {
		struct kvm_regs regs = run->s.regs.regs;

		r = wafer_set_regs(vcpu, &regs);
	}
	if (!r && dirty & KVM_SYNC_X86_SREGS) {
		struct kvm_sregs sregs = run->s.regs.sregs;

		r = wafer_set_sregs(vcpu, &sregs);
	}
	if (!r && dirty & KVM_SYNC_X86_EVENTS) {
		struct kvm_vcpu_events events = run->s.regs.events;

		r = wafer_set_events(vcpu, &events);
	}
	if (!r)
		WRITE_ONCE(run->kvm_dirty_regs, 0);
	return r;
}
