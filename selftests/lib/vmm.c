// SPDX-License-Identifier: GPL-2.0
/* The machine behind the VMMs' sequences: goes through steps, runs the guest, plays its devices. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "vmm.h"

#define VIRTIO_MAGIC 0x74726976u
#define VMM_PATIENCE 60		/* seconds that a guest has for its way to a stop */

bool vmm_fail(struct vmm *m, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(m->why, sizeof(m->why), fmt, ap);
	va_end(ap);
	return false;
}

/*
 * Every call goes through here. The kernel gets a copy in a large buffer, so that it writes nowhere
 * else even if the fuzzer has changed a count; @size bytes come back. Without a size @data is the
 * argument itself.
 */
long vmm_ioctl(struct vmm *m, int fd, unsigned long nr, void *data, size_t size)
{
	static __thread uint8_t scratch[1 << 17] __attribute__((aligned(4096)));
	void *arg = data;
	int error;
	long r;

	if (size) {
		memcpy(scratch, data, size);
		arg = scratch;
	}
	if (m->mangle)
		m->mangle(m, &fd, &nr, &arg, size);
	r = ioctl(fd, nr, arg);
	error = r < 0 ? errno : 0;
	if (size)
		memcpy(data, scratch, size);
	if (m->result)
		m->result(m, nr, r, error);
	else if (error)
		vmm_fail(m, "%s", strerror(error));
	errno = error;
	return r;
}

bool vmm_do(struct vmm *m, const struct vmm_step *s)
{
	char why[sizeof(m->why)];

	for (; s && s->call; s++) {
		strcpy(m->why, "no");
		if (s->call(m, s->arg))
			continue;
		memcpy(why, m->why, sizeof(why));
		return vmm_fail(m, "%s(%lx) for CPU %u: %.100s", s->name, (unsigned long)s->arg,
				m->cur, why);
	}
	return true;
}

bool vmm_each(struct vmm *m, const struct vmm_step *s)
{
	for (m->cur = 0; m->cur < VMM_CPUS; m->cur++)
		if (!vmm_do(m, s))
			return false;
	m->cur = 0;
	return true;
}

struct vmm *vmm_new(const struct vmm_kind *kind)
{
	struct vmm *m = calloc(1, sizeof(*m));
	unsigned int i;

	m->kind = kind;
	m->sys = m->vm = -1;
	for (i = 0; i < VMM_CPUS; i++)
		m->cpu[i].fd = -1;
	m->irqfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	m->notify = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	m->resample = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	m->mem = mmap(NULL, VMM_MEMORY, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m->mem == MAP_FAILED) {
		perror("# mmap");
		exit(1);
	}
	return m;
}

void vmm_free(struct vmm *m)
{
	unsigned int i;

	vmm_quiet(m);
	for (i = 0; i < VMM_CPUS; i++) {
		if (m->cpu[i].run)
			munmap(m->cpu[i].run, m->mmap_size);
		if (m->cpu[i].fd >= 0)
			close(m->cpu[i].fd);
	}
	if (m->vm >= 0)
		close(m->vm);
	if (m->sys >= 0)
		close(m->sys);
	close(m->irqfd);
	close(m->notify);
	close(m->resample);
	munmap(m->mem, VMM_MEMORY);
	free(m);
}

/* ---- the guest's devices ---- */

static void play_io(struct vmm *m, struct kvm_run *run, int *stop)
{
	/* Firecracker and cloud-hypervisor take an exit as one access of count * size bytes */
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	if (run->io.direction == KVM_EXIT_IO_IN) {
		memset(data, run->io.port == 0x3fd ? 0x60 : 0, run->io.size * run->io.count);
		return;
	}
	if (run->io.port == GUEST_DONE)
		*stop = STOP_DONE;
	if (run->io.port == 0x9a) {
		struct vmm_shared *s = vmm_shared(m);

		vmm_fail(m,
			 "the guest's check %lu failed; TSC %lx, then %lx, kvmclock %lx, then %lx",
			 (unsigned long)s->failed, (unsigned long)s->tsc, (unsigned long)s->tsc2,
			 (unsigned long)s->clock, (unsigned long)s->clock2);
		*stop = STOP_FAILED;
	}
	if (run->io.port != 0x3f8)
		return;
	if (m->nr_serial < sizeof(m->serial) - 1)
		m->serial[m->nr_serial++] = *data;
	if (*data == 'i') {
		if (m->kind->entry == ENTRY_REAL)
			vmm_line(m, GUEST_IRQ);
		else if (eventfd_write(m->irqfd, 1))
			*stop = STOP_FAILED;
	}
	if (*data == 'S')
		*stop = STOP_SNAPSHOT;
}

static void play_mmio(struct vmm *m, struct kvm_run *run)
{
	uint32_t magic = VIRTIO_MAGIC;

	if (run->mmio.is_write) {
		m->mmio_writes++;
		return;
	}
	memset(run->mmio.data, 0, sizeof(run->mmio.data));
	if (run->mmio.phys_addr == m->kind->mmio)
		memcpy(run->mmio.data, &magic, sizeof(magic));
}

/* kvmtool's look at the coalesced writes at every exit. */
static void drain(struct vmm *m)
{
	struct kvm_coalesced_mmio_ring *ring = (void *)((uint8_t *)m->cpu[0].run + 2 * 4096);
	const unsigned int max = (4096 - sizeof(*ring)) / sizeof(ring->coalesced_mmio[0]);

	while (ring->first < max && ring->first != ring->last) {
		m->coalesced++;
		ring->first = (ring->first + 1) % max;
	}
}

int vmm_exit(struct vmm *m)
{
	struct kvm_run *run = m->cpu[0].run;
	int stop = -1;

	if (m->kind->entry == ENTRY_REAL)
		drain(m);
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		play_io(m, run, &stop);
		return stop;
	case KVM_EXIT_MMIO:
		play_mmio(m, run);
		return -1;
	default:
		vmm_fail(m, "the guest ended with exit %u", run->exit_reason);
		return STOP_FAILED;
	}
}

static void on_kick(int sig)
{
}

/* A guest that makes no way is ended by SIGALRM, and it is told where it stood. */
static volatile bool too_long;

static void on_alarm(int sig)
{
	too_long = true;
}

/* The other vCPUs wait in KVM_RUN for INIT and SIPI; nobody sets their state. */
struct other { struct vmm *m; unsigned int i; };

static void *run_other(void *arg)
{
	struct itimerspec often = { { 0, 10000000 }, { 0, 10000000 } };
	struct other o = *(struct other *)arg;
	struct kvm_run *run = o.m->cpu[o.i].run;
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1 };
	timer_t timer;

	free(arg);
	/*
	 * The fuzzer does not stop a vCPU before it asks it something: it
	 * lets go of itself now and then.
	 */
	event._sigev_un._tid = gettid();
	if (o.m->result && !timer_create(CLOCK_MONOTONIC, &event, &timer))
		timer_settime(timer, 0, &often, NULL);
	while (!o.m->stop) {
		if (!ioctl(o.m->cpu[o.i].fd, KVM_RUN, 0)) {
			if (!o.m->result)
				vmm_fail(o.m, "CPU %u ended with exit %u", o.i, run->exit_reason);
			break;
		}
		if (errno != EINTR && errno != EAGAIN)
			break;
	}
	if (o.m->result)
		timer_delete(timer);
	return NULL;
}

void vmm_start_others(struct vmm *m)
{
	struct sigaction act = { .sa_handler = on_kick };
	sigset_t alarms;
	unsigned int i;

	sigaction(SIGUSR1, &act, NULL);
	sigemptyset(&alarms);
	sigaddset(&alarms, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &alarms, NULL);
	m->stop = false;
	for (i = 1; i < VMM_CPUS; i++) {
		struct other *o;

		if (m->cpu[i].threaded || !m->cpu[i].run)
			continue;
		o = malloc(sizeof(*o));
		*o = (struct other){ m, i };
		m->cpu[i].run->immediate_exit = 0;
		m->cpu[i].threaded = !pthread_create(&m->cpu[i].thread, NULL, run_other, o);
		if (!m->cpu[i].threaded)
			free(o);
	}
	pthread_sigmask(SIG_UNBLOCK, &alarms, NULL);
}

bool vmm_quiet(struct vmm *m)
{
	bool ok = true;
	unsigned int i;

	m->stop = true;
	for (i = 0; i < VMM_CPUS; i++) {
		if (!m->cpu[i].run)
			continue;
		m->cpu[i].run->immediate_exit = 1;
		if (m->cpu[i].threaded) {
			/*
			 * again and again: the fuzzer may have left
			 * it another kvm_run than this one
			 */
			do
				pthread_kill(m->cpu[i].thread, SIGUSR1);
			while (usleep(500), pthread_tryjoin_np(m->cpu[i].thread, NULL));
			m->cpu[i].threaded = false;
		}
		/* ends the instruction whose exit was handled, and does not enter the guest */
		ok = ioctl(m->cpu[i].fd, KVM_RUN, 0) == -1 && (errno == EINTR || errno == EAGAIN) &&
		     ok;
		m->cpu[i].run->immediate_exit = 0;
	}
	return ok || vmm_fail(m, "immediate_exit did not end KVM_RUN");
}

static enum vmm_stop stuck(struct vmm *m)
{
	struct vmm_shared *s = vmm_shared(m);
	struct kvm_regs r = { };

	ioctl(m->cpu[0].fd, KVM_GET_REGS, &r);
	vmm_fail(m, "no way: rip %llx rflags %llx, %u of the timer's, %u of the device's, %u CPUs",
		 r.rip, r.rflags, (unsigned int)s->timer, (unsigned int)s->irq,
		 (unsigned int)s->ap);
	return STOP_FAILED;
}

enum vmm_stop vmm_run(struct vmm *m)
{
	struct sigaction act = { .sa_handler = on_alarm };
	int stop = -1;

	vmm_start_others(m);
	too_long = false;
	sigaction(SIGALRM, &act, NULL);
	alarm(VMM_PATIENCE);
	while (stop < 0) {
		if (!ioctl(m->cpu[0].fd, KVM_RUN, 0)) {
			stop = vmm_exit(m);
		} else if (errno != EINTR && errno != EAGAIN) {
			vmm_fail(m, "KVM_RUN: %s", strerror(errno));
			stop = STOP_FAILED;
		} else if (too_long) {
			stop = stuck(m);
		}
	}
	alarm(0);
	return stop;
}
