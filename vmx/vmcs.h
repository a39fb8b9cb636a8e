/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The VMX instructions (SDM vol. 3 ch. 31) and access to VMCS fields.
 *
 * Every instruction here has an exception table entry: after an emergency VMXOFF (panic, kexec)
 * they raise #UD. What fails is counted and the fields read as 0; the next entry then reports
 * WAFER_EXIT_BAD_STATE.
 */
#ifndef WAFER_VMX_VMCS_H
#define WAFER_VMX_VMCS_H

#include <linux/build_bug.h>
#include <linux/types.h>
#include <asm/asm.h>
#include <asm/vmx.h>

struct vmx_field {
	u32 nr;
};

/*
 * VMCS(GUEST_RIP): takes the name of a field and nothing else. A variable, a number or an
 * expression in its place does not compile: it cannot name a structure's member, or is not
 * constant.
 */
#define VMCS(name) ((struct vmx_field){					\
	.nr = (name) + 0 * sizeof(struct { int name; }) +			\
	      BUILD_BUG_ON_ZERO(!__builtin_constant_p(name))			\
})

/* A field of an array: segment registers and PDPTEs follow each other at a distance of 2. */
#define VMCS_AT(name, n) ((struct vmx_field){ .nr = VMCS(name).nr + 2 * (n) })

/* An instruction at label 1 that faults goes on at the C label "failed". */
#define TO_FAILED _ASM_EXTABLE(1b, %l[failed])

void vmx_insn_failed(const char *what, u32 nr);

static __always_inline u64 __vmread(struct vmx_field field)
{
	unsigned long val;
	bool failed;

	asm volatile("1: vmread %2, %0\n2:\n"
		     _ASM_EXTABLE_TYPE_REG(1b, 2b, EX_TYPE_ZERO_REG, %0)
		     : "=r" (val), "=@ccbe" (failed) : "r" ((unsigned long)field.nr));
	if (unlikely(failed)) {
		vmx_insn_failed("VMREAD", field.nr);
		return 0;
	}
	return val;
}

static __always_inline void __vmwrite(struct vmx_field field, unsigned long val)
{
	asm goto("1: vmwrite %1, %0\n\t"
		 "jbe %l[failed]\n\t"
		 TO_FAILED
		 : : "r" ((unsigned long)field.nr), "r" (val) : "cc" : failed);
	return;
failed:
	vmx_insn_failed("VMWRITE", field.nr);
}

#define vmread(name)		__vmread(VMCS(name))
#define vmwrite(name, val)	__vmwrite(VMCS(name), val)
#define vmread_at(name, n)	__vmread(VMCS_AT(name, n))
#define vmwrite_at(name, n, val) __vmwrite(VMCS_AT(name, n), val)

/* Regions are given by their physical address. 0 or -EIO. */
static inline int insn_vmxon(u64 pa)
{
	asm goto("1: vmxon %0\n\t"
		 "jbe %l[failed]\n\t"
		 TO_FAILED
		 : : "m" (pa) : "cc", "memory" : failed);
	return 0;
failed:
	return -EIO;
}

static inline void insn_vmxoff(void)
{
	asm volatile("1: vmxoff\n2:\n" _ASM_EXTABLE(1b, 2b) : : : "cc", "memory");
}

static inline void insn_vmptrld(u64 pa)
{
	asm goto("1: vmptrld %0\n\t"
		 "jbe %l[failed]\n\t"
		 TO_FAILED
		 : : "m" (pa) : "cc", "memory" : failed);
	return;
failed:
	vmx_insn_failed("VMPTRLD", 0);
}

/* ~0 without a current VMCS. */
static inline u64 insn_vmptrst(void)
{
	u64 pa = ~0ull;

	asm volatile("1: vmptrst %0\n2:\n" _ASM_EXTABLE(1b, 2b) : "+m" (pa) : : "cc");
	return pa;
}

static inline void insn_vmclear(u64 pa)
{
	asm goto("1: vmclear %0\n\t"
		 "jbe %l[failed]\n\t"
		 TO_FAILED
		 : : "m" (pa) : "cc", "memory" : failed);
	return;
failed:
	vmx_insn_failed("VMCLEAR", 0);
}

/* Invalidations (SDM vol. 3 §29.4.3): type and descriptor. */
struct vmx_descriptor {
	u64 low, high;
};

static inline void insn_invept(unsigned long type, u64 eptp)
{
	struct vmx_descriptor desc = { .low = eptp };

	asm goto("1: invept %0, %1\n\t"
		 "jbe %l[failed]\n\t"
		 TO_FAILED
		 : : "m" (desc), "r" (type) : "cc", "memory" : failed);
	return;
failed:
	vmx_insn_failed("INVEPT", type);
}

static inline void insn_invvpid(unsigned long type, u16 vpid)
{
	struct vmx_descriptor desc = { .low = vpid };

	asm goto("1: invvpid %0, %1\n\t"
		 "jbe %l[failed]\n\t"
		 TO_FAILED
		 : : "m" (desc), "r" (type) : "cc", "memory" : failed);
	return;
failed:
	vmx_insn_failed("INVVPID", type);
}

#endif
