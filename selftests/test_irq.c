// SPDX-License-Identifier: GPL-2.0
/*
 * Interrupts: local APIC and its timer, IPIs, PIC, PIT, I/O APIC, MSI, irqfd,
 * ioeventfd, NMI, INIT and SIPI.
 */
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "vm.h"

#define MIB (1ul << 20)

FIXTURE(irq) { struct vm *vm; struct vcpu *v; };

FIXTURE_SETUP(irq)
{
	self->vm = vm_new(4 * MIB, VM_IRQCHIP | VM_PIT);
	self->v = vcpu_new(self->vm, 0);
	vcpu_mode(self->v, MODE_LONG);
	vm_catch(self->v);
}

/*
 * A handler for vectors 0x20-0xff: counts at GUEST_DATA + 8 * vector, EOI to the local APIC, IRETQ.
 * What interrupts with IF clear is counted at the place of vector 0 and nothing else is done: no
 * CPU does that.
 */
GUEST(handler, 64,
	"push %rax\n push %rdx\n"
	"mov 16(%rsp), %rax\n"			/* the stub pushed the vector */
	"testl $0x200, 40(%rsp)\n jnz 1f\n lock incq 0x100000\n jmp 2f\n"
	"1: lock incq 0x100000(,%rax,8)\n"
	"mov $0xfee000b0, %edx\n movl $0, (%rdx)\n"
	"2: pop %rdx\n pop %rax\n add $8, %rsp\n iretq\n");

#define HANDLER 0x5000ul
#define COUNT(vm, vector) (*(volatile uint64_t *)((vm)->mem + GUEST_DATA + 8 * (vector)))

FIXTURE_TEARDOWN(irq)
{
	/*
	 * QEMU's TCG now and then delivers an interrupt twice: see Documentation/emulator-bugs.md.
	 */
	if (COUNT(self->vm, 0) && vm_host_is_tcg())
		TH_LOG("the emulator delivered %llu interrupts twice",
		       (unsigned long long)COUNT(self->vm, 0));
	else
		EXPECT_EQ(COUNT(self->vm, 0), 0);
	vm_free(self->vm);
}

static void handle_all(struct vcpu *v)
{
	uint64_t *idt = (void *)(v->vm->mem + GUEST_IDT);
	unsigned int i;

	vm_load_bytes(v->vm, HANDLER, handler, GUEST_SIZE(handler));
	for (i = 0x20; i < 256; i++) {
		uint64_t stub = 0x20000 + i * 16;
		uint8_t *p = v->vm->mem + stub;
		int32_t rel = HANDLER - (stub + 10);

		p[0] = 0x68;			/* push imm32 */
		memcpy(p + 1, &i, 4);
		p[5] = 0xe9;
		memcpy(p + 6, &rel, 4);
		idt[2 * i] = (stub & 0xffff) | 24 << 16 | 0x8e00ull << 32 | (stub >> 16) << 48;
		idt[2 * i + 1] = 0;
	}
}

#define APIC_ON "mov $0xfee00000, %edi\n movl $0x1ff, 0xf0(%rdi)\n"

/* ---- local APIC ---- */

GUEST(self_ipi, 64, APIC_ON "sti\n mov $100, %ecx\n"
		    "1: movl $0x40030, 0x300(%rdi)\n dec %ecx\n jnz 1b\n cli\n" DONE);

TEST_F(irq, self_ipis_arrive)
{
	handle_all(self->v);
	vm_load(self->vm, self_ipi);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_EQ(COUNT(self->vm, 0x30), 100);
}

/* Two pending: the higher vector first; one below the task priority waits for it to fall. */
GUEST(priority, 64, APIC_ON "movl $0x50, 0x80(%rdi)\n"
		    "movl $0x40041, 0x300(%rdi)\n"
		    "movl $0x40061, 0x300(%rdi)\n sti\n nop\n nop\n cli\n"
		    "mov 0x100208, %r8\n mov 0x100308, %r9\n"	/* counts of 0x41 and 0x61 */
		    "sti\n movl $0, 0x80(%rdi)\n nop\n nop\n cli\n"
		    "mov 0x100208, %r10\n" DONE);

TEST_F(irq, priorities_hold)
{
	struct kvm_regs r;

	handle_all(self->v);
	vm_load(self->vm, priority);
	ASSERT_TRUE(vcpu_run_done(self->v));
	r = vcpu_regs(self->v);
	EXPECT_EQ(r.r8, 0);
	EXPECT_EQ(r.r9, 1);
	EXPECT_EQ(r.r10, 1);
}

/* The same by CR8, which the guest may write without an exit. */
GUEST(by_cr8, 64, APIC_ON "mov $6, %eax\n mov %rax, %cr8\n"
			  "movl $0x40051, 0x300(%rdi)\n sti\n nop\n nop\n cli\n"
		  "mov 0x100288, %r8\n xor %eax, %eax\n sti\n mov %rax, %cr8\n"
		  "nop\n nop\n cli\n mov 0x100288, %r9\n" DONE);

TEST_F(irq, cr8_holds_back_and_lets_go)
{
	struct kvm_regs r;

	handle_all(self->v);
	vm_load(self->vm, by_cr8);
	ASSERT_TRUE(vcpu_run_done(self->v));
	r = vcpu_regs(self->v);
	EXPECT_EQ(r.r8, 0);
	EXPECT_EQ(r.r9, 1);
}

/* One-shot and periodic: HLT waits for the timer. */
/* The same while an interrupt waits for IF, for which the CPU watches. */
GUEST(by_cr8_waiting, 64, APIC_ON "movl $0x40051, 0x300(%rdi)\n mov $100, %ecx\n"
				  "1: mov $6, %eax\n mov %rax, %cr8\n"
			  "xor %eax, %eax\n mov %rax, %cr8\n"
			  "dec %ecx\n jnz 1b\n mov 0x100288, %r8\n"
			  "mov $6, %eax\n mov %rax, %cr8\n sti\n"
			  "nop\n nop\n cli\n mov 0x100288, %r9\n"
			  "xor %eax, %eax\n mov %rax, %cr8\n sti\n nop\n"
			  "nop\n cli\n mov 0x100288, %r10\n" DONE);

TEST_F(irq, cr8_is_written_while_an_interrupt_waits)
{
	struct kvm_regs r;

	if (!strcmp(vm_device(), "/dev/kvm") && vm_host_is_tcg())
		SKIP(return, "the emulator dies of it (Documentation/emulator-bugs.md)");
	handle_all(self->v);
	vm_load(self->vm, by_cr8_waiting);
	ASSERT_TRUE(vcpu_run_done(self->v));
	r = vcpu_regs(self->v);
	EXPECT_EQ(r.r8, 0);
	EXPECT_EQ(r.r9, 0);
	EXPECT_EQ(r.r10, 1);
}

GUEST(timer, 64, APIC_ON "movl $0xb, 0x3e0(%rdi)\n"		/* divide by 1 */
		 "movl $0x33, 0x320(%rdi)\n movl $1000000, 0x380(%rdi)\n sti\n hlt\n cli\n"
		 "mov 0x390(%rdi), %r8d\n"
		 "movl $0x20034, 0x320(%rdi)\n movl $1000000, 0x380(%rdi)\n"
		 "mov $5, %ecx\n 1: sti\n hlt\n cli\n dec %ecx\n"
		 "jnz 1b\n movl $0, 0x380(%rdi)\n" DONE);

TEST_F(irq, the_timer_fires)
{
	handle_all(self->v);
	vm_load(self->vm, timer);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_EQ(COUNT(self->vm, 0x33), 1);
	EXPECT_GE(COUNT(self->vm, 0x34), 5);
	EXPECT_EQ(vcpu_regs(self->v).r8, 0);
}

GUEST(deadline, 64, APIC_ON "movl $0x40035, 0x320(%rdi)\n rdtsc\n shl $32, %rdx\n"
			    "or %rdx, %rax\n add $2000000, %rax\n"
		    "mov %rax, %r8\n mov %rax, %rdx\n shr $32, %rdx\n"
		    "mov $0x6e0, %ecx\n wrmsr\n sti\n hlt\n cli\n"
		    "rdtsc\n shl $32, %rdx\n or %rdx, %rax\n"
		    "mov %rax, %r9\n mov $0x6e0, %ecx\n rdmsr\n" DONE);

TEST_F(irq, the_tsc_deadline_is_met)
{
	struct kvm_regs r;

	if (ioctl(vm_sys(), KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) <= 0)
		SKIP(return, "no TSC-deadline timer");
	handle_all(self->v);
	vm_load(self->vm, deadline);
	ASSERT_TRUE(vcpu_run_done(self->v));
	r = vcpu_regs(self->v);
	EXPECT_EQ(COUNT(self->vm, 0x35), 1);
	EXPECT_GE(r.r9, r.r8);
	EXPECT_EQ((uint32_t)r.rax, 0);
}

GUEST(x2apic, 64, "mov $0x1b, %ecx\n rdmsr\n or $0xc00, %eax\n wrmsr\n"
		  "mov $0x80f, %ecx\n mov $0x1ff, %eax\n xor %edx, %edx\n"
		  "wrmsr\n sti\n mov $0x83f, %ecx\n mov $0x36, %eax\n"
		  "wrmsr\n nop\n cli\n mov $0x80b, %ecx\n xor %eax, %eax\n"
		  "wrmsr\n mov $0x802, %ecx\n rdmsr\n" DONE);

TEST_F(irq, x2apic_self_ipi)
{
	handle_all(self->v);
	vm_load(self->vm, x2apic);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_EQ(COUNT(self->vm, 0x36), 1);
	EXPECT_EQ((uint32_t)vcpu_regs(self->v).rax, 0);
}

/* ---- from outside: MSI, lines, irqfd ---- */

/* Until vector 0x37. Messages are lost until the APIC is on: the guest says when. */
#define IS_UP 0x100810
GUEST(wait_here, 64, APIC_ON "incq 0x100810\n sti\n 1: hlt\n"
			     "cmpq $0, 0x1001b8\n je 1b\n cli\n" DONE);

struct later { struct vcpu *v; bool ok; };

static void *run_thread(void *arg)
{
	struct later *l = arg;

	l->ok = vcpu_run_done(l->v);
	return NULL;
}

/* In a thread, until it is up and, most often, in HLT. */
static void start_waiting(pthread_t *t, struct later *l)
{
	volatile uint64_t *up = (void *)(l->v->vm->mem + IS_UP);

	pthread_create(t, NULL, run_thread, l);
	while (!*up)
		usleep(1000);
	usleep(20000);
}

TEST_F(irq, an_msi_wakes_a_halted_cpu)
{
	struct kvm_msi msi = { .address_lo = 0xfee00000, .data = 0x37 };
	struct later l = { self->v };
	pthread_t t;

	handle_all(self->v);
	vm_load(self->vm, wait_here);
	start_waiting(&t, &l);
	EXPECT_EQ(ioctl(self->vm->fd, KVM_SIGNAL_MSI, &msi), 1);
	pthread_join(t, NULL);
	EXPECT_TRUE(l.ok);
	EXPECT_EQ(COUNT(self->vm, 0x37), 1);
}

static int route_msi(struct vm *vm, uint32_t gsi, uint32_t vector)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entry;
	} r = {
		.head = { .nr = 1 },
		.entry = { .gsi = gsi, .type = KVM_IRQ_ROUTING_MSI,
			   .u.msi = { .address_lo = 0xfee00000, .data = vector } },
	};

	return ioctl(vm->fd, KVM_SET_GSI_ROUTING, &r);
}

TEST_F(irq, an_irqfd_follows_its_route)
{
	struct kvm_irqfd fd = { .fd = eventfd(0, 0), .gsi = 30 };
	struct later l = { self->v };
	uint64_t one = 1;
	pthread_t t;

	handle_all(self->v);
	vm_load(self->vm, wait_here);
	ASSERT_EQ(route_msi(self->vm, 30, 0x38), 0);
	ASSERT_EQ(ioctl(self->vm->fd, KVM_IRQFD, &fd), 0);
	EXPECT_EQ(ioctl(self->vm->fd, KVM_IRQFD, &fd), -1);
	EXPECT_EQ(errno, EBUSY);
	ASSERT_EQ(write(fd.fd, &one, 8), 8);
	ASSERT_EQ(route_msi(self->vm, 30, 0x37), 0);
	start_waiting(&t, &l);
	ASSERT_EQ(write(fd.fd, &one, 8), 8);
	pthread_join(t, NULL);
	EXPECT_TRUE(l.ok);
	EXPECT_EQ(COUNT(self->vm, 0x37), 1);
	EXPECT_LE(COUNT(self->vm, 0x38), 1);	/* the APIC was off when it came */
	fd.flags = KVM_IRQFD_FLAG_DEASSIGN;
	EXPECT_EQ(ioctl(self->vm->fd, KVM_IRQFD, &fd), 0);
	close(fd.fd);
}

/*
 * I/O APIC pin 5, level: it comes again as long as the line is up, and not after.
 * (LINT0, and so the PIC, is masked.)
 */
GUEST(level, 64, APIC_ON "movl $0x10000, 0x350(%rdi)\n mov $0xfec00000, %esi\n"
		 "movl $0x1a, (%rsi)\n movl $0x8039, 0x10(%rsi)\n"	/* level, 0x39 */
		 "movl $0x1b, (%rsi)\n movl $0, 0x10(%rsi)\n"
		 "sti\n 1: cmpq $3, 0x1001c8\n jb 1b\n cli\n" DONE);

TEST_F(irq, a_level_line_repeats_until_it_falls)
{
	struct kvm_irq_level line = { .irq = 5, .level = 2 };		/* any but 0 is up */
	uint64_t n;

	handle_all(self->v);
	vm_load(self->vm, level);
	ASSERT_EQ(ioctl(self->vm->fd, KVM_IRQ_LINE, &line), 0);
	ASSERT_TRUE(vcpu_run_done(self->v));
	n = COUNT(self->vm, 0x39);
	EXPECT_GE(n, 3);
	line.level = 0;
	ASSERT_EQ(ioctl(self->vm->fd, KVM_IRQ_LINE, &line), 0);
}

/* The PIT through the PIC: vectors 0x20 on, LINT0 as ExtINT, the tick wakes HLT. */
GUEST(pit, 64,
	"mov $0x11, %al\n out %al, $0x20\n mov $0x20, %al\n"
	"out %al, $0x21\n mov $4, %al\n out %al, $0x21\n mov $1, %al\n"
	"out %al, $0x21\n mov $0xfe, %al\n out %al, $0x21\n"
	"mov $0x34, %al\n out %al, $0x43\n mov $0x00, %al\n"
	"out %al, $0x40\n mov $0x10, %al\n out %al, $0x40\n"
	"mov $3, %ecx\n 1: sti\n hlt\n cli\n mov $0x20, %al\n"
	"out %al, $0x20\n dec %ecx\n jnz 1b\n" DONE);

TEST_F(irq, the_pit_ticks_through_the_pic)
{
	handle_all(self->v);
	vm_load(self->vm, pit);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_GE(COUNT(self->vm, 0x20), 3);
}

/* ---- NMI ---- */

GUEST(nmi_wait, 64, "1: jmp 1b\n");

static void *nmi_thread(void *arg)
{
	struct vcpu *v = arg;

	usleep(20000);
	ioctl(v->fd, KVM_NMI);
	return NULL;
}

TEST_F(irq, an_nmi_comes_with_interrupts_off)
{
	pthread_t t;

	vm_load(self->vm, nmi_wait);
	/*
	 * the run holds the vCPU, so the NMI must be pending before:
	 * KVM_NMI waits for the vCPU otherwise
	 */
	ASSERT_EQ(ioctl(self->v->fd, KVM_NMI), 0);
	pthread_create(&t, NULL, nmi_thread, self->v);
	ASSERT_TRUE(vcpu_run_done(self->v));
	pthread_join(t, NULL);
	EXPECT_EQ(vm_caught(self->vm)->vector, 2);
	EXPECT_EQ(vm_caught(self->vm)->rip, GUEST_CODE);
}

/* ---- ioeventfd ---- */

GUEST(notify, 64, "mov $0xd0000000, %edi\n movl $7, (%rdi)\n"
		  "movl $8, (%rdi)\n mov $3, %eax\n mov $0x500, %dx\n"
		  "out %ax, %dx\n movw $7, (%rdi)\n" DONE);

TEST_F(irq, ioeventfds_match_address_length_and_data)
{
	struct kvm_ioeventfd mmio = {
		.addr = GUEST_MMIO, .len = 4, .datamatch = 7, .fd = eventfd(0, EFD_NONBLOCK),
		.flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
	};
	struct kvm_ioeventfd pio = {
		.addr = 0x500, .len = 2, .fd = eventfd(0, EFD_NONBLOCK),
		.flags = KVM_IOEVENTFD_FLAG_PIO,
	};
	uint64_t n = 0;

	vm_load(self->vm, notify);
	ASSERT_EQ(ioctl(self->vm->fd, KVM_IOEVENTFD, &mmio), 0);
	EXPECT_EQ(ioctl(self->vm->fd, KVM_IOEVENTFD, &mmio), -1);
	EXPECT_EQ(errno, EEXIST);
	ASSERT_EQ(ioctl(self->vm->fd, KVM_IOEVENTFD, &pio), 0);
	ASSERT_EQ(vcpu_run(self->v), KVM_EXIT_MMIO);		/* 8 does not match */
	EXPECT_EQ(self->v->run->mmio.data[0], 8);
	/* a store is over when the VMM is told of it: 5 bytes for MOV to EDI, 6 for each store */
	EXPECT_EQ(vcpu_regs(self->v).rip, GUEST_CODE + 5 + 6 + 6);
	ASSERT_EQ(vcpu_run(self->v), KVM_EXIT_MMIO);		/* nor do two bytes */
	EXPECT_EQ(self->v->run->mmio.len, 2);
	ASSERT_TRUE(vcpu_run_done(self->v));
	ASSERT_EQ(read(mmio.fd, &n, 8), 8);
	EXPECT_EQ(n, 1);
	ASSERT_EQ(read(pio.fd, &n, 8), 8);
	EXPECT_EQ(n, 1);
	mmio.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
	EXPECT_EQ(ioctl(self->vm->fd, KVM_IOEVENTFD, &mmio), 0);
	EXPECT_EQ(ioctl(self->vm->fd, KVM_IOEVENTFD, &mmio), -1);
	EXPECT_EQ(errno, ENOENT);
	close(mmio.fd);
	close(pio.fd);
}

/* A device that was there once may be gone, have got company, or not want this value. */
GUEST(doorbell, 64, "mov $0xd0000000, %edi\n 1: in $0x99, %eax\n mov %eax, (%rdi)\n jmp 1b\n");

/* Writes @val, the vCPU being at IN. True: no one took it, and the VMM was told. */
static bool rings(struct vcpu *v, uint32_t val)
{
	bool told;

	*(uint32_t *)((void *)v->run + v->run->io.data_offset) = val;
	told = vcpu_run(v) == KVM_EXIT_MMIO;
	return told && v->run->mmio.phys_addr == GUEST_MMIO && vcpu_run(v) == KVM_EXIT_IO;
}

static int assign(struct vm *vm, int fd, int len, int match, bool take_off)
{
	struct kvm_ioeventfd e = {
		.addr = GUEST_MMIO, .len = len, .fd = fd, .datamatch = match,
		.flags = (match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0) |
			 (take_off ? KVM_IOEVENTFD_FLAG_DEASSIGN : 0),
	};

	return ioctl(vm->fd, KVM_IOEVENTFD, &e);
}

static uint64_t signals(int fd)
{
	uint64_t n = 0;

	return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

TEST_F(irq, a_doorbell_is_looked_for_anew)
{
	struct kvm_coalesced_mmio_zone zone = { .addr = GUEST_MMIO - 16, .size = 32 };
	int fd = eventfd(0, EFD_NONBLOCK), other = eventfd(0, EFD_NONBLOCK);
	struct vcpu *v = self->v;

	vm_load(self->vm, doorbell);
	ASSERT_EQ(vcpu_run(v), KVM_EXIT_IO);
	ASSERT_EQ(assign(self->vm, fd, 4, 0, false), 0);
	EXPECT_FALSE(rings(v, 7));
	EXPECT_FALSE(rings(v, 8));
	EXPECT_EQ(signals(fd), 2);
	ASSERT_EQ(assign(self->vm, fd, 4, 0, true), 0);
	EXPECT_TRUE(rings(v, 7));				/* gone */
	ASSERT_EQ(assign(self->vm, fd, 4, 7, false), 0);
	EXPECT_FALSE(rings(v, 7));
	EXPECT_TRUE(rings(v, 8));				/* not its value */
	ASSERT_EQ(assign(self->vm, other, 4, 8, false), 0);
	EXPECT_FALSE(rings(v, 7));				/* both are there */
	EXPECT_FALSE(rings(v, 8));
	EXPECT_FALSE(rings(v, 7));
	EXPECT_EQ(signals(fd), 3);
	EXPECT_EQ(signals(other), 1);
	ASSERT_EQ(assign(self->vm, other, 4, 8, true), 0);
	ASSERT_EQ(ioctl(self->vm->fd, KVM_REGISTER_COALESCED_MMIO, &zone), 0);
	EXPECT_FALSE(rings(v, 7));
	EXPECT_FALSE(rings(v, 9));				/* the zone behind it */
	EXPECT_EQ(signals(fd), 1);
	ASSERT_EQ(ioctl(self->vm->fd, KVM_UNREGISTER_COALESCED_MMIO, &zone), 0);
	EXPECT_TRUE(rings(v, 9));
	ASSERT_EQ(assign(self->vm, fd, 4, 7, true), 0);
	ASSERT_EQ(assign(self->vm, fd, 8, 0, false), 0);
	EXPECT_TRUE(rings(v, 7));				/* too short */
	ASSERT_EQ(assign(self->vm, fd, 8, 0, true), 0);
	ASSERT_EQ(assign(self->vm, fd, 0, 0, false), 0);	/* any length */
	EXPECT_FALSE(rings(v, 7));
	EXPECT_FALSE(rings(v, 7));
	EXPECT_EQ(signals(fd), 2);
	close(fd);
	close(other);
}

/* ---- several CPUs: INIT, SIPI, IPIs ---- */

/* The boot CPU starts CPU 1 at 0x9000 in real mode and waits for its mark. */
GUEST(start_ap, 64, APIC_ON "movl $0x1000000, 0x310(%rdi)\n movl $0x4500, 0x300(%rdi)\n"
		    "movl $0x1000000, 0x310(%rdi)\n movl $0x4609, 0x300(%rdi)\n"
		    "1: pause\n cmpw $0x1234, 0x9800\n jne 1b\n" DONE);
GUEST(ap, 16, "movw $0x1234, %cs:0x800\n 1: cli\n hlt\n jmp 1b\n");

static void *ap_thread(void *arg)
{
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	vcpu_run(arg);
	return NULL;
}

TEST_F(irq, init_and_sipi_start_a_cpu)
{
	struct vcpu *ap_cpu = vcpu_new(self->vm, 1);
	struct kvm_mp_state mp;
	pthread_t t;

	ASSERT_EQ(ioctl(ap_cpu->fd, KVM_GET_MP_STATE, &mp), 0);
	EXPECT_EQ(mp.mp_state, KVM_MP_STATE_UNINITIALIZED);
	vm_load(self->vm, start_ap);
	vm_load_bytes(self->vm, 0x9000, ap, GUEST_SIZE(ap));
	pthread_create(&t, NULL, ap_thread, ap_cpu);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_EQ(*(uint16_t *)(self->vm->mem + 0x9800), 0x1234);
	pthread_cancel(t);
	pthread_join(t, NULL);
}

/*
 * A CPU that waits in HLT for its lock, with interrupts off as Linux does for some, goes on when
 * another one tells it by KVM_HC_KICK_CPU (Documentation/virt/kvm/x86/hypercalls.rst); and does not
 * wait if it was told before.
 */
GUEST(waits_for_lock, 64, APIC_ON "cli\n 1: incq 0x100800\n hlt\n jmp 1b\n");
GUEST(kicks, 64, "mov $5, %eax\n xor %ebx, %ebx\n mov $1, %ecx\n vmcall\n" DONE);

static bool waits(volatile uint64_t *turns, uint64_t n)
{
	for (int ms = 0; *turns < n && ms < 20000; ms++)
		usleep(1000);
	return *turns >= n;
}

TEST_F(irq, a_kick_ends_hlt_with_interrupts_off)
{
	volatile uint64_t *turns = (void *)(self->vm->mem + 0x100800);
	struct vcpu *waiter = vcpu_new(self->vm, 1);
	struct kvm_mp_state runnable = { KVM_MP_STATE_RUNNABLE }, mp;
	struct kvm_regs r = { .rip = 0x9000, .rflags = 2, .rsp = GUEST_STACK };
	pthread_t t;

	vcpu_mode(waiter, MODE_LONG);
	ASSERT_EQ(ioctl(waiter->fd, KVM_SET_MP_STATE, &runnable), 0);
	vm_load(self->vm, waits_for_lock);
	vm_load_bytes(self->vm, 0x9000, kicks, GUEST_SIZE(kicks));
	pthread_create(&t, NULL, ap_thread, waiter);
	for (uint64_t n = 1; n <= 10; n++) {
		ASSERT_TRUE(waits(turns, n)) {
			TH_LOG("after %llu kicks", (unsigned long long)n - 1);
		}
		usleep(n % 2 ? 20000 : 0);
		EXPECT_EQ(*turns, n);
		vcpu_set_regs(self->v, &r);
		ASSERT_TRUE(vcpu_run_done(self->v));
		EXPECT_EQ(vcpu_regs(self->v).rax, 0);
	}
	ASSERT_TRUE(waits(turns, 11));
	usleep(200000);		/* one instruction, on a host that does other things */
	pthread_cancel(t);
	pthread_join(t, NULL);
	/* Nor is a kick lost that comes while the VMM has stopped it, and takes its state away. */
	ASSERT_EQ(ioctl(waiter->fd, KVM_GET_MP_STATE, &mp), 0);
	EXPECT_EQ(mp.mp_state, KVM_MP_STATE_HALTED);
	vcpu_set_regs(self->v, &r);
	ASSERT_TRUE(vcpu_run_done(self->v));
	ASSERT_EQ(ioctl(waiter->fd, KVM_GET_MP_STATE, &mp), 0);
	EXPECT_EQ(mp.mp_state, KVM_MP_STATE_RUNNABLE);
}

TEST_HARNESS_MAIN
