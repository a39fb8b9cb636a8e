/* SPDX-License-Identifier: GPL-2.0 */
#ifndef WAFER_ACPI_H
#define WAFER_ACPI_H

#include "vm.h"

/* Writes the tables to FIRMWARE_START; returns the address of the RSDP. */
uint64_t acpi_setup(struct vm *vm);

#endif
