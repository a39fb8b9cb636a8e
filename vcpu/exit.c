// SPDX-License-Identifier: GPL-2.0
/*
 * The exit table, and the handlers that fit in a few lines.
 *
 * A handler is called in the window first. If it has to sleep it changes nothing and says
 * WAFER_RETRY_SLOW; then it is called again outside.
 */
#include <linux/sched.h>
#include <asm/mce.h>
#include <asm/processor-flags.h>
#include <asm/ptrace.h>
#include <asm/trapnr.h>

#include "core.h"
#include "kvm_abi.h"

int wafer_internal_error(struct wafer_vcpu *vcpu, u32 suberror, const u64 *data, unsigned int n)
{
	vcpu->run->internal.suberror = suberror;
	vcpu->run->internal.ndata = n;
	memcpy(vcpu->run->internal.data, data, n * sizeof(*data));
	return wafer_to_user(vcpu, KVM_EXIT_INTERNAL_ERROR);
}

/*
 * An instruction that is not ours to know: the VMM gets its bytes. vcpu->emu.insn holds what was
 * decoded. A user of the guest's must not end the VM: there it is #UD, unless the VMM has asked for
 * all of them.
 */
int wafer_emulation_failure(struct wafer_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	u8 n = min_t(u8, vcpu->emu.insn.len, WAFER_INSN_MAX);

	if (wafer_cpl(vcpu) && !vcpu->vm->exit_on_emulation_failure)
		return wafer_queue_ud(vcpu);
	run->emulation_failure.suberror = KVM_INTERNAL_ERROR_EMULATION;
	run->emulation_failure.ndata = 4;
	run->emulation_failure.flags = KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES;
	run->emulation_failure.insn_size = n;
	memset(run->emulation_failure.insn_bytes, 0x90, sizeof(run->emulation_failure.insn_bytes));
	memcpy(run->emulation_failure.insn_bytes, vcpu->emu.insn.bytes, n);
	run->internal.data[3] = vcpu->exit.reason;
	return wafer_to_user(vcpu, KVM_EXIT_INTERNAL_ERROR);
}

int wafer_fail_entry(struct wafer_vcpu *vcpu, u64 reason, const char *field)
{
	vcpu->run->fail_entry.hardware_entry_failure_reason = reason;
	vcpu->run->fail_entry.cpu = raw_smp_processor_id();
	wafer_refuse(&vcpu->refusal, -EINVAL, field ?: "guest state", reason,
		     "must be accepted by the CPU at entry (SDM vol. 3 §27.3, APM vol. 2 §15.5.1)");
	return wafer_to_user(vcpu, KVM_EXIT_FAIL_ENTRY);
}

/*
 * The host's own machine check, taken by leaving the guest: hand it to the host's handler as if it
 * had come now.
 */
static int exit_mce(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	struct pt_regs regs = { .cs = 3, .flags = X86_EFLAGS_IF };

	do_machine_check(&regs);
	return WAFER_GO_ON;
}

static int exit_hlt(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	wafer_skip(vcpu);
	if (!vcpu->lapic)
		return wafer_to_user(vcpu, KVM_EXIT_HLT);
	vcpu->stat_halts++;
	vcpu->mp_state = KVM_MP_STATE_HALTED;
	if (!wafer_runnable(vcpu))
		return WAFER_LEAVE;
	vcpu->mp_state = KVM_MP_STATE_RUNNABLE;
	wafer_hazard_set(vcpu, WAFER_H_EVENT);
	return WAFER_GO_ON;
}

/* The guest spins: let somebody else have the CPU. */
static int exit_pause(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	if (window)
		return WAFER_RETRY_SLOW;
	cond_resched();
	return wafer_skip(vcpu);
}

static int exit_mwait(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	if (vcpu->vm->quirks_disabled & KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS &&
	    !wafer_guest_has(vcpu, X86_FEATURE_MWAIT))
		return wafer_queue_ud(vcpu);
	return wafer_skip(vcpu);
}

/*
 * Where the CPU leaves nothing defined behind, a VMM that goes on after all finds the vCPU after
 * INIT, as in KVM.
 */
static int exit_triple(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	if (wafer_caps.shutdown_undefined && window)
		return WAFER_RETRY_SLOW;
	if (wafer_caps.shutdown_undefined)
		wafer_vcpu_reset(vcpu, true);
	return wafer_to_user(vcpu, KVM_EXIT_SHUTDOWN);
}

static int exit_bad_state(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	return wafer_fail_entry(vcpu, exit->bad.hw_reason, exit->bad.field);
}

static int exit_unknown(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	u64 data[2] = { exit->reason, raw_smp_processor_id() };

	return wafer_internal_error(vcpu, KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON, data, 2);
}

/* What takes one step and no more. */
static int exit_simple(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	switch (exit->kind) {
	case WAFER_EXIT_EXTINT:
		return WAFER_REOPEN;
	case WAFER_EXIT_WBINVD:
	case WAFER_EXIT_INVLPG:
		return wafer_skip(vcpu);
	case WAFER_EXIT_RDPMC:
		return wafer_queue_gp(vcpu);
	case WAFER_EXIT_RDTSC:
	case WAFER_EXIT_DENIED:
		return wafer_queue_ud(vcpu);
	case WAFER_EXIT_HOST_DONE:
	case WAFER_EXIT_PML:
	case WAFER_EXIT_TIMER:
		return WAFER_GO_ON;
	default:			/* something can be taken now */
		wafer_hazard_set(vcpu, WAFER_H_EVENT);
		return WAFER_GO_ON;
	}
}

#define E(kind, ...) \
	[WAFER_EXIT_##kind] = { __VA_ARGS__ }

const struct wafer_exit_row wafer_exits[WAFER_NR_EXITS] = {
	E(EXTINT, exit_simple), E(HOST_DONE, exit_simple), E(MCE, exit_mce),
	E(EXCEPTION, wafer_exit_exception), E(CPUID, wafer_exit_cpuid, true),
	E(HYPERCALL, wafer_exit_hypercall, true), E(HLT, exit_hlt, true),
	E(PAUSE, exit_pause, true), E(MONITOR, exit_mwait, true), E(MWAIT, exit_mwait, true),
	E(RDMSR, wafer_exit_rdmsr, true), E(WRMSR, wafer_exit_msr, true),
	E(IO, wafer_exit_io, true), E(FAULT, wafer_exit_fault),
	E(CR, wafer_exit_cr, true), E(DR, wafer_exit_dr, true), E(XSETBV, wafer_exit_xsetbv, true),
	E(WBINVD, exit_simple, true), E(INVLPG, exit_simple, true),
	E(RDPMC, exit_simple), E(RDTSC, exit_simple), E(TASK_SWITCH, wafer_exit_task),
	E(IRQ_WINDOW, exit_simple), E(NMI_WINDOW, exit_simple), E(TPR, exit_simple),
	E(IRET, exit_simple), E(STEP, wafer_exit_step), E(PML, exit_simple), E(TIMER, exit_simple),
	E(TRIPLE, exit_triple), E(DENIED, exit_simple), E(BAD_STATE, exit_bad_state),
	E(UNKNOWN, exit_unknown),
};
