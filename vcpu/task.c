// SPDX-License-Identifier: GPL-2.0
/* Hardware task switches, and loading a segment register. See include/task.h. */
#include "insn.h"
#include "task.h"

enum { TRAP_TS = 10, TRAP_NP, TRAP_SS, TRAP_GP };

#define FLAGS_DEFINED	0x3f7fd5u
#define DR7_LOCAL	0x155u			/* L0 to L3, LE */

/* BUSY is a bit of the types of a TSS: 1, 3, 9, 11. */
enum { TYPE_LDT = 2, TYPE_BUSY = 2, TYPE_TASK_GATE = 5, TYPE_32BIT = 8 };

/*
 * A 32-bit TSS as an array of words (SDM vol. 3 figure 8-2). General and segment registers are in
 * the order of their encoding. The halves of a 16-bit one (figure 8-10) are the same from IP to DS,
 * but one place earlier; the LDT follows.
 */
enum { TSS_CR3 = 7, TSS_EIP, TSS_EFLAGS, TSS_GPR, TSS_SEG = 18, TSS_LDT = 24, TSS_TRAP, TSS_WORDS };
enum { TSS16_IP = TSS_EIP - 1, TSS16_LDT = 21, TSS16_HALVES };

/* A descriptor and where it lies. */
struct descriptor {
	u64 raw;
	gva_t gva;
	struct wafer_segment seg;
};

static int raise(struct wafer_task *t, u8 vector, u16 selector)
{
	t->event = (struct wafer_event){
		.kind = WAFER_EV_EXCEPTION, .vector = vector, .has_error = true,
		.error = (selector & 0xfffc) | t->external,
	};
	return 1;
}

/* Tables and TSSs. */
static int get(struct wafer_task *t, u64 gva, void *data, unsigned int len)
{
	return t->ops->access(t, t->long_mode ? gva : (u32)gva, data, len,
			      WAFER_FAULT_READ | WAFER_WALK_IMPLICIT);
}

static int put(struct wafer_task *t, u64 gva, void *data, unsigned int len)
{
	return t->ops->access(t, t->long_mode ? gva : (u32)gva, data, len,
			      WAFER_FAULT_WRITE | WAFER_WALK_IMPLICIT);
}


/* Is it a TSS, LDT or gate of this type? */
static bool is_system(const struct wafer_segment *seg, u32 type)
{
	return (seg->attr & (WAFER_SEG_S | WAFER_SEG_TYPE)) == type;
}

/* Reads the descriptor of @selector (SDM vol. 3 figure 3-8). @vector: if there is none. */
static int read_descriptor(struct wafer_task *t, u16 selector, u8 vector, struct descriptor *d)
{
	const struct wafer_segment *ldt = &t->arch->seg[WAFER_LDTR];
	bool local = selector & 4;
	u32 offset = selector & 0xfff8;
	u64 raw = 0;
	int ret;

	if (offset + 7 > (local ? ldt->limit : t->arch->gdt.limit) ||
	    (local && ldt->attr & WAFER_SEG_UNUSABLE))
		return raise(t, vector, selector);
	d->gva = (local ? ldt->base : t->arch->gdt.base) + offset;
	ret = get(t, d->gva, &raw, 8);
	d->raw = raw;
	d->seg = (struct wafer_segment){
		.base = (raw >> 16 & 0xffffff) | (raw >> 32 & 0xff000000),
		.limit = (raw & 0xffff) | (raw >> 32 & 0xf0000),
		.attr = raw >> 40 & 0xf0ff, .selector = selector,
	};
	if (d->seg.attr & WAFER_SEG_G)
		d->seg.limit = d->seg.limit << 12 | 0xfff;
	return ret;
}

/* Changes the byte with the type; @probe: could it be changed? */
static int put_type(struct wafer_task *t, const struct descriptor *d, u8 set, u8 clear, bool probe)
{
	u8 byte = ((d->raw >> 40) | set) & ~clear;

	return put(t, d->gva + 5, probe ? NULL : &byte, 1);
}

/* INT n needs the gate's permission. The CPU has found a task gate, but has not asked this. */
static int check_gate(struct wafer_task *t)
{
	u32 offset = t->soft_vector * 8;
	u8 byte;
	int ret;

	if (t->soft_vector < 0)
		return 0;
	if (offset + 7 <= t->arch->idt.limit) {
		ret = get(t, t->arch->idt.base + offset + 5, &byte, 1);
		if (ret)
			return ret;
		if ((byte & 0x1f) == TYPE_TASK_GATE &&
		    byte >> 5 >= wafer_dpl(&t->arch->seg[WAFER_SS]) + 4)
			return 0;		/* present, and DPL at least CPL */
	}
	raise(t, TRAP_GP, offset);
	t->event.error |= 2;				/* of the IDT */
	return 1;
}

/* Lines 1 to 5 of table 8-1. */
static int find_tss(struct wafer_task *t, struct descriptor *d)
{
	bool iret = t->cause == WAFER_TASK_IRET;
	u8 bad = iret ? TRAP_TS : TRAP_GP;
	u32 wide;
	int ret;

	if (t->selector & 4 || !(t->selector & 0xfff8))
		return raise(t, bad, t->selector);
	ret = read_descriptor(t, t->selector, bad, d);
	if (ret)
		return ret;
	wide = d->seg.attr & TYPE_32BIT;
	if (!is_system(&d->seg, wide | 1 | (iret ? TYPE_BUSY : 0)))
		return raise(t, bad, t->selector);
	if (!(d->seg.attr & WAFER_SEG_P))
		return raise(t, TRAP_NP, t->selector);
	if (d->seg.limit < (wide ? 4 * TSS_WORDS : 2 * TSS16_HALVES) - 1)
		return raise(t, TRAP_TS, t->selector);
	return 0;
}

/* Whatever its format, as 32-bit words. */
static int read_tss(struct wafer_task *t, const struct wafer_segment *tss, u32 *word)
{
	u16 half[TSS16_HALVES] = { 0 };
	int ret;

	if (tss->attr & TYPE_32BIT)
		return get(t, tss->base, word, 4 * TSS_WORDS);
	ret = get(t, tss->base, half, sizeof(half));
	memset(word, 0, 4 * TSS_WORDS);
	for (unsigned int i = TSS16_IP; i < TSS16_LDT; i++)
		word[i + 1] = half[i];
	word[TSS_LDT] = half[TSS16_LDT];
	return ret;
}

/*
 * All that is written while the old task is still the current one: its registers from EIP to the
 * last segment; then the link to it, or it is no longer busy; the new one is. @probe: is asked
 * first whether that is possible, so that nothing fails half-way.
 */
static int leave_task(struct wafer_task *t, const struct wafer_segment *tss,
		      const struct descriptor *old, const struct descriptor *new, bool probe)
{
	u32 word[TSS_LDT - TSS_EIP] = { t->arch->rip + t->len, t->arch->rflags };
	bool wide = tss->attr & TYPE_32BIT;
	u16 half[ARRAY_SIZE(word)], link = tss->selector;
	int ret;

	if (t->cause == WAFER_TASK_IRET)
		word[1] &= ~(u32)X86_EFLAGS_NT;
	for (unsigned int i = 0; i < 8; i++)
		word[TSS_GPR - TSS_EIP + i] = t->arch->gpr[i];
	for (unsigned int i = 0; i < 6; i++)
		word[TSS_SEG - TSS_EIP + i] = t->arch->seg[i].selector;
	for (unsigned int i = 0; i < ARRAY_SIZE(half); i++)
		half[i] = word[i];
	ret = put(t, tss->base + (wide ? 4 * TSS_EIP : 2 * TSS16_IP),
		  probe ? NULL : wide ? (void *)word : half,
		  wide ? sizeof(word) : 2 * (TSS16_LDT - TSS16_IP));
	if (!ret)
		ret = old ? put_type(t, old, 0, TYPE_BUSY, probe) :
			    put(t, new->seg.base, probe ? NULL : &link, 2);
	if (!ret && t->cause != WAFER_TASK_IRET)
		ret = put_type(t, new, TYPE_BUSY, 0, probe);
	return ret;
}

/* Type and privilege: lines 8 to 19 of table 8-1. TR is LTR's, and no switch's. */
static bool may_load(const struct wafer_segment *seg, enum wafer_seg_reg n, unsigned int cpl)
{
	unsigned int type = seg->attr & WAFER_SEG_TYPE, rpl = seg->selector & 3;
	bool conforming = (type & 0xc) == 0xc;

	if (n == WAFER_LDTR)
		return is_system(seg, TYPE_LDT);
	if (n == WAFER_TR)
		return is_system(seg, TYPE_32BIT | 1) && !(seg->selector & 4);
	if (!(seg->attr & WAFER_SEG_S))
		return false;
	if (n == WAFER_CS)
		return type & 8 && (conforming ? wafer_dpl(seg) <= rpl : wafer_dpl(seg) == rpl);
	if (n == WAFER_SS)
		return (type & 0xa) == 2 && rpl == cpl && wafer_dpl(seg) == cpl;
	return (type & 0xa) != 8 && (conforming || wafer_dpl(seg) >= max(cpl, rpl));
}

int wafer_load_segment(struct wafer_task *t, enum wafer_seg_reg n, u16 selector, unsigned int cpl)
{
	bool null = !(selector & 0xfffc);
	u8 set = n == WAFER_LDTR ? 0 : n == WAFER_TR ? TYPE_BUSY : 1;
	struct descriptor d;
	int ret;

	/* Only 64-bit code has a null SS (SDM vol. 2, MOV). */
	if (null && (n == WAFER_CS || n == WAFER_TR ||
		     (n == WAFER_SS && (!t->long_mode || cpl == 3 || selector != cpl))))
		return raise(t, t->bad, 0);
	/* Without an LDT of the new task, there is none: for its own descriptor neither. */
	if (null || n == WAFER_LDTR)
		t->arch->seg[n] = (struct wafer_segment){
			.selector = selector,
			.attr = WAFER_SEG_UNUSABLE |
				(n == WAFER_SS ? cpl << WAFER_SEG_DPL_SHIFT : 0),
		};
	if (null)
		return 0;
	ret = read_descriptor(t, selector, t->bad, &d);
	if (ret)
		return ret;
	if (!may_load(&d.seg, n, cpl))
		return raise(t, t->bad, selector);
	if (!(d.seg.attr & WAFER_SEG_P))
		return raise(t, n == WAFER_SS ? TRAP_SS : n == WAFER_LDTR ? TRAP_TS : TRAP_NP,
			     selector);
	if (n == WAFER_TR && t->long_mode)
		ret = get(t, d.gva + 8, (u8 *)&d.seg.base + 4, 4);
	if (!ret && set & ~d.seg.attr)
		ret = put_type(t, &d, set, 0, false);
	if (ret)
		return ret;
	d.seg.attr |= set;
	t->arch->seg[n] = d.seg;
	return 0;
}

static int push_error(struct wafer_task *t, unsigned int len)
{
	const struct wafer_segment *ss = &t->arch->seg[WAFER_SS];
	u32 mask = ss->attr & WAFER_SEG_DB ? ~0u : 0xffff, esp = t->arch->gpr[WAFER_RSP];
	u32 offset = (esp - len) & mask;
	int ret;

	if (!wafer_segment_allows(ss, offset, len, WAFER_FAULT_WRITE, false))
		return raise(t, TRAP_SS, 0);
	ret = t->ops->access(t, (u32)(ss->base + offset), &t->error, len,
			     WAFER_FAULT_WRITE | (wafer_dpl(ss) == 3 ? WAFER_WALK_USER : 0));
	if (!ret)
		t->arch->gpr[WAFER_RSP] = (esp & ~mask) | offset;
	return ret;
}

/* The new task's registers, then its segments with their checks. */
static int load_new(struct wafer_task *t, const u32 *word)
{
	static const u8 order[] = { WAFER_CS, WAFER_SS, WAFER_ES, WAFER_DS, WAFER_FS, WAFER_GS };
	unsigned int i, cpl = word[TSS_SEG + WAFER_CS] & 3;
	bool wide = t->arch->seg[WAFER_TR].attr & TYPE_32BIT;
	int ret;

	t->arch->rip = word[TSS_EIP];
	for (i = 0; i < 8; i++)
		t->arch->gpr[i] = word[TSS_GPR + i];
	/* Whatever fails now, the selectors are the new ones (SDM vol. 3, #TS). */
	for (i = 0; i < 6; i++)
		t->arch->seg[i].selector = word[TSS_SEG + i];
	t->arch->dr7 &= ~(u64)DR7_LOCAL;
	if (wide && t->arch->cr0 & X86_CR0_PG) {
		ret = t->ops->set_cr3(t, word[TSS_CR3]);
		if (ret)
			return ret < 0 ? ret : raise(t, TRAP_GP, 0);
	}
	t->arch->cr0 |= X86_CR0_TS;
	ret = wafer_load_segment(t, WAFER_LDTR, word[TSS_LDT], cpl);
	for (i = 0; i < ARRAY_SIZE(order) && !ret; i++) {
		struct wafer_segment *seg = &t->arch->seg[order[i]];

		/* as in real mode, at CPL 3 (SDM vol. 3 §21.2) */
		if (t->arch->rflags & X86_EFLAGS_VM) {
			seg->base = seg->selector << 4;
			seg->limit = 0xffff;
			seg->attr = 3 | WAFER_SEG_S | WAFER_SEG_DPL | WAFER_SEG_P;
		} else {
			ret = wafer_load_segment(t, order[i], seg->selector, cpl);
		}
	}
	if (ret)
		return ret;
	t->debug_trap = word[TSS_TRAP] & 1;
	return t->has_error ? push_error(t, wide ? 4 : 2) : 0;
}

int wafer_task_switch(struct wafer_task *t)
{
	bool nested = t->cause == WAFER_TASK_CALL || t->cause == WAFER_TASK_GATE;
	struct wafer_segment *tr = &t->arch->seg[WAFER_TR];
	struct descriptor own, new, *old = nested ? NULL : &own;
	u32 word[TSS_WORDS];
	int ret;

	t->switched = false;
	t->debug_trap = false;
	t->long_mode = false;
	t->bad = TRAP_TS;
	ret = check_gate(t) ?: find_tss(t, &new) ?: read_tss(t, &new.seg, word);
	if (!ret && old)
		ret = read_descriptor(t, tr->selector, TRAP_TS, old);
	ret = ret ?: leave_task(t, tr, old, &new, true) ?: leave_task(t, tr, old, &new, false);
	if (ret)
		return ret;
	t->switched = true;
	*tr = new.seg;
	tr->attr |= TYPE_BUSY;
	t->arch->rflags = (word[TSS_EFLAGS] & FLAGS_DEFINED) | X86_EFLAGS_FIXED |
			  (nested ? X86_EFLAGS_NT : 0);
	return load_new(t, word);
}
