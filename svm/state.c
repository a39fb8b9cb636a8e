// SPDX-License-Identifier: GPL-2.0
/*
 * The guest's registers between struct wafer_arch and the VMCB's state save area.
 *
 * CR4, EFER, PAT and the debug registers never change behind our back: every write of them exits.
 */
#include <asm/processor-flags.h>

#include "svm.h"

/*
 * CD and NW would slow the guest's memory down for real; with nested paging nothing depends on
 * them.
 */
#define CR0_HIDDEN	(X86_CR0_CD | X86_CR0_NW)

/*
 * What the translations depend on (§5.5.2): entries made before a change may not be used after it.
 */
#define CR0_FLUSH	(X86_CR0_PG | X86_CR0_WP)
#define CR4_FLUSH	(X86_CR4_PGE | X86_CR4_PSE | X86_CR4_PAE | X86_CR4_PCIDE | \
			 X86_CR4_SMEP | X86_CR4_SMAP | X86_CR4_LA57)
#define EFER_FLUSH	(WAFER_EFER_NX | WAFER_EFER_LMA)

/* Places in svm_vmcb.seg[]. */
static const u8 place[WAFER_NR_SEGS] = {
	[WAFER_ES] = WAFER_ES, [WAFER_CS] = WAFER_CS, [WAFER_SS] = WAFER_SS, [WAFER_DS] = WAFER_DS,
	[WAFER_FS] = WAFER_FS, [WAFER_GS] = WAFER_GS,
	[WAFER_LDTR] = SVM_SEG_LDTR, [WAFER_TR] = SVM_SEG_TR,
};

/*
 * What the CPU keeps in the hidden part differs from what a VMX guest must have, which is the form
 * that everybody else uses: "unusable" is a clear P bit; the accessed bit of data segments, TR's
 * busy bit and G may be missing; SS.DPL may be anything, the privilege level is the CPL field.
 */
static void read_seg(const struct svm_vmcb *v, enum wafer_seg_reg n, struct wafer_segment *seg)
{
	const struct svm_seg *s = &v->seg[place[n]];
	u32 attr = (s->attr & 0xff) | (s->attr & 0xf00) << 4;

	if (n == WAFER_SS)
		attr = (attr & ~WAFER_SEG_DPL) | (u32)v->cpl << WAFER_SEG_DPL_SHIFT;
	if (n == WAFER_TR)
		attr |= WAFER_SEG_P | 2;
	if (!(attr & WAFER_SEG_P))
		attr = (attr & ~WAFER_SEG_DB) | WAFER_SEG_UNUSABLE;
	else if (n < WAFER_LDTR && n != WAFER_CS)
		attr |= 1;
	/* The CPU may drop G, but a limit from 1 MiB upwards can only have come about with it. */
	if (s->limit > 0xfffff)
		attr |= WAFER_SEG_G;
	seg->base = s->base;
	seg->limit = s->limit;
	seg->selector = s->selector;
	seg->attr = attr;
}

static void write_seg(struct wafer_hw *hw, enum wafer_seg_reg n, const struct wafer_segment *seg)
{
	struct svm_vmcb *v = hw->vmcb;
	struct svm_seg *s = &v->seg[place[n]];
	u32 attr = seg->attr;

	if (attr & WAFER_SEG_UNUSABLE)
		attr &= ~WAFER_SEG_P;
	s->attr = (attr & 0xff) | (attr >> 4 & 0xf00);
	s->base = seg->base;
	s->limit = seg->limit;
	s->selector = seg->selector;
	if (n == WAFER_SS)
		v->cpl = (attr & WAFER_SEG_DPL) >> WAFER_SEG_DPL_SHIFT;
	/* FS, GS, LDTR and TR are loaded by VMLOAD, which caches nothing. */
	if (n <= WAFER_DS)
		hw->dirty |= SVM_DIRTY_SEG;
}

/*
 * One bit stands for the shadows of STI and of MOV SS. Told apart as they matter to whoever takes
 * the state over: STI's shadow without IF is a state that VMX refuses.
 */
static u32 read_block(const struct wafer_hw *hw)
{
	const struct svm_vmcb *v = hw->vmcb;
	u32 block = svm_nmi_blocked(hw) ? WAFER_BLOCK_NMI : 0;

	if (v->int_state & SVM_INTERRUPT_SHADOW)
		block |= v->rflags & X86_EFLAGS_IF ? WAFER_BLOCK_STI : WAFER_BLOCK_MOVSS;
	return block;
}

static void read_msrs(struct wafer_arch *a, const struct svm_vmcb *v, u32 mask)
{
	if (mask & WAFER_G_SYSENTER) {
		a->sysenter_cs = v->sysenter_cs;
		a->sysenter_esp = v->sysenter_esp;
		a->sysenter_eip = v->sysenter_eip;
	}
	if (mask & WAFER_G_SYSCALL) {
		a->star = v->star;
		a->lstar = v->lstar;
		a->cstar = v->cstar;
		a->fmask = v->sfmask;
		a->kernel_gs_base = v->kernel_gs_base;
	}
}

/* Groups that the guest cannot change are in wafer_arch already and never asked for. */
void svm_read_state(struct wafer_vcpu *vcpu, u32 mask)
{
	struct wafer_arch *a = &vcpu->arch;
	struct wafer_hw *hw = vcpu->hw;
	const struct svm_vmcb *v = hw->vmcb;
	int n;

	if (mask & WAFER_G_RIP)
		a->rip = v->rip;
	if (mask & WAFER_G_RSP)
		a->gpr[WAFER_RSP] = v->rsp;
	if (mask & WAFER_G_RFLAGS)
		a->rflags = v->rflags;
	if (mask & WAFER_G_SEGS)
		for (n = 0; n < WAFER_NR_SEGS; n++)
			if (mask & WAFER_G_SEG(n))
				read_seg(v, n, &a->seg[n]);
	if (mask & WAFER_G_CR0)
		a->cr0 = v->cr0 | hw->cr0_hidden;
	if (mask & WAFER_G_CR2)
		a->cr2 = v->cr2;
	if (mask & WAFER_G_CR3)
		a->cr3 = v->cr3;
	if (mask & WAFER_G_BLOCK)
		a->block = read_block(hw);
	if (mask & WAFER_G_DT) {
		a->gdt.base = v->seg[SVM_SEG_GDTR].base;
		a->gdt.limit = v->seg[SVM_SEG_GDTR].limit;
		a->idt.base = v->seg[SVM_SEG_IDTR].base;
		a->idt.limit = v->seg[SVM_SEG_IDTR].limit;
	}
	if (mask & (WAFER_G_SYSENTER | WAFER_G_SYSCALL))
		read_msrs(a, v, mask);
	if (mask & WAFER_G_SPEC)
		a->spec_ctrl = svm_has(SVM_F_V_SPEC_CTRL) ? v->spec_ctrl : hw->spec_guest;
}

/*
 * While the guest has CD or NW set it must not see CR0 as it is: reads exit, and every write.
 * Otherwise reads are native, and so are writes that change TS and MP alone (§15.8.1).
 */
static void set_cr0(struct wafer_vcpu *vcpu, u64 cr0)
{
	struct wafer_hw *hw = vcpu->hw;
	u64 real = (cr0 & ~CR0_HIDDEN) | X86_CR0_ET;

	if ((real ^ hw->vmcb->cr0) & CR0_FLUSH)
		svm_flush_tlb(vcpu);
	hw->vmcb->cr0 = real;
	hw->cr0_hidden = cr0 & CR0_HIDDEN;
	hw->dirty |= SVM_DIRTY_CR;
	svm_icpt(hw, SVM_ICPT_CR_READ + 0, hw->cr0_hidden);
	svm_icpt(hw, SVM_ICPT_CR_WRITE + 0, hw->cr0_hidden);
}

/*
 * With CR4.MCE clear a machine check of the host would shut the guest down instead of exiting
 * (§15.12.18), unless the CPU looks at the host's bit.
 */
static void set_cr4(struct wafer_vcpu *vcpu, u64 cr4)
{
	struct wafer_hw *hw = vcpu->hw;
	u64 real = svm_has(SVM_F_HOST_MCE) ? cr4 : cr4 | X86_CR4_MCE;

	if ((real ^ hw->vmcb->cr4) & CR4_FLUSH)
		svm_flush_tlb(vcpu);
	hw->vmcb->cr4 = real;
	hw->dirty |= SVM_DIRTY_CR;
	svm_icpt(hw, SVM_ICPT_CR_READ + 4, real != cr4);
}

static void write_crs(struct wafer_vcpu *vcpu, u32 mask)
{
	const struct wafer_arch *a = &vcpu->arch;
	struct wafer_hw *hw = vcpu->hw;
	struct svm_vmcb *v = hw->vmcb;

	if (mask & WAFER_G_CR0)
		set_cr0(vcpu, a->cr0);
	if (mask & WAFER_G_CR4)
		set_cr4(vcpu, a->cr4);
	if (mask & WAFER_G_CR3) {
		if (v->cr3 != a->cr3)
			svm_flush_tlb(vcpu);
		v->cr3 = a->cr3;
		hw->dirty |= SVM_DIRTY_CR;
	}
	if (mask & WAFER_G_EFER) {
		if ((v->efer ^ a->efer) & EFER_FLUSH)
			svm_flush_tlb(vcpu);
		v->efer = a->efer | WAFER_EFER_SVME;
		hw->dirty |= SVM_DIRTY_CR;
	}
	if (mask & WAFER_G_CR2) {
		v->cr2 = a->cr2;
		hw->dirty |= SVM_DIRTY_CR2;
	}
}

static void write_msrs(const struct wafer_arch *a, struct svm_vmcb *v, u32 mask)
{
	if (mask & WAFER_G_SYSENTER) {
		v->sysenter_cs = a->sysenter_cs;
		v->sysenter_esp = a->sysenter_esp;
		v->sysenter_eip = a->sysenter_eip;
	}
	if (mask & WAFER_G_SYSCALL) {
		v->star = a->star;
		v->lstar = a->lstar;
		v->cstar = a->cstar;
		v->sfmask = a->fmask;
		v->kernel_gs_base = a->kernel_gs_base;
	}
}

static void write_tables(struct wafer_hw *hw, const struct wafer_arch *a)
{
	struct svm_seg *gdtr = &hw->vmcb->seg[SVM_SEG_GDTR], *idtr = &hw->vmcb->seg[SVM_SEG_IDTR];

	gdtr->base = a->gdt.base;
	gdtr->limit = a->gdt.limit;
	idtr->base = a->idt.base;
	idtr->limit = a->idt.limit;
	hw->dirty |= SVM_DIRTY_DT;
}

static void write_block(struct wafer_hw *hw, u32 block)
{
	bool shadow = block & (WAFER_BLOCK_STI | WAFER_BLOCK_MOVSS);

	hw->vmcb->int_state = shadow ? SVM_INTERRUPT_SHADOW : 0;
	svm_set_nmi_blocked(hw, block & WAFER_BLOCK_NMI);
}

#define COMMON_GROUPS (WAFER_G_RIP | WAFER_G_RSP | WAFER_G_RFLAGS | WAFER_G_BLOCK)

static void write_rare(struct wafer_vcpu *vcpu, u32 mask)
{
	struct wafer_arch *a = &vcpu->arch;
	struct wafer_hw *hw = vcpu->hw;
	struct svm_vmcb *v = hw->vmcb;
	int n;

	for (n = 0; n < WAFER_NR_SEGS; n++)
		if (mask & WAFER_G_SEG(n))
			write_seg(hw, n, &a->seg[n]);
	if (mask & (WAFER_G_CR0 | WAFER_G_CR2 | WAFER_G_CR3 | WAFER_G_CR4 | WAFER_G_EFER))
		write_crs(vcpu, mask);
	if (mask & WAFER_G_DT)
		write_tables(hw, a);
	if (mask & (WAFER_G_SYSENTER | WAFER_G_SYSCALL))
		write_msrs(a, v, mask);
	if (mask & WAFER_G_DR) {
		v->dr7 = a->hw_dr7;
		hw->dirty |= SVM_DIRTY_DR;
	}
	if (mask & WAFER_G_PAT) {
		v->pat = a->pat;
		hw->dirty |= SVM_DIRTY_NP;
	}
	if (mask & WAFER_G_SPEC)
		svm_open_spec_ctrl(vcpu);
}

/* PDPTRs are not held by the CPU: it reads them from memory. */
void svm_write_state(struct wafer_vcpu *vcpu, u32 mask)
{
	struct wafer_arch *a = &vcpu->arch;
	struct svm_vmcb *v = vcpu->hw->vmcb;

	a->dirty &= ~mask;
	if (mask & WAFER_G_RIP)
		v->rip = a->rip;
	if (mask & WAFER_G_RSP)
		v->rsp = a->gpr[WAFER_RSP];
	if (mask & WAFER_G_RFLAGS)
		v->rflags = a->rflags;
	if (mask & WAFER_G_BLOCK)
		write_block(vcpu->hw, a->block);
	if (unlikely(mask & ~COMMON_GROUPS))
		write_rare(vcpu, mask);
}
