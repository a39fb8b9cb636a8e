// SPDX-License-Identifier: GPL-2.0
/*
 * Time: the guest's TSC, kvmclock and steal time.
 *
 * kvmclock is the host's TSC counted from one pair (clock_ns, clock_tsc) of the VM at one rate,
 * which stays when the host's kernel comes to know its TSC's frequency better (Linux refines it for
 * some time after boot): the same line for all vCPUs and for KVM_GET_CLOCK, so that the guest may
 * trust it without comparing CPUs and does not find itself in its past. Where the host's TSC is not
 * to be trusted (it stops in deep sleep states), the pair is taken anew after each sleep and the
 * guest is not told that it is stable.
 */
#include "core.h"
#include <asm/pvclock-abi.h>

static u64 default_ratio(void)
{
	return 1ull << wafer_caps.tsc_frac_bits;
}

static u64 scale(struct wafer_vcpu *vcpu, u64 tsc)
{
	if (likely(!wafer_caps.has_tsc_scaling || vcpu->tsc_ratio == default_ratio()))
		return tsc;
	return mul_u64_u64_shr(tsc, vcpu->tsc_ratio, wafer_caps.tsc_frac_bits);
}

static u64 guest_tsc(struct wafer_vcpu *vcpu, u64 host_tsc)
{
	return scale(vcpu, host_tsc) + vcpu->tsc_offset;
}

u64 wafer_guest_tsc_now(struct wafer_vcpu *vcpu)
{
	return guest_tsc(vcpu, rdtsc());
}

/*
 * A guest may ask for any deadline: cut off before the quotient overflows, which would be a #DE on
 * the host.
 */
static u64 cycles_to_ns(u64 cycles, u32 khz)
{
	return mul_u64_u64_div_u64(min(cycles, (u64)khz << 40), 1000000, khz);
}

/* Takes effect at the next entry; a TSC-deadline timer and kvmclock depend on it. */
int wafer_set_tsc_offset(struct wafer_vcpu *vcpu, u64 offset)
{
	vcpu->tsc_offset = offset;
	wafer_hazards_set(vcpu, BIT(WAFER_H_TSC) | BIT(WAFER_H_CLOCK));
	if (vcpu->lapic)
		wafer_lapic_timer_due(vcpu);
	return 0;
}

/*
 * VMMs set the TSCs of a VM's vCPUs one after the other to the same value, meaning that they are in
 * step. So a write by the host that is within a second of where the last one would be by now is
 * taken for the same (KVM does so). The first one is not measured by the TSC that new vCPUs have,
 * as Linux 6.1 does: a guest younger than a second would find itself in its past after a snapshot.
 */
static bool same_write(struct wafer_vm *vm, struct wafer_vcpu *vcpu, u64 val, u64 now_ns)
{
	u64 second = vcpu->tsc_khz * 1000ull, expected = vm->tsc_last_write +
		     mul_u64_u64_div_u64(now_ns - vm->tsc_last_ns, vcpu->tsc_khz, 1000000);

	return vm->tsc_khz == vcpu->tsc_khz &&
	       (!val || (vm->tsc_set && val - expected + second < 2 * second));
}

/**
 * wafer_write_tsc() - set the guest's TSC
 * @vcpu: vCPU
 * @val: its value now
 * @host: written by the VMM (may be put in step with the other vCPUs), not by the guest
 */
void wafer_write_tsc(struct wafer_vcpu *vcpu, u64 val, bool host)
{
	u64 offset = val - scale(vcpu, rdtsc()), now_ns = ktime_get_boottime_ns();
	struct wafer_vm *vm = vcpu->vm;
	unsigned long flags;

	if (host) {
		raw_spin_lock_irqsave(&vm->time_lock, flags);
		if (same_write(vm, vcpu, val, now_ns))
			offset = vm->tsc_offset;
		vm->tsc_offset = offset;
		vm->tsc_set |= val;
		vm->tsc_khz = vcpu->tsc_khz;
		vm->tsc_last_write = scale(vcpu, rdtsc()) + offset;
		vm->tsc_last_ns = now_ns;
		raw_spin_unlock_irqrestore(&vm->time_lock, flags);
	}
	wafer_set_tsc_offset(vcpu, offset);
}

/**
 * wafer_set_tsc_khz() - KVM_SET_TSC_KHZ
 * @vcpu: vCPU
 * @khz: frequency, 0: the host's
 *
 * Within 250 ppm of the host's frequency nothing is scaled. Without scaling hardware nothing else
 * can be had.
 *
 * Return: 0 or -EINVAL.
 */
int wafer_set_tsc_khz(struct wafer_vcpu *vcpu, u32 khz)
{
	u64 now = wafer_guest_tsc_now(vcpu), ratio = default_ratio();

	khz = khz ?: tsc_khz;
	if (abs((s64)khz - tsc_khz) > tsc_khz * 250ull / 1000000) {
		ratio = mul_u64_u32_div(ratio, khz, tsc_khz);
		if (!wafer_caps.has_tsc_scaling || !ratio || khz / tsc_khz >= 256)
			return wafer_refuse(&vcpu->refusal, -EINVAL, "tsc_khz", khz,
					    "must be what this CPU can scale to, or the host's");
	}
	vcpu->tsc_ratio = ratio;
	vcpu->tsc_khz = khz;
	wafer_set_tsc_offset(vcpu, now - scale(vcpu, rdtsc()));
	return 0;
}

/*
 * Host nanoseconds until the guest's TSC reaches @deadline; *@now_ns is CLOCK_MONOTONIC at the same
 * moment.
 */
u64 wafer_tsc_delta_ns(struct wafer_vcpu *vcpu, u64 deadline, u64 *now_ns)
{
	u64 tsc = wafer_guest_tsc_now(vcpu);

	*now_ns = ktime_get_ns();
	return deadline > tsc ? cycles_to_ns(deadline - tsc, vcpu->tsc_khz) : 0;
}

/* ---- kvmclock ---- */

static void start_clock(struct wafer_vm *vm, u64 ns)
{
	vm->clock_ns = ns;
	vm->clock_khz = tsc_khz;
	vm->clock_tsc = rdtsc();
	vm->clock_boot_ns = ktime_get_boottime_ns();
}

/* The VM's clock, and the host's TSC at that moment. */
static u64 clock_now(struct wafer_vm *vm, u64 *tsc)
{
	unsigned long flags;
	u64 ns;

	raw_spin_lock_irqsave(&vm->time_lock, flags);
	if (check_tsc_unstable())
		start_clock(vm, vm->clock_ns + ktime_get_boottime_ns() - vm->clock_boot_ns);
	*tsc = rdtsc();
	ns = vm->clock_ns + cycles_to_ns(*tsc - vm->clock_tsc, vm->clock_khz);
	raw_spin_unlock_irqrestore(&vm->time_lock, flags);
	return ns;
}

/*
 * Writes a record that the guest reads without a lock: its @version is odd while the rest changes,
 * and other than before when it is whole, which memory alone knows: the vCPU may be a restored one.
 */
static void publish(struct wafer_vcpu *vcpu, gpa_t gpa, void *record, size_t size, u32 *version)
{
	gpa_t at = gpa + ((void *)version - record);

	if (wafer_copy_guest(vcpu, at, version, sizeof(*version), false))
		return;
	*version = (*version + 1) | 1;
	wafer_copy_guest(vcpu, at, version, sizeof(*version), true);
	smp_wmb();	/* the odd version before the rest; pairs with the guest's read barriers */
	wafer_copy_guest(vcpu, gpa, record, size, true);
	smp_wmb();	/* the rest before the even version */
	++*version;
	wafer_copy_guest(vcpu, at, version, sizeof(*version), true);
}

/*
 * At WAFER_H_CLOCK, outside the window: write the vCPU's kvmclock record. Bit 0 of the address
 * enables it.
 */
void wafer_update_clock(struct wafer_vcpu *vcpu)
{
	struct pvclock_vcpu_time_info t = { };
	u64 tsc, hz;

	if (!(vcpu->clock_gpa & 1))
		return;
	t.system_time = clock_now(vcpu->vm, &tsc);
	t.tsc_timestamp = guest_tsc(vcpu, tsc);
	hz = scale(vcpu, READ_ONCE(vcpu->vm->clock_khz) * 1000ull);
	/*
	 * ns = ((cycles << shift) * mul) >> 32, shift negative for a right shift
	 * (asm/pvclock-abi.h).
	 */
	for (; hz > NSEC_PER_SEC * 2ull; hz >>= 1)
		t.tsc_shift--;
	for (; hz <= NSEC_PER_SEC; hz <<= 1)
		t.tsc_shift++;
	t.tsc_to_system_mul = div64_u64((u64)NSEC_PER_SEC << 32, hz);
	t.flags = (check_tsc_unstable() ? 0 : PVCLOCK_TSC_STABLE_BIT) |
		  (vcpu->clock_stopped ? PVCLOCK_GUEST_STOPPED : 0);
	vcpu->clock_stopped = false;
	publish(vcpu, vcpu->clock_gpa & ~1ull, &t, sizeof(t), &t.version);
}

/* MSR_KVM_WALL_CLOCK: the time of day at which kvmclock was 0. Outside the window. */
void wafer_write_wall_clock(struct wafer_vcpu *vcpu, gpa_t gpa)
{
	struct pvclock_wall_clock w;
	u64 tsc;

	if (!gpa)
		return;
	w.sec = div_u64_rem(ktime_get_real_ns() - clock_now(vcpu->vm, &tsc), NSEC_PER_SEC, &w.nsec);
	publish(vcpu, gpa, &w, sizeof(w), &w.version);
}

/*
 * KVM_HC_CLOCK_PAIRING: the time of day, and the guest's TSC at that moment. Window or not; 0 or
 * what the guest gets.
 */
long wafer_pair_clocks(struct wafer_vcpu *vcpu, gpa_t gpa)
{
	struct kvm_clock_pairing pair = { };
	struct timespec64 now;
	unsigned long flags;

	if (check_tsc_unstable())
		return -KVM_EOPNOTSUPP;
	local_irq_save(flags);		/* nothing comes in between */
	pair.tsc = wafer_guest_tsc_now(vcpu);
	ktime_get_real_ts64(&now);
	local_irq_restore(flags);
	pair.sec = now.tv_sec;
	pair.nsec = now.tv_nsec;
	return wafer_copy_guest(vcpu, gpa, &pair, sizeof(pair), true);
}

/* KVM_KVMCLOCK_CTRL: the guest's watchdogs are told that it was stopped. */
int wafer_kvmclock_ctrl(struct wafer_vcpu *vcpu)
{
	vcpu->clock_stopped = vcpu->clock_gpa & 1;
	wafer_hazard_set(vcpu, WAFER_H_CLOCK);
	return wafer_deny(vcpu, !vcpu->clock_stopped, "kvmclock", vcpu->clock_gpa,
			  "must have been switched on by the guest");
}

/* KVM_GET_CLOCK; @c comes zeroed. */
void wafer_get_clock(struct wafer_vm *vm, struct kvm_clock_data *c)
{
	c->clock = clock_now(vm, &c->host_tsc);
	c->realtime = ktime_get_real_ns();
	c->flags = KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC |
		   (check_tsc_unstable() ? 0 : KVM_CLOCK_TSC_STABLE);
}

/* KVM_SET_CLOCK; with KVM_CLOCK_REALTIME the time that has passed since @c was taken is added. */
int wafer_set_clock(struct wafer_vm *vm, const struct kvm_clock_data *c)
{
	u64 ns = c->clock, now = ktime_get_real_ns();
	unsigned long flags;

	if (c->flags & ~(u32)(KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC))
		return wafer_refuse(&vm->refusal, -EINVAL, "flags", c->flags,
				    "must be KVM_CLOCK_* bits");
	if (c->flags & KVM_CLOCK_REALTIME && now > c->realtime)
		ns += now - c->realtime;
	raw_spin_lock_irqsave(&vm->time_lock, flags);
	start_clock(vm, ns);
	raw_spin_unlock_irqrestore(&vm->time_lock, flags);
	wafer_vm_raise(vm, WAFER_H_CLOCK);
	return 0;
}

/* ---- steal time ---- */

/*
 * At WAFER_H_STEAL, outside the window: add the time that this thread waited for a CPU. Bit 0 of
 * the address enables it.
 */
void wafer_update_steal(struct wafer_vcpu *vcpu)
{
	const size_t size = offsetofend(struct kvm_steal_time, preempted);
	gpa_t gpa = vcpu->steal_gpa & ~0x3full;
	u64 delay = current->sched_info.run_delay;
	struct kvm_steal_time st;

	if (!(vcpu->steal_gpa & 1) || wafer_copy_guest(vcpu, gpa, &st, size, false))
		return;
	st.flags = st.preempted = 0;
	st.steal += delay - vcpu->steal_last;
	vcpu->steal_last = delay;
	publish(vcpu, gpa, &st, size, &st.version);
}

/* ---- beginnings, and what suspend does ---- */

void wafer_vm_time_init(struct wafer_vm *vm)
{
	raw_spin_lock_init(&vm->time_lock);
	start_clock(vm, 0);
}

/* A new vCPU is in step with those that are there. */
void wafer_vcpu_time_init(struct wafer_vcpu *vcpu)
{
	vcpu->tsc_khz = vcpu->vm->default_tsc_khz ?: tsc_khz;
	vcpu->tsc_ratio = default_ratio();
	if (vcpu->vm->default_tsc_khz)
		wafer_set_tsc_khz(vcpu, vcpu->vm->default_tsc_khz);
	wafer_write_tsc(vcpu, 0, true);
}

/* The host's TSC lost @cycles in suspend; interrupts are off, no vCPU runs. */
void wafer_vm_tsc_went_back(struct wafer_vm *vm, u64 cycles)
{
	struct wafer_vcpu *vcpu;

	vm->clock_tsc -= cycles;
	wafer_for_each_vcpu(vcpu, vm) {
		vcpu->tsc_offset += scale(vcpu, cycles);
		wafer_hazards_set(vcpu, BIT(WAFER_H_TSC) | BIT(WAFER_H_CLOCK));
	}
}
