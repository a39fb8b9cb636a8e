// SPDX-License-Identifier: GPL-2.0
/*
 * KVM_RUN: the loop from user space into the guest and back.
 *
 * No wake-up is lost. run_guest() stores IN_GUEST, then a full barrier, then reads the hazards and
 * the thread's work flags. Who raises a hazard stores it, then a full barrier, then reads the mode
 * (kick.c); who sets a thread flag (signal, reschedule) follows it with an interrupt to the CPU
 * where the thread runs. If the loop missed the store, the interrupt comes after interrupts were
 * turned off: it is pending at the entry and ends the guest's run at once as WAFER_EXIT_EXTINT. On
 * one and the same CPU there is no "in between", since interrupts are off.
 */
#include <linux/sched/signal.h>
#include <linux/signal.h>
#include <linux/percpu.h>
#include <asm/debugreg.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "compat.h"
#include "fetch.h"
#include "fpu.h"
#include "kvm_abi.h"

/* Hazards that need guest memory, sleeping or the FPU area: dealt with by the outer loop. */
#define SLOW_HAZARDS (BIT(WAFER_H_CLOCK) | BIT(WAFER_H_STEAL) | BIT(WAFER_H_INIT_SIPI) | \
		      BIT(WAFER_H_EXIT) | BIT(WAFER_H_CHECK))

static bool thread_work_pending(void)
{
	return __xfer_to_guest_mode_work_pending() || wafer_softirqs_wait();
}

/*
 * Before the entry, in the window, when hazards or thread work were seen. WAFER_GO_ON: look again.
 */
static int before_entry(struct wafer_vcpu *vcpu)
{
	if (READ_ONCE(vcpu->hazards) & SLOW_HAZARDS || thread_work_pending() ||
	    test_and_clear_bit(WAFER_H_KICK, &vcpu->hazards))
		return WAFER_LEAVE;
	if (test_and_clear_bit(WAFER_H_FLUSH, &vcpu->hazards))
		wafer_backend->flush_tlb(vcpu);
	if (test_and_clear_bit(WAFER_H_TSC, &vcpu->hazards))
		wafer_backend->set_tsc(vcpu, vcpu->tsc_offset, vcpu->tsc_ratio);
	if (test_and_clear_bit(WAFER_H_INTERCEPT, &vcpu->hazards)) {
		wafer_msr_intercepts(vcpu);
		vcpu->intercepts = wafer_wanted_intercepts(vcpu);
		wafer_backend->intercept(vcpu, vcpu->intercepts);
	}
	if (test_and_clear_bit(WAFER_H_TIMER, &vcpu->hazards))
		wafer_lapic_timer_due(vcpu);
	if (test_and_clear_bit(WAFER_H_NMI, &vcpu->hazards) ||
	    test_bit(WAFER_H_EVENT, &vcpu->hazards) ||
	    test_and_clear_bit(WAFER_H_MCE, &vcpu->hazards))
		return wafer_inject_events(vcpu);
	return WAFER_GO_ON;
}

/* The rare cases in which every exit, or the next one, is followed by a look at something. */
static noinline void after_exit(struct wafer_vcpu *vcpu)
{
	if (vcpu->after_exit & WAFER_AFTER_EVENT)
		wafer_hazard_set(vcpu, WAFER_H_EVENT);
	if (wafer_ring_soft_full(&vcpu->fault))
		wafer_hazard_set(vcpu, WAFER_H_EXIT);
	vcpu->after_exit &= ~WAFER_AFTER_EVENT;
}

/*
 * WAFER_GO_ON, WAFER_TO_USER, WAFER_RETRY_SLOW (only in the window), WAFER_REOPEN, WAFER_LEAVE or
 * -errno.
 */
static __always_inline int handle_exit(struct wafer_vcpu *vcpu, enum wafer_exit_kind kind,
				       bool window)
{
	const struct wafer_exit_row *row = &wafer_exits[kind];
	struct wafer_exit *exit = &vcpu->exit;
	int r;

	if (!exit->len && row->needs_len && !(window && wafer_same_insn(vcpu))) {
		r = wafer_decode_exit(vcpu);
		if (r != WAFER_DECODED)
			return r;
	}
	return row->handle(vcpu, exit, window);
}

/*
 * The guest runs, in one window after the other, until something needs the outer loop or user
 * space.
 */
static int run_guest(struct wafer_vcpu *vcpu)
{
	enum wafer_exit_kind kind;
	int r;

	wafer_fpu_load(vcpu);
	current->flags |= PF_VCPU;		/* the tick is charged to the guest */
	do {
		wafer_window_open(vcpu);
		WRITE_ONCE(vcpu->guest_cpu, smp_processor_id());
		wafer_debug_load(vcpu);
		do {
			WRITE_ONCE(vcpu->mode, WAFER_IN_GUEST);
			smp_mb();		/* pairs with raise_sees_guest() in kick.c */
			if (unlikely(READ_ONCE(vcpu->hazards) || thread_work_pending())) {
				WRITE_ONCE(vcpu->mode, WAFER_OUTSIDE);
				r = before_entry(vcpu);
				continue;
			}
			if (unlikely(vcpu->reinject.kind != WAFER_EV_NONE))
				wafer_backend->inject(vcpu, &vcpu->reinject);
			wafer_pkru_enter(vcpu);
			static_call(wafer_enter)(vcpu);
			wafer_pkru_leave(vcpu);
			WRITE_ONCE(vcpu->mode, WAFER_OUTSIDE);
			kind = vcpu->exit.kind;
			vcpu->stat_exits[kind]++;
			if (unlikely(vcpu->after_exit))
				after_exit(vcpu);
			if (unlikely(vcpu->lapic && vcpu->cr8 != vcpu->last_cr8))
				wafer_lapic_set_cr8(vcpu, vcpu->cr8);
			r = handle_exit(vcpu, kind, true);
		} while (r == WAFER_GO_ON);
		/*
		 * What everybody outside, or the VMM, asks for: fetched while it is cheap. Who
		 * brings a page in asks for none of it.
		 */
		if (r != WAFER_REOPEN &&
		    !(r == WAFER_RETRY_SLOW && vcpu->exit.kind == WAFER_EXIT_FAULT))
			wafer_need(vcpu, WAFER_G_RIP | WAFER_G_RFLAGS | WAFER_G_BLOCK);
		wafer_debug_put(vcpu);
		/*
		 * A guest that leaves its CPU for the host's interrupts alone holds up no grace
		 * period: nothing protected by RCU is used here between two runs.
		 */
		if (r == WAFER_REOPEN)
			rcu_note_context_switch(false);
		wafer_window_close(vcpu);
	} while (r == WAFER_REOPEN && !thread_work_pending());
	current->flags &= ~PF_VCPU;
	wafer_fpu_put(vcpu);
	if (r == WAFER_RETRY_SLOW)
		r = handle_exit(vcpu, vcpu->exit.kind, false);
	return r;
}

/* Reasons for an exit that other threads or the chips have left behind. */
static int requested_exit(struct wafer_vcpu *vcpu)
{
	if (vcpu->eoi_exit) {
		vcpu->eoi_exit = false;
		vcpu->run->eoi.vector = vcpu->eoi_vector;
		return wafer_to_user(vcpu, KVM_EXIT_IOAPIC_EOI);
	}
	if (vcpu->step_due) {
		vcpu->step_due = false;
		return wafer_debug_exit(vcpu, X86_TRAP_DB, DR_STEP);
	}
	if (vcpu->triple_fault) {
		vcpu->triple_fault = false;
		return wafer_to_user(vcpu, KVM_EXIT_SHUTDOWN);
	}
	if (wafer_ring_soft_full(&vcpu->fault))
		return wafer_to_user(vcpu, KVM_EXIT_DIRTY_RING_FULL);
	return WAFER_GO_ON;
}

static int slow_hazards(struct wafer_vcpu *vcpu)
{
	const char *field;
	int r = WAFER_GO_ON;

	if (test_and_clear_bit(WAFER_H_INIT_SIPI, &vcpu->hazards))
		wafer_init_sipi(vcpu);
	if (test_and_clear_bit(WAFER_H_CLOCK, &vcpu->hazards))
		wafer_update_clock(vcpu);
	if (test_and_clear_bit(WAFER_H_STEAL, &vcpu->hazards))
		wafer_update_steal(vcpu);
	if (test_and_clear_bit(WAFER_H_CHECK, &vcpu->hazards)) {
		field = wafer_check_state(vcpu);
		if (field) {
			/* it stays wrong until it is set anew */
			wafer_hazard_set(vcpu, WAFER_H_CHECK);
			return wafer_fail_entry(vcpu, 0x80000021, field);
		}
	}
	if (test_and_clear_bit(WAFER_H_EXIT, &vcpu->hazards)) {
		r = requested_exit(vcpu);
		if (r != WAFER_GO_ON)
			wafer_hazard_set(vcpu, WAFER_H_EXIT);	/* there may be another */
	}
	return r;
}

static int run_loop(struct wafer_vcpu *vcpu)
{
	int r = WAFER_GO_ON;

	while (r > 0) {
		if (vcpu->steal_gpa & 1 && current->sched_info.run_delay != vcpu->steal_last)
			wafer_hazard_set(vcpu, WAFER_H_STEAL);
		if (READ_ONCE(vcpu->hazards) & SLOW_HAZARDS)
			r = slow_hazards(vcpu);
		if (r > 0)
			r = likely(vcpu->mp_state == KVM_MP_STATE_RUNNABLE) ?
			    run_guest(vcpu) : wafer_sleep(vcpu);
		if (r > 0 && __xfer_to_guest_mode_work_pending())
			r = wafer_handle_guest_work() ?: WAFER_GO_ON;
	}
	return r;
}

/*
 * What must be done before the guest goes on: take in what the VMM has set, finish its last exit.
 */
static int prepare(struct wafer_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	int (*complete)(struct wafer_vcpu *vcpu) = vcpu->complete;
	u64 cr8;
	int r;

	if (unlikely(READ_ONCE(run->kvm_dirty_regs) | READ_ONCE(run->kvm_valid_regs))) {
		r = wafer_sync_regs_in(vcpu);
		if (r)
			return r;
	}
	cr8 = READ_ONCE(run->cr8);
	if (!vcpu->lapic && cr8 != vcpu->cr8 && wafer_set_cr8(vcpu, cr8))
		return -EINVAL;
	if (complete) {
		vcpu->complete = NULL;
		/* The VMM may have set the registers at the exit: then nothing is left to do. */
		r = wafer_rip(vcpu) == vcpu->emu.rip ? complete(vcpu) : WAFER_GO_ON;
		if (r <= 0)
			return r;
	}
	if (wafer_immediate_exit(run))
		return -EINTR;
	/* As in KVM: under the VMM's single step STI and MOV SS hold nothing off. */
	if (unlikely(vcpu->guest_debug & KVM_GUESTDBG_SINGLESTEP))
		wafer_put_block(vcpu, wafer_block(vcpu) & WAFER_BLOCK_NMI);
	vcpu->want_irq_window = READ_ONCE(run->request_interrupt_window) &&
				vcpu->vm->irq.mode != WAFER_CHIP_FULL;
	if (vcpu->want_irq_window)
		wafer_hazard_set(vcpu, WAFER_H_EVENT);
	return WAFER_GO_ON;
}

/* Out fields: written at every return, since VMMs copy them into their own model (QEMU does). */
static void report(struct wafer_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	run->if_flag = !!(wafer_rflags(vcpu) & X86_EFLAGS_IF);
	run->cr8 = wafer_cr8(vcpu);
	run->apic_base = vcpu->apic_base;
	run->ready_for_interrupt_injection = vcpu->vm->irq.mode == WAFER_CHIP_FULL ||
					     wafer_ready_for_extint(vcpu);
	if (unlikely(run->kvm_valid_regs))
		wafer_sync_regs_out(vcpu);
}

/**
 * wafer_vcpu_run() - KVM_RUN
 * @vcpu: vCPU, its mutex held
 *
 * Return: 0: vcpu->run says what the VMM is to do; -EINTR: a signal or immediate_exit; -EFAULT with
 * KVM_EXIT_MEMORY_FAULT; -EAGAIN; -EINVAL: bad sync regs.
 */
int wafer_vcpu_run(struct wafer_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	int r;

	/*
	 * What the thread blocks is kept where the kernel looks for it when a signal is sent: one
	 * that the mask lets in ends KVM_RUN and is still the VMM's to take, even if it would kill.
	 */
	if (unlikely(vcpu->has_sigmask))
		sigprocmask(SIG_SETMASK, &vcpu->sigmask, &current->real_blocked);
	run->flags = 0;
	/* immediate_exit leaves the last exit's reason as it is: VMMs look at it again */
	r = prepare(vcpu);
	if (r > 0) {
		run->exit_reason = KVM_EXIT_UNKNOWN;
		r = run_loop(vcpu);
		if (r == -EINTR)
			run->exit_reason = KVM_EXIT_INTR;
	}
	vcpu->stat_user++;
	report(vcpu);
	if (unlikely(vcpu->has_sigmask)) {
		sigprocmask(SIG_SETMASK, &current->real_blocked, NULL);
		sigemptyset(&current->real_blocked);
	}
	return r;
}
