// SPDX-License-Identifier: GPL-2.0
/*
 * virtio network device (virtio 1.2, 5.1) on a tap interface. Frames go between
 * the tap and the guest's memory without a copy here, checksums and large sends
 * included: the header in front of them is the same on both sides.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_tun.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <unistd.h>

#include "devices.h"

#define RX		0
#define TX		1
#define HEADER_SIZE	((int)sizeof(struct virtio_net_hdr_v1))
#define MAX_FRAME	(64 * KIB + ETH_HLEN + sizeof(struct virtio_net_hdr_v1))

struct net {
	struct virtio_dev dev;
	struct virtio_net_config config;
	struct watch tap;
	bool tap_watched;	/* off while the guest has no room: it would never fall silent */
};

static void watch_tap(struct net *net, bool on)
{
	if (on == net->tap_watched)
		return;
	net->tap_watched = on;
	if (on)
		loop_add(net->dev.loop, &net->tap);
	else
		loop_del(net->dev.loop, &net->tap);
}

/* Puts one frame into the guest's buffer; -1 if there is none, with the reason in errno. */
static int receive(struct net *net, struct virtqueue *vq, struct chain *c)
{
	struct iovec *in = c->iov + c->nr_out;
	uint16_t num_buffers = 1;
	unsigned int nr = c->nr_in;
	ssize_t n = readv(net->tap.fd, in, nr);

	if (n < HEADER_SIZE) {
		vq_unpop(vq);
		return -1;
	}
	/* 5.1.6.4: the one field that the tap does not fill in */
	iov_skip(&in, &nr, offsetof(struct virtio_net_hdr_v1, num_buffers));
	iov_copy_in(in, nr, &num_buffers, sizeof(num_buffers));
	vq_push(vq, c, n);
	return 0;
}

static void receive_all(struct net *net)
{
	struct virtqueue *vq = &net->dev.queue[RX].vq;
	unsigned int budget = VQ_MAX_SIZE;
	bool more = true;
	struct chain c;

	while (more && budget--) {
		enum vq_result r = vq_pop(vq, &c);

		if (r == VQ_EMPTY) {
			more = vq_enable_notify(vq);
			continue;
		}
		/* a buffer that holds no frame would have us called again and again */
		if (r == VQ_BROKEN || c.in_len < HEADER_SIZE + ETH_HLEN) {
			virtio_broken(&net->dev);
			more = false;
		} else if (receive(net, vq, &c) < 0) {
			/* an interface that is gone never falls silent either */
			more = errno == EAGAIN || errno == EINTR;
			break;
		}
	}
	virtio_signal(&net->dev, RX);
	watch_tap(net, more);
}

static void on_tap(struct watch *w)
{
	struct net *net = w->dev;

	pthread_mutex_lock(&net->dev.lock);
	if (virtio_running(&net->dev) && net->dev.queue[RX].vq.enabled)
		receive_all(net);
	else
		watch_tap(net, false);
	pthread_mutex_unlock(&net->dev.lock);
}

/* What the tap does not take is lost, as on a wire. */
static uint32_t transmit(struct virtio_dev *dev, struct chain *c)
{
	struct net *net = (struct net *)dev;

	if (c->out_len >= HEADER_SIZE + ETH_HLEN && c->out_len <= MAX_FRAME &&
	    writev(net->tap.fd, c->iov, c->nr_out) < 0)
		return 0;
	return 0;
}

static void notified(struct virtio_dev *dev, unsigned int q)
{
	struct net *net = (struct net *)dev;

	if (q == TX)
		virtio_drain(dev, q, transmit);
	else
		receive_all(net);
}

/* What the guest can take apart by itself, the tap need not. */
static void negotiated(struct virtio_dev *dev)
{
	struct net *net = (struct net *)dev;
	unsigned int offload = 0;

	if (virtio_has(dev, VIRTIO_NET_F_GUEST_CSUM)) {
		offload |= TUN_F_CSUM;
		if (virtio_has(dev, VIRTIO_NET_F_GUEST_TSO4))
			offload |= TUN_F_TSO4;
		if (virtio_has(dev, VIRTIO_NET_F_GUEST_TSO6))
			offload |= TUN_F_TSO6;
	}
	ioctl(net->tap.fd, TUNSETOFFLOAD, offload);
}

static void started(struct virtio_dev *dev)
{
	/* before the first buffers are there, a notification will turn it on */
	watch_tap((struct net *)dev, dev->queue[RX].vq.enabled);
}

static void stopped(struct virtio_dev *dev)
{
	watch_tap((struct net *)dev, false);
}

static const struct virtio_ops net_ops = {
	.type = VIRTIO_ID_NET,
	.pci_class = 0x020000,
	.nr_queues = 2,
	.notified = notified,
	.negotiated = negotiated,
	.started = started,
	.stopped = stopped,
};

static void open_tap(struct net *net, const char *name)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	int header = HEADER_SIZE;

	if (!*name || strlen(name) >= sizeof(ifr.ifr_name))
		die(STATUS_USAGE, "--net: '%s' is no name of an interface", name);
	strcpy(ifr.ifr_name, name);
	net->tap.fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (net->tap.fd < 0)
		die(STATUS_HOST, "--net: /dev/net/tun: %s", strerror(errno));
	if (ioctl(net->tap.fd, TUNSETIFF, &ifr) < 0)
		die(STATUS_USAGE, "--net tap=%s: %s", name, strerror(errno));
	if (ioctl(net->tap.fd, TUNSETVNETHDRSZ, &header) < 0)
		die(STATUS_HOST, "--net tap=%s: no headers of %d bytes: %s", name, header,
		    strerror(errno));
}

static void set_mac(struct net *net, const char *text)
{
	uint8_t *mac = net->config.mac;
	int end = 0;

	if (!text) {
		if (getrandom(mac, ETH_ALEN, 0) != ETH_ALEN)
			die(STATUS_HOST, "getrandom: %s", strerror(errno));
		mac[0] = (mac[0] & 0xfc) | 0x02;	/* one host's, and not a vendor's */
		return;
	}
	if (sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2],
		   &mac[3], &mac[4], &mac[5], &end) != 6 || text[end] || (mac[0] & 1))
		die(STATUS_USAGE, "--net: '%s' is no address of an interface", text);
}

void net_create(struct vm *vm, struct loop *loop, struct pci_bus *bus, const char *arg)
{
	struct net *net = xcalloc(1, sizeof(*net));
	char name[64], *mac = NULL, *comma;

	if (strncmp(arg, "tap=", 4) || strlen(arg) >= sizeof(name))
		die(STATUS_USAGE, "--net %s: tap=NAME[,mac=ADDRESS] is what it takes", arg);
	strcpy(name, arg + 4);
	comma = strchr(name, ',');
	if (comma) {
		*comma = '\0';
		if (strncmp(comma + 1, "mac=", 4))
			die(STATUS_USAGE, "--net: '%s' is not known", comma + 1);
		mac = comma + 5;
	}
	set_mac(net, mac);
	open_tap(net, name);
	net->tap.ready = on_tap;
	net->tap.dev = net;
	net->dev.ops = &net_ops;
	net->dev.config = &net->config;
	net->dev.config_len = sizeof(net->config);
	net->dev.offered = FEATURE(VIRTIO_NET_F_MAC) | FEATURE(VIRTIO_NET_F_CSUM) |
			   FEATURE(VIRTIO_NET_F_HOST_TSO4) | FEATURE(VIRTIO_NET_F_HOST_TSO6) |
			   FEATURE(VIRTIO_NET_F_GUEST_CSUM) | FEATURE(VIRTIO_NET_F_GUEST_TSO4) |
			   FEATURE(VIRTIO_NET_F_GUEST_TSO6);
	virtio_init(&net->dev, vm, loop, "network");
	virtio_pci_setup(&net->dev, bus);
}
