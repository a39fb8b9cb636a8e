// SPDX-License-Identifier: GPL-2.0
/*
 * ACPI tables, "hardware-reduced" as ACPI 6 calls a machine without the PC's
 * fixed hardware. That spares a guest the power-management timer, the event
 * registers and every search for devices that are not there.
 *
 * Numbers in comments are sections of the ACPI specification 6.4.
 */
#include <string.h>

#include "acpi.h"
#include "aml.h"
#include "platform.h"

#define FADT_WBINVD		(1u << 0)
#define FADT_POWER_BUTTON	(1u << 4)	/* set: there is no fixed-hardware one */
#define FADT_SLEEP_BUTTON	(1u << 5)
#define FADT_RESET_REG		(1u << 10)
#define FADT_HW_REDUCED		(1u << 20)

#define BOOT_ARCH_NO_VGA	(1u << 2)
#define BOOT_ARCH_NO_RTC	(1u << 5)

#define MADT_ENABLED		1

struct sdt_header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} __packed;

struct rsdp {				/* 5.2.5.3 */
	char signature[8];
	uint8_t checksum;
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum;
	uint8_t reserved[3];
} __packed;

struct gas {				/* 5.2.3.2 */
	uint8_t space, width, offset, access;
	uint64_t address;
} __packed;

struct fadt {				/* 5.2.9; unused runs are kept as bytes */
	struct sdt_header h;
	uint32_t facs, dsdt;
	uint8_t model, profile;
	uint8_t fixed_hardware[62];
	uint8_t century;
	uint16_t boot_arch;
	uint8_t reserved;
	uint32_t flags;
	struct gas reset;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor;
	uint64_t x_facs, x_dsdt;
	struct gas fixed[8];
	struct gas sleep_control, sleep_status;
	char hypervisor[8];
} __packed;

_Static_assert(sizeof(struct fadt) == 276, "FADT of revision 6");

struct madt {				/* 5.2.12 */
	struct sdt_header h;
	uint32_t lapic_address, flags;
	uint8_t entries[];
} __packed;

struct madt_lapic {
	uint8_t type, length, uid, id;
	uint32_t flags;
} __packed;

struct madt_ioapic {
	uint8_t type, length, id, reserved;
	uint32_t address, gsi_base;
} __packed;

struct madt_x2apic {
	uint8_t type, length;
	uint16_t reserved;
	uint32_t id, flags, uid;
} __packed;

/* Where the next table goes. */
struct area {
	const struct guest_ram *ram;
	uint64_t next;
};

static void *take(struct area *a, size_t size, uint64_t *gpa)
{
	void *p = ram_ptr(a->ram, a->next, size);

	if (!p || a->next + size > RESET_VECTOR)
		die(STATUS_HOST, "no room for the ACPI tables");
	*gpa = a->next;
	a->next = ALIGN_UP(a->next + size, 16);
	return p;
}

static uint8_t checksum(const void *p, size_t len)
{
	const uint8_t *b = p;
	uint8_t sum = 0;

	while (len--)
		sum += *b++;
	return -sum;
}

static void finish(struct sdt_header *h, const char *signature, uint8_t revision, size_t length)
{
	memcpy(h->signature, signature, 4);
	h->length = length;
	h->revision = revision;
	memcpy(h->oem_id, "WAFER ", 6);
	memcpy(h->oem_table_id, "WAFERVMM", 8);
	h->oem_revision = 1;
	memcpy(h->creator_id, "WAFR", 4);
	h->creator_revision = 1;
	h->checksum = 0;
	h->checksum = checksum(h, length);
}

static struct gas port(uint16_t address)
{
	return (struct gas){ .space = 1, .width = 8, .access = 1, .address = address };
}

static uint64_t put_dsdt(struct area *a)
{
	struct sdt_header *h;
	struct aml aml;
	uint64_t gpa;

	aml_describe_machine(&aml);
	h = take(a, sizeof(*h) + aml.len, &gpa);
	memcpy(h + 1, aml.code, aml.len);
	finish(h, "DSDT", 2, sizeof(*h) + aml.len);
	return gpa;
}

static uint64_t put_fadt(struct area *a, uint64_t dsdt)
{
	uint64_t gpa;
	struct fadt *f = take(a, sizeof(*f), &gpa);

	f->dsdt = dsdt;
	f->x_dsdt = dsdt;
	f->boot_arch = BOOT_ARCH_NO_VGA | BOOT_ARCH_NO_RTC;
	f->flags = FADT_WBINVD | FADT_POWER_BUTTON | FADT_SLEEP_BUTTON | FADT_RESET_REG |
		   FADT_HW_REDUCED;
	f->reset = port(PORT_RESET);
	f->reset_value = RESET_VALUE;
	f->minor = 4;
	f->sleep_control = port(PORT_SLEEP_CONTROL);
	f->sleep_status = port(PORT_SLEEP_STATUS);
	memcpy(f->hypervisor, "WAFER", 5);
	finish(&f->h, "FACP", 6, sizeof(*f));
	return gpa;
}

/*
 * ISA interrupt n is GSI n without exception, as the interrupt controllers come
 * out of KVM_CREATE_IRQCHIP, so there are no overrides.
 */
static uint64_t put_madt(struct area *a, unsigned int cpus)
{
	size_t size = sizeof(struct madt) + sizeof(struct madt_ioapic) +
		      cpus * sizeof(struct madt_x2apic);
	uint64_t gpa;
	struct madt *m = take(a, size, &gpa);
	uint8_t *p = m->entries;
	struct madt_ioapic io = {
		.type = 1, .length = sizeof(io), .address = IOAPIC_BASE,
	};

	m->lapic_address = LAPIC_BASE;
	for (unsigned int i = 0; i < cpus; i++) {
		struct madt_lapic l = {
			.type = 0, .length = sizeof(l), .uid = i, .id = i, .flags = MADT_ENABLED,
		};
		struct madt_x2apic x = {
			.type = 9, .length = sizeof(x), .id = i, .uid = i, .flags = MADT_ENABLED,
		};

		/* 5.2.12.12: the long form is for IDs that the short one has no room for */
		if (i < 255) {
			memcpy(p, &l, sizeof(l));
			p += sizeof(l);
		} else {
			memcpy(p, &x, sizeof(x));
			p += sizeof(x);
		}
	}
	memcpy(p, &io, sizeof(io));
	p += sizeof(io);
	finish(&m->h, "APIC", 5, p - (uint8_t *)m);
	return gpa;
}

static uint64_t put_xsdt(struct area *a, const uint64_t *tables, unsigned int nr)
{
	uint64_t gpa;
	struct sdt_header *h = take(a, sizeof(*h) + nr * sizeof(*tables), &gpa);

	memcpy(h + 1, tables, nr * sizeof(*tables));
	finish(h, "XSDT", 1, sizeof(*h) + nr * sizeof(*tables));
	return gpa;
}

uint64_t acpi_setup(struct vm *vm)
{
	struct area a = { .ram = &vm->ram, .next = FIRMWARE_START };
	uint64_t rsdp_gpa, tables[2];
	struct rsdp *rsdp = take(&a, sizeof(*rsdp), &rsdp_gpa);

	tables[0] = put_fadt(&a, put_dsdt(&a));
	tables[1] = put_madt(&a, vm->nr_vcpus);

	memcpy(rsdp->signature, "RSD PTR ", 8);
	memcpy(rsdp->oem_id, "WAFER ", 6);
	rsdp->revision = 2;
	rsdp->length = sizeof(*rsdp);
	rsdp->xsdt = put_xsdt(&a, tables, ARRAY_SIZE(tables));
	rsdp->checksum = checksum(rsdp, 20);
	rsdp->extended_checksum = checksum(rsdp, sizeof(*rsdp));
	return rsdp_gpa;
}
