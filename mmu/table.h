/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The nested page table as such: entries, tables, ranges. Knows nothing of slots, hosts or vCPUs,
 * and is compiled in user space too.
 *
 * Who changes what: anybody may add (an absent entry becomes a leaf or a table, a leaf gets more
 * rights or is split), by compare-and-exchange. Only the one holder of the zap lock takes away,
 * also by atomic operations, since others add and the CPU sets accessed and dirty bits meanwhile. A
 * table page leaves the table only when the whole range that it maps is closed to faults
 * (mmu/section.h), so that nobody but the CPU can be inside; after the flush nobody is.
 */
#ifndef WAFER_MMU_TABLE_H
#define WAFER_MMU_TABLE_H

#include "mmu.h"

/**
 * struct wafer_pt_format - entries as EPT or NPT want them; an absent entry is zero
 * @name: for people
 * @table: bits of an entry that points to a table: all rights, accessed
 * @read: bits of every leaf: may be read
 * @write, @exec: further rights
 * @leaf: tells a leaf from a table above level 1
 * @accessed, @dirty: set by the CPU (with EPT only where it has them and the EPTP asks for it)
 * @wb, @uc: memory types
 */
struct wafer_pt_format {
	const char *name;
	u64 table;
	u64 read, write, exec;
	u64 leaf;
	u64 accessed, dirty;
	u64 wb, uc;
};

/*
 * Software's own bits in a leaf, ignored by EPT and NPT: memory without a page of the host's to be
 * marked dirty; and a page written before the log took the entry's dirty bit, of which the host is
 * told when the entry goes.
 */
#define WAFER_PT_SPECIAL	BIT_ULL(52)
#define WAFER_PT_WRITTEN	BIT_ULL(53)

/* Both formats agree. */
#define WAFER_PT_WRITE		BIT_ULL(1)

#define WAFER_PT_ENTRIES	512

/**
 * struct wafer_pt - a nested page table
 * @f: [I] format
 * @root: [I] root table
 * @pages: table pages, root included
 * @levels: [I] 4 or 5
 * @nx_huge: [I] no executable leaf above level 1 (iTLB multihit)
 * @has_ad: [I] the CPU sets accessed and dirty bits
 * @addr: [I] an entry's address bits
 * @enc: [I] memory encryption bit of entries that point to tables
 * @dirty: [I] an entry that has this bit may have been written through: the dirty bit, or the right
 *	to write
 */
struct wafer_pt {
	const struct wafer_pt_format *f;
	u64 *root;
	atomic_long_t *pages;
	u8 levels;
	bool nx_huge;
	bool has_ad;
	u64 addr;
	u64 enc;
	u64 dirty;
};

/**
 * struct wafer_pt_leaf - a mapping to be made
 * @gfn, @pfn: the page
 * @bits: everything else of the entry; the huge-leaf bit is added where it belongs
 * @need: if an entry for the same page has these, it is good as it is
 * @level: the largest level allowed: gfn and pfn are congruent there and the host's memory is
 *	contiguous
 */
struct wafer_pt_leaf {
	u64 gfn, pfn;
	u64 bits, need;
	u8 level;
};

/**
 * struct wafer_pt_op - something done to all entries of a range
 * @start, @end: the range, in frames
 * @gfn: how far it has come; @end: done
 * @fn: what to do with @n entries, all leaves or absent; above level 1 with one leaf. Where that
 *	has become a table meanwhile, nothing: it is descended into
 * @match: wafer_pt_clear(): entries to look at, all that have one of these bits
 * @clear: wafer_pt_clear(): bits to take from them
 * @dirty: what makes an entry a written one, for the log
 * @report: what makes it one of which the host is told now
 * @keep: what an entry that was a written one gets instead, to remember that the host must be told
 * @log, @log_gfn: a dirty bitmap and its first frame, NULL: none
 * @mask, @mask_gfn: if not NULL, only pages whose bit is set here
 * @pages: split huge leaves first, with these pages; NULL: don't
 * @budget: entries to look at before wafer_pt_step() returns
 * @unlink: take out table pages whose whole range is covered by @start to @end
 * @zap_huge: with @pages empty, zap huge leaves instead of splitting them
 * @changed: rights or tables were taken away: a flush is due
 * @found: wafer_pt_clear(): an entry matched
 * @freed: table pages taken out, linked by wafer_pt_next()
 */
struct wafer_pt_op {
	u64 start, end, gfn;
	void (*fn)(const struct wafer_pt *pt, struct wafer_pt_op *op, u64 *ep, unsigned int n,
		   u64 gfn, unsigned int level);
	u64 match, clear, dirty, report, keep;
	unsigned long *log;
	u64 log_gfn;
	const unsigned long *mask;
	u64 mask_gfn;
	struct wafer_pt_pages *pages;
	int budget;
	bool unlink, zap_huge;
	bool changed, found;
	void *freed;
};

static inline u64 wafer_pt_span(unsigned int level)	/* frames mapped by one entry */
{
	return 1ull << (9 * (level - 1));
}

static inline unsigned int wafer_pt_index(u64 gfn, unsigned int level)
{
	return (gfn >> (9 * (level - 1))) & (WAFER_PT_ENTRIES - 1);
}

int wafer_pt_map(const struct wafer_pt *pt, const struct wafer_pt_leaf *leaf,
		 struct wafer_pt_pages *pages, u64 **where);
void wafer_pt_step(const struct wafer_pt *pt, struct wafer_pt_op *op);
void wafer_pt_zap(const struct wafer_pt *pt, struct wafer_pt_op *op, u64 *ep, unsigned int n,
		  u64 gfn, unsigned int level);
void wafer_pt_clear(const struct wafer_pt *pt, struct wafer_pt_op *op, u64 *ep, unsigned int n,
		    u64 gfn, unsigned int level);

/* The operations, over @npages from @gfn. */
static inline struct wafer_pt_op wafer_pt_op_zap(const struct wafer_pt *pt, u64 gfn, u64 npages)
{
	return (struct wafer_pt_op){
		.start = gfn, .gfn = gfn, .end = gfn + npages, .fn = wafer_pt_zap,
		.dirty = pt->dirty, .report = pt->dirty | WAFER_PT_WRITTEN, .unlink = true,
	};
}

/* For the host: no more writes, and what was written so far is told. */
static inline struct wafer_pt_op wafer_pt_op_protect(const struct wafer_pt *pt, u64 gfn, u64 npages)
{
	u64 bits = pt->f->write | pt->f->dirty | WAFER_PT_WRITTEN;

	return (struct wafer_pt_op){
		.start = gfn, .gfn = gfn, .end = gfn + npages, .fn = wafer_pt_clear,
		.match = bits, .clear = bits,
		.dirty = pt->dirty, .report = pt->dirty | WAFER_PT_WRITTEN,
	};
}

/* For the log: @bits are taken, so that the next write is noticed. */
static inline struct wafer_pt_op wafer_pt_op_arm(const struct wafer_pt *pt, u64 gfn, u64 npages,
						 u64 bits)
{
	return (struct wafer_pt_op){
		.start = gfn, .gfn = gfn, .end = gfn + npages, .fn = wafer_pt_clear,
		.match = bits, .clear = bits,
		.dirty = pt->dirty, .keep = WAFER_PT_WRITTEN,
	};
}

/*
 * Looks for entries with one of @bits, and takes these bits if @clear: accessed bits, of which
 * nobody is told.
 */
static inline struct wafer_pt_op wafer_pt_op_age(const struct wafer_pt *pt, u64 gfn, u64 npages,
						 u64 bits, bool clear)
{
	return (struct wafer_pt_op){
		.start = gfn, .gfn = gfn, .end = gfn + npages, .fn = wafer_pt_clear, .match = bits,
		.clear = clear ? bits : 0,
	};
}

static inline bool wafer_pt_op_done(const struct wafer_pt_op *op)
{
	return op->gfn >= op->end;
}

#ifdef __WAFER_UNIT__
/* The tests' memory: physical and virtual addresses are the same. */
void *wafer_pt_alloc(void);
void *wafer_pt_alloc_nowait(void);
void wafer_pt_free(void *table);
void wafer_pt_account(const struct wafer_pt *pt, void *table, int n);
void wafer_pt_host_dirty(u64 pfn);
void *wafer_pt_next(void *table);
void wafer_pt_set_next(void *table, void *next);
#else
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/vmstat.h>

static inline void *wafer_pt_alloc(void)
{
	return (void *)__get_free_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
}

/* On PREEMPT_RT the allocator sleeps: the fault leaves the window. */
static inline void *wafer_pt_alloc_nowait(void)
{
	if (IS_ENABLED(CONFIG_PREEMPT_RT))
		return NULL;
	return (void *)__get_free_page(GFP_NOWAIT | __GFP_NOWARN | __GFP_ACCOUNT | __GFP_ZERO);
}

static inline void wafer_pt_free(void *table)
{
	free_page((unsigned long)table);
}

static inline void wafer_pt_account(const struct wafer_pt *pt, void *table, int n)
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
static inline void wafer_pt_host_dirty(u64 pfn)
{
	struct page *page;

	if (!pfn_valid(pfn))
		return;
	page = compound_head(pfn_to_page(pfn));
	if (!PageDirty(page) && !PageReserved(page))
		SetPageDirty(page);
}

/*
 * While the CPU may still walk a page that was taken out its entries stay zero: the link is
 * elsewhere.
 */
static inline void *wafer_pt_next(void *table)
{
	return (void *)page_private(virt_to_page(table));
}

static inline void wafer_pt_set_next(void *table, void *next)
{
	set_page_private(virt_to_page(table), (unsigned long)next);
}
#endif

#endif
