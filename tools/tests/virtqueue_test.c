// SPDX-License-Identifier: GPL-2.0
/*
 * The virtqueue against good and hostile rings, one rule of virtio 1.2 at a
 * time, then against random ones that change while they are read.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "../virtqueue.h"
#include "tap.h"

#define LOW		0x10000ull
#define HIGH		0x8000ull
#define DESC		0x0000ull
#define AVAIL		0x2000ull
#define USED		0x3000ull
#define INDIRECT	0x4000ull
#define DATA		0x8000ull
#define SIZE		8

static struct guest_ram ram;
static struct virtqueue vq;
static struct chain chain;

static struct vring_desc *desc(unsigned int i)
{
	return (struct vring_desc *)(ram.host + DESC) + i;
}

static struct vring_desc *indirect(unsigned int i)
{
	return (struct vring_desc *)(ram.host + INDIRECT) + i;
}

static struct vring_avail *avail(void)
{
	return (struct vring_avail *)(ram.host + AVAIL);
}

static struct vring_used *used(void)
{
	return (struct vring_used *)(ram.host + USED);
}

static void fresh(void)
{
	memset(ram.host, 0, LOW + HIGH);
	vq.ram = &ram;
	vq_reset(&vq);
	vq.size = SIZE;
	vq.desc_gpa = DESC;
	vq.avail_gpa = AVAIL;
	vq.used_gpa = USED;
	vq_enable(&vq);
}

static void set(struct vring_desc *d, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	*d = (struct vring_desc){ .addr = addr, .len = len, .flags = flags, .next = next };
}

static void offer(uint16_t head)
{
	avail()->ring[avail()->idx % SIZE] = head;
	avail()->idx++;
}

static enum vq_result pop(void)
{
	return vq_pop(&vq, &chain);
}

static void test_good(void)
{
	fresh();
	ok(pop() == VQ_EMPTY, "an empty queue is empty");
	set(desc(3), DATA, 16, VRING_DESC_F_NEXT, 1);
	set(desc(1), DATA + 0x100, 512, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2);
	set(desc(2), RAM_HIGH_BASE, 1, VRING_DESC_F_WRITE, 0);
	offer(3);
	ok(pop() == VQ_CHAIN && chain.head == 3 && chain.nr_out == 1 && chain.nr_in == 2 &&
	   chain.out_len == 16 && chain.in_len == 513, "a chain of three is found");
	ok(chain.iov[2].iov_base == ram.host + LOW, "high memory lies behind low memory");
	vq_unpop(&vq);
	ok(pop() == VQ_CHAIN && pop() == VQ_EMPTY, "a chain can be put back");
	vq_push(&vq, &chain, 7);
	ok(used()->idx == 1 && used()->ring[0].id == 3 && used()->ring[0].len == 7,
	   "it comes back used");
}

static void test_indirect(void)
{
	fresh();
	set(desc(0), INDIRECT, 3 * 16, VRING_DESC_F_INDIRECT, 0);
	set(indirect(0), DATA, 16, VRING_DESC_F_NEXT, 2);
	set(indirect(2), DATA, 32, VRING_DESC_F_WRITE, 0);
	offer(0);
	ok(pop() == VQ_CHAIN && chain.nr_out == 1 && chain.nr_in == 1 && chain.in_len == 32,
	   "an indirect table is followed");

	set(indirect(0), INDIRECT, 16, VRING_DESC_F_INDIRECT, 0);
	offer(0);
	ok(pop() == VQ_BROKEN, "a table inside a table is refused");

	fresh();
	set(desc(0), INDIRECT, 40, VRING_DESC_F_INDIRECT, 0);
	offer(0);
	ok(pop() == VQ_BROKEN, "a table of two and a half entries is refused");

	fresh();
	set(desc(0), INDIRECT, 0, VRING_DESC_F_INDIRECT, 0);
	offer(0);
	ok(pop() == VQ_BROKEN, "an empty table is refused");

	fresh();
	set(desc(0), LOW - 16, 32, VRING_DESC_F_INDIRECT, 0);
	offer(0);
	ok(pop() == VQ_BROKEN, "a table that runs out of memory is refused");

	fresh();
	set(desc(0), INDIRECT, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 1);
	set(indirect(0), DATA, 16, 0, 0);
	offer(0);
	ok(pop() == VQ_BROKEN, "a table that is not the last of its chain is refused");

	fresh();
	set(desc(0), 0, (VQ_MAX_SEGS + 1) * 16, VRING_DESC_F_INDIRECT, 0);
	offer(0);
	ok(pop() == VQ_BROKEN, "a table longer than the longest queue is refused");

	fresh();
	set(desc(0), INDIRECT, 16, VRING_DESC_F_INDIRECT, 0);
	set(indirect(0), DATA, 16, VRING_DESC_F_NEXT, 0);
	offer(0);
	ok(pop() == VQ_BROKEN, "a table that bites its tail is refused");
}

static void test_hostile(void)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
		const char *what;
	} bad[] = {
		{ LOW, 1, "memory that is not there" },
		{ LOW - 8, 16, "a buffer over the end of memory" },
		{ UINT64_MAX - 8, 16, "an address that wraps" },
		{ RAM_HIGH_BASE + HIGH - 1, 2, "a buffer over the end of high memory" },
		{ RAM_HIGH_BASE - 1, 2, "a buffer from the hole into high memory" },
		{ DATA, UINT32_MAX, "a length of 4 GiB" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		fresh();
		set(desc(0), bad[i].addr, bad[i].len, 0, 0);
		offer(0);
		ok(pop() == VQ_BROKEN, bad[i].what);
	}

	fresh();
	set(desc(0), DATA, 1, VRING_DESC_F_NEXT, 0);
	offer(0);
	ok(pop() == VQ_BROKEN, "a chain that bites its tail is refused");

	fresh();
	set(desc(0), DATA, 1, VRING_DESC_F_NEXT, SIZE);
	offer(0);
	ok(pop() == VQ_BROKEN, "a link out of the table is refused");

	fresh();
	offer(SIZE);
	ok(pop() == VQ_BROKEN, "a head out of the table is refused");

	fresh();
	avail()->idx = SIZE + 1;
	ok(pop() == VQ_BROKEN, "more requests than places are refused");

	fresh();
	set(desc(0), DATA, 1, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1);
	set(desc(1), DATA, 1, 0, 0);
	offer(0);
	ok(pop() == VQ_BROKEN, "a readable buffer behind a writable one is refused");

	fresh();
	vq.used_gpa = LOW - 8;
	ok(!vq_enable(&vq) && !vq.enabled, "a ring that runs out of memory is refused");
	vq.used_gpa = USED + 2;
	ok(!vq_enable(&vq), "a ring that is not aligned is refused");
	vq.used_gpa = UINT64_MAX - 3;
	ok(!vq_enable(&vq), "a ring that wraps is refused");
}

static void test_events(void)
{
	fresh();
	ok(!vq_should_interrupt(&vq), "nothing was done, nobody is told");
	vq_push(&vq, &chain, 0);
	ok(vq_should_interrupt(&vq), "without a wish the guest is told");
	avail()->flags = VRING_AVAIL_F_NO_INTERRUPT;
	vq_push(&vq, &chain, 0);
	ok(!vq_should_interrupt(&vq), "with the flag it is not");
	vq_disable_notify(&vq);
	ok(used()->flags == VRING_USED_F_NO_NOTIFY, "notifications can be switched off");
	offer(0);
	ok(vq_enable_notify(&vq) && !used()->flags, "what came meanwhile is seen");

	fresh();
	vq.event_idx = true;
	vq.next_used = vq.signalled = 0xffff;
	avail()->ring[SIZE] = 0;
	vq_push(&vq, &chain, 0);
	ok(!vq_should_interrupt(&vq), "the event is not there yet");
	vq_push(&vq, &chain, 0);
	ok(vq_should_interrupt(&vq), "the event is passed, over the wrap");
}

static void test_iov(void)
{
	char a[3] = "abc", b[1] = "d", c[4] = "efgh", out[8] = "";
	struct iovec iov[] = { { a, 3 }, { b, 1 }, { c, 4 } }, *p = iov;
	unsigned int nr = 3;

	ok(iov_copy_out(out, iov, 3, 6) == 6 && !memcmp(out, "abcdef", 6), "gathers");
	ok(iov_copy_in(iov, 3, "ABCDEFGHIJ", 10) == 8 && !memcmp(c, "EFGH", 4), "scatters");
	iov_skip(&p, &nr, 5);
	ok(nr == 1 && p->iov_len == 3 && *(char *)p->iov_base == 'F', "skips");
	iov_skip(&p, &nr, 3);
	ok(nr == 0, "skips to the end");
}

static atomic_bool stop;

/* The guest's other CPU: rewrites the rings at any time. */
static void *scribbler(void *arg)
{
	uint64_t seed = 0x9e3779b97f4a7c15;

	(void)arg;
	while (!atomic_load(&stop)) {
		uint64_t r = rnd(&seed);
		struct vring_desc *d = r & 1 ? desc(r >> 8 & 7) : indirect(r >> 8 & 7);

		WRITE_ONCE(d->addr, r >> 16 & 0x1ffff);
		WRITE_ONCE(d->len, rnd(&seed) & 0xffff);
		WRITE_ONCE(d->flags, r >> 40 & 7);
		WRITE_ONCE(d->next, r >> 48 & 15);
		WRITE_ONCE(avail()->ring[r >> 56 & 7], rnd(&seed) & 15);
		WRITE_ONCE(avail()->idx, READ_ONCE(vq.next_avail) + (r >> 60));
	}
	return NULL;
}

static bool chain_is_sound(void)
{
	if (chain.nr_out + chain.nr_in > VQ_MAX_SEGS)
		return false;
	for (unsigned int i = 0; i < chain.nr_out + chain.nr_in; i++) {
		uint8_t *p = chain.iov[i].iov_base;

		if (p < ram.host || chain.iov[i].iov_len > LOW + HIGH ||
		    p + chain.iov[i].iov_len > ram.host + LOW + HIGH)
			return false;
	}
	return true;
}

static void test_scribbler(void)
{
	unsigned int chains = 0;
	bool sound = true;
	pthread_t thread;

	fresh();
	pthread_create(&thread, NULL, scribbler, NULL);
	/* enough of them, or ten seconds' worth of nothing */
	for (unsigned int i = 0; i < 200000000 && chains < 20000; i++) {
		if (pop() != VQ_CHAIN)
			continue;
		sound &= chain_is_sound();
		chains++;
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	ok(sound && chains, "rings that change while they are read lead nowhere else");
}

int main(void)
{
	ram.host = mmap(NULL, LOW + HIGH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);
	ram.low_size = LOW;
	ram.high_size = HIGH;
	test_good();
	test_indirect();
	test_hostile();
	test_events();
	test_iov();
	test_scribbler();
	return tap_end();
}
