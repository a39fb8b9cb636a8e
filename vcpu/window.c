// SPDX-License-Identifier: GPL-2.0
/*
 * The window: the stretch with interrupts off in which a vCPU's hardware state is accessible on
 * this CPU. Nothing inside sleeps, spins for another CPU or touches user memory.
 */
#include "core.h"

static void detach_here(void *data)
{
	struct wafer_vcpu *vcpu = data;

	/* Hotplug may have unbound it between the caller's look and this interrupt. */
	if (vcpu->hw_cpu == smp_processor_id())
		wafer_backend->detach(vcpu);
}

/**
 * wafer_vcpu_detach() - unbind the hardware state from the CPU that holds it
 * @vcpu: vCPU, not in a window
 *
 * Interrupts must be on: the CPU that holds it may be waiting for this one.
 */
void wafer_vcpu_detach(struct wafer_vcpu *vcpu)
{
	int cpu = READ_ONCE(vcpu->hw_cpu);

	if (cpu >= 0)
		smp_call_function_single(cpu, detach_here, vcpu, 1);
}

/**
 * wafer_window_open() - enter the window
 * @vcpu: vCPU, its mutex held
 *
 * Context: process, interrupts on. Pairs with wafer_window_close().
 */
void wafer_window_open(struct wafer_vcpu *vcpu)
{
	preempt_disable();
	if (unlikely(vcpu->hw_cpu != smp_processor_id()))
		wafer_vcpu_detach(vcpu);
	local_irq_disable();
	wafer_backend->load(vcpu);
	vcpu->loaded = true;
	WRITE_ONCE(vcpu->fault.ran, jiffies);
}

void wafer_window_close(struct wafer_vcpu *vcpu)
{
	vcpu->loaded = false;
	wafer_backend->put(vcpu);
	local_irq_enable();
	preempt_enable();
}
