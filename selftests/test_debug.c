// SPDX-License-Identifier: GPL-2.0
/* Debug registers of the guest, and debugging a guest from outside: KVM_SET_GUEST_DEBUG. */
#include "kselftest_harness.h"
#include "vm.h"

#define DR6_B0		(1u << 0)
#define DR6_BD		(1u << 13)
#define DR6_BS		(1u << 14)
#define DR6_NONE	0xffff0ff0u	/* nothing reported: bits always set (SDM vol. 3 17.2.3) */
#define DR7_NONE	0x400u
#define DR7_GD		(1u << 13)
#define DB		1
#define BP		3

FIXTURE(debug) { struct vm *vm; struct vcpu *v; };

FIXTURE_SETUP(debug)
{
	self->vm = vm_new(4 << 20, 0);
	self->v = vcpu_new(self->vm, 0);
	vcpu_mode(self->v, MODE_LONG);
	vm_catch(self->v);
}

FIXTURE_TEARDOWN(debug)
{
	vm_free(self->vm);
}

static bool is_kvm(void)
{
	return !strcmp(vm_device(), "/dev/kvm");
}

/* In-tree KVM lets the guest have the debug registers, and TCG has its own idea of them. */
static bool registers_are_tcgs(void)
{
	return is_kvm() && vm_host_is_tcg();
}

static void start_bytes(struct vcpu *v, const unsigned char *code, size_t n)
{
	struct kvm_regs r = { .rip = GUEST_CODE, .rflags = 2, .rsp = GUEST_STACK };

	vm_load_bytes(v->vm, GUEST_CODE, code, n);
	memset(vm_caught(v->vm), 0xff, sizeof(struct guest_caught));
	vcpu_set_regs(v, &r);
}
#define start(v, name) start_bytes(v, name, GUEST_SIZE(name))

static struct kvm_debugregs debugregs(struct vcpu *v)
{
	struct kvm_debugregs d = { 0 };

	ioctl(v->fd, KVM_GET_DEBUGREGS, &d);
	return d;
}

static int set_debugregs(struct vcpu *v, uint64_t dr0, uint64_t dr6, uint64_t dr7)
{
	struct kvm_debugregs d = { .db = { dr0 }, .dr6 = dr6, .dr7 = dr7 };

	return ioctl(v->fd, KVM_SET_DEBUGREGS, &d);
}

/* ---- MOV DR in the guest ---- */

/* The stack pointer is an operand like any other. */
GUEST(addresses, 64,
	"movabs $0xffff800012345678, %rax\n mov %rax, %dr0\n mov $0x1111, %ebx\n mov %rbx, %dr1\n"
	"mov %rsp, %rbp\n mov $0x2222, %esp\n mov %rsp, %dr2\n"
	"mov $0x3333, %r15d\n mov %r15, %dr3\n"
	"mov %dr0, %r8\n mov %dr1, %rsp\n mov %rsp, %r9\n"
	"mov %rbp, %rsp\n mov %dr2, %r10\n mov %dr3, %r11\n" DONE);

TEST_F(debug, addresses_are_kept)
{
	struct kvm_debugregs d;
	struct kvm_regs r;

	start(self->v, addresses);
	ASSERT_TRUE(vcpu_run_done(self->v));
	r = vcpu_regs(self->v);
	d = debugregs(self->v);
	EXPECT_EQ(r.r8, 0xffff800012345678);
	EXPECT_EQ(r.r9, 0x1111);
	EXPECT_EQ(r.r10, 0x2222);
	EXPECT_EQ(r.r11, 0x3333);
	EXPECT_EQ(r.rsp, GUEST_STACK);
	EXPECT_EQ(d.db[0], 0xffff800012345678);
	EXPECT_EQ(d.db[1], 0x1111);
	EXPECT_EQ(d.db[2], 0x2222);
	EXPECT_EQ(d.db[3], 0x3333);
}

/* Fixed bits (SDM vol. 3 17.2.3, 17.2.4; APM vol. 2 13.1.1.3, 13.1.1.4). */
GUEST(fixed_bits, 64,
	"xor %eax, %eax\n mov %rax, %dr6\n mov %dr6, %r8\n"
	"mov $0xffffffff, %eax\n mov %rax, %dr6\n mov %dr6, %r9\n"
	"xor %eax, %eax\n mov %rax, %dr7\n mov %dr7, %r10\n"
	"mov $0xffffdfff, %eax\n mov %rax, %dr7\n mov %dr7, %r11\n"
	"xor %eax, %eax\n mov %rax, %dr7\n" DONE);

TEST_F(debug, fixed_bits)
{
	struct kvm_regs r;

	if (registers_are_tcgs())
		SKIP(return, "TCG keeps what is written");
	start(self->v, fixed_bits);
	ASSERT_TRUE(vcpu_run_done(self->v));
	r = vcpu_regs(self->v);
	EXPECT_EQ(r.r8 | 1 << 16, DR6_NONE);
	EXPECT_EQ(r.r9, 0xffffefff);
	EXPECT_EQ(r.r10, DR7_NONE);
	/* the enable bit of RTM is there where its bit in DR6 can be 0 */
	EXPECT_EQ(r.r11, r.r8 >> 16 & 1 ? 0xffff07ff : 0xffff0fff);
}

/* DR4 and DR5 are other names of DR6 and DR7 (SDM vol. 3 17.2.2) ... */
GUEST(aliases, 64,
	"mov $0x5, %eax\n mov %rax, %dr4\n mov %dr6, %r8\n"
	"mov %dr4, %r9\n mov $0x300, %eax\n mov %rax, %dr5\n"
	"mov %dr7, %r10\n mov %dr5, %r11\n" DONE);

TEST_F(debug, dr4_and_dr5_are_aliases)
{
	struct kvm_regs r;

	start(self->v, aliases);
	ASSERT_TRUE(vcpu_run_done(self->v));
	r = vcpu_regs(self->v);
	EXPECT_EQ(r.r8, DR6_NONE | 5);
	EXPECT_EQ(r.r9, DR6_NONE | 5);
	EXPECT_EQ(r.r10, DR7_NONE | 0x300);
	EXPECT_EQ(r.r11, DR7_NONE | 0x300);
}

/* ... unless CR4.DE is set. Each faults with its first instruction behind a NOP. */
#define FAULTS(name, text) GUEST(name, 64, "nop\n" text "\n" DONE)
FAULTS(read_dr4, "mov %dr4, %rax");
FAULTS(read_dr5, "mov %dr5, %rax");
FAULTS(write_dr4, "mov %rax, %dr4");
FAULTS(write_dr5, "mov %rax, %dr5");
FAULTS(write_dr6, "mov %rax, %dr6");
FAULTS(write_dr7, "mov %rax, %dr7");
FAULTS(read_dr0, "mov %dr0, %rax");
FAULTS(write_dr3, "mov %rax, %dr3");
FAULTS(read_dr6, "mov %dr6, %rax");

struct fault { const char *name; const unsigned char *code, *end; };
#define FAULT(n) { #n, n, n##_end }

/* RAX as given; all of them fault with this vector, at the instruction, and change nothing. */
static void all_fault(struct __test_metadata *_metadata, struct vcpu *v, const struct fault *f,
		      unsigned int n, uint64_t rax, unsigned int vector)
{
	struct kvm_regs r;

	for (; n; n--, f++) {
		TH_LOG("%s", f->name);
		start_bytes(v, f->code, f->end - f->code);
		r = vcpu_regs(v);
		r.rax = rax;
		vcpu_set_regs(v, &r);
		ASSERT_TRUE(vcpu_run_done(v));
		EXPECT_EQ(vm_caught(v->vm)->vector, vector);
		EXPECT_EQ(vm_caught(v->vm)->error, 0);
		EXPECT_EQ(vm_caught(v->vm)->rip, GUEST_CODE + 1);
		EXPECT_EQ(vcpu_regs(v).rax, rax);
	}
}

TEST_F(debug, with_debug_extensions_they_are_undefined)
{
	static const struct fault f[] = {
		FAULT(read_dr4), FAULT(read_dr5), FAULT(write_dr4), FAULT(write_dr5),
	};
	struct kvm_sregs s;

	ASSERT_EQ(ioctl(self->v->fd, KVM_GET_SREGS, &s), 0);
	s.cr4 |= 8;
	ASSERT_EQ(ioctl(self->v->fd, KVM_SET_SREGS, &s), 0);
	all_fault(_metadata, self->v, f, 4, 0x5a5a, 6);
}

TEST_F(debug, upper_halves_of_dr6_and_dr7_are_zero)
{
	static const struct fault f[] = {
		FAULT(write_dr6), FAULT(write_dr7), FAULT(write_dr4), FAULT(write_dr5),
	};

	all_fault(_metadata, self->v, f, 4, 1ull << 32, 13);
	all_fault(_metadata, self->v, f, 4, 1ull << 63 | DR7_NONE, 13);
	EXPECT_EQ(debugregs(self->v).dr7, DR7_NONE);
}

/* Outside 64-bit mode there are no upper halves, whatever the register holds. */
GUEST(write_dr7_32, 32, "mov %eax, %dr7\n mov %dr7, %ebx\n" DONE);

TEST_F(debug, outside_64_bit_mode_32_bits_are_moved)
{
	struct kvm_regs r;

	if (registers_are_tcgs())
		SKIP(return, "TCG moves all of it");
	vcpu_mode(self->v, MODE_PROT);
	start(self->v, write_dr7_32);
	r = vcpu_regs(self->v);
	r.rax = 0xffffffff00000700;
	vcpu_set_regs(self->v, &r);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_EQ(vcpu_regs(self->v).rbx, 0x700);
	EXPECT_EQ(debugregs(self->v).dr7, 0x700);
}

/*
 * General detect (SDM vol. 3 17.2.4): any MOV DR gives #DB with BD, ahead of the
 * move; GD is clear in the handler.
 */
TEST_F(debug, general_detect)
{
	static const struct fault f[] = {
		FAULT(read_dr0), FAULT(write_dr3), FAULT(read_dr6), FAULT(write_dr7),
	};
	unsigned int i;

	if (registers_are_tcgs())
		SKIP(return, "TCG knows nothing of it");
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(set_debugregs(self->v, 0, DR6_NONE, DR7_NONE | DR7_GD), 0);
		all_fault(_metadata, self->v, &f[i], 1, 0x77, DB);
		EXPECT_EQ(debugregs(self->v).dr6, DR6_NONE | DR6_BD);
		EXPECT_EQ(debugregs(self->v).dr7, DR7_NONE);
		EXPECT_EQ(debugregs(self->v).db[3], 0);
	}
}

/* The handler may use the registers, GD being clear there. */
GUEST(uses_registers, 64, "mov %dr6, %rbx\n mov %dr7, %rcx\n" DONE);

TEST_F(debug, the_handler_of_general_detect_has_the_registers)
{
	uint64_t *idt = (void *)(self->vm->mem + GUEST_IDT);

	if (registers_are_tcgs())
		SKIP(return, "TCG knows nothing of it");
	start(self->v, read_dr0);
	vm_load_bytes(self->vm, GUEST_DATA, uses_registers, GUEST_SIZE(uses_registers));
	idt[2 * DB] = (GUEST_DATA & 0xffff) | 24 << 16 | 0x8e00ull << 32 | (GUEST_DATA >> 16) << 48;
	ASSERT_EQ(set_debugregs(self->v, 0, DR6_NONE, DR7_NONE | DR7_GD), 0);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_EQ(vcpu_regs(self->v).rbx, DR6_NONE | DR6_BD);
	EXPECT_EQ(vcpu_regs(self->v).rcx, DR7_NONE);
}

/* DR0 watches four bytes for writes, DR1 an instruction; both are armed by the guest. */
GUEST(watched, 64,
	"mov $0x100000, %eax\n mov %rax, %dr0\n mov $0xd0402, %ebx\n mov %rbx, %dr7\n"
	"mov (%rax), %ecx\n movl $1, (%rax)\n after_write: nop\n" DONE);
GUEST(fetched, 64,
	"lea 1f(%rip), %rax\n mov %rax, %dr1\n mov $0x404, %ebx\n mov %rbx, %dr7\n nop\n"
	"1: mov $5, %ecx\n" DONE);
extern const unsigned char after_write[];

static bool unheeded(struct vm *vm)
{
	return vm_caught(vm)->vector == ~0ull && vm_host_is_tcg();
}

TEST_F(debug, a_breakpoint_of_the_guest_traps)
{
	if (registers_are_tcgs())
		SKIP(return, "TCG keeps what the guest has armed, for everybody and for ever");
	start(self->v, watched);
	ASSERT_TRUE(vcpu_run_done(self->v));
	if (unheeded(self->vm))
		SKIP(return, "TCG's VMRUN loads DR7 and arms nothing");
	EXPECT_EQ(vm_caught(self->vm)->vector, DB);
	EXPECT_EQ(vm_caught(self->vm)->rip, GUEST_CODE + (after_write - watched));
	EXPECT_EQ(debugregs(self->v).dr6, DR6_NONE | DR6_B0);
	EXPECT_EQ(*(uint32_t *)(self->vm->mem + GUEST_DATA), 1);
	set_debugregs(self->v, 0, DR6_NONE, DR7_NONE);
	start(self->v, fetched);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_EQ(vm_caught(self->vm)->vector, DB);
	EXPECT_EQ(vm_caught(self->vm)->rip, GUEST_CODE + GUEST_SIZE(fetched) - 7);
	EXPECT_EQ(debugregs(self->v).dr6, DR6_NONE | 2);
	EXPECT_NE(vcpu_regs(self->v).rcx, 5);
}

/* ---- KVM_SET_GUEST_DEBUG ---- */

static int guest_debug(struct vcpu *v, uint32_t control, uint64_t dr0, uint64_t dr7)
{
	struct kvm_guest_debug d = {
		.control = control ? control | KVM_GUESTDBG_ENABLE : 0, .arch = { { dr0 } },
	};

	d.arch.debugreg[7] = dr7;
	return ioctl(v->fd, KVM_SET_GUEST_DEBUG, &d);
}

GUEST(plain, 64, "nop\n int3\n mov $1, %ebx\n" DONE);

/* As if the guest had executed INT3 where it stands: the handler returns behind it. */
TEST_F(debug, an_injected_breakpoint_is_the_guests)
{
	struct kvm_regs r;

	start(self->v, plain);
	r = vcpu_regs(self->v);
	r.rip++;
	vcpu_set_regs(self->v, &r);
	ASSERT_EQ(guest_debug(self->v, KVM_GUESTDBG_INJECT_BP, 0, 0), 0);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_EQ(vm_caught(self->vm)->vector, BP);
	EXPECT_EQ(vm_caught(self->vm)->rip, GUEST_CODE + 2);
	ASSERT_EQ(guest_debug(self->v, 0, 0, 0), 0);
}

TEST_F(debug, an_injected_debug_exception_is_the_guests)
{
	start(self->v, plain);
	ASSERT_EQ(guest_debug(self->v, KVM_GUESTDBG_INJECT_DB, 0, 0), 0);
	/* one at a time */
	EXPECT_EQ(guest_debug(self->v, KVM_GUESTDBG_INJECT_DB, 0, 0), -1);
	EXPECT_EQ(errno, EBUSY);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_EQ(vm_caught(self->vm)->vector, DB);
	EXPECT_EQ(vm_caught(self->vm)->rip, GUEST_CODE);
	ASSERT_EQ(guest_debug(self->v, 0, 0, 0), 0);
}

/* Lengths of the instructions, and what each needs from the VMM before it is over. */
GUEST(steps, 64,
	"nop\n sti\n mov $1, %eax\n cpuid\n out %al, $0x80\n in $0x80, %al\n jmp 1f\n nop\n"
	"1: mov %cr0, %rax\n mov $0x277, %ecx\n rdmsr\n push %rax\n cli\n" DONE);
static const struct { int len, exit; } step[] = {
	{ 1 }, { 1 }, { 5 }, { 2 }, { 2, KVM_EXIT_IO }, { 2, KVM_EXIT_IO }, { 3 }, { 3 },
	{ 5 }, { 2 }, { 1 }, { 1 },
};
#define AT_STI 1

TEST_F(debug, single_steps)
{
	uint64_t rip = GUEST_CODE;
	unsigned int i;

	start(self->v, steps);
	ASSERT_EQ(guest_debug(self->v, KVM_GUESTDBG_SINGLESTEP, 0, DR7_NONE), 0);
	for (i = 0; i < sizeof(step) / sizeof(step[0]); i++) {
		rip += step[i].len;
		if (step[i].exit)
			ASSERT_EQ(vcpu_run(self->v), step[i].exit);
		ASSERT_EQ(vcpu_run(self->v), KVM_EXIT_DEBUG);
		/* up to 7.2 it traps behind the next instruction only */
		if (i == AT_STI && vm_host_is_tcg() && self->v->run->debug.arch.pc != rip)
			rip += step[++i].len;
		EXPECT_EQ(self->v->run->debug.arch.exception, DB);
		EXPECT_EQ(self->v->run->debug.arch.pc, rip);
		EXPECT_EQ(self->v->run->debug.arch.dr6, DR6_NONE | DR6_BS);
		EXPECT_EQ(vcpu_regs(self->v).rip, rip);
		EXPECT_EQ(vcpu_regs(self->v).rflags & 0x100, 0);
	}
	/* the guest's own register knows nothing of it */
	EXPECT_EQ(debugregs(self->v).dr6 & DR6_BS, 0);
	ASSERT_EQ(guest_debug(self->v, 0, 0, 0), 0);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_EQ(vm_caught(self->vm)->vector, ~0ull);
}

/*
 * kvmtool's gdb sets TF as well: there is one step all the same, and nothing comes to the guest.
 */
GUEST(traced, 64, "nop\n mov $1, %eax\n nop\n cpuid\n out %al, $0x80\n nop\n nop\n" DONE);

TEST_F(debug, a_step_stands_for_the_guests_own)
{
	static const int len[] = { 1, 5, 1, 2, 2, 1 };
	uint64_t rip = GUEST_CODE;
	struct kvm_regs r;
	unsigned int i;
	int exit;

	start(self->v, traced);
	r = vcpu_regs(self->v);
	ASSERT_EQ(vcpu_run(self->v), KVM_EXIT_IO);		/* its page is mapped */
	ASSERT_EQ(vcpu_run(self->v), KVM_EXIT_IO);
	r.rflags |= 0x100;
	vcpu_set_regs(self->v, &r);
	ASSERT_EQ(guest_debug(self->v, KVM_GUESTDBG_SINGLESTEP, 0, DR7_NONE), 0);
	for (i = 0; i < sizeof(len) / sizeof(len[0]); i++) {
		rip += len[i];
		exit = i == 4 ? vcpu_run(self->v) : KVM_EXIT_IO;
		if (exit == KVM_EXIT_DEBUG && self->v->run->debug.arch.pc == rip - len[i])
			SKIP(return, "Bochs keeps the trap of an instruction that exits");
		ASSERT_EQ(exit, KVM_EXIT_IO);
		ASSERT_EQ(vcpu_run(self->v), KVM_EXIT_DEBUG);
		EXPECT_EQ(self->v->run->debug.arch.pc, rip);
		EXPECT_EQ(self->v->run->debug.arch.dr6, DR6_NONE | DR6_BS);
	}
	r = vcpu_regs(self->v);
	r.rflags &= ~0x100ull;
	vcpu_set_regs(self->v, &r);
	ASSERT_EQ(guest_debug(self->v, 0, 0, 0), 0);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_EQ(vm_caught(self->vm)->vector, ~0ull);
}

/*
 * KVM_GUESTDBG_SINGLESTEP is for where the vCPU stands. Snapchange leaves it on, sets RIP and runs;
 * it steps when it sets TF, which it is not told again.
 */
TEST_F(debug, steps_end_when_rip_is_set)
{
	uint64_t rip = GUEST_CODE + 1;
	struct kvm_regs r;
	int i;

	start(self->v, traced);
	ASSERT_EQ(guest_debug(self->v, KVM_GUESTDBG_SINGLESTEP, 0, DR7_NONE), 0);
	r = vcpu_regs(self->v);
	r.rip = rip;
	vcpu_set_regs(self->v, &r);
	ASSERT_EQ(vcpu_run(self->v), KVM_EXIT_IO);
	EXPECT_EQ(vcpu_regs(self->v).rip, GUEST_CODE + 9);
	ASSERT_EQ(vcpu_run(self->v), KVM_EXIT_IO);		/* the guest's last */
	r.rflags |= 0x100;
	vcpu_set_regs(self->v, &r);
	for (i = 0; i < 2; i++) {
		rip += i ? 1 : 5;
		ASSERT_EQ(vcpu_run(self->v), KVM_EXIT_DEBUG);
		EXPECT_EQ(self->v->run->debug.arch.pc, rip);
		EXPECT_EQ(vcpu_regs(self->v).rip, rip);
		EXPECT_EQ(vcpu_regs(self->v).rflags & 0x100, 0);
	}
	r = vcpu_regs(self->v);
	vcpu_set_regs(self->v, &r);
	ASSERT_EQ(vcpu_run(self->v), KVM_EXIT_IO);
	ASSERT_EQ(guest_debug(self->v, 0, 0, 0), 0);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_EQ(vm_caught(self->vm)->vector, ~0ull);
}

/* What was in DR0 when it was armed is in nobody's report when it is not. */
TEST_F(debug, a_step_tells_nothing_of_breakpoints_before)
{
	int i;

	if (is_kvm())
		SKIP(return, "KVM hands on what the CPU says");
	start(self->v, steps);
	ASSERT_EQ(guest_debug(self->v, KVM_GUESTDBG_USE_HW_BP, GUEST_CODE + 16, DR7_NONE | 2), 0);
	ASSERT_EQ(vcpu_run(self->v), KVM_EXIT_IO);
	ASSERT_EQ(guest_debug(self->v, KVM_GUESTDBG_SINGLESTEP, 0, DR7_NONE), 0);
	for (i = 0; i < 3; i++) {
		if (i == 1)
			ASSERT_EQ(vcpu_run(self->v), KVM_EXIT_IO);
		ASSERT_EQ(vcpu_run(self->v), KVM_EXIT_DEBUG);
		EXPECT_EQ(self->v->run->debug.arch.dr6, DR6_NONE | DR6_BS);
	}
	EXPECT_EQ(self->v->run->debug.arch.pc, GUEST_CODE + 16);
}

/*
 * With KVM_GUESTDBG_BLOCKIRQ interrupts and NMIs wait (api.rst, KVM_SET_GUEST_DEBUG), and so does
 * the VMM's interrupt window; the guest goes on all the same.
 */
GUEST(held_back, 16, "nop\n nop\n nop\n nop\n" DONE);

TEST_F(debug, steps_hold_back_what_waits)
{
	struct kvm_regs r;
	int i;

	start(self->v, held_back);
	r = vcpu_regs(self->v);
	r.rflags |= 0x200;
	vcpu_set_regs(self->v, &r);
	self->v->run->request_interrupt_window = !is_kvm();	/* KVM says that it is open */
	ASSERT_EQ(guest_debug(self->v, KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_BLOCKIRQ, 0,
			      DR7_NONE), 0);
	for (i = 1; i <= 3; i++) {
		ASSERT_EQ(vcpu_run(self->v), KVM_EXIT_DEBUG);
		EXPECT_EQ(self->v->run->debug.arch.pc, GUEST_CODE + i);
		if (i == 1)
			ASSERT_EQ(ioctl(self->v->fd, KVM_NMI), 0);
	}
	self->v->run->request_interrupt_window = 0;
	ASSERT_EQ(guest_debug(self->v, 0, 0, 0), 0);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_EQ(vm_caught(self->vm)->vector, 2);
}

/* Instructions that are emulated end like any other. */
GUEST(step_device, 64,
	"mov $0xd0000000, %edi\n mov (%rdi), %eax\n"
	"mov %eax, (%rdi)\n incl (%rdi)\n mov %dr7, %rax\n" DONE);

TEST_F(debug, steps_over_what_is_emulated)
{
	static const int exits[] = { 0, 1, 1, 2, 0 };	/* to the VMM for each instruction */
	uint64_t rip = GUEST_CODE + 3;
	int i, k;

	if (is_kvm())
		SKIP(return, "KVM forgets to step from there on");
	start(self->v, step_device);
	ASSERT_EQ(guest_debug(self->v, KVM_GUESTDBG_SINGLESTEP, 0, DR7_NONE), 0);
	for (i = 0; i < 5; i++) {
		for (k = 0; k < exits[i]; k++)
			ASSERT_EQ(vcpu_run(self->v), KVM_EXIT_MMIO);
		rip += i == 4 ? 3 : 2;
		ASSERT_EQ(vcpu_run(self->v), KVM_EXIT_DEBUG);
		EXPECT_EQ(self->v->run->debug.arch.pc, rip);
		EXPECT_EQ(self->v->run->debug.arch.dr6, DR6_NONE | DR6_BS);
		EXPECT_EQ(vcpu_regs(self->v).rip, rip);
	}
	ASSERT_EQ(guest_debug(self->v, 0, 0, 0), 0);
	ASSERT_TRUE(vcpu_run_done(self->v));
}

/* INT3 comes to the VMM, which finds the vCPU on it; given back, it is the guest's. */
TEST_F(debug, software_breakpoint)
{
	int r;

	start(self->v, plain);
	ASSERT_EQ(guest_debug(self->v, KVM_GUESTDBG_USE_SW_BP, 0, DR7_NONE), 0);
	r = vcpu_run(self->v);
	if (r == KVM_EXIT_IO && vm_caught(self->vm)->vector == BP && vm_host_is_tcg())
		SKIP(return, "TCG's INT3 does not look at the intercept of #BP");
	ASSERT_EQ(r, KVM_EXIT_DEBUG);
	EXPECT_EQ(self->v->run->debug.arch.exception, BP);
	EXPECT_EQ(self->v->run->debug.arch.pc, GUEST_CODE + 1);
	EXPECT_EQ(vcpu_regs(self->v).rip, GUEST_CODE + 1);
	/* nothing was delivered, so that it comes again */
	ASSERT_EQ(vcpu_run(self->v), KVM_EXIT_DEBUG);
	EXPECT_EQ(self->v->run->debug.arch.pc, GUEST_CODE + 1);
	ASSERT_EQ(guest_debug(self->v, KVM_GUESTDBG_USE_SW_BP | KVM_GUESTDBG_INJECT_BP, 0,
			      DR7_NONE), 0);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_EQ(vm_caught(self->vm)->vector, BP);
	EXPECT_EQ(vm_caught(self->vm)->rip, GUEST_CODE + 2);
}

/* The VMM's breakpoints stand in for the guest's, which keeps its registers. */
TEST_F(debug, hardware_breakpoint)
{
	int r;

	start(self->v, step_device);
	ASSERT_EQ(set_debugregs(self->v, 0x1234, DR6_NONE, DR7_NONE), 0);
	ASSERT_EQ(guest_debug(self->v, KVM_GUESTDBG_USE_HW_BP, GUEST_CODE + 5, DR7_NONE | 2), 0);
	r = vcpu_run(self->v);
	EXPECT_EQ(debugregs(self->v).db[0], 0x1234);
	EXPECT_EQ(debugregs(self->v).dr7, DR7_NONE);
	if (r == KVM_EXIT_MMIO && vm_host_is_tcg())
		SKIP(return, "TCG's VMRUN loads DR7 and arms nothing");
	ASSERT_EQ(r, KVM_EXIT_DEBUG);
	EXPECT_EQ(self->v->run->debug.arch.exception, DB);
	EXPECT_EQ(self->v->run->debug.arch.pc, GUEST_CODE + 5);
	EXPECT_EQ(self->v->run->debug.arch.dr6, DR6_NONE | DR6_B0);
	EXPECT_EQ(debugregs(self->v).dr6, DR6_NONE);
}

/* The VMM's general detect is the VMM's. */
TEST_F(debug, general_detect_of_the_vmm)
{
	if (registers_are_tcgs())
		SKIP(return, "TCG knows nothing of it");
	start(self->v, read_dr0);
	ASSERT_EQ(guest_debug(self->v, KVM_GUESTDBG_USE_HW_BP, 0, DR7_NONE | DR7_GD), 0);
	ASSERT_EQ(vcpu_run(self->v), KVM_EXIT_DEBUG);
	EXPECT_EQ(self->v->run->debug.arch.exception, DB);
	EXPECT_EQ(self->v->run->debug.arch.pc, GUEST_CODE + 1);
	EXPECT_EQ(self->v->run->debug.arch.dr6, DR6_NONE | DR6_BD);
	ASSERT_EQ(guest_debug(self->v, 0, 0, 0), 0);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_EQ(vm_caught(self->vm)->vector, ~0ull);
}

TEST_HARNESS_MAIN
