// SPDX-License-Identifier: GPL-2.0
/*
 * CPUID: what KVM_GET_SUPPORTED_CPUID offers; the table of one guest; the instruction, which runs
 * in the window: no allocation, no long search.
 *
 * A bit or register that no table below names is 0 for the guest: what a new CPU brings stays
 * hidden until somebody has looked at it. No nesting, no SMM, no performance counters.
 */
#include "compat.h"
#include "core.h"

#define PV_LEAF		0x40000000

#define F(name) X86_FEATURE_##name
#define W(name) (F(name) / 32)
#define B(name) BIT(F(name) & 31)

enum { EAX, EBX, ECX, EDX };

static u32 *reg_of(struct kvm_cpuid_entry2 *e, unsigned int reg)
{
	u32 *regs[] = { &e->eax, &e->ebx, &e->ecx, &e->edx };

	return regs[reg];
}

/* ---- what is offered ---- */

/*
 * Registers full of feature bits, and the word of <asm/cpufeatures.h> that has the layout of each.
 */
static const struct feature_word {
	u32 leaf;
	u8 index, reg, word;
} feature_words[] = {
	{ 1, 0, EDX, W(FPU) }, { 1, 0, ECX, W(XMM3) }, { 6, 0, EAX, W(ARAT) },
	{ 7, 0, EBX, W(FSGSBASE) }, { 7, 0, ECX, W(AVX512VBMI) }, { 7, 0, EDX, W(SPEC_CTRL) },
	{ 7, 1, EAX, W(AVX_VNNI) }, { 0xd, 1, EAX, W(XSAVEOPT) }, { 0x80000008, 0, EBX, W(CLZERO) },
	{ 0x80000001, 0, EDX, W(SYSCALL) }, { 0x80000001, 0, ECX, W(LAHF_LM) },
};

/* Unnamed in some kernels. */
#define F_7_1(bit) (F(AVX_VNNI) / 32 * 32 + (bit))	/* 10 FZRM, 11 FSRS, 12 FSRC, 23 AVX-IFMA */
#define F_8000_0008(bit) (F(CLZERO) / 32 * 32 + (bit))	/* 28 PSFD, 30 IBPB_RET */

/*
 * Offered where the CPU has it, the host's kernel uses it and the state that it needs, in XCR0, is
 * offered.
 */
static const struct {
	u32 state;
	u16 features[112];		/* filled up with 0, FPU */
} offers[] = {
	{ 0, {
		F(FPU), F(VME), F(DE), F(PSE), F(TSC), F(MSR), F(PAE), F(CX8), F(SEP), F(PGE),
		F(CMOV), F(PSE36), F(CLFLUSH), F(MMX), F(FXSR), F(XMM), F(XMM2), F(SELFSNOOP),
		F(XMM3), F(PCLMULQDQ), F(SSSE3), F(CX16), F(PCID), F(XMM4_1), F(XMM4_2), F(MOVBE),
		F(POPCNT), F(AES), F(RDRAND), F(FSGSBASE), F(BMI1), F(HLE), F(FDP_EXCPTN_ONLY),
		F(SMEP), F(BMI2), F(ERMS), F(INVPCID), F(RTM), F(ZERO_FCS_FDS), F(RDSEED), F(ADX),
		F(SMAP), F(CLFLUSHOPT), F(CLWB), F(SHA_NI), F(UMIP), F(GFNI), F(LA57), F(RDPID),
		F(CLDEMOTE), F(MOVDIRI), F(MOVDIR64B), F(FSRM), F(MD_CLEAR), F(SERIALIZE),
		F(TSXLDTRK), F(SPEC_CTRL), F(INTEL_STIBP), F(FLUSH_L1D),
		F(SPEC_CTRL_SSBD), F_7_1(10), F_7_1(11), F_7_1(12), F(SYSCALL), F(NX), F(MMXEXT),
		F(FXSR_OPT), F(GBPAGES), F(RDTSCP), F(LM),
		F(LAHF_LM), F(CMP_LEGACY), F(CR8_LEGACY), F(ABM), F(SSE4A), F(MISALIGNSSE),
		F(3DNOWPREFETCH), F(OSVW), F(TBM), F(TOPOEXT), F(CLZERO), F(XSAVEERPTR),
		F(WBNOINVD), F(AMD_IBPB), F(AMD_IBRS), F(AMD_STIBP), F(AMD_STIBP_ALWAYS_ON),
		F(AMD_SSBD), F(AMD_SSB_NO), F_8000_0008(28), F(BTC_NO), F_8000_0008(30) } },
	{ XFEATURE_MASK_FP, { F(XSAVE), F(XSAVEOPT), F(XSAVEC), F(XGETBV1) } },
	{ XFEATURE_MASK_YMM, {
		F(AVX), F(FMA), F(F16C), F(AVX2), F(VAES), F(VPCLMULQDQ), F(AVX_VNNI), F_7_1(23),
		F(XOP), F(FMA4) } },
	{ XFEATURE_MASK_AVX512, {
		F(AVX512F), F(AVX512DQ), F(AVX512IFMA), F(AVX512PF), F(AVX512ER), F(AVX512CD),
		F(AVX512BW), F(AVX512VL), F(AVX512VBMI), F(AVX512_VBMI2), F(AVX512_VNNI),
		F(AVX512_BITALG), F(AVX512_VPOPCNTDQ), F(AVX512_4VNNIW), F(AVX512_4FMAPS),
		F(AVX512_VP2INTERSECT), F(AVX512_FP16), F(AVX512_BF16) } },
	{ XFEATURE_MASK_PKRU, { F(PKU) } },
};

/* The bits of 0x80000001 EDX that repeat those of leaf 1 on AMD. */
#define AMD_COPIES 0x0183f3ff

/*
 * Offered always: the module provides it by itself. But for TSC_DEADLINE_TIMER, which needs the
 * local APIC in the kernel: VMMs add it by KVM_CAP_TSC_DEADLINE_TIMER, and those with an APIC of
 * their own must not find it.
 */
static const u16 provided[] = {
	F(APIC), F(MTRR), F(MCE), F(MCA), F(PAT), F(X2APIC), F(HYPERVISOR), F(ARAT), F(TSC_ADJUST),
	F(ARCH_CAPABILITIES),
};

/* Registers that go through by mask: mostly descriptions of the CPU and its caches. */
#define ALL { ~0u, ~0u, ~0u, ~0u }
static const struct passed {
	u32 first, last, mask[4];
} passed[] = {
	{ 1, 1, { ~0u, 0xff00, 0, 0 } },			/* signature; CLFLUSH size */
	{ 2, 2, ALL }, { 4, 4, ALL }, { 0xd, 0xd, { ~0u, ~0u, 2, 0 } },
	{ 0x80000001, 0x80000001, { ~0u, 0xf000ffff, 0, 0 } },	/* signature; brand, package */
	{ 0x80000002, 0x80000006, ALL },
	{ 0x80000007, 0x80000007, { 0, 0, 0, BIT(8) } },	/* invariant TSC */
	{ 0x80000019, 0x80000019, { ~0u, ~0u, 0, 0 } }, { 0x8000001a, 0x8000001a, { 7, 0, 0, 0 } },
	{ 0x8000001d, 0x8000001d, ALL },
	/*
	 * No nested data breakpoints, LFENCE serialises, null selectors clear bases, no SMM_CTL;
	 * SRSO.
	 */
	{ 0x80000021, 0x80000021, { BIT(0) | BIT(2) | BIT(6) | BIT(9) | GENMASK(30, 28) } },
};

static const struct kvm_cpuid_entry2 pv_leaves[] = {
	{ .function = PV_LEAF, .eax = PV_LEAF + 1,
	  .ebx = 0x4b4d564b, .ecx = 0x564b4d56, .edx = 0x4d },	/* "KVMKVMKVM\0\0\0" */
	{ .function = PV_LEAF + 1,
	  .eax = BIT(KVM_FEATURE_CLOCKSOURCE) | BIT(KVM_FEATURE_NOP_IO_DELAY) |
		 BIT(KVM_FEATURE_CLOCKSOURCE2) | BIT(KVM_FEATURE_STEAL_TIME) |
		 BIT(KVM_FEATURE_PV_UNHALT) | BIT(KVM_FEATURE_PV_SEND_IPI) |
		 BIT(KVM_FEATURE_CLOCKSOURCE_STABLE_BIT) },
};

/* Written once at module load. */
static struct kvm_cpuid_entry2 supported[128];	/* at most 92 can come together */
static unsigned int nr_supported;
static u32 offered[NCAPINTS];

static void __init find_offered(void)
{
	const struct feature_word *w;
	struct kvm_cpuid_entry2 host;
	u32 may[NCAPINTS] = { [F(SYSCALL) / 32] = AMD_COPIES };
	unsigned int i, n;

	for (i = 0; i < ARRAY_SIZE(offers); i++)
		for (n = 0; n < ARRAY_SIZE(offers[i].features); n++)
			if (!(offers[i].state & ~wafer_host_xcr0()))
				may[offers[i].features[n] / 32] |= BIT(offers[i].features[n] % 32);
	for (w = feature_words; w < feature_words + ARRAY_SIZE(feature_words); w++) {
		cpuid_count(w->leaf, w->index, &host.eax, &host.ebx, &host.ecx, &host.edx);
		/*
		 * Five levels of paging are the guest's own, whatever the host's kernel runs with.
		 */
		offered[w->word] = *reg_of(&host, w->reg) & may[w->word] &
				   (boot_cpu_data.x86_capability[w->word] |
				    (w->word == F(LA57) / 32 ? B(LA57) : 0));
	}
	for (i = 0; i < ARRAY_SIZE(provided); i++)
		offered[provided[i] / 32] |= BIT(provided[i] % 32);
}

/* What @e is but for the tables: @max is the range's last leaf, @host what the CPU says. */
static void __init fix_up(struct kvm_cpuid_entry2 *e, u32 max, const struct kvm_cpuid_entry2 *host)
{
	u64 xcr0 = wafer_host_xcr0();

	switch (e->function) {
	case 0:
	case 0x80000000:
		*e = *host;
		e->eax = max;
		break;
	case 7:
		e->eax = e->index ? e->eax : min(host->eax, 1u);
		break;
	case 0xd:			/* sizes follow from XCR0 when the guest asks */
		if (e->index > 1)
			break;
		e->ebx = !xcr0 || (e->index && !(e->eax & B(XSAVEC))) ? 0 :
			 wafer_xsave_size(xcr0, e->index);
		e->eax = e->index ? e->eax : xcr0;
		e->ecx = e->index ? 0 : e->ebx;
		break;
	case 0x80000008:
		/*
		 * Linear widths are the CPU's; physical ones what the nested table can translate.
		 */
		e->eax = min(host->eax & 0xff, wafer_caps.levels == 5 ? 52u : 48u) |
			 (host->eax & 0xff00);
		break;
	}
}

/*
 * Is there a sub-leaf @index? Those of caches end with type 0 (SDM vol. 2 CPUID leaf 4; APM vol. 3
 * appendix E.4.15).
 */
static bool __init has_subleaf(u32 leaf, u32 index, const struct kvm_cpuid_entry2 *previous)
{
	switch (leaf) {
	case 4:
	case 0x8000001d:
		return index < 8 && previous->eax & 0x1f;
	case 7:
		return index == 1 && previous->eax;
	case 0xd:
		return index == 1 ? wafer_host_xcr0() : wafer_host_xcr0() >> index & 1;
	}
	return false;
}

static void __init add_leaf(u32 leaf, u32 max)
{
	const u32 indexed = BIT(4) | BIT(7) | BIT(0xb) | BIT(0xd) | BIT(0x1f);
	struct kvm_cpuid_entry2 host = {}, *e;
	const struct feature_word *w;
	u32 index, i;

	for (index = 0; index < 64; index++) {
		if (index && !has_subleaf(leaf, index, &host))
			continue;
		host.function = leaf;
		cpuid_count(leaf, index, &host.eax, &host.ebx, &host.ecx, &host.edx);
		e = &supported[nr_supported++];
		e->function = leaf;
		e->index = index;
		if (leaf < 32 ? indexed >> leaf & 1 : leaf == 0x8000001d)
			e->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
		for (const struct passed *p = passed; p < passed + ARRAY_SIZE(passed); p++)
			for (i = 0; i < 4 && leaf >= p->first && leaf <= p->last; i++)
				*reg_of(e, i) = *reg_of(&host, i) & p->mask[i];
		for (w = feature_words; w < feature_words + ARRAY_SIZE(feature_words); w++)
			if (w->leaf == leaf && w->index == index)
				*reg_of(e, w->reg) = offered[w->word];
		fix_up(e, max, &host);
	}
}

/* Every leaf of the three ranges up to what the host has, so that no VMM misses one; most are 0. */
void __init wafer_cpuid_setup(void)
{
	u32 leaf, max = min_t(u32, cpuid_eax(0), 0x1f);

	find_offered();
	for (leaf = 0; leaf <= max; leaf++)
		add_leaf(leaf, max);
	for (leaf = 0; leaf < ARRAY_SIZE(pv_leaves); leaf++)
		supported[nr_supported++] = pv_leaves[leaf];
	max = min(cpuid_eax(0x80000000), 0x80000021u);
	for (leaf = 0x80000000; leaf <= max; leaf++)
		add_leaf(leaf, max);
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

/* ---- what one guest has ---- */

/**
 * struct wafer_cpuid - the guest's CPUID; replaced as a whole
 * @words: feature words as in <asm/cpufeatures.h>
 * @phys_bits: guest-physical address width
 * @amd: the vendor is AMD or Hygon: leaves out of range are 0
 * @first: where the slot of the first leaf with this hash is, in units of four bytes; 0: none
 * @nr: slots
 * @slot: an entry as given, without what follows the vCPU's state; the next slot of the same hash,
 *	likewise
 */
struct wafer_cpuid {
	u32 words[NCAPINTS];
	u8 phys_bits;
	bool amd;
	u16 first[128];
	u32 nr;
	struct wafer_cpuid_slot {
		struct kvm_cpuid_entry2 entry;
		u16 next;
		bool dynamic;
	} slot[];
};

/* Keeps the low leaves of the basic, the KVM and the extended range apart. */
static u16 *bucket(struct wafer_cpuid *c, u32 leaf)
{
	return &c->first[(leaf ^ leaf >> 25) % ARRAY_SIZE(c->first)];
}

/* The first match wins, as in KVM. */
static __always_inline struct wafer_cpuid_slot *find(struct wafer_cpuid *c, u32 leaf, u32 index)
{
	struct wafer_cpuid_slot *s;

	for (unsigned long at = *bucket(c, leaf); at; at = s->next) {
		s = (void *)c + 4 * at;
		if (s->entry.function == leaf &&
		    (!(s->entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) ||
		     s->entry.index == index))
			return s;
	}
	return NULL;
}

static noinline struct wafer_cpuid_slot *lookup(struct wafer_cpuid *c, u32 leaf, u32 index)
{
	return find(c, leaf, index);
}

static void put_bit(u32 *reg, u32 bit, bool on)
{
	*reg = (*reg & ~bit) | (on ? bit : 0);
}

/*
 * Bits that follow the state of the vCPU: CR4, APIC_BASE, XCR0 (SDM vol. 2 CPUID). @vcpu NULL: they
 * are left out, so that tables can be compared. True if there are any.
 */
static bool follow_state(struct kvm_cpuid_entry2 *e, struct wafer_vcpu *vcpu)
{
	u64 cr4 = vcpu ? wafer_cr4(vcpu) : 0, apic_base = vcpu ? vcpu->apic_base : 0;

	if (e->function == 1) {
		put_bit(&e->ecx, B(OSXSAVE), cr4 & X86_CR4_OSXSAVE);
		put_bit(&e->edx, B(APIC), apic_base & MSR_IA32_APICBASE_ENABLE);
		if (vcpu)
			put_bit(&e->ecx, B(MWAIT), wafer_guest_has(vcpu, F(MWAIT)));
	} else if (e->function == 7 && !e->index) {
		put_bit(&e->ecx, B(OSPKE), cr4 & X86_CR4_PKE);
	} else if (e->function == 0xd &&
		   (e->index ? e->index == 1 && e->eax & B(XSAVEC) : e->ecx)) {
		e->ebx = vcpu ? wafer_xsave_size(vcpu->arch.xcr0, e->index) : 0;
	} else {
		return false;
	}
	return true;
}

/* A leaf above its range's highest: Intel answers with the highest basic leaf, AMD with zeros. */
static struct wafer_cpuid_slot *out_of_range(struct wafer_cpuid *c, u32 leaf, u32 index)
{
	struct wafer_cpuid_slot *basic = lookup(c, 0, 0), *range;

	if (!basic || c->amd)
		return NULL;
	range = lookup(c, leaf >> 28 == 4 ? leaf & 0xffffff00 : leaf & 0x80000000, 0);
	return range && leaf <= range->entry.eax ? NULL : lookup(c, basic->entry.eax, index);
}

/*
 * What the CPUID instruction gives. Window or not. Returned is the guest's entry, or @e with what
 * it is now.
 */
const struct kvm_cpuid_entry2 *wafer_cpuid(struct wafer_vcpu *vcpu, u32 leaf, u32 index,
					    struct kvm_cpuid_entry2 *e)
{
	struct wafer_cpuid *c = vcpu->cpuid;
	struct wafer_cpuid_slot *s = lookup(c, leaf, index) ?: out_of_range(c, leaf, index);

	if (likely(s && !s->dynamic))
		return &s->entry;
	if (s) {
		*e = s->entry;
		follow_state(e, vcpu);
		return e;
	}
	/*
	 * Sub-leaves past the last of a topology leaf still tell the x2APIC id (SDM vol. 2 CPUID
	 * leaf 0BH).
	 */
	s = leaf == 0xb || leaf == 0x1f ? lookup(c, leaf, 1) : NULL;
	*e = (struct kvm_cpuid_entry2){ .ecx = s ? index & 0xff : 0, .edx = s ? s->entry.edx : 0 };
	return e;
}

static __always_inline int put_cpuid(struct wafer_vcpu *vcpu, const struct kvm_cpuid_entry2 *e)
{
	u64 *gpr = vcpu->arch.gpr;

	gpr[WAFER_RAX] = e->eax;
	gpr[WAFER_RBX] = e->ebx;
	gpr[WAFER_RCX] = e->ecx;
	gpr[WAFER_RDX] = e->edx;
	return wafer_skip(vcpu);
}

static noinline int changing_cpuid(struct wafer_vcpu *vcpu)
{
	const u64 *gpr = vcpu->arch.gpr;
	struct kvm_cpuid_entry2 e;

	if (unlikely(vcpu->msr.misc_features) && wafer_cpl(vcpu))
		return wafer_queue_gp(vcpu);
	return put_cpuid(vcpu, wafer_cpuid(vcpu, gpr[WAFER_RAX], gpr[WAFER_RCX], &e));
}

/* Most entries do not follow the vCPU's state. */
int wafer_exit_cpuid(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	u32 leaf = vcpu->arch.gpr[WAFER_RAX], index = vcpu->arch.gpr[WAFER_RCX];
	struct wafer_cpuid_slot *s = find(vcpu->cpuid, leaf, index);

	return likely(s && !s->dynamic) ? put_cpuid(vcpu, &s->entry) : changing_cpuid(vcpu);
}

/* The leaf of KVM's features, wherever the VMM has put it. */
static struct wafer_cpuid_slot *find_pv_features(struct wafer_cpuid *c)
{
	struct wafer_cpuid_slot *s;

	for (u32 base = PV_LEAF; c->nr && base < PV_LEAF + 0x10000; base += 0x100) {
		s = lookup(c, base, 0);
		if (s && !memcmp(&s->entry.ebx, &pv_leaves[0].ebx, 12))
			return lookup(c, base + 1, 0);
	}
	return NULL;
}

/* What the module itself asks of a guest's CPUID, found once. */
static void digest(struct wafer_vcpu *vcpu)
{
	struct wafer_cpuid *c = vcpu->cpuid;
	const struct feature_word *w;
	struct wafer_cpuid_slot *s;

	for (w = feature_words; w < feature_words + ARRAY_SIZE(feature_words); w++) {
		s = lookup(c, w->leaf, w->index);
		if (s)
			c->words[w->word] = *reg_of(&s->entry, w->reg);
	}
	s = lookup(c, 0, 0);
	/* Auth..., Hygo... */
	c->amd = s && (s->entry.ebx == 0x68747541 || s->entry.ebx == 0x6f677948);
	s = lookup(c, 0x80000008, 0);
	c->phys_bits = s ? clamp_t(u32, s->entry.eax & 0xff, 32, 52) : 36;
	s = lookup(c, 0xd, 0);
	vcpu->guest_xcr0 = (s ? s->entry.eax & wafer_host_xcr0() : 0) | XFEATURE_MASK_FP;
	vcpu->has_cpuid = c->nr;
	vcpu->has_pku = wafer_host_xcr0() & XFEATURE_MASK_PKRU && wafer_guest_has(vcpu, F(PKU));
	s = find_pv_features(c);
	vcpu->pv_features = s ? s->entry.eax : 0;
	wafer_cpuid_update(vcpu);
}

static struct wafer_cpuid *build(struct wafer_vcpu *vcpu, const struct kvm_cpuid_entry2 *e,
				 unsigned int nr)
{
	struct wafer_cpuid *c = kvzalloc(struct_size(c, slot, nr), GFP_KERNEL_ACCOUNT);
	struct wafer_cpuid_slot *pv;
	u16 *link;

	for (; c && c->nr < nr; c->nr++) {
		struct wafer_cpuid_slot *s = &c->slot[c->nr];

		s->entry = e[c->nr];
		memset(s->entry.padding, 0, sizeof(s->entry.padding));
		s->dynamic = follow_state(&s->entry, NULL) || vcpu->msr.misc_features;
		for (link = bucket(c, s->entry.function); *link;)
			link = &((struct wafer_cpuid_slot *)((void *)c + 4 * *link))->next;
		*link = ((void *)s - (void *)c) / 4;
	}
	pv = c ? find_pv_features(c) : NULL;
	/* As in KVM: where HLT makes no exit, no call ends it. */
	if (pv && vcpu->vm->exits_disabled & KVM_X86_DISABLE_EXITS_HLT)
		pv->entry.eax &= ~(u32)BIT(KVM_FEATURE_PV_UNHALT);
	return c;
}

/* A guest that has seen its CPUID keeps it; setting the same again is how VMMs plug CPUs. */
static bool may_replace(struct wafer_vcpu *vcpu, const struct wafer_cpuid *new)
{
	const struct wafer_cpuid *old = vcpu->cpuid;

	return !memchr_inv(vcpu->stat_exits, 0, sizeof(vcpu->stat_exits)) ||
	       (old->nr == new->nr && !memcmp(old->slot, new->slot, new->nr * sizeof(*new->slot)));
}

/**
 * wafer_set_cpuid() - KVM_SET_CPUID2
 * @vcpu: vCPU
 * @e: the table, private to the caller
 * @nr: at most 256
 *
 * Return: 0; -EINVAL; -ENOMEM.
 */
int wafer_set_cpuid(struct wafer_vcpu *vcpu, const struct kvm_cpuid_entry2 *e, unsigned int nr)
{
	struct wafer_cpuid *c = build(vcpu, e, nr);
	struct wafer_cpuid_slot *s;
	u32 bits;
	int r;

	if (!c)
		return -ENOMEM;
	s = lookup(c, 0x80000008, 0);
	bits = s ? s->entry.eax >> 8 & 0xff : 0;
	r = wafer_deny(vcpu, bits && bits != 48 && bits != 57, "CPUID 0x80000008 EAX",
		       s ? s->entry.eax : 0, "has 0, 48 or 57 bits of linear address") ?:
	    wafer_deny(vcpu, !may_replace(vcpu, c), "CPUID", nr,
		       "stays what it is once the vCPU has run");
	if (!r)
		swap(vcpu->cpuid, c);
	kvfree(c);
	if (r)
		return r;
	digest(vcpu);
	wafer_hazards_set(vcpu, BIT(WAFER_H_INTERCEPT) | BIT(WAFER_H_CHECK));
	return 0;
}

int wafer_get_cpuid(struct wafer_vcpu *vcpu, struct kvm_cpuid_entry2 *e, unsigned int max)
{
	struct wafer_cpuid *c = vcpu->cpuid;

	for (unsigned int i = 0; i < min(c->nr, max); i++) {
		e[i] = c->slot[i].entry;
		follow_state(&e[i], vcpu);
	}
	return c->nr;
}

int wafer_cpuid_create(struct wafer_vcpu *vcpu)
{
	vcpu->cpuid = build(vcpu, NULL, 0);
	if (!vcpu->cpuid)
		return -ENOMEM;
	digest(vcpu);
	return 0;
}

/*
 * MISC_ENABLE has changed: it switches MWAIT (SDM vol. 4 table 2-2), unless KVM's quirk says that
 * CPUID stays as it is.
 */
void wafer_cpuid_update(struct wafer_vcpu *vcpu)
{
	if (vcpu->vm->quirks_disabled & KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT)
		put_bit(&vcpu->cpuid->words[F(MWAIT) / 32], B(MWAIT),
			vcpu->msr.misc_enable & MSR_IA32_MISC_ENABLE_MWAIT);
}

/* MISC_FEATURES_ENABLES has changed: with CPUID faulting no entry may take the short way. */
void wafer_cpuid_faulting(struct wafer_vcpu *vcpu)
{
	struct wafer_cpuid *c = vcpu->cpuid;

	for (struct wafer_cpuid_slot *s = c->slot; s < c->slot + c->nr; s++)
		s->dynamic = follow_state(&s->entry, NULL) || vcpu->msr.misc_features;
}

bool wafer_guest_has(struct wafer_vcpu *vcpu, unsigned int feature)
{
	return vcpu->cpuid->words[feature / 32 % NCAPINTS] & BIT(feature % 32);
}

u8 wafer_guest_phys_bits(struct wafer_vcpu *vcpu)
{
	return vcpu->cpuid->phys_bits;
}
