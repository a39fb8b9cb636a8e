// SPDX-License-Identifier: GPL-2.0
/* The calls with which VMMs save and restore a VM's state, each as a step. */
#include <stddef.h>
#include <string.h>

#include "vmm.h"

#define PART(f) offsetof(struct vmm_cpu_state, f), sizeof(((struct vmm_cpu_state *)0)->f)
#define VM_PART(f) offsetof(struct vmm_state, f), sizeof(((struct vmm_state *)0)->f)

static const struct {
	unsigned long get, set;
	size_t at, size;
} items[NR_VMM_ITEMS] = {
	[REGS] = { KVM_GET_REGS, KVM_SET_REGS, PART(regs) },
	[SREGS] = { KVM_GET_SREGS, KVM_SET_SREGS, PART(sregs) },
	[SREGS2] = { KVM_GET_SREGS2, KVM_SET_SREGS2, PART(sregs2) },
	[FPU] = { KVM_GET_FPU, KVM_SET_FPU, PART(fpu) },
	[XSAVE] = { KVM_GET_XSAVE, KVM_SET_XSAVE, PART(xsave) },
	[XSAVE2] = { KVM_GET_XSAVE2, KVM_SET_XSAVE, PART(xsave) },
	[XCRS] = { KVM_GET_XCRS, KVM_SET_XCRS, PART(xcrs) },
	[DEBUGREGS] = { KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, PART(debugregs) },
	[LAPIC] = { KVM_GET_LAPIC, KVM_SET_LAPIC, PART(lapic) },
	[MP_STATE] = { KVM_GET_MP_STATE, KVM_SET_MP_STATE, PART(mp) },
	[EVENTS] = { KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, PART(events) },
	[CPUID2] = { KVM_GET_CPUID2, KVM_SET_CPUID2, PART(cpuid) },
	[NESTED] = { KVM_GET_NESTED_STATE, 0, offsetof(struct vmm_cpu_state, nested),
		     sizeof(struct kvm_nested_state) + 8192 },
	[PIT2] = { KVM_GET_PIT2, KVM_SET_PIT2, VM_PART(pit) },
	[CLOCK] = { KVM_GET_CLOCK, KVM_SET_CLOCK, VM_PART(clock) },
	[CHIP0] = { KVM_GET_IRQCHIP, KVM_SET_IRQCHIP, VM_PART(chip[0]) },
	[CHIP1] = { KVM_GET_IRQCHIP, KVM_SET_IRQCHIP, VM_PART(chip[1]) },
	[CHIP2] = { KVM_GET_IRQCHIP, KVM_SET_IRQCHIP, VM_PART(chip[2]) },
};

static void *place(struct vmm *m, const struct vmm_state *s, unsigned int item)
{
	return (uint8_t *)(item >= PIT2 ? (void *)s : (void *)&s->cpu[m->cur]) + items[item].at;
}

bool vmm_get(struct vmm *m, uint64_t item)
{
	struct vmm_cpu_state *c = &m->state.cpu[m->cur];

	if (item >= CHIP0)
		m->state.chip[item - CHIP0].chip_id = item - CHIP0;
	if (item == CPUID2)
		c->cpuid.head.nent = VMM_MAX_CPUID;
	if (item == NESTED)
		c->nested.size = sizeof(c->nested) + sizeof(c->nested_data);
	if (vmm_ioctl(m, item >= PIT2 ? m->vm : m->cpu[m->cur].fd, items[item].get,
		      place(m, &m->state, item), items[item].size))
		return false;
	if (item == CLOCK)
		m->state.clock.flags &= ~KVM_CLOCK_TSC_STABLE;
	return true;
}

bool vmm_set(struct vmm *m, uint64_t item)
{
	if (!items[item].set)
		return true;
	if (item == CLOCK)
		m->state.clock.flags = 0;
	return !vmm_ioctl(m, item >= PIT2 ? m->vm : m->cpu[m->cur].fd, items[item].set,
			  place(m, &m->state, item), items[item].size);
}

/* Whether a piece is as it was. */
bool vmm_same(struct vmm *m, const struct vmm_state *was, enum vmm_item item)
{
	const uint8_t *a = place(m, was, item), *b = place(m, &m->state, item);
	size_t i;

	for (i = 0; i < items[item].size; i++)
		if (a[i] != b[i])
			return vmm_fail(m, "item %d of CPU %u: byte %zu was %02x, is %02x", item,
					m->cur, i, a[i], b[i]);
	return true;
}

static size_t msrs_size(const struct vmm_msrs *msrs)
{
	return sizeof(msrs->head) +
	       (msrs->head.nmsrs < VMM_MAX_MSRS ? msrs->head.nmsrs : VMM_MAX_MSRS) *
		       sizeof(msrs->entry[0]);
}

bool vmm_put_msrs(struct vmm *m, struct vmm_msrs *msrs)
{
	long n = CPU(KVM_SET_MSRS, msrs, msrs_size(msrs));

	if (n >= 0 && n < msrs->head.nmsrs)
		return vmm_fail(m, "MSR %x is not set to %llx", msrs->entry[n].index,
				msrs->entry[n].data);
	return n == msrs->head.nmsrs;
}

/* What Firecracker saves of the list; other VMMs save all of it. */
static bool firecracker_saves(uint32_t i)
{
	static const struct { uint32_t first, last; } ranges[] = {
		{ 0, 1 }, { 0x10, 0x10 }, { 0x17, 0x17 }, { 0x1b, 0x1b }, { 0x2a, 0x2a },
		{ 0x2c, 0x2c }, { 0x34, 0x34 }, { 0x3a, 0x3b }, { 0x48, 0x49 }, { 0x79, 0x79 },
		{ 0x8b, 0x8b }, { 0x9e, 0x9e }, { 0xcd, 0xce }, { 0xe2, 0xe2 }, { 0xe7, 0xe8 },
		{ 0xfe, 0xfe }, { 0x11e, 0x11e }, { 0x122, 0x122 }, { 0x174, 0x176 },
		{ 0x179, 0x17a }, { 0x198, 0x198 }, { 0x1a0, 0x1a0 }, { 0x200, 0x2ff },
		{ 0x400, 0x47f }, { 0x6e0, 0x6e0 }, { 0x800, 0xbff }, { 0x4b564d00, 0x4b564d06 },
		{ 0xc0000080, 0xc0000084 }, { 0xc0000100, 0xc0000103 }, { 0xc0010015, 0xc0010015 },
		{ 0xda0, 0xda0 }, { 0x140, 0x140 },
	};
	unsigned int n;

	for (n = 0; n < sizeof(ranges) / sizeof(ranges[0]); n++)
		if (i >= ranges[n].first && i <= ranges[n].last)
			return true;
	return false;
}

static void add_msrs(struct vmm_msrs *l, uint32_t first, unsigned int count)
{
	while (count-- && l->head.nmsrs < VMM_MAX_MSRS)
		l->entry[l->head.nmsrs++].index = first++;
}

/*
 * @arg 1: Firecracker's list: what it knows of the index list, and what CPUID implies (MTRRs, 32
 * banks of machine checks). Everybody's last one is the timer's deadline, which needs the rest.
 */
STEP(save_msrs)
{
	struct vmm_msrs *l = &m->state.cpu[m->cur].msrs;
	unsigned int i, from, n;
	long r;

	memset(l, 0, sizeof(*l));
	for (i = 0; i < m->nr_msrs; i++)
		if (m->msr[i] != 0x6e0 && (!arg || firecracker_saves(m->msr[i])))
			add_msrs(l, m->msr[i], 1);
	if (arg) {
		add_msrs(l, 0x200, 16);
		add_msrs(l, 0x250, 1);
		add_msrs(l, 0x258, 2);
		add_msrs(l, 0x268, 8);
		add_msrs(l, 0x2ff, 1);
		add_msrs(l, 0x400, 0x80);
	}
	add_msrs(l, 0x6e0, 1);
	/* as many at a time as the kernel takes */
	for (from = 0; from < l->head.nmsrs; from += n) {
		struct vmm_msrs part = { };

		n = l->head.nmsrs - from < 255 ? l->head.nmsrs - from : 255;
		part.head.nmsrs = n;
		memcpy(part.entry, l->entry + from, n * sizeof(l->entry[0]));
		r = CPU(KVM_GET_MSRS, &part, msrs_size(&part));
		if (r >= 0 && r < n)
			return vmm_fail(m, "MSR %x is not read", part.entry[r].index);
		if (r != n)
			return false;
		memcpy(l->entry + from, part.entry, n * sizeof(l->entry[0]));
	}
	return true;
}

STEP(restore_msrs)
{
	struct vmm_msrs *l = &m->state.cpu[m->cur].msrs, part;
	unsigned int from, n;

	for (from = 0; from < l->head.nmsrs; from += n) {
		memset(&part, 0, sizeof(part));
		n = l->head.nmsrs - from < 255 ? l->head.nmsrs - from : 255;
		part.head.nmsrs = n;
		memcpy(part.entry, l->entry + from, n * sizeof(l->entry[0]));
		if (!vmm_put_msrs(m, &part))
			return false;
	}
	return true;
}

/* crosvm's: each is read, and set if it differs. */
STEP(one_by_one_msrs)
{
	struct vmm_msrs *l = &m->state.cpu[m->cur].msrs;
	unsigned int i;

	for (i = 0; i < l->head.nmsrs; i++) {
		struct vmm_msrs one = { .head = { .nmsrs = 1 }, .entry = { l->entry[i] } };

		if (CPU(KVM_GET_MSRS, &one, msrs_size(&one)) == 1 &&
		    one.entry[0].data == l->entry[i].data)
			continue;
		one.head.nmsrs = 1;
		one.entry[0] = l->entry[i];
		if (!vmm_put_msrs(m, &one))
			return false;
	}
	return true;
}

static uint64_t host_tsc(void)
{
	uint32_t lo, hi;

	asm volatile("rdtsc" : "=a" (lo), "=d" (hi));
	return (uint64_t)hi << 32 | lo;
}

/* The guest's TSC as a distance from the host's. */
STEP(save_tsc)
{
	struct vmm_msrs one = { .head = { .nmsrs = 1 }, .entry = { { .index = 0x10 } } };
	uint64_t now = host_tsc();

	if (CPU(KVM_GET_MSRS, &one, msrs_size(&one)) != 1)
		return false;
	m->state.cpu[m->cur].tsc_offset = one.entry[0].data - (now / 2 + host_tsc() / 2);
	return true;
}

STEP(restore_tsc)
{
	struct vmm_msrs one = { .head = { .nmsrs = 1 }, .entry = { { .index = 0x10 } } };

	one.entry[0].data = host_tsc() + m->state.cpu[m->cur].tsc_offset;
	return vmm_put_msrs(m, &one);
}

/* The attribute by which cloud-hypervisor aligns a new CPU's TSC with the others'. */
STEP(tsc_offset)
{
	uint64_t offset = 0;
	struct kvm_device_attr a = { .addr = (uintptr_t)&offset };

	if (CPU(KVM_HAS_DEVICE_ATTR, &a, sizeof(a)))
		return true;
	return !CPU(KVM_GET_DEVICE_ATTR, &a, sizeof(a)) && !CPU(KVM_SET_DEVICE_ATTR, &a, sizeof(a));
}

/* A guest without kvmclock gives EINVAL, and no VMM minds. */
STEP(kvmclock_ctrl)
{
	return !CPU(KVM_KVMCLOCK_CTRL, NULL, 0) || errno == EINVAL;
}

/* kvmtool asks the wrong descriptor. */
STEP(kvmclock_ctrl_of_vm)
{
	return VM(KVM_KVMCLOCK_CTRL, NULL, 0) == -1 && errno == ENOTTY;
}

/*
 * An NMI for a guest that masks LINT1: it is latched, and dropped by the next KVM_SET_VCPU_EVENTS.
 */
STEP(nmi_blocked)
{
	struct kvm_vcpu_events e;

	if (CPU(KVM_GET_VCPU_EVENTS, &e, sizeof(e)) || CPU(KVM_NMI, NULL, 0))
		return false;
	e.flags |= KVM_VCPUEVENT_VALID_NMI_PENDING;
	e.nmi.pending = 0;
	return !CPU(KVM_SET_VCPU_EVENTS, &e, sizeof(e));
}
