// SPDX-License-Identifier: GPL-2.0
/*
 * The I/O APIC (82093AA data sheet): 24 pins, version 0x11, at fec00000.
 *
 * Pin polarity is ignored, as KVM_CAP_IOAPIC_POLARITY_IGNORED says.
 */
#include "chips.h"

/* Redirection table entries; the other bits are those of a message. */
enum {
	RT_VECTOR = 0xff, RT_STATUS = BIT(12), RT_REMOTE_IRR = BIT(14), RT_LEVEL = BIT(15),
	RT_MASKED = BIT(16), RT_RO = RT_STATUS | RT_REMOTE_IRR,	/* read-only */
};

enum { IOREGSEL = 0x00, IOWIN = 0x10 };
enum { IOAPICID = 0, IOAPICVER = 1, IOAPICARB = 2, IOREDTBL = 0x10 };

#define PINS	KVM_IOAPIC_NUM_PINS
#define VERSION	(0x11 | (PINS - 1) << 16)

/*
 * A level interrupt that is back at once at each of its EOIs keeps the guest from all else, and the
 * host busy: after so many in a row the next one comes later.
 */
#define STORM_EOIS	10000
#define STORM_DELAY_NS	(10 * NSEC_PER_MSEC)

/* Sends a pin's interrupt if its entry lets it. As wafer_set_gsi() */
static int service(struct wafer_chips *c, unsigned int pin)
{
	__u64 *entry = &c->ioapic.redirtbl[pin].bits;
	struct wafer_irq_msg msg = wafer_message(*entry >> 56, *entry);
	int r;

	if (*entry & RT_MASKED || (*entry & RT_LEVEL && *entry & RT_REMOTE_IRR))
		return -1;
	r = wafer_deliver(c->vm, NULL, &msg);
	if (r < 0)
		/* nobody took it: a level pin is looked at again when its entry is written */
		return r;
	if (*entry & RT_LEVEL)
		*entry |= RT_REMOTE_IRR;
	else
		c->delivered |= BIT(pin);
	return r;
}

int wafer_ioapic_set(struct wafer_chips *c, unsigned int pin, bool level)
{
	u32 was = c->ioapic.irr;

	c->ioapic.irr &= ~BIT(pin);
	if (!level)
		return 1;
	c->ioapic.irr |= BIT(pin);
	if (c->ioapic.redirtbl[pin].bits & RT_LEVEL)
		return service(c, pin);
	if (was & BIT(pin))
		return 0;	/* no edge */
	c->delivered &= ~BIT(pin);
	return service(c, pin);
}

/* The level pins that are asserted and were held back. */
static enum hrtimer_restart storm_over(struct hrtimer *timer)
{
	struct wafer_chips *c = container_of(timer, struct wafer_chips, storm);
	unsigned long flags;

	wafer_lock(&c->lock, &flags, false);
	for (unsigned int pin = 0; pin < PINS; pin++)
		if (c->ioapic.irr & BIT(pin) && c->ioapic.redirtbl[pin].bits & RT_LEVEL)
			service(c, pin);
	wafer_chips_unlock(c, flags);
	return HRTIMER_NORESTART;
}

static void end_pin(struct wafer_chips *c, unsigned int pin)
{
	bool again = c->ioapic.irr & BIT(pin) && !(c->ioapic.redirtbl[pin].bits & RT_MASKED);

	c->ioapic.redirtbl[pin].bits &= ~RT_REMOTE_IRR;
	c->eois[pin] = again ? c->eois[pin] + 1 : 0;
	if (c->eois[pin] >= STORM_EOIS) {
		c->eois[pin] = 0;
		hrtimer_start(&c->storm, ns_to_ktime(STORM_DELAY_NS), HRTIMER_MODE_REL_HARD);
	} else if (again) {
		service(c, pin);
	}
}

/**
 * wafer_ioapic_eoi() - a local APIC has ended the interrupt @vector
 * @c: chips, not locked
 * @vector: vector
 * @level: it was triggered by level
 * @window: in the window
 *
 * Acknowledgments go first: a resampling irqfd takes its line down, so that a level interrupt does
 * not come back for nothing. A pin that is asserted still is sent again.
 *
 * Return: 0; -EAGAIN: not in the window. What was done until then may be done again.
 */
int wafer_ioapic_eoi(struct wafer_chips *c, u8 vector, bool level, bool window)
{
	unsigned long flags, pins = 0;
	unsigned int pin;

	if (window && READ_ONCE(c->vm->irq.nr_resamplers))
		return -EAGAIN;
	/* Entries are read without the lock: who changes one in flight has to expect both. */
	for (pin = 0; pin < PINS; pin++)
		if ((READ_ONCE(c->ioapic.redirtbl[pin].bits) & RT_VECTOR) == vector)
			pins |= BIT(pin);
	for_each_set_bit(pin, &pins, PINS)
		wafer_pin_acked(c->vm, IOAPIC, pin);
	if (!level || !pins)
		return 0;
	if (!wafer_lock(&c->lock, &flags, window))
		return -EAGAIN;
	for_each_set_bit(pin, &pins, PINS)
		if (c->ioapic.redirtbl[pin].bits & RT_LEVEL)
			end_pin(c, pin);
	wafer_chips_unlock(c, flags);
	return 0;
}

static void write_entry(struct wafer_chips *c, unsigned int pin, bool high, u32 val)
{
	__u64 *entry = &c->ioapic.redirtbl[pin].bits, new;

	if (high)
		new = (*entry & GENMASK_ULL(31, 0)) | (u64)val << 32;
	else
		new = (*entry & (GENMASK_ULL(63, 32) | RT_RO)) | (val & ~RT_RO);
	/*
	 * Switching to edge is the EOI of old for pins whose remote IRR got stuck; Linux does it.
	 */
	if (new & RT_LEVEL)
		c->delivered &= ~BIT(pin);
	else
		new &= ~RT_REMOTE_IRR;
	WRITE_ONCE(*entry, new);
	c->unblock |= pin == c->pit_pin;
	if (c->ioapic.irr & BIT(pin) && new & RT_LEVEL)
		service(c, pin);
}

u32 wafer_ioapic_read(struct wafer_chips *c, u32 addr)
{
	u32 nr = c->ioapic.ioregsel, pin = (nr - IOREDTBL) / 2;

	if (addr == WAFER_IOAPIC_BASE + IOREGSEL)
		return nr;
	if (addr != WAFER_IOAPIC_BASE + IOWIN)
		return 0;
	if (nr == IOAPICID || nr == IOAPICARB)
		return (c->ioapic.id & 0xf) << 24;
	if (nr == IOAPICVER)
		return VERSION;
	if (nr < IOREDTBL || pin >= PINS)
		return 0;
	return c->ioapic.redirtbl[array_index_nospec(pin, PINS)].bits >> (nr & 1) * 32;
}

void wafer_ioapic_write(struct wafer_chips *c, u32 addr, u32 val)
{
	u32 nr = c->ioapic.ioregsel, pin = (nr - IOREDTBL) / 2;

	if (addr == WAFER_IOAPIC_BASE + IOREGSEL)
		c->ioapic.ioregsel = val & 0xff;
	if (addr != WAFER_IOAPIC_BASE + IOWIN)
		return;
	if (nr == IOAPICID)
		c->ioapic.id = val >> 24 & 0xf;
	else if (nr >= IOREDTBL && pin < PINS)
		write_entry(c, array_index_nospec(pin, PINS), nr & 1, val);
}

void wafer_ioapic_init(struct wafer_chips *c)
{
	c->ioapic.base_address = WAFER_IOAPIC_BASE;
	for (unsigned int pin = 0; pin < PINS; pin++)
		c->ioapic.redirtbl[pin].bits = RT_MASKED;
	wafer_hrtimer_setup(&c->storm, storm_over, CLOCK_MONOTONIC, HRTIMER_MODE_REL_HARD);
}

/* Pins that the state says are asserted, and of which nobody has heard yet, are told. */
void wafer_ioapic_restored(struct wafer_chips *c)
{
	unsigned long irr = c->ioapic.irr;
	unsigned int pin;

	c->ioapic.base_address = WAFER_IOAPIC_BASE;
	c->ioapic.ioregsel &= 0xff;
	c->ioapic.pad = 0;
	c->ioapic.irr = 0;
	c->delivered = 0;
	for_each_set_bit(pin, &irr, PINS)
		wafer_ioapic_set(c, pin, true);
}
