// SPDX-License-Identifier: GPL-2.0
/* The module and its device: /dev/wafer, the descriptor from which VMs are made. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/compat.h>
#include <linux/fs.h>
#include <linux/kvm.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "backend.h"
#include "door.h"
#include "uapi/wafer.h"
#include "vcpu.h"
#include "vm.h"

#define WAFER_VERSION "0.1"

/* Pages of a vCPU's mapping: the run page, port data, the coalesced ring. */
#define VCPU_MMAP_SIZE (3 * PAGE_SIZE)

static long create_vm(struct wafer_refusal *refusal, unsigned long type)
{
	struct wafer_vm *vm;
	int r;

	if (type)
		return wafer_refuse(refusal, -EINVAL, "machine type", type, "is 0");
	vm = wafer_vm_create();
	if (IS_ERR(vm))
		return PTR_ERR(vm);
	vm->platform_info_read = true;
	r = wafer_vm_open(vm);
	if (r < 0)
		wafer_vm_put(vm);
	return r;
}

static bool is_xcomp_attr(const struct kvm_device_attr *attr)
{
	return !attr->group && attr->attr == KVM_X86_XCOMP_GUEST_SUPP;
}

static long get_xcomp_attr(const struct kvm_device_attr *attr)
{
	return is_xcomp_attr(attr) ? put_user(wafer_host_xcr0(), (u64 __user *)attr->addr) : -ENXIO;
}

static long get_info(struct wafer_info *info)
{
	info->abi_version = WAFER_ABI_VERSION;
	info->backend = wafer_backend == &wafer_svm ? WAFER_BACKEND_SVM : WAFER_BACKEND_VMX;
	info->levels = wafer_caps.levels;
	info->max_page_shift = 12 + 9 * (wafer_caps.max_level - 1);
	info->features = (wafer_caps.has_ad ? WAFER_FEATURE_AD : 0) |
			 (wafer_caps.has_pml ? WAFER_FEATURE_PML : 0) |
			 (wafer_caps.has_tsc_scaling ? WAFER_FEATURE_TSC_SCALING : 0) |
			 (wafer_caps.has_len ? WAFER_FEATURE_INSN_LENGTH : 0);
	info->max_vcpus = WAFER_MAX_VCPUS;
	info->max_vcpu_id = WAFER_MAX_VCPU_ID;
	info->max_slots = WAFER_MAX_SLOTS;
	strscpy(info->version, WAFER_VERSION, sizeof(info->version));
	return 0;
}

#define IOCTL(cmd, flags, expr) DOOR_FN(do_##cmd, struct wafer_refusal, refusal, expr)
#include "device_table.h"
#undef IOCTL

#define IOCTL(cmd, flags, expr) { cmd, flags, do_##cmd },
static const struct wafer_door device_doors[] = {
#include "device_table.h"
};
#undef IOCTL

static int device_open(struct inode *inode, struct file *file)
{
	file->private_data = kzalloc(sizeof(struct wafer_refusal), GFP_KERNEL_ACCOUNT);
	return file->private_data ? 0 : -ENOMEM;
}

static int device_release(struct inode *inode, struct file *file)
{
	kfree(file->private_data);
	return 0;
}

static long device_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	const struct wafer_doors doors = {
		.door = device_doors,
		.nr = ARRAY_SIZE(device_doors),
		.obj = file->private_data,
		.refusal = file->private_data,
	};

	return wafer_door(&doors, cmd, arg);
}

static const struct file_operations device_fops = {
	.owner = THIS_MODULE,
	.open = device_open,
	.release = device_release,
	.unlocked_ioctl = device_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "wafer",
	.mode = 0660,
	.fops = &device_fops,
};

static int __init wafer_init(void)
{
	int r;

	r = wafer_vcpu_cache_init();
	if (r)
		return r;
	r = wafer_kick_init();
	if (r)
		goto no_kicks;
	r = wafer_hardware_init();
	if (r)
		goto no_hardware;
	wafer_fpu_setup();
	wafer_cpuid_setup();
	wafer_msr_setup();
	r = misc_register(&device);
	if (r)
		goto no_device;
	pr_info("%s, %u-level nested paging with pages up to %u KiB%s%s\n", wafer_backend->name, wafer_caps.levels,
		4u << (9 * (wafer_caps.max_level - 1)), wafer_caps.features[0] ? "; " : "", wafer_caps.features);
	return 0;

no_device:
	wafer_hardware_exit();
no_hardware:
	wafer_kick_exit();
no_kicks:
	wafer_vcpu_cache_exit();
	return r;
}

static void __exit wafer_exit(void)
{
	misc_deregister(&device);
	/* No descriptor is open; what remains are notifiers' callbacks that free VMs. */
	wafer_mmu_drain();
	wafer_hardware_exit();
	wafer_kick_exit();
	wafer_vcpu_cache_exit();
}

module_init(wafer_init);
module_exit(wafer_exit);
MODULE_DESCRIPTION("Wafer, a thin hypervisor with the KVM userspace ABI");
MODULE_VERSION(WAFER_VERSION);
MODULE_LICENSE("GPL");
