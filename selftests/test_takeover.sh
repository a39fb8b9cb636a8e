#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# wafer alias, takeover and giveback, on a host where both hypervisors can be loaded. At the end Wafer is as it was.
wafer=${WAFER:-/wafer/wafer}
file=${WAFER_KO:-/wafer/wafer.ko}
n=0

skip() { echo "1..0 # SKIP $1"; exit 4; }
[ "${WAFER_DEVICE:-/dev/wafer}" = /dev/wafer ] || skip "not this module's device"
[ "$(id -u)" = 0 ] && [ -x "$wafer" ] && [ -r "$file" ] && [ -d /sys/module/wafer ] || skip "no root, wafer or wafer.ko"
[ -e /dev/kvm ] && skip "/dev/kvm is taken"
if grep -q GenuineIntel /proc/cpuinfo; then vendor=kvm_intel; else vendor=kvm_amd; fi

echo "TAP version 13"
ok() { n=$((n + 1)); echo "ok $n $1"; }
not_ok() { n=$((n + 1)); echo "not ok $n $1"; bad=1; }
# is WHAT STATUS OUTPUT ARGUMENT...: the status, and what the output must have in its one line at most
is() {
	what=$1 status=$2 want=$3
	shift 3
	out=$("$wafer" "$@" 2>&1)
	got=$?
	lines=$(printf '%s' "$out" | grep -c '')
	case $out in
	*"$want"*) [ $got = "$status" ] && { [ "$lines" -le 1 ] || [ "$got" = 0 ]; } && { ok "$what"; return; } ;;
	esac
	echo "# wafer $*: status $got: $out"
	not_ok "$what"
}
yes() { what=$1; shift; if "$@"; then ok "$what"; else not_ok "$what"; fi; }
no() { what=$1; shift; if "$@"; then not_ok "$what"; else ok "$what"; fi; }
# somebody who has the device open
hold() { sleep 1000 < "$1" & holder=$!; sleep 1; }
let_go() { kill $holder; wait $holder 2> /dev/null; }

is "no alias yet" 0 '"loaded": true, "alias": false, "kvm": "none"' alias --json
is "a word that is none" 2 "say 'on'" alias perhaps
is "a word too many" 2 "too many" alias on on
is "an option that is none" 2 "" takeover --perhaps
is "the alias is set" 0 "" alias on
yes "/dev/kvm is there" test -c /dev/kvm
is "and is Wafer's" 0 '"alias": true, "kvm": "wafer"' alias status --json
is "set again" 0 "" alias on
is "taken back" 0 "" alias off
no "/dev/kvm is gone" test -e /dev/kvm

if modprobe $vendor 2> /dev/null && [ -c /dev/kvm ]; then
	is "the in-tree KVM's" 0 '"alias": false, "kvm": "kvm"' alias --json
	is "no alias beside it" 1 "belongs to the in-tree KVM" alias on
	hold /dev/kvm
	is "no takeover while it is used" 1 "$vendor is in use" takeover
	yes "nothing was changed" test -d /sys/module/$vendor
	let_go
	hold /dev/wafer
	is "no giveback while Wafer is used" 1 "wafer is in use" giveback
	let_go
	is "takeover" 0 "" takeover
	is "/dev/kvm is Wafer's" 0 '"kvm": "wafer"' alias --json
	no "the in-tree KVM is gone" test -d /sys/module/kvm
	hold /dev/kvm
	is "no giveback while /dev/kvm is open" 1 "wafer is in use" giveback
	is "the alias stays" 0 '"alias": true' alias --json
	let_go
	is "giveback" 0 "" giveback
	is "the in-tree KVM's again" 0 '"loaded": false, "alias": false, "kvm": "kvm"' alias --json
	is "no alias without the module" 1 "not loaded" alias on
	is "no such file" 2 "No such file" takeover --module /nowhere/wafer.ko
	yes "the in-tree KVM stays" test -d /sys/module/$vendor
	echo nothing > /tmp/no-module
	is "no module" 1 "/tmp/no-module" takeover --module /tmp/no-module
	yes "the in-tree KVM is back" test -d /sys/module/$vendor -a -c /dev/kvm
	is "takeover that lasts" 0 "" takeover --module "$file" --persist
	yes "and says so to modprobe" grep -q "options wafer alias=1" /etc/modprobe.d/wafer.conf
	yes "and at the boot" grep -q '^wafer$' /etc/modules-load.d/wafer.conf
	yes "wafer is loaded" test -d /sys/module/wafer
	is "giveback that lasts" 0 "" giveback --persist
	no "nothing is left behind" test -e /etc/modprobe.d/wafer.conf -o -e /etc/modules-load.d/wafer.conf
	modprobe -r $vendor
	/wafer/load wafer > /dev/null 2>&1 || insmod "$file"
else
	echo "ok $((n += 1)) takeover and giveback # SKIP $vendor cannot be loaded"
fi
yes "Wafer is as it was" test -c /dev/wafer -a ! -e /dev/kvm
echo "1..$n"
exit ${bad:-0}
