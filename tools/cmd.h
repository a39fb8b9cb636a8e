/* SPDX-License-Identifier: GPL-2.0 */
/* The commands of `wafer`; each gets its own arguments, its name first. */
#ifndef WAFER_CMD_H
#define WAFER_CMD_H

#define WAFER_VERSION		"0.1.0"
#define DEFAULT_DEVICE		"/dev/wafer"

#include <stdbool.h>

/* What the commands that only look take. */
struct list_options {
	const char *device;
	bool json;
};
struct list_options list_options(int argc, char **argv, const char *name, void (*usage)(void));

int cmd_run(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_info(int argc, char **argv);
int cmd_alias(int argc, char **argv);
int cmd_takeover(int argc, char **argv);
int cmd_giveback(int argc, char **argv);

#endif
