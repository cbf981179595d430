/* Futures and promises: states, references, cancel, callbacks, explain. */
#define _GNU_SOURCE
#include "support.h"

#include <stdio.h>
#include <string.h>

static int destroyed;

static void destroy(void *value)
{
	CHECK(value == &destroyed);
	destroyed++;
}

static exs_result value(void)
{
	return exs_ok(&destroyed, destroy);
}

static exs_promise *promise(exs_future **f)
{
	exs_promise *p = exs_promise_new(f);

	CHECK(p && *f);
	destroyed = 0;
	return p;
}

/* --- states --- */

TEST(future, goes_from_pending_to_running_to_done)
{
	exs_future *f;
	exs_promise *p = promise(&f);

	CHECK_INT(exs_future_state(f), EXS_STATE_PENDING);
	CHECK(!exs_future_is_done(f));
	CHECK(exs_promise_start(p));
	CHECK_INT(exs_future_state(f), EXS_STATE_RUNNING);
	CHECK_INT(exs_promise_complete(p, value()), EXS_OK);
	CHECK_INT(exs_future_state(f), EXS_STATE_VALUE);
	CHECK(exs_future_is_done(f));
	CHECK(!exs_promise_start(p));
	exs_promise_free(p);
	CHECK(exs_future_value(f) == &destroyed);
	exs_future_unref(f);
	CHECK_INT(destroyed, 1);
}

TEST(future, has_no_result_before_it_is_done)
{
	exs_future *f;
	exs_promise *p = promise(&f);
	exs_result r = exs_future_result(f);

	CHECK(r.kind == EXS_KIND_ERROR && exs_error_is(r.error, &exs_domain_exs, EXS_EBUSY));
	CHECK(!exs_future_value(f) && !exs_future_error(f));
	r = exs_future_result(NULL);
	CHECK(r.kind == EXS_KIND_ERROR && exs_error_is(r.error, &exs_domain_exs, EXS_EINVAL));
	CHECK(!exs_future_value(NULL) && !exs_future_error(NULL));
	exs_promise_free(p);
	expect_code(f, &exs_domain_exs, EXS_EBROKEN);
}

/* Completed once; the second time the value is destroyed. */
TEST(future, completes_once)
{
	exs_future *f;
	exs_promise *p = promise(&f);
	exs_error *e = exs_error_new(&test_domain, 1, "first");

	CHECK_INT(exs_promise_complete(p, exs_fail(exs_error_ref(e))), EXS_OK);
	CHECK_INT(exs_promise_complete(p, value()), EXS_EALREADY);
	CHECK_INT(exs_error_code(exs_last_error()), EXS_EALREADY);
	CHECK_INT(destroyed, 1);
	CHECK_INT(exs_promise_complete(p, exs_cancelled()), EXS_EALREADY);
	CHECK_INT(exs_promise_complete(NULL, value()), EXS_EINVAL);
	CHECK_INT(destroyed, 2);
	exs_promise_free(p);
	expect_error(f, e);
	exs_error_unref(e);
	CHECK(!exs_promise_new(NULL));
	CHECK_INT(exs_error_code(exs_last_error()), EXS_EINVAL);
	exs_promise_free(NULL);
}

TEST(future, fails_when_its_promise_is_freed)
{
	exs_future *f;

	exs_promise_free(promise(&f));
	expect_code(f, &exs_domain_exs, EXS_EBROKEN);
	exs_promise *p = promise(&f);
	CHECK(exs_promise_start(p));
	exs_promise_free(p);
	expect_code(f, &exs_domain_exs, EXS_EBROKEN);
	p = promise(&f);
	exs_future_unref(f); /* nobody waits */
	CHECK_INT(exs_promise_complete(p, value()), EXS_OK);
	CHECK_INT(destroyed, 0); /* the promise holds it */
	exs_promise_free(p);
	CHECK_INT(destroyed, 1);
}

/* As those of tasks: an error, never a state of its own. */
TEST(future, completed_with_a_result_that_is_none)
{
	exs_result wrong[] = {exs_fail(NULL), exs_ok(NULL, NULL)};
	exs_future *f;

	wrong[1].kind = (exs_kind)9;
	for (int i = 0; i < 2; i++) {
		exs_promise *p = promise(&f);
		CHECK_INT(exs_promise_complete(p, wrong[i]), EXS_OK);
		CHECK_INT(exs_promise_complete(p, wrong[i]), EXS_EALREADY);
		CHECK(strstr(exs_error_message(exs_future_error(f)), "exs_cancelled"));
		expect_code(f, &exs_domain_exs, EXS_EINVAL);
		exs_promise_free(p);
	}
}

/* --- cancel --- */

TEST(future, cancel_of_a_pending_promise)
{
	exs_future *f;
	exs_promise *p = promise(&f);

	CHECK(!exs_promise_stop_requested(p));
	CHECK_INT(exs_future_cause(f), EXS_CAUSE_NONE);
	CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
	CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
	CHECK(exs_promise_stop_requested(p));
	CHECK(!exs_promise_start(p));
	CHECK_INT(exs_promise_complete(p, value()), EXS_EALREADY);
	CHECK_INT(destroyed, 1);
	exs_promise_free(p);
	expect_cancelled(f, EXS_CAUSE_USER);
	CHECK_INT(exs_future_cancel(NULL), EXS_TOO_LATE);
}

TEST(future, cancel_of_a_running_promise)
{
	for (int kind = 0; kind < 3; kind++) {
		exs_future *f;
		exs_promise *p = promise(&f);
		CHECK(exs_promise_start(p));
		CHECK(!exs_promise_stop_requested(p));
		CHECK_INT(exs_future_cancel(f), EXS_STOP_REQUESTED);
		CHECK(exs_promise_stop_requested(p));
		CHECK_INT(exs_future_state(f), EXS_STATE_RUNNING);
		exs_error *e = exs_error_new(&test_domain, 1, "stands");
		exs_result r[] = {value(), exs_fail(exs_error_ref(e)), exs_cancelled()};
		CHECK_INT(exs_promise_complete(p, r[kind]), EXS_OK);
		exs_promise_free(p);
		if (kind == EXS_KIND_VALUE)
			expect_value(f, &destroyed);
		else if (kind == EXS_KIND_ERROR)
			expect_error(f, e);
		else
			expect_cancelled(f, EXS_CAUSE_USER);
		if (kind != EXS_KIND_ERROR)
			exs_error_unref(r[EXS_KIND_ERROR].error);
		exs_error_unref(e);
	}
}

TEST(future, cancel_all_of_promises)
{
	exs_future *f[4] = {NULL};
	exs_promise *p[4] = {NULL};

	for (int i = 1; i < 4; i++)
		p[i] = promise(&f[i]);
	CHECK(exs_promise_start(p[2]));
	CHECK_INT(exs_promise_complete(p[3], exs_ok(NULL, NULL)), EXS_OK);
	CHECK_INT(exs_future_cancel_all(f, 4), 1);
	CHECK_INT(exs_future_cancel_all(f, 4), 1); /* stable */
	CHECK_INT(exs_future_cancel_all(NULL, 0), 0);
	CHECK_INT(exs_future_state(f[1]), EXS_STATE_CANCELLED);
	CHECK_INT(exs_future_state(f[2]), EXS_STATE_RUNNING);
	CHECK_INT(exs_future_state(f[3]), EXS_STATE_VALUE);
	CHECK_INT(exs_future_cause(f[3]), EXS_CAUSE_NONE);
	for (int i = 1; i < 4; i++) {
		exs_promise_free(p[i]);
		exs_future_unref(f[i]);
	}
}

static void drop(exs_future *f, void *user)
{
	(void)f;
	exs_future_unref(user);
}

TEST(future, nothing_to_cancel_or_to_write_to)
{
	exs_future *f;
	exs_promise *p = promise(&f);

	CHECK_INT(exs_future_cancel_all(NULL, 0), 0);
	CHECK_INT(exs_future_cancel_all(NULL, 2), 0);
	CHECK(strstr(exs_error_message(exs_last_error()), "exs_future_cancel_all: futures is NULL"));
	CHECK_INT(exs_future_explain(f, NULL, 100), strlen("task: pending"));
	CHECK_INT(exs_future_explain(NULL, NULL, 100), strlen("no future"));
	CHECK(!exs_context_scope(NULL));
	exs_promise_free(p);
	exs_future_unref(f);
}

/* A callback drops the reference through which the cancel came. */
TEST(future, last_reference_dropped_within_cancel)
{
	exs_future *f;
	exs_promise *p = promise(&f);

	CHECK_INT(exs_future_on_done(f, drop, f, NULL), EXS_OK);
	CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
	exs_promise_free(p);
	p = promise(&f);
	CHECK_INT(exs_future_on_done(f, drop, f, NULL), EXS_OK);
	CHECK_INT(exs_future_cancel_all(&f, 1), 1);
	exs_promise_free(p);
}

struct race {
	exs_promise *p;
	exs_future *f;
	pthread_barrier_t start;
	int completed;
	exs_answer answer;
};

static void *complete_in_race(void *arg)
{
	struct race *race = arg;

	pthread_barrier_wait(&race->start);
	race->completed = exs_promise_complete(race->p, value());
	return NULL;
}

/* Either wins, and all tell the same story; a cancel that comes in the middle of a completion says "asked to stop". */
TEST(future, complete_races_cancel)
{
	for (unsigned long i = 0; i < harness_rounds(300); i++) {
		struct race race;
		race.p = promise(&race.f);
		pthread_barrier_init(&race.start, NULL, 2);
		pthread_t thread = thread_start(complete_in_race, &race);
		pthread_barrier_wait(&race.start);
		race.answer = exs_future_cancel(race.f);
		thread_join(thread);
		exs_promise_free(race.p);
		bool cancelled = exs_future_state(race.f) == EXS_STATE_CANCELLED;
		CHECK_INT(race.answer == EXS_CANCELLED, cancelled);
		CHECK_INT(race.completed, cancelled ? EXS_EALREADY : EXS_OK);
		exs_future_unref(race.f);
		CHECK_INT(destroyed, 1);
		pthread_barrier_destroy(&race.start);
	}
}

/* --- references, take --- */

TEST(future, value_goes_with_the_last_reference)
{
	exs_future *f;
	exs_promise *p = promise(&f);

	CHECK_INT(exs_promise_complete(p, value()), EXS_OK);
	exs_promise_free(p);
	CHECK(exs_future_ref(f) == f);
	exs_future_unref(f);
	CHECK_INT(destroyed, 0);
	exs_future_unref(f);
	CHECK_INT(destroyed, 1);
	CHECK(!exs_future_ref(NULL));
	exs_future_unref(NULL);
}

TEST(future, take_moves_a_value)
{
	exs_future *f;
	exs_promise *p = promise(&f);
	exs_result r;

	CHECK_INT(exs_future_take(f, &r), EXS_EBUSY); /* not done */
	CHECK_INT(exs_promise_complete(p, value()), EXS_OK);
	exs_future_ref(f);
	CHECK_INT(exs_future_take(f, &r), EXS_EBUSY); /* another reference */
	CHECK_INT(exs_error_code(exs_last_error()), EXS_EBUSY);
	exs_future_unref(f);
	CHECK_INT(exs_future_take(NULL, &r), EXS_EINVAL);
	CHECK_INT(exs_future_take(f, NULL), EXS_EINVAL);
	CHECK_INT(exs_future_take(f, &r), EXS_OK); /* the promise's is no user's reference */
	CHECK(r.kind == EXS_KIND_VALUE && r.value == &destroyed && r.destroy == destroy);
	CHECK_INT(exs_future_state(f), EXS_STATE_VALUE);
	CHECK(!exs_future_value(f));
	exs_promise_free(p);
	exs_future_unref(f);
	CHECK_INT(destroyed, 0);
	exs_result_clear(&r);
	CHECK_INT(destroyed, 1);
}

TEST(future, take_shares_an_error)
{
	exs_future *f;
	exs_promise *p = promise(&f);
	exs_error *e = exs_error_new(&test_domain, 1, "shared");
	exs_result r;

	CHECK_INT(exs_promise_complete(p, exs_fail(e)), EXS_OK);
	exs_promise_free(p);
	CHECK_INT(exs_future_take(f, &r), EXS_OK);
	CHECK(r.kind == EXS_KIND_ERROR && r.error == e && exs_future_error(f) == e);
	exs_future_unref(f);
	CHECK_STR(exs_error_message(e), "shared");
	exs_result_clear(&r);
	p = promise(&f);
	CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
	CHECK_INT(exs_future_take(f, &r), EXS_OK);
	CHECK_INT(r.kind, EXS_KIND_CANCELLED);
	exs_promise_free(p);
	exs_future_unref(f);
}

/* --- callbacks --- */

TEST(future, on_done_with_nonsense_frees_the_context)
{
	struct seen seen;
	exs_future *f;
	exs_promise *p = promise(&f);

	seen_init(&seen);
	CHECK_INT(exs_future_on_done(NULL, seen_call, &seen, seen_free), EXS_EINVAL);
	CHECK_INT(exs_future_on_done(f, NULL, &seen, seen_free), EXS_EINVAL);
	CHECK_INT(exs_future_on_done(NULL, NULL, NULL, NULL), EXS_EINVAL);
	CHECK_INT(seen.frees, 2);
	exs_promise_free(p);
	exs_future_unref(f);
	CHECK_INT(seen.calls, 0);
}

struct chain {
	exs_future *f;
	struct seen *seen;
	unsigned depth;
};

/* A callback adds one: that runs at once. */
static void add_another(exs_future *f, void *arg)
{
	struct chain *chain = arg;

	CHECK(f == chain->f && exs_future_is_done(f));
	seen_call(f, chain->seen);
	if (chain->depth-- > 0)
		CHECK_INT(exs_future_on_done(f, add_another, chain, NULL), EXS_OK);
}

TEST(future, callbacks_added_in_callbacks)
{
	struct seen seen;
	exs_future *f;
	exs_promise *p = promise(&f);
	struct chain chain = {f, &seen, 10};

	seen_init(&seen);
	CHECK_INT(exs_future_on_done(f, add_another, &chain, NULL), EXS_OK);
	CHECK_INT(seen.calls, 0);
	CHECK_INT(exs_promise_complete(p, value()), EXS_OK);
	CHECK_INT(seen.calls, 11);
	CHECK(pthread_equal(seen.thread, pthread_self()));
	exs_promise_free(p);
	exs_future_unref(f);
	CHECK_INT(destroyed, 1); /* the callbacks' references are gone */
}

struct adder {
	exs_future *f;
	struct seen *seen;
	pthread_barrier_t *start;
};

static void *add_callbacks(void *arg)
{
	struct adder *adder = arg;

	pthread_barrier_wait(adder->start);
	for (int i = 0; i < 50; i++)
		CHECK_INT(exs_future_on_done(adder->f, seen_call, adder->seen, seen_free), EXS_OK);
	return NULL;
}

/* Each runs once, whether it comes before, with or after the completion. */
TEST(future, callbacks_race_completion)
{
	for (unsigned long i = 0; i < harness_rounds(50); i++) {
		struct seen seen;
		exs_future *f;
		exs_promise *p = promise(&f);
		pthread_barrier_t start;
		struct adder adder = {f, &seen, &start};
		pthread_t threads[3];
		seen_init(&seen);
		pthread_barrier_init(&start, NULL, 4);
		for (int k = 0; k < 3; k++)
			threads[k] = thread_start(add_callbacks, &adder);
		pthread_barrier_wait(&start);
		CHECK_INT(exs_promise_complete(p, value()), EXS_OK);
		for (int k = 0; k < 3; k++)
			thread_join(threads[k]);
		CHECK_INT(seen.calls, 150);
		CHECK_INT(seen.frees, 150);
		exs_promise_free(p);
		exs_future_unref(f);
		CHECK_INT(destroyed, 1);
		pthread_barrier_destroy(&start);
	}
}

static void wait_again(exs_future *f, void *seen)
{
	CHECK_INT(exs_future_wait(f, EXS_FOREVER), EXS_OK);
	CHECK_INT(exs_future_cancel(f), EXS_TOO_LATE);
	CHECK_INT(exs_wait_any(&f, 1, EXS_FOREVER, NULL), EXS_OK);
	seen_call(f, seen);
}

TEST(future, callback_may_use_its_future)
{
	struct seen seen;
	exs_future *f;
	exs_promise *p = promise(&f);

	seen_init(&seen);
	CHECK_INT(exs_future_on_done(f, wait_again, &seen, NULL), EXS_OK);
	CHECK_INT(exs_promise_complete(p, exs_ok(NULL, NULL)), EXS_OK);
	CHECK_INT(seen.calls, 1);
	exs_promise_free(p);
	exs_future_unref(f);
}

/* --- explain --- */

static void explains(exs_future *f, const char *expected)
{
	char text[200], part[200];
	size_t n = exs_future_explain(f, text, sizeof(text));

	CHECK_STR(text, expected);
	CHECK_INT(n, strlen(expected));
	CHECK_INT(exs_future_explain(f, NULL, 0), n);
	CHECK_INT(exs_future_explain(f, part, 5), n);
	CHECK_INT(strlen(part), 4);
	CHECK(!strncmp(part, expected, 4));
}

TEST(future, explains_itself_in_every_state)
{
	exs_future *f;
	exs_promise *p = promise(&f);

	explains(NULL, "no future");
	explains(f, "task: pending");
	CHECK(exs_promise_start(p));
	explains(f, "task: running");
	CHECK_INT(exs_future_cancel(f), EXS_STOP_REQUESTED);
	explains(f, "task: running, asked to stop");
	CHECK_INT(exs_promise_complete(p, exs_fail(exs_error_new(&test_domain, 1, "HTTP 503"))), EXS_OK);
	explains(f, "task: HTTP 503");
	exs_promise_free(p);
	exs_future_unref(f);
	p = promise(&f);
	CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
	explains(f, "task: cancelled by the user");
	exs_promise_free(p);
	exs_future_unref(f);
	p = promise(&f);
	CHECK_INT(exs_promise_complete(p, exs_cancelled()), EXS_OK);
	explains(f, "task: cancelled by the task");
	exs_promise_free(p);
	exs_future_unref(f);
	p = promise(&f);
	CHECK_INT(exs_promise_complete(p, exs_ok(NULL, NULL)), EXS_OK);
	explains(f, "task: done");
	exs_promise_free(p);
	exs_future_unref(f);
}

/* With names, attempts and causes, as calls have them. */
TEST(future, explains_calls)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_retry(exs_with_clock(exs_thread_pool(1), clock), NULL);
	exs_error *e = exs_error_new(&test_domain, 1, "HTTP 503 from POST http://x");
	struct job jobs[3];
	exs_future *f[3];

	for (int i = 0; i < 3; i++) {
		exs_task task = {.fn = job_run, .arg = &jobs[i], .arg_free = job_free_arg, .name = "publish 20"};
		job_init(&jobs[i]);
		jobs[i].error = e;
		jobs[i].failures = i ? 0 : ALWAYS;
		jobs[i].gated = i == 1;
		f[i] = exs_submit_with(ex, &task);
		if (i == 0)
			CHECK_INT(exs_clock_wait_armed(clock, 1, EXS_FOREVER), EXS_OK);
		if (i == 1)
			sem_take(&jobs[i].entered);
	}
	explains(f[0], "publish 20: attempt 1 of 3: pending");
	explains(f[1], "publish 20: attempt 1 of 3: running");
	explains(f[2], "publish 20: attempt 1 of 3: pending");
	CHECK_INT(exs_shutdown(ex, EXS_CANCEL_QUEUED, 0), 1);
	explains(f[0], "publish 20: attempt 1 of 3: cancelled by shutdown");
	explains(f[1], "publish 20: attempt 1 of 3: the executor was shut down");
	sem_post(&jobs[1].open);
	exs_executor_free(ex);
	for (int i = 0; i < 3; i++) {
		exs_future_unref(f[i]);
		job_fini(&jobs[i]);
	}
	exs_error_unref(e);
	exs_clock_unref(clock);
}

static void count_nothing(exs_future *f, void *ctx)
{
	(void)f, (void)ctx;
	CHECK(false);
}

/* NULL counts as done with an error, a promise NULL as one that has been kept. */
TEST(future, nothing_at_all)
{
	exs_result r = exs_future_result(NULL);

	CHECK_INT(exs_future_state(NULL), EXS_STATE_ERROR);
	CHECK(exs_future_is_done(NULL));
	CHECK_INT(exs_future_cause(NULL), EXS_CAUSE_NONE);
	CHECK(r.kind == EXS_KIND_ERROR && exs_error_is(r.error, &exs_domain_exs, EXS_EINVAL));
	CHECK(!exs_future_value(NULL));
	CHECK_INT(exs_future_on_done(NULL, count_nothing, NULL, NULL), EXS_EINVAL);
	CHECK(!exs_promise_start(NULL));
	CHECK(!exs_promise_stop_requested(NULL));
	exs_promise_free(NULL);
}

/* Work that was asked to stop does not begin again. */
TEST(future, started_again_after_a_stop_request)
{
	exs_future *f;
	exs_promise *p = promise(&f);

	CHECK(exs_promise_start(p));
	CHECK(exs_promise_start(p));
	CHECK_INT(exs_future_cancel(f), EXS_STOP_REQUESTED);
	CHECK(!exs_promise_start(p));
	CHECK(exs_promise_stop_requested(p));
	CHECK_INT(exs_promise_complete(p, exs_ok(NULL, NULL)), EXS_OK);
	CHECK(!exs_promise_start(p));
	exs_promise_free(p);
	exs_future_unref(f);
}
