// SPDX-License-Identifier: GPL-2.0
/* Ioctls whose argument is a header and as many entries as it says. */

#include "door.h"

#define MAX_CPUID	256
#define MAX_MSRS	256

/* Copies in the entries that follow a header of eight bytes, which begins with their number. */
static void *get_entries(void __user *arg, u32 max, size_t size, u32 *nr)
{
	if (get_user(*nr, (u32 __user *)arg))
		return ERR_PTR(-EFAULT);
	return *nr > max ? ERR_PTR(-E2BIG) : vmemdup_user(arg + 8, array_size(*nr, size));
}

/*
 * KVM_GET_CPUID2; without a vCPU KVM_GET_SUPPORTED_CPUID and KVM_GET_EMULATED_CPUID. -E2BIG leaves
 * the header as it was.
 */
long wafer_door_get_cpuid(struct wafer_vcpu *vcpu, void __user *arg, bool emulated)
{
	struct kvm_cpuid2 __user *user = arg;
	struct kvm_cpuid_entry2 *e;
	u32 nent;
	long r;

	if (get_user(nent, &user->nent))
		return -EFAULT;
	e = kvcalloc(MAX_CPUID, sizeof(*e), GFP_KERNEL_ACCOUNT);
	if (!e)
		return -ENOMEM;
	r = vcpu ? wafer_get_cpuid(vcpu, e, MAX_CPUID) :
	    /* leaf 0 alone: nothing that the CPU lacks is emulated */
	    emulated ? 1 : wafer_supported_cpuid(e, MAX_CPUID);
	if (nent < r || (!nent && !vcpu))
		r = -E2BIG;
	else if (r >= 0)
		r = copy_to_user(user->entries, e, r * sizeof(*e)) ||
		    put_user(r, &user->nent) ? -EFAULT : 0;
	kvfree(e);
	return r;
}

long wafer_door_set_cpuid(struct wafer_vcpu *vcpu, void __user *arg)
{
	u32 nent;
	struct kvm_cpuid_entry2 *e = get_entries(arg, MAX_CPUID, sizeof(*e), &nent);
	long r;

	if (IS_ERR(e))
		return PTR_ERR(e);
	r = wafer_set_cpuid(vcpu, e, nent);
	kvfree(e);
	return r;
}

/* KVM_SET_CPUID: the same without sub-leaves. */
long wafer_door_set_old_cpuid(struct wafer_vcpu *vcpu, void __user *arg)
{
	u32 nent;
	struct kvm_cpuid_entry *old = get_entries(arg, MAX_CPUID, sizeof(*old), &nent);
	struct kvm_cpuid_entry2 *e;
	long r;

	if (IS_ERR(old))
		return PTR_ERR(old);
	e = kvcalloc(MAX_CPUID, sizeof(*e), GFP_KERNEL_ACCOUNT);
	for (u32 i = 0; e && i < nent; i++)
		e[i] = (struct kvm_cpuid_entry2){
			.function = old[i].function, .eax = old[i].eax, .ebx = old[i].ebx,
			.ecx = old[i].ecx, .edx = old[i].edx,
		};
	r = e ? wafer_set_cpuid(vcpu, e, nent) : -ENOMEM;
	kvfree(e);
	kvfree(old);
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

/*
 * KVM_GET_MSRS, without a vCPU the feature MSRs; KVM_SET_MSRS. Return: how many were read or set
 * before the first that could not be.
 */
long wafer_door_msrs(struct wafer_vcpu *vcpu, void __user *arg, bool set)
{
	const u8 how = WAFER_MSR_HOST | (set ? WAFER_MSR_WRITE : 0);
	u32 i, nmsrs;
	struct kvm_msr_entry *e = get_entries(arg, MAX_MSRS - 1, sizeof(*e), &nmsrs);
	long r;

	if (IS_ERR(e))
		return PTR_ERR(e);
	for (i = 0; i < nmsrs; i++) {
		u64 val = set ? e[i].data : 0;

		if (vcpu ? wafer_msr_access(vcpu, e[i].index, &val, how) :
			   wafer_feature_msr(e[i].index, &val))
			break;
		e[i].data = val;
	}
	r = i;
	if (!set && copy_to_user(arg + sizeof(struct kvm_msrs), e, array_size(nmsrs, sizeof(*e))))
		r = -EFAULT;
	else if (set && i < nmsrs)
		wafer_refuse(&vcpu->refusal, -EINVAL, "MSR index", e[i].index,
			     "exists and takes the value");
	kvfree(e);
	return r;
}

long wafer_door_routing(struct wafer_vm *vm, void __user *arg)
{
	struct kvm_irq_routing_entry *e;
	struct kvm_irq_routing header;
	long r;

	if (copy_from_user(&header, arg, sizeof(header)))
		return -EFAULT;
	if (header.nr > WAFER_MAX_GSI || header.flags)
		return wafer_refuse(&vm->refusal, -EINVAL, "nr", header.nr,
				    "is at most 4096, with flags 0");
	e = vmemdup_user(arg + sizeof(header), array_size(header.nr, sizeof(*e)));
	if (IS_ERR(e))
		return PTR_ERR(e);
	r = wafer_set_routing(vm, e, header.nr);
	kvfree(e);
	return r;
}

/*
 * KVM_GET_XSAVE and KVM_SET_XSAVE; the size of what the VMM's buffer holds is KVM_CAP_XSAVE2's, for
 * KVM_GET_XSAVE that of struct kvm_xsave.
 */
long wafer_door_xsave(struct wafer_vcpu *vcpu, void __user *arg, bool set, bool xsave2)
{
	unsigned int size = wafer_xsave_bytes();
	void *buf;
	long r;

	if (!xsave2 && size > sizeof(struct kvm_xsave))
		return wafer_refuse(&vcpu->refusal, -EINVAL, "size", size,
				    "fits KVM_GET_XSAVE; use KVM_GET_XSAVE2");
	buf = kvzalloc(size, GFP_KERNEL_ACCOUNT);
	if (!buf)
		return -ENOMEM;
	if (set) {
		r = copy_from_user(buf, arg, size) ? -EFAULT : wafer_set_xsave(vcpu, buf);
	} else {
		wafer_get_xsave(vcpu, buf);
		r = copy_to_user(arg, buf, size) ? -EFAULT : 0;
	}
	kvfree(buf);
	return r;
}
