// SPDX-License-Identifier: GPL-2.0
/* KVM_IOEVENTFD: a guest's write to a port or an address signals an eventfd. */
#include <linux/eventfd.h>
#include <linux/kernel.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "chips.h"
#include "compat.h"
#include "vm.h"

#define FLAGS (KVM_IOEVENTFD_FLAG_DATAMATCH | KVM_IOEVENTFD_FLAG_PIO | KVM_IOEVENTFD_FLAG_DEASSIGN)

/**
 * struct wafer_ioeventfd - one ioeventfd; immutable once it is on the bus
 * @dev: its place; covers 1 byte where @len is 0
 * @link: in irq.ioeventfds
 * @rcu: for free_ioeventfd()
 * @ctx: the eventfd
 * @kind: bus
 * @len: length that a write must have, 0: any
 * @any: every value signals
 * @value: the one that signals otherwise
 */
struct wafer_ioeventfd {
	struct wafer_bus_dev dev;
	struct list_head link;
	struct rcu_head rcu;
	struct eventfd_ctx *ctx;
	enum wafer_bus_kind kind;
	u32 len;
	bool any;
	u64 value;
};

static int ioeventfd_write(struct wafer_vcpu *vcpu, struct wafer_bus_dev *dev, gpa_t addr,
			   unsigned int len, const void *val, bool window)
{
	struct wafer_ioeventfd *io = container_of(dev, struct wafer_ioeventfd, dev);
	u64 value = 0;

	if (addr != dev->addr || (io->len && io->len != len))
		return -EOPNOTSUPP;
	if (!io->any) {
		memcpy(&value, val, min_t(u32, len, sizeof(value)));
		if (value != io->value)
			return -EOPNOTSUPP;
	}
	/* The eventfd's lock is a sleeping one there. */
	if (IS_ENABLED(CONFIG_PREEMPT_RT) && window)
		return -EAGAIN;
	wafer_eventfd_signal(io->ctx);
	return 0;
}

static const struct wafer_bus_ops ioeventfd_ops = { .write = ioeventfd_write };

static void free_ioeventfd(struct rcu_head *rcu)
{
	struct wafer_ioeventfd *io = container_of(rcu, struct wafer_ioeventfd, rcu);

	eventfd_ctx_put(io->ctx);
	kfree(io);
}

/* Would a write signal both? */
static bool collide(const struct wafer_ioeventfd *a, const struct wafer_ioeventfd *b)
{
	if (a->kind != b->kind || a->dev.addr != b->dev.addr)
		return false;
	if (!a->len || !b->len)
		return true;
	return a->len == b->len && (a->any || b->any || a->value == b->value);
}

static bool same(const struct wafer_ioeventfd *a, const struct wafer_ioeventfd *b)
{
	return a->kind == b->kind && a->dev.addr == b->dev.addr && a->len == b->len &&
	       a->ctx == b->ctx && a->any == b->any && (a->any || a->value == b->value);
}

static int assign(struct wafer_vm *vm, struct wafer_ioeventfd *io, struct wafer_refusal *refusal)
{
	struct wafer_ioeventfd *other;
	int r;

	list_for_each_entry(other, &vm->irq.ioeventfds, link)
		if (collide(io, other))
			return wafer_refuse(refusal, -EEXIST, "addr", io->dev.addr,
					    "with len and datamatch is free");
	r = __wafer_bus_add(vm, io->kind, &io->dev);
	if (!r)
		list_add_tail(&io->link, &vm->irq.ioeventfds);
	return r;
}

static int deassign(struct wafer_vm *vm, const struct wafer_ioeventfd *io,
		    struct wafer_refusal *refusal)
{
	struct wafer_ioeventfd *other;

	list_for_each_entry(other, &vm->irq.ioeventfds, link) {
		if (!same(io, other))
			continue;
		list_del(&other->link);
		__wafer_bus_del(vm, other->kind, &other->dev);
		call_rcu(&other->rcu, free_ioeventfd);
		return 0;
	}
	return wafer_refuse(refusal, -ENOENT, "addr", io->dev.addr,
			    "with len, datamatch, flags and fd was assigned");
}

static int check_args(const struct kvm_ioeventfd *args, struct wafer_refusal *refusal)
{
	if (args->flags & ~FLAGS)
		return wafer_refuse(refusal, -EINVAL, "flags", args->flags,
				    "is of DATAMATCH, PIO and DEASSIGN");
	if (args->len > 8 || (args->len && !is_power_of_2(args->len)))
		return wafer_refuse(refusal, -EINVAL, "len", args->len, "is 0, 1, 2, 4 or 8");
	if (args->addr + args->len < args->addr || args->addr == U64_MAX)
		return wafer_refuse(refusal, -EINVAL, "addr", args->addr, "plus len does not wrap");
	if (!args->len && args->flags & KVM_IOEVENTFD_FLAG_DATAMATCH)
		return wafer_refuse(refusal, -EINVAL, "len", 0, "is not 0 with DATAMATCH");
	return 0;
}

/**
 * wafer_ioeventfd() - KVM_IOEVENTFD
 * @vm: VM
 * @args: as user space gave them
 * @refusal: where to note a refusal
 *
 * Return: 0; -EINVAL; -EBADF; -EEXIST: a write would signal another one, too; -ENOENT: nothing to deassign;
 * -ENOSPC: too many devices; -ENOMEM.
 */
int wafer_ioeventfd(struct wafer_vm *vm, const struct kvm_ioeventfd *args,
		    struct wafer_refusal *refusal)
{
	struct wafer_ioeventfd *io;
	int r = check_args(args, refusal);

	if (r)
		return r;
	io = kzalloc(sizeof(*io), GFP_KERNEL_ACCOUNT);
	if (!io)
		return -ENOMEM;
	io->ctx = eventfd_ctx_fdget(args->fd);
	if (IS_ERR(io->ctx)) {
		r = wafer_refuse(refusal, PTR_ERR(io->ctx), "fd", args->fd, "is an eventfd");
		kfree(io);
		return r;
	}
	io->dev = (struct wafer_bus_dev){ &ioeventfd_ops, args->addr, args->len ?: 1 };
	io->kind = args->flags & KVM_IOEVENTFD_FLAG_PIO ? WAFER_BUS_PIO : WAFER_BUS_MMIO;
	io->len = args->len;
	io->any = !(args->flags & KVM_IOEVENTFD_FLAG_DATAMATCH);
	io->value = args->datamatch;
	mutex_lock(&vm->irq.lock);
	if (args->flags & KVM_IOEVENTFD_FLAG_DEASSIGN) {
		r = deassign(vm, io, refusal);
	} else {
		r = assign(vm, io, refusal);
		if (!r)
			io = NULL;	/* the bus has it */
	}
	mutex_unlock(&vm->irq.lock);
	if (io)
		free_ioeventfd(&io->rcu);
	return r;
}

/* The VM's end: no vCPU runs, and the buses are gone. */
void wafer_ioeventfd_free(struct wafer_vm *vm)
{
	struct wafer_ioeventfd *io, *next;

	list_for_each_entry_safe(io, next, &vm->irq.ioeventfds, link)
		free_ioeventfd(&io->rcu);
}
