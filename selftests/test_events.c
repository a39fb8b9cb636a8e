// SPDX-License-Identifier: GPL-2.0
/*
 * Events that the VMM sets and reads (KVM_SET_VCPU_EVENTS), and the end
 * of all events: the triple fault.
 */
#include "kselftest_harness.h"
#include "vm.h"

#define DF 8
#define GP 13
#define PF 14
#define IRQ 0x40		/* vector of an interrupt */
#define PAYLOAD 0x123456000ull

/* Left by the handlers below at GUEST_CAUGHT. */
struct seen {
	uint64_t vector, error, rip, cr2;	/* of the last one: struct guest_caught */
	uint64_t nested;			/* interrupts that came with IF clear */
	uint64_t inside;			/* what came inside a handler */
	uint64_t count[256];
};

/* In the place of vm_catch()'s: they count and return. */
GUEST(count_and_return, 64,
	"push %rax\n push %rbx\n mov $0x6000, %ebx\n"
	"mov 16(%rsp), %rax\n mov %rax, (%rbx)\n cmp $32, %rax\n jb 1f\n"
	"testl $0x200, 48(%rsp)\n jnz 1f\n incq 32(%rbx)\n jmp 2f\n"
	"1: incq 48(%rbx, %rax, 8)\n cmpq $0x8000, 32(%rsp)\n jae 3f\n incq 40(%rbx)\n 3:"
	"mov 24(%rsp), %rax\n mov %rax, 8(%rbx)\n mov 32(%rsp), %rax\n mov %rax, 16(%rbx)\n"
	"mov %cr2, %rax\n mov %rax, 24(%rbx)\n"
	"2: pop %rbx\n pop %rax\n add $16, %rsp\n iretq\n");
GUEST(irq_stub, 64, "push $0\n push $0x40\n mov $0x4200, %eax\n jmp *%rax\n");

/* Some exits and some time, in which nothing is to come twice. */
GUEST(linger, 64, "nop\n mov $20, %esi\n 1: xor %eax, %eax\n cpuid\n dec %esi\n jnz 1b\n" DONE);

FIXTURE(events) { struct vm *vm; struct vcpu *v; };
FIXTURE_VARIANT(events) { int flags; };
FIXTURE_VARIANT_ADD(events, no_chip) { 0 };
FIXTURE_VARIANT_ADD(events, chip) { VM_IRQCHIP };

static bool is_kvm(void)
{
	return !strcmp(vm_device(), "/dev/kvm");
}

static struct seen *seen(struct vcpu *v)
{
	return (void *)(v->vm->mem + GUEST_CAUGHT);
}

static int enable(struct vm *vm, uint32_t cap)
{
	struct kvm_enable_cap c = { .cap = cap, .args = { 1 } };

	return ioctl(vm->fd, KVM_ENABLE_CAP, &c);
}

static void start(struct vcpu *v)
{
	struct kvm_regs r = { .rip = GUEST_CODE, .rflags = 0x202, .rsp = GUEST_STACK };

	vcpu_set_regs(v, &r);
	memset(seen(v), 0, sizeof(struct seen));
}

FIXTURE_SETUP(events)
{
	uint64_t *idt;

	self->vm = vm_new(4 << 20, variant->flags);
	self->v = vcpu_new(self->vm, 0);
	vcpu_mode(self->v, MODE_LONG);
	vm_catch(self->v);
	vm_load_bytes(self->vm, GUEST_STUBS + 32 * 16, count_and_return,
		      GUEST_SIZE(count_and_return));
	vm_load_bytes(self->vm, GUEST_DATA, irq_stub, GUEST_SIZE(irq_stub));
	idt = (void *)(self->vm->mem + GUEST_IDT);
	idt[2 * IRQ] = (GUEST_DATA & 0xffff) | 24 << 16 | 0x8e00ull << 32 |
		       (GUEST_DATA >> 16) << 48;
	idt[2 * IRQ + 1] = 0;
	vm_load(self->vm, linger);
	start(self->v);
}

FIXTURE_TEARDOWN(events)
{
	vm_free(self->vm);
}

static struct kvm_vcpu_events get(struct vcpu *v)
{
	struct kvm_vcpu_events e;

	memset(&e, 0xff, sizeof(e));
	if (ioctl(v->fd, KVM_GET_VCPU_EVENTS, &e))
		memset(&e, 0xee, sizeof(e));
	return e;
}

static int set(struct vcpu *v, struct kvm_vcpu_events e)
{
	return ioctl(v->fd, KVM_SET_VCPU_EVENTS, &e);
}

/* Exactly these came, each once. */
static bool came(struct vcpu *v, int one, int another)
{
	bool ok = true;
	int i;

	for (i = 0; i < 256; i++)
		if (seen(v)->count[i] != (i == one || i == another)) {
			fprintf(stderr, "# vector %d came %lu times\n", i,
				(unsigned long)seen(v)->count[i]);
			ok = false;
		}
	if (seen(v)->nested)
		fprintf(stderr, "# %lu interrupts came with IF clear\n",
			(unsigned long)seen(v)->nested);
	return ok && (!seen(v)->nested || vm_host_is_tcg());
}

static bool nothing_left(struct vcpu *v)
{
	struct kvm_vcpu_events e = get(v);

	return !e.exception.injected && !e.exception.pending && !e.interrupt.injected &&
	       !e.nmi.injected && !e.nmi.pending && !e.nmi.masked;
}

/* ---- injected: in delivery already, delivered at the next entry whatever else there is ---- */

TEST_F(events, an_injected_exception_comes_once)
{
	static const struct { int vector; bool error; } e[] = {
		{ 0 }, { 6 }, { DF, true }, { GP, true }, { PF, true }, { 17, true },
	};
	struct kvm_vcpu_events ev;
	unsigned int i;

	for (i = 0; i < sizeof(e) / sizeof(e[0]); i++) {
		struct kvm_vcpu_events in = { .exception = { .injected = 1, .nr = e[i].vector,
			.has_error_code = e[i].error, .error_code = e[i].error ? i * 2 : 0 } };

		start(self->v);
		ASSERT_EQ(set(self->v, in), 0);
		ev = get(self->v);
		EXPECT_EQ(ev.exception.injected, 1);
		EXPECT_EQ(ev.exception.pending, 0);
		EXPECT_EQ(ev.exception.nr, e[i].vector);
		EXPECT_EQ(ev.exception.has_error_code, e[i].error);
		EXPECT_EQ(ev.exception.error_code, in.exception.error_code);
		ASSERT_TRUE(vcpu_run_done(self->v));
		EXPECT_TRUE(came(self->v, e[i].vector, e[i].vector));
		EXPECT_EQ(seen(self->v)->error, in.exception.error_code);
		EXPECT_EQ(seen(self->v)->rip, GUEST_CODE);
		EXPECT_TRUE(nothing_left(self->v));
	}
}

TEST_F(events, an_injected_interrupt_comes_once)
{
	struct kvm_vcpu_events in = { .interrupt = { .injected = 1, .nr = IRQ } }, ev;

	ASSERT_EQ(set(self->v, in), 0);
	ev = get(self->v);
	EXPECT_EQ(ev.interrupt.injected, 1);
	EXPECT_EQ(ev.interrupt.nr, IRQ);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_TRUE(came(self->v, IRQ, IRQ));
	EXPECT_EQ(seen(self->v)->rip, GUEST_CODE);
	EXPECT_TRUE(nothing_left(self->v));
}

/* It blocks others by itself: a state that says so already, as AMD's CPUs have it, is good too. */
TEST_F(events, an_injected_nmi_comes_once)
{
	struct kvm_vcpu_events in = { .nmi = { .injected = 1 } }, ev;
	unsigned int i;

	for (i = 0; i < 2; i++) {
		if (i && is_kvm() && !vm_is_amd())
			break;		/* the entry is refused */
		in.nmi.masked = i;
		start(self->v);
		ASSERT_EQ(set(self->v, in), 0);
		ev = get(self->v);
		EXPECT_EQ(ev.nmi.injected, 1);
		EXPECT_EQ(ev.nmi.pending, 0);
		ASSERT_TRUE(vcpu_run_done(self->v));
		EXPECT_TRUE(came(self->v, 2, 2));
		EXPECT_EQ(seen(self->v)->rip, GUEST_CODE);
		EXPECT_TRUE(nothing_left(self->v));
	}
}

/* A vector from the VMM's PIC, to a local APIC in the kernel: one at a time. */
TEST(a_vector_waits_for_the_last_one)
{
	struct vm *vm = vm_new(1 << 20, VM_SPLIT);
	struct vcpu *v = vcpu_new(vm, 0);
	struct kvm_interrupt irq = { IRQ };

	EXPECT_EQ(ioctl(v->fd, KVM_INTERRUPT, &irq), 0);
	EXPECT_EQ(ioctl(v->fd, KVM_INTERRUPT, &irq), -1);
	EXPECT_EQ(errno, EEXIST);
	vm_free(vm);
}

/* ---- pending ---- */

TEST_F(events, a_pending_nmi_comes_once)
{
	struct kvm_vcpu_events in = {
		.flags = KVM_VCPUEVENT_VALID_NMI_PENDING, .nmi = { .pending = 1 },
	};

	ASSERT_EQ(set(self->v, in), 0);
	EXPECT_EQ(get(self->v).nmi.pending, 1);
	EXPECT_EQ(get(self->v).nmi.injected, 0);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_TRUE(came(self->v, 2, 2));
	EXPECT_TRUE(nothing_left(self->v));
}

/*
 * One NMI blocks the next until its handler's IRET: the second finds the guest where the first did.
 */
TEST_F(events, an_nmi_waits_for_the_end_of_another)
{
	struct kvm_vcpu_events in = {
		.flags = KVM_VCPUEVENT_VALID_NMI_PENDING, .nmi = { .injected = 1, .pending = 1 },
	};

	ASSERT_EQ(set(self->v, in), 0);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_EQ(seen(self->v)->count[2], 2);
	EXPECT_EQ(seen(self->v)->inside, 0);
	EXPECT_EQ(seen(self->v)->rip, GUEST_CODE);
	EXPECT_TRUE(nothing_left(self->v));
}

/* Behind an NMI's handler, whose end IRET is. */
GUEST(unmasks, 64,
	"nop\n xor %eax, %eax\n cpuid\n mov %rsp, %rax\n push $16\n"
	"push %rax\n pushf\n push $24\n lea 1f(%rip), %rax\n"
	"push %rax\n iretq\n 1: nop\n cpuid\n" DONE);

TEST_F(events, a_pending_nmi_waits_while_nmis_are_masked)
{
	struct kvm_vcpu_events in = {
		.flags = KVM_VCPUEVENT_VALID_NMI_PENDING, .nmi = { .pending = 1, .masked = 1 },
	};

	ASSERT_EQ(set(self->v, in), 0);
	EXPECT_EQ(get(self->v).nmi.masked, 1);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_TRUE(came(self->v, -1, -1));
	EXPECT_EQ(get(self->v).nmi.pending, 1);
	EXPECT_EQ(get(self->v).nmi.masked, 1);
	vm_load(self->vm, unmasks);
	start(self->v);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_TRUE(came(self->v, 2, 2));
	EXPECT_GE(seen(self->v)->rip, GUEST_CODE + GUEST_SIZE(unmasks) - 5);
	EXPECT_TRUE(nothing_left(self->v));
}

/* A pending exception has not touched CR2 or DR6 yet: its payload has what they will be. */
TEST_F(events, a_pending_page_fault_has_its_address_as_payload)
{
	struct kvm_vcpu_events in = {
		.flags = KVM_VCPUEVENT_VALID_PAYLOAD,
		.exception_has_payload = 1, .exception_payload = PAYLOAD,
		.exception = { .pending = 1, .nr = PF, .has_error_code = 1, .error_code = 2 },
	}, ev;
	struct kvm_sregs s;

	ASSERT_EQ(enable(self->vm, KVM_CAP_EXCEPTION_PAYLOAD), 0);
	ASSERT_EQ(set(self->v, in), 0);
	ev = get(self->v);
	EXPECT_EQ(ev.flags & KVM_VCPUEVENT_VALID_PAYLOAD, KVM_VCPUEVENT_VALID_PAYLOAD);
	EXPECT_EQ(ev.exception.pending, 1);
	EXPECT_EQ(ev.exception.injected, 0);
	EXPECT_EQ(ev.exception.nr, PF);
	EXPECT_EQ(ev.exception.has_error_code, 1);
	EXPECT_EQ(ev.exception.error_code, 2);
	EXPECT_EQ(ev.exception_has_payload, 1);
	EXPECT_EQ(ev.exception_payload, PAYLOAD);
	ASSERT_EQ(ioctl(self->v->fd, KVM_GET_SREGS, &s), 0);
	EXPECT_EQ(s.cr2, 0);
	/* and once more what was read */
	ASSERT_EQ(set(self->v, ev), 0);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_TRUE(came(self->v, PF, PF));
	EXPECT_EQ(seen(self->v)->error, 2);
	EXPECT_EQ(seen(self->v)->cr2, PAYLOAD);
	EXPECT_EQ(seen(self->v)->rip, GUEST_CODE);
	EXPECT_TRUE(nothing_left(self->v));
}

TEST_F(events, a_pending_debug_exception_has_its_bits_as_payload)
{
	struct kvm_vcpu_events in = {
		.flags = KVM_VCPUEVENT_VALID_PAYLOAD,
		.exception_has_payload = 1, .exception_payload = 0x4002,
		.exception = { .pending = 1, .nr = 1 },
	}, ev;
	struct kvm_debugregs d = { .dr6 = 0xffff8ff1, .dr7 = 0x2400 };

	ASSERT_EQ(enable(self->vm, KVM_CAP_EXCEPTION_PAYLOAD), 0);
	ASSERT_EQ(ioctl(self->v->fd, KVM_SET_DEBUGREGS, &d), 0);
	ASSERT_EQ(set(self->v, in), 0);
	ev = get(self->v);
	EXPECT_EQ(ev.exception.pending, 1);
	EXPECT_EQ(ev.exception_has_payload, 1);
	EXPECT_EQ(ev.exception_payload, 0x4002);
	ASSERT_EQ(ioctl(self->v->fd, KVM_GET_DEBUGREGS, &d), 0);
	EXPECT_EQ(d.dr6, 0xffff8ff1);
	ASSERT_EQ(set(self->v, ev), 0);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_TRUE(came(self->v, 1, 1));
	/*
	 * B0-B3 are those of this one, the others stay until the guest clears them
	 * (SDM vol. 3 17.2.3); GD is clear
	 */
	ASSERT_EQ(ioctl(self->v->fd, KVM_GET_DEBUGREGS, &d), 0);
	EXPECT_EQ(d.dr6, 0xffffcff2);
	EXPECT_EQ(d.dr7, 0x400);
}

/*
 * A VMM that knows nothing of payloads reads a pending exception as pending
 * and injected, CR2 as it will be.
 */
TEST_F(events, without_the_capability_there_is_no_payload)
{
	struct kvm_vcpu_events in = {
		.flags = KVM_VCPUEVENT_VALID_PAYLOAD, .exception = { .pending = 1, .nr = PF },
	};
	struct kvm_guest_debug debug = { .control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_INJECT_DB };
	struct kvm_vcpu_events ev;

	EXPECT_EQ(set(self->v, in), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_TRUE(nothing_left(self->v));
	ASSERT_EQ(ioctl(self->v->fd, KVM_SET_GUEST_DEBUG, &debug), 0);
	ev = get(self->v);
	EXPECT_EQ(ev.flags & KVM_VCPUEVENT_VALID_PAYLOAD, 0);
	EXPECT_EQ(ev.exception.nr, 1);
	EXPECT_EQ(ev.exception.pending, 1);
	EXPECT_EQ(ev.exception.injected, 1);
	/* given back it comes once */
	ASSERT_EQ(set(self->v, ev), 0);
	EXPECT_EQ(get(self->v).exception.injected, 1);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_TRUE(came(self->v, 1, 1));
}

/*
 * Nothing is lost: the NMI in delivery is first, the exception comes ahead of
 * its handler's first instruction.
 */
TEST_F(events, an_exception_behind_an_nmi)
{
	struct kvm_vcpu_events in = {
		.flags = KVM_VCPUEVENT_VALID_PAYLOAD,
		.nmi = { .injected = 1 }, .exception = { .pending = 1, .nr = 6 },
	};

	if (is_kvm())
		SKIP(return, "KVM drops the NMI");
	ASSERT_EQ(enable(self->vm, KVM_CAP_EXCEPTION_PAYLOAD), 0);
	ASSERT_EQ(set(self->v, in), 0);
	EXPECT_EQ(get(self->v).nmi.injected, 1);
	EXPECT_EQ(get(self->v).exception.pending, 1);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_TRUE(came(self->v, 2, 6));
	EXPECT_EQ(seen(self->v)->inside, 1);
	EXPECT_TRUE(nothing_left(self->v));
}

/* ---- triple faults ---- */

GUEST(ud2, 64, "nop\n ud2\n");

static void no_idt(struct vcpu *v)
{
	struct kvm_sregs s;

	ioctl(v->fd, KVM_GET_SREGS, &s);
	s.idt.limit = 0;
	ioctl(v->fd, KVM_SET_SREGS, &s);
}

/*
 * AMD: after a shutdown nothing of the state is defined (APM vol. 2 15.14.3), so that the vCPU is
 * as after INIT. Intel: a triple fault leaves everything as it was (SDM vol. 3 28.1).
 */
TEST_F(events, what_a_triple_fault_leaves)
{
	struct kvm_regs r = vcpu_regs(self->v);
	struct kvm_mp_state mp;
	struct kvm_sregs s;

	vm_load(self->vm, ud2);
	no_idt(self->v);
	r.rbx = 0x1234;
	vcpu_set_regs(self->v, &r);
	ASSERT_EQ(vcpu_run(self->v), KVM_EXIT_SHUTDOWN);
	r = vcpu_regs(self->v);
	ASSERT_EQ(ioctl(self->v->fd, KVM_GET_SREGS, &s), 0);
	if (vm_is_amd()) {
		EXPECT_EQ(r.rip, 0xfff0);
		EXPECT_EQ(r.rflags, 2);
		EXPECT_EQ(r.rbx, 0);
		EXPECT_EQ(s.cs.base, 0xffff0000);
		EXPECT_EQ(s.cs.selector, 0xf000);
		EXPECT_EQ(s.cr0, 0x10);		/* CD and NW stay as they were */
		EXPECT_EQ(s.cr3, 0);
		EXPECT_EQ(s.cr4, 0);
		EXPECT_EQ(s.efer, 0);
		EXPECT_EQ(s.idt.limit, 0xffff);
	} else {
		EXPECT_EQ(r.rip, GUEST_CODE + 1);
		EXPECT_EQ(r.rbx, 0x1234);
		EXPECT_EQ(s.idt.limit, 0);
		EXPECT_EQ(s.efer & 0x500, 0x500);
	}
	ASSERT_EQ(ioctl(self->v->fd, KVM_GET_MP_STATE, &mp), 0);
	EXPECT_EQ(mp.mp_state, KVM_MP_STATE_RUNNABLE);
	EXPECT_TRUE(nothing_left(self->v));
	/* set up anew it runs */
	vm_load(self->vm, linger);
	vcpu_mode(self->v, MODE_LONG);
	vm_catch(self->v);
	start(self->v);
	ASSERT_TRUE(vcpu_run_done(self->v));
}

/* An exception that cannot be delivered while #DF is in delivery. */
TEST_F(events, a_fault_in_a_double_fault)
{
	struct kvm_vcpu_events in = {
		.exception = { .injected = 1, .nr = DF, .has_error_code = 1 },
	};

	no_idt(self->v);
	ASSERT_EQ(set(self->v, in), 0);
	ASSERT_EQ(vcpu_run(self->v), KVM_EXIT_SHUTDOWN);
	EXPECT_TRUE(nothing_left(self->v));
}

TEST_F(events, a_pending_triple_fault)
{
	struct kvm_vcpu_events in = {
		.flags = KVM_VCPUEVENT_VALID_TRIPLE_FAULT, .triple_fault = { .pending = 1 },
	}, ev;

	if (ioctl(self->vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_TRIPLE_FAULT_EVENT) <= 0)
		SKIP(return, "no KVM_CAP_X86_TRIPLE_FAULT_EVENT");
	/* unknown until it is asked for */
	EXPECT_EQ(get(self->v).flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT, 0);
	EXPECT_EQ(set(self->v, in), -1);
	EXPECT_EQ(errno, EINVAL);
	ASSERT_EQ(enable(self->vm, KVM_CAP_X86_TRIPLE_FAULT_EVENT), 0);
	ev = get(self->v);
	EXPECT_EQ(ev.flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT, KVM_VCPUEVENT_VALID_TRIPLE_FAULT);
	EXPECT_EQ(ev.triple_fault.pending, 0);
	ASSERT_EQ(set(self->v, in), 0);
	EXPECT_EQ(get(self->v).triple_fault.pending, 1);
	/* taken back */
	in.triple_fault.pending = 0;
	ASSERT_EQ(set(self->v, in), 0);
	EXPECT_EQ(get(self->v).triple_fault.pending, 0);
	ASSERT_TRUE(vcpu_run_done(self->v));
	/* or not: it comes before the guest does anything, once */
	start(self->v);
	in.triple_fault.pending = 1;
	ASSERT_EQ(set(self->v, in), 0);
	ASSERT_EQ(vcpu_run(self->v), KVM_EXIT_SHUTDOWN);
	EXPECT_EQ(vcpu_regs(self->v).rip, GUEST_CODE);
	EXPECT_EQ(get(self->v).triple_fault.pending, 0);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_TRUE(came(self->v, -1, -1));
}

TEST_HARNESS_MAIN
