// SPDX-License-Identifier: GPL-2.0
/* Starting, halting and waking: INIT, SIPI, HLT. */
#include "compat.h"
#include "core.h"

/*
 * From a local APIC; any context. The bit is set before the hazard, and read after the hazard was
 * cleared.
 */
void wafer_vcpu_init_ipi(struct wafer_vcpu *vcpu)
{
	/* INIT clears what came before it: a SIPI from before is void. */
	clear_bit(WAFER_GOT_SIPI, &vcpu->init_sipi);
	set_bit(WAFER_GOT_INIT, &vcpu->init_sipi);
	wafer_vcpu_raise(vcpu, WAFER_H_INIT_SIPI);
}

void wafer_vcpu_sipi(struct wafer_vcpu *vcpu, u8 vector)
{
	WRITE_ONCE(vcpu->sipi_vector, vector);
	set_bit(WAFER_GOT_SIPI, &vcpu->init_sipi);
	wafer_vcpu_raise(vcpu, WAFER_H_INIT_SIPI);
}

/**
 * wafer_init_sipi() - act on INIT and SIPI (SDM vol. 3 §9.4.3)
 * @vcpu: vCPU, outside the window, FPU not loaded
 *
 * The boot CPU restarts at the reset vector, others wait for SIPI. SIPI is taken by a CPU that
 * waits for it and lost on any other.
 */
void wafer_init_sipi(struct wafer_vcpu *vcpu)
{
	struct wafer_segment *cs = &vcpu->arch.seg[WAFER_CS];

	if (test_and_clear_bit(WAFER_GOT_INIT, &vcpu->init_sipi)) {
		wafer_vcpu_reset(vcpu, true);
		vcpu->mp_state = vcpu->id == vcpu->vm->boot_cpu_id ? KVM_MP_STATE_RUNNABLE :
								     KVM_MP_STATE_INIT_RECEIVED;
	}
	if (test_and_clear_bit(WAFER_GOT_SIPI, &vcpu->init_sipi) &&
	    vcpu->mp_state == KVM_MP_STATE_INIT_RECEIVED) {
		wafer_need(vcpu, WAFER_G_SEG(WAFER_CS));
		cs->selector = READ_ONCE(vcpu->sipi_vector) << 8;
		cs->base = (u32)cs->selector << 4;
		wafer_touch(vcpu, WAFER_G_SEG(WAFER_CS));
		wafer_put_rip(vcpu, 0);
		vcpu->mp_state = KVM_MP_STATE_RUNNABLE;
	}
}

/* Is there something that ends HLT (SDM vol. 2, HLT)? */
bool wafer_runnable(struct wafer_vcpu *vcpu)
{
	if (test_and_clear_bit(WAFER_H_TIMER, &vcpu->hazards))
		wafer_lapic_timer_due(vcpu);
	return vcpu->reinject.kind != WAFER_EV_NONE || vcpu->pending.kind != WAFER_EV_NONE ||
	       (atomic_read(&vcpu->nmi_pending) && !(wafer_block(vcpu) & WAFER_BLOCK_NMI)) ||
	       test_and_clear_bit(WAFER_GOT_UNHALT, &vcpu->init_sipi) ||
	       (wafer_rflags(vcpu) & X86_EFLAGS_IF && wafer_irq_pending(vcpu));
}

/**
 * wafer_sleep() - a vCPU that does not run waits here
 * @vcpu: vCPU with an mp_state other than RUNNABLE
 *
 * The waiter sets its state, then looks; who raises a hazard sets it, then looks for the waiter
 * (rcuwait). What ends HLT is looked for once in each turn: a kick is gone once it was seen.
 *
 * Return: WAFER_GO_ON, also for signals, which the outer loop looks for; WAFER_TO_USER: the VMM can
 * inject its interrupt.
 */
int wafer_sleep(struct wafer_vcpu *vcpu)
{
	bool halted = vcpu->mp_state == KVM_MP_STATE_HALTED, wakes;

	/* STI and HLT: no entry will show that the VMM's window is open. */
	if (wafer_irq_window_opens(vcpu))
		return WAFER_TO_USER;
	prepare_to_rcuwait(&vcpu->wait);
	for (;;) {
		set_current_state(TASK_INTERRUPTIBLE);
		wakes = halted && wafer_runnable(vcpu);
		if (wakes ||
		    READ_ONCE(vcpu->hazards) & (BIT(WAFER_H_INIT_SIPI) | BIT(WAFER_H_EXIT)) ||
		    signal_pending(current) || __xfer_to_guest_mode_work_pending())
			break;
		schedule();
	}
	finish_rcuwait(&vcpu->wait);
	if (wakes) {
		vcpu->mp_state = KVM_MP_STATE_RUNNABLE;
		vcpu->stat_halt_wakeups++;
		wafer_hazard_set(vcpu, WAFER_H_EVENT);
	}
	if (check_tsc_unstable())
		wafer_hazard_set(vcpu, WAFER_H_CLOCK);
	return WAFER_GO_ON;
}
