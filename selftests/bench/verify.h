/* SPDX-License-Identifier: GPL-2.0 */
// exitcost --verify: what each row has done, looked at when its time has been taken. Included by exitcost.c behind its helpers.
// A check states the ABI: it holds on every device. What only one module's statistics tell is asked of that one alone.
#ifndef VERIFY_H
#define VERIFY_H

static int verified, faulty, bad_row;

static void check(const char *row, int good, const char *what, uint64_t got)
{
	if (good) return;
	printf("# %s: %s: %#llx\n", row, what, (unsigned long long)got);
	bad_row = 1;
}
#define SAME(a, b) do { uint64_t a_ = (a); check(row, a_ == (uint64_t)(b), #a " is not " #b, a_); } while (0)

// Ends the instruction that the VMM was asked about.
static void settle(struct vm *v)
{
	v->run->immediate_exit = 1;
	if (ioctl(v->vcpu, KVM_RUN, 0) != -1 || errno != EINTR) die("KVM_RUN with immediate_exit");
	v->run->immediate_exit = 0;
}
static struct kvm_regs regs_of(struct vm *v) { struct kvm_regs g; call(v->vcpu, KVM_GET_REGS, &g, "KVM_GET_REGS"); return g; }
static uint64_t msr_of(struct vm *v, uint32_t index)
{
	struct { struct kvm_msrs h; struct kvm_msr_entry e; } m = { .h.nmsrs = 1, .e.index = index };
	if (ioctl(v->vcpu, KVM_GET_MSRS, &m) != 1) die("KVM_GET_MSRS");
	return m.e.data;
}
static struct kvm_lapic_state lapic_of(struct vm *v) { struct kvm_lapic_state l; call(v->vcpu, KVM_GET_LAPIC, &l, "KVM_GET_LAPIC"); return l; }
typedef uint32_t __attribute__((may_alias)) word;
static word *reg(struct kvm_lapic_state *l, int at) { return (word *)(l->regs + at); }
static int bits(struct kvm_lapic_state *l, int at) { int n = 0; for (int i = 0; i < 8; i++) n += __builtin_popcount(*reg(l, at + i * 16)); return n; }
#define ISR 0x100
#define IRR 0x200
static int has(struct kvm_lapic_state *l, int at, int vector) { return *reg(l, at + vector / 32 * 16) >> vector % 32 & 1; }

// A counter by its name; -1: this device has none of that name.
static long counter(int fd, const char *name)
{
	struct kvm_stats_header h; struct { struct kvm_stats_desc d; char name[256]; } s; long n = -1; uint64_t x;
	int f = ioctl(fd, KVM_GET_STATS_FD, NULL);
	if (f < 0 || pread(f, &h, sizeof h, 0) != sizeof h) die("KVM_GET_STATS_FD");
	for (unsigned i = 0; i < h.num_desc && n < 0; i++) {
		size_t size = sizeof s.d + h.name_size;
		if (size > sizeof s || pread(f, &s, size, h.desc_offset + i * size) != (ssize_t)size) die("statistics");
		if (!strcmp(s.name, name) && pread(f, &x, 8, h.data_offset + s.d.offset) == 8) n = x;
	}
	close(f);
	return n;
}

// The loop that the row has left in memory, once more, with values in the registers that it has no business with.
static size_t code_len(struct vm *v)
{
	uint8_t *p = v->mem + CODE_BASE;
	for (size_t i = 0; i < 120; i++) if (p[i] == 0xe6 && p[i + 1] == 0x99) return i + 2;
	return 0;
}
static struct kvm_regs again(struct vm *v, const char *row, uint64_t times, uint64_t rdi, uint64_t rax)
{
	struct kvm_regs g = { .rip = CODE_BASE, .rflags = 2, .rsp = 0x7000, .rbx = times, .rcx = 0x1111222233334444, .rdi = rdi, .rax = rax,
		.rdx = 0x5555666677778888, .rsi = 0x99990000aaaabbbb, .rbp = 0xccccddddeeeeffff, .r8 = 8, .r9 = 9, .r10 = 10, .r11 = 11, .r12 = 12,
		.r13 = ~0ull, .r14 = 14, .r15 = 1ull << 63 }, a = g;
	settle(v);
	call(v->vcpu, KVM_SET_REGS, &g, "KVM_SET_REGS");
	expect(v, KVM_EXIT_IO, row);
	SAME(v->run->io.port, 0x99); SAME(v->run->io.direction, KVM_EXIT_IO_OUT); SAME(v->run->io.size, 1);
	settle(v);
	g = regs_of(v);
	SAME(g.rip, CODE_BASE + code_len(v)); SAME(g.rbx, 0); SAME(g.rsp, 0x7000); SAME(g.rbp, a.rbp); SAME(g.r9, 9);
	SAME(g.r10, 10); SAME(g.r11, 11); SAME(g.r12, 12); SAME(g.r13, ~0ull); SAME(g.r14, 14); SAME(g.r15, 1ull << 63);
	SAME(g.rflags & ~0x201ull, 0x46);           // of DEC to 0; CF is of what came before it, IF of STI
	return g;
}

static void check_in_kernel(struct vm *v, const char *row)
{
	struct kvm_regs g = again(v, row, 3, 0x1234, 0x4321);
	if (!strcmp(row, "cpuid_exit")) {
		struct { struct kvm_cpuid2 h; struct kvm_cpuid_entry2 e[128]; } c; c.h.nent = 128;
		call(v->vcpu, KVM_GET_CPUID2, &c, "KVM_GET_CPUID2");
		unsigned i = 0; while (i < c.h.nent && c.e[i].function) i++;
		SAME(g.rax, c.e[i].eax); SAME(g.rcx, c.e[i].ecx); SAME(g.rdx, c.e[i].edx);
		SAME(*(uint64_t *)(v->mem + 0x7000 - 8), 1);     // RBX, which the row keeps on the stack
	} else if (!strcmp(row, "hypercall_exit")) {
		SAME(g.rax, -1000ll);                            // KVM_ENOSYS
		SAME(g.rcx, 0x1111222233334444); SAME(g.rdx, 0x5555666677778888);
	} else if (!strcmp(row, "rdmsr_exit")) {
		SAME(g.rax, (uint32_t)msr_of(v, 0x1a0)); SAME(g.rdx, msr_of(v, 0x1a0) >> 32); SAME(g.rcx, 0x1a0);
	} else if (!strcmp(row, "apic_write_exit")) {
		struct kvm_lapic_state l = lapic_of(v); struct kvm_sregs s;
		*reg(&l, 0x80) = 0x50; call(v->vcpu, KVM_SET_LAPIC, &l, "KVM_SET_LAPIC");
		again(v, row, 1, 0, 0); l = lapic_of(v); call(v->vcpu, KVM_GET_SREGS, &s, "KVM_GET_SREGS");
		SAME(*reg(&l, 0x80), 0); SAME(s.cr8, 0);
	} else if (!strcmp(row, "apic_read_exit")) {
		SAME(g.rax, 0);
		struct kvm_lapic_state l = lapic_of(v);
		*reg(&l, APIC_LVTT) = 0x10050; *reg(&l, APIC_TDCR) = 0xb; *reg(&l, 0x380) = *reg(&l, 0x390) = 4000000000u;
		call(v->vcpu, KVM_SET_LAPIC, &l, "KVM_SET_LAPIC");
		uint64_t a = again(v, row, 1, 0, 0).rax, b = again(v, row, 1, 0, 0).rax;
		check(row, a && a <= 4000000000u, "the timer's count is more than it was set to", a);
		check(row, b && b < a, "the timer's count does not fall", b);
	} else if (strcmp(row, "guest_loop")) {
		check(row, 0, "nothing is known of this row", 0);
	}
}

static void check_to_user(struct vm *v, const char *row)
{
	int mmio = !strncmp(row, "mmio", 4), in = strstr(row, "_in_") || strstr(row, "_read_");
	struct kvm_regs g; uint64_t was = 0x1122334455667788;
	settle(v); g = regs_of(v);
	SAME(g.rip, CODE_BASE + 2);                          // behind the access, before the jump
	g.rip = CODE_BASE; g.rax = was; g.rdi = MMIO_GPA; call(v->vcpu, KVM_SET_REGS, &g, "KVM_SET_REGS");
	for (int i = 0; i < 3; i++) {
		SAME(run(v), mmio ? KVM_EXIT_MMIO : KVM_EXIT_IO);
		if (mmio) {
			uint32_t *data = (uint32_t *)v->run->mmio.data;
			SAME(v->run->mmio.phys_addr, MMIO_GPA); SAME(v->run->mmio.len, 4); SAME(v->run->mmio.is_write, !in);
			if (in) *data = 0xdeadbee0 + i; else SAME(*data, (uint32_t)was);
		} else {
			uint8_t *data = (uint8_t *)v->run + v->run->io.data_offset;
			SAME(v->run->io.port, 0x10); SAME(v->run->io.size, 1); SAME(v->run->io.count, 1);
			SAME(v->run->io.direction, in ? KVM_EXIT_IO_IN : KVM_EXIT_IO_OUT);
			if (in) *data = 0xa0 + i; else SAME(*data, (uint8_t)was);
		}
		settle(v); g = regs_of(v);
		SAME(g.rip, CODE_BASE + 2); SAME(g.rflags, 2); SAME(g.rdi, MMIO_GPA);
		SAME(g.rax, !in ? was : mmio ? 0xdeadbee0u + i : (was & ~0xffull) | (0xa0 + i));
	}
}

// What is mapped now, by what each module counts; what a page holds, by its own.
static void check_touch(struct vm *v, const char *row)
{
	uint32_t step = *(uint32_t *)(v->mem + CODE_BASE + 5); size_t n = v->big_size / step;
	int huge = !strcmp(row, "fault_2m_present") || !strcmp(row, "warm_4k_of_2m"), cold = !strcmp(row, "fault_4k_cold"); unsigned char in;
	long tables = counter(v->vm, "nested_table_pages"), faults = counter(v->vcpu, "nested_faults");
	settle(v);
	SAME(regs_of(v).rdi, BIG_GPA + n * step);
	if (tables >= 0) {
		check(row, huge ? tables <= 7 : tables >= (long)(v->big_size >> 21), "so many tables of its own", tables);
		size_t least = huge ? v->big_size >> 21 : step == 4096 && !cold ? n / 16 : n;
		check(row, faults >= (long)least && faults <= (long)least + 32, "so many faults", faults);
	} else {
		long p4 = counter(v->vm, "pages_4k"), p2 = counter(v->vm, "pages_2m");
		if (p4 >= 0) check(row, huge ? p2 >= (long)(v->big_size >> 21) : p4 >= (long)n, "so many pages are mapped", huge ? p2 : p4);
	}
	for (size_t i = 0; i < v->big_size; i += 4096) {
		if (cold && (mincore(v->big + i, 4096, &in) || !(in & 1))) check(row, 0, "a page that was written is not there", i);
		if (v->big[i] != (i % step && !cold)) check(row, 0, "a page holds something else", i);
	}
	again(v, row, n, BIG_GPA, 0x5a);
	for (size_t i = 0; i < v->big_size; i += 4096)
		if (v->big[i] != (i % step ? 1 : 0x5a)) check(row, 0, "a page holds something else after a second write", i);
}

// Every third page, and no other.
static size_t dirty_thirds(struct vm *v, const char *row)
{
	size_t n = v->big_size / 4096 / 3;
	*(uint32_t *)(v->mem + CODE_BASE + 5) = 3 * 4096;
	again(v, row, n, BIG_GPA, 0x77);
	return n;
}
static void check_dirty(struct vm *v, const char *row)
{
	size_t pages = v->big_size / 4096; uint64_t *map = calloc(1, pages / 8);
	struct kvm_dirty_log l = { .slot = 1, .dirty_bitmap = map };
	for (int round = 0; round < 4; round++) {
		size_t n = round == 2 ? dirty_thirds(v, row) : 0, wrong = 0;
		if (round == 3) v->big[5 * 4096] = 9;            // the VMM's own writes are its own business
		call(v->vm, KVM_GET_DIRTY_LOG, &l, "KVM_GET_DIRTY_LOG");
		for (size_t i = 0; i < pages; i++)
			wrong += (map[i / 64] >> i % 64 & 1) != (round == 0 || (round == 2 && i % 3 == 0 && i / 3 < n));
		check(row, !wrong, round == 0 ? "so many pages of those written are not in the log" : round == 2 ? "so many pages are wrong in the log" :
			"so many pages are in the log that nobody wrote", wrong);
	}
	free(map);
}
static void check_ring(struct vm *v, const char *row, volatile struct kvm_dirty_gfn *ring, size_t at)
{
	size_t n = dirty_thirds(v, row), k = 0, wrong = 0; uint8_t seen[2048] = { 0 };
	for (; k < RING && ring[at % RING].flags & KVM_DIRTY_GFN_F_DIRTY; k++, at++) {
		if (ring[at % RING].slot == 1 && ring[at % RING].offset < 2048) seen[ring[at % RING].offset]++; else wrong++;
		ring[at % RING].flags = KVM_DIRTY_GFN_F_RESET;
	}
	for (size_t i = 0; i < 2048; i++) wrong += seen[i] != (i % 3 == 0 && i / 3 < n);
	check(row, !wrong, "so many pages are wrong in the ring", wrong);
	SAME(k, n); SAME(ioctl(v->vm, KVM_RESET_DIRTY_RINGS, 0), n); SAME(ring[(at - 1) % RING].flags, 0); SAME(ring[at % RING].flags, 0);
	SAME(ioctl(v->vm, KVM_RESET_DIRTY_RINGS, 0), 0);
}

static void check_ioeventfd(struct vm *v, const char *row, int fd)
{
	eventfd_t n = 0;
	SAME(eventfd_read(fd, &n), 0); SAME(n, 2 * (1 + N + 1));
	again(v, row, 5, MMIO_GPA, 0);
	SAME(eventfd_read(fd, &n), 0); SAME(n, 5); SAME(eventfd_read(fd, &n), -1);
}

static void check_create(const char *row)
{
	char name[40], to[80]; int vm, vc;
	for (int fd = 0; fd < 256; fd++) {
		snprintf(name, sizeof name, "/proc/self/fd/%d", fd); ssize_t n = readlink(name, to, sizeof to - 1); to[n > 0 ? n : 0] = 0;
		check(row, !strstr(to, "-vm") && !strstr(to, "-vcpu"), "a descriptor is still open", fd);
	}
	vm = ioctl(sys_fd, KVM_CREATE_VM, 0); vc = ioctl(vm, KVM_CREATE_VCPU, 0);
	SAME(vc >= 0, 1); SAME(ioctl(vm, KVM_CREATE_VCPU, 0), -1); SAME(errno, EEXIST);
	close(vc);
	SAME(ioctl(vm, KVM_CREATE_VCPU, 0), -1); SAME(errno, EEXIST);       // it stays until the VM goes
	vc = ioctl(vm, KVM_CREATE_VCPU, 1); SAME(vc >= 0, 1); close(vc); close(vm);
}

static void put_isr(struct vm *v, int a, int b)
{
	struct kvm_lapic_state l = lapic_of(v);
	*reg(&l, ISR + a / 32 * 16) |= 1u << a % 32; *reg(&l, ISR + b / 32 * 16) |= 1u << b % 32;
	call(v->vcpu, KVM_SET_LAPIC, &l, "KVM_SET_LAPIC");
}
static void check_apic(struct vm *v, const char *row)
{
	struct kvm_lapic_state l;
	if (!strncmp(row, "eoi", 3)) {
		put_isr(v, 0x45, 0x83);
		again(v, row, 1, 0, 0); l = lapic_of(v);     // the highest, and not the other
		SAME(has(&l, ISR, 0x83), 0); SAME(has(&l, ISR, 0x45), 1); SAME(bits(&l, ISR), 1);
		again(v, row, 2, 0, 0); l = lapic_of(v); SAME(bits(&l, ISR), 0);
	} else if (!strcmp(row, "icr_write")) {
		again(v, row, 2, 0, 0); l = lapic_of(v);
		SAME(msr_of(v, X2APIC(0x300)), 0x7full << 32 | 0x40); SAME(bits(&l, IRR), 0);
	} else {
		*taken(v) = 0;
		again(v, row, 7, 0, 0); l = lapic_of(v);
		SAME(*taken(v), 7); SAME(bits(&l, IRR), 0);
	}
	SAME(bits(&l, ISR), 0); SAME(bits(&l, IRR), 0);
}
static void check_timer(struct vm *v, const char *row)
{
	struct kvm_lapic_state l = lapic_of(v);
	SAME(*reg(&l, 0x380), TIMER_NS); SAME(*reg(&l, 0x390), 0); SAME(bits(&l, ISR), 0); SAME(bits(&l, IRR), 0);
}
static void check_irqfd(struct vm *v, const char *row, int fd)
{
	struct kvm_lapic_state l;
	eventfd_t x;
	expect(v, KVM_EXIT_IO, row); *taken(v) = 0;
	for (int i = 0; i < 3; i++) signal_fd(fd);           // an edge each, and one request
	l = lapic_of(v); SAME(has(&l, IRR, 0x60), 1); SAME(bits(&l, IRR), 1); SAME(*taken(v), 0);
	expect(v, KVM_EXIT_IO, row); expect(v, KVM_EXIT_IO, row);
	l = lapic_of(v); SAME(bits(&l, IRR), 0); SAME(bits(&l, ISR), 0); SAME(*taken(v), 1);
	SAME(eventfd_read(fd, &x), -1);                      // its count is taken by the irqfd
}
static void check_halt(struct vm *v, const char *row)
{
	struct kvm_mp_state m = { 99 }; struct itimerval t = { .it_value.tv_usec = 50000 }; struct sigaction sa = { .sa_handler = nothing };
	v->run->immediate_exit = 0; sigaction(SIGALRM, &sa, NULL); setitimer(ITIMER_REAL, &t, NULL);
	SAME(ioctl(v->vcpu, KVM_RUN, 0), -1); SAME(errno, EINTR);
	call(v->vcpu, KVM_GET_MP_STATE, &m, "KVM_GET_MP_STATE");
	SAME(m.mp_state, KVM_MP_STATE_HALTED); SAME(*taken(v), N + 64);
	SAME(regs_of(v).rip, CODE_BASE + 4);                 // behind HLT
}
static void check_string(struct vm *v, const char *row, int in)
{
	struct kvm_regs g; settle(v); g = regs_of(v);
	SAME(g.rcx, 0); SAME(g.rdx, 0x10); SAME(g.rsi, DATA_BASE + (in ? 0 : 4096)); SAME(g.rdi, DATA_BASE + (in ? 4096 : 0));
}
static void check_coalesced(struct vm *v, const char *row, struct kvm_coalesced_mmio_ring *r, unsigned n)
{
	SAME(r->first, 0); SAME(r->last, n);
	for (unsigned i = 0; i < n; i++) {
		SAME(r->coalesced_mmio[i].phys_addr, MMIO_GPA); SAME(r->coalesced_mmio[i].len, 4); SAME(r->coalesced_mmio[i].pio, 0);
		SAME(*(uint32_t *)r->coalesced_mmio[i].data, n - i);
	}
	// Full: one place stays free, and the next write comes out.
	unsigned room = (4096 - sizeof *r) / sizeof r->coalesced_mmio[0];
	r->first = 1; r->last = 0; settle(v); load(v, (uint8_t[]){ 0x89, 0x1f, 0xe6, 0x99 }, 4, 0x77, MMIO_GPA);
	SAME(run(v), KVM_EXIT_MMIO); SAME(*(uint32_t *)v->run->mmio.data, 0x77); SAME(r->last, 0);
	check(row, room > n, "so many have room", room);
}
static void check_two(struct vm *v, struct vm *w, const char *row)
{
	struct vm *of[2] = { v, w };
	for (int i = 0; i < 2; i++) { settle(of[i]); struct kvm_regs g = regs_of(of[i]); g.rip = CODE_BASE; g.rax = 0x31 + i; call(of[i]->vcpu, KVM_SET_REGS, &g, "KVM_SET_REGS"); }
	for (int i = 0; i < 6; i++) { SAME(run(of[i & 1]), KVM_EXIT_IO); SAME(((uint8_t *)of[i & 1]->run)[of[i & 1]->run->io.data_offset], 0x31 + (i & 1)); }
	SAME(msr_of(v, 0x10) > 0, 1);
	settle(v); settle(w); SAME(regs_of(v).rax, 0x31); SAME(regs_of(w).rax, 0x32);
}
static void check_slots(struct vm *v, const char *row, uint8_t *p)
{
	struct kvm_userspace_memory_region r = { .slot = 7, .guest_phys_addr = BIG_GPA, .userspace_addr = (uintptr_t)p, .memory_size = 1 << 30 }, o = r;
	uint8_t code[] = { 0x88, 0x07, 0xe6, 0x99 };
	call(v->vm, KVM_SET_USER_MEMORY_REGION, &r, "KVM_SET_USER_MEMORY_REGION");
	o.slot = 8; o.memory_size = 4096; SAME(ioctl(v->vm, KVM_SET_USER_MEMORY_REGION, &o), -1); SAME(errno, EEXIST);
	for (int there = 1; there >= 0; there--) {
		p[0x5000] = 3; load(v, code, sizeof code, 0, BIG_GPA + 0x5000);
		SAME(run(v), there ? KVM_EXIT_IO : KVM_EXIT_MMIO); SAME(p[0x5000], there ? 0 : 3); settle(v);
		r.memory_size = 0; SAME(ioctl(v->vm, KVM_SET_USER_MEMORY_REGION, &r), there ? 0 : -1);       // gone with the first
	}
}
static void check_invalidate(struct vm *v, const char *row)
{
	uint8_t code[] = { 0x8b, 0x07, 0x48, 0x83, 0xc7, 8, 0x48, 0xff, 0xcb, 0x75, 0xf5, 0xe6, 0x99 };  // mov eax, [rdi]; add rdi, 8; dec rbx; jnz; out
	for (size_t i = 0; i < 4; i++) v->big[i * 4096] = 0x41 + i;
	load(v, code, sizeof code, 1, BIG_GPA);
	for (int i = 0; i < 4; i++) SAME(again(v, row, 1, BIG_GPA + i * 4096, ~0ull).rax, 0x41 + i);
	discard(v->big, v->big_size);
	for (int i = 0; i < 4; i++) SAME(again(v, row, 1, BIG_GPA + i * 4096, ~0ull).rax, 0);
	v->big[4096] = 0x99; SAME(again(v, row, 1, BIG_GPA + 4096, 0).rax, 0x99);
}
// All nine calls with values that a fresh vCPU does not have.
static void check_state(struct vm *v, const char *row)
{
	static struct { struct kvm_regs g; struct kvm_sregs s; struct kvm_xsave x; struct kvm_debugregs d; struct kvm_vcpu_events e; struct kvm_lapic_state l;
		struct kvm_mp_state m; struct kvm_xcrs c; } a, b;
	struct { struct kvm_msrs h; struct kvm_msr_entry e; } m = { .h.nmsrs = 1, .e = { .index = 0xc0000082, .data = 0xffff800012345678 } };
	struct { unsigned long get, set; size_t at; const char *name; } c[] = { { KVM_GET_REGS, KVM_SET_REGS, offsetof(typeof(a), g), "REGS" },
		{ KVM_GET_SREGS, KVM_SET_SREGS, offsetof(typeof(a), s), "SREGS" }, { KVM_GET_XSAVE, KVM_SET_XSAVE, offsetof(typeof(a), x), "XSAVE" },
		{ KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, offsetof(typeof(a), d), "DEBUGREGS" }, { KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, offsetof(typeof(a), e), "VCPU_EVENTS" },
		{ KVM_GET_LAPIC, KVM_SET_LAPIC, offsetof(typeof(a), l), "LAPIC" }, { KVM_GET_MP_STATE, KVM_SET_MP_STATE, offsetof(typeof(a), m), "MP_STATE" },
		{ KVM_GET_XCRS, KVM_SET_XCRS, offsetof(typeof(a), c), "XCRS" } };
	enum { CALLS = sizeof c / sizeof *c };
	settle(v);
	for (int i = 0; i < CALLS; i++) call(v->vcpu, c[i].get, (char *)&a + c[i].at, c[i].name);
	a.g.r10 = 0x1010; a.g.rsi = 0x5151; a.s.cr2 = 0x123000; a.s.fs.base = 0x7000; a.d.db[1] = 0x4000; a.e.nmi.masked = 1;
	a.x.region[128] |= 3; for (int i = 0; i < 64; i++) a.x.region[40 + i] = 0x01010101u * i;        // the XMM registers
	*reg(&a.l, 0x80) = 0x30;
	for (int i = 0; i < CALLS; i++) call(v->vcpu, c[i].set, (char *)&a + c[i].at, c[i].name);
	if (ioctl(v->vcpu, KVM_SET_MSRS, &m) != 1) die("KVM_SET_MSRS");
	for (int i = 0; i < CALLS; i++) call(v->vcpu, c[i].get, (char *)&b + c[i].at, c[i].name);
	SAME(memcmp(&a.g, &b.g, sizeof a.g), 0); SAME(b.s.cr2, 0x123000); SAME(b.s.fs.base, 0x7000); SAME(b.s.cr8, 3); SAME(b.d.db[1], 0x4000);
	SAME(b.e.nmi.masked, 1); SAME(memcmp(&a.x.region[40], &b.x.region[40], 256), 0); SAME(*reg(&b.l, 0x80), 0x30); SAME(*reg(&b.l, APIC_LVTT), *reg(&a.l, APIC_LVTT));
	SAME(msr_of(v, 0xc0000082), 0xffff800012345678); SAME(b.m.mp_state, a.m.mp_state); SAME(b.c.xcrs[0].value, a.c.xcrs[0].value);
	uint8_t code[] = { 0x66, 0x0f, 0x7e, 0xc8, 0xe6, 0x99 };                // movd eax, xmm1: the guest has them too
	memcpy(v->mem + CODE_BASE, code, sizeof code); b.g.rip = CODE_BASE; call(v->vcpu, KVM_SET_REGS, &b.g, "KVM_SET_REGS");
	SAME(run(v), KVM_EXIT_IO); settle(v); SAME(regs_of(v).rax, 0x01010101u * 4); SAME(regs_of(v).r10, 0x1010);
}

// The end of a row under --verify.
static void row_verified(const char *row)
{
	printf("%s %d %s\n", bad_row ? "not ok" : "ok", ++verified, row); fflush(stdout);
	faulty |= bad_row; bad_row = 0;
}

#endif
