// SPDX-License-Identifier: GPL-2.0
/*
 * What firmware and boot loader would have done: memory map, command line,
 * initrd, and the first CPU in the state that the kernel's entry expects.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "boot.h"

#define E820_RAM		1
#define E820_RESERVED		2
#define LOADER_UNDEFINED	0xff

#define CR0_PE			(1ull << 0)
#define CR0_ET			(1ull << 4)
#define CR0_NE			(1ull << 5)
#define CR0_PG			(1ull << 31)
#define CR4_PAE			(1ull << 5)
#define EFER_LME		(1ull << 8)
#define EFER_LMA		(1ull << 10)

#define PTE_PRESENT_WRITE	0x3ull
#define PTE_HUGE		0x80ull

/* Selectors of the Linux boot protocol; the same serve PVH. */
#define BOOT_CS			0x10
#define BOOT_DS			0x18
#define BOOT_TR			0x20

/* Xen's public interface, arch-x86/hvm/start_info.h, version 1. */
#define HVM_START_MAGIC		0x336ec578

struct hvm_module {
	uint64_t paddr, size, cmdline_paddr, reserved;
};

struct hvm_memmap_entry {
	uint64_t addr, size;
	uint32_t type, reserved;
};

struct hvm_start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist_paddr, cmdline_paddr, rsdp_paddr, memmap_paddr;
	uint32_t memmap_entries, reserved;
};

/* All that PVH is handed, at BOOT_PVH_INFO. */
struct pvh_area {
	struct hvm_start_info info;
	struct hvm_module initrd;
	struct hvm_memmap_entry map[4];
};

void boot_file_open(struct boot_file *f, const char *option, const char *path)
{
	struct stat st;

	f->path = path;
	/* a pipe that nobody writes to would be waited for otherwise */
	f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (f->fd < 0 || fstat(f->fd, &st) < 0)
		die(STATUS_USAGE, "%s %s: %s", option, path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		die(STATUS_USAGE, "%s %s: not a regular file", option, path);
	if (!st.st_size)
		die(STATUS_USAGE, "%s %s: an empty file", option, path);
	f->size = st.st_size;
}

void kernel_open(struct kernel *k, const char *path)
{
	boot_file_open(&k->file, "--kernel", path);
	k->is_elf = elf_probe(k);
	if (!k->is_elf && !bzimage_probe(k))
		die(STATUS_USAGE, "--kernel %s: neither a bzImage nor an ELF kernel", path);
}

/*
 * As high in low memory as it goes, so that the kernel can take what lies
 * below for itself in one piece.
 */
static uint64_t load_initrd(const struct guest_ram *ram, const struct kernel *k,
			    const struct boot_file *f)
{
	uint64_t top = ram->low_size, limit = k->is_elf ? UINT32_MAX : k->hdr.initrd_addr_max;
	uint64_t base;

	if (top > limit)
		top = limit + 1;
	if (f->size > top || ALIGN_DOWN(top - f->size, 4 * KIB) < k->end)
		die(STATUS_USAGE, "--memory: too small for this kernel and the initrd of %llu MiB",
		    (unsigned long long)(ALIGN_UP(f->size, MIB) / MIB));
	base = ALIGN_DOWN(top - f->size, 4 * KIB);
	if (!pread_full(f->fd, ram_ptr(ram, base, f->size), f->size, 0))
		die(STATUS_USAGE, "--initrd %s: %s", f->path, strerror(errno));
	return base;
}

/* Everything that is not named here is no memory, the hole at 0xa0000 included. */
static unsigned int memory_map(const struct guest_ram *ram, struct hvm_memmap_entry *map)
{
	unsigned int n = 0;

	map[n++] = (struct hvm_memmap_entry){ 0, EBDA_START, E820_RAM, 0 };
	map[n++] = (struct hvm_memmap_entry){ FIRMWARE_START, FIRMWARE_END - FIRMWARE_START,
					      E820_RESERVED, 0 };
	map[n++] = (struct hvm_memmap_entry){ FIRMWARE_END, ram->low_size - FIRMWARE_END,
					      E820_RAM, 0 };
	if (ram->high_size)
		map[n++] = (struct hvm_memmap_entry){ RAM_HIGH_BASE, ram->high_size, E820_RAM, 0 };
	return n;
}

static void fill_zero_page(struct vm *vm, const struct boot_params_in *in, uint64_t initrd)
{
	struct boot_params *bp = ram_ptr(&vm->ram, BOOT_ZERO_PAGE, sizeof(*bp));
	struct hvm_memmap_entry map[4];

	if (in->kernel->is_elf) {
		/* a vmlinux has no header of its own */
		bp->hdr.boot_flag = 0xaa55;
		bp->hdr.header = SETUP_MAGIC;
		bp->hdr.version = SETUP_PROTOCOL_64BIT;
		bp->hdr.kernel_alignment = 2 * MIB;
	} else {
		bp->hdr = in->kernel->hdr;
	}
	bp->hdr.type_of_loader = LOADER_UNDEFINED;
	bp->hdr.cmd_line_ptr = BOOT_CMDLINE;
	if (in->initrd) {
		bp->hdr.ramdisk_image = initrd;
		bp->hdr.ramdisk_size = in->initrd->size;
	}
	bp->acpi_rsdp_addr = in->rsdp;
	bp->e820_entries = memory_map(&vm->ram, map);
	for (unsigned int i = 0; i < bp->e820_entries; i++) {
		bp->e820_table[i].addr = map[i].addr;
		bp->e820_table[i].size = map[i].size;
		bp->e820_table[i].type = map[i].type;
	}
}

static void fill_pvh_info(struct vm *vm, const struct boot_params_in *in, uint64_t initrd)
{
	struct pvh_area *a = ram_ptr(&vm->ram, BOOT_PVH_INFO, sizeof(*a));

	a->info.magic = HVM_START_MAGIC;
	a->info.version = 1;
	a->info.cmdline_paddr = BOOT_CMDLINE;
	a->info.rsdp_paddr = in->rsdp;
	a->info.memmap_paddr = BOOT_PVH_INFO + offsetof(struct pvh_area, map);
	a->info.memmap_entries = memory_map(&vm->ram, a->map);
	if (in->initrd) {
		a->info.nr_modules = 1;
		a->info.modlist_paddr = BOOT_PVH_INFO + offsetof(struct pvh_area, initrd);
		a->initrd.paddr = initrd;
		a->initrd.size = in->initrd->size;
	}
}

static void put_cmdline(const struct guest_ram *ram, const struct boot_params_in *in)
{
	const struct kernel *k = in->kernel;
	size_t len = strlen(in->cmdline), max = BOOT_CMDLINE_MAX - 1;

	if (!k->is_elf && k->hdr.cmdline_size && k->hdr.cmdline_size < max)
		max = k->hdr.cmdline_size;
	if (len > max)
		die(STATUS_USAGE, "--append: %zu characters, this kernel takes %zu", len, max);
	memcpy(ram_ptr(ram, BOOT_CMDLINE, len + 1), in->cmdline, len + 1);
}

/* The first 4 GiB mapped to themselves, wherever the kernel may lie in them. */
static void put_page_tables(const struct guest_ram *ram)
{
	uint64_t *pml4 = ram_ptr(ram, BOOT_PML4, 4096);
	uint64_t *pdpt = ram_ptr(ram, BOOT_PDPT, 4096);
	uint64_t *pd = ram_ptr(ram, BOOT_PD, BOOT_PD_PAGES * 4096);

	pml4[0] = BOOT_PDPT | PTE_PRESENT_WRITE;
	for (uint64_t i = 0; i < BOOT_PD_PAGES; i++)
		pdpt[i] = (BOOT_PD + i * 4096) | PTE_PRESENT_WRITE;
	for (uint64_t i = 0; i < BOOT_PD_PAGES * 512; i++)
		pd[i] = i * 2 * MIB | PTE_HUGE | PTE_PRESENT_WRITE;
}

static void put_gdt(const struct guest_ram *ram, bool long_mode)
{
	uint64_t *gdt = ram_ptr(ram, BOOT_GDT, 6 * sizeof(*gdt));

	gdt[BOOT_CS / 8] = long_mode ? 0x00af9b000000ffff : 0x00cf9b000000ffff;
	gdt[BOOT_DS / 8] = 0x00cf93000000ffff;
	gdt[BOOT_TR / 8] = 0x00008b0000000067;
}

static void set_segments(struct kvm_sregs *s, bool long_mode)
{
	struct kvm_segment code = {
		.selector = BOOT_CS, .limit = UINT32_MAX, .type = 0xb, .present = 1, .s = 1,
		.g = 1, .l = long_mode, .db = !long_mode,
	};
	struct kvm_segment data = {
		.selector = BOOT_DS, .limit = UINT32_MAX, .type = 0x3, .present = 1, .s = 1,
		.g = 1, .db = 1,
	};
	struct kvm_segment task = {
		.selector = BOOT_TR, .limit = 0x67, .type = 0xb, .present = 1,
	};

	s->cs = code;
	s->ds = s->es = s->fs = s->gs = s->ss = data;
	s->tr = task;
	s->gdt.base = BOOT_GDT;
	s->gdt.limit = 6 * 8 - 1;
	s->idt.base = 0;
	s->idt.limit = 0;
}

static void set_registers(struct vm *vm, const struct kernel *k)
{
	int fd = vm->vcpus[0].fd;
	struct kvm_regs regs = {
		.rip = k->entry,
		.rflags = 2,
		.rsp = BOOT_STACK,
	};
	struct kvm_sregs s;

	if (ioctl(fd, KVM_GET_SREGS, &s) < 0)
		die(STATUS_HOST, "KVM_GET_SREGS: %s", strerror(errno));
	put_gdt(&vm->ram, !k->pvh);
	set_segments(&s, !k->pvh);
	if (k->pvh) {
		s.cr0 = CR0_PE | CR0_ET;
		regs.rbx = BOOT_PVH_INFO;
	} else {
		put_page_tables(&vm->ram);
		s.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
		s.cr3 = BOOT_PML4;
		s.cr4 = CR4_PAE;
		s.efer = EFER_LME | EFER_LMA;
		regs.rsi = BOOT_ZERO_PAGE;
	}
	if (ioctl(fd, KVM_SET_SREGS, &s) < 0 || ioctl(fd, KVM_SET_REGS, &regs) < 0)
		die(STATUS_HOST, "cannot set the first CPU's registers: %s", strerror(errno));
}

void boot_setup(struct vm *vm, const struct boot_params_in *in)
{
	struct kernel *k = in->kernel;
	uint64_t initrd = 0;

	if (k->is_elf)
		elf_load(k, &vm->ram);
	else
		bzimage_load(k, &vm->ram);
	if (in->initrd)
		initrd = load_initrd(&vm->ram, k, in->initrd);
	put_cmdline(&vm->ram, in);
	if (k->pvh)
		fill_pvh_info(vm, in, initrd);
	else
		fill_zero_page(vm, in, initrd);
	set_registers(vm, k);
}
