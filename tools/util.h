/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Small things every file uses: messages, sizes, and access to memory that
 * somebody else may be changing.
 */
#ifndef WAFER_UTIL_H
#define WAFER_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>

#define __packed		__attribute__((packed))
#define __printf(f, a)		__attribute__((format(printf, f, a)))

#define ARRAY_SIZE(a)		(sizeof(a) / sizeof((a)[0]))
#define ALIGN_DOWN(x, a)	((x) & ~((typeof(x))(a) - 1))
#define ALIGN_UP(x, a)		ALIGN_DOWN((x) + (a) - 1, a)

#define KIB			(1ull << 10)
#define MIB			(1ull << 20)
#define GIB			(1ull << 30)

/*
 * The guest can change its memory between two looks at it. What is checked has
 * to be what is used, so everything shared is loaded once, through here.
 */
#define READ_ONCE(x)		__atomic_load_n(&(x), __ATOMIC_RELAXED)
#define WRITE_ONCE(x, v)	__atomic_store_n(&(x), (v), __ATOMIC_RELAXED)
#define LOAD_ACQUIRE(x)		__atomic_load_n(&(x), __ATOMIC_ACQUIRE)
#define STORE_RELEASE(x, v)	__atomic_store_n(&(x), (v), __ATOMIC_RELEASE)

/* How `wafer` ends; wafer.1 says the same in words. */
enum wafer_status {
	STATUS_OK = 0,		/* done; for run: the guest powered itself off */
	STATUS_HOST = 1,	/* this program or the host failed */
	STATUS_USAGE = 2,	/* an argument, or a file it names, is no good */
	STATUS_RESET = 3,	/* the guest asked to be reset */
	STATUS_CRASH = 4,	/* the guest's CPU shut down (triple fault) */
	STATUS_INTERNAL = 5,	/* KVM_EXIT_INTERNAL_ERROR */
	STATUS_ENTRY = 6,	/* KVM_EXIT_FAIL_ENTRY */
	STATUS_UNKNOWN = 7,	/* an exit that this program does not know */
	STATUS_LEFT = 8,	/* Ctrl-A x */
	STATUS_SIGNAL = 128,	/* plus the number of the signal */
};

/* One line on standard error, "wafer: " before it. Does not allocate. */
void say(const char *fmt, ...) __printf(1, 2);

/* The same without the prefix, for tables. */
void say_raw(const char *fmt, ...) __printf(1, 2);

/* say() and exit; only before the guest runs. */
noreturn void die(int status, const char *fmt, ...) __printf(2, 3);

/* Allocation that ends the program when there is none to be had. */
void *xcalloc(size_t nr, size_t size);

/* "256M", "1G", "4096K"; a bare number counts @unit bytes. False if it is no size. */
bool parse_size(const char *s, uint64_t unit, uint64_t *size);
bool parse_uint(const char *s, unsigned int max, unsigned int *value);

/* Reads exactly @len bytes at @offset; false with errno otherwise (EIO: the file ended). */
bool pread_full(int fd, void *buf, size_t len, uint64_t offset);

/* Little-endian access of 1, 2, 4 or 8 bytes. */
uint64_t load_le(const void *p, unsigned int len);
void store_le(void *p, unsigned int len, uint64_t value);

#endif
