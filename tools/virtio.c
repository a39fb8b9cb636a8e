// SPDX-License-Identifier: GPL-2.0
/*
 * The life of a virtio device: status, features, start, trouble, reset.
 */
#include <sys/eventfd.h>

#include "virtio.h"

#define ISR_QUEUE	1
#define ISR_CONFIG	2

bool virtio_has(const struct virtio_dev *dev, unsigned int feature)
{
	return dev->accepted & FEATURE(feature);
}

bool virtio_running(const struct virtio_dev *dev)
{
	return (dev->status & VIRTIO_CONFIG_S_DRIVER_OK) &&
	       !(dev->status & VIRTIO_CONFIG_S_NEEDS_RESET);
}

static void on_kick(struct watch *w)
{
	struct virtio_queue *q = w->dev;
	struct virtio_dev *dev = q->dev;

	event_drain(w);
	pthread_mutex_lock(&dev->lock);
	/* the driver may have reset the device since it notified */
	if (virtio_running(dev) && q->vq.enabled)
		dev->ops->notified(dev, q - dev->queue);
	pthread_mutex_unlock(&dev->lock);
}

void virtio_init(struct virtio_dev *dev, struct vm *vm, struct loop *loop, const char *name)
{
	dev->vm = vm;
	dev->loop = loop;
	dev->name = name;
	dev->offered |= FEATURE(VIRTIO_F_VERSION_1) | FEATURE(VIRTIO_RING_F_INDIRECT_DESC) |
			FEATURE(VIRTIO_RING_F_EVENT_IDX);
	pthread_mutex_init(&dev->lock, NULL);
	for (unsigned int i = 0; i < dev->ops->nr_queues; i++) {
		struct virtio_queue *q = &dev->queue[i];

		q->dev = dev;
		q->vq.ram = &vm->ram;
		q->vector = VIRTIO_NO_VECTOR;
		vq_reset(&q->vq);
		loop_add_event(loop, &q->kick, on_kick, q);
	}
}

static void reset(struct virtio_dev *dev)
{
	if (dev->status & VIRTIO_CONFIG_S_DRIVER_OK) {
		virtio_pci_stop(dev);
		if (dev->ops->stopped)
			dev->ops->stopped(dev);
	}
	for (unsigned int i = 0; i < dev->ops->nr_queues; i++) {
		vq_reset(&dev->queue[i].vq);
		dev->queue[i].vector = VIRTIO_NO_VECTOR;
	}
	dev->accepted = 0;
	dev->status = 0;
	dev->isr = 0;
	dev->queue_select = dev->offered_select = dev->accepted_select = 0;
	msix_reset(dev);
}

static void start(struct virtio_dev *dev)
{
	virtio_pci_start(dev);
	if (dev->ops->started)
		dev->ops->started(dev);
}

/* 2.1 and 3.1.1: bits are only ever added, in order, until a write of 0 resets. */
void virtio_set_status(struct virtio_dev *dev, uint8_t status)
{
	uint8_t added = status & ~dev->status & ~VIRTIO_CONFIG_S_NEEDS_RESET;

	if (status == 0) {
		reset(dev);
		return;
	}
	if (added & VIRTIO_CONFIG_S_FEATURES_OK) {
		/* refused by leaving the bit clear, which the driver has to look at */
		if ((dev->accepted & ~dev->offered) || !virtio_has(dev, VIRTIO_F_VERSION_1))
			added &= ~(VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
		else if (dev->ops->negotiated)
			dev->ops->negotiated(dev);
	}
	if (!((dev->status | added) & VIRTIO_CONFIG_S_FEATURES_OK))
		added &= ~VIRTIO_CONFIG_S_DRIVER_OK;
	dev->status |= added;
	if (added & VIRTIO_CONFIG_S_DRIVER_OK)
		start(dev);
}

void virtio_signal(struct virtio_dev *dev, unsigned int q)
{
	if (!vq_should_interrupt(&dev->queue[q].vq))
		return;
	dev->isr |= ISR_QUEUE;
	msix_raise(dev, dev->queue[q].vector);
}

void virtio_broken(struct virtio_dev *dev)
{
	if (!dev->complained)
		say("%s: the guest's driver breaks the rules; it has to reset the device",
		    dev->name);
	dev->complained = true;		/* once: a guest must not fill a log */
	dev->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	dev->isr |= ISR_CONFIG;
	msix_raise(dev, dev->config_vector);
}

void virtio_drain(struct virtio_dev *dev, unsigned int q,
		  uint32_t (*one)(struct virtio_dev *dev, struct chain *c))
{
	struct virtqueue *vq = &dev->queue[q].vq;
	enum vq_result r = VQ_EMPTY;
	unsigned int budget = 2 * VQ_MAX_SIZE;
	struct chain c;

	vq_disable_notify(vq);
	do {
		while (budget && virtio_running(dev) && (r = vq_pop(vq, &c)) == VQ_CHAIN) {
			vq_push(vq, &c, one(dev, &c));
			budget--;
		}
	} while (r == VQ_EMPTY && vq_enable_notify(vq));
	virtio_signal(dev, q);
	if (r == VQ_BROKEN)
		virtio_broken(dev);
	else if (!budget)
		eventfd_write(dev->queue[q].kick.fd, 1);
}
