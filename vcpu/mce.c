// SPDX-License-Identifier: GPL-2.0
/* Machine-check banks (SDM vol. 3 §16.3.2), and errors that the VMM wants the guest to see. */
#include "msr.h"

enum { MCE_CTL, MCE_STATUS, MCE_ADDR, MCE_MISC };

static unsigned int nr_banks(struct wafer_vcpu *vcpu)
{
	return vcpu->mcg_cap & MCG_BANKCNT_MASK;
}

int wafer_mce_get_bank(struct wafer_vcpu *vcpu, u32 index, u64 *val, u8 how)
{
	return (index - MSR_IA32_MC0_CTL) / 4 < nr_banks(vcpu) ? WAFER_MSR_OK : WAFER_MSR_GP;
}

/*
 * CTL: all or nothing, but for bit 10 and 0 that Linux clears. STATUS: the guest clears it, no
 * more.
 */
int wafer_mce_set_bank(struct wafer_vcpu *vcpu, u32 index, u64 *val, u8 how)
{
	if (*val && index % 4 == MCE_CTL && (*val | BIT_ULL(10) | BIT_ULL(0)) != ~0ull)
		return WAFER_MSR_GP;
	if (*val && index % 4 == MCE_STATUS && !(how & WAFER_MSR_HOST) &&
	    !(vcpu->msr.hwcr & BIT_ULL(18)))		/* HWCR.McStatusWrEn */
		return WAFER_MSR_GP;
	return wafer_mce_get_bank(vcpu, index, val, how);
}

int wafer_mce_set_ctl(struct wafer_vcpu *vcpu, u32 index, u64 *val, u8 how)
{
	bool exists = vcpu->mcg_cap & MCG_CTL_P;

	return *val ? !exists || *val != ~0ull : !exists && !(how & WAFER_MSR_HOST);
}

/* KVM_X86_GET_MCE_CAP_SUPPORTED */
u64 wafer_mce_cap(void)
{
	return MCG_CTL_P | MCG_SER_P;
}

/**
 * wafer_setup_mce() - KVM_X86_SETUP_MCE
 * @vcpu: vCPU
 * @mcg_cap: number of banks, 1 to 32, and features among wafer_mce_cap()
 *
 * Return: 0 or -EINVAL.
 */
int wafer_setup_mce(struct wafer_vcpu *vcpu, u64 mcg_cap)
{
	u64 known = wafer_mce_cap() | MCG_BANKCNT_MASK | MCG_EXT_CNT_MASK;
	u64 banks = mcg_cap & MCG_BANKCNT_MASK;

	if (!banks || banks > WAFER_MCE_BANKS || mcg_cap & ~known)
		return wafer_refuse(&vcpu->refusal, -EINVAL, "mcg_cap", mcg_cap,
				    "has 1 to 32 banks and known bits");
	vcpu->mcg_cap = mcg_cap;
	if (mcg_cap & MCG_CTL_P)
		vcpu->msr.mcg_ctl = ~0ull;
	memcpy(vcpu->msr.mce, wafer_msr_initial.mce, sizeof(vcpu->msr.mce));
	return 0;
}

/**
 * wafer_set_mce() - KVM_X86_SET_MCE: an error that the VMM wants the guest to see
 * @vcpu: vCPU
 * @mce: what goes to the bank. Uncorrected errors raise #MC, or shut the guest down where it
 *	cannot take one (SDM vol. 3 §16.3.1.2); where reporting is off nothing happens
 *
 * Return: 0 or -EINVAL.
 */
int wafer_set_mce(struct wafer_vcpu *vcpu, const struct kvm_x86_mce *mce)
{
	struct wafer_msr_state *s = &vcpu->msr;
	u64 over, *bank = &s->mce[4 * array_index_nospec(mce->bank, WAFER_MCE_BANKS)];
	bool fatal = mce->status & MCI_STATUS_UC;

	if (mce->bank >= nr_banks(vcpu) || !(mce->status & MCI_STATUS_VAL))
		return wafer_refuse(&vcpu->refusal, -EINVAL, "bank", mce->bank,
				    "exists, and the status is valid");
	if (fatal && ((vcpu->mcg_cap & MCG_CTL_P && s->mcg_ctl != ~0ull) || bank[MCE_CTL] != ~0ull))
		return 0;
	if (fatal && (s->mcg_status & MCG_STATUS_MCIP || !(wafer_cr4(vcpu) & X86_CR4_MCE))) {
		vcpu->triple_fault = true;
		wafer_hazard_set(vcpu, WAFER_H_EXIT);
		return 0;
	}
	over = bank[MCE_STATUS] & MCI_STATUS_VAL ? MCI_STATUS_OVER : 0;
	if (!fatal && over && bank[MCE_STATUS] & MCI_STATUS_UC) {	/* the graver one stays */
		bank[MCE_STATUS] |= over;
		return 0;
	}
	bank[MCE_ADDR] = mce->addr;
	bank[MCE_MISC] = mce->misc;
	bank[MCE_STATUS] = mce->status | over;
	if (fatal) {
		s->mcg_status = mce->mcg_status;
		wafer_queue_exception(vcpu, X86_TRAP_MC, 0);
	}
	return 0;
}
