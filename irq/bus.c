// SPDX-License-Identifier: GPL-2.0
/*
 * Which device in the kernel answers at an address? A sorted array per bus, replaced as a whole, read under RCU.
 *
 * A device that goes leaves an empty place, for that can't fail; the next one that comes makes a table without it.
 *
 * Devices may overlap (ioeventfds that differ in what they match, zones over devices): all that cover an address are
 * asked, those that begin last first, until one takes the access.
 */
#include <linux/kernel.h>
#include <linux/overflow.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "chips.h"
#include "vm.h"

/* An eventfd can be used again and again, so something must bound what one VM can take. */
#define MAX_DEVS 65536

/**
 * struct wafer_bus_table - one generation of a bus
 * @rcu: for kvfree_rcu()
 * @nr: number of devices
 * @slot: sorted by address; @end is the highest end (exclusive) of this and all before, so that a search
 *	backwards knows when nothing can cover an address any more
 */
struct wafer_bus_table {
	struct rcu_head rcu;
	unsigned int nr;
	struct {
		gpa_t addr;
		u64 end;
		struct wafer_bus_dev *dev;
	} slot[];
};

/* What is in an empty place. */
static const struct wafer_bus_ops no_ops;
static struct wafer_bus_dev nobody = { &no_ops, 0, 0 };

/* Index of the first device that begins behind @addr. */
static unsigned int upper_bound(const struct wafer_bus_table *t, gpa_t addr)
{
	unsigned int low = 0, high = t->nr;

	while (low < high) {
		unsigned int mid = (low + high) / 2;

		if (t->slot[mid].addr <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* @len bytes at @addr lie within the device. */
static bool covers(const struct wafer_bus_dev *dev, gpa_t addr, unsigned int len)
{
	return addr - dev->addr < dev->len && len <= dev->len - (addr - dev->addr);
}

int wafer_bus_read(struct wafer_vcpu *vcpu, enum wafer_bus_kind kind, gpa_t addr, unsigned int len,
		   void *val, bool window)
{
	const struct wafer_bus_table *t;
	int r = -EOPNOTSUPP;
	unsigned int i;

	rcu_read_lock();
	t = rcu_dereference(vcpu->vm->bus[kind].table);
	for (i = t ? upper_bound(t, addr) : 0; i-- && t->slot[i].end > addr && r == -EOPNOTSUPP;) {
		struct wafer_bus_dev *dev = READ_ONCE(t->slot[i].dev);

		if (dev->ops->read && covers(dev, addr, len))
			r = dev->ops->read(vcpu, dev, addr, len, val, window);
	}
	rcu_read_unlock();
	return r;
}

/*
 * A write that is longer than an ioeventfd's single byte (any length) is its matter, too: writes are offered by their
 * first byte, and a device with registers checks the length.
 */
int wafer_bus_write(struct wafer_vcpu *vcpu, enum wafer_bus_kind kind, gpa_t addr,
		    unsigned int len, const void *val, bool window)
{
	const struct wafer_bus_table *t;
	int r = -EOPNOTSUPP;
	unsigned int i;

	rcu_read_lock();
	t = rcu_dereference(vcpu->vm->bus[kind].table);
	for (i = t ? upper_bound(t, addr) : 0; i-- && t->slot[i].end > addr && r == -EOPNOTSUPP;) {
		struct wafer_bus_dev *dev = READ_ONCE(t->slot[i].dev);

		if (dev->ops->write && (dev->len == 1 ? dev->addr == addr : covers(dev, addr, len)))
			r = dev->ops->write(vcpu, dev, addr, len, val, window);
	}
	rcu_read_unlock();
	return r;
}

static struct wafer_bus_table *table(struct wafer_vm *vm, enum wafer_bus_kind kind)
{
	return rcu_dereference_protected(vm->bus[kind].table, lockdep_is_held(&vm->irq.lock));
}

static unsigned int count_live(const struct wafer_bus_table *t)
{
	unsigned int i, nr = 0;

	for (i = 0; t && i < t->nr; i++)
		nr += t->slot[i].dev != &nobody;
	return nr;
}

static void append(struct wafer_bus_table *t, gpa_t addr, struct wafer_bus_dev *dev)
{
	u64 end = t->nr ? t->slot[t->nr - 1].end : 0;

	t->slot[t->nr].addr = addr;
	t->slot[t->nr].dev = dev;
	t->slot[t->nr++].end = max(end, addr + dev->len);
}

/* Return: 0, -ENOMEM, -ENOSPC. irq.lock held. */
int __wafer_bus_add(struct wafer_vm *vm, enum wafer_bus_kind kind, struct wafer_bus_dev *dev)
{
	struct wafer_bus_table *old = table(vm, kind), *new;
	unsigned int i, at, nr = count_live(old);

	if (nr >= MAX_DEVS)
		return -ENOSPC;
	new = kvzalloc(struct_size(new, slot, nr + 1), GFP_KERNEL_ACCOUNT);
	if (!new)
		return -ENOMEM;
	at = old ? upper_bound(old, dev->addr) : 0;
	for (i = 0; i < at; i++)
		if (old->slot[i].dev != &nobody)
			append(new, old->slot[i].addr, old->slot[i].dev);
	append(new, dev->addr, dev);
	for (; old && i < old->nr; i++)
		if (old->slot[i].dev != &nobody)
			append(new, old->slot[i].addr, old->slot[i].dev);
	rcu_assign_pointer(vm->bus[kind].table, new);
	if (old)
		kvfree_rcu(old, rcu);
	return 0;
}

/* Whoever is inside the device's functions leaves them within an RCU grace period. irq.lock held. */
void __wafer_bus_del(struct wafer_vm *vm, enum wafer_bus_kind kind, struct wafer_bus_dev *dev)
{
	struct wafer_bus_table *t = table(vm, kind);
	unsigned int i;

	for (i = 0; t && i < t->nr; i++)
		if (t->slot[i].dev == dev)
			WRITE_ONCE(t->slot[i].dev, &nobody);
}

int wafer_bus_add(struct wafer_vm *vm, enum wafer_bus_kind kind, struct wafer_bus_dev *dev)
{
	int r;

	mutex_lock(&vm->irq.lock);
	r = __wafer_bus_add(vm, kind, dev);
	mutex_unlock(&vm->irq.lock);
	return r;
}

void wafer_bus_del(struct wafer_vm *vm, enum wafer_bus_kind kind, struct wafer_bus_dev *dev)
{
	mutex_lock(&vm->irq.lock);
	__wafer_bus_del(vm, kind, dev);
	mutex_unlock(&vm->irq.lock);
}

/* The VM's end: no readers are left. */
void wafer_bus_free(struct wafer_vm *vm)
{
	int kind;

	for (kind = 0; kind < WAFER_NR_BUSES; kind++) {
		kvfree(rcu_dereference_protected(vm->bus[kind].table, true));
		RCU_INIT_POINTER(vm->bus[kind].table, NULL);
	}
}
