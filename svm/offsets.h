/* SPDX-License-Identifier: GPL-2.0 */
/* Offsets that enter.S uses; svm.h asserts them. */
#ifndef WAFER_SVM_OFFSETS_H
#define WAFER_SVM_OFFSETS_H

/* struct wafer_hw */
#define SVM_HW_VMCB_PA		0
#define SVM_HW_HOST_PA		8
#define SVM_HW_SPEC_GUEST	16
#define SVM_HW_SPEC_HOST	20
#define SVM_HW_SPEC_DIRECT	24

/* struct wafer_vcpu: arch.gpr[] comes first, in the order of the encoding. */
#define SVM_GPR(n)		((n) * 8)

#endif
