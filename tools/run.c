// SPDX-License-Identifier: GPL-2.0
/*
 * wafer run: reads the options, puts the machine together and runs it.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "acpi.h"
#include "boot.h"
#include "cmd.h"
#include "devices.h"
#include "loop.h"
#include "pci.h"
#include "platform.h"
#include "sandbox.h"
#include "serial.h"
#include "term.h"
#include "vm.h"

#define DEFAULT_MEMORY	(256 * MIB)
#define DEFAULT_APPEND	"console=ttyS0"

struct options {
	const char *kernel;
	const char *initrd;
	const char *append;
	const char *device;
	uint64_t memory;
	unsigned int cpus;
	bool no_sandbox;
	const char *disks[PCI_SLOTS];
	const char *nets[PCI_SLOTS];
	unsigned int nr_disks, nr_nets;
};

struct machine {
	struct vm vm;
	struct loop loop;
	struct serial serial;
	struct pci_bus pci;
	struct watch end;
};

/* For the signal handler; there is one machine. */
static struct machine machine;
static volatile sig_atomic_t end_signal, vcpus_gone;

enum {
	OPT_KERNEL = 256, OPT_INITRD, OPT_APPEND, OPT_CPUS, OPT_MEMORY, OPT_DISK, OPT_NET,
	OPT_DEVICE, OPT_NO_SANDBOX, OPT_HELP,
};

static const struct option long_options[] = {
	{ "kernel", required_argument, NULL, OPT_KERNEL },
	{ "initrd", required_argument, NULL, OPT_INITRD },
	{ "append", required_argument, NULL, OPT_APPEND },
	{ "cpus", required_argument, NULL, OPT_CPUS },
	{ "memory", required_argument, NULL, OPT_MEMORY },
	{ "disk", required_argument, NULL, OPT_DISK },
	{ "net", required_argument, NULL, OPT_NET },
	{ "device", required_argument, NULL, OPT_DEVICE },
	{ "no-sandbox", no_argument, NULL, OPT_NO_SANDBOX },
	{ "help", no_argument, NULL, OPT_HELP },
	{ }
};

static void usage(void)
{
	printf("usage: wafer run --kernel FILE [OPTION]...\n"
	       "\n"
	       "  --kernel FILE      bzImage or ELF kernel to boot\n"
	       "  --initrd FILE      initial file system\n"
	       "  --append STRING    kernel command line (default: " DEFAULT_APPEND ")\n"
	       "  --cpus N           number of CPUs (default: 1)\n"
	       "  --memory SIZE      memory, with K, M or G; MiB without (default: 256M)\n"
	       "  --disk FILE[,ro]   file or block device as a disk; may be repeated\n"
	       "  --net tap=NAME[,mac=ADDRESS]\n"
	       "                     network through a tap interface; may be repeated\n"
	       "  --device PATH      hypervisor's device (default: " DEFAULT_DEVICE ")\n"
	       "  --no-sandbox       keep all system calls, to find out what is wrong\n"
	       "\n"
	       "On a terminal, Ctrl-A x ends the guest and Ctrl-A h helps.\n"
	       "\n"
	       "Exit status: 0 the guest powered off, 1 host error, 2 bad argument, 3 guest\n"
	       "reset, 4 guest crash, 5 internal error of the hypervisor, 6 the CPU refused the\n"
	       "guest's state, 7 unknown exit, 8 left by Ctrl-A x, 128+N ended by signal N.\n");
}

static void parse_memory(struct options *o, const char *arg)
{
	if (!parse_size(arg, MIB, &o->memory))
		die(STATUS_USAGE, "--memory %s: not a size", arg);
	if (o->memory < 8 * MIB)
		die(STATUS_USAGE, "--memory %s: less than 8 MiB hold no kernel", arg);
	if (o->memory > 64 * 1024 * GIB)
		die(STATUS_USAGE, "--memory %s: no CPU addresses that much", arg);
	if (o->memory % (4 * KIB))
		die(STATUS_USAGE, "--memory %s: not a multiple of 4 KiB", arg);
}

static void add_device(const char **list, unsigned int *nr)
{
	if (*nr == PCI_SLOTS)
		die(STATUS_USAGE, "too many devices: the PCI bus has %d places", PCI_SLOTS);
	list[(*nr)++] = optarg;
}

static bool parse_option(struct options *o, int opt)
{
	switch (opt) {
	case OPT_KERNEL:
		o->kernel = optarg;
		return true;
	case OPT_INITRD:
		o->initrd = optarg;
		return true;
	case OPT_APPEND:
		o->append = optarg;
		return true;
	case OPT_CPUS:
		if (!parse_uint(optarg, VM_MAX_CPUS, &o->cpus) || !o->cpus)
			die(STATUS_USAGE, "--cpus %s: not a number from 1 to %d", optarg,
			    VM_MAX_CPUS);
		return true;
	case OPT_MEMORY:
		parse_memory(o, optarg);
		return true;
	case OPT_DISK:
		add_device(o->disks, &o->nr_disks);
		return true;
	case OPT_NET:
		add_device(o->nets, &o->nr_nets);
		return true;
	case OPT_DEVICE:
		o->device = optarg;
		return true;
	case OPT_NO_SANDBOX:
		o->no_sandbox = true;
		return true;
	default:
		return false;
	}
}

static void check_leftovers(int argc, char **argv)
{
	if (optind < argc)
		die(STATUS_USAGE, "run: '%s' is no option; 'wafer run --help' lists them",
		    argv[optind]);
}

static void on_end_signal(int sig)
{
	if (vm_end(&machine.vm, STATUS_SIGNAL + sig, NULL))
		end_signal = sig;
	/* the main thread itself may be waiting for a vCPU that waits for the terminal */
	if (!vcpus_gone)
		vcpus_kick(&machine.vm);
}

static void catch_signals(void)
{
	static const int ending[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	struct sigaction end = { .sa_handler = on_end_signal };
	struct sigaction ignore = { .sa_handler = SIG_IGN }, now;

	for (size_t i = 0; i < ARRAY_SIZE(ending); i++) {
		/* nohup's wish */
		if (sigaction(ending[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN)
			sigaction(ending[i], &end, NULL);
	}
	sigaction(SIGPIPE, &ignore, NULL);
	/* a disk's file that reaches a limit is an error of that disk */
	sigaction(SIGXFSZ, &ignore, NULL);
}

static void hold_signals(bool hold)
{
	sigset_t set;

	sigemptyset(&set);
	if (hold)
		sigfillset(&set);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
}

static void on_end(struct watch *w)
{
	(void)w;		/* stays readable; the loop looks at @ending */
}

static void build(struct machine *m, const struct options *o, struct kernel *kernel,
		  struct boot_file *initrd)
{
	struct vm *vm = &m->vm;
	struct boot_params_in boot = {
		.kernel = kernel,
		.initrd = initrd,
		.cmdline = o->append ? o->append : DEFAULT_APPEND,
	};

	vm_open(vm, o->device ? o->device : DEFAULT_DEVICE, o->device);
	vm_create(vm, o->memory, o->cpus);
	vm->sandbox = !o->no_sandbox;

	loop_init(&m->loop);
	m->end = (struct watch){ .fd = vm->end_fd, .ready = on_end };
	loop_add(&m->loop, &m->end);
	serial_setup(&m->serial, vm, &m->loop);
	platform_setup(vm);
	pci_setup(&m->pci, vm);
	rng_create(vm, &m->loop, &m->pci);
	for (unsigned int i = 0; i < o->nr_disks; i++)
		blk_create(vm, &m->loop, &m->pci, o->disks[i]);
	for (unsigned int i = 0; i < o->nr_nets; i++)
		net_create(vm, &m->loop, &m->pci, o->nets[i]);

	vcpus_create(vm);
	boot.rsdp = acpi_setup(vm);
	boot_setup(vm, &boot);
}

static int run(struct machine *m)
{
	struct vm *vm = &m->vm;

	if (vm->sandbox)
		sandbox_drop_privileges();
	vcpus_start(vm);
	catch_signals();
	term_setup();
	if (vm->sandbox)
		sandbox_main_thread();
	pthread_barrier_wait(&vm->start);

	serial_start_input(&m->serial);
	while (!atomic_load(&vm->ending))
		loop_turn(&m->loop);

	hold_signals(true);	/* their handler may no longer kick what is joined here */
	vcpus_kick(vm);
	vcpus_gone = vcpus_join(vm);
	term_restore();
	/* a thread that hangs has the lock; and whoever reads no more must not keep us for ever */
	if (vcpus_gone) {
		hold_signals(false);
		serial_flush(&m->serial);
	}
	if (end_signal)
		say("ended by signal %d", end_signal);
	return vm->status;
}

int cmd_run(int argc, char **argv)
{
	struct options o = { .memory = DEFAULT_MEMORY, .cpus = 1 };
	struct boot_file initrd;
	struct kernel kernel = { 0 };
	int opt;

	argv[0] = "wafer run";		/* getopt's messages begin with it */
	while ((opt = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
		if (opt == OPT_HELP || opt == 'h') {
			usage();
			return STATUS_OK;
		}
		if (!parse_option(&o, opt))
			return STATUS_USAGE;	/* getopt has said why */
	}
	check_leftovers(argc, argv);
	if (!o.kernel)
		die(STATUS_USAGE, "run: --kernel FILE is missing; 'wafer run --help' tells more");
	kernel_open(&kernel, o.kernel);
	if (o.initrd)
		boot_file_open(&initrd, "--initrd", o.initrd);

	build(&machine, &o, &kernel, o.initrd ? &initrd : NULL);
	return run(&machine);
}
