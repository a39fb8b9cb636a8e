// SPDX-License-Identifier: GPL-2.0
/*
 * Taking away: running an operation over frames or over the VMM's addresses, the flush that
 * follows, and the freeing of table pages after it.
 */
#include "mmu/internal.h"

#define STEP_ENTRIES	4096	/* looked at before zap_lock is offered to others */

/**
 * wafer_range_op() - do an operation to its whole range
 * @mmu: zap_lock held
 * @op: as wafer_pt_op_*() made it
 * @may_sleep: zap_lock may be let go meanwhile; if the slot table is not the same afterwards, this
 *	returns early, since op->log may have gone with its slot. That can not happen to one who
 *	holds slots_lock
 */
void wafer_range_op(struct wafer_mmu *mmu, struct wafer_pt_op *op, bool may_sleep)
{
	u64 generation = wafer_slots_held(mmu)->generation;

	while (op->gfn < op->end) {
		op->budget = STEP_ENTRIES;
		wafer_pt_step(&mmu->pt, op);
		/*
		 * Before zap_lock is let go: whoever finds nothing left to zap must still not go on
		 * before the flush of this. Pairs with wafer_op_finish(): who reads this number has
		 * these changes before its flush.
		 */
		smp_store_release(&mmu->zap_seq, mmu->zap_seq + op->changed);
		op->changed = false;
		if (!may_sleep || op->gfn >= op->end)
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

/**
 * wafer_hva_op() - wafer_range_op() on all frames that [start, end) is mapped at
 * @mmu: zap_lock held
 * @start: address of the VMM's
 * @end: the one behind the last
 * @op: made for no frame; NULL: nothing is done
 * @may_sleep: see above
 *
 * Return: does any slot, or one that is being taken away, map addresses in [start, end)?
 */
bool wafer_hva_op(struct wafer_mmu *mmu, hva_t start, hva_t end, struct wafer_pt_op *op,
		  bool may_sleep)
{
	const struct wafer_slots *slots;
	const struct wafer_slot *slot;
	bool used = false;
	u64 generation;

again:
	slots = wafer_slots_held(mmu);
	generation = slots->generation;
	for (u32 i = 0; i <= slots->nr; i++) {
		slot = i < slots->nr ? slots->slot[i] : mmu->retiring;
		if (!slot || slot->hva >= end || wafer_slot_hva_end(slot) <= start)
			continue;
		used = true;
		if (!op)
			break;
		op->start = slot->gfn + ((max(start, slot->hva) - slot->hva) >> PAGE_SHIFT);
		op->gfn = op->start;
		op->end = slot->gfn + DIV_ROUND_UP(min(end, wafer_slot_hva_end(slot)) - slot->hva,
						   PAGE_SIZE);
		op->log = slot->dirty;
		op->log_gfn = slot->gfn;
		wafer_range_op(mmu, op, may_sleep);
		if (wafer_slots_held(mmu)->generation != generation)
			goto again;	/* what has been zapped is passed quickly */
	}
	return used;
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
	/* Pairs with wafer_range_op(). */
	u64 seq = smp_load_acquire(&mmu->zap_seq);

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
		/* Fully ordered: pairs with the waiter, who says quiet before it looks. */
		if (!atomic_dec_return(&mmu->flushes) && READ_ONCE(mmu->quiet))
			wake_up_var(&mmu->flushes);
	}
	/*
	 * Faults were kept out of their range, the CPUs have dropped them: nobody is left inside.
	 */
	while ((table = op->freed)) {
		op->freed = wafer_pt_next(table);
		wafer_pt_account(&mmu->pt, table, -1);
		wafer_pt_free(table);
	}
}

int wafer_pt_topup(struct wafer_pt_pages *pages, unsigned int nr)
{
	while (pages->nr < nr) {
		void *page = wafer_pt_alloc(true);

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
