/* Counterparts of more-executors' tests of throttle, timeout and cancel_on_shutdown (test_throttle.py, test_throttle_dynamic.py,
   test_timeout.py, test_cancel_on_shutdown.py). */
#include "more_executors.h"

#include <stdlib.h>
#include <string.h>

/* --- throttle --- */

enum { THREADS = 8, COUNT = 3, N = 1000 };

/* How many run, and ran at most. The first to run wait for each other. */
struct record {
	atomic_uint started, running, most;
};

static bool are_enough(void *record)
{
	return atomic_load(&((struct record *)record)->started) >= COUNT;
}

static exs_result record(void *arg, exs_context *ctx)
{
	struct record *r = arg;
	unsigned running = atomic_fetch_add(&r->running, 1) + 1, most = atomic_load(&r->most);

	(void)ctx;
	while (most < running && !atomic_compare_exchange_weak(&r->most, &most, running))
		;
	atomic_fetch_add(&r->started, 1);
	wait_until(are_enough, r);
	atomic_fetch_sub(&r->running, 1);
	return exs_ok(NULL, NULL);
}

static void throttle(bool block)
{
	exs_throttle_options options = {.block = block};
	exs_executor *ex = exs_with_throttle(exs_thread_pool(THREADS), COUNT, &options);
	exs_future **f = malloc(N * sizeof(*f));
	struct record r = {.most = 0};

	CHECK(ex && f);
	for (int i = 0; i < N; i++)
		f[i] = more_submit(ex, record, &r);
	for (int i = 0; i < N; i++)
		expect_value(f[i], NULL);
	CHECK_INT(r.most, COUNT);
	exs_executor_free(ex);
	free(f);
}

TEST(more_throttle, throttle)
{
	throttle(false);
	throttle(true);
}

TEST(more_throttle, with_throttle)
{
	exs_throttle_options options = {.block = true};
	exs_executor *ex = exs_with_throttle(exs_with_name(exs_inline(), "throttle-test"), 4, &options);
	char text[100];

	exs_describe(ex, text, sizeof(text));
	CHECK(!strncmp(text, "throttle(4", 10));
	CHECK_STR(exs_executor_name(ex), "throttle-test");
	exs_executor_free(ex);
}

/* --- throttle, with a count that changes --- */

struct tester {
	exs_clock *clock;
	exs_executor *ex;
	atomic_uint count, asked, entered, exited;
	atomic_bool fails; /* from the second time */
	sem_t proceed;
};

static exs_error *count_fn(void *ctx, unsigned *count)
{
	struct tester *t = ctx;

	if (atomic_fetch_add(&t->asked, 1) && atomic_load(&t->fails))
		return exs_error_new(&test_domain, 1, "oops");
	*count = atomic_load(&t->count);
	return NULL;
}

static exs_result enter(void *tester, exs_context *ctx)
{
	struct tester *t = tester;

	(void)ctx;
	atomic_fetch_add(&t->entered, 1);
	sem_take(&t->proceed);
	atomic_fetch_add(&t->exited, 1);
	return exs_ok(NULL, NULL);
}

static void tester_init(struct tester *t, unsigned threads, unsigned count)
{
	exs_throttle_options options = {.count_fn = count_fn, .ctx = t};

	t->clock = exs_clock_manual_new();
	t->count = count;
	CHECK(!sem_init(&t->proceed, 0, 0));
	t->ex = exs_with_throttle(more_pool(threads, t->clock), 0, &options);
	CHECK(t->ex);
}

/* The count is asked for again, as it is every two seconds while calls wait. */
static void tester_set(struct tester *t, unsigned count)
{
	atomic_store(&t->count, count);
	advance(t->clock, 2);
}

static void proceed(struct tester *t, unsigned n)
{
	for (; n; n--)
		sem_post(&t->proceed);
}

static void tester_end(struct tester *t)
{
	exs_executor_free(t->ex);
	CHECK_INT(exs_clock_armed(t->clock), 0);
	exs_clock_unref(t->clock);
	sem_destroy(&t->proceed);
}

TEST(more_throttle_dynamic, throttle_dynamic)
{
	enum { CALLS = 50 };
	struct tester t = {.fails = false};
	exs_future *f[CALLS];

	tester_init(&t, THREADS, 0);
	for (int i = 0; i < CALLS; i++)
		f[i] = more_submit(t.ex, enter, &t);
	advance(t.clock, 10);
	CHECK_INT(t.entered, 0);
	tester_set(&t, 1);
	wait_count(&t.entered, 1);
	tester_set(&t, 2);
	wait_count(&t.entered, 2);
	proceed(&t, 1);
	wait_count(&t.entered, 3); /* two */
	tester_set(&t, EXS_UNLIMITED);
	wait_count(&t.entered, 1 + THREADS); /* as many as there are threads; the others have gone down */
	tester_set(&t, 0);
	CHECK_INT(exs_throttle_waiting(t.ex), 0);
	proceed(&t, CALLS - 1);
	for (int i = 0; i < CALLS; i++)
		expect_value(f[i], NULL);
	for (int i = 0; i < CALLS; i++)
		f[i] = more_submit(t.ex, enter, &t);
	CHECK_INT(exs_throttle_waiting(t.ex), CALLS);
	CHECK_INT(t.entered, CALLS); /* none of the new ones */
	tester_set(&t, 6);
	wait_count(&t.entered, CALLS + 6);
	CHECK_INT(exs_throttle_waiting(t.ex), CALLS - 6);
	proceed(&t, CALLS);
	for (int i = 0; i < CALLS; i++)
		expect_value(f[i], NULL);
	CHECK_INT(t.exited, 2 * CALLS);
	tester_end(&t);
}

static exs_error *raise(void *error, unsigned *count)
{
	(void)count;
	return exs_error_ref(error);
}

TEST(more_throttle_dynamic, throttle_dynamic_raises_cannot_construct)
{
	exs_error *error = exs_error_new(&test_domain, 11, "oops");
	exs_throttle_options options = {.count_fn = raise, .ctx = error};

	CHECK(!exs_with_throttle(exs_inline(), 1, &options));
	CHECK(exs_error_is(exs_last_error(), &test_domain, 11));
	CHECK(strstr(exs_error_message(exs_last_error()), "oops"));
	exs_error_unref(error);
}

TEST(more_throttle_dynamic, throttle_dynamic_raises_uses_previous)
{
	struct tester t = {.fails = true};
	exs_future *f[3];

	log_begin(EXS_LOG_WARNING);
	tester_init(&t, 2, 1);
	for (int i = 0; i < 3; i++)
		f[i] = more_submit(t.ex, enter, &t);
	for (unsigned i = 0; i < 3; i++) {
		wait_count(&t.entered, i + 1);
		CHECK_INT(t.exited, i);
		CHECK_INT(exs_throttle_waiting(t.ex), 2 - i);
		proceed(&t, 1);
		expect_value(f[i], NULL);
	}
	CHECK(log_lines("throttle") > 0 && log_lines("oops") > 0);
	tester_end(&t);
	log_end();
}

/* --- timeout --- */

struct timed {
	exs_clock *clock;
	exs_executor *ex;
	struct job running, queued;
	exs_future *f[2];
};

/* One worker, on which the first call runs; the second waits. */
static void timed_init(struct timed *t, double seconds)
{
	t->clock = exs_clock_manual_new();
	t->ex = exs_with_timeout(more_pool(1, t->clock), seconds);
	CHECK(t->ex);
	job_init(&t->running);
	job_init(&t->queued);
	t->running.gated = true;
	t->f[0] = job_submit(t->ex, &t->running);
	sem_take(&t->running.entered);
	t->f[1] = job_submit(t->ex, &t->queued);
}

static void timed_end(struct timed *t)
{
	CHECK_INT(exs_clock_armed(t->clock), 0);
	exs_clock_unref(t->clock);
	job_fini(&t->running);
	job_fini(&t->queued);
}

TEST(more_timeout, success)
{
	struct timed t;

	timed_init(&t, 20);
	advance(t.clock, 2);
	sem_post(&t.running.open);
	wait_done(t.f[0]);
	wait_done(t.f[1]);
	advance(t.clock, 40);
	CHECK(exs_future_is_done(t.f[0]));
	expect_value(t.f[0], &t.running);
	expect_value(t.f[1], &t.queued);
	exs_executor_free(t.ex);
	timed_end(&t);
}

/* Theirs is cancelled then; ours has failed with EXS_ETIMEDOUT. */
TEST(more_timeout, cancel_pending)
{
	struct timed t;

	timed_init(&t, 20);
	advance(t.clock, 20);
	expect_code(t.f[1], &exs_domain_exs, EXS_ETIMEDOUT);
	CHECK_INT(t.queued.starts, 0);
	CHECK_INT(exs_future_state(t.f[0]), EXS_STATE_RUNNING);
	sem_post(&t.running.open);
	expect_value(t.f[0], &t.running); /* it did not heed the request */
	CHECK_INT(t.running.stops, 1);
	exs_executor_free(t.ex);
	timed_end(&t);
}

static bool is_shut(void *ex)
{
	exs_future *f = more_submit(ex, more_twice, NULL);
	bool shut = exs_error_is(exs_future_error(f), &exs_domain_exs, EXS_ESHUTDOWN);

	exs_future_unref(f);
	return shut;
}

static void *drain_beside(void *ex)
{
	CHECK_INT(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER), 0);
	exs_executor_free(ex);
	return NULL;
}

/* Nobody has a handle of the executor while its calls go on. Freed with calls in it, it cancels what is queued: drained, not. */
TEST(more_timeout, cancel_future_outlives_executor)
{
	struct timed t;
	struct beside beside;

	timed_init(&t, 20);
	exs_executor *ex = exs_borrow(t.ex);
	beside_start(&beside, drain_beside, t.ex);
	wait_until(is_shut, ex);
	exs_executor_free(ex);
	CHECK(!exs_future_is_done(t.f[1]));
	advance(t.clock, 20);
	expect_code(t.f[1], &exs_domain_exs, EXS_ETIMEDOUT);
	CHECK_INT(t.queued.starts, 0);
	sem_post(&t.running.open);
	beside_end(&beside);
	expect_value(t.f[0], &t.running);
	timed_end(&t);
}

/* --- cancel on shutdown --- */

struct closing {
	exs_executor *ex;
	sem_t go;
	atomic_uint entered, refused;
};

static void closing_init(struct closing *c)
{
	*c = (struct closing){.ex = exs_with_cancel_on_shutdown(exs_thread_pool(2))};
	CHECK(c->ex && !sem_init(&c->go, 0, 0));
}

static exs_result await_go(void *closing, exs_context *ctx)
{
	struct closing *c = closing;

	(void)ctx;
	atomic_fetch_add(&c->entered, 1);
	sem_take(&c->go);
	return exs_ok(NULL, NULL);
}

static void go(exs_future *f, void *closing)
{
	struct closing *c = closing;

	CHECK_INT(exs_future_state(f), EXS_STATE_CANCELLED);
	for (int i = 0; i < 2; i++)
		sem_post(&c->go);
}

TEST(more_cancel_on_shutdown, cancels)
{
	exs_future *f[N];
	struct closing c;
	int cancelled = 0;

	closing_init(&c);
	for (int i = 0; i < N; i++)
		f[i] = more_submit(c.ex, await_go, &c);
	wait_count(&c.entered, 2);
	CHECK_INT(exs_future_on_done(f[N - 1], go, &c, NULL), EXS_OK);
	CHECK_INT(exs_shutdown(c.ex, EXS_DRAIN, EXS_FOREVER), 0);
	for (int i = 0; i < N; i++) {
		CHECK(exs_future_is_done(f[i]) && !exs_future_error(f[i]));
		cancelled += exs_future_state(f[i]) == EXS_STATE_CANCELLED;
		exs_future_unref(f[i]);
	}
	CHECK_INT(cancelled, N - 2); /* the two that ran have ended as they would */
	CHECK_INT(c.entered, 2);
	CHECK_INT(exs_shutdown(c.ex, EXS_DRAIN, EXS_FOREVER), 0);
	exs_executor_free(c.ex);
}

static void expect_refused(struct closing *c)
{
	expect_code(more_submit(c->ex, await_go, c), &exs_domain_exs, EXS_ESHUTDOWN);
	atomic_fetch_add(&c->refused, 1);
}

static void submit_more(exs_future *f, void *closing)
{
	expect_refused(closing);
	go(f, closing);
}

TEST(more_cancel_on_shutdown, submit_during_shutdown)
{
	exs_future *f[3];
	struct closing c;

	closing_init(&c);
	for (int i = 0; i < 3; i++)
		f[i] = more_submit(c.ex, await_go, &c);
	wait_count(&c.entered, 2);
	CHECK_INT(exs_future_on_done(f[2], submit_more, &c, NULL), EXS_OK);
	CHECK_INT(exs_shutdown(c.ex, EXS_DRAIN, EXS_FOREVER), 0);
	CHECK_INT(c.refused, 1);
	for (int i = 0; i < 2; i++)
		expect_value(f[i], NULL);
	expect_cancelled(f[2], EXS_CAUSE_SHUTDOWN);
	exs_executor_free(c.ex);
}

static exs_result submit_more_within(void *closing, exs_context *ctx)
{
	exs_result r = await_go(closing, ctx);

	expect_refused(closing);
	return r;
}

TEST(more_cancel_on_shutdown, submit_during_shutdown_no_deadlock)
{
	exs_future *f[3];
	struct closing c;

	closing_init(&c);
	for (int i = 0; i < 3; i++)
		f[i] = more_submit(c.ex, submit_more_within, &c);
	wait_count(&c.entered, 2);
	CHECK_INT(exs_future_on_done(f[2], go, &c, NULL),
		  EXS_OK); /* lets the tasks go on once the shutdown has begun */
	CHECK_INT(exs_shutdown(c.ex, EXS_DRAIN, EXS_FOREVER), 0);
	CHECK_INT(c.refused, 2);
	for (int i = 0; i < 2; i++)
		expect_value(f[i], NULL);
	expect_cancelled(f[2], EXS_CAUSE_SHUTDOWN);
	exs_executor_free(c.ex);
}
