/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Hardware task switches (SDM vol. 3 ch. 8 "Task Management", APM vol. 2 ch. 12): both vendors
 * leave them to the hypervisor. Free of kernel and vCPU internals, like the executor.
 */
#ifndef WAFER_TASK_H
#define WAFER_TASK_H

#include "exit.h"

struct wafer_task;

/**
 * struct wafer_task_ops - what a task switch needs from outside
 * @access: @len bytes at linear @gva (they may cross pages; outside long mode below 4 GiB). @how is
 *	WAFER_FAULT_READ or WAFER_FAULT_WRITE, with WAFER_WALK_IMPLICIT for tables and TSSs,
 *	WAFER_WALK_USER or nothing for the stack. Without @data: would it work? 0; 1 with t->event
 *	filled in (#PF, with has_payload and payload = the address); -errno
 * @set_cr3: the new address space, for all accesses that follow. 0; 1: not valid (PDPTEs with
 *	reserved bits); -errno
 */
struct wafer_task_ops {
	int (*access)(struct wafer_task *t, gva_t gva, void *data, unsigned int len, u32 how);
	int (*set_cr3)(struct wafer_task *t, u64 cr3);
};

/**
 * struct wafer_task - one task switch
 * @ops: the surroundings
 * @selector: the new TSS
 * @cause: WAFER_TASK_CALL, _IRET, _JMP, _GATE
 * @soft_vector: INT n, INT3 or INTO through a task gate: the vector, for the check of the gate's
 *	DPL; -1 for everything else
 * @external: the switch belongs to an interrupt or exception: bit 0 (EXT) of error codes
 * @has_error, @error: an exception's error code, to be pushed on the new task's stack
 * @arch: in and out: general and segment registers, RIP, RFLAGS, CR0, CR3, DR7, GDT, IDT. @set_cr3
 *	sees to CR3
 * @len: the old task goes on so many bytes behind RIP later
 * @event: result: an exception, delivered in the old task, or, if @switched, in the new one
 * @switched: result: the state in here is the new task's
 * @bad, @long_mode: for wafer_load_segment(): #GP, or #TS in a task switch; EFER.LMA
 * @debug_trap: result: the new TSS asks for #DB with DR6.BT before the first instruction
 */
struct wafer_task {
	const struct wafer_task_ops *ops;
	u16 selector;
	u8 cause;
	int soft_vector;
	bool external, has_error;
	u32 error;
	struct wafer_arch *arch;
	u8 len;
	struct wafer_event event;
	bool switched, debug_trap;
	u8 bad;
	bool long_mode;
};

/**
 * wafer_task_switch() - switch tasks
 * @t: set up by the caller
 *
 * Everything that can be checked is checked before anything changes. What fails behind the point of
 * no return fails in the new task (SDM vol. 3 §8.3 and table 8-1).
 *
 * Return: 0; 1: @t->event is to be raised; -errno of an op. The caller must not be in long mode.
 */
int wafer_task_switch(struct wafer_task *t);

/**
 * wafer_load_segment() - load a segment register, as MOV, LTR and task switches do it
 * @t: @ops, @arch, @bad and @long_mode are used
 * @n: which; CS with the selector's RPL as the new CPL
 * @selector: selector
 * @cpl: privilege level
 *
 * Return: as wafer_task_switch(). Protected mode.
 */
int wafer_load_segment(struct wafer_task *t, enum wafer_seg_reg n, u16 selector, unsigned int cpl);

#endif
