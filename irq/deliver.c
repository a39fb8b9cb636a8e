// SPDX-License-Identifier: GPL-2.0
/*
 * Interrupt messages to local APICs, and from there, or from the PIC, to the CPU.
 *
 * Delivery takes no lock: vCPUs are published once and stay, what a destination is compared with is read from the
 * APICs themselves, and an IRR bit is one atomic operation. It is called from the window, from hardirqs and
 * from ioctls alike.
 */
#include <linux/bitops.h>
#include <linux/kernel.h>
#include <linux/nospec.h>

#include "chips.h"
#include "lapic.h"
#include "vm.h"

/* The vCPU with this APIC id whose APIC is not hardware-disabled, or NULL. */
static struct wafer_vcpu *by_id(struct wafer_vm *vm, u32 id)
{
	struct wafer_vcpu *vcpu;
	u32 index;

	if (id >= WAFER_MAX_VCPU_ID)
		return NULL;
	index = READ_ONCE(vm->irq.apic_index[array_index_nospec(id, WAFER_MAX_VCPU_ID)]) - 1u;
	/* Pairs with the release that publishes the vCPU. */
	if (index >= smp_load_acquire(&vm->nr_vcpus))
		return NULL;
	vcpu = vm->vcpus[array_index_nospec(index, WAFER_MAX_VCPUS)];
	if (vcpu->id != id || READ_ONCE(vcpu->lapic->mode) == WAFER_APIC_OFF)
		return NULL;
	return vcpu;
}

/*
 * 8-bit messages (MSI, I/O APIC, IPIs in xAPIC mode) know 0xff as "all", for x2APIC CPUs only by the quirk that
 * KVM_CAP_X2APIC_API can switch off.
 */
static bool is_broadcast(struct wafer_vm *vm, const struct wafer_irq_msg *msg, bool x2apic)
{
	if (msg->dest == ~0u)
		return true;
	return msg->dest == 0xff && !msg->x2apic_dest &&
	       !(x2apic && vm->irq.x2apic_no_broadcast_quirk);
}

/* SDM vol. 3 §11.6.2.2, §11.12.10.1 */
static bool match_logical(const struct wafer_lapic *apic, u32 dest, bool x2apic)
{
	u32 ldr;

	if (x2apic) {
		ldr = wafer_x2apic_ldr(apic->vcpu->id);
		return ldr >> 16 == dest >> 16 && ldr & dest & 0xffff;
	}
	if (dest > 0xff)
		return false;
	ldr = wafer_apic_reg(apic, APIC_LDR) >> 24;
	if (wafer_apic_reg(apic, APIC_DFR) == APIC_DFR_FLAT)
		return ldr & dest;
	return ldr >> 4 == dest >> 4 && ldr & dest & 0xf;
}

static bool match(struct wafer_vcpu *vcpu, struct wafer_vcpu *src, const struct wafer_irq_msg *msg)
{
	const struct wafer_lapic *apic = vcpu->lapic;
	u8 mode = READ_ONCE(apic->mode);

	if (mode == WAFER_APIC_OFF)
		return false;
	switch (msg->shorthand) {
	case 1:
		return vcpu == src;
	case 2:
		return true;
	case 3:
		return vcpu != src;
	}
	if (is_broadcast(vcpu->vm, msg, mode == WAFER_X2APIC))
		return true;
	return msg->logical ? match_logical(apic, msg->dest, mode == WAFER_X2APIC) :
			      vcpu->id == msg->dest;
}

/* Hands the message to one APIC. 1; 0: coalesced; -1: not taken */
static int accept(struct wafer_vcpu *vcpu, const struct wafer_irq_msg *msg)
{
	switch (msg->mode) {
	case WAFER_DM_FIXED:
	case WAFER_DM_LOWEST:
		if ((msg->level && !msg->assert) || !wafer_apic_enabled(vcpu->lapic))
			return -1;
		return wafer_lapic_accept(vcpu->lapic, msg->vector, msg->level);
	case WAFER_DM_NMI:
		wafer_vcpu_nmi(vcpu);
		return 1;
	case WAFER_DM_INIT:
		if (msg->level && !msg->assert)
			return -1;	/* de-assert: an arbitration id matter of old (§11.7) */
		wafer_vcpu_init_ipi(vcpu);
		return 1;
	case WAFER_DM_SIPI:
		wafer_vcpu_sipi(vcpu, msg->vector);
		return 1;
	}
	return -1;	/* no SMM; ExtINT is for the PIC's wire alone */
}

/* Goes through the vCPUs that a message is for. */
struct targets {
	struct wafer_vm *vm;
	struct wafer_vcpu *src;
	const struct wafer_irq_msg *msg;
	u32 next;		/* index in vm->vcpus; with @members the bit */
	bool cluster;		/* an x2APIC cluster: ids are known, there are at most 16 */
};

static struct targets targets_of(struct wafer_vm *vm, struct wafer_vcpu *src,
				 const struct wafer_irq_msg *msg)
{
	return (struct targets){
		.vm = vm, .src = src, .msg = msg,
		.cluster = msg->logical && !msg->shorthand && msg->x2apic_dest && msg->dest != ~0u,
	};
}

static struct wafer_vcpu *next_target(struct targets *t)
{
	struct wafer_vcpu *vcpu;
	u32 i;

	if (t->cluster) {
		while (t->next < 16) {
			i = t->next++;
			if (!(t->msg->dest >> i & 1))
				continue;
			vcpu = by_id(t->vm, (t->msg->dest >> 16 << 4) + i);
			if (vcpu && match(vcpu, t->src, t->msg))
				return vcpu;
		}
		return NULL;
	}
	/* Pairs with the release that publishes a vCPU. */
	while (t->next < smp_load_acquire(&t->vm->nr_vcpus)) {
		vcpu = t->vm->vcpus[t->next++];
		if (match(vcpu, t->src, t->msg))
			return vcpu;
	}
	return NULL;
}

/* One of several: chosen by the vector, so that a device's interrupts stay on one CPU and devices spread. */
static struct wafer_vcpu *lowest(struct wafer_vm *vm, struct wafer_vcpu *src,
				 const struct wafer_irq_msg *msg)
{
	struct targets t = targets_of(vm, src, msg);
	struct wafer_vcpu *vcpu, *found = NULL;
	unsigned int nr = 0, pick;

	while ((vcpu = next_target(&t)))
		nr += wafer_apic_enabled(vcpu->lapic);
	if (!nr)
		return NULL;
	pick = msg->vector % nr;
	t = targets_of(vm, src, msg);
	while ((vcpu = next_target(&t))) {
		if (!wafer_apic_enabled(vcpu->lapic))
			continue;
		found = vcpu;	/* if one goes meanwhile, the last that is left */
		if (!pick--)
			break;
	}
	return found;
}

/**
 * wafer_deliver() - send an interrupt message
 * @vm: VM with local APICs
 * @src: the sending vCPU, or NULL for devices
 * @msg: message
 *
 * Context: any.
 * Return: number of vCPUs that took it; 0: coalesced with a pending one; -1: nobody was there.
 */
int wafer_deliver(struct wafer_vm *vm, struct wafer_vcpu *src, const struct wafer_irq_msg *msg)
{
	struct wafer_vcpu *vcpu;
	struct targets t;
	int r = -1, one;

	if (msg->shorthand == 1)
		return src && match(src, src, msg) ? accept(src, msg) : -1;
	if (!msg->shorthand && !msg->logical && !is_broadcast(vm, msg, false)) {
		vcpu = by_id(vm, msg->dest);
		return vcpu ? accept(vcpu, msg) : -1;
	}
	if (msg->mode == WAFER_DM_LOWEST || (msg->redir_hint && msg->mode == WAFER_DM_FIXED)) {
		vcpu = lowest(vm, src, msg);
		return vcpu ? accept(vcpu, msg) : -1;
	}
	t = targets_of(vm, src, msg);
	while ((vcpu = next_target(&t))) {
		one = accept(vcpu, msg);
		if (one >= 0)
			r = max(r, 0) + one;
	}
	return r;
}

/* What an EOI means outside the local APIC (SDM vol. 3 §11.8.5). */
int wafer_eoi_broadcast(struct wafer_vcpu *vcpu, u8 vector, bool level, bool window)
{
	struct wafer_irq *irq = &vcpu->vm->irq;

	if (irq->ioapic && (level || test_bit(vector, irq->ioapic->watch)))
		return wafer_ioapic_eoi(vcpu, vector, level, window);
	if (level && irq->mode == WAFER_CHIP_SPLIT && wafer_routes_level_vector(vcpu->vm, vector)) {
		vcpu->eoi_vector = vector;
		vcpu->eoi_exit = true;
		wafer_hazard_set(vcpu, WAFER_H_EXIT);
	}
	return 0;
}

bool wafer_irq_accepts_extint(struct wafer_vcpu *vcpu)
{
	struct wafer_lapic *apic = vcpu->lapic;
	u32 lvt = wafer_apic_reg(apic, APIC_LVT0);

	if (READ_ONCE(apic->mode) == WAFER_APIC_OFF)
		return true;
	return !(lvt & APIC_LVT_MASKED) && GET_APIC_DELIVERY_MODE(lvt) == WAFER_DM_EXTINT;
}

static bool extint_pending(struct wafer_vcpu *vcpu)
{
	struct wafer_irq *irq = &vcpu->vm->irq;

	if (!vcpu->lapic)
		return vcpu->extint >= 0;
	if (irq->pic ? !READ_ONCE(irq->pic->output) : vcpu->extint < 0)
		return false;
	return wafer_irq_accepts_extint(vcpu);
}

/**
 * wafer_irq_pending() - is there an interrupt for the CPU to take when IF allows it?
 * @vcpu: vCPU, its mutex held
 *
 * ExtINT passes by the local APIC and its priorities.
 */
bool wafer_irq_pending(struct wafer_vcpu *vcpu)
{
	struct wafer_lapic *apic = vcpu->lapic;

	if (extint_pending(vcpu))
		return true;
	return apic && apic->mode != WAFER_APIC_OFF && wafer_lapic_pending(apic) >= 0;
}

/**
 * wafer_irq_ack() - the CPU takes the interrupt
 * @vcpu: vCPU, its mutex held
 *
 * Return: the vector, now in service; -1: there is none any more; -EAGAIN: the PIC's lock was busy.
 */
int wafer_irq_ack(struct wafer_vcpu *vcpu)
{
	struct wafer_lapic *apic = vcpu->lapic;
	int vector = vcpu->extint;

	if (extint_pending(vcpu)) {
		if (vcpu->vm->irq.pic)
			return wafer_pic_ack(vcpu);
		vcpu->extint = -1;
		return vector;
	}
	return apic && apic->mode != WAFER_APIC_OFF ? wafer_lapic_ack(apic) : -1;
}

/**
 * wafer_irq_tpr_threshold() - when does lowering the TPR let an interrupt through?
 * @vcpu: vCPU with a local APIC
 *
 * Return: the class of the highest interrupt if it is the TPR alone that holds it back, which it does as long as CR8
 * is not below it; 0: lowering the TPR changes nothing.
 */
u8 wafer_irq_tpr_threshold(struct wafer_vcpu *vcpu)
{
	struct wafer_lapic *apic = vcpu->lapic;
	int vector;

	if (!READ_ONCE(apic->irr_maybe) || apic->mode == WAFER_APIC_OFF)
		return 0;
	vector = wafer_highest_vector(apic->irr);
	if (vector < 16 || vector >> 4 > wafer_lapic_get_cr8(vcpu) || vector >> 4 <= apic->isrv >> 4)
		return 0;
	return vector >> 4;
}
