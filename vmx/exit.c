// SPDX-License-Identifier: GPL-2.0
/*
 * From the exit reason (App. C) to struct wafer_exit. Only those fields are read that the kind of
 * exit needs.
 */
#include <asm/apic.h>
#include <asm/cpufeature.h>
#include <uapi/asm/debugreg.h>
#include <asm/sync_core.h>
#include <asm/trapnr.h>

#include "vmx.h"

#define EXIT_REASON_MASK	0xffff
#define QUAL_GATE		3	/* source of a task switch */

/*
 * The NMI that made the guest exit: the host's handler runs as if it had come now. NMIs stay
 * blocked until an IRET. Under FRED INT 2 is no way to the handler: there the NMI is sent again,
 * and IRET lets it in.
 */
void vmx_host_nmi(void)
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
		vmx_host_nmi();
		return;
	}
	*ev = (struct wafer_event){
		.kind = (info & INTR_INFO_INTR_TYPE_MASK) >> 8, .vector = info,
	};
	if (ev->vector == X86_TRAP_MC) {
		exit->kind = WAFER_EXIT_MCE;
		return;
	}
	if (info & INTR_INFO_DELIVER_CODE_MASK) {
		ev->has_error = true;
		ev->error = vmread(VM_EXIT_INTR_ERROR_CODE);
	}
	if (ev->kind != WAFER_EV_EXCEPTION) {
		exit->len = vmread(VM_EXIT_INSTRUCTION_LEN);
		ev->insn_len = exit->len;
	}
	if (ev->vector == X86_TRAP_DB) {
		exit->info = vmread(EXIT_QUALIFICATION);
		ev->has_payload = true;
		ev->payload = exit->info & (DR_TRAP_BITS | BIT(11) | BIT(13) | DR_STEP | BIT(16));
		/* #DB took BS with it, though the shadow may still be there. */
		vmx_fix_pending_debug();
	}
	if (vcpu->reinject.kind == WAFER_EV_NONE && ev->vector != X86_TRAP_DF)
		vmx_restore_nmi_blocking(info);
}

/* §28.2.1, table 28-5 */
static void exit_io(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	u32 qual = vmread(EXIT_QUALIFICATION);

	exit->info = qual;
	exit->io.port = qual >> 16;
	exit->io.size = (qual & 7) + 1;
	exit->io.in = qual & BIT(3);
	exit->io.string = qual & BIT(4);
}

/* Table 28-3 */
static void exit_cr(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	static const u8 op[] = { WAFER_CR_WRITE, WAFER_CR_READ, WAFER_CR_CLTS, WAFER_CR_LMSW };
	u32 qual = vmread(EXIT_QUALIFICATION);

	exit->info = qual;
	exit->cr.nr = qual & 15;
	exit->cr.op = op[qual >> 4 & 3];
	exit->cr.gpr = qual >> 8 & 15;
	exit->cr.msw = qual >> 16;
}

/* Table 28-4 */
static void exit_dr(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	u32 qual = vmread(EXIT_QUALIFICATION);

	exit->info = qual;
	exit->dr.nr = qual & 7;
	exit->dr.write = !(qual & BIT(4));
	exit->dr.gpr = qual >> 8 & 15;
}

/* Table 28-7 */
static void exit_ept_violation(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	u32 qual = vmread(EXIT_QUALIFICATION), access = 0;

	exit->info = qual;
	if (qual & EPT_VIOLATION_ACC_READ)
		access |= WAFER_FAULT_READ;
	if (qual & EPT_VIOLATION_ACC_WRITE)
		access |= WAFER_FAULT_WRITE;
	if (qual & EPT_VIOLATION_ACC_INSTR)
		access |= WAFER_FAULT_FETCH;
	if (qual & GENMASK(5, 3))		/* what the entry allows */
		access |= WAFER_FAULT_PRESENT;
	if (qual & EPT_VIOLATION_GVA_IS_VALID && !(qual & EPT_VIOLATION_GVA_TRANSLATED))
		access |= WAFER_FAULT_GUEST_PT;
	exit->fault.access = access;
	exit->fault.nr_bytes = 0;
	exit->fault.gpa = vmread(GUEST_PHYSICAL_ADDRESS);
	if (vcpu->reinject.kind == WAFER_EV_NONE)
		vmx_restore_nmi_blocking(qual);
}

static void exit_ept_misconfig(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	exit->fault.gpa = vmread(GUEST_PHYSICAL_ADDRESS);
	exit->fault.access = WAFER_FAULT_READ | WAFER_FAULT_PRESENT | WAFER_FAULT_RESERVED;
	exit->fault.nr_bytes = 0;
}

/*
 * Table 28-2. A switch through a task gate is part of the delivery of an event, which it consumes;
 * only for software events does RIP go past an instruction.
 */
static void exit_task(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	u32 qual = vmread(EXIT_QUALIFICATION);
	struct wafer_event *ev = &vcpu->reinject;

	exit->info = qual;
	exit->task.selector = qual;
	exit->task.cause = qual >> 30;
	exit->task.has_error = false;
	exit->task.has_event = exit->task.cause == QUAL_GATE && ev->kind != WAFER_EV_NONE;
	exit->len = vmread(VM_EXIT_INSTRUCTION_LEN);
	if (!exit->task.has_event)
		return;
	exit->task.vector = ev->vector;
	exit->task.event_kind = ev->kind;
	exit->task.has_error = ev->has_error;
	exit->task.error = ev->error;
	exit->len = ev->insn_len;
	if (ev->kind == WAFER_EV_NMI)
		vmx_restore_nmi_blocking(INTR_INFO_UNBLOCK_NMI);
	ev->kind = WAFER_EV_NONE;
}

static void exit_pml(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	if (vcpu->reinject.kind == WAFER_EV_NONE)
		vmx_restore_nmi_blocking(vmread(EXIT_QUALIFICATION));
	vmx_drain_pml(vcpu);
}

/* The qualifications are numbered like our causes. */
static_assert(WAFER_TASK_CALL == 0 && WAFER_TASK_IRET == 1 && WAFER_TASK_JMP == 2 &&
	      WAFER_TASK_GATE == QUAL_GATE);

#define KNOWN		BIT(0)
#define LEN		BIT(1)	/* caused by an instruction: its length is of use */
#define DELIVERY	BIT(2)	/* can come in the middle of delivering an event */

#define FILLED		BIT(3)	/* a function reads more */

#define EVENT_ALONE	KNOWN
#define INSN_ALONE	(KNOWN | LEN)

#define EVENT(k)	{ .kind = WAFER_EXIT_##k, .flags = EVENT_ALONE }
#define INSN(k)		{ .kind = WAFER_EXIT_##k, .flags = INSN_ALONE }
#define FILL(k, f, fn)	{ .kind = WAFER_EXIT_##k, .flags = KNOWN | FILLED | (f), .fill = fn }

static const struct {
	u8 kind, flags;
	void (*fill)(struct wafer_vcpu *vcpu, struct wafer_exit *exit);
} reasons[] = {
	[EXIT_REASON_EXCEPTION_NMI]	= FILL(EXCEPTION, DELIVERY, exit_exception),
	[EXIT_REASON_EXTERNAL_INTERRUPT] = EVENT(EXTINT),
	[EXIT_REASON_TRIPLE_FAULT]	= EVENT(TRIPLE),
	[EXIT_REASON_INIT_SIGNAL]	= EVENT(HOST_DONE),
	[EXIT_REASON_SIPI_SIGNAL]	= EVENT(HOST_DONE),
	[EXIT_REASON_INTERRUPT_WINDOW]	= EVENT(IRQ_WINDOW),
	[EXIT_REASON_NMI_WINDOW]	= EVENT(NMI_WINDOW),
	[EXIT_REASON_TASK_SWITCH]	= FILL(TASK_SWITCH, DELIVERY, exit_task),
	[EXIT_REASON_CPUID]		= INSN(CPUID),
	[11 /* GETSEC */]		= INSN(DENIED),
	[EXIT_REASON_HLT]		= INSN(HLT),
	[EXIT_REASON_INVD]		= INSN(WBINVD),
	[EXIT_REASON_INVLPG]		= INSN(INVLPG),
	[EXIT_REASON_RDPMC]		= INSN(RDPMC),
	[EXIT_REASON_RDTSC]		= INSN(RDTSC),
	[17 /* RSM */]			= INSN(DENIED),
	[EXIT_REASON_VMCALL]		= INSN(HYPERCALL),
	[EXIT_REASON_VMCLEAR ... EXIT_REASON_VMON] = INSN(DENIED),
	[EXIT_REASON_CR_ACCESS]		= FILL(CR, LEN, exit_cr),
	[EXIT_REASON_DR_ACCESS]		= FILL(DR, LEN, exit_dr),
	[EXIT_REASON_IO_INSTRUCTION]	= FILL(IO, LEN, exit_io),
	[EXIT_REASON_MSR_READ]		= INSN(RDMSR),
	[EXIT_REASON_MSR_WRITE]		= INSN(WRMSR),
	[EXIT_REASON_MWAIT_INSTRUCTION]	= INSN(MWAIT),
	[EXIT_REASON_MONITOR_TRAP_FLAG]	= EVENT(STEP),
	[EXIT_REASON_MONITOR_INSTRUCTION] = INSN(MONITOR),
	[EXIT_REASON_PAUSE_INSTRUCTION]	= INSN(PAUSE),
	[EXIT_REASON_TPR_BELOW_THRESHOLD] = EVENT(TPR),
	[EXIT_REASON_GDTR_IDTR]		= INSN(DENIED),
	[EXIT_REASON_LDTR_TR]		= INSN(DENIED),
	[EXIT_REASON_EPT_VIOLATION]	= FILL(FAULT, DELIVERY, exit_ept_violation),
	[EXIT_REASON_EPT_MISCONFIG]	= FILL(FAULT, DELIVERY, exit_ept_misconfig),
	[EXIT_REASON_INVEPT]		= INSN(DENIED),
	[EXIT_REASON_RDTSCP]		= INSN(RDTSC),
	[EXIT_REASON_PREEMPTION_TIMER]	= EVENT(TIMER),
	[EXIT_REASON_INVVPID]		= INSN(DENIED),
	[EXIT_REASON_WBINVD]		= INSN(WBINVD),
	[EXIT_REASON_XSETBV]		= INSN(XSETBV),
	[EXIT_REASON_RDRAND]		= INSN(DENIED),
	[EXIT_REASON_INVPCID]		= INSN(DENIED),
	[EXIT_REASON_VMFUNC]		= INSN(DENIED),
	[EXIT_REASON_ENCLS]		= INSN(DENIED),
	[EXIT_REASON_RDSEED]		= INSN(DENIED),
	[EXIT_REASON_PML_FULL]		= FILL(PML, DELIVERY, exit_pml),
	[EXIT_REASON_XSAVES ... EXIT_REASON_XRSTORS] = INSN(DENIED),
	[65 /* PCONFIG */]		= INSN(DENIED),
	[EXIT_REASON_UMWAIT ... EXIT_REASON_TPAUSE] = INSN(DENIED),
	[69 /* LOADIWKEY */]		= INSN(DENIED),
	[70 /* ENCLV */]		= INSN(DENIED),
	[76 ... 79 /* SEAMCALL, TDCALL, RDMSRLIST, WRMSRLIST */] = INSN(DENIED),
};

/* An instruction that exits is skipped sooner or later: what that takes is read without being asked. */
static void read_for_skip(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	struct wafer_arch *a = &vcpu->arch;

	exit->len = vmread(VM_EXIT_INSTRUCTION_LEN);
	a->rip = vmread(GUEST_RIP);
	a->rflags = vmread(GUEST_RFLAGS);
	a->block = vmread(GUEST_INTERRUPTIBILITY_INFO) & VMX_BLOCK_BITS;
	a->avail |= WAFER_G_RIP | WAFER_G_RFLAGS | WAFER_G_BLOCK;
}

static noinline void fill_exit(struct wafer_vcpu *vcpu, struct wafer_exit *exit, unsigned int reason)
{
	unsigned int flags = reasons[reason].flags;
	u32 vectoring;

	if (flags & LEN)
		read_for_skip(vcpu, exit);
	if (flags & DELIVERY) {
		vectoring = vmread(IDT_VECTORING_INFO_FIELD);
		if (unlikely(vectoring & INTR_INFO_VALID_MASK))
			vmx_event_in_delivery(vcpu, vectoring);
	}
	reasons[reason].fill(vcpu, exit);
}

static void unknown_exit(struct wafer_exit *exit)
{
	exit->kind = WAFER_EXIT_UNKNOWN;
	exit->info = vmread(EXIT_QUALIFICATION);
}

/* After a run that ended with an exit other than a failed entry. */
void vmx_fill_exit(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	unsigned int reason = exit->reason & EXIT_REASON_MASK;
	unsigned int flags = reason < ARRAY_SIZE(reasons) ? reasons[reason].flags : 0;

	vcpu->reinject.kind = WAFER_EV_NONE;
	exit->len = 0;
	exit->info = 0;
	if (unlikely(!flags)) {
		unknown_exit(exit);
		return;
	}
	exit->kind = reasons[reason].kind;
	if (likely(flags == INSN_ALONE))
		read_for_skip(vcpu, exit);
	else if (flags != EVENT_ALONE)
		fill_exit(vcpu, exit, reason);
}
