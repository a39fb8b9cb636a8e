/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Runs one instruction on this CPU, in 16, 32 or 64-bit code, with registers, flags, segments and
 * memory of the test's choosing, and catches its fault. Code and data lie at fixed low addresses;
 * segments are in the LDT.
 */
#ifndef NATIVE_H
#define NATIVE_H

#include <linux/types.h>

#define NATIVE_CODE	0x10000000ul	/* one page of code */
#define NATIVE_IP	0x800		/* where in it the instruction is put */
#define NATIVE_PAD	0x900		/* where else it may go */
#define NATIVE_DATA	0x10010000ul	/* memory for operands */
#define NATIVE_SIZE	0x18000ul	/* of it */

struct native_fault {
	int trap;			/* vector, -1: none */
	u32 error;
	u64 cr2;
};

/**
 * struct native - state before and after
 * @gpr, @rflags, @vec: registers
 * @sel: selectors of ES, CS, SS, DS, FS (not loaded), GS; CS says the code size
 * @gs_base: in 64-bit code
 * @at_pad: ended at NATIVE_PAD instead of behind the instruction
 * @fault: what it ended with
 */
struct native {
	u64 gpr[16], rflags;
	u8 vec[16][32];
	u16 sel[6];
	u64 gs_base;
	bool at_pad;
	struct native_fault fault;
};

/* 0, or the reason why this host cannot do it. */
const char *native_init(void);
/* Puts a descriptor into LDT entry @nr. @type: as in a descriptor, without "accessed". */
bool native_segment(unsigned int nr, u32 base, u32 limit, bool pages, u8 type, bool big);
u16 native_selector(unsigned int nr);
/* @mode: 2, 4, 8. */
void native_run(struct native *n, const u8 *code, unsigned int len, unsigned int mode);
bool native_has_avx(void);

#endif
