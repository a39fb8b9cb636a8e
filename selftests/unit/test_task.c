// SPDX-License-Identifier: GPL-2.0
/*
 * Hardware task switches in a small world: a GDT, an LDT for each task, four TSSs, flat linear
 * memory. User space has no CPU to compare with, so the expectations are those of SDM vol. 3 table
 * 8-1, line by line.
 */
#include <linux/errno.h>

#include "emulate.h"
#include "tap.h"
#include "task.h"

#define SIZE	0x10000
#define GDT	0x1000
#define IDT	0x2000
#define LDT_A	0x3000
#define LDT_B	0x3100
#define TSS_A	0x4000		/* 32 bits; the running task's */
#define TSS_B	0x4ff0		/* 32 bits; over the end of a page */
#define TSS_C	0x6000		/* 16 bits */

/* GDT entries; data and code for rings 0 and 3, conforming code, descriptors that are not right. */
enum {
	NIL, K_CODE, K_DATA, U_CODE, U_DATA, CONF, RO_DATA, XO_CODE, DOWN, D_A, D_B, D_C, D_LDT_A,
	D_LDT_B,
	ABSENT_CODE, ABSENT_DATA, ABSENT_USTACK, ABSENT_LDT, ENTRIES
};

static u8 mem[SIZE], before[SIZE];
static struct wafer_arch arch;
static unsigned int fault_at, writes;	/* page that is not there, and how often was written */
static bool read_only;			/* ... but only for writes */
static bool wild;			/* anything may be accessed */
static u64 cr3;
static int cr3_result;
static u32 last_how;

static int op_access(struct wafer_task *t, gva_t gva, void *data, unsigned int len, u32 how)
{
	bool write = how & WAFER_FAULT_WRITE;
	unsigned int i;

	CHECK(write != !!(how & WAFER_FAULT_READ) && (write || data));
	last_how = how & ~(WAFER_FAULT_READ | WAFER_FAULT_WRITE);
	CHECK_MSG(wild || gva + len <= SIZE, "access at %lx, %u", gva, len);
	writes += write && data;
	for (i = 0; i < len; i++)
		if (fault_at && (gva + i) / 4096 == fault_at && (write || !read_only)) {
			t->event = (struct wafer_event){
				.kind = WAFER_EV_EXCEPTION, .vector = 14, .has_error = true,
				.has_payload = true, .payload = gva + i,
			};
			return 1;
		}
	if (gva + len > SIZE)
		return -EFAULT;
	if (data)
		memcpy(write ? mem + gva : data, write ? data : mem + gva, len);
	return 0;
}

static int op_set_cr3(struct wafer_task *t, u64 val)
{
	cr3 = val;
	if (!cr3_result)
		arch.cr3 = val;
	return cr3_result;
}

static const struct wafer_task_ops ops = { op_access, op_set_cr3 };

static void put32(u32 at, u32 val)
{
	memcpy(mem + at, &val, 4);
}

static u32 get32(u32 at)
{
	u32 val;

	memcpy(&val, mem + at, 4);
	return val;
}

static u16 get16(u32 at)
{
	return get32(at);
}

static void descriptor(u32 at, u32 base, u32 limit, u16 attr)
{
	put32(at, (limit & 0xffff) | base << 16);
	put32(at + 4, (base >> 16 & 0xff) | attr << 8 | (limit & 0xf0000) | (base & 0xff000000));
}

#define SEL(n)	((n) << 3)

/* What the tests set in the new task's TSS: by index as in the manual. */
static void tss32(u32 at, unsigned int word, u32 val)
{
	put32(at + 4 * word, val);
}

enum { CR3 = 7, EIP, EFLAGS, GPR, ES = 18, CS, SS, DS, FS, GS, LDT, TRAP };

static struct wafer_task world(u16 selector, u8 cause)
{
	struct wafer_task t;
	unsigned int i;

	memset(&t, 0xa5, sizeof(t));
	memset(mem, 0, sizeof(mem));
	descriptor(GDT + SEL(K_CODE), 0, 0xfffff, 0xc09b);
	descriptor(GDT + SEL(K_DATA), 0, 0xfffff, 0xc092);	/* not accessed yet */
	descriptor(GDT + SEL(U_CODE), 0, 0xfffff, 0xc0fb);
	descriptor(GDT + SEL(U_DATA), 0x100, 0xffff, 0x40f3);
	descriptor(GDT + SEL(CONF), 0, 0xfffff, 0xc09f);
	descriptor(GDT + SEL(RO_DATA), 0, 0xfffff, 0xc0f1);
	descriptor(GDT + SEL(XO_CODE), 0, 0xfffff, 0xc0f9);
	descriptor(GDT + SEL(DOWN), 0, 0xfff, 0x4097);
	descriptor(GDT + SEL(D_A), TSS_A, 0x67, 0x8b);
	descriptor(GDT + SEL(D_B), TSS_B, 0x67, 0x89);
	descriptor(GDT + SEL(D_C), TSS_C, 0x2b, 0x81);
	descriptor(GDT + SEL(D_LDT_A), LDT_A, 0xf, 0x82);
	descriptor(GDT + SEL(D_LDT_B), LDT_B, 0xf, 0x82);
	descriptor(GDT + SEL(ABSENT_CODE), 0, 0xfffff, 0xc01b);
	descriptor(GDT + SEL(ABSENT_DATA), 0, 0xfffff, 0xc013);
	descriptor(GDT + SEL(ABSENT_USTACK), 0, 0xfffff, 0xc073);
	descriptor(GDT + SEL(ABSENT_LDT), LDT_B, 0xf, 0x02);
	descriptor(LDT_B + 8, 0x700, 0xfff, 0x40f3);
	/* the new task: ring 3, DS in its LDT */
	tss32(TSS_B, CR3, 0x8000);
	tss32(TSS_B, EIP, 0x12345678);
	tss32(TSS_B, EFLAGS, 0x203 | 1u << 31);
	for (i = 0; i < 8; i++)
		tss32(TSS_B, GPR + i, 0xb0b00000 + i);
	tss32(TSS_B, GPR + 4, 0x9000);
	tss32(TSS_B, ES, SEL(U_DATA) | 3);
	tss32(TSS_B, CS, SEL(U_CODE) | 3);
	tss32(TSS_B, SS, SEL(U_DATA) | 3);
	tss32(TSS_B, DS, 8 | 4 | 3);
	tss32(TSS_B, FS, SEL(CONF) | 3);
	tss32(TSS_B, GS, 3);
	tss32(TSS_B, LDT, SEL(D_LDT_B));
	for (i = 0; i < 22; i++)
		mem[TSS_C + 2 * i] = i;
	mem[TSS_C + 2 * 17] = mem[TSS_C + 2 * 19] = mem[TSS_C + 2 * 20] = SEL(K_DATA);
	mem[TSS_C + 2 * 18] = SEL(K_CODE);
	mem[TSS_C + 2 * 21] = 0;
	/* the running one: ring 0 */
	t.ops = &ops;
	t.selector = selector;
	t.cause = cause;
	t.soft_vector = -1;
	t.switched = true;
	t.debug_trap = true;
	t.external = false;
	t.has_error = false;
	t.error = 0xe44;
	t.arch = &arch;
	t.len = 2;
	for (i = 0; i < 8; i++)
		arch.gpr[i] = 0xa0a00000 + i;
	arch.rip = 0x110f;
	arch.rflags = 0x4202;
	arch.cr0 = 0x80000011;
	arch.cr3 = 0x7000;
	arch.dr7 = 0x7ff;
	for (i = 0; i < 6; i++)
		arch.seg[i] = (struct wafer_segment){
			.limit = ~0u, .attr = 0xc093, .selector = SEL(K_DATA),
		};
	arch.seg[WAFER_CS].selector = SEL(K_CODE);
	arch.seg[WAFER_CS].attr = 0xc09b;
	arch.seg[WAFER_LDTR] = (struct wafer_segment){ LDT_A, 0xf, 0x82, SEL(D_LDT_A) };
	arch.seg[WAFER_TR] = (struct wafer_segment){ TSS_A, 0x67, 0x8b, SEL(D_A) };
	arch.gdt.base = GDT;
	arch.gdt.limit = ENTRIES * 8 - 1;
	arch.idt.base = IDT;
	arch.idt.limit = 0x7f;
	fault_at = 0;
	read_only = false;
	writes = 0;
	cr3 = 0;
	cr3_result = 0;
	return t;
}

static u8 type_of(unsigned int entry)
{
	return mem[GDT + SEL(entry) + 5];
}

static void check_loaded(const struct wafer_task *t)
{
	unsigned int i;

	CHECK(t->switched);
	CHECK_EQ(arch.rip, 0x12345678);
	for (i = 0; i < 8; i++)
		if (i != 4)
			CHECK_EQ(arch.gpr[i], 0xb0b00000 + i);
	CHECK_EQ(arch.seg[WAFER_CS].selector, SEL(U_CODE) | 3);
	CHECK_EQ(arch.seg[WAFER_CS].attr, 0xc0fb);
	CHECK_EQ(arch.seg[WAFER_CS].limit, 0xffffffff);
	CHECK_EQ(arch.seg[WAFER_SS].base, 0x100);
	CHECK_EQ(arch.seg[WAFER_SS].limit, 0xffff);
	CHECK_EQ(arch.seg[WAFER_SS].attr, 0x40f3);
	CHECK_EQ(arch.seg[WAFER_DS].base, 0x700);
	CHECK_EQ(arch.seg[WAFER_DS].selector, 15);
	CHECK_EQ(arch.seg[WAFER_FS].attr, 0xc09f);
	CHECK_EQ(arch.seg[WAFER_GS].attr, WAFER_SEG_UNUSABLE);
	CHECK_EQ(arch.seg[WAFER_LDTR].base, LDT_B);
	CHECK_EQ(arch.seg[WAFER_TR].base, TSS_B);
	CHECK_EQ(arch.seg[WAFER_TR].selector, SEL(D_B));
	CHECK_EQ(arch.seg[WAFER_TR].attr, 0x8b);
	CHECK_EQ(arch.cr0, 0x80000019);
	CHECK_EQ(arch.cr3, 0x8000);
	CHECK_EQ(cr3, 0x8000);
	CHECK_EQ(arch.dr7, 0x6aa);
	CHECK(!t->debug_trap);
}

static void check_saved(u32 eflags)
{
	unsigned int i;

	CHECK_EQ(get32(TSS_A + 4 * EIP), 0x1111);
	CHECK_EQ(get32(TSS_A + 4 * EFLAGS), eflags);
	for (i = 0; i < 8; i++)
		CHECK_EQ(get32(TSS_A + 4 * (GPR + i)), 0xa0a00000 + i);
	for (i = 0; i < 6; i++)
		CHECK_EQ(get32(TSS_A + 4 * (ES + i)), SEL(i == 1 ? K_CODE : K_DATA));
	CHECK_EQ(get32(TSS_A + 4 * CR3), 0);		/* not among what is saved */
	CHECK_EQ(get32(TSS_A + 4 * LDT), 0);
}

TEST(jmp)
{
	struct wafer_task t = world(SEL(D_B), WAFER_TASK_JMP);

	CHECK_EQ(wafer_task_switch(&t), 0);
	check_loaded(&t);
	check_saved(0x4202);
	CHECK_EQ(arch.rflags, 0x203);
	CHECK_EQ(arch.gpr[WAFER_RSP], 0x9000);
	CHECK_EQ(type_of(D_A), 0x89);
	CHECK_EQ(type_of(D_B), 0x8b);
	CHECK_EQ(get16(TSS_B), 0);
}

TEST(call)
{
	struct wafer_task t = world(SEL(D_B), WAFER_TASK_CALL);

	CHECK_EQ(wafer_task_switch(&t), 0);
	check_loaded(&t);
	check_saved(0x4202);
	CHECK_EQ(arch.rflags, 0x4203);
	CHECK_EQ(type_of(D_A), 0x8b);
	CHECK_EQ(type_of(D_B), 0x8b);
	CHECK_EQ(get16(TSS_B), SEL(D_A));
}

TEST(iret)
{
	struct wafer_task t = world(SEL(D_B), WAFER_TASK_IRET);

	mem[GDT + SEL(D_B) + 5] = 0x8b;
	CHECK_EQ(wafer_task_switch(&t), 0);
	check_loaded(&t);
	check_saved(0x0202);				/* NT is cleared in what is saved */
	CHECK_EQ(arch.rflags, 0x203);
	CHECK_EQ(type_of(D_A), 0x89);
	CHECK_EQ(type_of(D_B), 0x8b);
	CHECK_EQ(get16(TSS_B), 0);
}

/* There and back again leaves the first task as it was. */
TEST(call_and_iret)
{
	struct wafer_task t = world(SEL(D_B), WAFER_TASK_CALL);
	unsigned int i;

	arch.rflags = 0x202;
	tss32(TSS_A, CR3, 0x7000);
	tss32(TSS_A, LDT, SEL(D_LDT_A));
	CHECK_EQ(wafer_task_switch(&t), 0);
	t.selector = get16(TSS_B);
	t.cause = WAFER_TASK_IRET;
	CHECK_EQ(wafer_task_switch(&t), 0);
	CHECK_EQ(arch.rip, 0x1111);
	CHECK_EQ(arch.rflags, 0x202);
	for (i = 0; i < 8; i++)
		CHECK_EQ(arch.gpr[i], 0xa0a00000 + i);
	CHECK_EQ(arch.seg[WAFER_TR].selector, SEL(D_A));
	CHECK_EQ(arch.seg[WAFER_LDTR].base, LDT_A);
	CHECK_EQ(arch.cr3, 0x7000);
	CHECK_EQ(type_of(D_A), 0x8b);
	CHECK_EQ(type_of(D_B), 0x89);
	CHECK_EQ(get32(TSS_B + 4 * EFLAGS), 0x203);	/* without NT */
}

TEST(gate_with_error_code)
{
	struct wafer_task t = world(SEL(D_B), WAFER_TASK_GATE);

	t.has_error = true;
	t.external = true;
	CHECK_EQ(wafer_task_switch(&t), 0);
	CHECK_EQ(arch.rflags, 0x4203);
	CHECK_EQ(get16(TSS_B), SEL(D_A));
	CHECK_EQ(arch.gpr[WAFER_RSP], 0x8ffc);
	CHECK_EQ(get32(0x8ffc + 0x100), 0xe44);
	CHECK_EQ(last_how, WAFER_WALK_USER);
	/* a 16-bit task has 16 bits of it, on a stack as wide as its segment */
	t = world(SEL(D_C), WAFER_TASK_GATE);
	t.has_error = true;
	CHECK_EQ(wafer_task_switch(&t), 0);
	CHECK_EQ(get16(13 - 2), 0xe44);
	CHECK_EQ(last_how, 0);
	/* a 16-bit stack in a 32-bit task: SP wraps, and the rest of ESP stays */
	t = world(SEL(D_B), WAFER_TASK_GATE);
	t.has_error = true;
	descriptor(GDT + SEL(U_DATA), 0, 0xffff, 0x00f3);
	tss32(TSS_B, GPR + 4, 0x120000);
	CHECK_EQ(wafer_task_switch(&t), 0);
	CHECK_EQ(arch.gpr[WAFER_RSP], 0x12fffc);
	CHECK_EQ(get32(0xfffc), 0xe44);
	/* no room on the stack: #SS in the new task */
	t = world(SEL(D_B), WAFER_TASK_GATE);
	t.has_error = true;
	tss32(TSS_B, GPR + 4, 0x10002);
	CHECK_EQ(wafer_task_switch(&t), 1);
	CHECK(t.switched && t.event.vector == 12 && t.event.error == 0);
}

TEST(to_16_bits)
{
	struct wafer_task t = world(SEL(D_C), WAFER_TASK_JMP);
	unsigned int i;

	CHECK_EQ(wafer_task_switch(&t), 0);
	check_saved(0x4202);
	CHECK_EQ(arch.rip, 7);
	CHECK_EQ(arch.rflags, 2);				/* of 8, only what is defined */
	for (i = 0; i < 8; i++)
		CHECK_EQ(arch.gpr[i], 9 + i);
	CHECK_EQ(arch.seg[WAFER_CS].selector, SEL(K_CODE));
	CHECK_EQ(arch.seg[WAFER_DS].selector, SEL(K_DATA));
	CHECK_EQ(arch.seg[WAFER_DS].attr, 0xc093);		/* accessed now */
	CHECK_EQ(type_of(K_DATA), 0x93);
	CHECK_EQ(arch.seg[WAFER_FS].attr, WAFER_SEG_UNUSABLE);
	CHECK_EQ(arch.seg[WAFER_LDTR].attr, WAFER_SEG_UNUSABLE);
	CHECK_EQ(arch.seg[WAFER_TR].attr, 0x83);
	CHECK_EQ(cr3, 0);				/* a 16-bit TSS has none */
	CHECK_EQ(arch.cr3, 0x7000);
	/* and back: 14 halves from IP to DS */
	arch.gpr[0] = 0xffff1234;
	arch.rip = 0x5553;
	t.selector = SEL(D_B);
	memset(mem + TSS_C + 2 * 21, 0xee, 64);
	CHECK_EQ(wafer_task_switch(&t), 0);
	CHECK_EQ(get16(TSS_C + 14), 0x5555);
	CHECK_EQ(get16(TSS_C + 16), 2);
	CHECK_EQ(get16(TSS_C + 18), 0x1234);
	CHECK_EQ(get16(TSS_C + 2 * 18), SEL(K_CODE));
	CHECK_EQ(get16(TSS_C + 2 * 20), SEL(K_DATA));
	CHECK_EQ(get16(TSS_C + 2 * 21), 0xeeee);
	CHECK_EQ(type_of(D_C), 0x81);
}

TEST(vm86)
{
	struct wafer_task t = world(SEL(D_B), WAFER_TASK_JMP);
	unsigned int i;

	tss32(TSS_B, EFLAGS, 0x20202);
	for (i = 0; i < 6; i++)
		tss32(TSS_B, ES + i, 0x1230 + i);
	CHECK_EQ(wafer_task_switch(&t), 0);
	CHECK_EQ(arch.rflags, 0x20202);
	for (i = 0; i < 6; i++) {
		CHECK_EQ(arch.seg[i].selector, 0x1230 + i);
		CHECK_EQ(arch.seg[i].base, 0x12300 + 16 * i);
		CHECK_EQ(arch.seg[i].limit, 0xffff);
		CHECK_EQ(arch.seg[i].attr, 0xf3);
	}
}

TEST(debug_trap)
{
	struct wafer_task t = world(SEL(D_B), WAFER_TASK_JMP);

	tss32(TSS_B, TRAP, 0x680001);
	CHECK_EQ(wafer_task_switch(&t), 0);
	CHECK(t.debug_trap);
	t = world(SEL(D_B), WAFER_TASK_JMP);
	tss32(TSS_B, TRAP, 0x680000);
	CHECK_EQ(wafer_task_switch(&t), 0);
	CHECK(!t.debug_trap);
}

TEST(without_paging)
{
	struct wafer_task t = world(SEL(D_B), WAFER_TASK_JMP);

	arch.cr0 = 0x11;
	CHECK_EQ(wafer_task_switch(&t), 0);
	CHECK_EQ(cr3, 0);
	CHECK_EQ(arch.cr3, 0x7000);
	t = world(SEL(D_B), WAFER_TASK_JMP);
	cr3_result = 1;
	CHECK_EQ(wafer_task_switch(&t), 1);
	CHECK(t.switched && t.event.vector == 13);
	t = world(SEL(D_B), WAFER_TASK_JMP);
	cr3_result = -EINTR;
	CHECK_EQ((u64)wafer_task_switch(&t), (u64)-EINTR);
}

/* Refusals in the old task: nothing at all has changed. */
static void refused(struct wafer_task *t, u8 vector, u32 error)
{
	u16 tr = arch.seg[WAFER_TR].selector;

	memcpy(before, mem, SIZE);
	CHECK_EQ(wafer_task_switch(t), 1);
	CHECK_EQ(t->event.vector, vector);
	if (vector != 14)
		CHECK_EQ(t->event.error, error);
	CHECK(!t->switched && !t->debug_trap);
	CHECK(!memcmp(before, mem, SIZE));
	CHECK_EQ(arch.rip, 0x110f);
	CHECK_EQ(arch.gpr[0], 0xa0a00000);
	CHECK_EQ(arch.seg[WAFER_TR].selector, tr);
	CHECK_EQ(writes, 0);
}

TEST(refused_tss)
{
	static const u8 jmp[] = { WAFER_TASK_JMP, WAFER_TASK_CALL, WAFER_TASK_GATE };
	struct wafer_task t;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(jmp); i++) {
		t = world(SEL(D_A), jmp[i]);
		refused(&t, 13, SEL(D_A));			/* busy */
		t = world(SEL(K_DATA), jmp[i]);
		refused(&t, 13, SEL(K_DATA));			/* no TSS */
		t = world(SEL(D_LDT_A), jmp[i]);
		refused(&t, 13, SEL(D_LDT_A));
		t = world(0, jmp[i]);
		refused(&t, 13, 0);
		t = world(SEL(D_B) | 4 | 3, jmp[i]);
		/* in the LDT; RPL is not part of it */
		refused(&t, 13, SEL(D_B) | 4);
		t = world(SEL(ENTRIES), jmp[i]);
		refused(&t, 13, SEL(ENTRIES));
		t = world(SEL(D_B), jmp[i]);
		arch.gdt.limit = SEL(D_B) + 6;
		refused(&t, 13, SEL(D_B));
	}
	t = world(SEL(D_B), WAFER_TASK_IRET);
	refused(&t, 10, SEL(D_B));				/* not busy */
	t = world(SEL(ENTRIES), WAFER_TASK_IRET);
	refused(&t, 10, SEL(ENTRIES));
	t = world(SEL(D_B), WAFER_TASK_JMP);
	mem[GDT + SEL(D_B) + 5] = 0x09;
	refused(&t, 11, SEL(D_B));				/* not present */
	t = world(SEL(D_B), WAFER_TASK_GATE);
	mem[GDT + SEL(D_B) + 5] = 0x09;
	t.external = true;
	refused(&t, 11, SEL(D_B) | 1);				/* EXT */
	t = world(SEL(D_B), WAFER_TASK_JMP);
	mem[GDT + SEL(D_B)] = 0x66;
	refused(&t, 10, SEL(D_B));				/* too short */
	t = world(SEL(D_C), WAFER_TASK_JMP);
	mem[GDT + SEL(D_C)] = 0x2a;
	refused(&t, 10, SEL(D_C));
}

TEST(soft_interrupt_gate)
{
	struct wafer_task t = world(SEL(D_B), WAFER_TASK_GATE);

	t.soft_vector = 3;
	put32(IDT + 24 + 4, 0x8500);				/* task gate, DPL 0 */
	arch.seg[WAFER_SS].attr = 0xc0f3;				/* from CPL 3 */
	refused(&t, 13, 3 * 8 + 2);
	t = world(SEL(D_B), WAFER_TASK_GATE);
	t.soft_vector = 3;
	put32(IDT + 24 + 4, 0xe500);
	arch.seg[WAFER_SS].attr = 0xc0f3;
	CHECK_EQ(wafer_task_switch(&t), 0);
	t = world(SEL(D_B), WAFER_TASK_GATE);
	t.soft_vector = 3;
	put32(IDT + 24 + 4, 0x8500);
	CHECK_EQ(wafer_task_switch(&t), 0);			/* from CPL 0 */
	t = world(SEL(D_B), WAFER_TASK_GATE);
	t.soft_vector = 16;					/* beyond the IDT */
	refused(&t, 13, 16 * 8 + 2);
	t = world(SEL(D_B), WAFER_TASK_GATE);
	t.soft_vector = 3;
	put32(IDT + 24 + 4, 0x6500);				/* not present */
	refused(&t, 13, 3 * 8 + 2);
}

/* Pages of TSSs and GDT that are not there, or cannot be written: before anything changes. */
TEST(page_faults)
{
	struct wafer_task t = world(SEL(D_B), WAFER_TASK_CALL);

	fault_at = TSS_A / 4096;
	read_only = true;
	refused(&t, 14, 0);
	t = world(SEL(D_B), WAFER_TASK_CALL);
	fault_at = 5;						/* the second page of the new one */
	refused(&t, 14, 0);
	CHECK_EQ(t.event.payload, 0x5000);
	t = world(SEL(D_C), WAFER_TASK_CALL);
	fault_at = TSS_C / 4096;
	read_only = true;					/* the link */
	refused(&t, 14, 0);
	t = world(SEL(D_B), WAFER_TASK_JMP);
	fault_at = GDT / 4096;
	read_only = true;					/* the busy bits */
	refused(&t, 14, 0);
	t = world(SEL(D_B), WAFER_TASK_JMP);
	fault_at = GDT / 4096;
	refused(&t, 14, 0);
	t = world(SEL(D_C), WAFER_TASK_JMP);
	fault_at = TSS_A / 4096;				/* where the old state goes */
	read_only = true;
	refused(&t, 14, 0);
	CHECK_EQ(t.event.payload, TSS_A + 4 * EIP);
	/* the two descriptors in different pages */
	t = world(SEL(D_B), WAFER_TASK_JMP);
	arch.gdt.base = 0xa000 - SEL(D_B);
	memmove(mem + arch.gdt.base, mem + GDT, ENTRIES * 8);
	fault_at = 9;
	read_only = true;
	refused(&t, 14, 0);
	CHECK_EQ(t.event.payload, 0x9ffd);
	fault_at = 10;
	refused(&t, 14, 0);
	CHECK_EQ(t.event.payload, 0xa005);
	/* the new LDT: in the new task */
	t = world(SEL(D_B), WAFER_TASK_JMP);
	fault_at = LDT_B / 4096;
	CHECK_EQ(wafer_task_switch(&t), 1);
	CHECK(t.switched && t.event.vector == 14);
	CHECK_EQ(arch.seg[WAFER_DS].selector, 15);
}

/* Lines 7 to 19 of table 8-1: in the new task, with all selectors loaded. */
TEST(segment_faults)
{
	static const struct { u8 word; u16 sel; u8 vector; u16 error; } c[] = {
		{ LDT, SEL(K_DATA), 10, SEL(K_DATA) },
		{ LDT, SEL(D_LDT_B) | 4, 10, SEL(D_LDT_B) | 4 },
		{ LDT, SEL(ENTRIES), 10, SEL(ENTRIES) },
		{ LDT, SEL(ABSENT_LDT), 10, SEL(ABSENT_LDT) },
		{ CS, 3, 10, 0 }, { CS, SEL(U_DATA) | 3, 10, SEL(U_DATA) },
		{ CS, SEL(K_CODE) | 3, 10, SEL(K_CODE) },
		{ CS, SEL(U_CODE) | 0, 10, SEL(U_CODE) },
		{ CS, SEL(ABSENT_CODE), 11, SEL(ABSENT_CODE) },
		{ CS, SEL(D_A), 10, SEL(D_A) }, { CS, SEL(ENTRIES), 10, SEL(ENTRIES) },
		{ CS, SEL(5) | 4 | 3, 10, SEL(5) | 4 },
		{ SS, 0, 10, 0 }, { SS, SEL(U_DATA), 10, SEL(U_DATA) },
		{ SS, SEL(K_DATA) | 3, 10, SEL(K_DATA) },
		{ SS, SEL(RO_DATA) | 3, 10, SEL(RO_DATA) },
		{ SS, SEL(U_CODE) | 3, 10, SEL(U_CODE) },
		{ SS, SEL(ABSENT_USTACK) | 3, 12, SEL(ABSENT_USTACK) },
		{ ES, SEL(K_DATA) | 3, 10, SEL(K_DATA) },
		{ ES, SEL(XO_CODE) | 3, 10, SEL(XO_CODE) },
		{ DS, SEL(ABSENT_USTACK) | 3, 11, SEL(ABSENT_USTACK) },
		{ FS, SEL(D_A), 10, SEL(D_A) },
		{ GS, SEL(K_CODE) | 3, 10, SEL(K_CODE) }, { GS, 0x17 | 4, 10, 0x14 },
	};
	struct wafer_task t;
	unsigned int i, j;

	for (i = 0; i < ARRAY_SIZE(c); i++) {
		t = world(SEL(D_B), WAFER_TASK_CALL);
		tss32(TSS_B, c[i].word, c[i].sel);
		CHECK_MSG(wafer_task_switch(&t) == 1, "%u", i);
		CHECK_MSG(t.switched && t.event.vector == c[i].vector &&
			  t.event.error == c[i].error,
			  "%u: %d %u %x", i, t.switched, t.event.vector, t.event.error);
		CHECK_EQ(arch.rip, 0x12345678);
		CHECK_EQ(arch.seg[WAFER_TR].selector, SEL(D_B));
		for (j = 0; j < 6; j++)
			CHECK_EQ(arch.seg[j].selector, get16(TSS_B + 4 * (ES + j)));
	}
	/* and what is allowed */
	t = world(SEL(D_B), WAFER_TASK_CALL);
	tss32(TSS_B, CS, SEL(CONF) | 3);
	tss32(TSS_B, DS, SEL(RO_DATA) | 3);
	tss32(TSS_B, ES, SEL(U_CODE) | 3);
	tss32(TSS_B, GS, SEL(U_DATA) | 3);
	descriptor(GDT + SEL(U_DATA), 0xab123456, 0x12345, 0x40f3);
	tss32(TSS_B, LDT, 3);
	CHECK_EQ(wafer_task_switch(&t), 0);
	CHECK_EQ(arch.seg[WAFER_LDTR].attr, WAFER_SEG_UNUSABLE);
	CHECK_EQ(arch.seg[WAFER_GS].base, 0xab123456);
	CHECK_EQ(arch.seg[WAFER_GS].limit, 0x12345);
	t = world(SEL(D_B), WAFER_TASK_CALL);
	/* DS is in an LDT that is not there */
	tss32(TSS_B, LDT, 0);
	CHECK_EQ(wafer_task_switch(&t), 1);
	CHECK_EQ(t.event.vector, 10);
	CHECK_EQ(t.event.error, 12);
}

TEST(random)
{
	unsigned int i, j, switched = 0;

	wild = true;
	for (i = 0; i < 200000; i++) {
		struct wafer_task t = world(SEL(D_B + rnd() % 2), rnd() % 4);

		for (j = rnd() % 6; j; j--) {
			u32 at = rnd() % 3 == 0 ? GDT + rnd() % (ENTRIES * 8) :
				TSS_B + rnd() % 0x68;

			mem[at] = rnd();
		}
		t.has_error = rnd() & 1;
		tss32(TSS_B, GPR + 4, rnd() % 0x8000 + 4);
		if (wafer_task_switch(&t) == 0)
			switched++;
	}
	CHECK_MSG(switched > 10000, "%u", switched);
}

TAP_MAIN()
