// SPDX-License-Identifier: GPL-2.0
/*
 * The host's memory management speaks: pages go away, lose rights, are asked for their age.
 *
 * Nothing here sleeps but where a range says that it is blockable, and nothing waits for a lock
 * that a fault section takes, for sections take none.
 */
#include "mmu/internal.h"

/* int or bool */
typedef typeof(((struct mmu_notifier_ops *)NULL)->test_young(NULL, NULL, 0)) young_t;

static struct wafer_mmu *to_mmu(struct mmu_notifier *notifier)
{
	return container_of(notifier, struct wafer_mmu, notifier);
}

/* Keeps faults out of [start, end), then takes what @op says from all that is mapped there. */
static void close_range(struct wafer_mmu *mmu, hva_t start, hva_t end, struct wafer_pt_op *op,
			bool may_sleep)
{
	bool used;

	spin_lock(&mmu->zap_lock);
	wafer_range_close(mmu, start, end);
	/*
	 * If no slot has it now, one made meanwhile finds it closed. No section uses an older slot
	 * table.
	 */
	used = wafer_hva_op(mmu, start, end, NULL, false);
	if (used) {
		wafer_section_wait(mmu);
		wafer_hva_op(mmu, start, end, op, may_sleep);
	}
	spin_unlock(&mmu->zap_lock);
	if (used)
		wafer_op_finish(mmu, op);
}

static void open_range(struct wafer_mmu *mmu)
{
	spin_lock(&mmu->zap_lock);
	wafer_range_open(mmu);
	spin_unlock(&mmu->zap_lock);
}

/*
 * After PROTECTION_PAGE and SOFT_DIRTY the same page is there for reading. All other events may
 * take it away: an mprotect() or NUMA hinting (PROTECTION_VMA) may leave no right at all, and KSM
 * says CLEAR.
 */
static int invalidate_range_start(struct mmu_notifier *notifier,
				  const struct mmu_notifier_range *range)
{
	struct wafer_mmu *mmu = to_mmu(notifier);
	struct wafer_pt_op op = wafer_pt_op_zap(0, 0);

	if (range->event == MMU_NOTIFY_PROTECTION_PAGE || range->event == MMU_NOTIFY_SOFT_DIRTY)
		op = wafer_pt_op_protect(&mmu->pt);
	close_range(mmu, range->start, range->end, &op, mmu_notifier_range_blockable(range));
	return 0;
}

static void invalidate_range_end(struct mmu_notifier *notifier,
				 const struct mmu_notifier_range *range)
{
	open_range(to_mmu(notifier));
}

/*
 * Was anything in [start, end) accessed; forget it if @clear. The TLBs are not flushed, as the host
 * does not flush its own. Without accessed bits what is mapped counts as accessed, and is forgotten
 * by unmapping: fault-around brings it back cheaply.
 */
static bool young(struct wafer_mmu *mmu, hva_t start, hva_t end, bool clear)
{
	u64 bits = mmu->pt.has_ad ? mmu->pt.f->accessed : mmu->pt.f->read;
	struct wafer_pt_op op = wafer_pt_op(0, 0, bits, clear ? bits : 0);

	if (clear && !mmu->pt.has_ad) {
		op = wafer_pt_op_zap(0, 0);
		close_range(mmu, start, end, &op, false);
		open_range(mmu);
		return op.found;
	}
	spin_lock(&mmu->zap_lock);
	wafer_hva_op(mmu, start, end, &op, false);
	spin_unlock(&mmu->zap_lock);
	return op.found;
}

static young_t clear_young(struct mmu_notifier *notifier, struct mm_struct *mm, unsigned long start,
			   unsigned long end)
{
	return young(to_mmu(notifier), start, end, true);
}

static young_t test_young(struct mmu_notifier *notifier, struct mm_struct *mm,
			  unsigned long address)
{
	return young(to_mmu(notifier), address, address + PAGE_SIZE, false);
}

/* The address space ends. It stays closed: nobody can fault in it again. */
static void release(struct mmu_notifier *notifier, struct mm_struct *mm)
{
	struct wafer_pt_op op = wafer_pt_op_zap(0, 0);

	close_range(to_mmu(notifier), 0, TASK_SIZE_MAX, &op, true);
}

const struct mmu_notifier_ops wafer_notifier_ops = {
	.release = release,
	.clear_flush_young = clear_young,
	.clear_young = clear_young,
	.test_young = test_young,
	.invalidate_range_start = invalidate_range_start,
	.invalidate_range_end = invalidate_range_end,
	.free_notifier = wafer_mmu_free,
};
