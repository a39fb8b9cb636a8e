/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The virtual machine control block: layout and bits (APM vol. 2 appendix B), exit codes (appendix
 * C).
 *
 * Our own definition, because the oldest supported kernel's headers know less than today's CPUs.
 */
#ifndef WAFER_SVM_VMCB_H
#define WAFER_SVM_VMCB_H

#include <linux/bits.h>
#include <linux/build_bug.h>
#include <linux/types.h>

/*
 * Intercepts, by word * 32 + bit. Those not named are off, because they run natively or never
 * happen: descriptor-table loads and stores, PUSHF, POPF, INT n, INVLPG, ICEBP (its #DB exits),
 * FERR_FREEZE, INVPCID, bus-lock threshold, idle HLT (HLT exits), and the traps after writes of
 * EFER and CRn (their writes exit before).
 */
enum svm_icpt {
	SVM_ICPT_CR_READ	= 0,		/* + number */
	SVM_ICPT_CR_WRITE	= 16,
	SVM_ICPT_DR		= 32,		/* reads 0-15, then writes */
	SVM_ICPT_EXCEPTION	= 64,		/* + vector */
	SVM_ICPT_INTR		= 96,
	SVM_ICPT_NMI,
	SVM_ICPT_SMI,
	SVM_ICPT_INIT,
	SVM_ICPT_VINTR,
	SVM_ICPT_CR0_SEL_WRITE,
	SVM_ICPT_RDTSC		= 96 + 14,
	SVM_ICPT_RDPMC,
	SVM_ICPT_CPUID		= 96 + 18,
	SVM_ICPT_RSM,
	SVM_ICPT_IRET,
	SVM_ICPT_INVD		= 96 + 22,
	SVM_ICPT_PAUSE,
	SVM_ICPT_HLT,
	SVM_ICPT_INVLPGA	= 96 + 26,
	SVM_ICPT_IOIO,
	SVM_ICPT_MSR,
	SVM_ICPT_TASK_SWITCH,
	SVM_ICPT_SHUTDOWN	= 96 + 31,
	SVM_ICPT_VMRUN		= 128,
	SVM_ICPT_VMMCALL,
	SVM_ICPT_VMLOAD,
	SVM_ICPT_VMSAVE,
	SVM_ICPT_STGI,
	SVM_ICPT_CLGI,
	SVM_ICPT_SKINIT,
	SVM_ICPT_RDTSCP,
	SVM_ICPT_WBINVD		= 128 + 9,
	SVM_ICPT_MONITOR,
	SVM_ICPT_MWAIT,
	SVM_ICPT_MWAIT_ARMED,
	SVM_ICPT_XSETBV,
	SVM_ICPT_RDPRU,
	SVM_ICPT_INVLPGB	= 160,
	SVM_ICPT_INVLPGB_ILLEGAL,
	SVM_ICPT_MCOMMIT	= 160 + 3,
	SVM_ICPT_TLBSYNC,
};

/* int_ctl, offset 60h. */
#define SVM_V_TPR		0xfu
#define SVM_V_IRQ		BIT(8)
#define SVM_V_NMI_BLOCKING	BIT(12)
#define SVM_V_INTR_PRIO		0xf0000u
#define SVM_V_IGN_TPR		BIT(20)
#define SVM_V_INTR_MASKING	BIT(24)
#define SVM_V_NMI_ENABLE	BIT(26)

/* int_state, offset 68h. */
#define SVM_INTERRUPT_SHADOW	BIT(0)

/* tlb_control, offset 5ch. */
enum { SVM_TLB_KEEP = 0, SVM_TLB_FLUSH_ALL = 1, SVM_TLB_FLUSH_ASID = 3 };

/* np_ctl, offset 90h. */
#define SVM_NP_ENABLE		BIT(0)

/*
 * event_inj and exit_int_info, offsets a8h and 88h. The type's numbers are those of enum
 * wafer_event_kind.
 */
#define SVM_EVENT_VECTOR	0xffu
#define SVM_EVENT_TYPE_SHIFT	8
#define SVM_EVENT_TYPE		0x700u
#define SVM_EVENT_HAS_ERROR	BIT(11)
#define SVM_EVENT_VALID		BIT(31)

/*
 * Clean bits, offset c0h; kept inverted, as what has changed since the last entry (APM vol. 2
 * §15.15.3).
 */
#define SVM_DIRTY_ICPT		BIT(0)	/* intercepts, TSC offset, pause filter */
#define SVM_DIRTY_MAPS		BIT(1)	/* IOPM and MSRPM */
#define SVM_DIRTY_ASID		BIT(2)
#define SVM_DIRTY_INT_CTL	BIT(3)
#define SVM_DIRTY_NP		BIT(4)	/* nested CR3, guest PAT */
#define SVM_DIRTY_CR		BIT(5)	/* CR0, CR3, CR4, EFER */
#define SVM_DIRTY_DR		BIT(6)
#define SVM_DIRTY_DT		BIT(7)
#define SVM_DIRTY_SEG		BIT(8)	/* CS, DS, SS, ES, CPL */
#define SVM_DIRTY_CR2		BIT(9)
#define SVM_DIRTY_ALL		0xffffffffu

/* Exit codes that are asked for by name; the others are entries of the table in exit.c. */
#define SVM_EXIT_EXCEPTION	0x40
#define SVM_EXIT_NPF		0x400
#define SVM_EXIT_INVALID	0xffffffffu
#define SVM_EXIT_NONE		0xfffffff0u	/* ours: VMRUN did not run */

/* A segment register: attributes are the descriptor's bits 40-47 and 52-55 in one piece. */
struct svm_seg {
	u16 selector;
	u16 attr;
	u32 limit;
	u64 base;
};

/* Places in svm_vmcb.seg[] behind ES to GS, which are where enum wafer_seg_reg has them. */
enum { SVM_SEG_GDTR = 6, SVM_SEG_LDTR = 7, SVM_SEG_IDTR = 8, SVM_SEG_TR = 9 };

struct svm_vmcb {
	/* control area */
	u32 icpt[6];
	u8 reserved_018[0x24];
	u16 pause_threshold;
	u16 pause_count;
	u64 iopm;
	u64 msrpm;
	u64 tsc_offset;
	u32 asid;
	u8 tlb_control;
	u8 reserved_05d[3];
	u32 int_ctl;
	u32 int_vector;
	u64 int_state;
	u64 exit_code;
	u64 info1;
	u64 info2;
	u32 exit_int_info;
	u32 exit_int_error;
	u64 np_ctl;
	u64 avic_bar;
	u64 ghcb;
	u32 event_inj;
	u32 event_error;
	u64 ncr3;
	u64 lbr_ctl;
	u32 clean;
	u32 reserved_0c4;
	u64 next_rip;
	u8 nr_bytes;
	u8 bytes[15];
	u8 reserved_0e0[0x320];
	/* state save area */
	struct svm_seg seg[10];
	u8 reserved_4a0[0x2b];
	u8 cpl;
	u32 reserved_4cc;
	u64 efer;
	u8 reserved_4d8[0x70];
	u64 cr4;
	u64 cr3;
	u64 cr0;
	u64 dr7;
	u64 dr6;
	u64 rflags;
	u64 rip;
	u8 reserved_580[0x58];
	u64 rsp;
	u64 s_cet;
	u64 ssp;
	u64 isst;
	u64 rax;
	u64 star;
	u64 lstar;
	u64 cstar;
	u64 sfmask;
	u64 kernel_gs_base;
	u64 sysenter_cs;
	u64 sysenter_esp;
	u64 sysenter_eip;
	u64 cr2;
	u8 reserved_648[0x20];
	u64 pat;
	u64 debugctl;
	u64 lbr[4];
	u8 reserved_698[0x48];
	u32 spec_ctrl;
	u8 reserved_6e4[0x91c];
};

#define SVM_VMCB_AT(field, offset) static_assert(offsetof(struct svm_vmcb, field) == (offset))
SVM_VMCB_AT(pause_threshold, 0x03c);
SVM_VMCB_AT(asid, 0x058);
SVM_VMCB_AT(exit_code, 0x070);
SVM_VMCB_AT(event_inj, 0x0a8);
SVM_VMCB_AT(clean, 0x0c0);
SVM_VMCB_AT(bytes, 0x0d1);
SVM_VMCB_AT(seg, 0x400);
SVM_VMCB_AT(cpl, 0x4cb);
SVM_VMCB_AT(efer, 0x4d0);
SVM_VMCB_AT(cr4, 0x548);
SVM_VMCB_AT(rip, 0x578);
SVM_VMCB_AT(rsp, 0x5d8);
SVM_VMCB_AT(rax, 0x5f8);
SVM_VMCB_AT(cr2, 0x640);
SVM_VMCB_AT(pat, 0x668);
SVM_VMCB_AT(spec_ctrl, 0x6e0);
static_assert(sizeof(struct svm_vmcb) == 4096);

#endif
