#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The README's custom VMM, extracted and compiled when the tests were built, does what the README says.
cd "$(dirname "$0")" || exit 1
echo "TAP version 13"
echo "1..1"
out=$(./readme_vmm 2>&1)
status=$?
if [ "$out" = "Hello from the guest" ] && [ $status = 0 ]; then
	echo "ok 1 the README's VMM greets"
else
	echo "# status $status, printed: $out"
	echo "not ok 1 the README's VMM greets"
	exit 1
fi
