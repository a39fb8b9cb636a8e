// SPDX-License-Identifier: GPL-2.0
/* Telling why something was refused: to the program (WAFER_LAST_ERROR) and, where debugging is on, to the log. */
#include <linux/compiler.h>
#include <linux/printk.h>

#include "refuse.h"

int wafer_refuse(struct wafer_refusal *r, int err, const char *field, u64 value, const char *rule)
{
	pr_debug_ratelimited("wafer: error %d: %s 0x%llx: must be: %s\n", err, field, value, rule);
	if (!r)
		return err;
	WRITE_ONCE(r->field, field);
	WRITE_ONCE(r->rule, rule);
	WRITE_ONCE(r->value, value);
	WRITE_ONCE(r->err, -err);
	WRITE_ONCE(r->refused, r->ioctl);
	r->noted = true;
	return err;
}
