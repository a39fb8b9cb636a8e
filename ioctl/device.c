// SPDX-License-Identifier: GPL-2.0
/* The module and its device: /dev/wafer, the descriptor from which VMs are made. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include "door.h"

#define WAFER_VERSION "0.1"

/* Pages of a vCPU's mapping: the run page, port data, the coalesced ring. */
#define VCPU_MMAP_SIZE (3 * PAGE_SIZE)

/* KVM_HAS_ and KVM_GET_DEVICE_ATTR: XSAVE components for guests are all there is. */
static long xcomp_attr(const struct kvm_device_attr *attr, bool get)
{
	if (attr->group || attr->attr != KVM_X86_XCOMP_GUEST_SUPP)
		return -ENXIO;
	return get ? put_user(wafer_host_xcr0(), (u64 __user *)attr->addr) : 0;
}

static long get_info(struct wafer_info *info)
{
	*info = (struct wafer_info){
		.abi_version = WAFER_ABI_VERSION,
		.backend = wafer_backend == &wafer_svm ? WAFER_BACKEND_SVM : WAFER_BACKEND_VMX,
		.levels = wafer_caps.levels, .max_page_shift = 12 + 9 * (wafer_caps.max_level - 1),
		.features = (wafer_caps.has_ad ? WAFER_FEATURE_AD : 0) |
			    (wafer_caps.has_pml ? WAFER_FEATURE_PML : 0) |
			    (wafer_caps.has_tsc_scaling ? WAFER_FEATURE_TSC_SCALING : 0) |
			    (wafer_caps.has_len ? WAFER_FEATURE_INSN_LENGTH : 0),
		.max_vcpus = WAFER_MAX_VCPUS, .max_vcpu_id = WAFER_MAX_VCPU_ID,
		.max_slots = WAFER_MAX_SLOTS,
	};
	strscpy(info->version, WAFER_VERSION, sizeof(info->version));
	return 0;
}

static long device_call(void *obj, u32 cmd, void *data, unsigned long arg, bool look)
{
	switch (cmd) {
	case KVM_CHECK_EXTENSION: return IOCTL(0, wafer_check_extension(NULL, arg));
	case KVM_GET_API_VERSION: return IOCTL(DOOR_NO_ARG, KVM_API_VERSION);
	case KVM_CREATE_VM: return IOCTL(0, wafer_create_vm(obj, arg));
	case KVM_GET_VCPU_MMAP_SIZE: return IOCTL(DOOR_NO_ARG, VCPU_MMAP_SIZE);
	case KVM_GET_SUPPORTED_CPUID: return IOCTL(0, wafer_door_get_cpuid(NULL, USER, false));
	case KVM_GET_EMULATED_CPUID: return IOCTL(0, wafer_door_get_cpuid(NULL, USER, true));
	case KVM_GET_MSR_INDEX_LIST: return IOCTL(0, wafer_door_msr_list(USER, false));
	case KVM_GET_MSR_FEATURE_INDEX_LIST: return IOCTL(0, wafer_door_msr_list(USER, true));
	case KVM_GET_MSRS: return IOCTL(0, wafer_door_msrs(NULL, USER, false));
	case KVM_X86_GET_MCE_CAP_SUPPORTED:
		return IOCTL(DOOR_OUT, (*(u64 *)data = wafer_mce_cap(), 0));
	case KVM_HAS_DEVICE_ATTR: return IOCTL(DOOR_IN, xcomp_attr(data, false));
	case KVM_GET_DEVICE_ATTR: return IOCTL(DOOR_IN, xcomp_attr(data, true));
	case WAFER_GET_INFO: return IOCTL(DOOR_OUT, get_info(data));
	}
	return -ENOTTY;
}

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
	struct wafer_refusal *refusal = file->private_data;
	const struct wafer_doors doors = { device_call, refusal, NULL, refusal };

	return wafer_door(&doors, cmd, arg);
}

const struct file_operations wafer_device_fops = {
	.owner = THIS_MODULE, .open = device_open, .release = device_release, .llseek = noop_llseek,
	.unlocked_ioctl = device_ioctl, .compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR, .name = "wafer", .mode = 0660, .fops = &wafer_device_fops,
};

static int __init wafer_init(void)
{
	int r = wafer_kick_init() ?: wafer_hardware_init();

	if (r)
		goto kick;
	wafer_fpu_setup();
	wafer_cpuid_setup();
	wafer_msr_setup();
	/* The likelier to fail comes first: once a device is there, somebody may have it open. */
	r = wafer_alias_init();
	if (r)
		goto hardware;
	r = misc_register(&device);
	if (r)
		goto alias;
	wafer_mmu_setup();
	pr_info("%s, %u-level nested paging with pages up to %u KiB%s%s\n",
		wafer_backend->name, wafer_caps.levels, 4u << (9 * (wafer_caps.max_level - 1)),
		wafer_caps.features[0] ? "; " : "", wafer_caps.features);
	return 0;
alias:
	wafer_alias_exit();
hardware:
	wafer_hardware_exit();
kick:
	wafer_kick_exit();	/* takes what was never made */
	return r;
}

static void __exit wafer_exit(void)
{
	wafer_alias_exit();
	misc_deregister(&device);
	/* No descriptor is open; what remains are notifiers' callbacks that free VMs. */
	wafer_mmu_drain();
	wafer_hardware_exit();
	wafer_kick_exit();
}

module_init(wafer_init);
module_exit(wafer_exit);
MODULE_DESCRIPTION("Wafer, a thin hypervisor with the KVM userspace ABI");
MODULE_VERSION(WAFER_VERSION);
MODULE_LICENSE("GPL");
