/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Guest memory: slots, the nested page table, faults, dirty pages, access from the host.
 *
 * This room knows vCPUs only as fault contexts (struct wafer_fault_ctx) and asks for TLB flushes
 * through one callback. Locks, outermost first: mmu->slots_lock (mutex; slot changes, dirty log) ->
 * mmu->zap_lock (spinlock; everything that takes rights or table pages away, and the set of
 * invalidations). Faults take neither: they install entries by compare-and-exchange inside a fault
 * section (wafer_fault_ctx.in_fault).
 */
#ifndef WAFER_MMU_H
#define WAFER_MMU_H

#include <linux/kvm.h>
#include <linux/list.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/spinlock.h>
#include <linux/xarray.h>

#include "exit.h"
#include "refuse.h"

struct wafer_walk;

#define WAFER_MAX_SLOTS		32764		/* what KVM has */
#define WAFER_SLOT_MAX_PAGES	((1ull << 31) - 1)

/**
 * struct wafer_slot - a range of guest-physical memory
 * @gfn, @npages, @hva, @id, @flags: [I] while published; flags are KVM_MEM_*
 * @max_level: [I] largest mapping that the congruence of gfn and hva allows (ends are checked
 *	apart)
 * @lends_dirty: the bitmap lives on in the slot that replaces this one; set before that one is
 *	published
 * @dirty: [a] dirty bitmap, npages bits rounded up to longs; NULL without KVM_MEM_LOG_DIRTY_PAGES
 *	and with dirty rings
 */
struct wafer_slot {
	struct rcu_head rcu;
	u64 gfn, npages;
	hva_t hva;
	u32 flags;
	u16 id;
	u8 max_level;
	bool lends_dirty;
	unsigned long *dirty;
};

/**
 * struct wafer_slots - the slot table: replaced as a whole, but where a slot is added at its end or
 *	exchanged for another at the same place
 * @generation: counts changes; caches of translations compare it
 * @nr: number of slots; grows with release, after the new slot was written
 * @room: how many slots it can hold
 * @slot: sorted by gfn
 */
struct wafer_slots {
	struct rcu_head rcu;
	u64 generation;
	u32 nr, room;
	struct wafer_slot *slot[];
};

/* Zeroed pages for the nested table, allocated where sleeping was allowed. */
struct wafer_pt_pages {
	u8 nr;
	void *page[8];
};

/**
 * struct wafer_pt_format - entries as EPT or NPT want them; an absent entry is zero
 * @table: bits of an entry that points to a table: all rights, accessed
 * @read: bits of every leaf: may be read
 * @write, @exec: further rights
 * @leaf: tells a leaf from a table above level 1
 * @accessed, @dirty: set by the CPU (with EPT only where it has them and the EPTP asks for it)
 * @wb, @uc: memory types
 */
struct wafer_pt_format {
	u64 table, read, write, exec, leaf, accessed, dirty, wb, uc;
};

extern const struct wafer_pt_format wafer_ept_format, wafer_npt_format;	/* mmu/table.c */

/**
 * struct wafer_pt - a nested page table
 * @f: [I] format
 * @root: [I] root table
 * @pages: table pages, root included
 * @levels: [I] 4 or 5
 * @nx_huge: [I] no executable leaf above level 1 (iTLB multihit)
 * @has_ad: [I] the CPU sets accessed and dirty bits
 * @addr: [I] an entry's address bits
 * @enc: [I] memory encryption bit of entries that point to tables
 * @dirty: [I] an entry that has this bit may have been written through: the dirty bit, or the right
 *	to write
 */
struct wafer_pt {
	const struct wafer_pt_format *f;
	u64 *root;
	atomic_long_t *pages;
	u8 levels;
	bool nx_huge, has_ad;
	u64 addr, enc, dirty;
};

/**
 * struct wafer_dirty_ring - a vCPU's dirty ring
 * @entry: shared with user space, which may write anything there; NULL: no ring
 * @size: entries, a power of two
 * @soft_limit: from here on the vCPU is stopped, so that the rest holds what one exit can add
 * @head: [a] entries ever pushed; written under the vCPU's mutex
 * @tail: [a] entries ever recycled; written under slots_lock
 */
struct wafer_dirty_ring {
	struct kvm_dirty_gfn *entry;
	u32 size, soft_limit, head, tail;
};

/**
 * struct wafer_fault_ctx - what the MMU knows of one vCPU
 * @link: in mmu->ctxs (added before the vCPU can run, removed after it cannot any more)
 * @in_fault: [a] odd while a fault section runs on this vCPU's CPU (interrupts off, no waiting
 *	inside); counts, so that one who waits for the end of a section can not take the next one
 *	for it (mmu/section.h)
 * @pages: table pages for use in the section; topped up where sleeping is allowed
 * @last_slot: index hint for slot lookups
 * @mmio_gfn: where a fault has found no slot, with @mmio_generation of the table
 * @absent_gfn: where a section has found no page of the host's, or not the right to write; it
 *	belonged to address @absent_hva then (0: nowhere)
 * @ring: dirty ring (mmu/ring.c)
 * @ran: [a] when its vCPU was last in a window, in jiffies
 * @stat_*: counters for statistics, written by the owner only
 */
struct wafer_fault_ctx {
	struct list_head link;
	struct wafer_mmu *mmu;
	unsigned int in_fault;
	u32 last_slot;
	gfn_t mmio_gfn, absent_gfn;
	hva_t absent_hva;
	u64 mmio_generation;
	struct wafer_pt_pages pages;
	struct wafer_dirty_ring ring;
	unsigned long ran;
	u64 stat_faults, stat_fast, stat_mmio;
};

/**
 * struct wafer_mmu - a VM's memory
 * @root: [I] host-physical address of the root table, with the encryption bit
 * @flush: [I] makes every vCPU drop its translations before it enters again and waits until none is
 *	in the guest with old ones. Callable with any lock of the MMU held, preemption possibly off,
 *	interrupts on
 * @mm: [I] the VMM's address space
 * @slots: RCU; changed under slots_lock and zap_lock
 * @slots_lock: slot changes, dirty log
 * @pages: table pages in use
 * @has_devices: guests have got at the host's devices: uncached memory was to be mapped
 *
 * Fields below "private" belong to mmu/ alone.
 * @pt: the nested table
 * @zap_lock: see above
 * @ctxs: changed under slots_lock and zap_lock
 * @nr_invalid, @invalid_start, @invalid_end: ranges of the VMM's addresses of which nothing may be
 *	mapped now: how many, and what covers them all (mmu/section.h)
 * @retiring: under zap_lock: a slot that has left @slots and is still mapped
 * @zap_seq: under zap_lock: counts zaps, each before zap_lock is let go
 * @flushed_seq: [a] all zaps up to this one have been flushed
 * @quiet: @flush is not called any more; @flushes: [a] calls of it in progress
 * @by_id: under slots_lock: slots by id
 * @arm: [I] once a vCPU exists: bits to clear in an entry so that the next write to its page is
 *	noticed
 * @manual_protect: under slots_lock: KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 flags
 * @ring_size: [I] once a vCPU exists: bytes of each dirty ring; 0: bitmaps
 * @freed: the owner's callback
 * @link: in the list of those whose tables may be taken (mmu/shrink.c)
 */
struct wafer_mmu {
	hpa_t root;
	void (*flush)(struct wafer_mmu *mmu);
	struct mm_struct *mm;
	struct wafer_slots __rcu *slots;
	struct mutex slots_lock;
	atomic_long_t pages;
	bool has_devices;
	/* private */
	struct wafer_pt pt;
	struct mmu_notifier notifier;
	spinlock_t zap_lock;
	struct list_head ctxs;
	unsigned int nr_invalid;
	hva_t invalid_start, invalid_end;
	struct wafer_slot *retiring;
	u64 zap_seq, flushed_seq, arm;
	atomic_t flushes;
	bool quiet;
	struct xarray by_id;
	u8 max_level;
	u32 manual_protect, ring_size;
	unsigned long section_seq;
	void (*freed)(struct wafer_mmu *mmu);
	struct list_head link;
};

/* What a fault came to. */
enum wafer_fault_result {
	WAFER_FAULT_FIXED,	/* enter again */
	WAFER_FAULT_MMIO,	/* no slot there, or a write to a read-only slot: emulate */
	WAFER_FAULT_SLOW,	/* fast only: leave the window and call wafer_mmu_fault() */
};

/**
 * wafer_mmu_init() - make an empty table, register the notifier on current->mm. May sleep only in
 *	allocation. Nothing is left behind when it fails
 * wafer_mmu_quiesce() - the VM ends: unmap all and call @flush no more. No vCPU runs; to be called
 *	before they are freed
 * wafer_mmu_release() - after wafer_mmu_ctx_release() of all vCPUs: unregister (mmu_notifier_put;
 *	never waits); the VM is freed from the notifier's free callback through @freed, which must
 *	not sleep
 * wafer_mmu_setup() - at module init
 * wafer_mmu_drain() - at module exit: wait for outstanding free callbacks
 */
int wafer_mmu_init(struct wafer_mmu *mmu, const struct wafer_pt_format *format, u8 levels,
		   u8 max_level, void (*flush)(struct wafer_mmu *mmu));
void wafer_mmu_quiesce(struct wafer_mmu *mmu);
void wafer_mmu_release(struct wafer_mmu *mmu, void (*freed)(struct wafer_mmu *mmu));
void wafer_mmu_setup(void);
void wafer_mmu_drain(void);

int wafer_mmu_ctx_init(struct wafer_mmu *mmu, struct wafer_fault_ctx *ctx);
void wafer_mmu_ctx_release(struct wafer_mmu *mmu, struct wafer_fault_ctx *ctx);

/**
 * wafer_mmu_fault_fast() - resolve a nested fault in the window: interrupts off, no sleeping, no
 *	spinning
 * @ctx: of the faulting vCPU
 * @gpa: guest-physical address
 * @access: WAFER_FAULT_* bits
 *
 * Return: enum wafer_fault_result.
 */
int wafer_mmu_fault_fast(struct wafer_fault_ctx *ctx, gpa_t gpa, u32 access);

/**
 * wafer_mmu_fault() - resolve a nested fault where sleeping is allowed (outside the window,
 *	interrupts on, in the VMM's address space)
 *
 * Return: WAFER_FAULT_FIXED, WAFER_FAULT_MMIO; -EFAULT: a slot, but nothing mapped behind it;
 * -EHWPOISON: the page is poisoned (the signal has been sent); -EINTR: a fatal signal; -ENOMEM: no
 * page-table memory.
 */
int wafer_mmu_fault(struct wafer_fault_ctx *ctx, gpa_t gpa, u32 access);

/**
 * wafer_set_memory_region() - KVM_SET_USER_MEMORY_REGION, every rule of it (ABI: sizes, overlaps,
 *	flags, move, delete). After it returns no vCPU uses a mapping of the old layout.
 */
int wafer_set_memory_region(struct wafer_mmu *mmu, const struct kvm_userspace_memory_region *mr,
			    struct wafer_refusal *refusal);
int wafer_get_dirty_log(struct wafer_mmu *mmu, const struct kvm_dirty_log *log,
			struct wafer_refusal *refusal);
int wafer_clear_dirty_log(struct wafer_mmu *mmu, const struct kvm_clear_dirty_log *log,
			  struct wafer_refusal *refusal);
int wafer_mmu_set_manual_protect(struct wafer_mmu *mmu, u64 flags);

/* Dirty rings (mmu/ring.c). Enabled before the first vCPU. */
int wafer_ring_enable(struct wafer_mmu *mmu, u32 bytes);
/* For mmap; @offset in pages. NULL past its end. */
struct page *wafer_ring_page(struct wafer_fault_ctx *ctx, unsigned long offset);
bool wafer_ring_soft_full(struct wafer_fault_ctx *ctx);
int wafer_ring_reset(struct wafer_mmu *mmu); /* KVM_RESET_DIRTY_RINGS: entries recycled */

/**
 * wafer_guest_copy() - copy from or to guest-physical memory
 * @ctx: of the vCPU whose thread this is
 * @window: within one page, no sleeping. Else any length, over pages and slots
 * @gpa: where
 * @data: from there or to there
 * @len: bytes
 * @write: to the guest; entered in the dirty log
 *
 * Return: 0; -EFAULT where there is no memory (or, for a write, a read-only slot); in the window
 * -EAGAIN: not mapped (or not writable) there now: leave it and use the sleeping one.
 */
int wafer_guest_copy(struct wafer_fault_ctx *ctx, bool window, gpa_t gpa, void *data,
		     unsigned int len, bool write);

/**
 * wafer_guest_cmpxchg() - exchange @len (1, 2, 4, 8, 16) naturally aligned bytes; the rest as for
 *	wafer_guest_copy()
 *
 * Return: 0: *@old equal to what was expected, exchanged; -EBUSY: *@old updated.
 */
int wafer_guest_cmpxchg(struct wafer_fault_ctx *ctx, bool window, gpa_t gpa, void *old,
			const void *new, unsigned int len);

/* Is there a slot at @gpa, and which hva is behind it? Under RCU. NULL: none. */
const struct wafer_slot *wafer_slot_find(struct wafer_mmu *mmu, gfn_t gfn);

/*
 * wafer_mmu_pml() - the backend found @n guest-physical addresses in the page-modification log.
 *	Window.
 */
void wafer_mmu_pml(struct wafer_fault_ctx *ctx, const u64 *gpa, unsigned int n);

#endif
