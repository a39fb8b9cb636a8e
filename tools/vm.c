// SPDX-License-Identifier: GPL-2.0
/*
 * Opens the hypervisor's device and makes a VM with its interrupt controllers.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vm.h"

static const struct {
	long cap;
	const char *name;
} needed[] = {
	{ KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY" },
	{ KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP" },
	{ KVM_CAP_PIT2, "KVM_CAP_PIT2" },
	{ KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING" },
	{ KVM_CAP_IRQFD, "KVM_CAP_IRQFD" },
	{ KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD" },
	{ KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID" },
	{ KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT" },
};

int vm_cap(struct vm *vm, long cap)
{
	int value = ioctl(vm->fd >= 0 ? vm->fd : vm->dev_fd, KVM_CHECK_EXTENSION, cap);

	return value < 0 ? 0 : value;
}

/* A device that somebody names and that is not one is his mistake; the default's absence is not. */
void vm_open(struct vm *vm, const char *path, bool path_given)
{
	int status = path_given ? STATUS_USAGE : STATUS_HOST;
	int version;

	vm->fd = -1;
	vm->dev_fd = open(path, O_RDWR | O_CLOEXEC);
	if (vm->dev_fd < 0)
		die(status, "%s: %s ('wafer check' tells what is missing)", path, strerror(errno));
	version = ioctl(vm->dev_fd, KVM_GET_API_VERSION, 0);
	if (version < 0)
		die(status, "%s: not a hypervisor's device", path);
	if (version != KVM_API_VERSION)
		die(status, "%s: speaks API version %d, not %d", path, version, KVM_API_VERSION);
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		if (!vm_cap(vm, needed[i].cap))
			die(STATUS_HOST, "%s: lacks %s", path, needed[i].name);
	}
}

/*
 * As a PC's firmware leaves them, and Linux's 16-bit start, which is passed over here. The ACPI
 * tables tell of no PIC: to a guest that listens to LINT0 all the same ("noapic") each line would
 * be an exception, the vectors being 0 to 15.
 */
static void mask_pics(struct vm *vm)
{
	struct kvm_irqchip c;

	for (unsigned int i = KVM_IRQCHIP_PIC_MASTER; i <= KVM_IRQCHIP_PIC_SLAVE; i++) {
		c = (struct kvm_irqchip){ .chip_id = i };
		if (ioctl(vm->fd, KVM_GET_IRQCHIP, &c) < 0)
			die(STATUS_HOST, "cannot read the interrupt controllers: %s",
			    strerror(errno));
		c.chip.pic.imr = 0xff;
		if (ioctl(vm->fd, KVM_SET_IRQCHIP, &c) < 0)
			die(STATUS_HOST, "cannot set the interrupt controllers: %s",
			    strerror(errno));
	}
}

static void create_irqchip(struct vm *vm)
{
	/* The speaker's port gates PIT channel 2, by which guests calibrate. */
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };

	if (ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0) < 0)
		die(STATUS_HOST, "cannot create the interrupt controllers: %s", strerror(errno));
	mask_pics(vm);
	if (ioctl(vm->fd, KVM_CREATE_PIT2, &pit) < 0)
		die(STATUS_HOST, "cannot create the interval timer: %s", strerror(errno));
}

void vm_create(struct vm *vm, uint64_t memory, unsigned int cpus)
{
	uint64_t identity_map = KVM_IDENTITY_MAP;
	struct kvm_enable_cap x2apic = {
		.cap = KVM_CAP_X2APIC_API,
		.args[0] = KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK,
	};
	int max_cpus = vm_cap(vm, KVM_CAP_MAX_VCPUS);

	if (cpus > VM_MAX_CPUS || (max_cpus && cpus > (unsigned int)max_cpus))
		die(STATUS_USAGE, "--cpus: this host allows at most %d",
		    max_cpus && max_cpus < VM_MAX_CPUS ? max_cpus : VM_MAX_CPUS);

	do {
		vm->fd = ioctl(vm->dev_fd, KVM_CREATE_VM, 0);
	} while (vm->fd < 0 && errno == EINTR);
	if (vm->fd < 0)
		die(STATUS_HOST, "cannot create a VM: %s%s", strerror(errno),
		    errno == EBUSY ? " (another hypervisor has the CPU: see 'wafer check')" : "");

	vm->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vm->end_fd < 0)
		die(STATUS_HOST, "eventfd: %s", strerror(errno));

	/* Only CPUs without unrestricted guest need these, and they need them out of the way. */
	if (ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) < 0 ||
	    ioctl(vm->fd, KVM_SET_TSS_ADDR, KVM_TSS) < 0)
		die(STATUS_HOST, "cannot place the hypervisor's own pages: %s", strerror(errno));

	/* ID 255 means everybody in xAPIC mode; past it only 32-bit IDs do. */
	if (cpus > 255 && ioctl(vm->fd, KVM_ENABLE_CAP, &x2apic) < 0)
		die(STATUS_USAGE, "--cpus: more than 255 need KVM_CAP_X2APIC_API: %s",
		    strerror(errno));

	/* if any length will do, the hypervisor need not decode the guest's write */
	vm->notify_len = vm_cap(vm, KVM_CAP_IOEVENTFD_NO_LENGTH) ? 0 : sizeof(uint16_t);
	create_irqchip(vm);
	irq_setup(vm);
	ram_create(vm, memory);
	vm->nr_vcpus = cpus;
}

bool vm_end(struct vm *vm, int status, const char *fmt, ...)
{
	char why[256];
	va_list ap;

	atomic_store(&vm->stop, true);
	if (atomic_exchange(&vm->ending, true))
		return false;
	vm->status = status;
	if (fmt) {
		va_start(ap, fmt);
		vsnprintf(why, sizeof(why), fmt, ap);
		va_end(ap);
		say("%s", why);
	}
	/* the write is what publishes @status to the main loop */
	if (eventfd_write(vm->end_fd, 1) < 0)
		_exit(status);
	return true;
}

/* The kernel frees the rest when the process ends; a VM that others must not see goes now. */
void vm_destroy(struct vm *vm)
{
	for (unsigned int i = 0; i < vm->nr_vcpus; i++)
		close(vm->vcpus[i].fd);
	close(vm->fd);
	close(vm->dev_fd);
}
