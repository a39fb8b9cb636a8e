// SPDX-License-Identifier: GPL-2.0
/* The window, the entry, and the table of operations. */
#include <linux/percpu.h>
#include <asm/special_insns.h>

#include "vmx.h"

/* Pairs with vmx_put(). */
static void vmx_load(struct wafer_vcpu *vcpu)
{
	struct vmx_cpu *c = this_cpu_ptr(&vmx_cpu);
	struct wafer_hw *hw = vcpu->hw;
	int cpu = smp_processor_id();

	if (!WAFER_VMX_PERSISTENT)
		vmx_on_for_window(c);
	if (unlikely(hw->cpu != cpu && vmx_usable(c))) {
		if (!hw->ready)
			insn_vmclear(__pa(hw->vmcs));	/* makes it one (§25.11.3) */
		hw->cpu = cpu;
		list_add(&hw->link, &c->active);
		WRITE_ONCE(vcpu->hw_cpu, cpu);
	}
	if (c->current_hw != hw) {
		insn_vmptrld(__pa(hw->vmcs));
		c->current_hw = hw;
	}
	if (unlikely(!hw->ready))
		vmx_init_vmcs(hw);
	if (unlikely(hw->last_cpu != cpu)) {
		vmx_host_constants(hw);
		hw->todo |= VMX_FLUSH_EPT | VMX_FLUSH_VPID;
		hw->last_cpu = cpu;
	}
}

static void vmx_put(struct wafer_vcpu *vcpu)
{
	struct wafer_hw *hw = vcpu->hw;

	if (vmx_swapped_in(hw)) {
		vmx_drain_pml(vcpu);
		vmx_swap_out(vcpu);
	}
	if (!WAFER_VMX_PERSISTENT) {
		vmx_unbind(hw);
		vmx_off_after_window(this_cpu_ptr(&vmx_cpu));
	}
}

static void vmx_detach(struct wafer_vcpu *vcpu)
{
	vmx_unbind(vcpu->hw);
}

/*
 * The virtual TPR, where there is one, lives in byte 0x80 of the virtual-APIC page. The entry
 * refuses a threshold above it (§27.2.1.1); the guest is at or below such a threshold already, and
 * the core has seen to its interrupts.
 */
static void write_tpr_threshold(struct wafer_vcpu *vcpu, struct wafer_hw *hw)
{
	u8 threshold = min(hw->tpr_threshold, vcpu->cr8);

	if (threshold == hw->tpr_written)
		return;
	hw->tpr_written = threshold;
	vmwrite(TPR_THRESHOLD, threshold);
}

static noinline void before_entry(struct wafer_vcpu *vcpu)
{
	struct wafer_hw *hw = vcpu->hw;

	if (hw->todo & VMX_SWAP_IN)
		vmx_swap_in(vcpu);
	if (vcpu->arch.dirty)
		vmx_write_state(vcpu, vcpu->arch.dirty);
	if (hw->todo)
		vmx_flush(hw);
}

/* Groups that a guest cannot change without an exit, or that were read back by now. */
#define KEPT (WAFER_G_CR2 | WAFER_G_DR | WAFER_G_PAT | WAFER_G_SPEC)

static void vmx_enter(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
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
		hw->vapic[0x80] = vcpu->cr8 << 4;
		if (hw->tpr_threshold | hw->tpr_written)
			write_tpr_threshold(vcpu, hw);
	}
	if (native_read_cr2() != a->cr2)
		native_write_cr2(a->cr2);

	r = wafer_vmx_run(a, &hw->host_rsp, hw->run_flags, &hw->spec);

	if (unlikely(r)) {
		vmx_refused(vcpu, exit, r == 1 ? vmread(VM_INSTRUCTION_ERROR) : 0);
		return;
	}
	a->cr2 = native_read_cr2();
	if (hw->run_flags & VMX_RUN_SAVE_SPEC)
		a->spec_ctrl = hw->spec.guest;
	if (hw->primary & CPU_BASED_TPR_SHADOW)
		vcpu->cr8 = hw->vapic[0x80] >> 4;
	a->avail &= KEPT;
	exit->reason = vmread(VM_EXIT_REASON);
	if (unlikely(exit->reason & VMX_EXIT_REASONS_FAILED_VMENTRY)) {
		vmx_refused(vcpu, exit, exit->reason);
		return;
	}
	hw->run_flags |= VMX_RUN_LAUNCHED;
	vmx_fill_exit(vcpu, exit);
}

const struct wafer_backend wafer_vmx = {
	.name		= "vmx",
	.rival		= "kvm_intel",
	.hypercall	= 0xc1,		/* VMCALL */
	.detect		= vmx_detect,
	.teardown	= vmx_teardown,
	.cpu_on		= vmx_cpu_on,
	.cpu_off	= vmx_cpu_off,
	.vcpu_create	= vmx_vcpu_create,
	.vcpu_free	= vmx_vcpu_free,
	.detach		= vmx_detach,
	.load		= vmx_load,
	.put		= vmx_put,
	.enter		= vmx_enter,
	.read_state	= vmx_read_state,
	.write_state	= vmx_write_state,
	.inject		= vmx_inject,
	.windows	= vmx_windows,
	.set_root	= vmx_set_root,
	.flush_tlb	= vmx_flush_tlb,
	.intercept_msr	= vmx_intercept_msr,
	.intercept	= vmx_intercept,
	.set_tsc	= vmx_set_tsc,
};
