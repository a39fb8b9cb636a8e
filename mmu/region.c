// SPDX-License-Identifier: GPL-2.0
/* KVM_SET_USER_MEMORY_REGION: slots are created, deleted, moved; dirty logging goes on and off. */
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "mmu/internal.h"

/* First frame number that no slot can reach: what the table and the CPU can address. */
static gfn_t gfn_limit(const struct wafer_mmu *mmu)
{
	u32 bits = min_t(u32, mmu->pt->levels * 9 + PAGE_SHIFT, boot_cpu_data.x86_phys_bits);

	return 1ull << (min(bits, 52u) - PAGE_SHIFT);
}

static int check_id(u32 slot, struct wafer_refusal *refusal)
{
	if (slot >> 16)
		return wafer_refuse(refusal, -EINVAL, "slot", slot,
				    "bits 31:16: only address space 0 exists");
	if (slot >= WAFER_MAX_SLOTS)
		return wafer_refuse(refusal, -EINVAL, "slot", slot,
				    "below 32764 (KVM_CAP_NR_MEMSLOTS)");
	return 0;
}

static int check_region(struct wafer_mmu *mmu, const struct kvm_userspace_memory_region *mr,
			struct wafer_refusal *r)
{
	u64 size = mr->memory_size, gpa = mr->guest_phys_addr, hva = mr->userspace_addr;
	int err = check_id(mr->slot, r);

	if (err)
		return err;
	if (mr->flags & ~(KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY))
		return wafer_refuse(r, -EINVAL, "flags", mr->flags,
				    "KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY");
	if (!PAGE_ALIGNED(size) || size >> PAGE_SHIFT > WAFER_SLOT_MAX_PAGES)
		return wafer_refuse(r, -EINVAL, "memory_size", size,
				    "whole pages, fewer than 2^31");
	if (!PAGE_ALIGNED(gpa) || gpa + size < gpa)
		return wafer_refuse(r, -EINVAL, "guest_phys_addr", gpa,
				    "page-aligned, the end at most 2^64");
	if (!PAGE_ALIGNED(hva) || hva > TASK_SIZE_MAX || size > TASK_SIZE_MAX - hva)
		return wafer_refuse(r, -EINVAL, "userspace_addr", hva,
				    "page-aligned, all of it in user space");
	if (size && (gpa + size - 1) >> PAGE_SHIFT >= gfn_limit(mmu))
		return wafer_refuse(r, -EINVAL, "guest_phys_addr", gpa,
				    "the end within the physical address width (CPUID 0x80000008)");
	return 0;
}

/* Huge mappings need an address and a frame that lie alike in their huge pages. */
static u8 congruent_level(gfn_t gfn, hva_t hva)
{
	u64 differ = gfn ^ (hva >> PAGE_SHIFT);
	u8 level = 3;

	while (level > 1 && (differ & (wafer_pt_span(level) - 1)))
		level--;
	return level;
}

/* The slot that takes @old's place (NULL: none), which may lend its bitmap. NULL: no memory. */
static struct wafer_slot *make_slot(const struct wafer_mmu *mmu,
				    const struct kvm_userspace_memory_region *mr,
				    struct wafer_slot *old)
{
	struct wafer_slot *slot = kzalloc(sizeof(*slot), GFP_KERNEL_ACCOUNT);

	if (!slot)
		return NULL;
	slot->gfn = mr->guest_phys_addr >> PAGE_SHIFT;
	slot->npages = mr->memory_size >> PAGE_SHIFT;
	slot->hva = mr->userspace_addr;
	slot->flags = mr->flags;
	slot->id = mr->slot;
	slot->max_level = congruent_level(slot->gfn, slot->hva);
	if (!wafer_slot_logged(slot) || mmu->ring_size)
		return slot;
	if (old && old->dirty) {
		slot->dirty = old->dirty;
		return slot;
	}
	slot->dirty = kvcalloc(BITS_TO_LONGS(slot->npages), sizeof(long), GFP_KERNEL_ACCOUNT);
	if (!slot->dirty) {
		kfree(slot);
		return NULL;
	}
	if (mmu->manual_protect & KVM_DIRTY_LOG_INITIALLY_SET)
		bitmap_set(slot->dirty, 0, slot->npages);
	return slot;
}

/* Nothing of @change has been seen by anybody. */
static void drop_new(struct wafer_slots_change *change)
{
	kvfree(change->next);
	if (change->new && change->old && change->new->dirty == change->old->dirty)
		change->new->lends_dirty = true;
	wafer_slot_free(change->new);
}

/*
 * Publishes a change that takes a slot away from where it was, and unmaps what it had there. Until
 * then the old slot stays known to the notifier: its memory must not be freed under the guest. Its
 * range is closed, as no fault meets it there any more, but a section may look at the tables that
 * are taken out (mmu/direct.c).
 */
static void publish_and_unmap(struct wafer_mmu *mmu, struct wafer_slots_change *change)
{
	struct wafer_slot *old = change->old;
	hva_t hva_end = old->hva + (old->npages << PAGE_SHIFT);
	struct wafer_pt_op op = wafer_pt_op_zap(mmu->pt, old->gfn, old->npages);
	struct wafer_slots *slots;

	op.log = old->dirty;	/* a slot that moves keeps its log */
	op.log_gfn = old->gfn;
	spin_lock(&mmu->zap_lock);
	wafer_range_close(mmu, old->hva, hva_end);
	mmu->retiring = old;
	wafer_slots_publish(mmu, change);
	wafer_range_op(mmu, &op, true);
	mmu->retiring = NULL;
	/* A notifier that has let the lock go in between must not go on with this slot. */
	slots = wafer_slots_held(mmu);
	WRITE_ONCE(slots->generation, slots->generation + 1);
	wafer_range_open(mmu, old->hva, hva_end);
	spin_unlock(&mmu->zap_lock);
	wafer_op_finish(mmu, &op);
}

/* After this no vCPU uses a mapping that change->old had and change->new does not have. */
static void commit(struct wafer_mmu *mmu, struct wafer_slots_change *change)
{
	struct wafer_slot *old = change->old, *new = change->new;

	if (old && new)
		old->lends_dirty = old->dirty && new->dirty == old->dirty;
	if (old && (!new || new->gfn != old->gfn)) {
		publish_and_unmap(mmu, change);
	} else {
		spin_lock(&mmu->zap_lock);
		wafer_slots_publish(mmu, change);
		spin_unlock(&mmu->zap_lock);
		if (old && wafer_slot_logged(new) && !wafer_slot_logged(old))
			wafer_log_start(mmu, new);
		else if (old && !wafer_slot_logged(new))
			wafer_log_stop(mmu, new);
	}
	if (old)
		wafer_slot_retire(old);
}

static int replace(struct wafer_mmu *mmu, u32 id, struct wafer_slots_change *change)
{
	int err = wafer_slots_prepare(mmu, change);

	if (err)
		goto fail;
	if (change->new) {
		err = xa_err(xa_store(&mmu->by_id, id, change->new, GFP_KERNEL_ACCOUNT));
		if (err)
			goto fail;
	} else {
		xa_erase(&mmu->by_id, id);
	}
	commit(mmu, change);
	return 0;
fail:
	drop_new(change);
	return err;
}

/* What may change in a slot that exists. */
static int check_change(const struct wafer_slot *old, const struct kvm_userspace_memory_region *mr,
			struct wafer_refusal *r)
{
	if (mr->memory_size >> PAGE_SHIFT != old->npages)
		return wafer_refuse(r, -EINVAL, "memory_size", mr->memory_size,
				    "as the slot has it, or 0 to delete");
	if (mr->userspace_addr != old->hva)
		return wafer_refuse(r, -EINVAL, "userspace_addr", mr->userspace_addr,
				    "as the slot has it");
	if ((mr->flags ^ old->flags) & KVM_MEM_READONLY)
		return wafer_refuse(r, -EINVAL, "flags", mr->flags,
				    "KVM_MEM_READONLY can not change");
	return 0;
}

static int set_region(struct wafer_mmu *mmu, const struct kvm_userspace_memory_region *mr,
		      struct wafer_refusal *r)
{
	struct wafer_slots_change change = { .old = xa_load(&mmu->by_id, mr->slot) };
	struct wafer_slot *old = change.old;
	int err;

	if (!mr->memory_size) {
		if (!old)
			return wafer_refuse(r, -EINVAL, "slot", mr->slot,
					    "a slot that exists, to be deleted");
		return replace(mmu, mr->slot, &change);
	}
	if (old) {
		err = check_change(old, mr, r);
		if (err)
			return err;
		if (old->gfn == mr->guest_phys_addr >> PAGE_SHIFT && old->flags == mr->flags)
			return 0;
	}
	change.new = make_slot(mmu, mr, old);
	if (!change.new)
		return -ENOMEM;
	if (wafer_slots_overlap(wafer_slots_held(mmu), change.new, old)) {
		drop_new(&change);
		return wafer_refuse(r, -EEXIST, "guest_phys_addr", mr->guest_phys_addr,
				    "no overlap with another slot");
	}
	return replace(mmu, mr->slot, &change);
}

int wafer_set_memory_region(struct wafer_mmu *mmu, const struct kvm_userspace_memory_region *mr,
			    struct wafer_refusal *refusal)
{
	int err = check_region(mmu, mr, refusal);

	if (err)
		return err;
	mutex_lock(&mmu->slots_lock);
	err = set_region(mmu, mr, refusal);
	mutex_unlock(&mmu->slots_lock);
	return err;
}
