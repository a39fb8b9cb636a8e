// SPDX-License-Identifier: GPL-2.0
/* Life of a VM's memory and of the fault contexts of its vCPUs. */
#include <linux/cpu.h>
#include <linux/wait_bit.h>

#include "compat.h"
#include "mmu/internal.h"

/* VMs of which the notifier's end is still to come. */
static atomic_t nr_mmus = ATOMIC_INIT(0);

/* Of a half-made one too. Softirqs may be off: nothing here sleeps. */
static void free_memory(struct wafer_mmu *mmu)
{
	wafer_slots_free(mmu);
	if (mmu->pt.root) {
		wafer_pt_account(&mmu->pt, mmu->pt.root, -1);
		wafer_pt_free(mmu->pt.root);
	}
}

int wafer_mmu_init(struct wafer_mmu *mmu, const struct wafer_pt_format *format, u8 levels,
		   u8 max_level, void (*flush)(struct wafer_mmu *mmu))
{
	int err;

	*mmu = (struct wafer_mmu){
		.max_level = max_level, .flush = flush, .mm = current->mm,
		.notifier.ops = &wafer_notifier_ops,
		.pt = {
			.f = format, .levels = levels, .pages = &mmu->pages,
			.has_ad = wafer_caps.has_ad,
			.dirty = wafer_caps.has_ad ? format->dirty : format->write,
			/*
			 * On CPUs with the iTLB multihit erratum a guest could stop the host by
			 * changing the size of a page that it executes from: no executable huge
			 * leaf, unless the host's owner has turned mitigations off.
			 */
			.nx_huge = format->exec && boot_cpu_has_bug(X86_BUG_ITLB_MULTIHIT) &&
				   !cpu_mitigations_off(),
			.enc = sme_me_mask, .addr = GENMASK_ULL(51, PAGE_SHIFT) & ~sme_me_mask,
			.root = wafer_pt_alloc(true),
		},
	};
	mutex_init(&mmu->slots_lock);
	spin_lock_init(&mmu->zap_lock);
	INIT_LIST_HEAD(&mmu->ctxs);
	wafer_log_mode(mmu);
	err = wafer_slots_create(mmu);
	if (mmu->pt.root) {
		wafer_pt_account(&mmu->pt, mmu->pt.root, 1);
		mmu->root = __pa(mmu->pt.root) | mmu->pt.enc;
		err = err ?: mmu_notifier_register(&mmu->notifier, mmu->mm);
	} else {
		err = -ENOMEM;
	}
	if (err) {
		free_memory(mmu);
		return err;
	}
	atomic_inc(&nr_mmus);
	wafer_shrink_add(mmu);
	return 0;
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
	struct wafer_pt_op op = wafer_pt_op_zap(0, wafer_pt_span(mmu->pt.levels + 1));

	wafer_shrink_del(mmu);
	WRITE_ONCE(mmu->quiet, true);
	/*
	 * Pairs with wafer_op_finish(): a flush is counted before it looks at this. It may be of a
	 * thread that this one keeps from its CPU: so no spinning.
	 */
	smp_mb();
	wait_var_event(&mmu->flushes, !atomic_read_acquire(&mmu->flushes));
	spin_lock(&mmu->zap_lock);
	wafer_range_op(mmu, &op, true);
	spin_unlock(&mmu->zap_lock);
	wafer_op_finish(mmu, &op);
}

/* At the notifier's end: nobody else knows the memory any more. */
void wafer_mmu_free(struct mmu_notifier *notifier)
{
	struct wafer_mmu *mmu = container_of(notifier, struct wafer_mmu, notifier);

	free_memory(mmu);
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
	shrinker_free(wafer_shrinker);
	wait_var_event(&nr_mmus, !atomic_read(&nr_mmus));
	mmu_notifier_synchronize();
	rcu_barrier();
}

int wafer_mmu_ctx_init(struct wafer_mmu *mmu, struct wafer_fault_ctx *ctx)
{
	ctx->mmu = mmu;
	if (mmu->ring_size && wafer_ring_create(ctx))
		return -ENOMEM;
	mutex_lock(&mmu->slots_lock);
	spin_lock(&mmu->zap_lock);
	list_add_tail(&ctx->link, &mmu->ctxs);
	spin_unlock(&mmu->zap_lock);
	mutex_unlock(&mmu->slots_lock);
	return 0;
}

void wafer_mmu_ctx_release(struct wafer_mmu *mmu, struct wafer_fault_ctx *ctx)
{
	mutex_lock(&mmu->slots_lock);
	spin_lock(&mmu->zap_lock);
	list_del(&ctx->link);
	spin_unlock(&mmu->zap_lock);
	mutex_unlock(&mmu->slots_lock);
	wafer_pt_drain(&ctx->pages);
	vfree(ctx->ring.entry);
	ctx->ring.entry = NULL;
}
