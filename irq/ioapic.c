// SPDX-License-Identifier: GPL-2.0
/*
 * The I/O APIC (82093AA data sheet): 24 pins, version 0x11, at fec00000.
 *
 * Pin polarity is ignored, as KVM_CAP_IOAPIC_POLARITY_IGNORED says.
 */
#include <linux/bitops.h>
#include <linux/kernel.h>
#include <linux/nospec.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "chips.h"
#include "compat.h"
#include "lapic.h"
#include "vm.h"

/* Redirection table entries. */
#define RT_VECTOR	0xffull
#define RT_LOGICAL	BIT(11)
#define RT_STATUS	BIT(12)		/* read-only */
#define RT_REMOTE_IRR	BIT(14)		/* read-only */
#define RT_LEVEL	BIT(15)
#define RT_MASKED	BIT(16)
#define RT_RO		(RT_STATUS | RT_REMOTE_IRR)

enum { IOREGSEL = 0x00, IOWIN = 0x10 };
enum { IOAPICID = 0, IOAPICVER = 1, IOAPICARB = 2, IOREDTBL = 0x10 };

#define VERSION (0x11 | (WAFER_IOAPIC_PINS - 1) << 16)

/*
 * A level interrupt that is back at once at each of its EOIs keeps the guest from all else, and the host busy: after
 * so many in a row the next one comes later.
 */
#define STORM_EOIS	10000
#define STORM_DELAY_NS	(10 * NSEC_PER_MSEC)

static struct wafer_irq_msg message(u64 entry)
{
	return (struct wafer_irq_msg){
		.vector = entry & RT_VECTOR,
		.mode = entry >> 8 & 7,
		.logical = entry & RT_LOGICAL,
		.level = entry & RT_LEVEL,
		.assert = true,
		.dest = entry >> 56,
	};
}

/* Sends a pin's interrupt if its entry lets it. As wafer_set_gsi() */
static int service(struct wafer_ioapic *ioapic, unsigned int pin)
{
	u64 *entry = &ioapic->redir[pin];
	struct wafer_irq_msg msg;
	int r;

	if (*entry & RT_MASKED || (*entry & RT_LEVEL && *entry & RT_REMOTE_IRR))
		return -1;
	msg = message(*entry);
	r = wafer_deliver(ioapic->vm, NULL, &msg);
	if (r < 0)
		return r;	/* nobody took it: a level pin is looked at again when its entry is written */
	if (*entry & RT_LEVEL)
		*entry |= RT_REMOTE_IRR;
	else
		ioapic->delivered |= BIT(pin);
	return r;
}

static int set_pin(struct wafer_ioapic *ioapic, unsigned int pin, bool level)
{
	u32 was = ioapic->irr;

	if (!level) {
		ioapic->irr &= ~BIT(pin);
		return 1;
	}
	ioapic->irr |= BIT(pin);
	if (!(ioapic->redir[pin] & RT_LEVEL)) {
		if (was & BIT(pin))
			return 0;	/* no edge */
		ioapic->delivered &= ~BIT(pin);
	}
	return service(ioapic, pin);
}

/**
 * wafer_ioapic_set() - drive a pin
 * @vm: VM with an I/O APIC
 * @pin: 0-23
 * @source: who drives it
 * @level: level
 *
 * Context: any.
 * Return: as wafer_set_gsi().
 */
int wafer_ioapic_set(struct wafer_vm *vm, unsigned int pin, enum wafer_irq_source source,
		     bool level)
{
	struct wafer_ioapic *ioapic = vm->irq.ioapic;
	unsigned long flags;
	int r;

	raw_spin_lock_irqsave(&ioapic->lock, flags);
	r = set_pin(ioapic, pin, wafer_drive(&ioapic->sources[pin], source, level));
	raw_spin_unlock_irqrestore(&ioapic->lock, flags);
	return r;
}

/* The level pins that are asserted and were held back. */
static void service_level(struct wafer_ioapic *ioapic)
{
	unsigned int pin;

	for (pin = 0; pin < WAFER_IOAPIC_PINS; pin++)
		if (ioapic->irr & BIT(pin) && ioapic->redir[pin] & RT_LEVEL)
			service(ioapic, pin);
}

static enum hrtimer_restart storm_over(struct hrtimer *timer)
{
	struct wafer_ioapic *ioapic = container_of(timer, struct wafer_ioapic, storm);
	unsigned long flags;

	raw_spin_lock_irqsave(&ioapic->lock, flags);
	service_level(ioapic);
	raw_spin_unlock_irqrestore(&ioapic->lock, flags);
	return HRTIMER_NORESTART;
}

static void end_pin(struct wafer_ioapic *ioapic, unsigned int pin)
{
	ioapic->redir[pin] &= ~RT_REMOTE_IRR;
	if (!(ioapic->irr & BIT(pin)) || ioapic->redir[pin] & RT_MASKED) {
		ioapic->eois[pin] = 0;
		return;
	}
	if (++ioapic->eois[pin] < STORM_EOIS) {
		service(ioapic, pin);
		return;
	}
	ioapic->eois[pin] = 0;
	hrtimer_start(&ioapic->storm, ns_to_ktime(STORM_DELAY_NS), HRTIMER_MODE_REL_HARD);
}

/* The pins that send @vector. Entries are read without the lock: who changes one in flight has to expect both. */
static u32 pins_of(struct wafer_ioapic *ioapic, u8 vector)
{
	unsigned int pin;
	u32 pins = 0;

	for (pin = 0; pin < WAFER_IOAPIC_PINS; pin++)
		if ((READ_ONCE(ioapic->redir[pin]) & RT_VECTOR) == vector)
			pins |= BIT(pin);
	return pins;
}

/**
 * wafer_ioapic_eoi() - a local APIC has ended the interrupt @vector
 * @vcpu: its vCPU
 * @vector: vector
 * @level: it was triggered by level
 * @window: in the window
 *
 * Acknowledgments go first: a resampling irqfd takes its line down, so that a level interrupt does not come back
 * for nothing. A pin that is asserted still is sent again.
 *
 * Return: 0; -EAGAIN: not in the window. What was done until then may be done again.
 */
int wafer_ioapic_eoi(struct wafer_vcpu *vcpu, u8 vector, bool level, bool window)
{
	struct wafer_ioapic *ioapic = vcpu->vm->irq.ioapic;
	unsigned long flags, pins;
	unsigned int pin;

	if (window && wafer_has_resamplers(vcpu->vm))
		return -EAGAIN;
	pins = pins_of(ioapic, vector);
	for_each_set_bit(pin, &pins, WAFER_IOAPIC_PINS)
		wafer_pin_acked(vcpu->vm, KVM_IRQCHIP_IOAPIC, pin);
	if (!level || !pins)
		return 0;
	if (!wafer_chip_lock(&ioapic->lock, &flags, window))
		return -EAGAIN;
	for_each_set_bit(pin, &pins, WAFER_IOAPIC_PINS)
		if (ioapic->redir[pin] & RT_LEVEL)
			end_pin(ioapic, pin);
	wafer_chip_unlock(&ioapic->lock, flags);
	return 0;
}

/* Edge pins have no EOI broadcast: the vectors are listed for which somebody wants to know. */
static void rewatch(struct wafer_ioapic *ioapic)
{
	unsigned long watch[4] = { 0 };
	bool wanted = wafer_pit_wants_acks(ioapic->vm);
	unsigned int pin, vector, i;

	for (pin = 0; wanted && pin < WAFER_IOAPIC_PINS; pin++) {
		if (wafer_pin_gsi(ioapic->vm, KVM_IRQCHIP_IOAPIC, pin) != WAFER_PIT_GSI)
			continue;
		vector = ioapic->redir[pin] & RT_VECTOR;
		__set_bit(vector, watch);
	}
	for (i = 0; i < 4; i++)
		WRITE_ONCE(ioapic->watch[i], watch[i]);
}

void wafer_ioapic_rewatch(struct wafer_vm *vm)
{
	struct wafer_ioapic *ioapic = vm->irq.ioapic;
	unsigned long flags;

	if (!ioapic)
		return;
	raw_spin_lock_irqsave(&ioapic->lock, flags);
	rewatch(ioapic);
	raw_spin_unlock_irqrestore(&ioapic->lock, flags);
}

static void write_entry(struct wafer_ioapic *ioapic, unsigned int pin, bool high, u32 val)
{
	u64 *entry = &ioapic->redir[pin], new;

	if (high)
		new = (*entry & GENMASK_ULL(31, 0)) | (u64)val << 32;
	else
		new = (*entry & (GENMASK_ULL(63, 32) | RT_RO)) | (val & ~RT_RO);
	/* Switching to edge is the EOI of old for pins whose remote IRR got stuck; Linux does it. */
	if (new & RT_LEVEL)
		ioapic->delivered &= ~BIT(pin);
	else
		new &= ~RT_REMOTE_IRR;
	WRITE_ONCE(*entry, new);
	rewatch(ioapic);
	if (ioapic->irr & BIT(pin) && new & RT_LEVEL)
		service(ioapic, pin);
}

static u32 read_window(struct wafer_ioapic *ioapic)
{
	u32 nr = ioapic->select, pin = (nr - IOREDTBL) / 2;

	switch (nr) {
	case IOAPICID:
	case IOAPICARB:
		return (ioapic->id & 0xf) << 24;
	case IOAPICVER:
		return VERSION;
	}
	if (nr < IOREDTBL || pin >= WAFER_IOAPIC_PINS)
		return 0;
	return ioapic->redir[array_index_nospec(pin, WAFER_IOAPIC_PINS)] >> (nr & 1) * 32;
}

/* Return: an entry was written that may be the PIT's. */
static bool write_window(struct wafer_ioapic *ioapic, u32 val)
{
	u32 nr = ioapic->select, pin = (nr - IOREDTBL) / 2;

	if (nr == IOAPICID)
		ioapic->id = val >> 24 & 0xf;
	if (nr < IOREDTBL || pin >= WAFER_IOAPIC_PINS)
		return false;
	pin = array_index_nospec(pin, WAFER_IOAPIC_PINS);
	write_entry(ioapic, pin, nr & 1, val);
	return wafer_pin_gsi(ioapic->vm, KVM_IRQCHIP_IOAPIC, pin) == WAFER_PIT_GSI;
}

static int ioapic_read(struct wafer_vcpu *vcpu, struct wafer_bus_dev *dev, gpa_t addr,
		       unsigned int len, void *val, bool window)
{
	struct wafer_ioapic *ioapic = vcpu->vm->irq.ioapic;
	unsigned long flags;
	u32 reg = 0;

	memset(val, 0, len);
	if (!wafer_chip_lock(&ioapic->lock, &flags, window))
		return -EAGAIN;
	switch (addr - dev->addr) {
	case IOREGSEL:
		reg = ioapic->select;
		break;
	case IOWIN:
		reg = read_window(ioapic);
		break;
	}
	wafer_chip_unlock(&ioapic->lock, flags);
	memcpy(val, &reg, min_t(u32, len, sizeof(reg)));
	return 0;
}

static int ioapic_write(struct wafer_vcpu *vcpu, struct wafer_bus_dev *dev, gpa_t addr,
			unsigned int len, const void *val, bool window)
{
	struct wafer_ioapic *ioapic = vcpu->vm->irq.ioapic;
	bool unblock = false;
	unsigned long flags;
	u32 reg = 0;

	memcpy(&reg, val, min_t(u32, len, sizeof(reg)));
	if (!wafer_chip_lock(&ioapic->lock, &flags, window))
		return -EAGAIN;
	switch (addr - dev->addr) {
	case IOREGSEL:
		ioapic->select = reg & 0xff;
		break;
	case IOWIN:
		unblock = write_window(ioapic, reg);
		break;
	}
	wafer_chip_unlock(&ioapic->lock, flags);
	if (unblock)
		wafer_pit_unblock(vcpu->vm);
	return 0;
}

static const struct wafer_bus_ops ioapic_ops = { .read = ioapic_read, .write = ioapic_write };

int wafer_ioapic_create(struct wafer_vm *vm)
{
	struct wafer_ioapic *ioapic = kzalloc(sizeof(*ioapic), GFP_KERNEL_ACCOUNT);
	int i, r;

	if (!ioapic)
		return -ENOMEM;
	raw_spin_lock_init(&ioapic->lock);
	ioapic->vm = vm;
	for (i = 0; i < WAFER_IOAPIC_PINS; i++)
		ioapic->redir[i] = RT_MASKED;
	wafer_hrtimer_setup(&ioapic->storm, storm_over, CLOCK_MONOTONIC, HRTIMER_MODE_REL_HARD);
	ioapic->mmio = (struct wafer_bus_dev){ &ioapic_ops, WAFER_IOAPIC_BASE, WAFER_IOAPIC_LEN };
	vm->irq.ioapic = ioapic;
	r = wafer_bus_add(vm, WAFER_BUS_MMIO, &ioapic->mmio);
	if (r)
		wafer_ioapic_free(vm);
	return r;
}

void wafer_ioapic_quiesce(struct wafer_vm *vm)
{
	if (vm->irq.ioapic)
		hrtimer_cancel(&vm->irq.ioapic->storm);
}

void wafer_ioapic_free(struct wafer_vm *vm)
{
	struct wafer_ioapic *ioapic = vm->irq.ioapic;

	if (!ioapic)
		return;
	wafer_bus_del(vm, WAFER_BUS_MMIO, &ioapic->mmio);
	wafer_ioapic_quiesce(vm);
	vm->irq.ioapic = NULL;
	kfree(ioapic);
}

void wafer_ioapic_get(struct wafer_vm *vm, struct kvm_ioapic_state *s)
{
	struct wafer_ioapic *ioapic = vm->irq.ioapic;
	unsigned long flags;
	int i;

	raw_spin_lock_irqsave(&ioapic->lock, flags);
	s->base_address = WAFER_IOAPIC_BASE;
	s->ioregsel = ioapic->select;
	s->id = ioapic->id;
	s->irr = ioapic->irr & ~ioapic->delivered;
	s->pad = 0;
	for (i = 0; i < WAFER_IOAPIC_PINS; i++)
		s->redirtbl[i].bits = ioapic->redir[i];
	raw_spin_unlock_irqrestore(&ioapic->lock, flags);
}

/* Pins that the state says are asserted, and of which nobody has heard yet, are told. */
void wafer_ioapic_put(struct wafer_vm *vm, const struct kvm_ioapic_state *s)
{
	struct wafer_ioapic *ioapic = vm->irq.ioapic;
	unsigned long flags, irr = s->irr;
	unsigned int i;

	raw_spin_lock_irqsave(&ioapic->lock, flags);
	ioapic->select = s->ioregsel & 0xff;
	ioapic->id = s->id;
	for (i = 0; i < WAFER_IOAPIC_PINS; i++)
		WRITE_ONCE(ioapic->redir[i], s->redirtbl[i].bits);
	ioapic->irr = 0;
	ioapic->delivered = 0;
	rewatch(ioapic);
	for_each_set_bit(i, &irr, WAFER_IOAPIC_PINS)
		set_pin(ioapic, i, true);
	raw_spin_unlock_irqrestore(&ioapic->lock, flags);
	wafer_pit_unblock(vm);
}
