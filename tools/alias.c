// SPDX-License-Identifier: GPL-2.0
/*
 * wafer alias: /dev/kvm as a second name of /dev/wafer, for VMMs that open no other.
 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "modules.h"
#include "util.h"

static void usage(void)
{
	printf("usage: wafer alias on|off\n"
	       "       wafer alias [status] [--json]\n"
	       "\n"
	       "Gives /dev/wafer the second name /dev/kvm, or takes it back, or tells whose\n"
	       "/dev/kvm is. What was opened by that name stays open.\n"
	       "\n"
	       "  --json  status for programs\n");
}

static int status(bool json)
{
	static const char * const owners[] = {
		[KVM_NOBODY] = "none", [KVM_IN_TREE] = "kvm", [KVM_WAFER] = "wafer"
	};
	static const char * const words[] = {
		[KVM_NOBODY] = "there is none", [KVM_IN_TREE] = "the in-tree KVM's",
		[KVM_WAFER] = "Wafer's"
	};
	bool loaded = module_loaded("wafer"), on = alias_is_on();
	enum kvm_owner owner = kvm_owner();

	if (json)
		printf("{\"loaded\": %s, \"alias\": %s, \"kvm\": \"%s\"}\n",
		       loaded ? "true" : "false", on ? "true" : "false", owners[owner]);
	else
		printf("module wafer  %s\nalias         %s\n/dev/kvm      %s\n",
		       loaded ? "loaded" : "not loaded", on ? "on" : "off", words[owner]);
	return STATUS_OK;
}

int cmd_alias(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' }, { "help", no_argument, NULL, 'h' }, { }
	};
	const char *what = "status";
	bool json = false, on;
	int opt;

	argv[0] = "wafer alias";
	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (opt == 'h') {
			usage();
			return STATUS_OK;
		}
		if (opt != 'j')
			return STATUS_USAGE;
		json = true;
	}
	if (optind < argc)
		what = argv[optind++];
	if (optind < argc)
		die(STATUS_USAGE, "alias: '%s' is one word too many", argv[optind]);
	if (!strcmp(what, "status"))
		return status(json);
	on = !strcmp(what, "on");
	if (json || (!on && strcmp(what, "off")))
		die(STATUS_USAGE, "alias: say 'on', 'off' or 'status'; --json goes with status");
	return alias_set(on) ? STATUS_OK : alias_failed(on);
}
