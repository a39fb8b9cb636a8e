// SPDX-License-Identifier: GPL-2.0
/* Hardware task switches. See include/task.h. */
#include <linux/errno.h>
#include <linux/minmax.h>

#include "emulate.h"
#include "insn.h"
#include "task.h"

#define TRAP_TS		10
#define TRAP_NP		11
#define TRAP_SS		12
#define TRAP_GP		13

#define FLAGS_FIXED	BIT(1)
#define FLAGS_DEFINED	0x3f7fd5u
#define FLAGS_NT	BIT(14)
#define FLAGS_VM	BIT(17)
#define CR0_TS		BIT(3)
#define CR0_PG		BIT(31)
#define DR7_LOCAL	0x155u			/* L0 to L3, LE */

#define TYPE_LDT	2
#define TYPE_BUSY	2			/* a bit of the types of a TSS: 1, 3, 9, 11 */
#define TYPE_32BIT	8
#define TYPE_TASK_GATE	5

#define OUT_OF_TABLE	2			/* besides 0, 1, -errno */

/*
 * A TSS as an array (SDM vol. 3 figures 8-2 and 8-10): words of 32 or 16 bits. General and segment
 * registers are in the order of their encoding.
 */
#define TSS32_WORDS	26
#define TSS16_WORDS	22
enum { T32_CR3 = 7, T32_EIP, T32_EFLAGS, T32_GPR, T32_SEG = 18, T32_LDT = 24, T32_TRAP };
enum { T16_IP = 7, T16_FLAGS, T16_GPR, T16_SEG = 17, T16_LDT = 21 };

/* What a TSS holds, whatever its format. */
struct image {
	u32 cr3, eip, eflags, gpr[8];
	u16 sel[6], ldt;
	bool is32, trap;
};

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

static unsigned int dpl(const struct wafer_segment *seg)
{
	return (seg->attr & WAFER_SEG_DPL) >> WAFER_SEG_DPL_SHIFT;
}

/* Is it a TSS, LDT or gate of this type? */
static bool is_system(const struct wafer_segment *seg, u32 type)
{
	return !(seg->attr & WAFER_SEG_S) && (seg->attr & WAFER_SEG_TYPE) == type;
}

/* Reads the descriptor of @selector. SDM vol. 3 figure 3-8. */
static int read_descriptor(struct wafer_task *t, u16 selector, struct descriptor *d)
{
	const struct wafer_segment *ldt = &t->seg[WAFER_LDTR];
	u32 offset = selector & 0xfff8, limit = t->gdt.limit;
	u64 base = t->gdt.base;
	int ret;

	if (selector & 4) {
		if (ldt->attr & WAFER_SEG_UNUSABLE)
			return OUT_OF_TABLE;
		base = ldt->base;
		limit = ldt->limit;
	}
	if (offset + 7 > limit)
		return OUT_OF_TABLE;
	d->gva = (u32)(base + offset);
	ret = t->ops->read(t, d->gva, &d->raw, 8, WAFER_WALK_IMPLICIT);
	if (ret)
		return ret;
	d->seg.selector = selector;
	d->seg.base = (d->raw >> 16 & 0xffffff) | (d->raw >> 32 & 0xff000000);
	d->seg.limit = (d->raw & 0xffff) | (d->raw >> 32 & 0xf0000);
	d->seg.attr = d->raw >> 40 & 0xf0ff;
	if (d->seg.attr & WAFER_SEG_G)
		d->seg.limit = d->seg.limit << 12 | 0xfff;
	return 0;
}

/* Changes the byte with the type. */
static int write_type(struct wafer_task *t, const struct descriptor *d, u8 set, u8 clear)
{
	u8 byte = ((d->raw >> 40) | set) & ~clear;

	return t->ops->write(t, d->gva + 5, &byte, 1, WAFER_WALK_IMPLICIT);
}

/* INT n needs the gate's permission. The CPU has found a task gate, but has not asked this. */
static int check_gate(struct wafer_task *t)
{
	u32 offset = t->soft_vector * 8;
	u8 byte;
	int ret;

	if (t->soft_vector < 0)
		return 0;
	if (offset + 7 <= t->idt.limit) {
		ret = t->ops->read(t, (u32)(t->idt.base + offset + 5), &byte, 1,
				   WAFER_WALK_IMPLICIT);
		if (ret)
			return ret;
		if ((byte & 0x1f) == TYPE_TASK_GATE && byte >> 5 >= dpl(&t->seg[WAFER_SS]) + 4)
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
	int ret;

	if (t->selector & 4 || !(t->selector & 0xfff8))
		return raise(t, bad, t->selector);
	ret = read_descriptor(t, t->selector, d);
	if (ret == OUT_OF_TABLE)
		return raise(t, bad, t->selector);
	if (ret)
		return ret;
	if (!is_system(&d->seg, (d->seg.attr & TYPE_32BIT) | 1 | (iret ? TYPE_BUSY : 0)))
		return raise(t, bad, t->selector);
	if (!(d->seg.attr & WAFER_SEG_P))
		return raise(t, TRAP_NP, t->selector);
	if (d->seg.limit < (d->seg.attr & TYPE_32BIT ? 4 * TSS32_WORDS : 2 * TSS16_WORDS) - 1)
		return raise(t, TRAP_TS, t->selector);
	return 0;
}

static int read_tss(struct wafer_task *t, const struct wafer_segment *tss, struct image *im)
{
	union {
		u32 w[TSS32_WORDS];
		u16 h[TSS16_WORDS];
	} raw;
	unsigned int i;
	int ret;

	im->is32 = tss->attr & TYPE_32BIT;
	ret = t->ops->read(t, tss->base, &raw, im->is32 ? sizeof(raw.w) : sizeof(raw.h),
			   WAFER_WALK_IMPLICIT);
	if (ret)
		return ret;
	for (i = 0; i < 8; i++)
		im->gpr[i] = im->is32 ? raw.w[T32_GPR + i] : raw.h[T16_GPR + i];
	for (i = 0; i < 6; i++)
		im->sel[i] = im->is32 ? raw.w[T32_SEG + i] : i < 4 ? raw.h[T16_SEG + i] : 0;
	im->cr3 = raw.w[T32_CR3];
	im->eip = im->is32 ? raw.w[T32_EIP] : raw.h[T16_IP];
	im->eflags = im->is32 ? raw.w[T32_EFLAGS] : raw.h[T16_FLAGS];
	im->ldt = im->is32 ? raw.w[T32_LDT] : raw.h[T16_LDT];
	im->trap = im->is32 && raw.w[T32_TRAP] & 1;
	return 0;
}

/* The part of the old TSS that changes: from EIP to the last segment. */
static unsigned int saved_part(const struct wafer_segment *tss, unsigned int *offset)
{
	bool is32 = tss->attr & TYPE_32BIT;

	*offset = is32 ? 4 * T32_EIP : 2 * T16_IP;
	return is32 ? 4 * (T32_LDT - T32_EIP) : 2 * (T16_LDT - T16_IP);
}

static int save_old(struct wafer_task *t, const struct wafer_segment *tss)
{
	u32 eflags = t->cause == WAFER_TASK_IRET ? t->eflags & ~FLAGS_NT : t->eflags, val[16];
	unsigned int i, offset, len = saved_part(tss, &offset);
	u16 half[16];
	void *data = val;

	val[0] = t->eip;
	val[1] = eflags;
	for (i = 0; i < 8; i++)
		val[2 + i] = t->gpr[i];
	for (i = 0; i < 6; i++)
		val[10 + i] = t->seg[i].selector;
	if (!(tss->attr & TYPE_32BIT)) {
		for (i = 0; i < ARRAY_SIZE(half); i++)
			half[i] = val[i];
		data = half;
	}
	return t->ops->write(t, (u32)(tss->base + offset), data, len, WAFER_WALK_IMPLICIT);
}

static int load_ldt(struct wafer_task *t, u16 selector)
{
	struct descriptor d;
	int ret;

	t->seg[WAFER_LDTR] = (struct wafer_segment){
		.selector = selector, .attr = WAFER_SEG_UNUSABLE,
	};
	if (!(selector & 0xfffc))
		return 0;
	ret = selector & 4 ? OUT_OF_TABLE : read_descriptor(t, selector, &d);
	if (ret == 1 || ret < 0)
		return ret;
	if (ret || !is_system(&d.seg, TYPE_LDT) || !(d.seg.attr & WAFER_SEG_P))
		return raise(t, TRAP_TS, selector);
	t->seg[WAFER_LDTR] = d.seg;
	return 0;
}

/* Type and privilege: lines 8 to 19 of table 8-1. */
static bool may_load(const struct wafer_segment *seg, enum wafer_seg_reg n, unsigned int cpl)
{
	unsigned int type = seg->attr & WAFER_SEG_TYPE, rpl = seg->selector & 3;
	bool conforming = (type & 0xc) == 0xc;

	if (!(seg->attr & WAFER_SEG_S))
		return false;
	if (n == WAFER_CS)
		return type & 8 && (conforming ? dpl(seg) <= rpl : dpl(seg) == rpl);
	if (n == WAFER_SS)
		return (type & 0xa) == 2 && rpl == cpl && dpl(seg) == cpl;
	return (type & 0xa) != 8 && (conforming || dpl(seg) >= max(cpl, rpl));
}

static int load_segment(struct wafer_task *t, enum wafer_seg_reg n, u16 selector, unsigned int cpl)
{
	struct descriptor d;
	int ret;

	if (!(selector & 0xfffc)) {
		if (n == WAFER_CS || n == WAFER_SS)
			return raise(t, TRAP_TS, 0);
		t->seg[n] = (struct wafer_segment){
			.selector = selector, .attr = WAFER_SEG_UNUSABLE,
		};
		return 0;
	}
	ret = read_descriptor(t, selector, &d);
	if (ret == 1 || ret < 0)
		return ret;
	if (ret || !may_load(&d.seg, n, cpl))
		return raise(t, TRAP_TS, selector);
	if (!(d.seg.attr & WAFER_SEG_P))
		return raise(t, n == WAFER_SS ? TRAP_SS : TRAP_NP, selector);
	if (!(d.seg.attr & 1)) {
		ret = write_type(t, &d, 1, 0);
		if (ret)
			return ret;
		d.seg.attr |= 1;
	}
	t->seg[n] = d.seg;
	return 0;
}

/* SDM vol. 3 §21.2 "Virtual-8086 mode": segments as in real mode, at CPL 3. */
static void load_vm86(struct wafer_task *t)
{
	unsigned int i;

	for (i = 0; i < 6; i++) {
		t->seg[i].base = t->seg[i].selector << 4;
		t->seg[i].limit = 0xffff;
		t->seg[i].attr = 3 | WAFER_SEG_S | WAFER_SEG_DPL | WAFER_SEG_P;
	}
}

static int push_error(struct wafer_task *t, bool is32)
{
	const struct wafer_segment *ss = &t->seg[WAFER_SS];
	unsigned int len = is32 ? 4 : 2;
	u32 mask = ss->attr & WAFER_SEG_DB ? ~0u : 0xffff, esp = t->gpr[WAFER_RSP];
	u32 offset = (esp - len) & mask;
	int ret;

	if (!wafer_segment_allows(ss, offset, len, WAFER_FAULT_WRITE, false))
		return raise(t, TRAP_SS, 0);
	ret = t->ops->write(t, (u32)(ss->base + offset), &t->error, len,
			    dpl(ss) == 3 ? WAFER_WALK_USER : 0);
	if (!ret)
		t->gpr[WAFER_RSP] = (esp & ~mask) | offset;
	return ret;
}

/* The new task's registers, then its segments with their checks. */
static int load_new(struct wafer_task *t, const struct image *im)
{
	static const u8 order[] = { WAFER_CS, WAFER_SS, WAFER_ES, WAFER_DS, WAFER_FS, WAFER_GS };
	unsigned int i, cpl = im->sel[WAFER_CS] & 3;
	int ret;

	t->eip = im->eip;
	for (i = 0; i < 8; i++)
		t->gpr[i] = im->gpr[i];
	/* Whatever fails now, the selectors are the new ones (SDM vol. 3, #TS). */
	for (i = 0; i < 6; i++)
		t->seg[i].selector = im->sel[i];
	t->dr7 &= ~(u64)DR7_LOCAL;
	if (im->is32 && t->cr0 & CR0_PG) {
		ret = t->ops->set_cr3(t, im->cr3);
		if (ret)
			return ret < 0 ? ret : raise(t, TRAP_GP, 0);
		t->cr3 = im->cr3;
	}
	t->cr0 |= CR0_TS;
	ret = load_ldt(t, im->ldt);
	if (ret)
		return ret;
	if (t->eflags & FLAGS_VM) {
		load_vm86(t);
	} else {
		for (i = 0; i < ARRAY_SIZE(order); i++) {
			ret = load_segment(t, order[i], im->sel[order[i]], cpl);
			if (ret)
				return ret;
		}
	}
	t->debug_trap = im->trap;
	return t->has_error ? push_error(t, im->is32) : 0;
}

/* Can all be written that the switch writes before it has become the new task? */
static int check_writes(struct wafer_task *t, const struct descriptor *old,
			const struct descriptor *new)
{
	unsigned int offset, len = saved_part(&t->seg[WAFER_TR], &offset);
	int ret;

	ret = t->ops->check(t, (u32)(t->seg[WAFER_TR].base + offset), len, WAFER_WALK_IMPLICIT);
	if (!ret)
		ret = t->ops->check(t, new->seg.base, 2, WAFER_WALK_IMPLICIT);
	if (!ret)
		ret = t->ops->check(t, new->gva + 5, 1, WAFER_WALK_IMPLICIT);
	if (!ret && old)
		ret = t->ops->check(t, old->gva + 5, 1, WAFER_WALK_IMPLICIT);
	return ret;
}

int wafer_task_switch(struct wafer_task *t)
{
	bool nested = t->cause == WAFER_TASK_CALL || t->cause == WAFER_TASK_GATE;
	struct wafer_segment old_tss = t->seg[WAFER_TR];
	struct descriptor old, new;
	struct image im;
	int ret;

	t->switched = false;
	t->debug_trap = false;
	ret = check_gate(t);
	if (!ret)
		ret = find_tss(t, &new);
	if (!ret)
		ret = read_tss(t, &new.seg, &im);
	if (!ret && !nested)
		ret = read_descriptor(t, old_tss.selector, &old);
	if (!ret)
		ret = check_writes(t, nested ? NULL : &old, &new);
	if (ret == OUT_OF_TABLE)
		return raise(t, TRAP_TS, old_tss.selector);
	if (ret)
		return ret;

	/* From here on nothing fails that was checked. */
	ret = save_old(t, &old_tss);
	if (!ret && nested)
		ret = t->ops->write(t, new.seg.base, &old_tss.selector, 2, WAFER_WALK_IMPLICIT);
	if (!ret && !nested)
		ret = write_type(t, &old, 0, TYPE_BUSY);
	if (!ret && t->cause != WAFER_TASK_IRET)
		ret = write_type(t, &new, TYPE_BUSY, 0);
	if (ret)
		return ret;
	t->switched = true;
	t->seg[WAFER_TR] = new.seg;
	t->seg[WAFER_TR].attr |= TYPE_BUSY;
	t->eflags = (im.eflags & FLAGS_DEFINED) | FLAGS_FIXED | (nested ? FLAGS_NT : 0);
	return load_new(t, &im);
}
