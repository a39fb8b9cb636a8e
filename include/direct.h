/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fault sections as the vCPU that is in one sees them (mmu/section.h has the other side, and says
 * why this works), and ways to guest pages that are kept from one section to the next
 * (mmu/direct.c).
 */
#ifndef WAFER_DIRECT_H
#define WAFER_DIRECT_H

#include "mmu.h"

static inline void wafer_section_enter(struct wafer_fault_ctx *ctx)
{
	WRITE_ONCE(ctx->in_fault, ctx->in_fault + 1);
	smp_mb();	/* (A) in mmu/section.h */
}

static inline void wafer_section_leave(struct wafer_fault_ctx *ctx)
{
	/* Pairs with wafer_section_wait(): what the section did is seen by who waited for it. */
	smp_store_release(&ctx->in_fault, ctx->in_fault + 1);
}

/**
 * struct wafer_way - the way to a guest page in the kernel's direct map
 * @page: the page
 * @seq: generation of the pointers: mmu->section_seq
 * @deep: more than three entries are in use
 * @entry: the guest's page-table entries that led there, with what they said; those not needed: a
 *	constant
 */
struct wafer_way {
	const u8 *page;
	unsigned long seq;
	bool deep;
	struct { const u64 *at; u64 val; } entry[5];
};
bool wafer_direct_keep(struct wafer_fault_ctx *ctx, const struct wafer_walk *w,
		       struct wafer_way *way);
bool wafer_direct_read(struct wafer_fault_ctx *ctx, const struct wafer_way *way,
		       unsigned int offset, u64 bytes[2]);

/* In a section: nonzero where the guest has changed an entry on the way. */
static __always_inline u64 wafer_entry_changed(const struct wafer_way *way, unsigned int i)
{
	return READ_ONCE(*way->entry[i].at) ^ way->entry[i].val;
}

/*
 * In a section: does a kept way still lead to its page? Who takes a mapping away counts the
 * generation up first, and waits for the sections that may not have seen that. In the place of
 * comparisons a loop would take twice as long.
 */
static __always_inline bool wafer_way_holds(const struct wafer_fault_ctx *ctx,
					    const struct wafer_way *way)
{
	u64 changed;

	if (unlikely(way->seq != READ_ONCE(ctx->mmu->section_seq)))
		return false;
	changed = wafer_entry_changed(way, 0) | wafer_entry_changed(way, 1) |
		  wafer_entry_changed(way, 2);
	if (way->deep)
		changed |= wafer_entry_changed(way, 3) | wafer_entry_changed(way, 4);
	return likely(!changed);
}

/**
 * wafer_direct_same() - does the way still hold, and does its page still say the same?
 * @ctx: of the vCPU in whose window this runs
 * @way: from wafer_direct_keep()
 * @offset: in the page, with 8 bytes behind it
 * @bytes: what was there
 * @len: how many of them matter, 1 to 8
 */
static __always_inline bool wafer_direct_same(struct wafer_fault_ctx *ctx,
					      const struct wafer_way *way, unsigned long offset,
					      u64 bytes, u8 len)
{
	bool same;

	wafer_section_enter(ctx);
	same = wafer_way_holds(ctx, way) &&
	       !((READ_ONCE(*(const u64 *)(way->page + offset)) ^ bytes) << (64 - 8 * len));
	wafer_section_leave(ctx);
	return same;
}

#endif
