// SPDX-License-Identifier: GPL-2.0
/*
 * The local APIC's registers and priorities (SDM vol. 3 ch. 11, APM vol. 2 ch. 16).
 *
 * One table says who may read and write which register; what a write does is in write_reg().
 * Interrupts come in from any context through wafer_lapic_accept(), everything else belongs to the
 * vCPU's thread.
 */
#include "lapic.h"

/* Readable, writable in xAPIC (X) and x2APIC (N) mode. */
enum { XR = BIT(0), XW = BIT(1), NR = BIT(2), NW = BIT(3), RO = XR | NR, RW = RO | XW | NW };

/* What an LVT entry has; bits 12 and 14 are read-only, and read as 0. */
#define LVT	(APIC_LVT_MASKED | APIC_SEND_PENDING | APIC_VECTOR_MASK)
#define LVT_PIN	(LVT | APIC_MODE_MASK | APIC_INPUT_POLARITY | APIC_LVT_REMOTE_IRR | \
		 APIC_LVT_LEVEL_TRIGGER)
#define LVT_RO	(APIC_SEND_PENDING | APIC_LVT_REMOTE_IRR)

#define ICR_RESERVED (GENMASK(31, 20) | GENMASK(17, 16) | BIT(13))
#define REG(offset) WAFER_APIC_REG(offset)

/*
 * SDM vol. 3 tables 11-1 and 11-6. Bits that are not in @bits are dropped, in x2APIC mode refused.
 */
static const struct {
	u8 access;
	u32 bits;
} rules[WAFER_APIC_REGS] = {
	[REG(APIC_ID)] = { RO | XW, GENMASK(31, 24) },
	[REG(APIC_LVR)] = { RO }, [REG(APIC_TASKPRI)] = { RW, 0xff },
	[REG(APIC_ARBPRI)] = { XR }, [REG(APIC_PROCPRI)] = { RO }, [REG(APIC_EOI)] = { XW | NW },
	[REG(APIC_RRR)] = { XR }, [REG(APIC_LDR)] = { RO | XW, APIC_LDR_MASK },
	[REG(APIC_DFR)] = { XR | XW, GENMASK(31, 28) }, [REG(APIC_SPIV)] = { RW, 0x3ff },
	[REG(APIC_ISR) ... REG(APIC_IRR) + 7] = { RO }, [REG(APIC_ESR)] = { RW },
	[REG(APIC_ICR)] = { RW, GENMASK(31, 0) }, [REG(APIC_ICR2)] = { XR | XW, GENMASK(31, 24) },
	[REG(APIC_LVTT)] = { RW, LVT | APIC_LVT_TIMER_PERIODIC | APIC_LVT_TIMER_TSCDEADLINE },
	[REG(APIC_LVTTHMR) ... REG(APIC_LVTPC)] = { RW, LVT | APIC_MODE_MASK },
	[REG(APIC_LVT0) ... REG(APIC_LVT1)] = { RW, LVT_PIN }, [REG(APIC_LVTERR)] = { RW, LVT },
	[REG(APIC_TMICT)] = { RW, GENMASK(31, 0) }, [REG(APIC_TMCCT)] = { RO },
	[REG(APIC_TDCR)] = { RW, 0xb }, [REG(APIC_SELF_IPI)] = { NW, 0xff },
};

/* SDM vol. 3 §11.5.3. An error interrupt with an illegal vector is an error that cannot be told. */
static void note_error(struct wafer_lapic *apic, u32 bit)
{
	u32 lvt = wafer_apic_reg(apic, APIC_LVTERR);

	set_bit(__ffs(bit), &apic->errors);
	if (!(lvt & APIC_LVT_MASKED) && (lvt & APIC_VECTOR_MASK) >= 16)
		wafer_lapic_accept(apic, lvt & APIC_VECTOR_MASK, false);
}

/**
 * wafer_lapic_accept() - a fixed interrupt has arrived
 * @apic: local APIC
 * @vector: its vector
 * @level: triggered by level: its EOI is broadcast to the I/O APICs
 *
 * Context: any.
 * Return: 1; 0: coalesced with one that is pending already; -1: the vector is below 16 (SDM vol. 3
 * §11.5.2).
 */
int wafer_lapic_accept(struct wafer_lapic *apic, u8 vector, bool level)
{
	if (vector < 16) {
		note_error(apic, APIC_ESR_RECVILL);
		return -1;
	}
	if (level != test_bit(vector & 31, wafer_apic_bits(apic, APIC_TMR, vector)))
		assign_bit(vector & 31, wafer_apic_bits(apic, APIC_TMR, vector), level);
	/* Who set the bit raises the hazard, too: nothing to do for a second one. */
	if (test_and_set_bit(vector & 31, wafer_apic_bits(apic, APIC_IRR, vector)))
		return 0;
	WRITE_ONCE(apic->irr_maybe, 1);
	wafer_vcpu_raise(apic->vcpu, WAFER_H_EVENT);
	return 1;
}

/**
 * wafer_lapic_local() - the interrupt of a local vector table entry
 * @apic: local APIC
 * @lvt: offset of the entry
 *
 * Context: any.
 */
void wafer_lapic_local(struct wafer_lapic *apic, u32 lvt)
{
	u32 val = wafer_apic_reg(apic, lvt);

	if (val & APIC_LVT_MASKED || READ_ONCE(apic->mode) == WAFER_APIC_OFF)
		return;
	if (GET_APIC_DELIVERY_MODE(val) == WAFER_DM_FIXED)
		wafer_lapic_accept(apic, val & APIC_VECTOR_MASK, false);
	else if (GET_APIC_DELIVERY_MODE(val) == WAFER_DM_NMI)
		wafer_vcpu_nmi(apic->vcpu);
}

/* PPR (SDM vol. 3 §11.8.3.1) */
static int ppr(struct wafer_lapic *apic)
{
	int tpr = wafer_apic_reg(apic, APIC_TASKPRI), isrv = apic->isrv < 0 ? 0 : apic->isrv & 0xf0;

	return (tpr & 0xf0) >= isrv ? tpr : isrv;
}

/* Finding none is noted, so that the next look costs nothing. */
int wafer_lapic_requested(struct wafer_lapic *apic)
{
	int vector;

	if (!READ_ONCE(apic->irr_maybe) || apic->mode == WAFER_APIC_OFF)
		return -1;
	vector = wafer_highest_vector(apic, APIC_IRR);
	if (vector >= 0)
		return vector;
	WRITE_ONCE(apic->irr_maybe, 0);
	/* pairs with the atomic in wafer_lapic_accept(), which sets IRR before irr_maybe */
	smp_mb();
	vector = wafer_highest_vector(apic, APIC_IRR);
	if (vector >= 0)
		WRITE_ONCE(apic->irr_maybe, 1);
	return vector;
}

int wafer_lapic_pending(struct wafer_lapic *apic)
{
	int vector = wafer_lapic_requested(apic);

	return vector >> 4 > ppr(apic) >> 4 ? vector : -1;
}

int wafer_lapic_ack(struct wafer_lapic *apic)
{
	int vector = wafer_lapic_pending(apic);

	if (vector < 0)
		return -1;
	clear_bit(vector & 31, wafer_apic_bits(apic, APIC_IRR, vector));
	__set_bit(vector & 31, wafer_apic_bits(apic, APIC_ISR, vector));
	apic->isrv = vector;
	wafer_lapic_requested(apic);	/* most often that was all: let EOI know */
	return vector;
}

/* Priorities have changed in favour of what waits. Only by the vCPU's thread: no kick is needed. */
static void look_again(struct wafer_lapic *apic)
{
	if (READ_ONCE(apic->irr_maybe))
		wafer_hazard_set(apic->vcpu, WAFER_H_EVENT);
}

void wafer_lapic_set_tpr(struct wafer_lapic *apic, u8 tpr)
{
	wafer_apic_set_reg(apic, APIC_TASKPRI, tpr);
	apic->vcpu->last_cr8 = tpr >> 4;
	wafer_put_tpr(apic->vcpu, tpr >> 4);
	look_again(apic);
}

void wafer_lapic_set_cr8(struct wafer_vcpu *vcpu, u8 cr8)
{
	if (cr8 != wafer_lapic_get_cr8(vcpu))
		wafer_lapic_set_tpr(vcpu->lapic, cr8 << 4);
}

u8 wafer_lapic_get_cr8(struct wafer_vcpu *vcpu)
{
	return wafer_apic_reg(vcpu->lapic, APIC_TASKPRI) >> 4 & 0xf;
}

/*
 * The end of the highest interrupt in service. The I/O APIC is told first: if its lock is busy
 * nothing has been done yet, and the write can be repeated.
 */
static int end_of_interrupt(struct wafer_lapic *apic, bool window)
{
	int vector = apic->isrv, r;
	bool level;

	if (vector < 0)
		return 0;
	level = test_bit(vector & 31, wafer_apic_bits(apic, APIC_TMR, vector));
	r = wafer_eoi_broadcast(apic->vcpu, vector, level, window);
	if (r)
		return r;
	__clear_bit(vector & 31, wafer_apic_bits(apic, APIC_ISR, vector));
	apic->isrv = wafer_highest_vector(apic, APIC_ISR);
	look_again(apic);
	return 0;
}

/*
 * SDM vol. 3 §11.6.1. Trigger mode and level mean something for INIT alone. A message with an
 * illegal vector is not sent (§11.5.2).
 */
static void send_ipi(struct wafer_lapic *apic, u32 icr)
{
	u32 dest = wafer_apic_reg(apic, APIC_ICR2);
	bool x2apic = apic->mode == WAFER_X2APIC;
	struct wafer_irq_msg msg = wafer_message(x2apic ? dest : GET_XAPIC_DEST_FIELD(dest), icr);

	if (msg.mode <= WAFER_DM_LOWEST && msg.vector < 16) {
		note_error(apic, APIC_ESR_SENDILL);
		return;
	}
	msg.shorthand = icr >> 18 & 3;
	msg.x2apic_dest = x2apic;
	msg.assert = msg.mode != WAFER_DM_INIT || !msg.level || icr & APIC_INT_ASSERT;
	msg.level = false;
	wafer_deliver(apic->vcpu->vm, apic->vcpu, &msg);
}

/* @val has passed the table. 0; -EAGAIN: not in the window, and nothing was done. */
static int write_reg(struct wafer_lapic *apic, u32 offset, u32 val, bool window)
{
	u32 lvt;

	switch (offset) {
	case APIC_TASKPRI:
		wafer_lapic_set_tpr(apic, val);
		break;
	case APIC_EOI:
		return end_of_interrupt(apic, window);
	case APIC_SPIV:
		/* software-disabling masks all local interrupts (SDM vol. 3 §11.4.7.2) */
		wafer_apic_set_reg(apic, APIC_SPIV, val);
		for (lvt = APIC_LVTT; lvt <= APIC_LVTERR && !wafer_apic_enabled(apic); lvt += 16)
			wafer_apic_set_reg(apic, lvt, wafer_apic_reg(apic, lvt) | APIC_LVT_MASKED);
		break;
	case APIC_ESR:
		wafer_apic_set_reg(apic, APIC_ESR, xchg(&apic->errors, 0));
		break;
	case APIC_ICR:
		val &= ~APIC_ICR_BUSY;
		wafer_apic_set_reg(apic, APIC_ICR, val);
		send_ipi(apic, val);
		break;
	case APIC_LVTT ... APIC_LVTERR:
		val &= ~LVT_RO;
		val |= wafer_apic_enabled(apic) ? 0 : APIC_LVT_MASKED;
		/* LVT0: the PIC may reach this vCPU now */
		wafer_hazard_set(apic->vcpu, WAFER_H_EVENT);
		if (offset != APIC_LVTT) {
			wafer_apic_set_reg(apic, offset, val);
			break;
		}
		fallthrough;
	case APIC_TMICT:
	case APIC_TDCR:
		wafer_lapic_timer_write(apic, offset, val);
		break;
	case APIC_SELF_IPI:
		send_ipi(apic, val | APIC_DEST_SELF);
		break;
	case APIC_ID:		/* lasts until the mode is set */
		if (val >> 24 != (u8)apic->vcpu->id)
			WRITE_ONCE(apic->vcpu->vm->irq.ids_written, true);
		wafer_apic_set_reg(apic, APIC_ID, val);
		break;
	case APIC_DFR:
		val |= GENMASK(27, 0);
		fallthrough;
	default:
		wafer_apic_set_reg(apic, offset, val);
	}
	return 0;
}

static u32 read_reg(struct wafer_lapic *apic, u32 nr)
{
	if (nr == REG(APIC_PROCPRI))
		return ppr(apic);
	return nr == REG(APIC_TMCCT) ? wafer_lapic_timer_count(apic) : apic->reg[nr].val;
}

/**
 * wafer_lapic_mmio() - an access to the APIC's page
 * @vcpu: vCPU
 * @offset: in the page, below 4096
 * @len: 1-8
 * @val: result, or what is written
 * @write: write
 * @window: in the window
 *
 * Registers are 32 bits at multiples of 16; what is read beyond them is 0. They take aligned 32-bit
 * writes alone (SDM vol. 3 §11.4.1), others are dropped. Without an xAPIC behind the page, as the
 * quirk has it, reads give ones and writes go nowhere.
 *
 * Return: 0; -EOPNOTSUPP: the APIC is not there; -EAGAIN: not in the window, nothing was done.
 */
int wafer_lapic_mmio(struct wafer_vcpu *vcpu, u32 offset, unsigned int len, void *val, bool write,
		     bool window)
{
	struct wafer_lapic *apic = vcpu->lapic;
	u32 nr = array_index_nospec(offset >> 4, WAFER_APIC_REGS), at = offset & 15;
	bool allowed = offset >> 4 < WAFER_APIC_REGS && rules[nr].access & (write ? XW : XR);
	u64 reg = 0;

	if (unlikely(apic->mode != WAFER_XAPIC)) {
		if (!write)
			memset(val, 0xff, len);
		return vcpu->vm->quirks_disabled & KVM_X86_QUIRK_LAPIC_MMIO_HOLE ? -EOPNOTSUPP : 0;
	}
	if (write && (len != sizeof(u32) || at))
		return 0;
	if (!allowed)
		note_error(apic, APIC_ESR_ILLREGA);
	if (write)
		return allowed ? write_reg(apic, nr << 4, *(u32 *)val & rules[nr].bits, window) : 0;
	if (likely(allowed && len == sizeof(u32) && !at)) {
		*(u32 *)val = read_reg(apic, nr);
		return 0;
	}
	if (allowed && at < sizeof(u32))
		reg = read_reg(apic, nr) >> at * 8;
	memcpy(val, &reg, len);
	return 0;
}

/**
 * wafer_x2apic() - RDMSR and WRMSR of 0x800-0x8ff (SDM vol. 3 §11.12.1.2)
 * @vcpu: vCPU, with or without a local APIC
 * @msr: 0x800-0x8ff
 * @val: result, or what is written: reserved bits must be 0; EOI and ESR take nothing but 0
 * @write: WRMSR
 * @window: in the window
 *
 * Return: 0; 1: #GP; -EAGAIN: not in the window, nothing was done.
 */
int wafer_x2apic(struct wafer_vcpu *vcpu, u32 msr, u64 *val, bool write, bool window)
{
	struct wafer_lapic *apic = vcpu->lapic;
	u32 nr = array_index_nospec(msr - APIC_BASE_MSR, WAFER_APIC_REGS);
	bool icr = nr == REG(APIC_ICR);

	if (!apic || apic->mode != WAFER_X2APIC || msr - APIC_BASE_MSR >= WAFER_APIC_REGS ||
	    !(rules[nr].access & (write ? NW : NR)))
		return 1;
	if (!write) {
		*val = read_reg(apic, nr) | (icr ? (u64)wafer_apic_reg(apic, APIC_ICR2) << 32 : 0);
		return 0;
	}
	if (*val & (icr ? ICR_RESERVED : ~(u64)rules[nr].bits))
		return 1;
	if (icr)
		wafer_apic_set_reg(apic, APIC_ICR2, *val >> 32);
	return write_reg(apic, nr << 4, *val, window);
}
