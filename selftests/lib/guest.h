/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Guest code inside a test: GUEST(name, 64, "...") assembles text for 16, 32 or 64-bit code;
 * vm_load() copies it to GUEST_CODE. It runs where it is put, so it must be position-independent or
 * know its address.
 */
#ifndef GUEST_H
#define GUEST_H

#define GUEST(name, bits, text)							\
	extern const unsigned char name[], name##_end[];			\
	asm(".pushsection .rodata\n.code" #bits "\n"				\
	    ".globl " #name ", " #name "_end\n"					\
	    #name ":\n" text "\n" #name "_end:\n"				\
	    ".code64\n.popsection\n")

#define GUEST_SIZE(name) ((unsigned long)(name##_end - name))

/* Where things are in the guest's physical memory. */
#define GUEST_IDT	0x1000ul
#define GUEST_GDT	0x2000ul
#define GUEST_TSS	0x3000ul
#define GUEST_STUBS	0x4000ul	/* one for each vector, see vm_catch() */
#define GUEST_CAUGHT	0x6000ul	/* struct guest_caught */
#define GUEST_STACK	0x7f00ul	/* CPU n has it at GUEST_STACK + n * 0x10000 + 0x100000 */
#define GUEST_CODE	0x8000ul
#define GUEST_PT	0x10000ul	/* page tables: up to 0x20000 */
#define GUEST_DATA	0x100000ul	/* free for the test */
#define GUEST_MMIO	0xd0000000ul	/* never memory */

/* Port that ends a test's guest code: "out %al, $0x99" */
#define GUEST_DONE	0x99
#define DONE		"out %al, $0x99\n"

#endif
