/* SPDX-License-Identifier: GPL-2.0 */
/* In place of include/compat.h: user space has one version, this one. */
#ifndef WAFER_COMPAT_H
#define WAFER_COMPAT_H

#include "shim_irq.h"

#define wafer_eventfd_signal(ctx)		eventfd_signal(ctx)
#define wafer_hrtimer_setup(t, fn, clock, mode)	hrtimer_setup(t, fn, clock, mode)

#endif
