// SPDX-License-Identifier: GPL-2.0
/*
 * What KVM_GET_SUPPORTED_CPUID offers. A bit or register that no table below names is 0 for the guest: what a new
 * CPU brings stays hidden until somebody has looked at it. No nesting, no SMM, no performance counters.
 */
#include <linux/kvm_para.h>
#include <linux/string.h>
#include <asm/cpufeature.h>
#include <asm/processor.h>

#include "backend.h"
#include "compat.h"
#include "cpuid.h"
#include "vcpu.h"

#define F(name) BIT(X86_FEATURE_##name & 31)
#define WORD(name) (X86_FEATURE_##name / 32)

/* The bits of 0x80000001 EDX that repeat those of leaf 1 on AMD. */
#define AMD_COPIES 0x0183f3ff

const struct wafer_cpuid_word wafer_cpuid_words[] = {
	{ 1, 0, WAFER_EDX, WORD(FPU),
	  F(FPU) | F(VME) | F(DE) | F(PSE) | F(TSC) | F(MSR) | F(PAE) | F(CX8) | F(SEP) | F(PGE) | F(CMOV) |
	  F(PSE36) | F(CLFLUSH) | F(MMX) | F(FXSR) | F(XMM) | F(XMM2) | F(SELFSNOOP),
	  F(APIC) | F(MTRR) | F(MCE) | F(MCA) | F(PAT) },
	{ 1, 0, WAFER_ECX, WORD(XMM3),
	  F(XMM3) | F(PCLMULQDQ) | F(SSSE3) | F(FMA) | F(CX16) | F(PCID) | F(XMM4_1) | F(XMM4_2) | F(MOVBE) |
	  F(POPCNT) | F(AES) | F(XSAVE) | F(AVX) | F(F16C) | F(RDRAND),
	  F(X2APIC) | F(TSC_DEADLINE_TIMER) | F(HYPERVISOR) },
	{ 6, 0, WAFER_EAX, WORD(ARAT), 0, F(ARAT) },
	{ 7, 0, WAFER_EBX, WORD(FSGSBASE),
	  F(FSGSBASE) | F(BMI1) | F(HLE) | F(AVX2) | F(FDP_EXCPTN_ONLY) | F(SMEP) | F(BMI2) | F(ERMS) | F(INVPCID) |
	  F(RTM) | F(ZERO_FCS_FDS) | F(AVX512F) | F(AVX512DQ) | F(RDSEED) | F(ADX) | F(SMAP) | F(AVX512IFMA) |
	  F(CLFLUSHOPT) | F(CLWB) | F(AVX512PF) | F(AVX512ER) | F(AVX512CD) | F(SHA_NI) | F(AVX512BW) | F(AVX512VL),
	  F(TSC_ADJUST) },
	{ 7, 0, WAFER_ECX, WORD(AVX512VBMI),
	  F(AVX512VBMI) | F(UMIP) | F(PKU) | F(AVX512_VBMI2) | F(GFNI) | F(VAES) | F(VPCLMULQDQ) | F(AVX512_VNNI) |
	  F(AVX512_BITALG) | F(AVX512_VPOPCNTDQ) | F(LA57) | F(RDPID) | F(CLDEMOTE) | F(MOVDIRI) | F(MOVDIR64B), 0 },
	{ 7, 0, WAFER_EDX, WORD(SPEC_CTRL),
	  F(AVX512_4VNNIW) | F(AVX512_4FMAPS) | F(FSRM) | F(AVX512_VP2INTERSECT) | F(MD_CLEAR) | F(SERIALIZE) |
	  F(TSXLDTRK) | F(AVX512_FP16) | F(SPEC_CTRL) | F(INTEL_STIBP) | F(FLUSH_L1D) | F(ARCH_CAPABILITIES) |
	  F(SPEC_CTRL_SSBD), 0 },
	{ 7, 1, WAFER_EAX, WORD(AVX_VNNI),
	  F(AVX_VNNI) | F(AVX512_BF16) | BIT(10) | BIT(11) | BIT(12) | BIT(23), 0 },	/* FZRM FSRS FSRC AVX-IFMA */
	{ 0xd, 1, WAFER_EAX, WORD(XSAVEOPT), F(XSAVEOPT) | F(XSAVEC) | F(XGETBV1), 0 },
	{ WAFER_PV_LEAF + 1, 0, WAFER_EAX, WAFER_NO_WORD, 0,
	  BIT(KVM_FEATURE_CLOCKSOURCE) | BIT(KVM_FEATURE_NOP_IO_DELAY) | BIT(KVM_FEATURE_CLOCKSOURCE2) |
	  BIT(KVM_FEATURE_STEAL_TIME) | BIT(KVM_FEATURE_CLOCKSOURCE_STABLE_BIT) },
	{ 0x80000001, 0, WAFER_EDX, WORD(SYSCALL),
	  AMD_COPIES | F(SYSCALL) | F(NX) | F(MMXEXT) | F(FXSR_OPT) | F(GBPAGES) | F(RDTSCP) | F(LM), 0 },
	{ 0x80000001, 0, WAFER_ECX, WORD(LAHF_LM),
	  F(LAHF_LM) | F(CMP_LEGACY) | F(CR8_LEGACY) | F(ABM) | F(SSE4A) | F(MISALIGNSSE) | F(3DNOWPREFETCH) |
	  F(OSVW) | F(XOP) | F(FMA4) | F(TBM) | F(TOPOEXT), 0 },
	{ 0x80000007, 0, WAFER_EDX, WAFER_NO_WORD, BIT(8), 0 },				/* invariant TSC */
	{ 0x80000008, 0, WAFER_EBX, WORD(CLZERO),
	  F(CLZERO) | F(XSAVEERPTR) | F(WBNOINVD) | F(AMD_IBPB) | F(AMD_IBRS) | F(AMD_STIBP) |
	  F(AMD_STIBP_ALWAYS_ON) | F(AMD_SSBD) | F(AMD_SSB_NO) | BIT(28) | F(BTC_NO) | BIT(30), 0 },
	/* No nested data breakpoints, LFENCE serialises, null selectors clear bases, no SMM_CTL; SRSO. */
	{ 0x80000021, 0, WAFER_EAX, WAFER_NO_WORD,
	  BIT(0) | BIT(2) | BIT(6) | BIT(9) | BIT(28) | BIT(29) | BIT(30), 0 },
};
const unsigned int wafer_nr_cpuid_words = ARRAY_SIZE(wafer_cpuid_words);

/* Registers that go through by mask and are no feature words: descriptions of the CPU and its caches. */
static const struct {
	u32 leaf;
	u32 mask[4];
} passed[] = {
	{ 1,		{ ~0u, 0xff00, 0, 0 } },		/* signature; CLFLUSH size */
	{ 2,		{ ~0u, ~0u, ~0u, ~0u } },
	{ 4,		{ ~0u, ~0u, ~0u, ~0u } },
	{ 0x80000001,	{ ~0u, 0xf000ffff, 0, 0 } },		/* signature; brand, package */
	{ 0x80000002,	{ ~0u, ~0u, ~0u, ~0u } },
	{ 0x80000003,	{ ~0u, ~0u, ~0u, ~0u } },
	{ 0x80000004,	{ ~0u, ~0u, ~0u, ~0u } },
	{ 0x80000005,	{ ~0u, ~0u, ~0u, ~0u } },
	{ 0x80000006,	{ ~0u, ~0u, ~0u, ~0u } },
	{ 0x80000019,	{ ~0u, ~0u, 0, 0 } },
	{ 0x8000001a,	{ 7, 0, 0, 0 } },
	{ 0x8000001d,	{ ~0u, ~0u, ~0u, ~0u } },
};

#define MAX_SUPPORTED 128
static struct kvm_cpuid_entry2 supported[MAX_SUPPORTED];	/* written once at module load */
static unsigned int nr_supported;
static u32 offered[NCAPINTS];

static void __init host_cpuid(struct kvm_cpuid_entry2 *e, u32 leaf, u32 index)
{
	cpuid_count(leaf, index, &e->eax, &e->ebx, &e->ecx, &e->edx);
}

static struct kvm_cpuid_entry2 *__init add_entry(u32 leaf, u32 index, bool indexed)
{
	struct kvm_cpuid_entry2 *e = &supported[min(nr_supported, MAX_SUPPORTED - 1u)];

	nr_supported = min(nr_supported + 1, (unsigned int)MAX_SUPPORTED);
	memset(e, 0, sizeof(*e));
	e->function = leaf;
	e->index = index;
	e->flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0;
	return e;
}

static void __init apply_tables(struct kvm_cpuid_entry2 *e, const struct kvm_cpuid_entry2 *host)
{
	const struct wafer_cpuid_word *w;
	u32 val;
	int i;

	for (i = 0; i < ARRAY_SIZE(passed); i++) {
		if (passed[i].leaf != e->function)
			continue;
		e->eax = host->eax & passed[i].mask[0];
		e->ebx = host->ebx & passed[i].mask[1];
		e->ecx = host->ecx & passed[i].mask[2];
		e->edx = host->edx & passed[i].mask[3];
	}
	for (w = wafer_cpuid_words; w < wafer_cpuid_words + wafer_nr_cpuid_words; w++) {
		if (w->leaf != e->function || w->index != e->index)
			continue;
		val = *wafer_cpuid_reg((struct kvm_cpuid_entry2 *)host, w->reg);
		if (w->word != WAFER_NO_WORD)
			val &= boot_cpu_data.x86_capability[w->word];
		*wafer_cpuid_reg(e, w->reg) = (val & w->pass) | w->force;
	}
}

/* Instructions whose state the guest cannot have must go with it. */
static void __init drop_without_state(struct kvm_cpuid_entry2 *e)
{
	const u32 avx_1_ecx = F(AVX) | F(FMA) | F(F16C);
	const u32 avx512_7_ebx = F(AVX512F) | F(AVX512DQ) | F(AVX512IFMA) | F(AVX512PF) | F(AVX512ER) | F(AVX512CD) |
				 F(AVX512BW) | F(AVX512VL);
	const u32 avx512_7_ecx = F(AVX512VBMI) | F(AVX512_VBMI2) | F(AVX512_VNNI) | F(AVX512_BITALG) |
				 F(AVX512_VPOPCNTDQ);
	const u32 avx512_7_edx = F(AVX512_4VNNIW) | F(AVX512_4FMAPS) | F(AVX512_VP2INTERSECT) | F(AVX512_FP16);
	u64 xcr0 = wafer_host_xcr0();

	if (e->function == 1) {
		e->ecx &= xcr0 ? ~0u : ~F(XSAVE);
		e->ecx &= xcr0 & BIT(2) ? ~0u : ~avx_1_ecx;
	} else if (e->function == 7 && !e->index) {
		e->ebx &= xcr0 & BIT(2) ? ~0u : ~F(AVX2);
		e->ecx &= xcr0 & BIT(2) ? ~0u : ~(F(VAES) | F(VPCLMULQDQ));
		e->ecx &= xcr0 & BIT(9) ? ~0u : ~F(PKU);
		e->ebx &= xcr0 & BIT(5) ? ~0u : ~avx512_7_ebx;
		e->ecx &= xcr0 & BIT(5) ? ~0u : ~avx512_7_ecx;
		e->edx &= xcr0 & BIT(5) ? ~0u : ~avx512_7_edx;
	} else if (e->function == 7) {
		e->eax &= xcr0 & BIT(2) ? ~0u : ~(F(AVX_VNNI) | BIT(23));
		e->eax &= xcr0 & BIT(5) ? ~0u : ~F(AVX512_BF16);
	} else if (e->function == 0x80000001) {
		e->ecx &= xcr0 & BIT(2) ? ~0u : ~(F(XOP) | F(FMA4));
	}
}

/* Sub-leaves of caches end with type 0 (SDM vol. 2 CPUID leaf 4; APM vol. 3 appendix E.4.15). */
static void __init add_caches(u32 leaf)
{
	struct kvm_cpuid_entry2 host, *e;
	u32 i = 0;

	do {
		host_cpuid(&host, leaf, i);
		e = add_entry(leaf, i, true);
		apply_tables(e, &host);
	} while (host.eax & 0x1f && ++i < 8);
}

/* XSAVE: sizes follow from XCR0 when the guest asks (cpuid.c). */
static void __init add_xstate(void)
{
	u64 xcr0 = wafer_host_xcr0();
	struct kvm_cpuid_entry2 host, *e;
	unsigned int i;

	e = add_entry(0xd, 0, true);
	if (!xcr0)
		return;
	e->eax = xcr0;
	e->edx = xcr0 >> 32;
	e->ebx = e->ecx = wafer_xsave_size(xcr0, false);
	host_cpuid(&host, 0xd, 1);
	e = add_entry(0xd, 1, true);
	apply_tables(e, &host);
	e->ebx = e->eax & F(XSAVEC) ? wafer_xsave_size(xcr0, true) : 0;
	for (i = 2; i < 63; i++) {
		if (!(xcr0 & BIT_ULL(i)))
			continue;
		e = add_entry(0xd, i, true);
		host_cpuid(&host, 0xd, i);
		e->eax = host.eax;
		e->ebx = host.ebx;
		e->ecx = host.ecx & 2;
	}
}

static void __init add_leaf7(void)
{
	struct kvm_cpuid_entry2 host, *e;
	u32 i, max;

	host_cpuid(&host, 7, 0);
	max = min(host.eax, 1u);
	for (i = 0; i <= max; i++) {
		host_cpuid(&host, 7, i);
		e = add_entry(7, i, true);
		apply_tables(e, &host);
		drop_without_state(e);
		if (!i)
			e->eax = max;
	}
}

/* Linear widths are the CPU's; physical ones also what the nested table can translate. */
static u32 __init address_widths(u32 host)
{
	u32 phys = min(host & 0xff, wafer_caps.levels == 5 ? 52u : 48u);

	return phys | (host & 0xff00);
}

static void __init add_leaf(u32 leaf, u32 max)
{
	struct kvm_cpuid_entry2 host, *e;

	switch (leaf) {
	case 4:
	case 0x8000001d:
		add_caches(leaf);
		return;
	case 7:
		add_leaf7();
		return;
	case 0xd:
		add_xstate();
		return;
	}
	host_cpuid(&host, leaf, 0);
	e = add_entry(leaf, 0, leaf == 0xb || leaf == 0x1f);
	apply_tables(e, &host);
	drop_without_state(e);
	switch (leaf) {
	case 0:
	case 0x80000000:
		*e = host;
		e->function = leaf;
		e->index = e->flags = 0;
		e->eax = max;
		break;
	case WAFER_PV_LEAF:
		e->eax = WAFER_PV_LEAF + 1;
		e->ebx = WAFER_PV_SIGNATURE_EBX;
		e->ecx = WAFER_PV_SIGNATURE_ECX;
		e->edx = WAFER_PV_SIGNATURE_EDX;
		break;
	case 0x80000008:
		e->eax = address_widths(host.eax);
		break;
	}
}

static void __init note_offered(void)
{
	const struct wafer_cpuid_word *w;
	unsigned int i;

	for (w = wafer_cpuid_words; w < wafer_cpuid_words + wafer_nr_cpuid_words; w++)
		for (i = 0; i < nr_supported && w->word != WAFER_NO_WORD; i++)
			if (supported[i].function == w->leaf && supported[i].index == w->index)
				offered[w->word] = *wafer_cpuid_reg(&supported[i], w->reg);
}

/* Every leaf of the three ranges up to what the host has, so that no VMM misses one; most are 0. */
void __init wafer_cpuid_setup(void)
{
	u32 leaf, max;

	max = min_t(u32, cpuid_eax(0), 0x1f);
	for (leaf = 0; leaf <= max; leaf++)
		add_leaf(leaf, max);
	add_leaf(WAFER_PV_LEAF, 0);
	add_leaf(WAFER_PV_LEAF + 1, 0);
	max = min(cpuid_eax(0x80000000), 0x80000021u);
	for (leaf = 0x80000000; leaf <= max; leaf++)
		add_leaf(leaf, max);
	note_offered();
}

/* A feature bit of <asm/cpufeatures.h>: can guests have it at all? */
bool wafer_offered(unsigned int feature)
{
	return offered[feature / 32 % NCAPINTS] & BIT(feature % 32);
}

/**
 * wafer_supported_cpuid() - what guests can be given
 * @e: result
 * @max: room
 *
 * Return: number of entries, or -E2BIG.
 */
int wafer_supported_cpuid(struct kvm_cpuid_entry2 *e, unsigned int max)
{
	if (max < nr_supported)
		return -E2BIG;
	memcpy(e, supported, nr_supported * sizeof(*e));
	return nr_supported;
}

/* Instructions that the CPU lacks and the module emulates: none. */
int wafer_emulated_cpuid(struct kvm_cpuid_entry2 *e, unsigned int max)
{
	return 0;
}
