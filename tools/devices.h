/* SPDX-License-Identifier: GPL-2.0 */
/* The virtio devices that `wafer run` offers. Each call ends the program if it cannot be. */
#ifndef WAFER_DEVICES_H
#define WAFER_DEVICES_H

#include "virtio.h"

/* "FILE" or "FILE,ro" */
void blk_create(struct vm *vm, struct loop *loop, struct pci_bus *bus, const char *arg);
/* "tap=NAME" or "tap=NAME,mac=XX:XX:XX:XX:XX:XX" */
void net_create(struct vm *vm, struct loop *loop, struct pci_bus *bus, const char *arg);
void rng_create(struct vm *vm, struct loop *loop, struct pci_bus *bus);

#endif
