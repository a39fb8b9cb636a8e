// SPDX-License-Identifier: GPL-2.0
/*
 * Slots, faults, dirty logs and notifiers, one at a time: what each call does and what it refuses.
 */
#include "mmu_host.h"

#define G	512	/* first frame of the tests' main slot: congruent to its memory */

static void begin(const struct wafer_pt_format *f, bool ad)
{
	flushes = 0;
	host_init();
	vm_create(f, ad, 1);
	vcpus_create();
}

static void end(void)
{
	vm_destroy();
	host_exit();
}

static int fault(u64 gfn, u32 access)
{
	int r = wafer_mmu_fault_fast(&vcpus[0].ctx, gfn << 12, access);

	if (r == WAFER_FAULT_SLOW) {
		vcpus[0].slow++;
		r = wafer_mmu_fault(&vcpus[0].ctx, gfn << 12, access);
	}
	return r;
}

/* An access as the guest makes it, with its faults. */
static bool touch(u64 gfn, bool write)
{
	int i;

	if (vcpus[0].hazard)
		drop_tlb(&vcpus[0]);
	vcpus[0].hazard = 0;
	for (i = 0; i < 3; i++) {
		u64 e = cpu_translate(&vcpus[0], gfn, write);

		if (e) {
			CHECK(live[(e & mmu.pt.addr) >> 12]);
			if (write)
				written[(e & mmu.pt.addr) >> 12] = 1;
			return true;
		}
		if (fault(gfn, write ? WAFER_FAULT_WRITE : WAFER_FAULT_READ) != WAFER_FAULT_FIXED)
			return false;
	}
	FAIL("the fault at frame %llu does not end", (unsigned long long)gfn);
	return false;
}

TEST(region_rules)
{
	static const struct {
		u32 slot, flags;
		u64 gpa, size, hva;
		int err;
		const char *field;
	} bad[] = {
		{ 0x10000, 0, 0, 4096, HVA, EINVAL, "slot" },
		{ 32764, 0, 0, 4096, HVA, EINVAL, "slot" },
		{ 9, 4, 0, 4096, HVA, EINVAL, "flags" },
		{ 9, 0, 0, 4095, HVA, EINVAL, "memory_size" },
		{ 9, 0, 0, 1ull << 43, HVA, EINVAL, "memory_size" },
		{ 9, 0, 1, 4096, HVA, EINVAL, "guest_phys_addr" },
		{ 9, 0, -4096ull, 8192, HVA, EINVAL, "guest_phys_addr" },
		{ 9, 0, 1ull << 46, 4096, HVA, EINVAL, "guest_phys_addr" },
		{ 9, 0, (1ull << 46) - 4096, 8192, HVA, EINVAL, "guest_phys_addr" },
		{ 9, 0, 0, 4096, HVA + 8, EINVAL, "userspace_addr" },
		{ 9, 0, 0, 4096, TASK_SIZE_MAX, EINVAL, "userspace_addr" },
		{ 9, 0, 0, 8192, -4096ull, EINVAL, "userspace_addr" },
		{ 9, 0, 0, 0, HVA, EINVAL, "slot" },
		{ 1, 0, G << 12, 8192, HVA, EINVAL, "memory_size" },
		{ 1, 0, G << 12, 4096 * 600, HVA + 4096, EINVAL, "userspace_addr" },
		{ 1, KVM_MEM_READONLY, G << 12, 4096 * 600, HVA, EINVAL, "flags" },
		{ 9, 0, (G + 599) << 12, 4096, HVA, EEXIST, "guest_phys_addr" },
		{ 9, 0, (G - 1) << 12, 8192, HVA, EEXIST, "guest_phys_addr" },
		{ 2, 0, (G + 590) << 12, 4096 * 10, HVA, EEXIST, "guest_phys_addr" },
	};
	int i;

	begin(&wafer_npt_format, true);
	CHECK_EQ(set_slot(1, G, 0, 600, 0), 0);
	CHECK_EQ(set_slot(1, G, 0, 600, 0), 0);
	CHECK_EQ(set_slot(2, G + 600, 0, 10, 0), 0);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		struct kvm_userspace_memory_region mr = {
			.slot = bad[i].slot, .flags = bad[i].flags, .guest_phys_addr = bad[i].gpa,
			.memory_size = bad[i].size, .userspace_addr = bad[i].hva,
		};
		struct wafer_refusal r = { 0 };

		CHECK_MSG(wafer_set_memory_region(&mmu, &mr, &r) == -bad[i].err, "row %d", i);
		CHECK_MSG(r.field && !strcmp(r.field, bad[i].field), "row %d: field %s", i,
			  r.field);
	}
	CHECK_EQ(set_slot(2, G + 600, 0, 0, 0), 0);
	CHECK_EQ(set_slot(2, (1ull << 34) - 1, 0, 1, 0), 0);	/* the last frame of 46 bits */
	end();
}

/* Against a plain list: lookups, overlaps, changes in place and by a new table. */
TEST(table_of_many_slots)
{
	enum { N = 300 };
	u64 at[N] = { 0 };
	int i, k;

	begin(&wafer_npt_format, true);
	for (i = 0; i < 6000; i++) {
		int id = rnd() % N;
		u64 gfn = 1 + rnd() % 1000;
		bool taken = false;

		for (k = 0; k < N; k++)
			taken |= k != id && at[k] == gfn;
		if (at[id] && rnd() % 2) {
			CHECK_EQ(set_slot(id, at[id], 0, 0, 0), 0);
			at[id] = 0;
		} else {
			CHECK_EQ(set_slot(id, gfn, 0, 1, 0), taken ? (u64)-EEXIST : 0);
			if (!taken)
				at[id] = gfn;
		}
		if (i % 16)
			continue;
		for (gfn = 0; gfn < 1002; gfn++) {
			const struct wafer_slot *s = wafer_slot_find(&mmu, gfn);

			for (k = 0; k < N && (!at[k] || at[k] != gfn); k++)
				;
			CHECK_EQ(s ? s->id : N, k);
		}
		if (tap_failures)
			break;
	}
	end();
}

TEST(all_slots)
{
	int i;

	begin(&wafer_npt_format, true);
	for (i = 0; i < WAFER_MAX_SLOTS; i++)
		CHECK_EQ(set_slot(i, i * 2, 0, 1, 0), 0);
	CHECK_EQ(set_slot(WAFER_MAX_SLOTS, WAFER_MAX_SLOTS * 2, 0, 1, 0), (u64)-EINVAL);
	CHECK_EQ(wafer_slot_find(&mmu, 4000)->id, 2000);
	CHECK(!wafer_slot_find(&mmu, 4001));
	end();
}

TEST(fault_around)
{
	int i;

	begin(&wafer_npt_format, true);
	CHECK_EQ(set_slot(1, G + 3, 3, 600, 0), 0);
	for (i = 0; i < 40; i++)
		if (i != 8)
			host_map(i, true);
	CHECK(touch(G + 5, true));
	CHECK_EQ(vcpus[0].ctx.stat_fast, 1);
	for (i = 0; i < 20; i++)
		CHECK_MSG(!!nested(G + i, NULL) == (i >= 3 && i < 16 && i != 8), "page %d", i);
	CHECK_EQ(nested(G + 5, NULL) & (mmu.pt.f->dirty | mmu.pt.f->accessed),
		 mmu.pt.f->dirty | mmu.pt.f->accessed);
	CHECK(!(nested(G + 6, NULL) & (mmu.pt.f->dirty | mmu.pt.f->accessed)));
	CHECK(nested(G + 6, NULL) & mmu.pt.f->write);
	CHECK(!touch(G + 2, false));	/* no slot */
	end();
}

TEST(large_pages)
{
	unsigned int level;

	begin(&wafer_ept_format, true);
	host_map_huge(0);
	host_map_huge(512);
	host_map_huge(1024);
	CHECK_EQ(set_slot(1, G, 0, 512, 0), 0);
	/* Not congruent; congruent, but the first block is cut. */
	CHECK_EQ(set_slot(2, 4096, 512 + 1, 600, 0), 0);
	CHECK_EQ(set_slot(3, 8192 + 1, 512 + 1, 1023, 0), 0);
	CHECK(touch(G + 300, true) && nested(G, &level) && level == 2);
	CHECK(touch(4096 + 7, true) && nested(4096 + 7, &level) && level == 1);
	CHECK(touch(8192 + 7, true) && nested(8192 + 7, &level) && level == 1);
	CHECK(touch(8192 + 512, true) && nested(8192 + 513, &level) && level == 2);
	CHECK_EQ(vcpus[0].slow, 0);
	/* The host splits its page. */
	host_unmap(100, 1);
	CHECK(!nested(G + 300, NULL));
	CHECK(touch(G + 300, false) && nested(G + 300, &level) && level == 1);
	end();
}

TEST(read_only_slot_and_holes)
{
	begin(&wafer_npt_format, true);
	CHECK_EQ(set_slot(1, G, 0, 64, KVM_MEM_READONLY), 0);
	host_map(4, true);
	CHECK_EQ(fault(G + 4, WAFER_FAULT_WRITE), WAFER_FAULT_MMIO);
	CHECK(touch(G + 4, false) && !(nested(G + 4, NULL) & mmu.pt.f->write));
	CHECK_EQ(fault(G + 64, WAFER_FAULT_READ), WAFER_FAULT_MMIO);
	/* A slot with nothing behind it. */
	CHECK_EQ(set_slot(2, 4096, PAGES, 1, 0), 0);
	CHECK_EQ(fault(4096, WAFER_FAULT_READ), (u64)-EFAULT);
	end();
}

TEST(move_and_delete_unmap)
{
	int i;

	begin(&wafer_npt_format, true);
	CHECK_EQ(set_slot(1, G, 0, 600, KVM_MEM_LOG_DIRTY_PAGES), 0);
	for (i = 0; i < 600; i++)
		CHECK(touch(G + i, true));
	i = flushes;
	CHECK_EQ(set_slot(1, 4096, 0, 600, KVM_MEM_LOG_DIRTY_PAGES), 0);
	CHECK_EQ(flushes, i + 1);
	CHECK(!nested(G + 77, NULL) && !touch(G + 77, false));
	CHECK_EQ(wafer_slot_find(&mmu, 4096)->dirty[1], ~0ul);	/* the log has moved along */
	CHECK(touch(4096 + 77, true));
	CHECK_EQ(set_slot(1, 0, 0, 0, 0), 0);
	CHECK(!nested(4096 + 77, NULL));
	/* Of 600 pages the whole 512 give their table back. */
	CHECK_EQ(atomic_long_read(&mmu.pages), 1 + 2 + 1);
	end();
}

static int get_log(unsigned long *map)
{
	struct kvm_dirty_log log = { .slot = 1, .dirty_bitmap = map };

	return wafer_get_dirty_log(&mmu, &log, NULL);
}

static int clear_log(u64 first, u32 n, unsigned long *map)
{
	struct kvm_clear_dirty_log log = {
		.slot = 1, .first_page = first, .num_pages = n, .dirty_bitmap = map
	};

	return wafer_clear_dirty_log(&mmu, &log, NULL);
}

static void check_bits(const unsigned long *map, unsigned int n, const unsigned int *want, int line)
{
	unsigned int i, k = 0;

	for (i = 0; i < n; i++) {
		bool expected = want[k] == i;

		k += expected;
		CHECK_MSG(!!test_bit(i, map) == expected, "line %d: page %u", line, i);
	}
}

#define CHECK_BITS(map, ...) \
	check_bits(map, 600, (const unsigned int[]){ __VA_ARGS__, ~0u }, __LINE__)

/* Between the look in the window and the slow way a slot may get another address, or go. */
TEST(moved_on_the_slow_way)
{
	begin(&wafer_npt_format, true);
	CHECK_EQ(set_slot(1, G, PAGES, 16, 0), 0);	/* nothing can come there */
	CHECK_EQ(wafer_mmu_fault_fast(&vcpus[0].ctx, G << 12, WAFER_FAULT_READ), WAFER_FAULT_SLOW);
	CHECK_EQ(set_slot(1, G, 0, 0, 0), 0);
	CHECK_EQ(set_slot(1, G, 300, 16, 0), 0);
	CHECK_EQ(wafer_mmu_fault(&vcpus[0].ctx, G << 12, WAFER_FAULT_READ), WAFER_FAULT_FIXED);
	CHECK(touch(G, false));
	CHECK_EQ(set_slot(1, G, 0, 0, 0), 0);
	CHECK_EQ(set_slot(1, G, PAGES, 16, 0), 0);
	CHECK_EQ(wafer_mmu_fault(&vcpus[0].ctx, G << 12, WAFER_FAULT_READ), -EFAULT);
	CHECK_EQ(wafer_mmu_fault_fast(&vcpus[0].ctx, G << 12, WAFER_FAULT_READ), WAFER_FAULT_SLOW);
	CHECK_EQ(set_slot(1, G, 0, 0, 0), 0);
	CHECK_EQ(wafer_mmu_fault(&vcpus[0].ctx, G << 12, WAFER_FAULT_READ), WAFER_FAULT_MMIO);
	end();
}

TEST(classic_dirty_log)
{
	int ad;

	for (ad = 0; ad < 2; ad++) {
		DECLARE_BITMAP(map, 640);
		int i;

		begin(ad ? &wafer_ept_format : &wafer_npt_format, ad);
		host_map_huge(0);
		CHECK_EQ(set_slot(1, G, 0, 600, 0), 0);
		CHECK_EQ(get_log(map), (u64)-ENOENT);
		CHECK(touch(G + 5, true) && touch(G + 520, true));
		CHECK_EQ(set_slot(1, G, 0, 600, KVM_MEM_LOG_DIRTY_PAGES), 0);
		CHECK_EQ(get_log(map), 0);
		/* What was written before is not in it; the host learns it when the entry goes. */
		CHECK_BITS(map, ~0u);
		CHECK(!fake_dirty[HUGE_PFN + 512 * next_huge]);
		CHECK(touch(G + 5, true) && touch(G + 521, true) && touch(G + 7, false));
		host_unmap(521, 1);				/* harvested as it goes */
		wafer_mark_dirty(&vcpus[0].ctx, G + 599);
		CHECK_EQ(get_log(NULL), (u64)-EFAULT);		/* costs nothing */
		CHECK_EQ(get_log(map), 0);
		CHECK_BITS(map, 5, 521, 599);
		CHECK_EQ(get_log(map), 0);
		CHECK_BITS(map, ~0u);
		for (i = 0; i < 3; i++) {
			CHECK(touch(G + 5, true));
			CHECK_EQ(get_log(map), 0);
			CHECK_BITS(map, 5);
		}
		host_protect(0, 512);
		CHECK(touch(G + 6, true));
		CHECK_EQ(get_log(map), 0);
		CHECK_BITS(map, 6);
		CHECK_EQ(set_slot(1, G, 0, 600, 0), 0);
		CHECK_EQ(get_log(map), (u64)-ENOENT);
		end();
	}
}

static unsigned int depth;
static void write_and_unmap_page_5(struct wafer_mmu *m)
{
	if (!depth++) {
		CHECK(touch(G + 5, true));
		host_unmap(5, 1);
	}
	flush_all(m);
	depth--;
}

/* What is logged once the flush has begun is not taken: its writer may go on until the next one. */
TEST(logged_during_the_flush)
{
	DECLARE_BITMAP(map, 640);

	begin(&wafer_npt_format, true);
	CHECK_EQ(set_slot(1, G, 0, 600, KVM_MEM_LOG_DIRTY_PAGES), 0);
	CHECK(touch(G + 7, true));
	mmu.flush = write_and_unmap_page_5;
	CHECK_EQ(get_log(map), 0);
	CHECK_BITS(map, 7);
	mmu.flush = flush_all;
	CHECK_EQ(get_log(map), 0);
	CHECK_BITS(map, 5);
	end();
}

TEST(after_the_log_pages_are_large_again)
{
	unsigned int level;

	begin(&wafer_npt_format, true);
	host_map_huge(0);
	host_map(520, true);
	CHECK_EQ(set_slot(1, G, 0, 600, KVM_MEM_LOG_DIRTY_PAGES), 0);
	CHECK(touch(G + 9, true) && touch(G + 520, true));
	CHECK(nested(G + 9, &level) && level == 1);
	CHECK_EQ(set_slot(1, G, 0, 600, 0), 0);
	CHECK(nested(G + 520, NULL));			/* can't be: stays */
	CHECK(touch(G + 9, true) && nested(G + 9, &level) && level == 2);
	end();
}

TEST(manual_protect)
{
	DECLARE_BITMAP(map, 640);
	DECLARE_BITMAP(which, 640) = { 0 };
	unsigned int level;

	begin(&wafer_npt_format, true);
	CHECK_EQ(wafer_mmu_set_manual_protect(&mmu, 2), (u64)-EINVAL);
	CHECK_EQ(wafer_mmu_set_manual_protect(&mmu, 4), (u64)-EINVAL);
	CHECK_EQ(wafer_mmu_set_manual_protect(&mmu, 3), 0);
	host_map_huge(0);
	CHECK_EQ(set_slot(1, G, 0, 600, 0), 0);
	CHECK(touch(G + 5, true));
	CHECK_EQ(set_slot(1, G, 0, 600, KVM_MEM_LOG_DIRTY_PAGES), 0);
	CHECK(nested(G + 5, &level) && level == 2); /* nothing is split before the first clear */
	CHECK_EQ(get_log(map), 0);
	CHECK_EQ(map[0] & map[8], ~0ul);
	CHECK_EQ(map[9], (1ul << 24) - 1);
	CHECK_EQ(clear_log(0, 600, map), 0);
	CHECK(nested(G + 5, &level) && level == 1);
	CHECK_EQ(get_log(map), 0);
	CHECK_BITS(map, ~0u);
	CHECK(touch(G + 5, true) && touch(G + 70, true) && touch(G + 599, true));
	CHECK_EQ(get_log(map), 0);
	CHECK_BITS(map, 5, 70, 599);
	CHECK_EQ(get_log(map), 0);
	CHECK_BITS(map, 5, 70, 599);
	set_bit(70 - 64, which);
	CHECK_EQ(clear_log(64, 64, which), 0);
	CHECK_EQ(get_log(map), 0);
	CHECK_BITS(map, 5, 599);
	CHECK(touch(G + 70, true));
	CHECK_EQ(get_log(map), 0);
	CHECK_BITS(map, 5, 70, 599);
	CHECK_EQ(clear_log(1, 64, which), (u64)-EINVAL);
	CHECK_EQ(clear_log(64, 63, which), (u64)-EINVAL);
	CHECK_EQ(clear_log(640, 0, which), (u64)-EINVAL);
	CHECK_EQ(clear_log(576, 64, which), (u64)-EINVAL);
	CHECK_EQ(clear_log(-64ull, 128, which), (u64)-EINVAL);
	CHECK_EQ(clear_log(576, 24, NULL), (u64)-EFAULT);
	memset(which, 0xff, sizeof(which));
	CHECK_EQ(clear_log(576, 24, which), 0);
	CHECK_EQ(get_log(map), 0);
	CHECK_BITS(map, 5, 70);
	end();
}

TEST(ring_by_write_faults)
{
	struct kvm_dirty_gfn *e;
	int i;

	host_init();
	vm_create(&wafer_npt_format, true, 1);
	CHECK_EQ(wafer_ring_enable(&mmu, 4095), (u64)-EINVAL);
	CHECK_EQ(wafer_ring_enable(&mmu, 12288), (u64)-EINVAL);
	CHECK_EQ(wafer_ring_enable(&mmu, 1 << 21), (u64)-E2BIG);
	CHECK_EQ(wafer_ring_enable(&mmu, 4096), 0);
	CHECK_EQ(wafer_ring_enable(&mmu, 4096), (u64)-EINVAL);
	vcpus_create();
	CHECK_EQ(set_slot(1, G, 0, 600, 0), 0);
	CHECK(touch(G + 5, true));
	CHECK_EQ(set_slot(1, G, 0, 600, KVM_MEM_LOG_DIRTY_PAGES), 0);
	CHECK_EQ(get_log(NULL), (u64)-ENXIO);
	e = (void *)wafer_ring_page(&vcpus[0].ctx, 0);
	CHECK(e && !wafer_ring_page(&vcpus[0].ctx, 1));
	CHECK(touch(G + 5, true) && touch(G + 5, true) && touch(G + 6, false) &&
	      touch(G + 7, true));
	CHECK_EQ(e[0].flags, 1);
	CHECK_EQ(e[0].slot, 1);
	CHECK_EQ(e[0].offset, 5);
	CHECK_EQ(e[1].offset, 7);
	CHECK_EQ(e[2].flags, 0);
	e[0].flags = 2;
	e[0].slot = 77;			/* user space may write anything */
	CHECK_EQ(wafer_ring_reset(&mmu), 1);
	e[1].flags = 2;
	CHECK_EQ(wafer_ring_reset(&mmu), 1);
	CHECK(touch(G + 5, true) && touch(G + 7, true));
	CHECK_EQ(e[2].offset, 7);
	CHECK_EQ(e[3].flags, 0);
	for (i = 0; i < 191; i++) {
		CHECK(!wafer_ring_soft_full(&vcpus[0].ctx));
		CHECK(touch(G + 100 + i, true));
	}
	CHECK(wafer_ring_soft_full(&vcpus[0].ctx));
	/* Of the page that was told of last nothing more is told, until user space takes it. */
	i = vcpus[0].ctx.ring.head;
	for (int k = 0; k < 300; k++)
		wafer_mark_dirty(&vcpus[0].ctx, G + 590);
	CHECK_EQ(vcpus[0].ctx.ring.head, i + 1);
	e[i % 256].flags = 2;
	wafer_mark_dirty(&vcpus[0].ctx, G + 590);
	CHECK_EQ(vcpus[0].ctx.ring.head, i + 2);
	for (i = 0; i < 400; i++) /* more than there is room for: lost, and nothing overwritten */
		wafer_mark_dirty(&vcpus[0].ctx, G + i);
	CHECK_EQ(e[2].offset, 7);
	for (i = 0; i < 256; i++)
		e[i].flags = 2;
	CHECK_EQ(wafer_ring_reset(&mmu), 256);
	CHECK_EQ(wafer_ring_reset(&mmu), 0);
	end();
}

TEST(age)
{
	int ad;

	for (ad = 0; ad < 2; ad++) {
		begin(&wafer_ept_format, ad);
		CHECK_EQ(set_slot(1, G, 0, 600, 0), 0);
		host_map(5, true);
		CHECK(touch(G + 5, true));
		CHECK(wafer_notifier_ops.test_young(&mmu.notifier, &host_mm, HVA + 5 * PAGE_SIZE));
		CHECK(!wafer_notifier_ops.test_young(&mmu.notifier, &host_mm, HVA + 6 * PAGE_SIZE));
		CHECK(wafer_notifier_ops.clear_young(&mmu.notifier, &host_mm, HVA,
						     HVA + 8 * PAGE_SIZE));
		CHECK(!wafer_notifier_ops.test_young(&mmu.notifier, &host_mm, HVA + 5 * PAGE_SIZE));
		vcpus[0].hazard = 1;	/* until then the TLB hides it */
		CHECK(touch(G + 5, false));
		CHECK(wafer_notifier_ops.clear_flush_young(&mmu.notifier, &host_mm, HVA,
							   HVA + 8 * PAGE_SIZE));
		CHECK(!wafer_notifier_ops.clear_flush_young(&mmu.notifier, &host_mm, HVA,
							    HVA + 8 * PAGE_SIZE));
		host_unmap(5, 1);
		end();
	}
}

TEST(closed_ranges)
{
	int i;

	begin(&wafer_npt_format, true);
	CHECK_EQ(set_slot(1, G, 0, 600, 0), 0);
	for (i = 0; i < 64; i++)
		host_map(i, true);
	/* More at once than there are places, opened in another order. */
	for (i = 0; i < 8; i++)
		notify_start(i * 2, 1, MMU_NOTIFY_CLEAR);
	notify_start(40, 4, MMU_NOTIFY_UNMAP);
	for (i = 0; i < 8; i++)
		CHECK_EQ(wafer_mmu_fault_fast(&vcpus[0].ctx, (G + i * 2) << 12, 1),
			 WAFER_FAULT_SLOW);
	CHECK_EQ(wafer_mmu_fault_fast(&vcpus[0].ctx, (G + 50) << 12, 1), WAFER_FAULT_FIXED);
	CHECK(!nested(G + 41, NULL));
	for (i = 7; i >= 0; i--)
		notify_end(i * 2, 1);
	CHECK_EQ(wafer_mmu_fault_fast(&vcpus[0].ctx, (G + 41) << 12, 1), WAFER_FAULT_SLOW);
	notify_end(40, 4);
	CHECK_EQ(mmu.nr_invalid, 0);
	CHECK_EQ(wafer_mmu_fault_fast(&vcpus[0].ctx, (G + 41) << 12, 1), WAFER_FAULT_FIXED);
	/* Around a closed neighbour only the page itself is mapped. */
	host_unmap(0, 64);
	for (i = 0; i < 16; i++)
		host_map(i, true);
	notify_start(3, 1, MMU_NOTIFY_CLEAR);
	CHECK_EQ(wafer_mmu_fault_fast(&vcpus[0].ctx, (G + 8) << 12, 1), WAFER_FAULT_FIXED);
	for (i = 0; i < 16; i++)
		CHECK_EQ(!!nested(G + i, NULL), i == 8);
	notify_end(3, 1);
	/* Nothing maps there: no wait, no flush. */
	i = flushes;
	notify_start(700, 100, MMU_NOTIFY_UNMAP);
	notify_end(700, 100);
	CHECK_EQ(flushes, i);
	end();
}

static void open_page_5(void)
{
	shim_before_walk = NULL;
	notify_end(5, 1);
}

/* A CPU that is slow inside a section: the range is opened, and was closed when it began. */
TEST(opened_during_a_section)
{
	begin(&wafer_npt_format, true);
	CHECK_EQ(set_slot(1, G, 0, 600, 0), 0);
	host_map(5, true);
	notify_start(5, 1, MMU_NOTIFY_CLEAR);
	shim_before_walk = open_page_5;
	CHECK_EQ(wafer_mmu_fault_fast(&vcpus[0].ctx, (G + 5) << 12, 1), WAFER_FAULT_SLOW);
	CHECK(!nested(G + 5, NULL));
	if (shim_before_walk)		/* the section did not go that far */
		open_page_5();
	CHECK_EQ(wafer_mmu_fault_fast(&vcpus[0].ctx, (G + 5) << 12, 1), WAFER_FAULT_FIXED);
	end();
}

/* A walk that finds @e at @level. */
static bool walk_finds(u64 e, unsigned int level, hva_t hva, bool any_key,
		       struct wafer_host_page *h)
{
	u64 *ep = host_entry(hva, level), was = *ep;
	bool r;

	*ep = e;
	r = wafer_host_walk(&mmu, hva, any_key, h);
	*ep = was;
	return r;
}

TEST(host_entries)
{
	struct wafer_host_page h;
	struct wafer_pt *pt = &mmu.pt;

	begin(&wafer_ept_format, true);
	CHECK(walk_finds(0x1234567, 1, HVA, false, &h) && h.pfn == 0x1234 && h.writable &&
	      h.bits == pt->f->wb);
	CHECK(!walk_finds(0x1234566, 1, HVA, false, &h)); /* not present */
	CHECK(!walk_finds(0x1234563, 1, HVA, false, &h)); /* the kernel's */
	CHECK(walk_finds(0x1234565, 1, HVA, false, &h) && !h.writable);
	/* A protection key. */
	CHECK(!walk_finds(0x1234567 | 5ull << 59, 1, HVA, false, &h));
	CHECK(walk_finds(0x1234567 | 5ull << 59, 1, HVA, true, &h));
	CHECK(walk_finds(0x1234577, 1, HVA, false, &h) && h.bits == pt->f->uc);
	CHECK(walk_finds(0x1234767, 1, HVA, false, &h) &&
	      h.bits == (pt->f->wb | WAFER_PT_SPECIAL));
	CHECK(walk_finds(0x12000e7, 2, HVA + 0x5000, false, &h) && h.pfn == 0x1205 &&
	      h.bits == pt->f->wb);
	CHECK(walk_finds(0x12010e7, 2, HVA + 0x5000, false, &h) && h.pfn == 0x1205 &&
	      h.bits == pt->f->uc);
	end();
}

TEST(a_page_replaced_without_a_word)
{
	begin(&wafer_npt_format, true);
	CHECK_EQ(set_slot(1, G, 0, 600, 0), 0);
	host_map(5, false);
	CHECK_EQ(wafer_mmu_fault_fast(&vcpus[0].ctx, (G + 5) << 12, WAFER_FAULT_READ),
		 WAFER_FAULT_FIXED);
	host_pte[0][5] = 7ull << 12 | 7;
	CHECK_EQ(wafer_mmu_fault_fast(&vcpus[0].ctx, (G + 5) << 12, WAFER_FAULT_WRITE),
		 WAFER_FAULT_SLOW);
	CHECK_EQ(fault(G + 5, WAFER_FAULT_WRITE), WAFER_FAULT_FIXED);
	CHECK_EQ((nested(G + 5, NULL) & mmu.pt.addr) >> 12, 7);
	CHECK_EQ(flushes, 1);
	end();
}

TEST(no_memory)
{
	begin(&wafer_npt_format, true);
	CHECK_EQ(set_slot(1, G, 0, 600, 0), 0);
	host_map(5, true);
	fake_fail_after = 1;
	CHECK_EQ(wafer_mmu_fault_fast(&vcpus[0].ctx, (G + 5) << 12, 1), WAFER_FAULT_SLOW);
	CHECK_EQ(fault(G + 5, 1), (u64)-ENOMEM);
	fake_fail_after = -1;
	CHECK_EQ(fault(G + 5, 1), WAFER_FAULT_FIXED);
	end();
}

TEST(the_address_space_ends)
{
	begin(&wafer_npt_format, true);
	CHECK_EQ(set_slot(1, G, 0, 600, 0), 0);
	CHECK(touch(G + 5, true));
	wafer_notifier_ops.release(&mmu.notifier, &host_mm);
	CHECK(!nested(G + 5, NULL));
	CHECK_EQ(wafer_mmu_fault_fast(&vcpus[0].ctx, (G + 5) << 12, 1), WAFER_FAULT_SLOW);
	end();
}

TAP_MAIN()
