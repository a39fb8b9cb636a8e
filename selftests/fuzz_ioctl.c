// SPDX-License-Identifier: GPL-2.0
/*
 * A fuzzer of the ioctls: it takes the sequence of calls of one of the VMMs (lib/vmms.c), drops,
 * repeats and permutes steps, corrupts arguments, descriptors and numbers, and runs the guest in
 * between. Each run is a child of its own, made of one 64-bit seed, so that a finding is repeated
 * by that number alone.
 *
 * Findings: an errno that the ABI does not have, a call that does not come back, a child that dies
 * of a signal, a complaint in the host's log, a module that is still in use after the child's end,
 * memory that does not come back, a VMM's own sequence that fails afterwards.
 *
 * With --trace each call's errno goes to a file. Two devices' files of the same seed
 * are compared by fuzz_compare.sh.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "uapi/wafer.h"
#include "vmm.h"

#define MAX_RECORDS	512
#define PATIENCE	120		/* seconds for one run */
#define TICK		20000		/* microseconds after which any call is interrupted */
#define LEAK		(48l << 10)	/* KiB of kernel memory that may come and stay */

struct record { const struct vmm_step *step; unsigned int cpu; };

static struct {
	uint64_t random;
	bool verbose, corrupt;
	unsigned int one_in;		/* a call out of that many is corrupted */
	unsigned long calls, refused;
	uint8_t *bitmap;
	char finding[160];
	FILE *trace;
	uint64_t seed;			/* of this run */
	unsigned int call;		/* of this step */
	char what[80];			/* the call that is made, for the trace */
	int fd;				/* its descriptor */
} f;

/* Where the child is, for the parent. */
static struct { char step[40]; unsigned long nr; unsigned int cpu, n; } *volatile where;

static uint64_t next(void)
{
	f.random += 0x9e3779b97f4a7c15ull;
	uint64_t z = f.random;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static unsigned int below(unsigned int n)
{
	return next() % n;
}

/* Values at which somebody may have looked wrongly. */
static uint64_t value(void)
{
	static const uint64_t edge[] = {
		0, 1, 2, 3, 7, 8, 0x10, 0x1f, 0x20, 0x3f, 0x40, 0x7f, 0x80, 0xff, 0x100, 0xfff,
		0x1000, 0x1fff, 0xffff,
		0x10000, 0xfffff, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 0xfee00000,
		0xfec00000, 0xfee00d00, 0x7fffffffffff, 0x800000000000, 0xffff800000000000,
		0xfffffffffffff000, 0x7fffffffffffffff, 0x8000000000000000, ~0ull,
	};

	switch (below(4)) {
	case 0: return 1ull << below(64);
	case 1: return next() >> below(64);
	default: return edge[below(sizeof(edge) / sizeof(edge[0]))];
	}
}

#define SET_USER_MEMORY_REGION2 _IOW(KVMIO, 0x49, char[160])	/* 6.8 and later */

static const unsigned long numbers[] = {
	KVM_GET_API_VERSION, KVM_CREATE_VM, KVM_GET_MSR_INDEX_LIST, KVM_CHECK_EXTENSION,
	KVM_GET_VCPU_MMAP_SIZE, KVM_GET_SUPPORTED_CPUID, KVM_GET_EMULATED_CPUID,
	KVM_GET_MSR_FEATURE_INDEX_LIST, KVM_CREATE_VCPU, KVM_GET_DIRTY_LOG, KVM_SET_NR_MMU_PAGES,
	KVM_SET_USER_MEMORY_REGION, SET_USER_MEMORY_REGION2, KVM_SET_TSS_ADDR,
	KVM_SET_IDENTITY_MAP_ADDR, KVM_CREATE_IRQCHIP, KVM_IRQ_LINE, KVM_GET_IRQCHIP,
	KVM_SET_IRQCHIP, KVM_CREATE_PIT, KVM_IRQ_LINE_STATUS,
	KVM_REGISTER_COALESCED_MMIO, KVM_UNREGISTER_COALESCED_MMIO, KVM_SET_GSI_ROUTING,
	KVM_REINJECT_CONTROL, KVM_IRQFD, KVM_CREATE_PIT2, KVM_SET_BOOT_CPU_ID, KVM_IOEVENTFD,
	KVM_SET_CLOCK, KVM_GET_CLOCK, KVM_RUN, KVM_GET_REGS, KVM_SET_REGS, KVM_GET_SREGS,
	KVM_SET_SREGS, KVM_TRANSLATE, KVM_INTERRUPT, KVM_GET_MSRS, KVM_SET_MSRS, KVM_GET_FPU,
	KVM_SET_FPU, KVM_GET_LAPIC, KVM_SET_LAPIC, KVM_SET_CPUID2, KVM_GET_CPUID2,
	KVM_TPR_ACCESS_REPORTING, KVM_SET_VAPIC_ADDR, KVM_GET_MP_STATE, KVM_SET_MP_STATE, KVM_NMI,
	KVM_SET_GUEST_DEBUG, KVM_X86_SETUP_MCE, KVM_X86_GET_MCE_CAP_SUPPORTED, KVM_X86_SET_MCE,
	KVM_GET_PIT2, KVM_SET_PIT2, KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, KVM_GET_DEBUGREGS,
	KVM_SET_DEBUGREGS, KVM_ENABLE_CAP, KVM_GET_XSAVE, KVM_SET_XSAVE, KVM_GET_XCRS, KVM_SET_XCRS,
	KVM_SIGNAL_MSI, KVM_SET_TSC_KHZ, KVM_GET_TSC_KHZ, KVM_KVMCLOCK_CTRL, KVM_SET_DEVICE_ATTR,
	KVM_GET_DEVICE_ATTR, KVM_HAS_DEVICE_ATTR, KVM_SMI, KVM_CLEAR_DIRTY_LOG,
	KVM_X86_SET_MSR_FILTER, KVM_RESET_DIRTY_RINGS, KVM_GET_XSAVE2, KVM_GET_STATS_FD,
	KVM_GET_SREGS2, KVM_SET_SREGS2, KVM_GET_NESTED_STATE, KVM_SET_NESTED_STATE,
	KVM_CREATE_DEVICE,
};

/*
 * What may not be left to chance: where the kernel or the guest writes. All of it stays in the
 * guest's memory, in buffers made for it, or where nothing is.
 */
static void keep_harmless(struct vmm *m, unsigned long nr, void *arg)
{
	struct kvm_userspace_memory_region *r = arg;
	struct kvm_device_attr *a = arg;
	struct kvm_dirty_log *log = arg;
	struct kvm_enable_cap *cap = arg;
	uintptr_t mem = (uintptr_t)m->mem;

	switch (nr) {
	case KVM_SET_USER_MEMORY_REGION:
	case SET_USER_MEMORY_REGION2:
		if (r->memory_size >> 30 && r->flags & KVM_MEM_LOG_DIRTY_PAGES)
			r->memory_size &= (1 << 30) - 1;
		if (r->userspace_addr < mem || r->memory_size > VMM_MEMORY ||
		    r->userspace_addr - mem > VMM_MEMORY - r->memory_size)
			r->userspace_addr = r->memory_size <= VMM_MEMORY && below(2) ?
				mem + (below(VMM_MEMORY - r->memory_size + 1) & ~0xfffu) :
				0x100000000000 + below(2);
		break;
	case KVM_GET_DIRTY_LOG:
		log->dirty_bitmap = below(8) ? f.bitmap : (void *)8;
		break;
	case KVM_GET_DEVICE_ATTR:
		a->addr = (uintptr_t)f.bitmap;
		break;
	case KVM_ENABLE_CAP:
		/*
		 * a ring of 1 MiB a vCPU is enough; exits of the host's own making are
		 * not for a host that others use
		 */
		if (cap->cap == KVM_CAP_DIRTY_LOG_RING ||
		    cap->cap == KVM_CAP_DIRTY_LOG_RING_ACQ_REL)
			cap->args[0] &= (1 << 20) - 1;
		if (cap->cap == KVM_CAP_X86_NOTIFY_VMEXIT ||
		    cap->cap == KVM_CAP_VM_COPY_ENC_CONTEXT_FROM)
			cap->cap = KVM_CAP_HALT_POLL;
	}
}

/* A call as the trace has it: the same on every device if its argument is the same. */
static void describe(struct vmm *m, int fd, unsigned long nr, const uint8_t *data)
{
	const char *name = fd == m->sys ? "sys" : fd == m->vm ? "vm" : fd == m->cpu[0].fd ? "cpu0" :
			   fd == m->cpu[1].fd ? "cpu1" : "other";
	unsigned long first = (uintptr_t)data, hash = 0;
	unsigned int i;

	if (_IOC_SIZE(nr) && first >= 1 << 16) {
		memcpy(&first, data, sizeof(first));
		for (i = 0; i < _IOC_SIZE(nr); i++)
			hash = (hash ^ data[i]) * 16777619;
	}
	snprintf(f.what, sizeof(f.what), "%s %#lx %08lx %#lx", name, nr, hash & 0xffffffff, first);
}

static void mangle(struct vmm *m, int *fd, unsigned long *nr, void **data, size_t size)
{
	const int fds[] = { m->sys, m->vm, m->cpu[0].fd, m->cpu[1].fd, m->irqfd, -1 };
	static uint8_t spare[1 << 16] __attribute__((aligned(4096)));
	unsigned int i;

	f.calls++;
	if (f.corrupt && !below(f.one_in)) {
		switch (below(8)) {
		case 0:
			*fd = fds[below(6)];
			break;
		case 1:
			*nr = numbers[below(sizeof(numbers) / sizeof(numbers[0]))];
			break;
		case 2:
			if (!below(4))
				*data = (void *)value();
			size = 0;
			break;
		default:
			if (!size)
				*data = (void *)value();
			for (i = size ? 1 + below(3) : 0; i; i--) {
				unsigned int width = 1u << below(4), at;
				uint64_t v = value();

				if (width > size)
					width = 1;
				/* heads matter more than tails */
				at = below(2) && size > 32 ? below(32 / width) :
							     below(size / width);
				memcpy((uint8_t *)*data + at * width, &v, width);
			}
		}
		/*
		 * a pointer to nowhere is refused; else it is a buffer
		 * that is large enough for any call
		 */
		if (_IOC_SIZE(*nr) && (uintptr_t)*data < 1 << 16) {
			for (i = 0; i < 64; i++)
				spare[i] = value();
			*data = below(4) ? spare : *data;
		}
	}
	if (_IOC_SIZE(*nr) && ((uintptr_t)*data >= 1 << 16 && (uintptr_t)*data < 1ul << 47) &&
	    (size || *data == spare))
		keep_harmless(m, *nr, *data);
	/* what is left of wild pointers points to nothing */
	else if (_IOC_SIZE(*nr))
		*data = (void *)8;
	where->nr = *nr;
	f.fd = *fd;
	if (f.verbose)
		fprintf(stderr, "# ioctl(%d, %#lx, %p)", *fd, *nr, *data);
	if (f.trace)
		describe(m, *fd, *nr, *data);
}

static void result(struct vmm *m, unsigned long nr, long r, int error)
{
	static const int known[] = {
		EPERM, ENOENT, EINTR, EIO, ENXIO, E2BIG, EBADF, EAGAIN, ENOMEM, EFAULT, EBUSY,
		EEXIST, ENODEV, EINVAL, EMFILE, ENOTTY, ENOSPC, EPIPE, ERANGE, EOPNOTSUPP, EACCES,
	};
	unsigned int i;

	if (f.verbose) {
		struct wafer_last_error why = { };

		fprintf(stderr, " = %ld %s", r, error ? strerror(error) : "");
		if (error && !ioctl(f.fd, WAFER_LAST_ERROR, &why) && why.ioctl == nr)
			fprintf(stderr, ": %s %#llx: %s", why.field, (unsigned long long)why.value,
				why.rule);
		fputc('\n', stderr);
	}
	/* how often the guest's run is interrupted is chance */
	if (f.trace && nr != KVM_RUN)
		fprintf(f.trace, "%#llx %u.%u %s %s %s\n", (unsigned long long)f.seed, where->n,
			f.call++, f.what, error ? strerrorname_np(error) : "0", where->step);
	f.refused += !!error;
	where->nr = 0;
	for (i = 0; error && i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i] == error)
			return;
	if (error && !f.finding[0])
		snprintf(f.finding, sizeof(f.finding), "ioctl %#lx gave errno %d", nr, error);
}

/* The guest for a while, with the fields that a VMM writes there. */
static bool fuzz_run(struct vmm *m, uint64_t arg)
{
	struct kvm_run *run = m->cpu[0].run;
	unsigned int i;

	if (!run)
		return false;
	vmm_start_others(m);
	for (i = 0; i < 40; i++) {
		if (f.corrupt && !below(f.one_in)) {
			run->immediate_exit = below(2);
			run->request_interrupt_window = value();
			run->cr8 = value();
			run->kvm_valid_regs = below(2) ? value() : 7;
			run->kvm_dirty_regs = below(2) ? 0 : below(8);
			memset(&run->s, value(), below(sizeof(run->s.regs)));
		}
		if (ioctl(m->cpu[0].fd, KVM_RUN, 0)) {
			result(m, KVM_RUN, -1, errno);
			break;
		}
		f.calls++;
		if (vmm_exit(m) >= 0)
			break;
	}
	run->immediate_exit = 0;
	return true;
}

/* Any call at all, with what was saved before as its argument. */
static bool fuzz_any(struct vmm *m, uint64_t arg)
{
	static uint8_t from[1 << 16];
	unsigned long nr = numbers[below(sizeof(numbers) / sizeof(numbers[0]))];
	const int fds[] = { m->sys, m->vm, m->cpu[0].fd, m->cpu[1].fd };

	memcpy(from, below(2) ? (void *)&m->state : (void *)m->mem,
	       sizeof(from) < sizeof(m->state) ? sizeof(from) : 4096);
	if (_IOC_SIZE(nr))
		vmm_ioctl(m, fds[below(4)], nr, from, 16384);
	else
		vmm_ioctl(m, fds[below(4)], nr,
			  (void *)(uintptr_t)(below(2) ? below(4) : value() & 0xffff), 0);
	return true;
}

static const struct vmm_step extra[] = {
	{ fuzz_run, 0, "run" }, { fuzz_any, 0, "any" }, { fuzz_any, 0, "any" },
	CALL(line, 0), CALL(line, GUEST_IRQ),
	CALL(signal_msi, 0x35), CALL(nmi_blocked, 0), CALL(dirty_log, 0),
	CALL(memory, KVM_MEM_LOG_DIRTY_PAGES), CALL(enable, 1 << 16 | KVM_CAP_X86_USER_SPACE_MSR),
	CALL(enable, 3 << 16 | KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2),
	CALL(enable, 7 << 16 | KVM_CAP_X86_DISABLE_EXITS),
	CALL(enable, 1 << 16 | KVM_CAP_X86_TRIPLE_FAULT_EVENT), GET(FPU), SET(FPU), GET(SREGS2),
	SET(SREGS2), SET(LAPIC), SET(EVENTS), SET(MP_STATE), GET(NESTED), CALL(coalesce, 0),
};

static unsigned int add(struct record *list, unsigned int n, const struct vmm_step *s,
			unsigned int cpu)
{
	for (; s && s->call && n < MAX_RECORDS; s++)
		list[n++] = (struct record){ s, cpu };
	return n;
}

static unsigned int add_each(struct record *list, unsigned int n, const struct vmm_step *s)
{
	unsigned int cpu;

	for (cpu = 0; cpu < VMM_CPUS; cpu++)
		n = add(list, n, s, cpu);
	return n;
}

/* What a VMM does from its begin to its end: made, run, saved, restored, run. */
static unsigned int records(const struct vmm_kind *k, struct record *list)
{
	static const struct vmm_step go[] = { { fuzz_run, 0, "run" }, END_OF_STEPS };
	unsigned int n = add(list, 0, k->make, 0);

	n = add_each(list, n, k->cpu_make);
	n = add(list, n, k->devices, 0);
	n = add_each(list, n, k->cpu_boot);
	n = add(list, n, go, 0);
	n = add_each(list, n, k->pause);
	n = add_each(list, n, k->cpu_save);
	n = add(list, n, k->save, 0);
	n = add(list, n, k->restore, 0);
	n = add_each(list, n, k->cpu_restore);
	return add(list, n, go, 0);
}

/* Without these nothing else is reached: they are left alone, mostly. */
static bool precious(bool (*call)(struct vmm *m, uint64_t arg))
{
	return (call == vmm_open_device || call == vmm_create_vm || call == vmm_create_vcpu ||
		call == vmm_map_vcpu || call == vmm_ask_mmap_size || call == vmm_memory) &&
	       below(16);
}

static unsigned int permute(struct record *list, unsigned int n)
{
	unsigned int times = below(24), a, b;
	struct record t;

	while (times--) {
		a = below(n);
		b = below(4) ? a + below(8) : below(n);
		b = b < n ? b : n - 1;
		if (precious(list[a].step->call) || precious(list[b].step->call))
			continue;
		switch (below(4)) {
		case 0:		/* drop */
			memmove(list + a, list + a + 1, (--n - a) * sizeof(*list));
			break;
		case 1:		/* repeat */
			if (n == MAX_RECORDS)
				break;
			memmove(list + b + 1, list + b, (n++ - b) * sizeof(*list));
			list[b] = list[a];
			break;
		case 2:		/* change places */
			t = list[a];
			list[a] = list[b];
			list[b] = t;
			break;
		default:	/* something else in between */
			if (n == MAX_RECORDS)
				break;
			memmove(list + b + 1, list + b, (n++ - b) * sizeof(*list));
			list[b] = (struct record){
				&extra[below(sizeof(extra) / sizeof(extra[0]))], below(VMM_CPUS),
			};
		}
	}
	return n;
}

static void on_tick(int sig)
{
}

/* The child: one run. Its status: 0, or 1 with the finding on standard error. */
static int one_run(uint64_t seed)
{
	static struct record list[MAX_RECORDS];
	/* with a trace the guest shall get as far on a slow device */
	unsigned int often = f.trace ? 10 * TICK : TICK;
	struct itimerval tick = { { 0, often }, { 0, often } };
	struct sigaction act = { .sa_handler = on_tick };
	unsigned int i, n;
	struct vmm *m;

	f.random = f.seed = seed;
	f.bitmap = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	m = vmm_new(&vmm_kinds[below(vmm_nr_kinds)]);
	vmm_load_guest(m);
	/*
	 * QEMU dies of a write to CR8 that does not exit while a virtual interrupt waits:
	 * Documentation/emulator-bugs.md
	 */
	if (vm_host_is_tcg() && !strcmp(vm_device(), "/dev/kvm"))
		vmm_shared(m)->flags |= GUEST_NO_CR8;
	n = permute(list, records(m->kind, list));
	f.corrupt = below(4);
	f.one_in = 1 << (1 + below(6));
	m->mangle = mangle;
	m->result = result;
	sigaction(SIGALRM, &act, NULL);
	setitimer(ITIMER_REAL, &tick, NULL);
	for (i = 0; i < n && !f.finding[0]; i++) {
		m->cur = list[i].cpu;
		if (f.verbose)
			fprintf(stderr, "# %s: %s, CPU %u\n", m->kind->name, list[i].step->name,
				m->cur);
		snprintf(where->step, sizeof(where->step), "%s", list[i].step->name);
		where->cpu = m->cur;
		where->n = i;
		/* a step's chances are its own, whatever the steps before it met */
		f.random = seed + (i + 1) * 0xd1342543de82ef95ull;
		f.call = 0;
		m->mangle = precious(list[i].step->call) ? NULL : mangle;
		list[i].step->call(m, list[i].step->arg);
	}
	strcpy(where->step, "the end");
	/* else the kernel has to close all of it, in the order of the descriptors */
	if (below(2))
		vmm_free(m);
	if (f.finding[0])
		fprintf(stderr, "# %s\n", f.finding);
	return !!f.finding[0];
}

/* A VMM's own sequence, unchanged. */
static int control_run(void)
{
	struct vmm *m = vmm_new(&vmm_kinds[below(vmm_nr_kinds)]);
	int bad;

	vmm_load_guest(m);
	bad = !(vmm_do(m, m->kind->make) && vmm_each(m, m->kind->cpu_make) &&
		vmm_do(m, m->kind->devices) && vmm_each(m, m->kind->cpu_boot)) ||
	      vmm_run(m) != STOP_SNAPSHOT;
	if (bad)
		fprintf(stderr, "# %s's own sequence fails: %s\n", m->kind->name, m->why);
	vmm_free(m);
	return bad;
}

/* ---- the parent ---- */

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* How often the module is in use; -1: nobody tells. */
static long users(void)
{
	static const char *const names[] = { "wafer", "kvm_amd", "kvm_intel" };
	bool kvm = !strcmp(vm_device(), "/dev/kvm") &&
		   access("/sys/module/wafer/parameters/alias", F_OK);
	unsigned int i;
	char path[64];
	long n = -1;
	FILE *file;

	for (i = kvm; i < (kvm ? 3 : 1); i++) {
		snprintf(path, sizeof(path), "/sys/module/%s/refcnt", names[i]);
		file = fopen(path, "r");
		if (!file)
			continue;
		if (fscanf(file, "%ld", &n) != 1)
			n = -1;
		fclose(file);
	}
	return n;
}

/* KiB of kernel memory that nobody can take back. */
static long kernel_memory(void)
{
	FILE *file = fopen("/proc/meminfo", "r");
	long sum = 0, kib;
	char line[128];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "SUnreclaim: %ld", &kib) == 1 ||
		    sscanf(line, "VmallocUsed: %ld", &kib) == 1 ||
		    sscanf(line, "SecPageTables: %ld", &kib) == 1)
			sum += kib;
	if (file)
		fclose(file);
	return sum;
}

/* The log from now on; its complaints. */
static int log_fd = -1;

static bool log_complains(char *what, size_t size)
{
	static const char *const marks[] = {
		"WARNING:", "BUG:", "Oops", "general protection", "UBSAN:", "stack segment",
	};
	char line[1024];
	unsigned int i;
	ssize_t n;

	while (log_fd >= 0 &&
	       ((n = read(log_fd, line, sizeof(line) - 1)) > 0 || (n < 0 && errno == EPIPE))) {
		line[n > 0 ? n : 0] = 0;
		for (i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
			if (strstr(line, marks[i])) {
				snprintf(what, size, "the log: %.120s", strstr(line, marks[i]));
				what[strcspn(what, "\n")] = 0;
				return true;
			}
	}
	return false;
}

/* Where a child's threads are. */
static void tell_threads(pid_t pid)
{
	char command[200];

	snprintf(command, sizeof(command),
		 "for t in /proc/%d/task/*; do "
		 "echo $t $(cat $t/wchan $t/syscall $t/stack); grep State $t/status; "
		 "done 2>&1 | sed 's/^/# /'", pid);
	fflush(stdout);
	if (system(command))
		printf("# its threads cannot be told\n");
}

/* Waits for the child; what was wrong with its end. */
static bool ends_badly(pid_t pid, char *what, size_t size)
{
	double end = now() + PATIENCE;
	int status;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (now() > end) {
			tell_threads(pid);
			kill(pid, SIGKILL);
			for (end = now() + 10; waitpid(pid, &status, WNOHANG) == 0 && now() < end; )
				usleep(10000);
			snprintf(what, size,
				 "step %u, %s of CPU %u, ioctl %#lx, did not come back%s", where->n,
				 where->step, where->cpu, where->nr,
				 now() < end ? "" : ", SIGKILL does not help");
			return true;
		}
		usleep(500);
	}
	if (WIFSIGNALED(status))
		snprintf(what, size, "the child died of signal %d", WTERMSIG(status));
	else if (WEXITSTATUS(status))
		snprintf(what, size, "see above");
	else
		return false;
	return true;
}

static bool still_used(long before, char *what, size_t size)
{
	double end = now() + 10;

	while (users() > before) {
		if (now() > end) {
			snprintf(what, size, "the module is still used %ld times, %ld before",
				 users(), before);
			return true;
		}
		usleep(2000);
	}
	return false;
}

/* Runs a child; false and *what on a finding. */
static bool child(uint64_t seed, bool control, long used, char *what, size_t size)
{
	pid_t pid = fork();

	if (pid < 0) {
		snprintf(what, size, "fork: %s", strerror(errno));
		return false;
	}
	if (!pid) {
		f.random = seed;
		_exit(control ? control_run() : one_run(seed));
	}
	return !(ends_badly(pid, what, size) | log_complains(what, size)) &&
	       !still_used(used, what, size);
}

static int usage(int status)
{
	fprintf(status ? stderr : stdout,
		"usage: fuzz_ioctl [--seed N] [--time S | --runs N] [--trace FILE] | --replay N\n"
		"  --seed N    what the runs are made of (default: 1)\n"
		"  --time S    seconds (default: 10)\n"
		"  --runs N    as many runs, however long they take\n"
		"  --trace F   what each call gave, for fuzz_compare.sh\n"
		"  --replay N  one run, with all of its calls told\n"
		"WAFER_DEVICE names another device than /dev/wafer.\n");
	return status;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' }, { "time", required_argument, NULL, 't' },
		{ "replay", required_argument, NULL, 'r' },
		{ "runs", required_argument, NULL, 'n' },
		{ "trace", required_argument, NULL, 'f' }, { "help", no_argument, NULL, 'h' }, { }
	};
	unsigned long seed = 1, runs = 0, most = ~0ul;
	double seconds = 10, end;
	bool replay = false;
	uint64_t this = 0;
	char what[200];
	long used, memory = 0;
	int opt;

	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (opt == 's')
			seed = strtoul(optarg, NULL, 0);
		else if (opt == 't')
			seconds = strtod(optarg, NULL);
		else if (opt == 'n')
			most = strtoul(optarg, NULL, 0), seconds = 1e9;
		else if (opt == 'f' && (f.trace = fopen(optarg, "w")))
			setlinebuf(f.trace);
		else if (opt == 'r')
			replay = true, this = strtoul(optarg, NULL, 0);
		else
			return usage(opt == 'h' ? 0 : 2);
	}
	close(vm_sys());
	where = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (where == MAP_FAILED)
		return 1;
	printf("TAP version 13\n1..1\n");
	log_fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (log_fd >= 0)
		lseek(log_fd, 0, SEEK_END);
	used = users();
	f.verbose = replay;
	fflush(stdout);
	end = now() + seconds;
	do {
		if (!replay) {
			f.random = seed * 0x100000001b3ull + runs;
			this = next();
		}
		if (!child(this, false, used, what, sizeof(what))) {
			printf("not ok 1 run %lu: %s\n# again: WAFER_DEVICE=%s %s --replay %#llx\n",
			       runs, what, vm_device(), argv[0], (unsigned long long)this);
			return 1;
		}
		if (!(++runs % 50) && !child(this, true, used, what, sizeof(what))) {
			printf("not ok 1 control after run %lu: %s\n"
			       "# the 50 runs up to --replay %#llx\n",
			       runs, what, (unsigned long long)this);
			return 1;
		}
		if (runs == 20)
			memory = kernel_memory();
	} while (!replay && now() < end && runs < most);
	if (memory && kernel_memory() - memory > LEAK) {
		printf("not ok 1 %ld KiB of kernel memory did not come back in %lu runs\n"
		       "# again: %s --seed %lu --time %.0f\n",
		       kernel_memory() - memory, runs, argv[0], seed, seconds);
		return 1;
	}
	printf("ok 1 %lu runs, seed %lu\n", runs, seed);
	return 0;
}
