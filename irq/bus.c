// SPDX-License-Identifier: GPL-2.0
/*
 * Which device in the kernel answers at an address? A sorted array per bus, replaced as a whole,
 * read under RCU.
 *
 * A device that goes leaves an empty place, for that can't fail; the next one that comes makes a
 * table without it.
 *
 * Devices may overlap (ioeventfds that differ in what they match, zones over devices): all that
 * cover an address are asked, those that begin last first, until one takes the access.
 */
#include "chips.h"

/* An eventfd can be used again and again, so something must bound what one VM can take. */
#define MAX_DEVS 65536

/**
 * struct wafer_bus_table - one generation of a bus
 * @rcu: for kvfree_rcu()
 * @nr: number of devices
 * @slot: sorted by address; @end is the highest end (exclusive) of this and all before, so that a
 *	search backwards knows when nothing can cover an address any more; @alone: no other covers
 *	@addr
 */
struct wafer_bus_table {
	struct rcu_head rcu;
	unsigned int nr;
	struct {
		gpa_t addr;
		u64 end;
		struct wafer_bus_dev *dev;
		bool alone;
	} slot[];
};

/* What is in an empty place: it covers nothing. */
static struct wafer_bus_dev nobody;

/* Index of the first device that begins behind @addr. */
static unsigned int upper_bound(const struct wafer_bus_table *t, gpa_t addr)
{
	unsigned int low = 0, high = t->nr, mid;

	while (low < high) {
		mid = (low + high) / 2;
		if (t->slot[mid].addr <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/*
 * Are @len bytes at @addr the device's? A write that is longer than an ioeventfd's single byte (any
 * length) is its matter, too: it goes by its first byte there, and a device with registers checks
 * the length.
 */
static bool covers(const struct wafer_bus_dev *dev, gpa_t addr, unsigned int len, bool write)
{
	gpa_t at = addr - dev->addr;

	return at < dev->len && ((write && dev->len == 1) || len <= dev->len - at);
}

int wafer_bus_search(struct wafer_vcpu *vcpu, enum wafer_bus_kind kind, gpa_t addr,
		     unsigned int len, void *val, bool write)
{
	const struct wafer_bus_table *t;
	struct wafer_bus_dev *dev;
	int r = -EOPNOTSUPP;
	unsigned int i;

	/* In the window interrupts are off, and grace periods wait for that. */
	if (!vcpu->loaded)
		rcu_read_lock();
	t = rcu_dereference_check(vcpu->vm->bus[kind].table, rcu_read_lock_sched_held());
	for (i = upper_bound(t, addr); i-- && t->slot[i].end > addr && r == -EOPNOTSUPP;) {
		dev = READ_ONCE(t->slot[i].dev);
		if (!covers(dev, addr, len, write))
			continue;
		r = dev->ops->access(vcpu, dev, addr, len, val, write);
		vcpu->bus_place[kind] = i;
	}
	if (!vcpu->loaded)
		rcu_read_unlock();
	return r;
}

/*
 * A guest that writes to a doorbell does so again: the place where a device was found is looked at
 * first. It will do if the device begins at @addr and covers the access (see covers(); an empty
 * place has no length), and no other does.
 */
int wafer_bus_find(struct wafer_vcpu *vcpu, enum wafer_bus_kind kind, gpa_t addr, unsigned int len,
		   void *val, bool write)
{
	const struct wafer_bus_table *t;
	unsigned int i = vcpu->bus_place[kind];
	struct wafer_bus_dev *dev;

	if (!vcpu->loaded)
		return wafer_bus_search(vcpu, kind, addr, len, val, write);
	/* In the window, as above. */
	t = rcu_dereference_check(vcpu->vm->bus[kind].table, rcu_read_lock_sched_held());
	if (i < t->nr && t->slot[i].addr == addr && t->slot[i].alone) {
		dev = READ_ONCE(t->slot[i].dev);
		if (len <= dev->len || (write && dev->len == 1))
			return dev->ops->access(vcpu, dev, addr, len, val, write);
	}
	return wafer_bus_search(vcpu, kind, addr, len, val, write);
}

static struct wafer_bus_table *table(struct wafer_vm *vm, enum wafer_bus_kind kind)
{
	return rcu_dereference_protected(vm->bus[kind].table, lockdep_is_held(&vm->irq.lock));
}

struct wafer_bus_dev *wafer_bus_at(struct wafer_vm *vm, enum wafer_bus_kind kind, unsigned int i)
{
	struct wafer_bus_table *t = table(vm, kind);

	return t && i < t->nr ? t->slot[i].dev : NULL;
}

int wafer_bus_add(struct wafer_vm *vm, struct wafer_bus_dev *dev)
{
	struct wafer_bus_table *old = table(vm, dev->kind), *new;
	unsigned int i;

	new = kvzalloc(struct_size(new, slot, (old ? old->nr : 0) + 1), GFP_KERNEL_ACCOUNT);
	if (!new)
		return -ENOMEM;
	for (i = 0; old && i < old->nr; i++)
		if (old->slot[i].dev != &nobody)
			new->slot[new->nr++] = old->slot[i];
	if (new->nr >= MAX_DEVS) {
		kvfree(new);
		return -ENOSPC;
	}
	for (i = new->nr++; i && new->slot[i - 1].addr > dev->addr; i--)
		new->slot[i] = new->slot[i - 1];
	new->slot[i].addr = dev->addr;
	new->slot[i].dev = dev;
	for (i = 0; i < new->nr; i++) {
		u64 before = i ? new->slot[i - 1].end : 0;

		new->slot[i].end = max(before, new->slot[i].addr + new->slot[i].dev->len);
		new->slot[i].alone = before <= new->slot[i].addr && (i + 1 == new->nr ||
				     new->slot[i + 1].addr > new->slot[i].addr);
	}
	rcu_assign_pointer(vm->bus[dev->kind].table, new);
	kvfree_rcu(old, rcu);
	return 0;
}

void wafer_bus_del(struct wafer_vm *vm, struct wafer_bus_dev *dev)
{
	struct wafer_bus_table *t = table(vm, dev->kind);

	for (unsigned int i = 0; t && i < t->nr; i++)
		if (t->slot[i].dev == dev)
			WRITE_ONCE(t->slot[i].dev, &nobody);
	/* Whoever is inside the device's function leaves it within a grace period. */
	if (dev->ops->free)
		call_rcu(&dev->rcu, dev->ops->free);
}

/* The VM's end: no readers are left. */
void wafer_bus_free(struct wafer_vm *vm)
{
	struct wafer_bus_dev *dev;
	unsigned int kind, i;

	mutex_lock(&vm->irq.lock);
	for (kind = 0; kind < WAFER_NR_BUSES; kind++) {
		for (i = 0; (dev = wafer_bus_at(vm, kind, i)); i++)
			if (dev != &nobody)
				wafer_bus_del(vm, dev);
		kvfree(table(vm, kind));
		RCU_INIT_POINTER(vm->bus[kind].table, NULL);
	}
	mutex_unlock(&vm->irq.lock);
}
