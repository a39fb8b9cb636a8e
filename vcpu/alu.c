// SPDX-License-Identifier: GPL-2.0
/*
 * Arithmetic with exact flags: the CPU does it.
 *
 * The six arithmetic flags are loaded, the instruction itself is executed, and they are stored
 * again, so that whatever an instruction leaves alone, or leaves undefined, comes out as on this
 * CPU. SAHF and LAHF know five of them; OF is made by an addition that overflows, and read by SETO.
 * POPF would touch IF.
 */
#include "insn.h"

#define NATIVE(insn)									\
	asm("addb $0x7f, %%al\n\t"							\
	    "sahf\n\t"									\
	    insn "\n\t"									\
	    "lahf\n\t"									\
	    "seto %%al"									\
	    : "+a" (*ax), [d] "+r" (*dst) : [s] "c" (src), [f] "r" (fill) : "cc")

/* @ax: as NATIVE() takes and leaves it: AH as of LAHF, AL is OF. */
#define ALU_FN(op, size1, size2, size4, size8)						\
static void alu_##op(unsigned int size, u64 *dst, u64 src, u64 fill, u64 *ax)		\
{											\
	if (size == 1)									\
		NATIVE(size1);								\
	else if (size == 2)								\
		NATIVE(size2);								\
	else if (size == 4)								\
		NATIVE(size4);								\
	else										\
		NATIVE(size8);								\
}

#define BINARY(op, insn)								\
	ALU_FN(op, insn "b %b[s], %b[d]", insn "w %w[s], %w[d]", insn "l %k[s], %k[d]",	\
	       insn "q %[s], %[d]")
#define WIDE(op, insn)									\
	ALU_FN(op, "nop", insn "w %w[s], %w[d]", insn "l %k[s], %k[d]", insn "q %[s], %[d]")
#define SHIFT(op, insn)									\
	ALU_FN(op, insn "b %%cl, %b[d]", insn "w %%cl, %w[d]", insn "l %%cl, %k[d]",	\
	       insn "q %%cl, %[d]")
#define DOUBLE(op, insn)								\
	ALU_FN(op, "nop", insn "w %%cl, %w[f], %w[d]", insn "l %%cl, %k[f], %k[d]",	\
	       insn "q %%cl, %[f], %[d]")
#define UNARY(op, insn)									\
	ALU_FN(op, insn "b %b[d]", insn "w %w[d]", insn "l %k[d]", insn "q %[d]")

BINARY(ADD, "add") BINARY(OR, "or") BINARY(ADC, "adc") BINARY(SBB, "sbb") BINARY(AND, "and")
BINARY(SUB, "sub") BINARY(XOR, "xor") BINARY(CMP, "cmp") BINARY(TEST, "test")
SHIFT(ROL, "rol") SHIFT(ROR, "ror") SHIFT(RCL, "rcl") SHIFT(RCR, "rcr")
SHIFT(SHL, "shl") SHIFT(SHR, "shr") SHIFT(SAR, "sar")
WIDE(BT, "bt") WIDE(BTS, "bts") WIDE(BTR, "btr") WIDE(BTC, "btc") WIDE(IMUL, "imul")
WIDE(BSF, "bsf") WIDE(BSR, "bsr") DOUBLE(SHLD, "shld") DOUBLE(SHRD, "shrd")
UNARY(INC, "inc") UNARY(DEC, "dec") UNARY(NOT, "not") UNARY(NEG, "neg")

#define FN(op)	\
	[WAFER_OP_##op] = alu_##op
static void (*const alu_fn[])(unsigned int size, u64 *dst, u64 src, u64 fill, u64 *ax) = {
	FN(ADD), FN(OR), FN(ADC), FN(SBB), FN(AND), FN(SUB), FN(XOR), FN(CMP), FN(TEST),
	FN(ROL), FN(ROR), FN(RCL), FN(RCR), FN(SHL), FN(SHR), [WAFER_OP_SAL] = alu_SHL, FN(SAR),
	FN(BT), FN(BTS), FN(BTR), FN(BTC), FN(IMUL), FN(INC), FN(DEC), FN(NOT), FN(NEG),
	FN(BSF), FN(BSR), FN(SHLD), FN(SHRD),
};

/**
 * wafer_alu() - one arithmetic operation on two values
 * @op: which
 * @size: operand size, 1, 2, 4 or 8 bytes (not 1 for what has no such form)
 * @dst: destination operand
 * @src: source operand; shift count; bit number
 * @fill: what SHLD and SHRD shift in
 * @rflags: the six arithmetic flags are taken from it and put there
 *
 * Return: the new destination; bits above @size are undefined.
 */
u64 wafer_alu(enum wafer_op op, unsigned int size, u64 dst, u64 src, u64 fill, u64 *rflags)
{
	u64 ax = (*rflags & 0xff) << 8 | (*rflags >> 11 & 1), flags;

	alu_fn[op](size, &dst, src, fill, &ax);
	flags = (ax >> 8 & 0xff) | (ax & 1) << 11;
	*rflags = (*rflags & ~(u64)WAFER_FLAGS_ARITH) | (flags & WAFER_FLAGS_ARITH);
	return dst;
}

/**
 * wafer_muldiv() - MUL, IMUL, DIV and IDIV with one operand
 * @which: 0 to 3, in this order
 * @size: operand size, 1, 2, 4 or 8 bytes
 * @lo: the low half of what is divided, then the quotient; one factor, then the product's low half
 * @hi: the high half of what is divided, then the remainder; the product's high half
 * @src: the operand
 * @rflags: CF and OF of a product are put there; all other flags are undefined
 *
 * Return: false: the quotient does not fit (#DE).
 */
bool wafer_muldiv(unsigned int which, unsigned int size, u64 *lo, u64 *hi, u64 src, u64 *rflags)
{
	const u64 cf_of = X86_EFLAGS_CF | X86_EFLAGS_OF;
	unsigned int bits = size * 8, spare = 128 - 2 * bits;
	__uint128_t n = (__uint128_t)*hi << bits | *lo;
	u64 mask = wafer_size_mask(size), quotient, rest;
	s64 s = wafer_sign_extend(src, size);
	bool minus_n, minus;	/* of the remainder, of the quotient */

	if (which < 2) {
		n = which ? (__int128_t)wafer_sign_extend(*lo, size) * s : (__uint128_t)*lo * src;
		*lo = n & mask;
		*hi = n >> bits & mask;
		*rflags = (*rflags & ~cf_of) |
			  (*hi == (which && *lo >> (bits - 1) ? mask : 0) ? 0 : cf_of);
		return true;
	}
	minus_n = which == 3 && (__int128_t)(n << spare) < 0;
	minus = minus_n != (which == 3 && s < 0);
	if (which == 3) {				/* of the absolute values */
		n = (__int128_t)(n << spare) >> spare;
		n = minus_n ? -n : n;
		src = s < 0 ? -(u64)s : s;
		mask = (mask >> 1) + minus;
	}
	if ((u64)(n >> 64) >= src)
		return false;
	asm("divq %[src]" : "=a" (quotient), "=d" (rest)
	    : "a" ((u64)n), "d" ((u64)(n >> 64)), [src] "r" (src) : "cc");
	*lo = minus ? -quotient : quotient;
	*hi = minus_n ? -rest : rest;
	return quotient <= mask;
}

/**
 * wafer_condition() - is the condition of SETcc, CMOVcc true
 * @cc: low four bits of the opcode (SDM vol. 1 appendix B)
 * @rflags: flags
 *
 * Return: whether it holds.
 */
bool wafer_condition(unsigned int cc, u64 rflags)
{
	static const u16 set[8] = {
		X86_EFLAGS_OF, X86_EFLAGS_CF, X86_EFLAGS_ZF, X86_EFLAGS_CF | X86_EFLAGS_ZF,
		X86_EFLAGS_SF, X86_EFLAGS_PF, 0, X86_EFLAGS_ZF,
	};
	bool less = (cc & 0xc) == 0xc && !(rflags & X86_EFLAGS_SF) != !(rflags & X86_EFLAGS_OF);

	return (rflags & set[cc >> 1 & 7] || less) != (cc & 1);
}
