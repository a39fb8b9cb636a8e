/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The length of the instruction that exited, where it is the one that was decoded last: what most
 * exits of a CPU that tells no lengths come to, and inline in the run loop for that. The rest is in
 * fetch.c.
 *
 * A guest that exits does so at few places, so the ways to the last code pages are kept: pointers
 * to the guest's own page-table entries with the values that they had, and to the page. Since
 * INVLPG and loads of CR3 never exit, such a way is only good while every entry still says the
 * same; and since the host may take any of those pages, only in a fault section of the same
 * generation (direct.h).
 *
 * It is for 64-bit paging, or none. What of CR0, CR4 and EFER matters to a walk there (PG, LA57,
 * NXE) changes by an exit alone, and then all ways are forgotten; or is in exit.code (PG on VT-x).
 */
#ifndef WAFER_FETCH_H
#define WAFER_FETCH_H

#include "core.h"

/* What wafer_direct_read() reads. */
#define FETCHED 16

/* WAFER_WAY_GROUPS are there. Does the way lead to @gva, if its entries are still the same? */
static __always_inline bool wafer_on_the_way(const struct wafer_vcpu *vcpu,
					     const struct wafer_fetch *f, gva_t gva)
{
	return f->key == vcpu->exit.code && gva - f->page <= PAGE_SIZE - FETCHED &&
	       f->cr3 == vcpu->arch.cr3;
}

/*
 * On the way: bytes that were decoded last time for this mode need no decoding again. All but a few
 * instructions have at most 8.
 */
static __always_inline bool wafer_as_decoded(struct wafer_vcpu *vcpu, gva_t gva)
{
	const struct wafer_insn *insn = &vcpu->emu.insn;
	const struct wafer_fetch *f = vcpu->fetch;

	return (u8)(insn->len - 1) < 8 && insn->mode == f->mode &&
	       wafer_direct_same(&vcpu->fault, &f->way, gva - f->page,
				 *(const u64 *)insn->bytes, insn->len);
}

/* In the window. True: vcpu->emu.insn is the instruction at RIP, and its length is in the exit. */
static __always_inline bool wafer_same_insn(struct wafer_vcpu *vcpu)
{
	gva_t rip;

	wafer_need(vcpu, WAFER_WAY_GROUPS);
	rip = vcpu->arch.rip;
	if (unlikely(vcpu->exit.code & WAFER_CODE_BASED ||
		     !wafer_on_the_way(vcpu, vcpu->fetch, rip) || !wafer_as_decoded(vcpu, rip)))
		return false;
	vcpu->exit.len = vcpu->emu.insn.len;
	return true;
}

#endif
