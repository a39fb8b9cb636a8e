// SPDX-License-Identifier: GPL-2.0
/*
 * MOVS, CMPS, STOS, LODS and SCAS, alone and repeated (SDM vol. 2, REP; vol. 1 §7.3.9).
 *
 * Each element is a step of its own: after it, the registers are those of an interrupted
 * instruction.
 */
#include "insn.h"

/*
 * Steps until the guest is entered again and can take interrupts. A step that user space had to
 * help with takes about as long as STEP_USER of the others.
 */
#define BATCH_STEPS	1024
#define STEP_USER	64

struct string {
	unsigned int size;
	u64 mask;		/* of addresses and of the count */
	u64 rflags;
};

static int source_span(struct wafer_emu *emu, const struct string *s, struct wafer_span *span)
{
	return wafer_span(emu, span, 0, emu->insn.seg, emu->gpr[WAFER_RSI] & s->mask, s->size,
			  WAFER_FAULT_READ);
}

/* No override for the destination. */
static int dest_span(struct wafer_emu *emu, const struct string *s, struct wafer_span *span,
		     u32 access)
{
	return wafer_span(emu, span, 1, WAFER_ES, emu->gpr[WAFER_RDI] & s->mask, s->size, access);
}

static int move_step(struct wafer_emu *emu, struct string *s)
{
	struct wafer_span from, to;
	union wafer_value val;
	int ret;

	ret = source_span(emu, s, &from);
	if (!ret)
		ret = dest_span(emu, s, &to, WAFER_FAULT_WRITE);
	if (!ret)
		ret = wafer_load(emu, &from, &val);
	return ret ?: wafer_store(emu, &to, &val);
}

/* CPUs look at ES:DI first. */
static int compare_step(struct wafer_emu *emu, struct string *s)
{
	struct wafer_span first, second;
	union wafer_value a, b;
	int ret;

	ret = dest_span(emu, s, &second, WAFER_FAULT_READ);
	if (!ret)
		ret = source_span(emu, s, &first);
	if (!ret)
		ret = wafer_load(emu, &second, &b);
	if (!ret)
		ret = wafer_load(emu, &first, &a);
	if (!ret)
		wafer_alu(WAFER_ALU_CMP, s->size, a.q[0], b.q[0], &s->rflags);
	return ret;
}

/* STOS, LODS, SCAS: the other operand is the accumulator. */
static int accumulator_step(struct wafer_emu *emu, struct string *s, unsigned int op)
{
	struct wafer_span span;
	union wafer_value val;
	int ret;

	if (op == WAFER_STR_STOS) {
		ret = dest_span(emu, s, &span, WAFER_FAULT_WRITE);
		val.q[0] = emu->gpr[WAFER_RAX];
		return ret ?: wafer_store(emu, &span, &val);
	}
	if (op == WAFER_STR_LODS)
		ret = source_span(emu, s, &span);
	else
		ret = dest_span(emu, s, &span, WAFER_FAULT_READ);
	if (!ret)
		ret = wafer_load(emu, &span, &val);
	if (ret)
		return ret;
	if (op == WAFER_STR_LODS)
		wafer_put_gpr(emu, WAFER_RAX, s->size, val.q[0]);
	else
		wafer_alu(WAFER_ALU_CMP, s->size, emu->gpr[WAFER_RAX], val.q[0], &s->rflags);
	return 0;
}

static int string_step(struct wafer_emu *emu, struct string *s, unsigned int op)
{
	s64 delta = emu->rflags & WAFER_FLAGS_DF ? -(s64)s->size : s->size;
	unsigned int asize = emu->insn.addr_size;
	int ret;

	if (op == WAFER_STR_MOVS)
		ret = move_step(emu, s);
	else if (op == WAFER_STR_CMPS)
		ret = compare_step(emu, s);
	else
		ret = accumulator_step(emu, s, op);
	if (ret)
		return ret;
	if (op == WAFER_STR_MOVS || op == WAFER_STR_CMPS || op == WAFER_STR_LODS)
		wafer_put_gpr(emu, WAFER_RSI, asize, emu->gpr[WAFER_RSI] + delta);
	if (op != WAFER_STR_LODS)
		wafer_put_gpr(emu, WAFER_RDI, asize, emu->gpr[WAFER_RDI] + delta);
	return 0;
}

/* F3 goes on while equal, F2 while not; the others don't ask. */
static bool is_over(const struct wafer_emu *emu, const struct string *s, unsigned int op)
{
	if (!(emu->gpr[WAFER_RCX] & s->mask))
		return true;
	if (op != WAFER_STR_CMPS && op != WAFER_STR_SCAS)
		return false;
	return !(s->rflags & WAFER_FLAGS_ZF) == (emu->insn.rep == 0xf3);
}

int wafer_emulate_string(struct wafer_emu *emu)
{
	const struct wafer_insn *insn = &emu->insn;
	struct string s = {
		.size = insn->op_size,
		.mask = wafer_size_mask(insn->addr_size),
		.rflags = emu->rflags,
	};
	unsigned int op = insn->form->sub;
	bool helped;
	int ret;

	if (insn->rep && !(emu->gpr[WAFER_RCX] & s.mask))
		return WAFER_EMU_DONE;
	for (;;) {
		helped = emu->nr_log;
		ret = string_step(emu, &s, op);
		if (ret)
			return ret;
		emu->nr_log = 0;
		emu->next = 0;
		if (!insn->rep)
			break;
		wafer_put_gpr(emu, WAFER_RCX, insn->addr_size, emu->gpr[WAFER_RCX] - 1);
		if (is_over(emu, &s, op))
			break;
		emu->batch += helped ? STEP_USER : 1;
		if (emu->batch >= BATCH_STEPS || emu->rflags & WAFER_FLAGS_TF) {
			emu->batch = 0;
			return WAFER_EMU_AGAIN;
		}
	}
	/* Faults and interrupts before the end leave the flags as they were (SDM vol. 2, REP). */
	emu->rflags = s.rflags;
	return WAFER_EMU_DONE;
}
