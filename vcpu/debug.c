// SPDX-License-Identifier: GPL-2.0
/*
 * Exceptions of the guest that exit, debug registers, and debugging a guest from outside (KVM_SET_GUEST_DEBUG).
 *
 * The guest's MOV DR always exits, so arch.dr, dr6 and dr7 are the whole truth; the CPU's registers are loaded only while
 * a breakpoint is armed. arch.hw_dr7 is what the CPU has in DR7 while the guest runs: the guest's, or the debugger's.
 */
#include <linux/percpu.h>
#include <linux/sched.h>
#include <asm/debugreg.h>
#include <asm/mce.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "core.h"

/* Any of L0-L3, G0-G3 (SDM vol. 3 §17.2.4). */
#define DR7_ARMED 0xffull
#define DR7_OFF   0x400ull	/* the bit that is always set */
#define STEP_OR_HW (KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_USE_HW_BP)

/* KVM_EXIT_DEBUG. */
int wafer_debug_exit(struct wafer_vcpu *vcpu, u32 exception, u64 dr6)
{
	struct kvm_run *run = vcpu->run;

	run->exit_reason = KVM_EXIT_DEBUG;
	run->debug.arch.exception = exception;
	run->debug.arch.pad = 0;
	run->debug.arch.pc = wafer_rip(vcpu);
	if (wafer_code_mode(vcpu) != WAFER_CODE64)
		run->debug.arch.pc = (u32)(run->debug.arch.pc + wafer_seg(vcpu, WAFER_CS)->base);
	run->debug.arch.dr6 = dr6 | DR6_RESERVED;
	run->debug.arch.dr7 = vcpu->arch.hw_dr7;
	return WAFER_TO_USER;
}

/*
 * #DB, #AC, #BP, #UD and what else is intercepted. #DB and #AC exit so that a guest cannot keep the CPU busy
 * delivering them to itself for ever (CVE-2015-5307, CVE-2015-8104): each comes back here and interrupts get in.
 */
int wafer_exit_exception(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	const struct wafer_event *ev = &exit->event;

	if (ev->vector == X86_TRAP_DB && vcpu->guest_debug & STEP_OR_HW)
		return wafer_debug_exit(vcpu, X86_TRAP_DB, ev->payload);
	if (ev->vector == X86_TRAP_BP && vcpu->guest_debug & KVM_GUESTDBG_USE_SW_BP)
		return wafer_debug_exit(vcpu, X86_TRAP_BP, 0);
	if (ev->vector == X86_TRAP_UD)
		return wafer_foreign_hypercall(vcpu, window);
	wafer_queue_event(vcpu, ev);
	return WAFER_GO_ON;
}

/* One instruction is over (WAFER_ICPT_STEP). */
int wafer_exit_step(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	if (vcpu->guest_debug & KVM_GUESTDBG_SINGLESTEP)
		return wafer_debug_exit(vcpu, X86_TRAP_DB, DR_STEP);
	return WAFER_GO_ON;
}

/**
 * wafer_single_step_trap() - an emulated instruction has ended with RFLAGS.TF set
 * @vcpu: vCPU
 */
void wafer_single_step_trap(struct wafer_vcpu *vcpu)
{
	struct wafer_event db = {
		.kind = WAFER_EV_EXCEPTION, .vector = X86_TRAP_DB, .has_payload = true, .payload = DR_STEP,
	};

	wafer_queue_event(vcpu, &db);
}

/* The host's breakpoints while the guest's are in DR0-DR3; valid between load and put, on this CPU. */
static DEFINE_PER_CPU(unsigned long [4], host_dr);

static void write_drs(const u64 *dr)
{
	asm volatile("mov %0, %%db0" : : "r" (dr[0]));
	asm volatile("mov %0, %%db1" : : "r" (dr[1]));
	asm volatile("mov %0, %%db2" : : "r" (dr[2]));
	asm volatile("mov %0, %%db3" : : "r" (dr[3]));
}

static void read_drs(unsigned long *dr)
{
	asm volatile("mov %%db0, %0" : "=r" (dr[0]));
	asm volatile("mov %%db1, %0" : "=r" (dr[1]));
	asm volatile("mov %%db2, %0" : "=r" (dr[2]));
	asm volatile("mov %%db3, %0" : "=r" (dr[3]));
}

static void write_dr7(unsigned long val)
{
	asm volatile("mov %0, %%db7" : : "r" (val));
}

/**
 * wafer_debug_load() - in the window: put the guest's breakpoints into the CPU if any is armed
 * @vcpu: vCPU
 *
 * The host's are switched off first, so that none fires with half of the registers changed. Pairs with
 * wafer_debug_put().
 */
void wafer_debug_load(struct wafer_vcpu *vcpu)
{
	if (likely(!(vcpu->arch.hw_dr7 & DR7_ARMED)))
		return;
	if (this_cpu_read(cpu_dr7)) {
		write_dr7(DR7_OFF);
		read_drs(*this_cpu_ptr(&host_dr));
	}
	write_drs(vcpu->guest_debug & KVM_GUESTDBG_USE_HW_BP ? vcpu->guest_debug_dr : vcpu->arch.dr);
	vcpu->dr_loaded = true;
}

/* DR7 is off after an exit on either vendor's CPU (SDM vol. 3 §28.5.1, APM vol. 2 §15.6): the host's comes back. */
void wafer_debug_put(struct wafer_vcpu *vcpu)
{
	unsigned long host_dr7 = this_cpu_read(cpu_dr7);

	if (unlikely(vcpu->dr_loaded)) {
		vcpu->dr_loaded = false;
		if (host_dr7) {
			unsigned long *h = *this_cpu_ptr(&host_dr);
			u64 dr[4] = { h[0], h[1], h[2], h[3] };

			write_drs(dr);
		}
	}
	if (unlikely(host_dr7))
		write_dr7(host_dr7);
}

/* After a change of DR7, of the debugger's wishes, or of what the VMM lets through. */
u32 wafer_wanted_intercepts(struct wafer_vcpu *vcpu)
{
	const u32 off = vcpu->vm->exits_disabled;
	u32 want = WAFER_ICPT_DB | WAFER_ICPT_DR;

	wafer_need(vcpu, WAFER_G_DR);
	vcpu->arch.hw_dr7 = vcpu->guest_debug & KVM_GUESTDBG_USE_HW_BP ? vcpu->guest_debug_dr[7] : vcpu->arch.dr7;
	wafer_touch(vcpu, WAFER_G_DR);
	wafer_debug_put(vcpu);
	wafer_debug_load(vcpu);
	if (!(off & KVM_X86_DISABLE_EXITS_HLT))
		want |= WAFER_ICPT_HLT;
	if (!(off & KVM_X86_DISABLE_EXITS_MWAIT))
		want |= WAFER_ICPT_MWAIT;
	if (!(off & KVM_X86_DISABLE_EXITS_PAUSE))
		want |= WAFER_ICPT_PAUSE;
	if (!vcpu->lapic)
		want |= WAFER_ICPT_CR8;
	if (vcpu->guest_debug & KVM_GUESTDBG_USE_SW_BP)
		want |= WAFER_ICPT_BP;
	if (vcpu->guest_debug & KVM_GUESTDBG_SINGLESTEP)
		want |= WAFER_ICPT_STEP;
	return want;
}

/**
 * wafer_set_guest_debug() - KVM_SET_GUEST_DEBUG
 * @vcpu: vCPU, its mutex held
 * @d: what to stop at
 *
 * Return: 0; -EINVAL: unknown bits; -EBUSY: an exception is to be injected while another waits.
 */
int wafer_set_guest_debug(struct wafer_vcpu *vcpu, const struct kvm_guest_debug *d)
{
	static const struct {
		u32 bit;
		u8 vector;
	} injected[] = {
		{ KVM_GUESTDBG_INJECT_DB, X86_TRAP_DB },
		{ KVM_GUESTDBG_INJECT_BP, X86_TRAP_BP },
	};
	unsigned int i;

	if (d->control & ~(u32)WAFER_GUESTDBG_MASK)
		return wafer_refuse(&vcpu->refusal, -EINVAL, "control", d->control, "must be KVM_GUESTDBG_* bits");
	for (i = 0; i < ARRAY_SIZE(injected); i++) {
		if (!(d->control & injected[i].bit))
			continue;
		if (vcpu->pending.kind != WAFER_EV_NONE || vcpu->reinject.kind == WAFER_EV_EXCEPTION)
			return wafer_refuse(&vcpu->refusal, -EBUSY, "control", d->control,
					    "no exception may be waiting already");
		wafer_queue_exception(vcpu, injected[i].vector);
	}
	vcpu->guest_debug = d->control & KVM_GUESTDBG_ENABLE ? d->control : 0;
	if (vcpu->guest_debug & KVM_GUESTDBG_USE_HW_BP)
		for (i = 0; i < 8; i++)
			vcpu->guest_debug_dr[i] = d->arch.debugreg[i];
	wafer_hazard_set(vcpu, WAFER_H_INTERCEPT);
	wafer_hazard_set(vcpu, WAFER_H_EVENT);
	return 0;
}
