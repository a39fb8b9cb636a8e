// SPDX-License-Identifier: GPL-2.0
/*
 * The local APIC timer: one-shot, periodic, TSC deadline (SDM vol. 3 §11.5.4).
 *
 * The vCPU's thread alone decides what is due when; the hrtimer's callback does nothing but tell it
 * to look. So an expiry that is not wanted any more does no harm, and a timer that is put off (what
 * guests do all the time) costs no reprogramming: the callback comes at the old time and the thread
 * arms the new one. A vCPU that does not run (paused, starved) gets one callback and no more,
 * however short its period is.
 *
 * The APIC's clock runs at 1 GHz, as KVM's does: one count is one nanosecond times the divisor.
 */
#include "lapic.h"

/* A guest that asks for a shorter period gets this one: each expiry costs the host an interrupt. */
#define MIN_PERIOD_NS 200000

static enum hrtimer_restart timer_fn(struct hrtimer *hrtimer)
{
	struct wafer_lapic *apic = container_of(hrtimer, struct wafer_lapic, timer.hrtimer);

	wafer_vcpu_raise(apic->vcpu, WAFER_H_TIMER);
	return HRTIMER_NORESTART;
}

void wafer_lapic_timer_init(struct wafer_lapic *apic)
{
	apic->timer.armed = WAFER_NEVER;
	wafer_hrtimer_setup(&apic->timer.hrtimer, timer_fn, CLOCK_MONOTONIC,
			    HRTIMER_MODE_ABS_PINNED_HARD);
}

/*
 * Pinned: the interrupt then comes where the vCPU runs and ends its stay in the guest without a
 * kick.
 */
static void arm(struct wafer_lapic *apic, u64 target)
{
	apic->timer.target = target;
	if (target >= apic->timer.armed)
		return;
	apic->timer.armed = target;
	hrtimer_start(&apic->timer.hrtimer, ns_to_ktime(target), HRTIMER_MODE_ABS_PINNED_HARD);
}

void wafer_lapic_timer_stop(struct wafer_lapic *apic)
{
	apic->timer.target = WAFER_NEVER;
	apic->timer.period = 0;
	apic->timer.tsc_deadline = 0;
}

static bool has_mode(struct wafer_lapic *apic, u32 mode)
{
	return wafer_apic_reg(apic, APIC_LVTT) & mode;
}

/* log2 of the divisor: 2, 4 ... 128, 1 (SDM vol. 3 figure 11-10) */
static u32 shift(struct wafer_lapic *apic)
{
	u32 tdcr = wafer_apic_reg(apic, APIC_TDCR);

	return ((tdcr & 3) + (tdcr >> 1 & 4) + 1) & 7;
}

/* The timer's time has come: the interrupt, and the next period if there is one. */
static void expire(struct wafer_lapic *apic, u64 now)
{
	u64 target = apic->timer.target, period = apic->timer.period;

	wafer_lapic_local(apic, APIC_LVTT);
	apic->timer.tsc_deadline = 0;
	/* Periods that were missed are one interrupt: there is one bit of IRR. */
	if (period)
		arm(apic, target + ((now - target) / period + 1) * period);
	else
		apic->timer.target = WAFER_NEVER;
}

static void start_deadline(struct wafer_lapic *apic)
{
	u64 now, delta;

	delta = wafer_tsc_delta_ns(apic->vcpu, apic->timer.tsc_deadline, &now);
	if (!delta)
		expire(apic, now);
	else
		/* One more: the quotient was rounded down, and a timer must not be early. */
		arm(apic, min(delta, WAFER_NEVER - now - 1) + now + 1);
}

/**
 * wafer_lapic_timer_due() - at WAFER_H_TIMER: the hrtimer has fired, or the guest's TSC has changed
 * @vcpu: vCPU with a local APIC, its mutex held
 *
 * Harmless if nothing has. A callback that comes while this runs raises the hazard again.
 */
void wafer_lapic_timer_due(struct wafer_vcpu *vcpu)
{
	struct wafer_lapic *apic = vcpu->lapic;
	u64 target = apic->timer.target, now = target == WAFER_NEVER ? 0 : ktime_get_ns();

	apic->timer.armed = WAFER_NEVER;
	if (apic->timer.tsc_deadline)
		start_deadline(apic);
	else if (now >= target)
		expire(apic, now);
	else
		arm(apic, target);	/* NEVER arms nothing */
}

/* Counts down from @count now; a period is that of TMICT. */
static void start(struct wafer_lapic *apic, u32 count)
{
	u32 initial = wafer_apic_reg(apic, APIC_TMICT);
	u64 first = (u64)count << shift(apic);

	apic->timer.period = 0;
	if (has_mode(apic, APIC_LVT_TIMER_PERIODIC)) {
		apic->timer.period = max_t(u64, (u64)initial << shift(apic), MIN_PERIOD_NS);
		if (count == initial)
			first = apic->timer.period;
	}
	arm(apic, ktime_get_ns() + first);
}

/* 0 when it has expired and not before: the last count's rest is rounded up. */
u32 wafer_lapic_timer_count(struct wafer_lapic *apic)
{
	u64 now, left, target = apic->timer.target, period = apic->timer.period;
	u32 log2 = shift(apic);

	if (target == WAFER_NEVER || has_mode(apic, APIC_LVT_TIMER_TSCDEADLINE))
		return 0;
	now = ktime_get_ns();
	if (likely(now < target))
		left = target - now;
	else
		left = period ? period - (now - target) % period : 0;
	left = (left + (1u << log2) - 1) >> log2;
	return min_t(u64, left, wafer_apic_reg(apic, APIC_TMICT));
}

/*
 * What is left to count is counted at a new speed, or in a new mode. Between TSC deadline and the
 * other modes the timer is disarmed; with TSC deadline writes of the initial count are ignored (SDM
 * vol. 3 §11.5.4.1).
 */
void wafer_lapic_timer_write(struct wafer_lapic *apic, u32 offset, u32 val)
{
	bool initial = offset == APIC_TMICT;
	/* The other registers start it anew as a change of this bit does. */
	u32 count = val, changed = APIC_LVT_TIMER_PERIODIC;

	if (!initial) {
		/* what has expired has done so in the old mode */
		wafer_lapic_timer_due(apic->vcpu);
		count = wafer_lapic_timer_count(apic);
	}
	if (offset == APIC_LVTT)
		changed = val ^ wafer_apic_reg(apic, APIC_LVTT);
	if (initial && has_mode(apic, APIC_LVT_TIMER_TSCDEADLINE))
		return;
	wafer_apic_set_reg(apic, offset, val);
	if (changed & APIC_LVT_TIMER_TSCDEADLINE) {
		wafer_lapic_timer_stop(apic);
		wafer_apic_set_reg(apic, APIC_TMICT, 0);
	} else if (changed & APIC_LVT_TIMER_PERIODIC &&
		   !has_mode(apic, APIC_LVT_TIMER_TSCDEADLINE)) {
		if (count)
			start(apic, count);
		else if (initial)	/* else it has stopped, or expires this very moment */
			wafer_lapic_timer_stop(apic);
	}
}

/*
 * KVM_SET_LAPIC: goes on counting from TMCCT. A one-shot timer that is set and has count 0 has
 * expired; whether its interrupt is in the IRR that was saved with it is not known, so it comes
 * (again): a tick too many does no harm, a lost one may be the guest's last.
 */
void wafer_lapic_timer_restore(struct wafer_lapic *apic)
{
	u32 initial = wafer_apic_reg(apic, APIC_TMICT), count = wafer_apic_reg(apic, APIC_TMCCT);

	wafer_lapic_timer_stop(apic);
	if (!initial || has_mode(apic, APIC_LVT_TIMER_TSCDEADLINE))
		return;
	if (!count && has_mode(apic, APIC_LVT_TIMER_PERIODIC))
		count = initial;
	start(apic, min(count, initial));
}

/* IA32_TSC_DEADLINE is 0, and writes are ignored, in the other modes (SDM vol. 3 §11.5.4.1). */
static bool has_deadline(struct wafer_vcpu *vcpu)
{
	struct wafer_lapic *apic = vcpu->lapic;

	return apic && has_mode(apic, APIC_LVT_TIMER_TSCDEADLINE) &&
	       !has_mode(apic, APIC_LVT_TIMER_PERIODIC);
}

void wafer_tsc_deadline_set(struct wafer_vcpu *vcpu, u64 val)
{
	if (!has_deadline(vcpu))
		return;
	vcpu->lapic->timer.tsc_deadline = val;
	if (val)
		start_deadline(vcpu->lapic);
	else
		wafer_lapic_timer_stop(vcpu->lapic);
}

u64 wafer_tsc_deadline_get(struct wafer_vcpu *vcpu)
{
	return has_deadline(vcpu) ? vcpu->lapic->timer.tsc_deadline : 0;
}
