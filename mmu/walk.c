// SPDX-License-Identifier: GPL-2.0
/*
 * Walks of the guest's own page tables, for accesses that are made on its behalf (SDM vol. 3 ch. 4,
 * APM vol. 2 ch. 5). Pure: memory is reached through callbacks, and nothing is kept.
 */
#include <linux/bits.h>
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/minmax.h>

#include "emulate.h"

#define CR0_WP		BIT_ULL(16)
#define CR0_PG		BIT_ULL(31)
#define CR4_PSE		BIT_ULL(4)
#define CR4_PAE		BIT_ULL(5)
#define CR4_LA57	BIT_ULL(12)
#define CR4_SMEP	BIT_ULL(20)
#define CR4_SMAP	BIT_ULL(21)
#define CR4_PKE		BIT_ULL(22)
#define EFER_LMA	BIT_ULL(10)
#define EFER_NXE	BIT_ULL(11)

#define PTE_P		BIT_ULL(0)
#define PTE_W		BIT_ULL(1)
#define PTE_U		BIT_ULL(2)
#define PTE_A		BIT_ULL(5)
#define PTE_D		BIT_ULL(6)
#define PTE_PS		BIT_ULL(7)
#define PTE_NX		BIT_ULL(63)
#define PTE_PKEY_SHIFT	59

/* Page-fault error code (SDM vol. 3 §4.7). */
#define PF_P		BIT(0)
#define PF_W		BIT(1)
#define PF_U		BIT(2)
#define PF_RSVD		BIT(3)
#define PF_I		BIT(4)
#define PF_PK		BIT(5)

#define RESTART		2	/* an entry changed under the walk */

/*
 * How often a walk begins again because an entry has changed. A guest that goes on changing them
 * beyond that loses accessed and dirty bits, and nobody else anything.
 */
#define MAX_RESTARTS	64

enum paging { PAGING_32, PAGING_PAE, PAGING_LONG };

/* A walk in progress. */
struct walk {
	enum paging mode;
	bool user, write, fetch;
	unsigned int first_ad;	/* first of w->entries that has an accessed bit */
	u64 val;		/* the current entry */
	/* PTE_W and PTE_U where all entries have them, PTE_NX where one has */
	u64 rights;
};

static enum paging paging_mode(const struct wafer_walk *w)
{
	if (w->efer & EFER_LMA)
		return PAGING_LONG;
	return w->cr4 & CR4_PAE ? PAGING_PAE : PAGING_32;
}

/* Bits @low to @high; none if @low is above. */
static u64 bits(unsigned int high, unsigned int low)
{
	return low > high ? 0 : GENMASK_ULL(high, low);
}

/* SDM vol. 3 §4.3 (32-bit, PSE-36), §4.4.1, tables 4-8 to 4-11 (PAE), tables 4-14 to 4-20. */
static u64 reserved_bits(const struct wafer_walk *w, enum paging mode, unsigned int level,
			 bool leaf)
{
	unsigned int phys = clamp_t(unsigned int, w->phys_bits, 32, 52);
	u64 res;

	if (mode == PAGING_32)
		return level == 2 && leaf ? bits(21, min(phys, 40u) - 19) : 0;
	if (mode == PAGING_PAE && level == 3)
		/*
		 * Bit 5 is reserved too, but where PDPTEs are read at each walk an emulated CPU may
		 * set it as an accessed bit (Documentation/emulator-bugs.md); a real one has
		 * refused the table before us.
		 */
		return bits(63, phys) | bits(8, w->pdptr_from_memory ? 6 : 5) | bits(2, 1);
	res = bits(mode == PAGING_PAE ? 62 : 51, phys);
	if (!(w->efer & EFER_NXE))
		res |= PTE_NX;
	if (level > 3 || (level == 3 && !w->has_1g))
		res |= PTE_PS;
	if (leaf && level == 3)
		res |= bits(29, 13);
	if (leaf && level == 2)
		res |= bits(20, 13);
	return res;
}

static bool is_leaf(const struct wafer_walk *w, enum paging mode, unsigned int level, u64 val)
{
	if (level == 1)
		return true;
	if (!(val & PTE_PS))
		return false;
	if (mode == PAGING_32)
		return w->cr4 & CR4_PSE;
	return level == 2 || (level == 3 && mode == PAGING_LONG && w->has_1g);
}

static int fault(struct wafer_walk *w, const struct walk *s, u32 error)
{
	error |= (s->write ? PF_W : 0) | (s->user ? PF_U : 0);
	if (s->fetch && (w->cr4 & CR4_SMEP || (s->mode != PAGING_32 && w->efer & EFER_NXE)))
		error |= PF_I;
	w->error_code = error;
	return 1;
}

/* Fetches the entry of one level into s->val and notes it. */
static int read_entry(struct wafer_walk *w, struct walk *s, unsigned int level, u64 table,
		      u64 index)
{
	unsigned int size = s->mode == PAGING_32 ? 4 : 8;
	int ret;

	if (s->mode == PAGING_PAE && level == 3 && !w->pdptr_from_memory) {
		s->val = w->pdptr[index];
		return 0;
	}
	s->val = 0;
	ret = w->read_entry(w->ctx, table + index * size, size, &s->val);
	if (ret)
		return ret;
	w->entries[w->nr_entries].gpa = table + index * size;
	w->entries[w->nr_entries].val = s->val;
	w->nr_entries++;
	return 0;
}

/* Down to the entry that maps the page. @level: in: the topmost; out: the page's. */
static int find_leaf(struct wafer_walk *w, struct walk *s, gva_t gva, unsigned int *level)
{
	unsigned int width = s->mode == PAGING_32 ? 10 : 9, index;
	u64 table = w->cr3 & bits(51, 12);
	bool leaf;
	int ret;

	if (s->mode == PAGING_PAE)
		table = w->cr3 & bits(31, 5);
	else if (s->mode == PAGING_32)
		table = w->cr3 & bits(31, 12);
	for (;; --*level) {
		index = gva >> (12 + width * (*level - 1)) & ((1u << width) - 1);
		if (s->mode == PAGING_PAE && *level == 3)
			index &= 3;
		ret = read_entry(w, s, *level, table, index);
		if (ret)
			return ret;
		if (!(s->val & PTE_P))
			return fault(w, s, 0);
		leaf = is_leaf(w, s->mode, *level, s->val);
		if (s->val & reserved_bits(w, s->mode, *level, leaf))
			return fault(w, s, PF_P | PF_RSVD);
		if (s->mode == PAGING_PAE && *level == 3) {
			s->first_ad = w->nr_entries;	/* a PDPTE there has no rights and no A */
		} else {
			s->rights &= s->val | PTE_NX;
			s->rights |= s->val & PTE_NX;
		}
		if (leaf)
			return 0;
		table = s->val & bits(51, 12);
	}
}

/* SDM vol. 3 §4.6.1 and 4.6.2. */
static int check_rights(struct wafer_walk *w, const struct walk *s, u32 access)
{
	bool wp = s->user || w->cr0 & CR0_WP;
	bool user_page = s->rights & PTE_U;
	u32 key, error = 0;

	if (!(access & (WAFER_FAULT_READ | WAFER_FAULT_WRITE | WAFER_FAULT_FETCH)))
		return 0;
	if (s->user && !user_page)
		error = PF_P;
	if (s->write && wp && !(s->rights & PTE_W))
		error = PF_P;
	if (s->fetch) {
		if (s->rights & PTE_NX || (!s->user && user_page && w->cr4 & CR4_SMEP))
			error = PF_P;
	} else if (user_page) {
		if (!s->user && w->cr4 & CR4_SMAP &&
		    (access & WAFER_WALK_IMPLICIT || !w->rflags_ac))
			error = PF_P;
		if (s->mode == PAGING_LONG && w->cr4 & CR4_PKE) {
			key = w->pkru >> (s->val >> PTE_PKEY_SHIFT & 15) * 2 & 3;
			if (key & 1 || (key & 2 && s->write && wp))
				error |= PF_P | PF_PK;
		}
	}
	return error ? fault(w, s, error) : 0;
}

/*
 * Sets the accessed bits, and the dirty bit of the last entry, that are not set yet. The exchange
 * fails if anybody has changed the entry since it was read: then what it says now decides.
 */
static int set_accessed_dirty(struct wafer_walk *w, const struct walk *s)
{
	unsigned int i, size = s->mode == PAGING_32 ? 4 : 8;
	u64 old, new;
	int ret;

	for (i = s->first_ad; i < w->nr_entries; i++) {
		old = w->entries[i].val;
		new = old | PTE_A;
		if (s->write && i == w->nr_entries - 1)
			new |= PTE_D;
		if (likely(new == old))
			continue;
		ret = w->cas_entry(w->ctx, w->entries[i].gpa, size, old, new);
		if (ret == -EAGAIN)
			return RESTART;
		if (!ret)
			w->entries[i].val = new;
		else if (ret != -EFAULT)
			return ret;
	}
	return 0;
}

static void set_result(struct wafer_walk *w, const struct walk *s, gva_t gva, unsigned int level)
{
	unsigned int shift = 12 + (s->mode == PAGING_32 ? 10 : 9) * (level - 1);

	w->page_size = BIT_ULL(shift);
	w->gpa = (s->val & bits(51, shift)) | (gva & (w->page_size - 1));
	if (s->mode == PAGING_32 && level == 2)		/* PSE-36 */
		w->gpa |= (s->val & bits(20, 13)) << (32 - 13);
	w->writable = s->rights & PTE_W;
	w->user = s->rights & PTE_U;
}

static int walk_once(struct wafer_walk *w, gva_t gva, u32 access, bool set_ad)
{
	struct walk s = {
		.mode = paging_mode(w),
		.user = access & WAFER_WALK_USER && !(access & WAFER_WALK_IMPLICIT),
		.write = access & WAFER_FAULT_WRITE,
		.fetch = access & WAFER_FAULT_FETCH,
		.rights = PTE_W | PTE_U,
	};
	unsigned int level = s.mode == PAGING_32 ? 2 : s.mode == PAGING_PAE ? 3 :
		w->cr4 & CR4_LA57 ? 5 : 4;
	int ret;

	w->nr_entries = 0;
	ret = find_leaf(w, &s, gva, &level);
	if (!ret)
		ret = check_rights(w, &s, access);
	if (!ret && set_ad)
		ret = set_accessed_dirty(w, &s);
	if (!ret)
		set_result(w, &s, gva, level);
	return ret;
}

int wafer_walk(struct wafer_walk *w, gva_t gva, u32 access)
{
	bool set_ad = !(access & WAFER_WALK_NO_AD);
	unsigned int tries;
	int ret;

	w->error_code = 0;
	if (!(w->cr0 & CR0_PG)) {
		w->nr_entries = 0;
		w->gpa = gva;
		w->page_size = 4096;
		w->writable = true;
		w->user = true;
		return 0;
	}
	for (tries = 0; tries < MAX_RESTARTS; tries++) {
		ret = walk_once(w, gva, access, set_ad);
		if (ret != RESTART)
			return ret;
	}
	return walk_once(w, gva, access, false);
}
