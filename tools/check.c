// SPDX-License-Identifier: GPL-2.0
/*
 * wafer check: can this host run virtual machines, and if not, what to do.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "cmd.h"

#define MIN_FILES	64
#define MOUNT_SYS	"mount -t sysfs sysfs /sys"
#define VIRT_AT_LOAD	"/sys/module/kvm/parameters/enable_virt_at_load"

/* The first line of a file, or false. */
static bool read_line(const char *path, char *buf, size_t size)
{
	FILE *f = fopen(path, "re");
	bool ok = f && fgets(buf, size, f);

	if (f)
		fclose(f);
	if (ok)
		buf[strcspn(buf, "\n")] = '\0';
	return ok;
}

static bool exists(const char *path)
{
	return access(path, F_OK) == 0;
}

static void check_kernel(struct report *r, bool loaded)
{
	struct finding *f;
	char line[128];

	if (read_line("/sys/kernel/security/lockdown", line, sizeof(line)) &&
	    !strstr(line, "[none]")) {
		f = report_add(r, loaded ? V_OK : V_WARN, "lockdown",
			       "kernel lockdown is on: %s", line);
		if (!loaded)
			report_remedy(f,
				      "sign wafer.ko with a key in the firmware or the MOK list");
	} else if (read_line("/sys/module/module/parameters/sig_enforce", line, sizeof(line)) &&
		   line[0] == 'Y') {
		f = report_add(r, loaded ? V_OK : V_WARN, "lockdown",
			       "this kernel loads signed modules only");
		if (!loaded)
			report_remedy(f, "sign wafer.ko with a key that the kernel trusts");
	} else {
		report_add(r, V_OK, "lockdown", "none");
	}
	if (read_line("/sys/kernel/realtime", line, sizeof(line)) && line[0] == '1')
		report_add(r, V_OK, "kernel", "PREEMPT_RT");
}

/* Who else may have the CPU's virtualisation: one hypervisor at a time. */
static void check_rival(struct report *r)
{
	static const char * const names[] = { "kvm_intel", "kvm_amd" };
	struct finding *f;
	char path[64], line[32];

	if (!exists("/sys/module")) {
		f = report_add(r, V_UNKNOWN, "other",
			       "whether another hypervisor is loaded cannot be seen");
		report_remedy(f, MOUNT_SYS);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "/sys/module/%s", names[i]);
		if (!exists(path))
			continue;
		if (read_line(VIRT_AT_LOAD, line, sizeof(line)) && line[0] == 'Y') {
			f = report_add(r, V_FAIL, "other", "%s is loaded and holds the CPU",
				       names[i]);
			report_remedy(f, "modprobe -r %s kvm, or boot with "
				      "kvm.enable_virt_at_load=0", names[i]);
		} else {
			f = report_add(r, V_WARN, "other", "%s is loaded: while it has a VM, "
				       "nobody else can", names[i]);
			report_remedy(f, "modprobe -r %s kvm", names[i]);
		}
		return;
	}
	report_add(r, V_OK, "other", "no other hypervisor is loaded");
}

static bool check_module(struct report *r)
{
	struct finding *f;
	char version[64] = "";

	if (exists("/sys/module/wafer")) {
		read_line("/sys/module/wafer/version", version, sizeof(version));
		report_add(r, V_OK, "module", "wafer%s%s is loaded", *version ? " " : "", version);
		return true;
	}
	if (!exists("/sys/module")) {
		f = report_add(r, V_UNKNOWN, "module", "whether wafer is loaded cannot be seen");
		report_remedy(f, MOUNT_SYS);
		return false;
	}
	f = report_add(r, V_FAIL, "module", "wafer is not loaded");
	report_remedy(f, "insmod wafer.ko, or modprobe wafer where it is installed; then dmesg");
	return false;
}

/* From /etc/group, so that a static program needs no plug-ins of the C library. */
static void group_name(gid_t gid, char *name, size_t size)
{
	FILE *f = fopen("/etc/group", "re");
	char line[1024], n[64];
	unsigned int id;

	snprintf(name, size, "%u", gid);
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%63[^:]:%*[^:]:%u", n, &id) == 2 && id == gid) {
			snprintf(name, size, "%s", n);
			break;
		}
	}
	if (f)
		fclose(f);
}

static int check_device(struct report *r, const char *device)
{
	struct finding *f;
	struct stat st;
	char group[64];
	int fd = open(device, O_RDWR | O_CLOEXEC);
	int err = errno;

	if (fd >= 0) {
		report_add(r, V_OK, "device", "%s opens", device);
		return fd;
	}
	f = report_add(r, V_FAIL, "device", "%s: %s", device, strerror(err));
	if (err == EACCES && stat(device, &st) == 0) {
		group_name(st.st_gid, group, sizeof(group));
		if ((st.st_mode & 060) == 060 && st.st_gid)
			report_remedy(f, "adduser YOU %s, and log in again", group);
		else
			report_remedy(f, "install the udev rule, or: chgrp kvm %s; chmod 660 %s",
				      device, device);
	} else if (err == ENOENT) {
		report_remedy(f, "load the module; in a container, pass the device in");
	}
	return -1;
}

static void check_api(struct report *r, int fd)
{
	static const struct {
		long cap;
		const char *name;
	} caps[] = {
		{ KVM_CAP_IRQCHIP, "irqchip" }, { KVM_CAP_IRQFD, "irqfd" },
		{ KVM_CAP_IOEVENTFD, "ioeventfd" }, { KVM_CAP_USER_MEMORY, "user-memory" },
		{ KVM_CAP_IMMEDIATE_EXIT, "immediate-exit" }, { KVM_CAP_PIT2, "pit2" },
	};
	int version = ioctl(fd, KVM_GET_API_VERSION, 0);
	struct finding *f;
	int vm;

	if (version != KVM_API_VERSION) {
		report_add(r, V_FAIL, "api", version < 0 ? "no hypervisor's device" :
			   "version %d instead of %d", version, KVM_API_VERSION);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(caps); i++) {
		if (ioctl(fd, KVM_CHECK_EXTENSION, caps[i].cap) <= 0)
			report_add(r, V_FAIL, "api", "lacks %s", caps[i].name);
	}
	report_add(r, V_OK, "api", "version %d, at most %d vCPUs, %d memory slots", version,
		   ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS),
		   ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS));

	vm = ioctl(fd, KVM_CREATE_VM, 0);
	if (vm >= 0) {
		report_add(r, V_OK, "vm", "one can be created");
		close(vm);
		return;
	}
	f = report_add(r, V_FAIL, "vm", "none can be created: %s", strerror(errno));
	if (errno == EBUSY)
		report_remedy(f,
			      "another hypervisor has the CPU; the kernel's log (dmesg) names it");
	else
		report_remedy(f, "the kernel's log (dmesg) says why");
}

static void check_limits(struct report *r)
{
	struct finding *f;
	struct rlimit files, space;
	char line[64];

	getrlimit(RLIMIT_NOFILE, &files);
	getrlimit(RLIMIT_AS, &space);
	if (files.rlim_cur < MIN_FILES) {
		f = report_add(r, V_WARN, "limits", "%llu open files are few for a VM",
			       (unsigned long long)files.rlim_cur);
		report_remedy(f, "ulimit -n 1024");
	} else if (space.rlim_cur != RLIM_INFINITY) {
		f = report_add(r, V_WARN, "limits", "address space is limited to %llu MiB",
			       (unsigned long long)(space.rlim_cur / MIB));
		report_remedy(f, "ulimit -v unlimited");
	} else {
		report_add(r, V_OK, "limits", "%llu open files, address space unlimited",
			   (unsigned long long)files.rlim_cur);
	}
	if (read_line("/sys/kernel/mm/transparent_hugepage/enabled", line, sizeof(line)) &&
	    strstr(line, "[never]")) {
		f = report_add(r, V_WARN, "huge pages", "switched off: guests run slower");
		report_remedy(f, "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled");
	}
	if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0)
		report_add(r, V_WARN, "seccomp", "not in this kernel: wafer run has no sandbox");
	if (!exists("/dev/net/tun")) {
		f = report_add(r, V_WARN, "network", "no /dev/net/tun: --net will not work");
		report_remedy(f, "modprobe tun");
	}
}

static void check_all(struct report *r, const char *device)
{
	bool is_kvm = !strcmp(device, "/dev/kvm"), loaded = is_kvm;
	int fd;

	check_cpu(r);
	if (!is_kvm) {
		check_rival(r);
		loaded = check_module(r);
	}
	check_kernel(r, loaded);
	fd = check_device(r, device);
	if (fd >= 0) {
		check_api(r, fd);
		close(fd);
	}
	check_limits(r);
}

static void usage(void)
{
	printf("usage: wafer check [--json] [--device PATH]\n"
	       "\n"
	       "Looks at what this host can do, and says for each thing that is missing how to\n"
	       "get it. Nothing is changed.\n"
	       "\n"
	       "  --json         the same for programs\n"
	       "  --device PATH  hypervisor's device (default: " DEFAULT_DEVICE ")\n"
	       "\n"
	       "Exit status: 0 virtual machines can run, 1 they cannot, 2 bad argument.\n");
}

int cmd_check(int argc, char **argv)
{
	struct list_options o = list_options(argc, argv, "check", usage);
	static struct report report;

	check_all(&report, o.device);
	if (o.json)
		report_print_json(&report, o.device);
	else
		report_print(&report, o.device);
	return report_usable(&report) ? STATUS_OK : STATUS_HOST;
}
