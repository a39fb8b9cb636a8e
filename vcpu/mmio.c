// SPDX-License-Identifier: GPL-2.0
/*
 * Nested page faults: memory that has to be mapped, and devices whose access is emulated.
 *
 * An emulation may need the VMM several times (an access of 16 bytes, a read and then a write). It is re-run from
 * its start each time, with what was done before taken from its log, so that no device is read or written twice.
 */
#include <uapi/asm/debugreg.h>
#include <asm/processor-flags.h>

#include "core.h"
#include "insn.h"
#include "kvm_abi.h"

#define APIC_PAGE 0xfee00ull	/* gfn; KVM does not move it either, whatever IA32_APIC_BASE says */

static struct wafer_vcpu *emu_vcpu(struct wafer_emu *emu)
{
	return container_of(emu, struct wafer_vcpu, emu);
}

static const struct wafer_segment *emu_segment(struct wafer_emu *emu, enum wafer_seg_reg seg)
{
	return wafer_seg(emu_vcpu(emu), seg);
}

/*
 * An instruction with one operand in memory has just been translated by the CPU, with all its checks: where the offsets
 * in the page agree, the exit's guest-physical address is the one.
 */
static bool cpu_translated(const struct wafer_insn *insn)
{
	static const u32 several = BIT(WAFER_OP_STRING) | BIT(WAFER_OP_PUSH) | BIT(WAFER_OP_POP) | BIT(WAFER_OP_CALL);

	return insn->form && !(BIT(insn->form->op) & several);
}

static int emu_translate(struct wafer_emu *emu, gva_t gva, u32 access, gpa_t *gpa)
{
	struct wafer_vcpu *vcpu = emu_vcpu(emu);

	if (vcpu->loaded && !((vcpu->exit.fault.gpa ^ gva) & ~PAGE_MASK) && cpu_translated(&emu->insn)) {
		*gpa = vcpu->exit.fault.gpa;
		return 0;
	}
	return wafer_translate(vcpu, gva, access, gpa, vcpu->loaded, &emu->event);
}

/* Is there memory that takes this kind of access? A slot does not go away under us: its removal waits (mmu/slots.c). */
static bool is_memory(struct wafer_vcpu *vcpu, gpa_t gpa, bool write)
{
	const struct wafer_slot *slot;
	bool is;

	rcu_read_lock();
	slot = wafer_slot_find(&vcpu->vm->mmu, gpa >> PAGE_SHIFT);
	is = slot && !(write && slot->flags & KVM_MEM_READONLY);
	rcu_read_unlock();
	return is;
}

/* Devices in the kernel. 0, -EOPNOTSUPP: none; -EAGAIN: not in the window */
static int device_read(struct wafer_vcpu *vcpu, gpa_t gpa, void *data, unsigned int len)
{
	int r = -EOPNOTSUPP;

	if (vcpu->lapic && gpa >> PAGE_SHIFT == APIC_PAGE)
		r = wafer_lapic_mmio_read(vcpu, gpa & ~PAGE_MASK, len, data, vcpu->loaded);
	if (r == -EOPNOTSUPP)
		r = wafer_bus_read(vcpu, WAFER_BUS_MMIO, gpa, len, data, vcpu->loaded);
	return r;
}

static int device_write(struct wafer_vcpu *vcpu, gpa_t gpa, const void *data, unsigned int len)
{
	int r = -EOPNOTSUPP;

	if (vcpu->lapic && gpa >> PAGE_SHIFT == APIC_PAGE)
		r = wafer_lapic_mmio_write(vcpu, gpa & ~PAGE_MASK, len, data, vcpu->loaded);
	if (r == -EOPNOTSUPP)
		r = wafer_bus_write(vcpu, WAFER_BUS_MMIO, gpa, len, data, vcpu->loaded);
	return r;
}

static int emu_read(struct wafer_emu *emu, gpa_t gpa, void *data, unsigned int len)
{
	struct wafer_vcpu *vcpu = emu_vcpu(emu);
	int r;

	if (is_memory(vcpu, gpa, false))
		return vcpu->loaded ? wafer_guest_read_fast(&vcpu->fault, gpa, data, len) :
				      wafer_guest_read(&vcpu->vm->mmu, gpa, data, len);
	r = device_read(vcpu, gpa, data, len);
	return r == -EOPNOTSUPP ? 1 : r;
}

static int emu_write(struct wafer_emu *emu, gpa_t gpa, const void *data, unsigned int len)
{
	struct wafer_vcpu *vcpu = emu_vcpu(emu);
	int r;

	if (is_memory(vcpu, gpa, true))
		return vcpu->loaded ? wafer_guest_write_fast(&vcpu->fault, gpa, data, len) :
				      wafer_guest_write(&vcpu->vm->mmu, gpa, data, len);
	r = device_write(vcpu, gpa, data, len);
	return r == -EOPNOTSUPP ? 1 : r;
}

static int emu_cmpxchg(struct wafer_emu *emu, gpa_t gpa, void *old, const void *new, unsigned int len)
{
	struct wafer_vcpu *vcpu = emu_vcpu(emu);
	int r;

	if (!is_memory(vcpu, gpa, true))
		return 1;
	r = vcpu->loaded ? wafer_guest_cmpxchg_fast(&vcpu->fault, gpa, old, new, len) :
			   wafer_guest_cmpxchg(&vcpu->vm->mmu, gpa, old, new, len);
	return r == -EBUSY ? 0 : r;
}

static void emu_get_vec(struct wafer_emu *emu, unsigned int nr, void *data, unsigned int bytes)
{
	wafer_fpu_vec(emu_vcpu(emu), nr, data, bytes, false, false);
}

static void emu_set_vec(struct wafer_emu *emu, unsigned int nr, const void *data, unsigned int bytes, bool zero_upper)
{
	wafer_fpu_vec(emu_vcpu(emu), nr, (void *)data, bytes, true, zero_upper);
}

/* In the window the vector registers are in the CPU, not in the area: such instructions are left for outside. */
static const struct wafer_emu_ops window_ops = {
	.segment = emu_segment,
	.translate = emu_translate,
	.read = emu_read,
	.write = emu_write,
	.cmpxchg = emu_cmpxchg,
}, slow_ops = {
	.segment = emu_segment,
	.translate = emu_translate,
	.read = emu_read,
	.write = emu_write,
	.cmpxchg = emu_cmpxchg,
	.get_vec = emu_get_vec,
	.set_vec = emu_set_vec,
};

/* vcpu->emu for the instruction in emu.insn. */
void wafer_emu_setup(struct wafer_vcpu *vcpu, bool window)
{
	struct wafer_emu *emu = &vcpu->emu;

	wafer_need(vcpu, WAFER_G_RSP);
	emu->ops = window ? &window_ops : &slow_ops;
	emu->gpr = vcpu->arch.gpr;
	emu->rip = wafer_rip(vcpu);
	emu->rflags = wafer_rflags(vcpu);
	emu->va_bits = wafer_cr4(vcpu) & X86_CR4_LA57 ? 57 : 48;
	emu->real = !(wafer_cr0(vcpu) & X86_CR0_PE) || emu->rflags & X86_EFLAGS_VM;
	emu->nr_log = 0;
	emu->batch = 0;
}

static void write_back(struct wafer_vcpu *vcpu)
{
	struct wafer_emu *emu = &vcpu->emu;

	wafer_put_rip(vcpu, emu->rip);
	wafer_touch(vcpu, WAFER_G_RSP);
	if (emu->rflags != vcpu->arch.rflags)
		wafer_put_rflags(vcpu, emu->rflags);
}

static int mmio_run(struct wafer_vcpu *vcpu);

/* The VMM has done the access that the log's last entry stands for. */
static int mmio_complete(struct wafer_vcpu *vcpu)
{
	struct wafer_emu_access *a = &vcpu->emu.log[vcpu->emu.nr_log - 1];

	/* The VMM may have set the registers meanwhile: then the access is void. */
	if (wafer_rip(vcpu) != vcpu->emu.rip)
		return WAFER_GO_ON;
	if (!a->write)
		memcpy(a->data, vcpu->run->mmio.data, a->len);
	return mmio_run(vcpu);
}

static int mmio_to_user(struct wafer_vcpu *vcpu)
{
	const struct wafer_emu_access *a = &vcpu->emu.log[vcpu->emu.nr_log - 1];
	struct kvm_run *run = vcpu->run;

	run->exit_reason = KVM_EXIT_MMIO;
	run->mmio.phys_addr = a->gpa;
	run->mmio.len = a->len;
	run->mmio.is_write = a->write;
	if (a->write)
		memcpy(run->mmio.data, a->data, a->len);
	vcpu->complete = mmio_complete;
	return WAFER_TO_USER;
}

/* Memory behind a slot that the VMM does not map: it is told the address (KVM_EXIT_MEMORY_FAULT). */
static int memory_fault(struct wafer_vcpu *vcpu, gpa_t gpa, int err)
{
	struct wafer_memory_fault *f = (void *)&vcpu->run->padding;

	vcpu->run->exit_reason = KVM_EXIT_MEMORY_FAULT;
	f->flags = 0;
	f->gpa = gpa & PAGE_MASK;
	f->size = PAGE_SIZE;
	return err;
}

/* Runs or re-runs vcpu->emu. */
static int mmio_run(struct wafer_vcpu *vcpu)
{
	int r = wafer_emulate(&vcpu->emu);

	switch (r) {
	case WAFER_EMU_DONE:
		write_back(vcpu);
		wafer_retired(vcpu);
		return WAFER_GO_ON;
	case WAFER_EMU_AGAIN:
		write_back(vcpu);
		if (vcpu->emu.rflags & X86_EFLAGS_TF)
			wafer_queue_db(vcpu, DR_STEP);	/* after each repetition (SDM vol. 3 §17.3.1.4) */
		return WAFER_GO_ON;
	case WAFER_EMU_RETRY:
		return WAFER_GO_ON;
	case WAFER_EMU_USER:
		return mmio_to_user(vcpu);
	case WAFER_EMU_EVENT:
		write_back(vcpu);
		wafer_queue_event(vcpu, &vcpu->emu.event);
		return WAFER_GO_ON;
	case WAFER_EMU_UNKNOWN:
		return vcpu->loaded ? WAFER_RETRY_SLOW : wafer_emulation_failure(vcpu);
	case -EAGAIN:
		/* Accesses that are done stay in the log: outside it goes on from there. */
		vcpu->emu_busy = true;
		return WAFER_RETRY_SLOW;
	}
	return memory_fault(vcpu, vcpu->exit.fault.gpa, -EFAULT);
}

/* Have the instruction that faulted in emu.insn: from the CPU's own copy where it gives one. */
static int fetch(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window, bool *fetched)
{
	struct wafer_insn *insn = &vcpu->emu.insn;

	*fetched = exit->fault.nr_bytes &&
		   !wafer_insn_decode(insn, exit->fault.bytes, exit->fault.nr_bytes, wafer_code_mode(vcpu));
	if (*fetched)
		return WAFER_GO_ON;
	return wafer_decode_exit(vcpu, window, fetched);
}

static int emulate_access(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	bool fetched;
	int r;

	if (vcpu->emu_busy) {
		vcpu->emu_busy = false;
		vcpu->emu.ops = &slow_ops;
		return mmio_run(vcpu);
	}
	/* The CPU was pushing an event's frame or reading a descriptor: there is no instruction to emulate. */
	if (vcpu->reinject.kind != WAFER_EV_NONE) {
		u64 data[4] = { vcpu->reinject.vector, exit->reason, exit->info, exit->fault.gpa };

		return wafer_internal_error(vcpu, KVM_INTERNAL_ERROR_DELIVERY_EV, data, 4);
	}
	r = fetch(vcpu, exit, window, &fetched);
	if (!fetched)
		return r;
	wafer_emu_setup(vcpu, window);
	return mmio_run(vcpu);
}

/* The guest's own tables, or its code, lie where a device or nothing is: what it does there cannot be emulated. */
static bool hopeless(const struct wafer_exit *exit)
{
	return exit->fault.access & (WAFER_FAULT_GUEST_PT | WAFER_FAULT_FETCH);
}

int wafer_exit_fault(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	int r;

	if (vcpu->emu_busy && !window)
		return emulate_access(vcpu, exit, window);
	if (window) {
		r = wafer_mmu_fault_fast(&vcpu->fault, exit->fault.gpa, exit->fault.access);
	} else {
		r = wafer_mmu_topup(&vcpu->fault);
		if (!r)
			r = wafer_mmu_fault(&vcpu->fault, exit->fault.gpa, exit->fault.access);
	}
	switch (r) {
	case WAFER_FAULT_FIXED:
		return WAFER_GO_ON;
	case WAFER_FAULT_SLOW:
		return WAFER_RETRY_SLOW;
	case WAFER_FAULT_MMIO:
		if (hopeless(exit)) {
			vcpu->emu.insn.len = 0;
			return wafer_emulation_failure(vcpu);
		}
		return emulate_access(vcpu, exit, window);
	case -EFAULT:
	case -EHWPOISON:
		return memory_fault(vcpu, exit->fault.gpa, r == -EHWPOISON ? -EHWPOISON : -EFAULT);
	}
	return r;
}
