// SPDX-License-Identifier: GPL-2.0
/* Making the host map a page, where sleeping is allowed. */
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/sched/signal.h>

#include "mmu/internal.h"

/*
 * Only get_user_pages() tells a poisoned page from an address without a mapping. The signal says
 * that the access was the thread's own: it can not go on without the page.
 */
static int why_not(hva_t hva, bool write)
{
	long r = get_user_pages_unlocked(hva, 1, NULL, FOLL_HWPOISON | (write ? FOLL_WRITE : 0));

	if (r == 1)
		return 0;
	if (r == -EHWPOISON)
		send_sig_mceerr(BUS_MCEERR_AR, (void __user *)hva, PAGE_SHIFT, current);
	return r == -EHWPOISON || r == -EINTR ? r : -EFAULT;
}

/**
 * wafer_host_fault_in() - handle a page fault of the VMM's at @hva
 * @mm: the VMM's address space, which is current->mm
 * @hva: the address
 * @write: for writing
 *
 * No reference is taken: the caller enters a fault section and looks whether the page is (still)
 * there. Without one VM_PFNMAP is as good as any memory.
 *
 * Return: 0; -EFAULT: no mapping, or not with that right; -EHWPOISON: signal sent; -EINTR, -ENOMEM.
 */
int wafer_host_fault_in(struct mm_struct *mm, hva_t hva, bool write)
{
	bool unlocked = false;
	int r;

	if (mmap_read_lock_killable(mm))
		return -EINTR;
	r = fixup_user_fault(mm, hva, write ? FAULT_FLAG_WRITE : 0, &unlocked);
	mmap_read_unlock(mm);
	return r == -EFAULT ? why_not(hva, write) : r;
}
