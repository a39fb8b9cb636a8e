// SPDX-License-Identifier: GPL-2.0
/*
 * What the guest's CPUID says: what the host offers, and on top of it what only
 * this program knows, the topology. All vCPUs are cores of one package, one
 * thread each, numbered without gaps.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vm.h"

#define MAX_ENTRIES	256

/* Leaf numbers and bits: SDM vol. 2A "CPUID", APM vol. 3 appendix E. */
#define LEAF1_ECX_VMX		(1u << 5)
#define LEAF1_ECX_TSC_DEADLINE	(1u << 24)
#define LEAF1_ECX_X2APIC	(1u << 21)
#define LEAF1_ECX_HYPERVISOR	(1u << 31)
#define LEAF1_EDX_HTT		(1u << 28)
#define AMD1_ECX_CMP_LEGACY	(1u << 1)
#define AMD1_ECX_SVM		(1u << 2)
#define PV_MSI_EXT_DEST_ID	(1u << 15)

#define LEVEL_TYPE_SMT		1
#define LEVEL_TYPE_CORE		2

struct cpuid_table {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entry[MAX_ENTRIES];
};

static unsigned int bits_for(unsigned int nr)
{
	return nr <= 1 ? 0 : 32 - __builtin_clz(nr - 1);
}

static bool is_amd(const struct cpuid_table *t)
{
	for (unsigned int i = 0; i < t->head.nent; i++) {
		const struct kvm_cpuid_entry2 *e = &t->entry[i];

		if (e->function == 0)
			return e->ebx == 0x68747541 || e->ebx == 0x6f677948;	/* Auth, Hygo */
	}
	return false;
}

static void patch_features(struct kvm_cpuid_entry2 *e, unsigned int id, unsigned int cpus,
			   bool deadline)
{
	e->ebx = (e->ebx & 0xffff) | id << 24 | (cpus < 255 ? cpus : 255) << 16;
	e->ecx |= LEAF1_ECX_HYPERVISOR | LEAF1_ECX_X2APIC;
	e->ecx &= ~LEAF1_ECX_VMX;	/* a guest is a guest, on hosts that nest as well */
	if (deadline)
		e->ecx |= LEAF1_ECX_TSC_DEADLINE;
	if (cpus > 1)
		e->edx |= LEAF1_EDX_HTT;
	else
		e->edx &= ~LEAF1_EDX_HTT;
}

/* Caches below the last level are a core's own; the last one is everybody's. */
static void patch_cache(struct kvm_cpuid_entry2 *e, unsigned int cpus, bool intel)
{
	unsigned int level = e->eax >> 5 & 7;
	unsigned int sharing = level >= 3 ? (1u << bits_for(cpus)) - 1 : 0;
	unsigned int cores = (1u << bits_for(cpus)) - 1;

	if (!(e->eax & 0x1f))
		return;
	e->eax = (e->eax & 0x3fff) | sharing << 14;
	if (intel)
		e->eax |= (cores < 63 ? cores : 63) << 26;
}

/*
 * Hosts give one empty sub-leaf, so all of an extended topology leaf is made
 * here; @e is its sub-leaf 0, and the others are appended.
 */
static void patch_topology(struct cpuid_table *t, struct kvm_cpuid_entry2 *e, unsigned int id,
			   unsigned int cpus)
{
	struct kvm_cpuid_entry2 level = {
		.function = e->function, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX, .edx = id,
	};

	*e = level;
	e->ebx = 1;
	e->ecx = LEVEL_TYPE_SMT << 8;
	if (t->head.nent + 2 > MAX_ENTRIES)
		return;
	level.index = 1;
	level.eax = bits_for(cpus);
	level.ebx = cpus;
	level.ecx = LEVEL_TYPE_CORE << 8 | 1;
	t->entry[t->head.nent++] = level;
	level.index = 2;
	level.eax = level.ebx = 0;
	level.ecx = 2;
	t->entry[t->head.nent++] = level;
}

static void patch(struct cpuid_table *t, unsigned int id, unsigned int cpus, bool deadline)
{
	unsigned int nent = t->head.nent;
	bool amd = is_amd(t);

	for (unsigned int i = 0; i < nent; i++) {
		struct kvm_cpuid_entry2 *e = &t->entry[i];

		switch (e->function) {
		case 1:
			patch_features(e, id, cpus, deadline);
			break;
		case 4:
			patch_cache(e, cpus, true);
			break;
		case 0xb:
		case 0x1f:
			if (e->index == 0)
				patch_topology(t, e, id, cpus);
			break;
		case 0x40000001:
			if (cpus > 255)
				e->eax |= PV_MSI_EXT_DEST_ID;
			break;
		case 0x80000001:
			e->ecx &= ~AMD1_ECX_SVM;
			if (amd && cpus > 1)
				e->ecx |= AMD1_ECX_CMP_LEGACY;
			break;
		case 0x80000008:
			if (amd)
				e->ecx = (e->ecx & ~0xf0ffu) | bits_for(cpus) << 12 |
					 (cpus < 256 ? cpus - 1 : 255);
			break;
		case 0x8000001d:
			patch_cache(e, cpus, false);
			break;
		case 0x8000001e:
			e->eax = id;
			e->ebx = id & 0xff;	/* core, one thread in it */
			e->ecx = 0;		/* node 0 of one */
			break;
		}
	}
}

/* More than one sub-leaf would remain behind the ones that are made here. */
static void drop_topology_tails(struct cpuid_table *t)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < t->head.nent; i++) {
		const struct kvm_cpuid_entry2 *e = &t->entry[i];

		if ((e->function == 0xb || e->function == 0x1f) && e->index)
			continue;
		t->entry[n++] = t->entry[i];
	}
	t->head.nent = n;
}

void cpuid_setup(struct vm *vm)
{
	static struct cpuid_table host, table;
	bool deadline = vm_cap(vm, KVM_CAP_TSC_DEADLINE_TIMER) > 0;

	host.head.nent = MAX_ENTRIES;
	if (ioctl(vm->dev_fd, KVM_GET_SUPPORTED_CPUID, &host) < 0)
		die(STATUS_HOST, "KVM_GET_SUPPORTED_CPUID: %s", strerror(errno));
	drop_topology_tails(&host);

	for (unsigned int i = 0; i < vm->nr_vcpus; i++) {
		memcpy(&table, &host, sizeof(host.head) + host.head.nent * sizeof(host.entry[0]));
		patch(&table, vm->vcpus[i].id, vm->nr_vcpus, deadline);
		if (ioctl(vm->vcpus[i].fd, KVM_SET_CPUID2, &table) < 0)
			die(STATUS_HOST, "KVM_SET_CPUID2 on vCPU %u: %s", i, strerror(errno));
	}
}
