// SPDX-License-Identifier: GPL-2.0
/* Hardware task switches, which the CPU leaves to the hypervisor. */
#include "core.h"

int wafer_exit_task(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	vcpu->emu.insn.len = 0;
	return wafer_emulation_failure(vcpu);
}
