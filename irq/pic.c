// SPDX-License-Identifier: GPL-2.0
/*
 * The two 8259A interrupt controllers of a PC and their edge/level control registers (Intel 8259A data sheet;
 * ELCR: 82371AB data sheet, §4.2.7).
 *
 * The registers are kept as struct kvm_pic_state has them. Polarity, buffered mode and the MCS-80 commands
 * mean nothing here.
 */
#include <linux/bitops.h>
#include <linux/kernel.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "chips.h"
#include "lapic.h"
#include "vm.h"

enum { MASTER, SLAVE };

#define CASCADE		2	/* the master's pin for the slave */
#define SPURIOUS	7
#define OCW2_ROTATE	BIT(2)	/* of its command, bits 7-5 */
#define OCW2_SPECIFIC	BIT(1)
#define OCW2_EOI	BIT(0)

/* Pins 0, 1, 2, 8 and 13 are the PC's own and always edge-triggered. */
static const u8 elcr_masks[] = { 0xf8, 0xde };

/* The place in the order of priorities of the first of the lines @set; 8: none. */
static unsigned int first(const struct kvm_pic_state *s, u8 set)
{
	unsigned int add = s->priority_add & 7;

	set = set >> add | set << (8 - add);
	return set ? __ffs(set) : 8;
}

static unsigned int line_at(const struct kvm_pic_state *s, unsigned int place)
{
	return (place + s->priority_add) & 7;
}

/* The line that the chip asks its INT for, or -1. */
static int requesting(struct wafer_pic *pic, unsigned int chip)
{
	const struct kvm_pic_state *s = &pic->chip[chip];
	unsigned int place = first(s, s->irr & ~s->imr);
	u8 blocking = s->isr;

	if (s->special_mask)
		blocking &= ~s->imr;
	if (s->special_fully_nested_mode && chip == MASTER)
		blocking &= ~BIT(CASCADE);
	return place < first(s, blocking) ? (int)line_at(s, place) : -1;
}

/* The output follows. A vCPU that takes ExtINT is told of a rising one, and looks by itself after that. */
static void update(struct wafer_pic *pic)
{
	bool was = pic->output;
	struct wafer_vcpu *vcpu;
	unsigned int i;

	if (requesting(pic, SLAVE) >= 0)
		pic->chip[MASTER].irr |= BIT(CASCADE);
	else
		pic->chip[MASTER].irr &= ~BIT(CASCADE);
	WRITE_ONCE(pic->output, requesting(pic, MASTER) >= 0);
	if (was || !pic->output)
		return;
	wafer_for_each_vcpu(i, vcpu, pic->vm)
		if (wafer_irq_accepts_extint(vcpu))
			wafer_vcpu_raise(vcpu, WAFER_H_EVENT);
}

/* 1; 0: it was requested already, or there is no edge; -1: masked */
static int set_line(struct kvm_pic_state *s, u8 bit, bool level)
{
	int r = 1;

	if (!level) {
		s->last_irr &= ~bit;
		if (s->elcr & bit)
			s->irr &= ~bit;
	} else if (s->elcr & bit || !(s->last_irr & bit)) {
		r = !(s->irr & bit);
		s->irr |= bit;
		s->last_irr |= bit;
	} else {
		r = 0;
	}
	return s->imr & bit ? -1 : r;
}

/**
 * wafer_pic_set() - drive a pin
 * @vm: VM with a PIC
 * @pin: 0-15; 8-15 are the slave's
 * @source: who drives it
 * @level: level
 *
 * Context: any.
 * Return: 1; 0: coalesced; -1: masked.
 */
int wafer_pic_set(struct wafer_vm *vm, unsigned int pin, enum wafer_irq_source source, bool level)
{
	struct wafer_pic *pic = vm->irq.pic;
	unsigned long flags;
	int r;

	raw_spin_lock_irqsave(&pic->lock, flags);
	level = wafer_drive(&pic->sources[pin], source, level);
	r = set_line(&pic->chip[pin / 8], BIT(pin % 8), level);
	update(pic);
	raw_spin_unlock_irqrestore(&pic->lock, flags);
	return r;
}

/* INTA for @line. Return: the lines of which the interrupt is over with it (automatic EOI). */
static u8 intack(struct kvm_pic_state *s, unsigned int line)
{
	if (!(s->elcr & BIT(line)))
		s->irr &= ~BIT(line);
	if (!s->auto_eoi) {
		s->isr |= BIT(line);
		return 0;
	}
	if (s->rotate_on_auto_eoi)
		s->priority_add = (line + 1) & 7;
	return BIT(line);
}

static void tell_acked(struct wafer_vm *vm, unsigned int chip, unsigned long lines)
{
	unsigned int line;

	for_each_set_bit(line, &lines, 8)
		wafer_pin_acked(vm, chip, line);
}

int wafer_pic_ack(struct wafer_vcpu *vcpu)
{
	struct wafer_pic *pic = vcpu->vm->irq.pic;
	struct kvm_pic_state *master = &pic->chip[MASTER], *slave = &pic->chip[SLAVE];
	u8 acked[2] = { 0, 0 };
	int line, vector;

	if (!raw_spin_trylock(&pic->lock))
		return -EAGAIN;
	line = requesting(pic, MASTER);
	if (line >= 0)
		acked[MASTER] = intack(master, line);
	else
		line = SPURIOUS;	/* the request went away meanwhile */
	vector = master->irq_base + line;
	if (line == CASCADE) {
		line = requesting(pic, SLAVE);
		if (line >= 0)
			acked[SLAVE] = intack(slave, line);
		else
			line = SPURIOUS;
		vector = slave->irq_base + line;
	}
	update(pic);
	raw_spin_unlock(&pic->lock);
	tell_acked(vcpu->vm, MASTER, acked[MASTER]);
	tell_acked(vcpu->vm, SLAVE, acked[SLAVE]);
	return vector & 0xff;
}

/* ICW1: what was requested by an edge is forgotten. */
static void init_word(struct kvm_pic_state *s, u8 val)
{
	s->irr &= s->elcr;
	s->last_irr = 0;
	s->imr = 0;
	s->isr = 0;
	s->priority_add = 0;
	s->special_mask = 0;
	s->read_reg_select = 0;
	s->poll = 0;
	s->init4 = val & 1;
	if (!s->init4) {
		s->special_fully_nested_mode = 0;
		s->auto_eoi = 0;
	}
	s->init_state = 1;
}

/* OCW2: end of interrupt, priorities. Return: the lines that were ended. */
static u8 eoi_word(struct kvm_pic_state *s, u8 val)
{
	unsigned int line = val & 7, command = val >> 5, place;

	if (!(command & OCW2_EOI)) {
		if (command & OCW2_SPECIFIC) {
			if (command & OCW2_ROTATE)
				s->priority_add = (line + 1) & 7;
		} else {
			s->rotate_on_auto_eoi = !!(command & OCW2_ROTATE);
		}
		return 0;
	}
	if (!(command & OCW2_SPECIFIC)) {
		place = first(s, s->isr);
		if (place == 8)
			return 0;
		line = line_at(s, place);
	}
	if (command & OCW2_ROTATE)
		s->priority_add = (line + 1) & 7;
	s->isr &= ~BIT(line);
	return BIT(line);
}

/* Port 20 or a0. Return: the lines that were ended. */
static u8 write_command(struct kvm_pic_state *s, u8 val)
{
	if (val & BIT(4)) {
		init_word(s, val);
		return 0;
	}
	if (!(val & BIT(3)))
		return eoi_word(s, val);
	if (val & BIT(2))		/* OCW3 */
		s->poll = 1;
	if (val & BIT(1))
		s->read_reg_select = val & 1;
	if (val & BIT(6))
		s->special_mask = val >> 5 & 1;
	return 0;
}

/* Port 21 or a1: the rest of the initialisation, or the mask. */
static void write_data(struct kvm_pic_state *s, u8 val)
{
	switch (s->init_state) {
	case 1:
		s->irq_base = val & 0xf8;
		s->init_state = 2;
		break;
	case 2:		/* ICW3: the cascade is wired */
		s->init_state = s->init4 ? 3 : 0;
		break;
	case 3:
		s->special_fully_nested_mode = val >> 4 & 1;
		s->auto_eoi = val >> 1 & 1;
		s->init_state = 0;
		break;
	default:
		s->imr = val;
	}
}

/* Both chips have their ports 128 apart; 4d0 and 4d1 are the ELCRs. */
static unsigned int chip_of(gpa_t port)
{
	return (port & 0xf0) == 0xd0 ? port & 1 : port >> 7 & 1;
}

static int pic_write(struct wafer_vcpu *vcpu, struct wafer_bus_dev *dev, gpa_t port,
		     unsigned int len, const void *val, bool window)
{
	struct wafer_pic *pic = vcpu->vm->irq.pic;
	unsigned int chip = chip_of(port);
	struct kvm_pic_state *s = &pic->chip[chip];
	unsigned long flags;
	u8 acked = 0, byte = *(const u8 *)val;
	bool unblock = false;

	if (len != 1)
		return 0;
	if (window && wafer_has_resamplers(vcpu->vm))
		return -EAGAIN;
	if (!wafer_chip_lock(&pic->lock, &flags, window))
		return -EAGAIN;
	if (port >= 0x4d0) {
		s->elcr = byte & s->elcr_mask;
	} else if (port & 1) {
		unblock = s->init_state == 0;
		write_data(s, byte);
	} else {
		acked = write_command(s, byte);
		unblock = s->init_state == 1;
	}
	update(pic);
	wafer_chip_unlock(&pic->lock, flags);
	tell_acked(vcpu->vm, chip, acked);
	if (unblock)
		wafer_pit_unblock(vcpu->vm);
	return 0;
}

/* A poll is an INTA by software. */
static u8 poll(struct wafer_pic *pic, unsigned int chip, u8 *acked)
{
	int line = requesting(pic, chip);

	pic->chip[chip].poll = 0;
	if (line < 0)
		return 0;
	*acked = intack(&pic->chip[chip], line);
	update(pic);
	return 0x80 | line;
}

static int pic_read(struct wafer_vcpu *vcpu, struct wafer_bus_dev *dev, gpa_t port,
		    unsigned int len, void *val, bool window)
{
	struct wafer_pic *pic = vcpu->vm->irq.pic;
	unsigned int chip = chip_of(port);
	struct kvm_pic_state *s = &pic->chip[chip];
	unsigned long flags;
	u8 acked = 0, byte;

	memset(val, 0, len);
	if (len != 1)
		return 0;
	if (!wafer_chip_lock(&pic->lock, &flags, window))
		return -EAGAIN;
	if (port >= 0x4d0)
		byte = s->elcr;
	else if (s->poll)
		byte = poll(pic, chip, &acked);
	else if (port & 1)
		byte = s->imr;
	else
		byte = s->read_reg_select ? s->isr : s->irr;
	wafer_chip_unlock(&pic->lock, flags);
	tell_acked(vcpu->vm, chip, acked);
	*(u8 *)val = byte;
	return 0;
}

static const struct wafer_bus_ops pic_ops = { .read = pic_read, .write = pic_write };

int wafer_pic_create(struct wafer_vm *vm)
{
	static const u16 ports[] = { 0x20, 0xa0, 0x4d0 };
	struct wafer_pic *pic = kzalloc(sizeof(*pic), GFP_KERNEL_ACCOUNT);
	int i, r = 0;

	if (!pic)
		return -ENOMEM;
	raw_spin_lock_init(&pic->lock);
	pic->vm = vm;
	for (i = 0; i < 2; i++)
		pic->chip[i].elcr_mask = elcr_masks[i];
	vm->irq.pic = pic;
	for (i = 0; i < ARRAY_SIZE(ports) && !r; i++) {
		pic->ports[i] = (struct wafer_bus_dev){ &pic_ops, ports[i], 2 };
		r = wafer_bus_add(vm, WAFER_BUS_PIO, &pic->ports[i]);
	}
	if (r)
		wafer_pic_free(vm);
	return r;
}

/* At the VM's end the buses are gone already, and taking devices off them is nothing. */
void wafer_pic_free(struct wafer_vm *vm)
{
	struct wafer_pic *pic = vm->irq.pic;
	int i;

	if (!pic)
		return;
	for (i = 0; i < ARRAY_SIZE(pic->ports); i++)
		wafer_bus_del(vm, WAFER_BUS_PIO, &pic->ports[i]);
	vm->irq.pic = NULL;
	kfree(pic);
}

void wafer_pic_get(struct wafer_vm *vm, unsigned int chip, struct kvm_pic_state *s)
{
	struct wafer_pic *pic = vm->irq.pic;
	unsigned long flags;

	raw_spin_lock_irqsave(&pic->lock, flags);
	*s = pic->chip[chip];
	raw_spin_unlock_irqrestore(&pic->lock, flags);
}

/* Whatever the registers hold, the model stays within its bounds: only bits of them are ever used as numbers. */
void wafer_pic_put(struct wafer_vm *vm, unsigned int chip, const struct kvm_pic_state *s)
{
	struct wafer_pic *pic = vm->irq.pic;
	unsigned long flags;

	raw_spin_lock_irqsave(&pic->lock, flags);
	pic->chip[chip] = *s;
	pic->chip[chip].elcr_mask = elcr_masks[chip];
	pic->chip[chip].elcr &= elcr_masks[chip];
	update(pic);
	/* A new state has its requests told anew. */
	if (pic->output) {
		WRITE_ONCE(pic->output, false);
		update(pic);
	}
	raw_spin_unlock_irqrestore(&pic->lock, flags);
	wafer_pit_unblock(vm);
}
