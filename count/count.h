/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The counting build, make COUNT=1: how often the module does what is one instruction to an
 * emulator and tens to hundreds of cycles to a CPU. In this build alone the compiler reads this
 * file before every other one: it brings the headers that define such operations, and then puts a
 * macro of the same name over each. The figures are /sys/module/wafer/parameters/wafer_counts.
 *
 * Counted is what the module's C code does through named functions, and what enter.S does at each
 * entry; what the kernel's functions do inside is not, nor the VMSAVE of the host's state when a
 * window opens. FPU state that is loaded and saved again counts as one, by its
 * kernel_fpu_begin_mask().
 */
/* exitcost.c has the names in this order. */
enum {
	COUNT_VMREAD, COUNT_VMWRITE, COUNT_VMPTRLD, COUNT_VMCLEAR, COUNT_VMLOAD, COUNT_VMSAVE,
	COUNT_GIF, COUNT_RDMSR, COUNT_WRMSR, COUNT_FPU, COUNT_XSETBV, COUNT_WRPKRU, COUNT_CR,
	COUNT_DR, COUNT_INVEPT, COUNT_INVVPID, COUNT_IPI, COUNT_ATOMIC, COUNT_LOCK, NR_COUNTS
};
extern unsigned long long wafer_counts[NR_COUNTS];

#define wafer_count(what, n)								\
	({ asm volatile("lock addq %1, %0"						\
			: "+m" (wafer_counts[COUNT_##what]) : "er" ((long)(n))); })
#define COUNTED(what, expression) ({ wafer_count(what, 1); expression; })
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt		/* as the files have it that say one */

/*
 * The kernel's atomic operations tell these. They are inline: so this comes before the headers that
 * have them.
 */
#include <linux/instrumented.h>
#define instrument_atomic_write(v, size) wafer_count(ATOMIC, 1)
#define instrument_atomic_read_write(v, size) wafer_count(ATOMIC, 1)

#include <linux/mm.h>
#include <asm/debugreg.h>
#include <asm/fpu/api.h>
#include <asm/fpu/xcr.h>

#undef smp_mb
/* the same instruction as the kernel's */
#define smp_mb() COUNTED(ATOMIC, __atomic_thread_fence(__ATOMIC_SEQ_CST))
#define spin_lock(l) COUNTED(LOCK, spin_lock(l))
#define _raw_spin_lock_irqsave(l) COUNTED(LOCK, _raw_spin_lock_irqsave(l))
#define mutex_lock(l) COUNTED(LOCK, mutex_lock(l))
#define mutex_lock_killable(l) COUNTED(LOCK, mutex_lock_killable(l))
#undef smp_send_reschedule
#define smp_send_reschedule(cpu) COUNTED(IPI, smp_ops.smp_send_reschedule(cpu))
#define smp_call_function_many(...) COUNTED(IPI, smp_call_function_many(__VA_ARGS__))

#define kernel_fpu_begin_mask(mask) COUNTED(FPU, kernel_fpu_begin_mask(mask))
#define xsetbv(index, val) COUNTED(XSETBV, xsetbv(index, val))
#define wrpkru(val) COUNTED(WRPKRU, wrpkru(val))
#define native_set_debugreg(n, val) COUNTED(DR, native_set_debugreg(n, val))
#define native_get_debugreg(n) COUNTED(DR, native_get_debugreg(n))
#define native_read_cr2() COUNTED(CR, native_read_cr2())
#define native_write_cr2(val) COUNTED(CR, native_write_cr2(val))
#define native_read_cr4() COUNTED(CR, native_read_cr4())

#define paravirt_write_msr_safe(...) COUNTED(WRMSR, paravirt_write_msr_safe(__VA_ARGS__))

/*
 * The backends, whose headers never meet. HOST_RSP is written by enter.S where the stack is another
 * than the last time, which is not counted.
 */
#ifdef WAFER_COUNT_VMX
#include "vmx/vmx.h"
#define vmread(field) COUNTED(VMREAD, vmread(field))
#define vmwrite(field, val) COUNTED(VMWRITE, vmwrite(field, val))
#define vmwrite_changed(copy, field, val)						\
	({ u64 old_ = *(copy);								\
	   vmwrite_changed(copy, field, val);						\
	   wafer_count(VMWRITE, *(copy) != old_); })
#define insn_vmptrld(pa) COUNTED(VMPTRLD, insn_vmptrld(pa))
#define insn_vmclear(pa) COUNTED(VMCLEAR, insn_vmclear(pa))
#define insn_invept(...) COUNTED(INVEPT, insn_invept(__VA_ARGS__))
#define insn_invvpid(...) COUNTED(INVVPID, insn_invvpid(__VA_ARGS__))
#define vmx_rdmsr(msr) COUNTED(RDMSR, vmx_rdmsr(msr))
#define vmx_wrmsr(msr, val) COUNTED(WRMSR, vmx_wrmsr(msr, val))
#define wafer_vmx_run(arch, run)							\
	({ wafer_count(WRMSR, 2 * ((run)->spec_guest != (run)->spec_host));		\
	   wafer_count(RDMSR, !!((run)->flags & VMX_RUN_SAVE_SPEC)); wafer_vmx_run(arch, run); })
#endif

#ifdef WAFER_COUNT_SVM
#include "svm/svm.h"
#define svm_rdmsr(msr, val) COUNTED(RDMSR, svm_rdmsr(msr, val))
#define svm_wrmsr(msr, val) COUNTED(WRMSR, svm_wrmsr(msr, val))
#define wafer_svm_run(vcpu, hw)								\
	({ wafer_count(GIF, 2); wafer_count(VMLOAD, 2); wafer_count(VMSAVE, 1);		\
	   wafer_count(WRMSR, 2 * ((hw)->spec_guest != (hw)->spec_host));		\
	   wafer_count(RDMSR, (hw)->spec_direct); wafer_svm_run(vcpu, hw); })
#endif
