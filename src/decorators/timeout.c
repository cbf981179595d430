/* Timeout, mode WAIT: what runs is asked to stop, and its own outcome stands. */
#include "decorators/timeout.h"
#include "base/memory.h"

#include <executors/timeout.h>
#include <stdio.h>

struct timeout {
	exs_executor *x;
	uint64_t ns;
	exs_error *error;
	struct exsi_timer_kind kind;
	bool holds_clock;
};

/* Who moves `state` on from ARMED decides whether the call ends in time. The expiry cancels below us while FIRING; a done that comes
   meanwhile leaves its outcome (LATE) for the expiry to carry on, so that only one of them goes up. */
enum { ARMED, GONE, FIRING, FIRED, LATE };
struct slot {
	struct exsi_timer timer;
	exs_result late;
	bool took; /* the expiry got the token: what comes up comes because of it */
	atomic_uint state;
};

uint64_t exsi_timeout_of(exs_executor *x, exs_future *f, uint64_t ns)
{
	struct exsi_extra *extra = exsi_extra(exsi_root(f));

	if (extra && extra->timeout != 0 && exsi_is_outermost(x, f, EXS_OPTION_TIMEOUT))
		exsi_duration(exsi_option_seconds(extra->timeout, 0), &ns);
	return ns;
}

exs_error *exsi_timeout_error(uint64_t ns)
{
	return exs_error_new(&exs_domain_exs, EXS_ETIMEDOUT, "timed out after %gs", (double)ns / 1e9);
}

static struct slot *slot_of(struct exsi_timer *timer)
{
	return EXSI_CONTAINER_OF(timer, struct slot, timer);
}

static exs_executor *executor_of(struct exsi_timer *timer)
{
	return EXSI_CONTAINER_OF(timer->kind, struct timeout, kind)->x;
}

static exs_step timeout_start(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	struct timeout *t = exsi_state(x);
	struct slot *s = slot;
	uint64_t ns = exsi_timeout_of(x, f, t->ns);

	(void)r;
	s->timer = (struct exsi_timer){.at = EXSI_NEVER, .kind = &t->kind};
	atomic_init(&s->state, ns == EXSI_NEVER ? GONE : ARMED);
	if (ns != EXSI_NEVER)
		exsi_timer_arm(x->clock, &s->timer, exsi_after(exsi_clock_ns(x->clock), ns), NULL);
	return EXS_DOWN;
}

/* The expiry's stop is taken back; what was cancelled because of it has timed out. */
static void settle(exs_executor *x, exs_future *f, struct slot *s, exs_result *r)
{
	struct timeout *t = exsi_state(x);
	uint64_t ns = exsi_timeout_of(x, f, t->ns);

	bool insisted = atomic_fetch_and(&f->state, ~EXSI_INSISTED) & EXSI_INSISTED;
	exsi_stop_clear(f, x->depth);
	if (r->kind == EXS_KIND_CANCELLED && (s->took || insisted || !exsi_stopped(f, x)))
		*r = exs_fail(ns == t->ns ? exs_error_ref(t->error) : exsi_timeout_error(ns));
}

static exs_step timeout_done(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	struct slot *s = slot;
	unsigned state = ARMED;

	if (atomic_compare_exchange_strong(&s->state, &state, GONE)) {
		exsi_timer_disarm(x->clock, &s->timer);
		return EXS_UP;
	}
	if (state == GONE) /* no timeout for this call */
		return EXS_UP;
	if (state == FIRING) {
		s->late = *r;
		if (atomic_compare_exchange_strong(&s->state, &state, LATE))
			return EXS_HELD;
	}
	settle(x, f, s, r);
	return EXS_UP;
}

static bool timeout_expire(struct exsi_timer *timer)
{
	struct slot *s = slot_of(timer);
	unsigned state = ARMED;

	if (!atomic_compare_exchange_strong(&s->state, &state, FIRING))
		return false;
	exsi_hold(exsi_slot_call(s, executor_of(timer))); /* a done must win the state to leave, and has not */
	return true;
}

static void timeout_fire(struct exsi_timer *timer)
{
	struct slot *s = slot_of(timer);
	exs_executor *x = executor_of(timer);
	exs_future *f = exsi_slot_call(s, x);
	unsigned state = FIRING;

	s->took = exsi_cancel(f, x->depth, EXS_CAUSE_TIMEOUT);
	if (!atomic_compare_exchange_strong(&s->state, &state, FIRED)) {
		exs_result r = s->late;
		settle(x, f, s, &r);
		exs_call_resume(f, x, EXS_UP, &r);
	}
	exsi_drop(f);
}

static double timeout_deadline(exs_executor *x, exs_future *f, void *slot)
{
	struct slot *s = slot;

	(void)x, (void)f;
	return s->timer.at == EXSI_NEVER ? EXS_FOREVER : (double)s->timer.at / 1e9;
}

static void timeout_stop(exs_executor *x)
{
	struct timeout *t = exsi_state(x);

	if (t->holds_clock)
		exsi_clock_unhold(x->clock);
	exs_error_unref(t->error);
}

static int timeout_describe(exs_executor *x, char *buf, size_t size)
{
	struct timeout *t = exsi_state(x);

	if (t->ns == EXSI_NEVER)
		return snprintf(buf, size, "none");
	return snprintf(buf, size, "%gs", (double)t->ns / 1e9);
}

static const exs_layer_ops timeout_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "timeout",
	.options = EXS_OPTION_TIMEOUT,
	.start = timeout_start,
	.done = timeout_done,
	.cancel = exs_pass_cancel,
	.stop = timeout_stop,
	.describe = timeout_describe,
	.deadline = timeout_deadline,
};

static exs_executor *with_wait(exs_executor *ex, uint64_t ns)
{
	exs_executor *x = exs_layer_new(&timeout_ops, ex, sizeof(struct timeout), sizeof(struct slot));

	if (!x)
		return NULL;
	struct timeout *t = exsi_state(x);
	*t = (struct timeout){
		.x = x, .ns = ns, .kind = {timeout_expire, timeout_fire}, .error = exsi_timeout_error(ns)};
	int rc = exsi_clock_hold(x->clock);
	t->holds_clock = !rc;
	if (!rc)
		return x;
	exs_executor_free(x);
	return exsi_fail_errno(rc, "timeout: no timer thread");
}

exs_executor *exs_with_timeout_mode(exs_executor *ex, double seconds, exs_timeout_mode mode)
{
	uint64_t ns;
	bool valid = exsi_duration(seconds, &ns) && (mode == EXS_WAIT || mode == EXS_ABANDON);

	if (!ex)
		return NULL;
	if (valid)
		return mode == EXS_WAIT ? with_wait(ex, ns) : exsi_with_abandon(ex, ns);
	exs_executor_free(ex);
	return exsi_fail_null(EXS_EINVAL,
			      "exs_with_timeout: %g seconds, mode %d: the time must be 0 or more or EXS_FOREVER, the "
			      "mode EXS_WAIT or EXS_ABANDON",
			      seconds, (int)mode);
}

size_t exs_timeout_abandoned(exs_executor *x)
{
	while (x && !exsi_is_abandon(x))
		x = x->inner;
	return x ? exsi_abandoned(x) : 0;
}
