// SPDX-License-Identifier: GPL-2.0
/* The guest's instruction: its memory, translating its addresses, and going past it. */
#include "core.h"

/**
 * wafer_copy_guest() - guest-physical memory, in the window or where sleeping is allowed
 * @vcpu: vCPU
 * @gpa: guest-physical address
 * @data: copied from or to here
 * @len: bytes, in the window within one page
 * @write: to the guest
 *
 * Return: 0; -EAGAIN: not to be had in the window; -EFAULT: no memory there.
 */
int wafer_copy_guest(struct wafer_vcpu *vcpu, gpa_t gpa, void *data, unsigned int len, bool write)
{
	return wafer_guest_copy(&vcpu->fault, vcpu->loaded, gpa, data, len, write);
}

/* The same for a compare-and-exchange; -EBUSY: @old is what was found. */
int wafer_cmpxchg_guest(struct wafer_vcpu *vcpu, gpa_t gpa, void *old, const void *new,
			unsigned int len)
{
	return wafer_guest_cmpxchg(&vcpu->fault, vcpu->loaded, gpa, old, new, len);
}

/* Callbacks of the walker: guest page-table entries. */
static int read_entry(void *ctx, gpa_t gpa, unsigned int size, u64 *val)
{
	*val = 0;
	return wafer_copy_guest(ctx, gpa, val, size, false);
}

/*
 * To the walker -EAGAIN says that the entry has changed, to the memory room that the page is not
 * mapped now: the one becomes the other, and the other -EINPROGRESS until the walk is over.
 */
static int cas_entry(void *ctx, gpa_t gpa, unsigned int size, u64 old, u64 new)
{
	int r = wafer_cmpxchg_guest(ctx, gpa, &old, &new, size);

	return r == -EAGAIN ? -EINPROGRESS : r == -EBUSY ? -EAGAIN : r;
}

/**
 * wafer_translate() - guest-linear to guest-physical, as the CPU would do it now
 * @vcpu: vCPU
 * @gva: linear address
 * @access: WAFER_FAULT_* and WAFER_WALK_*; the CPL is added here unless WAFER_WALK_IMPLICIT is
 *	given
 * @gpa: result
 * @ev: where a page fault goes; NULL: it is queued
 *
 * Return: 0; 1: page fault; -EAGAIN: not to be had in the window; -EFAULT: the guest's tables are
 * where no memory is.
 */
int wafer_translate(struct wafer_vcpu *vcpu, gva_t gva, u32 access, gpa_t *gpa,
		    struct wafer_event *ev)
{
	struct wafer_walk w;

	return wafer_translate_walk(vcpu, gva, access, gpa, ev, &w);
}

/* The same for who wants to know the way: @w->entries are the guest's entries that led there. */
int wafer_translate_walk(struct wafer_vcpu *vcpu, gva_t gva, u32 access, gpa_t *gpa,
			 struct wafer_event *ev, struct wafer_walk *w)
{
	struct wafer_event pf = {
		.kind = WAFER_EV_EXCEPTION, .vector = X86_TRAP_PF, .has_error = true,
		.has_payload = true, .payload = gva,
	};
	int r;

	w->cr0 = wafer_cr0(vcpu);
	w->cr3 = wafer_cr3(vcpu);
	w->cr4 = wafer_cr4(vcpu);
	w->efer = wafer_efer(vcpu);
	w->pdptr_from_memory = wafer_caps.pdptr_from_memory;
	if (w->cr4 & X86_CR4_PAE && !(w->efer & WAFER_EFER_LMA)) {
		wafer_need(vcpu, WAFER_G_PDPTR);
		memcpy(w->pdptr, vcpu->arch.pdptr, sizeof(w->pdptr));
	}
	w->rflags_ac = w->cr4 & X86_CR4_SMAP && wafer_rflags(vcpu) & X86_EFLAGS_AC;
	w->pkru = w->cr4 & X86_CR4_PKE ? vcpu->pkru : 0;
	w->phys_bits = wafer_guest_phys_bits(vcpu);
	w->has_1g = boot_cpu_has(X86_FEATURE_GBPAGES);
	w->ctx = vcpu;
	w->read_entry = read_entry;
	w->cas_entry = cas_entry;
	if (!(access & WAFER_WALK_IMPLICIT) && wafer_cpl(vcpu) == 3)
		access |= WAFER_WALK_USER;
	r = wafer_walk(w, gva, access);
	if (!r)
		*gpa = w->gpa;
	pf.error = w->error_code;
	if (r == 1 && ev)
		*ev = pf;
	else if (r == 1)
		wafer_queue_event(vcpu, &pf);
	return r == -EINPROGRESS ? -EAGAIN : r;
}

/**
 * wafer_skip_slow() - wafer_skip() where that is not all
 * @vcpu: vCPU
 * @rip: behind the instruction
 *
 * The shadow of STI and MOV SS ends with the instruction after them, which this one was; TF gives a
 * trap after it (SDM vol. 3 §17.3.1.4). Outside 64-bit mode EIP wraps at 4 GiB; a carry into bit 32
 * cannot come from elsewhere.
 *
 * Return: WAFER_GO_ON.
 */
int wafer_skip_slow(struct wafer_vcpu *vcpu, u64 rip)
{
	if (rip >> 32 != vcpu->arch.rip >> 32 && wafer_code_mode(vcpu) != WAFER_CODE64)
		rip = (u32)rip;
	wafer_put_rip(vcpu, rip);
	if (wafer_rflags(vcpu) & X86_EFLAGS_RF)
		wafer_put_rflags(vcpu, vcpu->arch.rflags & ~X86_EFLAGS_RF);
	wafer_retired(vcpu, 0);
	return WAFER_GO_ON;
}

/**
 * wafer_retired() - what the CPU does at the end of each instruction, for one that was emulated
 * @vcpu: vCPU; RIP stands behind the instruction, or on it between two repetitions
 * @shadow: WAFER_BLOCK_MOVSS: it was MOV SS, which holds off interrupts and the trap of TF for one
 *	instruction (SDM vol. 3 §6.8.3)
 */
void wafer_retired(struct wafer_vcpu *vcpu, u32 shadow)
{
	bool traps;

	shadow |= wafer_block(vcpu) & WAFER_BLOCK_NMI;
	if (shadow != vcpu->arch.block)
		wafer_put_block(vcpu, shadow);
	traps = wafer_rflags(vcpu) & X86_EFLAGS_TF && !(shadow & WAFER_BLOCK_MOVSS);
	if (vcpu->stepping || (traps && vcpu->guest_debug & KVM_GUESTDBG_SINGLESTEP)) {
		/* the VMM's step stands for the guest's own, as in KVM */
		vcpu->step_due = true;
		wafer_hazard_set(vcpu, WAFER_H_EXIT);
	} else if (traps) {
		wafer_queue_db(vcpu, DR_STEP);
	}
}
