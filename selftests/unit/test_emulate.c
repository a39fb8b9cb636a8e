// SPDX-License-Identifier: GPL-2.0
/*
 * Each form that the executor knows against the same instruction on the CPU: random operands,
 * addressing, prefixes and code sizes; registers, flags, memory and faults must come out the same.
 * The executor's memory is now RAM, now a device that the VMM must be asked for, piece by piece.
 */
#include <linux/errno.h>

#include "native.h"
#include "tap.h"
#include "vcpu/insn.h"

#define PAGES		(NATIVE_SIZE / 4096)
#define FLAGS_SEEN	(WAFER_FLAGS_ARITH | X86_EFLAGS_DF)

int mprotect(void *addr, size_t len, int prot);

enum rights { RW, RO, NONE };

/* The executor's machine. */
static struct {
	u8 shadow[NATIVE_SIZE];		/* memory */
	u8 rights[PAGES];		/* of both machines */
	struct wafer_segment seg[WAFER_NR_SEGS];
	u8 vec[16][32];
	unsigned int accesses;
	unsigned int trips;		/* to the VMM */
	/* 0: RAM, 1: the VMM is asked for each access, 2: for some */
	int device;
} m;

static const char *unavailable;

static int prepare(void)
{
	static bool done;

	if (!done)
		unavailable = native_init();
	done = true;
	return unavailable != NULL;
}

static void set_rights(unsigned int page, enum rights r)
{
	static const int prot[] = { [RW] = 3, [RO] = 1, [NONE] = 0 };

	if (m.rights[page] == r)
		return;
	m.rights[page] = r;
	if (mprotect((void *)(NATIVE_DATA + page * 4096), 4096, prot[r]))
		FAIL("mprotect");
}

/* ---- what the executor calls ---- */

static const struct wafer_segment *op_segment(struct wafer_emu *emu, enum wafer_seg_reg seg)
{
	return &m.seg[seg];
}

/* Guest-physical is linear, from 2^40 on, so that one can't be taken for the other. */
#define GPA (1ull << 40)

static int op_translate(struct wafer_emu *emu, gva_t gva, u32 access, gpa_t *gpa)
{
	unsigned int page = (gva - NATIVE_DATA) / 4096;
	bool write = access & WAFER_FAULT_WRITE;

	CHECK(access == WAFER_FAULT_READ || access == WAFER_FAULT_WRITE);
	if (emu->nr_log)
		FAIL("translation after an access");
	if (gva < NATIVE_DATA || page >= PAGES || m.rights[page] == NONE ||
	    (write && m.rights[page] == RO)) {
		emu->event = (struct wafer_event){
			.kind = WAFER_EV_EXCEPTION, .vector = 14, .has_error = true,
			.has_payload = true,
			.error = 4 | write << 1 |
				(gva >= NATIVE_DATA && page < PAGES && m.rights[page] == RO),
			.payload = gva,
		};
		return 1;
	}
	*gpa = gva + GPA;
	return 0;
}

static void *op_memory(gpa_t gpa, unsigned int len)
{
	static u8 nowhere[32];

	if (gpa < GPA + NATIVE_DATA || gpa + len > GPA + NATIVE_DATA + NATIVE_SIZE || !len ||
	    len > 16 ||
	    gpa / 4096 != (gpa + len - 1) / 4096) {
		FAIL("access of %u bytes at %llx", len, gpa);
		return nowhere;
	}
	return m.shadow + gpa - GPA - NATIVE_DATA;
}

static bool ask(void)
{
	m.accesses++;
	return m.device == 1 || (m.device == 2 && (rnd() & 1));
}

static int op_access(struct wafer_emu *emu, gpa_t gpa, void *data, unsigned int len, bool write)
{
	void *p = op_memory(gpa, len);

	CHECK(len <= 8);
	if (ask())
		return 1;
	memcpy(write ? p : data, write ? data : p, len);
	return 0;
}

static int op_cmpxchg(struct wafer_emu *emu, gpa_t gpa, void *old, const void *new,
		      unsigned int len)
{
	void *p = op_memory(gpa, len);

	if (m.device)
		return 1;
	m.accesses++;
	if (memcmp(p, old, len))
		memcpy(old, p, len);
	else
		memcpy(p, new, len);
	return 0;
}

static void op_vec(struct wafer_emu *emu, unsigned int nr, void *data, unsigned int bytes,
		   bool write, bool zero_upper)
{
	CHECK(nr < 16 && (bytes == 16 || bytes == 32));
	memcpy(write ? m.vec[nr] : data, write ? data : m.vec[nr], bytes);
	if (zero_upper)
		memset(m.vec[nr] + bytes, 0, 32 - bytes);
}

static const struct wafer_emu_ops ops = {
	.segment = op_segment, .translate = op_translate, .access = op_access,
	.cmpxchg = op_cmpxchg, .vec = op_vec,
};

/* The VMM: does the access that the last entry of the log stands for. */
static void vmm(struct wafer_emu *emu)
{
	struct wafer_emu_access *a = &emu->log[emu->nr_log - 1];
	void *p = op_memory(a->gpa, a->len);

	m.trips++;
	if (a->write)
		memcpy(p, a->data, a->len);
	else
		memcpy(a->data, p, a->len);
}

/* Runs @emu to its end. REP batches and trips to the VMM go on. */
static int run(struct wafer_emu *emu)
{
	unsigned int i;
	int ret;

	emu->ops = &ops;
	emu->nr_log = 0;
	emu->stop = false;
	emu->batch = 0;
	for (i = 0; i < 100000; i++) {
		ret = wafer_emulate(emu);
		if (ret == WAFER_EMU_USER)
			vmm(emu);
		else if (ret != WAFER_EMU_AGAIN)
			return ret;
	}
	FAIL("it does not end");
	return -1;
}

/* ---- comparing ---- */

/* One case: what both machines start from. */
struct test {
	enum wafer_code_mode mode;
	u8 code[16];
	unsigned int len;
	struct native cpu;
	const char *name;
	bool faults;			/* a fault is fine */
	/* registers that did not change may have been zero-extended, or not */
	bool low32;
	bool compares, two_reads;	/* CMPS and SCAS; CMPS */
	u64 undefined;			/* flags */
};

static unsigned int done, faulted;

static char *hex(const struct test *t)
{
	static char buf[64];
	unsigned int i;

	for (i = 0; i < t->len; i++)
		sprintf(buf + 3 * i, "%02x ", t->code[i]);
	return buf;
}

#define DIFF(...)	FAIL("%s, mode %d: %s: " __VA_ARGS__)

static void compare_memory(const struct test *t)
{
	const u8 *real = (const u8 *)NATIVE_DATA;
	unsigned int i;

	for (i = 0; i < PAGES; i++)
		if (m.rights[i] == NONE)
			mprotect((void *)(NATIVE_DATA + i * 4096), 4096, 1);
	if (memcmp(real, m.shadow, NATIVE_SIZE)) {
		for (i = 0; real[i] == m.shadow[i]; i++)
			;
		DIFF("memory differs at +%x: %02x, CPU %02x", t->name, t->mode * 8, hex(t), i,
		     m.shadow[i], real[i]);
		memcpy(m.shadow, real, NATIVE_SIZE);
	}
	for (i = 0; i < PAGES; i++)
		if (m.rights[i] == NONE)
			mprotect((void *)(NATIVE_DATA + i * 4096), 4096, 0);
}

static void compare(const struct test *t, const struct native *after, struct wafer_emu *emu,
		    int ret, u64 rip)
{
	u64 mask = t->mode == WAFER_CODE64 ? ~0ull : 0xffffffff, end, flags;
	struct native_fault f = { .trap = -1 };
	unsigned int i;

	if (ret == WAFER_EMU_EVENT) {
		f.trap = emu->event.vector;
		f.error = emu->event.error;
		f.cr2 = f.trap == 14 ? emu->event.payload : after->fault.cr2;
	} else if (ret != WAFER_EMU_DONE) {
		DIFF("result %d", t->name, t->mode * 8, hex(t), ret);
		return;
	}
	/* What lies at other addresses is the host's business. */
	if (f.trap == 14 && after->fault.trap == 14 && f.cr2 - NATIVE_DATA >= NATIVE_SIZE)
		f.error = (f.error & ~1u) | (after->fault.error & 1);
	/* Which of the two is read first is up to the CPU. */
	if (t->two_reads && f.trap == 14 && after->fault.cr2 - NATIVE_DATA < NATIVE_SIZE &&
	    m.rights[(after->fault.cr2 - NATIVE_DATA) / 4096] == NONE)
		f.cr2 = after->fault.cr2;
	if (f.trap != after->fault.trap || (f.trap >= 0 && (f.error != after->fault.error ||
							     f.cr2 != after->fault.cr2)))
		DIFF("fault %d (%x, %llx), CPU %d (%x, %llx)", t->name, t->mode * 8, hex(t), f.trap,
		     f.error, f.cr2,
		     after->fault.trap, after->fault.error, after->fault.cr2);
	for (i = 0; i < 16; i++)
		if ((emu->gpr[i] ^ after->gpr[i]) & (t->low32 && emu->gpr[i] == t->cpu.gpr[i] ?
						     (u32)mask : mask))
			DIFF("register %u is %llx, CPU %llx", t->name, t->mode * 8, hex(t), i,
			     emu->gpr[i] & mask,
			     after->gpr[i] & mask);
	/*
	 * A comparison under REP that faults in the midst has not changed the flags on Intel's CPUs
	 * (SDM vol. 2, REP), nor here. AMD's Zen 4 leaves those of the last step that went through.
	 */
	flags = f.trap >= 0 && t->compares ? t->cpu.rflags : after->rflags;
	if ((emu->rflags ^ flags) & FLAGS_SEEN & ~t->undefined)
		DIFF("flags %llx, CPU %llx", t->name, t->mode * 8, hex(t), emu->rflags & FLAGS_SEEN,
		     flags & FLAGS_SEEN);
	end = f.trap >= 0 ? rip : after->at_pad ? rip - NATIVE_IP + NATIVE_PAD : rip + t->len;
	if (emu->rip != end)
		DIFF("RIP %llx, CPU %llx", t->name, t->mode * 8, hex(t), emu->rip, end);
	if (memcmp(m.vec, after->vec, native_has_avx() ? sizeof(m.vec) : 0))
		DIFF("vector registers", t->name, t->mode * 8, hex(t));
	compare_memory(t);
	done++;
	faulted += f.trap >= 0;
}

/* Runs @t on both. Memory is the same on both before. */
static void check(const struct test *t)
{
	u64 gpr[16], rip = NATIVE_IP + (t->mode == WAFER_CODE64 ? NATIVE_CODE : 0);
	u8 code[WAFER_INSN_MAX] = { 0 };
	struct native after = t->cpu;
	static struct wafer_emu emu;
	int ret;

	memset(&emu, 0xcc, sizeof(emu));	/* nothing but what the interface says is set */
	memcpy(code, t->code, t->len);
	ret = wafer_insn_decode(&emu.insn, code, sizeof(code), t->mode);
	if (ret || emu.insn.len != t->len || !emu.insn.form) {
		DIFF("decoder says %d, length %u, form %d", t->name, t->mode * 8, hex(t), ret,
		     emu.insn.len,
		     !ret && emu.insn.form);
		return;
	}
	native_run(&after, t->code, t->len, t->mode);
	if (after.fault.trap >= 0 && !t->faults)
		DIFF("the CPU faults: %d, %x at %llx", t->name, t->mode * 8, hex(t),
		     after.fault.trap,
		     after.fault.error, after.fault.cr2);
	memcpy(gpr, t->cpu.gpr, sizeof(gpr));
	memcpy(m.vec, t->cpu.vec, sizeof(m.vec));
	emu.gpr = gpr;
	emu.rip = rip;
	emu.rflags = t->cpu.rflags;
	emu.va_bits = 48;
	emu.real = false;
	m.device = rnd() % 3;
	ret = run(&emu);
	compare(t, &after, &emu, ret, rip);
}

/* ---- making cases ---- */

#define BYTE	BIT(0)		/* 8-bit operand */
#define LOCK	BIT(1)		/* may have LOCK */
#define I8	BIT(2)
#define IZ	BIT(3)
#define NO64	BIT(4)
#define ONLY64	BIT(5)
#define STACK	BIT(6)		/* uses the stack */
#define BITS	BIT(7)		/* bit offset in a register */
#define CMPX	BIT(8)		/* compares with the accumulator */
#define NO66	BIT(9)
#define TARGET	BIT(11)		/* memory holds where to go */
#define CX8	BIT(12)
#define VEC	BIT(16)		/* vector: size by L */
#define ALIGNED	BIT(17)
#define NOVEX	BIT(18)
#define ONLYVEX	BIT(19)
#define NDS	BIT(20)		/* VEX.vvvv is a source */
#define L0	BIT(22)		/* VEX.L must be 0 */
#define FIXED	BIT(23)		/* no W, no 66 */
#define MOFFS	BIT(10)		/* an offset instead of ModRM */
#define MUL	BIT(24)		/* leaves all flags but CF and OF undefined */
#define DIV	BIT(25)		/* leaves all flags undefined; #DE is fine */

struct form {
	const char *name;
	u8 map, op, pfx;		/* pfx: mandatory */
	s8 ext;				/* ModRM.reg, -1: a register */
	u32 flags;
	u8 size;			/* bytes in memory, if not the operand size */
};

struct build {
	struct test *t;
	unsigned int opsize, asize, rex;	/* rex: W R X B */
	bool p66, p67, byte_reg_rex;
	s8 seg;					/* override */
	u8 reg;
};

static void put(struct test *t, u64 val, unsigned int n)
{
	memcpy(t->code + t->len, &val, n);
	t->len += n;
}

static u64 seg_base(const struct test *t, unsigned int seg)
{
	if (t->mode == WAFER_CODE64)
		return seg == WAFER_GS ? t->cpu.gs_base : 0;
	return m.seg[seg].base;
}

/* Flat segments with bases of their own in 16 and 32-bit code, so that the wrong one shows. */
static void set_segments(struct test *t)
{
	static const u32 off[] = { 0x3000, 0, 0x5000, 0x1000, 0, 0x7000 };
	bool big = t->mode == WAFER_CODE32;
	unsigned int i;

	for (i = 0; i < 6; i++) {
		struct wafer_segment *s = &m.seg[i];

		s->base = i == WAFER_CS ? NATIVE_CODE : NATIVE_DATA + off[i];
		s->limit = big ? 0xffffffff : 0xffff;
		s->attr = (i == WAFER_CS ? 0xb : 3) | WAFER_SEG_S | WAFER_SEG_DPL | WAFER_SEG_P |
			  (big ? WAFER_SEG_DB | WAFER_SEG_G : 0);
		s->selector = native_selector(i == WAFER_CS ? big : 2 + i);
		if (t->mode == WAFER_CODE64)
			s->selector = i == WAFER_SS ? 0x2b : i == WAFER_CS ? 0x33 : 0;
		if (i == WAFER_FS)
			s->selector = 0;	/* libc's, not touched */
		t->cpu.sel[i] = s->selector;
		if (i != WAFER_CS && t->mode != WAFER_CODE64)
			CHECK(native_segment(2 + i, s->base, big ? 0xfffff : 0xffff, big, 2, big));
	}
	t->cpu.gs_base = NATIVE_DATA + 0x7000;
	m.seg[WAFER_GS].base = t->mode == WAFER_CODE64 ? t->cpu.gs_base : m.seg[WAFER_GS].base;
}

static void random_state(struct test *t)
{
	unsigned int i;

	for (i = 0; i < 16; i++) {
		t->cpu.gpr[i] = rnd();
		if (rnd() % 4 == 0)
			t->cpu.gpr[i] = (s64)(rnd() % 5) - 2;
		if (t->mode != WAFER_CODE64)
			t->cpu.gpr[i] = (u32)t->cpu.gpr[i];
	}
	for (i = 0; i < sizeof(t->cpu.vec); i += 8)
		memcpy((u8 *)t->cpu.vec + i, &(u64){ rnd() }, 8);
	t->cpu.rflags = 0x202 | (rnd() & FLAGS_SEEN);
}

static void poke(u64 lin, u64 val, unsigned int n)
{
	memcpy((void *)lin, &val, n);
	memcpy(m.shadow + lin - NATIVE_DATA, &val, n);
}

static u64 sext(u64 v, unsigned int bytes)
{
	return (s64)(v << (64 - bytes * 8)) >> (64 - bytes * 8);
}

/* 16-bit addressing to @off: registers are set so that it comes out. */
static void modrm16(struct build *b, u16 off)
{
	static const u8 base[] = { 3, 3, 5, 5, 6, 7, 5, 3 }, index[] = { 6, 7, 6, 7 };
	unsigned int mod = rnd() % 3, rm = rnd() % 8;
	u64 *gpr = b->t->cpu.gpr;
	u16 disp = mod == 0 ? 0 : mod == 1 ? sext(rnd(), 1) : rnd();

	if (mod == 0 && rm == 6) {
		put(b->t, (b->reg & 7) << 3 | 6, 1);
		put(b->t, off, 2);
		return;
	}
	off -= disp;
	if (rm < 4)
		off -= gpr[index[rm]];
	gpr[base[rm]] = (gpr[base[rm]] & ~0xffffull) | off;
	put(b->t, mod << 6 | (b->reg & 7) << 3 | rm, 1);
	put(b->t, disp, mod);
}

/* 32 and 64-bit addressing. @after: bytes behind the displacement, for RIP-relative. */
static void modrm32(struct build *b, u64 off, unsigned int after)
{
	u64 *gpr = b->t->cpu.gpr, mask = wafer_size_mask(b->asize);
	unsigned int mod = rnd() % 3, rm = rnd() & 7, scale = rnd() & 3, full, index = 4;
	bool sib = rm == 4;
	u64 disp = mod == 0 ? 0 : mod == 1 ? sext(rnd(), 1) : sext(rnd(), 4), rest = off;

	if (mod == 2 && rnd() & 1)
		disp = sext(rnd(), 2);
	put(b->t, mod << 6 | (b->reg & 7) << 3 | rm, 1);
	if (sib) {
		rm = rnd() & 7;
		index = rnd() & 7;
		put(b->t, scale << 6 | index << 3 | rm, 1);
		index |= b->rex & 2 ? 8 : 0;
	}
	full = rm | (b->rex & 1 ? 8 : 0);
	if (mod == 0 && rm == 5) {		/* displacement only, or with RIP */
		if (!sib && b->t->mode == WAFER_CODE64) {
			put(b->t, off - (NATIVE_CODE + NATIVE_IP + b->t->len + 4 + after), 4);
			return;
		}
		if (index != 4) {
			gpr[index] = rnd() & 0xffff;
			rest -= gpr[index] << scale;
		}
		put(b->t, rest, 4);
		return;
	}
	/* base and index the same: base + base << scale must be even */
	if (index != 4 && index == full) {
		gpr[index] = 0x100000;
		disp = off - gpr[index] - (gpr[index] << scale);
		b->t->code[b->t->len - 2] = 2 << 6 | (b->reg & 7) << 3 | 4;
		put(b->t, disp, 4);
		return;
	}
	if (index != 4)
		rest -= gpr[index] << scale;
	gpr[full] = (rest - disp) & mask;
	if (b->asize == 4 && b->t->mode == WAFER_CODE64)
		gpr[full] |= rnd() << 32;	/* is not looked at */
	put(b->t, disp, mod == 1 ? 1 : mod == 2 ? 4 : 0);
}

/* The segment that the ModRM byte at @at implies. */
static unsigned int default_segment(const struct build *b, unsigned int at)
{
	u8 modrm = b->t->code[at], rm = modrm & 7, mod = modrm >> 6;

	if (b->asize == 2)
		return (rm == 2 || rm == 3 || (rm == 6 && mod)) ? WAFER_SS : WAFER_DS;
	if (rm == 4)
		rm = b->t->code[at + 1] & 7;
	if (b->rex & 1)
		return WAFER_DS;
	return rm == 4 || (rm == 5 && mod) ? WAFER_SS : WAFER_DS;
}

static bool based_on_rsp(const struct build *b, unsigned int at)
{
	return b->asize != 2 && (b->t->code[at] & 7) == 4 && (b->t->code[at + 1] & 7) == 4 &&
		!(b->rex & 1);
}

static const u8 seg_prefix[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65 };

static void prefixes(struct build *b, const struct form *f)
{
	struct test *t = b->t;

	if (f->flags & LOCK && rnd() % 3 == 0)
		put(t, 0xf0, 1);
	if (b->seg >= 0)
		put(t, seg_prefix[b->seg], 1);
	if (b->p67)
		put(t, 0x67, 1);
	if (b->p66)
		put(t, 0x66, 1);
	if (f->pfx)
		put(t, f->pfx, 1);
	if (b->rex || b->byte_reg_rex)
		put(t, 0x40 | b->rex, 1);
	if (f->map)
		put(t, 0x0f, 1);
	if (f->map == 2)
		put(t, 0x38, 1);
	put(t, f->op, 1);
}

/* VEX, in two or three bytes. */
static void vex_prefix(struct build *b, const struct form *f, unsigned int l, unsigned int v)
{
	u8 pp = f->pfx == 0x66 ? 1 : f->pfx == 0xf3 ? 2 : f->pfx == 0xf2 ? 3 : 0;
	u8 low = (~v & 15) << 3 | l << 2 | pp;

	if (b->seg >= 0)
		put(b->t, seg_prefix[b->seg], 1);
	if (b->p67)
		put(b->t, 0x67, 1);
	if (f->map == 1 && !(b->rex & 11) && rnd() & 1) {
		put(b->t, 0xc5, 1);
		put(b->t, (b->rex & 4 ? 0 : 0x80) | low, 1);
	} else {
		put(b->t, 0xc4, 1);
		put(b->t, (~b->rex & 7) << 5 | f->map, 1);
		put(b->t, (b->rex & 8 ? 0x80 : 0) | low, 1);
	}
	put(b->t, f->op, 1);
}

/* Where the operand is to be: anywhere, at the end of a page, over its end. */
static u64 pick_address(unsigned int size, bool aligned)
{
	u64 off = 0x8000 + rnd() % 0x7000;

	switch (rnd() % 4) {
	case 0:
		off = (off & ~0xfffull) - size;
		break;
	case 1:
		off = (off & ~0xfffull) - 1 - rnd() % size;
		break;
	}
	if (aligned)
		off &= ~(u64)(size - 1);
	return NATIVE_DATA + off;
}

/* One random instance of @f. */
static void instance(const struct form *f, enum wafer_code_mode mode, bool faults)
{
	struct test t = { .mode = mode, .name = f->name, .faults = faults };
	struct build b = { .t = &t, .seg = -1 };
	bool m64 = mode == WAFER_CODE64, vex = f->flags & ONLYVEX;
	unsigned int size, at, l = 0, v = 0, imm, seg, i;
	u64 lin, off;

	t.undefined = f->flags & MUL ? WAFER_FLAGS_ARITH & ~0x801 :
		      f->flags & DIV ? WAFER_FLAGS_ARITH : 0;
	t.faults |= f->flags & DIV;
	set_segments(&t);
	random_state(&t);
	if (m64 && rnd() & 1)
		b.rex = rnd() & (f->flags & FIXED ? 7 : 15);
	b.byte_reg_rex = m64 && !(rnd() & 3);
	b.p66 = !(f->flags & (NO66 | BYTE | FIXED | VEC)) && !f->pfx && rnd() % 3 == 0;
	b.p67 = rnd() % 4 == 0;
	if (f->flags & VEC && native_has_avx() && !(f->flags & NOVEX) && rnd() & 1)
		vex = true;
	if (vex) {
		l = f->flags & L0 ? 0 : rnd() & 1;
		v = f->flags & NDS ? rnd() & (m64 ? 15 : 7) : 0;
	}
	b.opsize = (mode == WAFER_CODE16) == b.p66 ? 4 : 2;
	if (m64)
		b.opsize = b.rex & 8 ? 8 : b.p66 ? 2 : f->flags & STACK ? 8 : 4;
	b.asize = b.p67 ? (mode == WAFER_CODE32 ? 2 : 4) : mode;
	if (f->flags & BYTE)
		b.opsize = 1;
	size = f->size ?: b.opsize;
	if (f->size == WAFER_SIZE_W)
		size = b.rex & 8 ? 8 : 4;
	if (f->flags & VEC && !f->size)
		size = l ? 32 : 16;
	if (f->flags & CX8)
		size = b.rex & 8 ? 16 : 8;
	imm = f->flags & I8 ? 1 : f->flags & IZ ? min(b.opsize, 4u) : 0;
	b.reg = f->ext >= 0 ? f->ext : rnd() & 7;
	if (f->ext == -2)
		b.reg = rnd() % 6;		/* segment register */
	if (f->ext != -1)
		b.rex &= ~4;
	if (rnd() % 3 == 0 && !(f->flags & STACK)) {
		static const s8 segs[] = { WAFER_ES, WAFER_SS, WAFER_DS, WAFER_GS };

		b.seg = segs[rnd() % 4];
	}
	if (vex)
		vex_prefix(&b, f, l, v);
	else
		prefixes(&b, f);
	at = t.len;
	lin = pick_address(size, f->flags & ALIGNED || (f->flags & CX8 && b.rex & 8));
	if (faults && f->flags & ALIGNED && rnd() & 1)
		lin += rnd() % size;
	/* built twice: the segment is known when ModRM is */
	for (i = 0, off = lin; i < 2; i++) {
		unsigned long long seed = tap_seed;

		t.len = at;
		if (f->flags & MOFFS)
			put(&t, off, b.asize);
		else if (b.asize == 2)
			modrm16(&b, off);
		else
			modrm32(&b, off, imm);
		if (i)
			break;
		seg = f->flags & MOFFS ? WAFER_DS : default_segment(&b, at);
		if (b.seg >= 0 && !(m64 && b.seg < 4))
			seg = b.seg;
		off = (lin - seg_base(&t, seg)) & wafer_size_mask(b.asize);
		tap_seed = seed;
	}
	if (f->flags & BITS) {
		unsigned int reg = b.reg | (b.rex & 4 ? 8 : 0);
		unsigned int used[3] = { t.code[at] & 7, 16, 16 };

		/* small, unless it is part of the address: there is no telling where that goes */
		if (b.asize != 2 && used[0] == 4) {
			used[1] = (t.code[at + 1] & 7) | (b.rex & 1 ? 8 : 0);
			used[2] = (t.code[at + 1] >> 3 & 7) | (b.rex & 2 ? 8 : 0);
		}
		used[0] |= b.rex & 1 ? 8 : 0;
		if (b.asize == 2 || reg == used[0] || reg == used[1] || reg == used[2])
			return;
		t.faults = true;	/* it may wrap around the address size */
		t.cpu.gpr[reg] = sext((s64)(rnd() % 0x20000) - 0x10000, b.opsize);
		if (!m64)
			t.cpu.gpr[reg] = (u32)t.cpu.gpr[reg];
	}
	if (f->flags & STACK && !based_on_rsp(&b, at))
		t.cpu.gpr[WAFER_RSP] = NATIVE_DATA + 0xc000 + rnd() % 0x1000 -
				       seg_base(&t, WAFER_SS);
	if (f->flags & STACK &&
	    t.cpu.gpr[WAFER_RSP] + seg_base(&t, WAFER_SS) - NATIVE_DATA - 64 > NATIVE_SIZE - 128)
		return;		/* an index has moved it away */
	put(&t, rnd(), imm);
	if (t.len > WAFER_INSN_MAX)
		return;
	for (i = 0; i < size; i += 8)
		poke(lin + i, rnd(), min(size - i, 8u));
	if (f->flags & CMPX && rnd() & 1)
		poke(lin, t.cpu.gpr[WAFER_RAX], size);
	if (f->flags & CX8 && rnd() & 1) {
		poke(lin, t.cpu.gpr[WAFER_RAX], size / 2);
		poke(lin + size / 2, t.cpu.gpr[WAFER_RDX], size / 2);
	}
	if (f->flags & TARGET)
		poke(lin, NATIVE_PAD + (m64 ? NATIVE_CODE : 0), size);
	if (faults) {
		i = (lin - NATIVE_DATA) / 4096;
		set_rights(i, rnd() % 3);
		set_rights(i + 1, rnd() % 3);
		check(&t);
		set_rights(i, RW);
		set_rights(i + 1, RW);
	} else {
		check(&t);
	}
}

static const enum wafer_code_mode modes[] = { WAFER_CODE16, WAFER_CODE32, WAFER_CODE64 };

static void forms(const struct form *f, unsigned int nr, unsigned int rounds)
{
	unsigned int i, j, k;

	done = 0;
	faulted = 0;
	for (i = 0; i < nr; i++)
		for (j = 0; j < 3; j++) {
			if (f[i].flags & (modes[j] == WAFER_CODE64 ? NO64 : ONLY64))
				continue;
			for (k = 0; k < rounds; k++)
				instance(&f[i], modes[j], false);
			for (k = 0; k < rounds / 4; k++)
				instance(&f[i], modes[j], true);
		}
	CHECK_MSG(done > nr * rounds, "only %u done", done);
	CHECK_MSG(faulted > done / 40, "only %u of %u faulted", faulted, done);
}

#define FORMS(list)	do {							\
	if (prepare())								\
		SKIP(unavailable);						\
	forms(list, ARRAY_SIZE(list), 120);					\
} while (0)

#define MEM(n, o, fl, ...)	{ .name = n, .op = o, .ext = -1, .flags = fl, __VA_ARGS__ }
#define EXT(n, o, e, fl, ...)	{ .name = n, .op = o, .ext = e, .flags = fl, __VA_ARGS__ }
#define MEM0F(n, o, fl, ...)	\
	{ .name = n, .map = 1, .op = o, .ext = -1, .flags = fl, __VA_ARGS__ }
#define EXT0F(n, o, e, fl, ...)	{ .name = n, .map = 1, .op = o, .ext = e, .flags = fl, __VA_ARGS__ }

TEST(mov)
{
	static const struct form list[] = {
		MEM("mov store byte", 0x88, BYTE), MEM("mov store", 0x89, 0),
		MEM("mov load byte", 0x8a, BYTE), MEM("mov load", 0x8b, 0),
		EXT("mov imm byte", 0xc6, 0, BYTE | I8), EXT("mov imm", 0xc7, 0, IZ),
		EXT("mov sreg", 0x8c, -2, 0, .size = 2), MEM("movsxd", 0x63, ONLY64, .size = 4),
		MEM("mov load byte moffs", 0xa0, BYTE | MOFFS), MEM("mov load moffs", 0xa1, MOFFS),
		MEM("mov store byte moffs", 0xa2, BYTE | MOFFS),
		MEM("mov store moffs", 0xa3, MOFFS),
		MEM0F("movzx byte", 0xb6, 0, .size = 1), MEM0F("movzx word", 0xb7, NO66, .size = 2),
		MEM0F("movsx byte", 0xbe, 0, .size = 1), MEM0F("movsx word", 0xbf, NO66, .size = 2),
		MEM0F("movnti", 0xc3, NO66, .size = WAFER_SIZE_W),
		{ "movbe load", 2, 0xf0, 0, -1, 0, 0 }, { "movbe store", 2, 0xf1, 0, -1, 0, 0 },
	};

	FORMS(list);
}

#define ARITH(name, nr, lock)									\
	MEM(name " mr byte", nr * 8, BYTE | (lock)), MEM(name " mr", nr * 8 + 1, lock),		\
	MEM(name " rm byte", nr * 8 + 2, BYTE), MEM(name " rm", nr * 8 + 3, 0),			\
	EXT(name " imm byte", 0x80, nr, BYTE | I8 | (lock)),					\
	EXT(name " imm", 0x81, nr, IZ | (lock)), EXT(name " imm8", 0x83, nr, I8 | (lock)),	\
	EXT(name " 82", 0x82, nr, BYTE | I8 | NO64 | (lock))

TEST(arithmetic)
{
	static const struct form list[] = {
		ARITH("add", 0, LOCK), ARITH("or", 1, LOCK), ARITH("adc", 2, LOCK),
		ARITH("sbb", 3, LOCK),
		ARITH("and", 4, LOCK), ARITH("sub", 5, LOCK), ARITH("xor", 6, LOCK),
		ARITH("cmp", 7, 0),
		MEM("test byte", 0x84, BYTE), MEM("test", 0x85, 0),
		EXT("test imm byte", 0xf6, 0, BYTE | I8), EXT("test imm", 0xf7, 0, IZ),
		EXT("test imm alias", 0xf7, 1, IZ),
		EXT("not byte", 0xf6, 2, BYTE | LOCK), EXT("not", 0xf7, 2, LOCK),
		EXT("neg byte", 0xf6, 3, BYTE | LOCK), EXT("neg", 0xf7, 3, LOCK),
		EXT("inc byte", 0xfe, 0, BYTE | LOCK), EXT("inc", 0xff, 0, LOCK),
		EXT("dec byte", 0xfe, 1, BYTE | LOCK), EXT("dec", 0xff, 1, LOCK),
		MEM0F("imul", 0xaf, 0), MEM("imul imm", 0x69, IZ), MEM("imul imm8", 0x6b, I8),
	};

	FORMS(list);
}

#define SHIFT(name, nr)										\
	EXT(name " imm byte", 0xc0, nr, BYTE | I8), EXT(name " imm", 0xc1, nr, I8),	\
	EXT(name " 1 byte", 0xd0, nr, BYTE), EXT(name " 1", 0xd1, nr, 0),			\
	EXT(name " cl byte", 0xd2, nr, BYTE), EXT(name " cl", 0xd3, nr, 0)

TEST(shifts)
{
	static const struct form list[] = {
		SHIFT("rol", 0), SHIFT("ror", 1), SHIFT("rcl", 2), SHIFT("rcr", 3),
		SHIFT("shl", 4), SHIFT("shr", 5), SHIFT("sal", 6), SHIFT("sar", 7),
	};

	FORMS(list);
}

/* A product, what is divided, and the divisor in memory: random, small, or the least negative. */
TEST(products)
{
	static const struct form list[] = {
		EXT("mul byte", 0xf6, 4, BYTE | MUL), EXT("mul", 0xf7, 4, MUL),
		EXT("imul byte", 0xf6, 5, BYTE | MUL), EXT("imul", 0xf7, 5, MUL),
		EXT("div byte", 0xf6, 6, BYTE | DIV), EXT("div", 0xf7, 6, DIV),
		EXT("idiv byte", 0xf6, 7, BYTE | DIV), EXT("idiv", 0xf7, 7, DIV),
	};

	if (prepare())
		SKIP(unavailable);
	forms(list, ARRAY_SIZE(list), 300);
}

TEST(double_shifts)
{
	static const struct form list[] = {
		MEM0F("shld imm", 0xa4, I8), MEM0F("shld cl", 0xa5, 0),
		MEM0F("shrd imm", 0xac, I8), MEM0F("shrd cl", 0xad, 0),
	};

	FORMS(list);
}

TEST(exchange)
{
	static const struct form list[] = {
		MEM("xchg byte", 0x86, BYTE | LOCK), MEM("xchg", 0x87, LOCK),
		MEM0F("xadd byte", 0xc0, BYTE | LOCK), MEM0F("xadd", 0xc1, LOCK),
		MEM0F("cmpxchg byte", 0xb0, BYTE | LOCK | CMPX),
		MEM0F("cmpxchg", 0xb1, LOCK | CMPX),
		EXT0F("cmpxchg8b", 0xc7, 1, LOCK | CX8 | NO66),
	};

	FORMS(list);
}

TEST(bits)
{
	static const struct form list[] = {
		MEM0F("bt", 0xa3, BITS), MEM0F("bts", 0xab, BITS | LOCK),
		MEM0F("btr", 0xb3, BITS | LOCK), MEM0F("btc", 0xbb, BITS | LOCK),
		EXT0F("bt imm", 0xba, 4, I8), EXT0F("bts imm", 0xba, 5, I8 | LOCK),
		EXT0F("btr imm", 0xba, 6, I8 | LOCK), EXT0F("btc imm", 0xba, 7, I8 | LOCK),
		MEM0F("bsf", 0xbc, 0), MEM0F("bsr", 0xbd, 0),
	};

	if (prepare())
		SKIP(unavailable);
	forms(list, ARRAY_SIZE(list), 200);
}

TEST(conditions)
{
	struct form list[32];
	unsigned int i;

	for (i = 0; i < 16; i++) {
		list[i] = (struct form)MEM0F("cmov", 0x40 + i, 0);
		list[16 + i] = (struct form)EXT0F("setcc", 0x90 + i, 0, BYTE);
	}
	FORMS(list);
}

TEST(stack_and_branches)
{
	static const struct form list[] = {
		EXT("push", 0xff, 6, STACK), EXT("pop", 0x8f, 0, STACK),
		EXT("call", 0xff, 2, STACK | TARGET | NO66),
		EXT("jmp", 0xff, 4, STACK | TARGET | NO66),
	};

	FORMS(list);
}

TEST(vectors)
{
	static const struct form list[] = {
		MEM0F("movups load", 0x10, VEC), MEM0F("movups store", 0x11, VEC),
		MEM0F("movupd load", 0x10, VEC, .pfx = 0x66),
		MEM0F("movupd store", 0x11, VEC, .pfx = 0x66),
		MEM0F("movss load", 0x10, VEC, .pfx = 0xf3, .size = 4),
		MEM0F("movss store", 0x11, VEC, .pfx = 0xf3, .size = 4),
		MEM0F("movsd load", 0x10, VEC, .pfx = 0xf2, .size = 8),
		MEM0F("movsd store", 0x11, VEC, .pfx = 0xf2, .size = 8),
		MEM0F("movlps load", 0x12, VEC | NDS | L0, .size = 8),
		MEM0F("movlps store", 0x13, VEC | L0, .size = 8),
		MEM0F("movlpd load", 0x12, VEC | NDS | L0, .pfx = 0x66, .size = 8),
		MEM0F("movlpd store", 0x13, VEC | L0, .pfx = 0x66, .size = 8),
		MEM0F("movhps load", 0x16, VEC | NDS | L0, .size = 8),
		MEM0F("movhps store", 0x17, VEC | L0, .size = 8),
		MEM0F("movhpd load", 0x16, VEC | NDS | L0, .pfx = 0x66, .size = 8),
		MEM0F("movhpd store", 0x17, VEC | L0, .pfx = 0x66, .size = 8),
		MEM0F("movaps load", 0x28, VEC | ALIGNED),
		MEM0F("movaps store", 0x29, VEC | ALIGNED),
		MEM0F("movapd load", 0x28, VEC | ALIGNED, .pfx = 0x66),
		MEM0F("movapd store", 0x29, VEC | ALIGNED, .pfx = 0x66),
		MEM0F("movntps", 0x2b, VEC | ALIGNED),
		MEM0F("movntpd", 0x2b, VEC | ALIGNED, .pfx = 0x66),
		MEM0F("movd/q load", 0x6e, VEC | L0, .pfx = 0x66, .size = WAFER_SIZE_W),
		MEM0F("movd/q store", 0x7e, VEC | L0, .pfx = 0x66, .size = WAFER_SIZE_W),
		MEM0F("movq load", 0x7e, VEC | L0, .pfx = 0xf3, .size = 8),
		MEM0F("movq store", 0xd6, VEC | L0, .pfx = 0x66, .size = 8),
		MEM0F("movdqa load", 0x6f, VEC | ALIGNED, .pfx = 0x66),
		MEM0F("movdqa store", 0x7f, VEC | ALIGNED, .pfx = 0x66),
		MEM0F("movdqu load", 0x6f, VEC, .pfx = 0xf3),
		MEM0F("movdqu store", 0x7f, VEC, .pfx = 0xf3),
		MEM0F("movntdq", 0xe7, VEC | ALIGNED, .pfx = 0x66),
		MEM0F("lddqu", 0xf0, VEC, .pfx = 0xf2),
		{ "movntdqa", 2, 0x2a, 0x66, -1, VEC | ALIGNED, 0 },
	};

	FORMS(list);
}

/* ---- strings ---- */

/* Bytes that are mostly equal, so that comparisons go on for some time. */
static void fill_memory(void)
{
	unsigned int i;

	for (i = 0; i < NATIVE_SIZE; i++)
		m.shadow[i] = rnd() % 64 == 0;
	memcpy((void *)NATIVE_DATA, m.shadow, NATIVE_SIZE);
}

/* An index register: the rest above the address size is not looked at. */
static u64 string_index(const struct test *t, unsigned int seg, unsigned int asize)
{
	u64 base = t->mode == WAFER_CODE64 && seg < WAFER_FS ? 0 : seg_base(t, seg), off;

	off = NATIVE_DATA + 0x7000 + rnd() % 0x9000 - base;
	if (asize == 2 && rnd() & 1)
		off = rnd() & 1 ? rnd() % 8 : 0 - rnd() % 8;	/* around the wrap */
	off &= wafer_size_mask(asize);
	if (asize < t->mode)
		off |= rnd() << (asize * 8);
	return t->mode == WAFER_CODE64 ? off : (u32)off;
}

static void string_instance(u8 op, enum wafer_code_mode mode)
{
	static const u8 ops[] = { 0xa4, 0xa6, 0xaa, 0xac, 0xae };
	static const s8 segs[] = { -1, -1, WAFER_ES, WAFER_SS, WAFER_DS, WAFER_GS };
	struct test t = { .mode = mode, .faults = true };
	/* What a REP with ECX does to upper halves before its first step is up to the CPU. */
	unsigned int rep = rnd() % 3, asize = mode, i, page;
	bool p66 = rnd() & 1, p67 = rnd() % 3 == 0, w = mode == WAFER_CODE64 && rnd() & 1;
	int seg = segs[rnd() % 6], from;

	t.name = (const char *[]){ "movs", "cmps", "stos", "lods", "scas" }[op];
	t.two_reads = op == 1;
	t.compares = op == 1 || op == 4;
	set_segments(&t);
	random_state(&t);
	if (rnd() & 1)
		t.cpu.gpr[WAFER_RAX] = 0;
	if (p67)
		asize = mode == WAFER_CODE32 ? 2 : 4;
	if (asize == 2 && mode == WAFER_CODE32)	/* the whole of a 16-bit address is to be mapped */
		p67 = false, asize = 4;
	from = seg < 0 || (mode == WAFER_CODE64 && seg < WAFER_FS) ? WAFER_DS : seg;
	if (rep)
		put(&t, rep == 1 ? 0xf3 : 0xf2, 1);
	if (seg >= 0)
		put(&t, seg_prefix[seg], 1);
	if (p66)
		put(&t, 0x66, 1);
	if (p67)
		put(&t, 0x67, 1);
	t.low32 = p67;
	if (w)
		put(&t, 0x48, 1);
	put(&t, ops[op] | (rnd() & 1), 1);
	t.cpu.gpr[WAFER_RSI] = string_index(&t, from, asize);
	t.cpu.gpr[WAFER_RDI] = string_index(&t, WAFER_ES, asize);
	t.cpu.gpr[WAFER_RCX] = rnd() % 8 ? rnd() % 150 : rnd() % 3000;
	if (asize < mode)
		t.cpu.gpr[WAFER_RCX] |= rnd() << (asize * 8);
	if (mode != WAFER_CODE64)
		t.cpu.gpr[WAFER_RCX] = (u32)t.cpu.gpr[WAFER_RCX];
	if (rnd() & 1)
		for (i = 0; i < 3; i++) {
			page = rnd() % PAGES;
			set_rights(page, rnd() & 1 ? RO : NONE);
		}
	check(&t);
	for (i = 0; i < PAGES; i++)
		set_rights(i, RW);
}

TEST(strings)
{
	unsigned int i;

	if (prepare())
		SKIP(unavailable);
	done = 0;
	faulted = 0;
	for (i = 0; i < 20000; i++) {
		if (i % 16 == 0)
			fill_memory();
		string_instance(i % 5, modes[i / 5 % 3]);
	}
	CHECK_MSG(done > 10000 && faulted > 1000, "%u done, %u faulted", done, faulted);
}

/* ---- segmentation ---- */

static const struct { const char *hex; u8 len, size; } accesses[] = {
	{ "\x8a", 1, 1 }, { "\x88", 1, 1 }, { "\x8b", 1, 0 }, { "\x89", 1, 0 }, { "\x01", 1, 0 },
	{ "\x0f\x10", 2, 16 }, { "\x0f\x11", 2, 16 }, { "\x0f\x13", 2, 8 }, { "\x85", 1, 0 },
};

/* An access through DS or SS at @off: [BX], [BP] or with 32-bit addressing. */
static void segment_access(struct test *t, u32 off, bool stack)
{
	unsigned int i = rnd() % ARRAY_SIZE(accesses);
	bool a32 = (t->mode == WAFER_CODE32) != (off <= 0xffff && rnd() % 3 == 0);

	t->len = 0;
	if (a32 != (t->mode == WAFER_CODE32))
		put(t, 0x67, 1);
	if (!accesses[i].size && rnd() & 1)
		put(t, 0x66, 1);
	memcpy(t->code + t->len, accesses[i].hex, accesses[i].len);
	t->len += accesses[i].len;
	if (a32) {
		put(t, stack ? 0x45 : 0x03, 1);		/* [ebp+0], [ebx] */
		if (stack)
			put(t, 0, 1);
	} else {
		put(t, stack ? 0x46 : 0x07, 1);		/* [bp+0], [bx] */
		if (stack)
			put(t, 0, 1);
	}
	t->cpu.gpr[WAFER_RBX] = off;
	t->cpu.gpr[WAFER_RBP] = off;
	check(t);
}

TEST(segments)
{
	static const u8 types[] = { 2, 0, 6, 4, 0xa };
	unsigned int i, type, seg;

	if (prepare())
		SKIP(unavailable);
	done = 0;
	faulted = 0;
	for (i = 0; i < 12000; i++) {
		struct test t = {
			.mode = i & 1 ? WAFER_CODE16 : WAFER_CODE32,
			.name = "segment", .faults = true,
		};
		bool stack = rnd() % 3 == 0, big = rnd() & 1;
		u32 limit = 0x100 + rnd() % 0x1000, off;
		struct wafer_segment *s;

		set_segments(&t);
		random_state(&t);
		type = stack ? rnd() & 4 ? 2 : 6 : types[rnd() % ARRAY_SIZE(types)];
		seg = stack ? WAFER_SS : WAFER_DS;
		s = &m.seg[seg];
		s->base = NATIVE_DATA + 0x8000;
		s->limit = limit;
		s->attr = type | 1 | WAFER_SEG_S | WAFER_SEG_DPL | WAFER_SEG_P |
			(big ? WAFER_SEG_DB : 0);
		CHECK(native_segment(2 + seg, s->base, limit, false, type, big));
		off = limit - 20 + rnd() % 30;
		if (rnd() % 3 == 0)
			off = 0xffff - rnd() % 20;
		if (rnd() % 6 == 0)
			off = 0x10000 + rnd() % 20;
		if (rnd() % 6 == 0)
			off = 0 - rnd() % 20;
		if (!stack && rnd() % 16 == 0) {	/* the null selector */
			t.cpu.sel[WAFER_DS] = 0;
			s->attr = WAFER_SEG_UNUSABLE;
		}
		segment_access(&t, off, stack);
	}
	CHECK_MSG(faulted > 4000 && done - faulted > 2000, "%u of %u faulted", faulted, done);
}

/* In 64-bit code: canonical or not, and whether #SS or #GP comes of it. */
TEST(canonical)
{
	static const u64 edges[] = {
		0x800000000000, 0x800000001000, 0xffff7fffffffffe0, 0xfff0000000000000, 1ull << 63,
	};
	static const u8 over[] = { 0, 0, 0x36, 0x3e, 0x26, 0x65 };
	unsigned int i, k, base;

	if (prepare())
		SKIP(unavailable);
	done = 0;
	faulted = 0;
	for (i = 0; i < 3000; i++) {
		/* [rax], [rbp+0], [rbx], [rsi+0] */
		static const u8 modrm[] = { 0x00, 0x45, 0x03, 0x46 };
		static const u8 reg[] = { WAFER_RAX, WAFER_RBP, WAFER_RBX, WAFER_RSI };
		struct test t = { .mode = WAFER_CODE64, .name = "canonical", .faults = true };
		u8 prefix = over[rnd() % ARRAY_SIZE(over)];
		u64 addr = edges[rnd() % ARRAY_SIZE(edges)];

		set_segments(&t);
		random_state(&t);
		base = rnd() % 4;
		addr += addr == edges[0] ? rnd() % 40 - 36 : rnd() % 16;
		if (prefix == 0x65)
			addr -= t.cpu.gs_base;
		if (prefix)
			put(&t, prefix, 1);
		k = rnd() % ARRAY_SIZE(accesses);
		memcpy(t.code + t.len, accesses[k].hex, accesses[k].len);
		t.len += accesses[k].len;
		put(&t, modrm[base], base & 1 ? 2 : 1);
		t.cpu.gpr[reg[base]] = addr;
		check(&t);
	}
	CHECK_EQ(done, 3000);
	CHECK_EQ(faulted, 3000);
}

TAP_MAIN()
