// SPDX-License-Identifier: GPL-2.0
/*
 * Instructions that touch devices. Each runs twice with the same registers at the same addresses:
 * in one VM there is memory, which the CPU reads and writes by itself, in the other a device, for
 * which the instruction is emulated. Registers, flags, vector registers, memory and exceptions must
 * be the same afterwards.
 */
#include <stdlib.h>
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "vm.h"

#define PAGE 4096
#define PAGES 4				/* memory, device, device, memory */
#define WINDOW (GUEST_MMIO - PAGE)
#define HOLE 0x100000000ull		/* no page there */

/* Flags that the manual leaves undefined, for the table. */
#define CF 0x001
#define PF 0x004
#define AF 0x010
#define ZF 0x040
#define SF 0x080
#define OF 0x800
#define BITS (OF | SF | AF | PF)
#define SHIFT (OF | AF)

enum need { ALWAYS, AVX, MOVBE };

/*
 * X(name, what it needs, undefined flags, text). RDI: address of the operand; RSI: memory
 * elsewhere; RCX: 5; FS base: GUEST_MMIO. Half of the runs have the operand's value in RDX:RAX and
 * all flags set.
 */
#define ALU(X, op, undef)									\
	X(op##_b_mr, ALWAYS, undef, #op " %dl, (%rdi)")						\
	X(op##_w_mr, ALWAYS, undef, #op " %dx, (%rdi)")						\
	X(op##_l_mr, ALWAYS, undef, #op " %edx, (%rdi)")					\
	X(op##_q_mr, ALWAYS, undef, #op " %rax, (%rdi)")					\
	X(op##_b_rm, ALWAYS, undef, #op " (%rdi), %ah")						\
	X(op##_w_rm, ALWAYS, undef, #op " (%rdi), %r9w")					\
	X(op##_l_rm, ALWAYS, undef, #op " (%rdi), %eax")					\
	X(op##_q_rm, ALWAYS, undef, #op " (%rdi), %r15")					\
	X(op##_b_i, ALWAYS, undef, #op "b $0x91, (%rdi)")					\
	X(op##_w_i, ALWAYS, undef, #op "w $0x1234, (%rdi)")					\
	X(op##_w_i8, ALWAYS, undef, #op "w $-3, (%rdi)")					\
	X(op##_l_i, ALWAYS, undef, #op "l $0x87654321, (%rdi)")					\
	X(op##_q_i, ALWAYS, undef, #op "q $-0x1234567, (%rdi)")					\
	X(op##_q_i8, ALWAYS, undef, #op "q $-1, (%rdi)")
#define LOCKED(X, op, undef)									\
	X(lock_##op##_l, ALWAYS, undef, "lock " #op " %edx, (%rdi)")				\
	X(lock_##op##_q_i8, ALWAYS, undef, "lock " #op "q $-1, (%rdi)")
#define ONE(X, op)										\
	X(op##_b, ALWAYS, 0, #op "b (%rdi)") X(op##_w, ALWAYS, 0, #op "w (%rdi)")		\
	X(op##_l, ALWAYS, 0, #op "l (%rdi)") X(op##_q, ALWAYS, 0, #op "q (%rdi)")		\
	X(lock_##op, ALWAYS, 0, "lock " #op "l (%rdi)")
#define ROT(X, op, one, more)									\
	X(op##_b_1, ALWAYS, one, #op "b (%rdi)") X(op##_q_1, ALWAYS, one, #op "q (%rdi)")	\
	X(op##_w_i, ALWAYS, more, #op "w $7, (%rdi)")						\
	X(op##_l_i, ALWAYS, more, #op "l $31, (%rdi)")						\
	X(op##_l_0, ALWAYS, 0, #op "l $32, (%rdi)")						\
	X(op##_b_cl, ALWAYS, more, #op "b %cl, (%rdi)")						\
	X(op##_q_cl, ALWAYS, more, #op "q %cl, (%rdi)")
#define BT(X, op)										\
	X(op##_w_i, ALWAYS, BITS, #op "w $3, (%rdi)")						\
	X(op##_l_i, ALWAYS, BITS, #op "l $37, (%rdi)")						\
	X(op##_q_i, ALWAYS, BITS, #op "q $63, (%rdi)")						\
	X(op##_l_r, ALWAYS, BITS, #op " %ecx, (%rdi)")						\
	X(op##_w_far, ALWAYS, BITS, "mov $-40, %dx\n " #op " %dx, (%rdi)")			\
	X(op##_q_far, ALWAYS, BITS, "mov $777, %edx\n " #op " %rdx, (%rdi)")
/* From and to the operand, forwards and backwards. */
#define STRING(X, s)										\
	X(movs##s##_from, ALWAYS, 0, "xchg %rsi, %rdi\n movs" #s)				\
	X(movs##s##_to, ALWAYS, 0, "movs" #s)							\
	X(rep_movs##s##_from, ALWAYS, 0, "xchg %rsi, %rdi\n rep movs" #s)			\
	X(rep_movs##s##_to, ALWAYS, 0, "rep movs" #s)						\
	X(std_movs##s, ALWAYS, 0, "std\n rep movs" #s)						\
	X(movs##s##_both, ALWAYS, 0, "lea 0x80(%rdi), %rsi\n rep movs" #s)			\
	X(stos##s, ALWAYS, 0, "stos" #s) X(rep_stos##s, ALWAYS, 0, "rep stos" #s)		\
	X(std_stos##s, ALWAYS, 0, "std\n rep stos" #s)						\
	X(lods##s, ALWAYS, 0, "mov %rdi, %rsi\n lods" #s)					\
	X(rep_lods##s, ALWAYS, 0, "mov %rdi, %rsi\n rep lods" #s)				\
	X(cmps##s, ALWAYS, 0, "cmps" #s) X(repe_cmps##s, ALWAYS, 0, "repe cmps" #s)		\
	X(repne_cmps##s, ALWAYS, 0, "xchg %rsi, %rdi\n repne cmps" #s)				\
	X(scas##s, ALWAYS, 0, "scas" #s) X(repe_scas##s, ALWAYS, 0, "repe scas" #s)		\
	X(repne_scas##s, ALWAYS, 0, "repne scas" #s)						\
	X(rep_none_##s, ALWAYS, 0, "xor %ecx, %ecx\n rep stos" #s)
#define SSE(X, op)										\
	X(op##_load, ALWAYS, 0, #op " (%rdi), %xmm3")						\
	X(op##_store, ALWAYS, 0, #op " %xmm9, (%rdi)")
/* What is left undefined by MUL; by DIV; by BSF. */
#define MUL (SF | ZF | AF | PF)
#define ALL (CF | OF | MUL)
#define SCAN (ALL & ~ZF)
#define MULDIV(X, s)										\
	X(mul##s, ALWAYS, MUL, "mul" #s " (%rdi)") X(imul1##s, ALWAYS, MUL, "imul" #s " (%rdi)") \
	X(div##s, ALWAYS, ALL, "div" #s " (%rdi)") X(idiv##s, ALWAYS, ALL, "idiv" #s " (%rdi)")	\
	X(div0##s, ALWAYS, ALL, "mov $0, %edx\n mov $0x7b, %eax\n div" #s " (%rdi)")		\
	X(idiv0##s, ALWAYS, ALL, "mov $-1, %rdx\n mov $-0x7b, %rax\n idiv" #s " (%rdi)")	\
	X(idivm##s, ALWAYS, ALL, "mov %rax, (%rdi)\n mov $-1, %rdx\n idiv" #s " (%rdi)")
#define SHIFT2(X, op)										\
	X(op##_w_i, ALWAYS, SHIFT, #op " $7, %dx, (%rdi)")					\
	X(op##_l_1, ALWAYS, AF, #op " $1, %edx, (%rdi)")					\
	X(op##_q_i, ALWAYS, SHIFT, #op " $63, %r9, (%rdi)")					\
	X(op##_l_0, ALWAYS, 0, #op " $32, %eax, (%rdi)")					\
	X(op##_w_cl, ALWAYS, SHIFT, #op " %cl, %bx, (%rdi)")					\
	X(op##_q_cl, ALWAYS, SHIFT, #op " %cl, %rax, (%rdi)")
/* The stack is the operand's memory. */
#define ON_STACK "mov %rdi, %rsp\n "
#define VEX(X, op)										\
	X(op##_load, AVX, 0, #op " (%rdi), %ymm3")						\
	X(op##_store, AVX, 0, #op " %ymm9, (%rdi)")						\
	X(op##_load128, AVX, 0, #op " (%rdi), %xmm3")						\
	X(op##_store128, AVX, 0, #op " %xmm9, (%rdi)")

#define INSNS(X)										\
	X(mov_b_mr, ALWAYS, 0, "mov %al, (%rdi)") X(mov_h_mr, ALWAYS, 0, "mov %dh, (%rdi)")	\
	X(mov_b_rex, ALWAYS, 0, "mov %sil, (%rdi)") X(mov_w_mr, ALWAYS, 0, "mov %ax, (%rdi)")	\
	X(mov_l_mr, ALWAYS, 0, "mov %eax, (%rdi)") X(mov_q_mr, ALWAYS, 0, "mov %r10, (%rdi)")	\
	X(mov_b_rm, ALWAYS, 0, "mov (%rdi), %bl") X(mov_h_rm, ALWAYS, 0, "mov (%rdi), %ch")	\
	X(mov_w_rm, ALWAYS, 0, "mov (%rdi), %ax") X(mov_l_rm, ALWAYS, 0, "mov (%rdi), %eax")	\
	X(mov_q_rm, ALWAYS, 0, "mov (%rdi), %r15") X(mov_self, ALWAYS, 0, "mov (%rdi), %rdi")	\
	X(mov_rsp, ALWAYS, 0, "mov (%rdi), %rsp")						\
	X(mov_b_i, ALWAYS, 0, "movb $0x55, (%rdi)") X(mov_w_i, ALWAYS, 0, "movw $0x55aa, (%rdi)") \
	X(mov_l_i, ALWAYS, 0, "movl $0x11223344, (%rdi)")					\
	X(mov_q_i, ALWAYS, 0, "movq $-2, (%rdi)")						\
	X(mov_sib, ALWAYS, 0, "lea -0x28(%rdi), %rbx\n mov (%rbx, %rcx, 8), %r8")		\
	X(mov_disp8, ALWAYS, 0, "mov %eax, -0x10(%rdi)")					\
	X(mov_disp32, ALWAYS, 0, "mov 0x234(%rdi), %ecx")					\
	X(mov_r13, ALWAYS, 0, "mov %rdi, %r13\n mov %rax, (%r13)")				\
	X(mov_r12, ALWAYS, 0, "mov %rdi, %r12\n mov (%r12), %rax")				\
	X(mov_addr32, ALWAYS, 0, "mov $0xf00000000, %r8\n add %rdi, %r8\n mov (%r8d), %eax")	\
	X(mov_fs, ALWAYS, 0, "mov %fs:0x100, %eax")						\
	X(mov_fs_store, ALWAYS, 0, "mov %rax, %fs:0x40(%rcx)")					\
	X(mov_eip, ALWAYS, 0, ".byte 0x67, 0x8b, 0x05\n .long 0xd0000100 - 0x8007")		\
	X(add_eip, ALWAYS, 0, ".byte 0x67, 0x81, 0x05\n .long 0xd0000100 - 0x800b, 0x87654321")	\
	X(moffs_b, ALWAYS, 0, "movabs 0xd0000100, %al")						\
	X(moffs_w, ALWAYS, 0, "movabs 0xd0000100, %ax")						\
	X(moffs_l, ALWAYS, 0, "movabs 0xd0000100, %eax")					\
	X(moffs_q, ALWAYS, 0, "movabs 0xd0000100, %rax")					\
	X(moffs_b_w, ALWAYS, 0, "movabs %al, 0xd0000100")					\
	X(moffs_q_w, ALWAYS, 0, "movabs %rax, 0xd0000100")					\
	X(moffs_67, ALWAYS, 0, ".byte 0x67, 0xa1\n .long 0xd0000100")				\
	X(movzx_bw, ALWAYS, 0, "movzbw (%rdi), %ax") X(movzx_bl, ALWAYS, 0, "movzbl (%rdi), %eax") \
	X(movzx_bq, ALWAYS, 0, "movzbq (%rdi), %r9") X(movzx_wl, ALWAYS, 0, "movzwl (%rdi), %eax") \
	X(movzx_wq, ALWAYS, 0, "movzwq (%rdi), %rax") X(movsx_bw, ALWAYS, 0, "movsbw (%rdi), %ax") \
	X(movsx_bl, ALWAYS, 0, "movsbl 7(%rdi), %eax")						\
	X(movsx_bq, ALWAYS, 0, "movsbq 7(%rdi), %rax")						\
	X(movsx_wl, ALWAYS, 0, "movswl (%rdi), %r8d")						\
	X(movsx_wq, ALWAYS, 0, "movswq (%rdi), %rax")						\
	X(movsxd, ALWAYS, 0, "movslq (%rdi), %rax") X(movsxd_4, ALWAYS, 0, "movslq 4(%rdi), %r11") \
	X(movbe_w, MOVBE, 0, "movbe (%rdi), %ax") X(movbe_l, MOVBE, 0, "movbe (%rdi), %eax")	\
	X(movbe_q, MOVBE, 0, "movbe (%rdi), %rax") X(movbe_w_w, MOVBE, 0, "movbe %ax, (%rdi)")	\
	X(movbe_l_w, MOVBE, 0, "movbe %eax, (%rdi)") X(movbe_q_w, MOVBE, 0, "movbe %r9, (%rdi)") \
	X(movnti_l, ALWAYS, 0, "movnti %eax, (%rdi)")						\
	X(movnti_q, ALWAYS, 0, "movnti %rax, (%rdi)")						\
	ALU(X, add, 0) ALU(X, or, AF) ALU(X, adc, 0) ALU(X, sbb, 0) ALU(X, and, AF) ALU(X, sub, 0) \
	ALU(X, xor, AF) ALU(X, cmp, 0)								\
	LOCKED(X, add, 0) LOCKED(X, or, AF) LOCKED(X, adc, 0) LOCKED(X, sbb, 0) LOCKED(X, and, AF) \
	LOCKED(X, sub, 0) LOCKED(X, xor, AF)							\
	X(test_b, ALWAYS, AF, "test %al, (%rdi)") X(test_q, ALWAYS, AF, "test %rax, (%rdi)")	\
	X(test_b_i, ALWAYS, AF, "testb $0x80, (%rdi)")						\
	X(test_w_i, ALWAYS, AF, "testw $0x8001, (%rdi)")					\
	X(test_q_i, ALWAYS, AF, "testq $-16, (%rdi)")						\
	ONE(X, inc) ONE(X, dec) ONE(X, not) ONE(X, neg)						\
	ROT(X, shl, AF, SHIFT) ROT(X, shr, AF, SHIFT) ROT(X, sar, AF, SHIFT)			\
	ROT(X, rol, 0, OF) ROT(X, ror, 0, OF) ROT(X, rcl, 0, OF) ROT(X, rcr, 0, OF)		\
	X(xchg_b, ALWAYS, 0, "xchg %ah, (%rdi)") X(xchg_w, ALWAYS, 0, "xchg %ax, (%rdi)")	\
	X(xchg_l, ALWAYS, 0, "xchg %r8d, (%rdi)") X(xchg_q, ALWAYS, 0, "lock xchg %rax, (%rdi)") \
	X(xadd_b, ALWAYS, 0, "xadd %al, (%rdi)") X(xadd_l, ALWAYS, 0, "lock xadd %eax, (%rdi)")	\
	X(xadd_q, ALWAYS, 0, "xadd %r9, (%rdi)")						\
	X(cmpxchg_b, ALWAYS, 0, "cmpxchg %cl, (%rdi)")						\
	X(cmpxchg_w, ALWAYS, 0, "cmpxchg %bx, (%rdi)")						\
	X(cmpxchg_l, ALWAYS, 0, "lock cmpxchg %ebx, (%rdi)")				\
	X(cmpxchg_q, ALWAYS, 0, "lock cmpxchg %rbx, (%rdi)")					\
	X(cmpxchg_l_plain, ALWAYS, 0, "cmpxchg %r8d, (%rdi)")					\
	X(cmpxchg8b, ALWAYS, 0, "mov %rax, -16(%rsp)\n mov -12(%rsp), %edx\n"			\
	  "lock cmpxchg8b (%rdi)")								\
	X(cmpxchg16b, ALWAYS, 0, "lock cmpxchg16b (%rdi)")					\
	BT(X, bt) BT(X, bts) BT(X, btr) BT(X, btc)						\
	X(push_q, ALWAYS, 0, "pushq (%rdi)") X(push_w, ALWAYS, 0, "pushw (%rdi)")		\
	X(pop_q, ALWAYS, 0, "push %rax\n popq (%rdi)")						\
	X(pop_w, ALWAYS, 0, "push %rax\n popw (%rdi)")						\
	X(push_reg, ALWAYS, 0, ON_STACK "push %rdx") X(push_r9w, ALWAYS, 0, ON_STACK "push %r9w") \
	X(push_rsp, ALWAYS, 0, ON_STACK "push %rsp") X(push_i8, ALWAYS, 0, ON_STACK "push $-7")	\
	X(push_i, ALWAYS, 0, ON_STACK "push $-7070707")						\
	X(push_iw, ALWAYS, 0, ON_STACK "pushw $0x1234")						\
	X(pop_reg, ALWAYS, 0, ON_STACK "pop %r10") X(pop_rsp, ALWAYS, 0, ON_STACK "pop %rsp")	\
	X(pop_regw, ALWAYS, 0, ON_STACK "pop %bx")						\
	X(ret, ALWAYS, 0, ON_STACK "lea 1f(%rip), %rax\n mov %rax, (%rdi)\n ret\n hlt\n 1:")	\
	X(leave, ALWAYS, 0, "mov %rdi, %rbp\n leave")				\
	X(enter, ALWAYS, 0, ON_STACK "mov %rax, %rbp\n enter $0x38, $0")			\
	X(jmp_far, ALWAYS, 0, "lea 1f(%rip), %eax\n mov %eax, (%rdi)\n mov %cs, 4(%rdi)\n"	\
	  "ljmp *(%rdi)\n hlt\n 1:")								\
	X(jmp_far_null, ALWAYS, 0, "movl $0, 4(%rdi)\n ljmp *(%rdi)")				\
	X(jmp_far_data, ALWAYS, 0, "mov %ss, 4(%rdi)\n ljmp *(%rdi)")				\
	X(mov_ss_null, ALWAYS, 0, "mov %ss, %ebx\n movw $0, (%rdi)\n mov (%rdi), %ss\n"		\
	  "mov %ss, %eax\n mov %ebx, %ss")							\
	X(mov_es, ALWAYS, 0, "mov %ss, (%rdi)\n mov %es, %ebx\n mov (%rdi), %es\n"		\
	  "mov %es, %eax\n mov %ebx, %es")							\
	X(mov_es_bad, ALWAYS, 0, "movw $0xfff0, (%rdi)\n mov (%rdi), %es")			\
	X(ltr, ALWAYS, 0, "str %eax\n mov %ax, (%rdi)\n sub $16, %rsp\n sgdt (%rsp)\n"		\
	  "mov 2(%rsp), %rdx\n btrl $9, 4(%rdx, %rax)\n ltr (%rdi)\n"				\
	  "str %ebx\n mov 4(%rdx, %rax), %r8d")							\
	X(ltr_busy, ALWAYS, 0, "str %eax\n mov %ax, (%rdi)\n ltr (%rdi)")			\
	X(smsw, ALWAYS, 0, "smsw (%rdi)")							\
	X(lmsw, ALWAYS, 0, "mov %cr0, %rbx\n lmsw (%rdi)\n mov %cr0, %rax\n mov %rbx, %cr0")	\
	MULDIV(X, b) MULDIV(X, w) MULDIV(X, l) MULDIV(X, q) SHIFT2(X, shld) SHIFT2(X, shrd)	\
	X(bsf_w, ALWAYS, SCAN, "bsf (%rdi), %ax") X(bsf_l, ALWAYS, SCAN, "bsf (%rdi), %eax")	\
	X(bsf_q, ALWAYS, SCAN, "bsf (%rdi), %r9") X(bsr_w, ALWAYS, SCAN, "bsr (%rdi), %ax")	\
	X(bsr_l, ALWAYS, SCAN, "bsr (%rdi), %eax") X(bsr_q, ALWAYS, SCAN, "bsr (%rdi), %r9")	\
	X(mmx_load, ALWAYS, 0, "fld1\n movq (%rdi), %mm3\n movq %mm3, %rax\n movq %mm7, %rbx")	\
	X(mmx_store, ALWAYS, 0, "movq %rax, %mm5\n movq %mm5, (%rdi)")				\
	X(mmx_fpu, ALWAYS, 0, "fld1\n fldpi\n movq %mm7, (%rdi)")				\
	STRING(X, b) STRING(X, w) STRING(X, l) STRING(X, q)					\
	X(movs_fs, ALWAYS, 0, "mov $0x100, %esi\n mov $0x100800, %edi\n .byte 0xf3, 0x64, 0xa4") \
	X(movs_67, ALWAYS, 0, "mov $0xf00000000, %r8\n or %r8, %rcx\n .byte 0x67, 0xf3, 0xa5")	\
	SSE(X, movups) SSE(X, movaps) SSE(X, movupd) SSE(X, movapd) SSE(X, movdqu) SSE(X, movdqa) \
	SSE(X, movss) SSE(X, movsd) SSE(X, movd) SSE(X, movq) SSE(X, movlps) SSE(X, movhps)	\
	X(movd_q, ALWAYS, 0, ".byte 0x66, 0x48, 0x0f, 0x6e, 0x1f")				\
	X(movntps, ALWAYS, 0, "movntps %xmm1, (%rdi)")						\
	X(movntdq, ALWAYS, 0, "movntdq %xmm1, (%rdi)")						\
	VEX(X, vmovups) VEX(X, vmovaps) VEX(X, vmovdqu) VEX(X, vmovdqa)

#define DEFINE(name, need, undef, text) GUEST(i_##name, 64, text "\n" DONE);
INSNS(DEFINE)

static const struct insn {
	const char *name;
	const unsigned char *code, *end;
	enum need need;
	uint32_t undefined;
} insns[] = {
#define ENTRY(name, need, undef, text) { #name, i_##name, i_##name##_end, need, undef },
	INSNS(ENTRY)
};

#define NR_INSNS (sizeof(insns) / sizeof(insns[0]))

/* One of the two VMs. */
struct side {
	struct vm *vm;
	struct vcpu *v;
	uint8_t *window;			/* PAGES pages at guest-physical WINDOW */
	unsigned int reads, writes;
	uint8_t read[2 * PAGE], written[2 * PAGE];	/* how often the device saw each byte */
	unsigned int nr;
	struct { uint64_t gpa; uint8_t len, write; } access[256];
};

static bool has(enum need need)
{
	unsigned int a = 1, b, c = 0, d;

	asm("cpuid" : "+a" (a), "=b" (b), "+c" (c), "=d" (d));
	if (need == AVX)
		return __builtin_cpu_supports("avx");
	return need == ALWAYS || c >> 22 & 1;
}

static void side_mode(struct side *s, enum mode mode, bool code16)
{
	struct kvm_xcrs x = { .nr_xcrs = 1, .xcrs = { { .xcr = 0, .value = 7 } } };
	struct kvm_sregs sr;

	vcpu_mode(s->v, mode);
	if (mode == MODE_LONG)
		vm_catch(s->v);
	ioctl(s->v->fd, KVM_GET_SREGS, &sr);
	sr.fs.base = GUEST_MMIO;
	if (code16) {
		sr.cs.db = 0;
		sr.ds.base = sr.es.base = GUEST_MMIO;
	}
	if (has(AVX))
		sr.cr4 |= 1 << 18;
	ioctl(s->v->fd, KVM_SET_SREGS, &sr);
	if (has(AVX))
		ioctl(s->v->fd, KVM_SET_XCRS, &x);
}

static void side_new(struct side *s, bool memory)
{
	s->vm = vm_new(2 << 20, 0);
	s->v = vcpu_new(s->vm, 0);
	s->window = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);
	vm_slot(s->vm, 1, WINDOW, PAGE, s->window, 0);
	vm_slot(s->vm, 2, WINDOW + 3 * PAGE, PAGE, s->window + 3 * PAGE, 0);
	if (memory)
		vm_slot(s->vm, 3, WINDOW + PAGE, 2 * PAGE, s->window + PAGE, 0);
}

static void side_free(struct side *s)
{
	vm_free(s->vm);
	munmap(s->window, PAGES * PAGE);
}

/* The same start for both: memory, general and vector registers. */
static void side_start(struct side *s, struct kvm_regs *r)
{
	static struct kvm_xsave x;
	uint8_t *area = (uint8_t *)&x;
	unsigned int i;

	for (i = 0; i < PAGES * PAGE; i++)
		s->window[i] = i * 37 + (i >> 6);
	for (i = 0; i < PAGE; i++) {
		s->vm->mem[GUEST_DATA + i] = i * 91 + 5;
		s->vm->mem[0x7000 + i] = i;
	}
	memset(vm_caught(s->vm), 0xff, sizeof(struct guest_caught));
	memset(&x, 0, sizeof(x));
	for (i = 0; i < 256; i++)
		area[160 + i] = area[576 + i] = 3 * i + 1;
	area[0] = 0x7f;
	area[1] = 3;
	area[24] = 0x80;
	area[25] = 0x1f;
	area[512] = has(AVX) ? 7 : 3;
	ioctl(s->v->fd, KVM_SET_XSAVE, &x);
	vcpu_set_regs(s->v, r);
	s->reads = s->writes = s->nr = 0;
	memset(s->read, 0, sizeof(s->read));
	memset(s->written, 0, sizeof(s->written));
}

/* The device is the two pages in the middle. True: it was an access to them. */
static bool side_device(struct side *s)
{
	struct kvm_run *run = s->v->run;
	uint64_t off = run->mmio.phys_addr - GUEST_MMIO;
	unsigned int i;

	if (off >= 2 * PAGE || !run->mmio.len || run->mmio.len > 8 ||
	    off + run->mmio.len > 2 * PAGE)
		return false;
	if (s->nr < 256) {
		s->access[s->nr].gpa = run->mmio.phys_addr;
		s->access[s->nr].len = run->mmio.len;
		s->access[s->nr].write = run->mmio.is_write;
		s->nr++;
	}
	for (i = 0; i < run->mmio.len; i++)
		(run->mmio.is_write ? s->written : s->read)[off + i]++;
	if (run->mmio.is_write)
		memcpy(s->window + PAGE + off, run->mmio.data, run->mmio.len);
	else
		memcpy(run->mmio.data, s->window + PAGE + off, run->mmio.len);
	return true;
}

/* Exit reason; KVM_EXIT_IO is the end. */
static int side_run(struct side *s)
{
	int r;

	do {
		r = vcpu_run(s->v);
	} while (r == KVM_EXIT_MMIO && side_device(s));
	return r;
}

static const char *differ(struct side *a, struct side *b, uint32_t undefined)
{
	struct kvm_regs ra = vcpu_regs(a->v), rb = vcpu_regs(b->v);
	static struct kvm_xsave xa, xb;
	unsigned int i;

	if ((ra.rflags ^ rb.rflags) & ~undefined)
		return "flags";
	ra.rflags = rb.rflags = 0;
	if (memcmp(&ra, &rb, sizeof(ra)))
		return "registers";
	if (memcmp(a->window, b->window, PAGES * PAGE))
		return "the operand's memory";
	if (memcmp(a->vm->mem + GUEST_DATA, b->vm->mem + GUEST_DATA, PAGE))
		return "the other operand's memory";
	if (memcmp(vm_caught(a->vm), vm_caught(b->vm), sizeof(struct guest_caught)))
		return "exception";
	/* QEMU's TCG does not set RF in the frame of a fault */
	a->vm->mem[GUEST_STACK - 22] = b->vm->mem[GUEST_STACK - 22];
	if (memcmp(a->vm->mem + 0x7000, b->vm->mem + 0x7000, PAGE))
		return "stack";
	ioctl(a->v->fd, KVM_GET_XSAVE, &xa);
	ioctl(b->v->fd, KVM_GET_XSAVE, &xb);
	/* the rest of what an MMX instruction writes, QEMU's TCG does not */
	for (i = 32; i < 160; i += 16)
		if (memcmp((char *)&xa + i, (char *)&xb + i, 8))
			return "MMX registers";
	if (memcmp((char *)&xa + 2, (char *)&xb + 2, 3))
		return "x87 status";
	if (memcmp((char *)&xa + 160, (char *)&xb + 160, 256))
		return "XMM registers";
	if (has(AVX) && memcmp((char *)&xa + 576, (char *)&xb + 576, 256))
		return "YMM registers";
	for (i = 0; i < 2 * PAGE; i++)
		if (b->read[i] > 1 || b->written[i] > 1)
			return "number of accesses";
	return NULL;
}

static void show(struct __test_metadata *_metadata, const struct insn *in, const char *what,
		 struct side *a, struct side *b)
{
	struct kvm_regs ra = vcpu_regs(a->v), rb = vcpu_regs(b->v);
	unsigned int i;

	TH_LOG("%s: %s", in->name, what);
	TH_LOG("  memory: rax %llx rdx %llx rdi %llx rsi %llx rcx %llx rsp %llx rflags %llx "
	       "vector %lx", ra.rax, ra.rdx, ra.rdi, ra.rsi, ra.rcx, ra.rsp, ra.rflags,
	       vm_caught(a->vm)->vector);
	TH_LOG("  device: rax %llx rdx %llx rdi %llx rsi %llx rcx %llx rsp %llx rflags %llx "
	       "vector %lx", rb.rax, rb.rdx, rb.rdi, rb.rsi, rb.rcx, rb.rsp, rb.rflags,
	       vm_caught(b->vm)->vector);
	for (i = 0; i < b->nr && i < 8; i++)
		TH_LOG("  %s %lx %u", b->access[i].write ? "write" : "read", b->access[i].gpa,
		       b->access[i].len);
}

FIXTURE(two) { struct side memory, device; };

FIXTURE_SETUP(two)
{
	side_new(&self->memory, true);
	side_new(&self->device, false);
}

FIXTURE_TEARDOWN(two)
{
	side_free(&self->memory);
	side_free(&self->device);
}

struct place { const char *name; int offset; };
static const struct place places[] = {
	{ "aligned", 0x100 }, { "unaligned", 0x203 }, { "over two device pages", 0xffd },
	{ "from the device into memory", 0x1ffd }, { "from memory into the device", -3 },
};

/* All instructions at one place. Returns the number of those that were not the same. */
static unsigned int all(struct side *a, struct side *b, struct __test_metadata *_metadata,
			const struct place *p)
{
	bool kvm = !strcmp(vm_device(), "/dev/kvm");
	unsigned int i, v, bad = 0, unknown = 0;

	for (i = 0; i < 2 * NR_INSNS; i++) {
		const struct insn *in = &insns[i / 2];
		struct kvm_regs r = {
			.rax = 0x8877665544332291, .rbx = 0x1020304050607080, .rcx = 5,
			.rdx = 0xfedcba9876543210, .rsi = GUEST_DATA + 0x800,
			.rdi = GUEST_MMIO + p->offset, .rsp = GUEST_STACK, .r8 = 0x8888,
			.r9 = 0x999999999999, .r10 = ~0ull, .r15 = 0x0f0f0f0f0f0f0f0f,
			.rip = GUEST_CODE, .rflags = 2,
		};
		const char *what;
		int ra, rb;

		v = i % 2;
		if (!has(in->need))
			continue;
		side_start(a, &r);
		if (v) {	/* the operand's value in RDX:RAX */
			memcpy(&r.rax, a->window + PAGE + p->offset, 8);
			memcpy(&r.rdx, a->window + PAGE + p->offset + 8, 8);
			r.rflags = 2 | CF | PF | AF | ZF | SF | OF;
			vcpu_set_regs(a->v, &r);
		}
		side_start(b, &r);
		vm_load_bytes(a->vm, GUEST_CODE, in->code, in->end - in->code);
		vm_load_bytes(b->vm, GUEST_CODE, in->code, in->end - in->code);
		ra = side_run(a);
		rb = side_run(b);
		if (kvm && rb == KVM_EXIT_INTERNAL_ERROR) {
			unknown++;	/* KVM's emulator does not know it */
			TH_LOG("%s: not emulated", in->name);
			continue;
		}
		what = ra == rb && ra == KVM_EXIT_IO ? differ(a, b, in->undefined) : "exit";
		if (!what && p == places && !b->nr && strncmp(in->name, "rep_none", 8))
			what = "no access at all";
		if (!what)
			continue;
		bad++;
		show(_metadata, in, what, a, b);
		if (rb != KVM_EXIT_IO)
			vcpu_describe(b->v);
	}
	TH_LOG("%s: %u instructions, %u not emulated, %u differ", p->name,
	       2 * (unsigned int)NR_INSNS, unknown, bad);
	return bad;
}

FIXTURE(place) { struct side memory, device; };
FIXTURE_VARIANT(place) { unsigned int nr; };
FIXTURE_VARIANT_ADD(place, aligned) { 0 };
FIXTURE_VARIANT_ADD(place, unaligned) { 1 };
FIXTURE_VARIANT_ADD(place, over_two_pages) { 2 };
FIXTURE_VARIANT_ADD(place, into_memory) { 3 };
FIXTURE_VARIANT_ADD(place, out_of_memory) { 4 };

FIXTURE_SETUP(place)
{
	side_new(&self->memory, true);
	side_new(&self->device, false);
	side_mode(&self->memory, MODE_LONG, false);
	side_mode(&self->device, MODE_LONG, false);
}

FIXTURE_TEARDOWN(place)
{
	side_free(&self->memory);
	side_free(&self->device);
}

TEST_F(place, devices_are_as_memory)
{
	EXPECT_EQ(all(&self->memory, &self->device, _metadata, &places[variant->nr]), 0);
}

/* ---- 32-bit and 16-bit code ---- */

#define OLD_INSNS(X, di)									\
	X(mov_b, "mov %al, (" di ")") X(mov_w, "mov %ax, (" di ")") X(mov_l, "mov %eax, (" di ")") \
	X(mov_rm, "mov (" di "), %ebx") X(mov_rm_w, "mov (" di "), %bx")			\
	X(mov_i, "movw $0x1234, 2(" di ")")							\
	X(movzx, "movzbl (" di "), %eax") X(movsx, "movswl (" di "), %eax")			\
	X(add, "add %ax, (" di ")") X(adc_i, "adcl $-1, (" di ")") X(inc, "incb (" di ")")	\
	X(xchg, "xchg %eax, (" di ")") X(bts, "bts %cx, (" di ")")				\
	X(cmpxchg, "cmpxchg %ebx, (" di ")")							\
	X(push, "pushw (" di ")") X(pop, "push %ax\n popw (" di ")")				\
	X(stos, "rep stosw") X(stosl, "rep stosl")						\
	X(scas, "repne scasb") X(fs, "mov %fs:0x100, %eax")

#define DEFINE32(name, text) GUEST(p_##name, 32, text "\n" DONE);
#define DEFINE16(name, text) GUEST(w_##name, 16, text "\n" DONE);
#define DEFINE16A(name, text) GUEST(a_##name, 16, text "\n" DONE);
OLD_INSNS(DEFINE32, "%edi")
OLD_INSNS(DEFINE16, "%di")
OLD_INSNS(DEFINE16A, "%edi")

/* What has no form in the other table: direct addresses, and addresses of two registers. */
GUEST(w_moffs, 16, "mov 0x100, %al\n mov %ax, 0x110\n" DONE);
GUEST(w_bx_si, 16, "mov $0x80, %bx\n mov $0xff90, %si\n"
		   "mov (%bx, %si), %ax\n mov %ax, 0x20(%bx, %si)\n" DONE);
GUEST(p_moffs, 32, "mov 0xd0000100, %eax\n mov %ax, 0xd0000110\n" DONE);
GUEST(p_sib, 32, "mov -0x28(%edi, %ecx, 8), %ax\n" DONE);

static const struct old {
	const char *name;
	const unsigned char *code, *end;
	bool code16;
} old[] = {
#define ENTRY32(name, text) { "32: " #name, p_##name, p_##name##_end, false },
#define ENTRY16(name, text) { "16: " #name, w_##name, w_##name##_end, true },
#define ENTRY16A(name, text) { "16, 32-bit address: " #name, a_##name, a_##name##_end, true },
	OLD_INSNS(ENTRY32, "") OLD_INSNS(ENTRY16, "") OLD_INSNS(ENTRY16A, "")
	ENTRY16(moffs, "") ENTRY16(bx_si, "") ENTRY32(moffs, "") ENTRY32(sib, "")
};

TEST_F(two, protected_mode)
{
	unsigned int i, bad = 0;
	struct side *s[2] = { &self->memory, &self->device };
	int k, r[2];

	for (i = 0; i < sizeof(old) / sizeof(old[0]); i++) {
		struct insn in = { old[i].name, old[i].code, old[i].end, ALWAYS, 0 };
		struct kvm_regs regs = {
			.rax = 0x443322a1, .rbx = 0x50607080, .rcx = 5, .rdx = 0x76543210,
			.rsi = GUEST_DATA, .rdi = (old[i].code16 ? 0 : GUEST_MMIO) + 0x101,
			.rsp = GUEST_STACK, .rip = GUEST_CODE, .rflags = 3,
		};
		const char *what;

		if (strstr(old[i].name, "bts"))
			in.undefined = BITS;
		for (k = 0; k < 2; k++) {
			side_mode(s[k], MODE_PROT, old[i].code16);
			side_start(s[k], &regs);
			vm_load_bytes(s[k]->vm, GUEST_CODE, in.code, in.end - in.code);
			r[k] = side_run(s[k]);
		}
		what = r[0] == r[1] && r[0] == KVM_EXIT_IO ? differ(s[0], s[1], in.undefined) :
							     "exit";
		if (!what)
			continue;
		bad++;
		show(_metadata, &in, what, s[0], s[1]);
	}
	EXPECT_EQ(bad, 0);
}

/* ---- one at a time ---- */

static void ready(struct side *s, const unsigned char *code, size_t n, uint64_t rdi, uint64_t rsi)
{
	struct kvm_regs r = {
		.rip = GUEST_CODE, .rflags = 2, .rsp = GUEST_STACK,
		.rdi = rdi, .rsi = rsi, .rcx = 5, .rax = 0x1234,
	};

	side_mode(s, MODE_LONG, false);
	side_start(s, &r);
	vm_load_bytes(s->vm, GUEST_CODE, code, n);
}

static int one(struct side *s, const unsigned char *code, size_t n, uint64_t rdi, uint64_t rsi)
{
	ready(s, code, n, rdi, rsi);
	return side_run(s);
}

#define READY(s, name, rdi, rsi) ready(s, name, GUEST_SIZE(name), rdi, rsi)
#define ONE_INSN(s, name, rdi, rsi) one(s, name, GUEST_SIZE(name), rdi, rsi)

TEST_F(two, at_most_eight_bytes)
{
	struct side *s = &self->device;

	ASSERT_EQ(ONE_INSN(s, i_movups_load, GUEST_MMIO + 0x10, 0), KVM_EXIT_IO);
	ASSERT_EQ(s->nr, 2);
	EXPECT_EQ(s->access[0].gpa, GUEST_MMIO + 0x10);
	EXPECT_EQ(s->access[0].len, 8);
	EXPECT_EQ(s->access[1].gpa, GUEST_MMIO + 0x18);
	EXPECT_EQ(s->access[1].len, 8);
	ASSERT_EQ(ONE_INSN(s, i_movups_store, GUEST_MMIO + 0x10, 0), KVM_EXIT_IO);
	ASSERT_EQ(s->nr, 2);
	EXPECT_EQ(s->access[0].gpa, GUEST_MMIO + 0x10);
	EXPECT_TRUE(s->access[1].write);
	/* pages are separate devices */
	ASSERT_EQ(ONE_INSN(s, i_mov_q_mr, GUEST_MMIO + 0xffd, 0), KVM_EXIT_IO);
	ASSERT_EQ(s->nr, 2);
	EXPECT_EQ(s->access[0].gpa, GUEST_MMIO + 0xffd);
	EXPECT_EQ(s->access[0].len, 3);
	EXPECT_EQ(s->access[1].gpa, GUEST_MMIO + 0x1000);
	EXPECT_EQ(s->access[1].len, 5);
}

/* MOVS to where no page is: #PF (SDM vol. 2 MOVS), nothing written, the registers as before. */
TEST_F(two, a_fault_of_the_other_operand)
{
	struct side *s[2] = { &self->memory, &self->device };
	int k;

	for (k = 0; k < 2; k++) {
		ASSERT_EQ(ONE_INSN(s[k], i_movsq_to, HOLE, GUEST_MMIO + 0x40), KVM_EXIT_IO);
		EXPECT_EQ(vm_caught(s[k]->vm)->vector, 14);
		EXPECT_EQ(vm_caught(s[k]->vm)->error, 2);
		EXPECT_EQ(vm_caught(s[k]->vm)->cr2, HOLE);
		EXPECT_EQ(vm_caught(s[k]->vm)->rip, GUEST_CODE);
		EXPECT_EQ(vcpu_regs(s[k]->v).rdi, HOLE);
		EXPECT_EQ(vcpu_regs(s[k]->v).rsi, GUEST_MMIO + 0x40);
	}
}

/* REP up to a page that is not there: the iterations before it count. */
TEST_F(two, a_fault_in_the_middle_of_rep)
{
	struct side *s[2] = { &self->memory, &self->device };
	int k;

	for (k = 0; k < 2; k++) {
		vm_slot(s[k]->vm, 4, HOLE - PAGE, PAGE, s[k]->vm->mem + GUEST_DATA + PAGE, 0);
		ASSERT_EQ(ONE_INSN(s[k], i_rep_movsb_to, HOLE - 2, GUEST_MMIO + 0x40), KVM_EXIT_IO);
		EXPECT_EQ(vm_caught(s[k]->vm)->vector, 14);
		EXPECT_EQ(vm_caught(s[k]->vm)->cr2, HOLE);
		EXPECT_EQ(vm_caught(s[k]->vm)->rip, GUEST_CODE);
		EXPECT_EQ(vcpu_regs(s[k]->v).rcx, 3);
		EXPECT_EQ(vcpu_regs(s[k]->v).rdi, HOLE);
		EXPECT_EQ(vcpu_regs(s[k]->v).rsi, GUEST_MMIO + 0x42);
	}
	EXPECT_EQ(memcmp(s[0]->vm->mem + GUEST_DATA + PAGE, s[1]->vm->mem + GUEST_DATA + PAGE,
			 PAGE), 0);
	EXPECT_EQ(s[1]->vm->mem[GUEST_DATA + 2 * PAGE - 2], s[1]->window[PAGE + 0x40]);
}

GUEST(ss_bad, 64, "movw $3, (%rdi)\n mov (%rdi), %ss\n" DONE);

/* A null SS only with the CPL's RPL. Not on both sides: QEMU's TCG takes any. */
TEST_F(two, segment_faults)
{
	struct side *s = &self->device;

	ASSERT_EQ(ONE_INSN(s, ss_bad, GUEST_MMIO + 0x40, 0), KVM_EXIT_IO);
	EXPECT_EQ(vm_caught(s->vm)->vector, 13);
	EXPECT_EQ(vm_caught(s->vm)->error, 0);
	EXPECT_EQ(vm_caught(s->vm)->rip, GUEST_CODE + 5);
}

GUEST(string_io, 64, "mov $0x55, %dx\n rep insb\n outsl\n" DONE);

/*
 * INS and OUTS between a port and a device in memory, over a page's end: two exits
 * for each, nothing lost or twice.
 */
TEST_F(two, port_to_device_and_back)
{
	struct side *s = &self->device;
	struct kvm_run *run = s->v->run;
	unsigned int i, n = 0;

	ASSERT_EQ(ONE_INSN(s, string_io, GUEST_MMIO + 0xffe, GUEST_MMIO + 0x40), KVM_EXIT_IO);
	while (run->io.direction == KVM_EXIT_IO_IN) {
		ASSERT_EQ(run->io.port, 0x55);
		ASSERT_EQ(run->io.size, 1);
		for (i = 0; i < run->io.count; i++)
			((char *)run + run->io.data_offset)[i] = ++n;
		ASSERT_EQ(side_run(s), KVM_EXIT_IO);
	}
	EXPECT_EQ(n, 5);
	for (i = 0; i < 5; i++) {
		EXPECT_EQ(s->window[PAGE + 0xffe + i], i + 1);
		EXPECT_EQ(s->written[0xffe + i], 1);
	}
	ASSERT_EQ(run->io.port, 0x55);
	EXPECT_EQ(run->io.size, 4);
	EXPECT_EQ(memcmp((char *)run + run->io.data_offset, s->window + PAGE + 0x40, 4), 0);
	EXPECT_EQ(s->read[0x40], 1);
	ASSERT_EQ(side_run(s), KVM_EXIT_IO);
	EXPECT_EQ(run->io.port, GUEST_DONE);
	EXPECT_EQ(vcpu_regs(s->v).rcx, 0);
	EXPECT_EQ(vcpu_regs(s->v).rdi, GUEST_MMIO + 0x1003);
	EXPECT_EQ(vcpu_regs(s->v).rsi, GUEST_MMIO + 0x44);
}

GUEST(pshufb, 64, "pshufb (%rdi), %xmm1\n" DONE);

TEST_F(two, the_unknown_is_told_with_its_bytes)
{
	struct side *s = &self->device;
	struct kvm_run *run = s->v->run;

	ASSERT_EQ(ONE_INSN(s, pshufb, GUEST_MMIO, 0), KVM_EXIT_INTERNAL_ERROR);
	EXPECT_EQ(run->emulation_failure.suberror, KVM_INTERNAL_ERROR_EMULATION);
	ASSERT_GE(run->emulation_failure.ndata, 3);
	ASSERT_TRUE(run->emulation_failure.flags &
		    KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES);
	EXPECT_GE(run->emulation_failure.insn_size, 5);
	EXPECT_LE(run->emulation_failure.insn_size, 15);
	EXPECT_EQ(memcmp(run->emulation_failure.insn_bytes, pshufb, 5), 0);
	EXPECT_EQ(vcpu_regs(s->v).rip, GUEST_CODE);
	EXPECT_EQ(s->nr, 0);
}

/*
 * An unknown instruction of a user of the guest's must not end the VM: #UD, unless the VMM asked
 * otherwise (KVM_CAP_EXIT_ON_EMULATION_FAILURE).
 */
TEST_F(two, the_unknown_of_a_user_is_undefined)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_EXIT_ON_EMULATION_FAILURE, .args = { 1 } };
	struct side *s = &self->device;
	struct kvm_sregs sr;
	int k;

	for (k = 0; k < 2; k++) {
		READY(s, pshufb, GUEST_MMIO, 0);
		*(uint64_t *)(s->vm->mem + GUEST_TSS + 4) = GUEST_STACK;	/* RSP0 */
		ioctl(s->v->fd, KVM_GET_SREGS, &sr);
		sr.cs.selector = 48 | 3;
		sr.ss.selector = 56 | 3;
		sr.cs.dpl = sr.ss.dpl = 3;
		ASSERT_EQ(ioctl(s->v->fd, KVM_SET_SREGS, &sr), 0);
		if (k) {
			ASSERT_EQ(ioctl(s->vm->fd, KVM_ENABLE_CAP, &cap), 0);
			ASSERT_EQ(side_run(s), KVM_EXIT_INTERNAL_ERROR);
			EXPECT_EQ(s->v->run->emulation_failure.suberror,
				  KVM_INTERNAL_ERROR_EMULATION);
			continue;
		}
		ASSERT_EQ(side_run(s), KVM_EXIT_IO);
		EXPECT_EQ(vm_caught(s->vm)->vector, 6);
		EXPECT_EQ(vm_caught(s->vm)->rip, GUEST_CODE);
		EXPECT_EQ(s->nr, 0);
	}
}

/*
 * A device's page that is mapped read-only: what reads and writes it
 * faults, whatever the CPU does first.
 */
TEST_F(two, a_page_that_may_only_be_read)
{
	struct side *s[2] = { &self->memory, &self->device };
	int k;

	if (!strcmp(vm_device(), "/dev/kvm"))
		SKIP(return, "the in-tree KVM takes the exit's address for the operand's");
	for (k = 0; k < 2; k++) {
		READY(s[k], i_add_l_mr, GUEST_MMIO + 0x40, 0);
		((uint64_t *)(s[k]->vm->mem + GUEST_PT + 0x2000))[GUEST_MMIO >> 21] &= ~2ull;
		ASSERT_EQ(side_run(s[k]), KVM_EXIT_IO);
		EXPECT_EQ(vm_caught(s[k]->vm)->vector, 14);
		EXPECT_EQ(vm_caught(s[k]->vm)->error, 3);
		EXPECT_EQ(vm_caught(s[k]->vm)->cr2, GUEST_MMIO + 0x40);
		EXPECT_EQ(s[k]->nr, 0);
	}
}

#define ALIAS	0x40000000ul		/* GUEST_DATA is mapped there once more */
#define PDE(s, addr) (((uint64_t *)((s)->vm->mem + GUEST_PT + 0x2000))[(addr) >> 21])

/* What decides whether an access to the two operands' pages is allowed. */
struct rights { uint64_t pde[2]; bool user, wp, smap, ac; };

static int side_rights(struct side *s, const struct insn *in, const struct rights *k)
{
	struct kvm_sregs sr;
	struct kvm_regs r;

	ready(s, in->code, in->end - in->code, GUEST_MMIO + 0x40, ALIAS + GUEST_DATA + 0x80);
	PDE(s, 0ul) = k->user ? 0xe7 : 0xe3;
	PDE(s, GUEST_MMIO) = GUEST_MMIO | k->pde[0];
	PDE(s, ALIAS) = k->pde[1];
	*(uint64_t *)(s->vm->mem + GUEST_TSS + 4) = GUEST_STACK;	/* RSP0 */
	*(uint64_t *)(s->vm->mem + GUEST_DATA + 0x80) = *(uint64_t *)(s->window + PAGE + 0x40);
	ioctl(s->v->fd, KVM_GET_SREGS, &sr);
	sr.cr0 = (sr.cr0 & ~0x10000ull) | (k->wp ? 0x10000 : 0);
	sr.cr4 |= k->smap ? 0x200000 : 0;
	if (k->user) {
		sr.cs.selector = 48 | 3;
		sr.ss.selector = 56 | 3;
		sr.cs.dpl = sr.ss.dpl = 3;
	}
	ioctl(s->v->fd, KVM_SET_SREGS, &sr);
	r = vcpu_regs(s->v);
	r.rflags |= (k->ac ? 0x40000 : 0) | 0x3000;		/* IOPL 3: the end is an OUT */
	vcpu_set_regs(s->v, &r);
	return side_run(s);
}

/* Pages of all kinds under both operands: faults, and accessed and dirty bits, as of memory. */
TEST_F(two, rights_of_pages)
{
	static const char *const names[] = {
		"mov_l_mr", "mov_l_rm", "mov_q_i", "add_l_mr", "add_l_rm", "cmp_l_mr", "xchg_l",
		"cmpxchg_l_plain", "movsq_from", "movsq_to", "rep_movsb_from", "rep_movsb_to",
		"cmpsl", "scasl", "stosw", "push_q", "pop_q", "movups_load", "movups_store",
		"lock_inc", "bts_l_i", "lodsl",
	};
	static const uint64_t kinds[] = {
		0x80, 0x81, 0x83, 0x85, 0x87, 0x83, 0x87, 0x8000000000000087,
	};
	struct side *s[2] = { &self->memory, &self->device };
	unsigned int i, j, n, bad = 0, faults = 0;
	int r[2];

	if (!strcmp(vm_device(), "/dev/kvm"))
		SKIP(return, "the in-tree KVM takes the exit's address for the operand's");
	srand(1);
	for (n = 0; n < 800; n++) {
		const char *name = names[n % (sizeof(names) / sizeof(names[0]))], *what;
		struct rights k = {
			.pde = { kinds[rand() & 7], kinds[rand() & 7] },
			.user = rand() & 1, .wp = rand() & 1, .ac = rand() & 1,
		};

		k.smap = !k.user && rand() & 1;
		for (i = 0; i < NR_INSNS - 1 && strcmp(insns[i].name, name); i++)
			;
		for (j = 0; j < 2; j++)
			r[j] = side_rights(s[j], &insns[i], &k);
		what = r[0] == r[1] && r[0] == KVM_EXIT_IO ?
			       differ(s[0], s[1], insns[i].undefined) :
			       "exit";
		if (!what && (PDE(s[0], GUEST_MMIO) != PDE(s[1], GUEST_MMIO) ||
			      PDE(s[0], ALIAS) != PDE(s[1], ALIAS)))
			what = "accessed and dirty bits";
		faults += vm_caught(s[0]->vm)->vector == 14;
		if (!what)
			continue;
		bad++;
		show(_metadata, &insns[i], what, s[0], s[1]);
		TH_LOG("  device's page %llx, %llx, now %llx, %llx; the other's %llx, now %llx, "
		       "%llx; user %d WP %d SMAP %d AC %d",
		       (unsigned long long)k.pde[0], (unsigned long long)k.pde[0],
		       (unsigned long long)PDE(s[0], GUEST_MMIO),
		       (unsigned long long)PDE(s[1], GUEST_MMIO), (unsigned long long)k.pde[1],
		       (unsigned long long)PDE(s[0], ALIAS), (unsigned long long)PDE(s[1], ALIAS),
		       k.user, k.wp, k.smap, k.ac);
	}
	EXPECT_EQ(bad, 0);
	EXPECT_GT(faults, 100);
	EXPECT_LT(faults, 700);
}

GUEST(mov_ss, 64, "mov (%rdi), %ss\n nop\n nop\n" DONE);

/* MOV SS holds off interrupts and the trap of TF for one instruction (SDM vol. 3 6.8.3). */
TEST_F(two, mov_ss_from_a_device)
{
	struct kvm_vcpu_events e;
	struct side *s = &self->device;
	struct kvm_regs r;

	READY(s, mov_ss, GUEST_MMIO + 0x40, 0);
	*(uint16_t *)(s->window + PAGE + 0x40) = 16;
	ASSERT_EQ(vcpu_run(s->v), KVM_EXIT_MMIO);
	ASSERT_TRUE(side_device(s));
	s->v->run->immediate_exit = 1;
	ASSERT_EQ(ioctl(s->v->fd, KVM_RUN, 0), -1);
	s->v->run->immediate_exit = 0;
	ASSERT_EQ(ioctl(s->v->fd, KVM_GET_VCPU_EVENTS, &e), 0);
	EXPECT_TRUE(e.interrupt.shadow & KVM_X86_SHADOW_INT_MOV_SS);
	EXPECT_EQ(vcpu_regs(s->v).rip, GUEST_CODE + 2);
	ASSERT_EQ(side_run(s), KVM_EXIT_IO);
	READY(s, mov_ss, GUEST_MMIO + 0x40, 0);
	*(uint16_t *)(s->window + PAGE + 0x40) = 16;
	r = vcpu_regs(s->v);
	r.rflags |= 0x100;
	vcpu_set_regs(s->v, &r);
	ASSERT_EQ(side_run(s), KVM_EXIT_IO);
	EXPECT_EQ(vm_caught(s->vm)->vector, 1);
	if (strcmp(vm_device(), "/dev/kvm"))		/* whose emulator traps at once */
		EXPECT_EQ(vm_caught(s->vm)->rip, GUEST_CODE + 3);
}

GUEST(mov_es, 64, "mov (%rdi), %es\n" DONE);

/*
 * The access that reached no memory was the CPU's own, of a descriptor in ROM that it wanted to
 * mark as accessed. The instruction's operand has the same place in its page.
 */
TEST_F(two, a_descriptor_in_rom)
{
	struct side *s = &self->memory;
	struct kvm_sregs sr;

	if (!strcmp(vm_device(), "/dev/kvm"))
		SKIP(return, "the in-tree KVM takes the exit's address for the operand's");
	READY(s, mov_es, GUEST_DATA + 76, 0);
	memcpy(s->window, s->vm->mem + GUEST_GDT, 80);
	((uint64_t *)s->window)[9] = 0x00cf92000000ffff;
	vm_slot(s->vm, 1, WINDOW, 0, NULL, 0);
	vm_slot(s->vm, 1, WINDOW, PAGE, s->window, KVM_MEM_READONLY);
	*(uint16_t *)(s->vm->mem + GUEST_DATA + 76) = 72;
	ioctl(s->v->fd, KVM_GET_SREGS, &sr);
	sr.gdt.base = WINDOW;
	sr.gdt.limit = 79;
	ASSERT_EQ(ioctl(s->v->fd, KVM_SET_SREGS, &sr), 0);
	ASSERT_EQ(vcpu_run(s->v), KVM_EXIT_IO);
	EXPECT_EQ(vm_caught(s->vm)->vector, ~0ul);
	ioctl(s->v->fd, KVM_GET_SREGS, &sr);
	EXPECT_EQ(sr.es.selector, 72);
}

/*
 * Between two repetitions the shadow is over, and RF keeps a breakpoint at the instruction from
 * hitting again (SDM vol. 3 17.3.1.1).
 */
TEST_F(two, between_repetitions)
{
	struct side *s = &self->device;
	struct kvm_vcpu_events e;
	struct kvm_regs r;
	int i;

	READY(s, i_rep_stosb, GUEST_MMIO, 0);
	r = vcpu_regs(s->v);
	r.rcx = 100;
	r.rflags |= 0x200;
	vcpu_set_regs(s->v, &r);
	ASSERT_EQ(ioctl(s->v->fd, KVM_GET_VCPU_EVENTS, &e), 0);
	e.flags = KVM_VCPUEVENT_VALID_SHADOW;
	e.interrupt.shadow = KVM_X86_SHADOW_INT_STI;
	ASSERT_EQ(ioctl(s->v->fd, KVM_SET_VCPU_EVENTS, &e), 0);
	for (i = 0; i < 50; i++) {
		ASSERT_EQ(vcpu_run(s->v), KVM_EXIT_MMIO);
		ASSERT_TRUE(side_device(s));
	}
	r = vcpu_regs(s->v);
	EXPECT_EQ(r.rip, GUEST_CODE);
	if (vm_host_is_tcg())			/* Bochs's exit has lost it */
		EXPECT_TRUE(r.rflags & 0x10000);
	ASSERT_EQ(ioctl(s->v->fd, KVM_GET_VCPU_EVENTS, &e), 0);
	EXPECT_EQ(e.interrupt.shadow, 0);
	ASSERT_EQ(side_run(s), KVM_EXIT_IO);
	r = vcpu_regs(s->v);
	EXPECT_EQ(r.rcx, 0);
	EXPECT_FALSE(r.rflags & 0x10000);
	EXPECT_EQ(s->nr, 100);
}

TEST_HARNESS_MAIN
