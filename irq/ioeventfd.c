// SPDX-License-Identifier: GPL-2.0
/* KVM_IOEVENTFD: a guest's write to a port or an address signals an eventfd. */
#include <linux/eventfd.h>
#include <linux/kernel.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "chips.h"
#include "compat.h"

#define FLAGS (KVM_IOEVENTFD_FLAG_DATAMATCH | KVM_IOEVENTFD_FLAG_PIO | KVM_IOEVENTFD_FLAG_DEASSIGN)

/**
 * struct wafer_ioeventfd - one ioeventfd; immutable once it is on the bus
 * @dev: its place; covers 1 byte where @len is 0
 * @ctx: the eventfd
 * @len: length that a write must have, 0: any
 * @any: every value signals
 * @value: the one that signals otherwise
 */
struct wafer_ioeventfd {
	struct wafer_bus_dev dev;
	struct eventfd_ctx *ctx;
	u32 len;
	bool any;
	u64 value;
};

static int ioeventfd_access(struct wafer_vcpu *vcpu, struct wafer_bus_dev *dev, gpa_t addr, unsigned int len,
			    void *val, bool write, bool window)
{
	struct wafer_ioeventfd *io = container_of(dev, struct wafer_ioeventfd, dev);
	u64 value = 0;

	if (!write || addr != dev->addr || (io->len && io->len != len))
		return -EOPNOTSUPP;
	memcpy(&value, val, min_t(u32, len, sizeof(value)));
	if (!io->any && value != io->value)
		return -EOPNOTSUPP;
	/* The eventfd's lock is a sleeping one there. */
	if (IS_ENABLED(CONFIG_PREEMPT_RT) && window)
		return -EAGAIN;
	wafer_eventfd_signal(io->ctx);
	return 0;
}

static void free_ioeventfd(struct rcu_head *rcu)
{
	struct wafer_ioeventfd *io = container_of(rcu, struct wafer_ioeventfd, dev.rcu);

	eventfd_ctx_put(io->ctx);
	kfree(io);
}

static const struct wafer_bus_ops ioeventfd_ops = { .access = ioeventfd_access, .free = free_ioeventfd };

/* Would a write signal both? */
static bool collide(const struct wafer_ioeventfd *a, const struct wafer_ioeventfd *b)
{
	return !a->len || !b->len || (a->len == b->len && (a->any || b->any || a->value == b->value));
}

static bool same(const struct wafer_ioeventfd *a, const struct wafer_ioeventfd *b)
{
	return a->len == b->len && a->ctx == b->ctx && a->any == b->any && (a->any || a->value == b->value);
}

/* One at the place of @io that is the @same, or else that collides with it. irq.lock held */
static struct wafer_ioeventfd *find(struct wafer_vm *vm, const struct wafer_ioeventfd *io,
				    bool (*is)(const struct wafer_ioeventfd *, const struct wafer_ioeventfd *))
{
	struct wafer_bus_dev *dev;
	unsigned int i;

	for (i = 0; (dev = wafer_bus_at(vm, io->dev.kind, i)); i++)
		if (dev->ops == &ioeventfd_ops && dev->addr == io->dev.addr &&
		    is(io, container_of(dev, struct wafer_ioeventfd, dev)))
			return container_of(dev, struct wafer_ioeventfd, dev);
	return NULL;
}

static int assign(struct wafer_vm *vm, struct wafer_ioeventfd *io, struct wafer_refusal *refusal)
{
	return WAFER_RULE(find(vm, io, collide), refusal, -EEXIST, "addr", io->dev.addr,
			  "with len and datamatch is free") ?: wafer_bus_add(vm, &io->dev);
}

static int deassign(struct wafer_vm *vm, const struct wafer_ioeventfd *io, struct wafer_refusal *refusal)
{
	struct wafer_ioeventfd *found = find(vm, io, same);

	if (found)
		wafer_bus_del(vm, &found->dev);
	return WAFER_RULE(!found, refusal, -ENOENT, "addr", io->dev.addr,
			  "with len, datamatch, flags and fd was assigned");
}

static int check_args(const struct kvm_ioeventfd *a, struct wafer_refusal *r)
{
	bool match = a->flags & KVM_IOEVENTFD_FLAG_DATAMATCH;

	return WAFER_RULE(a->flags & ~FLAGS, r, -EINVAL, "flags", a->flags, "is of DATAMATCH, PIO, DEASSIGN") ?:
	       WAFER_RULE(a->len > 8 || (a->len && !is_power_of_2(a->len)), r, -EINVAL, "len", a->len,
			  "is 0, 1, 2, 4 or 8") ?:
	       WAFER_RULE(a->addr + a->len < a->addr || a->addr == U64_MAX, r, -EINVAL, "addr", a->addr,
			  "plus len does not wrap") ?:
	       WAFER_RULE(!a->len && match, r, -EINVAL, "len", 0, "is not 0 with DATAMATCH");
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
int wafer_ioeventfd(struct wafer_vm *vm, const struct kvm_ioeventfd *args, struct wafer_refusal *refusal)
{
	struct eventfd_ctx *ctx;
	struct wafer_ioeventfd *io;
	int r = check_args(args, refusal);

	if (r)
		return r;
	ctx = eventfd_ctx_fdget(args->fd);
	if (IS_ERR(ctx))
		return wafer_refuse(refusal, PTR_ERR(ctx), "fd", args->fd, "is an eventfd");
	io = kzalloc(sizeof(*io), GFP_KERNEL_ACCOUNT);
	if (!io) {
		eventfd_ctx_put(ctx);
		return -ENOMEM;
	}
	*io = (struct wafer_ioeventfd){
		.dev = { &ioeventfd_ops, args->flags & KVM_IOEVENTFD_FLAG_PIO ? WAFER_BUS_PIO : WAFER_BUS_MMIO,
			 args->addr, args->len ?: 1 },
		.ctx = ctx, .len = args->len, .value = args->datamatch,
		.any = !(args->flags & KVM_IOEVENTFD_FLAG_DATAMATCH),
	};
	mutex_lock(&vm->irq.lock);
	if (args->flags & KVM_IOEVENTFD_FLAG_DEASSIGN)
		r = deassign(vm, io, refusal) ?: 1;
	else
		r = assign(vm, io, refusal);
	mutex_unlock(&vm->irq.lock);
	if (r)		/* the bus does not have it */
		free_ioeventfd(&io->dev.rcu);
	return min(r, 0);
}
