// SPDX-License-Identifier: GPL-2.0
/* Dirty rings: what each vCPU writes is told in its own, and nothing is lost when one is full. */
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "vm.h"

#define BIG_GPA 0x40000000ul
#define MIB (1ul << 20)
#define PAGE 4096ul

/* RDI: address, RSI: step, RCX: count, RAX: what to add to each quadword. */
GUEST(walk, 64, "1: add %rax, (%rdi)\n add %rsi, %rdi\n dec %rcx\n jnz 1b\n" DONE);

static void start(struct vcpu *v, uint64_t gpa, uint64_t step, uint64_t count, uint64_t add)
{
	struct kvm_regs r = {
		.rip = GUEST_CODE, .rflags = 2, .rsp = GUEST_STACK,
		.rdi = gpa, .rsi = step, .rcx = count, .rax = add,
	};

	vcpu_set_regs(v, &r);
}

static uint8_t *map(size_t size)
{
	uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* @second: the first page of slot 2, which follows slot 1; 0: there is none */
struct ring {
	struct kvm_dirty_gfn *entry;
	uint32_t size, next, second;
};

/*
 * The smallest ring that there may be: what is kept back for one exit
 * depends on the CPU. Entries, or 0.
 */
static uint32_t small_ring(struct vm *vm)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_DIRTY_LOG_RING };

	for (cap.args[0] = PAGE; cap.args[0] <= 16 * PAGE; cap.args[0] *= 2)
		if (!ioctl(vm->fd, KVM_ENABLE_CAP, &cap))
			return cap.args[0] / sizeof(struct kvm_dirty_gfn);
	return 0;
}

/* Takes what is new, counts it by page, marks it as read; gives how many. */
static uint32_t harvest(struct ring *r, uint8_t *times, uint64_t pages)
{
	uint32_t n = 0;

	for (;;) {
		struct kvm_dirty_gfn *e = &r->entry[r->next % r->size];

		if (__atomic_load_n(&e->flags, __ATOMIC_ACQUIRE) != KVM_DIRTY_GFN_F_DIRTY ||
		    n == r->size)
			return n;
		if (e->slot == 2 && r->second && e->offset < pages - r->second)
			times[r->second + e->offset]++;
		else if (e->slot == 1 && e->offset < (r->second ?: pages))
			times[e->offset]++;
		else
			return -1;
		__atomic_store_n(&e->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
		r->next++;
		n++;
	}
}

static bool map_ring(struct ring *r, struct vcpu *v)
{
	r->entry = mmap(NULL, r->size * sizeof(*r->entry), PROT_READ | PROT_WRITE, MAP_SHARED,
			v->fd, KVM_DIRTY_LOG_PAGE_OFFSET * PAGE);
	return r->entry != MAP_FAILED;
}

/* A vCPU that walks over pages, with its ring mapped; NULL: the ring can't be had. */
static struct vcpu *walker(struct vm *vm, struct ring *r)
{
	struct vcpu *v = vcpu_new(vm, 0);

	vcpu_mode(v, MODE_LONG);
	vm_load(vm, walk);
	return map_ring(r, v) ? v : NULL;
}

/*
 * A full ring keeps the vCPU out of the guest until there is room; the guest notices
 * nothing, the VMM misses nothing.
 */
TEST(a_full_ring_stops_the_vcpu)
{
	struct vm *vm = vm_new(4 * MIB, 0);
	struct ring r = { .size = small_ring(vm) };
	struct kvm_dirty_log log = { .slot = 1, .dirty_bitmap = &r };
	uint32_t pages = 2 * r.size, full = 0, n, sum = 0, i, round;
	uint8_t *m = map(pages * PAGE), *times = calloc(pages, 1);
	struct vcpu *v;
	uint64_t rcx;
	int why;

	if (!r.size)
		SKIP(return, "no dirty rings");
	v = walker(vm, &r);
	ASSERT_NE(v, NULL);
	/* What the hardware has logged at once can be of both. */
	r.second = pages / 2 - 7;
	vm_slot(vm, 1, BIG_GPA, r.second * PAGE, m, KVM_MEM_LOG_DIRTY_PAGES);
	vm_slot(vm, 2, BIG_GPA + r.second * PAGE, (pages - r.second) * PAGE, m + r.second * PAGE,
		KVM_MEM_LOG_DIRTY_PAGES);
	EXPECT_EQ(ioctl(vm->fd, KVM_GET_DIRTY_LOG, &log), -1);	/* one or the other */
	EXPECT_EQ(errno, ENXIO);
	for (round = 1; round <= 2; round++) {
		start(v, BIG_GPA, PAGE, pages, 1);
		while ((why = vcpu_run(v)) == KVM_EXIT_DIRTY_RING_FULL) {
			full++;
			rcx = vcpu_regs(v).rcx;
			ASSERT_GT(rcx, 0);
			ASSERT_LT(rcx, pages);
			/* neither trying nor reading alone makes room */
			ASSERT_EQ(vcpu_run(v), KVM_EXIT_DIRTY_RING_FULL);
			n = harvest(&r, times, pages);
			ASSERT_GT(n, r.size / 4);
			ASSERT_LE(n, r.size);
			sum += n;
			ASSERT_EQ(vcpu_run(v), KVM_EXIT_DIRTY_RING_FULL);
			EXPECT_EQ(vcpu_regs(v).rcx, rcx);
			EXPECT_EQ(harvest(&r, times, pages), 0);
			EXPECT_EQ(ioctl(vm->fd, KVM_RESET_DIRTY_RINGS, 0), n);
			EXPECT_EQ(ioctl(vm->fd, KVM_RESET_DIRTY_RINGS, 0), 0);
		}
		EXPECT_EQ(why, KVM_EXIT_IO);
		n = harvest(&r, times, pages);
		sum += n;
		EXPECT_EQ(ioctl(vm->fd, KVM_RESET_DIRTY_RINGS, 0), n);
		/* every page was told of in every round, and was written once in each */
		for (i = 0; i < pages; i++) {
			ASSERT_GE(times[i], round);
			ASSERT_EQ(*(uint64_t *)(m + i * PAGE), round);
		}
	}
	EXPECT_GE(full, 4);
	TH_LOG("%u entries, %u times full, %u pages told of, %u written", r.size, full, sum,
	       2 * pages);
	munmap(r.entry, r.size * sizeof(*r.entry));
	vm_free(vm);
	free(times);
}

/* RDI: address, RSI: step, RCX: count: four bytes to each page. */
GUEST(ins, 64, "1: mov %rcx, %rbx\n mov $4, %ecx\n mov $0x10, %edx\n"
	       "rep insb\n lea -4(%rdi, %rsi), %rdi\n"
	       "mov %rbx, %rcx\n dec %rcx\n jnz 1b\n" DONE);

/*
 * What the kernel writes for a vCPU is in that vCPU's ring, which stops it in
 * time; another's would run over.
 */
TEST(the_kernel_writes_for_a_vcpu)
{
	struct vm *vm = vm_new(4 * MIB, 0);
	struct ring idle = { .size = small_ring(vm) }, r = { .size = idle.size };
	uint32_t pages = 2 * r.size, i, n, sum = 0;
	uint8_t *m = map(pages * PAGE), *times = calloc(pages, 1);
	struct vcpu *v;
	int why;

	if (!r.size)
		SKIP(return, "no dirty rings");
	ASSERT_TRUE(map_ring(&idle, vcpu_new(vm, 0)));
	v = vcpu_new(vm, 1);
	vcpu_mode(v, MODE_LONG);
	vm_load(vm, ins);
	ASSERT_TRUE(map_ring(&r, v));
	vm_slot(vm, 1, BIG_GPA, pages * PAGE, m, KVM_MEM_LOG_DIRTY_PAGES);
	start(v, BIG_GPA, PAGE, pages, 0);
	for (;;) {
		why = vcpu_run(v);
		if (why == KVM_EXIT_IO && v->run->io.direction == KVM_EXIT_IO_IN) {
			memset((uint8_t *)v->run + v->run->io.data_offset, 7, v->run->io.count);
			continue;
		}
		if (why != KVM_EXIT_DIRTY_RING_FULL)
			break;
		n = harvest(&r, times, pages);
		ASSERT_GT(n, r.size / 4);
		ASSERT_LE(n, r.size);
		sum += n;
		ASSERT_EQ(ioctl(vm->fd, KVM_RESET_DIRTY_RINGS, 0), n);
	}
	ASSERT_EQ(why, KVM_EXIT_IO);
	ASSERT_EQ(v->run->io.port, GUEST_DONE);
	EXPECT_EQ(harvest(&idle, times, pages), 0);
	sum += harvest(&r, times, pages);
	for (i = 0; i < pages; i++) {
		ASSERT_EQ(*(uint32_t *)(m + i * PAGE), 0x07070707);
		ASSERT_GE(times[i], 1) {
			TH_LOG("page %u of %u, told of %u", i, pages, sum);
		}
	}
	vm_free(vm);
	free(times);
}

/*
 * A ring becomes full between two runs of the guest as well: a CPU with a page-modification log
 * (512 pages) tells of what was written when the vCPU is left, and the next run may write as much.
 */
TEST(a_ring_that_is_full_before_the_guest_runs)
{
	static const uint32_t parts[] = { 447, 511, 600 };
	struct vm *vm = vm_new(4 * MIB, 0);
	struct ring r = { .size = small_ring(vm) };
	uint32_t pages = 447 + 511 + 600, at = 0, i, n;
	uint8_t *m = map(pages * PAGE), *times = calloc(pages, 1);
	struct vcpu *v;
	int why;

	if (!r.size)
		SKIP(return, "no dirty rings");
	v = walker(vm, &r);
	ASSERT_NE(v, NULL);
	vm_slot(vm, 1, BIG_GPA, pages * PAGE, m, 0);
	/* mapped, so that there is no exit on the way later */
	start(v, BIG_GPA, PAGE, pages, 0);
	ASSERT_TRUE(vcpu_run_done(v));
	vm_slot(vm, 1, BIG_GPA, pages * PAGE, m, KVM_MEM_LOG_DIRTY_PAGES);
	for (i = 0; i < sizeof(parts) / sizeof(*parts); at += parts[i++]) {
		start(v, BIG_GPA + at * PAGE, PAGE, parts[i], 1);
		while ((why = vcpu_run(v)) == KVM_EXIT_DIRTY_RING_FULL) {
			n = harvest(&r, times, pages);
			ASSERT_LE(n, r.size);
			ASSERT_EQ(ioctl(vm->fd, KVM_RESET_DIRTY_RINGS, 0), n);
		}
		ASSERT_EQ(why, KVM_EXIT_IO);
	}
	harvest(&r, times, pages);
	for (i = 0; i < pages; i++) {
		ASSERT_EQ(*(uint64_t *)(m + i * PAGE), 1);
		ASSERT_GE(times[i], 1) {
			TH_LOG("page %u", i);
		}
	}
	vm_free(vm);
	free(times);
}

static volatile bool over;

static void *reset_rings(void *arg)
{
	struct vm *vm = arg;

	while (!over)
		ioctl(vm->fd, KVM_RESET_DIRTY_RINGS, 0);
	return NULL;
}

/*
 * A vCPU for which there is no descriptor is taken back: with memory that is checked
 * (KASAN) this shows who looked at it.
 */
TEST(rings_are_reset_while_no_vcpu_can_be_made)
{
	struct rlimit was, none = { 0, 0 };
	struct vm *vm = vm_new(4 * MIB, 0);
	pthread_t t;
	int i;

	if (!small_ring(vm))
		SKIP(return, "no dirty rings");
	getrlimit(RLIMIT_NOFILE, &was);
	none.rlim_max = was.rlim_max;
	over = false;
	ASSERT_EQ(pthread_create(&t, NULL, reset_rings, vm), 0);
	ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
	for (i = 0; i < 1000; i++) {
		ASSERT_EQ(ioctl(vm->fd, KVM_CREATE_VCPU, 0), -1);
		ASSERT_EQ(errno, EMFILE);
	}
	setrlimit(RLIMIT_NOFILE, &was);
	over = true;
	pthread_join(t, NULL);
	vcpu_new(vm, 0);
	vm_free(vm);
}

TEST_HARNESS_MAIN
