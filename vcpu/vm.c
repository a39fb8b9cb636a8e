// SPDX-License-Identifier: GPL-2.0
/* Life of a VM. */
#include <linux/sched/mm.h>

#include "core.h"

static void flush_all(struct wafer_mmu *mmu)
{
	wafer_vm_raise_wait(container_of(mmu, struct wafer_vm, mmu), WAFER_H_FLUSH);
}

/* The last step: the notifier's grace period is over, nothing can call in any more. */
static void memory_gone(struct wafer_mmu *mmu)
{
	struct wafer_vm *vm = container_of(mmu, struct wafer_vm, mmu);

	mmdrop(vm->mm);
	kfree(vm);
}

struct wafer_vm *wafer_vm_create(void)
{
	struct wafer_vm *vm = kzalloc(sizeof(*vm), GFP_KERNEL_ACCOUNT);
	int r;

	if (!vm)
		return ERR_PTR(-ENOMEM);
	refcount_set(&vm->users, 1);
	mutex_init(&vm->lock);
	wafer_vm_time_init(vm);
	r = wafer_irq_init(vm) ?: wafer_hardware_get(vm);
	if (r)
		goto free;
	mmgrab(current->mm);
	vm->mm = current->mm;
	r = wafer_mmu_init(&vm->mmu, wafer_caps.format, wafer_caps.levels, wafer_caps.max_level,
			   flush_all);
	if (!r)
		return vm;
	mmdrop(vm->mm);
	wafer_hardware_put(vm);
free:
	wafer_irq_free(vm);	/* of what there is */
	kfree(vm);
	return ERR_PTR(r);
}

/**
 * wafer_vm_put() - give back a reference
 * @vm: VM
 *
 * With the last one nobody runs or calls a vCPU any more: each descriptor holds a reference. First
 * what can fire by itself is silenced (irqfds, timers), then vCPUs go, then memory, whose end comes
 * from the notifier's grace period.
 */
void wafer_vm_put(struct wafer_vm *vm)
{
	if (!refcount_dec_and_test(&vm->users))
		return;
	wafer_irq_quiesce(vm);
	/* From here on no notifier looks at the vCPUs. */
	wafer_mmu_quiesce(&vm->mmu);
	while (vm->nr_vcpus)		/* in this order: the VM is on the list of all VMs as yet */
		wafer_vcpu_free(vm->vcpus[--vm->nr_vcpus]);
	wafer_irq_free(vm);
	wafer_msr_filter_free(vm);
	wafer_hardware_put(vm);
	wafer_mmu_release(&vm->mmu, memory_gone);
}

struct wafer_vcpu *wafer_vcpu_by_id(struct wafer_vm *vm, u32 id)
{
	struct wafer_vcpu *vcpu;

	/* The common case: ids count from 0. */
	if (id < smp_load_acquire(&vm->nr_vcpus)) {
		vcpu = vm->vcpus[array_index_nospec(id, WAFER_MAX_VCPUS)];
		if (vcpu->id == id)
			return vcpu;
	}
	wafer_for_each_vcpu(vcpu, vm)
		if (vcpu->id == id)
			return vcpu;
	return NULL;
}
