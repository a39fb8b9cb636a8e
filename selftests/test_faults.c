// SPDX-License-Identifier: GPL-2.0
/*
 * Every allocation of every ioctl fails once: the ioctl says ENOMEM and has changed nothing, so
 * that the same ioctl succeeds afterwards and a guest runs. Needs a kernel with CONFIG_FAILSLAB and
 * CONFIG_FAIL_PAGE_ALLOC (host kernel "debug"); what is lost on the way, kmemleak tells there.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "vm.h"

#define MIB	(1ul << 20)
#define MOST	2000		/* no ioctl allocates as often as that */

/* One write to each of 16 pages at 2 MiB. */
GUEST(touch, 64, "mov $0x200000, %edi\n mov $16, %ecx\n 1: incq (%rdi)\n"
		 "add $0x1000, %edi\n dec %ecx\n jnz 1b\n" DONE);

static int fail_nth = -1;

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

/* The n-th allocation of this thread from now on fails; 0: none. */
static void arm(int n)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", n);
	if (pwrite(fail_nth, text, strlen(text), 0) < 0)
		perror("# fail-nth");
}

static bool has_struck(void)
{
	char text[16] = "";

	return pread(fail_nth, text, sizeof(text) - 1, 0) > 0 && atoi(text) == 0;
}

/* NULL, or why no allocation can be made to fail. */
static const char *set_up(void)
{
	static const char *const kinds[] = { "failslab", "fail_page_alloc" };
	char path[128];
	int i;

	for (i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s/ignore-gfp-wait", kinds[i]);
		if (!put(path, "N"))
			return "the kernel has no failslab and fail_page_alloc";
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s/verbose", kinds[i]);
		put(path, "0");
	}
	put("/sys/kernel/debug/fail_page_alloc/min-order", "0");
	put("/sys/kernel/debug/fail_page_alloc/ignore-gfp-highmem", "N");
	fail_nth = open("/proc/thread-self/fail-nth", O_RDWR);
	return fail_nth < 0 ? "no /proc/thread-self/fail-nth" : NULL;
}

/* ---- what is done under failing allocations: 0 or errno ---- */

static int done(int r)
{
	return r < 0 ? errno : 0;
}

static int create_vm(struct vm *vm)
{
	int fd = ioctl(vm_sys(), KVM_CREATE_VM, 0), e = errno;

	if (fd >= 0)
		close(fd);
	return fd < 0 ? e : 0;
}

static int create_vcpu(struct vm *vm)
{
	int fd = ioctl(vm->fd, KVM_CREATE_VCPU, 3ul), e = errno;

	if (fd >= 0)
		close(fd);
	return fd < 0 ? e : 0;
}

static int create_irqchip(struct vm *vm)
{
	return done(ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0));
}

static int create_pit(struct vm *vm)
{
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };

	return done(ioctl(vm->fd, KVM_CREATE_PIT2, &pit));
}

static int split_irqchip(struct vm *vm)
{
	struct kvm_enable_cap c = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { 24 } };

	return done(ioctl(vm->fd, KVM_ENABLE_CAP, &c));
}

static int add_slot(struct vm *vm)
{
	return -vm_slot_try(vm, 1, 8 * MIB, MIB, vm->mem + 2 * MIB, KVM_MEM_LOG_DIRTY_PAGES);
}

static int move_slot(struct vm *vm)
{
	static uint64_t to = 16 * MIB;
	int r = -vm_slot_try(vm, 2, to, MIB, vm->mem + 2 * MIB, 0);

	if (!r)
		to += MIB;
	return r;
}

static int set_routing(struct vm *vm)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entry[2];
	} r = { .head = { .nr = 2 }, .entry = {
		{ .gsi = 5, .type = KVM_IRQ_ROUTING_MSI,
		  .u.msi = { .address_lo = 0xfee00000, .data = 0x40 } },
		{ .gsi = 6, .type = KVM_IRQ_ROUTING_MSI,
		  .u.msi = { .address_lo = 0xfee00000, .data = 0x41 } } } };

	return done(ioctl(vm->fd, KVM_SET_GSI_ROUTING, &r));
}

static int irqfd(struct vm *vm)
{
	int trigger = eventfd(0, 0), resample = eventfd(0, 0), e;
	struct kvm_irqfd fd = {
		.fd = trigger, .gsi = 5, .flags = KVM_IRQFD_FLAG_RESAMPLE, .resamplefd = resample,
	};

	e = trigger < 0 || resample < 0 ? ENOMEM : done(ioctl(vm->fd, KVM_IRQFD, &fd));
	close(trigger);
	close(resample);
	return e;
}

static int ioeventfd(struct vm *vm)
{
	static uint64_t addr = GUEST_MMIO;
	int event = eventfd(0, 0), e;
	struct kvm_ioeventfd fd = { .addr = addr, .len = 4, .fd = event };

	e = event < 0 ? ENOMEM : done(ioctl(vm->fd, KVM_IOEVENTFD, &fd));
	if (!e)
		addr += 4;
	close(event);
	return e;
}

static int coalesce(struct vm *vm)
{
	struct kvm_coalesced_mmio_zone zone = { .addr = GUEST_MMIO + 0x10000, .size = 4096 };

	return done(ioctl(vm->fd, KVM_REGISTER_COALESCED_MMIO, &zone));
}

static int set_cpuid(struct vm *vm)
{
	static struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entry[128];
	} c;

	c.head.nent = 128;
	return done(ioctl(vm_sys(), KVM_GET_SUPPORTED_CPUID, &c)) ?:
	       done(ioctl(vm->cpu[0].fd, KVM_SET_CPUID2, &c));
}

static int get_msrs(struct vm *vm)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry[2];
	} m = { .head = { .nmsrs = 2 }, .entry = { { .index = 0x10 }, { .index = 0xc0000081 } } };
	int r = ioctl(vm->cpu[0].fd, KVM_GET_MSRS, &m);

	return r == 2 ? 0 : r < 0 ? errno : EIO;
}

static int msr_filter(struct vm *vm)
{
	uint8_t bits[32] = { 0 };
	struct kvm_msr_filter f = {
		.ranges[0] = { .flags = KVM_MSR_FILTER_READ, .nmsrs = 256, .base = 0x10,
			       .bitmap = bits },
	};

	return done(ioctl(vm->fd, KVM_X86_SET_MSR_FILTER, &f));
}

static int xsave(struct vm *vm)
{
	static uint8_t area[4096];

	return done(ioctl(vm->cpu[0].fd, KVM_GET_XSAVE, area)) ?:
	       done(ioctl(vm->cpu[0].fd, KVM_SET_XSAVE, area));
}

static int signal_mask(struct vm *vm)
{
	struct {
		struct kvm_signal_mask head;
		uint8_t set[8];
	} m = { .head = { .len = 8 } };

	return done(ioctl(vm->cpu[0].fd, KVM_SET_SIGNAL_MASK, &m));
}

/*
 * The pages are absent, so that tables and pages are needed on the way;
 * what was touched stays touched.
 */
static int run_guest(struct vm *vm)
{
	struct vcpu *v = &vm->cpu[0];
	struct kvm_regs r = vcpu_regs(v);
	int e;

	madvise(vm->mem + 2 * MIB, MIB, MADV_DONTNEED);
	r.rip = GUEST_CODE;
	vcpu_set_regs(v, &r);
	e = vcpu_run(v);
	return e < 0 ? -e : e == KVM_EXIT_IO && v->run->io.port == GUEST_DONE ? 0 : EIO;
}

static const struct {
	const char *name;
	int (*op)(struct vm *vm);
	int flags;
	bool once;	/* a second time it is refused by itself: each try gets a VM of its own */
} steps[] = {
	{ "KVM_CREATE_VM", create_vm },
	{ "KVM_CREATE_VCPU", create_vcpu, VM_IRQCHIP, true },
	{ "KVM_CREATE_IRQCHIP", create_irqchip, 0, true },
	{ "KVM_CREATE_PIT2", create_pit, VM_IRQCHIP, true },
	{ "KVM_CAP_SPLIT_IRQCHIP", split_irqchip, 0, true },
	{ "KVM_SET_USER_MEMORY_REGION", add_slot, 0, true },
	{ "KVM_SET_USER_MEMORY_REGION, moved", move_slot },
	{ "KVM_SET_GSI_ROUTING", set_routing, VM_IRQCHIP },
	{ "KVM_IRQFD", irqfd, VM_IRQCHIP },
	{ "KVM_IOEVENTFD", ioeventfd },
	{ "KVM_REGISTER_COALESCED_MMIO", coalesce },
	{ "KVM_GET_SUPPORTED_CPUID, KVM_SET_CPUID2", set_cpuid },
	{ "KVM_GET_MSRS", get_msrs },
	{ "KVM_X86_SET_MSR_FILTER", msr_filter },
	{ "KVM_GET_XSAVE, KVM_SET_XSAVE", xsave },
	{ "KVM_SET_SIGNAL_MASK", signal_mask },
	{ "KVM_RUN", run_guest },
};

static void add_cpu(struct vm *vm)
{
	vcpu_new(vm, 0);
	vcpu_mode(&vm->cpu[0], MODE_LONG);
	vm_load(vm, touch);
}

/* A chip is made before the first vCPU. */
static bool needs_cpu(int (*op)(struct vm *vm))
{
	return op != create_irqchip && op != split_irqchip;
}

TEST(every_allocation_fails_once)
{
	const char *why = set_up();
	struct vm *vm;
	int i, n, e;

	if (why)
		SKIP(return, "%s", why);
	for (i = 0; i < (int)(sizeof(steps) / sizeof(*steps)); i++) {
		int failed = 0;

		vm = NULL;
		for (n = 1; n < MOST; n++) {
			bool struck;

			if (!vm || steps[i].once) {
				if (vm)
					vm_free(vm);
				vm = vm_new(4 * MIB, steps[i].flags);
				if (needs_cpu(steps[i].op))
					add_cpu(vm);
			}
			arm(n);
			e = steps[i].op(vm);
			struck = has_struck();
			arm(0);
			failed += !!e;
			if (e && e != ENOMEM)
				TH_LOG("%s, allocation %d: %s", steps[i].name, n, strerror(e));
			/*
			 * a fault of the guest that finds no memory is what the VMM's own would be
			 */
			EXPECT_TRUE(!e || e == ENOMEM || (e == EFAULT && steps[i].op == run_guest));
			/* the same again, with memory */
			if (e) {
				e = steps[i].op(vm);
				if (e)
					TH_LOG("%s, after allocation %d failed: %s", steps[i].name,
					       n, strerror(e));
				EXPECT_EQ(e, 0);
			}
			if (!struck)
				break;
		}
		EXPECT_LT(n, MOST);
		TH_LOG("%s: %d allocations, %d of them can fail it", steps[i].name, n - 1, failed);
		if (!vm->nr)
			add_cpu(vm);
		EXPECT_EQ(run_guest(vm), 0);
		vm_free(vm);
	}
}

TEST_HARNESS_MAIN
