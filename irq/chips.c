// SPDX-License-Identifier: GPL-2.0
/* The chips of a VM as a whole: made, saved, restored, silenced, freed. */
#include <linux/gfp.h>
#include <linux/kernel.h>
#include <linux/nospec.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "chips.h"
#include "lapic.h"
#include "vm.h"

int wafer_irq_init(struct wafer_vm *vm)
{
	struct wafer_irq *irq = &vm->irq;

	irq->coalesced_ring = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!irq->coalesced_ring)
		return -ENOMEM;
	mutex_init(&irq->lock);
	raw_spin_lock_init(&irq->ring_lock);
	INIT_LIST_HEAD(&irq->irqfds);
	INIT_LIST_HEAD(&irq->resamplers);
	INIT_LIST_HEAD(&irq->ioeventfds);
	INIT_LIST_HEAD(&irq->coalesced_zones);
	return 0;
}

/* Nobody uses the VM any more but what fires by itself: that ends here. No vCPU runs, so nothing starts it again. */
void wafer_irq_quiesce(struct wafer_vm *vm)
{
	struct wafer_vcpu *vcpu;
	unsigned int i;

	wafer_irqfd_quiesce(vm);
	wafer_pit_quiesce(vm);
	wafer_ioapic_quiesce(vm);
	wafer_for_each_vcpu(i, vcpu, vm)
		if (vcpu->lapic)
			wafer_lapic_timer_cancel(vcpu->lapic);
}

static void free_chips(struct wafer_vm *vm)
{
	wafer_pit_free(vm);
	wafer_ioapic_free(vm);
	wafer_pic_free(vm);
	wafer_routes_free(vm);
	kfree(vm->irq.apic_index);
	vm->irq.apic_index = NULL;
}

void wafer_irq_free(struct wafer_vm *vm)
{
	wafer_bus_free(vm);
	wafer_ioeventfd_free(vm);
	wafer_coalesced_free(vm);
	free_chips(vm);
	free_page((unsigned long)vm->irq.coalesced_ring);
}

/* Before the first vCPU: what is set here is seen by all of them. vm->lock held. */
static int may_create(struct wafer_vm *vm)
{
	if (vm->irq.mode != WAFER_CHIP_NONE)
		return wafer_refuse(&vm->refusal, -EEXIST, "irqchip", vm->irq.mode,
				    "is created once");
	if (vm->nr_vcpus)
		return wafer_refuse(&vm->refusal, -EINVAL, "vcpus", vm->nr_vcpus,
				    "are created after the irqchip");
	return 0;
}

static int alloc_ids(struct wafer_vm *vm)
{
	vm->irq.apic_index = kcalloc(WAFER_MAX_VCPU_ID, sizeof(u16), GFP_KERNEL_ACCOUNT);
	return vm->irq.apic_index ? 0 : -ENOMEM;
}

/**
 * wafer_create_irqchip() - KVM_CREATE_IRQCHIP: PIC, I/O APIC, local APICs
 * @vm: VM, its lock held
 *
 * Return: 0; -EEXIST: there is one; -EINVAL: there are vCPUs; -ENOMEM.
 */
int wafer_create_irqchip(struct wafer_vm *vm)
{
	int r = may_create(vm);

	if (r)
		return r;
	r = alloc_ids(vm);
	if (!r)
		r = wafer_pic_create(vm);
	if (!r)
		r = wafer_ioapic_create(vm);
	if (!r)
		r = wafer_set_default_routing(vm);
	if (r) {
		free_chips(vm);
		return r;
	}
	smp_store_release(&vm->irq.mode, WAFER_CHIP_FULL);	/* see wafer_chip_mode() */
	return 0;
}

/**
 * wafer_enable_split_irqchip() - KVM_CAP_SPLIT_IRQCHIP: local APICs alone
 * @vm: VM, its lock held
 * @pins: GSIs below are those of the VMM's I/O APIC
 *
 * Return: 0; -EEXIST; -EINVAL: too many pins, or there are vCPUs; -ENOMEM.
 */
int wafer_enable_split_irqchip(struct wafer_vm *vm, u64 pins)
{
	int r;

	if (pins > WAFER_MAX_GSI)
		return wafer_refuse(&vm->refusal, -EINVAL, "args[0]", pins, "is at most 4096");
	r = may_create(vm);
	if (!r)
		r = alloc_ids(vm);
	if (r)
		return r;
	vm->irq.split_pins = pins;
	smp_store_release(&vm->irq.mode, WAFER_CHIP_SPLIT);	/* see wafer_chip_mode() */
	return 0;
}

static int check_chip(struct wafer_vm *vm, const struct kvm_irqchip *chip)
{
	if (vm->irq.mode != WAFER_CHIP_FULL)
		return wafer_refuse(&vm->refusal, -ENXIO, "irqchip", vm->irq.mode,
				    "is complete (KVM_CREATE_IRQCHIP)");
	if (chip->chip_id >= KVM_NR_IRQCHIPS)
		return wafer_refuse(&vm->refusal, -EINVAL, "chip_id", chip->chip_id, "is 0 to 2");
	return 0;
}

/**
 * wafer_get_irqchip() - KVM_GET_IRQCHIP
 * @vm: VM, its lock held
 * @chip: chip_id says which; the result
 *
 * Return: 0; -ENXIO: not with a split chip or none; -EINVAL: no such chip.
 */
int wafer_get_irqchip(struct wafer_vm *vm, struct kvm_irqchip *chip)
{
	int r = check_chip(vm, chip);

	if (r)
		return r;
	memset(&chip->chip, 0, sizeof(chip->chip));
	if (chip->chip_id == KVM_IRQCHIP_IOAPIC)
		wafer_ioapic_get(vm, &chip->chip.ioapic);
	else
		wafer_pic_get(vm, array_index_nospec(chip->chip_id, 2), &chip->chip.pic);
	return 0;
}

int wafer_set_irqchip(struct wafer_vm *vm, const struct kvm_irqchip *chip)
{
	int r = check_chip(vm, chip);

	if (r)
		return r;
	if (chip->chip_id == KVM_IRQCHIP_IOAPIC)
		wafer_ioapic_put(vm, &chip->chip.ioapic);
	else
		wafer_pic_put(vm, array_index_nospec(chip->chip_id, 2), &chip->chip.pic);
	return 0;
}
