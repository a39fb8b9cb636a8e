// SPDX-License-Identifier: GPL-2.0
/*
 * MSRs that come in ranges: memory type ranges (SDM vol. 3 §12.11) and machine-check banks (§16.3.2).
 *
 * MTRRs are kept and checked and have no effect: guest memory is the host's and has the host's type.
 */
#include <linux/nospec.h>
#include <linux/string.h>
#include <asm/mce.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "msr.h"

#define MCE_CAP	(MCG_CTL_P | MCG_SER_P)

enum { MCE_CTL, MCE_STATUS, MCE_ADDR, MCE_MISC };

#define MTRR_VAR	0x200
#define MTRR_DEF	0x2ff
#define MCE_FIRST	0x400

static const u16 fixed_mtrr[WAFER_NR_FIXED_MTRRS] = {
	0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f,
};

static bool type_valid(u8 type)
{
	return type < 8 && BIT(type) & (BIT(0) | BIT(1) | BIT(4) | BIT(5) | BIT(6));	/* UC WC WT WP WB */
}

static bool mtrr_valid(struct wafer_vcpu *vcpu, u32 index, u64 val)
{
	u64 reserved = ~(BIT_ULL(wafer_guest_phys_bits(vcpu)) - 1);
	int i;

	if (index == MTRR_DEF)
		return !(val & ~0xcffull) && type_valid(val);
	if (index >= 0x250) {
		for (i = 0; i < 8; i++)
			if (!type_valid(val >> (i * 8)))
				return false;
		return true;
	}
	if (index & 1)
		return !(val & (reserved | 0x7ff));
	return !(val & (reserved | 0xf00)) && type_valid(val);
}

/* Where MTRR or bank register @index is kept; NULL: it is neither. */
static u64 *place_of(struct wafer_vcpu *vcpu, u32 index, bool *mce)
{
	struct wafer_msr_state *s = vcpu->msr;
	int i;

	*mce = index - MCE_FIRST < ARRAY_SIZE(s->mce);
	if (*mce)
		return &s->mce[array_index_nospec(index - MCE_FIRST, ARRAY_SIZE(s->mce))];
	if (index == MTRR_DEF)
		return &s->mtrr_def;
	if (index - MTRR_VAR < ARRAY_SIZE(s->mtrr_var))
		return &s->mtrr_var[array_index_nospec(index - MTRR_VAR, ARRAY_SIZE(s->mtrr_var))];
	for (i = 0; i < WAFER_NR_FIXED_MTRRS; i++)
		if (index == fixed_mtrr[i])
			return &s->mtrr_fixed[i];
	return NULL;
}

static bool bank_exists(struct wafer_vcpu *vcpu, u32 index)
{
	return (index - MCE_FIRST) / 4 < (vcpu->msr->mcg_cap & MCG_BANKCNT_MASK);
}

int wafer_msr_range_get(struct wafer_vcpu *vcpu, u32 index, u64 *val, u8 how)
{
	bool mce;
	u64 *place = place_of(vcpu, index, &mce);

	if (!place)
		return WAFER_MSR_USER_UNKNOWN;
	if (mce && !bank_exists(vcpu, index))
		return WAFER_MSR_GP;
	*val = *place;
	return WAFER_MSR_OK;
}

/* CTL: all or nothing, but for bit 10 and 0 that Linux clears. STATUS: the guest clears it, no more. */
static bool bank_valid(struct wafer_vcpu *vcpu, u32 index, u64 val, u8 how)
{
	switch (index % 4) {
	case MCE_CTL:
		return !val || (val | BIT_ULL(10) | BIT_ULL(0)) == ~0ull;
	case MCE_STATUS:
		return how & MSR_HOST || !val || vcpu->msr->hwcr & BIT_ULL(18);		/* HWCR.McStatusWrEn */
	}
	return true;
}

int wafer_msr_range_set(struct wafer_vcpu *vcpu, u32 index, u64 val, u8 how)
{
	bool mce;
	u64 *place = place_of(vcpu, index, &mce);

	if (!place)
		return WAFER_MSR_USER_UNKNOWN;
	if (mce ? !bank_exists(vcpu, index) || !bank_valid(vcpu, index, val, how) : !mtrr_valid(vcpu, index, val))
		return WAFER_MSR_GP;
	*place = val;
	return WAFER_MSR_OK;
}

/* Error records outlive a reset, on hardware for the firmware to find; here the VMM starts clean. */
void wafer_msr_range_reset(struct wafer_vcpu *vcpu)
{
	struct wafer_msr_state *s = vcpu->msr;
	int i;

	memset(s->mce, 0, sizeof(s->mce));
	for (i = 0; i < WAFER_MCE_BANKS; i++)
		s->mce[i * 4 + MCE_CTL] = ~0ull;
	if (s->mcg_cap & MCG_CTL_P)
		s->mcg_ctl = ~0ull;
	s->mtrr_def = 0;
	memset(s->mtrr_fixed, 0, sizeof(s->mtrr_fixed));
	memset(s->mtrr_var, 0, sizeof(s->mtrr_var));
}

int wafer_msr_set_mcg_ctl(struct wafer_vcpu *vcpu, u64 val, u8 how)
{
	if (!(vcpu->msr->mcg_cap & MCG_CTL_P) && (val || !(how & MSR_HOST)))
		return WAFER_MSR_GP;
	if (val && val != ~0ull)
		return WAFER_MSR_GP;
	vcpu->msr->mcg_ctl = val;
	return WAFER_MSR_OK;
}

/* KVM_X86_GET_MCE_CAP_SUPPORTED */
u64 wafer_mce_cap(void)
{
	return MCE_CAP;
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
	unsigned int banks = mcg_cap & MCG_BANKCNT_MASK;

	if (!banks || banks > WAFER_MCE_BANKS || mcg_cap & ~(MCE_CAP | MCG_BANKCNT_MASK | MCG_EXT_CNT_MASK))
		return wafer_refuse(&vcpu->refusal, -EINVAL, "mcg_cap", mcg_cap, "has 1 to 32 banks and known bits");
	vcpu->msr->mcg_cap = mcg_cap;
	wafer_msr_range_reset(vcpu);
	return 0;
}

static void log_error(u64 *bank, const struct kvm_x86_mce *mce)
{
	u64 over = bank[MCE_STATUS] & MCI_STATUS_VAL ? MCI_STATUS_OVER : 0;

	bank[MCE_ADDR] = mce->addr;
	bank[MCE_MISC] = mce->misc;
	bank[MCE_STATUS] = mce->status | over;
}

/**
 * wafer_set_mce() - KVM_X86_SET_MCE: an error that the VMM wants the guest to see
 * @vcpu: vCPU
 * @mce: what goes to the bank. Uncorrected errors raise #MC, or shut the guest down where it cannot take one
 *	(SDM vol. 3 §16.3.1.2); where reporting is off nothing happens
 *
 * Return: 0 or -EINVAL.
 */
int wafer_set_mce(struct wafer_vcpu *vcpu, const struct kvm_x86_mce *mce)
{
	struct wafer_msr_state *s = vcpu->msr;
	u64 *bank;

	if (mce->bank >= (s->mcg_cap & MCG_BANKCNT_MASK) || !(mce->status & MCI_STATUS_VAL))
		return wafer_refuse(&vcpu->refusal, -EINVAL, "bank", mce->bank, "exists, and the status is valid");
	bank = &s->mce[4 * array_index_nospec(mce->bank, WAFER_MCE_BANKS)];
	if (!(mce->status & MCI_STATUS_UC)) {
		if ((bank[MCE_STATUS] & (MCI_STATUS_VAL | MCI_STATUS_UC)) == (MCI_STATUS_VAL | MCI_STATUS_UC))
			bank[MCE_STATUS] |= MCI_STATUS_OVER;
		else
			log_error(bank, mce);
		return 0;
	}
	if ((s->mcg_cap & MCG_CTL_P && s->mcg_ctl != ~0ull) || bank[MCE_CTL] != ~0ull)
		return 0;
	if (s->mcg_status & MCG_STATUS_MCIP || !(wafer_cr4(vcpu) & X86_CR4_MCE)) {
		vcpu->triple_fault = true;
		wafer_hazard_set(vcpu, WAFER_H_EXIT);
		return 0;
	}
	log_error(bank, mce);
	s->mcg_status = mce->mcg_status;
	wafer_queue_exception(vcpu, X86_TRAP_MC, 0);
	return 0;
}
