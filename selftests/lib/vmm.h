/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What VMMs ask of the KVM ABI, as tables of steps: each VMM's calls in its order, with its
 * arguments and its checks of what comes back. The tests go through a table as it stands; the
 * fuzzer permutes, drops, repeats and corrupts steps.
 */
#ifndef VMM_H
#define VMM_H

#include <pthread.h>

#include "vm.h"

#define VMM_CPUS	2
#define VMM_MEMORY	(4ul << 20)
#define VMM_MAX_MSRS	512
#define VMM_MAX_CPUID	256
#define VMM_XSAVE	16384	/* bytes that are kept of it */

struct vmm;

/* One call. False: this VMM would stop here; vmm->why tells the reason. */
struct vmm_step {
	bool (*call)(struct vmm *m, uint64_t arg);
	uint64_t arg;
	const char *name;
};

/* Pieces of state that a VMM saves and restores: the argument of vmm_get() and vmm_set(). */
enum vmm_item {
	REGS, SREGS, SREGS2, FPU, XSAVE, XSAVE2, XCRS, DEBUGREGS, LAPIC, MP_STATE, EVENTS, CPUID2,
	NESTED,
	PIT2, CLOCK, CHIP0, CHIP1, CHIP2,	/* from here on of the VM */
	NR_VMM_ITEMS
};

struct vmm_msrs {
	struct kvm_msrs head;
	struct kvm_msr_entry entry[VMM_MAX_MSRS];
};

struct vmm_cpuid {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entry[VMM_MAX_CPUID];
};

struct vmm_cpu_state {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_sregs2 sregs2;
	struct kvm_fpu fpu;
	uint8_t xsave[VMM_XSAVE];
	struct kvm_xcrs xcrs;
	struct kvm_debugregs debugregs;
	struct kvm_lapic_state lapic;
	struct kvm_mp_state mp;
	struct kvm_vcpu_events events;
	struct vmm_cpuid cpuid;
	struct kvm_nested_state nested;
	uint8_t nested_data[2 * 4096];
	struct vmm_msrs msrs;
	uint64_t tsc_offset;
	int tsc_khz;
};

struct vmm_state {
	struct vmm_cpu_state cpu[VMM_CPUS];
	struct kvm_pit_state2 pit;
	struct kvm_clock_data clock;
	struct kvm_irqchip chip[3];
};

/* How a VMM starts a vCPU. */
enum vmm_entry { ENTRY_REAL, ENTRY_PVH, ENTRY_LONG };

/*
 * A VMM: its steps in phases. Those whose name begins with cpu_ are
 * gone through once for each vCPU.
 */
struct vmm_kind {
	const char *name;
	enum vmm_entry entry;
	uint32_t guest;			/* GUEST_... flags of what the guest is to use */
	uint64_t mmio;			/* where its first device is */
	const struct vmm_step *make;	/* from open to the VM */
	const struct vmm_step *cpu_make;
	const struct vmm_step *devices;
	const struct vmm_step *cpu_boot;	/* what a restored vCPU does not get */
	const struct vmm_step *pause;
	const struct vmm_step *cpu_save, *save;
	const struct vmm_step *cpu_restore, *restore;	/* restore NULL: it has no snapshots */
	bool restore_vm_first;
};

extern const struct vmm_kind vmm_kinds[];
extern const unsigned int vmm_nr_kinds;

/* What the guest is told to use. */
#define GUEST_X2APIC	1
#define GUEST_IOAPIC	2
#define GUEST_SPEAKER	4	/* port 0x61 is in the kernel */
#define GUEST_SPIN	8	/* instead of HLT */
#define GUEST_NO_CR8	16	/* leaves it alone */
#define GUEST_IRQ	5	/* the device's GSI, and its pin */

/*
 * The first page that the guest and the VMM share, at VMM_SHARED: what
 * is to be done and what was seen.
 */
#define VMM_SHARED	0x6000ul
struct vmm_shared {
	uint64_t flags, mmio;		/* 0x00 */
	uint64_t timer, irq, ap;	/* 0x10 how often they came */
	uint64_t twice;			/* 0x28 interrupts with IF clear: an emulator's */
	/* 0x30 which check of the guest's failed; 0xbad00+vector: what it did not expect */
	uint64_t failed;
	uint64_t tsc, clock, sum;	/* 0x38 before the snapshot */
	uint64_t tsc2, clock2, sum2;	/* 0x50 behind it */
};

struct vmm {
	const struct vmm_kind *kind;
	int sys, vm;
	struct {
		int fd;
		struct kvm_run *run;
		pthread_t thread;
		bool threaded;
	} cpu[VMM_CPUS];
	unsigned int nr, cur;		/* vCPUs; the one that cpu_ steps are about */
	uint8_t *mem;
	size_t mmap_size, xsave_size;
	uint32_t msr[VMM_MAX_MSRS];
	unsigned int nr_msrs;
	struct vmm_cpuid cpuid;
	int irqfd, notify, resample;
	unsigned int mmio_writes, coalesced;
	char serial[64];
	unsigned int nr_serial;
	volatile bool stop;
	struct vmm_state state;
	char why[160];
	/*
	 * The fuzzer's: may change anything about a call before it is
	 * made, and sees what came of it.
	 */
	void (*mangle)(struct vmm *m, int *fd, unsigned long *nr, void **data, size_t size);
	void (*result)(struct vmm *m, unsigned long nr, long r, int error);
};

/* Where a guest stopped. */
enum vmm_stop { STOP_FAILED, STOP_SNAPSHOT, STOP_DONE };

struct vmm *vmm_new(const struct vmm_kind *kind);
void vmm_free(struct vmm *m);
long vmm_ioctl(struct vmm *m, int fd, unsigned long nr, void *data, size_t size);
bool vmm_do(struct vmm *m, const struct vmm_step *steps);
bool vmm_each(struct vmm *m, const struct vmm_step *steps);	/* for each vCPU */
enum vmm_stop vmm_run(struct vmm *m);			/* CPU 0; the others run beside it */
void vmm_start_others(struct vmm *m);
/* all vCPUs out of the guest, their instruction ended */
bool vmm_quiet(struct vmm *m);
void vmm_load_guest(struct vmm *m);
struct vmm_shared *vmm_shared(struct vmm *m);
/* handles one exit of CPU 0: -1 go on, else enum vmm_stop */
int vmm_exit(struct vmm *m);

/* Calls: steps. */
bool vmm_fail(struct vmm *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool vmm_get(struct vmm *m, uint64_t item);
bool vmm_set(struct vmm *m, uint64_t item);
bool vmm_same(struct vmm *m, const struct vmm_state *was, enum vmm_item item);
#define GET(i)		{ vmm_get, i, "get " #i }
#define SET(i)		{ vmm_set, i, "set " #i }

#define VMM_CALLS(X) \
	X(open_device) X(api_version) X(needs) X(needs_of_vm) X(create_vm) X(ask_mmap_size) \
	X(ask_msr_list) X(ask_feature_msrs) X(ask_cpuid) X(ask_xsave_size) X(ask_slots) \
	X(ask_vcpus) X(tss) X(identity_map) X(irqchip) X(pit2) X(split) X(memory) X(dirty_log) \
	X(create_vcpu) X(map_vcpu) X(ask_tsc_khz) X(put_cpuid) X(boot_msrs) X(one_by_one_msrs) \
	X(boot_regs) X(boot_sregs) X(boot_fpu) X(lint) X(pc_routes) X(msi_routes) X(chip_routes) \
	X(assign_irqfd) X(assign_notify) X(coalesce) X(kvmclock_ctrl) X(kvmclock_ctrl_of_vm) \
	X(save_msrs) X(restore_msrs) X(set_tsc_khz) X(tsc_offset) X(save_tsc) X(restore_tsc) \
	X(nmi_blocked) X(line) X(enable) X(signal_msi) X(stats_fd) X(mce)
#define DECLARE(f) bool vmm_##f(struct vmm *m, uint64_t arg);
VMM_CALLS(DECLARE)
#define CALL(f, a)	{ vmm_##f, (uint64_t)(a), #f }
#define END_OF_STEPS	{ NULL, 0, NULL }

/* For the files that define steps. */
#define STEP(name) bool vmm_##name(struct vmm *m, uint64_t arg)
#define SYS(nr, data, size) vmm_ioctl(m, m->sys, nr, data, size)
#define VM(nr, data, size) vmm_ioctl(m, m->vm, nr, data, size)
#define CPU(nr, data, size) vmm_ioctl(m, m->cpu[m->cur].fd, nr, data, size)
bool vmm_put_msrs(struct vmm *m, struct vmm_msrs *msrs);	/* vmm_state.c */

#endif
