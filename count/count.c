// SPDX-License-Identifier: GPL-2.0
/* The counting build's figures, as a parameter of the module that can be read. */
#include <linux/moduleparam.h>

unsigned long long wafer_counts[NR_COUNTS];
module_param_array(wafer_counts, ullong, NULL, 0444);
