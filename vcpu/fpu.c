// SPDX-License-Identifier: GPL-2.0
/*
 * The guest's x87, SSE, AVX and AVX-512 state.
 *
 * It is in the registers between wafer_fpu_load() and wafer_fpu_put(), inside a section of kernel_fpu_begin(), which
 * has saved the VMM's. Otherwise it is in vcpu->fpu, an XSAVE area of standard format (SDM vol. 1 §13.4). Whatever
 * XCR0 the guest has, all components that guests can have are moved, under the host's XCR0: what a guest switches
 * off in XCR0 keeps its contents. PKRU is kept apart (pkru.h), supervisor components are not offered.
 */
#include <linux/slab.h>
#include <linux/string.h>
#include <asm/asm.h>
#include <asm/cpufeature.h>
#include <asm/fpu/api.h>
#include <asm/processor.h>

#include "compat.h"
#include "fpu.h"
#include "msr_asm.h"
#include "vcpu.h"
#include "vm.h"

struct wafer_xstate wafer_xstate;	/* written once at module load */

static u64 read_xcr0(void)
{
	u32 eax, edx;

	asm volatile("xgetbv" : "=a" (eax), "=d" (edx) : "c" (0));
	return eax | (u64)edx << 32;
}

static void write_xcr0(u64 val)
{
	asm volatile("xsetbv" : : "a" ((u32)val), "d" ((u32)(val >> 32)), "c" (0) : "memory");
}

/* 0, or -EINVAL where the CPU refuses the image: it has been checked when it came in, this is the second line. */
static int xrstor(const struct wafer_xarea *area, u64 mask)
{
	int err = 0;

	asm volatile("1: xrstor64 %[area]\n"
		     "2:\n"
		     _ASM_EXTABLE_TYPE_REG(1b, 2b, EX_TYPE_EFAULT_REG, %[err])
		     : [err] "+r" (err)
		     : [area] "m" (*area), "a" ((u32)mask), "d" ((u32)(mask >> 32))
		     : "memory");
	return err;
}

static int fxrstor(const struct wafer_xarea *area)
{
	int err = 0;

	asm volatile("1: fxrstor64 %[area]\n"
		     "2:\n"
		     _ASM_EXTABLE_TYPE_REG(1b, 2b, EX_TYPE_EFAULT_REG, %[err])
		     : [err] "+r" (err)
		     : [area] "m" (*area)
		     : "memory");
	return err;
}

static void xsave(struct wafer_xarea *area, u64 mask)
{
	if (static_cpu_has(X86_FEATURE_XSAVEOPT))
		asm volatile("xsaveopt64 %0" : "+m" (*area) : "a" ((u32)mask), "d" ((u32)(mask >> 32)) : "memory");
	else
		asm volatile("xsave64 %0" : "+m" (*area) : "a" ((u32)mask), "d" ((u32)(mask >> 32)) : "memory");
}

/* Some AMD CPUs leave the x87 pointers alone where no exception is pending: the VMM's would show in the guest. */
static void clear_x87_pointers(void)
{
	static const u32 zero;

	if (static_cpu_has_bug(X86_BUG_FXSAVE_LEAK))
		asm volatile("fnclex; emms; fildl %0" : : "m" (zero));
}

/**
 * wafer_fpu_load() - bring the guest's FPU state into the registers
 * @vcpu: vCPU, its mutex held
 *
 * Preemption is off until wafer_fpu_put(). Context: process, interrupts on.
 */
void wafer_fpu_load(struct wafer_vcpu *vcpu)
{
	const struct wafer_xstate *x = &wafer_xstate;
	struct wafer_xarea *area = vcpu->fpu;

	kernel_fpu_begin_mask(0);
	clear_x87_pointers();
	if (!x->xcr0) {
		if (unlikely(fxrstor(area))) {
			wafer_xarea_init(area);
			fxrstor(area);
		}
	} else {
		if (unlikely(xrstor(area, x->moved))) {
			wafer_xarea_init(area);
			xrstor(area, x->moved);
		}
		if (x->host_xss)
			wafer_wrmsr(MSR_IA32_XSS, 0);
		if (vcpu->arch.xcr0 != x->host_xcr0)
			write_xcr0(vcpu->arch.xcr0);
	}
	vcpu->fpu_loaded = true;
}

void wafer_fpu_put(struct wafer_vcpu *vcpu)
{
	const struct wafer_xstate *x = &wafer_xstate;
	struct wafer_xarea *area = vcpu->fpu;

	vcpu->fpu_loaded = false;
	if (!x->xcr0) {
		asm volatile("fxsave64 %0" : "=m" (*area));
	} else {
		if (vcpu->arch.xcr0 != x->host_xcr0)
			write_xcr0(x->host_xcr0);
		if (x->host_xss)
			wafer_wrmsr(MSR_IA32_XSS, x->host_xss);
		xsave(area, x->moved);
	}
	kernel_fpu_end();
}

/* The state that FNINIT and a zero XSTATE_BV stand for; MXCSR is loaded whatever XSTATE_BV says. */
void wafer_xarea_init(struct wafer_xarea *area)
{
	memset(area, 0, wafer_xstate.size);
	area->fcw = 0x37f;
	area->mxcsr = WAFER_MXCSR_DEFAULT;
}

int wafer_fpu_create(struct wafer_vcpu *vcpu)
{
	/* A power of two is aligned to its size, and XSAVE wants 64 bytes. */
	vcpu->fpu = kzalloc(roundup_pow_of_two(wafer_xstate.size), GFP_KERNEL_ACCOUNT);
	return vcpu->fpu ? 0 : -ENOMEM;
}

void wafer_fpu_free(struct wafer_vcpu *vcpu)
{
	kfree(vcpu->fpu);
}

/* INIT leaves the FPU alone (SDM vol. 3 table 10-1). */
void wafer_fpu_reset(struct wafer_vcpu *vcpu, bool init)
{
	if (init)
		return;
	wafer_xarea_init(vcpu->fpu);
	vcpu->pkru = 0;
}

static void __init find_component(struct wafer_xstate *x, unsigned int i)
{
	u32 eax, ebx, ecx, edx;

	cpuid_count(0xd, i, &eax, &ebx, &ecx, &edx);
	x->part[i].size = eax;
	x->part[i].offset = ebx;
	x->part[i].align = ecx & BIT(1);
	x->size = max(x->size, eax + ebx);
}

static void __init find_mxcsr_mask(struct wafer_xstate *x)
{
	struct { u8 bytes[512]; } area __aligned(16) = {};
	u32 mask;

	kernel_fpu_begin();
	asm volatile("fxsave64 %0" : "+m" (area));
	kernel_fpu_end();
	memcpy(&mask, area.bytes + 28, sizeof(mask));
	x->mxcsr_mask = mask ?: 0xffbf;		/* SDM vol. 1 §11.6.6 */
}

/**
 * wafer_fpu_setup() - find what state this CPU has and the host uses
 *
 * Offered is what is known here, what the CPU has and what the host's kernel has switched on. AMX is not: its
 * state needs the host's permission protocol.
 */
void __init wafer_fpu_setup(void)
{
	struct wafer_xstate *x = &wafer_xstate;
	unsigned int i;

	x->size = sizeof(struct wafer_xarea);
	find_mxcsr_mask(x);
	if (!boot_cpu_has(X86_FEATURE_XSAVE))
		return;
	x->host_xcr0 = read_xcr0();
	x->xcr0 = x->host_xcr0 & WAFER_XCR0_KNOWN;
	if (!boot_cpu_has(X86_FEATURE_OSPKE))
		x->xcr0 &= ~WAFER_X_PKRU;
	x->moved = x->xcr0 & ~WAFER_X_PKRU;
	for (i = 2; i < WAFER_X_PARTS; i++)
		if (x->xcr0 & BIT_ULL(i))
			find_component(x, i);
	if (boot_cpu_has(X86_FEATURE_XSAVES))
		wafer_rdmsr_safe(MSR_IA32_XSS, &x->host_xss);
}

u64 wafer_host_xcr0(void)
{
	return wafer_xstate.xcr0;
}

/**
 * wafer_xsave_size() - size of an XSAVE area
 * @xcr0: components
 * @compacted: XSAVEC's format, not XSAVE's (SDM vol. 1 §13.4.3)
 *
 * Return: bytes, the legacy region and the header included.
 */
u32 wafer_xsave_size(u64 xcr0, bool compacted)
{
	const struct wafer_xstate *x = &wafer_xstate;
	u32 i, size = sizeof(struct wafer_xarea);

	for (i = 2; i < WAFER_X_PARTS; i++) {
		if (!(xcr0 & x->xcr0 & BIT_ULL(i)))
			continue;
		if (!compacted)
			size = max(size, x->part[i].offset + x->part[i].size);
		else
			size = (x->part[i].align ? ALIGN(size, 64) : size) + x->part[i].size;
	}
	return size;
}

unsigned int wafer_xsave_bytes(void)
{
	return max_t(unsigned int, wafer_xstate.size, sizeof(((struct kvm_xsave *)0)->region));
}
