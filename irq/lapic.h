/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The local APIC as the files of this room know it.
 *
 * Who protects what: [a] atomic, from any context; [v] the vCPU's thread (vcpu->mutex). What others only look at
 * when they match destinations (mode, LDR, DFR, SPIV, LVT0) is written with WRITE_ONCE: a message that comes
 * while the guest reprograms its APIC may find it before or after the change, as on the bus.
 */
#ifndef WAFER_LAPIC_H
#define WAFER_LAPIC_H

#include <linux/bitops.h>
#include <linux/hrtimer.h>
#include <asm/apicdef.h>

#include "irq.h"
#include "types.h"
#include "vcpu.h"

#define WAFER_APIC_REGS		64
#define WAFER_APIC_VERSION	0x50014u	/* integrated, LVT entries 0-5, no directed EOI */
#define WAFER_APIC_REG(offset)	((offset) >> 4)

/* IA32_APIC_BASE (SDM vol. 3 §11.4.4, §11.12.1) */
#define WAFER_APIC_BASE_BSP	BIT(8)
#define WAFER_APIC_BASE_X2	BIT(10)
#define WAFER_APIC_BASE_ENABLE	BIT(11)

enum wafer_apic_mode { WAFER_APIC_OFF, WAFER_XAPIC, WAFER_X2APIC };

/* Delivery modes of ICR, LVT, MSI and I/O APIC entries. */
enum {
	WAFER_DM_FIXED = 0, WAFER_DM_LOWEST = 1, WAFER_DM_SMI = 2, WAFER_DM_NMI = 4,
	WAFER_DM_INIT = 5, WAFER_DM_SIPI = 6, WAFER_DM_EXTINT = 7,
};

/**
 * struct wafer_lapic_timer - the local APIC timer; all of it is [v] but the hrtimer's expiry
 * @hrtimer: does nothing but raise WAFER_H_TIMER
 * @target: when the guest's timer is due, CLOCK_MONOTONIC ns; WAFER_NEVER
 * @armed: when @hrtimer will fire at the latest, as far as is known; may be earlier than @target
 * @period: of periodic mode, ns
 * @tsc_deadline: IA32_TSC_DEADLINE
 */
struct wafer_lapic_timer {
	struct hrtimer hrtimer;
	u64 target;
	u64 armed;
	u64 period;
	u64 tsc_deadline;
};

#define WAFER_NEVER ((u64)KTIME_MAX)

/**
 * struct wafer_lapic - a local APIC
 * @vcpu: [I] whose it is
 * @irr: [a] set by anybody, cleared by the vCPU's thread
 * @tmr: [a] written before the vector's IRR bit is set
 * @isr: [v]
 * @isrv: [v] highest vector in service, -1 none
 * @irr_maybe: [a] 0: @irr is empty. Set after a bit of @irr; cleared by [v], then a full barrier, then @irr is read
 * @mode: [v] enum wafer_apic_mode, follows vcpu->apic_base
 * @errors: [a] what the next write of ESR shows
 * @reg: [v] registers by offset / 16; those that are computed or kept elsewhere are unused here
 * @timer: [v]
 */
struct wafer_lapic {
	struct wafer_vcpu *vcpu;
	unsigned long irr[4];
	unsigned long tmr[4];
	unsigned long isr[4];
	int isrv;
	int irr_maybe;
	u8 mode;
	unsigned long errors;
	u32 reg[WAFER_APIC_REGS];
	struct wafer_lapic_timer timer;
};

static inline u32 wafer_apic_reg(const struct wafer_lapic *apic, u32 offset)
{
	return READ_ONCE(apic->reg[WAFER_APIC_REG(offset)]);
}

static inline void wafer_apic_set_reg(struct wafer_lapic *apic, u32 offset, u32 val)
{
	WRITE_ONCE(apic->reg[WAFER_APIC_REG(offset)], val);
}

/* Not software-disabled: takes fixed interrupts (SDM vol. 3 §11.4.7.2). */
static inline bool wafer_apic_enabled(const struct wafer_lapic *apic)
{
	return wafer_apic_reg(apic, APIC_SPIV) & APIC_SPIV_APIC_ENABLED;
}

/* The logical id in x2APIC mode follows from the id (SDM vol. 3 §11.12.10.2). */
static inline u32 wafer_x2apic_ldr(u32 id)
{
	return id >> 4 << 16 | 1u << (id & 15);
}

static inline int wafer_highest_vector(const unsigned long *words)
{
	int i;

	for (i = 3; i >= 0; i--) {
		unsigned long word = READ_ONCE(words[i]);

		if (word)
			return i * 64 + __fls(word);
	}
	return -1;
}

/* ---- irq/lapic.c ---- */
int wafer_lapic_accept(struct wafer_lapic *apic, u8 vector, bool level);	/* any; 1, 0 coalesced, -1 illegal */
void wafer_lapic_local(struct wafer_lapic *apic, u32 lvt);			/* any; an LVT entry's interrupt */
int wafer_lapic_pending(struct wafer_lapic *apic);				/* [v] deliverable vector, -1 */
int wafer_lapic_ack(struct wafer_lapic *apic);					/* [v] the same, now in service */

/* ---- irq/lapic_timer.c; [v] ---- */
void wafer_lapic_timer_init(struct wafer_lapic *apic);
void wafer_lapic_timer_stop(struct wafer_lapic *apic);			/* never fires again by itself */
void wafer_lapic_timer_cancel(struct wafer_lapic *apic);		/* waits for the callback */
u32 wafer_lapic_timer_count(struct wafer_lapic *apic);			/* TMCCT */
void wafer_lapic_timer_start(struct wafer_lapic *apic, u32 count);	/* after TMICT was written */
void wafer_lapic_timer_divide(struct wafer_lapic *apic, u32 tdcr);
void wafer_lapic_timer_mode(struct wafer_lapic *apic, u32 lvtt);
void wafer_lapic_timer_restore(struct wafer_lapic *apic, u32 count);	/* KVM_SET_LAPIC */

#endif
