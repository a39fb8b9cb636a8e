// SPDX-License-Identifier: GPL-2.0
/*
 * Exceptions, NMIs and interrupts on their way into the guest.
 *
 * vcpu->reinject is what the next entry delivers: chosen here, or found in delivery by the last
 * exit. The backend programs it before each entry until an exit says that it was taken.
 * vcpu->pending is an exception that waits behind it.
 */
#include "compat.h"
#include "core.h"

/* Contributory exceptions (SDM vol. 3 table 6-5): two of them, or one after #PF, make a #DF. */
#define CONTRIBUTORY (BIT(X86_TRAP_DE) | BIT(X86_TRAP_TS) | BIT(X86_TRAP_NP) |	\
		      BIT(X86_TRAP_SS) | BIT(X86_TRAP_GP))

static bool is_in(u32 set, u8 vector)
{
	return vector < 32 && set & BIT(vector);
}

/**
 * wafer_queue_event() - an exception for the guest
 * @vcpu: vCPU, its mutex held
 * @ev: WAFER_EV_EXCEPTION, WAFER_EV_SOFT_EXC or WAFER_EV_PRIV_SOFT
 *
 * If an exception is in delivery or waiting already, the two are combined as the CPU does (SDM vol.
 * 3 §6.15, table 6-5). If they are to be handled one after the other, the instruction is restarted
 * and raises the first again, so that the second alone is delivered now.
 */
void wafer_queue_event(struct wafer_vcpu *vcpu, const struct wafer_event *ev)
{
	const struct wafer_event df = wafer_exception(X86_TRAP_DF, true, 0);
	struct wafer_event *first = vcpu->pending.kind != WAFER_EV_NONE ?
				    &vcpu->pending : &vcpu->reinject;
	bool was_pf = first->vector == X86_TRAP_PF;

	wafer_hazard_set(vcpu, WAFER_H_EVENT);
	if (first->kind != WAFER_EV_EXCEPTION) {
		vcpu->pending = *ev;
		return;
	}
	first->kind = WAFER_EV_NONE;
	if (first->vector == X86_TRAP_DF) {
		vcpu->triple_fault = true;
		wafer_hazard_set(vcpu, WAFER_H_EXIT);
	} else if (is_in(CONTRIBUTORY | BIT(X86_TRAP_PF), first->vector) &&
		   is_in(CONTRIBUTORY | (was_pf ? BIT(X86_TRAP_PF) : 0), ev->vector)) {
		vcpu->pending = df;
	} else {
		vcpu->pending = *ev;
	}
}

struct wafer_event wafer_exception(u8 vector, bool has_error, u32 error)
{
	/* INT3 and INTO have one byte */
	bool soft = vector == X86_TRAP_BP || vector == X86_TRAP_OF;

	return (struct wafer_event){
		.kind = soft ? WAFER_EV_SOFT_EXC : WAFER_EV_EXCEPTION,
		.vector = vector, .insn_len = soft,
		.has_error = has_error, .error = has_error ? error : 0,
	};
}

int wafer_queue_exception(struct wafer_vcpu *vcpu, u8 vector, u32 error)
{
	struct wafer_event ev = wafer_exception(vector, wafer_pushes_error(vector), error);

	wafer_queue_event(vcpu, &ev);
	return WAFER_GO_ON;
}

/* #DB with these bits for DR6. */
void wafer_queue_db(struct wafer_vcpu *vcpu, u64 dr6)
{
	struct wafer_event ev = {
		.kind = WAFER_EV_EXCEPTION, .vector = X86_TRAP_DB,
		.has_payload = true, .payload = dr6,
	};

	wafer_queue_event(vcpu, &ev);
}

/**
 * wafer_deliver_payload() - move an exception's payload into its register
 * @vcpu: vCPU
 * @ev: event; has_payload is cleared
 *
 * #PF: CR2. #DB: the bits of DR6, whose active-low bits (RTM, BLD) come inverted, as KVM's payload
 * has them.
 */
void wafer_deliver_payload(struct wafer_vcpu *vcpu, struct wafer_event *ev)
{
	if (!ev->has_payload)
		return;
	ev->has_payload = false;
	if (ev->vector == X86_TRAP_PF) {
		wafer_put_cr2(vcpu, ev->payload);
	} else if (ev->vector == X86_TRAP_DB) {
		wafer_need(vcpu, WAFER_G_DR);
		vcpu->arch.dr6 &= ~0xfull;	/* B0-B3 tell of this one alone; BD, BS, BT stick */
		vcpu->arch.dr6 |= 0xffff0ff0 | ev->payload;
		vcpu->arch.dr6 ^= ev->payload & 0x10800;
		if (vcpu->arch.dr7 & WAFER_DR7_GD)
			wafer_hazard_set(vcpu, WAFER_H_INTERCEPT);	/* the CPU's follows */
		vcpu->arch.dr7 &= ~WAFER_DR7_GD;
		wafer_touch(vcpu, WAFER_G_DR);
	}
}

static bool shadowed(struct wafer_vcpu *vcpu)
{
	return wafer_block(vcpu) & (WAFER_BLOCK_STI | WAFER_BLOCK_MOVSS);
}

/* The debugger lets no interrupt and no NMI in: a window would end each entry at once, for ever. */
static bool held_back(struct wafer_vcpu *vcpu)
{
	return vcpu->guest_debug & KVM_GUESTDBG_BLOCKIRQ;
}

/* Can a maskable interrupt be delivered at the next entry? */
static bool can_take_irq(struct wafer_vcpu *vcpu)
{
	return vcpu->reinject.kind == WAFER_EV_NONE && vcpu->pending.kind == WAFER_EV_NONE &&
	       !held_back(vcpu) && wafer_rflags(vcpu) & X86_EFLAGS_IF && !shadowed(vcpu);
}

/* KVM_RUN's ready_for_interrupt_injection: is there room for a vector from the VMM's PIC? */
bool wafer_ready_for_extint(struct wafer_vcpu *vcpu)
{
	return can_take_irq(vcpu) && vcpu->extint < 0 && wafer_irq_accepts_extint(vcpu);
}

/* Has the window that the VMM asked for opened? Then it is told, and asks anew. */
bool wafer_irq_window_opens(struct wafer_vcpu *vcpu)
{
	if (!vcpu->want_irq_window || !wafer_ready_for_extint(vcpu))
		return false;
	vcpu->want_irq_window = false;
	wafer_hazard_set(vcpu, WAFER_H_EVENT);
	wafer_to_user(vcpu, KVM_EXIT_IRQ_WINDOW_OPEN);
	return true;
}

/*
 * Chooses what the next entry delivers, by the CPU's priorities (SDM vol. 3 table 6-2). -EAGAIN:
 * the PIC was busy
 */
static int choose(struct wafer_vcpu *vcpu)
{
	int vector;

	if (vcpu->reinject.kind != WAFER_EV_NONE)
		return 0;
	if (vcpu->pending.kind != WAFER_EV_NONE) {
		wafer_deliver_payload(vcpu, &vcpu->pending);
		/* Faults push RF set (SDM vol. 3 §17.3.1.1); #DB as a trap does not. */
		if (vcpu->pending.kind == WAFER_EV_EXCEPTION && vcpu->pending.vector != X86_TRAP_DB)
			wafer_put_rflags(vcpu, wafer_rflags(vcpu) | X86_EFLAGS_RF);
		vcpu->reinject = vcpu->pending;
		vcpu->pending.kind = WAFER_EV_NONE;
	} else if (atomic_read(&vcpu->nmi_pending) && !held_back(vcpu) &&
		   !(wafer_block(vcpu) & WAFER_BLOCK_NMI) && !shadowed(vcpu)) {
		atomic_dec(&vcpu->nmi_pending);
		vcpu->reinject = (struct wafer_event){
			.kind = WAFER_EV_NMI, .vector = X86_TRAP_NMI,
		};
	} else if (wafer_irq_pending(vcpu) && can_take_irq(vcpu)) {
		vector = wafer_irq_ack(vcpu);
		if (vector == -EAGAIN)
			return -EAGAIN;
		if (vector >= 0)
			vcpu->reinject = (struct wafer_event){
				.kind = WAFER_EV_EXTINT, .vector = vector,
			};
	}
	vcpu->stat_injected += vcpu->reinject.kind != WAFER_EV_NONE;
	return 0;
}

/* Which windows must be open so that what still waits is not forgotten. */
static void open_windows(struct wafer_vcpu *vcpu)
{
	u32 which = atomic_read(&vcpu->nmi_pending) && !held_back(vcpu) ? WAFER_WINDOW_NMI : 0;
	u8 tpr = 0;

	/*
	 * While the local APIC masks ExtINT the VMM's window stays shut: it would open before each
	 * instruction, for nothing.
	 */
	if ((vcpu->want_irq_window && wafer_irq_accepts_extint(vcpu)) || wafer_irq_pending(vcpu))
		which |= held_back(vcpu) ? 0 : WAFER_WINDOW_IRQ;
	else if (vcpu->lapic)
		tpr = wafer_irq_tpr_threshold(vcpu);
	if (which != vcpu->windows || tpr != vcpu->tpr_threshold) {
		vcpu->windows = which;
		vcpu->tpr_threshold = tpr;
		wafer_backend->windows(vcpu, which, tpr);
	}
}

/**
 * wafer_inject_events() - at WAFER_H_EVENT: choose the next event and open windows for the rest
 * @vcpu: vCPU, in the window
 *
 * Return: WAFER_GO_ON; WAFER_TO_USER: the VMM asked for an interrupt window and here it is;
 * WAFER_LEAVE: the PIC's lock was busy, or the guest has died of a triple fault.
 */
int wafer_inject_events(struct wafer_vcpu *vcpu)
{
	clear_bit(WAFER_H_EVENT, &vcpu->hazards);
	/* the bit is down before IRRs are read: what comes later raises it again */
	smp_mb__after_atomic();
	/* While one NMI is in service one waits, the others are lost (SDM vol. 3 §6.7.1). */
	if (unlikely(atomic_read(&vcpu->nmi_pending) > 1) &&
	    (wafer_block(vcpu) & WAFER_BLOCK_NMI || vcpu->reinject.kind == WAFER_EV_NMI))
		atomic_set(&vcpu->nmi_pending, 1);
	if (wafer_irq_window_opens(vcpu))
		return WAFER_TO_USER;
	if (choose(vcpu)) {
		wafer_hazard_set(vcpu, WAFER_H_EVENT);
		return WAFER_LEAVE;
	}
	open_windows(vcpu);
	if (vcpu->pending.kind != WAFER_EV_NONE) {
		/*
		 * An exception behind an event in delivery: leave the guest right after that, and
		 * look again.
		 */
		vcpu->after_exit |= WAFER_AFTER_EVENT;
		smp_send_reschedule(smp_processor_id());
	}
	return WAFER_GO_ON;
}
