/* The policy of retry: options checked and completed, the backoff, which outcomes are retried. */
#include "decorators/retry_policy.h"
#include "base/memory.h"
#include "base/sync.h"
#include "future/error.h"

enum { MAX_ATTEMPTS = 3 }; /* if none are given */

/* --- options --- */

const char *exsi_retry_check(const exs_retry_options *o)
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
	if (o->n_codes > EXS_UNLIMITED)
		return "n_codes: at most EXS_UNLIMITED";
	return NULL;
}

unsigned exsi_retry_attempts(const exs_retry_options *o)
{
	if (o->policy)
		return EXS_UNLIMITED;
	return o->max_attempts ? o->max_attempts : MAX_ATTEMPTS;
}

exs_retry_options exsi_retry_resolved(const exs_retry_options *given)
{
	exs_retry_options o = *given;

	o.max_attempts = o.max_attempts ? o.max_attempts : MAX_ATTEMPTS;
	o.sleep = exsi_option_seconds(o.sleep, 1.0);
	o.exponent = o.exponent == 0 ? 2.0 : o.exponent;
	o.max_sleep = exsi_option_seconds(o.max_sleep, 120.0);
	o.fraction = o.fraction == 0 ? 0.5 : o.fraction;
	o.deadline = exsi_option_seconds(o.deadline, EXS_FOREVER);
	o.max_retry_after = exsi_option_seconds(o.max_retry_after, 120.0);
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

static bool ask_policy(const exs_retry_options *o, const exs_attempt *a, const char *name, double *delay)
{
	exs_error *error = NULL;
	bool again = o->policy(o->ctx, a, delay, &error);
	uint64_t ns;

	if (!error && again && !exsi_duration(*delay, &ns))
		error = exs_error_new(&exs_domain_exs, EXS_EINVAL, "the delay is %g seconds", *delay);
	if (!error)
		return again;
	exsi_log(EXS_LOG_ERROR, name, "retry: %.128s%sthe policy failed: %s: no retry", a->name ? a->name : "",
		 a->name ? ": " : "", exs_error_message(error));
	exs_error_unref(error);
	return false;
}

/* Of its own, without the user's function. *delay is preset to the backoff. */
static bool wants_more(const exs_retry_options *o, const exs_attempt *a, double *delay)
{
	const exs_result *r = a->outcome;

	if (r->kind != EXS_KIND_ERROR || a->attempt >= o->max_attempts || !has_code(o, r->error))
		return false;
	double hint = exs_error_retry_after(r->error);
	*delay = hint > *delay ? hint : *delay;
	return hint <= o->max_retry_after;
}

bool exsi_retry_decide(const exs_retry_options *o, const exs_attempt *a, const char *name, double *backoff,
		       double *delay)
{
	*backoff = least(a->attempt == 1 ? o->sleep : *backoff * o->exponent, o->max_sleep);
	*delay = with_jitter(o, *backoff);
	bool again = o->policy ? ask_policy(o, a, name, delay) : wants_more(o, a, delay);
	if (!again || a->elapsed + *delay > o->deadline)
		return false;
	if (o->on_retry)
		o->on_retry(o->ctx, a, *delay);
	return true;
}
