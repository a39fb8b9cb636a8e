// SPDX-License-Identifier: GPL-2.0
/* The pages that the nested table is made of, and those that it maps. */
#include "mmu/internal.h"

/* In the window nothing waits. On PREEMPT_RT the allocator sleeps: the fault leaves the window. */
void *wafer_pt_alloc(bool wait)
{
	if (!wait && IS_ENABLED(CONFIG_PREEMPT_RT))
		return NULL;
	return (void *)__get_free_page((wait ? GFP_KERNEL : GFP_NOWAIT | __GFP_NOWARN) |
				       __GFP_ACCOUNT | __GFP_ZERO);
}

void wafer_pt_free(void *table)
{
	free_page((unsigned long)table);
}

void wafer_pt_account(const struct wafer_pt *pt, void *table, int n)
{
	atomic_long_add(n, pt->pages);
	mod_lruvec_page_state(virt_to_page(table), NR_SECONDARY_PAGETABLE, n);
}

/*
 * The page is still the host's mapping of that address: the notifier that takes it away waits for
 * our zap lock. Only the flag is set, as file systems may sleep in their hook; where they need it,
 * a host entry that allows writing has been through their page_mkwrite, and its revocation comes
 * here before the page counts as clean.
 */
void wafer_pt_host_dirty(u64 pfn)
{
	struct page *page = pfn_valid(pfn) ? compound_head(pfn_to_page(pfn)) : NULL;

	if (page && !PageDirty(page) && !PageReserved(page))
		SetPageDirty(page);
}

/*
 * While the CPU may still walk a page that was taken out its entries stay zero: the link is
 * elsewhere.
 */
void *wafer_pt_next(void *table)
{
	return (void *)page_private(virt_to_page(table));
}

void wafer_pt_set_next(void *table, void *next)
{
	set_page_private(virt_to_page(table), (unsigned long)next);
}
