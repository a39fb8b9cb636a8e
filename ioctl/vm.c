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

/* A 32-bit program leaves the upper half of the pointer undefined. */
static void __user *bitmap_pointer(void __user *bitmap)
{
	return in_compat_syscall() ? compat_ptr((compat_uptr_t)(uintptr_t)bitmap) : bitmap;
}

static long get_dirty_log(struct wafer_vm *vm, struct kvm_dirty_log *log)
{
	log->dirty_bitmap = bitmap_pointer(log->dirty_bitmap);
	return wafer_get_dirty_log(&vm->mmu, log, &vm->refusal);
}

static long clear_dirty_log(struct wafer_vm *vm, struct kvm_clear_dirty_log *log)
{
	log->dirty_bitmap = bitmap_pointer(log->dirty_bitmap);
	return wafer_clear_dirty_log(&vm->mmu, log, &vm->refusal);
}

static long set_tss_addr(struct wafer_vm *vm, unsigned long addr)
{
	if (addr > 0xffffd000)
		return wafer_refuse(&vm->refusal, -EINVAL, "TSS address", addr, "is at most 0xffffd000");
	vm->tss_addr = addr;
	return 0;
}

static long set_identity_map_addr(struct wafer_vm *vm, u64 addr)
{
	if (vm->nr_vcpus)
		return wafer_refuse(&vm->refusal, -EINVAL, "vCPUs", vm->nr_vcpus, "none exist yet");
	vm->identity_map_addr = addr ?: 0xfffbc000;
	return 0;
}

static long reinject_control(struct wafer_vm *vm, void __user *user)
{
	struct kvm_reinject_control control;

	if (copy_from_user(&control, user, sizeof(control)))
		return -EFAULT;
	return wafer_reinject_control(vm, control.pit_reinject);
}

static long irq_line(struct wafer_vm *vm, struct kvm_irq_level *line)
{
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
#define SET_COMPAT_MSR_FILTER _IOW(KVMIO, 0xc6, struct compat_msr_filter)

static long set_compat_msr_filter(struct wafer_vm *vm, const struct compat_msr_filter *in)
{
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

static long set_tsc_khz(struct wafer_vm *vm, unsigned long khz)
{
	if (vm->nr_vcpus)
		return -EINVAL;
	if (khz != (u32)khz || (!wafer_caps.has_tsc_scaling && khz && khz != tsc_khz))
		return wafer_refuse(&vm->refusal, -EINVAL, "TSC frequency, kHz", khz, "is the host's, without TSC scaling");
	vm->default_tsc_khz = khz;
	return 0;
}

#define IOCTL(cmd, flags, expr) DOOR_FN(do_##cmd, struct wafer_vm, vm, expr)
#include "vm_table.h"
#undef IOCTL

#define IOCTL(cmd, flags, expr) { cmd, flags, do_##cmd },
static const struct wafer_door vm_doors[] = {
#include "vm_table.h"
};
#undef IOCTL

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
