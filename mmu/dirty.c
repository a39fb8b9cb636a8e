// SPDX-License-Identifier: GPL-2.0
/*
 * Dirty logs as bitmaps: KVM_GET_DIRTY_LOG, KVM_CLEAR_DIRTY_LOG, and how a page gets in.
 *
 * A nested entry remembers a write in its dirty bit or, where the CPU has none, in its right to
 * write, which a logged page gets by the write fault. That is collected when somebody asks for the
 * log, and whenever the entry goes. The bitmap itself holds what was collected before and what the
 * kernel writes.
 */
#include "mmu/internal.h"

/* Words of a bitmap that are copied at once, and those at most that are passed over at once. */
#define CHUNK_WORDS	64ull
#define ZERO_WORDS	65536ull

/* How writes are noticed. A ring wants an event for each: the hardware's log, or a fault. */
void wafer_log_mode(struct wafer_mmu *mmu)
{
	bool by_bit = mmu->ring_size ? wafer_caps.has_pml : wafer_caps.has_ad;

	mmu->arm = mmu->pt.f->dirty | (by_bit ? 0 : WAFER_PT_WRITE);
}

static void run_op(struct wafer_mmu *mmu, struct wafer_pt_op *op, gfn_t gfn, u64 npages)
{
	op->start = gfn;
	op->gfn = gfn;
	op->end = gfn + npages;
	spin_lock(&mmu->zap_lock);
	wafer_range_op(mmu, op, true);
	spin_unlock(&mmu->zap_lock);
}

/**
 * wafer_log_start() - a slot is logged from now on
 * @mmu: slots_lock held
 * @slot: already published
 *
 * Huge leaves are split; what was written so far is not reported, but after
 * KVM_DIRTY_LOG_INITIALLY_SET, which leaves both to the first KVM_CLEAR_DIRTY_LOG.
 */
void wafer_log_start(struct wafer_mmu *mmu, const struct wafer_slot *slot)
{
	struct wafer_pt_op op = wafer_pt_op(0, 0, mmu->arm, mmu->arm);
	struct wafer_pt_pages pages = { };

	if (slot->dirty && (mmu->manual_protect & KVM_DIRTY_LOG_INITIALLY_SET))
		return;
	op.pages = &pages;
	run_op(mmu, &op, slot->gfn, slot->npages);
	wafer_op_finish(mmu, &op);
	wafer_pt_drain(&pages);
}

/**
 * wafer_log_stop() - a slot is no longer logged: what can be huge again is unmapped for that
 * @mmu: slots_lock held
 * @slot: already published
 */
void wafer_log_stop(struct wafer_mmu *mmu, const struct wafer_slot *slot)
{
	struct wafer_pt_op op = wafer_pt_op_zap(0, 0);
	struct wafer_host_page host;
	unsigned int level;
	gfn_t gfn, next;

	if (slot->max_level == 1 || mmu->max_level == 1)
		return;
	spin_lock(&mmu->zap_lock);
	/* Tables are taken out: nobody may be inside. */
	wafer_range_close(mmu, slot->hva, wafer_slot_hva_end(slot));
	wafer_section_wait(mmu);
	for (gfn = slot->gfn; gfn < wafer_slot_end(slot); gfn = next) {
		local_irq_disable();
		if (!wafer_host_walk(mmu, wafer_slot_hva(slot, gfn), true, &host))
			host.level = 1;
		local_irq_enable();
		level = wafer_slot_level(mmu, slot, gfn, host.level);
		next = (gfn | (wafer_pt_span(max(level, 2u)) - 1)) + 1;
		if (level > 1) {
			op.start = gfn;
			op.gfn = gfn;
			op.end = next;
			wafer_range_op(mmu, &op, true);
		}
		cond_resched_lock(&mmu->zap_lock);
	}
	wafer_range_open(mmu);
	spin_unlock(&mmu->zap_lock);
	wafer_op_finish(mmu, &op);
}

/* A slot with a bitmap. */
static int find_logged(struct wafer_mmu *mmu, u32 id, struct wafer_slot **slot,
		       struct wafer_refusal *r)
{
	if (mmu->ring_size)
		return wafer_refuse(r, -ENXIO, "slot", id,
				    "no bitmaps with KVM_CAP_DIRTY_LOG_RING");
	if (id >= WAFER_MAX_SLOTS)
		return wafer_refuse(r, -EINVAL, "slot", id, "below 32764, address space 0");
	*slot = xa_load(&mmu->by_id, id);
	if (!*slot || !(*slot)->dirty)
		return wafer_refuse(r, -ENOENT, "slot", id, "a slot with KVM_MEM_LOG_DIRTY_PAGES");
	return 0;
}

/* How many words of @log have no bit set, looked at eight at a time. */
static u64 zero_words(const unsigned long *log, u64 max)
{
	u64 n;

	for (n = 0; n + 8 <= max; n += 8, log += 8)
		/* A bit that is set meanwhile is in this log or in the next. */
		if (data_race(log[0] | log[1] | log[2] | log[3] |
			      log[4] | log[5] | log[6] | log[7]))
			break;
	return n;
}

/*
 * What @log has comes to @bits, or they have @told what is meant, and with @clear it leaves the
 * log, under zap_lock. The flush comes after that: a notifier that has logged a page which it
 * zapped has then counted its zap, so that the flush is not left out, and no write by way of a TLB
 * is later than what the caller reads. A bit that it sets after the flush is left for the next log.
 */
static void take(struct wafer_mmu *mmu, unsigned long *log, unsigned long *bits, u64 n, bool told,
		 bool clear)
{
	spin_lock(&mmu->zap_lock);
	for (; n--; log++, bits++) {
		if (!told)
			*bits = READ_ONCE(*log);
		if (clear && *bits)
			atomic_long_andnot(*bits, (atomic_long_t *)log);
	}
	spin_unlock(&mmu->zap_lock);
}

/* From the bitmap to @user, and out of it if @clear: where nothing was written, in large steps. */
static int hand_out(struct wafer_mmu *mmu, struct wafer_slot *slot, unsigned long __user *user,
		    bool clear)
{
	unsigned long bits[CHUNK_WORDS], *log = slot->dirty;
	u64 left, n, i;

	for (left = BITS_TO_LONGS(slot->npages); left; left -= n, log += n, user += n) {
		cond_resched();
		n = zero_words(log, min(left, ZERO_WORDS));
		if (n) {
			if (clear_user(user, n * sizeof(long)))
				return -EFAULT;
			continue;
		}
		n = min(left, CHUNK_WORDS);
		take(mmu, log, bits, n, false, clear);
		if (!copy_to_user(user, bits, n * sizeof(long)))
			continue;
		/* What user space has not got is not lost. */
		for (i = 0; clear && i < n; i++)
			atomic_long_or(bits[i], (atomic_long_t *)&log[i]);
		return -EFAULT;
	}
	return 0;
}

/*
 * What the entries know goes to the bitmap and, unless they are under manual protection, they are
 * armed again. Then the bitmap goes to @user. The flush makes writes after this call set their
 * bits; writes before it are in what the caller reads.
 */
static int get_log(struct wafer_mmu *mmu, struct wafer_slot *slot, unsigned long __user *user)
{
	bool clear = !(mmu->manual_protect & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE);
	struct wafer_pt_op op = wafer_pt_op(0, 0, mmu->pt.dirty, 0);
	int err;

	if (clear)
		op = wafer_pt_op(0, 0, mmu->arm, mmu->arm);
	op.log = slot->dirty;
	op.log_gfn = slot->gfn;
	op.settle = mmu->pt.has_ad;
	run_op(mmu, &op, slot->gfn, slot->npages);
	err = hand_out(mmu, slot, user, clear);
	wafer_op_finish(mmu, &op);
	return err;
}

/*
 * The pages that @user tells are armed and leave the bitmap. Pages that were written before the
 * flush are read by the caller after it.
 */
static int clear_log(struct wafer_mmu *mmu, struct wafer_slot *slot, u64 at, u64 end,
		     unsigned long __user *user)
{
	struct wafer_pt_op op = wafer_pt_op(0, 0, mmu->arm, mmu->arm);
	struct wafer_pt_pages pages = { };
	unsigned long bits[CHUNK_WORDS];
	int err = 0;
	u64 n;

	op.log = slot->dirty;
	op.log_gfn = slot->gfn;
	op.mask = bits;
	op.pages = &pages;
	for (; at < end && !err; at += n, user += BITS_TO_LONGS(n)) {
		n = min(end - at, CHUNK_WORDS * BITS_PER_LONG);
		if (copy_from_user(bits, user, BITS_TO_LONGS(n) * sizeof(long))) {
			err = -EFAULT;
		} else if (!bitmap_empty(bits, n)) {
			run_op(mmu, &op, slot->gfn + at, n);
			take(mmu, &slot->dirty[at / BITS_PER_LONG], bits, BITS_TO_LONGS(n), true,
			     true);
		}
	}
	wafer_op_finish(mmu, &op);
	wafer_pt_drain(&pages);
	return err;
}

int wafer_get_dirty_log(struct wafer_mmu *mmu, const struct kvm_dirty_log *log,
			struct wafer_refusal *refusal)
{
	struct wafer_slot *slot;
	int err;

	mutex_lock(&mmu->slots_lock);
	err = find_logged(mmu, log->slot, &slot, refusal);
	if (!err)
		err = get_log(mmu, slot, log->dirty_bitmap);
	mutex_unlock(&mmu->slots_lock);
	return err;
}

int wafer_clear_dirty_log(struct wafer_mmu *mmu, const struct kvm_clear_dirty_log *log,
			  struct wafer_refusal *refusal)
{
	u64 first = log->first_page, num = log->num_pages, left;
	struct wafer_slot *slot;
	int err;

	/* Before the slot is looked for, as in KVM. */
	if (first % BITS_PER_LONG && !READ_ONCE(mmu->ring_size))
		return wafer_refuse(refusal, -EINVAL, "first_page", first, "a multiple of 64");
	mutex_lock(&mmu->slots_lock);
	err = find_logged(mmu, log->slot, &slot, refusal);
	left = err ? 0 : slot->npages - first;
	if (!err && first > slot->npages)
		err = wafer_refuse(refusal, -EINVAL, "first_page", first, "within the slot");
	if (!err && (num > left || (num < left && num % BITS_PER_LONG)))
		err = wafer_refuse(refusal, -EINVAL, "num_pages", num,
				   "a multiple of 64 within the slot, or up to its end");
	if (!err)
		err = clear_log(mmu, slot, first, first + num, log->dirty_bitmap);
	mutex_unlock(&mmu->slots_lock);
	return err;
}

int wafer_mmu_set_manual_protect(struct wafer_mmu *mmu, u64 flags)
{
	if (flags & ~(u64)(KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET) ||
	    flags == KVM_DIRTY_LOG_INITIALLY_SET)
		return -EINVAL;
	mutex_lock(&mmu->slots_lock);
	mmu->manual_protect = flags;
	mutex_unlock(&mmu->slots_lock);
	return 0;
}

/*
 * Enters one page in the log, or in the ring of @ctx, the current vCPU's. After the write: who
 * reads the log first and the page then misses nothing.
 */
void wafer_mark_dirty(struct wafer_fault_ctx *ctx, gfn_t gfn)
{
	const struct wafer_slot *slot;

	rcu_read_lock();
	slot = wafer_slots_find(rcu_dereference(ctx->mmu->slots), gfn, &ctx->last_slot);
	if (slot && wafer_slot_logged(slot)) {
		if (ctx->ring.entry)
			wafer_ring_push_once(&ctx->ring, slot, gfn);
		else if (!test_bit(gfn - slot->gfn, slot->dirty))
			set_bit(gfn - slot->gfn, slot->dirty);
	}
	rcu_read_unlock();
}

/*
 * In the window: interrupts are off, and grace periods wait for that. Bitmaps read the dirty bits
 * themselves.
 */
void wafer_mmu_pml(struct wafer_fault_ctx *ctx, const u64 *gpa, unsigned int n)
{
	struct wafer_mmu *mmu = ctx->mmu;
	const struct wafer_slots *slots =
		rcu_dereference_check(mmu->slots, rcu_read_lock_sched_held());
	const struct wafer_slot *slot = NULL;
	gfn_t gfn;

	/* The CPU fills its log downwards: in the order of the writes. */
	while (mmu->ring_size && n--) {
		gfn = gpa[n] >> PAGE_SHIFT;
		if (!slot || gfn - slot->gfn >= slot->npages)
			slot = wafer_slots_find(slots, gfn, &ctx->last_slot);
		if (slot && wafer_slot_logged(slot))
			wafer_ring_push(&ctx->ring, slot, gfn);
	}
}
