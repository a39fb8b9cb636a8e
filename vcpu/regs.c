// SPDX-License-Identifier: GPL-2.0
/* Registers are read from the VMCS or VMCB when somebody asks, and never twice for one exit. */
#include "core.h"

/**
 * wafer_fetch_state() - make register groups available in vcpu->arch
 * @vcpu: vCPU, its mutex held
 * @mask: WAFER_G_* groups that are not available yet
 *
 * Outside the window a short one is opened: the hardware state is accessible in the window alone.
 */
void wafer_fetch_state(struct wafer_vcpu *vcpu, u32 mask)
{
	if (likely(vcpu->loaded)) {
		wafer_backend->read_state(vcpu, mask);
		return;
	}
	wafer_window_open(vcpu);
	wafer_backend->read_state(vcpu, mask);
	wafer_window_close(vcpu);
}

enum wafer_code_mode wafer_code_mode(struct wafer_vcpu *vcpu)
{
	u32 attr = wafer_seg(vcpu, WAFER_CS)->attr;

	if (attr & WAFER_SEG_L && wafer_efer(vcpu) & WAFER_EFER_LMA)
		return WAFER_CODE64;
	return attr & WAFER_SEG_DB ? WAFER_CODE32 : WAFER_CODE16;
}
