// SPDX-License-Identifier: GPL-2.0
/*
 * go_down reboot | kexec KERNEL INITRD CMDLINE | crash KERNEL INITRD CMDLINE: the host goes down
 * while a guest runs on every CPU. What the next kernel finds tells whether the CPUs left
 * virtualisation: one that did not takes no INIT (SDM vol. 3 §24.8, "INIT is blocked in VMX root
 * operation"), and a kernel that writes CR4 there faults.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <linux/kexec.h>
#include <linux/reboot.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vm.h"

#define COUNT(vm) (*(volatile uint64_t *)((vm)->mem + GUEST_DATA))

/* With IF set: see Documentation/emulator-bugs.md about Bochs. */
GUEST(count, 64, "sti\n 1: lock incq 0x100000\n jmp 1b\n");

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void *run(void *arg)
{
	struct vcpu *v = arg;

	pin(v->id);
	for (;;)
		vcpu_run(v);
	return NULL;
}

/*
 * One VM for each CPU: a common one would not do, since a VM's hardware is
 * taken on all CPUs at once anyway.
 */
static void start_guests(int cpus)
{
	struct vm *vm;
	pthread_t t;
	int i;

	for (i = 0; i < cpus; i++) {
		vm = vm_quick(MODE_LONG, VM_IRQCHIP, count, GUEST_SIZE(count));
		vm->cpu[0].id = i;
		pthread_create(&t, NULL, run, &vm->cpu[0]);
		while (COUNT(vm) < 1000)
			usleep(1000);
	}
}

static int fail(const char *what)
{
	perror(what);
	return 1;
}

static int load(const char *kernel, const char *initrd, const char *cmdline, unsigned long flags)
{
	int k = open(kernel, O_RDONLY), i = open(initrd, O_RDONLY);

	if (k < 0 || i < 0)
		return fail(k < 0 ? kernel : initrd);
	if (syscall(SYS_kexec_file_load, k, i, strlen(cmdline) + 1, cmdline, flags))
		return fail("kexec_file_load");
	return 0;
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "";
	bool is_crash = !strcmp(how, "crash");
	int fd;

	if (strcmp(how, "reboot") && (argc != 5 || (!is_crash && strcmp(how, "kexec")))) {
		fprintf(stderr, "usage: go_down reboot | kexec KERNEL INITRD CMDLINE | "
				"crash KERNEL INITRD CMDLINE\n");
		return 2;
	}
	if (argc == 5 && load(argv[2], argv[3], argv[4], is_crash ? KEXEC_FILE_ON_CRASH : 0))
		return 1;
	start_guests(sysconf(_SC_NPROCESSORS_ONLN));
	printf("going down by %s with %ld guests\n", how, sysconf(_SC_NPROCESSORS_ONLN));
	fflush(stdout);
	usleep(100000);
	/* the next kernel starts its other CPUs from the one where this one ended */
	pin(0);
	if (!strcmp(how, "kexec"))
		return syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
			       LINUX_REBOOT_CMD_KEXEC, NULL),
		       fail("reboot");
	if (!strcmp(how, "reboot"))
		return reboot(RB_AUTOBOOT), fail("reboot");
	fd = open("/sys/module/hwbits/parameters/crash", O_WRONLY);
	if (fd < 0 || write(fd, "1", 1) != 1)
		return fail("/sys/module/hwbits/parameters/crash");
	return 1;
}
