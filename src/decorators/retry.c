/* Retry: runs the delegate again when it has failed, after a backoff. */
#include "base/memory.h"
#include "decorators/retry_policy.h"
#include "executor/call_timer.h"

#include <executors/retry.h>
#include <string.h>

/* The state is an exs_retry_options, resolved, and then its codes; constant. */

/* Shared: of a backoff. The outcome of the last attempt waits with the call: it is the call's if the next can't start. */
struct wait {
	struct exsi_timer timer;
	exs_result last;
};

struct slot {
	double backoff; /* before jitter, of the next delay; from the end of the first attempt */
	uint64_t begun; /* on the chain's clock; EXSI_NEVER: nobody wants to know */
	unsigned attempt;
};

/* What the call brought along, if it is for this layer; or NULL. */
static const exs_retry_options *given(exs_executor *x, exs_future *f)
{
	struct exsi_extra *extra = exsi_extra(exsi_root(f));

	return extra && extra->retry && exsi_is_outermost(x, f, EXS_OPTION_RETRY) ? extra->retry : NULL;
}

static exs_retry_options options_of(exs_executor *x, exs_future *f)
{
	const exs_retry_options *own = given(x, f);

	return own ? exsi_retry_resolved(own) : *(const exs_retry_options *)exsi_state(x);
}

static exs_step retry_start(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	const exs_retry_options *all = exsi_state(x), *own = given(x, f);
	bool times = own || all->policy || all->on_retry || all->deadline < EXS_FOREVER;
	struct slot *s = slot;
	const char *wrong = own ? exsi_retry_check(own) : NULL;

	if (wrong) {
		*r = exs_fail(exs_error_new(&exs_domain_exs, EXS_EINVAL, "the call's retry options: %s", wrong));
		return EXS_UP;
	}
	if (own)
		exsi_call_set_attempts(f, x, exsi_retry_attempts(own));
	s->attempt = 1;
	s->begun = times ? exsi_clock_ns(x->clock) : EXSI_NEVER;
	return EXS_DOWN;
}

/* Down again, unless a stop was asked for: then *r stands. */
static exs_step again(exs_executor *x, exs_future *f, struct slot *s, exs_result *r)
{
	if (exs_call_stopped(f, x))
		return EXS_UP;
	exs_result_clear(r);
	s->attempt++;
	exs_call_restarting(f);
	return EXS_DOWN;
}

static exs_step back_off(exs_executor *x, exs_future *f, double delay, exs_result *r)
{
	struct wait *w = exsi_shared(f, x);
	uint64_t ns;

	w->last = *r;
	exsi_duration(delay, &ns);
	return exsi_call_park_until(f, x, exsi_after(exsi_clock_ns(x->clock), ns)) ? EXS_HELD : EXS_UP;
}

static exs_step retry_done(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	const exs_retry_options *all = exsi_state(x);
	struct slot *s = slot;
	double delay;

	bool usual = r->kind == EXS_KIND_VALUE && !all->policy && !exsi_root(f)->extra;
	if (usual || r->kind == EXS_KIND_CANCELLED || exs_call_stopped(f, x))
		return EXS_UP;
	exs_retry_options o = options_of(x, f);
	exs_attempt a = {.outcome = r, .attempt = s->attempt, .name = exs_call_name(f)};
	a.elapsed = s->begun == EXSI_NEVER ? 0 : (double)(exsi_clock_ns(x->clock) - s->begun) / 1e9;
	if (!exsi_retry_decide(&o, &a, x->name, &s->backoff, &delay))
		return EXS_UP;
	return delay > 0 ? back_off(x, f, delay, r) : again(x, f, s, r);
}

static void retry_fire(exs_executor *x, exs_future *f, void *slot)
{
	exs_result r = ((struct wait *)exsi_shared(f, x))->last;

	exs_call_resume(f, x, again(x, f, slot, &r), &r);
}

static exs_step retry_cancel(exs_executor *x, exs_future *f, void *slot, exs_cause cause, exs_result *r)
{
	struct wait *w = exsi_shared(f, x);

	(void)slot, (void)cause, (void)r;
	exsi_call_timer_disarm(f, x);
	exs_result_clear(&w->last);
	return EXS_UP;
}

static int retry_describe(exs_executor *x, char *buf, size_t size)
{
	const exs_retry_options *all = exsi_state(x);

	return exsi_describe_count(buf, size, all->max_attempts, "");
}

static const struct exsi_call_timers retry_timers = {
	.offset = offsetof(struct wait, timer), .shared = true, .fire = retry_fire};

static const exs_layer_ops retry_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "retry",
	.options = EXS_OPTION_RETRY,
	.start = retry_start,
	.done = retry_done,
	.cancel = retry_cancel,
	.each = exsi_call_timer_each,
	.describe = retry_describe,
};

exs_executor *exs_with_retry_sized(exs_executor *ex, const exs_retry_options *options, size_t size)
{
	exs_retry_options o;
	bool known = exsi_options(&o, sizeof(o), options, size);

	ex = exsi_checked(ex, "exs_with_retry", known, exsi_retry_check(&o));
	size_t codes = ex ? o.n_codes * sizeof(*o.codes) : 0;
	exs_executor *x = exsi_wrap(&retry_ops, ex, sizeof(o) + codes, sizeof(struct slot));
	if (!exsi_own(x, o.ctx, o.ctx_free))
		return NULL;
	exs_retry_options *all = exsi_state(x);
	*all = exsi_retry_resolved(&o);
	if (codes)
		all->codes = memcpy(all + 1, o.codes, codes);
	exsi_layer_share(x, sizeof(struct wait));
	exs_layer_set_attempts(x, exsi_retry_attempts(all));
	exsi_call_timers_init(x, &retry_timers);
	return exsi_hold_clock(x);
}
