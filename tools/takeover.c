// SPDX-License-Identifier: GPL-2.0
/*
 * wafer takeover, wafer giveback: Wafer in the place of the in-tree KVM, and the other way round.
 * What fails in the middle is undone.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd.h"
#include "modules.h"
#include "util.h"

static const struct {
	const char *dir, *path, *text;
} persistent[] = {
	{ "/etc/modprobe.d", "/etc/modprobe.d/wafer.conf",
	  "# Made by 'wafer takeover --persist'; 'wafer giveback --persist' removes it.\n"
	  "options wafer alias=1\nblacklist kvm_intel\nblacklist kvm_amd\n" },
	{ "/etc/modules-load.d", "/etc/modules-load.d/wafer.conf",
	  "# Made by 'wafer takeover --persist'; 'wafer giveback --persist' removes it.\nwafer\n" },
};

static const char * const rivals[] = { "kvm_intel", "kvm_amd", "kvm" };

struct request {
	const char *name;		/* the command */
	const char *file;		/* of the module, or NULL: modprobe knows where it is */
	bool persist;
};

/* Whole or not at all. */
static bool write_file(const char *dir, const char *path, const char *text)
{
	char temporary[128];
	bool ok;
	FILE *f;

	if (mkdir(dir, 0755) && errno != EEXIST)
		return false;
	snprintf(temporary, sizeof(temporary), "%s.new", path);
	f = fopen(temporary, "we");
	if (!f)
		return false;
	ok = fputs(text, f) >= 0 && fflush(f) == 0 && fsync(fileno(f)) == 0;
	ok = fclose(f) == 0 && ok && rename(temporary, path) == 0;
	if (!ok)
		unlink(temporary);
	return ok;
}

/* After a reboot as now. */
static int make_last(const struct request *q, bool takeover)
{
	for (size_t i = 0; i < ARRAY_SIZE(persistent); i++) {
		bool done = takeover ? write_file(persistent[i].dir, persistent[i].path,
						  persistent[i].text) :
				       !unlink(persistent[i].path) || errno == ENOENT;

		if (done)
			continue;
		say("%s: %s: %s; it holds until the next boot only", q->name, persistent[i].path,
		    strerror(errno));
		return STATUS_HOST;
	}
	return STATUS_OK;
}

/* Nobody may have VMs or descriptors of @module. */
static bool unused(const struct request *q, const char *module, const char *device)
{
	long users = module_users(module);

	if (module_builtin(module))
		say("%s: %s is part of this kernel and cannot be removed; "
		    "boot a kernel that has it as a module", q->name, module);
	else if (users > 0)
		say("%s: %s is in use (%ld); "
		    "shut down the VMs that have %s open ('fuser -v %s' names them)",
		    q->name, module, users, device, device);
	else
		return true;
	return false;
}

static bool remove_rivals(const struct request *q, const char **removed)
{
	for (size_t i = 0; i < ARRAY_SIZE(rivals); i++) {
		if (!module_loaded(rivals[i]))
			continue;
		/* The part that both vendors share is used by theirs, and by what else needs it. */
		if (!unused(q, rivals[i], "/dev/kvm"))
			return false;
		if (!module_unload(rivals[i])) {
			say("%s: %s cannot be removed: %s; 'lsmod' tells what uses it",
			    q->name, rivals[i],
			    errno == EWOULDBLOCK ? "it is in use" : strerror(errno));
			return false;
		}
		if (!*removed)
			*removed = rivals[i];
	}
	return true;
}

static bool load(const struct request *q)
{
	if (!q->file) {
		if (module_probe("wafer", "alias=1"))
			return true;
		say("%s: the module wafer cannot be loaded; "
		    "'dmesg' and 'wafer check' tell why, --module names its file", q->name);
		return false;
	}
	if (module_load_file(q->file, "alias=1"))
		return true;
	say("%s: %s: %s; 'dmesg' and 'wafer check' tell why", q->name, q->file,
	    errno == ENOEXEC ? "no module for this kernel" : strerror(errno));
	return false;
}

static int takeover(const struct request *q)
{
	bool loaded = module_loaded("wafer");
	const char *removed = NULL;

	if (q->file && !loaded && access(q->file, R_OK)) {
		say("%s: %s: %s; nothing was changed", q->name, q->file, strerror(errno));
		return STATUS_USAGE;
	}
	if (!remove_rivals(q, &removed))
		goto undo;
	if (!loaded && !load(q))
		goto undo;
	if (!alias_set(true)) {
		alias_failed(true);
		if (!loaded)
			module_unload("wafer");
		goto undo;
	}
	return q->persist ? make_last(q, true) : STATUS_OK;
undo:
	if (removed && !module_probe(removed, NULL))
		say("%s: %s cannot be loaded again; 'dmesg' tells why", q->name, removed);
	return STATUS_HOST;
}

static int giveback(const struct request *q)
{
	const char *vendor = kvm_vendor_module();
	bool on = alias_is_on();

	if (module_loaded("wafer")) {
		if (!unused(q, "wafer", "/dev/wafer"))
			return STATUS_HOST;
		/*
		 * The in-tree module is kept out while the alias is there; it is first, since it
		 * can be undone.
		 */
		if (on && !alias_set(false))
			return alias_failed(false);
		if (!module_unload("wafer")) {
			say("%s: wafer cannot be removed: %s; shut down its VMs", q->name,
			    errno == EWOULDBLOCK ? "it is in use" : strerror(errno));
			if (on && !alias_set(true))
				alias_failed(true);
			return STATUS_HOST;
		}
	}
	/* blacklisted names are loaded when asked for by name */
	if (!module_loaded(vendor) && !module_probe(vendor, NULL)) {
		say("%s: Wafer is gone, and %s cannot be loaded; 'dmesg' tells why", q->name,
		    vendor);
		return STATUS_HOST;
	}
	return q->persist ? make_last(q, false) : STATUS_OK;
}

static void usage(bool take)
{
	if (take)
		printf("usage: wafer takeover [--persist] [--module FILE]\n"
		       "\n"
		       "Removes the in-tree KVM if nothing uses it, loads Wafer and gives it the\n"
		       "name /dev/kvm. Refuses while VMs run on the in-tree KVM. What fails is\n"
		       "undone.\n"
		       "\n"
		       "  --module FILE  load this wafer.ko instead of the installed one\n"
		       "  --persist      after a reboot as well: /etc/modprobe.d/wafer.conf,\n"
		       "                 /etc/modules-load.d/wafer.conf\n");
	else
		printf("usage: wafer giveback [--persist]\n"
		       "\n"
		       "Removes Wafer and loads the in-tree KVM again. Refuses while VMs run on\n"
		       "Wafer.\n"
		       "\n"
		       "  --persist      after a reboot as well: removes what 'takeover\n"
		       "                 --persist' has written\n");
}

static int run(int argc, char **argv, bool take)
{
	static const struct option options[] = {
		{ "persist", no_argument, NULL, 'p' }, { "module", required_argument, NULL, 'm' },
		{ "help", no_argument, NULL, 'h' }, { }
	};
	struct request q = { .name = take ? "takeover" : "giveback" };
	int opt;

	argv[0] = take ? "wafer takeover" : "wafer giveback";
	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (opt) {
		case 'p':
			q.persist = true;
			break;
		case 'm':
			q.file = optarg;
			break;
		case 'h':
			usage(take);
			return STATUS_OK;
		default:
			return STATUS_USAGE;
		}
	}
	if (optind < argc)
		die(STATUS_USAGE, "%s: '%s' is no option", q.name, argv[optind]);
	if (q.file && !take)
		die(STATUS_USAGE, "giveback: --module goes with takeover");
	if (geteuid())
		die(STATUS_HOST, "%s: only root loads and removes modules; become root", q.name);
	return take ? takeover(&q) : giveback(&q);
}

int cmd_takeover(int argc, char **argv)
{
	return run(argc, argv, true);
}

int cmd_giveback(int argc, char **argv)
{
	return run(argc, argv, false);
}
