// SPDX-License-Identifier: GPL-2.0
/*
 * Writing control registers with the checks that the CPU makes (SDM vol. 2 MOV CR, vol. 3 §2.5; APM vol. 2 §3.1).
 *
 * The backends drop the guest's translations when they write what those depend on: only a CR3 that may be the same as
 * before has to ask for it.
 */
#include <asm/processor-flags.h>

#include "core.h"

#define CR0_BITS (X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | \
		  X86_CR0_AM | X86_CR0_NW | X86_CR0_CD | X86_CR0_PG)

bool wafer_cr0_valid(u64 cr0)
{
	if (cr0 >> 32)
		return false;
	if (cr0 & X86_CR0_PG && !(cr0 & X86_CR0_PE))
		return false;
	return !(cr0 & X86_CR0_NW && !(cr0 & X86_CR0_CD));
}

/* PAE paging without long mode: the four PDPTEs are loaded, and checked, by the move (SDM vol. 3 §4.4.1). */
static int load_pdptrs(struct wafer_vcpu *vcpu, u64 cr3)
{
	u64 reserved = ~(BIT_ULL(wafer_guest_phys_bits(vcpu)) - 1) | 0x1e6;
	u64 pdpte[4];
	int i, r;

	if (vcpu->loaded)
		r = wafer_guest_read_fast(&vcpu->fault, cr3 & 0xffffffe0, pdpte, sizeof(pdpte));
	else
		r = wafer_guest_read(&vcpu->vm->mmu, cr3 & 0xffffffe0, pdpte, sizeof(pdpte));
	if (r)
		return r == -EAGAIN ? -EAGAIN : 1;
	for (i = 0; i < 4; i++)
		if (pdpte[i] & 1 && pdpte[i] & reserved)
			return 1;
	memcpy(vcpu->arch.pdptr, pdpte, sizeof(pdpte));
	wafer_touch(vcpu, WAFER_G_PDPTR);
	return 0;
}

static bool pae_paging(u64 cr0, u64 cr4, u64 efer)
{
	return cr0 & X86_CR0_PG && cr4 & X86_CR4_PAE && !(efer & WAFER_EFER_LMA);
}

/* Paging goes on or off: EFER.LMA follows LME, and long mode has conditions of its own. 0 or 1 (#GP) or -EAGAIN */
static int switch_paging(struct wafer_vcpu *vcpu, u64 cr0)
{
	u64 efer = wafer_efer(vcpu), cr4 = wafer_cr4(vcpu);

	if (!(cr0 & X86_CR0_PG)) {
		if (cr4 & X86_CR4_PCIDE || wafer_code_mode(vcpu) == WAFER_CODE64)
			return 1;
		if (efer & WAFER_EFER_LMA)
			wafer_put_efer(vcpu, efer & ~WAFER_EFER_LMA);
		return 0;
	}
	if (efer & WAFER_EFER_LME) {
		if (!(cr4 & X86_CR4_PAE) || wafer_seg(vcpu, WAFER_CS)->attr & WAFER_SEG_L)
			return 1;
		wafer_put_efer(vcpu, efer | WAFER_EFER_LMA);
		return 0;
	}
	return cr4 & X86_CR4_PAE ? load_pdptrs(vcpu, wafer_cr3(vcpu)) : 0;
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
	u64 old = wafer_cr0(vcpu);
	int r;

	if (!wafer_cr0_valid(val))
		return 1;
	val = (val & CR0_BITS) | X86_CR0_ET;
	if ((val ^ old) & X86_CR0_PG) {
		r = switch_paging(vcpu, val);
		if (r)
			return r;
	}
	wafer_put_cr0(vcpu, val);
	return 0;
}

int wafer_set_cr3(struct wafer_vcpu *vcpu, u64 val)
{
	u64 efer = wafer_efer(vcpu), cr4 = wafer_cr4(vcpu);
	int r;

	if (efer & WAFER_EFER_LMA) {
		if (cr4 & X86_CR4_PCIDE)
			val &= ~BIT_ULL(63);
		if (val >> wafer_guest_phys_bits(vcpu))
			return 1;
	} else if (pae_paging(wafer_cr0(vcpu), cr4, efer)) {
		r = load_pdptrs(vcpu, val);
		if (r)
			return r;
	}
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
	u64 old = wafer_cr4(vcpu), cr0 = wafer_cr0(vcpu), efer = wafer_efer(vcpu);
	int r;

	if (!wafer_cr4_valid(vcpu, val))
		return 1;
	if (efer & WAFER_EFER_LMA) {
		if (!(val & X86_CR4_PAE) || (val ^ old) & X86_CR4_LA57)
			return 1;
	} else if (pae_paging(cr0, val, efer) && (val ^ old) & pdptr_bits) {
		r = load_pdptrs(vcpu, wafer_cr3(vcpu));
		if (r)
			return r;
	}
	if (val & ~old & X86_CR4_PCIDE && (wafer_cr3(vcpu) & 0xfff || !(efer & WAFER_EFER_LMA)))
		return 1;
	wafer_put_cr4(vcpu, val);
	return 0;
}

int wafer_set_cr8(struct wafer_vcpu *vcpu, u64 val)
{
	if (val & ~0xfull)
		return 1;
	vcpu->cr8 = val;
	if (vcpu->lapic) {
		vcpu->last_cr8 = val;
		wafer_lapic_set_cr8(vcpu, val);
		wafer_hazard_set(vcpu, WAFER_H_EVENT);
	}
	return 0;
}

/**
 * wafer_set_efer() - a guest's write of EFER
 * @vcpu: vCPU
 * @val: value
 *
 * LMA is not the guest's to write: it is kept. LME cannot change while paging is on (SDM vol. 3 §10.8.5).
 *
 * Return: 0; 1: #GP.
 */
int wafer_set_efer(struct wafer_vcpu *vcpu, u64 val)
{
	u64 old = wafer_efer(vcpu);

	if (val & ~wafer_efer_allowed())
		return 1;
	if ((val ^ old) & WAFER_EFER_LME && wafer_cr0(vcpu) & X86_CR0_PG)
		return 1;
	val = (val & ~WAFER_EFER_LMA) | (old & WAFER_EFER_LMA);
	wafer_put_efer(vcpu, val);
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

	if (!(val & 1) || val & ~wafer_guest_xcr0(vcpu))
		return 1;
	if (val & ymm && !(val & sse))
		return 1;
	if (val & avx512 && ((val & avx512) != avx512 || !(val & ymm)))
		return 1;
	vcpu->arch.xcr0 = val;
	return 0;
}
