// SPDX-License-Identifier: GPL-2.0
/*
 * The nested page table alone: each kind of entry, each operation, and long random sequences
 * against a plain model.
 */
#include "mmu_fake.h"

static atomic_long_t accounted;

static struct wafer_pt make_pt(const struct wafer_pt_format *f, int levels, bool ad)
{
	atomic_long_set(&accounted, 1);
	return (struct wafer_pt){
		.f = f,
		.levels = levels,
		.root = wafer_pt_alloc(true),
		.pages = &accounted,
		.has_ad = ad,
		.addr = GENMASK_ULL(51, 12),
		.dirty = ad ? f->dirty : f->write,
	};
}

static void run_op(struct wafer_pt *pt, struct wafer_pt_op *op, int budget)
{
	int turns = 0;

	while (op->gfn < op->end) {
		op->budget = budget;
		wafer_pt_step(pt, op);
		CHECK(++turns < 1000000);
		if (tap_failures)
			return;
	}
}

static void free_tables(struct wafer_pt_op *op)
{
	void *t;

	while ((t = op->freed)) {
		op->freed = wafer_pt_next(t);
		wafer_pt_free(t);
		atomic_long_dec(&accounted);
	}
}

static void zap(struct wafer_pt *pt, u64 gfn, u64 n)
{
	struct wafer_pt_op op = wafer_pt_op_zap(gfn, n);

	run_op(pt, &op, 1 + rnd() % 700);
	free_tables(&op);
}

static void drop_pt(struct wafer_pt *pt)
{
	zap(pt, 0, wafer_pt_span(pt->levels + 1));
	CHECK_EQ(atomic_long_read(&accounted), 1);
	wafer_pt_free(pt->root);
	CHECK_EQ(fake_pages, 0);
}

/* The entry that translates @gfn, and its level. */
static u64 look(struct wafer_pt *pt, u64 gfn, int *level)
{
	u64 *table = pt->root;
	int l;

	for (l = pt->levels; ; l--) {
		u64 e = table[wafer_pt_index(gfn, l)];

		if (!e || l == 1 || (e & pt->f->leaf)) {
			*level = l;
			return e;
		}
		CHECK_EQ(((e & ~pt->addr) | pt->f->accessed) & ~WAFER_PT_SETTLING, pt->f->table);
		table = __va(e & pt->addr);
	}
}

static int map(struct wafer_pt *pt, u64 gfn, u64 pfn, int level, u64 bits)
{
	struct wafer_pt_pages pages = { };
	struct wafer_pt_leaf leaf = {
		.gfn = gfn,
		.pfn = pfn,
		.level = level,
		.bits = pt->f->read | bits,
		.need = pt->f->read | bits,
	};
	u64 *where;
	int r = wafer_pt_map(pt, &leaf, &pages, &where);

	wafer_pt_drain(&pages);
	return r;
}

TEST(formats)
{
	const struct wafer_pt_format *fs[] = { &wafer_ept_format, &wafer_npt_format };
	int i;

	for (i = 0; i < 2; i++) {
		const struct wafer_pt_format *f = fs[i];
		u64 flags[] = { f->read,       f->write,	 f->exec,
				f->leaf,       f->accessed,	 f->dirty,
				f->wb | f->uc, WAFER_PT_SPECIAL, GENMASK_ULL(51, 12) };
		u64 seen = 0;
		int j;

		for (j = 0; j < ARRAY_SIZE(flags); j++) {
			CHECK(!(seen & flags[j]));
			seen |= flags[j];
		}
		CHECK(f->read && f->write && f->leaf && f->accessed && f->dirty);
		CHECK((f->table & (f->read | f->write | f->exec)) ==
		      (f->read | f->write | f->exec));
	}
	CHECK_EQ(wafer_ept_format.wb, 0x70);
	CHECK_EQ(wafer_npt_format.read, 5);
}

TEST(map_each_level)
{
	int levels, level, l;

	for (levels = 4; levels <= 5; levels++) {
		for (level = 1; level <= 3; level++) {
			struct wafer_pt pt = make_pt(&wafer_ept_format, levels, true);
			u64 span = wafer_pt_span(level), gfn = 7 * span, pfn = 3 * span;
			u64 e;

			CHECK_EQ(map(&pt, gfn + 5 % span, pfn + 5 % span, level, pt.f->write), 0);
			CHECK_EQ(atomic_long_read(&accounted), 1 + levels - level);
			e = look(&pt, gfn + span - 1, &l);
			CHECK_EQ(l, level);
			CHECK_EQ(e, pfn << 12 | pt.f->read | pt.f->write |
					    (level > 1 ? pt.f->leaf : 0));
			CHECK_EQ(look(&pt, gfn + span, &l), 0);
			CHECK_EQ(look(&pt, gfn - 1, &l), 0);
			drop_pt(&pt);
		}
	}
}

TEST(more_rights_other_page_and_no_memory)
{
	struct wafer_pt pt = make_pt(&wafer_npt_format, 4, true);
	int l;

	fake_fail_after = 2;	/* three tables are needed */
	CHECK_EQ(map(&pt, 77, 5, 1, 0), (u64)-ENOMEM);
	fake_fail_after = -1;
	CHECK_EQ(map(&pt, 77, 5, 1, 0), 0);
	CHECK_EQ(look(&pt, 77, &l), 5 << 12 | pt.f->read);
	CHECK_EQ(map(&pt, 77, 5, 1, pt.f->write), 0);
	CHECK_EQ(look(&pt, 77, &l), 5 << 12 | pt.f->read | pt.f->write);
	CHECK_EQ(map(&pt, 77, 5, 1, 0), 0);
	CHECK_EQ(look(&pt, 77, &l), 5 << 12 | pt.f->read | pt.f->write);
	CHECK_EQ(map(&pt, 77, 6, 1, 0), (u64)-EEXIST);
	/* A small page is there: a large one of the same memory is not put over it. */
	CHECK_EQ(map(&pt, 78, 6, 2, 0), 0);
	look(&pt, 78, &l);
	CHECK_EQ(l, 1);
	drop_pt(&pt);
}

TEST(split_keeps_all_bits)
{
	struct wafer_pt pt = make_pt(&wafer_ept_format, 4, true);
	u64 bits = pt.f->accessed | pt.f->dirty | WAFER_PT_SPECIAL, e;
	int l, i;

	CHECK_EQ(map(&pt, 512, 1024, 2, bits), 0);
	CHECK_EQ(map(&pt, 512 + 9, 1024 + 9, 1, pt.f->write), 0);
	for (i = 0; i < 512; i++) {
		e = look(&pt, 512 + i, &l);
		CHECK_EQ(l, 1);
		CHECK_EQ(e, (1024ull + i) << 12 | pt.f->read | pt.f->exec | bits |
				    (i == 9 ? pt.f->write : 0));
	}
	/* 1 GiB goes by way of 2 MiB. */
	CHECK_EQ(map(&pt, 1 << 18, 1 << 18, 3, 0), 0);
	CHECK_EQ(map(&pt, (1 << 18) + 513, (1 << 18) + 513, 1, pt.f->write), 0);
	e = look(&pt, (1 << 18) + 512 * 5, &l);
	CHECK_EQ(l, 2);
	CHECK_EQ(e, (u64)((1 << 18) + 512 * 5) << 12 | pt.f->read | pt.f->leaf);
	e = look(&pt, (1 << 18) + 514, &l);
	CHECK_EQ(l, 1);
	drop_pt(&pt);
}

TEST(no_executable_huge_leaf)
{
	struct wafer_pt pt = make_pt(&wafer_ept_format, 4, true);
	int l;

	pt.nx_huge = true;
	CHECK_EQ(map(&pt, 512, 512, 2, pt.f->write | pt.f->exec), 0);
	CHECK(!(look(&pt, 512, &l) & pt.f->exec));
	CHECK_EQ(l, 2);
	CHECK_EQ(map(&pt, 513, 513, 1, pt.f->exec), 0);
	CHECK(look(&pt, 513, &l) & pt.f->exec);
	CHECK_EQ(l, 1);
	CHECK(look(&pt, 514, &l) & pt.f->write);
	drop_pt(&pt);
}

TEST(zap_takes_tables_out_only_when_covered)
{
	struct wafer_pt pt = make_pt(&wafer_ept_format, 4, true);
	int i;

	for (i = 0; i < 1024; i++)
		CHECK_EQ(map(&pt, i, i, 1, pt.f->write), 0);
	CHECK_EQ(atomic_long_read(&accounted), 5);
	zap(&pt, 1, 1023);
	CHECK_EQ(atomic_long_read(&accounted), 4);
	CHECK(look(&pt, 0, &i));
	CHECK(!look(&pt, 1, &i));
	zap(&pt, 0, 512);
	CHECK_EQ(atomic_long_read(&accounted), 3);
	/* Part of a huge leaf: all of it goes. */
	CHECK_EQ(map(&pt, 512, 512, 2, 0), 0);
	zap(&pt, 700, 1);
	CHECK(!look(&pt, 512, &i));
	drop_pt(&pt);
}

TEST(written_pages_are_harvested)
{
	int ad;

	for (ad = 0; ad < 2; ad++) {
		struct wafer_pt pt = make_pt(&wafer_ept_format, 4, ad);
		DECLARE_BITMAP(log, 1024) = { 0 };
		struct wafer_pt_op op;

		memset(fake_dirty, 0, sizeof(fake_dirty));
		map(&pt, 512 + 3, 100, 1, pt.f->write | pt.f->dirty);
		map(&pt, 512 + 4, 101, 1, pt.f->write);
		map(&pt, 512 + 5, 102, 1, 0);
		map(&pt, 512 + 6, 103, 1, pt.f->write | pt.f->dirty | WAFER_PT_SPECIAL);
		map(&pt, 1024, 2048, 2, pt.f->write | pt.f->dirty);
		op = wafer_pt_op_protect(&pt);
		op.start = op.gfn = 512;
		op.end = 512 + 1024;
		op.log = log;
		op.log_gfn = 512;
		run_op(&pt, &op, 3);
		CHECK(op.changed && op.found);
		CHECK(test_bit(3, log) && test_bit(4, log) == !ad && !test_bit(5, log) &&
		      test_bit(6, log));
		CHECK(test_bit(512, log) && test_bit(1023, log) && !test_bit(511, log));
		CHECK(fake_dirty[100] && fake_dirty[101] == !ad && !fake_dirty[102] &&
		      !fake_dirty[103]);
		CHECK(fake_dirty[2048]);
		/* Once. */
		memset(log, 0, sizeof(log));
		op.gfn = op.start;
		op.found = op.changed = false;
		run_op(&pt, &op, 1000);
		CHECK(!op.found && !op.changed && bitmap_empty(log, 1024));
		drop_pt(&pt);
	}
}

TEST(accessed_is_not_written)
{
	struct wafer_pt pt = make_pt(&wafer_npt_format, 4, true);
	struct wafer_pt_op op;
	int l;

	memset(fake_dirty, 0, sizeof(fake_dirty));
	map(&pt, 8, 8, 1, pt.f->write | pt.f->dirty | pt.f->accessed);
	op = wafer_pt_op(0, 64, pt.f->accessed, pt.f->accessed);
	run_op(&pt, &op, 100);
	CHECK(op.found && !op.changed && !fake_dirty[8]);
	CHECK_EQ(look(&pt, 8, &l) & (pt.f->dirty | pt.f->accessed), pt.f->dirty);
	drop_pt(&pt);
}

/* ---- tables that are idle ---- */

#define LOGGED	(6 * 512)	/* pages, from LOG_GFN on, which is in the middle of a table */
#define LOG_GFN	(512 + 192)

/*
 * A CPU that keeps in its TLB which pages it may write, and in another
 * cache the ways to last tables.
 */
struct cpu {
	bool way[16], page[LOGGED];
};

static u64 *entry_of(struct wafer_pt *pt, u64 gfn, int level)
{
	u64 *table = pt->root;

	for (int l = pt->levels; l > level; l--)
		table = __va(table[wafer_pt_index(gfn, l)] & pt->addr);
	return &table[wafer_pt_index(gfn, level)];
}

static void cpu_access(struct wafer_pt *pt, struct cpu *cpu, u64 page, bool write)
{
	u64 gfn = LOG_GFN + page;

	if (!cpu->way[gfn / 512] || rnd() % 2) {
		*entry_of(pt, gfn, 2) |= pt->f->accessed;
		cpu->way[gfn / 512] = true;
	}
	if (write)
		*entry_of(pt, gfn, 1) |= pt->f->dirty;
	cpu->page[page] = write;
}

/* Some pages, of a few tables at most. */
static void cpu_turn(struct wafer_pt *pt, struct cpu *cpu, u8 *written)
{
	u64 around = rnd() % LOGGED, page;

	for (int n = rnd() % 4; n--;) {
		page = (around + rnd() % 600) % LOGGED;
		/*
		 * What goes by the TLB was told since the last flush, or will be: who reads
		 * the log reads the page after it.
		 */
		if (cpu->page[page])
			continue;
		written[page] |= rnd() % 2;
		/* the kernel maps it for a write, which then comes */
		if (written[page] && rnd() % 8 == 0)
			CHECK_EQ(map(pt, LOG_GFN + page, page, 1, pt->f->write | pt->f->dirty), 0);
		cpu_access(pt, cpu, page, written[page]);
	}
}

/*
 * The log is read in turns, as mmu/dirty.c does it, while the CPU goes on: each page that was
 * written before its turn is told now, and what is told was written.
 */
TEST(idle_tables_are_passed_over)
{
	static struct cpu cpu;
	struct wafer_pt pt = make_pt(&wafer_npt_format, 4, true);
	u8 written[LOGGED] = { 0 };
	u64 page, end, turns = 0;
	int used;

	for (page = 0; page < LOGGED; page++)
		CHECK_EQ(map(&pt, LOG_GFN + page, page, 1, pt.f->write), 0);
	for (int round = 0; round < 20000 && !tap_failures; round++) {
		struct wafer_pt_op op = wafer_pt_op(0, 0, pt.f->dirty, pt.f->dirty);
		DECLARE_BITMAP(log, LOGGED) = { 0 };
		/* tables end between two turns, or in one */
		u64 chunk = rnd() % 2 ? 1024 : 1024 - 192;

		op.settle = true;
		op.log = log;
		op.log_gfn = LOG_GFN;
		if (rnd() % 2)
			cpu_turn(&pt, &cpu, written);
		for (page = 0; page < LOGGED; page = end) {
			end = min_t(u64, LOGGED, page + chunk);
			op.start = op.gfn = LOG_GFN + page;
			op.end = LOG_GFN + end;
			run_op(&pt, &op, 1 + rnd() % 2000);
			for (; page < end; page++) {
				CHECK_EQ(test_bit(page, log), written[page]);
				written[page] = 0;
			}
			if (rnd() % 4 == 0)
				cpu_turn(&pt, &cpu, written);
			turns++;
		}
		if (op.changed || rnd() % 8 == 0)
			memset(&cpu, 0, sizeof(cpu));
	}
	CHECK(turns > 60000);
	/*
	 * Nobody writes: in the third reading nothing but five entries are looked
	 * at, and the parts at the ends.
	 */
	for (int round = 0; round < 3; round++) {
		struct wafer_pt_op op = wafer_pt_op(LOG_GFN, LOGGED, pt.f->dirty, pt.f->dirty);
		DECLARE_BITMAP(log, LOGGED) = { 0 };

		op.settle = true;
		op.log = log;
		op.log_gfn = LOG_GFN;
		op.budget = 1000000;
		wafer_pt_step(&pt, &op);
		used = 1000000 - op.budget;
		CHECK_EQ(op.gfn, op.end);
		CHECK(round || !written[0]);
	}
	CHECK_EQ(used, 5 + 512);
	drop_pt(&pt);
}

TEST(clear_under_a_mask_splits_huge_leaves)
{
	struct wafer_pt pt = make_pt(&wafer_ept_format, 4, true);
	DECLARE_BITMAP(mask, 64) = { 1ul << 7 };
	struct wafer_pt_pages pages = { };
	struct wafer_pt_op op = wafer_pt_op(512 + 64, 64, pt.f->dirty, pt.f->dirty);
	int l;

	map(&pt, 512, 512, 2, pt.f->write | pt.f->dirty);
	op.mask = mask;
	op.pages = &pages;
	op.budget = 100;
	wafer_pt_step(&pt, &op);
	CHECK(op.gfn < op.end && !op.changed);	/* it wants a page */
	CHECK_EQ(wafer_pt_topup(&pages, 1), 0);
	run_op(&pt, &op, 100);
	CHECK(look(&pt, 512 + 64 + 6, &l) & pt.f->dirty);
	CHECK_EQ(l, 1);
	CHECK(!(look(&pt, 512 + 64 + 7, &l) & pt.f->dirty));
	/* No page to be had: it goes. */
	map(&pt, 1024, 1024, 2, pt.f->write | pt.f->dirty);
	op.start = op.gfn = 1024;
	op.end = 1088;
	op.zap_huge = true;
	fake_dirty[1024] = 0;
	run_op(&pt, &op, 100);
	CHECK(!look(&pt, 1024, &l) && fake_dirty[1024]);
	CHECK_EQ(pages.nr, 0);
	drop_pt(&pt);
}

/* ---- random sequences ---- */
#define MODEL_PAGES	4096
#define MODEL_BASE	((1ull << 18) - 2048)	/* over a 1 GiB boundary */

/* All huge leaves map frame to the same frame, so that sizes mix freely. */
static void check_model(struct wafer_pt *pt, const u64 *model)
{
	int i, l;

	for (i = 0; i < MODEL_PAGES; i++) {
		u64 e = look(pt, MODEL_BASE + i, &l);
		u64 want = model[i];

		CHECK_EQ(e & (pt->f->write | pt->f->dirty), want & (pt->f->write | pt->f->dirty));
		CHECK_EQ(!!e, !!want);
		if (e)
			CHECK_EQ(((e & pt->addr) >> 12) +
					 ((MODEL_BASE + i) & (wafer_pt_span(l) - 1)),
				 MODEL_BASE + i);
		if (tap_failures)
			return;
	}
}

static void model_map(struct wafer_pt *pt, u64 *model)
{
	u64 at = rnd() % MODEL_PAGES,
	    bits = (rnd() & 1 ? pt->f->write : 0) | (rnd() & 1 ? pt->f->dirty : 0);
	int level = rnd() % 8 ? 1 : 2, l;
	u64 first, n, i;

	look(pt, MODEL_BASE + at, &l);
	level = min(level, l);	/* where there are tables, at the small level */
	n = wafer_pt_span(level);
	first = at & ~(n - 1);
	if (look(pt, MODEL_BASE + at, &l) && l == 2) {
		n = 512;	/* more rights for all of it */
		first = at & ~511ull;
		level = 2;
	}
	if (level == 2)
		for (i = first; i < first + n; i++)
			if (model[i] && l == 1)
				return;
	CHECK_EQ(map(pt, MODEL_BASE + at, MODEL_BASE + at, level, bits), 0);
	for (i = first; i < first + n; i++)
		model[i] |= pt->f->read | bits;
}

static void model_range(struct wafer_pt *pt, u64 *model, bool clear)
{
	u64 first = rnd() % MODEL_PAGES, n = 1 + rnd() % min(MODEL_PAGES - first, 1500ull), i;
	u64 bits = clear ? pt->f->write | pt->f->dirty : ~0ull, lo = first, hi = first + n;
	struct wafer_pt_op op;
	int l;

	/* A huge leaf that is touched is touched as a whole. */
	if (look(pt, MODEL_BASE + lo, &l) && l == 2)
		lo &= ~511ull;
	if (look(pt, MODEL_BASE + hi - 1, &l) && l == 2)
		hi = ((hi - 1) | 511) + 1;
	if (clear) {
		op = wafer_pt_op(MODEL_BASE + first, n, bits, bits);
		run_op(pt, &op, 1 + rnd() % 600);
	} else {
		zap(pt, MODEL_BASE + first, n);
	}
	for (i = lo; i < hi; i++)
		model[i] &= ~bits;
}

TEST(random_against_a_model)
{
	int round, i;

	for (round = 0; round < 8; round++) {
		struct wafer_pt pt = make_pt(round & 1 ? &wafer_npt_format : &wafer_ept_format,
					     4 + (round >> 1 & 1), true);
		static u64 model[MODEL_PAGES];

		memset(model, 0, sizeof(model));
		for (i = 0; i < 4000 && !tap_failures; i++) {
			if (rnd() % 64)
				model_map(&pt, model);
			else
				model_range(&pt, model, rnd() & 1);
			if (i % 500 == 0)
				check_model(&pt, model);
		}
		check_model(&pt, model);
		drop_pt(&pt);
	}
}

TAP_MAIN()
