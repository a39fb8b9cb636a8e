/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Message-signalled interrupts: each gets a GSI of its own, which an irqfd
 * raises and KVM's routing table turns into the message the guest chose.
 */
#ifndef WAFER_IRQ_H
#define WAFER_IRQ_H

#include <pthread.h>

#include "util.h"

#define IRQ_MAX_MSI	96

struct msi {
	bool used;
	uint64_t address;
	uint32_t data;
};

struct irq_router {
	pthread_mutex_t lock;
	unsigned int nr;			/* [I] handed out */
	struct msi msi[IRQ_MAX_MSI];
};

struct vm;

void irq_setup(struct vm *vm);

/* A new message interrupt; @fd is an eventfd that raises it. Returns its number. */
unsigned int irq_alloc_msi(struct vm *vm, int fd);

/* What message it sends from now on. */
void irq_route_msi(struct vm *vm, unsigned int n, uint64_t address, uint32_t data);

#endif
