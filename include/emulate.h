/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The decoder and the executor for instructions that touch devices (vcpu/decode.c, vcpu/emulate.c).
 *
 * Both are free of kernel and vCPU internals: the unit tests compile them in user space and run
 * each form against the CPU.
 */
#ifndef WAFER_EMULATE_H
#define WAFER_EMULATE_H

#include "exit.h"

#define WAFER_INSN_MAX 15

/* Default operand and address size of the code segment: CS.L and CS.D. */
enum wafer_code_mode { WAFER_CODE16 = 2, WAFER_CODE32 = 4, WAFER_CODE64 = 8 };

struct wafer_insn_form;			/* an entry of the opcode tables, vcpu/decode.c */

/**
 * struct wafer_insn - one decoded instruction; depends on nothing but its bytes and the code mode
 * @form: what it does; NULL: length and prefixes are known, executing it is not
 * @len: bytes, prefixes included
 * @mode: the code mode it was decoded for
 * @op_size: operand size in bytes (1, 2, 4, 8; 16, 32, 64 for vectors)
 * @addr_size: address size in bytes (2, 4, 8)
 * @seg: segment of the memory operand after override (enum wafer_seg_reg)
 * @opcode: map << 8 | opcode byte; map 0 one-byte, 1 0F, 2 0F38, 3 0F3A
 * @lock: LOCK prefix
 * @rep: 0, 0xf2 or 0xf3
 * @rex: REX bits W R X B as 8 4 2 1 (VEX's are put here too)
 * @has_rex: a REX byte was there (SPL..DIL instead of AH..BH)
 * @vex: 0, or 1 with @vex_l, @vex_v
 * @has_modrm: @mod, @reg (REX.R applied), @rm (REX.B applied) are valid
 * @is_mem: the r/m operand is in memory: @base, @index (-1: none), @scale (1-8), @disp; @rip_rel
 * @imm: immediate, sign-extended; moffs: the offset (in @disp too, with @is_mem)
 * @plain: WAFER_PLAIN_*; 64-bit code: moves @size bytes between memory, not by FS or GS, and @reg
 */
struct wafer_insn {
	const struct wafer_insn_form *form;
	u8 bytes[WAFER_INSN_MAX];
	u8 len, mode, op_size, addr_size, seg;
	u16 opcode;
	bool lock, has_rex, vex, has_modrm, is_mem, rip_rel;
	u8 rep, rex, vex_l, vex_v;
	u8 mod, reg, rm;
	s8 base, index;
	u8 scale;
	s64 disp;
	u64 imm;
	u8 plain, size;
};

enum { WAFER_PLAIN_NOT, WAFER_PLAIN_LOAD, WAFER_PLAIN_STORE, WAFER_PLAIN_STORE_IMM };

/**
 * wafer_insn_decode() - decode one instruction
 * @insn: result
 * @bytes: its bytes, @nr of them (1-15; more than the instruction has is fine)
 * @mode: WAFER_CODE16, 32, 64
 *
 * The length and the ModRM operand are found for every one-byte, 0F, 0F38 and 0F3A opcode, VEX and
 * EVEX included, so that it also serves to find the length and the registers of CPUID, RDMSR, MOV
 * CR, MOV DR, INS, OUTS and the like.
 *
 * Return: 0; -EAGAIN: @nr is too small; -EINVAL: no such instruction in this mode (the CPU would
 * give #UD), or longer than 15 bytes.
 */
int wafer_insn_decode(struct wafer_insn *insn, const u8 *bytes, unsigned int nr,
		      enum wafer_code_mode mode);

/**
 * enum wafer_emu_result - what an emulation step came to
 * @WAFER_EMU_DONE: registers, RIP and flags are written back; the instruction is over
 * @WAFER_EMU_AGAIN: a REP instruction did a bounded batch (one step if TF is set); RIP stands on it
 *	still. Let the guest take its interrupts, and execute it again
 * @WAFER_EMU_USER: an access waits for the VMM; call again with emu->log completed
 * @WAFER_EMU_EVENT: emu->event is to be injected; nothing was written back but finished REP steps
 * @WAFER_EMU_UNKNOWN: not an instruction we know: internal error with its bytes
 * @WAFER_EMU_RETRY: nothing was done, for RAM changed under a locked instruction: let the guest try
 *	again
 */
enum wafer_emu_result {
	WAFER_EMU_DONE, WAFER_EMU_AGAIN, WAFER_EMU_USER, WAFER_EMU_EVENT, WAFER_EMU_UNKNOWN,
	WAFER_EMU_RETRY,
};

#define WAFER_EMU_PORT	(~0ull)		/* instead of an address: the port of INS and OUTS */

/* One completed access: a re-run after a trip to user space takes the data from here. */
struct wafer_emu_access {
	gpa_t gpa;		/* or WAFER_EMU_PORT */
	u8 len;			/* 1-8, never crosses a page */
	bool write;
	u8 data[8];
};

/* A translated page of an operand: rights that were asked for, 0 if it is not valid. */
struct wafer_emu_page {
	gva_t gva;
	gpa_t gpa;
	u32 access;
};

/*
 * Big enough for the largest operand; the last element is room for handling it 8 bytes at a time.
 */
union wafer_value {
	u64 q[5];
	u8 b[40];
};

/* An operand; if in memory, its pages have been translated. */
struct wafer_operand {
	gpa_t gpa[2];
	u8 len[2];			/* bytes in the first and second page */
	union wafer_value val;
};

#define WAFER_EMU_LOG 20	/* 64 bytes in and out as 8-byte pieces, page crossing included */

struct wafer_emu;

/**
 * struct wafer_emu_ops - what the executor needs from outside
 * @segment: the hidden part of segment register @seg
 * @translate: linear to guest-physical for an access of WAFER_FAULT_READ or WAFER_FAULT_WRITE at
 *	the current CPL (a read-modify-write operand is a write): 0 and *@gpa; 1 with emu->event
 *	filled in (#PF, with has_payload and payload = the address); or -errno
 * @access: @len bytes (1-8) at guest-physical @gpa, not crossing a page, or an element of INS or
 *	OUTS at WAFER_EMU_PORT. 0: done; 1: the VMM must do it, its data (for a read) will be in the
 *	log at the re-run; -errno
 * @cmpxchg: compare-and-exchange of @len bytes (1, 2, 4, 8; 16 for CMPXCHG16B), aligned, for locked
 *	instructions whose operand is RAM after all: 0 done, or not done
 *	with *@old updated to what was found; 1: no RAM there, do it as read and write; -errno
 * @vec: read or write @bytes (16 or 32) of vector register @nr in the guest's FPU state; a write
 *	with @zero_upper clears the rest up to the register's full width (VEX forms). 8 bytes: an
 *	MMX register, as an MMX instruction does it
 * @load_segment: load CS (a far jump within the code's mode and privilege), another segment
 *	register or TR, with all checks: 0, WAFER_EMU_EVENT, WAFER_EMU_UNKNOWN, or -errno
 * @set_msw: LMSW; 0 or -errno
 *
 * After -errno nothing is lost: with the same @emu, wafer_emulate() goes on where it was.
 */
struct wafer_emu_ops {
	const struct wafer_segment *(*segment)(struct wafer_emu *emu, enum wafer_seg_reg seg);
	int (*translate)(struct wafer_emu *emu, gva_t gva, u32 access, gpa_t *gpa);
	int (*access)(struct wafer_emu *emu, gpa_t gpa, void *data, unsigned int len, bool write);
	int (*cmpxchg)(struct wafer_emu *emu, gpa_t gpa, void *old, const void *new,
		       unsigned int len);
	void (*vec)(struct wafer_emu *emu, unsigned int nr, void *data, unsigned int bytes,
		    bool write, bool zero_upper);
	int (*load_segment)(struct wafer_emu *emu, enum wafer_seg_reg seg, u16 selector);
	int (*set_msw)(struct wafer_emu *emu, u16 val);
};

/**
 * struct wafer_emu - one emulation, kept over trips to user space
 * @ops: the surroundings
 * @insn: the decoded instruction
 * @gpr: the guest's general registers, RSP included; written back only when the step succeeds
 * @rip, @rflags: in and out; TF and the shadow are the caller's to deal with. RF is cleared when it
 *	is done
 * @cr0: for SMSW
 * @va_bits: width of canonical addresses: 48, or 57 with CR4.LA57
 * @real: real or virtual-8086 mode: limits are checked, types of segments are not
 * @nr_log: accesses in @log, finished or (the last one, after WAFER_EMU_USER) pending; cleared by
 *	the executor when a step is over
 * @next: executor-internal: which log entry the re-run is at
 * @stop: go no further than to the end of the next REP step
 * @batch: executor-internal: REP steps done since WAFER_EMU_AGAIN or the beginning
 * @event: what to inject on WAFER_EMU_EVENT
 * @page: executor-internal: translations of the operands' pages. They are made before the first
 *	access of a step and stay until it is over, so that a re-run does not fault after a device
 *	was touched
 * @op, @old: executor-internal: source and destination of the current step, and what the
 *	destination was (here, for kernels clear what is on the stack)
 * @log: the accesses of the current step
 *
 * Whoever fills it in for a new instruction sets @ops, @insn, @gpr, @rip, @rflags, @cr0, @va_bits,
 * @real and clears @nr_log, @stop and @batch; the rest need not be initialised.
 */
struct wafer_emu {
	const struct wafer_emu_ops *ops;
	struct wafer_insn insn;
	u64 *gpr;
	u64 rip, rflags, cr0;
	u8 va_bits;
	bool real, stop;
	u8 nr_log, next;
	u32 batch;
	struct wafer_event event;
	struct wafer_emu_page page[4];
	struct wafer_operand op[2];
	union wafer_value old;
	struct wafer_emu_access log[WAFER_EMU_LOG];
};

/**
 * wafer_emulate() - execute the decoded instruction, or the next steps of a REP one
 * @emu: set up by the caller; @emu->nr_log is 0 at the first call
 *
 * Device accesses happen in the order and with the sizes that the manual gives. After
 * WAFER_EMU_USER the caller appends nothing itself: the entry of the pending access is the last of
 * the log; the caller fills its data (for a read) and calls again.
 *
 * Return: enum wafer_emu_result, or -errno of an op.
 */
int wafer_emulate(struct wafer_emu *emu);

/**
 * wafer_emu_linear() - segmentation: from an offset to a linear address, with all checks
 * @emu: @emu->insn.mode, @emu->va_bits and @emu->real say which checks there are
 * @seg: segment register
 * @offset: effective address, cut to the address size
 * @size: bytes that will be accessed
 * @access: WAFER_FAULT_READ, WAFER_FAULT_WRITE
 * @gva: result
 *
 * Limits (expand-down too), rights and usability outside 64-bit code, canonical form in it (SDM
 * vol. 3 §5.3-5.5, APM vol. 2 §4.7, 4.8, 4.12).
 *
 * Return: 0, or WAFER_EMU_EVENT with #GP(0) or #SS(0) in @emu->event.
 */
int wafer_emu_linear(struct wafer_emu *emu, enum wafer_seg_reg seg, u64 offset, unsigned int size,
		     u32 access, gva_t *gva);

/**
 * struct wafer_walk - a walk of the guest's own page tables (mmu/walk.c)
 * @cr0, @cr3, @cr4, @efer, @pdptr: the guest's paging state (@pdptr as loaded, for PAE)
 * @rflags_ac: RFLAGS.AC for SMAP
 * @pkru: the guest's PKRU (used if CR4.PKE)
 * @phys_bits: guest-physical address width
 * @has_1g: 1 GiB pages exist in the guest's CPUID
 * @pdptr_from_memory: read the PAE PDPTEs from memory (SVM) instead of @pdptr
 * @ctx: for the callbacks
 * @read_entry: @size 4 or 8 bytes at guest-physical @gpa; 0, -EFAULT (nothing is mapped there; no
 *	hardware makes a page fault of it, so the walk returns it), or another -errno
 * @cas_entry: compare-and-exchange of an entry, for accessed and dirty bits; 0, -EAGAIN (entry
 *	changed: the walk restarts; after 64 times it goes on without), -EFAULT (not writable: go on
 *	without), or another -errno
 * @gpa: result
 * @page_size: result: size of the guest's page, bytes
 * @writable, @user: result: the rights along the walk
 * @error_code: result with return 1: #PF error code
 * @entries, @nr_entries: result: which guest-physical entries with which values led there (for
 *	caches that re-read)
 */
struct wafer_walk {
	u64 cr0, cr3, cr4, efer;
	u64 pdptr[4];
	bool rflags_ac, has_1g, pdptr_from_memory;
	u32 pkru;
	u8 phys_bits;
	void *ctx;
	int (*read_entry)(void *ctx, gpa_t gpa, unsigned int size, u64 *val);
	int (*cas_entry)(void *ctx, gpa_t gpa, unsigned int size, u64 old, u64 new);
	gpa_t gpa;
	u64 page_size;
	bool writable, user;
	u32 error_code;
	struct { gpa_t gpa; u64 val; } entries[5];
	u8 nr_entries;
};

/*
 * USER: access made at CPL 3; IMPLICIT: supervisor access by the CPU itself (SMAP ignores AC): GDT,
 * TSS; overrides USER; NO_AD: set no accessed or dirty bits (KVM_TRANSLATE, debug).
 */
enum { WAFER_WALK_USER = BIT(8), WAFER_WALK_IMPLICIT = BIT(9), WAFER_WALK_NO_AD = BIT(10) };

/**
 * wafer_walk() - translate a guest-linear address
 * @w: the paging state; results are stored in it
 * @gva: linear address, canonical
 * @access: WAFER_FAULT_READ/WRITE/FETCH and WAFER_WALK_*; without any of the first three, no rights
 *	are checked
 *
 * All modes: no paging, 32-bit, PAE, 4-level, 5-level. Checks reserved bits, NX, WP, SMEP, SMAP,
 * protection keys (SDM vol. 3 §4.6, 4.7; APM vol. 2 §5.6).
 *
 * Return: 0; 1: page fault with @w->error_code; -errno of a callback.
 */
int wafer_walk(struct wafer_walk *w, gva_t gva, u32 access);

#endif
