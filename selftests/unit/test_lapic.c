// SPDX-License-Identifier: GPL-2.0
/* The local APIC: registers of both modes, priorities, EOI, errors, IPIs, timer, state. */
#include <pthread.h>
#include <sched.h>

#include "irq_fake.h"

static void fixed(unsigned int i, u8 vector, bool level)
{
	struct wafer_irq_msg msg = {
		.dest = cpu(i)->id, .vector = vector, .level = level, .assert = true,
	};

	wafer_deliver(&vm, NULL, &msg);
}

static void to_x2apic(unsigned int i)
{
	CHECK_EQ(wafer_apic_base_set(cpu(i), cpu(i)->apic_base | WAFER_APIC_BASE_X2, false), 0);
}

TEST(reset_state)
{
	make_vm(WAFER_CHIP_FULL, 0);
	add_vcpu(0);
	add_vcpu(3);
	CHECK_EQ(cpu(0)->apic_base, 0xfee00900);
	CHECK_EQ(cpu(1)->apic_base, 0xfee00800);
	/* the quirk: the PIC reaches the boot CPU */
	CHECK_EQ(apic_read(0, APIC_LVT0), 0x700);
	CHECK_EQ(apic_read(1, APIC_LVT0), APIC_LVT_MASKED);
	CHECK_EQ(apic_read(1, APIC_ID), 3 << 24);
	CHECK_EQ(apic_read(0, APIC_LVR), 0x50014);
	CHECK_EQ(apic_read(0, APIC_DFR), ~0u);
	CHECK_EQ(apic_read(0, APIC_SPIV), 0xff);
	CHECK_EQ(apic_read(0, APIC_LVTERR), APIC_LVT_MASKED);
	CHECK_EQ(apic_read(0, APIC_ARBPRI), 0);
	CHECK(!cpu(0)->lapic->errors);
	free_vm();
	make_vm(WAFER_CHIP_FULL, 0);
	vm.quirks_disabled = KVM_X86_QUIRK_LINT0_REENABLED;
	add_vcpu(0);
	CHECK_EQ(apic_read(0, APIC_LVT0), APIC_LVT_MASKED);
	free_vm();
}

TEST(no_lapic)
{
	u64 val;

	make_vm(WAFER_CHIP_NONE, 1);
	CHECK(!cpu(0)->lapic);
	CHECK_EQ(cpu(0)->apic_base, 0xfee00900);
	CHECK_EQ(wafer_apic_base_set(cpu(0), 0x800, true), 0);
	CHECK_EQ(wafer_x2apic(cpu(0), 0x802, &val, false, true), 1);
	CHECK_EQ(wafer_tsc_deadline_get(cpu(0)), 0);
	CHECK(!wafer_irq_pending(cpu(0)));
	cpu(0)->extint = 0x30;
	CHECK(wafer_irq_pending(cpu(0)));
	CHECK_EQ(wafer_irq_ack(cpu(0)), 0x30);
	CHECK_EQ(wafer_irq_ack(cpu(0)), -1);
	free_vm();
}

TEST(every_vector)
{
	int v;

	make_vm(WAFER_CHIP_FULL, 1);
	for (v = 0; v < 256; v++) {
		fixed(0, v, false);
		CHECK_EQ(apic_read(0, APIC_IRR + v / 32 * 16), v < 16 ? 0 : 1u << v % 32);
		CHECK_EQ(take_irq(0), v < 16 ? -1 : v);
		CHECK_EQ(apic_read(0, APIC_IRR + v / 32 * 16), 0);
		CHECK_EQ(apic_read(0, APIC_ISR + v / 32 * 16), v < 16 ? 0 : 1u << v % 32);
		CHECK_EQ(apic_read(0, APIC_PROCPRI), v < 16 ? 0 : v & 0xf0);
		CHECK_EQ(apic_write(0, APIC_EOI, 0), 0);
		CHECK_EQ(apic_read(0, APIC_ISR + v / 32 * 16), 0);
	}
	CHECK_EQ(cpu(0)->lapic->errors, APIC_ESR_RECVILL);
	CHECK_EQ(apic_write(0, APIC_ESR, 0), 0);
	CHECK_EQ(apic_read(0, APIC_ESR), APIC_ESR_RECVILL);
	CHECK_EQ(apic_write(0, APIC_ESR, 0), 0);
	CHECK_EQ(apic_read(0, APIC_ESR), 0);
	free_vm();
}

TEST(priorities)
{
	make_vm(WAFER_CHIP_FULL, 1);
	fixed(0, 0x41, false);
	fixed(0, 0x35, false);
	fixed(0, 0x48, false);
	CHECK_EQ(take_irq(0), 0x48);
	CHECK_EQ(take_irq(0), -1);		/* the same class waits */
	fixed(0, 0x51, false);
	CHECK_EQ(take_irq(0), 0x51);		/* a higher one does not */
	cpu(0)->hazards = 0;
	apic_write(0, APIC_EOI, 0);
	CHECK(test_bit(WAFER_H_EVENT, &cpu(0)->hazards));
	CHECK_EQ(take_irq(0), -1);
	apic_write(0, APIC_EOI, 0);
	CHECK_EQ(take_irq(0), 0x41);
	apic_write(0, APIC_EOI, 0);
	CHECK_EQ(take_irq(0), 0x35);
	cpu(0)->hazards = 0;
	apic_write(0, APIC_EOI, 0);
	CHECK(!cpu(0)->hazards);		/* nothing waits: the EOI is no event */
	apic_write(0, APIC_EOI, 0);		/* one too many does nothing */
	free_vm();
}

TEST(tpr)
{
	make_vm(WAFER_CHIP_FULL, 1);
	apic_write(0, APIC_TASKPRI, 0x4f);
	CHECK_EQ(cpu(0)->cr8, 4);
	CHECK_EQ(apic_read(0, APIC_PROCPRI), 0x4f);
	fixed(0, 0x4f, false);
	CHECK_EQ(take_irq(0), -1);
	CHECK_EQ(wafer_irq_tpr_threshold(cpu(0)), 4);
	wafer_lapic_set_cr8(cpu(0), 4);		/* no change of class keeps the low bits */
	CHECK_EQ(apic_read(0, APIC_TASKPRI), 0x4f);
	cpu(0)->hazards = 0;
	wafer_lapic_set_cr8(cpu(0), 3);
	CHECK_EQ(apic_read(0, APIC_TASKPRI), 0x30);
	CHECK(test_bit(WAFER_H_EVENT, &cpu(0)->hazards));
	CHECK_EQ(wafer_irq_tpr_threshold(cpu(0)), 0);
	CHECK_EQ(take_irq(0), 0x4f);
	/* What is in service holds the class back, lowering the TPR would not help. */
	apic_write(0, APIC_TASKPRI, 0xf0);
	fixed(0, 0x42, false);
	CHECK_EQ(wafer_irq_tpr_threshold(cpu(0)), 0);
	fixed(0, 0x52, false);
	CHECK_EQ(wafer_irq_tpr_threshold(cpu(0)), 5);
	free_vm();
}

TEST(coalescing_and_kicks)
{
	make_vm(WAFER_CHIP_FULL, 1);
	fake[0].events = 0;
	fixed(0, 0x80, false);
	fixed(0, 0x80, false);
	CHECK_EQ(fake[0].events, 1);
	CHECK_EQ(take_irq(0), 0x80);
	fixed(0, 0x80, false);			/* in service: it can wait once more */
	CHECK_EQ(fake[0].events, 2);
	apic_write(0, APIC_EOI, 0);
	CHECK_EQ(take_irq(0), 0x80);
	free_vm();
}

TEST(software_disable)
{
	make_vm(WAFER_CHIP_FULL, 1);
	apic_write(0, APIC_LVTERR, 0xfe);
	apic_write(0, APIC_LVTT, 0x20ef);
	CHECK_EQ(apic_read(0, APIC_LVTT), 0xef);
	apic_write(0, APIC_SPIV, 0xff);
	CHECK_EQ(apic_read(0, APIC_LVTERR), 0x100fe);
	apic_write(0, APIC_LVTERR, 0xfe);	/* the mask can't be cleared */
	CHECK_EQ(apic_read(0, APIC_LVTERR), 0x100fe);
	fixed(0, 0x55, false);
	CHECK_EQ(take_irq(0), -1);
	apic_write(0, APIC_ICR2, 0);		/* NMIs and INIT go through */
	apic_write(0, APIC_ICR, WAFER_DM_NMI << 8 | APIC_DEST_SELF);
	CHECK_EQ(fake[0].nmis, 1);
	free_vm();
}

TEST(errors)
{
	make_vm(WAFER_CHIP_FULL, 1);
	apic_write(0, APIC_LVTERR, 0xfe);
	apic_write(0, APIC_ICR, APIC_DEST_SELF | 5);
	CHECK_EQ(take_irq(0), 0xfe);
	apic_write(0, APIC_EOI, 0);
	apic_read(0, 0x3a0);
	apic_write(0, 0x0, 1);
	CHECK_EQ(apic_read(0, APIC_ESR), 0);
	apic_write(0, APIC_ESR, 0xffffffff);
	CHECK_EQ(apic_read(0, APIC_ESR), APIC_ESR_SENDILL | APIC_ESR_ILLREGA);
	/* An illegal vector for the error itself must not go round in circles. */
	apic_write(0, APIC_LVTERR, 3);
	fixed(0, 7, false);
	apic_write(0, APIC_ESR, 0);
	CHECK_EQ(apic_read(0, APIC_ESR), APIC_ESR_RECVILL);
	free_vm();
}

TEST(mmio_access_sizes)
{
	u8 byte = 1;
	u64 eight = 0x1111111122222222ull;

	make_vm(WAFER_CHIP_FULL, 1);
	apic_write(0, APIC_LDR, 0x12345678);
	CHECK_EQ(apic_read(0, APIC_LDR), 0x12000000);
	CHECK_EQ(wafer_lapic_mmio(cpu(0), APIC_LDR + 3, 1, &byte, false, true), 0);
	CHECK_EQ(byte, 0x12);
	CHECK_EQ(wafer_lapic_mmio(cpu(0), APIC_LDR, 8, &eight, false, true), 0);
	CHECK_EQ(eight, 0x12000000);
	CHECK_EQ(wafer_lapic_mmio(cpu(0), APIC_LDR + 4, 4, &eight, false, true), 0);
	CHECK_EQ((u32)eight, 0);
	CHECK_EQ(wafer_lapic_mmio(cpu(0), APIC_LDR, 1, &byte, true, true), 0);
	CHECK_EQ(wafer_lapic_mmio(cpu(0), APIC_LDR + 4, 4, &eight, true, true), 0);
	CHECK_EQ(apic_read(0, APIC_LDR), 0x12000000);
	CHECK_EQ(wafer_lapic_mmio(cpu(0), 0xffc, 4, &eight, false, true), 0);
	free_vm();
}

TEST(hole)
{
	u32 val = 0;

	make_vm(WAFER_CHIP_FULL, 1);
	to_x2apic(0);
	CHECK_EQ(apic_read(0, APIC_ID), ~0u);
	CHECK_EQ(apic_write(0, APIC_TASKPRI, 0x10), 0);
	vm.quirks_disabled = KVM_X86_QUIRK_LAPIC_MMIO_HOLE;
	CHECK_EQ(wafer_lapic_mmio(cpu(0), APIC_ID, 4, &val, false, true), -EOPNOTSUPP);
	CHECK_EQ(apic_write(0, APIC_TASKPRI, 0x10), -EOPNOTSUPP);
	CHECK_EQ(cpu(0)->cr8, 0);
	free_vm();
}

TEST(apic_base)
{
	const u64 xapic = 0xfee00900, x2apic = 0xfee00d00, off = 0xfee00100;

	make_vm(WAFER_CHIP_FULL, 1);
	CHECK_EQ(wafer_apic_base_set(cpu(0), xapic | 0x1, false), 1);
	CHECK_EQ(wafer_apic_base_set(cpu(0), xapic | 1ull << 40, false), 1);
	CHECK_EQ(wafer_apic_base_set(cpu(0), xapic | 1ull << 40, true), 1);
	CHECK_EQ(wafer_apic_base_set(cpu(0), 1 << 10, true), 1);
	CHECK_EQ(wafer_apic_base_set(cpu(0), x2apic, false), 0);
	CHECK_EQ(wafer_apic_base_set(cpu(0), xapic, false), 1);
	CHECK_EQ(wafer_apic_base_set(cpu(0), off, false), 0);
	CHECK_EQ(cpu(0)->lapic->mode, WAFER_APIC_OFF);
	CHECK_EQ(wafer_apic_base_set(cpu(0), x2apic, false), 1);
	CHECK_EQ(wafer_apic_base_set(cpu(0), x2apic, true), 0);
	CHECK_EQ(wafer_apic_base_set(cpu(0), xapic, true), 0);
	has_x2apic = false;
	CHECK_EQ(wafer_apic_base_set(cpu(0), x2apic, true), 1);
	has_x2apic = true;
	CHECK_EQ(wafer_apic_base_set(cpu(0), 0, true), 0);
	CHECK_EQ(cpu(0)->apic_base, 0);
	free_vm();
}

TEST(x2apic_registers)
{
	static const struct {
		u16 reg;
		bool readable, writable;
		u64 legal;	/* bits that can be written */
	} regs[] = {
		{ APIC_ID, 1, 0 }, { APIC_LVR, 1, 0 }, { APIC_TASKPRI, 1, 1, 0xff },
		{ APIC_ARBPRI, 0, 0 }, { APIC_PROCPRI, 1, 0 }, { APIC_EOI, 0, 1, 0 },
		{ APIC_RRR, 0, 0 }, { APIC_LDR, 1, 0 }, { APIC_DFR, 0, 0 },
		{ APIC_SPIV, 1, 1, 0x3ff }, { APIC_ISR, 1, 0 }, { APIC_ISR + 0x70, 1, 0 },
		{ APIC_TMR, 1, 0 }, { APIC_IRR + 0x70, 1, 0 }, { APIC_ESR, 1, 1, 0 },
		{ 0x2f0, 0, 0 }, { APIC_ICR2, 0, 0 }, { APIC_LVTT, 1, 1, 0x710ff },
		{ APIC_LVTTHMR, 1, 1, 0x117ff }, { APIC_LVTPC, 1, 1, 0x117ff },
		{ APIC_LVT0, 1, 1, 0x1f7ff }, { APIC_LVT1, 1, 1, 0x1f7ff },
		{ APIC_LVTERR, 1, 1, 0x110ff }, { APIC_TMICT, 1, 1, 0xffffffff },
		{ APIC_TMCCT, 1, 0 }, { APIC_TDCR, 1, 1, 0xb }, { APIC_SELF_IPI, 0, 1, 0xff },
		{ 0x3a0, 0, 0 }, { APIC_ICR, 1, 1, 0xffffffff000cdfffull },
	};
	unsigned int i, bit;
	u64 val;

	make_vm(WAFER_CHIP_FULL, 1);
	CHECK_EQ(wafer_x2apic(cpu(0), 0x802, &val, false, true), 1);	/* not in xAPIC mode */
	to_x2apic(0);
	for (i = 0; i < ARRAY_SIZE(regs); i++) {
		u32 msr = 0x800 + regs[i].reg / 16;

		CHECK_MSG(wafer_x2apic(cpu(0), msr, &val, false, true) == !regs[i].readable,
			  "read %x", msr);
		CHECK_MSG(x2apic_write(cpu(0), msr, 0, true) == !regs[i].writable, "write %x", msr);
		for (bit = 0; bit < 64; bit++) {
			bool legal = regs[i].writable && regs[i].legal >> bit & 1;

			CHECK_MSG(x2apic_write(cpu(0), msr, 1ull << bit, true) == !legal,
				  "write %x bit %u", msr, bit);
		}
		if (regs[i].writable)
			x2apic_write(cpu(0), msr, 0, true);
		x2apic_write(cpu(0), 0x80f, 0x1ff, true);
	}
	CHECK_EQ(wafer_x2apic(cpu(0), 0x840, &val, false, true), 1);
	CHECK_EQ(wafer_x2apic(cpu(0), 0x8ff, &val, false, true), 1);
	CHECK_EQ(x2apic_write(cpu(0), 0x8ff, 0, true), 1);
	free_vm();
}

TEST(x2apic_values)
{
	u64 val;

	make_vm(WAFER_CHIP_FULL, 0);
	add_vcpu(0x123);
	to_x2apic(0);
	wafer_x2apic(cpu(0), 0x802, &val, false, true);
	CHECK_EQ(val, 0x123);
	wafer_x2apic(cpu(0), 0x80d, &val, false, true);
	CHECK_EQ(val, 0x120008);
	x2apic_write(cpu(0), 0x80f, 0x1ff, true);
	CHECK_EQ(x2apic_write(cpu(0), 0x830, 0x12300001055ull, true), 0);
	CHECK_EQ(take_irq(0), 0x55);
	wafer_x2apic(cpu(0), 0x830, &val, false, true);
	CHECK_EQ(val, 0x12300000055ull);
	CHECK_EQ(x2apic_write(cpu(0), 0x83f, 0x66, true), 0);
	CHECK_EQ(take_irq(0), 0x66);
	CHECK_EQ(x2apic_write(cpu(0), 0x83f, 0x06, true), 0);
	CHECK_EQ(cpu(0)->lapic->errors, APIC_ESR_SENDILL);
	free_vm();
}

TEST(level_eoi)
{
	make_vm(WAFER_CHIP_FULL, 1);
	ioapic_reg(0x10 + 2 * 5, 0x8000 | 0x77);
	/* the PIC takes it, too: nothing is masked */
	CHECK_EQ(wafer_set_gsi(&vm, WAFER_SRC_USER, 5, 1), 1 + 1);
	CHECK_EQ(apic_read(0, APIC_TMR + 0x30), 1 << 0x17);
	CHECK_EQ(ioapic_get(0x1a) & 0xffff, 0xc077);
	wafer_set_gsi(&vm, WAFER_SRC_USER, 5, 0);
	CHECK_EQ(wafer_lapic_ack(cpu(0)->lapic), 0x77);
	/* The I/O APIC's lock is busy in the window: nothing happens, and outside all of it. */
	raw_spin_lock(&vm.irq.chips->lock);
	CHECK_EQ(apic_write(0, APIC_EOI, 0), -EAGAIN);
	CHECK_EQ(cpu(0)->lapic->isrv, 0x77);
	raw_spin_unlock(&vm.irq.chips->lock);
	CHECK_EQ(apic_write(0, APIC_EOI, 0), 0);
	CHECK_EQ(cpu(0)->lapic->isrv, -1);
	CHECK_EQ(ioapic_get(0x1a) & 0xffff, 0x8077);
	free_vm();
}

TEST(ipis)
{
	make_vm(WAFER_CHIP_SPLIT, 3);
	apic_write(0, APIC_ICR2, 2 << 24);
	apic_write(0, APIC_ICR, 0x1040 | APIC_INT_ASSERT);
	CHECK_EQ(apic_read(0, APIC_ICR), 0x40 | APIC_INT_ASSERT);
	CHECK_EQ(take_irq(2), 0x40);
	CHECK_EQ(take_irq(1), -1);
	apic_write(0, APIC_ICR, APIC_DEST_ALLBUT | 0x41);
	CHECK_EQ(take_irq(0), -1);
	CHECK_EQ(take_irq(1), 0x41);
	apic_write(2, APIC_EOI, 0);
	CHECK_EQ(take_irq(2), 0x41);
	apic_write(0, APIC_ICR, APIC_DEST_ALLINC | 0x52);
	CHECK_EQ(take_irq(0), 0x52);
	CHECK_EQ(take_irq(1), 0x52);
	CHECK_EQ(take_irq(2), 0x52);
	apic_write(0, APIC_ICR2, 1 << 24);
	apic_write(0, APIC_ICR, 0xc500);		/* INIT, assert */
	apic_write(0, APIC_ICR, 0x8500);		/* INIT, de-assert */
	CHECK_EQ(fake[1].inits, 1);
	apic_write(0, APIC_ICR, 0x4699);
	CHECK_EQ(fake[1].sipis, 1);
	CHECK_EQ(fake[1].sipi_vector, 0x99);
	/* SMI, reserved, ExtINT: nobody takes them */
	apic_write(0, APIC_ICR, 0x4200);
	apic_write(0, APIC_ICR, 0x4300);
	apic_write(0, APIC_ICR, 0x4730);
	CHECK_EQ(fake[1].nmis, 0);
	/* fixed: level and trigger mode mean nothing */
	apic_write(0, APIC_ICR, 0x8060);
	CHECK_EQ(take_irq(1), 0x60);
	free_vm();
}

/* Level interrupts of one vector from two sides at the same time: their EOI has to be told. */
#define ROUNDS 200000
static atomic_t begun, done;

static void wait_for(atomic_t *what, int i)
{
	while (atomic_read(what) < i)
		sched_yield();
}

static void *other_side(void *unused)
{
	for (int i = 1; i <= ROUNDS; i++) {
		wait_for(&begun, i);
		wafer_lapic_accept(cpu(0)->lapic, 0x50, true);
		atomic_set(&done, i);
	}
	return NULL;
}

TEST(two_levels_at_once)
{
	int i, lost = 0;
	pthread_t thread;

	make_vm(WAFER_CHIP_SPLIT, 1);
	pthread_create(&thread, NULL, other_side, NULL);
	for (i = 1; i <= ROUNDS; i++) {
		wafer_apic_set_reg(cpu(0)->lapic, APIC_TMR + 0x20, 0);
		wafer_apic_set_reg(cpu(0)->lapic, APIC_IRR + 0x20, 0);
		atomic_set(&begun, i);
		wafer_lapic_accept(cpu(0)->lapic, 0x50, true);
		wait_for(&done, i);
		lost += !apic_read(0, APIC_TMR + 0x20);
	}
	pthread_join(thread, NULL);
	CHECK_EQ(lost, 0);
	free_vm();
}

/* ---- timer; the clock is 1 GHz ---- */

static void start_timer(u32 lvtt, u32 tdcr, u32 count)
{
	apic_write(0, APIC_TDCR, tdcr);
	apic_write(0, APIC_LVTT, lvtt);
	apic_write(0, APIC_TMICT, count);
}

TEST(timer_one_shot)
{
	static const u8 shifts[] = { 1, 2, 3, 4, 0, 0, 0, 0, 5, 6, 7, 0 };
	unsigned int tdcr;

	make_vm(WAFER_CHIP_SPLIT, 1);
	for (tdcr = 0; tdcr < 12; tdcr++) {
		if (tdcr & 4)
			continue;
		start_timer(0x50, tdcr, 100000);
		shim_advance(50000ull << shifts[tdcr]);
		CHECK_EQ(apic_read(0, APIC_TMCCT), 50000);
		CHECK_EQ(take_irq(0), -1);
		shim_advance((50000ull << shifts[tdcr]) - 1);
		CHECK_EQ(take_irq(0), -1);
		shim_advance(1);
		CHECK_EQ(take_irq(0), 0x50);
		CHECK_EQ(apic_read(0, APIC_TMCCT), 0);
		apic_write(0, APIC_EOI, 0);
		shim_advance(1000000000);
		CHECK_EQ(take_irq(0), -1);
	}
	start_timer(0x50, 0xb, 1000);
	apic_write(0, APIC_TMICT, 0);
	shim_advance(10000);
	CHECK_EQ(take_irq(0), -1);
	start_timer(0x10050, 0xb, 1000);	/* masked */
	shim_advance(10000);
	CHECK_EQ(take_irq(0), -1);
	free_vm();
}

TEST(timer_put_off_is_cheap)
{
	unsigned int starts, i;

	make_vm(WAFER_CHIP_SPLIT, 1);
	start_timer(0x50, 0xb, 100000);
	starts = cpu(0)->lapic->timer.hrtimer.starts;
	for (i = 0; i < 100; i++) {
		shim_advance(500);
		apic_write(0, APIC_TMICT, 100000);
	}
	CHECK_EQ(cpu(0)->lapic->timer.hrtimer.starts, starts);
	shim_advance(99999);
	CHECK_EQ(take_irq(0), -1);
	shim_advance(1);
	CHECK_EQ(take_irq(0), 0x50);
	CHECK_EQ(cpu(0)->lapic->timer.hrtimer.starts, starts + 1);
	free_vm();
}

TEST(timer_periodic)
{
	unsigned int i;

	make_vm(WAFER_CHIP_SPLIT, 1);
	start_timer(0x20050, 0xb, 1000000);
	for (i = 0; i < 5; i++) {
		shim_advance(999999);
		CHECK_EQ(take_irq(0), -1);
		shim_advance(1);
		CHECK_EQ(take_irq(0), 0x50);
		apic_write(0, APIC_EOI, 0);
	}
	/*
	 * A vCPU that stays away gets one interrupt, keeps its phase,
	 * and costs the host one expiry.
	 */
	fake[0].timers = 0;
	shim_advance(10250000);
	CHECK_EQ(fake[0].timers, 1);
	CHECK_EQ(apic_read(0, APIC_TMCCT), 750000);
	CHECK_EQ(take_irq(0), 0x50);
	apic_write(0, APIC_EOI, 0);
	CHECK_EQ(apic_read(0, APIC_TMCCT), 750000);
	shim_advance(749999);
	CHECK_EQ(take_irq(0), -1);
	shim_advance(1);
	CHECK_EQ(take_irq(0), 0x50);
	apic_write(0, APIC_EOI, 0);
	/* 1 ns is not to be had. */
	start_timer(0x20050, 0xb, 1);
	for (i = 0; i < 5; i++) {
		shim_advance(199999);
		CHECK_EQ(take_irq(0), -1);
		CHECK(apic_read(0, APIC_TMCCT) <= 1);
		shim_advance(1);
		CHECK_EQ(take_irq(0), 0x50);
		apic_write(0, APIC_EOI, 0);
	}
	free_vm();
}

TEST(timer_changes_on_the_way)
{
	make_vm(WAFER_CHIP_SPLIT, 1);
	start_timer(0x50, 0xb, 100000);
	shim_advance(40000);
	apic_write(0, APIC_TDCR, 0);		/* by 2: what is left takes twice as long */
	CHECK_EQ(apic_read(0, APIC_TMCCT), 60000);
	shim_advance(119999);
	CHECK_EQ(take_irq(0), -1);
	shim_advance(1);
	CHECK_EQ(take_irq(0), 0x50);
	apic_write(0, APIC_EOI, 0);
	start_timer(0x50, 0xb, 1000000);
	apic_write(0, APIC_LVTT, 0x20050);	/* goes on as a periodic one */
	shim_advance(1000000);
	CHECK_EQ(take_irq(0), 0x50);
	apic_write(0, APIC_EOI, 0);
	shim_advance(1000000);
	CHECK_EQ(take_irq(0), 0x50);
	apic_write(0, APIC_EOI, 0);
	/* The same in the last clock of a count, which is not 0 before its end. */
	start_timer(0x20050, 0xa, 10000);	/* by 128 */
	shim_advance(1280000 - 64);
	CHECK_EQ(apic_read(0, APIC_TMCCT), 1);
	apic_write(0, APIC_LVTT, 0x50);
	shim_advance(128);
	CHECK_EQ(take_irq(0), 0x50);
	apic_write(0, APIC_EOI, 0);
	shim_advance(10000000);
	CHECK_EQ(take_irq(0), -1);
	start_timer(0x50, 0xa, 10000);
	shim_advance(1280000 - 64);
	apic_write(0, APIC_LVTT, 0x20050);
	shim_advance(128);
	CHECK_EQ(take_irq(0), 0x50);
	apic_write(0, APIC_EOI, 0);
	shim_advance(1280000);
	CHECK_EQ(take_irq(0), 0x50);
	apic_write(0, APIC_EOI, 0);
	/*
	 * A shot that has ended stays at 0, and its interrupt comes,
	 * though nobody has looked since.
	 */
	start_timer(0x50, 0xb, 100000);
	shim_advance(100000);
	apic_write(0, APIC_LVTT, 0x20050);
	CHECK_EQ(apic_read(0, APIC_TMCCT), 0);
	CHECK_EQ(take_irq(0), 0x50);
	apic_write(0, APIC_EOI, 0);
	shim_advance(10000000);
	CHECK_EQ(take_irq(0), -1);
	start_timer(0x50, 0xb, 100000);
	apic_write(0, APIC_LVTT, 0x40050);	/* disarmed */
	CHECK_EQ(apic_read(0, APIC_TMICT), 0);
	shim_advance(10000000);
	CHECK_EQ(take_irq(0), -1);
	free_vm();
}

TEST(timer_tsc_deadline)
{
	make_vm(WAFER_CHIP_SPLIT, 1);
	wafer_tsc_deadline_set(cpu(0), 5);	/* another mode: ignored */
	CHECK_EQ(wafer_tsc_deadline_get(cpu(0)), 0);
	apic_write(0, APIC_LVTT, 0x40060);
	apic_write(0, APIC_TMICT, 1000);	/* ignored, too */
	CHECK_EQ(apic_read(0, APIC_TMICT), 0);
	CHECK_EQ(apic_read(0, APIC_TMCCT), 0);
	wafer_tsc_deadline_set(cpu(0), shim_ns + 5000);
	CHECK_EQ(wafer_tsc_deadline_get(cpu(0)), shim_ns + 5000);
	shim_advance(5000);
	CHECK_EQ(take_irq(0), -1);		/* never early */
	shim_advance(1);
	CHECK_EQ(take_irq(0), 0x60);
	CHECK_EQ(wafer_tsc_deadline_get(cpu(0)), 0);
	apic_write(0, APIC_EOI, 0);
	wafer_tsc_deadline_set(cpu(0), 1);	/* past: at once */
	CHECK_EQ(take_irq(0), 0x60);
	apic_write(0, APIC_EOI, 0);
	wafer_tsc_deadline_set(cpu(0), shim_ns + 5000);
	wafer_tsc_deadline_set(cpu(0), 0);
	shim_advance(10000);
	CHECK_EQ(take_irq(0), -1);
	wafer_tsc_deadline_set(cpu(0), ~0ull);
	shim_advance(10000);
	CHECK_EQ(take_irq(0), -1);
	wafer_tsc_deadline_set(cpu(0), shim_ns + 50000);
	guest_tsc = 40000;
	wafer_lapic_timer_due(cpu(0));
	shim_advance(10001);
	CHECK_EQ(take_irq(0), 0x60);
	free_vm();
}

/* ---- state ---- */

static u32 *reg_of(struct kvm_lapic_state *s, u32 offset) { return (u32 *)(s->regs + offset); }

TEST(state_round_trip)
{
	struct kvm_lapic_state a, b;

	make_vm(WAFER_CHIP_FULL, 2);
	apic_write(1, APIC_LDR, 2 << 24);
	apic_write(1, APIC_TASKPRI, 0x23);
	apic_write(1, APIC_LVT1, 0x400);
	fixed(1, 0x91, true);
	fixed(1, 0x35, false);
	CHECK_EQ(take_irq(1), 0x91);
	fixed(1, 0xe1, false);
	CHECK_EQ(wafer_lapic_get(cpu(1), &a), 0);
	CHECK_EQ(*reg_of(&a, APIC_ID), 1 << 24);
	wafer_lapic_reset(cpu(1), false);
	CHECK_EQ(wafer_lapic_set(cpu(1), &a), 0);
	CHECK_EQ(wafer_lapic_get(cpu(1), &b), 0);
	CHECK(!memcmp(&a, &b, sizeof(a)));
	CHECK_EQ(cpu(1)->cr8, 2);
	CHECK_EQ(take_irq(1), 0xe1);
	apic_write(1, APIC_EOI, 0);
	apic_write(1, APIC_EOI, 0);
	CHECK_EQ(take_irq(1), 0x35);
	/* In xAPIC mode KVM takes another id, too; it stays its own. */
	*reg_of(&a, APIC_ID) = 0;
	CHECK_EQ(wafer_lapic_set(cpu(1), &a), 0);
	CHECK_EQ(wafer_lapic_get(cpu(1), &b), 0);
	CHECK_EQ(*reg_of(&b, APIC_ID), 1 << 24);
	free_vm();
}

TEST(state_irr_is_exact)
{
	struct kvm_lapic_state s;

	make_vm(WAFER_CHIP_FULL, 1);
	wafer_lapic_get(cpu(0), &s);
	*reg_of(&s, APIC_IRR) = 0x1000ffff;
	*reg_of(&s, APIC_IRR + 0x10) = 0x80000001;
	CHECK_EQ(wafer_lapic_set(cpu(0), &s), 0);
	CHECK_EQ(apic_read(0, APIC_IRR), 0x1000ffff);
	CHECK_EQ(apic_read(0, APIC_IRR + 0x10), 0x80000001);
	CHECK_EQ(take_irq(0), 63);
	apic_write(0, APIC_EOI, 0);
	CHECK_EQ(take_irq(0), 32);
	apic_write(0, APIC_EOI, 0);
	CHECK_EQ(take_irq(0), 28);
	apic_write(0, APIC_EOI, 0);
	CHECK_EQ(take_irq(0), -1);		/* 0-15 are not for delivery */
	CHECK_EQ(apic_read(0, APIC_IRR), 0xffff);
	free_vm();
}

TEST(state_x2apic_id)
{
	struct kvm_lapic_state s;

	make_vm(WAFER_CHIP_SPLIT, 0);
	add_vcpu(0x105);
	to_x2apic(0);
	x2apic_write(cpu(0), 0x830, 0x700000000ull | APIC_ICR_BUSY, true);
	wafer_lapic_get(cpu(0), &s);
	CHECK_EQ(*reg_of(&s, APIC_ID), 5 << 24);
	CHECK_EQ(*reg_of(&s, APIC_LDR), 0x100020);
	CHECK_EQ(*reg_of(&s, APIC_ICR), 0);
	CHECK_EQ(*reg_of(&s, APIC_ICR2), 7);
	vm.irq.x2apic_32bit_ids = true;
	CHECK_EQ(wafer_lapic_set(cpu(0), &s), -EINVAL);
	wafer_lapic_get(cpu(0), &s);
	CHECK_EQ(*reg_of(&s, APIC_ID), 0x105);
	*reg_of(&s, APIC_LDR) = 0;
	CHECK_EQ(wafer_lapic_set(cpu(0), &s), 0);
	wafer_lapic_get(cpu(0), &s);
	CHECK_EQ(*reg_of(&s, APIC_LDR), 0x100020);
	free_vm();
}

TEST(state_timer)
{
	struct kvm_lapic_state s;

	make_vm(WAFER_CHIP_FULL, 1);
	start_timer(0x20050, 0xb, 1000000);
	shim_advance(300000);
	wafer_lapic_get(cpu(0), &s);
	CHECK_EQ(*reg_of(&s, APIC_TMCCT), 700000);
	wafer_lapic_reset(cpu(0), false);
	shim_advance(5000000);
	CHECK_EQ(take_irq(0), -1);
	wafer_lapic_set(cpu(0), &s);
	shim_advance(700000);
	CHECK_EQ(take_irq(0), 0x50);
	apic_write(0, APIC_EOI, 0);
	shim_advance(999999);
	CHECK_EQ(take_irq(0), -1);
	shim_advance(1);
	CHECK_EQ(take_irq(0), 0x50);
	/* An expired one-shot timer, and one whose count is more than it began with. */
	*reg_of(&s, APIC_LVTT) = 0x51;
	*reg_of(&s, APIC_TMCCT) = 0;
	wafer_lapic_set(cpu(0), &s);
	shim_advance(1);
	CHECK_EQ(take_irq(0), 0x51);
	*reg_of(&s, APIC_TMCCT) = ~0u;
	wafer_lapic_set(cpu(0), &s);
	shim_advance(1000000);
	CHECK_EQ(take_irq(0), 0x51);
	/* What has expired unseen is in the IRR that is saved. */
	start_timer(0x54, 0xb, 1000);
	shim_advance(2000);
	wafer_lapic_get(cpu(0), &s);
	CHECK_EQ(*reg_of(&s, APIC_IRR + 0x20), 1 << 0x14);
	free_vm();
}

TEST(init_keeps_mode)
{
	make_vm(WAFER_CHIP_SPLIT, 1);
	to_x2apic(0);
	x2apic_write(cpu(0), 0x808, 0x50, true);
	fixed(0, 0x40, false);
	wafer_lapic_reset(cpu(0), true);
	CHECK_EQ(cpu(0)->lapic->mode, WAFER_X2APIC);
	CHECK_EQ(cpu(0)->cr8, 0);
	CHECK_EQ(take_irq(0), -1);
	wafer_lapic_reset(cpu(0), false);
	CHECK_EQ(cpu(0)->lapic->mode, WAFER_XAPIC);
	free_vm();
}

/* Any order of accesses keeps what must always hold; the sanitisers watch the rest. */
static void check_invariants(struct wafer_lapic *apic)
{
	int isrv = wafer_highest_vector(apic, APIC_ISR), pending = wafer_lapic_pending(apic);

	CHECK_EQ(apic->isrv, isrv);
	CHECK(apic->irr_maybe || wafer_highest_vector(apic, APIC_IRR) < 0);
	CHECK(pending < 0 || (pending >= 16 && (isrv < 0 || pending >> 4 > isrv >> 4)));
	CHECK(pending < 0 || pending >> 4 > apic->vcpu->cr8);
	CHECK_EQ(apic->vcpu->cr8, wafer_lapic_get_cr8(apic->vcpu));
	CHECK(apic->timer.period == 0 || apic->timer.period >= 200000);
}

TEST(fuzz)
{
	unsigned int round, i;
	u64 val;

	for (round = 0; round < 40; round++) {
		make_vm(round & 1 ? WAFER_CHIP_FULL : WAFER_CHIP_SPLIT, 3);
		for (i = 0; i < 2000; i++) {
			struct wafer_vcpu *v = cpu(rnd() % 3);
			u32 word = rnd() >> (rnd() & 31);

			switch (rnd() % 12) {
			case 0 ... 3:
				wafer_lapic_mmio(v, rnd() & 0xff0, 4, &word, true, true);
				break;
			case 4:
				wafer_lapic_mmio(v, rnd() & 0xfff, 1 + rnd() % 8, &val, false,
						 true);
				break;
			case 5:
				x2apic_write(v, 0x800 + rnd() % 64, rnd() >> (rnd() & 63), true);
				break;
			case 6:
				wafer_x2apic(v, 0x800 + rnd() % 256, &val, false, true);
				break;
			case 7:
				take_irq(v->index);
				break;
			case 8:
				shim_advance(rnd() % 1000000);
				break;
			case 9:
				wafer_apic_base_set(v, 0xfee00000 | (rnd() & 0xc00), rnd() & 1);
				break;
			case 10:
				wafer_tsc_deadline_set(v, shim_ns + rnd() % 100000);
				break;
			case 11:
				wafer_lapic_set_cr8(v, rnd() & 15);
				break;
			}
			check_invariants(v->lapic);
		}
		free_vm();
	}
}

TEST(fuzz_state)
{
	struct kvm_lapic_state s;
	unsigned int round, i;

	make_vm(WAFER_CHIP_FULL, 2);
	for (round = 0; round < 2000; round++) {
		for (i = 0; i < sizeof(s.regs); i++)
			s.regs[i] = rnd();
		*reg_of(&s, APIC_ID) = 1 << 24;
		CHECK_EQ(wafer_lapic_set(cpu(1), &s), 0);
		check_invariants(cpu(1)->lapic);
		shim_advance(rnd() % 10000000);
		take_irq(1);
		apic_write(1, APIC_EOI, 0);
		check_invariants(cpu(1)->lapic);
		wafer_lapic_get(cpu(1), &s);
	}
	free_vm();
}

TAP_MAIN()
