// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util.h"

/*
 * Messages go straight to the descriptor: stdio would allocate its buffer at
 * a time when the system call filter may already be in force.
 */
static void put_line(const char *prefix, const char *fmt, va_list ap, bool newline)
{
	char line[1024];
	int len = snprintf(line, sizeof(line), "%s", prefix);
	int room = (int)sizeof(line) - len - 1;
	int more = vsnprintf(line + len, room, fmt, ap);

	if (more > 0)
		len += more < room ? more : room - 1;
	if (newline)
		line[len++] = '\n';
	if (write(STDERR_FILENO, line, len) < 0)
		return;		/* nowhere left to complain */
}

void say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	put_line("wafer: ", fmt, ap, true);
	va_end(ap);
}

void say_raw(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	put_line("", fmt, ap, false);
	va_end(ap);
}

noreturn void die(int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	put_line("wafer: ", fmt, ap, true);
	va_end(ap);
	exit(status);
}

void *xcalloc(size_t nr, size_t size)
{
	void *p = calloc(nr, size);

	if (!p)
		die(STATUS_HOST, "out of memory");
	return p;
}

bool parse_size(const char *s, uint64_t unit, uint64_t *size)
{
	static const char suffixes[] = "KMGT";
	unsigned long long n;
	const char *suffix;
	char *end;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	n = strtoull(s, &end, 10);
	if (errno)
		return false;
	if (*end) {
		suffix = strchr(suffixes, *end >= 'a' ? *end - 'a' + 'A' : *end);
		if (!suffix || !*suffix)
			return false;
		unit = KIB << (10 * (suffix - suffixes));
		end++;
		/* "256MiB" and "256MB" mean what everybody means by them here */
		if (*end == 'i')
			end++;
		if (*end == 'B')
			end++;
		if (*end)
			return false;
	}
	return !__builtin_mul_overflow(n, unit, size);
}

bool parse_uint(const char *s, unsigned int max, unsigned int *value)
{
	unsigned long n;
	char *end;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	n = strtoul(s, &end, 10);
	if (errno || *end || n > max)
		return false;
	*value = n;
	return true;
}

bool pread_full(int fd, void *buf, size_t len, uint64_t offset)
{
	char *p = buf;

	while (len) {
		ssize_t n = pread(fd, p, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			errno = EIO;
		if (n <= 0)
			return false;
		p += n;
		len -= n;
		offset += n;
	}
	return true;
}

uint64_t load_le(const void *p, unsigned int len)
{
	uint64_t value = 0;

	memcpy(&value, p, len);
	return value;
}

void store_le(void *p, unsigned int len, uint64_t value)
{
	memcpy(p, &value, len);
}
