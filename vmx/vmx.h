/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of the VMX backend share. Section numbers in this folder are those of the SDM,
 * volume 3.
 */
#ifndef WAFER_VMX_H
#define WAFER_VMX_H

#include <linux/user-return-notifier.h>
#include <asm/msr.h>
#include <asm/desc.h>
#include <asm/trapnr.h>
#include <uapi/asm/debugreg.h>

#include "compat.h"
#include "vcpu.h"
#include "vmcs.h"

/**
 * struct vmx_conf - what detect() found; [I] afterwards
 * @pin, @primary, @secondary, @exit, @entry: controls that every VMCS has
 * @primary_can, @secondary_can: controls that the CPU has at all
 * @ept_bits: low bits of the EPTP: memory type, levels, accessed and dirty bits
 * @l1d_flush: L1D to be flushed before a guest may read it
 * @verw_for_devices: the CPU's buffers to be emptied for guests that reach devices
 */
struct vmx_conf {
	u32 pin, primary, secondary, exit, entry, primary_can, secondary_can, ept_bits;
	bool l1d_flush, verw_for_devices;
};
extern struct vmx_conf vmx_conf;

#define VMX_L1D_PAGES	16	/* larger than any L1 data cache of an affected CPU */
extern void *vmx_pages;

/*
 * Bits of the interruptibility state: the shadows, and all that struct wafer_arch has, at the same
 * places.
 */
#define VMX_SHADOWS	(WAFER_BLOCK_STI | WAFER_BLOCK_MOVSS)
#define VMX_BLOCK_BITS	(VMX_SHADOWS | WAFER_BLOCK_NMI)

/*
 * hw->todo: due before the next entry. SWAP_IN is set but for the stretch from a window's first
 * entry to its end. What stays: STEP_TF: single steps by RFLAGS.TF, without a monitor trap flag;
 * VERW: see vmx_conf.verw_for_devices.
 */
enum {
	VMX_FLUSH_EPT = BIT(0), VMX_FLUSH_VPID = BIT(1), VMX_SWAP_IN = BIT(2), VMX_STEP_TF = BIT(3),
	VMX_VERW = BIT(4),
};

/**
 * struct vmx_run - what wafer_vmx_run() needs; enter.S uses the layout
 * @spec_guest, @spec_host: SPEC_CTRL of the guest and of the host
 * @host_rsp: HOST_RSP as in the VMCS
 * @flags: VMX_RUN_*; LAUNCHED: VMRESUME instead of VMLAUNCH; SAVE_SPEC: the guest has direct access
 *	to SPEC_CTRL, and it is read back at exits
 */
struct vmx_run {
	u64 spec_guest, spec_host, host_rsp;
	u32 flags;
};

enum { VMX_RUN_LAUNCHED = BIT(0), VMX_RUN_SAVE_SPEC = BIT(1) };

/**
 * struct wafer_hw - VMX's part of a vCPU; whole pages, since some have to be
 * @vmcs, @msr_bitmap, @vapic, @pml: the CPU is given their physical addresses
 * @vcpu: the vCPU. vcpu->hw_cpu is where the VMCS is active (may have data in the CPU, §25.11.1)
 * @link: in the list of the CPU where the VMCS is active
 * @id: [I] unique for ever: tells a CPU whether another vCPU ran since
 * @last_cpu: -1: the VMCS is not made yet; else the CPU of which the host fields hold the
 *	state, and whose TLB has been flushed for this vCPU
 * @vpid: [I] 0 without
 * @todo: VMX_FLUSH_*, VMX_SWAP_IN; without the latter the guest's MSRs are in the CPU and the
 *	host's state is saved in @host
 * @run: for enter.S
 * @spec_open: direct access to SPEC_CTRL has been asked for
 * @own_tf: under VMX_STEP_TF: the guest had TF set by itself
 * @tpr_threshold: as asked for
 * @primary, @secondary, @exceptions, @tpr_written: as in the VMCS
 * @eptp: as in the VMCS
 * @cr0_shadow, @cr4_shadow: read shadows as in the VMCS
 * @cr4_owned: CR4 bits that the guest changes without an exit
 * @tsc_aux: the guest's as it is in the CPU
 * @switches: how often its thread had been switched away at the last entry
 * @host: the host's state while the guest's is in the CPU, and (cr3, cr4, fs_base, perf) what
 *	the VMCS holds of it
 */
struct wafer_hw {
	u8 vmcs[PAGE_SIZE], msr_bitmap[PAGE_SIZE], vapic[PAGE_SIZE];
	u64 pml[PAGE_SIZE / 8];
	struct wafer_vcpu *vcpu;
	struct list_head link;
	u64 id;
	int last_cpu;
	u16 vpid;
	u8 todo, tpr_threshold;
	bool spec_open, own_tf;
	u64 primary, secondary, exceptions, tpr_written, eptp, cr0_shadow, cr4_shadow, cr4_owned;
	struct vmx_run run;
	u64 tsc_aux, switches;
	struct {
		u64 cr3, cr4, fs_base, kernel_gs_base, debugctl, perf, pebs;
		u16 ds, es, fs, gs, ldt;
	} host;
};

/* User-return MSRs: see host.c. NOBODY: in vmx_cpu.last_ur. */
#define VMX_UR_NOBODY	(~0ull)
enum { VMX_UR_STAR, VMX_UR_LSTAR, VMX_UR_FMASK, VMX_UR_TSC_AUX, VMX_NR_UR };

/**
 * struct vmx_cpu - a CPU's part, touched by this CPU alone with interrupts off
 * @taken: the hardware is ours: between cpu_on() and cpu_off()
 * @on: in VMX operation
 * @lender: in this window VMX operation is the in-tree module's, with this VMCS current (~0: none)
 * @region: physical address of its page of the VMXON regions
 * @user_ran: some thread has returned to user space since the last entry
 * @current_hw: whose VMCS VMPTRLD has made current
 * @last_id: which vCPU entered last, for the indirect branch barrier
 * @last_ur: whose user-return MSRs are loaded; 0: the host's, and @notifier is not registered
 * @active: VMCSs that are active here
 * @host_ur, @now_ur: user-return MSRs: the host's, and what is loaded
 */
struct vmx_cpu {
	bool taken, on, user_ran;
	u64 region, lender, last_id, last_ur;
	struct wafer_hw *current_hw;
	struct list_head active;
	struct user_return_notifier notifier;
	u64 host_ur[VMX_NR_UR], now_ur[VMX_NR_UR];
};
DECLARE_PER_CPU(struct vmx_cpu, vmx_cpu);

/* ---- MSRs: own accessors; a #GP reads 0 or changes nothing ---- */
static inline u64 vmx_rdmsr(u32 msr)
{
	u32 low, high;
	int err;

	asm volatile("1: rdmsr\n2:\n" _ASM_EXTABLE_TYPE_REG(1b, 2b, EX_TYPE_RDMSR_SAFE, %[err])
		     : [err] "=r" (err), "=a" (low), "=d" (high) : "c" (msr));
	return low | (u64)high << 32;
}

static inline void vmx_wrmsr(u32 msr, u64 val)
{
	asm volatile("1: wrmsr\n2:\n" _ASM_EXTABLE(1b, 2b)
		     : : "c" (msr), "a" ((u32)val), "d" ((u32)(val >> 32)) : "memory");
}

/* hardware.c */
int vmx_detect(struct wafer_caps *caps);
void vmx_teardown(void);
int vmx_cpu_on(void);
void vmx_cpu_off(void);
void vmx_on_for_window(struct vmx_cpu *c);
void vmx_off_after_window(struct vmx_cpu *c);
void vmx_unbind(struct wafer_vcpu *vcpu);

/* controls.c */
int vmx_vcpu_create(struct wafer_vcpu *vcpu);
void vmx_vcpu_free(struct wafer_vcpu *vcpu);
void vmx_init_vmcs(struct wafer_hw *hw);
void vmx_intercept(struct wafer_vcpu *vcpu, u32 bits);
void vmx_windows(struct wafer_vcpu *vcpu, u32 which, u8 tpr);
void vmx_intercept_msr(struct wafer_vcpu *vcpu, u32 msr, bool read, bool write);
void vmx_open_spec_ctrl(struct wafer_vcpu *vcpu);

/* host.c */
void vmx_host_constants(void);
void vmx_swap_in(struct wafer_vcpu *vcpu);
void vmx_swap_out(struct wafer_vcpu *vcpu);
void vmx_load_user_return(struct wafer_vcpu *vcpu);
void vmx_unload_user_return(void);
void vmx_restore_user_return(struct user_return_notifier *unused);

/* state.c */
void vmx_read_state(struct wafer_vcpu *vcpu, u32 mask);
void vmx_write_state(struct wafer_vcpu *vcpu, u32 mask);
void vmx_own_cr4(struct wafer_vcpu *vcpu, u64 owned);
void vmx_fix_pending_debug(void);

/* window.c */
void vmx_set_root(struct wafer_vcpu *vcpu, hpa_t root);
void vmx_drain_pml(struct wafer_vcpu *vcpu);

/* exit.c */
void vmx_inject(struct wafer_vcpu *vcpu, const struct wafer_event *ev);
void vmx_enter(struct wafer_vcpu *vcpu);

/* enter.S */
unsigned int wafer_vmx_run(struct wafer_arch *arch, struct vmx_run *run);
extern const char wafer_vmx_exit[];

#endif
