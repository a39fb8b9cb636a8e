/* SPDX-License-Identifier: GPL-2.0 */
/* Numbers of the KVM ABI that the oldest supported headers (6.1) lack. Numbers only; meaning in Documentation/. */
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

/* KVM_EXIT_MEMORY_FAULT's layout in the union of struct kvm_run: { u64 flags, gpa, size }. */
struct wafer_memory_fault { __u64 flags, gpa, size; };

#endif
