// SPDX-License-Identifier: GPL-2.0
/*
 * Arithmetic with exact flags: the CPU does it.
 *
 * The six arithmetic flags are loaded, the instruction itself is executed, and they are stored again, so that
 * whatever an instruction leaves alone, or leaves undefined, comes out as on this CPU. SAHF and LAHF know five
 * of them; OF is made by an addition that overflows, and read by SETO. POPF would touch IF.
 */
#include <linux/types.h>

#include "insn.h"

#define NATIVE(insn)									\
	asm("addb $0x7f, %%al\n\t"							\
	    "sahf\n\t"									\
	    insn "\n\t"									\
	    "lahf\n\t"									\
	    "seto %%al"									\
	    : "+a" (ax), [d] "+r" (dst) : [s] "c" (src) : "cc")

/* AX as NATIVE() takes and leaves it: AH as of LAHF, AL is OF. */
static __always_inline u64 pack(u64 rflags)
{
	return (rflags & 0xff) << 8 | (rflags >> 11 & 1);
}

static __always_inline void unpack(u64 ax, u64 *rflags)
{
	u64 flags = (ax >> 8 & 0xff) | (ax & 1) << 11;

	*rflags = (*rflags & ~(u64)WAFER_FLAGS_ARITH) | (flags & WAFER_FLAGS_ARITH);
}

#define ALU_FN(name, size1, size2, size4, size8)					\
static u64 name(unsigned int size, u64 dst, u64 src, u64 *rflags)			\
{											\
	u64 ax = pack(*rflags);								\
											\
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
	unpack(ax, rflags);								\
	return dst;									\
}

#define BINARY_FN(insn)									\
	ALU_FN(alu_##insn, #insn "b %b[s], %b[d]", #insn "w %w[s], %w[d]",		\
	       #insn "l %k[s], %k[d]", #insn "q %[s], %[d]")
#define WIDE_FN(insn)									\
	ALU_FN(alu_##insn, "ud2", #insn "w %w[s], %w[d]", #insn "l %k[s], %k[d]",	\
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
UNARY_FN(neg)

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
	switch (op) {
	case WAFER_ALU_ADD:
		return alu_add(size, dst, src, rflags);
	case WAFER_ALU_OR:
		return alu_or(size, dst, src, rflags);
	case WAFER_ALU_ADC:
		return alu_adc(size, dst, src, rflags);
	case WAFER_ALU_SBB:
		return alu_sbb(size, dst, src, rflags);
	case WAFER_ALU_AND:
		return alu_and(size, dst, src, rflags);
	case WAFER_ALU_SUB:
		return alu_sub(size, dst, src, rflags);
	case WAFER_ALU_XOR:
		return alu_xor(size, dst, src, rflags);
	case WAFER_ALU_CMP:
		return alu_cmp(size, dst, src, rflags);
	case WAFER_ALU_TEST:
		return alu_test(size, dst, src, rflags);
	case WAFER_ALU_ROL:
		return alu_rol(size, dst, src, rflags);
	case WAFER_ALU_ROR:
		return alu_ror(size, dst, src, rflags);
	case WAFER_ALU_RCL:
		return alu_rcl(size, dst, src, rflags);
	case WAFER_ALU_RCR:
		return alu_rcr(size, dst, src, rflags);
	case WAFER_ALU_SHL:
	case WAFER_ALU_SAL:
		return alu_shl(size, dst, src, rflags);
	case WAFER_ALU_SHR:
		return alu_shr(size, dst, src, rflags);
	case WAFER_ALU_SAR:
		return alu_sar(size, dst, src, rflags);
	case WAFER_ALU_BT:
		return alu_bt(size, dst, src, rflags);
	case WAFER_ALU_BTS:
		return alu_bts(size, dst, src, rflags);
	case WAFER_ALU_BTR:
		return alu_btr(size, dst, src, rflags);
	case WAFER_ALU_BTC:
		return alu_btc(size, dst, src, rflags);
	case WAFER_ALU_INC:
		return alu_inc(size, dst, src, rflags);
	case WAFER_ALU_DEC:
		return alu_dec(size, dst, src, rflags);
	case WAFER_ALU_NEG:
		return alu_neg(size, dst, src, rflags);
	case WAFER_ALU_IMUL:
		return alu_imul(size, dst, src, rflags);
	case WAFER_ALU_NOT:
		return ~dst;
	}
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
