// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "loop.h"

void loop_init(struct loop *loop)
{
	loop->fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->fd < 0)
		die(STATUS_HOST, "epoll: %s", strerror(errno));
}

bool loop_add(struct loop *loop, struct watch *w)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = w };

	return epoll_ctl(loop->fd, EPOLL_CTL_ADD, w->fd, &ev) == 0;
}

void loop_del(struct loop *loop, struct watch *w)
{
	epoll_ctl(loop->fd, EPOLL_CTL_DEL, w->fd, NULL);
}

void loop_turn(struct loop *loop)
{
	struct epoll_event ev[16];
	int n = epoll_wait(loop->fd, ev, ARRAY_SIZE(ev), -1);

	for (int i = 0; i < n; i++) {
		struct watch *w = ev[i].data.ptr;

		w->ready(w);
	}
}

void loop_add_event(struct loop *loop, struct watch *w, void (*ready)(struct watch *w), void *dev)
{
	w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	w->ready = ready;
	w->dev = dev;
	if (w->fd < 0 || !loop_add(loop, w))
		die(STATUS_HOST, "eventfd: %s", strerror(errno));
}

void event_drain(struct watch *w)
{
	eventfd_t count;

	(void)eventfd_read(w->fd, &count);
}
