/* SPDX-License-Identifier: GPL-2.0 */
/* For the assembler: what both backends' enter.S share. */
#include <linux/linkage.h>
#include <linux/objtool.h>
#include <asm/alternative.h>
#include <asm/asm.h>
#include <asm/cpufeatures.h>
#include <asm/msr-index.h>
#include <asm/nospec-branch.h>
#include <asm/segment.h>

/* Older kernels have one bit for both ways out: to user space and to a guest. */
#ifndef X86_FEATURE_CLEAR_CPU_BUF_VM
#define X86_FEATURE_CLEAR_CPU_BUF_VM X86_FEATURE_CLEAR_CPU_BUF
#endif

#ifndef CREDIT_CALL_DEPTH
#define CREDIT_CALL_DEPTH
#endif

.macro RETURN_SLOT
	ANNOTATE_INTRA_FUNCTION_CALL
	call 771f
	int3
771:
.endm

/*
 * After an exit the return buffer is full of the guest's calls, by which the host's returns would
 * be predicted: 32 calls of ours take their place, on CPUs that lack no more than the barrier one
 * (RSB_VMEXIT_LITE). The kernel's FILL_RETURN_BUFFER does the same in a loop, with two and a half
 * times as many instructions.
 */
.macro FILL_RETURNS
	ALTERNATIVE_2 "jmp .Lreturns_filled", "", X86_FEATURE_RSB_VMEXIT, \
		      "jmp .Lfill_one", X86_FEATURE_RSB_VMEXIT_LITE
	.rept RSB_CLEAR_LOOPS - 1
	RETURN_SLOT
	.endr
	add $8 * (RSB_CLEAR_LOOPS - 1), %rsp
	CREDIT_CALL_DEPTH
.Lfill_one:
	RETURN_SLOT
	add $8, %rsp
	lfence
.Lreturns_filled:
.endm

	.section .rodata
	.balign 8
verw_selector:
	.word __KERNEL_DS
