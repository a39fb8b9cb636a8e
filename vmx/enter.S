/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Into the guest and back: general registers, speculation controls, and nothing else.
 */
#include "entry.S"

/* Renamed in 7.x. */
#ifdef X86_FEATURE_CLEAR_BHB_LOOP_ON_VMEXIT
#define BHB_ON_VMEXIT X86_FEATURE_CLEAR_BHB_LOOP_ON_VMEXIT
#elif defined(X86_FEATURE_CLEAR_BHB_VMEXIT)
#define BHB_ON_VMEXIT X86_FEATURE_CLEAR_BHB_VMEXIT
#endif

#define HOST_RSP_FIELD	0x6c14

/*
 * Offsets in struct wafer_arch: gpr[] comes first, in the order of the encoding. RAX (0) holds its
 * address, RSP (4) is in the VMCS.
 */
#define GPR(n)		((n) * 8)

/* Offsets in struct vmx_run. */
#define RUN_SPEC_GUEST	0
#define RUN_SPEC_HOST	8
#define RUN_HOST_RSP	16
#define RUN_FLAGS	24

.macro load_gpr n, reg
	mov GPR(\n)(%rax), %\reg
.endm

.macro store_gpr n, reg
	mov %\reg, GPR(\n)(%rax)
.endm

.macro each_gpr do
	\do 1, rcx
	\do 2, rdx
	\do 3, rbx
	\do 5, rbp
	\do 6, rsi
	\do 7, rdi
.irp n, 8, 9, 10, 11, 12, 13, 14, 15
	\do \n, r\n
.endr
.endm

	.text

/**
 * wafer_vmx_run() - enter the guest and come back at its next exit
 * @arch:	(%rdi) gpr[] are loaded and stored; RSP is in the VMCS
 * @run:	(%rsi) struct vmx_run
 *
 * No RET and no indirect branch may run between the exit and the last of the mitigations: they
 * would be predicted by what the guest has taught the CPU.
 *
 * Return: 0: the guest has run, or its state was refused with an exit; 1: VMfail or #UD.
 */
SYM_FUNC_START(wafer_vmx_run)
.irp reg, rbp, rbx, r12, r13, r14, r15, rsi, rdi
	push %\reg
.endr

	/* The stack pointer is nearly always that of the last time. */
	cmp %rsp, RUN_HOST_RSP(%rsi)
	je .Lhave_rsp
	mov %rsp, RUN_HOST_RSP(%rsi)
	mov $HOST_RSP_FIELD, %eax
.Lwrite_rsp:
	vmwrite %rsp, %rax
	_ASM_EXTABLE(.Lwrite_rsp, .Lhave_rsp)
.Lhave_rsp:
	ALTERNATIVE "jmp .Lspec_in_done", "", X86_FEATURE_MSR_SPEC_CTRL
	mov RUN_SPEC_GUEST(%rsi), %rax
	cmp RUN_SPEC_HOST(%rsi), %rax
	je .Lspec_in_done
	mov RUN_SPEC_GUEST + 4(%rsi), %edx
	mov $MSR_IA32_SPEC_CTRL, %ecx
.Lspec_in:
	wrmsr
	_ASM_EXTABLE(.Lspec_in, .Lspec_in_done)
.Lspec_in_done:
	btl $0, RUN_FLAGS(%rsi)	/* CF until the branch below; nothing in between changes it */
	mov %rdi, %rax
	each_gpr load_gpr
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
	_ASM_EXTABLE(.Lresume, .Lvmfail)
	_ASM_EXTABLE(.Llaunch, .Lvmfail)

SYM_INNER_LABEL_ALIGN(wafer_vmx_exit, SYM_L_GLOBAL)
	UNWIND_HINT_RESTORE
	ENDBR
	push %rax
	mov 8(%rsp), %rax	/* arch */
	each_gpr store_gpr
	pop GPR(0)(%rax)
	xor %ebx, %ebx

	/* No value of the guest's stays in a register for speculation to use. */
.Lclear:
.irp reg, eax, ecx, edx, ebp, esi, edi, r8d, r9d, r10d, r11d, r12d, r13d, r14d, r15d
	xor %\reg, %\reg
.endr

	FILL_RETURNS
#ifdef BHB_ON_VMEXIT
	ALTERNATIVE "", "call wafer_clear_bhb", BHB_ON_VMEXIT
#endif

	pop %r8			/* arch, not needed any more */
	pop %rsi		/* run */
	ALTERNATIVE "jmp .Lspec_out_done", "", X86_FEATURE_MSR_SPEC_CTRL
	mov $MSR_IA32_SPEC_CTRL, %ecx
	btl $1, RUN_FLAGS(%rsi)
	jnc .Lspec_known
	rdmsr
	mov %eax, RUN_SPEC_GUEST(%rsi)
	mov %edx, RUN_SPEC_GUEST + 4(%rsi)
.Lspec_known:
	mov RUN_SPEC_HOST(%rsi), %rax
	/* Legacy IBRS protects from what was learnt before its last write: write it in any case. */
	ALTERNATIVE "", "jmp .Lspec_write", X86_FEATURE_KERNEL_IBRS
	cmp RUN_SPEC_GUEST(%rsi), %rax
	je .Lspec_fence
.Lspec_write:
	mov RUN_SPEC_HOST + 4(%rsi), %edx
	wrmsr
.Lspec_fence:
	lfence
.Lspec_out_done:
	mov %ebx, %eax
.irp reg, r15, r14, r13, r12, rbx, rbp
	pop %\reg
.endr
	RET

.Lvmfail:
	mov $1, %ebx
	jmp .Lclear
SYM_FUNC_END(wafer_vmx_run)

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
