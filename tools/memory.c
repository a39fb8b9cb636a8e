// SPDX-License-Identifier: GPL-2.0
/*
 * Guest memory: one anonymous mapping, shown to the guest in one or two slots.
 */
#include <cpuid.h>
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "vm.h"

#define HUGE_PAGE	(2 * MIB)

static void add_slot(struct vm *vm, uint32_t slot, uint64_t gpa, void *host, uint64_t size)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)host,
	};

	if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		die(STATUS_USAGE, "--memory: cannot give the guest %llu MiB at 0x%llx: %s",
		    (unsigned long long)(size / MIB), (unsigned long long)gpa, strerror(errno));
}

/* CPUID leaf 0x80000008: how many bits of a physical address the CPU has. */
static unsigned int address_bits(void)
{
	unsigned int eax, ebx, ecx, edx;

	return __get_cpuid(0x80000008, &eax, &ebx, &ecx, &edx) ? eax & 0xff : 36;
}

void ram_create(struct vm *vm, uint64_t size)
{
	struct guest_ram *ram = &vm->ram;
	uint8_t *p;

	if (size > (1ull << address_bits()) - (RAM_HIGH_BASE - RAM_LOW_MAX))
		die(STATUS_USAGE, "--memory: %llu MiB are more than this CPU can address",
		    (unsigned long long)(size / MIB));
	/*
	 * Nothing is touched here: pages come when the guest first uses them.
	 * The mapping starts on a huge page so that addresses inside the guest
	 * and here agree in their low 21 bits; otherwise no huge page of the
	 * host could back one of the guest.
	 */
	p = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		die(STATUS_USAGE, "--memory: the host has no room for %llu MiB: %s",
		    (unsigned long long)(size / MIB), strerror(errno));
	ram->host = (uint8_t *)ALIGN_UP((uintptr_t)p, HUGE_PAGE);
	ram->low_size = size < RAM_LOW_MAX ? size : RAM_LOW_MAX;
	ram->high_size = size - ram->low_size;

	/* Both are wishes that a kernel may be built without. */
	(void)madvise(ram->host, size, MADV_HUGEPAGE);
	(void)madvise(ram->host, size, MADV_DONTDUMP);

	add_slot(vm, 0, 0, ram->host, ram->low_size);
	if (ram->high_size)
		add_slot(vm, 1, RAM_HIGH_BASE, ram->host + ram->low_size, ram->high_size);
}

uint64_t ram_size(const struct guest_ram *ram)
{
	return ram->low_size + ram->high_size;
}

void *ram_ptr(const struct guest_ram *ram, uint64_t gpa, uint64_t len)
{
	/* Compared by subtraction, which cannot wrap as gpa + len could. */
	if (gpa < ram->low_size && len <= ram->low_size - gpa)
		return ram->host + gpa;
	if (gpa >= RAM_HIGH_BASE && gpa - RAM_HIGH_BASE < ram->high_size &&
	    len <= ram->high_size - (gpa - RAM_HIGH_BASE))
		return ram->host + ram->low_size + (gpa - RAM_HIGH_BASE);
	return NULL;
}
