/* Timeout, mode ABANDON: the delegate runs as a call of its own, which is left behind when time is up. */
#include "decorators/timeout.h"
#include "executor/child.h"

/* Two executors: one whose calls wait parked, its state a struct exsi_timeout; under it the relay of their children. */
struct slot {
	struct exsi_parent parent; /* first */
	struct exsi_timer timer;
};

/* --- of the relay --- */

/* Arms the timer in one with it: whoever claims the call finds all in place. */
static bool abandon_park(struct exsi_relay *relay, exs_future *f)
{
	struct slot *s = exsi_slot(f, relay->x);

	if (s->timer.at == EXSI_NEVER)
		return exsi_child_park(relay->x, f, s);
	return exsi_call_park_until(f, relay->x, s->timer.at);
}

static void abandon_left(struct exsi_relay *relay, exs_future *f, exs_result *r)
{
	*r = exsi_timed_out(relay->x, f);
}

static void abandon_leaving(struct exsi_relay *relay, exs_future *f)
{
	struct slot *s = exsi_slot(f, relay->x);

	exsi_timer_disarm(relay->x->clock, &s->timer);
}

static const struct exsi_relay_ops relay_ops = {
	.park = abandon_park,
	.left = abandon_left,
	.leaving = abandon_leaving,
};

/* --- hooks --- */

static exs_step abandon_start(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	struct slot *s = slot;

	s->timer = exsi_call_timer(x, exsi_timeout_due(x, f));
	if (exsi_child_start(exsi_state(x->inner), f, exs_call_entry(f)))
		return EXS_HELD;
	*r = exs_fail(exsi_error(EXS_ENOMEM));
	return EXS_UP;
}

static bool abandon_expire(exs_executor *x, exs_future *f, void *slot)
{
	struct slot *s = slot;

	(void)x;
	atomic_store(&s->parent.gone, true);
	return exs_call_claim(f);
}

static void abandon_fire(exs_executor *x, exs_future *f, void *slot)
{
	(void)slot;
	exsi_child_leave(exsi_state(x->inner), f);
}

static const struct exsi_call_timers abandon_timers = {
	.offset = offsetof(struct slot, timer),
	.park = exsi_child_park,
	.expire = abandon_expire,
	.fire = abandon_fire,
};

static const exs_layer_ops abandon_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "timeout",
	.options = EXS_OPTION_TIMEOUT,
	.start = abandon_start,
	.done = exs_pass_done,
	.cancel = exsi_relayed_cancel,
	.each = exsi_relayed_each,
	.stop = exsi_timeout_stop,
	.describe = exsi_timeout_describe,
	.deadline = exsi_call_timer_deadline,
	.child = exsi_relayed_child,
};

exs_executor *exsi_with_abandon(exs_executor *ex, uint64_t ns)
{
	struct exsi_relay *relay = exsi_relay_new(ex, &relay_ops, sizeof(*relay));
	exs_executor *below = relay ? relay->relay : NULL;
	exs_executor *x = exsi_wrap(&abandon_ops, below, sizeof(struct exsi_timeout), sizeof(struct slot));

	if (!x)
		return NULL;
	relay->x = x;
	exsi_layer_new_block(x, true);
	exsi_timeout_init(x, ns, ", abandon");
	exsi_call_timers_init(x, &abandon_timers);
	return exsi_hold_clock(x);
}

size_t exs_timeout_abandoned(exs_executor *x)
{
	while (x && x->ops.start != abandon_start)
		x = x->inner;
	if (!x)
		return 0;
	struct exsi_relay *relay = exsi_state(x->inner);
	pthread_mutex_lock(relay->lock);
	size_t n = relay->left_behind;
	pthread_mutex_unlock(relay->lock);
	return n;
}
