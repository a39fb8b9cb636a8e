// SPDX-License-Identifier: GPL-2.0
/*
 * wafer info: what the loaded hypervisor says of itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wafer.h>

#include "cmd.h"
#include "report.h"

static const struct {
	uint64_t bit;
	const char *name;
} features[] = {
	{ WAFER_FEATURE_AD, "accessed-dirty" },
	{ WAFER_FEATURE_PML, "page-modification-log" },
	{ WAFER_FEATURE_TSC_SCALING, "tsc-scaling" },
	{ WAFER_FEATURE_INSN_LENGTH, "instruction-length" },
};

static const char *backend_name(uint32_t backend)
{
	switch (backend) {
	case WAFER_BACKEND_SVM:
		return "svm";
	case WAFER_BACKEND_VMX:
		return "vmx";
	default:
		return "unknown";
	}
}

static void print(const struct wafer_info *i)
{
	printf("version         %s\n"
	       "abi             %u\n"
	       "backend         %s\n"
	       "paging levels   %u\n"
	       "largest page    %llu KiB\n"
	       "vcpus           %u\n"
	       "vcpu ids below  %u\n"
	       "memory slots    %u\n"
	       "features       ",
	       i->version, i->abi_version, backend_name(i->backend), i->levels,
	       i->max_page_shift < 64 ? (1ull << i->max_page_shift) / KIB : 0,
	       i->max_vcpus, i->max_vcpu_id, i->max_slots);
	for (size_t n = 0; n < ARRAY_SIZE(features); n++) {
		if (i->features & features[n].bit)
			printf(" %s", features[n].name);
	}
	printf("\n");
}

static void print_json(const struct wafer_info *i)
{
	const char *comma = "";

	printf("{\"version\": ");
	json_string(i->version);
	printf(", \"abi\": %u, \"backend\": \"%s\", \"levels\": %u, \"max_page_shift\": %u,\n"
	       " \"max_vcpus\": %u, \"max_vcpu_id\": %u, \"max_slots\": %u, \"features\": [",
	       i->abi_version, backend_name(i->backend), i->levels, i->max_page_shift,
	       i->max_vcpus, i->max_vcpu_id, i->max_slots);
	for (size_t n = 0; n < ARRAY_SIZE(features); n++) {
		if (i->features & features[n].bit) {
			printf("%s\"%s\"", comma, features[n].name);
			comma = ", ";
		}
	}
	printf("]}\n");
}

static void usage(void)
{
	printf("usage: wafer info [--json] [--device PATH]\n"
	       "\n"
	       "Shows the version, backend, limits and features of the loaded module.\n"
	       "\n"
	       "  --json         the same for programs\n"
	       "  --device PATH  hypervisor's device (default: " DEFAULT_DEVICE ")\n");
}

int cmd_info(int argc, char **argv)
{
	struct list_options o = list_options(argc, argv, "info", usage);
	struct wafer_info info = { 0 };
	int fd;

	fd = open(o.device, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die(STATUS_HOST, "%s: %s ('wafer check' tells what is missing)", o.device,
		    strerror(errno));
	if (ioctl(fd, WAFER_GET_INFO, &info) < 0)
		die(STATUS_HOST, "%s: %s", o.device,
		    ioctl(fd, KVM_GET_API_VERSION, 0) < 0 ? "not a hypervisor's device" :
		    "a hypervisor, but not Wafer");
	close(fd);
	info.version[sizeof(info.version) - 1] = '\0';
	if (o.json)
		print_json(&info);
	else
		print(&info);
	return STATUS_OK;
}
