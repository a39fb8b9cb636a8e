#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The ioctl fuzzer for a bounded time, with a fixed seed: FUZZ_TIME seconds (10; a minute where KASAN watches).
if [ -z "$FUZZ_TIME" ]; then
	FUZZ_TIME=10
	grep -q ' kasan_report$' /proc/kallsyms 2>/dev/null && FUZZ_TIME=60
fi
exec "$(dirname "$0")/fuzz_ioctl" --seed "${FUZZ_SEED:-1}" --time "$FUZZ_TIME"
