// SPDX-License-Identifier: GPL-2.0
/* The ioctls of a vCPU's descriptor, and its mapping. */
#include <linux/compat.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kvm.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "door.h"
#include "vcpu.h"
#include "vm.h"

static long run(void *vcpu, void *data, unsigned long arg)
{
	return wafer_vcpu_run(vcpu);
}

static long set_cpuid2(void *vcpu, void *data, unsigned long arg)
{
	return wafer_door_set_cpuid(vcpu, (void __user *)arg);
}

static long get_cpuid2(void *vcpu, void *data, unsigned long arg)
{
	return wafer_door_get_cpuid(vcpu, (void __user *)arg);
}

static long get_msrs(void *vcpu, void *data, unsigned long arg)
{
	return wafer_door_get_msrs(vcpu, (void __user *)arg);
}

static long set_msrs(void *vcpu, void *data, unsigned long arg)
{
	return wafer_door_set_msrs(vcpu, (void __user *)arg);
}

static long get_xsave(void *vcpu, void *data, unsigned long arg)
{
	return wafer_door_xsave(vcpu, (void __user *)arg, false, false);
}

static long get_xsave2(void *vcpu, void *data, unsigned long arg)
{
	return wafer_door_xsave(vcpu, (void __user *)arg, false, true);
}

static long set_xsave(void *vcpu, void *data, unsigned long arg)
{
	return wafer_door_xsave(vcpu, (void __user *)arg, true, true);
}

static long get_lapic(void *obj, void *data, unsigned long arg)
{
	struct wafer_vcpu *vcpu = obj;

	return vcpu->lapic ? wafer_lapic_get(vcpu, data) : -EINVAL;
}

static long set_lapic(void *obj, void *data, unsigned long arg)
{
	struct wafer_vcpu *vcpu = obj;

	return vcpu->lapic ? wafer_lapic_set(vcpu, data) : -EINVAL;
}

static long interrupt(void *vcpu, void *data, unsigned long arg)
{
	const struct kvm_interrupt *irq = data;

	return wafer_interrupt(vcpu, irq->irq);
}

static long nmi(void *vcpu, void *data, unsigned long arg)
{
	wafer_vcpu_nmi(vcpu);
	return 0;
}

static long enable_cap(void *vcpu, void *data, unsigned long arg)
{
	return wafer_vcpu_enable_cap(vcpu, data);
}

static long get_tsc_khz(void *obj, void *data, unsigned long arg)
{
	struct wafer_vcpu *vcpu = obj;

	return vcpu->tsc_khz;
}

static long set_tsc_khz(void *vcpu, void *data, unsigned long khz)
{
	return khz == (u32)khz ? wafer_set_tsc_khz(vcpu, khz) : -EINVAL;
}

static long kvmclock_ctrl(void *vcpu, void *data, unsigned long arg)
{
	return wafer_kvmclock_ctrl(vcpu);
}

static long setup_mce(void *vcpu, void *data, unsigned long arg)
{
	return wafer_setup_mce(vcpu, *(u64 *)data);
}

/* The VMM is never told of TPR accesses: the hardware or the local APIC has them. */
static long tpr_access_reporting(void *vcpu, void *data, unsigned long arg)
{
	const struct kvm_tpr_access_ctl *ctl = data;

	return ctl->flags ? -EINVAL : 0;
}

static long set_vapic_addr(void *obj, void *data, unsigned long arg)
{
	struct wafer_vcpu *vcpu = obj;

	return vcpu->lapic ? 0 : -EINVAL;
}

static long set_signal_mask(void *obj, void *data, unsigned long arg)
{
	struct wafer_vcpu *vcpu = obj;
	struct kvm_signal_mask __user *user = (void __user *)arg;
	u32 len;

	vcpu->has_sigmask = false;
	if (!user)
		return 0;
	if (get_user(len, &user->len))
		return -EFAULT;
	/* A 32-bit program's mask has the same bits in the same bytes. */
	if (len != sizeof(vcpu->sigmask))
		return wafer_refuse(&vcpu->refusal, -EINVAL, "len", len, "is 8");
	if (copy_from_user(&vcpu->sigmask, user->sigset, sizeof(vcpu->sigmask)))
		return -EFAULT;
	vcpu->has_sigmask = true;
	return 0;
}

static long tsc_attr(struct wafer_vcpu *vcpu, const struct kvm_device_attr *attr, bool get, bool set)
{
	u64 __user *user = (u64 __user *)attr->addr;
	u64 offset;

	if (attr->group != KVM_VCPU_TSC_CTRL || attr->attr != KVM_VCPU_TSC_OFFSET)
		return -ENXIO;
	if (get)
		return put_user(vcpu->tsc_offset, user);
	if (!set)
		return 0;
	return get_user(offset, user) ? -EFAULT : wafer_set_tsc_offset(vcpu, offset);
}

static long has_device_attr(void *vcpu, void *data, unsigned long arg)
{
	return tsc_attr(vcpu, data, false, false);
}

static long get_device_attr(void *vcpu, void *data, unsigned long arg)
{
	return tsc_attr(vcpu, data, true, false);
}

static long set_device_attr(void *vcpu, void *data, unsigned long arg)
{
	return tsc_attr(vcpu, data, false, true);
}

/* Nesting is not offered: a header that says so, in the form that VMMs save and restore unasked. */
static long get_nested_state(void *obj, void *data, unsigned long arg)
{
	struct kvm_nested_state __user *user = (void __user *)arg;
	struct kvm_nested_state state = { .size = sizeof(state) };
	u32 size;

	if (get_user(size, &user->size))
		return -EFAULT;
	if (size < sizeof(state))
		return put_user(state.size, &user->size) ? -EFAULT : -E2BIG;
	state.hdr.vmx.vmxon_pa = -1ull;
	state.hdr.vmx.vmcs12_pa = -1ull;
	return copy_to_user(user, &state, sizeof(state)) ? -EFAULT : 0;
}

static long set_nested_state(void *obj, void *data, unsigned long arg)
{
	const struct kvm_nested_state *state = data;

	return state->size < sizeof(*state) || state->flags & ~KVM_STATE_NESTED_GIF_SET ? -EINVAL : 0;
}

static long get_stats_fd(void *vcpu, void *data, unsigned long arg)
{
	return wafer_vcpu_stats_open(vcpu);
}

DOOR_DATA(get_regs, struct wafer_vcpu, struct kvm_regs)
DOOR_DATA(set_regs, struct wafer_vcpu, struct kvm_regs)
DOOR_DATA(get_sregs, struct wafer_vcpu, struct kvm_sregs)
DOOR_DATA(set_sregs, struct wafer_vcpu, struct kvm_sregs)
DOOR_DATA(get_sregs2, struct wafer_vcpu, struct kvm_sregs2)
DOOR_DATA(set_sregs2, struct wafer_vcpu, struct kvm_sregs2)
DOOR_DATA(get_events, struct wafer_vcpu, struct kvm_vcpu_events)
DOOR_DATA(set_events, struct wafer_vcpu, struct kvm_vcpu_events)
DOOR_DATA(get_debugregs, struct wafer_vcpu, struct kvm_debugregs)
DOOR_DATA(set_debugregs, struct wafer_vcpu, struct kvm_debugregs)
DOOR_DATA(get_mp_state, struct wafer_vcpu, struct kvm_mp_state)
DOOR_DATA(set_mp_state, struct wafer_vcpu, struct kvm_mp_state)
DOOR_DATA(get_xcrs, struct wafer_vcpu, struct kvm_xcrs)
DOOR_DATA(set_xcrs, struct wafer_vcpu, struct kvm_xcrs)
DOOR_DATA(get_fpu, struct wafer_vcpu, struct kvm_fpu)
DOOR_DATA(set_fpu, struct wafer_vcpu, struct kvm_fpu)
DOOR_DATA(set_guest_debug, struct wafer_vcpu, struct kvm_guest_debug)
DOOR_DATA(translate_ioctl, struct wafer_vcpu, struct kvm_translation)
DOOR_DATA(set_mce, struct wafer_vcpu, struct kvm_x86_mce)

static const struct wafer_door vcpu_doors[] = {
	{ KVM_RUN,			DOOR_LOCK | DOOR_NO_ARG,	run },
	{ KVM_GET_REGS,			DOOR_OUT | DOOR_LOCK,		get_regs },
	{ KVM_SET_REGS,			DOOR_IN | DOOR_LOCK,		set_regs },
	{ KVM_GET_SREGS,		DOOR_OUT | DOOR_LOCK,		get_sregs },
	{ KVM_SET_SREGS,		DOOR_IN | DOOR_LOCK,		set_sregs },
	{ KVM_INTERRUPT,		DOOR_IN | DOOR_LOCK,		interrupt },
	{ KVM_GET_SREGS2,		DOOR_OUT | DOOR_LOCK,		get_sregs2 },
	{ KVM_SET_SREGS2,		DOOR_IN | DOOR_LOCK,		set_sregs2 },
	{ KVM_GET_MSRS,			DOOR_LOCK,			get_msrs },
	{ KVM_SET_MSRS,			DOOR_LOCK,			set_msrs },
	{ KVM_GET_VCPU_EVENTS,		DOOR_OUT | DOOR_LOCK,		get_events },
	{ KVM_SET_VCPU_EVENTS,		DOOR_IN | DOOR_LOCK,		set_events },
	{ KVM_GET_MP_STATE,		DOOR_OUT | DOOR_LOCK,		get_mp_state },
	{ KVM_SET_MP_STATE,		DOOR_IN | DOOR_LOCK,		set_mp_state },
	{ KVM_GET_DEBUGREGS,		DOOR_OUT | DOOR_LOCK,		get_debugregs },
	{ KVM_SET_DEBUGREGS,		DOOR_IN | DOOR_LOCK,		set_debugregs },
	{ KVM_GET_LAPIC,		DOOR_OUT | DOOR_LOCK,		get_lapic },
	{ KVM_SET_LAPIC,		DOOR_IN | DOOR_LOCK,		set_lapic },
	{ KVM_GET_XSAVE,		DOOR_LOCK,			get_xsave },
	{ KVM_GET_XSAVE2,		DOOR_LOCK,			get_xsave2 },
	{ KVM_SET_XSAVE,		DOOR_LOCK,			set_xsave },
	{ KVM_GET_XCRS,			DOOR_OUT | DOOR_LOCK,		get_xcrs },
	{ KVM_SET_XCRS,			DOOR_IN | DOOR_LOCK,		set_xcrs },
	{ KVM_GET_FPU,			DOOR_OUT | DOOR_LOCK,		get_fpu },
	{ KVM_SET_FPU,			DOOR_IN | DOOR_LOCK,		set_fpu },
	{ KVM_NMI,			DOOR_LOCK,			nmi },
	{ KVM_SET_CPUID2,		DOOR_LOCK,			set_cpuid2 },
	{ KVM_GET_CPUID2,		DOOR_LOCK,			get_cpuid2 },
	{ KVM_SET_GUEST_DEBUG,		DOOR_IN | DOOR_LOCK,		set_guest_debug },
	{ KVM_TRANSLATE,		DOOR_IN | DOOR_OUT | DOOR_LOCK,	translate_ioctl },
	{ KVM_GET_TSC_KHZ,		DOOR_LOCK,			get_tsc_khz },
	{ KVM_SET_TSC_KHZ,		DOOR_LOCK,			set_tsc_khz },
	{ KVM_KVMCLOCK_CTRL,		DOOR_LOCK,			kvmclock_ctrl },
	{ KVM_X86_SETUP_MCE,		DOOR_IN | DOOR_LOCK,		setup_mce },
	{ KVM_X86_SET_MCE,		DOOR_IN | DOOR_LOCK,		set_mce },
	{ KVM_TPR_ACCESS_REPORTING,	DOOR_IN | DOOR_OUT,		tpr_access_reporting },
	{ KVM_SET_VAPIC_ADDR,		DOOR_IN,			set_vapic_addr },
	{ KVM_SET_SIGNAL_MASK,		DOOR_LOCK,			set_signal_mask },
	{ KVM_ENABLE_CAP,		DOOR_IN | DOOR_LOCK,		enable_cap },
	{ KVM_HAS_DEVICE_ATTR,		DOOR_IN,			has_device_attr },
	{ KVM_GET_DEVICE_ATTR,		DOOR_IN | DOOR_LOCK,		get_device_attr },
	{ KVM_SET_DEVICE_ATTR,		DOOR_IN | DOOR_LOCK,		set_device_attr },
	{ KVM_GET_STATS_FD,		0,				get_stats_fd },
	{ KVM_GET_NESTED_STATE,		0,				get_nested_state },
	{ KVM_SET_NESTED_STATE,		DOOR_IN,			set_nested_state },
};

static long vcpu_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct wafer_vcpu *vcpu = file->private_data;
	const struct wafer_doors doors = {
		.door = vcpu_doors,
		.nr = ARRAY_SIZE(vcpu_doors),
		.obj = vcpu,
		.lock = &vcpu->mutex,
		.refusal = &vcpu->refusal,
	};

	if (vcpu->vm->mm != current->mm)
		return -EIO;
	return wafer_door(&doors, cmd, arg);
}

/* The pages live as long as the VM, the VM as long as the mapping's file. */
static vm_fault_t vcpu_fault(struct vm_fault *vmf)
{
	struct wafer_vcpu *vcpu = vmf->vma->vm_file->private_data;
	struct page *page = NULL;

	if (vmf->pgoff == 0)
		page = virt_to_page(vcpu->run);
	else if (vmf->pgoff == KVM_PIO_PAGE_OFFSET)
		page = virt_to_page(vcpu->pio_data);
	else if (vmf->pgoff == KVM_COALESCED_MMIO_PAGE_OFFSET && vcpu->vm->irq.coalesced_ring)
		page = virt_to_page(vcpu->vm->irq.coalesced_ring);
	else if (vmf->pgoff >= KVM_DIRTY_LOG_PAGE_OFFSET)
		page = wafer_ring_page(&vcpu->fault, vmf->pgoff - KVM_DIRTY_LOG_PAGE_OFFSET);
	if (!page)
		return VM_FAULT_SIGBUS;
	get_page(page);
	vmf->page = page;
	return 0;
}

static const struct vm_operations_struct vcpu_vm_ops = { .fault = vcpu_fault };

static int vcpu_mmap(struct file *file, struct vm_area_struct *vma)
{
	unsigned long last = vma->vm_pgoff + vma_pages(vma) - 1;

	/* As KVM: a dirty ring is shared and nothing in it is executed. */
	if (last >= KVM_DIRTY_LOG_PAGE_OFFSET &&
	    (vma->vm_flags & VM_EXEC || !(vma->vm_flags & VM_SHARED)))
		return -EINVAL;
	vma->vm_ops = &vcpu_vm_ops;
	return 0;
}

static int vcpu_release(struct inode *inode, struct file *file)
{
	struct wafer_vcpu *vcpu = file->private_data;

	wafer_vm_put(vcpu->vm);
	return 0;
}

static const struct file_operations vcpu_fops = {
	.owner = THIS_MODULE,
	.release = vcpu_release,
	.unlocked_ioctl = vcpu_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = vcpu_mmap,
	.llseek = noop_llseek,
};

static int may_create(struct wafer_vm *vm, u32 id)
{
	u32 limit = vm->max_vcpu_id ?: WAFER_MAX_VCPU_ID;

	if (id >= limit)
		return wafer_refuse(&vm->refusal, -EINVAL, "vCPU id", id, "is below KVM_CAP_MAX_VCPU_ID");
	if (vm->nr_vcpus >= WAFER_MAX_VCPUS)
		return wafer_refuse(&vm->refusal, -EINVAL, "vCPUs", vm->nr_vcpus, "are at most KVM_CAP_MAX_VCPUS");
	if (wafer_vcpu_by_id(vm, id))
		return wafer_refuse(&vm->refusal, -EEXIST, "vCPU id", id, "is not taken yet");
	return 0;
}

/**
 * wafer_vcpu_open() - KVM_CREATE_VCPU
 * @vm: the VM
 * @id: APIC id
 *
 * The vCPU is published in the VM after everything that can fail, and its descriptor last.
 *
 * Return: the descriptor; -EINVAL, -EEXIST, -ENOMEM, -EMFILE, -EINTR.
 */
int wafer_vcpu_open(struct wafer_vm *vm, u32 id)
{
	struct wafer_vcpu *vcpu;
	struct file *file;
	int r;

	if (mutex_lock_killable(&vm->lock))
		return -EINTR;
	r = may_create(vm, id);
	if (r)
		goto out;
	vcpu = wafer_vcpu_create(vm, id);
	if (IS_ERR(vcpu)) {
		r = PTR_ERR(vcpu);
		goto out;
	}
	r = wafer_new_file("wafer-vcpu", &vcpu_fops, vcpu, &file);
	if (r < 0) {
		wafer_vcpu_free(vcpu);
		goto out;
	}
	wafer_vm_get(vm);
	vm->vcpus[vm->nr_vcpus] = vcpu;
	smp_store_release(&vm->nr_vcpus, vm->nr_vcpus + 1);	/* pairs with wafer_for_each_vcpu() */
	fd_install(r, file);
out:
	mutex_unlock(&vm->lock);
	return r;
}
