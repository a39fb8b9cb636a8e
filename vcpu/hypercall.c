// SPDX-License-Identifier: GPL-2.0
/*
 * Paravirtual calls, by VMCALL on either vendor's CPU and by VMMCALL likewise; and AMD's SYSCALL on
 * Intel's.
 */
#include "core.h"

/*
 * One message to many: bit i of the bitmap in RBX and RCX, @half bits each, stands for the APIC id
 * in RDX + i. RSI is as the lower half of an ICR. How many took it
 */
static noinline long send_ipis(struct wafer_vcpu *vcpu, unsigned int half)
{
	const u64 *gpr = vcpu->arch.gpr;
	u64 icr = gpr[WAFER_RSI], id = (u32)gpr[WAFER_RDX];
	struct wafer_irq_msg msg = {
		.vector = icr, .mode = icr >> 8 & 7, .assert = true, .x2apic_dest = true,
	};
	long n = 0;

	if (!vcpu->lapic)	/* then no vCPU has one in the kernel */
		return -KVM_EOPNOTSUPP;
	if (icr & 0xc0800)	/* shorthand, logical */
		return -KVM_EINVAL;
	for (unsigned int i = 0; i < 2 * half && id < U32_MAX; i++, id++) {
		msg.dest = id;
		if (gpr[i < half ? WAFER_RBX : WAFER_RCX] >> i % half & 1)
			n += max(wafer_deliver(vcpu->vm, NULL, &msg), 0);
	}
	return n;
}

/*
 * Guests that were told of no such feature still may not be refused what old KVM gave them, unless
 * the VMM says so.
 */
static bool offered(struct wafer_vcpu *vcpu, unsigned int feature)
{
	return !vcpu->vm->enforce_pv || vcpu->pv_features & BIT(feature);
}

/*
 * The ABI of KVM: number in RAX, arguments in RBX, RCX, RDX, RSI. -EAGAIN: not in the window
 */
static long call(struct wafer_vcpu *vcpu, u64 nr, u32 rcx, bool wide)
{
	const u64 *gpr = vcpu->arch.gpr;
	struct wafer_vcpu *target;

	if (vcpu->exit.code & WAFER_CODE_CPL)
		return -KVM_EPERM;
	switch (nr) {
	case KVM_HC_VAPIC_POLL_IRQ:
		return 0;
	case KVM_HC_KICK_CPU:		/* a CPU that waits in HLT for its lock is to go on */
		if (!offered(vcpu, KVM_FEATURE_PV_UNHALT))
			break;
		target = wafer_vcpu_by_id(vcpu->vm, rcx);
		if (target) {
			set_bit(WAFER_GOT_UNHALT, &target->init_sipi);
			wafer_vcpu_raise(target, WAFER_H_KICK);
		}
		return 0;
	case KVM_HC_CLOCK_PAIRING:
		return rcx != KVM_CLOCK_PAIRING_WALLCLOCK ? -KVM_EOPNOTSUPP :
		       wafer_pair_clocks(vcpu, wide ? gpr[WAFER_RBX] : (u32)gpr[WAFER_RBX]);
	case KVM_HC_SEND_IPI:
		if (!offered(vcpu, KVM_FEATURE_PV_SEND_IPI))
			break;
		return send_ipis(vcpu, wide ? 64 : 32);
	case KVM_HC_SCHED_YIELD:
		if (!offered(vcpu, KVM_FEATURE_PV_SCHED_YIELD))
			break;
		return 0;
	}
	return -KVM_ENOSYS;
}

int wafer_exit_hypercall(struct wafer_vcpu *vcpu, struct wafer_exit *exit, bool window)
{
	u64 *gpr = vcpu->arch.gpr;
	bool wide;
	long r;

	wafer_need(vcpu, WAFER_G_CODE | WAFER_G_EFER);
	wide = exit->code & WAFER_CODE_L && vcpu->arch.efer & WAFER_EFER_LMA;
	r = call(vcpu, wide ? gpr[WAFER_RAX] : (u32)gpr[WAFER_RAX], gpr[WAFER_RCX], wide);
	if (r == -EAGAIN)
		return WAFER_RETRY_SLOW;
	gpr[WAFER_RAX] = wide ? r : (u32)r;
	return wafer_skip(vcpu);
}

/*
 * Intel's CPUs know SYSCALL in 64-bit code only. A guest that was told it has AMD's gets it in
 * other code too (APM vol. 3, SYSCALL), if EFER.SCE is set.
 */
static bool is_amds_syscall(struct wafer_vcpu *vcpu)
{
	struct kvm_cpuid_entry2 buf;

	return vcpu->emu.insn.opcode == 0x105 && wafer_efer(vcpu) & WAFER_EFER_SCE &&
	       wafer_cr0(vcpu) & X86_CR0_PE && !(wafer_rflags(vcpu) & X86_EFLAGS_VM) &&
	       wafer_code_mode(vcpu) != WAFER_CODE64 &&
	       wafer_cpuid(vcpu, 0, 0, &buf)->ebx == 0x68747541;
}

static int amds_syscall(struct wafer_vcpu *vcpu)
{
	u64 flags = wafer_rflags(vcpu) & ~(u64)X86_EFLAGS_RF;
	u64 next = (u32)(wafer_rip(vcpu) + vcpu->emu.insn.len);
	bool wide = wafer_efer(vcpu) & WAFER_EFER_LMA;
	const u32 segs = WAFER_G_SEG(WAFER_CS) | WAFER_G_SEG(WAFER_SS);
	struct wafer_arch *a = &vcpu->arch;
	u16 selector;

	wafer_need(vcpu, WAFER_G_SYSCALL | segs);
	selector = a->star >> 32 & 0xfffc;
	a->gpr[WAFER_RCX] = next;
	if (wide)
		a->gpr[WAFER_R11] = flags;
	wafer_put_rip(vcpu, wide ? a->cstar : (u32)a->star);
	wafer_put_rflags(vcpu, flags & ~(wide ? a->fmask : X86_EFLAGS_IF));
	a->seg[WAFER_CS] = (struct wafer_segment){
		.selector = selector, .limit = ~0u,
		.attr = 0xb | WAFER_SEG_S | WAFER_SEG_P | WAFER_SEG_G |
			(wide ? WAFER_SEG_L : WAFER_SEG_DB),
	};
	a->seg[WAFER_SS] = (struct wafer_segment){
		.selector = selector + 8, .limit = ~0u,
		.attr = 3 | WAFER_SEG_S | WAFER_SEG_P | WAFER_SEG_G | WAFER_SEG_DB,
	};
	wafer_touch(vcpu, segs);
	wafer_retired(vcpu, 0);		/* TF counts as it is now */
	return WAFER_GO_ON;
}

/**
 * wafer_foreign_hypercall() - the other vendor's hypercall instruction, or SYSCALL
 * @vcpu: vCPU that got #UD on it
 * @window: in the window
 *
 * With the quirk KVM_X86_QUIRK_FIX_HYPERCALL_INSN (on by default) the instruction is replaced in
 * the guest's memory by this CPU's and run again. SYSCALL is executed here. Anything else that gave
 * #UD gets it.
 */
int wafer_foreign_hypercall(struct wafer_vcpu *vcpu, bool window)
{
	const u8 vmcall = 0xc1, vmmcall = 0xd9;	/* each after 0F 01 */
	u8 native = wafer_backend->hypercall, foreign = native ^ vmcall ^ vmmcall;
	struct wafer_insn *insn = &vcpu->emu.insn;
	gva_t gva;
	gpa_t gpa;
	int r = wafer_decode_exit(vcpu);

	if (r != WAFER_DECODED)
		return r;
	if (is_amds_syscall(vcpu))
		return amds_syscall(vcpu);
	if (insn->opcode != 0x101 || insn->bytes[insn->len - 1] != foreign ||
	    vcpu->vm->quirks_disabled & KVM_X86_QUIRK_FIX_HYPERCALL_INSN)
		return wafer_queue_ud(vcpu);
	if (window)
		return WAFER_RETRY_SLOW;
	gva = wafer_rip(vcpu) + insn->len - 1;
	if (wafer_code_mode(vcpu) != WAFER_CODE64)
		gva = (u32)(gva + wafer_seg(vcpu, WAFER_CS)->base);
	/*
	 * The one byte in which the two differ, written as the CPU would write it: the guest may
	 * fault.
	 */
	r = wafer_translate(vcpu, gva, WAFER_FAULT_WRITE, &gpa, NULL);
	if (r < 0 || (!r && wafer_copy_guest(vcpu, gpa, &native, 1, true)))
		wafer_queue_ud(vcpu);
	return WAFER_GO_ON;
}
