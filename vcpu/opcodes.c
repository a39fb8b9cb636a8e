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
#define I8	WAFER_F_IMM8
#define I16	WAFER_F_IMM16
#define IZ	WAFER_F_IMMZ
#define D64	WAFER_F_D64
#define F64	WAFER_F_F64
#define MAX4	WAFER_F_MAX4

#define LEN(f)			{ .flags = (f) }
#define UD			{ .flags = WAFER_F_UD }
#define PREFIX			{ .flags = WAFER_F_PREFIX }
#define GROUP(g, f)		{ .op = GROUP_##g, .flags = M | WAFER_F_GROUP | (f) }
#define SSE(row)		{ .op = SSE_##row, .flags = M | WAFER_F_SSE }
#define SIZED(o, d, s, z, f)	\
	{ WAFER_OP_##o, WAFER_AT_##d, WAFER_AT_##s, (z), (f) }
#define FORM(o, d, s, f)	SIZED(o, d, s, 0, f)
/* Opcodes @n and @n + 1: bytes, and by operand size. */
#define PAIR(n, o, d, s, f)	\
	[n] = FORM(o, d, s, B | (f)), [(n) + 1] = FORM(o, d, s, f)
/* The six regular columns of the arithmetic rows. */
#define ALU(n, o)		\
	[n] = FORM(o, MEM, REG, M | B), FORM(o, MEM, REG, M), FORM(o, REG, MEM, M | B),	\
	FORM(o, REG, MEM, M), LEN(B | I8), LEN(IZ)

/* Rows of wafer_groups and wafer_sse. */
enum {
	GROUP_1, GROUP_1A, GROUP_2, GROUP_3, GROUP_4, GROUP_5, GROUP_6, GROUP_7, GROUP_8, GROUP_9,
	GROUP_11,
};
enum {
	SSE_10, SSE_11, SSE_12, SSE_13, SSE_16, SSE_17, SSE_28, SSE_29, SSE_2B, SSE_6E, SSE_6F,
	SSE_7E, SSE_7F, SSE_BC, SSE_BD, SSE_D6, SSE_E7, SSE_F0, SSE_382A, SSE_38F0, SSE_38F1,
};

const struct wafer_insn_form wafer_maps[WAFER_NR_MAPS][256] = { {
	ALU(0x00, ADD), LEN(N), LEN(N), ALU(0x08, OR), LEN(N), UD,	/* 0F is taken before */
	ALU(0x10, ADC), LEN(N), LEN(N), ALU(0x18, SBB), LEN(N), LEN(N),
	ALU(0x20, AND), PREFIX, LEN(N), ALU(0x28, SUB), PREFIX, LEN(N),
	ALU(0x30, XOR), PREFIX, LEN(N), ALU(0x38, CMP), PREFIX, LEN(N),
	[0x40 ... 0x4f] = LEN(0),		/* REX in 64-bit code */
	[0x50 ... 0x57] = FORM(MOV, STACK, REG, D64 | WAFER_F_OPREG),
	[0x58 ... 0x5f] = FORM(MOV, REG, STACK, D64 | WAFER_F_OPREG),
	[0x60] = LEN(N), LEN(N), LEN(M | N), SIZED(SX, REG, MEM, 4, M | WAFER_F_ONLY64),
	[0x64 ... 0x67] = PREFIX,
	[0x68] = FORM(MOV, STACK, IMM, IZ | D64), FORM(IMUL, REG, MEM, M | IZ),
	[0x6a] = FORM(MOV, STACK, IMM, I8 | D64), FORM(IMUL, REG, MEM, M | I8),
	PAIR(0x6c, MOV, DI, PORT, MAX4), PAIR(0x6e, MOV, PORT, SI, MAX4),
	[0x70 ... 0x7f] = LEN(I8 | F64),
	[0x80] = GROUP(1, B | I8), GROUP(1, IZ), GROUP(1, B | I8 | N), GROUP(1, I8),
	PAIR(0x84, TEST, MEM, REG, M), PAIR(0x86, XCHG, MEM, REG, M),
	PAIR(0x88, MOV, MEM, REG, M), PAIR(0x8a, MOV, REG, MEM, M),
	[0x8c] = SIZED(MOV, MEM, SREG, 2, M), LEN(M), SIZED(MOV, SREG, MEM, 2, M), GROUP(1A, D64),
	[0x90 ... 0x99] = LEN(0),
	[0x9a] = LEN(IZ | I16 | N), LEN(0), LEN(D64), LEN(D64), LEN(0), LEN(0),
	PAIR(0xa0, MOV, REG, MEM, WAFER_F_MOFFS), PAIR(0xa2, MOV, MEM, REG, WAFER_F_MOFFS),
	PAIR(0xa4, MOV, DI, SI, 0), PAIR(0xa6, CMP, SI, DI, 0), LEN(B | I8), LEN(IZ),
	PAIR(0xaa, MOV, DI, ACC, 0), PAIR(0xac, MOV, ACC, SI, 0), PAIR(0xae, CMP, ACC, DI, 0),
	[0xb0 ... 0xb7] = LEN(B | I8), [0xb8 ... 0xbf] = LEN(WAFER_F_IMMV),
	[0xc0] = GROUP(2, B | I8), GROUP(2, I8), LEN(I16 | F64), FORM(JMP, NONE, STACK, F64),
	[0xc4] = LEN(M | N), LEN(M | N),	/* LES, LDS; VEX is taken before */
	[0xc6] = GROUP(11, B | I8), GROUP(11, IZ),
	[0xc8] = FORM(ENTER, STACK, NONE, I16 | I8 | D64), FORM(LEAVE, NONE, STACK, D64),
	[0xca] = LEN(I16), LEN(0), LEN(0), LEN(I8), LEN(N), LEN(0),
	[0xd0] = GROUP(2, B), GROUP(2, 0), GROUP(2, B), GROUP(2, 0),
	[0xd4] = LEN(I8 | N), LEN(I8 | N), LEN(N), LEN(0), [0xd8 ... 0xdf] = LEN(M),
	[0xe0 ... 0xe3] = LEN(I8 | F64),
	[0xe4] = LEN(B | I8), LEN(I8 | MAX4), LEN(B | I8), LEN(I8 | MAX4),
	[0xe8] = LEN(IZ | F64), LEN(IZ | F64), LEN(IZ | I16 | N), LEN(I8 | F64),
	[0xec] = LEN(B), LEN(MAX4), LEN(B), LEN(MAX4),
	[0xf0] = PREFIX, LEN(0), PREFIX, PREFIX, LEN(0), LEN(0), GROUP(3, B), GROUP(3, 0),
	[0xf8 ... 0xfd] = LEN(0), GROUP(4, B), GROUP(5, 0),
}, {
	[0x00] = GROUP(6, 0), GROUP(7, 0), LEN(M), LEN(M), UD, LEN(0), LEN(0), LEN(0),
	[0x08] = LEN(0), LEN(0), UD, UD, UD,
	[0x0d] = LEN(M), LEN(0), LEN(M | I8),	/* 0F 0F: 3DNow!, opcode behind ModRM */
	[0x10] = SSE(10), SSE(11), SSE(12), SSE(13), LEN(M), LEN(M), SSE(16), SSE(17),
	[0x18 ... 0x1f] = LEN(M),
	[0x20 ... 0x23] = LEN(M | WAFER_F_REGS | F64), [0x24 ... 0x27] = UD,
	[0x28] = SSE(28), SSE(29), LEN(M), SSE(2B), [0x2c ... 0x2f] = LEN(M),
	/* 38 and 3A are taken before */
	[0x30 ... 0x35] = LEN(0), UD, LEN(0), [0x38 ... 0x3f] = UD,
	[0x40 ... 0x4f] = FORM(CMOV, REG, MEM, M), [0x50 ... 0x6d] = LEN(M), SSE(6E), SSE(6F),
	[0x70 ... 0x73] = LEN(M | I8), [0x74 ... 0x76] = LEN(M),
	[0x77] = LEN(0), LEN(M), LEN(M), UD, UD, LEN(M), LEN(M), SSE(7E), SSE(7F),
	[0x80 ... 0x8f] = LEN(IZ | F64), [0x90 ... 0x9f] = FORM(SETCC, MEM, NONE, M | B),
	[0xa0] = LEN(D64), LEN(D64), LEN(0), FORM(BT, MEM, REG, M), FORM(SHLD, MEM, REG, M | I8),
		FORM(SHLD, MEM, REG, M), UD, UD,
	[0xa8] = LEN(D64), LEN(D64), LEN(0), FORM(BTS, MEM, REG, M), FORM(SHRD, MEM, REG, M | I8),
		FORM(SHRD, MEM, REG, M), LEN(M), FORM(IMUL, REG, MEM, M),
	PAIR(0xb0, CMPXCHG, MEM, REG, M), LEN(M), FORM(BTR, MEM, REG, M), LEN(M), LEN(M),
	[0xb6] = SIZED(MOV, REG, MEM, 1, M), SIZED(MOV, REG, MEM, 2, M),
	[0xb8] = LEN(M), UD, GROUP(8, I8), FORM(BTC, MEM, REG, M), SSE(BC), SSE(BD),
	[0xbe] = SIZED(SX, REG, MEM, 1, M), SIZED(SX, REG, MEM, 2, M),
	PAIR(0xc0, XADD, MEM, REG, M), LEN(M | I8), SIZED(MOV, MEM, REG, WAFER_SIZE_W, M),
	[0xc4 ... 0xc6] = LEN(M | I8), GROUP(9, 0), [0xc8 ... 0xcf] = LEN(0),
	[0xd0 ... 0xd5] = LEN(M), SSE(D6), [0xd7 ... 0xe6] = LEN(M), SSE(E7),
	[0xe8 ... 0xef] = LEN(M), SSE(F0), [0xf1 ... 0xfe] = LEN(M), UD,
}, {
	[0x00 ... 0x29] = LEN(M), SSE(382A), [0x2b ... 0xef] = LEN(M), SSE(38F0), SSE(38F1),
	[0xf2 ... 0xff] = LEN(M),
}, {
	[0x00 ... 0xff] = LEN(M | I8),
} };

#define IMM(o)		FORM(o, MEM, IMM, 0)
#define SHIFT(o)	FORM(o, MEM, COUNT, 0)
#define UNARY(o)	FORM(o, MEM, NONE, 0)

const struct wafer_insn_form wafer_groups[][8] = {
	[GROUP_1] = {
		IMM(ADD), IMM(OR), IMM(ADC), IMM(SBB), IMM(AND), IMM(SUB), IMM(XOR), IMM(CMP),
	},
	[GROUP_1A] = { FORM(MOV, MEM, STACK, 0), UD, UD, UD, UD, UD, UD, UD },
	[GROUP_2] = {
		SHIFT(ROL), SHIFT(ROR), SHIFT(RCL), SHIFT(RCR),
		SHIFT(SHL), SHIFT(SHR), SHIFT(SAL), SHIFT(SAR),
	},
	/* TEST alone has an immediate, by operand size. /1 is an alias of /0. */
	[GROUP_3] = { [0 ... 1] = FORM(TEST, MEM, IMM, IZ), UNARY(NOT), UNARY(NEG),
		      [4 ... 7] = FORM(MULDIV, NONE, MEM, 0) },
	[GROUP_4] = { UNARY(INC), UNARY(DEC), UD, UD, UD, UD, UD, UD },
	[GROUP_5] = {
		UNARY(INC), UNARY(DEC), FORM(CALL, STACK, MEM, F64), LEN(0),
		FORM(JMP, NONE, MEM, F64), FORM(JMP_FAR, NONE, MEM, 0),
		FORM(MOV, STACK, MEM, D64), UD,
	},
	[GROUP_6] = { [3] = SIZED(MOV, SREG, MEM, 2, 0) },
	[GROUP_7] = { [4] = SIZED(MOV, MEM, MSW, 2, 0), [6] = SIZED(MOV, MSW, MEM, 2, 0) },
	[GROUP_8] = { UD, UD, UD, UD, IMM(BT), IMM(BTS), IMM(BTR), IMM(BTC) },
	[GROUP_9] = { [1] = SIZED(CMPXCHG8B, MEM, NONE, WAFER_SIZE_W, WAFER_F_ALIGN) },
	/* /7: XABORT, XBEGIN */
	[GROUP_11] = { IMM(MOV), UD, UD, UD, UD, UD, UD, LEN(0) },
};

#define LOAD		FORM(MOV, VEC, MEM, 0)
#define LOADA		FORM(MOV, VEC, MEM, WAFER_F_ALIGN)
#define STORE		FORM(MOV, MEM, VEC, 0)
#define STOREA		FORM(MOV, MEM, VEC, WAFER_F_ALIGN)
/* @v: of VEC, VECLO, VECHI: a part of so many bytes */
#define LOADP(v, n)	SIZED(MOV, v, MEM, n, 0)
#define STOREP(v, n)	SIZED(MOV, MEM, v, n, 0)
#define SWAP(d, s)	FORM(BE, d, s, 0)

const struct wafer_insn_form wafer_sse[][4] = {
	[SSE_10] = { LOAD, LOAD, LOADP(VEC, 4), LOADP(VEC, 8) },
	[SSE_11] = { STORE, STORE, STOREP(VEC, 4), STOREP(VEC, 8) },
	[SSE_12] = { LOADP(VECLO, 8), LOADP(VECLO, 8) },
	[SSE_13] = { STOREP(VECLO, 8), STOREP(VECLO, 8) },
	[SSE_16] = { LOADP(VECHI, 8), LOADP(VECHI, 8) },
	[SSE_17] = { STOREP(VECHI, 8), STOREP(VECHI, 8) },
	[SSE_28] = { LOADA, LOADA }, [SSE_29] = { STOREA, STOREA }, [SSE_2B] = { STOREA, STOREA },
	[SSE_6E] = { [1] = LOADP(VEC, WAFER_SIZE_W) }, [SSE_6F] = { LOADP(MMX, 8), LOADA, LOAD },
	[SSE_7E] = { [1] = STOREP(VEC, WAFER_SIZE_W), LOADP(VEC, 8) },
	[SSE_7F] = { STOREP(MMX, 8), STOREA, STORE },
	/* with F3 TZCNT and LZCNT */
	[SSE_BC] = { [0 ... 1] = FORM(BSF, REG, MEM, 0), [3] = FORM(BSF, REG, MEM, 0) },
	[SSE_BD] = { [0 ... 1] = FORM(BSR, REG, MEM, 0), [3] = FORM(BSR, REG, MEM, 0) },
	[SSE_D6] = { [1] = STOREP(VEC, 8) },
	[SSE_E7] = { [1] = STOREA }, [SSE_F0] = { [3] = LOAD }, [SSE_382A] = { [1] = LOADA },
	[SSE_38F0] = { SWAP(REG, MEM), SWAP(REG, MEM) },
	[SSE_38F1] = { SWAP(MEM, REG), SWAP(MEM, REG) },
};
