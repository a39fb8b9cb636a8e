// SPDX-License-Identifier: GPL-2.0
/* Life of a vCPU, and its architectural reset. */
#include <linux/mm.h>
#include <linux/slab.h>
#include <asm/processor-flags.h>

#include "vcpu.h"
#include "vm.h"

static struct kmem_cache *vcpu_cache;

int wafer_vcpu_cache_init(void)
{
	/* Guest memory is copied to and from the emulation's operands and the PDPTEs (CONFIG_HARDENED_USERCOPY). */
	vcpu_cache = kmem_cache_create_usercopy("wafer_vcpu", sizeof(struct wafer_vcpu), __alignof__(struct wafer_vcpu),
						SLAB_ACCOUNT, offsetof(struct wafer_vcpu, emu),
						sizeof_field(struct wafer_vcpu, emu), NULL);
	return vcpu_cache ? 0 : -ENOMEM;
}

void wafer_vcpu_cache_exit(void)
{
	kmem_cache_destroy(vcpu_cache);
}

static int alloc_run_pages(struct wafer_vcpu *vcpu)
{
	vcpu->run = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	vcpu->pio_data = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (vcpu->run && vcpu->pio_data)
		return 0;
	free_page((unsigned long)vcpu->run);
	free_page((unsigned long)vcpu->pio_data);
	return -ENOMEM;
}

static void free_run_pages(struct wafer_vcpu *vcpu)
{
	free_page((unsigned long)vcpu->run);
	free_page((unsigned long)vcpu->pio_data);
}

/* The parts of a vCPU that are made and freed by somebody else, in the order of making. */
static const struct {
	int (*make)(struct wafer_vcpu *vcpu);
	void (*free)(struct wafer_vcpu *vcpu);
} parts[] = {
	{ alloc_run_pages,	free_run_pages },
	{ wafer_cpuid_create,	wafer_cpuid_free },
	{ wafer_msr_create,	wafer_msr_free },
	{ wafer_fpu_create,	wafer_fpu_free },
	{ wafer_lapic_create,	wafer_lapic_free },	/* makes none where the VM has no chip */
};

static void free_parts(struct wafer_vcpu *vcpu, int n)
{
	while (n--)
		parts[n].free(vcpu);
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
	struct wafer_vcpu *vcpu;
	int i, r;

	vcpu = kmem_cache_zalloc(vcpu_cache, GFP_KERNEL);
	if (!vcpu)
		return ERR_PTR(-ENOMEM);
	vcpu->vm = vm;
	vcpu->id = id;
	vcpu->index = vm->nr_vcpus;
	vcpu->hw_cpu = -1;
	vcpu->extint = -1;
	vcpu->reinject.kind = WAFER_EV_NONE;
	vcpu->pending.kind = WAFER_EV_NONE;
	mutex_init(&vcpu->mutex);
	rcuwait_init(&vcpu->wait);
	for (i = 0; i < ARRAY_SIZE(parts); i++) {
		r = parts[i].make(vcpu);
		if (r)
			goto undo;
	}
	r = wafer_mmu_ctx_init(&vm->mmu, &vcpu->fault);
	if (r)
		goto undo;
	r = wafer_backend->vcpu_create(vcpu);
	if (r)
		goto ctx;
	wafer_vcpu_time_init(vcpu);
	wafer_vcpu_reset(vcpu, false);
	return vcpu;

ctx:
	wafer_mmu_ctx_release(&vm->mmu, &vcpu->fault);
undo:
	free_parts(vcpu, i);
	kmem_cache_free(vcpu_cache, vcpu);
	return ERR_PTR(r);
}

void wafer_vcpu_free(struct wafer_vcpu *vcpu)
{
	wafer_vcpu_detach(vcpu);
	wafer_backend->vcpu_free(vcpu);
	wafer_mmu_ctx_release(&vcpu->vm->mmu, &vcpu->fault);
	free_parts(vcpu, ARRAY_SIZE(parts));
	put_pid(vcpu->pid);
	kmem_cache_free(vcpu_cache, vcpu);
}

/* Types after reset: accessed data and code segments, busy 32-bit TSS, LDT (SDM vol. 3 table 10-1). */
static void reset_segments(struct wafer_arch *a)
{
	int i;

	for (i = WAFER_ES; i <= WAFER_GS; i++)
		a->seg[i] = (struct wafer_segment){ .limit = 0xffff, .attr = 0x93 };
	a->seg[WAFER_CS] = (struct wafer_segment){
		.base = 0xffff0000, .limit = 0xffff, .attr = 0x9b, .selector = 0xf000,
	};
	a->seg[WAFER_LDTR] = (struct wafer_segment){ .limit = 0xffff, .attr = 0x82 };
	a->seg[WAFER_TR] = (struct wafer_segment){ .limit = 0xffff, .attr = 0x8b };
	a->gdt = a->idt = (struct wafer_dtable){ .limit = 0xffff };
}

/**
 * wafer_vcpu_reset() - RESET or INIT (SDM vol. 3 §10.1.1 table 10-1, APM vol. 2 §14.1)
 * @vcpu: vCPU, not running
 * @init: INIT: keeps what table 10-1 says is kept: CR0.CD and NW, FPU, most MSRs, the APIC's id and base
 */
void wafer_vcpu_reset(struct wafer_vcpu *vcpu, bool init)
{
	struct wafer_arch *a = &vcpu->arch;
	u64 kept_cd_nw = X86_CR0_CD | X86_CR0_NW;
	u32 eax = 1, ebx, ecx = 0, edx;

	if (init)
		kept_cd_nw = wafer_cr0(vcpu) & (X86_CR0_CD | X86_CR0_NW);
	wafer_need(vcpu, init ? WAFER_G_ALL : 0);
	memset(a->gpr, 0, sizeof(a->gpr));
	wafer_cpuid(vcpu, &eax, &ebx, &ecx, &edx);
	a->gpr[WAFER_RDX] = eax ?: 0x600;
	a->rip = 0xfff0;
	a->rflags = X86_EFLAGS_FIXED;
	a->cr0 = X86_CR0_ET | kept_cd_nw;
	a->cr2 = a->cr3 = a->cr4 = 0;
	a->efer = 0;
	memset(a->pdptr, 0, sizeof(a->pdptr));
	reset_segments(a);
	memset(a->dr, 0, sizeof(a->dr));
	a->dr6 = 0xffff0ff0;
	a->dr7 = a->hw_dr7 = 0x400;
	a->block = 0;
	if (!init) {
		a->pat = 0x0007040600070406ull;
		a->sysenter_cs = a->sysenter_esp = a->sysenter_eip = 0;
		a->star = a->lstar = a->cstar = a->fmask = a->kernel_gs_base = 0;
		a->tsc_aux = a->spec_ctrl = 0;
		a->xcr0 = 1;
		a->xss = 0;
	}
	a->avail = a->dirty = WAFER_G_ALL;
	vcpu->reinject.kind = vcpu->pending.kind = WAFER_EV_NONE;
	vcpu->triple_fault = false;
	vcpu->complete = NULL;
	vcpu->emu_busy = false;
	atomic_set(&vcpu->nmi_pending, 0);
	vcpu->extint = -1;
	wafer_msr_reset(vcpu, init);
	wafer_fpu_reset(vcpu, init);
	if (vcpu->lapic)
		wafer_lapic_reset(vcpu, init);
	if (!init)
		vcpu->mp_state = !vcpu->lapic || vcpu->id == vcpu->vm->boot_cpu_id ?
				 KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_UNINITIALIZED;
	wafer_hazard_set(vcpu, WAFER_H_EVENT);
	wafer_hazard_set(vcpu, WAFER_H_INTERCEPT);
	wafer_hazard_set(vcpu, WAFER_H_FLUSH);
	wafer_hazard_set(vcpu, WAFER_H_TSC);
}
