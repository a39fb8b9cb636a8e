/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the sources of irq/ need besides: a clock that the test turns, timers, eventfds that count.
 */
#ifndef SHIM_IRQ_H
#define SHIM_IRQ_H

#include <signal.h>
#include "shim.h"

#define U8_MAX			0xff
#define U64_MAX			(~0ull)
#define CONFIG_PREEMPT_RT	0

/* ---- time: stands still until shim_advance() ---- */
typedef s64 ktime_t;
#define CLOCK_MONOTONIC		1
#define KTIME_MAX		INT64_MAX
#define NSEC_PER_SEC		1000000000l
#define NSEC_PER_MSEC		1000000l
#define ns_to_ktime(ns)		((ktime_t)(ns))
extern u64 shim_ns;
#define ktime_get_ns()		shim_ns
static inline u64 mul_u64_u32_div(u64 a, u32 mul, u32 div)
{
	return (unsigned __int128)a * mul / div;
}

enum hrtimer_restart { HRTIMER_NORESTART, HRTIMER_RESTART };
enum hrtimer_mode {
	HRTIMER_MODE_ABS_HARD, HRTIMER_MODE_REL_HARD, HRTIMER_MODE_ABS_PINNED_HARD,
};
struct hrtimer {
	enum hrtimer_restart (*function)(struct hrtimer *t);
	u64 expires;
	bool queued;
	struct hrtimer *next;		/* of those that are queued */
	unsigned int starts;
};
extern struct hrtimer *shim_timers;

static inline void hrtimer_init(struct hrtimer *t, clockid_t clock, enum hrtimer_mode mode)
{
	memset(t, 0, sizeof(*t));
}

static inline void hrtimer_setup(struct hrtimer *t, enum hrtimer_restart (*fn)(struct hrtimer *t),
				 clockid_t clock, enum hrtimer_mode mode)
{
	hrtimer_init(t, clock, mode);
	t->function = fn;
}

static inline int hrtimer_cancel(struct hrtimer *t)
{
	struct hrtimer **at = &shim_timers;

	if (!t->queued)
		return 0;
	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	t->queued = false;
	return 1;
}

static inline void hrtimer_start(struct hrtimer *t, ktime_t when, enum hrtimer_mode mode)
{
	hrtimer_cancel(t);
	t->expires = mode == HRTIMER_MODE_REL_HARD ? shim_ns + when : (u64)when;
	t->queued = true;
	t->starts++;
	t->next = shim_timers;
	shim_timers = t;
}

struct irq_work { void (*func)(struct irq_work *work); };
#define IRQ_WORK_INIT_HARD(f)	((struct irq_work){ .func = (f) })
#define irq_work_sync(w)	do { } while (0)
extern struct irq_work *shim_work;	/* one at a time is enough */
static inline bool irq_work_queue(struct irq_work *work)
{
	shim_work = work;
	return true;
}

/* Lets @ns pass: timers expire in their order, work that was queued runs after each. */
void shim_advance(u64 ns);

/* ---- eventfds: descriptor 10 + n is the one whose count is shim_eventfd[n] ---- */
struct eventfd_ctx { unsigned int count, refs; };
extern struct eventfd_ctx shim_eventfd[8];
static inline struct eventfd_ctx *eventfd_ctx_fdget(int fd)
{
	if (fd < 10 || fd > 17)
		return ERR_PTR(-EBADF);
	shim_eventfd[fd - 10].refs++;
	return &shim_eventfd[fd - 10];
}
#define eventfd_ctx_put(c)	((c)->refs--)
#define eventfd_signal(c, ...)	((c)->count++)

/* ---- odds and ends ---- */
#define hash_32(v, bits)	((u32)(v) * 0x61c88647u >> (32 - (bits)))
#define sort(p, n, size, cmp, swap)	qsort(p, n, size, cmp)
#ifndef ror8
static inline u8 ror8(u8 v, unsigned int n) { return v >> n | v << (-n & 7); }
#endif
#define __acquire(x)		do { } while (0)
#define __release(x)		do { } while (0)
#define atomic_dec_if_positive(v) \
	({ int _d = atomic_read(v) - 1; if (_d >= 0) atomic_dec(v); _d; })
#define raw_spin_trylock_irqsave(l, f)	((f) = 0, spin_trylock(l))
#define kfree_rcu(p, f)		kfree(p)
#undef kvfree_rcu
#define kvfree_rcu(p, f)	kfree(p)
#define get_zeroed_page(g)	((unsigned long)calloc(1, PAGE_SIZE))
#define free_page(p)		free((void *)(p))
struct rcuwait { int unused; };
typedef struct { int refs; } refcount_t;
static inline void refcount_inc(refcount_t *r) { r->refs++; }
struct vm_area_struct { unsigned long vm_flags; };
struct pid;

#endif
