// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin of QEMU's for scripts/trace-exit: which instructions run between one VMRUN and the next.
 * A row of exitcost goes the same way thousands of times, so the way of the length that came most
 * often is the row's. One CPU only.
 *
 * Its header is in no package of Debian's, so that what is used of QEMU's plugin
 * interface, version 1, is declared here.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info_t;
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id,
					   void (*cb)(uint64_t id, struct qemu_plugin_tb *tb));
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
					    void (*cb)(unsigned int cpu, void *data), int flags,
					    void *data);

#define LONGEST	(1 << 16)

int qemu_plugin_version = 1;

static uint64_t way[LONGEST];
static size_t steps;
static int started;
static unsigned long times[LONGEST], most;	/* ways of each length */
static char *output;

static void step(unsigned int cpu, void *pc)
{
	if (started && steps < LONGEST)
		way[steps++] = (uintptr_t)pc;
}

/* The emulator is killed at the end, so that what there is so far is written now and then. */
static void write_way(void)
{
	FILE *f = fopen(output, "w");

	for (size_t i = 0; f && i < steps; i++)
		fprintf(f, "%llx\n", (unsigned long long)way[i]);
	if (f)
		fclose(f);
}

static void vmrun(unsigned int cpu, void *pc)
{
	if (started && steps < LONGEST && ++times[steps] > most) {
		most = times[steps];
		if (!(most & (most - 1)))
			write_way();
	}
	started = 1;
	steps = 0;
	step(cpu, pc);
}

static void translated(uint64_t id, struct qemu_plugin_tb *tb)
{
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		void *pc = (void *)(uintptr_t)qemu_plugin_insn_vaddr(insn);
		int is_vmrun = qemu_plugin_insn_size(insn) == 3 &&
			       !memcmp(qemu_plugin_insn_data(insn), "\x0f\x01\xd8", 3);

		qemu_plugin_register_vcpu_insn_exec_cb(insn, is_vmrun ? vmrun : step, 0, pc);
	}
}

int qemu_plugin_install(uint64_t id, const struct qemu_info_t *info, int argc, char **argv)
{
	if (argc != 1 || strncmp(argv[0], "out=", 4))
		return 1;
	output = strdup(argv[0] + 4);
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
