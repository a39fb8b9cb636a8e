/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A host in small for tests of mmu/: page tables in the CPU's format, page frames that live and
 * die, the notifier called as the kernel calls it, and guests that access memory as a CPU does, TLB
 * included.
 *
 * Each access checks what must never happen: a frame that the host has taken back, or a write to
 * one that it has protected. Taking a frame back checks that a write to it has been reported.
 */
#ifndef MMU_HOST_H
#define MMU_HOST_H

#include "mmu_fake.h"

#define HVA		0x7f0000000000ul
#define PAGES		2048			/* of the VMM's memory, four huge pages */
#define MAX_VCPUS	4

struct vcpu {
	struct wafer_fault_ctx ctx;
	unsigned int mode;			/* odd: in the guest */
	unsigned int hazard;
	u64 tlb[64], tlb_gfn[64]; /* level-1 entries as the CPU made them of what it found */
	u64 *way[4], way_gfn[4]; /* last tables, and what they map the first page of */
	unsigned long long seed;
	unsigned long accesses, faults, slow, mmio;
};

static struct mm_struct host_mm;
static pthread_mutex_t mmap_lock = PTHREAD_MUTEX_INITIALIZER; /* all of the host's changes */
static u64 *host_pte[PAGES / 512]; /* kept while a huge leaf is in their place */
static u8 live[FAKE_PFNS + 16], wprotected[FAKE_PFNS], written[FAKE_PFNS];
static unsigned int next_pfn, next_huge;

static struct wafer_mmu mmu;
static struct vcpu vcpus[MAX_VCPUS];
static unsigned int nr_vcpus;
static u64 stamp[PAGES];		/* counts writes of guests */
static unsigned long flushes;

#define ACCESS(x)	__atomic_load_n(&(x), __ATOMIC_SEQ_CST)
#define STORE(x, v)	__atomic_store_n(&(x), v, __ATOMIC_SEQ_CST)

/* ---- the host's tables ---- */
static u64 *host_page(void)
{
	u64 *p = aligned_alloc(PAGE_SIZE, PAGE_SIZE);

	return memset(p, 0, PAGE_SIZE);
}

static u64 *host_entry(unsigned long hva, unsigned int level)
{
	u64 *table = host_mm.pgd;
	unsigned int l;

	for (l = 4; l > level; l--) {
		u64 *ep = &table[wafer_pt_index(hva >> 12, l)];

		if (!*ep)
			*ep = __pa(host_page()) | 7;
		table = __va(*ep & PTE_PFN_MASK);
	}
	return &table[wafer_pt_index(hva >> 12, level)];
}

static void host_init(void)
{
	int i;

	host_mm.pgd = host_page();
	for (i = 0; i < PAGES / 512; i++) {
		host_entry(HVA + i * 512 * PAGE_SIZE, 1);
		host_pte[i] = __va(*host_entry(HVA + i * 512 * PAGE_SIZE, 2) & PTE_PFN_MASK);
	}
	memset(live, 0, sizeof(live));
	memset(wprotected, 0, sizeof(wprotected));
	memset(written, 0, sizeof(written));
	memset(fake_dirty, 0, sizeof(fake_dirty));
	memset(stamp, 0, sizeof(stamp));
	current->mm = &host_mm;
}

static void host_free_table(u64 *table, int level)
{
	int i;

	for (i = 0; i < 512 && level > 1; i++)
		if (table[i] && !(table[i] & _PAGE_PSE))
			host_free_table(__va(table[i] & PTE_PFN_MASK), level - 1);
	free(table);
}

static void host_exit(void)
{
	int i;

	for (i = 0; i < PAGES / 512; i++)
		*host_entry(HVA + i * 512 * PAGE_SIZE, 2) = __pa(host_pte[i]) | 7;
	host_free_table(host_mm.pgd, 4);
}

static u64 get_pfn(void)
{
	do
		next_pfn = next_pfn % (HUGE_PFN - 1) + 1;
	while (ACCESS(live[next_pfn]));
	STORE(wprotected[next_pfn], 0);
	STORE(written[next_pfn], 0);
	STORE(fake_dirty[next_pfn], 0);
	STORE(live[next_pfn], 1);
	return next_pfn;
}

static void put_pfn(u64 pfn)
{
	CHECK(ACCESS(live[pfn]));
	CHECK_MSG(!ACCESS(written[pfn]) || ACCESS(fake_dirty[pfn]),
		  "a write to frame %llu was not reported", (unsigned long long)pfn);
	STORE(live[pfn], 0);
}

static u64 get_huge(void)
{
	u64 pfn, i;

	do {
		next_huge = (next_huge + 1) % ((FAKE_PFNS - HUGE_PFN) / 512);
		pfn = HUGE_PFN + next_huge * 512;
		for (i = 0; i < 512 && !live[pfn + i]; i++)
			;
	} while (i < 512);
	for (i = 0; i < 512; i++) {
		STORE(wprotected[pfn + i], 0);
		STORE(written[pfn + i], 0);
		STORE(fake_dirty[pfn + i], 0);
		STORE(live[pfn + i], 1);
	}
	return pfn;
}

static bool host_is_huge(unsigned int page)
{
	return *host_entry(HVA + page * PAGE_SIZE, 2) & _PAGE_PSE;
}

static void notify_start(unsigned int page, unsigned int n, enum mmu_notifier_event event)
{
	struct mmu_notifier_range r = {
		.start = HVA + page * PAGE_SIZE,
		.end = HVA + (page + n) * PAGE_SIZE,
		.event = event,
		.blockable = page & 1,
	};

	wafer_notifier_ops.invalidate_range_start(&mmu.notifier, &r);
}

static void notify_end(unsigned int page, unsigned int n)
{
	struct mmu_notifier_range r = { .start = HVA + page * PAGE_SIZE,
					.end = HVA + (page + n) * PAGE_SIZE };

	wafer_notifier_ops.invalidate_range_end(&mmu.notifier, &r);
}

/*
 * mmap_lock held, from here on. As the kernel does it: small entries of the same frames, the range
 * notified.
 */
static void host_split(unsigned int page)
{
	u64 *pmd = host_entry(HVA + page * PAGE_SIZE, 2), e = *pmd, *pte = host_pte[page / 512];
	int i;

	if (!(e & _PAGE_PSE))
		return;
	notify_start(page & ~511u, 512, MMU_NOTIFY_CLEAR);
	for (i = 0; i < 512; i++)
		STORE(pte[i], (e & ~_PAGE_PSE) + i * PAGE_SIZE);
	STORE(*pmd, __pa(pte) | 7);
	notify_end(page & ~511u, 512);
}

static void host_unmap(unsigned int page, unsigned int n)
{
	unsigned int i;

	host_split(page);
	host_split(page + n - 1);
	for (i = page & ~511u; i < page + n; i += 512)
		host_split(i);
	notify_start(page, n, MMU_NOTIFY_CLEAR);
	for (i = page; i < page + n; i++) {
		u64 *pte = &host_pte[i / 512][i % 512], e = *pte;

		STORE(*pte, 0);
		if (e)
			put_pfn((e & PTE_PFN_MASK) >> 12);
	}
	notify_end(page, n);
}

static void host_map(unsigned int page, bool rw)
{
	u64 *pte = &host_pte[page / 512][page % 512];

	if (!*pte)
		STORE(*pte, get_pfn() << 12 | 5 | (rw ? _PAGE_RW : 0));
}

static void host_map_huge(unsigned int page)
{
	page &= ~511u;
	host_unmap(page, 512);
	notify_start(page, 512, MMU_NOTIFY_CLEAR);
	STORE(*host_entry(HVA + page * PAGE_SIZE, 2), get_huge() << 12 | 7 | _PAGE_PSE);
	notify_end(page, 512);
}

/* As fork() and page cleaning: afterwards every write must be seen. */
static void host_protect(unsigned int page, unsigned int n)
{
	unsigned int i, k;

	notify_start(page, n, MMU_NOTIFY_PROTECTION_PAGE);
	for (i = page; i < page + n; i++) {
		bool huge = host_is_huge(i);
		u64 *ep = huge ? host_entry(HVA + i * PAGE_SIZE, 2) : &host_pte[i / 512][i % 512],
		    pfn;

		if (!*ep || (huge && (i % 512 || i + 512 > page + n)))
			continue;
		STORE(*ep, *ep & ~_PAGE_RW);
		pfn = (*ep & PTE_PFN_MASK) >> 12;
		for (k = 0; k < (huge ? 512 : 1); k++, pfn++) {
			CHECK(!ACCESS(written[pfn]) || ACCESS(fake_dirty[pfn]));
			STORE(written[pfn], 0);
			STORE(fake_dirty[pfn], 0);
			STORE(wprotected[pfn], 1);
		}
	}
	notify_end(page, n);
}

/*
 * Somebody writes to a protected page: copied (another frame) or, being the only user's, writable
 * again.
 */
static void host_unprotect(unsigned int page, bool copy)
{
	u64 *pte = &host_pte[page / 512][page % 512];

	host_split(page);
	if (*pte & _PAGE_RW)
		return;
	if (copy) {
		host_unmap(page, 1);
		host_map(page, true);
	} else {
		STORE(wprotected[(*pte & PTE_PFN_MASK) >> 12], 0);
		STORE(*pte, *pte | _PAGE_RW);
	}
}

int wafer_host_fault_in(struct mm_struct *mm, hva_t hva, bool write)
{
	unsigned int page = (hva - HVA) >> 12;

	if (hva < HVA || page >= PAGES)
		return -EFAULT;
	pthread_mutex_lock(&mmap_lock);
	if (!host_is_huge(page))
		host_map(page, write || (page & 1));
	if (write)
		host_unprotect(page, page & 2);
	pthread_mutex_unlock(&mmap_lock);
	return 0;
}

/* ---- the guest's side ---- */
static void flush_all(struct wafer_mmu *m)
{
	unsigned int i;

	__atomic_add_fetch(&flushes, 1, __ATOMIC_SEQ_CST);
	for (i = 0; i < nr_vcpus; i++) {
		unsigned int mode;

		STORE(vcpus[i].hazard, 1);
		mode = ACCESS(vcpus[i].mode);
		while ((mode & 1) && ACCESS(vcpus[i].mode) == mode)
			sched_yield();
	}
}

static void drop_tlb(struct vcpu *v)
{
	memset(v->tlb_gfn, 0xff, sizeof(v->tlb_gfn));
	memset(v->way_gfn, 0xff, sizeof(v->way_gfn));
}

/*
 * What the CPU does for an access: the TLB if it has the right (and the dirty bit, for a write),
 * else a walk, from the last table if the way there is cached, with accessed bits at each level
 * that it comes through and the dirty bit set with a compare-and-exchange. 0: nested fault, after
 * which nothing is cached that led to it (SDM vol. 3 §29.4.3.1).
 */
static u64 cpu_translate(struct vcpu *v, u64 gfn, bool write)
{
	const struct wafer_pt_format *f = mmu.pt.f;
	bool ad = mmu.pt.has_ad;
	u64 need = write ? f->write | (ad ? f->dirty : 0) : f->read, *table = mmu.pt.root, e;
	unsigned int l = mmu.pt.levels, slot = gfn % 64, way = gfn / 512 % 4;

	if (v->tlb_gfn[slot] == gfn && (v->tlb[slot] & need) == need)
		return v->tlb[slot];
	if (v->way_gfn[way] == gfn / 512) {
		table = v->way[way];
		l = 1;
	}
	/* Again at the same level when the entry changes under it. */
	for (; ; l--) {
		u64 *ep = &table[wafer_pt_index(gfn, l)], set;
		bool leaf;

		e = ACCESS(*ep);
		if (!e || (write && !(e & f->write))) {
			v->tlb_gfn[slot] = v->way_gfn[way] = ~0ull;
			return 0;
		}
		leaf = l == 1 || (e & f->leaf);
		set = e | (ad ? f->accessed | (write && leaf ? f->dirty : 0) : 0);
		if (set != e && cmpxchg(ep, e, set) != e) {
			l++;
			continue;
		}
		if (!leaf) {
			table = __va(e & mmu.pt.addr);
			if (l == 2) {
				v->way[way] = table;
				v->way_gfn[way] = gfn / 512;
			}
			continue;
		}
		e = set;
		break;
	}
	e += (gfn & (wafer_pt_span(l) - 1)) << 12;
	v->tlb[slot] = e;
	v->tlb_gfn[slot] = gfn;
	return e;
}

static void vm_create(const struct wafer_pt_format *f, bool ad, unsigned int n)
{
	unsigned int i;

	wafer_caps.has_ad = ad;
	wafer_caps.has_pml = false;
	CHECK_EQ(wafer_mmu_init(&mmu, f, 4, 2, flush_all), 0);
	memset(vcpus, 0, sizeof(vcpus));
	nr_vcpus = n;
	for (i = 0; i < n; i++) {
		vcpus[i].seed = 0x9e3779b97f4a7c15ull * (i + 1);
		drop_tlb(&vcpus[i]);
	}
}

static void vcpus_create(void)
{
	unsigned int i;

	for (i = 0; i < nr_vcpus; i++)
		CHECK_EQ(wafer_mmu_ctx_init(&mmu, &vcpus[i].ctx), 0);
}

static unsigned int nr_freed;
static void vm_freed(struct wafer_mmu *m)
{
	nr_freed++;
}

static void vm_destroy(void)
{
	unsigned int i, before = nr_freed;

	wafer_mmu_quiesce(&mmu);
	CHECK_EQ(atomic_long_read(&mmu.pages), 1);
	for (i = 0; i < nr_vcpus; i++)
		wafer_mmu_ctx_release(&mmu, &vcpus[i].ctx);
	rcu_run();
	wafer_mmu_release(&mmu, vm_freed);
	wafer_mmu_drain();
	CHECK_EQ(nr_freed, before + 1);
	CHECK_EQ(fake_pages, 0);
}

static int set_slot(unsigned int id, u64 gfn, unsigned int page, u64 npages, u32 flags)
{
	struct kvm_userspace_memory_region mr = {
		.slot = id, .guest_phys_addr = gfn << 12, .userspace_addr = HVA + page * PAGE_SIZE,
		.memory_size = npages << 12, .flags = flags,
	};

	return wafer_set_memory_region(&mmu, &mr, NULL);
}

/* Is anything mapped at @gfn? Its entry and level, without being an access. */
static __maybe_unused u64 nested(u64 gfn, unsigned int *level)
{
	u64 *table = mmu.pt.root, e;
	unsigned int l;

	for (l = mmu.pt.levels; ; l--) {
		e = table[wafer_pt_index(gfn, l)];
		if (level)
			*level = l;
		if (!e || l == 1 || (e & mmu.pt.f->leaf))
			return e;
		table = __va(e & mmu.pt.addr);
	}
}

#endif
