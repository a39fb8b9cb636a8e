/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The operations that vmx/ and svm/ provide: all that the common part knows of a vendor.
 */
#ifndef WAFER_BACKEND_H
#define WAFER_BACKEND_H

#include "exit.h"

struct wafer_vcpu;
struct wafer_pt_format;

/* Windows: exit as soon as the guest can take the event. */
enum { WAFER_WINDOW_IRQ = BIT(0), WAFER_WINDOW_NMI = BIT(1) };

/**
 * enum wafer_icpt - intercepts that change at run time; everything else is intercepted or not once
 * and for all
 * @WAFER_ICPT_BP: #BP: KVM_GUESTDBG_USE_SW_BP
 * @WAFER_ICPT_HLT: HLT; this and the next are off with KVM_CAP_X86_DISABLE_EXITS
 * @WAFER_ICPT_PAUSE: PAUSE in a loop
 * @WAFER_ICPT_CR8: CR8 writes (no local APIC in the kernel)
 * @WAFER_ICPT_STEP: exit after one instruction (monitor trap flag; SVM: TF)
 */
enum wafer_icpt {
	WAFER_ICPT_BP = BIT(0), WAFER_ICPT_HLT = BIT(1), WAFER_ICPT_PAUSE = BIT(2),
	WAFER_ICPT_CR8 = BIT(3), WAFER_ICPT_STEP = BIT(4),
};

/**
 * struct wafer_caps - what the hardware offers, filled by detect()
 * @format: the nested page table's format (mmu/table.c: wafer_ept_format, wafer_npt_format)
 * @levels: 4 or 5
 * @max_level: largest leaf: 1 4 KiB, 2 2 MiB, 3 1 GiB
 * @has_ad: accessed and dirty bits in the nested table
 * @has_pml: page-modification log
 * @has_len: instruction length at (nearly) every exit
 * @has_tsc_scaling: set_tsc() honours a ratio
 * @pdptr_from_memory: PAE PDPTEs are read from memory at each walk (SVM), not kept since the load
 *	of CR3 (VMX)
 * @shutdown_undefined: a triple fault leaves no defined state behind (SVM, APM vol. 2 §15.14.3)
 * @tsc_frac_bits: fraction bits of the ratio
 * @has_tpr_shadow: CR8 needs no intercept with the local APIC in the kernel
 * @has_vnmi: NMI blocking is tracked by hardware
 * @asids: how many ASIDs or VPIDs, 0 none
 * @cr4_fixed1: CR4 bits a guest can have set at all
 * @features: one line for the log: optional features found
 */
struct wafer_caps {
	const struct wafer_pt_format *format;
	u8 levels;
	u8 max_level;
	bool has_ad, has_pml, has_len, has_tsc_scaling, has_tpr_shadow, has_vnmi;
	bool pdptr_from_memory, shutdown_undefined;
	u8 tsc_frac_bits;
	u32 asids;
	u64 cr4_fixed1;
	char features[160];
};

/**
 * struct wafer_backend - what one vendor's virtualisation does
 *
 * Contexts: "window" means preemption and interrupts off, between load() and put() on this CPU.
 *
 * @name: "vmx" or "svm"
 * @rival: the in-tree module that may hold the hardware
 * @hypercall: third byte of the hypercall instruction, after 0F 01
 * @detect: once, at module load; -ENODEV: not this vendor's CPU (silent); -EOPNOTSUPP: unusable,
 *	with one line in the log that says why and what to do
 * @teardown: undoes detect()
 * @cpu_on: on the CPU, interrupts off: take the hardware; -EBUSY where somebody else has it
 * @cpu_off: on the CPU, interrupts off: give it back. Harmless when it was not taken
 * @vcpu_create: may sleep; allocates vcpu->hw (VMCS/VMCB, bitmaps) with everything intercepted that
 *	is not known; must not touch the hardware beyond VMCLEAR-like initialisation done lazily in
 *	load()
 * @vcpu_free: may sleep; the vCPU is not loaded anywhere (detach() was called)
 * @detach: on the CPU where vcpu->hw_cpu says it is bound, interrupts off: unbind (VMCLEAR)
 * @load: opens a window: makes the vCPU's hardware state accessible on this CPU and sets
 *	vcpu->hw_cpu. Called with interrupts off and after detach() if it was bound to another CPU.
 *	A vCPU that comes to a CPU anew has WAFER_H_FLUSH raised by the backend or flushes by itself
 * @put: closes the window; pairs with load(). What is the host's is the host's again
 * @enter: window. Writes arch.dirty groups, runs the guest until it exits, sets arch.missing
 *	of all groups that the guest can change, stores the guest's TPR in vcpu->cr8,
 *	puts what the exit found in delivery into vcpu->reinject, and fills vcpu->exit. Reads only
 *	what that kind needs. Called through wafer_enter, a static call
 * @read_state: window. Fills the groups of @mask in vcpu->arch, and clears them in arch.missing
 *	(bits that are already available are not passed)
 * @inject: window. @ev is delivered at the next enter()
 * @windows: window. Sets which of WAFER_WINDOW_* make the guest exit, and the TPR threshold: with
 *	@tpr > 0 exit when the guest's CR8 falls below it (0: never)
 * @set_root: window. A (new) nested table for this vCPU
 * @flush_tlb: window. Drops all of this vCPU's (its root's) translations on this CPU
 * @intercept_msr: window or vCPU not running. Direct access (false) or exit (true) for reads and
 *	writes
 * @intercept: window. WAFER_ICPT_* bits in force
 * @set_tsc: window. offset, and ratio with caps.tsc_frac_bits (ignored without scaling)
 */
struct wafer_backend {
	const char *name;
	const char *rival;
	u8 hypercall;
	int  (*detect)(struct wafer_caps *caps);
	void (*teardown)(void);
	int  (*cpu_on)(void);
	void (*cpu_off)(void);
	int  (*vcpu_create)(struct wafer_vcpu *vcpu);
	void (*vcpu_free)(struct wafer_vcpu *vcpu);
	void (*detach)(struct wafer_vcpu *vcpu);
	void (*load)(struct wafer_vcpu *vcpu);
	void (*put)(struct wafer_vcpu *vcpu);
	void (*enter)(struct wafer_vcpu *vcpu);
	void (*read_state)(struct wafer_vcpu *vcpu, u32 mask);
	void (*inject)(struct wafer_vcpu *vcpu, const struct wafer_event *ev);
	void (*windows)(struct wafer_vcpu *vcpu, u32 which, u8 tpr);
	void (*set_root)(struct wafer_vcpu *vcpu, hpa_t root);
	void (*flush_tlb)(struct wafer_vcpu *vcpu);
	void (*intercept_msr)(struct wafer_vcpu *vcpu, u32 msr, bool read, bool write);
	void (*intercept)(struct wafer_vcpu *vcpu, u32 bits);
	void (*set_tsc)(struct wafer_vcpu *vcpu, u64 offset, u64 ratio);
};

extern const struct wafer_backend wafer_vmx, wafer_svm;
extern const struct wafer_backend *wafer_backend;	/* [I] after module load */
extern struct wafer_caps wafer_caps;			/* [I] after module load */

#endif
