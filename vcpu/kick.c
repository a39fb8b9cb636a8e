// SPDX-License-Identifier: GPL-2.0
/*
 * Telling a vCPU that there is something to do before its next entry.
 *
 * One rule: the raiser sets the hazard's bit, then a full barrier, then reads vcpu->mode. The run
 * loop sets mode to IN_GUEST, then a full barrier, then reads the hazards. At least one of the two
 * sees the other's store: either the loop finds the hazard and does not enter, or the raiser finds
 * IN_GUEST and sends an interrupt, which stays pending while the loop has interrupts off and so
 * makes the guest exit as soon as it is entered. A sleeping vCPU is woken through vcpu->wait, whose
 * own protocol has the same form.
 */
#include "compat.h"
#include "core.h"

static struct cpumask __percpu *kick_masks;

int wafer_kick_init(void)
{
	kick_masks = __alloc_percpu(cpumask_size(), __alignof__(unsigned long));
	return kick_masks ? 0 : -ENOMEM;
}

void wafer_kick_exit(void)
{
	free_percpu(kick_masks);
}

/* Pairs with the barrier in run.c, between setting the mode and reading the hazards. */
static bool raise_sees_guest(struct wafer_vcpu *vcpu, enum wafer_hazard hazard)
{
	set_bit(hazard, &vcpu->hazards);
	smp_mb__after_atomic();		/* see above */
	return READ_ONCE(vcpu->mode) == WAFER_IN_GUEST;
}

/**
 * wafer_vcpu_raise() - raise a hazard, and kick or wake the vCPU so that it sees it soon
 * @vcpu: any vCPU
 * @hazard: what is to be done
 *
 * Context: any.
 */
void wafer_vcpu_raise(struct wafer_vcpu *vcpu, enum wafer_hazard hazard)
{
	if (raise_sees_guest(vcpu, hazard)) {
		int me = get_cpu(), cpu = READ_ONCE(vcpu->guest_cpu);

		/*
		 * On this very CPU the loop itself is the raiser (or an NMI handler inside the
		 * loop): it reads the hazards before it enters. A CPU that has left the guest since
		 * takes the interrupt for nothing.
		 */
		if (cpu != me)
			smp_send_reschedule(cpu);
		put_cpu();
	} else {
		rcuwait_wake_up(&vcpu->wait);
	}
}

void wafer_vm_raise(struct wafer_vm *vm, enum wafer_hazard hazard)
{
	struct wafer_vcpu *vcpu;

	wafer_for_each_vcpu(vcpu, vm)
		wafer_vcpu_raise(vcpu, hazard);
}

static void ack(void *unused)
{
}

/**
 * wafer_vm_raise_wait() - raise a hazard on all vCPUs and wait until none runs in ignorance of it
 * @vm: VM
 * @hazard: what is to be done; a vCPU does it before it enters again
 *
 * The function call is taken by a CPU only outside the window, so that its return says that the
 * guest was left. The window never waits for this one, so the wait is bounded. Sleeping vCPUs need
 * no wake-up.
 *
 * Context: interrupts on.
 */
void wafer_vm_raise_wait(struct wafer_vm *vm, enum wafer_hazard hazard)
{
	struct wafer_vcpu *vcpu;
	struct cpumask *mask;

	preempt_disable();
	mask = this_cpu_ptr(kick_masks);
	cpumask_clear(mask);
	wafer_for_each_vcpu(vcpu, vm)
		if (raise_sees_guest(vcpu, hazard))
			cpumask_set_cpu(READ_ONCE(vcpu->guest_cpu), mask);
	/* but for this CPU, which is here and in no guest */
	smp_call_function_many(mask, ack, NULL, true);
	preempt_enable();
}

/**
 * wafer_vcpu_nmi() - an NMI for the guest
 * @vcpu: any vCPU
 *
 * The first of two may be taken at once, so two can wait here; see wafer_inject_events().
 *
 * Context: any.
 */
void wafer_vcpu_nmi(struct wafer_vcpu *vcpu)
{
	if (atomic_read(&vcpu->nmi_pending) < 2)
		atomic_inc(&vcpu->nmi_pending);
	wafer_vcpu_raise(vcpu, WAFER_H_NMI);
}
