/* ensure and nocancel. */
#include "support.h"

#include <sched.h>

/* What the function has seen. */
struct look {
	int calls;
	exs_kind kind;
	void *value;
};

static void look(void *ctx, const exs_result *outcome)
{
	struct look *l = ctx;

	l->calls++;
	l->kind = outcome->kind;
	l->value = outcome->value;
}

TEST(pass, ensure_sees_every_outcome)
{
	exs_error *error = exs_error_new(&test_domain, 1, "no");
	const exs_result outcomes[] = {number(1), exs_fail(error), exs_cancelled()};

	for (int i = 0; i < 3; i++) {
		struct look l = {0};
		struct seen seen;
		exs_future *f;
		exs_promise *p = promise_made(&f);
		seen_init(&seen);
		f = exs_future_ensure(exs_future_ensure(f, look, &l, NULL), look, &l, NULL);
		f = exs_future_ensure(f, look, &l, NULL);
		CHECK_INT(l.calls, 0);
		promise_done(p, outcomes[i]);
		CHECK_INT(l.calls, 3);
		CHECK_INT(l.kind, outcomes[i].kind);
		CHECK(l.value == outcomes[i].value);
		CHECK_INT(exs_future_state(f), EXS_STATE_VALUE + (int)l.kind);
		CHECK(exs_future_result(f).value == outcomes[i].value);
		exs_future_unref(f);
	}
	CHECK_INT(atomic_load(&numbers), 0);
}

TEST(pass, ensure_of_what_is_done)
{
	struct look l = {0};
	struct seen seen;

	seen_init(&seen);
	exs_future *f = exs_future_ensure(number_returned(4), look, &l, NULL);
	CHECK_INT(number_of(f), 4);
	CHECK_INT(l.calls, 1);
	exs_future_unref(f);
	CHECK_INT(atomic_load(&numbers), 0);
}

TEST(pass, ensure_what_others_have)
{
	struct look l = {0};
	exs_future *f = number_returned(4);
	exs_future *g = exs_future_ensure(exs_future_ref(f), look, &l, NULL);

	exs_future_unref(f);
	CHECK_INT(number_of(g), 4);
	exs_future_unref(g);
	CHECK_INT(atomic_load(&numbers), 0);
}

TEST(pass, ensure_of_nothing)
{
	struct look l = {0};
	struct seen seen;

	seen_init(&seen);
	expect_code(exs_future_ensure(NULL, look, &seen, seen_free), &exs_domain_exs, EXS_EINVAL);
	exs_future *f = exs_future_ensure(number_returned(1), NULL, &seen, seen_free);
	CHECK_STR(exs_error_message(exs_future_error(f)), "exs_future_ensure: fn is NULL");
	expect_code(f, &exs_domain_exs, EXS_EINVAL);
	CHECK_INT(atomic_load(&seen.frees), 2);
	CHECK_INT(l.calls, 0);
	CHECK_INT(atomic_load(&numbers), 0);
}

TEST(pass, ensure_cancelled)
{
	struct look l = {0};
	exs_future *f;
	exs_promise *p = promise_made(&f);
	exs_future *g = exs_future_ensure(exs_future_ref(f), look, &l, NULL);

	CHECK_INT(exs_future_cancel(g), EXS_CANCELLED);
	CHECK_INT(exs_future_state(f), EXS_STATE_CANCELLED);
	CHECK_INT(l.calls, 1);
	CHECK_INT(l.kind, EXS_KIND_CANCELLED);
	expect_cancelled(g, EXS_CAUSE_USER);
	exs_future_unref(f);
	exs_promise_free(p);
}

/* What runs is asked to stop, as often as somebody cancels, and its outcome counts. */
TEST(pass, ensure_waits_for_what_runs)
{
	struct look l = {0};
	exs_future *f;
	exs_promise *p = promise_made(&f);
	exs_future *g = exs_future_ensure(f, look, &l, NULL);

	CHECK(exs_promise_start(p));
	for (int i = 0; i < 3; i++) {
		CHECK_INT(exs_future_cancel(g), EXS_STOP_REQUESTED);
		CHECK(exs_promise_stop_requested(p));
		CHECK_INT(l.calls, 0);
	}
	promise_done(p, number(2));
	CHECK_INT(l.calls, 1);
	CHECK_INT(number_of(g), 2);
	exs_future_unref(g);
}

TEST(pass, nocancel)
{
	exs_future *f;
	exs_promise *p = promise_made(&f);
	exs_future *g = exs_future_nocancel(f);

	for (int i = 0; i < 2; i++) {
		CHECK_INT(exs_future_cancel(g), EXS_STOP_REQUESTED);
		CHECK_INT(exs_future_cancel_all(&g, 1), 0);
		CHECK(!exs_promise_stop_requested(p));
		CHECK(!exs_future_is_done(g));
	}
	promise_done(p, number(2));
	CHECK_INT(exs_future_cancel(g), EXS_TOO_LATE);
	CHECK_INT(number_of(g), 2);
	exs_future_unref(g);
	CHECK_INT(atomic_load(&numbers), 0);
}

TEST(pass, nocancel_of_what_fails_or_is_cancelled)
{
	exs_error *error = exs_error_new(&test_domain, 1, "no");
	exs_future *f;
	exs_promise *p = promise_made(&f);
	exs_future *g = exs_future_nocancel(exs_future_ref(f));

	expect_error(exs_future_nocancel(exs_future_return_error(exs_error_ref(error))), error);
	expect_code(exs_future_nocancel(NULL), &exs_domain_exs, EXS_EINVAL);
	CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
	expect_cancelled(g, EXS_CAUSE_USER);
	exs_future_unref(f);
	exs_promise_free(p);
	exs_error_unref(error);
}

enum { DEEP = 100000 };

static void count_call(void *count, const exs_result *outcome)
{
	(void)outcome;
	++*(int *)count;
}

TEST(pass, deep_chains)
{
	for (int cancels = 0; cancels < 2; cancels++) {
		int calls = 0;
		exs_future *f;
		exs_promise *p = promise_made(&f);
		for (int i = 0; i < DEEP; i++)
			f = exs_future_ensure(cancels ? f : exs_future_nocancel(f), count_call, &calls, NULL);
		if (cancels)
			CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
		exs_promise_complete(p, number(1)); /* or it is too late */
		exs_promise_free(p);
		CHECK_INT(calls, DEEP);
		CHECK_INT(exs_future_state(f), cancels ? EXS_STATE_CANCELLED : EXS_STATE_VALUE);
		exs_future_unref(f);
		CHECK_INT(atomic_load(&numbers), 0);
	}
}

static void count_atomic(void *count, const exs_result *outcome)
{
	(void)outcome;
	atomic_fetch_add((atomic_uint *)count, 1);
}

static void *cancel_twice(void *f)
{
	exs_future_cancel(f);
	exs_future_cancel(f);
	return NULL;
}

/* Complete and cancel at once: the function runs once. */
TEST(pass, complete_and_cancel)
{
	for (unsigned long round = 0; round < harness_rounds(1000); round++) {
		atomic_uint calls = 0;
		exs_future *f;
		exs_promise *p = promise_made(&f);
		exs_future *g =
			exs_future_ensure(exs_future_ensure(f, count_atomic, &calls, NULL), count_atomic, &calls, NULL);
		pthread_t thread = thread_start(cancel_twice, g);
		exs_promise_complete(p, number(1)); /* or it is too late */
		exs_promise_free(p);
		thread_join(thread);
		CHECK_INT(exs_future_wait(g, EXS_FOREVER), EXS_OK);
		CHECK_INT(atomic_load(&calls), 2);
		exs_future_unref(g);
		CHECK_INT(atomic_load(&numbers), 0);
	}
}
