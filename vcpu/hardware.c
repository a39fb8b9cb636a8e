// SPDX-License-Identifier: GPL-2.0
/*
 * Taking VT-x or AMD-V on every CPU while a VM exists, and giving it back: at the last VM's end, CPU hotplug,
 * suspend, reboot, kexec and panic.
 *
 * Lock order: cpus_read_lock (or the hotplug core's own) -> hardware_lock.
 */
#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/reboot.h>
#include <linux/workqueue.h>
#include <asm/msr.h>
#include <asm/reboot.h>

#include "backend.h"
#include "compat.h"
#include "vcpu.h"
#include "vm.h"

const struct wafer_backend *wafer_backend;
struct wafer_caps wafer_caps;

static DEFINE_MUTEX(hardware_lock);
static unsigned int hardware_users;	/* VMs, under hardware_lock; read by syscore callbacks on the last CPU */
static atomic_t hardware_failed;
static bool hardware_gone;		/* the machine is going down: nobody gets it any more */
static LIST_HEAD(vms);			/* under vms_lock */
static DEFINE_SPINLOCK(vms_lock);
static int hotplug_state;
static u64 suspend_tsc;

static void cpu_on(void *unused)
{
	int r = wafer_backend->cpu_on();

	if (r)
		atomic_cmpxchg(&hardware_failed, 0, r);
}

static void cpu_off(void *unused)
{
	wafer_backend->cpu_off();
}

/*
 * Panic and kexec: the CPU must leave virtualisation, or INIT stays blocked (SDM vol. 3 §23.8) and the next kernel
 * faults (SVM). Up to 6.x the kernel calls back; from 7.x on it looks at CR4.VMXE and EFER.SVME by itself. There
 * is one slot for the callback; the in-tree KVM's, where it is loaded, does for us too.
 */
#ifdef WAFER_EMERGENCY_CALLBACK
static bool emergency_registered;

static void emergency_off(void)
{
	wafer_backend->cpu_off();
}

/*
 * Waits for an RCU grace period: not for the thread that closes a VM's last descriptor to do, and not at once, so that
 * nobody who makes the next VM waits for it either.
 */
static void emergency_unregister(struct work_struct *work)
{
	mutex_lock(&hardware_lock);
	if (emergency_registered && !hardware_users) {
		cpu_emergency_unregister_virt_callback(emergency_off);
		emergency_registered = false;
	}
	mutex_unlock(&hardware_lock);
}

static DECLARE_DELAYED_WORK(emergency_work, emergency_unregister);

static void emergency_register(void)
{
	cancel_delayed_work(&emergency_work);
	if (emergency_registered)
		return;
	if (__symbol_get("kvm_rebooting")) {
		__symbol_put("kvm_rebooting");
		return;
	}
	cpu_emergency_register_virt_callback(emergency_off);
	emergency_registered = true;
}

static void emergency_unregister_later(void)
{
	schedule_delayed_work(&emergency_work, HZ);
}

static void emergency_exit(void)
{
	cancel_delayed_work_sync(&emergency_work);
	emergency_unregister(NULL);
}
#else
static void emergency_register(void) {}
static void emergency_unregister_later(void) {}
static void emergency_exit(void) {}
#endif

/**
 * wafer_hardware_get() - take the hardware for one more VM
 *
 * Return: 0; -EBUSY: another hypervisor holds it on some CPU; -ESHUTDOWN: the machine is going down.
 */
int wafer_hardware_get(void)
{
	int r = 0;

	cpus_read_lock();
	mutex_lock(&hardware_lock);
	if (hardware_gone) {
		r = -ESHUTDOWN;
	} else if (hardware_users++ == 0) {
		atomic_set(&hardware_failed, 0);
		on_each_cpu(cpu_on, NULL, 1);
		r = atomic_read(&hardware_failed);
		if (r) {
			on_each_cpu(cpu_off, NULL, 1);
			hardware_users = 0;
		} else {
			emergency_register();
		}
	}
	mutex_unlock(&hardware_lock);
	cpus_read_unlock();
	if (r == -EBUSY)
		pr_warn_ratelimited("%s is in use by another hypervisor; remove it: modprobe -r %s\n",
				    wafer_backend->name, wafer_backend->rival);
	return r;
}

void wafer_hardware_put(void)
{
	cpus_read_lock();
	mutex_lock(&hardware_lock);
	if (--hardware_users == 0) {
		on_each_cpu(cpu_off, NULL, 1);
		emergency_unregister_later();
	}
	mutex_unlock(&hardware_lock);
	cpus_read_unlock();
}

void wafer_hardware_add_vm(struct wafer_vm *vm)
{
	spin_lock(&vms_lock);
	list_add(&vm->link, &vms);
	spin_unlock(&vms_lock);
}

void wafer_hardware_del_vm(struct wafer_vm *vm)
{
	spin_lock(&vms_lock);
	list_del(&vm->link);
	spin_unlock(&vms_lock);
}

/* On the CPU that comes or goes, in its hotplug thread. */
static int cpu_comes(unsigned int cpu)
{
	int r = 0;

	mutex_lock(&hardware_lock);
	if (hardware_users) {
		local_irq_disable();
		r = wafer_backend->cpu_on();
		local_irq_enable();
	}
	mutex_unlock(&hardware_lock);
	if (r)
		pr_warn("CPU %u stays offline: %s is in use by another hypervisor there\n", cpu, wafer_backend->name);
	return r;
}

static int cpu_goes(unsigned int cpu)
{
	mutex_lock(&hardware_lock);
	if (hardware_users) {
		local_irq_disable();
		wafer_backend->cpu_off();
		local_irq_enable();
	}
	mutex_unlock(&hardware_lock);
	return 0;
}

/*
 * Suspend: the other CPUs are offline already, tasks are frozen, interrupts are off. Nobody can be inside
 * hardware_lock: its holders cannot be frozen in there.
 */
static int suspend_last_cpu(WAFER_SYSCORE_ARG)
{
	suspend_tsc = rdtsc();
	if (hardware_users)
		wafer_backend->cpu_off();
	return 0;
}

static void resume_first_cpu(WAFER_SYSCORE_ARG)
{
	struct wafer_vm *vm;
	u64 now = rdtsc();

	if (hardware_users && wafer_backend->cpu_on())
		pr_err("%s could not be taken again after suspend: running VMs will fail\n", wafer_backend->name);
	if (now >= suspend_tsc)
		return;
	/* The firmware has reset the host's TSC; the guests' must not go back (SDM vol. 3 §18.17.1). */
	list_for_each_entry(vm, &vms, link)
		wafer_vm_tsc_went_back(vm, suspend_tsc - now);
}

static int going_down(struct notifier_block *nb, unsigned long event, void *unused)
{
	WRITE_ONCE(hardware_gone, true);
	on_each_cpu(cpu_off, NULL, 1);
	return NOTIFY_OK;
}

static struct notifier_block reboot_notifier = { .notifier_call = going_down };
WAFER_SYSCORE(wafer_syscore, suspend_last_cpu, resume_first_cpu);

/**
 * wafer_hardware_init() - find the backend for this CPU; hook hotplug, suspend and reboot
 *
 * Return: 0; -EOPNOTSUPP with a line in the log that says what is missing.
 */
int wafer_hardware_init(void)
{
	static const struct wafer_backend *const backends[] = { &wafer_vmx, &wafer_svm };
	int i, r = -ENODEV;

	for (i = 0; i < ARRAY_SIZE(backends) && r == -ENODEV; i++) {
		wafer_backend = backends[i];
		r = wafer_backend->detect(&wafer_caps);
	}
	if (r == -ENODEV)
		pr_err("this CPU has neither VT-x nor AMD-V\n");
	if (r)
		return r == -ENODEV ? -EOPNOTSUPP : r;
	r = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "wafer:online", cpu_comes, cpu_goes);
	if (r < 0) {
		wafer_backend->teardown();
		return r;
	}
	hotplug_state = r;
	register_reboot_notifier(&reboot_notifier);
	wafer_syscore_register(&wafer_syscore);
	return 0;
}

void wafer_hardware_exit(void)
{
	emergency_exit();
	wafer_syscore_unregister(&wafer_syscore);
	unregister_reboot_notifier(&reboot_notifier);
	cpuhp_remove_state(hotplug_state);
	wafer_backend->teardown();
}
