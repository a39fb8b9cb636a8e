/* SPDX-License-Identifier: GPL-2.0 */
#define X86_FEATURE_X2APIC	(4 * 32 + 21)
