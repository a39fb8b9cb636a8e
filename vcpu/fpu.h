/* SPDX-License-Identifier: GPL-2.0 */
/*
 * PKRU is the guest's only around the entry itself: the host's accesses to user memory obey it, so
 * that a guest which denies itself every key must not deny them to the VMM.
 */
#ifndef WAFER_FPU_H
#define WAFER_FPU_H

#include <asm/special_insns.h>

#include "vcpu.h"

/*
 * A guest whose CPUID has no PKU can neither set CR4.PKE nor XCR0.PKRU: it never sees the register.
 */
static inline void wafer_pkru_enter(struct wafer_vcpu *vcpu)
{
	if (!vcpu->has_pku)
		return;
	vcpu->host_pkru = rdpkru();
	if (vcpu->pkru != vcpu->host_pkru)
		wrpkru(vcpu->pkru);
}

static inline void wafer_pkru_leave(struct wafer_vcpu *vcpu)
{
	if (!vcpu->has_pku)
		return;
	vcpu->pkru = rdpkru();
	if (vcpu->pkru != vcpu->host_pkru)
		wrpkru(vcpu->host_pkru);
}

#endif
