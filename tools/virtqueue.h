/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Split virtqueues (virtio 1.2, section 2.7), the device's side. Everything in
 * them is the guest's word: each index, address and length is read once, checked
 * and only then used, and no chain makes the device work without bound.
 */
#ifndef WAFER_VIRTQUEUE_H
#define WAFER_VIRTQUEUE_H

#include <linux/virtio_ring.h>
#include <sys/uio.h>

#include "vm.h"

#define VQ_MAX_SIZE	256

/* A chain may be as long as its queue, indirect or not (2.7.5.3.1). */
#define VQ_MAX_SEGS	VQ_MAX_SIZE

struct virtqueue {
	const struct guest_ram *ram;
	uint16_t size;			/* a power of two, at most VQ_MAX_SIZE */
	bool enabled;
	bool event_idx;			/* VIRTIO_F_EVENT_IDX was negotiated */
	uint64_t desc_gpa, avail_gpa, used_gpa;

	struct vring_desc *desc;	/* valid while enabled */
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t next_avail;
	uint16_t next_used;
	uint16_t signalled;		/* @next_used when the guest was last interrupted */
};

/* One request: what the device may read, then what it is to fill. */
struct chain {
	uint16_t head;
	unsigned int nr_out, nr_in;
	size_t out_len, in_len;
	struct iovec iov[VQ_MAX_SEGS];	/* @nr_out of the first kind, then @nr_in */
};

enum vq_result {
	VQ_EMPTY,
	VQ_CHAIN,
	VQ_BROKEN,		/* the ring makes no sense; the device has to be reset */
};

void vq_reset(struct virtqueue *vq);

/* False if the rings lie outside of memory or badly aligned. */
bool vq_enable(struct virtqueue *vq);

enum vq_result vq_pop(struct virtqueue *vq, struct chain *c);
/* Takes back the last vq_pop(). */
void vq_unpop(struct virtqueue *vq);
/* The request is done and @written bytes were filled in. */
void vq_push(struct virtqueue *vq, const struct chain *c, uint32_t written);

void vq_disable_notify(struct virtqueue *vq);
/* True if more has come meanwhile, which would not be notified. */
bool vq_enable_notify(struct virtqueue *vq);
/* Whether the guest wants to know of what was pushed since it was last asked. */
bool vq_should_interrupt(struct virtqueue *vq);

/* Copy to and from the start of a vector of buffers, and step over it. */
size_t iov_copy_out(void *to, struct iovec *iov, unsigned int nr, size_t len);
size_t iov_copy_in(struct iovec *iov, unsigned int nr, const void *from, size_t len);
void iov_skip(struct iovec **iov, unsigned int *nr, size_t len);

#endif
