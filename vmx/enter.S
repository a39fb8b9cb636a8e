/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Into the guest and back: general registers, speculation controls, and nothing else.
 */
#include <linux/linkage.h>
#include <linux/objtool.h>
#include <asm/alternative.h>
#include <asm/asm.h>
#include <asm/cpufeatures.h>
#include <asm/msr-index.h>
#include <asm/nospec-branch.h>
#include <asm/segment.h>
#include <asm/unwind_hints.h>

/* Renamed in 7.x. */
#ifdef X86_FEATURE_CLEAR_BHB_LOOP_ON_VMEXIT
#define BHB_ON_VMEXIT X86_FEATURE_CLEAR_BHB_LOOP_ON_VMEXIT
#elif defined(X86_FEATURE_CLEAR_BHB_VMEXIT)
#define BHB_ON_VMEXIT X86_FEATURE_CLEAR_BHB_VMEXIT
#endif

/* Older kernels have one bit for both ways out: to user space and to a guest. */
#ifndef X86_FEATURE_CLEAR_CPU_BUF_VM
#define X86_FEATURE_CLEAR_CPU_BUF_VM X86_FEATURE_CLEAR_CPU_BUF
#endif

#define HOST_RSP_FIELD	0x6c14

/* Offsets in struct wafer_arch: gpr[] comes first, in the order of the encoding. */
#define GPR(n)		((n) * 8)

	.section .rodata
	.balign 8
verw_selector:
	.word __KERNEL_DS

	.text

/**
 * wafer_vmx_run() - enter the guest and come back at its next exit
 * @arch:	(%rdi) gpr[] are loaded and stored; RSP is in the VMCS
 * @host_rsp:	(%rsi) HOST_RSP as the VMCS holds it
 * @flags:	(%edx) bit 0: VMRESUME, else VMLAUNCH; bit 1: store the guest's SPEC_CTRL
 * @spec:	(%rcx) SPEC_CTRL: the guest's, the host's
 *
 * No RET and no indirect branch may run between the exit and the last of the mitigations: they
 * would be predicted by what the guest has taught the CPU.
 *
 * Return: 0: the guest has run, or its state was refused with an exit; 1: VMfail; 2: #UD.
 */
SYM_FUNC_START(wafer_vmx_run)
	push %rbp
	push %rbx
	push %r12
	push %r13
	push %r14
	push %r15
	push %rcx
	push %rdx
	push %rdi

	/* The stack pointer is nearly always that of the last time. */
	cmp %rsp, (%rsi)
	je .Lhave_rsp
	mov %rsp, (%rsi)
	mov $HOST_RSP_FIELD, %eax
.Lwrite_rsp:
	vmwrite %rsp, %rax
	_ASM_EXTABLE(.Lwrite_rsp, .Lhave_rsp)
.Lhave_rsp:
	mov %rdi, %r8
	mov %edx, %r9d
	ALTERNATIVE "jmp .Lspec_in_done", "", X86_FEATURE_MSR_SPEC_CTRL
	mov %rcx, %rsi
	mov (%rsi), %rax
	cmp 8(%rsi), %rax
	je .Lspec_in_done
	mov 4(%rsi), %edx
	mov $MSR_IA32_SPEC_CTRL, %ecx
.Lspec_in:
	wrmsr
	_ASM_EXTABLE(.Lspec_in, .Lspec_in_done)
.Lspec_in_done:
	bt $0, %r9d		/* CF until the branch below; nothing in between changes it */
	mov %r8, %rax
	mov GPR(1)(%rax), %rcx
	mov GPR(2)(%rax), %rdx
	mov GPR(3)(%rax), %rbx
	mov GPR(5)(%rax), %rbp
	mov GPR(6)(%rax), %rsi
	mov GPR(7)(%rax), %rdi
	mov GPR(8)(%rax), %r8
	mov GPR(9)(%rax), %r9
	mov GPR(10)(%rax), %r10
	mov GPR(11)(%rax), %r11
	mov GPR(12)(%rax), %r12
	mov GPR(13)(%rax), %r13
	mov GPR(14)(%rax), %r14
	mov GPR(15)(%rax), %r15
	mov GPR(0)(%rax), %rax
	/* MDS and its kin: VERW empties the CPU's buffers. It changes ZF alone. */
	ALTERNATIVE_2 "jmp .Lverw_done", "", X86_FEATURE_CLEAR_CPU_BUF, \
		      "", X86_FEATURE_CLEAR_CPU_BUF_VM
	verw verw_selector(%rip)
.Lverw_done:
	UNWIND_HINT_SAVE
	jnc .Llaunch
.Lresume:
	vmresume
	jmp .Lvmfail
.Llaunch:
	vmlaunch
	jmp .Lvmfail
	_ASM_EXTABLE(.Lresume, .Lfault)
	_ASM_EXTABLE(.Llaunch, .Lfault)

SYM_INNER_LABEL_ALIGN(wafer_vmx_exit, SYM_L_GLOBAL)
	UNWIND_HINT_RESTORE
	ENDBR
	push %rax
	mov 8(%rsp), %rax	/* arch */
	mov %rcx, GPR(1)(%rax)
	mov %rdx, GPR(2)(%rax)
	mov %rbx, GPR(3)(%rax)
	mov %rbp, GPR(5)(%rax)
	mov %rsi, GPR(6)(%rax)
	mov %rdi, GPR(7)(%rax)
	mov %r8, GPR(8)(%rax)
	mov %r9, GPR(9)(%rax)
	mov %r10, GPR(10)(%rax)
	mov %r11, GPR(11)(%rax)
	mov %r12, GPR(12)(%rax)
	mov %r13, GPR(13)(%rax)
	mov %r14, GPR(14)(%rax)
	mov %r15, GPR(15)(%rax)
	pop GPR(0)(%rax)
	xor %ebx, %ebx

	/* No value of the guest's stays in a register for speculation to use. */
.Lclear:
	xor %eax, %eax
	xor %ecx, %ecx
	xor %edx, %edx
	xor %ebp, %ebp
	xor %esi, %esi
	xor %edi, %edi
	xor %r8d, %r8d
	xor %r9d, %r9d
	xor %r10d, %r10d
	xor %r11d, %r11d
	xor %r12d, %r12d
	xor %r13d, %r13d
	xor %r14d, %r14d
	xor %r15d, %r15d

	FILL_RETURN_BUFFER %rcx, RSB_CLEAR_LOOPS, X86_FEATURE_RSB_VMEXIT, \
			   X86_FEATURE_RSB_VMEXIT_LITE
#ifdef BHB_ON_VMEXIT
	ALTERNATIVE "", "call wafer_clear_bhb", BHB_ON_VMEXIT
#endif

	pop %r8			/* arch, not needed any more */
	pop %r9			/* flags */
	pop %rsi		/* spec */
	ALTERNATIVE "jmp .Lspec_out_done", "", X86_FEATURE_MSR_SPEC_CTRL
	mov $MSR_IA32_SPEC_CTRL, %ecx
	bt $1, %r9d
	jnc .Lspec_known
	rdmsr
	mov %eax, (%rsi)
	mov %edx, 4(%rsi)
.Lspec_known:
	mov 8(%rsi), %rax
	/* Legacy IBRS protects from what was learnt before its last write: write it in any case. */
	ALTERNATIVE "", "jmp .Lspec_write", X86_FEATURE_KERNEL_IBRS
	cmp (%rsi), %rax
	je .Lspec_fence
.Lspec_write:
	mov 12(%rsi), %edx
	wrmsr
.Lspec_fence:
	lfence
.Lspec_out_done:
	mov %ebx, %eax
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbx
	pop %rbp
	RET

.Lvmfail:
	mov $1, %ebx
	jmp .Lclear
.Lfault:
	mov $2, %ebx
	jmp .Lclear
SYM_FUNC_END(wafer_vmx_run)

#ifdef BHB_ON_VMEXIT
/*
 * Overwrites the branch history with branches of ours: five nested calls of five taken jumps each,
 * the length that Intel gives for the CPUs that need it in software ("Branch History Injection and
 * Intra-mode Branch Target Injection"). Clobbers %eax, %ecx, flags.
 */
SYM_FUNC_START_LOCAL(wafer_clear_bhb)
	mov $5, %ecx
	call .Lbhb_nest
	jmp .Lbhb_done
	.balign 64
.Lbhb_nest:
	call .Lbhb_jumps
	RET
	.balign 64
.Lbhb_jumps:
	mov $5, %eax
.Lbhb_jump:
	jmp .Lbhb_next
	nop
.Lbhb_next:
	sub $1, %eax
	jnz .Lbhb_jump
	sub $1, %ecx
	jnz .Lbhb_nest
	RET
.Lbhb_done:
	lfence
	RET
SYM_FUNC_END(wafer_clear_bhb)
STACK_FRAME_NON_STANDARD wafer_clear_bhb
#endif
