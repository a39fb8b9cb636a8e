// SPDX-License-Identifier: GPL-2.0
#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox.h"
#include "util.h"

#define MAX_FILTER	128

struct program {
	unsigned int len;
	struct sock_filter code[MAX_FILTER];
};

/* The kernel was built without it, which sandbox_drop_privileges() has said. */
static bool no_seccomp;

/* Both kinds of thread: console, events, locks, ending. */
static const unsigned int common_calls[] = {
	SYS_write, SYS_futex, SYS_timerfd_settime, SYS_rt_sigreturn, SYS_rt_sigprocmask,
	SYS_restart_syscall, SYS_getpid, SYS_gettid, SYS_exit, SYS_exit_group, SYS_madvise,
	SYS_munmap, SYS_clock_gettime, SYS_epoll_ctl, SYS_poll,
};

/* KVM's calls beside KVM_RUN: lines, message interrupts, notifications, the last words. */
static const unsigned int common_ioctls[] = {
	KVM_IRQ_LINE, KVM_SET_GSI_ROUTING, KVM_IOEVENTFD, KVM_GET_REGS, KVM_GET_SREGS,
};

static const unsigned int vcpu_ioctls[] = { TUNSETOFFLOAD };

static const unsigned int main_calls[] = {
	SYS_epoll_wait, SYS_epoll_pwait, SYS_read, SYS_readv, SYS_writev,
	SYS_preadv, SYS_pwritev, SYS_fdatasync, SYS_fallocate, SYS_getrandom, SYS_close,
	SYS_clock_nanosleep,
};

/* C libraries from glibc 2.42 on ask for a terminal's settings in the second form. */
static const unsigned int main_ioctls[] = { TCSETS, TCGETS, TCSETS2, TCGETS2 };

static void emit(struct program *p, uint16_t code, uint32_t k, uint8_t jt, uint8_t jf)
{
	if (p->len == MAX_FILTER)
		die(STATUS_HOST, "the system call filter is too long");
	p->code[p->len++] = (struct sock_filter)BPF_JUMP(code, k, jt, jf);
}

static void load(struct program *p, size_t offset)
{
	emit(p, BPF_LD | BPF_W | BPF_ABS, offset, 0, 0);
}

static void verdict(struct program *p, uint32_t action)
{
	emit(p, BPF_RET | BPF_K, action, 0, 0);
}

/* Each is a test and a return, so that no jump has to reach far. */
static void allow_each(struct program *p, const unsigned int *values, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		emit(p, BPF_JMP | BPF_JEQ | BPF_K, values[i], 0, 1);
		verdict(p, SECCOMP_RET_ALLOW);
	}
}

/* Skips what follows, up to the end_call() that belongs to it, for other calls than @nr. */
static unsigned int begin_call(struct program *p, unsigned int nr)
{
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 0);
	return p->len - 1;
}

static void end_call(struct program *p, unsigned int at)
{
	verdict(p, SECCOMP_RET_KILL_PROCESS);
	p->code[at].jf = p->len - 1 - at;
}

static size_t arg_low(unsigned int n)
{
	return offsetof(struct seccomp_data, args) + n * sizeof(uint64_t);
}

static void begin_program(struct program *p)
{
	p->len = 0;
	load(p, offsetof(struct seccomp_data, arch));
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
	verdict(p, SECCOMP_RET_KILL_PROCESS);
	load(p, offsetof(struct seccomp_data, nr));
}

/* Signals may go to this process alone. */
static void allow_own_tgkill(struct program *p)
{
	unsigned int at = begin_call(p, SYS_tgkill);
	unsigned int self = getpid();

	load(p, arg_low(0));
	allow_each(p, &self, 1);
	end_call(p, at);
}

/* The C library may want memory; never memory that can be executed. */
static void allow_mmap_data(struct program *p)
{
	unsigned int at = begin_call(p, SYS_mmap);

	load(p, arg_low(2));
	emit(p, BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 1, 0);
	verdict(p, SECCOMP_RET_ALLOW);
	end_call(p, at);
}

static void install(struct program *p)
{
	struct sock_fprog prog = { .filter = p->code };

	verdict(p, SECCOMP_RET_KILL_PROCESS);
	prog.len = p->len;
	if (no_seccomp)
		return;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0)
		die(STATUS_HOST, "cannot install the system call filter: %s", strerror(errno));
}

void sandbox_vcpu_thread(void)
{
	static const unsigned int run = KVM_RUN;
	struct program p;
	unsigned int at;

	begin_program(&p);
	at = begin_call(&p, SYS_ioctl);
	load(&p, arg_low(1));
	allow_each(&p, &run, 1);	/* first: it is nearly every call */
	allow_each(&p, common_ioctls, ARRAY_SIZE(common_ioctls));
	allow_each(&p, vcpu_ioctls, ARRAY_SIZE(vcpu_ioctls));
	end_call(&p, at);
	allow_each(&p, common_calls, ARRAY_SIZE(common_calls));
	install(&p);
}

void sandbox_main_thread(void)
{
	struct program p;
	unsigned int at;

	begin_program(&p);
	allow_each(&p, main_calls, ARRAY_SIZE(main_calls));
	allow_each(&p, common_calls, ARRAY_SIZE(common_calls));
	at = begin_call(&p, SYS_ioctl);
	load(&p, arg_low(1));
	allow_each(&p, common_ioctls, ARRAY_SIZE(common_ioctls));
	allow_each(&p, main_ioctls, ARRAY_SIZE(main_ioctls));
	end_call(&p, at);
	allow_own_tgkill(&p);
	allow_mmap_data(&p);
	install(&p);
}

void sandbox_drop_privileges(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };

	/* The bounding set can be cut only by who may; nothing is executed again anyway. */
	for (int cap = 0; cap <= 63 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++)
		;
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capset, &head, none) < 0)
		die(STATUS_HOST, "cannot drop capabilities: %s", strerror(errno));
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		die(STATUS_HOST, "no_new_privs: %s", strerror(errno));
	no_seccomp = prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0;
	if (no_seccomp)
		say("this kernel has no seccomp: the guest runs without a system call filter");
}
