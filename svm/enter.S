/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Into the guest and back: general registers, what VMRUN does not switch, speculation controls, and
 * nothing else.
 */
#include "entry.S"
#include "offsets.h"

/* The options were renamed in 6.9. */
#if defined(CONFIG_CPU_UNRET_ENTRY) || defined(CONFIG_CPU_SRSO) || \
	defined(CONFIG_MITIGATION_UNRET_ENTRY) || defined(CONFIG_MITIGATION_SRSO)
#define HAS_UNTRAIN_RET
#endif

	.text

/* An instruction that faults where SVM is off: then it goes on at \to. */
.macro TRY to, insn:vararg
98:	\insn
	_ASM_EXTABLE(98b, \to)
.endm

/**
 * wafer_svm_run() - enter the guest and come back at its next exit
 * @vcpu:	(%rdi) arch.gpr[] are loaded and stored; RAX and RSP are in the VMCB
 * @hw:		(%rsi) struct wafer_hw
 *
 * Called with interrupts off, and returns so. The global interrupt flag holds everything back, NMIs
 * too, from CLGI to STGI (§15.17): in between FS, GS and TR are the guest's. While the guest runs
 * GIF is set, and RFLAGS.IF as VMRUN finds it decides whether host interrupts make the guest exit
 * (§15.21.1): so IF is set under the cover of GIF. This is done well before VMRUN, because the
 * shadow of STI must not become the guest's.
 *
 * An exit brings RAX, RSP and RFLAGS back (§15.6). No RET and no indirect branch may run between
 * the exit and the last of the mitigations: they would be predicted by what the guest has taught
 * the CPU.
 *
 * SVM may have been switched off on this CPU by a crash or a reboot; then the first instruction,
 * CLGI, gets #UD. From there on nobody can switch it off before STGI, and the other exception table
 * entries are there for completeness.
 */
SYM_FUNC_START(wafer_svm_run)
	.irp reg, rbp, rbx, r12, r13, r14, r15, rsi, rdi
	push %\reg
	.endr
	TRY .Lno_svm, clgi
	sti

	mov SVM_HW_SPEC_GUEST(%rsi), %eax
	cmp SVM_HW_SPEC_HOST(%rsi), %eax
	je .Lspec_in_done
	mov $MSR_IA32_SPEC_CTRL, %ecx
	xor %edx, %edx
	TRY .Lspec_in_done, wrmsr
.Lspec_in_done:

	mov SVM_HW_VMCB_PA(%rsi), %rax
	TRY .Lno_guest, vmload %rax
	mov SVM_GPR(1)(%rdi), %rcx
	mov SVM_GPR(2)(%rdi), %rdx
	mov SVM_GPR(3)(%rdi), %rbx
	mov SVM_GPR(5)(%rdi), %rbp
	mov SVM_GPR(6)(%rdi), %rsi
	.irp n, 8, 9, 10, 11, 12, 13, 14, 15
	mov SVM_GPR(\n)(%rdi), %r\n
	.endr
	mov SVM_GPR(7)(%rdi), %rdi
	/* TSA: VERW with a memory operand empties the CPU's buffers. */
	ALTERNATIVE "jmp .Lverw_done", "", X86_FEATURE_CLEAR_CPU_BUF_VM
	verw verw_selector(%rip)
.Lverw_done:

	TRY .Lran, vmrun %rax
.Lran:
	cli
	TRY .Lsaved, vmsave %rax
.Lsaved:
	pop %rax		/* vcpu */
	mov %rcx, SVM_GPR(1)(%rax)
	mov %rdx, SVM_GPR(2)(%rax)
	mov %rbx, SVM_GPR(3)(%rax)
	mov %rbp, SVM_GPR(5)(%rax)
	mov %rsi, SVM_GPR(6)(%rax)
	mov %rdi, SVM_GPR(7)(%rax)
	.irp n, 8, 9, 10, 11, 12, 13, 14, 15
	mov %r\n, SVM_GPR(\n)(%rax)
	.endr
.Lleave:
	pop %rsi		/* hw */
	mov SVM_HW_HOST_PA(%rsi), %rax
	TRY .Lhost, vmload %rax	/* GS is the host's from here on, and with it everything per CPU */
.Lhost:
	FILL_RETURNS

	mov $MSR_IA32_SPEC_CTRL, %ecx
	cmpb $0, SVM_HW_SPEC_DIRECT(%rsi)
	je .Lspec_known
	rdmsr
	mov %eax, SVM_HW_SPEC_GUEST(%rsi)
.Lspec_known:
	mov SVM_HW_SPEC_HOST(%rsi), %eax
	cmp SVM_HW_SPEC_GUEST(%rsi), %eax
	je .Lspec_out_done
	xor %edx, %edx
	wrmsr
.Lspec_out_done:

#ifdef HAS_UNTRAIN_RET
	/* Retbleed and SRSO: returns must not be predicted by what the guest has trained. */
	ALTERNATIVE_2 "", "call entry_untrain_ret", X86_FEATURE_UNRET, \
		      "call srso_alias_untrain_ret", X86_FEATURE_SRSO_ALIAS
#endif
	ALTERNATIVE_2 "jmp .Libpb_done", "", X86_FEATURE_ENTRY_IBPB, "", X86_FEATURE_IBPB_ON_VMEXIT
	mov $MSR_IA32_PRED_CMD, %ecx
	mov $PRED_CMD_IBPB, %eax
	xor %edx, %edx
	wrmsr
#ifdef X86_BUG_IBPB_NO_RET
	FILL_RETURN_BUFFER %rcx, RSB_CLEAR_LOOPS, X86_BUG_IBPB_NO_RET
#endif
.Libpb_done:

	/*
	 * No value of the guest's stays in a register for speculation to use; those not named are
	 * restored below.
	 */
	.irp reg, eax, ecx, edx, edi, r8d, r9d, r10d, r11d
	xor %\reg, %\reg
	.endr
	TRY .Lreturn, stgi	/* an NMI, SMI or INIT that ended the guest's run is taken here */
.Lreturn:
	.irp reg, r15, r14, r13, r12, rbx, rbp
	pop %\reg
	.endr
	RET

.Lno_guest:
	cli
	pop %rdi
	jmp .Lleave

.Lno_svm:
	pop %rdi
	pop %rsi
	jmp .Lreturn
SYM_FUNC_END(wafer_svm_run)
