// SPDX-License-Identifier: GPL-2.0
/*
 * What the VMM's page tables map at an address, read with interrupts off.
 *
 * As in get_user_pages_fast(), interrupts off keep the tables themselves from being freed. The page
 * is not referenced: in a fault section the notifier that would take it away waits for the
 * section's end. For the same reason the entry need not be read twice, and memory without a page
 * structure (VM_PFNMAP) is no special case.
 */
#include "mmu/internal.h"

#define PROTECTION_KEY	(0xfull << 59)

/**
 * wafer_host_walk() - walk the tables of the VMM's address space
 * @mmu: of a VM whose address space is not going away: the current one, or the notifier's
 * @hva: the address
 * @any_key: whether memory with a protection key will do. Not in the window: only get_user_pages()
 *	and the like compare it with the thread's rights
 * @host: filled in
 *
 * Interrupts off. Entries that are there but not to be used (NUMA hinting, PROT_NONE, migration,
 * swap) have the present bit clear. An entry may be writable only by a write fault that somebody
 * wants to see (copy on write, userfaultfd, soft-dirty): all of them show as a clear write bit.
 *
 * Return: whether user space can read the page.
 */
bool wafer_host_walk(struct wafer_mmu *mmu, hva_t hva, bool any_key, struct wafer_host_page *host)
{
	const u64 *at, *table = (const u64 *)mmu->mm->pgd;
	unsigned int level = pgtable_l5_enabled() ? 5 : 4;
	u64 e, uncached, mask, above = _PAGE_RW | _PAGE_USER;

	for (;; level--) {
		at = &table[wafer_pt_index(hva >> PAGE_SHIFT, level)];
		e = READ_ONCE(*at);
		if (!(e & _PAGE_PRESENT))
			return false;
		if (level == 1 || (e & _PAGE_PSE))
			break;
		above &= e;
		table = __va(e & PTE_PFN_MASK);
	}
	if (!(e & above & _PAGE_USER) || ((e & PROTECTION_KEY) && !any_key))
		return false;
	uncached = _PAGE_PWT | _PAGE_PCD | (level == 1 ? _PAGE_PAT : _PAGE_PAT_LARGE);
	mask = wafer_pt_span(level) - 1;
	host->at = at;
	host->entry = e;
	host->above = above;
	host->pfn = (((e & PTE_PFN_MASK) >> PAGE_SHIFT) & ~mask) + ((hva >> PAGE_SHIFT) & mask);
	host->level = level;
	host->writable = e & above & _PAGE_RW;
	host->bits = (e & uncached ? mmu->pt.f->uc : mmu->pt.f->wb) | (e & sme_me_mask) |
		     (e & _PAGE_SPECIAL ? WAFER_PT_SPECIAL : 0);
	if (unlikely(e & uncached))
		WRITE_ONCE(mmu->has_devices, true);
	return true;
}
