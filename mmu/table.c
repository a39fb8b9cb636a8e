// SPDX-License-Identifier: GPL-2.0
/*
 * The nested page table: mapping a page, and taking something from every entry of a range. See
 * table.h for the rules.
 */
#include "mmu/internal.h"

/* What entries look like: SDM vol. 3 §29.3.2 (EPT), APM vol. 2 §15.25.5 and 5.3 (NPT). */

/*
 * Memory of the host is write-back whatever the guest's PAT says: no device behind the guest reads
 * it past the caches. Where the VMM's own mapping is uncached (device memory), the guest may still
 * choose write-combining.
 */
const struct wafer_pt_format wafer_ept_format = {
	.table = 7 | BIT_ULL(8),
	.read = BIT_ULL(0), .write = WAFER_PT_WRITE, .exec = BIT_ULL(2),
	.leaf = BIT_ULL(7),
	.accessed = BIT_ULL(8), .dirty = BIT_ULL(9),
	.wb = 6 << 3 | BIT_ULL(6), .uc = 0 << 3,	/* memory type, ignore PAT */
};

#define NPT_P		BIT_ULL(0)
#define NPT_U		BIT_ULL(2)	/* accesses by way of the nested table are user accesses */
#define NPT_A		BIT_ULL(5)

/* Execution is allowed by the absence of NX: there is nothing to set. */
const struct wafer_pt_format wafer_npt_format = {
	.table = NPT_P | WAFER_PT_WRITE | NPT_U | NPT_A,
	.read = NPT_P | NPT_U, .write = WAFER_PT_WRITE, .exec = 0,
	.leaf = BIT_ULL(7),
	.accessed = NPT_A, .dirty = BIT_ULL(6),
	.wb = 0, .uc = BIT_ULL(3) | BIT_ULL(4),		/* PWT, PCD */
};

static bool is_leaf(const struct wafer_pt *pt, u64 e, unsigned int level)
{
	return level == 1 || (e & pt->f->leaf);
}

static u64 *table_of(const struct wafer_pt *pt, u64 e)
{
	return __va(e & pt->addr);
}

/* The frame that leaf @e at @level maps @gfn to. */
u64 wafer_pt_pfn(const struct wafer_pt *pt, u64 e, u64 gfn, unsigned int level)
{
	u64 mask = wafer_pt_span(level) - 1;

	return (((e & pt->addr) >> PAGE_SHIFT) & ~mask) + (gfn & mask);
}

/* The leaf that maps @gfn, and its level. 0: none does. */
u64 wafer_pt_find(const struct wafer_pt *pt, u64 gfn, unsigned int *level)
{
	const u64 *table = pt->root;
	u64 e;

	for (*level = pt->levels;; --*level, table = table_of(pt, e)) {
		e = READ_ONCE(table[wafer_pt_index(gfn, *level)]);
		if (!e || is_leaf(pt, e, *level))
			return e;
	}
}

/*
 * A new table in place of @e: empty, or one that maps what leaf @e maps. No right is lost, so no
 * flush is needed; where the small leaves will get rights of their own, the CPU drops the old
 * translation at the fault that asks for them (SDM vol. 3 §29.4.3.1). Execution is allowed: only
 * size makes it dangerous (pt->nx_huge). False: there is no page for it.
 */
static bool grow(const struct wafer_pt *pt, u64 *ep, u64 e, unsigned int level,
		 struct wafer_pt_pages *pages)
{
	u64 *page = pages->nr ? pages->page[--pages->nr] : wafer_pt_alloc(false);
	u64 small = level == 2 ? (e & ~pt->f->leaf) | pt->f->exec : e;

	if (!page)
		return false;
	for (unsigned int i = 0; e && i < WAFER_PT_ENTRIES; i++)
		page[i] = small + i * (wafer_pt_span(level - 1) << PAGE_SHIFT);
	/* Account first: once it is linked it can be taken out and freed. */
	wafer_pt_account(pt, page, 1);
	if (cmpxchg(ep, e, __pa(page) | pt->enc | pt->f->table) == e)
		return true;
	wafer_pt_account(pt, page, -1);
	/* For the next one: there is room in @pages, or none had been there. */
	memset(page, 0, PAGE_SIZE);
	pages->page[pages->nr++] = page;
	return true;
}

/**
 * wafer_pt_map() - map a page, as large as @leaf allows and as the tables that are already there
 * allow
 * @pt: the table
 * @leaf: what to map
 * @pages: for new tables; without any left, one is allocated without waiting
 * @where: set to the entry if it is at level 1, else to NULL
 *
 * In a fault section, in parallel to itself and to operations on other ranges. Each turn of the
 * loop that does not come nearer to the end has seen another CPU's change, and those are few.
 *
 * Return: 0; -ENOMEM: no table page; -EEXIST: another page is mapped there.
 */
int wafer_pt_map(const struct wafer_pt *pt, const struct wafer_pt_leaf *leaf,
		 struct wafer_pt_pages *pages, u64 **where)
{
	unsigned int level = pt->levels;
	u64 *table = pt->root;

	for (;;) {
		u64 *ep = &table[wafer_pt_index(leaf->gfn, level)];
		u64 e = READ_ONCE(*ep), new;

		if (e && !is_leaf(pt, e, level)) {
			table = table_of(pt, e);
			level--;
			continue;
		}
		*where = level == 1 ? ep : NULL;
		if (e && wafer_pt_pfn(pt, e, leaf->gfn, level) != leaf->pfn)
			return -EEXIST;
		if (e && (e & leaf->need) == leaf->need)
			return 0;
		if (level > leaf->level) {
			if (!grow(pt, ep, e, level, pages))
				return -ENOMEM;
			continue;
		}
		new = (leaf->pfn & ~(wafer_pt_span(level) - 1)) << PAGE_SHIFT | leaf->bits;
		if (level > 1)
			new = (pt->nx_huge ? new & ~pt->f->exec : new) | pt->f->leaf;
		if (cmpxchg(ep, e, e | new) == e)
			return 0;
	}
}

/* What entry @e, about to lose it, knows of writes goes to the host's page and to the log. */
static void harvest(const struct wafer_pt *pt, const struct wafer_pt_op *op, u64 e, u64 gfn,
		    unsigned int level)
{
	u64 page = gfn - op->log_gfn, end = page + wafer_pt_span(level);

	if (op->tell && !(e & WAFER_PT_SPECIAL))
		wafer_pt_host_dirty(wafer_pt_pfn(pt, e, gfn, level));
	if (op->log && (e & op->match & pt->dirty))
		for (; page < end; page++)
			set_bit(page, op->log);
}

/*
 * Does the operation to @n entries from @ep on, all leaves or absent; above level 1 to one, and
 * nothing where that has become a table meanwhile. The loop is what a dirty log costs.
 */
static void apply(const struct wafer_pt *pt, struct wafer_pt_op *op, u64 *ep, unsigned int n,
		  u64 gfn, unsigned int level)
{
	const u64 match = op->match, clear = op->clear, dirty = pt->dirty & match;
	const u64 harvested = dirty | (op->tell ? WAFER_PT_WRITTEN : 0);
	const u64 keep = op->tell ? 0 : WAFER_PT_WRITTEN;
	const unsigned long *mask = op->mask;
	unsigned long *log = level == 1 && !op->tell ? op->log : NULL;
	u64 page = gfn - op->log_gfn;
	bool found = false;

	for (; n--; ep++, gfn++, page++) {
		u64 e = READ_ONCE(*ep);

		if (!(e & match) || (mask && !test_bit(gfn - op->start, mask)))
			continue;
		while (clear && is_leaf(pt, e, level) &&
		       !try_cmpxchg(ep, &e, (e & ~clear) | (e & dirty ? keep : 0)))
			;
		if (!is_leaf(pt, e, level))
			continue;
		found = true;
		if (log && (e & dirty))
			set_bit(page, log);
		else if (e & harvested)
			harvest(pt, op, e, gfn, level);
	}
	op->found |= found;
	/* An accessed bit in a TLB makes a page look idle for a while: no reason to flush. */
	op->changed |= found && (clear & ~pt->f->accessed);
}

/* Huge leaf @e is to go. False: no page is left to split it. */
static bool split_huge(const struct wafer_pt *pt, struct wafer_pt_op *op, u64 *ep, u64 e,
		       unsigned int level)
{
	struct wafer_pt_op zap = wafer_pt_op_zap(0, 0);

	if (op->pages->nr)
		return grow(pt, ep, e, level, op->pages);
	if (!op->zap_huge)
		return false;
	zap.log = op->log;
	zap.log_gfn = op->log_gfn;
	apply(pt, &zap, ep, 1, op->gfn & ~(wafer_pt_span(level) - 1), level);
	op->changed |= zap.changed;
	return true;
}

/*
 * The table of @ep has to be read where something may have become dirty in it since the log was
 * read last. The CPU marks every entry on its way as accessed when it makes one dirty (SDM vol. 3
 * §29.3.5, APM vol. 2 §5.4.2), unless it has the way in a cache. So the mark is taken; the table is
 * read once more after the flush that follows, for what was written by way of a cache until then;
 * and after that no more, until the mark is back. Only for a @whole table: who reads a part takes
 * no mark from who reads the other. Others set the mark meanwhile: then it simply stays. A fault
 * that maps a page dirty leaves the mark to the CPU, which comes this way to write.
 *
 * Return: whether the table is to be read.
 */
static bool take_mark(const struct wafer_pt *pt, struct wafer_pt_op *op, u64 *ep, u64 e, bool whole)
{
	u64 mark = e & pt->f->accessed, due = e & (mark | WAFER_PT_SETTLING);

	if (due && whole)
		cmpxchg(ep, e, (e & ~due) | (mark ? WAFER_PT_SETTLING : 0));
	op->changed |= whole && mark;
	return due;
}

/*
 * From op->gfn to the end of @table, of the range or of the budget. The recursion is as deep as the
 * table.
 */
static void step(const struct wafer_pt *pt, struct wafer_pt_op *op, u64 *table, unsigned int level)
{
	u64 span = wafer_pt_span(level);
	u64 stop = min(op->end, (op->gfn | (span * WAFER_PT_ENTRIES - 1)) + 1);

	if (level == 1) {
		op->budget -= stop - op->gfn;
		apply(pt, op, &table[wafer_pt_index(op->gfn, 1)], stop - op->gfn, op->gfn, 1);
		op->gfn = stop;
		return;
	}
	while (op->gfn < stop && op->budget > 0) {
		u64 *ep = &table[wafer_pt_index(op->gfn, level)];
		u64 base = op->gfn & ~(span - 1), next = min(base + span, stop);
		u64 e = READ_ONCE(*ep);

		if (e && is_leaf(pt, e, level)) {
			if (op->pages) {
				if (!split_huge(pt, op, ep, e, level))
					op->budget = 0;
				continue;
			}
			apply(pt, op, ep, 1, base, level);
			e = READ_ONCE(*ep);
		}
		if (!e || is_leaf(pt, e, level) ||
		    (level == 2 && op->settle &&
		     !take_mark(pt, op, ep, e, base >= op->start && base + span <= op->end))) {
			op->budget--;	/* the way down costs nothing: each step gets somewhere */
			op->gfn = next;
			continue;
		}
		step(pt, op, table_of(pt, e), level - 1);
		if (op->clear == ~0ull && base >= op->start && op->gfn == base + span) {
			void *unlinked = table_of(pt, xchg(ep, 0));

			wafer_pt_set_next(unlinked, op->freed);
			op->freed = unlinked;
			op->changed = true;
		}
	}
}

/**
 * wafer_pt_step() - do an operation to the next part of its range, until op->budget is spent
 * @pt: the table
 * @op: the operation; where op->gfn has reached op->end it is done
 *
 * One at a time (under the zap lock); it may be let go between two steps.
 */
void wafer_pt_step(const struct wafer_pt *pt, struct wafer_pt_op *op)
{
	op->end = min(op->end, wafer_pt_span(pt->levels + 1));
	if (op->gfn < op->end)
		step(pt, op, pt->root, pt->levels);
}
