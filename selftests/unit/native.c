// SPDX-License-Identifier: GPL-2.0
/* See native.h. */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <asm/prctl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "native.h"

#define USER_CS	0x33
#define USER_DS	0x2b

/* What the assembly below works with. */
u64 native_gpr[16], native_flags, native_host_rsp;
u8 native_vec[16][32];
u32 native_avx;
u16 native_ds, native_es, native_ss, native_gs, native_load_gs, native_user_ds = USER_DS;
struct { u32 offset; u16 selector; } __attribute__((__packed__)) native_target;
void native_enter(void);
extern char native_exit[];

/*
 * The guest's stack pointer is in RSP and its stack segment in SS for a while, so nothing may be
 * pushed. The way back from any code size is a far jump to a trampoline in the code page, and from
 * there to native_exit.
 */
asm(
"	.text\n"
"	.macro vectors dir\n"
"	lea	native_vec(%rip), %rax\n"
"	cmpl	$0, native_avx(%rip)\n"
"	je	1f\n"
"	.irp	n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
"	.if	\\dir\n"
"	vmovdqu	%ymm\\n, 32*\\n(%rax)\n"
"	.else\n"
"	vmovdqu	32*\\n(%rax), %ymm\\n\n"
"	.endif\n"
"	.endr\n"
"	jmp	2f\n"
"1:\n"
"	.irp	n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
"	.if	\\dir\n"
"	movdqu	%xmm\\n, 32*\\n(%rax)\n"
"	.else\n"
"	movdqu	32*\\n(%rax), %xmm\\n\n"
"	.endif\n"
"	.endr\n"
"2:\n"
"	.endm\n"
"	.globl	native_enter, native_exit\n"
"native_enter:\n"
"	push	%rbx\n"
"	push	%rbp\n"
"	push	%r12\n"
"	push	%r13\n"
"	push	%r14\n"
"	push	%r15\n"
"	mov	%rsp, native_host_rsp(%rip)\n"
"	vectors	0\n"
"	movw	native_ds(%rip), %ds\n"
"	movw	native_es(%rip), %es\n"
"	cmpw	$0, native_load_gs(%rip)\n"
"	je	1f\n"
"	movw	native_gs(%rip), %gs\n"
"1:\n"
"	pushq	native_flags(%rip)\n"
"	popfq\n"
"	movw	native_ss(%rip), %ss\n"
"	mov	native_gpr+8*0(%rip), %rax\n"
"	mov	native_gpr+8*1(%rip), %rcx\n"
"	mov	native_gpr+8*2(%rip), %rdx\n"
"	mov	native_gpr+8*3(%rip), %rbx\n"
"	mov	native_gpr+8*4(%rip), %rsp\n"
"	mov	native_gpr+8*5(%rip), %rbp\n"
"	mov	native_gpr+8*6(%rip), %rsi\n"
"	mov	native_gpr+8*7(%rip), %rdi\n"
"	mov	native_gpr+8*8(%rip), %r8\n"
"	mov	native_gpr+8*9(%rip), %r9\n"
"	mov	native_gpr+8*10(%rip), %r10\n"
"	mov	native_gpr+8*11(%rip), %r11\n"
"	mov	native_gpr+8*12(%rip), %r12\n"
"	mov	native_gpr+8*13(%rip), %r13\n"
"	mov	native_gpr+8*14(%rip), %r14\n"
"	mov	native_gpr+8*15(%rip), %r15\n"
"	ljmpl	*native_target(%rip)\n"
"native_exit:\n"
"	mov	%rax, native_gpr+8*0(%rip)\n"
"	mov	%rcx, native_gpr+8*1(%rip)\n"
"	mov	%rdx, native_gpr+8*2(%rip)\n"
"	mov	%rbx, native_gpr+8*3(%rip)\n"
"	mov	%rsp, native_gpr+8*4(%rip)\n"
"	mov	%rbp, native_gpr+8*5(%rip)\n"
"	mov	%rsi, native_gpr+8*6(%rip)\n"
"	mov	%rdi, native_gpr+8*7(%rip)\n"
"	mov	%r8, native_gpr+8*8(%rip)\n"
"	mov	%r9, native_gpr+8*9(%rip)\n"
"	mov	%r10, native_gpr+8*10(%rip)\n"
"	mov	%r11, native_gpr+8*11(%rip)\n"
"	mov	%r12, native_gpr+8*12(%rip)\n"
"	mov	%r13, native_gpr+8*13(%rip)\n"
"	mov	%r14, native_gpr+8*14(%rip)\n"
"	mov	%r15, native_gpr+8*15(%rip)\n"
"	movw	native_user_ds(%rip), %ss\n"
"	mov	native_host_rsp(%rip), %rsp\n"
"	pushfq\n"
"	popq	native_flags(%rip)\n"
"	cld\n"
"	vectors	1\n"
"	xor	%eax, %eax\n"
"	mov	%eax, %ds\n"
"	mov	%eax, %es\n"
"	pop	%r15\n"
"	pop	%r14\n"
"	pop	%r13\n"
"	pop	%r12\n"
"	pop	%rbp\n"
"	pop	%rbx\n"
"	ret\n"
);

#define MARKER	(NATIVE_CODE + 0x40)
#define TRAMP	0x100			/* two trampolines, 0x40 apart */

static bool running;
static struct native_fault fault;

static void on_fault(int sig, siginfo_t *info, void *ctx)
{
	greg_t *r = ((ucontext_t *)ctx)->uc_mcontext.gregs;

	if (!running) {
		signal(sig, SIG_DFL);	/* a bug of the test's own */
		return;
	}
	running = false;
	fault.trap = r[REG_TRAPNO];
	fault.error = r[REG_ERR];
	fault.cr2 = r[REG_CR2];
	r[REG_RIP] = (greg_t)native_exit;
	r[REG_CSGSFS] = (r[REG_CSGSFS] & 0x0000ffffffff0000ull) | USER_CS | (u64)USER_DS << 48;
}

bool native_has_avx(void)
{
	return __builtin_cpu_supports("avx");
}

bool native_segment(unsigned int nr, u32 base, u32 limit, bool pages, u8 type, bool big)
{
	struct user_desc d = {
		.entry_number = nr, .base_addr = base, .limit = limit, .seg_32bit = big,
		.contents = type >> 2 & 3,
		.read_exec_only = !(type & 2), .limit_in_pages = pages,
	};

	return syscall(SYS_modify_ldt, 0x11, &d, sizeof(d)) == 0;
}

u16 native_selector(unsigned int nr)
{
	return nr << 3 | 7;
}

/* movl $@value, MARKER; jmp *native_exit */
static void trampoline(u8 *p, u32 value)
{
	u64 to = (u64)native_exit;
	u32 marker = MARKER;

	memcpy(p, "\xc7\x04\x25", 3);
	memcpy(p + 3, &marker, 4);
	memcpy(p + 7, &value, 4);
	memcpy(p + 11, "\xff\x25\0\0\0\0", 6);
	memcpy(p + 17, &to, 8);
}

const char *native_init(void)
{
	static u8 stack[65536];
	struct sigaction sa = {
		.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER,
	};
	stack_t ss = { .ss_sp = stack, .ss_size = sizeof(stack) };
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
	u8 *code = (u8 *)NATIVE_CODE;

	native_avx = native_has_avx();
	if (!native_segment(0, NATIVE_CODE, 0xffff, false, 0xa, false) ||
	    !native_segment(1, NATIVE_CODE, 0xfffff, true, 0xa, true))
		return "modify_ldt is not available";
	if (mmap(code, 4096, 7, flags, -1, 0) != code ||
	    mmap((void *)NATIVE_DATA, NATIVE_SIZE, 3, flags, -1, 0) != (void *)NATIVE_DATA)
		return "the low addresses are taken";
	trampoline(code + TRAMP, 1);
	trampoline(code + TRAMP + 0x40, 2);
	sigaltstack(&ss, NULL);
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGILL, &sa, NULL);
	sigaction(SIGFPE, &sa, NULL);
	sigaction(SIGTRAP, &sa, NULL);
	return NULL;
}

/* A far jump to trampoline @nr; 64-bit code has none with an immediate. */
static void way_out(u8 *p, unsigned int nr, unsigned int mode)
{
	u32 to = NATIVE_CODE + TRAMP + 0x40 * nr;

	if (mode == 8) {
		memcpy(p, "\xff\x25\0\0\0\0", 6);
		memcpy(p + 6, &(u64){ to }, 8);
		return;
	}
	if (mode == 2)
		*p++ = 0x66;
	*p++ = 0xea;
	memcpy(p, &to, 4);
	memcpy(p + 4, &(u16){ USER_CS }, 2);
}

void native_run(struct native *n, const u8 *code, unsigned int len, unsigned int mode)
{
	u8 *ip = (u8 *)NATIVE_CODE + NATIVE_IP;
	u32 *marker = (u32 *)MARKER;

	memcpy(ip, code, len);
	way_out(ip + len, 0, mode);
	way_out((u8 *)NATIVE_CODE + NATIVE_PAD, 1, mode);
	*marker = 0;
	memcpy(native_gpr, n->gpr, sizeof(native_gpr));
	memcpy(native_vec, n->vec, sizeof(native_vec));
	native_flags = n->rflags;
	native_es = n->sel[0];
	native_ds = n->sel[3];
	native_ss = mode == 8 ? USER_DS : n->sel[2];
	native_gs = n->sel[5];
	native_load_gs = mode != 8;
	native_target.offset = NATIVE_IP;
	native_target.selector = native_selector(mode == 2 ? 0 : 1);
	if (mode == 8) {
		native_target.offset += NATIVE_CODE;
		native_target.selector = USER_CS;
		if (n->gs_base)
			syscall(SYS_arch_prctl, ARCH_SET_GS, n->gs_base);
	}
	fault.trap = -1;
	running = true;
	native_enter();
	running = false;
	memcpy(n->gpr, native_gpr, sizeof(native_gpr));
	memcpy(n->vec, native_vec, sizeof(native_vec));
	n->rflags = native_flags;
	n->fault = fault;
	n->at_pad = *marker == 2;
}
