/* Map: the outcome is what the functions make of it. */
#include "support.h"

#include <errno.h>
#include <string.h>

/* What the functions do, and what becomes of them. */
struct mapper {
	exs_result (*make)(struct mapper *m, exs_result in); /* NULL: answer in itself */
	exs_result (*make_error)(struct mapper *m, exs_result in);
	exs_error *error; /* for these */
	void *more;
	atomic_uint calls, error_calls, frees;
	_Atomic pthread_t thread; /* of the last call */
};

static exs_result on_value(void *ctx, exs_result in)
{
	struct mapper *m = ctx;

	CHECK_INT(in.kind, EXS_KIND_VALUE);
	CHECK_INT(m->frees, 0);
	atomic_fetch_add(&m->calls, 1);
	atomic_store(&m->thread, pthread_self());
	return m->make ? m->make(m, in) : in;
}

static exs_result on_error(void *ctx, exs_result in)
{
	struct mapper *m = ctx;

	CHECK_INT(in.kind, EXS_KIND_ERROR);
	CHECK_INT(m->frees, 0);
	atomic_fetch_add(&m->error_calls, 1);
	atomic_store(&m->thread, pthread_self());
	return m->make_error ? m->make_error(m, in) : in;
}

static void mapper_free(void *ctx)
{
	CHECK_INT(atomic_fetch_add(&((struct mapper *)ctx)->frees, 1), 0);
}

static exs_executor *with_mapper(exs_executor *ex, struct mapper *m)
{
	exs_executor *x = exs_with_map(ex, on_value, on_error, m, mapper_free);

	CHECK(x);
	return x;
}

/* Submits a job that answers a value, or the error if it is not NULL. */
static exs_future *submit(exs_executor *ex, struct job *job, exs_error *error)
{
	job_init(job);
	job->failures = error ? ALWAYS : 0;
	job->error = error;
	return job_submit(ex, job);
}

static exs_result replace_value(struct mapper *m, exs_result in)
{
	exs_result_clear(&in);
	return exs_ok(m, NULL);
}

static exs_result to_error(struct mapper *m, exs_result in)
{
	exs_result_clear(&in);
	return exs_fail(exs_error_ref(m->error));
}

static exs_result to_cancelled(struct mapper *m, exs_result in)
{
	(void)m;
	exs_result_clear(&in);
	return exs_cancelled();
}

TEST(map, value_replaced)
{
	struct mapper m = {.make = replace_value};
	exs_executor *ex = with_mapper(exs_thread_pool(1), &m);
	struct job job;

	expect_value(submit(ex, &job, NULL), &m);
	exs_executor_free(ex);
	CHECK_INT(m.calls, 1);
	CHECK_INT(m.error_calls, 0);
	CHECK_INT(m.frees, 1);
	job_fini(&job); /* its value is destroyed */
}

TEST(map, value_kept_with_its_destructor)
{
	struct mapper m = {.make = NULL};
	exs_executor *ex = with_mapper(exs_inline(), &m);
	struct job job;

	exs_future *f = submit(ex, &job, NULL);
	CHECK_INT(job.values, 1);
	expect_value(f, &job);
	exs_executor_free(ex);
	job_fini(&job);
}

TEST(map, error_keeps_its_identity)
{
	struct mapper m = {.make = NULL};
	exs_error *error = exs_error_new(&test_domain, 1, "no");
	exs_executor *ex = exs_with_map(with_mapper(exs_inline(), &m), on_value, on_error, &m, NULL);
	struct job job;

	expect_error(submit(ex, &job, error), error);
	CHECK_INT(m.error_calls, 2);
	exs_executor_free(ex);
	exs_error_unref(error);
	job_fini(&job);
}

TEST(map, error_replaced_by_a_value_and_by_another_error)
{
	exs_error *error = exs_error_new(&test_domain, 1, "no");
	struct mapper m = {.make_error = replace_value, .error = exs_error_new(&test_domain, 2, "other")};
	exs_executor *ex = with_mapper(exs_inline(), &m);
	struct job jobs[2];

	expect_value(submit(ex, &jobs[0], error), &m);
	m.make_error = to_error;
	expect_error(submit(ex, &jobs[1], error), m.error);
	exs_executor_free(ex);
	exs_error_unref(error);
	exs_error_unref(m.error);
	for (int i = 0; i < 2; i++)
		job_fini(&jobs[i]);
}

TEST(map, error_fn_does_not_see_errors_of_fn)
{
	struct mapper m = {.make = to_error, .error = exs_error_new(&test_domain, 2, "of fn")};
	exs_executor *ex = with_mapper(exs_inline(), &m);
	struct job job;

	expect_error(submit(ex, &job, NULL), m.error);
	CHECK_INT(m.error_calls, 0);
	exs_executor_free(ex);
	exs_error_unref(m.error);
	job_fini(&job);
}

TEST(map, absent_functions_are_the_identity)
{
	exs_error *error = exs_error_new(&test_domain, 1, "no");
	struct mapper m = {.make = NULL};
	struct job jobs[6];

	for (int i = 0; i < 3; i++) {
		exs_executor *ex =
			exs_with_map(exs_inline(), i == 1 ? on_value : NULL, i == 2 ? on_error : NULL, &m, NULL);
		CHECK(ex);
		expect_value(submit(ex, &jobs[2 * i], NULL), &jobs[2 * i]);
		expect_error(submit(ex, &jobs[2 * i + 1], error), error);
		exs_executor_free(ex);
	}
	CHECK_INT(m.calls, 1);
	CHECK_INT(m.error_calls, 1);
	exs_error_unref(error);
	for (int i = 0; i < 6; i++)
		job_fini(&jobs[i]);
}

TEST(map, cancelled_passes)
{
	struct mapper m = {.make = NULL};
	exs_executor *ex = with_mapper(exs_inline(), &m);
	struct job job;

	job_init(&job);
	job.cancels = true;
	expect_cancelled(job_submit(ex, &job), EXS_CAUSE_NONE);
	CHECK_INT(m.calls + m.error_calls, 0);
	exs_executor_free(ex);
	job_fini(&job);
}

TEST(map, function_cancels)
{
	struct mapper m = {.make = to_cancelled};
	exs_executor *ex = with_mapper(exs_inline(), &m);
	struct job job;

	expect_cancelled(submit(ex, &job, NULL), EXS_CAUSE_NONE);
	exs_executor_free(ex);
	job_fini(&job);
}

static exs_result nonsense(struct mapper *m, exs_result in)
{
	exs_result r = exs_fail(NULL);

	exs_result_clear(&in);
	if (m->more)
		r.kind = (exs_kind)7;
	return r;
}

TEST(map, invalid_answer_is_an_error_that_names_the_function)
{
	struct mapper m = {.make = nonsense, .make_error = nonsense, .error = exs_error_new(&test_domain, 1, "no")};
	exs_executor *ex = with_mapper(exs_inline(), &m);
	struct job jobs[4];

	for (int i = 0; i < 4; i++) {
		m.more = i & 1 ? &m : NULL;
		exs_future *f = submit(ex, &jobs[i], i & 2 ? m.error : NULL);
		CHECK(strstr(exs_error_message(exs_future_error(f)),
			     i & 2 ? "map: error_fn answered" : "map: fn answered"));
		expect_code(f, &exs_domain_exs, EXS_EINVAL);
	}
	exs_executor_free(ex);
	exs_error_unref(m.error);
	for (int i = 0; i < 4; i++)
		job_fini(&jobs[i]);
}

TEST(map, runs_on_the_completing_thread)
{
	struct mapper m = {.make = NULL};
	exs_executor *ex = with_mapper(exs_thread_pool(1), &m);
	struct job job;

	expect_value(submit(ex, &job, NULL), &job);
	CHECK(pthread_equal(m.thread, job.thread));
	exs_executor_free(ex);
	job_fini(&job);
}

/* The inner one first; each sees what the one below made. */
static exs_result add(void *ctx, exs_result in)
{
	return exs_ok((void *)((uintptr_t)in.value * 10 + (uintptr_t)ctx), NULL);
}

static exs_result one(void *arg, exs_context *ctx)
{
	(void)arg, (void)ctx;
	return exs_ok((void *)1, NULL);
}

TEST(map, from_the_inside_out)
{
	exs_executor *ex = exs_inline();

	for (uintptr_t i = 2; i < 6; i++)
		ex = exs_with_map(ex, add, NULL, (void *)i, NULL);
	expect_value(exs_submit(ex, one, NULL), (void *)12345);
	exs_executor_free(ex);
}

/* Once for each attempt below a retry, once for all above it. */
TEST(map, around_a_retry_and_below_it)
{
	exs_retry_options options = {.sleep = EXS_NONE, .max_attempts = 3};
	exs_error *error = exs_error_new(&test_domain, 1, "no");
	struct mapper below = {.make = NULL}, above = {.make = NULL};
	exs_executor *ex = with_mapper(exs_with_retry(with_mapper(exs_inline(), &below), &options), &above);
	struct job job;

	expect_error(submit(ex, &job, error), error);
	CHECK_INT(below.error_calls, 3);
	CHECK_INT(above.error_calls, 1);
	exs_executor_free(ex);
	exs_error_unref(error);
	job_fini(&job);
}

TEST(map, error_of_a_timeout_below)
{
	exs_clock *clock = exs_clock_manual_new();
	struct mapper m = {.make_error = replace_value};
	exs_executor *ex = with_mapper(exs_with_timeout(exs_with_clock(exs_thread_pool(1), clock), 5), &m);
	struct job job;

	job_init(&job);
	job.gated = job.polite = true;
	exs_future *f = job_submit(ex, &job);
	sem_take(&job.entered);
	wait_next(clock, 5);
	advance(clock, 5);
	expect_value(f, &m); /* of ETIMEDOUT */
	CHECK_INT(m.error_calls, 1);
	exs_executor_free(ex);
	exs_clock_unref(clock);
	job_fini(&job);
}

/* --- cancel, shutdown --- */

struct gate {
	sem_t inside, open;
};

static exs_result at_gate(struct mapper *m, exs_result in)
{
	struct gate *gate = m->more;

	sem_post(&gate->inside);
	sem_take(&gate->open);
	return in;
}

static void gate_init(struct gate *gate)
{
	CHECK(!sem_init(&gate->inside, 0, 0) && !sem_init(&gate->open, 0, 0));
}

/* What fn answers stands. */
TEST(map, cancel_while_the_function_runs)
{
	struct gate gate;
	struct mapper m = {.make = at_gate, .more = &gate};
	exs_executor *ex = with_mapper(exs_thread_pool(1), &m);
	struct job job;

	gate_init(&gate);
	exs_future *f = submit(ex, &job, NULL);
	sem_take(&gate.inside);
	CHECK_INT(exs_future_cancel(f), EXS_STOP_REQUESTED);
	sem_post(&gate.open);
	expect_value(f, &job);
	exs_executor_free(ex);
	job_fini(&job);
}

TEST(map, cancel_goes_to_the_delegate)
{
	struct mapper m = {.make = NULL};
	exs_executor *ex = with_mapper(exs_thread_pool(1), &m);
	struct job jobs[2];

	for (int i = 0; i < 2; i++) {
		job_init(&jobs[i]);
		jobs[i].gated = jobs[i].polite = true;
	}
	exs_future *running = job_submit(ex, &jobs[0]), *queued = job_submit(ex, &jobs[1]);
	sem_take(&jobs[0].entered);
	CHECK_INT(exs_future_cancel(queued), EXS_CANCELLED);
	CHECK(exs_future_cancel(running) != EXS_TOO_LATE);
	expect_cancelled(running, EXS_CAUSE_USER);
	expect_cancelled(queued, EXS_CAUSE_USER);
	CHECK_INT(m.calls + m.error_calls, 0);
	CHECK_INT(jobs[1].starts, 0);
	exs_executor_free(ex);
	for (int i = 0; i < 2; i++)
		job_fini(&jobs[i]);
}

/* Shutdown waits for the function, and when time is up does not. */
TEST(map, shutdown_while_the_function_runs)
{
	for (int mode = EXS_DRAIN; mode <= EXS_CANCEL_ALL; mode++) {
		struct gate gate;
		struct mapper m = {.make = at_gate, .more = &gate};
		exs_executor *ex = with_mapper(exs_thread_pool(1), &m);
		struct job job;
		gate_init(&gate);
		exs_future *f = submit(ex, &job, NULL);
		sem_take(&gate.inside);
		CHECK_INT(exs_shutdown(ex, (exs_mode)mode, 0), 1);
		sem_post(&gate.open);
		CHECK_INT(exs_shutdown(ex, (exs_mode)mode, EXS_FOREVER), 0);
		expect_code(f, &exs_domain_exs, EXS_ESHUTDOWN);
		exs_executor_free(ex);
		CHECK_INT(m.frees, 1);
		job_fini(&job);
	}
}

static exs_result free_chain(struct mapper *m, exs_result in)
{
	exs_executor_free(m->more);
	return in;
}

TEST(map, freed_in_the_function)
{
	struct mapper m = {.make = free_chain};
	exs_executor *ex = with_mapper(exs_thread_pool(1), &m);
	struct job job;

	m.more = ex;
	expect_value(submit(ex, &job, NULL), &job);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	CHECK_INT(m.frees, 1);
	job_fini(&job);
}

/* --- misuse --- */

TEST(map, null_and_too_deep)
{
	struct mapper m = {.make = NULL};
	exs_executor *ex = exs_inline();
	unsigned n = 0;

	CHECK(!exs_with_map(NULL, on_value, NULL, &m, mapper_free));
	CHECK_INT(m.frees, 1);
	CHECK(!exs_with_map(NULL, on_value, NULL, &m, NULL));
	for (exs_executor *x; (x = exs_with_map(ex, NULL, NULL, NULL, NULL)); n++)
		ex = x;
	CHECK_INT(n, 1021);
	CHECK(exs_error_is(exs_last_error(), &exs_domain_exs, EXS_EINVAL));
}

TEST(map, described)
{
	char text[64];
	exs_executor *ex = exs_with_map(exs_inline(), NULL, NULL, NULL, NULL);

	exs_describe(ex, text, sizeof(text));
	CHECK_STR(text, "map > inline");
	exs_executor_free(ex);
}
