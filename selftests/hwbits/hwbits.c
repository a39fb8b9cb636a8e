// SPDX-License-Identifier: GPL-2.0
/*
 * Tells whether virtualisation is switched on, from the registers themselves: CR4.VMXE and
 * EFER.SVME of every CPU.
 *
 * /sys/module/hwbits/parameters/cpus: "CPU VMXE SVME" a line. At reboot, when all that are told of
 * it have had their turn, a line in the log says on how many CPUs it is on. Writing to
 * parameters/crash makes the kernel crash.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/reboot.h>
#include <linux/smp.h>
#include <asm/msr.h>
#include <asm/processor-flags.h>

#define EFER_SVME_BIT 12

struct bits {
	bool vmxe, svme;
};

static void read_bits(void *to)
{
	struct bits *b = to;
	unsigned long cr4;
	u32 low = 0, high;

	/* not the kernel's copy of CR4, which may not know of a bit */
	asm volatile("mov %%cr4, %0" : "=r" (cr4));
	rdmsr_safe(MSR_EFER, &low, &high);
	*b = (struct bits){ cr4 & X86_CR4_VMXE, low >> EFER_SVME_BIT & 1 };
}

static int cpus_get(char *text, const struct kernel_param *kp)
{
	int cpu, n = 0;
	struct bits b;

	for_each_online_cpu(cpu) {
		smp_call_function_single(cpu, read_bits, &b, 1);
		n += scnprintf(text + n, PAGE_SIZE - n, "%d %d %d\n", cpu, b.vmxe, b.svme);
	}
	return n;
}

static int crash_set(const char *text, const struct kernel_param *kp)
{
	*(volatile int *)NULL = 0;
	return 0;
}

static const struct kernel_param_ops cpus_ops = { .get = cpus_get };
static const struct kernel_param_ops crash_ops = { .set = crash_set };

module_param_cb(cpus, &cpus_ops, NULL, 0444);
module_param_cb(crash, &crash_ops, NULL, 0200);

static int at_reboot(struct notifier_block *nb, unsigned long event, void *unused)
{
	struct bits b;
	int cpu, on = 0;

	for_each_online_cpu(cpu) {
		smp_call_function_single(cpu, read_bits, &b, 1);
		on += b.vmxe || b.svme;
	}
	pr_emerg("at the end virtualisation is on at %d of %d CPUs\n", on, num_online_cpus());
	return NOTIFY_DONE;
}

static struct notifier_block reboot = { .notifier_call = at_reboot, .priority = INT_MIN };

static int __init hwbits_init(void)
{
	return register_reboot_notifier(&reboot);
}

static void __exit hwbits_exit(void)
{
	unregister_reboot_notifier(&reboot);
}

module_init(hwbits_init);
module_exit(hwbits_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Reads CR4.VMXE and EFER.SVME for tests");
