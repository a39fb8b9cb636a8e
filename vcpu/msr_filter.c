// SPDX-License-Identifier: GPL-2.0
/* KVM_X86_SET_MSR_FILTER. */
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
	} range[KVM_MSR_FILTER_MAX_RANGES];
};

bool wafer_msr_filter_denies(struct wafer_vm *vm, u32 index, bool write)
{
	u32 i, offset, flag = write ? KVM_MSR_FILTER_WRITE : KVM_MSR_FILTER_READ;
	struct wafer_msr_filter *f;
	bool denied;

	rcu_read_lock();
	f = rcu_dereference(vm->msr_filter);
	denied = f && f->default_deny;
	for (i = 0; f && i < f->nr; i++) {
		offset = index - f->range[i].base;
		if (offset < f->range[i].nmsrs && f->range[i].flags & flag) {
			offset = array_index_nospec(offset, f->range[i].nmsrs);
			denied = !test_bit(offset, f->range[i].bitmap);
			break;
		}
	}
	rcu_read_unlock();
	return denied;
}

static int copy_range(struct wafer_msr_filter *f, const struct kvm_msr_filter_range *r)
{
	typeof(f->range[0]) *to = &f->range[f->nr];

	if (!r->nmsrs)
		return 0;
	if (!r->flags || r->flags & ~(KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE) ||
	    r->nmsrs > KVM_MSR_FILTER_MAX_BITMAP_SIZE * 8)
		return -EINVAL;
	if (copy_from_user(to->bitmap, (void __user *)r->bitmap, BITS_TO_LONGS(r->nmsrs) * 8))
		return -EFAULT;
	to->flags = r->flags;
	to->base = r->base;
	to->nmsrs = r->nmsrs;
	f->nr++;
	return 0;
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
	struct wafer_msr_filter *f = kvzalloc(sizeof(*f), GFP_KERNEL_ACCOUNT), *old;
	int i, r = !f ? -ENOMEM : filter->flags & ~KVM_MSR_FILTER_DEFAULT_DENY ? -EINVAL : 0;

	for (i = 0; i < KVM_MSR_FILTER_MAX_RANGES && !r; i++)
		r = copy_range(f, &filter->ranges[i]);
	/*
	 * To deny everything is taken for a mistake, as in KVM; no ranges and "allow" removes the
	 * filter.
	 */
	if (!r && !f->nr && filter->flags)
		r = -EINVAL;
	if (r || !f->nr) {
		kvfree(f);
		f = NULL;
	}
	if (r)
		return wafer_refuse(&vm->refusal, r, "MSR filter", filter->flags,
				    "has known flags and bitmaps of at most 0x600 bytes");
	if (f)
		f->default_deny = filter->flags;
	mutex_lock(&vm->lock);
	old = rcu_replace_pointer(vm->msr_filter, f, lockdep_is_held(&vm->lock));
	mutex_unlock(&vm->lock);
	wafer_vm_raise_wait(vm, WAFER_H_INTERCEPT);
	if (old)
		kvfree_rcu(old, rcu);
	return 0;
}

/* The VM's end: nobody reads it any more. */
void wafer_msr_filter_free(struct wafer_vm *vm)
{
	kvfree(rcu_dereference_protected(vm->msr_filter, true));
}
