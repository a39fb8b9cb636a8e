// SPDX-License-Identifier: GPL-2.0
/*
 * Interrupt lines and eventfds as VMMs use them: resampling, EOI exits, status, zones,
 * and all of it while it goes away.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "vm.h"

#define MIB (1ul << 20)

/*
 * Vector 0x3a: counts at GUEST_DATA and ends the interrupt. With IF clear none comes but what an
 * emulator delivers twice (Documentation/emulator-bugs.md; test_irq tells of it).
 */
GUEST(count_it, 64, "push %rdx\n testl $0x200, 24(%rsp)\n jz 1f\n lock incq 0x100000\n"
		    "mov $0xfee000b0, %edx\n movl $0, (%rdx)\n 1: pop %rdx\n iretq\n");

#define VECTOR	0x3a
#define HANDLER	0x5000ul
#define COUNT(vm) (*(volatile uint64_t *)((vm)->mem + GUEST_DATA))
#define STOP(vm) (*(volatile uint8_t *)((vm)->mem + GUEST_DATA + 8))

/*
 * The local APIC is switched on, LINT0 masked; interrupts come until the
 * byte at GUEST_DATA + 8 is set.
 */
GUEST(wait_for_stop, 64,
	"mov $0xfee00000, %edi\n movl $0x1ff, 0xf0(%rdi)\n"
	"movl $0x10000, 0x350(%rdi)\n movb $1, 0x100009\n"
	"sti\n 1: cmpb $0, 0x100008\n je 1b\n cli\n" DONE);

static struct vm *make(int flags)
{
	struct vm *vm = vm_new(4 * MIB, flags);
	struct vcpu *v = vcpu_new(vm, 0);
	uint64_t *idt;

	vcpu_mode(v, MODE_LONG);
	vm_catch(v);
	idt = (void *)(vm->mem + GUEST_IDT);
	idt[2 * VECTOR] = HANDLER | 24 << 16 | 0x8e00ull << 32;
	idt[2 * VECTOR + 1] = 0;
	vm_load_bytes(vm, HANDLER, count_it, GUEST_SIZE(count_it));
	vm_load(vm, wait_for_stop);
	return vm;
}

struct runner {
	struct vcpu *v;
	pthread_t thread;
	bool ok;
};

static void *run(void *arg)
{
	struct runner *r = arg;

	r->ok = vcpu_run_done(r->v);
	return NULL;
}

static void start(struct runner *r, struct vcpu *v)
{
	r->v = v;
	pthread_create(&r->thread, NULL, run, r);
	while (!v->vm->mem[GUEST_DATA + 9])
		usleep(1000);
}

static bool stop(struct runner *r)
{
	STOP(r->v->vm) = 1;
	pthread_join(r->thread, NULL);
	return r->ok;
}

static bool readable(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t n;

	return poll(&p, 1, ms) == 1 && read(fd, &n, 8) == 8;
}

static void signal_fd(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, 8) != 8)
		perror("eventfd");
}

/* I/O APIC pin @pin through KVM_SET_IRQCHIP, as a VMM that restores a guest does. */
static int set_pin(struct vm *vm, unsigned int pin, uint64_t entry)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };

	if (ioctl(vm->fd, KVM_GET_IRQCHIP, &chip))
		return -1;
	chip.chip.ioapic.redirtbl[pin].bits = entry;
	return ioctl(vm->fd, KVM_SET_IRQCHIP, &chip);
}

static bool count_reaches(struct vm *vm, uint64_t n)
{
	int i;

	for (i = 0; i < 2000 && COUNT(vm) < n; i++)
		usleep(5000);
	return COUNT(vm) >= n;
}

TEST(a_resampled_line_falls_at_eoi_and_tells)
{
	struct vm *vm = make(VM_IRQCHIP);
	struct kvm_irqfd fd = {
		.fd = eventfd(0, 0), .resamplefd = eventfd(0, 0), .gsi = 10,
		.flags = KVM_IRQFD_FLAG_RESAMPLE,
	};
	struct runner r;
	int i;

	ASSERT_EQ(set_pin(vm, 10, 0x8000 | VECTOR), 0);
	ASSERT_EQ(ioctl(vm->fd, KVM_IRQFD, &fd), 0);
	start(&r, &vm->cpu[0]);
	for (i = 1; i <= 20; i++) {
		signal_fd(fd.fd);
		ASSERT_TRUE(readable(fd.resamplefd, 10000));
		EXPECT_EQ(COUNT(vm), i);
	}
	EXPECT_FALSE(readable(fd.resamplefd, 20));
	fd.flags |= KVM_IRQFD_FLAG_DEASSIGN;
	ASSERT_EQ(ioctl(vm->fd, KVM_IRQFD, &fd), 0);
	signal_fd(fd.fd);
	EXPECT_FALSE(readable(fd.resamplefd, 20));
	EXPECT_TRUE(stop(&r));
	EXPECT_EQ(COUNT(vm), 20);
	vm_free(vm);
	close(fd.fd);
	close(fd.resamplefd);
}

TEST(two_resamplers_share_a_line)
{
	struct vm *vm = make(VM_IRQCHIP);
	struct kvm_irqfd a = {
		.fd = eventfd(0, 0), .resamplefd = eventfd(0, 0), .gsi = 10,
		.flags = KVM_IRQFD_FLAG_RESAMPLE,
	};
	struct kvm_irqfd b = {
		.fd = eventfd(0, 0), .resamplefd = eventfd(0, 0), .gsi = 10,
		.flags = KVM_IRQFD_FLAG_RESAMPLE,
	};
	struct kvm_irq_level line = { .irq = 10, .level = 1 };
	struct runner r;

	ASSERT_EQ(set_pin(vm, 10, 0x8000 | VECTOR), 0);
	ASSERT_EQ(ioctl(vm->fd, KVM_IRQFD, &a), 0);
	ASSERT_EQ(ioctl(vm->fd, KVM_IRQFD, &b), 0);
	start(&r, &vm->cpu[0]);
	signal_fd(a.fd);
	EXPECT_TRUE(readable(a.resamplefd, 10000));
	EXPECT_TRUE(readable(b.resamplefd, 10000));
	/* The VMM's own level on the same pin is another source: the line stays up. */
	ASSERT_EQ(ioctl(vm->fd, KVM_IRQ_LINE, &line), 0);
	EXPECT_TRUE(count_reaches(vm, 5));
	line.level = 0;
	ASSERT_EQ(ioctl(vm->fd, KVM_IRQ_LINE, &line), 0);
	EXPECT_TRUE(stop(&r));
	vm_free(vm);
	close(a.fd);
	close(b.fd);
	close(a.resamplefd);
	close(b.resamplefd);
}

TEST(irqfd_arguments)
{
	struct vm *none = vm_new(MIB, 0), *split = vm_new(MIB, VM_SPLIT),
		  *full = vm_new(MIB, VM_IRQCHIP);
	struct kvm_irqfd fd = { .fd = eventfd(1, 0), .gsi = 5 }, bad;

	EXPECT_EQ(ioctl(none->fd, KVM_IRQFD, &fd), -1);
	EXPECT_EQ(errno, EINVAL);
	bad = fd;
	bad.flags = 4;
	EXPECT_EQ(ioctl(full->fd, KVM_IRQFD, &bad), -1);
	EXPECT_EQ(errno, EINVAL);
	bad.flags = KVM_IRQFD_FLAG_RESAMPLE;
	bad.resamplefd = fd.fd;
	EXPECT_EQ(ioctl(split->fd, KVM_IRQFD, &bad), -1);
	EXPECT_EQ(errno, EINVAL);
	bad.resamplefd = -1;
	EXPECT_EQ(ioctl(full->fd, KVM_IRQFD, &bad), -1);
	EXPECT_EQ(errno, EBADF);
	bad = fd;
	bad.fd = 0x7fffffff;
	EXPECT_EQ(ioctl(full->fd, KVM_IRQFD, &bad), -1);
	EXPECT_EQ(errno, EBADF);
	bad.fd = full->fd;
	EXPECT_EQ(ioctl(full->fd, KVM_IRQFD, &bad), -1);
	EXPECT_EQ(errno, EINVAL);
	bad = fd;
	bad.gsi = 0xffffffff;			/* leads nowhere, which is legal */
	EXPECT_EQ(ioctl(full->fd, KVM_IRQFD, &bad), 0);
	EXPECT_EQ(ioctl(full->fd, KVM_IRQFD, &fd), -1);
	EXPECT_EQ(errno, EBUSY);
	EXPECT_EQ(ioctl(split->fd, KVM_IRQFD, &fd), 0);	/* of another VM */
	bad.flags = KVM_IRQFD_FLAG_DEASSIGN;
	EXPECT_EQ(ioctl(full->fd, KVM_IRQFD, &bad), 0);
	EXPECT_EQ(ioctl(full->fd, KVM_IRQFD, &bad), 0);	/* nothing there: no error */
	vm_free(none);
	vm_free(split);
	vm_free(full);
	close(fd.fd);
}

TEST(closed_eventfds_leave_nothing)
{
	struct vm *vm = make(VM_IRQCHIP);
	struct kvm_irqfd fd = { .gsi = 10 };
	int i;

	for (i = 0; i < 500; i++) {
		fd.fd = eventfd(0, 0);
		ASSERT_GE(fd.fd, 0);
		fd.resamplefd = fd.fd;
		fd.flags = i % 3 ? 0 : KVM_IRQFD_FLAG_RESAMPLE;
		ASSERT_EQ(ioctl(vm->fd, KVM_IRQFD, &fd), 0);
		signal_fd(fd.fd);
		close(fd.fd);
	}
	vm_free(vm);
}

static int route_msi(struct vm *vm, uint32_t gsi, uint32_t data)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entry;
	} r = {
		.head = { .nr = 1 },
		.entry = { .gsi = gsi, .type = KVM_IRQ_ROUTING_MSI,
			   .u.msi = { .address_lo = 0xfee00000, .data = data } },
	};

	return ioctl(vm->fd, KVM_SET_GSI_ROUTING, &r);
}

TEST(an_eoi_of_the_vmms_pin_exits)
{
	struct vm *vm = make(VM_SPLIT);
	struct vcpu *v = &vm->cpu[0];
	struct kvm_irq_level line = { .irq = 3, .level = 1 };
	struct kvm_lapic_state apic;
	int i;

	ASSERT_EQ(route_msi(vm, 3, 0x8000 | VECTOR), 0);
	/*
	 * The APIC is on before the guest runs, so that the line can be driven by the same thread.
	 */
	ASSERT_EQ(ioctl(v->fd, KVM_GET_LAPIC, &apic), 0);
	apic.regs[0xf1] = 1;
	ASSERT_EQ(ioctl(v->fd, KVM_SET_LAPIC, &apic), 0);
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(ioctl(vm->fd, KVM_IRQ_LINE, &line), 0);
		ASSERT_EQ(vcpu_run(v), KVM_EXIT_IOAPIC_EOI);
		EXPECT_EQ(v->run->eoi.vector, VECTOR);
		EXPECT_EQ(COUNT(vm), i + 1);
	}
	/* As an edge it is nobody's business. */
	ASSERT_EQ(route_msi(vm, 3, VECTOR), 0);
	ASSERT_EQ(ioctl(vm->fd, KVM_IRQ_LINE, &line), 0);
	STOP(vm) = 1;
	ASSERT_TRUE(vcpu_run_done(v));
	vm_free(vm);
}

static int line_status(struct vm *vm, uint32_t irq, int level)
{
	struct kvm_irq_level line = { .irq = irq, .level = level };

	return ioctl(vm->fd, KVM_IRQ_LINE_STATUS, &line) ? -99 : (int)line.status;
}

TEST(the_status_tells_what_became_of_an_edge)
{
	struct vm *vm = make(VM_IRQCHIP), *none = vm_new(MIB, 0);
	struct kvm_irqchip pic = { .chip_id = KVM_IRQCHIP_PIC_SLAVE };
	struct kvm_irq_level line = { .irq = 8 };
	struct kvm_lapic_state apic;

	ASSERT_EQ(ioctl(vm->fd, KVM_GET_IRQCHIP, &pic), 0);
	pic.chip.pic.imr = 0xff;
	ASSERT_EQ(ioctl(vm->fd, KVM_SET_IRQCHIP, &pic), 0);
	EXPECT_LT(line_status(vm, 8, 1), 0);		/* masked in both */
	EXPECT_LT(line_status(vm, 23, 1), 0);
	EXPECT_LT(line_status(vm, 24, 1), 0);		/* leads nowhere */
	line_status(vm, 8, 0);
	ASSERT_EQ(ioctl(vm->cpu[0].fd, KVM_GET_LAPIC, &apic), 0);
	apic.regs[0xf1] = 1;
	ASSERT_EQ(ioctl(vm->cpu[0].fd, KVM_SET_LAPIC, &apic), 0);
	ASSERT_EQ(set_pin(vm, 8, VECTOR), 0);
	EXPECT_EQ(line_status(vm, 8, 1), 1);
	line_status(vm, 8, 0);
	EXPECT_EQ(line_status(vm, 8, 1), 0);		/* the first waits still: coalesced */
	EXPECT_EQ(ioctl(none->fd, KVM_IRQ_LINE, &line), -1);
	EXPECT_EQ(errno, ENXIO);
	vm_free(vm);
	vm_free(none);
}

GUEST(write_zone, 64,
	"mov $0xd0000000, %edi\n movl $0x11, (%rdi)\n"
	"movb $0x22, 0x7f(%rdi)\n movw $0x33, 0x80(%rdi)\n"
	"mov $0x44, %al\n mov $0x510, %dx\n out %al, %dx\n" DONE);

TEST(writes_to_a_zone_are_collected)
{
	struct vm *vm = make(0);
	struct kvm_coalesced_mmio_zone mmio = { .addr = GUEST_MMIO, .size = 0x80 };
	struct kvm_coalesced_mmio_zone pio = { .addr = 0x510, .size = 1, .pio = 1 };
	int page = ioctl(vm_sys(), KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO);
	struct kvm_coalesced_mmio_ring *ring;

	ASSERT_GT(page, 0);
	ring = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, vm->cpu[0].fd, page * 4096);
	ASSERT_NE(ring, MAP_FAILED);
	ASSERT_EQ(ioctl(vm->fd, KVM_REGISTER_COALESCED_MMIO, &mmio), 0);
	ASSERT_EQ(ioctl(vm->fd, KVM_REGISTER_COALESCED_MMIO, &pio), 0);
	vm_load(vm, write_zone);
	ASSERT_EQ(vcpu_run(&vm->cpu[0]), KVM_EXIT_MMIO);	/* behind the zone */
	EXPECT_EQ(vm->cpu[0].run->mmio.phys_addr, GUEST_MMIO + 0x80);
	ASSERT_TRUE(vcpu_run_done(&vm->cpu[0]));
	EXPECT_EQ(ring->first, 0);
	ASSERT_EQ(ring->last, 3);
	EXPECT_EQ(ring->coalesced_mmio[0].phys_addr, GUEST_MMIO);
	EXPECT_EQ(ring->coalesced_mmio[0].len, 4);
	EXPECT_EQ(ring->coalesced_mmio[0].data[0], 0x11);
	EXPECT_EQ(ring->coalesced_mmio[1].phys_addr, GUEST_MMIO + 0x7f);
	EXPECT_EQ(ring->coalesced_mmio[2].phys_addr, 0x510);
	EXPECT_EQ(ring->coalesced_mmio[2].pio, 1);
	EXPECT_EQ(ioctl(vm->fd, KVM_UNREGISTER_COALESCED_MMIO, &mmio), 0);
	munmap(ring, 4096);
	vm_free(vm);
}

/* ---- while it goes away ---- */

static volatile bool enough;

static void *signal_for_ever(void *arg)
{
	while (!enough)
		signal_fd(*(int *)arg);
	return NULL;
}

/* Routes, irqfds and MSIs from three threads while the guest takes what comes. */
TEST(everything_at_once)
{
	struct vm *vm = make(VM_IRQCHIP);
	struct kvm_msi msi = { .address_lo = 0xfee00000, .data = VECTOR };
	struct kvm_irqfd fd = { .fd = eventfd(0, 0), .gsi = 30 };
	struct runner r;
	pthread_t t;
	int i;

	enough = false;
	start(&r, &vm->cpu[0]);
	/* messages are lost until the guest has switched its APIC on */
	for (i = 0; i < 2000 && !COUNT(vm); i++) {
		ASSERT_GE(ioctl(vm->fd, KVM_SIGNAL_MSI, &msi), 0);
		usleep(5000);
	}
	pthread_create(&t, NULL, signal_for_ever, &fd.fd);
	for (i = 0; i < 100; i++) {
		fd.flags = 0;
		ASSERT_EQ(ioctl(vm->fd, KVM_IRQFD, &fd), 0);
		ASSERT_EQ(route_msi(vm, 30, VECTOR), 0);
		ASSERT_GE(ioctl(vm->fd, KVM_SIGNAL_MSI, &msi), 0);
		ASSERT_EQ(route_msi(vm, 31, VECTOR), 0);
		fd.flags = KVM_IRQFD_FLAG_DEASSIGN;
		ASSERT_EQ(ioctl(vm->fd, KVM_IRQFD, &fd), 0);
		/* with one CPU somebody else gets it, too */
		usleep(100);
	}
	enough = true;
	pthread_join(t, NULL);
	EXPECT_TRUE(count_reaches(vm, 1));
	EXPECT_TRUE(stop(&r));
	vm_free(vm);
	close(fd.fd);
}

/*
 * A VMM with the PIC asks for an interrupt window. As long as the local APIC masks ExtINT there is
 * none (and the guest is not kept from running for it); with LINT0 open it comes, and the vector
 * that is given then is taken.
 */
GUEST(window, 64, "mov $0xfee00000, %edi\n movl $0x1ff, 0xf0(%rdi)\n"
		  "movl $0x10000, 0x350(%rdi)\n out %al, $0x55\n"
		  "sti\n mov $1000, %ecx\n 1: dec %ecx\n jnz 1b\n out %al, $0x56\n"
		  "movl $0x700, 0x350(%rdi)\n 1: cmpb $0, 0x100000\n je 1b\n cli\n" DONE);

TEST(the_window_of_a_masked_lint0_stays_shut)
{
	struct vm *vm = make(VM_SPLIT);
	struct vcpu *v = &vm->cpu[0];
	struct kvm_interrupt irq = { .irq = VECTOR };

	vm_load(vm, window);
	ASSERT_EQ(vcpu_run(v), KVM_EXIT_IO);
	v->run->request_interrupt_window = 1;
	ASSERT_EQ(vcpu_run(v), KVM_EXIT_IO);
	EXPECT_EQ(v->run->io.port, 0x56);
	EXPECT_FALSE(v->run->ready_for_interrupt_injection);
	ASSERT_EQ(vcpu_run(v), KVM_EXIT_IRQ_WINDOW_OPEN);
	EXPECT_TRUE(v->run->ready_for_interrupt_injection);
	v->run->request_interrupt_window = 0;
	ASSERT_EQ(ioctl(v->fd, KVM_INTERRUPT, &irq), 0);
	EXPECT_TRUE(vcpu_run_done(v));
	EXPECT_EQ(COUNT(vm), 1);
	vm_free(vm);
}

/*
 * The VMM asks while the guest has IF clear, and the guest then waits by STI and HLT: the shadow of
 * STI covers HLT (SDM vol. 2, STI), so that the window opens when the CPU halts already.
 */
GUEST(window_in_hlt, 64, "mov $0xfee00000, %edi\n movl $0x1ff, 0xf0(%rdi)\n"
			 "movl $0x700, 0x350(%rdi)\n cli\n out %al, $0x55\n"
			 "sti\n hlt\n cli\n" DONE);

TEST(the_window_opens_in_hlt)
{
	struct vm *vm = make(VM_SPLIT);
	struct vcpu *v = &vm->cpu[0];
	struct kvm_interrupt irq = { .irq = VECTOR };

	vm_load(vm, window_in_hlt);
	ASSERT_EQ(vcpu_run(v), KVM_EXIT_IO);
	EXPECT_FALSE(v->run->ready_for_interrupt_injection);
	v->run->request_interrupt_window = 1;
	ASSERT_EQ(vcpu_run(v), KVM_EXIT_IRQ_WINDOW_OPEN);
	v->run->request_interrupt_window = 0;
	ASSERT_EQ(ioctl(v->fd, KVM_INTERRUPT, &irq), 0);
	EXPECT_TRUE(vcpu_run_done(v));
	EXPECT_EQ(COUNT(vm), 1);
	vm_free(vm);
}

/* A VMM is killed while somebody else drives its irqfd and its guest writes to an ioeventfd. */
GUEST(write_for_ever, 64, "sti\n mov $0xd0000000, %edi\n 1: movl $1, (%rdi)\n jmp 1b\n");

static void doomed(int irq, int io)
{
	struct vm *vm = make(VM_IRQCHIP);
	struct kvm_irqfd fd = { .fd = irq, .gsi = 30 };
	struct kvm_ioeventfd iofd = { .addr = GUEST_MMIO, .len = 4, .fd = io };

	vm_load(vm, write_for_ever);
	if (route_msi(vm, 30, VECTOR) || ioctl(vm->fd, KVM_IRQFD, &fd) ||
	    ioctl(vm->fd, KVM_IOEVENTFD, &iofd))
		_exit(1);
	vcpu_run(&vm->cpu[0]);
	_exit(2);
}

TEST(killed_while_eventfds_fire)
{
	int irq = eventfd(0, 0), io = eventfd(0, EFD_NONBLOCK), i, status;
	pthread_t t;
	pid_t child;

	enough = false;
	pthread_create(&t, NULL, signal_for_ever, &irq);
	for (i = 0; i < 5; i++) {
		child = fork();
		if (!child)
			doomed(irq, io);
		EXPECT_TRUE(readable(io, 20000));
		usleep(i * 500);
		kill(child, SIGKILL);
		ASSERT_EQ(waitpid(child, &status, 0), child);
		EXPECT_TRUE(WIFSIGNALED(status));
		while (readable(io, 0))
			;
	}
	enough = true;
	pthread_join(t, NULL);
	close(irq);
	close(io);
}

TEST_HARNESS_MAIN
