// SPDX-License-Identifier: GPL-2.0
/*
 * From GSIs to chips' pins and messages: KVM_SET_GSI_ROUTING's table.
 *
 * The table is replaced as a whole and read under RCU. Nobody waits for readers: one that started before the change may
 * still deliver by the old table, as a message that was already on the bus.
 */
#include <linux/kernel.h>
#include <linux/nospec.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "chips.h"
#include "lapic.h"
#include "vm.h"

/* One route: a pin of a chip, or a message. */
struct wafer_route {
	u16 gsi;
	u8 chip;		/* KVM_IRQCHIP_*, IS_MSI */
	u8 pin;
	struct wafer_irq_msg msg;
};

#define IS_MSI 0xff

/**
 * struct wafer_routes - a routing table
 * @rcu: for kvfree_rcu()
 * @nr: number of routes
 * @nr_gsis: one more than the highest GSI in the table
 * @pin_gsi: chip and pin back to GSI, -1 none
 * @first: index of the first route of each GSI, and at the end @nr; behind the routes in memory
 * @route: sorted by GSI
 */
struct wafer_routes {
	struct rcu_head rcu;
	unsigned int nr, nr_gsis;
	s16 pin_gsi[KVM_NR_IRQCHIPS][WAFER_IOAPIC_PINS];
	u16 *first;
	struct wafer_route route[];
};

static int set_pin(struct wafer_vm *vm, const struct wafer_route *route,
		   enum wafer_irq_source source, bool level)
{
	if (route->chip == KVM_IRQCHIP_IOAPIC)
		return wafer_ioapic_set(vm, route->pin, source, level);
	return wafer_pic_set(vm, route->pin + (route->chip == KVM_IRQCHIP_PIC_SLAVE ? 8 : 0),
			     source, level);
}

/**
 * wafer_set_gsi() - drive an interrupt line
 * @vm: VM
 * @source: who drives it; levels are ORed over sources
 * @gsi: line
 * @level: level; a message is sent at 1, and nothing happens at 0
 *
 * Context: any.
 * Return: how many took it; 0: coalesced; -1: masked, or the line leads nowhere.
 */
int wafer_set_gsi(struct wafer_vm *vm, enum wafer_irq_source source, u32 gsi, int level)
{
	const struct wafer_routes *routes;
	unsigned int i;
	int r = -1, one;

	rcu_read_lock();
	routes = rcu_dereference(vm->irq.routes);
	if (!routes || gsi >= routes->nr_gsis)
		goto out;
	gsi = array_index_nospec(gsi, routes->nr_gsis);
	for (i = routes->first[gsi]; i < routes->first[gsi + 1]; i++) {
		const struct wafer_route *route = &routes->route[i];

		if (route->chip != IS_MSI)
			one = set_pin(vm, route, source, level);
		else
			one = level ? wafer_deliver(vm, NULL, &route->msg) : -1;
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
		wafer_pit_acked(vm);
	if (gsi >= 0 && wafer_has_resamplers(vm))
		wafer_resample(vm, gsi);
}

/*
 * Split chip: the VMM's I/O APIC wants the EOIs of what its level pins send. Whether the vCPU that ends it is the one
 * that the route leads to now is not asked: it got the interrupt from somewhere.
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
	bool wide = vm->irq.x2apic_32bit_ids;

	return (struct wafer_irq_msg){
		.dest = (lo >> 12 & 0xff) | (wide ? hi & GENMASK(31, 8) : 0),
		.logical = lo & BIT(2),
		.redir_hint = lo & BIT(3),
		.vector = data & 0xff,
		.mode = data >> 8 & 7,
		.level = data & BIT(15),
		.assert = true,
	};
}

/* With 32-bit ids the high half's low byte is reserved; without them the high half is not looked at. */
static bool msi_valid(struct wafer_vm *vm, u32 hi)
{
	return !vm->irq.x2apic_32bit_ids || !(hi & 0xff);
}

/**
 * wafer_signal_msi() - KVM_SIGNAL_MSI
 * @vm: VM
 * @msi: address and data
 * @refusal: where to note a refusal
 *
 * Return: > 0: delivered; 0: coalesced, or nobody there; -EINVAL: no local APICs, flags, reserved bits.
 */
int wafer_signal_msi(struct wafer_vm *vm, const struct kvm_msi *msi, struct wafer_refusal *refusal)
{
	struct wafer_irq_msg msg;

	if (wafer_chip_mode(vm) == WAFER_CHIP_NONE)
		return wafer_refuse(refusal, -EINVAL, "irqchip", 0, "is in the kernel");
	if (msi->flags)
		return wafer_refuse(refusal, -EINVAL, "flags", msi->flags, "is 0");
	if (!msi_valid(vm, msi->address_hi))
		return wafer_refuse(refusal, -EINVAL, "address_hi", msi->address_hi,
				    "has bits 7-0 clear");
	msg = msi_message(vm, msi->address_lo, msi->address_hi, msi->data);
	return max(wafer_deliver(vm, NULL, &msg), 0);
}

/* ---- making tables ---- */

static int check_pin(struct wafer_vm *vm, const struct kvm_irq_routing_entry *e,
		     struct wafer_refusal *refusal)
{
	static const u8 pins[KVM_NR_IRQCHIPS] = { 8, 8, WAFER_IOAPIC_PINS };
	u32 chip = e->u.irqchip.irqchip;

	if (vm->irq.mode == WAFER_CHIP_SPLIT)
		return wafer_refuse(refusal, -EINVAL, "entries[].type", e->type,
				    "is not a chip's pin with a split irqchip");
	if (chip >= KVM_NR_IRQCHIPS)
		return wafer_refuse(refusal, -EINVAL, "entries[].u.irqchip.irqchip", chip,
				    "is 0 to 2");
	if (e->u.irqchip.pin >= pins[array_index_nospec(chip, KVM_NR_IRQCHIPS)])
		return wafer_refuse(refusal, -EINVAL, "entries[].u.irqchip.pin", e->u.irqchip.pin,
				    "is a pin of that chip");
	return 0;
}

/* The same GSI can lead to one pin of each chip, or to one message. */
static int check_entry(struct wafer_vm *vm, const struct kvm_irq_routing_entry *e,
		       struct wafer_refusal *refusal)
{
	bool msi = e->type == KVM_IRQ_ROUTING_MSI;

	if (e->gsi >= WAFER_MAX_GSI)
		return wafer_refuse(refusal, -EINVAL, "entries[].gsi", e->gsi, "is below 4096");
	if (e->flags & ~(msi ? KVM_MSI_VALID_DEVID : 0))
		return wafer_refuse(refusal, -EINVAL, "entries[].flags", e->flags, "is 0");
	if (e->type == KVM_IRQ_ROUTING_IRQCHIP)
		return check_pin(vm, e, refusal);
	if (!msi)
		return wafer_refuse(refusal, -EINVAL, "entries[].type", e->type,
				    "is KVM_IRQ_ROUTING_IRQCHIP or KVM_IRQ_ROUTING_MSI");
	if (!msi_valid(vm, e->u.msi.address_hi))
		return wafer_refuse(refusal, -EINVAL, "entries[].u.msi.address_hi",
				    e->u.msi.address_hi, "has bits 7-0 clear");
	return 0;
}

static struct wafer_route make_route(struct wafer_vm *vm, const struct kvm_irq_routing_entry *e)
{
	struct wafer_route route = { .gsi = e->gsi };

	if (e->type == KVM_IRQ_ROUTING_MSI) {
		route.chip = IS_MSI;
		route.msg = msi_message(vm, e->u.msi.address_lo, e->u.msi.address_hi,
					e->u.msi.data);
	} else {
		route.chip = array_index_nospec(e->u.irqchip.irqchip, KVM_NR_IRQCHIPS);
		route.pin = array_index_nospec(e->u.irqchip.pin, WAFER_IOAPIC_PINS);
	}
	return route;
}

static int check_neighbours(const struct wafer_routes *routes, struct wafer_refusal *refusal)
{
	unsigned int i, j;

	for (i = 1; i < routes->nr; i++)
		for (j = i; j > routes->first[routes->route[i].gsi]; j--) {
			const struct wafer_route *a = &routes->route[i], *b = &routes->route[j - 1];

			if (a->chip == IS_MSI || b->chip == IS_MSI || a->chip == b->chip)
				return wafer_refuse(refusal, -EINVAL, "entries[].gsi", a->gsi,
						    "leads to a chip once, or to a message alone");
		}
	return 0;
}

/*
 * Counting sort: first[] counts, then is where the next route of a GSI goes, which at the end is where the next
 * GSI's begin.
 */
static void fill(struct wafer_vm *vm, struct wafer_routes *routes,
		 const struct kvm_irq_routing_entry *e)
{
	u16 *first = routes->first;
	unsigned int i, gsi;

	memset(routes->pin_gsi, -1, sizeof(routes->pin_gsi));
	for (i = 0; i < routes->nr; i++)
		first[array_index_nospec(e[i].gsi, routes->nr_gsis) + 1]++;
	for (gsi = 1; gsi <= routes->nr_gsis; gsi++)
		first[gsi] += first[gsi - 1];
	for (i = 0; i < routes->nr; i++) {
		struct wafer_route route = make_route(vm, &e[i]);

		gsi = array_index_nospec(route.gsi, routes->nr_gsis);
		routes->route[first[gsi]++] = route;
		if (route.chip != IS_MSI)
			routes->pin_gsi[route.chip][route.pin] = gsi;
	}
	for (gsi = routes->nr_gsis; gsi > 0; gsi--)
		first[gsi] = first[gsi - 1];
	first[0] = 0;
}

static struct wafer_routes *alloc_routes(unsigned int nr, unsigned int nr_gsis)
{
	struct wafer_routes *routes;

	routes = kvzalloc(struct_size(routes, route, nr) + (nr_gsis + 1) * sizeof(u16),
			  GFP_KERNEL_ACCOUNT);
	if (!routes)
		return NULL;
	routes->nr = nr;
	routes->nr_gsis = nr_gsis;
	routes->first = (u16 *)&routes->route[nr];
	return routes;
}

static void publish(struct wafer_vm *vm, struct wafer_routes *routes)
{
	struct wafer_routes *old;

	mutex_lock(&vm->irq.lock);
	old = rcu_dereference_protected(vm->irq.routes, lockdep_is_held(&vm->irq.lock));
	rcu_assign_pointer(vm->irq.routes, routes);
	mutex_unlock(&vm->irq.lock);
	if (old)
		kvfree_rcu(old, rcu);
	wafer_ioapic_rewatch(vm);
}

static int replace(struct wafer_vm *vm, const struct kvm_irq_routing_entry *e, unsigned int nr,
		   struct wafer_refusal *refusal)
{
	struct wafer_routes *routes;
	unsigned int i, nr_gsis = 0;
	int r;

	for (i = 0; i < nr; i++) {
		r = check_entry(vm, &e[i], refusal);
		if (r)
			return r;
		nr_gsis = max(nr_gsis, e[i].gsi + 1);
	}
	routes = alloc_routes(nr, nr_gsis);
	if (!routes)
		return -ENOMEM;
	fill(vm, routes, e);
	r = check_neighbours(routes, refusal);
	if (r)
		kvfree(routes);
	else
		publish(vm, routes);
	return r;
}

/**
 * wafer_set_routing() - KVM_SET_GSI_ROUTING
 * @vm: VM
 * @e: entries
 * @nr: how many
 * @refusal: where to note a refusal
 *
 * Return: 0; -EINVAL, with the old table in force; -ENOMEM.
 */
int wafer_set_routing(struct wafer_vm *vm, const struct kvm_irq_routing_entry *e, unsigned int nr,
		      struct wafer_refusal *refusal)
{
	if (wafer_chip_mode(vm) == WAFER_CHIP_NONE)
		return wafer_refuse(refusal, -EINVAL, "irqchip", 0, "is in the kernel");
	if (nr > WAFER_MAX_GSI)
		return wafer_refuse(refusal, -EINVAL, "nr", nr, "is at most 4096");
	return replace(vm, e, nr, refusal);
}

/* KVM's table after KVM_CREATE_IRQCHIP: GSIs are the I/O APIC's pins, the first 16 the PICs', too. */
int wafer_set_default_routing(struct wafer_vm *vm)
{
	struct kvm_irq_routing_entry *e;
	unsigned int gsi, nr = 0;
	int r;

	e = kcalloc(WAFER_PIC_PINS + WAFER_IOAPIC_PINS, sizeof(*e), GFP_KERNEL);
	if (!e)
		return -ENOMEM;
	for (gsi = 0; gsi < WAFER_IOAPIC_PINS; gsi++) {
		e[nr].gsi = gsi;
		e[nr].type = KVM_IRQ_ROUTING_IRQCHIP;
		e[nr].u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
		e[nr++].u.irqchip.pin = gsi;
		if (gsi >= WAFER_PIC_PINS)
			continue;
		e[nr].gsi = gsi;
		e[nr].type = KVM_IRQ_ROUTING_IRQCHIP;
		e[nr].u.irqchip.irqchip = gsi / 8;	/* KVM_IRQCHIP_PIC_MASTER, _SLAVE */
		e[nr++].u.irqchip.pin = gsi % 8;
	}
	r = replace(vm, e, nr, NULL);
	kfree(e);
	return r;
}

/* No readers are left. */
void wafer_routes_free(struct wafer_vm *vm)
{
	kvfree(rcu_dereference_protected(vm->irq.routes, true));
	RCU_INIT_POINTER(vm->irq.routes, NULL);
}
