// SPDX-License-Identifier: GPL-2.0
/*
 * The 8254 interval timer (Intel 8254 data sheet) and, for KVM_PIT_SPEAKER_DUMMY, port 61.
 *
 * Counters are not counted: what they hold follows from when they were loaded. Channel 0 has an
 * hrtimer that drives its line. Ticks that the guest was too slow to take are made up for, one for
 * each that it acknowledges (KVM_REINJECT_CONTROL), since guests of the time counted them. BCD is
 * counted in binary.
 */
#include "chips.h"
#include "lapic.h"

#define PIT_HZ 1193182u
#define MIN_PERIOD 239u		/* clocks, 200 us: who asks for ticks that come faster gets these */
#define MAX_PENDING 10000	/* ticks made up for; beyond that the guest's time is lost anyway */

/* What is read or written next of a count: one half always, or both in turn. */
enum { RW_LATCH, LSB, MSB, WORD0, WORD1 };

static u8 next_half(u8 state)
{
	return state == WORD0 ? WORD1 : state == WORD1 ? WORD0 : state;
}

static u64 ns_to_clocks(u64 ns)
{
	return mul_u64_u32_div(ns, PIT_HZ, NSEC_PER_SEC);
}

static bool is_periodic(const struct kvm_pit_channel_state *ch)
{
	return ch->mode == 2 || ch->mode == 3;
}

static u16 current_count(const struct kvm_pit_channel_state *ch)
{
	u64 clocks = ns_to_clocks(ktime_get_ns() - ch->count_load_time);

	if (ch->mode == 3)
		clocks *= 2;		/* counts by two, twice in a period */
	if (is_periodic(ch))
		clocks %= ch->count;
	return ch->count - clocks;	/* the others go on below zero */
}

static bool output(const struct kvm_pit_channel_state *ch)
{
	u64 clocks = ns_to_clocks(ktime_get_ns() - ch->count_load_time);

	switch (ch->mode) {
	case 0:
	case 1:
		return clocks >= ch->count;
	case 2:
		return clocks % ch->count != ch->count - 1;
	case 3:
		return clocks % ch->count < (ch->count + 1) / 2;
	default:
		return clocks != ch->count;
	}
}

/*
 * The next rise of channel 0's output. Counted from the load each time, so that nothing adds up.
 * Return: how many were due before, and have to be made up for.
 */
static u64 arm(struct wafer_chips *c, u64 now)
{
	struct kvm_pit_channel_state *ch = &c->pit.channels[0];
	u64 tick = ++c->ticks, period = is_periodic(ch) ? max(ch->count, MIN_PERIOD) : ch->count;

	if (is_periodic(ch))
		c->ticks = max(tick, ns_to_clocks(now - ch->count_load_time) / period + 1);
	c->due = ch->count_load_time + mul_u64_u32_div(c->ticks * period, NSEC_PER_SEC, PIT_HZ) + 1;
	hrtimer_start(&c->tick, ns_to_ktime(c->due), HRTIMER_MODE_ABS_HARD);
	return c->ticks - tick;
}

/* @count: 0 is 65536, as the chip has it. With the HPET in its place channel 0 does not tick. */
static void load(struct wafer_chips *c, unsigned int nr, u32 count)
{
	struct kvm_pit_channel_state *ch = &c->pit.channels[nr];

	ch->count = count ?: 0x10000;
	ch->count_load_time = ktime_get_ns();
	if (nr)
		return;
	c->ticks = 0;
	c->due = WAFER_NEVER;
	if (ch->mode <= 4 && !(c->pit.flags & KVM_PIT_FLAGS_HPET_LEGACY))
		arm(c, ch->count_load_time);
}

/* Also of a pin that was set up anew: the last tick may never be taken. */
void wafer_pit_unblock(struct wafer_chips *c)
{
	atomic_set(&c->pending, 0);
	atomic_set(&c->waiting, 0);
}

/*
 * A pulse on the PIT's line, unless the last one waits for its acknowledgment still; LINT0 may be
 * the NMI watchdog's.
 */
static void pulse(struct wafer_chips *c)
{
	struct wafer_vcpu *vcpu;

	if (atomic_read(&c->reinject) && atomic_xchg(&c->waiting, 1))
		return;
	if (wafer_set_gsi(c->vm, WAFER_SRC_PIT, WAFER_PIT_GSI, WAFER_PULSE) < 0)
		wafer_pit_unblock(c);	/* masked everywhere: no acknowledgment will come */
	wafer_for_each_vcpu(vcpu, c->vm)
		if (GET_APIC_DELIVERY_MODE(wafer_apic_reg(vcpu->lapic, APIC_LVT0)) == WAFER_DM_NMI)
			wafer_lapic_local(vcpu->lapic, APIC_LVT0);
}

static enum hrtimer_restart timer_fn(struct hrtimer *timer)
{
	struct wafer_chips *c = container_of(timer, struct wafer_chips, tick);
	u64 now = ktime_get_ns(), ticks = 1;
	unsigned long flags;
	bool is_due;

	wafer_lock(&c->lock, &flags, false);
	is_due = now >= c->due;		/* not if the channel was loaded meanwhile */
	if (is_due) {
		c->due = WAFER_NEVER;
		if (is_periodic(&c->pit.channels[0]))
			ticks += arm(c, now);
	}
	wafer_chips_unlock(c, flags);
	if (is_due) {
		if (atomic_read(&c->pending) < MAX_PENDING)
			atomic_add(min_t(u64, ticks, MAX_PENDING), &c->pending);
		pulse(c);
	}
	return HRTIMER_NORESTART;	/* arm() has started it */
}

static void next_fn(struct irq_work *work)
{
	pulse(container_of(work, struct wafer_chips, next));
}

/* Also in the window: the next tick is sent from an interrupt, as it takes the chips' lock. */
void wafer_pit_acked(struct wafer_chips *c)
{
	if (!atomic_read(&c->reinject))
		return;
	atomic_set(&c->waiting, 0);
	/* waiting is 0 before pending is read: timer_fn() adds to it, then looks at waiting */
	smp_mb();
	if (atomic_dec_if_positive(&c->pending) > 0)
		irq_work_queue(&c->next);
}

static void latch(struct kvm_pit_channel_state *ch, bool count, bool status)
{
	if (count && !ch->count_latched) {
		ch->latched_count = current_count(ch);
		ch->count_latched = ch->rw_mode;
	}
	if (status && !ch->status_latched) {
		ch->status = output(ch) << 7 | ch->rw_mode << 4 | ch->mode << 1 | ch->bcd;
		ch->status_latched = 1;
	}
}

/* Port 43: SC1 SC0 RW1 RW0 M2 M1 M0 BCD; SC 3: read-back of the channels in bits 3-1. */
static void write_control(struct wafer_chips *c, u8 val)
{
	unsigned int nr, access = val >> 4 & 3;
	struct kvm_pit_channel_state *ch;

	for (nr = 0; nr < ARRAY_SIZE(c->pit.channels); nr++) {
		ch = &c->pit.channels[nr];
		if (val >> 6 == 3 && val & BIT(nr + 1)) {
			latch(ch, !(val & BIT(5)), !(val & BIT(4)));
		} else if (val >> 6 == nr && access == RW_LATCH) {
			latch(ch, true, false);
		} else if (val >> 6 == nr) {
			ch->rw_mode = access;
			ch->read_state = access;
			ch->write_state = access;
			ch->mode = (val >> 1 & 7) > 5 ? val >> 1 & 3 : val >> 1 & 7;
			ch->bcd = val & 1;
			c->due = nr ? c->due : WAFER_NEVER;	/* until a count comes */
		}
	}
}

/*
 * Port 61: bit 0 is channel 2's gate; a rising one starts modes 1, 2, 3 and 5 anew. Bit 1 is the
 * speaker's data.
 */
static void write_port61(struct wafer_chips *c, u8 val)
{
	struct kvm_pit_channel_state *ch = &c->pit.channels[2];

	c->pit.flags &= ~KVM_PIT_FLAGS_SPEAKER_DATA_ON;
	c->pit.flags |= val & BIT(1) ? KVM_PIT_FLAGS_SPEAKER_DATA_ON : 0;
	if (val & 1 && !ch->gate && ch->mode != 0 && ch->mode != 4)
		ch->count_load_time = ktime_get_ns();
	ch->gate = val & 1;
}

static void write_count(struct wafer_chips *c, unsigned int nr, u8 val)
{
	struct kvm_pit_channel_state *ch = &c->pit.channels[nr];
	u8 half = ch->write_state;

	ch->write_state = next_half(half);
	if (half == WORD0)
		ch->write_latch = val;
	else if (half == WORD1)
		load(c, nr, ch->write_latch | val << 8);
	else
		load(c, nr, half == MSB ? val << 8 : val);
}

void wafer_pit_write(struct wafer_chips *c, u32 port, u32 val)
{
	if (port == 0x61)
		write_port61(c, val);
	else if (port == 0x43)
		write_control(c, val);
	else
		write_count(c, port & 3, val);
}

static u8 read_count(struct kvm_pit_channel_state *ch)
{
	u8 half = ch->count_latched ?: ch->read_state;
	u16 count = ch->count_latched ? ch->latched_count : current_count(ch);

	if (ch->status_latched) {
		ch->status_latched = 0;
		return ch->status;
	}
	if (ch->count_latched)
		ch->count_latched = half == WORD0 ? MSB : 0;
	else
		ch->read_state = next_half(half);
	return half == MSB || half == WORD1 ? count >> 8 : count;
}

/*
 * Bit 4 of port 61 is the refresh clock, which programs count to measure time: it changes every 15
 * us.
 */
u32 wafer_pit_read(struct wafer_chips *c, u32 port)
{
	struct kvm_pit_channel_state *ch = &c->pit.channels[2];

	if (port == 0x61)
		return output(ch) << 5 | (ktime_get_ns() >> 14 & 1) << 4 | (ch->gate ? BIT(0) : 0) |
		       (c->pit.flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON ? BIT(1) : 0);
	return port == 0x43 ? 0 : read_count(&c->pit.channels[port & 3]);
}

void wafer_pit_init(struct wafer_chips *c)
{
	c->next = IRQ_WORK_INIT_HARD(next_fn);
	wafer_hrtimer_setup(&c->tick, timer_fn, CLOCK_MONOTONIC, HRTIMER_MODE_ABS_HARD);
	atomic_set(&c->reinject, true);
	for (unsigned int i = 0; i < ARRAY_SIZE(c->pit.channels); i++) {
		c->pit.channels[i].mode = WAFER_PIT_UNSET;
		c->pit.channels[i].gate = i != 2;
		load(c, i, 0);
	}
}

void wafer_pit_restored(struct wafer_chips *c)
{
	memset(c->pit.reserved, 0, sizeof(c->pit.reserved));
	for (unsigned int i = 0; i < ARRAY_SIZE(c->pit.channels); i++)
		load(c, i, c->pit.channels[i].count);
}
