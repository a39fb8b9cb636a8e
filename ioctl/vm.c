// SPDX-License-Identifier: GPL-2.0
/* The ioctls of a VM's descriptor. */
#include "door.h"

/* A 32-bit program leaves the upper half of the pointer undefined. */
static void fix_pointer(void __user **user)
{
	if (in_compat_syscall())
		*user = compat_ptr((compat_uptr_t)(uintptr_t)*user);
}

/* The number says that there is no argument, so the door does not copy it. */
static long reinject_control(struct wafer_vm *vm, void __user *user)
{
	struct kvm_reinject_control control;

	return copy_from_user(&control, user, sizeof(control)) ? -EFAULT :
	       wafer_reinject_control(vm, control.pit_reinject);
}

static long irq_line(struct wafer_vm *vm, struct kvm_irq_level *line)
{
	if (vm->irq.mode == WAFER_CHIP_NONE)
		return wafer_refuse(&vm->refusal, -ENXIO, "irqchip", 0, "is in the kernel");
	line->status = wafer_set_gsi(vm, 0, line->irq, !!line->level);
	return 0;
}

/* As struct kvm_msr_filter is for a 32-bit program. */
struct compat_msr_filter {
	__u32 flags;
	struct {
		__u32 flags, nmsrs, base;
		compat_uptr_t bitmap;
	} ranges[KVM_MSR_FILTER_MAX_RANGES];
};
#define SET_COMPAT_MSR_FILTER _IOW(KVMIO, 0xc6, struct compat_msr_filter)

static long set_compat_msr_filter(struct wafer_vm *vm, const struct compat_msr_filter *in)
{
	struct kvm_msr_filter filter = { .flags = in->flags };

	for (int i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++)
		filter.ranges[i] = (struct kvm_msr_filter_range){
			in->ranges[i].flags, in->ranges[i].nmsrs, in->ranges[i].base,
			(__force __u8 *)compat_ptr(in->ranges[i].bitmap),
		};
	return wafer_set_msr_filter(vm, &filter);
}

static long set_tsc_khz(struct wafer_vm *vm, unsigned long khz)
{
	if (vm->nr_vcpus || khz != (u32)khz ||
	    (!wafer_caps.has_tsc_scaling && khz && khz != tsc_khz))
		return wafer_refuse(&vm->refusal, -EINVAL, "kHz", khz,
				    "before vCPUs exist; without scaling the host's");
	vm->default_tsc_khz = khz;
	return 0;
}

#define REFUSE(field, value, rule) wafer_refuse(&vm->refusal, -EINVAL, field, value, rule)

static long vm_call(void *obj, u32 cmd, void *data, unsigned long arg, bool look)
{
	struct wafer_vm *vm = obj;

	switch (cmd) {
	case KVM_IRQ_LINE_STATUS: return IOCTL(DOOR_IN | DOOR_OUT, irq_line(vm, data));
	case KVM_IRQ_LINE: return IOCTL(DOOR_IN, irq_line(vm, data));
	case KVM_SIGNAL_MSI: return IOCTL(DOOR_IN, wafer_signal_msi(vm, data));
	case KVM_GET_DIRTY_LOG:
		return IOCTL(DOOR_IN, (fix_pointer(&((struct kvm_dirty_log *)data)->dirty_bitmap),
				       wafer_get_dirty_log(&vm->mmu, data, &vm->refusal)));
	case KVM_CLEAR_DIRTY_LOG:
		return IOCTL(DOOR_IN,
			     (fix_pointer(&((struct kvm_clear_dirty_log *)data)->dirty_bitmap),
			      wafer_clear_dirty_log(&vm->mmu, data, &vm->refusal)));
	case KVM_RESET_DIRTY_RINGS:
		return IOCTL(0, READ_ONCE(vm->mmu.ring_size) ?
			     wafer_ring_reset(&vm->mmu) : -EINVAL);
	case KVM_SET_USER_MEMORY_REGION:
	case KVM_SET_USER_MEMORY_REGION2:
		return IOCTL(DOOR_IN, wafer_set_memory_region(&vm->mmu, data, &vm->refusal));
	case KVM_SET_GSI_ROUTING: return IOCTL(0, wafer_door_routing(vm, USER));
	case KVM_IOEVENTFD: return IOCTL(DOOR_IN, wafer_ioeventfd(vm, data));
	case KVM_IRQFD: return IOCTL(DOOR_IN, wafer_irqfd(vm, data));
	case KVM_REGISTER_COALESCED_MMIO:
		return IOCTL(DOOR_IN, wafer_coalesced_zone(vm, data, true));
	case KVM_UNREGISTER_COALESCED_MMIO:
		return IOCTL(DOOR_IN, wafer_coalesced_zone(vm, data, false));
	case KVM_CHECK_EXTENSION: return IOCTL(0, wafer_check_extension(vm, arg));
	case KVM_ENABLE_CAP: return IOCTL(DOOR_IN | DOOR_LOCK, wafer_vm_enable_cap(vm, data));
	case KVM_CREATE_VCPU:
		return IOCTL(0, arg == (u32)arg ? wafer_vcpu_open(vm, arg) : -EINVAL);
	case KVM_SET_TSS_ADDR:
		return IOCTL(DOOR_LOCK, arg > 0xffffd000 ?
			     REFUSE("TSS address", arg, "is at most 0xffffd000") :
			     (vm->tss_addr = arg, 0));
	case KVM_SET_IDENTITY_MAP_ADDR:
		return IOCTL(DOOR_IN | DOOR_LOCK, vm->nr_vcpus ?
			     REFUSE("vCPUs", vm->nr_vcpus, "none exist yet") :
			     (vm->identity_map_addr = *(u64 *)data ?: 0xfffbc000, 0));
	/* There is no shadow paging whose pages could be limited. */
	case KVM_SET_NR_MMU_PAGES:
		return IOCTL(0, arg < 64 ? -EINVAL : 0);
	case KVM_SET_BOOT_CPU_ID:
		return IOCTL(DOOR_LOCK, vm->nr_vcpus ? -EBUSY :
			     arg > (vm->max_vcpu_id ?: WAFER_MAX_VCPU_ID) ?
			     REFUSE("boot CPU id", arg, "is at most KVM_CAP_MAX_VCPU_ID") :
			     (vm->boot_cpu_id = arg, 0));
	case KVM_CREATE_IRQCHIP: return IOCTL(DOOR_LOCK, wafer_create_irqchip(vm));
	case KVM_CREATE_PIT2:
		return IOCTL(DOOR_IN | DOOR_LOCK,
			     wafer_create_pit(vm, ((struct kvm_pit_config *)data)->flags));
	case KVM_CREATE_PIT: return IOCTL(DOOR_LOCK, wafer_create_pit(vm, KVM_PIT_SPEAKER_DUMMY));
	case KVM_REINJECT_CONTROL: return IOCTL(DOOR_LOCK, reinject_control(vm, USER));
	case KVM_GET_IRQCHIP:
		return IOCTL(DOOR_IN | DOOR_OUT | DOOR_LOCK, wafer_irqchip_state(vm, data, false));
	case KVM_SET_IRQCHIP:
		return IOCTL(DOOR_IN | DOOR_LOCK, wafer_irqchip_state(vm, data, true));
	case KVM_GET_PIT2: return IOCTL(DOOR_OUT | DOOR_LOCK, wafer_pit_state(vm, data, false));
	case KVM_SET_PIT2: return IOCTL(DOOR_IN | DOOR_LOCK, wafer_pit_state(vm, data, true));
	case KVM_GET_CLOCK: return IOCTL(DOOR_OUT, (wafer_get_clock(vm, data), 0));
	case KVM_SET_CLOCK: return IOCTL(DOOR_IN, wafer_set_clock(vm, data));
	case KVM_X86_SET_MSR_FILTER: return IOCTL(DOOR_IN, wafer_set_msr_filter(vm, data));
	case SET_COMPAT_MSR_FILTER: return IOCTL(DOOR_IN, set_compat_msr_filter(vm, data));
	case KVM_SET_TSC_KHZ: return IOCTL(DOOR_LOCK, set_tsc_khz(vm, arg));
	case KVM_GET_TSC_KHZ:
		return IOCTL(0, vm->default_tsc_khz ?: tsc_khz);
	case KVM_GET_STATS_FD: return IOCTL(0, wafer_stats_open(vm, NULL));
	}
	return -ENOTTY;
}

static long vm_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct wafer_vm *vm = file->private_data;
	const struct wafer_doors doors = { vm_call, vm, &vm->lock, &vm->refusal };

	if (vm->mm != current->mm)
		return -EIO;
	return wafer_door(&doors, cmd, arg);
}

int wafer_vm_release(struct inode *inode, struct file *file)
{
	wafer_vm_put(file->private_data);
	return 0;
}

static const struct file_operations vm_fops = {
	.owner = THIS_MODULE, .release = wafer_vm_release, .llseek = noop_llseek,
	.unlocked_ioctl = vm_ioctl, .compat_ioctl = compat_ptr_ioctl,
};

/* KVM_CREATE_VM. Return: the descriptor, or -errno. */
long wafer_create_vm(struct wafer_refusal *refusal, unsigned long type)
{
	struct wafer_vm *vm;
	int fd;

	if (type)
		return wafer_refuse(refusal, -EINVAL, "machine type", type, "is 0");
	vm = wafer_vm_create();
	if (IS_ERR(vm))
		return PTR_ERR(vm);
	vm->platform_info_read = true;
	fd = anon_inode_getfd("kvm-vm", &vm_fops, vm, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		wafer_vm_put(vm);
	return fd;
}
