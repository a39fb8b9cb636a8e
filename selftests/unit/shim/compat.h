/* SPDX-License-Identifier: GPL-2.0 */
/* In place of include/compat.h: user space has one version, this one. */
#ifndef WAFER_COMPAT_H
#define WAFER_COMPAT_H

#include "shim_irq.h"

#define wafer_eventfd_signal(ctx)		eventfd_signal(ctx)
#define wafer_hrtimer_setup(t, fn, clock, mode)	hrtimer_setup(t, fn, clock, mode)

/* A test calls scan_objects itself. */
struct shrink_control { unsigned long nr_to_scan; };
struct shrinker {
	unsigned long (*count_objects)(struct shrinker *s, struct shrink_control *sc);
	unsigned long (*scan_objects)(struct shrinker *s, struct shrink_control *sc);
};
extern struct shrinker *shim_shrinker;
#define SHRINK_STOP				(~0ul)
#define shrinker_alloc(flags, name)		shim_shrinker
#define shrinker_register(s)			((void)(s))
#define shrinker_free(s)			((void)(s))
#define HZ					100
extern unsigned long jiffies;

#endif
