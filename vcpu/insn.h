/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the decoder (vcpu/decode.c), its tables (vcpu/opcodes.c) and the executor (vcpu/emulate*.c,
 * vcpu/alu.c) share. Nobody else looks in here.
 */
#ifndef WAFER_INSN_H
#define WAFER_INSN_H

#include <linux/kernel.h>
#include <linux/minmax.h>

#include <linux/compiler.h>

#include "emulate.h"

/* Maps, as in the high byte of wafer_insn.opcode. */
enum { WAFER_MAP_ONE, WAFER_MAP_0F, WAFER_MAP_0F38, WAFER_MAP_0F3A };

/* What the executor does; the variant is form->sub. */
enum wafer_op {
	WAFER_OP_NONE,
	WAFER_OP_MOV,		/* sub: WAFER_MOV_* */
	WAFER_OP_ALU,		/* sub: enum wafer_alu */
	WAFER_OP_XCHG,
	WAFER_OP_XADD,
	WAFER_OP_CMPXCHG,
	WAFER_OP_CMPXCHG8B,
	WAFER_OP_BT,		/* sub: enum wafer_alu, BT to BTC */
	WAFER_OP_IMUL,
	WAFER_OP_SETCC,
	WAFER_OP_CMOV,
	WAFER_OP_SREG,
	WAFER_OP_PUSH,
	WAFER_OP_POP,
	WAFER_OP_CALL,
	WAFER_OP_JMP,
	WAFER_OP_STRING,	/* sub: WAFER_STR_* */
	WAFER_OP_VEC,		/* sub: WAFER_VEC_* */
};

enum { WAFER_MOV_PLAIN, WAFER_MOV_ZX, WAFER_MOV_SX, WAFER_MOV_BE };
enum { WAFER_STR_MOVS, WAFER_STR_CMPS, WAFER_STR_STOS, WAFER_STR_LODS, WAFER_STR_SCAS };

/* Which part of the vector register. */
enum {
	WAFER_VEC_FULL,		/* all of the vector length */
	WAFER_VEC_LOW,		/* form->size bytes, a load clears the rest */
	WAFER_VEC_LO64,		/* the lower half of an XMM, a load keeps the other */
	WAFER_VEC_HI64,
};

/*
 * Operations of vcpu/alu.c. The first eight and the shifts are in the order of their encoding (SDM
 * vol. 2 table A-6, groups 1 and 2), the bit tests in that of group 8.
 */
enum wafer_alu {
	WAFER_ALU_ADD, WAFER_ALU_OR, WAFER_ALU_ADC, WAFER_ALU_SBB,
	WAFER_ALU_AND, WAFER_ALU_SUB, WAFER_ALU_XOR, WAFER_ALU_CMP,
	WAFER_ALU_ROL, WAFER_ALU_ROR, WAFER_ALU_RCL, WAFER_ALU_RCR,
	WAFER_ALU_SHL, WAFER_ALU_SHR, WAFER_ALU_SAL, WAFER_ALU_SAR,
	WAFER_ALU_BT, WAFER_ALU_BTS, WAFER_ALU_BTR, WAFER_ALU_BTC,
	WAFER_ALU_TEST, WAFER_ALU_INC, WAFER_ALU_DEC, WAFER_ALU_NOT, WAFER_ALU_NEG, WAFER_ALU_IMUL,
};

/* Where the operands are; the memory operand is M. */
enum wafer_args {
	WAFER_ARGS_M,		/* alone */
	WAFER_ARGS_MR,		/* destination memory, source register */
	WAFER_ARGS_RM,
	WAFER_ARGS_MI,		/* source immediate */
	WAFER_ARGS_MS,		/* source: shift count, by opcode */
};

#define WAFER_F_MODRM	BIT(0)
#define WAFER_F_BYTE	BIT(1)	/* operand size 1 */
#define WAFER_F_D64	BIT(2)	/* 64-bit operand by default in 64-bit code */
#define WAFER_F_F64	BIT(3)	/* 64-bit operand in 64-bit code whatever the prefixes say */
#define WAFER_F_NO64	BIT(4)	/* #UD in 64-bit code */
#define WAFER_F_UD	BIT(5)
#define WAFER_F_PREFIX	BIT(6)
#define WAFER_F_GROUP	BIT(7)	/* op is a row of wafer_groups, taken by ModRM.reg */
#define WAFER_F_SSE	BIT(8)	/* op is a row of wafer_sse, taken by the mandatory prefix */
#define WAFER_F_REGS	BIT(9)	/* ModRM.mod is taken for 3 (MOV CR, MOV DR) */
#define WAFER_F_MAX4	BIT(10)	/* REX.W does not widen (port I/O) */
#define WAFER_F_ONLY64	BIT(11)	/* has a form in 64-bit code only */
#define WAFER_F_LOCK	BIT(12)	/* LOCK is allowed */
#define WAFER_F_RD	BIT(13)	/* reads memory */
#define WAFER_F_WR	BIT(14)	/* writes memory */
#define WAFER_F_ALIGN	BIT(15)	/* #GP if memory is not aligned to the vector length */
#define WAFER_F_MAP3	BIT(20)	/* a three-byte map: forms are found by opcode */
#define WAFER_F_IMM	GENMASK(19, 16)
/* Which immediate follows: a number in four bits. */
#define WAFER_F_IMM8	0x10000		/* sign-extended byte */
#define WAFER_F_IMM16	0x20000
#define WAFER_F_IMMZ	0x30000	/* 2 or 4 by operand size */
#define WAFER_F_IMMV	0x40000	/* 2, 4 or 8 by operand size */
#define WAFER_F_MOFFS	0x50000	/* by address size */
#define WAFER_F_FAR	0x60000	/* offset by operand size, and a selector */
#define WAFER_F_ENTER	0x70000	/* 16 bits and 8 bits */
#define WAFER_F_IMM2X8	0x80000

#define WAFER_SIZE_W	0xff		/* form->size: 8 with REX.W or VEX.W, else 4 */

/**
 * struct wafer_insn_form - what the decoder and the executor know of an opcode
 * @op: enum wafer_op, or a row (WAFER_F_GROUP, WAFER_F_SSE)
 * @sub: variant of @op
 * @args: enum wafer_args
 * @size: bytes of the memory operand; 0: the operand size
 * @flags: WAFER_F_*
 */
struct wafer_insn_form {
	u8 op, sub, args, size;
	u32 flags;
};

enum {
	WAFER_GRP_1, WAFER_GRP_1A, WAFER_GRP_2, WAFER_GRP_3, WAFER_GRP_4, WAFER_GRP_5, WAFER_GRP_8,
	WAFER_GRP_9,
	WAFER_GRP_11, WAFER_NR_GRPS
};

extern const struct wafer_insn_form wafer_map_one[256], wafer_map_0f[256];
extern const struct wafer_insn_form wafer_groups[WAFER_NR_GRPS][8];
extern const struct wafer_insn_form wafer_sse[][4];		/* no prefix, 66, F3, F2 */
extern const struct wafer_insn_form wafer_movbe_load, wafer_movbe_store, wafer_movntdqa;

/* The flags that instructions compute. */
#define WAFER_FLAGS_CF		BIT(0)
#define WAFER_FLAGS_ZF		BIT(6)
#define WAFER_FLAGS_SF		BIT(7)
#define WAFER_FLAGS_TF		BIT(8)
#define WAFER_FLAGS_DF		BIT(10)
#define WAFER_FLAGS_OF		BIT(11)
#define WAFER_FLAGS_RF		BIT(16)
#define WAFER_FLAGS_PF		BIT(2)
#define WAFER_FLAGS_ARITH	0x8d5u	/* CF PF AF ZF SF OF */

/* vcpu/alu.c */
u64 wafer_alu(enum wafer_alu op, unsigned int size, u64 dst, u64 src, u64 *rflags);
bool wafer_condition(unsigned int cc, u64 rflags);

/* An operand in memory whose pages have been translated. */
struct wafer_span {
	gpa_t gpa[2];
	u8 len[2];			/* bytes in the first and second page */
};

/* Big enough for the largest operand; a u64 for the common case. */
union wafer_value {
	u64 q[4];
	u8 b[32];
};

#define WAFER_SPAN_ALIGNED	BIT(15)	/* with the access: #GP if not aligned to the size */

/* vcpu/operand.c: 0, or enum wafer_emu_result, or -errno */
u64 wafer_get_gpr(const struct wafer_emu *emu, unsigned int nr, unsigned int size);
void wafer_put_part(struct wafer_emu *emu, unsigned int nr, unsigned int size, u64 val);
bool wafer_segment_allows(const struct wafer_segment *seg, u32 offset, unsigned int size,
			  u32 access, bool real);
int wafer_raise(struct wafer_emu *emu, u8 vector);
u64 wafer_address(const struct wafer_emu *emu);
int wafer_span(struct wafer_emu *emu, struct wafer_span *span, unsigned int slot,
	       enum wafer_seg_reg seg, u64 offset, unsigned int size, u32 access);
int wafer_load(struct wafer_emu *emu, const struct wafer_span *span, union wafer_value *val);
int wafer_store(struct wafer_emu *emu, const struct wafer_span *span, const union wafer_value *val);
int wafer_store_locked(struct wafer_emu *emu, const struct wafer_span *span,
		       const union wafer_value *old, const union wafer_value *new);

/* The operand that ModRM names. */
static inline int wafer_memory_span(struct wafer_emu *emu, struct wafer_span *span,
				    unsigned int size, u32 access)
{
	return wafer_span(emu, span, 0, emu->insn.seg, wafer_address(emu), size, access);
}

static inline u64 wafer_size_mask(unsigned int size)
{
	return ~0ull >> (64 - size * 8);
}

/* Writes a register: 32 bits clear the upper half, 8 and 16 leave the rest alone. */
static inline void wafer_put_gpr(struct wafer_emu *emu, unsigned int nr, unsigned int size, u64 val)
{
	if (likely(size >= 4))
		emu->gpr[nr] = size == 4 ? (u32)val : val;
	else
		wafer_put_part(emu, nr, size, val);
}

/* vcpu/emulate_string.c, vcpu/emulate_vec.c */
int wafer_emulate_string(struct wafer_emu *emu);
int wafer_emulate_vec(struct wafer_emu *emu);

#endif
