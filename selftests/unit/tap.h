/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A test program is a list of functions: TEST(name) { CHECK(...); } and, at the end, TAP_MAIN().
 * Output is TAP version 13. A failed CHECK shows the place and what was expected and goes on.
 */
#ifndef TAP_H
#define TAP_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tap_test {
	const char *name;
	void (*fn)(void);
	struct tap_test *next;
};

static struct tap_test *tap_first, **tap_end = &tap_first;
static unsigned int tap_failures;	/* in the running test */
static const char *tap_skipped;

#define TEST(id)								\
	static void test_##id(void);						\
	static struct tap_test tap_##id = { #id, test_##id, NULL };		\
	static void __attribute__((__constructor__)) tap_add_##id(void)		\
	{									\
		*tap_end = &tap_##id;						\
		tap_end = &tap_##id.next;					\
	}									\
	static void test_##id(void)

static void __attribute__((__unused__, __format__(printf, 3, 4)))
tap_fail(const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	if (++tap_failures > 20)
		return;
	printf("# %s:%d: ", file, line);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
}

#define FAIL(...)	tap_fail(__FILE__, __LINE__, __VA_ARGS__)
#define SKIP(why)	do { tap_skipped = (why); return; } while (0)
#define CHECK(cond)	do { if (!(cond)) FAIL("not true: %s", #cond); } while (0)
#define CHECK_MSG(cond, ...)	do { if (!(cond)) FAIL(__VA_ARGS__); } while (0)
#define CHECK_EQ(a, b)	do {							\
	unsigned long long _a = (a), _b = (b);					\
	if (_a != _b)								\
		FAIL("%s is %#llx, expected %s = %#llx", #a, _a, #b, _b);	\
} while (0)

/* xorshift64*: tests are random with a fixed seed, so a failure repeats. */
static unsigned long long tap_seed = 0x9e3779b97f4a7c15ull;

static inline unsigned long long rnd(void)
{
	tap_seed ^= tap_seed >> 12;
	tap_seed ^= tap_seed << 25;
	tap_seed ^= tap_seed >> 27;
	return tap_seed * 0x2545f4914f6cdd1dull;
}

static int tap_run(const char *only)
{
	unsigned int nr = 0, bad = 0;
	struct tap_test *t;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (t = tap_first; t; t = t->next)
		nr += !only || strstr(t->name, only);
	printf("TAP version 13\n1..%u\n", nr);
	nr = 0;
	for (t = tap_first; t; t = t->next) {
		if (only && !strstr(t->name, only))
			continue;
		tap_failures = 0;
		tap_skipped = NULL;
		t->fn();
		printf("%sok %u - %s%s%s\n", tap_failures ? "not " : "", ++nr, t->name,
		       tap_skipped ? " # SKIP " : "", tap_skipped ? tap_skipped : "");
		bad += !!tap_failures;
	}
	return bad ? 1 : 0;
}

/* With an argument, only the tests whose name contains it run. */
#define TAP_MAIN() int main(int argc, char **argv) { return tap_run(argc > 1 ? argv[1] : NULL); }

#endif
