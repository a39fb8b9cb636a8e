// SPDX-License-Identifier: GPL-2.0
/* VT-x itself: what the CPU has, and taking and giving back VMX operation. */
#include <linux/vmalloc.h>
#include <asm/tlbflush.h>

#include "vmx.h"

struct vmx_conf vmx_conf;
DEFINE_PER_CPU(struct vmx_cpu, vmx_cpu);
void *vmx_pages;	/* a VMXON region for each CPU, then VMX_L1D_PAGES */

/* When the machine goes down VMX is switched off under running VMs: that is nothing to tell of. */
void vmx_insn_failed(const char *insn, unsigned long what)
{
	if (this_cpu_read(vmx_cpu.on) || this_cpu_read(vmx_cpu.lender))
		pr_err_ratelimited("%s failed: %#lx\n", insn, what);
}

#define PERF_EXIT	VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL
#define PERF_ENTRY	VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL

/*
 * The upper half of a capability MSR says which controls can be on, the lower which always are
 * (App. A.2).
 */
#define CONTROLS(bits)	((u64)(bits) << 32)

/*
 * What a CPU must have, and @lack, which is logged where it has not. Of a control word, @want is
 * used where it is there; all that is in neither stays off, unless the CPU has it always on.
 */
static const struct {
	u32 msr;
	u64 need;
	const char *lack;
	u32 want, *result;
} needs[] = {
	{ MSR_IA32_FEAT_CTL, FEAT_CTL_LOCKED | FEAT_CTL_VMX_ENABLED_OUTSIDE_SMX,
	  "the firmware's permission: switch it on in its setup" },
	{ MSR_IA32_VMX_BASIC, 6ull << 50, "VMCSs in write-back memory" },
	{ MSR_IA32_VMX_BASIC, BIT_ULL(55), "the TRUE capability MSRs" },
	{ MSR_IA32_VMX_TRUE_PINBASED_CTLS,
	  CONTROLS(PIN_BASED_EXT_INTR_MASK | PIN_BASED_NMI_EXITING | PIN_BASED_VIRTUAL_NMIS),
	  "virtual NMIs", 0, &vmx_conf.pin },
	{ MSR_IA32_VMX_TRUE_PROCBASED_CTLS,
	  CONTROLS(CPU_BASED_HLT_EXITING | CPU_BASED_MWAIT_EXITING | CPU_BASED_MONITOR_EXITING |
		   CPU_BASED_RDPMC_EXITING | CPU_BASED_UNCOND_IO_EXITING |
		   CPU_BASED_MOV_DR_EXITING | CPU_BASED_USE_MSR_BITMAPS |
		   CPU_BASED_USE_TSC_OFFSETTING | CPU_BASED_CR8_LOAD_EXITING |
		   CPU_BASED_CR8_STORE_EXITING | CPU_BASED_ACTIVATE_SECONDARY_CONTROLS),
	  "MSR bitmaps and secondary controls", 0, &vmx_conf.primary },
	{ MSR_IA32_VMX_PROCBASED_CTLS2,
	  CONTROLS(SECONDARY_EXEC_ENABLE_EPT | SECONDARY_EXEC_UNRESTRICTED_GUEST),
	  "EPT (nested paging) with unrestricted guest (Westmere or newer)",
	  SECONDARY_EXEC_WBINVD_EXITING | SECONDARY_EXEC_RDRAND_EXITING |
	  SECONDARY_EXEC_RDSEED_EXITING | SECONDARY_EXEC_ENCLS_EXITING |
	  SECONDARY_EXEC_TSC_SCALING | SECONDARY_EXEC_ENABLE_PML, &vmx_conf.secondary },
	{ MSR_IA32_VMX_TRUE_EXIT_CTLS,
	  CONTROLS(VM_EXIT_HOST_ADDR_SPACE_SIZE | VM_EXIT_SAVE_DEBUG_CONTROLS |
		   VM_EXIT_LOAD_IA32_PAT | VM_EXIT_LOAD_IA32_EFER | VM_EXIT_SAVE_IA32_EFER),
	  "loading PAT and EFER at exits", PERF_EXIT, &vmx_conf.exit },
	{ MSR_IA32_VMX_TRUE_ENTRY_CTLS,
	  CONTROLS(VM_ENTRY_LOAD_DEBUG_CONTROLS | VM_ENTRY_LOAD_IA32_PAT | VM_ENTRY_LOAD_IA32_EFER),
	  "loading PAT and EFER at entries", PERF_ENTRY, &vmx_conf.entry },
	/*
	 * Without it nobody would tell the entry control that the guest has switched to long mode
	 * (App. A.6).
	 */
	{ MSR_IA32_VMX_MISC, VMX_MISC_SAVE_EFER_LMA, "EFER.LMA saved at exits" },
	{ MSR_IA32_VMX_EPT_VPID_CAP, VMX_EPT_PAGE_WALK_4_BIT | VMX_EPTP_WB_BIT,
	  "EPT with 4 levels in write-back memory" },
	{ MSR_IA32_VMX_EPT_VPID_CAP, VMX_EPT_INVEPT_BIT | VMX_EPT_EXTENT_CONTEXT_BIT, "INVEPT" },
};

/* On this CPU. NULL: nothing. */
static const char *find_lack(void)
{
	for (int i = 0; i < ARRAY_SIZE(needs); i++)
		if (needs[i].need & ~vmx_rdmsr(needs[i].msr))
			return needs[i].lack;
	return NULL;
}

static void find_controls(void)
{
	for (int i = 0; i < ARRAY_SIZE(needs); i++) {
		u64 cap = vmx_rdmsr(needs[i].msr), use = needs[i].need >> 32 | cap;

		if (needs[i].result)
			*needs[i].result = use | (needs[i].want & (cap >> 32));
	}
	vmx_conf.primary_can = vmx_rdmsr(MSR_IA32_VMX_TRUE_PROCBASED_CTLS) >> 32;
	vmx_conf.secondary_can = vmx_rdmsr(MSR_IA32_VMX_PROCBASED_CTLS2) >> 32;
	vmx_conf.l1d_flush = boot_cpu_has_bug(X86_BUG_L1TF) && !wafer_l1tf_off() &&
		!(vmx_rdmsr(MSR_IA32_ARCH_CAPABILITIES) & ARCH_CAP_SKIP_VMENTRY_L1DFLUSH);
	/* MMIO stale data, where enter.S does not guard from all of its kin at every entry. */
	vmx_conf.verw_for_devices = boot_cpu_has_bug(X86_BUG_MMIO_STALE_DATA) &&
		!boot_cpu_has(X86_FEATURE_CLEAR_CPU_BUF) && !cpu_mitigations_off();
	if (!boot_cpu_has(X86_FEATURE_ARCH_PERFMON) || !(vmx_conf.exit & PERF_EXIT) ||
	    !(vmx_conf.entry & PERF_ENTRY)) {
		vmx_conf.exit &= ~PERF_EXIT;
		vmx_conf.entry &= ~PERF_ENTRY;
	}
}

int vmx_detect(struct wafer_caps *caps)
{
	const char *lack;
	u32 vpid;
	u64 ept;

	if (boot_cpu_data.x86_vendor != X86_VENDOR_INTEL &&
	    boot_cpu_data.x86_vendor != X86_VENDOR_CENTAUR &&
	    boot_cpu_data.x86_vendor != X86_VENDOR_ZHAOXIN)
		return -ENODEV;
	lack = cpuid_ecx(1) & BIT(5) ? find_lack() : "all of it, or a hypervisor below hides it";
	if (lack) {
		pr_err("this CPU's VT-x cannot be used: it lacks %s\n", lack);
		return -EOPNOTSUPP;
	}
	find_controls();
	/* EPT and VPID: App. A.10 */
	ept = vmx_rdmsr(MSR_IA32_VMX_EPT_VPID_CAP);
	vpid = vmx_conf.secondary_can & SECONDARY_EXEC_ENABLE_VPID ? ept >> 32 : 0;
	if (!(vpid & VMX_VPID_INVVPID_BIT) || !(vpid & VMX_VPID_EXTENT_SINGLE_CONTEXT_BIT))
		vpid = 0;
	*caps = (struct wafer_caps){
		.format = &wafer_ept_format, .has_len = true, .has_vnmi = true, .tsc_frac_bits = 48,
		.levels = ept & VMX_EPT_PAGE_WALK_5_BIT && boot_cpu_data.x86_phys_bits > 48 ? 5 : 4,
		.max_level = !(ept & VMX_EPT_2MB_PAGE_BIT) ? 1 : ept & VMX_EPT_1GB_PAGE_BIT ? 3 : 2,
		.has_ad = ept & VMX_EPT_AD_BIT,
		.has_pml = ept & VMX_EPT_AD_BIT && vmx_conf.secondary & SECONDARY_EXEC_ENABLE_PML,
		.has_tpr_shadow = vmx_conf.primary_can & CPU_BASED_TPR_SHADOW,
		.has_tsc_scaling = vmx_conf.secondary & SECONDARY_EXEC_TSC_SCALING,
		.asids = vpid ? VMX_NR_VPIDS - 1 : 0,
		.cr4_fixed1 = vmx_rdmsr(MSR_IA32_VMX_CR4_FIXED1),
	};
	if (!caps->has_pml)
		vmx_conf.secondary &= ~SECONDARY_EXEC_ENABLE_PML;
	vmx_conf.ept_bits = VMX_EPTP_MT_WB | (caps->levels - 1) << 3 |
			    (caps->has_ad ? VMX_EPTP_AD_ENABLE_BIT : 0);
	snprintf(caps->features, sizeof(caps->features), "EPT %u levels%s%s%s%s%s%s%s%s",
		 caps->levels, caps->max_level > 1 ? ", 2M" : "", caps->max_level > 2 ? ", 1G" : "",
		 caps->has_ad ? ", A/D" : "", caps->has_pml ? ", PML" : "",
		 caps->asids ? ", VPID" : "", caps->has_tpr_shadow ? ", TPR shadow" : "",
		 caps->has_tsc_scaling ? ", TSC scaling" : "",
		 vmx_conf.secondary_can & SECONDARY_EXEC_PAUSE_LOOP_EXITING ? ", PLE" : "");
	vmx_pages = vzalloc(array_size(nr_cpu_ids + VMX_L1D_PAGES, PAGE_SIZE));
	return vmx_pages ? 0 : -ENOMEM;
}

void vmx_teardown(void)
{
	vfree(vmx_pages);
}

/*
 * VMX operation on this CPU. Where the kernel lets a module set CR4.VMXE for good
 * (WAFER_VMX_PERSISTENT) it lasts from cpu_on() to cpu_off(). Elsewhere the kernel's shadow of CR4
 * does not know of the bit, and any write of CR4 from that shadow would clear it and fault: there
 * VMX operation lasts for one window, in which nobody else writes CR4.
 */
static void set_vmxe(bool set)
{
	unsigned long cr4 = native_read_cr4() & ~X86_CR4_VMXE;

	if (!WAFER_VMX_PERSISTENT)
		asm volatile("mov %0, %%cr4" : : "r" (set ? cr4 | X86_CR4_VMXE : cr4) : "memory");
	else if (set)
		cr4_set_bits(X86_CR4_VMXE);
	else
		cr4_clear_bits(X86_CR4_VMXE);
}

/*
 * Any context, NMI and panic included. VMXOFF outside VMX operation raises #UD, which is harmless
 * here.
 */
static void vmx_off(struct vmx_cpu *c)
{
	if (!c->on)
		return;
	insn_vmxoff();
	c->on = false;
	set_vmxe(false);
}

static int vmx_on(struct vmx_cpu *c)
{
	int r;

	if (native_read_cr4() & X86_CR4_VMXE)
		return -EBUSY;
	set_vmxe(true);
	c->on = true;		/* before VMXON: an NMI that panics in between must find it */
	r = insn_vmxon(c->region);
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
	if (native_read_cr4() & X86_CR4_VMXE)
		c->lender = insn_vmptrst();
	else if (c->taken)
		vmx_on(c);
}

void vmx_off_after_window(struct vmx_cpu *c)
{
	vmx_off(c);
	if (c->lender && c->lender != ~0ull)
		insn_vmptrld(c->lender);
	c->lender = 0;
}

/*
 * On CPUs without VMX_MISC[14] VMXON stops a Processor Trace, and starting one in VMX operation
 * faults (§33.5): where the kernel offers a way to forbid that, it asks for the bit itself.
 */
int vmx_cpu_on(void)
{
	struct vmx_cpu *c = this_cpu_ptr(&vmx_cpu);
	u32 *region = vmx_pages + smp_processor_id() * PAGE_SIZE;
	int r;

	if (c->taken)
		return 0;
	if (find_lack())
		return -EOPNOTSUPP;
	if (boot_cpu_has(X86_FEATURE_INTEL_PT) && !(vmx_rdmsr(MSR_IA32_VMX_MISC) & BIT_ULL(14)) &&
	    vmx_rdmsr(MSR_IA32_RTIT_CTL) & RTIT_CTL_TRACEEN)
		return -EBUSY;
	*region = vmx_rdmsr(MSR_IA32_VMX_BASIC);	/* the VMCS revision, and bit 31 is 0 */
	c->region = PFN_PHYS(vmalloc_to_pfn(region));
	wafer_pt_forbid(true);
	r = vmx_on(c);
	if (r) {
		wafer_pt_forbid(false);
		return r;
	}
	if (!WAFER_VMX_PERSISTENT)
		vmx_off(c);
	INIT_LIST_HEAD(&c->active);
	c->taken = true;
	return 0;
}

/*
 * The VMCS leaves this CPU. The list is changed with interrupts off on its own CPU; an NMI that
 * panics and walks it finds each entry's ->next valid.
 */
void vmx_unbind(struct wafer_vcpu *vcpu)
{
	struct vmx_cpu *c = this_cpu_ptr(&vmx_cpu);
	struct wafer_hw *hw = vcpu->hw;

	if (vcpu->hw_cpu != smp_processor_id())
		return;
	insn_vmclear(__pa(hw->vmcs));
	if (c->current_hw == hw)
		c->current_hw = NULL;
	list_del_init(&hw->link);
	hw->run.flags &= ~VMX_RUN_LAUNCHED;
	WRITE_ONCE(vcpu->hw_cpu, -1);
}

void vmx_cpu_off(void)
{
	struct vmx_cpu *c = this_cpu_ptr(&vmx_cpu);
	struct wafer_hw *hw, *next;

	if (!c->taken)
		return;
	/* What a VMCS has in the CPU must reach memory before VMXOFF (§25.11.1). */
	list_for_each_entry_safe(hw, next, &c->active, link)
		vmx_unbind(hw->vcpu);
	vmx_off(c);
	c->taken = false;
	if (in_nmi())
		return;
	vmx_restore_user_return(NULL);
	wafer_pt_forbid(false);
}
