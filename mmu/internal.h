/* SPDX-License-Identifier: GPL-2.0 */
/* What the files of mmu/ have in common. */
#ifndef WAFER_MMU_INTERNAL_H
#define WAFER_MMU_INTERNAL_H

#include <linux/mem_encrypt.h>
#include <linux/nospec.h>
#include <linux/pgtable.h>

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

static inline bool wafer_slot_logged(const struct wafer_slot *slot)
{
	return slot->flags & KVM_MEM_LOG_DIRTY_PAGES;
}

/**
 * struct wafer_slots_change - a prepared change of the slot table; @old leaves it, @new enters it
 *	(either may be NULL)
 * @next: the new table, or NULL where the old one is changed in place
 */
struct wafer_slots_change {
	struct wafer_slot *old, *new;
	struct wafer_slots *next;
};

struct wafer_slots *wafer_slots_alloc(u32 room);
const struct wafer_slot *wafer_slots_find(const struct wafer_slots *slots, gfn_t gfn, u32 *hint);
bool wafer_slots_overlap(const struct wafer_slots *slots, const struct wafer_slot *new,
			 const struct wafer_slot *but);
int wafer_slots_prepare(struct wafer_mmu *mmu, struct wafer_slots_change *change);
void wafer_slots_publish(struct wafer_mmu *mmu, struct wafer_slots_change *change);
void wafer_slot_free(struct wafer_slot *slot);
void wafer_slot_retire(struct wafer_slot *slot);

/* The slot table as the holder of zap_lock or slots_lock sees it. */
static inline struct wafer_slots *wafer_slots_held(struct wafer_mmu *mmu)
{
	return rcu_dereference_protected(mmu->slots, lockdep_is_held(&mmu->zap_lock) ||
					 lockdep_is_held(&mmu->slots_lock));
}

/* ---- the host's page tables (mmu/hostwalk.c, mmu/hostfault.c) ---- */
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
	u64 pfn;
	u64 bits;
	u64 entry, above;
	const u64 *at;
	u8 level;
	bool writable;
};

/* What makes two host entries of one table alike, but for the page and the right to write. */
#define WAFER_HOST_ALIKE						\
	(_PAGE_PRESENT | _PAGE_USER | _PAGE_PWT | _PAGE_PCD | _PAGE_PAT |	\
	 _PAGE_SPECIAL | 0xfull << 59 | sme_me_mask)

bool wafer_host_walk(const struct wafer_pt *pt, struct mm_struct *mm, hva_t hva, bool any_key,
		     struct wafer_host_page *host);
bool wafer_host_entry(const struct wafer_pt *pt, u64 e, unsigned int level, hva_t hva, bool any_key,
		      struct wafer_host_page *host);
int wafer_host_fault_in(struct mm_struct *mm, hva_t hva, bool write);

/* ---- taking away (mmu/zap.c) ---- */
void wafer_range_op(struct wafer_mmu *mmu, struct wafer_pt_op *op, bool may_sleep);
void wafer_hva_op(struct wafer_mmu *mmu, hva_t start, hva_t end, struct wafer_pt_op *op,
		  bool may_sleep);
bool wafer_hva_used(struct wafer_mmu *mmu, hva_t start, hva_t end);
void wafer_op_finish(struct wafer_mmu *mmu, struct wafer_pt_op *op);
int wafer_pt_topup(struct wafer_pt_pages *pages, unsigned int nr);
void wafer_pt_drain(struct wafer_pt_pages *pages);

/* ---- dirty pages (mmu/dirty.c, mmu/ring.c) ---- */
void wafer_log_start(struct wafer_mmu *mmu, const struct wafer_slot *slot);
void wafer_log_stop(struct wafer_mmu *mmu, const struct wafer_slot *slot);
void wafer_log_mode(struct wafer_mmu *mmu);
int wafer_ring_create(struct wafer_fault_ctx *ctx);
void wafer_ring_free(struct wafer_fault_ctx *ctx);
void wafer_ring_push(struct wafer_mmu *mmu, struct wafer_fault_ctx *ctx,
		     const struct wafer_slot *slot, gfn_t gfn);

/* Do rings learn of writes from the hardware's log? Else from write faults. */
static inline bool wafer_ring_by_fault(const struct wafer_mmu *mmu)
{
	return mmu->ring_size && (mmu->arm & mmu->format->write);
}

/* ---- life (mmu/mmu.c, mmu/notifier.c) ---- */
void wafer_mmu_free(struct wafer_mmu *mmu);
extern const struct mmu_notifier_ops wafer_notifier_ops;

#endif
