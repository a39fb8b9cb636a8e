// SPDX-License-Identifier: GPL-2.0
/*
 * Destinations, routing tables, messages, EOI exits of the split chip, the bus and what sits on it.
 */
#include "irq_fake.h"

static int send(u32 dest, bool logical, u8 mode, u8 vector)
{
	struct wafer_irq_msg msg = {
		.dest = dest, .logical = logical, .mode = mode, .vector = vector, .assert = true,
	};

	return wafer_deliver(&vm, NULL, &msg);
}

/* Who has it? A bit per vCPU; taken and ended. */
static u32 who(u8 vector)
{
	u32 set = 0;
	unsigned int i;

	for (i = 0; i < vm.nr_vcpus; i++)
		if (test_and_clear_bit(vector & 31,
				       wafer_apic_bits(cpu(i)->lapic, APIC_IRR, vector)))
			set |= 1u << i;
	return set;
}

static void to_x2apic(unsigned int i)
{
	CHECK_EQ(wafer_apic_base_set(cpu(i), cpu(i)->apic_base | WAFER_APIC_BASE_X2, true), 0);
	wafer_apic_set_reg(cpu(i)->lapic, APIC_SPIV, 0x1ff);
}

TEST(physical)
{
	make_vm(WAFER_CHIP_SPLIT, 3);
	add_vcpu(77);
	wafer_apic_set_reg(cpu(3)->lapic, APIC_SPIV, 0x1ff);
	CHECK_EQ(send(1, false, 0, 0x40), 1);
	CHECK_EQ(who(0x40), 2);
	CHECK_EQ(send(77, false, 0, 0x40), 1);
	CHECK_EQ(send(77, false, 0, 0x40), 0);
	CHECK_EQ(who(0x40), 8);
	CHECK_EQ(send(3, false, 0, 0x40), -1);
	CHECK_EQ(send(0xff, false, 0, 0x40), 4);
	CHECK_EQ(who(0x40), 0xf);
	CHECK_EQ(send(~0u, false, 0, 0x40), 4);
	CHECK_EQ(who(0x40), 0xf);
	CHECK_EQ(send(4095, false, 0, 0x40), -1);
	CHECK_EQ(send(4096, false, 0, 0x40), -1);
	CHECK_EQ(send(0x80000000, false, 0, 0x40), -1);
	wafer_apic_base_set(cpu(1), 0xfee00000, true);
	CHECK_EQ(send(1, false, 0, 0x40), -1);
	CHECK_EQ(send(0xff, false, 4, 0), 3);	/* NMIs */
	CHECK_EQ(fake[0].nmis + fake[2].nmis + fake[3].nmis, 3);
	CHECK_EQ(fake[1].nmis, 0);
	free_vm();
}

/*
 * An xAPIC has the id that the guest gives it, and all of those that have it take
 * the message (KVM from 6.3 on).
 */
TEST(written_ids)
{
	make_vm(WAFER_CHIP_SPLIT, 3);
	CHECK_EQ(apic_write(1, APIC_ID, 0x05123456), 0);
	CHECK_EQ(apic_read(1, APIC_ID), 5 << 24);
	CHECK_EQ(apic_write(2, APIC_ID, 5 << 24), 0);
	CHECK_EQ(send(5, false, 0, 0x40), 2);
	CHECK_EQ(who(0x40), 6);
	CHECK_EQ(send(1, false, 0, 0x40), -1);
	CHECK_EQ(send(0, false, 0, 0x40), 1);
	CHECK_EQ(who(0x40), 1);
	wafer_lapic_reset(cpu(1), true);	/* keeps it */
	CHECK_EQ(apic_read(1, APIC_ID), 5 << 24);
	to_x2apic(1);				/* there the id is its own again */
	CHECK_EQ(send(1, false, 0, 0x40), 1);
	CHECK_EQ(send(5, false, 0, 0x40), 1);
	CHECK_EQ(who(0x40), 6);
	wafer_apic_base_set(cpu(2), 0xfee00000, true);
	wafer_apic_base_set(cpu(2), 0xfee00000 | WAFER_APIC_BASE_ENABLE, true);
	CHECK_EQ(send(2, false, 0, 0x40), 1);
	CHECK_EQ(who(0x40), 4);
	free_vm();
}

TEST(an_id_whose_vcpu_never_came)
{
	struct wafer_vcpu v = { .vm = &vm, .id = 9, .extint = -1 };

	make_vm(WAFER_CHIP_SPLIT, 1);
	v.index = vm.nr_vcpus;
	CHECK_EQ(wafer_lapic_create(&v), 0);
	CHECK_EQ(send(9, false, 0, 0x40), -1);
	wafer_lapic_free(&v);
	CHECK_EQ(send(9, false, 0, 0x40), -1);
	add_vcpu(5);				/* takes the index */
	wafer_apic_set_reg(cpu(1)->lapic, APIC_SPIV, 0x1ff);
	CHECK_EQ(send(9, false, 0, 0x40), -1);
	CHECK_EQ(send(5, false, 0, 0x40), 1);
	free_vm();
}

TEST(logical_flat)
{
	unsigned int i;

	make_vm(WAFER_CHIP_SPLIT, 4);
	for (i = 0; i < 4; i++)
		apic_write(i, APIC_LDR, 1u << (24 + i));
	CHECK_EQ(send(0x5, true, 0, 0x40), 2);
	CHECK_EQ(who(0x40), 5);
	CHECK_EQ(send(0xf0, true, 0, 0x40), -1);
	CHECK_EQ(send(0, true, 0, 0x40), -1);
	CHECK_EQ(send(0xff, true, 0, 0x40), 4);
	CHECK_EQ(who(0x40), 0xf);
	CHECK_EQ(send(0x101, true, 0, 0x40), -1);
	free_vm();
}

TEST(logical_cluster)
{
	static const u8 ids[] = { 0x01, 0x02, 0x11, 0x14 };
	unsigned int i;

	make_vm(WAFER_CHIP_SPLIT, 4);
	for (i = 0; i < 4; i++) {
		apic_write(i, APIC_DFR, 0);
		apic_write(i, APIC_LDR, ids[i] << 24);
	}
	CHECK_EQ(apic_read(0, APIC_DFR), 0x0fffffff);
	CHECK_EQ(send(0x03, true, 0, 0x40), 2);
	CHECK_EQ(who(0x40), 3);
	CHECK_EQ(send(0x15, true, 0, 0x40), 2);
	CHECK_EQ(who(0x40), 0xc);
	CHECK_EQ(send(0x2f, true, 0, 0x40), -1);
	free_vm();
}

TEST(logical_x2apic)
{
	struct wafer_irq_msg msg = {
		.dest = 0x00010003, .logical = true, .vector = 0x40, .assert = true,
		.x2apic_dest = true,
	};
	unsigned int i;

	make_vm(WAFER_CHIP_SPLIT, 20);
	for (i = 0; i < 20; i++)
		to_x2apic(i);
	CHECK_EQ(wafer_deliver(&vm, cpu(0), &msg), 2);
	CHECK_EQ(who(0x40), 3 << 16);
	msg.dest = 0x0001fff0;
	CHECK_EQ(wafer_deliver(&vm, cpu(0), &msg), -1);
	msg.dest = 0x0000ffff;
	CHECK_EQ(wafer_deliver(&vm, cpu(0), &msg), 16);
	CHECK_EQ(who(0x40), 0xffff);
	msg.dest = 0xff0000ff;
	CHECK_EQ(wafer_deliver(&vm, cpu(0), &msg), -1);
	msg.dest = ~0u;
	CHECK_EQ(wafer_deliver(&vm, cpu(0), &msg), 20);
	CHECK_EQ(who(0x40), 0xfffff);
	CHECK_EQ(send(0x21, true, 0, 0x40), 2);	/* an MSI reaches cluster 0 */
	CHECK_EQ(who(0x40), 0x21);
	free_vm();
}

TEST(broadcast_quirk)
{
	struct wafer_irq_msg ipi = {
		.dest = 0xff, .vector = 0x41, .assert = true, .x2apic_dest = true,
	};
	unsigned int i;

	make_vm(WAFER_CHIP_SPLIT, 2);
	add_vcpu(255);
	for (i = 0; i < 3; i++)
		to_x2apic(i);
	CHECK_EQ(send(0xff, false, 0, 0x40), 3);
	CHECK_EQ(who(0x40), 7);
	CHECK_EQ(wafer_deliver(&vm, cpu(0), &ipi), 1);	/* an x2APIC's IPI means the id */
	CHECK_EQ(who(0x41), 4);
	vm.irq.x2apic_no_broadcast_quirk = true;
	CHECK_EQ(send(0xff, false, 0, 0x40), 1);
	CHECK_EQ(who(0x40), 4);
	CHECK_EQ(send(~0u, false, 0, 0x40), 3);
	free_vm();
}

TEST(lowest_priority)
{
	unsigned int i, v;
	u32 seen = 0, one;

	make_vm(WAFER_CHIP_SPLIT, 4);
	for (i = 0; i < 4; i++)
		apic_write(i, APIC_LDR, 1u << (24 + i));
	wafer_apic_set_reg(cpu(2)->lapic, APIC_SPIV, 0xff);
	for (v = 0x40; v < 0x60; v++) {
		CHECK_EQ(send(0xff, true, 1, v), 1);
		one = who(v);
		CHECK_EQ(one & (one - 1), 0);
		seen |= one;
		CHECK_EQ(send(0xff, true, 1, v), 1);
		CHECK_EQ(who(v), one);		/* and stays there */
	}
	CHECK_EQ(seen, 0xb);
	CHECK_EQ(send(4, true, 1, 0x40), -1);
	free_vm();
}

static struct kvm_irq_routing_entry msi_route(u32 gsi, u32 lo, u32 data)
{
	return (struct kvm_irq_routing_entry){
		.gsi = gsi, .type = KVM_IRQ_ROUTING_MSI,
		.u.msi = { .address_lo = 0xfee00000 | lo, .data = data },
	};
}

static struct kvm_irq_routing_entry pin_route(u32 gsi, u32 chip, u32 pin)
{
	return (struct kvm_irq_routing_entry){
		.gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP,
		.u.irqchip = { .irqchip = chip, .pin = pin },
	};
}

static int route(const struct kvm_irq_routing_entry e)
{
	return wafer_set_routing(&vm, &e, 1);
}

TEST(default_table)
{
	unsigned int gsi;

	make_vm(WAFER_CHIP_FULL, 1);
	for (gsi = 0; gsi < 24; gsi++) {
		CHECK_EQ(wafer_pin_gsi(&vm, KVM_IRQCHIP_IOAPIC, gsi), gsi);
		if (gsi < 16)
			CHECK_EQ(wafer_pin_gsi(&vm, gsi / 8, gsi % 8), gsi);
	}
	CHECK_EQ(wafer_set_gsi(&vm, WAFER_SRC_USER, 24, 1), -1);
	CHECK_EQ(wafer_set_gsi(&vm, WAFER_SRC_USER, ~0u, 1), -1);
	outb(0x21, 0xff);
	CHECK_EQ(wafer_set_gsi(&vm, WAFER_SRC_USER, 4, 1), -1);
	ioapic_reg(0x18, 0x34);
	CHECK_EQ(wafer_set_gsi(&vm, WAFER_SRC_USER, 4, 0), 1);
	CHECK_EQ(wafer_set_gsi(&vm, WAFER_SRC_USER, 4, 1), 1);	/* PIC masked, I/O APIC delivers */
	CHECK_EQ(wafer_set_gsi(&vm, WAFER_SRC_USER, 4, 1), 0);
	free_vm();
}

TEST(routing_rules)
{
	struct kvm_irq_routing_entry e[4];

	make_vm(WAFER_CHIP_NONE, 0);
	CHECK_EQ(route(msi_route(1, 0, 0)), -EINVAL);
	free_vm();
	make_vm(WAFER_CHIP_SPLIT, 1);
	CHECK_EQ(route(pin_route(1, 2, 1)), -EINVAL);
	CHECK_EQ(route(msi_route(4095, 0, 0x41)), 0);
	CHECK_EQ(route(msi_route(4096, 0, 0)), -EINVAL);
	CHECK_EQ(wafer_set_gsi(&vm, WAFER_SRC_USER, 4095, 1), 1);	/* the old table stays */
	CHECK_EQ(wafer_set_gsi(&vm, WAFER_SRC_USER, 4095, 1), 0);
	CHECK_EQ(wafer_set_gsi(&vm, WAFER_SRC_USER, 4095, 0), -1);
	CHECK_EQ(wafer_set_routing(&vm, NULL, 0), 0);
	CHECK_EQ(wafer_set_gsi(&vm, WAFER_SRC_USER, 4095, 1), -1);
	free_vm();

	make_vm(WAFER_CHIP_FULL, 1);
	CHECK_EQ(route(pin_route(1, 0, 7)), 0);
	CHECK_EQ(route(pin_route(1, 0, 8)), -EINVAL);
	CHECK_EQ(route(pin_route(1, 1, 8)), -EINVAL);
	CHECK_EQ(route(pin_route(1, 2, 23)), 0);
	CHECK_EQ(route(pin_route(1, 2, 24)), -EINVAL);
	CHECK_EQ(route(pin_route(1, 3, 0)), -EINVAL);
	e[0] = pin_route(1, 0, 1);
	e[0].flags = 1;
	CHECK_EQ(route(e[0]), -EINVAL);
	e[0] = msi_route(1, 0, 0x41);
	e[0].flags = KVM_MSI_VALID_DEVID;
	CHECK_EQ(route(e[0]), 0);
	e[0].flags = 2;
	CHECK_EQ(route(e[0]), -EINVAL);
	e[0].flags = 0;
	e[0].type = KVM_IRQ_ROUTING_HV_SINT;
	CHECK_EQ(route(e[0]), -EINVAL);

	e[0] = pin_route(7, 0, 1);
	e[1] = msi_route(3, 0, 0x41);
	e[2] = pin_route(7, 2, 3);
	e[3] = pin_route(7, 1, 2);
	CHECK_EQ(wafer_set_routing(&vm, e, 4), 0);
	CHECK_EQ(wafer_pin_gsi(&vm, 0, 1), 7);
	CHECK_EQ(wafer_pin_gsi(&vm, 1, 2), 7);
	CHECK_EQ(wafer_pin_gsi(&vm, 2, 3), 7);
	CHECK_EQ(wafer_pin_gsi(&vm, 2, 7), -1);
	e[3] = pin_route(7, 2, 4);
	CHECK_EQ(wafer_set_routing(&vm, e, 4), -EINVAL);
	e[3] = msi_route(7, 0, 0x41);
	CHECK_EQ(wafer_set_routing(&vm, e, 4), -EINVAL);
	e[3] = msi_route(3, 0, 0x42);
	CHECK_EQ(wafer_set_routing(&vm, e, 4), -EINVAL);
	CHECK_EQ(wafer_pin_gsi(&vm, 1, 2), 7);
	free_vm();
}

TEST(messages)
{
	struct kvm_msi msi = { .address_lo = 0xfee01000, .address_hi = 0x1ff, .data = 0x4041 };

	make_vm(WAFER_CHIP_NONE, 0);
	CHECK_EQ(wafer_signal_msi(&vm, &msi), -EINVAL);
	free_vm();
	make_vm(WAFER_CHIP_SPLIT, 2);
	add_vcpu(0x101);
	to_x2apic(2);
	CHECK_EQ(wafer_signal_msi(&vm, &msi), 1);	/* the high half is ignored */
	CHECK_EQ(who(0x41), 2);
	msi.flags = 1;
	CHECK_EQ(wafer_signal_msi(&vm, &msi), -EINVAL);
	msi.flags = 0;
	vm.irq.x2apic_32bit_ids = true;
	CHECK_EQ(wafer_signal_msi(&vm, &msi), -EINVAL);
	msi.address_hi = 0x100;
	CHECK_EQ(wafer_signal_msi(&vm, &msi), 1);
	CHECK_EQ(who(0x41), 4);
	msi.address_hi = 0x200;
	CHECK_EQ(wafer_signal_msi(&vm, &msi), 0);
	vm.irq.x2apic_32bit_ids = false;
	msi = (struct kvm_msi){ .address_lo = 0xfee03000 | 4, .data = 0x42 };
	apic_write(0, APIC_LDR, 1 << 24);
	apic_write(1, APIC_LDR, 2 << 24);
	CHECK_EQ(wafer_signal_msi(&vm, &msi), 2);
	free_vm();
	make_vm(WAFER_CHIP_SPLIT, 2);
	apic_write(0, APIC_LDR, 1 << 24);
	apic_write(1, APIC_LDR, 2 << 24);
	CHECK_EQ(wafer_signal_msi(&vm, &msi), 2);
	who(0x42);
	msi.address_lo |= 8;			/* redirection hint: one is enough */
	CHECK_EQ(wafer_signal_msi(&vm, &msi), 1);
	free_vm();
}

TEST(split_eoi_exit)
{
	struct kvm_irq_routing_entry e[3] = {
		msi_route(5, 0, 0x8051), msi_route(30, 0, 0x8052), msi_route(6, 0, 0x53),
	};
	u8 v;

	make_vm(WAFER_CHIP_SPLIT, 1);
	CHECK_EQ(wafer_set_routing(&vm, e, 3), 0);
	for (v = 0x51; v <= 0x53; v++) {
		u32 gsi = v == 0x51 ? 5 : v == 0x52 ? 30 : 6;

		CHECK_EQ(wafer_set_gsi(&vm, WAFER_SRC_USER, gsi, 1), 1);
		CHECK_EQ(take_irq(0), v);
		cpu(0)->hazards = 0;
		cpu(0)->eoi_exit = false;
		CHECK_EQ(apic_write(0, APIC_EOI, 0), 0);
		/* Level and one of the VMM's pins: it wants to know. */
		CHECK_EQ(cpu(0)->eoi_exit, v == 0x51);
		CHECK_EQ(test_bit(WAFER_H_EXIT, &cpu(0)->hazards), v == 0x51);
	}
	CHECK_EQ(cpu(0)->eoi_vector, 0x51);
	free_vm();
}

TEST(split_extint)
{
	make_vm(WAFER_CHIP_SPLIT, 1);
	cpu(0)->extint = 0x22;
	CHECK(wafer_irq_pending(cpu(0)));	/* LINT0 as the quirk leaves it */
	apic_write(0, APIC_LVT0, 0x10700);
	CHECK(!wafer_irq_pending(cpu(0)));
	apic_write(0, APIC_LVT0, 0x700);
	CHECK_EQ(wafer_irq_ack(cpu(0)), 0x22);
	CHECK_EQ(cpu(0)->extint, -1);
	free_vm();
}

TEST(creation_rules)
{
	make_vm(WAFER_CHIP_FULL, 0);
	CHECK_EQ(wafer_create_irqchip(&vm), -EEXIST);
	CHECK_EQ(wafer_enable_split_irqchip(&vm, 24), -EEXIST);
	free_vm();
	make_vm(WAFER_CHIP_NONE, 1);
	CHECK_EQ(wafer_create_irqchip(&vm), -EINVAL);
	CHECK_EQ(wafer_enable_split_irqchip(&vm, 24), -EEXIST);
	free_vm();
	make_vm(WAFER_CHIP_NONE, 0);
	CHECK_EQ(wafer_enable_split_irqchip(&vm, 4097), -EINVAL);
	CHECK_EQ(wafer_enable_split_irqchip(&vm, 4096), 0);
	free_vm();
}

/* ---- the bus ---- */

static int io_write(u64 addr, u32 len, u64 val)
{
	return wafer_bus(cpu(0), WAFER_BUS_MMIO, addr, len, &val, true);
}

static int io(int fd, u64 addr, u32 len, s64 match, u32 flags)
{
	struct kvm_ioeventfd args = {
		.fd = fd, .addr = addr, .len = len, .datamatch = match,
		.flags = flags | (match >= 0 ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0),
	};

	return wafer_ioeventfd(&vm, &args);
}

#define DEASSIGN KVM_IOEVENTFD_FLAG_DEASSIGN

TEST(ioeventfds)
{
	make_vm(WAFER_CHIP_SPLIT, 1);
	memset(shim_eventfd, 0, sizeof(shim_eventfd));
	CHECK_EQ(io(10, 0x1000, 2, 0, 0), 0);
	CHECK_EQ(io(11, 0x1000, 2, 1, 0), 0);
	CHECK_EQ(io(12, 0x1000, 2, 1, 0), -EEXIST);
	CHECK_EQ(io(12, 0x1000, 2, -1, 0), -EEXIST);
	CHECK_EQ(io(12, 0x1000, 0, -1, 0), -EEXIST);
	CHECK_EQ(io(12, 0x1000, 4, -1, 0), 0);
	CHECK_EQ(io(13, 0x1002, 0, -1, 0), 0);
	CHECK_EQ(io(14, 0x1000, 4, -1, KVM_IOEVENTFD_FLAG_PIO), 0);
	CHECK_EQ(io_write(0x1000, 2, 0), 0);
	CHECK_EQ(io_write(0x1000, 2, 1), 0);
	CHECK_EQ(io_write(0x1000, 2, 2), -EOPNOTSUPP);
	CHECK_EQ(io_write(0x1000, 1, 0), -EOPNOTSUPP);
	CHECK_EQ(io_write(0x1001, 2, 0), -EOPNOTSUPP);
	CHECK_EQ(io_write(0x1000, 4, 99), 0);
	CHECK_EQ(io_write(0x1002, 1, 99), 0);
	CHECK_EQ(io_write(0x1002, 8, 99), 0);
	CHECK_EQ(shim_eventfd[0].count, 1);
	CHECK_EQ(shim_eventfd[1].count, 1);
	CHECK_EQ(shim_eventfd[2].count, 1);
	CHECK_EQ(shim_eventfd[3].count, 2);
	CHECK_EQ(shim_eventfd[4].count, 0);
	/* Deassigning asks for the very same. */
	CHECK_EQ(io(11, 0x1000, 2, 0, DEASSIGN), -ENOENT);
	CHECK_EQ(io(10, 0x1000, 2, -1, DEASSIGN), -ENOENT);
	CHECK_EQ(io(10, 0x1000, 4, 0, DEASSIGN), -ENOENT);
	CHECK_EQ(io(10, 0x1000, 2, 0, DEASSIGN | KVM_IOEVENTFD_FLAG_PIO), -ENOENT);
	CHECK_EQ(io(10, 0x1000, 2, 0, DEASSIGN), 0);
	CHECK_EQ(io(10, 0x1000, 2, 0, DEASSIGN), -ENOENT);
	CHECK_EQ(io_write(0x1000, 2, 0), -EOPNOTSUPP);
	CHECK_EQ(io_write(0x1000, 2, 1), 0);
	/* Bad arguments. */
	CHECK_EQ(io(9, 0x1000, 2, 0, 0), -EBADF);
	CHECK_EQ(io(10, 0x1000, 3, -1, 0), -EINVAL);
	CHECK_EQ(io(10, 0x1000, 16, -1, 0), -EINVAL);
	CHECK_EQ(io(10, 0x1000, 0, 5, 0), -EINVAL);
	CHECK_EQ(io(10, ~0ull, 4, -1, 0), -EINVAL);
	CHECK_EQ(io(10, ~0ull, 0, -1, 0), -EINVAL);
	CHECK_EQ(io(10, 0x1000, 2, -1, 8), -EINVAL);
	free_vm();
	CHECK_EQ(shim_eventfd[0].refs | shim_eventfd[1].refs | shim_eventfd[2].refs |
		 shim_eventfd[3].refs | shim_eventfd[4].refs, 0);
}

static int zone(u64 addr, u32 size, u32 pio, bool add)
{
	struct kvm_coalesced_mmio_zone z = { .addr = addr, .size = size, .pio = pio };

	return wafer_coalesced_zone(&vm, &z, add);
}

TEST(coalesced)
{
	struct kvm_coalesced_mmio_ring *ring;
	unsigned int i;

	make_vm(WAFER_CHIP_SPLIT, 1);
	ring = vm.irq.coalesced_ring;
	CHECK_EQ(zone(0xa0000, 0x1000, 0, true), 0);
	CHECK_EQ(zone(0xa0000, 0x1000, 2, true), -EINVAL);
	CHECK_EQ(zone(~0ull, 2, 0, true), -EINVAL);
	CHECK_EQ(zone(0, 0, 0, true), -EINVAL);
	CHECK_EQ(io_write(0xa0000, 4, 0x11223344), 0);
	CHECK_EQ(io_write(0xa0ffc, 4, 5), 0);
	CHECK_EQ(io_write(0xa0ffd, 4, 5), -EOPNOTSUPP);
	CHECK_EQ(io_write(0xa1000, 4, 5), -EOPNOTSUPP);
	CHECK_EQ(ring->last, 2);
	CHECK_EQ(ring->coalesced_mmio[0].phys_addr, 0xa0000);
	CHECK_EQ(ring->coalesced_mmio[0].len, 4);
	CHECK_EQ(ring->coalesced_mmio[0].pio, 0);
	CHECK_EQ(*(u32 *)ring->coalesced_mmio[0].data, 0x11223344);
	for (i = 2; i < KVM_COALESCED_MMIO_MAX - 1; i++)
		CHECK_EQ(io_write(0xa0000, 1, i), 0);
	CHECK_EQ(io_write(0xa0000, 1, i), -EOPNOTSUPP);	/* full: one stays free */
	ring->first = 1;
	CHECK_EQ(io_write(0xa0000, 1, i), 0);
	CHECK_EQ(ring->last, 0);
	/* What the VMM makes of the indices. */
	ring->last = KVM_COALESCED_MMIO_MAX;
	CHECK_EQ(io_write(0xa0000, 1, i), -EOPNOTSUPP);
	ring->last = ~0u;
	CHECK_EQ(io_write(0xa0000, 1, i), -EOPNOTSUPP);
	ring->last = 0;
	ring->first = ~0u;
	CHECK_EQ(io_write(0xa0000, 1, i), 0);
	/* An ioeventfd within the zone goes first. */
	CHECK_EQ(io(10, 0xa0010, 4, -1, 0), 0);
	shim_eventfd[0].count = 0;
	CHECK_EQ(io_write(0xa0010, 4, 0), 0);
	CHECK_EQ(shim_eventfd[0].count, 1);
	CHECK_EQ(zone(0xa0000, 0x1000, 1, false), 0);	/* there is no such zone of ports */
	CHECK_EQ(io_write(0xa0000, 4, 0), 0);
	CHECK_EQ(zone(0xa0000, 0x1000, 0, false), 0);
	CHECK_EQ(io_write(0xa0000, 4, 0), -EOPNOTSUPP);
	CHECK_EQ(io_write(0xa0010, 4, 0), 0);
	for (i = 0; i < 1000; i++)
		CHECK_EQ(zone(0x100000 + i, 1, 1, true), 0);
	CHECK_EQ(zone(0x200000, 1, 1, true), -ENOSPC);
	free_vm();
}

/* The bus against a list that is searched from end to end. */
TEST(bus_search)
{
	struct { u64 addr; u32 len; bool on; } model[64] = { 0 };
	unsigned int i, j, n;
	u64 addr;

	make_vm(WAFER_CHIP_SPLIT, 1);
	for (i = 0; i < 20000; i++) {
		j = rnd() % 64;
		if (rnd() % 4 == 0 && model[j].on) {
			CHECK_EQ(io(10, model[j].addr, 2, j, DEASSIGN), 0);
			model[j].on = false;
		} else if (rnd() % 4 == 0 && !model[j].on) {
			model[j].addr = rnd() % 16;
			CHECK_EQ(io(10, model[j].addr, 2, j, 0), 0);
			model[j].on = true;
		}
		addr = rnd() % 16;
		n = model[j].on && model[j].addr == addr;
		CHECK_EQ(io_write(addr, 2, j), n ? 0 : -EOPNOTSUPP);
	}
	free_vm();
}

TAP_MAIN()
