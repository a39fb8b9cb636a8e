// SPDX-License-Identifier: GPL-2.0
/*
 * What the CPU cannot show: which accesses a device sees and in which order, trips to the VMM,
 * faults between them, bounded batches, locked instructions on RAM, modes that user space does not
 * have.
 */
#include <linux/errno.h>

#include "tap.h"
#include "vcpu/insn.h"

#define DEV	0x1f000ull		/* a page of device, just below */
#define RAM	0x20000ull		/* two pages of RAM; linear is physical */
#define HOLE	0x40000ull		/* not mapped */

static struct {
	u8 ram[0x2000];
	u8 dev[0x1000];
	struct wafer_segment seg[WAFER_NR_SEGS];
	char trace[8192];		/* "r4@1f000=12 w4@..." as the device sees it */
	bool ask;			/* the device is the VMM's */
	int error;			/* what the next access or translation says instead */
	unsigned int translations, races;
	gva_t unmap;			/* this page is not mapped either */
	u8 vec[32];
} m;

static u64 gpr[16];
static struct wafer_emu emu;

static const struct wafer_segment *op_segment(struct wafer_emu *e, enum wafer_seg_reg seg)
{
	return &m.seg[seg];
}

static int op_translate(struct wafer_emu *e, gva_t gva, u32 access, gpa_t *gpa)
{
	m.translations++;
	if (gva >= HOLE || gva < DEV || (gva >= RAM + sizeof(m.ram) && gva < HOLE) ||
	    (m.unmap && gva / 4096 == m.unmap / 4096)) {
		e->event = (struct wafer_event){
			.kind = WAFER_EV_EXCEPTION, .vector = 14, .has_error = true,
			.has_payload = true,
			.payload = gva, .error = access & WAFER_FAULT_WRITE ? 2 : 0,
		};
		return 1;
	}
	*gpa = gva;
	return 0;
}

static void trace(char kind, gpa_t gpa, const void *data, unsigned int len)
{
	u64 val = 0;

	memcpy(&val, data, min(len, 8u));
	sprintf(m.trace + strlen(m.trace), "%s%c%u@%llx=%llx", *m.trace ? " " : "", kind, len, gpa,
		val);
}

static bool is_dev(gpa_t gpa)
{
	return gpa - DEV < 0x1000;
}

/* One port, which counts; m.ask: it is the VMM's. */
static int port(void *data, unsigned int len, bool write)
{
	static u8 count;

	if (m.ask)
		return 1;
	if (!write)
		memset(data, count++, len);
	trace(write ? 'o' : 'i', 0, data, len);
	return 0;
}

static int op_access(struct wafer_emu *e, gpa_t gpa, void *data, unsigned int len, bool write)
{
	u8 *p = is_dev(gpa) ? m.dev + gpa - DEV : m.ram + gpa - RAM;
	int ret = m.error;

	m.error = 0;
	if (ret)
		return ret;
	if (gpa == WAFER_EMU_PORT)
		return port(data, len, write);
	if (is_dev(gpa) && m.ask)
		return 1;
	memcpy(write ? p : data, write ? data : p, len);
	if (is_dev(gpa))
		trace(write ? 'w' : 'r', gpa, data, len);
	return 0;
}

static int op_cmpxchg(struct wafer_emu *e, gpa_t gpa, void *old, const void *new, unsigned int len)
{
	u8 *p = m.ram + gpa - RAM;

	if (is_dev(gpa))
		return 1;
	if (m.races) {
		m.races--;
		p[0]++;
	}
	trace('x', gpa, new, len);
	if (memcmp(p, old, len))
		memcpy(old, p, len);
	else
		memcpy(p, new, len);
	return 0;
}

/* Bytes of m.vec by number for MMX */
static void op_vec(struct wafer_emu *e, unsigned int nr, void *data, unsigned int bytes, bool write,
		   bool zero_upper)
{
	u8 *reg = bytes == 8 ? m.vec + nr : m.vec;

	memcpy(write ? reg : data, write ? data : reg, bytes);
}

/* Selectors below 4 are bad. */
static int op_load_segment(struct wafer_emu *e, enum wafer_seg_reg seg, u16 selector)
{
	if (selector < 4)
		return wafer_raise(e, 13);
	m.seg[seg].selector = selector;
	return 0;
}

static int op_set_msw(struct wafer_emu *e, u16 val)
{
	e->cr0 = val;
	return 0;
}

static struct wafer_emu_ops ops;

/* The VMM does what the last entry of the log says. */
static void vmm(void)
{
	struct wafer_emu_access *a = &emu.log[emu.nr_log - 1];
	u8 *p = m.dev + a->gpa - DEV;

	if (a->gpa == WAFER_EMU_PORT) {
		if (!a->write)
			memset(a->data, 0x5a, sizeof(a->data));
		trace(a->write ? 'O' : 'I', 0, a->data, a->len);
		return;
	}
	CHECK(is_dev(a->gpa));
	if (a->write) {
		memcpy(p, a->data, a->len);
	} else {
		memset(a->data, 0xee, sizeof(a->data));
		memcpy(a->data, p, a->len);
	}
	trace(a->write ? 'W' : 'R', a->gpa, p, a->len);
}

static void start(enum wafer_code_mode mode, const char *hex)
{
	static bool once;
	u8 code[16] = { 0 };
	unsigned int n = 0, b, i;

	for (; sscanf(hex, "%2x", &b) == 1; hex += hex[2] ? 3 : 2)
		code[n++] = b;
	if (!once) {
		ops = (struct wafer_emu_ops){
			op_segment, op_translate, op_access, op_cmpxchg, op_vec, op_load_segment,
			op_set_msw,
		};
		once = true;
	}
	memset(&emu, 0xcc, sizeof(emu));
	if (wafer_insn_decode(&emu.insn, code, n, mode) || emu.insn.len != n)
		FAIL("cannot decode");
	emu.ops = &ops;
	emu.gpr = gpr;
	emu.rip = 0x1000;
	emu.rflags = 2;
	emu.va_bits = 48;
	emu.real = false;
	emu.nr_log = 0;
	emu.stop = false;
	emu.batch = 0;
	m.trace[0] = 0;
	m.ask = true;
	m.error = 0;
	m.translations = 0;
	m.races = 0;
	m.unmap = 0;
	for (i = 0; i < WAFER_NR_SEGS; i++) {
		m.seg[i].base = 0;
		m.seg[i].limit = mode == WAFER_CODE16 ? 0xffff : 0xffffffff;
		m.seg[i].attr = (i == WAFER_CS ? 0xb : 3) | WAFER_SEG_S | WAFER_SEG_P |
				(mode == WAFER_CODE16 ? 0 : WAFER_SEG_DB);
	}
}

/* Goes on until something other than the VMM is needed. */
static int run(void)
{
	unsigned int i;
	int ret;

	for (i = 0; i < 1000; i++) {
		ret = wafer_emulate(&emu);
		if (ret != WAFER_EMU_USER)
			return ret;
		vmm();
	}
	return -1;
}

static void fault_is(u8 vector, u64 addr)
{
	CHECK_EQ(emu.event.vector, vector);
	CHECK_EQ(emu.event.kind, WAFER_EV_EXCEPTION);
	CHECK(emu.event.has_error);
	if (vector == 14)
		CHECK_EQ(emu.event.payload, addr);
	else
		CHECK_EQ(emu.event.error, 0);
	CHECK_EQ(emu.rip, 0x1000);
}

#define TRACE_IS(t)	\
	CHECK_MSG(!strcmp(m.trace, t), "device saw \"%s\", expected \"%s\"", m.trace, t)

TEST(read_modify_write)
{
	start(WAFER_CODE64, "01 07");			/* add [rdi], eax */
	gpr[WAFER_RDI] = DEV + 0x10;
	gpr[WAFER_RAX] = 5;
	*(u32 *)(m.dev + 0x10) = 0xffffffff;
	CHECK_EQ(run(), WAFER_EMU_DONE);
	TRACE_IS("R4@1f010=ffffffff W4@1f010=4");
	CHECK_EQ(emu.rip, 0x1002);
	CHECK_EQ(emu.rflags & 0x8d5, 0x11);		/* CF and AF */
	CHECK_EQ(emu.nr_log, 0);
	CHECK_EQ(m.translations, 1);
}

/* A compare reads once and a store does not read. */
TEST(no_idle_accesses)
{
	start(WAFER_CODE64, "83 3f 04");		/* cmp [rdi], 4 */
	gpr[WAFER_RDI] = DEV;
	*(u32 *)m.dev = 4;
	CHECK_EQ(run(), WAFER_EMU_DONE);
	TRACE_IS("R4@1f000=4");
	start(WAFER_CODE64, "c7 07 78 56 34 12");
	CHECK_EQ(run(), WAFER_EMU_DONE);
	TRACE_IS("W4@1f000=12345678");
	start(WAFER_CODE64, "0f 95 07");		/* setne */
	CHECK_EQ(run(), WAFER_EMU_DONE);
	TRACE_IS("W1@1f000=1");
	/* cmove, not taken: reads, and clears the upper half */
	start(WAFER_CODE64, "0f 44 07");
	gpr[WAFER_RAX] = 0xdeadbeefcafebabe;
	CHECK_EQ(run(), WAFER_EMU_DONE);
	TRACE_IS("R4@1f000=12345601");
	CHECK_EQ(gpr[WAFER_RAX], 0xcafebabe);
}

/* Half RAM, half device: neither is touched twice, and RAM that was changed is not read again. */
TEST(half_ram)
{
	/* inc qword [rdi], over the end of the device's page */
	start(WAFER_CODE64, "48 ff 07");
	gpr[WAFER_RDI] = RAM - 4;
	*(u32 *)(m.dev + 0xffc) = 0xffffffff;
	*(u32 *)m.ram = 7;
	CHECK_EQ(run(), WAFER_EMU_DONE);
	TRACE_IS("R4@1fffc=ffffffff W4@1fffc=0");
	CHECK_EQ(*(u32 *)m.ram, 8);
	CHECK_EQ(m.translations, 2);
	/* xchg: locked on RAM only if all of it is RAM */
	start(WAFER_CODE64, "48 87 07");
	gpr[WAFER_RAX] = 0x1111111122222222;
	CHECK_EQ(run(), WAFER_EMU_DONE);
	TRACE_IS("R4@1fffc=0 W4@1fffc=22222222");
	CHECK_EQ(*(u32 *)m.ram, 0x11111111);
	CHECK_EQ(gpr[WAFER_RAX], 0x800000000);
}

TEST(movs_between_ram_and_device)
{
	start(WAFER_CODE64, "a5");
	gpr[WAFER_RSI] = RAM + 0x100;
	gpr[WAFER_RDI] = DEV;
	*(u32 *)(m.ram + 0x100) = 0x11;
	CHECK_EQ(wafer_emulate(&emu), WAFER_EMU_USER);
	CHECK(emu.nr_log && emu.log[emu.nr_log - 1].write && emu.log[emu.nr_log - 1].gpa == DEV);
	CHECK_EQ(emu.log[emu.nr_log - 1].data[0], 0x11);
	CHECK_EQ(gpr[WAFER_RSI], RAM + 0x100);
	*(u32 *)(m.ram + 0x100) = 0x22;			/* changed while the VMM is busy */
	vmm();
	CHECK_EQ(wafer_emulate(&emu), WAFER_EMU_DONE);
	TRACE_IS("W4@1f000=11");
	CHECK_EQ(gpr[WAFER_RSI], RAM + 0x104);
	start(WAFER_CODE64, "48 a5");			/* device to device, 8 bytes */
	gpr[WAFER_RSI] = DEV;
	gpr[WAFER_RDI] = DEV + 8;
	*(u64 *)m.dev = 0x0102030405060708;
	CHECK_EQ(run(), WAFER_EMU_DONE);
	TRACE_IS("R8@1f000=102030405060708 W8@1f008=102030405060708");
}

TEST(rest_of_log_entry)
{
	/* what the VMM leaves beyond the length is nothing */
	start(WAFER_CODE64, "0f b6 07");
	gpr[WAFER_RDI] = DEV;
	m.dev[0] = 0x7f;
	CHECK_EQ(run(), WAFER_EMU_DONE);
	CHECK_EQ(gpr[WAFER_RAX], 0x7f);
}

/* A stack in a device: RSP and RBP change when the access is done, and not if it fails. */
TEST(stack_in_a_device)
{
	start(WAFER_CODE64, "6a f9");			/* push -7 */
	gpr[WAFER_RSP] = DEV + 0x100;
	CHECK_EQ(wafer_emulate(&emu), WAFER_EMU_USER);
	CHECK_EQ(gpr[WAFER_RSP], DEV + 0x100);
	vmm();
	CHECK_EQ(wafer_emulate(&emu), WAFER_EMU_DONE);
	TRACE_IS("W8@1f0f8=fffffffffffffff9");
	CHECK_EQ(gpr[WAFER_RSP], DEV + 0xf8);
	start(WAFER_CODE64, "c9");			/* leave */
	gpr[WAFER_RBP] = DEV + 0xf8;
	gpr[WAFER_RSP] = RAM;
	CHECK_EQ(wafer_emulate(&emu), WAFER_EMU_USER);
	CHECK_EQ(gpr[WAFER_RSP], RAM);
	vmm();
	CHECK_EQ(wafer_emulate(&emu), WAFER_EMU_DONE);
	CHECK_EQ(gpr[WAFER_RSP], DEV + 0x100);
	CHECK_EQ(gpr[WAFER_RBP], -7ull);
	start(WAFER_CODE64, "c8 38 12 00");		/* enter 0x1238, 0 */
	CHECK_EQ(run(), WAFER_EMU_DONE);
	TRACE_IS("W8@1f0f8=fffffffffffffff9");
	CHECK_EQ(gpr[WAFER_RBP], DEV + 0xf8);
	CHECK_EQ(gpr[WAFER_RSP], DEV + 0xf8 - 0x1238);
	/* with a frame of another procedure: not known */
	start(WAFER_CODE64, "c8 38 12 01");
	CHECK(!emu.insn.form);
	start(WAFER_CODE64, "c3");			/* ret, to where no code can be */
	gpr[WAFER_RSP] = DEV;
	*(u64 *)m.dev = 1ull << 62;
	CHECK_EQ(run(), WAFER_EMU_EVENT);
	fault_is(13, 0);
	CHECK_EQ(gpr[WAFER_RSP], DEV);
	start(WAFER_CODE64, "c3");
	*(u64 *)m.dev = 0x2000;
	CHECK_EQ(run(), WAFER_EMU_DONE);
	CHECK_EQ(emu.rip, 0x2000);
	CHECK_EQ(gpr[WAFER_RSP], DEV + 8);
}

/* m16:64, m16:32, m16:16: RIP changes only with CS. */
TEST(far_jump)
{
	gpr[WAFER_RDI] = DEV + 0x10;
	start(WAFER_CODE64, "48 ff 2f");
	memcpy(m.dev + 0x10, &(u64){ 0x123456789abc }, 8);
	m.dev[0x18] = 8;
	m.dev[0x19] = 0;
	CHECK_EQ(run(), WAFER_EMU_DONE);
	TRACE_IS("R8@1f010=123456789abc R2@1f018=8");
	CHECK_EQ(emu.rip, 0x123456789abc);
	CHECK_EQ(m.seg[WAFER_CS].selector, 8);
	start(WAFER_CODE64, "48 ff 2f");
	m.dev[0x18] = 0;
	CHECK_EQ(run(), WAFER_EMU_EVENT);
	fault_is(13, 0);
	start(WAFER_CODE32, "ff 2f");
	memcpy(m.dev + 0x10, "\x78\x56\x34\x12\x18", 6);
	CHECK_EQ(run(), WAFER_EMU_DONE);
	TRACE_IS("R6@1f010=1812345678");
	CHECK_EQ(emu.rip, 0x12345678);
	CHECK_EQ(m.seg[WAFER_CS].selector, 0x18);
}

/* What is not a general register. */
TEST(system_registers)
{
	gpr[WAFER_RDI] = DEV;
	start(WAFER_CODE64, "8e 17");			/* mov ss, [rdi] */
	*(u16 *)m.dev = 0x28;
	CHECK_EQ(run(), WAFER_EMU_DONE);
	TRACE_IS("R2@1f000=28");
	CHECK_EQ(m.seg[WAFER_SS].selector, 0x28);
	start(WAFER_CODE64, "0f 00 1f");		/* ltr */
	CHECK_EQ(run(), WAFER_EMU_DONE);
	CHECK_EQ(m.seg[WAFER_TR].selector, 0x28);
	/* smsw: two bytes, whatever the operand size */
	start(WAFER_CODE64, "0f 01 27");
	emu.cr0 = 0x80050033;
	CHECK_EQ(run(), WAFER_EMU_DONE);
	TRACE_IS("W2@1f000=33");
	start(WAFER_CODE64, "0f 01 37");		/* lmsw */
	CHECK_EQ(run(), WAFER_EMU_DONE);
	CHECK_EQ(emu.cr0, 0x33);
	start(WAFER_CODE64, "0f 7f 2f");		/* movq [rdi], mm5 */
	m.vec[5] = 0x99;
	CHECK_EQ(run(), WAFER_EMU_DONE);
	CHECK_EQ(m.dev[0], 0x99);
	start(WAFER_CODE64, "0f 6f 17");		/* movq mm2, [rdi] */
	CHECK_EQ(run(), WAFER_EMU_DONE);
	CHECK_EQ(m.vec[2], 0x99);
}

/* #DE has no error code. */
TEST(divide_error)
{
	start(WAFER_CODE64, "f7 37");			/* div dword [rdi] */
	gpr[WAFER_RDI] = DEV;
	gpr[WAFER_RAX] = 1;
	gpr[WAFER_RDX] = 2;
	*(u32 *)m.dev = 2;
	CHECK_EQ(run(), WAFER_EMU_EVENT);
	CHECK_EQ(emu.event.vector, 0);
	CHECK(!emu.event.has_error);
	CHECK_EQ(gpr[WAFER_RAX], 1);
	CHECK_EQ(gpr[WAFER_RDX], 2);
	CHECK_EQ(emu.rip, 0x1000);
}

/* CPUs read ES:DI first. */
TEST(cmps_order)
{
	start(WAFER_CODE64, "a6");
	gpr[WAFER_RSI] = DEV + 1;
	gpr[WAFER_RDI] = DEV + 2;
	m.dev[1] = 5;
	m.dev[2] = 6;
	CHECK_EQ(run(), WAFER_EMU_DONE);
	TRACE_IS("R1@1f002=6 R1@1f001=5");
	CHECK(emu.rflags & 1);				/* 5 - 6 */
}

/* The port's trip and the memory's are two; neither is made twice. */
TEST(string_port_io)
{
	start(WAFER_CODE64, "f3 66 6d");		/* rep insw, into a device */
	gpr[WAFER_RDI] = DEV + 0xffe;
	gpr[WAFER_RCX] = 2;
	CHECK_EQ(run(), WAFER_EMU_DONE);
	TRACE_IS("I2@0=5a5a W2@1fffe=5a5a I2@0=5a5a");
	CHECK_EQ(*(u16 *)m.ram, 0x5a5a);
	CHECK_EQ(gpr[WAFER_RDI], RAM + 2);
	CHECK_EQ(gpr[WAFER_RCX], 0);
	start(WAFER_CODE64, "6f");			/* outsl, from a device */
	gpr[WAFER_RSI] = DEV + 8;
	*(u32 *)(m.dev + 8) = 0x11223344;
	emu.rflags |= X86_EFLAGS_DF;
	CHECK_EQ(run(), WAFER_EMU_DONE);
	TRACE_IS("R4@1f008=11223344 O4@0=11223344");
	CHECK_EQ(gpr[WAFER_RSI], DEV + 4);
	/* memory that is not there, before the port is read */
	start(WAFER_CODE64, "f3 6c");
	m.ask = false;
	gpr[WAFER_RDI] = RAM + 0x1fff;
	gpr[WAFER_RCX] = 2;
	CHECK_EQ(run(), WAFER_EMU_EVENT);
	fault_is(14, RAM + 0x2000);
	TRACE_IS("i1@0=0");
	CHECK_EQ(gpr[WAFER_RCX], 1);
}

TEST(vectors_in_pieces)
{
	start(WAFER_CODE64, "c5 fe 6f 07");		/* vmovdqu ymm0, [rdi] */
	gpr[WAFER_RDI] = DEV + 0x3d;
	memset(m.dev + 0x3d, 0xab, 32);
	CHECK_EQ(run(), WAFER_EMU_DONE);
	TRACE_IS("R8@1f03d=abababababababab R8@1f045=abababababababab R8@1f04d=abababababababab "
		 "R8@1f055=abababababababab");
	CHECK(m.vec[0] == 0xab && m.vec[31] == 0xab);
	/* over the page's end: 8, 3 and then 5 bytes of RAM */
	start(WAFER_CODE64, "0f 11 07");
	gpr[WAFER_RDI] = RAM - 11;
	CHECK_EQ(run(), WAFER_EMU_DONE);
	TRACE_IS("W8@1fff5=abababababababab W3@1fffd=ababab");
	CHECK(m.ram[4] == 0xab && m.ram[5] != 0xab);
	/* whoever has no vector registers at hand, or no port, can tell before it begins */
	CHECK(wafer_insn_uses(&emu.insn, WAFER_AT_VEC, WAFER_AT_VECHI));
	CHECK(!wafer_insn_uses(&emu.insn, WAFER_AT_PORT, WAFER_AT_PORT));
	start(WAFER_CODE64, "6e");
	CHECK(wafer_insn_uses(&emu.insn, WAFER_AT_PORT, WAFER_AT_PORT));
	start(WAFER_CODE64, "89 07");
	CHECK(!wafer_insn_uses(&emu.insn, WAFER_AT_PORT, WAFER_AT_VECHI));
}

/* All operands' pages are checked before a device sees anything. */
TEST(checks_come_first)
{
	start(WAFER_CODE64, "a5");
	gpr[WAFER_RSI] = DEV;
	gpr[WAFER_RDI] = RAM + 0x1ffe;
	CHECK_EQ(run(), WAFER_EMU_EVENT);
	fault_is(14, RAM + 0x2000);				/* the second page's first byte */
	CHECK_EQ(emu.event.error, 2);
	TRACE_IS("");
	CHECK_EQ(gpr[WAFER_RSI], DEV);
	start(WAFER_CODE64, "ff 37");			/* push [rdi] */
	gpr[WAFER_RDI] = DEV;
	gpr[WAFER_RSP] = HOLE + 0x800;
	CHECK_EQ(run(), WAFER_EMU_EVENT);
	fault_is(14, HOLE + 0x7f8);
	TRACE_IS("");
	CHECK_EQ(gpr[WAFER_RSP], HOLE + 0x800);
	start(WAFER_CODE64, "8f 07");			/* pop [rdi] */
	gpr[WAFER_RDI] = HOLE;
	gpr[WAFER_RSP] = DEV;
	CHECK_EQ(run(), WAFER_EMU_EVENT);
	fault_is(14, HOLE);
	TRACE_IS("");
	CHECK_EQ(gpr[WAFER_RSP], DEV);
}

/* A page that disappears while the VMM is busy: the access is done, so the instruction ends. */
TEST(unmapped_during_trip)
{
	start(WAFER_CODE64, "48 01 07");
	gpr[WAFER_RDI] = DEV;
	CHECK_EQ(wafer_emulate(&emu), WAFER_EMU_USER);
	vmm();
	m.unmap = DEV;
	CHECK_EQ(run(), WAFER_EMU_DONE);
	CHECK_EQ(m.translations, 1);
}

/* An op that cannot do it now: what was done stays done. */
TEST(errors_pass_through)
{
	start(WAFER_CODE64, "48 01 07");
	gpr[WAFER_RDI] = DEV;
	gpr[WAFER_RAX] = 1;
	*(u64 *)m.dev = 0x10;
	CHECK_EQ(wafer_emulate(&emu), WAFER_EMU_USER);
	vmm();
	m.error = -EAGAIN;
	CHECK_EQ((u64)wafer_emulate(&emu), (u64)-EAGAIN);
	CHECK_EQ(run(), WAFER_EMU_DONE);
	TRACE_IS("R8@1f000=10 W8@1f000=11");
}

/* Somebody who answers with another access than was asked for. */
TEST(log_does_not_match)
{
	start(WAFER_CODE64, "8b 07");
	gpr[WAFER_RDI] = DEV;
	CHECK_EQ(wafer_emulate(&emu), WAFER_EMU_USER);
	emu.log[0].len = 8;
	CHECK_EQ(wafer_emulate(&emu), WAFER_EMU_UNKNOWN);
}

TEST(locked_on_ram)
{
	start(WAFER_CODE64, "f0 ff 07");
	gpr[WAFER_RDI] = RAM;
	*(u32 *)m.ram = 41;
	CHECK_EQ(run(), WAFER_EMU_DONE);
	TRACE_IS("x4@20000=2a");
	CHECK_EQ(*(u32 *)m.ram, 42);
	start(WAFER_CODE64, "f0 ff 07");
	/* lost: nothing happens, the guest does it again */
	m.races = 1;
	CHECK_EQ(run(), WAFER_EMU_RETRY);
	CHECK_EQ(*(u32 *)m.ram, 43);
	CHECK_EQ(emu.rip, 0x1000);
	CHECK_EQ(emu.rflags, 2);
	CHECK_EQ(emu.nr_log, 0);
	start(WAFER_CODE64, "48 87 07");		/* XCHG is always locked */
	gpr[WAFER_RAX] = 9;
	CHECK_EQ(run(), WAFER_EMU_DONE);
	TRACE_IS("x8@20000=9");
	start(WAFER_CODE64, "f0 48 0f c7 0f");		/* 16 bytes at once */
	gpr[WAFER_RAX] = 9;
	gpr[WAFER_RDX] = *(u64 *)(m.ram + 8);
	gpr[WAFER_RBX] = 0x1234;
	gpr[WAFER_RCX] = 0x5678;
	CHECK_EQ(run(), WAFER_EMU_DONE);
	CHECK(*(u64 *)m.ram == 0x1234 && *(u64 *)(m.ram + 8) == 0x5678 && emu.rflags & 0x40);
	/* not aligned: no split lock of the kernel's */
	start(WAFER_CODE64, "f0 ff 47 02");
	CHECK_EQ(run(), WAFER_EMU_DONE);
	TRACE_IS("");
	start(WAFER_CODE64, "ff 07");			/* without LOCK it is a read and a write */
	CHECK_EQ(run(), WAFER_EMU_DONE);
	TRACE_IS("");
	start(WAFER_CODE64, "f0 ff 07");		/* on a device too */
	gpr[WAFER_RDI] = DEV;
	*(u32 *)m.dev = 1;
	CHECK_EQ(run(), WAFER_EMU_DONE);
	TRACE_IS("R4@1f000=1 W4@1f000=2");
	/* CMPXCHG writes in either case */
	start(WAFER_CODE64, "f0 0f b1 0f");
	gpr[WAFER_RAX] = 77;
	CHECK_EQ(run(), WAFER_EMU_DONE);
	TRACE_IS("R4@1f000=2 W4@1f000=2");
	CHECK_EQ(gpr[WAFER_RAX], 2);
}

TEST(batches)
{
	unsigned int trips = 0, again = 0;
	int ret;

	/* the kernel's own device: a bounded number of steps */
	start(WAFER_CODE64, "f3 aa");
	m.ask = false;
	gpr[WAFER_RCX] = 1 << 20;
	gpr[WAFER_RDI] = RAM;
	CHECK_EQ(wafer_emulate(&emu), WAFER_EMU_AGAIN);
	CHECK_EQ(gpr[WAFER_RDI] - RAM + gpr[WAFER_RCX], 1 << 20);
	CHECK(gpr[WAFER_RDI] - RAM >= 64 && gpr[WAFER_RDI] - RAM <= 4096);
	CHECK_EQ(emu.rip, 0x1000);
	CHECK_EQ(emu.rflags, 2 | X86_EFLAGS_RF);
	CHECK(m.translations <= 2);			/* one page, one translation */
	/* the VMM's: fewer */
	start(WAFER_CODE64, "f3 aa");
	gpr[WAFER_RCX] = 200;
	gpr[WAFER_RDI] = DEV;
	while ((ret = wafer_emulate(&emu)) != WAFER_EMU_DONE && trips < 1000) {
		if (ret == WAFER_EMU_USER) {
			vmm();
			trips++;
		} else {
			CHECK_EQ(ret, WAFER_EMU_AGAIN);
			again++;
		}
		m.trace[0] = 0;
	}
	CHECK_EQ(trips, 200);
	CHECK(again >= 5 && again <= 50);
	CHECK_EQ(emu.rip, 0x1002);
	/* the VMM wants it completed, and no more: the step that it has helped with */
	start(WAFER_CODE64, "f3 aa");
	gpr[WAFER_RCX] = 200;
	gpr[WAFER_RDI] = DEV;
	CHECK_EQ(wafer_emulate(&emu), WAFER_EMU_USER);
	vmm();
	emu.stop = true;
	CHECK_EQ(wafer_emulate(&emu), WAFER_EMU_AGAIN);
	CHECK_EQ(gpr[WAFER_RCX], 199);
	/* single-stepped: one at a time */
	start(WAFER_CODE64, "f3 a4");
	emu.rflags |= X86_EFLAGS_TF;
	gpr[WAFER_RCX] = 2;
	gpr[WAFER_RSI] = RAM;
	gpr[WAFER_RDI] = RAM + 0x800;
	CHECK_EQ(run(), WAFER_EMU_AGAIN);
	CHECK_EQ(gpr[WAFER_RCX], 1);
	CHECK_EQ(run(), WAFER_EMU_DONE);
	CHECK_EQ(gpr[WAFER_RCX], 0);
	CHECK_EQ(emu.rflags, 2 | X86_EFLAGS_TF);
}

/* A fault in the middle of a REP: the steps before it count. */
TEST(fault_in_rep)
{
	start(WAFER_CODE64, "f3 ab");
	gpr[WAFER_RCX] = 10;
	gpr[WAFER_RDI] = RAM + 0xff8;
	m.unmap = RAM + 0x1000;
	CHECK_EQ(run(), WAFER_EMU_EVENT);
	fault_is(14, RAM + 0x1000);
	CHECK_EQ(gpr[WAFER_RCX], 8);
	CHECK_EQ(gpr[WAFER_RDI], RAM + 0x1000);
}

TEST(rep_zero)
{
	start(WAFER_CODE64, "f3 a5");
	gpr[WAFER_RCX] = 0;
	gpr[WAFER_RSI] = HOLE;
	CHECK_EQ(run(), WAFER_EMU_DONE);
	CHECK_EQ(m.translations, 0);
	CHECK_EQ(emu.rip, 0x1002);
}

TEST(instruction_pointer)
{
	start(WAFER_CODE16, "89 07");
	gpr[WAFER_RBX] = 0;
	m.seg[WAFER_DS].base = RAM;
	emu.rip = 0xfffe;
	CHECK_EQ(run(), WAFER_EMU_DONE);
	/* #GP by the fetch there, as CPUs have it */
	CHECK_EQ(emu.rip, 0x10000);
	start(WAFER_CODE32, "89 07");
	gpr[WAFER_RDI] = RAM;
	emu.rip = 0xfffffffe;
	CHECK_EQ(run(), WAFER_EMU_DONE);
	CHECK_EQ(emu.rip, 0);
	/* RIP-relative: from the next instruction */
	start(WAFER_CODE64, "89 05 f4 1f 00 00");
	emu.rip = DEV - 0x1000;
	emu.rflags |= X86_EFLAGS_RF;
	CHECK_EQ(run(), WAFER_EMU_DONE);
	CHECK_EQ(emu.rip, DEV - 0x1000 + 6);
	CHECK_EQ(emu.rflags, 2);
	CHECK(!strncmp(m.trace, "W4@1fffa", 5));
}

TEST(branches)
{
	start(WAFER_CODE64, "ff 17");			/* call [rdi]: not canonical */
	gpr[WAFER_RDI] = RAM;
	gpr[WAFER_RSP] = RAM + 0x800;
	*(u64 *)m.ram = 0x800000000000;
	*(u64 *)(m.ram + 0x7f8) = 0;
	CHECK_EQ(run(), WAFER_EMU_EVENT);
	fault_is(13, 0);
	CHECK_EQ(*(u64 *)(m.ram + 0x7f8), 0);
	emu.va_bits = 57;
	CHECK_EQ(run(), WAFER_EMU_DONE);
	CHECK_EQ(emu.rip, 0x800000000000);
	CHECK_EQ(*(u64 *)(m.ram + 0x7f8), 0x1002);
	CHECK_EQ(gpr[WAFER_RSP], RAM + 0x7f8);
	start(WAFER_CODE32, "ff 27");			/* jmp [edi]: beyond CS */
	m.seg[WAFER_CS].limit = 0xffff;
	*(u32 *)m.ram = 0x10000;
	CHECK_EQ(run(), WAFER_EMU_EVENT);
	fault_is(13, 0);
	start(WAFER_CODE32, "66 ff 27");
	CHECK_EQ(run(), WAFER_EMU_DONE);
	CHECK_EQ(emu.rip, 0);
}

/* The stack's width is its segment's, not the code's. */
TEST(stack_width)
{
	start(WAFER_CODE32, "ff 37");
	m.seg[WAFER_SS].attr &= ~WAFER_SEG_DB;
	m.seg[WAFER_SS].base = RAM;
	gpr[WAFER_RDI] = RAM;
	gpr[WAFER_RSP] = 0x12340100;
	*(u32 *)m.ram = 0xabcd;
	CHECK_EQ(run(), WAFER_EMU_DONE);
	CHECK_EQ(gpr[WAFER_RSP], 0x123400fc);
	CHECK_EQ(*(u32 *)(m.ram + 0xfc), 0xabcd);
	start(WAFER_CODE32, "ff 37");
	m.seg[WAFER_SS].attr &= ~WAFER_SEG_DB;
	m.seg[WAFER_SS].base = RAM;
	m.seg[WAFER_SS].limit = 0xffff;
	gpr[WAFER_RSP] = 2;				/* fffe to 10001: over the limit */
	CHECK_EQ(run(), WAFER_EMU_EVENT);
	fault_is(12, 0);
	CHECK_EQ(gpr[WAFER_RSP], 2);
}

/* Checks that differ between modes. */
TEST(real_mode)
{
	start(WAFER_CODE16, "2e 89 07");		/* mov cs:[bx], ax */
	gpr[WAFER_RBX] = 0x10;
	m.seg[WAFER_CS].base = RAM;
	CHECK_EQ(run(), WAFER_EMU_EVENT);		/* code is not writable */
	fault_is(13, 0);
	emu.real = true;				/* in real mode it is */
	CHECK_EQ(run(), WAFER_EMU_DONE);
	start(WAFER_CODE16, "89 07");
	emu.real = true;
	gpr[WAFER_RBX] = 0xffff;			/* but the limit counts */
	m.seg[WAFER_DS].base = RAM;
	CHECK_EQ(run(), WAFER_EMU_EVENT);
	fault_is(13, 0);
}

TEST(segment_types)
{
	static const struct { u32 attr; bool read, write; } t[] = {
		{ 0x93, true, true }, { 0x91, true, false }, { 0x97, false, false },
		{ 0x99, false, false },
		{ 0x9b, true, false }, { 0x9d, false, false }, { 0x9f, true, false },
		{ 0x13, false, false },
		{ 0x93 | WAFER_SEG_UNUSABLE, false, false },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(t); i++) {
		start(WAFER_CODE32, "8b 07");
		gpr[WAFER_RDI] = RAM;
		m.seg[WAFER_DS].attr = t[i].attr | WAFER_SEG_DB;
		CHECK_MSG((run() == WAFER_EMU_DONE) == t[i].read, "type %x read", t[i].attr);
		start(WAFER_CODE32, "89 07");
		m.seg[WAFER_DS].attr = t[i].attr | WAFER_SEG_DB;
		CHECK_MSG((run() == WAFER_EMU_DONE) == t[i].write, "type %x write", t[i].attr);
		start(WAFER_CODE64, "89 07");		/* in 64-bit code nobody asks */
		m.seg[WAFER_DS].attr = t[i].attr;
		CHECK_EQ(run(), WAFER_EMU_DONE);
	}
}

/* A flat segment wraps at 4 GiB, another does not. */
TEST(wrap_at_4g)
{
	gva_t gva;

	start(WAFER_CODE32, "8b 07");
	CHECK_EQ(wafer_emu_linear(&emu, WAFER_DS, 0xfffffffe, 4, WAFER_FAULT_READ, &gva), 0);
	CHECK_EQ(gva, 0xfffffffe);
	m.seg[WAFER_DS].base = 0x1000;
	CHECK_EQ(wafer_emu_linear(&emu, WAFER_DS, 0xfffffffe, 4, WAFER_FAULT_READ, &gva),
		 WAFER_EMU_EVENT);
	CHECK_EQ(wafer_emu_linear(&emu, WAFER_DS, 0xfffffffc, 4, WAFER_FAULT_READ, &gva), 0);
	CHECK_EQ(gva, 0xffc);
	CHECK_EQ(wafer_emu_linear(&emu, WAFER_SS, 0, 4, WAFER_FAULT_READ, &gva), 0);
	m.seg[WAFER_SS].attr |= WAFER_SEG_UNUSABLE;
	CHECK_EQ(wafer_emu_linear(&emu, WAFER_SS, 0, 4, WAFER_FAULT_READ, &gva), WAFER_EMU_EVENT);
	CHECK_EQ(emu.event.vector, 12);
}

TEST(linear_in_64_bit)
{
	gva_t gva;

	start(WAFER_CODE64, "8b 07");
	m.seg[WAFER_FS].base = 0x7ffffffff000;
	m.seg[WAFER_DS].base = 0x1000;			/* is not looked at */
	CHECK_EQ(wafer_emu_linear(&emu, WAFER_DS, 0x10, 8, WAFER_FAULT_READ, &gva), 0);
	CHECK_EQ(gva, 0x10);
	CHECK_EQ(wafer_emu_linear(&emu, WAFER_FS, 0xff8, 8, WAFER_FAULT_READ, &gva), 0);
	CHECK_EQ(gva, 0x7ffffffffff8);
	CHECK_EQ(wafer_emu_linear(&emu, WAFER_FS, 0xff9, 8, WAFER_FAULT_READ, &gva),
		 WAFER_EMU_EVENT);
	CHECK_EQ(emu.event.vector, 13);
	CHECK_EQ(wafer_emu_linear(&emu, WAFER_SS, 1ull << 47, 1, WAFER_FAULT_READ, &gva),
		 WAFER_EMU_EVENT);
	CHECK_EQ(emu.event.vector, 12);
	emu.va_bits = 57;
	CHECK_EQ(wafer_emu_linear(&emu, WAFER_SS, 1ull << 47, 1, WAFER_FAULT_READ, &gva), 0);
	CHECK_EQ(wafer_emu_linear(&emu, WAFER_SS, 1ull << 56, 1, WAFER_FAULT_READ, &gva),
		 WAFER_EMU_EVENT);
}

TEST(unknown)
{
	start(WAFER_CODE64, "0f 01 07");		/* SGDT: has no form */
	CHECK_EQ(run(), WAFER_EMU_UNKNOWN);
	start(WAFER_CODE64, "8c 3f");			/* segment register 7 */
	gpr[WAFER_RDI] = DEV;
	CHECK_EQ(run(), WAFER_EMU_UNKNOWN);
	TRACE_IS("");
}

/* Whatever is in the instruction and in the registers: it ends, in bounds. */
TEST(random_instructions)
{
	static const enum wafer_code_mode modes[] = { WAFER_CODE16, WAFER_CODE32, WAFER_CODE64 };
	unsigned int i, j, done = 0;
	u8 code[16];
	int ret;

	for (i = 0; i < 400000; i++) {
		enum wafer_code_mode mode = modes[i % 3];

		memcpy(code, (u64[]){ rnd(), rnd() }, 16);
		if (i & 1)
			code[0] = 0x0f;
		if (i % 64 == 0)
			start(mode, "90");
		if (wafer_insn_decode(&emu.insn, code, 15, mode) || !emu.insn.form)
			continue;
		for (j = 0; j < 16; j++)
			gpr[j] = rnd() & 1 ? RAM + rnd() % 0x1000 : rnd() % 0x100;
		emu.insn.disp = (s8)emu.insn.disp;
		emu.nr_log = 0;
		emu.batch = 0;
		m.trace[0] = 0;
		emu.rip = RAM;
		ret = wafer_emulate(&emu);
		CHECK_MSG(ret >= 0 && ret <= WAFER_EMU_RETRY, "%d", ret);
		done += ret == WAFER_EMU_DONE;
	}
	CHECK_MSG(done > 3000, "only %u done", done);
}

TAP_MAIN()
