// SPDX-License-Identifier: GPL-2.0
/*
 * The local APIC's and the I/O APIC's less common sides, as
 * kvm-unit-tests and old systems use them.
 */

#include "kselftest_harness.h"
#include "vm.h"

#define MIB (1ul << 20)
#define HANDLER 0x5000ul
#define COUNT(vm, vector) (*(volatile uint64_t *)((vm)->mem + GUEST_DATA + 8 * (vector)))

FIXTURE(apic) { struct vm *vm; struct vcpu *v; };

FIXTURE_SETUP(apic)
{
	self->vm = vm_new(4 * MIB, VM_IRQCHIP);
	self->v = vcpu_new(self->vm, 0);
	vcpu_mode(self->v, MODE_LONG);
	vm_catch(self->v);
}

FIXTURE_TEARDOWN(apic) { vm_free(self->vm); }

/* The handler @code at @vector. */
static void handle(struct vm *vm, unsigned int vector, const void *code, size_t n)
{
	uint64_t *idt = (void *)(vm->mem + GUEST_IDT), at = HANDLER + (vector & 7) * 0x100;

	vm_load_bytes(vm, at, code, n);
	idt[2 * vector] = at | 24 << 16 | 0x8e00ull << 32;
	idt[2 * vector + 1] = 0;
}

#define APIC_ON "mov $0xfee00000, %edi\n movl $0x1ff, 0xf0(%rdi)\n"
#define NMI_SELF "movl $0x400, 0x300(%rdi)\n"

/* ---- NMI ---- */

/* The first handler sends ten more. */
GUEST(nmis, 64, "incl 0x100010\n cmpl $1, 0x100010\n jne 1f\n"
		NMI_SELF NMI_SELF NMI_SELF NMI_SELF NMI_SELF
		NMI_SELF NMI_SELF NMI_SELF NMI_SELF NMI_SELF "1: iretq\n");
GUEST(one_nmi, 64, APIC_ON NMI_SELF "1: cmpl $2, 0x100010\n jb 1b\n"
				    "mov $1000, %ecx\n 2: loop 2b\n" DONE);

TEST_F(apic, one_nmi_waits_for_the_end_of_another_and_no_more)
{
	handle(self->vm, 2, nmis, GUEST_SIZE(nmis));
	vm_load(self->vm, one_nmi);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_EQ(COUNT(self->vm, 2), 2);
}

GUEST(count_nmi, 64, "incl 0x100010\n iretq\n");
GUEST(idle, 64, "mov $1000, %ecx\n 1: loop 1b\n" DONE);

/* Of those that come at once the first is in service, the second waits. */
TEST_F(apic, two_nmis_at_once_are_two)
{
	int i;

	handle(self->vm, 2, count_nmi, GUEST_SIZE(count_nmi));
	vm_load(self->vm, idle);
	for (i = 0; i < 4; i++)
		ASSERT_EQ(ioctl(self->v->fd, KVM_NMI), 0);
	ASSERT_TRUE(vcpu_run_done(self->v));
	EXPECT_EQ(COUNT(self->vm, 2), 2);
}

/* ---- the page ---- */

#define APIC_BASE(val) "mov $0x1b, %ecx\n xor %edx, %edx\n mov $" val ", %eax\n wrmsr\n"

GUEST(moved, 64, APIC_ON "mov 0x30(%rdi), %r8d\n" APIC_BASE("0xfee00100") APIC_BASE("0xfed40900")
		 "mov $0xfed40000, %esi\n mov 0x30(%rsi), %r9d\n"
		 "movl $0x70, 0x80(%rsi)\n mov %cr8, %r10\n"
		 "mov 0x30(%rdi), %r11d\n" APIC_BASE("0xfee00900") "mov 0x80(%rdi), %r12d\n" DONE);

TEST_F(apic, the_page_is_where_the_guest_puts_it)
{
	struct kvm_regs r;

	vm_load(self->vm, moved);
	ASSERT_EQ(vcpu_run(self->v), KVM_EXIT_MMIO);	/* where it was there is nothing now */
	EXPECT_EQ(self->v->run->mmio.phys_addr, 0xfee00030);
	EXPECT_FALSE(self->v->run->mmio.is_write);
	memset(self->v->run->mmio.data, 0x5a, 8);
	ASSERT_TRUE(vcpu_run_done(self->v));
	r = vcpu_regs(self->v);
	EXPECT_EQ(r.r8 & 0xff, 0x14);
	EXPECT_EQ(r.r9, r.r8);
	EXPECT_EQ(r.r10, 7);
	EXPECT_EQ(r.r11, 0x5a5a5a5a);
	EXPECT_EQ(r.r12, 0x70);
}

/* Switched off it is gone from CPUID, its page reads as ones, the task priority still works. */
GUEST(off, 64, APIC_ON APIC_BASE("0xfee00100") "mov $1, %eax\n cpuid\n mov %edx, %r8d\n"
	       "movl $0x55555555, 0x80(%rdi)\n movb $0x55, 0x80(%rdi)\n"
	       "mov 0x30(%rdi), %r9d\n mov $9, %eax\n mov %rax, %cr8\n"
	       "mov 0x80(%rdi), %r10d\n mov %cr8, %r11\n" APIC_BASE("0xfee00900")
	       "mov $1, %eax\n cpuid\n mov %edx, %r12d\n mov 0x80(%rdi), %r13d\n" DONE);

TEST_F(apic, switched_off)
{
	struct kvm_regs r;

	vm_load(self->vm, off);
	ASSERT_TRUE(vcpu_run_done(self->v));
	r = vcpu_regs(self->v);
	EXPECT_EQ(r.r8 & 1 << 9, 0);
	EXPECT_EQ(r.r9, 0xffffffff);
	EXPECT_EQ(r.r10, 0xffffffff);
	EXPECT_EQ(r.r11, 9);
	EXPECT_EQ(r.r12 & 1 << 9, 1 << 9);
	EXPECT_EQ(r.r13, 0x90);
}

/* ---- IPIs ---- */

GUEST(count_44, 64, "push %rax\n incl 0x100220\n mov $0xfee000b0, %eax\n"
		    "movl $0, (%rax)\n pop %rax\n iretq\n");

/*
 * KVM_HC_SEND_IPI: to nobody; to the caller, whose id is 64, by each half of
 * the bitmap; what is no message.
 */
GUEST(pv_ipi, 64, APIC_ON "sti\n"
	"mov $10, %eax\n mov $0xffffffff, %ebx\n xor %ecx, %ecx\n"
	"mov $0xffffffff, %edx\n xor %esi, %esi\n vmcall\n mov %rax, %r8\n"
	"mov $10, %eax\n mov $2, %ebx\n xor %ecx, %ecx\n mov $63, %edx\n"
	"mov $0x44, %esi\n vmcall\n nop\n mov %rax, %r9\n"
	"mov $10, %eax\n xor %ebx, %ebx\n mov $1, %ecx\n xor %edx, %edx\n"
	"mov $0x44, %esi\n vmcall\n nop\n mov %rax, %r10\n"
	"mov $10, %eax\n mov $1, %ebx\n xor %ecx, %ecx\n xor %edx, %edx\n"
	"mov $0x80044, %esi\n vmcall\n mov %rax, %r11\n" DONE);

TEST_F(apic, paravirtual_ipis)
{
	struct kvm_mp_state mp = { KVM_MP_STATE_RUNNABLE };
	struct vcpu *v = vcpu_new(self->vm, 64);
	struct kvm_regs r;

	ASSERT_EQ(ioctl(v->fd, KVM_SET_MP_STATE, &mp), 0);
	vcpu_mode(v, MODE_LONG);
	vm_catch(v);
	handle(self->vm, 0x44, count_44, GUEST_SIZE(count_44));
	vm_load(self->vm, pv_ipi);
	r = vcpu_regs(v);
	r.rsp = GUEST_STACK;
	vcpu_set_regs(v, &r);
	ASSERT_TRUE(vcpu_run_done(v));
	r = vcpu_regs(v);
	EXPECT_EQ(r.r8, 0);
	EXPECT_EQ(r.r9, 1);
	EXPECT_EQ(r.r10, 1);
	EXPECT_EQ(r.r11, -22ull);
	EXPECT_EQ(COUNT(self->vm, 0x44), 2);
}

/* ---- the I/O APIC, the VMM's lines driven by the guest: OUT to 0x2000 + line ---- */

static bool run_with_lines(struct vcpu *v)
{
	struct kvm_irq_level line;
	struct kvm_run *run = v->run;

	while (vcpu_run(v) == KVM_EXIT_IO && run->io.port >= 0x2000 && run->io.port < 0x2018) {
		line.irq = run->io.port - 0x2000;
		line.level = ((uint8_t *)run)[run->io.data_offset];
		ioctl(v->vm->fd, KVM_IRQ_LINE, &line);
	}
	return run->exit_reason == KVM_EXIT_IO && run->io.port == GUEST_DONE;
}

/* Pin 14 with @low as its entry's lower half; the line is up or down. */
#define PIN(low) \
	"movl $0x2c, (%rsi)\n movl $" low ", 0x10(%rsi)\n movl $0x2d, (%rsi)\n" \
	"movl $0, 0x10(%rsi)\n"
#define LINE(level) "mov $" level ", %al\n mov $0x200e, %edx\n out %al, %dx\n"
#define START APIC_ON "movl $0x10000, 0x350(%rdi)\n mov $0xfec00000, %esi\n sti\n"
#define EOI "movl $0, 0xb0(%rdi)\n iretq\n"
#define COUNTED "incl 0x100220\n"

GUEST(lower, 64, COUNTED LINE("0") EOI);
GUEST(bounce, 64, COUNTED LINE("0") LINE("1") LINE("0") EOI);
GUEST(lower_second, 64, COUNTED "cmpl $2, 0x100220\n jb 1f\n" LINE("0") "1:" EOI);
GUEST(mask_it, 64, COUNTED PIN("0x18044") EOI);
GUEST(send_elsewhere, 64, COUNTED LINE("0") "movl $0x2d, (%rsi)\n"
				       "movl $0x1000000, 0x10(%rsi)\n" EOI);
GUEST(read_tmr, 64, COUNTED "mov 0x1a0(%rdi), %r9d\n" LINE("0") EOI);

GUEST(edge, 64, START PIN("0x44") LINE("1") LINE("0") "nop\n" DONE);
GUEST(level, 64, START PIN("0x8044") LINE("1") "nop\n" DONE);
GUEST(sequence, 64, START PIN("0x8044") LINE("1") LINE("1") "nop\n" DONE);
GUEST(halting, 64, START "cli\n" PIN("0x8044") LINE("1") "sti\n hlt\n cli\n" DONE);
GUEST(masked_edge, 64, START PIN("0x10044") LINE("1") LINE("0") PIN("0x44") "nop\n"
				 "mov 0x100220, %r8d\n" LINE("1") "nop\n" DONE);
GUEST(masked_level, 64, START PIN("0x18044") LINE("1") "nop\n mov 0x100220, %r8d\n"
				  PIN("0x8044") "nop\n" DONE);
GUEST(unmasked_again, 64, START PIN("0x8044") LINE("1") "nop\n mov 0x100220, %r8d\n"
				    PIN("0x8044") "nop\n" DONE);
GUEST(remote_irr, 64, START PIN("0x8044") LINE("1") "movl $0x2c, (%rsi)\n"
				"mov 0x10(%rsi), %r8d\n and $0x4000, %r8d\n" DONE);
GUEST(tmr_level, 64, START PIN("0x8044") "mov 0x1a0(%rdi), %r8d\n" LINE("1") "nop\n" DONE);
GUEST(tmr_edge, 64, START PIN("0x8044") LINE("1") "nop\n" PIN("0x44")
			      "mov 0x1a0(%rdi), %r8d\n" LINE("1") "nop\n" DONE);

TEST_F(apic, io_apic_lines)
{
#define CASE(code, handler, ...) \
	{ #code " " #handler, code, code##_end, handler, handler##_end, __VA_ARGS__ }
	static const struct {
		const char *name;
		const unsigned char *code, *code_end, *handler, *handler_end;
		unsigned int count;
		uint64_t r8, r9;
	} c[] = {
		CASE(edge, lower, 1), CASE(level, lower, 1), CASE(level, bounce, 1),
		CASE(sequence, lower, 2), CASE(halting, lower_second, 2),
		CASE(masked_edge, lower, 1), CASE(masked_level, lower, 1),
		CASE(unmasked_again, mask_it, 2, .r8 = 1), CASE(remote_irr, send_elsewhere, 1),
		CASE(tmr_level, read_tmr, 1, .r8 = 0, .r9 = 0x10),
		CASE(tmr_edge, read_tmr, 2, .r8 = 0x10, .r9 = 0),
	};
	struct kvm_irq_level down = { .irq = 14 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(c); i++) {
		TH_LOG("%s", c[i].name);
		vm_free(self->vm);
		self->vm = vm_new(4 * MIB, VM_IRQCHIP);
		self->v = vcpu_new(self->vm, 0);
		vcpu_mode(self->v, MODE_LONG);
		vm_catch(self->v);
		handle(self->vm, 0x44, c[i].handler, c[i].handler_end - c[i].handler);
		vm_load_bytes(self->vm, GUEST_CODE, c[i].code, c[i].code_end - c[i].code);
		EXPECT_TRUE(run_with_lines(self->v));
		EXPECT_EQ(COUNT(self->vm, 0x44), c[i].count);
		EXPECT_EQ(vcpu_regs(self->v).r8, c[i].r8);
		EXPECT_EQ(vcpu_regs(self->v).r9, c[i].r9);
		ioctl(self->vm->fd, KVM_IRQ_LINE, &down);
	}
}

/* ---- the timer ---- */

/*
 * What is left to count goes on through a change of mode; a period begins anew by itself, a single
 * shot ends at 0. The clock does not wait for a host that is busy: where the shot has ended before
 * it can become a period, this ends at once.
 */
#define COUNT_BELOW_HALF "1: mov 0x390(%rdi), %eax\n cmp $0x800000, %eax\n ja 1b\n"
GUEST(modes, 64, APIC_ON "movl $0xb, 0x3e0(%rdi)\n movl $0x10044, 0x320(%rdi)\n"
			 "movl $0x1000000, 0x380(%rdi)\n"
	COUNT_BELOW_HALF "movl $0x30044, 0x320(%rdi)\n mov 0x390(%rdi), %r8d\n"
			 "mov 0x380(%rdi), %r9d\n test %r8d, %r8d\n jz 4f\n"
	"2: mov 0x390(%rdi), %eax\n cmp $0x800000, %eax\n jbe 2b\n mov %eax, %r10d\n"
	COUNT_BELOW_HALF "movl $0x10044, 0x320(%rdi)\n mov 0x390(%rdi), %r11d\n"
	"3: cmpl $0, 0x390(%rdi)\n jne 3b\n movl $0x30044, 0x320(%rdi)\n"
	"mov 0x390(%rdi), %r12d\n 4:\n" DONE);

TEST_F(apic, the_timer_counts_on_when_its_mode_changes)
{
	const struct kvm_regs start = { .rip = GUEST_CODE, .rflags = 2, .rsp = GUEST_STACK };
	struct kvm_regs r = { };
	int i;

	vm_load(self->vm, modes);
	/*
	 * Nor does it between a look at the count and the change of mode: once in some
	 * tries both fall into one half.
	 */
	for (i = 0; i < 50 && !(r.r8 && r.r11 < 0x800000); i++) {
		vcpu_set_regs(self->v, &start);
		ASSERT_TRUE(vcpu_run_done(self->v));
		r = vcpu_regs(self->v);
	}
	EXPECT_LT(r.r8, 0x800000);
	EXPECT_GT(r.r8, 0);
	EXPECT_EQ(r.r9, 0x1000000);
	EXPECT_GT(r.r10, 0x800000);
	EXPECT_LT(r.r11, 0x800000);
	EXPECT_EQ(r.r12, 0);
}

/* A deadline that has passed is one at once: the interrupt comes ahead of the next instruction. */
GUEST(past, 64, APIC_ON "movl $0x40044, 0x320(%rdi)\n sti\n mov $0x10, %ecx\n"
			"rdmsr\n mov $0x6e0, %ecx\n wrmsr\n"
		"mov 0x100220, %r8d\n rdmsr\n" DONE);

TEST_F(apic, a_deadline_in_the_past)
{
	struct kvm_regs r;

	if (ioctl(vm_sys(), KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) <= 0)
		SKIP(return, "no TSC-deadline timer");
	handle(self->vm, 0x44, count_44, GUEST_SIZE(count_44));
	vm_load(self->vm, past);
	ASSERT_TRUE(vcpu_run_done(self->v));
	r = vcpu_regs(self->v);
	EXPECT_EQ(r.r8, 1);
	EXPECT_EQ((uint32_t)r.rax, 0);
}

TEST_HARNESS_MAIN
