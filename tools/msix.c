// SPDX-License-Identifier: GPL-2.0
/*
 * MSI-X of a virtio device (PCI Local Bus 3.0, 6.8.2). Each vector has an irqfd;
 * what is masked is remembered here and raised when the mask goes.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#include "virtio.h"

#define ENTRY_SIZE	PCI_MSIX_ENTRY_SIZE

unsigned int msix_vectors(const struct virtio_dev *dev)
{
	return dev->ops->nr_queues + 1;
}

void msix_init(struct virtio_dev *dev)
{
	for (unsigned int i = 0; i < msix_vectors(dev); i++) {
		struct msix_vector *v = &dev->vector[i];

		v->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (v->fd < 0)
			die(STATUS_HOST, "eventfd: %s", strerror(errno));
		v->msi = irq_alloc_msi(dev->vm, v->fd);
		v->control = PCI_MSIX_ENTRY_CTRL_MASKBIT;
	}
	dev->config_vector = VIRTIO_NO_VECTOR;
}

/* A virtio reset forgets which vector is whose; the table is PCI's and stays. */
void msix_reset(struct virtio_dev *dev)
{
	dev->config_vector = VIRTIO_NO_VECTOR;
	for (unsigned int i = 0; i < msix_vectors(dev); i++)
		dev->vector[i].pending = false;
}

static bool is_masked(const struct virtio_dev *dev, const struct msix_vector *v)
{
	return dev->msix_masked || (v->control & PCI_MSIX_ENTRY_CTRL_MASKBIT);
}

/* After anything that may have unmasked @v. */
static void update(struct virtio_dev *dev, struct msix_vector *v)
{
	if (!dev->msix_enabled || is_masked(dev, v))
		return;
	irq_route_msi(dev->vm, v->msi, v->address, v->data);
	if (v->pending)
		eventfd_write(v->fd, 1);
	v->pending = false;
}

void msix_raise(struct virtio_dev *dev, uint16_t vector)
{
	struct msix_vector *v;

	if (vector >= msix_vectors(dev) || !dev->msix_enabled)
		return;
	v = &dev->vector[vector];
	if (is_masked(dev, v))
		v->pending = true;
	else
		eventfd_write(v->fd, 1);
}

void msix_control(struct virtio_dev *dev)
{
	uint16_t flags = load_le(dev->pci.cfg + dev->msix_cap + PCI_MSIX_FLAGS, 2);

	dev->msix_enabled = flags & PCI_MSIX_FLAGS_ENABLE;
	dev->msix_masked = flags & PCI_MSIX_FLAGS_MASKALL;
	for (unsigned int i = 0; i < msix_vectors(dev); i++)
		update(dev, &dev->vector[i]);
}

/* 6.8.3.1: aligned accesses of 4 or 8 bytes, and nothing else. */
static bool access_is_fine(const struct virtio_dev *dev, uint64_t offset, unsigned int len)
{
	return (len == 4 || len == 8) && offset % len == 0 &&
	       offset / ENTRY_SIZE < msix_vectors(dev);
}

static uint32_t read_word(const struct msix_vector *v, unsigned int at)
{
	switch (at) {
	case PCI_MSIX_ENTRY_LOWER_ADDR:
		return v->address;
	case PCI_MSIX_ENTRY_UPPER_ADDR:
		return v->address >> 32;
	case PCI_MSIX_ENTRY_DATA:
		return v->data;
	default:
		return v->control;
	}
}

static void write_word(struct msix_vector *v, unsigned int at, uint32_t value)
{
	switch (at) {
	case PCI_MSIX_ENTRY_LOWER_ADDR:
		v->address = (v->address & ~0xffffffffull) | (value & ~3u);
		break;
	case PCI_MSIX_ENTRY_UPPER_ADDR:
		v->address = (v->address & 0xffffffff) | (uint64_t)value << 32;
		break;
	case PCI_MSIX_ENTRY_DATA:
		v->data = value;
		break;
	default:
		v->control = value & PCI_MSIX_ENTRY_CTRL_MASKBIT;
	}
}

uint64_t msix_table_read(struct virtio_dev *dev, uint64_t offset, unsigned int len)
{
	const struct msix_vector *v;
	uint64_t value;

	if (!access_is_fine(dev, offset, len))
		return UINT64_MAX;
	v = &dev->vector[offset / ENTRY_SIZE];
	value = read_word(v, offset % ENTRY_SIZE);
	if (len == 8)
		value |= (uint64_t)read_word(v, offset % ENTRY_SIZE + 4) << 32;
	return value;
}

void msix_table_write(struct virtio_dev *dev, uint64_t offset, unsigned int len, uint64_t value)
{
	struct msix_vector *v;

	if (!access_is_fine(dev, offset, len))
		return;
	v = &dev->vector[offset / ENTRY_SIZE];
	write_word(v, offset % ENTRY_SIZE, value);
	if (len == 8)
		write_word(v, offset % ENTRY_SIZE + 4, value >> 32);
	update(dev, v);
}

uint64_t msix_pending_read(struct virtio_dev *dev, uint64_t offset, unsigned int len)
{
	uint64_t bits = 0;

	(void)len;
	for (unsigned int i = 0; i < msix_vectors(dev); i++)
		bits |= (uint64_t)dev->vector[i].pending << i;
	return offset < 8 ? bits >> (8 * offset) : 0;
}
