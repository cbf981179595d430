/* A future that asks a predicate, with a backoff, until that holds. */
#include "base/memory.h"
#include "executor/time.h"

#include <executors/until.h>
#include <math.h>

/* Parked while the timer is armed, or its expiry has lost the token. Who has the token owns the rest: between two checks a canceller, from
   the expiry until it is armed again the check. The future's fn is, in another type, the predicate; its arg and arg_free are the ctx. */
struct until {
	exs_future future; /* first */
	struct exsi_timer timer;
	struct exsi_time time;
	double delay; /* before the next check */
	double factor, max;
};

static struct until *of_timer(struct exsi_timer *timer)
{
	return EXSI_CONTAINER_OF(timer, struct until, timer);
}

/* With the token: gives the context back and completes it; the token's reference stays. */
static void settle(exs_future *f, exs_result r)
{
	if (f->arg_free)
		f->arg_free(f->arg);
	exsi_settle(f, &r);
}

/* It is done: the hook `clock` may be looking yet. */
static void let_go(exs_future *f, exs_clock *clock)
{
	exsi_look_over(f);
	exs_clock_unref(clock);
	exsi_drop(f);
}

/* --- checks --- */

/* Under the lock of the timer, in one with arming. */
static bool park(struct exsi_timer *timer)
{
	exs_future *f = &of_timer(timer)->future;
	unsigned s = atomic_load(&f->state);

	do {
		if (exsi_stop(s))
			return false;
	} while (!atomic_compare_exchange_weak(&f->state, &s, (s & ~EXSI_RUNNING) | EXSI_PARKED));
	return true;
}

static bool expire(struct exsi_timer *timer)
{
	exs_future *f = &of_timer(timer)->future;
	unsigned s = atomic_load(&f->state);

	do {
		if (!(s & EXSI_PARKED))
			return false;
	} while (!atomic_compare_exchange_weak(&f->state, &s, (s & ~EXSI_PARKED) | EXSI_RUNNING | EXSI_BEGUN));
	return true;
}

static double least(double a, double b)
{
	return a < b ? a : b;
}

/* false: a stop was asked for. Once it is armed it may be gone. */
static bool arm(struct until *u)
{
	exs_clock *clock = u->time.clock;
	uint64_t ns = 0;

	exsi_duration(u->delay, &ns);
	u->delay = least(u->delay * u->factor, u->max);
	return exsi_timer_arm(clock, &u->timer, exsi_after(exsi_clock_ns(clock), ns), park);
}

static bool check(struct until *u, exs_result *r)
{
	exs_until_fn *fn = (exs_until_fn *)(void (*)(void))u->future.fn;

	*r = exs_ok(NULL, NULL);
	bool holds = fn(u->future.arg, r);
	exsi_check_result(r, "the predicate of exs_until");
	if (!holds)
		exs_result_clear(r);
	return holds;
}

/* Armed again it belongs to who takes the token next. */
static void fire(struct exsi_timer *timer)
{
	struct until *u = of_timer(timer);
	struct exsi_time time = u->time;
	exs_clock *clock = exsi_clock_ref(time.clock);
	exs_result r;

	bool holds = check(u, &r);
	if (holds || !arm(u)) {
		exsi_time_fire(&time);
		settle(&u->future, holds ? r : exs_cancelled());
		exsi_time_fired(&time);
		let_go(&u->future, time.clock);
	}
	exs_clock_unref(clock);
}

static const struct exsi_timer_kind timers = {.expire = expire, .fire = fire};

/* --- hooks --- */

static void until_cancel(exs_future *f, exs_cause cause)
{
	struct until *u = (struct until *)(void *)f;
	exs_clock *clock = u->time.clock;

	(void)cause;
	exsi_timer_disarm(clock, &u->timer);
	exsi_time_end(&u->time);
	settle(f, exs_cancelled());
	let_go(f, clock);
}

static void until_cancel_many(exs_future **futures, size_t n, exs_cause cause)
{
	for (size_t i = 0; i < n; i++)
		until_cancel(futures[i], cause);
}

static exs_clock *until_clock(exs_future *f)
{
	struct exsi_node *last = exsi_nodes_lock(f);
	exs_clock *clock = exs_future_is_done(f) ? NULL : exsi_clock_ref(((struct until *)(void *)f)->time.clock);

	exsi_nodes_unlock(f, last);
	return clock;
}

static const struct exsi_source untils = {
	.cancel = until_cancel, .cancel_many = until_cancel_many, .clock = until_clock, .what = "until"};

/* --- made --- */

/* The options get their defaults. If something is wrong with the arguments: true, and *failed says so. */
static bool is_wrong(exs_until_fn *fn, bool known, exs_until_options *o, exs_future **failed)
{
	o->first = exsi_option_seconds(o->first, 0.001);
	o->factor = o->factor == 0 ? 1.10 : o->factor;
	o->max = exsi_option_seconds(o->max, EXS_FOREVER);
	if (!fn)
		*failed = exsi_failed("exs_until: fn is NULL");
	else if (!known)
		*failed = exsi_failed("exs_until: options that this library does not know");
	else if (!(o->first > 0) || isinf(o->first))
		*failed = exsi_failed("exs_until: first is %g: it must be more than 0, and finite", o->first);
	else if (!(o->factor >= 1) || isinf(o->factor))
		*failed = exsi_failed("exs_until: factor is %g: it must be 1 or more, and finite", o->factor);
	else if (!(o->max > 0))
		*failed = exsi_failed("exs_until: max is %g: it must be more than 0", o->max);
	else
		return false;
	return true;
}

/* NULL and exs_last_error on failure. */
static struct until *until_new(exs_clock *clock)
{
	struct exsi_time time;

	if (!exsi_time_begin(&time, clock))
		return NULL;
	struct until *u = exsi_alloc(sizeof(*u));
	if (!u) {
		exsi_time_end(&time);
		exs_clock_unref(clock);
		return exsi_fail_null(EXS_ENOMEM, "exs_until: out of memory");
	}
	exsi_future_init(&u->future, &untils, 0);
	u->timer = (struct exsi_timer){.kind = &timers};
	u->time = time;
	return u;
}

static exs_future *until_start(struct until *u, exs_until_fn *fn, void *ctx, const exs_until_options *o)
{
	exs_clock *clock = exsi_clock_ref(u->time.clock);

	u->future.fn = (exs_task_fn *)(void (*)(void))fn;
	u->future.arg = ctx;
	u->future.arg_free = o->ctx_free;
	u->delay = least(o->first, o->max);
	u->factor = o->factor;
	u->max = o->max;
	exsi_future_made(&u->future);
	arm(u);
	exs_clock_unref(clock);
	return &u->future;
}

exs_future *exs_until_sized(exs_until_fn *fn, void *ctx, const exs_until_options *options, size_t size)
{
	exs_until_options o;
	bool known = exsi_options(&o, sizeof(o), options, size);
	exs_future *failed;
	bool wrong = is_wrong(fn, known, &o, &failed);
	struct until *u = wrong ? NULL : until_new(o.clock ? exsi_clock_ref(o.clock) : exsi_clock_here());

	if (u)
		return until_start(u, fn, ctx, &o);
	if (o.ctx_free)
		o.ctx_free(ctx);
	return wrong ? failed : exsi_failed_last();
}
