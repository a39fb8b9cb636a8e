// SPDX-License-Identifier: GPL-2.0
#include <string.h>

#include "virtqueue.h"

/* One more word after each ring: VIRTIO_F_EVENT_IDX, 2.7.10. */
static uint16_t *used_event(struct virtqueue *vq)
{
	return &vq->avail->ring[vq->size];
}

static uint16_t *avail_event(struct virtqueue *vq)
{
	return (uint16_t *)&vq->used->ring[vq->size];
}

void vq_reset(struct virtqueue *vq)
{
	const struct guest_ram *ram = vq->ram;

	*vq = (struct virtqueue){ .ram = ram, .size = VQ_MAX_SIZE };
}

bool vq_enable(struct virtqueue *vq)
{
	size_t n = vq->size;

	if (vq->desc_gpa % 16 || vq->avail_gpa % 2 || vq->used_gpa % 4)
		return false;
	vq->desc = ram_ptr(vq->ram, vq->desc_gpa, n * sizeof(*vq->desc));
	vq->avail = ram_ptr(vq->ram, vq->avail_gpa, sizeof(*vq->avail) + (n + 1) * 2);
	vq->used = ram_ptr(vq->ram, vq->used_gpa,
			   sizeof(*vq->used) + n * sizeof(vq->used->ring[0]) + 2);
	vq->enabled = vq->desc && vq->avail && vq->used;
	return vq->enabled;
}

/*
 * Copied before it is looked at: the guest may rewrite the descriptor at any
 * time, and what was checked must be what is used. The barrier keeps the
 * compiler from loading a field a second time. Indirect tables need not be
 * aligned, hence no plain loads.
 */
static struct vring_desc read_desc(const uint8_t *table, uint32_t i)
{
	struct vring_desc d;

	memcpy(&d, table + i * sizeof(d), sizeof(d));
	__asm__ volatile("" : "+m"(d));
	return d;
}

static bool add_segment(struct virtqueue *vq, struct chain *c, const struct vring_desc *d)
{
	unsigned int n = c->nr_out + c->nr_in;
	void *p = ram_ptr(vq->ram, d->addr, d->len);

	if (!p || n == VQ_MAX_SEGS)
		return false;
	c->iov[n] = (struct iovec){ .iov_base = p, .iov_len = d->len };
	if (d->flags & VRING_DESC_F_WRITE) {
		c->nr_in++;
		c->in_len += d->len;
	} else {
		if (c->nr_in)		/* 2.7.4.2: readable ones come first */
			return false;
		c->nr_out++;
		c->out_len += d->len;
	}
	return true;
}

/*
 * Follows a chain in @table of @size entries. The number of steps is bounded by
 * the size, so a chain that bites its own tail is found out.
 */
static bool walk(struct virtqueue *vq, struct chain *c, const uint8_t *table,
		 uint32_t size, uint32_t i, struct vring_desc *indirect)
{
	for (uint32_t steps = 0; steps < size; steps++) {
		struct vring_desc d;

		if (i >= size)
			return false;
		d = read_desc(table, i);
		if (d.flags & VRING_DESC_F_INDIRECT) {
			/* only in the queue's own table, and as the last one */
			if (!indirect || !d.len || (d.flags & VRING_DESC_F_NEXT))
				return false;
			*indirect = d;
			return true;
		}
		if (!add_segment(vq, c, &d))
			return false;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return true;
		i = d.next;
	}
	return false;
}

static bool walk_indirect(struct virtqueue *vq, struct chain *c, const struct vring_desc *d)
{
	uint32_t size = d->len / sizeof(*d);
	const uint8_t *table;

	if (!size || d->len % sizeof(*d) || size > VQ_MAX_SEGS)
		return false;
	table = ram_ptr(vq->ram, d->addr, d->len);
	return table && walk(vq, c, table, size, 0, NULL);
}

enum vq_result vq_pop(struct virtqueue *vq, struct chain *c)
{
	uint16_t idx = LOAD_ACQUIRE(vq->avail->idx);
	struct vring_desc indirect = { 0 };

	if (idx == vq->next_avail)
		return VQ_EMPTY;
	/* more requests than the queue has places */
	if ((uint16_t)(idx - vq->next_avail) > vq->size)
		return VQ_BROKEN;
	c->head = READ_ONCE(vq->avail->ring[vq->next_avail % vq->size]);
	c->nr_out = c->nr_in = 0;
	c->out_len = c->in_len = 0;
	if (!walk(vq, c, (uint8_t *)vq->desc, vq->size, c->head, &indirect))
		return VQ_BROKEN;
	if (indirect.len && !walk_indirect(vq, c, &indirect))
		return VQ_BROKEN;
	vq->next_avail++;
	return VQ_CHAIN;
}

void vq_unpop(struct virtqueue *vq)
{
	vq->next_avail--;
}

void vq_push(struct virtqueue *vq, const struct chain *c, uint32_t written)
{
	struct vring_used_elem *e = &vq->used->ring[vq->next_used % vq->size];

	WRITE_ONCE(e->id, c->head);
	WRITE_ONCE(e->len, written);
	vq->next_used++;
	STORE_RELEASE(vq->used->idx, vq->next_used);
}

void vq_disable_notify(struct virtqueue *vq)
{
	/* with event indexes nothing is to be done: the one that was set has passed */
	if (!vq->event_idx)
		WRITE_ONCE(vq->used->flags, VRING_USED_F_NO_NOTIFY);
}

bool vq_enable_notify(struct virtqueue *vq)
{
	if (vq->event_idx)
		WRITE_ONCE(*avail_event(vq), vq->next_avail);
	else
		WRITE_ONCE(vq->used->flags, 0);
	/*
	 * The guest writes idx and then looks at the event; here it is the
	 * other way round. With a full barrier on both sides one of the two
	 * sees the other, so no request is left lying.
	 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return READ_ONCE(vq->avail->idx) != vq->next_avail;
}

bool vq_should_interrupt(struct virtqueue *vq)
{
	uint16_t old = vq->signalled, new = vq->next_used;

	if (old == new)
		return false;
	vq->signalled = new;
	/* the same pairing as above, with used->idx and the guest's wish */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (vq->event_idx)
		return vring_need_event(READ_ONCE(*used_event(vq)), new, old);
	return !(READ_ONCE(vq->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
}

size_t iov_copy_out(void *to, struct iovec *iov, unsigned int nr, size_t len)
{
	size_t done = 0;

	for (unsigned int i = 0; i < nr && done < len; i++) {
		size_t n = iov[i].iov_len < len - done ? iov[i].iov_len : len - done;

		memcpy((char *)to + done, iov[i].iov_base, n);
		done += n;
	}
	return done;
}

size_t iov_copy_in(struct iovec *iov, unsigned int nr, const void *from, size_t len)
{
	size_t done = 0;

	for (unsigned int i = 0; i < nr && done < len; i++) {
		size_t n = iov[i].iov_len < len - done ? iov[i].iov_len : len - done;

		memcpy(iov[i].iov_base, (const char *)from + done, n);
		done += n;
	}
	return done;
}

void iov_skip(struct iovec **iov, unsigned int *nr, size_t len)
{
	while (*nr && len >= (*iov)->iov_len) {
		len -= (*iov)->iov_len;
		(*iov)++;
		(*nr)--;
	}
	if (*nr && len) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + len;
		(*iov)->iov_len -= len;
	}
}
