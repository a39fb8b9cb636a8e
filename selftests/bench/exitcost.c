// SPDX-License-Identifier: GPL-2.0
// exitcost: what one trip through a hypervisor costs, in TSC ticks, over the KVM userspace ABI.
// Inside an emulator that ticks once per instruction the figures are exact instruction counts.
// usage: exitcost [device [row]]       prints: name <tab> ticks per operation
//        exitcost --verify [device [row]]      prints TAP: has each row done what it should (verify.h)?
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>
#include <linux/kvm.h>
#include <x86intrin.h>

static const char *dev = "/dev/kvm", *only;
static int sys_fd, verifying;

struct vm { int vm, vcpu; struct kvm_run *run; size_t run_size; uint8_t *mem; size_t mem_size; uint8_t *big; size_t big_size; };

#define LOW_SIZE   0x200000UL
#define PT_BASE    0x10000UL     // PML4, PDPT, 4 PDs
#define CODE_BASE  0x8000UL
#define BIG_GPA    0x40000000UL  // 1 GiB
#define MMIO_GPA   0xd0000000UL
#define RING       4096          // entries of a dirty ring

static int skip(const char *row) { return only && strcmp(only, row); }
static void die(const char *what) { fprintf(stderr, "exitcost: %s: %s\n", what, strerror(errno)); exit(1); }
#ifdef COUNTS
// In place of the clock, with the module of make COUNT=1: how often it has done what $EXITCOST_COUNT names, as vmread.
static uint64_t now(void)
{
	static const char *const name[] = { "vmread", "vmwrite", "vmptrld", "vmclear", "vmload", "vmsave", "gif", "rdmsr", "wrmsr", "fpu", "xsetbv",
		"wrpkru", "cr", "dr", "invept", "invvpid", "ipi", "atomic", "lock" };                       // as in count/count.h
	static int fd = -1, at; char b[1024], *p = b;
	if (fd < 0) {
		fd = open("/sys/module/wafer/parameters/wafer_counts", O_RDONLY | O_CLOEXEC);
		while (strcmp(getenv("EXITCOST_COUNT"), name[at])) at++;
	}
	ssize_t n = pread(fd, b, sizeof b - 1, 0); if (n <= 0) die("wafer_counts");
	b[n] = 0;
	for (int i = 0; i < at; i++) p = strchr(p, ',') + 1;
	return strtoull(p, NULL, 10);
}
#define DIGITS 2
#else
static uint64_t now(void) { _mm_lfence(); return __rdtsc(); }
#define DIGITS 0
#endif

// The end of a row of our own that failed, or of the program.
static jmp_buf next_row;
static int going_on;
static void stop(void) { if (going_on) longjmp(next_row, 1); exit(1); }

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
	if (flags & 8) {
		struct kvm_enable_cap c = { .cap = KVM_CAP_DIRTY_LOG_RING, .args[0] = RING * sizeof(struct kvm_dirty_gfn) };
		if (ioctl(v->vm, KVM_ENABLE_CAP, &c) < 0) die("KVM_CAP_DIRTY_LOG_RING");
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
	if (got != reason) { fprintf(stderr, "exitcost: %s: exit %d, expected %d (suberror %u)\n", name, got, reason, v->run->internal.suberror); stop(); }
}
static void report(const char *name, double v) { if (verifying) return; printf("%-22s\t%.*f\n", name, DIGITS, v); fflush(stdout); }

// What a row has done is looked at when its figure has been taken (verify.h).
#define VERIFY(row, call) do { if (verifying) { call; row_verified(row); } } while (0)
static void row_verified(const char *row);
static void check_in_kernel(struct vm *v, const char *row);
static void check_to_user(struct vm *v, const char *row);
static void check_touch(struct vm *v, const char *row);
static void check_dirty(struct vm *v, const char *row);
static void check_ioeventfd(struct vm *v, const char *row, int fd);
static void check_create(const char *row);

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
	VERIFY(name, check_in_kernel(&v, name));
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
	VERIFY(name, check_to_user(&v, name));
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
	VERIFY(name, check_touch(&v, name));
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
	VERIFY("dirty_fault_4k", check_dirty(&v, "dirty_fault_4k"));
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
	report("ioeventfd_mmio", (double)(t[1] - t[0]) / N);
	VERIFY("ioeventfd_mmio", check_ioeventfd(&v, "ioeventfd_mmio", e)); vm_close(&v); close(e);
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
	VERIFY("create_vm", check_create("create_vm"));
}
// ---- the rows below are this project's own ----

#define GDT_BASE   0x1000UL
#define IDT_BASE   0x2000UL
#define HANDLER    0x3000UL      // of every interrupt: counts, ends it at the local APIC, returns
#define TAKEN      0x4000UL      // how many were taken
#define DATA_BASE  0x100000UL
#define X2APIC(reg) (0x800 + (reg) / 16)
#define APIC_SVR   0xf0
#define APIC_LVTT  0x320
#define APIC_TDCR  0x3e0
#define TIMER_NS   100000u       // the bus clock of KVM's local APIC is 1 GHz

static void nothing(int sig) { (void)sig; }
static int skip_both(const char *a, const char *b) { return skip(a) && skip(b); }
static void must(const char *name, int good, const char *what)
{
	if (!good) { fprintf(stderr, "exitcost: %s: %s\n", name, what); stop(); }
}
static void call(int fd, unsigned long nr, void *arg, const char *what) { if (ioctl(fd, nr, arg) < 0) die(what); }
static uint64_t *taken(struct vm *v) { return (uint64_t *)(v->mem + TAKEN); }
static void sleep_row(const char *name, double slept)
{
	char b[40];
	snprintf(b, sizeof b, "%s_sleeps", name);
	report(b, slept);
}

// A VM whose guest can take interrupts, with its local APIC on, as an xAPIC or an x2APIC.
static void irq_open(struct vm *v, int x2apic)
{
	static const uint8_t in_xapic[] = { 0x57, 0x50, 0x48, 0xff, 0x04, 0x25, 0, 0x40, 0, 0,                // push rdi, rax; inc [TAKEN]
		0xbf, 0xb0, 0, 0xe0, 0xfe, 0x31, 0xc0, 0x89, 0x07, 0x58, 0x5f, 0x48, 0xcf };                  // EOI <- 0; pop; iretq
	static const uint8_t in_x2apic[] = { 0x50, 0x51, 0x52, 0x48, 0xff, 0x04, 0x25, 0, 0x40, 0, 0,         // push rax, rcx, rdx; inc [TAKEN]
		0xb9, 0x0b, 0x08, 0, 0, 0x31, 0xc0, 0x31, 0xd2, 0x0f, 0x30, 0x5a, 0x59, 0x58, 0x48, 0xcf };   // WRMSR EOI; pop; iretq
	vm_open(v, 1, 0, 0);
	uint64_t *gdt = (void *)(v->mem + GDT_BASE);
	gdt[1] = 0x00af9b000000ffff; gdt[2] = 0x00cf93000000ffff;
	struct { uint16_t low, selector, kind, middle; uint32_t high, zero; } *idt = (void *)(v->mem + IDT_BASE);
	for (int i = 32; i < 256; i++) { idt[i].low = HANDLER; idt[i].selector = 8; idt[i].kind = 0x8e00; }
	if (x2apic) memcpy(v->mem + HANDLER, in_x2apic, sizeof in_x2apic);
	else memcpy(v->mem + HANDLER, in_xapic, sizeof in_xapic);
	struct kvm_sregs s;
	call(v->vcpu, KVM_GET_SREGS, &s, "KVM_GET_SREGS");
	s.gdt.base = GDT_BASE; s.gdt.limit = 23; s.idt.base = IDT_BASE; s.idt.limit = 4095;
	s.apic_base |= x2apic ? 0xc00 : 0x800;
	call(v->vcpu, KVM_SET_SREGS, &s, "KVM_SET_SREGS");
	struct kvm_lapic_state l;
	call(v->vcpu, KVM_GET_LAPIC, &l, "KVM_GET_LAPIC");
	*(uint32_t *)(l.regs + APIC_SVR) = 0x1ff;
	*(uint32_t *)(l.regs + APIC_LVTT) = 0x50;        // one shot, vector 0x50
	*(uint32_t *)(l.regs + APIC_TDCR) = 0xb;         // not divided
	call(v->vcpu, KVM_SET_LAPIC, &l, "KVM_SET_LAPIC");
}

// What one <op> in the guest takes: as in_kernel(), in a VM that is there.
static double loop(struct vm *v, const char *name, const uint8_t *op, int oplen, int times, uint64_t rdi)
{
	uint8_t code[128]; int n = oplen;
	memcpy(code, op, oplen);
	memcpy(code + n, (uint8_t[]){ 0x48, 0xff, 0xcb }, 3); n += 3;           // dec rbx
	code[n++] = 0x75; code[n] = (uint8_t)(-(n + 1)); n++;                   // jnz 0
	memcpy(code + n, (uint8_t[]){ 0xe6, 0x99 }, 2); n += 2;                 // out 0x99, al
	uint64_t t[2];
	for (int pass = 0; pass < 3; pass++) for (int k = 0; k < 2; k++) {
		*taken(v) = 0;
		load(v, code, n, k ? times + 1 : 1, rdi);
		uint64_t a = now(); expect(v, KVM_EXIT_IO, name); t[k] = now() - a;
	}
	return (double)(t[1] - t[0]) / times;
}
static void signal_fd(int fd) { if (eventfd_write(fd, 1)) die("write to an eventfd"); }
static uint64_t discard(void *p, size_t n) { uint64_t a = now(); if (madvise(p, n, MADV_DONTNEED)) die("madvise"); return now() - a; }
#include "verify.h"

static void apic_rows(void)
{
	static const struct { const char *name; int x2apic, taken, len; uint8_t op[24]; } row[] = {
		{ "eoi_write", 0, 0, 9, { 0xbf, 0xb0, 0, 0xe0, 0xfe, 0x31, 0xc0, 0x89, 0x07 } },
		{ "eoi_write_x2apic", 1, 0, 11, { 0xb9, 0x0b, 0x08, 0, 0, 0x31, 0xc0, 0x31, 0xd2, 0x0f, 0x30 } },
		// x2APIC: vector 0x40 to an id that nobody has; to itself, taken and ended
		{ "icr_write", 1, 0, 17, { 0xb9, 0x30, 0x08, 0, 0, 0xb8, 0x40, 0, 0, 0, 0xba, 0x7f, 0, 0, 0, 0x0f, 0x30 } },
		{ "self_ipi_taken", 1, 1, 16, { 0xfb, 0xb9, 0x30, 0x08, 0, 0, 0xb8, 0x40, 0, 4, 0, 0x31, 0xd2, 0x0f, 0x30, 0x90 } },
	};
	for (unsigned i = 0; i < sizeof row / sizeof *row; i++) {
		if (skip(row[i].name)) continue;
		struct vm v; irq_open(&v, row[i].x2apic);
		report(row[i].name, loop(&v, row[i].name, row[i].op, row[i].len, N, 0));
		must(row[i].name, *taken(&v) == (row[i].taken ? N + 1 : 0), "interrupts lost, or too many");
		VERIFY(row[i].name, check_apic(&v, row[i].name));
		vm_close(&v);
	}
}
// The guest arms its timer and spins till it has been interrupted. What the spinning takes is idle time, and told apart.
static void timer(void)
{
	if (skip("timer_irq")) return;
	uint8_t op[] = { 0xfb, 0xb9, 0x38, 0x08, 0, 0, 0xb8, TIMER_NS & 0xff, TIMER_NS >> 8 & 0xff, TIMER_NS >> 16, 0, 0x31, 0xd2,
		0x48, 0x8b, 0x34, 0x25, 0, 0x40, 0, 0, 0x0f, 0x30,                         // mov rsi, [TAKEN]; wrmsr
		0x49, 0xff, 0xc0, 0x48, 0x3b, 0x34, 0x25, 0, 0x40, 0, 0, 0x74, 0xf3 };     // 1: inc r8; cmp rsi, [TAKEN]; je 1b
	int times = 500; struct vm v; irq_open(&v, 1);
	long s = sleeps(); double all = loop(&v, "timer_irq", op, sizeof op, times, 0); s = sleeps() - s;
	must("timer_irq", *taken(&v) == (uint64_t)times + 1, "interrupts lost, or too many");
	struct kvm_regs g; call(v.vcpu, KVM_GET_REGS, &g, "KVM_GET_REGS");
	double idle = 3.0 * g.r8 / (times + 1);
	report("timer_irq", all - idle); report("timer_irq_idle", idle); sleep_row("timer_irq", s / 3.0 / times);
	VERIFY("timer_irq", check_timer(&v, "timer_irq"));
	vm_close(&v);
}
static int msi_fd(struct vm *v)
{
	struct { struct kvm_irq_routing r; struct kvm_irq_routing_entry e; } t = { .r.nr = 1,
		.e = { .gsi = 24, .type = KVM_IRQ_ROUTING_MSI, .u.msi = { .address_lo = 0xfee00000, .data = 0x60 } } };
	call(v->vm, KVM_SET_GSI_ROUTING, &t, "KVM_SET_GSI_ROUTING");
	struct kvm_irqfd i = { .fd = eventfd(0, EFD_NONBLOCK), .gsi = 24 };
	call(v->vm, KVM_IRQFD, &i, "KVM_IRQFD");
	return i.fd;
}
// The VMM's write alone, with the vCPU not running; then write, run, interrupt, EOI, and out again.
static void irqfd(void)
{
	if (skip_both("irqfd_msi", "irqfd_msi_taken")) return;
	struct vm v; irq_open(&v, 1); int fd = msi_fd(&v);
	uint8_t code[] = { 0xfb, 0xe6, 0x10, 0xeb, 0xfb };                         // 1: sti; out 0x10, al; jmp 1b
	load(&v, code, sizeof code, 0, 0);
	for (int i = 0; i < 64; i++) { signal_fd(fd); expect(&v, KVM_EXIT_IO, "irqfd_msi"); }
	uint64_t a = now(); for (int i = 0; i < N; i++) signal_fd(fd);
	report("irqfd_msi", (double)(now() - a) / N);
	expect(&v, KVM_EXIT_IO, "irqfd_msi"); *taken(&v) = 0;
	a = now(); for (int i = 0; i < N; i++) { signal_fd(fd); run(&v); }
	report("irqfd_msi_taken", (double)(now() - a) / N);
	must("irqfd_msi_taken", *taken(&v) == N, "interrupts lost, or too many");
	VERIFY("irqfd_msi_taken", check_irqfd(&v, "irqfd_msi_taken", fd));
	close(fd); vm_close(&v);
}
static void *vcpu_thread(void *arg)
{
	struct vm *v = arg;
	while (ioctl(v->vcpu, KVM_RUN, 0) == 0) ;
	return NULL;
}
// The guest halts; a second thread wakes it by MSI, and is told by ioeventfd. With one CPU somebody always runs: no idle time.
static void halt(void)
{
	if (skip("hlt_wake")) return;
	struct vm v; irq_open(&v, 1); int fd = msi_fd(&v), told = eventfd(0, 0);
	struct kvm_ioeventfd i = { .addr = MMIO_GPA, .len = 4, .fd = told };
	call(v.vm, KVM_IOEVENTFD, &i, "KVM_IOEVENTFD");
	uint8_t code[] = { 0x89, 0x07, 0xfb, 0xf4, 0xfa, 0xeb, 0xf9 };             // 1: mov [rdi], eax; sti; hlt; cli; jmp 1b
	load(&v, code, sizeof code, 0, MMIO_GPA);
	struct sigaction sa = { .sa_handler = nothing }; sigaction(SIGUSR1, &sa, NULL);
	pthread_t t; eventfd_t x; struct rusage u[2]; uint64_t a = 0;
	if (pthread_create(&t, NULL, vcpu_thread, &v)) die("pthread_create");
	eventfd_read(told, &x);
	for (int k = -64; k < N; k++) {
		if (!k) { getrusage(RUSAGE_SELF, &u[0]); a = now(); }
		signal_fd(fd); eventfd_read(told, &x);
	}
	report("hlt_wake", (double)(now() - a) / N); getrusage(RUSAGE_SELF, &u[1]);
	sleep_row("hlt_wake", (double)(u[1].ru_nvcsw - u[0].ru_nvcsw) / N);
	must("hlt_wake", *taken(&v) == N + 64, "interrupts lost, or too many");
	v.run->immediate_exit = 1; pthread_kill(t, SIGUSR1); pthread_join(t, NULL);
	VERIFY("hlt_wake", check_halt(&v, "hlt_wake"));
	close(fd); close(told); vm_close(&v);
}
// REP OUTSB and REP INSB of a page, per byte; what arrives is looked at outside the time that counts.
static void strings(void)
{
	for (int in = 0; in < 2; in++) {
		const char *name = in ? "pio_ins_byte" : "pio_outs_byte";
		if (skip(name)) continue;
		struct vm v; vm_open(&v, 0, 0, 0); uint8_t *data = v.mem + DATA_BASE, *got = calloc(1, 4096); uint64_t t = 0; size_t at = 0;
		uint8_t code[] = { 0xba, 0x10, 0, 0, 0, 0xb9, 0, 0x10, 0, 0, 0xf3, in ? 0x6c : 0x6e, 0xe6, 0x99 };
		for (int i = 0; i < 4096; i++) data[i] = in ? 0 : i * 7;
		load(&v, code, sizeof code, 0, DATA_BASE);
		struct kvm_regs g; call(v.vcpu, KVM_GET_REGS, &g, "KVM_GET_REGS");
		g.rsi = DATA_BASE; call(v.vcpu, KVM_SET_REGS, &g, "KVM_SET_REGS");
		for (;;) {
			uint64_t a = now(); expect(&v, KVM_EXIT_IO, name); t += now() - a;
			if (v.run->io.port == 0x99) break;
			uint8_t *p = (uint8_t *)v.run + v.run->io.data_offset; size_t n = v.run->io.count * v.run->io.size;
			must(name, at + n <= 4096, "too many bytes");
			for (size_t i = 0; i < n; i++, at++) { if (in) p[i] = at * 7; else got[at] = p[i]; }
		}
		if (in) memcpy(got, data, 4096);
		for (int i = 0; i < 4096; i++) must(name, got[i] == (uint8_t)(i * 7), "another byte came");
		must(name, at == 4096, "bytes are missing");
		report(name, t / 4096.0); free(got);
		VERIFY(name, check_string(&v, name, in)); vm_close(&v);
	}
}
static void coalesced(void)
{
	if (skip("coalesced_write")) return;
	struct vm v; vm_open(&v, 1, 0, 0); int page = ioctl(sys_fd, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO), n = 64; // KVM has room for 85 from 0 on
	must("coalesced_write", page > 0, "no KVM_CAP_COALESCED_MMIO");
	struct kvm_coalesced_mmio_zone z = { .addr = MMIO_GPA, .size = 4096 };
	call(v.vm, KVM_REGISTER_COALESCED_MMIO, &z, "KVM_REGISTER_COALESCED_MMIO");
	struct kvm_coalesced_mmio_ring *r = (void *)((uint8_t *)v.run + page * 4096);
	uint8_t code[] = { 0x89, 0x1f, 0x48, 0xff, 0xcb, 0x75, 0xf9, 0xe6, 0x99 }; // mov [rdi], ebx; dec rbx; jnz; out
	uint64_t t[2];
	for (int pass = 0; pass < 3; pass++) for (int k = 0; k < 2; k++) {
		r->first = r->last = 0;
		load(&v, code, sizeof code, k ? n + 1 : 1, MMIO_GPA);
		uint64_t a = now(); expect(&v, KVM_EXIT_IO, "coalesced_write"); t[k] = now() - a;
	}
	must("coalesced_write", r->last == n + 1u && r->coalesced_mmio[0].data[0] == n + 1 && r->coalesced_mmio[n].data[0] == 1, "wrong ring");
	report("coalesced_write", (double)(t[1] - t[0]) / n);
	VERIFY("coalesced_write", check_coalesced(&v, "coalesced_write", r, n + 1)); vm_close(&v);
}
// One thread runs two vCPUs in turn: pio_out_user, and what changing over costs.
static void two_vcpus(void)
{
	if (skip("vcpu_switch")) return;
	struct vm v; vm_open(&v, 0, 0, 0); struct vm w = v; struct kvm_sregs s; uint8_t code[] = { 0xe6, 0x10, 0xeb, 0xfc };
	struct { struct kvm_cpuid2 h; struct kvm_cpuid_entry2 e[128]; } c; c.h.nent = 128;
	w.vcpu = ioctl(v.vm, KVM_CREATE_VCPU, 1); if (w.vcpu < 0) die("KVM_CREATE_VCPU");
	w.run = mmap(NULL, v.run_size, PROT_READ | PROT_WRITE, MAP_SHARED, w.vcpu, 0); if (w.run == MAP_FAILED) die("mmap kvm_run");
	call(sys_fd, KVM_GET_SUPPORTED_CPUID, &c, "KVM_GET_SUPPORTED_CPUID"); call(w.vcpu, KVM_SET_CPUID2, &c, "KVM_SET_CPUID2");
	call(v.vcpu, KVM_GET_SREGS, &s, "KVM_GET_SREGS"); call(w.vcpu, KVM_SET_SREGS, &s, "KVM_SET_SREGS");
	load(&v, code, sizeof code, 0, 0); load(&w, code, sizeof code, 0, 0);
	for (int i = 0; i < 64; i++) { expect(&v, KVM_EXIT_IO, "vcpu_switch"); expect(&w, KVM_EXIT_IO, "vcpu_switch"); }
	uint64_t a = now(); for (int i = 0; i < N / 2; i++) { run(&v); run(&w); } report("vcpu_switch", (double)(now() - a) / N);
	VERIFY("vcpu_switch", check_two(&v, &w, "vcpu_switch"));
	munmap(w.run, w.run_size); close(w.vcpu); vm_close(&v);
}
// A slot of 4 GiB of which nothing is mapped; the least of 12 rounds.
static void slots(void)
{
	if (skip_both("slot_create_4g", "slot_delete_4g")) return;
	struct vm v; vm_open(&v, 0, 0, 0); size_t size = 4UL << 30; uint64_t least[2] = { -1, -1 }; long slept[2] = { 0 };
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) die("mmap 4 GiB");
	struct kvm_userspace_memory_region r = { .slot = 7, .guest_phys_addr = 4UL << 30, .userspace_addr = (uintptr_t)p };
	for (int i = 0; i < 24; i++) {
		r.memory_size = i & 1 ? 0 : size;
		long s = sleeps(); uint64_t a = now(); call(v.vm, KVM_SET_USER_MEMORY_REGION, &r, "KVM_SET_USER_MEMORY_REGION");
		a = now() - a; slept[i & 1] += sleeps() - s; if (a < least[i & 1]) least[i & 1] = a;
	}
	report("slot_create_4g", least[0]); sleep_row("slot_create_4g", slept[0] / 12.0);
	report("slot_delete_4g", least[1]); sleep_row("slot_delete_4g", slept[1] / 12.0);
	VERIFY("slot_delete_4g", check_slots(&v, "slot_delete_4g", p));
	munmap(p, size); vm_close(&v);
}
// 1 GiB of guest memory given back by madvise: with nothing mapped, and per page with 16 MiB mapped. And what the host takes alone.
static void invalidate(void)
{
	if (skip_both("madvise_1g_empty", "madvise_1g_page")) return;
	size_t size = 1UL << 30, n = 4096; struct vm v; vm_open(&v, 0, size, 0); uint64_t least[3] = { -1, -1, -1 };
	uint8_t code[] = { 0x88, 0x07, 0x48, 0x81, 0xc7, 0, 0x10, 0, 0, 0x48, 0xff, 0xcb, 0x75, 0xf2, 0xe6, 0x99 };
	uint8_t *alone = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (alone == MAP_FAILED) die("mmap 1 GiB");
	madvise(alone, size, MADV_NOHUGEPAGE);
	for (int i = 0; i < 4; i++) {
		for (size_t k = 0; k < n; k++) alone[k * 4096] = 1;
		load(&v, code, sizeof code, n, BIG_GPA); v.big[0] = 0; expect(&v, KVM_EXIT_IO, "madvise_1g_page");
		uint64_t t[3] = { discard(v.big, size), discard(v.big, size), discard(alone, size) };
		for (int k = 0; k < 3; k++) if (t[k] < least[k]) least[k] = t[k];
		must("madvise_1g_page", v.big[0] == 0, "not given back");
	}
	report("madvise_1g_empty", least[1]); report("madvise_1g_page", (double)(least[0] - least[1]) / n);
	report("host_madvise_1g_page", (double)least[2] / n);
	VERIFY("madvise_1g_page", check_invalidate(&v, "madvise_1g_page"));
	munmap(alone, size); vm_close(&v);
}
// What a VMM saves of a vCPU, and the same put back: nine calls each.
static void whole_state(void)
{
	if (skip_both("get_state", "set_state")) return;
	static const uint32_t msr[] = { 0x10, 0x174, 0x175, 0x176, 0x1a0, 0x277, 0x2ff, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084,
		0xc0000102, 0x4b564d00, 0x4b564d01 };
	enum { MSRS = sizeof msr / sizeof *msr };
	static struct { struct kvm_regs g, g2; struct kvm_sregs s, s2; struct kvm_xsave x; struct kvm_xcrs c; struct kvm_debugregs d; struct kvm_vcpu_events e;
		struct kvm_mp_state m; struct kvm_lapic_state l; struct { struct kvm_msrs h; struct kvm_msr_entry e[MSRS]; } r; } z;
	struct vm v; irq_open(&v, 0); uint64_t t[2] = { 0 }; int rounds = 64;
	uint8_t code[] = { 0xe6, 0x10, 0xeb, 0xfc }; load(&v, code, sizeof code, 0x1234, 0x5678); expect(&v, KVM_EXIT_IO, "get_state");
	z.r.h.nmsrs = MSRS; for (int i = 0; i < MSRS; i++) z.r.e[i].index = msr[i];
	struct { unsigned long get, set; void *p; const char *name; } c[] = { { KVM_GET_REGS, KVM_SET_REGS, &z.g, "REGS" }, { KVM_GET_SREGS, KVM_SET_SREGS, &z.s, "SREGS" },
		{ KVM_GET_XCRS, KVM_SET_XCRS, &z.c, "XCRS" }, { KVM_GET_XSAVE, KVM_SET_XSAVE, &z.x, "XSAVE" },
		{ KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, &z.d, "DEBUGREGS" }, { KVM_GET_MP_STATE, KVM_SET_MP_STATE, &z.m, "MP_STATE" },
		{ KVM_GET_LAPIC, KVM_SET_LAPIC, &z.l, "LAPIC" }, { KVM_GET_MSRS, KVM_SET_MSRS, &z.r, "MSRS" },
		{ KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, &z.e, "VCPU_EVENTS" } };
	for (int i = -4; i < rounds; i++) for (int set = 0; set < 2; set++) {
		uint64_t a = now();
		for (unsigned k = 0; k < sizeof c / sizeof *c; k++) call(v.vcpu, set ? c[k].set : c[k].get, c[k].p, c[k].name);
		if (i >= 0) t[set] += now() - a;
	}
	call(v.vcpu, KVM_GET_REGS, &z.g2, "KVM_GET_REGS"); call(v.vcpu, KVM_GET_SREGS, &z.s2, "KVM_GET_SREGS");
	must("set_state", !memcmp(&z.g, &z.g2, sizeof z.g) && !memcmp(&z.s, &z.s2, sizeof z.s) && z.g.rcx == 0x1234, "another state came back");
	report("get_state", (double)t[0] / rounds); report("set_state", (double)t[1] / rounds);
	VERIFY("set_state", check_state(&v, "set_state")); vm_close(&v);
}
static void dirty_ring(void)
{
	if (skip_both("ring_fault_4k", "ring_reset_page")) return;
	size_t size = 8 << 20, n = size / 4096; struct vm v; vm_open(&v, 0, size, 2 | 4 | 8);
	uint8_t code[] = { 0x88, 0x07, 0x48, 0x81, 0xc7, 0, 0x10, 0, 0, 0x48, 0xff, 0xcb, 0x75, 0xf2, 0xe6, 0x99 };
	volatile struct kvm_dirty_gfn *ring = mmap(NULL, RING * sizeof *ring, PROT_READ | PROT_WRITE, MAP_SHARED, v.vcpu, KVM_DIRTY_LOG_PAGE_OFFSET * 4096);
	if (ring == MAP_FAILED) die("mmap of the dirty ring");
	uint64_t fault = 0, reset = 0; size_t at = 0;
	for (int i = 0; i < 2; i++) {
		load(&v, code, sizeof code, n, BIG_GPA);
		uint64_t a = now(); expect(&v, KVM_EXIT_IO, "ring_fault_4k"); fault = now() - a;
		size_t k = 0; uint8_t seen[2048] = { 0 };
		for (; k < RING && ring[at % RING].flags & KVM_DIRTY_GFN_F_DIRTY; k++, at++) {
			if ((ring[at % RING].slot & 0xffff) == 1 && ring[at % RING].offset < n) seen[ring[at % RING].offset]++;
			ring[at % RING].flags = KVM_DIRTY_GFN_F_RESET;
		}
		for (size_t p = 0; p < n; p++) must("ring_fault_4k", seen[p] == 1, "a page is not in the ring once");
		must("ring_fault_4k", k == n, "other pages are in the ring");
		a = now(); int r = ioctl(v.vm, KVM_RESET_DIRTY_RINGS, 0); reset = now() - a;
		must("ring_reset_page", r == (int)n, "not all were reset");
	}
	report("ring_fault_4k", (double)fault / n); report("ring_reset_page", (double)reset / n);
	VERIFY("ring_reset_page", check_ring(&v, "ring_reset_page", ring, at));
	munmap((void *)ring, RING * sizeof *ring); vm_close(&v);
}
// The floor of fault_4k_cold: what the host's own page fault takes.
static void host_fault(void)
{
	if (skip("host_fault")) return;
	size_t size = 16 << 20; uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) die("mmap");
	madvise(p, size, MADV_NOHUGEPAGE);
	uint64_t a = now(); for (size_t i = 0; i < size; i += 4096) ((volatile uint8_t *)p)[i] = 1;
	report("host_fault", (double)(now() - a) / (size / 4096)); munmap(p, size);
}
// ---- rows that need several CPUs: what all of them do together, in an emulator that runs them in turn on one clock ----

#define SPINS(cpu) (0x5000UL + 64 * (cpu))   // turns of the loop in which a vCPU waits: three instructions each, no work
#define PER_VCPU   1024                      // faults

static int cpus(void) { return sysconf(_SC_NPROCESSORS_ONLN); }
static void pin(int cpu) { cpu_set_t set; CPU_ZERO(&set); CPU_SET(cpu, &set); if (sched_setaffinity(0, sizeof set, &set)) die("sched_setaffinity"); }
static void unpin(void) { cpu_set_t set; CPU_ZERO(&set); for (int i = 0; i < cpus(); i++) CPU_SET(i, &set); if (sched_setaffinity(0, sizeof set, &set)) die("sched_setaffinity"); }
// One more vCPU, as the first one is.
static struct vm another(struct vm *v, int id)
{
	struct vm w = *v; struct kvm_sregs s; struct kvm_mp_state m = { KVM_MP_STATE_RUNNABLE };
	struct { struct kvm_cpuid2 h; struct kvm_cpuid_entry2 e[128]; } c; c.h.nent = 128;
	w.vcpu = ioctl(v->vm, KVM_CREATE_VCPU, id); if (w.vcpu < 0) die("KVM_CREATE_VCPU");
	w.run = mmap(NULL, v->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, w.vcpu, 0); if (w.run == MAP_FAILED) die("mmap kvm_run");
	call(sys_fd, KVM_GET_SUPPORTED_CPUID, &c, "KVM_GET_SUPPORTED_CPUID"); call(w.vcpu, KVM_SET_CPUID2, &c, "KVM_SET_CPUID2");
	call(v->vcpu, KVM_GET_SREGS, &s, "KVM_GET_SREGS"); s.apic_base &= ~0x100ull; call(w.vcpu, KVM_SET_SREGS, &s, "KVM_SET_SREGS");
	ioctl(w.vcpu, KVM_SET_MP_STATE, &m);         // refused where there are no chips, and not needed
	return w;
}
static void gone(struct vm *w) { munmap(w->run, w->run_size); close(w->vcpu); }
struct runner { struct vm v; int cpu, result; pthread_t thread; pthread_barrier_t *start; };
static void *runner(void *arg)
{
	struct runner *r = arg;
	pin(r->cpu);
	if (r->start) pthread_barrier_wait(r->start);
	do r->result = ioctl(r->v.vcpu, KVM_RUN, 0); while (r->result < 0 && errno == EINTR);
	return NULL;
}
// Two vCPUs on two CPUs, both in the guest, send each other an interrupt in turn: from WRMSR of the ICR to the other one's IRETQ.
static void ipi(void)
{
	if (skip("ipi_taken") || cpus() < 2) return;
	static const uint8_t tail[] = { 0x48, 0xff, 0xcb, 0x75, 0, 0xe6, 0x99 };                             // dec rbx; jnz; out
	int rounds[2] = { 1, 401 }; uint64_t t[2];
	for (int k = 0; k < 2; k++) {
		struct vm v; irq_open(&v, 1);
		struct runner b = { .v = another(&v, 1), .cpu = 1 };
		struct kvm_lapic_state l; call(b.v.vcpu, KVM_GET_LAPIC, &l, "KVM_GET_LAPIC");
		*(uint32_t *)(l.regs + APIC_SVR) = 0x1ff; call(b.v.vcpu, KVM_SET_LAPIC, &l, "KVM_SET_LAPIC");
		for (int id = 0; id < 2; id++) {
			uint8_t send[] = { 0xb9, 0x30, 0x08, 0, 0, 0xb8, 0x40, 0, 0, 0, 0xba, !id, 0, 0, 0, 0x0f, 0x30 };     // vector 0x40 to the other one
			uint8_t wait[] = { 0x48, 0xff, 0x04, 0x25, SPINS(id) & 0xff, SPINS(id) >> 8, 0, 0,                    // 1: inc [SPINS]
				0x48, 0x3b, 0x34, 0x25, 0, 0x40, 0, 0, 0x75, 0xee, 0x48, 0x83, 0xc6, 2 };                     // cmp rsi, [TAKEN]; jne 1b; add rsi, 2
			uint8_t *at = v.mem + CODE_BASE + id * 256, *p = at;
			if (!id) p = (uint8_t *)memcpy(p, send, sizeof send) + sizeof send;
			p = (uint8_t *)memcpy(p, wait, sizeof wait) + sizeof wait;
			if (id) p = (uint8_t *)memcpy(p, send, sizeof send) + sizeof send;
			memcpy(p, tail, sizeof tail); p[4] = at - (p + 5);
			struct kvm_regs g = { .rip = CODE_BASE + id * 256, .rflags = 0x202, .rsp = 0x7000 - id * 0x800, .rbx = rounds[k], .rsi = 2 - id };
			call(id ? b.v.vcpu : v.vcpu, KVM_SET_REGS, &g, "KVM_SET_REGS");
		}
		volatile uint64_t *spins[2] = { (void *)(v.mem + SPINS(0)), (void *)(v.mem + SPINS(1)) };
		pin(0);
		if (pthread_create(&b.thread, NULL, runner, &b)) die("pthread_create");
		while (!*spins[1]) ;
		uint64_t was = *spins[1], a = now(); expect(&v, KVM_EXIT_IO, "ipi_taken"); a = now() - a;
		t[k] = a - 3 * (*spins[0] + *spins[1] - was);
		pthread_join(b.thread, NULL); unpin();
		must("ipi_taken", *taken(&v) == 2u * rounds[k] && !b.result && b.v.run->exit_reason == KVM_EXIT_IO, "interrupts lost, or too many");
		if (verifying && k) { const char *row = "ipi_taken"; settle(&v); settle(&b.v); SAME(regs_of(&v).rsi, 2 + 2 * rounds[k]); SAME(regs_of(&b.v).rsi, 1 + 2 * rounds[k]); }
		gone(&b.v); vm_close(&v);
	}
	report("ipi_taken", (double)(t[1] - t[0]) / (2 * (rounds[1] - rounds[0])));
	VERIFY("ipi_taken", (void)0);
}
// pio_out_user on another CPU each time; what the thread's own move takes is taken away.
static void migrate(void)
{
	if (skip("vcpu_migrate") || cpus() < 2) return;
	struct vm v; vm_open(&v, 0, 0, 0); uint8_t code[] = { 0xe6, 0x10, 0x48, 0xff, 0xc0, 0xeb, 0xf9 }; int n = 400; uint64_t t[2];   // 1: out 0x10, al; inc rax; jmp 1b
	load(&v, code, sizeof code, 0, 0);
	for (int with = 0; with < 2; with++) {
		for (int i = 0; i < 16; i++) { pin(i & 1); if (with) run(&v); }
		uint64_t a = now(); for (int i = 0; i < n; i++) { pin(i & 1); if (with) run(&v); }
		t[with] = now() - a;
	}
	unpin();
	report("vcpu_migrate", ((double)t[1] - t[0]) / n); report("host_migrate", (double)t[0] / n);
	if (verifying) { const char *row = "vcpu_migrate"; settle(&v); SAME(regs_of(&v).rax, n + 15); SAME(regs_of(&v).rip, CODE_BASE + 2); }
	VERIFY("vcpu_migrate", (void)0);
	vm_close(&v);
}
// As fault_4k_strided, by 1, 2 and 4 vCPUs at once, each in a part of its own.
static void parallel(void)
{
	static const char *const name[] = { "fault_parallel_1", "fault_parallel_2", "fault_parallel_4" };
	for (int r = 0; r < 3; r++) {
		int n = 1 << r, faults[2] = { 64, PER_VCPU }; uint64_t t[2]; size_t step = 64 << 10;
		if (skip(name[r]) || cpus() < n || cpus() < 2) continue;
		for (int k = 0; k < 2; k++) {
			struct vm v; vm_open(&v, 0, n * step * PER_VCPU, 2); struct runner x[4]; pthread_barrier_t start; pthread_barrier_init(&start, NULL, n);
			uint8_t code[] = { 0x88, 0x07, 0x48, 0x81, 0xc7, step, step >> 8, step >> 16, step >> 24, 0x48, 0xff, 0xcb, 0x75, 0xf2, 0xe6, 0x99 };
			for (int i = 0; i < n; i++) {
				x[i] = (struct runner){ .v = i ? another(&v, i) : v, .cpu = i, .start = &start };
				load(&x[i].v, code, sizeof code, faults[k], BIG_GPA + i * step * PER_VCPU);
				if (i && pthread_create(&x[i].thread, NULL, runner, &x[i])) die("pthread_create");
			}
			pin(0); pthread_barrier_wait(&start);
			uint64_t a = now(); expect(&v, KVM_EXIT_IO, name[r]);
			for (int i = 1; i < n; i++) pthread_join(x[i].thread, NULL);
			t[k] = now() - a; unpin();
			for (int i = 1; i < n; i++) must(name[r], !x[i].result && x[i].v.run->exit_reason == KVM_EXIT_IO, "a vCPU came to another end");
			for (size_t i = 0; i < v.big_size; i += 4096)
				must(name[r], v.big[i] == (i % step != 0 || i / step % PER_VCPU >= (size_t)faults[k]), "a page that was written is not, or one that was not is");
			for (int i = 1; i < n; i++) gone(&x[i].v);
			pthread_barrier_destroy(&start); vm_close(&v);
		}
		report(name[r], (double)(t[1] - t[0]) / (n * (faults[1] - faults[0])));
		VERIFY(name[r], (void)0);
	}
}
int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "--verify")) { verifying = 1; argc--; argv++; puts("TAP version 13"); }
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
	static void (*const own[])(void) = { apic_rows, timer, irqfd, halt, strings, coalesced, two_vcpus, slots, invalidate, whole_state, dirty_ring, host_fault,
		ipi, migrate, parallel };
	static volatile int failed, i;
	for (going_on = 1; i < (int)(sizeof own / sizeof *own); i++) { if (setjmp(next_row)) failed = 1; else own[i](); }
	if (verifying) printf("1..%d\n", verified);
	return failed | faulty;
}
