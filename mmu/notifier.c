// SPDX-License-Identifier: GPL-2.0
/*
 * The host's memory management speaks: pages go away, lose rights, are asked for their age.
 *
 * Nothing here sleeps but where a range says that it is blockable, and nothing waits for a lock
 * that a fault section takes, for sections take none.
 */
#include <linux/mmu_notifier.h>

#include "mmu/internal.h"

/* int or bool */
typedef typeof(((struct mmu_notifier_ops *)NULL)->test_young(NULL, NULL, 0)) young_t;

static struct wafer_mmu *to_mmu(struct mmu_notifier *notifier)
{
	return container_of(notifier, struct wafer_mmu, notifier);
}

/*
 * Events after which the same page is there for reading. All others may take it away: an mprotect()
 * or NUMA hinting (PROTECTION_VMA) may leave no right at all, and KSM says CLEAR.
 */
static bool only_protects(const struct mmu_notifier_range *range)
{
	return range->event == MMU_NOTIFY_PROTECTION_PAGE || range->event == MMU_NOTIFY_SOFT_DIRTY;
}

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
	used = wafer_hva_used(mmu, start, end);
	if (used) {
		wafer_section_wait(mmu);
		wafer_hva_op(mmu, start, end, op, may_sleep);
	}
	spin_unlock(&mmu->zap_lock);
	if (used)
		wafer_op_finish(mmu, op);
}

static void open_range(struct wafer_mmu *mmu, hva_t start, hva_t end)
{
	spin_lock(&mmu->zap_lock);
	wafer_range_open(mmu, start, end);
	spin_unlock(&mmu->zap_lock);
}

static int invalidate_range_start(struct mmu_notifier *notifier,
				  const struct mmu_notifier_range *range)
{
	struct wafer_mmu *mmu = to_mmu(notifier);
	struct wafer_pt_op op = only_protects(range) ? wafer_pt_op_protect(mmu->pt, 0, 0) :
						       wafer_pt_op_zap(mmu->pt, 0, 0);

	close_range(mmu, range->start, range->end, &op, mmu_notifier_range_blockable(range));
	return 0;
}

static void invalidate_range_end(struct mmu_notifier *notifier,
				 const struct mmu_notifier_range *range)
{
	open_range(to_mmu(notifier), range->start, range->end);
}

/*
 * Was anything in [start, end) accessed; forget it if @clear. The TLBs are not flushed, as the host
 * does not flush its own. Without accessed bits what is mapped counts as accessed, and is forgotten
 * by unmapping: fault-around brings it back cheaply.
 */
static bool young(struct wafer_mmu *mmu, hva_t start, hva_t end, bool clear)
{
	const struct wafer_pt *pt = mmu->pt;
	u64 bits = pt->has_ad ? pt->f->accessed : pt->f->read;
	struct wafer_pt_op op = wafer_pt_op_age(pt, 0, 0, bits, clear && pt->has_ad);
	bool unmap = clear && !pt->has_ad;

	spin_lock(&mmu->zap_lock);
	wafer_hva_op(mmu, start, end, &op, false);
	spin_unlock(&mmu->zap_lock);
	if (unmap && op.found) {
		struct wafer_pt_op zap = wafer_pt_op_zap(pt, 0, 0);

		close_range(mmu, start, end, &zap, false);
		open_range(mmu, start, end);
	}
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
	struct wafer_mmu *mmu = to_mmu(notifier);
	struct wafer_pt_op op = wafer_pt_op_zap(mmu->pt, 0, 0);

	close_range(mmu, 0, TASK_SIZE_MAX, &op, true);
}

static void free_notifier(struct mmu_notifier *notifier)
{
	wafer_mmu_free(to_mmu(notifier));
}

const struct mmu_notifier_ops wafer_notifier_ops = {
	.release = release,
	.clear_flush_young = clear_young,
	.clear_young = clear_young,
	.test_young = test_young,
	.invalidate_range_start = invalidate_range_start,
	.invalidate_range_end = invalidate_range_end,
	.free_notifier = free_notifier,
};
