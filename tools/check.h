/* SPDX-License-Identifier: GPL-2.0 */
#ifndef WAFER_CHECK_H
#define WAFER_CHECK_H

#include "report.h"

/* check_cpu.c */
void check_cpu(struct report *r);

#endif
