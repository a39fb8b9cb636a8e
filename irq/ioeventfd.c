// SPDX-License-Identifier: GPL-2.0
/* KVM_IOEVENTFD: a guest's write to a port or an address signals an eventfd. */
#include "chips.h"

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

static int ioeventfd_access(struct wafer_vcpu *vcpu, struct wafer_bus_dev *dev, gpa_t addr,
			    unsigned int len, void *val, bool write)
{
	struct wafer_ioeventfd *io = container_of(dev, struct wafer_ioeventfd, dev);
	u64 value = io->value;

	if (!write || addr != dev->addr || (io->len && io->len != len))
		return -EOPNOTSUPP;
	if (!io->any) {
		value = 0;
		memcpy(&value, val, min_t(u32, len, sizeof(value)));
	}
	if (value != io->value)
		return -EOPNOTSUPP;
	/* The eventfd's lock is a sleeping one there. */
	if (IS_ENABLED(CONFIG_PREEMPT_RT) && vcpu->loaded)
		return -EAGAIN;
	wafer_eventfd_signal(io->ctx);
	return 0;
}

static void free_ioeventfd(struct rcu_head *rcu)
{
	struct wafer_ioeventfd *io = container_of(rcu, struct wafer_ioeventfd, dev.rcu);

	if (!IS_ERR(io->ctx))
		eventfd_ctx_put(io->ctx);
	kfree(io);
}

static const struct wafer_bus_ops ioeventfd_ops = { ioeventfd_access, free_ioeventfd };

/* Are they the same, or else: would a write signal both? */
static bool matches(const struct wafer_ioeventfd *a, const struct wafer_ioeventfd *b, bool same)
{
	bool len = a->len == b->len, value = a->value == b->value;

	if (same)
		return len && a->ctx == b->ctx && a->any == b->any && (a->any || value);
	return !a->len || !b->len || (len && (a->any || b->any || value));
}

/* One at the place of @io that @matches it. irq.lock held */
static struct wafer_bus_dev *find(struct wafer_vm *vm, const struct wafer_ioeventfd *io, bool same)
{
	struct wafer_bus_dev *dev;

	for (unsigned int i = 0; (dev = wafer_bus_at(vm, io->dev.kind, i)); i++)
		if (dev->ops == &ioeventfd_ops && dev->addr == io->dev.addr &&
		    matches(io, container_of(dev, struct wafer_ioeventfd, dev), same))
			break;
	return dev;
}

static int check_args(struct wafer_vm *vm, const struct kvm_ioeventfd *a)
{
	bool match = a->flags & KVM_IOEVENTFD_FLAG_DATAMATCH;
	u64 addr = a->addr, len = a->len;
	bool wraps = addr + len < addr || addr == U64_MAX;

	return RULE(a->flags & ~FLAGS, vm, "flags", a->flags, "is of DATAMATCH, PIO, DEASSIGN") ?:
	       RULE(len > 8 || len & (len - 1), vm, "len", len, "is 0, 1, 2, 4 or 8") ?:
	       RULE(wraps, vm, "addr", addr, "plus len does not wrap") ?:
	       RULE(!len && match, vm, "len", 0, "is not 0 with DATAMATCH");
}

/**
 * wafer_ioeventfd() - KVM_IOEVENTFD
 * @vm: VM
 * @args: as user space gave them
 *
 * Return: 0; -EINVAL; -EBADF; -EEXIST: a write would signal another one, too; -ENOENT: nothing to
 * deassign; -ENOSPC: too many devices; -ENOMEM.
 */
int wafer_ioeventfd(struct wafer_vm *vm, const struct kvm_ioeventfd *args)
{
	bool deassign = args->flags & KVM_IOEVENTFD_FLAG_DEASSIGN;
	bool pio = args->flags & KVM_IOEVENTFD_FLAG_PIO;
	u32 len = args->len;
	struct wafer_bus_dev *found;
	struct wafer_ioeventfd *io;
	/* what does not exist need not be checked, as in KVM */
	int r = deassign ? 0 : check_args(vm, args);

	if (r)
		return r;
	io = kzalloc(sizeof(*io), GFP_KERNEL_ACCOUNT);
	if (!io)
		return -ENOMEM;
	*io = (struct wafer_ioeventfd){
		.dev = { &ioeventfd_ops, pio, args->addr, len ?: 1 },
		.ctx = eventfd_ctx_fdget(args->fd), .len = len, .value = args->datamatch,
		.any = !(args->flags & KVM_IOEVENTFD_FLAG_DATAMATCH),
	};
	mutex_lock(&vm->irq.lock);
	found = find(vm, io, deassign);
	if (IS_ERR(io->ctx))
		r = wafer_refuse(&vm->refusal, PTR_ERR(io->ctx), "fd", args->fd, "is an eventfd");
	else if (deassign == !found)
		r = wafer_refuse(&vm->refusal, found ? -EEXIST : -ENOENT, "addr", args->addr,
				 found ? "with len and datamatch is free" :
					 "with len, datamatch, flags and fd was assigned");
	else if (deassign)
		wafer_bus_del(vm, found);
	else
		r = wafer_bus_add(vm, &io->dev);
	mutex_unlock(&vm->irq.lock);
	if (r || deassign)	/* the bus does not have it */
		free_ioeventfd(&io->dev.rcu);
	return r;
}
