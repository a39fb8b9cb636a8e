// SPDX-License-Identifier: GPL-2.0
/*
 * The calls that VMMs make, each as a step: what it asks for, and what must
 * come back for the VMM to go on.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm.h"

#define VALUE(x) ((void *)(uintptr_t)(x))

/* ---- the device, the VM ---- */

STEP(open_device)
{
	m->sys = open(vm_device(), O_RDWR | O_CLOEXEC);
	return m->sys >= 0 || vmm_fail(m, "%s", strerror(errno));
}

STEP(api_version)
{
	long v = SYS(KVM_GET_API_VERSION, NULL, 0);

	return v == 12 || vmm_fail(m, "version %ld", v);
}

static bool needs(struct vmm *m, int fd, const int *caps)
{
	for (; *caps >= 0; caps++)
		if (vmm_ioctl(m, fd, KVM_CHECK_EXTENSION, VALUE(*caps), 0) <= 0)
			return vmm_fail(m, "capability %d is missing", *caps);
	return true;
}

STEP(needs)
{
	return needs(m, m->sys, (const int *)(uintptr_t)arg);
}

STEP(needs_of_vm)
{
	return needs(m, m->vm, (const int *)(uintptr_t)arg);
}

STEP(create_vm)
{
	m->vm = SYS(KVM_CREATE_VM, VALUE(arg), 0);
	return m->vm >= 0;
}

STEP(ask_mmap_size)
{
	long size = SYS(KVM_GET_VCPU_MMAP_SIZE, NULL, 0);

	if (size > 0)
		m->mmap_size = size;
	return size >= 3 * 4096 && size < 1 << 20;
}

/* @arg: how many the VMM has room for; 0: it asks for the number first. */
STEP(ask_msr_list)
{
	struct {
		struct kvm_msr_list head;
		uint32_t index[VMM_MAX_MSRS];
	} l = { .head = { .nmsrs = arg } };
	bool asked = !arg;

	if (asked &&
	    (SYS(KVM_GET_MSR_INDEX_LIST, &l, sizeof(l)) != -1 || errno != E2BIG || !l.head.nmsrs))
		return vmm_fail(m, "no number of MSRs");
	if (SYS(KVM_GET_MSR_INDEX_LIST, &l, sizeof(l)))
		return false;
	if (l.head.nmsrs > VMM_MAX_MSRS)
		l.head.nmsrs = VMM_MAX_MSRS;
	m->nr_msrs = l.head.nmsrs;
	memcpy(m->msr, l.index, m->nr_msrs * 4);
	return m->nr_msrs >= 2;
}

/* Each by itself, of the system's descriptor. */
STEP(ask_feature_msrs)
{
	struct { struct kvm_msr_list head; uint32_t index[VMM_MAX_MSRS]; } l = { };
	unsigned int i;

	if (SYS(KVM_GET_MSR_FEATURE_INDEX_LIST, &l, sizeof(l)) != -1 || errno != E2BIG ||
	    !l.head.nmsrs)
		return vmm_fail(m, "no number of MSRs");
	if (SYS(KVM_GET_MSR_FEATURE_INDEX_LIST, &l, sizeof(l)))
		return false;
	for (i = 0; i < l.head.nmsrs && i < VMM_MAX_MSRS; i++) {
		struct vmm_msrs one = {
			.head = { .nmsrs = 1 }, .entry = { { .index = l.index[i] } },
		};

		if (SYS(KVM_GET_MSRS, &one, sizeof(one.head) + sizeof(one.entry[0])) != 1)
			return vmm_fail(m, "feature MSR %x", l.index[i]);
	}
	return true;
}

static struct kvm_cpuid_entry2 *leaf(struct vmm_cpuid *c, uint32_t function, uint32_t index)
{
	unsigned int i;

	for (i = 0; i < c->head.nent && i < VMM_MAX_CPUID; i++)
		if (c->entry[i].function == function &&
		    (!(c->entry[i].flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) ||
		     c->entry[i].index == index))
			return &c->entry[i];
	return NULL;
}

/*
 * @arg: how many fit; 1: it doubles until all do. Then the leaves that Firecracker
 * and the others cannot do without.
 */
STEP(ask_cpuid)
{
	static const uint32_t both[] = {
		0, 1, 7, 0x80000000, 0x80000001, 0x80000002, 0x80000003, 0x80000004,
		0x40000000, 0x40000001,
	};
	static const uint32_t intel[] = { 6, 0xa }, amd[] = { 0x80000005, 0x80000006, 0x80000008 };
	struct kvm_cpuid_entry2 *e;
	uint32_t nent = arg;
	unsigned int i;

	for (;;) {
		m->cpuid.head.nent = nent;
		if (!SYS(KVM_GET_SUPPORTED_CPUID, &m->cpuid, sizeof(m->cpuid)))
			break;
		if (errno != E2BIG || arg != 1 || nent >= VMM_MAX_CPUID)
			return false;
		nent *= 2;
	}
	if (m->cpuid.head.nent >= 100)
		return vmm_fail(m, "%u leaves", m->cpuid.head.nent);
	for (i = 0; i < sizeof(both) / 4; i++)
		if (!leaf(&m->cpuid, both[i], 0))
			return vmm_fail(m, "no leaf %x", both[i]);
	for (i = 0; i < 3; i++)
		if (vm_is_amd() ? !leaf(&m->cpuid, amd[i], 0) :
				  i < 2 && !leaf(&m->cpuid, intel[i], 0))
			return vmm_fail(m, "a vendor's leaf");
	e = leaf(&m->cpuid, 0, 0);
	return e->ebx == 0x756e6547 || e->ebx == 0x68747541;
}

/* @arg 1: and it must be at least what CPUID says of the area. */
STEP(ask_xsave_size)
{
	long size = VM(KVM_CHECK_EXTENSION, VALUE(KVM_CAP_XSAVE2), 0);

	m->xsave_size = size;
	return size >= 4096 && size <= VMM_XSAVE;
}

STEP(ask_slots)
{
	return SYS(KVM_CHECK_EXTENSION, VALUE(KVM_CAP_NR_MEMSLOTS), 0) >= 32;
}

STEP(ask_vcpus)
{
	long soft = SYS(KVM_CHECK_EXTENSION, VALUE(KVM_CAP_NR_VCPUS), 0);
	long max = SYS(KVM_CHECK_EXTENSION, VALUE(KVM_CAP_MAX_VCPUS), 0);

	return soft > 0 && max >= VMM_CPUS;
}

STEP(tss)
{
	return !VM(KVM_SET_TSS_ADDR, VALUE(arg), 0);
}

STEP(identity_map)
{
	return !VM(KVM_SET_IDENTITY_MAP_ADDR, &arg, sizeof(arg));
}

STEP(irqchip)
{
	return !VM(KVM_CREATE_IRQCHIP, NULL, 0);
}

STEP(pit2)
{
	struct kvm_pit_config config = { .flags = arg };

	return !VM(KVM_CREATE_PIT2, &config, sizeof(config));
}

STEP(enable)
{
	struct kvm_enable_cap cap = { .cap = arg & 0xffff, .args = { arg >> 16 } };

	return !VM(KVM_ENABLE_CAP, &cap, sizeof(cap));
}

STEP(split)
{
	return vmm_enable(m, arg << 16 | KVM_CAP_SPLIT_IRQCHIP);
}

STEP(memory)
{
	struct kvm_userspace_memory_region r = {
		.flags = arg, .memory_size = VMM_MEMORY, .userspace_addr = (uintptr_t)m->mem,
	};

	return !VM(KVM_SET_USER_MEMORY_REGION, &r, sizeof(r));
}

STEP(dirty_log)
{
	static uint64_t bits[VMM_MEMORY >> 18];
	struct kvm_dirty_log log = { .dirty_bitmap = bits };

	return !VM(KVM_GET_DIRTY_LOG, &log, sizeof(log));
}

/* ---- a vCPU: how it begins ---- */

STEP(create_vcpu)
{
	m->cpu[m->cur].fd = VM(KVM_CREATE_VCPU, VALUE(m->cur), 0);
	return m->cpu[m->cur].fd >= 0;
}

STEP(map_vcpu)
{
	void *p = mmap(NULL, m->mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		       m->cpu[m->cur].fd, 0);

	if (p == MAP_FAILED)
		return vmm_fail(m, "mmap: %s", strerror(errno));
	m->cpu[m->cur].run = p;
	return true;
}

STEP(ask_tsc_khz)
{
	m->state.cpu[m->cur].tsc_khz = CPU(KVM_GET_TSC_KHZ, NULL, 0);
	return m->state.cpu[m->cur].tsc_khz > 0;
}

STEP(set_tsc_khz)
{
	return !CPU(KVM_SET_TSC_KHZ, VALUE(m->state.cpu[m->cur].tsc_khz), 0);
}

/* What a VMM changes in what is supported; @arg 1: cloud-hypervisor's additions as well. */
STEP(put_cpuid)
{
	static struct vmm_cpuid c;
	struct kvm_cpuid_entry2 *e;

	c = m->cpuid;
	e = leaf(&c, 1, 0);
	if (e) {
		e->ebx = (e->ebx & 0xffff) | VMM_CPUS << 16 | m->cur << 24;
		e->ecx |= 1u << 31 | 1 << 24;
		e->edx |= 1 << 12;
	}
	for (e = c.entry; e < c.entry + c.head.nent && e < c.entry + VMM_MAX_CPUID; e++)
		if (e->function == 0xb || e->function == 0x1f)
			e->edx = m->cur;
	e = leaf(&c, 0x40000001, 0);
	if (arg && e)
		e->eax |= 1 << 15;
	e = leaf(&c, 0x40000000, 0);
	if (arg && e && c.head.nent < VMM_MAX_CPUID) {
		e->eax = 0x40000010;
		c.entry[c.head.nent++] = (struct kvm_cpuid_entry2){
			.function = 0x40000010, .eax = m->state.cpu[m->cur].tsc_khz,
		};
	}
	return !CPU(KVM_SET_CPUID2, &c, sizeof(c));
}

/* @arg: with the MTRRs' default type, 11 entries instead of 10. */
STEP(boot_msrs)
{
	static const struct { uint32_t index, data; } boot[] = {
		{ 0x174 }, { 0x175 }, { 0x176 }, { 0xc0000081 }, { 0xc0000083 }, { 0xc0000102 },
		{ 0xc0000084 }, { 0xc0000082 }, { 0x10 }, { 0x1a0, 1 }, { 0x2ff, 0x806 },
	};
	struct vmm_msrs msrs = { .head = { .nmsrs = arg ? 11 : 10 } };
	unsigned int i;

	for (i = 0; i < msrs.head.nmsrs; i++) {
		msrs.entry[i].index = boot[i].index;
		msrs.entry[i].data = boot[i].data;
		/*
		 * Linux 6.1 measures a restored TSC by that of the new VM, if
		 * they are a second apart or less.
		 */
		if (boot[i].index == 0x10 && !strcmp(vm_device(), "/dev/kvm"))
			msrs.entry[i].data = 1ull << 40;
	}
	return vmm_put_msrs(m, &msrs);
}

STEP(boot_regs)
{
	struct kvm_regs r = { .rflags = 2 };

	switch (m->kind->entry) {
	case ENTRY_REAL:
		r.rsp = r.rbp = 0x8000;
		break;
	case ENTRY_PVH:
		r.rip = 0x108000;
		r.rbx = 0x500;
		break;
	case ENTRY_LONG:
		r.rip = 0x100000;
		r.rsp = r.rbp = 0x8ff0;
		r.rsi = 0x7000;
	}
	return !CPU(KVM_SET_REGS, &r, sizeof(r));
}

/* The tables of the 64-bit protocol: one GiB by 2 MiB pages; a GDT at 0x500. */
static void boot_tables(struct vmm *m)
{
	static const uint64_t gdt[] = {
		0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x008f8b000000ffff,
	};
	uint64_t *t = (void *)(m->mem + 0x9000);
	unsigned int i;

	memcpy(m->mem + 0x500, gdt, sizeof(gdt));
	memset(m->mem + 0x520, 0, 8);
	memset(t, 0, 0x2000);
	t[0] = 0xa003;
	t[512] = 0xb003;
	for (i = 0; i < 512; i++)
		t[1024 + i] = (uint64_t)i << 21 | 0x83;
}

STEP(boot_sregs)
{
	static const struct kvm_segment code = {
		.limit = 0xfffff, .selector = 8, .type = 11, .present = 1, .s = 1, .g = 1,
	};
	struct kvm_segment *all[6], data = code;
	struct kvm_sregs s = { };
	unsigned int i;

	if (CPU(KVM_GET_SREGS, &s, sizeof(s)))
		return false;
	all[0] = &s.ds, all[1] = &s.es, all[2] = &s.fs, all[3] = &s.gs, all[4] = &s.ss,
	all[5] = &s.cs;
	if (m->kind->entry == ENTRY_REAL) {
		for (i = 0; i < 6; i++) {
			all[i]->selector = 0x1000;
			all[i]->base = 0x10000;
		}
		return !CPU(KVM_SET_SREGS, &s, sizeof(s));
	}
	boot_tables(m);
	data.type = 3;
	data.selector = 16;
	data.db = 1;
	for (i = 0; i < 5; i++)
		*all[i] = data;
	s.cs = code;
	s.cs.db = m->kind->entry == ENTRY_PVH;
	s.cs.l = m->kind->entry == ENTRY_LONG;
	s.tr = (struct kvm_segment){
		.limit = 0xfffff, .selector = 24, .type = 11, .present = 1, .g = 1,
	};
	s.gdt = (struct kvm_dtable){ .base = 0x500, .limit = 31 };
	s.idt = (struct kvm_dtable){ .base = 0x520, .limit = 7 };
	if (m->kind->entry == ENTRY_PVH) {
		s.cr0 = 1;
		s.cr4 = 0;
		s.cs.limit = s.ds.limit = s.es.limit = s.ss.limit = 0xffffffff;
		s.tr.limit = 0x67;
		s.tr.g = 0;
	} else {
		s.cr0 |= 0x80000001;
		s.cr3 = 0x9000;
		s.cr4 |= 0x20;
		s.efer |= 0x500;
	}
	return !CPU(KVM_SET_SREGS, &s, sizeof(s));
}

STEP(boot_fpu)
{
	struct kvm_fpu f = { .fcw = 0x37f, .mxcsr = 0x1f80 };

	return !CPU(KVM_SET_FPU, &f, sizeof(f));
}

/* LINT0 takes the PIC's interrupts, LINT1 NMIs; whether they are masked stays. */
STEP(lint)
{
	struct kvm_lapic_state s;
	uint32_t reg;

	memset(&s, 0xff, sizeof(s));
	if (CPU(KVM_GET_LAPIC, &s, sizeof(s)))
		return false;
	memcpy(&reg, s.regs + 0x350, 4);
	reg = (reg & ~0x700u) | 0x700;
	memcpy(s.regs + 0x350, &reg, 4);
	memcpy(&reg, s.regs + 0x360, 4);
	reg = (reg & ~0x700u) | 0x400;
	memcpy(s.regs + 0x360, &reg, 4);
	return !CPU(KVM_SET_LAPIC, &s, sizeof(s));
}

STEP(stats_fd)
{
	struct kvm_stats_header h = { };
	int fd = CPU(KVM_GET_STATS_FD, NULL, 0);
	bool ok;

	if (fd < 0)
		return false;
	ok = read(fd, &h, sizeof(h)) == sizeof(h) && h.num_desc > 0;
	close(fd);
	return ok || vmm_fail(m, "no header");
}

STEP(mce)
{
	uint64_t cap = 0;

	if (SYS(KVM_X86_GET_MCE_CAP_SUPPORTED, &cap, sizeof(cap)))
		return false;
	cap = (cap & ~0xffull & (1 << 8 | 1 << 24)) | 10;
	return !CPU(KVM_X86_SETUP_MCE, &cap, sizeof(cap));
}

/* ---- routes, events, lines ---- */

struct routes {
	struct kvm_irq_routing head;
	struct kvm_irq_routing_entry entry[64];
};

static void to_chip(struct routes *r, uint32_t gsi, uint32_t chip, uint32_t pin)
{
	r->entry[r->head.nr++] = (struct kvm_irq_routing_entry){
		.gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP,
		.u.irqchip = { .irqchip = chip, .pin = pin },
	};
}

static bool set_routes(struct vmm *m, struct routes *r)
{
	return !VM(KVM_SET_GSI_ROUTING, r, sizeof(*r));
}

/* QEMU's and kvmtool's: the timer is on pin 2. */
STEP(pc_routes)
{
	struct routes r = { };
	uint32_t i;

	for (i = 0; i < 16; i++)
		if (i != 2)
			to_chip(&r, i, i / 8, i % 8);
	for (i = 0; i < 24; i++)
		if (i != 2)
			to_chip(&r, i, KVM_IRQCHIP_IOAPIC, i ? i : 2);
	return set_routes(m, &r);
}

/* crosvm's: as the kernel's own. */
STEP(chip_routes)
{
	struct routes r = { };
	uint32_t i;

	for (i = 0; i < 24; i++) {
		if (i < 16)
			to_chip(&r, i, i / 8, i % 8);
		to_chip(&r, i, KVM_IRQCHIP_IOAPIC, i);
	}
	return set_routes(m, &r);
}

/*
 * The device's vector alone; @arg: that many empty ones first, as QEMU
 * has for its own I/O APIC's pins.
 */
STEP(msi_routes)
{
	struct routes r = { };
	uint32_t i;

	for (i = 0; i < arg || i <= GUEST_IRQ; i++) {
		if (i != GUEST_IRQ && !arg)
			continue;
		r.entry[r.head.nr++] = (struct kvm_irq_routing_entry){
			.gsi = i, .type = KVM_IRQ_ROUTING_MSI,
			.u.msi = { .address_lo = i == GUEST_IRQ ? 0xfee00000 : 0,
				   .data = i == GUEST_IRQ ? 0x35 : 0 },
		};
	}
	return set_routes(m, &r);
}

/* @arg 1: with a second eventfd, that tells of the guest's EOI. */
STEP(assign_irqfd)
{
	struct kvm_irqfd f = { .fd = m->irqfd, .gsi = GUEST_IRQ };

	if (arg) {
		f.flags = KVM_IRQFD_FLAG_RESAMPLE;
		f.resamplefd = m->resample;
	}
	return !VM(KVM_IRQFD, &f, sizeof(f));
}

/* The device's queue notify register, @arg: kvmtool's, which matches the value. */
STEP(assign_notify)
{
	struct kvm_ioeventfd f = {
		.addr = m->kind->mmio + 0x50, .fd = m->notify, .len = arg ? 4 : 0,
	};

	if (arg)
		f.flags = KVM_IOEVENTFD_FLAG_DATAMATCH;
	return !VM(KVM_IOEVENTFD, &f, sizeof(f));
}

STEP(coalesce)
{
	struct kvm_coalesced_mmio_zone z = { .addr = m->kind->mmio + 0x1000, .size = 0x1000 };
	long page = SYS(KVM_CHECK_EXTENSION, VALUE(KVM_CAP_COALESCED_MMIO), 0);

	return page == 2 && !VM(KVM_REGISTER_COALESCED_MMIO, &z, sizeof(z));
}

STEP(line)
{
	struct kvm_irq_level l = { .irq = arg, .level = 1 };

	if (VM(KVM_IRQ_LINE, &l, sizeof(l)))
		return false;
	l.level = 0;
	return !VM(KVM_IRQ_LINE, &l, sizeof(l));
}

STEP(signal_msi)
{
	struct kvm_msi msi = { .address_lo = 0xfee00000, .data = arg };

	return VM(KVM_SIGNAL_MSI, &msi, sizeof(msi)) >= 0;
}
