// SPDX-License-Identifier: GPL-2.0
/*
 * Every MSR that a guest can see, but for the numbered ranges of msr_range.c and the x2APIC's. What KVM lists, how
 * a vCPU is reset and what a snapshot holds follow from this table.
 */
#include <linux/kvm_para.h>
#include <linux/stddef.h>
#include <asm/cpufeature.h>

#include "msr.h"
#include "msr_asm.h"

#define VCPU(field)	.place = MSR_VCPU, .offset = offsetof(struct wafer_vcpu, field)
#define ARCH(field, g)	VCPU(arch.field), .group = (g)
#define STATE(field)	.place = MSR_STATE, .offset = offsetof(struct wafer_msr_state, field)
#define CONST(val)	.place = MSR_CONST, .reset = (val)
#define GET(fn)		.get = wafer_msr_get_##fn
#define SET(fn)		.set = wafer_msr_set_##fn
#define HIGH_HALF	0xffffffff00000000ull
/* Performance counters, thermal and power control that guests look for at boot: there, empty and without effect. */
#define EMPTY(nr, name)	{ nr, name, MSR_IGNORE, CONST(0) }
#define READS(nr, name, val) { nr, name, MSR_READONLY, CONST(val) }

const struct wafer_msr wafer_msrs[] = {
	{ 0x10, "IA32_TIME_STAMP_COUNTER", MSR_LISTED, GET(tsc), SET(tsc) },
	READS(0x17, "IA32_PLATFORM_ID", 0),
	{ 0x1b, "IA32_APIC_BASE", 0, VCPU(apic_base), SET(apic_base) },
	EMPTY(0x2a, "EBL_CR_POWERON"),
	READS(0x2c, "EBC_FREQUENCY_ID", 1 << 24),
	{ 0x34, "SMI_COUNT", MSR_LISTED | MSR_READONLY, STATE(smi_count) },
	READS(0x3a, "IA32_FEATURE_CONTROL", 1),		/* locked, VMX off */
	{ 0x3b, "IA32_TSC_ADJUST", MSR_LISTED, STATE(tsc_adjust), .guest = X86_FEATURE_TSC_ADJUST, SET(tsc_adjust) },
	{ 0x48, "IA32_SPEC_CTRL", MSR_LISTED | MSR_SPECULATION, ARCH(spec_ctrl, WAFER_G_SPEC), SET(spec_ctrl),
	  .host = X86_FEATURE_MSR_SPEC_CTRL },
	{ 0x49, "IA32_PRED_CMD", MSR_WRITEONLY, CONST(0), .host = X86_FEATURE_IBPB, SET(pred_cmd) },
	{ 0x79, "IA32_BIOS_UPDT_TRIG", MSR_WRITEONLY | MSR_IGNORE, CONST(0) },
	{ 0x8b, "IA32_BIOS_SIGN_ID", MSR_LISTED | MSR_FEATURE | MSR_IGNORE, STATE(ucode_rev),
	  .reset = 1ull << 32 | 0x01000065 },		/* Intel has it in the upper half, AMD in the lower */
	EMPTY(0xc1, "IA32_PMC0"),
	EMPTY(0xc2, "IA32_PMC1"),
	READS(0xcd, "FSB_FREQ", 0),
	{ 0xce, "PLATFORM_INFO", MSR_LISTED | MSR_READONLY, STATE(platform_info), GET(platform_info) },
	READS(0xfe, "IA32_MTRRCAP", 0x508),		/* write-combining, fixed ranges, 8 variable ones */
	{ 0x10a, "IA32_ARCH_CAPABILITIES", MSR_LISTED | MSR_FEATURE | MSR_READONLY, STATE(arch_capabilities),
	  .host = X86_FEATURE_ARCH_CAPABILITIES, .guest = X86_FEATURE_ARCH_CAPABILITIES, SET(arch_capabilities) },
	{ 0x10b, "IA32_FLUSH_CMD", MSR_WRITEONLY, CONST(0), .host = X86_FEATURE_FLUSH_L1D,
	  .guest = X86_FEATURE_FLUSH_L1D, SET(flush_cmd) },
	EMPTY(0x119, "BBL_CR_CTL"),
	EMPTY(0x11e, "BBL_CR_CTL3"),
	{ 0x140, "MISC_FEATURES_ENABLES", MSR_LISTED, STATE(misc_features), .reserved = ~0ull },
	{ 0x174, "IA32_SYSENTER_CS", MSR_LISTED, ARCH(sysenter_cs, WAFER_G_SYSENTER), .reserved = HIGH_HALF },
	{ 0x175, "IA32_SYSENTER_ESP", MSR_LISTED | MSR_CANONICAL, ARCH(sysenter_esp, WAFER_G_SYSENTER) },
	{ 0x176, "IA32_SYSENTER_EIP", MSR_LISTED | MSR_CANONICAL, ARCH(sysenter_eip, WAFER_G_SYSENTER) },
	{ 0x179, "IA32_MCG_CAP", MSR_READONLY, STATE(mcg_cap) },
	{ 0x17a, "IA32_MCG_STATUS", MSR_LISTED, STATE(mcg_status) },
	{ 0x17b, "IA32_MCG_CTL", MSR_LISTED, STATE(mcg_ctl), SET(mcg_ctl) },
	EMPTY(0x186, "IA32_PERFEVTSEL0"),
	EMPTY(0x187, "IA32_PERFEVTSEL1"),
	READS(0x198, "IA32_PERF_STATUS", 1000 | 4ull << 40),
	EMPTY(0x199, "IA32_PERF_CTL"),
	EMPTY(0x19a, "IA32_CLOCK_MODULATION"),
	EMPTY(0x19b, "IA32_THERM_INTERRUPT"),
	EMPTY(0x19c, "IA32_THERM_STATUS"),
	{ 0x1a0, "IA32_MISC_ENABLE", MSR_LISTED, STATE(misc_enable), SET(misc_enable),
	  .reset = MSR_IA32_MISC_ENABLE_PEBS_UNAVAIL | MSR_IA32_MISC_ENABLE_BTS_UNAVAIL },
	READS(0x1ad, "TURBO_RATIO_LIMIT", 0),
	{ 0x1d9, "IA32_DEBUGCTL", 0, CONST(0), SET(debugctl) },
	READS(0x1db, "LASTBRANCHFROMIP", 0),
	READS(0x1dc, "LASTBRANCHTOIP", 0),
	READS(0x1dd, "LASTINTFROMIP", 0),
	READS(0x1de, "LASTINTTOIP", 0),
	{ 0x1fc, "POWER_CTL", MSR_LISTED, STATE(power_ctl) },
	{ 0x277, "IA32_PAT", MSR_LISTED, ARCH(pat, WAFER_G_PAT), SET(pat) },
	{ 0x6e0, "IA32_TSC_DEADLINE", MSR_LISTED, .guest = X86_FEATURE_TSC_DEADLINE_TIMER,
	  GET(tsc_deadline), SET(tsc_deadline) },

	{ MSR_KVM_WALL_CLOCK, "KVM_WALL_CLOCK", MSR_LISTED, STATE(wall_clock), SET(wall_clock),
	  .pv = BIT(KVM_FEATURE_CLOCKSOURCE) },
	{ MSR_KVM_SYSTEM_TIME, "KVM_SYSTEM_TIME", MSR_LISTED, VCPU(clock_gpa), SET(clock),
	  .pv = BIT(KVM_FEATURE_CLOCKSOURCE) },
	{ MSR_KVM_WALL_CLOCK_NEW, "KVM_WALL_CLOCK_NEW", MSR_LISTED, STATE(wall_clock), SET(wall_clock),
	  .pv = BIT(KVM_FEATURE_CLOCKSOURCE2) },
	{ MSR_KVM_SYSTEM_TIME_NEW, "KVM_SYSTEM_TIME_NEW", MSR_LISTED, VCPU(clock_gpa), SET(clock),
	  .pv = BIT(KVM_FEATURE_CLOCKSOURCE2) },
	{ MSR_KVM_STEAL_TIME, "KVM_STEAL_TIME", MSR_LISTED, VCPU(steal_gpa), SET(steal_time),
	  .pv = BIT(KVM_FEATURE_STEAL_TIME) },

	{ 0xc0000080, "IA32_EFER", 0, ARCH(efer, WAFER_G_EFER), SET(efer) },
	{ 0xc0000081, "IA32_STAR", MSR_LISTED, ARCH(star, WAFER_G_SYSCALL) },
	{ 0xc0000082, "IA32_LSTAR", MSR_LISTED | MSR_CANONICAL, ARCH(lstar, WAFER_G_SYSCALL) },
	{ 0xc0000083, "IA32_CSTAR", MSR_LISTED | MSR_CANONICAL, ARCH(cstar, WAFER_G_SYSCALL) },
	{ 0xc0000084, "IA32_FMASK", MSR_LISTED, ARCH(fmask, WAFER_G_SYSCALL), .reserved = HIGH_HALF },
	{ 0xc0000100, "IA32_FS_BASE", MSR_CANONICAL, ARCH(seg[WAFER_FS].base, WAFER_G_SEG(WAFER_FS)) },
	{ 0xc0000101, "IA32_GS_BASE", MSR_CANONICAL, ARCH(seg[WAFER_GS].base, WAFER_G_SEG(WAFER_GS)) },
	{ 0xc0000102, "IA32_KERNEL_GS_BASE", MSR_LISTED | MSR_CANONICAL, ARCH(kernel_gs_base, WAFER_G_SYSCALL) },
	{ 0xc0000103, "IA32_TSC_AUX", MSR_LISTED, ARCH(tsc_aux, 0), .host = X86_FEATURE_RDTSCP,
	  .guest = X86_FEATURE_RDTSCP, .reserved = HIGH_HALF },

	EMPTY(0xc0010000, "PerfEvtSel0"),
	EMPTY(0xc0010001, "PerfEvtSel1"),
	EMPTY(0xc0010002, "PerfEvtSel2"),
	EMPTY(0xc0010003, "PerfEvtSel3"),
	EMPTY(0xc0010004, "PerfCtr0"),
	EMPTY(0xc0010005, "PerfCtr1"),
	EMPTY(0xc0010006, "PerfCtr2"),
	EMPTY(0xc0010007, "PerfCtr3"),
	EMPTY(0xc0010010, "SYSCFG"),
	{ 0xc0010015, "HWCR", MSR_LISTED, STATE(hwcr), SET(hwcr) },
	EMPTY(0xc001001f, "NB_CFG"),
	{ 0xc0010020, "PATCH_LOADER", MSR_WRITEONLY | MSR_IGNORE, CONST(0) },
	READS(0xc0010055, "IntPendingMessage", 0),
	READS(0xc0010058, "MMIO_CONF_BASE", 0),
	READS(0xc0010061, "PStateCurLim", 0),
	EMPTY(0xc0010062, "PStateCtl"),
	READS(0xc0010063, "PStateStat", 0),
	READS(0xc0010064, "PStateDef0", 0),
	READS(0xc0010112, "SMM_ADDR", 0),
	READS(0xc0010113, "SMM_MASK", 0),
	EMPTY(0xc0010117, "VM_HSAVE_PA"),
	{ 0xc0010140, "OSVW_ID_Length", MSR_READONLY, STATE(osvw_length), .guest = X86_FEATURE_OSVW, .reset = 3 },
	{ 0xc0010141, "OSVW_Status", MSR_READONLY, STATE(osvw_status), .guest = X86_FEATURE_OSVW },
	EMPTY(0xc0011022, "DC_CFG"),
	EMPTY(0xc0011023, "TW_CFG"),
	{ 0xc0011029, "DE_CFG", MSR_FEATURE, STATE(de_cfg), .host = X86_FEATURE_LFENCE_RDTSC, SET(de_cfg) },
	EMPTY(0xc001102a, "BU_CFG2"),
	EMPTY(0xc001102c, "EX_CFG"),
};
const unsigned int wafer_nr_msrs = ARRAY_SIZE(wafer_msrs);

u64 wafer_host_arch_capabilities, wafer_host_de_cfg;	/* written once at module load */

/* Open addressing; 0: empty, else position in the table + 1. Filled once at module load. */
#define HASH_SIZE 256
static u8 hash[HASH_SIZE];
static_assert(ARRAY_SIZE(wafer_msrs) < HASH_SIZE / 2);

static u32 hash_of(u32 index)
{
	return index * 0x9e3779b1 >> 24;
}

const struct wafer_msr *wafer_msr_find(u32 index)
{
	u32 h = hash_of(index);

	for (; hash[h]; h = (h + 1) % HASH_SIZE)
		if (wafer_msrs[hash[h] - 1].index == index)
			return &wafer_msrs[hash[h] - 1];
	return NULL;
}

/*
 * What guests may know of this CPU's immunities. Bits that stand for controls which guests do not get (TSX_CTRL,
 * FB_CLEAR_CTRL, GDS_CTRL, XAPIC_DISABLE) are left out. PSCHANGE_MC_NO: this host keeps guests from reaching that bug.
 */
static u64 __init read_arch_capabilities(void)
{
	const u64 passed = ARCH_CAP_RDCL_NO | ARCH_CAP_IBRS_ALL | ARCH_CAP_RSBA | ARCH_CAP_SKIP_VMENTRY_L1DFLUSH |
			   ARCH_CAP_SSB_NO | ARCH_CAP_MDS_NO | ARCH_CAP_PSCHANGE_MC_NO | ARCH_CAP_TAA_NO |
			   BIT_ULL(13) | BIT_ULL(14) | BIT_ULL(15) | BIT_ULL(17) | BIT_ULL(19) | BIT_ULL(20) |
			   BIT_ULL(24) | BIT_ULL(26) | BIT_ULL(27) | BIT_ULL(28) | BIT_ULL(62);
	u64 val;

	if (!boot_cpu_has(X86_FEATURE_ARCH_CAPABILITIES) || wafer_rdmsr_safe(MSR_IA32_ARCH_CAPABILITIES, &val))
		return 0;
	val = (val & passed) | ARCH_CAP_PSCHANGE_MC_NO;
	/* The host flushes the L1D where it must: a guest hypervisor need not. */
	if (boot_cpu_has_bug(X86_BUG_L1TF))
		val |= ARCH_CAP_SKIP_VMENTRY_L1DFLUSH;
	return val;
}

/* LFENCE serialises: the kernel has seen to it, or the CPU does by itself. */
static u64 __init read_de_cfg(void)
{
	u64 val;

	if (!boot_cpu_has(X86_FEATURE_LFENCE_RDTSC) || wafer_rdmsr_safe(MSR_AMD64_DE_CFG, &val))
		return 0;
	return MSR_AMD64_DE_CFG_LFENCE_SERIALIZE;
}

/* MSRs that this host cannot back do not exist. */
void __init wafer_msr_setup(void)
{
	unsigned int i;
	u32 h;

	wafer_host_arch_capabilities = read_arch_capabilities();
	wafer_host_de_cfg = read_de_cfg();
	for (i = 0; i < wafer_nr_msrs; i++) {
		if (wafer_msrs[i].host && !boot_cpu_has(wafer_msrs[i].host))
			continue;
		for (h = hash_of(wafer_msrs[i].index); hash[h]; h = (h + 1) % HASH_SIZE)
			;
		hash[h] = i + 1;
	}
}

static int list(u32 *index, unsigned int max, u8 flag)
{
	unsigned int i, n = 0;

	for (i = 0; i < wafer_nr_msrs; i++)
		if (wafer_msrs[i].flags & flag && n < max && wafer_msr_find(wafer_msrs[i].index))
			index[n++] = wafer_msrs[i].index;
	return n;
}

int wafer_msr_list(u32 *index, unsigned int max)
{
	return list(index, max, MSR_LISTED);
}

int wafer_feature_msr_list(u32 *index, unsigned int max)
{
	return list(index, max, MSR_FEATURE);
}

/* KVM_GET_MSRS on /dev/wafer. 0 or 1 */
int wafer_feature_msr(u32 index, u64 *val)
{
	switch (index) {
	case MSR_IA32_UCODE_REV:
		return !!wafer_rdmsr_safe(MSR_IA32_UCODE_REV, val);
	case MSR_IA32_ARCH_CAPABILITIES:
		*val = wafer_host_arch_capabilities;
		return !wafer_msr_find(index);
	case MSR_AMD64_DE_CFG:
		*val = wafer_host_de_cfg;
		return !wafer_msr_find(index);
	}
	return 1;
}
