// SPDX-License-Identifier: GPL-2.0
/* Fetching the instruction at RIP, and keeping the way to it. */
#include <linux/mm.h>
#include <linux/string.h>

#include "fetch.h"

/*
 * One of the ways further back comes first, if it leads to @gva, and vcpu->emu.insn is what was
 * decoded there.
 */
static noinline bool other_way(struct wafer_vcpu *vcpu, gva_t gva)
{
	struct wafer_fetch *f = vcpu->fetch;

	for (int i = 1; i < WAFER_FETCHES; i++) {
		if (!wafer_on_the_way(vcpu, &f[i], gva))
			continue;
		swap(f[0], f[i]);
		vcpu->emu.insn = f->insn;
		return true;
	}
	return false;
}

/*
 * Keeps the way to the code page at @gva, which has just been fetched from. 64-bit paging, or none.
 */
static void remember(struct wafer_vcpu *vcpu, gva_t gva)
{
	struct wafer_fetch *f = vcpu->fetch;
	struct wafer_event unused;
	struct wafer_walk w;
	gpa_t gpa;

	if (!wafer_on_the_way(vcpu, f, gva & PAGE_MASK))
		f[1 + vcpu->fetch_victim++ % (WAFER_FETCHES - 1)] = *f;
	f->key = WAFER_CODE_NONE;
	if (wafer_translate_walk(vcpu, gva & PAGE_MASK, WAFER_FAULT_FETCH, &gpa, &unused, &w) ||
	    (w.nr_entries && !(w.efer & WAFER_EFER_LMA)) ||
	    !wafer_direct_keep(&vcpu->fault, &w, &f->way))
		return;
	f->page = gva & PAGE_MASK;
	f->cr3 = w.cr3;
	f->mode = wafer_code_mode(vcpu);
	f->key = vcpu->exit.code;
	f->insn = vcpu->emu.insn;
}

/* At once when what they were found with changes; see fetch.h. */
void wafer_forget_ways(struct wafer_vcpu *vcpu)
{
	for (int i = 0; i < WAFER_FETCHES; i++)
		vcpu->fetch[i].key = WAFER_CODE_NONE;
}

/* Reads @n bytes at linear @gva, all in one page. */
static int fetch_bytes(struct wafer_vcpu *vcpu, gva_t gva, u8 *buf, unsigned int n)
{
	gpa_t gpa;
	int r = wafer_translate(vcpu, gva, WAFER_FAULT_FETCH, &gpa, NULL);

	return r ?: wafer_copy_guest(vcpu, gpa, buf, n, false);
}

/*
 * Fetches and decodes the instruction at RIP. The CPU has fetched it a moment ago, but another vCPU
 * may have changed code or tables since: faults are possible and are the guest's.
 *
 * 0; 1: an event was queued; -EAGAIN: not to be had in the window; -errno.
 */
static noinline int fetch_insn(struct wafer_vcpu *vcpu, struct wafer_insn *insn)
{
	struct wafer_fetch *f = vcpu->fetch;
	enum wafer_code_mode mode;
	union {
		u64 q[FETCHED / 8];
		u8 b[FETCHED];
	} bytes;
	unsigned int n, more;
	u8 *buf = bytes.b;
	gva_t gva;
	int r;

	wafer_need(vcpu, WAFER_WAY_GROUPS | WAFER_G_SEG(WAFER_CS) | WAFER_G_SEG(WAFER_SS));
	mode = wafer_code_mode(vcpu);
	gva = vcpu->arch.rip;
	if (mode != WAFER_CODE64)
		gva = (u32)(gva + wafer_seg(vcpu, WAFER_CS)->base);
	if (vcpu->loaded && (wafer_on_the_way(vcpu, f, gva) || other_way(vcpu, gva))) {
		if (wafer_as_decoded(vcpu, gva))
			return 0;
		if (wafer_direct_read(&vcpu->fault, &f->way, gva - f->page, bytes.q) &&
		    !wafer_insn_decode(insn, buf, WAFER_INSN_MAX, mode)) {
			f->insn = *insn;
			return 0;
		}
	}
	/* From the second page only what is not all in the first. */
	for (n = 0, r = -EAGAIN; r == -EAGAIN; n += more, gva += more) {
		if (mode != WAFER_CODE64)
			gva = (u32)gva;
		more = min_t(unsigned int, WAFER_INSN_MAX - n, PAGE_SIZE - (gva & ~PAGE_MASK));
		r = fetch_bytes(vcpu, gva, buf + n, more);
		if (r)
			return r;
		r = wafer_insn_decode(insn, buf, n + more, mode);
	}
	if (r) {
		/*
		 * Not an instruction: changed under us, or one that only the CPU knows. It decides
		 * if run again.
		 */
		wafer_queue_ud(vcpu);
		return 1;
	}
	if (vcpu->loaded)
		remember(vcpu, gva - more);
	return 0;
}

/**
 * wafer_decode_exit() - have the exiting instruction decoded in vcpu->emu.insn, its length in the
 * exit
 * @vcpu: vCPU, in the window or not
 *
 * Return: WAFER_DECODED: go on with the handler; else it is to return this.
 */
int wafer_decode_exit(struct wafer_vcpu *vcpu)
{
	struct wafer_insn *insn = &vcpu->emu.insn;
	int r;

	if (vcpu->loaded &&
	    (wafer_same_insn(vcpu) ||
	     (!(vcpu->exit.code & WAFER_CODE_BASED) && other_way(vcpu, vcpu->arch.rip) &&
	      wafer_same_insn(vcpu))))
		return WAFER_DECODED;
	r = fetch_insn(vcpu, insn);
	vcpu->exit.len = r ? 0 : insn->len;
	if (r >= 0)
		return r ? WAFER_GO_ON : WAFER_DECODED;
	return r == -EAGAIN && vcpu->loaded ? WAFER_RETRY_SLOW : wafer_emulation_failure(vcpu);
}
