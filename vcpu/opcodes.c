// SPDX-License-Identifier: GPL-2.0
/*
 * Opcode tables: what follows each opcode byte (SDM vol. 2 appendix A, APM vol. 3 appendix A) and,
 * for the instructions that the executor knows, what they do.
 */
#include "insn.h"

/* One letter for each flag keeps the tables readable. */
#define M	WAFER_F_MODRM
#define B	WAFER_F_BYTE
#define N	WAFER_F_NO64
#define R	WAFER_F_RD
#define W	WAFER_F_WR
#define L	WAFER_F_LOCK
#define I8	WAFER_F_IMM8
#define IZ	WAFER_F_IMMZ
#define D64	WAFER_F_D64
#define F64	WAFER_F_F64

#define LEN(f)			{ .flags = (f) }
#define UD			{ .flags = WAFER_F_UD }
#define PREFIX			{ .flags = WAFER_F_PREFIX }
#define GROUP(g, f)		{ .op = WAFER_GRP_##g, .flags = M | WAFER_F_GROUP | (f) }
#define SIZED(o, s, a, z, f)	\
	{ .op = WAFER_OP_##o, .sub = (s), .args = WAFER_ARGS_##a, .size = (z), .flags = (f) }
#define FORM(o, s, a, f)	\
	{ .op = WAFER_OP_##o, .sub = (s), .args = WAFER_ARGS_##a, .flags = (f) }
#define STRING(s, f)		{ .op = WAFER_OP_STRING, .sub = WAFER_STR_##s, .flags = (f) }

/* The six regular columns of the arithmetic rows. */
#define ALU(op, f)									\
	[(op) * 8 + 0] = FORM(ALU, op, MR, M | B | R | (f)),				\
	[(op) * 8 + 1] = FORM(ALU, op, MR, M | R | (f)),				\
	[(op) * 8 + 2] = FORM(ALU, op, RM, M | B | R),					\
	[(op) * 8 + 3] = FORM(ALU, op, RM, M | R),					\
	[(op) * 8 + 4] = LEN(B | I8),							\
	[(op) * 8 + 5] = LEN(IZ)

const struct wafer_insn_form wafer_map_one[256] = {
	ALU(WAFER_ALU_ADD, W | L), ALU(WAFER_ALU_OR, W | L), ALU(WAFER_ALU_ADC, W | L),
	ALU(WAFER_ALU_SBB, W | L), ALU(WAFER_ALU_AND, W | L), ALU(WAFER_ALU_SUB, W | L),
	ALU(WAFER_ALU_XOR, W | L), ALU(WAFER_ALU_CMP, 0),
	[0x06] = LEN(N), LEN(N),
	[0x0e] = LEN(N), UD,			/* 0F is taken before the table is asked */
	[0x16] = LEN(N), LEN(N),
	[0x1e] = LEN(N), LEN(N),
	[0x26] = PREFIX, LEN(N),
	[0x2e] = PREFIX, LEN(N),
	[0x36] = PREFIX, LEN(N),
	[0x3e] = PREFIX, LEN(N),
	[0x40 ... 0x4f] = LEN(0),		/* REX in 64-bit code */
	[0x50 ... 0x5f] = LEN(D64),
	[0x60] = LEN(N), LEN(N), LEN(M | N),
	[0x63] = SIZED(MOV, WAFER_MOV_SX, RM, 4, M | R | WAFER_F_ONLY64),
	[0x64 ... 0x67] = PREFIX,
	[0x68] = LEN(IZ | D64), FORM(IMUL, 0, RM, M | IZ | R), LEN(I8 | D64),
		FORM(IMUL, 0, RM, M | I8 | R),
	[0x6c] = LEN(B), LEN(WAFER_F_MAX4), LEN(B), LEN(WAFER_F_MAX4),
	[0x70 ... 0x7f] = LEN(I8 | F64),
	[0x80] = GROUP(1, B | I8), GROUP(1, IZ), GROUP(1, B | I8 | N), GROUP(1, I8),
	[0x84] = FORM(ALU, WAFER_ALU_TEST, MR, M | B | R), FORM(ALU, WAFER_ALU_TEST, MR, M | R),
	[0x86] = FORM(XCHG, 0, MR, M | B | R | W | L), FORM(XCHG, 0, MR, M | R | W | L),
	[0x88] = FORM(MOV, 0, MR, M | B | W), FORM(MOV, 0, MR, M | W),
	[0x8a] = FORM(MOV, 0, RM, M | B | R), FORM(MOV, 0, RM, M | R),
	[0x8c] = SIZED(SREG, 0, M, 2, M | W), LEN(M), LEN(M), GROUP(1A, D64),
	[0x90 ... 0x99] = LEN(0),
	[0x9a] = LEN(WAFER_F_FAR | N), LEN(0), LEN(D64), LEN(D64), LEN(0), LEN(0),
	[0xa0] = FORM(MOV, 0, RM, WAFER_F_MOFFS | B | R), FORM(MOV, 0, RM, WAFER_F_MOFFS | R),
	[0xa2] = FORM(MOV, 0, MR, WAFER_F_MOFFS | B | W), FORM(MOV, 0, MR, WAFER_F_MOFFS | W),
	[0xa4] = STRING(MOVS, B), STRING(MOVS, 0), STRING(CMPS, B), STRING(CMPS, 0),
	[0xa8] = LEN(B | I8), LEN(IZ),
	[0xaa] = STRING(STOS, B), STRING(STOS, 0), STRING(LODS, B), STRING(LODS, 0),
	[0xae] = STRING(SCAS, B), STRING(SCAS, 0),
	[0xb0 ... 0xb7] = LEN(B | I8),
	[0xb8 ... 0xbf] = LEN(WAFER_F_IMMV),
	[0xc0] = GROUP(2, B | I8), GROUP(2, I8), LEN(WAFER_F_IMM16 | F64), LEN(F64),
	[0xc4] = LEN(M | N), LEN(M | N),	/* LES, LDS; VEX is taken before */
	[0xc6] = GROUP(11, B | I8), GROUP(11, IZ),
	[0xc8] = LEN(WAFER_F_ENTER | D64), LEN(D64), LEN(WAFER_F_IMM16), LEN(0),
	[0xcc] = LEN(0), LEN(I8), LEN(N), LEN(0),
	[0xd0] = GROUP(2, B), GROUP(2, 0), GROUP(2, B), GROUP(2, 0),
	[0xd4] = LEN(I8 | N), LEN(I8 | N), LEN(N), LEN(0),
	[0xd8 ... 0xdf] = LEN(M),
	[0xe0 ... 0xe3] = LEN(I8 | F64),
	[0xe4] = LEN(B | I8), LEN(I8 | WAFER_F_MAX4), LEN(B | I8), LEN(I8 | WAFER_F_MAX4),
	[0xe8] = LEN(IZ | F64), LEN(IZ | F64), LEN(WAFER_F_FAR | N), LEN(I8 | F64),
	[0xec] = LEN(B), LEN(WAFER_F_MAX4), LEN(B), LEN(WAFER_F_MAX4),
	[0xf0] = PREFIX, LEN(0), PREFIX, PREFIX, LEN(0), LEN(0),
	[0xf6] = GROUP(3, B), GROUP(3, 0),
	[0xf8 ... 0xfd] = LEN(0),
	[0xfe] = GROUP(4, B), GROUP(5, 0),
};

#define SSE(row)	{ .op = SSE_##row, .flags = M | WAFER_F_SSE }

enum {
	SSE_10, SSE_11, SSE_12, SSE_13, SSE_16, SSE_17, SSE_28, SSE_29, SSE_2B, SSE_6E, SSE_6F,
	SSE_7E, SSE_7F,
	SSE_D6, SSE_E7, SSE_F0,
};

#define BITTEST(op, f)	FORM(BT, op, MR, M | R | (f))

const struct wafer_insn_form wafer_map_0f[256] = {
	[0x00 ... 0x03] = LEN(M),
	[0x04] = UD, LEN(0), LEN(0), LEN(0), LEN(0), LEN(0), UD, UD,
	/* 0F 0F: 3DNow!, opcode behind ModRM */
	[0x0c] = UD, LEN(M), LEN(0), LEN(M | I8),
	[0x10] = SSE(10), SSE(11), SSE(12), SSE(13), LEN(M), LEN(M), SSE(16), SSE(17),
	[0x18 ... 0x1f] = LEN(M),
	[0x20 ... 0x23] = LEN(M | WAFER_F_REGS | F64),
	[0x24 ... 0x27] = UD,
	[0x28] = SSE(28), SSE(29), LEN(M), SSE(2B),
	[0x2c ... 0x2f] = LEN(M),
	[0x30 ... 0x35] = LEN(0),
	[0x36] = UD, LEN(0), UD, UD, UD, UD, UD, UD, UD, UD,	/* 38 and 3A are taken before */
	[0x40 ... 0x4f] = FORM(CMOV, 0, RM, M | R),
	[0x50 ... 0x6d] = LEN(M),
	[0x6e] = SSE(6E), SSE(6F),
	[0x70 ... 0x73] = LEN(M | I8),
	[0x74 ... 0x76] = LEN(M),
	[0x77] = LEN(0), LEN(M), LEN(M), UD, UD, LEN(M), LEN(M), SSE(7E), SSE(7F),
	[0x80 ... 0x8f] = LEN(IZ | F64),
	[0x90 ... 0x9f] = SIZED(SETCC, 0, M, 1, M | B | W),
	[0xa0] = LEN(D64), LEN(D64), LEN(0), BITTEST(WAFER_ALU_BT, 0), LEN(M | I8), LEN(M), UD, UD,
	[0xa8] = LEN(D64), LEN(D64), LEN(0), BITTEST(WAFER_ALU_BTS, W | L), LEN(M | I8), LEN(M),
		LEN(M),
	[0xaf] = FORM(IMUL, 0, RM, M | R),
	[0xb0] = FORM(CMPXCHG, 0, MR, M | B | R | W | L), FORM(CMPXCHG, 0, MR, M | R | W | L),
		LEN(M),
	[0xb3] = BITTEST(WAFER_ALU_BTR, W | L), LEN(M), LEN(M),
	[0xb6] = SIZED(MOV, WAFER_MOV_ZX, RM, 1, M | R), SIZED(MOV, WAFER_MOV_ZX, RM, 2, M | R),
	[0xb8] = LEN(M), UD, GROUP(8, I8), BITTEST(WAFER_ALU_BTC, W | L), LEN(M), LEN(M),
	[0xbe] = SIZED(MOV, WAFER_MOV_SX, RM, 1, M | R), SIZED(MOV, WAFER_MOV_SX, RM, 2, M | R),
	[0xc0] = FORM(XADD, 0, MR, M | B | R | W | L), FORM(XADD, 0, MR, M | R | W | L),
		LEN(M | I8),
	[0xc3] = SIZED(MOV, 0, MR, WAFER_SIZE_W, M | W), LEN(M | I8), LEN(M | I8), LEN(M | I8),
		GROUP(9, 0),
	[0xc8 ... 0xcf] = LEN(0),
	[0xd0 ... 0xd5] = LEN(M),
	[0xd6] = SSE(D6),
	[0xd7 ... 0xe6] = LEN(M),
	[0xe7] = SSE(E7),
	[0xe8 ... 0xef] = LEN(M),
	[0xf0] = SSE(F0),
	[0xf1 ... 0xfe] = LEN(M),
	[0xff] = UD,
};

#define ARITH(op, f)	FORM(ALU, WAFER_ALU_##op, MI, R | (f))
#define SHIFT(op)	FORM(ALU, WAFER_ALU_##op, MS, R | W)
#define UNARY(op)	FORM(ALU, WAFER_ALU_##op, M, R | W | L)
#define BITIMM(op, f)	FORM(BT, WAFER_ALU_##op, MI, R | (f))

const struct wafer_insn_form wafer_groups[WAFER_NR_GRPS][8] = {
	[WAFER_GRP_1] = {
		ARITH(ADD, W | L), ARITH(OR, W | L), ARITH(ADC, W | L), ARITH(SBB, W | L),
		ARITH(AND, W | L), ARITH(SUB, W | L), ARITH(XOR, W | L), ARITH(CMP, 0),
	},
	[WAFER_GRP_1A] = { FORM(POP, 0, M, W), UD, UD, UD, UD, UD, UD, UD },
	[WAFER_GRP_2] = {
		SHIFT(ROL), SHIFT(ROR), SHIFT(RCL), SHIFT(RCR), SHIFT(SHL), SHIFT(SHR), SHIFT(SAL),
		SHIFT(SAR),
	},
	/* TEST alone has an immediate, by operand size. /1 is an alias of /0. */
	[WAFER_GRP_3] = {
		ARITH(TEST, IZ), ARITH(TEST, IZ), UNARY(NOT), UNARY(NEG), LEN(0), LEN(0), LEN(0),
		LEN(0),
	},
	[WAFER_GRP_4] = { UNARY(INC), UNARY(DEC), UD, UD, UD, UD, UD, UD },
	[WAFER_GRP_5] = {
		UNARY(INC), UNARY(DEC), FORM(CALL, 0, M, R | F64), LEN(0),
		FORM(JMP, 0, M, R | F64), LEN(0), FORM(PUSH, 0, M, R | D64), UD,
	},
	[WAFER_GRP_8] = {
		UD, UD, UD, UD, BITIMM(BT, 0), BITIMM(BTS, W | L), BITIMM(BTR, W | L),
		BITIMM(BTC, W | L),
	},
	[WAFER_GRP_9] = {
		LEN(0), FORM(CMPXCHG8B, 0, M, R | W | L), LEN(0), LEN(0), LEN(0), LEN(0), LEN(0),
		LEN(0),
	},
	/* /7: XABORT, XBEGIN */
	[WAFER_GRP_11] = { FORM(MOV, 0, MI, W), UD, UD, UD, UD, UD, UD, LEN(0) },
};

#define VLOAD(s, z, f)	SIZED(VEC, WAFER_VEC_##s, RM, z, R | (f))
#define VSTORE(s, z, f)	SIZED(VEC, WAFER_VEC_##s, MR, z, W | (f))
#define LOAD		VLOAD(FULL, 0, 0)
#define LOADA		VLOAD(FULL, 0, WAFER_F_ALIGN)
#define STORE		VSTORE(FULL, 0, 0)
#define STOREA		VSTORE(FULL, 0, WAFER_F_ALIGN)

const struct wafer_insn_form wafer_sse[][4] = {
	[SSE_10] = { LOAD, LOAD, VLOAD(LOW, 4, 0), VLOAD(LOW, 8, 0) },
	[SSE_11] = { STORE, STORE, VSTORE(LOW, 4, 0), VSTORE(LOW, 8, 0) },
	[SSE_12] = { VLOAD(LO64, 8, 0), VLOAD(LO64, 8, 0) },
	[SSE_13] = { VSTORE(LO64, 8, 0), VSTORE(LO64, 8, 0) },
	[SSE_16] = { VLOAD(HI64, 8, 0), VLOAD(HI64, 8, 0) },
	[SSE_17] = { VSTORE(HI64, 8, 0), VSTORE(HI64, 8, 0) },
	[SSE_28] = { LOADA, LOADA },
	[SSE_29] = { STOREA, STOREA },
	[SSE_2B] = { STOREA, STOREA },
	[SSE_6E] = { [1] = VLOAD(LOW, WAFER_SIZE_W, 0) },
	[SSE_6F] = { [1] = LOADA, LOAD },
	[SSE_7E] = { [1] = VSTORE(LOW, WAFER_SIZE_W, 0), VLOAD(LOW, 8, 0) },
	[SSE_7F] = { [1] = STOREA, STORE },
	[SSE_D6] = { [1] = VSTORE(LOW, 8, 0) },
	[SSE_E7] = { [1] = STOREA },
	[SSE_F0] = { [3] = LOAD },
};

/* All that the executor knows of the three-byte maps, whose lengths are regular. */
const struct wafer_insn_form wafer_movbe_load = FORM(MOV, WAFER_MOV_BE, RM, R);
const struct wafer_insn_form wafer_movbe_store = FORM(MOV, WAFER_MOV_BE, MR, W);
const struct wafer_insn_form wafer_movntdqa = LOADA;
