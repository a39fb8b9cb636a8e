// SPDX-License-Identifier: GPL-2.0
/*
 * vCPUs: one thread each, in KVM_RUN until the VM ends. Application processors
 * wait there for INIT and SIPI like the others.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "sandbox.h"
#include "vm.h"

/* Its handler does nothing: what matters is that KVM_RUN returns. */
#define KICK_SIGNAL	SIGUSR1

#define MSR_MISC_ENABLE		0x1a0
#define MISC_ENABLE_RESET	0x1800	/* branch trace and precise events: unavailable */
#define MISC_ENABLE_FAST_STRING	1
#define MSR_MTRR_DEF_TYPE	0x2ff
#define MTRR_ENABLE		(1 << 11)
#define MTRR_WRITE_BACK		6

static void set_msrs(struct vcpu *vcpu)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry[2];
	} msrs = {
		.head.nmsrs = 2,
		.entry = {
			/* What firmware would have done: all memory write-back ... */
			{ .index = MSR_MTRR_DEF_TYPE, .data = MTRR_ENABLE | MTRR_WRITE_BACK },
			/* ... and fast string operations, without which Linux avoids REP MOVS. */
			{ .index = MSR_MISC_ENABLE,
			  .data = MISC_ENABLE_RESET | MISC_ENABLE_FAST_STRING },
		},
	};
	int done = ioctl(vcpu->fd, KVM_SET_MSRS, &msrs);

	if (done < 0)
		die(STATUS_HOST, "KVM_SET_MSRS: %s", strerror(errno));
	if (done < 2)
		die(STATUS_HOST, "the host refuses MSR 0x%x", msrs.entry[done].index);
}

static void vcpu_create(struct vm *vm, struct vcpu *vcpu, unsigned int id)
{
	vcpu->vm = vm;
	vcpu->id = id;
	vcpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, id);
	if (vcpu->fd < 0)
		die(STATUS_HOST, "cannot create vCPU %u: %s", id, strerror(errno));
	vcpu->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED)
		die(STATUS_HOST, "cannot map vCPU %u: %s", id, strerror(errno));
	set_msrs(vcpu);
}

void vcpus_create(struct vm *vm)
{
	int size = ioctl(vm->dev_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

	if (size < (int)sizeof(struct kvm_run))
		die(STATUS_HOST, "KVM_GET_VCPU_MMAP_SIZE: %d is too small", size);
	vm->run_size = size;
	vm->vcpus = xcalloc(vm->nr_vcpus, sizeof(*vm->vcpus));
	for (unsigned int i = 0; i < vm->nr_vcpus; i++)
		vcpu_create(vm, &vm->vcpus[i], i);
	cpuid_setup(vm);
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *vcpu = arg;
	struct vm *vm = vcpu->vm;
	char name[16];

	snprintf(name, sizeof(name), "vcpu%u", vcpu->id);
	pthread_setname_np(pthread_self(), name);
	if (vm->sandbox)
		sandbox_vcpu_thread();
	pthread_barrier_wait(&vm->start);

	while (!atomic_load(&vm->stop)) {
		if (ioctl(vcpu->fd, KVM_RUN, 0) == 0)
			vcpu_handle_exit(vcpu);
		else if (errno != EINTR && errno != EAGAIN)
			vcpu_run_failed(vcpu, errno);
	}
	return NULL;
}

static void on_kick(int sig)
{
	(void)sig;
}

void vcpus_start(struct vm *vm)
{
	struct sigaction kick = { .sa_handler = on_kick };
	sigset_t all, old;

	sigaction(KICK_SIGNAL, &kick, NULL);
	pthread_barrier_init(&vm->start, NULL, vm->nr_vcpus + 1);

	/* Signals that end the program are the main thread's business. */
	sigfillset(&all);
	sigdelset(&all, KICK_SIGNAL);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	for (unsigned int i = 0; i < vm->nr_vcpus; i++) {
		struct vcpu *vcpu = &vm->vcpus[i];
		int err = pthread_create(&vcpu->thread, NULL, vcpu_thread, vcpu);

		if (err)
			die(STATUS_HOST, "cannot start a thread for vCPU %u: %s", i, strerror(err));
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/*
 * @stop is set before immediate_exit, and that before the signal: a thread
 * either sees @stop at the top of its loop, or is inside KVM_RUN, which returns
 * for the flag if it has not entered the guest and for the signal if it has.
 * Everything here may be done in a signal handler.
 */
void vcpus_kick(struct vm *vm)
{
	atomic_store(&vm->stop, true);
	for (unsigned int i = 0; i < vm->nr_vcpus; i++) {
		WRITE_ONCE(vm->vcpus[i].run->immediate_exit, 1);
		pthread_kill(vm->vcpus[i].thread, KICK_SIGNAL);
	}
}

/* A thread that hangs for longer, in a write to a dead terminal, is left to exit(): false. */
bool vcpus_join(struct vm *vm)
{
	struct timespec deadline;
	bool all = true;

	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += 2;
	for (unsigned int i = 0; i < vm->nr_vcpus; i++)
		all &= !pthread_timedjoin_np(vm->vcpus[i].thread, NULL, &deadline);
	return all;
}
