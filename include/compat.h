/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Everything that differs between the supported kernels (6.1, 6.12, 7.2). The only file that asks
 * for the version; where distributions backport, it asks for the feature.
 */
#ifndef WAFER_COMPAT_H
#define WAFER_COMPAT_H

#include <linux/version.h>

/*
 * CR4.VMXE can be set for good through the CPU's CR4 shadow (not exported to us any more on 7.x).
 */
#define WAFER_VMX_PERSISTENT (LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0))

/* Work before entering a guest: signals, task work, reschedule. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 17, 0)
#include <linux/entry-kvm.h>
#include <linux/kvm_host.h>
/* When a signal is pending it notes that in KVM's vCPU: a stand-in takes what nobody reads. */
static inline int wafer_handle_guest_work(void)
{
	static struct kvm_run run;
	static struct kvm_vcpu nobody = { .run = &run };

	return xfer_to_guest_mode_handle_work(&nobody);
}
#else
#include <linux/entry-virt.h>
#define wafer_handle_guest_work() xfer_to_guest_mode_handle_work()
#endif

#include <linux/eventfd.h>
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
#define wafer_eventfd_signal(ctx) eventfd_signal(ctx, 1)
#else
#define wafer_eventfd_signal(ctx) eventfd_signal(ctx)
#endif

#include <linux/hrtimer.h>
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
static inline void wafer_hrtimer_setup(struct hrtimer *t,
				       enum hrtimer_restart (*fn)(struct hrtimer *),
				       clockid_t clock, enum hrtimer_mode mode)
{
	hrtimer_init(t, clock, mode);
	t->function = fn;
}
#else
#define wafer_hrtimer_setup(t, fn, clock, mode) hrtimer_setup(t, fn, clock, mode)
#endif

/* kernel_fpu_begin() holds softirqs off as well, so that the run loop must make room for them. */
#include <linux/interrupt.h>
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 15, 0)
#define wafer_softirqs_wait() false
#else
#define wafer_softirqs_wait() (local_softirq_pending() != 0)
#endif

/* Suspend callbacks of the last CPU got an argument and an object of their own. */
#include <linux/syscore_ops.h>
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 18, 0)
#define WAFER_SYSCORE_ARG void
#define WAFER_SYSCORE(name, suspend_fn, resume_fn) \
	static struct syscore_ops name = { .suspend = suspend_fn, .resume = resume_fn }
#define wafer_syscore_register(s) register_syscore_ops(s)
#define wafer_syscore_unregister(s) unregister_syscore_ops(s)
#else
#define WAFER_SYSCORE_ARG void *unused
#define WAFER_SYSCORE(name, suspend_fn, resume_fn)		\
	static const struct syscore_ops name##_ops = {		\
		.suspend = suspend_fn, .resume = resume_fn,	\
	};							\
	static struct syscore name = { .ops = &name##_ops }
#define wafer_syscore_register(s) register_syscore(s)
#define wafer_syscore_unregister(s) unregister_syscore(s)
#endif

/*
 * Shrinkers are allocated objects from 6.7 on. Before, one that could not be registered may be
 * unregistered.
 */
#include <linux/shrinker.h>
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
static inline struct shrinker *shrinker_alloc(unsigned int flags, const char *name)
{
	static struct shrinker s = { .seeks = DEFAULT_SEEKS };

	return &s;
}
#define shrinker_register(s) register_shrinker(s, "wafer")
#define shrinker_free(s) unregister_shrinker(s)
#endif

#include <linux/file.h>
#ifndef fd_file
#define fd_file(f) ((f).file)
#endif

/* cpuid() and its kin have moved to a header of their own. */
#include <asm/processor.h>
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 16, 0)
#include <asm/cpuid/api.h>
#endif

/* smp_send_reschedule() is a macro over a tracepoint from 6.4 on. */
#include <trace/events/ipi.h>

/*
 * Processor Trace has to stay off in VMX operation on CPUs without VMX_MISC[14]; 7.x offers no way
 * to say so.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0)
#include <asm/perf_event.h>
#define wafer_pt_forbid(forbid) intel_pt_handle_vmx(forbid)
#else
#define wafer_pt_forbid(forbid) do { } while (0)
#endif

/*
 * Does the administrator do without protection from L1TF? 7.x shows no more than the switch for
 * everything.
 */
#include <linux/cpu.h>
#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0)
#define wafer_l1tf_off() (cpu_mitigations_off() || l1tf_mitigation == L1TF_MITIGATION_OFF)
#else
#define wafer_l1tf_off() cpu_mitigations_off()
#endif

/* load_gs_index() moved. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
#include <asm/gsseg.h>
#endif

/*
 * Vulnerabilities that a stable kernel learnt of: an older one cannot say that the CPU has not got
 * them, and nearly every CPU has the first.
 */
#include <asm/cpufeature.h>
#ifndef X86_BUG_GDS
#define X86_BUG_GDS X86_BUG_SPECTRE_V1
#define ARCH_CAP_GDS_NO BIT(26)
#endif
#ifndef X86_BUG_RFDS
#define X86_BUG_RFDS X86_BUG_SPECTRE_V1
#define ARCH_CAP_RFDS_NO BIT(27)
#endif
#ifndef X86_BUG_ITS
#define X86_BUG_ITS X86_BUG_SPECTRE_V1
#define ARCH_CAP_ITS_NO BIT_ULL(62)
#endif

#endif
