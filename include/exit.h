/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a backend says of an exit. Vendor quirks end here: nothing behind this structure asks
 * which vendor's CPU the guest left.
 */
#ifndef WAFER_EXIT_H
#define WAFER_EXIT_H

#include "types.h"

/**
 * enum wafer_exit_kind - why the guest was left
 * @WAFER_EXIT_UNKNOWN: a reason that nobody has added: internal error to the VMM
 * @WAFER_EXIT_EXTINT: a host interrupt is pending; taken when interrupts are enabled
 * @WAFER_EXIT_HOST_DONE: the backend has dealt with it (host NMI, SMI, INIT): go on
 * @WAFER_EXIT_MCE: machine check on the host while the guest ran
 * @WAFER_EXIT_EXCEPTION: an intercepted exception of the guest: event
 * @WAFER_EXIT_CPUID: the instruction
 * @WAFER_EXIT_HYPERCALL: this vendor's
 * @WAFER_EXIT_HLT: the instruction
 * @WAFER_EXIT_PAUSE: the instruction, often
 * @WAFER_EXIT_MONITOR: the instruction
 * @WAFER_EXIT_MWAIT: the instruction
 * @WAFER_EXIT_RDMSR: the instruction
 * @WAFER_EXIT_WRMSR: the instruction
 * @WAFER_EXIT_IO: io
 * @WAFER_EXIT_FAULT: nested page fault: fault
 * @WAFER_EXIT_CR: cr
 * @WAFER_EXIT_DR: dr
 * @WAFER_EXIT_XSETBV: the instruction
 * @WAFER_EXIT_WBINVD: WBINVD, WBNOINVD, INVD: nothing to do but skip
 * @WAFER_EXIT_INVLPG: only where a backend must intercept it
 * @WAFER_EXIT_RDPMC: the instruction
 * @WAFER_EXIT_RDTSC: RDTSC and RDTSCP where intercepted
 * @WAFER_EXIT_TASK_SWITCH: task
 * @WAFER_EXIT_IRQ_WINDOW: an interrupt can be taken now
 * @WAFER_EXIT_NMI_WINDOW: an NMI can be taken now
 * @WAFER_EXIT_TPR: the guest's TPR fell below the threshold
 * @WAFER_EXIT_IRET: backend-internal where NMI blocking is tracked by IRET
 * @WAFER_EXIT_STEP: monitor trap or single step asked for by the backend or core
 * @WAFER_EXIT_PML: the page-modification log is full
 * @WAFER_EXIT_TIMER: the hardware's preemption timer fired
 * @WAFER_EXIT_TRIPLE: triple fault / shutdown
 * @WAFER_EXIT_DENIED: an instruction that is never allowed: #UD
 * @WAFER_EXIT_BAD_STATE: the CPU refused the guest state: bad
 * @WAFER_NR_EXITS: how many
 */
enum wafer_exit_kind {
	WAFER_EXIT_UNKNOWN, WAFER_EXIT_EXTINT, WAFER_EXIT_HOST_DONE, WAFER_EXIT_MCE,
	WAFER_EXIT_EXCEPTION, WAFER_EXIT_CPUID, WAFER_EXIT_HYPERCALL, WAFER_EXIT_HLT,
	WAFER_EXIT_PAUSE, WAFER_EXIT_MONITOR, WAFER_EXIT_MWAIT, WAFER_EXIT_RDMSR,
	WAFER_EXIT_WRMSR, WAFER_EXIT_IO, WAFER_EXIT_FAULT, WAFER_EXIT_CR, WAFER_EXIT_DR,
	WAFER_EXIT_XSETBV, WAFER_EXIT_WBINVD, WAFER_EXIT_INVLPG, WAFER_EXIT_RDPMC,
	WAFER_EXIT_RDTSC, WAFER_EXIT_TASK_SWITCH, WAFER_EXIT_IRQ_WINDOW, WAFER_EXIT_NMI_WINDOW,
	WAFER_EXIT_TPR, WAFER_EXIT_IRET, WAFER_EXIT_STEP, WAFER_EXIT_PML, WAFER_EXIT_TIMER,
	WAFER_EXIT_TRIPLE, WAFER_EXIT_DENIED, WAFER_EXIT_BAD_STATE,
	WAFER_NR_EXITS
};

/* Access bits of a nested page fault. */
#define WAFER_FAULT_READ	BIT(0)
#define WAFER_FAULT_WRITE	BIT(1)
#define WAFER_FAULT_FETCH	BIT(2)
#define WAFER_FAULT_PRESENT	BIT(3)	/* the entry was there, the right was not */
#define WAFER_FAULT_GUEST_PT	BIT(4)	/* hit while walking the guest's own tables */
#define WAFER_FAULT_RESERVED	BIT(5)	/* misconfigured entry: a bug of ours */

/**
 * struct wafer_exit - one exit in vendor-neutral form
 * @kind: what happened
 * @len: length of the instruction that exited, prefixes included; 0: it, or the operands, must be
 *	decoded
 * @code: (WAFER_G_CODE) WAFER_CODE_*, of the code that was left. That of another exit is the same
 *	only if those are
 * @reason: the raw VMX exit reason or SVM exit code, for diagnostics
 * @info: raw qualification (VMX) or EXITINFO1 (SVM), for diagnostics
 * @event: exception
 * @io: size is 1, 2 or 4; string: INS or OUTS, which is decoded for the rest
 * @fault: access is WAFER_FAULT_*; nr_bytes of the instruction are in bytes (decode assist), 0:
 *	none
 * @cr: nr is 0, 3, 4 or 8; gpr is source or destination or WAFER_GPR_UNKNOWN; op WAFER_CR_*; msw
 *	LMSW's operand
 * @dr: likewise
 * @task: cause is WAFER_TASK_*; has_event: the switch was part of delivering the vector through a
 *	task gate
 * @bad: field: which one the CPU (or our check) refused, or NULL; hw_reason for KVM_EXIT_FAIL_ENTRY
 *
 * The registers of RDMSR, WRMSR, CPUID, XSETBV are in the general registers.
 */
struct wafer_exit {
	enum wafer_exit_kind kind;
	u8 len;
	u32 code;
	u32 reason;
	u64 info;
	union {
		struct wafer_event event;
		struct {
			u16 port;
			u8 size;
			bool in, string;
		} io;
		struct {
			gpa_t gpa;
			u8 access, nr_bytes, bytes[15];
		} fault;
		struct {
			u8 nr, gpr, op;
			u16 msw;
		} cr;
		struct {
			u8 nr, gpr;
			bool write;
		} dr;
		struct {
			u16 selector;
			u8 cause, vector, event_kind;
			bool has_error, has_event;
			u32 error;
		} task;
		struct {
			const char *field;
			u64 hw_reason;
		} bad;
	};
};

#define WAFER_CODE_CPL		3u
#define WAFER_CODE_L		BIT(17)		/* CS.L; above it CS.D, for which nobody asks */
#define WAFER_CODE_PAGED	BIT(30)		/* CR0.PG, where the guest changes it unseen */
#define WAFER_CODE_BASED	BIT(31)		/* CS's base is not 0 */
#define WAFER_CODE_NONE		(~0u)		/* no code's */

#define WAFER_GPR_UNKNOWN 0xff	/* exit.len is 0, so that the core decodes the instruction */
/* WAFER_CR_DECODE: MOV, LMSW, SMSW or CLTS, the CPU does not say which. */
enum {
	WAFER_CR_WRITE, WAFER_CR_READ, WAFER_CR_CLTS, WAFER_CR_LMSW, WAFER_CR_SMSW, WAFER_CR_DECODE,
};
enum { WAFER_TASK_CALL, WAFER_TASK_IRET, WAFER_TASK_JMP, WAFER_TASK_GATE };

#endif
