// SPDX-License-Identifier: GPL-2.0
/*
 * MSRs: which the guest reaches directly, and those that are the guest's until the thread returns
 * to user space.
 */
#include <linux/irqflags.h>
#include <linux/percpu.h>
#include <linux/user-return-notifier.h>
#include <asm/cpufeature.h>

#include "vmx.h"

#define MSR_R	BIT(0)
#define MSR_W	BIT(1)

/*
 * MSRs that may be direct: the CPU switches them at entries and exits, or swap_in()/swap_out() do,
 * or writing them is a command. All others exit, whatever is asked for. @open: from the start.
 */
static const struct {
	u32 msr;
	u8 may, open;
} direct[] = {
	{ MSR_FS_BASE,		MSR_R | MSR_W,	MSR_R | MSR_W },
	{ MSR_GS_BASE,		MSR_R | MSR_W,	MSR_R | MSR_W },
	{ MSR_KERNEL_GS_BASE,	MSR_R | MSR_W,	MSR_R | MSR_W },
	{ MSR_IA32_SYSENTER_CS,	MSR_R | MSR_W,	MSR_R | MSR_W },
	{ MSR_IA32_SYSENTER_ESP, MSR_R | MSR_W,	MSR_R | MSR_W },
	{ MSR_IA32_SYSENTER_EIP, MSR_R | MSR_W,	MSR_R | MSR_W },
	{ MSR_IA32_TSC,		MSR_R,		MSR_R },
	{ MSR_IA32_SPEC_CTRL,	MSR_R | MSR_W,	0 },
	{ MSR_IA32_PRED_CMD,	MSR_W,		0 },
	{ MSR_IA32_FLUSH_CMD,	MSR_W,		0 },
};

/*
 * Four bitmaps of 1 KiB: reads of MSRs from 0 and from 0xc0000000, then writes (§25.6.9). A set bit
 * exits.
 */
static void set_bitmap(struct wafer_hw *hw, u32 msr, u8 open)
{
	unsigned long *map = hw->msr_bitmap;
	unsigned int bit = (msr & 0x1fff) + (msr >= 0xc0000000 ? 8192 : 0);

	__assign_bit(bit, map, !(open & MSR_R));
	__assign_bit(bit + 16384, map, !(open & MSR_W));
}

void vmx_msr_init(struct wafer_hw *hw)
{
	int i;

	memset(hw->msr_bitmap, 0xff, PAGE_SIZE);
	for (i = 0; i < ARRAY_SIZE(direct); i++)
		set_bitmap(hw, direct[i].msr, direct[i].open);
}

/*
 * SPEC_CTRL becomes direct with the first value that is not 0: until then most guests never touch
 * it, and reading it back at each exit is dear. The CPU itself refuses bits that it does not have.
 */
void vmx_open_spec_ctrl(struct wafer_vcpu *vcpu)
{
	struct wafer_hw *hw = vcpu->hw;

	hw->spec.guest = vcpu->arch.spec_ctrl;
	if (!hw->spec_open)
		hw->run_flags &= ~VMX_RUN_SAVE_SPEC;
	else if (vcpu->arch.spec_ctrl)
		hw->run_flags |= VMX_RUN_SAVE_SPEC;
	set_bitmap(hw, MSR_IA32_SPEC_CTRL, hw->run_flags & VMX_RUN_SAVE_SPEC ? MSR_R | MSR_W : 0);
}

void vmx_intercept_msr(struct wafer_vcpu *vcpu, u32 msr, bool read, bool write)
{
	u8 open = (read ? 0 : MSR_R) | (write ? 0 : MSR_W);
	int i;

	if (msr == MSR_IA32_SPEC_CTRL) {
		vcpu->hw->spec_open = open == (MSR_R | MSR_W) &&
				      boot_cpu_has(X86_FEATURE_MSR_SPEC_CTRL);
		vmx_open_spec_ctrl(vcpu);
		return;
	}
	for (i = 0; i < ARRAY_SIZE(direct); i++)
		if (direct[i].msr == msr)
			set_bitmap(vcpu->hw, msr, direct[i].may & open);
}

/*
 * User-return MSRs. The kernel itself does not depend on them, only user space does (SYSCALL,
 * RDTSCP, RDPID): the host's values come back when some thread of this CPU returns there. Touched
 * with interrupts off.
 */
static const u32 user_return_msr[VMX_NR_UR] = {
	[VMX_UR_STAR]	= MSR_STAR,
	[VMX_UR_LSTAR]	= MSR_LSTAR,
	[VMX_UR_FMASK]	= MSR_SYSCALL_MASK,
	[VMX_UR_TSC_AUX] = MSR_TSC_AUX,
};

struct user_return {
	struct user_return_notifier notifier;
	bool registered, known;
	u64 host[VMX_NR_UR], now[VMX_NR_UR];
};
static DEFINE_PER_CPU(struct user_return, user_return);

static bool has_tsc_aux(void)
{
	return boot_cpu_has(X86_FEATURE_RDTSCP) || boot_cpu_has(X86_FEATURE_RDPID);
}

static void load_msr(struct user_return *u, int i, u64 val)
{
	if (u->now[i] == val)
		return;
	u->now[i] = val;
	vmx_wrmsr(user_return_msr[i], val);
}

/* The host's again. Also from cpu_off(), when the notifier has not come yet. */
void vmx_restore_user_return(void)
{
	struct user_return *u = this_cpu_ptr(&user_return);
	struct vmx_cpu *c = this_cpu_ptr(&vmx_cpu);
	int i;

	if (!u->registered)
		return;
	u->registered = false;
	user_return_notifier_unregister(&u->notifier);
	for (i = 0; i < VMX_NR_UR; i++)
		if (i != VMX_UR_TSC_AUX || has_tsc_aux())
			load_msr(u, i, u->host[i]);
	c->last_ur = 0;
	c->user_ran = true;
}

static void on_user_return(struct user_return_notifier *notifier)
{
	unsigned long flags;

	/* An interrupt may bring cpu_off() in between. */
	local_irq_save(flags);
	vmx_restore_user_return();
	local_irq_restore(flags);
}

static void prepare(struct user_return *u)
{
	int i;

	if (!u->known) {
		u->known = true;
		u->notifier.on_user_return = on_user_return;
		for (i = 0; i < VMX_NR_UR; i++)
			if (i != VMX_UR_TSC_AUX || has_tsc_aux())
				u->host[i] = vmx_rdmsr(user_return_msr[i]);
		memcpy(u->now, u->host, sizeof(u->now));
	}
	if (!u->registered) {
		u->registered = true;
		user_return_notifier_register(&u->notifier);
	}
}

/*
 * SYSCALL's MSRs matter only where the guest has switched SYSCALL on. In the window, vCPU swapped
 * in or about to be.
 */
void vmx_load_user_return(struct wafer_vcpu *vcpu)
{
	const struct wafer_arch *a = &vcpu->arch;
	struct user_return *u = this_cpu_ptr(&user_return);

	this_cpu_write(vmx_cpu.last_ur, vcpu->hw->id);
	prepare(u);
	if (a->efer & WAFER_EFER_SCE) {
		load_msr(u, VMX_UR_STAR, a->star);
		load_msr(u, VMX_UR_LSTAR, a->lstar);
		load_msr(u, VMX_UR_FMASK, a->fmask);
	}
	if (vcpu->hw->secondary & SECONDARY_EXEC_ENABLE_RDTSCP)
		load_msr(u, VMX_UR_TSC_AUX, a->tsc_aux);
	vcpu->hw->tsc_aux = a->tsc_aux;
}
