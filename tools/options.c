// SPDX-License-Identifier: GPL-2.0
/*
 * The options of the commands that only look: --json, --device, --help.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd.h"
#include "util.h"

/* Ends the program where there is nothing more to do. @name: the command's, without "wafer". */
struct list_options list_options(int argc, char **argv, const char *name, void (*usage)(void))
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "device", required_argument, NULL, 'd' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	struct list_options o = { .device = DEFAULT_DEVICE };
	char full_name[32];
	int opt;

	snprintf(full_name, sizeof(full_name), "wafer %s", name);
	argv[0] = full_name;		/* getopt's complaints begin with it */
	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (opt) {
		case 'j':
			o.json = true;
			break;
		case 'd':
			o.device = optarg;
			break;
		case 'h':
			usage();
			exit(STATUS_OK);
		default:
			exit(STATUS_USAGE);
		}
	}
	if (optind < argc)
		die(STATUS_USAGE, "%s: '%s' is no option", name, argv[optind]);
	argv[0] = NULL;			/* not beyond this function */
	return o;
}
