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

/*
 * Software's own bits in a leaf, ignored by EPT and NPT: memory without a page of the host's to be
 * marked dirty; and a page written before the log took the entry's dirty bit, of which the host is
 * told when the entry goes.
 */
#define WAFER_PT_SPECIAL	BIT_ULL(52)
#define WAFER_PT_WRITTEN	BIT_ULL(53)

/*
 * And in an entry that leads to a last table: its accessed bit was taken at the last reading of the
 * log. See take_mark() in table.c.
 */
#define WAFER_PT_SETTLING	BIT_ULL(54)

/* Both formats agree. */
#define WAFER_PT_WRITE		BIT_ULL(1)

#define WAFER_PT_ENTRIES	512

/**
 * struct wafer_pt_leaf - a mapping to be made
 * @gfn, @pfn: the page
 * @bits: everything else of the entry; the huge-leaf bit is added where it belongs
 * @need: if an entry for the same page has these, it is good as it is
 * @level: the largest level allowed: gfn and pfn are congruent there and the host's memory is
 *	contiguous
 */
struct wafer_pt_leaf {
	u64 gfn, pfn, bits, need;
	u8 level;
};

/**
 * struct wafer_pt_op - something taken from all entries of a range
 * @start, @end: the range, in frames
 * @gfn: how far it has come; @end: done
 * @match: entries to look at, all that have one of these bits
 * @clear: bits to take from them, none to look only; all: unmap, and take out table pages whose
 *	whole range is covered by @start to @end
 * @tell: the host is told now which pages were written. Else an entry that loses what tells it
 *	gets WAFER_PT_WRITTEN instead
 * @log, @log_gfn: a dirty bitmap and its first frame, NULL: none
 * @mask: if not NULL, only pages whose bit is set here; bit 0 is @start
 * @pages: split huge leaves first, with these pages; NULL: don't
 * @budget: entries to look at before wafer_pt_step() returns
 * @zap_huge: with @pages empty, zap huge leaves instead of splitting them
 * @settle: pass over tables in which nothing can have become dirty since such an operation last
 *	looked; what it changes is to be flushed before the next one
 * @changed: rights or tables were taken away: a flush is due
 * @found: an entry matched
 * @freed: table pages taken out, linked by wafer_pt_next()
 */
struct wafer_pt_op {
	u64 start, end, gfn, match, clear, log_gfn;
	unsigned long *log;
	const unsigned long *mask;
	struct wafer_pt_pages *pages;
	int budget;
	bool tell, zap_huge, settle, changed, found;
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
u64 wafer_pt_find(const struct wafer_pt *pt, u64 gfn, unsigned int *level);
u64 wafer_pt_pfn(const struct wafer_pt *pt, u64 e, u64 gfn, unsigned int level);
void wafer_pt_step(const struct wafer_pt *pt, struct wafer_pt_op *op);

/*
 * The operations, over @npages from @gfn. For the log @bits are taken, so that the next write is
 * noticed; for its age accessed bits are, of which nobody is told, or looked for.
 */
static inline struct wafer_pt_op wafer_pt_op(u64 gfn, u64 npages, u64 match, u64 clear)
{
	return (struct wafer_pt_op){
		.start = gfn, .gfn = gfn, .end = gfn + npages, .match = match, .clear = clear,
	};
}

static inline struct wafer_pt_op wafer_pt_op_zap(u64 gfn, u64 npages)
{
	struct wafer_pt_op op = wafer_pt_op(gfn, npages, ~0ull, ~0ull);

	op.tell = true;
	return op;
}

/* For the host: no more writes, and what was written so far is told. */
static inline struct wafer_pt_op wafer_pt_op_protect(const struct wafer_pt *pt)
{
	u64 bits = pt->f->write | pt->f->dirty | WAFER_PT_WRITTEN;
	struct wafer_pt_op op = wafer_pt_op(0, 0, bits, bits);

	op.tell = true;
	return op;
}

/* Table pages (mmu/pages.c; the tests have their own). */
void *wafer_pt_alloc(bool wait);
void wafer_pt_free(void *table);
void wafer_pt_account(const struct wafer_pt *pt, void *table, int n);
void wafer_pt_host_dirty(u64 pfn);
void *wafer_pt_next(void *table);
void wafer_pt_set_next(void *table, void *next);

#endif
