// SPDX-License-Identifier: GPL-2.0
/* MSRs that do something when they are read or written, or that have rules of their own. */
#include <asm/cpufeature.h>
#include <asm/kvm_para.h>
#include <asm/processor-flags.h>

#include "msr.h"
#include "msr_asm.h"

bool wafer_is_canonical(struct wafer_vcpu *vcpu, u64 addr)
{
	unsigned int bits = wafer_cr4(vcpu) & X86_CR4_LA57 ? 57 : 48;

	return (s64)addr >> (bits - 1) == 0 || (s64)addr >> (bits - 1) == -1;
}

/* ---- time ---- */

MSR_GET(tsc)
{
	*val = wafer_guest_tsc_now(vcpu);
	return WAFER_MSR_OK;
}

/* A guest's write shows in TSC_ADJUST (SDM vol. 3 §18.17.3), the host's does not. */
MSR_SET(tsc)
{
	if (how & MSR_WINDOW)
		return WAFER_MSR_SLOW;
	if (!(how & MSR_HOST))
		vcpu->msr->tsc_adjust += val - wafer_guest_tsc_now(vcpu);
	wafer_write_tsc(vcpu, val, how & MSR_HOST);
	return WAFER_MSR_OK;
}

MSR_SET(tsc_adjust)
{
	if (how & MSR_WINDOW)
		return WAFER_MSR_SLOW;
	if (!(how & MSR_HOST))
		wafer_set_tsc_offset(vcpu, vcpu->tsc_offset + val - vcpu->msr->tsc_adjust);
	vcpu->msr->tsc_adjust = val;
	return WAFER_MSR_OK;
}

MSR_GET(tsc_deadline)
{
	*val = vcpu->lapic ? wafer_tsc_deadline_get(vcpu) : 0;
	return WAFER_MSR_OK;
}

MSR_SET(tsc_deadline)
{
	if (vcpu->lapic)
		wafer_tsc_deadline_set(vcpu, val);
	return WAFER_MSR_OK;
}

MSR_SET(wall_clock)
{
	if (how & MSR_WINDOW)
		return WAFER_MSR_SLOW;
	vcpu->msr->wall_clock = val;
	/* An address without memory is the guest's loss, as in KVM. */
	wafer_set_wall_clock(vcpu, val);
	return WAFER_MSR_OK;
}

MSR_SET(clock)
{
	return wafer_set_clock_msr(vcpu, val, false);
}

MSR_SET(steal_time)
{
	return wafer_set_steal_msr(vcpu, val);
}

/* ---- modes, memory types ---- */

/* The map of destinations is built anew, under a mutex. */
MSR_SET(apic_base)
{
	if (how & MSR_WINDOW)
		return WAFER_MSR_SLOW;
	return wafer_apic_base_set(vcpu, val, how & MSR_HOST);
}

MSR_SET(efer)
{
	if (!(how & MSR_HOST))
		return wafer_set_efer(vcpu, val);
	if (val & ~wafer_efer_allowed())
		return WAFER_MSR_GP;
	wafer_put_efer(vcpu, (val & ~WAFER_EFER_LMA) | (wafer_efer(vcpu) & WAFER_EFER_LMA));
	return WAFER_MSR_OK;
}

/* Each byte a memory type: UC WC WT WP WB UC- (SDM vol. 3 §12.12.2): 0, 1, 4 to 7. */
bool wafer_pat_valid(u64 pat)
{
	if (pat & 0xf8f8f8f8f8f8f8f8ull)
		return false;
	/* Bit 1 of a byte only together with bit 2. */
	return !(pat & 0x0202020202020202ull & ~((pat & 0x0404040404040404ull) >> 1));
}

MSR_SET(pat)
{
	if (!wafer_pat_valid(val))
		return WAFER_MSR_GP;
	vcpu->arch.pat = val;
	wafer_touch(vcpu, WAFER_G_PAT);
	return WAFER_MSR_OK;
}

/* ---- speculation ---- */

bool wafer_has_spec_ctrl(struct wafer_vcpu *vcpu)
{
	static const u16 any[] = {
		X86_FEATURE_SPEC_CTRL, X86_FEATURE_INTEL_STIBP, X86_FEATURE_SPEC_CTRL_SSBD,
		X86_FEATURE_AMD_IBRS, X86_FEATURE_AMD_STIBP, X86_FEATURE_AMD_SSBD,
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(any); i++)
		if (wafer_guest_has(vcpu, any[i]))
			return true;
	return false;
}

/* Bits that this CPU has not would be #GP on the host: IBRS, STIBP, SSBD; PSFD where the guest's CPUID came with it. */
MSR_SET(spec_ctrl)
{
	u64 valid = (boot_cpu_has(X86_FEATURE_IBRS) ? BIT(0) : 0) | (boot_cpu_has(X86_FEATURE_STIBP) ? BIT(1) : 0) |
		    (boot_cpu_has(X86_FEATURE_SSBD) ? BIT(2) : 0) |
		    (boot_cpu_data.x86_capability[X86_FEATURE_CLZERO / 32] & BIT(28) ? BIT(7) : 0);

	if (val & ~valid)
		return WAFER_MSR_GP;
	vcpu->arch.spec_ctrl = val;
	wafer_touch(vcpu, WAFER_G_SPEC);
	return WAFER_MSR_OK;
}

/* Commands: done on the CPU that the guest runs on. */
MSR_SET(pred_cmd)
{
	if (how & MSR_HOST)
		return WAFER_MSR_OK;
	if (val & ~1ull || (!wafer_guest_has(vcpu, X86_FEATURE_SPEC_CTRL) &&
			    !wafer_guest_has(vcpu, X86_FEATURE_AMD_IBPB)))
		return WAFER_MSR_GP;
	return val && wafer_wrmsr(MSR_IA32_PRED_CMD, val) ? WAFER_MSR_GP : WAFER_MSR_OK;
}

MSR_SET(flush_cmd)
{
	if (how & MSR_HOST)
		return WAFER_MSR_OK;
	if (val & ~1ull)
		return WAFER_MSR_GP;
	return val && wafer_wrmsr(MSR_IA32_FLUSH_CMD, val) ? WAFER_MSR_GP : WAFER_MSR_OK;
}

MSR_SET(arch_capabilities)
{
	if (val & ~wafer_host_arch_capabilities)
		return WAFER_MSR_GP;
	vcpu->msr->arch_capabilities = val;
	return WAFER_MSR_OK;
}

/* ---- what describes or configures the model ---- */

u64 wafer_misc_enable(struct wafer_vcpu *vcpu)
{
	return vcpu->msr->misc_enable;
}

/* That there are no performance counters is not the guest's to change. */
MSR_SET(misc_enable)
{
	const u64 fixed = MSR_IA32_MISC_ENABLE_EMON | MSR_IA32_MISC_ENABLE_BTS_UNAVAIL |
			  MSR_IA32_MISC_ENABLE_PEBS_UNAVAIL;
	u64 old = vcpu->msr->misc_enable;

	if (!(how & MSR_HOST)) {
		val = (val & ~fixed) | (old & fixed);
		if ((val ^ old) & MSR_IA32_MISC_ENABLE_MWAIT && !wafer_guest_has(vcpu, X86_FEATURE_XMM3) &&
		    vcpu->vm->quirks_disabled & KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT)
			return WAFER_MSR_GP;
	}
	vcpu->msr->misc_enable = val;
	wafer_cpuid_update(vcpu);
	return WAFER_MSR_OK;
}

MSR_GET(platform_info)
{
	if (!(how & MSR_HOST) && !vcpu->vm->platform_info_read)
		return WAFER_MSR_GP;
	*val = vcpu->msr->platform_info;
	return WAFER_MSR_OK;
}

/* LBR and BTF can be asked for and do nothing. */
MSR_SET(debugctl)
{
	return val & ~3ull ? WAFER_MSR_GP : WAFER_MSR_OK;
}

/* Cache and bus controls of old CPUs have no meaning here; McStatusWrEn has. */
MSR_SET(hwcr)
{
	val &= ~(BIT_ULL(3) | BIT_ULL(6) | BIT_ULL(8));
	if (val & ~(BIT_ULL(18) | BIT_ULL(24)))
		return WAFER_MSR_GP;
	vcpu->msr->hwcr = val;
	return WAFER_MSR_OK;
}

/* Whether LFENCE serialises is the host's choice. */
MSR_SET(de_cfg)
{
	u64 host = wafer_host_de_cfg;

	if (val & ~host || (!(how & MSR_HOST) && val != host))
		return WAFER_MSR_GP;
	vcpu->msr->de_cfg = val;
	return WAFER_MSR_OK;
}
