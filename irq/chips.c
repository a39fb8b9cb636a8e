// SPDX-License-Identifier: GPL-2.0
/*
 * The chips of a VM as a whole: made, saved, restored, silenced, freed, and how guests and lines
 * reach them.
 *
 * What a chip does is in pic.c, ioapic.c and pit.c. One lock is enough for all of them: they are
 * slow devices.
 */
#include "chips.h"
#include "lapic.h"

/* What the chips have on the buses; @bytes: accesses that are longer are dropped. */
static const struct model {
	u32 (*read)(struct wafer_chips *c, u32 addr);
	void (*write)(struct wafer_chips *c, u32 addr, u32 val);
	enum wafer_bus_kind kind;
	u32 addr, len;
	bool bytes;
} models[] = {
	{ wafer_pic_read, wafer_pic_write, WAFER_BUS_PIO, 0x20, 2, true },
	{ wafer_pic_read, wafer_pic_write, WAFER_BUS_PIO, 0xa0, 2, true },
	{ wafer_pic_read, wafer_pic_write, WAFER_BUS_PIO, 0x4d0, 2, true },
	{ wafer_ioapic_read, wafer_ioapic_write, WAFER_BUS_MMIO, WAFER_IOAPIC_BASE, 0x100 },
	{ wafer_pit_read, wafer_pit_write, WAFER_BUS_PIO, 0x40, 4 },
	{ wafer_pit_read, wafer_pit_write, WAFER_BUS_PIO, 0x61, 1 },
};

enum { FIRST_PIT = 4, SPEAKER = 5 };

static int chip_access(struct wafer_vcpu *vcpu, struct wafer_bus_dev *dev, gpa_t addr,
		       unsigned int len, void *val, bool write)
{
	struct wafer_chips *c = vcpu->vm->irq.chips;
	const struct model *m = &models[dev - c->devs];
	bool dropped = m->bytes && len != 1;
	unsigned long flags;
	u64 reg = 0;

	/* An EOI may signal a resamplefd. */
	if (vcpu->loaded && write && READ_ONCE(vcpu->vm->irq.nr_resamplers))
		return -EAGAIN;
	if (write)
		memcpy(&reg, val, min(len, 4u));
	if (!wafer_lock(&c->lock, &flags, vcpu->loaded))
		return -EAGAIN;
	if (write && !dropped)
		m->write(c, addr, reg);
	else if (!dropped)
		reg = m->read(c, addr);
	wafer_chips_unlock(c, flags);
	if (!write)
		memcpy(val, &reg, len);
	return 0;
}

static const struct wafer_bus_ops chip_ops = { .access = chip_access };

void wafer_chips_unlock(struct wafer_chips *c, unsigned long flags)
{
	unsigned long acked = c->acked;
	bool unblock = c->unblock;
	unsigned int line;

	c->acked = 0;
	c->unblock = false;
	wafer_unlock(&c->lock, flags);
	for_each_set_bit(line, &acked, 2 * WAFER_PIC_LINES)
		wafer_pin_acked(c->vm, line / WAFER_PIC_LINES, line % WAFER_PIC_LINES);
	if (unblock)
		wafer_pit_unblock(c);
}

int wafer_set_pin(struct wafer_chips *c, unsigned int chip, unsigned int pin,
		  enum wafer_irq_source source, bool level)
{
	u8 *by = &c->sources[chip][pin];
	unsigned long flags;
	int r;

	wafer_lock(&c->lock, &flags, false);
	*by = (*by & ~BIT(source)) | level << source;
	r = chip == IOAPIC ? wafer_ioapic_set(c, pin, *by) : wafer_pic_set(c, chip, pin, *by);
	wafer_chips_unlock(c, flags);
	return r;
}

int wafer_irq_init(struct wafer_vm *vm)
{
	vm->irq.coalesced_ring = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	mutex_init(&vm->irq.lock);
	raw_spin_lock_init(&vm->irq.ring_lock);
	INIT_LIST_HEAD(&vm->irq.irqfds);
	return vm->irq.coalesced_ring ? 0 : -ENOMEM;
}

/*
 * Nobody uses the VM any more but what fires by itself: that ends here. No vCPU runs, so nothing
 * starts it again.
 */
void wafer_irq_quiesce(struct wafer_vm *vm)
{
	struct wafer_chips *c = vm->irq.chips;

	wafer_irqfd_quiesce(vm);
	if (c) {
		hrtimer_cancel(&c->tick);
		irq_work_sync(&c->next);
		hrtimer_cancel(&c->storm);
	}
}

/* Nobody else is left, or the chips could not be made. */
static void free_chips(struct wafer_vm *vm)
{
	kvfree(rcu_dereference_protected(vm->irq.routes, true));
	RCU_INIT_POINTER(vm->irq.routes, NULL);
	kfree(vm->irq.chips);
	vm->irq.chips = NULL;
}

void wafer_irq_free(struct wafer_vm *vm)
{
	wafer_bus_free(vm);
	free_chips(vm);
	free_page((unsigned long)vm->irq.coalesced_ring);
}

/* Those of models[] from @first to @last; a device is not found before it is complete. */
static int add_devs(struct wafer_chips *c, unsigned int first, unsigned int last)
{
	const struct model *m;
	unsigned int i;
	int r = 0;

	mutex_lock(&c->vm->irq.lock);
	for (i = first; i <= last && !r; i++) {
		m = &models[i];
		c->devs[i] = (struct wafer_bus_dev){ &chip_ops, m->kind, m->addr, m->len };
		r = wafer_bus_add(c->vm, &c->devs[i]);
	}
	while (r && i-- > first)
		wafer_bus_del(c->vm, &c->devs[i]);
	mutex_unlock(&c->vm->irq.lock);
	return r;
}

/* Before the first vCPU: what is set here is seen by all of them. vm->lock held. */
static int may_create(struct wafer_vm *vm)
{
	u32 mode = vm->irq.mode;

	return REFUSE_IF(mode, vm, -EEXIST, "irqchip", mode, "is created once") ?:
	       RULE(vm->nr_vcpus, vm, "vcpus", vm->nr_vcpus, "are created after the irqchip");
}

/**
 * wafer_create_irqchip() - KVM_CREATE_IRQCHIP: PIC, I/O APIC, local APICs
 * @vm: VM, its lock held
 *
 * Return: 0; -EEXIST: there is one; -EINVAL: there are vCPUs; -ENOMEM.
 */
int wafer_create_irqchip(struct wafer_vm *vm)
{
	struct wafer_chips *c;
	int r = may_create(vm);

	if (r)
		return r;
	c = kzalloc(sizeof(*c), GFP_KERNEL_ACCOUNT);
	if (!c)
		return -ENOMEM;
	raw_spin_lock_init(&c->lock);
	c->vm = vm;
	wafer_pic_init(c);
	wafer_ioapic_init(c);
	wafer_pit_init(c);
	vm->irq.chips = c;
	r = wafer_replace_routes(vm, NULL, WAFER_DEFAULT_ROUTES) ?:
	    add_devs(c, 0, vm->irq.pit ?: FIRST_PIT - 1);
	if (r)
		free_chips(vm);
	else
		smp_store_release(&vm->irq.mode, WAFER_CHIP_FULL);	/* see wafer_chip_mode() */
	return r;
}

/**
 * wafer_enable_split_irqchip() - KVM_CAP_SPLIT_IRQCHIP: local APICs alone
 * @vm: VM, its lock held
 * @pins: GSIs below are those of the VMM's I/O APIC
 *
 * Return: 0; -EEXIST: there is a chip, or a vCPU; -EINVAL: too many pins.
 */
int wafer_enable_split_irqchip(struct wafer_vm *vm, u64 pins)
{
	int r = RULE(pins > WAFER_MAX_GSI, vm, "args[0]", pins, "is at most 4096") ?:
		REFUSE_IF(vm->nr_vcpus, vm, -EEXIST, "vcpus", vm->nr_vcpus,
			  "are created after the irqchip") ?: may_create(vm);

	if (r)
		return r;
	vm->irq.split_pins = pins;
	smp_store_release(&vm->irq.mode, WAFER_CHIP_SPLIT);	/* see wafer_chip_mode() */
	return 0;
}

static int needs_chips(struct wafer_vm *vm, bool pit)
{
	const struct wafer_chips *c = vm->irq.chips;

	return REFUSE_IF(!c, vm, -ENXIO, "irqchip", vm->irq.mode, "is complete") ?:
	       REFUSE_IF(pit && !vm->irq.pit, vm, -ENXIO, "pit", 0, "is created");
}

/**
 * wafer_irqchip_state() - KVM_GET_IRQCHIP, KVM_SET_IRQCHIP
 * @vm: VM, its lock held
 * @chip: chip_id says which
 * @set: restore
 *
 * Return: 0; -ENXIO: not with a split chip or none; -EINVAL: no such chip.
 */
int wafer_irqchip_state(struct wafer_vm *vm, struct kvm_irqchip *chip, bool set)
{
	struct wafer_chips *c = vm->irq.chips;
	u32 id = chip->chip_id;
	unsigned long flags, size;
	void *state;
	int r = needs_chips(vm, false) ?:
		RULE(id >= KVM_NR_IRQCHIPS, vm, "chip_id", id, "is 0 to 2");

	if (r)
		return r;
	id = array_index_nospec(id, KVM_NR_IRQCHIPS);
	state = id == IOAPIC ? (void *)&c->ioapic : &c->pic[id];
	size = id == IOAPIC ? sizeof(c->ioapic) : sizeof(c->pic[0]);
	if (!set)
		memset(&chip->chip, 0, sizeof(chip->chip));
	wafer_lock(&c->lock, &flags, false);
	memcpy(set ? state : &chip->chip, set ? &chip->chip : state, size);
	if (id != IOAPIC && set)
		wafer_pic_restored(c);
	else if (set)
		wafer_ioapic_restored(c);
	else if (id == IOAPIC)
		chip->chip.ioapic.irr &= ~c->delivered;
	c->unblock = set;
	wafer_chips_unlock(c, flags);
	return 0;
}

/**
 * wafer_create_pit() - KVM_CREATE_PIT2
 * @vm: VM, its lock held
 * @flags: KVM_PIT_SPEAKER_DUMMY: port 61, too
 *
 * It may come before the chips, with which it is made then: StratoVirt and older kvmtools do so, as
 * KVM lets them up to Linux 6.9.
 *
 * Return: 0; -EEXIST; -ENXIO: there is no full chip, and none can come; -EINVAL: unknown flags;
 * -ENOMEM.
 */
int wafer_create_pit(struct wafer_vm *vm, u32 flags)
{
	bool early = vm->irq.mode == WAFER_CHIP_NONE && !vm->nr_vcpus;
	unsigned int last = flags & KVM_PIT_SPEAKER_DUMMY ? SPEAKER : FIRST_PIT;
	int r = (early ? 0 : needs_chips(vm, false)) ?:
		REFUSE_IF(vm->irq.pit, vm, -EEXIST, "pit", 1, "is created once") ?:
		RULE(flags & ~KVM_PIT_SPEAKER_DUMMY, vm, "flags", flags, "is 0 or 1") ?:
		early ? 0 : add_devs(vm->irq.chips, FIRST_PIT, last);

	if (!r)
		vm->irq.pit = last;
	return r;
}

/* What the model computes with must be in range; the rest only decides which byte comes next. */
static int check_pit(struct wafer_vm *vm, const struct kvm_pit_state2 *ps)
{
	const u32 known = KVM_PIT_FLAGS_HPET_LEGACY | KVM_PIT_FLAGS_SPEAKER_DATA_ON;
	int i, r = RULE(ps->flags & ~known, vm, "flags", ps->flags, "is of KVM_PIT_FLAGS_*");

	for (i = 0; i < ARRAY_SIZE(ps->channels) && !r; i++) {
		u32 count = ps->channels[i].count, mode = ps->channels[i].mode;

		r = RULE(count > 0x10000, vm, "channels[].count", count, "is at most 65536") ?:
		    RULE(mode > 5 && mode != WAFER_PIT_UNSET, vm, "channels[].mode", mode,
			 "is 0 to 5, or 255: none");
	}
	return r;
}

/**
 * wafer_pit_state() - KVM_GET_PIT2, KVM_SET_PIT2
 * @vm: VM, its lock held
 * @ps: registers
 * @set: restore; all channels count from now
 *
 * Return: 0; -ENXIO: no PIT; -EINVAL.
 */
int wafer_pit_state(struct wafer_vm *vm, struct kvm_pit_state2 *ps, bool set)
{
	struct wafer_chips *c = vm->irq.chips;
	int r = needs_chips(vm, true) ?: set ? check_pit(vm, ps) : 0;
	unsigned long flags;

	if (r)
		return r;
	wafer_lock(&c->lock, &flags, false);
	if (set) {
		c->pit = *ps;
		wafer_pit_restored(c);
	} else {
		*ps = c->pit;
	}
	c->unblock = set;
	wafer_chips_unlock(c, flags);
	return 0;
}

int wafer_reinject_control(struct wafer_vm *vm, bool reinject)
{
	int r = needs_chips(vm, true);

	if (r)
		return r;
	atomic_set(&vm->irq.chips->reinject, reinject);
	wafer_pit_unblock(vm->irq.chips);
	return 0;
}
