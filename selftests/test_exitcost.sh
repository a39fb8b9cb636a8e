#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What the rows of exitcost have done: values, registers, dirty pages, interrupts. The figures are scripts/bench's.
exitcost=${EXITCOST:-/wafer/exitcost}
# QEMU loses the shadow of STI at VMRUN: without --icount, HLT behind STI may sleep for ever there (emulator-bugs.md)
[ -d /wafer ] && { echo "1..0 # SKIP in an emulated host scripts/test runs it, with --icount"; exit 4; }
[ -x "$exitcost" ] || { echo "1..0 # SKIP no exitcost"; exit 4; }
exec "$exitcost" --verify "${WAFER_DEVICE:-/dev/wafer}"
