// SPDX-License-Identifier: GPL-2.0
/*
 * Writing control registers with the checks that the CPU makes (SDM vol. 2 MOV CR, vol. 3 §2.5; APM
 * vol. 2 §3.1).
 *
 * The backends drop the guest's translations when they write what those depend on: only a CR3 that
 * may be the same as before has to ask for it.
 */
#include "core.h"

#define CR0_BITS (X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | X86_CR0_NE | \
		  X86_CR0_WP | X86_CR0_AM | X86_CR0_NW | X86_CR0_CD | X86_CR0_PG)

/*
 * Which bits of CR4 guests can have: those whose feature is offered. What the table does not name
 * is reserved.
 * @gated: a guest whose CPUID lacks the feature cannot set the bit; for the others KVM looks
 *	at the host alone.
 */
#define HOST(bits, name) { X86_CR4_##bits, X86_FEATURE_##name, false }
#define BOTH(bits, name) { X86_CR4_##bits, X86_FEATURE_##name, true }
static const struct {
	u32 bits;
	u16 feature;
	bool gated;
} cr4_bits[] = {
	HOST(VME | X86_CR4_PVI, VME), HOST(TSD | X86_CR4_PCE, TSC), HOST(DE, DE), HOST(PSE, PSE),
	HOST(PAE, PAE), HOST(MCE, MCE), HOST(PGE, PGE), HOST(OSFXSR, FXSR), HOST(OSXMMEXCPT, XMM),
	BOTH(UMIP, UMIP), BOTH(LA57, LA57), BOTH(FSGSBASE, FSGSBASE), BOTH(PCIDE, PCID),
	BOTH(OSXSAVE, XSAVE), BOTH(SMEP, SMEP), BOTH(SMAP, SMAP), BOTH(PKE, PKU),
};

/* @gated, @others: of these bits the guest's CPUID decides too. */
static u64 cr4_allowed(struct wafer_vcpu *vcpu, bool gated, bool others)
{
	u64 allowed = 0;

	for (int i = 0; i < ARRAY_SIZE(cr4_bits); i++)
		if (wafer_offered(cr4_bits[i].feature) &&
		    (!(cr4_bits[i].gated ? gated : others) ||
		     wafer_guest_has(vcpu, cr4_bits[i].feature)))
			allowed |= cr4_bits[i].bits;
	return allowed & wafer_caps.cr4_fixed1;
}

bool wafer_cr4_valid(struct wafer_vcpu *vcpu, u64 cr4)
{
	return !(cr4 & ~cr4_allowed(vcpu, vcpu->has_cpuid, false));
}

/* As it is set already: a CPUID that comes later, without the features, takes no bit back. */
bool wafer_cr4_runs(struct wafer_vcpu *vcpu, u64 cr4)
{
	return !(cr4 & ~cr4_allowed(vcpu, false, false));
}

/* The bits whose features the guest's CPUID has. */
u64 wafer_guest_cr4(struct wafer_vcpu *vcpu)
{
	return cr4_allowed(vcpu, true, true);
}

u64 wafer_efer_allowed(void)
{
	return WAFER_EFER_SCE | WAFER_EFER_LME | WAFER_EFER_LMA |
	       (wafer_offered(X86_FEATURE_NX) ? WAFER_EFER_NX : 0) |
	       /* FFXSR, APM vol. 2 §3.1.7 */
	       (wafer_offered(X86_FEATURE_FXSR_OPT) ? BIT(14) : 0);
}

bool wafer_cr0_valid(u64 cr0)
{
	return !(cr0 >> 32 || (cr0 & X86_CR0_PG && !(cr0 & X86_CR0_PE)) ||
		 (cr0 & X86_CR0_NW && !(cr0 & X86_CR0_CD)));
}

bool wafer_pae_paging(u64 cr0, u64 cr4, u64 efer)
{
	return cr0 & X86_CR0_PG && cr4 & X86_CR4_PAE && !(efer & WAFER_EFER_LMA);
}

bool wafer_pdptrs_valid(struct wafer_vcpu *vcpu, const u64 *pdptr)
{
	u64 reserved = ~(BIT_ULL(wafer_guest_phys_bits(vcpu)) - 1);

	/* an accessed bit as in mmu/walk.c's reserved_bits() */
	reserved |= wafer_caps.pdptr_from_memory ? 0x1c6 : 0x1e6;
	for (int i = 0; i < 4; i++)
		if (pdptr[i] & 1 && pdptr[i] & reserved)
			return false;
	return true;
}

/*
 * PAE paging without long mode: the four PDPTEs are loaded, and checked, by the move (SDM vol. 3
 * §4.4.1).
 */
static int load_pdptrs(struct wafer_vcpu *vcpu, u64 cr3)
{
	u64 pdptr[4];
	int r = wafer_copy_guest(vcpu, cr3 & 0xffffffe0, pdptr, sizeof(pdptr), false);

	if (r)
		return r == -EAGAIN ? -EAGAIN : 1;
	if (!wafer_pdptrs_valid(vcpu, pdptr))
		return 1;
	memcpy(vcpu->arch.pdptr, pdptr, sizeof(pdptr));
	wafer_touch(vcpu, WAFER_G_PDPTR);
	return 0;
}

/*
 * Paging goes on or off: EFER.LMA follows LME, and long mode has conditions of its own. 0 or 1
 * (#GP) or -EAGAIN
 */
static int switch_paging(struct wafer_vcpu *vcpu, bool on)
{
	u64 efer = wafer_efer(vcpu), cr4 = wafer_cr4(vcpu);
	bool lme = efer & WAFER_EFER_LME, pae = cr4 & X86_CR4_PAE;

	if (on && !lme)
		return pae ? load_pdptrs(vcpu, wafer_cr3(vcpu)) : 0;
	if (on ? !pae || wafer_seg(vcpu, WAFER_CS)->attr & WAFER_SEG_L :
		 cr4 & X86_CR4_PCIDE || wafer_code_mode(vcpu) == WAFER_CODE64)
		return 1;
	if (lme)
		wafer_put_efer(vcpu, on ? efer | WAFER_EFER_LMA : efer & ~WAFER_EFER_LMA);
	return 0;
}

/**
 * wafer_set_cr0() - a guest's write of CR0
 * @vcpu: vCPU
 * @val: value; reserved low bits are ignored as the CPU does, ET is fixed to 1
 *
 * Return: 0; 1: #GP; -EAGAIN: guest memory is not to be had in the window.
 */
int wafer_set_cr0(struct wafer_vcpu *vcpu, u64 val)
{
	int r;

	if (!wafer_cr0_valid(val))
		return 1;
	if ((val ^ wafer_cr0(vcpu)) & X86_CR0_PG) {
		r = switch_paging(vcpu, val & X86_CR0_PG);
		if (r)
			return r;
	}
	wafer_put_cr0(vcpu, (val & CR0_BITS) | X86_CR0_ET);
	return 0;
}

int wafer_set_cr3(struct wafer_vcpu *vcpu, u64 val)
{
	u64 efer = wafer_efer(vcpu), cr4 = wafer_cr4(vcpu);
	int r = 0;

	if (efer & WAFER_EFER_LMA) {
		if (cr4 & X86_CR4_PCIDE)
			val &= ~BIT_ULL(63);
		r = !!(val >> wafer_guest_phys_bits(vcpu));
	} else if (wafer_pae_paging(wafer_cr0(vcpu), cr4, efer)) {
		r = load_pdptrs(vcpu, val);
	}
	if (r)
		return r;
	wafer_put_cr3(vcpu, val);
	wafer_hazard_set(vcpu, WAFER_H_FLUSH);
	return 0;
}

/**
 * wafer_set_cr4() - a guest's write of CR4
 * @vcpu: vCPU
 * @val: value
 *
 * Return: 0; 1: #GP; -EAGAIN as wafer_set_cr0().
 */
int wafer_set_cr4(struct wafer_vcpu *vcpu, u64 val)
{
	const u64 pdptr_bits = X86_CR4_PGE | X86_CR4_PSE | X86_CR4_PAE | X86_CR4_SMEP;
	u64 efer = wafer_efer(vcpu), old = wafer_cr4(vcpu), changed = val ^ old;
	bool lm = efer & WAFER_EFER_LMA;
	int r;

	if (!wafer_cr4_valid(vcpu, val) ||
	    (lm && (!(val & X86_CR4_PAE) || changed & X86_CR4_LA57)) ||
	    (val & ~old & X86_CR4_PCIDE && (wafer_cr3(vcpu) & 0xfff || !lm)))
		return 1;
	if (wafer_pae_paging(wafer_cr0(vcpu), val, efer) && changed & pdptr_bits) {
		r = load_pdptrs(vcpu, wafer_cr3(vcpu));
		if (r)
			return r;
	}
	wafer_put_cr4(vcpu, val);
	return 0;
}

int wafer_set_cr8(struct wafer_vcpu *vcpu, u64 val)
{
	if (val & ~0xfull)
		return 1;
	if (vcpu->lapic)
		wafer_lapic_set_cr8(vcpu, val);
	else
		wafer_put_tpr(vcpu, val);
	return 0;
}

/**
 * wafer_set_xcr0() - a write of XCR0 (SDM vol. 1 §13.3)
 * @vcpu: vCPU, FPU state not loaded
 * @val: x87 always; YMM with SSE; the AVX-512 components together and with YMM
 *
 * Return: 0; 1: #GP.
 */
int wafer_set_xcr0(struct wafer_vcpu *vcpu, u64 val)
{
	const u64 sse = BIT(1), ymm = BIT(2), avx512 = BIT(5) | BIT(6) | BIT(7);

	if (!(val & 1) || val & ~vcpu->guest_xcr0 || (val & ymm && !(val & sse)) ||
	    (val & avx512 && ((val & avx512) != avx512 || !(val & ymm))))
		return 1;
	vcpu->arch.xcr0 = val;
	return 0;
}
