/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The main thread's event loop: terminal, signals, tap, and the eventfds by
 * which the guest's notifications arrive.
 */
#ifndef WAFER_LOOP_H
#define WAFER_LOOP_H

#include "util.h"

struct watch {
	int fd;
	void (*ready)(struct watch *w);
	void *dev;
};

struct loop {
	int fd;
};

void loop_init(struct loop *loop);

/* False if this kind of descriptor cannot be waited for (files, /dev/null). Any thread. */
bool loop_add(struct loop *loop, struct watch *w);
void loop_del(struct loop *loop, struct watch *w);

/* Waits for something to happen and has it handled. */
void loop_turn(struct loop *loop);

/* An eventfd that is watched from now on. */
void loop_add_event(struct loop *loop, struct watch *w, void (*ready)(struct watch *w), void *dev);
void event_drain(struct watch *w);

#endif
