// SPDX-License-Identifier: GPL-2.0
// manyvms: what idle VMs take of the host's memory, over the KVM userspace ABI.
// usage: manyvms [device [how many [row]]]       prints: name <tab> KiB per VM
// The VMs have one vCPU each and are all open at the same time; no page of a guest is mapped. What the host has less of
// then is the kernel's but for this process's own page tables and the list of descriptors. Three kinds: as they were
// created; with interrupt controllers, CPUID and a slot of 64 MiB; and these after a run that ended at once in the VMM.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include <linux/kvm.h>

#define SLOT (64UL << 20)
enum { BARE, EQUIPPED, RUN, KINDS };
static const char *kinds[KINDS] = { "vm_kib", "vm_with_chips_kib", "vm_that_ran_kib" };

static void die(const char *what) { fprintf(stderr, "manyvms: %s: %s\n", what, strerror(errno)); exit(1); }

// Free pages, those on the lists of single CPUs included, which MemFree does not know.
static long free_kib(void)
{
	static char b[1 << 16];
	long pages = 0;
	size_t n = 0;
	ssize_t r;
	int fd = open("/proc/zoneinfo", O_RDONLY);

	while ((r = read(fd, b + n, sizeof b - 1 - n)) > 0) n += r;
	close(fd);
	b[n] = 0;
	if (!n) die("/proc/zoneinfo");
	for (char *at = b; (at = strstr(at, "pages free")); at++) pages += strtol(at + 10, NULL, 10);
	for (char *at = b; (at = strstr(at, " count:")); at++) pages += strtol(at + 7, NULL, 10);
	return pages * 4;
}

// What free_kib() tells once the kernel has freed what it frees later.
static long settled(void)
{
	long was = -1, is = free_kib();

	for (int i = 0; i < 6 && (i < 3 || labs(is - was) > 64); i++) {
		sleep(1);
		was = is;
		is = free_kib();
	}
	return is;
}

static void equip(int vm, void *memory)
{
	struct kvm_userspace_memory_region r = { .memory_size = SLOT, .userspace_addr = (uintptr_t)memory };

	ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000UL);
	if (ioctl(vm, KVM_CREATE_IRQCHIP, 0)) die("KVM_CREATE_IRQCHIP");
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &r)) die("KVM_SET_USER_MEMORY_REGION");
}

static void set_cpuid(int sys, int vcpu)
{
	static struct { struct kvm_cpuid2 h; struct kvm_cpuid_entry2 e[128]; } c;

	c.h.nent = 128;
	if (ioctl(sys, KVM_GET_SUPPORTED_CPUID, &c) || ioctl(vcpu, KVM_SET_CPUID2, &c)) die("KVM_SET_CPUID2");
}

int main(int argc, char **argv)
{
	const char *dev = argc > 1 ? argv[1] : "/dev/kvm";
	int n = argc > 2 ? atoi(argv[2]) : 1000, sys = open(dev, O_RDWR | O_CLOEXEC), *fd = calloc(2 * n, sizeof *fd);
	struct rlimit limit = { 2 * n + 64, 2 * n + 64 };
	void *memory = mmap(NULL, SLOT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (sys < 0) die(dev);
	if (setrlimit(RLIMIT_NOFILE, &limit)) die("RLIMIT_NOFILE");
	int size = ioctl(sys, KVM_GET_VCPU_MMAP_SIZE, 0);
	memset(fd, -1, 2 * n * sizeof *fd);
	if (dup2(sys, 2 * n + 63) < 0) die("dup2");	// the table of descriptors grows before the count
	for (int kind = -1; kind < KINDS; kind++) {		// the first for nothing: slabs are made
		int many = kind < 0 ? 16 : n;

		if (kind >= 0 && argc > 3 && strcmp(argv[3], kinds[kind])) continue;
		long before = settled();

		for (int i = 0; i < many; i++) {
			int vm = fd[2 * i] = ioctl(sys, KVM_CREATE_VM, 0), vcpu;

			if (vm < 0) die("KVM_CREATE_VM");
			if (kind >= EQUIPPED) equip(vm, memory);
			vcpu = fd[2 * i + 1] = ioctl(vm, KVM_CREATE_VCPU, 0);
			if (vcpu < 0) die("KVM_CREATE_VCPU");
			if (kind >= EQUIPPED) set_cpuid(sys, vcpu);
			if (kind >= RUN) {
				struct kvm_run *run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);

				if (run == MAP_FAILED) die("mmap kvm_run");
				run->immediate_exit = 1;
				if (!ioctl(vcpu, KVM_RUN, 0) || errno != EINTR) die("KVM_RUN");
				munmap(run, size);
			}
		}
		long after = settled();

		for (int i = 0; i < 2 * many; i++) close(fd[i]);
		if (kind >= 0) { printf("%-22s\t%.1f\n", kinds[kind], (double)(before - after) / many); fflush(stdout); }
	}
	return 0;
}
