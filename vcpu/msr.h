/* SPDX-License-Identifier: GPL-2.0 */
/* Between the MSR table (msr_table.c), access by guest and host (msr.c), MTRRs and machine checks (msr_range.c), filter. */
#ifndef WAFER_MSR_H
#define WAFER_MSR_H

#include "vcpu.h"
#include "vm.h"

#define WAFER_MCE_BANKS	32
#define WAFER_NR_FIXED_MTRRS 11
#define WAFER_NR_VAR_MTRRS 8

/**
 * struct wafer_msr_state - MSRs that live nowhere else; [v]
 * @mcg_cap: as KVM_X86_SETUP_MCE left it
 * @mce: four registers for each bank: CTL, STATUS, ADDR, MISC
 * @mtrr_fixed: in the order of their numbers
 * @mtrr_var: base, mask, base, ...
 */
struct wafer_msr_state {
	u64 misc_enable, tsc_adjust, wall_clock;
	u64 ucode_rev, arch_capabilities, platform_info, misc_features;
	u64 power_ctl, smi_count, hwcr, de_cfg;
	u64 osvw_length, osvw_status;
	u64 mcg_cap, mcg_status, mcg_ctl;
	u64 mce[WAFER_MCE_BANKS * 4];
	u64 mtrr_def;
	u64 mtrr_fixed[WAFER_NR_FIXED_MTRRS];
	u64 mtrr_var[WAFER_NR_VAR_MTRRS * 2];
};

/* How an access is made. */
#define MSR_HOST	BIT(0)	/* by the VMM: no read-only registers, no CPUID */
#define MSR_WINDOW	BIT(1)	/* in the window */

enum wafer_msr_place { MSR_CONST, MSR_STATE, MSR_VCPU };

/* struct wafer_msr.flags */
#define MSR_LISTED	BIT(0)	/* in KVM_GET_MSR_INDEX_LIST: worth saving */
#define MSR_FEATURE	BIT(1)	/* in KVM_GET_MSR_FEATURE_INDEX_LIST */
#define MSR_READONLY	BIT(2)	/* a guest's write is #GP */
#define MSR_WRITEONLY	BIT(3)	/* a guest's read is #GP */
#define MSR_IGNORE	BIT(4)	/* a guest's write has no effect */
#define MSR_CANONICAL	BIT(5)	/* holds a linear address */
#define MSR_SPECULATION	BIT(6)	/* the guest needs one of several features to see it */

/**
 * struct wafer_msr - one MSR
 * @index: its number
 * @name: as in the SDM or APM
 * @flags: MSR_*
 * @place: where the value is: at @offset in struct wafer_msr_state or struct wafer_vcpu, or the constant @reset
 * @group: WAFER_G_* that the place belongs to
 * @offset: see @place
 * @host: X86_FEATURE_* that this host needs for it to exist; 0 always
 * @guest: X86_FEATURE_* that the guest needs to see it; 0 always
 * @pv: bits of the KVM leaf of which the guest needs one, where KVM_CAP_ENFORCE_PV_FEATURE_CPUID is on; 0 always
 * @reset: value after RESET (MSR_STATE)
 * @reserved: bits that nobody can set
 * @get: instead of @place; WAFER_MSR_*
 * @set: instead of @place, with the checks; WAFER_MSR_*
 */
struct wafer_msr {
	u32 index;
	const char *name;
	u8 flags, place;
	u16 offset;
	u32 group;
	u16 host, guest;
	u32 pv;
	u64 reset, reserved;
	int (*get)(struct wafer_vcpu *vcpu, u64 *val, u8 how);
	int (*set)(struct wafer_vcpu *vcpu, u64 val, u8 how);
};

extern const struct wafer_msr wafer_msrs[];
extern const unsigned int wafer_nr_msrs;

/* NULL: not in the table. Any context. */
const struct wafer_msr *wafer_msr_find(u32 index);

/* msr_special.c: MSRs with functions of their own. */
#define MSR_GET(name) int wafer_msr_get_##name(struct wafer_vcpu *vcpu, u64 *val, u8 how)
#define MSR_SET(name) int wafer_msr_set_##name(struct wafer_vcpu *vcpu, u64 val, u8 how)
MSR_GET(tsc);
MSR_GET(tsc_deadline);
MSR_GET(platform_info);
MSR_SET(tsc);
MSR_SET(tsc_adjust);
MSR_SET(tsc_deadline);
MSR_SET(apic_base);
MSR_SET(efer);
MSR_SET(pat);
MSR_SET(spec_ctrl);
MSR_SET(pred_cmd);
MSR_SET(flush_cmd);
MSR_SET(misc_enable);
MSR_SET(arch_capabilities);
MSR_SET(debugctl);
MSR_SET(hwcr);
MSR_SET(de_cfg);
MSR_SET(wall_clock);
MSR_SET(clock);
MSR_SET(steal_time);
MSR_SET(mcg_ctl);

bool wafer_is_canonical(struct wafer_vcpu *vcpu, u64 addr);
bool wafer_pat_valid(u64 pat);
bool wafer_has_spec_ctrl(struct wafer_vcpu *vcpu);

/* msr_range.c: MTRRs and machine-check banks; WAFER_MSR_USER_UNKNOWN: not one of them. */
int wafer_msr_range_get(struct wafer_vcpu *vcpu, u32 index, u64 *val, u8 how);
int wafer_msr_range_set(struct wafer_vcpu *vcpu, u32 index, u64 val, u8 how);
void wafer_msr_range_reset(struct wafer_vcpu *vcpu);

/* msr_filter.c. Any context. */
bool wafer_msr_filter_denies(struct wafer_vm *vm, u32 index, bool write);

/* Values of feature MSRs on this host. */
extern u64 wafer_host_arch_capabilities, wafer_host_de_cfg;

#endif
