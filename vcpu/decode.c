// SPDX-License-Identifier: GPL-2.0
/*
 * The instruction decoder: prefixes, opcode, ModRM, displacement, immediate (SDM vol. 2 chapter 2).
 *
 * Everything that differs between opcodes is in the tables of vcpu/opcodes.c.
 */
#include <linux/errno.h>
#include <linux/string.h>

#include "insn.h"

#define NO_SEG		0xff
#define REX_W		8
#define REX_R		4
#define REX_X		2
#define REX_B		1

/* What is known half-way. */
struct cursor {
	const u8 *p, *end;
	bool opsize, adsize;		/* 66, 67 */
	u8 seg;				/* override, or NO_SEG */
	u8 evex;
};

/* Takes @n bytes, sign-extended. False: there are not so many. */
static __always_inline bool take(struct cursor *c, unsigned int n, s64 *val)
{
	const u8 *p = c->p;
	s16 w;
	s32 d;

	if (unlikely(c->end - p < n))
		return false;
	c->p = p + n;
	switch (n) {
	case 1:
		*val = (s8)p[0];
		break;
	case 2:
		memcpy(&w, p, 2);
		*val = w;
		break;
	case 4:
		memcpy(&d, p, 4);
		*val = d;
		break;
	default:
		memcpy(val, p, 8);
	}
	return true;
}

static __always_inline bool take_byte(struct cursor *c, u8 *val)
{
	if (unlikely(c->p == c->end))
		return false;
	*val = *c->p++;
	return true;
}

static void legacy_prefix(struct wafer_insn *insn, struct cursor *c, u8 byte)
{
	switch (byte) {
	case 0x26:
	case 0x2e:
	case 0x36:
	case 0x3e:
		/* ES, CS, SS, DS: without a base and without meaning in 64-bit code */
		if (insn->mode != WAFER_CODE64)
			c->seg = (byte >> 3) & 3;
		break;
	case 0x64:
	case 0x65:
		c->seg = byte & 7;
		break;
	case 0x66:
		c->opsize = true;
		break;
	case 0x67:
		c->adsize = true;
		break;
	case 0xf0:
		insn->lock = true;
		break;
	default:
		insn->rep = byte;
	}
}

/*
 * Prefixes and the first opcode byte. A REX prefix counts only right before the opcode (SDM vol. 2
 * §2.2.1). Of several segment overrides, and of F2 and F3, the last one counts.
 */
static bool take_prefixes(struct wafer_insn *insn, struct cursor *c, u8 *op)
{
	u8 byte;

	for (;;) {
		if (!take_byte(c, &byte))
			return false;
		if (insn->mode == WAFER_CODE64 && (byte & 0xf0) == 0x40) {
			insn->has_rex = true;
			insn->rex = byte & 0xf;
			continue;
		}
		if (!(wafer_map_one[byte].flags & WAFER_F_PREFIX))
			break;
		insn->has_rex = false;
		insn->rex = 0;
		legacy_prefix(insn, c, byte);
	}
	*op = byte;
	return true;
}

/*
 * VEX and EVEX: C5 Rvvvv.L.pp; C4 RXBmmmmm Wvvvv.L.pp; 62 RXBR'0mmm Wvvvv1pp zL'Lb.V'aaa
 * (SDM vol. 2 §2.3.5, 2.7.1). In 16 and 32-bit code they are LDS, LES and BOUND unless ModRM says
 * "register".
 * 0, 1: these bytes are no such prefix, -EAGAIN, -EINVAL.
 */
static int take_vex(struct wafer_insn *insn, struct cursor *c, u8 op)
{
	u8 first, second = 0, third = 0, map = WAFER_MAP_0F;

	if (c->p == c->end)
		return -EAGAIN;
	if (insn->mode != WAFER_CODE64 && *c->p < 0xc0)
		return 1;
	if (insn->has_rex || insn->lock || insn->rep || c->opsize)
		return -EINVAL;
	take_byte(c, &first);
	if (op == 0xc5) {
		second = first & 0x7f;
	} else {
		map = first & (op == 0x62 ? 7 : 0x1f);
		if (!take_byte(c, &second) || (op == 0x62 && !take_byte(c, &third)))
			return -EAGAIN;
	}
	insn->vex = true;
	c->evex = op == 0x62;
	if (map == 0 || map > (c->evex ? 6 : 3) || map == 4)
		return -EINVAL;
	insn->vex_v = ~second >> 3 & 0xf;
	insn->vex_l = c->evex ? third >> 5 & 3 : second >> 2 & 1;
	insn->rex = (~first >> 5 & 7) & (op == 0xc5 ? REX_R : 7);
	insn->rex |= second & 0x80 ? REX_W : 0;
	if (insn->mode != WAFER_CODE64) {
		insn->rex = 0;
		insn->vex_v &= 7;
	}
	c->opsize = (second & 3) == 1;
	insn->rep = (second & 3) == 2 ? 0xf3 : (second & 3) == 3 ? 0xf2 : 0;
	insn->opcode = map << 8;
	return 0;
}

/* 16-bit addressing: base and index of each ModRM.rm (SDM vol. 2 table 2-1). */
static const s8 base16[8] = {
	WAFER_RBX, WAFER_RBX, WAFER_RBP, WAFER_RBP, WAFER_RSI, WAFER_RDI, WAFER_RBP, WAFER_RBX
};

static const s8 index16[8] = { WAFER_RSI, WAFER_RDI, WAFER_RSI, WAFER_RDI, -1, -1, -1, -1 };

static bool take_sib(struct wafer_insn *insn, struct cursor *c)
{
	u8 sib;

	if (!take_byte(c, &sib))
		return false;
	insn->scale = 1 << (sib >> 6);
	insn->index = (sib >> 3 & 7) | (insn->rex & REX_X ? 8 : 0);
	if (insn->index == WAFER_RSP)
		insn->index = -1;
	insn->base = sib & 7;
	if (insn->base == WAFER_RBP && insn->mod == 0)
		insn->base = -1;
	return true;
}

static __always_inline bool take_memory(struct wafer_insn *insn, struct cursor *c)
{
	unsigned int rm = insn->rm, disp = insn->mod == 1 ? 1 : 0;

	if (insn->addr_size == 2) {
		insn->base = base16[rm];
		insn->index = index16[rm];
		if (insn->mod == 2)
			disp = 2;
		if (insn->mod == 0 && rm == 6) {
			insn->base = -1;
			disp = 2;
		}
	} else {
		if (insn->mod == 2)
			disp = 4;
		insn->base = rm;
		if (rm == 4 && !take_sib(insn, c))
			return false;
		if (insn->mod == 0 && rm == 5) {
			insn->base = -1;
			insn->rip_rel = insn->mode == WAFER_CODE64;
		}
		if (insn->base < 0)
			disp = 4;
		else if (insn->rex & REX_B)
			insn->base |= 8;
	}
	if (insn->base == WAFER_RBP || insn->base == WAFER_RSP)
		insn->seg = WAFER_SS;
	return !disp || take(c, disp, &insn->disp);
}

static __always_inline bool take_modrm(struct wafer_insn *insn, struct cursor *c, u32 flags)
{
	u8 modrm;

	if (!take_byte(c, &modrm))
		return false;
	insn->has_modrm = true;
	insn->mod = flags & WAFER_F_REGS ? 3 : modrm >> 6;
	insn->reg = modrm >> 3 & 7;
	insn->rm = modrm & 7;
	if (insn->mod != 3) {
		insn->is_mem = true;
		if (!take_memory(insn, c))
			return false;
	}
	if (insn->rex & REX_R)
		insn->reg |= 8;
	if (insn->rex & REX_B)
		insn->rm |= 8;
	return true;
}

static bool take_immediate(struct wafer_insn *insn, struct cursor *c, u32 flags)
{
	unsigned int z = min_t(u8, insn->op_size, 4);
	s64 val = 0, more;

	switch (flags & WAFER_F_IMM) {
	case WAFER_F_IMM8:
		if (!take(c, 1, &val))
			return false;
		break;
	case WAFER_F_IMM16:
		if (!take(c, 2, &val))
			return false;
		break;
	case WAFER_F_IMMZ:
		if (!take(c, z, &val))
			return false;
		break;
	case WAFER_F_IMMV:
		if (!take(c, insn->op_size, &val))
			return false;
		break;
	case WAFER_F_MOFFS:
		if (!take(c, insn->addr_size, &val))
			return false;
		insn->is_mem = true;
		insn->disp = val;
		break;
	case WAFER_F_FAR:
		if (!take(c, z, &val) || !take(c, 2, &more))
			return false;
		break;
	case WAFER_F_ENTER:
		if (!take(c, 2, &val) || !take(c, 1, &more))
			return false;
		break;
	case WAFER_F_IMM2X8:
		if (!take(c, 1, &val) || !take(c, 1, &more))
			return false;
		break;
	}
	insn->imm = val;
	return true;
}

/* The map and the entry of the table, from the first opcode byte on. */
static __always_inline int take_opcode(struct wafer_insn *insn, struct cursor *c, u8 op,
				       const struct wafer_insn_form **form)
{
	static const struct wafer_insn_form map_0f38 = { .flags = WAFER_F_MODRM | WAFER_F_MAP3 };
	static const struct wafer_insn_form map_0f3a = {
		.flags = WAFER_F_MODRM | WAFER_F_MAP3 | WAFER_F_IMM8
	};
	int ret;

	if (unlikely(op == 0xc4 || op == 0xc5 || op == 0x62)) {
		ret = take_vex(insn, c, op);
		if (ret < 0)
			return ret;
		if (!ret && !take_byte(c, &op))
			return -EAGAIN;
	} else if (op == 0x0f) {
		insn->opcode = WAFER_MAP_0F << 8;
		if (!take_byte(c, &op))
			return -EAGAIN;
		if (op == 0x38 || op == 0x3a) {
			insn->opcode = (op == 0x38 ? WAFER_MAP_0F38 : WAFER_MAP_0F3A) << 8;
			if (!take_byte(c, &op))
				return -EAGAIN;
		}
	}
	insn->opcode |= op;
	switch (insn->opcode >> 8) {
	case WAFER_MAP_ONE:
		*form = &wafer_map_one[op];
		break;
	case WAFER_MAP_0F:
		*form = &wafer_map_0f[op];
		break;
	case WAFER_MAP_0F3A:
		*form = &map_0f3a;
		break;
	default:
		*form = &map_0f38;	/* EVEX maps 5 and 6 look the same */
	}
	return 0;
}

/* VMOV* are the same rows; everything else with VEX is known by its length alone. */
static int vex_flags(const struct wafer_insn *insn, const struct cursor *c, u32 *flags)
{
	if (insn->opcode >> 8 == WAFER_MAP_0F && !(*flags & WAFER_F_MODRM)) {
		if (c->evex)
			*flags = WAFER_F_MODRM;
		else if (insn->opcode != 0x177)		/* VZEROUPPER */
			return -EINVAL;
	}
	*flags &= WAFER_F_MODRM | WAFER_F_IMM | WAFER_F_SSE;
	return 0;
}

/* Which form of the opcode it is, now that ModRM is known. NULL: none that the executor has. */
static const struct wafer_insn_form *find_form(const struct wafer_insn *insn,
					       const struct cursor *c,
					       const struct wafer_insn_form *form)
{
	unsigned int pfx;

	if (likely(!(form->flags & (WAFER_F_GROUP | WAFER_F_SSE | WAFER_F_ONLY64 | WAFER_F_MAP3))))
		return insn->vex ? NULL : form;
	pfx = insn->rep ? insn->rep == 0xf3 ? 2 : 3 : c->opsize;
	if (form->flags & WAFER_F_MAP3) {
		if (insn->opcode == 0x22a && pfx == 1)
			return &wafer_movntdqa;
		if ((insn->opcode | 1) == 0x2f1 && !insn->rep && !insn->vex)
			return insn->opcode & 1 ? &wafer_movbe_store : &wafer_movbe_load;
		return NULL;
	}
	if (form->flags & WAFER_F_GROUP)
		return &wafer_groups[form->op][insn->reg & 7];
	if (form->flags & WAFER_F_SSE)
		return &wafer_sse[form->op][pfx];
	return insn->mode == WAFER_CODE64 && !insn->vex ? form : NULL;		/* WAFER_F_ONLY64 */
}

static __always_inline u8 operand_size(const struct wafer_insn *insn, bool opsize, u32 flags)
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

/* The parts behind the opcode. 0, -EAGAIN, -EINVAL. */
static __always_inline int take_rest(struct wafer_insn *insn, struct cursor *c,
				     const struct wafer_insn_form *form)
{
	u32 flags = form->flags;

	if (unlikely(insn->vex && vex_flags(insn, c, &flags)))
		return -EINVAL;
	if (flags & WAFER_F_UD || (flags & WAFER_F_NO64 && insn->mode == WAFER_CODE64))
		return -EINVAL;
	if (flags & WAFER_F_MODRM && !take_modrm(insn, c, flags))
		return -EAGAIN;
	form = find_form(insn, c, form);
	if (form)
		flags |= form->flags;
	if (flags & WAFER_F_UD)
		return -EINVAL;
	if (insn->opcode == 0x178 && (c->opsize || insn->rep == 0xf2))
		flags |= WAFER_F_IMM2X8;	/* SSE4a EXTRQ, INSERTQ */
	insn->op_size = operand_size(insn, c->opsize, flags);
	if (flags & WAFER_F_IMM && !take_immediate(insn, c, flags))
		return -EAGAIN;
	if (!form || !form->op || c->evex)
		return 0;
	if (unlikely(insn->lock && (!(flags & WAFER_F_LOCK) || !insn->is_mem)))
		return -EINVAL;
	if (form->op == WAFER_OP_VEC)
		insn->op_size = insn->vex_l ? 32 : 16;
	if (insn->is_mem || form->op == WAFER_OP_STRING)
		insn->form = form;
	return 0;
}

int wafer_insn_decode(struct wafer_insn *insn, const u8 *bytes, unsigned int nr,
		      enum wafer_code_mode mode)
{
	struct cursor c = { .p = bytes, .seg = NO_SEG };
	const struct wafer_insn_form *form;
	int ret = -EAGAIN;
	u8 op;

	*insn = (struct wafer_insn){
		.mode = mode, .seg = WAFER_DS, .base = -1, .index = -1, .scale = 1,
	};
	nr = min_t(unsigned int, nr, WAFER_INSN_MAX);
	c.end = bytes + nr;
	if (take_prefixes(insn, &c, &op)) {
		insn->addr_size = mode;
		if (c.adsize)
			insn->addr_size = mode == WAFER_CODE32 ? 2 : 4;
		ret = take_opcode(insn, &c, op, &form);
		if (!ret)
			ret = take_rest(insn, &c, form);
	}
	if (unlikely(ret))
		return ret == -EAGAIN && nr == WAFER_INSN_MAX ? -EINVAL : ret;
	if (c.seg != NO_SEG)
		insn->seg = c.seg;
	insn->len = c.p - bytes;
	if (likely(nr == WAFER_INSN_MAX))
		memcpy(insn->bytes, bytes, WAFER_INSN_MAX);
	else
		memcpy(insn->bytes, bytes, insn->len);
	return 0;
}
