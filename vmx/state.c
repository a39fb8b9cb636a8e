// SPDX-License-Identifier: GPL-2.0
/*
 * Guest state between struct wafer_arch and the VMCS, group by group.
 *
 * With an unrestricted guest the CPU runs every mode by itself, so that CR0.PE and PG, CR3, most of
 * CR4 and the descriptor caches change without an exit and are read when somebody asks.
 */
#include "vmx.h"

/*
 * What a guest sees as CR0 that is really in CR0; all other bits are the host's (mask) and
 * shadowed.
 */
#define CR0_OWNED (X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | X86_CR0_WP | \
		   X86_CR0_AM | X86_CR0_PG)

/*
 * VMXE is always set, and MCE as in the host: a machine check with MCE clear would stop the
 * machine (§6.15, vector 18).
 */
static void write_guest_cr4(struct wafer_hw *hw, u64 cr4)
{
	hw->cr4_shadow = cr4;
	vmwrite(CR4_READ_SHADOW, cr4);
	cr4 = (cr4 & ~X86_CR4_MCE) | (native_read_cr4() & X86_CR4_MCE);
	vmwrite(GUEST_CR4, cr4 | X86_CR4_VMXE);
}

static u64 read_guest_cr4(struct wafer_hw *hw)
{
	return (vmread(GUEST_CR4) & hw->cr4_owned) | (hw->cr4_shadow & ~hw->cr4_owned);
}

/*
 * The guest gets other CR4 bits to change by itself, since its CPUID is another; with 0 the masks
 * are written anew.
 */
void vmx_own_cr4(struct wafer_vcpu *vcpu, u64 owned)
{
	struct wafer_hw *hw = vcpu->hw;
	u64 cr4 = vcpu->arch.missing & WAFER_G_CR4 ? read_guest_cr4(hw) : vcpu->arch.cr4;

	hw->cr4_owned = owned;
	vmwrite(CR0_GUEST_HOST_MASK, ~(unsigned long)CR0_OWNED);
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
	bool shadow = vmread(GUEST_INTERRUPTIBILITY_INFO) & VMX_SHADOWS;

	if (shadow && vmread(GUEST_RFLAGS) & X86_EFLAGS_TF)
		want |= DR_STEP;
	if (want != pending)
		vmwrite(GUEST_PENDING_DBG_EXCEPTIONS, want);
}

static void write_flags(struct wafer_arch *a, u32 mask)
{
	u32 block = vmread(GUEST_INTERRUPTIBILITY_INFO);

	if (mask & WAFER_G_RFLAGS)
		vmwrite(GUEST_RFLAGS, a->rflags | X86_EFLAGS_FIXED);
	if (mask & WAFER_G_BLOCK) {
		vmwrite(GUEST_INTERRUPTIBILITY_INFO, a->block & VMX_BLOCK_BITS);
		block |= a->block;
	}
	if (block & VMX_SHADOWS)
		vmx_fix_pending_debug();
}

/* A field that is kept as it is: from its place in wafer_arch if @write, else to there. */
#define MOVE(field, place)			\
do {						\
	if (write)				\
		vmwrite(field, place);		\
	else					\
		(place) = vmread(field);	\
} while (0)

static __always_inline void move_state(struct wafer_arch *a, u32 mask, const bool write)
{
	unsigned long segs = mask & WAFER_G_SEGS;
	int i;

	for_each_set_bit(i, &segs, WAFER_NR_SEGS) {
		MOVE(GUEST_ES_SELECTOR + 2 * i, a->seg[i].selector);
		MOVE(GUEST_ES_LIMIT + 2 * i, a->seg[i].limit);
		MOVE(GUEST_ES_AR_BYTES + 2 * i, a->seg[i].attr);
		MOVE(GUEST_ES_BASE + 2 * i, a->seg[i].base);
	}
	if (mask & WAFER_G_DT) {
		MOVE(GUEST_GDTR_BASE, a->gdt.base);
		MOVE(GUEST_GDTR_LIMIT, a->gdt.limit);
		MOVE(GUEST_IDTR_BASE, a->idt.base);
		MOVE(GUEST_IDTR_LIMIT, a->idt.limit);
	}
	if (mask & WAFER_G_PDPTR)
		for (i = 0; i < 4; i++)
			MOVE(GUEST_PDPTR0 + 2 * i, a->pdptr[i]);
	if (mask & WAFER_G_SYSENTER) {
		MOVE(GUEST_SYSENTER_CS, a->sysenter_cs);
		MOVE(GUEST_SYSENTER_ESP, a->sysenter_esp);
		MOVE(GUEST_SYSENTER_EIP, a->sysenter_eip);
	}
}

/* Apart from the rest, which the registers that this takes would make slower. */
static noinline void read_rest(struct wafer_vcpu *vcpu, u32 mask)
{
	move_state(&vcpu->arch, mask, false);
	if (mask & WAFER_G_SYSCALL && !(vcpu->hw->todo & VMX_SWAP_IN))
		vcpu->arch.kernel_gs_base = vmx_rdmsr(MSR_KERNEL_GS_BASE);
}

#define CONTROL (WAFER_G_CODE | WAFER_G_CR0 | WAFER_G_CR3 | WAFER_G_CR4 | WAFER_G_EFER)
#define HOT (WAFER_G_RIP | WAFER_G_RSP | WAFER_G_RFLAGS | WAFER_G_BLOCK | WAFER_G_CR2)

static __always_inline void read_groups(struct wafer_vcpu *vcpu, u32 mask)
{
	struct wafer_arch *a = &vcpu->arch;
	struct wafer_hw *hw = vcpu->hw;

	if (mask & WAFER_G_RIP)
		a->rip = vmread(GUEST_RIP);
	if (mask & WAFER_G_RSP)
		a->gpr[WAFER_RSP] = vmread(GUEST_RSP);
	if (mask & WAFER_G_RFLAGS)
		a->rflags = vmread(GUEST_RFLAGS);
	if (mask & WAFER_G_BLOCK)
		a->block = vmread(GUEST_INTERRUPTIBILITY_INFO) & VMX_BLOCK_BITS;
	if (mask & WAFER_G_CODE)
		vcpu->exit.code = vmx_read_code();
	if (mask & WAFER_G_CR0)
		a->cr0 = (vmread(GUEST_CR0) & CR0_OWNED) | (hw->cr0_shadow & ~CR0_OWNED);
	if (mask & WAFER_G_CR3)
		a->cr3 = vmread(GUEST_CR3);
	if (mask & WAFER_G_CR4)
		a->cr4 = read_guest_cr4(hw);
	if (mask & WAFER_G_EFER)
		a->efer = vmread(GUEST_IA32_EFER);
	a->missing &= ~mask;
	if (mask & ~(HOT | CONTROL))
		read_rest(vcpu, mask);
}

static noinline void read_any(struct wafer_vcpu *vcpu, u32 mask)
{
	read_groups(vcpu, mask);
}

/*
 * In the window. CR2, DR, PAT and SPEC_CTRL are always available: enter() keeps them so. What an
 * access to a device asks for is read without a test for each group.
 */
void vmx_read_state(struct wafer_vcpu *vcpu, u32 mask)
{
	if (likely(mask == WAFER_ACCESS_GROUPS))
		read_groups(vcpu, WAFER_ACCESS_GROUPS);
	else
		read_any(vcpu, mask);
}

/* In the window. WAFER_G_CR2 needs nothing: enter() loads CR2. */
void vmx_write_state(struct wafer_vcpu *vcpu, u32 mask)
{
	struct wafer_arch *a = &vcpu->arch;
	struct wafer_hw *hw = vcpu->hw;

	a->dirty &= ~mask;
	if (mask & WAFER_G_RIP) {
		vmwrite(GUEST_RIP, a->rip);
		/* Whoever sets RIP does not mean the HLT that the guest was in. */
		if (unlikely(!(hw->primary & CPU_BASED_HLT_EXITING)))
			vmwrite(GUEST_ACTIVITY_STATE, GUEST_ACTIVITY_ACTIVE);
	}
	if (mask & WAFER_G_RSP)
		vmwrite(GUEST_RSP, a->gpr[WAFER_RSP]);
	if (mask & (WAFER_G_RFLAGS | WAFER_G_BLOCK))
		write_flags(a, mask);
	if (!(mask & ~HOT))
		return;
	move_state(a, mask, true);
	if (mask & WAFER_G_CR0) {
		/*
		 * CR0.NE is always set in VMX operation; CD and NW would switch the host's caches
		 * off. The guest sees its own.
		 */
		hw->cr0_shadow = a->cr0;
		vmwrite(CR0_READ_SHADOW, a->cr0);
		vmwrite(GUEST_CR0, (a->cr0 & CR0_OWNED) | X86_CR0_NE);
	}
	if (mask & WAFER_G_CR3)
		vmwrite(GUEST_CR3, a->cr3);
	if (mask & WAFER_G_CR4)
		write_guest_cr4(hw, a->cr4);
	if (mask & WAFER_G_EFER) {
		/* The CPU itself keeps this control's bit equal to LMA from then on (§28.2.1). */
		vmwrite(VM_ENTRY_CONTROLS,
			vmx_conf.entry | (a->efer & WAFER_EFER_LMA ? VM_ENTRY_IA32E_MODE : 0));
		vmwrite(GUEST_IA32_EFER, a->efer);
	}
	if (mask & WAFER_G_SYSCALL && !(hw->todo & VMX_SWAP_IN))
		vmx_wrmsr(MSR_KERNEL_GS_BASE, a->kernel_gs_base);
	if (mask & (WAFER_G_EFER | WAFER_G_SYSCALL) && !(hw->todo & VMX_SWAP_IN))
		vmx_load_user_return(vcpu);
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
