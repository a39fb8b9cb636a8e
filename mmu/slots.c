// SPDX-License-Identifier: GPL-2.0
/* The slot table: a sorted array under RCU. Looking up, and exchanging one slot for another. */
#include <linux/kernel.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>

#include "mmu/internal.h"

struct wafer_slots *wafer_slots_alloc(u32 room)
{
	struct wafer_slots *slots = kvzalloc(struct_size(slots, slot, room), GFP_KERNEL_ACCOUNT);

	if (slots)
		slots->room = room;
	return slots;
}

/* Position of the first slot that ends above @gfn: the one that @gfn is in, if it is in any. */
static u32 position(const struct wafer_slots *slots, u32 nr, gfn_t gfn)
{
	u32 lo = 0, hi = nr;

	while (lo < hi) {
		u32 mid = (lo + hi) / 2;

		if (wafer_slot_end(READ_ONCE(slots->slot[mid])) <= gfn)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool contains(const struct wafer_slot *slot, gfn_t gfn)
{
	return gfn - slot->gfn < slot->npages;
}

/**
 * wafer_slots_find() - the slot that @gfn is in
 * @slots: a slot table, under RCU
 * @gfn: any frame number
 * @hint: where the last search ended, or NULL
 *
 * Changes in place (wafer_slots_publish()) leave the order intact at every moment, so that a search
 * that meets one finds the slot as before or as after it.
 *
 * Return: the slot, or NULL.
 */
const struct wafer_slot *wafer_slots_find(const struct wafer_slots *slots, gfn_t gfn, u32 *hint)
{
	const struct wafer_slot *slot;
	u32 nr, i = hint ? *hint : 0;

	/* Pairs with wafer_slots_publish(): the slots below nr are there. */
	nr = smp_load_acquire(&slots->nr);
	if (i < nr) {
		slot = READ_ONCE(slots->slot[i]);
		if (contains(slot, gfn))
			return slot;
	}
	i = position(slots, nr, gfn);
	if (i == nr)
		return NULL;
	slot = READ_ONCE(slots->slot[i]);
	if (!contains(slot, gfn))
		return NULL;
	if (hint)
		*hint = i;
	return slot;
}

const struct wafer_slot *wafer_slot_find(struct wafer_mmu *mmu, gfn_t gfn)
{
	struct wafer_slots *slots;

	slots = rcu_dereference_check(mmu->slots, rcu_read_lock_sched_held() ||
				      lockdep_is_held(&mmu->slots_lock));
	return wafer_slots_find(slots, gfn, NULL);
}

/* Does @new share a frame with any slot but @but? */
bool wafer_slots_overlap(const struct wafer_slots *slots, const struct wafer_slot *new,
			 const struct wafer_slot *but)
{
	u32 i = position(slots, slots->nr, new->gfn);

	if (i < slots->nr && slots->slot[i] == but)
		i++;
	return i < slots->nr && slots->slot[i]->gfn < wafer_slot_end(new);
}

/*
 * Changes that keep the order intact with one store: the last slot comes or goes, one takes the
 * place of another.
 */
static bool in_place(const struct wafer_slots *slots, const struct wafer_slot *old,
		     const struct wafer_slot *new)
{
	const struct wafer_slot *last = slots->nr ? slots->slot[slots->nr - 1] : NULL;

	if (old && new)
		return old->gfn == new->gfn;
	if (new)
		return slots->nr < slots->room && (!last || last->gfn < new->gfn);
	return old == last;
}

/* All of @slots but @change->old, and @change->new where it belongs. */
static void merge(struct wafer_slots *next, const struct wafer_slots *slots,
		  const struct wafer_slots_change *change)
{
	struct wafer_slot *new = change->new;
	u32 i;

	for (i = 0; i < slots->nr; i++) {
		if (new && new->gfn < slots->slot[i]->gfn) {
			next->slot[next->nr++] = new;
			new = NULL;
		}
		if (slots->slot[i] != change->old)
			next->slot[next->nr++] = slots->slot[i];
	}
	if (new)
		next->slot[next->nr++] = new;
}

/**
 * wafer_slots_prepare() - everything of a change that can fail
 * @mmu: slots_lock held
 * @change: @old and @new are given
 *
 * Return: 0 or -ENOMEM.
 */
int wafer_slots_prepare(struct wafer_mmu *mmu, struct wafer_slots_change *change)
{
	struct wafer_slots *slots = wafer_slots_held(mmu);

	change->next = NULL;
	if (in_place(slots, change->old, change->new))
		return 0;
	/* Room for more: tables are mostly built in ascending order, then they grow in place. */
	change->next = wafer_slots_alloc(slots->nr + 1 + slots->nr / 2 + 7);
	if (!change->next)
		return -ENOMEM;
	merge(change->next, slots, change);
	return 0;
}

static void free_slots_rcu(struct rcu_head *head)
{
	kvfree(container_of(head, struct wafer_slots, rcu));
}

/**
 * wafer_slots_publish() - make a prepared change visible
 * @mmu: slots_lock and zap_lock held
 * @change: as wafer_slots_prepare() left it
 *
 * On return no fault section uses change->old any more; RCU readers may.
 */
void wafer_slots_publish(struct wafer_mmu *mmu, struct wafer_slots_change *change)
{
	struct wafer_slots *slots = wafer_slots_held(mmu);
	u32 at = change->old ? position(slots, slots->nr, change->old->gfn) : slots->nr;
	u64 generation = slots->generation + 1;

	if (change->next) {
		change->next->generation = generation;
		rcu_assign_pointer(mmu->slots, change->next);
		call_rcu(&slots->rcu, free_slots_rcu);
	} else {
		if (!change->new) {
			WRITE_ONCE(slots->nr, slots->nr - 1);
		} else if (change->old) {
			/* Pairs with the address dependency of those who look it up. */
			smp_store_release(&slots->slot[at], change->new);
		} else {
			/* Pairs as the one above, with those who still have an old, larger nr. */
			smp_store_release(&slots->slot[at], change->new);
			/* Pairs with wafer_slots_find(). */
			smp_store_release(&slots->nr, slots->nr + 1);
		}
		WRITE_ONCE(slots->generation, generation);
	}
	wafer_section_wait(mmu);
}

void wafer_slot_free(struct wafer_slot *slot)
{
	if (!slot)
		return;
	if (!slot->lends_dirty)
		kvfree(slot->dirty);
	kfree(slot);
}

static void free_slot_rcu(struct rcu_head *head)
{
	wafer_slot_free(container_of(head, struct wafer_slot, rcu));
}

/* For a slot that has been in the table. */
void wafer_slot_retire(struct wafer_slot *slot)
{
	call_rcu(&slot->rcu, free_slot_rcu);
}
