// SPDX-License-Identifier: GPL-2.0
/*
 * The two 8259A interrupt controllers of a PC and their edge/level control registers (Intel 8259A
 * data sheet; ELCR: 82371AB data sheet, §4.2.7).
 *
 * The registers are kept as struct kvm_pic_state has them. Polarity, buffered mode and the MCS-80
 * commands mean nothing here.
 */
#include "chips.h"

#define CASCADE		2	/* the master's line for the slave */
#define SPURIOUS	7
enum { OCW2_EOI = BIT(5), OCW2_SPECIFIC = BIT(6), OCW2_ROTATE = BIT(7) };

/* The place in the order of priorities of the first of the lines @set; 8: none. */
static unsigned int first(const struct kvm_pic_state *s, u8 set)
{
	set = ror8(set, s->priority_add & 7);
	return set ? __ffs(set) : 8;
}

/* The line that the chip asks its INT for, or -1. */
static int requesting(struct wafer_chips *c, unsigned int chip)
{
	const struct kvm_pic_state *s = &c->pic[chip];
	unsigned int place = first(s, s->irr & ~s->imr);
	u8 blocking = s->isr;

	if (s->special_mask)
		blocking &= ~s->imr;
	if (s->special_fully_nested_mode && chip == MASTER)
		blocking &= ~BIT(CASCADE);
	return place < first(s, blocking) ? (int)(place + s->priority_add) & 7 : -1;
}

/*
 * The output follows. A vCPU that takes ExtINT is told of a rising one, and looks by itself after
 * that.
 */
static void update(struct wafer_chips *c)
{
	bool was = c->intr;
	struct wafer_vcpu *vcpu;

	c->pic[MASTER].irr &= ~BIT(CASCADE);
	if (requesting(c, SLAVE) >= 0)
		c->pic[MASTER].irr |= BIT(CASCADE);
	WRITE_ONCE(c->intr, requesting(c, MASTER) >= 0);
	if (was || !c->intr)
		return;
	wafer_for_each_vcpu(vcpu, c->vm)
		if (wafer_irq_accepts_extint(vcpu))
			wafer_vcpu_raise(vcpu, WAFER_H_EVENT);
}

/* 1; 0: it was requested already, or there is no edge; -1: masked */
int wafer_pic_set(struct wafer_chips *c, unsigned int chip, unsigned int line, bool level)
{
	struct kvm_pic_state *s = &c->pic[chip];
	u8 bit = BIT(line);
	int r = 1;

	if (!level) {
		s->last_irr &= ~bit;
		s->irr &= ~(s->elcr & bit);
	} else {
		r = !(s->irr & bit) && (s->elcr & bit || !(s->last_irr & bit));
		s->irr |= r ? bit : 0;
		s->last_irr |= bit;
	}
	update(c);
	return s->imr & bit ? -1 : r;
}

/*
 * INTA for the line that asks, which with automatic EOI ends it, too. -1: the request went away
 * meanwhile
 */
static int intack(struct wafer_chips *c, unsigned int chip)
{
	struct kvm_pic_state *s = &c->pic[chip];
	int line = requesting(c, chip);

	if (line < 0)
		return -1;
	if (!(s->elcr & BIT(line)))
		s->irr &= ~BIT(line);
	if (!s->auto_eoi) {
		s->isr |= BIT(line);
		return line;
	}
	if (s->rotate_on_auto_eoi)
		s->priority_add = (line + 1) & 7;
	c->acked |= BIT(line) << chip * WAFER_PIC_LINES;
	return line;
}

int wafer_pic_ack(struct wafer_chips *c)
{
	unsigned int chip = MASTER;
	unsigned long flags;
	int line;
	u8 vector;

	if (!wafer_lock(&c->lock, &flags, true))
		return -EAGAIN;
	line = intack(c, MASTER);
	if (line == CASCADE) {
		chip = SLAVE;
		line = intack(c, SLAVE);
	}
	vector = c->pic[chip].irq_base + (line < 0 ? SPURIOUS : line);
	update(c);
	wafer_chips_unlock(c, flags);
	return vector;
}

/* ICW1: what was requested by an edge is forgotten. */
static void init_word(struct wafer_chips *c, struct kvm_pic_state *s, u8 val)
{
	*s = (struct kvm_pic_state){
		.irr = s->irr & s->elcr, .elcr = s->elcr, .elcr_mask = s->elcr_mask,
		.irq_base = s->irq_base, .init4 = val & 1, .init_state = 1,
		.rotate_on_auto_eoi = s->rotate_on_auto_eoi,
		.auto_eoi = val & 1 ? s->auto_eoi : 0,
		.special_fully_nested_mode = val & 1 ? s->special_fully_nested_mode : 0,
	};
	c->unblock = true;
}

/* OCW2: end of interrupt, priorities. */
static void eoi_word(struct wafer_chips *c, unsigned int chip, u8 val)
{
	struct kvm_pic_state *s = &c->pic[chip];
	unsigned int line = val & 7, place = first(s, s->special_mask ? s->isr & ~s->imr : s->isr);

	if (!(val & (OCW2_EOI | OCW2_SPECIFIC)))
		s->rotate_on_auto_eoi = !!(val & OCW2_ROTATE);
	if (!(val & OCW2_SPECIFIC)) {
		if (!(val & OCW2_EOI) || place == 8)
			return;
		line = (place + s->priority_add) & 7;
	}
	if (val & OCW2_ROTATE)
		s->priority_add = (line + 1) & 7;
	if (val & OCW2_EOI) {
		s->isr &= ~BIT(line);
		c->acked |= BIT(line) << chip * WAFER_PIC_LINES;
	}
}

/* Port 20 or a0. */
static void write_command(struct wafer_chips *c, unsigned int chip, u8 val)
{
	struct kvm_pic_state *s = &c->pic[chip];

	if (val & BIT(4)) {
		init_word(c, s, val);
	} else if (val & BIT(3)) {	/* OCW3 */
		s->poll |= val >> 2 & 1;
		if (val & BIT(1))
			s->read_reg_select = val & 1;
		if (val & BIT(6))
			s->special_mask = val >> 5 & 1;
	} else {
		eoi_word(c, chip, val);
	}
}

/*
 * Port 21 or a1: the rest of the initialisation, or the mask. ICW3 says nothing new: the cascade is
 * wired.
 */
static void write_data(struct wafer_chips *c, struct kvm_pic_state *s, u8 val)
{
	u8 state = s->init_state;

	if (state == 1) {
		s->irq_base = val & 0xf8;
	} else if (state == 3) {
		s->special_fully_nested_mode = val >> 4 & 1;
		s->auto_eoi = val >> 1 & 1;
	} else if (state != 2) {
		s->imr = val;
		c->unblock = true;
	}
	s->init_state = state == 1 ? 2 : state == 2 && s->init4 ? 3 : 0;
}

/* Both chips have their ports 128 apart; 4d0 and 4d1 are the ELCRs. */
static unsigned int chip_of(u32 port)
{
	return port >= 0x4d0 ? port & 1 : port >> 7 & 1;
}

void wafer_pic_write(struct wafer_chips *c, u32 port, u32 val)
{
	unsigned int chip = chip_of(port);
	struct kvm_pic_state *s = &c->pic[chip];

	if (port >= 0x4d0)
		s->elcr = val & s->elcr_mask;
	else if (port & 1)
		write_data(c, s, val);
	else
		write_command(c, chip, val);
	update(c);
}

u32 wafer_pic_read(struct wafer_chips *c, u32 port)
{
	unsigned int chip = chip_of(port);
	struct kvm_pic_state *s = &c->pic[chip];
	int line;

	if (port >= 0x4d0)
		return s->elcr;
	if (!s->poll)
		return port & 1 ? s->imr : s->read_reg_select ? s->isr : s->irr;
	/* A poll is an INTA by software. */
	s->poll = 0;
	line = intack(c, chip);
	update(c);
	return line < 0 ? 0 : 0x80 | line;
}

/* Lines 0, 1, 2, 8 and 13 are the PC's own and always edge-triggered. */
void wafer_pic_init(struct wafer_chips *c)
{
	c->pic[MASTER].elcr_mask = 0xf8;
	c->pic[SLAVE].elcr_mask = 0xde;
}

/*
 * Whatever the registers hold, the model stays within its bounds: only bits of them are ever used
 * as numbers. A new state has its requests told anew.
 */
void wafer_pic_restored(struct wafer_chips *c)
{
	WRITE_ONCE(c->intr, false);
	update(c);
}
