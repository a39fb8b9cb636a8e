// SPDX-License-Identifier: GPL-2.0
/* VT-x itself: what the CPU has, and taking and giving back VMX operation. */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <asm/cpufeature.h>
#include <asm/processor.h>
#include <asm/special_insns.h>
#include <asm/tlbflush.h>

#include "vmx.h"

struct vmx_conf vmx_conf;
DEFINE_PER_CPU(struct vmx_cpu, vmx_cpu);

/* When the machine goes down VMX is switched off under running VMs: that is nothing to tell of. */
void vmx_insn_failed(const char *what, u32 nr)
{
	u64 error = 0;

	if (!vmx_usable(this_cpu_ptr(&vmx_cpu)))
		return;
	if (nr != VMCS(VM_INSTRUCTION_ERROR).nr)
		error = vmread(VM_INSTRUCTION_ERROR);
	pr_err_ratelimited("%s of %#x failed, error %llu\n", what, nr, error);
}

/*
 * The controls: @need must be there, @want is used where it is there, @reason is logged when
 * something of @need is missing. All that is in neither stays off, unless the CPU has it always on
 * (App. A.2).
 */
static const struct {
	u32 msr;
	u32 need, want;
	u32 *result;
	const char *reason;
} controls[] = {
	{ MSR_IA32_VMX_TRUE_PINBASED_CTLS,
	  PIN_BASED_EXT_INTR_MASK | PIN_BASED_NMI_EXITING | PIN_BASED_VIRTUAL_NMIS, 0,
	  &vmx_conf.pin, "virtual NMIs" },
	{ MSR_IA32_VMX_TRUE_PROCBASED_CTLS,
	  CPU_BASED_HLT_EXITING | CPU_BASED_MWAIT_EXITING | CPU_BASED_MONITOR_EXITING |
	  CPU_BASED_RDPMC_EXITING | CPU_BASED_UNCOND_IO_EXITING | CPU_BASED_MOV_DR_EXITING |
	  CPU_BASED_USE_MSR_BITMAPS | CPU_BASED_USE_TSC_OFFSETTING |
	  CPU_BASED_CR8_LOAD_EXITING | CPU_BASED_CR8_STORE_EXITING |
	  CPU_BASED_ACTIVATE_SECONDARY_CONTROLS, 0,
	  &vmx_conf.primary, "MSR bitmaps and secondary controls" },
	{ MSR_IA32_VMX_PROCBASED_CTLS2, SECONDARY_EXEC_ENABLE_EPT, 0,
	  &vmx_conf.secondary, "EPT (nested paging)" },
	{ MSR_IA32_VMX_PROCBASED_CTLS2,
	  SECONDARY_EXEC_ENABLE_EPT | SECONDARY_EXEC_UNRESTRICTED_GUEST,
	  SECONDARY_EXEC_WBINVD_EXITING | SECONDARY_EXEC_ENABLE_VPID |
	  SECONDARY_EXEC_RDRAND_EXITING | SECONDARY_EXEC_RDSEED_EXITING |
	  SECONDARY_EXEC_ENCLS_EXITING | SECONDARY_EXEC_TSC_SCALING,
	  &vmx_conf.secondary, "unrestricted guest (Westmere or newer)" },
	{ MSR_IA32_VMX_TRUE_EXIT_CTLS,
	  VM_EXIT_HOST_ADDR_SPACE_SIZE | VM_EXIT_SAVE_DEBUG_CONTROLS | VM_EXIT_LOAD_IA32_PAT |
	  VM_EXIT_LOAD_IA32_EFER | VM_EXIT_SAVE_IA32_EFER, VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL,
	  &vmx_conf.exit, "loading PAT and EFER at exits" },
	{ MSR_IA32_VMX_TRUE_ENTRY_CTLS,
	  VM_ENTRY_LOAD_DEBUG_CONTROLS | VM_ENTRY_LOAD_IA32_PAT | VM_ENTRY_LOAD_IA32_EFER,
	  VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL,
	  &vmx_conf.entry, "loading PAT and EFER at entries" },
};

/* NULL, or what is missing. */
static const char *find_controls(void)
{
	u64 basic = vmx_rdmsr(MSR_IA32_VMX_BASIC), misc = vmx_rdmsr(MSR_IA32_VMX_MISC);
	int i;

	vmx_conf.vmcs_revision = basic & 0x7fffffff;
	vmx_conf.pt_conflict = boot_cpu_has(X86_FEATURE_INTEL_PT) && !(misc & BIT_ULL(14));
	if ((basic >> 32 & 0x1fff) > PAGE_SIZE)
		return "VMCSs of at most 4 KiB";
	if ((basic >> 50 & 0xf) != 6)
		return "VMCSs in write-back memory";
	if (!(basic & BIT_ULL(55)))
		return "the TRUE capability MSRs";
	for (i = 0; i < ARRAY_SIZE(controls); i++) {
		u64 cap = vmx_rdmsr(controls[i].msr);
		u32 always = cap, can = cap >> 32;

		if (controls[i].need & ~can)
			return controls[i].reason;
		*controls[i].result = controls[i].need | (controls[i].want & can) | always;
	}
	/*
	 * Without it nobody would tell the entry control that the guest has switched to long mode
	 * (App. A.6).
	 */
	if (!(misc & VMX_MISC_SAVE_EFER_LMA))
		return "EFER.LMA saved at exits";
	vmx_conf.secondary_can = vmx_rdmsr(MSR_IA32_VMX_PROCBASED_CTLS2) >> 32;
	vmx_conf.tpr_shadow = vmx_rdmsr(MSR_IA32_VMX_TRUE_PROCBASED_CTLS) >> 32 &
			      CPU_BASED_TPR_SHADOW;
	vmx_conf.perf_ctrl = boot_cpu_has(X86_FEATURE_ARCH_PERFMON) &&
			     vmx_conf.exit & VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL &&
			     vmx_conf.entry & VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL;
	if (!vmx_conf.perf_ctrl) {
		vmx_conf.exit &= ~VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL;
		vmx_conf.entry &= ~VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL;
	}
	vmx_conf.cr0_fixed0 = vmx_rdmsr(MSR_IA32_VMX_CR0_FIXED0) & ~(X86_CR0_PE | X86_CR0_PG);
	vmx_conf.cr4_fixed0 = vmx_rdmsr(MSR_IA32_VMX_CR4_FIXED0);
	return NULL;
}

/* EPT and VPID (App. A.10). NULL, or what is missing. */
static const char *find_ept(struct wafer_caps *caps)
{
	u64 cap = vmx_rdmsr(MSR_IA32_VMX_EPT_VPID_CAP);
	u32 vpid = cap >> 32;

	if (!(cap & VMX_EPT_PAGE_WALK_4_BIT))
		return "EPT with 4 levels";
	if (!(cap & VMX_EPTP_WB_BIT))
		return "EPT structures in write-back memory";
	if (!(cap & VMX_EPT_INVEPT_BIT) ||
	    !(cap & (VMX_EPT_EXTENT_CONTEXT_BIT | VMX_EPT_EXTENT_GLOBAL_BIT)))
		return "INVEPT";
	vmx_conf.invept_type = cap & VMX_EPT_EXTENT_CONTEXT_BIT ? VMX_EPT_EXTENT_CONTEXT :
								  VMX_EPT_EXTENT_GLOBAL;
	if (vmx_conf.secondary & SECONDARY_EXEC_ENABLE_VPID && vpid & VMX_VPID_INVVPID_BIT) {
		if (vpid & VMX_VPID_EXTENT_SINGLE_CONTEXT_BIT)
			vmx_conf.invvpid_type = VMX_VPID_EXTENT_SINGLE_CONTEXT;
		else if (vpid & VMX_VPID_EXTENT_GLOBAL_CONTEXT_BIT)
			vmx_conf.invvpid_type = VMX_VPID_EXTENT_ALL_CONTEXT;
	}
	/* Set for each vCPU that gets one. */
	vmx_conf.secondary &= ~SECONDARY_EXEC_ENABLE_VPID;
	caps->levels = cap & VMX_EPT_PAGE_WALK_5_BIT && boot_cpu_data.x86_phys_bits > 48 ? 5 : 4;
	caps->max_level = !(cap & VMX_EPT_2MB_PAGE_BIT) ? 1 : cap & VMX_EPT_1GB_PAGE_BIT ? 3 : 2;
	caps->has_ad = cap & VMX_EPT_AD_BIT;
	caps->has_pml = caps->has_ad && vmx_conf.secondary_can & SECONDARY_EXEC_ENABLE_PML;
	vmx_conf.secondary |= caps->has_pml ? SECONDARY_EXEC_ENABLE_PML : 0;
	vmx_conf.ept_bits = VMX_EPTP_MT_WB | (caps->levels - 1) << 3 |
			    (caps->has_ad ? VMX_EPTP_AD_ENABLE_BIT : 0);
	return NULL;
}

static void describe(struct wafer_caps *caps)
{
	u32 can = vmx_conf.secondary_can, pin = vmx_rdmsr(MSR_IA32_VMX_TRUE_PINBASED_CTLS) >> 32;

	snprintf(caps->features, sizeof(caps->features),
		 "EPT %u levels%s%s%s%s%s%s%s%s%s%s%s", caps->levels,
		 caps->max_level > 1 ? ", 2M" : "", caps->max_level > 2 ? ", 1G" : "",
		 caps->has_ad ? ", A/D" : "", caps->has_pml ? ", PML" : "",
		 vmx_conf.invvpid_type ? ", VPID" : "", vmx_conf.tpr_shadow ? ", TPR shadow" : "",
		 caps->has_tsc_scaling ? ", TSC scaling" : "",
		 can & SECONDARY_EXEC_PAUSE_LOOP_EXITING ? ", PLE" : "",
		 can & SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES ? ", APIC accesses (unused)" : "",
		 pin & PIN_BASED_VMX_PREEMPTION_TIMER ? ", preemption timer (unused)" : "",
		 pin & PIN_BASED_POSTED_INTR ? ", posted interrupts (unused)" : "");
}

static void free_vmxon(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct vmx_cpu *c = per_cpu_ptr(&vmx_cpu, cpu);

		free_page((unsigned long)c->vmxon);
		c->vmxon = NULL;
	}
}

static int alloc_vmxon(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct vmx_cpu *c = per_cpu_ptr(&vmx_cpu, cpu);

		INIT_LIST_HEAD(&c->active);
		c->vmxon = (void *)get_zeroed_page(GFP_KERNEL);
		if (!c->vmxon) {
			free_vmxon();
			return -ENOMEM;
		}
		*(u32 *)c->vmxon = vmx_conf.vmcs_revision;
	}
	return 0;
}

static bool firmware_allows(void)
{
	const u64 need = FEAT_CTL_LOCKED | FEAT_CTL_VMX_ENABLED_OUTSIDE_SMX;

	return (vmx_rdmsr(MSR_IA32_FEAT_CTL) & need) == need;
}

int vmx_detect(struct wafer_caps *caps)
{
	const char *missing;
	int r;

	if (boot_cpu_data.x86_vendor != X86_VENDOR_INTEL &&
	    boot_cpu_data.x86_vendor != X86_VENDOR_CENTAUR &&
	    boot_cpu_data.x86_vendor != X86_VENDOR_ZHAOXIN)
		return -ENODEV;
	if (!(cpuid_ecx(1) & BIT(5))) {
		pr_err("no VT-x: not in this CPU, or not offered by the hypervisor below\n");
		return -EOPNOTSUPP;
	}
	if (!boot_cpu_has(X86_FEATURE_VMX) || !firmware_allows()) {
		pr_err("VT-x is switched off by the firmware: enable it in its setup\n");
		return -EOPNOTSUPP;
	}
	missing = find_controls();
	if (!missing)
		missing = find_ept(caps);
	if (missing) {
		pr_err("this CPU's VT-x cannot be used: it lacks %s\n", missing);
		return -EOPNOTSUPP;
	}
	caps->format = &wafer_ept_format;
	caps->has_len = true;
	caps->has_vnmi = true;
	caps->has_tpr_shadow = vmx_conf.tpr_shadow;
	caps->has_tsc_scaling = vmx_conf.secondary & SECONDARY_EXEC_TSC_SCALING;
	caps->tsc_frac_bits = 48;
	caps->asids = vmx_conf.invvpid_type ? VMX_NR_VPIDS - 1 : 0;
	caps->cr4_fixed1 = vmx_rdmsr(MSR_IA32_VMX_CR4_FIXED1);
	describe(caps);
	r = vmx_l1d_create();
	if (r)
		return r;
	r = alloc_vmxon();
	if (r)
		vmx_l1d_free();
	return r;
}

void vmx_teardown(void)
{
	free_vmxon();
	vmx_l1d_free();
}

/*
 * VMX operation on this CPU. Where the kernel lets a module set CR4.VMXE for good
 * (WAFER_VMX_PERSISTENT) it lasts from cpu_on() to cpu_off(). Elsewhere the kernel's shadow of CR4
 * does not know of the bit, and any write of CR4 from that shadow would clear it and fault: there
 * VMX operation lasts for one window, in which nobody else writes CR4.
 */
static inline void set_cr4(unsigned long val)
{
	asm volatile("mov %0, %%cr4" : : "r" (val) : "memory");
}

int vmx_on(struct vmx_cpu *c)
{
	int r;

	if (native_read_cr4() & X86_CR4_VMXE)
		return -EBUSY;
	if (WAFER_VMX_PERSISTENT)
		cr4_set_bits(X86_CR4_VMXE);
	else
		set_cr4(native_read_cr4() | X86_CR4_VMXE);
	c->on = true;		/* before VMXON: an NMI that panics in between must find it */
	r = insn_vmxon(__pa(c->vmxon));
	if (r)
		vmx_off(c);
	return r;
}

/*
 * For one window. If the in-tree module has switched VMX on since cpu_on(), which it cannot know of
 * us, its VMX operation is used and its current VMCS put back at the end. Without success every VMX
 * instruction of the window raises #UD.
 */
void vmx_on_for_window(struct vmx_cpu *c)
{
	c->borrowed = native_read_cr4() & X86_CR4_VMXE;
	if (c->borrowed)
		c->lender = insn_vmptrst();
	else if (c->taken)
		vmx_on(c);
}

void vmx_off_after_window(struct vmx_cpu *c)
{
	if (!c->borrowed)
		vmx_off(c);
	else if (c->lender != ~0ull)
		insn_vmptrld(c->lender);
	c->borrowed = false;
}

/*
 * Any context, NMI and panic included. VMXOFF outside VMX operation raises #UD, which is harmless
 * here.
 */
void vmx_off(struct vmx_cpu *c)
{
	if (!c->on)
		return;
	insn_vmxoff();
	c->on = false;
	if (WAFER_VMX_PERSISTENT)
		cr4_clear_bits(X86_CR4_VMXE);
	else
		set_cr4(native_read_cr4() & ~X86_CR4_VMXE);
}

int vmx_cpu_on(void)
{
	struct vmx_cpu *c = this_cpu_ptr(&vmx_cpu);
	int r;

	if (c->taken)
		return 0;
	if (!firmware_allows())
		return -EOPNOTSUPP;
	if (vmx_conf.pt_conflict) {
		/*
		 * On such CPUs VMXON stops a trace, and starting one in VMX operation faults
		 * (§33.5).
		 */
		if (vmx_rdmsr(MSR_IA32_RTIT_CTL) & RTIT_CTL_TRACEEN)
			return -EBUSY;
		wafer_pt_forbid(true);
	}
	r = vmx_on(c);
	if (r) {
		if (vmx_conf.pt_conflict)
			wafer_pt_forbid(false);
		return r;
	}
	if (!WAFER_VMX_PERSISTENT)
		vmx_off(c);
	c->taken = true;
	return 0;
}

/*
 * The VMCS leaves this CPU. The list is changed with interrupts off on its own CPU; an NMI that
 * panics and walks it finds each entry's ->next valid.
 */
void vmx_unbind(struct wafer_hw *hw)
{
	struct vmx_cpu *c = this_cpu_ptr(&vmx_cpu);

	if (hw->cpu != smp_processor_id())
		return;
	insn_vmclear(__pa(hw->vmcs));
	if (c->current_hw == hw)
		c->current_hw = NULL;
	list_del_init(&hw->link);
	hw->run_flags &= ~VMX_RUN_LAUNCHED;
	hw->cpu = -1;
	WRITE_ONCE(hw->vcpu->hw_cpu, -1);
}

void vmx_cpu_off(void)
{
	struct vmx_cpu *c = this_cpu_ptr(&vmx_cpu);
	struct wafer_hw *hw, *next;

	if (!c->taken)
		return;
	/* What a VMCS has in the CPU must reach memory before VMXOFF (§25.11.1). */
	list_for_each_entry_safe(hw, next, &c->active, link)
		vmx_unbind(hw);
	vmx_off(c);
	c->taken = false;
	if (in_nmi())
		return;
	vmx_restore_user_return();
	if (vmx_conf.pt_conflict)
		wafer_pt_forbid(false);
}
