// SPDX-License-Identifier: GPL-2.0
/*
 * FPU state to and from the VMM and the emulator. The guest's state is in vcpu->fpu here, never in the registers.
 *
 * What comes in is checked as XRSTOR would check it (SDM vol. 1 §13.8.1), so that XRSTOR never faults. In the area a
 * component whose bit in XSTATE_BV is clear is in its initial state and its bytes mean nothing; only MXCSR always counts.
 */
#include <linux/string.h>

#include "fpu.h"
#include "vcpu.h"
#include "vm.h"

static void *part_of(struct wafer_vcpu *vcpu, unsigned int i)
{
	return vcpu->fpu + wafer_xstate.part[i].offset;
}

/* Makes the bytes of components mean something: those in their initial state get it written out. */
static void materialise(struct wafer_vcpu *vcpu, u64 parts)
{
	struct wafer_xarea *area = vcpu->fpu;
	unsigned int i;

	if (!wafer_xstate.xcr0)
		return;
	parts &= ~area->xstate_bv & wafer_xstate.moved;
	area->xstate_bv |= parts;
	if (parts & WAFER_X_FP) {
		memset(area, 0, offsetof(struct wafer_xarea, mxcsr));
		memset(area->st, 0, sizeof(area->st));
		area->fcw = 0x37f;
	}
	if (parts & WAFER_X_SSE)
		memset(area->xmm, 0, sizeof(area->xmm));
	for (i = 2; i < WAFER_X_PARTS; i++)
		if (parts & BIT_ULL(i))
			memset(part_of(vcpu, i), 0, wafer_xstate.part[i].size);
}

/**
 * wafer_get_xsave() - KVM_GET_XSAVE, KVM_GET_XSAVE2
 * @vcpu: vCPU
 * @buf: zeroed; gets the standard format whatever the CPU uses
 * @size: bytes at @buf, at least wafer_xsave_bytes()
 *
 * Return: 0 or -EINVAL.
 */
int wafer_get_xsave(struct wafer_vcpu *vcpu, void *buf, unsigned int size)
{
	struct wafer_xarea *area = vcpu->fpu, *out = buf;

	if (size < wafer_xstate.size)
		return -EINVAL;
	materialise(vcpu, ~0ull);
	memcpy(buf, area, wafer_xstate.size);
	out->mxcsr_mask = wafer_xstate.mxcsr_mask;
	memset(out->unused, 0, sizeof(out->unused));
	if (!wafer_xstate.xcr0)
		out->xstate_bv = WAFER_X_FP | WAFER_X_SSE;
	if (wafer_xstate.xcr0 & WAFER_X_PKRU) {
		out->xstate_bv |= WAFER_X_PKRU;
		memcpy(buf + wafer_xstate.part[9].offset, &vcpu->pkru, sizeof(vcpu->pkru));
	}
	return 0;
}

static int check_xsave(struct wafer_vcpu *vcpu, const struct wafer_xarea *in)
{
	u64 parts = wafer_xstate.xcr0 ?: WAFER_X_FP | WAFER_X_SSE;

	if (in->xstate_bv & ~parts)
		return wafer_refuse(&vcpu->refusal, -EINVAL, "XSTATE_BV", in->xstate_bv,
				    "has components of the supported XCR0 only");
	if (in->xcomp_bv || memchr_inv(in->header_reserved, 0, sizeof(in->header_reserved)))
		return wafer_refuse(&vcpu->refusal, -EINVAL, "XCOMP_BV", in->xcomp_bv,
				    "is 0, as all the header's reserved bytes (SDM vol. 1 13.4.2)");
	if (in->xstate_bv && in->mxcsr & ~wafer_xstate.mxcsr_mask)
		return wafer_refuse(&vcpu->refusal, -EINVAL, "MXCSR", in->mxcsr, "has no reserved bits set");
	return 0;
}

/**
 * wafer_set_xsave() - KVM_SET_XSAVE
 * @vcpu: vCPU
 * @buf: wafer_xsave_bytes() bytes in the standard format, private to the caller
 *
 * PKRU keeps its value where its bit is clear.
 *
 * Return: 0 or -EINVAL with nothing changed.
 */
int wafer_set_xsave(struct wafer_vcpu *vcpu, const void *buf)
{
	struct wafer_xarea *area = vcpu->fpu;
	const struct wafer_xarea *in = buf;
	int r = check_xsave(vcpu, in);

	if (r)
		return r;
	memcpy(area, buf, wafer_xstate.size);
	area->xstate_bv &= wafer_xstate.moved;
	area->mxcsr_mask = 0;
	memset(area->unused, 0, sizeof(area->unused));
	if (!(in->xstate_bv & (WAFER_X_SSE | WAFER_X_YMM)))
		area->mxcsr = WAFER_MXCSR_DEFAULT;
	if (in->xstate_bv & WAFER_X_PKRU)
		memcpy(&vcpu->pkru, buf + wafer_xstate.part[9].offset, sizeof(vcpu->pkru));
	return 0;
}

int wafer_get_xcrs(struct wafer_vcpu *vcpu, struct kvm_xcrs *x)
{
	if (!wafer_xstate.xcr0)
		return -EINVAL;
	x->nr_xcrs = 1;
	x->xcrs[0].value = vcpu->arch.xcr0;
	return 0;
}

int wafer_set_xcrs(struct wafer_vcpu *vcpu, const struct kvm_xcrs *x)
{
	u32 i;

	if (!wafer_xstate.xcr0)
		return -EINVAL;
	if (x->nr_xcrs > KVM_MAX_XCRS || x->flags)
		return wafer_refuse(&vcpu->refusal, -EINVAL, "nr_xcrs", x->nr_xcrs, "is at most 16, with flags 0");
	for (i = 0; i < x->nr_xcrs; i++) {
		if (x->xcrs[i].xcr)
			continue;
		if (wafer_set_xcr0(vcpu, x->xcrs[i].value))
			return wafer_refuse(&vcpu->refusal, -EINVAL, "XCR0", x->xcrs[i].value,
					    "is a combination that the guest's CPUID offers (SDM vol. 1 13.3)");
		break;
	}
	return 0;
}

/* struct kvm_fpu is FXSAVE's image but for the padding. */
int wafer_get_fpu(struct wafer_vcpu *vcpu, struct kvm_fpu *f)
{
	const struct wafer_xarea *area = vcpu->fpu;

	materialise(vcpu, WAFER_X_FP | WAFER_X_SSE);
	memcpy(f->fpr, area->st, sizeof(f->fpr));
	memcpy(f->xmm, area->xmm, sizeof(f->xmm));
	f->fcw = area->fcw;
	f->fsw = area->fsw;
	f->ftwx = area->ftw;
	f->last_opcode = area->fop;
	f->last_ip = area->fip;
	f->last_dp = area->fdp;
	f->mxcsr = area->mxcsr;
	return 0;
}

/* As in KVM, MXCSR is not taken: VMMs leave rubbish in the field. */
int wafer_set_fpu(struct wafer_vcpu *vcpu, const struct kvm_fpu *f)
{
	struct wafer_xarea *area = vcpu->fpu;

	materialise(vcpu, WAFER_X_FP | WAFER_X_SSE);
	memcpy(area->st, f->fpr, sizeof(f->fpr));
	memcpy(area->xmm, f->xmm, sizeof(f->xmm));
	area->fcw = f->fcw;
	area->fsw = f->fsw;
	area->ftw = f->ftwx;
	area->fop = f->last_opcode;
	area->fip = f->last_ip;
	area->fdp = f->last_dp;
	return 0;
}

/*
 * A vector register lies in pieces: bytes 0-15, 16-31 and 32-63 of registers 0-15, and 16-31 whole.
 * @piece: 0-2 from the low end. NULL: this CPU has no such piece.
 */
static void *vec_piece(struct wafer_vcpu *vcpu, unsigned int nr, unsigned int piece, u64 *part)
{
	static const struct { u8 i, bytes; } place[] = { { 1, 16 }, { 2, 16 }, { 6, 32 } };
	static const u8 start[] = { 0, 16, 32 };
	struct wafer_xarea *area = vcpu->fpu;

	*part = nr < 16 ? BIT_ULL(place[piece].i) : WAFER_X_HI16;
	if (piece && !(wafer_xstate.moved & *part))
		return NULL;
	if (nr >= 16)
		return wafer_xstate.moved & *part ? part_of(vcpu, 7) + (nr & 15) * 64 + start[piece] : NULL;
	if (!piece)
		return area->xmm[nr];
	return part_of(vcpu, place[piece].i) + nr * place[piece].bytes;
}

/**
 * wafer_fpu_get_vec() - read a vector register
 * @vcpu: vCPU, FPU state not loaded
 * @nr: 0-31
 * @data: gets the value
 * @bytes: 16, 32 or 64
 */
void wafer_fpu_get_vec(struct wafer_vcpu *vcpu, unsigned int nr, void *data, unsigned int bytes)
{
	unsigned int piece, len = 16, done = 0;
	void *from;
	u64 part;

	for (piece = 0; piece < 3 && done < bytes; piece++, done += len) {
		len = piece == 2 ? 32 : 16;
		from = vec_piece(vcpu, nr & 31, piece, &part);
		if (from)
			materialise(vcpu, part);
		if (from)
			memcpy(data + done, from, len);
		else
			memset(data + done, 0, len);
	}
}

/* As above; with @zero_upper what is above @bytes becomes 0 (VEX and EVEX forms). */
void wafer_fpu_set_vec(struct wafer_vcpu *vcpu, unsigned int nr, const void *data, unsigned int bytes, bool zero_upper)
{
	unsigned int piece, len = 16, done = 0;
	void *to;
	u64 part;

	for (piece = 0; piece < 3; piece++, done += len) {
		len = piece == 2 ? 32 : 16;
		to = vec_piece(vcpu, nr & 31, piece, &part);
		if (!to || (done >= bytes && !zero_upper))
			continue;
		materialise(vcpu, part);
		if (done < bytes)
			memcpy(to, data + done, len);
		else
			memset(to, 0, len);
	}
}
