#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What the rows of exitcost have done: values, registers, dirty pages, interrupts. The figures are scripts/bench's.
exitcost=${EXITCOST:-/wafer/exitcost}
[ -x "$exitcost" ] || { echo "1..0 # SKIP no exitcost"; exit 4; }
exec "$exitcost" --verify "${WAFER_DEVICE:-/dev/wafer}"
