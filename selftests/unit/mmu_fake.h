/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory for tests of mmu/: table pages, deferred freeing, and what the host learns of written
 * pages.
 */
#ifndef MMU_FAKE_H
#define MMU_FAKE_H

#include <pthread.h>

#include "compat.h"
#include "mmu/internal.h"
#include "backend.h"
#include "tap.h"

struct wafer_caps wafer_caps = { .has_ad = true };
struct shim_task *current = &(struct shim_task){ 0 };
void (*shim_before_walk)(void);
struct shrinker *shim_shrinker = &(struct shrinker){ };
unsigned long jiffies = 10 * HZ;

static long fake_pages;			/* table pages alive */
static long fake_fail_after = -1;	/* allocations until one fails; -1: never */

#define FAKE_PFNS	65536
#define HUGE_PFN	32768			/* frames from here on are given out in 512s */
static u8 fake_dirty[FAKE_PFNS];	/* the host has been told that the page was written */

/* A second page behind each holds the link: the first stays zero after it was taken out. */
void *wafer_pt_alloc(bool wait)
{
	void *p;

	if (fake_fail_after >= 0 &&
	    __atomic_fetch_sub(&fake_fail_after, 1, __ATOMIC_RELAXED) <= 0) {
		fake_fail_after = 0;
		return NULL;
	}
	p = aligned_alloc(PAGE_SIZE, 2 * PAGE_SIZE);
	memset(p, 0, 2 * PAGE_SIZE);
	__atomic_fetch_add(&fake_pages, 1, __ATOMIC_RELAXED);
	return p;
}

/* Use after this is a bug that the sanitiser shows. */
void wafer_pt_free(void *table)
{
	__atomic_fetch_sub(&fake_pages, 1, __ATOMIC_RELAXED);
	free(table);
}

void wafer_pt_account(const struct wafer_pt *pt, void *table, int n)
{
	atomic_long_add(n, pt->pages);
}

void *wafer_pt_next(void *table)
{
	return *(void **)(table + PAGE_SIZE);
}

void wafer_pt_set_next(void *table, void *next)
{
	u64 *e = table;
	int i;

	for (i = 0; i < WAFER_PT_ENTRIES; i++)
		CHECK_EQ(e[i], 0);
	*(void **)(table + PAGE_SIZE) = next;
}

/*
 * The kernel marks the whole huge page; a small mapping of its first page makes that less strict
 * here.
 */
void wafer_pt_host_dirty(u64 pfn)
{
	unsigned int n = pfn >= HUGE_PFN && pfn % 512 == 0 ? 512 : 1;

	for (; n-- && pfn < FAKE_PFNS; pfn++)
		__atomic_store_n(&fake_dirty[pfn], 1, __ATOMIC_SEQ_CST);
}

static pthread_mutex_t rcu_lock = PTHREAD_MUTEX_INITIALIZER;
static struct rcu_head *rcu_list;

void call_rcu(struct rcu_head *head, void (*fn)(struct rcu_head *head))
{
	head->fn = fn;
	pthread_mutex_lock(&rcu_lock);
	head->next = rcu_list;
	rcu_list = head;
	pthread_mutex_unlock(&rcu_lock);
}

/* No reader is left. */
static inline void rcu_run(void)
{
	struct rcu_head *head;

	while ((head = rcu_list)) {
		rcu_list = head->next;
		head->fn(head);
	}
}

int wafer_refuse(struct wafer_refusal *r, int err, const char *field, u64 value, const char *rule)
{
	if (r)
		*r = (struct wafer_refusal){
			.err = -err, .field = field, .value = value, .rule = rule
		};
	return err;
}

#endif
