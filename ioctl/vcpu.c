// SPDX-License-Identifier: GPL-2.0
/* The ioctls of a vCPU's descriptor, and its mapping. */

#include "door.h"

static long set_signal_mask(struct wafer_vcpu *vcpu, struct kvm_signal_mask __user *user)
{
	sigset_t set = { };
	u32 len;

	if (user && get_user(len, &user->len))
		return -EFAULT;
	/* A 32-bit program's mask has the same bits in the same bytes. */
	if (user && len != sizeof(set))
		return wafer_refuse(&vcpu->refusal, -EINVAL, "len", len, "is 8");
	if (user && copy_from_user(&set, user->sigset, sizeof(set)))
		return -EFAULT;
	/* The kernel's own sigprocmask() would take these as well. */
	sigdelsetmask(&set, sigmask(SIGKILL) | sigmask(SIGSTOP));
	vcpu->sigmask = set;
	vcpu->has_sigmask = user;
	return 0;
}

/* KVM_HAS_, KVM_GET_ and KVM_SET_DEVICE_ATTR: the TSC's offset is all there is. */
static long tsc_offset_attr(struct wafer_vcpu *vcpu, const struct kvm_device_attr *attr,
			    unsigned int cmd)
{
	u64 __user *user = (u64 __user *)attr->addr;
	u64 offset;

	if (attr->group != KVM_VCPU_TSC_CTRL || attr->attr != KVM_VCPU_TSC_OFFSET)
		return -ENXIO;
	if (cmd == KVM_GET_DEVICE_ATTR)
		return put_user(vcpu->tsc_offset, user);
	if (cmd == KVM_SET_DEVICE_ATTR)
		return get_user(offset, user) ? -EFAULT : wafer_set_tsc_offset(vcpu, offset);
	return 0;
}

/* Nesting is not offered: a header that says so, in the form that VMMs save and restore unasked. */
static long get_nested_state(struct kvm_nested_state __user *user)
{
	struct kvm_nested_state state = {
		.size = sizeof(state), .hdr.vmx = { .vmxon_pa = -1, .vmcs12_pa = -1 },
	};
	u32 size;

	if (get_user(size, &user->size))
		return -EFAULT;
	if (size < sizeof(state))
		return put_user(state.size, &user->size) ? -EFAULT : -E2BIG;
	return copy_to_user(user, &state, sizeof(state)) ? -EFAULT : 0;
}

static long set_nested_state(const struct kvm_nested_state *state)
{
	return state->size < sizeof(*state) || state->flags & ~KVM_STATE_NESTED_GIF_SET ?
	       -EINVAL : 0;
}

static long vcpu_call(void *obj, u32 cmd, void *data, unsigned long arg, bool look)
{
	struct wafer_vcpu *vcpu = obj;

	switch (cmd) {
	case KVM_RUN:				/* with an argument; else run() below */
		return IOCTL(DOOR_NO_ARG, -EINVAL);
	case KVM_GET_REGS: return IOCTL(DOOR_OUT | DOOR_LOCK, (wafer_get_regs(vcpu, data), 0));
	case KVM_SET_REGS: return IOCTL(DOOR_IN | DOOR_LOCK, (wafer_set_regs(vcpu, data), 0));
	case KVM_GET_SREGS: return IOCTL(DOOR_OUT | DOOR_LOCK, (wafer_get_sregs(vcpu, data), 0));
	case KVM_SET_SREGS: return IOCTL(DOOR_IN | DOOR_LOCK, wafer_set_sregs(vcpu, data));
	case KVM_INTERRUPT:
		return IOCTL(DOOR_IN | DOOR_LOCK,
			     wafer_interrupt(vcpu, ((struct kvm_interrupt *)data)->irq));
	case KVM_GET_SREGS2: return IOCTL(DOOR_OUT | DOOR_LOCK, wafer_get_sregs2(vcpu, data));
	case KVM_SET_SREGS2: return IOCTL(DOOR_IN | DOOR_LOCK, wafer_set_sregs2(vcpu, data));
	case KVM_GET_MSRS: return IOCTL(DOOR_LOCK, wafer_door_msrs(vcpu, USER, false));
	case KVM_SET_MSRS: return IOCTL(DOOR_LOCK, wafer_door_msrs(vcpu, USER, true));
	case KVM_GET_VCPU_EVENTS:
		return IOCTL(DOOR_OUT | DOOR_LOCK, (wafer_get_events(vcpu, data), 0));
	case KVM_SET_VCPU_EVENTS: return IOCTL(DOOR_IN | DOOR_LOCK, wafer_set_events(vcpu, data));
	case KVM_GET_MP_STATE:
		return IOCTL(DOOR_OUT | DOOR_LOCK, (wafer_get_mp_state(vcpu, data), 0));
	case KVM_SET_MP_STATE: return IOCTL(DOOR_IN | DOOR_LOCK, wafer_set_mp_state(vcpu, data));
	case KVM_GET_DEBUGREGS:
		return IOCTL(DOOR_OUT | DOOR_LOCK, (wafer_get_debugregs(vcpu, data), 0));
	case KVM_SET_DEBUGREGS: return IOCTL(DOOR_IN | DOOR_LOCK, wafer_set_debugregs(vcpu, data));
	case KVM_GET_LAPIC:
		return IOCTL(DOOR_OUT | DOOR_LOCK,
			     vcpu->lapic ? wafer_lapic_get(vcpu, data) : -EINVAL);
	case KVM_SET_LAPIC:
		return IOCTL(DOOR_IN | DOOR_LOCK,
			     vcpu->lapic ? wafer_lapic_set(vcpu, data) : -EINVAL);
	case KVM_GET_XSAVE: return IOCTL(DOOR_LOCK, wafer_door_xsave(vcpu, USER, false, false));
	case KVM_GET_XSAVE2: return IOCTL(DOOR_LOCK, wafer_door_xsave(vcpu, USER, false, true));
	case KVM_SET_XSAVE: return IOCTL(DOOR_LOCK, wafer_door_xsave(vcpu, USER, true, true));
	case KVM_GET_XCRS: return IOCTL(DOOR_OUT | DOOR_LOCK, wafer_get_xcrs(vcpu, data));
	case KVM_SET_XCRS: return IOCTL(DOOR_IN | DOOR_LOCK, wafer_set_xcrs(vcpu, data));
	case KVM_GET_FPU: return IOCTL(DOOR_OUT | DOOR_LOCK, wafer_get_fpu(vcpu, data));
	case KVM_SET_FPU: return IOCTL(DOOR_IN | DOOR_LOCK, wafer_set_fpu(vcpu, data));
	case KVM_NMI: return IOCTL(DOOR_LOCK, (wafer_vcpu_nmi(vcpu), 0));
	case KVM_SET_CPUID: return IOCTL(DOOR_LOCK, wafer_door_set_old_cpuid(vcpu, USER));
	case KVM_SET_CPUID2: return IOCTL(DOOR_LOCK, wafer_door_set_cpuid(vcpu, USER));
	case KVM_GET_CPUID2: return IOCTL(DOOR_LOCK, wafer_door_get_cpuid(vcpu, USER, false));
	case KVM_SET_GUEST_DEBUG:
		return IOCTL(DOOR_IN | DOOR_LOCK, wafer_set_guest_debug(vcpu, data));
	case KVM_TRANSLATE:
		return IOCTL(DOOR_IN | DOOR_OUT | DOOR_LOCK,
			     (wafer_translate_ioctl(vcpu, data), 0));
	case KVM_GET_TSC_KHZ: return IOCTL(DOOR_LOCK, vcpu->tsc_khz);
	case KVM_SET_TSC_KHZ:
		return IOCTL(DOOR_LOCK, arg == (u32)arg ? wafer_set_tsc_khz(vcpu, arg) : -EINVAL);
	case KVM_KVMCLOCK_CTRL: return IOCTL(DOOR_LOCK, wafer_kvmclock_ctrl(vcpu));
	case KVM_X86_SETUP_MCE:
		return IOCTL(DOOR_IN | DOOR_LOCK, wafer_setup_mce(vcpu, *(u64 *)data));
	case KVM_X86_SET_MCE: return IOCTL(DOOR_IN | DOOR_LOCK, wafer_set_mce(vcpu, data));
	/* The VMM is never told of TPR accesses: the hardware or the local APIC has them. */
	case KVM_TPR_ACCESS_REPORTING:
		return IOCTL(DOOR_IN | DOOR_OUT,
			     ((struct kvm_tpr_access_ctl *)data)->flags ? -EINVAL : 0);
	case KVM_SET_VAPIC_ADDR:
		return IOCTL(DOOR_IN, vcpu->lapic ? 0 : -EINVAL);
	case KVM_SET_SIGNAL_MASK: return IOCTL(DOOR_LOCK, set_signal_mask(vcpu, USER));
	case KVM_ENABLE_CAP: return IOCTL(DOOR_IN | DOOR_LOCK, wafer_vcpu_enable_cap(vcpu, data));
	case KVM_HAS_DEVICE_ATTR:
		return IOCTL(DOOR_IN, tsc_offset_attr(vcpu, data, KVM_HAS_DEVICE_ATTR));
	case KVM_GET_DEVICE_ATTR:
		return IOCTL(DOOR_IN | DOOR_LOCK, tsc_offset_attr(vcpu, data, KVM_GET_DEVICE_ATTR));
	case KVM_SET_DEVICE_ATTR:
		return IOCTL(DOOR_IN | DOOR_LOCK, tsc_offset_attr(vcpu, data, KVM_SET_DEVICE_ATTR));
	case KVM_GET_STATS_FD: return IOCTL(0, wafer_stats_open(vcpu->vm, vcpu));
	case KVM_GET_NESTED_STATE: return IOCTL(0, get_nested_state(USER));
	case KVM_SET_NESTED_STATE: return IOCTL(DOOR_IN, set_nested_state(data));
	}
	return -ENOTTY;
}

/* KVM_RUN comes at every exit to the VMM: the same without looking it up. */
static long run(struct wafer_vcpu *vcpu)
{
	long r;

	if (mutex_lock_killable(&vcpu->mutex))
		return -EINTR;
	WRITE_ONCE(vcpu->refusal.ioctl, KVM_RUN);
	WRITE_ONCE(vcpu->refusal.noted, false);
	r = wafer_vcpu_run(vcpu);
	mutex_unlock(&vcpu->mutex);
	return unlikely(r < 0) ? wafer_door_failed(&vcpu->refusal, r, 0) : r;
}

static long vcpu_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct wafer_vcpu *vcpu = file->private_data;
	const struct wafer_doors doors = { vcpu_call, vcpu, &vcpu->mutex, &vcpu->refusal };

	if (unlikely(vcpu->vm->mm != current->mm))
		return -EIO;
	return likely(cmd == KVM_RUN && !arg) ? run(vcpu) : wafer_door(&doors, cmd, arg);
}

/* The pages live as long as the VM, the VM as long as the mapping's file. */
static vm_fault_t vcpu_fault(struct vm_fault *vmf)
{
	struct wafer_vcpu *vcpu = vmf->vma->vm_file->private_data;
	const void *place = vmf->pgoff == 0 ? vcpu->run :
			    vmf->pgoff == KVM_PIO_PAGE_OFFSET ? vcpu->pio_data :
			    vmf->pgoff == KVM_COALESCED_MMIO_PAGE_OFFSET ?
			    vcpu->vm->irq.coalesced_ring : NULL;

	if (place)
		vmf->page = virt_to_page(place);
	else if (vmf->pgoff >= KVM_DIRTY_LOG_PAGE_OFFSET)
		vmf->page = wafer_ring_page(&vcpu->fault, vmf->pgoff - KVM_DIRTY_LOG_PAGE_OFFSET);
	if (!vmf->page)
		return VM_FAULT_SIGBUS;
	get_page(vmf->page);
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

int wafer_vcpu_release(struct inode *inode, struct file *file)
{
	struct wafer_vcpu *vcpu = file->private_data;

	wafer_vm_put(vcpu->vm);
	return 0;
}

static const struct file_operations vcpu_fops = {
	.owner = THIS_MODULE, .release = wafer_vcpu_release, .llseek = noop_llseek,
	.mmap = vcpu_mmap, .unlocked_ioctl = vcpu_ioctl, .compat_ioctl = compat_ptr_ioctl,
};

static int may_create(struct wafer_vm *vm, u32 id)
{
	if (id >= (vm->max_vcpu_id ?: WAFER_MAX_VCPU_ID) || vm->nr_vcpus >= WAFER_MAX_VCPUS)
		return wafer_refuse(&vm->refusal, -EINVAL, "vCPU id", id,
				    "is below KVM_CAP_MAX_VCPU_ID, and _MAX_VCPUS not met");
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
	char name[] = "kvm-vcpu:4294967295";
	struct wafer_vcpu *vcpu;
	struct file *file;
	int r;

	snprintf(name, sizeof(name), "kvm-vcpu:%u", id);
	if (mutex_lock_killable(&vm->lock))
		return -EINTR;
	r = may_create(vm, id);
	vcpu = r ? ERR_PTR(r) : wafer_vcpu_create(vm, id);
	r = PTR_ERR_OR_ZERO(vcpu) ?: wafer_new_file(name, &vcpu_fops, vcpu, &file);
	if (r >= 0) {
		wafer_vm_get(vm);
		vm->vcpus[vm->nr_vcpus] = vcpu;
		/* pairs with wafer_for_each_vcpu() */
		smp_store_release(&vm->nr_vcpus, vm->nr_vcpus + 1);
		fd_install(r, file);
	} else if (!IS_ERR(vcpu)) {
		wafer_vcpu_free(vcpu);
	}
	mutex_unlock(&vm->lock);
	return r;
}
