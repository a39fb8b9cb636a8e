// SPDX-License-Identifier: GPL-2.0
/* Life of a VM's memory and of the fault contexts of its vCPUs. */
#include <linux/cpu.h>
#include <linux/mem_encrypt.h>
#include <linux/rculist.h>
#include <linux/slab.h>
#include <linux/wait_bit.h>

#include "backend.h"
#include "mmu/internal.h"

/*
 * On CPUs with the iTLB multihit erratum a guest could stop the host by changing the size of a page
 * that it executes from: no executable huge leaf, unless the host's owner has turned mitigations
 * off.
 */
static bool no_huge_exec(const struct wafer_pt_format *f)
{
	return f->exec && boot_cpu_has_bug(X86_BUG_ITLB_MULTIHIT) && !cpu_mitigations_off();
}

/* VMs of which the notifier's end is still to come. */
static atomic_t nr_mmus = ATOMIC_INIT(0);

static struct wafer_pt *pt_create(const struct wafer_pt_format *f, u8 levels, atomic_long_t *pages)
{
	struct wafer_pt *pt = kzalloc(sizeof(*pt), GFP_KERNEL_ACCOUNT);

	if (!pt)
		return NULL;
	*pt = (struct wafer_pt){
		.f = f, .levels = levels, .pages = pages,
		.has_ad = wafer_caps.has_ad, .dirty = wafer_caps.has_ad ? f->dirty : f->write,
		.nx_huge = no_huge_exec(f),
		.enc = sme_me_mask, .addr = GENMASK_ULL(51, PAGE_SHIFT) & ~sme_me_mask,
		.root = wafer_pt_alloc(),
	};
	if (!pt->root) {
		kfree(pt);
		return NULL;
	}
	wafer_pt_account(pt, pt->root, 1);
	return pt;
}

static void pt_destroy(struct wafer_pt *pt)
{
	wafer_pt_account(pt, pt->root, -1);
	wafer_pt_free(pt->root);
	kfree(pt);
}

int wafer_mmu_init(struct wafer_mmu *mmu, const struct wafer_pt_format *format, u8 levels,
		   u8 max_level, void (*flush)(struct wafer_mmu *mmu))
{
	struct wafer_slots *slots = wafer_slots_alloc(8);
	int err = -ENOMEM;

	memset(mmu, 0, sizeof(*mmu));
	mmu->format = format;
	mmu->max_level = max_level;
	mmu->flush = flush;
	mutex_init(&mmu->slots_lock);
	spin_lock_init(&mmu->zap_lock);
	INIT_LIST_HEAD(&mmu->ctxs);
	xa_init(&mmu->by_id);
	wafer_range_init(mmu);
	mmu->pt = pt_create(format, levels, &mmu->pages);
	if (!slots || !mmu->pt)
		goto fail;
	RCU_INIT_POINTER(mmu->slots, slots);
	mmu->root = __pa(mmu->pt->root) | mmu->pt->enc;
	wafer_log_mode(mmu);
	mmu->mm = current->mm;
	mmu->notifier.ops = &wafer_notifier_ops;
	err = mmu_notifier_register(&mmu->notifier, mmu->mm);
	if (!err) {
		atomic_inc(&nr_mmus);
		return 0;
	}
fail:
	if (mmu->pt)
		pt_destroy(mmu->pt);
	kvfree(slots);
	mmu->pt = NULL;
	return err;
}

/**
 * wafer_mmu_quiesce() - unmap all and call @flush no more; before the vCPUs, none of which runs,
 * are freed
 * @mmu: the memory
 *
 * Slots stay known to the notifier, which finds nothing mapped. May be called twice.
 */
void wafer_mmu_quiesce(struct wafer_mmu *mmu)
{
	struct wafer_pt_op op = wafer_pt_op_zap(mmu->pt, 0, wafer_pt_span(mmu->pt->levels + 1));

	WRITE_ONCE(mmu->quiet, true);
	/*
	 * Pairs with wafer_op_finish(): a flush is counted before it looks at this. None takes long
	 * without a guest.
	 */
	smp_mb();
	while (atomic_read_acquire(&mmu->flushes))
		cpu_relax();
	spin_lock(&mmu->zap_lock);
	wafer_range_op(mmu, &op, true);
	spin_unlock(&mmu->zap_lock);
	wafer_op_finish(mmu, &op);
}

/*
 * At the notifier's end: nobody else knows the memory any more. Softirqs may be off: nothing here
 * sleeps.
 */
void wafer_mmu_free(struct wafer_mmu *mmu)
{
	struct wafer_slots *slots = rcu_dereference_protected(mmu->slots, true);
	u32 i;

	for (i = 0; i < slots->nr; i++)
		wafer_slot_free(slots->slot[i]);
	kvfree(slots);
	xa_destroy(&mmu->by_id);
	pt_destroy(mmu->pt);
	mmu->freed(mmu);
	if (atomic_dec_and_test(&nr_mmus))
		wake_up_var(&nr_mmus);
}

void wafer_mmu_release(struct wafer_mmu *mmu, void (*freed)(struct wafer_mmu *mmu))
{
	wafer_mmu_quiesce(mmu);
	mmu->freed = freed;
	mmu_notifier_put(&mmu->notifier);
}

void wafer_mmu_drain(void)
{
	wait_var_event(&nr_mmus, !atomic_read(&nr_mmus));
	mmu_notifier_synchronize();
	rcu_barrier();
}

int wafer_mmu_ctx_init(struct wafer_mmu *mmu, struct wafer_fault_ctx *ctx)
{
	int err;

	ctx->mmu = mmu;
	err = mmu->ring_size ? wafer_ring_create(ctx) : 0;
	if (err)
		return err;
	spin_lock(&mmu->zap_lock);
	list_add_tail_rcu(&ctx->link, &mmu->ctxs);
	spin_unlock(&mmu->zap_lock);
	return 0;
}

void wafer_mmu_ctx_release(struct wafer_mmu *mmu, struct wafer_fault_ctx *ctx)
{
	spin_lock(&mmu->zap_lock);
	list_del_rcu(&ctx->link);
	spin_unlock(&mmu->zap_lock);
	wafer_pt_drain(&ctx->pages);
	wafer_ring_free(ctx);
}
