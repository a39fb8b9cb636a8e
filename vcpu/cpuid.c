// SPDX-License-Identifier: GPL-2.0
/* The CPUID table of a guest, and the CPUID instruction, which runs in the window: no allocation, no search. */
#include <linux/kvm_para.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <asm/cpufeature.h>
#include <asm/processor-flags.h>

#include "cpuid.h"
#include "fpu.h"
#include "vcpu.h"
#include "vm.h"

#define BASIC_LEAVES	0x40
#define EXT_LEAVES	0x40
#define PV_LEAVES	0x10

/* What is not stored but computed when the guest asks. */
enum { STATIC, LEAF_1, LEAF_7, LEAF_D0, LEAF_D1 };

/**
 * struct wafer_cpuid - the guest's CPUID; replaced as a whole
 * @words: feature words as in <asm/cpufeatures.h>
 * @xcr0: components that the guest may enable
 * @phys_bits: guest-physical address width
 * @amd: the vendor is AMD or Hygon: leaves out of range are 0
 * @pv: feature bits of the KVM leaf
 * @basic: slot + 1 of the leaves from 0; 0: none
 * @ext: the same for those from 0x80000000
 * @pv_leaf: the same for those from 0x40000000
 * @nr: slots
 * @slot: an entry as given, without the dynamic bits; the next slot + 1 of the same leaf; what is dynamic
 */
struct wafer_cpuid {
	u32 words[NCAPINTS];
	u64 xcr0;
	u32 pv;
	u8 phys_bits;
	bool amd;
	u16 basic[BASIC_LEAVES], ext[EXT_LEAVES], pv_leaf[PV_LEAVES];
	u32 nr;
	struct wafer_cpuid_slot {
		struct kvm_cpuid_entry2 entry;
		u16 next;
		u8 dynamic;
	} slot[];
};

/* Where the first entry of @leaf is noted; NULL for leaves outside the direct ranges. */
static u16 *first_of(struct wafer_cpuid *c, u32 leaf)
{
	if (leaf < BASIC_LEAVES)
		return &c->basic[array_index_nospec(leaf, BASIC_LEAVES)];
	if (leaf - 0x80000000 < EXT_LEAVES)
		return &c->ext[array_index_nospec(leaf - 0x80000000, EXT_LEAVES)];
	if (leaf - WAFER_PV_LEAF < PV_LEAVES)
		return &c->pv_leaf[array_index_nospec(leaf - WAFER_PV_LEAF, PV_LEAVES)];
	return NULL;
}

static bool matches(const struct wafer_cpuid_slot *s, u32 leaf, u32 index)
{
	return s->entry.function == leaf &&
	       (s->entry.index == index || !(s->entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX));
}

/* The first match wins, as in KVM. */
static struct wafer_cpuid_slot *lookup(struct wafer_cpuid *c, u32 leaf, u32 index)
{
	u16 *first = first_of(c, leaf);
	u32 i;

	if (likely(first)) {
		for (i = *first; i; i = c->slot[i - 1].next)
			if (matches(&c->slot[i - 1], leaf, index))
				return &c->slot[i - 1];
		return NULL;
	}
	for (i = 0; i < c->nr; i++)
		if (matches(&c->slot[i], leaf, index))
			return &c->slot[i];
	return NULL;
}

/* Bits that follow the state of the vCPU: CR4, APIC_BASE, XCR0 (SDM vol. 2 CPUID). */
static void compute(struct wafer_vcpu *vcpu, struct kvm_cpuid_entry2 *e, u8 dynamic)
{
	switch (dynamic) {
	case LEAF_1:
		if (wafer_cr4(vcpu) & X86_CR4_OSXSAVE)
			e->ecx |= BIT(X86_FEATURE_OSXSAVE & 31);
		if (wafer_apic_base_get(vcpu) & MSR_IA32_APICBASE_ENABLE)
			e->edx |= BIT(X86_FEATURE_APIC & 31);
		e->ecx &= ~BIT(X86_FEATURE_MWAIT & 31);
		if (wafer_guest_has(vcpu, X86_FEATURE_MWAIT))
			e->ecx |= BIT(X86_FEATURE_MWAIT & 31);
		break;
	case LEAF_7:
		if (wafer_cr4(vcpu) & X86_CR4_PKE)
			e->ecx |= BIT(X86_FEATURE_OSPKE & 31);
		break;
	case LEAF_D0:
		e->ebx = wafer_xsave_size(vcpu->arch.xcr0, false);
		break;
	case LEAF_D1:
		e->ebx = wafer_xsave_size(vcpu->arch.xcr0, true);
		break;
	}
}

/* A leaf above its range's highest: Intel answers with the highest basic leaf, AMD with zeros. */
static struct wafer_cpuid_slot *out_of_range(struct wafer_cpuid *c, u32 leaf, u32 index)
{
	struct wafer_cpuid_slot *basic = lookup(c, 0, 0), *range;

	if (!basic || c->amd)
		return NULL;
	range = lookup(c, leaf >> 28 == 4 ? leaf & 0xffffff00 : leaf & 0x80000000, 0);
	if (range && leaf <= range->entry.eax)
		return NULL;
	return lookup(c, basic->entry.eax, index);
}

/* Sub-leaves past the last of a topology leaf still tell the x2APIC id (SDM vol. 2 CPUID leaf 0BH). */
static void topology_past_end(struct wafer_cpuid *c, u32 leaf, u32 index, u32 *ecx, u32 *edx)
{
	struct wafer_cpuid_slot *s = leaf == 0xb || leaf == 0x1f ? lookup(c, leaf, 1) : NULL;

	if (s) {
		*ecx = index & 0xff;
		*edx = s->entry.edx;
	}
}

/**
 * wafer_cpuid() - the CPUID instruction
 * @vcpu: vCPU
 * @eax: leaf in, result out
 * @ebx: result
 * @ecx: sub-leaf in, result out
 * @edx: result
 *
 * Context: window or not.
 */
void wafer_cpuid(struct wafer_vcpu *vcpu, u32 *eax, u32 *ebx, u32 *ecx, u32 *edx)
{
	struct wafer_cpuid *c = vcpu->cpuid;
	u32 leaf = *eax, index = *ecx;
	struct wafer_cpuid_slot *s = lookup(c, leaf, index);
	const struct kvm_cpuid_entry2 *e;
	struct kvm_cpuid_entry2 computed;

	if (unlikely(!s)) {
		*eax = *ebx = *ecx = *edx = 0;
		s = out_of_range(c, leaf, index);
		if (!s) {
			topology_past_end(c, leaf, index, ecx, edx);
			return;
		}
	}
	e = &s->entry;
	if (unlikely(s->dynamic)) {
		computed = *e;
		compute(vcpu, &computed, s->dynamic);
		e = &computed;
	}
	*eax = e->eax;
	*ebx = e->ebx;
	*ecx = e->ecx;
	*edx = e->edx;
}

static u8 dynamic_kind(const struct kvm_cpuid_entry2 *e)
{
	if (e->function == 1)
		return LEAF_1;
	if (e->function == 7 && !e->index)
		return LEAF_7;
	if (e->function == 0xd && !e->index && e->ecx)
		return LEAF_D0;
	if (e->function == 0xd && e->index == 1 && e->eax & BIT(X86_FEATURE_XSAVEC & 31))
		return LEAF_D1;
	return STATIC;
}

/* What compute() fills in is not kept, so that a table read at run time can be set again. */
static void strip_dynamic(struct kvm_cpuid_entry2 *e, u8 dynamic)
{
	if (dynamic == LEAF_1) {
		e->ecx &= ~BIT(X86_FEATURE_OSXSAVE & 31);
		e->edx &= ~BIT(X86_FEATURE_APIC & 31);
	} else if (dynamic == LEAF_7) {
		e->ecx &= ~BIT(X86_FEATURE_OSPKE & 31);
	} else if (dynamic == LEAF_D0 || dynamic == LEAF_D1) {
		e->ebx = 0;
	}
}

static void index_entries(struct wafer_cpuid *c)
{
	u16 *link;
	u32 i;

	for (i = 0; i < c->nr; i++) {
		link = first_of(c, c->slot[i].entry.function);
		if (!link)
			continue;
		while (*link)
			link = &c->slot[*link - 1].next;
		*link = i + 1;
	}
}

static u32 find_pv_features(struct wafer_cpuid *c)
{
	struct wafer_cpuid_slot *s;
	u32 base;

	for (base = WAFER_PV_LEAF; base < WAFER_PV_LEAF + 0x10000; base += 0x100) {
		s = lookup(c, base, 0);
		if (s && s->entry.ebx == WAFER_PV_SIGNATURE_EBX && s->entry.ecx == WAFER_PV_SIGNATURE_ECX &&
		    s->entry.edx == WAFER_PV_SIGNATURE_EDX) {
			s = lookup(c, base + 1, 0);
			return s ? s->entry.eax : 0;
		}
	}
	return 0;
}

/* What the module itself asks of a guest's CPUID, found once. */
static void digest(struct wafer_cpuid *c)
{
	const struct wafer_cpuid_word *w;
	struct wafer_cpuid_slot *s;

	for (w = wafer_cpuid_words; w < wafer_cpuid_words + wafer_nr_cpuid_words; w++) {
		s = lookup(c, w->leaf, w->index);
		if (s && w->word != WAFER_NO_WORD)
			c->words[w->word] = *wafer_cpuid_reg(&s->entry, w->reg);
	}
	s = lookup(c, 0, 0);
	c->amd = s && (s->entry.ebx == 0x68747541 || s->entry.ebx == 0x6f677948);	/* Auth..., Hygo... */
	s = lookup(c, 0x80000008, 0);
	c->phys_bits = s ? clamp_t(u32, s->entry.eax & 0xff, 32, 52) : 36;
	s = lookup(c, 0xd, 0);
	c->xcr0 = s ? (s->entry.eax | (u64)s->entry.edx << 32) & wafer_host_xcr0() : 0;
	c->xcr0 |= WAFER_X_FP;
	c->pv = find_pv_features(c);
}

static struct wafer_cpuid *build(const struct kvm_cpuid_entry2 *e, unsigned int nr)
{
	struct wafer_cpuid *c = kvzalloc(struct_size(c, slot, nr), GFP_KERNEL_ACCOUNT);
	unsigned int i;

	if (!c)
		return NULL;
	c->nr = nr;
	for (i = 0; i < nr; i++) {
		c->slot[i].entry = e[i];
		c->slot[i].dynamic = dynamic_kind(&e[i]);
		strip_dynamic(&c->slot[i].entry, c->slot[i].dynamic);
		memset(c->slot[i].entry.padding, 0, sizeof(e->padding));
	}
	index_entries(c);
	digest(c);
	return c;
}

static bool same(const struct wafer_cpuid *a, const struct wafer_cpuid *b)
{
	unsigned int i;

	for (i = 0; i < a->nr && i < b->nr; i++)
		if (memcmp(&a->slot[i].entry, &b->slot[i].entry, sizeof(a->slot[i].entry)))
			return false;
	return a->nr == b->nr;
}

static int check(struct wafer_vcpu *vcpu, struct wafer_cpuid *c)
{
	struct wafer_cpuid_slot *s = lookup(c, 0x80000008, 0);
	u32 bits = s ? (s->entry.eax >> 8) & 0xff : 0;

	if (bits && bits != 48 && bits != 57)
		return wafer_refuse(&vcpu->refusal, -EINVAL, "CPUID 0x80000008 EAX", s->entry.eax,
				    "has 0, 48 or 57 bits of linear address");
	/* A guest that has seen its CPUID keeps it; setting the same again is how VMMs plug CPUs. */
	if (memchr_inv(vcpu->stat_exits, 0, sizeof(vcpu->stat_exits)) && !same(vcpu->cpuid, c))
		return wafer_refuse(&vcpu->refusal, -EINVAL, "CPUID", c->nr, "stays what it is once the vCPU has run");
	return 0;
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
	struct wafer_cpuid *c = build(e, nr);
	int r;

	if (!c)
		return -ENOMEM;
	r = check(vcpu, c);
	if (r) {
		kvfree(c);
		return r;
	}
	kvfree(vcpu->cpuid);
	vcpu->cpuid = c;
	wafer_cpuid_update(vcpu);
	vcpu->has_pku = wafer_host_xcr0() & WAFER_X_PKRU && wafer_guest_has(vcpu, X86_FEATURE_PKU);
	wafer_hazard_set(vcpu, WAFER_H_INTERCEPT);
	wafer_hazard_set(vcpu, WAFER_H_CHECK);
	return 0;
}

int wafer_get_cpuid(struct wafer_vcpu *vcpu, struct kvm_cpuid_entry2 *e, unsigned int max)
{
	struct wafer_cpuid *c = vcpu->cpuid;
	unsigned int i;

	for (i = 0; i < min(c->nr, max); i++) {
		e[i] = c->slot[i].entry;
		compute(vcpu, &e[i], c->slot[i].dynamic);
	}
	return c->nr;
}

int wafer_cpuid_create(struct wafer_vcpu *vcpu)
{
	vcpu->cpuid = build(NULL, 0);
	return vcpu->cpuid ? 0 : -ENOMEM;
}

void wafer_cpuid_free(struct wafer_vcpu *vcpu)
{
	kvfree(vcpu->cpuid);
}

/* MISC_ENABLE has changed: it switches MWAIT (SDM vol. 4 table 2-2), unless KVM's quirk says that CPUID stays as it is. */
void wafer_cpuid_update(struct wafer_vcpu *vcpu)
{
	u32 *word = &vcpu->cpuid->words[X86_FEATURE_MWAIT / 32], bit = BIT(X86_FEATURE_MWAIT % 32);

	if (!(vcpu->vm->quirks_disabled & KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT))
		return;
	*word &= ~bit;
	if (wafer_misc_enable(vcpu) & MSR_IA32_MISC_ENABLE_MWAIT)
		*word |= bit;
}

bool wafer_has_cpuid(struct wafer_vcpu *vcpu)
{
	return vcpu->cpuid->nr;
}

bool wafer_guest_has(struct wafer_vcpu *vcpu, unsigned int feature)
{
	return vcpu->cpuid->words[feature / 32 % NCAPINTS] & BIT(feature % 32);
}

u8 wafer_guest_phys_bits(struct wafer_vcpu *vcpu)
{
	return vcpu->cpuid->phys_bits;
}

u64 wafer_guest_xcr0(struct wafer_vcpu *vcpu)
{
	return vcpu->cpuid->xcr0;
}

u32 wafer_pv_features(struct wafer_vcpu *vcpu)
{
	return vcpu->cpuid->pv;
}
