// SPDX-License-Identifier: GPL-2.0
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "term.h"

#define CTRL_A	0x01

static struct termios original;
static bool is_raw;
static bool escaped;

void term_restore(void)
{
	if (is_raw)
		tcsetattr(STDIN_FILENO, TCSANOW, &original);
	is_raw = false;
}

/* Only a terminal is changed, and only in a terminal does Ctrl-A mean anything here. */
void term_setup(void)
{
	struct termios raw;

	if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &original) < 0)
		return;
	raw = original;
	cfmakeraw(&raw);
	raw.c_oflag |= OPOST;		/* our own messages end in a plain newline */
	if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) < 0)
		return;
	is_raw = true;
	atexit(term_restore);
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
