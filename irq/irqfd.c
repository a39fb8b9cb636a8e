// SPDX-License-Identifier: GPL-2.0
/*
 * KVM_IRQFD: signalling an eventfd drives an interrupt line.
 *
 * Everything on the way into the guest may be called from any context, so the wake-up callback
 * delivers at once; it looks the line up in the routing table of the moment. What ends an irqfd
 * ends with eventfd_ctx_remove_wait_queue(): it takes the lock that the callback runs under, so
 * after it there is none.
 *
 * An eventfd that is closed without KVM_IRQFD_FLAG_DEASSIGN marks its irqfd dead in the callback;
 * the memory is taken back by the next KVM_IRQFD or with the VM.
 *
 * With KVM_IRQFD_FLAG_RESAMPLE the line is a level: up with the eventfd, down when the guest ends
 * the interrupt, which the resamplefd tells, so that the device can raise it anew.
 */
#include <linux/poll.h>

#include "chips.h"

/**
 * struct wafer_irqfd - one irqfd
 * @vm: whose line it drives
 * @gsi: the line
 * @link: in irq.irqfds
 * @rcu: for free_irqfd()
 * @ctx: the eventfd
 * @resample: the resamplefd, or NULL
 * @pt: brings @wait into @ctx's wait queue
 * @wait: the callback
 * @dead: the eventfd was closed
 */
struct wafer_irqfd {
	struct wafer_vm *vm;
	u32 gsi;
	struct list_head link;
	struct rcu_head rcu;
	struct eventfd_ctx *ctx, *resample;
	poll_table pt;
	wait_queue_entry_t wait;
	bool dead;
};

static void fire(struct wafer_irqfd *irqfd)
{
	bool level = irqfd->resample;

	wafer_set_gsi(irqfd->vm, level ? WAFER_SRC_RESAMPLE : WAFER_SRC_USER, irqfd->gsi,
		      level ? 1 : WAFER_PULSE);
}

/* The eventfd's lock is held and interrupts are off. */
static int wakeup(wait_queue_entry_t *wait, unsigned int mode, int sync, void *key)
{
	struct wafer_irqfd *irqfd = container_of(wait, struct wafer_irqfd, wait);
	__poll_t events = key_to_poll(key);
	u64 count;

	if (events & EPOLLIN && !irqfd->dead) {
		eventfd_ctx_do_read(irqfd->ctx, &count);
		fire(irqfd);
	}
	if (events & EPOLLHUP)
		WRITE_ONCE(irqfd->dead, true);
	return 0;
}

static void enqueue(struct file *file, wait_queue_head_t *wqh, poll_table *pt)
{
	add_wait_queue(wqh, &container_of(pt, struct wafer_irqfd, pt)->wait);
}

/*
 * The guest has ended the interrupt: the line goes down, then those who raised it may look whether
 * it is over.
 */
void wafer_resample(struct wafer_vm *vm, u32 gsi)
{
	struct wafer_irqfd *irqfd;
	bool down = false;

	rcu_read_lock();
	list_for_each_entry_rcu(irqfd, &vm->irq.irqfds, link) {
		if (!irqfd->resample || irqfd->gsi != gsi)
			continue;
		if (!down)
			wafer_set_gsi(vm, WAFER_SRC_RESAMPLE, gsi, 0);
		down = true;
		wafer_eventfd_signal(irqfd->resample);
	}
	rcu_read_unlock();
}

/* Also what was made in part. */
static void free_irqfd(struct rcu_head *rcu)
{
	struct wafer_irqfd *irqfd = container_of(rcu, struct wafer_irqfd, rcu);

	if (!IS_ERR_OR_NULL(irqfd->resample))
		eventfd_ctx_put(irqfd->resample);
	if (!IS_ERR(irqfd->ctx))
		eventfd_ctx_put(irqfd->ctx);
	kfree(irqfd);
}

/*
 * irq.lock held, or the VM's end. Who walks the list may signal the resamplefd once more: nobody
 * waits for them. With the last that resamples a line it goes down.
 */
static void destroy(struct wafer_irqfd *irqfd)
{
	struct wafer_irq *irq = &irqfd->vm->irq;
	bool last = irqfd->resample;
	struct wafer_irqfd *other;
	u64 count;

	eventfd_ctx_remove_wait_queue(irqfd->ctx, &irqfd->wait, &count);
	list_del_rcu(&irqfd->link);
	if (irqfd->resample) {
		WRITE_ONCE(irq->nr_resamplers, irq->nr_resamplers - 1);
		list_for_each_entry(other, &irq->irqfds, link)
			last &= !other->resample || other->gsi != irqfd->gsi;
	}
	if (last)
		wafer_set_gsi(irqfd->vm, WAFER_SRC_RESAMPLE, irqfd->gsi, 0);
	call_rcu(&irqfd->rcu, free_irqfd);
}

/* Those of @ctx on @gsi, and those whose eventfd was closed. */
static void destroy_all(struct wafer_vm *vm, struct eventfd_ctx *ctx, u32 gsi)
{
	struct wafer_irqfd *irqfd, *next;

	list_for_each_entry_safe(irqfd, next, &vm->irq.irqfds, link)
		if (READ_ONCE(irqfd->dead) || (irqfd->ctx == ctx && irqfd->gsi == gsi))
			destroy(irqfd);
}

/* Deassigning, what is made here only says which eventfd is meant. */
static int change(struct wafer_vm *vm, const struct kvm_irqfd *args, struct file *file)
{
	struct wafer_irqfd *other, *irqfd = kzalloc(sizeof(*irqfd), GFP_KERNEL_ACCOUNT);
	bool deassign = args->flags & KVM_IRQFD_FLAG_DEASSIGN, busy = false;
	struct wafer_irq *irq = &vm->irq;
	int r;

	if (!irqfd)
		return -ENOMEM;
	irqfd->vm = vm;
	irqfd->gsi = args->gsi;
	init_waitqueue_func_entry(&irqfd->wait, wakeup);
	init_poll_funcptr(&irqfd->pt, enqueue);
	irqfd->ctx = eventfd_ctx_fileget(file);
	if (args->flags == KVM_IRQFD_FLAG_RESAMPLE)
		irqfd->resample = eventfd_ctx_fdget(args->resamplefd);
	r = REFUSE_IF(IS_ERR(irqfd->ctx), vm, PTR_ERR(irqfd->ctx), "fd", args->fd,
		      "is an eventfd") ?:
	    REFUSE_IF(IS_ERR(irqfd->resample), vm, PTR_ERR(irqfd->resample), "resamplefd",
		      args->resamplefd, "is an eventfd");
	mutex_lock(&irq->lock);
	destroy_all(vm, deassign ? irqfd->ctx : NULL, args->gsi);
	list_for_each_entry(other, &irq->irqfds, link)
		busy |= !deassign && other->ctx == irqfd->ctx;
	r = r ?: REFUSE_IF(busy, vm, -EBUSY, "fd", args->fd, "drives no other line");
	if (!r && !deassign) {
		list_add_tail_rcu(&irqfd->link, &irq->irqfds);
		WRITE_ONCE(irq->nr_resamplers, irq->nr_resamplers + !!irqfd->resample);
		/* From here on the callback comes; what was signalled before is looked for. */
		if (vfs_poll(file, &irqfd->pt) & EPOLLIN)
			fire(irqfd);
	}
	mutex_unlock(&irq->lock);
	if (r || deassign)
		free_irqfd(&irqfd->rcu);
	return r;
}

/**
 * wafer_irqfd() - KVM_IRQFD
 * @vm: VM
 * @args: as user space gave them
 *
 * A GSI that leads nowhere is legal: routes may come later.
 *
 * Return: 0, also if there was nothing to deassign; -EINVAL: flags, no irqchip, or resampling
 * without I/O APIC and PIC in the kernel; -EBADF; -EBUSY: the eventfd drives a line already;
 * -ENOMEM.
 */
int wafer_irqfd(struct wafer_vm *vm, const struct kvm_irqfd *args)
{
	const u32 known = KVM_IRQFD_FLAG_DEASSIGN | KVM_IRQFD_FLAG_RESAMPLE;
	bool assign = !(args->flags & KVM_IRQFD_FLAG_DEASSIGN);
	enum wafer_chip_mode mode = wafer_chip_mode(vm);
	/*
	 * The file is held until all is in place: it can't be closed, with nobody there to hear it,
	 * before.
	 */
	struct fd f = fdget(args->fd);
	u32 flags = args->flags;
	int r = RULE(flags & ~known, vm, "flags", flags, "is of DEASSIGN and RESAMPLE") ?:
		RULE(assign && !mode, vm, "irqchip", mode, "is in the kernel") ?:
		RULE(assign && flags && mode != WAFER_CHIP_FULL, vm, "flags", flags,
		     "has no RESAMPLE with a split irqchip") ?:
		REFUSE_IF(!fd_file(f), vm, -EBADF, "fd", args->fd, "is open") ?:
		change(vm, args, fd_file(f));

	fdput(f);
	return r;
}

/* The VM's end: nobody resamples or assigns any more. */
void wafer_irqfd_quiesce(struct wafer_vm *vm)
{
	struct wafer_irqfd *irqfd, *next;

	list_for_each_entry_safe(irqfd, next, &vm->irq.irqfds, link)
		destroy(irqfd);
}
