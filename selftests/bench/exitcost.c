// SPDX-License-Identifier: GPL-2.0
// exitcost: what one trip through a hypervisor costs, in TSC ticks, over the KVM userspace ABI.
// Inside an emulator that ticks once per instruction the figures are exact instruction counts.
// usage: exitcost [device [row]]       prints: name <tab> ticks per operation
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include <linux/kvm.h>
#include <x86intrin.h>

static const char *dev = "/dev/kvm", *only;
static int sys_fd;

struct vm { int vm, vcpu; struct kvm_run *run; size_t run_size; uint8_t *mem; size_t mem_size; uint8_t *big; size_t big_size; };

#define LOW_SIZE   0x200000UL
#define PT_BASE    0x10000UL     // PML4, PDPT, 4 PDs
#define CODE_BASE  0x8000UL
#define BIG_GPA    0x40000000UL  // 1 GiB
#define MMIO_GPA   0xd0000000UL

static int skip(const char *row) { return only && strcmp(only, row); }
static void die(const char *what) { fprintf(stderr, "exitcost: %s: %s\n", what, strerror(errno)); exit(1); }
static uint64_t now(void) { _mm_lfence(); return __rdtsc(); }

static void vm_open(struct vm *v, int irqchip, size_t big, int flags)
{
	memset(v, 0, sizeof(*v));
	v->vm = ioctl(sys_fd, KVM_CREATE_VM, 0);
	if (v->vm < 0) die("KVM_CREATE_VM");
	ioctl(v->vm, KVM_SET_TSS_ADDR, 0xfffbd000UL);
	uint64_t ident = 0xfffbc000UL; ioctl(v->vm, KVM_SET_IDENTITY_MAP_ADDR, &ident);
	if (irqchip && ioctl(v->vm, KVM_CREATE_IRQCHIP, 0) < 0) die("KVM_CREATE_IRQCHIP");
	v->mem_size = LOW_SIZE;
	v->mem = mmap(NULL, LOW_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	struct kvm_userspace_memory_region r = { .slot = 0, .guest_phys_addr = 0, .memory_size = LOW_SIZE, .userspace_addr = (uintptr_t)v->mem };
	if (ioctl(v->vm, KVM_SET_USER_MEMORY_REGION, &r) < 0) die("KVM_SET_USER_MEMORY_REGION");
	if (big) {
		// align to 2 MiB so that large pages are possible
		uint8_t *p = mmap(NULL, big + 0x200000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		v->big = (uint8_t *)(((uintptr_t)p + 0x1fffff) & ~0x1fffffUL);
		v->big_size = big;
		madvise(v->big, big, flags & 1 ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
		if (flags & 2) for (size_t i = 0; i < big; i += 4096) v->big[i] = 1;
		struct kvm_userspace_memory_region b = { .slot = 1, .guest_phys_addr = BIG_GPA, .memory_size = big, .userspace_addr = (uintptr_t)v->big,
			.flags = flags & 4 ? KVM_MEM_LOG_DIRTY_PAGES : 0 };
		if (ioctl(v->vm, KVM_SET_USER_MEMORY_REGION, &b) < 0) die("KVM_SET_USER_MEMORY_REGION big");
	}
	v->vcpu = ioctl(v->vm, KVM_CREATE_VCPU, 0);
	if (v->vcpu < 0) die("KVM_CREATE_VCPU");
	v->run_size = ioctl(sys_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	v->run = mmap(NULL, v->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->vcpu, 0);
	if (v->run == MAP_FAILED) die("mmap kvm_run");
	struct { struct kvm_cpuid2 h; struct kvm_cpuid_entry2 e[128]; } c; c.h.nent = 128;
	if (ioctl(sys_fd, KVM_GET_SUPPORTED_CPUID, &c) < 0) die("KVM_GET_SUPPORTED_CPUID");
	if (ioctl(v->vcpu, KVM_SET_CPUID2, &c) < 0) die("KVM_SET_CPUID2");
	// identity page tables: 4 GiB of 2 MiB pages
	uint64_t *pml4 = (void *)(v->mem + PT_BASE), *pdpt = pml4 + 512, *pd = pml4 + 1024;
	pml4[0] = (PT_BASE + 0x1000) | 7;
	for (int i = 0; i < 4; i++) pdpt[i] = (PT_BASE + 0x2000 + i * 0x1000) | 7;
	for (int i = 0; i < 2048; i++) pd[i] = ((uint64_t)i << 21) | 0xe7;
	struct kvm_sregs s;
	if (ioctl(v->vcpu, KVM_GET_SREGS, &s) < 0) die("KVM_GET_SREGS");
	s.cr3 = PT_BASE; s.cr4 = 0x20 | 0x600; s.cr0 = 0x80050033; s.efer = 0x500;
	struct kvm_segment cs = { .base = 0, .limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1 }, ds = cs;
	ds.type = 3; ds.l = 0; ds.db = 1; ds.selector = 16;
	s.cs = cs; s.ds = s.es = s.fs = s.gs = s.ss = ds;
	if (ioctl(v->vcpu, KVM_SET_SREGS, &s) < 0) die("KVM_SET_SREGS");
}
static void vm_close(struct vm *v)
{
	munmap(v->run, v->run_size); close(v->vcpu); close(v->vm);
	munmap(v->mem, v->mem_size); if (v->big) munmap(v->big, v->big_size);
}
static void load(struct vm *v, const void *code, size_t n, uint64_t rcx, uint64_t rdi)
{
	memcpy(v->mem + CODE_BASE, code, n);
	struct kvm_regs g = { .rip = CODE_BASE, .rflags = 2, .rsp = 0x7000, .rcx = rcx, .rdi = rdi, .rbx = rcx };
	if (ioctl(v->vcpu, KVM_SET_REGS, &g) < 0) die("KVM_SET_REGS");
}
static int run(struct vm *v)
{
	int r; do r = ioctl(v->vcpu, KVM_RUN, 0); while (r < 0 && errno == EINTR);
	if (r < 0) die("KVM_RUN");
	return v->run->exit_reason;
}
static void expect(struct vm *v, int reason, const char *name)
{
	int got = run(v);
	if (got != reason) { fprintf(stderr, "exitcost: %s: exit %d, expected %d (suberror %u)\n", name, got, reason, v->run->internal.suberror); exit(1); }
}
static void report(const char *name, double v) { printf("%-22s\t%.0f\n", name, v); fflush(stdout); }

#define N 2000
// loop: <op>; dec rbx; jnz; then hlt-less end: out 0x99,al
static void in_kernel(const char *name, const uint8_t *op, int oplen, int irqchip)
{
	if (skip(name)) return;
	struct vm v; vm_open(&v, irqchip, 0, 0);
	uint8_t code[64]; int n = 0;
	memcpy(code, op, oplen); n = oplen;
	memcpy(code + n, (uint8_t[]){ 0x48, 0xff, 0xcb }, 3); n += 3;           // dec rbx
	code[n++] = 0x75; code[n] = (uint8_t)(-(n + 1)); n++;                   // jnz 0
	memcpy(code + n, (uint8_t[]){ 0xe6, 0x99 }, 2); n += 2;                 // out 0x99, al
	uint64_t t[2];
	for (int pass = 0; pass < 3; pass++) for (int k = 0; k < 2; k++) {
		load(&v, code, n, k ? N + 1 : 1, 0);
		uint64_t a = now(); expect(&v, KVM_EXIT_IO, name); t[k] = now() - a;
	}
	report(name, (double)(t[1] - t[0]) / N);
	vm_close(&v);
}
static void to_user(const char *name, const uint8_t *op, int oplen, int reason, int irqchip)
{
	if (skip(name)) return;
	struct vm v; vm_open(&v, irqchip, 0, 0);
	uint8_t code[64]; memcpy(code, op, oplen); code[oplen] = 0xeb; code[oplen + 1] = (uint8_t)(-(oplen + 2));
	load(&v, code, oplen + 2, 0, MMIO_GPA);
	for (int i = 0; i < 64; i++) expect(&v, reason, name);
	uint64_t a = now(); for (int i = 0; i < N; i++) run(&v); report(name, (double)(now() - a) / N);
	vm_close(&v);
}
static void touch(const char *name, size_t step, size_t size, int flags)
{
	if (skip(name)) return;
	struct vm v; vm_open(&v, 0, size, flags);
	uint8_t code[] = { 0x88, 0x07,                                     // mov [rdi], al
		0x48, 0x81, 0xc7, step, step >> 8, step >> 16, step >> 24,        // add rdi, step
		0x48, 0xff, 0xcb, 0x75, 0xf2, 0xe6, 0x99 };                       // dec rbx; jnz; out
	size_t n = size / step;
	load(&v, code, sizeof code, n, BIG_GPA);
	uint64_t a = now(); expect(&v, KVM_EXIT_IO, name); report(name, (double)(now() - a) / n);
	vm_close(&v);
}
static void dirty(void)
{
	if (skip("dirty_fault_4k")) return;
	size_t size = 8 << 20, n = size / 4096; struct vm v; vm_open(&v, 0, size, 2 | 4);
	uint8_t code[] = { 0x88, 0x07, 0x48, 0x81, 0xc7, 0, 0x10, 0, 0, 0x48, 0xff, 0xcb, 0x75, 0xf2, 0xe6, 0x99 };
	uint64_t *bm = calloc(1, n / 8); struct kvm_dirty_log l = { .slot = 1, .dirty_bitmap = bm };
	load(&v, code, sizeof code, n, BIG_GPA); expect(&v, KVM_EXIT_IO, "dirty");
	uint64_t a = now(); if (ioctl(v.vm, KVM_GET_DIRTY_LOG, &l) < 0) die("KVM_GET_DIRTY_LOG"); uint64_t b = now();
	size_t set = 0; for (size_t i = 0; i < n / 64; i++) set += __builtin_popcountll(bm[i]);
	if (set != n) { fprintf(stderr, "exitcost: dirty log: %zu of %zu pages\n", set, n); exit(1); }
	report("dirty_log_page", (double)(b - a) / n);
	load(&v, code, sizeof code, n, BIG_GPA);
	a = now(); expect(&v, KVM_EXIT_IO, "dirty"); report("dirty_fault_4k", (double)(now() - a) / n);
	vm_close(&v); free(bm);
}
static void ioeventfd(void)
{
	if (skip("ioeventfd_mmio")) return;
	struct vm v; vm_open(&v, 1, 0, 0); int e = eventfd(0, EFD_NONBLOCK);
	struct kvm_ioeventfd i = { .addr = MMIO_GPA, .len = 4, .fd = e };
	if (ioctl(v.vm, KVM_IOEVENTFD, &i) < 0) { printf("ioeventfd_mmio\t-\n"); vm_close(&v); return; }
	uint8_t code[] = { 0x89, 0x07, 0x48, 0xff, 0xcb, 0x75, 0xf9, 0xe6, 0x99 }; uint64_t t[2];
	for (int p = 0; p < 2; p++) for (int k = 0; k < 2; k++) { load(&v, code, sizeof code, k ? N + 1 : 1, MMIO_GPA); uint64_t a = now(); expect(&v, KVM_EXIT_IO, "ioeventfd"); t[k] = now() - a; }
	report("ioeventfd_mmio", (double)(t[1] - t[0]) / N); vm_close(&v);
}
static long sleeps(void) { struct rusage u; getrusage(RUSAGE_THREAD, &u); return u.ru_nvcsw; }
// The least of 12 rounds, and how often the thread went to sleep in all of them: waiting is not work.
static void create(void)
{
	if (skip("create_vm")) return;
	uint64_t least[3] = { -1, -1, -1 }; long slept[3] = { 0 };
	for (int i = 0; i < 12; i++) {
		uint64_t t[4]; long s[4]; int vm, vc;
		s[0] = sleeps(); t[0] = now(); vm = ioctl(sys_fd, KVM_CREATE_VM, 0); t[1] = now();
		s[1] = sleeps(); uint64_t x = now(); vc = ioctl(vm, KVM_CREATE_VCPU, 0); t[2] = now() - (x - t[1]);
		s[2] = sleeps(); x = now(); close(vc); close(vm); t[3] = now() - (x - t[2]);
		s[3] = sleeps();
		for (int k = 0; k < 3; k++) { uint64_t d = t[k + 1] - t[k]; if (d < least[k]) least[k] = d; slept[k] += s[k + 1] - s[k]; }
	}
	const char *n[3] = { "create_vm", "create_vcpu", "destroy_vm" };
	for (int k = 0; k < 3; k++) { char b[40]; report(n[k], least[k]); snprintf(b, sizeof b, "%s_sleeps", n[k]); report(b, slept[k] / 12.0); }
}
int main(int argc, char **argv)
{
	if (argc > 1) dev = argv[1];
	if (argc > 2) only = argv[2];
	sys_fd = open(dev, O_RDWR | O_CLOEXEC); if (sys_fd < 0) die(dev);
	int amd = 0; { unsigned a = 0, b, c, d; __asm__("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d)); amd = b == 0x68747541; }
	in_kernel("guest_loop", (uint8_t[]){ 0 }, 0, 0);
	in_kernel("cpuid_exit", (uint8_t[]){ 0x53, 0x31, 0xc0, 0x0f, 0xa2, 0x5b }, 6, 0);
	if (amd) in_kernel("hypercall_exit", (uint8_t[]){ 0x31, 0xc0, 0x0f, 0x01, 0xd9 }, 5, 0);
	else in_kernel("hypercall_exit", (uint8_t[]){ 0x31, 0xc0, 0x0f, 0x01, 0xc1 }, 5, 0);
	in_kernel("rdmsr_exit", (uint8_t[]){ 0xb9, 0xa0, 0x01, 0, 0, 0x0f, 0x32 }, 7, 0); // IA32_MISC_ENABLE
	in_kernel("apic_write_exit", (uint8_t[]){ 0xbf, 0x80, 0, 0xe0, 0xfe, 0x31, 0xc0, 0x89, 0x07 }, 9, 1);  // TPR <- 0
	in_kernel("apic_read_exit", (uint8_t[]){ 0xbf, 0x90, 0x03, 0xe0, 0xfe, 0x8b, 0x07 }, 7, 1);               // current timer count
	to_user("pio_out_user", (uint8_t[]){ 0xe6, 0x10 }, 2, KVM_EXIT_IO, 0);
	to_user("pio_in_user", (uint8_t[]){ 0xe4, 0x10 }, 2, KVM_EXIT_IO, 0);
	to_user("mmio_write_user", (uint8_t[]){ 0x89, 0x07 }, 2, KVM_EXIT_MMIO, 0);
	to_user("mmio_read_user", (uint8_t[]){ 0x8b, 0x07 }, 2, KVM_EXIT_MMIO, 0);
	to_user("pio_out_user_chip", (uint8_t[]){ 0xe6, 0x10 }, 2, KVM_EXIT_IO, 1);
	to_user("mmio_write_user_chip", (uint8_t[]){ 0x89, 0x07 }, 2, KVM_EXIT_MMIO, 1);
	touch("fault_4k_present", 4096, 16 << 20, 2);
	touch("fault_4k_strided", 128 << 10, 128 << 20, 2);
	touch("fault_4k_cold", 4096, 16 << 20, 0);
	touch("fault_2m_present", 2 << 20, 64 << 20, 3);
	touch("warm_4k_of_2m", 4096, 16 << 20, 3);
	dirty(); ioeventfd(); create();
	return 0;
}
