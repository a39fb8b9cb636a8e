// SPDX-License-Identifier: GPL-2.0
/*
 * Guest pages as the kernel's direct map has them, for readers in the window that come back to the
 * same page again and again (the run loop's instruction fetch).
 *
 * A pointer is good inside a fault section, and in later sections as long as section_seq is what it
 * was: everybody who takes a mapping away counts it up, then waits for the sections that may not
 * have seen that (section.h).
 */
#include "mmu/internal.h"

/**
 * wafer_direct_begin() - enter a section for wafer_direct()
 * @ctx: of the vCPU in whose window this runs
 * @seq: result: what pointers of this section are worth later
 *
 * Return: false: something is being taken away now; there is no section and nothing to be had.
 */
bool wafer_direct_begin(struct wafer_fault_ctx *ctx, unsigned long *seq)
{
	wafer_section_enter(ctx);
	if (READ_ONCE(ctx->mmu->nr_invalid)) {
		wafer_section_leave(ctx);
		return false;
	}
	*seq = READ_ONCE(ctx->mmu->section_seq);
	return true;
}

void wafer_direct_end(struct wafer_fault_ctx *ctx)
{
	wafer_section_leave(ctx);
}

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

/**
 * wafer_direct() - where a guest page is, in a section
 * @ctx: of the vCPU
 * @gfn: guest page
 *
 * Return: the page in the direct map; NULL: not mapped now, or not memory of the host's.
 */
const void *wafer_direct(struct wafer_fault_ctx *ctx, gfn_t gfn)
{
	const struct wafer_pt *pt = &ctx->mmu->pt;
	unsigned int level;
	u64 e = wafer_pt_find(pt, gfn, &level), pfn = wafer_pt_pfn(pt, e, gfn, level);

	if (!e || (e & WAFER_PT_SPECIAL) || !pfn_valid(pfn) || !is_mapped(__va(pfn << PAGE_SHIFT)))
		return NULL;
	return __va(pfn << PAGE_SHIFT);
}
