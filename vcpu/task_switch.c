// SPDX-License-Identifier: GPL-2.0
/* Hardware task switches, which the CPU leaves to the hypervisor: between the exit and vcpu/task.c. */
#include <linux/percpu.h>
#include <linux/sched.h>
#include <asm/debugreg.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "core.h"
#include "task.h"

struct switching {
	struct wafer_task t;
	struct wafer_vcpu *vcpu;
};

static struct wafer_vcpu *task_vcpu(struct wafer_task *t)
{
	return container_of(t, struct switching, t)->vcpu;
}

/* Page by page; without @data nothing is copied, only translated. */
static int task_access(struct wafer_task *t, gva_t gva, void *data, unsigned int len, u32 how)
{
	struct wafer_vcpu *vcpu = task_vcpu(t);
	unsigned int n;
	gpa_t gpa;
	int r = 0;

	for (; len && !r; len -= n, gva = (u32)(gva + n)) {
		n = min_t(unsigned int, len, PAGE_SIZE - (gva & ~PAGE_MASK));
		r = wafer_translate(vcpu, gva, how, &gpa, &t->event);
		if (r || !data)
			continue;
		r = wafer_copy_guest(vcpu, gpa, data, n, how & WAFER_FAULT_WRITE);
		data += n;
	}
	return r;
}

static int task_set_cr3(struct wafer_task *t, u64 cr3)
{
	return wafer_set_cr3(task_vcpu(t), cr3);
}

static const struct wafer_task_ops task_ops = { .access = task_access, .set_cr3 = task_set_cr3 };

static void take_state(struct wafer_vcpu *vcpu, const struct wafer_exit *exit, struct wafer_task *t)
{
	struct wafer_arch *a = &vcpu->arch;

	wafer_need(vcpu, WAFER_G_SEGS | WAFER_G_RSP | WAFER_G_RIP | WAFER_G_RFLAGS | WAFER_G_DT |
			 WAFER_G_CR0 | WAFER_G_CR3);
	*t = (struct wafer_task){
		.ops = &task_ops, .selector = exit->task.selector, .cause = exit->task.cause, .soft_vector = -1,
		.gpr = a->gpr, .eip = a->rip + exit->len, .eflags = a->rflags, .cr0 = a->cr0, .cr3 = a->cr3,
		.dr7 = a->dr7, .gdt = a->gdt, .idt = a->idt,
	};
	memcpy(t->seg, a->seg, sizeof(t->seg));
	if (t->cause != WAFER_TASK_GATE)
		return;
	t->external = exit->task.event_kind == WAFER_EV_EXTINT || exit->task.event_kind == WAFER_EV_NMI ||
		      exit->task.event_kind == WAFER_EV_EXCEPTION;
	t->has_error = exit->task.has_error;
	t->error = exit->task.error;
	if (exit->task.event_kind == WAFER_EV_SOFT_INT || exit->task.event_kind == WAFER_EV_SOFT_EXC)
		t->soft_vector = exit->task.vector;
}

static void give_state(struct wafer_vcpu *vcpu, const struct wafer_task *t)
{
	struct wafer_arch *a = &vcpu->arch;

	memcpy(a->seg, t->seg, sizeof(t->seg));
	a->rip = t->eip;
	a->rflags = t->eflags;
	a->cr0 = t->cr0;
	a->dr7 = t->dr7;
	wafer_touch(vcpu, WAFER_G_SEGS | WAFER_G_RSP | WAFER_G_RIP | WAFER_G_RFLAGS | WAFER_G_CR0 | WAFER_G_DR);
	wafer_hazard_set(vcpu, WAFER_H_INTERCEPT);	/* hw_dr7 follows dr7 */
	wafer_hazard_set(vcpu, WAFER_H_FLUSH);
}

/* The instruction's length is wanted where the old task goes on behind it, not where an event interrupted it. */
static bool by_instruction(const struct wafer_exit *exit)
{
	return exit->task.cause != WAFER_TASK_GATE || exit->task.event_kind == WAFER_EV_SOFT_INT ||
	       exit->task.event_kind == WAFER_EV_SOFT_EXC;
}

int wafer_exit_task(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	struct switching s = { .vcpu = vcpu };
	bool decoded;
	int r;

	if (window)
		return WAFER_RETRY_SLOW;
	if (!by_instruction(exit)) {
		exit->len = 0;
	} else if (!exit->len) {
		r = wafer_decode_exit(vcpu, window, &decoded);
		if (!decoded)
			return r;
	}
	take_state(vcpu, exit, &s.t);
	if (exit->task.cause == WAFER_TASK_GATE) {
		vcpu->reinject.kind = WAFER_EV_NONE;	/* the switch is its delivery */
		if (exit->task.event_kind == WAFER_EV_NMI)
			wafer_put_block(vcpu, wafer_block(vcpu) | WAFER_BLOCK_NMI);
	}
	r = wafer_task_switch(&s.t);
	if (r < 0) {
		vcpu->emu.insn.len = 0;
		return wafer_emulation_failure(vcpu);
	}
	if (s.t.switched)
		give_state(vcpu, &s.t);
	if (r) {
		wafer_queue_event(vcpu, &s.t.event);
	} else if (s.t.debug_trap) {
		struct wafer_event db = {
			.kind = WAFER_EV_EXCEPTION, .vector = X86_TRAP_DB, .has_payload = true, .payload = DR_SWITCH,
		};

		wafer_queue_event(vcpu, &db);
	}
	if (wafer_block(vcpu) & (WAFER_BLOCK_STI | WAFER_BLOCK_MOVSS))
		wafer_put_block(vcpu, vcpu->arch.block & ~(WAFER_BLOCK_STI | WAFER_BLOCK_MOVSS));
	return WAFER_GO_ON;
}
