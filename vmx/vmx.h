/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of the VMX backend share. Section numbers in this folder are those of the SDM,
 * volume 3.
 */
#ifndef WAFER_VMX_H
#define WAFER_VMX_H

#include <linux/list.h>
#include <linux/types.h>
#include <asm/asm.h>
#include <asm/msr-index.h>

#include "compat.h"
#include "vcpu.h"
#include "vmcs.h"

/**
 * struct vmx_conf - what detect() found; [I] afterwards
 * @vmcs_revision: goes into the first word of VMXON regions and VMCSs
 * @pin, @primary, @secondary, @exit, @entry: controls that every VMCS has
 * @secondary_can: secondary controls that the CPU has at all
 * @ept_bits: low bits of the EPTP: memory type, levels, accessed and dirty bits
 * @cr0_fixed0: CR0 bits that must be 1 in a guest, PE and PG left out (unrestricted guest)
 * @cr4_fixed0: CR4 bits that must be 1 in a guest
 * @invept_type, @invvpid_type: single context where there is one, else global; @invvpid_type
 *	0: no VPIDs
 * @tpr_shadow, @perf_ctrl: optional controls that are used
 * @l1d_flush: L1D to be flushed before a guest may read it
 * @pt_conflict: Processor Trace cannot be on in VMX operation
 */
struct vmx_conf {
	u32 vmcs_revision;
	u32 pin, primary, secondary, exit, entry;
	u32 secondary_can;
	u32 ept_bits;
	u64 cr0_fixed0, cr4_fixed0;
	u8 invept_type, invvpid_type;
	bool tpr_shadow, perf_ctrl, l1d_flush, pt_conflict;
};
extern struct vmx_conf vmx_conf;

/*
 * MSRs that only SYSCALL and RDTSCP of user space use: the host's come back when a thread returns
 * to user space.
 */
enum { VMX_UR_STAR, VMX_UR_LSTAR, VMX_UR_FMASK, VMX_UR_TSC_AUX, VMX_NR_UR };

/*
 * What a guest sees as CR0 that is really in CR0; all other bits are the host's (mask) and
 * shadowed.
 */
#define VMX_CR0_OWNED \
	(X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | X86_CR0_WP | \
	 X86_CR0_AM | X86_CR0_PG)

/* Bits of the interruptibility state that struct wafer_arch has, at the same places. */
#define VMX_BLOCK_BITS (WAFER_BLOCK_STI | WAFER_BLOCK_MOVSS | WAFER_BLOCK_NMI)

/* hw->todo: due before the next entry */
#define VMX_FLUSH_EPT	BIT(0)
#define VMX_FLUSH_VPID	BIT(1)
#define VMX_SWAP_IN	BIT(2)	/* set outside the stretch from the first entry of a window to its end */

/* Arguments of wafer_vmx_run(), enter.S */
#define VMX_RUN_LAUNCHED	BIT(0)
#define VMX_RUN_SAVE_SPEC	BIT(1)

/**
 * struct wafer_hw - VMX's part of a vCPU
 * @vcpu: the vCPU
 * @vmcs, @msr_bitmap, @vapic, @pml: [I] pages; @pml NULL without a page-modification log
 * @link: in the list of the CPU where the VMCS is active
 * @id: [I] unique for ever: tells a CPU whether another vCPU ran since
 * @cpu: CPU where the VMCS is active (may have data in the CPU, §25.11.1), -1 none
 * @last_cpu: CPU of which the host fields hold the state, and whose TLB has been flushed for
 *	this vCPU
 * @vpid: [I] 0 without
 * @todo: VMX_FLUSH_*, VMX_SWAP_IN; without the latter the guest's MSRs are in the CPU and the host's
 *	state is saved in @host
 * @ready: the controls have been written
 * @run_flags: VMX_RUN_*; LAUNCHED: VMRESUME instead of VMLAUNCH; SAVE_SPEC: the guest has direct
 *	access to SPEC_CTRL, and it is read back at exits
 * @spec_open: direct access to SPEC_CTRL has been asked for
 * @primary, @secondary, @exceptions, @exit_ctl, @entry_ctl: as in the VMCS
 * @eptp: as in the VMCS
 * @cr0_shadow, @cr4_shadow: read shadows as in the VMCS
 * @cr4_owned: CR4 bits that the guest changes without an exit
 * @tpr_threshold, @tpr_written: as asked for, as in the VMCS
 * @host_rsp: HOST_RSP as in the VMCS
 * @spec: SPEC_CTRL of the guest and of the host (enter.S uses the layout)
 * @tsc_aux: the guest's as it is in the CPU
 * @switches: how often its thread had been switched away at the last entry
 * @host: the host's state while the guest's is in the CPU, and (cr3, cr4, fs_base, perf) what the VMCS holds of it
 */
struct wafer_hw {
	struct wafer_vcpu *vcpu;
	void *vmcs, *msr_bitmap;
	u8 *vapic;
	u64 *pml;
	struct list_head link;
	u64 id;
	int cpu, last_cpu;
	u16 vpid;
	u8 todo, run_flags;
	bool ready, spec_open;
	u32 primary, secondary, exceptions, exit_ctl, entry_ctl;
	u64 eptp;
	u64 cr0_shadow, cr4_shadow, cr4_owned;
	u8 tpr_threshold, tpr_written;
	unsigned long host_rsp;
	struct { u64 guest, host; } spec;
	u64 tsc_aux;
	unsigned long switches;
	struct {
		unsigned long cr3, cr4, fs_base;
		u64 kernel_gs_base, debugctl, perf, pebs;
		u16 ds, es, fs, gs, ldt;
	} host;
};

/**
 * struct vmx_cpu - a CPU's part, touched by this CPU alone with interrupts off
 * @vmxon: [I] VMXON region
 * @taken: the hardware is ours: between cpu_on() and cpu_off()
 * @on: in VMX operation
 * @borrowed, @lender: in this window VMX operation is the in-tree module's, with this VMCS current
 * @current_hw: whose VMCS VMPTRLD has made current
 * @last_id: which vCPU entered last, for the indirect branch barrier
 * @user_ran: some thread has returned to user space since the last entry
 * @last_ur: whose user-return MSRs are loaded, 0: the host's
 * @active: VMCSs that are active here
 */
struct vmx_cpu {
	void *vmxon;
	bool taken, on, borrowed;
	u64 lender;
	struct wafer_hw *current_hw;
	bool user_ran;
	u64 last_id, last_ur;
	struct list_head active;
};
DECLARE_PER_CPU(struct vmx_cpu, vmx_cpu);

/* In VMX operation, its own or borrowed: the VMX instructions work. */
static inline bool vmx_usable(const struct vmx_cpu *c)
{
	return c->on || c->borrowed;
}

static inline bool vmx_swapped_in(const struct wafer_hw *hw)
{
	return !(hw->todo & VMX_SWAP_IN);
}

/* ---- MSRs: own accessors; a #GP reads 0 or changes nothing ---- */
static inline int vmx_rdmsr_safe(u32 msr, u64 *val)
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

static inline u64 vmx_rdmsr(u32 msr)
{
	u64 val;

	vmx_rdmsr_safe(msr, &val);
	return val;
}

static inline void vmx_wrmsr(u32 msr, u64 val)
{
	asm volatile("1: wrmsr\n2:\n"
		     _ASM_EXTABLE(1b, 2b)
		     : : "c" (msr), "a" ((u32)val), "d" ((u32)(val >> 32)) : "memory");
}

/* hardware.c */
int vmx_on(struct vmx_cpu *c);
void vmx_off(struct vmx_cpu *c);
void vmx_on_for_window(struct vmx_cpu *c);
void vmx_off_after_window(struct vmx_cpu *c);
int vmx_detect(struct wafer_caps *caps);
void vmx_teardown(void);
int vmx_cpu_on(void);
void vmx_cpu_off(void);
void vmx_unbind(struct wafer_hw *hw);

/* controls.c */
int vmx_vcpu_create(struct wafer_vcpu *vcpu);
void vmx_vcpu_free(struct wafer_vcpu *vcpu);
void vmx_init_vmcs(struct wafer_hw *hw);
void vmx_intercept(struct wafer_vcpu *vcpu, u32 bits);
void vmx_windows(struct wafer_vcpu *vcpu, u32 which, u8 tpr);
void vmx_set_tsc(struct wafer_vcpu *vcpu, u64 offset, u64 ratio);

static inline void vmx_set_primary(struct wafer_hw *hw, u32 val)
{
	if (hw->primary == val)
		return;
	hw->primary = val;
	vmwrite(CPU_BASED_VM_EXEC_CONTROL, val);
}

/* hoststate.c */
void vmx_host_constants(struct wafer_hw *hw);
void vmx_swap_in(struct wafer_vcpu *vcpu);
void vmx_swap_out(struct wafer_vcpu *vcpu);
int vmx_l1d_create(void);
void vmx_l1d_free(void);

/* tlb.c */
int vmx_vpid_alloc(void);
void vmx_vpid_free(u16 vpid);
void vmx_set_root(struct wafer_vcpu *vcpu, hpa_t root);
void vmx_flush_tlb(struct wafer_vcpu *vcpu);
void vmx_flush(struct wafer_hw *hw);
void vmx_drain_pml(struct wafer_vcpu *vcpu);

/* msr.c */
void vmx_msr_init(struct wafer_hw *hw);
void vmx_intercept_msr(struct wafer_vcpu *vcpu, u32 msr, bool read, bool write);
void vmx_open_spec_ctrl(struct wafer_vcpu *vcpu);
void vmx_load_user_return(struct wafer_vcpu *vcpu);
void vmx_restore_user_return(void);

/* state.c */
void vmx_read_state(struct wafer_vcpu *vcpu, u32 mask);
void vmx_write_state(struct wafer_vcpu *vcpu, u32 mask);
void vmx_own_cr4(struct wafer_vcpu *vcpu, u64 owned);
void vmx_fix_pending_debug(void);

/* inject.c */
void vmx_inject(struct wafer_vcpu *vcpu, const struct wafer_event *ev);
void vmx_event_in_delivery(struct wafer_vcpu *vcpu, u32 info);
void vmx_restore_nmi_blocking(u64 bits);

/* exit.c */
void vmx_fill_exit(struct wafer_vcpu *vcpu, struct wafer_exit *exit);
void vmx_host_nmi(void);

/* check.c */
void vmx_refused(struct wafer_vcpu *vcpu, struct wafer_exit *exit, u64 reason);

/* enter.S */
unsigned int wafer_vmx_run(struct wafer_arch *arch, unsigned long *host_rsp, unsigned int flags,
			   void *spec);
extern const char wafer_vmx_exit[];

#endif
