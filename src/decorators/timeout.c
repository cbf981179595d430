/* Timeout: the time a call has, whatever becomes of it then. The modes: timeout_wait.c, timeout_abandon.c. */
#include "decorators/timeout.h"
#include "base/memory.h"
#include "executor/metrics.h"

#include <stdio.h>

static uint64_t time_of(exs_executor *x, exs_future *f)
{
	const struct exsi_timeout *t = exsi_state(x);
	struct exsi_extra *extra = exsi_extra(exsi_root(f));
	uint64_t ns = t->ns;

	if (extra && extra->timeout != 0 && exsi_is_outermost(x, f, EXS_OPTION_TIMEOUT))
		exsi_duration(exsi_option_seconds(extra->timeout, 0), &ns);
	return ns;
}

static exs_error *error_of(uint64_t ns)
{
	return exs_error_new(&exs_domain_exs, EXS_ETIMEDOUT, "timed out after %gs", (double)ns / 1e9);
}

void exsi_timeout_init(exs_executor *x, uint64_t ns, const char *mode)
{
	struct exsi_timeout *t = exsi_state(x);

	*t = (struct exsi_timeout){.ns = ns, .error = error_of(ns), .mode = mode};
}

void exsi_timeout_stop(exs_executor *x)
{
	struct exsi_timeout *t = exsi_state(x);

	exs_error_unref(t->error);
}

uint64_t exsi_timeout_due(exs_executor *x, exs_future *f)
{
	uint64_t ns = time_of(x, f);

	return ns == EXSI_NEVER ? ns : exsi_after(exsi_clock_ns(x->clock), ns);
}

exs_result exsi_timed_out(exs_executor *x, exs_future *f)
{
	const struct exsi_timeout *t = exsi_state(x);
	uint64_t ns = time_of(x, f);

	exsi_metrics_count(x, EXSI_TIMEOUTS, 1);
	return exs_fail(ns == t->ns ? exs_error_ref(t->error) : error_of(ns));
}

int exsi_timeout_describe(exs_executor *x, char *buf, size_t size)
{
	const struct exsi_timeout *t = exsi_state(x);

	if (t->ns == EXSI_NEVER)
		return snprintf(buf, size, "none%s", t->mode);
	return snprintf(buf, size, "%gs%s", (double)t->ns / 1e9, t->mode);
}

exs_executor *exs_with_timeout_mode(exs_executor *ex, double seconds, exs_timeout_mode mode)
{
	uint64_t ns;
	bool valid = exsi_duration(seconds, &ns) && (mode == EXS_WAIT || mode == EXS_ABANDON);

	if (!ex)
		return NULL;
	if (valid)
		return mode == EXS_WAIT ? exsi_with_wait(ex, ns) : exsi_with_abandon(ex, ns);
	exs_executor_free(ex);
	return exsi_fail_null(EXS_EINVAL,
			      "exs_with_timeout: %g seconds, mode %d: the time must be 0 or more or EXS_FOREVER, the "
			      "mode EXS_WAIT or EXS_ABANDON",
			      seconds, (int)mode);
}
