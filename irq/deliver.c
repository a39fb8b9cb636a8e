// SPDX-License-Identifier: GPL-2.0
/*
 * Interrupt messages to local APICs, and from there, or from the PIC, to the CPU.
 *
 * Delivery takes no lock: vCPUs are published once and stay, what a destination is compared with is
 * read from the APICs themselves, and an IRR bit is one atomic operation. It is called from the
 * window, from hardirqs and from ioctls alike.
 */
#include <linux/hash.h>

#include "chips.h"
#include "lapic.h"

/*
 * 8-bit messages (MSI, I/O APIC, IPIs in xAPIC mode) know 0xff as "all", for x2APIC CPUs only by
 * the quirk that KVM_CAP_X2APIC_API can switch off.
 */
static bool is_broadcast(struct wafer_vm *vm, const struct wafer_irq_msg *msg, bool x2apic)
{
	return msg->dest == ~0u || (msg->dest == 0xff && !msg->x2apic_dest &&
				    !(x2apic && vm->irq.x2apic_no_broadcast_quirk));
}

/* SDM vol. 3 §11.6.2.2, §11.12.10.1 */
static bool match_logical(const struct wafer_lapic *apic, u32 dest, bool x2apic)
{
	u32 ldr = wafer_apic_reg(apic, APIC_LDR);

	if (x2apic)
		return ldr >> 16 == dest >> 16 && ldr & dest & 0xffff;
	ldr >>= 24;
	if (wafer_apic_reg(apic, APIC_DFR) == APIC_DFR_FLAT)
		return dest <= 0xff && ldr & dest;
	return ldr >> 4 == dest >> 4 && ldr & dest & 0xf;
}

static bool match(struct wafer_vcpu *vcpu, struct wafer_vcpu *src, const struct wafer_irq_msg *msg)
{
	u8 mode = READ_ONCE(vcpu->lapic->mode);
	bool x2apic = mode == WAFER_X2APIC, own = x2apic || !READ_ONCE(vcpu->vm->irq.ids_written);

	if (mode == WAFER_APIC_OFF)
		return false;
	if (msg->shorthand)
		return msg->shorthand == 2 || (vcpu == src) == (msg->shorthand == 1);
	if (is_broadcast(vcpu->vm, msg, x2apic))
		return true;
	if (msg->logical)
		return match_logical(vcpu->lapic, msg->dest, x2apic);
	return msg->dest == (own ? vcpu->id : wafer_apic_reg(vcpu->lapic, APIC_ID) >> 24);
}

/* Hands the message to one APIC. 1; 0: coalesced; -1: not taken */
static int accept(struct wafer_vcpu *vcpu, const struct wafer_irq_msg *msg)
{
	if (msg->mode <= WAFER_DM_LOWEST && msg->assert && wafer_apic_enabled(vcpu->lapic))
		return wafer_lapic_accept(vcpu->lapic, msg->vector, msg->level);
	if (msg->mode == WAFER_DM_NMI)
		wafer_vcpu_nmi(vcpu);
	else if (msg->mode == WAFER_DM_INIT && msg->assert)	/* else an arbitration id (§11.7) */
		wafer_vcpu_init_ipi(vcpu);
	else if (msg->mode == WAFER_DM_SIPI)
		wafer_vcpu_sipi(vcpu, msg->vector);
	else
		return -1;	/* no SMM; ExtINT is for the PIC's wire alone */
	return 1;
}

/**
 * wafer_deliver() - send an interrupt message
 * @vm: VM with local APICs
 * @src: the sending vCPU, or NULL for devices
 * @msg: message
 *
 * Where one of several is enough, vector and id choose it, so that a device's interrupts stay on
 * one CPU and devices spread. The members of an x2APIC cluster are known by their ids: there are at
 * most 16.
 *
 * Context: any.
 * Return: number of vCPUs that took it; 0: coalesced with a pending one; -1: nobody was there.
 */
int wafer_deliver(struct wafer_vm *vm, struct wafer_vcpu *src, const struct wafer_irq_msg *msg)
{
	bool lowest = msg->mode == WAFER_DM_LOWEST || (!msg->mode && msg->redir_hint);
	bool physical = !msg->shorthand && !msg->logical && !is_broadcast(vm, msg, false) &&
			!READ_ONCE(vm->irq.ids_written);
	bool cluster = msg->logical && !msg->shorthand && msg->x2apic_dest && msg->dest != ~0u;
	bool self = msg->shorthand == 1;
	/* Pairs with the release that publishes a vCPU. */
	u32 nr = cluster ? 16 : self || physical ? 1 : smp_load_acquire(&vm->nr_vcpus);
	u32 cluster_id = msg->dest >> 16 << 4, weight, best = 0, i;
	struct wafer_vcpu *vcpu, *chosen = NULL;
	int r = -1, one;

	for (i = 0; i < nr; i++) {
		if (self)
			vcpu = src;
		else if (physical)
			vcpu = wafer_vcpu_by_id(vm, msg->dest);
		else if (cluster)
			vcpu = msg->dest >> i & 1 ? wafer_vcpu_by_id(vm, cluster_id + i) : NULL;
		else
			vcpu = vm->vcpus[i];
		if (!vcpu || !match(vcpu, src, msg))
			continue;
		if (!lowest) {
			one = accept(vcpu, msg);
			r = one < 0 ? r : max(r, 0) + one;
		} else if (wafer_apic_enabled(vcpu->lapic)) {
			weight = hash_32(vcpu->id << 8 | msg->vector, 31) + 1;
			chosen = weight > best ? vcpu : chosen;
			best = max(best, weight);
		}
	}
	return chosen ? accept(chosen, msg) : r;
}

/* What an EOI means outside the local APIC (SDM vol. 3 §11.8.5). */
int wafer_eoi_broadcast(struct wafer_vcpu *vcpu, u8 vector, bool level, bool window)
{
	struct wafer_chips *c = vcpu->vm->irq.chips;

	/*
	 * Edge pins have no EOI broadcast: it is the PIT that wants to know, and irqfds that
	 * resample.
	 */
	if (c && (level || READ_ONCE(vcpu->vm->irq.nr_resamplers) ||
		  vector == (u8)READ_ONCE(c->ioapic.redirtbl[READ_ONCE(c->pit_pin)].bits)))
		return wafer_ioapic_eoi(c, vector, level, window);
	if (level && !c && wafer_routes_level_vector(vcpu->vm, vector)) {
		vcpu->eoi_vector = vector;
		vcpu->eoi_exit = true;
		wafer_hazard_set(vcpu, WAFER_H_EXIT);
	}
	return 0;
}

bool wafer_irq_accepts_extint(struct wafer_vcpu *vcpu)
{
	u32 lvt;

	if (!vcpu->lapic || READ_ONCE(vcpu->lapic->mode) == WAFER_APIC_OFF)
		return true;
	lvt = wafer_apic_reg(vcpu->lapic, APIC_LVT0);
	return !(lvt & APIC_LVT_MASKED) && GET_APIC_DELIVERY_MODE(lvt) == WAFER_DM_EXTINT;
}

static bool extint_pending(struct wafer_vcpu *vcpu)
{
	struct wafer_chips *c = vcpu->vm->irq.chips;

	return (c ? READ_ONCE(c->intr) : vcpu->extint >= 0) && wafer_irq_accepts_extint(vcpu);
}

/**
 * wafer_irq_pending() - is there an interrupt for the CPU to take when IF allows it?
 * @vcpu: vCPU, its mutex held
 *
 * ExtINT passes by the local APIC and its priorities.
 */
bool wafer_irq_pending(struct wafer_vcpu *vcpu)
{
	return extint_pending(vcpu) || (vcpu->lapic && wafer_lapic_pending(vcpu->lapic) >= 0);
}

/**
 * wafer_irq_ack() - the CPU takes the interrupt
 * @vcpu: vCPU, its mutex held
 *
 * Return: the vector, now in service; -1: there is none any more; -EAGAIN: the PIC's lock was busy.
 */
int wafer_irq_ack(struct wafer_vcpu *vcpu)
{
	int vector = vcpu->extint;

	if (!extint_pending(vcpu))
		return vcpu->lapic ? wafer_lapic_ack(vcpu->lapic) : -1;
	if (vcpu->vm->irq.chips)
		return wafer_pic_ack(vcpu->vm->irq.chips);
	vcpu->extint = -1;
	return vector;
}

/**
 * wafer_irq_tpr_threshold() - when does lowering the TPR let an interrupt through?
 * @vcpu: vCPU with a local APIC
 *
 * Return: the class of the highest interrupt if it is the TPR alone that holds it back, which it
 * does as long as CR8 is not below it; 0: lowering the TPR changes nothing.
 */
u8 wafer_irq_tpr_threshold(struct wafer_vcpu *vcpu)
{
	struct wafer_lapic *apic = vcpu->lapic;
	int class = wafer_lapic_requested(apic) >> 4, served = apic->isrv >> 4;

	return class > 0 && class <= wafer_lapic_get_cr8(vcpu) && class > served ? class : 0;
}
