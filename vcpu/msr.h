/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Between the MSR table (msr.c), machine checks (mce.c), the filter (msr_filter.c) and the check of
 * state (check.c).
 */
#ifndef WAFER_MSR_H
#define WAFER_MSR_H

#include "core.h"

/*
 * What MSRs with rules of their own do when they are read (@val has been filled in, or is for the
 * function to fill in) or before they are written (@val may be changed): WAFER_MSR_OK, or anything
 * else and nothing is written.
 */
typedef int (*wafer_msr_fn)(struct wafer_vcpu *vcpu, u32 index, u64 *val, u8 how);

/* after RESET; written once at module load */
extern struct wafer_msr_state wafer_msr_initial;

bool wafer_is_canonical(struct wafer_vcpu *vcpu, u64 addr);
bool wafer_pat_valid(u64 pat);

/* mce.c */
int wafer_mce_get_bank(struct wafer_vcpu *vcpu, u32 index, u64 *val, u8 how);
int wafer_mce_set_bank(struct wafer_vcpu *vcpu, u32 index, u64 *val, u8 how);
int wafer_mce_set_ctl(struct wafer_vcpu *vcpu, u32 index, u64 *val, u8 how);

/* msr_filter.c. Any context. */
bool wafer_msr_filter_denies(struct wafer_vm *vm, u32 index, bool write);

#endif
