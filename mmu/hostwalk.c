// SPDX-License-Identifier: GPL-2.0
/*
 * What the VMM's page tables map at an address, read with interrupts off.
 *
 * As in get_user_pages_fast(), interrupts off keep the tables themselves from being freed. The page
 * is not referenced: in a fault section the notifier that would take it away waits for the
 * section's end. For the same reason the entry need not be read twice, and memory without a page
 * structure (VM_PFNMAP) is no special case.
 */
#include <linux/irqflags.h>
#include <linux/mem_encrypt.h>
#include <linux/mm.h>
#include <linux/pgtable.h>

#include "mmu/internal.h"

#define PROTECTION_KEY	(0xfull << 59)

/**
 * wafer_host_entry() - what a host's leaf says
 * @pt: the nested table, for its format
 * @e: the leaf, with the rights of the levels above it
 * @level: its level
 * @hva: the address in question
 * @any_key: whether memory with a protection key will do. Not in the window: only get_user_pages()
 *	and the like compare it with the thread's rights
 * @host: filled in
 *
 * Entries that are there but not to be used (NUMA hinting, PROT_NONE, migration, swap) have the
 * present bit clear. An entry may be writable only by a write fault that somebody wants to see
 * (copy on write, userfaultfd, soft-dirty): all of them show as a clear write bit.
 *
 * Return: whether user space can read the page.
 */
bool wafer_host_entry(const struct wafer_pt *pt, u64 e, unsigned int level, hva_t hva, bool any_key,
		      struct wafer_host_page *host)
{
	u64 uncached = _PAGE_PWT | _PAGE_PCD | (level == 1 ? _PAGE_PAT : _PAGE_PAT_LARGE);
	u64 mask = wafer_pt_span(level) - 1;

	if ((e & (_PAGE_PRESENT | _PAGE_USER)) != (_PAGE_PRESENT | _PAGE_USER))
		return false;
	if ((e & PROTECTION_KEY) && !any_key)
		return false;
	host->pfn = (((e & PTE_PFN_MASK) >> PAGE_SHIFT) & ~mask) + ((hva >> PAGE_SHIFT) & mask);
	host->level = level;
	host->writable = e & _PAGE_RW;
	host->bits = (e & uncached ? pt->f->uc : pt->f->wb) | (e & sme_me_mask);
	if (e & _PAGE_SPECIAL)
		host->bits |= WAFER_PT_SPECIAL;
	return true;
}

/**
 * wafer_host_walk() - walk an address space's tables
 * @pt: as for wafer_host_entry(), like @any_key
 * @mm: the address space; one that is not going away: the current one, or the notifier's
 * @hva: the address
 * @any_key: see there
 * @host: filled in, with the entry and its place
 *
 * Interrupts off.
 *
 * Return: as wafer_host_entry().
 */
bool wafer_host_walk(const struct wafer_pt *pt, struct mm_struct *mm, hva_t hva, bool any_key,
		     struct wafer_host_page *host)
{
	const u64 *table = (const u64 *)mm->pgd, *ep;
	unsigned int level = pgtable_l5_enabled() ? 5 : 4;
	u64 e, above = _PAGE_RW | _PAGE_USER;

	for (;; level--) {
		ep = &table[wafer_pt_index(hva >> PAGE_SHIFT, level)];
		e = READ_ONCE(*ep);
		if (!(e & _PAGE_PRESENT))
			return false;
		if (level == 1 || (e & _PAGE_PSE))
			break;
		above &= e;
		table = __va(e & PTE_PFN_MASK);
	}
	host->at = ep;
	host->entry = e;
	host->above = above;
	e &= above | ~(_PAGE_RW | _PAGE_USER);
	return wafer_host_entry(pt, e, level, hva, any_key, host);
}
