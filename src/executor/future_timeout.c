/* A future with a deadline: the outcome of another, or, when time is up, an error. */
#include "base/memory.h"
#include "executor/link.h"
#include "executor/time.h"

#include <executors/functions.h>

/* The timer is armed only while the link is parked. Who takes the token disarms it, unless it is the expiry that did; then ends the
   time, and only then lets the input go. */
struct limited {
	struct exsi_link link; /* first */
	struct exsi_timer timer;
	struct exsi_time time; /* without a clock: no deadline */
	uint64_t ns;
};

static struct limited *of_timer(struct exsi_timer *timer)
{
	return EXSI_CONTAINER_OF(timer, struct limited, timer);
}

/* Answers the clock, with the reference that is to be dropped when the hook `clock` can't be looking any more. */
static exs_clock *stop_timer(struct limited *l)
{
	exs_clock *clock = l->time.clock;

	if (clock)
		exsi_timer_disarm(clock, &l->timer);
	exsi_time_end(&l->time);
	return clock;
}

/* --- in time --- */

static void pass(exs_future *none, struct exsi_node *node)
{
	struct limited *l = EXSI_CONTAINER_OF(node, struct limited, link.node);

	(void)none;
	if (!exsi_link_claim(&l->link)) {
		exsi_drop(&l->link.future);
		return;
	}
	exs_clock *clock = stop_timer(l);
	exsi_link_pass(&l->link);
	exsi_look_over(&l->link.future);
	exs_clock_unref(clock);
	exsi_drop_two(&l->link.future);
}

static void input_done(exs_future *input, struct exsi_node *node)
{
	(void)input;
	exsi_defer(node, pass);
}

/* --- time is up --- */

static exs_result timed_out(uint64_t ns)
{
	exs_error *error = exs_error_new(&exs_domain_exs, EXS_ETIMEDOUT, "timed out after %gs", (double)ns / 1e9);

	if (exs_error_code(error) == EXS_ETIMEDOUT)
		return exs_fail(error);
	return exs_fail(exsi_error(EXS_ETIMEDOUT)); /* no memory for the words */
}

/* The token, too, unless the input is done already: then it is in time. */
static bool expire(struct exsi_timer *timer)
{
	struct limited *l = of_timer(timer);

	return !exs_future_is_done(l->link.input) && exsi_link_claim(&l->link);
}

static void fire(struct exsi_timer *timer)
{
	struct limited *l = of_timer(timer);
	struct exsi_time time = l->time;

	exsi_time_fire(&time);
	exsi_link_leave(&l->link, timed_out(l->ns), EXS_CAUSE_TIMEOUT, false);
	exsi_time_fired(&time);
	exs_clock_unref(time.clock);
}

static const struct exsi_timer_kind timers = {.expire = expire, .fire = fire};

/* --- hooks --- */

static void limited_cancel(exs_future *f, exs_cause cause)
{
	struct limited *l = (struct limited *)(void *)f;
	exs_clock *clock = stop_timer(l);

	exsi_link_leave(&l->link, exs_cancelled(), cause, true);
	exs_clock_unref(clock);
}

static void limited_cancel_many(exs_future **futures, size_t n, exs_cause cause)
{
	for (size_t i = 0; i < n; i++)
		limited_cancel(futures[i], cause);
}

static exs_clock *limited_clock(exs_future *f)
{
	struct exsi_node *last = exsi_nodes_lock(f);
	exs_clock *clock = exs_future_is_done(f) ? NULL : ((struct limited *)(void *)f)->time.clock;

	if (clock)
		exsi_clock_ref(clock);
	exsi_nodes_unlock(f, last);
	return clock;
}

static const struct exsi_source limiteds = {
	.cancel = limited_cancel,
	.cancel_many = limited_cancel_many,
	.input = exsi_input,
	.clock = limited_clock,
	.what = "timeout",
};

/* --- made --- */

/* Nobody has taken the token before: not again. */
static bool still_parked(struct exsi_timer *timer)
{
	return exsi_is_parked(&of_timer(timer)->link.future);
}

static void arm(struct limited *l, exs_clock *clock)
{
	uint64_t at = exsi_after(exsi_clock_ns(clock), l->ns);

	if (at != EXSI_NEVER)
		exsi_timer_arm(clock, &l->timer, at, still_parked);
}

/* No block: takes nothing over. */
static struct limited *limited_new(exs_future *future, uint64_t ns, struct exsi_time time)
{
	struct limited *l = exsi_alloc(sizeof(*l));

	if (!l) {
		exsi_time_end(&time);
		exs_clock_unref(time.clock);
		return exsi_fail_null(EXS_ENOMEM, "exs_future_timeout: out of memory");
	}
	exsi_link_init(&l->link, &limiteds, future);
	l->timer = (struct exsi_timer){.kind = &timers};
	l->time = time;
	l->ns = ns;
	return l;
}

/* With the reference of the future, and another of the clock, if there is one. */
static exs_future *limited_start(struct limited *l, bool at_once)
{
	exs_clock *clock = l->time.clock;

	exsi_link_follow(&l->link, input_done);
	if (clock)
		arm(l, clock);
	else if (at_once && exsi_link_claim(&l->link))
		exsi_link_leave(&l->link, timed_out(0), EXS_CAUSE_TIMEOUT, false);
	return &l->link.future;
}

static exs_future *limit(exs_future *future, uint64_t ns)
{
	struct exsi_time time = {NULL, NULL};
	bool done = exs_future_is_done(future);

	if (!done && ns != 0 && ns != EXSI_NEVER && !exsi_time_begin(&time, exsi_clock_of(future))) {
		exs_future_unref(future);
		return exsi_failed_last();
	}
	struct limited *l = limited_new(future, ns, time);
	if (!l) {
		exs_future_unref(future);
		return NULL;
	}
	if (time.clock)
		exsi_clock_ref(time.clock);
	exs_future *f = limited_start(l, !done && ns == 0);
	exs_clock_unref(time.clock);
	return f;
}

exs_future *exs_future_timeout(exs_future *future, double seconds)
{
	uint64_t ns;

	if (!future)
		return exsi_failed("exs_future_timeout: future is NULL");
	if (exsi_duration(seconds, &ns))
		return limit(future, ns);
	exs_future_unref(future);
	return exsi_failed("exs_future_timeout: %g seconds: the time must be 0 or more, or EXS_FOREVER", seconds);
}
