// SPDX-License-Identifier: GPL-2.0
/*
 * IN, OUT, INS, OUTS: devices in the kernel first, then the VMM. The strings, which access memory,
 * are emulated.
 *
 * RIP moves when the exit is completed, not before: a VMM that saves the state at the exit and
 * restores it elsewhere has the instruction run again, as on KVM. OUT to port 0x7e is the exception
 * that QEMU relies on.
 */
#include <asm/processor-flags.h>

#include "core.h"
#include "insn.h"

/* To or from a device in the kernel. 0, -EOPNOTSUPP: none; -EAGAIN: not in the window */
static int device(struct wafer_vcpu *vcpu, void *data, bool in)
{
	const struct wafer_exit *exit = &vcpu->exit;

	return wafer_bus(vcpu, WAFER_BUS_PIO, exit->io.port, exit->io.size, data, !in);
}

static int to_user(struct wafer_vcpu *vcpu, u32 count, int (*complete)(struct wafer_vcpu *vcpu))
{
	const struct wafer_exit *exit = &vcpu->exit;
	struct kvm_run *run = vcpu->run;

	run->io.direction = exit->io.in ? KVM_EXIT_IO_IN : KVM_EXIT_IO_OUT;
	run->io.size = exit->io.size;
	run->io.port = exit->io.port;
	run->io.count = count;
	run->io.data_offset = PAGE_SIZE;
	/* What a VMM that knows no such port leaves, and the guest gets. */
	if (exit->io.in && count > 1)
		memset(vcpu->pio_data, 0, exit->io.size * count);
	else if (exit->io.in)
		*(u32 *)vcpu->pio_data = 0;
	vcpu->complete = complete;
	vcpu->pio.count = count;
	vcpu->emu.rip = wafer_rip(vcpu);
	return wafer_to_user(vcpu, KVM_EXIT_IO);
}

static void store_result(struct wafer_vcpu *vcpu, const void *data)
{
	u64 *rax = &vcpu->arch.gpr[WAFER_RAX];

	/* A 32-bit result clears the upper half, narrower ones leave it (SDM vol. 1 §3.4.1.1). */
	if (vcpu->exit.io.size == 4)
		*rax = *(const u32 *)data;
	else
		memcpy(rax, data, vcpu->exit.io.size);
}

static int complete_plain(struct wafer_vcpu *vcpu)
{
	if (vcpu->exit.io.in)
		store_result(vcpu, vcpu->pio_data);
	return wafer_skip(vcpu);
}

static int plain(struct wafer_vcpu *vcpu, const struct wafer_exit *exit)
{
	u32 val = vcpu->arch.gpr[WAFER_RAX];
	int r = device(vcpu, &val, exit->io.in);

	if (r == -EAGAIN)
		return WAFER_RETRY_SLOW;
	if (!r) {
		if (exit->io.in)
			store_result(vcpu, &val);
		return wafer_skip(vcpu);
	}
	if (exit->io.in)
		return to_user(vcpu, 1, complete_plain);
	memcpy(vcpu->pio_data, &val, exit->io.size);
	if (exit->io.port != 0x7e || vcpu->vm->quirks_disabled & KVM_X86_QUIRK_OUT_7E_INC_RIP)
		return to_user(vcpu, 1, complete_plain);
	wafer_skip(vcpu);
	return to_user(vcpu, 1, NULL);
}

/* ---- strings ---- */

/*
 * The executor's port: what the VMM has given for further elements of INS is taken before it is
 * asked again.
 */
int wafer_emu_port(struct wafer_vcpu *vcpu, void *data, unsigned int len, bool write)
{
	int r;

	if (vcpu->pio.left) {
		memcpy(data, vcpu->pio_data + (vcpu->pio.count - vcpu->pio.left--) * len, len);
		return 0;
	}
	r = device(vcpu, data, !write);
	if (r == -EOPNOTSUPP && write)
		memcpy(vcpu->pio_data, data, len);
	return r == -EOPNOTSUPP ? 1 : r;
}

/*
 * How many elements of INS go into one exit: what is left of the count, 1024 bytes at most and not
 * past the page, so that a fault does not come between. (Registers at the exit are those before the
 * batch.)
 */
int wafer_pio_to_user(struct wafer_vcpu *vcpu, int (*complete)(struct wafer_vcpu *vcpu))
{
	const struct wafer_insn *insn = &vcpu->emu.insn;
	u64 base = insn->mode == WAFER_CODE64 ? 0 : wafer_seg(vcpu, WAFER_ES)->base;
	unsigned int size = insn->op_size, offset = (base + vcpu->arch.gpr[WAFER_RDI]) & ~PAGE_MASK;
	u64 flags = vcpu->emu.rflags, n = 1;

	if (vcpu->exit.io.in && insn->rep && !(flags & X86_EFLAGS_TF)) {
		n = flags & X86_EFLAGS_DF ? offset / size + 1 : (PAGE_SIZE - offset) / size;
		n = min3(n, vcpu->arch.gpr[WAFER_RCX] & wafer_size_mask(insn->addr_size),
			 1024ull / size);
	}
	return to_user(vcpu, max(n, 1ull), complete);
}

/*
 * What the VMM has given for INS goes to memory in one piece. False: nothing is done, and the
 * executor does it element by element: downwards, to devices, where it faults.
 */
bool wafer_pio_store(struct wafer_vcpu *vcpu)
{
	struct wafer_emu *emu = &vcpu->emu;
	unsigned int asize = emu->insn.addr_size;
	unsigned int n = vcpu->pio.count, bytes = n * emu->insn.op_size;
	u64 rdi = emu->gpr[WAFER_RDI] & wafer_size_mask(asize);
	u64 rcx = emu->gpr[WAFER_RCX] & wafer_size_mask(asize);
	gva_t gva;
	gpa_t gpa;

	if (n < 2 || rcx < n || emu->rflags & X86_EFLAGS_DF ||
	    (rdi & ~PAGE_MASK) + bytes > PAGE_SIZE ||
	    wafer_emu_linear(emu, WAFER_ES, rdi, bytes, WAFER_FAULT_WRITE, &gva) ||
	    (gva & ~PAGE_MASK) + bytes > PAGE_SIZE ||
	    wafer_translate(vcpu, gva, WAFER_FAULT_WRITE, &gpa, &emu->event) ||
	    wafer_copy_guest(vcpu, gpa, vcpu->pio_data, bytes, true))
		return false;
	wafer_put_gpr(emu, WAFER_RDI, asize, rdi + bytes);
	wafer_put_gpr(emu, WAFER_RCX, asize, rcx - n);
	vcpu->exit.len = emu->insn.len;
	if (rcx == n)
		wafer_skip(vcpu);
	else	/* as between any two repetitions */
		wafer_put_rflags(vcpu, emu->rflags | X86_EFLAGS_RF);
	return true;
}

int wafer_exit_io(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	const struct wafer_insn *insn = &vcpu->emu.insn;
	int r;

	if (!exit->io.string)
		return plain(vcpu, exit);
	if (window)
		return WAFER_RETRY_SLOW;
	r = wafer_decode_exit(vcpu);
	if (r != WAFER_DECODED)
		return r;
	/* If it has been changed since, it is not what the CPU has permitted. */
	if (insn->op_size != exit->io.size || !insn->form ||
	    (exit->io.in ? insn->form->src : insn->form->dst) != WAFER_AT_PORT)
		return WAFER_GO_ON;
	return wafer_emu_run(vcpu);
}
