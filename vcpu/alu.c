// SPDX-License-Identifier: GPL-2.0
/*
 * Arithmetic with exact flags: the CPU does it.
 *
 * The six arithmetic flags are loaded, the instruction itself is executed, and they are stored
 * again, so that whatever an instruction leaves alone, or leaves undefined, comes out as on this
 * CPU. SAHF and LAHF know five of them; OF is made by an addition that overflows, and read by SETO.
 * POPF would touch IF.
 */
#include <linux/types.h>

#include "insn.h"

#define NATIVE(insn)									\
	asm("addb $0x7f, %%al\n\t"							\
	    "sahf\n\t"									\
	    insn "\n\t"									\
	    "lahf\n\t"									\
	    "seto %%al"									\
	    : "+a" (*ax), [d] "+r" (*dst) : [s] "c" (src) : "cc")

/* @ax: as NATIVE() takes and leaves it: AH as of LAHF, AL is OF. */
#define ALU_FN(name, size1, size2, size4, size8)					\
static void name(unsigned int size, u64 *dst, u64 src, u64 *ax)				\
{											\
	switch (size) {									\
	case 1:										\
		NATIVE(size1);								\
		break;									\
	case 2:										\
		NATIVE(size2);								\
		break;									\
	case 4:										\
		NATIVE(size4);								\
		break;									\
	default:									\
		NATIVE(size8);								\
	}										\
}

#define BINARY_FN(insn)									\
	ALU_FN(alu_##insn, #insn "b %b[s], %b[d]", #insn "w %w[s], %w[d]",		\
	       #insn "l %k[s], %k[d]", #insn "q %[s], %[d]")
#define WIDE_FN(insn)									\
	ALU_FN(alu_##insn, "nop", #insn "w %w[s], %w[d]", #insn "l %k[s], %k[d]",	\
	       #insn "q %[s], %[d]")
#define SHIFT_FN(insn)									\
	ALU_FN(alu_##insn, #insn "b %%cl, %b[d]", #insn "w %%cl, %w[d]",		\
	       #insn "l %%cl, %k[d]", #insn "q %%cl, %[d]")
#define UNARY_FN(insn)									\
	ALU_FN(alu_##insn, #insn "b %b[d]", #insn "w %w[d]", #insn "l %k[d]", #insn "q %[d]")

BINARY_FN(add)
BINARY_FN(or)
BINARY_FN(adc)
BINARY_FN(sbb)
BINARY_FN(and)
BINARY_FN(sub)
BINARY_FN(xor)
BINARY_FN(cmp)
BINARY_FN(test)
SHIFT_FN(rol)
SHIFT_FN(ror)
SHIFT_FN(rcl)
SHIFT_FN(rcr)
SHIFT_FN(shl)
SHIFT_FN(shr)
SHIFT_FN(sar)
WIDE_FN(bt)
WIDE_FN(bts)
WIDE_FN(btr)
WIDE_FN(btc)
WIDE_FN(imul)
UNARY_FN(inc)
UNARY_FN(dec)
UNARY_FN(not)
UNARY_FN(neg)

static void (*const alu_fn[])(unsigned int size, u64 *dst, u64 src, u64 *ax) = {
	[WAFER_ALU_ADD] = alu_add,
	[WAFER_ALU_OR] = alu_or,
	[WAFER_ALU_ADC] = alu_adc,
	[WAFER_ALU_SBB] = alu_sbb,
	[WAFER_ALU_AND] = alu_and,
	[WAFER_ALU_SUB] = alu_sub,
	[WAFER_ALU_XOR] = alu_xor,
	[WAFER_ALU_CMP] = alu_cmp,
	[WAFER_ALU_ROL] = alu_rol,
	[WAFER_ALU_ROR] = alu_ror,
	[WAFER_ALU_RCL] = alu_rcl,
	[WAFER_ALU_RCR] = alu_rcr,
	[WAFER_ALU_SHL] = alu_shl,
	[WAFER_ALU_SHR] = alu_shr,
	[WAFER_ALU_SAL] = alu_shl,
	[WAFER_ALU_SAR] = alu_sar,
	[WAFER_ALU_BT] = alu_bt,
	[WAFER_ALU_BTS] = alu_bts,
	[WAFER_ALU_BTR] = alu_btr,
	[WAFER_ALU_BTC] = alu_btc,
	[WAFER_ALU_TEST] = alu_test,
	[WAFER_ALU_INC] = alu_inc,
	[WAFER_ALU_DEC] = alu_dec,
	[WAFER_ALU_NOT] = alu_not,
	[WAFER_ALU_NEG] = alu_neg,
	[WAFER_ALU_IMUL] = alu_imul,
};

/**
 * wafer_alu() - one arithmetic operation on two values
 * @op: which
 * @size: operand size, 1, 2, 4 or 8 bytes (not 1 for bit tests and IMUL, which have no such form)
 * @dst: destination operand
 * @src: source operand; shift count; bit number
 * @rflags: the six arithmetic flags are taken from it and put there
 *
 * Return: the new destination; bits above @size are undefined.
 */
u64 wafer_alu(enum wafer_alu op, unsigned int size, u64 dst, u64 src, u64 *rflags)
{
	u64 ax = (*rflags & 0xff) << 8 | (*rflags >> 11 & 1), flags;

	alu_fn[op](size, &dst, src, &ax);
	flags = (ax >> 8 & 0xff) | (ax & 1) << 11;
	*rflags = (*rflags & ~(u64)WAFER_FLAGS_ARITH) | (flags & WAFER_FLAGS_ARITH);
	return dst;
}

/**
 * wafer_condition() - is the condition of Jcc, SETcc, CMOVcc true
 * @cc: low four bits of the opcode (SDM vol. 1 appendix B)
 * @rflags: flags
 *
 * Return: whether it holds.
 */
bool wafer_condition(unsigned int cc, u64 rflags)
{
	bool sign = rflags & WAFER_FLAGS_SF, overflow = rflags & WAFER_FLAGS_OF, res;

	switch (cc >> 1 & 7) {
	case 0:
		res = overflow;
		break;
	case 1:
		res = rflags & WAFER_FLAGS_CF;
		break;
	case 2:
		res = rflags & WAFER_FLAGS_ZF;
		break;
	case 3:
		res = rflags & (WAFER_FLAGS_CF | WAFER_FLAGS_ZF);
		break;
	case 4:
		res = sign;
		break;
	case 5:
		res = rflags & WAFER_FLAGS_PF;
		break;
	case 6:
		res = sign != overflow;
		break;
	default:
		res = (rflags & WAFER_FLAGS_ZF) || sign != overflow;
	}
	return res != (cc & 1);
}
