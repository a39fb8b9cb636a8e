// SPDX-License-Identifier: GPL-2.0
/*
 * VPIDs, invalidations and the page-modification log.
 *
 * The CPU tags translations with VPID and EPT root (§29.4). Both are used again by later vCPUs and
 * VMs, and nothing is invalidated when they are freed: a vCPU invalidates its own tags on every CPU
 * that it comes to.
 */
#include <linux/bitmap.h>
#include <linux/spinlock.h>

#include "vmx.h"

static DECLARE_BITMAP(vpids, VMX_NR_VPIDS);
static DEFINE_SPINLOCK(vpid_lock);

/* 0: none left, or none in the CPU: then every entry and exit drops what it cached. */
int vmx_vpid_alloc(void)
{
	unsigned long vpid;

	if (!vmx_conf.invvpid_type)
		return 0;
	spin_lock(&vpid_lock);
	vpid = find_next_zero_bit(vpids, VMX_NR_VPIDS, 1);
	if (vpid < VMX_NR_VPIDS)
		__set_bit(vpid, vpids);
	spin_unlock(&vpid_lock);
	return vpid < VMX_NR_VPIDS ? vpid : 0;
}

void vmx_vpid_free(u16 vpid)
{
	if (!vpid)
		return;
	spin_lock(&vpid_lock);
	__clear_bit(vpid, vpids);
	spin_unlock(&vpid_lock);
}

void vmx_set_root(struct wafer_vcpu *vcpu, hpa_t root)
{
	struct wafer_hw *hw = vcpu->hw;

	hw->eptp = root | vmx_conf.ept_bits;
	vmwrite(EPT_POINTER, hw->eptp);
	hw->todo |= VMX_FLUSH_EPT;
}

/* Dirty pages first: what the CPU has logged was written under the translations that go now. */
void vmx_flush_tlb(struct wafer_vcpu *vcpu)
{
	vmx_drain_pml(vcpu);
	vcpu->hw->todo |= VMX_FLUSH_EPT | VMX_FLUSH_VPID;
}

/* Just before the entry, so that several requests cost one instruction each. */
void vmx_flush(struct wafer_hw *hw)
{
	if (hw->todo & VMX_FLUSH_EPT)
		insn_invept(vmx_conf.invept_type, hw->eptp);
	if (hw->todo & VMX_FLUSH_VPID && hw->vpid)
		insn_invvpid(vmx_conf.invvpid_type, hw->vpid);
	hw->todo &= ~(VMX_FLUSH_EPT | VMX_FLUSH_VPID);
}

/*
 * The log is filled from entry 511 downwards; the index is that of the next entry to be written,
 * and wraps to 0xffff when it is full (§29.3.6). The low 12 bits of an entry are to be ignored:
 * some emulators leave them set.
 */
void vmx_drain_pml(struct wafer_vcpu *vcpu)
{
	struct wafer_hw *hw = vcpu->hw;
	u16 index;
	int i;

	if (!hw->pml)
		return;
	index = vmread(GUEST_PML_INDEX);
	if (index == 511)
		return;
	i = index < 512 ? index + 1 : 0;
	vmwrite(GUEST_PML_INDEX, 511);
	for (index = i; index < 512; index++)
		hw->pml[index] &= PAGE_MASK;
	wafer_mmu_pml(&vcpu->fault, hw->pml + i, 512 - i);
}
