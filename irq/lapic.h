/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The local APIC as the files of this room know it.
 *
 * Who protects what: [a] atomic, from any context; [v] the vCPU's thread (vcpu->mutex). What others
 * only look at when they match destinations (mode, LDR, DFR, SPIV, LVT0) is written with
 * WRITE_ONCE: a message that comes while the guest reprograms its APIC may find it before or after
 * the change, as on the bus.
 */
#ifndef WAFER_LAPIC_H
#define WAFER_LAPIC_H

#include <asm/apicdef.h>
#include "chips.h"

#define WAFER_APIC_REGS		64
#define WAFER_APIC_REG(offset)	((offset) >> 4)

/* IA32_APIC_BASE (SDM vol. 3 §11.4.4, §11.12.1) */
enum {
	WAFER_APIC_BASE_BSP = BIT(8), WAFER_APIC_BASE_X2 = BIT(10),
	WAFER_APIC_BASE_ENABLE = BIT(11),
};

enum wafer_apic_mode { WAFER_APIC_OFF, WAFER_XAPIC, WAFER_X2APIC };

/* Delivery modes of ICR, LVT, MSI and I/O APIC entries. */
enum {
	WAFER_DM_FIXED = 0, WAFER_DM_LOWEST = 1, WAFER_DM_SMI = 2, WAFER_DM_NMI = 4,
	WAFER_DM_INIT = 5, WAFER_DM_SIPI = 6, WAFER_DM_EXTINT = 7,
};

#define WAFER_NEVER ((u64)KTIME_MAX)

/**
 * struct wafer_lapic - a local APIC
 * @vcpu: [I] whose it is
 * @isrv: [v] highest vector in service, -1 none
 * @irr_maybe: [a] 0: IRR is empty. Set after a bit of IRR; cleared by [v], then a full barrier,
 *	then IRR is read
 * @mode: [v] enum wafer_apic_mode, follows vcpu->apic_base
 * @errors: [a] what the next write of ESR shows
 * @reg: [v] registers as in the APIC's page and in struct kvm_lapic_state. IRR [a] is set by
 *	anybody, cleared by the vCPU's thread; TMR [a] is written before the vector's IRR bit is
 *	set. PPR and the timer's count are computed
 * @timer: the local APIC timer; all of it is [v] but the hrtimer's expiry
 * @timer.hrtimer: does nothing but raise WAFER_H_TIMER
 * @timer.target: when the guest's timer is due, CLOCK_MONOTONIC ns; WAFER_NEVER
 * @timer.armed: when @timer.hrtimer will fire at the latest, as far as is known; may be earlier
 *	than @timer.target
 * @timer.period: of periodic mode, ns
 * @timer.tsc_deadline: IA32_TSC_DEADLINE
 */
struct wafer_lapic {
	struct wafer_vcpu *vcpu;
	int isrv, irr_maybe;
	u8 mode;
	unsigned long errors;
	struct { u32 val, pad[3]; } __aligned(16) reg[WAFER_APIC_REGS];
	struct {
		struct hrtimer hrtimer;
		u64 target, armed, period, tsc_deadline;
	} timer;
};

static inline u32 wafer_apic_reg(const struct wafer_lapic *apic, u32 offset)
{
	return READ_ONCE(apic->reg[WAFER_APIC_REG(offset)].val);
}

static inline void wafer_apic_set_reg(struct wafer_lapic *apic, u32 offset, u32 val)
{
	WRITE_ONCE(apic->reg[WAFER_APIC_REG(offset)].val, val);
}

/* Eight registers hold 256 bits: the one of @vector, whose bit is @vector & 31 there. */
static inline unsigned long *wafer_apic_bits(struct wafer_lapic *apic, u32 offset, u8 vector)
{
	return (unsigned long *)&apic->reg[WAFER_APIC_REG(offset) + vector / 32];
}

static inline int wafer_highest_vector(const struct wafer_lapic *apic, u32 offset)
{
	u32 word;

	for (int i = 7; i >= 0; i--) {
		word = wafer_apic_reg(apic, offset + i * 16);
		if (word)
			return i * 32 + __fls(word);
	}
	return -1;
}

/* Not software-disabled: takes fixed interrupts (SDM vol. 3 §11.4.7.2). */
static inline bool wafer_apic_enabled(const struct wafer_lapic *apic)
{
	return wafer_apic_reg(apic, APIC_SPIV) & APIC_SPIV_APIC_ENABLED;
}

/* ---- irq/deliver.c ---- */
/*
 * At EOI of @vector: tells I/O APICs and the VMM what they want to know. 0; -EAGAIN (window only):
 * nothing was done
 */
int wafer_eoi_broadcast(struct wafer_vcpu *vcpu, u8 vector, bool level, bool window);

/* ---- irq/lapic.c ---- */
/* any; 1, 0 coalesced, -1 illegal */
int wafer_lapic_accept(struct wafer_lapic *apic, u8 vector, bool level);
/* [v] CR8 follows */
void wafer_lapic_set_tpr(struct wafer_lapic *apic, u8 tpr);
/* any; an LVT entry's interrupt */
void wafer_lapic_local(struct wafer_lapic *apic, u32 lvt);
/* [v] highest vector in IRR, -1 */
int wafer_lapic_requested(struct wafer_lapic *apic);
/* [v] deliverable vector, -1 */
int wafer_lapic_pending(struct wafer_lapic *apic);
/* [v] the same, now in service */
int wafer_lapic_ack(struct wafer_lapic *apic);

/* ---- irq/lapic_timer.c; [v] ---- */
void wafer_lapic_timer_init(struct wafer_lapic *apic);
/* never fires again by itself */
void wafer_lapic_timer_stop(struct wafer_lapic *apic);
u32 wafer_lapic_timer_count(struct wafer_lapic *apic);			/* TMCCT */
/* of LVTT, TMICT, TDCR */
void wafer_lapic_timer_write(struct wafer_lapic *apic, u32 offset, u32 val);
void wafer_lapic_timer_restore(struct wafer_lapic *apic);		/* KVM_SET_LAPIC */

#endif
