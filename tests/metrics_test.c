/* Metrics: every counter over every executor that moves it, and gauges that go back to 0. A test's executors have its name: the
   series of the process only grow. */
#include "scrape.h"
#include "support.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK_METRIC(value, metric, executor, type)                                                                    \
	check_metric(__LINE__, value, metric, executor, type, "") /* as CHECK_INT */

static void check_metric(int line, double value, const char *name, const char *executor, const char *type,
			 const char *task)
{
	double is = metric_of_task(name, executor, type, task);

	if (is == value || (isnan(is) && isnan(value)))
		return;
	fprintf(stderr, "executors_%s of %s, %s, '%s' is %g, not %g\n", name, executor, type, task, is, value);
	harness_fail(__FILE__, line, "a metric");
}

static exs_executor *named_pool(const char *name, unsigned workers)
{
	exs_metrics_enable(true);
	return exs_with_name(exs_thread_pool(workers), name);
}

static exs_executor *inline_on(exs_clock *clock, const char *name)
{
	exs_metrics_enable(true);
	return exs_with_name(exs_with_clock(exs_inline(), clock), name);
}

static exs_future *submit_named(exs_executor *ex, struct job *job, const char *name)
{
	exs_task task = {.fn = job_run, .arg = job, .arg_free = job_free_arg, .name = name};
	exs_future *f = exs_submit_with(ex, &task);

	CHECK(f);
	return f;
}

static bool is_quiet(void *ex)
{
	return !exs_executor_pending(ex);
}

/* --- switched on and off --- */

TEST(metrics, off_count_nothing)
{
	exs_executor *ex = exs_with_name(exs_inline(), "off");
	struct job job;

	exs_metrics_enable(false);
	job_init(&job);
	expect_value(job_submit(ex, &job), &job);
	CHECK_METRIC(NAN, "exec_total", "off", "inline");
	CHECK_METRIC(NAN, "future_total", "off", "inline");
	exs_executor_free(ex);
	job_fini(&job);
	CHECK_METRIC(NAN, "exec_total", "off", "inline");
}

/* What was made before appears with its first call; a call that was submitted before is never counted. */
TEST(metrics, switched_on_late)
{
	exs_executor *ex = exs_with_name(exs_thread_pool(1), "late");
	struct job before, after;

	exs_metrics_enable(false);
	job_init(&before);
	job_init(&after);
	before.gated = true;
	exs_future *f = job_submit(ex, &before);
	sem_take(&before.entered);
	exs_metrics_enable(true);
	CHECK_METRIC(NAN, "exec_total", "late", "thread_pool");
	exs_future *g = job_submit(ex, &after);
	CHECK_METRIC(1, "exec_total", "late", "thread_pool");
	CHECK_METRIC(1, "future_inprogress", "late", "thread_pool");
	sem_post(&before.open);
	expect_value(f, &before);
	expect_value(g, &after);
	CHECK_METRIC(1, "future_total", "late", "thread_pool");
	CHECK_METRIC(0, "future_inprogress", "late", "thread_pool");
	exs_executor_free(ex);
	CHECK_METRIC(0, "exec_inprogress", "late", "thread_pool");
	job_fini(&before);
	job_fini(&after);
}

/* A call that was counted when it began is counted to its end. */
TEST(metrics, switched_off_early)
{
	exs_executor *ex = named_pool("early", 1);
	struct job job, other;

	job_init(&job);
	job_init(&other);
	job.gated = true;
	exs_future *f = job_submit(ex, &job);
	sem_take(&job.entered);
	exs_metrics_enable(false);
	exs_future *g = job_submit(ex, &other);
	CHECK_METRIC(1, "future_inprogress", "early", "thread_pool");
	sem_post(&job.open);
	expect_value(f, &job);
	expect_value(g, &other);
	CHECK_METRIC(1, "future_total", "early", "thread_pool");
	CHECK_METRIC(0, "future_inprogress", "early", "thread_pool");
	exs_executor_free(ex);
	CHECK_METRIC(0, "exec_inprogress", "early", "thread_pool");
	job_fini(&job);
	job_fini(&other);
}

/* --- executors --- */

TEST(metrics, executors_made_and_shut_down)
{
	exs_executor *pool = named_pool("exec", 1);
	exs_executor *ex = exs_with_map(exs_borrow(pool), NULL, NULL, NULL, NULL);

	CHECK_METRIC(1, "exec_total", "exec", "thread_pool");
	CHECK_METRIC(1, "exec_inprogress", "exec", "borrow");
	CHECK_METRIC(1, "exec_inprogress", "exec", "map");
	exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER);
	CHECK_METRIC(0, "exec_inprogress", "exec", "map");
	CHECK_METRIC(0, "exec_inprogress", "exec", "borrow");
	CHECK_METRIC(1, "exec_inprogress", "exec", "thread_pool"); /* is not the chain's */
	exs_executor_free(ex);
	exs_executor_free(pool);
	CHECK_METRIC(0, "exec_inprogress", "exec", "map");
	CHECK_METRIC(0, "exec_inprogress", "exec", "thread_pool");
	CHECK_METRIC(1, "exec_total", "exec", "map");
	CHECK_METRIC(NAN, "exec_total", "", "hidden"); /* relays, and what holds the clock */
}

/* A name that comes after a look at the metrics. */
TEST(metrics, named_late)
{
	struct job job;

	exs_metrics_enable(true);
	exs_executor *ex = exs_with_name(exs_inline(), "first name");
	CHECK_METRIC(1, "exec_inprogress", "first name", "inline");
	exs_with_name(ex, "second name");
	CHECK_METRIC(0, "exec_inprogress", "first name", "inline");
	CHECK_METRIC(1, "exec_inprogress", "second name", "inline");
	job_init(&job);
	expect_value(job_submit(ex, &job), &job);
	CHECK_METRIC(1, "future_total", "second name", "inline");
	exs_executor_free(ex);
	CHECK_METRIC(0, "exec_inprogress", "second name", "inline");
	job_fini(&job);
}

/* All with the same name and type are one series, which stays when they are gone. */
TEST(metrics, the_same_name_is_one_series)
{
	for (int i = 0; i < 3; i++) {
		exs_executor *a = named_pool("same", 1), *b = named_pool("same", 1);
		struct job jobs[2];
		job_init(&jobs[0]);
		job_init(&jobs[1]);
		expect_value(job_submit(a, &jobs[0]), &jobs[0]);
		expect_value(job_submit(b, &jobs[1]), &jobs[1]);
		CHECK_METRIC(2 * i + 2, "exec_total", "same", "thread_pool");
		CHECK_METRIC(2, "exec_inprogress", "same", "thread_pool");
		CHECK_METRIC(2 * i + 2, "future_total", "same", "thread_pool");
		exs_executor_free(a);
		exs_executor_free(b);
		CHECK_METRIC(2 * i + 2, "future_total", "same", "thread_pool");
		CHECK_METRIC(0, "exec_inprogress", "same", "thread_pool");
		job_fini(&jobs[0]);
		job_fini(&jobs[1]);
	}
}

/* --- calls --- */

TEST(metrics, calls_by_their_outcome)
{
	exs_executor *ex = exs_with_map(named_pool("outcome", 1), NULL, NULL, NULL, NULL);
	exs_error *error = exs_error_new(&test_domain, 1, "no");
	struct job jobs[4];

	for (int i = 0; i < 4; i++)
		job_init(&jobs[i]);
	jobs[1].error = error;
	jobs[1].failures = ALWAYS;
	jobs[2].cancels = true;
	jobs[3].gated = true;
	expect_value(job_submit(ex, &jobs[0]), &jobs[0]);
	expect_error(job_submit(ex, &jobs[1]), error);
	expect_cancelled(job_submit(ex, &jobs[2]), EXS_CAUSE_NONE);
	exs_future *f = job_submit(ex, &jobs[3]);
	sem_take(&jobs[3].entered);
	for (int i = 0; i < 2; i++) {
		const char *type = i ? "map" : "thread_pool";
		CHECK_METRIC(4, "future_total", "outcome", type);
		CHECK_METRIC(1, "future_error_total", "outcome", type);
		CHECK_METRIC(1, "future_cancel_total", "outcome", type);
		CHECK_METRIC(1, "future_inprogress", "outcome", type);
		CHECK_METRIC(NAN, "shutdown_cancel_total", "outcome", type);
		CHECK_METRIC(NAN, "retry_total", "outcome", type);
	}
	sem_post(&jobs[3].open);
	expect_value(f, &jobs[3]);
	CHECK_METRIC(0, "future_inprogress", "outcome", "map");
	CHECK_METRIC(0, "future_inprogress", "outcome", "thread_pool");
	exs_executor_free(ex);
	for (int i = 0; i < 4; i++)
		job_fini(&jobs[i]);
	exs_error_unref(error);
}

/* Each layer counts what it sees: the one below fails, the map makes it a value. */
static exs_result forgive(void *ctx, exs_result in)
{
	(void)ctx;
	exs_result_clear(&in);
	return exs_ok(NULL, NULL);
}

TEST(metrics, each_layer_counts_what_it_sees)
{
	exs_executor *ex = exs_with_map(named_pool("layers", 1), NULL, forgive, NULL, NULL);
	exs_error *error = exs_error_new(&test_domain, 1, "no");
	struct job job;

	job_init(&job);
	job.error = error;
	job.failures = ALWAYS;
	expect_value(job_submit(ex, &job), NULL);
	CHECK_METRIC(1, "future_error_total", "layers", "thread_pool");
	CHECK_METRIC(0, "future_error_total", "layers", "map");
	exs_executor_free(ex);
	job_fini(&job);
	exs_error_unref(error);
}

TEST(metrics, refused_submits)
{
	exs_executor *ex = named_pool("refused", 1);
	struct job job;

	job_init(&job);
	exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER);
	expect_code(job_submit(ex, &job), &exs_domain_exs, EXS_ESHUTDOWN);
	expect_code(exs_submit(ex, NULL, NULL), &exs_domain_exs, EXS_ESHUTDOWN);
	CHECK_METRIC(2, "future_total", "refused", "thread_pool");
	CHECK_METRIC(2, "future_error_total", "refused", "thread_pool");
	CHECK_METRIC(0, "future_inprogress", "refused", "thread_pool");
	CHECK_METRIC(0, "exec_inprogress", "refused", "thread_pool");
	exs_executor_free(ex);
	job_fini(&job);
}

static void pass_time(struct job *job, exs_context *ctx)
{
	(void)ctx;
	advance(job->more, 2.5);
}

/* On the executor's clock, which is that of the layers above a pool. */
TEST(metrics, time_of_calls)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_map(inline_on(clock, "time"), NULL, NULL, NULL, NULL);
	struct job job;

	job_init(&job);
	job.inside = pass_time;
	job.more = clock;
	expect_value(job_submit(ex, &job), &job);
	CHECK_METRIC(2.5, "future_time_seconds_total", "time", "map");
	exs_executor_free(ex);
	exs_clock_unref(clock);
	job_fini(&job);
}

/* --- shutdown --- */

TEST(metrics, of_what_a_shutdown_cancels)
{
	exs_executor *ex = exs_with_cancel_on_shutdown(named_pool("closing", 1));
	struct job jobs[3];
	exs_future *f[3];

	for (int i = 0; i < 3; i++)
		job_init(&jobs[i]);
	jobs[0].gated = jobs[0].polite = true;
	f[0] = job_submit(ex, &jobs[0]);
	sem_take(&jobs[0].entered);
	f[1] = job_submit(ex, &jobs[1]);
	f[2] = job_submit(ex, &jobs[2]);
	CHECK_INT(exs_future_cancel(f[2]), EXS_CANCELLED);
	CHECK_METRIC(0, "shutdown_cancel_total", "closing", "cancel_on_shutdown");
	CHECK_INT(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER), 0);
	expect_cancelled(f[0], EXS_CAUSE_SHUTDOWN);
	expect_cancelled(f[1], EXS_CAUSE_SHUTDOWN);
	expect_cancelled(f[2], EXS_CAUSE_USER);
	CHECK_METRIC(2, "shutdown_cancel_total", "closing", "cancel_on_shutdown");
	CHECK_METRIC(3, "future_cancel_total", "closing", "cancel_on_shutdown");
	CHECK_METRIC(2, "shutdown_cancel_total", "closing", "thread_pool");
	CHECK_METRIC(0, "future_inprogress", "closing", "thread_pool");
	exs_executor_free(ex);
	for (int i = 0; i < 3; i++)
		job_fini(&jobs[i]);
}

/* Time is up: the future fails, the task runs on; when it has ended that is counted as an error. */
TEST(metrics, of_what_a_shutdown_fails)
{
	exs_executor *ex = named_pool("forced", 1);
	struct job job;

	job_init(&job);
	job.gated = true;
	exs_future *f = job_submit(ex, &job);
	sem_take(&job.entered);
	CHECK_INT(exs_shutdown(ex, EXS_DRAIN, 0), 1);
	CHECK_METRIC(1, "future_inprogress", "forced", "thread_pool");
	CHECK_METRIC(0, "exec_inprogress", "forced", "thread_pool");
	sem_post(&job.open);
	expect_code(f, &exs_domain_exs, EXS_ESHUTDOWN);
	wait_until(is_quiet, ex);
	CHECK_METRIC(0, "future_inprogress", "forced", "thread_pool");
	CHECK_METRIC(1, "future_error_total", "forced", "thread_pool");
	exs_executor_free(ex);
	job_fini(&job);
}

/* --- decorators --- */

TEST(metrics, of_retries)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_retry(inline_on(clock, "retries"), NULL);
	exs_error *error = exs_error_new(&test_domain, 1, "no");
	struct job job;

	job_init(&job);
	job.error = error;
	job.failures = ALWAYS;
	exs_future *f = job_submit(ex, &job);
	CHECK_METRIC(1, "retry_queue", "retries", "retry");
	CHECK_METRIC(0, "retry_total", "retries", "retry");
	advance(clock, 1);
	CHECK_METRIC(1, "retry_queue", "retries", "retry");
	CHECK_METRIC(1, "retry_total", "retries", "retry");
	CHECK_METRIC(1, "retry_delay_seconds_total", "retries", "retry");
	advance(clock, 2);
	expect_error(f, error);
	CHECK_METRIC(0, "retry_queue", "retries", "retry");
	CHECK_METRIC(2, "retry_total", "retries", "retry");
	CHECK_METRIC(3, "retry_delay_seconds_total", "retries", "retry");
	CHECK_METRIC(3, "future_total", "retries", "inline");
	CHECK_METRIC(3, "future_error_total", "retries", "inline");
	CHECK_METRIC(1, "future_total", "retries", "retry");
	CHECK_METRIC(1, "future_error_total", "retries", "retry");
	CHECK_METRIC(3, "future_time_seconds_total", "retries", "retry");
	exs_executor_free(ex);
	exs_clock_unref(clock);
	job_fini(&job);
	exs_error_unref(error);
}

/* What goes down below the one that retries is no retry. */
TEST(metrics, of_retries_below_layers)
{
	exs_retry_options options = {.sleep = EXS_NONE};
	exs_executor *ex = exs_with_map(inline_on(NULL, "below"), NULL, NULL, NULL, NULL);
	exs_error *error = exs_error_new(&test_domain, 1, "no");
	struct job job;

	ex = exs_with_retry(ex, &options);
	job_init(&job);
	job.error = error;
	job.failures = ALWAYS;
	expect_error(job_submit(ex, &job), error);
	CHECK_METRIC(2, "retry_total", "below", "retry");
	CHECK_METRIC(NAN, "retry_total", "below", "map");
	CHECK_METRIC(3, "future_total", "below", "map");
	exs_executor_free(ex);
	job_fini(&job);
	exs_error_unref(error);
}

/* Retried at once: no backoff, and none is counted. */
TEST(metrics, of_retries_at_once)
{
	exs_retry_options options = {.sleep = EXS_NONE, .max_attempts = 5};
	exs_executor *ex = exs_with_retry(inline_on(NULL, "at once"), &options);
	exs_error *error = exs_error_new(&test_domain, 1, "no");
	struct job job;

	job_init(&job);
	job.error = error;
	job.failures = 3;
	expect_value(job_submit(ex, &job), &job);
	CHECK_METRIC(3, "retry_total", "at once", "retry");
	CHECK(metric("retry_delay_seconds_total", "at once", "retry") < 1);
	exs_executor_free(ex);
	job_fini(&job);
	exs_error_unref(error);
}

/* A backoff that a cancel, or a shutdown, ends is no retry. */
TEST(metrics, backoffs_that_are_cancelled)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_retry(inline_on(clock, "backoff"), NULL);
	exs_error *error = exs_error_new(&test_domain, 1, "no");
	struct job jobs[2];
	exs_future *f[2];

	for (int i = 0; i < 2; i++) {
		job_init(&jobs[i]);
		jobs[i].error = error;
		jobs[i].failures = ALWAYS;
		f[i] = job_submit(ex, &jobs[i]);
	}
	CHECK_METRIC(2, "retry_queue", "backoff", "retry");
	CHECK_INT(exs_future_cancel(f[0]), EXS_CANCELLED);
	CHECK_METRIC(1, "retry_queue", "backoff", "retry");
	exs_executor_free(ex);
	expect_cancelled(f[0], EXS_CAUSE_USER);
	expect_cancelled(f[1], EXS_CAUSE_SHUTDOWN);
	CHECK_METRIC(0, "retry_queue", "backoff", "retry");
	CHECK_METRIC(0, "retry_total", "backoff", "retry");
	CHECK_METRIC(0, "future_inprogress", "backoff", "retry");
	CHECK_METRIC(2, "future_cancel_total", "backoff", "retry");
	exs_clock_unref(clock);
	job_fini(&jobs[0]);
	job_fini(&jobs[1]);
	exs_error_unref(error);
}

TEST(metrics, of_a_throttle)
{
	exs_executor *ex = exs_with_throttle(named_pool("line", 4), 1, NULL);
	struct job jobs[4];
	exs_future *f[4];

	for (int i = 0; i < 4; i++) {
		job_init(&jobs[i]);
		jobs[i].gated = true;
		f[i] = job_submit(ex, &jobs[i]);
	}
	sem_take(&jobs[0].entered);
	CHECK_METRIC(3, "throttle_queue", "line", "throttle");
	CHECK_METRIC(4, "future_inprogress", "line", "throttle");
	CHECK_METRIC(1, "future_inprogress", "line", "thread_pool");
	CHECK_INT(exs_future_cancel(f[2]), EXS_CANCELLED);
	CHECK_METRIC(2, "throttle_queue", "line", "throttle");
	sem_post(&jobs[0].open);
	sem_take(&jobs[1].entered);
	CHECK_METRIC(1, "throttle_queue", "line", "throttle");
	exs_shutdown(ex, EXS_CANCEL_QUEUED, 0);
	CHECK_METRIC(0, "throttle_queue", "line", "throttle");
	sem_post(&jobs[1].open);
	expect_value(f[0], &jobs[0]);
	expect_code(f[1], &exs_domain_exs, EXS_ESHUTDOWN);
	expect_cancelled(f[2], EXS_CAUSE_USER);
	expect_cancelled(f[3], EXS_CAUSE_SHUTDOWN);
	exs_executor_free(ex);
	CHECK_METRIC(NAN, "retry_queue", "line", "throttle");
	CHECK_METRIC(2, "future_total", "line", "thread_pool");
	CHECK_METRIC(4, "future_total", "line", "throttle");
	CHECK_METRIC(0, "future_inprogress", "line", "throttle");
	for (int i = 0; i < 4; i++)
		job_fini(&jobs[i]);
}

/* A polite one answers to the stop; an abandoned one runs on, below the timeout, until it ends. */
TEST(metrics, of_timeouts)
{
	for (int abandons = 0; abandons < 2; abandons++) {
		const char *name = abandons ? "abandons" : "waits";
		exs_clock *clock = exs_clock_manual_new();
		exs_executor *pool = exs_with_clock(named_pool(name, 1), clock);
		exs_executor *ex = exs_with_timeout_mode(pool, 10, abandons ? EXS_ABANDON : EXS_WAIT);
		struct job job, quick;
		job_init(&job);
		job_init(&quick);
		job.gated = true;
		job.polite = !abandons;
		expect_value(job_submit(ex, &quick), &quick);
		CHECK_METRIC(0, "timeout_total", name, "timeout");
		exs_future *f = job_submit(ex, &job);
		sem_take(&job.entered);
		advance(clock, 10);
		expect_code(f, &exs_domain_exs, EXS_ETIMEDOUT);
		CHECK_METRIC(1, "timeout_total", name, "timeout");
		CHECK_METRIC(1, "future_error_total", name, "timeout");
		CHECK_METRIC(0, "future_inprogress", name, "timeout");
		CHECK_METRIC(abandons, "future_inprogress", name, "thread_pool");
		if (abandons)
			sem_post(&job.open);
		exs_executor_free(ex);
		CHECK_METRIC(0, "future_inprogress", name, "thread_pool");
		CHECK_METRIC(2, "future_total", name, "thread_pool");
		exs_clock_unref(clock);
		job_fini(&job);
		job_fini(&quick);
	}
}

/* A task's own error of that code is none of the timeout's. */
TEST(metrics, a_timeout_below_is_not_counted_again)
{
	exs_error *error = exs_error_new(&exs_domain_exs, EXS_ETIMEDOUT, "mine");
	exs_executor *ex = exs_with_timeout(named_pool("mine", 1), 100);
	struct job job;

	job_init(&job);
	job.error = error;
	job.failures = ALWAYS;
	expect_error(job_submit(ex, &job), error);
	CHECK_METRIC(0, "timeout_total", "mine", "timeout");
	exs_executor_free(ex);
	job_fini(&job);
	exs_error_unref(error);
}

struct poll {
	atomic_uint polls;
	exs_clock *clock;
};

static exs_error *fail_first(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	struct poll *p = ctx;

	*delay = 0;
	advance(p->clock, 1.5);
	if (atomic_fetch_add(&p->polls, 1) == 0)
		return exs_error_new(&test_domain, 1, "search failed");
	return job_poll(NULL, d, n, delay);
}

TEST(metrics, of_polls)
{
	struct poll p = {.clock = exs_clock_manual_new()};
	exs_executor *ex = exs_with_poll(inline_on(p.clock, "polls"), fail_first, NULL, &p, NULL);
	struct job jobs[2];

	for (int i = 0; i < 2; i++) {
		job_init(&jobs[i]);
		exs_future *f = job_submit(ex, &jobs[i]);
		wait_done(f);
		exs_future_unref(f);
	}
	exs_executor_free(ex);
	CHECK_METRIC(atomic_load(&p.polls), "poll_total", "polls", "poll");
	CHECK_METRIC(1, "poll_error_total", "polls", "poll");
	CHECK_METRIC(1.5 * atomic_load(&p.polls), "poll_time_seconds_total", "polls", "poll");
	CHECK_METRIC(1, "future_error_total", "polls", "poll");
	CHECK_METRIC(2, "future_total", "polls", "inline");
	CHECK_METRIC(0, "future_inprogress", "polls", "poll");
	exs_clock_unref(p.clock);
	job_fini(&jobs[0]);
	job_fini(&jobs[1]);
}

/* Below a batch its calls are one. */
static exs_error *run_all(void *ctx, exs_batch_item **items, size_t n, exs_context *context)
{
	(void)ctx, (void)context;
	for (size_t i = 0; i < n; i++)
		exs_batch_run(items[i]);
	return NULL;
}

TEST(metrics, of_a_batch)
{
	exs_batch_options options = {.max = 3, .seconds = EXS_UNLIMITED};
	exs_executor *ex = exs_with_batch(named_pool("batch", 1), run_all, NULL, &options);
	struct job jobs[3];
	exs_future *f[3];

	for (int i = 0; i < 3; i++) {
		job_init(&jobs[i]);
		f[i] = submit_named(ex, &jobs[i], "item");
		check_metric(__LINE__, i + 1, "future_total", "batch", "batch", "item");
	}
	for (int i = 0; i < 3; i++)
		expect_value(f[i], &jobs[i]);
	exs_executor_free(ex);
	check_metric(__LINE__, 0, "future_inprogress", "batch", "batch", "item");
	CHECK_METRIC(1, "future_total", "batch", "thread_pool");
	CHECK_METRIC(0, "future_inprogress", "batch", "thread_pool");
	for (int i = 0; i < 3; i++)
		job_fini(&jobs[i]);
}

/* A queue's calls go on over the executors attached to it. */
TEST(metrics, of_a_queue)
{
	exs_metrics_enable(true);
	exs_executor *ex = exs_with_name(exs_queue(NULL), "queue");
	CHECK(exs_queue_attach(ex, named_pool("attached", 1), NULL));
	struct job job;

	job_init(&job);
	expect_value(job_submit(ex, &job), &job);
	exs_executor_free(ex);
	CHECK_METRIC(1, "future_total", "queue", "queue");
	CHECK_METRIC(1, "future_total", "attached", "thread_pool");
	CHECK_METRIC(0, "future_inprogress", "queue", "queue");
	CHECK_METRIC(0, "future_inprogress", "attached", "thread_pool");
	CHECK_METRIC(0, "exec_inprogress", "queue", "queue");
	CHECK_METRIC(0, "exec_inprogress", "attached", "thread_pool");
	job_fini(&job);
}

/* --- labels --- */

/* The task's name is a label where the call was submitted to, and there alone. */
TEST(metrics, names_of_tasks)
{
	exs_executor *ex = exs_with_map(named_pool("tasks", 1), NULL, NULL, NULL, NULL);
	exs_error *error = exs_error_new(&test_domain, 1, "no");
	struct job jobs[3];

	for (int i = 0; i < 3; i++)
		job_init(&jobs[i]);
	jobs[1].error = error;
	jobs[1].failures = ALWAYS;
	expect_value(submit_named(ex, &jobs[0], "publish"), &jobs[0]);
	expect_error(submit_named(ex, &jobs[1], "publish"), error);
	expect_value(submit_named(ex, &jobs[2], ""), &jobs[2]);
	check_metric(__LINE__, 2, "future_total", "tasks", "map", "publish");
	check_metric(__LINE__, 1, "future_error_total", "tasks", "map", "publish");
	check_metric(__LINE__, 0, "future_inprogress", "tasks", "map", "publish");
	CHECK_METRIC(1, "future_total", "tasks", "map");
	CHECK_METRIC(3, "future_total", "tasks", "thread_pool");
	check_metric(__LINE__, NAN, "future_total", "tasks", "thread_pool", "publish");
	check_metric(__LINE__, NAN, "exec_total", "tasks", "map", "publish");
	exs_executor_free(ex);
	for (int i = 0; i < 3; i++)
		job_fini(&jobs[i]);
	exs_error_unref(error);
}

static void expect_label(const char *name, const char *label)
{
	exs_executor *ex = inline_on(NULL, name);
	struct job job;

	job_init(&job);
	expect_value(submit_named(ex, &job, name), &job);
	check_metric(__LINE__, 1, "future_total", label, "inline", label);
	exs_executor_free(ex);
	job_fini(&job);
}

TEST(metrics, labels_are_escaped)
{
	expect_label("a \"quote\"", "a \\\"quote\\\"");
	expect_label("back\\slash", "back\\\\slash");
	expect_label("two\nlines", "two\\nlines");
	expect_label("\\\"\n", "\\\\\\\"\\n");
}

TEST(metrics, labels_are_utf_8)
{
	expect_label("stra\xc3\x9f"
		     "e",
		     "stra\xc3\x9f"
		     "e");
	expect_label("\xe2\x82\xac \xf0\x9f\x8e\xb2", "\xe2\x82\xac \xf0\x9f\x8e\xb2");
	expect_label("\xe0\xa0\x80 \xed\x9f\xbf \xf0\x90\x80\x80 \xf4\x8f\xbf\xbf",
		     "\xe0\xa0\x80 \xed\x9f\xbf \xf0\x90\x80\x80 \xf4\x8f\xbf\xbf");
	expect_label("latin \xe9t\xe9", "latin ?t?");
	expect_label("cut \xe2\x82", "cut ??");
	expect_label("surrogate \xed\xa0\x80", "surrogate ???");
	expect_label("overlong \xc0\x80 \xe0\x80\x80 \xf0\x80\x80\x80", "overlong ?? ??? ????");
	expect_label("beyond \xf4\x90\x80\x80 \xf8", "beyond ???? ?");
}

/* A name that is cut is cut between characters. */
TEST(metrics, long_names_are_cut)
{
	char name[101] = "";

	for (int i = 0; i < 50; i++)
		strcat(name, "\xc3\xa4");
	exs_executor *ex = inline_on(NULL, name);
	struct job job;
	job_init(&job);
	expect_value(submit_named(ex, &job, name), &job);
	exs_executor_free(ex);
	job_fini(&job);
	char executor[32] = "", task[64] = "";
	memcpy(executor, name, 30);
	memcpy(task, name, 62);
	strcat(executor, "?"); /* half of one was cut as the executor got its name */
	check_metric(__LINE__, 1, "future_total", executor, "inline", task);
}

/* --- written --- */

/* Whatever the locale's decimal point. */
TEST(metrics, written_in_any_locale)
{
	static const char *const commas[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "C.UTF-8"};
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_map(inline_on(clock, "locale"), NULL, NULL, NULL, NULL);
	struct scrape s = {NULL, 0, 0, 0};
	struct job job;

	for (size_t i = 0; i < 4 && !setlocale(LC_ALL, commas[i]); i++)
		;
	job_init(&job);
	job.inside = pass_time;
	job.more = clock;
	expect_value(job_submit(ex, &job), &job);
	CHECK(exs_metrics_write(scrape_add, &s));
	CHECK(strstr(s.text, "{executor=\"locale\",type=\"map\"} 2.500000000\n"));
	setlocale(LC_ALL, "C");
	scrape_end(&s);
	exs_executor_free(ex);
	exs_clock_unref(clock);
	job_fini(&job);
}

static bool refuse(void *calls, const char *text, size_t n)
{
	(void)text, (void)n;
	return ++*(unsigned *)calls < 2;
}

TEST(metrics, the_writer_may_stop)
{
	unsigned calls = 0;
	exs_executor *ex = inline_on(NULL, "stops");

	CHECK(!exs_metrics_write(refuse, &calls));
	CHECK_INT(calls, 2);
	CHECK(!exs_metrics_write(NULL, NULL));
	CHECK_STR(exs_error_message(exs_last_error()), "exs_metrics_write: fn is NULL");
	exs_executor_free(ex);
}

TEST(metrics, written_to_a_file)
{
	struct scrape s = {NULL, 0, 0, 0};
	FILE *file = tmpfile();
	char line[64];

	CHECK(file && exs_metrics_write(exs_write_file, file));
	CHECK(exs_metrics_write(scrape_add, &s));
	CHECK_INT(ftell(file), s.n);
	rewind(file);
	CHECK(fgets(line, sizeof(line), file));
	CHECK_STR(line, "# HELP executors_exec_total Executors made.\n");
	fclose(file);
	scrape_end(&s);
}

/* --- all at once --- */

enum { THREADS = 4, CALLS = 500 };

static exs_result count_run(void *count, exs_context *ctx)
{
	bool fails = atomic_fetch_add((atomic_uint *)count, 1) % 5 == 0;

	(void)ctx;
	return fails ? exs_fail(exs_error_new(&test_domain, 1, "no")) : exs_ok(NULL, NULL);
}

struct crowd {
	exs_executor *ex;
	atomic_uint runs;
	atomic_bool over;
};

static void *submit_many(void *arg)
{
	static const char *const names[] = {NULL, "one", "two"};
	struct crowd *c = arg;

	for (int i = 0; i < CALLS; i++) {
		exs_task task = {.fn = count_run, .arg = &c->runs, .name = names[i % 3]};
		exs_future *f = exs_submit_with(c->ex, &task);
		if (i % 7 == 0)
			exs_future_cancel(f);
		if (i % 3 == 0)
			wait_done(f);
		exs_future_unref(f);
	}
	return NULL;
}

static void *write_on(void *arg)
{
	struct crowd *c = arg;
	double last = 0;

	while (!atomic_load(&c->over)) {
		double now = metric("future_total", "crowd", "thread_pool");
		CHECK(isnan(now) || now >= last);
		CHECK(isnan(now) || metric("future_inprogress", "crowd", "thread_pool") >= 0);
		last = isnan(now) ? last : now;
	}
	return NULL;
}

TEST(metrics, written_while_calls_run)
{
	exs_retry_options options = {.sleep = EXS_NONE};
	struct crowd c = {.ex = exs_with_throttle(exs_with_retry(named_pool("crowd", 2), &options), 3, NULL)};
	pthread_t threads[THREADS], writer = thread_start(write_on, &c);
	double calls = 0;

	for (int i = 0; i < THREADS; i++)
		threads[i] = thread_start(submit_many, &c);
	for (int i = 0; i < THREADS; i++)
		thread_join(threads[i]);
	exs_executor_free(c.ex);
	atomic_store(&c.over, true);
	thread_join(writer);
	calls += metric_of_task("future_total", "crowd", "throttle", "");
	calls += metric_of_task("future_total", "crowd", "throttle", "one");
	calls += metric_of_task("future_total", "crowd", "throttle", "two");
	CHECK_INT(calls, THREADS * CALLS);
	CHECK_METRIC(metric("future_total", "crowd", "retry") + metric("retry_total", "crowd", "retry"), "future_total",
		     "crowd", "thread_pool");
	CHECK_METRIC(0, "future_inprogress", "crowd", "thread_pool");
	check_metric(__LINE__, 0, "future_inprogress", "crowd", "throttle", "one");
	CHECK_METRIC(0, "throttle_queue", "crowd", "throttle");
}
