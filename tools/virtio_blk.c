// SPDX-License-Identifier: GPL-2.0
/*
 * virtio block device (virtio 1.2, 5.2) on a file or a block device. Requests
 * are done one after the other in the main thread; data goes between the file
 * and the guest's memory without a copy here.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices.h"

#define SECTOR_SIZE	512ull
#define SECTOR_SHIFT	9

struct blk {
	struct virtio_dev dev;
	struct virtio_blk_config config;
	int fd;
	bool read_only;
	bool can_discard;
	uint64_t sectors;
	char id[VIRTIO_BLK_ID_BYTES];
};

/* What is left of a request's buffers. */
struct request {
	struct virtio_blk_outhdr header;
	struct iovec *out, *in;
	unsigned int nr_out, nr_in;
	size_t out_len, in_len;		/* without header and status byte */
	uint8_t *status;
};

static bool in_range(const struct blk *blk, uint64_t sector, uint64_t sectors)
{
	return sector <= blk->sectors && sectors <= blk->sectors - sector;
}

/* True if all of it was moved; @written counts what a read has put into memory. */
static bool transfer(struct blk *blk, struct request *r, bool write, uint32_t *moved)
{
	struct iovec *iov = write ? r->out : r->in;
	unsigned int nr = write ? r->nr_out : r->nr_in;
	size_t left = write ? r->out_len : r->in_len;
	uint64_t offset = r->header.sector << SECTOR_SHIFT;

	if (left % SECTOR_SIZE || !in_range(blk, r->header.sector, left / SECTOR_SIZE))
		return false;
	while (left && !atomic_load(&blk->dev.vm->stop)) {
		ssize_t n = write ? pwritev(blk->fd, iov, nr, offset)
				  : preadv(blk->fd, iov, nr, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		iov_skip(&iov, &nr, n);
		offset += n;
		left -= n;
		*moved += n;
	}
	return !left;
}

static uint8_t do_read(struct blk *blk, struct request *r, uint32_t *written)
{
	return transfer(blk, r, false, written) ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
}

static uint8_t do_write(struct blk *blk, struct request *r, uint32_t *written)
{
	uint32_t moved = 0;

	(void)written;
	if (blk->read_only)
		return VIRTIO_BLK_S_IOERR;
	return transfer(blk, r, true, &moved) ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
}

static uint8_t do_flush(struct blk *blk, struct request *r, uint32_t *written)
{
	(void)r, (void)written;
	return fdatasync(blk->fd) == 0 ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
}

static uint8_t do_get_id(struct blk *blk, struct request *r, uint32_t *written)
{
	*written = iov_copy_in(r->in, r->nr_in, blk->id, sizeof(blk->id));
	return VIRTIO_BLK_S_OK;
}

/* 5.2.6.2: discard and write-zeroes share their form; zeroes must read as zeroes after it. */
static uint8_t clear_range(struct blk *blk, struct request *r, bool zero)
{
	struct virtio_blk_discard_write_zeroes d;
	int mode = FALLOC_FL_KEEP_SIZE;

	if (blk->read_only)
		return VIRTIO_BLK_S_IOERR;
	if (!blk->can_discard || r->out_len != sizeof(d))	/* one range is what we offer */
		return VIRTIO_BLK_S_UNSUPP;
	iov_copy_out(&d, r->out, r->nr_out, sizeof(d));
	if ((d.flags & ~VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP) || (!zero && d.flags))
		return VIRTIO_BLK_S_UNSUPP;
	if (!in_range(blk, d.sector, d.num_sectors))
		return VIRTIO_BLK_S_IOERR;
	if (!d.num_sectors)
		return VIRTIO_BLK_S_OK;
	mode |= zero && !d.flags ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE;
	do {
		if (fallocate(blk->fd, mode, d.sector << SECTOR_SHIFT,
			      (uint64_t)d.num_sectors << SECTOR_SHIFT) == 0)
			return VIRTIO_BLK_S_OK;
	} while (errno == EINTR && !atomic_load(&blk->dev.vm->stop));
	return errno == EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR;
}

static uint8_t do_discard(struct blk *blk, struct request *r, uint32_t *written)
{
	(void)written;
	return clear_range(blk, r, false);
}

static uint8_t do_write_zeroes(struct blk *blk, struct request *r, uint32_t *written)
{
	(void)written;
	return clear_range(blk, r, true);
}

typedef uint8_t (*blk_handler)(struct blk *blk, struct request *r, uint32_t *written);

static const blk_handler handlers[] = {
	[VIRTIO_BLK_T_IN] = do_read,
	[VIRTIO_BLK_T_OUT] = do_write,
	[VIRTIO_BLK_T_FLUSH] = do_flush,
	[VIRTIO_BLK_T_GET_ID] = do_get_id,
	[VIRTIO_BLK_T_DISCARD] = do_discard,
	[VIRTIO_BLK_T_WRITE_ZEROES] = do_write_zeroes,
};

/* Header first, status last, however the guest has cut its buffers (2.7.4). */
static bool parse(struct chain *c, struct request *r)
{
	struct iovec *last = NULL;

	if (c->out_len < sizeof(r->header) || !c->in_len)
		return false;
	r->out = c->iov;
	r->nr_out = c->nr_out;
	r->in = c->iov + c->nr_out;
	r->nr_in = c->nr_in;
	r->out_len = c->out_len - sizeof(r->header);
	r->in_len = c->in_len - 1;
	iov_copy_out(&r->header, r->out, r->nr_out, sizeof(r->header));
	iov_skip(&r->out, &r->nr_out, sizeof(r->header));
	for (unsigned int i = 0; i < r->nr_in; i++) {
		if (r->in[i].iov_len)
			last = &r->in[i];
	}
	last->iov_len--;
	r->status = (uint8_t *)last->iov_base + last->iov_len;
	return true;
}

static uint32_t do_request(struct virtio_dev *dev, struct chain *c)
{
	struct blk *blk = (struct blk *)dev;
	uint8_t status = VIRTIO_BLK_S_UNSUPP;
	uint32_t written = 0;
	struct request r;

	if (!parse(c, &r)) {
		virtio_broken(dev);
		return 0;
	}
	if (r.header.type < ARRAY_SIZE(handlers) && handlers[r.header.type])
		status = handlers[r.header.type](blk, &r, &written);
	WRITE_ONCE(*r.status, status);
	return written + 1;
}

static void notified(struct virtio_dev *dev, unsigned int q)
{
	virtio_drain(dev, q, do_request);
}

static const struct virtio_ops blk_ops = {
	.type = VIRTIO_ID_BLOCK,
	.pci_class = 0x018000,
	.nr_queues = 1,
	.notified = notified,
};

static void open_disk(struct blk *blk, const char *path)
{
	struct stat st;
	off_t size;

	if (stat(path, &st) < 0)
		die(STATUS_USAGE, "--disk %s: %s", path, strerror(errno));
	/* before it is opened, which waits for somebody at the other end of a pipe */
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		die(STATUS_USAGE, "--disk %s: neither a file nor a block device", path);
	blk->fd = open(path, (blk->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (blk->fd < 0)
		die(STATUS_USAGE, "--disk %s: %s", path, strerror(errno));
	/* two writers would destroy a file system; several readers are fine */
	if (flock(blk->fd, (blk->read_only ? LOCK_SH : LOCK_EX) | LOCK_NB) < 0 &&
	    errno == EWOULDBLOCK)
		die(STATUS_USAGE, "--disk %s: in use by another VM", path);
	size = lseek(blk->fd, 0, SEEK_END);
	if (size < (off_t)SECTOR_SIZE)
		die(STATUS_USAGE, "--disk %s: smaller than one sector", path);
	blk->sectors = size / SECTOR_SIZE;
	blk->can_discard = !blk->read_only;
}

static void offer(struct blk *blk)
{
	struct virtio_blk_config *cfg = &blk->config;

	blk->dev.offered = FEATURE(VIRTIO_BLK_F_SEG_MAX) | FEATURE(VIRTIO_BLK_F_BLK_SIZE) |
			   FEATURE(VIRTIO_BLK_F_FLUSH);
	cfg->capacity = blk->sectors;
	cfg->seg_max = VQ_MAX_SEGS - 2;		/* header and status */
	cfg->blk_size = SECTOR_SIZE;
	if (blk->read_only)
		blk->dev.offered |= FEATURE(VIRTIO_BLK_F_RO);
	if (blk->can_discard) {
		blk->dev.offered |= FEATURE(VIRTIO_BLK_F_DISCARD) |
				    FEATURE(VIRTIO_BLK_F_WRITE_ZEROES);
		cfg->max_discard_sectors = cfg->max_write_zeroes_sectors = 1 << 22;
		cfg->max_discard_seg = cfg->max_write_zeroes_seg = 1;
		cfg->discard_sector_alignment = 1;
		cfg->write_zeroes_may_unmap = 1;
	}
	blk->dev.config = cfg;
	blk->dev.config_len = sizeof(*cfg);
}

void blk_create(struct vm *vm, struct loop *loop, struct pci_bus *bus, const char *arg)
{
	struct blk *blk = xcalloc(1, sizeof(*blk));
	size_t len = strlen(arg);
	char *path = strdup(arg);

	if (!path)
		die(STATUS_HOST, "out of memory");
	if (len > 3 && !strcmp(path + len - 3, ",ro")) {
		blk->read_only = true;
		path[len - 3] = '\0';
	}
	open_disk(blk, path);
	offer(blk);
	blk->dev.ops = &blk_ops;
	/* the slot is what tells a guest's disks apart */
	snprintf(blk->id, sizeof(blk->id), "wafer-disk-%u", bus->nr);
	virtio_init(&blk->dev, vm, loop, path);
	virtio_pci_setup(&blk->dev, bus);
}
