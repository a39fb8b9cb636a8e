// SPDX-License-Identifier: GPL-2.0
/* The window, invalidations and the page-modification log, and the table of operations. */
#include "vmx.h"

/* Pairs with vmx_put(). */
static void vmx_load(struct wafer_vcpu *vcpu)
{
	struct vmx_cpu *c = this_cpu_ptr(&vmx_cpu);
	struct wafer_hw *hw = vcpu->hw;
	int cpu = smp_processor_id();

	if (!WAFER_VMX_PERSISTENT)
		vmx_on_for_window(c);
	if (unlikely(!c->on && !c->lender))
		return;		/* switched off under us: the entry will say so */
	if (unlikely(vcpu->hw_cpu != cpu)) {
		if (hw->last_cpu < 0)
			insn_vmclear(__pa(hw->vmcs));	/* makes it one (§25.11.3) */
		list_add(&hw->link, &c->active);
		WRITE_ONCE(vcpu->hw_cpu, cpu);
	}
	if (c->current_hw != hw) {
		insn_vmptrld(__pa(hw->vmcs));
		c->current_hw = hw;
	}
	if (unlikely(hw->last_cpu != cpu)) {
		if (hw->last_cpu < 0)
			vmx_init_vmcs(hw);
		vmx_host_constants();
		/* What this CPU has of user-return MSRs from an earlier stay may be old. */
		if (c->last_ur == hw->id)
			c->last_ur = VMX_UR_NOBODY;
		hw->todo |= VMX_FLUSH_EPT | VMX_FLUSH_VPID;
		hw->last_cpu = cpu;
	}
}

static void vmx_put(struct wafer_vcpu *vcpu)
{
	if (!(vcpu->hw->todo & VMX_SWAP_IN)) {
		vmx_drain_pml(vcpu);
		vmx_swap_out(vcpu);
	}
	if (!WAFER_VMX_PERSISTENT) {
		vmx_unload_user_return();
		vmx_unbind(vcpu);
		vmx_off_after_window(this_cpu_ptr(&vmx_cpu));
	}
}

/*
 * The CPU tags translations with VPID and EPT root (§29.4). Both are used again by later vCPUs and
 * VMs, and nothing is invalidated when they are freed: a vCPU invalidates its own tags on every CPU
 * that it comes to.
 */
void vmx_set_root(struct wafer_vcpu *vcpu, hpa_t root)
{
	vmwrite_changed(&vcpu->hw->eptp, EPT_POINTER, root | vmx_conf.ept_bits);
	vcpu->hw->todo |= VMX_FLUSH_EPT;
}

/* Dirty pages first: what the CPU has logged was written under the translations that go now. */
static void vmx_flush_tlb(struct wafer_vcpu *vcpu)
{
	vmx_drain_pml(vcpu);
	vcpu->hw->todo |= VMX_FLUSH_EPT | VMX_FLUSH_VPID;
}

/*
 * The log is filled from entry 511 downwards; the index is that of the next entry to be written,
 * and wraps to 0xffff when it is full (§29.3.6). The low 12 bits of an entry are to be ignored:
 * some emulators leave them set.
 */
void vmx_drain_pml(struct wafer_vcpu *vcpu)
{
	u64 *pml = vcpu->hw->pml;
	u16 first, i;

	if (!wafer_caps.has_pml)
		return;
	first = vmread(GUEST_PML_INDEX) + 1;
	if (first >= 512)
		return;
	vmwrite(GUEST_PML_INDEX, 511);
	for (i = first; i < 512; i++)
		pml[i] &= PAGE_MASK;
	wafer_mmu_pml(&vcpu->fault, pml + first, 512 - first);
	/* The run loop has looked at the exit, maybe before this; the next run may log as much. */
	if (wafer_ring_soft_full(&vcpu->fault))
		wafer_hazard_set(vcpu, WAFER_H_EXIT);
}

static void vmx_set_tsc(struct wafer_vcpu *vcpu, u64 offset, u64 ratio)
{
	vmwrite(TSC_OFFSET, offset);
	if (wafer_caps.has_tsc_scaling)
		vmwrite(TSC_MULTIPLIER, ratio ?: BIT_ULL(48));
}

const struct wafer_backend wafer_vmx = {
	.name = "vmx", .rival = "kvm_intel", .hypercall = 0xc1 /* VMCALL */,
	.detect = vmx_detect, .teardown = vmx_teardown,
	.cpu_on = vmx_cpu_on, .cpu_off = vmx_cpu_off, .detach = vmx_unbind,
	.vcpu_create = vmx_vcpu_create, .vcpu_free = vmx_vcpu_free,
	.load = vmx_load, .put = vmx_put, .enter = vmx_enter, .inject = vmx_inject,
	.read_state = vmx_read_state, .windows = vmx_windows,
	.set_root = vmx_set_root, .flush_tlb = vmx_flush_tlb, .set_tsc = vmx_set_tsc,
	.intercept = vmx_intercept, .intercept_msr = vmx_intercept_msr,
};
