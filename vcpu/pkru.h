/* SPDX-License-Identifier: GPL-2.0 */
/*
 * PKRU is the guest's only around the entry itself: the host's accesses to user memory obey it, so that a
 * guest which denies itself every key must not deny them to the VMM.
 */
#ifndef WAFER_PKRU_H
#define WAFER_PKRU_H

#include <asm/cpufeature.h>

#include "vcpu.h"

static inline u32 wafer_rdpkru(void)
{
	u32 pkru, edx;

	asm volatile(".byte 0x0f, 0x01, 0xee" : "=a" (pkru), "=d" (edx) : "c" (0));
	return pkru;
}

static inline void wafer_wrpkru(u32 pkru)
{
	asm volatile(".byte 0x0f, 0x01, 0xef" : : "a" (pkru), "c" (0), "d" (0) : "memory");
}

/* A guest whose CPUID has no PKU can neither set CR4.PKE nor XCR0.PKRU: it never sees the register. */
static inline void wafer_pkru_enter(struct wafer_vcpu *vcpu)
{
	if (!vcpu->has_pku)
		return;
	vcpu->host_pkru = wafer_rdpkru();
	if (vcpu->pkru != vcpu->host_pkru)
		wafer_wrpkru(vcpu->pkru);
}

static inline void wafer_pkru_leave(struct wafer_vcpu *vcpu)
{
	if (!vcpu->has_pku)
		return;
	vcpu->pkru = wafer_rdpkru();
	if (vcpu->pkru != vcpu->host_pkru)
		wafer_wrpkru(vcpu->host_pkru);
}

/* Outside the guest. */
static inline u32 wafer_guest_pkru(struct wafer_vcpu *vcpu)
{
	return vcpu->pkru;
}

#endif
