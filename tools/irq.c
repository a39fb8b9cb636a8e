// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "irq.h"
#include "vm.h"

#define IOAPIC_PINS	24
#define PIC_PINS	16
#define MAX_ROUTES	(PIC_PINS + IOAPIC_PINS + IRQ_MAX_MSI)

/* An MSI address: SDM vol. 3, 11.11.1; bits 11:5 as hypervisors use them (see cpuid.c). */
#define MSI_EXT_DEST_SHIFT	5
#define MSI_EXT_DEST_MASK	0x7full

struct routing {
	struct kvm_irq_routing head;
	struct kvm_irq_routing_entry entry[MAX_ROUTES];
};

void irq_setup(struct vm *vm)
{
	pthread_mutex_init(&vm->irq.lock, NULL);
}

unsigned int irq_alloc_msi(struct vm *vm, int fd)
{
	struct kvm_irqfd irqfd = { .fd = fd };

	if (vm->irq.nr == IRQ_MAX_MSI)
		die(STATUS_USAGE, "too many devices: no interrupts left");
	irqfd.gsi = IOAPIC_PINS + vm->irq.nr;
	if (ioctl(vm->fd, KVM_IRQFD, &irqfd) < 0)
		die(STATUS_HOST, "KVM_IRQFD: %s", strerror(errno));
	return vm->irq.nr++;
}

static struct kvm_irq_routing_entry *add(struct routing *r, uint32_t gsi, uint32_t type)
{
	struct kvm_irq_routing_entry *e = &r->entry[r->head.nr++];

	e->gsi = gsi;
	e->type = type;
	return e;
}

static void add_pin(struct routing *r, uint32_t gsi, uint32_t chip, uint32_t pin)
{
	struct kvm_irq_routing_entry *e = add(r, gsi, KVM_IRQ_ROUTING_IRQCHIP);

	e->u.irqchip.irqchip = chip;
	e->u.irqchip.pin = pin;
}

static void add_message(const struct vm *vm, struct routing *r, uint32_t gsi,
			const struct msi *msi)
{
	struct kvm_irq_routing_entry *e = add(r, gsi, KVM_IRQ_ROUTING_MSI);
	uint64_t ext = msi->address >> MSI_EXT_DEST_SHIFT & MSI_EXT_DEST_MASK;

	e->u.msi.address_lo = msi->address;
	e->u.msi.address_hi = msi->address >> 32;
	e->u.msi.data = msi->data;
	if (vm->nr_vcpus > 255) {
		e->u.msi.address_lo &= ~(MSI_EXT_DEST_MASK << MSI_EXT_DEST_SHIFT);
		e->u.msi.address_hi = ext << 8;
	}
}

/* The table is always set as a whole, so the lines of the chips are in it every time. */
void irq_route_msi(struct vm *vm, unsigned int n, uint64_t address, uint32_t data)
{
	struct msi new = { .used = true, .address = address, .data = data };
	struct msi *msi = &vm->irq.msi[n];
	struct routing r = { 0 };

	pthread_mutex_lock(&vm->irq.lock);
	if (msi->used && msi->address == address && msi->data == data)
		goto out;
	*msi = new;
	for (uint32_t i = 0; i < PIC_PINS; i++)
		add_pin(&r, i, i < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, i % 8);
	for (uint32_t i = 0; i < IOAPIC_PINS; i++)
		add_pin(&r, i, KVM_IRQCHIP_IOAPIC, i);
	for (uint32_t i = 0; i < vm->irq.nr; i++) {
		if (vm->irq.msi[i].used)
			add_message(vm, &r, IOAPIC_PINS + i, &vm->irq.msi[i]);
	}
	/* A message that makes no sense to the host is the guest's loss: it gets no interrupt. */
	if (ioctl(vm->fd, KVM_SET_GSI_ROUTING, &r) < 0)
		msi->used = false;
out:
	pthread_mutex_unlock(&vm->irq.lock);
}
