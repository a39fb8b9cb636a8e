// SPDX-License-Identifier: GPL-2.0
/*
 * Operands of the executor: registers, addresses, segmentation, and memory in pieces that a device
 * can take.
 */
#include <linux/errno.h>
#include <linux/string.h>

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
static bool is_high_byte(const struct wafer_emu *emu, unsigned int nr, unsigned int size)
{
	return size == 1 && (nr & 0xc) == 4 && !emu->insn.has_rex;
}

u64 wafer_get_gpr(const struct wafer_emu *emu, unsigned int nr, unsigned int size)
{
	if (unlikely(is_high_byte(emu, nr, size)))
		return emu->gpr[nr & 3] >> 8 & 0xff;
	return emu->gpr[nr] & wafer_size_mask(size);
}

/* The part of wafer_put_gpr() that is rare: 1 and 2 bytes. */
void wafer_put_part(struct wafer_emu *emu, unsigned int nr, unsigned int size, u64 val)
{
	u64 mask = size == 2 ? 0xffff : 0xff;

	if (is_high_byte(emu, nr, size)) {
		nr &= 3;
		mask = 0xff00;
		val <<= 8;
	}
	emu->gpr[nr] = (emu->gpr[nr] & ~mask) | (val & mask);
}

/* The effective address of the memory operand, cut to the address size. */
u64 wafer_address(const struct wafer_emu *emu)
{
	const struct wafer_insn *insn = &emu->insn;
	u64 ea = insn->disp;

	if (insn->base >= 0)
		ea += emu->gpr[insn->base];
	if (insn->index >= 0)
		ea += emu->gpr[insn->index] * insn->scale;
	if (insn->rip_rel)
		ea += emu->rip + insn->len;
	return ea & wafer_size_mask(insn->addr_size);
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
	if (access & WAFER_FAULT_WRITE && (type & 0xa) != 2 && !real)
		return false;
	if (access & WAFER_FAULT_READ && (type & 0xa) == 8 && !real)
		return false;
	if ((type & 0xc) == 4)			/* expand-down */
		return offset > seg->limit &&
			last <= (seg->attr & WAFER_SEG_DB ? 0xffffffff : 0xffff);
	/* SDM vol. 3 §5.3 leaves the upper end open: CPUs seen wrap in flat segments only. */
	return last <= seg->limit || (seg->limit == 0xffffffff && !seg->base);
}

static __always_inline bool is_canonical(const struct wafer_emu *emu, u64 addr)
{
	unsigned int unused = 64 - emu->va_bits;

	return (u64)((s64)(addr << unused) >> unused) == addr;
}

static __always_inline int linear(struct wafer_emu *emu, enum wafer_seg_reg seg, u64 offset,
				  unsigned int size, u32 access, gva_t *gva)
{
	const struct wafer_segment *s;

	if (emu->insn.mode == WAFER_CODE64) {
		*gva = offset;
		if (seg == WAFER_FS || seg == WAFER_GS)
			*gva += emu->ops->segment(emu, seg)->base;
		if (likely(is_canonical(emu, *gva) && is_canonical(emu, *gva + size - 1)))
			return 0;
	} else {
		s = emu->ops->segment(emu, seg);
		*gva = (u32)(s->base + offset);
		if (likely(wafer_segment_allows(s, offset, size, access, emu->real)))
			return 0;
	}
	return wafer_raise(emu, seg == WAFER_SS ? 12 : 13);
}

int wafer_emu_linear(struct wafer_emu *emu, enum wafer_seg_reg seg, u64 offset, unsigned int size,
		     u32 access, gva_t *gva)
{
	return linear(emu, seg, offset, size, access, gva);
}

static __always_inline int translate_page(struct wafer_emu *emu, struct wafer_emu_page *page,
					  gva_t gva, u32 access, gpa_t *gpa)
{
	unsigned int in_page = gva & (GUEST_PAGE - 1);
	int ret;

	if (page->access != access || page->gva != gva - in_page) {
		ret = emu->ops->translate(emu, gva, access, gpa);
		if (unlikely(ret))
			return ret < 0 ? ret : WAFER_EMU_EVENT;
		page->gva = gva - in_page;
		page->gpa = *gpa - in_page;
		page->access = access;
	}
	*gpa = page->gpa + in_page;
	return 0;
}

/*
 * Finds the pages of an operand. @slot: 0 or 1, the operands of an instruction in the order of
 * their checks. @access may have WAFER_SPAN_ALIGNED besides. A read-modify-write operand is checked
 * as a write, as the CPU does it.
 */
int wafer_span(struct wafer_emu *emu, struct wafer_span *span, unsigned int slot,
	       enum wafer_seg_reg seg, u64 offset, unsigned int size, u32 access)
{
	struct wafer_emu_page *page = &emu->page[slot * 2];
	unsigned int first;
	gva_t gva;
	int ret;

	ret = linear(emu, seg, offset, size, access, &gva);
	if (unlikely(ret))
		return ret;
	if (unlikely(access & WAFER_SPAN_ALIGNED)) {
		access &= ~WAFER_SPAN_ALIGNED;
		if (gva & (size - 1))
			return wafer_raise(emu, 13);
	}
	first = min_t(unsigned int, size, GUEST_PAGE - (gva & (GUEST_PAGE - 1)));
	span->len[0] = first;
	span->len[1] = size - first;
	ret = translate_page(emu, page, gva, access, &span->gpa[0]);
	if (ret || likely(first == size))
		return ret;
	gva += first;
	if (emu->insn.mode != WAFER_CODE64)
		gva = (u32)gva;
	return translate_page(emu, page + 1, gva, access, &span->gpa[1]);
}

/*
 * One access of at most 8 bytes. A re-run takes what was done before from the log: a device must
 * not see an access twice, and RAM that this instruction has changed must not be read again.
 */
static __always_inline int access_piece(struct wafer_emu *emu, gpa_t gpa, u64 *val,
					unsigned int len, bool write)
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
	if (write)
		ret = emu->ops->write(emu, gpa, val, len);
	else
		ret = emu->ops->read(emu, gpa, val, len);
	if (unlikely(ret < 0))
		return ret;
	a->gpa = gpa;
	a->len = len;
	a->write = write;
	memcpy(a->data, val, 8);
	emu->nr_log = ++emu->next;
	return ret ? WAFER_EMU_USER : 0;
}

/* Operands that cross a page, and vectors. */
static int access_pieces(struct wafer_emu *emu, const struct wafer_span *span, u8 *buf, bool write)
{
	unsigned int i, n, at;
	u64 val;
	int ret;

	for (i = 0; i < 2; i++) {
		for (at = 0; at < span->len[i]; at += n, buf += n) {
			n = min_t(unsigned int, span->len[i] - at, 8);
			val = 0;
			if (write)
				memcpy(&val, buf, n);
			ret = access_piece(emu, span->gpa[i] + at, &val, n, write);
			if (ret)
				return ret;
			if (!write)
				memcpy(buf, &val, n);
		}
	}
	return 0;
}

int wafer_load(struct wafer_emu *emu, const struct wafer_span *span, union wafer_value *val)
{
	int ret;

	val->q[0] = 0;
	if (unlikely(span->len[1] || span->len[0] > 8))
		return access_pieces(emu, span, val->b, false);
	ret = access_piece(emu, span->gpa[0], &val->q[0], span->len[0], false);
	val->q[0] &= wafer_size_mask(span->len[0]);
	return ret;
}

int wafer_store(struct wafer_emu *emu, const struct wafer_span *span, const union wafer_value *val)
{
	union wafer_value copy;

	if (unlikely(span->len[1] || span->len[0] > 8)) {
		copy = *val;
		return access_pieces(emu, span, copy.b, true);
	}
	copy.q[0] = val->q[0] & wafer_size_mask(span->len[0]);
	return access_piece(emu, span->gpa[0], &copy.q[0], span->len[0], true);
}

/*
 * The write of a locked read-modify-write operand. On RAM it is a compare-and-exchange with what
 * was read; a device, or an operand in two pages, gets a plain write. In a re-run the read came
 * from the log, so that a device was meant.
 */
int wafer_store_locked(struct wafer_emu *emu, const struct wafer_span *span,
		       const union wafer_value *old, const union wafer_value *new)
{
	union wafer_value found = *old;
	int ret;

	if (span->len[1] || emu->next < emu->nr_log)
		return wafer_store(emu, span, new);
	ret = (emu->ops->cmpxchg)(emu, span->gpa[0], &found, new, span->len[0]);
	if (ret < 0)
		return ret;
	if (ret)
		return wafer_store(emu, span, new);
	return memcmp(&found, old, span->len[0]) ? WAFER_EMU_RETRY : 0;
}
