// SPDX-License-Identifier: GPL-2.0
/*
 * KVM_GET_STATS_FD: a descriptor from which counters are read, with a description of themselves.
 *
 * The file is: header, identification, descriptors, values. Counters are written by their owners
 * without a lock; a reader gets each one whole.
 */

#include "door.h"

#define NAME_SIZE	48
/* 7.2 counts a name of its own in */
#define DESC_SIZE	(offsetof(struct kvm_stats_desc, name) + NAME_SIZE)

/* @offset: of a u64 in struct wafer_vcpu or wafer_vm */
struct counter {
	const char *name;
	u32 flags, offset;
};

#define COUNTER	(KVM_STATS_TYPE_CUMULATIVE | KVM_STATS_UNIT_NONE | KVM_STATS_BASE_POW10)
#define INSTANT	(KVM_STATS_TYPE_INSTANT | KVM_STATS_UNIT_NONE | KVM_STATS_BASE_POW10)
#define COUNT(name, field) { name, COUNTER, offsetof(struct wafer_vcpu, field) }
#define EXITS(name, kind) COUNT(name "_exits", stat_exits[WAFER_EXIT_##kind])

static const struct counter vcpu_stats[] = {
	COUNT("exits_to_user", stat_user), COUNT("halts", stat_halts),
	COUNT("halt_wakeups", stat_halt_wakeups), COUNT("injected_events", stat_injected),
	COUNT("nested_faults", fault.stat_faults), COUNT("nested_faults_fast", fault.stat_fast),
	COUNT("nested_faults_mmio", fault.stat_mmio),
	EXITS("interrupt", EXTINT), EXITS("exception", EXCEPTION), EXITS("cpuid", CPUID),
	EXITS("hypercall", HYPERCALL), EXITS("halt", HLT), EXITS("pause", PAUSE),
	EXITS("rdmsr", RDMSR), EXITS("wrmsr", WRMSR), EXITS("io", IO), EXITS("fault", FAULT),
	EXITS("cr", CR), EXITS("dr", DR), EXITS("xsetbv", XSETBV), EXITS("wbinvd", WBINVD),
	EXITS("task_switch", TASK_SWITCH), EXITS("irq_window", IRQ_WINDOW),
	EXITS("nmi_window", NMI_WINDOW), EXITS("tpr", TPR), EXITS("step", STEP),
	EXITS("dirty_log", PML), EXITS("machine_check", MCE), EXITS("triple_fault", TRIPLE),
	EXITS("denied", DENIED), EXITS("unknown", UNKNOWN),
};

static const struct counter vm_stats[] = {
	{ "nested_table_pages", INSTANT, offsetof(struct wafer_vm, mmu.pages) },
};

static const struct file_operations vcpu_fops;

static ssize_t stats_read(struct file *file, char __user *buf, size_t size, loff_t *pos)
{
	struct wafer_vcpu *vcpu = file->f_op == &vcpu_fops ? file->private_data : NULL;
	u32 nr = vcpu ? ARRAY_SIZE(vcpu_stats) : ARRAY_SIZE(vm_stats);
	const struct counter *stats = vcpu ? vcpu_stats : vm_stats;
	struct kvm_stats_header *h;
	struct kvm_stats_desc *d;
	size_t total = sizeof(*h) + NAME_SIZE + nr * (DESC_SIZE + sizeof(u64));
	ssize_t r;
	u64 *data;

	h = kvzalloc(total, GFP_KERNEL_ACCOUNT);
	if (!h)
		return -ENOMEM;
	h->name_size = NAME_SIZE;
	h->num_desc = nr;
	h->id_offset = sizeof(*h);
	h->desc_offset = h->id_offset + NAME_SIZE;
	h->data_offset = h->desc_offset + nr * DESC_SIZE;
	snprintf((char *)(h + 1), NAME_SIZE, vcpu ? "kvm-wafer/vcpu-%u" : "kvm-wafer",
		 vcpu ? vcpu->id : 0);
	data = (void *)h + h->data_offset;
	for (unsigned int i = 0; i < nr; i++) {
		d = (void *)h + h->desc_offset + i * DESC_SIZE;
		d->flags = stats[i].flags;
		d->size = 1;
		d->offset = i * sizeof(u64);
		strscpy(d->name, stats[i].name, NAME_SIZE);
		data[i] = READ_ONCE(*(const u64 *)(file->private_data + stats[i].offset));
	}
	r = simple_read_from_buffer(buf, size, pos, h, total);
	kvfree(h);
	return r;
}

static const struct file_operations vcpu_fops = {
	.owner = THIS_MODULE, .llseek = noop_llseek,
	.read = stats_read, .release = wafer_vcpu_release,
};

static const struct file_operations vm_fops = {
	.owner = THIS_MODULE, .llseek = noop_llseek,
	.read = stats_read, .release = wafer_vm_release,
};

/* @vcpu: NULL: the VM's */
int wafer_stats_open(struct wafer_vm *vm, struct wafer_vcpu *vcpu)
{
	char name[NAME_SIZE] = "kvm-vm-stats";
	struct file *file;
	int fd;

	if (vcpu)
		snprintf(name, sizeof(name), "kvm-vcpu-stats:%u", vcpu->id);
	fd = vcpu ? wafer_new_file(name, &vcpu_fops, vcpu, &file) :
		    wafer_new_file(name, &vm_fops, vm, &file);
	if (fd < 0)
		return fd;
	wafer_vm_get(vm);
	file->f_mode |= FMODE_PREAD;
	fd_install(fd, file);
	return fd;
}
