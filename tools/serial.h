/* SPDX-License-Identifier: GPL-2.0 */
#ifndef WAFER_SERIAL_H
#define WAFER_SERIAL_H

#include "loop.h"
#include "vm.h"

#define SERIAL_RX_SIZE	4096
#define SERIAL_TX_SIZE	256

/* A 16550A at COM1. The lock guards everything that is not [I]. */
struct serial {
	struct vm *vm;			/* [I] */
	struct loop *loop;		/* [I] */
	pthread_mutex_t lock;

	uint8_t ier, fcr, lcr, mcr, scr, dll, dlm;
	bool thr_interrupt;		/* the transmitter ran empty and nobody has seen it */
	bool line;			/* what the interrupt controllers were last told */

	uint8_t rx[SERIAL_RX_SIZE];	/* ring of what was typed and not yet read */
	unsigned int rx_head, rx_len;
	unsigned int idle_polls;	/* line status read again and again: somebody waits */
	bool input_stopped;		/* the ring was full, so standard input is left alone */

	char tx[SERIAL_TX_SIZE];	/* on its way to standard output */
	unsigned int tx_len;
	bool flush_armed;

	struct watch flush;		/* timer: output that no newline has sent off */
	struct watch room;		/* eventfd: the guest took input, read more */
	struct watch input;		/* standard input */
	bool input_is_tty;		/* [I] */
	bool input_waitable;		/* main thread: in the loop whenever it is not stopped */
};

void serial_setup(struct serial *s, struct vm *vm, struct loop *loop);

/* Begins to read standard input; after term_setup(). */
void serial_start_input(struct serial *s);

/* Writes out what is buffered. */
void serial_flush(struct serial *s);

#endif
