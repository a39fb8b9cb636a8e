/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Enough of the kernel's own interface to compile pure kernel sources in user space, unmodified.
 *
 * Every header under shim/linux/ includes this file (and, where libc has a header of the same name,
 * that one too). To add something: put it here, and a header with one line where the kernel source
 * looks for it.
 */
#ifndef SHIM_H
#define SHIM_H

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <linux/const.h>
#include <asm/types.h>

typedef __u8 u8;
typedef __s8 s8;
typedef __u16 u16;
typedef __s16 s16;
typedef __u32 u32;
typedef __s32 s32;
typedef __u64 u64;
typedef __s64 s64;
typedef unsigned int gfp_t;
typedef u64 phys_addr_t;

/* ---- compiler ---- */
#define likely(x)		__builtin_expect(!!(x), 1)
#define unlikely(x)		__builtin_expect(!!(x), 0)
#define barrier()		__asm__ __volatile__("" : : : "memory")
#ifdef __SANITIZE_THREAD__	/* which knows no address dependencies */
#define READ_ONCE(x)		__atomic_load_n(&(x), __ATOMIC_ACQUIRE)
#else
#define READ_ONCE(x)		__atomic_load_n(&(x), __ATOMIC_RELAXED)
#endif
#define data_race(x)		(x)
#define WRITE_ONCE(x, v)	__atomic_store_n(&(x), v, __ATOMIC_RELAXED)
#define fallthrough		__attribute__((__fallthrough__))
#define noinline		__attribute__((__noinline__))
#ifndef __always_inline
#define __always_inline		inline __attribute__((__always_inline__))
#endif
#define __packed		__attribute__((__packed__))
#define __aligned(n)		__attribute__((__aligned__(n)))
#define __maybe_unused		__attribute__((__unused__))
#define __must_check		__attribute__((__warn_unused_result__))
#define __printf(a, b)		__attribute__((__format__(printf, a, b)))
#define __user
#define __rcu
#define __iomem
#define __percpu
#define __init
#define __exit
#define __ro_after_init
#define __read_mostly
#define __acquires(x)
#define __releases(x)
#define __must_hold(x)
#define EXPORT_SYMBOL_GPL(x)	extern int shim_export_##x
#define ARRAY_SIZE(a)		(sizeof(a) / sizeof((a)[0]))
#define container_of(p, t, m)	((t *)((char *)(p) - offsetof(t, m)))
#define sizeof_field(t, m)	sizeof(((t *)0)->m)
#define static_assert		_Static_assert
#define BUILD_BUG_ON(cond)	_Static_assert(!(cond), "BUILD_BUG_ON: " #cond)
#define IS_ENABLED(x)		0

/* ---- bits ---- */
#define BITS_PER_LONG		64
#define BITS_PER_BYTE		8
#define BITS_PER_TYPE(t)	(sizeof(t) * BITS_PER_BYTE)
#define BITS_TO_LONGS(n)	(((n) + 63) / 64)
#define BIT(n)			(1ul << (n))
#define BIT_ULL(n)		(1ull << (n))
#define GENMASK(h, l)		((~0ul << (l)) & (~0ul >> (63 - (h))))
#define GENMASK_ULL(h, l)	((~0ull << (l)) & (~0ull >> (63 - (h))))
#define DECLARE_BITMAP(n, b)	unsigned long n[BITS_TO_LONGS(b)]

static inline int fls(unsigned int x) { return x ? 32 - __builtin_clz(x) : 0; }
static inline int fls64(u64 x) { return x ? 64 - __builtin_clzll(x) : 0; }
static inline unsigned long __ffs(unsigned long x) { return __builtin_ctzl(x); }
static inline unsigned long __fls(unsigned long x) { return 63 - __builtin_clzl(x); }
#define ffs64(x)		__ffs(x)
static inline unsigned int hweight32(u32 x) { return __builtin_popcount(x); }
static inline unsigned int hweight64(u64 x) { return __builtin_popcountll(x); }
static inline unsigned int hweight16(u16 x) { return __builtin_popcount(x); }
static inline unsigned int hweight8(u8 x) { return __builtin_popcount(x); }
static inline s64 sign_extend64(u64 v, int bit) { return (s64)(v << (63 - bit)) >> (63 - bit); }
static inline s32 sign_extend32(u32 v, int bit) { return (s32)(v << (31 - bit)) >> (31 - bit); }

#define SHIM_WORD(nr, p)	(((unsigned long *)(p)) + (nr) / 64)
#define SHIM_MASK(nr)		(1ul << ((nr) % 64))
static inline bool test_bit(unsigned long nr, const volatile void *p)
{
	return __atomic_load_n(SHIM_WORD(nr, p), __ATOMIC_RELAXED) & SHIM_MASK(nr);
}
static inline void set_bit(unsigned long nr, volatile void *p)
{
	__atomic_or_fetch(SHIM_WORD(nr, p), SHIM_MASK(nr), __ATOMIC_SEQ_CST);
}
static inline void clear_bit(unsigned long nr, volatile void *p)
{
	__atomic_and_fetch(SHIM_WORD(nr, p), ~SHIM_MASK(nr), __ATOMIC_SEQ_CST);
}
static inline bool test_and_set_bit(unsigned long nr, volatile void *p)
{
	return __atomic_fetch_or(SHIM_WORD(nr, p), SHIM_MASK(nr), __ATOMIC_SEQ_CST) & SHIM_MASK(nr);
}
static inline bool test_and_clear_bit(unsigned long nr, volatile void *p)
{
	return __atomic_fetch_and(SHIM_WORD(nr, p), ~SHIM_MASK(nr), __ATOMIC_SEQ_CST) &
	       SHIM_MASK(nr);
}
#define __set_bit		set_bit
#define __clear_bit		clear_bit
#define set_mask_bits(p, mask, bits)	({ *(p) = (*(p) & ~(mask)) | (bits); })
#define assign_bit(nr, p, on)	((on) ? set_bit(nr, p) : clear_bit(nr, p))
#define __test_and_set_bit	test_and_set_bit
#define __test_and_clear_bit	test_and_clear_bit
static inline unsigned long find_next_bit(const unsigned long *p, unsigned long n, unsigned long i)
{
	while (i < n && !test_bit(i, p))
		i++;
	return i < n ? i : n;
}
static inline unsigned long find_next_zero_bit(const unsigned long *p, unsigned long n,
					       unsigned long i)
{
	while (i < n && test_bit(i, p))
		i++;
	return i < n ? i : n;
}
#define find_first_bit(p, n)		find_next_bit(p, n, 0)
#define find_first_zero_bit(p, n)	find_next_zero_bit(p, n, 0)
static inline void bitmap_set(unsigned long *p, unsigned int at, int n)
{
	while (n--)
		set_bit(at++, p);
}
#define bitmap_empty(p, n)		(find_first_bit(p, n) >= (n))
#define for_each_set_bit(b, p, n)	\
	for ((b) = find_first_bit(p, n); (b) < (n); (b) = find_next_bit(p, n, (b) + 1))

/* ---- arithmetic ---- */
#define min(a, b)	({ __typeof__(a) _a = (a); __typeof__(b) _b = (b); _a < _b ? _a : _b; })
#define max(a, b)	({ __typeof__(a) _a = (a); __typeof__(b) _b = (b); _a > _b ? _a : _b; })
#define min_t(t, a, b)	min((t)(a), (t)(b))
#define max_t(t, a, b)	max((t)(a), (t)(b))
#define min3(a, b, c)	min(a, min(b, c))
#define clamp(v, l, h)	min(max(v, l), h)
#define clamp_t(t, v, l, h) clamp((t)(v), (t)(l), (t)(h))
#define swap(a, b)	do { __typeof__(a) _t = (a); (a) = (b); (b) = _t; } while (0)
#define ALIGN(x, a)		(((x) + ((__typeof__(x))(a) - 1)) & ~((__typeof__(x))(a) - 1))
#define ALIGN_DOWN(x, a)	((x) & ~((__typeof__(x))(a) - 1))
#define IS_ALIGNED(x, a)	(((x) & ((__typeof__(x))(a) - 1)) == 0)
#define round_up		ALIGN
#define round_down		ALIGN_DOWN
#define DIV_ROUND_UP(n, d)	(((n) + (d) - 1) / (d))
#define DIV_ROUND_UP_ULL	DIV_ROUND_UP
#define is_power_of_2(n)	((n) != 0 && ((n) & ((n) - 1)) == 0)
#define lower_32_bits(n)	((u32)(n))
#define upper_32_bits(n)	((u32)((u64)(n) >> 32))
#define check_add_overflow(a, b, d)	__builtin_add_overflow(a, b, d)
#define check_sub_overflow(a, b, d)	__builtin_sub_overflow(a, b, d)
#define check_mul_overflow(a, b, d)	__builtin_mul_overflow(a, b, d)
static inline u64 div_u64(u64 a, u32 b) { return a / b; }
static inline u64 div64_u64(u64 a, u64 b) { return a / b; }
static inline u64 mul_u64_u64_div_u64(u64 a, u64 b, u64 c) { return (unsigned __int128)a * b / c; }
static inline u64 mul_u64_u64_shr(u64 a, u64 b, unsigned int s)
{
	return (unsigned __int128)a * b >> s;
}
static inline u64 mul_u64_u32_shr(u64 a, u32 b, unsigned int s)
{
	return (unsigned __int128)a * b >> s;
}
static inline u64 div64_u64_rem(u64 a, u64 b, u64 *r) { *r = a % b; return a / b; }
#define do_div(n, b)	({ u32 _r = (n) % (u32)(b); (n) /= (u32)(b); _r; })
static inline u16 swab16(u16 v) { return __builtin_bswap16(v); }
static inline u32 swab32(u32 v) { return __builtin_bswap32(v); }
static inline u64 swab64(u64 v) { return __builtin_bswap64(v); }
#define array_index_nospec(i, n)	((i) < (n) ? (i) : 0)

/* ---- pages ---- */
#define PAGE_SHIFT	12
#define PAGE_SIZE	4096ul
#define PAGE_MASK	(~(PAGE_SIZE - 1))
#define offset_in_page(p)	((unsigned long)(p) & ~PAGE_MASK)

/* ---- atomics and barriers ---- */
typedef struct { int counter; } atomic_t;
typedef struct { s64 counter; } atomic64_t;
typedef atomic64_t atomic_long_t;
#define ATOMIC_INIT(i)		{ (i) }
#define atomic_read(v)		READ_ONCE((v)->counter)
#define atomic_set(v, i)	WRITE_ONCE((v)->counter, i)
#define atomic_inc(v)		((void)__atomic_add_fetch(&(v)->counter, 1, __ATOMIC_SEQ_CST))
#define atomic_dec(v)		((void)__atomic_sub_fetch(&(v)->counter, 1, __ATOMIC_SEQ_CST))
#define atomic_add(i, v)	((void)__atomic_add_fetch(&(v)->counter, i, __ATOMIC_SEQ_CST))
#define atomic_sub(i, v)	((void)__atomic_sub_fetch(&(v)->counter, i, __ATOMIC_SEQ_CST))
#define atomic_inc_return(v)	__atomic_add_fetch(&(v)->counter, 1, __ATOMIC_SEQ_CST)
#define atomic_dec_return(v)	__atomic_sub_fetch(&(v)->counter, 1, __ATOMIC_SEQ_CST)
#define atomic_dec_and_test(v)	(atomic_dec_return(v) == 0)
#define atomic_xchg(v, i)	__atomic_exchange_n(&(v)->counter, i, __ATOMIC_SEQ_CST)
#define atomic_read_acquire(v)	smp_load_acquire(&(v)->counter)
#define atomic_dec_return_release(v)	atomic_dec_return(v)
#define atomic_try_cmpxchg(v, o, n)	try_cmpxchg(&(v)->counter, o, n)
#define atomic_cmpxchg(v, o, n)	cmpxchg(&(v)->counter, o, n)
#define atomic64_read		atomic_read
#define atomic64_set		atomic_set
#define atomic64_inc		atomic_inc
#define atomic64_dec		atomic_dec
#define atomic64_add		atomic_add
#define atomic64_sub		atomic_sub
#define atomic64_inc_return	atomic_inc_return
#define atomic_long_read	atomic_read
#define atomic_long_set		atomic_set
#define atomic_long_inc		atomic_inc
#define atomic_long_dec		atomic_dec
#define atomic_long_add		atomic_add
#define atomic_long_sub		atomic_sub
#define atomic_long_or(i, v)	((void)__atomic_or_fetch(&(v)->counter, i, __ATOMIC_SEQ_CST))
#define atomic_long_andnot(i, v)	\
	((void)__atomic_and_fetch(&(v)->counter, ~(i), __ATOMIC_SEQ_CST))

#define xchg(p, v)		__atomic_exchange_n(p, v, __ATOMIC_SEQ_CST)
#define cmpxchg(p, o, n)	({							\
	__typeof__(*(p)) _o = (o);							\
	__atomic_compare_exchange_n(p, &_o, n, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);	\
	_o; })
#define try_cmpxchg(p, o, n)								\
	__atomic_compare_exchange_n(p, o, n, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
#define cmpxchg64		cmpxchg
#define try_cmpxchg64		try_cmpxchg
#define smp_mb()		__atomic_thread_fence(__ATOMIC_SEQ_CST)
#define smp_rmb()		__atomic_thread_fence(__ATOMIC_ACQUIRE)
#define smp_wmb()		__atomic_thread_fence(__ATOMIC_RELEASE)
#define smp_mb__before_atomic()	smp_mb()
#define smp_mb__after_atomic()	smp_mb()
#define smp_load_acquire(p)	__atomic_load_n(p, __ATOMIC_ACQUIRE)
#define smp_store_release(p, v)	__atomic_store_n(p, v, __ATOMIC_RELEASE)
#define cpu_relax()		sched_yield()
#define cond_resched()		sched_yield()
#define might_sleep()		do { } while (0)

/* ---- warnings: a warning is a failed test ---- */
#define WARN_ON(c)	({ bool _c = (c); if (_c) { fprintf(stderr, "WARN_ON(%s) at %s:%d\n", \
			#c, __FILE__, __LINE__); abort(); } _c; })
#define WARN_ON_ONCE	WARN_ON
#define WARN_ONCE(c, ...)	WARN_ON(c)
#define pr_info(...)	printf("# " __VA_ARGS__)
#define pr_warn		pr_info
#define pr_err		pr_info
#define pr_debug(...)	do { } while (0)
#define pr_info_once	pr_info
#define pr_warn_ratelimited	pr_info

/* ---- memory ---- */
#define GFP_KERNEL		0u
#define GFP_ATOMIC		1u
#define GFP_KERNEL_ACCOUNT	2u
#define __GFP_ACCOUNT		4u
#define __GFP_ZERO		8u
#define __GFP_NOWARN		16u
#define kmalloc(n, g)		malloc(n)
#define kzalloc(n, g)		calloc(1, n)
#define kcalloc(n, s, g)	calloc(n, s)
#define kmalloc_array(n, s, g)	calloc(n, s)
#define kfree(p)		free((void *)(p))
#define kvzalloc		kzalloc
#define kvcalloc		kcalloc
#define kvmalloc		kmalloc
#define kvfree			kfree
#define struct_size(p, m, n)	(sizeof(*(p)) + (n) * sizeof((p)->m[0]))

/* ---- errors in pointers ---- */
#define MAX_ERRNO	4095
#define IS_ERR_VALUE(x)	((unsigned long)(x) >= (unsigned long)-MAX_ERRNO)
static inline void *ERR_PTR(long e) { return (void *)e; }
static inline long PTR_ERR(const void *p) { return (long)p; }
static inline bool IS_ERR(const void *p) { return IS_ERR_VALUE(p); }
static inline bool IS_ERR_OR_NULL(const void *p) { return !p || IS_ERR(p); }

/* ---- locks, good enough for threads of a test ---- */
typedef struct { int held; } spinlock_t;
typedef spinlock_t raw_spinlock_t;
struct mutex { spinlock_t lock; };
#define DEFINE_SPINLOCK(n)	spinlock_t n
#define DEFINE_RAW_SPINLOCK(n)	raw_spinlock_t n
#define DEFINE_MUTEX(n)		struct mutex n
#define spin_lock_init(l)	((l)->held = 0)
#define spin_trylock(l)		(!__atomic_exchange_n(&(l)->held, 1, __ATOMIC_ACQUIRE))
#define spin_lock(l)		do { while (!spin_trylock(l)) sched_yield(); } while (0)
/* What others do as soon as they can. */
__attribute__((__weak__)) void (*shim_unlocked)(void);
#define spin_unlock(l)								\
	do {									\
		__atomic_store_n(&(l)->held, 0, __ATOMIC_RELEASE);		\
		if (shim_unlocked)						\
			shim_unlocked();					\
	} while (0)
#define spin_lock_irqsave(l, f)		do { (f) = 0; spin_lock(l); } while (0)
#define spin_unlock_irqrestore(l, f)	do { (void)(f); spin_unlock(l); } while (0)
#define spin_lock_irq		spin_lock
#define spin_unlock_irq		spin_unlock
#define raw_spin_lock_init	spin_lock_init
#define raw_spin_trylock	spin_trylock
#define raw_spin_lock		spin_lock
#define raw_spin_unlock		spin_unlock
#define raw_spin_lock_irq	spin_lock
#define raw_spin_unlock_irq	spin_unlock
#define raw_spin_lock_irqsave	spin_lock_irqsave
#define raw_spin_unlock_irqrestore	spin_unlock_irqrestore
#define mutex_init(m)		spin_lock_init(&(m)->lock)
#define mutex_lock(m)		spin_lock(&(m)->lock)
#define mutex_trylock(m)	spin_trylock(&(m)->lock)
#define mutex_unlock(m)		spin_unlock(&(m)->lock)
#define cond_resched_lock(l)	do { spin_unlock(l); sched_yield(); spin_lock(l); } while (0)
#define lockdep_assert_held(l)	do { } while (0)
#define lockdep_is_held(l)	true
#define lockdep_assert_irqs_disabled()	do { } while (0)
#define local_irq_save(f)	((f) = 0)
#define local_irq_restore(f)	((void)(f))
#define local_irq_disable()	do { } while (0)
#define local_irq_enable()	do { } while (0)
#define preempt_disable()	do { } while (0)
#define preempt_enable()	do { } while (0)

/* ---- RCU: tests do not free under readers ---- */
struct rcu_head { struct rcu_head *next; void (*fn)(struct rcu_head *head); };
#define rcu_read_lock()		do { } while (0)
#define rcu_read_unlock()	do { } while (0)
#define rcu_access_pointer(p)	READ_ONCE(p)
#define rcu_dereference(p)	smp_load_acquire(&(p))
#define rcu_dereference_protected(p, c)	(p)
#define rcu_assign_pointer(p, v)	smp_store_release(&(p), v)
#define RCU_INIT_POINTER(p, v)	((p) = (v))
#define synchronize_rcu()	do { } while (0)
#define rcu_replace_pointer(p, v, c) \
	({ __typeof__(p) _old = (p); rcu_assign_pointer(p, v); _old; })
#define rcu_dereference_sched(p)	smp_load_acquire(&(p))
#define rcu_dereference_check(p, c)	smp_load_acquire(&(p))
#define rcu_read_lock_sched_held()	true
#define rcu_barrier()		do { } while (0)
/* Kept until the test says that no reader is left. */
void call_rcu(struct rcu_head *head, void (*fn)(struct rcu_head *head));
static inline void shim_free_rcu(struct rcu_head *head) { free(head); }
#define kvfree_rcu(p, f)	do { BUILD_BUG_ON(offsetof(__typeof__(*(p)), f)); \
				     call_rcu(&(p)->f, shim_free_rcu); } while (0)

/* ---- lists ---- */
struct list_head { struct list_head *next, *prev; };
#define LIST_HEAD_INIT(n)	{ &(n), &(n) }
#define LIST_HEAD(n)		struct list_head n = LIST_HEAD_INIT(n)
static inline void INIT_LIST_HEAD(struct list_head *l) { l->next = l->prev = l; }
static inline bool list_empty(const struct list_head *l) { return l->next == l; }
static inline void list_add(struct list_head *n, struct list_head *at)
{
	n->next = at->next;
	n->prev = at;
	at->next->prev = n;
	at->next = n;
}
static inline void list_add_tail(struct list_head *n, struct list_head *at)
{
	list_add(n, at->prev);
}
static inline void list_del(struct list_head *n)
{
	n->next->prev = n->prev;
	n->prev->next = n->next;
	n->next = n->prev = NULL;
}
#define list_entry(p, t, m)	container_of(p, t, m)
#define list_first_entry(l, t, m) list_entry((l)->next, t, m)
#define list_for_each_entry(p, l, m)						\
	for (p = list_first_entry(l, __typeof__(*p), m); &p->m != (l);		\
	     p = list_entry(p->m.next, __typeof__(*p), m))
#define list_add_tail_rcu	list_add_tail
#define list_del_rcu		list_del
#define list_del_init(n)	do { list_del(n); INIT_LIST_HEAD(n); } while (0)
#define list_first_or_null_rcu(l, t, m)	(list_empty(l) ? NULL : list_first_entry(l, t, m))
#define list_for_each_entry_rcu(p, l, m, c)	list_for_each_entry(p, l, m)
#define list_for_each_entry_safe(p, n, l, m)					\
	for (p = list_first_entry(l, __typeof__(*p), m),			\
	     n = list_entry(p->m.next, __typeof__(*p), m); &p->m != (l);	\
	     p = n, n = list_entry(n->m.next, __typeof__(*n), m))

#endif
