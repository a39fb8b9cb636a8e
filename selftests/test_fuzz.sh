#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The ioctl fuzzer for a bounded time, with a fixed seed: FUZZ_TIME seconds (10; a minute where KASAN watches).
# Bochs: no hypervisor that says so, and tables of its own. There a guest that spins with IF clear stops the host
# (Documentation/emulator-bugs.md), and corrupted state makes such guests.
if grep -qs BOCHS /sys/firmware/acpi/tables/APIC && ! grep -q '^flags.* hypervisor' /proc/cpuinfo; then
	echo "1..0 # SKIP a guest without IF stops a host in Bochs"
	exit 4
fi
if [ -z "$FUZZ_TIME" ]; then
	FUZZ_TIME=10
	grep -q ' kasan_report$' /proc/kallsyms 2>/dev/null && FUZZ_TIME=60
fi
exec "$(dirname "$0")/fuzz_ioctl" --seed "${FUZZ_SEED:-1}" --time "$FUZZ_TIME"
