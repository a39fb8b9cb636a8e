// SPDX-License-Identifier: GPL-2.0
#include <string.h>

#include "platform.h"

/* ACPI 6.4, 4.8.3.7 "Sleep Control and Status Registers". */
#define SLEEP_ENABLE		(1 << 5)
#define SLEEP_TYPE(v)		((v) >> 2 & 7)

#define PORT_KEYBOARD_DATA	0x60
#define PORT_KEYBOARD_COMMAND	0x64
#define KEYBOARD_PULSE_RESET	0xfe

static uint64_t acpi_read(void *dev, uint64_t offset, unsigned int len)
{
	(void)dev, (void)offset, (void)len;
	return 0;
}

static void acpi_write(void *dev, uint64_t offset, unsigned int len, uint64_t value)
{
	struct vm *vm = dev;

	(void)len;
	if (offset == PORT_SLEEP_CONTROL - PORT_SLEEP_CONTROL) {
		if ((value & SLEEP_ENABLE) && SLEEP_TYPE(value) == SLEEP_TYPE_S5)
			vm_end(vm, STATUS_OK, NULL);
	} else if (offset == PORT_RESET - PORT_SLEEP_CONTROL && value == RESET_VALUE) {
		vm_end(vm, STATUS_RESET, "the guest asked to be reset");
	}
}

static const struct bus_ops acpi_ops = { acpi_read, acpi_write };

/*
 * No keyboard is there, but its controller's reset line is how an old kernel,
 * or one without ACPI, reboots. The status says: nothing to read, ready to write.
 */
static uint64_t keyboard_read(void *dev, uint64_t offset, unsigned int len)
{
	(void)dev, (void)offset, (void)len;
	return 0;
}

static void keyboard_write(void *dev, uint64_t offset, unsigned int len, uint64_t value)
{
	(void)len;
	if (offset == PORT_KEYBOARD_COMMAND - PORT_KEYBOARD_DATA && value == KEYBOARD_PULSE_RESET)
		vm_end(dev, STATUS_RESET, "the guest asked to be reset");
}

static const struct bus_ops keyboard_ops = { keyboard_read, keyboard_write };

/*
 * What a PC does when it is switched on is all that a jump to its first
 * instruction can ask for. Linux takes that way on a machine that is
 * hardware-reduced and has no EFI, where it believes no other to be left.
 */
static void put_reset_vector(const struct guest_ram *ram)
{
	static const uint8_t code[] = {
		0xba, PORT_RESET & 0xff, PORT_RESET >> 8,	/* mov $PORT_RESET, %dx */
		0xb0, RESET_VALUE,				/* mov $RESET_VALUE, %al */
		0xee,						/* out %al, (%dx) */
		0xf4,						/* 1: hlt */
		0xeb, 0xfd,					/* jmp 1b */
	};

	memcpy(ram_ptr(ram, RESET_VECTOR, sizeof(code)), code, sizeof(code));
}

void platform_setup(struct vm *vm)
{
	put_reset_vector(&vm->ram);
	bus_add(&vm->ports, PORT_SLEEP_CONTROL, 3, &acpi_ops, vm);
	bus_add(&vm->ports, PORT_KEYBOARD_DATA, 5, &keyboard_ops, vm);
}
