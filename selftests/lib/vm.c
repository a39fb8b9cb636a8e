// SPDX-License-Identifier: GPL-2.0
/* Small VMs for tests. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vm.h"

const char *const mode_name[NR_MODES] = { "real", "protected", "32-bit paging", "PAE", "long" };

static void die(const char *what)
{
	fprintf(stderr, "# %s: %s\n", what, strerror(errno));
	printf("not ok 1 %s: %s\n", what, strerror(errno));
	exit(1);
}

const char *vm_device(void)
{
	const char *d = getenv("WAFER_DEVICE");

	return d ? d : "/dev/wafer";
}

int vm_sys(void)
{
	static int fd = -1;

	if (fd < 0)
		fd = open(vm_device(), O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		printf("1..0 # SKIP %s cannot be opened: %s\n", vm_device(), strerror(errno));
		exit(4);
	}
	return fd;
}

bool vm_is_amd(void)
{
	unsigned int a = 0, b, c, d;

	asm("cpuid" : "+a" (a), "=b" (b), "=c" (c), "=d" (d));
	return b == 0x68747541;
}

bool vm_host_is_tcg(void)
{
	unsigned int a = 0x40000000, b, c, d;

	asm("cpuid" : "+a" (a), "=b" (b), "=c" (c), "=d" (d));
	return b == 0x54474354 && c == 0x43544743;	/* "TCGTCGTCGTCG" */
}

int vm_slot_try(struct vm *vm, unsigned int slot, uint64_t gpa, uint64_t size, void *hva,
		unsigned int flags)
{
	struct kvm_userspace_memory_region r = {
		.slot = slot, .flags = flags, .guest_phys_addr = gpa, .memory_size = size,
		.userspace_addr = (uintptr_t)hva,
	};

	return ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &r) ? -errno : 0;
}

void vm_slot(struct vm *vm, unsigned int slot, uint64_t gpa, uint64_t size, void *hva,
	     unsigned int flags)
{
	int r = vm_slot_try(vm, slot, gpa, size, hva, flags);

	if (r) {
		errno = -r;
		die("KVM_SET_USER_MEMORY_REGION");
	}
}

struct vm *vm_new(size_t size, int flags)
{
	struct kvm_enable_cap split = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { 24 } };
	struct kvm_pit_config pit = { 0 };
	struct vm *vm = calloc(1, sizeof(*vm));
	uint64_t ident = 0xfffbc000;

	vm->fd = ioctl(vm_sys(), KVM_CREATE_VM, 0);
	if (vm->fd < 0)
		die("KVM_CREATE_VM");
	if (ioctl(vm->fd, KVM_SET_TSS_ADDR, 0xfffbd000ul) ||
	    ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &ident))
		die("KVM_SET_TSS_ADDR");
	if (flags & VM_IRQCHIP && ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0))
		die("KVM_CREATE_IRQCHIP");
	if (flags & VM_PIT && ioctl(vm->fd, KVM_CREATE_PIT2, &pit))
		die("KVM_CREATE_PIT2");
	if (flags & VM_SPLIT && ioctl(vm->fd, KVM_ENABLE_CAP, &split))
		die("KVM_CAP_SPLIT_IRQCHIP");
	if (flags & VM_NO_MEMORY)
		return vm;
	vm->size = size;
	vm->mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (vm->mem == MAP_FAILED)
		die("mmap");
	vm_slot(vm, 0, 0, size, vm->mem, 0);
	return vm;
}

void vm_free(struct vm *vm)
{
	size_t run_size = ioctl(vm_sys(), KVM_GET_VCPU_MMAP_SIZE, 0);
	unsigned int i;

	for (i = 0; i < vm->nr; i++) {
		munmap(vm->cpu[i].run, run_size);
		close(vm->cpu[i].fd);
	}
	close(vm->fd);
	if (vm->mem)
		munmap(vm->mem, vm->size);
	free(vm);
}

static void set_supported_cpuid(struct vcpu *v)
{
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entry[128];
	} c = { .head = { .nent = 128 } };
	unsigned int i;

	if (ioctl(vm_sys(), KVM_GET_SUPPORTED_CPUID, &c))
		die("KVM_GET_SUPPORTED_CPUID");
	for (i = 0; i < c.head.nent; i++) {
		if (c.entry[i].function != 1)
			continue;
		c.entry[i].ebx = (c.entry[i].ebx & 0xffffff) | v->id << 24;
		/* the table says nothing of what depends on the local APIC: the capability does */
		if (ioctl(vm_sys(), KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0)
			c.entry[i].ecx |= 1 << 24;
	}
	if (ioctl(v->fd, KVM_SET_CPUID2, &c))
		die("KVM_SET_CPUID2");
}

struct vcpu *vcpu_new(struct vm *vm, unsigned int id)
{
	struct vcpu *v = &vm->cpu[vm->nr++];

	v->vm = vm;
	v->id = id;
	v->fd = ioctl(vm->fd, KVM_CREATE_VCPU, (unsigned long)id);
	if (v->fd < 0)
		die("KVM_CREATE_VCPU");
	v->run = mmap(NULL, ioctl(vm_sys(), KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE,
		      MAP_SHARED, v->fd, 0);
	if (v->run == MAP_FAILED)
		die("mmap of kvm_run");
	set_supported_cpuid(v);
	return v;
}

/* Identity tables for the paging modes; built once for all CPUs of the VM. */
static uint64_t build_tables(struct vm *vm, enum mode mode)
{
	uint64_t *top = (void *)(vm->mem + GUEST_PT), *pd;
	uint32_t *pd32 = (void *)top;
	unsigned int i;

	if (mode == MODE_PAGE32) {
		for (i = 0; i < 1024; i++)
			pd32[i] = i << 22 | 0xe7;
		return GUEST_PT;
	}
	/* top: PML4 or PDPT; then a PDPT for long mode; then four page directories */
	pd = (void *)(vm->mem + GUEST_PT + 0x2000);
	for (i = 0; i < 2048; i++)
		pd[i] = (uint64_t)i << 21 | 0xe7;
	if (mode == MODE_PAE) {
		for (i = 0; i < 4; i++)
			top[i] = (GUEST_PT + 0x2000 + i * 0x1000) | 1;
		return GUEST_PT;
	}
	top[0] = (GUEST_PT + 0x1000) | 7;
	for (i = 0; i < 4; i++)
		top[512 + i] = (GUEST_PT + 0x2000 + i * 0x1000) | 7;
	return GUEST_PT;
}

static void build_gdt(struct vm *vm)
{
	/*
	 * 8: code 32, 16: data, 24: code 64, 32: code 16, 40: data 16; user
	 * 48: code 64, 56: data; 64: TSS
	 */
	static const uint64_t gdt[] = {
		0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff,
		0x00009b000000ffff, 0x000093000000ffff,
		0x00affb000000ffff, 0x00cff3000000ffff, 0x00008b0030000067, 0,
	};

	memcpy(vm->mem + GUEST_GDT, gdt, sizeof(gdt));
}

void vcpu_mode(struct vcpu *v, enum mode mode)
{
	struct kvm_segment code = {
		.limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .s = 1, .g = 1,
	}, data;
	struct kvm_regs r = { .rip = GUEST_CODE, .rflags = 2, .rsp = GUEST_STACK };
	struct kvm_sregs s;

	if (v->id)
		r.rsp = GUEST_STACK + v->id * 0x10000ul + 0x100000;
	if (ioctl(v->fd, KVM_GET_SREGS, &s))
		die("KVM_GET_SREGS");
	build_gdt(v->vm);
	s.gdt.base = GUEST_GDT;
	s.gdt.limit = 79;
	if (mode == MODE_REAL) {
		s.cs.base = s.cs.selector = 0;
	} else {
		code.db = mode != MODE_LONG;
		code.l = mode == MODE_LONG;
		if (mode == MODE_LONG)
			code.selector = 24;
		data = code;
		data.type = 3;
		data.l = 0;
		data.db = 1;
		data.selector = 16;
		s.cs = code;
		s.ds = s.es = s.fs = s.gs = s.ss = data;
		s.cr0 = 0x33;
		s.tr = (struct kvm_segment){
			.base = GUEST_TSS, .limit = 0x67, .selector = 64, .type = 11, .present = 1,
		};
	}
	s.cr4 = 0x600;
	if (mode >= MODE_PAGE32) {
		s.cr3 = build_tables(v->vm, mode);
		s.cr4 |= mode == MODE_PAGE32 ? 0x10 : 0x20;
		s.cr0 = 0x80010033;
	}
	s.efer = mode == MODE_LONG ? 0xd01 : 0;
	if (ioctl(v->fd, KVM_SET_SREGS, &s))
		die("KVM_SET_SREGS");
	vcpu_set_regs(v, &r);
}

void vm_load_bytes(struct vm *vm, uint64_t gpa, const void *code, size_t n)
{
	memcpy(vm->mem + gpa, code, n);
}

/*
 * Handlers: vector n is a stub of 16 bytes that pushes its number (and a zero where
 * the CPU pushes no error code).
 */
GUEST(catch_common, 64,
	"pop %r15\n"			/* vector */
	"pop %r14\n"			/* error code */
	"mov $0x6000, %r13d\n"
	"mov %r15, (%r13)\n"
	"mov %r14, 8(%r13)\n"
	"mov (%rsp), %r14\n"		/* RIP */
	"mov %r14, 16(%r13)\n"
	"mov %cr2, %r14\n"
	"mov %r14, 24(%r13)\n"
	"out %al, $0x99\n");

void vm_catch(struct vcpu *v)
{
	const uint32_t has_error = 1 << 8 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 |
				   1 << 17 | 1 << 21;
	const uint64_t common = GUEST_STUBS + 32 * 16;
	uint64_t *idt = (void *)(v->vm->mem + GUEST_IDT);
	struct kvm_sregs s;
	unsigned int i, n;

	vm_load_bytes(v->vm, common, catch_common, GUEST_SIZE(catch_common));
	for (i = 0; i < 32; i++) {
		uint64_t stub = GUEST_STUBS + i * 16;
		uint8_t *p = v->vm->mem + stub;
		int32_t rel;

		n = 0;
		if (!(has_error >> i & 1)) {
			p[n++] = 0x6a;		/* push 0 */
			p[n++] = 0;
		}
		p[n++] = 0x6a;			/* push vector */
		p[n++] = i;
		p[n++] = 0xe9;			/* jmp common */
		rel = common - (stub + n + 4);
		memcpy(p + n, &rel, 4);
		idt[2 * i] = (stub & 0xffff) | 24 << 16 | 0x8e00ull << 32 | (stub >> 16) << 48;
		idt[2 * i + 1] = 0;
	}
	memset(vm_caught(v->vm), 0xff, sizeof(struct guest_caught));
	if (ioctl(v->fd, KVM_GET_SREGS, &s))
		die("KVM_GET_SREGS");
	s.idt.base = GUEST_IDT;
	s.idt.limit = 0xfff;
	if (ioctl(v->fd, KVM_SET_SREGS, &s))
		die("KVM_SET_SREGS");
}

struct guest_caught *vm_caught(struct vm *vm)
{
	return (void *)(vm->mem + GUEST_CAUGHT);
}

int vcpu_run(struct vcpu *v)
{
	int r;

	do {
		r = ioctl(v->fd, KVM_RUN, 0);
	} while (r < 0 && (errno == EINTR || errno == EAGAIN));
	return r < 0 ? -errno : (int)v->run->exit_reason;
}

void vcpu_describe(struct vcpu *v)
{
	struct kvm_regs r = vcpu_regs(v);

	fprintf(stderr, "# exit %u, suberror %u, hardware reason %llx, "
		"rip %llx rflags %llx rsp %llx rax %llx rbx %llx rcx %llx rdx %llx\n",
		v->run->exit_reason,
		v->run->exit_reason == KVM_EXIT_INTERNAL_ERROR ? v->run->internal.suberror : 0,
		v->run->exit_reason == KVM_EXIT_FAIL_ENTRY ?
		v->run->fail_entry.hardware_entry_failure_reason : 0,
		r.rip, r.rflags, r.rsp, r.rax, r.rbx, r.rcx, r.rdx);
}

bool vcpu_run_done(struct vcpu *v)
{
	int r = vcpu_run(v);

	if (r == KVM_EXIT_IO && v->run->io.port == GUEST_DONE &&
	    v->run->io.direction == KVM_EXIT_IO_OUT)
		return true;
	if (r < 0)
		fprintf(stderr, "# KVM_RUN: %s\n", strerror(-r));
	vcpu_describe(v);
	return false;
}

struct kvm_regs vcpu_regs(struct vcpu *v)
{
	struct kvm_regs r;

	if (ioctl(v->fd, KVM_GET_REGS, &r))
		die("KVM_GET_REGS");
	return r;
}

void vcpu_set_regs(struct vcpu *v, const struct kvm_regs *r)
{
	if (ioctl(v->fd, KVM_SET_REGS, r))
		die("KVM_SET_REGS");
}

uint64_t vcpu_msr(struct vcpu *v, uint32_t index)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} m = { .head = { .nmsrs = 1 }, .entry = { .index = index } };

	if (ioctl(v->fd, KVM_GET_MSRS, &m) != 1)
		die("KVM_GET_MSRS");
	return m.entry.data;
}

int vcpu_set_msr(struct vcpu *v, uint32_t index, uint64_t val)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} m = { .head = { .nmsrs = 1 }, .entry = { .index = index, .data = val } };

	return ioctl(v->fd, KVM_SET_MSRS, &m);
}

struct vm *vm_quick(enum mode mode, int flags, const void *code, size_t n)
{
	struct vm *vm = vm_new(4 << 20, flags);

	vcpu_new(vm, 0);
	vcpu_mode(&vm->cpu[0], mode);
	vm_load_bytes(vm, GUEST_CODE, code, n);
	return vm;
}
