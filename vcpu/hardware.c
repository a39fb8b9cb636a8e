// SPDX-License-Identifier: GPL-2.0
/*
 * Taking VT-x or AMD-V on every CPU while a VM exists, and giving it back: at the last VM's end,
 * CPU hotplug, suspend, reboot, kexec and panic.
 *
 * The first VM takes the hardware by interrupts to all CPUs, not through the hotplug core, which
 * would have it wait for a thread on each. Lock order: cpus_read_lock -> hardware_lock.
 */
#include <linux/cpu.h>
#include <linux/module.h>
#include <linux/reboot.h>
#include <asm/reboot.h>

#include "compat.h"
#include "core.h"

const struct wafer_backend *wafer_backend;
DEFINE_STATIC_CALL_NULL(wafer_enter, *wafer_backend->enter);
struct wafer_caps wafer_caps;

static DEFINE_MUTEX(hardware_lock);
/* under hardware_lock; the hardware is taken while there are any */
static LIST_HEAD(vms);
static bool hardware_gone;		/* the machine is going down: nobody gets it any more */
static int hotplug_state;
static u64 suspend_tsc;

static void cpu_on(void *failed)
{
	int r = wafer_backend->cpu_on();

	if (r)
		atomic_set(failed, r);
	if (r == -EBUSY)
		pr_warn_ratelimited(
			"%s is in use by another hypervisor on CPU %u; remove it: modprobe -r %s\n",
			wafer_backend->name, smp_processor_id(), wafer_backend->rival);
}

static void cpu_off(void *unused)
{
	wafer_backend->cpu_off();
}

/*
 * Panic and kexec: the CPU must leave virtualisation, or INIT stays blocked (SDM vol. 3 §23.8) and
 * the next kernel faults (SVM). Up to 6.x the kernel calls back; from 7.x on it looks at CR4.VMXE
 * and EFER.SVME by itself. There is one slot for the callback; the in-tree KVM's, where it is
 * loaded, does for us too.
 *
 * Else the slot is this module's from its beginning to its end, VMs or not: on a CPU that is not
 * taken the callback does nothing, and giving the slot back waits for an RCU grace period, which
 * nobody who opens and closes VMs has to.
 */
#ifdef WAFER_EMERGENCY_CALLBACK
static void emergency_slot(bool take)
{
	static bool taken;

	mutex_lock(&hardware_lock);
	if (take && !taken)
		cpu_emergency_register_virt_callback(wafer_backend->cpu_off);
	else if (!take && taken)
		cpu_emergency_unregister_virt_callback(wafer_backend->cpu_off);
	taken = take;
	mutex_unlock(&hardware_lock);
}

/* The in-tree module takes the slot when it loads, and warns if it is taken. */
static int module_event(struct notifier_block *nb, unsigned long event, void *mod)
{
	if (strcmp(((struct module *)mod)->name, wafer_backend->rival))
		return NOTIFY_DONE;
	emergency_slot(event == MODULE_STATE_GOING);
	return NOTIFY_OK;
}

static struct notifier_block module_notifier = { .notifier_call = module_event };

static void emergency_init(void)
{
	/* KVM's common part, to which the vendor's belongs */
	bool rival_loaded = __symbol_get("kvm_rebooting");

	if (rival_loaded)
		__symbol_put("kvm_rebooting");
	emergency_slot(!rival_loaded);
	register_module_notifier(&module_notifier);
}

static void emergency_exit(void)
{
	unregister_module_notifier(&module_notifier);
	emergency_slot(false);
}
#else
#define emergency_init() do { } while (0)
#define emergency_exit() do { } while (0)
#endif

/*
 * On the CPU, in its hotplug thread. Who changes the list holds cpus_read_lock, which keeps hotplug
 * out.
 */
static int cpu_comes(unsigned int cpu)
{
	atomic_t failed = ATOMIC_INIT(0);

	if (!list_empty(&vms))
		smp_call_function_single(cpu, cpu_on, &failed, 1);
	return atomic_read(&failed);
}

static int cpu_goes(unsigned int cpu)
{
	return smp_call_function_single(cpu, cpu_off, NULL, 1);
}

/*
 * Suspend: the other CPUs are offline already, tasks are frozen, interrupts are off. Nobody can be
 * inside hardware_lock: its holders cannot be frozen in there.
 */
static int suspend_last_cpu(WAFER_SYSCORE_ARG)
{
	suspend_tsc = rdtsc();
	wafer_backend->cpu_off();
	return 0;
}

static void resume_first_cpu(WAFER_SYSCORE_ARG)
{
	struct wafer_vm *vm;
	u64 now = rdtsc();

	if (!list_empty(&vms) && wafer_backend->cpu_on())
		pr_err("%s could not be taken again after suspend: running VMs will fail\n",
		       wafer_backend->name);
	/*
	 * The firmware may have reset the host's TSC; the guests' must not go back (SDM vol. 3
	 * §18.17.1).
	 */
	list_for_each_entry(vm, &vms, link)
		if (now < suspend_tsc)
			wafer_vm_tsc_went_back(vm, suspend_tsc - now);
}

WAFER_SYSCORE(wafer_syscore, suspend_last_cpu, resume_first_cpu);

/**
 * wafer_hardware_get() - take the hardware for one more VM
 * @vm: the VM, its time initialised
 *
 * Return: 0; -EBUSY: another hypervisor holds it on some CPU; -ESHUTDOWN: the machine is going
 * down.
 */
int wafer_hardware_get(struct wafer_vm *vm)
{
	atomic_t failed = ATOMIC_INIT(0);

	cpus_read_lock();
	mutex_lock(&hardware_lock);
	if (READ_ONCE(hardware_gone)) {
		atomic_set(&failed, -ESHUTDOWN);
	} else if (list_empty(&vms)) {
		on_each_cpu(cpu_on, &failed, 1);
		if (atomic_read(&failed))
			on_each_cpu(cpu_off, NULL, 1);
	}
	if (!atomic_read(&failed))
		list_add(&vm->link, &vms);
	mutex_unlock(&hardware_lock);
	cpus_read_unlock();
	return atomic_read(&failed);
}

void wafer_hardware_put(struct wafer_vm *vm)
{
	cpus_read_lock();
	mutex_lock(&hardware_lock);
	list_del(&vm->link);
	if (list_empty(&vms))
		on_each_cpu(cpu_off, NULL, 1);
	mutex_unlock(&hardware_lock);
	cpus_read_unlock();
}

static int going_down(struct notifier_block *nb, unsigned long event, void *unused)
{
	mutex_lock(&hardware_lock);	/* nobody is in the middle of taking it for a first VM */
	WRITE_ONCE(hardware_gone, true);
	on_each_cpu(cpu_off, NULL, 1);
	mutex_unlock(&hardware_lock);
	return NOTIFY_OK;
}

static struct notifier_block reboot_notifier = { .notifier_call = going_down };

/**
 * wafer_hardware_init() - find the backend for this CPU; hook hotplug, suspend and reboot
 *
 * Return: 0; -EOPNOTSUPP with a line in the log that says what is missing.
 */
int wafer_hardware_init(void)
{
	int r;

	wafer_backend = &wafer_vmx;
	r = wafer_backend->detect(&wafer_caps);
	if (r == -ENODEV) {
		wafer_backend = &wafer_svm;
		r = wafer_backend->detect(&wafer_caps);
	}
	if (r == -ENODEV) {
		pr_err("this CPU has neither VT-x nor AMD-V\n");
		r = -EOPNOTSUPP;
	}
	if (r)
		return r;
	static_call_update(wafer_enter, wafer_backend->enter);
	hotplug_state = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "wafer:online", cpu_comes, cpu_goes);
	if (hotplug_state < 0) {
		wafer_backend->teardown();
		return hotplug_state;
	}
	emergency_init();
	wafer_syscore_register(&wafer_syscore);
	return register_reboot_notifier(&reboot_notifier);	/* 0 */
}

void wafer_hardware_exit(void)
{
	emergency_exit();
	unregister_reboot_notifier(&reboot_notifier);
	wafer_syscore_unregister(&wafer_syscore);
	cpuhp_remove_state(hotplug_state);
	wafer_backend->teardown();
}
