/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Interrupt controllers and their wiring, the device bus, eventfds.
 *
 * Contexts: what is marked "any" may be called with interrupts off and from interrupt handlers
 * (irqfd wake-ups, timers); its locks are raw spinlocks taken with interrupts off, held for a
 * bounded time and never while waiting for another CPU. What is marked "window" runs in the run
 * loop: it takes no lock but by trylock.
 */
#ifndef WAFER_IRQ_H
#define WAFER_IRQ_H

#include <linux/kvm.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>

#include "refuse.h"
#include "types.h"

struct wafer_vm;
struct wafer_vcpu;
struct wafer_lapic;	/* irq/lapic.h */
struct wafer_chips;	/* irq/chips.h */
struct wafer_routes;

enum wafer_chip_mode { WAFER_CHIP_NONE, WAFER_CHIP_SPLIT, WAFER_CHIP_FULL };

#define WAFER_MAX_GSI	4096

/**
 * struct wafer_irq - a VM's interrupt wiring, embedded in struct wafer_vm
 * @mode: set once under vm->lock, before the first vCPU; read anywhere (release/acquire)
 * @x2apic_32bit_ids: KVM_CAP_X2APIC_API flag 1: MSI addresses and KVM_SET_LAPIC carry 32-bit ids
 * @x2apic_no_broadcast_quirk: flag 2: destination 0xff is an id like any other in x2APIC mode
 * @ids_written: a guest has written an xAPIC's id: several may answer to one
 * @pit: the PIT is there, or comes with @chips: its last place on the bus; under vm->lock
 * @split_pins: reserved I/O APIC routes of the split chip
 * @chips: [I] PIC, I/O APIC and PIT, once created
 * @routes: RCU; replaced as a whole under @lock
 * @lock: mutex over all that is set up: routes, buses, eventfds, zones
 * @irqfds: RCU list, changed under @lock
 * @nr_resamplers: those of them with KVM_IRQFD_FLAG_RESAMPLE; written under @lock
 * @coalesced_ring: struct kvm_coalesced_mmio_ring, one page, shared with the VMM; written under
 *	@ring_lock
 * @ring_lock: for @coalesced_ring
 */
struct wafer_irq {
	enum wafer_chip_mode mode;
	bool x2apic_32bit_ids, x2apic_no_broadcast_quirk, ids_written;
	u8 pit;
	u16 split_pins;
	struct wafer_chips *chips;
	struct wafer_routes __rcu *routes;
	struct mutex lock;
	struct list_head irqfds;
	unsigned int nr_resamplers;
	void *coalesced_ring;
	raw_spinlock_t ring_lock;
};

/* Who drives a line: the levels of all are ORed per pin. */
enum wafer_irq_source { WAFER_SRC_USER, WAFER_SRC_RESAMPLE, WAFER_SRC_PIT };

int wafer_irq_init(struct wafer_vm *vm);
/*
 * Before vCPUs are freed: no irqfd or timer fires after it but a local APIC's, which ends with it.
 */
void wafer_irq_quiesce(struct wafer_vm *vm);
void wafer_irq_free(struct wafer_vm *vm);

/* ---- chips (ioctls; vm->lock held) ---- */
/* -EEXIST twice, -EINVAL after a vCPU */
int wafer_create_irqchip(struct wafer_vm *vm);
int wafer_enable_split_irqchip(struct wafer_vm *vm, u64 pins);
/* before the chip or after; -EEXIST, -ENXIO where no full chip can come */
int wafer_create_pit(struct wafer_vm *vm, u32 flags);
int wafer_irqchip_state(struct wafer_vm *vm, struct kvm_irqchip *chip, bool set);
int wafer_pit_state(struct wafer_vm *vm, struct kvm_pit_state2 *ps, bool set);
int wafer_reinject_control(struct wafer_vm *vm, bool reinject);

/* ---- routing and lines ---- */
int wafer_set_routing(struct wafer_vm *vm, const struct kvm_irq_routing_entry *e, unsigned int nr);
/* KVM_IRQ_LINE(_STATUS), irqfd, PIT: <0 ignored, 0 coalesced, >0 delivered. Any context. */
#define WAFER_PULSE 2	/* for a level: 1, then 0 */
int wafer_set_gsi(struct wafer_vm *vm, enum wafer_irq_source source, u32 gsi, int level);
int wafer_signal_msi(struct wafer_vm *vm, const struct kvm_msi *msi);

/* ---- eventfds (ioctls; sleep) ---- */
int wafer_irqfd(struct wafer_vm *vm, const struct kvm_irqfd *args);
int wafer_ioeventfd(struct wafer_vm *vm, const struct kvm_ioeventfd *args);
int wafer_coalesced_zone(struct wafer_vm *vm, const struct kvm_coalesced_mmio_zone *zone, bool add);

/* ---- device bus (irq/bus.c): in-kernel devices, ioeventfds, coalesced zones ---- */
enum wafer_bus_kind { WAFER_BUS_MMIO, WAFER_BUS_PIO, WAFER_NR_BUSES };	/* as the ABI's "pio" */

/* RCU-replaced sorted array. */
struct wafer_bus { struct wafer_bus_table __rcu *table; };

/*
 * @len 1-8 at @addr. 0 done; -EOPNOTSUPP nobody takes it, ask the VMM; -EAGAIN (only in the
 * window): a lock was busy or the device must sleep: try outside
 */
int wafer_bus_find(struct wafer_vcpu *vcpu, enum wafer_bus_kind kind, gpa_t addr, unsigned int len,
		   void *val, bool write);
/* The same; sooner done where most often nobody is found, as with ports. */
int wafer_bus_search(struct wafer_vcpu *vcpu, enum wafer_bus_kind kind, gpa_t addr,
		     unsigned int len, void *val, bool write);

/* ---- the CPU's side: what the run loop asks (irq/deliver.c) ---- */
/*
 * Window or vCPU thread: is there a maskable interrupt that the guest's TPR and priority let
 * through?
 */
bool wafer_irq_pending(struct wafer_vcpu *vcpu);
/*
 * Takes it: the vector (0-255), now in service (LAPIC) or acknowledged (PIC); -1 none; -EAGAIN: the
 * PIC's lock was busy
 */
int wafer_irq_ack(struct wafer_vcpu *vcpu);
/*
 * The lowest TPR class (CR8) that must be undercut for the highest pending interrupt, 0 none is
 * held back.
 */
u8 wafer_irq_tpr_threshold(struct wafer_vcpu *vcpu);
/*
 * Split or full chip: may KVM_INTERRUPT's / PIC's ExtINT reach this vCPU (LINT0, software enable)?
 */
bool wafer_irq_accepts_extint(struct wafer_vcpu *vcpu);

/* ---- local APIC ---- */
int wafer_lapic_create(struct wafer_vcpu *vcpu);	/* may sleep; vcpu->lapic */
void wafer_lapic_free(struct wafer_vcpu *vcpu);
/* init: INIT keeps the id and APIC_BASE */
void wafer_lapic_reset(struct wafer_vcpu *vcpu, bool init);
/* Window or not. The guest's CR8 as the hardware left it; and the other way round. */
void wafer_lapic_set_cr8(struct wafer_vcpu *vcpu, u8 cr8);
u8 wafer_lapic_get_cr8(struct wafer_vcpu *vcpu);
/*
 * MMIO page access, @offset 0-4095, window: true if in the window. 0; -EOPNOTSUPP (hw-disabled,
 * x2APIC); -EAGAIN
 */
int wafer_lapic_mmio(struct wafer_vcpu *vcpu, u32 offset, unsigned int len, void *val, bool write,
		     bool window);
/* x2APIC MSRs 0x800-0x8ff: 0, 1 (#GP), -EAGAIN (only in the window) */
int wafer_x2apic(struct wafer_vcpu *vcpu, u32 msr, u64 *val, bool write, bool window);
/* IA32_APIC_BASE: checks as the CPU does (guest) or as KVM does (host); 0 or 1 (#GP / -EINVAL) */
int wafer_apic_base_set(struct wafer_vcpu *vcpu, u64 val, bool host);
u64 wafer_tsc_deadline_get(struct wafer_vcpu *vcpu);
void wafer_tsc_deadline_set(struct wafer_vcpu *vcpu, u64 val);
/*
 * WAFER_H_TIMER: the timer has fired, make it an interrupt; or the guest's TSC offset or ratio has
 * changed. Window or not.
 */
void wafer_lapic_timer_due(struct wafer_vcpu *vcpu);
int wafer_lapic_get(struct wafer_vcpu *vcpu, struct kvm_lapic_state *s);
int wafer_lapic_set(struct wafer_vcpu *vcpu, const struct kvm_lapic_state *s);

/**
 * struct wafer_irq_msg - an interrupt message on its way to local APICs
 * @dest: destination id (8 bits; 32 with x2APIC)
 * @vector: vector
 * @mode: delivery mode: 0 fixed, 1 lowest, 2 SMI, 4 NMI, 5 INIT, 6 SIPI, 7 ExtINT
 * @shorthand: 0 none, 1 self, 2 all, 3 all but self
 * @logical: @dest is a logical destination
 * @level: triggered by level
 * @assert: with @level: assert, not de-assert
 * @x2apic_dest: @dest is an IPI's from an x2APIC: 0xff is an id, a logical one has cluster and
 *	members
 * @redir_hint: fixed: one of several destinations is enough
 */
struct wafer_irq_msg {
	u32 dest;
	u8 vector, mode, shorthand;
	bool logical, level, assert, x2apic_dest, redir_hint;
};

/*
 * Any context. @src: the sending vCPU or NULL. Return: number of vCPUs reached, 0 coalesced, <0
 * none matched.
 */
int wafer_deliver(struct wafer_vm *vm, struct wafer_vcpu *src, const struct wafer_irq_msg *msg);

#endif
