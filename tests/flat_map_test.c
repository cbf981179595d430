/* Flat map: the call goes on with the future that a function answered. */
#define _GNU_SOURCE
#include "support.h"

#include <sched.h>
#include <string.h>

/* What the functions answer. */
struct mapper {
	exs_future *(*make)(struct mapper *m, exs_result in);
	exs_executor *on; /* for these: where the job is submitted */
	struct job *job;
	exs_future *future;
	void *more;
	atomic_uint calls, error_calls, frees;
};

static exs_future *on_value(void *ctx, exs_result in)
{
	struct mapper *m = ctx;

	CHECK_INT(in.kind, EXS_KIND_VALUE);
	CHECK_INT(m->frees, 0);
	atomic_fetch_add(&m->calls, 1);
	return m->make(m, in);
}

static exs_future *on_error(void *ctx, exs_result in)
{
	struct mapper *m = ctx;

	CHECK_INT(in.kind, EXS_KIND_ERROR);
	CHECK_INT(m->frees, 0);
	atomic_fetch_add(&m->error_calls, 1);
	return m->make(m, in);
}

static void mapper_free(void *ctx)
{
	CHECK_INT(atomic_fetch_add(&((struct mapper *)ctx)->frees, 1), 0);
}

static exs_executor *with_mapper(exs_executor *ex, struct mapper *m)
{
	exs_executor *x = exs_with_flat_map(ex, on_value, on_error, m, mapper_free);

	CHECK(x);
	return x;
}

/* m->job on m->on. */
static exs_future *submit_job(struct mapper *m, exs_result in)
{
	exs_result_clear(&in);
	return job_submit(m->on, m->job);
}

/* m->future, given away. */
static exs_future *give_future(struct mapper *m, exs_result in)
{
	exs_result_clear(&in);
	return m->future;
}

static exs_future *submit(exs_executor *ex, struct job *job)
{
	job_init(job);
	return job_submit(ex, job);
}

static exs_future *submit_failing(exs_executor *ex, struct job *job, exs_error *error)
{
	job_init(job);
	job->failures = ALWAYS;
	job->error = error;
	return job_submit(ex, job);
}

/* A chain of flat_map over inline, whose function answers the future of a promise. */
struct by_promise {
	struct mapper m;
	exs_promise *promise;
	exs_executor *ex;
	exs_future *f;
	struct job job;
};

static void begin(struct by_promise *p, exs_executor *ex)
{
	*p = (struct by_promise){.m = {.make = give_future}};
	CHECK(p->promise = exs_promise_new(&p->m.future));
	p->ex = with_mapper(ex, &p->m);
	p->f = submit(p->ex, &p->job);
}

static void end(struct by_promise *p)
{
	exs_promise_free(p->promise);
	exs_executor_free(p->ex);
	CHECK_INT(p->m.frees, 1);
	job_fini(&p->job);
}

TEST(flat_map, goes_on_with_the_inner_future)
{
	long futures = harness_futures();
	struct job job, inner;
	struct mapper m = {.make = submit_job, .on = exs_thread_pool(1), .job = &inner};
	exs_executor *ex = with_mapper(exs_thread_pool(1), &m);

	job_init(&inner);
	expect_value(submit(ex, &job), &inner);
	CHECK_INT(m.calls, 1);
	CHECK_INT(m.error_calls, 0);
	exs_executor_free(ex);
	exs_executor_free(m.on);
	CHECK_INT(m.frees, 1);
	harness_wait_futures(futures);
	job_fini(&job);
	job_fini(&inner);
}

TEST(flat_map, inner_future_done_already)
{
	struct job job, inner;
	struct mapper m = {.make = submit_job, .on = exs_inline(), .job = &inner};
	exs_executor *ex = with_mapper(exs_inline(), &m);

	job_init(&inner);
	exs_future *f = submit(ex, &job);
	CHECK(exs_future_is_done(f));
	CHECK_INT(inner.values, 1); /* moved, with its destructor */
	expect_value(f, &inner);
	exs_executor_free(ex);
	exs_executor_free(m.on);
	job_fini(&job);
	job_fini(&inner);
}

TEST(flat_map, inner_error_keeps_its_identity_and_is_not_seen_by_error_fn)
{
	exs_error *error = exs_error_new(&test_domain, 1, "no");
	struct job jobs[2], inner[2];
	struct mapper m = {.make = submit_job};

	for (int i = 0; i < 2; i++) {
		m.on = i ? exs_thread_pool(1) : exs_inline();
		m.job = &inner[i];
		exs_executor *ex = exs_with_flat_map(exs_inline(), on_value, on_error, &m, NULL);
		job_init(&inner[i]);
		inner[i].failures = ALWAYS;
		inner[i].error = error;
		expect_error(submit(ex, &jobs[i]), error);
		exs_executor_free(ex);
		exs_executor_free(m.on);
	}
	CHECK_INT(m.calls, 2);
	CHECK_INT(m.error_calls, 0);
	exs_error_unref(error);
	for (int i = 0; i < 2; i++) {
		job_fini(&jobs[i]);
		job_fini(&inner[i]);
	}
}

TEST(flat_map, error_fn_answers_a_future)
{
	exs_error *error = exs_error_new(&test_domain, 1, "no");
	struct job job, inner;
	struct mapper m = {.make = submit_job, .on = exs_thread_pool(1), .job = &inner};
	exs_executor *ex = with_mapper(exs_inline(), &m);

	job_init(&inner);
	expect_value(submit_failing(ex, &job, error), &inner);
	CHECK_INT(m.error_calls, 1);
	exs_executor_free(ex);
	exs_executor_free(m.on);
	exs_error_unref(error);
	job_fini(&job);
	job_fini(&inner);
}

TEST(flat_map, absent_functions_are_the_identity)
{
	exs_error *error = exs_error_new(&test_domain, 1, "no");
	exs_executor *ex = exs_with_flat_map(exs_inline(), NULL, NULL, NULL, NULL);
	struct job jobs[3];

	expect_value(submit(ex, &jobs[0]), &jobs[0]);
	expect_error(submit_failing(ex, &jobs[1], error), error);
	job_init(&jobs[2]);
	jobs[2].cancels = true;
	expect_cancelled(job_submit(ex, &jobs[2]), EXS_CAUSE_NONE);
	exs_executor_free(ex);
	exs_error_unref(error);
	for (int i = 0; i < 3; i++)
		job_fini(&jobs[i]);
}

static exs_future *answer_none(struct mapper *m, exs_result in)
{
	exs_result_clear(&in);
	if (m->more)
		exs_set_last_error(&test_domain, 1, "%s", (const char *)m->more);
	return NULL;
}

TEST(flat_map, no_future_is_an_error_that_names_the_function)
{
	exs_error *error = exs_error_new(&test_domain, 1, "no");
	struct job jobs[3];
	struct mapper m = {.make = answer_none, .more = "the reason"};
	exs_executor *ex = exs_with_flat_map(exs_inline(), on_value, on_error, &m, NULL);

	for (int i = 0; i < 2; i++) {
		exs_future *f = i ? submit_failing(ex, &jobs[1], error) : submit(ex, &jobs[0]);
		const char *text = exs_error_message(exs_future_error(f));
		CHECK(strstr(text, i ? "flat_map: error_fn answered no future" : "flat_map: fn answered no future"));
		CHECK(strstr(text, ": the reason"));
		expect_code(f, &test_domain, 1);
	}
	exs_executor_free(ex);
	m.more = NULL; /* it was an older error's */
	ex = exs_with_flat_map(exs_inline(), on_value, NULL, &m, NULL);
	exs_future *f = submit(ex, &jobs[2]);
	CHECK_STR(exs_error_message(exs_future_error(f)), "flat_map: fn answered no future");
	expect_code(f, &exs_domain_exs, EXS_EINVAL);
	exs_executor_free(ex);
	exs_error_unref(error);
	for (int i = 0; i < 3; i++)
		job_fini(&jobs[i]);
}

/* --- the value and its owner --- */

static atomic_uint destroyed;

static void destroy(void *value)
{
	(void)value;
	atomic_fetch_add(&destroyed, 1);
}

TEST(flat_map, value_moves_to_the_call)
{
	struct by_promise p;

	atomic_store(&destroyed, 0);
	begin(&p, exs_inline());
	CHECK_INT(exs_future_state(p.f), EXS_STATE_PENDING);
	CHECK_INT(exs_promise_complete(p.promise, exs_ok(&p, destroy)), EXS_OK);
	CHECK(exs_future_is_done(p.f));
	CHECK_INT(destroyed, 0);
	expect_value(p.f, &p);
	CHECK_INT(destroyed, 1);
	end(&p);
}

/* A plain value and an error may be shared; a value with a destructor may not. */
TEST(flat_map, shared_inner_future)
{
	exs_error *error = exs_error_new(&test_domain, 1, "no");
	struct by_promise p;

	atomic_store(&destroyed, 0);
	for (int i = 0; i < 3; i++) {
		begin(&p, exs_inline());
		exs_future *shared = exs_future_ref(p.m.future);
		exs_result r = i == 0	? exs_ok(&p, NULL)
			       : i == 1 ? exs_fail(exs_error_ref(error))
					: exs_ok(&p, destroy);
		CHECK_INT(exs_promise_complete(p.promise, r), EXS_OK);
		if (i == 0)
			expect_value(p.f, &p);
		else if (i == 1)
			expect_error(p.f, error);
		else
			expect_code(p.f, &exs_domain_exs, EXS_EBUSY);
		CHECK(i == 1 ? exs_future_error(shared) == error : exs_future_value(shared) == &p);
		CHECK_INT(destroyed, 0);
		exs_future_unref(shared);
		end(&p);
	}
	CHECK_INT(destroyed, 1);
	exs_error_unref(error);
}

static void look_at_value(exs_future *f, void *seen)
{
	CHECK(exs_future_value(f) == seen);
	seen_call(f, seen);
}

/* Callbacks that were there before see the value; then it is moved. */
TEST(flat_map, callbacks_on_the_inner_future_come_first)
{
	struct by_promise p = {.m = {.make = give_future}};
	struct seen seen;

	seen_init(&seen);
	atomic_store(&destroyed, 0);
	CHECK(p.promise = exs_promise_new(&p.m.future));
	CHECK_INT(exs_future_on_done(p.m.future, look_at_value, &seen, NULL), EXS_OK);
	p.ex = with_mapper(exs_inline(), &p.m);
	p.f = submit(p.ex, &p.job);
	CHECK_INT(exs_promise_complete(p.promise, exs_ok(&seen, destroy)), EXS_OK);
	CHECK_INT(seen.calls, 1);
	expect_value(p.f, &seen);
	CHECK_INT(destroyed, 1);
	end(&p);
}

TEST(flat_map, broken_promise)
{
	struct by_promise p;

	begin(&p, exs_inline());
	exs_promise_free(p.promise);
	p.promise = NULL;
	expect_code(p.f, &exs_domain_exs, EXS_EBROKEN);
	end(&p);
}

static exs_future *own_future(struct mapper *m, exs_result in)
{
	exs_result_clear(&in);
	sem_take(m->more);
	return exs_future_ref(m->future);
}

TEST(flat_map, future_of_the_call_itself)
{
	sem_t ready;
	struct mapper m = {.make = own_future, .more = &ready};
	exs_executor *ex = with_mapper(exs_thread_pool(1), &m);
	struct job job;

	CHECK(!sem_init(&ready, 0, 0));
	m.future = submit(ex, &job);
	sem_post(&ready);
	expect_code(m.future, &exs_domain_exs, EXS_EDEADLK);
	exs_executor_free(ex);
	job_fini(&job);
}

/* --- cancel --- */

TEST(flat_map, cancel_reaches_a_pending_inner_future)
{
	struct by_promise p;

	begin(&p, exs_inline());
	exs_future *inner = exs_future_ref(p.m.future);
	CHECK_INT(exs_future_cancel(p.f), EXS_CANCELLED);
	expect_cancelled(inner, EXS_CAUSE_USER);
	CHECK_INT(exs_promise_complete(p.promise, exs_ok(NULL, NULL)), EXS_EALREADY);
	expect_cancelled(p.f, EXS_CAUSE_USER);
	end(&p);
}

/* It can only be asked to stop: the call stays, and what it answers counts. */
TEST(flat_map, cancel_of_a_running_inner_future)
{
	for (int i = 0; i < 3; i++) {
		struct by_promise p;
		begin(&p, exs_inline());
		CHECK(exs_promise_start(p.promise));
		CHECK_INT(exs_future_cancel(p.f), EXS_STOP_REQUESTED);
		CHECK_INT(exs_future_cancel(p.f), EXS_STOP_REQUESTED);
		CHECK(exs_promise_stop_requested(p.promise));
		CHECK(!exs_future_is_done(p.f));
		exs_result r = i == 0	? exs_ok(&p, NULL)
			       : i == 1 ? exs_fail(exs_error_new(&test_domain, 3, "no"))
					: exs_cancelled();
		CHECK_INT(exs_promise_complete(p.promise, r), EXS_OK);
		if (i == 0)
			expect_value(p.f, &p);
		else if (i == 1)
			expect_code(p.f, &test_domain, 3);
		else
			expect_cancelled(p.f, EXS_CAUSE_USER);
		end(&p);
	}
}

TEST(flat_map, inner_future_cancelled_by_others)
{
	struct by_promise p;

	begin(&p, exs_inline());
	exs_future *inner = exs_future_ref(p.m.future);
	CHECK_INT(exs_future_cancel(inner), EXS_CANCELLED);
	exs_future_unref(inner);
	expect_cancelled(p.f, EXS_CAUSE_USER); /* its cause */
	end(&p);
}

TEST(flat_map, cancel_while_the_delegate_runs)
{
	struct job job;
	struct mapper m = {.make = submit_job};
	exs_executor *ex = with_mapper(exs_thread_pool(1), &m);

	job_init(&job);
	job.gated = true;
	exs_future *f = job_submit(ex, &job);
	sem_take(&job.entered);
	CHECK_INT(exs_future_cancel(f), EXS_STOP_REQUESTED);
	sem_post(&job.open);
	expect_cancelled(f, EXS_CAUSE_USER);
	CHECK_INT(m.calls, 0); /* nothing further is started */
	exs_executor_free(ex);
	job_fini(&job);
}

/* An error stands, and error_fn is not asked for anything further. */
TEST(flat_map, cancel_while_the_delegate_fails)
{
	exs_error *error = exs_error_new(&test_domain, 1, "no");
	struct job job;
	struct mapper m = {.make = submit_job};
	exs_executor *ex = with_mapper(exs_thread_pool(1), &m);

	job_init(&job);
	job.gated = true;
	job.failures = ALWAYS;
	job.error = error;
	exs_future *f = job_submit(ex, &job);
	sem_take(&job.entered);
	CHECK_INT(exs_future_cancel(f), EXS_STOP_REQUESTED);
	sem_post(&job.open);
	expect_error(f, error);
	CHECK_INT(m.error_calls, 0);
	exs_executor_free(ex);
	exs_error_unref(error);
	job_fini(&job);
}

struct gate {
	sem_t inside, open;
};

static exs_future *at_gate(struct mapper *m, exs_result in)
{
	struct gate *gate = m->more;

	exs_result_clear(&in);
	sem_post(&gate->inside);
	sem_take(&gate->open);
	return m->future ? m->future : job_submit(m->on, m->job);
}

static void gate_init(struct gate *gate)
{
	CHECK(!sem_init(&gate->inside, 0, 0) && !sem_init(&gate->open, 0, 0));
}

/* The stop that came while fn ran is passed on to what it answers. */
TEST(flat_map, cancel_while_the_function_runs)
{
	struct gate gate;
	struct mapper m = {.make = at_gate, .more = &gate};
	exs_promise *promise = exs_promise_new(&m.future);
	exs_executor *ex = with_mapper(exs_thread_pool(1), &m);
	struct job job;

	gate_init(&gate);
	exs_future *f = submit(ex, &job);
	sem_take(&gate.inside);
	CHECK_INT(exs_future_cancel(f), EXS_STOP_REQUESTED);
	sem_post(&gate.open);
	expect_cancelled(f, EXS_CAUSE_USER);
	CHECK_INT(exs_promise_complete(promise, exs_ok(NULL, NULL)), EXS_EALREADY);
	exs_promise_free(promise);
	exs_executor_free(ex);
	job_fini(&job);
}

/* --- timeouts --- */

TEST(flat_map, timeout_above_of_a_pending_inner_future)
{
	for (int mode = EXS_WAIT; mode <= EXS_ABANDON; mode++) {
		exs_clock *clock = exs_clock_manual_new();
		struct mapper m = {.make = give_future};
		exs_promise *promise = exs_promise_new(&m.future);
		exs_executor *ex = with_mapper(exs_with_clock(exs_inline(), clock), &m);
		struct job job;
		ex = exs_with_timeout_mode(ex, 5, (exs_timeout_mode)mode);
		exs_future *inner = exs_future_ref(m.future), *f = submit(ex, &job);
		advance(clock, 5);
		expect_code(f, &exs_domain_exs, EXS_ETIMEDOUT);
		expect_cancelled(inner, EXS_CAUSE_TIMEOUT);
		exs_promise_free(promise);
		exs_executor_free(ex);
		exs_clock_unref(clock);
		job_fini(&job);
	}
}

TEST(flat_map, timeout_above_of_a_running_inner_future)
{
	for (int mode = EXS_WAIT; mode <= EXS_ABANDON; mode++) {
		exs_clock *clock = exs_clock_manual_new();
		struct mapper m = {.make = give_future};
		exs_promise *promise = exs_promise_new(&m.future);
		exs_executor *ex = with_mapper(exs_with_clock(exs_inline(), clock), &m);
		struct job job;
		CHECK(exs_promise_start(promise));
		ex = exs_with_timeout_mode(ex, 5, (exs_timeout_mode)mode);
		exs_future *f = submit(ex, &job);
		advance(clock, 5);
		CHECK(exs_promise_stop_requested(promise));
		CHECK_INT(exs_future_is_done(f), mode == EXS_ABANDON);
		exs_promise_complete(promise, exs_ok(&m, NULL));
		if (mode == EXS_WAIT)
			expect_value(f, &m); /* its own outcome stands */
		else
			expect_code(f, &exs_domain_exs, EXS_ETIMEDOUT);
		exs_promise_free(promise);
		exs_executor_free(ex);
		exs_clock_unref(clock);
		job_fini(&job);
	}
}

/* A user's cancel is refused; the timeout that comes while the cancel function runs is not. */
static exs_clock *the_clock;

static void time_passes(struct job *job)
{
	if (atomic_load(&job->told) == 1)
		advance(the_clock, 50);
}

static exs_executor *polled(exs_executor *ex)
{
	exs_poll_options options = {.interval = 1000};

	return exs_with_poll(ex, job_poll, job_cancel, NULL, &options);
}

TEST(flat_map, timeout_while_a_cancel_is_being_refused)
{
	struct job job, inner;
	struct mapper m = {.make = submit_job, .on = polled(exs_inline()), .job = &inner};

	the_clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_timeout(with_mapper(exs_with_clock(exs_inline(), the_clock), &m), 50);
	job_init(&inner);
	inner.held = inner.refuses = true;
	inner.when_told = time_passes;
	exs_future *f = submit(ex, &job);
	sem_take(&inner.in_set);
	exs_future_cancel(f);
	wait_done(f); /* at once: no second timeout, and nobody resolves it */
	CHECK(inner.told >= 1);
	exs_future_unref(f);
	exs_executor_free(ex);
	exs_executor_free(m.on);
	exs_clock_unref(the_clock);
	job_fini(&job);
	job_fini(&inner);
}

/* The same while fn runs, and the call has no future yet that could be told. */
TEST(flat_map, cancel_and_timeout_while_the_function_runs)
{
	exs_clock *clock = exs_clock_manual_new();
	struct gate gate;
	struct job job, inner;
	struct mapper m = {.make = at_gate, .more = &gate, .on = polled(exs_inline()), .job = &inner};
	exs_executor *ex = exs_with_timeout(with_mapper(exs_with_clock(exs_thread_pool(1), clock), &m), 50);

	gate_init(&gate);
	job_init(&inner);
	inner.held = inner.refuses = true;
	exs_future *f = submit(ex, &job);
	sem_take(&gate.inside);
	CHECK_INT(exs_future_cancel(f), EXS_STOP_REQUESTED);
	advance(clock, 50);
	sem_post(&gate.open);
	expect_cancelled(f, EXS_CAUSE_USER); /* who came first */
	exs_executor_free(ex);
	exs_executor_free(m.on);
	exs_clock_unref(clock);
	job_fini(&job);
	job_fini(&inner);
}

static exs_result fail(void *error, exs_context *ctx)
{
	(void)ctx;
	return exs_fail(exs_error_ref(error));
}

static exs_future *submit_failure(struct mapper *m, exs_result in)
{
	exs_result_clear(&in);
	return exs_submit(m->on, fail, m->more);
}

TEST(flat_map, inner_failure_is_retried_above)
{
	exs_retry_options options = {.sleep = EXS_NONE};
	exs_error *error = exs_error_new(&test_domain, 1, "no");
	struct mapper m = {.make = submit_failure, .on = exs_thread_pool(1), .more = error};
	exs_executor *ex = exs_with_retry(with_mapper(exs_inline(), &m), &options);
	struct job job;

	expect_error(submit(ex, &job), error);
	CHECK_INT(job.starts, 3);
	CHECK_INT(m.calls, 3);
	CHECK_INT(m.error_calls, 0);
	exs_executor_free(ex);
	exs_executor_free(m.on);
	exs_error_unref(error);
	job_fini(&job);
}

/* --- many at once --- */

static exs_executor *polled_together(exs_executor *ex, exs_cancel_many_fn *fn)
{
	exs_poll_options options = {.interval = 1000, .cancel_many = fn};

	return exs_with_poll(ex, job_poll, NULL, NULL, &options);
}

static atomic_uint requests, told;

static void count_cancelled(void *ctx, exs_descriptor **d, size_t n)
{
	(void)ctx, (void)d;
	atomic_fetch_add(&requests, 1);
	atomic_fetch_add(&told, (unsigned)n);
}

static exs_result answer_job(void *arg, exs_context *ctx)
{
	(void)ctx;
	return job_value(arg);
}

static exs_future *make_pending(struct mapper *m, exs_result in)
{
	struct job *job = in.value;
	exs_task task = {.fn = answer_job, .arg = job};

	exs_result_clear(&in);
	return exs_submit_with(m->on, &task);
}

/* Their inner futures come to the poll layer together. */
TEST(flat_map, cancelled_together)
{
	enum { N = 100 };
	struct job jobs[N];
	exs_future *f[N];
	struct mapper m = {.make = make_pending, .on = polled_together(exs_inline(), count_cancelled)};
	exs_executor *ex = with_mapper(exs_inline(), &m);

	for (int i = 0; i < N; i++) {
		job_init(&jobs[i]);
		jobs[i].held = true;
		f[i] = job_submit(ex, &jobs[i]);
	}
	CHECK_INT(exs_future_cancel_all(f, N), N);
	CHECK_INT(requests, 1);
	CHECK_INT(told, N);
	for (int i = 0; i < N; i++)
		expect_cancelled(f[i], EXS_CAUSE_USER);
	exs_executor_free(ex);
	exs_executor_free(m.on);
	for (int i = 0; i < N; i++)
		job_fini(&jobs[i]);
}

static void cancel_other(exs_future *f, void *other)
{
	(void)f;
	CHECK_INT(exs_future_cancel(other), EXS_CANCELLED);
	CHECK_INT(exs_future_state(other), EXS_STATE_CANCELLED);
}

/* The answer is right in a callback too, where the end of a call may be put off. */
TEST(flat_map, cancel_in_a_callback)
{
	struct by_promise p;
	exs_executor *ex = exs_thread_pool(1);
	struct job job;

	begin(&p, exs_inline());
	job_init(&job);
	job.gated = true;
	exs_future *f = job_submit(ex, &job);
	sem_take(&job.entered);
	CHECK_INT(exs_future_on_done(f, cancel_other, p.f, NULL), EXS_OK);
	sem_post(&job.open);
	exs_executor_free(ex); /* the callback has returned */
	expect_value(f, &job);
	expect_cancelled(p.f, EXS_CAUSE_USER);
	end(&p);
	job_fini(&job);
}

struct blocked {
	struct by_promise p;
	exs_executor *full;
	struct job running, queued, next;
	exs_future *f;
};

static void open_running(exs_future *f, void *job)
{
	(void)f;
	sem_post(&((struct job *)job)->open);
}

static void complete_and_submit(exs_future *f, void *arg)
{
	struct blocked *b = arg;

	(void)f;
	CHECK_INT(exs_promise_complete(b->p.promise, exs_ok(b, NULL)), EXS_OK);
	b->f = submit(b->full, &b->next);
}

/* A callback ends an inner future, which lets a call go; then it waits for room, which there is when that call is done. */
TEST(flat_map, submit_that_blocks_in_a_callback)
{
	exs_thread_pool_options options = {.workers = 1, .queue_limit = 1};
	struct blocked b = {.full = exs_thread_pool_with(&options)};
	exs_executor *pool = exs_thread_pool(1);
	struct job job;

	begin(&b.p, exs_inline());
	job_init(&b.running);
	job_init(&job);
	b.running.gated = job.gated = true;
	CHECK_INT(exs_future_on_done(b.p.f, open_running, &b.running, NULL), EXS_OK);
	exs_future *f[] = {job_submit(b.full, &b.running), NULL, job_submit(pool, &job)};
	sem_take(&b.running.entered);
	f[1] = submit(b.full, &b.queued);
	sem_take(&job.entered);
	CHECK_INT(exs_future_on_done(f[2], complete_and_submit, &b, NULL), EXS_OK);
	sem_post(&job.open);
	exs_executor_free(pool);
	expect_value(b.f, &b.next);
	for (int i = 0; i < 3; i++)
		exs_future_unref(f[i]);
	expect_value(b.p.f, &b);
	end(&b.p);
	exs_executor_free(b.full);
	job_fini(&b.running);
	job_fini(&b.queued);
	job_fini(&b.next);
	job_fini(&job);
}

/* --- shutdown --- */

TEST(flat_map, shutdown_of_a_pending_inner_future)
{
	for (int mode = EXS_CANCEL_QUEUED; mode <= EXS_CANCEL_ALL; mode++) {
		struct by_promise p;
		begin(&p, exs_inline());
		CHECK_INT(exs_shutdown(p.ex, (exs_mode)mode, EXS_FOREVER), 0);
		CHECK_INT(exs_promise_complete(p.promise, exs_ok(NULL, NULL)), EXS_EALREADY);
		expect_cancelled(p.f, EXS_CAUSE_SHUTDOWN);
		end(&p);
	}
}

/* It is asked to stop; its end is awaited, and its outcome counts. */
static void *complete_when_told(void *promise)
{
	while (!exs_promise_stop_requested(promise))
		sched_yield();
	exs_promise_complete(promise, exs_ok(promise, NULL));
	return NULL;
}

TEST(flat_map, shutdown_of_a_running_inner_future)
{
	for (int mode = EXS_CANCEL_QUEUED; mode <= EXS_CANCEL_ALL; mode++) {
		struct by_promise p;
		begin(&p, exs_inline());
		CHECK(exs_promise_start(p.promise));
		pthread_t thread = thread_start(complete_when_told, p.promise);
		CHECK_INT(exs_shutdown(p.ex, (exs_mode)mode, EXS_FOREVER), 0);
		thread_join(thread);
		expect_value(p.f, p.promise);
		end(&p);
	}
}

static atomic_bool drained;

static void *drain(void *ex)
{
	CHECK_INT(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER), 0);
	atomic_store(&drained, true);
	return NULL;
}

/* Is it refused by now? Then the shutdown has looked at what is there. */
static bool is_closed(exs_executor *ex)
{
	exs_future *f = exs_submit(ex, NULL, NULL);
	bool closed = exs_error_is(exs_future_error(f), &exs_domain_exs, EXS_ESHUTDOWN);

	exs_future_unref(f);
	return closed;
}

static void *freed(void *ex)
{
	exs_executor_free(ex);
	return NULL;
}

TEST(flat_map, drain_waits_for_the_inner_future)
{
	struct by_promise p;

	atomic_store(&drained, false);
	begin(&p, exs_inline());
	pthread_t thread = thread_start(drain, p.ex);
	while (!is_closed(p.ex))
		sched_yield();
	for (int i = 0; i < 1000; i++) /* one that does not wait would be through */
		sched_yield();
	CHECK(!atomic_load(&drained));
	CHECK_INT(exs_promise_complete(p.promise, exs_ok(&p, NULL)), EXS_OK);
	thread_join(thread);
	expect_value(p.f, &p);
	end(&p);
}

/* The future fails; the inner one is asked to stop, and free waits for it. */
TEST(flat_map, shutdown_whose_time_is_up)
{
	for (int mode = EXS_DRAIN; mode <= EXS_CANCEL_ALL; mode++) {
		struct by_promise p;
		atomic_store(&destroyed, 0);
		begin(&p, exs_inline());
		CHECK(exs_promise_start(p.promise));
		CHECK_INT(exs_shutdown(p.ex, (exs_mode)mode, 0), 1);
		expect_code(p.f, &exs_domain_exs, EXS_ESHUTDOWN);
		CHECK(exs_promise_stop_requested(p.promise));
		CHECK_INT(exs_executor_pending(p.ex), 1);
		pthread_t thread = thread_start(freed, p.ex);
		CHECK_INT(exs_promise_complete(p.promise, exs_ok(&p, destroy)), EXS_OK);
		thread_join(thread);
		CHECK_INT(destroyed, 1); /* late */
		p.ex = NULL;
		end(&p);
	}
}

/* The function runs while time is up: what it answers is asked to stop. */
TEST(flat_map, shutdown_whose_time_is_up_in_the_function)
{
	struct gate gate;
	struct mapper m = {.make = at_gate, .more = &gate};
	exs_promise *promise = exs_promise_new(&m.future);
	exs_executor *ex = with_mapper(exs_thread_pool(1), &m);
	struct job job;

	gate_init(&gate);
	exs_future *f = submit(ex, &job);
	sem_take(&gate.inside);
	CHECK_INT(exs_shutdown(ex, EXS_DRAIN, 0), 1);
	sem_post(&gate.open);
	CHECK_INT(exs_shutdown(ex, EXS_CANCEL_QUEUED, EXS_FOREVER), 0);
	expect_code(f, &exs_domain_exs, EXS_ESHUTDOWN);
	CHECK_INT(exs_promise_complete(promise, exs_ok(NULL, NULL)), EXS_EALREADY);
	exs_promise_free(promise);
	exs_executor_free(ex);
	job_fini(&job);
}

/* A value that comes after the shutdown has begun starts nothing further. */
TEST(flat_map, value_that_comes_after_the_sweep)
{
	struct mapper m = {.make = give_future};
	exs_executor *ex = with_mapper(exs_thread_pool(1), &m);
	struct job job;

	job_init(&job);
	job.gated = true;
	exs_future *f = job_submit(ex, &job);
	sem_take(&job.entered);
	CHECK_INT(exs_shutdown(ex, EXS_CANCEL_QUEUED, 0), 1);
	sem_post(&job.open);
	exs_executor_free(ex);
	CHECK_INT(m.calls, 0);
	expect_code(f, &exs_domain_exs, EXS_ESHUTDOWN);
	job_fini(&job);
}

TEST(flat_map, inner_executor_shut_down_first)
{
	struct job job, inner;
	struct mapper m = {.make = submit_job, .on = exs_thread_pool(1), .job = &inner};
	exs_executor *ex = with_mapper(exs_inline(), &m);

	job_init(&inner);
	exs_shutdown(m.on, EXS_CANCEL_ALL, EXS_FOREVER);
	expect_code(submit(ex, &job), &exs_domain_exs, EXS_ESHUTDOWN);
	exs_executor_free(m.on);
	exs_executor_free(ex);
	job_fini(&job);
	job_fini(&inner);
}

static exs_future *free_chain(struct mapper *m, exs_result in)
{
	exs_executor_free(m->more);
	return submit_job(m, in);
}

TEST(flat_map, freed_in_the_function)
{
	struct job job, inner;
	struct mapper m = {.make = free_chain, .on = exs_inline(), .job = &inner};
	exs_executor *ex = with_mapper(exs_thread_pool(1), &m);

	job_init(&inner);
	m.more = ex;
	expect_value(submit(ex, &job), &inner);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	CHECK_INT(m.frees, 1);
	exs_executor_free(m.on);
	job_fini(&job);
	job_fini(&inner);
}

/* --- in callbacks of the inner future, before which the call can't go on --- */

static void wait_for_call(exs_future *f, void *by_promise)
{
	struct by_promise *p = by_promise;

	(void)f;
	CHECK_INT(exs_future_wait(p->f, EXS_FOREVER), EXS_OK);
}

static void free_call(exs_future *f, void *by_promise)
{
	struct by_promise *p = by_promise;

	(void)f;
	exs_executor_free(p->ex);
	CHECK(exs_future_is_done(p->f));
	p->ex = NULL;
}

TEST(flat_map, callback_of_the_inner_future_waits_for_the_call)
{
	for (int i = 0; i < 2; i++) {
		struct by_promise p = {.m = {.make = give_future}};
		CHECK(p.promise = exs_promise_new(&p.m.future));
		CHECK_INT(exs_future_on_done(p.m.future, i & 1 ? free_call : wait_for_call, &p, NULL), EXS_OK);
		p.ex = with_mapper(exs_inline(), &p.m);
		p.f = submit(p.ex, &p.job);
		CHECK_INT(exs_promise_complete(p.promise, exs_ok(&p, NULL)), EXS_OK);
		expect_value(p.f, &p);
		end(&p);
	}
}

/* --- waiting --- */

static void wait_for_outer(struct job *job, exs_context *ctx)
{
	struct mapper *m = job->more;
	struct job outer;

	(void)ctx;
	job_init(&outer);
	expect_value(job_submit(m->more, &outer), m->job);
	job_fini(&outer);
}

/* The only worker waits for a call whose inner one is queued behind it: it runs that itself. */
TEST(flat_map, waiter_runs_the_inner_call)
{
	exs_thread_pool_options options = {.workers = 1, .max_spares = EXS_NONE};
	struct job job, inner;
	struct mapper m = {.make = submit_job, .on = exs_thread_pool_with(&options), .job = &inner};
	exs_executor *ex = with_mapper(exs_inline(), &m);

	job_init(&inner);
	job_init(&job);
	job.inside = wait_for_outer;
	job.more = &m;
	m.more = ex;
	expect_value(job_submit(m.on, &job), &job);
	CHECK(pthread_equal(inner.thread, job.thread));
	exs_executor_free(ex);
	exs_executor_free(m.on);
	job_fini(&job);
	job_fini(&inner);
}

/* And where none can start it, it is told. */
static void wait_in_vain(struct job *job, exs_context *ctx)
{
	struct mapper *m = job->more;

	(void)ctx;
	exs_future *f = submit(m->more, m->job);
	CHECK_INT(exs_future_wait(f, EXS_FOREVER), EXS_EDEADLK);
	exs_future_unref(f);
}

TEST(flat_map, waiter_that_would_wait_for_itself_is_told)
{
	exs_thread_pool_options options = {.workers = 1, .max_spares = EXS_NONE};
	exs_executor *pool = exs_thread_pool_with(&options);
	struct job job, outer;
	struct mapper m = {.make = give_future, .job = &outer};
	exs_executor *ex = with_mapper(exs_inline(), &m);

	job_init(&job);
	job.gated = true;
	job.inside = wait_in_vain;
	job.more = &m;
	m.more = ex;
	exs_future *f = job_submit(pool, &job);
	m.future = exs_future_ref(f); /* the outer call waits for the task that waits for it */
	sem_post(&job.open);
	wait_done(f);
	exs_future_unref(f);
	exs_executor_free(ex);
	exs_executor_free(pool);
	job_fini(&job);
	job_fini(&outer);
}

struct poller {
	struct mapper m;
	exs_executor *ex;
	struct job first, job, inner;
	sem_t waited;
};

static void wait_on_poll_thread(exs_future *f, void *arg)
{
	struct poller *p = arg;

	(void)f;
	exs_future *outer = submit(p->ex, &p->job);
	CHECK_INT(exs_future_wait(outer, EXS_FOREVER), EXS_EDEADLK);
	exs_future_cancel(outer);
	exs_future_unref(outer);
	sem_post(&p->waited);
}

/* On the poll thread, for a call whose inner one this thread would have to poll. */
TEST(flat_map, waiter_on_the_poll_thread_is_told)
{
	struct poller p = {.m = {.make = submit_job, .on = polled(exs_thread_pool(1)), .job = &p.inner}};

	CHECK(!sem_init(&p.waited, 0, 0));
	p.ex = with_mapper(exs_inline(), &p.m);
	job_init(&p.first);
	job_init(&p.inner);
	p.first.gated = true;
	p.inner.held = true;
	exs_future *f = job_submit(p.m.on, &p.first);
	CHECK_INT(exs_future_on_done(f, wait_on_poll_thread, &p, NULL), EXS_OK);
	sem_post(&p.first.open);
	sem_take(&p.waited);
	expect_value(f, &p.first);
	exs_executor_free(p.ex);
	exs_executor_free(p.m.on);
	job_fini(&p.first);
	job_fini(&p.job);
	job_fini(&p.inner);
}

/* --- races: the end of the inner future, a cancel, a timeout, a shutdown, all at once --- */

struct race {
	struct by_promise p;
	exs_clock *clock;
	bool tells; /* completes after a stop request only */
	pthread_barrier_t line;
};

static void *race_complete(void *race)
{
	struct race *r = race;

	pthread_barrier_wait(&r->line);
	while (r->tells && !exs_promise_stop_requested(r->p.promise))
		sched_yield();
	exs_promise_complete(r->p.promise, exs_ok(r, destroy));
	return NULL;
}

static void *race_cancel(void *race)
{
	struct race *r = race;

	pthread_barrier_wait(&r->line);
	exs_answer answer = exs_future_cancel(r->p.f);
	CHECK(answer != EXS_CANCELLED || exs_future_state(r->p.f) == EXS_STATE_CANCELLED);
	return NULL;
}

static void *race_time(void *race)
{
	struct race *r = race;

	pthread_barrier_wait(&r->line);
	advance(r->clock, 5);
	return NULL;
}

static void *race_shut(void *race)
{
	struct race *r = race;

	pthread_barrier_wait(&r->line);
	exs_shutdown(r->p.ex, EXS_CANCEL_QUEUED, 0);
	return NULL;
}

/* Whatever comes first: one outcome, and the value is destroyed once. */
static void race_once(unsigned n)
{
	void *(*const all[])(void *) = {race_complete, race_cancel, race_time, race_shut};
	struct race r = {.clock = exs_clock_manual_new(), .tells = n & 2, .p.m.make = give_future};
	pthread_t threads[4];

	atomic_store(&destroyed, 0);
	CHECK(!pthread_barrier_init(&r.line, NULL, 4));
	CHECK(r.p.promise = exs_promise_new(&r.p.m.future));
	if (n & 1)
		CHECK(exs_promise_start(r.p.promise));
	r.p.ex = with_mapper(exs_with_clock(exs_inline(), r.clock), &r.p.m);
	r.p.ex = exs_with_timeout_mode(r.p.ex, 5, n & 4 ? EXS_ABANDON : EXS_WAIT);
	r.p.f = submit(r.p.ex, &r.p.job);
	for (int i = 0; i < 4; i++)
		threads[i] = thread_start(all[i], &r);
	for (int i = 0; i < 4; i++)
		thread_join(threads[i]);
	exs_executor_free(r.p.ex);
	r.p.ex = NULL;
	CHECK(exs_future_is_done(r.p.f));
	exs_result result = exs_future_result(r.p.f);
	CHECK_INT(destroyed, result.kind != EXS_KIND_VALUE);
	exs_future_unref(r.p.f);
	CHECK_INT(destroyed, 1);
	end(&r.p);
	exs_clock_unref(r.clock);
	pthread_barrier_destroy(&r.line);
}

TEST(flat_map, races)
{
	for (unsigned long n = 0; n < harness_rounds(400); n++)
		race_once((unsigned)n);
}

/* --- chains --- */

static exs_result add_one(void *n, exs_context *ctx)
{
	(void)ctx;
	return exs_ok((char *)n + 1, NULL);
}

static exs_future *one_more(void *ctx, exs_result in)
{
	return exs_submit(ctx, add_one, in.value);
}

/* In one call, and in the inner calls of each of its layers. */
TEST(flat_map, nested)
{
	exs_executor *pool = exs_thread_pool(2), *inner = exs_borrow(pool), *ex = exs_borrow(pool);

	for (int i = 0; i < 5; i++)
		inner = exs_with_flat_map(inner, one_more, NULL, pool, NULL);
	for (int i = 0; i < 5; i++)
		ex = exs_with_flat_map(ex, one_more, NULL, inner, NULL);
	expect_value(exs_submit(ex, add_one, NULL), (void *)(intptr_t)(1 + 5 * 6));
	exs_executor_free(ex);
	exs_executor_free(inner);
	exs_executor_free(pool);
}

/* --- misuse --- */

TEST(flat_map, null_and_described)
{
	struct mapper m = {.make = give_future};
	char text[64];

	CHECK(!exs_with_flat_map(NULL, on_value, on_error, &m, mapper_free));
	CHECK_INT(m.frees, 1);
	CHECK(!exs_with_flat_map(NULL, on_value, on_error, &m, NULL));
	exs_executor *ex = exs_with_flat_map(exs_inline(), on_value, NULL, &m, NULL);
	exs_describe(ex, text, sizeof(text));
	CHECK_STR(text, "flat_map > inline");
	exs_executor_free(ex);
}
