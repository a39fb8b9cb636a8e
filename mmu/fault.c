// SPDX-License-Identifier: GPL-2.0
/* Nested page faults: in the window when the host has the page, else with interrupts on. */
#include "mmu/internal.h"

#define SLOW_TRIES	4

/* Besides enum wafer_fault_result: another page is mapped, which the host has replaced. */
#define FAULT_STALE	3

/* One fault on its way through the section. */
struct fault {
	struct wafer_fault_ctx *ctx;
	struct wafer_mmu *mmu;
	const struct wafer_slot *slot;
	gfn_t gfn;
	hva_t hva;
	u32 access;
	unsigned int open;	/* the largest level that may be mapped now */
	bool cold;		/* the host has just got the page: hardly its neighbours */
	struct wafer_host_page host;
};

/* The right to write is the same bit in the host's entries as in EPT's and NPT's. */
static_assert(_PAGE_RW == WAFER_PT_WRITE);

/*
 * Neighbours that the host has mapped too, in the same way. They come without accessed and dirty
 * bits, and in a logged slot without the right to write: nothing is reported that nobody did. @ep
 * and f->host.at are entries in tables of the same shape; the block ends where either table does.
 */
static void fault_around(const struct fault *f, u64 *ep)
{
	const struct wafer_slot *slot = f->slot;
	const u64 bits = f->host.bits | f->mmu->pt.f->read | f->mmu->pt.f->exec;
	const u64 own = f->host.entry, alike = WAFER_HOST_ALIKE;
	const u64 *at = f->host.level == 1 ? f->host.at : NULL;
	u64 in_block = f->gfn & (WAFER_FAULT_AROUND - 1);
	u64 in_table = (f->hva >> PAGE_SHIFT) & (WAFER_PT_ENTRIES - 1);
	u64 before = min3(in_block, in_table, f->gfn - slot->gfn);
	u64 after = min3(WAFER_FAULT_AROUND - 1 - in_block, WAFER_PT_ENTRIES - 1 - in_table,
			 wafer_slot_end(slot) - 1 - f->gfn);
	u64 e = (f->host.pfn - before) << PAGE_SHIFT | (f->host.writable ? _PAGE_RW : 0);
	u64 keep = PTE_PFN_MASK, *end = ep + after;

	if (!(slot->flags & (KVM_MEM_READONLY | KVM_MEM_LOG_DIRTY_PAGES)) &&
	    (f->host.above & _PAGE_RW))
		keep |= WAFER_PT_WRITE;
	if (at)
		at -= before;
	for (ep -= before; ep <= end; ep++, e += PAGE_SIZE) {
		if (at) {
			e = READ_ONCE(*at++);
			if ((e ^ own) & alike)
				continue;
		}
		if (!READ_ONCE(*ep))
			cmpxchg(ep, 0, (e & keep) | bits);
	}
}

static int install(struct fault *f)
{
	struct wafer_mmu *mmu = f->mmu;
	const struct wafer_pt_format *format = mmu->pt.f;
	bool written = f->access & WAFER_FAULT_WRITE, fetched = f->access & WAFER_FAULT_FETCH;
	bool logged = wafer_slot_logged(f->slot), small = logged || (fetched && mmu->pt.nx_huge);
	/*
	 * A page that is not logged is writable whenever the host's is. In a logged slot: if writes
	 * are told by dirty bits, which start clear; else only for the write that is logged now.
	 */
	bool write = f->host.writable && !(f->slot->flags & KVM_MEM_READONLY) &&
		     (!logged || written || !(mmu->arm & WAFER_PT_WRITE));
	struct wafer_pt_leaf leaf = {
		.gfn = f->gfn, .pfn = f->host.pfn,
		.bits = f->host.bits | format->read | format->exec | (write ? format->write : 0),
		.need = format->read | (written ? format->write : 0) | (fetched ? format->exec : 0),
		/* As large as the host's mapping, the slot and the log allow. */
		.level = wafer_slot_level(mmu, f->slot, f->gfn, small ? 1 : f->host.level),
	};
	u64 *ep;

	if (leaf.level > f->open)
		return WAFER_FAULT_SLOW;
	/* Spares the CPU the update. Where it keeps the log, it must find the dirty bit clear. */
	if (mmu->pt.has_ad)
		leaf.bits |= format->accessed | (written && !mmu->ring_size ? format->dirty : 0);
	switch (wafer_pt_map(&mmu->pt, &leaf, &f->ctx->pages, &ep)) {
	case -ENOMEM:
		return WAFER_FAULT_SLOW;
	case -EEXIST:
		return FAULT_STALE;
	}
	/* Rings learn of writes from the hardware's log, else from write faults. */
	if (written && logged && mmu->ring_size && (mmu->arm & WAFER_PT_WRITE))
		wafer_ring_push(&f->ctx->ring, f->slot, f->gfn);
	/* What is around is of the same table of the host's, hence of the same 2 MiB. */
	if (ep && f->open > 1 && !f->cold)
		fault_around(f, ep);
	return WAFER_FAULT_FIXED;
}

/* Interrupts off, see section.h. */
static int in_section(struct wafer_fault_ctx *ctx, gpa_t gpa, u32 access, bool any_key)
{
	struct fault f = {
		.ctx = ctx, .mmu = ctx->mmu, .gfn = gpa >> PAGE_SHIFT,
		.access = access, .cold = any_key,
	};
	const struct wafer_slots *slots = rcu_dereference_sched(f.mmu->slots);
	/* Pairs with publish(): who reads the number of a change finds what it has changed. */
	u64 generation = smp_load_acquire(&slots->generation);
	bool write = access & WAFER_FAULT_WRITE;

	f.slot = wafer_slots_find(slots, f.gfn, &ctx->last_slot);
	if (!f.slot) {
		ctx->mmio_gfn = f.gfn;
		ctx->mmio_generation = generation;
	}
	if (!f.slot || (write && (f.slot->flags & KVM_MEM_READONLY)))
		return WAFER_FAULT_MMIO;
	f.hva = wafer_slot_hva(f.slot, f.gfn);
	f.open = wafer_open_level(f.mmu, f.hva);
	if (!f.open || !wafer_host_walk(f.mmu, f.hva, any_key, &f.host) ||
	    (write && !f.host.writable)) {
		ctx->absent_gfn = f.gfn;
		ctx->absent_hva = f.hva;
		return WAFER_FAULT_SLOW;
	}
	return install(&f);
}

static int fault(struct wafer_fault_ctx *ctx, gpa_t gpa, u32 access, bool any_key)
{
	int r;

	wafer_section_enter(ctx);
	r = in_section(ctx, gpa, access, any_key);
	wafer_section_leave(ctx);
	return r;
}

int wafer_mmu_fault_fast(struct wafer_fault_ctx *ctx, gpa_t gpa, u32 access)
{
	const struct wafer_slots *slots = rcu_dereference_sched(ctx->mmu->slots);
	int r;

	ctx->stat_faults++;
	/* A device, as before: what a section would find is what it found then. */
	if (ctx->mmio_gfn == gpa >> PAGE_SHIFT &&
	    ctx->mmio_generation == READ_ONCE(slots->generation)) {
		ctx->stat_mmio++;
		return WAFER_FAULT_MMIO;
	}
	r = fault(ctx, gpa, access, false);
	ctx->stat_fast += r == WAFER_FAULT_FIXED;
	ctx->stat_mmio += r == WAFER_FAULT_MMIO;
	return r == FAULT_STALE ? WAFER_FAULT_SLOW : r;
}

/* A device driver has replaced a page of its VM_PFNMAP area and no notifier said so: follow. */
static void zap_stale(struct wafer_mmu *mmu, hva_t hva)
{
	struct wafer_pt_op op = wafer_pt_op_zap(0, 0);

	spin_lock(&mmu->zap_lock);
	wafer_hva_op(mmu, hva, hva + PAGE_SIZE, &op, false);
	spin_unlock(&mmu->zap_lock);
	wafer_op_finish(mmu, &op);
}

int wafer_mmu_fault(struct wafer_fault_ctx *ctx, gpa_t gpa, u32 access)
{
	struct wafer_mmu *mmu = ctx->mmu;
	bool write = access & WAFER_FAULT_WRITE;
	hva_t hva = ctx->absent_hva;
	bool known = hva && ctx->absent_gfn == gpa >> PAGE_SHIFT;
	int r;

	ctx->absent_hva = 0;
	for (unsigned int tries = 0; tries < SLOW_TRIES; tries++, known = false) {
		if (!known && wafer_gfn_hva(mmu, gpa >> PAGE_SHIFT, write, &ctx->last_slot, &hva))
			return WAFER_FAULT_MMIO;
		r = wafer_host_fault_in(mmu->mm, hva, write) ?:
		    wafer_pt_topup(&ctx->pages, mmu->pt.levels - 1);
		/* It may be another slot's address by now: looked up, if nothing else is there. */
		if (r == -EFAULT && known)
			continue;
		if (r)
			return r;
		local_irq_disable();
		r = fault(ctx, gpa, access, true);
		local_irq_enable();
		if (r == FAULT_STALE)
			zap_stale(mmu, hva);
		else if (r != WAFER_FAULT_SLOW)
			return r;
		cond_resched();
	}
	/*
	 * The range stays closed, or the page went again: the guest may come back after a look at
	 * signals.
	 */
	return WAFER_FAULT_FIXED;
}
