// SPDX-License-Identifier: GPL-2.0
/* Life of a vCPU, and its architectural reset. */
#include "core.h"

/* What has been made of the parts; each may be missing. */
static void free_parts(struct wafer_vcpu *vcpu)
{
	if (vcpu->hw)
		wafer_backend->vcpu_free(vcpu);
	wafer_lapic_free(vcpu);
	kfree(vcpu->fpu);
	kvfree(vcpu->cpuid);
	kfree(vcpu->fetch);
	free_page((unsigned long)vcpu->run);
	free_page((unsigned long)vcpu->pio_data);
	kfree(vcpu);
}

/**
 * wafer_vcpu_create() - make a vCPU in the state after RESET
 * @vm: VM, its lock held
 * @id: APIC id, not in use
 *
 * The caller publishes it in vm->vcpus.
 *
 * Return: the vCPU or ERR_PTR().
 */
struct wafer_vcpu *wafer_vcpu_create(struct wafer_vm *vm, u32 id)
{
	struct wafer_vcpu *vcpu = kzalloc(sizeof(*vcpu), GFP_KERNEL_ACCOUNT);
	int r;

	if (!vcpu)
		return ERR_PTR(-ENOMEM);
	vcpu->vm = vm;
	vcpu->id = id;
	vcpu->index = vm->nr_vcpus;
	vcpu->hw_cpu = -1;
	vcpu->mcg_cap = WAFER_MCE_BANKS;
	mutex_init(&vcpu->mutex);
	rcuwait_init(&vcpu->wait);
	vcpu->run = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	vcpu->pio_data = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	vcpu->fetch = kcalloc(WAFER_FETCHES, sizeof(*vcpu->fetch), GFP_KERNEL_ACCOUNT);
	/* No local APIC is made where the VM has no chip. */
	r = !vcpu->run || !vcpu->pio_data || !vcpu->fetch ? -ENOMEM :
	    wafer_cpuid_create(vcpu) ?: wafer_fpu_create(vcpu) ?: wafer_lapic_create(vcpu) ?:
	    wafer_backend->vcpu_create(vcpu) ?: wafer_mmu_ctx_init(&vm->mmu, &vcpu->fault);
	if (r) {
		free_parts(vcpu);
		return ERR_PTR(r);
	}
	vcpu->after_exit = vcpu->fault.ring.entry ? WAFER_AFTER_RING : 0;
	wafer_vcpu_time_init(vcpu);
	wafer_vcpu_reset(vcpu, false);
	return vcpu;
}

void wafer_vcpu_free(struct wafer_vcpu *vcpu)
{
	wafer_vcpu_detach(vcpu);
	wafer_mmu_ctx_release(&vcpu->vm->mmu, &vcpu->fault);
	free_parts(vcpu);
}

/**
 * wafer_vcpu_reset() - RESET or INIT (SDM vol. 3 §10.1.1 table 10-1, APM vol. 2 §14.1)
 * @vcpu: vCPU, not running
 * @init: INIT: keeps what table 10-1 says is kept: CR0.CD and NW, FPU, most MSRs, the APIC's id and
 *	base
 */
void wafer_vcpu_reset(struct wafer_vcpu *vcpu, bool init)
{
	struct kvm_cpuid_entry2 leaf1;
	struct wafer_arch *a = &vcpu->arch;
	u64 kept_cd_nw = X86_CR0_CD | X86_CR0_NW;

	if (init)
		kept_cd_nw &= wafer_cr0(vcpu);
	wafer_need(vcpu, init ? WAFER_G_ALL : 0);
	/* The MSRs stand at the end. */
	memset(a, 0, init ? offsetof(struct wafer_arch, sysenter_cs) : sizeof(*a));
	/* at once, or asking for a register brings the old one back */
	a->missing = 0;
	a->dirty = WAFER_G_ALL;
	wafer_forget_ways(vcpu);
	a->gpr[WAFER_RDX] = wafer_cpuid(vcpu, 1, 0, &leaf1)->eax ?: 0x600;
	a->rip = 0xfff0;
	a->rflags = X86_EFLAGS_FIXED;
	a->cr0 = X86_CR0_ET | kept_cd_nw;
	/* Accessed data and code segments, LDT, busy 32-bit TSS. */
	for (int i = 0; i < WAFER_NR_SEGS; i++)
		a->seg[i] = (struct wafer_segment){
			.limit = 0xffff,
			.attr = i == WAFER_TR ? 0x8b : i == WAFER_LDTR ? 0x82 : 0x93,
		};
	a->seg[WAFER_CS] = (struct wafer_segment){ 0xffff0000, 0xffff, 0x9b, 0xf000 };
	a->gdt.limit = a->idt.limit = 0xffff;
	a->dr6 = 0xffff0ff0;
	a->dr7 = a->hw_dr7 = 0x400;
	if (!init) {
		a->pat = 0x0007040600070406ull;
		a->xcr0 = 1;
	}
	vcpu->reinject.kind = vcpu->pending.kind = WAFER_EV_NONE;
	vcpu->triple_fault = vcpu->emu_busy = false;
	vcpu->complete = NULL;
	atomic_set(&vcpu->nmi_pending, 0);
	vcpu->extint = -1;
	wafer_msr_reset(vcpu, init);
	wafer_fpu_reset(vcpu, init);
	if (vcpu->lapic)
		wafer_lapic_reset(vcpu, init);
	if (!init)
		vcpu->mp_state = !vcpu->lapic || vcpu->id == vcpu->vm->boot_cpu_id ?
				 KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_UNINITIALIZED;
	wafer_hazards_set(vcpu, BIT(WAFER_H_EVENT) | BIT(WAFER_H_INTERCEPT) |
			  BIT(WAFER_H_FLUSH) | BIT(WAFER_H_TSC));
}
