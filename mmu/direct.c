// SPDX-License-Identifier: GPL-2.0
/*
 * Guest pages as the kernel's direct map has them, for readers in the window that come back to the
 * same page again and again (the run loop's instruction fetch).
 *
 * A pointer is good inside a fault section, and in later sections as long as section_seq is what it
 * was: everybody who takes a mapping away counts it up, then waits for the sections that may not
 * have seen that (section.h).
 */
#include "emulate.h"
#include "mmu/internal.h"

/*
 * The direct map has holes, such as memfd_secret(). A page that is mapped to the guest does not
 * become one: it gets its place before it is mapped, and loses it, if ever, after the notifier has
 * taken it away.
 */
static bool is_mapped(const void *page)
{
	bool mapped = false;
	u8 unused;

	pagefault_disable();
	__get_kernel_nofault(&unused, page, u8, hole);
	mapped = true;
hole:
	pagefault_enable();
	return mapped;
}

/* Where a guest page is, in a section; NULL: not mapped now, or not memory of the host's. */
static const void *direct(struct wafer_fault_ctx *ctx, gfn_t gfn)
{
	const struct wafer_pt *pt = &ctx->mmu->pt;
	unsigned int level;
	u64 e = wafer_pt_find(pt, gfn, &level), pfn = wafer_pt_pfn(pt, e, gfn, level);

	if (!e || (e & WAFER_PT_SPECIAL) || !pfn_valid(pfn) || !is_mapped(__va(pfn << PAGE_SHIFT)))
		return NULL;
	return __va(pfn << PAGE_SHIFT);
}

/**
 * wafer_direct_keep() - keep the way to a page, as pointers
 * @ctx: of the vCPU in whose window this runs
 * @w: the walk that led there: entries of 8 bytes, or none
 * @way: result
 *
 * Return: false: something on the way is not mapped now, or just being taken away.
 */
bool wafer_direct_keep(struct wafer_fault_ctx *ctx, const struct wafer_walk *w,
		       struct wafer_way *way)
{
	static const u64 zero;
	const void *table = ctx;

	wafer_section_enter(ctx);
	way->seq = READ_ONCE(ctx->mmu->section_seq);
	/*
	 * Pairs with wafer_section_wait(), which counts up when the range is closed. For who does
	 * so from now on this is an old generation; who did and has not zapped yet is seen here.
	 */
	smp_rmb();
	if (READ_ONCE(ctx->mmu->nr_invalid))
		table = NULL;
	way->deep = w->nr_entries > 3;
	for (unsigned int i = 0; i < ARRAY_SIZE(way->entry); i++) {
		way->entry[i].at = &zero;
		way->entry[i].val = 0;
	}
	for (unsigned int i = 0; i < w->nr_entries && table; i++) {
		table = direct(ctx, w->entries[i].gpa >> PAGE_SHIFT);
		way->entry[i].at = table + (w->entries[i].gpa & ~PAGE_MASK);
		way->entry[i].val = w->entries[i].val;
	}
	way->page = table ? direct(ctx, w->gpa >> PAGE_SHIFT) : NULL;
	wafer_section_leave(ctx);
	return way->page;
}

/**
 * wafer_direct_read() - 16 bytes of the page, if the way to it is still the same
 * @ctx: of the vCPU in whose window this runs
 * @way: from wafer_direct_keep()
 * @offset: in the page, with 16 bytes behind it
 * @bytes: result
 *
 * Return: false: an entry says something else, or a page may be another.
 */
bool wafer_direct_read(struct wafer_fault_ctx *ctx, const struct wafer_way *way,
		       unsigned int offset, u64 bytes[2])
{
	bool holds;

	wafer_section_enter(ctx);
	holds = wafer_way_holds(ctx, way);
	if (holds)
		memcpy(bytes, way->page + offset, 16);
	wafer_section_leave(ctx);
	return holds;
}
