// SPDX-License-Identifier: GPL-2.0
/* virtio entropy device (virtio 1.2, 5.4). */
#include <linux/virtio_ids.h>
#include <sys/random.h>

#include "devices.h"

/* A guest may ask for its whole memory; it gets what keeps nobody else waiting. */
#define MAX_PER_REQUEST	256

static uint32_t fill(struct virtio_dev *dev, struct chain *c)
{
	uint8_t bytes[MAX_PER_REQUEST];
	ssize_t n = getrandom(bytes, c->in_len < sizeof(bytes) ? c->in_len : sizeof(bytes), 0);

	(void)dev;
	return n > 0 ? iov_copy_in(c->iov + c->nr_out, c->nr_in, bytes, n) : 0;
}

static void notified(struct virtio_dev *dev, unsigned int q)
{
	virtio_drain(dev, q, fill);
}

static const struct virtio_ops rng_ops = {
	.type = VIRTIO_ID_RNG,
	.pci_class = 0xff0000,
	.nr_queues = 1,
	.notified = notified,
};

void rng_create(struct vm *vm, struct loop *loop, struct pci_bus *bus)
{
	struct virtio_dev *dev = xcalloc(1, sizeof(*dev));

	dev->ops = &rng_ops;
	virtio_init(dev, vm, loop, "entropy");
	virtio_pci_setup(dev, bus);
}
