// SPDX-License-Identifier: GPL-2.0
/* Segments, tables, control registers: KVM_GET_SREGS, KVM_SET_SREGS and their successors. */
#include <linux/bitmap.h>
#include <linux/string.h>
#include <asm/processor-flags.h>

#include "core.h"

/* Where the segments are in struct kvm_sregs; the first part of struct kvm_sregs2 is the same. */
static const u16 seg_place[WAFER_NR_SEGS] = {
	[WAFER_CS] = offsetof(struct kvm_sregs, cs),	[WAFER_DS] = offsetof(struct kvm_sregs, ds),
	[WAFER_ES] = offsetof(struct kvm_sregs, es),	[WAFER_FS] = offsetof(struct kvm_sregs, fs),
	[WAFER_GS] = offsetof(struct kvm_sregs, gs),	[WAFER_SS] = offsetof(struct kvm_sregs, ss),
	[WAFER_TR] = offsetof(struct kvm_sregs, tr),	[WAFER_LDTR] = offsetof(struct kvm_sregs, ldt),
};
static_assert(offsetof(struct kvm_sregs, interrupt_bitmap) == offsetof(struct kvm_sregs2, flags));

#define SREGS_GROUPS (WAFER_G_SEGS | WAFER_G_DT | WAFER_G_CR0 | WAFER_G_CR2 | WAFER_G_CR3 | WAFER_G_CR4 | WAFER_G_EFER)

static void get_segment(const struct wafer_segment *seg, struct kvm_segment *k)
{
	u32 a = seg->attr;

	k->base = seg->base;
	k->limit = seg->limit;
	k->selector = seg->selector;
	k->type = a & WAFER_SEG_TYPE;
	k->s = !!(a & WAFER_SEG_S);
	k->dpl = (a & WAFER_SEG_DPL) >> WAFER_SEG_DPL_SHIFT;
	k->unusable = !!(a & WAFER_SEG_UNUSABLE);
	k->present = a & WAFER_SEG_P && !k->unusable;
	k->avl = !!(a & WAFER_SEG_AVL);
	k->l = !!(a & WAFER_SEG_L);
	k->db = !!(a & WAFER_SEG_DB);
	k->g = !!(a & WAFER_SEG_G);
	k->padding = 0;
}

static struct wafer_segment make_segment(const struct kvm_segment *k)
{
	return (struct wafer_segment){
		.base = k->base,
		.limit = k->limit,
		.selector = k->selector,
		.attr = (k->type & WAFER_SEG_TYPE) | (k->s ? WAFER_SEG_S : 0) |
			(k->dpl & 3) << WAFER_SEG_DPL_SHIFT | (k->present ? WAFER_SEG_P : 0) |
			(k->avl ? WAFER_SEG_AVL : 0) | (k->l ? WAFER_SEG_L : 0) | (k->db ? WAFER_SEG_DB : 0) |
			(k->g ? WAFER_SEG_G : 0) | (k->unusable ? WAFER_SEG_UNUSABLE : 0),
	};
}

/* The repairs that VMMs rely on KVM for; what else is wrong shows at the check before the entry. */
static const struct {
	u8 segs;		/* BIT(enum wafer_seg_reg) */
	bool long_mode;		/* in long mode alone */
	u32 if_clear;		/* where none of these is set ... */
	u32 set;		/* ... these are added */
} repairs[] = {
	/* What is not present cannot be used. */
	{ 0xff, false, WAFER_SEG_P, WAFER_SEG_UNUSABLE },
	/* The CPU sets the accessed bit when it loads a segment. */
	{ 0x3f, false, WAFER_SEG_UNUSABLE, 1 },
	/* The task register holds a busy TSS, in long mode a 64-bit one. */
	{ BIT(WAFER_TR), false, WAFER_SEG_UNUSABLE, 2 },
	{ BIT(WAFER_TR), true, WAFER_SEG_UNUSABLE, 11 },
};

static void set_segments(struct wafer_vcpu *vcpu, const struct kvm_sregs *s)
{
	bool long_mode = s->efer & WAFER_EFER_LMA;
	struct wafer_segment seg;
	int n, i;

	for (n = 0; n < WAFER_NR_SEGS; n++) {
		seg = make_segment((const void *)s + seg_place[n]);
		for (i = 0; i < ARRAY_SIZE(repairs); i++)
			if (repairs[i].segs & BIT(n) && repairs[i].long_mode <= long_mode &&
			    !(seg.attr & repairs[i].if_clear))
				seg.attr |= repairs[i].set;
		vcpu->arch.seg[n] = seg;
	}
}

static void get_common(struct wafer_vcpu *vcpu, struct kvm_sregs *s)
{
	const struct wafer_arch *a = &vcpu->arch;
	int n;

	wafer_need(vcpu, SREGS_GROUPS);
	for (n = 0; n < WAFER_NR_SEGS; n++)
		get_segment(&a->seg[n], (void *)s + seg_place[n]);
	s->gdt.base = a->gdt.base;
	s->gdt.limit = a->gdt.limit;
	s->idt.base = a->idt.base;
	s->idt.limit = a->idt.limit;
	s->cr0 = a->cr0;
	s->cr2 = a->cr2;
	s->cr3 = a->cr3;
	s->cr4 = a->cr4;
	s->cr8 = vcpu->lapic ? wafer_lapic_get_cr8(vcpu) : vcpu->cr8;
	s->efer = a->efer;
	s->apic_base = wafer_apic_base_get(vcpu);
}

/* An interrupt on its way into the guest: injected, or given by KVM_INTERRUPT where there is no local APIC. */
static int interrupt_in_delivery(struct wafer_vcpu *vcpu)
{
	if (vcpu->reinject.kind == WAFER_EV_EXTINT)
		return vcpu->reinject.vector;
	return vcpu->lapic ? -1 : vcpu->extint;
}

int wafer_get_sregs(struct wafer_vcpu *vcpu, struct kvm_sregs *s)
{
	int vector = interrupt_in_delivery(vcpu);

	get_common(vcpu, s);
	if (vector >= 0)
		s->interrupt_bitmap[vector / 64] |= BIT_ULL(vector % 64);
	return 0;
}

static bool pae_paging(u64 cr0, u64 cr4, u64 efer)
{
	return cr0 & X86_CR0_PG && cr4 & X86_CR4_PAE && !(efer & WAFER_EFER_LMA);
}

int wafer_get_sregs2(struct wafer_vcpu *vcpu, struct kvm_sregs2 *s)
{
	get_common(vcpu, (struct kvm_sregs *)s);
	if (!pae_paging(s->cr0, s->cr4, s->efer) || wafer_caps.pdptr_from_memory)
		return 0;
	wafer_need(vcpu, WAFER_G_PDPTR);
	memcpy(s->pdptrs, vcpu->arch.pdptr, sizeof(s->pdptrs));
	s->flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
	return 0;
}

/* Modes that contradict themselves, and bits that cannot be had. */
static int check_sregs(struct wafer_vcpu *vcpu, const struct kvm_sregs *s)
{
	struct wafer_refusal *r = &vcpu->refusal;
	bool paging = s->cr0 & X86_CR0_PG;

	if (s->efer & WAFER_EFER_LME && paging) {
		if (!(s->cr4 & X86_CR4_PAE))
			return wafer_refuse(r, -EINVAL, "cr4", s->cr4, "has PAE in long mode (SDM vol. 3 10.8.5)");
		if (!(s->efer & WAFER_EFER_LMA))
			return wafer_refuse(r, -EINVAL, "efer", s->efer, "has LMA where LME and CR0.PG are set");
		if (s->cr3 >> wafer_guest_phys_bits(vcpu))
			return wafer_refuse(r, -EINVAL, "cr3", s->cr3, "is within the guest's physical addresses");
	} else if (s->efer & WAFER_EFER_LMA) {
		return wafer_refuse(r, -EINVAL, "efer", s->efer, "has LMA only where LME and CR0.PG are set");
	} else if (s->cs.l) {
		return wafer_refuse(r, -EINVAL, "cs.l", s->cs.l, "is 0 outside long mode");
	}
	if (s->efer & ~wafer_efer_allowed())
		return wafer_refuse(r, -EINVAL, "efer", s->efer, "has supported bits only");
	if (!wafer_cr0_valid(s->cr0))
		return wafer_refuse(r, -EINVAL, "cr0", s->cr0, "has PE with PG, CD with NW (SDM vol. 3 2.5)");
	/* VME and PVI are taken even where the CPU has not got them, as in KVM; the entry is refused then. */
	if (!wafer_cr4_valid(vcpu, s->cr4 & ~(u64)(X86_CR4_VME | X86_CR4_PVI)))
		return wafer_refuse(r, -EINVAL, "cr4", s->cr4, "has bits that the CPU and the guest's CPUID offer");
	return 0;
}

/* PAE paging: where the VMM gives no PDPTEs they are what memory at CR3 says; without memory, not present. */
static void load_pdptrs(struct wafer_vcpu *vcpu)
{
	u64 pdpte[4];

	if (wafer_guest_read(&vcpu->vm->mmu, vcpu->arch.cr3 & 0xffffffe0, pdpte, sizeof(pdpte)))
		memset(pdpte, 0, sizeof(pdpte));
	memcpy(vcpu->arch.pdptr, pdpte, sizeof(pdpte));
	wafer_touch(vcpu, WAFER_G_PDPTR);
}

/* Older VMMs reset a halted boot CPU by its registers alone. */
static bool is_reset_state(struct wafer_vcpu *vcpu)
{
	const struct wafer_segment *cs = &vcpu->arch.seg[WAFER_CS];

	return vcpu->id == vcpu->vm->boot_cpu_id && wafer_rip(vcpu) == 0xfff0 && cs->selector == 0xf000 &&
	       cs->base == 0xffff0000 && !(vcpu->arch.cr0 & X86_CR0_PE);
}

static int set_common(struct wafer_vcpu *vcpu, const struct kvm_sregs *s)
{
	struct wafer_arch *a = &vcpu->arch;
	int r = check_sregs(vcpu, s);

	if (r)
		return r;
	if (wafer_apic_base_set(vcpu, s->apic_base, true))
		return wafer_refuse(&vcpu->refusal, -EINVAL, "apic_base", s->apic_base,
				    "has no x2APIC without enable, no reserved bits (SDM vol. 3 11.12.1)");
	set_segments(vcpu, s);
	a->gdt = (struct wafer_dtable){ s->gdt.base, s->gdt.limit };
	a->idt = (struct wafer_dtable){ s->idt.base, s->idt.limit };
	a->cr0 = s->cr0 | X86_CR0_ET;
	a->cr2 = s->cr2;
	a->cr3 = s->cr3;
	a->cr4 = s->cr4;
	a->efer = s->efer;
	wafer_touch(vcpu, SREGS_GROUPS);
	wafer_set_cr8(vcpu, s->cr8 & 15);
	if (is_reset_state(vcpu))
		WRITE_ONCE(vcpu->mp_state, KVM_MP_STATE_RUNNABLE);
	wafer_hazard_set(vcpu, WAFER_H_FLUSH);
	wafer_hazard_set(vcpu, WAFER_H_EVENT);
	wafer_hazard_set(vcpu, WAFER_H_CHECK);
	return 0;
}

/**
 * wafer_set_sregs() - KVM_SET_SREGS
 * @vcpu: vCPU
 * @s: private to the caller
 *
 * Return: 0; -EINVAL with nothing changed. What only shows together with other state is refused at the next entry.
 */
int wafer_set_sregs(struct wafer_vcpu *vcpu, const struct kvm_sregs *s)
{
	unsigned long vector;
	int r = set_common(vcpu, s);

	if (r)
		return r;
	if (pae_paging(s->cr0, s->cr4, s->efer))
		load_pdptrs(vcpu);
	vector = find_first_bit((const unsigned long *)s->interrupt_bitmap, 256);
	if (vector < 256)
		vcpu->reinject = (struct wafer_event){ .kind = WAFER_EV_EXTINT, .vector = vector };
	return 0;
}

int wafer_set_sregs2(struct wafer_vcpu *vcpu, const struct kvm_sregs2 *s)
{
	bool pae = pae_paging(s->cr0, s->cr4, s->efer);
	int r;

	if (s->flags & ~(u64)KVM_SREGS2_FLAGS_PDPTRS_VALID || (s->flags && !pae))
		return wafer_refuse(&vcpu->refusal, -EINVAL, "flags", s->flags, "has PDPTRS_VALID with PAE paging, or is 0");
	r = set_common(vcpu, (const struct kvm_sregs *)s);
	if (r || !pae)
		return r;
	if (s->flags) {
		memcpy(vcpu->arch.pdptr, s->pdptrs, sizeof(s->pdptrs));
		wafer_touch(vcpu, WAFER_G_PDPTR);
	} else {
		load_pdptrs(vcpu);
	}
	return 0;
}
