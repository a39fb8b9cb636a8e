// SPDX-License-Identifier: GPL-2.0
/*
 * The executor: instructions with an operand in memory that is (or may be) a device's.
 *
 * All of an instruction's checks and translations come first, then its accesses, and registers,
 * flags and RIP change when nothing can fail any more. So it can be left at any access and begun
 * again: what was done is in emu->log.
 */
#include <linux/errno.h>

#include "insn.h"

static unsigned int memory_size(const struct wafer_insn *insn)
{
	switch (insn->form->size) {
	case 0:
		return insn->op_size;
	case WAFER_SIZE_W:
		return insn->rex & 8 ? 8 : 4;
	default:
		return insn->form->size;
	}
}

static u64 swap_bytes(u64 val, unsigned int size)
{
	return __builtin_bswap64(val) >> (64 - size * 8);
}

static int exec_mov(struct wafer_emu *emu)
{
	const struct wafer_insn *insn = &emu->insn;
	const struct wafer_insn_form *form = insn->form;
	unsigned int size = memory_size(insn);
	union wafer_value val;
	struct wafer_span span;
	int ret;

	/* MOVSXD with a 16-bit destination reads 16 bits. */
	if (form->sub == WAFER_MOV_SX && size > insn->op_size)
		size = insn->op_size;
	if (form->args == WAFER_ARGS_RM) {
		ret = wafer_memory_span(emu, &span, size, WAFER_FAULT_READ);
		if (!ret)
			ret = wafer_load(emu, &span, &val);
		if (unlikely(ret))
			return ret;
		if (form->sub == WAFER_MOV_SX)
			val.q[0] = (s64)(val.q[0] << (64 - size * 8)) >> (64 - size * 8);
		else if (form->sub == WAFER_MOV_BE)
			val.q[0] = swap_bytes(val.q[0], size);
		wafer_put_gpr(emu, insn->reg, insn->op_size, val.q[0]);
		return 0;
	}
	val.q[0] = form->args == WAFER_ARGS_MI ? insn->imm : wafer_get_gpr(emu, insn->reg, size);
	if (form->sub == WAFER_MOV_BE)
		val.q[0] = swap_bytes(val.q[0], size);
	ret = wafer_memory_span(emu, &span, size, WAFER_FAULT_WRITE);
	return ret ?: wafer_store(emu, &span, &val);
}

/* Shift counts and immediates by opcode: C0, C1 an immediate, D0, D1 one, D2, D3 CL. */
static u64 source_operand(const struct wafer_emu *emu, unsigned int size)
{
	const struct wafer_insn *insn = &emu->insn;

	switch (insn->form->args) {
	case WAFER_ARGS_MI:
		return insn->imm;
	case WAFER_ARGS_MS:
		if ((insn->opcode & 0xf0) == 0xc0)
			return insn->imm;
		return insn->opcode & 2 ? emu->gpr[WAFER_RCX] & 0xff : 1;
	case WAFER_ARGS_M:
		return 0;
	default:
		return wafer_get_gpr(emu, insn->reg, size);
	}
}

/*
 * With the bit number in a register, the operand of BT and its kin is a bit string: the number is
 * signed and selects the word too (SDM vol. 2, BT and section 3.1.1.9).
 */
static u64 operand_address(const struct wafer_emu *emu, unsigned int size)
{
	const struct wafer_insn *insn = &emu->insn;
	u64 ea = wafer_address(emu);
	s64 bit;

	if (insn->form->op == WAFER_OP_BT && insn->form->args == WAFER_ARGS_MR) {
		bit = (s64)(emu->gpr[insn->reg] << (64 - size * 8)) >> (64 - size * 8);
		ea += (bit >> 3) & -(s64)size;
		ea &= wafer_size_mask(insn->addr_size);
	}
	return ea;
}

/* Instructions that compute from memory and put the result into memory, a register or the flags. */
static int exec_compute(struct wafer_emu *emu)
{
	const struct wafer_insn *insn = &emu->insn;
	const struct wafer_insn_form *form = insn->form;
	bool writes = form->flags & WAFER_F_WR, put_reg = false;
	unsigned int size = insn->op_size, reg = insn->reg;
	union wafer_value old, new;
	u64 src, res = 0, rflags = emu->rflags;
	struct wafer_span span;
	int ret;

	ret = wafer_span(emu, &span, 0, insn->seg, operand_address(emu, size), size,
			 writes ? WAFER_FAULT_WRITE : WAFER_FAULT_READ);
	if (!ret)
		ret = wafer_load(emu, &span, &old);
	if (ret)
		return ret;
	src = source_operand(emu, size);
	switch (form->op) {
	case WAFER_OP_XCHG:
		new.q[0] = src;
		res = old.q[0];
		put_reg = true;
		break;
	case WAFER_OP_XADD:
		new.q[0] = wafer_alu(WAFER_ALU_ADD, size, old.q[0], src, &rflags);
		res = old.q[0];
		put_reg = true;
		break;
	case WAFER_OP_CMPXCHG:
		/* The destination is written in either case. */
		reg = WAFER_RAX;
		res = wafer_get_gpr(emu, WAFER_RAX, size);
		put_reg = res != old.q[0];
		wafer_alu(WAFER_ALU_CMP, size, res, old.q[0], &rflags);
		new.q[0] = put_reg ? old.q[0] : src;
		res = old.q[0];
		break;
	case WAFER_OP_BT:
		new.q[0] = wafer_alu(form->sub, size, old.q[0], src, &rflags);
		break;
	default:
		if (form->args == WAFER_ARGS_RM) {
			res = wafer_alu(form->sub, size, src, old.q[0], &rflags);
			put_reg = form->sub != WAFER_ALU_CMP;
		} else {
			new.q[0] = wafer_alu(form->sub, size, old.q[0], src, &rflags);
		}
	}
	if (writes && (insn->lock || form->op == WAFER_OP_XCHG))
		ret = wafer_store_locked(emu, &span, &old, &new);
	else if (writes)
		ret = wafer_store(emu, &span, &new);
	if (ret)
		return ret;
	emu->rflags = rflags;
	if (put_reg)
		wafer_put_gpr(emu, reg, size, res);
	return 0;
}

/* CMPXCHG8B and CMPXCHG16B: two halves of 4 or 8 bytes each. */
static int exec_cmpxchg8b(struct wafer_emu *emu)
{
	const struct wafer_insn *insn = &emu->insn;
	unsigned int half = insn->rex & 8 ? 8 : 4;
	union wafer_value old, new;
	struct wafer_span span;
	u64 lo, hi, mask = wafer_size_mask(half);
	bool equal;
	int ret;

	ret = wafer_memory_span(emu, &span, half * 2,
				WAFER_FAULT_WRITE | (half == 8 ? WAFER_SPAN_ALIGNED : 0));
	if (!ret)
		ret = wafer_load(emu, &span, &old);
	if (ret)
		return ret;
	lo = old.q[0] & mask;
	hi = half == 8 ? old.q[1] : old.q[0] >> 32;
	equal = lo == (emu->gpr[WAFER_RAX] & mask) && hi == (emu->gpr[WAFER_RDX] & mask);
	new = old;
	if (equal && half == 8) {
		new.q[0] = emu->gpr[WAFER_RBX];
		new.q[1] = emu->gpr[WAFER_RCX];
	} else if (equal) {
		new.q[0] = (u32)emu->gpr[WAFER_RBX] | emu->gpr[WAFER_RCX] << 32;
	}
	if (insn->lock)
		ret = wafer_store_locked(emu, &span, &old, &new);
	else
		ret = wafer_store(emu, &span, &new);
	if (ret)
		return ret;
	if (equal) {
		emu->rflags |= WAFER_FLAGS_ZF;
		return 0;
	}
	emu->rflags &= ~(u64)WAFER_FLAGS_ZF;
	wafer_put_gpr(emu, WAFER_RAX, half, lo);
	wafer_put_gpr(emu, WAFER_RDX, half, hi);
	return 0;
}

/* CMOVcc (which reads whatever the condition), IMUL. */
static int exec_load_op(struct wafer_emu *emu)
{
	const struct wafer_insn *insn = &emu->insn;
	unsigned int size = insn->op_size;
	u64 reg = wafer_get_gpr(emu, insn->reg, size);
	union wafer_value val;
	struct wafer_span span;
	int ret;

	ret = wafer_memory_span(emu, &span, size, WAFER_FAULT_READ);
	if (!ret)
		ret = wafer_load(emu, &span, &val);
	if (ret)
		return ret;
	if (insn->form->op == WAFER_OP_CMOV) {
		if (wafer_condition(insn->opcode, emu->rflags))
			reg = val.q[0];
	} else {
		if (insn->opcode < 0x100)
			reg = insn->imm;
		reg = wafer_alu(WAFER_ALU_IMUL, size, val.q[0], reg, &emu->rflags);
	}
	wafer_put_gpr(emu, insn->reg, size, reg);
	return 0;
}

/* SETcc and MOV from a segment register. */
static int exec_store_op(struct wafer_emu *emu)
{
	const struct wafer_insn *insn = &emu->insn;
	union wafer_value val;
	struct wafer_span span;
	int ret;

	if (insn->form->op == WAFER_OP_SETCC)
		val.q[0] = wafer_condition(insn->opcode, emu->rflags);
	else if ((insn->reg & 7) <= WAFER_GS)
		val.q[0] = emu->ops->segment(emu, insn->reg & 7)->selector;
	else
		return WAFER_EMU_UNKNOWN;
	ret = wafer_memory_span(emu, &span, insn->form->size, WAFER_FAULT_WRITE);
	return ret ?: wafer_store(emu, &span, &val);
}

static unsigned int stack_size(struct wafer_emu *emu)
{
	if (emu->insn.mode == WAFER_CODE64)
		return 8;
	return emu->ops->segment(emu, WAFER_SS)->attr & WAFER_SEG_DB ? 4 : 2;
}

/* SDM vol. 2, POP: an address that is based on RSP is computed after RSP has grown. */
static int exec_pop(struct wafer_emu *emu)
{
	const struct wafer_insn *insn = &emu->insn;
	unsigned int size = insn->op_size, ssize = stack_size(emu);
	u64 old_rsp = emu->gpr[WAFER_RSP], ea;
	struct wafer_span from, to;
	union wafer_value val;
	int ret;

	ret = wafer_span(emu, &from, 0, WAFER_SS, old_rsp & wafer_size_mask(ssize), size,
			 WAFER_FAULT_READ);
	if (ret)
		return ret;
	wafer_put_gpr(emu, WAFER_RSP, ssize, old_rsp + size);
	ea = wafer_address(emu);
	ret = wafer_span(emu, &to, 1, insn->seg, ea, size, WAFER_FAULT_WRITE);
	if (!ret)
		ret = wafer_load(emu, &from, &val);
	if (!ret)
		ret = wafer_store(emu, &to, &val);
	if (ret)
		emu->gpr[WAFER_RSP] = old_rsp;
	return ret;
}

/* Where CALL and JMP go must be canonical, or within the limit of the code segment. */
static int check_target(struct wafer_emu *emu, u64 target)
{
	unsigned int unused = 64 - emu->va_bits;

	if (emu->insn.mode == WAFER_CODE64) {
		if ((u64)((s64)(target << unused) >> unused) != target)
			return wafer_raise(emu, 13);
	} else if (target > emu->ops->segment(emu, WAFER_CS)->limit) {
		return wafer_raise(emu, 13);
	}
	return 0;
}

/* PUSH, CALL and JMP through memory. */
static int exec_push(struct wafer_emu *emu)
{
	const struct wafer_insn *insn = &emu->insn;
	unsigned int size = insn->op_size, ssize = stack_size(emu);
	bool push = insn->form->op != WAFER_OP_JMP, jump = insn->form->op != WAFER_OP_PUSH;
	u64 rsp = emu->gpr[WAFER_RSP] - size;
	struct wafer_span from, to;
	union wafer_value val, next;
	int ret;

	ret = wafer_memory_span(emu, &from, size, WAFER_FAULT_READ);
	if (!ret && push)
		ret = wafer_span(emu, &to, 1, WAFER_SS, rsp & wafer_size_mask(ssize), size,
				 WAFER_FAULT_WRITE);
	if (!ret)
		ret = wafer_load(emu, &from, &val);
	if (!ret && jump)
		ret = check_target(emu, val.q[0]);
	if (!ret && push) {
		next.q[0] = emu->rip + insn->len;
		ret = wafer_store(emu, &to, jump ? &next : &val);
	}
	if (ret)
		return ret;
	if (push)
		wafer_put_gpr(emu, WAFER_RSP, ssize, rsp);
	if (jump)
		emu->rip = val.q[0] - insn->len;	/* which is added at the end */
	return 0;
}

static int execute(struct wafer_emu *emu)
{
	switch (emu->insn.form->op) {
	case WAFER_OP_MOV:
		return exec_mov(emu);
	case WAFER_OP_STRING:
		return wafer_emulate_string(emu);
	case WAFER_OP_VEC:
		return wafer_emulate_vec(emu);
	case WAFER_OP_CMPXCHG8B:
		return exec_cmpxchg8b(emu);
	case WAFER_OP_CMOV:
	case WAFER_OP_IMUL:
		return exec_load_op(emu);
	case WAFER_OP_SETCC:
	case WAFER_OP_SREG:
		return exec_store_op(emu);
	case WAFER_OP_POP:
		return exec_pop(emu);
	case WAFER_OP_PUSH:
	case WAFER_OP_CALL:
	case WAFER_OP_JMP:
		return exec_push(emu);
	case WAFER_OP_NONE:
		return WAFER_EMU_UNKNOWN;
	default:
		return exec_compute(emu);
	}
}

int wafer_emulate(struct wafer_emu *emu)
{
	unsigned int i;
	int ret;

	if (!emu->insn.form)
		return WAFER_EMU_UNKNOWN;
	emu->next = 0;
	if (!emu->nr_log)
		for (i = 0; i < ARRAY_SIZE(emu->page); i++)
			emu->page[i].access = 0;
	ret = execute(emu);
	if (unlikely(ret < 0 || ret == WAFER_EMU_USER))
		return ret;
	emu->nr_log = 0;
	if (likely(ret == WAFER_EMU_DONE)) {
		emu->rip += emu->insn.len;
		if (emu->insn.mode != WAFER_CODE64)
			emu->rip &= wafer_size_mask(emu->insn.mode);
		emu->rflags &= ~(u64)WAFER_FLAGS_RF;
		emu->batch = 0;
	}
	return ret;
}
