/* SPDX-License-Identifier: GPL-2.0 */
enum {
	X86_PF_PROT = 1, X86_PF_WRITE = 2, X86_PF_USER = 4, X86_PF_RSVD = 8, X86_PF_INSTR = 16,
	X86_PF_PK = 32,
};
