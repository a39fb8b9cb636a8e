// SPDX-License-Identifier: GPL-2.0
/*
 * Guest memory as the kernel reads and writes it: through the VMM's own mapping, so that all that
 * the host's memory management does to a page (copy on write, swap, userfaultfd, no page structure
 * at all) is its business here too.
 */
#include "mmu/internal.h"

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
	long r;

	/* the short way first: it does not offer the CPU to others */
	if (!mmap_read_trylock(mm) && mmap_read_lock_killable(mm))
		return -EINTR;
	r = fixup_user_fault(mm, hva, write ? FAULT_FLAG_WRITE : 0, &unlocked);
	mmap_read_unlock(mm);
	if (r != -EFAULT)
		return r;
	/*
	 * Only get_user_pages() tells a poisoned page from an address without a mapping. The signal
	 * says that the access was the thread's own: it can not go on without the page.
	 */
	r = get_user_pages_unlocked(hva, 1, NULL, FOLL_HWPOISON | (write ? FOLL_WRITE : 0));
	if (r == -EHWPOISON)
		send_sig_mceerr(BUS_MCEERR_AR, (void __user *)hva, PAGE_SHIFT, current);
	return r == 1 ? 0 : r == -EHWPOISON || r == -EINTR ? r : -EFAULT;
}

/* From @gpa to the end of its page: how many bytes, and where. 0: no memory, or not writable. */
static unsigned int piece(struct wafer_fault_ctx *ctx, gpa_t gpa, unsigned int len, bool write,
			  hva_t *hva)
{
	if (wafer_gfn_hva(ctx->mmu, gpa >> PAGE_SHIFT, write, NULL, hva))
		return 0;
	*hva += offset_in_page(gpa);
	return min_t(unsigned int, len, PAGE_SIZE - offset_in_page(gpa));
}

/*
 * In the window the copy must not sleep: a page that is not there, or not writable now, makes it
 * fail. The address was checked when its slot was made.
 */
int wafer_guest_copy(struct wafer_fault_ctx *ctx, bool window, gpa_t gpa, void *data,
		     unsigned int len, bool write)
{
	unsigned int n, left;
	hva_t hva;

	for (; len; len -= n, gpa += n, data += n) {
		n = piece(ctx, gpa, len, write, &hva);
		if (!n || (window && n != len))
			return window ? -EAGAIN : -EFAULT;
		if (window)
			pagefault_disable();
		left = write ? __copy_to_user_inatomic((void __user *)hva, data, n) :
			       __copy_from_user_inatomic(data, (const void __user *)hva, n);
		if (window)
			pagefault_enable();
		if (write && left < n)
			wafer_mark_dirty(ctx, gpa >> PAGE_SHIFT);
		if (left)
			return window ? -EAGAIN : -EFAULT;
	}
	return 0;
}

/* 0: exchanged; 1: *@old updated; -EFAULT. The kernel's own helper ends at 8 bytes. */
static int cmpxchg16_user(hva_t hva, u64 *old, const u64 *new)
{
	int ret = -EFAULT;
	bool same = false;

	if (!boot_cpu_has(X86_FEATURE_CX16))
		return -EFAULT;
	__uaccess_begin_nospec();
	asm volatile("1: lock cmpxchg16b %[mem]\n\t"
		     "setz %[same]\n\t"
		     "xorl %[ret], %[ret]\n"
		     "2:\n"
		     _ASM_EXTABLE_UA(1b, 2b)
		     : [ret] "+r" (ret), [same] "+q" (same),
		       [mem] "+m" (*(unsigned __int128 __force *)hva),
		       "+a" (old[0]), "+d" (old[1])
		     : "b" (new[0]), "c" (new[1])
		     : "memory", "cc");
	__uaccess_end();
	return ret ?: !same;
}

/* As cmpxchg16_user(), for any length. */
static int cmpxchg_user(hva_t hva, void *old, const void *new, unsigned int len)
{
	switch (len) {
	case 1:
		return __try_cmpxchg_user((u8 __user *)hva, (u8 *)old, *(const u8 *)new, fault1);
	case 2:
		return __try_cmpxchg_user((u16 __user *)hva, (u16 *)old, *(const u16 *)new, fault2);
	case 4:
		return __try_cmpxchg_user((u32 __user *)hva, (u32 *)old, *(const u32 *)new, fault4);
	case 8:
		return __try_cmpxchg_user((u64 __user *)hva, (u64 *)old, *(const u64 *)new, fault8);
	case 16:
		return cmpxchg16_user(hva, old, new);
	default:
		return -EFAULT;
	}
}

/*
 * What crosses a cache line would be a split lock of the kernel's own, which the host may have made
 * fatal.
 */
int wafer_guest_cmpxchg(struct wafer_fault_ctx *ctx, bool window, gpa_t gpa, void *old,
			const void *new, unsigned int len)
{
	int r = -EFAULT;
	hva_t hva;

	if (is_power_of_2(len) && IS_ALIGNED(gpa, len) && piece(ctx, gpa, len, true, &hva) == len) {
		if (window)
			pagefault_disable();
		r = cmpxchg_user(hva, old, new, len);
		if (window)
			pagefault_enable();
	}
	if (!r)
		wafer_mark_dirty(ctx, gpa >> PAGE_SHIFT);
	return r < 0 ? (window ? -EAGAIN : -EFAULT) : r ? -EBUSY : 0;
}
