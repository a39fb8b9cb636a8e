// SPDX-License-Identifier: GPL-2.0
/*
 * The dirty log over many readings: what was idle for long, and a copy that
 * is made while the guest writes.
 */
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "vm.h"

#define LOG_GPA		0x40000000ul
#define LOG_SIZE	(16ul << 20)
#define PAGE		4096ul
#define PAGES		(LOG_SIZE / PAGE)

FIXTURE(log)
{
	struct vm *vm;
	struct vcpu *v;
	uint8_t *mem;
	uint64_t first;		/* of the slot's pages: the first of LOG_GPA is 0 */
};

/*
 * Where the slot begins: with a table of nested pages, or in the midst of one. QEMU's
 * memory below 4 GiB does the latter.
 */
FIXTURE_VARIANT(log) { uint64_t first; bool by_hand; };
FIXTURE_VARIANT_ADD(log, whole_tables) { 0, false };
FIXTURE_VARIANT_ADD(log, after_192_pages) { 192, false };
FIXTURE_VARIANT_ADD(log, after_5_pages) { 5, false };
FIXTURE_VARIANT_ADD(log, by_hand) { 0, true };

FIXTURE_SETUP(log)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, .args = { 1 } };

	self->vm = vm_new(4 << 20, 0);
	self->v = vcpu_new(self->vm, 0);
	vcpu_mode(self->v, MODE_LONG);
	if (variant->by_hand)
		ASSERT_EQ(ioctl(self->vm->fd, KVM_ENABLE_CAP, &cap), 0);
	self->first = variant->first;
	self->mem = mmap(NULL, LOG_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(self->mem, MAP_FAILED);
	vm_slot(self->vm, 1, LOG_GPA + self->first * PAGE, LOG_SIZE - self->first * PAGE,
		self->mem + self->first * PAGE, KVM_MEM_LOG_DIRTY_PAGES);
}

FIXTURE_TEARDOWN(log)
{
	vm_free(self->vm);
	munmap(self->mem, LOG_SIZE);
}

static void start(struct vcpu *v, uint64_t gpa, uint64_t step, uint64_t count, uint64_t add)
{
	struct kvm_regs r = {
		.rip = GUEST_CODE, .rflags = 0x202, .rsp = GUEST_STACK,
		.rdi = gpa, .rsi = step, .rcx = count, .rax = add,
	};

	vcpu_set_regs(v, &r);
}

/* @bits: one for each page of LOG_GPA, those before the slot clear. */
static bool read_log(struct vm *vm, uint64_t first, bool by_hand, uint64_t *bits)
{
	static uint64_t got[PAGES / 64];
	struct kvm_dirty_log log = { .slot = 1, .dirty_bitmap = got };
	struct kvm_clear_dirty_log clear = {
		.slot = 1, .num_pages = PAGES - first, .dirty_bitmap = got,
	};

	memset(got, 0xff, sizeof(got));
	if (ioctl(vm->fd, KVM_GET_DIRTY_LOG, &log) ||
	    (by_hand && ioctl(vm->fd, KVM_CLEAR_DIRTY_LOG, &clear)))
		return false;
	memset(bits, 0, PAGES / 8);
	for (uint64_t i = first; i < PAGES; i++)
		bits[i / 64] |= (got[(i - first) / 64] >> (i - first) % 64 & 1) << i % 64;
	return true;
}

/* RDI: address, RSI: step, RCX: count, RAX: what to add; without it, it is only read. */
GUEST(walk, 64, "test %rax, %rax\n jz 2f\n 1: add %rax, (%rdi)\n"
		"add %rsi, %rdi\n dec %rcx\n jnz 1b\n" DONE
		"2: mov (%rdi), %rbx\n add %rsi, %rdi\n dec %rcx\n jnz 2b\n" DONE);

/*
 * Nobody writes between some of the readings, once, twice and more often; reads count for nothing.
 */
TEST_F(log, a_page_that_was_idle_is_written)
{
	uint64_t bits[PAGES / 64], i, page, other;

	vm_load(self->vm, walk);
	start(self->v, LOG_GPA + self->first * PAGE, PAGE, PAGES - self->first, 1);
	ASSERT_TRUE(vcpu_run_done(self->v));
	ASSERT_TRUE(read_log(self->vm, self->first, variant->by_hand, bits));
	for (i = self->first; i < PAGES; i++)
		ASSERT_EQ(bits[i / 64] >> i % 64 & 1, 1);
	for (unsigned int round = 0; round < 40; round++) {
		for (unsigned int idle = 0; idle < round % 5; idle++) {
			ASSERT_TRUE(read_log(self->vm, self->first, variant->by_hand, bits));
			for (i = 0; i < PAGES / 64; i++)
				ASSERT_EQ(bits[i], 0);
			if (round % 3)
				continue;
			start(self->v, LOG_GPA + 600 * PAGE, 100 * PAGE, 20, 0);
			ASSERT_TRUE(vcpu_run_done(self->v));
		}
		/* Every other time a page that was written last time too. */
		page = 500 + (round & ~1u) * 37;
		start(self->v, LOG_GPA + page * PAGE, 513 * PAGE, 3, 1);
		ASSERT_TRUE(vcpu_run_done(self->v));
		/* And one that the VMM has discarded. */
		other = 3100 + round;
		ASSERT_EQ(madvise(self->mem + other * PAGE, PAGE, MADV_DONTNEED), 0);
		start(self->v, LOG_GPA + other * PAGE, PAGE, 1, 1);
		ASSERT_TRUE(vcpu_run_done(self->v));
		ASSERT_TRUE(read_log(self->vm, self->first, variant->by_hand, bits));
		for (i = 0; i < PAGES; i++) {
			ASSERT_EQ(bits[i / 64] >> i % 64 & 1,
				  i == page || i == page + 513 || i == page + 1026 || i == other) {
				TH_LOG("round %u, page %lu", round, i);
			}
		}
	}
}

/* RCX times: one page, of a table that changes each 8192 times. */
GUEST(writes, 64, "1: imul $1103515245, %rbx, %rbx\n add $12345, %rbx\n"
		  "mov %rbx, %rax\n shr $16, %rax\n and $0x1ff, %eax\n"
		  "mov %rcx, %rdx\n shr $13, %rdx\n and $7, %edx\n"
		  "shl $9, %edx\n or %edx, %eax\n cmp %rsi, %rax\n jb 2f\n"
		  "shl $12, %rax\n incq (%rdi, %rax)\n 2: dec %rcx\n jnz 1b\n" DONE);

static volatile bool over;

static void *runs(void *v)
{
	bool ok = vcpu_run_done(v);

	over = true;
	return ok ? v : NULL;
}

static uint64_t copy(uint8_t *to, const uint8_t *from, const uint64_t *bits)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < PAGES; i++) {
		if (bits[i / 64] >> i % 64 & 1) {
			memcpy(to + i * PAGE, from + i * PAGE, PAGE);
			n++;
		}
	}
	return n;
}

/*
 * What a live migration does: the copy is whole when the guest has stopped
 * and the log was read once more.
 */
TEST_F(log, a_copy_of_a_guest_that_writes)
{
	uint64_t bits[PAGES / 64], rounds = 0, copied = 0;
	uint8_t *shadow = calloc(1, LOG_SIZE);
	pthread_t t;
	void *ok;

	vm_load(self->vm, writes);
	start(self->v, LOG_GPA, self->first, 1000000, 0);
	over = false;
	ASSERT_EQ(pthread_create(&t, NULL, runs, self->v), 0);
	for (; !over; rounds++) {
		ASSERT_TRUE(read_log(self->vm, self->first, variant->by_hand, bits));
		copied += copy(shadow, self->mem, bits);
		usleep(rounds % 16 == 15 ? 5000 : 200);
	}
	pthread_join(t, &ok);
	ASSERT_NE(ok, NULL);
	ASSERT_TRUE(read_log(self->vm, self->first, variant->by_hand, bits));
	copied += copy(shadow, self->mem, bits);
	TH_LOG("%lu readings, %lu pages copied", rounds, copied);
	for (uint64_t i = 0; i < PAGES; i++) {
		ASSERT_EQ(memcmp(shadow + i * PAGE, self->mem + i * PAGE, PAGE), 0) {
			TH_LOG("page %lu", i);
		}
	}
	free(shadow);
}

TEST_HARNESS_MAIN
