// SPDX-License-Identifier: GPL-2.0
/*
 * The guest of the VMMs' sequences. It makes its first device accesses (serial port, a virtio-mmio
 * device), takes interrupts of its local APIC's timer and of the device, starts a second CPU, reads
 * kvmclock; then it leaves marks all over the CPU, arms a timer and asks for a snapshot. Behind it,
 * it looks whether all of that is still there.
 */
#include "vmm.h"

/* Where things are; the boot protocols have theirs at 0x500-0xbfff. */
#define TRAMPOLINE	0xc000
#define IDT		0x30000
#define GDT		0x31000
#define CODE		0x100000
#define PVH_CODE	0x108000

/* FAIL_UNLESS(condition of equality, number) */
#define FAIL_NE(n) "je 99f\n movq $" #n ", 0x30(%rbx)\n out %al, $0x9a\n 99:\n"
#define FAIL_B(n) "jae 99f\n movq $" #n ", 0x30(%rbx)\n out %al, $0x9a\n 99:\n"
#define SAY(c) "mov $0x3f8, %edx\n mov $" #c ", %al\n out %al, %dx\n"
/*
 * Halts until a count is there. An emulator that takes interrupts behind STI, before HLT, is not
 * halted in: a wake-up would be lost.
 */
#define WAIT(count, n) \
	"1: cmpq $" #n ", " #count "(%rbx)\n jae 4f\n testb $8, (%rbx)\n jnz 2f\n" \
	"sti\n hlt\n jmp 3f\n" \
	"2: sti\n pause\n pause\n 3: cli\n jmp 1b\n 4:\n"
/* A register of the local APIC: its number (offset / 16), eax */
#define APIC(reg, val) "mov $" #reg ", %ecx\n mov $" #val ", %eax\n call apic_write\n"
#define WRMSR(index, high, low) \
	"mov $" #index ", %ecx\n mov $" #high ", %edx\n mov $" #low ", %eax\n wrmsr\n"

GUEST(vmm_main, 64,
	"cli\n mov $0x6000, %ebx\n lgdt 0x31ff0\n lidt 0x31fe0\n mov $0x5f00, %esp\n"
	"push $8\n lea 1f(%rip), %rax\n push %rax\n lretq\n"
	"1: mov $16, %eax\n mov %eax, %ds\n mov %eax, %es\n mov %eax, %ss\n"
	/* the fourth GiB, by 2 MiB pages */
	"mov %cr3, %rax\n and $-4096, %rax\n mov (%rax), %rax\n"
	"and $-4096, %rax\n movq $0x32003, 24(%rax)\n"
	"mov $0x32000, %edi\n mov $0xc0000083, %eax\n mov $512, %ecx\n"
	"1: mov %rax, (%rdi)\n add $0x200000, %eax\n add $8, %rdi\n dec %ecx\n jnz 1b\n"
	"mov %cr3, %rax\n mov %rax, %cr3\n"

	/* a hypervisor that says KVM; a serial port; a virtio device */
	"push %rbx\n mov $0x40000000, %eax\n cpuid\n cmp $0x4b4d564b, %ebx\n pop %rbx\n" FAIL_NE(1)
	SAY(0x57)
	"mov $0x3fd, %edx\n in %dx, %al\n cmp $0x60, %al\n" FAIL_NE(2)
	"mov 8(%rbx), %rsi\n mov (%rsi), %eax\n cmp $0x74726976, %eax\n" FAIL_NE(3)
	"movl $1, 0x70(%rsi)\n movw $2, 0x74(%rsi)\n movb $3, 0x76(%rsi)\n"
	"movl $0, 0x50(%rsi)\n"
	"testb $4, (%rbx)\n jz 1f\n in $0x61, %al\n out %al, $0x61\n 1:\n"

	/* no PIC; the local APIC and its timer */
	"mov $0xff, %al\n out %al, $0x21\n out %al, $0xa1\n"
	"testb $1, (%rbx)\n jz 1f\n mov $0x1b, %ecx\n rdmsr\n or $0xc00, %eax\n wrmsr\n 1:\n"
	APIC(0xf, 0x1ff) APIC(0x3e, 0xb) APIC(0x32, 0x20030) APIC(0x38, 1000000)
	WAIT(0x10, 3)
	APIC(0x32, 0x10030) APIC(0x38, 0)

	/* the device's interrupt */
	"testb $2, (%rbx)\n jz 1f\n mov $0xfec00000, %edi\n"
	"movl $0x1b, (%rdi)\n movl $0, 16(%rdi)\n movl $0x1a, (%rdi)\n movl $0x35, 16(%rdi)\n 1:\n"
	SAY(0x69)
	WAIT(0x18, 1)

	/*
	 * the second CPU; with IF set, since Bochs does not end the run
	 * of a guest that waits without it
	 */
	"call start_ap\n sti\n 1: pause\n cmpw $1, 0x20(%rbx)\n jb 1b\n cli\n"

	/* kvmclock, and marks */
	WRMSR(0x4b564d01, 0, 0x33001)
	"call clock\n mov %rax, 0x40(%rbx)\n"
	WRMSR(0xc0000082, 0xffffffff, 0x81000000) WRMSR(0xc0000102, 0xffff8880, 0x12345000)
	WRMSR(0x277, 0x00070106, 0x00070106) WRMSR(0x176, 0, 0x5678)
	"mov $0x123000, %eax\n mov %rax, %dr0\n testb $16, (%rbx)\n"
	"jnz 1f\n mov $2, %eax\n mov %rax, %cr8\n 1:\n"
	"mov %cr4, %rax\n or $0x600, %eax\n mov %rax, %cr4\n"
	"mov %cr0, %rax\n and $~0xc, %eax\n or $2, %eax\n mov %rax, %cr0\n"
	"movabs $0x1122334455667788, %rax\n movq %rax, %xmm7\n fninit\n fldpi\n"
	"mov %rax, %r8\n mov $0x200000, %edi\n mov $8192, %ecx\n"
	"1: mov %r8, %rdx\n shl $13, %rdx\n xor %rdx, %r8\n"
	"mov %r8, %rdx\n shr $7, %rdx\n xor %rdx, %r8\n"
	"mov %r8, (%rdi)\n add $8, %rdi\n dec %ecx\n jnz 1b\n"
	"call sum\n mov %rax, 0x48(%rbx)\n"
	"movq $0, 0x10(%rbx)\n" APIC(0x32, 0x40030)
	"call tsc\n mov %rax, 0x38(%rbx)\n add $30000000, %rax\n"
	"mov %rax, %rdx\n shr $32, %rdx\n mov $0x6e0, %ecx\n wrmsr\n"
	"movabs $0xfeedfacecafebeef, %r15\n"
	SAY(0x53)

	/* ---- behind the snapshot ---- */
	"movabs $0xfeedfacecafebeef, %rax\n cmp %rax, %r15\n" FAIL_NE(10)
	"movq %xmm7, %rax\n movabs $0x1122334455667788, %rcx\n cmp %rax, %rcx\n" FAIL_NE(11)
	"sub $16, %rsp\n fstpt (%rsp)\n movabs $0xc90fdaa22168c235, %rax\n"
	"cmp %rax, (%rsp)\n" FAIL_NE(12)
	"add $16, %rsp\n mov %dr0, %rax\n cmp $0x123000, %rax\n" FAIL_NE(13)
	"testb $16, (%rbx)\n jnz 99f\n mov %cr8, %rax\n cmp $2, %rax\n" FAIL_NE(14)
	"mov $0xc0000082, %ecx\n rdmsr\n cmp $0x81000000, %eax\n" FAIL_NE(15)
	"mov $0xc0000102, %ecx\n rdmsr\n cmp $0xffff8880, %edx\n" FAIL_NE(16)
	"mov $0x277, %ecx\n rdmsr\n cmp $0x00070106, %eax\n" FAIL_NE(17)
	"mov $0x176, %ecx\n rdmsr\n cmp $0x5678, %eax\n" FAIL_NE(18)
	"call sum\n mov %rax, 0x60(%rbx)\n cmp 0x48(%rbx), %rax\n" FAIL_NE(19)
	"call tsc\n mov %rax, 0x50(%rbx)\n cmp 0x38(%rbx), %rax\n" FAIL_B(20)
	"call clock\n mov %rax, 0x58(%rbx)\n cmp 0x40(%rbx), %rax\n" FAIL_B(21)
	WAIT(0x10, 1)
	"mov 8(%rbx), %rsi\n movl $0, 0x50(%rsi)\n"
	"mov (%rsi), %eax\n cmp $0x74726976, %eax\n" FAIL_NE(22)
	SAY(0x69)
	WAIT(0x18, 2)
	"call start_ap\n sti\n 1: pause\n cmpw $2, 0x20(%rbx)\n jb 1b\n cli\n"
	"cmpq $1, 0x10(%rbx)\n" FAIL_NE(23)
	DONE "hlt\n"

	"tsc: lfence\n rdtsc\n shl $32, %rdx\n or %rdx, %rax\n ret\n"
	"sum: xor %eax, %eax\n mov $0x200000, %edi\n mov $8192, %ecx\n"
	"1: add (%rdi), %rax\n rol $5, %rax\n add $8, %rdi\n dec %ecx\n jnz 1b\n ret\n"
	"clock: mov $0x33000, %edi\n 1: mov (%rdi), %r8d\n test $1, %r8b\n jnz 1b\n"
	"lfence\n rdtsc\n shl $32, %rdx\n or %rdx, %rax\n sub 8(%rdi), %rax\n"
	"movsbl 28(%rdi), %ecx\n test %ecx, %ecx\n js 2f\n"
	"shl %cl, %rax\n jmp 3f\n 2: neg %ecx\n shr %cl, %rax\n"
	"3: mov 24(%rdi), %edx\n mul %rdx\n shrd $32, %rdx, %rax\n add 16(%rdi), %rax\n"
	"cmp (%rdi), %r8d\n jne 1b\n ret\n"
	"apic_write: testb $1, 0x6000\n jz 1f\n or $0x800, %ecx\n xor %edx, %edx\n wrmsr\n ret\n"
	"1: shl $4, %ecx\n mov $0xfee00000, %edi\n mov %eax, (%rdi, %rcx)\n ret\n"
	"start_ap: mov $0xc500, %eax\n call ipi\n mov $0x460c, %eax\n call ipi\n ret\n"
	"ipi: testb $1, 0x6000\n jz 1f\n mov $0x830, %ecx\n mov $1, %edx\n wrmsr\n ret\n"
	"1: mov $0xfee00000, %edi\n movl $0x1000000, 0x310(%rdi)\n mov %eax, 0x300(%rdi)\n ret\n"
	/* the handlers: what comes with IF clear no CPU sends */
	".globl vmm_on_timer, vmm_on_irq, vmm_on_other\n"
	"vmm_on_timer: testl $0x200, 16(%rsp)\n jz 2f\n lock incq 0x6010\n jmp 1f\n"
	"vmm_on_irq: testl $0x200, 16(%rsp)\n jz 2f\n lock incq 0x6018\n"
	"1: push %rax\n push %rcx\n push %rdx\n push %rdi\n" APIC(0xb, 0)
	"pop %rdi\n pop %rdx\n pop %rcx\n pop %rax\n iretq\n"
	"2: lock incq 0x6028\n iretq\n"
	"vmm_on_other: movq $0xbad, 0x6030\n out %al, $0x9a\n");
extern const unsigned char vmm_on_timer[], vmm_on_irq[], vmm_on_other[];

/* The second CPU counts itself and halts. */
GUEST(vmm_ap, 16, "xor %ax, %ax\n mov %ax, %ds\n lock incw 0x6020\n 1: cli\n hlt\n jmp 1b\n");

/*
 * Entered by the PVH protocol: 32 bits without paging. The tables are where
 * those of the 64-bit protocol are.
 */
GUEST(vmm_pvh, 32,
	"cli\n mov $0x9000, %edi\n xor %eax, %eax\n mov $0xc00, %ecx\n rep stosl\n"
	"movl $0xa003, 0x9000\n movl $0xb003, 0xa000\n mov $0xb000, %edi\n mov $0x83, %eax\n"
	"1: mov %eax, (%edi)\n add $8, %edi\n add $0x200000, %eax\n cmp $0xc000, %edi\n jb 1b\n"
	"mov $0x9000, %eax\n mov %eax, %cr3\n mov %cr4, %eax\n or $0x20, %eax\n mov %eax, %cr4\n"
	"mov $0xc0000080, %ecx\n rdmsr\n or $0x100, %eax\n wrmsr\n"
	"mov %cr0, %eax\n or $0x80000000, %eax\n mov %eax, %cr0\n"
	"lgdt 0x31ff0\n ljmp $8, $0x100000\n");

/*
 * kvmtool's starts in real mode at 1000:0 and has its interrupts by the PIC: the PIT's ticks and a
 * line; then it goes to 32 bits, where devices can be reached: the virtio device, a coalesced zone.
 */
GUEST(vmm_real, 16,
	"cli\n xor %ax, %ax\n mov %ax, %ds\n mov %ax, %es\n mov %ax, %ss\n mov $0x5f00, %sp\n"
	"mov $0x3f8, %dx\n mov $0x57, %al\n out %al, %dx\n"
	"mov $0x3fd, %dx\n in %dx, %al\n cmp $0x60, %al\n je 1f\n"
	"movw $2, 0x6030\n out %al, $0x9a\n 1:\n"
	"movw $(vmm_real_tick - vmm_real), 0x80\n movw $0x1000, 0x82\n"
	"movw $(vmm_real_line - vmm_real), 0x94\n movw $0x1000, 0x96\n"
	"mov $0x11, %al\n out %al, $0x20\n out %al, $0xa0\n mov $0x20, %al\n"
	"out %al, $0x21\n mov $0x28, %al\n out %al, $0xa1\n"
	"mov $4, %al\n out %al, $0x21\n mov $2, %al\n out %al, $0xa1\n"
	"mov $1, %al\n out %al, $0x21\n out %al, $0xa1\n"
	"mov $0xde, %al\n out %al, $0x21\n mov $0xff, %al\n out %al, $0xa1\n"
	/* 100 Hz: faster ticks that a slow host owes would keep the device's line out */
	"mov $0x34, %al\n out %al, $0x43\n mov $0x9c, %al\n"
	"out %al, $0x40\n mov $0x2e, %al\n out %al, $0x40\n"
	"1: sti\n hlt\n cli\n cmpw $3, 0x6010\n jb 1b\n"
	"mov $0x3f8, %dx\n mov $0x69, %al\n out %al, %dx\n"
	"1: sti\n hlt\n cli\n cmpw $1, 0x6018\n jb 1b\n"
	"mov $0x30, %al\n out %al, $0x43\n"
	"lgdtl 0x1ff0\n mov %cr0, %eax\n or $1, %al\n mov %eax, %cr0\n"
	"ljmpl $8, $(0x10000 + vmm_real_flat - vmm_real)\n"
	"vmm_real_tick: lock incw 0x6010\n push %ax\n"
	"mov $0x20, %al\n out %al, $0x20\n pop %ax\n iret\n"
	"vmm_real_line: lock incw 0x6018\n push %ax\n"
	"mov $0x20, %al\n out %al, $0x20\n pop %ax\n iret\n"
	".code32\n vmm_real_flat: mov $16, %eax\n mov %eax, %ds\n"
	"mov %eax, %es\n mov %eax, %ss\n mov $0x6000, %ebx\n"
	"mov 8(%ebx), %esi\n mov (%esi), %eax\n cmp $0x74726976, %eax\n"
	"je 1f\n movl $3, 0x30(%ebx)\n out %al, $0x9a\n 1:\n"
	"movl $1, 0x70(%esi)\n movw $2, 0x74(%esi)\n movb $3, 0x76(%esi)\n movl $0, 0x50(%esi)\n"
	"movl $0x11111111, 0x1000(%esi)\n movl $0x22222222, 0x1004(%esi)\n"
	"mov $0x3f8, %edx\n mov $0x53, %al\n out %al, %dx\n"
	"movl $0, 0x50(%esi)\n out %al, $0x99\n hlt\n .code16\n");

struct vmm_shared *vmm_shared(struct vmm *m)
{
	return (void *)(m->mem + VMM_SHARED);
}

static void put_gate(struct vmm *m, unsigned int vector, uint64_t at)
{
	uint64_t *gate = (void *)(m->mem + IDT + 16 * vector);

	gate[0] = (at & 0xffff) | 8 << 16 | 0x8e00ull << 32 | (at >> 16) << 48;
	gate[1] = 0;
}

/* A pseudo-descriptor for LGDT and LIDT. */
static void put_table(struct vmm *m, uint64_t at, uint16_t limit, uint64_t base)
{
	memcpy(m->mem + at, &limit, 2);
	memcpy(m->mem + at + 2, &base, 8);
}

void vmm_load_guest(struct vmm *m)
{
	static const uint64_t gdt[] = { 0, 0x00af9b000000ffff, 0x00cf93000000ffff };
	static const uint64_t flat[] = { 0, 0x00cf9b000000ffff, 0x00cf93000000ffff };
	struct vmm_shared *s = vmm_shared(m);
	unsigned int i;

	s->flags = m->kind->guest | (vm_host_is_tcg() ? GUEST_SPIN : 0);
	s->mmio = m->kind->mmio;
	if (m->kind->entry == ENTRY_REAL) {
		memcpy(m->mem + 0x10000, vmm_real, GUEST_SIZE(vmm_real));
		memcpy(m->mem + 0x2000, flat, sizeof(flat));
		put_table(m, 0x1ff0, sizeof(flat) - 1, 0x2000);
		return;
	}
	memcpy(m->mem + CODE, vmm_main, GUEST_SIZE(vmm_main));
	memcpy(m->mem + PVH_CODE, vmm_pvh, GUEST_SIZE(vmm_pvh));
	memcpy(m->mem + TRAMPOLINE, vmm_ap, GUEST_SIZE(vmm_ap));
	memcpy(m->mem + GDT, gdt, sizeof(gdt));
	for (i = 0; i < 256; i++)
		put_gate(m, i, CODE + (vmm_on_other - vmm_main));
	put_gate(m, 0x30, CODE + (vmm_on_timer - vmm_main));
	put_gate(m, 0x35, CODE + (vmm_on_irq - vmm_main));
	put_table(m, 0x31ff0, sizeof(gdt) - 1, GDT);
	put_table(m, 0x31fe0, 0xfff, IDT);
}
