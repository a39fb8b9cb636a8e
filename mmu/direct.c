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
bool wafer_direct_keep(struct wafer_fault_ctx *ctx, const struct wafer_walk *w, struct wafer_way *way)
{
	static const u64 zero;
	const void *table = ctx;

	wafer_section_enter(ctx);
	if (READ_ONCE(ctx->mmu->nr_invalid))
		table = NULL;
	way->seq = READ_ONCE(ctx->mmu->section_seq);
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

/* In a section: nonzero where the guest has changed an entry on the way. */
static __always_inline u64 entry_changed(const struct wafer_way *way, unsigned int i)
{
	return READ_ONCE(*way->entry[i].at) ^ way->entry[i].val;
}

/*
 * In a section: the page, nonzero in *@changed if the way no longer leads there; NULL: the pointers
 * are not good any more.
 */
static __always_inline const u8 *go(struct wafer_fault_ctx *ctx, const struct wafer_way *way, u64 *changed)
{
	if (unlikely(way->seq != READ_ONCE(ctx->mmu->section_seq) || READ_ONCE(ctx->mmu->nr_invalid)))
		return NULL;
	/* A loop would take twice as long as these. */
	static_assert(ARRAY_SIZE(way->entry) == 5);
	*changed = entry_changed(way, 0) | entry_changed(way, 1) | entry_changed(way, 2) | entry_changed(way, 3) |
		   entry_changed(way, 4);
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
bool wafer_direct_read(struct wafer_fault_ctx *ctx, const struct wafer_way *way, unsigned int offset,
		       u64 bytes[2])
{
	const u8 *page;
	u64 changed = 1;

	wafer_section_enter(ctx);
	page = go(ctx, way, &changed);
	if (page)
		memcpy(bytes, page + offset, 16);
	wafer_section_leave(ctx);
	return !changed;
}

/**
 * wafer_direct_same() - are the way, and up to 8 bytes of the page, still the same?
 * @ctx: of the vCPU in whose window this runs
 * @way: from wafer_direct_keep()
 * @offset: in the page, with 8 bytes behind it
 * @bytes: as they were
 * @shift: bits of @bytes, from the highest one, that do not matter
 */
bool wafer_direct_same(struct wafer_fault_ctx *ctx, const struct wafer_way *way, unsigned int offset,
		       u64 bytes, unsigned int shift)
{
	const u8 *page;
	u64 changed = 1;

	wafer_section_enter(ctx);
	page = go(ctx, way, &changed);
	if (likely(page))
		changed |= (*(const u64 *)(page + offset) ^ bytes) << shift;
	wafer_section_leave(ctx);
	return !changed;
}
