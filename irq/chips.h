/* SPDX-License-Identifier: GPL-2.0 */
/* PIC, I/O APIC, PIT and routing as the files of this room know them. */
#ifndef WAFER_CHIPS_H
#define WAFER_CHIPS_H

#include <linux/hrtimer.h>
#include <linux/irq_work.h>
#include <linux/kvm.h>
#include <linux/spinlock.h>

#include "irq.h"
#include "types.h"
#include "vcpu.h"
#include "vm.h"

/* For those who come without vm->lock. */
static inline enum wafer_chip_mode wafer_chip_mode(struct wafer_vm *vm)
{
	/* Who sees the mode sees the chips. Pairs with the releases in chips.c. */
	return smp_load_acquire(&vm->irq.mode);
}

#define WAFER_PIC_PINS		16	/* both chips; slave's pins are 8-15 */
#define WAFER_IOAPIC_PINS	24
#define WAFER_IOAPIC_BASE	0xfec00000u
#define WAFER_IOAPIC_LEN	0x100

/* Levels of one pin by source (enum wafer_irq_source), ORed. Under the chip's lock. Return: the pin's level. */
static inline bool wafer_drive(u8 *sources, enum wafer_irq_source source, bool level)
{
	if (level)
		*sources |= BIT(source);
	else
		*sources &= ~BIT(source);
	return *sources;
}

/*
 * The lock of a chip: in the window only if it is free at once. Interrupts are off while it is held, as it is taken by
 * interrupt handlers (irqfds, timers), too. sparse can't follow a lock that may not be had, so it is kept from it.
 */
static inline bool wafer_chip_lock(raw_spinlock_t *lock, unsigned long *flags, bool window)
{
	if (!window)
		raw_spin_lock_irqsave(lock, *flags);
	else if (!raw_spin_trylock_irqsave(lock, *flags))
		return false;
	__release(lock);
	return true;
}

static inline void wafer_chip_unlock(raw_spinlock_t *lock, unsigned long flags)
{
	__acquire(lock);
	raw_spin_unlock_irqrestore(lock, flags);
}

/* ---- irq/deliver.c ---- */
/* At EOI of @vector: tells I/O APICs and the VMM what they want to know. 0; -EAGAIN (window only): nothing was done */
int wafer_eoi_broadcast(struct wafer_vcpu *vcpu, u8 vector, bool level, bool window);

/**
 * struct wafer_pic - the two 8259A of a PC
 * @lock: protects all of it
 * @vm: [I] whose it is
 * @chip: master, slave: registers as KVM_GET_IRQCHIP has them
 * @sources: levels by source
 * @output: INTR of the master. Read without the lock by vCPUs; whoever raises it raises WAFER_H_EVENT after
 * @ports: places on the bus
 */
struct wafer_pic {
	raw_spinlock_t lock;
	struct wafer_vm *vm;
	struct kvm_pic_state chip[2];
	u8 sources[WAFER_PIC_PINS];
	bool output;
	struct wafer_bus_dev ports[3];
};

int wafer_pic_create(struct wafer_vm *vm);
void wafer_pic_free(struct wafer_vm *vm);
int wafer_pic_set(struct wafer_vm *vm, unsigned int pin, enum wafer_irq_source source, bool level);
int wafer_pic_ack(struct wafer_vcpu *vcpu);	/* the vector; -EAGAIN: the lock was busy. Window */
void wafer_pic_get(struct wafer_vm *vm, unsigned int chip, struct kvm_pic_state *s);
void wafer_pic_put(struct wafer_vm *vm, unsigned int chip, const struct kvm_pic_state *s);

/**
 * struct wafer_ioapic - an I/O APIC of version 0x11 (no EOI register)
 * @lock: protects all of it
 * @vm: [I] whose it is
 * @id: of register IOAPICID
 * @select: IOREGSEL
 * @irr: pins that are asserted
 * @delivered: edge pins in @irr of which the interrupt was sent
 * @redir: redirection table
 * @sources: levels by source
 * @watch: vectors of edge pins whose EOI somebody asked for (the PIT); read without the lock
 * @eois: level interrupts in a row that came back at their EOI
 * @storm: sends them later when there were too many
 * @mmio: place on the bus
 */
struct wafer_ioapic {
	raw_spinlock_t lock;
	struct wafer_vm *vm;
	u32 id, select;
	u32 irr, delivered;
	u64 redir[WAFER_IOAPIC_PINS];
	u8 sources[WAFER_IOAPIC_PINS];
	unsigned long watch[4];
	u32 eois[WAFER_IOAPIC_PINS];
	struct hrtimer storm;
	struct wafer_bus_dev mmio;
};

int wafer_ioapic_create(struct wafer_vm *vm);
void wafer_ioapic_quiesce(struct wafer_vm *vm);
void wafer_ioapic_free(struct wafer_vm *vm);
int wafer_ioapic_set(struct wafer_vm *vm, unsigned int pin, enum wafer_irq_source source, bool level);
int wafer_ioapic_eoi(struct wafer_vcpu *vcpu, u8 vector, bool level, bool window);
void wafer_ioapic_get(struct wafer_vm *vm, struct kvm_ioapic_state *s);
void wafer_ioapic_put(struct wafer_vm *vm, const struct kvm_ioapic_state *s);
void wafer_ioapic_rewatch(struct wafer_vm *vm);	/* routes or the wish for acknowledgments have changed */

/* ---- irq/pit.c ---- */
void wafer_pit_quiesce(struct wafer_vm *vm);
void wafer_pit_free(struct wafer_vm *vm);
bool wafer_pit_wants_acks(struct wafer_vm *vm);
void wafer_pit_acked(struct wafer_vm *vm);	/* any context: the guest has taken the last tick */
void wafer_pit_unblock(struct wafer_vm *vm);	/* any: a pin was set up anew; the last tick may never be taken */

/* ---- irq/routing.c ---- */
#define WAFER_PIT_GSI 0
int wafer_set_default_routing(struct wafer_vm *vm);
void wafer_routes_free(struct wafer_vm *vm);
/* The guest has ended the interrupt of a chip's pin: whom does that concern? Outside the chip's lock */
void wafer_pin_acked(struct wafer_vm *vm, unsigned int chip, unsigned int pin);
int wafer_pin_gsi(struct wafer_vm *vm, unsigned int chip, unsigned int pin);	/* -1 none */
/* Split chip: does a level-triggered route of a reserved pin send @vector? */
bool wafer_routes_level_vector(struct wafer_vm *vm, u8 vector);

/* ---- irq/irqfd.c ---- */
bool wafer_has_resamplers(struct wafer_vm *vm);
void wafer_resample(struct wafer_vm *vm, u32 gsi);
void wafer_irqfd_quiesce(struct wafer_vm *vm);

/* ---- irq/ioeventfd.c, coalesced.c, bus.c ---- */
int __wafer_bus_add(struct wafer_vm *vm, enum wafer_bus_kind kind, struct wafer_bus_dev *dev);
void __wafer_bus_del(struct wafer_vm *vm, enum wafer_bus_kind kind, struct wafer_bus_dev *dev);
void wafer_ioeventfd_free(struct wafer_vm *vm);
void wafer_coalesced_free(struct wafer_vm *vm);
void wafer_bus_free(struct wafer_vm *vm);

#endif
