/* Flat bind: the bound function answers the future that the call goes on with. */
#include "support.h"

#include <string.h>

/* The argument of a call: what its function answers. */
struct plan {
	exs_future *future; /* given away */
	exs_executor *on;   /* or: where the job is submitted */
	struct job *job;
	exs_error *error; /* of the first `failures` starts' futures */
	unsigned failures;
	bool none;
	atomic_uint starts;
	pthread_t thread;
	sem_t *inside, *open;
};

static exs_future *failed(exs_error *error)
{
	exs_future *f;
	exs_promise *p = exs_promise_new(&f);

	CHECK(p);
	exs_promise_complete(p, exs_fail(exs_error_ref(error)));
	exs_promise_free(p);
	return f;
}

static exs_future *carry_out(void *arg, exs_context *ctx)
{
	struct plan *plan = arg;

	plan->thread = pthread_self();
	CHECK_INT(exs_context_attempt(ctx), atomic_fetch_add(&plan->starts, 1) + 1);
	if (plan->inside)
		sem_post(plan->inside);
	if (plan->open)
		sem_take(plan->open);
	if (plan->none)
		return NULL;
	if (plan->starts <= plan->failures)
		return failed(plan->error);
	return plan->future ? plan->future : job_submit(plan->on, plan->job);
}

static exs_future *never(void *arg, exs_context *ctx)
{
	(void)arg, (void)ctx;
	CHECK(false);
	return NULL;
}

static exs_executor *bound(exs_executor *ex)
{
	exs_executor *x = exs_with_flat_bind(ex, carry_out);

	CHECK(x);
	return x;
}

TEST(flat_bind, goes_on_with_the_future)
{
	struct job job;
	struct plan plan = {.on = exs_thread_pool(1), .job = &job};
	exs_executor *ex = bound(exs_thread_pool(1));

	job_init(&job);
	expect_value(exs_submit_bound(ex, &plan), &job);
	CHECK(!pthread_equal(plan.thread, pthread_self())); /* it ran as a task */
	exs_executor_free(ex);
	exs_executor_free(plan.on);
	job_fini(&job);
}

TEST(flat_bind, other_functions_pass)
{
	exs_executor *ex = exs_with_flat_bind(exs_inline(), never);
	struct job job;

	job_init(&job);
	expect_value(job_submit(ex, &job), &job);
	exs_executor_free(ex);
	job_fini(&job);
}

TEST(flat_bind, error_of_the_future)
{
	exs_error *error = exs_error_new(&test_domain, 1, "no");
	struct plan plan = {.error = error, .failures = 1};
	exs_executor *ex = bound(exs_inline());

	expect_error(exs_submit_bound(ex, &plan), error);
	exs_executor_free(ex);
	exs_error_unref(error);
}

TEST(flat_bind, no_future)
{
	struct plan plan = {.none = true};
	exs_executor *ex = bound(exs_inline());
	exs_future *f = exs_submit_bound(ex, &plan);

	CHECK(strstr(exs_error_message(exs_future_error(f)), "flat_bind: fn answered no future"));
	expect_code(f, &exs_domain_exs, EXS_EINVAL);
	exs_executor_free(ex);
}

TEST(flat_bind, outermost_counts)
{
	struct job jobs[2];
	exs_executor *pool = exs_inline(), *ex = exs_with_bind(bound(exs_borrow(pool)), job_run);

	job_init(&jobs[0]);
	expect_value(exs_submit_bound(ex, &jobs[0]), &jobs[0]);
	exs_executor_free(ex);
	ex = bound(exs_with_timeout_mode(exs_with_flat_bind(exs_with_bind(exs_borrow(pool), job_run), never), 50,
					 EXS_ABANDON));
	job_init(&jobs[1]);
	struct plan plan = {.on = pool, .job = &jobs[1]};
	expect_value(exs_submit_bound(ex, &plan), &jobs[1]);
	exs_executor_free(ex);
	exs_executor_free(pool);
	job_free_arg(&jobs[0]);
	for (int i = 0; i < 2; i++)
		job_fini(&jobs[i]);
}

/* At each attempt again, over child calls and below them. */
TEST(flat_bind, under_retry_and_abandon)
{
	exs_retry_options options = {.sleep = EXS_NONE, .max_attempts = 4};

	for (int i = 0; i < 8; i++) {
		struct job job;
		struct plan plan = {
			.on = exs_inline(), .job = &job, .error = exs_error_new(&test_domain, 1, "no"), .failures = 3};
		exs_executor *ex = exs_thread_pool(1);
		job_init(&job);
		if (i & 4)
			ex = exs_with_timeout_mode(ex, 100, EXS_ABANDON);
		if (i & 1)
			ex = exs_with_timeout_mode(ex, 100, EXS_ABANDON);
		ex = bound(ex);
		if (i & 2)
			ex = exs_with_timeout_mode(ex, 100, EXS_ABANDON);
		ex = exs_with_retry(ex, &options);
		expect_value(exs_submit_bound(ex, &plan), &job);
		CHECK_INT(plan.starts, 4);
		exs_executor_free(ex);
		exs_executor_free(plan.on);
		exs_error_unref(plan.error);
		job_fini(&job);
	}
}

static exs_result instead(void *value, exs_result future)
{
	exs_result_clear(&future);
	return exs_ok(value, NULL);
}

/* A layer below sees the future as the value; what it puts in its place is the call's. */
TEST(flat_bind, future_replaced_below)
{
	struct job job;
	struct plan plan = {.on = exs_inline(), .job = &job};
	exs_executor *ex = bound(exs_with_map(exs_inline(), instead, NULL, &plan, NULL));

	job_init(&job);
	expect_value(exs_submit_bound(ex, &plan), &plan);
	exs_executor_free(ex);
	exs_executor_free(plan.on);
	job_fini(&job); /* it has run, nobody has its value */
	CHECK_INT(job.ends, 1);
}

/* A stop request that came while fn ran goes to what it answers. */
TEST(flat_bind, cancel_while_the_function_runs)
{
	sem_t inside, open;
	struct plan plan = {.inside = &inside, .open = &open};
	exs_promise *promise = exs_promise_new(&plan.future);
	exs_executor *ex = bound(exs_thread_pool(1));

	CHECK(!sem_init(&inside, 0, 0) && !sem_init(&open, 0, 0));
	exs_future *f = exs_submit_bound(ex, &plan);
	sem_take(&inside);
	CHECK_INT(exs_future_cancel(f), EXS_STOP_REQUESTED);
	sem_post(&open);
	expect_cancelled(f, EXS_CAUSE_USER);
	CHECK_INT(exs_promise_complete(promise, exs_ok(NULL, NULL)), EXS_EALREADY);
	exs_promise_free(promise);
	exs_executor_free(ex);
}

TEST(flat_bind, cancel_of_the_future)
{
	struct plan plan = {.none = false};
	exs_promise *promise = exs_promise_new(&plan.future);
	exs_executor *ex = bound(exs_inline());
	exs_future *f = exs_submit_bound(ex, &plan);

	CHECK_INT(exs_future_state(f), EXS_STATE_PENDING);
	CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
	expect_cancelled(f, EXS_CAUSE_USER);
	exs_promise_free(promise);
	exs_executor_free(ex);
}

/* The function is abandoned: its future, which comes late, is dropped, not lost. */
TEST(flat_bind, future_of_an_abandoned_function)
{
	sem_t inside, open;
	exs_clock *clock = exs_clock_manual_new();
	struct plan plan = {.inside = &inside, .open = &open};
	exs_promise *promise = exs_promise_new(&plan.future);
	exs_executor *ex = bound(exs_with_timeout_mode(exs_with_clock(exs_thread_pool(1), clock), 5, EXS_ABANDON));

	CHECK(!sem_init(&inside, 0, 0) && !sem_init(&open, 0, 0));
	exs_future *f = exs_submit_bound(ex, &plan);
	sem_take(&inside);
	wait_next(clock, 5);
	advance(clock, 5);
	expect_code(f, &exs_domain_exs, EXS_ETIMEDOUT);
	sem_post(&open);
	exs_executor_free(ex);
	exs_promise_free(promise);
	exs_clock_unref(clock);
}

TEST(flat_bind, misuse)
{
	CHECK(!exs_with_flat_bind(NULL, never));
	CHECK(!exs_with_flat_bind(exs_inline(), NULL));
	CHECK_STR(exs_error_message(exs_last_error()), "exs_with_flat_bind: fn is NULL");
}
