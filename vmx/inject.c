// SPDX-License-Identifier: GPL-2.0
/* Events into the guest (§27.6), and what an exit has interrupted in delivery (§28.2.4). */
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "vmx.h"

static bool is_soft(u8 kind)
{
	return kind == WAFER_EV_SOFT_INT || kind == WAFER_EV_PRIV_SOFT || kind == WAFER_EV_SOFT_EXC;
}

/*
 * In the window. The event's fields are good for one entry: the CPU clears the valid bit at the
 * exit.
 */
void vmx_inject(struct wafer_vcpu *vcpu, const struct wafer_event *ev)
{
	u32 info = INTR_INFO_VALID_MASK | (u32)ev->kind << 8 | ev->vector;

	if (ev->has_error && wafer_cr0(vcpu) & X86_CR0_PE) {
		info |= INTR_INFO_DELIVER_CODE_MASK;
		vmwrite(VM_ENTRY_EXCEPTION_ERROR_CODE, ev->error & 0xffff);
	}
	if (is_soft(ev->kind))
		vmwrite(VM_ENTRY_INSTRUCTION_LEN, ev->insn_len);
	vmwrite(VM_ENTRY_INTR_INFO_FIELD, info);
	/*
	 * A guest whose HLT does not exit may sit in it; not every event is allowed there
	 * (§27.3.1.5).
	 */
	if (unlikely(!(vcpu->hw->primary & CPU_BASED_HLT_EXITING)))
		vmwrite(GUEST_ACTIVITY_STATE, GUEST_ACTIVITY_ACTIVE);
}

/**
 * vmx_event_in_delivery() - IDT-vectoring information becomes vcpu->reinject
 * @vcpu: vCPU
 * @info: the field, valid
 */
void vmx_event_in_delivery(struct wafer_vcpu *vcpu, u32 info)
{
	struct wafer_event *ev = &vcpu->reinject;

	*ev = (struct wafer_event){
		.kind = (info & INTR_INFO_INTR_TYPE_MASK) >> 8, .vector = info,
	};
	if (info & INTR_INFO_DELIVER_CODE_MASK) {
		ev->has_error = true;
		ev->error = vmread(IDT_VECTORING_ERROR_CODE);
	}
	if (is_soft(ev->kind))
		ev->insn_len = vmread(VM_EXIT_INSTRUCTION_LEN);
	/* The NMI that is delivered again must not find itself blocked by its first delivery. */
	if (ev->kind == WAFER_EV_NMI)
		vmwrite(GUEST_INTERRUPTIBILITY_INFO,
			vmread(GUEST_INTERRUPTIBILITY_INFO) & ~(u64)GUEST_INTR_STATE_NMI);
}

/*
 * The guest's IRET had ended the blocking of NMIs when it faulted, and is going to be executed
 * again: bit 12 of the interruption information or of the qualification says so (§28.2.3). Not for
 * what came in delivery of an event.
 */
void vmx_restore_nmi_blocking(u64 bits)
{
	if (bits & INTR_INFO_UNBLOCK_NMI)
		vmwrite(GUEST_INTERRUPTIBILITY_INFO,
			vmread(GUEST_INTERRUPTIBILITY_INFO) | GUEST_INTR_STATE_NMI);
}
