// SPDX-License-Identifier: GPL-2.0
/* One entry into the guest, and what the exit code says in the words of struct wafer_exit. */
#include <linux/kernel.h>
#include <asm/trapnr.h>

#include "svm.h"

/* EXITINFO1 of MOV CR and MOV DR with decode assists: a MOV, with this register (§15.33.1). */
#define INFO_MOV_CR	BIT_ULL(63)
#define INFO_GPR	0xfull

/* EXITINFO1 of nested page faults (§15.25.6); bits 0-4 are those of #PF. */
#define NPF_PRESENT	BIT_ULL(0)
#define NPF_WRITE	BIT_ULL(1)
#define NPF_RESERVED	BIT_ULL(3)
#define NPF_FETCH	BIT_ULL(4)
#define NPF_GUEST_PT	BIT_ULL(33)

/* Exceptions with an error code among those that are intercepted or may be. */
#define HAS_ERROR	(BIT(X86_TRAP_DF) | BIT(X86_TRAP_TS) | BIT(X86_TRAP_NP) | \
			 BIT(X86_TRAP_SS) | BIT(X86_TRAP_GP) | BIT(X86_TRAP_PF) | BIT(X86_TRAP_AC))

/* A length that no instruction has means that the CPU does not tell. */
static u8 insn_len(const struct svm_vmcb *v, u64 next_rip)
{
	u64 len = next_rip - v->rip;

	return len <= 15 ? len : 0;
}

static void decode_npf(const struct svm_vmcb *v, struct wafer_exit *exit)
{
	u64 info = v->info1;
	u8 access = info & NPF_WRITE ? WAFER_FAULT_WRITE :
		    info & NPF_FETCH ? WAFER_FAULT_FETCH : WAFER_FAULT_READ;

	if (info & NPF_PRESENT)
		access |= WAFER_FAULT_PRESENT;
	if (info & NPF_RESERVED)
		access |= WAFER_FAULT_RESERVED;
	if (info & NPF_GUEST_PT)
		access |= WAFER_FAULT_GUEST_PT;
	exit->kind = WAFER_EXIT_FAULT;
	exit->len = 0;
	exit->fault.gpa = v->info2;
	exit->fault.access = access;
	exit->fault.nr_bytes = 0;
	if (svm_has(SVM_F_DECODE)) {
		exit->fault.nr_bytes = v->nr_bytes & 0xf;
		memcpy(exit->fault.bytes, v->bytes, sizeof(exit->fault.bytes));
	}
}

/*
 * CLTS, LMSW and SMSW exit with MOV CR0's codes. Only decode assists tell them apart, and then only
 * that it was one of these three: without a register the instruction has to be decoded.
 */
static void decode_cr(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	bool sel = exit->reason > 0x1f, known = svm_has(SVM_F_DECODE) && exit->info & INFO_MOV_CR;

	exit->cr.nr = sel ? 0 : exit->reason & 0xf;
	exit->cr.gpr = known ? exit->info & INFO_GPR : WAFER_GPR_UNKNOWN;
	exit->cr.op = sel || exit->reason & 0x10 ? WAFER_CR_WRITE : WAFER_CR_READ;
	if (!exit->cr.nr && !known)
		exit->cr.op = WAFER_CR_DECODE;
	if (!known)
		exit->len = 0;
}

static void decode_dr(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	exit->dr.nr = exit->reason & 0xf;
	exit->dr.gpr = svm_has(SVM_F_DECODE) ? exit->info & INFO_GPR : WAFER_GPR_UNKNOWN;
	if (!svm_has(SVM_F_DECODE))
		exit->len = 0;
	exit->dr.write = exit->reason & 0x10;
}

static void decode_exception(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	u8 vector = exit->reason - SVM_EXIT_EXCEPTION;

	exit->event = (struct wafer_event){ .kind = WAFER_EV_EXCEPTION, .vector = vector };
	if (HAS_ERROR & BIT(vector)) {
		exit->event.has_error = true;
		exit->event.error = exit->info;
	}
	if (vector == X86_TRAP_BP) {
		exit->event.kind = WAFER_EV_SOFT_EXC;
		exit->event.insn_len = exit->len ?: 1;
	}
}

/*
 * DR6 in the VMCB starts without a report at each entry, so what it has now is news (the guest's
 * own DR6 is kept in wafer_arch). The CPU's is put back for the host at once.
 */
static void decode_db(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	struct wafer_hw *hw = vcpu->hw;
	u64 bits = hw->vmcb->dr6 ^ SVM_DR6_NONE;

	hw->vmcb->dr6 = SVM_DR6_NONE;
	hw->dirty |= SVM_DIRTY_DR;
	asm volatile("mov %0, %%db6" : : "r" (SVM_DR6_NONE));
	if (hw->stepping == SVM_STEP_TF && !hw->own_tf) {
		bits &= ~BIT_ULL(14);	/* BS: it was our TF */
		if (!bits) {
			exit->kind = hw->watch & SVM_WATCH_STEP ? WAFER_EXIT_STEP :
								  WAFER_EXIT_NMI_WINDOW;
			return;
		}
	}
	exit->event = (struct wafer_event){
		.kind = WAFER_EV_EXCEPTION, .vector = X86_TRAP_DB,
		.has_payload = true, .payload = bits,
	};
}

static void decode_iret(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	svm_iret_exit(vcpu->hw);
}

static void decode_io(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	const struct svm_vmcb *v = vcpu->hw->vmcb;
	u32 info = exit->info;

	exit->len = insn_len(v, v->info2);
	exit->io.port = info >> 16;
	exit->io.in = info & BIT(0);
	exit->io.string = info & BIT(2);
	exit->io.size = info >> 4 & 7;
}

static void decode_msr(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	exit->kind = exit->info & 1 ? WAFER_EXIT_WRMSR : WAFER_EXIT_RDMSR;
}

/*
 * What came through a task gate is part of the switch, and not to be delivered once more
 * (§15.14.1).
 */
static void decode_task(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	const struct svm_vmcb *v = vcpu->hw->vmcb;
	u64 info = v->info2;

	exit->len = 0;
	exit->task.selector = exit->info;
	exit->task.has_error = info & BIT_ULL(44);
	exit->task.error = info;
	exit->task.has_event = v->exit_int_info & SVM_EVENT_VALID;
	exit->task.cause = info & BIT_ULL(36) ? WAFER_TASK_IRET :
			   info & BIT_ULL(38) ? WAFER_TASK_JMP :
			   exit->task.has_event ? WAFER_TASK_GATE : WAFER_TASK_CALL;
	if (exit->task.has_event) {
		u8 vector = v->exit_int_info & SVM_EVENT_VECTOR;
		u8 kind = (v->exit_int_info & SVM_EVENT_TYPE) >> SVM_EVENT_TYPE_SHIFT;

		if (kind == WAFER_EV_EXCEPTION && (vector == X86_TRAP_BP || vector == X86_TRAP_OF))
			kind = WAFER_EV_SOFT_EXC;
		exit->task.vector = vector;
		exit->task.event_kind = kind;
		vcpu->reinject.kind = WAFER_EV_NONE;
	}
}

/*
 * VMRUN refused the state, or did not run at all. What the save area holds now is not relied on
 * where wafer_arch has a copy: emulators have been seen to leave the host's registers there.
 */
static void decode_refused(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	struct wafer_hw *hw = vcpu->hw;
	struct svm_vmcb *v = hw->vmcb;

	exit->kind = WAFER_EXIT_BAD_STATE;
	exit->len = 0;
	exit->bad.hw_reason = exit->reason;
	svm_write_state(vcpu, vcpu->arch.avail);
	exit->bad.field = exit->reason == SVM_EXIT_NONE ? "EFER.SVME of this CPU" :
							  svm_check_vmcb(v);
	hw->dirty = SVM_DIRTY_ALL;
	if (v->event_inj & SVM_EVENT_VALID)
		svm_found_in_delivery(vcpu, v->event_inj, v->event_error);
	vcpu->arch.avail &= ~WAFER_G_RIP;	/* it may have been unwound */
	v->event_inj = 0;
}

struct decoder {
	u8 kind;	/* + 1; 0: unknown */
	void (*decode)(struct wafer_vcpu *vcpu, struct wafer_exit *exit);
};

#define E(kind, ...)	{ WAFER_EXIT_##kind + 1, ##__VA_ARGS__ }

static const struct decoder decoders[] = {
	[0x00 ... 0x1f] = E(CR, decode_cr),
	[0x20 ... 0x3f] = E(DR, decode_dr),
	[0x40] = E(EXCEPTION, decode_exception),
	[0x41] = E(EXCEPTION, decode_db),
	[0x42 ... 0x51] = E(EXCEPTION, decode_exception),
	[0x52] = E(MCE),
	[0x53 ... 0x5f] = E(EXCEPTION, decode_exception),
	[0x60] = E(EXTINT),
	[0x61] = E(HOST_DONE),			/* NMI, SMI, INIT: taken at STGI */
	[0x62] = E(HOST_DONE),
	[0x63] = E(HOST_DONE),
	[0x64] = E(IRQ_WINDOW),
	[0x65] = E(CR, decode_cr),
	[0x6e] = E(RDTSC),
	[0x6f] = E(RDPMC),
	[0x72] = E(CPUID),
	[0x73] = E(DENIED),			/* RSM */
	[0x74] = E(IRET, decode_iret),
	[0x76] = E(WBINVD),			/* INVD */
	[0x77] = E(PAUSE),
	[0x78] = E(HLT),
	[0x79] = E(INVLPG),
	[0x7a] = E(DENIED),			/* INVLPGA */
	[0x7b] = E(IO, decode_io),
	[0x7c] = E(RDMSR, decode_msr),
	[0x7d] = E(TASK_SWITCH, decode_task),
	[0x7f] = E(TRIPLE),			/* the save area is undefined (§15.14.3) */
	[0x80] = E(DENIED),			/* VMRUN */
	[0x81] = E(HYPERCALL),
	[0x82 ... 0x86] = E(DENIED),		/* VMLOAD, VMSAVE, STGI, CLGI, SKINIT */
	[0x87] = E(RDTSC),			/* RDTSCP */
	[0x89] = E(WBINVD),
	[0x8a] = E(MONITOR),
	[0x8b] = E(MWAIT),
	[0x8c] = E(MWAIT),			/* armed */
	[0x8d] = E(XSETBV),
	[0x8e] = E(DENIED),			/* RDPRU */
	[0xa0] = E(DENIED),			/* INVLPGB */
	[0xa1] = E(DENIED),			/* INVLPGB that is illegal anyway */
	[0xa3] = E(DENIED),			/* MCOMMIT */
	[0xa4] = E(DENIED),			/* TLBSYNC */
};

static void decode(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	const struct svm_vmcb *v = vcpu->hw->vmcb;
	u32 code = v->exit_code;	/* the upper half of "invalid" is not always set */

	exit->reason = code;
	exit->info = v->info1;
	if (code == SVM_EXIT_NPF) {
		decode_npf(v, exit);
	} else if (likely(code < ARRAY_SIZE(decoders) && decoders[code].kind)) {
		exit->kind = decoders[code].kind - 1;
		exit->len = insn_len(v, v->next_rip);
		if (decoders[code].decode)
			decoders[code].decode(vcpu, exit);
	} else if (code == SVM_EXIT_INVALID || code == SVM_EXIT_NONE) {
		decode_refused(vcpu, exit);
	} else {
		exit->kind = WAFER_EXIT_UNKNOWN;
		exit->len = 0;
	}
}

void svm_enter(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	struct wafer_arch *a = &vcpu->arch;
	struct wafer_hw *hw = vcpu->hw;
	struct svm_vmcb *v = hw->vmcb;

	if (a->dirty)
		svm_write_state(vcpu, a->dirty);
	if (unlikely(hw->asid_due))
		svm_new_asid(hw);
	if (unlikely(this_cpu_read(svm_cpu.tsc_aux) != a->tsc_aux))
		svm_load_tsc_aux(a->tsc_aux);
	if (unlikely(hw->watch))
		svm_before_entry(hw);
	if (unlikely((v->int_ctl & SVM_V_TPR) != vcpu->cr8)) {
		v->int_ctl = (v->int_ctl & ~SVM_V_TPR) | (vcpu->cr8 & SVM_V_TPR);
		hw->dirty |= SVM_DIRTY_INT_CTL;
	}
	v->rax = a->gpr[WAFER_RAX];
	v->clean = svm_has(SVM_F_CLEAN) ? ~hw->dirty : 0;
	hw->dirty = 0;
	v->exit_code = SVM_EXIT_NONE;

	wafer_svm_run(vcpu, hw);

	vcpu->reinject.kind = WAFER_EV_NONE;
	if (unlikely(v->exit_int_info & SVM_EVENT_VALID))
		svm_found_in_delivery(vcpu, v->exit_int_info, v->exit_int_error);
	decode(vcpu, exit);
	if (likely(exit->kind != WAFER_EXIT_BAD_STATE)) {
		a->gpr[WAFER_RAX] = v->rax;
		a->avail &= ~hw->guest_groups;
		v->tlb_control = SVM_TLB_KEEP;
		vcpu->cr8 = v->int_ctl & SVM_V_TPR;
	}
	if (unlikely(hw->watch))
		svm_after_exit(vcpu, exit);
}
