/* SPDX-License-Identifier: GPL-2.0 */
/* PIC, I/O APIC, PIT, routing and the bus as the files of this room know them. */
#ifndef WAFER_CHIPS_H
#define WAFER_CHIPS_H

/* What all files of the room need, so that they need not say so. */
#include <linux/bitops.h>
#include <linux/irq_work.h>
#include <linux/kernel.h>
#include <linux/nospec.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "compat.h"
#include "vcpu.h"
#include "vm.h"

/* For those who come without vm->lock. */
static inline enum wafer_chip_mode wafer_chip_mode(struct wafer_vm *vm)
{
	/* Who sees the mode sees the chips. Pairs with the release in chips.c. */
	return smp_load_acquire(&vm->irq.mode);
}

/*
 * One rule for what user space hands in through @obj's descriptor: refused if @broken, else 0. To
 * be chained with ?:
 */
#define REFUSE_IF(broken, obj, err, field, value, rule) \
	((broken) ? wafer_refuse(&(obj)->refusal, err, field, value, rule) : 0)
#define RULE(broken, obj, field, value, rule) REFUSE_IF(broken, obj, -EINVAL, field, value, rule)

/*
 * A spinlock of this room: in the window only if it is free at once. Interrupts are off while it is
 * held, as it is taken by interrupt handlers (irqfds, timers), too. sparse can't follow a lock that
 * may not be had, so it is kept from it.
 */
static inline bool wafer_lock(raw_spinlock_t *lock, unsigned long *flags, bool window)
{
	if (!window)
		raw_spin_lock_irqsave(lock, *flags);
	else if (!raw_spin_trylock_irqsave(lock, *flags))
		return false;
	__release(lock);
	return true;
}

static inline void wafer_unlock(raw_spinlock_t *lock, unsigned long flags)
{
	__acquire(lock);
	raw_spin_unlock_irqrestore(lock, flags);
}

/* ---- irq/bus.c ---- */
struct wafer_bus_dev;

/**
 * struct wafer_bus_ops - what a device on the bus does
 * @access: @len 1-8 at @addr inside the range, or at its only byte; as wafer_bus_find().
 *	-EOPNOTSUPP: the next device is asked
 * @free: a grace period after it was taken off; NULL: the VM's end frees it
 */
struct wafer_bus_ops {
	int (*access)(struct wafer_vcpu *vcpu, struct wafer_bus_dev *dev, gpa_t addr,
		      unsigned int len, void *val, bool write);
	void (*free)(struct rcu_head *rcu);
};

struct wafer_bus_dev {
	const struct wafer_bus_ops *ops;
	enum wafer_bus_kind kind;
	/* bytes covered, at least 1 (an ioeventfd with length 0 covers 1) */
	u64 addr, len;
	struct rcu_head rcu;
};

/* 0; -ENOMEM; -ENOSPC. irq.lock held */
int wafer_bus_add(struct wafer_vm *vm, struct wafer_bus_dev *dev);
/* Can't fail and does not wait. irq.lock held */
void wafer_bus_del(struct wafer_vm *vm, struct wafer_bus_dev *dev);
/* The @i'th place of a bus: NULL at the end, an empty device where none is. irq.lock held */
struct wafer_bus_dev *wafer_bus_at(struct wafer_vm *vm, enum wafer_bus_kind kind, unsigned int i);
void wafer_bus_free(struct wafer_vm *vm);

/* ---- irq/chips.c ---- */
enum { MASTER, SLAVE, IOAPIC };	/* KVM_IRQCHIP_* */

#define WAFER_PIC_LINES		8
#define WAFER_IOAPIC_BASE	0xfec00000u
#define WAFER_PIT_UNSET		0xff	/* a channel's mode: not programmed since RESET */

/**
 * struct wafer_chips - the two 8259A, the I/O APIC (version 0x11: no EOI register) and the 8254 of
 * a PC
 * @lock: protects all of it but the atomics
 * @vm: [I] whose they are
 * @sources: levels by source (enum wafer_irq_source) of each pin
 * @pic: registers as KVM_GET_IRQCHIP has them
 * @intr: INTR of the master. Read without the lock by vCPUs; whoever raises it raises WAFER_H_EVENT
 *	after
 * @acked: PIC lines (slave's from 8) that were ended; told when the lock is given back
 * @unblock: a pin was set up anew, so that the PIT's last tick may never be taken; as @acked
 * @ioapic: registers as KVM_GET_IRQCHIP has them; in irr the pins that are asserted
 * @delivered: edge pins in irr of which the interrupt was sent
 * @pit_pin: the I/O APIC's pin that the PIT's line leads to, if any does: the EOI of its vector is
 *	asked for. No lock
 * @eois: level interrupts in a row that came back at their EOI
 * @storm: sends them later when there were too many
 * @pit: registers as KVM_GET_PIT2 has them; count 1-65536
 * @tick: channel 0's timer
 * @due: when channel 0's output rises next, CLOCK_MONOTONIC ns; WAFER_NEVER
 * @ticks: how many periods @due is after the load
 * @reinject: [a] make up for missed ticks
 * @waiting: [a] a tick was delivered and not acknowledged
 * @pending: [a] ticks to come
 * @next: sends the next one, from an interrupt of its own
 * @devs: places on the bus
 */
struct wafer_chips {
	raw_spinlock_t lock;
	struct wafer_vm *vm;
	u8 sources[KVM_NR_IRQCHIPS][KVM_IOAPIC_NUM_PINS];
	struct kvm_pic_state pic[2];
	bool intr, unblock;
	u16 acked, eois[KVM_IOAPIC_NUM_PINS];
	struct kvm_ioapic_state ioapic;
	u32 delivered, pit_pin;
	struct hrtimer storm;
	struct kvm_pit_state2 pit;
	struct hrtimer tick;
	u64 due, ticks;
	atomic_t reinject, waiting, pending;
	struct irq_work next;
	struct wafer_bus_dev devs[6];
};

/* As wafer_set_gsi() */
int wafer_set_pin(struct wafer_chips *c, unsigned int chip, unsigned int pin,
		  enum wafer_irq_source source, bool level);
/* Gives the lock back and tells what has happened under it. */
void wafer_chips_unlock(struct wafer_chips *c, unsigned long flags);

/* ---- irq/pic.c, ioapic.c, pit.c: the models; the lock is held if nothing else is said ---- */
void wafer_pic_init(struct wafer_chips *c);
u32 wafer_pic_read(struct wafer_chips *c, u32 port);
void wafer_pic_write(struct wafer_chips *c, u32 port, u32 val);
int wafer_pic_set(struct wafer_chips *c, unsigned int chip, unsigned int line, bool level);
void wafer_pic_restored(struct wafer_chips *c);
/* the vector; -EAGAIN: the lock was busy. Window, without the lock */
int wafer_pic_ack(struct wafer_chips *c);

void wafer_ioapic_init(struct wafer_chips *c);
u32 wafer_ioapic_read(struct wafer_chips *c, u32 addr);
void wafer_ioapic_write(struct wafer_chips *c, u32 addr, u32 val);
int wafer_ioapic_set(struct wafer_chips *c, unsigned int pin, bool level);
void wafer_ioapic_restored(struct wafer_chips *c);
/* A local APIC has ended @vector. 0; -EAGAIN (window only). Without the lock */
int wafer_ioapic_eoi(struct wafer_chips *c, u8 vector, bool level, bool window);

void wafer_pit_init(struct wafer_chips *c);
u32 wafer_pit_read(struct wafer_chips *c, u32 port);
void wafer_pit_write(struct wafer_chips *c, u32 port, u32 val);
void wafer_pit_restored(struct wafer_chips *c);
void wafer_pit_acked(struct wafer_chips *c);	/* any context: the guest has taken the last tick */
void wafer_pit_unblock(struct wafer_chips *c);	/* any context */

/* ---- irq/routing.c ---- */
#define WAFER_PIT_GSI 0
/* @e: checked; NULL: KVM's @nr default routes */
#define WAFER_DEFAULT_ROUTES (KVM_IOAPIC_NUM_PINS + 2 * WAFER_PIC_LINES)
int wafer_replace_routes(struct wafer_vm *vm, const struct kvm_irq_routing_entry *e, u32 nr);
/*
 * The guest has ended the interrupt of a chip's pin: whom does that concern? Outside the chips'
 * lock
 */
void wafer_pin_acked(struct wafer_vm *vm, unsigned int chip, unsigned int pin);
int wafer_pin_gsi(struct wafer_vm *vm, unsigned int chip, unsigned int pin);	/* -1 none */
/* Split chip: does a level-triggered route of a reserved pin send @vector? */
bool wafer_routes_level_vector(struct wafer_vm *vm, u8 vector);

/*
 * The message that ICR, I/O APIC entries and MSI data have in common: vector, mode, destination
 * mode, trigger mode. The same bits everywhere, but for MSIs, where an address bit says whether
 * @dest is logical.
 */
static inline struct wafer_irq_msg wafer_message(u32 dest, u32 bits)
{
	return (struct wafer_irq_msg){
		.dest = dest, .vector = bits & 0xff, .mode = bits >> 8 & 7, .assert = true,
		.logical = bits & BIT(11), .level = bits & BIT(15),
	};
}

/* ---- irq/irqfd.c ---- */
void wafer_resample(struct wafer_vm *vm, u32 gsi);
void wafer_irqfd_quiesce(struct wafer_vm *vm);

#endif
