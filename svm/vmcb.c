// SPDX-License-Identifier: GPL-2.0
/* The control area of a vCPU's VMCB: what exits, where the nested table is, time. */
#include "svm.h"

/* PAUSE exits after so many that follow each other within so many cycles (§15.14.4). */
#define PAUSE_COUNT	3000
#define PAUSE_THRESHOLD	128

#define MSRPM_ORDER	1

static atomic64_t serials = ATOMIC64_INIT(0);

/*
 * MSRs that may be direct, and are so from the start: VMRUN, VMLOAD and VMSAVE switch them.
 * SPEC_CTRL, which enter.S switches, and PRED_CMD, writing which is a command, join them when they
 * are asked for. All others exit.
 */
static const u32 direct[] = {
	MSR_FS_BASE, MSR_GS_BASE, MSR_KERNEL_GS_BASE,
	MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SYSCALL_MASK,
	MSR_IA32_SYSENTER_CS, MSR_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_EIP, MSR_IA32_PRED_CMD,
};

/* Two bits for each MSR, read and write, in three ranges of 8192 (§15.11). A set bit exits. */
static void set_msrpm(struct wafer_hw *hw, u32 msr, bool read, bool write)
{
	unsigned int range = msr >= 0xc0010000 ? 2 : msr >= 0xc0000000 ? 1 : 0;
	unsigned int bit = (range * 8192 + (msr & 0x1fff)) * 2;

	__assign_bit(bit, hw->msrpm, read || msr == MSR_IA32_PRED_CMD);
	__assign_bit(bit + 1, hw->msrpm, write);
	hw->vmcb->clean &= ~SVM_CLEAN_MAPS;
}

static void init_vmcb(struct wafer_vcpu *vcpu)
{
	struct wafer_hw *hw = vcpu->hw;
	struct svm_vmcb *v = hw->vmcb;

	memcpy(v->icpt, svm_first_icpt, sizeof(v->icpt));
	v->iopm = __pa(svm_iopm);
	v->msrpm = __pa(hw->msrpm);
	v->np_ctl = SVM_NP_ENABLE;
	v->ncr3 = vcpu->vm->mmu.root;
	v->int_ctl = SVM_V_INTR_MASKING | (svm_has(VNMI) ? SVM_V_NMI_ENABLE : 0);
	v->pause_count = svm_has(PAUSE) ? PAUSE_COUNT : 0;
	v->pause_threshold = svm_has(PAUSE_THRESHOLD) ? PAUSE_THRESHOLD : 0;
	v->dr6 = SVM_DR6_NONE;
	memset(hw->msrpm, 0xff, PAGE_SIZE << MSRPM_ORDER);
	for (int i = 0; i < ARRAY_SIZE(direct); i++)
		set_msrpm(hw, direct[i], false, direct[i] == MSR_IA32_PRED_CMD);
}

int svm_vcpu_create(struct wafer_vcpu *vcpu)
{
	struct wafer_hw *hw = kzalloc(sizeof(*hw), GFP_KERNEL_ACCOUNT);

	if (!hw)
		return -ENOMEM;
	hw->vmcb = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	hw->msrpm = (void *)__get_free_pages(GFP_KERNEL_ACCOUNT, MSRPM_ORDER);
	vcpu->hw = hw;
	if (!hw->vmcb || !hw->msrpm) {
		svm_vcpu_free(vcpu);
		return -ENOMEM;
	}
	hw->vmcb_pa = __pa(hw->vmcb);
	hw->serial = atomic64_inc_return(&serials);
	hw->tsc_ratio = SVM_TSC_RATIO_ONE;
	hw->guest_groups = WAFER_G_SEGS | WAFER_G_CR0 | WAFER_G_CR2 | WAFER_G_DT |
			   WAFER_G_SYSENTER | WAFER_G_SYSCALL |
			   (svm_has(NRIPS) ? WAFER_G_CODE : 0);
	init_vmcb(vcpu);
	return 0;
}

void svm_vcpu_free(struct wafer_vcpu *vcpu)
{
	struct wafer_hw *hw = vcpu->hw;

	free_pages((unsigned long)hw->msrpm, MSRPM_ORDER);
	free_page((unsigned long)hw->vmcb);
	kfree(hw);
	vcpu->hw = NULL;
}

void svm_set_root(struct wafer_vcpu *vcpu, hpa_t root)
{
	vcpu->hw->vmcb->ncr3 = root;
	vcpu->hw->vmcb->clean &= ~SVM_CLEAN_NP;
	svm_flush_tlb(vcpu);
}

/* Takes effect at the next entry; see the table over svm_new_asid(). */
void svm_flush_tlb(struct wafer_vcpu *vcpu)
{
	struct wafer_hw *hw = vcpu->hw;

	if (svm_has(FLUSH_ASID))
		hw->vmcb->tlb_control = SVM_TLB_FLUSH_ASID;
	else
		hw->asid_due = true;
}

/*
 * SPEC_CTRL becomes direct with the first value that is not 0: until then most guests never touch
 * it, and reading it back at each exit is dear. Where the CPU keeps the guest's value apart it
 * costs nothing.
 */
void svm_open_spec_ctrl(struct wafer_vcpu *vcpu)
{
	struct wafer_hw *hw = vcpu->hw;
	bool virtual = svm_virtual_spec(), open;

	open = hw->spec_open && (virtual || vcpu->arch.spec_ctrl || hw->spec_direct);
	if (virtual)
		hw->vmcb->spec_ctrl = vcpu->arch.spec_ctrl;
	else if (static_cpu_has(X86_FEATURE_MSR_SPEC_CTRL))
		hw->spec_guest = vcpu->arch.spec_ctrl;
	hw->spec_direct = open && !virtual;
	if (open)
		hw->guest_groups |= WAFER_G_SPEC;
	else
		hw->guest_groups &= ~WAFER_G_SPEC;
	set_msrpm(hw, MSR_IA32_SPEC_CTRL, !open, !open);
}

void svm_intercept_msr(struct wafer_vcpu *vcpu, u32 msr, bool read, bool write)
{
	if (msr == MSR_IA32_SPEC_CTRL) {
		wafer_need(vcpu, WAFER_G_SPEC);
		vcpu->hw->spec_open = !read && !write && boot_cpu_has(X86_FEATURE_MSR_SPEC_CTRL);
		svm_open_spec_ctrl(vcpu);
	}
	for (int i = 0; i < ARRAY_SIZE(direct); i++)
		if (direct[i] == msr)
			set_msrpm(vcpu->hw, msr, read, write);
}

/* MOV DR and #DB always exit. */
void svm_intercept(struct wafer_vcpu *vcpu, u32 bits)
{
	struct wafer_hw *hw = vcpu->hw;

	svm_icpt(hw, SVM_EXCEPTION + X86_TRAP_BP, bits & WAFER_ICPT_BP);
	svm_icpt(hw, SVM_HLT, bits & WAFER_ICPT_HLT);
	/* Without the filter every PAUSE would exit. */
	svm_icpt(hw, SVM_PAUSE, bits & WAFER_ICPT_PAUSE && svm_has(PAUSE));
	svm_icpt(hw, SVM_CR_WRITE + 8,
		 bits & WAFER_ICPT_CR8 || vcpu->tpr_threshold || hw->vmcb->int_ctl & SVM_V_IRQ);
	svm_watch(hw, SVM_WATCH_STEP, bits & WAFER_ICPT_STEP);
	/* #UD where the guest's CPUID has them not; RDPID cannot be intercepted. */
	svm_icpt(hw, SVM_RDTSCP, !wafer_guest_has(vcpu, X86_FEATURE_RDTSCP));
	svm_icpt(hw, SVM_INVPCID, !wafer_guest_has(vcpu, X86_FEATURE_INVPCID));
}

void svm_set_tsc(struct wafer_vcpu *vcpu, u64 offset, u64 ratio)
{
	struct wafer_hw *hw = vcpu->hw;

	hw->vmcb->tsc_offset = offset;
	hw->vmcb->clean &= ~SVM_CLEAN_ICPT;
	/* The upper 24 bits of the MSR are reserved. */
	hw->tsc_ratio = ratio && !(ratio >> 40) ? ratio : SVM_TSC_RATIO_ONE;
	svm_load_tsc_ratio(hw);
}
