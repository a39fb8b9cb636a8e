/* SPDX-License-Identifier: GPL-2.0 */
/* The XSAVE area and what is known of its components; for fpu.c and fpu_state.c. */
#ifndef WAFER_FPU_H
#define WAFER_FPU_H

#include <linux/build_bug.h>
#include <linux/types.h>

#define WAFER_X_FP	BIT_ULL(0)
#define WAFER_X_SSE	BIT_ULL(1)
#define WAFER_X_YMM	BIT_ULL(2)
#define WAFER_X_ZMM_HI	BIT_ULL(6)
#define WAFER_X_HI16	BIT_ULL(7)
#define WAFER_X_AVX512	(BIT_ULL(5) | WAFER_X_ZMM_HI | WAFER_X_HI16)
#define WAFER_X_PKRU	BIT_ULL(9)
#define WAFER_X_PARTS	10
#define WAFER_XCR0_KNOWN (WAFER_X_FP | WAFER_X_SSE | WAFER_X_YMM | WAFER_X_AVX512 | WAFER_X_PKRU)

#define WAFER_MXCSR_DEFAULT 0x1f80

/**
 * struct wafer_xarea - legacy region and header (SDM vol. 1 §10.5.1, §13.4.2)
 *
 * Other components follow at wafer_xstate.part[].offset.
 */
struct wafer_xarea {
	u16 fcw, fsw;
	u8 ftw, reserved;
	u16 fop;
	u64 fip, fdp;
	u32 mxcsr, mxcsr_mask;
	u8 st[8][16];
	u8 xmm[16][16];
	u8 unused[96];
	u64 xstate_bv, xcomp_bv;
	u64 header_reserved[6];
};
static_assert(sizeof(struct wafer_xarea) == 576);

/**
 * struct wafer_xstate - what this host's CPU has
 * @host_xcr0, @host_xss: the host kernel's
 * @xcr0: components offered to guests; 0: the CPU has no XSAVE
 * @moved: those that XSAVE and XRSTOR move, PKRU not
 * @size: of a standard-format area with all of @xcr0
 * @mxcsr_mask: valid bits of MXCSR
 * @part: components from 2 on: place in the standard format, size, alignment in the compacted one
 */
struct wafer_xstate {
	u64 host_xcr0, host_xss;
	u64 xcr0, moved;
	u32 size;
	u32 mxcsr_mask;
	struct { u32 offset, size; bool align; } part[WAFER_X_PARTS];
};
extern struct wafer_xstate wafer_xstate;

void wafer_xarea_init(struct wafer_xarea *area);

#endif
