// SPDX-License-Identifier: GPL-2.0
/*
 * Exits of instructions that read or write special registers: MSRs, control and debug registers,
 * XCR0.
 */
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "core.h"
#include "insn.h"

static u64 edx_eax(struct wafer_vcpu *vcpu)
{
	return (u32)vcpu->arch.gpr[WAFER_RAX] | vcpu->arch.gpr[WAFER_RDX] << 32;
}

static int msr_done(struct wafer_vcpu *vcpu, u64 val)
{
	if (vcpu->exit.kind == WAFER_EXIT_RDMSR) {
		vcpu->arch.gpr[WAFER_RAX] = (u32)val;
		vcpu->arch.gpr[WAFER_RDX] = val >> 32;
	}
	return wafer_skip(vcpu);
}

/* The VMM has answered KVM_EXIT_X86_RDMSR or WRMSR. */
static int complete_msr(struct wafer_vcpu *vcpu)
{
	if (READ_ONCE(vcpu->run->msr.error))
		return wafer_queue_gp(vcpu);
	return msr_done(vcpu, READ_ONCE(vcpu->run->msr.data));
}

/*
 * An access that failed: to the VMM if it asked for this reason (KVM_CAP_X86_USER_SPACE_MSR), else
 * #GP.
 */
static int msr_failed(struct wafer_vcpu *vcpu, int why, u64 data)
{
	static const u32 reason[] = {
		[WAFER_MSR_GP]		= KVM_MSR_EXIT_REASON_INVAL,
		[WAFER_MSR_USER_UNKNOWN] = KVM_MSR_EXIT_REASON_UNKNOWN,
		[WAFER_MSR_USER_FILTER]	= KVM_MSR_EXIT_REASON_FILTER,
	};
	struct kvm_run *run = vcpu->run;

	if (!(vcpu->vm->msr_exits & reason[why]))
		return wafer_queue_gp(vcpu);
	memset(&run->msr, 0, sizeof(run->msr));
	run->msr.reason = reason[why];
	run->msr.index = vcpu->arch.gpr[WAFER_RCX];
	run->msr.data = data;
	vcpu->complete = complete_msr;
	vcpu->emu.rip = wafer_rip(vcpu);
	return wafer_to_user(vcpu, vcpu->exit.kind == WAFER_EXIT_RDMSR ?
			     KVM_EXIT_X86_RDMSR : KVM_EXIT_X86_WRMSR);
}

/*
 * RDMSR and WRMSR. The CPU looks at the CPL before it exits: faults of privilege have priority over
 * VM exits (SDM vol. 3 §26.1.1), and the intercept of MSRs comes behind the checks for exceptions
 * (APM vol. 2 §15.9).
 */
int wafer_exit_msr(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	bool write = exit->kind == WAFER_EXIT_WRMSR;
	u64 val = write ? edx_eax(vcpu) : 0;
	int r = wafer_msr_access(vcpu, vcpu->arch.gpr[WAFER_RCX], &val,
				 (write ? WAFER_MSR_WRITE : 0) | (window ? WAFER_MSR_WINDOW : 0));

	if (likely(!r))
		return msr_done(vcpu, val);
	return r == WAFER_MSR_SLOW ? WAFER_RETRY_SLOW :
	       msr_failed(vcpu, r, write ? edx_eax(vcpu) : 0);
}

/*
 * XSETBV checks CPL and ECX before anything else (SDM vol. 2, XSETBV). FPU state must be out of the
 * registers.
 */
int wafer_exit_xsetbv(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	if (window)
		return WAFER_RETRY_SLOW;
	if (!(wafer_cr4(vcpu) & X86_CR4_OSXSAVE))
		return wafer_queue_ud(vcpu);
	if (wafer_cpl(vcpu) || (u32)vcpu->arch.gpr[WAFER_RCX] ||
	    wafer_set_xcr0(vcpu, edx_eax(vcpu)))
		return wafer_queue_gp(vcpu);
	return wafer_skip(vcpu);
}

/*
 * The general register of MOV CR or MOV DR, to be read or written. Where the exit does not say
 * which, the instruction was decoded: the rm field is the register whatever mod says (SDM vol. 2,
 * MOV to/from control registers).
 */
static u64 *operand(struct wafer_vcpu *vcpu, u8 gpr)
{
	if (gpr == WAFER_GPR_UNKNOWN)
		gpr = vcpu->emu.insn.rm & 15;
	if (gpr == WAFER_RSP)
		wafer_put_rsp(vcpu, wafer_rsp(vcpu));
	return &vcpu->arch.gpr[gpr];
}

static u64 moved(struct wafer_vcpu *vcpu, const u64 *gpr)
{
	return wafer_code_mode(vcpu) == WAFER_CODE64 ? *gpr : (u32)*gpr;
}

/* An access to a control register of which the CPU does not say what it was. */
static int name_cr_access(const struct wafer_insn *insn)
{
	switch (insn->opcode) {
	case 0x106:
		return WAFER_CR_CLTS;
	case 0x120:
		return WAFER_CR_READ;
	case 0x122:
		return WAFER_CR_WRITE;
	}
	if (insn->opcode != 0x101 || insn->is_mem)
		return WAFER_CR_DECODE;
	return (insn->reg & 7) == 6 ? WAFER_CR_LMSW :
	       (insn->reg & 7) == 4 ? WAFER_CR_SMSW : WAFER_CR_DECODE;
}

int wafer_exit_cr(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	static int (*const set[16])(struct wafer_vcpu *vcpu, u64 val) = {
		[0] = wafer_set_cr0, [3] = wafer_set_cr3, [4] = wafer_set_cr4, [8] = wafer_set_cr8,
	};
	const struct wafer_insn *insn = &vcpu->emu.insn;
	u64 *gpr = operand(vcpu, exit->cr.gpr), cr0 = wafer_cr0(vcpu), val;
	bool decoded = exit->cr.op == WAFER_CR_DECODE;
	int r, op = decoded ? name_cr_access(insn) : exit->cr.op;
	bool mov = op == WAFER_CR_READ || op == WAFER_CR_WRITE;
	u8 nr = (!decoded ? exit->cr.nr : mov ? insn->reg : 0) & 15, before = vcpu->cr8;

	if (decoded && wafer_insn_uses(insn, WAFER_AT_MSW, WAFER_AT_MSW))
		return window ? WAFER_RETRY_SLOW : wafer_emu_run(vcpu);
	switch (op) {
	case WAFER_CR_READ:
		*gpr = nr == 0 ? cr0 : nr == 2 ? wafer_cr2(vcpu) : nr == 3 ? wafer_cr3(vcpu) :
		       nr == 4 ? wafer_cr4(vcpu) : wafer_cr8(vcpu);
		return wafer_skip(vcpu);
	case WAFER_CR_SMSW:		/* stores as much as the operand holds */
		*gpr = insn->op_size == 2 ? (*gpr & ~0xffffull) | (u16)cr0 : cr0;
		return wafer_skip(vcpu);
	case WAFER_CR_WRITE:
		val = moved(vcpu, gpr);
		break;
	case WAFER_CR_CLTS:
		val = cr0 & ~X86_CR0_TS;
		break;
	case WAFER_CR_LMSW:
		/* sets the four low bits, but cannot clear PE (SDM vol. 2, LMSW) */
		val = (cr0 & ~0xeull) |
		      ((decoded ? *gpr : exit->cr.msw) & 0xf);
		break;
	default:
		return wafer_emulation_failure(vcpu);
	}
	r = set[nr] ? set[nr](vcpu, val) : 1;
	if (r)
		return r == -EAGAIN ? WAFER_RETRY_SLOW : wafer_queue_gp(vcpu);
	wafer_skip(vcpu);
	/* A user-space local APIC has to hear that the TPR fell. */
	return nr == 8 && !vcpu->lapic && vcpu->cr8 < before ?
	       wafer_to_user(vcpu, KVM_EXIT_SET_TPR) : WAFER_GO_ON;
}

int wafer_exit_dr(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	u64 *gpr = operand(vcpu, exit->dr.gpr), *dr, val;
	struct wafer_arch *a = &vcpu->arch;
	unsigned int nr = exit->dr.nr & 7;

	wafer_need(vcpu, WAFER_G_DR);
	/* DR4 and DR5 are DR6 and DR7 unless CR4.DE is set (SDM vol. 3 §17.2.2). */
	if ((nr & 6) == 4 && wafer_cr4(vcpu) & X86_CR4_DE)
		return wafer_queue_ud(vcpu);
	/*
	 * General detect (SDM vol. 3 §17.2.4): #DB before the move, with BD; the VMM's if DR7 is.
	 */
	if (a->hw_dr7 & WAFER_DR7_GD) {
		if (vcpu->guest_debug & KVM_GUESTDBG_USE_HW_BP)
			return wafer_debug_exit(vcpu, X86_TRAP_DB, WAFER_DR6_BD);
		wafer_queue_db(vcpu, WAFER_DR6_BD);
		return WAFER_GO_ON;
	}
	dr = nr < 4 ? &a->dr[nr] : nr & 1 ? &a->dr7 : &a->dr6;
	if (!exit->dr.write) {
		*gpr = *dr;
		return wafer_skip(vcpu);
	}
	val = moved(vcpu, gpr);
	if (nr >= 4 && val >> 32)
		return wafer_queue_gp(vcpu);
	/* What belongs to RTM is fixed without it. */
	if (dr == &a->dr6)
		val = (val & 0x1e00f) | 0xfffe0ff0 |
		      (wafer_guest_has(vcpu, X86_FEATURE_RTM) ? 0 : 0x10000);
	else if (dr == &a->dr7)
		val = (val & (wafer_guest_has(vcpu, X86_FEATURE_RTM) ? 0xffff2bff : 0xffff23ff)) |
		      0x400;
	*dr = val;
	wafer_touch(vcpu, WAFER_G_DR);
	wafer_hazard_set(vcpu, WAFER_H_INTERCEPT);	/* loads what is armed */
	return wafer_skip(vcpu);
}
