/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Wafer's additions to the KVM userspace ABI. All other ioctls of /dev/wafer are those of
 * <linux/kvm.h>.
 */
#ifndef _UAPI_WAFER_H
#define _UAPI_WAFER_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define WAFER_ABI_VERSION 1

/* The type byte is Wafer's own, so that no number can meet one of KVM's (0xAE). */
#define WAFER_IO 0xC7

#define WAFER_BACKEND_SVM 1
#define WAFER_BACKEND_VMX 2

/* struct wafer_info.features */
#define WAFER_FEATURE_AD		(1 << 0)	/* accessed, dirty bits of nested tables */
#define WAFER_FEATURE_PML		(1 << 1)	/* page-modification log */
#define WAFER_FEATURE_TSC_SCALING	(1 << 2)
#define WAFER_FEATURE_INSN_LENGTH	(1 << 3)	/* the CPU tells instruction lengths */

/**
 * struct wafer_info - what WAFER_GET_INFO returns (descriptor: /dev/wafer)
 * @abi_version: WAFER_ABI_VERSION
 * @backend: WAFER_BACKEND_*
 * @levels: levels of the nested page table
 * @max_page_shift: log2 of the largest guest mapping, bytes
 * @features: WAFER_FEATURE_*
 * @max_vcpus: vCPUs in one VM
 * @max_vcpu_id: vCPU ids are below this
 * @max_slots: memory slots in one VM
 * @pad: zero
 * @version: the module's version, NUL-terminated
 * @reserved: zero
 */
struct wafer_info {
	__u32 abi_version;
	__u32 backend;
	__u32 levels;
	__u32 max_page_shift;
	__u64 features;
	__u32 max_vcpus;
	__u32 max_vcpu_id;
	__u32 max_slots;
	__u32 pad;
	char version[32];
	__u64 reserved[8];
};

/**
 * struct wafer_last_error - the last refusal on this descriptor (any descriptor)
 * @ioctl: number of the refused ioctl, 0: nothing was refused yet
 * @err: errno it gave
 * @value: the offending value
 * @field: name of the field, NUL-terminated
 * @rule: what the field has to be, NUL-terminated
 */
struct wafer_last_error {
	__u32 ioctl;
	__u32 err;
	__u64 value;
	char field[48];
	char rule[160];
};

#define WAFER_GET_INFO		_IOR(WAFER_IO, 0x00, struct wafer_info)
#define WAFER_LAST_ERROR	_IOR(WAFER_IO, 0x01, struct wafer_last_error)

#endif
