/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The VMX instructions (SDM vol. 3 ch. 31) and access to VMCS fields.
 *
 * Every instruction here has an exception table entry: after an emergency VMXOFF (panic, kexec)
 * they raise #UD. What fails is told and the fields read as 0; the next entry then reports
 * WAFER_EXIT_BAD_STATE.
 */
#ifndef WAFER_VMX_VMCS_H
#define WAFER_VMX_VMCS_H

#include <linux/types.h>
#include <asm/asm.h>
#include <asm/vmx.h>

/* @what: of which field, or of which type, it was */
void vmx_insn_failed(const char *insn, unsigned long what);

/* Segment registers and PDPTEs follow each other at a distance of 2: GUEST_ES_BASE + 2 * n. */
static __always_inline u64 vmread(u32 field)
{
	unsigned long val;
	bool failed;

	asm volatile("1: vmread %2, %0\n2:\n" _ASM_EXTABLE_TYPE_REG(1b, 2b, EX_TYPE_ZERO_REG, %0)
		     : "=r" (val), "=@ccbe" (failed) : "r" ((unsigned long)field));
	if (unlikely(failed)) {
		vmx_insn_failed("vmread", field);
		return 0;
	}
	return val;
}

/* WAFER_G_CODE */
static __always_inline u32 vmx_read_code(void)
{
	return (vmread(GUEST_CS_AR_BYTES) & (WAFER_SEG_L | WAFER_SEG_DB)) << 4 |
	       (vmread(GUEST_SS_AR_BYTES) & WAFER_SEG_DPL) >> WAFER_SEG_DPL_SHIFT |
	       (vmread(GUEST_CS_BASE) ? WAFER_CODE_BASED : 0) |
	       (vmread(GUEST_CR0) & X86_CR0_PG ? WAFER_CODE_PAGED : 0);
}

/* The other instructions, as functions: 0 or -EIO. Regions are given by their physical address. */
#define VMX_INSN(name, args, what, insn, ...)						\
static __always_inline int name args							\
{											\
	asm goto("1: " insn "\n\tjbe %l[failed]\n\t" _ASM_EXTABLE(1b, %l[failed])	\
		 : : __VA_ARGS__ : "cc", "memory" : failed);				\
	return 0;									\
failed:											\
	vmx_insn_failed(#name, what);							\
	return -EIO;									\
}

VMX_INSN(vmwrite, (u32 field, unsigned long val), field, "vmwrite %1, %0",
	 "r" ((unsigned long)field), "r" (val))
VMX_INSN(insn_vmxon, (u64 pa), 0, "vmxon %0", "m" (pa))
VMX_INSN(insn_vmptrld, (u64 pa), 0, "vmptrld %0", "m" (pa))
VMX_INSN(insn_vmclear, (u64 pa), 0, "vmclear %0", "m" (pa))

/* Invalidations (SDM vol. 3 §29.4.3): type and descriptor. */
struct vmx_descriptor {
	u64 tag, address;
};

VMX_INSN(insn_invept, (unsigned long type, u64 eptp), type, "invept %0, %1",
	 "m" ((struct vmx_descriptor){ .tag = eptp }), "r" (type))
VMX_INSN(insn_invvpid, (unsigned long type, u16 vpid), type, "invvpid %0, %1",
	 "m" ((struct vmx_descriptor){ .tag = vpid }), "r" (type))

static inline void insn_vmxoff(void)
{
	asm volatile("1: vmxoff\n2:\n" _ASM_EXTABLE(1b, 2b) : : : "cc", "memory");
}

/* ~0 without a current VMCS. */
static inline u64 insn_vmptrst(void)
{
	u64 pa = ~0ull;

	asm volatile("1: vmptrst %0\n2:\n" _ASM_EXTABLE(1b, 2b) : "+m" (pa) : : "cc");
	return pa;
}

/* Writes a field of which @copy says what the VMCS holds, unless it is that already. */
static __always_inline void vmwrite_changed(u64 *copy, u32 field, u64 val)
{
	if (*copy == val)
		return;
	*copy = val;
	vmwrite(field, val);
}

#endif
