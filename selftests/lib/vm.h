/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Small VMs for tests. All of it speaks the KVM ABI alone, so that each test runs on the in-tree
 * KVM as well: WAFER_DEVICE=/dev/kvm ./test_...
 */
#ifndef VM_H
#define VM_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/kvm.h>

#include "guest.h"

#define VM_MAX_CPUS 8

/*
 * The harness gives a test 30 s; an emulated host with a debug kernel is slower
 * than that. (It is included first.)
 */
#ifdef TEST_TIMEOUT_DEFAULT
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 400
#endif

/* vm_new() flags */
#define VM_IRQCHIP	1	/* the full chip in the kernel */
#define VM_PIT		2
#define VM_SPLIT	4
#define VM_NO_MEMORY	8	/* no slot at all */

/* How a CPU starts: vcpu_mode(). */
enum mode {
	MODE_REAL,	/* 16 bits, CS base 0 */
	MODE_PROT,	/* 32 bits, flat, no paging */
	MODE_PAGE32,	/* 32 bits, 4 MiB pages, identity */
	MODE_PAE,	/* 32 bits, PAE, 2 MiB pages, identity */
	MODE_LONG,	/* 64 bits, 2 MiB pages, 4 GiB identity */
	NR_MODES
};

extern const char *const mode_name[NR_MODES];

struct vcpu {
	int fd;
	struct kvm_run *run;
	struct vm *vm;
	unsigned int id;
};

struct vm {
	int fd;
	uint8_t *mem;		/* slot 0, guest-physical 0 */
	size_t size;
	unsigned int nr;
	struct vcpu cpu[VM_MAX_CPUS];
};

/* What vm_catch()'s handlers write at GUEST_CAUGHT before they end the guest with GUEST_DONE. */
struct guest_caught {
	uint64_t vector, error, rip, cr2;
};

const char *vm_device(void);			/* WAFER_DEVICE or /dev/wafer */
int vm_sys(void);				/* an open descriptor of it, shared */
bool vm_is_amd(void);
bool vm_host_is_tcg(void);			/* the host is emulated by QEMU */

/* All of these end the test program with a message when the host refuses. */
struct vm *vm_new(size_t size, int flags);
void vm_free(struct vm *vm);
struct vcpu *vcpu_new(struct vm *vm, unsigned int id);	/* CPUID: what is supported */
/* segments, control registers, tables; RIP at GUEST_CODE */
void vcpu_mode(struct vcpu *v, enum mode mode);
void vm_load_bytes(struct vm *vm, uint64_t gpa, const void *code, size_t n);
#define vm_load(vm, name) vm_load_bytes(vm, GUEST_CODE, name, GUEST_SIZE(name))
void vm_slot(struct vm *vm, unsigned int slot, uint64_t gpa, uint64_t size, void *hva,
	     unsigned int flags);
int vm_slot_try(struct vm *vm, unsigned int slot, uint64_t gpa, uint64_t size, void *hva,
		unsigned int flags);

/*
 * An IDT (MODE_LONG) whose handlers record the exception in struct
 * guest_caught and end with GUEST_DONE.
 */
void vm_catch(struct vcpu *v);
struct guest_caught *vm_caught(struct vm *vm);

int vcpu_run(struct vcpu *v);		/* exit reason; -errno; repeats on EINTR */
/* Runs until OUT to GUEST_DONE: true. False and a message on any other exit. */
bool vcpu_run_done(struct vcpu *v);
void vcpu_describe(struct vcpu *v);	/* exit and registers on standard error */
struct kvm_regs vcpu_regs(struct vcpu *v);
void vcpu_set_regs(struct vcpu *v, const struct kvm_regs *r);
uint64_t vcpu_msr(struct vcpu *v, uint32_t index);
int vcpu_set_msr(struct vcpu *v, uint32_t index, uint64_t val);	/* number set: 1 or 0 */

/* One program, one mode: new VM with 2 MiB (or more), code loaded, run to GUEST_DONE. */
struct vm *vm_quick(enum mode mode, int flags, const void *code, size_t n);

#endif
