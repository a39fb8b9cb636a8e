/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Stands where a bzImage has its decompressor: lays an unpacked kernel out in memory and enters it.
 *
 * Unpacking a distribution's kernel takes an emulator without a translator most of a minute. So
 * scripts/lib/unpacked.py does it beforehand and joins the kernel's own setup code, this stub at
 * 1 MiB, and the segments. Boot protocol: Documentation/x86/boot.rst of the kernel, "32-bit boot
 * protocol" on the way in (ESI points to boot_params) and "64-bit boot protocol" on the way out.
 */
#define BASE	0x100000
/* entry, number of segments, then source, destination, length of each */
#define HEADER	(BASE + 0x1000)
#define TABLES	(BASE + 0x2000)	/* PML4, PDPT, four page directories */

	.code32
	.text
	.globl	_start
_start:
	cli
	movl	$HEADER, %esp
	movl	%esi, %ebp

	/* destinations lie above their sources and may overlap them: from the last byte down */
	movl	HEADER + 4, %edx
	std
1:	decl	%edx
	js	2f
	imull	$12, %edx, %eax
	movl	HEADER + 8(%eax), %esi
	movl	HEADER + 12(%eax), %edi
	movl	HEADER + 16(%eax), %ecx
	leal	-4(%esi, %ecx), %esi
	leal	-4(%edi, %ecx), %edi
	shrl	$2, %ecx
	rep movsl
	jmp	1b

	/* the first 4 GiB mapped one to one, in pages of 2 MiB */
2:	cld
	movl	$(TABLES + 0x1000 + 7), TABLES
	movl	$4, %ecx
	movl	$(TABLES + 0x2000 + 7), %eax
	movl	$(TABLES + 0x1000), %edi
3:	movl	%eax, (%edi)
	addl	$0x1000, %eax
	addl	$8, %edi
	loop	3b
	movl	$2048, %ecx
	movl	$0x87, %eax
	movl	$(TABLES + 0x2000), %edi
4:	movl	%eax, (%edi)
	addl	$0x200000, %eax
	addl	$8, %edi
	loop	4b

	movl	%cr4, %eax
	orl	$0x20, %eax		/* PAE */
	movl	%eax, %cr4
	movl	$TABLES, %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx	/* EFER.LME */
	rdmsr
	orl	$0x100, %eax
	wrmsr
	lgdt	gdt_pointer
	movl	%cr0, %eax
	orl	$0x80000001, %eax
	movl	%eax, %cr0
	ljmp	$0x10, $5f

	.code64
5:	movl	$0x18, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	%ebp, %esi
	movl	HEADER, %eax
	jmp	*%rax

	.balign	8
gdt:	.quad	0, 0
	.quad	0x00af9a000000ffff
	.quad	0x00cf92000000ffff
gdt_pointer:
	.word	. - gdt - 1
	.long	gdt
