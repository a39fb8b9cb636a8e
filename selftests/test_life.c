// SPDX-License-Identifier: GPL-2.0
/*
 * VMs that begin and end: VMMs that are killed, descriptors in any order,
 * CPUs that go and come, suspend.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/membarrier.h>

#include "kselftest_harness.h"
#include "vm.h"

#define MIB	(1ul << 20)
#define VECTOR	0x3a
#define HANDLER	0x5000ul
#define COUNT(vm) (*(volatile uint64_t *)((vm)->mem + GUEST_DATA))
#define STOP(vm) (*(volatile uint8_t *)((vm)->mem + GUEST_DATA + 8))

/*
 * Counts at GUEST_DATA until the byte after it is set. Like all guests here that run for long it
 * does so with IF set: one without makes Bochs deaf to the host's interrupts
 * (Documentation/emulator-bugs.md).
 */
GUEST(count_up, 64, "sti\n 1: lock incq 0x100000\n cmpb $0, 0x100008\n je 1b\n" DONE);

struct runner {
	struct vcpu *v;
	pthread_t thread;
	volatile bool ended;
	bool ok;
	int ret, err;
};

static void *run_to_done(void *arg)
{
	struct runner *r = arg;

	r->ok = vcpu_run_done(r->v);
	r->ended = true;
	return NULL;
}

static void start(struct runner *r, struct vcpu *v)
{
	*r = (struct runner){ .v = v };
	pthread_create(&r->thread, NULL, run_to_done, r);
}

static bool stop(struct runner *r)
{
	STOP(r->v->vm) = 1;
	pthread_join(r->thread, NULL);
	return r->ok;
}

static bool goes_on(struct vm *vm)
{
	uint64_t was = COUNT(vm);
	int i;

	for (i = 0; i < 5000 && COUNT(vm) < was + 3; i++)
		usleep(2000);
	return COUNT(vm) >= was + 3;
}

static bool a_new_vm_works(void)
{
	struct vm *vm = vm_quick(MODE_LONG, 0, count_up, GUEST_SIZE(count_up));
	bool ok;

	STOP(vm) = 1;
	ok = vcpu_run_done(&vm->cpu[0]) && COUNT(vm) == 1;
	vm_free(vm);
	return ok;
}

/* What the file says up to the first newline, or NULL. */
static char *slurp(const char *path)
{
	static char text[256];
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	if (n < 0)
		return NULL;
	text[n] = 0;
	text[strcspn(text, "\n")] = 0;
	return text;
}

/* 0 or errno */
static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY), r;

	if (fd < 0)
		return errno;
	r = write(fd, text, strlen(text)) < 0 ? errno : 0;
	close(fd);
	return r;
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* ---- descriptors ---- */

/* In a child: the errno of an ioctl on a descriptor that the parent made. */
static int errno_in_child(int fd, unsigned long request, unsigned long arg)
{
	int status;
	pid_t child = fork();

	if (!child)
		_exit(ioctl(fd, request, arg) < 0 ? errno : 0);
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(another_process_gets_eio)
{
	struct vm *vm = vm_quick(MODE_LONG, VM_IRQCHIP, count_up, GUEST_SIZE(count_up));
	struct vcpu *v = &vm->cpu[0];
	struct kvm_regs regs;

	STOP(vm) = 1;
	EXPECT_EQ(errno_in_child(vm->fd, KVM_CREATE_VCPU, 1), EIO);
	EXPECT_EQ(errno_in_child(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_IRQCHIP), EIO);
	EXPECT_EQ(errno_in_child(v->fd, KVM_RUN, 0), EIO);
	EXPECT_EQ(errno_in_child(v->fd, KVM_GET_REGS, (unsigned long)&regs), EIO);
	EXPECT_EQ(errno_in_child(vm_sys(), KVM_GET_API_VERSION, 0), 0);
	EXPECT_TRUE(vcpu_run_done(v));
	vm_free(vm);
}

static void send_fds(int sock, const int *fds, int n)
{
	union { char buf[CMSG_SPACE(4 * sizeof(int))]; struct cmsghdr align; } c = { 0 };
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = c.buf,
			    .msg_controllen = CMSG_SPACE(n * sizeof(int)) };
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);

	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(h), fds, n * sizeof(int));
	if (sendmsg(sock, &m, 0) != 1)
		_exit(1);
}

static bool receive_fds(int sock, int *fds, int n)
{
	union { char buf[CMSG_SPACE(4 * sizeof(int))]; struct cmsghdr align; } c;
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = c.buf,
		.msg_controllen = sizeof(c.buf),
	};
	struct cmsghdr *h;

	if (recvmsg(sock, &m, 0) != 1)
		return false;
	h = CMSG_FIRSTHDR(&m);
	if (!h || h->cmsg_len != CMSG_LEN(n * sizeof(int)))
		return false;
	memcpy(fds, CMSG_DATA(h), n * sizeof(int));
	return true;
}

/*
 * The VM's maker is gone, its address space too; what it passed on can be closed in
 * any order and used for nothing.
 */
TEST(descriptors_outlive_their_process)
{
	static const int order[][3] = { { 0, 1, 2 }, { 2, 1, 0 }, { 1, 2, 0 } };
	int i, j, sock[2], fds[3], status;
	struct kvm_regs regs;
	pid_t child;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sock), 0);
		child = fork();
		if (!child) {
			struct vm *vm = vm_quick(MODE_LONG, VM_IRQCHIP, count_up,
						 GUEST_SIZE(count_up));

			vcpu_new(vm, 1);
			STOP(vm) = 1;
			if (!vcpu_run_done(&vm->cpu[0]))
				_exit(1);
			send_fds(sock[1], (int []){ vm->fd, vm->cpu[0].fd, vm->cpu[1].fd }, 3);
			_exit(0);
		}
		ASSERT_EQ(waitpid(child, &status, 0), child);
		ASSERT_EQ(status, 0);
		ASSERT_TRUE(receive_fds(sock[0], fds, 3));
		EXPECT_EQ(ioctl(fds[0], KVM_CREATE_VCPU, 2ul), -1);
		EXPECT_EQ(errno, EIO);
		EXPECT_EQ(ioctl(fds[1], KVM_RUN, 0), -1);
		EXPECT_EQ(errno, EIO);
		EXPECT_EQ(ioctl(fds[2], KVM_GET_REGS, &regs), -1);
		EXPECT_EQ(errno, EIO);
		for (j = 0; j < 3; j++)
			close(fds[order[i][j]]);
		close(sock[0]);
		close(sock[1]);
	}
	EXPECT_TRUE(a_new_vm_works());
}

TEST(a_vcpu_keeps_its_vm)
{
	struct vm *vm = vm_quick(MODE_LONG, VM_IRQCHIP | VM_PIT, count_up, GUEST_SIZE(count_up));
	struct vcpu *v = &vm->cpu[0], *other = vcpu_new(vm, 1);

	EXPECT_EQ(close(vm->fd), 0);
	EXPECT_EQ(close(other->fd), 0);
	EXPECT_EQ(other->run->exit_reason, 0);		/* the mapping alone keeps the page */
	STOP(vm) = 1;
	EXPECT_TRUE(vcpu_run_done(v));
	EXPECT_EQ(close(v->fd), 0);
	EXPECT_EQ(v->run->exit_reason, KVM_EXIT_IO);
	EXPECT_TRUE(a_new_vm_works());
}

/* Another thread closes the descriptors while the guest runs. */
TEST(descriptors_closed_under_a_running_guest)
{
	struct vm *vm = vm_quick(MODE_LONG, VM_IRQCHIP, count_up, GUEST_SIZE(count_up));
	struct runner r;

	start(&r, &vm->cpu[0]);
	ASSERT_TRUE(goes_on(vm));
	close(vm->fd);
	close(vm->cpu[0].fd);
	EXPECT_TRUE(goes_on(vm));
	STOP(vm) = 1;
	pthread_join(r.thread, NULL);
	EXPECT_EQ(vm->cpu[0].run->io.port, GUEST_DONE);
}

/* ---- VMMs that are killed ---- */

/* A mask of all signals for KVM_RUN, which the guest does not leave by itself. */
static void run_deaf(int ready)
{
	struct { struct kvm_signal_mask head; uint8_t set[8]; } mask = { .head = { .len = 8 } };
	struct vm *vm = vm_quick(MODE_LONG, 0, count_up, GUEST_SIZE(count_up));

	memset(mask.head.sigset, 0xff, 8);
	if (ioctl(vm->cpu[0].fd, KVM_SET_SIGNAL_MASK, &mask))
		_exit(1);
	/* what is refused leaves the mask as it was */
	mask.head.len = 4;
	if (ioctl(vm->cpu[0].fd, KVM_SET_SIGNAL_MASK, &mask) != -1 || write(ready, "", 1) != 1)
		_exit(1);
	ioctl(vm->cpu[0].fd, KVM_RUN, 0);
	_exit(2);
}

TEST(no_mask_keeps_sigkill_out)
{
	int ready[2], status = 0, i;
	pid_t child;
	char c;

	ASSERT_EQ(pipe(ready), 0);
	child = fork();
	if (!child)
		run_deaf(ready[1]);
	ASSERT_EQ(read(ready[0], &c, 1), 1);
	usleep(300000);
	kill(child, SIGUSR1);	/* blocked by the mask: the guest goes on */
	usleep(300000);
	EXPECT_EQ(waitpid(child, &status, WNOHANG), 0);
	kill(child, SIGKILL);
	for (i = 0; i < 200 && !waitpid(child, &status, WNOHANG); i++)
		usleep(50000);
	ASSERT_LT(i, 200);
	EXPECT_TRUE(WIFSIGNALED(status));
}

/* SIGUSR1 is blocked but for KVM_RUN, which it ends; without a handler it would kill. */
static void run_let_in(int ready)
{
	struct { struct kvm_signal_mask head; uint8_t set[8]; } mask = { .head = { .len = 8 } };
	struct vm *vm = vm_quick(MODE_LONG, 0, count_up, GUEST_SIZE(count_up));
	struct timespec now = { };
	sigset_t usr1;

	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigprocmask(SIG_BLOCK, &usr1, NULL);
	if (ioctl(vm->cpu[0].fd, KVM_SET_SIGNAL_MASK, &mask) || write(ready, "", 1) != 1)
		_exit(1);
	if (ioctl(vm->cpu[0].fd, KVM_RUN, 0) != -1 || errno != EINTR)
		_exit(2);
	_exit(sigtimedwait(&usr1, NULL, &now) == SIGUSR1 ? 0 : 3);
}

TEST(a_signal_that_the_mask_lets_in_waits_for_the_vmm)
{
	int ready[2], status = 0;
	pid_t child;
	char c;

	ASSERT_EQ(pipe(ready), 0);
	child = fork();
	if (!child)
		run_let_in(ready[1]);
	ASSERT_EQ(read(ready[0], &c, 1), 1);
	usleep(300000);
	kill(child, SIGUSR1);
	ASSERT_EQ(waitpid(child, &status, 0), child);
	EXPECT_EQ(status, 0);
}

GUEST(count_it, 64, "push %rdx\n lock incq 0x100000\n mov $0xfee000b0, %edx\n"
		    "movl $0, (%rdx)\n pop %rdx\n iretq\n");
/* LINT0, where the PIC's interrupts come in, is masked. */
GUEST(touch_pages, 64, "mov $0xfee00350, %edi\n movl $0x10000, (%rdi)\n sti\n"
		       "1: mov $0x200000, %edi\n 2: lock incq (%rdi)\n"
		       "add $0x1000, %edi\n cmp $0x800000, %edi\n"
		       "jb 2b\n jmp 1b\n");
GUEST(do_io, 64, "sti\n mov $0xd0000000, %edi\n 1: movl $1, (%rdi)\n"
		 "mov 0x10(%rdi), %eax\n out %al, $0x55\n jmp 1b\n");
/* The periodic timer, and HLT in between. */
GUEST(take_interrupts, 64,
	"mov $0xfee00000, %edi\n movl $0x1ff, 0xf0(%rdi)\n"
	"movl $0xb, 0x3e0(%rdi)\n movl $0x2003a, 0x320(%rdi)\n"
	"movl $100000, 0x380(%rdi)\n sti\n 1: hlt\n jmp 1b\n");

static void *run_for_ever(void *arg)
{
	for (;;)
		if (vcpu_run(arg) < 0)
			usleep(100);
	return NULL;
}

static struct vcpu *add_cpu(struct vm *vm, const void *code, size_t n)
{
	struct kvm_mp_state runnable = { KVM_MP_STATE_RUNNABLE };
	struct vcpu *v = vcpu_new(vm, vm->nr);
	struct kvm_regs r;

	vcpu_mode(v, MODE_LONG);
	vm_catch(v);
	vm_load_bytes(vm, GUEST_CODE + v->id * 0x400, code, n);
	r = vcpu_regs(v);
	r.rip = GUEST_CODE + v->id * 0x400;
	vcpu_set_regs(v, &r);
	ioctl(v->fd, KVM_SET_MP_STATE, &runnable);
	return v;
}

/* @ready gets a byte when all of it runs. Never returns. */
static void doomed(int ready)
{
	struct vm *vm = vm_new(8 * MIB, VM_IRQCHIP | VM_PIT);
	int irq = eventfd(0, 0), io = eventfd(0, EFD_NONBLOCK), i;
	struct kvm_irqfd fd = { .fd = irq, .gsi = 5 };
	struct kvm_ioeventfd iofd = { .addr = GUEST_MMIO, .len = 4, .fd = io };
	struct kvm_msi msi = { .address_lo = 0xfee02000, .data = VECTOR };
	uint64_t one = 1, *idt;
	pthread_t t;

	add_cpu(vm, touch_pages, GUEST_SIZE(touch_pages));
	add_cpu(vm, do_io, GUEST_SIZE(do_io));
	add_cpu(vm, take_interrupts, GUEST_SIZE(take_interrupts));
	idt = (void *)(vm->mem + GUEST_IDT);
	idt[2 * VECTOR] = HANDLER | 24 << 16 | 0x8e00ull << 32;
	vm_load_bytes(vm, HANDLER, count_it, GUEST_SIZE(count_it));
	if (ioctl(vm->fd, KVM_IRQFD, &fd) || ioctl(vm->fd, KVM_IOEVENTFD, &iofd))
		_exit(1);
	for (i = 0; i < 3; i++)
		pthread_create(&t, NULL, run_for_ever, &vm->cpu[i]);
	if (write(ready, "", 1) != 1)
		_exit(1);
	for (;;) {
		madvise(vm->mem + 2 * MIB, 6 * MIB, MADV_DONTNEED);
		if (write(irq, &one, 8) != 8)
			_exit(1);
		ioctl(vm->fd, KVM_SIGNAL_MSI, &msi);
		usleep(500);
	}
}

/* vCPUs in the module's slab; -1: the host does not tell. */
static long vcpus_left(void)
{
	char *text;

	/* so that what lies in the CPUs' own lists is not counted */
	put("/sys/kernel/slab/wafer_vcpu/shrink", "1");
	text = slurp("/sys/kernel/slab/wafer_vcpu/objects");
	return text ? atol(text) : -1;
}

static long meminfo(const char *name)
{
	FILE *f = fopen("/proc/meminfo", "r");
	char line[128];
	long kib = -1;

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ':')
			kib = atol(line + strlen(name) + 1);
	if (f)
		fclose(f);
	return kib;
}

TEST(killed_in_the_middle_of_everything)
{
	long before = 0, tables = 0;
	int i, j, ready[2], status;
	char byte;
	pid_t child;

	ASSERT_EQ(pipe(ready), 0);
	srandom(1);
	for (i = 0; i < 30; i++) {
		if (i == 5) {				/* the host's own caches are filled */
			before = meminfo("MemAvailable");
			tables = meminfo("SecPageTables");
		}
		child = fork();
		if (!child)
			doomed(ready[1]);
		/* sometimes before it is complete */
		if (i % 4)
			ASSERT_EQ(read(ready[0], &byte, 1), 1);
		usleep(random() % (i % 4 ? 20000 : 4000));
		kill(child, SIGKILL);
		ASSERT_EQ(waitpid(child, &status, 0), child);
		ASSERT_TRUE(WIFSIGNALED(status));
	}
	/* the last references go after a grace period */
	for (j = 0; j < 300 && (vcpus_left() > 0 || meminfo("SecPageTables") > tables + 256); j++)
		usleep(100000);
	EXPECT_LE(vcpus_left(), 0);
	EXPECT_LE(meminfo("SecPageTables"), tables + 256);
	EXPECT_GT(meminfo("MemAvailable"), before - 16 * 1024);
	EXPECT_TRUE(a_new_vm_works());
}

/* ---- many at once ---- */

GUEST(count_to, 64, "sti\n mov $3000, %ecx\n 1: lock incq 0x100000\n"
		    "test $0x1ff, %ecx\n jnz 2f\n out %al, $0x55\n"
		    "2: dec %ecx\n jnz 1b\n" DONE);

static void *run_past_io(void *arg)
{
	struct runner *r = arg;
	int e;

	do {
		e = vcpu_run(r->v);
	} while (e == KVM_EXIT_IO && r->v->run->io.port == 0x55);
	r->ok = e == KVM_EXIT_IO && r->v->run->io.port == GUEST_DONE;
	return NULL;
}

TEST(two_vms_of_four_cpus)
{
	struct runner r[8];
	struct vm *vm[2];
	int i;

	for (i = 0; i < 2; i++)
		vm[i] = vm_new(4 * MIB, 0);
	for (i = 0; i < 8; i++) {
		struct vcpu *v = vcpu_new(vm[i & 1], i / 2);

		vcpu_mode(v, MODE_LONG);
		vm_load(vm[i & 1], count_to);
		r[i] = (struct runner){ .v = v };
	}
	for (i = 0; i < 8; i++)
		pthread_create(&r[i].thread, NULL, run_past_io, &r[i]);
	for (i = 0; i < 8; i++) {
		pthread_join(r[i].thread, NULL);
		EXPECT_TRUE(r[i].ok);
	}
	EXPECT_EQ(COUNT(vm[0]), 4 * 3000);
	EXPECT_EQ(COUNT(vm[1]), 4 * 3000);
	vm_free(vm[0]);
	vm_free(vm[1]);
}

/* ---- guests that get nowhere ---- */

static void nothing(int sig)
{
}

static void *run_once(void *arg)
{
	struct runner *r = arg;

	r->ret = ioctl(r->v->fd, KVM_RUN, 0);
	r->err = errno;
	r->ended = true;
	return NULL;
}

/*
 * KVM_RUN ends by itself or with a signal, and soon. Negative: it hangs; else the time
 * of it in ms, from the signal on.
 */
static int ends(struct runner *r, struct vcpu *v)
{
	int ms;

	signal(SIGUSR1, nothing);
	*r = (struct runner){ .v = v };
	pthread_create(&r->thread, NULL, run_once, r);
	for (ms = 0; ms < 30 && !r->ended; ms += 10)
		usleep(10000);
	for (ms = 0; !r->ended; ms += 10) {
		if (ms > 20000)
			return -1;
		if (ms % 100 == 0)
			pthread_kill(r->thread, SIGUSR1);
		usleep(10000);
	}
	pthread_join(r->thread, NULL);
	return ms;
}

/* A gate with a stack of its own, so that the stack never runs out; it leaves IF set. */
static void gate_ist1(struct vm *vm, unsigned int vector)
{
	uint64_t *idt = (void *)(vm->mem + GUEST_IDT), top = 0x7e00;

	idt[2 * vector] = HANDLER | 24 << 16 | 0x8f01ull << 32;
	idt[2 * vector + 1] = 0;
	memcpy(vm->mem + GUEST_TSS + 0x24, &top, 8);
}

#define UD2 "sti\n nop\n ud2\n"
GUEST(ud2_64, 64, UD2);

TEST(an_invalid_opcode_in_its_own_handler)
{
	struct vm *vm = vm_quick(MODE_LONG, 0, ud2_64, GUEST_SIZE(ud2_64));
	struct runner r;

	vm_catch(&vm->cpu[0]);
	gate_ist1(vm, 6);
	vm_load_bytes(vm, HANDLER, ud2_64, GUEST_SIZE(ud2_64));
	ASSERT_GE(ends(&r, &vm->cpu[0]), 0);
	EXPECT_EQ(r.ret, -1);
	EXPECT_EQ(r.err, EINTR);
	vm_free(vm);
}

/* The CPU's push of the frame hits the breakpoint that the handler is for. */
GUEST(break_on_stack, 64, "sti\n mov $0x7df8, %eax\n mov %rax, %dr0\n"
			  "mov $0x90403, %eax\n mov %rax, %dr7\n"
			  "mov %rax, 0x7df8\n" DONE);
GUEST(break_again, 64, "1: mov %rax, 0x7df8\n jmp 1b\n");

TEST(a_breakpoint_on_the_frame_of_the_breakpoint)
{
	struct vm *vm = vm_quick(MODE_LONG, 0, break_on_stack, GUEST_SIZE(break_on_stack));
	struct runner r;

	vm_catch(&vm->cpu[0]);
	gate_ist1(vm, 1);
	vm_load_bytes(vm, HANDLER, break_again, GUEST_SIZE(break_again));
	ASSERT_GE(ends(&r, &vm->cpu[0]), 0);
	if (!r.ret && vm->cpu[0].run->exit_reason == KVM_EXIT_IO)
		SKIP(return, "the processor does not heed a guest's data breakpoint");
	EXPECT_EQ(r.ret, -1);
	EXPECT_EQ(r.err, EINTR);
	vm_free(vm);
}

/* In ring 3, on a misaligned stack: the push of the frame for #AC is #AC again. */
GUEST(misaligned, 32, "mov $0x7f01, %esp\n mov $0x100001, %ebx\n 1: mov %eax, (%ebx)\n jmp 1b\n");

TEST(an_alignment_fault_in_its_own_delivery)
{
	struct vm *vm = vm_quick(MODE_PROT, 0, misaligned, GUEST_SIZE(misaligned));
	const uint64_t user_code = 0x00cffb000000ffff;
	struct vcpu *v = &vm->cpu[0];
	uint64_t *idt = (void *)(vm->mem + GUEST_IDT);
	struct kvm_regs regs = vcpu_regs(v);
	struct kvm_sregs s;
	struct runner r;

	memcpy(vm->mem + GUEST_GDT + 72, &user_code, 8);
	idt[17] = GUEST_CODE | 0x4bull << 16 | 0xef00ull << 32;
	ASSERT_EQ(ioctl(v->fd, KVM_GET_SREGS, &s), 0);
	s.cs.selector = 0x4b;
	s.ss.selector = 0x3b;
	s.cs.dpl = s.ss.dpl = 3;
	s.ds = s.es = s.fs = s.gs = s.ss;
	s.cr0 |= 1 << 18;
	s.idt.base = GUEST_IDT;
	s.idt.limit = 0x7ff;
	ASSERT_EQ(ioctl(v->fd, KVM_SET_SREGS, &s), 0);
	regs.rflags |= 1 << 18 | 1 << 9;
	vcpu_set_regs(v, &regs);
	ASSERT_GE(ends(&r, v), 0);
	vm_free(vm);
}

/* The table of the handlers, or the stack of the handler, is where a device is. */
TEST(events_delivered_through_a_device)
{
	struct kvm_sregs s;
	struct kvm_regs regs;
	struct runner r;
	struct vm *vm;
	int i, n;

	for (i = 0; i < 2; i++) {
		vm = vm_quick(MODE_LONG, 0, ud2_64, GUEST_SIZE(ud2_64));
		vm_catch(&vm->cpu[0]);
		ASSERT_EQ(ioctl(vm->cpu[0].fd, KVM_GET_SREGS, &s), 0);
		if (i)
			s.idt.base = GUEST_MMIO;
		ASSERT_EQ(ioctl(vm->cpu[0].fd, KVM_SET_SREGS, &s), 0);
		regs = vcpu_regs(&vm->cpu[0]);
		regs.rsp = GUEST_MMIO + 0x1000;
		vcpu_set_regs(&vm->cpu[0], &regs);
		for (n = 0; n < 4; n++)
			ASSERT_GE(ends(&r, &vm->cpu[0]), 0);
		vm_free(vm);
	}
}

TEST(one_triple_fault_after_the_other)
{
	struct vm *vm = vm_quick(MODE_LONG, 0, ud2_64, GUEST_SIZE(ud2_64));
	struct vcpu *v = &vm->cpu[0];
	struct kvm_sregs s;
	struct runner r;
	int i;

	for (i = 0; i < 50; i++) {
		vcpu_mode(v, MODE_LONG);
		ASSERT_EQ(ioctl(v->fd, KVM_GET_SREGS, &s), 0);
		s.idt.limit = 0;
		ASSERT_EQ(ioctl(v->fd, KVM_SET_SREGS, &s), 0);
		ASSERT_EQ(vcpu_run(v), KVM_EXIT_SHUTDOWN);
	}
	/* whatever state is left: nothing hangs */
	for (i = 0; i < 3; i++)
		ASSERT_GE(ends(&r, v), 0);
	vm_free(vm);
}

/* ---- memory that goes away in the middle of an exit ---- */

/*
 * Reads a device into memory at 2 MiB, writes to one from there, both
 * a byte and a string at a time.
 */
GUEST(io_to_memory, 64,
	"sti\n 1: mov $0x200000, %edi\n mov $64, %ecx\n mov $0x55, %dx\n cld\n rep insb\n"
	"mov $0x200ff0, %esi\n mov $8, %ecx\n rep outsl\n"
	"mov $0xd0000000, %esi\n mov $0x200ffc, %edi\n mov $4, %ecx\n rep movsq\n"
	"cmpb $0, 0x100008\n je 1b\n" DONE);

/* INS and OUTS of no memory may be an internal error; the instruction is tried again. */
static bool may_go_on(int exit, const struct kvm_run *run)
{
	return exit == -EFAULT || exit == KVM_EXIT_MMIO || exit == KVM_EXIT_INTERNAL_ERROR ||
	       (exit == KVM_EXIT_IO && run->io.port == 0x55);
}

static void *run_past_efault(void *arg)
{
	struct runner *r = arg;
	int e;

	do {
		e = vcpu_run(r->v);
	} while (may_go_on(e, r->v->run));
	r->ok = e == KVM_EXIT_IO && r->v->run->io.port == GUEST_DONE;
	if (!r->ok)
		vcpu_describe(r->v);
	return NULL;
}

TEST(memory_unmapped_under_an_exit)
{
	struct vm *vm = vm_quick(MODE_LONG, 0, io_to_memory, GUEST_SIZE(io_to_memory));
	void *at = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct runner r = { .v = &vm->cpu[0] };
	int i;

	vm_slot(vm, 0, 0, 0, vm->mem, 0);
	vm_slot(vm, 0, 0, 2 * MIB, vm->mem, 0);
	vm_slot(vm, 1, 2 * MIB, MIB, at, 0);
	pthread_create(&r.thread, NULL, run_past_efault, &r);
	for (i = 0; i < 90; i++) {
		switch (i % 3) {
		case 0:
			ASSERT_EQ(munmap(at, MIB), 0);
			usleep(300);
			ASSERT_EQ(mmap(at, MIB, PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0), at);
			break;
		case 1:
			ASSERT_EQ(mprotect(at, MIB, i & 1 ? PROT_NONE : PROT_READ), 0);
			usleep(300);
			ASSERT_EQ(mprotect(at, MIB, PROT_READ | PROT_WRITE), 0);
			break;
		default:
			vm_slot(vm, 1, 2 * MIB, 0, at, 0);
			usleep(300);
			vm_slot(vm, 1, 2 * MIB, MIB, at, 0);
		}
	}
	STOP(vm) = 1;
	pthread_join(r.thread, NULL);
	EXPECT_TRUE(r.ok);
	vm_free(vm);
	munmap(at, MIB);
}

/* ---- protection keys ---- */

/* Every key denied: the host's accesses to user memory on this CPU must not notice. */
GUEST(deny_all_keys, 64,
	"mov %cr4, %rax\n or $0x400000, %eax\n mov %rax, %cr4\n xor %ecx, %ecx\n xor %edx, %edx\n"
	"mov $0xffffffff, %eax\n wrpkru\n"
	"1: out %al, $0x55\n mov $0x80000000, %eax\n cpuid\n sub $1, %esi\n jnz 1b\n"
	"xor %ecx, %ecx\n rdpkru\n mov %eax, %ebp\n xor %edx, %edx\n xor %eax, %eax\n wrpkru\n"
	"mov $0xd0000000, %edi\n mov %ebp, (%rdi)\n" DONE);

static bool supports_pku(void)
{
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entry[128];
	} c = { .head = { .nent = 128 } };
	unsigned int i;

	if (ioctl(vm_sys(), KVM_GET_SUPPORTED_CPUID, &c))
		return false;
	for (i = 0; i < c.head.nent; i++)
		if (c.entry[i].function == 7 && !c.entry[i].index)
			return c.entry[i].ecx & 1 << 3;
	return false;
}

TEST(a_guest_that_denies_itself_every_key)
{
	struct vm *vm;
	struct vcpu *v;
	struct kvm_regs r;
	int n = 0, e;
	uint32_t seen;

	if (!supports_pku())
		SKIP(return, "no protection keys");
	vm = vm_quick(MODE_LONG, 0, deny_all_keys, GUEST_SIZE(deny_all_keys));
	v = &vm->cpu[0];
	r = vcpu_regs(v);
	r.rsi = 100;
	vcpu_set_regs(v, &r);
	while ((e = vcpu_run(v)) == KVM_EXIT_IO && v->run->io.port == 0x55)
		n++;
	EXPECT_EQ(n, 100);
	ASSERT_EQ(e, KVM_EXIT_MMIO);
	memcpy(&seen, v->run->mmio.data, 4);
	EXPECT_EQ(seen, 0xffffffff);
	EXPECT_TRUE(vcpu_run_done(v));
	vm_free(vm);
}

/* ---- CPUs that go and come ---- */

#define CPU1 "/sys/devices/system/cpu/cpu1/online"

TEST(cpus_go_and_come_under_a_running_guest)
{
	struct runner r;
	struct vm *vm;
	int i;

	if (access(CPU1, W_OK) || put(CPU1, "1"))
		SKIP(return, "no second CPU that can be taken offline");
	vm = vm_quick(MODE_LONG, VM_IRQCHIP, count_up, GUEST_SIZE(count_up));
	pin(1);				/* the guest's thread starts on the CPU that goes */
	start(&r, &vm->cpu[0]);
	ASSERT_TRUE(goes_on(vm));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(put(CPU1, "0"), 0);
		EXPECT_TRUE(goes_on(vm));
		EXPECT_TRUE(a_new_vm_works());
		ASSERT_EQ(put(CPU1, "1"), 0);
		EXPECT_TRUE(goes_on(vm));
		pin(1);
		EXPECT_TRUE(a_new_vm_works());
	}
	EXPECT_TRUE(stop(&r));
	vm_free(vm);
}

/* A VM made while the CPU was away runs there afterwards. */
TEST(a_cpu_comes_after_the_vm)
{
	struct vm *vm;
	struct runner r;

	if (access(CPU1, W_OK) || put(CPU1, "0"))
		SKIP(return, "no second CPU that can be taken offline");
	vm = vm_quick(MODE_LONG, VM_IRQCHIP, count_up, GUEST_SIZE(count_up));
	ASSERT_EQ(put(CPU1, "1"), 0);
	pin(1);
	start(&r, &vm->cpu[0]);
	EXPECT_TRUE(goes_on(vm));
	EXPECT_TRUE(stop(&r));
	/* it goes, the VM goes, it comes: nothing is taken for nobody */
	ASSERT_EQ(put(CPU1, "0"), 0);
	vm_free(vm);
	ASSERT_EQ(put(CPU1, "1"), 0);
	pin(1);
	EXPECT_TRUE(a_new_vm_works());
}

/*
 * Loads LSTAR and TSC_AUX (5:), once on each of two CPUs, and looks at them back on the first: RBP
 * tells which address SYSCALL went to, RSI what RDTSCP found.
 */
GUEST(syscall_registers, 64,
	"mov $0xc0000080, %ecx\n rdmsr\n or $1, %eax\n wrmsr\n"
	"mov $0xc0000081, %ecx\n xor %eax, %eax\n mov $8, %edx\n wrmsr\n"
	"lea 6f(%rip), %rax\n mov $1, %ebx\n call 5f\n sti\n"
	"movb $1, 0x100000\n 1: cmpb $1, 0x100008\n jne 1b\n"
	"lea 7f(%rip), %rax\n mov $2, %ebx\n call 5f\n"
	"movb $2, 0x100000\n 2: cmpb $2, 0x100008\n jne 2b\n"
	"cli\n rdtscp\n mov %ecx, %esi\n syscall\n"
	"5: mov $0xc0000082, %ecx\n xor %edx, %edx\n wrmsr\n"
	"mov $0xc0000103, %ecx\n mov %ebx, %eax\n wrmsr\n ret\n"
	"6: mov $1, %ebp\n" DONE "7: mov $2, %ebp\n" DONE);

static bool wait_for(volatile uint8_t *at, uint8_t val)
{
	int i;

	for (i = 0; i < 10000 && *at != val; i++)
		usleep(2000);
	return *at == val;
}

/* The thread stays in KVM_RUN, and on the CPU that it leaves nobody returns to user space. */
TEST(registers_that_were_loaded_on_another_cpu)
{
	struct vm *vm;
	struct runner r;
	struct kvm_regs regs;
	cpu_set_t set;

	if (access(CPU1, W_OK) || put(CPU1, "1"))
		SKIP(return, "no second CPU");
	vm = vm_quick(MODE_LONG, 0, syscall_registers, GUEST_SIZE(syscall_registers));
	pin(1);
	start(&r, &vm->cpu[0]);
	pin(0);
	EXPECT_TRUE(wait_for(vm->mem + GUEST_DATA, 1));
	CPU_ZERO(&set);
	CPU_SET(0, &set);
	ASSERT_EQ(pthread_setaffinity_np(r.thread, sizeof(set), &set), 0);
	usleep(100000);
	vm->mem[GUEST_DATA + 8] = 1;
	EXPECT_TRUE(wait_for(vm->mem + GUEST_DATA, 2));
	CPU_ZERO(&set);
	CPU_SET(1, &set);
	ASSERT_EQ(pthread_setaffinity_np(r.thread, sizeof(set), &set), 0);
	usleep(100000);
	vm->mem[GUEST_DATA + 8] = 2;
	pthread_join(r.thread, NULL);
	EXPECT_TRUE(r.ok);
	regs = vcpu_regs(&vm->cpu[0]);
	EXPECT_EQ(regs.rbp, 2);
	EXPECT_EQ(regs.rsi, 2);
	vm_free(vm);
}

/* Milliseconds until every CPU has been seen to hold on to nothing; the shortest of some. */
static unsigned int grace_period(void)
{
	struct timespec from, to;
	unsigned int i, ms, shortest = -1;

	for (i = 0; i < 6; i++) {
		clock_gettime(CLOCK_MONOTONIC, &from);
		if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0))
			return 0;
		clock_gettime(CLOCK_MONOTONIC, &to);
		ms = (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000;
		shortest = ms < shortest ? ms : shortest;
	}
	return shortest;
}

/* A guest that never exits by itself is as good as a process that computes. */
TEST(a_busy_guest_holds_up_no_grace_period)
{
	unsigned int idle, busy;
	struct runner r;
	struct vm *vm;

	if (access(CPU1, W_OK) || put(CPU1, "1"))
		SKIP(return, "no second CPU");
	pin(0);
	idle = grace_period();
	if (!idle)
		SKIP(return, "no membarrier()");
	vm = vm_quick(MODE_LONG, 0, count_up, GUEST_SIZE(count_up));
	pin(1);
	start(&r, &vm->cpu[0]);
	pin(0);
	EXPECT_TRUE(goes_on(vm));
	busy = grace_period();
	EXPECT_TRUE(stop(&r));
	EXPECT_LE(busy, 2 * idle + 20);
	vm_free(vm);
}

/* ---- suspend ---- */

#define PM "/sys/power/"

/*
 * All of suspend to RAM but for the firmware: tasks frozen, devices
 * asleep, one CPU, interrupts off.
 */
TEST(a_guest_goes_on_after_suspend)
{
	const char *text = slurp(PM "pm_test");
	struct runner r;
	struct vm *vm;
	int e;

	if (!text || !strstr(text, "core"))
		SKIP(return, "the kernel has no pm_test");
	text = slurp(PM "mem_sleep");
	if (!text || !strstr(text, "deep"))
		SKIP(return, "no suspend to RAM");
	put("/sys/module/suspend/parameters/pm_test_delay", "0");
	ASSERT_EQ(put(PM "mem_sleep", "deep"), 0);
	ASSERT_EQ(put(PM "pm_test", "core"), 0);
	vm = vm_quick(MODE_LONG, VM_IRQCHIP | VM_PIT, count_up, GUEST_SIZE(count_up));
	start(&r, &vm->cpu[0]);
	ASSERT_TRUE(goes_on(vm));
	e = put(PM "state", "mem");
	put(PM "pm_test", "none");
	EXPECT_TRUE(goes_on(vm));
	EXPECT_TRUE(a_new_vm_works());
	EXPECT_TRUE(stop(&r));
	vm_free(vm);
	if (e)
		SKIP(return, "suspend was refused: %s", strerror(e));
}

TEST_HARNESS_MAIN
