// SPDX-License-Identifier: GPL-2.0
/*
 * The guest's registers between struct wafer_arch and the VMCB's state save area.
 *
 * What most exits need comes across at every exit (svm_enter()): RIP, RSP, RFLAGS, RAX, CR3 and
 * what blocks events. CR4, EFER, PAT and the debug registers never change behind our back: every
 * write of them exits.
 */
#include "svm.h"

/*
 * CD and NW would slow the guest's memory down for real; with nested paging nothing depends on
 * them.
 */
#define CR0_HIDDEN	(X86_CR0_CD | X86_CR0_NW)

/*
 * Registers of eight bytes. @flush: bits of which translations depend (§5.5.2): those from before
 * do not hold after.
 */
#define ROW(g, v, a, ...) \
	{ WAFER_G_##g, offsetof(struct svm_vmcb, v), offsetof(struct wafer_arch, a), ##__VA_ARGS__ }
static const struct row {
	u32 group;
	u16 vmcb, arch;
	u32 clean;
	u64 flush;
} rows[] = {
	ROW(RSP, rsp, gpr[WAFER_RSP]), ROW(RFLAGS, rflags, rflags),
	ROW(CR0, cr0, cr0, SVM_CLEAN_CR, X86_CR0_PG | X86_CR0_WP),
	ROW(CR3, cr3, cr3, SVM_CLEAN_CR, ~0ull),
	ROW(CR4, cr4, cr4, SVM_CLEAN_CR, X86_CR4_PGE | X86_CR4_PSE | X86_CR4_PAE | X86_CR4_PCIDE |
					 X86_CR4_SMEP | X86_CR4_SMAP | X86_CR4_LA57),
	ROW(EFER, efer, efer, SVM_CLEAN_CR, WAFER_EFER_NX | WAFER_EFER_LMA),
	ROW(CR2, cr2, cr2, SVM_CLEAN_CR2), ROW(DR, dr7, hw_dr7, SVM_CLEAN_DR),
	ROW(PAT, pat, pat, SVM_CLEAN_NP),
	ROW(DT, seg[SVM_SEG_GDTR].base, gdt.base, SVM_CLEAN_DT),
	ROW(DT, seg[SVM_SEG_IDTR].base, idt.base, SVM_CLEAN_DT),
	ROW(SYSENTER, sysenter_cs, sysenter_cs), ROW(SYSENTER, sysenter_esp, sysenter_esp),
	ROW(SYSENTER, sysenter_eip, sysenter_eip), ROW(SYSCALL, kernel_gs_base, kernel_gs_base),
	ROW(SYSCALL, star, star), ROW(SYSCALL, lstar, lstar),
	ROW(SYSCALL, cstar, cstar), ROW(SYSCALL, sfmask, fmask),
};

static struct svm_seg *place(struct svm_vmcb *v, enum wafer_seg_reg n)
{
	return &v->seg[n == WAFER_LDTR ? SVM_SEG_LDTR : n == WAFER_TR ? SVM_SEG_TR : n];
}

/*
 * What the CPU keeps in the hidden part differs from what a VMX guest must have, which is the form
 * that everybody else uses: "unusable" is a clear P bit; the accessed bit of data segments, TR's
 * busy bit and G may be missing; SS.DPL may be anything, the privilege level is the CPL field.
 */
static void read_seg(struct svm_vmcb *v, enum wafer_seg_reg n, struct wafer_segment *seg)
{
	const struct svm_seg *s = place(v, n);
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
	*seg = (struct wafer_segment){ s->base, s->limit, attr, s->selector };
}

static void write_seg(struct svm_vmcb *v, enum wafer_seg_reg n, const struct wafer_segment *seg)
{
	u32 attr = seg->attr & WAFER_SEG_UNUSABLE ? seg->attr & ~WAFER_SEG_P : seg->attr;

	*place(v, n) = (struct svm_seg){
		seg->selector, (attr & 0xff) | (attr >> 4 & 0xf00), seg->limit, seg->base,
	};
	if (n == WAFER_SS)
		v->cpl = (attr & WAFER_SEG_DPL) >> WAFER_SEG_DPL_SHIFT;
}

/* Groups that the guest cannot change are in wafer_arch already and never asked for. */
void svm_read_state(struct wafer_vcpu *vcpu, u32 mask)
{
	struct wafer_arch *a = &vcpu->arch;
	struct svm_vmcb *v = vcpu->hw->vmcb;

	a->missing &= ~mask;
	for (u32 segs = mask & WAFER_G_SEGS; segs; segs &= segs - 1)
		read_seg(v, __ffs(segs), &a->seg[__ffs(segs)]);
	if (!(mask & ~WAFER_G_SEGS))
		return;
	for (const struct row *r = rows; r < rows + ARRAY_SIZE(rows); r++)
		if (mask & r->group)
			*(u64 *)((void *)a + r->arch) = *(u64 *)((void *)v + r->vmcb);
	if (mask & WAFER_G_CODE)
		svm_read_code(vcpu, v);
	if (mask & WAFER_G_CR0)
		a->cr0 |= vcpu->hw->cr0_hidden;
	if (mask & WAFER_G_DT) {
		a->gdt.limit = v->seg[SVM_SEG_GDTR].limit;
		a->idt.limit = v->seg[SVM_SEG_IDTR].limit;
	}
	if (mask & WAFER_G_SPEC)
		a->spec_ctrl = svm_virtual_spec() ? v->spec_ctrl : vcpu->hw->spec_guest;
}

/*
 * CR4: with MCE clear a machine check of the host would shut the guest down instead of exiting
 * (§15.12.18), unless the CPU looks at the host's bit.
 */
static u64 in_the_cpu(u32 group, u64 val)
{
	switch (group) {
	case WAFER_G_CR0:
		return (val & ~CR0_HIDDEN) | X86_CR0_ET;
	case WAFER_G_CR4:
		return svm_has(HOST_MCE) ? val : val | X86_CR4_MCE;
	case WAFER_G_EFER:
		return val | WAFER_EFER_SVME;
	}
	return val;
}

/* PDPTRs are not held by the CPU: it reads them from memory. */
void svm_write_state(struct wafer_vcpu *vcpu, u32 mask)
{
	struct wafer_arch *a = &vcpu->arch;
	struct wafer_hw *hw = vcpu->hw;
	struct svm_vmcb *v = hw->vmcb;
	u64 *to, val;

	for (u32 segs = mask & WAFER_G_SEGS; segs; segs &= segs - 1)
		write_seg(v, __ffs(segs), &a->seg[__ffs(segs)]);
	/* FS, GS, LDTR and TR are loaded by VMLOAD, which caches nothing. */
	if (mask & (WAFER_G_SEG(WAFER_ES) | WAFER_G_SEG(WAFER_CS) |
		    WAFER_G_SEG(WAFER_SS) | WAFER_G_SEG(WAFER_DS)))
		v->clean &= ~SVM_CLEAN_SEG;
	for (const struct row *r = rows; r < rows + ARRAY_SIZE(rows); r++) {
		if (!(mask & r->group))
			continue;
		to = (void *)v + r->vmcb;
		val = in_the_cpu(r->group, *(u64 *)((void *)a + r->arch));
		if ((*to ^ val) & r->flush)
			svm_flush_tlb(vcpu);
		*to = val;
		v->clean &= ~r->clean;
	}
	if (mask & WAFER_G_DT) {
		v->seg[SVM_SEG_GDTR].limit = a->gdt.limit;
		v->seg[SVM_SEG_IDTR].limit = a->idt.limit;
	}
	/*
	 * While the guest has CD or NW set it must not see CR0 as it is: reads exit, and every
	 * write. Otherwise reads are native, and so are writes that change TS and MP alone
	 * (§15.8.1).
	 */
	if (mask & WAFER_G_CR0) {
		hw->cr0_hidden = a->cr0 & CR0_HIDDEN;
		svm_icpt(hw, SVM_CR_READ + 0, hw->cr0_hidden);
		svm_icpt(hw, SVM_CR_WRITE + 0, hw->cr0_hidden);
	}
	if (mask & WAFER_G_CR4)
		svm_icpt(hw, SVM_CR_READ + 4, v->cr4 != a->cr4);
	if (mask & WAFER_G_SYSCALL)
		svm_load_tsc_aux(a->tsc_aux);
	if (mask & WAFER_G_SPEC)
		svm_open_spec_ctrl(vcpu);
	if (mask & WAFER_G_BLOCK)
		svm_write_block(vcpu);
}
