/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A virtio device (virtio 1.2) over PCI: everything that block, network and
 * entropy have in common.
 */
#ifndef WAFER_VIRTIO_H
#define WAFER_VIRTIO_H

#include <linux/virtio_config.h>

#include "loop.h"
#include "pci.h"
#include "virtqueue.h"

#define VIRTIO_MAX_QUEUES	2
#define VIRTIO_MAX_VECTORS	(VIRTIO_MAX_QUEUES + 1)

#define FEATURE(bit)		(1ull << (bit))

struct virtio_dev;

/* What makes a device of one kind; called with the device's lock held. */
struct virtio_ops {
	uint16_t type;			/* 5, "Device Types" */
	uint32_t pci_class;
	unsigned int nr_queues;
	/* main thread: the guest has put something into queue @q */
	void (*notified)(struct virtio_dev *dev, unsigned int q);
	/* vCPU thread, all optional: features agreed on; driver running; driver gone */
	void (*negotiated)(struct virtio_dev *dev);
	void (*started)(struct virtio_dev *dev);
	void (*stopped)(struct virtio_dev *dev);
};

struct msix_vector {
	uint64_t address;
	uint32_t data;
	uint32_t control;
	bool pending;
	int fd;				/* [I] raises the interrupt */
	unsigned int msi;		/* [I] its number in irq.c */
};

struct virtio_queue {
	struct virtqueue vq;
	uint16_t vector;
	uint64_t notify_gpa;		/* where its ioeventfd is registered, or 0 */
	struct watch kick;		/* eventfd that the guest's notification signals */
	struct virtio_dev *dev;		/* [I] */
};

/* The lock guards everything that is not [I]. */
struct virtio_dev {
	struct pci_dev pci;		/* guarded by the bus's lock instead */
	struct vm *vm;			/* [I] */
	struct loop *loop;		/* [I] */
	const char *name;		/* [I] for messages */
	const struct virtio_ops *ops;	/* [I] */
	const void *config;		/* [I] device-specific configuration */
	size_t config_len;		/* [I] */
	uint64_t offered;		/* [I] features */

	pthread_mutex_t lock;
	uint64_t accepted;		/* features that the driver wants */
	uint32_t offered_select, accepted_select;
	uint16_t queue_select;
	uint8_t status;
	uint8_t isr;
	bool complained;
	struct virtio_queue queue[VIRTIO_MAX_QUEUES];

	uint64_t bar_base;
	uint16_t config_vector;
	bool msix_enabled, msix_masked;
	struct msix_vector vector[VIRTIO_MAX_VECTORS];
	unsigned int msix_cap, window_cap;	/* [I] where they lie in the configuration */
};

/* virtio.c */
void virtio_init(struct virtio_dev *dev, struct vm *vm, struct loop *loop, const char *name);
bool virtio_has(const struct virtio_dev *dev, unsigned int feature);
bool virtio_running(const struct virtio_dev *dev);
void virtio_set_status(struct virtio_dev *dev, uint8_t status);
/* Interrupts the guest if it wants to know what has been pushed. */
void virtio_signal(struct virtio_dev *dev, unsigned int q);
/* The driver broke the rules: nothing is done for it until it resets the device. */
void virtio_broken(struct virtio_dev *dev);

/*
 * Hands each request in queue @q to @one, which gives the number of bytes that
 * it filled in. Leaves early when a lot was done, so that others get their turn.
 */
void virtio_drain(struct virtio_dev *dev, unsigned int q,
		  uint32_t (*one)(struct virtio_dev *dev, struct chain *c));

/* virtio_pci.c */
void virtio_pci_setup(struct virtio_dev *dev, struct pci_bus *bus);
/* Registers (or withdraws) the addresses by which the guest notifies queues. */
void virtio_pci_start(struct virtio_dev *dev);
void virtio_pci_stop(struct virtio_dev *dev);

/* msix.c */
#define VIRTIO_NO_VECTOR	0xffff
void msix_init(struct virtio_dev *dev);
void msix_reset(struct virtio_dev *dev);
void msix_raise(struct virtio_dev *dev, uint16_t vector);
/* Looks at the message control register again after the guest wrote it. */
void msix_control(struct virtio_dev *dev);
uint64_t msix_table_read(struct virtio_dev *dev, uint64_t offset, unsigned int len);
void msix_table_write(struct virtio_dev *dev, uint64_t offset, unsigned int len, uint64_t value);
uint64_t msix_pending_read(struct virtio_dev *dev, uint64_t offset, unsigned int len);
unsigned int msix_vectors(const struct virtio_dev *dev);

#endif
