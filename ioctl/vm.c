// SPDX-License-Identifier: GPL-2.0
/* The ioctls of a VM's descriptor. */
#include <linux/compat.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kvm.h>
#include <linux/module.h>
#include <linux/uaccess.h>

#include "door.h"
#include "vcpu.h"
#include "vm.h"

#define VM(name, expr) DOOR_FN(name, struct wafer_vm, vm, expr)
#define USER ((void __user *)arg)

VM(check_extension, wafer_check_extension(vm, arg))
VM(enable_cap, wafer_vm_enable_cap(vm, data))
VM(create_vcpu, arg == (u32)arg ? wafer_vcpu_open(vm, arg) : -EINVAL)
VM(set_user_memory_region, wafer_set_memory_region(&vm->mmu, data, &vm->refusal))
VM(reset_dirty_rings, wafer_ring_reset(&vm->mmu))
VM(set_nr_mmu_pages, arg < 64 ? -EINVAL : 0)	/* there is no shadow paging whose pages could be limited */
VM(set_boot_cpu_id, vm->nr_vcpus ? -EBUSY : (vm->boot_cpu_id = arg, 0))
VM(create_irqchip, wafer_create_irqchip(vm))
VM(create_pit2, wafer_create_pit(vm, ((struct kvm_pit_config *)data)->flags))
VM(create_pit, wafer_create_pit(vm, KVM_PIT_SPEAKER_DUMMY))
VM(set_gsi_routing, wafer_door_routing(vm, USER))
VM(signal_msi, wafer_signal_msi(vm, data, &vm->refusal))
VM(irqfd, wafer_irqfd(vm, data, &vm->refusal))
VM(ioeventfd, wafer_ioeventfd(vm, data, &vm->refusal))
VM(coalesce, wafer_coalesced_zone(vm, data, true, &vm->refusal))
VM(uncoalesce, wafer_coalesced_zone(vm, data, false, &vm->refusal))
VM(get_irqchip, wafer_get_irqchip(vm, data))
VM(set_irqchip, wafer_set_irqchip(vm, data))
VM(get_pit, wafer_get_pit(vm, data))
VM(set_pit, wafer_set_pit(vm, data))
VM(get_clock, (wafer_get_clock(vm, data), 0))
VM(set_clock, wafer_set_clock(vm, data))
VM(set_msr_filter, wafer_set_msr_filter(vm, data))
VM(get_tsc_khz, vm->default_tsc_khz ?: tsc_khz)
VM(get_stats_fd, wafer_vm_stats_open(vm))

/* A 32-bit program leaves the upper half of the pointer undefined. */
static void __user *bitmap_pointer(void __user *bitmap)
{
	return in_compat_syscall() ? compat_ptr((compat_uptr_t)(uintptr_t)bitmap) : bitmap;
}

static long get_dirty_log(void *obj, void *data, unsigned long arg)
{
	struct wafer_vm *vm = obj;
	struct kvm_dirty_log *log = data;

	log->dirty_bitmap = bitmap_pointer(log->dirty_bitmap);
	return wafer_get_dirty_log(&vm->mmu, log, &vm->refusal);
}

static long clear_dirty_log(void *obj, void *data, unsigned long arg)
{
	struct wafer_vm *vm = obj;
	struct kvm_clear_dirty_log *log = data;

	log->dirty_bitmap = bitmap_pointer(log->dirty_bitmap);
	return wafer_clear_dirty_log(&vm->mmu, log, &vm->refusal);
}

static long set_tss_addr(void *obj, void *data, unsigned long addr)
{
	struct wafer_vm *vm = obj;

	if (addr > 0xffffd000)
		return wafer_refuse(&vm->refusal, -EINVAL, "TSS address", addr, "is at most 0xffffd000");
	vm->tss_addr = addr;
	return 0;
}

static long set_identity_map_addr(void *obj, void *data, unsigned long arg)
{
	struct wafer_vm *vm = obj;

	if (vm->nr_vcpus)
		return wafer_refuse(&vm->refusal, -EINVAL, "vCPUs", vm->nr_vcpus, "none exist yet");
	vm->identity_map_addr = *(u64 *)data ?: 0xfffbc000;
	return 0;
}

static long reinject_control(void *vm, void *data, unsigned long arg)
{
	struct kvm_reinject_control control;

	if (copy_from_user(&control, USER, sizeof(control)))
		return -EFAULT;
	return wafer_reinject_control(vm, control.pit_reinject);
}

static long irq_line(void *obj, void *data, unsigned long arg)
{
	struct wafer_vm *vm = obj;
	struct kvm_irq_level *line = data;

	if (vm->irq.mode == WAFER_CHIP_NONE)
		return wafer_refuse(&vm->refusal, -ENXIO, "irqchip", 0, "is in the kernel");
	line->status = wafer_set_gsi(vm, 0, line->irq, line->level);
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

static long set_compat_msr_filter(void *vm, void *data, unsigned long arg)
{
	const struct compat_msr_filter *in = data;
	struct kvm_msr_filter filter = { .flags = in->flags };
	int i;

	for (i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++)
		filter.ranges[i] = (struct kvm_msr_filter_range){
			.flags = in->ranges[i].flags,
			.nmsrs = in->ranges[i].nmsrs,
			.base = in->ranges[i].base,
			.bitmap = (__force __u8 *)compat_ptr(in->ranges[i].bitmap),
		};
	return wafer_set_msr_filter(vm, &filter);
}

static long set_tsc_khz(void *obj, void *data, unsigned long khz)
{
	struct wafer_vm *vm = obj;

	if (vm->nr_vcpus)
		return -EINVAL;
	if (khz != (u32)khz || (!wafer_caps.has_tsc_scaling && khz && khz != tsc_khz))
		return wafer_refuse(&vm->refusal, -EINVAL, "TSC frequency, kHz", khz, "is the host's, without TSC scaling");
	vm->default_tsc_khz = khz;
	return 0;
}

static const struct wafer_door vm_doors[] = {
	{ KVM_IRQ_LINE_STATUS,		DOOR_IN | DOOR_OUT,		irq_line },
	{ KVM_IRQ_LINE,			DOOR_IN,			irq_line },
	{ KVM_SIGNAL_MSI,		DOOR_IN,			signal_msi },
	{ KVM_GET_DIRTY_LOG,		DOOR_IN,			get_dirty_log },
	{ KVM_CLEAR_DIRTY_LOG,		DOOR_IN,			clear_dirty_log },
	{ KVM_RESET_DIRTY_RINGS,	0,				reset_dirty_rings },
	{ KVM_SET_USER_MEMORY_REGION,	DOOR_IN,			set_user_memory_region },
	{ KVM_SET_GSI_ROUTING,		0,				set_gsi_routing },
	{ KVM_IOEVENTFD,		DOOR_IN,			ioeventfd },
	{ KVM_IRQFD,			DOOR_IN,			irqfd },
	{ KVM_REGISTER_COALESCED_MMIO,	DOOR_IN,			coalesce },
	{ KVM_UNREGISTER_COALESCED_MMIO, DOOR_IN,			uncoalesce },
	{ KVM_CHECK_EXTENSION,		0,				check_extension },
	{ KVM_ENABLE_CAP,		DOOR_IN | DOOR_LOCK,		enable_cap },
	{ KVM_CREATE_VCPU,		0,				create_vcpu },
	{ KVM_SET_TSS_ADDR,		DOOR_LOCK,			set_tss_addr },
	{ KVM_SET_IDENTITY_MAP_ADDR,	DOOR_IN | DOOR_LOCK,		set_identity_map_addr },
	{ KVM_SET_NR_MMU_PAGES,		0,				set_nr_mmu_pages },
	{ KVM_SET_BOOT_CPU_ID,		DOOR_LOCK,			set_boot_cpu_id },
	{ KVM_CREATE_IRQCHIP,		DOOR_LOCK,			create_irqchip },
	{ KVM_CREATE_PIT2,		DOOR_IN | DOOR_LOCK,		create_pit2 },
	{ KVM_CREATE_PIT,		DOOR_LOCK,			create_pit },
	{ KVM_REINJECT_CONTROL,		DOOR_LOCK,			reinject_control },
	{ KVM_GET_IRQCHIP,		DOOR_IN | DOOR_OUT | DOOR_LOCK,	get_irqchip },
	{ KVM_SET_IRQCHIP,		DOOR_IN | DOOR_LOCK,		set_irqchip },
	{ KVM_GET_PIT2,			DOOR_OUT | DOOR_LOCK,		get_pit },
	{ KVM_SET_PIT2,			DOOR_IN | DOOR_LOCK,		set_pit },
	{ KVM_GET_CLOCK,		DOOR_OUT,			get_clock },
	{ KVM_SET_CLOCK,		DOOR_IN,			set_clock },
	{ KVM_X86_SET_MSR_FILTER,	DOOR_IN,			set_msr_filter },
	{ _IOW(KVMIO, 0xc6, struct compat_msr_filter), DOOR_IN,	set_compat_msr_filter },
	{ KVM_SET_TSC_KHZ,		DOOR_LOCK,			set_tsc_khz },
	{ KVM_GET_TSC_KHZ,		0,				get_tsc_khz },
	{ KVM_GET_STATS_FD,		0,				get_stats_fd },
};

static long vm_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct wafer_vm *vm = file->private_data;
	const struct wafer_doors doors = {
		.door = vm_doors,
		.nr = ARRAY_SIZE(vm_doors),
		.obj = vm,
		.lock = &vm->lock,
		.refusal = &vm->refusal,
	};

	if (vm->mm != current->mm)
		return -EIO;
	return wafer_door(&doors, cmd, arg);
}

static int vm_release(struct inode *inode, struct file *file)
{
	wafer_vm_put(file->private_data);
	return 0;
}

static const struct file_operations vm_fops = {
	.owner = THIS_MODULE,
	.release = vm_release,
	.unlocked_ioctl = vm_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

/**
 * wafer_vm_open() - a descriptor for a new VM
 * @vm: the caller's reference goes to the descriptor
 *
 * Return: the descriptor, or -errno with the reference still the caller's.
 */
int wafer_vm_open(struct wafer_vm *vm)
{
	struct file *file;
	int fd = wafer_new_file("wafer-vm", &vm_fops, vm, &file);

	if (fd >= 0)
		fd_install(fd, file);
	return fd;
}
