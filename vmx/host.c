// SPDX-License-Identifier: GPL-2.0
/*
 * The host's state: what a VM exit loads from the VMCS, what it spoils (§28.5) and has to be put
 * back at the end of the window, what comes back only when the thread returns to user space, and
 * what a guest must not find in the caches.
 */
#include <linux/cpu.h>
#include <asm/fsgsbase.h>
#include <asm/hardirq.h>
#include <asm/nospec-branch.h>

#include "vmx.h"

/*
 * L1TF: a guest can read what the L1 data cache holds. The policy is the host's as far as a module
 * can see it. Without a command for it the cache is filled with something else.
 */
static void l1d_fill(void)
{
	const char *pages = vmx_pages + nr_cpu_ids * PAGE_SIZE, *p;
	const char *end = pages + VMX_L1D_PAGES * PAGE_SIZE;

	/* First the translations, so that no page walk brings other lines in between. */
	for (p = pages; p < end; p += PAGE_SIZE)
		READ_ONCE(*p);
	asm volatile("lfence" : : : "memory");
	for (p = pages; p < end; p += PAGE_SIZE)
		asm volatile(".set line, 0\n\t.rept 64\n\tmovb line(%0), %%al\n\t"
			     ".set line, line + 64\n\t.endr" : : "r" (p) : "eax");
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
	if (due && boot_cpu_has(X86_FEATURE_FLUSH_L1D))
		vmx_wrmsr(MSR_IA32_FLUSH_CMD, L1D_FLUSH);
	else if (due)
		l1d_fill();
}

/*
 * User-return MSRs. The kernel itself does not depend on them, only user space does (SYSCALL,
 * RDTSCP, RDPID): the host's values come back when some thread of this CPU returns there. Touched
 * with interrupts off. A CPU without TSC_AUX reads it as 0, and no guest on it gets another.
 *
 * Where the in-tree module may come to run beside us at any time (WAFER_VMX_PERSISTENT is 0) it
 * does the same with these MSRs: it would take what it finds for the host's. So each window finds
 * out what there is, and puts that back.
 */
static const u32 ur_msr[VMX_NR_UR] = { MSR_STAR, MSR_LSTAR, MSR_SYSCALL_MASK, MSR_TSC_AUX };

static void load_msr(struct vmx_cpu *c, int i, u64 val)
{
	if (c->now_ur[i] == val)
		return;
	c->now_ur[i] = val;
	vmx_wrmsr(ur_msr[i], val);
}

/*
 * The host's again. The notifier's function; and cpu_off() calls it, which an interrupt may bring
 * at any time.
 */
void vmx_restore_user_return(struct user_return_notifier *unused)
{
	struct vmx_cpu *c = this_cpu_ptr(&vmx_cpu);
	unsigned long flags;

	local_irq_save(flags);
	if (c->last_ur) {
		user_return_notifier_unregister(&c->notifier);
		for (int i = 0; i < VMX_NR_UR; i++)
			load_msr(c, i, c->host_ur[i]);
		c->last_ur = 0;
		c->user_ran = true;
	}
	local_irq_restore(flags);
}

/*
 * SYSCALL's MSRs matter only where the guest has switched SYSCALL on. In the window, swapped in or
 * about to be.
 */
void vmx_load_user_return(struct wafer_vcpu *vcpu)
{
	const struct wafer_arch *a = &vcpu->arch;
	struct vmx_cpu *c = this_cpu_ptr(&vmx_cpu);

	if (unlikely(WAFER_VMX_PERSISTENT ? !c->notifier.on_user_return :
					    c->last_ur != vcpu->hw->id)) {
		c->notifier.on_user_return = vmx_restore_user_return;
		for (int i = 0; i < VMX_NR_UR; i++) {
			c->host_ur[i] = vmx_rdmsr(ur_msr[i]);
			c->now_ur[i] = c->host_ur[i];
		}
	}
	if (!c->last_ur)
		user_return_notifier_register(&c->notifier);
	c->last_ur = vcpu->hw->id;
	if (a->efer & WAFER_EFER_SCE) {
		load_msr(c, VMX_UR_STAR, a->star);
		load_msr(c, VMX_UR_LSTAR, a->lstar);
		load_msr(c, VMX_UR_FMASK, a->fmask);
	}
	if (vcpu->hw->secondary & SECONDARY_EXEC_ENABLE_RDTSCP)
		load_msr(c, VMX_UR_TSC_AUX, a->tsc_aux);
	vcpu->hw->tsc_aux = a->tsc_aux;
}

/* At the end of a window. The notifier stays, which l1d_flush() needs too. */
void vmx_unload_user_return(void)
{
	struct vmx_cpu *c = this_cpu_ptr(&vmx_cpu);

	if (!c->last_ur)
		return;
	for (int i = 0; i < VMX_NR_UR; i++)
		load_msr(c, i, c->host_ur[i]);
	c->last_ur = VMX_UR_NOBODY;
}

/* Host fields that are the same for all tasks: written when a vCPU comes to a CPU. */
void vmx_host_constants(void)
{
	static const struct {
		u32 field, msr;
	} from_msr[] = {
		{ HOST_GS_BASE, MSR_GS_BASE }, { HOST_IA32_SYSENTER_CS, MSR_IA32_SYSENTER_CS },
		{ HOST_IA32_EFER, MSR_EFER }, { HOST_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_ESP },
		{ HOST_IA32_PAT, MSR_IA32_CR_PAT },
		{ HOST_IA32_SYSENTER_EIP, MSR_IA32_SYSENTER_EIP },
	};
	struct desc_ptr idt;

	store_idt(&idt);
	vmwrite(HOST_GDTR_BASE, (unsigned long)get_cpu_gdt_ro(smp_processor_id()));
	vmwrite(HOST_IDTR_BASE, idt.address);
	vmwrite(HOST_TR_BASE, (unsigned long)&get_cpu_entry_area(smp_processor_id())->tss.x86_tss);
	vmwrite(HOST_CR0, native_read_cr0() & ~X86_CR0_TS);
	for (int i = 0; i < ARRAY_SIZE(from_msr); i++)
		vmwrite(from_msr[i].field, vmx_rdmsr(from_msr[i].msr));
}

/* At the first entry of a window. Pairs with vmx_swap_out(). */
void vmx_swap_in(struct wafer_vcpu *vcpu)
{
	struct wafer_hw *hw = vcpu->hw;
	struct vmx_cpu *c = this_cpu_ptr(&vmx_cpu);
	u64 cr3, perf;

	/* Host fields that change from task to task. */
	asm volatile("mov %%cr3, %0" : "=r" (cr3));
	vmwrite_changed(&hw->host.cr3, HOST_CR3, cr3);
	vmwrite_changed(&hw->host.cr4, HOST_CR4, native_read_cr4());
	vmwrite_changed(&hw->host.fs_base, HOST_FS_BASE,
			boot_cpu_has(X86_FEATURE_FSGSBASE) ? rdfsbase() : vmx_rdmsr(MSR_FS_BASE));
	savesegment(ds, hw->host.ds);
	savesegment(es, hw->host.es);
	savesegment(fs, hw->host.fs);
	savesegment(gs, hw->host.gs);
	asm("sldt %0" : "=r" (hw->host.ldt));
	hw->host.debugctl = vmx_rdmsr(MSR_IA32_DEBUGCTLMSR);
	/*
	 * Performance counters stop in the guest, by a control of entry and exit. Above all PEBS
	 * must: it would write its records through the guest's tables.
	 */
	if (vmx_conf.exit & VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL) {
		perf = vmx_rdmsr(MSR_CORE_PERF_GLOBAL_CTRL);
		vmwrite_changed(&hw->host.perf, HOST_IA32_PERF_GLOBAL_CTRL, perf);
		hw->host.pebs = 0;
		if (perf && boot_cpu_has(X86_FEATURE_PEBS))
			hw->host.pebs = vmx_rdmsr(MSR_IA32_PEBS_ENABLE);
		if (hw->host.pebs)
			vmx_wrmsr(MSR_IA32_PEBS_ENABLE, 0);
	}
	hw->host.kernel_gs_base = vmx_rdmsr(MSR_KERNEL_GS_BASE);
	vmx_wrmsr(MSR_KERNEL_GS_BASE, vcpu->arch.kernel_gs_base);
	if (boot_cpu_has(X86_FEATURE_MSR_SPEC_CTRL))
		hw->run.spec_host = spec_ctrl_current();
	if (c->last_ur != hw->id)
		vmx_load_user_return(vcpu);
	if (vmx_conf.l1d_flush)
		l1d_flush(hw, c);
	if (vmx_conf.verw_for_devices && READ_ONCE(vcpu->fault.mmu->has_devices))
		hw->todo |= VMX_VERW;
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

/*
 * The exit has set the limits of GDTR and IDTR to 0xffff and that of TR to 0x67, which cuts off the
 * I/O bitmap. LTR wants an available TSS and marks it busy, so it works on the writable alias of
 * the GDT.
 */
static void restore_tables(void)
{
	struct desc_struct *rw = get_cpu_gdt_rw(smp_processor_id());
	struct desc_ptr idt, gdt = { .size = GDT_SIZE - 1, .address = (unsigned long)rw };
	bool io_bitmap = test_thread_flag(TIF_IO_BITMAP);

	if (unlikely(io_bitmap)) {
		((struct ldttss_desc *)&rw[GDT_ENTRY_TSS])->type = DESC_TSS;
		native_load_gdt(&gdt);
		asm volatile("ltr %w0" : : "r" (GDT_ENTRY_TSS * 8));
	}
	this_cpu_write(__tss_limit_invalid, !io_bitmap);
	gdt.address = (unsigned long)get_cpu_gdt_ro(smp_processor_id());
	native_load_gdt(&gdt);
	store_idt(&idt);
	idt.size = IDT_ENTRIES * sizeof(gate_desc) - 1;
	native_load_idt(&idt);
}

void vmx_swap_out(struct wafer_vcpu *vcpu)
{
	struct wafer_hw *hw = vcpu->hw;

	hw->todo |= VMX_SWAP_IN;
	/* Unless the core has it already, or has set a new value that was not loaded any more. */
	if (vcpu->arch.missing & WAFER_G_SYSCALL) {
		vcpu->arch.kernel_gs_base = vmx_rdmsr(MSR_KERNEL_GS_BASE);
		vcpu->arch.missing &= ~WAFER_G_SYSCALL;
	}
	restore_tables();
	/* The selectors of 32-bit tasks; 64-bit ones have 0 there, which the exit has loaded. */
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
	/* After the load of GS, which changes it. */
	vmx_wrmsr(MSR_KERNEL_GS_BASE, hw->host.kernel_gs_base);
	if (hw->host.debugctl)
		vmx_wrmsr(MSR_IA32_DEBUGCTLMSR, hw->host.debugctl);
	if (hw->host.pebs)
		vmx_wrmsr(MSR_IA32_PEBS_ENABLE, hw->host.pebs);
}
