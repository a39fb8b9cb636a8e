/* SPDX-License-Identifier: GPL-2.0 */
/* What the files of the exit-handling core share among themselves. */
#ifndef WAFER_CORE_H
#define WAFER_CORE_H

/* What most files of the room need, so that they need not say so. */
#include <linux/kvm_para.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/percpu.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/static_call.h>
#include <linux/string.h>
#include <asm/cpufeature.h>
#include <asm/debugreg.h>
#include <asm/fpu/types.h>
#include <asm/mce.h>
#include <asm/msr.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>
#include <asm/tsc.h>

#include "vcpu.h"
#include "vm.h"

/* wafer_backend->enter (hardware.c) */
DECLARE_STATIC_CALL(wafer_enter, *wafer_backend->enter);

/*
 * More results of handlers, inside the core: why the window is left though user space has nothing
 * to do.
 */
#define WAFER_REOPEN	3	/* let the host take its interrupt, then enter again */
#define WAFER_LEAVE	4	/* work for the outer loop */
#define WAFER_DECODED	5	/* wafer_decode_exit() alone */

/*
 * A handler of exits. @window: in the window; where it would have to sleep it changes nothing, says
 * WAFER_RETRY_SLOW and is called again without. In exit.c, cpuid.c, exit_regs.c, hypercall.c,
 * mmio.c, pio.c, task_switch.c, debug.c.
 */
typedef int wafer_handler(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window);
wafer_handler wafer_exit_cpuid, wafer_exit_rdmsr, wafer_exit_msr, wafer_exit_cr, wafer_exit_dr,
	      wafer_exit_xsetbv, wafer_exit_hypercall, wafer_exit_fault, wafer_exit_io,
	      wafer_exit_task, wafer_exit_exception, wafer_exit_step;
/*
 * exit.c, by enum wafer_exit_kind. @needs_len: the instruction's length must be known, by decoding
 * where the CPU tells none
 */
extern const struct wafer_exit_row {
	wafer_handler *handle;
	bool needs_len;
} wafer_exits[WAFER_NR_EXITS];
int wafer_foreign_hypercall(struct wafer_vcpu *vcpu, bool window);
int wafer_interrupt_in_delivery(struct wafer_vcpu *vcpu);	/* events_state.c */

/*
 * exit.c: kvm_run for errors that only the VMM can deal with. All return WAFER_TO_USER, but
 * emulation_failure() WAFER_GO_ON where #UD is the guest's to deal with.
 */
int wafer_internal_error(struct wafer_vcpu *vcpu, u32 suberror, const u64 *data, unsigned int n);
int wafer_emulation_failure(struct wafer_vcpu *vcpu);
int wafer_fail_entry(struct wafer_vcpu *vcpu, u64 reason, const char *field);

/* The VMM is to see to it: @reason is one of KVM_EXIT_*. */
static inline int wafer_to_user(struct wafer_vcpu *vcpu, u32 reason)
{
	vcpu->run->exit_reason = reason;
	return WAFER_TO_USER;
}

/* A check of what user space has set: 0, or the refusal of @value in @field. */
static inline int wafer_deny(struct wafer_vcpu *vcpu, bool bad, const char *field, u64 value,
			     const char *rule)
{
	return bad ? wafer_refuse(&vcpu->refusal, -EINVAL, field, value, rule) : 0;
}

/* event.c: an exception; which of them push an error code (SDM vol. 3 table 6-1) */
struct wafer_event wafer_exception(u8 vector, bool has_error, u32 error);
static inline bool wafer_pushes_error(u8 vector)
{
	return vector < 32 && BIT(vector) &
	       (BIT(X86_TRAP_DF) | BIT(X86_TRAP_TS) | BIT(X86_TRAP_NP) | BIT(X86_TRAP_SS) |
		BIT(X86_TRAP_GP) | BIT(X86_TRAP_PF) | BIT(X86_TRAP_AC));
}

static inline u64 wafer_cr8(struct wafer_vcpu *vcpu)
{
	return vcpu->lapic ? wafer_lapic_get_cr8(vcpu) : vcpu->cr8;
}

int wafer_skip_slow(struct wafer_vcpu *vcpu, u64 rip);
/*
 * Past the instruction that exited (exit.len is known): WAFER_GO_ON. What wafer_retired() is about
 * is rare, exits are not.
 */
static inline int wafer_skip(struct wafer_vcpu *vcpu)
{
	struct wafer_arch *a = &vcpu->arch;
	u64 rip;

	wafer_need(vcpu, WAFER_G_RIP | WAFER_G_RFLAGS | WAFER_G_BLOCK);
	rip = a->rip + vcpu->exit.len;
	if (unlikely(((rip ^ a->rip) >> 32) | (a->block & (WAFER_BLOCK_STI | WAFER_BLOCK_MOVSS)) |
		     (a->rflags & (X86_EFLAGS_TF | X86_EFLAGS_RF)) | vcpu->guest_debug))
		return wafer_skip_slow(vcpu, rip);
	wafer_put_rip(vcpu, rip);
	return WAFER_GO_ON;
}

/*
 * Decodes the instruction at RIP into vcpu->emu.insn: WAFER_DECODED, else what the handler is to
 * return.
 */
int wafer_decode_exit(struct wafer_vcpu *vcpu);
int wafer_emu_run(struct wafer_vcpu *vcpu);		/* the instruction in vcpu->emu.insn */
bool wafer_is_memory(struct wafer_vcpu *vcpu, gpa_t gpa, bool write);
int wafer_emu_port(struct wafer_vcpu *vcpu, void *data, unsigned int len, bool write);
int wafer_emu_load_segment(struct wafer_emu *emu, enum wafer_seg_reg n, u16 selector);
int wafer_pio_to_user(struct wafer_vcpu *vcpu, int (*complete)(struct wafer_vcpu *vcpu));
bool wafer_pio_store(struct wafer_vcpu *vcpu);

/* debug.c; general detect, and what reports it (SDM vol. 3 §17.2.3, §17.2.4) */
#define WAFER_DR7_GD	BIT_ULL(13)
#define WAFER_DR6_BD	BIT_ULL(13)
void wafer_debug_load(struct wafer_vcpu *vcpu);
void wafer_debug_put(struct wafer_vcpu *vcpu);
u32 wafer_wanted_intercepts(struct wafer_vcpu *vcpu);
int wafer_debug_exit(struct wafer_vcpu *vcpu, u32 exception, u64 dr6);

/* mp.c: sleeps until there is something to do. WAFER_GO_ON */
int wafer_sleep(struct wafer_vcpu *vcpu);
void wafer_init_sipi(struct wafer_vcpu *vcpu);
bool wafer_runnable(struct wafer_vcpu *vcpu);

/* time.c: outside the window */
void wafer_update_clock(struct wafer_vcpu *vcpu);
void wafer_update_steal(struct wafer_vcpu *vcpu);
long wafer_pair_clocks(struct wafer_vcpu *vcpu, gpa_t gpa);

#endif
