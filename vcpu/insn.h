/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the decoder (vcpu/decode.c), its tables (vcpu/opcodes.c) and the executor (vcpu/emulate.c,
 * operand.c, alu.c) share. Nobody else looks in here.
 */
#ifndef WAFER_INSN_H
#define WAFER_INSN_H

#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/string.h>
#include <asm/processor-flags.h>

#include "emulate.h"

/* Maps, as in the high byte of wafer_insn.opcode. */
enum { WAFER_MAP_ONE, WAFER_MAP_0F, WAFER_MAP_0F38, WAFER_MAP_0F3A, WAFER_NR_MAPS };

/*
 * What is done with destination and source. The first eight, BT to BTC and the shifts are in the
 * order of their encoding (SDM vol. 2 table A-6). Up to CMPXCHG8B they can be locked; those before
 * MOV read their destination.
 */
enum wafer_op {
	WAFER_OP_NONE,
	WAFER_OP_ADD, WAFER_OP_OR, WAFER_OP_ADC, WAFER_OP_SBB,
	WAFER_OP_AND, WAFER_OP_SUB, WAFER_OP_XOR, WAFER_OP_CMP,
	WAFER_OP_BT, WAFER_OP_BTS, WAFER_OP_BTR, WAFER_OP_BTC,
	WAFER_OP_INC, WAFER_OP_DEC, WAFER_OP_NOT, WAFER_OP_NEG,
	WAFER_OP_XCHG, WAFER_OP_XADD, WAFER_OP_CMPXCHG, WAFER_OP_CMPXCHG8B,
	WAFER_OP_ROL, WAFER_OP_ROR, WAFER_OP_RCL, WAFER_OP_RCR,
	WAFER_OP_SHL, WAFER_OP_SHR, WAFER_OP_SAL, WAFER_OP_SAR,
	WAFER_OP_SHLD, WAFER_OP_SHRD, WAFER_OP_BSF, WAFER_OP_BSR,
	WAFER_OP_TEST, WAFER_OP_IMUL, WAFER_OP_CMOV,
	WAFER_OP_MOV, WAFER_OP_SX, WAFER_OP_BE, WAFER_OP_SETCC, WAFER_OP_ENTER, WAFER_OP_LEAVE,
	WAFER_OP_MULDIV, WAFER_OP_CALL, WAFER_OP_JMP, WAFER_OP_JMP_FAR,
};

/* Those that do not write their destination. */
#define WAFER_OPS_READ	(BIT_ULL(WAFER_OP_CMP) | BIT_ULL(WAFER_OP_BT) |		\
			 BIT_ULL(WAFER_OP_TEST) | BIT_ULL(WAFER_OP_LEAVE) |	\
			 BIT_ULL(WAFER_OP_MULDIV) | BIT_ULL(WAFER_OP_JMP) |	\
			 BIT_ULL(WAFER_OP_JMP_FAR))

/* Where an operand is. MEM to DI are in memory, from VEC on in a vector register. */
enum wafer_at {
	WAFER_AT_NONE,
	WAFER_AT_MEM,		/* where ModRM or moffs says */
	WAFER_AT_STACK, WAFER_AT_SI, WAFER_AT_DI,
	WAFER_AT_REG, WAFER_AT_ACC, WAFER_AT_IMM,
	WAFER_AT_SREG,		/* of ModRM; LTR's */
	WAFER_AT_RM,		/* register where memory could be; for what writes descriptors */
	WAFER_AT_MSW,		/* the low half of CR0 */
	WAFER_AT_COUNT,		/* of shifts: by opcode */
	WAFER_AT_PORT,
	WAFER_AT_VEC,		/* a load clears what is beyond it */
	WAFER_AT_VECLO,		/* one half of an XMM: a load keeps the other */
	WAFER_AT_VECHI,
	WAFER_AT_MMX,
};

/**
 * enum wafer_form_flags - what struct wafer_insn_form says besides
 * @WAFER_F_MODRM: ModRM follows
 * @WAFER_F_BYTE: operand size 1
 * @WAFER_F_D64: 64-bit operand by default in 64-bit code
 * @WAFER_F_F64: 64-bit operand in 64-bit code whatever the prefixes say
 * @WAFER_F_NO64: #UD in 64-bit code
 * @WAFER_F_ONLY64: has a form in 64-bit code only
 * @WAFER_F_UD: #UD
 * @WAFER_F_PREFIX: a prefix
 * @WAFER_F_GROUP: op is a row of wafer_groups, taken by ModRM.reg
 * @WAFER_F_SSE: op is a row of wafer_sse, taken by the mandatory prefix
 * @WAFER_F_REGS: ModRM.mod is taken for 3 (MOV CR, MOV DR)
 * @WAFER_F_MAX4: REX.W does not widen (port I/O)
 * @WAFER_F_ALIGN: #GP if 16 bytes or more are not aligned to their size
 * @WAFER_F_IMM8: a sign-extended byte follows
 * @WAFER_F_IMM16: 2 bytes; with IMMZ a far pointer, with IMM8 the two immediates of ENTER
 * @WAFER_F_IMMZ: 2 or 4, by operand size
 * @WAFER_F_IMMV: 2, 4 or 8, by operand size
 * @WAFER_F_MOFFS: an offset, by address size
 * @WAFER_F_OPREG: the register is in the opcode
 */
enum wafer_form_flags {
	WAFER_F_MODRM = BIT(0), WAFER_F_BYTE = BIT(1), WAFER_F_D64 = BIT(2), WAFER_F_F64 = BIT(3),
	WAFER_F_NO64 = BIT(4), WAFER_F_ONLY64 = BIT(5), WAFER_F_UD = BIT(6),
	WAFER_F_PREFIX = BIT(7), WAFER_F_GROUP = BIT(8), WAFER_F_SSE = BIT(9),
	WAFER_F_REGS = BIT(10), WAFER_F_MAX4 = BIT(11), WAFER_F_ALIGN = BIT(12),
	WAFER_F_IMM8 = BIT(13), WAFER_F_IMM16 = BIT(14), WAFER_F_IMMZ = BIT(15),
	WAFER_F_IMMV = BIT(16), WAFER_F_MOFFS = BIT(17), WAFER_F_OPREG = BIT(18),
};

#define WAFER_SIZE_W	0xff		/* form->size: 8 with REX.W or VEX.W, else 4 */

/**
 * struct wafer_insn_form - what the decoder and the executor know of an opcode
 * @op: enum wafer_op, or a row (WAFER_F_GROUP, WAFER_F_SSE)
 * @dst, @src: enum wafer_at
 * @size: bytes of the memory operand; 0: the operand size
 * @flags: WAFER_F_*
 */
struct wafer_insn_form {
	u8 op, dst, src, size;
	u32 flags;
};

extern const struct wafer_insn_form wafer_maps[WAFER_NR_MAPS][256];
extern const struct wafer_insn_form wafer_groups[][8];
extern const struct wafer_insn_form wafer_sse[][4];		/* no prefix, 66, F3, F2 */

/* The flags that instructions compute. */
#define WAFER_FLAGS_ARITH	(X86_EFLAGS_CF | X86_EFLAGS_PF | X86_EFLAGS_AF |	\
				 X86_EFLAGS_ZF | X86_EFLAGS_SF | X86_EFLAGS_OF)

/* vcpu/alu.c */
u64 wafer_alu(enum wafer_op op, unsigned int size, u64 dst, u64 src, u64 fill, u64 *rflags);
bool wafer_muldiv(unsigned int which, unsigned int size, u64 *lo, u64 *hi, u64 src, u64 *rflags);
bool wafer_condition(unsigned int cc, u64 rflags);

#define WAFER_SPAN_ALIGNED	BIT(15)	/* with the access: #GP if not aligned to the size */

/* vcpu/operand.c: 0, or enum wafer_emu_result, or -errno */
u64 wafer_get_gpr(const struct wafer_emu *emu, unsigned int nr, unsigned int size);
void wafer_put_gpr(struct wafer_emu *emu, unsigned int nr, unsigned int size, u64 val);
bool wafer_segment_allows(const struct wafer_segment *seg, u32 offset, unsigned int size,
			  u32 access, bool real);
bool wafer_canonical(const struct wafer_emu *emu, u64 addr);
int wafer_raise(struct wafer_emu *emu, u8 vector);
int wafer_span(struct wafer_emu *emu, struct wafer_operand *o, unsigned int slot,
	       enum wafer_seg_reg seg, u64 offset, unsigned int size, u32 access);
int wafer_access(struct wafer_emu *emu, const struct wafer_operand *o, union wafer_value *val,
		 bool write);
int wafer_access_port(struct wafer_emu *emu, union wafer_value *val, unsigned int len, bool write);
int wafer_write_locked(struct wafer_emu *emu, const struct wafer_operand *o,
		       union wafer_value *val);

/* base + index * scale + displacement, not yet cut to the address size */
static inline u64 wafer_effective_address(const struct wafer_emu *emu)
{
	const struct wafer_insn *insn = &emu->insn;
	u64 ea = insn->disp;

	if (insn->base >= 0)
		ea += emu->gpr[insn->base];
	if (insn->index >= 0)
		ea += emu->gpr[insn->index] * insn->scale;
	return insn->rip_rel ? ea + emu->rip + insn->len : ea;
}

static inline u64 wafer_size_mask(unsigned int size)
{
	return ~0ull >> (64 - size * 8);
}

static inline s64 wafer_sign_extend(u64 val, unsigned int size)
{
	return (s64)(val << (64 - size * 8)) >> (64 - size * 8);
}

static inline bool wafer_at_memory(enum wafer_at at)
{
	return at >= WAFER_AT_MEM && at <= WAFER_AT_DI;
}

/*
 * One operand in memory, by ModRM, and no descriptor: the CPU's own translation at the exit is of
 * this one.
 */
static inline bool wafer_insn_one_access(const struct wafer_insn *insn)
{
	const struct wafer_insn_form *f = insn->form;

	return insn->is_mem && f && !(wafer_at_memory(f->dst) && wafer_at_memory(f->src)) &&
	       f->dst != WAFER_AT_SREG && f->op != WAFER_OP_JMP_FAR;
}

static inline bool wafer_insn_uses(const struct wafer_insn *insn, enum wafer_at first,
				   enum wafer_at last)
{
	const struct wafer_insn_form *f = insn->form;

	return f && ((f->dst >= first && f->dst <= last) || (f->src >= first && f->src <= last));
}

#endif
