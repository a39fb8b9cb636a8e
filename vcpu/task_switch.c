// SPDX-License-Identifier: GPL-2.0
/*
 * Hardware task switches, which the CPU leaves to the hypervisor, and segments: between the exit
 * and vcpu/task.c.
 */
#include "core.h"
#include "insn.h"
#include "task.h"

static struct wafer_vcpu *task_vcpu(struct wafer_task *t)
{
	return container_of(t->arch, struct wafer_vcpu, arch);
}

/* Page by page; without @data nothing is copied, only translated. */
static int task_access(struct wafer_task *t, gva_t gva, void *data, unsigned int len, u32 how)
{
	struct wafer_vcpu *vcpu = task_vcpu(t);
	unsigned int n;
	gpa_t gpa;
	int r = 0;

	for (; len && !r; len -= n, gva += n) {
		if (!t->long_mode)
			gva = (u32)gva;
		n = min_t(unsigned int, len, PAGE_SIZE - (gva & ~PAGE_MASK));
		r = wafer_translate(vcpu, gva, how, &gpa, &t->event);
		if (r || !data)
			continue;
		r = wafer_copy_guest(vcpu, gpa, data, n, how & WAFER_FAULT_WRITE);
		/* ROM stays as it is, and descriptors in it are good all the same. */
		if (r == -EFAULT && how & WAFER_FAULT_WRITE && wafer_is_memory(vcpu, gpa, false) &&
		    !wafer_is_memory(vcpu, gpa, true))
			r = 0;
		data += n;
	}
	return r;
}

static int task_set_cr3(struct wafer_task *t, u64 cr3)
{
	return wafer_set_cr3(task_vcpu(t), cr3);
}

static const struct wafer_task_ops task_ops = { .access = task_access, .set_cr3 = task_set_cr3 };

/* For the executor. The code may have been changed since the CPU looked at the privilege. */
int wafer_emu_load_segment(struct wafer_emu *emu, enum wafer_seg_reg n, u16 selector)
{
	struct wafer_vcpu *vcpu = container_of(emu, struct wafer_vcpu, emu);
	unsigned int cpl = wafer_cpl(vcpu);
	struct wafer_segment *cs = &vcpu->arch.seg[WAFER_CS], old = *wafer_seg(vcpu, WAFER_CS);
	struct wafer_task t = {
		.ops = &task_ops, .arch = &vcpu->arch, .bad = X86_TRAP_GP,
		.long_mode = wafer_efer(vcpu) & WAFER_EFER_LMA,
	};
	int r;

	/* A far jump goes to a segment like the one that it is in: then RIP is checked already. */
	if (emu->real || (n == WAFER_CS && (selector & 3) != cpl))
		return WAFER_EMU_UNKNOWN;
	if (n == WAFER_TR && cpl)
		return wafer_raise(emu, X86_TRAP_GP);
	wafer_need(vcpu, WAFER_G_SEGS | WAFER_G_DT);
	r = wafer_load_segment(&t, n, selector, cpl);
	if (!r && ((cs->attr ^ old.attr) & (WAFER_SEG_L | WAFER_SEG_DB) || cs->limit < old.limit)) {
		*cs = old;
		return WAFER_EMU_UNKNOWN;
	}
	if (!r)
		wafer_touch(vcpu, WAFER_G_SEGS);
	if (r == 1)
		emu->event = t.event;
	return r == 1 ? WAFER_EMU_EVENT : r;
}

int wafer_exit_task(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	const u32 groups = WAFER_G_SEGS | WAFER_G_RSP | WAFER_G_RIP | WAFER_G_RFLAGS | WAFER_G_DT |
			   WAFER_G_CR0 | WAFER_G_CR3 | WAFER_G_DR;
	u8 kind = exit->task.cause == WAFER_TASK_GATE ? exit->task.event_kind : WAFER_EV_NONE;
	bool soft = kind == WAFER_EV_SOFT_INT || kind == WAFER_EV_SOFT_EXC;
	struct wafer_task t = {
		.ops = &task_ops, .arch = &vcpu->arch,
		.selector = exit->task.selector, .cause = exit->task.cause,
		.soft_vector = soft ? exit->task.vector : -1, .error = exit->task.error,
		.external = kind == WAFER_EV_EXTINT || kind == WAFER_EV_NMI ||
			    kind == WAFER_EV_EXCEPTION,
	};
	int r;

	if (window)
		return WAFER_RETRY_SLOW;
	/*
	 * The instruction's length is wanted where the old task goes on behind it, not where an
	 * event interrupted it.
	 */
	if (exit->task.cause != WAFER_TASK_GATE || soft) {
		r = exit->len ? WAFER_DECODED : wafer_decode_exit(vcpu);
		if (r != WAFER_DECODED)
			return r;
		t.len = exit->len;
	}
	wafer_need(vcpu, groups);
	wafer_touch(vcpu, groups);
	if (exit->task.cause == WAFER_TASK_GATE) {
		t.has_error = exit->task.has_error;
		vcpu->reinject.kind = WAFER_EV_NONE;	/* the switch is its delivery */
		if (kind == WAFER_EV_NMI)
			wafer_put_block(vcpu, wafer_block(vcpu) | WAFER_BLOCK_NMI);
	}
	r = wafer_task_switch(&t);
	wafer_hazard_set(vcpu, WAFER_H_INTERCEPT);	/* hw_dr7 follows dr7 */
	wafer_hazard_set(vcpu, WAFER_H_FLUSH);
	if (r < 0) {
		vcpu->emu.insn.len = 0;
		return wafer_emulation_failure(vcpu);
	}
	if (r)
		wafer_queue_event(vcpu, &t.event);
	else if (t.debug_trap)
		wafer_queue_db(vcpu, DR_SWITCH);
	if (wafer_block(vcpu) & (WAFER_BLOCK_STI | WAFER_BLOCK_MOVSS))
		wafer_put_block(vcpu, vcpu->arch.block & ~(WAFER_BLOCK_STI | WAFER_BLOCK_MOVSS));
	return WAFER_GO_ON;
}
