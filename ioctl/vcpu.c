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

#define VCPU(name, expr) DOOR_FN(name, struct wafer_vcpu, vcpu, expr)
#define USER ((void __user *)arg)

VCPU(run, wafer_vcpu_run(vcpu))
VCPU(get_regs, wafer_get_regs(vcpu, data))
VCPU(set_regs, wafer_set_regs(vcpu, data))
VCPU(get_sregs, wafer_get_sregs(vcpu, data))
VCPU(set_sregs, wafer_set_sregs(vcpu, data))
VCPU(get_sregs2, wafer_get_sregs2(vcpu, data))
VCPU(set_sregs2, wafer_set_sregs2(vcpu, data))
VCPU(get_msrs, wafer_door_get_msrs(vcpu, USER))
VCPU(set_msrs, wafer_door_set_msrs(vcpu, USER))
VCPU(get_events, wafer_get_events(vcpu, data))
VCPU(set_events, wafer_set_events(vcpu, data))
VCPU(get_debugregs, wafer_get_debugregs(vcpu, data))
VCPU(set_debugregs, wafer_set_debugregs(vcpu, data))
VCPU(get_mp_state, wafer_get_mp_state(vcpu, data))
VCPU(set_mp_state, wafer_set_mp_state(vcpu, data))
VCPU(get_lapic, vcpu->lapic ? wafer_lapic_get(vcpu, data) : -EINVAL)
VCPU(set_lapic, vcpu->lapic ? wafer_lapic_set(vcpu, data) : -EINVAL)
VCPU(get_xsave, wafer_door_xsave(vcpu, USER, false, false))
VCPU(get_xsave2, wafer_door_xsave(vcpu, USER, false, true))
VCPU(set_xsave, wafer_door_xsave(vcpu, USER, true, true))
VCPU(get_xcrs, wafer_get_xcrs(vcpu, data))
VCPU(set_xcrs, wafer_set_xcrs(vcpu, data))
VCPU(get_fpu, wafer_get_fpu(vcpu, data))
VCPU(set_fpu, wafer_set_fpu(vcpu, data))
VCPU(interrupt, wafer_interrupt(vcpu, ((struct kvm_interrupt *)data)->irq))
VCPU(nmi, (wafer_vcpu_nmi(vcpu), 0))
VCPU(set_cpuid, wafer_door_set_cpuid(vcpu, USER))
VCPU(get_cpuid, wafer_door_get_cpuid(vcpu, USER))
VCPU(set_guest_debug, wafer_set_guest_debug(vcpu, data))
VCPU(translate, wafer_translate_ioctl(vcpu, data))
VCPU(get_tsc_khz, vcpu->tsc_khz)
VCPU(set_tsc_khz, arg == (u32)arg ? wafer_set_tsc_khz(vcpu, arg) : -EINVAL)
VCPU(kvmclock_ctrl, wafer_kvmclock_ctrl(vcpu))
VCPU(setup_mce, wafer_setup_mce(vcpu, *(u64 *)data))
VCPU(set_mce, wafer_set_mce(vcpu, data))
/* The VMM is never told of TPR accesses: the hardware or the local APIC has them. */
VCPU(tpr_access_reporting, ((struct kvm_tpr_access_ctl *)data)->flags ? -EINVAL : 0)
VCPU(set_vapic_addr, vcpu->lapic ? 0 : -EINVAL)
VCPU(enable_cap, wafer_vcpu_enable_cap(vcpu, data))
VCPU(get_stats_fd, wafer_vcpu_stats_open(vcpu))

static long set_signal_mask(void *obj, void *data, unsigned long arg)
{
	struct kvm_signal_mask __user *user = USER;
	struct wafer_vcpu *vcpu = obj;
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

static bool is_tsc_offset(const struct kvm_device_attr *attr)
{
	return attr->group == KVM_VCPU_TSC_CTRL && attr->attr == KVM_VCPU_TSC_OFFSET;
}

VCPU(has_device_attr, is_tsc_offset(data) ? 0 : -ENXIO)
VCPU(get_device_attr, is_tsc_offset(data) ?
     put_user(vcpu->tsc_offset, (u64 __user *)((struct kvm_device_attr *)data)->addr) : -ENXIO)

static long set_device_attr(void *vcpu, void *data, unsigned long arg)
{
	const struct kvm_device_attr *attr = data;
	u64 offset;

	if (!is_tsc_offset(attr))
		return -ENXIO;
	return get_user(offset, (u64 __user *)attr->addr) ? -EFAULT : wafer_set_tsc_offset(vcpu, offset);
}

/* Nesting is not offered: a header that says so, in the form that VMMs save and restore unasked. */
static long get_nested_state(void *obj, void *data, unsigned long arg)
{
	struct kvm_nested_state state = { .size = sizeof(state), .hdr.vmx = { .vmxon_pa = -1, .vmcs12_pa = -1 } };
	struct kvm_nested_state __user *user = USER;
	u32 size;

	if (get_user(size, &user->size))
		return -EFAULT;
	if (size < sizeof(state))
		return put_user(state.size, &user->size) ? -EFAULT : -E2BIG;
	return copy_to_user(user, &state, sizeof(state)) ? -EFAULT : 0;
}

static long set_nested_state(void *obj, void *data, unsigned long arg)
{
	const struct kvm_nested_state *state = data;

	return state->size < sizeof(*state) || state->flags & ~KVM_STATE_NESTED_GIF_SET ? -EINVAL : 0;
}

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
	{ KVM_SET_CPUID2,		DOOR_LOCK,			set_cpuid },
	{ KVM_GET_CPUID2,		DOOR_LOCK,			get_cpuid },
	{ KVM_SET_GUEST_DEBUG,		DOOR_IN | DOOR_LOCK,		set_guest_debug },
	{ KVM_TRANSLATE,		DOOR_IN | DOOR_OUT | DOOR_LOCK,	translate },
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
