// SPDX-License-Identifier: GPL-2.0
/*
 * KVM_REGISTER_COALESCED_MMIO: writes to a zone are collected in a ring and the VMM takes them when
 * it comes by.
 *
 * The ring is one page that all vCPUs' mappings show. The VMM writes to it as it likes: indices are
 * read once and checked, and what it makes of its own data is its own affair.
 */
#include "chips.h"

#define MAX_ZONES 1000		/* on one bus */

/* One entry stays free, so that a full ring is not taken for an empty one. ring_lock held. */
static int put(struct kvm_coalesced_mmio_ring *ring, gpa_t addr, unsigned int len, const void *val,
	       bool pio)
{
	u32 last = READ_ONCE(ring->last), next = (last + 1) % KVM_COALESCED_MMIO_MAX;
	struct kvm_coalesced_mmio *entry;

	/* Full: a normal exit, before which the VMM empties it. */
	if (last >= KVM_COALESCED_MMIO_MAX || next == READ_ONCE(ring->first))
		return -EOPNOTSUPP;
	entry = &ring->coalesced_mmio[array_index_nospec(last, KVM_COALESCED_MMIO_MAX)];
	entry->phys_addr = addr;
	entry->len = len;
	entry->pio = pio;
	memcpy(entry->data, val, len);
	smp_store_release(&ring->last, next);	/* the VMM sees the entry with the index */
	return 0;
}

static int zone_access(struct wafer_vcpu *vcpu, struct wafer_bus_dev *dev, gpa_t addr,
		       unsigned int len, void *val, bool write)
{
	struct wafer_irq *irq = &vcpu->vm->irq;
	unsigned long flags;
	int r;

	if (!write || len > sizeof_field(struct kvm_coalesced_mmio, data) ||
	    addr + len > dev->addr + dev->len)
		return -EOPNOTSUPP;
	if (!wafer_lock(&irq->ring_lock, &flags, vcpu->loaded))
		return -EAGAIN;
	r = put(irq->coalesced_ring, addr, len, val, dev->kind == WAFER_BUS_PIO);
	wafer_unlock(&irq->ring_lock, flags);
	return r;
}

static void free_zone(struct rcu_head *rcu)
{
	kfree(container_of(rcu, struct wafer_bus_dev, rcu));
}

static const struct wafer_bus_ops zone_ops = { .access = zone_access, .free = free_zone };

/* @z comes, or all zones that cover it go; that there are none is no error. */
static int change_zones(struct wafer_vm *vm, struct wafer_bus_dev *z, bool add)
{
	struct wafer_bus_dev *dev;
	unsigned int i, nr = 0;

	for (i = 0; (dev = wafer_bus_at(vm, z->kind, i)); i++) {
		nr += dev->ops == &zone_ops;
		if (!add && dev->ops == &zone_ops && dev->addr <= z->addr &&
		    dev->addr + dev->len >= z->addr + z->len)
			wafer_bus_del(vm, dev);
	}
	return !add ? 0 : nr < MAX_ZONES ? wafer_bus_add(vm, z) : -ENOSPC;
}

/**
 * wafer_coalesced_zone() - KVM_REGISTER_COALESCED_MMIO, KVM_UNREGISTER_COALESCED_MMIO
 * @vm: VM
 * @zone: range of addresses, or ports with @zone->pio
 * @add: register
 *
 * Return: 0; -EINVAL; -ENOSPC: too many zones; -ENOMEM.
 */
int wafer_coalesced_zone(struct wafer_vm *vm, const struct kvm_coalesced_mmio_zone *zone, bool add)
{
	struct wafer_bus_dev *dev;
	u64 addr = zone->addr;
	int r = RULE(zone->pio > 1, vm, "pio", zone->pio, "is 0 or 1") ?:
		RULE(add && addr + zone->size <= addr, vm, "size", zone->size,
		     "is not 0, and does not wrap");

	if (r)
		return r;
	dev = kzalloc(sizeof(*dev), GFP_KERNEL_ACCOUNT);
	if (!dev)
		return -ENOMEM;
	mutex_lock(&vm->irq.lock);
	*dev = (struct wafer_bus_dev){ &zone_ops, zone->pio, addr, zone->size };
	r = change_zones(vm, dev, add);
	mutex_unlock(&vm->irq.lock);
	if (r || !add)
		kfree(dev);
	return r;
}
