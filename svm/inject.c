// SPDX-License-Identifier: GPL-2.0
/*
 * Events on their way into the guest: injection, windows, NMI blocking, single steps.
 *
 * Without vNMI the CPU does not know that the guest is in an NMI's handler: wafer_arch.block alone
 * does. The end of it is seen by intercepting IRET. The exit comes before IRET is executed. It is
 * let through (SVM_WATCH_IRET), and NMIs are blocked until RIP has moved on. If one waits, IRET is
 * single-stepped, so that it exits right behind.
 */
#include "svm.h"

/* With vNMI, IRET matters only to a second NMI that waits for the end of the first. */
static void update_iret_icpt(struct wafer_vcpu *vcpu)
{
	struct wafer_hw *hw = vcpu->hw;
	u32 wait = svm_has(VNMI) ? hw->watch & SVM_WATCH_NMI : vcpu->arch.block & WAFER_BLOCK_NMI;

	svm_icpt(hw, SVM_IRET, wait && !(hw->watch & SVM_WATCH_IRET));
}

void svm_write_block(struct wafer_vcpu *vcpu)
{
	struct wafer_hw *hw = vcpu->hw;
	struct svm_vmcb *v = hw->vmcb;
	u32 block = vcpu->arch.block;

	v->int_state = block & (WAFER_BLOCK_STI | WAFER_BLOCK_MOVSS) ? SVM_INTERRUPT_SHADOW : 0;
	if (svm_has(VNMI)) {
		v->int_ctl = (v->int_ctl & ~SVM_V_NMI_BLOCKING) |
			     (block & WAFER_BLOCK_NMI ? SVM_V_NMI_BLOCKING : 0);
		v->clean &= ~SVM_CLEAN_INT_CTL;
	}
	svm_watch(hw, SVM_WATCH_IRET, false);
	update_iret_icpt(vcpu);
}

/* The exit comes ahead of the IRET. */
void svm_iret_exit(struct wafer_vcpu *vcpu)
{
	svm_watch(vcpu->hw, SVM_WATCH_IRET, true);
	vcpu->hw->iret_rip = vcpu->arch.rip;
	update_iret_icpt(vcpu);
}

/*
 * INT n, INT3 and INTO push the RIP behind them. A CPU with next-RIP takes that from the VMCB;
 * without it RIP itself is moved there for the injection, and moved back if the delivery was
 * interrupted by an exit.
 */
static void inject_soft(struct wafer_vcpu *vcpu, const struct wafer_event *ev)
{
	struct wafer_hw *hw = vcpu->hw;
	u64 next = vcpu->arch.rip + ev->insn_len;

	if (wafer_code_mode(vcpu) != WAFER_CODE64)
		next = (u32)next;
	hw->soft = *ev;
	hw->soft_rip = vcpu->arch.rip;
	hw->watch |= SVM_WATCH_SOFT;
	if (svm_has(NRIPS))
		hw->vmcb->next_rip = next;
	else
		vcpu->arch.rip = next;
	hw->soft_start = vcpu->arch.rip;
}

#define V_IRQ_ANY_TPR (SVM_V_IRQ | SVM_V_INTR_PRIO | SVM_V_IGN_TPR)

/*
 * An interrupt goes in as a virtual one, which the guest can take at once, else it would not be
 * here; by event injection only if that is what the window, a step or an exception behind it rests
 * on. QEMU's TCG delivers an interrupt that was injected as an event now and then twice
 * (Documentation/emulator-bugs.md); to a CPU both ways are the same (§15.20, §15.21.4). If the host
 * has an interrupt to take first it stays with the vCPU: svm_after_exit().
 */
static bool inject_virq(struct wafer_vcpu *vcpu, const struct wafer_event *ev)
{
	struct wafer_hw *hw = vcpu->hw;
	struct svm_vmcb *v = hw->vmcb;

	if (ev->kind != WAFER_EV_EXTINT || hw->watch || v->int_ctl & SVM_V_IRQ ||
	    vcpu->pending.kind != WAFER_EV_NONE)
		return false;
	v->int_ctl |= V_IRQ_ANY_TPR;
	v->int_vector = ev->vector;
	v->clean &= ~SVM_CLEAN_INT_CTL;
	hw->watch = SVM_WATCH_VIRQ;
	return true;
}

void svm_inject(struct wafer_vcpu *vcpu, const struct wafer_event *ev)
{
	struct svm_vmcb *v = vcpu->hw->vmcb;
	/* INT1, INT3 and INTO are exceptions here; the other kinds have VMX's numbers. */
	u8 type = ev->kind > WAFER_EV_SOFT_INT ? WAFER_EV_EXCEPTION : ev->kind;

	if (inject_virq(vcpu, ev))
		return;
	v->event_inj = ev->vector | type << SVM_EVENT_TYPE_SHIFT | SVM_EVENT_VALID |
		       (ev->has_error ? SVM_EVENT_HAS_ERROR : 0);
	v->event_error = ev->error;
	if (ev->kind >= WAFER_EV_SOFT_INT)
		inject_soft(vcpu, ev);
	/* With vNMI the CPU blocks NMIs by itself when it delivers one. */
	if (ev->kind == WAFER_EV_NMI && !svm_has(VNMI))
		wafer_put_block(vcpu, vcpu->arch.block | WAFER_BLOCK_NMI);
}

/*
 * An interrupt window is a virtual interrupt that would be taken if its taking did not exit
 * (§15.21.4). The threshold of CR8 is watched by having its writes exit; and beside a virtual
 * interrupt that waits they are not left to the CPU, since QEMU's TCG dies of them
 * (Documentation/emulator-bugs.md).
 */
void svm_windows(struct wafer_vcpu *vcpu, u32 which, u8 tpr)
{
	struct wafer_hw *hw = vcpu->hw;
	struct svm_vmcb *v = hw->vmcb;
	bool irq = which & WAFER_WINDOW_IRQ;

	if (irq != !!(v->int_ctl & SVM_V_IRQ)) {
		v->int_ctl = (v->int_ctl & ~V_IRQ_ANY_TPR) | (irq ? V_IRQ_ANY_TPR : 0);
		hw->vmcb->clean &= ~SVM_CLEAN_INT_CTL;
	}
	svm_icpt(hw, SVM_VINTR, irq);
	svm_watch(hw, SVM_WATCH_NMI, which & WAFER_WINDOW_NMI);
	update_iret_icpt(vcpu);
	svm_icpt(hw, SVM_CR_WRITE + 8, irq || tpr || vcpu->intercepts & WAFER_ICPT_CR8);
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
void svm_before_entry(struct wafer_vcpu *vcpu)
{
	struct wafer_hw *hw = vcpu->hw;
	struct svm_vmcb *v = hw->vmcb;
	bool nmi_soon = hw->watch & SVM_WATCH_NMI &&
			(hw->watch & SVM_WATCH_IRET || !(vcpu->arch.block & WAFER_BLOCK_NMI));

	if (!nmi_soon && !(hw->watch & SVM_WATCH_STEP))
		return;
	if (v->event_inj & SVM_EVENT_VALID) {
		hw->watch |= SVM_WATCH_KICK;
		smp_send_reschedule(smp_processor_id());
	} else if (!(v->rflags & X86_EFLAGS_TF)) {
		hw->watch |= SVM_WATCH_TF;
		v->rflags |= X86_EFLAGS_TF;
	}
}

/* The pair to svm_before_entry(), when the exit is decoded. */
void svm_after_exit(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	struct wafer_arch *a = &vcpu->arch;
	struct wafer_hw *hw = vcpu->hw;
	bool iret_done = hw->watch & SVM_WATCH_IRET && a->rip != hw->iret_rip;

	if (hw->watch & SVM_WATCH_VIRQ) {
		if (hw->vmcb->int_ctl & SVM_V_IRQ)	/* not taken */
			vcpu->reinject = (struct wafer_event){
				.kind = WAFER_EV_EXTINT, .vector = hw->vmcb->int_vector,
			};
		hw->vmcb->int_ctl &= ~V_IRQ_ANY_TPR;
		hw->vmcb->clean &= ~SVM_CLEAN_INT_CTL;
	}
	/*
	 * IRET has loaded TF from the guest's stack; other instructions have left ours where it
	 * was.
	 */
	if (hw->watch & SVM_WATCH_TF && !iret_done)
		wafer_put_rflags(vcpu, a->rflags & ~(u64)X86_EFLAGS_TF);
	if (hw->watch & SVM_WATCH_KICK && hw->watch & SVM_WATCH_STEP &&
	    exit->kind == WAFER_EXIT_EXTINT && vcpu->reinject.kind == WAFER_EV_NONE)
		exit->kind = WAFER_EXIT_STEP;
	hw->watch &= ~(SVM_WATCH_SOFT | SVM_WATCH_VIRQ | SVM_WATCH_TF | SVM_WATCH_KICK);
	if (iret_done) {
		hw->watch &= ~SVM_WATCH_IRET;
		if (!svm_has(VNMI))
			a->block &= ~WAFER_BLOCK_NMI;
		update_iret_icpt(vcpu);
	}
	if (hw->watch & SVM_WATCH_NMI && !(a->block & WAFER_BLOCK_NMI))
		wafer_hazard_set(vcpu, WAFER_H_EVENT);
}

/* INT3 and INTO come as exceptions; which vectors they have nobody else has. */
bool svm_is_soft(u8 type, u8 vector)
{
	return type == WAFER_EV_EXCEPTION && (vector == X86_TRAP_BP || vector == X86_TRAP_OF);
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
	if (hw->watch & SVM_WATCH_SOFT && vcpu->arch.rip == hw->soft_start) {
		vcpu->arch.rip = hw->soft_rip;
		if (vector == hw->soft.vector) {
			vcpu->reinject = hw->soft;
			return;
		}
	}
	/* That TCG calls a virtual interrupt an exception is another of its faults. */
	if (hw->watch & SVM_WATCH_VIRQ && vector == hw->vmcb->int_vector)
		type = WAFER_EV_EXTINT;
	if (type != WAFER_EV_SOFT_INT && !svm_is_soft(type, vector))
		vcpu->reinject = (struct wafer_event){
			.kind = type, .vector = vector,
			.error = error, .has_error = info & SVM_EVENT_HAS_ERROR,
		};
}
