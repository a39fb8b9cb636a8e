// SPDX-License-Identifier: GPL-2.0
/*
 * The 8254 interval timer (Intel 8254 data sheet) and, for KVM_PIT_SPEAKER_DUMMY, port 61.
 *
 * Counters are not counted: what they hold follows from when they were loaded. Channel 0 has an hrtimer that drives
 * its line. Ticks that the guest was too slow to take are made up for, one for each that it acknowledges
 * (KVM_REINJECT_CONTROL), since guests of the time counted them. BCD is counted in binary.
 */
#include <linux/hrtimer.h>
#include <linux/irq_work.h>
#include <linux/kernel.h>
#include <linux/math64.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "chips.h"
#include "compat.h"
#include "lapic.h"
#include "vm.h"

#define PIT_HZ 1193182u
#define MIN_PERIOD 239		/* clocks, 200 us: ticks that come faster are left out */
#define MAX_PENDING 10000	/* ticks made up for; beyond that the guest's time is lost anyway */
#define MODE_NONE 0xff		/* not programmed since RESET */

enum { RW_LATCH, RW_LSB, RW_MSB, RW_BOTH };
enum { STATE_LSB = 1, STATE_MSB, STATE_WORD0, STATE_WORD1 };

/**
 * struct wafer_pit - the timer chip
 * @lock: protects all but the atomics
 * @vm: [I] whose it is
 * @channel: registers as KVM_GET_PIT2 has them; count 1-65536, mode 0-5 or MODE_NONE
 * @flags: KVM_PIT_FLAGS_HPET_LEGACY
 * @speaker: the speaker's data bit of port 61
 * @timer: channel 0's
 * @due: when channel 0's output rises next, CLOCK_MONOTONIC ns; WAFER_NEVER
 * @ticks: how many periods @due is after the load
 * @reinject: [a] make up for missed ticks
 * @waiting: [a] a tick was delivered and not acknowledged
 * @pending: [a] ticks to come
 * @acked: sends the next one, from an interrupt of its own
 * @ports: 40-43 on the bus
 * @port61: port 61 on the bus
 */
struct wafer_pit {
	raw_spinlock_t lock;
	struct wafer_vm *vm;
	struct kvm_pit_channel_state channel[3];
	u32 flags;
	bool speaker;
	struct hrtimer timer;
	u64 due, ticks;
	atomic_t reinject, waiting, pending;
	struct irq_work acked;
	struct wafer_bus_dev ports, port61;
};

static bool is_periodic(const struct kvm_pit_channel_state *c)
{
	return c->mode == 2 || c->mode == 3;
}

static u64 clocks_since_load(const struct kvm_pit_channel_state *c)
{
	return mul_u64_u32_div(ktime_get_ns() - c->count_load_time, PIT_HZ, NSEC_PER_SEC);
}

static u16 current_count(const struct kvm_pit_channel_state *c)
{
	u64 clocks = clocks_since_load(c), in_period;

	div64_u64_rem(clocks, c->count, &in_period);
	switch (c->mode) {
	case 2:
		return c->count - in_period;
	case 3:		/* counts by two, twice in a period */
		div64_u64_rem(clocks * 2, c->count, &in_period);
		return c->count - in_period;
	default:	/* goes on below zero */
		return c->count - clocks;
	}
}

static bool output(const struct kvm_pit_channel_state *c)
{
	u64 clocks = clocks_since_load(c), in_period;

	div64_u64_rem(clocks, c->count, &in_period);
	switch (c->mode) {
	case 0:
		return clocks >= c->count;
	case 1:
		return clocks < c->count;
	case 2:
		return in_period == 0 && clocks != 0;
	case 3:
		return in_period < (c->count + 1) / 2;
	default:
		return clocks == c->count;
	}
}

static u64 clocks_to_ns(u64 clocks)
{
	return mul_u64_u32_div(clocks, NSEC_PER_SEC, PIT_HZ) + 1;
}

/*
 * The next rise of channel 0's output. Counted from the load each time, so that nothing adds up. Return: how many
 * were due before, and have to be made up for.
 */
static u64 arm(struct wafer_pit *pit, u64 now)
{
	struct kvm_pit_channel_state *c = &pit->channel[0];
	bool too_fast = is_periodic(c) && c->count < MIN_PERIOD;
	u64 missed = 0, late;

	pit->ticks += too_fast ? DIV_ROUND_UP(MIN_PERIOD, c->count) : 1;
	pit->due = c->count_load_time + clocks_to_ns(pit->ticks * c->count);
	if (unlikely(pit->due <= now) && is_periodic(c)) {
		late = mul_u64_u32_div(now - pit->due, PIT_HZ, NSEC_PER_SEC);
		missed = div64_u64(late, c->count) + 1;
		pit->ticks += missed;
		pit->due = c->count_load_time + clocks_to_ns(pit->ticks * c->count);
	}
	hrtimer_start(&pit->timer, ns_to_ktime(pit->due), HRTIMER_MODE_ABS_HARD);
	return too_fast ? 0 : missed;
}

/* @count: 0 is 65536, as the chip has it. With the HPET in its place channel 0 does not tick. */
static void load(struct wafer_pit *pit, unsigned int nr, u32 count)
{
	struct kvm_pit_channel_state *c = &pit->channel[nr];

	c->count = count ?: 0x10000;
	c->count_load_time = ktime_get_ns();
	if (nr)
		return;
	pit->ticks = 0;
	pit->due = WAFER_NEVER;
	if (c->mode <= 4 && !(pit->flags & KVM_PIT_FLAGS_HPET_LEGACY))
		arm(pit, c->count_load_time);
}

/* A pulse on the PIT's line, unless the last one waits for its acknowledgment still. */
static void tick(struct wafer_pit *pit)
{
	struct wafer_vm *vm = pit->vm;
	struct wafer_vcpu *vcpu;
	unsigned int i;

	if (atomic_read(&pit->reinject) && atomic_xchg(&pit->waiting, 1))
		return;
	if (wafer_set_gsi(vm, WAFER_SRC_PIT, WAFER_PIT_GSI, 1) < 0) {
		/* Masked everywhere: no acknowledgment will come. */
		atomic_set(&pit->pending, 0);
		atomic_set(&pit->waiting, 0);
	}
	wafer_set_gsi(vm, WAFER_SRC_PIT, WAFER_PIT_GSI, 0);
	wafer_for_each_vcpu(i, vcpu, vm)
		wafer_lapic_local_nmi(vcpu);
}

static enum hrtimer_restart timer_fn(struct hrtimer *timer)
{
	struct wafer_pit *pit = container_of(timer, struct wafer_pit, timer);
	u64 now = ktime_get_ns(), ticks = 1;
	unsigned long flags;
	bool is_due;

	raw_spin_lock_irqsave(&pit->lock, flags);
	is_due = now >= pit->due;	/* not if the channel was loaded meanwhile */
	if (is_due) {
		pit->due = WAFER_NEVER;
		if (is_periodic(&pit->channel[0]))
			ticks += arm(pit, now);
	}
	raw_spin_unlock_irqrestore(&pit->lock, flags);
	if (is_due) {
		if (atomic_read(&pit->pending) < MAX_PENDING)
			atomic_add(min_t(u64, ticks, MAX_PENDING), &pit->pending);
		tick(pit);
	}
	return HRTIMER_NORESTART;	/* arm() has started it */
}

static void acked_fn(struct irq_work *work)
{
	tick(container_of(work, struct wafer_pit, acked));
}

/* Also in the window: the next tick is sent from an interrupt, as it takes the chips' locks. */
void wafer_pit_acked(struct wafer_vm *vm)
{
	struct wafer_pit *pit = READ_ONCE(vm->irq.pit);

	if (!pit || !atomic_read(&pit->reinject))
		return;
	atomic_set(&pit->waiting, 0);
	smp_mb();	/* waiting is 0 before pending is read: timer_fn() adds to it, then looks at waiting */
	if (atomic_dec_if_positive(&pit->pending) > 0)
		irq_work_queue(&pit->acked);
}

void wafer_pit_unblock(struct wafer_vm *vm)
{
	struct wafer_pit *pit = READ_ONCE(vm->irq.pit);

	if (pit && atomic_read(&pit->reinject)) {
		atomic_set(&pit->pending, 0);
		atomic_set(&pit->waiting, 0);
	}
}

bool wafer_pit_wants_acks(struct wafer_vm *vm)
{
	struct wafer_pit *pit = READ_ONCE(vm->irq.pit);

	return pit && atomic_read(&pit->reinject);
}

static void latch_count(struct kvm_pit_channel_state *c)
{
	if (c->count_latched)
		return;
	c->latched_count = current_count(c);
	c->count_latched = c->rw_mode;
}

static void latch_status(struct kvm_pit_channel_state *c)
{
	if (c->status_latched)
		return;
	c->status = output(c) << 7 | c->rw_mode << 4 | c->mode << 1 | c->bcd;
	c->status_latched = 1;
}

/* Port 43: SC1 SC0 RW1 RW0 M2 M1 M0 BCD; SC 3: read-back. */
static void write_control(struct wafer_pit *pit, u8 val)
{
	struct kvm_pit_channel_state *c;
	unsigned int nr = val >> 6, access = val >> 4 & 3, i;

	if (nr == 3) {
		for (i = 0; i < 3; i++) {
			if (!(val & BIT(i + 1)))
				continue;
			if (!(val & BIT(5)))
				latch_count(&pit->channel[i]);
			if (!(val & BIT(4)))
				latch_status(&pit->channel[i]);
		}
		return;
	}
	c = &pit->channel[nr];
	if (access == RW_LATCH) {
		latch_count(c);
		return;
	}
	c->rw_mode = access;
	c->read_state = access;
	c->write_state = access;
	c->mode = (val >> 1 & 7) > 5 ? val >> 1 & 3 : val >> 1 & 7;
	c->bcd = val & 1;
}

static void write_count(struct wafer_pit *pit, unsigned int nr, u8 val)
{
	struct kvm_pit_channel_state *c = &pit->channel[nr];

	switch (c->write_state) {
	case STATE_MSB:
		load(pit, nr, val << 8);
		break;
	case STATE_WORD0:
		c->write_latch = val;
		c->write_state = STATE_WORD1;
		break;
	case STATE_WORD1:
		c->write_state = STATE_WORD0;
		load(pit, nr, c->write_latch | val << 8);
		break;
	default:
		load(pit, nr, val);
	}
}

static u8 read_latched(struct kvm_pit_channel_state *c)
{
	switch (c->count_latched) {
	case RW_MSB:
		c->count_latched = 0;
		return c->latched_count >> 8;
	case RW_BOTH:
		c->count_latched = RW_MSB;
		return c->latched_count;
	default:
		c->count_latched = 0;
		return c->latched_count;
	}
}

static u8 read_count(struct kvm_pit_channel_state *c)
{
	if (c->status_latched) {
		c->status_latched = 0;
		return c->status;
	}
	if (c->count_latched)
		return read_latched(c);
	switch (c->read_state) {
	case STATE_MSB:
		return current_count(c) >> 8;
	case STATE_WORD0:
		c->read_state = STATE_WORD1;
		return current_count(c);
	case STATE_WORD1:
		c->read_state = STATE_WORD0;
		return current_count(c) >> 8;
	default:
		return current_count(c);
	}
}

/* Bit 0 is channel 2's gate; a rising one starts modes 1, 2, 3 and 5 anew. */
static void write_port61(struct wafer_pit *pit, u8 val)
{
	struct kvm_pit_channel_state *c = &pit->channel[2];

	pit->speaker = val & BIT(1);
	if (val & 1 && !c->gate && c->mode != 0 && c->mode != 4)
		c->count_load_time = ktime_get_ns();
	c->gate = val & 1;
}

/* Bit 4 is the refresh clock, which programs count to measure time: it changes every 15 us. */
static u8 read_port61(struct wafer_pit *pit)
{
	struct kvm_pit_channel_state *c = &pit->channel[2];
	u8 refresh = ktime_get_ns() >> 14 & 1;

	return output(c) << 5 | refresh << 4 | pit->speaker << 1 | (c->gate ? 1 : 0);
}

static struct wafer_pit *pit_of(struct wafer_bus_dev *dev)
{
	return dev->addr == 0x61 ? container_of(dev, struct wafer_pit, port61) :
				   container_of(dev, struct wafer_pit, ports);
}

static int pit_write(struct wafer_vcpu *vcpu, struct wafer_bus_dev *dev, gpa_t port,
		     unsigned int len, const void *val, bool window)
{
	struct wafer_pit *pit = pit_of(dev);
	unsigned long flags;
	u8 byte = *(const u8 *)val;

	if (!wafer_chip_lock(&pit->lock, &flags, window))
		return -EAGAIN;
	if (port == 0x61)
		write_port61(pit, byte);
	else if (port == 0x43)
		write_control(pit, byte);
	else
		write_count(pit, port & 3, byte);
	wafer_chip_unlock(&pit->lock, flags);
	return 0;
}

static int pit_read(struct wafer_vcpu *vcpu, struct wafer_bus_dev *dev, gpa_t port,
		    unsigned int len, void *val, bool window)
{
	struct wafer_pit *pit = pit_of(dev);
	unsigned long flags;
	u8 byte = 0;

	if (!wafer_chip_lock(&pit->lock, &flags, window))
		return -EAGAIN;
	if (port == 0x61)
		byte = read_port61(pit);
	else if (port != 0x43)
		byte = read_count(&pit->channel[port & 3]);
	wafer_chip_unlock(&pit->lock, flags);
	memset(val, 0, len);
	*(u8 *)val = byte;
	return 0;
}

static const struct wafer_bus_ops pit_ops = { .read = pit_read, .write = pit_write };

static void reset(struct wafer_pit *pit)
{
	int i;

	for (i = 0; i < 3; i++) {
		pit->channel[i].mode = MODE_NONE;
		pit->channel[i].gate = i != 2;
		load(pit, i, 0);
	}
}

static void quiesce(struct wafer_pit *pit)
{
	hrtimer_cancel(&pit->timer);
	irq_work_sync(&pit->acked);
}

static void destroy(struct wafer_pit *pit)
{
	quiesce(pit);
	kfree(pit);
}

/**
 * wafer_create_pit() - KVM_CREATE_PIT2
 * @vm: VM, its lock held
 * @flags: KVM_PIT_SPEAKER_DUMMY: port 61, too
 *
 * Return: 0; -EEXIST; -ENXIO: not with a split chip or none; -EINVAL: unknown flags; -ENOMEM.
 */
int wafer_create_pit(struct wafer_vm *vm, u32 flags)
{
	struct wafer_pit *pit;
	int r;

	if (vm->irq.mode != WAFER_CHIP_FULL)
		return wafer_refuse(&vm->refusal, -ENXIO, "irqchip", vm->irq.mode,
				    "is complete (KVM_CREATE_IRQCHIP)");
	if (vm->irq.pit)
		return wafer_refuse(&vm->refusal, -EEXIST, "pit", 1, "is created once");
	if (flags & ~KVM_PIT_SPEAKER_DUMMY)
		return wafer_refuse(&vm->refusal, -EINVAL, "flags", flags,
				    "is 0 or KVM_PIT_SPEAKER_DUMMY");
	pit = kzalloc(sizeof(*pit), GFP_KERNEL_ACCOUNT);
	if (!pit)
		return -ENOMEM;
	raw_spin_lock_init(&pit->lock);
	pit->vm = vm;
	pit->acked = IRQ_WORK_INIT_HARD(acked_fn);
	wafer_hrtimer_setup(&pit->timer, timer_fn, CLOCK_MONOTONIC, HRTIMER_MODE_ABS_HARD);
	reset(pit);
	atomic_set(&pit->reinject, 1);
	pit->ports = (struct wafer_bus_dev){ &pit_ops, 0x40, 4 };
	pit->port61 = (struct wafer_bus_dev){ &pit_ops, 0x61, 1 };
	r = wafer_bus_add(vm, WAFER_BUS_PIO, &pit->ports);
	if (!r && flags & KVM_PIT_SPEAKER_DUMMY)
		r = wafer_bus_add(vm, WAFER_BUS_PIO, &pit->port61);
	if (r) {
		wafer_bus_del(vm, WAFER_BUS_PIO, &pit->ports);
		synchronize_rcu();	/* a vCPU may have found the port meanwhile */
		destroy(pit);
		return r;
	}
	/* vCPUs may run already: those that acknowledge ticks look for it from now on. */
	smp_store_release(&vm->irq.pit, pit);
	wafer_ioapic_rewatch(vm);
	return 0;
}

void wafer_pit_quiesce(struct wafer_vm *vm)
{
	if (vm->irq.pit)
		quiesce(vm->irq.pit);
}

void wafer_pit_free(struct wafer_vm *vm)
{
	if (vm->irq.pit)
		destroy(vm->irq.pit);
	vm->irq.pit = NULL;
}

int wafer_get_pit(struct wafer_vm *vm, struct kvm_pit_state2 *ps)
{
	struct wafer_pit *pit = vm->irq.pit;
	unsigned long flags;

	if (!pit)
		return wafer_refuse(&vm->refusal, -ENXIO, "pit", 0, "is created");
	memset(ps, 0, sizeof(*ps));
	raw_spin_lock_irqsave(&pit->lock, flags);
	memcpy(ps->channels, pit->channel, sizeof(ps->channels));
	ps->flags = pit->flags | (pit->speaker ? KVM_PIT_FLAGS_SPEAKER_DATA_ON : 0);
	raw_spin_unlock_irqrestore(&pit->lock, flags);
	return 0;
}

/* What the model computes with must be in range; the rest only decides which byte comes next. */
static int check_pit(struct wafer_vm *vm, const struct kvm_pit_state2 *ps)
{
	int i;

	if (ps->flags & ~(KVM_PIT_FLAGS_HPET_LEGACY | KVM_PIT_FLAGS_SPEAKER_DATA_ON))
		return wafer_refuse(&vm->refusal, -EINVAL, "flags", ps->flags,
				    "is of KVM_PIT_FLAGS_*");
	for (i = 0; i < 3; i++) {
		if (ps->channels[i].count > 0x10000)
			return wafer_refuse(&vm->refusal, -EINVAL, "channels[].count",
					    ps->channels[i].count, "is at most 65536");
		if (ps->channels[i].mode > 5 && ps->channels[i].mode != MODE_NONE)
			return wafer_refuse(&vm->refusal, -EINVAL, "channels[].mode",
					    ps->channels[i].mode, "is 0 to 5, or 255: none");
	}
	return 0;
}

/**
 * wafer_set_pit() - KVM_SET_PIT2
 * @vm: VM, its lock held
 * @ps: all channels count from now
 *
 * Return: 0; -ENXIO: no PIT; -EINVAL.
 */
int wafer_set_pit(struct wafer_vm *vm, const struct kvm_pit_state2 *ps)
{
	struct wafer_pit *pit = vm->irq.pit;
	unsigned long flags;
	int i, r;

	if (!pit)
		return wafer_refuse(&vm->refusal, -ENXIO, "pit", 0, "is created");
	r = check_pit(vm, ps);
	if (r)
		return r;
	raw_spin_lock_irqsave(&pit->lock, flags);
	memcpy(pit->channel, ps->channels, sizeof(pit->channel));
	pit->flags = ps->flags & KVM_PIT_FLAGS_HPET_LEGACY;
	pit->speaker = ps->flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON;
	for (i = 0; i < 3; i++)
		load(pit, i, ps->channels[i].count);
	raw_spin_unlock_irqrestore(&pit->lock, flags);
	wafer_pit_unblock(vm);
	return 0;
}

int wafer_reinject_control(struct wafer_vm *vm, bool reinject)
{
	struct wafer_pit *pit = vm->irq.pit;

	if (!pit)
		return wafer_refuse(&vm->refusal, -ENXIO, "pit", 0, "is created");
	atomic_set(&pit->reinject, reinject);
	atomic_set(&pit->pending, 0);
	atomic_set(&pit->waiting, 0);
	wafer_ioapic_rewatch(vm);
	return 0;
}
