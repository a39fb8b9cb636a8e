// SPDX-License-Identifier: GPL-2.0
/* The slot table: a sorted array under RCU. Looking up, and exchanging one slot for another. */
#include "mmu/internal.h"

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

/**
 * wafer_slots_search() - the slot that @gfn is in
 * @slots: a slot table, under RCU
 * @gfn: any frame number
 * @hint: where it was found, for wafer_slots_find()
 *
 * Changes in place (publish()) leave the order intact at every moment, so that a search that meets
 * one finds the slot as before or as after it.
 *
 * Return: the slot, or NULL.
 */
const struct wafer_slot *wafer_slots_search(const struct wafer_slots *slots, gfn_t gfn, u32 *hint)
{
	/* Pairs with publish(): the slots below nr are there. */
	u32 nr = smp_load_acquire(&slots->nr), i = position(slots, nr, gfn);
	const struct wafer_slot *slot = i < nr ? READ_ONCE(slots->slot[i]) : NULL;

	if (!slot || gfn - slot->gfn >= slot->npages)
		return NULL;
	*hint = i;
	return slot;
}

const struct wafer_slot *wafer_slot_find(struct wafer_mmu *mmu, gfn_t gfn)
{
	u32 hint;

	return wafer_slots_search(rcu_dereference_check(mmu->slots, rcu_read_lock_sched_held() ||
							lockdep_is_held(&mmu->slots_lock)),
				  gfn, &hint);
}

/* Where sleeping is allowed. 0: *@hva is the address; -EFAULT: not memory, or not writable. */
int wafer_gfn_hva(struct wafer_mmu *mmu, gfn_t gfn, bool write, u32 *hint, hva_t *hva)
{
	const struct wafer_slot *slot;
	u32 none = ~0u;
	int err = -EFAULT;

	rcu_read_lock();
	slot = wafer_slots_find(rcu_dereference(mmu->slots), gfn, hint ?: &none);
	if (slot && !(write && (slot->flags & KVM_MEM_READONLY))) {
		*hva = wafer_slot_hva(slot, gfn);
		err = 0;
	}
	rcu_read_unlock();
	return err;
}

static void free_slot(struct wafer_slot *slot)
{
	if (slot && !slot->lends_dirty)
		kvfree(slot->dirty);
	kfree(slot);
}

static void free_slot_rcu(struct rcu_head *head)
{
	free_slot(container_of(head, struct wafer_slot, rcu));
}

/* Room for more: tables are mostly built in ascending order, then they grow in place. */
static struct wafer_slots *alloc_slots(u32 nr)
{
	u32 room = nr + nr / 2 + 8;
	struct wafer_slots *slots = kvzalloc(struct_size(slots, slot, room), GFP_KERNEL_ACCOUNT);

	if (slots)
		slots->room = room;
	return slots;
}

int wafer_slots_create(struct wafer_mmu *mmu)
{
	xa_init(&mmu->by_id);
	RCU_INIT_POINTER(mmu->slots, alloc_slots(0));
	return rcu_access_pointer(mmu->slots) ? 0 : -ENOMEM;
}

/* Nobody else knows them any more. */
void wafer_slots_free(struct wafer_mmu *mmu)
{
	struct wafer_slots *slots = rcu_dereference_protected(mmu->slots, true);

	while (slots && slots->nr)
		free_slot(slots->slot[--slots->nr]);
	kvfree(slots);
	xa_destroy(&mmu->by_id);
}

/*
 * Makes a change visible: @old leaves the table, @new enters it; either may be NULL. @next is the
 * new table, or NULL where one store keeps the order intact and the old one is changed in place.
 * On return no fault section uses @old any more; RCU readers may.
 */
static void publish(struct wafer_mmu *mmu, struct wafer_slot *old, struct wafer_slot *new,
		    struct wafer_slots *next)
{
	struct wafer_slots *slots = wafer_slots_held(mmu);
	u64 generation = slots->generation + 1;

	if (next) {
		next->generation = generation;
		rcu_assign_pointer(mmu->slots, next);
		kvfree_rcu(slots, rcu);
	} else {
		u32 at = old ? position(slots, slots->nr, old->gfn) : slots->nr;

		/* Pairs with the address dependency of those who look it up. */
		smp_store_release(&slots->slot[at], new);
		/* Pairs with wafer_slots_find(). */
		smp_store_release(&slots->nr, max(slots->nr, at + 1));
		/* Pairs with in_section(). */
		smp_store_release(&slots->generation, generation);
	}
	wafer_section_wait(mmu);
}

/* The table with @new in the place of @old. NULL: no memory. */
static struct wafer_slots *rebuild(const struct wafer_slots *slots, const struct wafer_slot *old,
				   struct wafer_slot *new)
{
	struct wafer_slots *next = alloc_slots(slots->nr + 1);

	for (u32 i = 0; next && i < slots->nr; i++) {
		if (new && new->gfn < slots->slot[i]->gfn) {
			next->slot[next->nr++] = new;
			new = NULL;
		}
		if (slots->slot[i] != old)
			next->slot[next->nr++] = slots->slot[i];
	}
	if (next && new)
		next->slot[next->nr++] = new;
	return next;
}

/*
 * What can fail comes first. After it no vCPU uses a mapping that @old had and @new does not have.
 *
 * Until it is unmapped a slot that goes from where it was stays known to the notifier: its memory
 * must not be freed under the guest. Its range is closed, as no fault meets it there any more, but
 * a section may look at the tables that are taken out (mmu/direct.c).
 */
static int replace(struct wafer_mmu *mmu, u32 id, struct wafer_slot *old, struct wafer_slot *new)
{
	struct wafer_slots *slots = wafer_slots_held(mmu), *next = NULL;
	bool moved = old && (!new || new->gfn != old->gfn), in_place = old && !moved;
	struct wafer_pt_op op = wafer_pt_op_zap(0, 0);
	int err = 0;

	if (!old && slots->nr < slots->room)
		in_place = !slots->nr || slots->slot[slots->nr - 1]->gfn < new->gfn;
	if (!in_place) {
		next = rebuild(slots, old, new);
		if (!next)
			return -ENOMEM;
	}
	if (new)
		err = xa_err(xa_store(&mmu->by_id, id, new, GFP_KERNEL_ACCOUNT));
	else
		xa_erase(&mmu->by_id, id);
	if (err) {
		kvfree(next);
		return err;
	}
	if (old)
		old->lends_dirty = new && old->dirty && new->dirty == old->dirty;
	spin_lock(&mmu->zap_lock);
	if (moved) {
		wafer_range_close(mmu, old->hva, wafer_slot_hva_end(old));
		mmu->retiring = old;
	}
	publish(mmu, old, new, next);
	if (moved) {
		op = wafer_pt_op_zap(old->gfn, old->npages);
		op.log = old->dirty;	/* a slot that moves keeps its log */
		op.log_gfn = old->gfn;
		wafer_range_op(mmu, &op, true);
		mmu->retiring = NULL;
		/* A notifier that has let the lock go in between must not go on with this slot. */
		slots = wafer_slots_held(mmu);
		WRITE_ONCE(slots->generation, slots->generation + 1);
		wafer_range_open(mmu);
	}
	spin_unlock(&mmu->zap_lock);
	wafer_op_finish(mmu, &op);
	if (old && !moved) {	/* nothing else can have changed */
		if (wafer_slot_logged(new))
			wafer_log_start(mmu, new);
		else
			wafer_log_stop(mmu, new);
	}
	if (old)
		call_rcu(&old->rcu, free_slot_rcu);
	return 0;
}

/* The slot that takes @old's place (NULL: none), which may lend its bitmap. NULL: no memory. */
static struct wafer_slot *make_slot(const struct wafer_mmu *mmu,
				    const struct kvm_userspace_memory_region *mr,
				    struct wafer_slot *old)
{
	struct wafer_slot *slot = kzalloc(sizeof(*slot), GFP_KERNEL_ACCOUNT);
	u64 differ = (mr->guest_phys_addr ^ mr->userspace_addr) >> PAGE_SHIFT;

	if (!slot)
		return NULL;
	slot->gfn = mr->guest_phys_addr >> PAGE_SHIFT;
	slot->npages = mr->memory_size >> PAGE_SHIFT;
	slot->hva = mr->userspace_addr;
	slot->flags = mr->flags;
	slot->id = mr->slot;
	/* Huge mappings need an address and a frame that lie alike in their huge pages. */
	for (slot->max_level = 3; differ & (wafer_pt_span(slot->max_level) - 1);)
		slot->max_level--;
	if (!wafer_slot_logged(slot) || mmu->ring_size)
		return slot;
	slot->dirty = old && old->dirty ? old->dirty :
		kvcalloc(BITS_TO_LONGS(slot->npages), sizeof(long), GFP_KERNEL_ACCOUNT);
	if (!slot->dirty) {
		kfree(slot);
		return NULL;
	}
	if (!(old && old->dirty) && (mmu->manual_protect & KVM_DIRTY_LOG_INITIALLY_SET))
		bitmap_set(slot->dirty, 0, slot->npages);
	return slot;
}

#define RULE(broken, field, rule) \
	((broken) ? wafer_refuse(r, -EINVAL, #field, mr->field, rule) : 0)

/* What any slot must be, and what must not change in one that exists. */
static int check_region(struct wafer_mmu *mmu, const struct kvm_userspace_memory_region *mr,
			const struct wafer_slot *old, struct wafer_refusal *r)
{
	u64 size = mr->memory_size, gpa = mr->guest_phys_addr, hva = mr->userspace_addr;
	/* What the table and the CPU can address. */
	u32 bits = min3(mmu->pt.levels * 9 + PAGE_SHIFT, (int)boot_cpu_data.x86_phys_bits, 52);
	u32 unknown = mr->flags & ~(KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY);
	bool bad_hva = !PAGE_ALIGNED(hva) || hva > TASK_SIZE_MAX || size > TASK_SIZE_MAX - hva;
	bool stays = size && old;

	return RULE(mr->slot >= WAFER_MAX_SLOTS, slot,
		    "below 32764 (KVM_CAP_NR_MEMSLOTS), address space 0") ?:
	       RULE(unknown, flags, "KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY") ?:
	       RULE(!PAGE_ALIGNED(size) || size >> PAGE_SHIFT > WAFER_SLOT_MAX_PAGES, memory_size,
		    "whole pages, fewer than 2^31") ?:
	       RULE(!PAGE_ALIGNED(gpa) || gpa + size < gpa, guest_phys_addr,
		    "page-aligned, the end at most 2^64") ?:
	       RULE(bad_hva, userspace_addr, "page-aligned, all of it in user space") ?:
	       RULE(size && (gpa + size - 1) >> bits, guest_phys_addr,
		    "the end within the physical address width (CPUID 0x80000008)") ?:
	       RULE(!size && !old, slot, "a slot that exists, to be deleted") ?:
	       RULE(stays && size >> PAGE_SHIFT != old->npages, memory_size,
		    "as the slot has it, or 0 to delete") ?:
	       RULE(stays && hva != old->hva, userspace_addr, "as the slot has it") ?:
	       RULE(stays && (mr->flags ^ old->flags) & KVM_MEM_READONLY, flags,
		    "KVM_MEM_READONLY can not change");
}

static int set_region(struct wafer_mmu *mmu, const struct kvm_userspace_memory_region *mr,
		      struct wafer_refusal *r)
{
	struct wafer_slot *old = mr->slot < WAFER_MAX_SLOTS ? xa_load(&mmu->by_id, mr->slot) : NULL;
	gfn_t gfn = mr->guest_phys_addr >> PAGE_SHIFT;
	struct wafer_slots *slots = wafer_slots_held(mmu);
	u32 at = position(slots, slots->nr, gfn);
	struct wafer_slot *new;
	int err = check_region(mmu, mr, old, r);

	if (err || (mr->memory_size && old && old->gfn == gfn && old->flags == mr->flags))
		return err;
	if (!mr->memory_size)
		return replace(mmu, mr->slot, old, NULL);
	/* The first slot, but for the old one, that ends above the new one's start. */
	if (at < slots->nr && slots->slot[at] == old)
		at++;
	if (at < slots->nr && slots->slot[at]->gfn < gfn + (mr->memory_size >> PAGE_SHIFT))
		return wafer_refuse(r, -EEXIST, "guest_phys_addr", mr->guest_phys_addr,
				    "no overlap with another slot");
	new = make_slot(mmu, mr, old);
	err = new ? replace(mmu, mr->slot, old, new) : -ENOMEM;
	if (err && new) {
		new->lends_dirty = old && new->dirty == old->dirty;
		free_slot(new);
	}
	return err;
}

int wafer_set_memory_region(struct wafer_mmu *mmu, const struct kvm_userspace_memory_region *mr,
			    struct wafer_refusal *refusal)
{
	int err;

	mutex_lock(&mmu->slots_lock);
	err = set_region(mmu, mr, refusal);
	mutex_unlock(&mmu->slots_lock);
	return err;
}
