/* SPDX-License-Identifier: GPL-2.0 */
/* As much of TAP as these tests need. */
#ifndef WAFER_TAP_H
#define WAFER_TAP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

static int tap_nr, tap_failed;

static inline void ok(bool good, const char *what)
{
	printf("%sok %d - %s\n", good ? "" : "not ", ++tap_nr, what);
	tap_failed += !good;
}

static inline int tap_end(void)
{
	printf("1..%d\n", tap_nr);
	return tap_failed ? 1 : 0;
}

/* The same numbers in each run, so that a failure can be had again. */
static inline uint64_t rnd(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

#endif
