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

/* The VMM is never told of TPR accesses: the hardware or the local APIC has them. */

static long set_signal_mask(struct wafer_vcpu *vcpu, struct kvm_signal_mask __user *user)
{
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

static long get_tsc_offset(struct wafer_vcpu *vcpu, const struct kvm_device_attr *attr)
{
	return is_tsc_offset(attr) ? put_user(vcpu->tsc_offset, (u64 __user *)attr->addr) : -ENXIO;
}

static long set_tsc_offset(struct wafer_vcpu *vcpu, const struct kvm_device_attr *attr)
{
	u64 offset;

	if (!is_tsc_offset(attr))
		return -ENXIO;
	return get_user(offset, (u64 __user *)attr->addr) ? -EFAULT : wafer_set_tsc_offset(vcpu, offset);
}

/* Nesting is not offered: a header that says so, in the form that VMMs save and restore unasked. */
static long get_nested_state(struct kvm_nested_state __user *user)
{
	struct kvm_nested_state state = { .size = sizeof(state), .hdr.vmx = { .vmxon_pa = -1, .vmcs12_pa = -1 } };
	u32 size;

	if (get_user(size, &user->size))
		return -EFAULT;
	if (size < sizeof(state))
		return put_user(state.size, &user->size) ? -EFAULT : -E2BIG;
	return copy_to_user(user, &state, sizeof(state)) ? -EFAULT : 0;
}

static long set_nested_state(const struct kvm_nested_state *state)
{
	return state->size < sizeof(*state) || state->flags & ~KVM_STATE_NESTED_GIF_SET ? -EINVAL : 0;
}

#define IOCTL(cmd, flags, expr) DOOR_FN(do_##cmd, struct wafer_vcpu, vcpu, expr)
#include "vcpu_table.h"
#undef IOCTL

#define IOCTL(cmd, flags, expr) { cmd, flags, do_##cmd },
static const struct wafer_door vcpu_doors[] = {
#include "vcpu_table.h"
};
#undef IOCTL

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
