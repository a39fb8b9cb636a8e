// SPDX-License-Identifier: GPL-2.0
/* Which bits of CR4 and EFER guests can have: those whose feature is offered. What no table names is reserved. */
#include <asm/cpufeatures.h>
#include <asm/processor-flags.h>

#include "vcpu.h"

/* @gated: a guest whose CPUID lacks the feature cannot set the bit; for the others KVM looks at the host alone. */
static const struct {
	u32 bits;
	u16 feature;
	bool gated;
} cr4_bits[] = {
	{ X86_CR4_VME | X86_CR4_PVI,	X86_FEATURE_VME },
	{ X86_CR4_TSD | X86_CR4_PCE,	X86_FEATURE_TSC },
	{ X86_CR4_DE,			X86_FEATURE_DE },
	{ X86_CR4_PSE,			X86_FEATURE_PSE },
	{ X86_CR4_PAE,			X86_FEATURE_PAE },
	{ X86_CR4_MCE,			X86_FEATURE_MCE },
	{ X86_CR4_PGE,			X86_FEATURE_PGE },
	{ X86_CR4_OSFXSR,		X86_FEATURE_FXSR },
	{ X86_CR4_OSXMMEXCPT,		X86_FEATURE_XMM },
	{ X86_CR4_UMIP,			X86_FEATURE_UMIP, true },
	{ X86_CR4_LA57,			X86_FEATURE_LA57, true },
	{ X86_CR4_FSGSBASE,		X86_FEATURE_FSGSBASE, true },
	{ X86_CR4_PCIDE,		X86_FEATURE_PCID, true },
	{ X86_CR4_OSXSAVE,		X86_FEATURE_XSAVE, true },
	{ X86_CR4_SMEP,			X86_FEATURE_SMEP, true },
	{ X86_CR4_SMAP,			X86_FEATURE_SMAP, true },
	{ X86_CR4_PKE,			X86_FEATURE_PKU, true },
};

u64 wafer_cr4_allowed(void)
{
	u64 allowed = 0;
	int i;

	for (i = 0; i < ARRAY_SIZE(cr4_bits); i++)
		if (wafer_offered(cr4_bits[i].feature))
			allowed |= cr4_bits[i].bits;
	return allowed & wafer_caps.cr4_fixed1;
}

bool wafer_cr4_valid(struct wafer_vcpu *vcpu, u64 cr4)
{
	int i;

	if (cr4 & ~wafer_cr4_allowed())
		return false;
	for (i = 0; i < ARRAY_SIZE(cr4_bits) && wafer_has_cpuid(vcpu); i++)
		if (cr4 & cr4_bits[i].bits && cr4_bits[i].gated && !wafer_guest_has(vcpu, cr4_bits[i].feature))
			return false;
	return true;
}

u64 wafer_efer_allowed(void)
{
	return WAFER_EFER_SCE | WAFER_EFER_LME | WAFER_EFER_LMA |
	       (wafer_offered(X86_FEATURE_NX) ? WAFER_EFER_NX : 0) |
	       (wafer_offered(X86_FEATURE_FXSR_OPT) ? BIT(14) : 0);		/* FFXSR, APM vol. 2 §3.1.7 */
}
