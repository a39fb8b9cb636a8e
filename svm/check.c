// SPDX-License-Identifier: GPL-2.0
/*
 * After VMRUN has refused a state: which rule was it? (§15.5.1, "Canonicalization and Consistency
 * Checks")
 */
#include <asm/cpufeature.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "svm.h"

#define EFER_KNOWN	(WAFER_EFER_SCE | WAFER_EFER_LME | WAFER_EFER_LMA | WAFER_EFER_NX | \
			 WAFER_EFER_SVME | GENMASK_ULL(15, 13) | GENMASK_ULL(18, 17) | \
			 GENMASK_ULL(21, 20))

static bool paged_long_mode(const struct svm_vmcb *v)
{
	return v->efer & WAFER_EFER_LME && v->cr0 & X86_CR0_PG;
}

static bool bad_cache_bits(const struct svm_vmcb *v)
{
	return v->cr0 & X86_CR0_NW && !(v->cr0 & X86_CR0_CD);
}

static bool bad_cr0(const struct svm_vmcb *v)
{
	return v->cr0 >> 32 || (v->cr0 & X86_CR0_PG && !(v->cr0 & X86_CR0_PE));
}

static bool bad_cr3(const struct svm_vmcb *v)
{
	return v->efer & WAFER_EFER_LMA && v->cr3 >> boot_cpu_data.x86_phys_bits;
}

static bool bad_cr4(const struct svm_vmcb *v)
{
	return v->cr4 & ~wafer_caps.cr4_fixed1;
}

static bool bad_dr6(const struct svm_vmcb *v)
{
	return v->dr6 >> 32;
}

static bool bad_dr7(const struct svm_vmcb *v)
{
	return v->dr7 >> 32;
}

static bool bad_efer(const struct svm_vmcb *v)
{
	return !(v->efer & WAFER_EFER_SVME) || v->efer & ~EFER_KNOWN;
}

static bool bad_pae(const struct svm_vmcb *v)
{
	return paged_long_mode(v) && !(v->cr4 & X86_CR4_PAE);
}

/* L and D together are a reserved combination; in the VMCB they are bits 9 and 10. */
static bool bad_cs(const struct svm_vmcb *v)
{
	return paged_long_mode(v) && (v->seg[WAFER_CS].attr & 0x600) == 0x600;
}

/* Eight types of one byte, 0, 1 and 4 to 7 (§7.8.1). */
static bool bad_pat(const struct svm_vmcb *v)
{
	int i;

	for (i = 0; i < 64; i += 8) {
		u8 type = v->pat >> i;

		if (type > 7 || type == 2 || type == 3)
			return true;
	}
	return false;
}

static bool bad_root(const struct svm_vmcb *v)
{
	return v->ncr3 & ~PAGE_MASK || v->ncr3 >> boot_cpu_data.x86_phys_bits;
}

/*
 * Types 1 and 5 to 7 are reserved; exceptions are the vectors below 32, and NMI is not among them
 * (§15.20).
 */
static bool bad_event(const struct svm_vmcb *v)
{
	u8 vector = v->event_inj & SVM_EVENT_VECTOR;
	u8 type = (v->event_inj & SVM_EVENT_TYPE) >> SVM_EVENT_TYPE_SHIFT;

	if (!(v->event_inj & SVM_EVENT_VALID))
		return false;
	if (type == 1 || type > WAFER_EV_SOFT_INT)
		return true;
	return type == WAFER_EV_EXCEPTION && (vector > 31 || vector == X86_TRAP_NMI);
}

static bool bad_control(const struct svm_vmcb *v)
{
	return !v->asid || !(v->icpt[SVM_ICPT_VMRUN / 32] & BIT(SVM_ICPT_VMRUN % 32));
}

static const struct {
	const char *field;
	bool (*bad)(const struct svm_vmcb *v);
} rules[] = {
	{ "EFER: reserved bits, or SVME clear",	bad_efer },
	{ "CR0: NW without CD",			bad_cache_bits },
	{ "CR0: upper half, or PG without PE",	bad_cr0 },
	{ "CR3: above the physical width",	bad_cr3 },
	{ "CR4: reserved bits",			bad_cr4 },
	{ "DR6: upper half",			bad_dr6 },
	{ "DR7: upper half",			bad_dr7 },
	{ "CR4.PAE: needed in long mode",	bad_pae },
	{ "CS: L and D in long mode",		bad_cs },
	{ "PAT: reserved memory type",		bad_pat },
	{ "nested CR3",				bad_root },
	{ "injected event: type or vector",	bad_event },
	{ "ASID or VMRUN intercept",		bad_control },
};

const char *svm_check_vmcb(const struct svm_vmcb *vmcb)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(rules); i++)
		if (rules[i].bad(vmcb))
			return rules[i].field;
	return NULL;
}
