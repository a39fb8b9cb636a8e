// SPDX-License-Identifier: GPL-2.0
/*
 * The instruction decoder: prefixes, opcode, ModRM, displacement, immediate (SDM vol. 2 chapter 2).
 *
 * Everything that differs between opcodes is in the tables of vcpu/opcodes.c.
 */
#include "insn.h"

#define NO_SEG		0xff
enum { REX_B = 1, REX_X = 2, REX_R = 4, REX_W = 8 };

/* What is known half-way. */
struct cursor {
	const u8 *p, *end;
	bool opsize, adsize, evex;	/* 66, 67 */
	/* more was wanted than there is: zeroes were given instead */
	bool over;
	u8 seg;				/* override, or NO_SEG */
};

/* Takes @n bytes (up to 8), sign-extended. */
static s64 take(struct cursor *c, unsigned int n)
{
	u64 val = 0;

	if (c->end - c->p < n) {
		c->over = true;
		return 0;
	}
	for (unsigned int i = n; i--;)
		val = val << 8 | c->p[i];
	c->p += n;
	return n ? wafer_sign_extend(val, n) : 0;
}

/*
 * Prefixes; the first opcode byte is returned. A REX prefix counts only right before the opcode
 * (SDM vol. 2 §2.2.1). Of several segment overrides, and of F2 and F3, the last one counts.
 */
static u8 take_prefixes(struct wafer_insn *insn, struct cursor *c)
{
	for (;;) {
		u8 byte = take(c, 1);
		bool rex = insn->mode == WAFER_CODE64 && (byte & 0xf0) == 0x40;

		if (!rex && !(wafer_maps[WAFER_MAP_ONE][byte].flags & WAFER_F_PREFIX))
			return byte;
		insn->has_rex = rex;
		insn->rex = rex ? byte & 0xf : 0;
		if (byte == 0x66)
			c->opsize = true;
		else if (byte == 0x67)
			c->adsize = true;
		else if (byte == 0xf0)
			insn->lock = true;
		else if (byte >= 0xf2)
			insn->rep = byte;
		else if (byte >= 0x64)
			c->seg = byte & 7;
		else if (insn->mode != WAFER_CODE64)	/* ES to DS have no base in 64-bit code */
			c->seg = byte >> 3 & 3;
	}
}

/*
 * VEX and EVEX: C5 Rvvvv.L.pp; C4 RXBmmmmm Wvvvv.L.pp; 62 RXBR'0mmm Wvvvv1pp zL'Lb.V'aaa
 * (SDM vol. 2 §2.3.5, 2.7.1). In 16 and 32-bit code they are LDS, LES and BOUND unless ModRM says
 * "register".
 */
static int take_vex(struct wafer_insn *insn, struct cursor *c, u8 *op, u8 *map)
{
	static const u8 rep[] = { 0, 0, 0xf3, 0xf2 };
	bool two = *op == 0xc5, evex = *op == 0x62;
	u8 first, second, third;

	if (insn->mode != WAFER_CODE64 && c->p < c->end && *c->p < 0xc0)
		return 0;
	first = take(c, 1);
	if (insn->has_rex || insn->lock || insn->rep || c->opsize)
		return -EINVAL;
	second = two ? first & 0x7f : take(c, 1);
	third = evex ? take(c, 1) : 0;
	*map = two ? WAFER_MAP_0F : first & (evex ? 7 : 0x1f);
	if (*map == 0 || *map == 4 || *map > (evex ? 6 : 3))
		return -EINVAL;
	insn->vex = true;
	c->evex = evex;
	insn->vex_v = ~second >> 3 & 0xf;
	insn->vex_l = evex ? third >> 5 & 3 : second >> 2 & 1;
	insn->rex = (~first >> 5 & (two ? REX_R : 7)) | (second & 0x80 ? REX_W : 0);
	if (insn->mode != WAFER_CODE64) {
		insn->rex = 0;
		insn->vex_v &= 7;
	}
	c->opsize = (second & 3) == 1;
	insn->rep = rep[second & 3];
	*op = take(c, 1);
	return 0;
}

/* What ModRM.rm, which is not a register, stands for. */
static void take_memory(struct wafer_insn *insn, struct cursor *c)
{
	/* 16-bit addressing: base and index of each ModRM.rm (SDM vol. 2 table 2-1). */
	static const s8 base16[8] = {
		WAFER_RBX, WAFER_RBX, WAFER_RBP, WAFER_RBP,
		WAFER_RSI, WAFER_RDI, WAFER_RBP, WAFER_RBX
	}, index16[8] = { WAFER_RSI, WAFER_RDI, WAFER_RSI, WAFER_RDI, -1, -1, -1, -1 };
	bool small = insn->addr_size == 2;
	u8 rm = insn->rm, sib;

	if (small) {
		insn->base = base16[rm];
		insn->index = index16[rm];
	} else {
		if (rm == 4) {
			sib = take(c, 1);
			rm = sib & 7;
			insn->scale = 1 << (sib >> 6);
			insn->index = (sib >> 3 & 7) | (insn->rex & REX_X ? 8 : 0);
			if (insn->index == WAFER_RSP)
				insn->index = -1;
		}
		insn->base = rm | (insn->rex & REX_B ? 8 : 0);
	}
	if (insn->mod == 0 && rm == (small ? 6 : 5)) {
		insn->base = -1;
		insn->rip_rel = insn->rm == 5 && insn->mode == WAFER_CODE64;
	}
	insn->disp = take(c, insn->mod == 1 ? 1 : insn->mod == 0 && insn->base >= 0 ? 0 :
			     small ? 2 : 4);
}

static void take_modrm(struct wafer_insn *insn, struct cursor *c, u32 flags)
{
	u8 modrm = take(c, 1);

	insn->has_modrm = true;
	insn->mod = flags & WAFER_F_REGS ? 3 : modrm >> 6;
	insn->reg = (modrm >> 3 & 7) | (insn->rex & REX_R ? 8 : 0);
	insn->rm = modrm & 7;
	insn->is_mem = insn->mod != 3;
	if (insn->is_mem)
		take_memory(insn, c);
	if (insn->rex & REX_B)
		insn->rm |= 8;
}

static u8 operand_size(const struct wafer_insn *insn, bool opsize, u32 flags)
{
	if (flags & WAFER_F_BYTE)
		return 1;
	if (insn->mode != WAFER_CODE64)
		return (insn->mode == WAFER_CODE16) == opsize ? 4 : 2;
	if (insn->rex & REX_W)
		return flags & WAFER_F_MAX4 ? 4 : 8;
	if (flags & WAFER_F_F64)
		return 8;
	return opsize ? 2 : flags & WAFER_F_D64 ? 8 : 4;
}

static void take_immediate(struct wafer_insn *insn, struct cursor *c, u32 flags)
{
	unsigned int n = flags & WAFER_F_IMM8 ? 1 : 0;

	n += flags & WAFER_F_IMM16 ? 2 : 0;
	n += flags & WAFER_F_IMMZ ? min_t(u8, insn->op_size, 4) : 0;
	n += flags & WAFER_F_IMMV ? insn->op_size : 0;
	n += flags & WAFER_F_MOFFS ? insn->addr_size : 0;
	insn->imm = take(c, n);
	if (flags & WAFER_F_MOFFS) {
		insn->is_mem = true;
		insn->disp = insn->imm;
	}
}

/* If @form is what the executor can do with these prefixes, it is the instruction's. */
static int set_form(struct wafer_insn *insn, const struct wafer_insn_form *form, u32 flags)
{
	static const struct wafer_insn_form load_segment = {
		.op = WAFER_OP_MOV, .dst = WAFER_AT_SREG, .src = WAFER_AT_RM, .size = 2,
	};
	bool vec = max(form->dst, form->src) >= WAFER_AT_VEC;

	if (!form->op || (insn->vex && !vec) ||
	    (form->op == WAFER_OP_ENTER && insn->imm >> 16 & 0x1f) ||
	    (flags & WAFER_F_ONLY64 && insn->mode != WAFER_CODE64))
		return 0;
	if (insn->lock && (!insn->is_mem || form->dst != WAFER_AT_MEM ||
			   form->op > WAFER_OP_CMPXCHG8B || BIT_ULL(form->op) & WAFER_OPS_READ))
		return -EINVAL;
	if (vec)
		insn->op_size = insn->vex_l ? 32 : 16;
	if (insn->is_mem || !(flags & WAFER_F_MODRM))
		insn->form = form;
	else if (form->dst == WAFER_AT_SREG)
		insn->form = &load_segment;
	return 0;
}

static int decode(struct wafer_insn *insn, struct cursor *c)
{
	u8 op = take_prefixes(insn, c), map = WAFER_MAP_ONE;
	const struct wafer_insn_form *form;
	u32 flags;

	insn->addr_size = !c->adsize ? insn->mode : insn->mode == WAFER_CODE32 ? 2 : 4;
	if (op == 0xc4 || op == 0xc5 || op == 0x62) {
		if (take_vex(insn, c, &op, &map))
			return -EINVAL;
	} else if (op == 0x0f) {
		op = take(c, 1);
		map = op == 0x38 ? WAFER_MAP_0F38 : op == 0x3a ? WAFER_MAP_0F3A : WAFER_MAP_0F;
		if (map != WAFER_MAP_0F)
			op = take(c, 1);
	}
	insn->opcode = map << 8 | op;
	form = &wafer_maps[map < WAFER_NR_MAPS ? map : WAFER_MAP_0F38][op];
	flags = form->flags;
	/* VMOV* are the same rows; everything else with VEX is known by its length alone. */
	if (insn->vex) {
		if (map == WAFER_MAP_0F && !(flags & WAFER_F_MODRM)) {
			if (!c->evex && op != 0x77)		/* VZEROUPPER */
				return -EINVAL;
			flags = c->evex ? WAFER_F_MODRM : 0;
		}
		flags &= WAFER_F_MODRM | WAFER_F_IMM8 | WAFER_F_SSE;
	}
	if (flags & WAFER_F_UD || (flags & WAFER_F_NO64 && insn->mode == WAFER_CODE64))
		return -EINVAL;
	if (flags & WAFER_F_MODRM)
		take_modrm(insn, c, flags);
	else if (flags & WAFER_F_OPREG)
		insn->reg = (op & 7) | (insn->rex & REX_B ? 8 : 0);
	if (flags & WAFER_F_GROUP)
		form = &wafer_groups[form->op][insn->reg & 7];
	else if (flags & WAFER_F_SSE)
		form = &wafer_sse[form->op][insn->rep ? insn->rep == 0xf3 ? 2 : 3 : c->opsize];
	flags |= insn->vex ? 0 : form->flags;
	if (flags & WAFER_F_UD)
		return -EINVAL;
	if (insn->opcode == 0x178 && (c->opsize || insn->rep == 0xf2))
		flags |= WAFER_F_IMM16;		/* SSE4a EXTRQ, INSERTQ: two bytes */
	insn->op_size = operand_size(insn, c->opsize, flags);
	take_immediate(insn, c, flags);
	return c->evex || (insn->vex && !(flags & WAFER_F_SSE)) ? 0 : set_form(insn, form, flags);
}

/* Most accesses to devices. */
static void find_plain(struct wafer_insn *insn)
{
	const struct wafer_insn_form *f = insn->form;
	enum wafer_at other;

	if (!f || f->op != WAFER_OP_MOV || f->size > 4 || insn->op_size > 8 ||
	    insn->mode != WAFER_CODE64 || insn->addr_size != 8 || insn->seg >= WAFER_FS ||
	    insn->lock || insn->rep || (f->dst == WAFER_AT_MEM) == (f->src == WAFER_AT_MEM))
		return;
	other = f->dst == WAFER_AT_MEM ? f->src : f->dst;
	if (other == WAFER_AT_ACC)
		insn->reg = WAFER_RAX;
	else if (other != WAFER_AT_REG && other != WAFER_AT_IMM)
		return;
	insn->size = f->size ?: insn->op_size;
	insn->plain = f->src == WAFER_AT_MEM ? WAFER_PLAIN_LOAD :
		      f->src == WAFER_AT_IMM ? WAFER_PLAIN_STORE_IMM : WAFER_PLAIN_STORE;
}

int wafer_insn_decode(struct wafer_insn *insn, const u8 *bytes, unsigned int nr,
		      enum wafer_code_mode mode)
{
	struct cursor c = { .p = bytes, .seg = NO_SEG };
	int ret;

	*insn = (struct wafer_insn){ .mode = mode, .base = -1, .index = -1, .scale = 1 };
	nr = min_t(unsigned int, nr, WAFER_INSN_MAX);
	c.end = bytes + nr;
	ret = decode(insn, &c);
	if (c.over)
		return nr == WAFER_INSN_MAX ? -EINVAL : -EAGAIN;
	if (ret)
		return ret;
	insn->seg = c.seg != NO_SEG ? c.seg :
		    insn->base == WAFER_RBP || insn->base == WAFER_RSP ? WAFER_SS : WAFER_DS;
	insn->len = c.p - bytes;
	memcpy(insn->bytes, bytes, insn->len);
	find_plain(insn);
	return 0;
}
