// SPDX-License-Identifier: GPL-2.0
/*
 * The local APIC timer: one-shot, periodic, TSC deadline (SDM vol. 3 §11.5.4).
 *
 * The vCPU's thread alone decides what is due when; the hrtimer's callback does nothing but tell it to look. So an
 * expiry that is not wanted any more does no harm, and a timer that is put off (what guests do all the time)
 * costs no reprogramming: the callback comes at the old time and the thread arms the new one. A vCPU that
 * does not run (paused, starved) gets one callback and no more, however short its period is.
 *
 * The APIC's clock runs at 1 GHz, as KVM's does: one count is one nanosecond times the divisor.
 */
#include <linux/kernel.h>
#include <linux/ktime.h>
#include <linux/math64.h>

#include "compat.h"
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
	struct wafer_lapic_timer *t = &apic->timer;

	t->target = WAFER_NEVER;
	t->armed = WAFER_NEVER;
	wafer_hrtimer_setup(&t->hrtimer, timer_fn, CLOCK_MONOTONIC, HRTIMER_MODE_ABS_PINNED_HARD);
}

void wafer_lapic_timer_cancel(struct wafer_lapic *apic)
{
	hrtimer_cancel(&apic->timer.hrtimer);
}

/* Pinned: the interrupt then comes where the vCPU runs and ends its stay in the guest without a kick. */
static void arm(struct wafer_lapic_timer *t, u64 target)
{
	t->target = target;
	if (target >= t->armed)
		return;
	t->armed = target;
	hrtimer_start(&t->hrtimer, ns_to_ktime(target), HRTIMER_MODE_ABS_PINNED_HARD);
}

void wafer_lapic_timer_stop(struct wafer_lapic *apic)
{
	apic->timer.target = WAFER_NEVER;
	apic->timer.period = 0;
	apic->timer.tsc_deadline = 0;
}

static u32 mode(struct wafer_lapic *apic)
{
	return wafer_apic_reg(apic, APIC_LVTT) &
	       (APIC_LVT_TIMER_PERIODIC | APIC_LVT_TIMER_TSCDEADLINE);
}

/* log2 of the divisor: 2, 4 ... 128, 1 (SDM vol. 3 figure 11-10) */
static u32 divide_shift(u32 tdcr)
{
	return ((tdcr & 3) + (tdcr >> 1 & 4) + 1) & 7;
}

static u32 shift(struct wafer_lapic *apic)
{
	return divide_shift(wafer_apic_reg(apic, APIC_TDCR));
}

/* The timer's time has come: the interrupt, and the next period if there is one. */
static void expire(struct wafer_lapic *apic, u64 now)
{
	struct wafer_lapic_timer *t = &apic->timer;

	wafer_lapic_local(apic, APIC_LVTT);
	t->tsc_deadline = 0;
	if (!t->period) {
		t->target = WAFER_NEVER;
		return;
	}
	/* Periods that were missed are one interrupt: there is one bit of IRR. */
	t->target += t->period;
	if (unlikely(t->target <= now))
		t->target += (div64_u64(now - t->target, t->period) + 1) * t->period;
	arm(t, t->target);
}

/**
 * wafer_lapic_timer_due() - at WAFER_H_TIMER: the hrtimer has fired
 * @vcpu: vCPU with a local APIC, its mutex held
 *
 * Harmless if nothing has fired. A callback that comes while this runs raises the hazard again.
 */
void wafer_lapic_timer_due(struct wafer_vcpu *vcpu)
{
	struct wafer_lapic_timer *t = &vcpu->lapic->timer;
	u64 now;

	t->armed = WAFER_NEVER;
	if (t->target == WAFER_NEVER)
		return;
	now = ktime_get_ns();
	if (now >= t->target)
		expire(vcpu->lapic, now);
	else
		arm(t, t->target);
}

/* Counts down from @count now; a period is that of TMICT. */
static void start(struct wafer_lapic *apic, u32 count)
{
	struct wafer_lapic_timer *t = &apic->timer;
	u64 first = (u64)count << shift(apic);

	t->period = 0;
	if (mode(apic) == APIC_LVT_TIMER_PERIODIC) {
		t->period = (u64)wafer_apic_reg(apic, APIC_TMICT) << shift(apic);
		t->period = max_t(u64, t->period, MIN_PERIOD_NS);
		if (count == wafer_apic_reg(apic, APIC_TMICT))
			first = t->period;
	}
	arm(t, ktime_get_ns() + first);
}

void wafer_lapic_timer_start(struct wafer_lapic *apic, u32 count)
{
	if (mode(apic) & APIC_LVT_TIMER_TSCDEADLINE)
		return;		/* writes of the initial count are ignored (SDM vol. 3 §11.5.4.1) */
	if (count)
		start(apic, count);
	else
		wafer_lapic_timer_stop(apic);
}

u32 wafer_lapic_timer_count(struct wafer_lapic *apic)
{
	struct wafer_lapic_timer *t = &apic->timer;
	u64 now, left, late;

	if (t->target == WAFER_NEVER || mode(apic) & APIC_LVT_TIMER_TSCDEADLINE)
		return 0;
	now = ktime_get_ns();
	if (likely(now < t->target)) {
		left = t->target - now;
	} else if (t->period) {
		div64_u64_rem(now - t->target, t->period, &late);
		left = t->period - late;
	} else {
		return 0;
	}
	return min_t(u64, left >> shift(apic), wafer_apic_reg(apic, APIC_TMICT));
}

/* What is left to count is counted at the new speed. */
void wafer_lapic_timer_divide(struct wafer_lapic *apic, u32 tdcr)
{
	u32 count = wafer_lapic_timer_count(apic);

	wafer_apic_set_reg(apic, APIC_TDCR, tdcr);
	if (count)
		start(apic, count);
}

/* Between TSC deadline and the other modes the timer is disarmed (SDM vol. 3 §11.5.4.1). */
void wafer_lapic_timer_mode(struct wafer_lapic *apic, u32 lvtt)
{
	u32 changed = lvtt ^ wafer_apic_reg(apic, APIC_LVTT), count;

	if (changed & APIC_LVT_TIMER_TSCDEADLINE) {
		wafer_lapic_timer_stop(apic);
		wafer_apic_set_reg(apic, APIC_TMICT, 0);
	} else if (changed & APIC_LVT_TIMER_PERIODIC) {
		count = wafer_lapic_timer_count(apic);
		wafer_apic_set_reg(apic, APIC_LVTT, lvtt);
		if (count)
			start(apic, count);
	}
}

/*
 * KVM_SET_LAPIC: goes on counting from @count. A one-shot timer that is set and has count 0 has expired; whether its
 * interrupt is in the IRR that was saved with it is not known, so it comes (again): a tick too many does no
 * harm, a lost one may be the guest's last.
 */
void wafer_lapic_timer_restore(struct wafer_lapic *apic, u32 count)
{
	u32 initial = wafer_apic_reg(apic, APIC_TMICT);

	wafer_lapic_timer_stop(apic);
	if (!initial || mode(apic) & APIC_LVT_TIMER_TSCDEADLINE)
		return;
	if (!count && mode(apic) == APIC_LVT_TIMER_PERIODIC)
		count = initial;
	start(apic, min(count, initial));
}

static void start_deadline(struct wafer_lapic *apic)
{
	struct wafer_lapic_timer *t = &apic->timer;
	u64 now, delta;

	if (!t->tsc_deadline) {
		t->target = WAFER_NEVER;
		return;
	}
	delta = wafer_tsc_delta_ns(apic->vcpu, t->tsc_deadline, &now);
	if (!delta)
		expire(apic, now);
	else
		/* One more: the quotient was rounded down, and a timer must not be early. */
		arm(t, delta < WAFER_NEVER - now - 1 ? now + delta + 1 : WAFER_NEVER);
}

/* IA32_TSC_DEADLINE is 0, and writes are ignored, in the other modes (SDM vol. 3 §11.5.4.1). */
void wafer_tsc_deadline_set(struct wafer_vcpu *vcpu, u64 val)
{
	struct wafer_lapic *apic = vcpu->lapic;

	if (!apic || mode(apic) != APIC_LVT_TIMER_TSCDEADLINE)
		return;
	apic->timer.tsc_deadline = val;
	start_deadline(apic);
}

u64 wafer_tsc_deadline_get(struct wafer_vcpu *vcpu)
{
	struct wafer_lapic *apic = vcpu->lapic;

	return apic && mode(apic) == APIC_LVT_TIMER_TSCDEADLINE ? apic->timer.tsc_deadline : 0;
}

void wafer_lapic_tsc_changed(struct wafer_vcpu *vcpu)
{
	struct wafer_lapic *apic = vcpu->lapic;

	if (mode(apic) == APIC_LVT_TIMER_TSCDEADLINE && apic->timer.tsc_deadline)
		start_deadline(apic);
}
