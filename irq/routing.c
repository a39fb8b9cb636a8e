// SPDX-License-Identifier: GPL-2.0
/*
 * From GSIs to chips' pins and messages: KVM_SET_GSI_ROUTING's table.
 *
 * The table is replaced as a whole and read under RCU. Nobody waits for readers: one that started
 * before the change may still deliver by the old table, as a message that was already on the bus.
 */
#include <linux/sort.h>

#include "chips.h"

#define IS_MSI 0xff

/* One route: a pin of a chip, or a message. */
struct wafer_route {
	u16 gsi;
	u8 chip;		/* KVM_IRQCHIP_*, IS_MSI */
	u8 pin;
	struct wafer_irq_msg msg;
};

/**
 * struct wafer_routes - a routing table
 * @rcu: for kvfree_rcu()
 * @nr: number of routes
 * @nr_gsis: no GSI from here on has a route
 * @first: behind the routes, by GSI: index of its first route; of one that has none, the index of
 *	another's
 * @pin_gsi: chip and pin back to GSI, -1 none
 * @route: sorted by GSI, then chip
 */
struct wafer_routes {
	struct rcu_head rcu;
	unsigned int nr, nr_gsis;
	u16 *first;
	s16 pin_gsi[KVM_NR_IRQCHIPS][KVM_IOAPIC_NUM_PINS];
	struct wafer_route route[];
};

/**
 * wafer_set_gsi() - drive an interrupt line
 * @vm: VM
 * @source: who drives it; levels are ORed over sources
 * @gsi: line
 * @level: 0, 1 or WAFER_PULSE; a message is sent at 1, and nothing happens at 0
 *
 * Context: any.
 * Return: how many took it, of a pulse its beginning; 0: coalesced; -1: masked, or the line leads
 * nowhere.
 */
int wafer_set_gsi(struct wafer_vm *vm, enum wafer_irq_source source, u32 gsi, int level)
{
	const struct wafer_routes *routes;
	const struct wafer_route *route;
	int r = -1, one;

	rcu_read_lock();
	routes = rcu_dereference(vm->irq.routes);
	if (!routes || gsi >= routes->nr_gsis)
		goto out;
	route = &routes->route[routes->first[array_index_nospec(gsi, routes->nr_gsis)]];
	for (; route < routes->route + routes->nr && route->gsi == gsi; route++) {
		if (route->chip != IS_MSI)
			one = wafer_set_pin(vm->irq.chips, route->chip, route->pin, source, level);
		else
			one = level ? wafer_deliver(vm, NULL, &route->msg) : -1;
		if (level == WAFER_PULSE && route->chip != IS_MSI)
			wafer_set_pin(vm->irq.chips, route->chip, route->pin, source, 0);
		if (one >= 0)
			r = max(r, 0) + one;
	}
out:
	rcu_read_unlock();
	return r;
}

int wafer_pin_gsi(struct wafer_vm *vm, unsigned int chip, unsigned int pin)
{
	const struct wafer_routes *routes;
	int gsi;

	rcu_read_lock();
	routes = rcu_dereference(vm->irq.routes);
	gsi = routes ? routes->pin_gsi[chip][pin] : -1;
	rcu_read_unlock();
	return gsi;
}

void wafer_pin_acked(struct wafer_vm *vm, unsigned int chip, unsigned int pin)
{
	int gsi = wafer_pin_gsi(vm, chip, pin);

	if (gsi == WAFER_PIT_GSI)
		wafer_pit_acked(vm->irq.chips);
	if (gsi >= 0 && READ_ONCE(vm->irq.nr_resamplers))
		wafer_resample(vm, gsi);
}

/*
 * Split chip: the VMM's I/O APIC wants the EOIs of what its level pins send. Whether the vCPU that
 * ends it is the one that the route leads to now is not asked: it got the interrupt from somewhere.
 */
bool wafer_routes_level_vector(struct wafer_vm *vm, u8 vector)
{
	const struct wafer_routes *routes;
	bool found = false;
	unsigned int i;

	rcu_read_lock();
	routes = rcu_dereference(vm->irq.routes);
	for (i = 0; routes && i < routes->nr && routes->route[i].gsi < vm->irq.split_pins; i++)
		found |= routes->route[i].msg.level && routes->route[i].msg.vector == vector;
	rcu_read_unlock();
	return found;
}

/* SDM vol. 3 §11.11: address and data of a message. */
static struct wafer_irq_msg msi_message(struct wafer_vm *vm, u32 lo, u32 hi, u32 data)
{
	u32 high_id = vm->irq.x2apic_32bit_ids ? hi & GENMASK(31, 8) : 0;
	struct wafer_irq_msg msg = wafer_message((lo >> 12 & 0xff) | high_id, data);

	msg.logical = lo & BIT(2);
	msg.redir_hint = lo & BIT(3);
	return msg;
}

/*
 * With 32-bit ids the high half's low byte is reserved; without them the high half is not looked
 * at.
 */
static int check_msi(struct wafer_vm *vm, u32 hi)
{
	bool wide = vm->irq.x2apic_32bit_ids;

	return RULE(wide && hi & 0xff, vm, "address_hi", hi, "has bits 7-0 clear");
}

static int needs_apics(struct wafer_vm *vm)
{
	return RULE(!wafer_chip_mode(vm), vm, "irqchip", 0, "is in the kernel");
}

/**
 * wafer_signal_msi() - KVM_SIGNAL_MSI
 * @vm: VM
 * @msi: address and data
 *
 * Return: > 0: delivered; 0: coalesced, or nobody there; -EINVAL: no local APICs, flags, reserved
 * bits.
 */
int wafer_signal_msi(struct wafer_vm *vm, const struct kvm_msi *msi)
{
	struct wafer_irq_msg msg = msi_message(vm, msi->address_lo, msi->address_hi, msi->data);

	return needs_apics(vm) ?: RULE(msi->flags, vm, "flags", msi->flags, "is 0") ?:
	       check_msi(vm, msi->address_hi) ?: max(wafer_deliver(vm, NULL, &msg), 0);
}

/* ---- making tables ---- */

static int check_entry(struct wafer_vm *vm, const struct kvm_irq_routing_entry *e)
{
	u32 chip = e->u.irqchip.irqchip, pin = e->u.irqchip.pin, known = 0;
	u32 pins = chip == IOAPIC ? KVM_IOAPIC_NUM_PINS : WAFER_PIC_LINES;
	bool msi = e->type == KVM_IRQ_ROUTING_MSI;
	bool is_pin = e->type == KVM_IRQ_ROUTING_IRQCHIP && vm->irq.chips;

	if (msi)
		known = KVM_MSI_VALID_DEVID;
	return RULE(e->gsi >= WAFER_MAX_GSI, vm, "entries[].gsi", e->gsi, "is below 4096") ?:
	       RULE(e->flags & ~known, vm, "entries[].flags", e->flags, "is 0") ?:
	       RULE(!msi && !is_pin, vm, "entries[].type", e->type,
		    "is KVM_IRQ_ROUTING_MSI, or with a full irqchip KVM_IRQ_ROUTING_IRQCHIP") ?:
	       msi ? check_msi(vm, e->u.msi.address_hi) :
	       RULE(chip >= KVM_NR_IRQCHIPS, vm, "entries[].u.irqchip", chip, "is 0 to 2") ?:
	       RULE(pin >= pins, vm, "entries[].u.irqchip.pin", pin, "is a pin of that chip");
}

static struct wafer_route make_route(struct wafer_vm *vm, const struct kvm_irq_routing_entry *e)
{
	struct wafer_route route = { .gsi = e->gsi, .chip = IS_MSI };
	const struct kvm_irq_routing_msi *m = &e->u.msi;

	if (e->type == KVM_IRQ_ROUTING_MSI) {
		route.msg = msi_message(vm, m->address_lo, m->address_hi, m->data);
	} else {
		route.chip = array_index_nospec(e->u.irqchip.irqchip, KVM_NR_IRQCHIPS);
		route.pin = array_index_nospec(e->u.irqchip.pin, KVM_IOAPIC_NUM_PINS);
	}
	return route;
}

static int by_gsi(const void *a, const void *b)
{
	const struct wafer_route *l = a, *r = b;

	return l->gsi != r->gsi ? l->gsi - r->gsi : l->chip - r->chip;
}

/* Sorts and indexes. The same GSI can lead to one pin of each chip, or to one message. */
static int index_routes(struct wafer_vm *vm, struct wafer_routes *routes)
{
	struct wafer_route *route = routes->route;
	bool clash;
	int r = 0;

	sort(route, routes->nr, sizeof(*route), by_gsi, NULL);
	memset(routes->pin_gsi, -1, sizeof(routes->pin_gsi));
	for (unsigned int i = routes->nr; i-- && !r;) {
		routes->first[route[i].gsi] = i;
		if (route[i].chip != IS_MSI)
			routes->pin_gsi[route[i].chip][route[i].pin] = route[i].gsi;
		clash = i && route[i].gsi == route[i - 1].gsi &&
			(route[i].chip == IS_MSI || route[i].chip == route[i - 1].chip);
		r = RULE(clash, vm, "entries[].gsi", route[i].gsi, "leads to a chip once");
	}
	return r;
}

/*
 * The @i'th of KVM's routes after KVM_CREATE_IRQCHIP: GSIs are the I/O APIC's pins, the first 16
 * the PICs', too.
 */
static struct wafer_route default_route(unsigned int i)
{
	if (i < KVM_IOAPIC_NUM_PINS)
		return (struct wafer_route){ i, IOAPIC, i };
	i -= KVM_IOAPIC_NUM_PINS;
	return (struct wafer_route){ i, i / WAFER_PIC_LINES, i % WAFER_PIC_LINES };
}

int wafer_replace_routes(struct wafer_vm *vm, const struct kvm_irq_routing_entry *e, u32 nr)
{
	struct wafer_routes *routes;
	u32 nr_gsis = KVM_IOAPIC_NUM_PINS;
	int r;

	for (unsigned int i = 0; e && i < nr; i++)
		nr_gsis = max(nr_gsis, e[i].gsi + 1);
	routes = kvzalloc(struct_size(routes, route, nr) + nr_gsis * sizeof(*routes->first),
			  GFP_KERNEL_ACCOUNT);
	if (!routes)
		return -ENOMEM;
	routes->nr = nr;
	routes->nr_gsis = nr_gsis;
	routes->first = (u16 *)&routes->route[nr];
	for (unsigned int i = 0; i < nr; i++)
		routes->route[i] = e ? make_route(vm, &e[i]) : default_route(i);
	r = index_routes(vm, routes);
	if (r) {
		kvfree(routes);
		return r;
	}
	mutex_lock(&vm->irq.lock);
	for (unsigned int i = 0; vm->irq.chips && i < KVM_IOAPIC_NUM_PINS; i++)
		if (routes->pin_gsi[IOAPIC][i] == WAFER_PIT_GSI)
			WRITE_ONCE(vm->irq.chips->pit_pin, i);
	routes = rcu_replace_pointer(vm->irq.routes, routes, lockdep_is_held(&vm->irq.lock));
	mutex_unlock(&vm->irq.lock);
	kvfree_rcu(routes, rcu);
	return 0;
}

/**
 * wafer_set_routing() - KVM_SET_GSI_ROUTING
 * @vm: VM
 * @e: entries
 * @nr: how many, at most WAFER_MAX_GSI
 *
 * Return: 0; -EINVAL, with the old table in force; -ENOMEM.
 */
int wafer_set_routing(struct wafer_vm *vm, const struct kvm_irq_routing_entry *e, unsigned int nr)
{
	int r = needs_apics(vm);

	for (unsigned int i = 0; i < nr && !r; i++)
		r = check_entry(vm, &e[i]);
	return r ?: wafer_replace_routes(vm, e, nr);
}
