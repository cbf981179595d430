/* The inline executor: here and now, nested, in constant stack, reachable while it runs. */
#include "support.h"

TEST(inline, runs_in_the_submitting_thread)
{
	exs_executor *ex = exs_inline();
	struct job job;
	int threads = harness_threads();

	job_init(&job);
	exs_future *f = job_submit(ex, &job);
	CHECK(exs_future_is_done(f));
	CHECK(pthread_equal(job.thread, pthread_self()));
	CHECK_INT(harness_threads(), threads);
	CHECK_INT(job.freed, 1);
	expect_value(f, &job);
	exs_executor_free(ex);
	job_fini(&job);
}

struct nested {
	exs_executor *ex;
	unsigned depth;
};

static exs_result nest(void *arg, exs_context *ctx)
{
	struct nested *n = arg, deeper = {n->ex, n->depth - 1};

	(void)ctx;
	if (n->depth == 0)
		return exs_ok(n, NULL);
	CHECK_INT(exs_executor_pending(n->ex), 101 - n->depth);
	exs_future *f = exs_submit(n->ex, nest, &deeper);
	CHECK(exs_future_is_done(f));
	expect_value(f, &deeper);
	return exs_ok(n, NULL);
}

TEST(inline, nested_submits_on_the_same_executor)
{
	struct nested n = {exs_inline(), 100};

	expect_value(exs_submit(n.ex, nest, &n), &n);
	exs_executor_free(n.ex);
}

struct often {
	unsigned n;
	char *stack; /* of the first start */
	exs_error *error;
};

static exs_result fail_often(void *arg, exs_context *ctx)
{
	struct often *often = arg;
	char *here = __builtin_frame_address(0);

	(void)ctx;
	if (!often->stack)
		often->stack = here;
	CHECK(here > often->stack - 4096 && here < often->stack + 4096);
	return ++often->n < 1000000 ? exs_fail(exs_error_ref(often->error)) : exs_ok(often, NULL);
}

/* A loop, not a recursion. */
TEST(inline, a_million_retries_in_constant_stack)
{
	exs_retry_options options = {.max_attempts = EXS_UNLIMITED, .sleep = EXS_NONE};
	exs_executor *ex = exs_with_retry(exs_inline(), &options);
	struct often often = {.error = exs_error_new(&test_domain, 1, "again")};

	expect_value(exs_submit(ex, fail_often, &often), &often);
	CHECK_INT(often.n, 1000000);
	exs_executor_free(ex);
	exs_error_unref(often.error);
}

struct runner {
	exs_executor *ex;
	struct job job;
	exs_future *f;
	pthread_t thread;
};

static void *run_inline(void *arg)
{
	struct runner *r = arg;

	r->f = job_submit(r->ex, &r->job);
	return NULL;
}

static void runner_start(struct runner *r, exs_executor *ex, bool polite)
{
	r->ex = ex;
	job_init(&r->job);
	r->job.gated = true;
	r->job.polite = polite;
	r->thread = thread_start(run_inline, r);
	sem_take(&r->job.entered);
}

/* Several threads run tasks of one inline executor at a time; shutdown reaches them all. */
TEST(inline, shutdown_stops_what_runs)
{
	exs_executor *ex = exs_inline();
	struct runner r[3];

	for (int i = 0; i < 3; i++)
		runner_start(&r[i], ex, true);
	CHECK_INT(exs_executor_pending(ex), 3);
	CHECK_INT(exs_shutdown(ex, EXS_CANCEL_ALL, EXS_FOREVER), 0);
	for (int i = 0; i < 3; i++) {
		thread_join(r[i].thread);
		expect_cancelled(r[i].f, EXS_CAUSE_SHUTDOWN);
		CHECK_INT(r[i].job.cause, EXS_CAUSE_SHUTDOWN);
		job_fini(&r[i].job);
	}
	exs_executor_free(ex);
}

TEST(inline, shutdown_without_time_fails_what_runs)
{
	exs_executor *ex = exs_inline();
	struct runner r;

	runner_start(&r, ex, false);
	CHECK_INT(exs_shutdown(ex, EXS_DRAIN, 0), 1);
	CHECK_INT(r.job.ends, 0);
	sem_post(&r.job.open);
	thread_join(r.thread);
	expect_code(r.f, &exs_domain_exs, EXS_ESHUTDOWN);
	exs_executor_free(ex);
	job_fini(&r.job); /* the late value was destroyed */
}

struct advancer {
	exs_clock *clock;
	double seconds;
};

static void *advance_clock(void *arg)
{
	struct advancer *a = arg;

	advance(a->clock, a->seconds);
	return NULL;
}

/* The second attempt runs on the thread that advances the clock, where a cancel reaches it. */
TEST(inline, cancel_of_a_running_retry)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_retry(exs_with_clock(exs_inline(), clock), NULL);
	struct advancer a = {clock, 1};
	struct job job;

	job_init(&job);
	job.failures = ALWAYS;
	job.error = exs_error_new(&test_domain, 1, "no");
	exs_future *f = job_submit(ex, &job);
	job.gated = true;
	pthread_t thread = thread_start(advance_clock, &a);
	sem_take(&job.entered);
	CHECK_INT(exs_future_state(f), EXS_STATE_RUNNING);
	CHECK_INT(exs_future_cancel(f), EXS_STOP_REQUESTED);
	sem_post(&job.open);
	thread_join(thread);
	CHECK_INT(exs_clock_armed(clock), 0); /* no third */
	expect_error(f, job.error);
	CHECK_INT(job.starts, 2);
	CHECK_INT(job.stops, 1);
	exs_executor_free(ex);
	exs_error_unref(job.error);
	exs_clock_unref(clock);
	job_fini(&job);
}

TEST(inline, describes_itself)
{
	exs_executor *ex = exs_with_name(exs_inline(), "here");
	char text[32];

	exs_describe(ex, text, sizeof(text));
	CHECK_STR(text, "inline");
	CHECK_STR(exs_executor_name(ex), "here");
	exs_executor_free(ex);
}
