// SPDX-License-Identifier: GPL-2.0
/*
 * Nested page faults: memory that has to be mapped, and devices whose access is emulated.
 *
 * An emulation may need the VMM several times (an access of 16 bytes, a read and then a write). It
 * is re-run from its start each time, with what was done before taken from its log, so that no
 * device is read or written twice.
 */
#include <linux/sched/signal.h>
#include <uapi/asm/debugreg.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "fetch.h"
#include "insn.h"
#include "kvm_abi.h"

static struct wafer_vcpu *emu_vcpu(struct wafer_emu *emu)
{
	return container_of(emu, struct wafer_vcpu, emu);
}

static const struct wafer_segment *emu_segment(struct wafer_emu *emu, enum wafer_seg_reg seg)
{
	return wafer_seg(emu_vcpu(emu), seg);
}

/*
 * An instruction with one operand in memory has just been translated by the CPU, with all its
 * checks: where the offsets in the page agree, the exit's guest-physical address is the one. Not if
 * the CPU has only read, be it that the code has been changed since: it has checked no right to
 * write.
 */
static int emu_translate(struct wafer_emu *emu, gva_t gva, u32 access, gpa_t *gpa)
{
	struct wafer_vcpu *vcpu = emu_vcpu(emu);
	const struct wafer_exit *exit = &vcpu->exit;

	if (vcpu->loaded && !((exit->fault.gpa ^ gva) & ~PAGE_MASK) &&
	    !(access & ~exit->fault.access & WAFER_FAULT_WRITE) &&
	    wafer_insn_one_access(&emu->insn)) {
		*gpa = exit->fault.gpa;
		return 0;
	}
	return wafer_translate(vcpu, gva, access, gpa, &emu->event);
}

/*
 * Is there memory that takes this kind of access? A slot does not go away under us: its removal
 * waits (mmu/slots.c).
 */
bool wafer_is_memory(struct wafer_vcpu *vcpu, gpa_t gpa, bool write)
{
	const struct wafer_slot *slot;
	bool is;

	rcu_read_lock();
	slot = wafer_slot_find(&vcpu->vm->mmu, gpa >> PAGE_SHIFT);
	is = slot && !(write && slot->flags & KVM_MEM_READONLY);
	rcu_read_unlock();
	return is;
}

/* Behind the page of a local APIC that is off nobody else is asked. */
static noinline int apic_access(struct wafer_vcpu *vcpu, gpa_t gpa, void *data, unsigned int len,
				bool write)
{
	return wafer_lapic_mmio(vcpu, gpa & ~PAGE_MASK, len, data, write, vcpu->loaded);
}

/* 0; 1: the VMM must do it; -EAGAIN: not in the window. */
static __always_inline int device_access(struct wafer_vcpu *vcpu, gpa_t gpa, void *data,
					 unsigned int len, bool write)
{
	int r;

	if (vcpu->lapic && !((gpa ^ vcpu->apic_base) & PAGE_MASK))
		r = apic_access(vcpu, gpa, data, len, write);
	else
		r = wafer_bus(vcpu, WAFER_BUS_MMIO, gpa, len, data, write);
	return r == -EOPNOTSUPP ? 1 : r;
}

static int emu_access(struct wafer_emu *emu, gpa_t gpa, void *data, unsigned int len, bool write)
{
	struct wafer_vcpu *vcpu = emu_vcpu(emu);

	if (gpa == WAFER_EMU_PORT)
		return wafer_emu_port(vcpu, data, len, write);
	if (wafer_is_memory(vcpu, gpa, write))
		return wafer_copy_guest(vcpu, gpa, data, len, write);
	return device_access(vcpu, gpa, data, len, write);
}

static int emu_cmpxchg(struct wafer_emu *emu, gpa_t gpa, void *old, const void *new,
		       unsigned int len)
{
	int r = 1;

	if (wafer_is_memory(emu_vcpu(emu), gpa, true))
		r = wafer_cmpxchg_guest(emu_vcpu(emu), gpa, old, new, len);
	return r == -EBUSY ? 0 : r;
}

static void emu_vec(struct wafer_emu *emu, unsigned int nr, void *data, unsigned int bytes,
		    bool write, bool zero_upper)
{
	if (bytes == 8)
		wafer_fpu_mmx(emu_vcpu(emu), nr, data, write);
	else
		wafer_fpu_vec(emu_vcpu(emu), nr, data, bytes, write, zero_upper);
}

/* LMSW cannot clear PE (SDM vol. 2, LMSW). */
static int emu_set_msw(struct wafer_emu *emu, u16 val)
{
	if (wafer_cpl(emu_vcpu(emu)))
		return wafer_raise(emu, X86_TRAP_GP);
	return wafer_set_cr0(emu_vcpu(emu), (emu->cr0 & ~0xeull) | (val & 0xf));
}

static const struct wafer_emu_ops emu_ops = {
	.segment = emu_segment, .translate = emu_translate, .access = emu_access,
	.cmpxchg = emu_cmpxchg, .vec = emu_vec, .load_segment = wafer_emu_load_segment,
	.set_msw = emu_set_msw,
};

static int run_emu(struct wafer_vcpu *vcpu);

/* The VMM has done the access that the log's last entry stands for. */
static int emu_complete(struct wafer_vcpu *vcpu)
{
	struct wafer_emu_access *a = &vcpu->emu.log[vcpu->emu.nr_log - 1];
	bool port = a->gpa == WAFER_EMU_PORT;

	if (port && !a->write && wafer_pio_store(vcpu))
		return WAFER_GO_ON;
	if (!a->write)
		memcpy(a->data, port ? vcpu->pio_data : (void *)vcpu->run->mmio.data, a->len);
	if (port)
		vcpu->pio.left = vcpu->pio.count - 1;	/* the rest of what INS asked for */
	/* Who only wants it completed is not asked for the next repetition. */
	vcpu->emu.stop = wafer_immediate_exit(vcpu->run) || signal_pending(current);
	return run_emu(vcpu);
}

static int mmio_to_user(struct wafer_vcpu *vcpu, gpa_t gpa, const void *data, u32 len, bool write,
			int (*complete)(struct wafer_vcpu *vcpu))
{
	struct kvm_run *run = vcpu->run;

	run->mmio.phys_addr = gpa;
	run->mmio.len = len;
	run->mmio.is_write = write;
	if (write)
		memcpy(run->mmio.data, data, len);
	vcpu->complete = complete;
	return wafer_to_user(vcpu, KVM_EXIT_MMIO);
}

static int emu_to_user(struct wafer_vcpu *vcpu)
{
	const struct wafer_emu_access *a = &vcpu->emu.log[vcpu->emu.nr_log - 1];

	if (a->gpa == WAFER_EMU_PORT)
		return wafer_pio_to_user(vcpu, emu_complete);
	return mmio_to_user(vcpu, a->gpa, a->data, a->len, a->write, emu_complete);
}

/*
 * Memory behind a slot that the VMM does not map: it is told the address (KVM_EXIT_MEMORY_FAULT).
 */
static int memory_fault(struct wafer_vcpu *vcpu, gpa_t gpa, int err)
{
	struct wafer_memory_fault f = { .gpa = gpa & PAGE_MASK, .size = PAGE_SIZE };

	memcpy(&vcpu->run->padding, &f, sizeof(f));
	wafer_to_user(vcpu, KVM_EXIT_MEMORY_FAULT);
	return err;
}

/* Runs or re-runs vcpu->emu. */
static int run_emu(struct wafer_vcpu *vcpu)
{
	struct wafer_emu *emu = &vcpu->emu;
	int r;

	do {				/* what INS was given must not get lost between batches */
		r = wafer_emulate(emu);
	} while (r == WAFER_EMU_AGAIN && vcpu->pio.left);
	if (r == WAFER_EMU_USER)
		return emu_to_user(vcpu);
	if (r == -EAGAIN) {
		/* Accesses that are done stay in the log: outside it goes on from there. */
		vcpu->emu_busy = true;
		return WAFER_RETRY_SLOW;
	}
	if (r == WAFER_EMU_UNKNOWN || (r < 0 && vcpu->exit.kind != WAFER_EXIT_FAULT))
		return wafer_emulation_failure(vcpu);
	if (r < 0)
		return memory_fault(vcpu, vcpu->exit.fault.gpa, -EFAULT);
	wafer_put_rip(vcpu, emu->rip);
	wafer_touch(vcpu, WAFER_G_RSP);
	if (emu->rflags != vcpu->arch.rflags)
		wafer_put_rflags(vcpu, emu->rflags);
	/* The trap of TF comes after each repetition (SDM vol. 3 §17.3.1.4). */
	if (r == WAFER_EMU_DONE || r == WAFER_EMU_AGAIN)
		wafer_retired(vcpu, emu->insn.opcode == 0x8e && emu->insn.reg == WAFER_SS ?
			      WAFER_BLOCK_MOVSS : 0);
	else if (r == WAFER_EMU_EVENT)
		wafer_queue_event(vcpu, &emu->event);
	return WAFER_GO_ON;
}

/* Sets vcpu->emu up for the instruction in emu.insn, and runs it. */
int wafer_emu_run(struct wafer_vcpu *vcpu)
{
	struct wafer_emu *emu = &vcpu->emu;

	wafer_need(vcpu, WAFER_G_RSP);
	emu->ops = &emu_ops;
	emu->gpr = vcpu->arch.gpr;
	emu->rip = wafer_rip(vcpu);
	emu->rflags = wafer_rflags(vcpu);
	emu->cr0 = wafer_cr0(vcpu);
	emu->va_bits = wafer_cr4(vcpu) & X86_CR4_LA57 ? 57 : 48;
	emu->real = !(emu->cr0 & X86_CR0_PE) || emu->rflags & X86_EFLAGS_VM;
	emu->nr_log = 0;
	emu->stop = false;
	emu->batch = 0;
	vcpu->pio.left = 0;
	return run_emu(vcpu);
}

/* ---- the plain MOV: the CPU has checked the address, and translated it ---- */

static void mov_loads(struct wafer_vcpu *vcpu, u64 val)
{
	const struct wafer_insn *insn = &vcpu->emu.insn;

	if (insn->op_size >= 4)		/* 32 bits clear the upper half */
		vcpu->arch.gpr[insn->reg] = val;
	else
		wafer_put_gpr(&vcpu->emu, insn->reg, insn->op_size, val);
	if (insn->reg == WAFER_RSP)
		wafer_touch(vcpu, WAFER_G_RSP);
}

static int complete_load(struct wafer_vcpu *vcpu)
{
	u64 val = 0;

	memcpy(&val, vcpu->run->mmio.data, vcpu->emu.insn.size);
	mov_loads(vcpu, val);
	return wafer_skip(vcpu);
}

/* -EOPNOTSUPP: not so plain after all. */
static int plain_mov(struct wafer_vcpu *vcpu, gpa_t gpa)
{
	struct wafer_emu *emu = &vcpu->emu;
	const struct wafer_insn *insn = &emu->insn;
	bool write = insn->plain != WAFER_PLAIN_LOAD;
	u64 val = write ? insn->imm : 0;
	int r;

	emu->gpr = vcpu->arch.gpr;
	emu->rip = vcpu->arch.rip;
	/* Not over two pages, nor if the code has been changed since. */
	if (((wafer_effective_address(emu) ^ gpa) & ~PAGE_MASK) ||
	    (gpa & ~PAGE_MASK) + insn->size > PAGE_SIZE ||
	    write != !!(vcpu->exit.fault.access & WAFER_FAULT_WRITE))
		return -EOPNOTSUPP;
	if (insn->plain == WAFER_PLAIN_STORE)
		val = insn->size > 1 ? emu->gpr[insn->reg] : wafer_get_gpr(emu, insn->reg, 1);
	vcpu->exit.len = insn->len;
	r = device_access(vcpu, gpa, &val, insn->size, write);
	if (likely(!r)) {
		if (!write)
			mov_loads(vcpu, val);
		return wafer_skip(vcpu);
	}
	if (r != 1)
		return -EOPNOTSUPP;
	/* A store is over when the VMM is told of it, as in KVM: it may never come back. */
	if (write)
		wafer_skip(vcpu);
	return mmio_to_user(vcpu, gpa, &val, insn->size, write, write ? NULL : complete_load);
}

static int emulate_access(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	struct wafer_insn *insn = &vcpu->emu.insn;
	int r = WAFER_DECODED;

	wafer_need(vcpu, WAFER_ACCESS_GROUPS);

	/*
	 * The CPU was pushing an event's frame or reading a descriptor: there is no instruction to
	 * emulate.
	 */
	if (vcpu->reinject.kind != WAFER_EV_NONE) {
		u64 data[5] = { vcpu->reinject.vector, exit->reason, exit->info, exit->fault.gpa,
				raw_smp_processor_id() };

		return wafer_internal_error(vcpu, KVM_INTERNAL_ERROR_DELIVERY_EV, data, 5);
	}
	/* From the CPU's own copy where it gives one. */
	if (!exit->fault.nr_bytes ||
	    wafer_insn_decode(insn, exit->fault.bytes, exit->fault.nr_bytes, wafer_code_mode(vcpu)))
		r = wafer_decode_exit(vcpu);
	if (r != WAFER_DECODED)
		return r;
	/*
	 * It was not port I/O that came here: changed under us. The CPU has to look at the
	 * permissions.
	 */
	if (wafer_insn_uses(insn, WAFER_AT_PORT, WAFER_AT_PORT))
		return WAFER_GO_ON;
	if (window && insn->plain) {
		r = plain_mov(vcpu, exit->fault.gpa);
		if (r != -EOPNOTSUPP)
			return r;
	}
	/* In the window the vector registers are in the CPU, not in the area. */
	if (window && wafer_insn_uses(insn, WAFER_AT_VEC, WAFER_AT_MMX))
		return WAFER_RETRY_SLOW;
	return wafer_emu_run(vcpu);
}

int wafer_exit_fault(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	int r;

	if (vcpu->emu_busy && !window) {
		vcpu->emu_busy = false;
		return run_emu(vcpu);
	}
	r = window ? wafer_mmu_fault_fast(&vcpu->fault, exit->fault.gpa, exit->fault.access) :
		     wafer_mmu_fault(&vcpu->fault, exit->fault.gpa, exit->fault.access);
	switch (r) {
	case WAFER_FAULT_FIXED:
		return WAFER_GO_ON;
	case WAFER_FAULT_SLOW:
		return WAFER_RETRY_SLOW;
	case WAFER_FAULT_MMIO:
		if (!(exit->fault.access & (WAFER_FAULT_GUEST_PT | WAFER_FAULT_FETCH)))
			return emulate_access(vcpu, exit, window);
		/*
		 * The guest's own tables, or its code, lie where a device or nothing is: hopeless.
		 */
		vcpu->emu.insn.len = 0;
		return wafer_emulation_failure(vcpu);
	case -EFAULT:
	case -EHWPOISON:
		return memory_fault(vcpu, exit->fault.gpa, r);
	}
	return r;
}
