// SPDX-License-Identifier: GPL-2.0
/*
 * wafer: runs virtual machines on /dev/wafer, and says what a host can do.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "util.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *summary;
} commands[] = {
	{ "run", cmd_run, "run a Linux kernel in a virtual machine" },
	{ "check", cmd_check, "say what this host can do and what is missing" },
	{ "info", cmd_info, "show the loaded module's version, backend and limits" },
	{ "alias", cmd_alias, "give the device the name /dev/kvm as well, or take it back" },
	{ "takeover", cmd_takeover, "put Wafer in the place of the in-tree KVM" },
	{ "giveback", cmd_giveback, "put the in-tree KVM back in its place" },
};

static void usage(void)
{
	printf("usage: wafer COMMAND [OPTION]...\n\nCommands:\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		printf("  %-8s %s\n", commands[i].name, commands[i].summary);
	printf("\n'wafer COMMAND --help' tells a command's options.\n"
	       "  --version  print the version\n"
	       "  --help     print this\n");
}

/* Otherwise the first file that is opened would become standard output. */
static void fill_standard_descriptors(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0)
			die(STATUS_HOST, "/dev/null: %s", strerror(errno));
	}
}

/* A list that nobody got is no success. */
static int flushed(int status)
{
	if (!fflush(stdout) && !ferror(stdout))
		return status;
	say("standard output: %s", strerror(errno));
	return status == STATUS_OK ? STATUS_HOST : status;
}

int main(int argc, char **argv)
{
	fill_standard_descriptors();
	if (argc < 2) {
		say("no command given; 'wafer --help' lists them");
		return STATUS_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		usage();
		return flushed(STATUS_OK);
	}
	if (!strcmp(argv[1], "--version")) {
		printf("wafer %s\n", WAFER_VERSION);
		return flushed(STATUS_OK);
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (!strcmp(argv[1], commands[i].name))
			return flushed(commands[i].run(argc - 1, argv + 1));
	}
	say("no command '%s'; 'wafer --help' lists them", argv[1]);
	return STATUS_USAGE;
}
