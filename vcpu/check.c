// SPDX-License-Identifier: GPL-2.0
/*
 * Is a vCPU's state what the CPU accepts at the entry? SDM vol. 3 §27.3.1 with unrestricted guest,
 * APM vol. 2 §15.5.1: the stricter of the two, so that a guest that runs here runs on the other
 * vendor's CPU too.
 *
 * Run after user space has set state, when registers, segments and events, which may come in any
 * order, are all there.
 */
#include "msr.h"

#define CANONICAL(addr) wafer_is_canonical(vcpu, addr)

static bool long_mode(const struct wafer_arch *a)
{
	return a->efer & WAFER_EFER_LMA;
}

static bool usable(const struct wafer_segment *s)
{
	return !(s->attr & WAFER_SEG_UNUSABLE);
}

/*
 * Present and of the right kind. G says how the limit counts: low bits all ones with it, high bits
 * zero without.
 */
static bool form_ok(const struct wafer_segment *s, u32 system_or_not)
{
	return (s->attr & (WAFER_SEG_S | WAFER_SEG_P)) == (system_or_not | WAFER_SEG_P) &&
	       (s->attr & WAFER_SEG_G ? (s->limit & 0xfff) == 0xfff : !(s->limit >> 20));
}

/* In protected mode a data segment (type 3) in CS is what real mode leaves there. */
static bool cs_ok(const struct wafer_arch *a)
{
	const struct wafer_segment *s = &a->seg[WAFER_CS];
	unsigned int dpl = wafer_dpl(s), ss_dpl = wafer_dpl(&a->seg[WAFER_SS]);
	unsigned int type = s->attr & 0xf;

	if (!usable(s) || (long_mode(a) && s->attr & WAFER_SEG_L && s->attr & WAFER_SEG_DB))
		return false;
	if (type == 3)
		return dpl == 0;
	if (type == 9 || type == 11)
		return dpl == ss_dpl;
	return (type == 13 || type == 15) && dpl <= ss_dpl;
}

static bool ss_ok(const struct wafer_arch *a)
{
	const struct wafer_segment *s = &a->seg[WAFER_SS];
	bool real = !(a->cr0 & X86_CR0_PE) || (a->seg[WAFER_CS].attr & WAFER_SEG_TYPE) == 3;

	return !(real && wafer_dpl(s)) && (!usable(s) || (s->attr & 0xb) == 3);
}

/* §27.3.1.2, code and data */
static bool bad_segment(struct wafer_vcpu *vcpu, const struct wafer_arch *a, enum wafer_seg_reg n)
{
	const struct wafer_segment *s = &a->seg[n];

	if (a->rflags & X86_EFLAGS_VM)
		return s->base != (u64)s->selector << 4 || s->limit != 0xffff ||
		       (s->attr & 0x1ffff) != 0xf3;
	if (n == WAFER_FS || n == WAFER_GS ? !CANONICAL(s->base) : usable(s) && s->base >> 32)
		return true;
	if ((n == WAFER_CS && !cs_ok(a)) || (n == WAFER_SS && !ss_ok(a)))
		return true;
	/* Accessed; if it is code, readable, but for CS. */
	return usable(s) && (!form_ok(s, WAFER_SEG_S) ||
			     (n != WAFER_CS && (!(s->attr & 1) || (s->attr & 0xa) == 8)));
}

static bool bad_system(struct wafer_vcpu *vcpu, const struct wafer_segment *s)
{
	return !form_ok(s, 0) || s->selector & 4 || !CANONICAL(s->base);
}

/* Which exceptions push an error code is the CPU's to say; in real mode none does. */
static bool bad_error_code(const struct wafer_event *ev, const struct wafer_arch *a)
{
	return ev->kind == WAFER_EV_EXCEPTION && a->cr0 & X86_CR0_PE &&
	       ev->has_error != wafer_pushes_error(ev->vector);
}

static const char *first_bad(struct wafer_vcpu *vcpu, const struct wafer_arch *a)
{
	const u64 reserved_flags = ~GENMASK_ULL(21, 0) | BIT(15) | BIT(5) | BIT(3);
	const struct wafer_segment *tr = &a->seg[WAFER_TR], *ldtr = &a->seg[WAFER_LDTR];
	const u32 both = WAFER_BLOCK_STI | WAFER_BLOCK_MOVSS, shadow = a->block & both;
	u8 tr_type = tr->attr & WAFER_SEG_TYPE, reinject = vcpu->reinject.kind;
	bool lm = long_mode(a), paging = a->cr0 & X86_CR0_PG, vm86 = a->rflags & X86_EFLAGS_VM;
	const struct { bool bad; const char *name; } rules[] = {
		/* §27.3.1.1, §27.3.1.3, §27.3.1.6 */
		{ !wafer_cr0_valid(a->cr0), "CR0" },
		{ !wafer_cr4_runs(vcpu, a->cr4) ||
		  (lm ? !(a->cr4 & X86_CR4_PAE) : a->cr4 & X86_CR4_PCIDE), "CR4" },
		{ lm && a->cr3 >> wafer_guest_phys_bits(vcpu), "CR3" },
		{ (a->efer & WAFER_EFER_LME && paging) != lm ||
		  a->efer & ~wafer_efer_allowed(), "EFER" },
		{ !wafer_caps.pdptr_from_memory && wafer_pae_paging(a->cr0, a->cr4, a->efer) &&
		  !wafer_pdptrs_valid(vcpu, a->pdptr), "PDPTE" },
		{ a->dr6 >> 32 || a->dr7 >> 32, "DR6, DR7" },
		{ !wafer_pat_valid(a->pat), "PAT" },
		{ !CANONICAL(a->sysenter_esp) || !CANONICAL(a->sysenter_eip),
		  "SYSENTER_ESP, SYSENTER_EIP" },
		{ !CANONICAL(a->gdt.base) || !CANONICAL(a->idt.base), "GDTR, IDTR" },
		/* §27.3.1.4 */
		{ a->rflags & reserved_flags || !(a->rflags & X86_EFLAGS_FIXED) ||
		  (vm86 && (lm || !(a->cr0 & X86_CR0_PE))) ||
		  (reinject == WAFER_EV_EXTINT && !(a->rflags & X86_EFLAGS_IF)), "RFLAGS" },
		{ lm && a->seg[WAFER_CS].attr & WAFER_SEG_L ? !CANONICAL(a->rip) :
		  a->rip >> 32, "RIP" },
		{ bad_segment(vcpu, a, WAFER_ES), "ES" }, { bad_segment(vcpu, a, WAFER_CS), "CS" },
		{ bad_segment(vcpu, a, WAFER_SS), "SS" }, { bad_segment(vcpu, a, WAFER_DS), "DS" },
		{ bad_segment(vcpu, a, WAFER_FS), "FS" }, { bad_segment(vcpu, a, WAFER_GS), "GS" },
		{ !usable(tr) || bad_system(vcpu, tr) ||
		  (tr_type != 11 && (tr_type != 3 || lm)), "TR" },
		{ usable(ldtr) && (bad_system(vcpu, ldtr) || (ldtr->attr & 0xf) != 2), "LDTR" },
		/*
		 * §27.3.1.5, §27.2.1.3. A shadow holds off what is injected from outside; STI's
		 * needs IF.
		 */
		{ shadow == both ||
		  (shadow == WAFER_BLOCK_STI && !(a->rflags & X86_EFLAGS_IF)) ||
		  (shadow && (reinject == WAFER_EV_EXTINT || reinject == WAFER_EV_NMI)),
		  "interrupt shadow" },
		{ bad_error_code(&vcpu->reinject, a) || bad_error_code(&vcpu->pending, a),
		  "exception.has_error_code" },
	};

	for (int i = 0; i < ARRAY_SIZE(rules); i++)
		if (rules[i].bad)
			return rules[i].name;
	return NULL;
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
	wafer_need(vcpu, WAFER_G_ALL);
	return first_bad(vcpu, &vcpu->arch);
}
