#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# fuzz_compare.sh [RUNS [SEED]]: the fuzzer's runs on the module and on the in-tree KVM, and for each run the first call
# that gives another errno: how often, the call, its argument's checksum where both have the same, the errnos.
# In an emulated host: scripts/host -- /wafer/selftests/fuzz_compare.sh
runs=${1:-300} seed=${2:-1}
cd "$(dirname "$0")" || exit 1
for module in wafer kvm; do
	# by one name, which decides what the guest does
	if [ $module = wafer ]; then
		/wafer/load wafer alias=1
	else
		/wafer/load kvm
	fi || exit 1
	echo "# $module"
	WAFER_DEVICE=/dev/kvm ./fuzz_ioctl --seed "$seed" --runs "$runs" --trace /tmp/trace.$module || exit 1
done
# seed, step.call, descriptor, number, checksum and first bytes of the argument, errno, the step's name
awk '
BEGIN {
	# differences that are meant, or chance: "number wafer kvm"; after those with "ends" the VMs are not the same any more
	known["0x4040ae77 ENXIO 0"] = "ends: no PIT without the PIC that it sits at"
	known["0xae64 ENXIO 0"] = "ends: the same"
	known["0x4040ae77 EINVAL 0"] = "ends: flags that nobody knows"
	known["0x4068aea3 EINVAL 0"] = "KVM_CAP_X86_DISABLE_EXITS with what the host cannot leave out: newer kernels refuse it"
	known["0xaea2 EINVAL 0"] = "without TSC scaling there is one frequency; KVM lets the TSC jump at each entry"
	known["0xaeb7 ENOTTY 0"] = "no system management mode"
	known["0x4048ae9b EINVAL 0"] = "bits that nobody knows"
	known["0x4070aea0 EINVAL 0"] = "a PIT that none can be"
	known["0xae41 EINVAL EEXIST"] = "ends: KVM looks at 32 bits of the id"
	known["0x4040aea0 EINVAL 0"] = "no system management mode"
	known["0x4400ae8f EINVAL 0"] = "the id of an APIC stays its own"
	known["0x4008ae93 0 EINVAL"] = "the VAPIC has no address that is used"
	known["0x4008ae48 EFAULT EINVAL"] = "both are wrong; KVM looks at the vCPUs first"
	known["0x4138ae84 EINVAL 0"] = "EFER with bits that the CPU does not have"
	known["0x4008ae90 EINVAL 0"] = "has it run yet?"
	known["0x4008ae90 0 EINVAL"] = "what GET_CPUID2 gave: the count that KVM leaves there is the buffer"
	known["0x4020aea5 0 EPERM"] = "nobody is there: 0 as in the usual case of KVM"
	known["0xaead 0 EINVAL"] = known["0xaead EINVAL 0"] = "has the guest switched its clock on yet?"
}
NR == FNR { other[$1, $2] = $0; next }
($1 in done) || !(($1, $2) in other) { next }
{
	split(other[$1, $2], o)
	both++
	# a number that is no call of this descriptor: KVM has EINVAL but for VMs; a signal came
	if (o[7] == $7 || o[7] == "ENOTTY" && $7 == "EINVAL" && $3 != "vm")
		next
	if (o[7] == "EINTR" || $7 == "EINTR") {
		done[$1]
		next
	}
	if (o[4] == $4 && ($4 " " o[7] " " $7) in known) {
		meant++
		if (known[$4 " " o[7] " " $7] ~ "^ends")
			done[$1]
		next
	}
	done[$1]
	key = $3 " " $4 (o[4] == $4 && o[5] == $5 ? " " $6 : " (not the same argument)") ": wafer " o[7] ", kvm " $7
	count[key]++
	at[key] = $1 " " $2 " " $8 " " $9
}
END {
	for (key in count)
		print count[key], key " | the last:", at[key]
	print 0, both + 0, "calls compared,", meant + 0, "differences that are known"
}' /tmp/trace.wafer /tmp/trace.kvm | sort -rn
