// SPDX-License-Identifier: GPL-2.0
/*
 * The nested page table: mapping a page, and doing something to every entry of a range. See table.h
 * for the rules.
 */
#include <linux/atomic.h>
#include <linux/bitops.h>
#include <linux/kernel.h>
#include <linux/string.h>

#include "mmu/table.h"

static bool is_leaf(const struct wafer_pt *pt, u64 e, unsigned int level)
{
	return level == 1 || (e & pt->f->leaf);
}

static u64 *table_of(const struct wafer_pt *pt, u64 e)
{
	return __va(e & pt->addr);
}

static u64 leaf_entry(const struct wafer_pt *pt, const struct wafer_pt_leaf *leaf,
		      unsigned int level)
{
	u64 e = (leaf->pfn & ~(wafer_pt_span(level) - 1)) << PAGE_SHIFT | leaf->bits;

	if (level == 1)
		return e;
	return (pt->nx_huge ? e & ~pt->f->exec : e) | pt->f->leaf;
}

/* The frame that leaf @e at @level maps @gfn to. */
static u64 leaf_pfn(const struct wafer_pt *pt, u64 e, u64 gfn, unsigned int level)
{
	u64 mask = wafer_pt_span(level) - 1;

	return (((e & pt->addr) >> PAGE_SHIFT) & ~mask) + (gfn & mask);
}

static void *take_page(struct wafer_pt_pages *pages)
{
	return pages->nr ? pages->page[--pages->nr] : wafer_pt_alloc_nowait();
}

/*
 * Somebody else was first: the page, zeroed, is for the next one. There is room, or take_page() had
 * found none.
 */
static void give_page(struct wafer_pt_pages *pages, void *page)
{
	pages->page[pages->nr++] = page;
}

/*
 * Puts table @page, filled, where @old was. False: the entry has changed; the page is given back.
 */
static bool link_table(const struct wafer_pt *pt, u64 *ep, u64 old, u64 *page,
		       struct wafer_pt_pages *pages)
{
	/* Account first: once it is linked it can be taken out and freed. */
	wafer_pt_account(pt, page, 1);
	if (cmpxchg(ep, old, __pa(page) | pt->enc | pt->f->table) == old)
		return true;
	wafer_pt_account(pt, page, -1);
	if (old)
		memset(page, 0, PAGE_SIZE);
	give_page(pages, page);
	return false;
}

/*
 * A table that maps what leaf @e maps. No right is lost, so no flush is needed; where the small
 * leaves will get rights of their own, the CPU drops the old translation at the fault that asks for
 * them (SDM vol. 3 §29.4.3.1). Execution is allowed: only size makes it dangerous (pt->nx_huge).
 */
static void fill_split(const struct wafer_pt *pt, u64 *page, u64 e, unsigned int level)
{
	u64 step = wafer_pt_span(level - 1) << PAGE_SHIFT;
	unsigned int i;

	if (level == 2)
		e = (e & ~pt->f->leaf) | pt->f->exec;
	for (i = 0; i < WAFER_PT_ENTRIES; i++, e += step)
		page[i] = e;
}

static int split(const struct wafer_pt *pt, u64 *ep, u64 e, unsigned int level,
		 struct wafer_pt_pages *pages)
{
	u64 *page = take_page(pages);

	if (!page)
		return -ENOMEM;
	fill_split(pt, page, e, level);
	link_table(pt, ep, e, page, pages);
	return 0;
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
		u64 e = READ_ONCE(*ep);

		if (e && !is_leaf(pt, e, level)) {
			table = table_of(pt, e);
			level--;
			continue;
		}
		*where = level == 1 ? ep : NULL;
		if (!e && level > leaf->level) {
			u64 *page = take_page(pages);

			if (!page)
				return -ENOMEM;
			link_table(pt, ep, 0, page, pages);
			continue;
		}
		if (e && leaf_pfn(pt, e, leaf->gfn, level) != leaf->pfn)
			return -EEXIST;
		if (e && (e & leaf->need) == leaf->need)
			return 0;
		if (level > leaf->level) {
			if (split(pt, ep, e, level, pages))
				return -ENOMEM;
			continue;
		}
		if (cmpxchg(ep, e, e | leaf_entry(pt, leaf, level)) == e)
			return 0;
	}
}

/* What entry @e, about to lose it, knows of writes goes to the host's page and to the log. */
static void harvest(const struct wafer_pt *pt, const struct wafer_pt_op *op, u64 e, u64 gfn,
		    unsigned int level)
{
	u64 page = gfn - op->log_gfn, end = page + wafer_pt_span(level);

	if ((e & op->report) && !(e & WAFER_PT_SPECIAL))
		wafer_pt_host_dirty(leaf_pfn(pt, e, gfn, level));
	if (op->log && (e & op->dirty))
		for (; page < end; page++)
			set_bit(page, op->log);
}

/* The operation that unmaps. */
void wafer_pt_zap(const struct wafer_pt *pt, struct wafer_pt_op *op, u64 *ep, unsigned int n,
		  u64 gfn, unsigned int level)
{
	for (; n--; ep++, gfn++) {
		u64 e = READ_ONCE(*ep);

		if (!e)
			continue;
		while (is_leaf(pt, e, level) && !try_cmpxchg(ep, &e, 0))
			;
		if (!is_leaf(pt, e, level))	/* split by a fault in another part of it */
			continue;
		op->changed = true;
		if (e & op->report)
			harvest(pt, op, e, gfn, level);
	}
}

/*
 * The operation that takes bits from entries, or only looks for them. Its loop is what a dirty log
 * costs.
 */
void wafer_pt_clear(const struct wafer_pt *pt, struct wafer_pt_op *op, u64 *ep, unsigned int n,
		    u64 gfn, unsigned int level)
{
	const u64 match = op->match, clear = op->clear, keep = op->keep;
	const u64 dirty = op->dirty, report = op->report;
	const unsigned long *mask = op->mask;
	unsigned long *log = level == 1 && !report ? op->log : NULL;
	u64 page = gfn - op->log_gfn;
	bool found = false;

	for (; n--; ep++, gfn++, page++) {
		u64 e = READ_ONCE(*ep);

		if (!(e & match) || (mask && !test_bit(gfn - op->mask_gfn, mask)))
			continue;
		while (clear && is_leaf(pt, e, level) &&
		       !try_cmpxchg(ep, &e, (e & ~clear) | (e & dirty ? keep : 0)))
			;
		if (level > 1 && !is_leaf(pt, e, level))
			continue;
		found = true;
		if (log && (e & dirty))
			set_bit(page, log);
		else if (e & (dirty | report))
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
	u64 base = op->gfn & ~(wafer_pt_span(level) - 1);
	struct wafer_pt_op zap = *op;

	if (op->pages->nr)
		return split(pt, ep, e, level, op->pages) == 0;
	if (!op->zap_huge)
		return false;
	zap.report = pt->dirty | WAFER_PT_WRITTEN;
	wafer_pt_zap(pt, &zap, ep, 1, base, level);
	op->changed |= zap.changed;
	return true;
}

static void unlink_table(const struct wafer_pt *pt, struct wafer_pt_op *op, u64 *ep)
{
	void *table = table_of(pt, xchg(ep, 0));

	op->changed = true;
	wafer_pt_set_next(table, op->freed);
	op->freed = table;
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
		unsigned int n = stop - op->gfn;

		op->fn(pt, op, &table[wafer_pt_index(op->gfn, 1)], n, op->gfn, 1);
		op->gfn = stop;
		op->budget -= n;
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
			op->fn(pt, op, ep, 1, base, level);
			e = READ_ONCE(*ep);
		}
		if (!e || is_leaf(pt, e, level)) {
			op->budget--;	/* the way down costs nothing: each step gets somewhere */
			op->gfn = next;
			continue;
		}
		step(pt, op, table_of(pt, e), level - 1);
		if (op->unlink && base >= op->start && base + span <= op->end &&
		    op->gfn == base + span)
			unlink_table(pt, op, ep);
	}
}

/**
 * wafer_pt_step() - do an operation to the next part of its range, until op->budget is spent
 * @pt: the table
 * @op: the operation; wafer_pt_op_done() tells whether the range is finished
 *
 * One at a time (under the zap lock); it may be let go between two steps.
 */
void wafer_pt_step(const struct wafer_pt *pt, struct wafer_pt_op *op)
{
	u64 reach = wafer_pt_span(pt->levels + 1);

	op->end = min(op->end, reach);
	if (!wafer_pt_op_done(op))
		step(pt, op, pt->root, pt->levels);
}
