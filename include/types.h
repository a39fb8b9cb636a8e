/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Address types, register names and the vendor-neutral architectural state of a vCPU.
 *
 * Everything here is plain data: the file is compiled in user space too, by the unit tests.
 */
#ifndef WAFER_TYPES_H
#define WAFER_TYPES_H

#include <linux/bits.h>
#include <linux/types.h>

typedef unsigned long gva_t;	/* guest-linear address */
typedef u64 gpa_t;		/* guest-physical address */
typedef u64 gfn_t;		/* gpa >> PAGE_SHIFT */
typedef unsigned long hva_t;	/* address in the VMM's address space */
typedef u64 hpa_t;		/* host-physical address */

/* General registers in the order of their encoding (SDM vol. 2 table 2-2, APM vol. 3 §1.4.1). */
enum wafer_gpr {
	WAFER_RAX, WAFER_RCX, WAFER_RDX, WAFER_RBX, WAFER_RSP, WAFER_RBP, WAFER_RSI, WAFER_RDI,
	WAFER_R8, WAFER_R9, WAFER_R10, WAFER_R11, WAFER_R12, WAFER_R13, WAFER_R14, WAFER_R15,
	WAFER_NR_GPRS
};

/* Segment registers in the order of their encoding; LDTR and TR follow. */
enum wafer_seg_reg {
	WAFER_ES, WAFER_CS, WAFER_SS, WAFER_DS, WAFER_FS, WAFER_GS, WAFER_LDTR, WAFER_TR,
	WAFER_NR_SEGS
};

/*
 * Segment attributes as VMX keeps them (SDM vol. 3 §25.4.1, access rights): the descriptor's bits
 * 40-47 and 52-55 at their place in the upper word, and one bit for "unusable".
 */
enum {
	WAFER_SEG_TYPE = 0xf, WAFER_SEG_S = BIT(4), WAFER_SEG_DPL_SHIFT = 5, WAFER_SEG_DPL = 0x60,
	WAFER_SEG_P = BIT(7), WAFER_SEG_AVL = BIT(12), WAFER_SEG_L = BIT(13),
	WAFER_SEG_DB = BIT(14), WAFER_SEG_G = BIT(15), WAFER_SEG_UNUSABLE = BIT(16),
};

/**
 * struct wafer_segment - a segment register with its hidden part
 * @base: linear base; canonical in 64-bit mode
 * @limit: in bytes, expanded (granularity applied)
 * @attr: WAFER_SEG_* bits
 * @selector: the visible part
 */
struct wafer_segment {
	u64 base;
	u32 limit;
	u32 attr;
	u16 selector;
};

static inline unsigned int wafer_dpl(const struct wafer_segment *seg)
{
	return (seg->attr & WAFER_SEG_DPL) >> WAFER_SEG_DPL_SHIFT;
}

/**
 * struct wafer_dtable - GDTR or IDTR
 * @base: linear base
 * @limit: in bytes, last valid offset
 */
struct wafer_dtable {
	u64 base;
	u16 limit;
};

/* EFER's bits (SDM vol. 3 §2.2.1, APM vol. 2 §3.1.7), short names for what is tested all over. */
enum {
	WAFER_EFER_SCE = BIT(0), WAFER_EFER_LME = BIT(8), WAFER_EFER_LMA = BIT(10),
	WAFER_EFER_NX = BIT(11), WAFER_EFER_SVME = BIT(12),
};

/* What keeps events out for one instruction, or until IRET. The names of SDM vol. 3 table 25-3. */
enum { WAFER_BLOCK_STI = BIT(0), WAFER_BLOCK_MOVSS = BIT(1), WAFER_BLOCK_NMI = BIT(3) };

/**
 * enum wafer_group - state groups, and which fields of struct wafer_arch are in each
 * @WAFER_G_RIP: rip
 * @WAFER_G_RSP: gpr[WAFER_RSP]
 * @WAFER_G_RFLAGS: rflags
 * @WAFER_G_CR0: cr0
 * @WAFER_G_CR3: cr3
 * @WAFER_G_CR4: cr4
 * @WAFER_G_EFER: efer, LMA included
 * @WAFER_G_DT: gdt, idt
 * @WAFER_G_PDPTR: pdptr[4]: what MOV CR3 loaded in PAE paging (VMX; SVM reads memory)
 * @WAFER_G_BLOCK: block: WAFER_BLOCK_*
 * @WAFER_G_SYSENTER: sysenter_cs, _esp, _eip
 * @WAFER_G_SYSCALL: star, lstar, cstar, fmask, kernel_gs_base; tsc_aux, which is always valid
 * @WAFER_G_DR: hw_dr7; dr6 and dr7 live in struct wafer_arch alone, dr[0..3] in the CPU while
 *	->dr_loaded
 * @WAFER_G_PAT: pat
 * @WAFER_G_CR2: cr2
 * @WAFER_G_SPEC: spec_ctrl
 *
 * wafer_arch holds a cached copy of what the VMCS or VMCB holds; a group's bit in ->missing says
 * that the copy is not valid, in ->dirty that it is newer than the hardware's and is written before
 * the next entry. The first eight bits are the segments, BIT(enum wafer_seg_reg).
 */
enum wafer_group {
	WAFER_G_RIP = BIT(8), WAFER_G_RSP = BIT(9), WAFER_G_RFLAGS = BIT(10), WAFER_G_CR0 = BIT(11),
	WAFER_G_CR3 = BIT(12), WAFER_G_CR4 = BIT(13), WAFER_G_EFER = BIT(14), WAFER_G_DT = BIT(15),
	WAFER_G_PDPTR = BIT(16), WAFER_G_BLOCK = BIT(17), WAFER_G_SYSENTER = BIT(18),
	WAFER_G_SYSCALL = BIT(19), WAFER_G_DR = BIT(20), WAFER_G_PAT = BIT(21),
	WAFER_G_CR2 = BIT(22), WAFER_G_SPEC = BIT(23),
};
#define WAFER_G_SEG(n)		BIT(n)
#define WAFER_G_SEGS		0xffu
#define WAFER_G_ALL		0x00ffffffu
#define WAFER_G_CODE		BIT(24)	/* exit.code; to be read alone, not in WAFER_G_ALL */
#define WAFER_G_TPR		BIT(25)	/* vcpu->cr8 was written; read at each exit */
/* What finding the last code page again depends on besides memory (vcpu/fetch.h). */
#define WAFER_WAY_GROUPS	(WAFER_G_RIP | WAFER_G_CODE | WAFER_G_CR3)
/* What a plain MOV to or from a device asks for: in one call, if registers are not read yet. */
#define WAFER_ACCESS_GROUPS	(WAFER_WAY_GROUPS | WAFER_G_RSP | WAFER_G_RFLAGS | WAFER_G_BLOCK)

/**
 * struct wafer_arch - architectural state of a vCPU, vendor-neutral
 * @gpr: general registers; [WAFER_RSP] follows WAFER_G_RSP, all others are always valid outside the
 *	guest
 * @missing: groups of which the copy here is not valid
 * @dirty: groups to be written to the VMCS/VMCB before the next entry (none of @missing)
 *
 * Read and written through the accessors of vcpu.h by everybody but the backends. [v]: owned by
 * the thread that holds the vCPU's mutex.
 */
struct wafer_arch {
	u64 gpr[WAFER_NR_GPRS];
	u64 rip, rflags;
	u32 missing, dirty;
	u64 cr0, cr2, cr3, cr4, efer;
	struct wafer_segment seg[WAFER_NR_SEGS];
	struct wafer_dtable gdt, idt;
	u64 pdptr[4];
	u64 dr[4], dr6, dr7;	/* the guest's; always valid, since MOV DR exits */
	u64 hw_dr7;		/* what the CPU has while the guest runs; written with WAFER_G_DR */
	u32 block;
	u64 sysenter_cs, sysenter_esp, sysenter_eip;
	u64 star, lstar, cstar, fmask, kernel_gs_base;
	u64 pat, spec_ctrl, tsc_aux;
	u64 xcr0;
};

/**
 * struct wafer_event - something delivered through the IDT, in one format for both vendors
 * @kind: WAFER_EV_*; WAFER_EV_NONE: nothing
 * @vector: 0-255
 * @has_error: an error code is pushed
 * @has_payload: @payload holds the new CR2 (#PF) or the DR6 bits (#DB), not yet in the register
 * @insn_len: for software interrupts and exceptions: bytes to add to RIP before it is pushed
 * @error: the error code
 * @payload: see @has_payload
 */
struct wafer_event {
	u8 kind;
	u8 vector;
	bool has_error;
	bool has_payload;
	u8 insn_len;
	u32 error;
	u64 payload;
};

/* The numbers are those of the VM-entry interruption type (SDM vol. 3 table 25-17). */
enum wafer_event_kind {
	WAFER_EV_EXTINT		= 0,
	WAFER_EV_NMI		= 2,
	WAFER_EV_EXCEPTION	= 3,
	WAFER_EV_SOFT_INT	= 4,
	WAFER_EV_PRIV_SOFT	= 5,	/* INT1 */
	WAFER_EV_SOFT_EXC	= 6,	/* INT3, INTO */
	WAFER_EV_NONE		= 0xff,
};

#endif
