// SPDX-License-Identifier: GPL-2.0
/*
 * ELF kernels. One that carries the PVH entry note is entered there, in 32-bit
 * protected mode; any other must be a vmlinux and is entered in long mode.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "boot.h"

#define MAX_NOTES		(64 * KIB)
#define XEN_ELFNOTE_PHYS32_ENTRY 18

static noreturn void bad(const struct kernel *k, const char *why)
{
	die(STATUS_USAGE, "--kernel %s: %s", k->file.path, why);
}

/* Notes are 4-byte aligned in kernels; gABI, "Note Section". */
static void find_pvh_entry(struct kernel *k, const Elf64_Phdr *p)
{
	uint64_t size = p->p_filesz, pos = 0;
	uint8_t *notes;

	if (size > MAX_NOTES)
		return;
	notes = xcalloc(1, size + 1);
	if (!pread_full(k->file.fd, notes, size, p->p_offset))
		bad(k, "the file is cut short");
	while (size - pos >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr n;
		uint64_t name, desc;

		memcpy(&n, notes + pos, sizeof(n));
		name = pos + sizeof(n);
		desc = name + ALIGN_UP((uint64_t)n.n_namesz, 4);
		pos = desc + ALIGN_UP((uint64_t)n.n_descsz, 4);
		if (pos > size)
			break;
		if (n.n_type == XEN_ELFNOTE_PHYS32_ENTRY && n.n_namesz == 4 &&
		    !memcmp(notes + name, "Xen", 4) && (n.n_descsz == 4 || n.n_descsz == 8)) {
			k->entry = load_le(notes + desc, 4);
			k->pvh = true;
		}
	}
	free(notes);
}

/*
 * A kernel shows itself by the PVH note or, as Linux does, by being linked to
 * the upper half of the address space. Programs are ELF files as well.
 */
static void check_is_kernel(struct kernel *k)
{
	bool upper = false;

	for (unsigned int i = 0; i < k->ehdr.e_phnum; i++) {
		if (k->phdr[i].p_type == PT_NOTE)
			find_pvh_entry(k, &k->phdr[i]);
		else if (k->phdr[i].p_type == PT_LOAD && k->phdr[i].p_vaddr >> 63)
			upper = true;
	}
	if (!k->pvh && !upper)
		bad(k, "an ELF file, but not a kernel");
}

bool elf_probe(struct kernel *k)
{
	const Elf64_Ehdr *h = &k->ehdr;

	if (!pread_full(k->file.fd, &k->ehdr, sizeof(k->ehdr), 0) ||
	    memcmp(h->e_ident, ELFMAG, SELFMAG))
		return false;
	if (h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_machine != EM_X86_64)
		bad(k, "an ELF file, but not for x86-64");
	if (h->e_type != ET_EXEC && h->e_type != ET_DYN)
		bad(k, "an ELF file, but not an executable");
	if (h->e_phentsize != sizeof(Elf64_Phdr) || !h->e_phnum || h->e_phnum > ELF_MAX_PHDRS)
		bad(k, "an ELF file with bad program headers");
	if (!pread_full(k->file.fd, k->phdr, h->e_phnum * sizeof(k->phdr[0]), h->e_phoff))
		bad(k, "the file is cut short");
	k->entry = h->e_entry;
	check_is_kernel(k);
	return true;
}

static void load_segment(struct kernel *k, const struct guest_ram *ram, const Elf64_Phdr *p)
{
	void *to;

	if (p->p_filesz > p->p_memsz || p->p_paddr < BOOT_KERNEL_MIN)
		bad(k, "a segment is no part of a kernel");
	to = ram_ptr(ram, p->p_paddr, p->p_memsz);
	if (!to)
		die(STATUS_USAGE,
		    "--memory: too small for this kernel, which has a segment at 0x%llx",
		    (unsigned long long)p->p_paddr);
	/* What the file does not fill is fresh memory and zero already. */
	if (!pread_full(k->file.fd, to, p->p_filesz, p->p_offset))
		bad(k, errno == EIO ? "the file is cut short" : strerror(errno));
	if (p->p_paddr < k->start)
		k->start = p->p_paddr;
	if (p->p_paddr + p->p_memsz > k->end)
		k->end = p->p_paddr + p->p_memsz;
}

void elf_load(struct kernel *k, const struct guest_ram *ram)
{
	k->start = UINT64_MAX;
	k->end = 0;
	for (unsigned int i = 0; i < k->ehdr.e_phnum; i++) {
		if (k->phdr[i].p_type == PT_LOAD && k->phdr[i].p_memsz)
			load_segment(k, ram, &k->phdr[i]);
	}
	if (k->entry < k->start || k->entry >= k->end)
		bad(k, "its entry point is not in any segment");
}
