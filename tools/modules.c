// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <wafer.h>

#include "modules.h"
#include "util.h"

#define ALIAS	"/sys/module/wafer/parameters/alias"

enum kvm_owner kvm_owner(void)
{
	int fd = open("/dev/kvm", O_RDONLY | O_CLOEXEC);
	struct wafer_info info;
	bool ours;

	if (fd < 0)	/* no such device, or one that this user may not open */
		return access("/dev/kvm", F_OK) ? KVM_NOBODY :
		       alias_is_on() ? KVM_WAFER : KVM_IN_TREE;
	ours = ioctl(fd, WAFER_GET_INFO, &info) == 0;
	close(fd);
	return ours ? KVM_WAFER : KVM_IN_TREE;
}

const char *kvm_vendor_module(void)
{
	unsigned int a = 0, b, c, d;

	asm("cpuid" : "+a" (a), "=b" (b), "=c" (c), "=d" (d));
	return b == 0x756e6547 ? "kvm_intel" : "kvm_amd";	/* "Genu" */
}

/* /sys/module/NAME/FILE, or the directory. */
static bool has(const char *name, const char *file)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/module/%s/%s", name, file);
	return access(path, F_OK) == 0;
}

bool module_loaded(const char *name)
{
	return has(name, "");
}

bool module_builtin(const char *name)
{
	return has(name, "") && !has(name, "refcnt");
}

long module_users(const char *name)
{
	char path[128];
	long n = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/module/%s/refcnt", name);
	f = fopen(path, "re");
	if (f && fscanf(f, "%ld", &n) != 1)
		n = -1;
	if (f)
		fclose(f);
	return n;
}

bool module_unload(const char *name)
{
	return syscall(SYS_delete_module, name, O_NONBLOCK) == 0;
}

bool module_load_file(const char *path, const char *options)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), error;
	bool ok;

	if (fd < 0)
		return false;
	ok = syscall(SYS_finit_module, fd, options, 0) == 0;
	error = errno;
	close(fd);
	errno = error;
	return ok;
}

bool module_probe(const char *name, const char *option)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		execlp("modprobe", "modprobe", name, option, (char *)NULL);
		say("modprobe: %s; install kmod", strerror(errno));
		_exit(127);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid &&
	       WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool alias_set(bool on)
{
	int fd = open(ALIAS, O_WRONLY | O_CLOEXEC), error;
	bool ok;

	if (fd < 0)
		return false;
	ok = write(fd, on ? "1" : "0", 1) == 1;
	error = errno;
	close(fd);
	errno = error;
	return ok;
}

bool alias_is_on(void)
{
	FILE *f = fopen(ALIAS, "re");
	bool on = f && fgetc(f) == 'Y';

	if (f)
		fclose(f);
	return on;
}

int alias_failed(bool on)
{
	switch (errno) {
	case ENOENT:
		say("alias %s: the module wafer is not loaded; 'modprobe wafer' loads it",
		    on ? "on" : "off");
		break;
	case EBUSY:
		say("alias on: /dev/kvm belongs to the in-tree KVM; "
		    "'wafer takeover' puts Wafer in its place");
		break;
	case EACCES:
	case EPERM:
		say("alias %s: " ALIAS ": %s; become root", on ? "on" : "off", strerror(errno));
		break;
	default:
		say("alias %s: " ALIAS ": %s", on ? "on" : "off", strerror(errno));
	}
	return STATUS_HOST;
}
