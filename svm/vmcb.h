/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The virtual machine control block: layout and bits (APM vol. 2 appendix B).
 *
 * Our own definition, because the oldest supported kernel's headers know less than today's CPUs.
 */
#ifndef WAFER_SVM_VMCB_H
#define WAFER_SVM_VMCB_H

#include <linux/bits.h>
#include <linux/build_bug.h>
#include <linux/types.h>

/*
 * Intercepts, by word * 32 + bit. The exit code of what is intercepted has the same number
 * (appendix C).
 *
 * Those without a name are off, because they run natively or never happen: descriptor-table loads
 * and stores, PUSHF, POPF, INT n, INVLPG, ICEBP (its #DB exits), FERR_FREEZE, bus-lock threshold,
 * idle HLT (HLT exits), and the traps after writes of EFER and CRn (their writes exit
 * before).
 */
enum svm_icpt {
	SVM_CR_READ = 0, SVM_CR_WRITE = 16, SVM_DR_READ = 32, SVM_DR_WRITE = 48, SVM_EXCEPTION = 64,
	SVM_INTR = 96, SVM_NMI, SVM_SMI, SVM_INIT, SVM_VINTR, SVM_CR0_SEL_WRITE,
	SVM_RDTSC = 110, SVM_RDPMC, SVM_CPUID = 114, SVM_RSM, SVM_IRET,
	SVM_INVD = 118, SVM_PAUSE, SVM_HLT,
	SVM_INVLPGA = 122, SVM_IOIO, SVM_MSR, SVM_TASK_SWITCH, SVM_SHUTDOWN = 127,
	SVM_VMRUN, SVM_VMMCALL, SVM_VMLOAD, SVM_VMSAVE, SVM_STGI, SVM_CLGI, SVM_SKINIT, SVM_RDTSCP,
	SVM_WBINVD = 137, SVM_MONITOR, SVM_MWAIT, SVM_MWAIT_ARMED, SVM_XSETBV, SVM_RDPRU,
	SVM_INVLPGB = 160, SVM_INVLPGB_ILLEGAL, SVM_INVPCID, SVM_MCOMMIT, SVM_TLBSYNC,
	SVM_NR_ICPTS = 192,
	/* Exit codes that are no intercepts. */
	SVM_EXIT_NPF = 0x400,
};
#define SVM_EXIT_INVALID	0xffffffffu
#define SVM_EXIT_NONE		0xfffffff0u	/* ours: VMRUN did not run */

/* int_ctl, offset 60h. */
enum {
	SVM_V_TPR = 0xf, SVM_V_IRQ = BIT(8), SVM_V_NMI_BLOCKING = BIT(12),
	SVM_V_INTR_PRIO = 0xf0000, SVM_V_IGN_TPR = BIT(20), SVM_V_INTR_MASKING = BIT(24),
	SVM_V_NMI_ENABLE = BIT(26),
};

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
 * Clean bits, offset c0h (APM vol. 2 §15.15.3): set behind each run, cleared for what is changed
 * before the next. ICPT: intercepts, TSC offset, pause filter; MAPS: IOPM and MSRPM; NP: nested
 * CR3, guest PAT; CR: CR0, CR3, CR4, EFER; SEG: CS, DS, SS, ES, CPL. A CPU that knows none of them
 * looks at none.
 */
enum {
	SVM_CLEAN_ICPT = BIT(0), SVM_CLEAN_MAPS = BIT(1), SVM_CLEAN_ASID = BIT(2),
	SVM_CLEAN_INT_CTL = BIT(3), SVM_CLEAN_NP = BIT(4), SVM_CLEAN_CR = BIT(5),
	SVM_CLEAN_DR = BIT(6), SVM_CLEAN_DT = BIT(7), SVM_CLEAN_SEG = BIT(8),
	SVM_CLEAN_CR2 = BIT(9),
};
#define SVM_CLEAN_ALL		0xffffffffu

/* A segment register: attributes are the descriptor's bits 40-47 and 52-55 in one piece. */
struct svm_seg {
	u16 selector, attr;
	u32 limit;
	u64 base;
};

/* Places in svm_vmcb.seg[]: those of enum wafer_seg_reg from ES to GS, then these. */
enum { SVM_SEG_GDTR = 6, SVM_SEG_LDTR, SVM_SEG_IDTR, SVM_SEG_TR };

struct svm_vmcb {
	/* control area */
	u32 icpt[6];
	u8 reserved_018[0x24];
	u16 pause_threshold, pause_count;
	u64 iopm, msrpm, tsc_offset;
	u32 asid, tlb_control, int_ctl, int_vector;
	u64 int_state;
	u32 exit_code, exit_code_high;	/* of "invalid" it is not always set */
	u64 info1, info2;
	u32 exit_int_info, exit_int_error;
	u64 np_ctl, avic_bar, ghcb;
	u32 event_inj, event_error;
	u64 ncr3, lbr_ctl;
	u32 clean, reserved_0c4;
	u64 next_rip;
	u8 nr_bytes, bytes[15];
	u8 reserved_0e0[0x320];
	/* state save area */
	struct svm_seg seg[10];
	u8 reserved_4a0[0x2b], cpl, reserved_4cc[4];
	u64 efer;
	u8 reserved_4d8[0x70];
	u64 cr4, cr3, cr0, dr7, dr6, rflags, rip;
	u8 reserved_580[0x58];
	u64 rsp, s_cet, ssp, isst, rax, star, lstar, cstar, sfmask, kernel_gs_base;
	u64 sysenter_cs, sysenter_esp, sysenter_eip, cr2;
	u8 reserved_648[0x20];
	u64 pat, debugctl, lbr[4];
	u8 reserved_698[0x48];
	u64 spec_ctrl;
	u8 reserved_6e8[0x918];
};

#define SVM_AT(field, offset) (offsetof(struct svm_vmcb, field) == (offset))
static_assert(SVM_AT(pause_threshold, 0x03c) && SVM_AT(asid, 0x058) &&
	      SVM_AT(exit_code, 0x070) && SVM_AT(event_inj, 0x0a8) && SVM_AT(clean, 0x0c0) &&
	      SVM_AT(bytes, 0x0d1) && SVM_AT(seg, 0x400) && SVM_AT(cpl, 0x4cb) &&
	      SVM_AT(efer, 0x4d0) && SVM_AT(cr4, 0x548) && SVM_AT(rip, 0x578) &&
	      SVM_AT(rsp, 0x5d8) && SVM_AT(rax, 0x5f8) && SVM_AT(cr2, 0x640) &&
	      SVM_AT(pat, 0x668) && SVM_AT(spec_ctrl, 0x6e0) && sizeof(struct svm_vmcb) == 4096);

#endif
