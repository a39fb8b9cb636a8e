// SPDX-License-Identifier: GPL-2.0
/*
 * Dirty rings: one for each vCPU, shared with user space, which takes entries from the front, marks
 * them as read and then has them recycled.
 */
#include "mmu/internal.h"

#define MAX_ENTRIES	65536
/* For what one exit can add: what the kernel writes on a vCPU's behalf, and the hardware's log. */
#define SPARE_ENTRIES	(64 + (wafer_caps.has_pml ? 512 : 0))

int wafer_ring_enable(struct wafer_mmu *mmu, u32 bytes)
{
	int err = 0;

	if (!is_power_of_2(bytes) || bytes < PAGE_SIZE ||
	    bytes < SPARE_ENTRIES * sizeof(struct kvm_dirty_gfn))
		return -EINVAL;
	if (bytes > MAX_ENTRIES * sizeof(struct kvm_dirty_gfn))
		return -E2BIG;
	mutex_lock(&mmu->slots_lock);
	if (mmu->ring_size || !list_empty(&mmu->ctxs))
		err = -EINVAL;
	else
		mmu->ring_size = bytes;
	wafer_log_mode(mmu);
	mutex_unlock(&mmu->slots_lock);
	return err;
}

/* Undone by vfree(). */
int wafer_ring_create(struct wafer_fault_ctx *ctx)
{
	struct wafer_dirty_ring *ring = &ctx->ring;

	ring->entry = __vmalloc(ctx->mmu->ring_size, GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	ring->size = ctx->mmu->ring_size / sizeof(struct kvm_dirty_gfn);
	ring->soft_limit = ring->size - SPARE_ENTRIES;
	return ring->entry ? 0 : -ENOMEM;
}

struct page *wafer_ring_page(struct wafer_fault_ctx *ctx, unsigned long offset)
{
	if (!ctx->ring.entry || offset >= ctx->mmu->ring_size >> PAGE_SHIFT)
		return NULL;
	return vmalloc_to_page((void *)ctx->ring.entry + (offset << PAGE_SHIFT));
}

static u32 used(struct wafer_dirty_ring *ring)
{
	return READ_ONCE(ring->head) - READ_ONCE(ring->tail);
}

bool wafer_ring_soft_full(struct wafer_fault_ctx *ctx)
{
	return ctx->ring.entry && used(&ctx->ring) >= ctx->ring.soft_limit;
}

/**
 * wafer_ring_push() - enter a page
 * @ring: of the vCPU that wrote, whose mutex is held
 * @slot: the slot, logged; under RCU
 * @gfn: in it
 */
void wafer_ring_push(struct wafer_dirty_ring *ring, const struct wafer_slot *slot, gfn_t gfn)
{
	struct kvm_dirty_gfn *entry = &ring->entry[ring->head & (ring->size - 1)];

	/* Only by pushing without end past the soft limit, which the run loop does not. */
	if (used(ring) >= ring->size)
		return;
	WRITE_ONCE(ring->head, ring->head + 1);
	WRITE_ONCE(entry->slot, slot->id);
	WRITE_ONCE(entry->offset, gfn - slot->gfn);
	/* Pairs with user space's acquire of the flag. */
	smp_store_release(&entry->flags, KVM_DIRTY_GFN_F_DIRTY);
}

/*
 * After a write of the kernel's. The page that was entered last is not entered again before user
 * space has taken it: what is in the page is read later, after KVM_RESET_DIRTY_RINGS. So what one
 * instruction does under REP stays within SPARE_ENTRIES.
 */
void wafer_ring_push_once(struct wafer_dirty_ring *ring, const struct wafer_slot *slot, gfn_t gfn)
{
	struct kvm_dirty_gfn *last = &ring->entry[(ring->head - 1) & (ring->size - 1)];

	/* The write, then the look. Pairs with the ioctl between user space's mark and its look. */
	smp_mb();
	if (READ_ONCE(last->flags) != KVM_DIRTY_GFN_F_DIRTY || READ_ONCE(last->slot) != slot->id ||
	    READ_ONCE(last->offset) != gfn - slot->gfn)
		wafer_ring_push(ring, slot, gfn);
}

static void rearm(struct wafer_mmu *mmu, gfn_t gfn, u64 n)
{
	struct wafer_pt_op op = wafer_pt_op(gfn, n, mmu->arm, mmu->arm);

	if (!n)
		return;
	spin_lock(&mmu->zap_lock);
	wafer_range_op(mmu, &op, true);
	spin_unlock(&mmu->zap_lock);
}

/*
 * Takes back what user space has read, at most one turn of the ring: it could go on marking
 * entries. The next write to each of the pages is to be noticed: [first, first + pages) is still to
 * be told so, which guests that write in order make long: up to RUN, so that zap_lock is not held
 * for a whole ring.
 */
#define RUN 512
static int recycle(struct wafer_mmu *mmu, struct wafer_dirty_ring *ring)
{
	const struct wafer_slot *slot;
	u64 page, pages = 0;
	gfn_t first = 0;
	u32 id;
	int n;

	for (n = 0; n < ring->size; n++) {
		struct kvm_dirty_gfn *entry = &ring->entry[ring->tail & (ring->size - 1)];

		/* Pairs with user space's release, after which it has read the entry. */
		if (!used(ring) || !(smp_load_acquire(&entry->flags) & KVM_DIRTY_GFN_F_RESET))
			break;
		id = READ_ONCE(entry->slot);	/* both are user space's */
		page = READ_ONCE(entry->offset);
		WRITE_ONCE(entry->flags, 0);
		/*
		 * Pairs with the control dependency in wafer_ring_push(): the entry is free when it
		 * is seen to be.
		 */
		smp_store_release(&ring->tail, ring->tail + 1);
		slot = id < WAFER_MAX_SLOTS ? xa_load(&mmu->by_id, id) : NULL;
		if (!slot || page >= slot->npages)
			continue;
		page = slot->gfn + array_index_nospec(page, slot->npages);
		if (page != first + pages || pages == RUN) {
			rearm(mmu, first, pages);
			first = page;
			pages = 0;
			cond_resched();
		}
		pages++;
	}
	rearm(mmu, first, pages);
	return n;
}

int wafer_ring_reset(struct wafer_mmu *mmu)
{
	struct wafer_pt_op none = { };
	struct wafer_fault_ctx *ctx;
	int n = 0;

	mutex_lock(&mmu->slots_lock);
	list_for_each_entry(ctx, &mmu->ctxs, link)
		if (ctx->ring.entry)
			n += recycle(mmu, &ctx->ring);
	/* One flush for all of them. */
	wafer_op_finish(mmu, &none);
	mutex_unlock(&mmu->slots_lock);
	return n;
}
