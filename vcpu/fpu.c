// SPDX-License-Identifier: GPL-2.0
/*
 * The guest's x87, SSE, AVX and AVX-512 state.
 *
 * It is in the registers between wafer_fpu_load() and wafer_fpu_put(), inside a section of
 * kernel_fpu_begin(), which has saved the VMM's. Otherwise it is in vcpu->fpu, an XSAVE area of
 * standard format (SDM vol. 1 §13.4). Whatever XCR0 the guest has, all components that guests can
 * have are moved, under the host's XCR0: what a guest switches off in XCR0 keeps its contents. PKRU
 * is kept apart (fpu.h), supervisor components are not offered.
 *
 * In the area a component whose bit in XSTATE_BV is clear is in its initial state and its bytes
 * mean nothing; only MXCSR always counts.
 */
#include <linux/slab.h>
#include <linux/string.h>
#include <asm/asm.h>
#include <asm/cpufeature.h>
#include <asm/fpu/api.h>
#include <asm/fpu/types.h>
#include <asm/fpu/xcr.h>
#include <asm/msr.h>

#include "compat.h"
#include "core.h"

#define XCR0_KNOWN \
	(XFEATURE_MASK_FPSSE | XFEATURE_MASK_YMM | XFEATURE_MASK_AVX512 | XFEATURE_MASK_PKRU)
#define NR_PARTS (XFEATURE_PKRU + 1)
#define FCW_DEFAULT 0x37f

/*
 * What this host's CPU has; written once at module load
 * @host_xcr0, @host_xss: the host kernel's
 * @xcr0: components offered to guests; 0: the CPU has no XSAVE
 * @moved: those that XSAVE and XRSTOR move, PKRU not
 * @size: of a standard-format area with all of @xcr0
 * @mxcsr_mask: valid bits of MXCSR
 * @part: components from SSE on: place in the standard format, size, alignment in the compacted one
 */
static struct {
	u64 host_xcr0, xcr0;
	u32 host_xss[2], moved, size, mxcsr_mask;
	struct { u32 offset, size; bool align; } part[NR_PARTS];
} x = {
	.size = sizeof(struct xregs_state),
	.part[XFEATURE_SSE] = { offsetof(struct xregs_state, i387.xmm_space), 256 },
};

/*
 * 0, or -EFAULT where the CPU refuses the image: it has been checked when it came in, this is the
 * second line.
 */
#define RESTORE(insn) ({								\
	int err = 0;									\
	asm volatile("1: " insn " %[area]\n2:\n"					\
		     _ASM_EXTABLE_TYPE_REG(1b, 2b, EX_TYPE_EFAULT_REG, %[err])		\
		     : [err] "+r" (err) : [area] "m" (*area), "a" (x.moved), "d" (0) : "memory"); \
	err; })

static int restore(const struct xregs_state *area)
{
	return x.xcr0 ? RESTORE("xrstor64") : RESTORE("fxrstor64");
}

#define SAVE(insn) \
	({ asm volatile(insn " %0" : "+m" (*area) : "a" (x.moved), "d" (0) : "memory"); })

static void save(struct xregs_state *area)
{
	if (!x.xcr0)
		SAVE("fxsave64");
	else if (static_cpu_has(X86_FEATURE_XSAVEOPT))
		SAVE("xsaveopt64");
	else
		SAVE("xsave64");
}

/* The state that FNINIT and a zero XSTATE_BV stand for; MXCSR is loaded whatever XSTATE_BV says. */
static void init_area(struct xregs_state *area)
{
	memset(area, 0, x.size);
	area->i387.cwd = FCW_DEFAULT;
	area->i387.mxcsr = MXCSR_DEFAULT;
}

/**
 * wafer_fpu_load() - bring the guest's FPU state into the registers
 * @vcpu: vCPU, its mutex held
 *
 * Preemption is off until wafer_fpu_put(). Context: process, interrupts on.
 */
void wafer_fpu_load(struct wafer_vcpu *vcpu)
{
	static const u32 zero;

	kernel_fpu_begin_mask(0);
	/*
	 * Some AMD CPUs leave the x87 pointers alone where no exception is pending: the VMM's would
	 * show in the guest.
	 */
	if (static_cpu_has_bug(X86_BUG_FXSAVE_LEAK))
		asm volatile("fnclex; emms; fildl %0" : : "m" (zero));
	if (unlikely(restore(vcpu->fpu))) {
		init_area(vcpu->fpu);
		restore(vcpu->fpu);
	}
	if (x.host_xss[0] || x.host_xss[1])
		wrmsr_safe(MSR_IA32_XSS, 0, 0);
	if (x.xcr0 && vcpu->arch.xcr0 != x.host_xcr0)
		xsetbv(XCR_XFEATURE_ENABLED_MASK, vcpu->arch.xcr0);
	vcpu->fpu_loaded = true;
}

void wafer_fpu_put(struct wafer_vcpu *vcpu)
{
	vcpu->fpu_loaded = false;
	if (x.xcr0 && vcpu->arch.xcr0 != x.host_xcr0)
		xsetbv(XCR_XFEATURE_ENABLED_MASK, x.host_xcr0);
	if (x.host_xss[0] || x.host_xss[1])
		wrmsr_safe(MSR_IA32_XSS, x.host_xss[0], x.host_xss[1]);
	save(vcpu->fpu);
	kernel_fpu_end();
}

int wafer_fpu_create(struct wafer_vcpu *vcpu)
{
	/* A power of two is aligned to its size, and XSAVE wants 64 bytes. */
	vcpu->fpu = kzalloc(roundup_pow_of_two(x.size), GFP_KERNEL_ACCOUNT);
	return vcpu->fpu ? 0 : -ENOMEM;
}

/* INIT leaves the FPU alone (SDM vol. 3 table 10-1). */
void wafer_fpu_reset(struct wafer_vcpu *vcpu, bool init)
{
	if (init)
		return;
	init_area(vcpu->fpu);
	vcpu->pkru = 0;
}

/**
 * wafer_fpu_setup() - find what state this CPU has and the host uses
 *
 * Offered is what is known here, what the CPU has and what the host's kernel has switched on. AMX
 * is not: its state needs the host's permission protocol.
 */
void __init wafer_fpu_setup(void)
{
	struct fxregs_state area = {};
	u32 i, ecx, edx;

	kernel_fpu_begin();
	asm volatile("fxsave64 %0" : "+m" (area));
	kernel_fpu_end();
	x.mxcsr_mask = area.mxcsr_mask ?: 0xffbf;		/* SDM vol. 1 §11.6.6 */
	if (!boot_cpu_has(X86_FEATURE_XSAVE))
		return;
	x.host_xcr0 = xgetbv(XCR_XFEATURE_ENABLED_MASK);
	x.xcr0 = x.host_xcr0 & XCR0_KNOWN;
	if (!boot_cpu_has(X86_FEATURE_OSPKE))
		x.xcr0 &= ~XFEATURE_MASK_PKRU;
	x.moved = x.xcr0 & ~XFEATURE_MASK_PKRU;
	for (i = XFEATURE_YMM; i < NR_PARTS; i++) {
		if (!(x.xcr0 & BIT_ULL(i)))
			continue;
		cpuid_count(0xd, i, &x.part[i].size, &x.part[i].offset, &ecx, &edx);
		x.part[i].align = ecx & BIT(1);
		x.size = max(x.size, x.part[i].offset + x.part[i].size);
	}
	if (boot_cpu_has(X86_FEATURE_XSAVES))
		rdmsr_safe(MSR_IA32_XSS, &x.host_xss[0], &x.host_xss[1]);
}

u64 wafer_host_xcr0(void)
{
	return x.xcr0;
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
	u32 i, size = sizeof(struct xregs_state);

	for (i = XFEATURE_YMM; i < NR_PARTS; i++)
		if (!(xcr0 & x.xcr0 & BIT_ULL(i)))
			continue;
		else if (!compacted)
			size = max(size, x.part[i].offset + x.part[i].size);
		else
			size = (x.part[i].align ? ALIGN(size, 64) : size) + x.part[i].size;
	return size;
}

unsigned int wafer_xsave_bytes(void)
{
	return max_t(unsigned int, x.size, sizeof(((struct kvm_xsave *)0)->region));
}

/* ---- to and from the VMM and the emulator: the guest's state is in vcpu->fpu alone ---- */

/* Makes the bytes of components mean something: those in their initial state get it written out. */
static struct xregs_state *materialise(struct wafer_vcpu *vcpu, u64 parts)
{
	struct xregs_state *area = vcpu->fpu;
	unsigned int i;

	parts &= ~area->header.xfeatures & x.moved;
	area->header.xfeatures |= parts;
	if (parts & XFEATURE_MASK_FP) {
		memset(&area->i387, 0, offsetof(struct fxregs_state, mxcsr));
		memset(area->i387.st_space, 0, sizeof(area->i387.st_space));
		area->i387.cwd = FCW_DEFAULT;
	}
	for (i = XFEATURE_SSE; i < NR_PARTS; i++)
		if (parts & BIT_ULL(i))
			memset(vcpu->fpu + x.part[i].offset, 0, x.part[i].size);
	return area;
}

/* What does not come from the guest: MXCSR_MASK, and the bytes that the CPU ignores. */
static void set_unused(struct xregs_state *area, u32 mxcsr_mask)
{
	area->i387.mxcsr_mask = mxcsr_mask;
	memset(area->i387.padding, 0, sizeof(area->i387.padding));
	memset(area->i387.padding1, 0, sizeof(area->i387.padding1));
}

/**
 * wafer_get_xsave() - KVM_GET_XSAVE, KVM_GET_XSAVE2
 * @vcpu: vCPU
 * @buf: zeroed, wafer_xsave_bytes() bytes; gets the standard format whatever the CPU uses
 */
void wafer_get_xsave(struct wafer_vcpu *vcpu, void *buf)
{
	struct xregs_state *out = buf;

	memcpy(buf, materialise(vcpu, ~0ull), x.size);
	set_unused(out, x.mxcsr_mask);
	if (!x.xcr0)
		out->header.xfeatures = XFEATURE_MASK_FPSSE;
	if (x.xcr0 & XFEATURE_MASK_PKRU) {
		out->header.xfeatures |= XFEATURE_MASK_PKRU;
		memcpy(buf + x.part[XFEATURE_PKRU].offset, &vcpu->pkru, sizeof(vcpu->pkru));
	}
}

/**
 * wafer_set_xsave() - KVM_SET_XSAVE
 * @vcpu: vCPU
 * @buf: wafer_xsave_bytes() bytes in the standard format, private to the caller
 *
 * It is checked as XRSTOR would check it (SDM vol. 1 §13.8.1), so that XRSTOR never faults. PKRU
 * keeps its value where its bit is clear.
 *
 * Return: 0 or -EINVAL with nothing changed.
 */
int wafer_set_xsave(struct wafer_vcpu *vcpu, const void *buf)
{
	const struct xregs_state *in = buf;
	struct xregs_state *area = vcpu->fpu;
	const struct xstate_header *h = &in->header;
	u64 parts = h->xfeatures;
	int r;

	r = wafer_deny(vcpu, parts & ~(x.xcr0 ?: XFEATURE_MASK_FPSSE), "XSTATE_BV", parts,
		       "has components of the supported XCR0 only") ?:
	    wafer_deny(vcpu, h->xcomp_bv || memchr_inv(h->reserved, 0, sizeof(h->reserved)),
		       "XCOMP_BV", h->xcomp_bv,
		       "is 0, as all the header's reserved bytes (SDM vol. 1 13.4.2)") ?:
	    wafer_deny(vcpu, parts && in->i387.mxcsr & ~x.mxcsr_mask, "MXCSR", in->i387.mxcsr,
		       "has no reserved bits set");
	if (r)
		return r;
	memcpy(area, buf, x.size);
	set_unused(area, 0);
	area->header.xfeatures &= x.moved;
	if (!(parts & (XFEATURE_MASK_SSE | XFEATURE_MASK_YMM)))
		area->i387.mxcsr = MXCSR_DEFAULT;
	if (parts & XFEATURE_MASK_PKRU)
		memcpy(&vcpu->pkru, buf + x.part[XFEATURE_PKRU].offset, sizeof(vcpu->pkru));
	return 0;
}

int wafer_get_xcrs(struct wafer_vcpu *vcpu, struct kvm_xcrs *xcrs)
{
	xcrs->nr_xcrs = 1;
	xcrs->xcrs[0].value = vcpu->arch.xcr0;
	return x.xcr0 ? 0 : -EINVAL;
}

int wafer_set_xcrs(struct wafer_vcpu *vcpu, const struct kvm_xcrs *xcrs)
{
	u32 i, nr = xcrs->nr_xcrs;

	if (!x.xcr0 || nr > KVM_MAX_XCRS || xcrs->flags)
		return wafer_refuse(&vcpu->refusal, -EINVAL, "nr_xcrs", nr,
				    "is at most 16, with flags 0");
	for (i = 0; i < nr && xcrs->xcrs[i].xcr; i++)
		;
	return wafer_deny(vcpu, i < nr && wafer_set_xcr0(vcpu, xcrs->xcrs[i].value), "XCR0",
			  xcrs->xcrs[i % KVM_MAX_XCRS].value,
			  "is a combination that the guest's CPUID offers (SDM vol. 1 13.3)");
}

/* struct kvm_fpu is FXSAVE's image in another order. */
#define FPU_HEAD offsetof(struct fxregs_state, mxcsr)
static_assert(offsetof(struct kvm_fpu, xmm) - offsetof(struct kvm_fpu, fcw) == FPU_HEAD);

int wafer_get_fpu(struct wafer_vcpu *vcpu, struct kvm_fpu *f)
{
	const struct fxregs_state *fx = &materialise(vcpu, XFEATURE_MASK_FPSSE)->i387;

	memcpy(f->fpr, fx->st_space, sizeof(f->fpr));
	memcpy((void *)f + offsetof(struct kvm_fpu, fcw), fx, FPU_HEAD);
	memcpy(f->xmm, fx->xmm_space, sizeof(f->xmm));
	f->mxcsr = fx->mxcsr;
	return 0;
}

/* As in KVM, MXCSR is not taken: VMMs leave rubbish in the field. */
int wafer_set_fpu(struct wafer_vcpu *vcpu, const struct kvm_fpu *f)
{
	struct fxregs_state *fx = &materialise(vcpu, XFEATURE_MASK_FPSSE)->i387;

	memcpy(fx->st_space, f->fpr, sizeof(f->fpr));
	memcpy(fx, (void *)f + offsetof(struct kvm_fpu, fcw), FPU_HEAD);
	memcpy(fx->xmm_space, f->xmm, sizeof(f->xmm));
	fx->twd = f->ftwx;
	return 0;
}

/**
 * wafer_fpu_mmx() - read or write an MMX register
 * @vcpu: vCPU, FPU state not loaded
 * @nr: 0-7
 * @val: gets or holds the value
 * @write: write it
 *
 * As an instruction does it (SDM vol. 1 §9.5): the top of the stack becomes 0, all is valid. The
 * area has the registers in the stack's order, MMX by their numbers.
 */
void wafer_fpu_mmx(struct wafer_vcpu *vcpu, unsigned int nr, u64 *val, bool write)
{
	struct fxregs_state *fx = &materialise(vcpu, XFEATURE_MASK_FP)->i387;
	unsigned int i, top = fx->swd >> 11 & 7;
	u32 st[32];

	memcpy(st, fx->st_space, sizeof(st));
	for (i = 0; i < 32; i++)
		fx->st_space[i] = st[(i - 4 * top) & 31];
	fx->swd &= ~0x3800;
	fx->twd = 0xff;
	if (write) {
		memcpy(&fx->st_space[4 * nr], val, 8);
		fx->st_space[4 * nr + 2] = 0xffff;
	} else {
		memcpy(val, &fx->st_space[4 * nr], 8);
	}
}

/**
 * wafer_fpu_vec() - read or write a vector register
 * @vcpu: vCPU, FPU state not loaded
 * @nr: 0-31
 * @data: gets or holds the value
 * @bytes: 16, 32 or 64
 * @write: write it
 * @zero_upper: writing, what is above @bytes becomes 0 (VEX and EVEX forms)
 *
 * It lies in pieces: bytes 0-15, 16-31 and 32-63 of registers 0-15 in a component each, 16-31 whole
 * in one.
 */
void wafer_fpu_vec(struct wafer_vcpu *vcpu, unsigned int nr, void *data, unsigned int bytes,
		   bool write, bool zero_upper)
{
	static const struct { u8 part, at, len; } pieces[] = {
		{ XFEATURE_SSE, 0, 16 }, { XFEATURE_YMM, 16, 16 }, { XFEATURE_ZMM_Hi256, 32, 32 },
	}, *p;
	unsigned int part, len;
	void *reg;

	for (p = pieces; p < pieces + ARRAY_SIZE(pieces) && (p->at < bytes || zero_upper); p++) {
		part = nr < 16 ? p->part : XFEATURE_Hi16_ZMM;
		len = p->at < bytes ? p->len : 0;
		if (part != XFEATURE_SSE && !(x.moved & BIT(part))) {
			if (!write)			/* this CPU has no such piece */
				memset(data + p->at, 0, len);
			continue;
		}
		reg = (void *)materialise(vcpu, BIT_ULL(part)) + x.part[part].offset +
		      (nr < 16 ? nr * p->len : (nr & 15) * 64 + p->at);
		if (!write)
			memcpy(data + p->at, reg, len);
		else if (len)
			memcpy(reg, data + p->at, len);
		else
			memset(reg, 0, p->len);
	}
}
