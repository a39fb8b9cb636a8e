// SPDX-License-Identifier: GPL-2.0
/*
 * Guest memory as the kernel reads and writes it: through the VMM's own mapping, so that all that
 * the host's memory management does to a page (copy on write, swap, userfaultfd, no page structure
 * at all) is its business here too.
 */
#include <linux/align.h>
#include <linux/kernel.h>
#include <linux/log2.h>
#include <linux/rcupdate.h>
#include <linux/uaccess.h>

#include "mmu/internal.h"

/* From @gpa to the end of its page: how many bytes, and where. 0: no memory, or not writable. */
static unsigned int piece(struct wafer_mmu *mmu, gpa_t gpa, unsigned int len, bool write,
			  hva_t *hva)
{
	const struct wafer_slot *slot;
	unsigned int n = 0;

	rcu_read_lock();
	slot = wafer_slot_find(mmu, gpa >> PAGE_SHIFT);
	if (slot && !(write && (slot->flags & KVM_MEM_READONLY))) {
		*hva = wafer_slot_hva(slot, gpa >> PAGE_SHIFT) + offset_in_page(gpa);
		n = min_t(unsigned int, len, PAGE_SIZE - offset_in_page(gpa));
	}
	rcu_read_unlock();
	return n;
}

/* After the write: who reads the log first and the page then misses nothing. */
static void mark(struct wafer_mmu *mmu, struct wafer_fault_ctx *ctx, gpa_t gpa)
{
	const struct wafer_slot *slot;

	rcu_read_lock();
	slot = wafer_slot_find(mmu, gpa >> PAGE_SHIFT);
	if (slot)
		wafer_mark_dirty(mmu, ctx, slot, gpa >> PAGE_SHIFT);
	rcu_read_unlock();
}

int wafer_guest_read(struct wafer_mmu *mmu, gpa_t gpa, void *data, unsigned int len)
{
	unsigned int n;
	hva_t hva;

	for (; len; len -= n, gpa += n, data += n) {
		n = piece(mmu, gpa, len, false, &hva);
		if (!n || copy_from_user(data, (const void __user *)hva, n))
			return -EFAULT;
	}
	return 0;
}

int wafer_guest_write(struct wafer_mmu *mmu, gpa_t gpa, const void *data, unsigned int len)
{
	unsigned int n;
	hva_t hva;
	int left;

	for (; len; len -= n, gpa += n, data += n) {
		n = piece(mmu, gpa, len, true, &hva);
		if (!n)
			return -EFAULT;
		left = copy_to_user((void __user *)hva, data, n);
		if (left < n)
			mark(mmu, NULL, gpa);
		if (left)
			return -EFAULT;
	}
	return 0;
}

/*
 * In the window the copy must not sleep: a page that is not there, or not writable now, makes it
 * fail. The address was checked when its slot was made.
 */
int wafer_guest_read_fast(struct wafer_fault_ctx *ctx, gpa_t gpa, void *data, unsigned int len)
{
	unsigned long left;
	hva_t hva;

	if (piece(ctx->mmu, gpa, len, false, &hva) != len)
		return -EAGAIN;
	pagefault_disable();
	left = __copy_from_user_inatomic(data, (const void __user *)hva, len);
	pagefault_enable();
	return left ? -EAGAIN : 0;
}

int wafer_guest_write_fast(struct wafer_fault_ctx *ctx, gpa_t gpa, const void *data,
			   unsigned int len)
{
	unsigned long left;
	hva_t hva;

	if (piece(ctx->mmu, gpa, len, true, &hva) != len)
		return -EAGAIN;
	pagefault_disable();
	left = __copy_to_user_inatomic((void __user *)hva, data, len);
	pagefault_enable();
	if (left < len)
		mark(ctx->mmu, ctx, gpa);
	return left ? -EAGAIN : 0;
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
static bool aligned(gpa_t gpa, unsigned int len)
{
	return is_power_of_2(len) && IS_ALIGNED(gpa, len);
}

int wafer_guest_cmpxchg_fast(struct wafer_fault_ctx *ctx, gpa_t gpa, void *old, const void *new,
			     unsigned int len)
{
	hva_t hva;
	int r;

	if (!aligned(gpa, len) || piece(ctx->mmu, gpa, len, true, &hva) != len)
		return -EAGAIN;
	pagefault_disable();
	r = cmpxchg_user(hva, old, new, len);
	pagefault_enable();
	if (r < 0)
		return -EAGAIN;
	if (!r)
		mark(ctx->mmu, ctx, gpa);
	return r ? -EBUSY : 0;
}

int wafer_guest_cmpxchg(struct wafer_mmu *mmu, gpa_t gpa, void *old, const void *new,
			unsigned int len)
{
	hva_t hva;
	int r;

	if (!aligned(gpa, len) || piece(mmu, gpa, len, true, &hva) != len)
		return -EFAULT;
	r = cmpxchg_user(hva, old, new, len);
	if (r < 0)
		return -EFAULT;
	if (!r)
		mark(mmu, NULL, gpa);
	return r ? -EBUSY : 0;
}
