/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The virtual machine: its descriptor, memory and vCPUs, and how it ends.
 *
 * How fields are protected: [I] set before the guest runs, immutable then;
 * [a] atomic; [v] used by the vCPU's own thread; otherwise the lock is named.
 */
#ifndef WAFER_VM_H
#define WAFER_VM_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>

#include "bus.h"
#include "irq.h"
#include "util.h"

/*
 * The guest's physical address space:
 *
 *	0 .. low_size			RAM, without the hole at 0xa0000
 *	PCI_WINDOW .. PCI_WINDOW_END	memory BARs
 *	0xfec00000, 0xfee00000		I/O APIC, local APICs
 *	4 GiB .. 4 GiB + high_size	RAM that did not fit below
 */
#define RAM_LOW_MAX		0xc0000000ull
#define PCI_WINDOW		0xc0000000ull
#define PCI_WINDOW_END		0xfec00000ull
#define IOAPIC_BASE		0xfec00000ull
#define LAPIC_BASE		0xfee00000ull
#define KVM_IDENTITY_MAP	0xfffbc000ull	/* a page for KVM's own use on old CPUs */
#define KVM_TSS			0xfffbd000ull	/* three more */
#define RAM_HIGH_BASE		(4 * GIB)

/* Inside the first MiB. Firmware tables lie where old kernels search for them too. */
#define EBDA_START		0x9f000ull
#define FIRMWARE_START		0xe0000ull
#define RESET_VECTOR		0xffff0ull	/* f000:fff0 */
#define FIRMWARE_END		0x100000ull

#define VM_MAX_CPUS		288

struct guest_ram {
	uint8_t *host;		/* [I] one mapping: low RAM, then high RAM */
	uint64_t low_size;	/* [I] */
	uint64_t high_size;	/* [I] */
};

struct vm;

struct vcpu {
	struct vm *vm;		/* [I] */
	unsigned int id;	/* [I] its APIC ID as well */
	int fd;			/* [I] */
	struct kvm_run *run;	/* [v] except immediate_exit, which vm_end() sets */
	pthread_t thread;	/* [I] */
};

struct vm {
	int dev_fd;		/* [I] /dev/wafer or /dev/kvm */
	int fd;			/* [I] */
	size_t run_size;	/* [I] bytes of a vCPU's shared pages */
	struct guest_ram ram;
	unsigned int nr_vcpus;	/* [I] */
	struct vcpu *vcpus;	/* [I] */
	unsigned int notify_len;	/* [I] of ioeventfds; 0: any */
	struct bus ports;
	struct bus mmio;
	struct irq_router irq;
	bool sandbox;		/* [I] threads confine themselves before they run the guest */

	pthread_barrier_t start;	/* nobody runs before everybody is confined */

	atomic_bool ending;	/* [a] claimed by the first vm_end() */
	atomic_bool stop;	/* [a] vCPU threads are to leave */
	int status;		/* written by the one who claimed @ending */
	int end_fd;		/* [I] eventfd that tells the main loop */
};

/* vm.c */
void vm_open(struct vm *vm, const char *path, bool path_given);
void vm_create(struct vm *vm, uint64_t memory, unsigned int cpus);
void vm_destroy(struct vm *vm);
int vm_cap(struct vm *vm, long cap);

/*
 * Ends the VM with @status, saying why unless @fmt is NULL. Any thread may call
 * it; the first call decides and gets true, later ones are silent. A vCPU's
 * thread does not enter the guest again after it.
 */
bool vm_end(struct vm *vm, int status, const char *fmt, ...) __printf(3, 4);

/* memory.c */
void ram_create(struct vm *vm, uint64_t size);
uint64_t ram_size(const struct guest_ram *ram);
/* Where @len bytes at guest-physical @gpa lie in this process; NULL unless all are RAM. */
void *ram_ptr(const struct guest_ram *ram, uint64_t gpa, uint64_t len);

/* vcpu.c */
void vcpus_create(struct vm *vm);
void vcpus_start(struct vm *vm);
void vcpus_kick(struct vm *vm);
bool vcpus_join(struct vm *vm);
void vcpu_dump(struct vcpu *vcpu);

/* cpuid.c */
void cpuid_setup(struct vm *vm);

/* Acts on what KVM_RUN came back with. */
void vcpu_handle_exit(struct vcpu *vcpu);
void vcpu_run_failed(struct vcpu *vcpu, int err);

#endif
