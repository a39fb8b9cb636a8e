// SPDX-License-Identifier: GPL-2.0
/* The 8254: counters by mode, latches, channel 0's interrupts, reinjection, port 61. */
#include "irq_fake.h"

/* ns after which @n clocks are over */
#define CLOCKS(n)	((u64)(n) * 1000000000 / 1193182 + 1)

static void make(u32 flags)
{
	make_vm(WAFER_CHIP_FULL, 1);
	wafer_apic_set_reg(cpu(0)->lapic, APIC_LVT0, 0x10000);
	CHECK_EQ(wafer_create_pit(&vm, flags), 0);
	outb(0x21, 0xff);
	ioapic_reg(0x10, 0x30);
}

static void program(unsigned int nr, unsigned int mode, u16 count)
{
	outb(0x43, nr << 6 | 0x30 | mode << 1);
	outb(0x40 + nr, count);
	outb(0x40 + nr, count >> 8);
}

static u16 count_of(unsigned int nr)
{
	u8 low;

	outb(0x43, nr << 6);
	low = inb(0x40 + nr);
	return low | inb(0x40 + nr) << 8;
}

static u8 status_of(unsigned int nr)
{
	outb(0x43, 0xe0 | 2 << nr);
	return inb(0x40 + nr);
}

/* Takes interrupt 0x30, if it is there, and ends it. */
static bool took(void)
{
	if (take_irq(0) != 0x30)
		return false;
	apic_write(0, APIC_EOI, 0);
	run_work();
	return true;
}

TEST(creation)
{
	make_vm(WAFER_CHIP_SPLIT, 1);
	CHECK_EQ(wafer_create_pit(&vm, 0), -ENXIO);
	free_vm();
	make_vm(WAFER_CHIP_FULL, 1);
	CHECK_EQ(wafer_create_pit(&vm, 2), -EINVAL);
	CHECK_EQ(wafer_create_pit(&vm, 0), 0);
	CHECK_EQ(wafer_create_pit(&vm, 0), -EEXIST);
	CHECK_EQ(wafer_bus(cpu(0), WAFER_BUS_PIO, 0x61, 1, &(u8){ 0 }, false), -EOPNOTSUPP);
	free_vm();
	make_vm(WAFER_CHIP_NONE, 1);		/* a chip can't come any more */
	CHECK_EQ(wafer_create_pit(&vm, 0), -ENXIO);
	free_vm();
	make_vm(WAFER_CHIP_NONE, 0);
	CHECK_EQ(wafer_create_pit(&vm, 2), -EINVAL);
	CHECK_EQ(wafer_create_pit(&vm, KVM_PIT_SPEAKER_DUMMY), 0);
	CHECK_EQ(wafer_create_pit(&vm, 0), -EEXIST);
	CHECK_EQ(wafer_create_irqchip(&vm), 0);
	CHECK_EQ(wafer_create_pit(&vm, 0), -EEXIST);
	add_vcpu(0);
	CHECK_EQ(wafer_bus(cpu(0), WAFER_BUS_PIO, 0x40, 1, &(u8){ 0 }, false), 0);
	CHECK_EQ(wafer_bus(cpu(0), WAFER_BUS_PIO, 0x61, 1, &(u8){ 0 }, false), 0);
	free_vm();
}

TEST(counts)
{
	make(0);
	program(2, 0, 1000);
	CHECK_EQ(count_of(2), 1000);
	CHECK_EQ(status_of(2), 0x30);
	shim_advance(CLOCKS(400));
	CHECK_EQ(count_of(2), 600);
	shim_advance(CLOCKS(600));
	CHECK_EQ(status_of(2), 0xb0);
	shim_advance(CLOCKS(10));
	CHECK(count_of(2) >= 65525 && count_of(2) <= 65526);
	program(2, 2, 1000);
	shim_advance(CLOCKS(2400));
	CHECK_EQ(count_of(2), 600);
	program(2, 3, 1000);
	shim_advance(CLOCKS(100));
	CHECK_EQ(count_of(2), 800);
	CHECK_EQ(status_of(2), 0xb6);
	shim_advance(CLOCKS(500));
	CHECK_EQ(count_of(2), 800);
	CHECK_EQ(status_of(2), 0x36);
	program(2, 4, 0);
	CHECK_EQ(count_of(2), 0);
	shim_advance(CLOCKS(1));
	CHECK_EQ(count_of(2), 65535);
	outb(0x43, 2 << 6 | 0x3f);		/* mode 7 is 3 */
	CHECK_EQ(status_of(2) & 0x3f, 0x37);
	free_vm();
}

/*
 * The output's level by mode (8254 data sheet, mode definitions): low while a one-shot counts, low
 * for one clock at the end of a period or a strobe, high else.
 */
TEST(outputs)
{
	make(KVM_PIT_SPEAKER_DUMMY);
	outb(0x61, 1);
	program(2, 1, 100);
	/* programs measure 100 clocks so: gate down, gate up, wait for bit 5 */
	outb(0x61, 0);
	outb(0x61, 1);
	CHECK_EQ(status_of(2), 0x32);
	CHECK_EQ(inb(0x61) & 0x20, 0);
	shim_advance(CLOCKS(99));
	CHECK_EQ(inb(0x61) & 0x20, 0);
	shim_advance(CLOCKS(1));
	CHECK_EQ(inb(0x61) & 0x20, 0x20);
	shim_advance(CLOCKS(1000));
	CHECK_EQ(inb(0x61) & 0x20, 0x20);
	program(2, 2, 100);
	CHECK_EQ(status_of(2), 0xb4);
	shim_advance(CLOCKS(50));
	CHECK_EQ(status_of(2), 0xb4);
	shim_advance(CLOCKS(49));		/* 1 is left */
	CHECK_EQ(status_of(2), 0x34);
	shim_advance(CLOCKS(1));
	CHECK_EQ(status_of(2), 0xb4);
	program(2, 4, 100);
	CHECK_EQ(status_of(2), 0xb8);
	shim_advance(CLOCKS(100));
	CHECK_EQ(status_of(2), 0x38);
	shim_advance(CLOCKS(1));
	CHECK_EQ(status_of(2), 0xb8);
	free_vm();
}

/*
 * A control word stops what was counted; it goes on with a count (8254
 * data sheet, "Write Operations").
 */
TEST(a_control_word_stops_the_clock)
{
	make(0);
	program(0, 2, 11932);
	shim_advance(5000000);
	/* mode 0 and no count: how an OS switches the tick off */
	outb(0x43, 0x30);
	shim_advance(100000000);
	CHECK(!took());
	outb(0x40, 100);
	outb(0x40, 0);
	shim_advance(CLOCKS(100));
	CHECK(took());
	free_vm();
}

TEST(latches_and_halves)
{
	make(0);
	program(1, 2, 0x1234);
	outb(0x43, 0x40);
	shim_advance(CLOCKS(16));
	outb(0x43, 0x40);			/* a second latch does nothing */
	CHECK_EQ(inb(0x41), 0x34);
	CHECK_EQ(inb(0x41), 0x12);
	CHECK_EQ(inb(0x41), 0x24);		/* live again */
	CHECK_EQ(inb(0x41), 0x12);
	outb(0x43, 0xc4);			/* read-back: status and count */
	CHECK_EQ(inb(0x41) & 0x3f, 0x34);
	CHECK_EQ(inb(0x41), 0x24);
	CHECK_EQ(inb(0x41), 0x12);
	outb(0x43, 0x54);			/* low byte alone */
	outb(0x41, 0x80);
	CHECK_EQ(inb(0x41), 0x80);
	CHECK_EQ(inb(0x41), 0x80);
	outb(0x43, 0x64);			/* high byte alone */
	outb(0x41, 0x80);
	CHECK_EQ(inb(0x41), 0x80);
	outb(0x43, 0x40);
	CHECK_EQ(inb(0x41), 0x80);
	CHECK_EQ(inb(0x43), 0);
	free_vm();
}

TEST(periodic_interrupts)
{
	unsigned int i;
	u64 loaded;

	make(0);
	shim_advance(1000000000);
	CHECK(!took());				/* not programmed: does not tick */
	program(0, 2, 11932);
	loaded = shim_ns;
	for (i = 1; i <= 1000; i++) {
		shim_advance(loaded + CLOCKS(11932ull * i) - shim_ns - 1);
		CHECK(!took());
		shim_advance(1);
		CHECK(took());
	}
	free_vm();
}

TEST(one_shot_interrupts)
{
	static const u8 modes[] = { 0, 1, 4 };
	unsigned int i;

	make(0);
	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		program(0, modes[i], 100);
		shim_advance(CLOCKS(100) - 1);
		CHECK(!took());
		shim_advance(1);
		CHECK(took());
		shim_advance(1000000000);
		CHECK(!took());
	}
	program(0, 5, 100);
	shim_advance(1000000000);
	CHECK(!took());
	program(0, 2, 11932);
	program(0, 0, 20000);			/* loaded anew: the old period is void */
	shim_advance(CLOCKS(19999));
	CHECK(!took());
	free_vm();
}

TEST(reinjection)
{
	unsigned int i, n;

	make(0);
	program(0, 2, 11932);
	shim_advance(105000000);		/* ten ticks, none of them taken */
	for (n = 0; took(); n++)
		;
	CHECK_EQ(n, 10);
	CHECK_EQ(wafer_reinject_control(&vm, false), 0);
	shim_advance(100000000);
	for (n = 0; took(); n++)
		;
	CHECK_EQ(n, 1);
	CHECK_EQ(wafer_reinject_control(&vm, true), 0);
	/* Ticks that nobody can take are not kept for later. */
	ioapic_reg(0x10, 0x10030);
	shim_advance(100000000);
	ioapic_reg(0x10, 0x30);
	CHECK(!took());
	shim_advance(10000000);
	CHECK(took());
	CHECK(!took());
	/* One was sent and not acknowledged when the guest changes its mind: the PIT goes on. */
	shim_advance(20000000);
	for (i = 0; i < 4; i++)
		apic_write(0, APIC_TMICT, 0);
	ioapic_reg(0x10, 0x31);
	shim_advance(10000000);
	CHECK_EQ(take_irq(0), 0x31);
	free_vm();
}

TEST(through_the_pic)
{
	unsigned int n;

	make(0);
	ioapic_reg(0x10, 0x10000);
	apic_write(0, APIC_LVT0, 0x700);
	outb(0x20, 0x11);
	outb(0x21, 0x20);
	outb(0x21, 4);
	outb(0x21, 1);
	outb(0x21, 0xfe);
	program(0, 3, 11932);
	shim_advance(55000000);
	for (n = 0; take_irq(0) == 0x20; n++) {
		outb(0x20, 0x20);
		run_work();
	}
	CHECK_EQ(n, 5);
	free_vm();
}

TEST(too_fast)
{
	unsigned int i, n = 0;

	make(0);
	program(0, 2, 1);			/* 1.19 MHz is not to be had */
	for (i = 0; i < 100; i++) {
		shim_advance(100000);
		n += took();
	}
	CHECK(n >= 45 && n <= 50);
	free_vm();
}

TEST(port61)
{
	unsigned int i, toggles = 0;
	u8 last;

	make(KVM_PIT_SPEAKER_DUMMY);
	outb(0x61, 0);
	program(2, 0, 1193);
	CHECK_EQ(inb(0x61) & 0x23, 0);
	outb(0x61, 3);
	CHECK_EQ(inb(0x61) & 0x23, 3);
	shim_advance(CLOCKS(1193));
	CHECK_EQ(inb(0x61) & 0x23, 0x23);
	for (i = 0, last = inb(0x61) & 0x10; i < 1000; i++) {
		shim_advance(1000);
		toggles += (inb(0x61) & 0x10) != last;
		last = inb(0x61) & 0x10;
	}
	CHECK(toggles > 50 && toggles < 70);
	program(2, 3, 1000);
	outb(0x61, 0);
	shim_advance(CLOCKS(300));
	outb(0x61, 1);				/* the gate rises: from the beginning */
	CHECK_EQ(count_of(2), 1000);
	free_vm();
}

TEST(state)
{
	struct kvm_pit_state2 s, back;

	make(KVM_PIT_SPEAKER_DUMMY);
	program(0, 2, 11932);
	outb(0x61, 2);
	CHECK_EQ(wafer_pit_state(&vm, &s, false), 0);
	CHECK_EQ(s.channels[0].count, 11932);
	CHECK_EQ(s.channels[0].mode, 2);
	CHECK_EQ(s.channels[2].mode, 0xff);
	CHECK_EQ(s.flags, KVM_PIT_FLAGS_SPEAKER_DATA_ON);
	program(0, 0, 0);
	shim_advance(1000000000);
	took();
	CHECK_EQ(wafer_pit_state(&vm, &s, true), 0);
	shim_advance(10500000);
	CHECK(took());
	shim_advance(10000000);
	CHECK(took());
	s.flags = KVM_PIT_FLAGS_HPET_LEGACY;
	CHECK_EQ(wafer_pit_state(&vm, &s, true), 0);
	shim_advance(100000000);
	CHECK(!took());
	CHECK_EQ(wafer_pit_state(&vm, &back, false), 0);
	CHECK_EQ(back.flags, KVM_PIT_FLAGS_HPET_LEGACY);
	s.channels[1].count = 0;
	CHECK_EQ(wafer_pit_state(&vm, &s, true), 0);
	CHECK_EQ(wafer_pit_state(&vm, &back, false), 0);
	CHECK_EQ(back.channels[1].count, 65536);
	s.channels[1].count = 65537;
	CHECK_EQ(wafer_pit_state(&vm, &s, true), -EINVAL);
	s.channels[1].count = 1;
	s.channels[1].mode = 6;
	CHECK_EQ(wafer_pit_state(&vm, &s, true), -EINVAL);
	s.channels[1].mode = 5;
	s.flags = 4;
	CHECK_EQ(wafer_pit_state(&vm, &s, true), -EINVAL);
	free_vm();
}

TEST(fuzz)
{
	struct kvm_pit_state2 s;
	unsigned int i, j;

	make(KVM_PIT_SPEAKER_DUMMY);
	for (i = 0; i < 50000; i++) {
		switch (rnd() % 6) {
		case 0:
		case 1:
			outb(0x40 + rnd() % 4, rnd());
			break;
		case 2:
			inb(0x40 + rnd() % 4);
			break;
		case 3:
			outb(0x61, rnd());
			inb(0x61);
			break;
		case 4:
			shim_advance(rnd() % 500000);
			took();
			break;
		case 5:
			if (rnd() % 64)
				break;
			for (j = 0; j < sizeof(s); j++)
				((u8 *)&s)[j] = rnd();
			s.flags &= 3;
			for (j = 0; j < 3; j++) {
				s.channels[j].count &= 0xffff;
				s.channels[j].mode %= 6;
			}
			CHECK_EQ(wafer_pit_state(&vm, &s, true), 0);
		}
		for (j = 0; j < 3; j++)
			CHECK(vm.irq.pit && count_of(j) <= 0xffff);
	}
	free_vm();
}

TAP_MAIN()
