// SPDX-License-Identifier: GPL-2.0
// bigguest: what a guest with much memory costs, over the KVM userspace ABI.
// usage: bigguest [device [GiB [MiB]]]       prints: name <tab> value
// One slot of so many GiB, sparse, of which the guest writes so many MiB, once side by side and once spread evenly over the slot. Costs are to
// follow what is mapped or dirtied, not the slot's size: run it with 1 and with 64 GiB. Cycles of the time-stamp counter (with one tick for each
// instruction: instructions); the bitmap of a dirty log, whose size the ABI gives by the slot, is read by its own row.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/kvm.h>
#include <x86intrin.h>

#define LOW	0x400000UL		// code at 32 KiB, page tables from 64 KiB on
#define CODE	0x8000UL
#define TABLES	0x10000UL
#define BIG	0x40000000UL		// the slot, from 1 GiB on
#define GIB	(1UL << 30)

static int vm, vcpu;
static uint8_t *low, *big;
static uint64_t size;
static struct kvm_run *page;

static void die(const char *what) { fprintf(stderr, "bigguest: %s: %s\n", what, strerror(errno)); exit(1); }
static uint64_t now(void) { _mm_lfence(); return __rdtsc(); }
static void report(const char *kind, const char *name, double v) { printf("%-8s%-22s\t%.0f\n", kind, name, v); fflush(stdout); }

static long meminfo_kib(const char *name)
{
	char b[4096], *at;
	int fd = open("/proc/meminfo", O_RDONLY);
	ssize_t n = read(fd, b, sizeof b - 1);

	close(fd);
	b[n > 0 ? n : 0] = 0;
	at = strstr(b, name);
	return at ? strtol(at + strlen(name) + 1, NULL, 10) : 0;
}

static void set_slot(int slot, uint64_t gpa, void *at, uint64_t bytes, int flags)
{
	struct kvm_userspace_memory_region r = { slot, flags, gpa, bytes, (uintptr_t)at };

	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &r)) die("KVM_SET_USER_MEMORY_REGION");
}

// 64-bit code over an identity mapping of 2 MiB pages.
static void make_guest(int sys)
{
	struct { struct kvm_cpuid2 h; struct kvm_cpuid_entry2 e[128]; } c = { .h.nent = 128 };
	uint64_t *pml4 = (void *)(low + TABLES), *pdpt = pml4 + 512, *pd = pml4 + 1024, pages = (BIG + size) >> 21;
	struct kvm_segment cs = { .limit = ~0u, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1 }, ds = cs;
	struct kvm_sregs s;

	pml4[0] = (TABLES + 0x1000) | 7;
	for (uint64_t i = 0; i < (pages + 511) / 512; i++) pdpt[i] = (TABLES + 0x2000 + i * 0x1000) | 7;
	for (uint64_t i = 0; i < pages; i++) pd[i] = i << 21 | 0xe7;
	if (ioctl(sys, KVM_GET_SUPPORTED_CPUID, &c) || ioctl(vcpu, KVM_SET_CPUID2, &c)) die("KVM_SET_CPUID2");
	if (ioctl(vcpu, KVM_GET_SREGS, &s)) die("KVM_GET_SREGS");
	ds.type = 3; ds.l = 0; ds.db = 1; ds.selector = 16;
	s.cs = cs; s.ds = s.es = s.fs = s.gs = s.ss = ds;
	s.cr3 = TABLES; s.cr4 = 0x620; s.cr0 = 0x80050033; s.efer = 0x500;
	if (ioctl(vcpu, KVM_SET_SREGS, &s)) die("KVM_SET_SREGS");
}

// Writes a byte in @n pages, @step bytes apart. Cycles
static uint64_t touch(uint64_t n, uint64_t step)
{
	static const uint8_t code[] = { 0x88, 0x07, 0x48, 0x01, 0xd7, 0x48, 0xff, 0xcb, 0x75, 0xf6, 0xe6, 0x99 };
	struct kvm_regs g = { .rip = CODE, .rflags = 2, .rdi = BIG, .rdx = step, .rbx = n };	// mov [rdi], al; add rdi, rdx; dec rbx; jnz; out

	memcpy(low + CODE, code, sizeof code);
	if (ioctl(vcpu, KVM_SET_REGS, &g)) die("KVM_SET_REGS");
	uint64_t a = now();
	while (ioctl(vcpu, KVM_RUN, 0)) if (errno != EINTR) die("KVM_RUN");
	a = now() - a;
	if (page->exit_reason != KVM_EXIT_IO) { fprintf(stderr, "bigguest: exit %u\n", page->exit_reason); exit(1); }
	return a;
}

static void rows(const char *kind, uint64_t n, uint64_t step)
{
	uint64_t a, b, words = size / 4096 / 64, set = 0, *bitmap = mmap(NULL, words * 8, PROT_READ | PROT_WRITE,
									 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	struct kvm_dirty_log log = { .slot = 1, .dirty_bitmap = bitmap };
	long before = meminfo_kib("SecPageTables:");

	set_slot(1, BIG, big, size, 0);
	for (uint64_t i = 0; i < n; i++) big[i * step] = 1;		// the host's own faults are not the question
	report(kind, "fault_page", (double)touch(n, step) / n);
	report(kind, "tables_kib_per_gib", (meminfo_kib("SecPageTables:") - before) * (double)GIB / (n * 4096.0));
	a = now(); set_slot(1, BIG, big, size, KVM_MEM_LOG_DIRTY_PAGES); b = now();
	report(kind, "log_on", b - a);
	report(kind, "dirty_page", (double)touch(n, step) / n);
	a = now(); if (ioctl(vm, KVM_GET_DIRTY_LOG, &log)) die("KVM_GET_DIRTY_LOG"); b = now();
	for (uint64_t i = 0; i < words; i++) set += __builtin_popcountll(bitmap[i]);
	if (set != n) { fprintf(stderr, "bigguest: %lu pages of %lu are in the log\n", (unsigned long)set, (unsigned long)n); exit(1); }
	report(kind, "get_log", b - a);
	a = now(); if (ioctl(vm, KVM_GET_DIRTY_LOG, &log)) die("KVM_GET_DIRTY_LOG"); b = now();
	report(kind, "get_log_nothing_new", b - a);
	a = now(); if (ioctl(vm, KVM_GET_DIRTY_LOG, &log)) die("KVM_GET_DIRTY_LOG"); b = now();
	report(kind, "get_log_idle", b - a);
	a = now(); set_slot(1, BIG, big, size, 0); b = now();
	report(kind, "log_off", b - a);
	touch(n, step);
	a = now(); set_slot(1, BIG, big, 0, 0); b = now();
	report(kind, "delete_slot", b - a);
	munmap(bitmap, words * 8);
	if (madvise(big, size, MADV_DONTNEED)) die("madvise");
}

int main(int argc, char **argv)
{
	const char *dev = argc > 1 ? argv[1] : "/dev/kvm";
	int sys = open(dev, O_RDWR | O_CLOEXEC);
	uint64_t n = (argc > 3 ? strtoul(argv[3], NULL, 0) : 64) << 8;

	size = (argc > 2 ? strtoul(argv[2], NULL, 0) : 64) << 30;
	if (size < GIB || size > 256 * GIB || !n || n * 4096 > size) { fprintf(stderr, "bigguest: 1 to 256 GiB, and no more MiB than that\n"); return 2; }
	if (sys < 0) die(dev);
	vm = ioctl(sys, KVM_CREATE_VM, 0);
	if (vm < 0) die("KVM_CREATE_VM");
	ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000UL);
	low = mmap(NULL, LOW, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	big = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (low == MAP_FAILED || big == MAP_FAILED) die("mmap");
	madvise(big, size, MADV_NOHUGEPAGE);
	set_slot(0, 0, low, LOW, 0);
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu < 0) die("KVM_CREATE_VCPU");
	page = mmap(NULL, ioctl(sys, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (page == MAP_FAILED) die("mmap kvm_run");
	make_guest(sys);
	rows("dense", n, 4096);
	rows("spread", n, size / n & ~4095UL);
	return 0;
}
