// SPDX-License-Identifier: GPL-2.0
/* Each ioctl with good and with bad arguments: the errno, and that a refusal changes nothing. */
#include <cpuid.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "uapi/wafer.h"
#include "vm.h"

#define PAGE 4096
#define MAX_ID ((unsigned long)ioctl(vm_sys(), KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPU_ID))

static bool is_kvm(void)
{
	return !strcmp(vm_device(), "/dev/kvm");
}

/*
 * Descriptors: without a vCPU, without an interrupt controller, with all
 * chips but the PIT, with everything.
 */
enum kind { SYS, BARE, VM, CPU, CHIP, CHIP_CPU, PIT, PIT_CPU, NR_KINDS };

FIXTURE(fds) { int fd[NR_KINDS]; struct vm *bare, *vm, *chip, *pit; };

FIXTURE_SETUP(fds)
{
	self->bare = vm_new(2 << 20, 0);
	self->vm = vm_new(2 << 20, 0);
	self->chip = vm_new(2 << 20, VM_IRQCHIP);
	self->pit = vm_new(2 << 20, VM_IRQCHIP | VM_PIT);
	self->fd[SYS] = vm_sys();
	self->fd[BARE] = self->bare->fd;
	self->fd[VM] = self->vm->fd;
	self->fd[CPU] = vcpu_new(self->vm, 0)->fd;
	self->fd[CHIP] = self->chip->fd;
	self->fd[CHIP_CPU] = vcpu_new(self->chip, 0)->fd;
	self->fd[PIT] = self->pit->fd;
	self->fd[PIT_CPU] = vcpu_new(self->pit, 0)->fd;
}

FIXTURE_TEARDOWN(fds)
{
	vm_free(self->bare);
	vm_free(self->vm);
	vm_free(self->chip);
	vm_free(self->pit);
}

/* Of a vCPU, all that an ioctl could have changed. */
struct all_state {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_vcpu_events events;
	struct kvm_debugregs debug;
	struct kvm_mp_state mp;
	struct kvm_xcrs xcrs;
	struct kvm_xsave xsave;
	struct kvm_lapic_state lapic;
};

static void get_all(int fd, struct all_state *s)
{
	memset(s, 0, sizeof(*s));
	ioctl(fd, KVM_GET_REGS, &s->regs);
	ioctl(fd, KVM_GET_SREGS, &s->sregs);
	ioctl(fd, KVM_GET_VCPU_EVENTS, &s->events);
	ioctl(fd, KVM_GET_DEBUGREGS, &s->debug);
	ioctl(fd, KVM_GET_MP_STATE, &s->mp);
	ioctl(fd, KVM_GET_XCRS, &s->xcrs);
	ioctl(fd, KVM_GET_XSAVE, &s->xsave);
	ioctl(fd, KVM_GET_LAPIC, &s->lapic);
}

static bool is_cpu(enum kind k)
{
	return k == CPU || k == CHIP_CPU || k == PIT_CPU;
}

/* ---- what is refused ---- */

#define SAME 0		/* KVM refuses with the same errno */
#define ANY -1		/* KVM 6.1 takes it, or says something else: tried on Wafer alone */

#define S(type, ...) ((void *)&(struct type) { __VA_ARGS__ })
#define CAP(n, a) S(kvm_enable_cap, .cap = (n), .args = { (a) })
#define U64(n) ((void *)&(uint64_t) { (n) })
#define N(n) ((void *)(uintptr_t)(n))

/* Variable lists: the header and what follows it. */
struct one_cpuid { struct kvm_cpuid2 head; struct kvm_cpuid_entry2 e[1]; };
struct one_msr { struct kvm_msrs head; struct kvm_msr_entry e[1]; };
struct one_route { struct kvm_irq_routing head; struct kvm_irq_routing_entry e[1]; };
struct mask { struct kvm_signal_mask head; uint8_t set[8]; };

#define ROUTE(...) S(one_route, { .nr = 1 }, { { __VA_ARGS__ } })

static struct kvm_sregs good_sregs;
static struct kvm_xsave good_xsave;

struct row {
	const char *what;
	enum kind kind;
	unsigned long cmd;
	void *arg;
	int err, kvm;
};

/* Long mode with a change. */
static void *sregs(void (*change)(struct kvm_sregs *))
{
	struct kvm_sregs *s = malloc(sizeof(*s));

	*s = good_sregs;
	change(s);
	return s;
}

static void pg_without_pe(struct kvm_sregs *s) { s->cr0 &= ~1ull; s->efer = 0; s->cs.l = 0; }
static void nw_without_cd(struct kvm_sregs *s) { s->cr0 |= 1 << 29; }
static void cr0_high(struct kvm_sregs *s) { s->cr0 |= 1ull << 32; }
static void cr4_unknown(struct kvm_sregs *s) { s->cr4 |= 1 << 30; }
static void cr4_high(struct kvm_sregs *s) { s->cr4 |= 1ull << 40; }
static void no_lma(struct kvm_sregs *s) { s->efer &= ~0x400ull; }
static void no_lme(struct kvm_sregs *s) { s->efer &= ~0x100ull; }
static void no_pae(struct kvm_sregs *s) { s->cr4 &= ~0x20ull; }
static void far_cr3(struct kvm_sregs *s) { s->cr3 |= 1ull << 60; }
static void efer_unknown(struct kvm_sregs *s) { s->efer |= 1 << 9; }
static void l_without_lma(struct kvm_sregs *s) { s->cr0 &= ~(1ull << 31); s->efer = 0; }
static void apic_base_x2(struct kvm_sregs *s) { s->apic_base = 0xfee00000 | 1 << 10; }

static void *xsave(unsigned int at, uint64_t bits)
{
	struct kvm_xsave *x = malloc(sizeof(*x));
	uint64_t val;

	*x = good_xsave;
	memcpy(&val, (char *)x + at, 8);
	val |= bits;
	memcpy((char *)x + at, &val, 8);
	return x;
}

static void refused(struct __test_metadata *_metadata, const int *fd, const struct row *w,
		    unsigned int n)
{
	static struct all_state before, after;
	int r, err;

	for (; n; n--, w++) {
		if (is_kvm() && w->kvm == ANY)
			continue;
		if (is_cpu(w->kind))
			get_all(fd[w->kind], &before);
		errno = 0;
		r = ioctl(fd[w->kind], w->cmd, w->arg);
		err = errno;
		if (r != -1 || err != w->err)
			TH_LOG("%s (%lx): %d, %s", w->what, w->cmd, r, strerror(err));
		EXPECT_EQ(r, -1);
		EXPECT_EQ(err, w->err);
		if (!is_cpu(w->kind))
			continue;
		get_all(fd[w->kind], &after);
		/* the timer of a local APIC goes on */
		if (memcmp(&before, &after, offsetof(struct all_state, lapic)))
			TH_LOG("%s (%lx): something has changed", w->what, w->cmd);
		EXPECT_EQ(memcmp(&before, &after, offsetof(struct all_state, lapic)), 0);
	}
}

TEST_F(fds, the_device_refuses)
{
	const struct row rows[] = {
		{ "unknown ioctl", SYS, _IO(KVMIO, 0xff), 0, ENOTTY, ANY },
		{ "not of this type", SYS, _IO('x', 0), 0, ENOTTY, ANY },
		{ "API version with argument", SYS, KVM_GET_API_VERSION, N(1), EINVAL, SAME },
		{ "mmap size with argument", SYS, KVM_GET_VCPU_MMAP_SIZE, N(1), EINVAL, SAME },
		{ "machine type", SYS, KVM_CREATE_VM, N(77), EINVAL, SAME },
		{ "no entries", SYS, KVM_GET_SUPPORTED_CPUID, S(one_cpuid, { .nent = 0 }),
		  E2BIG, SAME },
		{ "one entry", SYS, KVM_GET_SUPPORTED_CPUID, S(one_cpuid, { .nent = 1 }),
		  E2BIG, SAME },
		{ "no entries", SYS, KVM_GET_EMULATED_CPUID, S(one_cpuid, { .nent = 0 }),
		  E2BIG, SAME },
		{ "no MSRs", SYS, KVM_GET_MSR_INDEX_LIST, S(kvm_msr_list), E2BIG, SAME },
		{ "no MSRs", SYS, KVM_GET_MSR_FEATURE_INDEX_LIST, S(kvm_msr_list), E2BIG, SAME },
		{ "too many MSRs", SYS, KVM_GET_MSRS, S(one_msr, { .nmsrs = 100000 }),
		  E2BIG, SAME },
		{ "attribute", SYS, KVM_HAS_DEVICE_ATTR, S(kvm_device_attr, .group = 9),
		  ENXIO, SAME },
		{ "attribute", SYS, KVM_GET_DEVICE_ATTR, S(kvm_device_attr, .group = 9),
		  ENXIO, SAME },
		{ "attribute's address", SYS, KVM_GET_DEVICE_ATTR, S(kvm_device_attr, .addr = 16),
		  EFAULT, SAME },
		{ "a vCPU's ioctl", SYS, KVM_RUN, 0, ENOTTY, ANY },
	};

	refused(_metadata, self->fd, rows, sizeof(rows) / sizeof(rows[0]));
}

TEST_F(fds, a_vm_refuses)
{
	int efd = eventfd(0, EFD_CLOEXEC);
	const struct row rows[] = {
		{ "unknown ioctl", VM, _IO(KVMIO, 0xff), 0, ENOTTY, SAME },
		{ "a vCPU's ioctl", VM, KVM_RUN, 0, ENOTTY, SAME },
		{ "id taken", VM, KVM_CREATE_VCPU, N(0), EEXIST, SAME },
		{ "id too large", VM, KVM_CREATE_VCPU, N(MAX_ID), EINVAL, SAME },
		{ "id of 32 bits", VM, KVM_CREATE_VCPU, N(0xffffffff), EINVAL, SAME },
		{ "id of 64 bits", VM, KVM_CREATE_VCPU, N(1ull << 32), EINVAL, ANY },
		{ "TSS address", VM, KVM_SET_TSS_ADDR, N(0xfffff000), EINVAL, SAME },
		{ "after the first vCPU", VM, KVM_SET_IDENTITY_MAP_ADDR, U64(0xfffbc000),
		  EINVAL, SAME },
		{ "too few", VM, KVM_SET_NR_MMU_PAGES, N(63), EINVAL, SAME },
		{ "after the first vCPU", VM, KVM_SET_BOOT_CPU_ID, N(0), EBUSY, SAME },
		{ "boot CPU too large", BARE, KVM_SET_BOOT_CPU_ID, N(MAX_ID + 1), EINVAL, ANY },
		{ "boot CPU of 64 bits", BARE, KVM_SET_BOOT_CPU_ID, N(1ull << 32), EINVAL, ANY },
		{ "after the first vCPU", VM, KVM_CREATE_IRQCHIP, 0, EINVAL, SAME },
		{ "twice", CHIP, KVM_CREATE_IRQCHIP, 0, EEXIST, SAME },
		{ "after the first vCPU", VM, KVM_SET_TSC_KHZ, N(1000), EINVAL, ANY },
		{ "flags", VM, KVM_ENABLE_CAP,
		  S(kvm_enable_cap, .cap = KVM_CAP_HALT_POLL, .flags = 1), EINVAL, SAME },
		{ "unknown", VM, KVM_ENABLE_CAP, CAP(99999, 0), EINVAL, SAME },
		{ "nothing to enable", VM, KVM_ENABLE_CAP, CAP(KVM_CAP_USER_MEMORY, 0),
		  EINVAL, SAME },
		{ "MSR exits", VM, KVM_ENABLE_CAP, CAP(KVM_CAP_X86_USER_SPACE_MSR, 0x100),
		  EINVAL, SAME },
		{ "split, pins", VM, KVM_ENABLE_CAP, CAP(KVM_CAP_SPLIT_IRQCHIP, 5000),
		  EINVAL, SAME },
		{ "split, with chip", CHIP, KVM_ENABLE_CAP, CAP(KVM_CAP_SPLIT_IRQCHIP, 24),
		  EEXIST, SAME },
		{ "split, after the first vCPU", VM, KVM_ENABLE_CAP, CAP(KVM_CAP_SPLIT_IRQCHIP, 24),
		  EEXIST, SAME },
		{ "id limit, after the first vCPU", VM, KVM_ENABLE_CAP, CAP(KVM_CAP_MAX_VCPU_ID, 8),
		  EINVAL, SAME },
		{ "x2APIC", VM, KVM_ENABLE_CAP, CAP(KVM_CAP_X2APIC_API, 4), EINVAL, SAME },
		{ "exits", VM, KVM_ENABLE_CAP, CAP(KVM_CAP_X86_DISABLE_EXITS, 0x100),
		  EINVAL, SAME },
		{ "id limit", VM, KVM_ENABLE_CAP, CAP(KVM_CAP_MAX_VCPU_ID, MAX_ID + 1),
		  EINVAL, SAME },
		{ "emulation", VM, KVM_ENABLE_CAP, CAP(KVM_CAP_EXIT_ON_EMULATION_FAILURE, 2),
		  EINVAL, SAME },
		{ "quirks", VM, KVM_ENABLE_CAP, CAP(KVM_CAP_DISABLE_QUIRKS2, 1ull << 40),
		  EINVAL, SAME },
		{ "ring, after vCPU", VM, KVM_ENABLE_CAP, CAP(KVM_CAP_DIRTY_LOG_RING, 4096),
		  EINVAL, SAME },
		{ "ring, size", BARE, KVM_ENABLE_CAP, CAP(KVM_CAP_DIRTY_LOG_RING, 12288),
		  EINVAL, SAME },
		{ "ring, small", BARE, KVM_ENABLE_CAP, CAP(KVM_CAP_DIRTY_LOG_RING, 2048),
		  EINVAL, SAME },
		{ "ring, large", BARE, KVM_ENABLE_CAP, CAP(KVM_CAP_DIRTY_LOG_RING, 2 << 20),
		  E2BIG, SAME },
		{ "manual log", VM, KVM_ENABLE_CAP, CAP(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, 4),
		  EINVAL, SAME },
		{ "manual log", VM, KVM_ENABLE_CAP, CAP(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, 2),
		  EINVAL, SAME },
		{ "no chip", VM, KVM_CREATE_PIT2, S(kvm_pit_config), ENXIO, ANY },
		{ "flags", CHIP, KVM_CREATE_PIT2, S(kvm_pit_config, .flags = 2), EINVAL, ANY },
		{ "twice", PIT, KVM_CREATE_PIT2, S(kvm_pit_config), EEXIST, SAME },
		{ "twice", PIT, KVM_CREATE_PIT, 0, EEXIST, SAME },
		{ "no PIT", CHIP, KVM_GET_PIT2, S(kvm_pit_state2), ENXIO, SAME },
		{ "no PIT", CHIP, KVM_SET_PIT2, S(kvm_pit_state2), ENXIO, SAME },
		{ "no PIT", CHIP, KVM_REINJECT_CONTROL, S(kvm_reinject_control), ENXIO, SAME },
		{ "no chip", VM, KVM_GET_IRQCHIP, S(kvm_irqchip), ENXIO, SAME },
		{ "no chip", VM, KVM_SET_IRQCHIP, S(kvm_irqchip), ENXIO, SAME },
		{ "chip id", CHIP, KVM_GET_IRQCHIP, S(kvm_irqchip, .chip_id = 3), EINVAL, SAME },
		{ "chip id", CHIP, KVM_SET_IRQCHIP, S(kvm_irqchip, .chip_id = ~0u), EINVAL, SAME },
		{ "no chip", VM, KVM_IRQ_LINE, S(kvm_irq_level), ENXIO, SAME },
		{ "no chip", VM, KVM_IRQ_LINE_STATUS, S(kvm_irq_level), ENXIO, SAME },
		{ "no chip", VM, KVM_SIGNAL_MSI, S(kvm_msi), EINVAL, SAME },
		{ "flags", CHIP, KVM_SIGNAL_MSI, S(kvm_msi, .flags = 0x80), EINVAL, SAME },
		{ "no chip", VM, KVM_SET_GSI_ROUTING, S(one_route), EINVAL, SAME },
		{ "flags", CHIP, KVM_SET_GSI_ROUTING, S(one_route, { .flags = 1 }), EINVAL, SAME },
		{ "too many", CHIP, KVM_SET_GSI_ROUTING, S(one_route, { .nr = 4097 }),
		  EINVAL, SAME },
		{ "type", CHIP, KVM_SET_GSI_ROUTING, ROUTE(.type = 99), EINVAL, SAME },
		{ "GSI", CHIP, KVM_SET_GSI_ROUTING, ROUTE(.gsi = 4096, .type = KVM_IRQ_ROUTING_MSI),
		  EINVAL, SAME },
		{ "chip", CHIP, KVM_SET_GSI_ROUTING, ROUTE(.type = 1, .u.irqchip.irqchip = 9),
		  EINVAL, SAME },
		{ "pin", CHIP, KVM_SET_GSI_ROUTING, ROUTE(.type = 1, .u.irqchip = { 2, 24 }),
		  EINVAL, SAME },
		{ "pin", CHIP, KVM_SET_GSI_ROUTING, ROUTE(.type = 1, .u.irqchip = { 0, 8 }),
		  EINVAL, SAME },
		{ "route flags", CHIP, KVM_SET_GSI_ROUTING, ROUTE(.type = 1, .flags = 2),
		  EINVAL, SAME },
		{ "flags", CHIP, KVM_IRQFD, S(kvm_irqfd, .fd = efd, .flags = 0x80), EINVAL, SAME },
		{ "closed", CHIP, KVM_IRQFD, S(kvm_irqfd, .fd = 1000), EBADF, SAME },
		{ "no eventfd", CHIP, KVM_IRQFD, S(kvm_irqfd, .fd = vm_sys()), EINVAL, SAME },
		{ "resample", CHIP, KVM_IRQFD,
		  S(kvm_irqfd, .fd = efd, .flags = 2, .resamplefd = 1000), EBADF, SAME },
		{ "flags", VM, KVM_IOEVENTFD, S(kvm_ioeventfd, .fd = efd, .len = 4, .flags = 0x80),
		  EINVAL, SAME },
		{ "length", VM, KVM_IOEVENTFD, S(kvm_ioeventfd, .fd = efd, .len = 3),
		  EINVAL, SAME },
		{ "wraps", VM, KVM_IOEVENTFD, S(kvm_ioeventfd, .fd = efd, .len = 8, .addr = -4ull),
		  EINVAL, SAME },
		{ "match of nothing", VM, KVM_IOEVENTFD, S(kvm_ioeventfd, .fd = efd, .flags = 1),
		  EINVAL, SAME },
		{ "closed", VM, KVM_IOEVENTFD, S(kvm_ioeventfd, .fd = 1000, .len = 4),
		  EBADF, SAME },
		{ "not there", VM, KVM_IOEVENTFD, S(kvm_ioeventfd, .fd = efd, .len = 4, .flags = 4),
		  ENOENT, SAME },
		{ "never there", VM, KVM_IOEVENTFD,
		  S(kvm_ioeventfd, .fd = efd, .len = 3, .flags = 4), ENOENT, SAME },
		{ "pio", VM, KVM_REGISTER_COALESCED_MMIO,
			S(kvm_coalesced_mmio_zone, .size = 4, .pio = 2), EINVAL, SAME },
		{ "size", VM, KVM_REGISTER_COALESCED_MMIO, S(kvm_coalesced_mmio_zone),
		  EINVAL, ANY },
		{ "pio", VM, KVM_UNREGISTER_COALESCED_MMIO, S(kvm_coalesced_mmio_zone, .pio = 2),
		  EINVAL, SAME },
		{ "flags", VM, KVM_SET_CLOCK, S(kvm_clock_data, .flags = 0x100), EINVAL, SAME },
		{ "flags", VM, KVM_X86_SET_MSR_FILTER, S(kvm_msr_filter, .flags = 2),
		  EINVAL, SAME },
		{ "nothing allowed", VM, KVM_X86_SET_MSR_FILTER, S(kvm_msr_filter, .flags = 1),
		  EINVAL, SAME },
		{ "range flags", VM, KVM_X86_SET_MSR_FILTER,
			S(kvm_msr_filter,
			  .ranges = { { .flags = 0x80, .nmsrs = 1, .bitmap = (void *)&efd } }),
			EINVAL, SAME },
		{ "range of nothing", VM, KVM_X86_SET_MSR_FILTER,
			S(kvm_msr_filter, .ranges = { { .nmsrs = 1, .bitmap = (void *)&efd } }),
			EINVAL, SAME },
		{ "bitmap", VM, KVM_X86_SET_MSR_FILTER,
			S(kvm_msr_filter,
			  .ranges = { { .flags = 1, .nmsrs = 8, .bitmap = N(16) } }),
			EFAULT, SAME },
		{ "size", VM, KVM_X86_SET_MSR_FILTER,
			S(kvm_msr_filter,
			  .ranges = { { .flags = 1, .nmsrs = ~0u, .bitmap = (void *)&efd } }),
			EINVAL, SAME },
		{ "no log", VM, KVM_GET_DIRTY_LOG, S(kvm_dirty_log, .slot = 0), ENOENT, SAME },
		{ "no slot", VM, KVM_GET_DIRTY_LOG, S(kvm_dirty_log, .slot = 40000), EINVAL, SAME },
		{ "no log", VM, KVM_CLEAR_DIRTY_LOG, S(kvm_clear_dirty_log, .num_pages = 64),
		  ENOENT, SAME },
		{ "first page", VM, KVM_CLEAR_DIRTY_LOG, S(kvm_clear_dirty_log, .first_page = 1),
		  EINVAL, SAME },
		{ "no ring", VM, KVM_RESET_DIRTY_RINGS, 0, EINVAL, SAME },
	};

	refused(_metadata, self->fd, rows, sizeof(rows) / sizeof(rows[0]));
	close(efd);
}

static void get_good(int cpu)
{
	ioctl(cpu, KVM_GET_SREGS, &good_sregs);
	ioctl(cpu, KVM_GET_XSAVE, &good_xsave);
	good_xsave.region[128] |= 3;	/* XSTATE_BV: MXCSR counts with SSE state alone */
}

TEST_F(fds, a_vcpu_refuses)
{
	vcpu_mode(&self->vm->cpu[0], MODE_LONG);
	vcpu_mode(&self->chip->cpu[0], MODE_LONG);
	get_good(self->fd[CPU]);

	const struct row rows[] = {
		{ "unknown ioctl", CPU, _IO(KVMIO, 0xff), 0, ENOTTY, ANY },
		{ "a VM's ioctl", CPU, KVM_CREATE_VCPU, N(1), ENOTTY, ANY },
		{ "argument", CPU, KVM_RUN, N(1), EINVAL, SAME },
		{ "PG without PE", CPU, KVM_SET_SREGS, sregs(pg_without_pe), EINVAL, SAME },
		{ "NW without CD", CPU, KVM_SET_SREGS, sregs(nw_without_cd), EINVAL, SAME },
		{ "CR0's upper half", CPU, KVM_SET_SREGS, sregs(cr0_high), EINVAL, SAME },
		{ "CR4, unknown", CPU, KVM_SET_SREGS, sregs(cr4_unknown), EINVAL, SAME },
		{ "CR4, upper half", CPU, KVM_SET_SREGS, sregs(cr4_high), EINVAL, SAME },
		{ "LME and PG without LMA", CPU, KVM_SET_SREGS, sregs(no_lma), EINVAL, SAME },
		{ "LMA without LME", CPU, KVM_SET_SREGS, sregs(no_lme), EINVAL, SAME },
		{ "long mode without PAE", CPU, KVM_SET_SREGS, sregs(no_pae), EINVAL, SAME },
		{ "CR3 too far", CPU, KVM_SET_SREGS, sregs(far_cr3), EINVAL, SAME },
		{ "EFER, unknown", CPU, KVM_SET_SREGS, sregs(efer_unknown), EINVAL, ANY },
		{ "CS.L without LMA", CPU, KVM_SET_SREGS, sregs(l_without_lma), EINVAL, SAME },
		{ "x2APIC without enable", CHIP_CPU, KVM_SET_SREGS, sregs(apic_base_x2),
		  EINVAL, SAME },
		{ "flags", CPU, KVM_SET_SREGS2, S(kvm_sregs2, .flags = 2), EINVAL, SAME },
		{ "irq", CPU, KVM_INTERRUPT, S(kvm_interrupt, 256), EINVAL, SAME },
		{ "PIC in the kernel", CHIP_CPU, KVM_INTERRUPT, S(kvm_interrupt, 32), ENXIO, SAME },
		{ "no local APIC", CPU, KVM_GET_LAPIC, S(kvm_lapic_state, { 0 }), EINVAL, SAME },
		{ "no local APIC", CPU, KVM_SET_LAPIC, S(kvm_lapic_state, { 0 }), EINVAL, SAME },
		{ "no local APIC", CPU, KVM_SET_VAPIC_ADDR, S(kvm_vapic_addr), EINVAL, SAME },
		{ "flags", CPU, KVM_TPR_ACCESS_REPORTING, S(kvm_tpr_access_ctl, 1, 1),
		  EINVAL, SAME },
		{ "too many", CPU, KVM_SET_CPUID2, S(one_cpuid, { .nent = 100000 }), E2BIG, SAME },
		{ "linear address", CPU, KVM_SET_CPUID2,
			S(one_cpuid, { .nent = 1 }, { { .function = 0x80000008, .eax = 40 << 8 } }),
			EINVAL, SAME },
		{ "too few", CPU, KVM_GET_CPUID2, S(one_cpuid, { .nent = 1 }), E2BIG, SAME },
		{ "too many", CPU, KVM_GET_MSRS, S(one_msr, { .nmsrs = 100000 }), E2BIG, SAME },
		{ "too many", CPU, KVM_SET_MSRS, S(one_msr, { .nmsrs = 100000 }), E2BIG, SAME },
		{ "flags", CPU, KVM_SET_VCPU_EVENTS, S(kvm_vcpu_events, .flags = 0x8000),
		  EINVAL, SAME },
		{ "vector", CPU, KVM_SET_VCPU_EVENTS, S(kvm_vcpu_events, .exception = { 1, 32 }),
		  EINVAL, SAME },
		{ "NMI", CPU, KVM_SET_VCPU_EVENTS, S(kvm_vcpu_events, .exception = { 1, 2 }),
		  EINVAL, SAME },
		{ "SMM", CPU, KVM_SET_VCPU_EVENTS,
			S(kvm_vcpu_events, .flags = KVM_VCPUEVENT_VALID_SMM, .smi = { 1 }),
			EINVAL, ANY },
		{ "flags", CPU, KVM_SET_DEBUGREGS, S(kvm_debugregs, .flags = 1), EINVAL, SAME },
		{ "DR6", CPU, KVM_SET_DEBUGREGS, S(kvm_debugregs, .dr6 = 1ull << 32),
		  EINVAL, SAME },
		{ "DR7", CPU, KVM_SET_DEBUGREGS, S(kvm_debugregs, .dr7 = 1ull << 63),
		  EINVAL, SAME },
		{ "number", CPU, KVM_SET_XCRS, S(kvm_xcrs, .nr_xcrs = 17), EINVAL, SAME },
		{ "flags", CPU, KVM_SET_XCRS, S(kvm_xcrs, .flags = 1), EINVAL, SAME },
		{ "no x87", CPU, KVM_SET_XCRS, S(kvm_xcrs, 1, .xcrs = { { .value = 2 } }),
		  EINVAL, SAME },
		{ "AVX without SSE", CPU, KVM_SET_XCRS, S(kvm_xcrs, 1, .xcrs = { { .value = 5 } }),
		  EINVAL, SAME },
		{ "unknown", CPU, KVM_SET_XCRS,
		  S(kvm_xcrs, 1, .xcrs = { { .value = 1ull << 40 | 3 } }), EINVAL, SAME },
		{ "XSTATE_BV", CPU, KVM_SET_XSAVE, xsave(512, 1ull << 40), EINVAL, SAME },
		{ "XCOMP_BV", CPU, KVM_SET_XSAVE, xsave(520, 1), EINVAL, SAME },
		{ "MXCSR", CPU, KVM_SET_XSAVE, xsave(24, 1u << 31), EINVAL, SAME },
		{ "unknown", CHIP_CPU, KVM_SET_MP_STATE, S(kvm_mp_state, 99), EINVAL, SAME },
		{ "no local APIC", CPU, KVM_SET_MP_STATE, S(kvm_mp_state, KVM_MP_STATE_HALTED),
		  EINVAL, SAME },
		{ "length", CPU, KVM_SET_SIGNAL_MASK, S(mask, { .len = 4 }), EINVAL, SAME },
		{ "flags", CPU, KVM_ENABLE_CAP, S(kvm_enable_cap, .flags = 1), EINVAL, SAME },
		{ "unknown", CPU, KVM_ENABLE_CAP, CAP(99999, 0), EINVAL, SAME },
		{ "control", CPU, KVM_SET_GUEST_DEBUG, S(kvm_guest_debug, .control = 1u << 31 | 1),
		  EINVAL, ANY },
		{ "kHz of 64 bits", CPU, KVM_SET_TSC_KHZ, N(1ull << 32), EINVAL, ANY },
		{ "no room", CPU, KVM_GET_NESTED_STATE, S(kvm_nested_state, .size = 8),
		  E2BIG, SAME },
		{ "size", CPU, KVM_SET_NESTED_STATE, S(kvm_nested_state, .size = 8), EINVAL, SAME },
		{ "flags", CPU, KVM_SET_NESTED_STATE,
		  S(kvm_nested_state, .flags = 0x800, .size = 128), EINVAL, SAME },
		{ "no banks", CPU, KVM_X86_SETUP_MCE, U64(0), EINVAL, SAME },
		{ "too many banks", CPU, KVM_X86_SETUP_MCE, U64(0xff), EINVAL, SAME },
		{ "bank", CPU, KVM_X86_SET_MCE, S(kvm_x86_mce, .bank = 99, .status = 1ull << 63),
		  EINVAL, SAME },
		{ "attribute", CPU, KVM_HAS_DEVICE_ATTR, S(kvm_device_attr, .group = 9),
		  ENXIO, SAME },
		{ "attribute", CPU, KVM_GET_DEVICE_ATTR, S(kvm_device_attr, .attr = 9),
		  ENXIO, SAME },
		{ "attribute", CPU, KVM_SET_DEVICE_ATTR, S(kvm_device_attr, .attr = 9),
		  ENXIO, SAME },
		{ "attribute's address", CPU, KVM_SET_DEVICE_ATTR, S(kvm_device_attr, .addr = 16),
		  EFAULT, SAME },
		{ "no clock", CPU, KVM_KVMCLOCK_CTRL, 0, EINVAL, SAME },
	};

	refused(_metadata, self->fd, rows, sizeof(rows) / sizeof(rows[0]));
}

/* ---- pointers ---- */

TEST_F(fds, bad_pointers_are_efault)
{
	static const struct { enum kind kind; unsigned long cmd; } rows[] = {
		{ SYS, KVM_GET_SUPPORTED_CPUID }, { SYS, KVM_GET_EMULATED_CPUID },
		{ SYS, KVM_GET_MSR_INDEX_LIST }, { SYS, KVM_GET_MSR_FEATURE_INDEX_LIST },
		{ SYS, KVM_GET_MSRS }, { SYS, KVM_X86_GET_MCE_CAP_SUPPORTED },
		{ SYS, KVM_HAS_DEVICE_ATTR }, { SYS, KVM_GET_DEVICE_ATTR }, { CHIP, KVM_IRQ_LINE },
		{ CHIP, KVM_IRQ_LINE_STATUS }, { CHIP, KVM_SIGNAL_MSI },
		{ CHIP, KVM_GET_DIRTY_LOG }, { CHIP, KVM_CLEAR_DIRTY_LOG },
		{ CHIP, KVM_SET_USER_MEMORY_REGION }, { CHIP, KVM_SET_GSI_ROUTING },
		{ CHIP, KVM_IOEVENTFD }, { CHIP, KVM_IRQFD }, { CHIP, KVM_REGISTER_COALESCED_MMIO },
		{ CHIP, KVM_UNREGISTER_COALESCED_MMIO }, { CHIP, KVM_ENABLE_CAP },
		{ BARE, KVM_SET_IDENTITY_MAP_ADDR }, { CHIP, KVM_CREATE_PIT2 },
		{ PIT, KVM_REINJECT_CONTROL }, { PIT, KVM_GET_IRQCHIP }, { PIT, KVM_SET_IRQCHIP },
		{ PIT, KVM_GET_PIT2 }, { PIT, KVM_SET_PIT2 }, { PIT, KVM_GET_CLOCK },
		{ PIT, KVM_SET_CLOCK }, { PIT, KVM_X86_SET_MSR_FILTER }, { PIT_CPU, KVM_GET_REGS },
		{ PIT_CPU, KVM_SET_REGS }, { PIT_CPU, KVM_GET_SREGS }, { PIT_CPU, KVM_SET_SREGS },
		{ PIT_CPU, KVM_GET_SREGS2 }, { PIT_CPU, KVM_SET_SREGS2 },
		{ PIT_CPU, KVM_INTERRUPT }, { PIT_CPU, KVM_GET_MSRS }, { PIT_CPU, KVM_SET_MSRS },
		{ PIT_CPU, KVM_GET_VCPU_EVENTS }, { PIT_CPU, KVM_SET_VCPU_EVENTS },
		{ PIT_CPU, KVM_GET_MP_STATE }, { PIT_CPU, KVM_SET_MP_STATE },
		{ PIT_CPU, KVM_GET_DEBUGREGS }, { PIT_CPU, KVM_SET_DEBUGREGS },
		{ PIT_CPU, KVM_GET_LAPIC }, { PIT_CPU, KVM_SET_LAPIC }, { PIT_CPU, KVM_GET_XSAVE },
		{ PIT_CPU, KVM_SET_XSAVE }, { PIT_CPU, KVM_GET_XSAVE2 }, { PIT_CPU, KVM_GET_XCRS },
		{ PIT_CPU, KVM_SET_XCRS }, { PIT_CPU, KVM_GET_FPU }, { PIT_CPU, KVM_SET_FPU },
		{ PIT_CPU, KVM_SET_CPUID2 }, { PIT_CPU, KVM_GET_CPUID2 },
		{ PIT_CPU, KVM_TRANSLATE }, { PIT_CPU, KVM_SET_GUEST_DEBUG },
		{ PIT_CPU, KVM_SET_SIGNAL_MASK }, { PIT_CPU, KVM_ENABLE_CAP },
		{ PIT_CPU, KVM_X86_SETUP_MCE }, { PIT_CPU, KVM_X86_SET_MCE },
		{ PIT_CPU, KVM_TPR_ACCESS_REPORTING }, { PIT_CPU, KVM_SET_VAPIC_ADDR },
		{ PIT_CPU, KVM_HAS_DEVICE_ATTR }, { PIT_CPU, KVM_GET_DEVICE_ATTR },
		{ PIT_CPU, KVM_SET_DEVICE_ATTR },
	};
	static const unsigned long bad[] = { 16, 0x800000000000, 0xffff888000000000 };
	unsigned int i, k;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (k = 0; k < 3; k++) {
			int r = ioctl(self->fd[rows[i].kind], rows[i].cmd, bad[k]), err = errno;

			if (r != -1 || err != EFAULT)
				TH_LOG("%lx at %lx: %d, %s", rows[i].cmd, bad[k], r, strerror(err));
			EXPECT_EQ(r, -1);
			EXPECT_EQ(err, EFAULT);
		}
}

/* ---- what is taken ---- */

/* What one ioctl gives, the other takes, and nothing has changed after it. */
TEST_F(fds, what_was_got_can_be_set)
{
	static const struct {
		const char *what;
		enum kind kind;
		unsigned long get, set;
	} pairs[] = {
		{ "regs", PIT_CPU, KVM_GET_REGS, KVM_SET_REGS },
		{ "sregs", PIT_CPU, KVM_GET_SREGS, KVM_SET_SREGS },
		{ "sregs2", PIT_CPU, KVM_GET_SREGS2, KVM_SET_SREGS2 },
		{ "fpu", PIT_CPU, KVM_GET_FPU, KVM_SET_FPU },
		{ "events", PIT_CPU, KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS },
		{ "mp_state", PIT_CPU, KVM_GET_MP_STATE, KVM_SET_MP_STATE },
		{ "debugregs", PIT_CPU, KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS },
		{ "xsave", PIT_CPU, KVM_GET_XSAVE, KVM_SET_XSAVE },
		{ "xsave2", PIT_CPU, KVM_GET_XSAVE2, KVM_SET_XSAVE },
		{ "xcrs", PIT_CPU, KVM_GET_XCRS, KVM_SET_XCRS },
		{ "lapic", PIT_CPU, KVM_GET_LAPIC, KVM_SET_LAPIC },
		{ "regs", CPU, KVM_GET_REGS, KVM_SET_REGS },
		{ "sregs", CPU, KVM_GET_SREGS, KVM_SET_SREGS },
		{ "events", CPU, KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS },
		{ "mp_state", CPU, KVM_GET_MP_STATE, KVM_SET_MP_STATE },
	};
	static uint8_t first[65536], second[65536];
	unsigned int i;

	for (i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		int fd = self->fd[pairs[i].kind];

		TH_LOG("%s", pairs[i].what);
		memset(first, 0, sizeof(first));
		memset(second, 0, sizeof(second));
		EXPECT_EQ(ioctl(fd, pairs[i].get, first), 0);
		EXPECT_EQ(ioctl(fd, pairs[i].set, first), 0);
		EXPECT_EQ(ioctl(fd, pairs[i].get, second), 0);
		EXPECT_EQ(memcmp(first, second, sizeof(first)), 0);
	}
	for (i = 0; i < 3; i++) {
		struct kvm_irqchip a = { .chip_id = i }, b = { .chip_id = i };

		EXPECT_EQ(ioctl(self->pit->fd, KVM_GET_IRQCHIP, &a), 0);
		EXPECT_EQ(ioctl(self->pit->fd, KVM_SET_IRQCHIP, &a), 0);
		EXPECT_EQ(ioctl(self->pit->fd, KVM_GET_IRQCHIP, &b), 0);
		EXPECT_EQ(memcmp(&a, &b, sizeof(a)), 0);
	}
}

TEST_F(fds, the_rest_of_the_good)
{
	struct kvm_clock_data clock = { 0 };
	struct kvm_pit_state2 pit = { 0 };
	struct mask mask = { .head = { .len = 8 } };
	struct kvm_translation t = { .linear_address = 0x1234 };
	uint64_t mcg_cap = 10, supported = 0, offset = 0;
	struct kvm_device_attr attr = { .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET,
					.addr = (uintptr_t)&offset };
	struct one_msr msr = { { .nmsrs = 1 }, { { .index = 0xdead } } };
	char stats[16384] = "";
	struct kvm_stats_header *head = (void *)stats;
	struct kvm_stats_desc *second;
	int fd, n;

	EXPECT_EQ(ioctl(vm_sys(), KVM_GET_API_VERSION, 0), 12);
	EXPECT_GE(ioctl(vm_sys(), KVM_GET_VCPU_MMAP_SIZE, 0), 3 * PAGE);
	EXPECT_EQ(ioctl(vm_sys(), KVM_CHECK_EXTENSION, 99999), 0);
	EXPECT_EQ(ioctl(self->vm->fd, KVM_CHECK_EXTENSION, 99999), 0);
	EXPECT_EQ(ioctl(vm_sys(), KVM_CHECK_EXTENSION, -1l), 0);
	EXPECT_EQ(ioctl(self->vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_IRQ_ROUTING), 4096);
	EXPECT_EQ(ioctl(self->fd[CPU], KVM_GET_MSRS, &msr), 0);
	EXPECT_EQ(ioctl(self->fd[CPU], KVM_SET_MSRS, &msr), 0);
	EXPECT_EQ(ioctl(self->vm->fd, KVM_GET_CLOCK, &clock), 0);
	EXPECT_EQ(ioctl(self->vm->fd, KVM_SET_CLOCK, &clock), 0);
	EXPECT_EQ(ioctl(self->pit->fd, KVM_GET_PIT2, &pit), 0);
	EXPECT_EQ(ioctl(self->pit->fd, KVM_SET_PIT2, &pit), 0);
	EXPECT_EQ(ioctl(self->vm->fd, KVM_SET_NR_MMU_PAGES, 64), 0);
	EXPECT_EQ(ioctl(self->fd[CPU], KVM_SET_SIGNAL_MASK, &mask), 0);
	EXPECT_EQ(ioctl(self->fd[CPU], KVM_SET_SIGNAL_MASK, NULL), 0);
	EXPECT_EQ(ioctl(vm_sys(), KVM_X86_GET_MCE_CAP_SUPPORTED, &supported), 0);
	mcg_cap |= supported & ~0xffull & 0x1000100;
	EXPECT_EQ(ioctl(self->fd[CPU], KVM_X86_SETUP_MCE, &mcg_cap), 0);
	EXPECT_EQ(ioctl(self->fd[CPU], KVM_TRANSLATE, &t), 0);
	EXPECT_EQ(t.physical_address, 0x1234);
	EXPECT_EQ(t.valid, 1);
	t.linear_address = ~0ull;		/* what stands for no address is none */
	EXPECT_EQ(ioctl(self->fd[CPU], KVM_TRANSLATE, &t), 0);
	EXPECT_EQ(t.valid, 0);
	EXPECT_GT(ioctl(self->fd[CPU], KVM_GET_TSC_KHZ, 0), 0);
	EXPECT_EQ(ioctl(self->fd[CPU], KVM_HAS_DEVICE_ATTR, &attr), 0);
	EXPECT_EQ(ioctl(self->fd[CPU], KVM_GET_DEVICE_ATTR, &attr), 0);
	EXPECT_EQ(ioctl(self->fd[CPU], KVM_SET_DEVICE_ATTR, &attr), 0);
	EXPECT_EQ(ioctl(self->fd[CPU], KVM_NMI, 0), 0);
	/* as KVM has them */
	EXPECT_EQ(vm_is_amd() ? vcpu_msr(&self->vm->cpu[0], 0xc0011029) : 0, 0);
	EXPECT_EQ(vcpu_msr(&self->vm->cpu[0], 0x8b), vm_is_amd() ? 0x01000065 : 1ull << 32);
	fd = ioctl(self->vm->fd, KVM_CREATE_VCPU, 7);
	EXPECT_GE(fd, 0);
	close(fd);
	/* a closed vCPU still exists */
	EXPECT_EQ(ioctl(self->vm->fd, KVM_CREATE_VCPU, 7), -1);
	EXPECT_EQ(errno, EEXIST);
	fd = ioctl(self->fd[CPU], KVM_GET_STATS_FD, 0);
	n = read(fd, stats, sizeof(stats) - 1);
	second = (void *)stats + head->desc_offset + sizeof(*second) + head->name_size;
	EXPECT_EQ(second->size, 1);
	while (n > 0 && strcmp(stats + n - 1, "halt_exits"))		/* as KVM calls it */
		n--;
	EXPECT_GT(n, 0);
	close(fd);
}

/* Tools find the VMs of a process, and their vCPUs, by what /proc/PID/fd calls them. */
TEST_F(fds, names_of_descriptors)
{
	int cpu = vcpu_new(self->vm, 120)->fd;
	const struct { int fd; const char *name; } rows[] = {
		{ self->vm->fd, "anon_inode:kvm-vm" }, { cpu, "anon_inode:kvm-vcpu:120" },
		{ ioctl(self->vm->fd, KVM_GET_STATS_FD, 0), "anon_inode:kvm-vm-stats" },
		{ ioctl(cpu, KVM_GET_STATS_FD, 0), "anon_inode:kvm-vcpu-stats:120" },
	};

	for (unsigned int i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char path[32], name[64] = "";

		snprintf(path, sizeof(path), "/proc/self/fd/%d", rows[i].fd);
		EXPECT_GT(readlink(path, name, sizeof(name) - 1), 0);
		EXPECT_STREQ(name, rows[i].name);
	}
	close(rows[2].fd);
	close(rows[3].fd);
}

/* The older of two forms knows no bits that would be unknown, or no sub-leaves. */
TEST_F(fds, old_forms)
{
	struct { struct kvm_cpuid head; struct kvm_cpuid_entry e[2]; } old = {
		{ .nent = 2 }, { { .function = 0, .eax = 1, .ebx = 5 },
				 { .function = 1, .eax = 6, .ebx = 7, .ecx = 1, .edx = 1 } },
	};
	struct { struct kvm_cpuid2 head; struct kvm_cpuid_entry2 e[2]; } now = { { .nent = 2 } };
	int cpu = self->fd[CPU];

	EXPECT_EQ(ioctl(self->vm->fd, KVM_ENABLE_CAP, CAP(KVM_CAP_DISABLE_QUIRKS, ~0ull)), 0);
	EXPECT_EQ(ioctl(cpu, KVM_SET_CPUID, &old), 0);
	ASSERT_EQ(ioctl(cpu, KVM_GET_CPUID2, &now), 0);
	for (unsigned int i = 0; i < 2; i++) {
		EXPECT_EQ(now.e[i].function, i);
		EXPECT_EQ(now.e[i].index | now.e[i].flags, 0);
		EXPECT_EQ(now.e[i].eax, old.e[i].eax);
		EXPECT_EQ(now.e[i].ebx, old.e[i].ebx);
	}
	EXPECT_EQ(now.e[1].ecx, 1);
	old.head.nent = 100000;
	EXPECT_EQ(ioctl(cpu, KVM_SET_CPUID, &old), -1);
	EXPECT_EQ(errno, E2BIG);
	EXPECT_EQ(ioctl(cpu, KVM_SET_CPUID, 16), -1);
	EXPECT_EQ(errno, EFAULT);
}

TEST_F(fds, the_boot_cpu_is_below_the_limit)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_MAX_VCPU_ID, .args = { 3 } };

	if (is_kvm())
		SKIP(return, "6.1 takes it");
	EXPECT_EQ(ioctl(self->fd[BARE], KVM_SET_BOOT_CPU_ID, 4), 0);
	EXPECT_EQ(ioctl(self->fd[BARE], KVM_ENABLE_CAP, &cap), -1);
	cap.args[0] = 5;
	EXPECT_EQ(ioctl(self->fd[BARE], KVM_ENABLE_CAP, &cap), 0);
}

TEST_F(fds, a_cpuid_list_that_is_too_short_stays)
{
	struct { struct kvm_cpuid2 head; struct kvm_cpuid_entry2 entry; } c = { .head.nent = 1 };

	EXPECT_EQ(ioctl(self->fd[CPU], KVM_GET_CPUID2, &c), -1);
	EXPECT_EQ(errno, E2BIG);
	EXPECT_EQ(c.head.nent, 1);
}

/*
 * The id is the vCPU's whatever user space says; where it gives the whole of it, it must be right.
 */
TEST_F(fds, an_x2apics_id_is_its_own)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_X2APIC_API, .args = { KVM_X2APIC_API_USE_32BIT_IDS },
	};
	struct kvm_lapic_state apic;
	struct kvm_sregs s;
	int fd = self->fd[CHIP_CPU];

	ASSERT_EQ(ioctl(fd, KVM_GET_SREGS, &s), 0);
	s.apic_base |= 0xc00;
	ASSERT_EQ(ioctl(fd, KVM_SET_SREGS, &s), 0);
	ASSERT_EQ(ioctl(fd, KVM_GET_LAPIC, &apic), 0);
	apic.regs[0x23] = 5;
	EXPECT_EQ(ioctl(fd, KVM_SET_LAPIC, &apic), 0);
	ASSERT_EQ(ioctl(fd, KVM_GET_LAPIC, &apic), 0);
	if (!is_kvm())		/* 6.1 tells what it was told */
		EXPECT_EQ(apic.regs[0x23], 0);
	ASSERT_EQ(ioctl(self->fd[CHIP], KVM_ENABLE_CAP, &cap), 0);
	apic.regs[0x20] = 5;
	EXPECT_EQ(ioctl(fd, KVM_SET_LAPIC, &apic), -1);
	EXPECT_EQ(errno, EINVAL);
}

/* Lists say how long they are. */
TEST(lists_tell_their_length)
{
	static const unsigned long cmd[] = {
		KVM_GET_MSR_INDEX_LIST, KVM_GET_MSR_FEATURE_INDEX_LIST,
	};
	struct kvm_msr_list *list = calloc(1, 4 + 4 * 4096);
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + 256 * sizeof(c->entries[0]));
	unsigned int i, n, r[4];

	for (i = 0; i < 2; i++) {
		list->nmsrs = 0;
		ASSERT_EQ(ioctl(vm_sys(), cmd[i], list), -1);
		n = list->nmsrs;
		ASSERT_GT(n, 0);
		list->nmsrs = n - 1;
		EXPECT_EQ(ioctl(vm_sys(), cmd[i], list), -1);
		EXPECT_EQ(errno, E2BIG);
		EXPECT_EQ(list->nmsrs, n);
		EXPECT_EQ(ioctl(vm_sys(), cmd[i], list), 0);
		list->nmsrs = 4096;
		EXPECT_EQ(ioctl(vm_sys(), cmd[i], list), 0);
		EXPECT_EQ(list->nmsrs, n);
	}
	c->nent = 256;
	ASSERT_EQ(ioctl(vm_sys(), KVM_GET_SUPPORTED_CPUID, c), 0);
	n = c->nent;
	ASSERT_GT(n, 5);
	c->nent = n - 1;
	EXPECT_EQ(ioctl(vm_sys(), KVM_GET_SUPPORTED_CPUID, c), -1);
	EXPECT_EQ(errno, E2BIG);
	c->nent = n;
	EXPECT_EQ(ioctl(vm_sys(), KVM_GET_SUPPORTED_CPUID, c), 0);
	EXPECT_EQ(c->nent, n);
	/*
	 * A VMM with a local APIC of its own offers what is told here (KVM_CAP_TSC_DEADLINE_TIMER).
	 */
	for (n = 0; n < c->nent; n++)
		EXPECT_FALSE(c->entries[n].function == 1 && c->entries[n].ecx & 1u << 24);
	/*
	 * Five levels of paging (SDM vol. 3 §4.5) are up to the CPU and the
	 * guest, not to the host's kernel.
	 */
	__cpuid_count(7, 0, r[0], r[1], r[2], r[3]);
	for (n = 0; n < c->nent; n++)
		if (c->entries[n].function == 7 && !c->entries[n].index)
			EXPECT_EQ(c->entries[n].ecx & 1u << 16, r[2] & 1u << 16);
	/* A VMM asks what else there is before it looks at it: never an empty list. */
	c->nent = 256;
	EXPECT_EQ(ioctl(vm_sys(), KVM_GET_EMULATED_CPUID, c), 0);
	EXPECT_GE(c->nent, 1);
	EXPECT_EQ(c->entries[0].function, 0);
	free(list);
	free(c);
}

/*
 * Feature MSRs that VMMs of both vendors read before there is a vCPU,
 * whether this CPU has them or not.
 */
TEST(feature_msrs)
{
	struct { struct kvm_msrs head; struct kvm_msr_entry e[2]; } m = {
		.head.nmsrs = 2, .e = { { .index = 0x10a }, { .index = 0x345 } },
	};

	EXPECT_EQ(ioctl(vm_sys(), KVM_GET_MSRS, &m), 2);
	EXPECT_TRUE(m.e[0].data & 1 << 6);	/* IA32_ARCH_CAPABILITIES.IF_PSCHANGE_MC_NO */
}

/*
 * What a guest is told of its CPU's immunities is the VMM's choice: Firecracker's T2S tells of
 * things that no host of these has all.
 */
TEST_F(fds, the_vmm_chooses_immunities)
{
	struct { struct kvm_msrs head; struct kvm_msr_entry e; } m = {
		{ .nmsrs = 1 }, { .index = 0x10a, .data = 0xc4c },
	};

	ASSERT_EQ(ioctl(self->fd[CPU], KVM_SET_MSRS, &m), 1);
	m.e.data = 0;
	ASSERT_EQ(ioctl(self->fd[CPU], KVM_GET_MSRS, &m), 1);
	EXPECT_EQ(m.e.data, 0xc4c);
}

/* A guest is told that it need not guard itself, whatever model its CPUID names. */
TEST(immunities_of_the_host)
{
	static const struct { const char *name; unsigned int bit; } bugs[] = {
		{ "meltdown", 0 }, { "mds", 5 }, { "gather_data_sampling", 26 },
		{ "reg_file_data_sampling", 27 },
		{ "indirect_target_selection", 62 },
	};
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry e;
	} m = { { .nmsrs = 1 }, { .index = 0x10a } };

	ASSERT_EQ(ioctl(vm_sys(), KVM_GET_MSRS, &m), 1);
	for (unsigned int i = 0; i < sizeof(bugs) / sizeof(bugs[0]); i++) {
		char path[80], line[80] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/sys/devices/system/cpu/vulnerabilities/%s",
			 bugs[i].name);
		f = fopen(path, "r");
		if (!f)
			continue;
		if (fgets(line, sizeof(line), f) && !strncmp(line, "Not affected", 12)) {
			TH_LOG("%s", bugs[i].name);
			EXPECT_TRUE(m.e.data >> bugs[i].bit & 1);
		}
		fclose(f);
	}
}

/* ---- mapping, processes, the run page ---- */

static sigjmp_buf after_bus;

static void on_bus(int sig)
{
	siglongjmp(after_bus, 1);
}

/* Does writing there give SIGBUS? */
static __attribute__((noinline)) bool dies(volatile char *p)
{
	signal(SIGBUS, on_bus);
	if (sigsetjmp(after_bus, 1)) {
		signal(SIGBUS, SIG_DFL);
		return true;
	}
	*p = 1;
	signal(SIGBUS, SIG_DFL);
	return false;
}

TEST_F(fds, mapped_pages)
{
	struct kvm_enable_cap ring = { .cap = KVM_CAP_DIRTY_LOG_RING, .args = { 65536 } };
	char *m = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd[CPU], 0);
	int cpu;

	ASSERT_NE(m, MAP_FAILED);
	m[0] = m[0];
	m[PAGE] = m[PAGE];
	m[2 * PAGE] = m[2 * PAGE];
	EXPECT_TRUE(dies(m + 5 * PAGE));
	munmap(m, 8 * PAGE);
	/* dirty rings, at page 64, are shared and not executed */
	if (ioctl(self->bare->fd, KVM_ENABLE_CAP, &ring))
		SKIP(return, "no dirty rings");
	cpu = vcpu_new(self->bare, 0)->fd;
	EXPECT_EQ(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, cpu, 64 * PAGE),
		  MAP_FAILED);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, cpu, 64 * PAGE), MAP_FAILED);
	/* newer kernels execute no anonymous inode at all */
	EXPECT_TRUE(errno == EINVAL || errno == EPERM);
	m = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 64 * PAGE);
	ASSERT_NE(m, MAP_FAILED);
	m[0] = m[0];
	munmap(m, PAGE);
}

TEST_F(fds, another_process_gets_eio)
{
	struct kvm_regs regs;
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		if (ioctl(self->vm->fd, KVM_CHECK_EXTENSION, 0) != -1 || errno != EIO)
			_exit(1);
		if (ioctl(self->fd[CPU], KVM_GET_REGS, &regs) != -1 || errno != EIO)
			_exit(2);
		if (ioctl(self->fd[CPU], KVM_RUN, 0) != -1 || errno != EIO)
			_exit(3);
		if (ioctl(vm_sys(), KVM_GET_API_VERSION, 0) != 12)
			_exit(4);
		_exit(0);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(ioctl(self->fd[CPU], KVM_GET_REGS, &regs), 0);
}

GUEST(done, 64, "nop\n" DONE);

TEST_F(fds, hostile_run_page)
{
	struct vcpu *v = &self->vm->cpu[0];
	struct kvm_regs before, after;

	vm_load(self->vm, done);
	vcpu_mode(v, MODE_LONG);
	before = vcpu_regs(v);
	v->run->kvm_valid_regs = 1ull << 40;
	EXPECT_EQ(vcpu_run(v), -EINVAL);
	v->run->kvm_valid_regs = 0;
	v->run->kvm_dirty_regs = 8;
	EXPECT_EQ(vcpu_run(v), -EINVAL);
	v->run->kvm_dirty_regs = KVM_SYNC_X86_SREGS;	/* that SET_SREGS would refuse */
	memset(&v->run->s.regs.sregs, 0xff, sizeof(v->run->s.regs.sregs));
	EXPECT_EQ(vcpu_run(v), -EINVAL);
	v->run->kvm_dirty_regs = 0;
	after = vcpu_regs(v);
	EXPECT_EQ(memcmp(&before, &after, sizeof(before)), 0);
	/*
	 * without a local APIC in the kernel CR8 is taken from here: four bits (SDM vol. 3 10.8.6)
	 */
	v->run->cr8 = 16;
	EXPECT_EQ(vcpu_run(v), -EINVAL);
	/* fields that are results, and padding, mean nothing on the way in */
	memset(&v->run->exit_reason, 0xee,
	       offsetof(struct kvm_run, kvm_valid_regs) - offsetof(struct kvm_run, exit_reason));
	v->run->cr8 = 0;
	ASSERT_TRUE(vcpu_run_done(v));
	/* valid registers are stored */
	vcpu_set_regs(v, &before);
	v->run->kvm_valid_regs = 7;
	ASSERT_TRUE(vcpu_run_done(v));
	after = vcpu_regs(v);
	EXPECT_EQ(memcmp(&v->run->s.regs.regs, &after, sizeof(after)), 0);
}

/* ---- why ---- */

TEST_F(fds, the_last_error_names_the_field)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_HALT_POLL, .flags = 5 };
	struct kvm_debugregs d = { .flags = 3 };
	struct wafer_last_error e;

	if (is_kvm())
		SKIP(return, "Wafer's own");
	ASSERT_EQ(ioctl(self->fd[CPU], WAFER_LAST_ERROR, &e), 0);
	EXPECT_EQ(e.ioctl, 0);
	EXPECT_EQ(ioctl(self->vm->fd, KVM_ENABLE_CAP, &cap), -1);
	ASSERT_EQ(ioctl(self->vm->fd, WAFER_LAST_ERROR, &e), 0);
	EXPECT_EQ(e.ioctl, KVM_ENABLE_CAP);
	EXPECT_EQ(e.err, EINVAL);
	EXPECT_EQ(e.value, 5);
	EXPECT_STREQ(e.field, "flags");
	EXPECT_NE(e.rule[0], 0);
	EXPECT_EQ(ioctl(self->fd[CPU], KVM_SET_DEBUGREGS, &d), -1);
	ASSERT_EQ(ioctl(self->fd[CPU], WAFER_LAST_ERROR, &e), 0);
	EXPECT_EQ(e.ioctl, KVM_SET_DEBUGREGS);
	EXPECT_EQ(e.value, 3);
	EXPECT_STREQ(e.field, "flags");
	EXPECT_EQ(ioctl(self->fd[CPU], WAFER_LAST_ERROR, 16), -1);
	EXPECT_EQ(errno, EFAULT);
}

/*
 * CS with L and D in long mode (SDM vol. 3 26.3.1.2, APM vol. 2 15.5.1): the CPU refuses the entry.
 */
TEST_F(fds, state_that_the_cpu_refuses)
{
	struct vcpu *v = &self->vm->cpu[0];
	struct wafer_last_error e;
	struct kvm_sregs s;

	vm_load(self->vm, done);
	vcpu_mode(v, MODE_LONG);
	ASSERT_EQ(ioctl(v->fd, KVM_GET_SREGS, &s), 0);
	s.cs.db = 1;
	ASSERT_EQ(ioctl(v->fd, KVM_SET_SREGS, &s), 0);
	ASSERT_EQ(vcpu_run(v), KVM_EXIT_FAIL_ENTRY);
	if (!is_kvm()) {
		ASSERT_EQ(ioctl(v->fd, WAFER_LAST_ERROR, &e), 0);
		TH_LOG("%s: %s", e.field, e.rule);
		EXPECT_NE(e.field[0], 0);
	}
	/* it can be repaired */
	vcpu_mode(v, MODE_LONG);
	EXPECT_TRUE(vcpu_run_done(v));
}

TEST_HARNESS_MAIN
