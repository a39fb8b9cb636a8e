/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ports that a PC without legacy hardware still needs: sleep and reset.
 */
#ifndef WAFER_PLATFORM_H
#define WAFER_PLATFORM_H

#include "vm.h"

/* ACPI's registers, named in the FADT. */
#define PORT_SLEEP_CONTROL	0x600
#define PORT_SLEEP_STATUS	0x601
#define PORT_RESET		0x602
#define RESET_VALUE		1
#define SLEEP_TYPE_S5		5	/* what \_S5 in the DSDT says */

#define COM1_PORT		0x3f8
#define COM1_GSI		4

void platform_setup(struct vm *vm);

#endif
