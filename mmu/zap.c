// SPDX-License-Identifier: GPL-2.0
/*
 * Taking away: closing ranges to faults, running an operation over frames or over the VMM's
 * addresses, the flush that follows, and the freeing of table pages after it.
 */
#include <linux/sched.h>
#include <linux/spinlock.h>

#include "mmu/internal.h"

#define STEP_ENTRIES	4096	/* looked at before zap_lock is offered to others */

/* The last one is shared by all that find no place of their own: it covers them all. */
#define CROWDED	(WAFER_NR_INVALIDATIONS - 1)

static void set_range(struct wafer_invalidation *inv, hva_t start, hva_t end)
{
	WRITE_ONCE(inv->start, start);
	WRITE_ONCE(inv->end, end);
}

static bool is_empty(const struct wafer_invalidation *inv)
{
	return inv->start > inv->end;
}

void wafer_range_init(struct wafer_mmu *mmu)
{
	unsigned int i;

	for (i = 0; i < WAFER_NR_INVALIDATIONS; i++)
		set_range(&mmu->invalid[i], ~0ul, 0);
}

/*
 * Keeps fault sections out of [start, end) until wafer_range_open(); those that run are not waited
 * for.
 */
void wafer_range_close(struct wafer_mmu *mmu, hva_t start, hva_t end)
{
	struct wafer_invalidation *crowd = &mmu->invalid[CROWDED];
	unsigned int i;

	lockdep_assert_held(&mmu->zap_lock);
	WRITE_ONCE(mmu->nr_invalid, mmu->nr_invalid + 1);
	for (i = 0; i < CROWDED; i++) {
		if (is_empty(&mmu->invalid[i])) {
			set_range(&mmu->invalid[i], start, end);
			return;
		}
	}
	mmu->nr_crowded++;
	set_range(crowd, min(start, crowd->start), max(end, crowd->end));
}

/*
 * Of several equal ranges any one may be opened; what is in nobody's own place is in the shared
 * one.
 */
void wafer_range_open(struct wafer_mmu *mmu, hva_t start, hva_t end)
{
	unsigned int i;

	lockdep_assert_held(&mmu->zap_lock);
	for (i = 0; i < CROWDED; i++)
		if (mmu->invalid[i].start == start && mmu->invalid[i].end == end)
			break;
	if (i < CROWDED || !--mmu->nr_crowded)
		set_range(&mmu->invalid[i], ~0ul, 0);
	WRITE_ONCE(mmu->nr_invalid, mmu->nr_invalid - 1);
}

/*
 * Before zap_lock is let go: whoever finds nothing left to zap must still not go on before the
 * flush of this.
 */
static void note_change(struct wafer_mmu *mmu, struct wafer_pt_op *op)
{
	if (!op->changed)
		return;
	op->changed = false;
	/*
	 * Pairs with wafer_op_finish(): who reads this number has these changes before its flush.
	 */
	smp_store_release(&mmu->zap_seq, mmu->zap_seq + 1);
}

/**
 * wafer_range_op() - do an operation to its whole range
 * @mmu: zap_lock held
 * @op: as wafer_pt_op_*() made it
 * @may_sleep: zap_lock may be let go meanwhile; if the slot table is not the same afterwards, this
 *returns early, since op->log may have gone with its slot. That can not happen to one who holds
 *slots_lock
 */
void wafer_range_op(struct wafer_mmu *mmu, struct wafer_pt_op *op, bool may_sleep)
{
	u64 generation = wafer_slots_held(mmu)->generation;

	while (!wafer_pt_op_done(op)) {
		op->budget = STEP_ENTRIES;
		wafer_pt_step(mmu->pt, op);
		note_change(mmu, op);
		if (!may_sleep || wafer_pt_op_done(op))
			continue;
		if (op->pages && !op->pages->nr && !op->zap_huge) {
			spin_unlock(&mmu->zap_lock);
			op->zap_huge = wafer_pt_topup(op->pages, ARRAY_SIZE(op->pages->page)) != 0;
			spin_lock(&mmu->zap_lock);
		}
		cond_resched_lock(&mmu->zap_lock);
		if (wafer_slots_held(mmu)->generation != generation)
			return;
	}
}

/* Of the part of @slot that is in [start, end) of the VMM's addresses. False: none. */
static bool op_of_slot(struct wafer_pt_op *op, struct wafer_slot *slot, hva_t start, hva_t end)
{
	hva_t slot_end;

	if (!slot)
		return false;
	slot_end = slot->hva + (slot->npages << PAGE_SHIFT);
	if (slot_end <= start || slot->hva >= end)
		return false;
	op->start = slot->gfn + ((max(start, slot->hva) - slot->hva) >> PAGE_SHIFT);
	op->gfn = op->start;
	op->end = slot->gfn + DIV_ROUND_UP(min(end, slot_end) - slot->hva, PAGE_SIZE);
	op->log = slot->dirty;
	op->log_gfn = slot->gfn;
	return true;
}

/* Does any slot, or one that is being taken away, map addresses in [start, end)? */
bool wafer_hva_used(struct wafer_mmu *mmu, hva_t start, hva_t end)
{
	const struct wafer_slots *slots = wafer_slots_held(mmu);
	struct wafer_pt_op unused;
	u32 i;

	for (i = 0; i <= slots->nr; i++)
		if (op_of_slot(&unused, i < slots->nr ? slots->slot[i] : mmu->retiring, start, end))
			return true;
	return false;
}

/* wafer_range_op() on all frames that [start, end) is mapped at. */
void wafer_hva_op(struct wafer_mmu *mmu, hva_t start, hva_t end, struct wafer_pt_op *op,
		  bool may_sleep)
{
	struct wafer_slots *slots;
	u64 generation;
	u32 i;

again:
	slots = wafer_slots_held(mmu);
	generation = slots->generation;
	for (i = 0; i <= slots->nr; i++) {
		if (!op_of_slot(op, i < slots->nr ? slots->slot[i] : mmu->retiring, start, end))
			continue;
		wafer_range_op(mmu, op, may_sleep);
		if (wafer_slots_held(mmu)->generation != generation)
			goto again;	/* what has been zapped is passed quickly */
	}
}

/**
 * wafer_op_finish() - flush what must be flushed, then free the tables that were taken out
 * @mmu: zap_lock not held
 * @op: the operation
 *
 * Also where this operation has found nothing: another one may have zapped the same and not yet
 * flushed it.
 */
void wafer_op_finish(struct wafer_mmu *mmu, struct wafer_pt_op *op)
{
	void *table;
	u64 seq;

	/* Pairs with note_change(). */
	seq = smp_load_acquire(&mmu->zap_seq);
	/*
	 * Pairs with the release below. A flush that began after zap @seq was counted has removed
	 * it everywhere.
	 */
	if (smp_load_acquire(&mmu->flushed_seq) < seq) {
		atomic_inc(&mmu->flushes);
		/* Pairs with wafer_mmu_quiesce(). */
		smp_mb__after_atomic();
		if (!READ_ONCE(mmu->quiet))
			mmu->flush(mmu);
		/* Two of these may cross; the smaller number costs one flush too many. */
		smp_store_release(&mmu->flushed_seq, seq);
		atomic_dec_return_release(&mmu->flushes);
	}
	/*
	 * Faults were kept out of their range, the CPUs have dropped them: nobody is left inside.
	 */
	while ((table = op->freed)) {
		op->freed = wafer_pt_next(table);
		wafer_pt_account(mmu->pt, table, -1);
		wafer_pt_free(table);
	}
}

int wafer_pt_topup(struct wafer_pt_pages *pages, unsigned int nr)
{
	while (pages->nr < nr) {
		void *page = wafer_pt_alloc();

		if (!page)
			return -ENOMEM;
		pages->page[pages->nr++] = page;
	}
	return 0;
}

void wafer_pt_drain(struct wafer_pt_pages *pages)
{
	while (pages->nr)
		wafer_pt_free(pages->page[--pages->nr]);
}
