/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of the SVM backend share. Section numbers in this folder are those of the APM,
 * volume 2.
 */
#ifndef WAFER_SVM_H
#define WAFER_SVM_H

#include <linux/kernel.h>
#include <linux/percpu.h>
#include <linux/types.h>
#include <asm/asm.h>
#include <asm/msr-index.h>

#include "compat.h"
#include "offsets.h"
#include "vcpu.h"
#include "vmcb.h"

/* CPUID Fn8000_000A EDX (APM vol. 3 §E.4.9). */
#define SVM_F_NP		BIT(0)
#define SVM_F_NRIPS		BIT(3)
#define SVM_F_TSC_RATIO		BIT(4)
#define SVM_F_CLEAN		BIT(5)
#define SVM_F_FLUSH_ASID	BIT(6)
#define SVM_F_DECODE		BIT(7)
#define SVM_F_PAUSE		BIT(10)
#define SVM_F_PAUSE_THRESHOLD	BIT(12)
#define SVM_F_AVIC		BIT(13)
#define SVM_F_VGIF		BIT(16)
#define SVM_F_V_SPEC_CTRL	BIT(20)
#define SVM_F_HOST_MCE		BIT(23)
#define SVM_F_VNMI		BIT(25)

extern u32 svm_features;		/* [I] SVM_F_* */

/* wafer_hw.watch: reasons to look more closely around an entry. */
#define SVM_WATCH_STEP		BIT(0)	/* WAFER_ICPT_STEP is in force */
#define SVM_WATCH_NMI		BIT(1)	/* the NMI window is wanted */
#define SVM_WATCH_IRET		BIT(2)	/* the IRET that unblocks NMIs was let through */
#define SVM_WATCH_SOFT		BIT(3)	/* a software interrupt or exception is being injected */

/* wafer_hw.stepping: how the current entry is to end after one instruction. */
enum svm_stepping {
	SVM_STEP_NONE,
	SVM_STEP_TF,			/* by RFLAGS.TF */
	SVM_STEP_KICK,			/* an event's delivery: by an interrupt that is pending */
};

/**
 * struct wafer_hw - SVM's part of a vCPU
 * @vmcb_pa, @host_pa: physical addresses of @vmcb and of the CPU's page for the host's FS,
 *	GS, TR, LDTR and MSRs
 * @spec_guest, @spec_host: SPEC_CTRL to be in the CPU; equal where there is nothing to
 *	switch by hand
 * @spec_direct: the guest writes SPEC_CTRL itself: read it back at each exit
 * @vmcb, @msrpm: [I]
 * @dirty: SVM_DIRTY_*: what the CPU must not take from its cache at the next entry
 * @guest_groups: WAFER_G_* that the guest can change while it runs
 * @generation: svm_cpu.generation that @vmcb's ASID belongs to
 * @asid_due: a new ASID must be taken before the next entry
 * @serial: [I] unique for ever: tells a CPU whether another vCPU ran since
 * @watch: SVM_WATCH_*
 * @stepping: enum svm_stepping of the current entry; @own_tf: RFLAGS.TF was the guest's own
 * @icpt_cr8: WAFER_ICPT_CR8 is in force; @tpr: threshold of svm_windows()
 * @spec_open: direct access to SPEC_CTRL has been asked for
 * @nmi_blocked: without SVM_F_VNMI: an NMI's handler has not come to its IRET yet
 * @iret_rip: see SVM_WATCH_IRET
 * @soft, @soft_rip: event being injected and RIP of the instruction that is its cause
 *	(SVM_WATCH_SOFT)
 * @soft_start: RIP as the entry has it: behind that instruction without SVM_F_NRIPS
 * @cr0_hidden: CD and NW as the guest sees them; they are not set in the CPU
 * @tsc_ratio: 8.32 fixed point
 */
struct wafer_hw {
	u64 vmcb_pa, host_pa;
	u32 spec_guest, spec_host;
	bool spec_direct;
	struct svm_vmcb *vmcb;
	unsigned long *msrpm;
	u32 dirty;
	u32 guest_groups;
	u64 generation;
	u64 serial;
	bool asid_due;
	u8 watch;
	u8 stepping;
	u8 tpr;
	bool own_tf, icpt_cr8, spec_open, nmi_blocked;
	u64 iret_rip;
	struct wafer_event soft;
	u64 soft_rip, soft_start;
	u64 cr0_hidden;
	u64 tsc_ratio;
};
static_assert(offsetof(struct wafer_hw, vmcb_pa) == SVM_HW_VMCB_PA);
static_assert(offsetof(struct wafer_hw, host_pa) == SVM_HW_HOST_PA);
static_assert(offsetof(struct wafer_hw, spec_guest) == SVM_HW_SPEC_GUEST);
static_assert(offsetof(struct wafer_hw, spec_host) == SVM_HW_SPEC_HOST);
static_assert(offsetof(struct wafer_hw, spec_direct) == SVM_HW_SPEC_DIRECT);
static_assert(offsetof(struct wafer_vcpu, arch.gpr) == 0);

/**
 * struct svm_cpu - a CPU's part, touched by this CPU alone with interrupts off
 * @hsave, @host: [I] pages: the CPU's own save area (VM_HSAVE_PA), and where VMSAVE puts the
 *	host's state
 * @on: between cpu_on() and cpu_off()
 * @generation: of ASIDs; no two, on whatever CPUs, are equal
 * @next_asid: first one not given out in this generation
 * @last_serial: which vCPU was here last
 * @tsc_ratio, @tsc_aux: what the MSRs hold; @host_tsc_aux: what the host has there
 */
struct svm_cpu {
	void *hsave, *host;
	bool on;
	u64 generation;
	u32 next_asid;
	u64 last_serial;
	u64 tsc_ratio;
	u64 tsc_aux, host_tsc_aux;
};
DECLARE_PER_CPU(struct svm_cpu, svm_cpu);

#define SVM_TSC_RATIO_ONE	BIT_ULL(32)

/* DR6 with nothing reported: the active-low bits are set (§13.1.1.3). */
#define SVM_DR6_NONE		0xffff0ff0ull

/* ---- MSRs: own accessors. 0; -EIO: #GP, *@val is 0 ---- */
static inline int svm_rdmsr(u32 msr, u64 *val)
{
	u32 low, high;
	int err;

	asm volatile("1: rdmsr\n\t"
		     "xor %[err], %[err]\n2:\n"
		     _ASM_EXTABLE_TYPE_REG(1b, 2b, EX_TYPE_RDMSR_SAFE, %[err])
		     : [err] "=r" (err), "=a" (low), "=d" (high) : "c" (msr));
	*val = low | (u64)high << 32;
	return err;
}

static inline int svm_wrmsr(u32 msr, u64 val)
{
	int err;

	asm volatile("1: wrmsr\n\t"
		     "xor %[err], %[err]\n2:\n"
		     _ASM_EXTABLE_TYPE_REG(1b, 2b, EX_TYPE_WRMSR_SAFE, %[err])
		     : [err] "=a" (err)
		     : "c" (msr), "0" (lower_32_bits(val)), "d" (upper_32_bits(val)) : "memory");
	return err;
}

static inline bool svm_has(u32 feature)
{
	return svm_features & feature;
}

/* Switches one intercept; with a constant @nr this is a few instructions. */
static inline void svm_icpt(struct wafer_hw *hw, unsigned int nr, bool on)
{
	u32 *word = &hw->vmcb->icpt[nr / 32], bit = BIT(nr % 32);

	if (!!(*word & bit) == on)
		return;
	*word ^= bit;
	hw->dirty |= SVM_DIRTY_ICPT;
}

/* enter.S: VMRUN and what belongs around it. vmcb->exit_code says whether it ran. */
asmlinkage void wafer_svm_run(struct wafer_vcpu *vcpu, struct wafer_hw *hw);

/* hardware.c */
void svm_load(struct wafer_vcpu *vcpu);
void svm_put(struct wafer_vcpu *vcpu);
void svm_new_asid(struct wafer_hw *hw);
void svm_load_tsc_ratio(struct wafer_hw *hw);
void svm_load_tsc_aux(u64 val);

/* vmcb.c */
int svm_iopm_create(void);
void svm_iopm_free(void);
int svm_vcpu_create(struct wafer_vcpu *vcpu);
void svm_vcpu_free(struct wafer_vcpu *vcpu);
void svm_set_root(struct wafer_vcpu *vcpu, hpa_t root);
void svm_flush_tlb(struct wafer_vcpu *vcpu);
void svm_intercept_msr(struct wafer_vcpu *vcpu, u32 msr, bool read, bool write);
void svm_intercept(struct wafer_vcpu *vcpu, u32 bits);
void svm_set_tsc(struct wafer_vcpu *vcpu, u64 offset, u64 ratio);
void svm_open_spec_ctrl(struct wafer_vcpu *vcpu);

/* state.c */
void svm_read_state(struct wafer_vcpu *vcpu, u32 mask);
void svm_write_state(struct wafer_vcpu *vcpu, u32 mask);

/* inject.c */
void svm_inject(struct wafer_vcpu *vcpu, const struct wafer_event *ev);
void svm_windows(struct wafer_vcpu *vcpu, u32 which, u8 tpr);
void svm_set_nmi_blocked(struct wafer_hw *hw, bool blocked);
bool svm_nmi_blocked(const struct wafer_hw *hw);
void svm_iret_exit(struct wafer_hw *hw);
void svm_before_entry(struct wafer_hw *hw);
void svm_after_exit(struct wafer_vcpu *vcpu, struct wafer_exit *exit);
void svm_found_in_delivery(struct wafer_vcpu *vcpu, u32 info, u32 error);

/* exit.c */
void svm_enter(struct wafer_vcpu *vcpu, struct wafer_exit *exit);

/* check.c: which rule of §15.5.1 @vmcb breaks, or NULL */
const char *svm_check_vmcb(const struct svm_vmcb *vmcb);

#endif
