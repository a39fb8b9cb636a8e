// SPDX-License-Identifier: GPL-2.0
/* The module comes and goes; the hardware is taken while a VM exists, and only from nobody. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/klog.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "uapi/wafer.h"
#include "vm.h"

GUEST(nothing_much, 64, "mov $42, %eax\n" DONE);

static const char *module_file(void)
{
	const char *f = getenv("WAFER_KO");

	return f ? f : "/wafer/wafer.ko";
}

/* The parameters that the module has now, so that it gets them again. */
static void parameters(char *text, size_t size)
{
	DIR *d = opendir("/sys/module/wafer/parameters");
	char path[512], val[128];
	struct dirent *e;
	size_t n = 0;
	FILE *f;

	text[0] = 0;
	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/sys/module/wafer/parameters/%s", e->d_name);
		f = fopen(path, "r");
		if (f && fgets(val, sizeof(val), f) && n < size) {
			val[strcspn(val, "\n")] = 0;
			n += snprintf(text + n, size - n, "%s=%s ", e->d_name, val);
		}
		if (f)
			fclose(f);
	}
	if (d)
		closedir(d);
}

static int load(const char *args)
{
	int fd = open(module_file(), O_RDONLY | O_CLOEXEC), r;

	r = syscall(SYS_finit_module, fd, args, 0) ? -errno : 0;
	close(fd);
	return r;
}

static int unload(void)
{
	return syscall(SYS_delete_module, "wafer", O_NONBLOCK) ? -errno : 0;
}

/* Why the module cannot be loaded and unloaded here, or NULL. */
static const char *cannot_reload(void)
{
	if (strcmp(vm_device(), "/dev/wafer"))
		return "not this module's device";
	if (access("/sys/module/wafer", F_OK) || access(module_file(), R_OK))
		return "WAFER_KO does not tell the module's file";
	if (geteuid())
		return "root only";
	return NULL;
}

TEST(loaded_and_unloaded)
{
	const char *why = cannot_reload();
	struct vm *vm;
	char args[512];
	int i, sys;

	if (why)
		SKIP(return, "%s", why);
	parameters(args, sizeof(args));
	for (i = 0; i < 6; i++) {
		ASSERT_EQ(unload(), 0);
		EXPECT_NE(access("/dev/wafer", F_OK), 0);
		ASSERT_EQ(load(args), 0);
		sys = open("/dev/wafer", O_RDWR);
		ASSERT_GE(sys, 0);
		EXPECT_EQ(unload(), -EWOULDBLOCK);
		EXPECT_EQ(load(args), -EEXIST);
		if (i & 1) {
			int fd = ioctl(sys, KVM_CREATE_VM, 0), cpu;

			ASSERT_GE(fd, 0);
			close(sys);
			EXPECT_EQ(unload(), -EWOULDBLOCK);	/* a VM alone */
			cpu = ioctl(fd, KVM_CREATE_VCPU, 0);
			ASSERT_GE(cpu, 0);
			close(fd);
			EXPECT_EQ(unload(), -EWOULDBLOCK);	/* a vCPU alone */
			close(cpu);
		} else {
			close(sys);
		}
	}
	vm = vm_quick(MODE_LONG, 0, nothing_much, GUEST_SIZE(nothing_much));
	EXPECT_TRUE(vcpu_run_done(&vm->cpu[0]));
	vm_free(vm);
}

/* Right after the last VM: the work that runs later must have ended, or goes with the module. */
TEST(unloaded_right_after_a_guest)
{
	const char *why = cannot_reload();
	char args[512];
	int i, fd, cpu, sys;

	if (why)
		SKIP(return, "%s", why);
	parameters(args, sizeof(args));
	for (i = 0; i < 5; i++) {
		sys = open("/dev/wafer", O_RDWR);
		ASSERT_GE(sys, 0);
		fd = ioctl(sys, KVM_CREATE_VM, 0);
		ASSERT_GE(fd, 0);
		ASSERT_EQ(ioctl(fd, KVM_CREATE_IRQCHIP, 0), 0);
		cpu = ioctl(fd, KVM_CREATE_VCPU, 0);
		ASSERT_GE(cpu, 0);
		close(sys);
		close(fd);
		close(cpu);
		ASSERT_EQ(unload(), 0);
		ASSERT_EQ(load(args), 0);
	}
}

/*
 * Virtualisation on that CPU: what the helper module hwbits reads, or
 * else EFER.SVME; -1: nobody tells.
 */
static int is_on(int cpu)
{
	FILE *f = fopen("/sys/module/hwbits/parameters/cpus", "r");
	int n, vmxe, svme, r = -1, fd;
	char path[64];
	uint64_t efer;

	while (f && fscanf(f, "%d %d %d", &n, &vmxe, &svme) == 3)
		if (n == cpu)
			r = vmxe || svme;
	if (f)
		fclose(f);
	if (r >= 0 || !vm_is_amd())
		return r;
	snprintf(path, sizeof(path), "/dev/cpu/%d/msr", cpu);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return -1;
	if (pread(fd, &efer, 8, 0xc0000080) == 8)
		r = efer >> 12 & 1;
	close(fd);
	return r;
}

/*
 * On Intel from Linux 7.0 on VMX is off between any two runs of a guest
 * (include/compat.h, WAFER_VMX_PERSISTENT).
 */
static bool off_between_windows(void)
{
	struct utsname u;

	return !vm_is_amd() && !uname(&u) && atoi(u.release) >= 7;
}

TEST(the_hardware_is_taken_while_a_vm_exists)
{
	int cpu, cpus = sysconf(_SC_NPROCESSORS_ONLN), sys = vm_sys(),
		 taken = !off_between_windows(), a, b;

	if (system("modprobe -q msr 2>/dev/null; "
		   "test -d /sys/module/hwbits || insmod /wafer/hwbits.ko 2>/dev/null") < 0 ||
	    is_on(0) < 0)
		SKIP(return, "neither hwbits.ko nor /dev/cpu/0/msr tells");
	if (is_on(0) == 1)
		SKIP(return, "somebody else holds the hardware");
	a = ioctl(sys, KVM_CREATE_VM, 0);
	b = ioctl(sys, KVM_CREATE_VM, 0);
	ASSERT_GE(a, 0);
	ASSERT_GE(b, 0);
	for (cpu = 0; cpu < cpus; cpu++)
		EXPECT_EQ(is_on(cpu), taken);
	close(a);
	for (cpu = 0; cpu < cpus; cpu++)
		EXPECT_EQ(is_on(cpu), taken);
	close(b);
	for (cpu = 0; cpu < cpus; cpu++)
		EXPECT_EQ(is_on(cpu), 0);
}

/*
 * The in-tree module is loaded and removed under a VM: the guest goes on, and the host does not
 * warn of a callback for emergencies that is there already (which would end this host's run with
 * status 99).
 */
TEST(the_rival_comes_and_goes)
{
	const char *name = vm_is_amd() ? "kvm_amd" : "kvm_intel";
	char path[64], load[64], unload[64];
	struct kvm_regs r;
	struct vm *vm;

	if (!strcmp(vm_device(), "/dev/kvm"))
		SKIP(return, "this is the in-tree KVM");
	snprintf(path, sizeof(path), "/sys/module/%s", name);
	snprintf(load, sizeof(load), "modprobe -q %s 2>/dev/null", name);
	snprintf(unload, sizeof(unload), "modprobe -r %s", name);
	if (!access(path, F_OK))
		SKIP(return, "%s is loaded", name);
	vm = vm_quick(MODE_LONG, 0, nothing_much, GUEST_SIZE(nothing_much));
	r = vcpu_regs(&vm->cpu[0]);
	if (system(load)) {
		vm_free(vm);
		SKIP(return, "%s cannot be loaded", name);
	}
	EXPECT_TRUE(vcpu_run_done(&vm->cpu[0]));
	EXPECT_EQ(system(unload), 0);
	vcpu_set_regs(&vm->cpu[0], &r);
	EXPECT_TRUE(vcpu_run_done(&vm->cpu[0]));
	vm_free(vm);
}

/* The in-tree KVM has a VM: nobody else gets one, and the log names whom to remove. */
TEST(what_kvm_holds_is_busy)
{
	const char *name = vm_is_amd() ? "kvm_amd" : "kvm_intel";
	char path[64], command[128], remedy[64];
	static char log[1 << 16];
	bool was_loaded;
	struct vm *vm;
	int kvm, fd, n;

	if (!strcmp(vm_device(), "/dev/kvm"))
		SKIP(return, "this is the in-tree KVM");
	snprintf(path, sizeof(path), "/sys/module/%s", name);
	was_loaded = !access(path, F_OK);
	snprintf(command, sizeof(command), "modprobe -q %s 2>/dev/null", name);
	if (!was_loaded && system(command))
		SKIP(return, "%s cannot be loaded", name);
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	fd = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);
	if (fd >= 0) {
		EXPECT_EQ(ioctl(vm_sys(), KVM_CREATE_VM, 0), -1);
		EXPECT_EQ(errno, EBUSY);
		n = klogctl(3, log, sizeof(log) - 1);
		snprintf(remedy, sizeof(remedy), "modprobe -r %s", name);
		if (n > 0)
			EXPECT_NE(strstr(log, remedy), NULL);
		close(fd);
	}
	close(kvm);
	if (!was_loaded) {
		snprintf(command, sizeof(command), "modprobe -r %s", name);
		EXPECT_EQ(system(command), 0);
	}
	if (fd < 0)
		SKIP(return, "/dev/kvm makes no VM");
	if (was_loaded)
		return;
	vm = vm_quick(MODE_LONG, 0, nothing_much, GUEST_SIZE(nothing_much));
	EXPECT_TRUE(vcpu_run_done(&vm->cpu[0]));
	vm_free(vm);
}

#define ALIAS "/sys/module/wafer/parameters/alias"

/* Writes the parameter; 0 or the error. */
static int set_alias(const char *val)
{
	int fd = open(ALIAS, O_WRONLY | O_CLOEXEC), r;

	if (fd < 0)
		return -errno;
	r = write(fd, val, strlen(val)) < 0 ? -errno : 0;
	close(fd);
	return r;
}

static bool alias_is(char yes)
{
	FILE *f = fopen(ALIAS, "r");
	bool is = f && fgetc(f) == yes;

	if (f)
		fclose(f);
	return is;
}

/* Whose device /dev/kvm is: 1 this module's, 0 another's, -1 nobody's. */
static int whose_kvm(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC), r;
	struct wafer_info info;

	if (fd < 0)
		return -1;
	r = !ioctl(fd, WAFER_GET_INFO, &info);
	close(fd);
	return r;
}

TEST(the_alias_comes_and_goes)
{
	const char *why = cannot_reload();
	struct stat st;
	char args[512];
	int fd, vm;

	if (why)
		SKIP(return, "%s", why);
	if (!access("/sys/module/kvm", F_OK) || alias_is('Y'))
		SKIP(return, "/dev/kvm is taken");
	parameters(args, sizeof(args));
	EXPECT_EQ(whose_kvm(), -1);
	ASSERT_EQ(set_alias("on"), 0);
	EXPECT_TRUE(alias_is('Y'));
	EXPECT_EQ(set_alias("1"), 0);		/* it is */
	EXPECT_EQ(set_alias("perhaps"), -EINVAL);
	ASSERT_EQ(stat("/dev/kvm", &st), 0);
	EXPECT_EQ(st.st_rdev, makedev(10, 232));
	EXPECT_EQ(st.st_mode & 07777, 0660);
	ASSERT_EQ(whose_kvm(), 1);
	fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(set_alias("0"), 0);
	EXPECT_NE(access("/dev/kvm", F_OK), 0);
	EXPECT_EQ(set_alias("0"), 0);
	vm = ioctl(fd, KVM_CREATE_VM, 0);	/* what was opened through it stays */
	EXPECT_GE(vm, 0);
	EXPECT_EQ(unload(), -EWOULDBLOCK);
	close(fd);
	EXPECT_EQ(unload(), -EWOULDBLOCK);
	close(vm);
	ASSERT_EQ(set_alias("Y"), 0);
	ASSERT_EQ(unload(), 0);			/* and takes the name along */
	EXPECT_NE(access("/dev/kvm", F_OK), 0);
	ASSERT_EQ(load("alias=1"), 0);
	EXPECT_EQ(whose_kvm(), 1);
	ASSERT_EQ(unload(), 0);
	EXPECT_NE(access("/dev/kvm", F_OK), 0);
	ASSERT_EQ(load(args), 0);
	EXPECT_EQ(whose_kvm(), -1);
}

/* One /dev/kvm: who has it keeps it. */
TEST(the_alias_and_the_in_tree_module)
{
	const char *name = vm_is_amd() ? "kvm_amd" : "kvm_intel", *why = cannot_reload();
	char command[128];
	static char log[1 << 16];
	char args[512];
	int n;

	if (why)
		SKIP(return, "%s", why);
	if (!access("/sys/module/kvm", F_OK) || alias_is('Y'))
		SKIP(return, "/dev/kvm is taken");
	snprintf(command, sizeof(command), "modprobe -q %s 2>/dev/null", name);
	if (system(command))
		SKIP(return, "%s cannot be loaded", name);
	parameters(args, sizeof(args));
	EXPECT_EQ(set_alias("1"), -EBUSY);
	EXPECT_TRUE(alias_is('N'));
	n = klogctl(3, log, sizeof(log) - 1);
	if (n > 0)
		EXPECT_NE(strstr(log, "/dev/kvm belongs to the in-tree KVM"), NULL);
	EXPECT_EQ(whose_kvm(), 0);
	ASSERT_EQ(unload(), 0);
	EXPECT_EQ(load("alias=1"), -EBUSY);
	ASSERT_EQ(load(args), 0);
	snprintf(command, sizeof(command), "modprobe -r %s", name);
	ASSERT_EQ(system(command), 0);

	ASSERT_EQ(set_alias("1"), 0);
	snprintf(command, sizeof(command), "modprobe -q %s 2>/dev/null", name);
	EXPECT_NE(system(command), 0);
	EXPECT_EQ(whose_kvm(), 1);
	ASSERT_EQ(set_alias("0"), 0);
	EXPECT_EQ(system(command), 0);
	snprintf(command, sizeof(command), "modprobe -r %s", name);
	EXPECT_EQ(system(command), 0);
}

TEST_HARNESS_MAIN
