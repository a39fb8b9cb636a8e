// SPDX-License-Identifier: GPL-2.0
/*
 * The exit table, and the handlers that fit in a few lines.
 *
 * A handler is called in the window first. If it has to sleep it changes nothing and says WAFER_RETRY_SLOW; then it is
 * called again outside.
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
	struct kvm_run *run = vcpu->run;
	unsigned int i;

	run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	run->internal.suberror = suberror;
	run->internal.ndata = n;
	for (i = 0; i < n; i++)
		run->internal.data[i] = data[i];
	return WAFER_TO_USER;
}

/* An instruction that is not ours to know: the VMM gets its bytes. vcpu->emu.insn holds what was decoded. */
int wafer_emulation_failure(struct wafer_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	const struct wafer_insn *insn = &vcpu->emu.insn;
	u8 n = min_t(u8, insn->len, WAFER_INSN_MAX);

	run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	run->emulation_failure.suberror = KVM_INTERNAL_ERROR_EMULATION;
	run->emulation_failure.ndata = 4;
	run->emulation_failure.flags = KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES;
	run->emulation_failure.insn_size = n;
	memset(run->emulation_failure.insn_bytes, 0x90, sizeof(run->emulation_failure.insn_bytes));
	memcpy(run->emulation_failure.insn_bytes, insn->bytes, n);
	run->internal.data[3] = vcpu->exit.reason;
	return WAFER_TO_USER;
}

int wafer_fail_entry(struct wafer_vcpu *vcpu, u64 reason, const char *field)
{
	vcpu->run->exit_reason = KVM_EXIT_FAIL_ENTRY;
	vcpu->run->fail_entry.hardware_entry_failure_reason = reason;
	vcpu->run->fail_entry.cpu = raw_smp_processor_id();
	wafer_refuse(&vcpu->refusal, -EINVAL, field ?: "guest state", reason,
		     "must be accepted by the CPU at entry (SDM vol. 3 §27.3, APM vol. 2 §15.5.1)");
	return WAFER_TO_USER;
}

static int exit_extint(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	return WAFER_REOPEN;
}

static int exit_again(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	return WAFER_GO_ON;
}

/* The host's own machine check, taken by leaving the guest: hand it to the host's handler as if it had come now. */
static int exit_mce(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	struct pt_regs regs = { .cs = 3, .flags = X86_EFLAGS_IF };

	do_machine_check(&regs);
	return WAFER_GO_ON;
}

static int exit_cpuid(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	u64 *gpr = vcpu->arch.gpr;
	u32 eax = gpr[WAFER_RAX], ebx, ecx = gpr[WAFER_RCX], edx;

	wafer_cpuid(vcpu, &eax, &ebx, &ecx, &edx);
	gpr[WAFER_RAX] = eax;
	gpr[WAFER_RBX] = ebx;
	gpr[WAFER_RCX] = ecx;
	gpr[WAFER_RDX] = edx;
	return wafer_skip(vcpu);
}

static int exit_skip(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	return wafer_skip(vcpu);
}

static int exit_hlt(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	wafer_skip(vcpu);
	if (!vcpu->lapic) {
		vcpu->run->exit_reason = KVM_EXIT_HLT;
		return WAFER_TO_USER;
	}
	vcpu->mp_state = KVM_MP_STATE_HALTED;
	vcpu->stat_halts++;
	if (wafer_runnable(vcpu)) {
		vcpu->mp_state = KVM_MP_STATE_RUNNABLE;
		wafer_hazard_set(vcpu, WAFER_H_EVENT);
		return WAFER_GO_ON;
	}
	return WAFER_LEAVE;
}

/* The guest spins: let somebody else have the CPU. */
static int exit_pause(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	if (window)
		return WAFER_RETRY_SLOW;
	wafer_skip(vcpu);
	cond_resched();
	return WAFER_GO_ON;
}

static int exit_mwait(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	if (vcpu->vm->quirks_disabled & KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS &&
	    !wafer_guest_has(vcpu, X86_FEATURE_MWAIT)) {
		wafer_queue_ud(vcpu);
		return WAFER_GO_ON;
	}
	return wafer_skip(vcpu);
}

static int exit_gp(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	wafer_queue_gp(vcpu);
	return WAFER_GO_ON;
}

static int exit_denied(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	wafer_queue_ud(vcpu);
	return WAFER_GO_ON;
}

static int exit_window(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	wafer_hazard_set(vcpu, WAFER_H_EVENT);
	return WAFER_GO_ON;
}

static int exit_triple(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	vcpu->run->exit_reason = KVM_EXIT_SHUTDOWN;
	return WAFER_TO_USER;
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

static int exit_foreign(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	return wafer_foreign_hypercall(vcpu, window);
}

static const struct {
	wafer_handler handle;
	bool needs_len;		/* the instruction's length must be known, by decoding where the CPU tells none */
} exits[WAFER_NR_EXITS] = {
	[WAFER_EXIT_EXTINT]	= { exit_extint },
	[WAFER_EXIT_HOST_DONE]	= { exit_again },
	[WAFER_EXIT_MCE]	= { exit_mce },
	[WAFER_EXIT_EXCEPTION]	= { wafer_exit_exception },
	[WAFER_EXIT_CPUID]	= { exit_cpuid, true },
	[WAFER_EXIT_HYPERCALL]	= { wafer_exit_hypercall, true },
	[WAFER_EXIT_FOREIGN_CALL] = { exit_foreign },
	[WAFER_EXIT_HLT]	= { exit_hlt, true },
	[WAFER_EXIT_PAUSE]	= { exit_pause, true },
	[WAFER_EXIT_MONITOR]	= { exit_mwait, true },
	[WAFER_EXIT_MWAIT]	= { exit_mwait, true },
	[WAFER_EXIT_RDMSR]	= { wafer_exit_rdmsr, true },
	[WAFER_EXIT_WRMSR]	= { wafer_exit_wrmsr, true },
	[WAFER_EXIT_IO]		= { wafer_exit_io, true },
	[WAFER_EXIT_FAULT]	= { wafer_exit_fault },
	[WAFER_EXIT_CR]		= { wafer_exit_cr, true },
	[WAFER_EXIT_DR]		= { wafer_exit_dr, true },
	[WAFER_EXIT_XSETBV]	= { wafer_exit_xsetbv, true },
	[WAFER_EXIT_WBINVD]	= { exit_skip, true },
	[WAFER_EXIT_INVLPG]	= { exit_skip, true },
	[WAFER_EXIT_RDPMC]	= { exit_gp },
	[WAFER_EXIT_RDTSC]	= { exit_denied },
	[WAFER_EXIT_TASK_SWITCH] = { wafer_exit_task },
	[WAFER_EXIT_IRQ_WINDOW]	= { exit_window },
	[WAFER_EXIT_NMI_WINDOW]	= { exit_window },
	[WAFER_EXIT_TPR]	= { exit_window },
	[WAFER_EXIT_IRET]	= { exit_window },
	[WAFER_EXIT_STEP]	= { wafer_exit_step },
	[WAFER_EXIT_PML]	= { exit_again },
	[WAFER_EXIT_TIMER]	= { exit_again },
	[WAFER_EXIT_TRIPLE]	= { exit_triple },
	[WAFER_EXIT_DENIED]	= { exit_denied },
	[WAFER_EXIT_BAD_STATE]	= { exit_bad_state },
	[WAFER_EXIT_UNKNOWN]	= { exit_unknown },
};

/**
 * wafer_handle_exit() - act on vcpu->exit
 * @vcpu: vCPU
 * @window: in the window
 *
 * Return: WAFER_GO_ON, WAFER_TO_USER, WAFER_RETRY_SLOW (only with @window), WAFER_REOPEN, WAFER_LEAVE or -errno.
 */
int wafer_handle_exit(struct wafer_vcpu *vcpu, bool window)
{
	struct wafer_exit *exit = &vcpu->exit;

	if (unlikely(!exit->len && exits[exit->kind].needs_len)) {
		bool decoded;
		int r = wafer_decode_exit(vcpu, window, &decoded);

		if (!decoded)
			return r;
	}
	return exits[exit->kind].handle(vcpu, exit, window);
}
