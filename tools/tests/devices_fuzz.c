// SPDX-License-Identifier: GPL-2.0
/*
 * All devices against a driver that does anything: random configuration, BAR
 * and ring contents, with the sanitisers watching. No hypervisor is needed:
 * the calls to it are answered here.
 *
 *	devices_fuzz [ROUNDS [SEED]]
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_pci.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../devices.h"
#include "../platform.h"
#include "../serial.h"
#include "tap.h"

#define RAM		(256 * KIB)
#define BAR(slot)	(PCI_WINDOW + (slot) * MIB)
#define CONFIG_PORT	0xcf8
#define DATA_PORT	0xcfc
#define SAVED_STDOUT	100

static uint64_t seed = 88172645463325252ull;
static struct vm vm;
static struct loop loop;
static struct pci_bus pci;
static struct serial serial;

/* In place of the C library's: the hypervisor agrees to everything. */
int ioctl(int fd, unsigned long request, ...)
{
	(void)fd, (void)request;
	return 0;
}

static uint32_t any(uint32_t limit)
{
	return rnd(&seed) % limit;
}

/* Only the tap is read this way: frames of any length, longer ones cut as a tap does. */
ssize_t readv(int fd, const struct iovec *iov, int nr)
{
	size_t room = 0, len = any(2000);

	(void)fd;
	for (int i = 0; i < nr; i++)
		room += iov[i].iov_len;
	if (!any(4)) {
		errno = any(2) ? EAGAIN : EIO;
		return -1;
	}
	len = len < room ? len : room;
	for (size_t done = 0; done < len; iov++) {
		size_t n = iov->iov_len < len - done ? iov->iov_len : len - done;

		memset(iov->iov_base, 0xff, n);
		done += n;
	}
	return len;
}

static void config_write(unsigned int slot, unsigned int reg, unsigned int len, uint32_t value)
{
	bus_write(&vm.ports, CONFIG_PORT, 4, 1u << 31 | slot << 11 | (reg & 0xfc));
	bus_write(&vm.ports, DATA_PORT + (reg & 3), len, value);
}

static void common_write(unsigned int slot, unsigned int reg, unsigned int len, uint64_t value)
{
	bus_write(&vm.mmio, BAR(slot) + reg, len, value);
}

/* A driver that does it right, so that what comes after gets deep into the device. */
static void start_device(unsigned int slot)
{
	struct virtio_dev *dev = (struct virtio_dev *)pci.slot[slot];

	config_write(slot, PCI_BASE_ADDRESS_0, 4, BAR(slot));
	config_write(slot, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	common_write(slot, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	common_write(slot, VIRTIO_PCI_COMMON_GFSELECT, 4, 0);
	common_write(slot, VIRTIO_PCI_COMMON_GF, 4, any(2) ? 0xffffffff & ~(any(64)) : 0);
	common_write(slot, VIRTIO_PCI_COMMON_GFSELECT, 4, 1);
	common_write(slot, VIRTIO_PCI_COMMON_GF, 4, 1);
	if (any(2)) {		/* what is offered, exactly */
		uint32_t offered;

		common_write(slot, VIRTIO_PCI_COMMON_DFSELECT, 4, 0);
		offered = bus_read(&vm.mmio, BAR(slot) + VIRTIO_PCI_COMMON_DF, 4);
		common_write(slot, VIRTIO_PCI_COMMON_GFSELECT, 4, 0);
		common_write(slot, VIRTIO_PCI_COMMON_GF, 4, offered);
	} else {
		common_write(slot, VIRTIO_PCI_COMMON_GFSELECT, 4, 0);
		common_write(slot, VIRTIO_PCI_COMMON_GF, 4, 0);
	}
	common_write(slot, VIRTIO_PCI_COMMON_STATUS, 1, 0xb);
	for (unsigned int q = 0; q < 2; q++) {
		common_write(slot, VIRTIO_PCI_COMMON_Q_SELECT, 2, q);
		common_write(slot, VIRTIO_PCI_COMMON_Q_SIZE, 2, 1u << any(9));
		common_write(slot, VIRTIO_PCI_COMMON_Q_MSIX, 2, any(4));
		common_write(slot, VIRTIO_PCI_COMMON_Q_DESCLO, 8, any(RAM / 16) * 16);
		common_write(slot, VIRTIO_PCI_COMMON_Q_AVAILLO, 8, any(RAM / 4) * 4);
		common_write(slot, VIRTIO_PCI_COMMON_Q_USEDLO, 8, any(RAM / 4) * 4);
		common_write(slot, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	}
	common_write(slot, VIRTIO_PCI_COMMON_STATUS, 1, 0xf);
	config_write(slot, dev->msix_cap + PCI_MSIX_FLAGS, 2, any(4) << 14);
	common_write(slot, 0x2000 + any(4) * 16 + 8, any(2) ? 4 : 8, any(256));
}

/* A block request whose parts are nearly right. */
static void scribble_request(struct virtqueue *vq)
{
	uint32_t sizes[] = { 16, any(4) ? any(4) * 512 + (any(8) ? 0 : any(512)) : 16, 1 };
	uint16_t write = any(2) ? VRING_DESC_F_WRITE : 0;

	if (vq->size < 4)
		return;
	for (unsigned int i = 0; i < 3; i++) {
		vq->desc[i] = (struct vring_desc){
			.addr = any(RAM - 4096),
			.len = any(16) ? sizes[i] : 16 + any(512),
			.flags = (i < 2 ? VRING_DESC_F_NEXT : VRING_DESC_F_WRITE) |
				 (i == 1 ? write : 0),
			.next = i + 1,
		};
		if (i == 0) {
			uint8_t *header = ram_ptr(&vm.ram, vq->desc[0].addr & (RAM / 2 - 1), 16);

			vq->desc[0].addr &= RAM / 2 - 1;
			store_le(header, 4, any(16));
			store_le(header + 8, 8, any(16) ? any(9) : rnd(&seed));
		}
	}
	vq->avail->ring[vq->next_avail % vq->size] = 0;
	vq->avail->idx = vq->next_avail + 1;
}

/* Rings that are mostly plausible: nonsense alone would be refused at once. */
static void scribble_rings(struct virtio_dev *dev)
{
	for (unsigned int q = 0; q < dev->ops->nr_queues; q++) {
		struct virtqueue *vq = &dev->queue[q].vq;

		if (!vq->enabled)
			continue;
		for (unsigned int i = 0; i < vq->size; i++) {
			struct vring_desc *d = &vq->desc[i];
			/* rings may lie over each other, so nothing is read back */
			uint64_t addr = any(16) ? any(RAM) : rnd(&seed);
			uint8_t *p = ram_ptr(&vm.ram, addr, 16);

			d->addr = addr;
			d->len = any(4) ? any(4) * 16 : any(16) ? any(4096) : rnd(&seed);
			d->flags = any(3) | (any(16) ? 0 : VRING_DESC_F_INDIRECT);
			d->next = any(8) ? (i + 1) % vq->size : any(vq->size + 1);
			vq->avail->ring[i] = any(vq->size);
			/* a block request's type and sector, where its header may be */
			if (p && any(2)) {
				store_le(p, 4, any(16));
				store_le(p + 8, 8, any(9));
			}
		}
		vq->avail->idx = vq->next_avail + any(4);
	}
}

/* Registers by way of the capability in configuration space. */
static void through_window(struct virtio_dev *dev, unsigned int slot)
{
	unsigned int at = dev->window_cap;

	config_write(slot, at + VIRTIO_PCI_CAP_BAR, 1, any(8) ? 0 : any(256));
	config_write(slot, at + VIRTIO_PCI_CAP_OFFSET, 4, any(8) ? any(0x4000) & ~3u : any(-1u));
	config_write(slot, at + VIRTIO_PCI_CAP_LENGTH, 4, any(8) ? 1u << any(3) : any(-1u));
	if (any(2)) {
		config_write(slot, at + sizeof(struct virtio_pci_cap), 4, rnd(&seed));
	} else {
		bus_write(&vm.ports, CONFIG_PORT, 4,
			  1u << 31 | slot << 11 | (at + sizeof(struct virtio_pci_cap)));
		bus_read(&vm.ports, DATA_PORT, 4);
	}
}

static void random_access(unsigned int slot)
{
	static const unsigned int lens[] = { 1, 2, 4, 8 };
	unsigned int len = lens[any(4)], port_len = lens[any(3)];
	uint64_t at = BAR(slot) + (any(2) ? any(0x80) : any(0x4000));

	switch (any(6)) {
	case 0:
		bus_write(&vm.mmio, at, len, any(2) ? any(16) : rnd(&seed));
		break;
	case 1:
		bus_read(&vm.mmio, at, len);
		break;
	case 2:
		/* not the command register: without it nothing below would be reached */
		config_write(slot, 0x10 + any(0xf0), port_len, any(2) ? any(16) : rnd(&seed));
		break;
	case 3:
		bus_write(&vm.ports, CONFIG_PORT, 4, 1u << 31 | any(1 << 16));
		bus_read(&vm.ports, DATA_PORT + any(4), port_len);
		break;
	case 4:
		bus_write(&vm.ports, COM1_PORT + any(8), 1, any(256));
		break;
	default:
		bus_read(&vm.ports, COM1_PORT + any(8), 1);
	}
}

/* An eventfd of our own keeps loop_turn() from waiting when no device has anything to do. */
static void run_loop(struct watch *tick)
{
	uint64_t one = 1;

	if (write(tick->fd, &one, sizeof(one)) < 0)
		abort();
	loop_turn(&loop);
}

static void on_tick(struct watch *w)
{
	event_drain(w);
}

static void setup(const char *disk)
{
	static char name[] = "tap=fuzz";
	char ro[256];

	vm.end_fd = -1;
	vm.ram.host = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	vm.ram.low_size = RAM;
	irq_setup(&vm);
	loop_init(&loop);
	serial_setup(&serial, &vm, &loop);
	pci_setup(&pci, &vm);
	rng_create(&vm, &loop, &pci);
	blk_create(&vm, &loop, &pci, disk);
	snprintf(ro, sizeof(ro), "%s.ro,ro", disk);
	blk_create(&vm, &loop, &pci, ro);
	if (access("/dev/net/tun", R_OK | W_OK) == 0)
		net_create(&vm, &loop, &pci, name);
}

static void make_disk(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, 4096) < 0)
		die(STATUS_HOST, "%s: %s", path, strerror(errno));
	close(fd);
}

int main(int argc, char **argv)
{
	unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 0) : 3000;
	char disk[] = "/tmp/wafer-fuzz-XXXXXX", ro[64];
	struct watch tick;

	if (argc > 2)
		seed = strtoull(argv[2], NULL, 0) | 1;
	close(mkstemp(disk));
	make_disk(disk);
	snprintf(ro, sizeof(ro), "%s.ro", disk);
	make_disk(ro);
	setup(disk);
	loop_add_event(&loop, &tick, on_tick, NULL);
	/* what the guest prints is not the test's output */
	if (dup2(STDOUT_FILENO, SAVED_STDOUT) < 0 || !freopen("/dev/null", "w", stdout))
		return 1;

	for (unsigned long i = 0; i < rounds; i++) {
		unsigned int slot = 1 + any(pci.nr - 1);
		struct virtio_dev *dev = (struct virtio_dev *)pci.slot[slot];

		start_device(slot);
		for (unsigned int n = any(16); n; n--) {
			if (any(3) || !dev->queue[0].vq.enabled)
				scribble_rings(dev);
			else
				scribble_request(&dev->queue[0].vq);
			if (any(2))
				random_access(slot);
			else if (!any(4))
				through_window(dev, slot);
			common_write(slot, 0x1000 + any(2) * 4, 2, 0);
			run_loop(&tick);
		}
	}
	unlink(disk);
	unlink(ro);
	fflush(stdout);
	dup2(SAVED_STDOUT, STDOUT_FILENO);
	ok(true, "devices bear a driver that does anything");
	return tap_end();
}
