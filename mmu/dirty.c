// SPDX-License-Identifier: GPL-2.0
/*
 * Dirty logs as bitmaps: KVM_GET_DIRTY_LOG, KVM_CLEAR_DIRTY_LOG, and how a page gets in.
 *
 * A nested entry remembers a write in its dirty bit or, where the CPU has none, in its right to
 * write, which a logged page gets by the write fault. That is collected when somebody asks for the
 * log, and whenever the entry goes. The bitmap itself holds what was collected before and what the
 * kernel writes.
 */
#include <linux/bitmap.h>
#include <linux/kernel.h>
#include <linux/uaccess.h>

#include "backend.h"
#include "mmu/internal.h"

#define CHUNK_WORDS	64
#define CHUNK_PAGES	(CHUNK_WORDS * BITS_PER_LONG)

/* How writes are noticed. A ring wants an event for each: the hardware's log, or a fault. */
void wafer_log_mode(struct wafer_mmu *mmu)
{
	bool by_bit = mmu->ring_size ? wafer_caps.has_pml : wafer_caps.has_ad;

	mmu->arm = mmu->format->dirty | (by_bit ? 0 : mmu->format->write);
}

static void run(struct wafer_mmu *mmu, struct wafer_pt_op *op)
{
	spin_lock(&mmu->zap_lock);
	wafer_range_op(mmu, op, true);
	spin_unlock(&mmu->zap_lock);
}

/**
 * wafer_log_start() - a slot is logged from now on
 * @mmu: slots_lock held
 * @slot: already published
 *
 * Huge leaves are split; what was written so far is not reported, but after
 * KVM_DIRTY_LOG_INITIALLY_SET, which leaves both to the first KVM_CLEAR_DIRTY_LOG.
 */
void wafer_log_start(struct wafer_mmu *mmu, const struct wafer_slot *slot)
{
	struct wafer_pt_op op = wafer_pt_op_arm(mmu->pt, slot->gfn, slot->npages, mmu->arm);
	struct wafer_pt_pages pages = { };

	if (slot->dirty && (mmu->manual_protect & KVM_DIRTY_LOG_INITIALLY_SET))
		return;
	op.pages = &pages;
	run(mmu, &op);
	wafer_op_finish(mmu, &op);
	wafer_pt_drain(&pages);
}

/* The largest mapping that can start at @gfn, if it is the host's too. */
static unsigned int huge_level(struct wafer_mmu *mmu, const struct wafer_slot *slot, gfn_t gfn)
{
	unsigned int level = min(slot->max_level, mmu->max_level);
	struct wafer_host_page host = { .level = 1 };

	local_irq_disable();
	if (!wafer_host_walk(mmu->pt, mmu->mm, wafer_slot_hva(slot, gfn), true, &host))
		host.level = 1;
	local_irq_enable();
	for (level = min_t(unsigned int, level, host.level); level > 1; level--)
		if (!(gfn & (wafer_pt_span(level) - 1)) &&
		    gfn + wafer_pt_span(level) <= wafer_slot_end(slot))
			break;
	return level;
}

/**
 * wafer_log_stop() - a slot is no longer logged: what can be huge again is unmapped for that
 * @mmu: slots_lock held
 * @slot: already published
 */
void wafer_log_stop(struct wafer_mmu *mmu, const struct wafer_slot *slot)
{
	struct wafer_pt_op op = wafer_pt_op_zap(mmu->pt, 0, 0);
	hva_t hva_end = slot->hva + (slot->npages << PAGE_SHIFT);
	gfn_t gfn, next;

	if (slot->max_level == 1 || mmu->max_level == 1)
		return;
	spin_lock(&mmu->zap_lock);
	/* Tables are taken out: nobody may be inside. */
	wafer_range_close(mmu, slot->hva, hva_end);
	wafer_section_wait(mmu);
	for (gfn = slot->gfn; gfn < wafer_slot_end(slot); gfn = next) {
		unsigned int level = huge_level(mmu, slot, gfn);

		next = (gfn | (wafer_pt_span(max(level, 2u)) - 1)) + 1;
		if (level > 1) {
			op.start = gfn;
			op.gfn = gfn;
			op.end = next;
			wafer_range_op(mmu, &op, true);
		}
		cond_resched_lock(&mmu->zap_lock);
	}
	wafer_range_open(mmu, slot->hva, hva_end);
	spin_unlock(&mmu->zap_lock);
	wafer_op_finish(mmu, &op);
}

/* A slot with a bitmap. */
static int find_logged(struct wafer_mmu *mmu, u32 id, struct wafer_slot **slot,
		       struct wafer_refusal *r)
{
	if (mmu->ring_size)
		return wafer_refuse(r, -ENXIO, "slot", id,
				    "no bitmaps with KVM_CAP_DIRTY_LOG_RING");
	if (id >= WAFER_MAX_SLOTS)
		return wafer_refuse(r, -EINVAL, "slot", id, "below 32764, address space 0");
	*slot = xa_load(&mmu->by_id, id);
	if (!*slot || !(*slot)->dirty)
		return wafer_refuse(r, -ENOENT, "slot", id, "a slot with KVM_MEM_LOG_DIRTY_PAGES");
	return 0;
}

/*
 * What the entries know goes to the bitmap. Unless the log is cleared by KVM_CLEAR_DIRTY_LOG the
 * entries are armed again, and the flush makes writes after this call set their bits; writes before
 * it are in what the caller reads.
 */
static void collect(struct wafer_mmu *mmu, struct wafer_slot *slot)
{
	struct wafer_pt_op op = wafer_pt_op_arm(mmu->pt, slot->gfn, slot->npages, mmu->arm);

	if (mmu->manual_protect & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE) {
		op.match = mmu->pt->dirty;
		op.clear = 0;
	}
	op.log = slot->dirty;
	op.log_gfn = slot->gfn;
	run(mmu, &op);
	wafer_op_finish(mmu, &op);
}

/* Hands the bitmap to user space and clears it, but under manual protection. */
static int hand_out(struct wafer_mmu *mmu, struct wafer_slot *slot, unsigned long __user *to)
{
	bool clear = !(mmu->manual_protect & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE);
	unsigned long words = BITS_TO_LONGS(slot->npages), at, i, n, buf[CHUNK_WORDS];

	for (at = 0; at < words; at += n) {
		n = min_t(unsigned long, words - at, CHUNK_WORDS);
		for (i = 0; i < n; i++) {
			buf[i] = READ_ONCE(slot->dirty[at + i]);
			if (clear && buf[i])
				buf[i] = xchg(&slot->dirty[at + i], 0);
		}
		if (!copy_to_user(to + at, buf, n * sizeof(long)))
			continue;
		/* What user space has not got is not lost. */
		for (i = 0; clear && i < n; i++)
			atomic_long_or(buf[i], (atomic_long_t *)&slot->dirty[at + i]);
		return -EFAULT;
	}
	return 0;
}

int wafer_get_dirty_log(struct wafer_mmu *mmu, const struct kvm_dirty_log *log,
			struct wafer_refusal *refusal)
{
	struct wafer_slot *slot;
	int err;

	mutex_lock(&mmu->slots_lock);
	err = find_logged(mmu, log->slot, &slot, refusal);
	if (!err) {
		collect(mmu, slot);
		err = hand_out(mmu, slot, log->dirty_bitmap);
	}
	mutex_unlock(&mmu->slots_lock);
	return err;
}

/*
 * Arms the pages of @mask, bit 0 of which is page @first of the slot, and clears their bits. A
 * write that happens meanwhile may be lost from the log, but not from what the caller reads after
 * this call.
 */
static void clear_chunk(struct wafer_mmu *mmu, struct wafer_slot *slot, u64 first, u64 npages,
			const unsigned long *mask, struct wafer_pt_op *op)
{
	unsigned long *dirty = &slot->dirty[first / BITS_PER_LONG], i;

	op->start = slot->gfn + first;
	op->gfn = op->start;
	op->mask_gfn = op->start;
	op->end = op->start + npages;
	op->mask = mask;
	run(mmu, op);
	for (i = 0; i < BITS_TO_LONGS(npages); i++)
		if (mask[i])
			atomic_long_andnot(mask[i], (atomic_long_t *)&dirty[i]);
}

static int clear_log(struct wafer_mmu *mmu, struct wafer_slot *slot,
		     const struct kvm_clear_dirty_log *log)
{
	const unsigned long __user *from = log->dirty_bitmap;
	struct wafer_pt_op op = wafer_pt_op_arm(mmu->pt, 0, 0, mmu->arm);
	unsigned long mask[CHUNK_WORDS];
	struct wafer_pt_pages pages = { };
	u64 at, n, end = min(log->first_page + log->num_pages, slot->npages);
	int err = 0;

	op.log = slot->dirty;
	op.log_gfn = slot->gfn;
	op.pages = &pages;
	for (at = log->first_page; at < end && !err; at += n) {
		n = min_t(u64, end - at, CHUNK_PAGES);
		if (copy_from_user(mask, from + (at - log->first_page) / BITS_PER_LONG,
				   BITS_TO_LONGS(n) * sizeof(long)))
			err = -EFAULT;
		else if (!bitmap_empty(mask, n))
			clear_chunk(mmu, slot, at, n, mask, &op);
	}
	wafer_op_finish(mmu, &op);
	wafer_pt_drain(&pages);
	return err;
}

int wafer_clear_dirty_log(struct wafer_mmu *mmu, const struct kvm_clear_dirty_log *log,
			  struct wafer_refusal *refusal)
{
	u64 first = log->first_page, num = log->num_pages;
	struct wafer_slot *slot;
	int err;

	mutex_lock(&mmu->slots_lock);
	err = find_logged(mmu, log->slot, &slot, refusal);
	if (err)
		goto out;
	if (first % BITS_PER_LONG || first > slot->npages)
		err = wafer_refuse(refusal, -EINVAL, "first_page", first,
				   "a multiple of 64 within the slot");
	else if (num > slot->npages - first || (num < slot->npages - first && num % BITS_PER_LONG))
		err = wafer_refuse(refusal, -EINVAL, "num_pages", num,
				   "a multiple of 64 within the slot, or up to its end");
	else
		err = clear_log(mmu, slot, log);
out:
	mutex_unlock(&mmu->slots_lock);
	return err;
}

int wafer_mmu_set_manual_protect(struct wafer_mmu *mmu, u64 flags)
{
	if (flags & ~(u64)(KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET) ||
	    flags == KVM_DIRTY_LOG_INITIALLY_SET)
		return -EINVAL;
	mutex_lock(&mmu->slots_lock);
	mmu->manual_protect = flags;
	mutex_unlock(&mmu->slots_lock);
	return 0;
}

void wafer_mark_dirty(struct wafer_mmu *mmu, struct wafer_fault_ctx *ctx,
		      const struct wafer_slot *slot, gfn_t gfn)
{
	u64 page = gfn - slot->gfn;

	if (!wafer_slot_logged(slot) || page >= slot->npages)
		return;
	if (mmu->ring_size)
		wafer_ring_push(mmu, ctx, slot, gfn);
	else if (slot->dirty && !test_bit(page, slot->dirty))
		set_bit(page, slot->dirty);
}

/* Bitmaps read the dirty bits themselves. */
void wafer_mmu_pml(struct wafer_fault_ctx *ctx, const u64 *gpa, unsigned int n)
{
	struct wafer_mmu *mmu = ctx->mmu;
	const struct wafer_slots *slots = rcu_dereference_sched(mmu->slots);

	if (!mmu->ring_size)
		return;
	for (; n--; gpa++) {
		gfn_t gfn = *gpa >> PAGE_SHIFT;
		const struct wafer_slot *slot = wafer_slots_find(slots, gfn, &ctx->last_slot);

		if (slot && wafer_slot_logged(slot))
			wafer_ring_push(mmu, ctx, slot, gfn);
	}
}
