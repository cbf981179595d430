/* Promises: a future that its holder completes. */
#include "base/memory.h"
#include "future/future.h"

/* The promise is its future's block. PARKED at depth 0 is the right to complete it. */
struct exs_promise {
	exs_future future;
};

static bool claim(exs_future *f)
{
	return atomic_fetch_and(&f->state, ~EXSI_PARKED) & EXSI_PARKED;
}

static void promise_cancel(exs_future *f, exs_cause cause)
{
	exs_result r = exs_cancelled();

	(void)cause;
	exsi_complete(f, &r);
}

static void promise_cancel_many(exs_future **futures, size_t n, exs_cause cause)
{
	for (size_t i = 0; i < n; i++)
		promise_cancel(futures[i], cause);
}

static const struct exsi_source promises = {
	.cancel = promise_cancel, .cancel_many = promise_cancel_many, .what = "promise"};

exs_promise *exs_promise_new(exs_future **future)
{
	exs_promise *p = future ? exsi_alloc(sizeof(*p)) : NULL;

	if (!future)
		return exsi_fail_null(EXS_EINVAL, "exs_promise_new: future is NULL");
	*future = p ? &p->future : NULL;
	if (!p)
		return exsi_fail_null(EXS_ENOMEM, "exs_promise_new: out of memory");
	exsi_future_init(&p->future, &promises, EXSI_PARKED);
	exsi_hold(&p->future); /* the holder's, beside the token's */
	exsi_future_made(&p->future);
	return p;
}

int exs_promise_complete(exs_promise *p, exs_result result)
{
	exsi_check_result(&result, "the promise's holder");
	if (p)
		exsi_nodes_approach(&p->future);
	if (p && claim(&p->future)) {
		exsi_complete(&p->future, &result);
		return EXS_OK;
	}
	exs_result_clear(&result);
	return p ? exsi_fail(EXS_EALREADY, "exs_promise_complete: already done")
		 : exsi_fail(EXS_EINVAL, "exs_promise_complete: promise is NULL");
}

/* A running promise can't be cancelled from below it: depth 1 is out of a cancel's reach. */
bool exs_promise_start(exs_promise *p)
{
	unsigned s = p ? atomic_load(&p->future.state) : EXSI_DONE;

	do {
		if (s & EXSI_DONE || exsi_stop(s))
			return false;
	} while (!atomic_compare_exchange_weak(&p->future.state, &s, s | EXSI_RUNNING | EXSI_LEVELS << EXSI_AT_SHIFT));
	return true;
}

bool exs_promise_stop_requested(exs_promise *p)
{
	return p && exsi_stop(atomic_load(&p->future.state)) != 0;
}

void exs_promise_free(exs_promise *p)
{
	if (!p)
		return;
	if (!exs_future_is_done(&p->future) && claim(&p->future)) {
		exs_result r = exs_fail(exsi_error(EXS_EBROKEN));
		exsi_complete(&p->future, &r);
	}
	exsi_drop(&p->future);
}
