// SPDX-License-Identifier: GPL-2.0
/* Does the harness see a failure? A suite that cannot fail tells nothing. */
#include <linux/bits.h>
#include <linux/string.h>
#include <linux/errno.h>
#include <linux/kvm.h>
#include <linux/list.h>
#include <linux/slab.h>
#include "tap.h"
#include "types.h"
#include "exit.h"
#include "emulate.h"

TEST(check_counts_failures)
{
	unsigned int before;

	printf("# the next two lines are meant to be there\n");
	CHECK(1 == 2);
	CHECK_EQ(1, 2);
	before = tap_failures;
	tap_failures = 0;
	CHECK_EQ(before, 2);
}

TEST(bits)
{
	DECLARE_BITMAP(map, 128) = { 0 };

	set_bit(70, map);
	CHECK_EQ(find_first_bit(map, 128), 70);
	CHECK_EQ(GENMASK_ULL(63, 0), ~0ull);
	CHECK_EQ(GENMASK_ULL(12, 4), 0x1ff0);
	CHECK_EQ(fls64(BIT_ULL(51)), 52);
	CHECK(test_and_clear_bit(70, map) && !map[1]);
}

TAP_MAIN()
