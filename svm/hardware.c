// SPDX-License-Identifier: GPL-2.0
/* AMD-V itself: what the CPU has, taking and giving back SVM, ASIDs, and what a window switches. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cc_platform.h>
#include <linux/topology.h>
#include <asm/nospec-branch.h>
#include <asm/special_insns.h>

#include "svm.h"

DEFINE_PER_CPU(struct svm_cpu, svm_cpu);
void *svm_iopm __ro_after_init;
static u32 nr_asids __ro_after_init;
static atomic64_t generations = ATOMIC64_INIT(0);

/* I/O permission map: three pages; wafer_hw.msrpm: two */
#define IOPM_ORDER	2

/* VM_CR (§15.30.1) */
#define VM_CR_SVMDIS	BIT(4)

/*
 * Newer kernels have no bit for whether barriers are wanted at all, only one for whether the CPU
 * has them.
 */
#ifdef X86_FEATURE_USE_IBPB
#define SVM_WANT_IBPB	X86_FEATURE_USE_IBPB
#else
#define SVM_WANT_IBPB	X86_FEATURE_IBPB
#endif

/* ---- what the CPU has ---- */

static const struct {
	enum svm_feature feature;
	const char *name;
} feature_names[] = {
	{ SVM_F_NRIPS, "next-RIP" }, { SVM_F_DECODE, "decode-assists" },
	{ SVM_F_FLUSH_ASID, "flush-by-ASID" }, { SVM_F_CLEAN, "VMCB-clean" },
	{ SVM_F_VNMI, "vNMI" }, { SVM_F_TSC_RATIO, "TSC-scaling" },
	{ SVM_F_V_SPEC_CTRL, "SPEC_CTRL" }, { SVM_F_PAUSE, "PAUSE-filter" },
	{ SVM_F_VGIF, "vGIF(unused)" }, { SVM_F_AVIC, "AVIC(unused)" },
};

static void describe(struct wafer_caps *caps)
{
	int i, n = 0;

	for (i = 0; i < ARRAY_SIZE(feature_names); i++)
		if (boot_cpu_has(feature_names[i].feature))
			n += scnprintf(caps->features + n, sizeof(caps->features) - n, "%s%s",
				       n ? " " : "", feature_names[i].name);
	caps->format = &wafer_npt_format;
	/* The nested table is walked in the mode that the host is in at VMRUN (§15.25.3). */
	caps->levels = native_read_cr4() & X86_CR4_LA57 ? 5 : 4;
	caps->max_level = boot_cpu_has(X86_FEATURE_GBPAGES) ? 3 : 2;
	caps->has_ad = true;
	caps->pdptr_from_memory = true;
	caps->has_tpr_shadow = true;
	caps->shutdown_undefined = true;
	caps->has_len = svm_has(NRIPS);
	caps->has_tsc_scaling = svm_has(TSC_RATIO);
	caps->tsc_frac_bits = 32;
	caps->has_vnmi = svm_has(VNMI);
	caps->asids = nr_asids;
	caps->cr4_fixed1 = ~0ull;
}

/* Why SVM cannot be used, and what to do; NULL: it can. */
static const char *unusable(void)
{
	u64 vm_cr;

	if (cpuid_eax(0x80000000) < 0x8000000a || !(cpuid_ecx(0x80000001) & BIT(2)))
		return "this CPU has no AMD-V; in a virtual machine, let its hypervisor offer SVM";
	if (cc_platform_has(CC_ATTR_GUEST_MEM_ENCRYPT))
		return "AMD-V cannot be used inside an encrypted guest";
	if (cc_platform_has(CC_ATTR_HOST_MEM_ENCRYPT))
		return "host memory encryption (SME) is on: boot with mem_encrypt=off";
	if (!svm_rdmsr(MSR_VM_CR, &vm_cr) && vm_cr & VM_CR_SVMDIS)
		return "AMD-V is disabled by the firmware: enable SVM in its setup";
	if (!svm_has(NP))
		return "this CPU has no nested paging (NPT): a newer one is needed";
	nr_asids = cpuid_ebx(0x8000000a);
	return nr_asids < 2 ? "this CPU offers no ASIDs to guests" : NULL;
}

/* Undoes svm_detect(), as far as it came. */
static void svm_teardown(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		free_pages((unsigned long)per_cpu(svm_cpu.pages, cpu), 1);
	free_pages((unsigned long)svm_iopm, IOPM_ORDER);
}

static int svm_detect(struct wafer_caps *caps)
{
	const char *why;
	struct page *page;
	int cpu;

	if (boot_cpu_data.x86_vendor != X86_VENDOR_AMD &&
	    boot_cpu_data.x86_vendor != X86_VENDOR_HYGON)
		return -ENODEV;
	why = unusable();
	if (why) {
		pr_err("%s\n", why);
		return -EOPNOTSUPP;
	}
	describe(caps);
	svm_exit_setup();
	svm_iopm = (void *)__get_free_pages(GFP_KERNEL, IOPM_ORDER);
	if (!svm_iopm)
		return -ENOMEM;
	memset(svm_iopm, 0xff, PAGE_SIZE << IOPM_ORDER);
	for_each_possible_cpu(cpu) {
		page = alloc_pages_node(cpu_to_node(cpu), GFP_KERNEL | __GFP_ZERO, 1);
		if (!page) {
			svm_teardown();
			return -ENOMEM;
		}
		per_cpu(svm_cpu.pages, cpu) = page_address(page);
	}
	return 0;
}

/* ---- taking SVM and giving it back ---- */

static int svm_cpu_on(void)
{
	struct svm_cpu *c = this_cpu_ptr(&svm_cpu);
	u64 efer, hsave;

	if (c->on)
		return 0;
	if (svm_rdmsr(MSR_EFER, &efer))
		return -EOPNOTSUPP;
	svm_rdmsr(MSR_VM_HSAVE_PA, &hsave);
	if (efer & WAFER_EFER_SVME || hsave)
		return -EBUSY;
	if (svm_wrmsr(MSR_EFER, efer | WAFER_EFER_SVME))
		return -EOPNOTSUPP;
	if (svm_wrmsr(MSR_VM_HSAVE_PA, __pa(c->pages))) {
		svm_wrmsr(MSR_EFER, efer);
		return -EOPNOTSUPP;
	}
	/*
	 * Whoever had the CPU before may have left translations under any ASID: the first one taken
	 * flushes all.
	 */
	c->generation = atomic64_inc_return(&generations);
	c->next_asid = nr_asids;
	c->last_serial = 0;
	c->tsc_ratio = 0;
	svm_rdmsr(MSR_TSC_AUX, &c->host_tsc_aux);	/* 0 where there is none */
	c->tsc_aux = c->host_tsc_aux;
	c->on = true;
	return 0;
}

/*
 * Also called while the machine goes down, perhaps from an NMI in the middle of a window: GIF is
 * set first, or the CPU would stay deaf to INIT (§15.17). Where SVM is off for good after a crash
 * or reboot, STGI here and VMSAVE below do nothing.
 */
static void svm_cpu_off(void)
{
	struct svm_cpu *c = this_cpu_ptr(&svm_cpu);
	u64 efer;

	if (!c->on)
		return;
	c->on = false;
	asm volatile("1: stgi\n2:\n" _ASM_EXTABLE(1b, 2b) : : : "memory");
	svm_load_tsc_aux(c->host_tsc_aux);
	if (svm_has(TSC_RATIO))
		svm_wrmsr(MSR_AMD64_TSC_RATIO, SVM_TSC_RATIO_ONE);
	svm_wrmsr(MSR_VM_HSAVE_PA, 0);
	if (!svm_rdmsr(MSR_EFER, &efer))
		svm_wrmsr(MSR_EFER, efer & ~WAFER_EFER_SVME);
}

/* ---- ASIDs ---- */

/*
 * Each CPU gives out ASIDs of its own, upwards. When it has no more, everything is flushed and a
 * new generation begins.
 *
 *	vCPU comes from another CPU, or	its generation is another one: new ASID, nothing to flush
 *	this CPU was off in between
 *	the CPU wrapped meanwhile	its generation is an older one: new ASID, nothing to flush
 *	drop, no flush-by-ASID		new ASID
 *	drop, with flush-by-ASID	same ASID, TLB_CONTROL says so
 *
 * Called right before VMRUN, so that a flush that begins a generation happens before any ASID of it
 * is used.
 */
void svm_new_asid(struct wafer_hw *hw)
{
	struct svm_cpu *c = this_cpu_ptr(&svm_cpu);

	hw->vmcb->tlb_control = SVM_TLB_KEEP;
	if (c->next_asid >= nr_asids) {
		c->generation = atomic64_inc_return(&generations);
		c->next_asid = 1;
		hw->vmcb->tlb_control = SVM_TLB_FLUSH_ALL;
	}
	hw->generation = c->generation;
	hw->vmcb->asid = c->next_asid++;
	hw->vmcb->clean &= ~SVM_CLEAN_ASID;
	hw->asid_due = false;
}

/* ---- the window ---- */

void svm_load_tsc_ratio(struct wafer_hw *hw)
{
	struct svm_cpu *c = this_cpu_ptr(&svm_cpu);

	if (!svm_has(TSC_RATIO) || c->tsc_ratio == hw->tsc_ratio)
		return;
	c->tsc_ratio = hw->tsc_ratio;
	svm_wrmsr(MSR_AMD64_TSC_RATIO, hw->tsc_ratio);
}

/*
 * RDTSCP and RDPID read TSC_AUX, and RDPID has no intercept: so it is the guest's while a window
 * is open.
 */
void svm_load_tsc_aux(u64 val)
{
	struct svm_cpu *c = this_cpu_ptr(&svm_cpu);

	if (c->tsc_aux == val)
		return;
	c->tsc_aux = val;
	svm_wrmsr(MSR_TSC_AUX, val);
}

/*
 * Nothing is bound to a CPU the way a VMCS is: vcpu->hw_cpu stays -1 and no CPU ever has to be
 * asked to let go. What one CPU cached of a VMCB is not used by another (clean bits), nor after
 * others ran there (ASIDs).
 */
static void svm_load(struct wafer_vcpu *vcpu)
{
	struct svm_cpu *c = this_cpu_ptr(&svm_cpu);
	struct wafer_hw *hw = vcpu->hw;

	if (hw->generation != c->generation) {
		hw->asid_due = true;
		hw->vmcb->clean = 0;
	}
	if (c->last_serial != hw->serial) {
		c->last_serial = hw->serial;
		if (boot_cpu_has(SVM_WANT_IBPB) && !boot_cpu_has(X86_FEATURE_IBPB_ON_VMEXIT))
			svm_wrmsr(MSR_IA32_PRED_CMD, PRED_CMD_IBPB);
	}
	/*
	 * FS, GS, TR, LDTR, KernelGSBase, MSRs of SYSCALL and SYSENTER: they do not change while
	 * the window is open.
	 */
	hw->host_pa = __pa(c->pages) + PAGE_SIZE;
	asm volatile("1: vmsave %%rax\n2:\n" _ASM_EXTABLE(1b, 2b) : : "a" (hw->host_pa) : "memory");
	if (static_cpu_has(X86_FEATURE_MSR_SPEC_CTRL) && !svm_virtual_spec())
		hw->spec_host = spec_ctrl_current();
	svm_load_tsc_ratio(hw);
	svm_load_tsc_aux(vcpu->arch.tsc_aux);
}

static void svm_put(struct wafer_vcpu *vcpu)
{
	svm_load_tsc_aux(this_cpu_read(svm_cpu.host_tsc_aux));
#ifdef X86_FEATURE_IBPB_EXIT_TO_USER
	/*
	 * VMSCAPE: user space must not run on what the guest taught the predictor. The kernel
	 * clears it again.
	 */
	if (boot_cpu_has(X86_FEATURE_IBPB_EXIT_TO_USER))
		this_cpu_write(x86_ibpb_exit_to_user, true);
#endif
}

/* VMCBs are not bound to CPUs. */
static void svm_detach(struct wafer_vcpu *vcpu)
{
	vcpu->hw_cpu = -1;
}

const struct wafer_backend wafer_svm = {
	.name = "svm", .rival = "kvm_amd", .hypercall = 0xd9,
	.detect = svm_detect, .teardown = svm_teardown,
	.cpu_on = svm_cpu_on, .cpu_off = svm_cpu_off,
	.vcpu_create = svm_vcpu_create, .vcpu_free = svm_vcpu_free, .detach = svm_detach,
	.load = svm_load, .put = svm_put, .enter = svm_enter, .read_state = svm_read_state,
	.inject = svm_inject, .windows = svm_windows,
	.set_root = svm_set_root, .flush_tlb = svm_flush_tlb,
	.intercept_msr = svm_intercept_msr, .intercept = svm_intercept, .set_tsc = svm_set_tsc,
};
