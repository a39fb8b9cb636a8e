// SPDX-License-Identifier: GPL-2.0
/*
 * What exits, one entry into the guest, and what the exit code says in the words of struct
 * wafer_exit.
 */
#include "svm.h"

/*
 * By intercept, which is the exit code too: what the exit is. ON: it exits from the start. The
 * others are switched at run time (state.c: CR0, CR4; inject.c: VINTR, IRET, CR8; vmcb.c), never
 * asked for, or no intercepts at all. MORE: it is not enough to know that; svm_enter() and
 * decode_rarer() decode the rest.
 *
 * CR2, CR3 and CR8 run natively (below), reading CR0 and CR4 mostly; numbers without a register
 * give #UD anyway. #DB and #AC can be made to follow themselves for ever: every one exits
 * (CVE-2015-5307, CVE-2015-8104).
 */
#define KIND 0x3f
#define MORE 0x40
#define MAY(kind) WAFER_EXIT_##kind
#define ON(kind) (WAFER_EXIT_##kind | 0x80)
#define MAY_MORE(kind) (MAY(kind) | MORE)
#define ON_MORE(kind) (ON(kind) | MORE)
static_assert(WAFER_NR_EXITS <= KIND + 1);
static const u8 codes[SVM_NR_ICPTS] = {
	[SVM_CR_READ ... SVM_CR_WRITE + 15] = ON_MORE(CR),
	[SVM_DR_READ ... SVM_DR_WRITE + 15] = ON_MORE(DR),
	[SVM_EXCEPTION] = MAY_MORE(EXCEPTION), ON_MORE(EXCEPTION),
	[SVM_EXCEPTION + 2 ... SVM_EXCEPTION + 5] = MAY_MORE(EXCEPTION), ON_MORE(EXCEPTION),
	[SVM_EXCEPTION + 7 ... SVM_EXCEPTION + 16] = MAY_MORE(EXCEPTION), ON_MORE(EXCEPTION),
	[SVM_EXCEPTION + 18] = ON(MCE),
	[SVM_EXCEPTION + 19 ... SVM_EXCEPTION + 31] = MAY_MORE(EXCEPTION),
	/* NMI, SMI, INIT: taken at STGI */
	[SVM_INTR] = ON(EXTINT), ON(HOST_DONE), ON(HOST_DONE), ON(HOST_DONE),
	[SVM_VINTR] = MAY(IRQ_WINDOW), [SVM_CR0_SEL_WRITE] = ON_MORE(CR),
	[SVM_RDTSC] = MAY(RDTSC), [SVM_RDPMC] = ON(RDPMC), [SVM_CPUID] = ON(CPUID),
	[SVM_RSM] = ON(DENIED), [SVM_IRET] = MAY_MORE(IRET), [SVM_INVD] = ON(WBINVD),
	[SVM_PAUSE] = MAY(PAUSE), [SVM_HLT] = ON(HLT), [SVM_INVLPGA] = ON(DENIED),
	[SVM_IOIO] = ON_MORE(IO),
	[SVM_MSR] = ON_MORE(RDMSR), [SVM_TASK_SWITCH] = ON_MORE(TASK_SWITCH),
	[SVM_SHUTDOWN] = ON(TRIPLE),	/* the save area is undefined (§15.14.3) */
	[SVM_VMRUN] = ON(DENIED), [SVM_VMMCALL] = ON_MORE(HYPERCALL),
	[SVM_VMLOAD ... SVM_SKINIT] = ON(DENIED),
	[SVM_RDTSCP] = MAY(DENIED), [SVM_WBINVD] = ON(WBINVD), [SVM_MONITOR] = ON(MONITOR),
	[SVM_MWAIT] = ON(MWAIT), [SVM_MWAIT_ARMED] = ON(MWAIT), [SVM_XSETBV] = ON(XSETBV),
	[SVM_RDPRU] = ON(DENIED), [SVM_INVLPGB] = ON(DENIED), [SVM_INVLPGB_ILLEGAL] = ON(DENIED),
	[SVM_INVPCID] = MAY(DENIED), [SVM_MCOMMIT] = ON(DENIED), [SVM_TLBSYNC] = ON(DENIED),
};

u32 svm_first_icpt[6] __ro_after_init;

void svm_exit_setup(void)
{
	int i;

	for (i = 0; i < SVM_NR_ICPTS; i++)
		svm_first_icpt[i / 32] |= codes[i] & 0x80 ? BIT(i % 32) : 0;
	svm_first_icpt[0] &= ~0x010c010cu;	/* CR2, CR3, CR8 */
}

/* EXITINFO1 of MOV CR and MOV DR with decode assists: a MOV, with this register (§15.33.1). */
#define INFO_MOV_CR	BIT_ULL(63)
#define INFO_GPR	0xfull

/* Exceptions with an error code among those that are intercepted or may be. */
#define HAS_ERROR	(BIT(X86_TRAP_DF) | BIT(X86_TRAP_TS) | BIT(X86_TRAP_NP) | \
			 BIT(X86_TRAP_SS) | BIT(X86_TRAP_GP) | BIT(X86_TRAP_PF) | BIT(X86_TRAP_AC))

/* A length that no instruction has means that the CPU does not tell. */
static u8 insn_len(const struct svm_vmcb *v, u64 next_rip)
{
	u64 len = next_rip - v->rip;

	return len <= 15 ? len : 0;
}

/* EXITINFO1's bits 0-4 are those of #PF, 33: while walking the guest's tables (§15.25.6). */
static void decode_npf(const struct svm_vmcb *v, struct wafer_exit *exit)
{
	u64 info = v->info1;

	exit->info = info;
	exit->kind = WAFER_EXIT_FAULT;
	exit->fault.gpa = v->info2;
	exit->fault.access = (info & BIT(1) ? WAFER_FAULT_WRITE :
			      info & BIT(4) ? WAFER_FAULT_FETCH : WAFER_FAULT_READ) |
			     (info & BIT(0) ? WAFER_FAULT_PRESENT : 0) |
			     (info & BIT(3) ? WAFER_FAULT_RESERVED : 0) |
			     (info & BIT_ULL(33) ? WAFER_FAULT_GUEST_PT : 0);
	exit->fault.nr_bytes = 0;
	if (svm_has(DECODE)) {
		exit->fault.nr_bytes = v->nr_bytes & 0xf;
		memcpy(exit->fault.bytes, v->bytes, sizeof(exit->fault.bytes));
	}
}

/*
 * CLTS, LMSW and SMSW exit with MOV CR0's codes. Only decode assists tell them apart, and then only
 * that it was one of these three: without a register the instruction has to be decoded, and is
 * believed (there are emulators that give CR0's code for reading any register).
 */
static void decode_cr(struct wafer_exit *exit)
{
	bool sel = exit->reason == SVM_CR0_SEL_WRITE;

	if (!(svm_has(DECODE) && exit->info & INFO_MOV_CR)) {
		exit->cr.op = WAFER_CR_DECODE;
		exit->cr.gpr = WAFER_GPR_UNKNOWN;
		exit->len = 0;
		return;
	}
	exit->cr.nr = sel ? 0 : exit->reason & 0xf;
	exit->cr.gpr = exit->info & INFO_GPR;
	exit->cr.op = sel || exit->reason >= SVM_CR_WRITE ? WAFER_CR_WRITE : WAFER_CR_READ;
}

/*
 * DR6 in the VMCB starts without a report at each entry, so what it has now is news (the guest's
 * own DR6 is kept in wafer_arch). The CPU's is put back for the host at once.
 */
static void decode_db(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	struct wafer_hw *hw = vcpu->hw;

	exit->event.has_payload = true;
	exit->event.payload = wafer_db_payload(vcpu, hw->vmcb->dr6 ^ SVM_DR6_NONE);
	hw->vmcb->dr6 = SVM_DR6_NONE;
	hw->vmcb->clean &= ~SVM_CLEAN_DR;
	asm volatile("mov %0, %%db6" : : "r" (SVM_DR6_NONE));
	if (!(hw->watch & SVM_WATCH_TF))
		return;
	exit->event.payload &= ~BIT_ULL(14);	/* BS: it was our TF */
	if (!exit->event.payload)
		exit->kind = hw->watch & SVM_WATCH_STEP ? WAFER_EXIT_STEP : WAFER_EXIT_NMI_WINDOW;
}

static void decode_exception(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	u8 vector = exit->reason - SVM_EXCEPTION;

	exit->event = (struct wafer_event){ .kind = WAFER_EV_EXCEPTION, .vector = vector };
	if (vector == X86_TRAP_DB) {
		decode_db(vcpu, exit);
	} else if (vector == X86_TRAP_BP) {
		exit->event.kind = WAFER_EV_SOFT_EXC;
		exit->event.insn_len = exit->len ?: 1;
	} else if (HAS_ERROR & BIT(vector)) {
		exit->event.has_error = true;
		exit->event.error = exit->info;
	}
}

static void decode_io(const struct svm_vmcb *v, struct wafer_exit *exit)
{
	u32 info = v->info1;

	exit->len = insn_len(v, v->info2);
	exit->io.port = info >> 16;
	exit->io.in = info & BIT(0);
	exit->io.string = info & BIT(2);
	exit->io.size = info >> 4 & 7;
}

/*
 * What came through a task gate is part of the switch, and not to be delivered once more
 * (§15.14.1).
 */
static void decode_task(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	const struct svm_vmcb *v = vcpu->hw->vmcb;
	u8 vector = v->exit_int_info & SVM_EVENT_VECTOR;
	u8 type = (v->exit_int_info & SVM_EVENT_TYPE) >> SVM_EVENT_TYPE_SHIFT;

	exit->len = 0;
	exit->task.selector = exit->info;
	exit->task.has_error = v->info2 & BIT_ULL(44);
	exit->task.error = v->info2;
	exit->task.has_event = v->exit_int_info & SVM_EVENT_VALID;
	exit->task.vector = vector;
	exit->task.event_kind = svm_is_soft(type, vector) ? WAFER_EV_SOFT_EXC : type;
	exit->task.cause = v->info2 & BIT_ULL(36) ? WAFER_TASK_IRET :
			   v->info2 & BIT_ULL(38) ? WAFER_TASK_JMP :
			   exit->task.has_event ? WAFER_TASK_GATE : WAFER_TASK_CALL;
	if (exit->task.has_event)
		vcpu->reinject.kind = WAFER_EV_NONE;
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
	exit->bad.hw_reason = exit->reason;
	svm_write_state(vcpu, WAFER_G_ALL & ~vcpu->arch.missing);
	exit->bad.field = exit->reason == SVM_EXIT_NONE ? "EFER.SVME of this CPU" :
							  wafer_check_state(vcpu);
	v->clean = 0;
	if (v->event_inj & SVM_EVENT_VALID)
		svm_found_in_delivery(vcpu, v->event_inj, v->event_error);
	v->event_inj = 0;
}

/* MORE, and not decoded by svm_enter() itself. */
static void decode_rarer(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	switch (exit->kind) {
	case WAFER_EXIT_CR:
		decode_cr(exit);
		break;
	case WAFER_EXIT_DR:
		exit->dr.nr = exit->reason & 0xf;
		exit->dr.gpr = svm_has(DECODE) ? exit->info & INFO_GPR : WAFER_GPR_UNKNOWN;
		exit->dr.write = exit->reason >= SVM_DR_WRITE;
		if (!svm_has(DECODE))
			exit->len = 0;
		break;
	case WAFER_EXIT_EXCEPTION:
		decode_exception(vcpu, exit);
		break;
	case WAFER_EXIT_IRET:
		svm_iret_exit(vcpu);
		break;
	case WAFER_EXIT_TASK_SWITCH:
		decode_task(vcpu, exit);
		break;
	default:
		break;
	}
}

/*
 * One bit stands for the shadows of STI and of MOV SS. Told apart as they matter to whoever takes
 * the state over: STI's shadow without IF is a state that VMX refuses.
 */
static __always_inline void read_block(struct wafer_vcpu *vcpu, const struct svm_vmcb *v)
{
	u32 *block = &vcpu->arch.block;

	*block &= WAFER_BLOCK_NMI;
	if (svm_has(VNMI))
		*block = v->int_ctl & SVM_V_NMI_BLOCKING ? WAFER_BLOCK_NMI : 0;
	if (unlikely(v->int_state & SVM_INTERRUPT_SHADOW))
		*block |= v->rflags & X86_EFLAGS_IF ? WAFER_BLOCK_STI : WAFER_BLOCK_MOVSS;
}

/* What comes across at every exit. */
static __always_inline void read_hot(struct wafer_vcpu *vcpu, const struct wafer_hw *hw)
{
	struct wafer_arch *a = &vcpu->arch;
	struct svm_vmcb *v = hw->vmcb;

	v->clean = SVM_CLEAN_ALL;
	v->tlb_control = SVM_TLB_KEEP;
	a->rip = v->rip;
	a->gpr[WAFER_RSP] = v->rsp;
	a->gpr[WAFER_RAX] = v->rax;
	a->rflags = v->rflags;
	a->cr3 = v->cr3;
	a->missing |= hw->guest_groups;
	read_block(vcpu, v);
	vcpu->cr8 = v->int_ctl & SVM_V_TPR;
}

/* MORE, and frequent; the result: 0, or @what where it was none of these. */
static __always_inline u32 decode_often(struct wafer_vcpu *vcpu, const struct svm_vmcb *v,
					u32 what)
{
	struct wafer_exit *exit = &vcpu->exit;

	if (what == ON_MORE(RDMSR)) {
		if (v->info1 & 1)
			exit->kind = WAFER_EXIT_WRMSR;
	} else if (what == ON_MORE(HYPERCALL)) {
		vcpu->arch.missing &= ~WAFER_G_CODE;
		svm_read_code(vcpu, v);
	} else if (what == ON_MORE(IO)) {
		decode_io(v, exit);
	} else {
		return what;
	}
	return 0;
}

/* What does not come with most exits; it may change what they are. */
static noinline void decode_rest(struct wafer_vcpu *vcpu)
{
	struct wafer_exit *exit = &vcpu->exit;
	struct svm_vmcb *v = vcpu->hw->vmcb;

	exit->info = v->info1;
	if (unlikely(exit->reason >= SVM_EXIT_NONE)) {
		decode_refused(vcpu, exit);
	} else {
		if (v->exit_int_info & SVM_EVENT_VALID)
			svm_found_in_delivery(vcpu, v->exit_int_info, v->exit_int_error);
		decode_rarer(vcpu, exit);
	}
	if (vcpu->hw->watch)
		svm_after_exit(vcpu, exit);
}

/* What is not due at most entries. */
static noinline void prepare_rest(struct wafer_vcpu *vcpu)
{
	struct wafer_hw *hw = vcpu->hw;
	u32 dirty = vcpu->arch.dirty;

	if (dirty & WAFER_G_TPR) {
		hw->vmcb->int_ctl = (hw->vmcb->int_ctl & ~SVM_V_TPR) | vcpu->cr8;
		hw->vmcb->clean &= ~SVM_CLEAN_INT_CTL;
	}
	if (dirty & ~(WAFER_G_RIP | WAFER_G_TPR))
		svm_write_state(vcpu, dirty & ~WAFER_G_RIP);
	if (hw->asid_due)
		svm_new_asid(hw);
	if (hw->watch)
		svm_before_entry(vcpu);
}

/*
 * What is rare is one call at the end of each half: so no register has to be saved for it here, nor
 * one kept while the guest runs but @vcpu. Where the CPU tells lengths few exits ask for exit.code.
 */
void svm_enter(struct wafer_vcpu *vcpu)
{
	struct wafer_arch *a = &vcpu->arch;
	struct svm_vmcb *v;
	struct wafer_hw *hw;
	unsigned long code;
	u32 what;

	if (unlikely(a->dirty & ~WAFER_G_RIP || vcpu->hw->asid_due || vcpu->hw->watch))
		prepare_rest(vcpu);
	hw = vcpu->hw;
	v = hw->vmcb;
	a->dirty = 0;
	v->rip = a->rip;
	v->rax = a->gpr[WAFER_RAX];
	v->exit_code = SVM_EXIT_NONE;

	wafer_svm_run(vcpu, hw);

	hw = vcpu->hw;
	v = hw->vmcb;
	vcpu->reinject.kind = WAFER_EV_NONE;
	code = v->exit_code;
	vcpu->exit.reason = code;
	if (likely(code < SVM_NR_ICPTS)) {
		read_hot(vcpu, hw);
		what = codes[code];
		vcpu->exit.kind = what & KIND;
		if (svm_has(NRIPS)) {
			vcpu->exit.len = insn_len(v, v->next_rip);
		} else {
			vcpu->exit.len = 0;
			svm_read_code(vcpu, v);
		}
		if (what & MORE)
			what = decode_often(vcpu, v, what);
	} else if (code < SVM_EXIT_NONE) {
		read_hot(vcpu, hw);
		vcpu->arch.missing &= ~WAFER_G_CODE;
		svm_read_code(vcpu, v);
		what = WAFER_EXIT_UNKNOWN;
		vcpu->exit.kind = what;
		vcpu->exit.len = 0;
		if (code == SVM_EXIT_NPF)
			decode_npf(v, &vcpu->exit);
	} else {
		decode_rest(vcpu);
		return;
	}
	if (unlikely(what & MORE || v->exit_int_info & SVM_EVENT_VALID || hw->watch))
		decode_rest(vcpu);
}
