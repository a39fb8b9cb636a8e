// SPDX-License-Identifier: GPL-2.0
/* Making a vCPU's VMCS, and the controls in it that change at run time. */
#include <linux/gfp.h>
#include <linux/slab.h>
#include <asm/cpufeature.h>
#include <asm/desc.h>
#include <asm/segment.h>
#include <asm/trapnr.h>

#include "vmx.h"

#define ALWAYS_INTERCEPTED \
	(BIT(X86_TRAP_DB) | BIT(X86_TRAP_AC) | BIT(X86_TRAP_MC) | BIT(X86_TRAP_UD))

#define ENABLE_XSAVES		BIT(20)	/* the header changes its name from kernel to kernel */
#define PLE_GAP_CYCLES		128	/* PAUSEs further apart are not one loop */
#define PLE_WINDOW_CYCLES	4096	/* how long a loop may spin */

static void free_pages_of(struct wafer_hw *hw)
{
	free_page((unsigned long)hw->vmcs);
	free_page((unsigned long)hw->msr_bitmap);
	free_page((unsigned long)hw->vapic);
	free_page((unsigned long)hw->pml);
}

static void *zeroed_page(void)
{
	return (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
}

int vmx_vcpu_create(struct wafer_vcpu *vcpu)
{
	static atomic64_t last_id = ATOMIC64_INIT(0);
	struct wafer_hw *hw = kzalloc(sizeof(*hw), GFP_KERNEL_ACCOUNT);

	if (!hw)
		return -ENOMEM;
	hw->vmcs = zeroed_page();
	hw->msr_bitmap = zeroed_page();
	hw->vapic = zeroed_page();
	if (vmx_conf.secondary & SECONDARY_EXEC_ENABLE_PML)
		hw->pml = zeroed_page();
	if (!hw->vmcs || !hw->msr_bitmap || !hw->vapic ||
	    (vmx_conf.secondary & SECONDARY_EXEC_ENABLE_PML && !hw->pml)) {
		free_pages_of(hw);
		kfree(hw);
		return -ENOMEM;
	}
	*(u32 *)hw->vmcs = vmx_conf.vmcs_revision;
	hw->vcpu = vcpu;
	hw->id = atomic64_inc_return(&last_id);
	hw->vpid = vmx_vpid_alloc();
	hw->todo = VMX_SWAP_IN;
	hw->cpu = -1;
	hw->last_cpu = -1;
	INIT_LIST_HEAD(&hw->link);
	vmx_msr_init(hw);
	vcpu->hw = hw;
	return 0;
}

void vmx_vcpu_free(struct wafer_vcpu *vcpu)
{
	struct wafer_hw *hw = vcpu->hw;

	vmx_vpid_free(hw->vpid);
	free_pages_of(hw);
	kfree(hw);
	vcpu->hw = NULL;
}

static void init_host(void)
{
	vmwrite(HOST_CS_SELECTOR, __KERNEL_CS);
	vmwrite(HOST_SS_SELECTOR, __KERNEL_DS);
	vmwrite(HOST_TR_SELECTOR, GDT_ENTRY_TSS * 8);
	vmwrite(HOST_DS_SELECTOR, 0);
	vmwrite(HOST_ES_SELECTOR, 0);
	vmwrite(HOST_FS_SELECTOR, 0);
	vmwrite(HOST_GS_SELECTOR, 0);
	vmwrite(HOST_RIP, (unsigned long)wafer_vmx_exit);
}

/*
 * A new VMCS, current on this CPU: everything that the intercepts, the state groups and the host do
 * not write later.
 */
void vmx_init_vmcs(struct wafer_hw *hw)
{
	hw->ready = true;
	hw->exit_ctl = vmx_conf.exit & ~VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL;
	hw->entry_ctl = vmx_conf.entry & ~VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL;
	vmwrite(PIN_BASED_VM_EXEC_CONTROL, vmx_conf.pin);
	vmwrite(VM_EXIT_CONTROLS, hw->exit_ctl);
	vmwrite(VM_ENTRY_CONTROLS, hw->entry_ctl);
	vmwrite(PAGE_FAULT_ERROR_CODE_MASK, 0); /* bit 14 is clear: no #PF exits */
	vmwrite(PAGE_FAULT_ERROR_CODE_MATCH, 0);
	vmwrite(CR3_TARGET_COUNT, 0);
	vmwrite(VM_EXIT_MSR_STORE_COUNT, 0);
	vmwrite(VM_EXIT_MSR_LOAD_COUNT, 0);
	vmwrite(VM_ENTRY_MSR_LOAD_COUNT, 0);
	vmwrite(VM_ENTRY_INTR_INFO_FIELD, 0);
	vmwrite(VMCS_LINK_POINTER, ~0ull);
	vmwrite(MSR_BITMAP, __pa(hw->msr_bitmap));
	vmwrite(TSC_OFFSET, 0);
	vmwrite(GUEST_IA32_DEBUGCTL, 0);
	vmwrite(GUEST_PENDING_DBG_EXCEPTIONS, 0);
	vmwrite(GUEST_INTERRUPTIBILITY_INFO, 0);
	vmwrite(GUEST_ACTIVITY_STATE, GUEST_ACTIVITY_ACTIVE);
	vmwrite(CR0_GUEST_HOST_MASK, ~(unsigned long)VMX_CR0_OWNED);
	if (vmx_conf.tpr_shadow) {
		vmwrite(VIRTUAL_APIC_PAGE_ADDR, __pa(hw->vapic));
		vmwrite(TPR_THRESHOLD, 0);
	}
	if (vmx_conf.secondary_can & SECONDARY_EXEC_PAUSE_LOOP_EXITING) {
		vmwrite(PLE_GAP, PLE_GAP_CYCLES);
		vmwrite(PLE_WINDOW, PLE_WINDOW_CYCLES);
	}
	if (vmx_conf.secondary_can & ENABLE_XSAVES)
		vmwrite(XSS_EXIT_BITMAP, ~0ull);
	if (vmx_conf.secondary_can & SECONDARY_EXEC_ENCLS_EXITING)
		vmwrite(ENCLS_EXITING_BITMAP, ~0ull);
	if (vmx_conf.secondary & SECONDARY_EXEC_TSC_SCALING)
		vmwrite(TSC_MULTIPLIER, BIT_ULL(48));
	if (vmx_conf.perf_ctrl) {
		vmwrite(GUEST_IA32_PERF_GLOBAL_CTRL, 0);
		vmwrite(HOST_IA32_PERF_GLOBAL_CTRL, 0);
	}
	if (hw->vpid)
		vmwrite(VIRTUAL_PROCESSOR_ID, hw->vpid);
	if (hw->pml) {
		vmwrite(PML_ADDRESS, __pa(hw->pml));
		vmwrite(GUEST_PML_INDEX, 511);
	}
	init_host();
	vmx_set_root(hw->vcpu, hw->vcpu->fault.mmu->root);
	vmx_own_cr4(hw->vcpu, 0);
	vmx_intercept(hw->vcpu, WAFER_ICPT_HLT | WAFER_ICPT_MWAIT | WAFER_ICPT_DR);
}

/*
 * Secondary controls that make an instruction work (or, with RDRAND and RDSEED, exit) by the
 * guest's CPUID.
 */
static const struct {
	u32 control;
	u16 feature, or_feature;
	bool inverted;
} by_cpuid[] = {
	{ SECONDARY_EXEC_ENABLE_RDTSCP,	X86_FEATURE_RDTSCP, X86_FEATURE_RDPID },
	{ SECONDARY_EXEC_ENABLE_INVPCID, X86_FEATURE_INVPCID, X86_FEATURE_INVPCID },
	{ ENABLE_XSAVES,	X86_FEATURE_XSAVES, X86_FEATURE_XSAVES },
	{ SECONDARY_EXEC_RDRAND_EXITING, X86_FEATURE_RDRAND, X86_FEATURE_RDRAND, true },
	{ SECONDARY_EXEC_RDSEED_EXITING, X86_FEATURE_RDSEED, X86_FEATURE_RDSEED, true },
};

static u32 secondary_for(struct wafer_vcpu *vcpu, u32 bits)
{
	u32 val = vmx_conf.secondary;
	int i;

	for (i = 0; i < ARRAY_SIZE(by_cpuid); i++) {
		bool has = wafer_guest_has(vcpu, by_cpuid[i].feature) ||
			   wafer_guest_has(vcpu, by_cpuid[i].or_feature);

		val &= ~by_cpuid[i].control;
		if (has != by_cpuid[i].inverted)
			val |= by_cpuid[i].control & vmx_conf.secondary_can;
	}
	if (bits & WAFER_ICPT_PAUSE)
		val |= SECONDARY_EXEC_PAUSE_LOOP_EXITING & vmx_conf.secondary_can;
	if (vcpu->hw->vpid)
		val |= SECONDARY_EXEC_ENABLE_VPID;
	return val;
}

/*
 * CR4 bits that the guest may change by itself, if its CPUID has the feature. MCE and VMXE never.
 */
static const struct {
	u32 cr4;
	u16 feature;
} cr4_bits[] = {
	{ X86_CR4_VME | X86_CR4_PVI, X86_FEATURE_VME },
	{ X86_CR4_TSD, X86_FEATURE_TSC },
	{ X86_CR4_DE, X86_FEATURE_DE },
	{ X86_CR4_PSE, X86_FEATURE_PSE },
	{ X86_CR4_PAE, X86_FEATURE_PAE },
	{ X86_CR4_PGE, X86_FEATURE_PGE },
	{ X86_CR4_PCE, X86_FEATURE_TSC },
	{ X86_CR4_OSFXSR, X86_FEATURE_FXSR },
	{ X86_CR4_OSXMMEXCPT, X86_FEATURE_XMM },
	{ X86_CR4_UMIP, X86_FEATURE_UMIP },
	{ X86_CR4_LA57, X86_FEATURE_LA57 },
	{ X86_CR4_FSGSBASE, X86_FEATURE_FSGSBASE },
	{ X86_CR4_PCIDE, X86_FEATURE_PCID },
	{ X86_CR4_OSXSAVE, X86_FEATURE_XSAVE },
	{ X86_CR4_SMEP, X86_FEATURE_SMEP },
	{ X86_CR4_SMAP, X86_FEATURE_SMAP },
	{ X86_CR4_PKE, X86_FEATURE_PKU },
};

static u64 cr4_for(struct wafer_vcpu *vcpu)
{
	u64 owned = 0;
	int i;

	for (i = 0; i < ARRAY_SIZE(cr4_bits); i++)
		if (wafer_guest_has(vcpu, cr4_bits[i].feature))
			owned |= cr4_bits[i].cr4;
	return owned & wafer_cr4_allowed() & wafer_caps.cr4_fixed1;
}

static u32 primary_for(struct wafer_vcpu *vcpu, u32 bits)
{
	const u32 cr8 = CPU_BASED_CR8_LOAD_EXITING | CPU_BASED_CR8_STORE_EXITING;
	const u32 mwait = CPU_BASED_MWAIT_EXITING | CPU_BASED_MONITOR_EXITING;
	const u32 windows = CPU_BASED_INTR_WINDOW_EXITING | CPU_BASED_NMI_WINDOW_EXITING;
	u32 val = vmx_conf.primary | (vcpu->hw->primary & windows);

	if (!(bits & WAFER_ICPT_HLT))
		val &= ~CPU_BASED_HLT_EXITING;
	if (!(bits & WAFER_ICPT_MWAIT))
		val &= ~mwait;
	if (!(bits & WAFER_ICPT_DR))
		val &= ~CPU_BASED_MOV_DR_EXITING;
	if (bits & WAFER_ICPT_RDTSC)
		val |= CPU_BASED_RDTSC_EXITING;
	if (bits & WAFER_ICPT_STEP)
		val |= CPU_BASED_MONITOR_TRAP_FLAG;
	if (vmx_conf.tpr_shadow && vcpu->lapic && !(bits & WAFER_ICPT_CR8))
		val = (val & ~cr8) | CPU_BASED_TPR_SHADOW;
	return val;
}

/* In the window. */
void vmx_intercept(struct wafer_vcpu *vcpu, u32 bits)
{
	struct wafer_hw *hw = vcpu->hw;
	u32 exceptions = ALWAYS_INTERCEPTED, secondary = secondary_for(vcpu, bits);
	u64 owned = cr4_for(vcpu);

	if (bits & WAFER_ICPT_BP)
		exceptions |= BIT(X86_TRAP_BP);
	if (bits & WAFER_ICPT_GP)
		exceptions |= BIT(X86_TRAP_GP);
	if (hw->exceptions != exceptions) {
		hw->exceptions = exceptions;
		vmwrite(EXCEPTION_BITMAP, exceptions);
	}
	if (hw->secondary != secondary) {
		hw->secondary = secondary;
		vmwrite(SECONDARY_VM_EXEC_CONTROL, secondary);
	}
	vmx_set_primary(hw, primary_for(vcpu, bits));
	if (hw->cr4_owned != owned)
		vmx_own_cr4(vcpu, owned);
}

/* In the window. The threshold is written at the entry, when the TPR is known. */
void vmx_windows(struct wafer_vcpu *vcpu, u32 which, u8 tpr)
{
	struct wafer_hw *hw = vcpu->hw;
	u32 val = hw->primary & ~(CPU_BASED_INTR_WINDOW_EXITING | CPU_BASED_NMI_WINDOW_EXITING);

	if (which & WAFER_WINDOW_IRQ)
		val |= CPU_BASED_INTR_WINDOW_EXITING;
	if (which & WAFER_WINDOW_NMI)
		val |= CPU_BASED_NMI_WINDOW_EXITING;
	vmx_set_primary(hw, val);
	hw->tpr_threshold = tpr & 15;
}

/* In the window. */
void vmx_set_tsc(struct wafer_vcpu *vcpu, u64 offset, u64 ratio)
{
	vmwrite(TSC_OFFSET, offset);
	if (vmx_conf.secondary & SECONDARY_EXEC_TSC_SCALING)
		vmwrite(TSC_MULTIPLIER, ratio ?: BIT_ULL(48));
}
