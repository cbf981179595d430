/* Poll: the delegate's values become descriptors; one function, on one thread, resolves all pending ones together. */
#include "decorators/poll.h"
#include "base/memory.h"

#include <stdio.h>

static exs_step poll_done(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	struct exsi_poll *p = exsi_state(x);
	struct exsi_poll_slot *s = slot;

	if (r->kind != EXS_KIND_VALUE)
		return EXS_UP;
	*s = (struct exsi_poll_slot){.value = r->value, .destroy = r->destroy, .joined = exsi_clock_ns(x->clock)};
	pthread_mutex_lock(&p->hand.lock);
	bool joins = exs_call_park(f, x);
	if (joins) {
		exsi_calls_append(&p->pending, &s->held);
		exsi_servant_call(
			&p->servant); /* under the lock: after it the call, and with it the executor, may be gone */
	}
	pthread_mutex_unlock(&p->hand.lock);
	if (joins)
		return EXS_HELD;
	exs_result_clear(r);
	*r = exs_cancelled();
	return EXS_UP;
}

static void poll_cancel_many(exs_executor *x, exs_future **calls, size_t n, exs_cause cause)
{
	if (cause == EXS_CAUSE_USER)
		exsi_poll_ask(exsi_state(x), calls, n);
	else
		exsi_poll_send_off(exsi_state(x), calls, n);
}

static exs_step poll_cancel(exs_executor *x, exs_future *f, void *slot, exs_cause cause, exs_result *r)
{
	(void)slot, (void)r;
	poll_cancel_many(x, &f, 1, cause);
	return EXS_HELD;
}

static void poll_each(exs_executor *x, exs_visit_fn *visit, void *arg)
{
	struct exsi_poll *p = exsi_state(x);

	pthread_mutex_lock(&p->hand.lock);
	exsi_calls_each(&p->pending, x, visit, arg);
	exsi_calls_each(&p->leaving, x, visit, arg);
	pthread_mutex_unlock(&p->hand.lock);
}

static void poll_stop(exs_executor *x)
{
	struct exsi_poll *p = exsi_state(x);

	exsi_servant_stop(&p->servant);
	exsi_descriptors_fini(&p->batch);
	exsi_hand_fini(&p->hand);
}

static bool notify(exs_executor *x, bool owned, void *arg)
{
	struct exsi_poll *p = exsi_state(x);

	(void)owned, (void)arg;
	if (x->ops.cancel == poll_cancel)
		exsi_servant_call(&p->servant);
	return false;
}

void exs_poll_notify(exs_executor *x)
{
	exsi_walk(x, true, notify, NULL);
}

static int poll_describe(exs_executor *x, char *buf, size_t size)
{
	struct exsi_poll *p = exsi_state(x);

	return snprintf(buf, size, "%gs", p->options.interval);
}

static const exs_layer_ops poll_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "poll",
	.start = exs_pass_start,
	.done = poll_done,
	.cancel = poll_cancel,
	.cancel_many = poll_cancel_many,
	.each = poll_each,
	.stop = poll_stop,
	.describe = poll_describe,
};

static const char *check(exs_poll_fn *poll_fn, exs_poll_options *o)
{
	uint64_t ns;

	if (!poll_fn)
		return "poll_fn is NULL";
	if (!exsi_duration(o->interval, &ns) || !exsi_duration(o->first_interval, &ns))
		return "interval, first_interval: seconds, 0 or more";
	o->interval = exsi_option_seconds(o->interval, 5.0);
	return NULL;
}

exs_executor *exs_with_poll_sized(exs_executor *ex, exs_poll_fn *poll_fn, exs_cancel_fn *cancel_fn, void *ctx,
				  const exs_poll_options *options, size_t size)
{
	exs_poll_options o;
	bool known = exsi_options(&o, sizeof(o), options, size);
	const char *wrong = check(poll_fn, &o);

	ex = exsi_checked(ex, "exs_with_poll", known, wrong);
	exs_executor *x = exsi_wrap(&poll_ops, ex, sizeof(struct exsi_poll), sizeof(struct exsi_poll_slot));
	if (!exsi_own(x, ctx, o.ctx_free))
		return NULL;
	struct exsi_poll *p = exsi_state(x);
	p->poll_fn = poll_fn;
	p->cancel_fn = cancel_fn;
	p->ctx = ctx;
	p->options = o;
	exsi_hand_init(&p->hand, x, exsi_poll_leave);
	exsi_descriptors_init(&p->batch);
	atomic_init(&p->servant.due, o.poll_empty);
	int rc = exsi_servant_start(&p->servant, x, &exsi_poll_servant);
	if (!rc)
		return x;
	exs_executor_free(x); /* frees ctx as well */
	return exsi_fail_errno(rc, "poll: no thread");
}
