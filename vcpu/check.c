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

typedef bool (*rule)(struct wafer_vcpu *vcpu, const struct wafer_arch *a);

static bool long_mode(const struct wafer_arch *a)
{
	return a->efer & WAFER_EFER_LMA;
}

static bool usable(const struct wafer_segment *s)
{
	return !(s->attr & WAFER_SEG_UNUSABLE);
}

static unsigned int type_of(const struct wafer_segment *s)
{
	return s->attr & WAFER_SEG_TYPE;
}

static unsigned int dpl_of(const struct wafer_segment *s)
{
	return (s->attr & WAFER_SEG_DPL) >> WAFER_SEG_DPL_SHIFT;
}

static bool v86(const struct wafer_arch *a)
{
	return a->rflags & X86_EFLAGS_VM;
}

/* ---- control registers ---- */

static bool cr0_ok(struct wafer_vcpu *vcpu, const struct wafer_arch *a)
{
	return wafer_cr0_valid(a->cr0);
}

static bool cr3_ok(struct wafer_vcpu *vcpu, const struct wafer_arch *a)
{
	return !(a->cr3 >> wafer_guest_phys_bits(vcpu)) || !long_mode(a);
}

static bool cr4_ok(struct wafer_vcpu *vcpu, const struct wafer_arch *a)
{
	return wafer_cr4_valid(vcpu, a->cr4) && (long_mode(a) ? a->cr4 & X86_CR4_PAE : !(a->cr4 & X86_CR4_PCIDE));
}

static bool efer_ok(struct wafer_vcpu *vcpu, const struct wafer_arch *a)
{
	bool active = a->efer & WAFER_EFER_LME && a->cr0 & X86_CR0_PG;

	return active == long_mode(a) && !(a->efer & ~wafer_efer_allowed());
}

static bool pdptr_ok(struct wafer_vcpu *vcpu, const struct wafer_arch *a)
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

static bool dr6_ok(struct wafer_vcpu *vcpu, const struct wafer_arch *a)
{
	return !(a->dr6 >> 32);
}

static bool dr7_ok(struct wafer_vcpu *vcpu, const struct wafer_arch *a)
{
	return !(a->dr7 >> 32);
}

static bool pat_ok(struct wafer_vcpu *vcpu, const struct wafer_arch *a)
{
	return wafer_pat_valid(a->pat);
}

static bool sysenter_ok(struct wafer_vcpu *vcpu, const struct wafer_arch *a)
{
	return wafer_is_canonical(vcpu, a->sysenter_esp) && wafer_is_canonical(vcpu, a->sysenter_eip);
}

static bool tables_ok(struct wafer_vcpu *vcpu, const struct wafer_arch *a)
{
	return wafer_is_canonical(vcpu, a->gdt.base) && wafer_is_canonical(vcpu, a->idt.base);
}

/* ---- RIP, RFLAGS ---- */

static bool rip_ok(struct wafer_vcpu *vcpu, const struct wafer_arch *a)
{
	if (long_mode(a) && a->seg[WAFER_CS].attr & WAFER_SEG_L)
		return wafer_is_canonical(vcpu, a->rip);
	return !(a->rip >> 32);
}

static bool rflags_ok(struct wafer_vcpu *vcpu, const struct wafer_arch *a)
{
	const u64 reserved = ~GENMASK_ULL(21, 0) | BIT(15) | BIT(5) | BIT(3);

	if (a->rflags & reserved || !(a->rflags & X86_EFLAGS_FIXED))
		return false;
	if (v86(a) && (long_mode(a) || !(a->cr0 & X86_CR0_PE)))
		return false;
	return a->rflags & X86_EFLAGS_IF || vcpu->reinject.kind != WAFER_EV_EXTINT;
}

/* ---- segments (§27.3.1.2) ---- */

/* G says how the limit counts: low bits all ones with it, high bits zero without. */
static bool limit_ok(const struct wafer_segment *s)
{
	if ((s->limit & 0xfff) != 0xfff && s->attr & WAFER_SEG_G)
		return false;
	return !(s->limit & 0xfff00000) || s->attr & WAFER_SEG_G;
}

static bool v86_segment_ok(const struct wafer_segment *s)
{
	return s->base == (u64)s->selector << 4 && s->limit == 0xffff && (s->attr & 0x1ffff) == 0xf3;
}

static bool code_data_ok(const struct wafer_segment *s)
{
	return s->attr & WAFER_SEG_S && s->attr & WAFER_SEG_P && limit_ok(s);
}

/* In protected mode a data segment (type 3) in CS is what real mode leaves there. */
static bool cs_ok(struct wafer_vcpu *vcpu, const struct wafer_arch *a)
{
	const struct wafer_segment *s = &a->seg[WAFER_CS];
	unsigned int dpl = dpl_of(s), ss_dpl = dpl_of(&a->seg[WAFER_SS]);

	if (v86(a))
		return v86_segment_ok(s);
	if (!usable(s) || !code_data_ok(s) || s->base >> 32)
		return false;
	if (long_mode(a) && s->attr & WAFER_SEG_L && s->attr & WAFER_SEG_DB)
		return false;
	switch (type_of(s)) {
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

static bool ss_ok(struct wafer_vcpu *vcpu, const struct wafer_arch *a)
{
	const struct wafer_segment *s = &a->seg[WAFER_SS];

	if (v86(a))
		return v86_segment_ok(s);
	if ((!(a->cr0 & X86_CR0_PE) || type_of(&a->seg[WAFER_CS]) == 3) && dpl_of(s))
		return false;
	if (!usable(s))
		return true;
	return code_data_ok(s) && (type_of(s) == 3 || type_of(s) == 7) && !(s->base >> 32);
}

static bool data_ok(const struct wafer_arch *a, enum wafer_seg_reg n)
{
	const struct wafer_segment *s = &a->seg[n];

	if (v86(a))
		return v86_segment_ok(s);
	if (!usable(s))
		return true;
	/* Accessed; if it is code, readable. */
	if (!(type_of(s) & 1) || (type_of(s) & 8 && !(type_of(s) & 2)))
		return false;
	return code_data_ok(s);
}

static bool ds_ok(struct wafer_vcpu *vcpu, const struct wafer_arch *a)
{
	return data_ok(a, WAFER_DS) && (!usable(&a->seg[WAFER_DS]) || !(a->seg[WAFER_DS].base >> 32));
}

static bool es_ok(struct wafer_vcpu *vcpu, const struct wafer_arch *a)
{
	return data_ok(a, WAFER_ES) && (!usable(&a->seg[WAFER_ES]) || !(a->seg[WAFER_ES].base >> 32));
}

static bool fs_ok(struct wafer_vcpu *vcpu, const struct wafer_arch *a)
{
	return data_ok(a, WAFER_FS) && wafer_is_canonical(vcpu, a->seg[WAFER_FS].base);
}

static bool gs_ok(struct wafer_vcpu *vcpu, const struct wafer_arch *a)
{
	return data_ok(a, WAFER_GS) && wafer_is_canonical(vcpu, a->seg[WAFER_GS].base);
}

static bool system_segment_ok(struct wafer_vcpu *vcpu, const struct wafer_segment *s)
{
	return !(s->attr & WAFER_SEG_S) && s->attr & WAFER_SEG_P && limit_ok(s) && !(s->selector & 4) &&
	       wafer_is_canonical(vcpu, s->base);
}

static bool tr_ok(struct wafer_vcpu *vcpu, const struct wafer_arch *a)
{
	const struct wafer_segment *s = &a->seg[WAFER_TR];

	if (!usable(s) || !system_segment_ok(vcpu, s))
		return false;
	return type_of(s) == 11 || (type_of(s) == 3 && !long_mode(a));
}

static bool ldtr_ok(struct wafer_vcpu *vcpu, const struct wafer_arch *a)
{
	const struct wafer_segment *s = &a->seg[WAFER_LDTR];

	return !usable(s) || (system_segment_ok(vcpu, s) && type_of(s) == 2);
}

/* ---- events (§27.3.1.5, §27.2.1.3) ---- */

/* A shadow holds off what is injected from outside; STI's needs IF. */
static bool shadow_ok(struct wafer_vcpu *vcpu, const struct wafer_arch *a)
{
	u32 shadow = a->block & (WAFER_BLOCK_STI | WAFER_BLOCK_MOVSS);

	if (shadow == (WAFER_BLOCK_STI | WAFER_BLOCK_MOVSS))
		return false;
	if (shadow == WAFER_BLOCK_STI && !(a->rflags & X86_EFLAGS_IF))
		return false;
	return !shadow || (vcpu->reinject.kind != WAFER_EV_EXTINT && vcpu->reinject.kind != WAFER_EV_NMI);
}

/* Which exceptions push an error code is the CPU's to say (SDM vol. 3 table 6-1); in real mode none does. */
static bool error_code_ok(const struct wafer_event *ev, const struct wafer_arch *a)
{
	const u32 with = BIT(X86_TRAP_DF) | BIT(X86_TRAP_TS) | BIT(X86_TRAP_NP) | BIT(X86_TRAP_SS) | BIT(X86_TRAP_GP) |
			 BIT(X86_TRAP_PF) | BIT(X86_TRAP_AC);

	if (ev->kind != WAFER_EV_EXCEPTION || !(a->cr0 & X86_CR0_PE))
		return true;
	return ev->has_error == !!(ev->vector < 32 && with & BIT(ev->vector));
}

static bool event_ok(struct wafer_vcpu *vcpu, const struct wafer_arch *a)
{
	return error_code_ok(&vcpu->reinject, a) && error_code_ok(&vcpu->pending, a);
}

static const struct {
	const char *field;
	rule ok;
} rules[] = {
	{ "CR0", cr0_ok },
	{ "CR4", cr4_ok },
	{ "CR3", cr3_ok },
	{ "EFER", efer_ok },
	{ "PDPTE", pdptr_ok },
	{ "DR6", dr6_ok },
	{ "DR7", dr7_ok },
	{ "PAT", pat_ok },
	{ "SYSENTER_ESP, SYSENTER_EIP", sysenter_ok },
	{ "GDTR, IDTR", tables_ok },
	{ "RFLAGS", rflags_ok },
	{ "RIP", rip_ok },
	{ "CS", cs_ok },
	{ "SS", ss_ok },
	{ "DS", ds_ok },
	{ "ES", es_ok },
	{ "FS", fs_ok },
	{ "GS", gs_ok },
	{ "TR", tr_ok },
	{ "LDTR", ldtr_ok },
	{ "interrupt shadow", shadow_ok },
	{ "exception.has_error_code", event_ok },
};

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
	int i;

	wafer_need(vcpu, WAFER_G_ALL);
	for (i = 0; i < ARRAY_SIZE(rules); i++)
		if (!rules[i].ok(vcpu, &vcpu->arch))
			return rules[i].field;
	return NULL;
}
