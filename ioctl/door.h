/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of this room share. How an ioctl gets in: a table for each kind of descriptor, one
 * function for all.
 */
#ifndef WAFER_DOOR_H
#define WAFER_DOOR_H

#include <linux/anon_inodes.h>
#include <linux/compat.h>
#include <linux/file.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "kvm_abi.h"
#include "uapi/wafer.h"
#include "vcpu.h"
#include "vm.h"

/*
 * IN: copy _IOC_SIZE(cmd) bytes in before the handler; OUT: and out, if the handler returns >= 0;
 * LOCK: the object's mutex around the handler; NO_ARG: the argument must be 0.
 */
enum { DOOR_IN = BIT(0), DOOR_OUT = BIT(1), DOOR_LOCK = BIT(2), DOOR_NO_ARG = BIT(3) };

/*
 * A descriptor's ioctls are a function that is a table. With @look it says the DOOR_* of @cmd; what
 * the number itself says of the direction is not used: some of KVM's are wrong. Without, it calls
 * the handler: an expression of the object, of @data (a kernel copy of the argument with DOOR_IN
 * and DOOR_OUT, zeroed if only out; else NULL) and of @arg or USER, the argument as it came.
 */
#define IOCTL(flags, handler) (look ? (flags) : (handler))
#define USER ((void __user *)arg)

/**
 * struct wafer_doors - the doors of one descriptor
 * @call: the table; -ENOTTY: not in it
 * @obj: what it gets
 * @lock: for DOOR_LOCK
 * @refusal: where refusals on this descriptor are noted
 */
struct wafer_doors {
	long (*call)(void *obj, u32 cmd, void *data, unsigned long arg, bool look);
	void *obj;
	struct mutex *lock;
	struct wafer_refusal *refusal;
};

long wafer_door(const struct wafer_doors *doors, unsigned int cmd, unsigned long arg);
long wafer_door_failed(struct wafer_refusal *refusal, long r, unsigned long arg);
int wafer_new_file(const char *name, const struct file_operations *fops, void *obj,
		   struct file **file);

/* The other files of this room. */
extern const struct file_operations wafer_device_fops;
int wafer_alias_init(void);
void wafer_alias_exit(void);
long wafer_create_vm(struct wafer_refusal *refusal, unsigned long type);
int wafer_vm_release(struct inode *inode, struct file *file);
int wafer_vcpu_open(struct wafer_vm *vm, u32 id);
int wafer_vcpu_release(struct inode *inode, struct file *file);
int wafer_stats_open(struct wafer_vm *vm, struct wafer_vcpu *vcpu);
long wafer_check_extension(struct wafer_vm *vm, long cap);	/* @vm may be NULL */
long wafer_vm_enable_cap(struct wafer_vm *vm, const struct kvm_enable_cap *cap);
long wafer_vcpu_enable_cap(struct wafer_vcpu *vcpu, const struct kvm_enable_cap *cap);

/* Variable-size arguments (ioctl/lists.c). @vcpu NULL: from /dev/wafer */
long wafer_door_get_cpuid(struct wafer_vcpu *vcpu, void __user *arg, bool emulated);
long wafer_door_set_cpuid(struct wafer_vcpu *vcpu, void __user *arg);
long wafer_door_set_old_cpuid(struct wafer_vcpu *vcpu, void __user *arg);
long wafer_door_msr_list(void __user *arg, bool feature);
long wafer_door_msrs(struct wafer_vcpu *vcpu, void __user *arg, bool set);
long wafer_door_routing(struct wafer_vm *vm, void __user *arg);
long wafer_door_xsave(struct wafer_vcpu *vcpu, void __user *arg, bool set, bool xsave2);

#endif
