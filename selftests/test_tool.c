// SPDX-License-Identifier: GPL-2.0
/*
 * The program wafer as its user meets it: one line and status 2 for what is no good, the status of
 * each way a guest ends, the terminal as it was, and output that goes where nobody takes it.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "kselftest.h"
#include "kselftest_harness.h"

#define ENTRY	0x100000ul
#define SECONDS	60	/* an emulator's are long */

/* mov $port, %edx; mov $value, %al; out %al, (%dx) */
#define OUT8(port, value) 0xba, (port) & 0xff, (port) >> 8, 0, 0, 0xb0, value, 0xee
#define POWER_OFF	OUT8(0x600, 0x34)
/* hlt; jmp: a guest that spins without IF stops Bochs (Documentation/emulator-bugs.md) */
#define STAY		0xf4, 0xeb, 0xfd

static const unsigned char powers_off[] = { POWER_OFF, STAY };
static const unsigned char resets[] = { OUT8(0xcf9, 6), STAY };
static const unsigned char crashes[] = { 0x0f, 0x0b };
static const unsigned char stays[] = { OUT8(0x3f8, '!'), OUT8(0x3f8, '\n'), STAY };
/* Off before anybody sends it on its way. */
static const unsigned char last_word[] = { OUT8(0x3f8, '.'), POWER_OFF, STAY };
/* 1,024 lines of 64 characters, and half a one. */
static const unsigned char prints[] = {
	0xbe, 0x00, 0x04, 0x00, 0x00,			/* mov $1024, %esi */
	0xba, 0xf8, 0x03, 0x00, 0x00,			/* 1: mov $0x3f8, %edx */
	0xb9, 63, 0x00, 0x00, 0x00, 0xb0, 'x',		/* mov $63, %ecx; mov $'x', %al */
	0xee, 0xff, 0xc9, 0x75, 0xfb,			/* 2: out %al, (%dx); dec %ecx; jnz 2b */
	0xb0, '\n', 0xee, 0xff, 0xce, 0x75, 0xe8,	/* ...; dec %esi; jnz 1b */
	0xb0, '.', 0xee, POWER_OFF, STAY,
};
#define PRINTED	(1024 * 64 + 1)

static const char *wafer(void)
{
	const char *path = getenv("WAFER");

	return path ? path : "/wafer/wafer";
}

/* Before the harness: what a fixture skips is run all the same. */
static void __attribute__((constructor)) look_around(void)
{
	if (!access(wafer(), X_OK) && !access("/dev/wafer", R_OK | W_OK))
		return;
	puts("1..0 # SKIP no program wafer, or no device");
	exit(KSFT_SKIP);
}

FIXTURE(tool) {
	char dir[64];
};

static void put_file(const char *name, const void *data, size_t size)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (write(fd, data, size) != (ssize_t)size)
		perror(name);
	close(fd);
}

/* An ELF file that passes for a kernel: linked to the upper half. */
static void put_kernel(const char *name, const void *code, size_t size)
{
	struct { Elf64_Ehdr e; Elf64_Phdr p; unsigned char code[256]; } f = {
		.e = { .e_type = ET_EXEC, .e_machine = EM_X86_64, .e_version = 1, .e_entry = ENTRY,
		       .e_phoff = sizeof(Elf64_Ehdr), .e_phnum = 1,
		       .e_phentsize = sizeof(Elf64_Phdr) },
		.p = { .p_type = PT_LOAD, .p_offset = sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr),
		       .p_vaddr = -1ul << 63 | ENTRY, .p_paddr = ENTRY,
		       .p_filesz = sizeof(f.code), .p_memsz = sizeof(f.code) },
	};

	memcpy(f.e.e_ident, ELFMAG "\2\1\1", 7);
	memcpy(f.code, code, size);
	put_file(name, &f, sizeof(f));
}

FIXTURE_SETUP(tool)
{

	strcpy(self->dir, "/tmp/wafer-tool-XXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->dir));
	ASSERT_EQ(0, chdir(self->dir));
	put_kernel("off", powers_off, sizeof(powers_off));
	put_kernel("reset", resets, sizeof(resets));
	put_kernel("crash", crashes, sizeof(crashes));
	put_kernel("stay", stays, sizeof(stays));
	put_kernel("last_word", last_word, sizeof(last_word));
	put_kernel("print", prints, sizeof(prints));
	put_file("empty", "", 0);
	put_file("text", "text\n", 5);
	mkfifo("pipe", 0600);
}

FIXTURE_TEARDOWN(tool)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", self->dir);
	if (chdir("/") || system(command))
		perror(command);
}

static int ignored;	/* a signal, as nohup has it */

struct child {
	pid_t pid;
	int out, err;		/* pipes from it, or -1 */
};

/* Starts wafer with the words in @args, its output in pipes unless @out is a descriptor for it. */
static struct child start(const char *args, int out)
{
	struct child c = { .out = -1 };
	static const int ending[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	char words[512], *argv[32] = { "wafer" };
	int o[2] = { -1, out }, e[2], n = 1;

	snprintf(words, sizeof(words), "%s", args);
	for (char *w = strtok(words, " "); w; w = strtok(NULL, " "))
		argv[n++] = strcmp(w, "''") ? w : "";
	if (pipe(e) || (out < 0 && pipe(o)))
		return (struct child){ .pid = -1 };
	c.pid = fork();
	if (!c.pid) {
		int null = open("/dev/null", O_RDONLY);

		dup2(null, 0);
		dup2(o[1], 1);
		dup2(e[1], 2);
		for (int fd = 3; fd < 32; fd++)
			close(fd);
		for (size_t i = 0; i < 4; i++)
			signal(ending[i], ending[i] == ignored ? SIG_IGN : SIG_DFL);
		execv(wafer(), argv);
		_exit(127);
	}
	close(e[1]);
	if (out < 0)
		close(o[1]);
	c.out = o[0];
	c.err = e[0];
	return c;
}

/* A shell's kind of status, or -1 when it does not end; it is ended then. */
static int wait_for(pid_t pid, int seconds)
{
	int status;

	for (int i = 0; i < seconds * 20; i++) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
		usleep(50000);
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return -1;
}

static size_t read_all(int fd, char *buf, size_t size)
{
	size_t n = 0;
	ssize_t r;

	while (n + 1 < size && (r = read(fd, buf + n, size - 1 - n)) > 0)
		n += r;
	buf[n] = 0;
	close(fd);
	return n;
}

/* Runs it to its end, and keeps what it said. */
static int run(const char *args, char *out, char *err, size_t size)
{
	struct child c = start(args, -1);
	int status = wait_for(c.pid, SECONDS);

	read_all(c.out, out, size);
	read_all(c.err, err, size);
	return status;
}

static int lines(const char *s)
{
	int n = 0;

	while ((s = strchr(s, '\n'))) {
		n++;
		s++;
	}
	return n;
}

TEST_F_TIMEOUT(tool, one_line_for_what_is_no_good, 600)
{
	static const char * const bad[] = {
		"", "nonsense", "run", "run --nonsense", "run --kernel",
		"run --kernel off extra", "run --kernel nowhere", "run --kernel /tmp",
		"run --kernel ''", "run --kernel empty", "run --kernel text",
		"run --kernel pipe", "run --kernel /dev/zero",
		"run --kernel off --initrd nowhere", "run --kernel off --initrd empty",
		"run --kernel off --initrd pipe", "run --kernel off --initrd /tmp",
		"run --kernel off --memory 0", "run --kernel off --memory 1K",
		"run --kernel off --memory -1", "run --kernel off --memory 1X",
		"run --kernel off --memory ''", "run --kernel off --memory 8193K",
		"run --kernel off --memory 65T",
		"run --kernel off --memory 99999999999999999999",
		"run --kernel off --memory 18446744073709551615", "run --kernel off --cpus 0",
		"run --kernel off --cpus 289", "run --kernel off --cpus -1",
		"run --kernel off --cpus 4294967297", "run --kernel off --cpus x",
		"run --kernel off --disk nowhere", "run --kernel off --disk empty",
		"run --kernel off --disk pipe", "run --kernel off --disk pipe,ro",
		"run --kernel off --disk /tmp", "run --kernel off --disk /dev/null",
		"run --kernel off --net x", "run --kernel off --net tap=",
		"run --kernel off --net tap=t,mac=01:2:3:4:5:6",
		"run --kernel off --net tap=t,mac=",
		"run --kernel off --net tap=t,mac=00:11:22:33:44:55:66",
		"run --kernel off --net tap=t,x=1", "run --kernel off --device nowhere",
		"run --kernel off --device /dev/null", "check extra", "check --nonsense",
		"check --device", "info extra", "alias perhaps", "takeover extra",
		"giveback --module x",
	};
	char out[4096], err[4096];

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		EXPECT_EQ(2, run(bad[i], out, err, sizeof(out))) {
			TH_LOG("wafer %s: %s", bad[i], err);
		}
		EXPECT_EQ(1, lines(err)) {
			TH_LOG("wafer %s: %s", bad[i], err);
		}
		EXPECT_EQ(0, strncmp(err, "wafer", 5));
		EXPECT_STREQ("", out);
	}
}

TEST_F_TIMEOUT(tool, help_for_every_command, 600)
{
	static const char * const names[] = {
		"", "run", "check", "info", "alias", "takeover", "giveback"
	};
	char out[4096], err[4096], args[64];

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(args, sizeof(args), "%s --help", names[i]);
		EXPECT_EQ(0, run(args, out, err, sizeof(out)));
		EXPECT_EQ(0, strncmp(out, "usage: wafer ", 13));
		EXPECT_STREQ("", err);
	}
}

TEST_F_TIMEOUT(tool, each_end_has_its_status, 600)
{
	static const struct { const char *args; int status; } ends[] = {
		{ "run --kernel off", 0 }, { "run --kernel off --no-sandbox", 0 },
		{ "run --kernel off --cpus 4 --memory 4G", 0 },
		{ "run --kernel reset", 3 }, { "run --kernel crash", 4 },
	};
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT };
	char out[4096], err[4096];

	for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++) {
		EXPECT_EQ(ends[i].status, run(ends[i].args, out, err, sizeof(out))) {
			TH_LOG("wafer %s: %s", ends[i].args, err);
		}
	}
	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
		struct child c = start("run --kernel stay --cpus 2", -1);
		char first;

		EXPECT_EQ(1, read(c.out, &first, 1));
		kill(c.pid, signals[i]);
		EXPECT_EQ(128 + signals[i], wait_for(c.pid, SECONDS));
		read_all(c.err, err, sizeof(err));
		EXPECT_EQ(1, lines(err)) {
			TH_LOG("signal %d: %s", signals[i], err);
		}
		close(c.out);
	}
}

/* nohup, or a shell that starts something in the background */
TEST_F_TIMEOUT(tool, what_is_ignored_stays_so, 600)
{
	struct child c;
	char first;

	ignored = SIGHUP;
	c = start("run --kernel stay", -1);
	EXPECT_EQ(1, read(c.out, &first, 1));
	kill(c.pid, SIGHUP);
	sleep(1);
	EXPECT_EQ(0, kill(c.pid, SIGTERM));
	EXPECT_EQ(128 + SIGTERM, wait_for(c.pid, SECONDS));
	close(c.out);
	close(c.err);
}

TEST_F_TIMEOUT(tool, lists_that_nobody_gets_are_an_error, 600)
{
	static const char * const args[] = {
		"check --json", "info", "alias", "--help", "--version", "run --help"
	};
	char err[4096];

	for (size_t i = 0; i < sizeof(args) / sizeof(*args); i++) {
		int full = open("/dev/full", O_WRONLY);
		struct child c = start(args[i], full);

		EXPECT_EQ(1, wait_for(c.pid, SECONDS));
		read_all(c.err, err, sizeof(err));
		EXPECT_EQ(1, lines(err)) {
			TH_LOG("wafer %s: %s", args[i], err);
		}
		close(full);
	}
}

TEST_F_TIMEOUT(tool, json_is_text_whatever_the_name, 600)
{
	char out[8192], err[4096];

	/* too long a form, half a pair, a character that is cut off */
	EXPECT_EQ(1, run("check --json --device a\"b\\\x01\x1b\xc3\xa4\xff"
			 "\xc0\x80\xed\xa0\x80\xe2\x82", out, err, sizeof(out)));
	EXPECT_NE(NULL, strstr(out, "{\"device\": \"a\\\"b\\\\\\u0001\\u001b\xc3\xa4\\ufffd\\ufffd"
			       "\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\"")) {
		TH_LOG("%s", out);
	}
	EXPECT_EQ(NULL, strpbrk(out, "\x01\x1b\xff\xc0\xed"));
}

/* What a container or a rescue system may lack. */
TEST_F_TIMEOUT(tool, a_root_with_nothing_in_it, 600)
{
	char command[256], out[4096], err[4096];
	int status;

	snprintf(command, sizeof(command), "cp %s wafer && mkdir dev && cp -a /dev/wafer dev/",
		 wafer());
	ASSERT_EQ(0, system(command));
	for (int i = 0; i < 3; i++) {
		static char * const args[][5] = {
			{ "wafer", "--version" }, { "wafer", "check" },
			{ "wafer", "run", "--kernel", "/off" },
		};
		int e[2], o[2];
		pid_t pid;

		ASSERT_EQ(0, pipe(e) | pipe(o));
		pid = fork();
		if (!pid) {
			dup2(o[1], 1);
			dup2(e[1], 2);
			close(o[0]);
			close(e[0]);
			if (!chroot("."))
				execv("/wafer", args[i]);
			_exit(126);
		}
		close(e[1]);
		close(o[1]);
		status = wait_for(pid, SECONDS);
		read_all(o[0], out, sizeof(out));
		read_all(e[0], err, sizeof(err));
		EXPECT_EQ(0, status) {
			TH_LOG("wafer %s: %s%s", args[i][1], out, err);
		}
		EXPECT_STREQ("", err);
	}
}

/* Standard output that is full and non-blocking, as somebody who shares it may have made it. */
TEST_F_TIMEOUT(tool, nothing_is_lost_on_a_slow_reader, 600)
{
	static char buf[PRINTED + 4096];
	struct child c;
	int o[2];

	ASSERT_EQ(0, pipe2(o, O_NONBLOCK));
	fcntl(o[1], F_SETPIPE_SZ, 4096);
	c = start("run --kernel print", o[1]);
	close(o[1]);
	sleep(2);
	fcntl(o[0], F_SETFL, 0);
	EXPECT_EQ(PRINTED, read_all(o[0], buf, sizeof(buf)));
	EXPECT_EQ(0, wait_for(c.pid, SECONDS));
	close(c.err);
}

/* Nobody reads: the last of the output must not keep it from being ended. */
TEST_F_TIMEOUT(tool, a_reader_that_does_not_read, 600)
{
	static char page[4096];
	struct child c;
	int o[2];

	ASSERT_EQ(0, pipe2(o, O_NONBLOCK));
	while (write(o[1], page, sizeof(page)) > 0)
		;
	fcntl(o[1], F_SETFL, 0);
	c = start("run --kernel last_word", o[1]);
	sleep(5);
	kill(c.pid, SIGTERM);
	EXPECT_NE(-1, wait_for(c.pid, 10));
	close(o[0]);
	close(o[1]);
	close(c.err);
}

TEST_F_TIMEOUT(tool, a_limit_of_file_sizes_ends_no_guest, 600)
{
	struct rlimit old, small = { 4096, 4096 };
	struct child c;
	int fd = open("output", O_WRONLY | O_CREAT, 0600);

	getrlimit(RLIMIT_FSIZE, &old);
	small.rlim_max = old.rlim_max;
	setrlimit(RLIMIT_FSIZE, &small);
	c = start("run --kernel print", fd);
	setrlimit(RLIMIT_FSIZE, &old);
	EXPECT_EQ(0, wait_for(c.pid, SECONDS));
	close(fd);
	close(c.err);
}

static bool is_raw(int tty)
{
	struct termios t;

	tcgetattr(tty, &t);
	return !(t.c_lflag & (ICANON | ECHO | ISIG));
}

static bool becomes(int tty, bool raw)
{
	for (int i = 0; i < SECONDS * 20; i++) {
		if (is_raw(tty) == raw)
			return true;
		usleep(50000);
	}
	return false;
}

static pid_t on_terminal(int *tty)
{
	pid_t pid = forkpty(tty, NULL, NULL, NULL);

	if (!pid) {
		signal(SIGQUIT, SIG_DFL);
		signal(SIGTERM, SIG_DFL);
		execl(wafer(), "wafer", "run", "--kernel", "stay", NULL);
		_exit(127);
	}
	return pid;
}

TEST_F_TIMEOUT(tool, the_terminal_is_given_back, 600)
{
	static const int signals[] = { SIGTERM, SIGQUIT };
	int tty, status;
	pid_t pid;

	pid = on_terminal(&tty);
	ASSERT_TRUE(becomes(tty, true));
	EXPECT_EQ(2, write(tty, "\1x", 2));
	EXPECT_EQ(8, wait_for(pid, SECONDS));
	close(tty);

	for (size_t i = 0; i < 2; i++) {
		/* a second descriptor: the terminal outlives the session */
		char name[64];
		int slave;

		pid = on_terminal(&tty);
		ASSERT_EQ(0, ptsname_r(tty, name, sizeof(name)));
		slave = open(name, O_RDWR | O_NOCTTY);
		ASSERT_TRUE(becomes(slave, true));
		kill(pid, signals[i]);
		EXPECT_EQ(128 + signals[i], wait_for(pid, SECONDS));
		EXPECT_FALSE(is_raw(slave));
		close(slave);
		close(tty);
	}

	/* the shell that it is stopped from has it meanwhile */
	pid = on_terminal(&tty);
	ASSERT_TRUE(becomes(tty, true));
	kill(pid, SIGTSTP);
	ASSERT_TRUE(becomes(tty, false));
	ASSERT_EQ(pid, waitpid(pid, &status, WUNTRACED));
	ASSERT_TRUE(WIFSTOPPED(status));
	kill(pid, SIGCONT);
	EXPECT_TRUE(becomes(tty, true));
	EXPECT_EQ(2, write(tty, "\1x", 2));
	EXPECT_EQ(8, wait_for(pid, SECONDS));
	close(tty);
}

TEST_HARNESS_MAIN
