/* SPDX-License-Identifier: GPL-2.0 */
/* How an ioctl gets in: a table for each kind of descriptor, one function that serves all of them. */
#ifndef WAFER_DOOR_H
#define WAFER_DOOR_H

#include <linux/kvm.h>
#include <linux/mutex.h>
#include <linux/types.h>

#include "kvm_abi.h"
#include "refuse.h"

struct wafer_vm;
struct wafer_vcpu;
struct file;

#define DOOR_IN		1	/* copy _IOC_SIZE(cmd) bytes in before the handler */
#define DOOR_OUT	2	/* and out, if the handler returns >= 0 */
#define DOOR_LOCK	4	/* the object's mutex around the handler */
#define DOOR_NO_ARG	8	/* the argument must be 0 */

/**
 * struct wafer_door - one ioctl
 * @cmd: its number
 * @flags: DOOR_*. What the number itself says of the direction is not used: some of KVM's are wrong
 * @fn: gets the object, a kernel copy of the argument (DOOR_IN, DOOR_OUT; zeroed if only out) or NULL,
 *	and the argument as it came
 */
struct wafer_door {
	u32 cmd;
	u32 flags;
	long (*fn)(void *obj, void *data, unsigned long arg);
};

/* A handler: @expr of the object, named @object, of data, and of arg or USER, the same as a pointer. */
#define USER ((void __user *)arg)
#define DOOR_FN(name, otype, object, expr)					\
static long name(void *obj, void *data, unsigned long arg)			\
{										\
	otype *object __maybe_unused = obj;					\
										\
	return expr;								\
}

/**
 * struct wafer_doors - the doors of one descriptor
 * @door: table, @nr long; the hot ones first
 * @obj: what the handlers get
 * @lock: for DOOR_LOCK
 * @refusal: where refusals on this descriptor are noted
 */
struct wafer_doors {
	const struct wafer_door *door;
	unsigned int nr;
	void *obj;
	struct mutex *lock;
	struct wafer_refusal *refusal;
};

long wafer_door(const struct wafer_doors *doors, unsigned int cmd, unsigned long arg);
int wafer_new_file(const char *name, const struct file_operations *fops, void *obj, struct file **file);

/* The other files of this room. */
int wafer_vm_open(struct wafer_vm *vm);
int wafer_vcpu_open(struct wafer_vm *vm, u32 id);
int wafer_vm_stats_open(struct wafer_vm *vm);
int wafer_vcpu_stats_open(struct wafer_vcpu *vcpu);
long wafer_check_extension(struct wafer_vm *vm, long cap);	/* @vm may be NULL */
long wafer_vm_enable_cap(struct wafer_vm *vm, const struct kvm_enable_cap *cap);
long wafer_vcpu_enable_cap(struct wafer_vcpu *vcpu, const struct kvm_enable_cap *cap);

/* Variable-size arguments (ioctl/lists.c). */
long wafer_door_supported_cpuid(void __user *arg, bool emulated);
long wafer_door_set_cpuid(struct wafer_vcpu *vcpu, void __user *arg);
long wafer_door_get_cpuid(struct wafer_vcpu *vcpu, void __user *arg);
long wafer_door_msr_list(void __user *arg, bool feature);
long wafer_door_get_msrs(struct wafer_vcpu *vcpu, void __user *arg);	/* NULL: feature MSRs */
long wafer_door_set_msrs(struct wafer_vcpu *vcpu, void __user *arg);
long wafer_door_routing(struct wafer_vm *vm, void __user *arg);
long wafer_door_xsave(struct wafer_vcpu *vcpu, void __user *arg, bool set, bool xsave2);

#endif
