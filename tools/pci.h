/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One PCI bus, reached by configuration mechanism #1 (ports 0xcf8 and 0xcfc).
 * Devices have one function and one 32-bit memory BAR, and signal by MSI-X only.
 */
#ifndef WAFER_PCI_H
#define WAFER_PCI_H

#include <linux/pci_regs.h>
#include <pthread.h>

#include "vm.h"

#define PCI_SLOTS	32
#define PCI_CFG_SIZE	256

struct pci_dev {
	uint8_t cfg[PCI_CFG_SIZE];
	uint8_t mask[PCI_CFG_SIZE];	/* [I] bits the guest may write */
	unsigned int cap_end;		/* [I] where the next capability goes */
	uint32_t bar_size;		/* [I] of BAR 0, a power of two; 0: none */

	/* @bar_read and @bar_write come without the bus's lock, the others with it. */
	uint64_t (*bar_read)(struct pci_dev *dev, uint64_t offset, unsigned int len);
	void (*bar_write)(struct pci_dev *dev, uint64_t offset, unsigned int len, uint64_t value);
	/* before configuration space is read, after it was written */
	void (*cfg_reading)(struct pci_dev *dev, unsigned int offset, unsigned int len);
	void (*cfg_written)(struct pci_dev *dev, unsigned int offset, unsigned int len);
};

struct pci_bus {
	struct vm *vm;			/* [I] */
	pthread_mutex_t lock;		/* of @address and all configuration spaces */
	uint32_t address;
	struct pci_dev *slot[PCI_SLOTS];	/* [I] */
	unsigned int nr;		/* [I] */
	struct pci_dev bridge;
};

void pci_setup(struct pci_bus *bus, struct vm *vm);
void pci_add(struct pci_bus *bus, struct pci_dev *dev);

void pci_init_ids(struct pci_dev *dev, uint16_t vendor, uint16_t device, uint32_t class_code);
void pci_init_bar(struct pci_dev *dev, uint32_t size);
/* Links a capability of @len bytes in; returns where it lies. */
unsigned int pci_add_cap(struct pci_dev *dev, uint8_t id, unsigned int len);

/* Where BAR 0 is decoded, or 0. */
uint64_t pci_bar_base(const struct pci_dev *dev);

#endif
