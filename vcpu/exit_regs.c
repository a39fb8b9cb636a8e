// SPDX-License-Identifier: GPL-2.0
/* Exits of instructions that read or write special registers: MSRs, control and debug registers, XCR0. */
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "core.h"

static u64 edx_eax(struct wafer_vcpu *vcpu)
{
	return (u32)vcpu->arch.gpr[WAFER_RAX] | vcpu->arch.gpr[WAFER_RDX] << 32;
}

static void put_edx_eax(struct wafer_vcpu *vcpu, u64 val)
{
	vcpu->arch.gpr[WAFER_RAX] = (u32)val;
	vcpu->arch.gpr[WAFER_RDX] = val >> 32;
}

/* The VMM has answered KVM_EXIT_X86_RDMSR or WRMSR. */
static int complete_msr(struct wafer_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	if (READ_ONCE(run->msr.error)) {
		wafer_queue_gp(vcpu);
		return WAFER_GO_ON;
	}
	if (vcpu->exit.kind == WAFER_EXIT_RDMSR)
		put_edx_eax(vcpu, READ_ONCE(run->msr.data));
	return wafer_skip(vcpu);
}

/* An access that failed: to the VMM if it asked for this reason (KVM_CAP_X86_USER_SPACE_MSR), else #GP. */
static int msr_failed(struct wafer_vcpu *vcpu, int why, u64 data)
{
	static const u32 reason[] = {
		[WAFER_MSR_GP]		= KVM_MSR_EXIT_REASON_INVAL,
		[WAFER_MSR_USER_UNKNOWN] = KVM_MSR_EXIT_REASON_UNKNOWN,
		[WAFER_MSR_USER_FILTER]	= KVM_MSR_EXIT_REASON_FILTER,
	};
	struct kvm_run *run = vcpu->run;

	if (!(vcpu->vm->msr_exits & reason[why])) {
		wafer_queue_gp(vcpu);
		return WAFER_GO_ON;
	}
	run->exit_reason = vcpu->exit.kind == WAFER_EXIT_RDMSR ? KVM_EXIT_X86_RDMSR : KVM_EXIT_X86_WRMSR;
	run->msr.error = 0;
	memset(run->msr.pad, 0, sizeof(run->msr.pad));
	run->msr.reason = reason[why];
	run->msr.index = vcpu->arch.gpr[WAFER_RCX];
	run->msr.data = data;
	vcpu->complete = complete_msr;
	return WAFER_TO_USER;
}

int wafer_exit_rdmsr(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	u64 val;
	int r;

	if (wafer_cpl(vcpu)) {
		wafer_queue_gp(vcpu);
		return WAFER_GO_ON;
	}
	r = wafer_msr_read(vcpu, vcpu->arch.gpr[WAFER_RCX], &val, window);
	if (r == WAFER_MSR_SLOW)
		return WAFER_RETRY_SLOW;
	if (r)
		return msr_failed(vcpu, r, 0);
	put_edx_eax(vcpu, val);
	return wafer_skip(vcpu);
}

int wafer_exit_wrmsr(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	u64 val = edx_eax(vcpu);
	int r;

	if (wafer_cpl(vcpu)) {
		wafer_queue_gp(vcpu);
		return WAFER_GO_ON;
	}
	r = wafer_msr_write(vcpu, vcpu->arch.gpr[WAFER_RCX], val, window);
	if (r == WAFER_MSR_SLOW)
		return WAFER_RETRY_SLOW;
	if (r)
		return msr_failed(vcpu, r, val);
	return wafer_skip(vcpu);
}

/* XSETBV checks CPL and ECX before anything else (SDM vol. 2, XSETBV). FPU state must be out of the registers. */
int wafer_exit_xsetbv(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	if (window)
		return WAFER_RETRY_SLOW;
	if (!(wafer_cr4(vcpu) & X86_CR4_OSXSAVE)) {
		wafer_queue_ud(vcpu);
		return WAFER_GO_ON;
	}
	if (wafer_cpl(vcpu) || (u32)vcpu->arch.gpr[WAFER_RCX] || wafer_set_xcr0(vcpu, edx_eax(vcpu))) {
		wafer_queue_gp(vcpu);
		return WAFER_GO_ON;
	}
	return wafer_skip(vcpu);
}

static u64 read_gpr(struct wafer_vcpu *vcpu, unsigned int n)
{
	return n == WAFER_RSP ? wafer_rsp(vcpu) : vcpu->arch.gpr[n & 15];
}

static void write_gpr(struct wafer_vcpu *vcpu, unsigned int n, u64 val)
{
	if (n == WAFER_RSP)
		wafer_put_rsp(vcpu, val);
	else
		vcpu->arch.gpr[n & 15] = val;
}

/*
 * Which general register MOV CR and MOV DR name, where the exit does not say. The rm field is the register whatever
 * mod says (SDM vol. 2, MOV to/from control registers).
 */
static int moved_gpr(struct wafer_vcpu *vcpu, u8 *gpr, bool window, bool *known)
{
	int r;

	*known = true;
	if (*gpr != 0xff)
		return WAFER_GO_ON;
	r = wafer_decode_exit(vcpu, window, known);
	*gpr = vcpu->emu.insn.rm & 15;
	return r;
}

static int cr_write(struct wafer_vcpu *vcpu, unsigned int nr, u64 val)
{
	switch (nr) {
	case 0:
		return wafer_set_cr0(vcpu, val);
	case 2:
		wafer_put_cr2(vcpu, val);
		return 0;
	case 3:
		return wafer_set_cr3(vcpu, val);
	case 4:
		return wafer_set_cr4(vcpu, val);
	case 8:
		return wafer_set_cr8(vcpu, val);
	}
	return 1;
}

static u64 cr_read(struct wafer_vcpu *vcpu, unsigned int nr)
{
	switch (nr) {
	case 0:
		return wafer_cr0(vcpu);
	case 2:
		return wafer_cr2(vcpu);
	case 3:
		return wafer_cr3(vcpu);
	case 4:
		return wafer_cr4(vcpu);
	}
	return vcpu->lapic ? wafer_lapic_get_cr8(vcpu) : vcpu->cr8;
}

/* LMSW sets the four low bits, but cannot clear PE (SDM vol. 2, LMSW). */
static u64 lmsw(u64 cr0, u16 msw)
{
	return (cr0 & ~0xeull) | (msw & 0xf);
}

/*
 * An access to CR0 of which the CPU does not say what it was (SVM): names it in @exit. Forms with an operand in memory
 * are left to the VMM. SMSW is finished here: it stores as much as the operand holds.
 */
static int name_cr0_access(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window, bool *known)
{
	const struct wafer_insn *insn = &vcpu->emu.insn;
	unsigned int gpr;
	u64 val;
	int r = wafer_decode_exit(vcpu, window, known);

	if (!*known)
		return r;
	gpr = insn->rm & 15;
	exit->cr.gpr = gpr;
	switch (insn->opcode) {
	case 0x106:
		exit->cr.op = WAFER_CR_CLTS;
		return WAFER_GO_ON;
	case 0x120:
		exit->cr.op = WAFER_CR_READ;
		return WAFER_GO_ON;
	case 0x122:
		exit->cr.op = WAFER_CR_WRITE;
		return WAFER_GO_ON;
	}
	if (insn->opcode == 0x101 && !insn->is_mem && (insn->reg & 7) == 6) {
		exit->cr.op = WAFER_CR_LMSW;
		exit->cr.msw = read_gpr(vcpu, gpr);
		return WAFER_GO_ON;
	}
	*known = false;
	if (insn->opcode != 0x101 || insn->is_mem || (insn->reg & 7) != 4)
		return wafer_emulation_failure(vcpu);
	val = wafer_cr0(vcpu);
	if (insn->op_size == 2)
		val = (read_gpr(vcpu, gpr) & ~0xffffull) | (val & 0xffff);
	write_gpr(vcpu, gpr, insn->op_size == 4 ? (u32)val : val);
	return wafer_skip(vcpu);
}

/* A user-space local APIC has to hear that the TPR fell (KVM_EXIT_SET_TPR). */
static int cr8_written(struct wafer_vcpu *vcpu, u8 before)
{
	wafer_skip(vcpu);
	if (vcpu->lapic || vcpu->cr8 >= before)
		return WAFER_GO_ON;
	vcpu->run->exit_reason = KVM_EXIT_SET_TPR;
	return WAFER_TO_USER;
}

int wafer_exit_cr(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	u8 before = vcpu->cr8;
	u64 val = 0;
	bool known;
	int r = 0;

	if (exit->cr.op == WAFER_CR_DECODE) {
		r = name_cr0_access(vcpu, exit, window, &known);
		if (!known)
			return r;
	}
	if (exit->cr.op == WAFER_CR_WRITE || exit->cr.op == WAFER_CR_READ) {
		r = moved_gpr(vcpu, &exit->cr.gpr, window, &known);
		if (!known)
			return r;
		if (exit->cr.op == WAFER_CR_READ) {
			write_gpr(vcpu, exit->cr.gpr, cr_read(vcpu, exit->cr.nr));
			return wafer_skip(vcpu);
		}
		val = read_gpr(vcpu, exit->cr.gpr);
		if (wafer_code_mode(vcpu) != WAFER_CODE64)
			val = (u32)val;
		r = cr_write(vcpu, exit->cr.nr, val);
	} else if (exit->cr.op == WAFER_CR_CLTS) {
		r = wafer_set_cr0(vcpu, wafer_cr0(vcpu) & ~X86_CR0_TS);
	} else {
		r = wafer_set_cr0(vcpu, lmsw(wafer_cr0(vcpu), exit->cr.msw));
	}
	if (r == -EAGAIN)
		return WAFER_RETRY_SLOW;
	if (r) {
		wafer_queue_gp(vcpu);
		return WAFER_GO_ON;
	}
	if (exit->cr.op == WAFER_CR_WRITE && exit->cr.nr == 8)
		return cr8_written(vcpu, before);
	return wafer_skip(vcpu);
}

/* DR4 and DR5 are DR6 and DR7 unless CR4.DE is set (SDM vol. 3 §17.2.2). 0; 1: #GP; 2: #UD */
static int dr_write(struct wafer_vcpu *vcpu, unsigned int nr, u64 val)
{
	struct wafer_arch *a = &vcpu->arch;

	if (nr < 4) {
		a->dr[nr] = val;
		return 0;
	}
	if (val >> 32)
		return 1;
	wafer_need(vcpu, WAFER_G_DR);
	if (nr == 6)
		a->dr6 = (val & 0x1e00f) | 0xfffe0ff0 | (wafer_guest_has(vcpu, X86_FEATURE_RTM) ? 0 : 0x10000);
	else
		a->dr7 = (val & 0xffff2bff) | 0x400;
	wafer_touch(vcpu, WAFER_G_DR);
	wafer_hazard_set(vcpu, WAFER_H_INTERCEPT);
	return 0;
}

int wafer_exit_dr(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	unsigned int nr = exit->dr.nr & 7;
	u8 gpr = exit->dr.gpr;
	bool known;
	u64 val;
	int r = moved_gpr(vcpu, &gpr, window, &known);

	if (!known)
		return r;
	wafer_need(vcpu, WAFER_G_DR);
	if (nr == 4 || nr == 5) {
		if (wafer_cr4(vcpu) & X86_CR4_DE) {
			wafer_queue_ud(vcpu);
			return WAFER_GO_ON;
		}
		nr += 2;
	}
	/* General detect (SDM vol. 3 §17.2.4): #DB before the move, with BD. */
	if (vcpu->arch.dr7 & BIT(13)) {
		struct wafer_event db = {
			.kind = WAFER_EV_EXCEPTION, .vector = X86_TRAP_DB, .has_payload = true, .payload = BIT(13),
		};

		wafer_queue_event(vcpu, &db);
		return WAFER_GO_ON;
	}
	if (!exit->dr.write) {
		val = nr < 4 ? vcpu->arch.dr[nr] : nr == 6 ? vcpu->arch.dr6 : vcpu->arch.dr7;
		write_gpr(vcpu, gpr, val);
		return wafer_skip(vcpu);
	}
	val = read_gpr(vcpu, gpr);
	if (wafer_code_mode(vcpu) != WAFER_CODE64)
		val = (u32)val;
	if (dr_write(vcpu, nr, val)) {
		wafer_queue_gp(vcpu);
		return WAFER_GO_ON;
	}
	return wafer_skip(vcpu);
}
