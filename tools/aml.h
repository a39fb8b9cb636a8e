/* SPDX-License-Identifier: GPL-2.0 */
#ifndef WAFER_AML_H
#define WAFER_AML_H

#include "util.h"

struct aml {
	size_t len;
	uint8_t code[1024];
};

/* The DSDT's contents: power-off, PCI root bridge, serial port. */
void aml_describe_machine(struct aml *aml);

#endif
