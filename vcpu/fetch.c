// SPDX-License-Identifier: GPL-2.0
/*
 * Fetching the instruction at RIP.
 *
 * A guest that exits does so at few places, so the way to the last code page is kept: pointers to the guest's own
 * page-table entries with the values that they had, and to the page. Since INVLPG and loads of CR3 never exit, it is
 * only good while every entry still says the same; and since the host may take any of those pages, only in a fault
 * section of the same generation (mmu/direct.c).
 */
#include <linux/mm.h>
#include <linux/string.h>

#include "core.h"

/* What the way depends on besides memory. One call where the registers are not read yet. */
#define FETCH_GROUPS (WAFER_G_RIP | WAFER_G_SEG(WAFER_CS) | WAFER_G_SEG(WAFER_SS) | WAFER_G_CR0 | WAFER_G_CR3 | \
		      WAFER_G_CR4 | WAFER_G_EFER)

/*
 * The instruction at @gva by the way that is known. Bytes that were decoded last time for this mode need no decoding
 * again. False: another page, changed entries, the page's end.
 */
static bool cached(struct wafer_vcpu *vcpu, gva_t gva, struct wafer_insn *insn, enum wafer_code_mode mode)
{
	const struct wafer_fetch *f = &vcpu->fetch;
	const struct wafer_walk *w = &f->way;
	const struct wafer_arch *a = &vcpu->arch;
	unsigned int offset = gva & ~PAGE_MASK, i;
	unsigned long seq;
	bool good;

	if (!f->code || f->page != (gva & PAGE_MASK) || offset > PAGE_SIZE - WAFER_INSN_MAX || w->cr3 != a->cr3 ||
	    w->cr0 != a->cr0 || w->cr4 != a->cr4 || w->efer != a->efer || f->cpl != wafer_cpl(vcpu) ||
	    !wafer_direct_begin(&vcpu->fault, &seq))
		return false;
	good = seq == f->seq;
	for (i = 0; good && i < w->nr_entries; i++)
		good = READ_ONCE(*f->entry[i]) == w->entries[i].val;
	if (good && (insn->mode != mode || !insn->len || memcmp(insn->bytes, f->code + offset, insn->len))) {
		u8 buf[WAFER_INSN_MAX];

		memcpy(buf, f->code + offset, sizeof(buf));	/* the guest may change it between two looks */
		good = !wafer_insn_decode(insn, buf, sizeof(buf), mode);
	}
	wafer_direct_end(&vcpu->fault);
	return good;
}

/* Keeps the way to the code page at @gva, which has just been fetched from. 64-bit paging, or none. */
static void remember(struct wafer_vcpu *vcpu, gva_t gva)
{
	struct wafer_fetch *f = &vcpu->fetch;
	struct wafer_walk *w = &f->way;
	struct wafer_event unused;
	const void *table = f;
	unsigned int i;
	gpa_t gpa;

	f->code = NULL;
	if (wafer_translate_walk(vcpu, gva & PAGE_MASK, WAFER_FAULT_FETCH, &gpa, &unused, w) ||
	    (w->nr_entries && !(w->efer & WAFER_EFER_LMA)) || !wafer_direct_begin(&vcpu->fault, &f->seq))
		return;
	for (i = 0; i < w->nr_entries && table; i++) {
		table = wafer_direct(&vcpu->fault, w->entries[i].gpa >> PAGE_SHIFT);
		f->entry[i] = table + (w->entries[i].gpa & ~PAGE_MASK);
	}
	f->page = gva & PAGE_MASK;
	f->cpl = wafer_cpl(vcpu);
	f->code = table ? wafer_direct(&vcpu->fault, gpa >> PAGE_SHIFT) : NULL;
	wafer_direct_end(&vcpu->fault);
}

/* Reads @n bytes at linear @gva, all in one page. */
static int fetch_bytes(struct wafer_vcpu *vcpu, gva_t gva, u8 *buf, unsigned int n)
{
	gpa_t gpa;
	int r = wafer_translate(vcpu, gva, WAFER_FAULT_FETCH, &gpa, NULL);

	return r ?: wafer_copy_guest(vcpu, gpa, buf, n, false);
}

/*
 * Fetches and decodes the instruction at RIP. The CPU has fetched it a moment ago, but another vCPU may have changed
 * code or tables since: faults are possible and are the guest's.
 *
 * 0; 1: an event was queued; -EAGAIN: not to be had in the window; -errno.
 */
static int fetch_insn(struct wafer_vcpu *vcpu, struct wafer_insn *insn)
{
	enum wafer_code_mode mode;
	u8 buf[WAFER_INSN_MAX];
	unsigned int n;
	gva_t gva;
	int r;

	wafer_need(vcpu, FETCH_GROUPS);
	mode = wafer_code_mode(vcpu);
	gva = vcpu->arch.rip;
	if (mode != WAFER_CODE64)
		gva = (u32)(gva + wafer_seg(vcpu, WAFER_CS)->base);
	if (vcpu->loaded && cached(vcpu, gva, insn, mode))
		return 0;
	n = min_t(unsigned int, WAFER_INSN_MAX, PAGE_SIZE - (gva & ~PAGE_MASK));
	r = fetch_bytes(vcpu, gva, buf, n);
	if (r)
		return r;
	r = wafer_insn_decode(insn, buf, n, mode);
	if (r == -EAGAIN) {
		gva += n;
		if (mode != WAFER_CODE64)
			gva = (u32)gva;
		r = fetch_bytes(vcpu, gva, buf + n, WAFER_INSN_MAX - n);
		if (r)
			return r;
		r = wafer_insn_decode(insn, buf, WAFER_INSN_MAX, mode);
	}
	if (r) {
		/* Not an instruction: changed under us, or one that only the CPU knows. It decides if run again. */
		wafer_queue_ud(vcpu);
		return 1;
	}
	if (vcpu->loaded)
		remember(vcpu, gva);
	return 0;
}

/**
 * wafer_decode_exit() - have the exiting instruction decoded in vcpu->emu.insn, its length in the exit
 * @vcpu: vCPU, in the window or not
 *
 * Return: WAFER_DECODED: go on with the handler; else it is to return this.
 */
int wafer_decode_exit(struct wafer_vcpu *vcpu)
{
	int r = fetch_insn(vcpu, &vcpu->emu.insn);

	vcpu->exit.len = r ? 0 : vcpu->emu.insn.len;
	if (r >= 0)
		return r ? WAFER_GO_ON : WAFER_DECODED;
	return r == -EAGAIN && vcpu->loaded ? WAFER_RETRY_SLOW : wafer_emulation_failure(vcpu);
}
