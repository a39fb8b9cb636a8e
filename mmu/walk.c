// SPDX-License-Identifier: GPL-2.0
/*
 * Walks of the guest's own page tables, for accesses that are made on its behalf (SDM vol. 3 ch. 4,
 * APM vol. 2 ch. 5). Pure: memory is reached through callbacks, and nothing is kept.
 */
#include <linux/compiler.h>
#include <linux/minmax.h>
#include <linux/pgtable.h>
#include <asm/processor-flags.h>
#include <asm/trap_pf.h>

#include "emulate.h"

#define PTE_PKEY_SHIFT	59

#define RESTART		2	/* an entry changed under the walk */

/*
 * How often a walk begins again because an entry has changed. A guest that goes on changing them
 * beyond that loses accessed and dirty bits, and nobody else anything.
 */
#define MAX_RESTARTS	64

enum paging { PAGING_32, PAGING_PAE, PAGING_LONG };	/* the first two have 2 and 3 levels */

/* A walk in progress. */
struct walk {
	enum paging mode;
	bool user, write, fetch;
	unsigned int level, size;	/* of the current entry, and of any in bytes */
	unsigned int first_ad;		/* first of w->entries that has an accessed bit */
	u64 val;			/* the current entry */
	/* _PAGE_RW and _PAGE_USER where all entries have them, _PAGE_NX where one has */
	u64 rights;
};

/* Bits @low to @high; none if @low is above. */
static u64 bits(unsigned int high, unsigned int low)
{
	return low > high ? 0 : GENMASK_ULL(high, low);
}

/* SDM vol. 3 §4.3 (32-bit, PSE-36), §4.4.1, tables 4-8 to 4-11 (PAE), tables 4-14 to 4-20. */
static u64 reserved_bits(const struct wafer_walk *w, const struct walk *s, bool leaf)
{
	unsigned int phys = clamp_t(unsigned int, w->phys_bits, 32, 52);
	u64 res;

	if (s->mode == PAGING_32)
		return s->level == 2 && leaf ? bits(21, min(phys, 40u) - 19) : 0;
	if (s->mode == PAGING_PAE && s->level == 3)
		/*
		 * Bit 5 is reserved too, but where PDPTEs are read at each walk an emulated CPU may
		 * set it as an accessed bit (Documentation/emulator-bugs.md); a real one has
		 * refused the table before us.
		 */
		return bits(63, phys) | bits(8, w->pdptr_from_memory ? 6 : 5) | bits(2, 1);
	res = bits(s->mode == PAGING_PAE ? 62 : 51, phys) |
	      (w->efer & WAFER_EFER_NX ? 0 : _PAGE_NX);
	if (s->level > 3 || (s->level == 3 && !w->has_1g))
		res |= _PAGE_PSE;
	if (leaf && s->level > 1)
		res |= bits(s->level == 3 ? 29 : 20, 13);
	return res;
}

static bool is_leaf(const struct wafer_walk *w, const struct walk *s)
{
	if (s->level == 1 || !(s->val & _PAGE_PSE))
		return s->level == 1;
	if (s->mode == PAGING_32)
		return w->cr4 & X86_CR4_PSE;
	return s->level == 2 || (s->level == 3 && s->mode == PAGING_LONG && w->has_1g);
}

static int fault(struct wafer_walk *w, const struct walk *s, u32 error)
{
	error |= (s->write ? X86_PF_WRITE : 0) | (s->user ? X86_PF_USER : 0);
	if (s->fetch && (w->cr4 & X86_CR4_SMEP ||
			 (s->mode != PAGING_32 && w->efer & WAFER_EFER_NX)))
		error |= X86_PF_INSTR;
	w->error_code = error;
	return 1;
}

/* Down to the entry that maps the page; s->level is the topmost before, the page's after. */
static int find_leaf(struct wafer_walk *w, struct walk *s, gva_t gva)
{
	unsigned int width = s->mode == PAGING_32 ? 10 : 9;
	u64 index, table = w->cr3 & (s->mode == PAGING_LONG ? bits(51, 12) :
				     s->mode == PAGING_PAE ? bits(31, 5) : bits(31, 12));
	bool leaf, pdpte;
	int ret;

	for (;; s->level--, table = s->val & bits(51, 12)) {
		pdpte = s->mode == PAGING_PAE && s->level == 3;
		index = gva >> (12 + width * (s->level - 1)) & (pdpte ? 3 : (1u << width) - 1);
		s->val = 0;
		if (pdpte && !w->pdptr_from_memory) {
			s->val = w->pdptr[index];
		} else {
			ret = w->read_entry(w->ctx, table + index * s->size, s->size, &s->val);
			if (ret)
				return ret;
			w->entries[w->nr_entries].gpa = table + index * s->size;
			w->entries[w->nr_entries++].val = s->val;
		}
		if (!(s->val & _PAGE_PRESENT))
			return fault(w, s, 0);
		leaf = is_leaf(w, s);
		if (s->val & reserved_bits(w, s, leaf))
			return fault(w, s, X86_PF_PROT | X86_PF_RSVD);
		if (pdpte)
			s->first_ad = w->nr_entries;	/* a PDPTE there has no rights and no A */
		else
			s->rights = (s->rights & (s->val | _PAGE_NX)) | (s->val & _PAGE_NX);
		if (leaf)
			return 0;
	}
}

/* SDM vol. 3 §4.6.1 and 4.6.2. */
static int check_rights(struct wafer_walk *w, const struct walk *s, u32 access)
{
	bool wp = s->user || w->cr0 & X86_CR0_WP, user_page = s->rights & _PAGE_USER;
	u32 key, error = 0;

	if (!(access & (WAFER_FAULT_READ | WAFER_FAULT_WRITE | WAFER_FAULT_FETCH)))
		return 0;
	if ((s->user && !user_page) || (s->write && wp && !(s->rights & _PAGE_RW)))
		error = X86_PF_PROT;
	if (s->fetch) {
		if (s->rights & _PAGE_NX || (!s->user && user_page && w->cr4 & X86_CR4_SMEP))
			error = X86_PF_PROT;
	} else if (user_page) {
		if (!s->user && w->cr4 & X86_CR4_SMAP &&
		    (access & WAFER_WALK_IMPLICIT || !w->rflags_ac))
			error = X86_PF_PROT;
		key = w->pkru >> (s->val >> PTE_PKEY_SHIFT & 15) * 2 & 3;
		if (s->mode == PAGING_LONG && w->cr4 & X86_CR4_PKE &&
		    (key & 1 || (key & 2 && s->write && wp)))
			error |= X86_PF_PROT | X86_PF_PK;
	}
	return error ? fault(w, s, error) : 0;
}

/*
 * Sets the accessed bits, and the dirty bit of the last entry, that are not set yet. The exchange
 * fails if anybody has changed the entry since it was read: then what it says now decides.
 */
static int set_accessed_dirty(struct wafer_walk *w, const struct walk *s)
{
	u64 old, new;
	int ret;

	for (unsigned int i = s->first_ad; i < w->nr_entries; i++) {
		old = w->entries[i].val;
		new = old | _PAGE_ACCESSED;
		if (s->write && i == w->nr_entries - 1)
			new |= _PAGE_DIRTY;
		if (likely(new == old))
			continue;
		ret = w->cas_entry(w->ctx, w->entries[i].gpa, s->size, old, new);
		if (!ret)
			w->entries[i].val = new;
		else if (ret != -EFAULT)
			return ret == -EAGAIN ? RESTART : ret;
	}
	return 0;
}

static int walk_once(struct wafer_walk *w, gva_t gva, u32 access, bool set_ad)
{
	struct walk s = {
		.mode = w->efer & WAFER_EFER_LMA ? PAGING_LONG :
			w->cr4 & X86_CR4_PAE ? PAGING_PAE : PAGING_32,
		.user = access & WAFER_WALK_USER && !(access & WAFER_WALK_IMPLICIT),
		.write = access & WAFER_FAULT_WRITE, .fetch = access & WAFER_FAULT_FETCH,
		.rights = _PAGE_RW | _PAGE_USER,
	};
	unsigned int shift;
	int ret;

	s.level = s.mode == PAGING_LONG ? (w->cr4 & X86_CR4_LA57 ? 5 : 4) : 2 + s.mode;
	s.size = s.mode == PAGING_32 ? 4 : 8;
	w->nr_entries = 0;
	ret = find_leaf(w, &s, gva) ?: check_rights(w, &s, access) ?:
	      (set_ad ? set_accessed_dirty(w, &s) : 0);
	if (ret)
		return ret;
	shift = 12 + (s.mode == PAGING_32 ? 10 : 9) * (s.level - 1);
	w->page_size = BIT_ULL(shift);
	w->gpa = (s.val & bits(51, shift)) | (gva & (w->page_size - 1));
	if (s.mode == PAGING_32 && s.level == 2)		/* PSE-36 */
		w->gpa |= (s.val & bits(20, 13)) << (32 - 13);
	w->writable = s.rights & _PAGE_RW;
	w->user = s.rights & _PAGE_USER;
	return 0;
}

int wafer_walk(struct wafer_walk *w, gva_t gva, u32 access)
{
	int ret = RESTART;

	w->error_code = 0;
	if (!(w->cr0 & X86_CR0_PG)) {
		w->nr_entries = 0;
		w->gpa = gva;
		w->page_size = 4096;
		w->writable = true;
		w->user = true;
		return 0;
	}
	for (unsigned int tries = 0; tries <= MAX_RESTARTS && ret == RESTART; tries++)
		ret = walk_once(w, gva, access, tries < MAX_RESTARTS &&
				!(access & WAFER_WALK_NO_AD));
	return ret;
}
