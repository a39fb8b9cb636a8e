/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A VM with chips and vCPUs that do not run: the rest of the module as far as irq/ calls
 * it. Who raises what is counted.
 */
#ifndef IRQ_FAKE_H
#define IRQ_FAKE_H

#include "tap.h"
#include "irq/chips.h"
#include "irq/lapic.h"
#include "vm.h"

u64 shim_ns = 1000000;
struct hrtimer *shim_timers;
struct irq_work *shim_work;
struct eventfd_ctx shim_eventfd[8];

static struct wafer_vm vm;
static struct fake_vcpu {
	unsigned int events, nmis, inits, sipis, timers;
	u8 sipi_vector;
} fake[WAFER_MAX_VCPUS];
static unsigned int resampled;		/* calls of wafer_resample() */
static bool has_x2apic = true;
static u64 guest_tsc;			/* 1 GHz, at shim_ns 0 */

static void run_work(void)
{
	struct irq_work *work = shim_work;

	shim_work = NULL;
	if (work)
		work->func(work);
}

void shim_advance(u64 ns)
{
	u64 end = shim_ns + ns;
	struct hrtimer *t, *first;

	run_work();
	for (;;) {
		first = NULL;
		for (t = shim_timers; t; t = t->next)
			if (t->expires <= end && (!first || t->expires < first->expires))
				first = t;
		if (!first)
			break;
		shim_ns = max(shim_ns, first->expires);
		hrtimer_cancel(first);
		CHECK_EQ(first->function(first), HRTIMER_NORESTART);
		run_work();
	}
	shim_ns = end;
}

void call_rcu(struct rcu_head *head, void (*fn)(struct rcu_head *head)) { fn(head); }

int wafer_refuse(struct wafer_refusal *r, int err, const char *field, u64 value, const char *rule)
{
	return err;
}

void wafer_vcpu_raise(struct wafer_vcpu *vcpu, enum wafer_hazard hazard)
{
	set_bit(hazard, &vcpu->hazards);
	fake[vcpu->index].events += hazard == WAFER_H_EVENT;
	fake[vcpu->index].timers += hazard == WAFER_H_TIMER;
}

void wafer_vcpu_nmi(struct wafer_vcpu *vcpu) { fake[vcpu->index].nmis++; }
void wafer_vcpu_init_ipi(struct wafer_vcpu *vcpu) { fake[vcpu->index].inits++; }
void wafer_vcpu_sipi(struct wafer_vcpu *vcpu, u8 vector)
{
	fake[vcpu->index].sipis++;
	fake[vcpu->index].sipi_vector = vector;
}

u8 wafer_guest_phys_bits(struct wafer_vcpu *vcpu) { return 40; }
bool wafer_guest_has(struct wafer_vcpu *vcpu, unsigned int feature) { return has_x2apic; }
u64 wafer_tsc_delta_ns(struct wafer_vcpu *vcpu, u64 deadline, u64 *now)
{
	u64 tsc = guest_tsc + shim_ns;

	*now = shim_ns;
	return deadline > tsc ? deadline - tsc : 0;
}

void wafer_resample(struct wafer_vm *v, u32 gsi) { resampled++; }
void wafer_irqfd_quiesce(struct wafer_vm *v) { }

struct wafer_vcpu *wafer_vcpu_by_id(struct wafer_vm *v, u32 id)
{
	unsigned int i;

	for (i = 0; i < v->nr_vcpus; i++)
		if (v->vcpus[i]->id == id)
			return v->vcpus[i];
	return NULL;
}

static struct wafer_vcpu *cpu(unsigned int i) { return vm.vcpus[i]; }

static inline void add_vcpu(u32 id)
{
	struct wafer_vcpu *vcpu = calloc(1, sizeof(*vcpu));

	vcpu->vm = &vm;
	vcpu->loaded = true;
	vcpu->id = id;
	vcpu->index = vm.nr_vcpus;
	vcpu->extint = -1;
	CHECK_EQ(wafer_lapic_create(vcpu), 0);
	if (vcpu->lapic)
		wafer_lapic_reset(vcpu, false);
	vm.vcpus[vm.nr_vcpus++] = vcpu;
}

/* A VM with @nr vCPUs, ids from 0; xAPICs enabled by software. */
static inline void make_vm(enum wafer_chip_mode mode, unsigned int nr)
{
	unsigned int i;

	memset(&vm, 0, sizeof(vm));
	memset(fake, 0, sizeof(fake));
	resampled = 0;
	guest_tsc = 0;
	CHECK_EQ(wafer_irq_init(&vm), 0);
	if (mode == WAFER_CHIP_FULL)
		CHECK_EQ(wafer_create_irqchip(&vm), 0);
	else if (mode == WAFER_CHIP_SPLIT)
		CHECK_EQ(wafer_enable_split_irqchip(&vm, 24), 0);
	for (i = 0; i < nr; i++) {
		add_vcpu(i);
		if (cpu(i)->lapic)
			wafer_apic_set_reg(cpu(i)->lapic, APIC_SPIV, 0x1ff);
	}
}

static inline void free_vm(void)
{
	unsigned int i;

	wafer_irq_quiesce(&vm);
	for (i = 0; i < vm.nr_vcpus; i++) {
		wafer_lapic_free(vm.vcpus[i]);
		free(vm.vcpus[i]);
	}
	wafer_irq_free(&vm);
	CHECK(!shim_timers);
}

static inline u32 apic_read(unsigned int i, u32 offset)
{
	u32 val = 0xdeadbeef;

	CHECK_EQ(wafer_lapic_mmio(cpu(i), offset, 4, &val, false, true), 0);
	return val;
}

static inline int apic_write(unsigned int i, u32 offset, u32 val)
{
	return wafer_lapic_mmio(cpu(i), offset, 4, &val, true, true);
}

static inline int x2apic_write(struct wafer_vcpu *vcpu, u32 msr, u64 val, bool window)
{
	return wafer_x2apic(vcpu, msr, &val, true, window);
}

static inline void outb(u16 port, u8 val)
{
	CHECK_EQ(wafer_bus(cpu(0), WAFER_BUS_PIO, port, 1, &val, true), 0);
}

static inline u8 inb(u16 port)
{
	u8 val = 0;

	CHECK_EQ(wafer_bus(cpu(0), WAFER_BUS_PIO, port, 1, &val, false), 0);
	return val;
}

static inline void ioapic_reg(u32 reg, u32 val)
{
	CHECK_EQ(wafer_bus(cpu(0), WAFER_BUS_MMIO, 0xfec00000, 4, &reg, true), 0);
	CHECK_EQ(wafer_bus(cpu(0), WAFER_BUS_MMIO, 0xfec00010, 4, &val, true), 0);
}

static inline u32 ioapic_get(u32 reg)
{
	u32 val = 0;

	CHECK_EQ(wafer_bus(cpu(0), WAFER_BUS_MMIO, 0xfec00000, 4, &reg, true), 0);
	CHECK_EQ(wafer_bus(cpu(0), WAFER_BUS_MMIO, 0xfec00010, 4, &val, false), 0);
	return val;
}

/* As the run loop does it. */
static inline int take_irq(unsigned int i)
{
	if (test_and_clear_bit(WAFER_H_TIMER, &cpu(i)->hazards))
		wafer_lapic_timer_due(cpu(i));
	return wafer_irq_pending(cpu(i)) ? wafer_irq_ack(cpu(i)) : -1;
}

#endif
