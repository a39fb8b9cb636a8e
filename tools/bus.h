/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Who answers at which port or physical address. Ranges are added before the
 * guest runs and stay; what moves (BARs) is looked up behind one range by the
 * PCI code. So lookups need no lock; each device has its own.
 */
#ifndef WAFER_BUS_H
#define WAFER_BUS_H

#include "util.h"

struct bus_ops {
	uint64_t (*read)(void *dev, uint64_t offset, unsigned int len);
	void (*write)(void *dev, uint64_t offset, unsigned int len, uint64_t value);
};

struct bus_range {
	uint64_t base;
	uint64_t size;
	const struct bus_ops *ops;
	void *dev;
};

struct bus {
	struct bus_range range[8];
	unsigned int nr;
};

void bus_add(struct bus *bus, uint64_t base, uint64_t size, const struct bus_ops *ops, void *dev);

/* Nobody there: reads give all ones, writes go nowhere, as on a PC. */
uint64_t bus_read(struct bus *bus, uint64_t addr, unsigned int len);
void bus_write(struct bus *bus, uint64_t addr, unsigned int len, uint64_t value);

#endif
