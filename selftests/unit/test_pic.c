// SPDX-License-Identifier: GPL-2.0
/* The two 8259As. */
#include "irq_fake.h"

static void init_pic(u8 icw4)
{
	outb(0x20, 0x11);
	outb(0x21, 0x33);	/* the low three bits are the line's */
	outb(0x21, 0x04);
	outb(0x21, icw4);
	outb(0xa0, 0x11);
	outb(0xa1, 0x38);
	outb(0xa1, 0x02);
	outb(0xa1, icw4);
	outb(0x21, 0);
	outb(0xa1, 0);
}

static void make(u8 icw4)
{
	make_vm(WAFER_CHIP_FULL, 2);
	wafer_apic_set_reg(cpu(0)->lapic, APIC_LVT0, 0x700);
	init_pic(icw4);
}

static int drive(unsigned int pin, bool level)
{
	return wafer_set_pin(vm.irq.chips, pin / 8, pin % 8, WAFER_SRC_USER, level);
}

static void pulse(unsigned int pin)
{
	drive(pin, true);
	drive(pin, false);
}

TEST(initialisation)
{
	make(1);
	outb(0x21, 0xa5);
	CHECK_EQ(inb(0x21), 0xa5);
	pulse(1);
	/* the request is older than the mask? no: it is not masked */
	CHECK_EQ(take_irq(0), 0x31);
	outb(0x20, 0x20);
	outb(0x21, 0xff);
	CHECK_EQ(drive(1, true), -1);
	CHECK_EQ(take_irq(0), -1);
	outb(0x21, 0);
	CHECK_EQ(take_irq(0), 0x31);
	outb(0x20, 0x0b);			/* ISR */
	CHECK_EQ(inb(0x20), 0x02);
	outb(0x20, 0x0a);			/* IRR */
	CHECK_EQ(inb(0x20), 0x00);
	outb(0x20, 0x11);			/* ICW1 clears mask and ISR */
	CHECK_EQ(inb(0x21), 0);
	outb(0x20, 0x0b);
	CHECK_EQ(inb(0x20), 0);
	free_vm();
}

TEST(initialisation_without_icw4)
{
	make(3);				/* automatic EOI */
	outb(0x20, 0x10);
	outb(0x21, 0x40);
	outb(0x21, 0x04);
	outb(0x21, 0x80);			/* the mask already; automatic EOI is off again */
	CHECK_EQ(inb(0x21), 0x80);
	pulse(0);
	CHECK_EQ(take_irq(0), 0x40);
	outb(0x20, 0x0b);
	CHECK_EQ(inb(0x20), 1);
	free_vm();
}

TEST(edges)
{
	make(1);
	CHECK_EQ(drive(3, true), 1);
	CHECK_EQ(drive(3, true), 0);		/* no edge */
	CHECK_EQ(take_irq(0), 0x33);
	outb(0x20, 0x20);
	CHECK_EQ(take_irq(0), -1);
	drive(3, false);
	CHECK_EQ(drive(3, true), 1);
	drive(3, false);
	CHECK_EQ(drive(3, true), 0);		/* requested still: coalesced */
	CHECK_EQ(take_irq(0), 0x33);
	free_vm();
}

TEST(levels)
{
	make(1);
	outb(0x4d0, 0xff);
	outb(0x4d1, 0xff);
	CHECK_EQ(inb(0x4d0), 0xf8);
	CHECK_EQ(inb(0x4d1), 0xde);
	drive(10, true);
	CHECK_EQ(take_irq(0), 0x3a);
	outb(0xa0, 0x20);
	outb(0x20, 0x20);
	CHECK_EQ(take_irq(0), 0x3a);		/* asserted still */
	drive(10, false);
	outb(0xa0, 0x20);
	outb(0x20, 0x20);
	CHECK_EQ(take_irq(0), -1);
	drive(5, true);				/* goes away before it is taken */
	drive(5, false);
	CHECK_EQ(take_irq(0), -1);
	free_vm();
}

TEST(sources_are_ored)
{
	make(1);
	outb(0x4d0, 0x20);
	wafer_set_pin(vm.irq.chips, 5 / 8, 5 % 8, WAFER_SRC_USER, true);
	wafer_set_pin(vm.irq.chips, 5 / 8, 5 % 8, WAFER_SRC_RESAMPLE, true);
	wafer_set_pin(vm.irq.chips, 5 / 8, 5 % 8, WAFER_SRC_USER, false);
	CHECK(wafer_irq_pending(cpu(0)));
	wafer_set_pin(vm.irq.chips, 5 / 8, 5 % 8, WAFER_SRC_RESAMPLE, false);
	CHECK(!wafer_irq_pending(cpu(0)));
	free_vm();
}

TEST(priorities)
{
	unsigned int i;

	make(1);
	for (i = 0; i < 16; i++)
		if (i != 2)
			pulse(i);
	CHECK_EQ(take_irq(0), 0x30);
	CHECK_EQ(take_irq(0), -1);
	outb(0x20, 0x20);
	CHECK_EQ(take_irq(0), 0x31);
	outb(0x20, 0x20);
	for (i = 8; i < 16; i++) {
		CHECK_EQ(take_irq(0), 0x30 + i);
		CHECK_EQ(take_irq(0), -1);
		outb(0xa0, 0x20);
		outb(0x20, 0x20);
	}
	for (i = 3; i < 8; i++) {
		CHECK_EQ(take_irq(0), 0x30 + i);
		outb(0x20, 0x60 | i);		/* specific EOI */
	}
	CHECK_EQ(take_irq(0), -1);
	pulse(6);
	CHECK_EQ(take_irq(0), 0x36);
	pulse(4);
	CHECK_EQ(take_irq(0), 0x34);		/* nests */
	outb(0x20, 0x20);
	outb(0x20, 0x0b);
	CHECK_EQ(inb(0x20), 0x40);
	free_vm();
}

TEST(rotation)
{
	make(1);
	outb(0x20, 0xc2);			/* 3 is the highest now */
	pulse(0);
	pulse(3);
	CHECK_EQ(take_irq(0), 0x33);
	outb(0x20, 0xa0);			/* rotate on EOI: 4 is the highest */
	pulse(3);
	CHECK_EQ(take_irq(0), 0x30);
	outb(0x20, 0xe0);			/* specific: 1 */
	CHECK_EQ(take_irq(0), 0x33);
	outb(0x20, 0x20);
	outb(0x20, 0x0b);
	CHECK_EQ(inb(0x20), 0);
	free_vm();
}

TEST(automatic_eoi)
{
	make(3);
	pulse(1);
	pulse(4);
	CHECK_EQ(take_irq(0), 0x31);
	CHECK_EQ(take_irq(0), 0x34);
	outb(0x20, 0x80);			/* and rotate */
	pulse(4);
	CHECK_EQ(take_irq(0), 0x34);
	pulse(4);
	pulse(5);
	CHECK_EQ(take_irq(0), 0x35);
	free_vm();
}

TEST(special_modes)
{
	make(1);
	pulse(3);
	CHECK_EQ(take_irq(0), 0x33);
	outb(0x21, 0x08);
	pulse(5);
	CHECK_EQ(take_irq(0), -1);
	/* special mask: a masked line in service blocks nobody */
	outb(0x20, 0x68);
	CHECK_EQ(take_irq(0), 0x35);
	/* nor is it what an EOI that names none ends (8259A data sheet, "End of Interrupt") */
	outb(0x20, 0x20);
	outb(0x20, 0x0b);
	CHECK_EQ(inb(0x20), 0x08);
	outb(0x20, 0x20);
	CHECK_EQ(inb(0x20), 0x08);
	outb(0x20, 0x63);
	CHECK_EQ(inb(0x20), 0);
	outb(0x20, 0x48);
	free_vm();
	make(0x11);				/* special fully nested: the slave may come again */
	pulse(12);
	CHECK_EQ(take_irq(0), 0x3c);
	pulse(9);
	CHECK_EQ(take_irq(0), 0x39);
	free_vm();
}

TEST(poll)
{
	make(1);
	outb(0x20, 0x0c);
	CHECK_EQ(inb(0x20), 0);
	pulse(6);
	outb(0x20, 0x0c);
	CHECK_EQ(inb(0x20), 0x86);
	CHECK_EQ(take_irq(0), -1);
	outb(0x20, 0x0b);
	CHECK_EQ(inb(0x20), 0x40);
	free_vm();
}

TEST(spurious)
{
	make(1);
	outb(0x4d0, 0x20);
	drive(5, true);
	CHECK(wafer_irq_pending(cpu(0)));
	drive(5, false);
	vm.irq.chips->intr = true;		/* as a vCPU that looked just before has it */
	CHECK_EQ(wafer_irq_ack(cpu(0)), 0x37);
	CHECK(!wafer_irq_pending(cpu(0)));
	free_vm();
}

TEST(who_takes_it)
{
	make(1);
	memset(fake, 0, sizeof(fake));
	pulse(0);
	CHECK_EQ(fake[0].events, 1);
	CHECK_EQ(fake[1].events, 0);
	CHECK(!wafer_irq_pending(cpu(1)));
	apic_write(0, APIC_LVT0, 0x10700);
	CHECK(!wafer_irq_pending(cpu(0)));
	apic_write(0, APIC_LVT0, 0x00030);	/* fixed */
	CHECK(!wafer_irq_pending(cpu(0)));
	wafer_apic_base_set(cpu(1), 0xfee00000, false);
	CHECK(test_bit(WAFER_H_EVENT, &cpu(1)->hazards));
	CHECK_EQ(take_irq(1), 0x30);		/* without an APIC INTR is the CPU's own */
	free_vm();
}

TEST(busy_lock)
{
	u8 val = 0x20;

	make(1);
	pulse(0);
	raw_spin_lock(&vm.irq.chips->lock);
	CHECK_EQ(wafer_irq_ack(cpu(0)), -EAGAIN);
	CHECK_EQ(wafer_bus(cpu(0), WAFER_BUS_PIO, 0x20, 1, &val, true), -EAGAIN);
	CHECK_EQ(wafer_bus(cpu(0), WAFER_BUS_PIO, 0x20, 1, &val, false), -EAGAIN);
	raw_spin_unlock(&vm.irq.chips->lock);
	CHECK_EQ(take_irq(0), 0x30);
	vm.irq.nr_resamplers = 1;			/* an EOI may signal: not in the window */
	CHECK_EQ(wafer_bus(cpu(0), WAFER_BUS_PIO, 0x20, 1, &val, true), -EAGAIN);
	val = 0x20;
	cpu(0)->loaded = false;
	CHECK_EQ(wafer_bus(cpu(0), WAFER_BUS_PIO, 0x20, 1, &val, true), 0);
	CHECK_EQ(resampled, 1);
	free_vm();
}

TEST(state)
{
	struct kvm_irqchip chip = { .chip_id = 1 }, back = { .chip_id = 1 };

	make(1);
	pulse(9);
	CHECK_EQ(wafer_irqchip_state(&vm, &chip, false), 0);
	CHECK_EQ(chip.chip.pic.irr, 2);
	CHECK_EQ(chip.chip.pic.elcr_mask, 0xde);
	CHECK_EQ(take_irq(0), 0x39);
	outb(0x20, 0x20);
	outb(0xa0, 0x20);
	CHECK_EQ(wafer_irqchip_state(&vm, &chip, true), 0);
	CHECK_EQ(wafer_irqchip_state(&vm, &back, false), 0);
	CHECK(!memcmp(&chip, &back, sizeof(chip)));
	CHECK_EQ(take_irq(0), 0x39);
	chip.chip.pic.elcr_mask = 0;		/* read-back as it was given */
	CHECK_EQ(wafer_irqchip_state(&vm, &chip, true), 0);
	CHECK_EQ(wafer_irqchip_state(&vm, &back, false), 0);
	CHECK(!memcmp(&chip, &back, sizeof(chip)));
	chip.chip_id = 3;
	CHECK_EQ(wafer_irqchip_state(&vm, &chip, true), -EINVAL);
	free_vm();
	make_vm(WAFER_CHIP_SPLIT, 1);
	chip.chip_id = 0;
	CHECK_EQ(wafer_irqchip_state(&vm, &chip, false), -ENXIO);
	free_vm();
}

TEST(fuzz)
{
	static const u16 ports[] = { 0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1 };
	struct kvm_irqchip chip;
	unsigned int i, j;

	make(1);
	for (i = 0; i < 100000; i++) {
		switch (rnd() % 6) {
		case 0:
		case 1:
			outb(ports[rnd() % 6], rnd());
			break;
		case 2:
			inb(ports[rnd() % 6]);
			break;
		case 3:
			drive(rnd() % 16, rnd() & 1);
			break;
		case 4:
			CHECK(take_irq(0) < 256);
			break;
		case 5:
			if (rnd() % 64)
				break;
			chip.chip_id = rnd() & 1;
			for (j = 0; j < sizeof(chip.chip.pic); j++)
				((u8 *)&chip.chip.pic)[j] = rnd();
			CHECK_EQ(wafer_irqchip_state(&vm, &chip, true), 0);
		}
		/* The output says what the chips ask for. */
		CHECK(vm.irq.chips->pic[0].irr & ~vm.irq.chips->pic[0].imr ||
		      !vm.irq.chips->intr);
	}
	free_vm();
}

TAP_MAIN()
