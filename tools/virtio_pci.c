// SPDX-License-Identifier: GPL-2.0
/*
 * virtio over PCI (virtio 1.2, 4.1), modern only: one BAR with a page for each
 * kind of register.
 *
 * Lock order: the PCI bus's lock, then the device's.
 */
#include <linux/virtio_pci.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include "virtio.h"

#define VIRTIO_VENDOR		0x1af4
#define VIRTIO_DEVICE_BASE	0x1040	/* plus the type: 4.1.2 */

/* The BAR. */
#define BAR_SIZE		0x4000
#define COMMON			0x0000
#define COMMON_SIZE		0x0040
#define ISR			0x0100
#define ISR_SIZE		0x0004
#define DEVICE			0x0200
#define DEVICE_SIZE		0x0100
#define NOTIFY			0x1000
#define NOTIFY_STEP		4
#define NOTIFY_SIZE		(VIRTIO_MAX_QUEUES * NOTIFY_STEP)
#define MSIX_TABLE		0x2000
#define MSIX_PENDING		0x3000

/* Registers of the queue that is selected; NULL if there is no such queue. */
static struct virtio_queue *selected(struct virtio_dev *dev)
{
	if (dev->queue_select >= dev->ops->nr_queues)
		return NULL;
	return &dev->queue[dev->queue_select];
}

static uint64_t common_read_queue(struct virtio_dev *dev, uint64_t offset)
{
	const struct virtio_queue *q = selected(dev);

	if (!q)
		return 0;	/* a size of 0 says that it does not exist */
	switch (offset) {
	case VIRTIO_PCI_COMMON_Q_SIZE:
		return q->vq.size;
	case VIRTIO_PCI_COMMON_Q_MSIX:
		return q->vector;
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		return q->vq.enabled;
	case VIRTIO_PCI_COMMON_Q_NOFF:
		return dev->queue_select;
	case VIRTIO_PCI_COMMON_Q_DESCLO:
		return q->vq.desc_gpa;
	case VIRTIO_PCI_COMMON_Q_DESCHI:
		return q->vq.desc_gpa >> 32;
	case VIRTIO_PCI_COMMON_Q_AVAILLO:
		return q->vq.avail_gpa;
	case VIRTIO_PCI_COMMON_Q_AVAILHI:
		return q->vq.avail_gpa >> 32;
	case VIRTIO_PCI_COMMON_Q_USEDLO:
		return q->vq.used_gpa;
	case VIRTIO_PCI_COMMON_Q_USEDHI:
		return q->vq.used_gpa >> 32;
	default:
		return 0;
	}
}

static uint64_t common_read(struct virtio_dev *dev, uint64_t offset)
{
	switch (offset) {
	case VIRTIO_PCI_COMMON_DFSELECT:
		return dev->offered_select;
	case VIRTIO_PCI_COMMON_DF:
		return dev->offered_select < 2 ? dev->offered >> (32 * dev->offered_select) : 0;
	case VIRTIO_PCI_COMMON_GFSELECT:
		return dev->accepted_select;
	case VIRTIO_PCI_COMMON_GF:
		return dev->accepted_select < 2 ? dev->accepted >> (32 * dev->accepted_select) : 0;
	case VIRTIO_PCI_COMMON_MSIX:
		return dev->config_vector;
	case VIRTIO_PCI_COMMON_NUMQ:
		return dev->ops->nr_queues;
	case VIRTIO_PCI_COMMON_STATUS:
		return dev->status;
	case VIRTIO_PCI_COMMON_CFGGENERATION:
		return 0;		/* configurations here never change */
	case VIRTIO_PCI_COMMON_Q_SELECT:
		return dev->queue_select;
	default:
		return common_read_queue(dev, offset);
	}
}

static void set_half(uint64_t *reg, bool high, uint32_t value)
{
	if (high)
		*reg = (*reg & 0xffffffff) | (uint64_t)value << 32;
	else
		*reg = (*reg & ~0xffffffffull) | value;
}

static uint16_t checked_vector(const struct virtio_dev *dev, uint16_t vector)
{
	return vector < msix_vectors(dev) ? vector : VIRTIO_NO_VECTOR;
}

static void enable_queue(struct virtio_dev *dev, struct virtio_queue *q)
{
	if (!(dev->status & VIRTIO_CONFIG_S_FEATURES_OK) ||
	    (dev->status & VIRTIO_CONFIG_S_DRIVER_OK))
		return;
	q->vq.event_idx = virtio_has(dev, VIRTIO_RING_F_EVENT_IDX);
	if (!vq_enable(&q->vq))
		virtio_broken(dev);
}

static void common_write_queue(struct virtio_dev *dev, uint64_t offset, uint32_t value)
{
	struct virtio_queue *q = selected(dev);

	if (!q)
		return;
	if (offset == VIRTIO_PCI_COMMON_Q_MSIX) {
		q->vector = checked_vector(dev, value);
		return;
	}
	if (q->vq.enabled)		/* 4.1.4.3.2: settled from here on */
		return;
	switch (offset) {
	case VIRTIO_PCI_COMMON_Q_SIZE:
		if (value && value <= VQ_MAX_SIZE && !(value & (value - 1)))
			q->vq.size = value;
		break;
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		if (value == 1)
			enable_queue(dev, q);
		break;
	case VIRTIO_PCI_COMMON_Q_DESCLO:
	case VIRTIO_PCI_COMMON_Q_DESCHI:
		set_half(&q->vq.desc_gpa, offset == VIRTIO_PCI_COMMON_Q_DESCHI, value);
		break;
	case VIRTIO_PCI_COMMON_Q_AVAILLO:
	case VIRTIO_PCI_COMMON_Q_AVAILHI:
		set_half(&q->vq.avail_gpa, offset == VIRTIO_PCI_COMMON_Q_AVAILHI, value);
		break;
	case VIRTIO_PCI_COMMON_Q_USEDLO:
	case VIRTIO_PCI_COMMON_Q_USEDHI:
		set_half(&q->vq.used_gpa, offset == VIRTIO_PCI_COMMON_Q_USEDHI, value);
		break;
	}
}

static void common_write(struct virtio_dev *dev, uint64_t offset, uint32_t value)
{
	switch (offset) {
	case VIRTIO_PCI_COMMON_DFSELECT:
		dev->offered_select = value;
		break;
	case VIRTIO_PCI_COMMON_GFSELECT:
		dev->accepted_select = value;
		break;
	case VIRTIO_PCI_COMMON_GF:
		if (!(dev->status & VIRTIO_CONFIG_S_FEATURES_OK) && dev->accepted_select < 2)
			set_half(&dev->accepted, dev->accepted_select, value);
		break;
	case VIRTIO_PCI_COMMON_MSIX:
		dev->config_vector = checked_vector(dev, value);
		break;
	case VIRTIO_PCI_COMMON_STATUS:
		virtio_set_status(dev, value);
		break;
	case VIRTIO_PCI_COMMON_Q_SELECT:
		dev->queue_select = value;
		break;
	default:
		common_write_queue(dev, offset, value);
	}
}

static uint64_t config_read(const struct virtio_dev *dev, uint64_t offset, unsigned int len)
{
	uint64_t value = 0;

	if (offset < dev->config_len && len <= dev->config_len - offset)
		memcpy(&value, (const char *)dev->config + offset, len);
	return value;
}

static uint64_t locked_read(struct virtio_dev *dev, uint64_t offset, unsigned int len)
{
	uint64_t value = 0;

	if (offset < COMMON + COMMON_SIZE) {
		/* a 64-bit field may be read whole */
		value = common_read(dev, offset);
		if (len == 8)
			value = (uint32_t)value | common_read(dev, offset + 4) << 32;
	} else if (offset == ISR) {
		value = dev->isr;
		dev->isr = 0;
	} else if (offset >= DEVICE && offset < DEVICE + DEVICE_SIZE) {
		value = config_read(dev, offset - DEVICE, len);
	} else if (offset >= MSIX_TABLE && offset < MSIX_PENDING) {
		value = msix_table_read(dev, offset - MSIX_TABLE, len);
	} else if (offset >= MSIX_PENDING) {
		value = msix_pending_read(dev, offset - MSIX_PENDING, len);
	}
	return value;
}

static void locked_write(struct virtio_dev *dev, uint64_t offset, unsigned int len, uint64_t value)
{
	if (offset < COMMON + COMMON_SIZE) {
		common_write(dev, offset, value);
		if (len == 8)
			common_write(dev, offset + 4, value >> 32);
	} else if (offset >= NOTIFY && offset < NOTIFY + NOTIFY_SIZE) {
		/* what an ioeventfd would have caught, were there one yet */
		unsigned int q = (offset - NOTIFY) / NOTIFY_STEP;

		if (q < dev->ops->nr_queues)
			eventfd_write(dev->queue[q].kick.fd, 1);
	} else if (offset >= MSIX_TABLE && offset < MSIX_PENDING) {
		msix_table_write(dev, offset - MSIX_TABLE, len, value);
	}
}

static struct virtio_dev *to_virtio(struct pci_dev *pci)
{
	return (struct virtio_dev *)((char *)pci - offsetof(struct virtio_dev, pci));
}

static uint64_t bar_read(struct pci_dev *pci, uint64_t offset, unsigned int len)
{
	struct virtio_dev *dev = to_virtio(pci);
	uint64_t value;

	pthread_mutex_lock(&dev->lock);
	value = locked_read(dev, offset, len);
	pthread_mutex_unlock(&dev->lock);
	return value;
}

static void bar_write(struct pci_dev *pci, uint64_t offset, unsigned int len, uint64_t value)
{
	struct virtio_dev *dev = to_virtio(pci);

	pthread_mutex_lock(&dev->lock);
	locked_write(dev, offset, len, value);
	pthread_mutex_unlock(&dev->lock);
}

static bool ioeventfd(struct virtio_dev *dev, struct virtio_queue *q, uint64_t gpa, uint32_t flags)
{
	struct kvm_ioeventfd io = {
		.addr = gpa,
		.len = dev->vm->notify_len,
		.fd = q->kick.fd,
		.flags = flags,
	};

	return ioctl(dev->vm->fd, KVM_IOEVENTFD, &io) == 0;
}

void virtio_pci_start(struct virtio_dev *dev)
{
	for (unsigned int i = 0; i < dev->ops->nr_queues; i++) {
		struct virtio_queue *q = &dev->queue[i];
		uint64_t gpa = dev->bar_base + NOTIFY + i * NOTIFY_STEP;

		/* if it fails, notifications come as exits; they are only slower */
		if (dev->bar_base && q->vq.enabled && ioeventfd(dev, q, gpa, 0))
			q->notify_gpa = gpa;
	}
}

void virtio_pci_stop(struct virtio_dev *dev)
{
	for (unsigned int i = 0; i < dev->ops->nr_queues; i++) {
		struct virtio_queue *q = &dev->queue[i];

		if (q->notify_gpa)
			ioeventfd(dev, q, q->notify_gpa, KVM_IOEVENTFD_FLAG_DEASSIGN);
		q->notify_gpa = 0;
	}
}

/*
 * 4.1.4.9: a window in configuration space onto the BAR, for firmware that
 * cannot reach memory yet. Its bar, offset and length are the guest's.
 */
static bool window(struct virtio_dev *dev, unsigned int offset, uint32_t *to, unsigned int *len)
{
	const uint8_t *cap = dev->pci.cfg + dev->window_cap;

	if (offset != dev->window_cap + sizeof(struct virtio_pci_cap))
		return false;
	*to = load_le(cap + VIRTIO_PCI_CAP_OFFSET, 4);
	*len = load_le(cap + VIRTIO_PCI_CAP_LENGTH, 4);
	return cap[VIRTIO_PCI_CAP_BAR] == 0 && (*len == 1 || *len == 2 || *len == 4) &&
	       *to < BAR_SIZE && *to % *len == 0;
}

static void cfg_reading(struct pci_dev *pci, unsigned int offset, unsigned int len)
{
	struct virtio_dev *dev = to_virtio(pci);
	unsigned int size;
	uint32_t to;

	(void)len;
	if (window(dev, offset, &to, &size))
		store_le(pci->cfg + offset, size, bar_read(pci, to, size));
}

static void update_bar(struct virtio_dev *dev)
{
	uint64_t base = pci_bar_base(&dev->pci);

	if (base == dev->bar_base)
		return;
	virtio_pci_stop(dev);
	dev->bar_base = base;
	if (dev->status & VIRTIO_CONFIG_S_DRIVER_OK)
		virtio_pci_start(dev);
}

static void cfg_written(struct pci_dev *pci, unsigned int offset, unsigned int len)
{
	struct virtio_dev *dev = to_virtio(pci);
	unsigned int size;
	uint32_t to;

	(void)len;
	if (window(dev, offset, &to, &size)) {
		bar_write(pci, to, size, load_le(pci->cfg + offset, size));
		return;
	}
	pthread_mutex_lock(&dev->lock);
	update_bar(dev);
	if (offset >= dev->msix_cap && offset < dev->msix_cap + PCI_CAP_MSIX_SIZEOF)
		msix_control(dev);
	pthread_mutex_unlock(&dev->lock);
}

static unsigned int add_cap(struct pci_dev *pci, uint8_t type, uint32_t offset, uint32_t length,
			    unsigned int extra)
{
	struct virtio_pci_cap cap = {
		.cfg_type = type,
		.cap_len = sizeof(cap) + extra,
		.offset = offset,
		.length = length,
	};
	unsigned int at = pci_add_cap(pci, PCI_CAP_ID_VNDR, cap.cap_len);

	memcpy(pci->cfg + at + 2, (char *)&cap + 2, sizeof(cap) - 2);
	return at;
}

static void add_msix_cap(struct virtio_dev *dev)
{
	unsigned int at = pci_add_cap(&dev->pci, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF);

	dev->msix_cap = at;
	store_le(dev->pci.cfg + at + PCI_MSIX_FLAGS, 2, msix_vectors(dev) - 1);
	store_le(dev->pci.mask + at + PCI_MSIX_FLAGS, 2,
		 PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	store_le(dev->pci.cfg + at + PCI_MSIX_TABLE, 4, MSIX_TABLE);
	store_le(dev->pci.cfg + at + PCI_MSIX_PBA, 4, MSIX_PENDING);
}

void virtio_pci_setup(struct virtio_dev *dev, struct pci_bus *bus)
{
	struct pci_dev *pci = &dev->pci;
	unsigned int at;

	pci_init_ids(pci, VIRTIO_VENDOR, VIRTIO_DEVICE_BASE + dev->ops->type, dev->ops->pci_class);
	pci_init_bar(pci, BAR_SIZE);
	add_msix_cap(dev);
	dev->window_cap = add_cap(pci, VIRTIO_PCI_CAP_PCI_CFG, 0, 0, 4);
	pci->mask[dev->window_cap + VIRTIO_PCI_CAP_BAR] = 0xff;
	memset(pci->mask + dev->window_cap + VIRTIO_PCI_CAP_OFFSET, 0xff, 12);
	add_cap(pci, VIRTIO_PCI_CAP_DEVICE_CFG, DEVICE, DEVICE_SIZE, 0);
	add_cap(pci, VIRTIO_PCI_CAP_ISR_CFG, ISR, ISR_SIZE, 0);
	at = add_cap(pci, VIRTIO_PCI_CAP_NOTIFY_CFG, NOTIFY, NOTIFY_SIZE, 4);
	store_le(pci->cfg + at + sizeof(struct virtio_pci_cap), 4, NOTIFY_STEP);
	add_cap(pci, VIRTIO_PCI_CAP_COMMON_CFG, COMMON, COMMON_SIZE, 0);
	pci->bar_read = bar_read;
	pci->bar_write = bar_write;
	pci->cfg_reading = cfg_reading;
	pci->cfg_written = cfg_written;
	msix_init(dev);
	pci_add(bus, pci);
}
