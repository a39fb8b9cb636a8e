// SPDX-License-Identifier: GPL-2.0
/* RDMSR and WRMSR by the guest, KVM_GET_MSRS and KVM_SET_MSRS by the VMM: one way for both, through the table. */
#include <linux/slab.h>
#include <asm/cpufeature.h>
#include <asm/processor-flags.h>

#include "msr.h"

static bool is_x2apic(u32 index)
{
	return index - 0x800 < 0x100;
}

static u64 *place_of(struct wafer_vcpu *vcpu, const struct wafer_msr *m)
{
	void *base = m->place == MSR_VCPU ? (void *)vcpu : (void *)vcpu->msr;

	return base + m->offset;
}

static bool guest_sees(struct wafer_vcpu *vcpu, const struct wafer_msr *m)
{
	if (m->guest && !wafer_guest_has(vcpu, m->guest))
		return false;
	if (m->pv && vcpu->vm->enforce_pv && !(wafer_pv_features(vcpu) & m->pv))
		return false;
	return !(m->flags & MSR_SPECULATION) || wafer_has_spec_ctrl(vcpu);
}

static int get(struct wafer_vcpu *vcpu, u32 index, u64 *val, u8 how)
{
	const struct wafer_msr *m = wafer_msr_find(index);

	if (!m)
		return wafer_msr_range_get(vcpu, index, val, how);
	if (!(how & MSR_HOST) && (m->flags & MSR_WRITEONLY || !guest_sees(vcpu, m)))
		return WAFER_MSR_GP;
	if (m->get)
		return m->get(vcpu, val, how);
	if (m->place == MSR_CONST) {
		*val = m->reset;
		return WAFER_MSR_OK;
	}
	wafer_need(vcpu, m->group);
	*val = *place_of(vcpu, m);
	return WAFER_MSR_OK;
}

static int set(struct wafer_vcpu *vcpu, u32 index, u64 val, u8 how)
{
	const struct wafer_msr *m = wafer_msr_find(index);

	if (!m)
		return wafer_msr_range_set(vcpu, index, val, how);
	if (!(how & MSR_HOST)) {
		if (m->flags & MSR_READONLY || !guest_sees(vcpu, m))
			return WAFER_MSR_GP;
		if (m->flags & MSR_IGNORE)
			return WAFER_MSR_OK;
	}
	if (val & m->reserved || (m->flags & MSR_CANONICAL && !wafer_is_canonical(vcpu, val)))
		return WAFER_MSR_GP;
	if (m->set)
		return m->set(vcpu, val, how);
	/* What is constant accepts what it was saved as, or 0, and stays what it is. */
	if (m->place == MSR_CONST)
		return WAFER_MSR_OK;
	wafer_need(vcpu, m->group);
	*place_of(vcpu, m) = val;
	wafer_touch(vcpu, m->group);
	return WAFER_MSR_OK;
}

static int x2apic_result(int r)
{
	return r == -EAGAIN ? WAFER_MSR_SLOW : r;
}

/**
 * wafer_msr_read() - RDMSR by the guest
 * @vcpu: vCPU
 * @index: ECX
 * @val: result
 * @window: in the window
 *
 * Return: WAFER_MSR_*.
 */
int wafer_msr_read(struct wafer_vcpu *vcpu, u32 index, u64 *val, bool window)
{
	if (is_x2apic(index))
		return x2apic_result(wafer_x2apic_read(vcpu, index, val, window));
	if (unlikely(rcu_access_pointer(vcpu->vm->msr_filter)) && wafer_msr_filter_denies(vcpu->vm, index, false))
		return WAFER_MSR_USER_FILTER;
	return get(vcpu, index, val, window ? MSR_WINDOW : 0);
}

/**
 * wafer_msr_write() - WRMSR by the guest
 * @vcpu: vCPU
 * @index: ECX
 * @val: EDX:EAX
 * @window: in the window
 *
 * Return: WAFER_MSR_*.
 */
int wafer_msr_write(struct wafer_vcpu *vcpu, u32 index, u64 val, bool window)
{
	if (is_x2apic(index))
		return x2apic_result(wafer_x2apic_write(vcpu, index, val, window));
	if (unlikely(rcu_access_pointer(vcpu->vm->msr_filter)) && wafer_msr_filter_denies(vcpu->vm, index, true))
		return WAFER_MSR_USER_FILTER;
	return set(vcpu, index, val, window ? MSR_WINDOW : 0);
}

/* KVM_GET_MSRS, one entry. 0 or 1 */
int wafer_msr_get(struct wafer_vcpu *vcpu, u32 index, u64 *val)
{
	if (is_x2apic(index))
		return !!wafer_x2apic_read(vcpu, index, val, false);
	return !!get(vcpu, index, val, MSR_HOST);
}

int wafer_msr_set(struct wafer_vcpu *vcpu, u32 index, u64 val)
{
	int r;

	if (is_x2apic(index))
		return !!wafer_x2apic_write(vcpu, index, val, false);
	r = set(vcpu, index, val, MSR_HOST);
	/* CR4.LA57, which canonical addresses depend on, may come later. */
	wafer_hazard_set(vcpu, WAFER_H_CHECK);
	return !!r;
}

int wafer_msr_create(struct wafer_vcpu *vcpu)
{
	vcpu->msr = kzalloc(sizeof(*vcpu->msr), GFP_KERNEL_ACCOUNT);
	if (!vcpu->msr)
		return -ENOMEM;
	vcpu->msr->mcg_cap = WAFER_MCE_BANKS;
	return 0;
}

void wafer_msr_free(struct wafer_vcpu *vcpu)
{
	kfree(vcpu->msr);
}

/**
 * wafer_msr_reset() - the MSRs after RESET or INIT
 * @vcpu: vCPU
 * @init: INIT: MSRs keep their values (SDM vol. 3 table 10-1); the kvmclock record is the guest's to set up again
 *
 * Those in struct wafer_arch are reset with it.
 */
void wafer_msr_reset(struct wafer_vcpu *vcpu, bool init)
{
	u64 mcg_cap = vcpu->msr->mcg_cap;
	unsigned int i;

	vcpu->clock_gpa = 0;
	if (init)
		return;
	vcpu->steal_gpa = 0;
	for (i = 0; i < wafer_nr_msrs; i++)
		if (wafer_msrs[i].place == MSR_STATE)
			*place_of(vcpu, &wafer_msrs[i]) = wafer_msrs[i].reset;
	vcpu->msr->mcg_cap = mcg_cap;
	vcpu->msr->arch_capabilities = wafer_host_arch_capabilities;
	vcpu->msr->de_cfg = wafer_host_de_cfg;
	wafer_msr_range_reset(vcpu);
}
