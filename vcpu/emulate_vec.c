// SPDX-License-Identifier: GPL-2.0
/*
 * SSE and AVX moves between a vector register and memory. Whether the guest may use them (CR0.TS,
 * CR4.OSFXSR, XCR0) the CPU has checked before it came to the access.
 */
#include <linux/string.h>

#include "insn.h"

static void load_register(struct wafer_emu *emu, union wafer_value *val, unsigned int size)
{
	const struct wafer_insn *insn = &emu->insn;
	union wafer_value reg;
	unsigned int bytes = 16;

	switch (insn->form->sub) {
	case WAFER_VEC_FULL:
		reg = *val;
		bytes = size;
		break;
	case WAFER_VEC_LOW:
		reg.q[0] = val->q[0];
		reg.q[1] = 0;
		break;
	default:
		/* The half that stays is the first source's: with VEX another register. */
		emu->ops->get_vec(emu, insn->vex ? insn->vex_v : insn->reg, &reg, 16);
		reg.q[insn->form->sub == WAFER_VEC_HI64] = val->q[0];
	}
	emu->ops->set_vec(emu, insn->reg, &reg, bytes, insn->vex);
}

int wafer_emulate_vec(struct wafer_emu *emu)
{
	const struct wafer_insn *insn = &emu->insn;
	const struct wafer_insn_form *form = insn->form;
	bool load = form->args == WAFER_ARGS_RM;
	unsigned int size = form->size ?: insn->op_size;
	u32 access = load ? WAFER_FAULT_READ : WAFER_FAULT_WRITE;
	union wafer_value val;
	struct wafer_span span;
	int ret;

	if (!emu->ops->get_vec || !emu->ops->set_vec)
		return WAFER_EMU_UNKNOWN;
	if (size == WAFER_SIZE_W)
		size = insn->rex & 8 ? 8 : 4;
	if (form->flags & WAFER_F_ALIGN)
		access |= WAFER_SPAN_ALIGNED;
	ret = wafer_memory_span(emu, &span, size, access);
	if (ret)
		return ret;
	if (!load) {
		emu->ops->get_vec(emu, insn->reg, &val, max_t(unsigned int, size, 16));
		if (form->sub == WAFER_VEC_HI64)
			val.q[0] = val.q[1];
		return wafer_store(emu, &span, &val);
	}
	ret = wafer_load(emu, &span, &val);
	if (!ret)
		load_register(emu, &val, size);
	return ret;
}
