/* Timeout, mode ABANDON: the delegate runs as a call of its own, which is left behind when time is up. */
#include "decorators/timeout.h"
#include "executor/child.h"

#include <executors/timeout.h>
#include <stdio.h>

/* Two executors: x, whose calls wait parked, and under it the relay of their children. lock: see child.h; guards `abandoned` too. */
struct abandon {
	exs_executor *x;
	struct exsi_relay *relay;
	uint64_t ns;
	exs_error *error;
	struct exsi_timer_kind kind;
	bool holds_clock;
	pthread_mutex_t lock;
	size_t abandoned;
};

struct slot {
	struct exsi_parent parent;
	struct exsi_timer timer; /* first armed in start */
};

static struct slot *slot_of(struct exsi_timer *timer)
{
	return EXSI_CONTAINER_OF(timer, struct slot, timer);
}

static struct abandon *abandon_of(struct exsi_timer *timer)
{
	return EXSI_CONTAINER_OF(timer->kind, struct abandon, kind);
}

/* --- of the relay --- */

static void abandon_left(struct exsi_relay *relay, exs_future *f, exs_result *r)
{
	struct abandon *a = exsi_state(relay->x);
	uint64_t ns = exsi_timeout_of(a->x, f, a->ns);

	a->abandoned++;
	*r = exs_fail(ns == a->ns ? exs_error_ref(a->error) : exsi_timeout_error(ns));
}

static void abandon_ended(struct exsi_relay *relay)
{
	struct abandon *a = exsi_state(relay->x);

	a->abandoned--;
}

static void abandon_leaving(struct exsi_relay *relay, exs_future *f)
{
	struct slot *s = exsi_slot(f, relay->x);

	exsi_timer_disarm(relay->x->clock, &s->timer);
}

static bool park_unless_stopped(struct exsi_timer *timer)
{
	exs_executor *x = abandon_of(timer)->x;

	return exsi_call_park_unless_stopped(exsi_slot_call(slot_of(timer), x), x);
}

static bool park_unless_insisted(struct exsi_timer *timer)
{
	exs_executor *x = abandon_of(timer)->x;

	return exsi_call_park_unless_insisted(exsi_slot_call(slot_of(timer), x), x);
}

/* Arms the timer in one with it: whoever claims the call finds all in place. */
static bool abandon_park(struct exsi_relay *relay, exs_future *f, bool told)
{
	struct slot *s = exsi_slot(f, relay->x);
	bool (*try)(struct exsi_timer *) = told ? park_unless_insisted : park_unless_stopped;

	if (s->timer.at == EXSI_NEVER)
		return try(&s->timer);
	return exsi_timer_arm(relay->x->clock, &s->timer, s->timer.at, try);
}

static const struct exsi_relay_ops relay_ops = {
	.park = abandon_park,
	.left = abandon_left,
	.ended = abandon_ended,
	.leaving = abandon_leaving,
};

/* --- hooks --- */

static exs_step abandon_start(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	struct abandon *a = exsi_state(x);
	struct slot *s = slot;
	uint64_t ns = exsi_timeout_of(x, f, a->ns);

	s->timer = (struct exsi_timer){.at = exsi_after(exsi_clock_ns(x->clock), ns), .kind = &a->kind};
	if (exsi_child_start(a->relay, f, exs_call_entry(f)))
		return EXS_HELD;
	*r = exs_fail(exsi_error(EXS_ENOMEM));
	return EXS_UP;
}

static exs_step abandon_cancel(exs_executor *x, exs_future *f, void *slot, exs_cause cause, exs_result *r)
{
	struct abandon *a = exsi_state(x);

	(void)slot;
	return exsi_child_cancel(a->relay, f, cause, r);
}

static bool abandon_expire(struct exsi_timer *timer)
{
	struct slot *s = slot_of(timer);

	atomic_store(&s->parent.gone, true);
	return exs_call_claim(exsi_slot_call(s, abandon_of(timer)->x));
}

static void abandon_fire(struct exsi_timer *timer)
{
	struct abandon *a = abandon_of(timer);

	exsi_child_leave(a->relay, exsi_slot_call(slot_of(timer), a->x));
}

static void abandon_each(exs_executor *x, exs_visit_fn *visit, void *arg)
{
	struct abandon *a = exsi_state(x);

	pthread_mutex_lock(&a->lock);
	exsi_child_each(a->relay, visit, arg);
	pthread_mutex_unlock(&a->lock);
}

static void abandon_child(exs_executor *x, exs_future *f, void *slot, exs_visit_fn *visit, void *arg)
{
	struct abandon *a = exsi_state(x);

	(void)f;
	pthread_mutex_lock(&a->lock);
	exsi_child_visit(slot, visit, arg);
	pthread_mutex_unlock(&a->lock);
}

static double abandon_deadline(exs_executor *x, exs_future *f, void *slot)
{
	struct slot *s = slot;

	(void)x, (void)f;
	return s->timer.at == EXSI_NEVER ? EXS_FOREVER : (double)s->timer.at / 1e9;
}

static void abandon_stop(exs_executor *x)
{
	struct abandon *a = exsi_state(x);

	exsi_wait_quiet(a->relay->relay, EXSI_NEVER); /* those left behind use a */
	if (a->holds_clock)
		exsi_clock_unhold(x->clock);
	exs_error_unref(a->error);
	pthread_mutex_destroy(&a->lock);
}

static int abandon_describe(exs_executor *x, char *buf, size_t size)
{
	struct abandon *a = exsi_state(x);

	if (a->ns == EXSI_NEVER)
		return snprintf(buf, size, "none, abandon");
	return snprintf(buf, size, "%gs, abandon", (double)a->ns / 1e9);
}

static const exs_layer_ops abandon_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "timeout",
	.options = EXS_OPTION_TIMEOUT,
	.start = abandon_start,
	.done = exs_pass_done,
	.cancel = abandon_cancel,
	.each = abandon_each,
	.stop = abandon_stop,
	.describe = abandon_describe,
	.deadline = abandon_deadline,
	.child = abandon_child,
};

exs_executor *exsi_with_abandon(exs_executor *ex, uint64_t ns)
{
	struct exsi_relay *relay = exsi_relay_new(ex, &relay_ops, sizeof(*relay));
	exs_executor *x =
		relay ? exs_layer_new(&abandon_ops, relay->relay, sizeof(struct abandon), sizeof(struct slot)) : NULL;

	if (!x)
		return NULL;
	exsi_layer_new_block(x, true);
	struct abandon *a = exsi_state(x);
	*a = (struct abandon){.x = x,
			      .relay = relay,
			      .ns = ns,
			      .kind = {abandon_expire, abandon_fire},
			      .error = exsi_timeout_error(ns)};
	pthread_mutex_init(&a->lock, NULL);
	relay->x = x;
	relay->lock = &a->lock;
	int rc = exsi_clock_hold(x->clock);
	a->holds_clock = !rc;
	if (!rc)
		return x;
	exs_executor_free(x);
	return exsi_fail_errno(rc, "timeout: no timer thread");
}

bool exsi_is_abandon(const exs_executor *x)
{
	return x->ops.start == abandon_start;
}

size_t exsi_abandoned(exs_executor *x)
{
	struct abandon *a = exsi_state(x);

	pthread_mutex_lock(&a->lock);
	size_t n = a->abandoned;
	pthread_mutex_unlock(&a->lock);
	return n;
}
