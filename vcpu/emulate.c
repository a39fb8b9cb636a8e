// SPDX-License-Identifier: GPL-2.0
/*
 * The executor: instructions with an operand in memory that is (or may be) a device's.
 *
 * All of an instruction's checks and translations come first, then its accesses, and registers,
 * flags and RIP change when nothing can fail any more. So it can be left at any access and begun
 * again: what was done is in emu->log.
 */
#include "insn.h"

/*
 * Steps of a REP instruction until the guest is entered again and can take interrupts. A step that
 * user space had to help with takes about as long as STEP_USER of the others.
 */
#define BATCH_STEPS	1024
#define STEP_USER	64

/* Bytes of the operand in memory. */
static unsigned int memory_size(const struct wafer_insn *insn)
{
	const struct wafer_insn_form *form = insn->form;
	unsigned int size = form->size ?: insn->op_size;

	if (size == WAFER_SIZE_W)
		size = (insn->rex & 8 ? 8 : 4) << (form->op == WAFER_OP_CMPXCHG8B);
	if (form->op == WAFER_OP_JMP_FAR)
		size += 2;
	/* MOVSXD with a 16-bit destination reads 16 bits. */
	return form->op == WAFER_OP_SX ? min_t(unsigned int, size, insn->op_size) : size;
}

static unsigned int stack_size(struct wafer_emu *emu)
{
	if (emu->insn.mode == WAFER_CODE64)
		return 8;
	return emu->ops->segment(emu, WAFER_SS)->attr & WAFER_SEG_DB ? 4 : 2;
}

/* Checks and translates an operand in memory. The source is first (slot 0). */
static int locate(struct wafer_emu *emu, u8 at, bool dst, unsigned int size, u32 access)
{
	const struct wafer_insn *insn = &emu->insn;
	unsigned int asize = insn->addr_size;
	enum wafer_seg_reg seg = insn->seg;
	u64 ea;

	switch (at) {
	case WAFER_AT_MEM:
		ea = wafer_effective_address(emu);
		/*
		 * With the bit number in a register, the operand of BT and its kin is a bit string:
		 * the number is signed and selects the word too (SDM vol. 2, BT and 3.1.1.9).
		 */
		if (insn->form->op >= WAFER_OP_BT && insn->form->op <= WAFER_OP_BTC &&
		    insn->form->src == WAFER_AT_REG)
			ea += (wafer_sign_extend(emu->gpr[insn->reg], size) >> 3) & -(s64)size;
		if (insn->form->flags & WAFER_F_ALIGN && size >= 16)
			access |= WAFER_SPAN_ALIGNED;
		break;
	case WAFER_AT_SI:
		ea = emu->gpr[WAFER_RSI];
		break;
	case WAFER_AT_DI:
		ea = emu->gpr[WAFER_RDI];
		seg = WAFER_ES;			/* whatever the prefixes say */
		break;
	default:				/* the stack */
		ea = emu->gpr[WAFER_RSP] - (dst ? size : 0);
		seg = WAFER_SS;
		asize = stack_size(emu);
	}
	return wafer_span(emu, &emu->op[dst], dst, seg, ea & wafer_size_mask(asize), size, access);
}

static int get(struct wafer_emu *emu, struct wafer_operand *o, u8 at, unsigned int size)
{
	const struct wafer_insn *insn = &emu->insn;
	u64 *val = o->val.q;

	switch (at) {
	case WAFER_AT_NONE:
		return 0;
	case WAFER_AT_REG:
	case WAFER_AT_ACC:
		*val = wafer_get_gpr(emu, at == WAFER_AT_REG ? insn->reg : WAFER_RAX, size);
		return 0;
	case WAFER_AT_RM:
		*val = wafer_get_gpr(emu, insn->rm, size);
		return 0;
	case WAFER_AT_SREG:
		if ((insn->reg & 7) > WAFER_GS)
			return WAFER_EMU_UNKNOWN;
		*val = emu->ops->segment(emu, insn->reg & 7)->selector;
		return 0;
	case WAFER_AT_MSW:
		*val = emu->cr0;
		return 0;
	case WAFER_AT_COUNT:			/* D0, D1: one; D2, D3: CL; C0, C1: immediate */
		*val = insn->opcode & 2 ? emu->gpr[WAFER_RCX] & 0xff : 1;
		if (insn->opcode >= 0xd0)
			return 0;
		fallthrough;
	case WAFER_AT_IMM:
		*val = insn->imm;
		return 0;
	case WAFER_AT_PORT:
		return wafer_access_port(emu, &o->val, size, false);
	case WAFER_AT_MMX:
		emu->ops->vec(emu, insn->reg & 7, val, 8, false, false);
		return 0;
	case WAFER_AT_VEC:
	case WAFER_AT_VECLO:
	case WAFER_AT_VECHI:
		emu->ops->vec(emu, insn->reg, val, max_t(unsigned int, size, 16), false, false);
		if (at == WAFER_AT_VECHI)
			val[0] = val[1];
		return 0;
	}
	return wafer_access(emu, o, &o->val, false);
}

/* The half of an XMM that stays is the first source's: with VEX another register. */
static void put_half(struct wafer_emu *emu, u64 val, bool high)
{
	const struct wafer_insn *insn = &emu->insn;
	u64 reg[2];

	emu->ops->vec(emu, insn->vex ? insn->vex_v : insn->reg, reg, 16, false, false);
	reg[high] = val;
	emu->ops->vec(emu, insn->reg, reg, 16, true, insn->vex);
}

/* @locked: together with the read, if memory is behind it. */
static int put(struct wafer_emu *emu, union wafer_value *val, u8 at, unsigned int size, bool locked)
{
	const struct wafer_insn *insn = &emu->insn;

	switch (at) {
	case WAFER_AT_REG:
	case WAFER_AT_ACC:
		wafer_put_gpr(emu, at == WAFER_AT_REG ? insn->reg : WAFER_RAX, insn->op_size,
			      val->q[0]);
		return 0;
	case WAFER_AT_SREG:
		if (insn->opcode == 0x8e && (insn->reg & 7) > WAFER_GS)
			return WAFER_EMU_UNKNOWN;
		return emu->ops->load_segment(emu, insn->opcode == 0x8e ? insn->reg & 7 : WAFER_TR,
					      val->q[0]);
	case WAFER_AT_MSW:
		return emu->ops->set_msw(emu, val->q[0]);
	case WAFER_AT_PORT:
		return wafer_access_port(emu, val, size, true);
	case WAFER_AT_MMX:
		emu->ops->vec(emu, insn->reg & 7, val, 8, true, false);
		return 0;
	case WAFER_AT_VEC:
		if (size < 16)
			val->q[1] = 0;
		emu->ops->vec(emu, insn->reg, val, max_t(unsigned int, size, 16), true, insn->vex);
		return 0;
	case WAFER_AT_VECLO:
	case WAFER_AT_VECHI:
		put_half(emu, val->q[0], at == WAFER_AT_VECHI);
		return 0;
	}
	return locked ? wafer_write_locked(emu, &emu->op[1], val) :
			wafer_access(emu, &emu->op[1], val, true);
}

/* Two registers as one value, of 4 or 8 bytes each. */
static void set_pair(union wafer_value *val, const u64 *lo, const u64 *hi, unsigned int half)
{
	memcpy(val->b, lo, half);
	memcpy(val->b + half, hi, half);
}

/* @d becomes what goes into the destination. Return: which register gets @s besides, or -1. */
static int compute(struct wafer_emu *emu, union wafer_value *d, union wafer_value *s,
		   unsigned int size, u64 *rflags)
{
	const struct wafer_insn *insn = &emu->insn;
	u64 old = d->q[0];

	switch (insn->form->op) {
	case WAFER_OP_SX:
		d->q[0] = wafer_sign_extend(s->q[0], size);
		break;
	case WAFER_OP_BE:
		d->q[0] = __builtin_bswap64(s->q[0]) >> (64 - size * 8);
		break;
	case WAFER_OP_CMOV:			/* which reads whatever the condition */
		if (wafer_condition(insn->opcode, *rflags))
			d->q[0] = s->q[0];
		break;
	case WAFER_OP_SETCC:
		d->q[0] = wafer_condition(insn->opcode, *rflags);
		break;
	case WAFER_OP_CALL:
		d->q[0] = emu->rip + insn->len;
		break;
	case WAFER_OP_ENTER:
		d->q[0] = emu->gpr[WAFER_RBP];
		s->q[0] = emu->gpr[WAFER_RSP] - size;
		return WAFER_RBP;
	case WAFER_OP_LEAVE:
		return WAFER_RBP;
	case WAFER_OP_JMP:
	case WAFER_OP_JMP_FAR:
		break;
	case WAFER_OP_XCHG:
		d->q[0] = s->q[0];
		s->q[0] = old;
		return insn->reg;
	case WAFER_OP_XADD:
		d->q[0] = wafer_alu(WAFER_OP_ADD, size, old, s->q[0], 0, rflags);
		s->q[0] = old;
		return insn->reg;
	case WAFER_OP_CMPXCHG:			/* The destination is written in either case. */
		wafer_alu(WAFER_OP_CMP, size, wafer_get_gpr(emu, WAFER_RAX, size), old, 0, rflags);
		if (*rflags & X86_EFLAGS_ZF) {
			d->q[0] = s->q[0];
			break;
		}
		s->q[0] = old;
		return WAFER_RAX;
	case WAFER_OP_CMPXCHG8B:
		*rflags &= ~(u64)X86_EFLAGS_ZF;
		set_pair(s, &emu->gpr[WAFER_RAX], &emu->gpr[WAFER_RDX], size / 2);
		if (memcmp(s, d, size))
			break;
		*rflags |= X86_EFLAGS_ZF;
		set_pair(d, &emu->gpr[WAFER_RBX], &emu->gpr[WAFER_RCX], size / 2);
		break;
	case WAFER_OP_SHLD:			/* A4, AC: immediate; A5, AD: CL */
	case WAFER_OP_SHRD:
		d->q[0] = wafer_alu(insn->form->op, size, old,
				    insn->opcode & 1 ? emu->gpr[WAFER_RCX] : insn->imm,
				    s->q[0], rflags);
		break;
	case WAFER_OP_IMUL:
		if (insn->opcode < 0x100)
			old = insn->imm;
		fallthrough;
	default:
		d->q[0] = wafer_alu(insn->form->op, size, old, s->q[0], 0, rflags);
	}
	return -1;
}

/* With RDX:RAX, or AX: MUL, IMUL, DIV, IDIV. */
static int muldiv(struct wafer_emu *emu, u64 src, unsigned int size, u64 *rflags)
{
	u64 lo = wafer_get_gpr(emu, WAFER_RAX, size), hi = wafer_get_gpr(emu, WAFER_RDX, size);

	if (size == 1)
		hi = emu->gpr[WAFER_RAX] >> 8 & 0xff;
	if (!wafer_muldiv(emu->insn.reg & 3, size, &lo, &hi, src, rflags)) {
		wafer_raise(emu, 0);
		emu->event.has_error = false;
		return WAFER_EMU_EVENT;
	}
	if (size == 1)
		wafer_put_gpr(emu, WAFER_RAX, 2, (lo & 0xff) | hi << 8);
	else
		wafer_put_gpr(emu, WAFER_RDX, size, hi);
	if (size > 1)
		wafer_put_gpr(emu, WAFER_RAX, size, lo);
	return 0;
}

/* Where CALL and JMP go must be canonical, or within the limit of the code segment. */
static int go_to(struct wafer_emu *emu, union wafer_value *target)
{
	unsigned int size = emu->insn.op_size;
	bool far = emu->insn.form->op == WAFER_OP_JMP_FAR;
	u16 selector;

	memcpy(&selector, target->b + size, 2);
	if (far)
		target->q[0] &= wafer_size_mask(size);
	if (emu->insn.mode == WAFER_CODE64 ? !wafer_canonical(emu, target->q[0]) :
	    target->q[0] > emu->ops->segment(emu, WAFER_CS)->limit)
		return wafer_raise(emu, 13);
	return far ? emu->ops->load_segment(emu, WAFER_CS, selector) : 0;
}

/* Once through the instruction, or one element of a string. Flags are the caller's to keep. */
static int step(struct wafer_emu *emu, u64 *rflags)
{
	const struct wafer_insn *insn = &emu->insn;
	const struct wafer_insn_form *form = insn->form;
	bool writes = !(WAFER_OPS_READ & BIT_ULL(form->op));
	bool locked = insn->lock || form->op == WAFER_OP_XCHG;
	unsigned int size = memory_size(insn);
	u64 rsp = emu->gpr[WAFER_RSP], flags = *rflags;
	struct wafer_operand *src = &emu->op[0], *dst = &emu->op[1];
	int ret, reg = -1;

	if (form->op == WAFER_OP_LEAVE)
		wafer_put_gpr(emu, WAFER_RSP, stack_size(emu), emu->gpr[WAFER_RBP]);
	ret = wafer_at_memory(form->src) ?
	      locate(emu, form->src, false, size, WAFER_FAULT_READ) : 0;
	/* SDM vol. 2, POP: an address that is based on RSP is computed after RSP has grown. */
	if (!ret && form->src == WAFER_AT_STACK)
		wafer_put_gpr(emu, WAFER_RSP, stack_size(emu), emu->gpr[WAFER_RSP] + size);
	if (!ret && wafer_at_memory(form->dst))
		ret = locate(emu, form->dst, true, size,
			     writes ? WAFER_FAULT_WRITE : WAFER_FAULT_READ);
	ret = ret ?: get(emu, src, form->src, size);
	if (!ret && form->op == WAFER_OP_MOV) {
		ret = put(emu, &src->val, form->dst, size, false);
	} else if (!ret && form->op == WAFER_OP_MULDIV) {
		ret = muldiv(emu, src->val.q[0], size, &flags);
	} else if (!ret) {
		if (form->op < WAFER_OP_MOV)
			ret = get(emu, dst, form->dst, size);
		else if (form->op >= WAFER_OP_CALL)
			ret = go_to(emu, &src->val);
		if (!ret && locked)
			emu->old = dst->val;
		if (!ret)
			reg = compute(emu, &dst->val, &src->val, size, &flags);
		if (!ret && writes)
			ret = put(emu, &dst->val, form->dst, size, locked);
	}
	if (ret) {
		emu->gpr[WAFER_RSP] = rsp;
		return ret;
	}
	*rflags = flags;
	if (reg >= 0)
		wafer_put_gpr(emu, reg, size, src->val.q[0]);
	if (form->op == WAFER_OP_CMPXCHG8B && !(flags & X86_EFLAGS_ZF)) {
		wafer_put_gpr(emu, WAFER_RAX, size / 2, dst->val.q[0]);
		wafer_put_gpr(emu, WAFER_RDX, size / 2,
			      size == 16 ? dst->val.q[1] : dst->val.q[0] >> 32);
	}
	if (form->dst == WAFER_AT_STACK)
		wafer_put_gpr(emu, WAFER_RSP, stack_size(emu), rsp - size -
			      (form->op == WAFER_OP_ENTER ? insn->imm & 0xffff : 0));
	if (form->op >= WAFER_OP_CALL)
		emu->rip = src->val.q[0] - insn->len;	/* which is added at the end */
	return 0;
}

/*
 * A string instruction, or steps of a repeated one (SDM vol. 2, REP; vol. 1 §7.3.9): after each,
 * the registers are those of an interrupted instruction. F3 goes on while equal, F2 while not,
 * where something is compared.
 */
static int string(struct wafer_emu *emu, u64 *rflags)
{
	const struct wafer_insn *insn = &emu->insn;
	u8 src = insn->form->src, dst = insn->form->dst, asize = insn->addr_size;
	bool si = src == WAFER_AT_SI || dst == WAFER_AT_SI;
	bool di = src == WAFER_AT_DI || dst == WAFER_AT_DI, rep = insn->rep, helped;
	s64 delta = *rflags & X86_EFLAGS_DF ? -(s64)insn->op_size : insn->op_size;
	u64 *count = &emu->gpr[WAFER_RCX], mask = wafer_size_mask(asize);
	int ret;

	while (!rep || *count & mask) {
		helped = emu->nr_log;
		ret = step(emu, rflags);
		if (ret)
			return ret;
		emu->nr_log = 0;
		emu->next = 0;
		if (si)
			wafer_put_gpr(emu, WAFER_RSI, asize, emu->gpr[WAFER_RSI] + delta);
		if (di)
			wafer_put_gpr(emu, WAFER_RDI, asize, emu->gpr[WAFER_RDI] + delta);
		if (!rep)
			break;
		wafer_put_gpr(emu, WAFER_RCX, asize, *count - 1);
		if (insn->form->op == WAFER_OP_CMP &&
		    !(*rflags & X86_EFLAGS_ZF) == (insn->rep == 0xf3))
			break;
		emu->batch += helped ? STEP_USER : 1;
		if (*count & mask && (emu->stop || emu->batch >= BATCH_STEPS ||
				      emu->rflags & X86_EFLAGS_TF)) {
			emu->batch = 0;
			return WAFER_EMU_AGAIN;
		}
	}
	return 0;
}

int wafer_emulate(struct wafer_emu *emu)
{
	u64 rflags = emu->rflags;
	int ret;

	if (!emu->insn.form)
		return WAFER_EMU_UNKNOWN;
	emu->next = 0;
	for (unsigned int i = 0; i < ARRAY_SIZE(emu->page) && !emu->nr_log; i++)
		emu->page[i].access = 0;
	ret = wafer_insn_uses(&emu->insn, WAFER_AT_SI, WAFER_AT_DI) ? string(emu, &rflags) :
								      step(emu, &rflags);
	if (unlikely(ret < 0 || ret == WAFER_EMU_USER))
		return ret;
	emu->nr_log = 0;
	if (likely(ret == WAFER_EMU_DONE)) {
		emu->rip += emu->insn.len;
		/* EIP has 32 bits in 16-bit code too: the fetch tells what is behind the limit. */
		if (emu->insn.mode != WAFER_CODE64)
			emu->rip = (u32)emu->rip;
		/* Left before the end, REP has not changed the flags yet (SDM vol. 2, REP). */
		emu->rflags = rflags & ~(u64)X86_EFLAGS_RF;
		emu->batch = 0;
	} else if (ret == WAFER_EMU_AGAIN) {
		emu->rflags |= X86_EFLAGS_RF;	/* SDM vol. 3 §17.3.1.1 */
	}
	return ret;
}
