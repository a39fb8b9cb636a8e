// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "term.h"

#define CTRL_A	0x01

static struct termios original, raw;
static volatile sig_atomic_t is_raw;
static bool escaped;

void term_restore(void)
{
	if (is_raw)
		tcsetattr(STDIN_FILENO, TCSANOW, &original);
	is_raw = false;
}

/* Stopped by somebody else: meanwhile the shell has its terminal as it was. */
static void on_suspend(int sig)
{
	int error = errno;

	(void)sig;
	tcsetattr(STDIN_FILENO, TCSANOW, &original);
	raise(SIGSTOP);
	errno = error;
}

/* After that, or after a SIGSTOP, which nobody sees coming. */
static void on_continue(int sig)
{
	int error = errno;

	(void)sig;
	if (is_raw)
		tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	errno = error;
}

/* Only a terminal is changed, and only in a terminal does Ctrl-A mean anything here. */
void term_setup(void)
{
	struct sigaction suspend = { .sa_handler = on_suspend, .sa_flags = SA_RESTART };
	struct sigaction resume = { .sa_handler = on_continue, .sa_flags = SA_RESTART };

	if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &original) < 0)
		return;
	raw = original;
	cfmakeraw(&raw);
	raw.c_oflag |= OPOST;		/* our own messages end in a plain newline */
	if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) < 0)
		return;
	is_raw = true;
	atexit(term_restore);
	sigaction(SIGTSTP, &suspend, NULL);
	sigaction(SIGCONT, &resume, NULL);
}

static void help(void)
{
	say_raw("\n"
		"Ctrl-A x       end the guest and leave\n"
		"Ctrl-A h       this help\n"
		"Ctrl-A Ctrl-A  send Ctrl-A to the guest\n");
}

enum term_action term_key(uint8_t key)
{
	if (!is_raw)
		return TERM_INPUT;
	if (!escaped) {
		escaped = key == CTRL_A;
		return escaped ? TERM_SWALLOWED : TERM_INPUT;
	}
	escaped = false;
	switch (key) {
	case 'x':
	case 'X':
		return TERM_LEAVE;
	case 'h':
	case 'H':
	case '?':
		help();
		return TERM_SWALLOWED;
	case CTRL_A:
		return TERM_INPUT;
	default:
		return TERM_SWALLOWED;
	}
}
