/* SPDX-License-Identifier: GPL-2.0 */
/* CPUID: what is offered (cpuid_table.c) and what one guest has (cpuid.c). */
#ifndef WAFER_CPUID_H
#define WAFER_CPUID_H

#include <linux/kvm.h>
#include <linux/types.h>
#include <asm/cpufeatures.h>

#define WAFER_PV_LEAF	0x40000000
#define WAFER_PV_SIGNATURE_EBX	0x4b4d564b	/* "KVMKVMKVM\0\0\0", little-endian */
#define WAFER_PV_SIGNATURE_ECX	0x564b4d56
#define WAFER_PV_SIGNATURE_EDX	0x0000004d

enum wafer_cpuid_reg { WAFER_EAX, WAFER_EBX, WAFER_ECX, WAFER_EDX };

/**
 * struct wafer_cpuid_word - a CPUID register full of feature bits
 * @leaf, @index, @reg: where
 * @word: the word of <asm/cpufeatures.h> with the same layout; WAFER_NO_WORD: none
 * @pass: offered where the CPU has it and the host's kernel uses it
 * @force: offered always: the module provides it by itself
 */
struct wafer_cpuid_word {
	u32 leaf;
	u8 index, reg, word;
	u32 pass, force;
};
#define WAFER_NO_WORD 0xff

extern const struct wafer_cpuid_word wafer_cpuid_words[];
extern const unsigned int wafer_nr_cpuid_words;

static inline u32 *wafer_cpuid_reg(struct kvm_cpuid_entry2 *e, enum wafer_cpuid_reg reg)
{
	u32 *regs[] = { &e->eax, &e->ebx, &e->ecx, &e->edx };

	return regs[reg];
}

#endif
