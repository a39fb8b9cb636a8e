// SPDX-License-Identifier: GPL-2.0
/*
 * KVM_REGISTER_COALESCED_MMIO: writes to a zone are collected in a ring and the VMM takes them when it comes by.
 *
 * The ring is one page that all vCPUs' mappings show. The VMM writes to it as it likes: indices are read once and
 * checked, and what it makes of its own data is its own affair.
 */
#include <linux/kernel.h>
#include <linux/nospec.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "chips.h"
#include "lapic.h"
#include "vm.h"

#define MAX_ZONES 1000

struct wafer_zone {
	struct wafer_bus_dev dev;
	struct list_head link;		/* in irq.coalesced_zones */
	struct rcu_head rcu;
	enum wafer_bus_kind kind;
};

/* One entry stays free, so that a full ring is not taken for an empty one. ring_lock held. */
static int put(struct kvm_coalesced_mmio_ring *ring, gpa_t addr, unsigned int len, const void *val,
	       bool pio)
{
	u32 last = READ_ONCE(ring->last), next;
	struct kvm_coalesced_mmio *entry;

	if (last >= KVM_COALESCED_MMIO_MAX)
		return -EOPNOTSUPP;
	last = array_index_nospec(last, KVM_COALESCED_MMIO_MAX);
	next = (last + 1) % KVM_COALESCED_MMIO_MAX;
	if (next == READ_ONCE(ring->first))
		return -EOPNOTSUPP;	/* full: a normal exit, before which the VMM empties it */
	entry = &ring->coalesced_mmio[last];
	entry->phys_addr = addr;
	entry->len = len;
	entry->pio = pio;
	memcpy(entry->data, val, len);
	smp_store_release(&ring->last, next);	/* the VMM sees the entry with the index */
	return 0;
}

static int zone_write(struct wafer_vcpu *vcpu, struct wafer_bus_dev *dev, gpa_t addr,
		      unsigned int len, const void *val, bool window)
{
	struct wafer_zone *zone = container_of(dev, struct wafer_zone, dev);
	struct wafer_irq *irq = &vcpu->vm->irq;
	unsigned long flags;
	int r;

	if (len > sizeof_field(struct kvm_coalesced_mmio, data) ||
	    addr + len > dev->addr + dev->len)
		return -EOPNOTSUPP;
	if (!wafer_chip_lock(&irq->ring_lock, &flags, window))
		return -EAGAIN;
	r = put(irq->coalesced_ring, addr, len, val, zone->kind == WAFER_BUS_PIO);
	wafer_chip_unlock(&irq->ring_lock, flags);
	return r;
}

static const struct wafer_bus_ops zone_ops = { .write = zone_write };

static int add_zone(struct wafer_vm *vm, const struct kvm_coalesced_mmio_zone *z)
{
	struct wafer_zone *zone;
	int r;

	zone = kzalloc(sizeof(*zone), GFP_KERNEL_ACCOUNT);
	if (!zone)
		return -ENOMEM;
	zone->dev = (struct wafer_bus_dev){ &zone_ops, z->addr, z->size };
	zone->kind = z->pio ? WAFER_BUS_PIO : WAFER_BUS_MMIO;
	mutex_lock(&vm->irq.lock);
	r = vm->irq.nr_zones < MAX_ZONES ? __wafer_bus_add(vm, zone->kind, &zone->dev) : -ENOSPC;
	if (!r) {
		list_add_tail(&zone->link, &vm->irq.coalesced_zones);
		vm->irq.nr_zones++;
	}
	mutex_unlock(&vm->irq.lock);
	if (r)
		kfree(zone);
	return r;
}

/* All zones that cover the range go; that there are none is no error. */
static int del_zone(struct wafer_vm *vm, const struct kvm_coalesced_mmio_zone *z)
{
	enum wafer_bus_kind kind = z->pio ? WAFER_BUS_PIO : WAFER_BUS_MMIO;
	struct wafer_zone *zone, *next;

	mutex_lock(&vm->irq.lock);
	list_for_each_entry_safe(zone, next, &vm->irq.coalesced_zones, link) {
		if (zone->kind != kind || zone->dev.addr > z->addr ||
		    zone->dev.addr + zone->dev.len < z->addr + z->size)
			continue;
		list_del(&zone->link);
		vm->irq.nr_zones--;
		__wafer_bus_del(vm, kind, &zone->dev);
		kfree_rcu(zone, rcu);
	}
	mutex_unlock(&vm->irq.lock);
	return 0;
}

/**
 * wafer_coalesced_zone() - KVM_REGISTER_COALESCED_MMIO, KVM_UNREGISTER_COALESCED_MMIO
 * @vm: VM
 * @zone: range of addresses, or ports with @zone->pio
 * @add: register
 * @refusal: where to note a refusal
 *
 * Return: 0; -EINVAL; -ENOSPC: too many zones; -ENOMEM.
 */
int wafer_coalesced_zone(struct wafer_vm *vm, const struct kvm_coalesced_mmio_zone *zone, bool add,
			 struct wafer_refusal *refusal)
{
	if (zone->pio > 1)
		return wafer_refuse(refusal, -EINVAL, "pio", zone->pio, "is 0 or 1");
	if (zone->addr + zone->size < zone->addr)
		return wafer_refuse(refusal, -EINVAL, "addr", zone->addr, "plus size does not wrap");
	if (add && !zone->size)
		return wafer_refuse(refusal, -EINVAL, "size", 0, "is not 0");
	return add ? add_zone(vm, zone) : del_zone(vm, zone);
}

void wafer_coalesced_free(struct wafer_vm *vm)
{
	struct wafer_zone *zone, *next;

	list_for_each_entry_safe(zone, next, &vm->irq.coalesced_zones, link)
		kfree(zone);
}
