// SPDX-License-Identifier: GPL-2.0
/*
 * The walker against a second one, written from the manual's tables in another way, over random and
 * hostile tables; and the rules one by one.
 */
#include <linux/bits.h>
#include <linux/errno.h>

#include "emulate.h"
#include "tap.h"

#define PAGES	64
#define PG	0x80000001ull		/* PE, PG */
#define WP	0x10000ull
#define PSE	0x10ull
#define PAE	0x20ull
#define LA57	0x1000ull
#define SMEP	0x100000ull
#define SMAP	0x200000ull
#define PKE	0x400000ull
#define LMA	0x400ull
#define NXE	0x800ull
#define R	WAFER_FAULT_READ
#define W	WAFER_FAULT_WRITE
#define X	WAFER_FAULT_FETCH
#define USER	WAFER_WALK_USER
#define IMPL	WAFER_WALK_IMPLICIT
#define NX	(1ull << 63)

/* Guest-physical memory: PAGES pages from 0. */
static union {
	u8 b[PAGES * 4096];
	u64 q[PAGES * 512];
	u32 l[PAGES * 1024];
} ram;
static unsigned int reads, exchanges;
static int cas_result;			/* what every exchange says, if not 0 */
static void (*before_cas)(gpa_t gpa);	/* somebody else, just before it */

static int read_entry(void *ctx, gpa_t gpa, unsigned int size, u64 *val)
{
	CHECK(size == 4 || size == 8);
	CHECK(gpa % size == 0);
	reads++;
	if (gpa >= sizeof(ram))
		return -EFAULT;
	*val = size == 8 ? ram.q[gpa / 8] : ram.l[gpa / 4];
	return 0;
}

static int cas_entry(void *ctx, gpa_t gpa, unsigned int size, u64 old, u64 new)
{
	exchanges++;
	if (before_cas)
		before_cas(gpa);
	if (cas_result)
		return cas_result;
	if (size == 8 ? ram.q[gpa / 8] != old : ram.l[gpa / 4] != old)
		return -EAGAIN;
	if (size == 8)
		ram.q[gpa / 8] = new;
	else
		ram.l[gpa / 4] = new;
	return 0;
}

static struct wafer_walk start(u64 cr0, u64 cr4, u64 efer)
{
	struct wafer_walk w;

	memset(&w, 0xa5, sizeof(w));	/* results must not be taken for input */
	w.cr0 = cr0;
	w.cr3 = 0x1000;
	w.cr4 = cr4;
	w.efer = efer;
	w.rflags_ac = false;
	w.has_1g = true;
	w.pdptr_from_memory = true;
	w.pkru = 0;
	w.phys_bits = 40;
	w.read_entry = read_entry;
	w.cas_entry = cas_entry;
	reads = 0;
	exchanges = 0;
	cas_result = 0;
	before_cas = NULL;
	return w;
}

static void clear(void)
{
	memset(&ram, 0, sizeof(ram));
}

/* ---- the second walker ---- */

struct outcome {
	int ret;
	u32 error;
	u64 gpa, size;
	bool writable, user;
	unsigned int nr;
	u64 at[5];
};

/*
 * "Reserved" rows of the manual: mode, level, leaf, then the bits below the physical width that
 * must be 0.
 */
static u64 must_be_zero(const struct wafer_walk *w, int levels, int level, bool leaf)
{
	u64 m = 0;
	int i;

	if (levels == 2) {		/* 32-bit: only with a 4-MByte page */
		if (level == 2 && leaf)
			for (i = 13; i <= 21; i++)
				if (i - 13 + 32 >= (w->phys_bits < 40 ? w->phys_bits : 40))
					m |= 1ull << i;
		return m;
	}
	for (i = 12; i < 64; i++)
		if (i >= w->phys_bits && i < (levels == 3 ? 63 : 52))
			m |= 1ull << i;
	if (levels == 3 && level == 3)
		return m | NX | (w->pdptr_from_memory ? 0x1c6 : 0x1e6);
	if (!(w->efer & NXE))
		m |= NX;
	if (leaf && level == 2)
		m |= 0x1fe000;
	if (leaf && level == 3)
		m |= 0x3fffe000;
	if (levels >= 4 && (level >= 4 || (level == 3 && !w->has_1g)))
		m |= 0x80;
	return m;
}

static bool key_allows(const struct wafer_walk *w, u64 leaf, bool user, bool write)
{
	int key = leaf >> 59 & 15;

	if (!(w->cr4 & PKE) || !(w->efer & LMA))
		return true;
	if (w->pkru >> (2 * key) & 1)
		return false;
	if (write && w->pkru >> (2 * key + 1) & 1)
		return !user && !(w->cr0 & WP);
	return true;
}

/* SDM vol. 3 §4.6.1, bullet by bullet; protection keys apart. */
static bool allowed(const struct wafer_walk *w, bool rw, bool us, bool nx, u32 access)
{
	bool user = access & USER && !(access & IMPL);

	if (!(access & (R | W | X)))
		return true;
	if (user)
		return us && (!(access & W) || rw) && (!(access & X) || !nx);
	if (access & X)
		return !nx && (!us || !(w->cr4 & SMEP));
	if (us && w->cr4 & SMAP && (!w->rflags_ac || access & IMPL))
		return false;
	return !(access & W) || rw || !(w->cr0 & WP);
}

static struct outcome model(const struct wafer_walk *w, u64 gva, u32 access)
{
	int levels = w->efer & LMA ? w->cr4 & LA57 ? 5 : 4 : w->cr4 & PAE ? 3 : 2, level;
	bool user = access & USER && !(access & IMPL), rw = true, us = true, nx = false, key_ok;
	struct outcome o = { .ret = 1 };
	u64 table, size, val = 0;

	o.error = (access & W ? 2 : 0) | (user ? 4 : 0);
	if (access & X && (w->cr4 & SMEP || (levels > 2 && w->efer & NXE)))
		o.error |= 16;
	table = levels == 2 ? w->cr3 & 0xfffff000 : levels == 3 ? w->cr3 & 0xffffffe0 :
		w->cr3 & 0xffffffffff000;
	for (level = levels; ; level--) {
		bool leaf, pdpte = levels == 3 && level == 3;
		u64 at;

		size = levels == 2 ? (level == 2 ? 1ull << 22 : 4096) :
			1ull << (12 + 9 * (level - 1));
		at = levels == 2 ? table + 4 * (gva / size % 1024) :
			table + 8 * (gva / size % (pdpte ? 4 : 512));
		if (pdpte && !w->pdptr_from_memory) {
			val = w->pdptr[gva / size % 4];
		} else {
			if (at >= sizeof(ram)) {
				o.ret = -EFAULT;
				return o;
			}
			val = levels == 2 ? ram.l[at / 4] : ram.q[at / 8];
			o.at[o.nr++] = at;
		}
		if (!(val & 1))
			return o;
		leaf = level == 1;
		if (val & 0x80) {
			leaf |= levels == 2 && w->cr4 & PSE;
			leaf |= levels > 2 && level == 2;
			leaf |= levels > 3 && level == 3 && w->has_1g;
		}
		if (val & must_be_zero(w, levels, level, leaf)) {
			o.error |= 9;
			return o;
		}
		if (!pdpte) {
			rw &= !!(val & 2);
			us &= !!(val & 4);
			nx |= !!(val & NX);
		}
		if (leaf)
			break;
		table = val & 0xffffffffff000;
	}
	key_ok = access & X || !(access & (R | W)) || !us || key_allows(w, val, user, access & W);
	if (!allowed(w, rw, us, nx, access) || !key_ok) {
		o.error |= 1 | (key_ok ? 0 : 32);
		return o;
	}
	o.ret = 0;
	o.size = size;
	o.gpa = gva % size + (val & 0xffffffffff000 & -size);
	if (levels == 2 && level == 2)
		o.gpa += (val >> 13 & 0xff) << 32;
	o.writable = rw;
	o.user = us;
	return o;
}

static bool seen_twice(const struct outcome *o, unsigned int i)
{
	unsigned int j, n = 0;

	for (j = 0; j < o->nr; j++)
		n += o->at[j] == o->at[i];
	return n > 1;
}

/* Walks with both and compares. */
static int both(struct wafer_walk *w, u64 gva, u32 access)
{
	struct outcome o = model(w, gva, access);
	int ret = wafer_walk(w, gva, access);
	unsigned int i;

	CHECK_MSG(ret == o.ret, "gva %llx access %x: %d, expected %d (error %x, %x)", (u64)gva,
		  access, ret, o.ret,
		  w->error_code, o.error);
	if (ret == 1)
		CHECK_MSG(w->error_code == o.error, "gva %llx access %x: error %x, expected %x",
			  (u64)gva, access,
			  w->error_code, o.error);
	if (ret == 0) {
		CHECK_EQ(w->gpa, o.gpa);
		CHECK_EQ(w->page_size, o.size);
		CHECK_EQ(w->writable, o.writable);
		CHECK_EQ(w->user, o.user);
		CHECK_EQ(w->nr_entries, o.nr);
		for (i = 0; i < o.nr && i < w->nr_entries; i++) {
			CHECK_EQ(w->entries[i].gpa, o.at[i]);
			if (seen_twice(&o, i))
				/* a table that maps itself: the value may be of before */
				continue;
			CHECK_EQ(w->entries[i].val, w->efer & LMA || w->cr4 & PAE ?
				 ram.q[o.at[i] / 8] :
				 ram.l[o.at[i] / 4]);
		}
	}
	return ret;
}

TEST(no_paging)
{
	struct wafer_walk w = start(1, 0, 0);

	CHECK_EQ(wafer_walk(&w, 0xfee00300, W | USER), 0);
	CHECK_EQ(w.gpa, 0xfee00300);
	CHECK(w.writable && w.user && w.page_size == 4096 && w.nr_entries == 0 && reads == 0);
}

TEST(two_levels)
{
	struct wafer_walk w = start(PG, 0, 0);

	clear();
	ram.l[0x400 + 3] = 0x2007;
	ram.l[0x800 + 5] = 0xfee00007;
	CHECK_EQ(both(&w, 0xc05abc, R), 0);
	CHECK_EQ(w.gpa, 0xfee00abc);
	CHECK_EQ(ram.l[0x400 + 3], 0x2027);		/* A, and no D: a read, and a table */
	CHECK_EQ(ram.l[0x800 + 5], 0xfee00027);
	CHECK_EQ(both(&w, 0xc05abc, W | USER), 0);
	CHECK_EQ(ram.l[0x400 + 3], 0x2027);
	CHECK_EQ(ram.l[0x800 + 5], 0xfee00067);
	/* bit 7 without CR4.PSE is nothing, with it a page of 4 MiB */
	ram.l[0x400 + 3] = 0x20a7;
	CHECK_EQ(both(&w, 0xc05abc, R), 0);
	w.cr4 = PSE;
	ram.l[0x400 + 3] = 0xff8000a7;
	CHECK_EQ(both(&w, 0xc05abc, R), 0);
	CHECK_EQ(w.gpa, 0xff805abc);
	ram.l[0x400 + 3] = 0xff8000a7 | 0xa5 << 13;	/* PSE-36 */
	CHECK_EQ(both(&w, 0xc05abc, W), 0);
	CHECK_EQ(w.gpa, 0xa5ff805abc);
	CHECK_EQ(ram.l[0x400 + 3], 0xff8000e7 | 0xa5 << 13);
	ram.l[0x400 + 3] = 0xff8000a7 | 1 << 21;
	CHECK_EQ(both(&w, 0xc05abc, W), 1);
	CHECK_EQ(w.error_code, 0xb);
	w.phys_bits = 36;
	ram.l[0x400 + 3] = 0xff8000a7 | 1 << 17;
	CHECK_EQ(both(&w, 0xc05abc, R), 1);
	CHECK_EQ(w.error_code, 9);
	ram.l[0x400 + 3] = 0xff8000a7 | 1 << 16;
	CHECK_EQ(both(&w, 0xc05abc, R), 0);
	CHECK_EQ(w.gpa, 0x8ff805abc);
}

TEST(pae)
{
	struct wafer_walk w = start(PG, PAE, NXE);

	clear();
	w.cr3 = 0x1020;
	ram.q[0x1020 / 8 + 2] = 0x2001;
	ram.q[0x2000 / 8 + 511] = 0x3007;
	ram.q[0x3000 / 8 + 1] = 0x12345006;
	CHECK_EQ(both(&w, 0xbfe01678, R), 1);
	CHECK_EQ(w.error_code, 0);
	ram.q[0x3000 / 8 + 1] |= 1;
	CHECK_EQ(both(&w, 0xbfe01678, W | USER), 0);
	CHECK_EQ(w.gpa, 0x12345678);
	CHECK_EQ(w.nr_entries, 3);
	CHECK_EQ(ram.q[0x1020 / 8 + 2], 0x2001);	/* no A in a PDPTE, no rights either */
	CHECK_EQ(ram.q[0x3000 / 8 + 1], 0x12345067);
	ram.q[0x1020 / 8 + 2] = 0;
	CHECK_EQ(both(&w, 0xbfe01678, R), 1);
	w.pdptr_from_memory = false;
	memset(w.pdptr, 0, sizeof(w.pdptr));
	w.pdptr[2] = 0x2001;
	CHECK_EQ(both(&w, 0xbfe01678, R), 0);
	CHECK_EQ(w.nr_entries, 2);
	ram.q[0x2000 / 8 + 511] = NX | 0x40000087;
	CHECK_EQ(both(&w, 0xbfe01678, R), 0);
	CHECK_EQ(w.gpa, 0x40001678);
	CHECK_EQ(both(&w, 0xbfe01678, X), 1);
	CHECK_EQ(w.error_code, 0x11);
}

TEST(four_and_five_levels)
{
	struct wafer_walk w = start(PG | WP, PAE, LMA | NXE);
	u64 gva = 0xffff812345678abc;

	clear();
	ram.q[0x1000 / 8 + (gva >> 39 & 511)] = 0x2003;
	ram.q[0x2000 / 8 + (gva >> 30 & 511)] = 0x3003;
	ram.q[0x3000 / 8 + (gva >> 21 & 511)] = 0x4003;
	ram.q[0x4000 / 8 + (gva >> 12 & 511)] = 0xfec00003;
	CHECK_EQ(both(&w, gva, W), 0);
	CHECK_EQ(w.gpa, 0xfec00abc);
	CHECK(w.writable && !w.user);
	CHECK_EQ(both(&w, gva, R | USER), 1);
	CHECK_EQ(w.error_code, 5);
	ram.q[0x3000 / 8 + (gva >> 21 & 511)] = 0xc0000083;
	CHECK_EQ(both(&w, gva, W), 0);
	CHECK_EQ(w.gpa, 0xc0078abc);
	CHECK_EQ(w.page_size, 2 << 20);
	ram.q[0x2000 / 8 + (gva >> 30 & 511)] = 0x1c0000081;
	CHECK_EQ(both(&w, gva, R), 0);
	CHECK_EQ(w.gpa, 0x1c0000000 + (gva & 0x3fffffff));
	CHECK(!w.writable);
	CHECK_EQ(both(&w, gva, W), 1);
	CHECK_EQ(w.error_code, 3);
	w.has_1g = false;
	CHECK_EQ(both(&w, gva, R), 1);
	CHECK_EQ(w.error_code, 9);
	w.has_1g = true;
	/* one level more */
	w.cr4 |= LA57;
	w.cr3 = 0x5000;
	gva = 0xff01812345678abc;
	ram.q[0x5000 / 8 + (gva >> 48 & 511)] = 0x1003;
	CHECK_EQ(both(&w, gva, R), 0);
	CHECK_EQ(w.nr_entries, 3);
	ram.q[0x2000 / 8 + (gva >> 30 & 511)] = 0x3003;
	ram.q[0x3000 / 8 + (gva >> 21 & 511)] = 0x4003;
	CHECK_EQ(both(&w, gva, R), 0);
	CHECK_EQ(w.nr_entries, 5);
}

/* Every combination that the rules speak of, on one page. */
TEST(rights)
{
	static const u32 accesses[] = {
		R, W, X, R | USER, W | USER, X | USER,
		R | IMPL, W | IMPL, R | USER | IMPL, R | W, 0,
	};
	unsigned int i, a, faults = 0;

	for (i = 0; i < 1 << 13; i++) {
		u64 cr4 = PAE | (i & 2 ? SMEP : 0) | (i & 4 ? SMAP : 0) | (i & 8 ? PKE : 0);
		struct wafer_walk w = start(PG | (i & 1 ? WP : 0), cr4, LMA | NXE);
		u64 upper = 1 | (i & 16 ? 2 : 0) | (i & 32 ? 4 : 0) | (i & 64 ? NX : 0);
		u64 leaf = 1 | (i & 128 ? 2 : 0) | (i & 256 ? 4 : 0) | (i & 512 ? NX : 0) |
			7ull << 59;

		clear();
		w.rflags_ac = i & 1024;
		w.pkru = (i >> 11 & 3) << 14 | 0xffff3fff;
		ram.q[0x1000 / 8] = 0x2007;
		ram.q[0x2000 / 8] = 0x3000 | upper;
		ram.q[0x3000 / 8] = 0x4007;
		ram.q[0x4000 / 8 + 1] = 0x7000 | leaf;
		for (a = 0; a < ARRAY_SIZE(accesses); a++)
			faults += both(&w, 0x1000, accesses[a]);
	}
	CHECK(faults > 20000 && faults < 80000);
}

/* The rules that are easily got wrong, spelled out. */
TEST(rights_by_hand)
{
	struct wafer_walk w = start(PG | WP, PAE | PKE | SMAP | SMEP, LMA | NXE);
	u64 *leaf = &ram.q[0x4000 / 8 + 1];

	clear();
	ram.q[0x1000 / 8] = 0x2007;
	ram.q[0x2000 / 8] = 0x3007;
	ram.q[0x3000 / 8] = 0x4007;
	*leaf = 0x7007 | 5ull << 59;
	CHECK_EQ(wafer_walk(&w, 0x1000, R), 1);			/* SMAP */
	CHECK_EQ(w.error_code, 1);
	w.rflags_ac = true;
	CHECK_EQ(wafer_walk(&w, 0x1000, R), 0);
	CHECK_EQ(wafer_walk(&w, 0x1000, R | IMPL), 1);		/* AC does not help there */
	CHECK_EQ(wafer_walk(&w, 0x1000, R | IMPL | USER), 1);	/* nor that CPL 3 caused it */
	CHECK_EQ(w.error_code, 1);
	CHECK_EQ(wafer_walk(&w, 0x1000, X), 1);			/* SMEP */
	CHECK_EQ(w.error_code, 0x11);
	CHECK_EQ(wafer_walk(&w, 0x1000, X | USER), 0);
	w.pkru = 2 << 10;					/* key 5: no writes */
	CHECK_EQ(wafer_walk(&w, 0x1000, R | USER), 0);
	CHECK_EQ(wafer_walk(&w, 0x1000, W | USER), 1);
	CHECK_EQ(w.error_code, 0x27);
	CHECK_EQ(wafer_walk(&w, 0x1000, W), 1);
	CHECK_EQ(w.error_code, 0x23);
	w.cr0 &= ~WP;
	CHECK_EQ(wafer_walk(&w, 0x1000, W), 0);			/* supervisor without WP */
	CHECK_EQ(wafer_walk(&w, 0x1000, W | USER), 1);
	w.pkru = 1 << 10;					/* key 5: no access */
	CHECK_EQ(wafer_walk(&w, 0x1000, R), 1);
	CHECK_EQ(w.error_code, 0x21);
	CHECK_EQ(wafer_walk(&w, 0x1000, X | USER), 0);		/* fetches don't ask */
	*leaf &= ~4ull;
	CHECK_EQ(wafer_walk(&w, 0x1000, R), 0);			/* nor do supervisor pages */
	/* the instruction bit is there without NX if SMEP is on, and not without both */
	w = start(PG, SMEP, 0);
	clear();
	CHECK_EQ(wafer_walk(&w, 0, X | USER), 1);
	CHECK_EQ(w.error_code, 0x14);
	w.cr4 = 0;
	w.efer = NXE;						/* without PAE it means nothing */
	CHECK_EQ(wafer_walk(&w, 0, X), 1);
	CHECK_EQ(w.error_code, 0);
}

/* Each bit of each entry of each mode, alone. */
TEST(reserved_bits)
{
	static const struct { u64 cr4, efer; int levels; } mode[] = {
		{ 0, 0, 2 }, { PSE, 0, 2 }, { PAE, 0, 3 }, { PAE, NXE, 3 }, { PAE, LMA, 4 },
		{ PAE, LMA | NXE, 4 },
		{ PAE | LA57, LMA | NXE, 5 },
	};
	static const u8 phys[] = { 32, 36, 39, 40, 46, 52 };
	unsigned int m, p, level, bit, reserved = 0;

	for (m = 0; m < ARRAY_SIZE(mode); m++)
	for (p = 0; p < ARRAY_SIZE(phys); p++)
	for (level = 1; level <= mode[m].levels; level++)
	for (bit = 1; bit < (mode[m].levels == 2 ? 32 : 64); bit++) {
		struct wafer_walk w = start(PG, mode[m].cr4, mode[m].efer);
		unsigned int i, large;

		for (large = 0; large < 2; large++) {
			clear();
			w.phys_bits = phys[p];
			w.has_1g = phys[p] != 36;
			for (i = 1; i <= mode[m].levels; i++) {
				u64 val = (mode[m].levels - i + 2) * 0x1000 |
					(mode[m].levels == 3 && i == 3 ? 1 : 7);

				if (i == level) {
					val ^= 1ull << bit;
					if (large && level > 1)
						val = (val | 0x80) & ~0xfff000ull;
				}
				if (mode[m].levels == 2)
					ram.l[(mode[m].levels - i + 1) * 0x400] = val;
				else
					ram.q[(mode[m].levels - i + 1) * 0x200] = val;
			}
			if (both(&w, 0, R) == 1)
				reserved += w.error_code == 9;
		}
	}
	CHECK_MSG(reserved > 2000, "%u reserved", reserved);
}

static u64 *victim, replacement;

static void change_entry(gpa_t gpa)
{
	if (victim)
		*victim = replacement;
	victim = NULL;
}

static void small_map(struct wafer_walk *w)
{
	*w = start(PG | WP, PAE, LMA | NXE);
	clear();
	ram.q[0x200] = 0x2007;
	ram.q[0x400] = 0x3007;
	ram.q[0x600] = 0x4007;
	ram.q[0x800] = 0x7007;
}

/* The entry changes between the walk's read and its exchange. */
TEST(changed_meanwhile)
{
	struct wafer_walk w;

	small_map(&w);
	before_cas = change_entry;
	victim = &ram.q[0x800];
	replacement = 0x7005;			/* no longer writable */
	CHECK_EQ(wafer_walk(&w, 0x123, W), 1);
	CHECK_EQ(w.error_code, 3);
	CHECK_EQ(ram.q[0x800], 0x7005);

	small_map(&w);
	before_cas = change_entry;
	victim = &ram.q[0x600];
	replacement = 0x5007;			/* another table */
	ram.q[0xa00] = 0x9007;
	CHECK_EQ(wafer_walk(&w, 0x123, W), 0);
	CHECK_EQ(w.gpa, 0x9123);
	CHECK_EQ(ram.q[0x800], 0x7007);		/* the old one's leaf is untouched */
	CHECK_EQ(ram.q[0xa00], 0x9067);
	CHECK_EQ(ram.q[0x600], 0x5027);

	small_map(&w);
	before_cas = change_entry;
	victim = &ram.q[0x200];
	replacement = 0;
	CHECK_EQ(wafer_walk(&w, 0x123, R), 1);
	CHECK_EQ(w.error_code, 0);
}

TEST(always_changed)
{
	struct wafer_walk w;

	small_map(&w);
	cas_result = -EAGAIN;
	CHECK_EQ(wafer_walk(&w, 0x123, W), 0);	/* it ends */
	CHECK_EQ(w.gpa, 0x7123);
	CHECK(exchanges > 1 && exchanges <= 64);
}

TEST(tables_in_rom)
{
	struct wafer_walk w;

	small_map(&w);
	cas_result = -EFAULT;
	CHECK_EQ(wafer_walk(&w, 0x123, W), 0);
	CHECK_EQ(exchanges, 4);
	CHECK_EQ(w.entries[3].val, 0x7007);	/* as it is in memory */
	small_map(&w);
	cas_result = -EINTR;
	CHECK_EQ((u64)wafer_walk(&w, 0x123, W), (u64)-EINTR);
}

TEST(accessed_and_dirty)
{
	struct wafer_walk w;

	small_map(&w);
	CHECK_EQ(wafer_walk(&w, 0, R), 0);
	CHECK_EQ(exchanges, 4);
	CHECK_EQ(ram.q[0x200], 0x2027);
	CHECK_EQ(ram.q[0x800], 0x7027);
	CHECK_EQ(wafer_walk(&w, 0, R), 0);
	CHECK_EQ(exchanges, 4);			/* nothing left to set */
	CHECK_EQ(wafer_walk(&w, 0, W), 0);
	CHECK_EQ(exchanges, 5);
	CHECK_EQ(ram.q[0x800], 0x7067);
	CHECK_EQ(ram.q[0x600], 0x4027);
	small_map(&w);
	CHECK_EQ(wafer_walk(&w, 0, W | WAFER_WALK_NO_AD), 0);
	CHECK_EQ(exchanges, 0);
	ram.q[0x800] = 0x7005;
	CHECK_EQ(wafer_walk(&w, 0, W), 1);	/* a fault sets nothing */
	CHECK_EQ(exchanges, 0);
}

/* Tables that point nowhere, and to themselves. */
TEST(nowhere)
{
	struct wafer_walk w;

	small_map(&w);
	ram.q[0x600] = 0xfee00007;
	CHECK_EQ((u64)both(&w, 0, R), (u64)-EFAULT);
	w.cr3 = 0xfffffff000;
	CHECK_EQ((u64)both(&w, 0, R), (u64)-EFAULT);
	/* no more than a read at a place that is not there */
	w.cr3 = ~0ull;
	w.phys_bits = 52;
	CHECK_EQ((u64)wafer_walk(&w, 0, R), (u64)-EFAULT);
	small_map(&w);
	ram.q[0x200] = 0x1007;			/* the top table maps itself */
	CHECK_EQ(both(&w, 0, W), 0);
	CHECK_EQ(w.gpa, 0x1000);
	CHECK_EQ(ram.q[0x200], 0x1067);
}

static u64 random_entry(void)
{
	u64 val = 1 | (rnd() & 0x66) | (rnd() % PAGES) << 12;

	if (rnd() % 4)
		val |= 6;
	if (rnd() % 4 == 0)
		val |= 0x80;
	if (rnd() % 8 == 0)
		val &= ~0xfff000ull;		/* an aligned large page */
	if (rnd() % 4 == 0)
		val |= rnd() & (0xfull << 59);
	if (rnd() % 8 == 0)
		val |= NX;
	if (rnd() % 16 == 0)
		val ^= 1ull << (rnd() & 63);
	if (rnd() % 32 == 0)
		val = rnd();
	return val;
}

/* Pages full of random entries that point at one another. */
TEST(random_tables)
{
	unsigned int i, j, done = 0;

	for (i = 0; i < 200; i++) {
		for (j = 0; j < ARRAY_SIZE(ram.q); j++)
			ram.q[j] = random_entry();
		if (i % 4 == 3)
			for (j = 0; j < ARRAY_SIZE(ram.l); j++)
				ram.l[j] = random_entry();
		for (j = 0; j < 1000; j++) {
			u64 cr4 = PAE | (rnd() & (SMEP | SMAP | PKE | LA57));
			struct wafer_walk w = start(PG | (rnd() & WP), cr4, LMA | (rnd() & NXE));
			static const u8 phys[] = { 36, 40, 46, 52 };

			if (i % 4 == 2)
				w.efer &= ~LMA;
			if (i % 4 == 3) {
				w.efer &= ~LMA;
				w.cr4 = rnd() & (PSE | SMEP | SMAP);
			}
			w.cr3 = rnd() % (PAGES * 4096);
			w.phys_bits = phys[rnd() % 4];
			w.has_1g = rnd() & 1;
			w.rflags_ac = rnd() & 1;
			w.pkru = rnd() & rnd();
			w.pdptr_from_memory = rnd() & 1;
			for (u64 k = 0; k < 4; k++)
				w.pdptr[k] = random_entry();
			done += !both(&w, w.efer & LMA ? rnd() : (u32)rnd(),
				      1u << rnd() % 3 | (rnd() & (USER | IMPL | WAFER_WALK_NO_AD)));
		}
	}
	CHECK_MSG(done > 5000, "only %u succeeded", done);
}

TAP_MAIN()
