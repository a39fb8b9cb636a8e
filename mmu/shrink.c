// SPDX-License-Identifier: GPL-2.0
/*
 * The host is short of memory: the nested tables of VMs that have not run for a while go. What they
 * mapped stays where it is, as it is the VMM's memory, and faults bring back what the guest needs
 * again.
 */
#include <linux/jiffies.h>

#include "compat.h"
#include "mmu/internal.h"

#define IDLE	(2 * HZ)

/*
 * VMs whose tables may be taken. Outside of zap_lock. Reclaim only tries to get the lock, hence
 * whoever holds it may allocate.
 */
static LIST_HEAD(mmus);
static DEFINE_MUTEX(mmus_lock);
struct shrinker *wafer_shrinker;

void wafer_shrink_add(struct wafer_mmu *mmu)
{
	mutex_lock(&mmus_lock);
	list_add_tail(&mmu->link, &mmus);
	mutex_unlock(&mmus_lock);
}

/* On return nobody is at its tables any more. May be called twice. */
void wafer_shrink_del(struct wafer_mmu *mmu)
{
	mutex_lock(&mmus_lock);
	list_del_init(&mmu->link);
	mutex_unlock(&mmus_lock);
}

/* Should it run again meanwhile, its faults wait until the range is open. */
static void zap_all(struct wafer_mmu *mmu)
{
	struct wafer_pt_op rest = wafer_pt_op_zap(0, wafer_pt_span(mmu->pt.levels + 1));
	struct wafer_pt_op op = wafer_pt_op_zap(0, 0);

	spin_lock(&mmu->zap_lock);
	wafer_range_close(mmu, 0, TASK_SIZE_MAX);
	wafer_section_wait(mmu);
	/* By slots, for their logs; then tables that no slot covers whole: they are empty now. */
	wafer_hva_op(mmu, 0, TASK_SIZE_MAX, &op, true);
	rest.freed = op.freed;
	wafer_range_op(mmu, &rest, true);
	wafer_range_open(mmu);
	spin_unlock(&mmu->zap_lock);
	wafer_op_finish(mmu, &rest);
}

/* Has a vCPU been in a window of late? */
static bool busy(struct wafer_mmu *mmu)
{
	struct wafer_fault_ctx *ctx;
	bool found = false;

	spin_lock(&mmu->zap_lock);
	list_for_each_entry(ctx, &mmu->ctxs, link)
		found |= jiffies - READ_ONCE(ctx->ran) < IDLE;
	spin_unlock(&mmu->zap_lock);
	return found;
}

/*
 * With nr_to_scan 0 tells how many tables idle VMs have beside their roots; else frees so many, or
 * those of one VM more.
 */
static unsigned long shrink(struct shrinker *s, struct shrink_control *sc)
{
	unsigned long found = 0, n;
	struct wafer_mmu *mmu;

	if (!mutex_trylock(&mmus_lock))
		return sc->nr_to_scan ? SHRINK_STOP : 0;
	list_for_each_entry(mmu, &mmus, link) {
		n = atomic_long_read(&mmu->pages) - 1;
		if (!n || busy(mmu))
			continue;
		if (sc->nr_to_scan)
			zap_all(mmu);
		found += n;
		if (found >= sc->nr_to_scan && sc->nr_to_scan)
			break;
	}
	mutex_unlock(&mmus_lock);
	return sc->nr_to_scan && !found ? SHRINK_STOP : found;
}

/* Where there is no memory for it, tables stay until their VM goes. */
void __init wafer_mmu_setup(void)
{
	wafer_shrinker = shrinker_alloc(0, "wafer");
	if (!wafer_shrinker)
		return;
	wafer_shrinker->count_objects = shrink;
	wafer_shrinker->scan_objects = shrink;
	shrinker_register(wafer_shrinker);
}
