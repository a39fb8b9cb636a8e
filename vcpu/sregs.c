// SPDX-License-Identifier: GPL-2.0
/* Segments, tables, control registers: KVM_GET_SREGS, KVM_SET_SREGS and their successors. */
#include "core.h"

/*
 * struct kvm_sregs begins with the segments in this order; the first part of struct kvm_sregs2 is
 * the same.
 */
static const u8 seg_order[WAFER_NR_SEGS] = {
	WAFER_CS, WAFER_DS, WAFER_ES, WAFER_FS, WAFER_GS, WAFER_SS, WAFER_TR, WAFER_LDTR,
};
static_assert(offsetof(struct kvm_sregs, cs) == 0 &&
	      offsetof(struct kvm_sregs, ldt) == 7 * sizeof(struct kvm_segment));
static_assert(offsetof(struct kvm_sregs, interrupt_bitmap) == offsetof(struct kvm_sregs2, flags));

/*
 * struct kvm_segment has a byte each for type, present, dpl, db, s, l, g, avl and unusable: where
 * they are in attr.
 */
static const struct { u8 shift, mask; } attr_byte[] = {
	{ 0, 15 }, { 7, 1 }, { 5, 3 }, { 14, 1 }, { 4, 1 },
	{ 13, 1 }, { 15, 1 }, { 12, 1 }, { 16, 1 },
};
#define TYPE_BYTE offsetof(struct kvm_segment, type)
static_assert(offsetof(struct kvm_segment, unusable) == TYPE_BYTE + ARRAY_SIZE(attr_byte) - 1);

#define SREGS_GROUPS (WAFER_G_SEGS | WAFER_G_DT | WAFER_G_CR0 | WAFER_G_CR2 | WAFER_G_CR3 |	\
		      WAFER_G_CR4 | WAFER_G_EFER)

static void get_segment(const struct wafer_segment *seg, struct kvm_segment *k)
{
	*k = (struct kvm_segment){
		.base = seg->base, .limit = seg->limit, .selector = seg->selector,
	};
	for (int i = 0; i < ARRAY_SIZE(attr_byte); i++)
		((u8 *)k + TYPE_BYTE)[i] = seg->attr >> attr_byte[i].shift & attr_byte[i].mask;
	k->present &= !k->unusable;
}

/* The repairs that VMMs rely on KVM for; what else is wrong shows at the check before the entry. */
static const struct {
	u8 segs;		/* BIT(enum wafer_seg_reg) */
	bool long_mode;		/* in long mode alone */
	u32 if_clear;		/* where none of these is set ... */
	u32 set;		/* ... these are added */
} repairs[] = {
	/* what is not present cannot be used */
	{ 0xff, false, WAFER_SEG_P, WAFER_SEG_UNUSABLE },
	/* the CPU sets the accessed bit when it loads a segment */
	{ 0x3f, false, WAFER_SEG_UNUSABLE, 1 },
	/* the task register holds a busy TSS, ... */
	{ BIT(WAFER_TR), false, WAFER_SEG_UNUSABLE, 2 },
	{ BIT(WAFER_TR), true, WAFER_SEG_UNUSABLE, 11 },	/* ... in long mode a 64-bit one */
};

static void set_segment(struct wafer_segment *seg, const struct kvm_segment *k, u8 which,
			bool long_mode)
{
	const u8 *byte = (const u8 *)k + TYPE_BYTE;

	*seg = (struct wafer_segment){
		.base = k->base, .limit = k->limit, .selector = k->selector,
	};
	for (int i = 0; i < ARRAY_SIZE(attr_byte); i++)
		seg->attr |= (byte[i] & attr_byte[i].mask) << attr_byte[i].shift;
	for (int i = 0; i < ARRAY_SIZE(repairs); i++)
		if (repairs[i].segs & which && repairs[i].long_mode <= long_mode &&
		    !(seg->attr & repairs[i].if_clear))
			seg->attr |= repairs[i].set;
}

static void get_common(struct wafer_vcpu *vcpu, struct kvm_sregs *s)
{
	const struct wafer_arch *a = &vcpu->arch;

	wafer_need(vcpu, SREGS_GROUPS);
	for (int i = 0; i < WAFER_NR_SEGS; i++)
		get_segment(&a->seg[seg_order[i]], &s->cs + i);
	s->gdt = (struct kvm_dtable){ .base = a->gdt.base, .limit = a->gdt.limit };
	s->idt = (struct kvm_dtable){ .base = a->idt.base, .limit = a->idt.limit };
	s->cr0 = a->cr0;
	s->cr2 = a->cr2;
	s->cr3 = a->cr3;
	s->cr4 = a->cr4;
	s->cr8 = wafer_cr8(vcpu);
	s->efer = a->efer;
	s->apic_base = vcpu->apic_base;
}

void wafer_get_sregs(struct wafer_vcpu *vcpu, struct kvm_sregs *s)
{
	int vector = wafer_interrupt_in_delivery(vcpu);

	get_common(vcpu, s);
	memset(s->interrupt_bitmap, 0, sizeof(s->interrupt_bitmap));
	if (vector >= 0)
		s->interrupt_bitmap[vector / 64] = BIT_ULL(vector % 64);
}

int wafer_get_sregs2(struct wafer_vcpu *vcpu, struct kvm_sregs2 *s)
{
	get_common(vcpu, (struct kvm_sregs *)s);
	if (!wafer_pae_paging(s->cr0, s->cr4, s->efer) || wafer_caps.pdptr_from_memory)
		return 0;
	wafer_need(vcpu, WAFER_G_PDPTR);
	memcpy(s->pdptrs, vcpu->arch.pdptr, sizeof(s->pdptrs));
	s->flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
	return 0;
}

/* Modes that contradict themselves, and bits that cannot be had. */
static int check_sregs(struct wafer_vcpu *vcpu, const struct kvm_sregs *s)
{
	bool active = s->efer & WAFER_EFER_LME && s->cr0 & X86_CR0_PG;
	bool lma = s->efer & WAFER_EFER_LMA;
	/*
	 * VME and PVI are taken even where the CPU has not got them, as in KVM; the entry is
	 * refused then.
	 */
	u64 cr4 = s->cr4 & ~(u64)(X86_CR4_VME | X86_CR4_PVI);

	return wafer_deny(vcpu, active && !(s->cr4 & X86_CR4_PAE), "cr4", s->cr4,
			  "has PAE in long mode (SDM vol. 3 10.8.5)") ?:
	       wafer_deny(vcpu, active != lma, "efer", s->efer,
			  "has LMA where LME and CR0.PG are set, and only there") ?:
	       wafer_deny(vcpu, active && s->cr3 >> wafer_guest_phys_bits(vcpu), "cr3", s->cr3,
			  "is within the guest's physical addresses") ?:
	       wafer_deny(vcpu, !active && s->cs.l, "cs.l", s->cs.l, "is 0 outside long mode") ?:
	       wafer_deny(vcpu, s->efer & ~wafer_efer_allowed(), "efer", s->efer,
			  "has supported bits only") ?:
	       wafer_deny(vcpu, !wafer_cr0_valid(s->cr0), "cr0", s->cr0,
			  "has PE with PG, CD with NW (SDM vol. 3 2.5)") ?:
	       wafer_deny(vcpu, !wafer_cr4_valid(vcpu, cr4), "cr4", s->cr4,
			  "has bits that the CPU and the guest's CPUID offer");
}

/* Older VMMs reset a halted boot CPU by its registers alone. */
static bool is_reset_state(struct wafer_vcpu *vcpu)
{
	const struct wafer_segment *cs = &vcpu->arch.seg[WAFER_CS];

	return vcpu->id == vcpu->vm->boot_cpu_id && wafer_rip(vcpu) == 0xfff0 &&
	       cs->selector == 0xf000 && cs->base == 0xffff0000 &&
	       !(vcpu->arch.cr0 & X86_CR0_PE);
}

/* @pdptrs: for PAE paging. NULL: they are what memory at CR3 says; without memory, not present. */
static int set_common(struct wafer_vcpu *vcpu, const struct kvm_sregs *s, const u64 *pdptrs)
{
	struct wafer_arch *a = &vcpu->arch;
	u64 pdpte[4] = { };
	int r = check_sregs(vcpu, s) ?:
		wafer_deny(vcpu, wafer_apic_base_set(vcpu, s->apic_base, true), "apic_base",
			   s->apic_base,
			   "has no x2APIC without enable, no reserved bits (SDM vol. 3 11.12.1)");

	if (r)
		return r;
	for (int i = 0; i < WAFER_NR_SEGS; i++)
		set_segment(&a->seg[seg_order[i]], &s->cs + i, BIT(seg_order[i]),
			    s->efer & WAFER_EFER_LMA);
	a->gdt = (struct wafer_dtable){ s->gdt.base, s->gdt.limit };
	a->idt = (struct wafer_dtable){ s->idt.base, s->idt.limit };
	a->cr0 = s->cr0 | X86_CR0_ET;
	a->cr2 = s->cr2;
	a->cr3 = s->cr3;
	a->cr4 = s->cr4;
	a->efer = s->efer;
	wafer_touch(vcpu, SREGS_GROUPS);
	if (wafer_pae_paging(s->cr0, s->cr4, s->efer)) {
		if (!pdptrs &&
		    wafer_copy_guest(vcpu, a->cr3 & 0xffffffe0, pdpte, sizeof(pdpte), false))
			memset(pdpte, 0, sizeof(pdpte));
		memcpy(a->pdptr, pdptrs ?: pdpte, sizeof(a->pdptr));
		wafer_touch(vcpu, WAFER_G_PDPTR);
	}
	wafer_set_cr8(vcpu, s->cr8 & 15);
	if (is_reset_state(vcpu))
		WRITE_ONCE(vcpu->mp_state, KVM_MP_STATE_RUNNABLE);
	wafer_hazards_set(vcpu, BIT(WAFER_H_FLUSH) | BIT(WAFER_H_EVENT) | BIT(WAFER_H_CHECK));
	return 0;
}

/**
 * wafer_set_sregs() - KVM_SET_SREGS
 * @vcpu: vCPU
 * @s: private to the caller
 *
 * Return: 0; -EINVAL with nothing changed. What only shows together with other state is refused at
 * the next entry.
 */
int wafer_set_sregs(struct wafer_vcpu *vcpu, const struct kvm_sregs *s)
{
	unsigned long vector = find_first_bit((const unsigned long *)s->interrupt_bitmap, 256);
	int r = set_common(vcpu, s, NULL);

	if (!r && vector < 256)
		vcpu->reinject = (struct wafer_event){ .kind = WAFER_EV_EXTINT, .vector = vector };
	return r;
}

int wafer_set_sregs2(struct wafer_vcpu *vcpu, const struct kvm_sregs2 *s)
{
	bool bad = s->flags && (s->flags != KVM_SREGS2_FLAGS_PDPTRS_VALID ||
				!wafer_pae_paging(s->cr0, s->cr4, s->efer));

	return wafer_deny(vcpu, bad, "flags", s->flags,
			  "has PDPTRS_VALID with PAE paging, or is 0") ?:
	       set_common(vcpu, (const struct kvm_sregs *)s, s->flags ? s->pdptrs : NULL);
}
