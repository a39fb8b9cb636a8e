// SPDX-License-Identifier: GPL-2.0
/*
 * Guest state between struct wafer_arch and the VMCS, group by group.
 *
 * With an unrestricted guest the CPU runs every mode by itself, so that CR0.PE and PG, CR3, most of
 * CR4 and the descriptor caches change without an exit and are read when somebody asks.
 */
#include <uapi/asm/debugreg.h>
#include <asm/processor-flags.h>
#include <asm/processor.h>

#include "vmx.h"

#define SHADOWS (GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS)

static void read_segment(struct wafer_segment *seg, int n)
{
	seg->selector = vmread_at(GUEST_ES_SELECTOR, n);
	seg->limit = vmread_at(GUEST_ES_LIMIT, n);
	seg->attr = vmread_at(GUEST_ES_AR_BYTES, n);
	seg->base = vmread_at(GUEST_ES_BASE, n);
}

static void write_segment(const struct wafer_segment *seg, int n)
{
	vmwrite_at(GUEST_ES_SELECTOR, n, seg->selector);
	vmwrite_at(GUEST_ES_LIMIT, n, seg->limit);
	vmwrite_at(GUEST_ES_AR_BYTES, n, seg->attr);
	vmwrite_at(GUEST_ES_BASE, n, seg->base);
}

/*
 * CR0.NE is always set in VMX operation; CD and NW would switch the host's caches off. The guest
 * sees its own.
 */
static void write_guest_cr0(struct wafer_hw *hw, u64 cr0)
{
	hw->cr0_shadow = cr0;
	vmwrite(CR0_READ_SHADOW, cr0);
	vmwrite(GUEST_CR0, (cr0 & VMX_CR0_OWNED) | vmx_conf.cr0_fixed0);
}

static u64 read_guest_cr0(struct wafer_hw *hw)
{
	return (vmread(GUEST_CR0) & VMX_CR0_OWNED) | (hw->cr0_shadow & ~VMX_CR0_OWNED);
}

/*
 * MCE is always as in the host: a machine check with MCE clear would stop the machine (§6.15,
 * vector 18).
 */
static void write_guest_cr4(struct wafer_hw *hw, u64 cr4)
{
	hw->cr4_shadow = cr4;
	vmwrite(CR4_READ_SHADOW, cr4);
	cr4 &= ~X86_CR4_MCE;
	vmwrite(GUEST_CR4, cr4 | (native_read_cr4() & X86_CR4_MCE) | vmx_conf.cr4_fixed0);
}

static u64 read_guest_cr4(struct wafer_hw *hw)
{
	return (vmread(GUEST_CR4) & hw->cr4_owned) | (hw->cr4_shadow & ~hw->cr4_owned);
}

/* The guest gets other CR4 bits to change by itself, since its CPUID is another. */
void vmx_own_cr4(struct wafer_vcpu *vcpu, u64 owned)
{
	struct wafer_hw *hw = vcpu->hw;
	u64 cr4 = vcpu->arch.avail & WAFER_G_CR4 ? vcpu->arch.cr4 : read_guest_cr4(hw);

	hw->cr4_owned = owned;
	vmwrite(CR4_GUEST_HOST_MASK, ~owned);
	write_guest_cr4(hw, cr4);
}

/*
 * Under the shadow of STI or MOV SS the entry wants pending-debug BS to be what TF says
 * (§27.3.1.5). When the core ends the shadow it has emulated an instruction and raises the trap
 * itself.
 */
void vmx_fix_pending_debug(void)
{
	u64 pending = vmread(GUEST_PENDING_DBG_EXCEPTIONS), want = pending & ~(u64)DR_STEP;

	if (vmread(GUEST_INTERRUPTIBILITY_INFO) & SHADOWS && vmread(GUEST_RFLAGS) & X86_EFLAGS_TF)
		want |= DR_STEP;
	if (want != pending)
		vmwrite(GUEST_PENDING_DBG_EXCEPTIONS, want);
}

static void write_block(struct wafer_arch *a)
{
	u32 old = vmread(GUEST_INTERRUPTIBILITY_INFO);

	vmwrite(GUEST_INTERRUPTIBILITY_INFO, a->block & (SHADOWS | GUEST_INTR_STATE_NMI));
	if ((old | a->block) & SHADOWS)
		vmx_fix_pending_debug();
}

static void write_rflags(struct wafer_arch *a)
{
	vmwrite(GUEST_RFLAGS, a->rflags | X86_EFLAGS_FIXED);
	if (vmread(GUEST_INTERRUPTIBILITY_INFO) & SHADOWS)
		vmx_fix_pending_debug();
}

static void write_efer(struct wafer_vcpu *vcpu)
{
	struct wafer_hw *hw = vcpu->hw;
	u64 efer = vcpu->arch.efer;

	/* The CPU itself keeps this control's bit equal to LMA from then on (§28.2.1). */
	vmwrite(VM_ENTRY_CONTROLS,
		hw->entry_ctl | (efer & WAFER_EFER_LMA ? VM_ENTRY_IA32E_MODE : 0));
	vmwrite(GUEST_IA32_EFER, efer);
	if (vmx_swapped_in(hw))
		vmx_load_user_return(vcpu);
}

/* What is asked for seldom, and many at a time. */
static void read_rare(struct wafer_vcpu *vcpu, u32 mask)
{
	struct wafer_arch *a = &vcpu->arch;
	int i;

	for (i = 0; i < WAFER_NR_SEGS; i++)
		if (mask & WAFER_G_SEG(i))
			read_segment(&a->seg[i], i);
	if (mask & WAFER_G_CR0)
		a->cr0 = read_guest_cr0(vcpu->hw);
	if (mask & WAFER_G_CR3)
		a->cr3 = vmread(GUEST_CR3);
	if (mask & WAFER_G_CR4)
		a->cr4 = read_guest_cr4(vcpu->hw);
	if (mask & WAFER_G_EFER)
		a->efer = vmread(GUEST_IA32_EFER);
	if (mask & WAFER_G_DT) {
		a->gdt.base = vmread(GUEST_GDTR_BASE);
		a->gdt.limit = vmread(GUEST_GDTR_LIMIT);
		a->idt.base = vmread(GUEST_IDTR_BASE);
		a->idt.limit = vmread(GUEST_IDTR_LIMIT);
	}
	if (mask & WAFER_G_PDPTR)
		for (i = 0; i < 4; i++)
			a->pdptr[i] = vmread_at(GUEST_PDPTR0, i);
	if (mask & WAFER_G_SYSENTER) {
		a->sysenter_cs = vmread(GUEST_SYSENTER_CS);
		a->sysenter_esp = vmread(GUEST_SYSENTER_ESP);
		a->sysenter_eip = vmread(GUEST_SYSENTER_EIP);
	}
	if (mask & WAFER_G_SYSCALL && vmx_swapped_in(vcpu->hw))
		a->kernel_gs_base = vmx_rdmsr(MSR_KERNEL_GS_BASE);
}

/* In the window. CR2, DR, PAT and SPEC_CTRL are always available: enter() keeps them so. */
void vmx_read_state(struct wafer_vcpu *vcpu, u32 mask)
{
	const u32 hot = WAFER_G_RIP | WAFER_G_RSP | WAFER_G_RFLAGS | WAFER_G_BLOCK;
	struct wafer_arch *a = &vcpu->arch;

	if (mask & WAFER_G_RIP)
		a->rip = vmread(GUEST_RIP);
	if (mask & WAFER_G_RFLAGS)
		a->rflags = vmread(GUEST_RFLAGS);
	if (mask & WAFER_G_BLOCK)
		a->block = vmread(GUEST_INTERRUPTIBILITY_INFO) & VMX_BLOCK_BITS;
	if (mask & WAFER_G_RSP)
		a->gpr[WAFER_RSP] = vmread(GUEST_RSP);
	if (mask & ~hot)
		read_rare(vcpu, mask);
	a->avail |= mask;
}

static void write_rare(struct wafer_vcpu *vcpu, u32 mask)
{
	struct wafer_arch *a = &vcpu->arch;
	struct wafer_hw *hw = vcpu->hw;
	int i;

	for (i = 0; i < WAFER_NR_SEGS; i++)
		if (mask & WAFER_G_SEG(i))
			write_segment(&a->seg[i], i);
	if (mask & WAFER_G_CR0)
		write_guest_cr0(hw, a->cr0);
	if (mask & WAFER_G_CR3)
		vmwrite(GUEST_CR3, a->cr3);
	if (mask & WAFER_G_CR4)
		write_guest_cr4(hw, a->cr4);
	if (mask & WAFER_G_EFER)
		write_efer(vcpu);
	if (mask & WAFER_G_DT) {
		vmwrite(GUEST_GDTR_BASE, a->gdt.base);
		vmwrite(GUEST_GDTR_LIMIT, a->gdt.limit);
		vmwrite(GUEST_IDTR_BASE, a->idt.base);
		vmwrite(GUEST_IDTR_LIMIT, a->idt.limit);
	}
	if (mask & WAFER_G_PDPTR)
		for (i = 0; i < 4; i++)
			vmwrite_at(GUEST_PDPTR0, i, a->pdptr[i]);
	if (mask & WAFER_G_SYSENTER) {
		vmwrite(GUEST_SYSENTER_CS, a->sysenter_cs);
		vmwrite(GUEST_SYSENTER_ESP, a->sysenter_esp);
		vmwrite(GUEST_SYSENTER_EIP, a->sysenter_eip);
	}
	if (mask & WAFER_G_SYSCALL && vmx_swapped_in(hw)) {
		vmx_wrmsr(MSR_KERNEL_GS_BASE, a->kernel_gs_base);
		vmx_load_user_return(vcpu);
	}
	if (mask & WAFER_G_DR)
		vmwrite(GUEST_DR7, a->hw_dr7);
	if (mask & WAFER_G_PAT)
		vmwrite(GUEST_IA32_PAT, a->pat);
	if (mask & WAFER_G_SPEC)
		vmx_open_spec_ctrl(vcpu);
	/* The CPU flushes when the guest writes these; at entries it does not (§29.4.3.1). */
	if (mask & (WAFER_G_CR0 | WAFER_G_CR3 | WAFER_G_CR4 | WAFER_G_EFER | WAFER_G_PDPTR))
		hw->todo |= VMX_FLUSH_VPID;
}

/* In the window. WAFER_G_CR2 needs nothing: enter() loads CR2. */
void vmx_write_state(struct wafer_vcpu *vcpu, u32 mask)
{
	const u32 hot = WAFER_G_RIP | WAFER_G_RSP | WAFER_G_RFLAGS | WAFER_G_BLOCK | WAFER_G_CR2;
	struct wafer_arch *a = &vcpu->arch;

	if (mask & WAFER_G_RIP) {
		vmwrite(GUEST_RIP, a->rip);
		/* Whoever sets RIP does not mean the HLT that the guest was in. */
		if (unlikely(!(vcpu->hw->primary & CPU_BASED_HLT_EXITING)))
			vmwrite(GUEST_ACTIVITY_STATE, GUEST_ACTIVITY_ACTIVE);
	}
	if (mask & WAFER_G_RSP)
		vmwrite(GUEST_RSP, a->gpr[WAFER_RSP]);
	if (mask & WAFER_G_RFLAGS)
		write_rflags(a);
	if (mask & WAFER_G_BLOCK)
		write_block(a);
	if (mask & ~hot)
		write_rare(vcpu, mask);
	a->dirty &= ~mask;
}
