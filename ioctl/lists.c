// SPDX-License-Identifier: GPL-2.0
/* Ioctls whose argument is a header and as many entries as it says. */
#include <linux/kvm.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "door.h"
#include "vcpu.h"
#include "vm.h"

#define MAX_CPUID	256
#define MAX_MSRS	256

/* Copies @n entries back and says how many. */
static long put_cpuid(struct kvm_cpuid2 __user *user, const struct kvm_cpuid_entry2 *e, unsigned int n)
{
	if (copy_to_user(user->entries, e, array_size(n, sizeof(*e))) || put_user(n, &user->nent))
		return -EFAULT;
	return 0;
}

/* KVM_GET_SUPPORTED_CPUID, KVM_GET_EMULATED_CPUID: -E2BIG leaves the header as it was. */
long wafer_door_supported_cpuid(void __user *arg, bool emulated)
{
	struct kvm_cpuid2 __user *user = arg;
	struct kvm_cpuid_entry2 *e;
	u32 nent;
	long r;

	if (get_user(nent, &user->nent))
		return -EFAULT;
	if (!nent)
		return -E2BIG;
	nent = min_t(u32, nent, MAX_CPUID);
	e = kvcalloc(nent, sizeof(*e), GFP_KERNEL_ACCOUNT);
	if (!e)
		return -ENOMEM;
	r = emulated ? 0 : wafer_supported_cpuid(e, nent);	/* no instruction that the CPU lacks is emulated */
	if (r >= 0)
		r = put_cpuid(user, e, r);
	kvfree(e);
	return r;
}

long wafer_door_set_cpuid(struct wafer_vcpu *vcpu, void __user *arg)
{
	struct kvm_cpuid2 __user *user = arg;
	struct kvm_cpuid_entry2 *e;
	u32 nent;
	long r;

	if (get_user(nent, &user->nent))
		return -EFAULT;
	if (nent > MAX_CPUID)
		return wafer_refuse(&vcpu->refusal, -E2BIG, "nent", nent, "is at most 256");
	e = vmemdup_user(user->entries, array_size(nent, sizeof(*e)));
	if (IS_ERR(e))
		return PTR_ERR(e);
	r = wafer_set_cpuid(vcpu, e, nent);
	kvfree(e);
	return r;
}

/* KVM_GET_CPUID2: the number of entries is told in any case. */
long wafer_door_get_cpuid(struct wafer_vcpu *vcpu, void __user *arg)
{
	struct kvm_cpuid2 __user *user = arg;
	unsigned int n = wafer_get_cpuid(vcpu, NULL, 0);
	struct kvm_cpuid_entry2 *e;
	u32 nent;
	long r;

	if (get_user(nent, &user->nent))
		return -EFAULT;
	if (nent < n)
		return put_user(n, &user->nent) ? -EFAULT : -E2BIG;
	e = kvcalloc(n, sizeof(*e), GFP_KERNEL_ACCOUNT);
	if (!e)
		return -ENOMEM;
	wafer_get_cpuid(vcpu, e, n);
	r = put_cpuid(user, e, n);
	kvfree(e);
	return r;
}

/* KVM_GET_MSR_INDEX_LIST, KVM_GET_MSR_FEATURE_INDEX_LIST: the number is told in any case. */
long wafer_door_msr_list(void __user *arg, bool feature)
{
	struct kvm_msr_list __user *user = arg;
	u32 index[MAX_MSRS / 2], nmsrs;
	unsigned int n = wafer_msr_list(index, ARRAY_SIZE(index), feature);

	if (get_user(nmsrs, &user->nmsrs) || put_user(n, &user->nmsrs))
		return -EFAULT;
	if (nmsrs < n)
		return -E2BIG;
	return copy_to_user(user->indices, index, n * sizeof(*index)) ? -EFAULT : 0;
}

static struct kvm_msr_entry *get_entries(struct kvm_msrs __user *user, u32 *nmsrs)
{
	if (get_user(*nmsrs, &user->nmsrs))
		return ERR_PTR(-EFAULT);
	if (*nmsrs >= MAX_MSRS)
		return ERR_PTR(-E2BIG);
	return vmemdup_user(user->entries, array_size(*nmsrs, sizeof(struct kvm_msr_entry)));
}

/* KVM_GET_MSRS; without a vCPU the feature MSRs. Return: how many were read before the first that could not be. */
long wafer_door_get_msrs(struct wafer_vcpu *vcpu, void __user *arg)
{
	struct kvm_msrs __user *user = arg;
	struct kvm_msr_entry *e;
	u32 i, nmsrs;
	long r;

	e = get_entries(user, &nmsrs);
	if (IS_ERR(e))
		return PTR_ERR(e);
	for (i = 0; i < nmsrs; i++) {
		u64 val = 0;

		if (vcpu ? wafer_msr_access(vcpu, e[i].index, &val, WAFER_MSR_HOST) : wafer_feature_msr(e[i].index, &val))
			break;
		e[i].data = val;
	}
	r = copy_to_user(user->entries, e, array_size(nmsrs, sizeof(*e))) ? -EFAULT : i;
	kvfree(e);
	return r;
}

/* KVM_SET_MSRS. Return: how many were set before the first that could not be. */
long wafer_door_set_msrs(struct wafer_vcpu *vcpu, void __user *arg)
{
	struct kvm_msr_entry *e;
	u32 i, nmsrs;

	e = get_entries(arg, &nmsrs);
	if (IS_ERR(e))
		return PTR_ERR(e);
	for (i = 0; i < nmsrs; i++) {
		if (wafer_msr_access(vcpu, e[i].index, &e[i].data, WAFER_MSR_HOST | WAFER_MSR_WRITE)) {
			wafer_refuse(&vcpu->refusal, -EINVAL, "MSR index", e[i].index, "exists and takes the value");
			break;
		}
	}
	kvfree(e);
	return i;
}

long wafer_door_routing(struct wafer_vm *vm, void __user *arg)
{
	struct kvm_irq_routing_entry *e = NULL;
	struct kvm_irq_routing header;
	long r;

	if (copy_from_user(&header, arg, sizeof(header)))
		return -EFAULT;
	if (vm->irq.mode == WAFER_CHIP_NONE)
		return wafer_refuse(&vm->refusal, -EINVAL, "irqchip", 0, "is in the kernel");
	if (header.nr > WAFER_MAX_GSI || header.flags)
		return wafer_refuse(&vm->refusal, -EINVAL, "nr", header.nr, "is at most 4096, with flags 0");
	if (header.nr) {
		e = vmemdup_user(arg + sizeof(header), array_size(header.nr, sizeof(*e)));
		if (IS_ERR(e))
			return PTR_ERR(e);
	}
	r = wafer_set_routing(vm, e, header.nr, &vm->refusal);
	kvfree(e);
	return r;
}

/*
 * KVM_GET_XSAVE and KVM_SET_XSAVE; the size of what the VMM's buffer holds is KVM_CAP_XSAVE2's, for KVM_GET_XSAVE
 * that of struct kvm_xsave.
 */
long wafer_door_xsave(struct wafer_vcpu *vcpu, void __user *arg, bool set, bool xsave2)
{
	unsigned int size = wafer_xsave_bytes();
	void *buf;
	long r;

	if (!xsave2 && size > sizeof(struct kvm_xsave))
		return wafer_refuse(&vcpu->refusal, -EINVAL, "size", size, "fits KVM_GET_XSAVE; use KVM_GET_XSAVE2");
	if (set) {
		buf = vmemdup_user(arg, size);
		if (IS_ERR(buf))
			return PTR_ERR(buf);
		r = wafer_set_xsave(vcpu, buf);
	} else {
		buf = kvzalloc(size, GFP_KERNEL_ACCOUNT);
		if (!buf)
			return -ENOMEM;
		wafer_get_xsave(vcpu, buf);
		r = copy_to_user(arg, buf, size) ? -EFAULT : 0;
	}
	kvfree(buf);
	return r;
}
