// SPDX-License-Identifier: GPL-2.0
/*
 * The entry, and from the exit reason (App. C) to struct wafer_exit; events into the guest (§27.6),
 * and what an exit has interrupted in delivery (§28.2.4). Only those fields are read that the kind
 * of exit needs.
 */
#include <asm/apic.h>
#include <asm/sync_core.h>

#include "vmx.h"

/* What of #DB's qualification is in DR6: B0-B3, bus lock, BD, BS, RTM */
#define DB_BITS (DR_TRAP_BITS | BIT(11) | BIT(13) | DR_STEP | BIT(16))

/*
 * In the window. The event's fields are good for one entry: the CPU clears the valid bit at the
 * exit.
 */
void vmx_inject(struct wafer_vcpu *vcpu, const struct wafer_event *ev)
{
	u32 info = INTR_INFO_VALID_MASK | (u32)ev->kind << 8 | ev->vector;

	/* It blocks NMIs by itself, and must find none blocked (§27.3.1.5). */
	if (ev->kind == WAFER_EV_NMI && wafer_block(vcpu) & WAFER_BLOCK_NMI)
		wafer_put_block(vcpu, vcpu->arch.block & ~WAFER_BLOCK_NMI);
	if (ev->has_error && wafer_cr0(vcpu) & X86_CR0_PE) {
		info |= INTR_INFO_DELIVER_CODE_MASK;
		vmwrite(VM_ENTRY_EXCEPTION_ERROR_CODE, ev->error & 0xffff);
	}
	if (ev->kind >= WAFER_EV_SOFT_INT)
		vmwrite(VM_ENTRY_INSTRUCTION_LEN, ev->insn_len);
	vmwrite(VM_ENTRY_INTR_INFO_FIELD, info);
	/*
	 * A guest whose HLT does not exit may sit in it; not every event is allowed there
	 * (§27.3.1.5).
	 */
	if (unlikely(!(vcpu->hw->primary & CPU_BASED_HLT_EXITING)))
		vmwrite(GUEST_ACTIVITY_STATE, GUEST_ACTIVITY_ACTIVE);
}

/*
 * What a field of the interruption information says; @error_field has the error code if there is
 * one.
 */
static void read_event(struct wafer_event *ev, u32 info, u32 error_field)
{
	*ev = (struct wafer_event){ .kind = info >> 8 & 7, .vector = info };
	if (info & INTR_INFO_DELIVER_CODE_MASK) {
		ev->has_error = true;
		ev->error = vmread(error_field);
	}
	if (ev->kind >= WAFER_EV_SOFT_INT)
		ev->insn_len = vmread(VM_EXIT_INSTRUCTION_LEN);
}

/*
 * The guest's IRET had ended the blocking of NMIs when it faulted, and is going to be executed
 * again: bit 12 of the interruption information or of the qualification says so (§28.2.3). Not for
 * what came in delivery of an event.
 */
static void restore_nmi_blocking(struct wafer_vcpu *vcpu, u64 bits)
{
	if (bits & INTR_INFO_UNBLOCK_NMI && vcpu->reinject.kind == WAFER_EV_NONE)
		vmwrite(GUEST_INTERRUPTIBILITY_INFO,
			vmread(GUEST_INTERRUPTIBILITY_INFO) | GUEST_INTR_STATE_NMI);
}

/* IDT-vectoring information becomes vcpu->reinject. */
static void event_in_delivery(struct wafer_vcpu *vcpu, u32 info)
{
	read_event(&vcpu->reinject, info, IDT_VECTORING_ERROR_CODE);
	/* The NMI that is delivered again must not find itself blocked by its first delivery. */
	if (vcpu->reinject.kind == WAFER_EV_NMI)
		vmwrite(GUEST_INTERRUPTIBILITY_INFO,
			vmread(GUEST_INTERRUPTIBILITY_INFO) & ~(u64)GUEST_INTR_STATE_NMI);
}

/*
 * The NMI that made the guest exit: the host's handler runs as if it had come now. NMIs stay
 * blocked until an IRET. Under FRED INT 2 is no way to the handler: there the NMI is sent again,
 * and IRET lets it in.
 */
static void host_nmi(void)
{
#ifdef CONFIG_X86_FRED
	if (boot_cpu_has(X86_FEATURE_FRED)) {
		apic->send_IPI(smp_processor_id(), NMI_VECTOR);
		iret_to_self();
		return;
	}
#endif
	asm volatile("int $2" : : : "memory");
}

static void exit_exception(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	u32 info = vmread(VM_EXIT_INTR_INFO);
	struct wafer_event *ev = &exit->event;

	if ((info & INTR_INFO_INTR_TYPE_MASK) == INTR_TYPE_NMI_INTR) {
		exit->kind = WAFER_EXIT_HOST_DONE;
		host_nmi();
		return;
	}
	read_event(ev, info, VM_EXIT_INTR_ERROR_CODE);
	exit->len = ev->insn_len;
	if (ev->vector == X86_TRAP_MC)
		exit->kind = WAFER_EXIT_MCE;
	if (ev->vector == X86_TRAP_DB) {
		ev->has_payload = true;
		ev->payload = wafer_db_payload(vcpu, vmread(EXIT_QUALIFICATION) & DB_BITS);
		/* #DB took BS with it, though the shadow may still be there. */
		vmx_fix_pending_debug();
	}
	if (ev->vector != X86_TRAP_DF)
		restore_nmi_blocking(vcpu, info);
}

/* §28.2.1, table 28-5 */
static void exit_io(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	u32 qual = exit->info;

	exit->io = (typeof(exit->io)){
		.port = qual >> 16, .size = (qual & 7) + 1, .in = qual & BIT(3),
		.string = qual & BIT(4),
	};
}

/* Table 28-3 */
static void exit_cr(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	static const u8 op[] = { WAFER_CR_WRITE, WAFER_CR_READ, WAFER_CR_CLTS, WAFER_CR_LMSW };
	u32 qual = exit->info;

	exit->cr = (typeof(exit->cr)){
		.nr = qual & 15, .op = op[qual >> 4 & 3], .gpr = qual >> 8 & 15, .msw = qual >> 16,
	};
}

/* Table 28-4 */
static void exit_dr(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	u32 qual = exit->info;

	exit->dr = (typeof(exit->dr)){
		.nr = qual & 7, .write = !(qual & BIT(4)), .gpr = qual >> 8 & 15,
	};
}

static void exit_ept_misconfig(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	exit->fault.gpa = vmread(GUEST_PHYSICAL_ADDRESS);
	exit->fault.nr_bytes = 0;
	exit->fault.access = WAFER_FAULT_READ | WAFER_FAULT_PRESENT | WAFER_FAULT_RESERVED;
}

/* What comes first where a kind has a qualification, or can come in delivery. */
static __always_inline void fill_first(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool qual,
				       bool delivery)
{
	u32 vectoring = delivery ? vmread(IDT_VECTORING_INFO_FIELD) : 0;

	if (qual)
		exit->info = vmread(EXIT_QUALIFICATION);
	if (unlikely(vectoring & INTR_INFO_VALID_MASK))
		event_in_delivery(vcpu, vectoring);
}

/*
 * Table 28-7. What is read, written, fetched; and bits 3 to 5: what the entry allows. The most
 * frequent kind of these: it does not go through the table.
 */
static noinline void exit_ept_violation(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	bool guest_pt;
	u32 qual;

	fill_first(vcpu, exit, true, true);
	qual = exit->info;
	guest_pt = qual & EPT_VIOLATION_GVA_IS_VALID && !(qual & EPT_VIOLATION_GVA_TRANSLATED);
	exit->fault.gpa = vmread(GUEST_PHYSICAL_ADDRESS);
	exit->fault.nr_bytes = 0;
	exit->fault.access = (qual & (WAFER_FAULT_READ | WAFER_FAULT_WRITE | WAFER_FAULT_FETCH)) |
			     (qual & GENMASK(5, 3) ? WAFER_FAULT_PRESENT : 0) |
			     (guest_pt ? WAFER_FAULT_GUEST_PT : 0);
	restore_nmi_blocking(vcpu, qual);
}

/*
 * Table 28-2. A switch through a task gate is part of the delivery of an event, which it consumes;
 * only for software events does RIP go past an instruction.
 */
static void exit_task(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	struct wafer_event ev = vcpu->reinject;
	u8 cause = exit->info >> 30 & 3;
	bool event = cause == WAFER_TASK_GATE && ev.kind != WAFER_EV_NONE;

	exit->task = (typeof(exit->task)){
		.selector = exit->info, .cause = cause, .has_event = event, .vector = ev.vector,
		.event_kind = ev.kind, .has_error = event && ev.has_error, .error = ev.error,
	};
	exit->len = event ? ev.insn_len : vmread(VM_EXIT_INSTRUCTION_LEN);
	if (event)
		vcpu->reinject.kind = WAFER_EV_NONE;
	if (event && ev.kind == WAFER_EV_NMI)
		restore_nmi_blocking(vcpu, INTR_INFO_UNBLOCK_NMI);
}

/*
 * The trap of the guest's own TF is still pending (§28.3.4): the VMM's step stands for it.
 */
static void exit_step(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	vmx_fix_pending_debug();
}

static void exit_pml(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	restore_nmi_blocking(vcpu, exit->info);
	vmx_drain_pml(vcpu);
}

/* What VMX numbers like us: accesses of a violation, causes of a task switch. */
static_assert(WAFER_FAULT_READ == EPT_VIOLATION_ACC_READ && WAFER_TASK_CALL == 0 &&
	      WAFER_FAULT_WRITE == EPT_VIOLATION_ACC_WRITE && WAFER_TASK_IRET == 1 &&
	      WAFER_FAULT_FETCH == EPT_VIOLATION_ACC_INSTR && WAFER_TASK_GATE == 3);

#define KNOWN		BIT(0)
#define LEN		BIT(1)	/* caused by an instruction: its length is of use */
#define DELIVERY	BIT(2)	/* can come in the middle of delivering an event */
#define QUAL		BIT(3)	/* has a qualification */
#define CODE		BIT(4)	/* whose code it was in matters */
#define MORE		BIT(5)	/* a function fills in the rest */

#define EVENT(k)	{ WAFER_EXIT_##k, KNOWN }
#define INSN(k)		{ WAFER_EXIT_##k, KNOWN | LEN }
#define FILL(k, f, fn)	{ WAFER_EXIT_##k, KNOWN | MORE | (f), fn }

/* By App. C's numbers. @fill: reads what else the kind needs. */
static const struct {
	u8 kind, flags;
	void (*fill)(struct wafer_vcpu *vcpu, struct wafer_exit *exit);
} reasons[] = {
	[0] = FILL(EXCEPTION, DELIVERY, exit_exception), [1] = EVENT(EXTINT), [2] = EVENT(TRIPLE),
	[3] = EVENT(HOST_DONE) /* INIT */, [4] = EVENT(HOST_DONE) /* SIPI */,
	[7] = EVENT(IRQ_WINDOW), [8] = EVENT(NMI_WINDOW), [10] = INSN(CPUID), [12] = INSN(HLT),
	[9] = FILL(TASK_SWITCH, DELIVERY | QUAL, exit_task), [11] = INSN(DENIED) /* GETSEC */,
	[13] = INSN(WBINVD) /* INVD */, [14] = INSN(INVLPG), [15] = INSN(RDPMC), [16] = INSN(RDTSC),
	[17] = INSN(DENIED) /* RSM */, [18] = { WAFER_EXIT_HYPERCALL, KNOWN | LEN | CODE },
	[19 ... 27] = INSN(DENIED) /* VMCLEAR to VMXON */, [28] = FILL(CR, LEN | QUAL, exit_cr),
	[29] = FILL(DR, LEN | QUAL, exit_dr), [30] = FILL(IO, LEN | QUAL, exit_io),
	[31] = INSN(RDMSR), [32] = INSN(WRMSR), [36] = INSN(MWAIT), [37] = FILL(STEP, 0, exit_step),
	[39] = INSN(MONITOR), [40] = INSN(PAUSE), [43] = EVENT(TPR),
	[46 ... 47] = INSN(DENIED) /* descriptor tables */,
	[48] = FILL(FAULT, DELIVERY | QUAL, NULL) /* exit_ept_violation() */,
	[49] = FILL(FAULT, DELIVERY | QUAL, exit_ept_misconfig), [50] = INSN(DENIED) /* INVEPT */,
	[51] = INSN(RDTSC) /* RDTSCP */, [52] = EVENT(TIMER), [53] = INSN(DENIED) /* INVVPID */,
	[54] = INSN(WBINVD), [55] = INSN(XSETBV), [62] = FILL(PML, DELIVERY | QUAL, exit_pml),
	[57 ... 61] = INSN(DENIED) /* RDRAND, INVPCID, VMFUNC, ENCLS, RDSEED */,
	[63 ... 65] = INSN(DENIED) /* XSAVES, XRSTORS, PCONFIG */,
	[67 ... 70] = INSN(DENIED) /* UMWAIT, TPAUSE, LOADIWKEY, ENCLV */,
	[76 ... 79] = INSN(DENIED) /* SEAMCALL, TDCALL, RDMSRLIST, WRMSRLIST */,
};

static noinline void fill_more(struct wafer_vcpu *vcpu, struct wafer_exit *exit, u32 reason)
{
	unsigned int flags = reasons[reason].flags;

	fill_first(vcpu, exit, flags & QUAL, flags & DELIVERY);
	reasons[reason].fill(vcpu, exit);
}

/*
 * After a run that ended with an exit other than a failed entry. An instruction that exits is
 * skipped sooner or later: what that takes is read without being asked.
 */
static void fill_exit(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	unsigned int reason = exit->reason & 0xffff;
	unsigned int flags = reason < ARRAY_SIZE(reasons) ? reasons[reason].flags : 0;
	struct wafer_arch *a = &vcpu->arch;

	vcpu->reinject.kind = WAFER_EV_NONE;
	exit->len = 0;
	exit->kind = likely(flags) ? reasons[reason].kind : WAFER_EXIT_UNKNOWN;
	if (flags & LEN) {
		exit->len = vmread(VM_EXIT_INSTRUCTION_LEN);
		a->rip = vmread(GUEST_RIP);
		a->rflags = vmread(GUEST_RFLAGS);
		a->block = vmread(GUEST_INTERRUPTIBILITY_INFO) & VMX_BLOCK_BITS;
		a->missing &= ~(WAFER_G_RIP | WAFER_G_RFLAGS | WAFER_G_BLOCK);
	}
	if (flags & CODE) {
		exit->code = vmx_read_code();
		a->efer = vmread(GUEST_IA32_EFER);
		a->missing &= ~(WAFER_G_CODE | WAFER_G_EFER);
	}
	if (!(flags & MORE))
		return;
	if (likely(reason == EXIT_REASON_EPT_VIOLATION))
		exit_ept_violation(vcpu, exit);
	else
		fill_more(vcpu, exit, reason);
}

/**
 * refused() - an entry that did not come about
 * @vcpu: vCPU, in the window
 * @exit: to be filled
 * @reason: exit reason with bit 31 set; or the VM-instruction error; 0: VMX is not on (any more)
 *
 * What the CPU did not like is told as a name. The core checks the rules of §27.3.1 before the
 * entry, when user space has set state; here it does so again, with what the VMCS holds.
 * vcpu->reinject stays, since it was not delivered; its copy in the VMCS must not outlive it.
 */
static noinline void refused(struct wafer_vcpu *vcpu, struct wafer_exit *exit, u64 reason)
{
	static const char *const by_qualification[] = {		/* §27.8 */
		[2] = "PDPTE", [3] = "NMI in the shadow of STI", [4] = "VMCS link pointer",
	};
	u64 qual = vmread(EXIT_QUALIFICATION);
	const char *field = NULL;

	if (!(reason & VMX_EXIT_REASONS_FAILED_VMENTRY))
		field = reason ? "VMCS: controls, event to be injected, or host state" :
				 "VMX operation: somebody has switched it off";
	else if (qual < ARRAY_SIZE(by_qualification))
		field = by_qualification[qual];
	exit->kind = (u16)reason == EXIT_REASON_MCE_DURING_VMENTRY ? WAFER_EXIT_MCE :
								     WAFER_EXIT_BAD_STATE;
	exit->len = 0;
	exit->reason = reason;
	exit->bad.hw_reason = reason;
	exit->bad.field = field ?: wafer_check_state(vcpu);
	vmwrite(VM_ENTRY_INTR_INFO_FIELD, 0);
}

/*
 * Single steps without a monitor trap flag: TF is set for the run, and #DB ends it. Another exit
 * leaves no step behind: the trap would have come before it. An event that is delivered by this
 * entry pushes the TF, as PUSHF does, but only emulators lack the flag.
 */
static void set_step(struct wafer_vcpu *vcpu, bool set)
{
	struct wafer_arch *a = &vcpu->arch;

	a->rflags = vmread(GUEST_RFLAGS);
	if (set)
		vcpu->hw->own_tf = a->rflags & X86_EFLAGS_TF;
	if (!vcpu->hw->own_tf) {
		a->rflags = set ? a->rflags | X86_EFLAGS_TF : a->rflags & ~(u64)X86_EFLAGS_TF;
		vmx_write_state(vcpu, WAFER_G_RFLAGS);
		vmx_fix_pending_debug();
	}
}

/* Invalidations come last, so that several requests cost one instruction each. */
static noinline void before_entry(struct wafer_vcpu *vcpu)
{
	static const u16 selector = __KERNEL_DS;
	struct wafer_hw *hw = vcpu->hw;

	if (hw->todo & VMX_SWAP_IN)
		vmx_swap_in(vcpu);
	if (vcpu->arch.dirty)
		vmx_write_state(vcpu, vcpu->arch.dirty);
	if (hw->todo & VMX_STEP_TF)
		set_step(vcpu, true);
	if (hw->todo & VMX_FLUSH_EPT)
		insn_invept(VMX_EPT_EXTENT_CONTEXT, hw->eptp);
	if (hw->todo & VMX_FLUSH_VPID && hw->vpid)
		insn_invvpid(VMX_VPID_EXTENT_SINGLE_CONTEXT, hw->vpid);
	hw->todo &= VMX_STEP_TF | VMX_VERW;
	if (hw->todo & VMX_VERW)
		asm volatile("verw %0" : : "m" (selector) : "cc");
}

/* Groups that a guest cannot change without an exit, or that were read back by now. */
#define KEPT (WAFER_G_CR2 | WAFER_G_DR | WAFER_G_PAT | WAFER_G_SPEC)

void vmx_enter(struct wafer_vcpu *vcpu)
{
	struct wafer_exit *exit = &vcpu->exit;
	struct wafer_arch *a = &vcpu->arch;
	struct wafer_hw *hw = vcpu->hw;
	unsigned int r;

	/* Most often an instruction was skipped, and that is all. */
	if (unlikely(hw->todo || a->dirty & ~WAFER_G_RIP)) {
		before_entry(vcpu);
	} else if (likely(a->dirty)) {
		vmwrite(GUEST_RIP, a->rip);
		a->dirty = 0;
	}
	if (unlikely(a->tsc_aux != hw->tsc_aux))
		vmx_load_user_return(vcpu);
	if (hw->primary & CPU_BASED_TPR_SHADOW) {
		/*
		 * The virtual TPR lives in byte 0x80 of the virtual-APIC page. The entry refuses a
		 * threshold above it (§27.2.1.1); the guest is at or below such a threshold
		 * already, and the core has seen to its interrupts.
		 */
		hw->vapic[0x80] = vcpu->cr8 << 4;
		vmwrite_changed(&hw->tpr_written, TPR_THRESHOLD, min(hw->tpr_threshold, vcpu->cr8));
	}
	if (native_read_cr2() != a->cr2)
		native_write_cr2(a->cr2);

	r = wafer_vmx_run(a, &hw->run);

	if (unlikely(hw->todo & VMX_STEP_TF))
		set_step(vcpu, false);
	if (unlikely(r)) {
		refused(vcpu, exit, vmread(VM_INSTRUCTION_ERROR));
		return;
	}
	a->cr2 = native_read_cr2();
	if (hw->run.flags & VMX_RUN_SAVE_SPEC)
		a->spec_ctrl = hw->run.spec_guest;
	if (hw->primary & CPU_BASED_TPR_SHADOW)
		vcpu->cr8 = hw->vapic[0x80] >> 4;
	a->missing |= ~KEPT;
	exit->reason = vmread(VM_EXIT_REASON);
	if (unlikely(exit->reason & VMX_EXIT_REASONS_FAILED_VMENTRY)) {
		refused(vcpu, exit, exit->reason);
		return;
	}
	hw->run.flags |= VMX_RUN_LAUNCHED;
	fill_exit(vcpu, exit);
}
