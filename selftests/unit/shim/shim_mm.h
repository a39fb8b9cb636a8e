/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the sources of mmu/ need besides: the host's memory management, as far as a test plays it.
 */
#ifndef SHIM_MM_H
#define SHIM_MM_H

#include "shim.h"

/* ---- addresses: physical ones are the virtual ones ---- */
#define __pa(x)			((u64)(uintptr_t)(x))
#define __va(x)			((void *)(uintptr_t)(x))
#define PAGE_ALIGNED(x)		IS_ALIGNED(x, PAGE_SIZE)
#define TASK_SIZE_MAX		((1ul << 47) - PAGE_SIZE)
#define sme_me_mask		0ull
struct page;
#define PTE_PFN_MASK		GENMASK_ULL(51, 12)
#define _PAGE_PRESENT		BIT_ULL(0)
#define _PAGE_RW		BIT_ULL(1)
#define _PAGE_USER		BIT_ULL(2)
#define _PAGE_PWT		BIT_ULL(3)
#define _PAGE_PCD		BIT_ULL(4)
#define _PAGE_ACCESSED		BIT_ULL(5)
#define _PAGE_DIRTY		BIT_ULL(6)
#define _PAGE_NX		BIT_ULL(63)
#define _PAGE_PSE		BIT_ULL(7)
#define _PAGE_PAT		BIT_ULL(7)
#define _PAGE_PAT_LARGE		BIT_ULL(12)
#define _PAGE_SPECIAL		BIT_ULL(9)
extern void (*shim_before_walk)(void);	/* the host's tables are about to be read */
#define pgtable_l5_enabled()	({ if (shim_before_walk) shim_before_walk(); 0; })
struct mm_struct { void *pgd; };

struct shim_task { struct mm_struct *mm; };
extern struct shim_task *current;

/* ---- CPU ---- */
struct shim_cpu { u8 x86_phys_bits; };
static const struct shim_cpu boot_cpu_data = { .x86_phys_bits = 46 };
#define X86_BUG_ITLB_MULTIHIT	0
#define boot_cpu_has_bug(b)	false
#define cpu_mitigations_off()	false

/* ---- notifiers: the test calls the operations itself ---- */
enum mmu_notifier_event {
	MMU_NOTIFY_UNMAP, MMU_NOTIFY_CLEAR, MMU_NOTIFY_PROTECTION_VMA, MMU_NOTIFY_PROTECTION_PAGE,
	MMU_NOTIFY_SOFT_DIRTY,
};
struct mmu_notifier_range {
	unsigned long start, end;
	bool blockable;
	enum mmu_notifier_event event;
};
struct mmu_notifier;
struct mmu_notifier_ops {
	void (*release)(struct mmu_notifier *n, struct mm_struct *mm);
	int (*clear_flush_young)(struct mmu_notifier *n, struct mm_struct *mm, unsigned long s,
				 unsigned long e);
	int (*clear_young)(struct mmu_notifier *n, struct mm_struct *mm, unsigned long s,
			   unsigned long e);
	int (*test_young)(struct mmu_notifier *n, struct mm_struct *mm, unsigned long address);
	int (*invalidate_range_start)(struct mmu_notifier *n,
				      const struct mmu_notifier_range *range);
	void (*invalidate_range_end)(struct mmu_notifier *n,
				     const struct mmu_notifier_range *range);
	void (*free_notifier)(struct mmu_notifier *n);
};
struct mmu_notifier { const struct mmu_notifier_ops *ops; };
#define mmu_notifier_range_blockable(r)	((r)->blockable)
static inline int mmu_notifier_register(struct mmu_notifier *n, struct mm_struct *mm) { return 0; }
static inline void mmu_notifier_put(struct mmu_notifier *n) { n->ops->free_notifier(n); }
#define mmu_notifier_synchronize()	do { } while (0)

/* ---- xarray: small indices, one user at a time ---- */
#define SHIM_XA_SIZE		32768
struct xarray { void **slot; };
static inline void xa_init(struct xarray *xa) { xa->slot = NULL; }
static inline void *xa_load(struct xarray *xa, unsigned long i)
{
	return xa->slot && i < SHIM_XA_SIZE ? xa->slot[i] : NULL;
}
static inline void *xa_store(struct xarray *xa, unsigned long i, void *p, gfp_t gfp)
{
	if (!xa->slot)
		xa->slot = calloc(SHIM_XA_SIZE, sizeof(void *));
	xa->slot[i] = p;
	return NULL;
}
static inline void xa_erase(struct xarray *xa, unsigned long i) { xa->slot[i] = NULL; }
static inline void xa_destroy(struct xarray *xa) { free(xa->slot); xa->slot = NULL; }
static inline int xa_err(void *p) { return 0; }

/* ---- the direct map: frames of a test have no memory behind them ---- */
#define pfn_valid(pfn)		true
#define __get_kernel_nofault(dst, src, type, err)	\
	do { if (!(src)) goto err; *(dst) = 0; } while (0)
#define pagefault_disable()	do { } while (0)
#define pagefault_enable()	do { } while (0)

/* ---- user memory: the test's own; NULL faults ---- */
static inline unsigned long copy_to_user(void *to, const void *from, unsigned long n)
{
	return to ? (memcpy(to, from, n), 0) : n;
}
static inline unsigned long copy_from_user(void *to, const void *from, unsigned long n)
{
	return from ? (memcpy(to, from, n), 0) : n;
}

static inline unsigned long clear_user(void *to, unsigned long n)
{
	return to ? (memset(to, 0, n), 0) : n;
}

/* ---- vmalloc ---- */
#define __vmalloc(n, g)		aligned_alloc_zeroed(n)
#define vfree			kfree
#define vmalloc_to_page(p)	((struct page *)(p))
static inline void *aligned_alloc_zeroed(size_t n)
{
	void *p = aligned_alloc(PAGE_SIZE, ALIGN(n, PAGE_SIZE));

	return p ? memset(p, 0, n) : NULL;
}

#define wait_var_event(v, cond)	do { while (!(cond)) sched_yield(); } while (0)
#define wake_up_var(v)		do { } while (0)

#endif
