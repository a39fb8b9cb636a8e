// SPDX-License-Identifier: GPL-2.0
/*
 * Linux bzImage: checks of the header and loading of the protected-mode part.
 */
#include <errno.h>
#include <string.h>

#include "boot.h"

#define SETUP_HEADER_OFFSET	0x1f1
#define ENTRY_64		0x200		/* of the 64-bit code, from where it was loaded */
#define SECTOR			512

bool bzimage_probe(struct kernel *k)
{
	size_t length;

	if (!pread_full(k->file.fd, &k->hdr, sizeof(k->hdr), SETUP_HEADER_OFFSET))
		return false;
	if (k->hdr.header != SETUP_MAGIC || k->hdr.boot_flag != 0xaa55)
		return false;
	/* The jump at its start tells where an older, shorter header ends. */
	length = offsetof(struct setup_header, jump) + 2 + (k->hdr.jump >> 8);
	if (length < sizeof(k->hdr))
		memset((char *)&k->hdr + length, 0, sizeof(k->hdr) - length);
	if (k->hdr.version < SETUP_PROTOCOL_64BIT || !(k->hdr.xloadflags & XLF_KERNEL_64))
		die(STATUS_USAGE, "--kernel %s: has no 64-bit entry", k->file.path);
	return true;
}

void bzimage_load(struct kernel *k, const struct guest_ram *ram)
{
	uint64_t skip = ((k->hdr.setup_sects ? k->hdr.setup_sects : 4) + 1ull) * SECTOR;
	uint64_t size = k->file.size > skip ? k->file.size - skip : 0;
	uint64_t base = k->hdr.pref_address;
	uint64_t need;
	void *to;

	if (size <= ENTRY_64 || size < k->hdr.syssize * 16ull)
		die(STATUS_USAGE, "--kernel %s: the file is cut short", k->file.path);

	/*
	 * Loaded where it wants to run, so that it need not move itself; what it
	 * needs from there on (init_size) includes room to decompress.
	 */
	if (base < BOOT_KERNEL_MIN || base >= RAM_LOW_MAX)
		base = BOOT_KERNEL_MIN;
	need = k->hdr.init_size > size ? k->hdr.init_size : size;
	to = ram_ptr(ram, base, need);
	if (!to)
		die(STATUS_USAGE,
		    "--memory: too small for this kernel, which needs at least %llu MiB",
		    (unsigned long long)(ALIGN_UP(base + need, MIB) / MIB));
	if (!pread_full(k->file.fd, to, size, skip))
		die(STATUS_USAGE, "--kernel %s: %s", k->file.path, strerror(errno));
	k->start = base;
	k->end = base + need;
	k->entry = base + ENTRY_64;
	k->hdr.code32_start = base;
}
