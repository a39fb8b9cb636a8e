// SPDX-License-Identifier: GPL-2.0
/* Telling why something was refused: to the program (WAFER_LAST_ERROR) and, where debugging is on, to the log. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/compiler.h>
#include <linux/printk.h>

#include "refuse.h"

int wafer_refuse(struct wafer_refusal *r, int err, const char *field, u64 value, const char *rule)
{
	if (!r)
		return err;
	pr_debug_ratelimited("ioctl 0x%x gives %d: %s is 0x%llx, the rule: %s\n", r->ioctl, err, field, value, rule);
	WRITE_ONCE(r->field, field);
	WRITE_ONCE(r->rule, rule);
	WRITE_ONCE(r->value, value);
	WRITE_ONCE(r->err, -err);
	WRITE_ONCE(r->refused, r->ioctl);
	r->noted = true;
	return err;
}
