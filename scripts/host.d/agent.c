// SPDX-License-Identifier: GPL-2.0
/*
 * agent: runs one command in an emulated host and tells scripts/host about it
 *
 * The command's output goes to the second serial port as it is. What the agent itself has to say
 * goes there too, as lines that begin with a separator and the run's random token: "boot", "start",
 * "report TEXT", "log TEXT", "load STATUS", "exit STATUS". The kernel log is watched from before
 * the module is loaded: its own record, not the console, so that nothing a guest prints can be
 * taken for the host's.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define DIR "/wafer/.host/"
#define KMEMLEAK "/sys/kernel/debug/kmemleak"
#define LOG_LINES 600

static int tty, kmsg;
static char token[64];
static int log_left;	/* lines of the log that still follow a report */

static void frame(const char *what, const char *format, ...)
{
	char text[4096], line[4300];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	int n = snprintf(line, sizeof(line), "\036%s %s %s\n", token, what, text);

	for (int done = 0; done < n; ) {
		ssize_t w = write(tty, line + done, n - done);

		if (w < 0 && errno != EINTR)
			return;
		done += w > 0 ? w : 0;
	}
}

/* What the kernel begins a report of something wrong with. */
static bool is_report(const char *s)
{
	static const char *const start[] = {
		"WARNING: ", "BUG: ", "BUG ", "kernel BUG at ", "Oops", "UBSAN: ", "KASAN: ",
		"KCSAN: ", "general protection fault", "invalid opcode: ", "stack segment: ",
		"double fault: ", "int3: ", "traps: PANIC", "Kernel panic", "refcount_t: ",
		"list_add corruption", "list_del corruption", "ODEBUG: ",
		"unchecked MSR access error", "INFO: rcu_", "rcu: INFO: rcu_", "INFO: task ",
		"INFO: trying to register non-static key", "INFO: lockdep is turned off",
		"watchdog: BUG: ", "NMI watchdog: Watchdog detected hard LOCKUP",
		"kmemleak: Cannot", "usercopy: ", "Corrupted low memory", "VFS: Busy inodes",
		"unregister_netdevice: waiting", "Bad FPU state", "percpu ref ",
		"stack-protector: ",
	};
	static const char *const within[] = {
		"] WARNING: ", "] BUG: ", "new suspected memory leaks", "blocked for more than",
		"detected stalls on CPUs", "scheduling while atomic", "------------[ cut here ]",
	};

	for (size_t i = 0; i < sizeof(start) / sizeof(*start); i++)
		if (!strncmp(s, start[i], strlen(start[i])))
			return true;
	for (size_t i = 0; i < sizeof(within) / sizeof(*within); i++)
		if (strstr(s, within[i]))
			return true;
	return false;
}

/*
 * Reads what is new in the kernel log; one read gives one record
 * "priority,sequence,time,flags;text".
 */
static void watch_log(void)
{
	char buf[8192];

	for (;;) {
		ssize_t n = read(kmsg, buf, sizeof(buf) - 1);

		/* the oldest records were overwritten: go on with the next */
		if (n < 0 && errno == EPIPE)
			continue;
		if (n <= 0)
			return;
		buf[n] = 0;
		char *text = strchr(buf, ';');

		if (!text)
			continue;
		text[strcspn(text, "\n")] = 0;
		if (is_report(text + 1)) {
			frame("report", "%s", text + 1);
			log_left = LOG_LINES;
		} else if (log_left > 0) {
			log_left--;
			frame("log", "%s", text + 1);
		}
	}
}

static char *slurp(const char *path, size_t *size)
{
	static char empty[1];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	*size = 0;
	if (fd < 0 || fstat(fd, &st))
		return empty;
	char *p = calloc(1, st.st_size + 2);
	ssize_t n = read(fd, p, st.st_size);

	close(fd);
	*size = n > 0 ? n : 0;
	return p;
}

/*
 * Runs argv with its output on the serial port, watching the log meanwhile;
 * gives a shell's kind of status.
 */
static int run(char **argv)
{
	pid_t pid = fork();

	if (!pid) {
		setsid();
		dup2(tty, 1);
		dup2(tty, 2);
		int null = open("/dev/null", O_RDONLY);

		dup2(null, 0);
		execvp(argv[0], argv);
		dprintf(2, "%s: %s\n", argv[0], strerror(errno));
		_exit(errno == ENOENT ? 127 : 126);
	}
	int pidfd = syscall(SYS_pidfd_open, pid, 0);
	int status;

	for (;;) {
		struct pollfd p[] = {
			{ .fd = kmsg, .events = POLLIN }, { .fd = pidfd, .events = POLLIN },
		};

		poll(p, 2, pidfd < 0 ? 200 : -1);
		watch_log();
		if (waitpid(pid, &status, WNOHANG) == pid)
			break;
	}
	close(pidfd);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static bool poke(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) > 0;

	if (fd >= 0)
		close(fd);
	return done;
}

/* Two scans, since an object counts as leaked only when it is old enough and twice not found. */
static void look_for_leaks(void)
{
	if (!poke(KMEMLEAK, "scan"))
		return;
	sleep(6);
	poke(KMEMLEAK, "scan");
	FILE *f = fopen(KMEMLEAK, "r");
	char line[512];
	bool first = true;

	while (f && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		frame(first ? "report" : "log", "%s%s", first ? "kmemleak: " : "", line);
		first = false;
	}
	if (f)
		fclose(f);
}

static void open_serial(void)
{
	struct termios t;

	tty = open("/dev/ttyS1", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (tty < 0 || tcgetattr(tty, &t)) {
		perror("agent: /dev/ttyS1");
		exit(1);
	}
	cfmakeraw(&t);
	t.c_cflag |= CLOCAL;
	cfsetspeed(&t, B115200);
	tcsetattr(tty, TCSANOW, &t);
}

int main(void)
{
	size_t size, n = 0;
	char *text = slurp(DIR "token", &size), *argv[4096];
	char *load[] = { "/wafer/load", NULL, NULL };

	snprintf(token, sizeof(token), "%s", text);
	open_serial();
	frame("boot", "");
	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	lseek(kmsg, 0, SEEK_END);
	poke(KMEMLEAK, "clear");

	load[1] = slurp(DIR "module", &size);
	int status = run(load);

	if (status) {
		watch_log();
		frame("load", "%d", status);
		pause();
	}
	frame("start", "");
	text = slurp(DIR "command", &size);
	for (char *p = text; p < text + size && n < 4095; p += strlen(p) + 1)
		argv[n++] = p;
	argv[n] = NULL;
	status = run(argv);

	/* whatever it left behind; the first process and this one are spared */
	kill(-1, SIGKILL);
	if (!strcmp(load[1], "wafer")) {
		usleep(50000);
		run((char *[]){ "/bin/sh", "-c", "/wafer/load none >/dev/null 2>&1", NULL });
	}
	look_for_leaks();
	usleep(50000);
	watch_log();
	tcdrain(tty);
	frame("exit", "%d", status);
	tcdrain(tty);
	for (;;)
		pause();
}
