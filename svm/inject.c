// SPDX-License-Identifier: GPL-2.0
/*
 * Events on their way into the guest: injection, windows, NMI blocking, single steps.
 *
 * Without vNMI the CPU does not know that the guest is in an NMI's handler: the end of it is seen
 * by intercepting IRET. The exit comes before IRET is executed. It is let through (SVM_WATCH_IRET),
 * and NMIs are blocked until RIP has moved on. If one waits, IRET is single-stepped, so that it
 * exits right behind.
 */
#include <linux/smp.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "svm.h"

bool svm_nmi_blocked(const struct wafer_hw *hw)
{
	return svm_has(SVM_F_VNMI) ? hw->vmcb->int_ctl & SVM_V_NMI_BLOCKING : hw->nmi_blocked;
}

/* With vNMI, IRET matters only to a second NMI that waits for the end of the first. */
static void update_iret_icpt(struct wafer_hw *hw)
{
	bool wait = svm_has(SVM_F_VNMI) ? hw->watch & SVM_WATCH_NMI : hw->nmi_blocked;

	svm_icpt(hw, SVM_ICPT_IRET, wait && !(hw->watch & SVM_WATCH_IRET));
}

void svm_set_nmi_blocked(struct wafer_hw *hw, bool blocked)
{
	if (svm_nmi_blocked(hw) == blocked)
		return;
	hw->nmi_blocked = blocked;
	if (svm_has(SVM_F_VNMI)) {
		hw->vmcb->int_ctl ^= SVM_V_NMI_BLOCKING;
		hw->dirty |= SVM_DIRTY_INT_CTL;
	}
	hw->watch &= ~SVM_WATCH_IRET;
	update_iret_icpt(hw);
}

void svm_iret_exit(struct wafer_hw *hw)
{
	hw->watch |= SVM_WATCH_IRET;
	hw->iret_rip = hw->vmcb->rip;
	update_iret_icpt(hw);
}

/*
 * INT n, INT3 and INTO push the RIP behind them. A CPU with next-RIP takes that from the VMCB;
 * without it RIP itself is moved there for the injection, and moved back if the delivery was
 * interrupted by an exit.
 */
static void inject_soft(struct wafer_vcpu *vcpu, const struct wafer_event *ev)
{
	struct wafer_hw *hw = vcpu->hw;
	u64 next = wafer_rip(vcpu) + ev->insn_len;

	if (wafer_code_mode(vcpu) != WAFER_CODE64)
		next = (u32)next;
	hw->soft = *ev;
	hw->soft_rip = vcpu->arch.rip;
	hw->watch |= SVM_WATCH_SOFT;
	if (svm_has(SVM_F_NRIPS))
		hw->vmcb->next_rip = next;
	else
		wafer_put_rip(vcpu, next);
	hw->soft_start = vcpu->arch.rip;
}

/*
 * With vNMI the CPU blocks NMIs by itself when it delivers one, otherwise we do it ahead: after
 * what the core may have to say of blocking before this event, and its copy is stale from here on.
 */
static void inject_nmi(struct wafer_vcpu *vcpu)
{
	struct wafer_arch *a = &vcpu->arch;

	if (a->dirty & WAFER_G_BLOCK)
		svm_write_state(vcpu, WAFER_G_BLOCK);
	a->avail &= ~WAFER_G_BLOCK;
	if (!svm_has(SVM_F_VNMI))
		svm_set_nmi_blocked(vcpu->hw, true);
}

void svm_inject(struct wafer_vcpu *vcpu, const struct wafer_event *ev)
{
	struct svm_vmcb *v = vcpu->hw->vmcb;
	/* INT1, INT3 and INTO are exceptions here; the other kinds have VMX's numbers. */
	u8 type = ev->kind > WAFER_EV_SOFT_INT ? WAFER_EV_EXCEPTION : ev->kind;

	v->event_inj = ev->vector | type << SVM_EVENT_TYPE_SHIFT | SVM_EVENT_VALID |
		       (ev->has_error ? SVM_EVENT_HAS_ERROR : 0);
	v->event_error = ev->error;
	if (ev->kind >= WAFER_EV_SOFT_INT)
		inject_soft(vcpu, ev);
	else if (ev->kind == WAFER_EV_NMI)
		inject_nmi(vcpu);
}

#define V_IRQ_ANY_TPR (SVM_V_IRQ | SVM_V_INTR_PRIO | SVM_V_IGN_TPR)

/*
 * An interrupt window is a virtual interrupt that would be taken if its taking did not exit
 * (§15.21.4). The threshold of CR8 is watched by having its writes exit.
 */
void svm_windows(struct wafer_vcpu *vcpu, u32 which, u8 tpr)
{
	struct wafer_hw *hw = vcpu->hw;
	struct svm_vmcb *v = hw->vmcb;
	bool irq = which & WAFER_WINDOW_IRQ;

	if (irq != !!(v->int_ctl & SVM_V_IRQ)) {
		v->int_ctl = (v->int_ctl & ~V_IRQ_ANY_TPR) | (irq ? V_IRQ_ANY_TPR : 0);
		hw->dirty |= SVM_DIRTY_INT_CTL;
	}
	svm_icpt(hw, SVM_ICPT_VINTR, irq);
	if (which & WAFER_WINDOW_NMI)
		hw->watch |= SVM_WATCH_NMI;
	else
		hw->watch &= ~SVM_WATCH_NMI;
	update_iret_icpt(hw);
	hw->tpr = tpr;
	svm_icpt(hw, SVM_ICPT_CR_WRITE + 8, tpr || hw->icpt_cr8);
}

/*
 * Only with something in hw->watch. A step is due if it is asked for, or if the NMI that waits
 * could be taken one instruction later: behind the IRET that was let through, behind the shadow of
 * STI or MOV SS.
 *
 * RFLAGS.TF would be pushed by the delivery of an event: that one is ended by an interrupt of our
 * own instead, which is pending when the guest is entered and taken before the handler's first
 * instruction.
 */
void svm_before_entry(struct wafer_hw *hw)
{
	struct svm_vmcb *v = hw->vmcb;
	bool nmi_soon = hw->watch & SVM_WATCH_NMI &&
			(hw->watch & SVM_WATCH_IRET || !svm_nmi_blocked(hw));

	if (!nmi_soon && !(hw->watch & SVM_WATCH_STEP))
		return;
	if (v->event_inj & SVM_EVENT_VALID) {
		hw->stepping = SVM_STEP_KICK;
		smp_send_reschedule(smp_processor_id());
	} else {
		hw->stepping = SVM_STEP_TF;
		hw->own_tf = v->rflags & X86_EFLAGS_TF;
		v->rflags |= X86_EFLAGS_TF;
	}
}

/* The pair to svm_before_entry(), when the exit is decoded. */
void svm_after_exit(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	struct wafer_hw *hw = vcpu->hw;
	struct svm_vmcb *v = hw->vmcb;
	bool iret_done = hw->watch & SVM_WATCH_IRET && v->rip != hw->iret_rip;

	/*
	 * IRET has loaded TF from the guest's stack; other instructions have left ours where it
	 * was.
	 */
	if (hw->stepping == SVM_STEP_TF && !hw->own_tf && !iret_done)
		v->rflags &= ~(u64)X86_EFLAGS_TF;
	if (hw->stepping == SVM_STEP_KICK && hw->watch & SVM_WATCH_STEP &&
	    exit->kind == WAFER_EXIT_EXTINT && vcpu->reinject.kind == WAFER_EV_NONE)
		exit->kind = WAFER_EXIT_STEP;
	hw->stepping = SVM_STEP_NONE;
	hw->watch &= ~SVM_WATCH_SOFT;
	if (iret_done) {
		hw->watch &= ~SVM_WATCH_IRET;
		hw->nmi_blocked = false;
		update_iret_icpt(hw);
	}
	if (hw->watch & SVM_WATCH_NMI && !svm_nmi_blocked(hw))
		wafer_hazard_set(vcpu, WAFER_H_EVENT);
}

/*
 * The exit interrupted an event's delivery, or the entry was refused with one waiting. An
 * instruction that had caused a software interrupt is simply executed again, unless we had injected
 * that: then RIP need not even be at one.
 */
void svm_found_in_delivery(struct wafer_vcpu *vcpu, u32 info, u32 error)
{
	struct wafer_hw *hw = vcpu->hw;
	u8 vector = info & SVM_EVENT_VECTOR, type = (info & SVM_EVENT_TYPE) >> SVM_EVENT_TYPE_SHIFT;

	/*
	 * The delivery of ours may have raised an exception whose delivery was interrupted: not an
	 * instruction further.
	 */
	if (hw->watch & SVM_WATCH_SOFT && hw->vmcb->rip == hw->soft_start) {
		hw->vmcb->rip = hw->soft_rip;
		if (vector == hw->soft.vector) {
			vcpu->reinject = hw->soft;
			return;
		}
	}
	if (type == WAFER_EV_SOFT_INT ||
	    (type == WAFER_EV_EXCEPTION && (vector == X86_TRAP_BP || vector == X86_TRAP_OF)))
		return;
	vcpu->reinject = (struct wafer_event){
		.kind = type, .vector = vector,
		.error = error, .has_error = info & SVM_EVENT_HAS_ERROR,
	};
}
