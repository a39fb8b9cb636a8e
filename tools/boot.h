/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Starting a kernel without firmware: Linux's boot protocol for bzImage
 * (Documentation/x86/boot.rst, 64-bit entry) and ELF files by their PVH note or,
 * without one, as a Linux vmlinux.
 */
#ifndef WAFER_BOOT_H
#define WAFER_BOOT_H

#include <asm/bootparam.h>
#include <elf.h>

#include "vm.h"

/* Where the hand-over lies in low memory; below EBDA_START all is the guest's RAM. */
#define BOOT_GDT		0x0500ull
#define BOOT_PVH_INFO		0x6000ull
#define BOOT_ZERO_PAGE		0x7000ull
#define BOOT_PML4		0x9000ull
#define BOOT_PDPT		0xa000ull
#define BOOT_PD			0xb000ull
#define BOOT_PD_PAGES		4
#define BOOT_STACK		0x10000ull
#define BOOT_CMDLINE		0x20000ull
#define BOOT_CMDLINE_MAX	0x10000ull
#define BOOT_KERNEL_MIN		0x100000ull

#define SETUP_MAGIC		0x53726448	/* "HdrS" */
#define SETUP_PROTOCOL_64BIT	0x020c		/* the first version with xloadflags */

#define ELF_MAX_PHDRS		64

struct boot_file {
	const char *path;
	int fd;
	uint64_t size;
};

struct kernel {
	struct boot_file file;
	bool is_elf;
	struct setup_header hdr;	/* bzImage */
	Elf64_Ehdr ehdr;		/* ELF */
	Elf64_Phdr phdr[ELF_MAX_PHDRS];
	bool pvh;

	/* set when it is loaded */
	uint64_t entry;
	uint64_t start, end;		/* memory that the initrd has to stay out of */
};

struct boot_params_in {
	struct kernel *kernel;
	struct boot_file *initrd;	/* NULL: none */
	const char *cmdline;
	uint64_t rsdp;
};

/* Opens a file that the command line names; @option says which in the message. */
void boot_file_open(struct boot_file *f, const char *option, const char *path);

/* Opens and recognises a kernel; ends the program with one line if it is none. */
void kernel_open(struct kernel *k, const char *path);

/* bzimage.c, elf.c: put the kernel into memory and fill in the second half of *k. */
bool bzimage_probe(struct kernel *k);
void bzimage_load(struct kernel *k, const struct guest_ram *ram);
bool elf_probe(struct kernel *k);
void elf_load(struct kernel *k, const struct guest_ram *ram);

/* Loads everything and sets vCPU 0 to the kernel's entry. */
void boot_setup(struct vm *vm, const struct boot_params_in *in);

#endif
