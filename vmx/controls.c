// SPDX-License-Identifier: GPL-2.0
/* Making a vCPU's VMCS, and the controls and the MSR bitmap that change at run time. */
#include <linux/idr.h>

#include "vmx.h"

#define ALWAYS (BIT(X86_TRAP_DB) | BIT(X86_TRAP_AC) | BIT(X86_TRAP_MC) | BIT(X86_TRAP_UD))

/*
 * What a guest sees as CR0 that is really in CR0 stands in state.c; controls by short names.
 * ENABLE_XSAVES changes its name from kernel to kernel.
 */
#define ENABLE_XSAVES	BIT(20)
#define PLE		SECONDARY_EXEC_PAUSE_LOOP_EXITING
#define WINDOWS		(CPU_BASED_INTR_WINDOW_EXITING | CPU_BASED_NMI_WINDOW_EXITING)

#define PLE_GAP_CYCLES		128	/* PAUSEs further apart are not one loop */
#define PLE_WINDOW_CYCLES	4096	/* how long a loop may spin */

/* VPIDs are used again by later vCPUs: see window.c. 0 is the host's. */
static DEFINE_IDA(vpids);

enum { MSR_R = BIT(0), MSR_W = BIT(1), MSR_RW = MSR_R | MSR_W };

/*
 * MSRs that may be direct, and how: the CPU switches them at entries and exits, or swap_in() and
 * swap_out() do, or writing them is a command. All others exit, whatever is asked for.
 */
static const struct {
	u32 msr, may;
} direct[] = {
	{ MSR_FS_BASE, MSR_RW }, { MSR_GS_BASE, MSR_RW }, { MSR_KERNEL_GS_BASE, MSR_RW },
	{ MSR_IA32_SYSENTER_CS, MSR_RW }, { MSR_IA32_SYSENTER_ESP, MSR_RW },
	{ MSR_IA32_SYSENTER_EIP, MSR_RW }, { MSR_IA32_TSC, MSR_R },
	{ MSR_IA32_PRED_CMD, MSR_W }, { MSR_IA32_FLUSH_CMD, MSR_W },
};

/*
 * Four bitmaps of 1 KiB: reads of MSRs from 0 and from 0xc0000000, then writes (§25.6.9). A set bit
 * exits.
 */
static void set_bitmap(struct wafer_hw *hw, u32 msr, u8 open)
{
	unsigned long *map = (unsigned long *)hw->msr_bitmap;
	unsigned int bit = (msr & 0x1fff) + (msr >= 0xc0000000 ? 8192 : 0);

	__assign_bit(bit, map, !(open & MSR_R));
	__assign_bit(bit + 16384, map, !(open & MSR_W));
}

/*
 * SPEC_CTRL becomes direct with the first value that is not 0: until then most guests never touch
 * it, and reading it back at each exit is dear. The CPU itself refuses bits that it does not have.
 */
void vmx_open_spec_ctrl(struct wafer_vcpu *vcpu)
{
	struct wafer_hw *hw = vcpu->hw;

	hw->run.spec_guest = vcpu->arch.spec_ctrl;
	if (!hw->spec_open)
		hw->run.flags &= ~VMX_RUN_SAVE_SPEC;
	else if (vcpu->arch.spec_ctrl)
		hw->run.flags |= VMX_RUN_SAVE_SPEC;
	set_bitmap(hw, MSR_IA32_SPEC_CTRL, hw->run.flags & VMX_RUN_SAVE_SPEC ? MSR_RW : 0);
}

void vmx_intercept_msr(struct wafer_vcpu *vcpu, u32 msr, bool read, bool write)
{
	u8 open = (read ? 0 : MSR_R) | (write ? 0 : MSR_W);

	if (msr == MSR_IA32_SPEC_CTRL) {
		vcpu->hw->spec_open = open == MSR_RW && boot_cpu_has(X86_FEATURE_MSR_SPEC_CTRL);
		vmx_open_spec_ctrl(vcpu);
		return;
	}
	for (int i = 0; i < ARRAY_SIZE(direct); i++)
		if (direct[i].msr == msr)
			set_bitmap(vcpu->hw, msr, direct[i].may & open);
}

int vmx_vcpu_create(struct wafer_vcpu *vcpu)
{
	static atomic64_t last_id = ATOMIC64_INIT(0);
	struct wafer_hw *hw = alloc_pages_exact(sizeof(*hw), GFP_KERNEL_ACCOUNT | __GFP_ZERO);

	if (!hw)
		return -ENOMEM;
	*(u32 *)hw->vmcs = vmx_rdmsr(MSR_IA32_VMX_BASIC);	/* the revision, and bit 31 is 0 */
	hw->vcpu = vcpu;
	hw->id = atomic64_inc_return(&last_id);
	/* None left, or none in the CPU: then every entry and exit drops what it cached. */
	if (wafer_caps.asids)
		hw->vpid = max(ida_alloc_range(&vpids, 1, wafer_caps.asids, GFP_KERNEL), 0);
	hw->todo = VMX_SWAP_IN;
	hw->last_cpu = -1;
	memset(hw->msr_bitmap, 0xff, sizeof(hw->msr_bitmap));
	vcpu->hw = hw;
	return 0;
}

void vmx_vcpu_free(struct wafer_vcpu *vcpu)
{
	struct wafer_hw *hw = vcpu->hw;

	if (hw->vpid)
		ida_free(&vpids, hw->vpid);
	free_pages_exact(hw, sizeof(*hw));
	vcpu->hw = NULL;
}

/*
 * Fields that keep one value, but for those that start with it; @with: the secondary control that
 * they came with.
 */
static const struct {
	u32 with, field;
	u64 val;
} constants[] = {
	{ 0, PAGE_FAULT_ERROR_CODE_MASK }, { 0, PAGE_FAULT_ERROR_CODE_MATCH },	/* no #PF exits */
	{ 0, CR3_TARGET_COUNT }, { 0, VM_EXIT_MSR_STORE_COUNT }, { 0, VM_EXIT_MSR_LOAD_COUNT },
	{ 0, VM_ENTRY_MSR_LOAD_COUNT }, { 0, VM_ENTRY_INTR_INFO_FIELD }, { 0, TSC_OFFSET },
	{ 0, GUEST_IA32_DEBUGCTL }, { 0, GUEST_PENDING_DBG_EXCEPTIONS }, { 0, HOST_FS_BASE },
	{ 0, GUEST_INTERRUPTIBILITY_INFO }, { 0, GUEST_ACTIVITY_STATE, GUEST_ACTIVITY_ACTIVE },
	{ 0, HOST_DS_SELECTOR }, { 0, HOST_ES_SELECTOR }, { 0, HOST_CS_SELECTOR, __KERNEL_CS },
	{ 0, HOST_FS_SELECTOR }, { 0, HOST_GS_SELECTOR }, { 0, HOST_SS_SELECTOR, __KERNEL_DS },
	{ 0, HOST_TR_SELECTOR, GDT_ENTRY_TSS * 8 }, { 0, VMCS_LINK_POINTER, ~0ull },
	{ PLE, PLE_GAP, PLE_GAP_CYCLES }, { PLE, PLE_WINDOW, PLE_WINDOW_CYCLES },
	{ ENABLE_XSAVES, XSS_EXIT_BITMAP, ~0ull },
	{ SECONDARY_EXEC_ENCLS_EXITING, ENCLS_EXITING_BITMAP, ~0ull },
	{ SECONDARY_EXEC_TSC_SCALING, TSC_MULTIPLIER, BIT_ULL(48) },
};

/*
 * A new VMCS, current on this CPU: everything that the intercepts, the state groups and the host do
 * not write later.
 */
void vmx_init_vmcs(struct wafer_hw *hw)
{
	for (int i = 0; i < ARRAY_SIZE(constants); i++)
		if (!constants[i].with || vmx_conf.secondary_can & constants[i].with)
			vmwrite(constants[i].field, constants[i].val);
	vmwrite(PIN_BASED_VM_EXEC_CONTROL, vmx_conf.pin);
	vmwrite(VM_EXIT_CONTROLS, vmx_conf.exit);
	vmwrite(VM_ENTRY_CONTROLS, vmx_conf.entry);
	vmwrite(MSR_BITMAP, __pa(hw->msr_bitmap));
	vmwrite(HOST_RIP, (unsigned long)wafer_vmx_exit);
	if (wafer_caps.has_tpr_shadow) {
		vmwrite(VIRTUAL_APIC_PAGE_ADDR, __pa(hw->vapic));
		vmwrite(TPR_THRESHOLD, 0);
	}
	if (vmx_conf.exit & VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL) {
		vmwrite(GUEST_IA32_PERF_GLOBAL_CTRL, 0);
		vmwrite(HOST_IA32_PERF_GLOBAL_CTRL, 0);
	}
	if (hw->vpid)
		vmwrite(VIRTUAL_PROCESSOR_ID, hw->vpid);
	if (wafer_caps.has_pml) {
		vmwrite(PML_ADDRESS, __pa(hw->pml));
		vmwrite(GUEST_PML_INDEX, 511);
	}
	vmx_set_root(hw->vcpu, hw->vcpu->fault.mmu->root);
	vmx_own_cr4(hw->vcpu, 0);
}

/* Secondary controls by the guest's CPUID: those that make an instruction work, or let it exit. */
static const struct {
	u32 feature, on, off;
} by_cpuid[] = {
	{ X86_FEATURE_RDTSCP, SECONDARY_EXEC_ENABLE_RDTSCP }, { X86_FEATURE_XSAVES, ENABLE_XSAVES },
	{ X86_FEATURE_RDPID, SECONDARY_EXEC_ENABLE_RDTSCP },
	{ X86_FEATURE_INVPCID, SECONDARY_EXEC_ENABLE_INVPCID },
	{ X86_FEATURE_RDRAND, 0, SECONDARY_EXEC_RDRAND_EXITING },
	{ X86_FEATURE_RDSEED, 0, SECONDARY_EXEC_RDSEED_EXITING },
};

static u32 secondary_for(struct wafer_vcpu *vcpu, u32 bits)
{
	u32 val = vmx_conf.secondary | (vcpu->hw->vpid ? SECONDARY_EXEC_ENABLE_VPID : 0) |
		  (bits & WAFER_ICPT_PAUSE ? PLE : 0);

	for (int i = 0; i < ARRAY_SIZE(by_cpuid); i++)
		if (wafer_guest_has(vcpu, by_cpuid[i].feature))
			val = (val | by_cpuid[i].on) & ~by_cpuid[i].off;
	return val & vmx_conf.secondary_can;
}

/* Primary controls by WAFER_ICPT_*. */
static const struct {
	u32 bit, control;
} by_intercept[] = {
	{ WAFER_ICPT_HLT, CPU_BASED_HLT_EXITING }, { WAFER_ICPT_STEP, CPU_BASED_MONITOR_TRAP_FLAG },
};

static u32 primary_for(struct wafer_vcpu *vcpu, u32 bits)
{
	const u32 cr8 = CPU_BASED_CR8_LOAD_EXITING | CPU_BASED_CR8_STORE_EXITING;
	u32 val = vmx_conf.primary | (vcpu->hw->primary & WINDOWS);

	for (int i = 0; i < ARRAY_SIZE(by_intercept); i++)
		if (bits & by_intercept[i].bit)
			val |= by_intercept[i].control;
		else
			val &= ~by_intercept[i].control;
	if (wafer_caps.has_tpr_shadow && vcpu->lapic && !(bits & WAFER_ICPT_CR8))
		val = (val & ~cr8) | CPU_BASED_TPR_SHADOW;
	return val & vmx_conf.primary_can;
}

/* In the window. */
void vmx_intercept(struct wafer_vcpu *vcpu, u32 bits)
{
	struct wafer_hw *hw = vcpu->hw;
	/* MCE stays as the host has it (state.c); a change of LA57 the core must know (fetch.h). */
	u64 owned = wafer_guest_cr4(vcpu) & ~(u64)(X86_CR4_MCE | X86_CR4_LA57);
	u32 exceptions = ALWAYS | (bits & WAFER_ICPT_BP ? BIT(X86_TRAP_BP) : 0);

	vmwrite_changed(&hw->exceptions, EXCEPTION_BITMAP, exceptions);
	vmwrite_changed(&hw->secondary, SECONDARY_VM_EXEC_CONTROL, secondary_for(vcpu, bits));
	vmwrite_changed(&hw->primary, CPU_BASED_VM_EXEC_CONTROL, primary_for(vcpu, bits));
	hw->todo &= ~VMX_STEP_TF;
	if (bits & WAFER_ICPT_STEP && !(hw->primary & CPU_BASED_MONITOR_TRAP_FLAG))
		hw->todo |= VMX_STEP_TF;
	if (hw->cr4_owned != owned)
		vmx_own_cr4(vcpu, owned);
}

/* In the window. The threshold is written at the entry, when the TPR is known. */
void vmx_windows(struct wafer_vcpu *vcpu, u32 which, u8 tpr)
{
	struct wafer_hw *hw = vcpu->hw;
	u32 primary = (hw->primary & ~WINDOWS) |
		      (which & WAFER_WINDOW_IRQ ? CPU_BASED_INTR_WINDOW_EXITING : 0) |
		      (which & WAFER_WINDOW_NMI ? CPU_BASED_NMI_WINDOW_EXITING : 0);

	vmwrite_changed(&hw->primary, CPU_BASED_VM_EXEC_CONTROL, primary);
	hw->tpr_threshold = tpr & 15;
}
