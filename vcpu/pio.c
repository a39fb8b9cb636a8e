// SPDX-License-Identifier: GPL-2.0
/*
 * IN, OUT, INS, OUTS: devices in the kernel first, then the VMM.
 *
 * RIP moves when the exit is completed, not before: a VMM that saves the state at the exit and restores it elsewhere has
 * the instruction run again, as on KVM. OUT to port 0x7e is the exception that QEMU relies on.
 */
#include <asm/processor-flags.h>

#include "core.h"

static u64 addr_mask(unsigned int size)
{
	return size == 8 ? ~0ull : size == 4 ? ~0u : 0xffff;
}

static void store_result(struct wafer_vcpu *vcpu, unsigned int size, const void *data)
{
	u64 *rax = &vcpu->arch.gpr[WAFER_RAX];

	/* A 32-bit result clears the upper half, narrower ones leave it (SDM vol. 1 §3.4.1.1). */
	if (size == 4)
		*rax = *(const u32 *)data;
	else
		memcpy(rax, data, size);
}

static int to_user(struct wafer_vcpu *vcpu, int (*complete)(struct wafer_vcpu *vcpu))
{
	struct kvm_run *run = vcpu->run;

	run->exit_reason = KVM_EXIT_IO;
	run->io.direction = vcpu->pio.in ? KVM_EXIT_IO_IN : KVM_EXIT_IO_OUT;
	run->io.size = vcpu->pio.size;
	run->io.port = vcpu->pio.port;
	run->io.count = vcpu->pio.count;
	run->io.data_offset = PAGE_SIZE;
	vcpu->complete = complete;
	vcpu->pio.rip = wafer_rip(vcpu);
	return WAFER_TO_USER;
}

/* The VMM may have set the registers at the exit: then there is nothing left to complete. */
static bool moved_on(struct wafer_vcpu *vcpu)
{
	return wafer_rip(vcpu) != vcpu->pio.rip;
}

static int complete_in(struct wafer_vcpu *vcpu)
{
	if (moved_on(vcpu))
		return WAFER_GO_ON;
	store_result(vcpu, vcpu->pio.size, vcpu->pio_data);
	return wafer_skip(vcpu);
}

static int complete_out(struct wafer_vcpu *vcpu)
{
	return moved_on(vcpu) ? WAFER_GO_ON : wafer_skip(vcpu);
}

static int complete_nothing(struct wafer_vcpu *vcpu)
{
	return WAFER_GO_ON;
}

static int plain(struct wafer_vcpu *vcpu, const struct wafer_exit *exit, bool window)
{
	unsigned int size = exit->io.size;
	u32 val = vcpu->arch.gpr[WAFER_RAX];
	int r;

	r = exit->io.in ? wafer_bus_read(vcpu, WAFER_BUS_PIO, exit->io.port, size, &val, window) :
			  wafer_bus_write(vcpu, WAFER_BUS_PIO, exit->io.port, size, &val, window);
	if (r == -EAGAIN)
		return WAFER_RETRY_SLOW;
	if (!r) {
		if (exit->io.in)
			store_result(vcpu, size, &val);
		return wafer_skip(vcpu);
	}
	vcpu->pio.count = 1;
	if (exit->io.in)
		return to_user(vcpu, complete_in);
	memcpy(vcpu->pio_data, &val, size);
	if (exit->io.port == 0x7e && !(vcpu->vm->quirks_disabled & KVM_X86_QUIRK_OUT_7E_INC_RIP)) {
		wafer_skip(vcpu);
		return to_user(vcpu, complete_nothing);
	}
	return to_user(vcpu, complete_out);
}

/* ---- strings ---- */

static u64 rep_count(struct wafer_vcpu *vcpu)
{
	const struct wafer_exit *exit = &vcpu->exit;

	return exit->io.rep ? vcpu->arch.gpr[WAFER_RCX] & addr_mask(exit->io.addr_size) : 1;
}

static void put_masked(u64 *reg, u64 val, unsigned int addr_size)
{
	u64 mask = addr_mask(addr_size);

	*reg = addr_size == 4 ? (u32)val : (*reg & ~mask) | (val & mask);
}

/* @n elements are done: registers move on; the instruction ends when the count is used up. */
static int advance(struct wafer_vcpu *vcpu, u64 n)
{
	const struct wafer_exit *exit = &vcpu->exit;
	u64 *index = &vcpu->arch.gpr[exit->io.in ? WAFER_RDI : WAFER_RSI];
	s64 step = wafer_rflags(vcpu) & X86_EFLAGS_DF ? -(s64)exit->io.size : exit->io.size;

	put_masked(index, *index + step * n, exit->io.addr_size);
	if (!exit->io.rep)
		return wafer_skip(vcpu);
	put_masked(&vcpu->arch.gpr[WAFER_RCX], rep_count(vcpu) - n, exit->io.addr_size);
	if (!rep_count(vcpu))
		return wafer_skip(vcpu);
	return WAFER_GO_ON;		/* the guest comes back for the rest; interrupts may come in between */
}

/* Copies @len bytes at linear @gva; across pages byte by byte. 0; 1: an event was queued; -errno */
static int copy_linear(struct wafer_vcpu *vcpu, gva_t gva, void *data, unsigned int len, bool write)
{
	struct wafer_mmu *mmu = &vcpu->vm->mmu;
	unsigned int n;
	gpa_t gpa;
	int r;

	for (; len; len -= n, gva += n, data += n) {
		n = min_t(unsigned int, len, PAGE_SIZE - (gva & ~PAGE_MASK));
		r = wafer_translate(vcpu, gva, write ? WAFER_FAULT_WRITE : WAFER_FAULT_READ, &gpa, false, NULL);
		if (r)
			return r;
		r = write ? wafer_guest_write(mmu, gpa, data, n) : wafer_guest_read(mmu, gpa, data, n);
		if (r)
			return r;
	}
	return 0;
}

/*
 * How many elements of INS go into one exit: what is left of the count, 1024 bytes at most and not past the page.
 * (Registers at the exit are those before the batch.)
 */
static u32 ins_batch(struct wafer_vcpu *vcpu, gva_t gva)
{
	unsigned int size = vcpu->exit.io.size, offset = gva & ~PAGE_MASK;
	u32 room = wafer_rflags(vcpu) & X86_EFLAGS_DF ? offset / size + 1 : (PAGE_SIZE - offset) / size;
	u64 n = min_t(u64, rep_count(vcpu), min_t(u32, 1024 / size, room));

	return max_t(u32, n, 1);
}

/*
 * The VMM has filled in the data. It may have changed RCX meanwhile (the userspace_io selftest does): no more is stored
 * than what is asked for now.
 */
static int complete_ins(struct wafer_vcpu *vcpu)
{
	unsigned int size = vcpu->pio.size;
	u32 n = min_t(u64, vcpu->pio.count, rep_count(vcpu)), i;
	s64 step = wafer_rflags(vcpu) & X86_EFLAGS_DF ? -(s64)size : size;
	int r;

	if (moved_on(vcpu))
		return WAFER_GO_ON;
	for (i = 0; i < n; i++) {
		r = copy_linear(vcpu, vcpu->pio.gva + i * step, vcpu->pio_data + i * size, size, true);
		if (r) {
			advance(vcpu, i);
			return r == 1 ? WAFER_GO_ON : wafer_emulation_failure(vcpu);
		}
	}
	return advance(vcpu, n);
}

static int complete_outs(struct wafer_vcpu *vcpu)
{
	return moved_on(vcpu) ? WAFER_GO_ON : advance(vcpu, 1);
}

/* Where the exit says neither address size nor segment, the instruction does. */
static int string_operands(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool *known)
{
	int r = WAFER_GO_ON;

	*known = exit->io.addr_size && (exit->io.in || exit->io.seg != 0xff);
	if (*known)
		return r;
	r = wafer_decode_exit(vcpu, false, known);
	if (*known) {
		exit->io.addr_size = vcpu->emu.insn.addr_size;
		exit->io.seg = exit->io.in ? WAFER_ES : vcpu->emu.insn.seg;
	}
	return r;
}

/* One element to or from a device in the kernel. 0, -EOPNOTSUPP, or 1 if an event was queued */
static int string_in_kernel(struct wafer_vcpu *vcpu, gva_t gva)
{
	unsigned int size = vcpu->pio.size;
	u32 val = 0;
	int r;

	if (!vcpu->pio.in) {
		r = copy_linear(vcpu, gva, &val, size, false);
		if (r)
			return r;
		memcpy(vcpu->pio_data, &val, size);
		return wafer_bus_write(vcpu, WAFER_BUS_PIO, vcpu->pio.port, size, &val, false);
	}
	r = wafer_bus_read(vcpu, WAFER_BUS_PIO, vcpu->pio.port, size, &val, false);
	return r ? r : copy_linear(vcpu, gva, &val, size, true);
}

static int string(struct wafer_vcpu *vcpu, struct wafer_exit *exit)
{
	u64 index;
	bool known;
	gva_t gva;
	gpa_t gpa;
	int r = string_operands(vcpu, exit, &known);

	if (!known)
		return r;
	if (!rep_count(vcpu))
		return wafer_skip(vcpu);
	index = vcpu->arch.gpr[exit->io.in ? WAFER_RDI : WAFER_RSI] & addr_mask(exit->io.addr_size);
	vcpu->emu.insn.mode = wafer_code_mode(vcpu);
	vcpu->emu.insn.len = 0;		/* the rest of it is of some other instruction */
	wafer_emu_setup(vcpu, false);
	if (wafer_emu_linear(&vcpu->emu, exit->io.in ? WAFER_ES : exit->io.seg, index, exit->io.size,
			     exit->io.in ? WAFER_FAULT_WRITE : WAFER_FAULT_READ, &gva)) {
		wafer_queue_event(vcpu, &vcpu->emu.event);
		return WAFER_GO_ON;
	}
	/* The memory side must be there before the device is touched. */
	r = wafer_translate(vcpu, gva, exit->io.in ? WAFER_FAULT_WRITE : WAFER_FAULT_READ, &gpa, false, NULL);
	if (r)
		return r == 1 ? WAFER_GO_ON : wafer_emulation_failure(vcpu);
	r = string_in_kernel(vcpu, gva);
	if (!r)
		return advance(vcpu, 1);
	if (r != -EOPNOTSUPP)
		return r == 1 ? WAFER_GO_ON : wafer_emulation_failure(vcpu);
	vcpu->pio.gva = gva;
	vcpu->pio.count = exit->io.in ? ins_batch(vcpu, gva) : 1;
	return to_user(vcpu, exit->io.in ? complete_ins : complete_outs);
}

int wafer_exit_io(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	vcpu->pio.port = exit->io.port;
	vcpu->pio.size = exit->io.size;
	vcpu->pio.in = exit->io.in;
	if (!exit->io.string)
		return plain(vcpu, exit, window);
	return window ? WAFER_RETRY_SLOW : string(vcpu, exit);
}
