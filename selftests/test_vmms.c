// SPDX-License-Identifier: GPL-2.0
/*
 * VMMs' ioctl sequences (lib/vmms.c), from open to a guest that has done its first device accesses;
 * then a snapshot, a new VM by the same calls, and the guest goes on there: its memory, registers,
 * timers and clocks are what they were.
 */
#include <stdlib.h>
#include <sys/eventfd.h>

#include "kselftest_harness.h"
#include "vmm.h"

FIXTURE(vmm) { struct vmm *a, *b; const struct vmm_kind *kind; };
FIXTURE_VARIANT(vmm) { const char *name; };
FIXTURE_VARIANT_ADD(vmm, kvmtool) { "kvmtool" };
FIXTURE_VARIANT_ADD(vmm, firecracker) { "firecracker" };
FIXTURE_VARIANT_ADD(vmm, cloud_hypervisor) { "cloud-hypervisor" };
FIXTURE_VARIANT_ADD(vmm, crosvm) { "crosvm" };
FIXTURE_VARIANT_ADD(vmm, stratovirt) { "stratovirt" };
FIXTURE_VARIANT_ADD(vmm, qemu) { "qemu" };

FIXTURE_SETUP(vmm)
{
	unsigned int i;

	vm_sys();
	for (i = 0; i < vmm_nr_kinds; i++)
		if (!strcmp(vmm_kinds[i].name, variant->name))
			self->kind = &vmm_kinds[i];
	self->a = vmm_new(self->kind);
	self->b = vmm_new(self->kind);
	vmm_load_guest(self->a);
}

FIXTURE_TEARDOWN(vmm)
{
	vmm_free(self->a);
	vmm_free(self->b);
}

/* What a VMM makes before a guest's state comes in. */
static bool make(struct vmm *m)
{
	return vmm_do(m, m->kind->make) && vmm_each(m, m->kind->cpu_make) &&
	       vmm_do(m, m->kind->devices);
}

static bool boot(struct vmm *m)
{
	return make(m) && vmm_each(m, m->kind->cpu_boot);
}

static bool save(struct vmm *m)
{
	return vmm_quiet(m) &&
	       (m->kind->entry == ENTRY_REAL ? vmm_do(m, m->kind->pause) :
					       vmm_each(m, m->kind->pause)) &&
	       vmm_each(m, m->kind->cpu_save) && vmm_do(m, m->kind->save);
}

static bool restore(struct vmm *m, const struct vmm *from)
{
	m->state = from->state;
	memcpy(m->mem, from->mem, VMM_MEMORY);
	return (!m->kind->restore_vm_first || vmm_do(m, m->kind->restore)) &&
	       vmm_each(m, m->kind->cpu_restore) &&
	       (m->kind->restore_vm_first || vmm_do(m, m->kind->restore));
}

/* What was set is what is read again, piece by piece. */
static bool agrees(struct vmm *m, const struct vmm_state *was)
{
	static const enum vmm_item items[] = { REGS, SREGS, XCRS, DEBUGREGS, MP_STATE };
	unsigned int i;

	for (m->cur = 0; m->cur < VMM_CPUS; m->cur++)
		for (i = 0; i < sizeof(items) / sizeof(items[0]); i++)
			if (!vmm_get(m, items[i]) || !vmm_same(m, was, items[i]))
				return false;
	m->cur = 0;
	return true;
}

#define OK(m, condition) \
	do { bool ok_ = condition; ASSERT_TRUE(ok_) TH_LOG("%s", (m)->why); } while (0)

/* The device's registers were written but for the notification, which an eventfd took. */
static uint64_t notified(struct vmm *m)
{
	eventfd_t n = 0;

	eventfd_read(m->notify, &n);
	return n;
}

TEST_F(vmm, boots_a_guest)
{
	OK(self->a, boot(self->a));
	OK(self->a, vmm_run(self->a) == STOP_SNAPSHOT);
	EXPECT_STREQ(self->a->serial, "WiS");
	EXPECT_EQ(self->a->mmio_writes, 3);
	EXPECT_EQ(notified(self->a), 1);
	EXPECT_GE(vmm_shared(self->a)->timer, self->kind->restore ? 0 : 3);
	EXPECT_EQ(vmm_shared(self->a)->irq, 1);
	EXPECT_EQ(vmm_shared(self->a)->ap, self->kind->restore ? 1 : 0);
	EXPECT_EQ(self->a->coalesced, self->kind->restore ? 0 : 2);
	/* paused, and on in the same VM */
	OK(self->a, save(self->a));
	OK(self->a, vmm_run(self->a) == STOP_DONE);
	EXPECT_EQ(notified(self->a), 1);
}

TEST_F(vmm, a_snapshot_goes_on_in_another_vm)
{
	static struct vmm_state was;
	struct vmm_shared *s;

	if (!self->kind->restore)
		SKIP(return, "it has no snapshots");
	OK(self->a, boot(self->a));
	OK(self->a, vmm_run(self->a) == STOP_SNAPSHOT);
	OK(self->a, save(self->a));
	was = self->a->state;
	OK(self->b, make(self->b));
	OK(self->b, restore(self->b, self->a));
	OK(self->b, agrees(self->b, &was));
	vmm_free(self->a);			/* the first is gone before the second runs */
	self->a = vmm_new(self->kind);
	OK(self->b, vmm_run(self->b) == STOP_DONE);
	s = vmm_shared(self->b);
	EXPECT_STREQ(self->b->serial, "i");
	EXPECT_EQ(s->sum2, s->sum);
	EXPECT_EQ(s->irq, 2);
	EXPECT_EQ(s->ap, 2);
	EXPECT_EQ(s->timer, 1);
	EXPECT_GE(s->tsc2, s->tsc);
	EXPECT_LT(s->tsc2 - s->tsc, 1ull << 40);
	EXPECT_GE(s->clock2, s->clock);
	EXPECT_LT(s->clock2 - s->clock, 100000000000ull);
	EXPECT_EQ(notified(self->b), 1);
}

/* A snapshot is no end: many in a row, each in a VM that the last one has not seen. */
TEST_F(vmm, a_snapshot_may_be_restored_again)
{
	struct vmm *m;
	int i;

	if (!self->kind->restore)
		SKIP(return, "it has no snapshots");
	OK(self->a, boot(self->a));
	OK(self->a, vmm_run(self->a) == STOP_SNAPSHOT);
	OK(self->a, save(self->a));
	for (i = 0; i < 3; i++) {
		m = vmm_new(self->kind);
		OK(m, make(m));
		OK(m, restore(m, self->a));
		OK(m, vmm_run(m) == STOP_DONE);
		EXPECT_EQ(vmm_shared(m)->sum2, vmm_shared(m)->sum);
		EXPECT_EQ(vmm_shared(m)->timer, 1);
		vmm_free(m);
	}
}

TEST_HARNESS_MAIN
