// SPDX-License-Identifier: GPL-2.0
/*
 * Guest memory of every kind that the host has: huge pages, files,
 * devices, poisoned, secret, on demand.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "vm.h"

#ifndef MADV_HWPOISON
#define MADV_HWPOISON 100
#endif
#ifndef __NR_memfd_secret
#define __NR_memfd_secret 447
#endif

#define BIG_GPA 0x40000000ul
#define MIB (1ul << 20)
#define PAGE 4096ul

/* RDI: address, RSI: step, RCX: count, RAX: what to add to each quadword. RBX: their sum before. */
GUEST(walk, 64, "xor %ebx, %ebx\n1: add (%rdi), %rbx\n add %rax, (%rdi)\n"
		"add %rsi, %rdi\n dec %rcx\n jnz 1b\n" DONE);
GUEST(reads, 64, "xor %ebx, %ebx\n1: add (%rdi), %rbx\n add %rsi, %rdi\n dec %rcx\n jnz 1b\n" DONE);
/*
 * Exits that are finished by skipping the instruction, over and over: where
 * it is, its bytes are looked at.
 */
GUEST(exits, 64, "mov $100, %esi\n1: mov $0x40000000, %eax\n cpuid\n dec %esi\n jnz 1b\n" DONE);

FIXTURE(mem) { struct vm *vm; struct vcpu *v; };

FIXTURE_SETUP(mem)
{
	self->vm = vm_new(4 * MIB, 0);
	self->v = vcpu_new(self->vm, 0);
	vcpu_mode(self->v, MODE_LONG);
}

FIXTURE_TEARDOWN(mem)
{
	vm_free(self->vm);
}

static void start(struct vcpu *v, uint64_t rip, uint64_t gpa, uint64_t step, uint64_t count,
		  uint64_t add)
{
	struct kvm_regs r = {
		.rip = rip, .rflags = 2, .rsp = GUEST_STACK,
		.rdi = gpa, .rsi = step, .rcx = count, .rax = add,
	};

	vcpu_set_regs(v, &r);
}

static void write_file(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY);

	if (fd >= 0 && write(fd, text, strlen(text)) < 0)
		fd = fd;	/* the test finds out */
	close(fd);
}

TEST_F(mem, hugetlb)
{
	size_t size = 4 * MIB, i;
	uint8_t *m;

	write_file("/proc/sys/vm/nr_hugepages", "4");
	m = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB,
		 -1, 0);
	if (m == MAP_FAILED)
		SKIP(return, "no huge pages to be had");
	vm_load(self->vm, walk);
	vm_slot(self->vm, 1, BIG_GPA, size, m, 0);
	m[5 * PAGE] = 9;
	start(self->v, GUEST_CODE, BIG_GPA, PAGE, size / PAGE, 3);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_EQ(vcpu_regs(self->v).rbx, 9);
	for (i = 0; i < size; i += PAGE)
		ASSERT_EQ(*(uint64_t *)(m + i), 3 + (i == 5 * PAGE ? 9 : 0));
	/* Taken back while it is mapped. */
	ASSERT_EQ(madvise(m, 2 * MIB, MADV_DONTNEED), 0);
	start(self->v, GUEST_CODE, BIG_GPA, PAGE, size / PAGE, 1);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_EQ(*(uint64_t *)m, 1);
	EXPECT_EQ(*(uint64_t *)(m + 2 * MIB), 4);
	munmap(m, size);
	write_file("/proc/sys/vm/nr_hugepages", "0");
}

TEST_F(mem, a_file_and_its_end)
{
	char name[] = "/tmp/wafer-XXXXXX";
	int fd = mkstemp(name);
	uint64_t got = 0;
	uint8_t *m;

	ASSERT_GE(fd, 0);
	unlink(name);
	ASSERT_EQ(ftruncate(fd, MIB), 0);
	m = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(m, MAP_FAILED);
	vm_load(self->vm, walk);
	vm_slot(self->vm, 1, BIG_GPA, MIB, m, 0);
	start(self->v, GUEST_CODE, BIG_GPA, PAGE, MIB / PAGE, 7);
	ASSERT_TRUE(vcpu_run_done(self->v));
	ASSERT_EQ(pread(fd, &got, 8, 17 * PAGE), 8);
	EXPECT_EQ(got, 7);
	/* What has been written back is seen again when it is written again. */
	ASSERT_EQ(fsync(fd), 0);
	start(self->v, GUEST_CODE, BIG_GPA, PAGE, MIB / PAGE, 1);
	ASSERT_TRUE(vcpu_run_done(self->v));
	ASSERT_EQ(pread(fd, &got, 8, 17 * PAGE), 8);
	EXPECT_EQ(got, 8);
	ASSERT_EQ(ftruncate(fd, MIB / 2), 0);
	start(self->v, GUEST_CODE, BIG_GPA, PAGE, MIB / PAGE, 1);
	EXPECT_EQ(vcpu_run(self->v), -EFAULT);
	EXPECT_EQ(vcpu_regs(self->v).rdi, BIG_GPA + MIB / 2);
	munmap(m, MIB);
	close(fd);
}

TEST_F(mem, memory_of_a_device)
{
	int fd = open("/dev/mem", O_RDONLY), i;
	uint64_t sum = 0;
	uint8_t *m;

	if (fd < 0)
		SKIP(return, "no /dev/mem");
	/* The firmware: mapped by frame number, without page structures. */
	m = mmap(NULL, 0x10000, PROT_READ, MAP_SHARED, fd, 0xf0000);
	if (m == MAP_FAILED)
		SKIP(return, "/dev/mem does not map the firmware");
	for (i = 0; i < 0x10000; i += 8)
		sum += *(uint64_t *)(m + i);
	vm_load(self->vm, reads);
	vm_slot(self->vm, 1, BIG_GPA, 0x10000, m, 0);
	start(self->v, GUEST_CODE, BIG_GPA, 8, 0x10000 / 8, 0);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_EQ(vcpu_regs(self->v).rbx, sum);
	munmap(m, 0x10000);
	start(self->v, GUEST_CODE, BIG_GPA, 8, 1, 0);
	EXPECT_EQ(vcpu_run(self->v), -EFAULT);
	close(fd);
}

static volatile void *poisoned_at;
static volatile int poisoned_code;

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	poisoned_at = info->si_addr;
	poisoned_code = info->si_code;
}

TEST_F(mem, a_poisoned_page)
{
	struct sigaction sa = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };
	uint8_t *m = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(m, MAP_FAILED);
	madvise(m, MIB, MADV_NOHUGEPAGE);
	vm_load(self->vm, walk);
	vm_slot(self->vm, 1, BIG_GPA, MIB, m, 0);
	start(self->v, GUEST_CODE, BIG_GPA, PAGE, MIB / PAGE, 1);
	ASSERT_TRUE(vcpu_run_done(self->v));
	sigaction(SIGBUS, &sa, NULL);
	if (madvise(m + 3 * PAGE, PAGE, MADV_HWPOISON))
		SKIP(return, "the host can not poison memory");
	poisoned_at = NULL;
	start(self->v, GUEST_CODE, BIG_GPA, PAGE, MIB / PAGE, 1);
	EXPECT_EQ(ioctl(self->v->fd, KVM_RUN, 0), -1);
	EXPECT_EQ(poisoned_at, m + 3 * PAGE);
	EXPECT_EQ(poisoned_code, BUS_MCEERR_AR);
	EXPECT_EQ(vcpu_regs(self->v).rdi, BIG_GPA + 3 * PAGE);
	/* The VMM puts another page there and the guest goes on. */
	ASSERT_EQ(mmap(m + 3 * PAGE, PAGE, PROT_READ | PROT_WRITE,
		       MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), m + 3 * PAGE);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_EQ(*(uint64_t *)(m + 3 * PAGE), 1);
	EXPECT_EQ(*(uint64_t *)(m + 4 * PAGE), 2);
	signal(SIGBUS, SIG_DFL);
}

/* Memory that the kernel itself can not reach in its map of all memory. */
TEST_F(mem, secret)
{
	int fd = syscall(__NR_memfd_secret, 0), i;
	uint8_t *m;

	if (fd < 0)
		SKIP(return, "no memfd_secret()");
	ASSERT_EQ(ftruncate(fd, 16 * PAGE), 0);
	m = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(m, MAP_FAILED);
	memcpy(m, exits, GUEST_SIZE(exits));
	vm_slot(self->vm, 1, BIG_GPA, 16 * PAGE, m, 0);
	/* KVM refuses such memory; whoever takes it must be able to work with it. */
	for (i = 0; i < 3; i++) {
		int r;

		start(self->v, BIG_GPA, 0, 0, 0, 0);
		r = vcpu_run(self->v);
		if (r == -EFAULT)
			break;
		ASSERT_EQ(r, KVM_EXIT_IO);
		EXPECT_EQ(self->v->run->io.port, GUEST_DONE);
	}
	munmap(m, 16 * PAGE);
	close(fd);
}

struct server { int fd; uint8_t *mem; size_t size; };

/* Answers each fault with a page that holds its own number. */
static void *serve(void *arg)
{
	struct server *s = arg;
	static uint64_t page[PAGE / 8];
	struct uffd_msg msg;

	while (read(s->fd, &msg, sizeof(msg)) == sizeof(msg)) {
		uint64_t at = msg.arg.pagefault.address & ~(PAGE - 1);
		struct uffdio_copy copy = { .dst = at, .src = (uintptr_t)page, .len = PAGE };

		page[0] = (at - (uintptr_t)s->mem) / PAGE;
		ioctl(s->fd, UFFDIO_COPY, &copy);
	}
	return NULL;
}

TEST_F(mem, pages_on_demand)
{
	uint8_t *m = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_register reg = {
		.range = { (uintptr_t)m, MIB }, .mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	struct server s = { .fd = syscall(__NR_userfaultfd, O_CLOEXEC), .mem = m, .size = MIB };
	struct uffdio_api api = { .api = UFFD_API };
	pthread_t t;

	if (s.fd < 0 || ioctl(s.fd, UFFDIO_API, &api) || ioctl(s.fd, UFFDIO_REGISTER, &reg))
		SKIP(return, "no userfaultfd");
	ASSERT_EQ(pthread_create(&t, NULL, serve, &s), 0);
	vm_load(self->vm, walk);
	vm_slot(self->vm, 1, BIG_GPA, MIB, m, 0);
	start(self->v, GUEST_CODE, BIG_GPA, PAGE, MIB / PAGE, 5);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_EQ(vcpu_regs(self->v).rbx, (MIB / PAGE) * (MIB / PAGE - 1) / 2);
	EXPECT_EQ(*(uint64_t *)(m + 7 * PAGE), 12);
	pthread_cancel(t);
	pthread_join(t, NULL);
	close(s.fd);
}

TEST_F(mem, memory_that_moves)
{
	uint8_t *m = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *to;

	vm_load(self->vm, walk);
	vm_slot(self->vm, 1, BIG_GPA, MIB, m, 0);
	start(self->v, GUEST_CODE, BIG_GPA, PAGE, MIB / PAGE, 5);
	ASSERT_TRUE(vcpu_run_done(self->v));
	to = mmap(NULL, MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_EQ(mremap(m, MIB, MIB, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	start(self->v, GUEST_CODE, BIG_GPA, PAGE, 1, 5);
	EXPECT_EQ(vcpu_run(self->v), -EFAULT);
	EXPECT_EQ(*(uint64_t *)to, 5);
	/* And back: the slot is an address, not pages. */
	ASSERT_EQ(mremap(to, MIB, MIB, MREMAP_MAYMOVE | MREMAP_FIXED, m), m);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_EQ(*(uint64_t *)m, 10);
}

/* How many pages its nested tables take; 0 where that is not told. */
static uint64_t table_pages(struct vm *vm)
{
	int fd = ioctl(vm->fd, KVM_GET_STATS_FD, NULL);
	struct kvm_stats_header h;
	uint64_t n = 0;

	if (!strstr(vm_device(), "wafer"))
		n = 0;	/* KVM has other counters */
	else if (pread(fd, &h, sizeof(h), 0) != sizeof(h) || pread(fd, &n, 8, h.data_offset) != 8)
		n = ~0ull;
	close(fd);
	return n;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/*
 * The host is short of memory: tables of a VM that does not run go, those of one that does stay.
 * Its memory and what has been written of it are as they were.
 */
TEST_F(mem, tables_of_an_idle_vm)
{
	size_t size = 16 * MIB, n = size / PAGE, i;
	uint64_t log[16 * MIB / PAGE / 64], before, after;
	struct kvm_dirty_log l = { .slot = 1, .dirty_bitmap = log };
	uint8_t *m = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	double t;

	ASSERT_NE(m, MAP_FAILED);
	vm_load(self->vm, walk);
	vm_slot(self->vm, 1, BIG_GPA, size, m, KVM_MEM_LOG_DIRTY_PAGES);
	start(self->v, GUEST_CODE, BIG_GPA, PAGE, n, 3);
	ASSERT_TRUE(vcpu_run_done(self->v));
	ASSERT_EQ(ioctl(self->vm->fd, KVM_GET_DIRTY_LOG, &l), 0);
	for (i = 0; i < n / 64; i++)
		ASSERT_EQ(log[i], ~0ull);
	/* Every second page: known to the entries alone. */
	start(self->v, GUEST_CODE, BIG_GPA, 2 * PAGE, n / 2, 4);
	t = seconds();
	ASSERT_TRUE(vcpu_run_done(self->v));
	before = table_pages(self->vm);
	write_file("/proc/sys/vm/drop_caches", "2");
	after = table_pages(self->vm);
	if (seconds() - t < 1.5)	/* else it has not run for a while */
		EXPECT_EQ(after, before);
	if (before) {
		EXPECT_GE(before, size / (2 * MIB));
		usleep(2500000);
		write_file("/proc/sys/vm/drop_caches", "2");
		EXPECT_EQ(table_pages(self->vm), 1);
	}
	ASSERT_EQ(ioctl(self->vm->fd, KVM_GET_DIRTY_LOG, &l), 0);
	for (i = 0; i < n / 64; i++)
		ASSERT_EQ(log[i], 0x5555555555555555);
	start(self->v, GUEST_CODE, BIG_GPA, PAGE, n, 1);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_EQ(vcpu_regs(self->v).rbx, 3 * n + 4 * n / 2);
	for (i = 0; i < n; i++)
		ASSERT_EQ(*(uint64_t *)(m + i * PAGE), i % 2 ? 4 : 8);
	ASSERT_EQ(ioctl(self->vm->fd, KVM_GET_DIRTY_LOG, &l), 0);
	for (i = 0; i < n / 64; i++)
		ASSERT_EQ(log[i], ~0ull);
	munmap(m, size);
}

TEST_HARNESS_MAIN
