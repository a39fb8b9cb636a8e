// SPDX-License-Identifier: GPL-2.0
/*
 * The window, and the host's state in it: what a VM exit loads from the VMCS, and what it spoils
 * (§28.5) and has to be put back at the end of the window.
 */
#include <linux/cpu.h>
#include <linux/gfp.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <asm/cpu_entry_area.h>
#include <asm/cpufeature.h>
#include <asm/desc.h>
#include <asm/fsgsbase.h>
#include <asm/hardirq.h>
#include <asm/nospec-branch.h>
#include <asm/special_insns.h>

#include "vmx.h"

#define L1D_ORDER	4	/* 64 KiB: larger than any L1 data cache of an affected CPU */

static void *l1d_pages;

/*
 * L1TF: a guest can read what the L1 data cache holds. The policy is the host's as far as a module
 * can see it.
 */
int vmx_l1d_create(void)
{
	u64 arch_cap = 0;

	if (boot_cpu_has(X86_FEATURE_ARCH_CAPABILITIES))
		arch_cap = vmx_rdmsr(MSR_IA32_ARCH_CAPABILITIES);
	if (!boot_cpu_has_bug(X86_BUG_L1TF) || arch_cap & ARCH_CAP_SKIP_VMENTRY_L1DFLUSH ||
	    wafer_l1tf_off())
		return 0;
	vmx_conf.l1d_flush = true;
	if (boot_cpu_has(X86_FEATURE_FLUSH_L1D))
		return 0;
	l1d_pages = (void *)__get_free_pages(GFP_KERNEL | __GFP_ZERO, L1D_ORDER);
	return l1d_pages ? 0 : -ENOMEM;
}

void vmx_l1d_free(void)
{
	free_pages((unsigned long)l1d_pages, L1D_ORDER);
	l1d_pages = NULL;
}

static void l1d_fill(void)
{
	const char *p = l1d_pages, *end = p + (PAGE_SIZE << L1D_ORDER);

	/* First the translations, so that no page walk brings other lines in between. */
	for (; p < end; p += PAGE_SIZE)
		asm volatile("movb (%0), %%al" : : "r" (p) : "eax");
	asm volatile("lfence" : : : "memory");
	for (p = l1d_pages; p < end; p += PAGE_SIZE)
		asm volatile(".set line, 0\n\t"
			     ".rept 64\n\t"
			     "movb line(%0), %%al\n\t"
			     ".set line, line + 64\n\t"
			     ".endr" : : "r" (p) : "eax");
	asm volatile("lfence" : : : "memory");
}

/*
 * Between two windows of a thread the kernel handles its faults and interrupts; what they bring
 * into the cache is this VMM's own, or was touched by an interrupt handler, which the kernel notes.
 * Other tasks and user space have run if the thread was switched away or has returned to user
 * space.
 */
static void l1d_flush(struct wafer_hw *hw, struct vmx_cpu *c)
{
	unsigned long switches = current->nvcsw + current->nivcsw;
	bool due = c->last_id != hw->id || hw->switches != switches || c->user_ran;

#if IS_ENABLED(CONFIG_KVM_INTEL)
	due |= kvm_get_cpu_l1tf_flush_l1d();
	kvm_clear_cpu_l1tf_flush_l1d();
#endif
	hw->switches = switches;
	c->user_ran = false;
	if (!due)
		return;
	if (l1d_pages)
		l1d_fill();
	else
		vmx_wrmsr(MSR_IA32_FLUSH_CMD, L1D_FLUSH);
}

static u64 read_fs_base(void)
{
	return boot_cpu_has(X86_FEATURE_FSGSBASE) ? rdfsbase() : vmx_rdmsr(MSR_FS_BASE);
}

/* Host fields that are the same for all tasks: written when a vCPU comes to a CPU. */
void vmx_host_constants(struct wafer_hw *hw)
{
	struct desc_ptr gdt, idt;
	int cpu = smp_processor_id();

	native_store_gdt(&gdt);
	store_idt(&idt);
	vmwrite(HOST_GDTR_BASE, gdt.address);
	vmwrite(HOST_IDTR_BASE, idt.address);
	vmwrite(HOST_TR_BASE, (unsigned long)&get_cpu_entry_area(cpu)->tss.x86_tss);
	vmwrite(HOST_GS_BASE, vmx_rdmsr(MSR_GS_BASE));
	vmwrite(HOST_CR0, native_read_cr0() & ~X86_CR0_TS);
	vmwrite(HOST_IA32_SYSENTER_CS, (u32)vmx_rdmsr(MSR_IA32_SYSENTER_CS));
	vmwrite(HOST_IA32_SYSENTER_ESP, vmx_rdmsr(MSR_IA32_SYSENTER_ESP));
	vmwrite(HOST_IA32_SYSENTER_EIP, vmx_rdmsr(MSR_IA32_SYSENTER_EIP));
	vmwrite(HOST_IA32_EFER, vmx_rdmsr(MSR_EFER));
	vmwrite(HOST_IA32_PAT, vmx_rdmsr(MSR_IA32_CR_PAT));
}

/* Host fields that change from task to task. */
static void write_host_fields(struct wafer_hw *hw)
{
	unsigned long val;

	asm volatile("mov %%cr3, %0" : "=r" (val));
	if (hw->host.cr3 != val) {
		hw->host.cr3 = val;
		vmwrite(HOST_CR3, val);
	}
	val = native_read_cr4();
	if (hw->host.cr4 != val) {
		hw->host.cr4 = val;
		vmwrite(HOST_CR4, val);
	}
	val = read_fs_base();
	if (hw->host.fs_base != val) {
		hw->host.fs_base = val;
		vmwrite(HOST_FS_BASE, val);
	}
}

/*
 * Performance counters stop in the guest. Above all PEBS must: it would write its records through
 * the guest's tables. Where counters are not in use the controls stay off, which makes entries and
 * exits cheaper.
 */
static void stop_perf(struct wafer_hw *hw)
{
	u64 val = vmx_rdmsr(MSR_CORE_PERF_GLOBAL_CTRL);

	if (hw->host.perf != val) {
		if (!hw->host.perf != !val) {
			hw->exit_ctl ^= VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL;
			hw->entry_ctl ^= VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL;
			vmwrite(VM_EXIT_CONTROLS, hw->exit_ctl);
			vmwrite(VM_ENTRY_CONTROLS, vmread(VM_ENTRY_CONTROLS) ^
						   VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL);
		}
		hw->host.perf = val;
		vmwrite(HOST_IA32_PERF_GLOBAL_CTRL, val);
	}
	hw->host.pebs = val && boot_cpu_has(X86_FEATURE_PEBS) ? vmx_rdmsr(MSR_IA32_PEBS_ENABLE) : 0;
	if (hw->host.pebs)
		vmx_wrmsr(MSR_IA32_PEBS_ENABLE, 0);
}

/* At the first entry of a window. Pairs with vmx_swap_out(). */
void vmx_swap_in(struct wafer_vcpu *vcpu)
{
	struct wafer_hw *hw = vcpu->hw;
	struct vmx_cpu *c = this_cpu_ptr(&vmx_cpu);

	write_host_fields(hw);
	savesegment(ds, hw->host.ds);
	savesegment(es, hw->host.es);
	savesegment(fs, hw->host.fs);
	savesegment(gs, hw->host.gs);
	asm("sldt %0" : "=r" (hw->host.ldt));
	hw->host.debugctl = vmx_rdmsr(MSR_IA32_DEBUGCTLMSR);
	if (vmx_conf.perf_ctrl)
		stop_perf(hw);
	hw->host.kernel_gs_base = vmx_rdmsr(MSR_KERNEL_GS_BASE);
	vmx_wrmsr(MSR_KERNEL_GS_BASE, vcpu->arch.kernel_gs_base);
	if (boot_cpu_has(X86_FEATURE_MSR_SPEC_CTRL))
		hw->spec.host = spec_ctrl_current();
	if (c->last_ur != hw->id)
		vmx_load_user_return(vcpu);
	if (vmx_conf.l1d_flush)
		l1d_flush(hw, c);
	if (c->last_id != hw->id) {
		/* What one guest has taught the branch predictors must not steer another. */
		if (boot_cpu_has(X86_FEATURE_IBPB) && !cpu_mitigations_off())
			vmx_wrmsr(MSR_IA32_PRED_CMD, PRED_CMD_IBPB);
		c->last_id = hw->id;
	}
#ifdef X86_FEATURE_IBPB_EXIT_TO_USER
	if (boot_cpu_has(X86_FEATURE_IBPB_EXIT_TO_USER))
		this_cpu_write(x86_ibpb_exit_to_user, true);
#endif
	hw->todo &= ~VMX_SWAP_IN;
}

static void load_gdt_at(unsigned long address)
{
	struct desc_ptr gdt = { .size = GDT_SIZE - 1, .address = address };

	native_load_gdt(&gdt);
}

/*
 * The exit has set the limits of GDTR and IDTR to 0xffff and that of TR to 0x67, which cuts off the
 * I/O bitmap. LTR wants an available TSS and marks it busy, so it works on the writable alias of
 * the GDT.
 */
static void restore_tables(void)
{
	int cpu = smp_processor_id();
	struct desc_ptr idt;

	if (unlikely(test_thread_flag(TIF_IO_BITMAP))) {
		struct desc_struct *gdt = get_cpu_gdt_rw(cpu);

		((struct ldttss_desc *)&gdt[GDT_ENTRY_TSS])->type = DESC_TSS;
		load_gdt_at((unsigned long)gdt);
		asm volatile("ltr %w0" : : "r" (GDT_ENTRY_TSS * 8));
		this_cpu_write(__tss_limit_invalid, false);
	} else {
		this_cpu_write(__tss_limit_invalid, true);
	}
	load_gdt_at((unsigned long)get_cpu_gdt_ro(cpu));
	store_idt(&idt);
	idt.size = IDT_ENTRIES * sizeof(gate_desc) - 1;
	native_load_idt(&idt);
}

/* The selectors of 32-bit tasks; 64-bit ones have 0 there, which the exit has loaded. */
static void restore_selectors(struct wafer_hw *hw)
{
	if (unlikely(hw->host.ldt))
		asm volatile("lldt %w0" : : "r" (hw->host.ldt));
	if (unlikely(hw->host.ds | hw->host.es)) {
		loadsegment(ds, hw->host.ds);
		loadsegment(es, hw->host.es);
	}
	if (unlikely(hw->host.fs)) {
		loadsegment(fs, hw->host.fs);
		vmx_wrmsr(MSR_FS_BASE, hw->host.fs_base);
	}
	if (unlikely(hw->host.gs))
		load_gs_index(hw->host.gs);
}

void vmx_swap_out(struct wafer_vcpu *vcpu)
{
	struct wafer_hw *hw = vcpu->hw;

	hw->todo |= VMX_SWAP_IN;
	/* Unless the core has it already, or has set a new value that was not loaded any more. */
	if (!(vcpu->arch.avail & WAFER_G_SYSCALL)) {
		vcpu->arch.kernel_gs_base = vmx_rdmsr(MSR_KERNEL_GS_BASE);
		vcpu->arch.avail |= WAFER_G_SYSCALL;
	}
	restore_tables();
	restore_selectors(hw);
	/* After the load of GS, which changes it. */
	vmx_wrmsr(MSR_KERNEL_GS_BASE, hw->host.kernel_gs_base);
	if (hw->host.debugctl)
		vmx_wrmsr(MSR_IA32_DEBUGCTLMSR, hw->host.debugctl);
	if (hw->host.pebs)
		vmx_wrmsr(MSR_IA32_PEBS_ENABLE, hw->host.pebs);
}
