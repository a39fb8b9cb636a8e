// SPDX-License-Identifier: GPL-2.0
/*
 * The control area of a vCPU's VMCB: what exits, where the nested table is, time.
 *
 * Everything that can be intercepted is, unless a line here lets it run natively.
 */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <asm/cpufeature.h>
#include <asm/trapnr.h>

#include "svm.h"
#include "vm.h"

/* PAUSE exits after so many that follow each other within so many cycles (§15.14.4). */
#define PAUSE_COUNT	3000
#define PAUSE_THRESHOLD	128

#define IOPM_BYTES	(3 * PAGE_SIZE)
#define MSRPM_ORDER	1

static void *iopm __ro_after_init;	/* all ones: every port exits; shared by all vCPUs */
static atomic64_t serials = ATOMIC64_INIT(0);

#define B(nr) BIT((nr) % 32)

/*
 * What exits from the start. Bits that are missing here are switched at run time (state.c: CR0,
 * CR4; inject.c: VINTR, IRET, CR8; svm_intercept(): the others) or are named in vmcb.h as native.
 */
static const u32 base_intercepts[6] = {
	/*
	 * CR2, CR3 and CR8 run natively, reading CR0 and CR4 mostly. Numbers without a register
	 * give #UD anyway
	 */
	(u32)~(B(SVM_ICPT_CR_READ + 2) | B(SVM_ICPT_CR_READ + 3) | B(SVM_ICPT_CR_READ + 8) |
	       B(SVM_ICPT_CR_WRITE + 2) | B(SVM_ICPT_CR_WRITE + 3) | B(SVM_ICPT_CR_WRITE + 8)),
	~0u,
	/*
	 * #DB and #AC can be made to follow themselves for ever: every one exits (CVE-2015-5307,
	 * CVE-2015-8104)
	 */
	BIT(X86_TRAP_DB) | BIT(X86_TRAP_UD) | BIT(X86_TRAP_AC) | BIT(X86_TRAP_MC),
	B(SVM_ICPT_INTR) | B(SVM_ICPT_NMI) | B(SVM_ICPT_SMI) | B(SVM_ICPT_INIT) |
	B(SVM_ICPT_CR0_SEL_WRITE) | B(SVM_ICPT_RDPMC) | B(SVM_ICPT_CPUID) | B(SVM_ICPT_RSM) |
	B(SVM_ICPT_INVD) | B(SVM_ICPT_HLT) | B(SVM_ICPT_INVLPGA) | B(SVM_ICPT_IOIO) |
	B(SVM_ICPT_MSR) | B(SVM_ICPT_TASK_SWITCH) | B(SVM_ICPT_SHUTDOWN),
	B(SVM_ICPT_VMRUN) | B(SVM_ICPT_VMMCALL) | B(SVM_ICPT_VMLOAD) | B(SVM_ICPT_VMSAVE) |
	B(SVM_ICPT_STGI) | B(SVM_ICPT_CLGI) | B(SVM_ICPT_SKINIT) | B(SVM_ICPT_WBINVD) |
	B(SVM_ICPT_MONITOR) | B(SVM_ICPT_MWAIT) | B(SVM_ICPT_MWAIT_ARMED) |
	B(SVM_ICPT_XSETBV) | B(SVM_ICPT_RDPRU),
	B(SVM_ICPT_INVLPGB) | B(SVM_ICPT_INVLPGB_ILLEGAL) | B(SVM_ICPT_MCOMMIT) |
	B(SVM_ICPT_TLBSYNC),
};

/*
 * MSRs that may be direct: VMRUN, VMLOAD and VMSAVE switch them, or enter.S does, or writing them
 * is a command. All others exit, whatever is asked for. @open: from the start.
 */
#define MAY_RD	BIT(0)
#define MAY_WR	BIT(1)
#define MAY_RW	(MAY_RD | MAY_WR)
static const struct {
	u32 msr;
	u8 may, open;
} direct[] = {
	{ MSR_FS_BASE,		MAY_RW,	MAY_RW },
	{ MSR_GS_BASE,		MAY_RW,	MAY_RW },
	{ MSR_KERNEL_GS_BASE,	MAY_RW,	MAY_RW },
	{ MSR_STAR,		MAY_RW,	MAY_RW },
	{ MSR_LSTAR,		MAY_RW,	MAY_RW },
	{ MSR_CSTAR,		MAY_RW,	MAY_RW },
	{ MSR_SYSCALL_MASK,	MAY_RW,	MAY_RW },
	{ MSR_IA32_SYSENTER_CS,	MAY_RW,	MAY_RW },
	{ MSR_IA32_SYSENTER_ESP, MAY_RW,	MAY_RW },
	{ MSR_IA32_SYSENTER_EIP, MAY_RW,	MAY_RW },
	{ MSR_IA32_SPEC_CTRL,	MAY_RW,	0 },
	{ MSR_IA32_PRED_CMD,	MAY_WR,	0 },
};

/* Two bits for each MSR, read and write, in three ranges of 8192 (§15.11). A set bit exits. */
static void set_msrpm(struct wafer_hw *hw, u32 msr, u8 open)
{
	unsigned int range = msr >= 0xc0010000 ? 2 : msr >= 0xc0000000 ? 1 : 0;
	unsigned int bit = (range * 8192 + (msr & 0x1fff)) * 2;

	__assign_bit(bit, hw->msrpm, !(open & MAY_RD));
	__assign_bit(bit + 1, hw->msrpm, !(open & MAY_WR));
	hw->dirty |= SVM_DIRTY_MAPS;
}

int svm_iopm_create(void)
{
	iopm = alloc_pages_exact(IOPM_BYTES, GFP_KERNEL);
	if (!iopm)
		return -ENOMEM;
	memset(iopm, 0xff, IOPM_BYTES);
	return 0;
}

void svm_iopm_free(void)
{
	free_pages_exact(iopm, IOPM_BYTES);
}

static void init_vmcb(struct wafer_vcpu *vcpu)
{
	struct wafer_hw *hw = vcpu->hw;
	struct svm_vmcb *v = hw->vmcb;
	int i;

	memcpy(v->icpt, base_intercepts, sizeof(v->icpt));
	v->iopm = __pa(iopm);
	v->msrpm = __pa(hw->msrpm);
	v->np_ctl = SVM_NP_ENABLE;
	v->ncr3 = vcpu->vm->mmu.root;
	v->int_ctl = SVM_V_INTR_MASKING | (svm_has(SVM_F_VNMI) ? SVM_V_NMI_ENABLE : 0);
	if (svm_has(SVM_F_PAUSE))
		v->pause_count = PAUSE_COUNT;
	if (svm_has(SVM_F_PAUSE_THRESHOLD))
		v->pause_threshold = PAUSE_THRESHOLD;
	v->dr6 = SVM_DR6_NONE;
	memset(hw->msrpm, 0xff, PAGE_SIZE << MSRPM_ORDER);
	for (i = 0; i < ARRAY_SIZE(direct); i++)
		set_msrpm(hw, direct[i].msr, direct[i].open);
	hw->dirty = SVM_DIRTY_ALL;
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
	hw->guest_groups = WAFER_G_SEGS | WAFER_G_RIP | WAFER_G_RSP | WAFER_G_RFLAGS | WAFER_G_CR0 |
			   WAFER_G_CR2 | WAFER_G_CR3 | WAFER_G_DT | WAFER_G_BLOCK |
			   WAFER_G_SYSENTER | WAFER_G_SYSCALL;
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
	vcpu->hw->dirty |= SVM_DIRTY_NP;
	svm_flush_tlb(vcpu);
}

/* Takes effect at the next entry; see the table over svm_new_asid(). */
void svm_flush_tlb(struct wafer_vcpu *vcpu)
{
	struct wafer_hw *hw = vcpu->hw;

	if (svm_has(SVM_F_FLUSH_ASID))
		hw->vmcb->tlb_control = SVM_TLB_FLUSH_ASID;
	else
		hw->asid_due = true;
}

/*
 * SPEC_CTRL becomes direct with the first value that is not 0: until then most guests never touch
 * it, and reading it back at each exit is dear. Where the CPU keeps the guest's value apart
 * (V_SPEC_CTRL) it costs nothing.
 */
void svm_open_spec_ctrl(struct wafer_vcpu *vcpu)
{
	struct wafer_hw *hw = vcpu->hw;
	bool virtual = svm_has(SVM_F_V_SPEC_CTRL), open;

	open = hw->spec_open && (virtual || vcpu->arch.spec_ctrl || hw->spec_direct);
	if (virtual)
		hw->vmcb->spec_ctrl = vcpu->arch.spec_ctrl;
	else if (boot_cpu_has(X86_FEATURE_MSR_SPEC_CTRL))
		hw->spec_guest = vcpu->arch.spec_ctrl;
	hw->spec_direct = open && !virtual;
	if (open)
		hw->guest_groups |= WAFER_G_SPEC;
	else
		hw->guest_groups &= ~WAFER_G_SPEC;
	set_msrpm(hw, MSR_IA32_SPEC_CTRL, open ? MAY_RW : 0);
}

void svm_intercept_msr(struct wafer_vcpu *vcpu, u32 msr, bool read, bool write)
{
	u8 open = (read ? 0 : MAY_RD) | (write ? 0 : MAY_WR);
	int i;

	if (msr == MSR_IA32_SPEC_CTRL) {
		wafer_need(vcpu, WAFER_G_SPEC);
		vcpu->hw->spec_open = !read && !write && boot_cpu_has(X86_FEATURE_MSR_SPEC_CTRL);
		svm_open_spec_ctrl(vcpu);
		return;
	}
	for (i = 0; i < ARRAY_SIZE(direct); i++)
		if (direct[i].msr == msr)
			set_msrpm(vcpu->hw, msr, direct[i].may & open);
}

/* Which intercepts each bit of svm_intercept() stands for. */
static const struct {
	u16 wanted;
	u8 icpt;
} switched[] = {
	{ WAFER_ICPT_BP,	SVM_ICPT_EXCEPTION + X86_TRAP_BP },
	{ WAFER_ICPT_GP,	SVM_ICPT_EXCEPTION + X86_TRAP_GP },
	{ WAFER_ICPT_HLT,	SVM_ICPT_HLT },
	{ WAFER_ICPT_MWAIT,	SVM_ICPT_MONITOR },
	{ WAFER_ICPT_MWAIT,	SVM_ICPT_MWAIT },
	{ WAFER_ICPT_MWAIT,	SVM_ICPT_MWAIT_ARMED },
	{ WAFER_ICPT_RDTSC,	SVM_ICPT_RDTSC },
	{ WAFER_ICPT_RDTSC,	SVM_ICPT_RDTSCP },
};

/* MOV DR and #DB always exit: WAFER_ICPT_DR and WAFER_ICPT_DB ask for what is there. */
void svm_intercept(struct wafer_vcpu *vcpu, u32 bits)
{
	struct wafer_hw *hw = vcpu->hw;
	int i;

	for (i = 0; i < ARRAY_SIZE(switched); i++)
		svm_icpt(hw, switched[i].icpt, bits & switched[i].wanted);
	/* Without the filter every PAUSE would exit. */
	svm_icpt(hw, SVM_ICPT_PAUSE, bits & WAFER_ICPT_PAUSE && svm_has(SVM_F_PAUSE));
	hw->icpt_cr8 = bits & WAFER_ICPT_CR8;
	svm_icpt(hw, SVM_ICPT_CR_WRITE + 8, hw->icpt_cr8 || hw->tpr);
	if (bits & WAFER_ICPT_STEP)
		hw->watch |= SVM_WATCH_STEP;
	else
		hw->watch &= ~SVM_WATCH_STEP;
}

void svm_set_tsc(struct wafer_vcpu *vcpu, u64 offset, u64 ratio)
{
	struct wafer_hw *hw = vcpu->hw;

	hw->vmcb->tsc_offset = offset;
	hw->dirty |= SVM_DIRTY_ICPT;
	/* The upper 24 bits of the MSR are reserved. */
	hw->tsc_ratio = ratio && !(ratio >> 40) ? ratio : SVM_TSC_RATIO_ONE;
	svm_load_tsc_ratio(hw);
}
