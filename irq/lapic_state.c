// SPDX-License-Identifier: GPL-2.0
/*
 * The local APIC as a whole: made and freed, RESET and INIT, IA32_APIC_BASE, KVM_GET_LAPIC and
 * KVM_SET_LAPIC.
 */
#include <asm/cpufeatures.h>

#include "lapic.h"

#define VERSION 0x50014u	/* integrated, LVT entries 0-5, no directed EOI */

static bool is_boot_cpu(struct wafer_vcpu *vcpu)
{
	return vcpu->id == vcpu->vm->boot_cpu_id;
}

/* What follows from IA32_APIC_BASE. Leaving x2APIC mode forgets its logical id. */
static void set_mode(struct wafer_vcpu *vcpu, u64 base)
{
	struct wafer_lapic *apic = vcpu->lapic;
	u8 mode = WAFER_APIC_OFF;

	vcpu->apic_base = base;
	if (!apic)
		return;
	if (base & WAFER_APIC_BASE_ENABLE)
		mode = base & WAFER_APIC_BASE_X2 ? WAFER_X2APIC : WAFER_XAPIC;
	wafer_apic_set_reg(apic, APIC_LVR, VERSION);
	wafer_apic_set_reg(apic, APIC_ID, mode == WAFER_X2APIC ? vcpu->id : vcpu->id << 24);
	/* The logical id in x2APIC mode follows from the id (SDM vol. 3 §11.12.10.2). */
	if (mode == WAFER_X2APIC)
		wafer_apic_set_reg(apic, APIC_LDR, vcpu->id >> 4 << 16 | 1u << (vcpu->id & 15));
	else if (apic->mode == WAFER_X2APIC)
		wafer_apic_set_reg(apic, APIC_LDR, 0);
	WRITE_ONCE(apic->mode, mode);
	/* Without an APIC the PIC's INTR is the CPU's own pin. */
	wafer_hazard_set(vcpu, WAFER_H_EVENT);
}

static u64 reset_base(struct wafer_vcpu *vcpu)
{
	u64 base = APIC_DEFAULT_PHYS_BASE | WAFER_APIC_BASE_ENABLE;

	return is_boot_cpu(vcpu) ? base | WAFER_APIC_BASE_BSP : base;
}

/**
 * wafer_lapic_create() - a local APIC for a new vCPU, if the VM has chips in the kernel
 * @vcpu: vCPU, not yet published; vm->lock held
 *
 * Return: 0 or -ENOMEM.
 */
int wafer_lapic_create(struct wafer_vcpu *vcpu)
{
	if (vcpu->vm->irq.mode != WAFER_CHIP_NONE) {
		vcpu->lapic = kzalloc(sizeof(*vcpu->lapic), GFP_KERNEL_ACCOUNT);
		if (!vcpu->lapic)
			return -ENOMEM;
		vcpu->lapic->vcpu = vcpu;
		wafer_lapic_timer_init(vcpu->lapic);
	}
	set_mode(vcpu, reset_base(vcpu));
	return 0;
}

/* Nobody sends to it any more: the vCPU was never published, or its VM has no users left. */
void wafer_lapic_free(struct wafer_vcpu *vcpu)
{
	if (vcpu->lapic)
		hrtimer_cancel(&vcpu->lapic->timer.hrtimer);
	kfree(vcpu->lapic);
	vcpu->lapic = NULL;
}

/**
 * wafer_lapic_reset() - RESET or INIT (SDM vol. 3 §11.4.7.1, §11.4.7.3)
 * @vcpu: vCPU with a local APIC
 * @init: INIT: APIC_BASE, and with it the mode, and the id stay
 *
 * The boot CPU's LINT0 takes the PIC's interrupts from the start, so that firmware that knows
 * nothing of APICs gets them; KVM_X86_QUIRK_LINT0_REENABLED off: as on a real CPU.
 */
void wafer_lapic_reset(struct wafer_vcpu *vcpu, bool init)
{
	struct wafer_lapic *apic = vcpu->lapic;
	u32 offset, lvt, id = wafer_apic_reg(apic, APIC_ID);

	wafer_lapic_timer_stop(apic);
	for (offset = 0; offset < WAFER_APIC_REGS << 4; offset += 16)
		wafer_apic_set_reg(apic, offset, 0);
	apic->isrv = -1;
	wafer_apic_set_reg(apic, APIC_DFR, APIC_DFR_FLAT);
	wafer_apic_set_reg(apic, APIC_SPIV, 0xff);
	for (lvt = APIC_LVTT; lvt <= APIC_LVTERR; lvt += 16)
		wafer_apic_set_reg(apic, lvt, APIC_LVT_MASKED);
	if (is_boot_cpu(vcpu) && !(vcpu->vm->quirks_disabled & KVM_X86_QUIRK_LINT0_REENABLED))
		wafer_apic_set_reg(apic, APIC_LVT0, WAFER_DM_EXTINT << 8);
	WRITE_ONCE(apic->errors, 0);
	set_mode(vcpu, init ? vcpu->apic_base : reset_base(vcpu));
	if (init)
		wafer_apic_set_reg(apic, APIC_ID, id);
	wafer_lapic_set_tpr(apic, 0);
}

/*
 * Of the modes off, illegal, xAPIC and x2APIC, which are the two bits' values here, x2APIC can't go
 * back to xAPIC but through "off", nor be entered from there (SDM vol. 3 §11.12.5).
 */
static bool transition_allowed(u64 old, u64 new)
{
	unsigned int from = old >> 10 & 3, to = new >> 10 & 3;

	return from == 3 ? to != 2 : from == 2 || to != 3;
}

/**
 * wafer_apic_base_set() - write IA32_APIC_BASE
 * @vcpu: vCPU, with or without a local APIC
 * @val: mode, boot CPU, and where its page is (vcpu/mmio.c)
 * @host: written by the VMM: any legal mode can follow any
 *
 * Return: 0; 1: #GP or -EINVAL.
 */
int wafer_apic_base_set(struct wafer_vcpu *vcpu, u64 val, bool host)
{
	u64 allowed = GENMASK_ULL(wafer_guest_phys_bits(vcpu) - 1, 12) | WAFER_APIC_BASE_BSP |
		      WAFER_APIC_BASE_ENABLE;

	/* x2APIC mode is one of an APIC that is enabled. */
	if (val & WAFER_APIC_BASE_ENABLE && wafer_guest_has(vcpu, X86_FEATURE_X2APIC))
		allowed |= WAFER_APIC_BASE_X2;
	if (val & ~allowed || (!host && !transition_allowed(vcpu->apic_base, val)))
		return 1;
	set_mode(vcpu, val);
	return 0;
}

/* Does user space see the id as in x2APIC mode? Only if it asked for it (KVM_CAP_X2APIC_API). */
static bool tells_whole_id(struct wafer_vcpu *vcpu)
{
	return vcpu->lapic->mode == WAFER_X2APIC && vcpu->vm->irq.x2apic_32bit_ids;
}

/**
 * wafer_lapic_get() - KVM_GET_LAPIC
 * @vcpu: vCPU with a local APIC
 * @s: result; register i at offset 16 * i
 *
 * Return: 0.
 */
int wafer_lapic_get(struct wafer_vcpu *vcpu, struct kvm_lapic_state *s)
{
	struct wafer_lapic *apic = vcpu->lapic;

	BUILD_BUG_ON(sizeof(*s) != sizeof(apic->reg));
	wafer_lapic_timer_due(vcpu);	/* what has expired shows in IRR */
	wafer_apic_set_reg(apic, APIC_TMCCT, wafer_lapic_timer_count(apic));
	memcpy(s, apic->reg, sizeof(*s));
	*(u32 *)&s->regs[APIC_ID] = tells_whole_id(vcpu) ? vcpu->id : vcpu->id << 24;
	return 0;
}

/**
 * wafer_lapic_set() - KVM_SET_LAPIC
 * @vcpu: vCPU with a local APIC; the mode is that of APIC_BASE, which is set before
 * @s: taken as it is but for what is computed (version, PPR, LDR in x2APIC mode) and the id, which
 *	is the vCPU's
 *
 * Return: 0; -EINVAL: another id in x2APIC mode, where user space gives it whole.
 */
int wafer_lapic_set(struct wafer_vcpu *vcpu, const struct kvm_lapic_state *s)
{
	struct wafer_lapic *apic = vcpu->lapic;
	u32 id = *(const u32 *)&s->regs[APIC_ID];
	int r = RULE(tells_whole_id(vcpu) && id != vcpu->id, vcpu, "lapic.regs[ID]", id,
		     "is its own");

	if (r)
		return r;
	memcpy(apic->reg, s, sizeof(*s));
	apic->isrv = wafer_highest_vector(apic, APIC_ISR);
	WRITE_ONCE(apic->irr_maybe, 1);
	wafer_lapic_set_tpr(apic, wafer_apic_reg(apic, APIC_TASKPRI));
	wafer_lapic_timer_restore(apic);
	set_mode(vcpu, vcpu->apic_base);
	return 0;
}
