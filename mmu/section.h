/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fault sections, and how to keep them out of a range.
 *
 *	fault (interrupts off)			who takes away (zap_lock held)
 *	in_fault odd				publish: range, or slot table
 *	full barrier		(A)		full barrier		(B)
 *	read ranges and slots: closed? leave	every in_fault: wait until even or changed
 *	read barrier		(C)		zap, flush
 *	read the host's entry			the host changes its entry
 *	compare and exchange			withdraw the range
 *	in_fault even (release)
 *
 * Of (A) and (B) one is first. If it is (A), the section is waited for, and what it has installed
 * is found by the zap. If it is (B), the section sees the closed range. A section contains no wait,
 * so the wait for it is short. What must not be done is to compare a sequence number before the
 * exchange and none after: range closed, zapped, opened again, all between the comparison and the
 * exchange, would leave a freed page in the table.
 *
 * The order within the section is as important. If it reads the host's entry first and looks for
 * closed ranges then, nobody waits for it in case (B), and all that is left to happen may happen
 * between the two: the host's entry goes, its page is freed, the range is withdrawn. Looking first,
 * a section that finds the range withdrawn reads an entry that the host has already changed (C).
 *
 * Of all ranges that are closed now only what covers them is kept, and their number: it grows until
 * the last of them is withdrawn. It is written by the holder of zap_lock and read without a lock. A
 * torn read covers what was closed before, and as to the range that is just being published either
 * answer is right: see (A) and (B).
 */
#ifndef WAFER_MMU_SECTION_H
#define WAFER_MMU_SECTION_H

#include <linux/lockdep.h>
#include <linux/processor.h>

#include "direct.h"

/* Pairs with the two in direct.h. What was to be seen by new sections has been written before. */
static inline void wafer_section_wait(struct wafer_mmu *mmu)
{
	struct wafer_fault_ctx *ctx;

	lockdep_assert_held(&mmu->zap_lock);
	/* Pairs with wafer_direct_keep(). */
	smp_store_release(&mmu->section_seq, mmu->section_seq + 1);
	smp_mb();	/* (B) */
	list_for_each_entry(ctx, &mmu->ctxs, link) {
		/* Pairs with wafer_section_leave(), here and below. */
		unsigned int seen = smp_load_acquire(&ctx->in_fault);

		/* Odd: in it. Any other number: that section is over. */
		while ((seen & 1) && smp_load_acquire(&ctx->in_fault) == seen)
			cpu_relax();
	}
}

/*
 * In a section, before the host's entry is read: how large may a mapping be that contains @hva?
 * 0: there may be none now.
 */
static inline unsigned int wafer_open_level(const struct wafer_mmu *mmu, hva_t hva)
{
	unsigned int level = 3;
	hva_t mask;

	if (unlikely(READ_ONCE(mmu->nr_invalid)))
		for (; level; level--) {
			mask = (PAGE_SIZE << (9 * (level - 1))) - 1;
			if ((hva | mask) < READ_ONCE(mmu->invalid_start) ||
			    (hva & ~mask) >= READ_ONCE(mmu->invalid_end))
				break;
		}
	smp_rmb();	/* (C), pairs with the host's locks between its change and the withdrawal */
	return level;
}

/*
 * Keeps fault sections out of [start, end) until wafer_range_open(); those that run are not waited
 * for.
 */
static inline void wafer_range_close(struct wafer_mmu *mmu, hva_t start, hva_t end)
{
	lockdep_assert_held(&mmu->zap_lock);
	if (mmu->nr_invalid) {
		start = min(start, mmu->invalid_start);
		end = max(end, mmu->invalid_end);
	}
	WRITE_ONCE(mmu->invalid_start, start);
	WRITE_ONCE(mmu->invalid_end, end);
	/* Pairs with wafer_open_level(): not the old range for the new number. */
	smp_store_release(&mmu->nr_invalid, mmu->nr_invalid + 1);
}

static inline void wafer_range_open(struct wafer_mmu *mmu)
{
	lockdep_assert_held(&mmu->zap_lock);
	WRITE_ONCE(mmu->nr_invalid, mmu->nr_invalid - 1);
}

#endif
