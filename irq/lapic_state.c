// SPDX-License-Identifier: GPL-2.0
/* The local APIC as a whole: made and freed, RESET and INIT, IA32_APIC_BASE, KVM_GET_LAPIC and KVM_SET_LAPIC. */
#include <linux/kernel.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <asm/cpufeatures.h>

#include "lapic.h"
#include "vm.h"

static bool is_boot_cpu(struct wafer_vcpu *vcpu)
{
	return vcpu->id == vcpu->vm->boot_cpu_id;
}

static u64 reset_base(struct wafer_vcpu *vcpu)
{
	return APIC_DEFAULT_PHYS_BASE | WAFER_APIC_BASE_ENABLE |
	       (is_boot_cpu(vcpu) ? WAFER_APIC_BASE_BSP : 0);
}

static void set_base(struct wafer_vcpu *vcpu, u64 base)
{
	u8 mode = WAFER_APIC_OFF;

	vcpu->apic_base = base;
	if (!vcpu->lapic)
		return;
	if (base & WAFER_APIC_BASE_ENABLE)
		mode = base & WAFER_APIC_BASE_X2 ? WAFER_X2APIC : WAFER_XAPIC;
	WRITE_ONCE(vcpu->lapic->mode, mode);
	/* Without an APIC the PIC's INTR is the CPU's own pin. */
	wafer_hazard_set(vcpu, WAFER_H_EVENT);
}

/**
 * wafer_lapic_create() - a local APIC for a new vCPU, if the VM has chips in the kernel
 * @vcpu: vCPU, not yet published; vm->lock held
 *
 * Return: 0 or -ENOMEM.
 */
int wafer_lapic_create(struct wafer_vcpu *vcpu)
{
	struct wafer_irq *irq = &vcpu->vm->irq;
	struct wafer_lapic *apic;

	set_base(vcpu, reset_base(vcpu));
	if (irq->mode == WAFER_CHIP_NONE)
		return 0;
	apic = kzalloc(sizeof(*apic), GFP_KERNEL_ACCOUNT);
	if (!apic)
		return -ENOMEM;
	apic->vcpu = vcpu;
	apic->isrv = -1;
	wafer_lapic_timer_init(apic);
	vcpu->lapic = apic;
	/* If the vCPU never comes to be, the next one takes its index, and the reader sees that ids differ. */
	WRITE_ONCE(irq->apic_index[vcpu->id], vcpu->index + 1);
	return 0;
}

/* Nobody sends to it any more: the vCPU was never published, or its VM has no users left. */
void wafer_lapic_free(struct wafer_vcpu *vcpu)
{
	struct wafer_lapic *apic = vcpu->lapic;

	if (!apic)
		return;
	wafer_lapic_timer_cancel(apic);
	vcpu->lapic = NULL;
	kfree(apic);
}

/*
 * The boot CPU's LINT0 takes the PIC's interrupts from the start, so that firmware that knows nothing of APICs
 * gets them; KVM_X86_QUIRK_LINT0_REENABLED off: as on a real CPU.
 */
static void reset_lvts(struct wafer_vcpu *vcpu)
{
	u32 lvt;

	for (lvt = APIC_LVTT; lvt <= APIC_LVTERR; lvt += 16)
		wafer_apic_set_reg(vcpu->lapic, lvt, APIC_LVT_MASKED);
	if (is_boot_cpu(vcpu) && !(vcpu->vm->quirks_disabled & KVM_X86_QUIRK_LINT0_REENABLED))
		wafer_apic_set_reg(vcpu->lapic, APIC_LVT0, WAFER_DM_EXTINT << 8);
}

static void clear_vectors(struct wafer_lapic *apic)
{
	int i;

	for (i = 0; i < 4; i++) {
		WRITE_ONCE(apic->irr[i], 0);
		WRITE_ONCE(apic->tmr[i], 0);
		WRITE_ONCE(apic->isr[i], 0);
	}
	apic->isrv = -1;
}

/**
 * wafer_lapic_reset() - RESET or INIT (SDM vol. 3 §11.4.7.1, §11.4.7.3)
 * @vcpu: vCPU with a local APIC
 * @init: INIT: APIC_BASE, and with it the mode, stays
 */
void wafer_lapic_reset(struct wafer_vcpu *vcpu, bool init)
{
	struct wafer_lapic *apic = vcpu->lapic;
	u32 offset;

	wafer_lapic_timer_stop(apic);
	if (!init)
		set_base(vcpu, reset_base(vcpu));
	for (offset = 0; offset < WAFER_APIC_REGS << 4; offset += 16)
		wafer_apic_set_reg(apic, offset, 0);
	wafer_apic_set_reg(apic, APIC_DFR, APIC_DFR_FLAT);
	wafer_apic_set_reg(apic, APIC_SPIV, 0xff);
	reset_lvts(vcpu);
	WRITE_ONCE(apic->errors, 0);
	clear_vectors(apic);
	vcpu->cr8 = 0;
	vcpu->last_cr8 = 0;
}

u64 wafer_apic_base_get(struct wafer_vcpu *vcpu)
{
	return vcpu->apic_base;
}

/* x2APIC can't go back to xAPIC but through "off", nor be entered from there (SDM vol. 3 §11.12.5). */
static bool transition_allowed(u64 old, u64 new)
{
	const u64 both = WAFER_APIC_BASE_ENABLE | WAFER_APIC_BASE_X2;

	if ((old & both) == both)
		return (new & both) != WAFER_APIC_BASE_ENABLE;
	return old & WAFER_APIC_BASE_ENABLE || (new & both) != both;
}

/**
 * wafer_apic_base_set() - write IA32_APIC_BASE
 * @vcpu: vCPU, with or without a local APIC
 * @val: the base address is stored; the APIC stays where it is
 * @host: written by the VMM: any legal mode can follow any
 *
 * Return: 0; 1: #GP or -EINVAL.
 */
int wafer_apic_base_set(struct wafer_vcpu *vcpu, u64 val, bool host)
{
	u64 allowed = GENMASK_ULL(wafer_guest_phys_bits(vcpu) - 1, 12) | WAFER_APIC_BASE_BSP |
		      WAFER_APIC_BASE_ENABLE;

	if (wafer_guest_has(vcpu, X86_FEATURE_X2APIC))
		allowed |= WAFER_APIC_BASE_X2;
	if (val & ~allowed)
		return 1;
	if (val & WAFER_APIC_BASE_X2 && !(val & WAFER_APIC_BASE_ENABLE))
		return 1;
	if (!host && !transition_allowed(vcpu->apic_base, val))
		return 1;
	set_base(vcpu, val);
	return 0;
}

static void put32(struct kvm_lapic_state *s, u32 offset, u32 val)
{
	memcpy(s->regs + offset, &val, sizeof(val));
}

static u32 get32(const struct kvm_lapic_state *s, u32 offset)
{
	u32 val;

	memcpy(&val, s->regs + offset, sizeof(val));
	return val;
}

static void put_vectors(struct kvm_lapic_state *s, u32 offset, const unsigned long *words)
{
	int i;

	for (i = 0; i < 8; i++)
		put32(s, offset + i * 16, READ_ONCE(words[i / 2]) >> (i & 1) * 32);
}

static void get_vectors(const struct kvm_lapic_state *s, u32 offset, unsigned long *words)
{
	int i;

	for (i = 0; i < 4; i++)
		WRITE_ONCE(words[i], get32(s, offset + i * 32) |
				     (u64)get32(s, offset + i * 32 + 16) << 32);
}

/* How user space sees the id: in x2APIC mode whole only if it asked for it (KVM_CAP_X2APIC_API). */
static u32 user_id(struct wafer_vcpu *vcpu)
{
	bool whole = vcpu->lapic->mode == WAFER_X2APIC && vcpu->vm->irq.x2apic_32bit_ids;

	return whole ? vcpu->id : vcpu->id << 24;
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
	u32 offset;

	wafer_lapic_timer_due(vcpu);	/* what has expired shows in IRR */
	memset(s, 0, sizeof(*s));
	for (offset = 0; offset < WAFER_APIC_REGS << 4; offset += 16)
		put32(s, offset, wafer_apic_reg(apic, offset));
	put32(s, APIC_ID, user_id(vcpu));
	put32(s, APIC_LVR, WAFER_APIC_VERSION);
	if (apic->mode == WAFER_X2APIC)
		put32(s, APIC_LDR, wafer_x2apic_ldr(vcpu->id));
	put32(s, APIC_TMCCT, wafer_lapic_timer_count(apic));
	put_vectors(s, APIC_ISR, apic->isr);
	put_vectors(s, APIC_TMR, apic->tmr);
	put_vectors(s, APIC_IRR, apic->irr);
	return 0;
}

/**
 * wafer_lapic_set() - KVM_SET_LAPIC
 * @vcpu: vCPU with a local APIC; the mode is that of APIC_BASE, which is set before
 * @s: taken as it is but for what is computed (version, PPR, LDR in x2APIC mode) and the id, which is the vCPU's
 *
 * Return: 0; -EINVAL: another id.
 */
int wafer_lapic_set(struct wafer_vcpu *vcpu, const struct kvm_lapic_state *s)
{
	struct wafer_lapic *apic = vcpu->lapic;
	u32 offset, id = get32(s, APIC_ID);

	if (id != user_id(vcpu))
		return wafer_refuse(&vcpu->refusal, -EINVAL, "lapic.regs[ID]", id,
				    "is the vCPU's own id");
	for (offset = 0; offset < WAFER_APIC_REGS << 4; offset += 16)
		wafer_apic_set_reg(apic, offset, get32(s, offset));
	get_vectors(s, APIC_ISR, apic->isr);
	get_vectors(s, APIC_TMR, apic->tmr);
	get_vectors(s, APIC_IRR, apic->irr);
	apic->isrv = wafer_highest_vector(apic->isr);
	WRITE_ONCE(apic->irr_maybe, 1);
	wafer_apic_set_reg(apic, APIC_TASKPRI, get32(s, APIC_TASKPRI) & 0xff);
	vcpu->cr8 = wafer_lapic_get_cr8(vcpu);
	vcpu->last_cr8 = vcpu->cr8;
	wafer_lapic_timer_restore(apic, get32(s, APIC_TMCCT));
	wafer_hazard_set(vcpu, WAFER_H_EVENT);
	return 0;
}

/* The PIT's NMI watchdog: LINT0 in NMI mode. Any context. */
void wafer_lapic_local_nmi(struct wafer_vcpu *vcpu)
{
	u32 lvt = wafer_apic_reg(vcpu->lapic, APIC_LVT0);

	if (GET_APIC_DELIVERY_MODE(lvt) == WAFER_DM_NMI)
		wafer_lapic_local(vcpu->lapic, APIC_LVT0);
}
