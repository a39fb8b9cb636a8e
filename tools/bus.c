// SPDX-License-Identifier: GPL-2.0
#include "bus.h"

void bus_add(struct bus *bus, uint64_t base, uint64_t size, const struct bus_ops *ops, void *dev)
{
	if (bus->nr == ARRAY_SIZE(bus->range))
		die(STATUS_HOST, "too many devices on one bus");
	bus->range[bus->nr++] = (struct bus_range){
		.base = base, .size = size, .ops = ops, .dev = dev,
	};
}

static struct bus_range *bus_find(struct bus *bus, uint64_t addr, unsigned int len)
{
	for (unsigned int i = 0; i < bus->nr; i++) {
		struct bus_range *r = &bus->range[i];

		/* an access that runs over the end of a device is nobody's */
		if (addr >= r->base && addr - r->base < r->size &&
		    len <= r->size - (addr - r->base))
			return r;
	}
	return NULL;
}

uint64_t bus_read(struct bus *bus, uint64_t addr, unsigned int len)
{
	struct bus_range *r = bus_find(bus, addr, len);

	return r ? r->ops->read(r->dev, addr - r->base, len) : UINT64_MAX;
}

void bus_write(struct bus *bus, uint64_t addr, unsigned int len, uint64_t value)
{
	struct bus_range *r = bus_find(bus, addr, len);

	if (r)
		r->ops->write(r->dev, addr - r->base, len, value);
}
