/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A vCPU and what the rooms may do to it.
 *
 * Who protects what: [v] the thread that holds vcpu->mutex; [a] atomic; [I] immutable once the vCPU
 * is published; [w] the window (interrupts off, loaded on this CPU).
 */
#ifndef WAFER_VCPU_H
#define WAFER_VCPU_H

#include <linux/rcuwait.h>
#include <linux/signal_types.h>

#include "backend.h"
#include "direct.h"
#include "emulate.h"
#include "irq.h"
#include "mmu.h"

struct wafer_vm;
struct wafer_hw;		/* the backend's own part */
struct wafer_cpuid;

/**
 * enum wafer_hazard - rare work that must be done before the next entry
 * @WAFER_H_EVENT: look for interrupts, NMIs, exceptions to inject
 * @WAFER_H_FLUSH: drop translations
 * @WAFER_H_KICK: nothing but leave the guest once
 * @WAFER_H_CLOCK: write the kvmclock page
 * @WAFER_H_STEAL: write the steal-time record
 * @WAFER_H_TSC: TSC offset or ratio changed
 * @WAFER_H_TIMER: the local APIC timer fired
 * @WAFER_H_INIT_SIPI: INIT or SIPI pending: vcpu->init_sipi, see vcpu/mp.c
 * @WAFER_H_NMI: NMI pending (nmi_pending counts)
 * @WAFER_H_INTERCEPT: recompute intercepts (guest debug, MSR filter, CPUID)
 * @WAFER_H_EXIT: leave to user space: requested_exit() in vcpu/run.c knows why (EOI, triple fault,
 *	ring full)
 * @WAFER_H_MCE: an injected machine check
 * @WAFER_H_CHECK: state was set by user space: check it against what the CPU accepts
 *
 * Raised by anybody with wafer_vcpu_raise(), tested as one word in the window after vcpu->mode says
 * IN_GUEST.
 */
enum wafer_hazard {
	WAFER_H_EVENT, WAFER_H_FLUSH, WAFER_H_KICK, WAFER_H_CLOCK, WAFER_H_STEAL, WAFER_H_TSC,
	WAFER_H_TIMER, WAFER_H_INIT_SIPI, WAFER_H_NMI, WAFER_H_INTERCEPT, WAFER_H_EXIT,
	WAFER_H_MCE, WAFER_H_CHECK,
};

enum wafer_vcpu_mode { WAFER_OUTSIDE, WAFER_IN_GUEST };

/* Handler results besides -errno. */
#define WAFER_TO_USER	0	/* kvm_run is filled in */
#define WAFER_GO_ON	1
#define WAFER_RETRY_SLOW 2	/* a fast handler: call the slow one outside the window */

#define WAFER_FETCHES 4

/**
 * struct wafer_fetch - a code page that was fetched from lately (vcpu/fetch.c)
 * @way: to the page
 * @page: its linear address
 * @cr3: what the way was found with; with another CR0, CR4 or EFER all are forgotten
 * @key: exit.code that it was found with; WAFER_CODE_NONE: nothing known
 * @mode: of the code
 * @insn: what was decoded there last
 */
struct wafer_fetch {
	struct wafer_way way;
	gva_t page;
	u64 cr3;
	u32 key;
	enum wafer_code_mode mode;
	struct wafer_insn insn;
};

/* What is looked at behind the next exit (EVENT) or behind each (RING: is the dirty ring full?). */
enum { WAFER_AFTER_EVENT = BIT(0), WAFER_AFTER_RING = BIT(1) };

#define WAFER_MCE_BANKS	32

/**
 * struct wafer_msr_state - MSRs that live nowhere else; [v]
 * @mce: four registers for each bank: CTL, STATUS, ADDR, MISC
 * @mtrr_fixed: in the order of their numbers
 * @mtrr_var: base, mask, base, ...
 */
struct wafer_msr_state {
	u64 misc_enable, tsc_adjust, wall_clock, ucode_rev, arch_capabilities, platform_info;
	u64 misc_features, power_ctl, smi_count, hwcr, de_cfg, osvw_length, osvw_status;
	u64 mcg_status, mcg_ctl;
	u64 mce[WAFER_MCE_BANKS * 4];
	u64 mtrr_def, mtrr_fixed[11], mtrr_var[16];
};

/**
 * struct wafer_vcpu - a virtual CPU
 * @arch: [v] architectural state; first, because enter.S addresses it
 * @hw: [v] the backend's
 * @vm: [I] the VM
 * @run: page 0 of the mapping, shared with the VMM
 * @pio_data: page 1 of the mapping
 * @lapic: NULL without one in the kernel
 * @cpuid: the guest's CPUID (vcpu/cpuid.c)
 * @fpu: XSAVE area, standard format, 64-byte aligned (vcpu/fpu.c)
 * @cr8: [w] the guest's CR8 as the hardware holds it
 * @last_cr8: what the local APIC knows of
 * @tpr_threshold: [w] in force
 * @after_exit: [w] WAFER_AFTER_*
 * @eoi_vector: goes with @eoi_exit
 * @sipi_vector: [a] of the last SIPI
 * @loaded: [w] between load() and put()
 * @fpu_loaded: [v] guest FPU state is in the registers
 * @dr_loaded: [v] dr[0..3] are in the registers
 * @triple_fault: [v] pending triple fault (KVM_CAP_X86_TRIPLE_FAULT_EVENT)
 * @clock_stopped: KVM_KVMCLOCK_CTRL
 * @has_pku: the guest's CPUID has PKU: it can see PKRU
 * @has_cpuid: KVM_SET_CPUID2 was called
 * @emu_busy: an emulated access waits for the VMM (vcpu/mmio.c)
 * @has_sigmask: KVM_SET_SIGNAL_MASK was called with @sigmask
 * @want_irq_window: run->request_interrupt_window as read at KVM_RUN
 * @step_due: [v] an emulated instruction ended under the VMM's single step
 * @eoi_exit: [v] KVM_EXIT_IOAPIC_EOI for eoi_vector is due (split chip)
 * @mode: [a] enum wafer_vcpu_mode. Set, full barrier, then hazards are read; raiser: hazard, full
 *	barrier, mode
 * @hw_cpu: [v, preemption off] CPU where the hardware state is bound, -1 none
 * @guest_cpu: [w] CPU in the window; for kicks
 * @extint: [v] vector given by KVM_INTERRUPT, -1 none
 * @hazards: [a] BIT(enum wafer_hazard)
 * @init_sipi: [a] WAFER_GOT_INIT, WAFER_GOT_SIPI, WAFER_GOT_UNHALT
 * @exit: [v] the last exit
 * @reinject: [v] what must be delivered before all else: found in delivery by the last exit, or
 *	injected by user space
 * @pending: [v] an exception to be delivered, after @reinject
 * @nmi_pending: [a] NMIs waiting, at most 2
 * @windows: [w] WAFER_WINDOW_* in force
 * @intercepts: [w] WAFER_ICPT_* in force
 * @mp_state: [v] KVM_MP_STATE_*; read by others for statistics only
 * @id: [I] APIC id as user space gave it
 * @index: [I] position in vm->vcpus
 * @tsc_khz: virtual TSC and paravirtual clocks are vcpu/time.c's
 * @pkru: the guest's; in the CPU only around the entry (fpu.h)
 * @host_pkru: [w]
 * @pv_features: CPUID 0x40000001 EAX of the guest
 * @guest_debug: KVM_GUESTDBG_* (vcpu/debug.c)
 * @stepping: the VMM steps, from @step_rip on; else under KVM_GUESTDBG_SINGLESTEP TF does
 * @apic_base: [v] IA32_APIC_BASE; kept without a local APIC too
 * @tsc_offset: guest TSC - scaled host TSC
 * @tsc_ratio: guest TSC / host TSC, with caps.tsc_frac_bits
 * @steal_last: run_delay that the steal-time record knows of
 * @guest_debug_dr: the debugger's DR0-DR7
 * @mcg_cap: IA32_MCG_CAP, as KVM_X86_SETUP_MCE left it
 * @guest_xcr0: components that the guest's CPUID has
 * @clock_gpa: MSR value with the enable bit
 * @steal_gpa: MSR value with the enable bit
 * @msr: MSRs that live nowhere else (vcpu/msr.c)
 * @fault: of the memory room
 * @complete: [v] finishes the exit that user space is handling; called at the start of KVM_RUN, if
 *	RIP is what emu.rip says still
 * @wait: sleeps here in HLT or before SIPI
 * @mutex: held by the thread that runs or changes the vCPU
 * @fetch: [w] WAFER_FETCHES of them, the last one first
 * @fetch_victim: [w] which of the others gives its place to what was first
 * @bus_place: [v] where a device was found last on each bus (irq/bus.c)
 * @emu: memory-mapped I/O in progress (vcpu/mmio.c)
 * @pio: port I/O in progress (vcpu/pio.c)
 * @sigmask: for the time of KVM_RUN
 * @refusal: for WAFER_LAST_ERROR
 * @stat_exits: exits of each kind
 * @stat_user: returns to user space
 * @stat_halts: HLTs
 * @stat_halt_wakeups: ends of HLT
 * @stat_injected: events injected
 */
struct wafer_vcpu {
	struct wafer_arch arch;
	struct wafer_hw *hw;
	struct wafer_vm *vm;
	struct kvm_run *run;
	void *pio_data, *fpu;
	struct wafer_lapic *lapic;
	struct wafer_cpuid *cpuid;
	u8 cr8, last_cr8, tpr_threshold, after_exit, eoi_vector, sipi_vector;
	bool loaded, fpu_loaded, dr_loaded, triple_fault, clock_stopped, has_pku, has_cpuid;
	bool emu_busy, has_sigmask, want_irq_window, stepping, step_due, eoi_exit;
	int mode, hw_cpu, guest_cpu, extint;
	unsigned long hazards, init_sipi;
	struct wafer_exit exit;
	struct wafer_event reinject, pending;
	atomic_t nmi_pending;
	u32 windows, intercepts, mp_state, id, index, tsc_khz, pkru, host_pkru;
	u32 pv_features, guest_debug;
	u64 apic_base, mcg_cap, guest_xcr0, tsc_offset, tsc_ratio, steal_last, step_rip;
	u64 guest_debug_dr[8];
	gpa_t clock_gpa, steal_gpa;
	struct wafer_msr_state msr;
	struct wafer_fault_ctx fault;
	int (*complete)(struct wafer_vcpu *vcpu);
	struct rcuwait wait;
	struct mutex mutex;
	struct wafer_fetch *fetch;
	u32 fetch_victim, bus_place[WAFER_NR_BUSES];
	struct wafer_emu emu;
	struct {
		/* elements that the VMM was asked for; that INS has yet to store */
		u32 count, left;
	} pio;
	sigset_t sigmask;
	struct wafer_refusal refusal;
	u64 stat_exits[WAFER_NR_EXITS], stat_user, stat_halts, stat_halt_wakeups, stat_injected;
};

/* ---- register access: read on demand, written before the next entry (vcpu/regs.c) ---- */
/* groups of @mask not yet available */
void wafer_fetch_state(struct wafer_vcpu *vcpu, u32 mask);

static inline void wafer_need(struct wafer_vcpu *vcpu, u32 mask)
{
	if (unlikely(vcpu->arch.missing & mask))
		wafer_fetch_state(vcpu, vcpu->arch.missing & mask);
}

void wafer_forget_ways(struct wafer_vcpu *vcpu);

/* The caller is about to overwrite all of the groups in @mask, or has them already. */
static inline void wafer_touch(struct wafer_vcpu *vcpu, u32 mask)
{
	if (mask & (WAFER_G_CR0 | WAFER_G_CR4 | WAFER_G_EFER))
		wafer_forget_ways(vcpu);
	vcpu->arch.missing &= ~mask;
	vcpu->arch.dirty |= mask;
}

#define WAFER_REG(name, field, group)						\
static inline u64 wafer_##name(struct wafer_vcpu *vcpu)				\
{										\
	wafer_need(vcpu, group);						\
	return vcpu->arch.field;						\
}										\
static inline void wafer_put_##name(struct wafer_vcpu *vcpu, u64 val)		\
{										\
	vcpu->arch.field = val;							\
	wafer_touch(vcpu, group);						\
}
WAFER_REG(rip, rip, WAFER_G_RIP)
WAFER_REG(rsp, gpr[WAFER_RSP], WAFER_G_RSP)
WAFER_REG(rflags, rflags, WAFER_G_RFLAGS)
WAFER_REG(cr0, cr0, WAFER_G_CR0)
WAFER_REG(cr2, cr2, WAFER_G_CR2)
WAFER_REG(cr3, cr3, WAFER_G_CR3)
WAFER_REG(cr4, cr4, WAFER_G_CR4)
WAFER_REG(efer, efer, WAFER_G_EFER)
WAFER_REG(block, block, WAFER_G_BLOCK)	/* wafer_block(), wafer_put_block() */
#undef WAFER_REG

/* CR8 as the hardware is to hold it. */
static inline void wafer_put_tpr(struct wafer_vcpu *vcpu, u8 cr8)
{
	if (vcpu->cr8 != cr8)
		vcpu->arch.dirty |= WAFER_G_TPR;
	vcpu->cr8 = cr8;
}

static inline const struct wafer_segment *wafer_seg(struct wafer_vcpu *vcpu, enum wafer_seg_reg n)
{
	wafer_need(vcpu, WAFER_G_SEG(n));
	return &vcpu->arch.seg[n];
}

/* Current privilege level: SS.DPL (SDM vol. 3 §25.4.1; SVM keeps the CPL field equal to it). */
static inline unsigned int wafer_cpl(struct wafer_vcpu *vcpu)
{
	return wafer_dpl(wafer_seg(vcpu, WAFER_SS));
}

/* WAFER_CODE16, 32 or 64: what CS.L, CS.D and EFER.LMA say. */
enum wafer_code_mode wafer_code_mode(struct wafer_vcpu *vcpu);

/* ---- life (vcpu/vcpu.c) ---- */
/* ERR_PTR; vm->lock held; not yet published */
struct wafer_vcpu *wafer_vcpu_create(struct wafer_vm *vm, u32 id);
void wafer_vcpu_free(struct wafer_vcpu *vcpu);
/* architectural RESET or INIT */
void wafer_vcpu_reset(struct wafer_vcpu *vcpu, bool init);

/* ---- the window (vcpu/window.c): preemption and interrupts off, loaded ---- */
void wafer_window_open(struct wafer_vcpu *vcpu);
void wafer_window_close(struct wafer_vcpu *vcpu);
void wafer_vcpu_detach(struct wafer_vcpu *vcpu);

/* ---- kicks (vcpu/kick.c); any context ---- */
int wafer_kick_init(void);
void wafer_kick_exit(void);
/* and kick or wake */
void wafer_vcpu_raise(struct wafer_vcpu *vcpu, enum wafer_hazard hazard);
/* By the vCPU's own thread, or while it cannot be in the guest: no kick is needed. */
static inline void wafer_hazard_set(struct wafer_vcpu *vcpu, enum wafer_hazard hazard)
{
	set_bit(hazard, &vcpu->hazards);
}

/* Several: BIT(enum wafer_hazard). */
static inline void wafer_hazards_set(struct wafer_vcpu *vcpu, unsigned long hazards)
{
	set_mask_bits(&vcpu->hazards, 0, hazards);
}
void wafer_vcpu_nmi(struct wafer_vcpu *vcpu);
void wafer_vm_raise(struct wafer_vm *vm, enum wafer_hazard hazard);
/*
 * Raises @hazard on all vCPUs and waits until none is in the guest without having seen it.
 * Interrupts on.
 */
void wafer_vm_raise_wait(struct wafer_vm *vm, enum wafer_hazard hazard);

/* ---- running (vcpu/run.c) ---- */
int wafer_vcpu_run(struct wafer_vcpu *vcpu);				/* KVM_RUN, mutex held */

/* ---- events (vcpu/event.c) ---- */
/* #DF and triple-fault rules applied. The functions that return something say WAFER_GO_ON. */
void wafer_queue_event(struct wafer_vcpu *vcpu, const struct wafer_event *ev);
int wafer_queue_exception(struct wafer_vcpu *vcpu, u8 vector, u32 error);
void wafer_queue_db(struct wafer_vcpu *vcpu, u64 dr6);
/*
 * What the CPU reports with #DB, without the breakpoints that are not armed: it may tell of those
 * too (SDM vol. 3 §17.2.3), and what stands in their registers can be another guest's.
 */
static inline u64 wafer_db_payload(struct wafer_vcpu *vcpu, u64 dr6)
{
	u64 on = vcpu->arch.hw_dr7 | vcpu->arch.hw_dr7 >> 1;

	return dr6 & ((on & 1) | (on >> 1 & 2) | (on >> 2 & 4) | (on >> 3 & 8) | ~0xfull);
}

static inline int wafer_queue_gp(struct wafer_vcpu *vcpu)
{
	return wafer_queue_exception(vcpu, 13, 0);
}

static inline int wafer_queue_ud(struct wafer_vcpu *vcpu)
{
	return wafer_queue_exception(vcpu, 6, 0);
}

void wafer_deliver_payload(struct wafer_vcpu *vcpu, struct wafer_event *ev);
/* window; at WAFER_H_EVENT */
int wafer_inject_events(struct wafer_vcpu *vcpu);
bool wafer_ready_for_extint(struct wafer_vcpu *vcpu);
bool wafer_irq_window_opens(struct wafer_vcpu *vcpu);

/* ---- instructions (vcpu/insn.c) ---- */
/* What the CPU does at the end of an instruction: the shadow ends, or is @shadow; TF traps. */
void wafer_retired(struct wafer_vcpu *vcpu, u32 shadow);
/*
 * Guest-physical memory in the window (-EAGAIN: not to be had there) or where sleeping is allowed.
 */
int wafer_copy_guest(struct wafer_vcpu *vcpu, gpa_t gpa, void *data, unsigned int len, bool write);
int wafer_cmpxchg_guest(struct wafer_vcpu *vcpu, gpa_t gpa, void *old, const void *new,
			unsigned int len);
/*
 * Linear to guest-physical. 0; 1: an event was queued (or, with @ev, filled in); -EAGAIN (window);
 * -errno
 */
int wafer_translate(struct wafer_vcpu *vcpu, gva_t gva, u32 access, gpa_t *gpa,
		    struct wafer_event *ev);
int wafer_translate_walk(struct wafer_vcpu *vcpu, gva_t gva, u32 access, gpa_t *gpa,
			 struct wafer_event *ev, struct wafer_walk *w);

/* ---- control registers with the CPU's checks (vcpu/cr.c): 0, 1 (#GP to be raised) ---- */
int wafer_set_cr0(struct wafer_vcpu *vcpu, u64 val);
int wafer_set_cr3(struct wafer_vcpu *vcpu, u64 val);
int wafer_set_cr4(struct wafer_vcpu *vcpu, u64 val);
int wafer_set_cr8(struct wafer_vcpu *vcpu, u64 val);
int wafer_set_xcr0(struct wafer_vcpu *vcpu, u64 val);
bool wafer_cr0_valid(u64 cr0);
bool wafer_pae_paging(u64 cr0, u64 cr4, u64 efer);			/* PAE without long mode */
bool wafer_pdptrs_valid(struct wafer_vcpu *vcpu, const u64 *pdptr);
/* by host and, once set, the guest's CPUID */
bool wafer_cr4_valid(struct wafer_vcpu *vcpu, u64 cr4);
bool wafer_cr4_runs(struct wafer_vcpu *vcpu, u64 cr4);
/* by the guest's CPUID, set or not */
u64 wafer_guest_cr4(struct wafer_vcpu *vcpu);
u64 wafer_efer_allowed(void);

/* ---- CPUID (vcpu/cpuid.c) ---- */
void wafer_cpuid_setup(void);					/* once, after wafer_fpu_setup() */
/* number, or -E2BIG */
int wafer_supported_cpuid(struct kvm_cpuid_entry2 *e, unsigned int max);
int wafer_set_cpuid(struct wafer_vcpu *vcpu, const struct kvm_cpuid_entry2 *e, unsigned int nr);
/* The number of entries; as many as @max are copied. */
int wafer_get_cpuid(struct wafer_vcpu *vcpu, struct kvm_cpuid_entry2 *e, unsigned int max);
/* What the instruction gives, in any context. */
const struct kvm_cpuid_entry2 *wafer_cpuid(struct wafer_vcpu *vcpu, u32 leaf, u32 index,
					   struct kvm_cpuid_entry2 *e);
int wafer_cpuid_create(struct wafer_vcpu *vcpu);	/* an empty table */
/*
 * A feature bit of <asm/cpufeatures.h>, word * 32 + bit: can guests have it; has this one got it?
 */
bool wafer_offered(unsigned int feature);
bool wafer_guest_has(struct wafer_vcpu *vcpu, unsigned int feature);
void wafer_cpuid_update(struct wafer_vcpu *vcpu);		/* MISC_ENABLE has changed */
void wafer_cpuid_faulting(struct wafer_vcpu *vcpu);		/* MISC_FEATURES_ENABLES has */
u8 wafer_guest_phys_bits(struct wafer_vcpu *vcpu);

/* ---- MSRs (vcpu/msr.c, mce.c, msr_filter.c) ---- */
void wafer_msr_setup(void);						/* once, at module load */
/*
 * What became of an access. GP: #GP, or the host's ioctl stops here; SLOW: not in the window: guest
 * memory or a lock is needed; USER_UNKNOWN: goes to user space if it asked for unknown ones, else
 * #GP; USER_FILTER: denied by the filter: user space if it asked, else #GP.
 */
enum { WAFER_MSR_OK, WAFER_MSR_GP, WAFER_MSR_SLOW, WAFER_MSR_USER_UNKNOWN, WAFER_MSR_USER_FILTER };
/*
 * How it is made. HOST: by the VMM: no read-only registers, no CPUID, no filter; WINDOW: in the
 * window.
 */
enum { WAFER_MSR_WRITE = BIT(0), WAFER_MSR_HOST = BIT(1), WAFER_MSR_WINDOW = BIT(2) };
int wafer_msr_access(struct wafer_vcpu *vcpu, u32 index, u64 *val, u8 how);
/* KVM_GET_MSR_(FEATURE_)INDEX_LIST; count */
int wafer_msr_list(u32 *index, unsigned int max, bool feature);
int wafer_feature_msr(u32 index, u64 *val);					/* 0 or 1 */
void wafer_msr_reset(struct wafer_vcpu *vcpu, bool init);
/* at WAFER_H_INTERCEPT, window */
void wafer_msr_intercepts(struct wafer_vcpu *vcpu);
void wafer_msr_filter_free(struct wafer_vm *vm);
int wafer_set_msr_filter(struct wafer_vm *vm, const struct kvm_msr_filter *filter);
int wafer_setup_mce(struct wafer_vcpu *vcpu, u64 mcg_cap);
int wafer_set_mce(struct wafer_vcpu *vcpu, const struct kvm_x86_mce *mce);
u64 wafer_mce_cap(void);

/* ---- FPU (vcpu/fpu.c) ---- */
/* once, after the hardware is found */
void wafer_fpu_setup(void);
int wafer_fpu_create(struct wafer_vcpu *vcpu);
void wafer_fpu_reset(struct wafer_vcpu *vcpu, bool init);
void wafer_fpu_load(struct wafer_vcpu *vcpu);		/* preemption is off from here ... */
void wafer_fpu_put(struct wafer_vcpu *vcpu);		/* ... to here */
u64 wafer_host_xcr0(void);				/* components offered to guests */
u32 wafer_xsave_size(u64 xcr0, bool compacted);
unsigned int wafer_xsave_bytes(void);			/* KVM_CAP_XSAVE2 */
/* wafer_xsave_bytes() bytes, zeroed */
void wafer_get_xsave(struct wafer_vcpu *vcpu, void *buf);
int wafer_set_xsave(struct wafer_vcpu *vcpu, const void *buf);
int wafer_get_xcrs(struct wafer_vcpu *vcpu, struct kvm_xcrs *x);
int wafer_set_xcrs(struct wafer_vcpu *vcpu, const struct kvm_xcrs *x);
int wafer_get_fpu(struct wafer_vcpu *vcpu, struct kvm_fpu *f);
int wafer_set_fpu(struct wafer_vcpu *vcpu, const struct kvm_fpu *f);
void wafer_fpu_mmx(struct wafer_vcpu *vcpu, unsigned int nr, u64 *val, bool write);
void wafer_fpu_vec(struct wafer_vcpu *vcpu, unsigned int nr, void *data, unsigned int bytes,
		   bool write, bool zero_upper);

/* ---- state ioctls (vcpu/state.c); mutex held, vCPU not running ---- */
void wafer_get_regs(struct wafer_vcpu *vcpu, struct kvm_regs *r);
void wafer_set_regs(struct wafer_vcpu *vcpu, const struct kvm_regs *r);
void wafer_get_sregs(struct wafer_vcpu *vcpu, struct kvm_sregs *s);
int wafer_set_sregs(struct wafer_vcpu *vcpu, const struct kvm_sregs *s);
int wafer_get_sregs2(struct wafer_vcpu *vcpu, struct kvm_sregs2 *s);
int wafer_set_sregs2(struct wafer_vcpu *vcpu, const struct kvm_sregs2 *s);
void wafer_get_events(struct wafer_vcpu *vcpu, struct kvm_vcpu_events *e);
int wafer_set_events(struct wafer_vcpu *vcpu, const struct kvm_vcpu_events *e);
void wafer_get_debugregs(struct wafer_vcpu *vcpu, struct kvm_debugregs *d);
int wafer_set_debugregs(struct wafer_vcpu *vcpu, const struct kvm_debugregs *d);
void wafer_get_mp_state(struct wafer_vcpu *vcpu, struct kvm_mp_state *m);
int wafer_set_mp_state(struct wafer_vcpu *vcpu, const struct kvm_mp_state *m);
int wafer_interrupt(struct wafer_vcpu *vcpu, u32 irq);		/* KVM_INTERRUPT */
#define WAFER_GUESTDBG_MASK (KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | \
			     KVM_GUESTDBG_USE_SW_BP | KVM_GUESTDBG_USE_HW_BP | \
			     KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP | \
			     KVM_GUESTDBG_BLOCKIRQ)	/* KVM_CAP_SET_GUEST_DEBUG2 */
int wafer_set_guest_debug(struct wafer_vcpu *vcpu, const struct kvm_guest_debug *d);
void wafer_translate_ioctl(struct wafer_vcpu *vcpu, struct kvm_translation *t);
void wafer_sync_regs_out(struct wafer_vcpu *vcpu);			/* kvm_valid_regs */
int wafer_sync_regs_in(struct wafer_vcpu *vcpu);			/* kvm_dirty_regs */
/*
 * Is the whole state what the CPU accepts at entry? NULL, or the name of the field that is not.
 * Window or not.
 */
const char *wafer_check_state(struct wafer_vcpu *vcpu);

/* ---- INIT, SIPI, HLT (vcpu/mp.c) ---- */
enum { WAFER_GOT_INIT, WAFER_GOT_SIPI, WAFER_GOT_UNHALT };	/* bits of vcpu->init_sipi */
/* From the local APICs; any context. */
void wafer_vcpu_init_ipi(struct wafer_vcpu *vcpu);
void wafer_vcpu_sipi(struct wafer_vcpu *vcpu, u8 vector);

/* ---- time (vcpu/time.c) ---- */
void wafer_vcpu_time_init(struct wafer_vcpu *vcpu);
u64 wafer_guest_tsc_now(struct wafer_vcpu *vcpu);
void wafer_write_tsc(struct wafer_vcpu *vcpu, u64 val, bool host);
int wafer_set_tsc_khz(struct wafer_vcpu *vcpu, u32 khz);
int wafer_set_tsc_offset(struct wafer_vcpu *vcpu, u64 offset);
int wafer_kvmclock_ctrl(struct wafer_vcpu *vcpu);
void wafer_write_wall_clock(struct wafer_vcpu *vcpu, gpa_t gpa);
void wafer_get_clock(struct wafer_vm *vm, struct kvm_clock_data *c);
int wafer_set_clock(struct wafer_vm *vm, const struct kvm_clock_data *c);
/* Host nanoseconds until the guest's TSC reaches @deadline (at least 0). */
u64 wafer_tsc_delta_ns(struct wafer_vcpu *vcpu, u64 deadline, u64 *now_ns);

#endif
