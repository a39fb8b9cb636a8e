/* SPDX-License-Identifier: GPL-2.0 */
/* How a refusal is told: errno to the caller, a rate-limited debug line, and WAFER_LAST_ERROR. */
#ifndef WAFER_REFUSE_H
#define WAFER_REFUSE_H

#include <linux/types.h>

/**
 * struct wafer_refusal - the last refusal on a descriptor
 * @ioctl: number of the ioctl in progress, set by the door (ioctl/)
 * @refused: the ioctl that was refused last, 0: none yet
 * @noted: the ioctl in progress has been refused with a field
 * @err: positive errno
 * @value: the offending value
 * @field: name of the field
 * @rule: what it has to be, with the manual's section where there is one
 *
 * Written without a lock: two refusals at once on one descriptor may mix, which harms nobody. The
 * strings are literals, so that a torn copy still points at text.
 */
struct wafer_refusal {
	u32 ioctl, refused;
	bool noted;
	int err;
	u64 value;
	const char *field;
	const char *rule;
};

/**
 * wafer_refuse() - note a refusal
 * @r: of the descriptor; NULL is fine
 * @err: negative errno
 * @field: literal
 * @value: the offending value
 * @rule: literal
 *
 * Return: @err, so that callers can return it on.
 */
int wafer_refuse(struct wafer_refusal *r, int err, const char *field, u64 value, const char *rule);

#endif
