/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of the SVM backend share. Section numbers in this folder are those of the APM,
 * volume 2.
 */
#ifndef WAFER_SVM_H
#define WAFER_SVM_H

#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <asm/cpufeature.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "compat.h"
#include "offsets.h"
#include "vcpu.h"
#include "vm.h"
#include "vmcb.h"

/*
 * CPUID Fn8000_000A EDX (APM vol. 3 §E.4.9) as the kernel keeps it; the kernel may hide what does
 * not work.
 */
#define SVM_F(bit) (CPUID_8000_000A_EDX * 32 + (bit))
enum svm_feature {
	SVM_F_NP = SVM_F(0),
	SVM_F_NRIPS = SVM_F(3), SVM_F_TSC_RATIO, SVM_F_CLEAN, SVM_F_FLUSH_ASID, SVM_F_DECODE,
	SVM_F_PAUSE = SVM_F(10), SVM_F_PAUSE_THRESHOLD = SVM_F(12), SVM_F_AVIC = SVM_F(13),
	SVM_F_VGIF = SVM_F(16), SVM_F_V_SPEC_CTRL = SVM_F(20), SVM_F_HOST_MCE = SVM_F(23),
	SVM_F_VNMI = SVM_F(25),
};
#define svm_has(feature) static_cpu_has(SVM_F_##feature)

/* The CPU keeps the guest's SPEC_CTRL apart from the host's. */
static __always_inline bool svm_virtual_spec(void)
{
	return svm_has(V_SPEC_CTRL) && static_cpu_has(X86_FEATURE_MSR_SPEC_CTRL);
}

/**
 * enum svm_watch - wafer_hw.watch: reasons to look more closely around an entry
 * @SVM_WATCH_STEP: WAFER_ICPT_STEP is in force
 * @SVM_WATCH_NMI: the NMI window is wanted
 * @SVM_WATCH_IRET: the IRET that unblocks NMIs was let through
 * @SVM_WATCH_SOFT: a software interrupt or exception is being injected
 * @SVM_WATCH_VIRQ: this entry delivers a virtual interrupt
 * @SVM_WATCH_TF: the entry is to end after one instruction by RFLAGS.TF, which the guest has clear
 * @SVM_WATCH_KICK: likewise, after an event's delivery: by an interrupt that is pending
 */
enum svm_watch {
	SVM_WATCH_STEP = BIT(0), SVM_WATCH_NMI = BIT(1), SVM_WATCH_IRET = BIT(2),
	SVM_WATCH_SOFT = BIT(3), SVM_WATCH_VIRQ = BIT(4), SVM_WATCH_TF = BIT(5),
	SVM_WATCH_KICK = BIT(6),
};

/**
 * struct wafer_hw - SVM's part of a vCPU
 * @vmcb_pa, @host_pa: physical addresses of @vmcb and of the CPU's page for the host's FS, GS, TR,
 *	LDTR and MSRs
 * @spec_guest, @spec_host: SPEC_CTRL to be in the CPU; equal where there is nothing to switch by
 *	hand
 * @spec_direct: the guest writes SPEC_CTRL itself: read it back at each exit
 * @spec_open: direct access to SPEC_CTRL has been asked for
 * @asid_due: a new ASID must be taken before the next entry
 * @watch: SVM_WATCH_*
 * @guest_groups: WAFER_G_* that the guest can change while it runs and that are read when asked for
 * @vmcb, @msrpm: [I]
 * @generation: svm_cpu.generation that @vmcb's ASID belongs to
 * @serial: [I] unique for ever: tells a CPU whether another vCPU ran since
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
	bool spec_direct, spec_open, asid_due;
	u8 watch;
	u32 guest_groups;
	struct svm_vmcb *vmcb;
	unsigned long *msrpm;
	u64 generation, serial, iret_rip, soft_rip, soft_start, cr0_hidden, tsc_ratio;
	struct wafer_event soft;
};
static_assert(offsetof(struct wafer_hw, vmcb_pa) == SVM_HW_VMCB_PA &&
	      offsetof(struct wafer_hw, host_pa) == SVM_HW_HOST_PA &&
	      offsetof(struct wafer_hw, spec_guest) == SVM_HW_SPEC_GUEST &&
	      offsetof(struct wafer_hw, spec_host) == SVM_HW_SPEC_HOST &&
	      offsetof(struct wafer_hw, spec_direct) == SVM_HW_SPEC_DIRECT &&
	      offsetof(struct wafer_vcpu, arch.gpr) == 0);

/**
 * struct svm_cpu - a CPU's part, touched by this CPU alone with interrupts off
 * @pages: [I] two: the CPU's own save area (VM_HSAVE_PA), and where VMSAVE puts the host's state
 * @on: between cpu_on() and cpu_off()
 * @generation: of ASIDs; no two, on whatever CPUs, are equal
 * @next_asid: first one not given out in this generation
 * @last_serial: which vCPU was here last
 * @tsc_ratio, @tsc_aux: what the MSRs hold; @host_tsc_aux: what the host has there
 */
struct svm_cpu {
	void *pages;
	bool on;
	u32 next_asid;
	u64 generation, last_serial, tsc_ratio, tsc_aux, host_tsc_aux;
};
DECLARE_PER_CPU(struct svm_cpu, svm_cpu);

#define SVM_TSC_RATIO_ONE	BIT_ULL(32)

/* DR6 with nothing reported: the active-low bits are set (§13.1.1.3). */
#define SVM_DR6_NONE		0xffff0ff0ull

/* 0; -EIO: #GP */
static inline int svm_rdmsr(u32 msr, u64 *val)
{
	u32 low, high;
	int r = rdmsr_safe(msr, &low, &high);

	*val = low | (u64)high << 32;
	return r;
}

static inline int svm_wrmsr(u32 msr, u64 val)
{
	return wrmsr_safe(msr, lower_32_bits(val), upper_32_bits(val));
}

/* Switches one intercept; with a constant @nr this is a few instructions. */
static inline void svm_icpt(struct wafer_hw *hw, unsigned int nr, bool on)
{
	u32 *word = &hw->vmcb->icpt[nr / 32], bit = BIT(nr % 32);

	if (!!(*word & bit) == on)
		return;
	*word ^= bit;
	hw->vmcb->clean &= ~SVM_CLEAN_ICPT;
}

static inline void svm_watch(struct wafer_hw *hw, u8 what, bool on)
{
	hw->watch = on ? hw->watch | what : hw->watch & ~what;
}

static __always_inline void svm_read_code(struct wafer_vcpu *vcpu, const struct svm_vmcb *v)
{
	vcpu->exit.code = v->seg[WAFER_CS].attr << 8 | v->cpl;
	if (unlikely(v->seg[WAFER_CS].base))
		vcpu->exit.code |= WAFER_CODE_BASED;
}

/* enter.S: VMRUN and what belongs around it. vmcb->exit_code says whether it ran. */
asmlinkage void wafer_svm_run(struct wafer_vcpu *vcpu, struct wafer_hw *hw);

/* hardware.c */
extern void *svm_iopm;		/* [I] all ones: every port exits; shared by all vCPUs */
void svm_new_asid(struct wafer_hw *hw);
void svm_load_tsc_ratio(struct wafer_hw *hw);
void svm_load_tsc_aux(u64 val);

/* vmcb.c */
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
void svm_write_block(struct wafer_vcpu *vcpu);
void svm_iret_exit(struct wafer_vcpu *vcpu);
bool svm_is_soft(u8 type, u8 vector);
void svm_before_entry(struct wafer_vcpu *vcpu);
void svm_after_exit(struct wafer_vcpu *vcpu, struct wafer_exit *exit);
void svm_found_in_delivery(struct wafer_vcpu *vcpu, u32 info, u32 error);

/* exit.c */
extern u32 svm_first_icpt[6];	/* [I] */
void svm_exit_setup(void);
void svm_enter(struct wafer_vcpu *vcpu);

#endif
