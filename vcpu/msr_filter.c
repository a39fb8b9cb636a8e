// SPDX-License-Identifier: GPL-2.0
/* KVM_X86_SET_MSR_FILTER, and which MSRs the guest reaches without an exit. */
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <asm/cpufeature.h>

#include "msr.h"

/*
 * struct wafer_msr_filter - replaced as a whole, read under RCU
 * @rcu: for freeing
 * @default_deny: for what no range covers
 * @nr: ranges
 * @range: a set bit in the bitmap allows; the first range that covers an MSR decides
 */
struct wafer_msr_filter {
	struct rcu_head rcu;
	bool default_deny;
	u32 nr;
	struct {
		u32 flags, base, nmsrs;
		unsigned long bitmap[KVM_MSR_FILTER_MAX_BITMAP_SIZE / sizeof(long)];
	} range[];
};

bool wafer_msr_filter_denies(struct wafer_vm *vm, u32 index, bool write)
{
	u32 i, offset, flag = write ? KVM_MSR_FILTER_WRITE : KVM_MSR_FILTER_READ;
	struct wafer_msr_filter *f;
	bool denied = false;

	rcu_read_lock();
	f = rcu_dereference(vm->msr_filter);
	if (f) {
		denied = f->default_deny;
		for (i = 0; i < f->nr; i++) {
			offset = index - f->range[i].base;
			if (offset >= f->range[i].nmsrs || !(f->range[i].flags & flag))
				continue;
			denied = !test_bit(array_index_nospec(offset, f->range[i].nmsrs), f->range[i].bitmap);
			break;
		}
	}
	rcu_read_unlock();
	return denied;
}

static int copy_range(struct wafer_msr_filter *f, const struct kvm_msr_filter_range *r)
{
	u32 i = f->nr;

	if (!r->nmsrs)
		return 0;
	if (r->flags & ~(KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE) ||
	    r->nmsrs > KVM_MSR_FILTER_MAX_BITMAP_SIZE * 8)
		return -EINVAL;
	if (copy_from_user(f->range[i].bitmap, (void __user *)r->bitmap, BITS_TO_LONGS(r->nmsrs) * sizeof(long)))
		return -EFAULT;
	f->range[i].flags = r->flags;
	f->range[i].base = r->base;
	f->range[i].nmsrs = r->nmsrs;
	f->nr++;
	return 0;
}

static struct wafer_msr_filter *build(const struct kvm_msr_filter *in)
{
	struct wafer_msr_filter *f;
	u32 i, nr = 0;
	int r;

	for (i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++)
		nr += !!in->ranges[i].nmsrs;
	/* To deny everything is taken for a mistake, as in KVM; no ranges and "allow" removes the filter. */
	if (in->flags & ~KVM_MSR_FILTER_DEFAULT_DENY || (!nr && in->flags))
		return ERR_PTR(-EINVAL);
	if (!nr)
		return NULL;
	f = kvzalloc(struct_size(f, range, nr), GFP_KERNEL_ACCOUNT);
	if (!f)
		return ERR_PTR(-ENOMEM);
	f->default_deny = in->flags & KVM_MSR_FILTER_DEFAULT_DENY;
	for (i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++) {
		r = copy_range(f, &in->ranges[i]);
		if (r) {
			kvfree(f);
			return ERR_PTR(r);
		}
	}
	return f;
}

/**
 * wafer_set_msr_filter() - KVM_X86_SET_MSR_FILTER
 * @vm: VM
 * @filter: a kernel copy, whose bitmaps are still user memory
 *
 * When it returns every vCPU obeys the new filter.
 *
 * Return: 0; -EINVAL; -EFAULT; -ENOMEM.
 */
int wafer_set_msr_filter(struct wafer_vm *vm, const struct kvm_msr_filter *filter)
{
	struct wafer_msr_filter *f = build(filter);

	if (IS_ERR(f))
		return wafer_refuse(&vm->refusal, PTR_ERR(f), "MSR filter", filter->flags,
				    "has known flags and bitmaps of at most 0x600 bytes");
	mutex_lock(&vm->lock);
	f = rcu_replace_pointer(vm->msr_filter, f, lockdep_is_held(&vm->lock));
	mutex_unlock(&vm->lock);
	wafer_vm_raise_wait(vm, WAFER_H_INTERCEPT);
	if (f)
		kvfree_rcu(f, rcu);
	return 0;
}

/* The VM's end: nobody reads it any more. */
void wafer_msr_filter_free(struct wafer_vm *vm)
{
	kvfree(rcu_dereference_protected(vm->msr_filter, true));
}

/* MSRs that a backend may let through; it knows which of them its CPU switches. */
static const u32 direct[] = {
	MSR_FS_BASE, MSR_GS_BASE, MSR_KERNEL_GS_BASE,
	MSR_IA32_SYSENTER_CS, MSR_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_EIP,
	MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SYSCALL_MASK,
	MSR_IA32_TSC, MSR_IA32_SPEC_CTRL, MSR_IA32_PRED_CMD, MSR_IA32_FLUSH_CMD,
};

static bool guest_has_msr(struct wafer_vcpu *vcpu, u32 msr)
{
	switch (msr) {
	case MSR_IA32_SPEC_CTRL:
		return wafer_msr_find(msr) && wafer_has_spec_ctrl(vcpu);
	case MSR_IA32_PRED_CMD:
		return wafer_msr_find(msr) && (wafer_guest_has(vcpu, X86_FEATURE_SPEC_CTRL) ||
					       wafer_guest_has(vcpu, X86_FEATURE_AMD_IBPB));
	case MSR_IA32_FLUSH_CMD:
		return wafer_msr_find(msr) && wafer_guest_has(vcpu, X86_FEATURE_FLUSH_L1D);
	}
	return true;
}

/**
 * wafer_msr_intercepts() - at WAFER_H_INTERCEPT: tell the backend which MSRs are direct now
 * @vcpu: vCPU, in the window
 */
void wafer_msr_intercepts(struct wafer_vcpu *vcpu)
{
	struct wafer_vm *vm = vcpu->vm;
	bool read, write;
	int i;

	for (i = 0; i < ARRAY_SIZE(direct); i++) {
		read = write = guest_has_msr(vcpu, direct[i]);
		if (rcu_access_pointer(vm->msr_filter)) {
			read &= !wafer_msr_filter_denies(vm, direct[i], false);
			write &= !wafer_msr_filter_denies(vm, direct[i], true);
		}
		wafer_backend->intercept_msr(vcpu, direct[i], !read, !write);
	}
}
