// SPDX-License-Identifier: GPL-2.0
/*
 * wafer check: what the CPU can do and what firmware lets it do. Taken from the
 * CPU itself where it tells everybody, from MSRs where the msr driver gives
 * them, from the kernel's list of flags otherwise.
 */
#include <cpuid.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

#define MSR_FEATURE_CONTROL	0x3a		/* SDM vol. 4, table 2-2 */
#define FC_LOCKED		(1 << 0)
#define FC_VMX_OUTSIDE_SMX	(1 << 2)
#define MSR_VMX_PROCBASED2	0x48b		/* SDM vol. 3, A.3.3; allowed bits above 32 */
#define PROC2_EPT		(1ull << (32 + 1))
#define PROC2_UNRESTRICTED	(1ull << (32 + 7))
#define MSR_VM_CR		0xc0010114	/* APM vol. 2, 15.30.1 */
#define VM_CR_SVMDIS		(1 << 4)

#define NAME_FIRMWARE		"firmware"
#define NAME_PAGING		"nested paging"

#define ENABLE_VTX	"enable VT-x (Intel Virtualization Technology) in the firmware's setup"

static bool read_msr(uint32_t msr, uint64_t *value)
{
	int fd = open("/dev/cpu/0/msr", O_RDONLY | O_CLOEXEC);
	bool ok = fd >= 0 && pread(fd, value, sizeof(*value), msr) == sizeof(*value);

	if (fd >= 0)
		close(fd);
	return ok;
}

/* Whether a line of /proc/cpuinfo that starts with @key has @word; -1: there is no such line. */
static int cpuinfo_has(const char *key, const char *word)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	size_t len = strlen(word);
	char line[8192];
	int found = -1;

	while (f && found < 0 && fgets(line, sizeof(line), f)) {
		if (strncmp(line, key, strlen(key)))
			continue;
		found = 0;
		for (char *p = line; (p = strstr(p, word)); p += len) {
			if (p[-1] == ' ' && (p[len] == ' ' || p[len] == '\n'))
				found = 1;
		}
	}
	if (f)
		fclose(f);
	return found;
}

static void ask_for_msr(struct finding *f)
{
	report_remedy(f, "as root: modprobe msr; wafer check");
}

static void check_intel(struct report *r)
{
	uint64_t control, proc2;
	struct finding *f;
	int ept, unrestricted, listed = cpuinfo_has("flags", "vmx");

	if (read_msr(MSR_FEATURE_CONTROL, &control)) {
		if ((control & FC_LOCKED) && !(control & FC_VMX_OUTSIDE_SMX)) {
			f = report_add(r, V_FAIL, NAME_FIRMWARE, "VT-x is switched off and locked");
			report_remedy(f, ENABLE_VTX);
			return;
		}
		report_add(r, V_OK, NAME_FIRMWARE, "VT-x may be used");
	} else if (listed < 0) {
		f = report_add(r, V_UNKNOWN, NAME_FIRMWARE,
			       "whether VT-x is switched off cannot be seen");
		ask_for_msr(f);
	} else if (!listed) {
		f = report_add(r, V_FAIL, NAME_FIRMWARE,
			       "the kernel says that VT-x is switched off");
		report_remedy(f, ENABLE_VTX);
		return;
	} else {
		report_add(r, V_OK, NAME_FIRMWARE, "the kernel lists VT-x as usable");
	}

	if (read_msr(MSR_VMX_PROCBASED2, &proc2)) {
		ept = !!(proc2 & PROC2_EPT);
		unrestricted = !!(proc2 & PROC2_UNRESTRICTED);
	} else {
		ept = cpuinfo_has("vmx flags", "ept");
		unrestricted = cpuinfo_has("vmx flags", "unrestricted_guest");
	}
	if (ept < 0 || unrestricted < 0) {
		f = report_add(r, V_UNKNOWN, NAME_PAGING, "whether there is EPT cannot be seen");
		ask_for_msr(f);
	} else if (!ept || !unrestricted) {
		f = report_add(r, V_FAIL, NAME_PAGING, "no %s", ept ? "unrestricted guest" : "EPT");
		report_remedy(f, "none: this CPU is too old, or a hypervisor above hides it");
	} else {
		report_add(r, V_OK, NAME_PAGING, "EPT with unrestricted guest");
	}
}

static void check_amd(struct report *r)
{
	unsigned int eax, ebx, ecx, edx;
	struct finding *f;
	uint64_t vm_cr;

	if (!read_msr(MSR_VM_CR, &vm_cr)) {
		f = report_add(r, V_UNKNOWN, NAME_FIRMWARE,
			       "whether AMD-V is switched off cannot be seen");
		ask_for_msr(f);
	} else if (vm_cr & VM_CR_SVMDIS) {
		f = report_add(r, V_FAIL, NAME_FIRMWARE, "AMD-V is switched off");
		report_remedy(f, "enable SVM (AMD-V) in the firmware's setup");
	} else {
		report_add(r, V_OK, NAME_FIRMWARE, "AMD-V may be used");
	}

	__cpuid(0x8000000a, eax, ebx, ecx, edx);
	if (edx & 1) {
		report_add(r, V_OK, NAME_PAGING, "NPT");
	} else {
		f = report_add(r, V_FAIL, NAME_PAGING, "no NPT");
		report_remedy(f, "none: this CPU is too old, or a hypervisor above hides it");
	}
}

void check_cpu(struct report *r)
{
	unsigned int eax, ebx, ecx, edx;
	bool vmx, svm = false, guest;
	struct finding *f;
	char vendor[13] = "";

	__cpuid(0, eax, ebx, ecx, edx);
	memcpy(vendor, &ebx, 4);
	memcpy(vendor + 4, &edx, 4);
	memcpy(vendor + 8, &ecx, 4);
	__cpuid(1, eax, ebx, ecx, edx);
	vmx = ecx & (1u << 5);
	guest = ecx & (1u << 31);
	if (__get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx))
		svm = ecx & (1u << 2);

	if (vmx || svm) {
		report_add(r, V_OK, "cpu", "%s with %s%s", vendor, vmx ? "VT-x" : "AMD-V",
			   guest ? ", itself in a virtual machine" : "");
		if (vmx)
			check_intel(r);
		else
			check_amd(r);
		return;
	}
	f = report_add(r, V_FAIL, "cpu", "%s without VT-x and AMD-V%s", vendor,
		       guest ? ", in a virtual machine" : "");
	report_remedy(f, guest ? "turn on nested virtualisation for this machine, where it is run" :
		      "none, unless the firmware's setup hides it");
}
