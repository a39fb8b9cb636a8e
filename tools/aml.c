// SPDX-License-Identifier: GPL-2.0
/*
 * The few forms of ACPI machine language that the DSDT needs (ACPI 6.4, chapter
 * 20 for the encoding, 6.4 for resource descriptors).
 */
#include <string.h>

#include "aml.h"
#include "platform.h"

#define OP_ZERO			0x00
#define OP_NAME			0x08
#define OP_BYTE			0x0a
#define OP_DWORD		0x0c
#define OP_SCOPE		0x10
#define OP_BUFFER		0x11
#define OP_PACKAGE		0x12
#define OP_EXT			0x5b
#define OP_EXT_DEVICE		0x82

static void put(struct aml *a, const void *bytes, size_t len)
{
	if (len > sizeof(a->code) - a->len)
		die(STATUS_HOST, "the DSDT is too long");
	memcpy(a->code + a->len, bytes, len);
	a->len += len;
}

static void put_byte(struct aml *a, uint8_t v)
{
	put(a, &v, 1);
}

static void put_le(struct aml *a, uint64_t v, unsigned int len)
{
	put(a, &v, len);
}

/*
 * A package's length comes before its contents and counts itself. Two bytes of
 * it (20.2.4: 12 bits) are enough for everything here and known in advance.
 */
static size_t open_package(struct aml *a)
{
	size_t at = a->len;

	put_le(a, 0, 2);
	return at;
}

static void close_package(struct aml *a, size_t at)
{
	size_t len = a->len - at;

	a->code[at] = 0x40 | (len & 0xf);
	a->code[at + 1] = len >> 4;
}

static size_t open_device(struct aml *a, const char *name)
{
	size_t at;

	put_byte(a, OP_EXT);
	put_byte(a, OP_EXT_DEVICE);
	at = open_package(a);
	put(a, name, 4);
	return at;
}

static void put_name(struct aml *a, const char *name)
{
	put_byte(a, OP_NAME);
	put(a, name, 4);
}

/* "PNP0A03" and its like, packed into 32 bits: 19.3.4 "EISAID". */
static void put_hid(struct aml *a, const char *id)
{
	uint32_t v = (id[0] - '@') << 26 | (id[1] - '@') << 21 | (id[2] - '@') << 16;

	for (int i = 0; i < 4; i++) {
		char c = id[3 + i];

		v |= (c >= 'A' ? c - 'A' + 10 : c - '0') << (12 - 4 * i);
	}
	put_name(a, "_HID");
	put_byte(a, OP_DWORD);
	put_le(a, __builtin_bswap32(v), 4);
}

static void put_uid(struct aml *a)
{
	put_name(a, "_UID");
	put_byte(a, OP_ZERO);
}

/* Resources are a buffer whose size, itself counted, comes first. */
static size_t open_resources(struct aml *a, size_t *size_at)
{
	size_t at;

	put_name(a, "_CRS");
	put_byte(a, OP_BUFFER);
	at = open_package(a);
	put_byte(a, OP_DWORD);
	*size_at = a->len;
	put_le(a, 0, 4);
	return at;
}

static void close_resources(struct aml *a, size_t at, size_t size_at)
{
	put_le(a, 0x0079, 2);		/* end tag, checksum not used */
	store_le(a->code + size_at, 4, a->len - size_at - 4);
	close_package(a, at);
}

static void put_io(struct aml *a, uint16_t base, uint8_t len)
{
	put_byte(a, 0x47);
	put_byte(a, 1);			/* decodes 16 bits */
	put_le(a, base, 2);
	put_le(a, base, 2);
	put_byte(a, 1);
	put_byte(a, len);
}

static void put_irq(struct aml *a, unsigned int irq)
{
	put_byte(a, 0x22);		/* edge, active high */
	put_le(a, 1u << irq, 2);
}

/* What a bridge hands down: address space of @width bytes, fixed at both ends. */
static void put_window(struct aml *a, unsigned int width, uint8_t type, uint8_t type_flags,
		       uint64_t min, uint64_t max)
{
	put_byte(a, width == 2 ? 0x88 : 0x87);
	put_le(a, 3 + 5 * width, 2);
	put_byte(a, type);
	put_byte(a, 0x0c);
	put_byte(a, type_flags);
	put_le(a, 0, width);		/* granularity */
	put_le(a, min, width);
	put_le(a, max, width);
	put_le(a, 0, width);		/* translation */
	put_le(a, max - min + 1, width);
}

static void put_pci(struct aml *a)
{
	size_t device = open_device(a, "PCI0"), crs, size;

	put_hid(a, "PNP0A03");
	put_uid(a);
	crs = open_resources(a, &size);
	put_window(a, 2, 2, 0, 0, 0);				/* bus 0 and no other */
	put_io(a, 0xcf8, 8);
	put_window(a, 2, 1, 3, 0x0d00, 0xffff);			/* ports */
	put_window(a, 4, 0, 1, PCI_WINDOW, PCI_WINDOW_END - 1);	/* memory */
	close_resources(a, crs, size);
	close_package(a, device);
}

static void put_serial(struct aml *a)
{
	size_t device = open_device(a, "COM1"), crs, size;

	put_hid(a, "PNP0501");
	put_uid(a);
	crs = open_resources(a, &size);
	put_io(a, COM1_PORT, 8);
	put_irq(a, COM1_GSI);
	close_resources(a, crs, size);
	close_package(a, device);
}

static void put_s5(struct aml *a)
{
	size_t package;

	put_name(a, "_S5_");
	put_byte(a, OP_PACKAGE);
	package = open_package(a);
	put_byte(a, 2);
	put_byte(a, OP_BYTE);
	put_byte(a, SLEEP_TYPE_S5);
	put_byte(a, OP_ZERO);
	close_package(a, package);
}

void aml_describe_machine(struct aml *a)
{
	size_t scope;

	a->len = 0;
	put_s5(a);
	put_byte(a, OP_SCOPE);
	scope = open_package(a);
	put(a, "_SB_", 4);
	put_pci(a);
	put_serial(a);
	close_package(a, scope);
}
