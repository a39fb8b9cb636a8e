// SPDX-License-Identifier: GPL-2.0
/*
 * When the CPU has refused an entry: find out what it did not like, so that the VMM is told a name
 * instead of a number.
 *
 * The core checks what can be set from outside before the entry (wafer_check_state()). What is
 * checked here is looked at only after a refusal and reads the VMCS itself: the checks of §27.3.1
 * that remain.
 */
#include <uapi/asm/debugreg.h>
#include <asm/processor-flags.h>

#include "vmx.h"

#define SHADOWS (GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS)

static bool canonical(u64 addr)
{
	return (u64)((s64)(addr << 7) >> 7) == addr;	/* 57 bits, the laxer rule */
}

static bool bad_cr0(void)
{
	u64 cr0 = vmread(GUEST_CR0);

	return cr0 >> 32 || (cr0 & X86_CR0_PG && !(cr0 & X86_CR0_PE)) ||
	       (cr0 & vmx_conf.cr0_fixed0) != vmx_conf.cr0_fixed0;
}

static bool bad_cr4(void)
{
	u64 cr4 = vmread(GUEST_CR4);

	return cr4 & ~wafer_caps.cr4_fixed1 || (cr4 & vmx_conf.cr4_fixed0) != vmx_conf.cr4_fixed0;
}

static bool bad_efer(void)
{
	u64 efer = vmread(GUEST_IA32_EFER), cr0 = vmread(GUEST_CR0);
	bool long_mode = vmread(VM_ENTRY_CONTROLS) & VM_ENTRY_IA32E_MODE;

	return !(efer & WAFER_EFER_LMA) != !long_mode ||
	       (cr0 & X86_CR0_PG && !(efer & WAFER_EFER_LMA) != !(efer & WAFER_EFER_LME)) ||
	       efer & ~(WAFER_EFER_SCE | WAFER_EFER_LME | WAFER_EFER_LMA | WAFER_EFER_NX);
}

static bool bad_long_mode(void)
{
	if (!(vmread(VM_ENTRY_CONTROLS) & VM_ENTRY_IA32E_MODE))
		return vmread(GUEST_CR4) & X86_CR4_PCIDE;
	return !(vmread(GUEST_CR0) & X86_CR0_PG) || !(vmread(GUEST_CR4) & X86_CR4_PAE);
}

static bool bad_pat(void)
{
	u64 pat = vmread(GUEST_IA32_PAT);
	int i;

	for (i = 0; i < 64; i += 8)
		if ((pat >> i & 0xff) > 7 || (pat >> i & 0xfe) == 2)
			return true;
	return false;
}

static bool bad_rflags(void)
{
	u64 flags = vmread(GUEST_RFLAGS);

	return flags & ~0x3f7fd7ull || !(flags & X86_EFLAGS_FIXED) ||
	       (flags & X86_EFLAGS_VM && (vmread(VM_ENTRY_CONTROLS) & VM_ENTRY_IA32E_MODE ||
					  !(vmread(GUEST_CR0) & X86_CR0_PE)));
}

static bool bad_bases(void)
{
	return !canonical(vmread(GUEST_FS_BASE)) || !canonical(vmread(GUEST_GS_BASE)) ||
	       !canonical(vmread(GUEST_TR_BASE)) || !canonical(vmread(GUEST_LDTR_BASE)) ||
	       !canonical(vmread(GUEST_GDTR_BASE)) || !canonical(vmread(GUEST_IDTR_BASE)) ||
	       !canonical(vmread(GUEST_SYSENTER_ESP)) || !canonical(vmread(GUEST_SYSENTER_EIP));
}

/*
 * §27.3.1.2: a busy TSS, present, not unusable.
 */
static bool bad_tr(void)
{
	u32 attr = vmread(GUEST_TR_AR_BYTES), type = attr & WAFER_SEG_TYPE;

	return attr & (WAFER_SEG_UNUSABLE | WAFER_SEG_S) || !(attr & WAFER_SEG_P) ||
	       (type != VMX_AR_TYPE_BUSY_64_TSS && type != VMX_AR_TYPE_BUSY_16_TSS);
}

static bool bad_granularity(u32 attr, u32 limit)
{
	return ((limit & 0xfff) != 0xfff && attr & WAFER_SEG_G) ||
	       (limit >> 20 && !(attr & WAFER_SEG_G));
}

static bool bad_segments(void)
{
	int i;

	for (i = WAFER_ES; i <= WAFER_TR; i++) {
		u32 attr = vmread_at(GUEST_ES_AR_BYTES, i);

		if (attr & WAFER_SEG_UNUSABLE && i != WAFER_CS)
			continue;
		if (attr & VMX_AR_RESERVD_MASK || !(attr & WAFER_SEG_P) ||
		    bad_granularity(attr, vmread_at(GUEST_ES_LIMIT, i)))
			return true;
		if (i < WAFER_LDTR && (!(attr & WAFER_SEG_S) || !(attr & 1)))
			return true;
	}
	return false;
}

static bool bad_shadow(void)
{
	u32 block = vmread(GUEST_INTERRUPTIBILITY_INFO);

	return (block & SHADOWS) == SHADOWS ||
	       (block & GUEST_INTR_STATE_STI && !(vmread(GUEST_RFLAGS) & X86_EFLAGS_IF));
}

static bool bad_event(void)
{
	u32 block = vmread(GUEST_INTERRUPTIBILITY_INFO), info = vmread(VM_ENTRY_INTR_INFO_FIELD);

	if (!(info & INTR_INFO_VALID_MASK))
		return false;
	switch (info & INTR_INFO_INTR_TYPE_MASK) {
	case INTR_TYPE_EXT_INTR:
		return block & SHADOWS || !(vmread(GUEST_RFLAGS) & X86_EFLAGS_IF);
	case INTR_TYPE_NMI_INTR:
		return block & (SHADOWS | GUEST_INTR_STATE_NMI) ||
		       (info & INTR_INFO_VECTOR_MASK) != 2;
	case INTR_TYPE_HARD_EXCEPTION:
		return (info & INTR_INFO_VECTOR_MASK) > 31;
	}
	return false;
}

static bool bad_pending_debug(void)
{
	bool want = vmread(GUEST_RFLAGS) & X86_EFLAGS_TF;

	return vmread(GUEST_INTERRUPTIBILITY_INFO) & SHADOWS &&
	       want != !!(vmread(GUEST_PENDING_DBG_EXCEPTIONS) & DR_STEP);
}

static const struct {
	const char *field;
	bool (*bad)(void);
} checks[] = {
	{ "cr0", bad_cr0 },
	{ "cr4", bad_cr4 },
	{ "efer", bad_efer },
	{ "cr0, cr4, efer: long mode", bad_long_mode },
	{ "pat", bad_pat },
	{ "rflags", bad_rflags },
	{ "segment, descriptor-table or SYSENTER base: not canonical", bad_bases },
	{ "tr", bad_tr },
	{ "segment attributes", bad_segments },
	{ "interrupt shadow", bad_shadow },
	{ "event to be injected", bad_event },
	{ "pending debug exceptions", bad_pending_debug },
};

static const char *find_guest_field(struct wafer_vcpu *vcpu)
{
	const char *field;
	int i;

	switch (vmread(EXIT_QUALIFICATION)) {	/* §27.8 */
	case ENTRY_FAIL_PDPTE:
		return "pdptr";
	case ENTRY_FAIL_NMI:
		return "NMI in the shadow of STI";
	case ENTRY_FAIL_VMCS_LINK_PTR:
		return "VMCS link pointer";
	}
	for (i = 0; i < ARRAY_SIZE(checks); i++)
		if (checks[i].bad())
			return checks[i].field;
	field = wafer_check_state(vcpu);
	return field ?: "guest state";
}

/**
 * vmx_refused() - an entry that did not come about
 * @vcpu: vCPU, in the window
 * @exit: to be filled
 * @reason: exit reason with bit 31 set; or the VM-instruction error; 0: VMX is not on (any more)
 *
 * vcpu->reinject stays, since it was not delivered; its copy in the VMCS must not outlive it.
 */
void vmx_refused(struct wafer_vcpu *vcpu, struct wafer_exit *exit, u64 reason)
{
	exit->kind = WAFER_EXIT_BAD_STATE;
	exit->len = 0;
	exit->reason = reason;
	exit->bad.hw_reason = reason;
	if (reason == (VMX_EXIT_REASONS_FAILED_VMENTRY | EXIT_REASON_MCE_DURING_VMENTRY))
		exit->kind = WAFER_EXIT_MCE;
	else if (reason & VMX_EXIT_REASONS_FAILED_VMENTRY)
		exit->bad.field = find_guest_field(vcpu);
	else if (reason == VMXERR_ENTRY_INVALID_CONTROL_FIELD)
		exit->bad.field = bad_event() ? "event to be injected" : "VM-execution controls";
	else if (reason == VMXERR_ENTRY_INVALID_HOST_STATE_FIELD)
		exit->bad.field = "host state";
	else
		exit->bad.field = reason ? "VMCS" : "VMX operation: somebody has switched it off";
	vmwrite(VM_ENTRY_INTR_INFO_FIELD, 0);
}
