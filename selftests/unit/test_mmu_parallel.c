// SPDX-License-Identifier: GPL-2.0
/*
 * Guests that access memory on several CPUs, a host that takes it away, protects it, makes it huge
 * and asks for its age, and a VMM that logs or moves slots: all at once. What must hold is checked
 * at each access and each taking back (mmu_host.h); here, that the log misses no write.
 */
#include <unistd.h>

#include "emulate.h"
#include "mmu_host.h"

#define G	512
#define RUN_MS	700

static int stop;
static bool churn;	/* slots come and go: an access may find none */
static unsigned long host_steps, vmm_steps, shrinks;

static unsigned long long vrnd(struct vcpu *v)
{
	v->seed ^= v->seed >> 12;
	v->seed ^= v->seed << 25;
	v->seed ^= v->seed >> 27;
	return v->seed * 0x2545f4914f6cdd1dull;
}

static void leave(struct vcpu *v)
{
	__atomic_add_fetch(&v->mode, 1, __ATOMIC_SEQ_CST);
}

/* The order that vcpu/run.c has: in the guest, then a look at what is to be done. */
static void enter(struct vcpu *v)
{
	for (;;) {
		__atomic_add_fetch(&v->mode, 1, __ATOMIC_SEQ_CST);
		if (!__atomic_exchange_n(&v->hazard, 0, __ATOMIC_SEQ_CST))
			return;
		leave(v);
		drop_tlb(v);
	}
}

/* In the guest. False: it faults. */
static bool access_page(struct vcpu *v, u64 gfn, bool write)
{
	u64 e = cpu_translate(v, gfn, write), pfn = (e & mmu.pt.addr) >> 12;

	if (!e)
		return false;
	CHECK_MSG(ACCESS(live[pfn]), "frame %llu is not the guest's any more",
		  (unsigned long long)pfn);
	if (!write)
		return true;
	CHECK_MSG(!ACCESS(wprotected[pfn]), "frame %llu is protected", (unsigned long long)pfn);
	STORE(written[pfn], 1);
	if (!churn)
		__atomic_add_fetch(&stamp[gfn - G], 1, __ATOMIC_SEQ_CST);
	return true;
}

/*
 * The instruction fetch keeps pointers to pages, and what it reads by them must be the guest's
 * still. Frames have no memory here: in the place of a frame's contents is whether it is live.
 */
static void look_directly(struct vcpu *v)
{
	struct wafer_walk w = { .gpa = (G + vrnd(v) % PAGES) << PAGE_SHIFT };
	struct wafer_way way;
	u64 bytes[2];
	int i;

	if (!wafer_direct_keep(&v->ctx, &w, &way))
		return;
	way.page = &live[__pa(way.page) >> PAGE_SHIFT];
	for (i = 0; i < 4; i++)
		CHECK(!wafer_direct_read(&v->ctx, &way, 0, bytes) || (u8)bytes[0] == 1);
}

static void *run_vcpu(void *arg)
{
	struct vcpu *v = arg;

	drop_tlb(v);
	while (!ACCESS(stop) && !tap_failures) {
		u64 gfn = 0;
		bool write = false, ok = true;
		int i, r;

		if (wafer_ring_soft_full(&v->ctx)) {
			sched_yield();
			continue;
		}
		look_directly(v);
		enter(v);
		for (i = 0; i < 20 && ok; i++) {
			/* Mostly few pages, so that CPUs meet. */
			gfn = G + (vrnd(v) % 4 ? vrnd(v) % 48 * 37 % PAGES : vrnd(v) % PAGES);
			write = vrnd(v) % 2;
			ok = access_page(v, gfn, write);
			v->accesses++;
		}
		leave(v);
		if (ok)
			continue;
		v->faults++;
		r = wafer_mmu_fault_fast(&v->ctx, gfn << 12,
					 write ? WAFER_FAULT_WRITE : WAFER_FAULT_READ);
		if (r == WAFER_FAULT_SLOW) {
			v->slow++;
			r = wafer_mmu_fault(&v->ctx, gfn << 12,
					    write ? WAFER_FAULT_WRITE : WAFER_FAULT_READ);
		}
		v->mmio += r == WAFER_FAULT_MMIO;
		CHECK(r == WAFER_FAULT_FIXED || (churn && r == WAFER_FAULT_MMIO));
	}
	return NULL;
}

static void *run_host(void *arg)
{
	struct vcpu v = { .seed = 12345 };

	while (!ACCESS(stop) && !tap_failures) {
		unsigned int page = vrnd(&v) % PAGES,
			     n = 1 + vrnd(&v) % min(PAGES - page, vrnd(&v) % 4 ? 40u : 700u);

		pthread_mutex_lock(&mmap_lock);
		switch (vrnd(&v) % 8) {
		case 0 ... 2:
			host_unmap(page, n);
			break;
		case 3:
			host_map_huge(page);
			break;
		case 4 ... 5:
			host_protect(page, n);
			break;
		case 6:
			wafer_notifier_ops.clear_young(&mmu.notifier, &host_mm,
						       HVA + page * PAGE_SIZE,
						       HVA + (page + n) * PAGE_SIZE);
			break;
		default:
			while (n--)
				if (!host_is_huge(page + n))
					host_map(page + n, true);
		}
		pthread_mutex_unlock(&mmap_lock);
		host_steps++;
		usleep(vrnd(&v) % 200);
	}
	return NULL;
}

/* The host is short of memory. To it all vCPUs look idle. */
static void *run_shrinker(void *arg)
{
	struct shrink_control sc = { };
	unsigned long n;

	while (!ACCESS(stop) && !tap_failures) {
		n = shim_shrinker->count_objects(shim_shrinker, &sc);
		sc.nr_to_scan = 1;
		if (n && shim_shrinker->scan_objects(shim_shrinker, &sc) != SHRINK_STOP)
			shrinks++;
		usleep(1500);
	}
	return NULL;
}

/* ---- a VMM that copies what is reported, as a migration does ---- */
static u64 copied[PAGES];

static void copy_page(unsigned int page)
{
	if (page < PAGES)
		STORE(copied[page], ACCESS(stamp[page]));
}

static void collect_bitmap(void)
{
	DECLARE_BITMAP(map, PAGES);
	struct kvm_dirty_log log = { .slot = 1, .dirty_bitmap = map };
	struct kvm_clear_dirty_log clear = { .slot = 1, .num_pages = PAGES, .dirty_bitmap = map };
	unsigned int i;

	CHECK_EQ(wafer_get_dirty_log(&mmu, &log, NULL), 0);
	if (mmu.manual_protect)
		CHECK_EQ(wafer_clear_dirty_log(&mmu, &clear, NULL), 0);
	for_each_set_bit(i, map, PAGES)
		copy_page(i);
}

static void collect_rings(void)
{
	static unsigned int at[MAX_VCPUS];
	static u32 found[MAX_VCPUS * 4096];
	unsigned int i, n = 0;

	for (i = 0; i < nr_vcpus; i++) {
		if (!vmm_steps)
			at[i] = 0;
		for (;;) {
			struct kvm_dirty_gfn *e = (void *)wafer_ring_page(&vcpus[i].ctx, 0);

			e += at[i] % (mmu.ring_size / sizeof(*e));
			if (smp_load_acquire(&e->flags) != KVM_DIRTY_GFN_F_DIRTY ||
			    n == ARRAY_SIZE(found))
				break;
			CHECK_EQ(e->slot, 1);
			found[n++] = e->offset;
			smp_store_release(&e->flags, KVM_DIRTY_GFN_F_RESET);
			at[i]++;
		}
	}
	CHECK_EQ(wafer_ring_reset(&mmu), n);
	while (n--)
		copy_page(found[n]);
}

static void collect(void)
{
	if (mmu.ring_size)
		collect_rings();
	else
		collect_bitmap();
	vmm_steps++;
}

static void *run_logger(void *arg)
{
	while (!ACCESS(stop) && !tap_failures) {
		collect();
		usleep(300);
	}
	return NULL;
}

static void *run_churn(void *arg)
{
	struct vcpu v = { .seed = 777 };
	bool there = false;
	u64 at = G;

	while (!ACCESS(stop) && !tap_failures) {
		u64 to = vrnd(&v) % 2 ? G : G + 1024;
		u32 flags = vrnd(&v) % 3 ? 0 : KVM_MEM_LOG_DIRTY_PAGES;
		unsigned int i;

		switch (vrnd(&v) % 3) {
		case 0:
			CHECK_EQ(set_slot(1, 0, 0, 0, 0), there ? 0 : (u64)-EINVAL);
			there = false;
			break;
		default:
			CHECK_EQ(set_slot(1, to, 0, 1024, flags), 0);
			there = true;
		}
		/*
		 * After the call nothing is left of where it was. Tables that are
		 * taken out meanwhile are freed.
		 */
		spin_lock(&mmu.zap_lock);
		if (!there || at != to)
			for (i = 0; i < 1024; i++)
				CHECK(!nested(at + i, NULL) || (there && at + i - to < 1024));
		spin_unlock(&mmu.zap_lock);
		if (there)
			at = to;
		CHECK_EQ(set_slot(7, G + 8192 + vrnd(&v) % 64, 1500, 16, 0), 0);
		CHECK_EQ(set_slot(7, 0, 0, 0, 0), 0);
		vmm_steps++;
		usleep(100);
	}
	return NULL;
}

static void run_all(void *(*vmm)(void *arg))
{
	pthread_t t[MAX_VCPUS + 3];
	unsigned int i, n = 0;

	stop = 0;
	host_steps = vmm_steps = flushes = shrinks = 0;
	wafer_mmu_setup();
	for (i = 0; i < nr_vcpus; i++)
		pthread_create(&t[n++], NULL, run_vcpu, &vcpus[i]);
	pthread_create(&t[n++], NULL, run_host, NULL);
	pthread_create(&t[n++], NULL, run_shrinker, NULL);
	if (vmm)
		pthread_create(&t[n++], NULL, vmm, NULL);
	/* Longer where the machine is busy with other things. */
	for (i = 0; i < 60 * RUN_MS / 10 && !tap_failures; i++) {
		if (i >= RUN_MS / 10 && ACCESS(host_steps) > 10 && ACCESS(shrinks) > 10 &&
		    ACCESS(vcpus[0].faults) > 10)
			break;
		usleep(10000);
	}
	STORE(stop, 1);
	while (n--)
		pthread_join(t[n], NULL);
	for (i = 0; i < nr_vcpus; i++)
		printf("# vCPU %u: %lu accesses, %lu faults, %lu slow\n", i, vcpus[i].accesses,
		       vcpus[i].faults, vcpus[i].slow);
	printf("# %lu changes by the host, %lu by the VMM, %lu by the shrinker, %lu flushes\n",
	       host_steps, vmm_steps, shrinks, flushes);
	CHECK(shrinks > 10 && host_steps > 10 && vcpus[0].faults > 10);
}

static void check_copies(void)
{
	unsigned int i;

	collect();
	collect();
	for (i = 0; i < PAGES; i++)
		CHECK_MSG(copied[i] == stamp[i], "page %u: %llu of %llu writes seen", i,
			  (unsigned long long)copied[i], (unsigned long long)stamp[i]);
}

static void one_run(const struct wafer_pt_format *f, bool ad, bool nx_huge, u32 ring, u32 manual,
		    bool logged)
{
	host_init();
	vm_create(f, ad, 3);
	mmu.pt.nx_huge = nx_huge;
	memset(copied, 0, sizeof(copied));
	if (ring)
		CHECK_EQ(wafer_ring_enable(&mmu, ring), 0);
	CHECK_EQ(wafer_mmu_set_manual_protect(&mmu, manual), 0);
	vcpus_create();
	CHECK_EQ(set_slot(1, G, 0, PAGES, logged ? KVM_MEM_LOG_DIRTY_PAGES : 0), 0);
	run_all(logged ? run_logger : NULL);
	if (logged)
		check_copies();
	vm_destroy();
	host_exit();
}

TEST(ept)
{
	one_run(&wafer_ept_format, true, true, 0, 0, false);
}

TEST(npt)
{
	one_run(&wafer_npt_format, true, false, 0, 0, false);
}

TEST(ept_without_dirty_bits)
{
	one_run(&wafer_ept_format, false, false, 0, 0, false);
}

TEST(log_by_dirty_bits)
{
	one_run(&wafer_npt_format, true, false, 0, 0, true);
}

TEST(log_by_write_protection)
{
	one_run(&wafer_ept_format, false, false, 0, 0, true);
}

TEST(log_with_manual_protect)
{
	one_run(&wafer_npt_format, true, false, 0, 1, true);
}

TEST(log_all_set_at_first)
{
	one_run(&wafer_npt_format, true, false, 0, 3, true);
}

TEST(log_by_rings)
{
	one_run(&wafer_npt_format, true, false, 4096, 0, true);
}

TEST(slots_come_and_go)
{
	churn = true;
	host_init();
	vm_create(&wafer_npt_format, true, 3);
	vcpus_create();
	CHECK_EQ(set_slot(2, G + 4096, 100, 1000, 0), 0);
	run_all(run_churn);
	vm_destroy();
	host_exit();
	churn = false;
}

TAP_MAIN()
