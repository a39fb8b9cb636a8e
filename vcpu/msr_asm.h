/* SPDX-License-Identifier: GPL-2.0 */
/* RDMSR and WRMSR, without the kernel's paravirtual and tracing detours and the same on every kernel. */
#ifndef WAFER_MSR_ASM_H
#define WAFER_MSR_ASM_H

#include <linux/types.h>
#include <asm/asm.h>
#include <asm/msr-index.h>

/* 0; -EIO: #GP, *@val is 0. */
static inline int wafer_rdmsr_safe(u32 msr, u64 *val)
{
	u32 eax, edx;
	int err;

	asm volatile("1: rdmsr ; xor %[err],%[err]\n"
		     "2:\n"
		     _ASM_EXTABLE_TYPE_REG(1b, 2b, EX_TYPE_RDMSR_SAFE, %[err])
		     : [err] "=r" (err), "=a" (eax), "=d" (edx)
		     : "c" (msr));
	*val = eax | (u64)edx << 32;
	return err;
}

static inline int wafer_wrmsr(u32 msr, u64 val)
{
	int err;

	asm volatile("1: wrmsr ; xor %[err],%[err]\n"
		     "2:\n"
		     _ASM_EXTABLE_TYPE_REG(1b, 2b, EX_TYPE_WRMSR_SAFE, %[err])
		     : [err] "=a" (err)
		     : "c" (msr), "0" ((u32)val), "d" ((u32)(val >> 32))
		     : "memory");
	return err;
}

#endif
