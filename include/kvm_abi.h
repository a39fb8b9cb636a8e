/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Numbers of the KVM ABI that the oldest supported headers (6.1) lack. Numbers only; meaning in
 * Documentation/.
 */
#ifndef WAFER_KVM_ABI_H
#define WAFER_KVM_ABI_H

#include <linux/kvm.h>

#ifndef KVM_EXIT_MEMORY_FAULT
#define KVM_EXIT_MEMORY_FAULT		39
#endif
#ifndef KVM_CAP_USER_MEMORY2
#define KVM_CAP_USER_MEMORY2		231
#endif
#ifndef KVM_CAP_MEMORY_FAULT_INFO
#define KVM_CAP_MEMORY_FAULT_INFO	232
#endif

/*
 * The older structure comes first in KVM_SET_USER_MEMORY_REGION2's; the rest counts with a flag for
 * guest_memfd that is not offered.
 */
struct wafer_memory_region2 {
	struct kvm_userspace_memory_region region;
	__u64 rest[16];
};
#ifndef KVM_SET_USER_MEMORY_REGION2
#define KVM_SET_USER_MEMORY_REGION2	_IOW(KVMIO, 0x49, struct wafer_memory_region2)
#endif

/*
 * Newer headers give the field a name that warns in-kernel readers: user space writes it at any
 * time.
 */
#ifdef HINT_UNSAFE_IN_KVM
#define wafer_immediate_exit(run) READ_ONCE((run)->HINT_UNSAFE_IN_KVM(immediate_exit))
#else
#define wafer_immediate_exit(run) READ_ONCE((run)->immediate_exit)
#endif

/* KVM_EXIT_MEMORY_FAULT's layout in the union of struct kvm_run: { u64 flags, gpa, size }. */
struct wafer_memory_fault { __u64 flags, gpa, size; };

#endif
