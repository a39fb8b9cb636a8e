// SPDX-License-Identifier: GPL-2.0
/*
 * Faults, zaps, ageing, logs read and cleared, one after the other in any order, and a guest that
 * goes on in the midst of each: wherever a lock is let go, and before each flush, by way of what
 * its CPU has cached until then. What must hold is checked at each access and each taking back
 * (mmu_host.h), and that the log misses no write.
 */
#include "mmu_host.h"

#define G	(512 + 192)	/* the slot begins and ends in the midst of tables */
#define AT	192
#define N	(PAGES - 2 * AT)

static u64 copied[PAGES];
static u32 slot_flags;
static unsigned long inside;

static bool cpu_access(u64 page, bool write)
{
	u64 e = cpu_translate(&vcpus[0], G + page, write), pfn = (e & mmu.pt.addr) >> 12;

	if (!e)
		return false;
	CHECK_MSG(live[pfn], "frame %llu is not the guest's any more", (unsigned long long)pfn);
	if (write) {
		CHECK_MSG(!wprotected[pfn], "frame %llu is protected", (unsigned long long)pfn);
		written[pfn] = 1;
		stamp[page]++;
	}
	return true;
}

static u64 any_page(void)
{
	return rnd() % 2 ? rnd() % 24 * 61 % N : rnd() % N;
}

/* In the midst of something the host's part of a fault has to wait. */
static void guest(bool may_wait)
{
	for (int n = rnd() % 6; n--;) {
		u64 page = any_page(), gpa = (G + page) << PAGE_SHIFT;
		bool write = rnd() % 2;
		u32 access = write ? WAFER_FAULT_WRITE : WAFER_FAULT_READ;

		if (cpu_access(page, write))
			continue;
		if (wafer_mmu_fault_fast(&vcpus[0].ctx, gpa, access) == WAFER_FAULT_SLOW &&
		    may_wait)
			CHECK_EQ(wafer_mmu_fault(&vcpus[0].ctx, gpa, access), WAFER_FAULT_FIXED);
		cpu_access(page, write);
	}
}

static void meanwhile(void)
{
	static bool busy;

	if (busy || rnd() % 2)
		return;
	busy = true;
	guest(false);
	inside++;
	busy = false;
}

static void flush(struct wafer_mmu *m)
{
	if (shim_unlocked)
		shim_unlocked();
	drop_tlb(&vcpus[0]);
}

static void copy(const unsigned long *map, u64 first, u64 n)
{
	for (u64 i = 0; i < n; i++)
		if (test_bit(i, map))
			copied[first + i] = stamp[first + i];
}

/* Reads the log; by hand, clears a part of it, which is what is copied. */
static void collect(bool all)
{
	DECLARE_BITMAP(map, N);
	struct kvm_dirty_log log = { .slot = 1, .dirty_bitmap = map };
	struct kvm_clear_dirty_log clear = { .slot = 1, .num_pages = N, .dirty_bitmap = map };

	if (!all && rnd() % 8 == 0) {
		log.dirty_bitmap = NULL;
		CHECK_EQ(wafer_get_dirty_log(&mmu, &log, NULL), (u64)-EFAULT);
		return;
	}
	memset(map, 0xff, sizeof(map));
	CHECK_EQ(wafer_get_dirty_log(&mmu, &log, NULL), 0);
	if (mmu.manual_protect) {
		if (!all) {
			clear.first_page = rnd() % (N / 64) * 64;
			clear.num_pages = min(64 + rnd() % 8 * 64, N - clear.first_page);
			clear.dirty_bitmap = map + clear.first_page / 64;
		}
		CHECK_EQ(wafer_clear_dirty_log(&mmu, &clear, NULL), 0);
	}
	copy(clear.dirty_bitmap, clear.first_page, clear.num_pages);
}

static void host(void)
{
	struct shrink_control sc = { .nr_to_scan = 1 };
	u64 n = 1 + rnd() % (rnd() % 4 ? 30 : 700), page = rnd() % (PAGES - n);

	switch (rnd() % 8) {
	case 0 ... 1:
		host_unmap(page, n);
		break;
	case 2:
		host_map_huge(page);
		break;
	case 3:
		host_protect(page, n);
		break;
	case 4 ... 5:
		wafer_notifier_ops.clear_young(&mmu.notifier, &host_mm, HVA + page * PAGE_SIZE,
					       HVA + (page + n) * PAGE_SIZE);
		break;
	case 6:
		shim_shrinker->scan_objects(shim_shrinker, &sc);
		break;
	default:
		while (n--)
			if (!host_is_huge(page + n))
				host_map(page + n, true);
	}
}

/* Logged or not. What is logged from now on is copied first. */
static void toggle(void)
{
	slot_flags ^= KVM_MEM_LOG_DIRTY_PAGES;
	CHECK_EQ(set_slot(1, G, AT, N, slot_flags), 0);
	memcpy(copied, stamp, sizeof(copied));
}

static void one_run(const struct wafer_pt_format *f, bool ad, u32 manual)
{
	host_init();
	vm_create(f, ad, 1);
	mmu.flush = flush;
	CHECK_EQ(wafer_mmu_set_manual_protect(&mmu, manual), 0);
	vcpus_create();
	wafer_mmu_setup();
	memset(copied, 0, sizeof(copied));
	slot_flags = KVM_MEM_LOG_DIRTY_PAGES;
	CHECK_EQ(set_slot(1, G, AT, N, slot_flags), 0);
	inside = 0;
	for (int i = 0; i < 30000 && !tap_failures; i++) {
		shim_unlocked = meanwhile;
		if (rnd() % 2)
			guest(true);
		else if (rnd() % 2)
			host();
		else if (rnd() % 64 == 0)
			toggle();
		else if (slot_flags)
			collect(false);
		shim_unlocked = NULL;
		if (i % 50 || !slot_flags)
			continue;
		/* Nobody writes in the midst of this one. */
		collect(true);
		for (int k = 0; k < N; k++)
			CHECK_MSG(copied[k] == stamp[k],
				  "turn %d, page %d: %llu of %llu writes seen", i, k,
				  (unsigned long long)copied[k], (unsigned long long)stamp[k]);
		rcu_run();
	}
	CHECK(inside > 10000);
	vm_destroy();
	host_exit();
}

TEST(by_dirty_bits)
{
	one_run(&wafer_npt_format, true, 0);
}

TEST(by_write_protection)
{
	one_run(&wafer_ept_format, false, 0);
}

TEST(by_hand)
{
	one_run(&wafer_ept_format, true, KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE);
}

TEST(by_hand_all_set_at_first)
{
	one_run(&wafer_npt_format, true,
		KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET);
}

TAP_MAIN()
