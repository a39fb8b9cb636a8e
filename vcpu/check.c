// SPDX-License-Identifier: GPL-2.0
/*
 * Is a vCPU's state what the CPU accepts at the entry? SDM vol. 3 §27.3.1 with unrestricted guest, APM vol. 2 §15.5.1:
 * the stricter of the two, so that a guest that runs here runs on the other vendor's CPU too.
 *
 * Run after user space has set state, when registers, segments and events, which may come in any order, are all there.
 */
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "msr.h"

static bool long_mode(const struct wafer_arch *a)
{
	return a->efer & WAFER_EFER_LMA;
}

static bool usable(const struct wafer_segment *s)
{
	return !(s->attr & WAFER_SEG_UNUSABLE);
}

static unsigned int dpl_of(const struct wafer_segment *s)
{
	return (s->attr & WAFER_SEG_DPL) >> WAFER_SEG_DPL_SHIFT;
}

static bool pdptrs_ok(struct wafer_vcpu *vcpu, const struct wafer_arch *a)
{
	u64 reserved = ~(BIT_ULL(wafer_guest_phys_bits(vcpu)) - 1) | 0x1e6;
	int i;

	if (wafer_caps.pdptr_from_memory || !(a->cr0 & X86_CR0_PG) || !(a->cr4 & X86_CR4_PAE) || long_mode(a))
		return true;
	for (i = 0; i < 4; i++)
		if (a->pdptr[i] & 1 && a->pdptr[i] & reserved)
			return false;
	return true;
}

/* §27.3.1.1, §27.3.1.3, §27.3.1.6 */
static const char *bad_register(struct wafer_vcpu *vcpu, const struct wafer_arch *a)
{
	bool active = a->efer & WAFER_EFER_LME && a->cr0 & X86_CR0_PG;

	if (!wafer_cr0_valid(a->cr0))
		return "CR0";
	if (!wafer_cr4_valid(vcpu, a->cr4) || (long_mode(a) ? !(a->cr4 & X86_CR4_PAE) : a->cr4 & X86_CR4_PCIDE))
		return "CR4";
	if (long_mode(a) && a->cr3 >> wafer_guest_phys_bits(vcpu))
		return "CR3";
	if (active != long_mode(a) || a->efer & ~wafer_efer_allowed())
		return "EFER";
	if (!pdptrs_ok(vcpu, a))
		return "PDPTE";
	if (a->dr6 >> 32 || a->dr7 >> 32)
		return "DR6, DR7";
	if (!wafer_pat_valid(a->pat))
		return "PAT";
	if (!wafer_is_canonical(vcpu, a->sysenter_esp) || !wafer_is_canonical(vcpu, a->sysenter_eip))
		return "SYSENTER_ESP, SYSENTER_EIP";
	if (!wafer_is_canonical(vcpu, a->gdt.base) || !wafer_is_canonical(vcpu, a->idt.base))
		return "GDTR, IDTR";
	return NULL;
}

/* §27.3.1.4 */
static const char *bad_flags(struct wafer_vcpu *vcpu, const struct wafer_arch *a)
{
	const u64 reserved = ~GENMASK_ULL(21, 0) | BIT(15) | BIT(5) | BIT(3);

	if (a->rflags & reserved || !(a->rflags & X86_EFLAGS_FIXED) ||
	    (a->rflags & X86_EFLAGS_VM && (long_mode(a) || !(a->cr0 & X86_CR0_PE))) ||
	    (vcpu->reinject.kind == WAFER_EV_EXTINT && !(a->rflags & X86_EFLAGS_IF)))
		return "RFLAGS";
	if (long_mode(a) && a->seg[WAFER_CS].attr & WAFER_SEG_L ? !wafer_is_canonical(vcpu, a->rip) : a->rip >> 32)
		return "RIP";
	return NULL;
}

/* Present and of the right kind. G says how the limit counts: low bits all ones with it, high bits zero without. */
static bool form_ok(const struct wafer_segment *s, u32 system_or_not)
{
	if ((s->attr & (WAFER_SEG_S | WAFER_SEG_P)) != (system_or_not | WAFER_SEG_P))
		return false;
	return s->attr & WAFER_SEG_G ? (s->limit & 0xfff) == 0xfff : !(s->limit >> 20);
}

/* In protected mode a data segment (type 3) in CS is what real mode leaves there. */
static bool cs_ok(const struct wafer_arch *a)
{
	const struct wafer_segment *s = &a->seg[WAFER_CS];
	unsigned int dpl = dpl_of(s), ss_dpl = dpl_of(&a->seg[WAFER_SS]);

	if (!usable(s) || (long_mode(a) && s->attr & WAFER_SEG_L && s->attr & WAFER_SEG_DB))
		return false;
	switch (s->attr & WAFER_SEG_TYPE) {
	case 3:
		return dpl == 0;
	case 9:
	case 11:
		return dpl == ss_dpl;
	case 13:
	case 15:
		return dpl <= ss_dpl;
	}
	return false;
}

static bool ss_ok(const struct wafer_arch *a)
{
	const struct wafer_segment *s = &a->seg[WAFER_SS];
	bool real = !(a->cr0 & X86_CR0_PE) || (a->seg[WAFER_CS].attr & WAFER_SEG_TYPE) == 3;

	return !(real && dpl_of(s)) && (!usable(s) || (s->attr & 0xb) == 3);
}

/* §27.3.1.2, code and data */
static bool segment_ok(struct wafer_vcpu *vcpu, const struct wafer_arch *a, enum wafer_seg_reg n)
{
	const struct wafer_segment *s = &a->seg[n];

	if (a->rflags & X86_EFLAGS_VM)
		return s->base == (u64)s->selector << 4 && s->limit == 0xffff && (s->attr & 0x1ffff) == 0xf3;
	if (n == WAFER_FS || n == WAFER_GS ? !wafer_is_canonical(vcpu, s->base) : usable(s) && s->base >> 32)
		return false;
	if ((n == WAFER_CS && !cs_ok(a)) || (n == WAFER_SS && !ss_ok(a)))
		return false;
	/* Accessed; if it is code, readable, but for CS. */
	if (n != WAFER_CS && usable(s) && (!(s->attr & 1) || (s->attr & 0xa) == 8))
		return false;
	return !usable(s) || form_ok(s, WAFER_SEG_S);
}

static bool system_ok(struct wafer_vcpu *vcpu, const struct wafer_segment *s)
{
	return form_ok(s, 0) && !(s->selector & 4) && wafer_is_canonical(vcpu, s->base);
}

static const char *bad_segment(struct wafer_vcpu *vcpu, const struct wafer_arch *a)
{
	static const char *const names[] = { "ES", "CS", "SS", "DS", "FS", "GS" };
	const struct wafer_segment *tr = &a->seg[WAFER_TR], *ldtr = &a->seg[WAFER_LDTR];
	u32 tr_type = tr->attr & WAFER_SEG_TYPE;
	int n;

	for (n = 0; n < ARRAY_SIZE(names); n++)
		if (!segment_ok(vcpu, a, n))
			return names[n];
	if (!usable(tr) || !system_ok(vcpu, tr) || (tr_type != 11 && (tr_type != 3 || long_mode(a))))
		return "TR";
	if (usable(ldtr) && (!system_ok(vcpu, ldtr) || (ldtr->attr & WAFER_SEG_TYPE) != 2))
		return "LDTR";
	return NULL;
}

/* Which exceptions push an error code is the CPU's to say (SDM vol. 3 table 6-1); in real mode none does. */
static bool error_code_ok(const struct wafer_event *ev, const struct wafer_arch *a)
{
	const u32 with = BIT(X86_TRAP_DF) | BIT(X86_TRAP_TS) | BIT(X86_TRAP_NP) | BIT(X86_TRAP_SS) | BIT(X86_TRAP_GP) |
			 BIT(X86_TRAP_PF) | BIT(X86_TRAP_AC);

	return ev->kind != WAFER_EV_EXCEPTION || !(a->cr0 & X86_CR0_PE) ||
	       ev->has_error == !!(ev->vector < 32 && with & BIT(ev->vector));
}

/* §27.3.1.5, §27.2.1.3. A shadow holds off what is injected from outside; STI's needs IF. */
static const char *bad_event(struct wafer_vcpu *vcpu, const struct wafer_arch *a)
{
	u32 shadow = a->block & (WAFER_BLOCK_STI | WAFER_BLOCK_MOVSS);

	if (shadow == (WAFER_BLOCK_STI | WAFER_BLOCK_MOVSS) ||
	    (shadow == WAFER_BLOCK_STI && !(a->rflags & X86_EFLAGS_IF)) ||
	    (shadow && (vcpu->reinject.kind == WAFER_EV_EXTINT || vcpu->reinject.kind == WAFER_EV_NMI)))
		return "interrupt shadow";
	return error_code_ok(&vcpu->reinject, a) && error_code_ok(&vcpu->pending, a) ? NULL : "exception.has_error_code";
}

/**
 * wafer_check_state() - would the CPU enter with this state?
 * @vcpu: vCPU
 *
 * Context: window or not.
 *
 * Return: NULL, or the name of the first field that is wrong.
 */
const char *wafer_check_state(struct wafer_vcpu *vcpu)
{
	const struct wafer_arch *a = &vcpu->arch;

	wafer_need(vcpu, WAFER_G_ALL);
	return bad_register(vcpu, a) ?: bad_flags(vcpu, a) ?: bad_segment(vcpu, a) ?: bad_event(vcpu, a);
}
