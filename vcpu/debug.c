// SPDX-License-Identifier: GPL-2.0
/*
 * Exceptions of the guest that exit, debug registers, and debugging a guest from outside
 * (KVM_SET_GUEST_DEBUG).
 *
 * The guest's MOV DR always exits, so arch.dr, dr6 and dr7 are the whole truth; the CPU's registers
 * are loaded only while a breakpoint is armed. arch.hw_dr7 is what the CPU has in DR7 while the
 * guest runs: the guest's, or the debugger's.
 */
#include "core.h"

/* Any of L0-L3, G0-G3 (SDM vol. 3 §17.2.4). */
#define DR7_ARMED 0xffull
#define DR7_OFF   0x400ull	/* the bit that is always set */
#define STEP_OR_HW (KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_USE_HW_BP)

/* KVM_EXIT_DEBUG. */
int wafer_debug_exit(struct wafer_vcpu *vcpu, u32 exception, u64 dr6)
{
	u64 pc = wafer_rip(vcpu);

	if (wafer_code_mode(vcpu) != WAFER_CODE64)
		pc = (u32)(pc + wafer_seg(vcpu, WAFER_CS)->base);
	vcpu->run->debug.arch = (struct kvm_debug_exit_arch){
		.exception = exception, .pc = pc,
		.dr6 = dr6 | DR6_RESERVED, .dr7 = vcpu->arch.hw_dr7,
	};
	return wafer_to_user(vcpu, KVM_EXIT_DEBUG);
}

/*
 * #DB, #AC, #BP, #UD and what else is intercepted. #DB and #AC exit so that a guest cannot keep the
 * CPU busy delivering them to itself for ever (CVE-2015-5307, CVE-2015-8104): each comes back here
 * and interrupts get in.
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
	/*
	 * #DB and #AC can come again in their own delivery (on a watched or misaligned stack)
	 * without end, and go before the host's interrupts (SDM vol. 3 §6.9): no other exit would
	 * ever let those in.
	 */
	return WAFER_REOPEN;
}

/* One instruction is over (WAFER_ICPT_STEP). */
int wafer_exit_step(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	return vcpu->guest_debug & KVM_GUESTDBG_SINGLESTEP ?
	       wafer_debug_exit(vcpu, X86_TRAP_DB, DR_STEP) : WAFER_GO_ON;
}

/*
 * The host's breakpoints while the guest's are in DR0-DR3; valid between load and put, on this CPU.
 */
static DEFINE_PER_CPU(unsigned long [4], host_dr);

/**
 * wafer_debug_load() - in the window: put the guest's breakpoints into the CPU if any is armed
 * @vcpu: vCPU
 *
 * The host's are switched off first, so that none fires with half of the registers changed. Pairs
 * with wafer_debug_put().
 */
void wafer_debug_load(struct wafer_vcpu *vcpu)
{
	const u64 *dr = vcpu->guest_debug & KVM_GUESTDBG_USE_HW_BP ?
			vcpu->guest_debug_dr : vcpu->arch.dr;
	bool save = this_cpu_read(cpu_dr7);

	if (likely(!(vcpu->arch.hw_dr7 & DR7_ARMED)))
		return;
	if (save)
		native_set_debugreg(7, DR7_OFF);
	for (int i = 0; i < 4; i++) {
		if (save)
			this_cpu_write(host_dr[i], native_get_debugreg(i));
		native_set_debugreg(i, dr[i]);
	}
	vcpu->dr_loaded = true;
}

/*
 * DR7 is off after an exit on either vendor's CPU (SDM vol. 3 §28.5.1, APM vol. 2 §15.6): the
 * host's comes back.
 */
void wafer_debug_put(struct wafer_vcpu *vcpu)
{
	unsigned long host_dr7 = this_cpu_read(cpu_dr7);

	if (unlikely(host_dr7)) {
		for (int i = 0; vcpu->dr_loaded && i < 4; i++)
			native_set_debugreg(i, this_cpu_read(host_dr[i]));
		native_set_debugreg(7, host_dr7);
	}
	vcpu->dr_loaded = false;
}

/* After a change of DR7, of the debugger's wishes, or of what the VMM lets through. */
u32 wafer_wanted_intercepts(struct wafer_vcpu *vcpu)
{
	u32 off = vcpu->vm->exits_disabled, debug = vcpu->guest_debug;

	wafer_need(vcpu, WAFER_G_DR);
	vcpu->arch.hw_dr7 = debug & KVM_GUESTDBG_USE_HW_BP ?
			    vcpu->guest_debug_dr[7] : vcpu->arch.dr7;
	wafer_touch(vcpu, WAFER_G_DR);
	wafer_debug_put(vcpu);
	wafer_debug_load(vcpu);
	return (vcpu->lapic ? 0 : WAFER_ICPT_CR8) |
	       (off & KVM_X86_DISABLE_EXITS_HLT ? 0 : WAFER_ICPT_HLT) |
	       (off & KVM_X86_DISABLE_EXITS_PAUSE ? 0 : WAFER_ICPT_PAUSE) |
	       (debug & KVM_GUESTDBG_USE_SW_BP ? WAFER_ICPT_BP : 0) |
	       (vcpu->stepping ? WAFER_ICPT_STEP : 0);
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
	const u32 inject = KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP;
	int r = wafer_deny(vcpu, d->control & ~(u32)WAFER_GUESTDBG_MASK, "control", d->control,
			   "must be KVM_GUESTDBG_* bits");

	if (r)
		return r;
	if (d->control & inject) {
		if (vcpu->pending.kind != WAFER_EV_NONE ||
		    vcpu->reinject.kind == WAFER_EV_EXCEPTION)
			return wafer_refuse(&vcpu->refusal, -EBUSY, "control", d->control,
					    "no exception may be waiting already");
		wafer_queue_exception(vcpu, d->control & KVM_GUESTDBG_INJECT_DB ?
				      X86_TRAP_DB : X86_TRAP_BP, 0);
	}
	vcpu->guest_debug = d->control & KVM_GUESTDBG_ENABLE ? d->control : 0;
	vcpu->stepping = vcpu->guest_debug & KVM_GUESTDBG_SINGLESTEP;
	vcpu->step_rip = wafer_rip(vcpu);
	if (vcpu->guest_debug & KVM_GUESTDBG_USE_HW_BP)
		memcpy(vcpu->guest_debug_dr, d->arch.debugreg, sizeof(vcpu->guest_debug_dr));
	wafer_hazards_set(vcpu, BIT(WAFER_H_INTERCEPT) | BIT(WAFER_H_EVENT));
	return 0;
}
