// SPDX-License-Identifier: GPL-2.0
/*
 * KVM_GET_STATS_FD: a descriptor from which counters are read, with a description of themselves.
 *
 * The file is: header, identification, descriptors, values. Counters are written by their owners without a lock; a
 * reader gets each one whole.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kvm.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "door.h"
#include "vcpu.h"
#include "vm.h"

#define NAME_SIZE	48
#define ID_SIZE		NAME_SIZE
#define DESC_SIZE	(sizeof(struct kvm_stats_desc) + NAME_SIZE)

struct counter {
	char name[NAME_SIZE];
	u32 flags;
	u32 offset;		/* of a u64 in struct wafer_vcpu or wafer_vm */
};

#define COUNTER	(KVM_STATS_TYPE_CUMULATIVE | KVM_STATS_UNIT_NONE | KVM_STATS_BASE_POW10)
#define INSTANT	(KVM_STATS_TYPE_INSTANT | KVM_STATS_UNIT_NONE | KVM_STATS_BASE_POW10)
#define EXITS(name, kind) { name "_exits", COUNTER, offsetof(struct wafer_vcpu, stat_exits[kind]) }

static const struct counter vcpu_stats[] = {
	{ "exits_to_user", COUNTER, offsetof(struct wafer_vcpu, stat_user) },
	{ "halts", COUNTER, offsetof(struct wafer_vcpu, stat_halts) },
	{ "halt_wakeups", COUNTER, offsetof(struct wafer_vcpu, stat_halt_wakeups) },
	{ "injected_events", COUNTER, offsetof(struct wafer_vcpu, stat_injected) },
	{ "nested_faults", COUNTER, offsetof(struct wafer_vcpu, fault.stat_faults) },
	{ "nested_faults_fast", COUNTER, offsetof(struct wafer_vcpu, fault.stat_fast) },
	{ "nested_faults_mmio", COUNTER, offsetof(struct wafer_vcpu, fault.stat_mmio) },
	EXITS("interrupt", WAFER_EXIT_EXTINT),
	EXITS("exception", WAFER_EXIT_EXCEPTION),
	EXITS("cpuid", WAFER_EXIT_CPUID),
	EXITS("hypercall", WAFER_EXIT_HYPERCALL),
	EXITS("hlt", WAFER_EXIT_HLT),
	EXITS("pause", WAFER_EXIT_PAUSE),
	EXITS("rdmsr", WAFER_EXIT_RDMSR),
	EXITS("wrmsr", WAFER_EXIT_WRMSR),
	EXITS("io", WAFER_EXIT_IO),
	EXITS("fault", WAFER_EXIT_FAULT),
	EXITS("cr", WAFER_EXIT_CR),
	EXITS("dr", WAFER_EXIT_DR),
	EXITS("xsetbv", WAFER_EXIT_XSETBV),
	EXITS("wbinvd", WAFER_EXIT_WBINVD),
	EXITS("task_switch", WAFER_EXIT_TASK_SWITCH),
	EXITS("irq_window", WAFER_EXIT_IRQ_WINDOW),
	EXITS("nmi_window", WAFER_EXIT_NMI_WINDOW),
	EXITS("tpr", WAFER_EXIT_TPR),
	EXITS("step", WAFER_EXIT_STEP),
	EXITS("dirty_log", WAFER_EXIT_PML),
	EXITS("machine_check", WAFER_EXIT_MCE),
	EXITS("triple_fault", WAFER_EXIT_TRIPLE),
	EXITS("denied", WAFER_EXIT_DENIED),
	EXITS("unknown", WAFER_EXIT_UNKNOWN),
};

static const struct counter vm_stats[] = {
	{ "nested_table_pages", INSTANT, offsetof(struct wafer_vm, mmu.pages) },
};

static void put_header(struct kvm_stats_header *h, unsigned int nr)
{
	h->name_size = NAME_SIZE;
	h->num_desc = nr;
	h->id_offset = sizeof(*h);
	h->desc_offset = h->id_offset + ID_SIZE;
	h->data_offset = h->desc_offset + nr * DESC_SIZE;
}

static ssize_t read_stats(const char *id, const struct counter *stats, unsigned int nr, const void *obj,
			  char __user *buf, size_t size, loff_t *pos)
{
	size_t total = sizeof(struct kvm_stats_header) + ID_SIZE + nr * (DESC_SIZE + sizeof(u64));
	struct kvm_stats_header *h = kvzalloc(total, GFP_KERNEL_ACCOUNT);
	struct kvm_stats_desc *d;
	unsigned int i;
	ssize_t r;
	u64 *data;

	if (!h)
		return -ENOMEM;
	put_header(h, nr);
	strscpy((char *)h + h->id_offset, id, ID_SIZE);
	data = (void *)h + h->data_offset;
	for (i = 0; i < nr; i++) {
		d = (void *)h + h->desc_offset + i * DESC_SIZE;
		d->flags = stats[i].flags;
		d->size = 1;
		d->offset = i * sizeof(u64);
		strscpy(d->name, stats[i].name, NAME_SIZE);
		data[i] = READ_ONCE(*(const u64 *)(obj + stats[i].offset));
	}
	r = simple_read_from_buffer(buf, size, pos, h, total);
	kvfree(h);
	return r;
}

static ssize_t vcpu_stats_read(struct file *file, char __user *buf, size_t size, loff_t *pos)
{
	struct wafer_vcpu *vcpu = file->private_data;
	char id[ID_SIZE];

	snprintf(id, sizeof(id), "kvm-wafer/vcpu-%u", vcpu->id);
	return read_stats(id, vcpu_stats, ARRAY_SIZE(vcpu_stats), vcpu, buf, size, pos);
}

static ssize_t vm_stats_read(struct file *file, char __user *buf, size_t size, loff_t *pos)
{
	return read_stats("kvm-wafer", vm_stats, ARRAY_SIZE(vm_stats), file->private_data, buf, size, pos);
}

static int vcpu_stats_release(struct inode *inode, struct file *file)
{
	struct wafer_vcpu *vcpu = file->private_data;

	wafer_vm_put(vcpu->vm);
	return 0;
}

static int vm_stats_release(struct inode *inode, struct file *file)
{
	wafer_vm_put(file->private_data);
	return 0;
}

static const struct file_operations vcpu_stats_fops = {
	.owner = THIS_MODULE,
	.read = vcpu_stats_read,
	.release = vcpu_stats_release,
	.llseek = noop_llseek,
};

static const struct file_operations vm_stats_fops = {
	.owner = THIS_MODULE,
	.read = vm_stats_read,
	.release = vm_stats_release,
	.llseek = noop_llseek,
};

static int open_stats(const char *name, const struct file_operations *fops, void *obj, struct wafer_vm *vm)
{
	struct file *file;
	int fd = wafer_new_file(name, fops, obj, &file);

	if (fd < 0)
		return fd;
	wafer_vm_get(vm);
	file->f_mode |= FMODE_PREAD;
	fd_install(fd, file);
	return fd;
}

int wafer_vcpu_stats_open(struct wafer_vcpu *vcpu)
{
	return open_stats("wafer-vcpu-stats", &vcpu_stats_fops, vcpu, vcpu->vm);
}

int wafer_vm_stats_open(struct wafer_vm *vm)
{
	return open_stats("wafer-vm-stats", &vm_stats_fops, vm, vm);
}
