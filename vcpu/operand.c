// SPDX-License-Identifier: GPL-2.0
/*
 * Operands of the executor: registers, segmentation, and memory in pieces that a device can take.
 */
#include "insn.h"

#define GUEST_PAGE	4096u

/* Leaves the instruction with an exception that has the error code 0. */
int wafer_raise(struct wafer_emu *emu, u8 vector)
{
	emu->event = (struct wafer_event){
		.kind = WAFER_EV_EXCEPTION, .vector = vector, .has_error = true,
	};
	return WAFER_EMU_EVENT;
}

/* AH, CH, DH and BH are the numbers 4 to 7 of byte operands without REX. */
static u64 *gpr_part(const struct wafer_emu *emu, unsigned int nr, unsigned int size, u8 *shift)
{
	*shift = size == 1 && (nr & 0xc) == 4 && !emu->insn.has_rex ? 8 : 0;
	return &emu->gpr[*shift ? nr & 3 : nr];
}

u64 wafer_get_gpr(const struct wafer_emu *emu, unsigned int nr, unsigned int size)
{
	u8 shift;
	u64 *reg = gpr_part(emu, nr, size, &shift);

	return *reg >> shift & wafer_size_mask(size);
}

/* 32 bits clear the upper half, 8 and 16 leave the rest alone. */
void wafer_put_gpr(struct wafer_emu *emu, unsigned int nr, unsigned int size, u64 val)
{
	u8 shift;
	u64 *reg = gpr_part(emu, nr, size, &shift);
	u64 mask = size == 4 ? ~0ull : wafer_size_mask(size) << shift;

	*reg = (*reg & ~mask) | (val & wafer_size_mask(size)) << shift;
}

/* Limit, rights and usability, outside 64-bit code. */
bool wafer_segment_allows(const struct wafer_segment *seg, u32 offset, unsigned int size,
			  u32 access, bool real)
{
	u64 last = (u64)offset + size - 1;
	u32 type = seg->attr & WAFER_SEG_TYPE;

	if (seg->attr & WAFER_SEG_UNUSABLE || !(seg->attr & WAFER_SEG_P))
		return false;
	/* Bit 3: code, bit 1: writable (data), readable (code). SDM vol. 3 §3.4.5.1. */
	if (!real && (access & WAFER_FAULT_WRITE ? (type & 0xa) != 2 : (type & 0xa) == 8))
		return false;
	if ((type & 0xc) == 4)			/* expand-down */
		return offset > seg->limit &&
			last <= (seg->attr & WAFER_SEG_DB ? 0xffffffff : 0xffff);
	/* SDM vol. 3 §5.3 leaves the upper end open: CPUs seen wrap in flat segments only. */
	return last <= seg->limit || (seg->limit == 0xffffffff && !seg->base);
}

bool wafer_canonical(const struct wafer_emu *emu, u64 addr)
{
	unsigned int unused = 64 - emu->va_bits;

	return (u64)((s64)(addr << unused) >> unused) == addr;
}

int wafer_emu_linear(struct wafer_emu *emu, enum wafer_seg_reg seg, u64 offset, unsigned int size,
		     u32 access, gva_t *gva)
{
	const struct wafer_segment *s;

	if (emu->insn.mode == WAFER_CODE64) {
		*gva = offset;
		if (seg == WAFER_FS || seg == WAFER_GS)
			*gva += emu->ops->segment(emu, seg)->base;
		if (wafer_canonical(emu, *gva) && wafer_canonical(emu, *gva + size - 1))
			return 0;
	} else {
		s = emu->ops->segment(emu, seg);
		*gva = (u32)(s->base + offset);
		if (wafer_segment_allows(s, offset, size, access, emu->real))
			return 0;
	}
	return wafer_raise(emu, seg == WAFER_SS ? 12 : 13);
}

/*
 * Finds the pages of an operand. @slot: 0 or 1, the operands of an instruction in the order of
 * their checks. @access may have WAFER_SPAN_ALIGNED besides. A read-modify-write operand is checked
 * as a write, as the CPU does it.
 */
int wafer_span(struct wafer_emu *emu, struct wafer_operand *o, unsigned int slot,
	       enum wafer_seg_reg seg, u64 offset, unsigned int size, u32 access)
{
	struct wafer_emu_page *page = &emu->page[slot * 2];
	unsigned int i, in_page;
	gva_t gva;
	int ret = wafer_emu_linear(emu, seg, offset, size, access, &gva);

	if (unlikely(ret))
		return ret;
	if (access & WAFER_SPAN_ALIGNED && gva & (size - 1))
		return wafer_raise(emu, 13);
	access &= ~WAFER_SPAN_ALIGNED;
	o->len[0] = min_t(unsigned int, size, GUEST_PAGE - (gva & (GUEST_PAGE - 1)));
	o->len[1] = size - o->len[0];
	for (i = 0; i < 2 && o->len[i]; i++, page++) {
		in_page = gva & (GUEST_PAGE - 1);
		if (page->access != access || page->gva != gva - in_page) {
			ret = emu->ops->translate(emu, gva, access, &o->gpa[i]);
			if (unlikely(ret))
				return ret < 0 ? ret : WAFER_EMU_EVENT;
			page->gva = gva - in_page;
			page->gpa = o->gpa[i] - in_page;
			page->access = access;
		}
		o->gpa[i] = page->gpa + in_page;
		gva += o->len[0];
		if (emu->insn.mode != WAFER_CODE64)
			gva = (u32)gva;
	}
	return 0;
}

/*
 * One access of at most 8 bytes. A re-run takes what was done before from the log: a device must
 * not see an access twice, and RAM that this instruction has changed must not be read again.
 */
static int access_piece(struct wafer_emu *emu, gpa_t gpa, u64 *val, unsigned int len, bool write)
{
	struct wafer_emu_access *a = &emu->log[emu->next];
	int ret;

	if (unlikely(emu->next < emu->nr_log)) {
		if (a->len != len || a->write != write)
			return WAFER_EMU_UNKNOWN;
		if (!write)
			memcpy(val, a->data, 8);
		emu->next++;
		return 0;
	}
	if (unlikely(emu->next == WAFER_EMU_LOG))
		return WAFER_EMU_UNKNOWN;
	ret = emu->ops->access(emu, gpa, val, len, write);
	if (unlikely(ret < 0))
		return ret;
	a->gpa = gpa;
	a->len = len;
	a->write = write;
	memcpy(a->data, val, 8);
	emu->nr_log = ++emu->next;
	return ret ? WAFER_EMU_USER : 0;
}

/* In pieces, lowest first. What is read is zero-extended over the next 8 bytes. */
int wafer_access(struct wafer_emu *emu, const struct wafer_operand *o, union wafer_value *val,
		 bool write)
{
	unsigned int i, n, at;
	u8 *buf = val->b;
	int ret;

	if (likely(!o->len[1] && o->len[0] <= 8)) {
		val->q[0] &= wafer_size_mask(o->len[0]);
		ret = access_piece(emu, o->gpa[0], val->q, o->len[0], write);
		val->q[0] &= wafer_size_mask(o->len[0]);
		return ret;
	}
	for (i = 0; i < 2; i++) {
		for (at = 0; at < o->len[i]; at += n, buf += n) {
			u64 piece;

			n = min_t(unsigned int, o->len[i] - at, 8);
			memcpy(&piece, buf, 8);
			piece &= wafer_size_mask(n);
			ret = access_piece(emu, o->gpa[i] + at, &piece, n, write);
			if (ret)
				return ret;
			piece &= wafer_size_mask(n);
			if (!write)
				memcpy(buf, &piece, 8);
		}
	}
	return 0;
}

int wafer_access_port(struct wafer_emu *emu, union wafer_value *val, unsigned int len, bool write)
{
	val->q[0] &= write ? wafer_size_mask(len) : 0;
	return access_piece(emu, WAFER_EMU_PORT, val->q, len, write);
}

/*
 * The write of a locked read-modify-write operand. On RAM it is a compare-and-exchange with what
 * was read (emu->old); a device, or what is not aligned (the kernel makes no split locks), gets a
 * plain write. In a re-run the read came from the log, so that a device was meant.
 */
int wafer_write_locked(struct wafer_emu *emu, const struct wafer_operand *o, union wafer_value *val)
{
	union wafer_value found = emu->old;
	int ret;

	if (o->len[1] || o->gpa[0] & (o->len[0] - 1) || emu->next < emu->nr_log)
		return wafer_access(emu, o, val, true);
	ret = (emu->ops->cmpxchg)(emu, o->gpa[0], &found, val, o->len[0]);
	if (ret)
		return ret < 0 ? ret : wafer_access(emu, o, val, true);
	return memcmp(&found, &emu->old, o->len[0]) ? WAFER_EMU_RETRY : 0;
}
