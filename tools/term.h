/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The terminal: raw while the guest runs, given back as it was.
 */
#ifndef WAFER_TERM_H
#define WAFER_TERM_H

#include "util.h"

enum term_action {
	TERM_INPUT,		/* hand the byte to the guest */
	TERM_SWALLOWED,		/* part of an escape sequence */
	TERM_LEAVE,		/* Ctrl-A x */
};

void term_setup(void);
void term_restore(void);

/* What one byte from standard input means. */
enum term_action term_key(uint8_t key);

#endif
