/* Retry: runs the delegate again when it has failed, after a backoff. */
#include "base/memory.h"
#include "executor/executor.h"

#include <executors/retry.h>
#include <stdio.h>
#include <string.h>

struct retry {
	exs_executor *x;
	exs_retry_options options; /* constant */
	struct exsi_timer_kind kind;
	bool holds_clock;
};

/* In a backoff the outcome of the last attempt waits with the call: it is the call's if the next can't start. */
struct slot {
	struct exsi_timer timer;
	exs_result last;
	double backoff; /* before jitter, of the next delay */
	uint64_t begun; /* on the chain's clock */
	unsigned attempt;
};

static struct slot *slot_of(struct exsi_timer *timer)
{
	return EXSI_CONTAINER_OF(timer, struct slot, timer);
}

static struct retry *retry_of(struct exsi_timer *timer)
{
	return EXSI_CONTAINER_OF(timer->kind, struct retry, kind);
}

/* --- options --- */

static const char *check(const exs_retry_options *o)
{
	uint64_t ns;

	if (o->max_attempts == EXS_NONE)
		return "max_attempts: at least 1";
	if (!exsi_duration(o->sleep, &ns) || !exsi_duration(o->max_sleep, &ns) || !exsi_duration(o->deadline, &ns) ||
	    !exsi_duration(o->max_retry_after, &ns))
		return "sleep, max_sleep, deadline, max_retry_after: seconds, 0 or more";
	if (o->exponent != 0 && !(o->exponent >= 1))
		return "exponent: at least 1";
	if (o->jitter > EXS_JITTER_FRACTION || !(o->fraction >= 0 && o->fraction <= 1))
		return "jitter: none, full or fraction; fraction in (0, 1]";
	if (o->n_codes && !o->codes)
		return "codes is NULL, but n_codes is not 0";
	return NULL;
}

static void set_defaults(exs_retry_options *o)
{
	o->max_attempts = o->max_attempts ? o->max_attempts : 3;
	o->sleep = exsi_option_seconds(o->sleep, 1.0);
	o->exponent = o->exponent == 0 ? 2.0 : o->exponent;
	o->max_sleep = exsi_option_seconds(o->max_sleep, 120.0);
	o->fraction = o->fraction == 0 ? 0.5 : o->fraction;
	o->deadline = exsi_option_seconds(o->deadline, EXS_FOREVER);
	o->max_retry_after = exsi_option_seconds(o->max_retry_after, 120.0);
}

static unsigned attempts(const exs_retry_options *o)
{
	return o->policy ? EXS_UNLIMITED : o->max_attempts;
}

/* The call's own options, or the layer's. */
static exs_retry_options options_of(exs_executor *x, exs_future *f)
{
	struct retry *rt = exsi_state(x);
	struct exsi_extra *extra = exsi_extra(exsi_root(f));

	if (!extra || !extra->retry || !exsi_is_outermost(x, f, EXS_OPTION_RETRY))
		return rt->options;
	exs_retry_options o = *extra->retry;
	set_defaults(&o);
	return o;
}

/* --- the decision --- */

static bool has_code(const exs_retry_options *o, const exs_error *e)
{
	if (!o->n_codes)
		return !exs_error_is(e, &exs_domain_exs, EXS_ESHUTDOWN) &&
		       !exs_error_is(e, &exs_domain_exs, EXS_EINVAL) && !exs_error_is(e, &exs_domain_exs, EXS_EFORK);
	for (size_t i = 0; i < o->n_codes; i++)
		if (exs_error_is(e, o->codes[i].domain, o->codes[i].code))
			return true;
	return false;
}

static double least(double a, double b)
{
	return a < b ? a : b;
}

static double with_jitter(const exs_retry_options *o, double d)
{
	if (o->jitter == EXS_JITTER_FULL)
		return d * exsi_random();
	if (o->jitter == EXS_JITTER_FRACTION)
		return d * (1 + o->fraction * (2 * exsi_random() - 1));
	return d;
}

static bool ask_policy(exs_executor *x, const exs_retry_options *o, const exs_attempt *a, double *delay)
{
	exs_error *error = NULL;
	bool again = o->policy(o->ctx, a, delay, &error);
	uint64_t ns;

	if (!error && again && !exsi_duration(*delay, &ns))
		error = exs_error_new(&exs_domain_exs, EXS_EINVAL, "the delay is %g seconds", *delay);
	if (!error)
		return again;
	exsi_log(EXS_LOG_ERROR, x->name, "retry: the policy failed: %s: no retry", exs_error_message(error));
	exs_error_unref(error);
	return false;
}

/* *delay is preset to the backoff. */
static bool decide(exs_executor *x, const exs_retry_options *o, const exs_attempt *a, double *delay)
{
	if (o->policy)
		return ask_policy(x, o, a, delay) && a->elapsed + *delay <= o->deadline;
	if (a->outcome->kind != EXS_KIND_ERROR || a->attempt >= o->max_attempts || !has_code(o, a->outcome->error))
		return false;
	double hint = exs_error_retry_after(a->outcome->error);
	if (hint > o->max_retry_after)
		return false;
	*delay = hint > *delay ? hint : *delay;
	return a->elapsed + *delay <= o->deadline;
}

/* --- hooks --- */

static exs_step retry_start(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	struct slot *s = slot;
	struct exsi_extra *extra = exsi_extra(exsi_root(f));
	const char *wrong = extra && extra->retry ? check(extra->retry) : NULL;

	if (wrong) {
		*r = exs_fail(exs_error_new(&exs_domain_exs, EXS_EINVAL, "the call's retry options: %s", wrong));
		return EXS_UP;
	}
	if (extra && extra->retry && exsi_is_outermost(x, f, EXS_OPTION_RETRY)) {
		exs_retry_options o = options_of(x, f);
		for (exs_future *g = f; g; g = g->source->parent(g)) /* no layer above retries */
			atomic_store(&exsi_story(g)->max, exsi_times(attempts(&o), x->inner->max_attempts));
	}
	s->attempt = 1;
	s->backoff = 0; /* not yet known */
	s->begun = exsi_clock_ns(x->clock);
	s->timer.prev = NULL;
	return EXS_DOWN;
}

static bool park(struct exsi_timer *timer)
{
	struct retry *rt = retry_of(timer);

	return exs_call_park(exsi_slot_call(slot_of(timer), rt->x), rt->x);
}

static exs_step begin_backoff(exs_executor *x, struct slot *s, double delay, exs_result *r)
{
	struct retry *rt = exsi_state(x);
	uint64_t ns;

	s->last = *r;
	*r = exs_ok(NULL, NULL);
	s->timer.kind = &rt->kind;
	exsi_duration(delay, &ns);
	if (exsi_timer_arm(x->clock, &s->timer, exsi_after(exsi_clock_ns(x->clock), ns), park))
		return EXS_HELD;
	*r = s->last; /* asked to stop: it stands */
	return EXS_UP;
}

static exs_step retry_done(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	struct slot *s = slot;
	if (r->kind == EXS_KIND_CANCELLED || exs_call_stopped(f, x))
		return EXS_UP;
	if (r->kind == EXS_KIND_VALUE && !exsi_root(f)->extra && !((struct retry *)exsi_state(x))->options.policy)
		return EXS_UP; /* the usual case, at no cost */
	exs_retry_options o = options_of(x, f);
	exs_attempt a = {.outcome = r, .attempt = s->attempt, .name = exs_call_name(f)};
	a.elapsed = (double)(exsi_clock_ns(x->clock) - s->begun) / 1e9;
	s->backoff = s->attempt == 1 ? least(o.sleep, o.max_sleep) : least(s->backoff * o.exponent, o.max_sleep);
	double delay = with_jitter(&o, s->backoff);
	if (!decide(x, &o, &a, &delay))
		return EXS_UP;
	if (o.on_retry)
		o.on_retry(o.ctx, &a, delay);
	if (delay > 0)
		return begin_backoff(x, s, delay, r);
	if (exs_call_stopped(f, x))
		return EXS_UP;
	exs_result_clear(r);
	s->attempt++;
	exs_call_restarting(f);
	return EXS_DOWN;
}

static bool retry_expire(struct exsi_timer *timer)
{
	return exs_call_claim(exsi_slot_call(slot_of(timer), retry_of(timer)->x));
}

static void retry_fire(struct exsi_timer *timer)
{
	struct slot *s = slot_of(timer);
	exs_executor *x = retry_of(timer)->x;
	exs_future *f = exsi_slot_call(s, x);
	exs_result last = s->last;

	if (exs_call_stopped(f, x)) { /* since it was claimed */
		exs_call_resume(f, x, EXS_UP, &last);
		return;
	}
	exs_result_clear(&last);
	s->attempt++;
	exs_call_restarting(f);
	exs_call_resume(f, x, EXS_DOWN, &last);
}

static exs_step retry_cancel(exs_executor *x, exs_future *f, void *slot, exs_cause cause, exs_result *r)
{
	struct slot *s = slot;

	(void)f, (void)cause, (void)r;
	exsi_timer_disarm(x->clock, &s->timer);
	exs_result_clear(&s->last);
	return EXS_UP;
}

struct each {
	exs_executor *x;
	exs_visit_fn *visit;
	void *arg;
};

static void visit_timer(struct exsi_timer *timer, void *arg)
{
	struct each *e = arg;

	e->visit(exsi_slot_call(slot_of(timer), e->x), e->arg);
}

static void retry_each(exs_executor *x, exs_visit_fn *visit, void *arg)
{
	struct retry *rt = exsi_state(x);
	struct each e = {x, visit, arg};

	exsi_timer_each(x->clock, &rt->kind, visit_timer, &e);
}

static void retry_stop(exs_executor *x)
{
	struct retry *rt = exsi_state(x);

	if (rt->holds_clock)
		exsi_clock_unhold(x->clock);
	exsi_free((void *)(uintptr_t)rt->options.codes);
	if (rt->options.ctx_free)
		rt->options.ctx_free(rt->options.ctx);
}

static int retry_describe(exs_executor *x, char *buf, size_t size)
{
	struct retry *rt = exsi_state(x);

	if (rt->options.max_attempts == EXS_UNLIMITED)
		return snprintf(buf, size, "unlimited");
	return snprintf(buf, size, "%u", rt->options.max_attempts);
}

static const exs_layer_ops retry_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "retry",
	.options = EXS_OPTION_RETRY,
	.start = retry_start,
	.done = retry_done,
	.cancel = retry_cancel,
	.each = retry_each,
	.stop = retry_stop,
	.describe = retry_describe,
};

/* --- made --- */

static exs_executor *give_up(exs_executor *ex, const exs_retry_options *o)
{
	exs_executor_free(ex);
	if (o->ctx_free)
		o->ctx_free(o->ctx);
	return NULL;
}

/* The state is complete enough for retry_stop at every return. */
static bool fill(struct retry *rt, exs_executor *x, const exs_retry_options *o)
{
	exs_retry_code *codes = NULL;

	rt->x = x;
	rt->kind = (struct exsi_timer_kind){.expire = retry_expire, .fire = retry_fire};
	rt->options = *o;
	rt->options.codes = NULL;
	set_defaults(&rt->options);
	if (o->n_codes && !(codes = exsi_alloc_array(o->n_codes, sizeof(*codes)))) {
		exsi_fail(EXS_ENOMEM, "retry: out of memory");
		return false;
	}
	if (codes)
		memcpy(codes, o->codes, o->n_codes * sizeof(*codes));
	rt->options.codes = codes;
	int rc = exsi_clock_hold(x->clock);
	if (rc)
		exsi_fail_errno(rc, "retry: no timer thread");
	rt->holds_clock = !rc;
	return !rc;
}

exs_executor *exs_with_retry_sized(exs_executor *ex, const exs_retry_options *options, size_t size)
{
	exs_retry_options o;
	bool known = exsi_options(&o, sizeof(o), options, size);
	const char *wrong = known ? check(&o) : "options that this library does not know";

	if (!ex)
		return give_up(NULL, &o);
	if (wrong) {
		exsi_fail(EXS_EINVAL, "exs_with_retry: %s", wrong);
		return give_up(ex, &o);
	}
	exs_executor *x = exs_layer_new(&retry_ops, ex, sizeof(struct retry), sizeof(struct slot));
	if (!x)
		return give_up(NULL, &o);
	if (!fill(exsi_state(x), x, &o)) {
		exs_executor_free(x); /* frees ctx as well */
		return NULL;
	}
	struct retry *rt = exsi_state(x);
	exs_layer_set_attempts(x, attempts(&rt->options));
	return x;
}
