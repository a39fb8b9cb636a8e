// SPDX-License-Identifier: GPL-2.0
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

void platform_setup(struct vm *vm)
{
	bus_add(&vm->ports, PORT_SLEEP_CONTROL, 3, &acpi_ops, vm);
	bus_add(&vm->ports, PORT_KEYBOARD_DATA, 5, &keyboard_ops, vm);
}
