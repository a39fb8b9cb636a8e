/* SPDX-License-Identifier: GPL-2.0 */
/* What the files of the exit-handling core share among themselves. */
#ifndef WAFER_CORE_H
#define WAFER_CORE_H

#include "vcpu.h"
#include "vm.h"

/* More results of handlers, inside the core: why the window is left though user space has nothing to do. */
#define WAFER_REOPEN	3	/* let the host take its interrupt, then enter again */
#define WAFER_LEAVE	4	/* work for the outer loop */

/*
 * wafer_handle_exit() - act on vcpu->exit
 * @window: in the window; a handler that must sleep says WAFER_RETRY_SLOW and is called again without
 */
int wafer_handle_exit(struct wafer_vcpu *vcpu, bool window);

typedef int (*wafer_handler)(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window);

/* exit.c: kvm_run for errors that only the VMM can deal with. All return WAFER_TO_USER. */
int wafer_internal_error(struct wafer_vcpu *vcpu, u32 suberror, const u64 *data, unsigned int n);
int wafer_emulation_failure(struct wafer_vcpu *vcpu);
int wafer_fail_entry(struct wafer_vcpu *vcpu, u64 reason, const char *field);

/* Decodes the instruction at RIP into vcpu->emu.insn. WAFER_GO_ON: done; else what the handler is to return. */
int wafer_decode_exit(struct wafer_vcpu *vcpu, bool window, bool *decoded);

/* exit_regs.c */
int wafer_exit_rdmsr(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window);
int wafer_exit_wrmsr(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window);
int wafer_exit_cr(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window);
int wafer_exit_dr(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window);
int wafer_exit_xsetbv(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window);

/* hypercall.c */
int wafer_exit_hypercall(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window);
int wafer_foreign_hypercall(struct wafer_vcpu *vcpu, bool window);

/* mmio.c, pio.c */
int wafer_exit_fault(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window);
int wafer_exit_io(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window);
void wafer_emu_setup(struct wafer_vcpu *vcpu, bool window);

/* task_switch.c */
int wafer_exit_task(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window);

/* debug.c */
int wafer_exit_exception(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window);
int wafer_exit_step(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window);
void wafer_debug_load(struct wafer_vcpu *vcpu);
void wafer_debug_put(struct wafer_vcpu *vcpu);
u32 wafer_wanted_intercepts(struct wafer_vcpu *vcpu);
int wafer_debug_exit(struct wafer_vcpu *vcpu, u32 exception, u64 dr6);

/* mp.c: sleeps until there is something to do. WAFER_GO_ON; -EINTR; -EAGAIN (before SIPI) */
int wafer_sleep(struct wafer_vcpu *vcpu);
int wafer_init_sipi(struct wafer_vcpu *vcpu);
bool wafer_runnable(struct wafer_vcpu *vcpu);

/* time.c: outside the window */
void wafer_update_clock(struct wafer_vcpu *vcpu);
void wafer_update_steal(struct wafer_vcpu *vcpu);

#endif
