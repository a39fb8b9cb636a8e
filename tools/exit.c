// SPDX-License-Identifier: GPL-2.0
/*
 * What a vCPU comes out of the guest for.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vm.h"

/* Newer than the headers of the oldest host that this is built on. */
#define EXIT_MEMORY_FAULT	39

struct memory_fault {
	uint64_t flags;
	uint64_t gpa;
	uint64_t size;
};

static void exit_io(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	unsigned int size = run->io.size;

	/* The count is of a string instruction: the same port again and again. */
	for (uint32_t i = 0; i < run->io.count; i++, data += size) {
		if (run->io.direction == KVM_EXIT_IO_OUT)
			bus_write(&vcpu->vm->ports, run->io.port, size, load_le(data, size));
		else
			store_le(data, size, bus_read(&vcpu->vm->ports, run->io.port, size));
	}
}

static void exit_mmio(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	unsigned int len = run->mmio.len;

	if (run->mmio.is_write)
		bus_write(&vcpu->vm->mmio, run->mmio.phys_addr, len,
			  load_le(run->mmio.data, len));
	else
		store_le(run->mmio.data, len, bus_read(&vcpu->vm->mmio, run->mmio.phys_addr, len));
}

static void exit_shutdown(struct vcpu *vcpu)
{
	/* Registers are not shown: AMD leaves them undefined after a shutdown. */
	vm_end(vcpu->vm, STATUS_CRASH, "the guest crashed: triple fault on vCPU %u", vcpu->id);
}

static void exit_system_event(struct vcpu *vcpu)
{
	switch (vcpu->run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		vm_end(vcpu->vm, STATUS_OK, NULL);
		break;
	case KVM_SYSTEM_EVENT_RESET:
		vm_end(vcpu->vm, STATUS_RESET, "the guest asked to be reset");
		break;
	default:
		vm_end(vcpu->vm, STATUS_CRASH, "the guest reports that it crashed");
	}
}

static void exit_internal_error(struct vcpu *vcpu)
{
	static const char * const names[] = {
		[KVM_INTERNAL_ERROR_EMULATION] = "an instruction it cannot emulate",
		[KVM_INTERNAL_ERROR_SIMUL_EX] = "simultaneous exceptions",
		[KVM_INTERNAL_ERROR_DELIVERY_EV] = "an exit while delivering an event",
		[KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON] = "an unexpected exit reason",
	};
	struct kvm_run *run = vcpu->run;
	uint32_t sub = run->internal.suberror;
	char more[200] = "";
	int len = 0;

	if (sub == KVM_INTERNAL_ERROR_EMULATION && run->emulation_failure.ndata >= 3 &&
	    (run->emulation_failure.flags &
	     KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES)) {
		len = snprintf(more, sizeof(more), ", bytes");
		for (int i = 0; i < run->emulation_failure.insn_size && i < 15; i++)
			len += snprintf(more + len, sizeof(more) - len, " %02x",
					run->emulation_failure.insn_bytes[i]);
	} else if (run->internal.ndata) {
		len = snprintf(more, sizeof(more), ", data");
		for (uint32_t i = 0; i < run->internal.ndata && i < 8; i++)
			len += snprintf(more + len, sizeof(more) - len, " %llx",
					(unsigned long long)run->internal.data[i]);
	}
	if (vm_end(vcpu->vm, STATUS_INTERNAL,
		   "the hypervisor gave up on vCPU %u: %s (suberror %u%s)", vcpu->id,
		   sub < ARRAY_SIZE(names) && names[sub] ? names[sub] : "internal error",
		   sub, more))
		vcpu_dump(vcpu);
}

static void exit_fail_entry(struct vcpu *vcpu)
{
	uint64_t reason = vcpu->run->fail_entry.hardware_entry_failure_reason;

	if (vm_end(vcpu->vm, STATUS_ENTRY,
		   "the CPU refused to enter the guest on vCPU %u: reason 0x%llx", vcpu->id,
		   (unsigned long long)reason))
		vcpu_dump(vcpu);
}

static void exit_ignore(struct vcpu *vcpu)
{
	(void)vcpu;
}

static void (* const exits[])(struct vcpu *vcpu) = {
	[KVM_EXIT_IO] = exit_io,
	[KVM_EXIT_MMIO] = exit_mmio,
	[KVM_EXIT_INTR] = exit_ignore,
	[KVM_EXIT_SHUTDOWN] = exit_shutdown,
	[KVM_EXIT_FAIL_ENTRY] = exit_fail_entry,
	[KVM_EXIT_INTERNAL_ERROR] = exit_internal_error,
	[KVM_EXIT_SYSTEM_EVENT] = exit_system_event,
};

void vcpu_handle_exit(struct vcpu *vcpu)
{
	uint32_t reason = vcpu->run->exit_reason;

	if (reason < ARRAY_SIZE(exits) && exits[reason])
		exits[reason](vcpu);
	else if (vm_end(vcpu->vm, STATUS_UNKNOWN,
			"vCPU %u left the guest for an unknown reason: %u", vcpu->id, reason))
		vcpu_dump(vcpu);
}

void vcpu_run_failed(struct vcpu *vcpu, int err)
{
	struct memory_fault fault;
	bool first;

	if (err == EFAULT && vcpu->run->exit_reason == EXIT_MEMORY_FAULT) {
		memcpy(&fault, vcpu->run->padding, sizeof(fault));
		first = vm_end(vcpu->vm, STATUS_HOST,
			       "vCPU %u used memory that the host took away: 0x%llx (0x%llx bytes)",
			       vcpu->id, (unsigned long long)fault.gpa,
			       (unsigned long long)fault.size);
	} else {
		first = vm_end(vcpu->vm, STATUS_HOST, "KVM_RUN failed on vCPU %u: %s", vcpu->id,
			       strerror(err));
	}
	if (first)
		vcpu_dump(vcpu);
}

static void dump_segment(const char *name, const struct kvm_segment *s)
{
	say_raw("%-4s %04x base %016llx limit %08x type %x%s%s%s dpl %u\n", name, s->selector,
		(unsigned long long)s->base, s->limit, s->type, s->present ? "" : " absent",
		s->l ? " 64" : s->db ? " 32" : " 16", s->unusable ? " unusable" : "", s->dpl);
}

void vcpu_dump(struct vcpu *vcpu)
{
	struct kvm_regs r;
	struct kvm_sregs s;

	if (ioctl(vcpu->fd, KVM_GET_REGS, &r) < 0 || ioctl(vcpu->fd, KVM_GET_SREGS, &s) < 0)
		return;
#define X(v) ((unsigned long long)(v))
	say_raw("rip  %016llx rflags %08llx\n", X(r.rip), X(r.rflags));
	say_raw("rax  %016llx rbx %016llx rcx %016llx\n", X(r.rax), X(r.rbx), X(r.rcx));
	say_raw("rdx  %016llx rsi %016llx rdi %016llx\n", X(r.rdx), X(r.rsi), X(r.rdi));
	say_raw("rbp  %016llx rsp %016llx r8  %016llx\n", X(r.rbp), X(r.rsp), X(r.r8));
	say_raw("r9   %016llx r10 %016llx r11 %016llx\n", X(r.r9), X(r.r10), X(r.r11));
	say_raw("r12  %016llx r13 %016llx r14 %016llx\n", X(r.r12), X(r.r13), X(r.r14));
	say_raw("r15  %016llx\n", X(r.r15));
	say_raw("cr0  %016llx cr2 %016llx cr3 %016llx\n", X(s.cr0), X(s.cr2), X(s.cr3));
	say_raw("cr4  %016llx cr8 %llx efer %llx apic_base %llx\n", X(s.cr4), X(s.cr8), X(s.efer),
		X(s.apic_base));
#undef X
	dump_segment("cs", &s.cs);
	dump_segment("ss", &s.ss);
	dump_segment("ds", &s.ds);
	dump_segment("es", &s.es);
	dump_segment("fs", &s.fs);
	dump_segment("gs", &s.gs);
	dump_segment("tr", &s.tr);
	dump_segment("ldt", &s.ldt);
	say_raw("gdt  base %016llx limit %04x   idt base %016llx limit %04x\n",
		(unsigned long long)s.gdt.base, s.gdt.limit,
		(unsigned long long)s.idt.base, s.idt.limit);
}
