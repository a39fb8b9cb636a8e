// SPDX-License-Identifier: GPL-2.0
/* The I/O APIC: registers, edges, levels, EOI, storms, state. */
#include "irq_fake.h"

static int drive(unsigned int pin, bool level)
{
	return wafer_set_pin(vm.irq.chips, IOAPIC, pin, WAFER_SRC_USER, level);
}

static void program(unsigned int pin, u32 low, u32 high)
{
	ioapic_reg(0x11 + 2 * pin, high);
	ioapic_reg(0x10 + 2 * pin, low);
}

TEST(registers)
{
	u64 val = ~0ull;

	make_vm(WAFER_CHIP_FULL, 1);
	CHECK_EQ(ioapic_get(1), 0x170011);
	CHECK_EQ(ioapic_get(0x10), 0x10000);
	CHECK_EQ(ioapic_get(0x3f), 0);
	CHECK_EQ(ioapic_get(0x40), 0);
	CHECK_EQ(ioapic_get(0xff), 0);
	ioapic_reg(0, 0x0f000000);
	CHECK_EQ(ioapic_get(0), 0x0f000000);
	CHECK_EQ(ioapic_get(2), 0x0f000000);
	program(23, 0xffff5fff, 0xff000000);
	CHECK_EQ(ioapic_get(0x3e) & 0x5000, 0);	/* status and remote IRR are read-only */
	CHECK_EQ(ioapic_get(0x3f), 0xff000000);
	CHECK_EQ(wafer_bus(cpu(0), WAFER_BUS_MMIO, 0xfec00004, 4, &val, false), 0);
	CHECK_EQ(val >> 32, 0xffffffff);
	CHECK_EQ((u32)val, 0);
	CHECK_EQ(wafer_bus(cpu(0), WAFER_BUS_MMIO, 0xfec000fc, 8, &val, false), -EOPNOTSUPP);
	CHECK_EQ(wafer_bus(cpu(0), WAFER_BUS_MMIO, 0xfec00100, 4, &val, false), -EOPNOTSUPP);
	free_vm();
}

TEST(edges)
{
	make_vm(WAFER_CHIP_FULL, 2);
	CHECK_EQ(drive(4, true), -1);		/* masked: lost */
	drive(4, false);
	program(4, 0x34, 1 << 24);
	CHECK_EQ(take_irq(1), -1);
	CHECK_EQ(drive(4, true), 1);
	CHECK_EQ(drive(4, true), 0);
	drive(4, false);
	CHECK_EQ(drive(4, true), 0);		/* the local APIC has it already */
	CHECK_EQ(take_irq(1), 0x34);
	drive(4, false);
	CHECK_EQ(drive(4, true), 1);		/* in service: one more can wait */
	apic_write(1, APIC_EOI, 0);
	CHECK_EQ(take_irq(1), 0x34);
	free_vm();
}

TEST(levels)
{
	make_vm(WAFER_CHIP_FULL, 1);
	drive(9, true);
	program(9, 0x8039, 0);			/* asserted when it is unmasked: sent */
	CHECK_EQ(take_irq(0), 0x39);
	CHECK_EQ(ioapic_get(0x22), 0xc039);
	CHECK_EQ(drive(9, true), -1);		/* remote IRR */
	apic_write(0, APIC_EOI, 0);
	CHECK_EQ(take_irq(0), 0x39);		/* asserted still */
	drive(9, false);
	apic_write(0, APIC_EOI, 0);
	CHECK_EQ(take_irq(0), -1);
	CHECK_EQ(ioapic_get(0x22), 0x8039);
	/* Taken for edge and back is the EOI of those without an EOI register. */
	drive(9, true);
	CHECK_EQ(ioapic_get(0x22), 0xc039);
	ioapic_reg(0x22, 0x10039);
	CHECK_EQ(ioapic_get(0x22), 0x10039);
	free_vm();
}

TEST(shared_level)
{
	make_vm(WAFER_CHIP_FULL, 1);
	program(9, 0x8039, 0);
	wafer_set_pin(vm.irq.chips, IOAPIC, 9, WAFER_SRC_USER, true);
	wafer_set_pin(vm.irq.chips, IOAPIC, 9, WAFER_SRC_RESAMPLE, true);
	CHECK_EQ(take_irq(0), 0x39);
	wafer_set_pin(vm.irq.chips, IOAPIC, 9, WAFER_SRC_USER, false);
	apic_write(0, APIC_EOI, 0);
	CHECK_EQ(take_irq(0), 0x39);
	wafer_set_pin(vm.irq.chips, IOAPIC, 9, WAFER_SRC_RESAMPLE, false);
	apic_write(0, APIC_EOI, 0);
	CHECK_EQ(take_irq(0), -1);
	free_vm();
}

TEST(delivery_modes)
{
	make_vm(WAFER_CHIP_FULL, 2);
	program(1, 0x400, 1 << 24);
	CHECK_EQ(drive(1, true), 1);
	CHECK_EQ(fake[1].nmis, 1);
	program(2, 0x500, 1 << 24);
	CHECK_EQ(drive(2, true), 1);
	CHECK_EQ(fake[1].inits, 1);
	program(3, 0x700, 0);
	CHECK_EQ(drive(3, true), -1);
	program(5, 0x8055, 7 << 24);		/* nobody there: remote IRR must not stick */
	CHECK_EQ(drive(5, true), -1);
	CHECK_EQ(ioapic_get(0x1a), 0x8055);
	ioapic_reg(0x1b, 0);
	CHECK_EQ(take_irq(0), 0x55);
	free_vm();
}

TEST(storm)
{
	unsigned int i, taken = 0;

	make_vm(WAFER_CHIP_FULL, 1);
	program(9, 0x8039, 0);
	drive(9, true);
	for (i = 0; i < 20000 && take_irq(0) == 0x39; i++) {
		taken++;
		apic_write(0, APIC_EOI, 0);
	}
	CHECK_EQ(taken, 10000);			/* now the guest gets on with its life */
	shim_advance(9999999);
	CHECK_EQ(take_irq(0), -1);
	shim_advance(1);
	CHECK_EQ(take_irq(0), 0x39);
	drive(9, false);
	apic_write(0, APIC_EOI, 0);
	drive(9, true);
	CHECK_EQ(take_irq(0), 0x39);
	free_vm();
}

TEST(acknowledgments_go_first)
{
	make_vm(WAFER_CHIP_FULL, 1);
	program(9, 0x8039, 0);
	drive(9, true);
	CHECK_EQ(take_irq(0), 0x39);
	vm.irq.nr_resamplers = 1;
	CHECK_EQ(apic_write(0, APIC_EOI, 0), -EAGAIN);
	CHECK_EQ(cpu(0)->lapic->isrv, 0x39);
	CHECK_EQ(resampled, 0);
	CHECK_EQ(wafer_lapic_mmio(cpu(0), APIC_EOI, 4, "\0\0\0\0", true, false), 0);
	CHECK_EQ(resampled, 1);
	CHECK_EQ(cpu(0)->lapic->isrv, -1);
	free_vm();
}

TEST(state)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };

	make_vm(WAFER_CHIP_FULL, 1);
	program(4, 0x34, 0);
	program(9, 0x8039, 0);
	program(10, 0x1803a, 0);
	drive(4, true);
	drive(9, true);
	drive(10, true);
	CHECK_EQ(wafer_irqchip_state(&vm, &chip, false), 0);
	CHECK_EQ(chip.chip.ioapic.base_address, 0xfec00000);
	CHECK_EQ(chip.chip.ioapic.irr, 0x600);	/* the edge was sent */
	CHECK_EQ(chip.chip.ioapic.redirtbl[9].bits, 0xc039);
	CHECK_EQ(take_irq(0), 0x39);
	apic_write(0, APIC_EOI, 0);
	CHECK_EQ(take_irq(0), 0x39);
	chip.chip.ioapic.irr |= 1 << 4;
	chip.chip.ioapic.redirtbl[9].bits = 0x8039;
	chip.chip.ioapic.ioregsel = 0x10;
	CHECK_EQ(wafer_irqchip_state(&vm, &chip, true), 0);
	CHECK_EQ(apic_read(0, APIC_IRR + 0x10), 1 << 0x14 | 1 << 0x19);
	apic_write(0, APIC_EOI, 0);
	CHECK_EQ(take_irq(0), 0x39);
	free_vm();
}

TEST(fuzz)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };
	unsigned int i, j, pin;

	make_vm(WAFER_CHIP_FULL, 2);
	for (i = 0; i < 50000; i++) {
		switch (rnd() % 6) {
		case 0:
		case 1:
			ioapic_reg(rnd() & 0x7f, rnd() >> (rnd() & 31));
			break;
		case 2:
			ioapic_get(rnd());
			break;
		case 3:
			drive(rnd() % 24, rnd() & 1);
			break;
		case 4:
			j = rnd() & 1;
			take_irq(j);
			apic_write(j, APIC_EOI, 0);
			break;
		case 5:
			shim_advance(rnd() % 1000000);
			if (rnd() % 64)
				break;
			for (j = 0; j < sizeof(chip.chip.ioapic); j++)
				((u8 *)&chip.chip.ioapic)[j] = rnd();
			CHECK_EQ(wafer_irqchip_state(&vm, &chip, true), 0);
		}
		for (pin = 0; pin < 24; pin++) {
			u64 entry = vm.irq.chips->ioapic.redirtbl[pin].bits;

			/*
			 * Sent and not ended, or an edge: then there is no remote
			 * IRR (but for what SET brought).
			 */
			if (rnd() % 64 == 0 && entry & 0x4000 && !(entry & 0x8000))
				ioapic_reg(0x10 + 2 * pin, entry);
		}
	}
	free_vm();
}

TAP_MAIN()
