// SPDX-License-Identifier: GPL-2.0
/*
 * The decoder against objdump: lengths of compiled code (libc, read as 64, 32 and 16-bit code) and
 * of opcodes with random prefixes and operands; and what it says of operands against hand-written
 * expectations.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <unistd.h>

#include "tap.h"
#include "vcpu/insn.h"

static const char *const machine[] = {
	[WAFER_CODE16] = "i8086", [WAFER_CODE32] = "i386", [WAFER_CODE64] = "i386:x86-64"
};

struct line {
	unsigned long addr;
	unsigned int nr;
	u8 bytes[32];
	const char *text;
	char copy[256];
};

/* "  4010:	48 8b 07             	mov    (%rdi),%rax" */
static bool parse(char *s, struct line *l)
{
	char *end;

	l->addr = strtoul(s, &end, 16);
	if (end == s || *end != ':' || end[1] != '\t')
		return false;
	for (l->nr = 0, s = end + 2; isxdigit(s[0]) && isxdigit(s[1]) && l->nr < 32; s += 3)
		l->bytes[l->nr++] = strtoul((char[]){ s[0], s[1], 0 }, NULL, 16);
	l->text = strchr(s, '\t');
	if (!l->text)
		return false;
	l->text++;
	return l->nr > 0;
}

/*
 * What objdump shows that is no instruction of its own: rubbish, prefixes that it shows alone,
 * FWAIT joined with the instruction behind it.
 */
static bool odd(const struct line *l)
{
	static const char *const names[] = {
		"rex", "data16", "data32", "addr32", "addr16", "repz", "repnz", "lock", "cs", "ds",
		"es", "ss", "fs", "gs",
		"fwait", ".byte", "xacquire", "xrelease", "notrack", "bnd",
	};
	size_t i, n = strcspn(l->text, " \n.");

	if (strstr(l->text, "(bad)") || l->bytes[0] == 0x9b)
		return true;
	for (i = 0; l->nr <= 2 && i < ARRAY_SIZE(names); i++)
		if (strlen(names[i]) == n && !strncmp(l->text, names[i], n))
			return true;
	return false;
}

/* What objdump has a name for and the CPU answers with #UD. LOCK is tested by hand. */
static bool may_refuse(const struct line *l)
{
	static const char *const names[] = {
		"ud0", "ud1", "ud2", "%tr", "lock ", "xcrypt", "xstore", "montmul", "xsha",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		if (strstr(l->text, names[i]))
			return true;
	return false;
}

static unsigned int compared;

static void compare(const struct line *l, enum wafer_code_mode mode)
{
	struct wafer_insn insn;
	u8 buf[WAFER_INSN_MAX] = { 0 };
	char hex[64] = "";
	unsigned int i;
	int ret;

	if (l->nr > WAFER_INSN_MAX || odd(l))
		return;
	memcpy(buf, l->bytes, l->nr);
	for (i = 0; i < l->nr; i++)
		sprintf(hex + 3 * i, "%02x ", l->bytes[i]);
	ret = wafer_insn_decode(&insn, buf, WAFER_INSN_MAX, mode);
	if (ret == -EINVAL && may_refuse(l))
		return;
	compared++;
	if (ret || insn.len != l->nr) {
		FAIL("mode %d: %s: %d, length %d, objdump says %u: %s", mode * 8, hex, ret,
		     insn.len, l->nr, l->text);
		return;
	}
	CHECK_MSG(!memcmp(insn.bytes, l->bytes, l->nr), "%s: bytes not copied", hex);
	/* exactly enough bytes do, one less does not, in memory that ends there (ASan looks) */
	for (i = l->nr - 1; i <= l->nr; i++) {
		u8 *tight = malloc(i ?: 1);

		memcpy(tight, l->bytes, i);
		ret = wafer_insn_decode(&insn, tight, i, mode);
		CHECK_MSG(ret == (i < l->nr ? -EAGAIN : 0), "mode %d: %s with %u bytes: %d",
			  mode * 8, hex, i, ret);
		free(tight);
	}
}

static FILE *objdump(const char *file, enum wafer_code_mode mode, const char *opts)
{
	char cmd[512];

	snprintf(cmd, sizeof(cmd), "objdump -w -z -M intel64 %s -m %s %s 2>/dev/null", opts,
		 machine[mode], file);
	return popen(cmd, "r");
}

static const char *libc_path(void)
{
	static char path[256];
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512], *p;

	while (!path[0] && fgets(line, sizeof(line), f)) {
		p = strchr(line, '/');
		if (p && strstr(p, "/libc.so")) {
			p[strcspn(p, "\n")] = 0;
			snprintf(path, sizeof(path), "%s", p);
		}
	}
	fclose(f);
	return path;
}

static void corpus(enum wafer_code_mode mode, const char *opts, unsigned int at_least)
{
	FILE *f = objdump(libc_path(), mode, opts);
	struct line l, last = { 0 };
	char buf[1024];

	compared = 0;
	/* the very last one may be cut off: it is not looked at */
	while (f && fgets(buf, sizeof(buf), f)) {
		if (!parse(buf, &l))
			continue;
		if (last.nr)
			compare(&last, mode);
		last = l;
		snprintf(last.copy, sizeof(last.copy), "%s", l.text);
		last.text = last.copy;
	}
	if (f)
		pclose(f);
	CHECK_MSG(compared >= at_least, "only %u instructions seen", compared);
}

TEST(libc_as_64_bit)
{
	corpus(WAFER_CODE64, "-d -j .text --stop-address=0xf0000", 100000);
}

TEST(libc_as_32_bit)
{
	corpus(WAFER_CODE32, "-D -b binary --start-address=0x30000 --stop-address=0x70000", 50000);
}

TEST(libc_as_16_bit)
{
	corpus(WAFER_CODE16, "-D -b binary --start-address=0x30000 --stop-address=0x70000", 50000);
}

#define SLOT 32

/*
 * One random instruction: prefixes, an opcode of some map, random operands, then NOPs until the
 * next slot.
 */
static void random_slot(u8 *slot, unsigned int nr, enum wafer_code_mode mode)
{
	static const u8 legacy[] = { 0x66, 0x67, 0xf2, 0xf3, 0x2e, 0x64, 0x65, 0x36 };
	u8 op = nr, *p = slot;
	unsigned int i, map = nr >> 8 & 7, rex = rnd() % 3 ? 0 : 0x40 | (rnd() & 15);

	memset(slot, 0x90, SLOT);
	if (map < 5 && rnd() & 1)
		*p++ = legacy[rnd() % ARRAY_SIZE(legacy)];
	if (map < 5 && mode == WAFER_CODE64 && rex && !(op == 0x0f && map == 0))
		*p++ = rex;
	switch (map) {
	case 2:
		*p++ = 0x0f;
		*p++ = 0x38;
		break;
	case 3:
		*p++ = 0x0f;
		*p++ = 0x3a;
		break;
	case 0:
		break;
	case 5:
	case 6:
	case 7:
		*p++ = 0xc4;
		*p++ = (map - 4) | 0xc0 | (rnd() & 0x20);
		*p++ = rnd() & 1 ? rnd() : 0x78 | (rnd() & 0x87);
		break;
	default:
		*p++ = 0x0f;
	}
	*p++ = op;
	for (i = rnd() % 8; i; i--)
		*p++ = rnd();
}

static void random_corpus(enum wafer_code_mode mode)
{
	const unsigned int nr = 5 * 8 * 256;
	char name[] = "/tmp/wafer-decode-XXXXXX", buf[1024];
	unsigned int i;
	u8 slot[SLOT];
	struct line l;
	int fd = mkstemp(name);
	FILE *f;

	for (i = 0; i < nr; i++) {
		random_slot(slot, i, mode);
		if (write(fd, slot, SLOT) != SLOT)
			FAIL("short write");
	}
	close(fd);
	compared = 0;
	f = objdump(name, mode, "-D -b binary");
	while (f && fgets(buf, sizeof(buf), f))
		if (parse(buf, &l) && l.addr % SLOT == 0)
			compare(&l, mode);
	if (f)
		pclose(f);
	unlink(name);
	CHECK_MSG(compared > nr / 3, "only %u of %u compared", compared, nr);
}

TEST(random_64_bit)
{
	random_corpus(WAFER_CODE64);
}

TEST(random_32_bit)
{
	random_corpus(WAFER_CODE32);
}

TEST(random_16_bit)
{
	random_corpus(WAFER_CODE16);
}

/* Decodes @hex; returns what wafer_insn_decode() returns. */
static int dec(struct wafer_insn *insn, enum wafer_code_mode mode, const char *hex)
{
	u8 buf[32];
	unsigned int n = 0, b;

	while (sscanf(hex, "%2x", &b) == 1) {
		buf[n++] = b;
		hex += hex[2] ? 3 : 2;
	}
	return wafer_insn_decode(insn, buf, n, mode);
}

TEST(operands)
{
	static const struct {
		enum wafer_code_mode mode;
		const char *hex;
		s8 base, index;
		u8 scale, seg, op_size, addr_size;
		s64 disp;
		bool rip_rel;
		u8 reg;
	} t[] = {
		{ 8, "8b 07", 7, -1, 1, WAFER_DS, 4, 8, 0, false, 0 },
		{ 8, "4c 8b 07", 7, -1, 1, WAFER_DS, 8, 8, 0, false, 8 },
		{ 8, "66 44 89 65 fe", 5, -1, 1, WAFER_SS, 2, 8, -2, false, 12 },
		{ 8, "41 8a 45 80", 13, -1, 1, WAFER_DS, 1, 8, -128, false, 0 },
		{ 8, "8b 05 78 56 34 92", -1, -1, 1, WAFER_DS, 4, 8, (s32)0x92345678, true, 0 },
		{ 8, "67 8b 05 78 56 34 12", -1, -1, 1, WAFER_DS, 4, 4, 0x12345678, true, 0 },
		{ 8, "8b 04 25 00 10 00 80", -1, -1, 1, WAFER_DS, 4, 8, (s32)0x80001000, false, 0 },
		{ 8, "8b 04 24", 4, -1, 1, WAFER_SS, 4, 8, 0, false, 0 },
		{ 8, "42 8b 04 24", 4, 12, 1, WAFER_SS, 4, 8, 0, false, 0 },
		{ 8, "41 8b 04 24", 12, -1, 1, WAFER_DS, 4, 8, 0, false, 0 },
		{ 8, "8b 04 cd 44 00 00 00", -1, 1, 8, WAFER_DS, 4, 8, 0x44, false, 0 },
		{ 8, "64 8b 00", 0, -1, 1, WAFER_FS, 4, 8, 0, false, 0 },
		{ 8, "36 8b 00", 0, -1, 1, WAFER_DS, 4, 8, 0, false, 0 },
		/* REX before a prefix is nothing */
		{ 8, "48 66 8b 00", 0, -1, 1, WAFER_DS, 2, 8, 0, false, 0 },
		{ 8, "a1 11 22 33 44 55 66 77 88", -1, -1, 1, WAFER_DS, 4, 8, 0x8877665544332211,
		  false, 0 },
		{ 8, "67 a2 11 22 33 44", -1, -1, 1, WAFER_DS, 1, 4, 0x44332211, false, 0 },
		{ 8, "ff 30", 0, -1, 1, WAFER_DS, 8, 8, 0, false, 6 },
		{ 8, "66 ff 30", 0, -1, 1, WAFER_DS, 2, 8, 0, false, 6 },
		{ 8, "66 ff 10", 0, -1, 1, WAFER_DS, 8, 8, 0, false, 2 },
		{ 4, "8b 07", 7, -1, 1, WAFER_DS, 4, 4, 0, false, 0 },
		{ 4, "66 8b 07", 7, -1, 1, WAFER_DS, 2, 4, 0, false, 0 },
		{ 4, "67 8b 07", 3, -1, 1, WAFER_DS, 4, 2, 0, false, 0 },
		{ 4, "8b 05 00 10 00 80", -1, -1, 1, WAFER_DS, 4, 4, (s32)0x80001000, false, 0 },
		{ 4, "3e 8b 45 00", 5, -1, 1, WAFER_DS, 4, 4, 0, false, 0 },
		{ 4, "2e 65 8b 45 00", 5, -1, 1, WAFER_GS, 4, 4, 0, false, 0 },
		{ 2, "8b 40 04", 3, 6, 1, WAFER_DS, 2, 2, 4, false, 0 },
		{ 2, "8b 42 fc", 5, 6, 1, WAFER_SS, 2, 2, -4, false, 0 },
		{ 2, "8b 0e 34 f2", -1, -1, 1, WAFER_DS, 2, 2, (s16)0xf234, false, 1 },
		{ 2, "8b 8f 34 12", 3, -1, 1, WAFER_DS, 2, 2, 0x1234, false, 1 },
		{ 2, "8b 4e 00", 5, -1, 1, WAFER_SS, 2, 2, 0, false, 1 },
		{ 2, "66 67 8b 44 b5 08", 5, 6, 4, WAFER_SS, 4, 4, 8, false, 0 },
		{ 2, "26 a0 34 12", -1, -1, 1, WAFER_ES, 1, 2, 0x1234, false, 0 },
		{ 8, "c5 fd 6f 07", 7, -1, 1, WAFER_DS, 32, 8, 0, false, 0 },
		{ 8, "c4 41 79 6f 0c 24", 12, -1, 1, WAFER_DS, 16, 8, 0, false, 9 },
		{ 4, "c5 fd 6f 07", 7, -1, 1, WAFER_DS, 32, 4, 0, false, 0 },
	};
	struct wafer_insn insn;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(t); i++) {
		int ret = dec(&insn, t[i].mode, t[i].hex);

		CHECK_MSG(!ret && insn.is_mem && insn.base == t[i].base &&
			  insn.index == t[i].index &&
			  insn.scale == t[i].scale && insn.seg == t[i].seg &&
			  insn.op_size == t[i].op_size &&
			  insn.addr_size == t[i].addr_size && insn.disp == t[i].disp &&
			  insn.rip_rel == t[i].rip_rel && insn.reg == t[i].reg && insn.form,
			  "%d: %s: %d base %d index %d scale %d seg %d op %d addr %d disp %llx "
			  "r %d",
			  t[i].mode * 8, t[i].hex, ret, insn.base, insn.index, insn.scale, insn.seg,
			  insn.op_size, insn.addr_size, insn.disp, insn.reg);
	}
}

TEST(immediates)
{
	struct wafer_insn insn;

	CHECK(!dec(&insn, 8, "8b c1") && insn.has_modrm && insn.mod == 3 && !insn.is_mem &&
	      insn.rm == 1);
	CHECK(!dec(&insn, 8, "f4") && !insn.has_modrm && !insn.is_mem);
	CHECK(!dec(&insn, 8, "c6 00 80") && insn.imm == (u64)-128 && insn.len == 3);
	CHECK(!dec(&insn, 8, "c7 00 00 00 00 80") && insn.imm == 0xffffffff80000000);
	CHECK(!dec(&insn, 8, "66 c7 00 00 80") && insn.imm == 0xffffffffffff8000 && insn.len == 5);
	CHECK(!dec(&insn, 8, "48 b8 88 77 66 55 44 33 22 11") && insn.imm == 0x1122334455667788);
	CHECK(!dec(&insn, 8, "f6 00 7f") && insn.len == 3 && insn.form);
	CHECK(!dec(&insn, 8, "f7 08 7f 00 00 01") && insn.len == 6 && insn.form);
	CHECK(!dec(&insn, 8, "f7 10") && insn.len == 2 && insn.form);
	CHECK(!dec(&insn, 2, "83 06 34 12 ff") && insn.len == 5 && insn.imm == ~0ull);
	CHECK(!dec(&insn, 8, "48 0f ba 28 7f") && insn.opcode == 0x1ba && insn.reg == 5 &&
	      insn.imm == 0x7f);
	CHECK(!dec(&insn, 8, "e5 60") && insn.op_size == 4);
	CHECK(!dec(&insn, 8, "48 ed") && insn.op_size == 4 && insn.len == 2);
	CHECK(!dec(&insn, 4, "f3 66 6f") && insn.op_size == 2 && insn.rep == 0xf3);
	CHECK(!dec(&insn, 8, "f3 6c") && insn.op_size == 1);
}

/* Instructions that other exits need the length and registers of. */
TEST(system_instructions)
{
	struct wafer_insn insn;

	CHECK(!dec(&insn, 8, "44 0f 22 c3") && insn.len == 4 && insn.reg == 8 && insn.rm == 3 &&
	      insn.op_size == 8);
	/* mod is ignored */
	CHECK(!dec(&insn, 8, "0f 20 04") && insn.len == 3 && !insn.is_mem && insn.rm == 4);
	CHECK(!dec(&insn, 4, "f0 0f 20 c0") && insn.lock && insn.len == 4);	/* AMD: CR8 */
	CHECK(!dec(&insn, 8, "0f 23 f8") && insn.reg == 7 && insn.rm == 0);
	CHECK(!dec(&insn, 8, "0f a2") && insn.opcode == 0x1a2 && insn.len == 2);
	CHECK(!dec(&insn, 2, "66 0f 30") && insn.opcode == 0x130 && insn.len == 3);
	CHECK(!dec(&insn, 8, "0f 01 d1") && insn.opcode == 0x101 && insn.reg == 2 && insn.rm == 1 &&
	      insn.mod == 3);
	CHECK(!dec(&insn, 4, "0f 01 30") && insn.reg == 6 && insn.is_mem && insn.form);
	/* LMSW AX: no memory */
	CHECK(!dec(&insn, 8, "0f 01 f0") && insn.reg == 6 && !insn.form);
	CHECK(!dec(&insn, 8, "41 54") && insn.len == 2 && insn.reg == 12 && insn.op_size == 8);
	CHECK(!dec(&insn, 8, "f3 0f 09") && insn.opcode == 0x109);
}

TEST(refused)
{
	static const struct {
		enum wafer_code_mode mode;
		const char *hex;
		int ret;
	} t[] = {
		{ 8, "06", -EINVAL }, { 4, "06", 0 }, { 8, "d6", -EINVAL },
		{ 8, "82 00 00", -EINVAL }, { 4, "82 00 00", 0 },
		{ 8, "9a 00 00 00 00 00 00", -EINVAL }, { 8, "0f 0b", -EINVAL },
		{ 8, "0f 04", -EINVAL },
		{ 8, "f0 89 00", -EINVAL }, { 8, "f0 01 00", 0 }, { 8, "f0 03 00", -EINVAL },
		{ 8, "f0 01 c0", -EINVAL },
		{ 8, "f0 39 00", -EINVAL }, { 8, "f0 83 38 00", -EINVAL }, { 8, "f0 83 00 00", 0 },
		{ 8, "f0 0f a3 00", -EINVAL }, { 8, "f0 0f ab 00", 0 }, { 8, "f0 0f b1 00", 0 },
		{ 8, "f0 0f c7 08", 0 },
		{ 8, "f0 87 00", 0 }, { 8, "f0 d1 00", -EINVAL }, { 8, "f0 f7 10", 0 },
		{ 8, "f0 f7 00 00 00 00 00", -EINVAL },
		{ 8, "f0 a4", -EINVAL }, { 8, "f0 ff 00", 0 }, { 8, "f0 ff 30", -EINVAL },
		{ 8, "f0 0f 10 00", -EINVAL },
		{ 8, "66 c5 f8 10 00", -EINVAL }, { 8, "48 c5 f8 10 00", -EINVAL },
		{ 8, "f0 c5 f8 10 00", -EINVAL },
		{ 8, "c4 e0 78 10 00", -EINVAL }, { 8, "c4 e4 78 10 00", -EINVAL },
		{ 8, "f3 c5 f8 10 00", -EINVAL }, { 8, "c4 e5 78 10 00", -EINVAL },
		{ 8, "62 f7 7c 48 10 00", -EINVAL }, { 8, "c5 f8 05", -EINVAL },
		{ 8, "8f c8 00 00", -EINVAL }, { 8, "fe 10", -EINVAL }, { 8, "ff 38", -EINVAL },
		{ 8, "c6 08 00", -EINVAL },
		{ 8, "0f ba 00 00", -EINVAL }, { 8, "0f ff", -EINVAL }, { 8, "", -EAGAIN },
		{ 8, "f0", -EAGAIN },
		/* 15 bytes are allowed, 16 are not */
		{ 8, "66 66 66 66 66 66 66 66 66 66 66 66 66 8b 00", 0 },
		{ 8, "66 66 66 66 66 66 66 66 66 66 66 66 66 66 8b 00", -EINVAL },
		{ 8, "66 66 66 66 66 66 66 66 66 66 66 66 66 66 66 66", -EINVAL },
		{ 8, "2e 2e 2e 2e 2e 2e 2e 81 80 00 00 00 00 11 11 11 11", -EINVAL },
		{ 8, "66 66 66 66 66 66 66 66", -EAGAIN },
	};
	struct wafer_insn insn;
	unsigned int i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(t); i++) {
		ret = dec(&insn, t[i].mode, t[i].hex);
		CHECK_MSG(ret == t[i].ret, "%s: %d, expected %d", t[i].hex, ret, t[i].ret);
	}
}

/* SDM vol. 2 appendix A: instructions that 64-bit code does not have. */
TEST(not_in_64_bit_code)
{
	static const char *const hex[] = {
		"06", "07", "0e", "16", "17", "1e", "1f", "27", "2f", "37", "3f", "60", "61", "ce",
		"d4 0a", "d5 0a", "d6", "9a 00 00 00 00 00 00", "ea 00 00 00 00 00 00",
	};
	struct wafer_insn insn;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(hex); i++) {
		CHECK_MSG(dec(&insn, 8, hex[i]) == -EINVAL, "%s in 64-bit code", hex[i]);
		CHECK_MSG(!dec(&insn, 4, hex[i]) && insn.len == (strlen(hex[i]) + 1) / 3,
			  "%s in 32-bit code", hex[i]);
	}
}

/* SDM vol. 2 tables: nothing is there. */
TEST(undefined)
{
	static const char *const hex[] = {
		"0f 04", "0f 0a", "0f 0b", "0f 0c", "0f 24 c0", "0f 27 c0", "0f 36", "0f 39",
		"0f 3b", "0f 3f", "0f 7a c0", "0f 7b c0", "0f a6 c0", "0f a7 c0", "0f b9 c0",
		"0f ff c0",
		"8f 08", "8f 10", "8f 18", "8f 20", "8f 28", "8f 30", "8f 38", "fe 10", "fe 18",
		"fe 20", "fe 28", "fe 30", "fe 38", "ff 38", "0f ba 00 00", "0f ba 08 00",
		"0f ba 10 00", "0f ba 18 00", "c6 08 00", "c6 10 00", "c6 18 00", "c6 20 00",
		"c6 28 00", "c6 30 00",
	};
	struct wafer_insn insn;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(hex); i++) {
		CHECK_MSG(dec(&insn, 8, hex[i]) == -EINVAL, "%s in 64-bit code", hex[i]);
		CHECK_MSG(dec(&insn, 4, hex[i]) == -EINVAL, "%s in 32-bit code", hex[i]);
	}
}

/* SDM vol. 2 §2.2.1.7: the stack and near branches need no REX.W. */
TEST(operands_of_64_bits)
{
	static const char *const hex[] = {
		"50", "6a 00", "68 00 00 00 00", "70 00", "c2 00 00", "c3", "c8 00 00 00", "c9",
		"e0 00", "e3 00", "e8 00 00 00 00", "e9 00 00 00 00", "eb 00", "ff 10", "ff 20",
		"ff 30", "8f 00", "0f 80 00 00 00 00", "0f a0", "0f a9", "9c", "9d",
	};
	struct wafer_insn insn;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(hex); i++)
		CHECK_MSG(!dec(&insn, 8, hex[i]) && insn.op_size == 8, "%s: %u", hex[i],
			  insn.op_size);
	CHECK(!dec(&insn, 8, "66 50") && insn.op_size == 2);
	CHECK(!dec(&insn, 8, "66 70 00") && insn.op_size == 8);
	CHECK(!dec(&insn, 4, "50") && insn.op_size == 4);
}

/*
 * SDM vol. 2 §2.3.5: what the fields of VEX stand for, inverted ones and
 * those that 32-bit code ignores.
 */
TEST(vex_fields)
{
	struct wafer_insn insn;

	CHECK(!dec(&insn, 8, "c5 fa 10 00") && insn.vex && insn.rep == 0xf3 && insn.vex_v == 0);
	CHECK(!dec(&insn, 8, "c5 fb 10 00") && insn.rep == 0xf2);
	CHECK(!dec(&insn, 8, "c5 f8 10 00") && !insn.rep);
	CHECK(!dec(&insn, 8, "c5 80 10 c1") && insn.vex_v == 15);
	CHECK(!dec(&insn, 8, "c4 41 b8 10 c1") && insn.vex_v == 8 && insn.reg == 8 && insn.rm == 9);
	CHECK(!dec(&insn, 4, "c4 c1 b8 10 c1") && insn.vex_v == 0 && insn.reg == 0 && insn.rm == 1);
	CHECK(!dec(&insn, 8, "41 8b c1") && insn.rm == 9);
}

/* Forms that look like others must not be taken for them. */
TEST(no_form)
{
	static const char *const hex[] = {
		"8b c0", "c4 e2 70 f2 00", "c4 e2 78 f0 00", "c5 f9 6e c0", "0f 6e 00",
		"f2 0f 38 f0 00", "0f 7e 00",
		"62 f1 7c 48 10 00", "0f b8 00", "f7 e0", "0f c7 30", "c7 f8 00 00 00 00",
		"f3 0f 12 00",
		"f2 0f 12 00", "0f 01 00", "d8 00", "f3 0f bc 00", "c5 f8 40 00", "66 0f 38 2b 00",
		"8d 00", "c8 00 00 01", "0f 00 00", "c2 08 00", "ff 18",
	};
	struct wafer_insn insn;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(hex); i++) {
		int ret = dec(&insn, WAFER_CODE64, hex[i]);

		CHECK_MSG(!ret && !insn.form, "%s: %d, form %p", hex[i], ret, insn.form);
	}
	CHECK(!dec(&insn, 4, "63 00") && !insn.form);	/* ARPL */
	/* LTR of a register: the descriptor may be where a write exits. */
	CHECK(!dec(&insn, WAFER_CODE64, "41 0f 00 d9") && insn.form && insn.rm == 9);
}

/* No bytes make it read beyond its input or run on. */
TEST(random_bytes)
{
	static const enum wafer_code_mode modes[] = { WAFER_CODE16, WAFER_CODE32, WAFER_CODE64 };
	struct wafer_insn insn;
	unsigned int i, j, nr;

	for (i = 0; i < 500000; i++) {
		u8 raw[16], *tight;

		for (j = 0; j < 16; j += 8)
			memcpy(raw + j, &(u64){ rnd() }, 8);
		nr = rnd() % 17;
		tight = malloc(nr ?: 1);
		memcpy(tight, raw, nr);
		if (!wafer_insn_decode(&insn, tight, nr, modes[i % 3]))
			CHECK(insn.len && insn.len <= nr && insn.len <= WAFER_INSN_MAX);
		free(tight);
	}
}

TAP_MAIN()
