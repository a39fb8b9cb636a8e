// SPDX-License-Identifier: GPL-2.0
/*
 * Every MSR that a guest can see, but for the x2APIC's: one table. RDMSR and WRMSR by the guest,
 * KVM_GET_MSRS and KVM_SET_MSRS by the VMM go the same way through it; what KVM lists, how a vCPU
 * is reset, what the guest reaches without an exit and what a snapshot holds follow from it.
 */
#include "compat.h"
#include "msr.h"

/**
 * enum msr_flags - struct wafer_msr.flags
 * @M_SAVED: in KVM_GET_MSR_INDEX_LIST
 * @M_FEATURE: in KVM_GET_MSR_FEATURE_INDEX_LIST
 * @M_READONLY: a guest's write is #GP
 * @M_WRITEONLY: a guest's read is #GP
 * @M_IGNORE: a guest's write has no effect
 * @M_CANONICAL: takes canonical addresses alone
 * @M_SLOW: a write needs guest memory or a mutex: not in the window
 * @M_DIRECT: a backend may let it through, if its CPU switches it
 * @M_ADDRESS: holds a linear address
 */
enum msr_flags {
	M_SAVED = BIT(0), M_FEATURE = BIT(1), M_READONLY = BIT(2), M_WRITEONLY = BIT(3),
	M_IGNORE = BIT(4), M_CANONICAL = BIT(5), M_SLOW = BIT(6), M_DIRECT = BIT(7),
	M_ADDRESS = M_CANONICAL | M_DIRECT,
};

/**
 * struct wafer_msr - one MSR, or several that follow each other
 * @index: its number
 * @name: as in the SDM or APM
 * @flags: M_*
 * @more: as many follow it and are alike
 * @offset: where in struct wafer_vcpu the value is; 0: it is @value for good, writes have no effect
 * @group: WAFER_G_* that the place belongs to
 * @value: after RESET, where the place is in struct wafer_msr_state
 * @reserved: bits that nobody can set
 * @allowed: if not NULL, where it says which bits can be set on this host
 * @host: X86_FEATURE_* that this host needs for it to exist; 0 always
 * @guest: X86_FEATURE_* of which the guest needs one to see it; none always
 * @pv: bits of the KVM leaf of which the guest needs one, where KVM_CAP_ENFORCE_PV_FEATURE_CPUID is
 *	on; 0 always
 * @plain: a guest that reads it gets the value, whoever it is; found out at module load
 * @get: fills in or refuses what is read
 * @set: checks what is written, and does what else writing it means
 */
struct wafer_msr {
	u32 index;
	const char *name;
	u8 flags, more;
	u16 offset, host, guest[6];
	bool plain;
	u32 group, pv;
	u64 value, reserved;
	const u64 *allowed;
	wafer_msr_fn get, set;
};

/* ---- MSRs with rules of their own ---- */

#define MSR_GET(name) static int get_##name(struct wafer_vcpu *vcpu, u32 index, u64 *val, u8 how)
#define MSR_SET(name) static int set_##name(struct wafer_vcpu *vcpu, u32 index, u64 *val, u8 how)

static bool ignore_msrs;
module_param(ignore_msrs, bool, 0644);
MODULE_PARM_DESC(ignore_msrs, "Unknown MSRs read as 0 and ignore writes instead of #GP, "
			      "for guests that look for a board's");

/* Written once at module load. */
struct wafer_msr_state wafer_msr_initial;
static u64 spec_ctrl_bits;

bool wafer_is_canonical(struct wafer_vcpu *vcpu, u64 addr)
{
	return __is_canonical_address(addr, wafer_cr4(vcpu) & X86_CR4_LA57 ? 57 : 48);
}

MSR_GET(tsc)
{
	*val = wafer_guest_tsc_now(vcpu);
	return WAFER_MSR_OK;
}

/* A guest's write shows in TSC_ADJUST (SDM vol. 3 §18.17.3), the host's does not. */
MSR_SET(tsc)
{
	if (!(how & WAFER_MSR_HOST))
		vcpu->msr.tsc_adjust += *val - wafer_guest_tsc_now(vcpu);
	wafer_write_tsc(vcpu, *val, how & WAFER_MSR_HOST);
	return WAFER_MSR_OK;
}

MSR_SET(tsc_adjust)
{
	if (!(how & WAFER_MSR_HOST))
		wafer_set_tsc_offset(vcpu, vcpu->tsc_offset + *val - vcpu->msr.tsc_adjust);
	return WAFER_MSR_OK;
}

MSR_GET(tsc_deadline)
{
	*val = wafer_tsc_deadline_get(vcpu);
	return WAFER_MSR_OK;
}

MSR_SET(tsc_deadline)
{
	wafer_tsc_deadline_set(vcpu, *val);
	return WAFER_MSR_OK;
}

/* An address without memory is the guest's loss, as in KVM. */
MSR_SET(wall_clock)
{
	wafer_write_wall_clock(vcpu, *val);
	return WAFER_MSR_OK;
}

MSR_SET(clock)
{
	wafer_hazard_set(vcpu, WAFER_H_CLOCK);
	return WAFER_MSR_OK;
}

/* A 64-byte aligned address; bit 0 enables. */
MSR_SET(steal_time)
{
	vcpu->steal_last = current->sched_info.run_delay;
	wafer_hazard_set(vcpu, WAFER_H_STEAL);
	return WAFER_MSR_OK;
}

MSR_SET(apic_base)
{
	return wafer_apic_base_set(vcpu, *val, how & WAFER_MSR_HOST) ? WAFER_MSR_GP : WAFER_MSR_OK;
}

/* LMA is nobody's to write. A guest cannot change LME while paging is on (SDM vol. 3 §10.8.5). */
MSR_SET(efer)
{
	u64 old = wafer_efer(vcpu);
	bool fixed = !(how & WAFER_MSR_HOST) && wafer_cr0(vcpu) & X86_CR0_PG;

	if (*val & ~wafer_efer_allowed() || (fixed && (*val ^ old) & WAFER_EFER_LME))
		return WAFER_MSR_GP;
	*val = (*val & ~WAFER_EFER_LMA) | (old & WAFER_EFER_LMA);
	return WAFER_MSR_OK;
}

/*
 * Each byte a memory type: UC WC WT WP WB UC- (SDM vol. 3 §12.12.2): 0, 1, 4 to 7. That is, bit 1
 * comes together with bit 2 only.
 */
bool wafer_pat_valid(u64 pat)
{
	return !(pat & 0xf8f8f8f8f8f8f8f8ull) && !(pat & 0x0202020202020202ull & ~(pat >> 1));
}

MSR_SET(pat)
{
	return wafer_pat_valid(*val) ? WAFER_MSR_OK : WAFER_MSR_GP;
}

/*
 * MTRRs are kept and checked and without effect: guest memory is the host's and has the host's type
 * (SDM vol. 3 §12.11). There is no UC- for them, which has bits 0 and 1.
 */
MSR_SET(mtrr)
{
	bool variable = index < 0x250, mask = variable && index & 1;
	u64 types = mask ? 0 : variable || index == 0x2ff ? (u8)*val : *val;

	if (variable && (*val >> wafer_guest_phys_bits(vcpu) || *val & (mask ? 0x7ff : 0xf00)))
		return WAFER_MSR_GP;
	types = wafer_pat_valid(types) ? types & (types >> 1) & 0x0101010101010101ull : 1;
	return types ? WAFER_MSR_GP : WAFER_MSR_OK;
}

/* PRED_CMD and FLUSH_CMD are done on the CPU that the guest runs on. */
MSR_SET(command)
{
	if (how & WAFER_MSR_HOST || !*val)
		return WAFER_MSR_OK;
	return *val != 1 || wrmsr_safe(index, 1, 0) ? WAFER_MSR_GP : WAFER_MSR_OK;
}

/* Whether LFENCE serialises is the host's choice, which a guest cannot even write as less. */
MSR_SET(de_cfg)
{
	bool host = how & WAFER_MSR_HOST;

	return host || *val == wafer_msr_initial.de_cfg ? WAFER_MSR_OK : WAFER_MSR_GP;
}

/* That there are no performance counters is not the guest's to change. */
MSR_SET(misc_enable)
{
	const u64 fixed = MSR_IA32_MISC_ENABLE_BTS_UNAVAIL | MSR_IA32_MISC_ENABLE_PEBS_UNAVAIL;
	u64 old = vcpu->msr.misc_enable;
	bool mwait_follows = vcpu->vm->quirks_disabled & KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT;

	if (!(how & WAFER_MSR_HOST)) {
		*val = (*val & ~MSR_IA32_MISC_ENABLE_EMON) | (old & MSR_IA32_MISC_ENABLE_EMON);
		if ((*val ^ old) & fixed ||
		    ((*val ^ old) & MSR_IA32_MISC_ENABLE_MWAIT && mwait_follows &&
		     !wafer_guest_has(vcpu, X86_FEATURE_XMM3)))
			return WAFER_MSR_GP;
	}
	vcpu->msr.misc_enable = *val;
	wafer_cpuid_update(vcpu);
	return WAFER_MSR_OK;
}

MSR_GET(platform_info)
{
	return how & WAFER_MSR_HOST || vcpu->vm->platform_info_read ? WAFER_MSR_OK : WAFER_MSR_GP;
}

/* Where PLATFORM_INFO has CPUID faulting: CPUID outside CPL 0 is #GP (SDM vol. 4 table 2-2). */
MSR_SET(misc_features)
{
	if (*val && !(vcpu->msr.platform_info & MSR_PLATFORM_INFO_CPUID_FAULT))
		return WAFER_MSR_GP;
	vcpu->msr.misc_features = *val;
	wafer_cpuid_faulting(vcpu);
	return WAFER_MSR_OK;
}

/* Cache and bus controls of old CPUs have no meaning here; McStatusWrEn has. */
MSR_SET(hwcr)
{
	*val &= ~(BIT_ULL(3) | BIT_ULL(6) | BIT_ULL(8));
	return *val & ~(BIT_ULL(18) | BIT_ULL(24)) ? WAFER_MSR_GP : WAFER_MSR_OK;
}

/* KVM_X86_SETUP_MCE's to set. */
MSR_GET(mcg_cap)
{
	*val = vcpu->mcg_cap;
	return WAFER_MSR_OK;
}

/* ---- the table ---- */

#define VCPU(field)	.offset = offsetof(struct wafer_vcpu, field)
#define ARCH(field, g)	VCPU(arch.field), .group = WAFER_G_##g
#define STATE(field)	VCPU(msr.field)
#define GET(fn)		.get = get_##fn
#define SET(fn)		.set = set_##fn
#define HOST(feature)	.host = X86_FEATURE_##feature
#define GUEST(feature)	.guest = { X86_FEATURE_##feature }
#define PV(feature)	.pv = BIT(KVM_FEATURE_##feature)
#define LOW_HALF	.reserved = 0xffffffff00000000ull
/*
 * Performance counters, thermal and power control that guests look for at boot: there, empty and
 * without effect.
 */
#define EMPTY(nr, name, n) { nr, name, .more = (n) - 1 }
#define READS(nr, name, val) { nr, name, M_READONLY, .value = val }

static struct wafer_msr msrs[] __ro_after_init = {
	{ 0, "P5_MC_ADDR", M_READONLY, .more = 1 },
	{ 0x10, "IA32_TIME_STAMP_COUNTER", M_SAVED | M_DIRECT | M_SLOW, GET(tsc), SET(tsc) },
	READS(0x17, "IA32_PLATFORM_ID", 0),
	{ 0x1b, "IA32_APIC_BASE", M_SLOW, VCPU(apic_base), SET(apic_base) },
	EMPTY(0x2a, "EBL_CR_POWERON", 1), READS(0x2c, "EBC_FREQUENCY_ID", 1 << 24),
	{ 0x34, "SMI_COUNT", M_SAVED | M_READONLY, STATE(smi_count) },
	READS(0x3a, "IA32_FEATURE_CONTROL", 1),		/* locked, VMX off */
	{ 0x3b, "IA32_TSC_ADJUST", M_SAVED | M_SLOW, STATE(tsc_adjust), SET(tsc_adjust),
	  GUEST(TSC_ADJUST) },
	{ 0x48, "IA32_SPEC_CTRL", M_SAVED | M_DIRECT, ARCH(spec_ctrl, SPEC), HOST(MSR_SPEC_CTRL),
	  .allowed = &spec_ctrl_bits, .guest = {
		X86_FEATURE_SPEC_CTRL, X86_FEATURE_INTEL_STIBP, X86_FEATURE_SPEC_CTRL_SSBD,
		X86_FEATURE_AMD_IBRS, X86_FEATURE_AMD_STIBP, X86_FEATURE_AMD_SSBD } },
	{ 0x49, "IA32_PRED_CMD", M_WRITEONLY | M_DIRECT, SET(command), HOST(IBPB),
	  .guest = { X86_FEATURE_SPEC_CTRL, X86_FEATURE_AMD_IBPB } },
	{ 0x79, "IA32_BIOS_UPDT_TRIG", M_WRITEONLY },
	{ 0x8b, "IA32_BIOS_SIGN_ID", M_SAVED | M_FEATURE | M_IGNORE, STATE(ucode_rev) },
	EMPTY(0xc1, "IA32_PMC0", 2),
	READS(0xcd, "FSB_FREQ", 3),		/* 166 MHz, whichever model asks */
	{ 0xce, "PLATFORM_INFO", M_SAVED | M_READONLY, STATE(platform_info), GET(platform_info),
	  .value = MSR_PLATFORM_INFO_CPUID_FAULT },
	READS(0xfe, "IA32_MTRRCAP", 0x508),	/* write-combining, fixed ranges, 8 variable ones */
	{ 0x10a, "IA32_ARCH_CAPABILITIES", M_SAVED | M_FEATURE | M_READONLY,
	  STATE(arch_capabilities), GUEST(ARCH_CAPABILITIES) },
	{ 0x10b, "IA32_FLUSH_CMD", M_WRITEONLY | M_DIRECT, SET(command), HOST(FLUSH_L1D),
	  GUEST(FLUSH_L1D) },
	EMPTY(0x119, "BBL_CR_CTL", 1),
	{ 0x11e, "BBL_CR_CTL3", .value = 0xbe702111 },	/* an L2 cache of 256 KiB, on: KVM's */
	{ 0x140, "MISC_FEATURES_ENABLES", M_SAVED, STATE(misc_features), SET(misc_features),
	  .reserved = ~(u64)MSR_MISC_FEATURES_ENABLES_CPUID_FAULT },
	{ 0x174, "IA32_SYSENTER_CS", M_SAVED | M_DIRECT, ARCH(sysenter_cs, SYSENTER), LOW_HALF },
	{ 0x175, "IA32_SYSENTER_ESP", M_SAVED | M_ADDRESS, ARCH(sysenter_esp, SYSENTER) },
	{ 0x176, "IA32_SYSENTER_EIP", M_SAVED | M_ADDRESS, ARCH(sysenter_eip, SYSENTER) },
	{ 0x179, "IA32_MCG_CAP", M_READONLY, GET(mcg_cap), .reserved = ~0ull },
	{ 0x17a, "IA32_MCG_STATUS", M_SAVED, STATE(mcg_status) },
	{ 0x17b, "IA32_MCG_CTL", M_SAVED, STATE(mcg_ctl), .set = wafer_mce_set_ctl },
	EMPTY(0x186, "IA32_PERFEVTSEL0", 2), READS(0x198, "IA32_PERF_STATUS", 1000 | 4ull << 40),
	EMPTY(0x199, "IA32_PERF_CTL", 1), EMPTY(0x19a, "IA32_CLOCK_MODULATION", 1),
	EMPTY(0x19b, "IA32_THERM_INTERRUPT", 1), EMPTY(0x19c, "IA32_THERM_STATUS", 1),
	{ 0x1a0, "IA32_MISC_ENABLE", M_SAVED, STATE(misc_enable), SET(misc_enable),
	  .value = MSR_IA32_MISC_ENABLE_PEBS_UNAVAIL | MSR_IA32_MISC_ENABLE_BTS_UNAVAIL },
	READS(0x1ad, "TURBO_RATIO_LIMIT", 0),
	{ 0x1d9, "IA32_DEBUGCTL", 0, .reserved = ~3ull },	/* LBR and BTF do nothing */
	READS(0x1db, "LASTBRANCHFROMIP", 0), READS(0x1dc, "LASTBRANCHTOIP", 0),
	READS(0x1dd, "LASTINTFROMIP", 0), READS(0x1de, "LASTINTTOIP", 0),
	{ 0x1fc, "POWER_CTL", M_SAVED, STATE(power_ctl) },
	{ 0x200, "IA32_MTRR_PHYSBASE0", .more = 15, STATE(mtrr_var), SET(mtrr) },
	{ 0x250, "IA32_MTRR_FIX64K", STATE(mtrr_fixed[0]), SET(mtrr) },
	{ 0x258, "IA32_MTRR_FIX16K", .more = 1, STATE(mtrr_fixed[1]), SET(mtrr) },
	{ 0x268, "IA32_MTRR_FIX4K", .more = 7, STATE(mtrr_fixed[3]), SET(mtrr) },
	{ 0x277, "IA32_PAT", M_SAVED, ARCH(pat, PAT), SET(pat) },
	{ 0x2ff, "IA32_MTRR_DEF_TYPE", STATE(mtrr_def), SET(mtrr), .reserved = ~0xcffull },
	{ 0x345, "IA32_PERF_CAPABILITIES", M_FEATURE | M_READONLY, GUEST(PDCM) },
	{ 0x400, "IA32_MC0_CTL", .more = WAFER_MCE_BANKS * 4 - 1, STATE(mce),
	  .get = wafer_mce_get_bank, .set = wafer_mce_set_bank },
	/* Energy: a unit and counters that stand still. */
	READS(0x606, "RAPL_POWER_UNIT", 0), READS(0x611, "PKG_ENERGY_STATUS", 0),
	READS(0x619, "DRAM_ENERGY_STATUS", 0), READS(0x639, "PP0_ENERGY_STATUS", 0),
	READS(0x641, "PP1_ENERGY_STATUS", 0),
	{ 0x6e0, "IA32_TSC_DEADLINE", M_SAVED, GET(tsc_deadline), SET(tsc_deadline),
	  GUEST(TSC_DEADLINE_TIMER) },

	{ 0x11, "KVM_WALL_CLOCK", M_SAVED | M_SLOW, STATE(wall_clock), SET(wall_clock),
	  PV(CLOCKSOURCE) },
	{ 0x12, "KVM_SYSTEM_TIME", M_SAVED, VCPU(clock_gpa), SET(clock), PV(CLOCKSOURCE) },
	{ 0x4b564d00, "KVM_WALL_CLOCK_NEW", M_SAVED | M_SLOW, STATE(wall_clock), SET(wall_clock),
	  PV(CLOCKSOURCE2) },
	{ 0x4b564d01, "KVM_SYSTEM_TIME_NEW", M_SAVED, VCPU(clock_gpa), SET(clock),
	  PV(CLOCKSOURCE2) },
	{ 0x4b564d03, "KVM_STEAL_TIME", M_SAVED, VCPU(steal_gpa), SET(steal_time), PV(STEAL_TIME),
	  .reserved = 0x3e },

	{ 0xc0000080, "IA32_EFER", 0, ARCH(efer, EFER), SET(efer) },
	{ 0xc0000081, "IA32_STAR", M_SAVED | M_DIRECT, ARCH(star, SYSCALL) },
	{ 0xc0000082, "IA32_LSTAR", M_SAVED | M_ADDRESS, ARCH(lstar, SYSCALL) },
	{ 0xc0000083, "IA32_CSTAR", M_SAVED | M_ADDRESS, ARCH(cstar, SYSCALL) },
	{ 0xc0000084, "IA32_FMASK", M_SAVED | M_DIRECT, ARCH(fmask, SYSCALL), LOW_HALF },
	{ 0xc0000100, "IA32_FS_BASE", M_ADDRESS, ARCH(seg[WAFER_FS].base, SEG(WAFER_FS)) },
	{ 0xc0000101, "IA32_GS_BASE", M_ADDRESS, ARCH(seg[WAFER_GS].base, SEG(WAFER_GS)) },
	{ 0xc0000102, "IA32_KERNEL_GS_BASE", M_SAVED | M_ADDRESS, ARCH(kernel_gs_base, SYSCALL) },
	{ 0xc0000103, "IA32_TSC_AUX", M_SAVED, ARCH(tsc_aux, SYSCALL), HOST(RDTSCP), GUEST(RDTSCP),
	  LOW_HALF },

	EMPTY(0xc0010000, "PerfEvtSel0", 4), EMPTY(0xc0010004, "PerfCtr0", 4),
	EMPTY(0xc0010010, "SYSCFG", 1),
	{ 0xc0010015, "HWCR", M_SAVED, STATE(hwcr), SET(hwcr) },
	{ 0xc001001b, "CLK_CTL", .value = 0x20000000 },	/* as the K7's errata ask: nothing to set */
	EMPTY(0xc001001f, "NB_CFG", 1), { 0xc0010020, "PATCH_LOADER", M_WRITEONLY },
	READS(0xc0010055, "IntPendingMessage", 0), READS(0xc0010058, "MMIO_CONF_BASE", 0),
	READS(0xc0010061, "PStateCurLim", 0), EMPTY(0xc0010062, "PStateCtl", 1),
	READS(0xc0010063, "PStateStat", 0), READS(0xc0010064, "PStateDef0", 0),
	READS(0xc0010112, "SMM_ADDR", 0), READS(0xc0010113, "SMM_MASK", 0),
	EMPTY(0xc0010117, "VM_HSAVE_PA", 1),
	{ 0xc0010140, "OSVW_ID_Length", M_READONLY, STATE(osvw_length), GUEST(OSVW), .value = 3 },
	{ 0xc0010141, "OSVW_Status", M_READONLY, STATE(osvw_status), GUEST(OSVW) },
	/* Not LS_CFG, before these: a guest that can write it takes that for SSBD. */
	EMPTY(0xc0011021, "IC_CFG, DC_CFG, TW_CFG", 3),
	{ 0xc0011029, "DE_CFG", M_FEATURE, STATE(de_cfg), SET(de_cfg), HOST(LFENCE_RDTSC),
	  .allowed = &wafer_msr_initial.de_cfg },
	EMPTY(0xc001102a, "BU_CFG2", 1), EMPTY(0xc001102c, "EX_CFG", 1),
};

/*
 * Open addressing; 0: empty, else position + 1. Filled once at module load with what this host has.
 */
static u8 hashed[1024] __ro_after_init;
static_assert(ARRAY_SIZE(msrs) < 0xff);

static u32 hash_of(u32 index)
{
	return index * 0x9e3779b1 >> 22;
}

/* NULL: not in the table. Any context. */
static const struct wafer_msr *find(u32 index)
{
	const struct wafer_msr *m;

	for (u32 h = hash_of(index); hashed[h]; h = (h + 1) % ARRAY_SIZE(hashed)) {
		m = &msrs[hashed[h] - 1];
		if (index - m->index <= m->more)
			return m;
	}
	return NULL;
}

/* In wafer_msr_initial. */
static u64 *initial(const struct wafer_msr *m)
{
	return (void *)&wafer_msr_initial + (m->offset - offsetof(struct wafer_vcpu, msr));
}

void __init wafer_msr_setup(void)
{
	/*
	 * What guests may know of this CPU's immunities. Bits that stand for controls which guests
	 * do not get (TSX_CTRL, FB_CLEAR_CTRL, GDS_CTRL, XAPIC_DISABLE) are left out.
	 */
	const u64 immunities = ARCH_CAP_RDCL_NO | ARCH_CAP_IBRS_ALL | ARCH_CAP_RSBA |
			       ARCH_CAP_SKIP_VMENTRY_L1DFLUSH | ARCH_CAP_SSB_NO | ARCH_CAP_MDS_NO |
			       ARCH_CAP_PSCHANGE_MC_NO | ARCH_CAP_TAA_NO | GENMASK_ULL(15, 13) |
			       BIT_ULL(17) | GENMASK_ULL(20, 19) | BIT_ULL(24) |
			       GENMASK_ULL(28, 26) | BIT_ULL(62);
	/* A guest that was told of an older model than the host's would guard itself in vain. */
	static const struct { u16 bug; u64 bit; } not_affected[] __initconst = {
		{ X86_BUG_CPU_MELTDOWN, ARCH_CAP_RDCL_NO },
		{ X86_BUG_SPEC_STORE_BYPASS, ARCH_CAP_SSB_NO },
		{ X86_BUG_MDS, ARCH_CAP_MDS_NO }, { X86_BUG_GDS, ARCH_CAP_GDS_NO },
		{ X86_BUG_RFDS, ARCH_CAP_RFDS_NO }, { X86_BUG_ITS, ARCH_CAP_ITS_NO },
	};
	struct wafer_msr_state *s = &wafer_msr_initial;
	u32 i, h, low, high;

	for (struct wafer_msr *m = msrs; m < msrs + ARRAY_SIZE(msrs); m++) {
		if (m->offset && m->value)
			*initial(m) = m->value;
		if (m->offset && !m->get && !m->more && !m->group && !m->guest[0] && !m->pv &&
		    !(m->flags & M_WRITEONLY))
			m->plain = true;
		for (i = 0; i <= m->more && (!m->host || boot_cpu_has(m->host)); i++) {
			for (h = hash_of(m->index + i); hashed[h]; h = (h + 1) % ARRAY_SIZE(hashed))
				;
			hashed[h] = m - msrs + 1;
		}
	}
	/* KVM's */
	s->ucode_rev = boot_cpu_data.x86_vendor == X86_VENDOR_INTEL ? 1ull << 32 : 0x01000065;
	for (i = 0; i < WAFER_MCE_BANKS; i++)
		s->mce[i * 4] = ~0ull;			/* IA32_MCi_CTL */
	/*
	 * The host flushes the L1D where it must: a guest hypervisor need not. PSCHANGE_MC_NO: this
	 * host keeps guests from reaching that bug. A CPU without the MSR is immune by its model.
	 */
	if (boot_cpu_has(X86_FEATURE_ARCH_CAPABILITIES) &&
	    !rdmsr_safe(MSR_IA32_ARCH_CAPABILITIES, &low, &high))
		s->arch_capabilities = (low | (u64)high << 32) & immunities;
	s->arch_capabilities |= ARCH_CAP_PSCHANGE_MC_NO |
		(boot_cpu_has_bug(X86_BUG_L1TF) ? ARCH_CAP_SKIP_VMENTRY_L1DFLUSH : 0);
	for (i = 0; i < ARRAY_SIZE(not_affected); i++)
		if (!boot_cpu_has_bug(not_affected[i].bug))
			s->arch_capabilities |= not_affected[i].bit;
	/* LFENCE serialises: the kernel has seen to it, or the CPU does by itself. */
	if (boot_cpu_has(X86_FEATURE_LFENCE_RDTSC) && !rdmsr_safe(MSR_AMD64_DE_CFG, &low, &high))
		s->de_cfg = MSR_AMD64_DE_CFG_LFENCE_SERIALIZE;
	/*
	 * Bits that this CPU has not would be #GP on the host: IBRS, STIBP, SSBD; PSFD where the
	 * guest's CPUID came with it.
	 */
	spec_ctrl_bits = boot_cpu_has(X86_FEATURE_IBRS) | boot_cpu_has(X86_FEATURE_STIBP) << 1 |
			 boot_cpu_has(X86_FEATURE_SSBD) << 2 |
			 boot_cpu_has(X86_FEATURE_CLZERO / 32 * 32 + 28) << 7;
}

/* ---- access ---- */

static bool guest_sees(struct wafer_vcpu *vcpu, const struct wafer_msr *m)
{
	bool sees = !m->guest[0];

	for (int i = 0; i < ARRAY_SIZE(m->guest) && m->guest[i]; i++)
		sees |= wafer_guest_has(vcpu, m->guest[i]);
	return sees && (!m->pv || !vcpu->vm->enforce_pv || vcpu->pv_features & m->pv);
}

/**
 * wafer_msr_access() - RDMSR or WRMSR by the guest, an entry of KVM_GET_MSRS or KVM_SET_MSRS
 * @vcpu: vCPU
 * @index: the MSR's number
 * @val: result, or what to write (clobbered)
 * @how: WAFER_MSR_WRITE, _HOST, _WINDOW
 *
 * Return: WAFER_MSR_OK, _GP, _SLOW, _USER_UNKNOWN or _USER_FILTER.
 */
int wafer_msr_access(struct wafer_vcpu *vcpu, u32 index, u64 *val, u8 how)
{
	bool write = how & WAFER_MSR_WRITE, host = how & WAFER_MSR_HOST;
	bool window = how & WAFER_MSR_WINDOW;
	const struct wafer_msr *m;
	u64 *place = NULL;
	int r;

	if (index - 0x800 < 0x100) {			/* x2APIC: no filter applies */
		r = wafer_x2apic(vcpu, index, val, write, window);
		return r < 0 ? WAFER_MSR_SLOW : r;
	}
	if (unlikely(rcu_access_pointer(vcpu->vm->msr_filter)) && !host &&
	    wafer_msr_filter_denies(vcpu->vm, index, write))
		return WAFER_MSR_USER_FILTER;
	m = find(index);
	if (!m) {
		if (!host)
			pr_debug_ratelimited("vCPU %u %s the unknown MSR %#x\n", vcpu->id,
					     write ? "writes" : "reads", index);
		*val = 0;
		return READ_ONCE(ignore_msrs) ? WAFER_MSR_OK : WAFER_MSR_USER_UNKNOWN;
	}
	if (!host && (m->flags & (write ? M_READONLY : M_WRITEONLY) ||
		      ((m->guest[0] || m->pv) && !guest_sees(vcpu, m))))
		return WAFER_MSR_GP;
	if (m->offset)
		place = (void *)vcpu + m->offset;
	if (m->more && place)
		place += array_index_nospec(index - m->index, m->more + 1);
	wafer_need(vcpu, m->group);
	if (!write) {
		*val = place ? *place : m->value;
		return m->get ? m->get(vcpu, index, val, how) : WAFER_MSR_OK;
	}
	if (!host && m->flags & M_IGNORE)
		return WAFER_MSR_OK;
	if (*val & m->reserved || (m->allowed && *val & ~*m->allowed) ||
	    (m->flags & M_CANONICAL && !wafer_is_canonical(vcpu, *val)))
		return WAFER_MSR_GP;
	if (window && m->flags & M_SLOW)
		return WAFER_MSR_SLOW;
	r = m->set ? m->set(vcpu, index, val, how) : WAFER_MSR_OK;
	if (!r && place) {
		*place = *val;
		wafer_touch(vcpu, m->group);
	}
	/* CR4.LA57, which canonical addresses depend on, may come later. */
	if (host)
		wafer_hazard_set(vcpu, WAFER_H_CHECK);
	return r;
}

/* RDMSR: most that are read often need no more than their value. */
int wafer_exit_rdmsr(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	const struct wafer_msr *m = find(vcpu->arch.gpr[WAFER_RCX]);
	u64 val;

	if (!m || !m->plain || rcu_access_pointer(vcpu->vm->msr_filter))
		return wafer_exit_msr(vcpu, exit, window);
	val = *(u64 *)((void *)vcpu + m->offset);
	vcpu->arch.gpr[WAFER_RAX] = (u32)val;
	vcpu->arch.gpr[WAFER_RDX] = val >> 32;
	return wafer_skip(vcpu);
}

/* KVM_GET_MSR_INDEX_LIST, KVM_GET_MSR_FEATURE_INDEX_LIST. How many there are, at most @max */
int wafer_msr_list(u32 *index, unsigned int max, bool feature)
{
	unsigned int n = 0;

	for (const struct wafer_msr *m = msrs; m < msrs + ARRAY_SIZE(msrs) && n < max; m++)
		if (m->flags & (feature ? M_FEATURE : M_SAVED) && find(m->index))
			index[n++] = m->index;
	return n;
}

/* KVM_GET_MSRS on /dev/wafer. 0 or 1 */
int wafer_feature_msr(u32 index, u64 *val)
{
	const struct wafer_msr *m = find(index);
	u32 low, high;

	if (!m || !(m->flags & M_FEATURE))
		return 1;
	*val = m->offset ? *initial(m) : m->value;
	if (index == MSR_IA32_UCODE_REV && !rdmsr_safe(index, &low, &high))
		*val = low | (u64)high << 32;
	return 0;
}

/**
 * wafer_msr_reset() - the MSRs after RESET or INIT
 * @vcpu: vCPU
 * @init: INIT: MSRs keep their values (SDM vol. 3 table 10-1); the kvmclock record is the
 *	guest's to set up again
 *
 * Those in struct wafer_arch are reset with it. Error records outlive a reset, on hardware for the
 * firmware to find; here the VMM starts clean.
 */
void wafer_msr_reset(struct wafer_vcpu *vcpu, bool init)
{
	vcpu->clock_gpa = 0;
	if (init)
		return;
	vcpu->steal_gpa = 0;
	vcpu->msr = wafer_msr_initial;
	vcpu->msr.de_cfg = 0;		/* what may be set, KVM_GET_MSRS of the device tells */
	if (vcpu->mcg_cap & MCG_CTL_P)
		vcpu->msr.mcg_ctl = ~0ull;
}

/**
 * wafer_msr_intercepts() - at WAFER_H_INTERCEPT: tell the backend which MSRs are direct now
 * @vcpu: vCPU, in the window
 */
void wafer_msr_intercepts(struct wafer_vcpu *vcpu)
{
	bool read, write;

	for (const struct wafer_msr *m = msrs; m < msrs + ARRAY_SIZE(msrs); m++) {
		if (!(m->flags & M_DIRECT))
			continue;
		read = write = find(m->index) && guest_sees(vcpu, m);
		read &= !wafer_msr_filter_denies(vcpu->vm, m->index, false);
		write &= !wafer_msr_filter_denies(vcpu->vm, m->index, true);
		wafer_backend->intercept_msr(vcpu, m->index, !read, !write);
	}
}
