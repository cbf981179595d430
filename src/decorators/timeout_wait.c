/* Timeout, mode WAIT: what runs is asked to stop, and its own outcome stands. */
#include "decorators/timeout.h"

/* The state is a struct exsi_timeout. */

/* A done that disarms the timer has come in time. Once that has expired, `state` decides who goes up: the expiry cancels below us while
   FIRING; a done that comes meanwhile leaves its outcome (LATE; an exs_result, shared) for the expiry to carry on. */
enum { FIRING, FIRED, LATE };
struct slot {
	struct exsi_timer timer; /* at EXSI_NEVER: no timeout for this call */
	bool took;		 /* the expiry got the token: what comes up comes because of it */
	atomic_uint state;	 /* from the expiry on */
};

static exs_step wait_start(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	struct slot *s = slot;
	uint64_t due = exsi_timeout_due(x, f);

	(void)r;
	s->timer = exsi_call_timer(x, due);
	if (due != EXSI_NEVER)
		exsi_timer_arm(x->clock, &s->timer, due, NULL);
	return EXS_DOWN;
}

/* The expiry's stop is taken back; what was cancelled because of it has timed out. */
static void settle(exs_executor *x, exs_future *f, struct slot *s, exs_result *r)
{
	bool insisted = atomic_fetch_and(&f->state, ~EXSI_INSISTED) & EXSI_INSISTED;

	exsi_stop_clear(f, x->depth);
	if (r->kind == EXS_KIND_CANCELLED && (s->took || insisted || !exsi_stopped(f, x)))
		*r = exsi_timed_out(x, f);
}

static exs_step wait_done(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	struct slot *s = slot;
	unsigned state = FIRING;

	if (s->timer.at == EXSI_NEVER || exsi_timer_disarm(x->clock, &s->timer))
		return EXS_UP;
	*(exs_result *)exsi_shared(f, x) = *r;
	if (atomic_compare_exchange_strong(&s->state, &state, LATE))
		return EXS_HELD;
	settle(x, f, s, r);
	return EXS_UP;
}

static bool wait_expire(exs_executor *x, exs_future *f, void *slot)
{
	struct slot *s = slot;

	(void)x;
	atomic_init(&s->state, FIRING); /* a done can't look before its disarm has, which waits for us */
	exsi_hold(f);
	return true;
}

static void wait_fire(exs_executor *x, exs_future *f, void *slot)
{
	struct slot *s = slot;
	unsigned state = FIRING;

	s->took = exsi_cancel(f, x->depth, EXS_CAUSE_TIMEOUT);
	if (!atomic_compare_exchange_strong(&s->state, &state, FIRED)) {
		exs_result r = *(exs_result *)exsi_shared(f, x);
		settle(x, f, s, &r);
		exs_call_resume(f, x, EXS_UP, &r);
	}
	exsi_drop(f);
}

static const struct exsi_call_timers wait_timers = {
	.offset = offsetof(struct slot, timer),
	.expire = wait_expire,
	.fire = wait_fire,
};

static const exs_layer_ops wait_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "timeout",
	.options = EXS_OPTION_TIMEOUT,
	.start = wait_start,
	.done = wait_done,
	.cancel = exs_pass_cancel,
	.stop = exsi_timeout_stop,
	.describe = exsi_timeout_describe,
	.deadline = exsi_call_timer_deadline,
};

exs_executor *exsi_with_wait(exs_executor *ex, uint64_t ns)
{
	exs_executor *x = exsi_wrap(&wait_ops, ex, sizeof(struct exsi_timeout), sizeof(struct slot));

	if (!x)
		return NULL;
	exsi_layer_share(x, sizeof(exs_result));
	exsi_timeout_init(x, ns, "");
	exsi_call_timers_init(x, &wait_timers);
	return exsi_hold_clock(x);
}
