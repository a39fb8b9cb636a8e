// SPDX-License-Identifier: GPL-2.0
#include <string.h>

#include "pci.h"

#define PORT_CONFIG		0xcf8
#define CONFIG_DATA		4	/* 0xcfc, from PORT_CONFIG */
#define RESET_CONTROL		1	/* 0xcf9: the chipset's reset, a byte inside the address */
#define RESET_CPU		(1 << 2)
#define ADDRESS_ENABLE		(1u << 31)

#define FIRST_CAP		0x40

/* A bridge that nobody drives, by which an operating system sees that PCI is there. */
#define BRIDGE_VENDOR		0x1b36
#define BRIDGE_DEVICE		0x0008
#define BRIDGE_CLASS		0x060000

void pci_init_ids(struct pci_dev *dev, uint16_t vendor, uint16_t device, uint32_t class_code)
{
	store_le(dev->cfg + PCI_VENDOR_ID, 2, vendor);
	store_le(dev->cfg + PCI_DEVICE_ID, 2, device);
	store_le(dev->cfg + PCI_CLASS_REVISION, 4, class_code << 8 | 1);
	store_le(dev->cfg + PCI_SUBSYSTEM_VENDOR_ID, 2, vendor);
	store_le(dev->cfg + PCI_SUBSYSTEM_ID, 2, device);
	store_le(dev->mask + PCI_COMMAND, 2,
		 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
	dev->mask[PCI_CACHE_LINE_SIZE] = 0xff;
	dev->mask[PCI_INTERRUPT_LINE] = 0xff;
}

void pci_init_bar(struct pci_dev *dev, uint32_t size)
{
	dev->bar_size = size;
	/* the bits below the size read as zero whatever is written: that tells the size */
	store_le(dev->mask + PCI_BASE_ADDRESS_0, 4, ~(size - 1));
}

unsigned int pci_add_cap(struct pci_dev *dev, uint8_t id, unsigned int len)
{
	unsigned int at = dev->cap_end ? dev->cap_end : FIRST_CAP;

	dev->cap_end = ALIGN_UP(at + len, 4);
	if (dev->cap_end > PCI_CFG_SIZE)
		die(STATUS_HOST, "too many PCI capabilities");
	dev->cfg[at + PCI_CAP_LIST_ID] = id;
	dev->cfg[at + PCI_CAP_LIST_NEXT] = dev->cfg[PCI_CAPABILITY_LIST];
	dev->cfg[PCI_CAPABILITY_LIST] = at;	/* the newest comes first */
	dev->cfg[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
	return at;
}

uint64_t pci_bar_base(const struct pci_dev *dev)
{
	if (!dev->bar_size || !(dev->cfg[PCI_COMMAND] & PCI_COMMAND_MEMORY))
		return 0;
	return load_le(dev->cfg + PCI_BASE_ADDRESS_0, 4) & ~0xfull;
}

static uint64_t config_read(struct pci_dev *dev, unsigned int offset, unsigned int len)
{
	if (dev->cfg_reading)
		dev->cfg_reading(dev, offset, len);
	return load_le(dev->cfg + offset, len);
}

static void config_write(struct pci_dev *dev, unsigned int offset, unsigned int len,
			 uint64_t value)
{
	uint64_t mask = load_le(dev->mask + offset, len);

	store_le(dev->cfg + offset, len,
		 (load_le(dev->cfg + offset, len) & ~mask) | (value & mask));
	if (dev->cfg_written)
		dev->cfg_written(dev, offset, len);
}

/* Bus 0, function 0, and one of the devices; the register's low bits come from the port. */
static struct pci_dev *addressed(struct pci_bus *bus, uint64_t port_offset, unsigned int len,
				 unsigned int *reg)
{
	uint32_t a = bus->address;

	*reg = (a & 0xfc) + (port_offset - CONFIG_DATA);
	if (!(a & ADDRESS_ENABLE) || (a >> 16 & 0xff) || (a >> 8 & 7) ||
	    *reg + len > PCI_CFG_SIZE)
		return NULL;
	return bus->slot[a >> 11 & 0x1f];
}

static uint64_t port_read(void *opaque, uint64_t offset, unsigned int len)
{
	struct pci_bus *bus = opaque;
	uint64_t value = UINT64_MAX;
	struct pci_dev *dev;
	unsigned int reg;

	pthread_mutex_lock(&bus->lock);
	if (offset == 0 && len == 4) {
		value = bus->address;
	} else if (offset >= CONFIG_DATA) {
		dev = addressed(bus, offset, len, &reg);
		if (dev)
			value = config_read(dev, reg, len);
	}
	pthread_mutex_unlock(&bus->lock);
	return value;
}

static void port_write(void *opaque, uint64_t offset, unsigned int len, uint64_t value)
{
	struct pci_bus *bus = opaque;
	struct pci_dev *dev;
	unsigned int reg;

	pthread_mutex_lock(&bus->lock);
	if (offset == 0 && len == 4) {
		bus->address = value;
	} else if (offset == RESET_CONTROL && len == 1 && (value & RESET_CPU)) {
		vm_end(bus->vm, STATUS_RESET, "the guest asked to be reset");
	} else if (offset >= CONFIG_DATA) {
		dev = addressed(bus, offset, len, &reg);
		if (dev)
			config_write(dev, reg, len, value);
	}
	pthread_mutex_unlock(&bus->lock);
}

static const struct bus_ops port_ops = { port_read, port_write };

static struct pci_dev *find_bar(struct pci_bus *bus, uint64_t addr, unsigned int len,
				uint64_t *offset)
{
	struct pci_dev *found = NULL;

	pthread_mutex_lock(&bus->lock);
	for (unsigned int i = 0; i < bus->nr && !found; i++) {
		struct pci_dev *dev = bus->slot[i];
		uint64_t base = pci_bar_base(dev);

		if (base && addr >= base && addr - base < dev->bar_size &&
		    len <= dev->bar_size - (addr - base)) {
			*offset = addr - base;
			found = dev;
		}
	}
	pthread_mutex_unlock(&bus->lock);
	return found;
}

static uint64_t window_read(void *opaque, uint64_t offset, unsigned int len)
{
	struct pci_dev *dev = find_bar(opaque, PCI_WINDOW + offset, len, &offset);

	return dev ? dev->bar_read(dev, offset, len) : UINT64_MAX;
}

static void window_write(void *opaque, uint64_t offset, unsigned int len, uint64_t value)
{
	struct pci_dev *dev = find_bar(opaque, PCI_WINDOW + offset, len, &offset);

	if (dev)
		dev->bar_write(dev, offset, len, value);
}

static const struct bus_ops window_ops = { window_read, window_write };

void pci_add(struct pci_bus *bus, struct pci_dev *dev)
{
	if (bus->nr == PCI_SLOTS)
		die(STATUS_USAGE, "too many devices: the PCI bus has %d places", PCI_SLOTS);
	/* Firmware would have placed BARs. All are small: each slot has its own part. */
	if (dev->bar_size)
		store_le(dev->cfg + PCI_BASE_ADDRESS_0, 4, PCI_WINDOW + bus->nr * MIB);
	bus->slot[bus->nr++] = dev;
}

void pci_setup(struct pci_bus *bus, struct vm *vm)
{
	bus->vm = vm;
	pthread_mutex_init(&bus->lock, NULL);
	bus_add(&vm->ports, PORT_CONFIG, 8, &port_ops, bus);
	bus_add(&vm->mmio, PCI_WINDOW, PCI_WINDOW_END - PCI_WINDOW, &window_ops, bus);
	pci_init_ids(&bus->bridge, BRIDGE_VENDOR, BRIDGE_DEVICE, BRIDGE_CLASS);
	pci_add(bus, &bus->bridge);
}
