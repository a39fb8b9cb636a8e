/* SPDX-License-Identifier: GPL-2.0 */
/* What the files of mmu/ have in common. */
#ifndef WAFER_MMU_INTERNAL_H
#define WAFER_MMU_INTERNAL_H

#include <linux/atomic.h>
#include <linux/bitmap.h>
#include <linux/irqflags.h>
#include <linux/kernel.h>
#include <linux/log2.h>
#include <linux/mem_encrypt.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/pgtable.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "backend.h"
#include "mmu/section.h"
#include "mmu/table.h"

#define WAFER_FAULT_AROUND	16	/* pages, a power of two */

/* ---- slots (mmu/slots.c) ---- */
static inline gfn_t wafer_slot_end(const struct wafer_slot *slot)
{
	return slot->gfn + slot->npages;
}

static inline hva_t wafer_slot_hva(const struct wafer_slot *slot, gfn_t gfn)
{
	return slot->hva + (array_index_nospec(gfn - slot->gfn, slot->npages) << PAGE_SHIFT);
}

static inline hva_t wafer_slot_hva_end(const struct wafer_slot *slot)
{
	return slot->hva + (slot->npages << PAGE_SHIFT);
}

static inline bool wafer_slot_logged(const struct wafer_slot *slot)
{
	return slot->flags & KVM_MEM_LOG_DIRTY_PAGES;
}

/* The largest mapping up to @level that contains @gfn and lies within @slot. */
static inline unsigned int wafer_slot_level(const struct wafer_mmu *mmu,
					    const struct wafer_slot *slot, gfn_t gfn, u8 level)
{
	for (level = min3(level, slot->max_level, mmu->max_level); level > 1; level--) {
		gfn_t base = gfn & ~(wafer_pt_span(level) - 1);

		if (base >= slot->gfn && base + wafer_pt_span(level) <= wafer_slot_end(slot))
			break;
	}
	return level;
}

const struct wafer_slot *wafer_slots_search(const struct wafer_slots *slots, gfn_t gfn, u32 *hint);

/* As wafer_slots_search(), looking first where the last search with this hint has ended. */
static inline const struct wafer_slot *wafer_slots_find(const struct wafer_slots *slots, gfn_t gfn,
							u32 *hint)
{
	const struct wafer_slot *slot;

	/* Pairs with publish(): the slots below nr are there. */
	if (*hint < smp_load_acquire(&slots->nr)) {
		slot = READ_ONCE(slots->slot[*hint]);
		if (gfn - slot->gfn < slot->npages)
			return slot;
	}
	return wafer_slots_search(slots, gfn, hint);
}

int wafer_slots_create(struct wafer_mmu *mmu);
void wafer_slots_free(struct wafer_mmu *mmu);
int wafer_gfn_hva(struct wafer_mmu *mmu, gfn_t gfn, bool write, u32 *hint, hva_t *hva);

/* The slot table as the holder of zap_lock or slots_lock sees it. */
static inline struct wafer_slots *wafer_slots_held(struct wafer_mmu *mmu)
{
	return rcu_dereference_protected(mmu->slots, lockdep_is_held(&mmu->zap_lock) ||
					 lockdep_is_held(&mmu->slots_lock));
}

/* ---- the host's page tables (mmu/hostwalk.c, mmu/access.c) ---- */
/**
 * struct wafer_host_page - what the host maps at an address
 * @pfn: of the address's own page
 * @bits: bits that a nested entry for it gets: memory type, encryption, WAFER_PT_SPECIAL
 * @entry: the host's entry
 * @at: where it is: others of its table are beside it
 * @above: rights of the levels above
 * @level: how large the host's mapping is
 * @writable: the host's entry allows writing now
 */
struct wafer_host_page {
	u64 pfn, bits, entry, above;
	const u64 *at;
	u8 level;
	bool writable;
};

/* What makes two host entries of one table alike, but for the page and the right to write. */
#define WAFER_HOST_ALIKE						\
	(_PAGE_PRESENT | _PAGE_USER | _PAGE_PWT | _PAGE_PCD | _PAGE_PAT |	\
	 _PAGE_SPECIAL | 0xfull << 59 | sme_me_mask)

bool wafer_host_walk(struct wafer_mmu *mmu, hva_t hva, bool any_key,
		     struct wafer_host_page *host);
int wafer_host_fault_in(struct mm_struct *mm, hva_t hva, bool write);

/* ---- taking away (mmu/zap.c) ---- */
void wafer_range_op(struct wafer_mmu *mmu, struct wafer_pt_op *op, bool may_sleep);
bool wafer_hva_op(struct wafer_mmu *mmu, hva_t start, hva_t end, struct wafer_pt_op *op,
		  bool may_sleep);
void wafer_op_finish(struct wafer_mmu *mmu, struct wafer_pt_op *op);
int wafer_pt_topup(struct wafer_pt_pages *pages, unsigned int nr);
void wafer_pt_drain(struct wafer_pt_pages *pages);

/* ---- dirty pages (mmu/dirty.c, mmu/ring.c) ---- */
void wafer_log_start(struct wafer_mmu *mmu, const struct wafer_slot *slot);
void wafer_log_stop(struct wafer_mmu *mmu, const struct wafer_slot *slot);
void wafer_log_mode(struct wafer_mmu *mmu);
void wafer_mark_dirty(struct wafer_fault_ctx *ctx, gfn_t gfn);
int wafer_ring_create(struct wafer_fault_ctx *ctx);
void wafer_ring_push(struct wafer_dirty_ring *ring, const struct wafer_slot *slot, gfn_t gfn);
void wafer_ring_push_once(struct wafer_dirty_ring *ring, const struct wafer_slot *slot, gfn_t gfn);

/* ---- under memory pressure (mmu/shrink.c) ---- */
void wafer_shrink_add(struct wafer_mmu *mmu);
void wafer_shrink_del(struct wafer_mmu *mmu);
extern struct shrinker *wafer_shrinker;

/* ---- life (mmu/mmu.c, mmu/notifier.c) ---- */
void wafer_mmu_free(struct mmu_notifier *notifier);
extern const struct mmu_notifier_ops wafer_notifier_ops;

#endif
