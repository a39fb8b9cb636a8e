// SPDX-License-Identifier: GPL-2.0
/* What entries look like: SDM vol. 3 §29.3.2 (EPT), APM vol. 2 §15.25.5 and 5.3 (NPT). */
#include "mmu/table.h"

#define EPT_TYPE_WB	(6ull << 3)
#define EPT_TYPE_UC	(0ull << 3)
#define EPT_IGNORE_PAT	BIT_ULL(6)

/*
 * Memory of the host is write-back whatever the guest's PAT says: no device behind the guest reads
 * it past the caches. Where the VMM's own mapping is uncached (device memory), the guest may still
 * choose write-combining.
 */
const struct wafer_pt_format wafer_ept_format = {
	.name = "EPT",
	.table = 7 | BIT_ULL(8),
	.read = BIT_ULL(0), .write = WAFER_PT_WRITE, .exec = BIT_ULL(2),
	.leaf = BIT_ULL(7),
	.accessed = BIT_ULL(8), .dirty = BIT_ULL(9),
	.wb = EPT_TYPE_WB | EPT_IGNORE_PAT, .uc = EPT_TYPE_UC,
};

#define NPT_P		BIT_ULL(0)
#define NPT_U		BIT_ULL(2)	/* accesses by way of the nested table are user accesses */
#define NPT_PWT		BIT_ULL(3)
#define NPT_PCD		BIT_ULL(4)
#define NPT_A		BIT_ULL(5)

/* Execution is allowed by the absence of NX: there is nothing to set. */
const struct wafer_pt_format wafer_npt_format = {
	.name = "NPT",
	.table = NPT_P | WAFER_PT_WRITE | NPT_U | NPT_A,
	.read = NPT_P | NPT_U, .write = WAFER_PT_WRITE, .exec = 0,
	.leaf = BIT_ULL(7),
	.accessed = NPT_A, .dirty = BIT_ULL(6),
	.wb = 0, .uc = NPT_PWT | NPT_PCD,
};
