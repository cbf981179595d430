/* Futures that are done on a thread of an executor: every line of exs_future_via. */
#define _POSIX_C_SOURCE 200809L
#include "support.h"

#include <executors/functions.h>
#include <stdlib.h>
#include <string.h>

static pthread_t thread_of(exs_executor *ex)
{
	struct job job;

	job_init(&job);
	expect_value(job_submit(ex, &job), &job);
	pthread_t thread = job.thread;
	job_fini(&job);
	return thread;
}

/* --- the outcome, and where --- */

TEST(via, value_on_a_thread_of_the_executor)
{
	exs_executor *ex = exs_thread_pool(1);
	struct seen seen;
	exs_future *f;
	exs_result r;
	exs_promise *p = promise_made(&f);

	seen_init(&seen);
	exs_future *g = exs_future_via(f, ex);
	CHECK_INT(exs_future_on_done(g, seen_call, &seen, NULL), EXS_OK);
	CHECK_INT(exs_executor_pending(ex), 0);
	promise_end(p, number(1));
	sem_take(&seen.called);
	CHECK(pthread_equal(atomic_load(&seen.thread), thread_of(ex)));
	CHECK_INT(exs_future_take(g, &r), EXS_OK); /* moved: it is the sole reference */
	exs_result_clear(&r);
	exs_future_unref(g);
	exs_executor_free(ex);
	CHECK_INT(atomic_load(&numbers), 0);
}

TEST(via, value_that_others_have)
{
	exs_executor *ex = exs_thread_pool(1);
	exs_future *f;
	exs_result r;

	promise_end(promise_made(&f), number(1));
	exs_future *g = exs_future_via(exs_future_ref(f), ex);
	wait_done(g);
	CHECK(exs_future_value(f) && exs_future_value(f) == exs_future_value(g));
	exs_executor_free(ex);
	exs_future_unref(f);
	CHECK_INT(exs_future_take(g, &r), EXS_EBUSY);
	CHECK_INT(atomic_load(&numbers), 1);
	exs_future_unref(g);
	CHECK_INT(atomic_load(&numbers), 0);
}

TEST(via, error_is_the_same)
{
	exs_executor *ex = exs_thread_pool(1);
	exs_error *error = exs_error_new(&test_domain, 1, "no");
	exs_future *f;
	exs_promise *p = promise_made(&f);
	exs_future *g = exs_future_via(f, ex);

	promise_end(p, exs_fail(exs_error_ref(error)));
	expect_error(g, error);
	exs_executor_free(ex);
	exs_error_unref(error);
}

TEST(via, cancelled_stays_cancelled)
{
	exs_executor *ex = exs_thread_pool(1);
	exs_future *f;
	exs_promise *p = promise_made(&f);
	exs_future *g = exs_future_via(exs_future_ref(f), ex);

	exs_future_cancel(f);
	expect_cancelled(g, EXS_CAUSE_USER);
	exs_executor_free(ex);
	exs_future_unref(f);
	exs_promise_free(p);
}

/* The outcome is set aside: what the executor sees is a success. */
TEST(via, error_is_not_retried)
{
	exs_executor *ex = exs_with_retry(exs_inline(), NULL);
	exs_error *error = exs_error_new(&test_domain, 1, "no");
	exs_future *f;

	promise_end(promise_made(&f), exs_fail(exs_error_ref(error)));
	exs_future *g = exs_future_via(f, ex);
	CHECK(exs_future_is_done(g));
	CHECK_INT(exs_executor_pending(ex), 0);
	expect_error(g, error);
	exs_executor_free(ex);
	exs_error_unref(error);
}

/* --- the executor refuses --- */

TEST(via, shut_down)
{
	exs_executor *ex = exs_thread_pool(1);
	exs_future *f;
	exs_promise *p = promise_made(&f);
	exs_future *g = exs_future_via(f, ex);

	exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER);
	promise_end(p, number(1));
	expect_code(g, &exs_domain_exs, EXS_ESHUTDOWN);
	CHECK_INT(atomic_load(&numbers), 0); /* dropped */
	exs_executor_free(ex);
}

/* A shutdown finds it in the queue. */
TEST(via, shut_down_while_queued)
{
	for (int cancels = 0; cancels < 2; cancels++) {
		exs_executor *ex = exs_thread_pool(1);
		struct job gate;
		exs_future *f, *first;
		pool_occupy(ex, &gate, &first, 1, 1);
		promise_end(promise_made(&f), number(1));
		exs_future *g = exs_future_via(f, ex);
		CHECK_INT(exs_executor_pending(ex), 2);
		if (cancels) {
			CHECK_INT(exs_shutdown(ex, EXS_CANCEL_QUEUED, 0), 1);
			expect_cancelled(g, EXS_CAUSE_SHUTDOWN);
			CHECK_INT(atomic_load(&numbers), 0);
		}
		sem_post(&gate.open);
		exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER);
		if (!cancels) {
			CHECK_INT(exs_future_state(g), EXS_STATE_VALUE);
			exs_future_unref(g);
		}
		exs_future_unref(first);
		job_fini(&gate);
		exs_executor_free(ex);
	}
}

TEST(via, time_of_a_shutdown_is_up)
{
	exs_executor *ex = exs_thread_pool(1);
	struct job gate;
	exs_future *f, *first;

	pool_occupy(ex, &gate, &first, 1, 1);
	promise_end(promise_made(&f), number(1));
	exs_future *g = exs_future_via(f, ex);
	CHECK_INT(exs_shutdown(ex, EXS_DRAIN, 0), 1);
	expect_code(g, &exs_domain_exs, EXS_ESHUTDOWN);
	sem_post(&gate.open);
	expect_code(first, &exs_domain_exs, EXS_ESHUTDOWN);
	job_fini(&gate);
	exs_executor_free(ex);
	CHECK_INT(atomic_load(&numbers), 0);
}

/* A full queue is no reason: who completes a future can't wait, and did not choose the executor. */
TEST(via, queue_is_full)
{
	exs_executor *ex =
		pool_made((exs_thread_pool_options){.workers = 1, .queue_limit = 1, .when_full = EXS_FULL_REJECT});
	struct job gate, other;
	exs_future *f, *first;

	pool_occupy(ex, &gate, &first, 1, 1);
	job_init(&other);
	exs_future *second = job_submit(ex, &other);
	promise_end(promise_made(&f), exs_ok(&other, NULL));
	exs_future *g = exs_future_via(f, ex);
	CHECK(!exs_future_is_done(g));
	pool_let_go(&gate, &first, 1);
	expect_value(second, &other);
	expect_value(g, &other);
	job_fini(&other);
	exs_executor_free(ex);
}

TEST(via, misuse)
{
	exs_executor *ex = exs_inline();
	exs_future *f, *g = exs_future_via(NULL, ex);

	CHECK_STR(exs_error_message(exs_future_error(g)), "exs_future_via: future is NULL");
	expect_code(g, &exs_domain_exs, EXS_EINVAL);
	promise_end(promise_made(&f), number(1));
	g = exs_future_via(f, NULL);
	CHECK_STR(exs_error_message(exs_future_error(g)), "exs_future_via: executor is NULL");
	expect_code(g, &exs_domain_exs, EXS_EINVAL);
	CHECK_INT(atomic_load(&numbers), 0);
	exs_executor_free(ex);
}

/* --- cancel --- */

TEST(via, cancel_goes_to_the_input)
{
	exs_executor *ex = exs_thread_pool(1);
	exs_future *f;
	exs_promise *p = promise_made(&f);
	exs_future *g = exs_future_via(exs_future_ref(f), ex);

	CHECK_INT(exs_future_cancel(g), EXS_CANCELLED);
	CHECK_INT(exs_executor_pending(ex), 0);
	expect_cancelled(f, EXS_CAUSE_USER);
	expect_cancelled(g, EXS_CAUSE_USER);
	exs_promise_free(p);
	exs_executor_free(ex);
}

TEST(via, cancelled_together)
{
	enum { SOME = 5 };
	exs_executor *ex = exs_thread_pool(1);
	exs_promise *p[SOME];
	exs_future *f[SOME], *in;

	for (int i = 0; i < SOME; i++) {
		p[i] = promise_made(&in);
		f[i] = exs_future_via(in, ex);
	}
	CHECK_INT(exs_future_cancel_all(f, SOME), SOME);
	for (int i = 0; i < SOME; i++) {
		CHECK_INT(exs_promise_complete(p[i], exs_ok(NULL, NULL)), EXS_EALREADY);
		exs_promise_free(p[i]);
		expect_cancelled(f[i], EXS_CAUSE_USER);
	}
	exs_executor_free(ex);
}

TEST(via, cancel_goes_to_the_queued_call)
{
	exs_executor *ex = exs_thread_pool(1);
	struct job gate;
	exs_future *f, *first;

	pool_occupy(ex, &gate, &first, 1, 1);
	promise_end(promise_made(&f), number(1));
	exs_future *g = exs_future_via(exs_future_ref(f), ex);
	CHECK_INT(exs_executor_pending(ex), 2);
	CHECK_INT(exs_future_cancel(g), EXS_CANCELLED);
	CHECK_INT(exs_executor_pending(ex), 1);
	CHECK_INT(exs_future_state(f), EXS_STATE_VALUE);
	exs_future_unref(f);
	CHECK_INT(atomic_load(&numbers), 0);
	expect_cancelled(g, EXS_CAUSE_USER);
	pool_let_go(&gate, &first, 1);
	exs_executor_free(ex);
}

/* --- waiting on its only worker --- */

struct nest {
	exs_executor *ex;
	struct job job;
	exs_promise *p;
	int rc;
};

static void wait_for_via(struct job *job, exs_context *ctx)
{
	struct nest *nest = job->more;
	exs_future *g = exs_future_via(exs_future_via(job_submit(nest->ex, &nest->job), nest->ex), nest->ex);

	(void)ctx;
	nest->rc = exs_future_wait(g, EXS_FOREVER);
	exs_future_unref(g);
}

/* It waits for what it is to carry yet: another thread completes the input only once it sleeps. */
static void wait_for_promised(struct job *job, exs_context *ctx)
{
	struct nest *nest = job->more;
	exs_future *f;

	(void)ctx;
	nest->p = promise_made(&f);
	exs_future *g = exs_future_via(f, nest->ex);
	sem_post(&job->in_set);
	nest->rc = exs_future_wait(g, EXS_FOREVER);
	exs_future_unref(g);
}

TEST(via, wait_on_the_only_worker)
{
	for (int promised = 0; promised < 2; promised++) {
		exs_executor *ex = pool_made((exs_thread_pool_options){.workers = 1, .max_spares = EXS_NONE});
		struct nest nest = {.ex = ex, .rc = -1};
		struct job job;
		job_init(&job);
		job.inside = promised ? wait_for_promised : wait_for_via;
		job.more = &nest;
		if (!promised)
			job_init(&nest.job);
		exs_future *f = job_submit(ex, &job);
		if (promised) {
			sem_take(&job.in_set);
			give_time();
			promise_end(nest.p, number(1));
		}
		expect_value(f, &job);
		CHECK_INT(nest.rc, EXS_OK);
		if (!promised)
			job_fini(&nest.job);
		job_fini(&job);
		exs_executor_free(ex);
		CHECK_INT(atomic_load(&numbers), 0);
	}
}

/* On an event loop the thread that turns it gets what others complete. */
TEST(via, event_loop)
{
	exs_executor *loop = exs_event_loop(), *pool = exs_thread_pool(1);
	struct seen seen;
	struct job job;

	job_init(&job);
	seen_init(&seen);
	exs_future *g = exs_future_via(job_submit(pool, &job), loop);
	CHECK_INT(exs_future_on_done(g, seen_call, &seen, NULL), EXS_OK);
	while (!exs_future_is_done(g))
		exs_event_loop_run_once(loop, 60);
	expect_value(g, &job);
	CHECK(pthread_equal(atomic_load(&seen.thread), pthread_self()));
	job_fini(&job);
	exs_executor_free(pool);
	exs_executor_free(loop);
}

/* --- many --- */

enum { MANY = 100000 };

static exs_future *chain(exs_future *f, exs_executor *ex)
{
	for (int i = 0; i < harness_many(MANY); i++)
		f = exs_future_via(f, ex);
	return f;
}

static void deep(void)
{
	for (int round = 0; round < 4; round++) {
		exs_executor *ex = round % 2
					   ? pool_made((exs_thread_pool_options){.workers = 2, .stack_size = 64 * 1024})
					   : exs_inline();
		exs_future *f;
		exs_promise *p = promise_made(&f);
		f = chain(f, ex);
		if (round > 1)
			CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
		promise_end(p, number(1));
		wait_done(f);
		CHECK_INT(exs_future_state(f), round > 1 ? EXS_STATE_CANCELLED : EXS_STATE_VALUE);
		exs_future_unref(f);
		exs_executor_free(ex);
		CHECK_INT(atomic_load(&numbers), 0);
	}
}

TEST(via, chains_of_100000)
{
	on_small_stack(deep);
}

TEST(via, hundred_thousand_at_once)
{
	static exs_future *f[MANY];
	static exs_promise *p[MANY];
	exs_executor *ex = exs_thread_pool(2);
	int n = harness_many(MANY);

	for (int i = 0; i < n; i++) {
		p[i] = promise_made(&f[i]);
		f[i] = exs_future_via(f[i], ex);
	}
	for (int i = 0; i < n; i++)
		promise_end(p[i], number(1));
	CHECK_INT(exs_wait_all(f, (size_t)n, EXS_FOREVER), EXS_OK);
	for (int i = 0; i < n; i++) {
		CHECK_INT(exs_future_state(f[i]), EXS_STATE_VALUE);
		exs_future_unref(f[i]);
	}
	exs_executor_free(ex);
	CHECK_INT(atomic_load(&numbers), 0);
}

/* --- races --- */

struct race {
	exs_promise *p;
	exs_future *f;
	uint64_t random[3];
	pthread_barrier_t start;
};

static void *complete_it(void *arg)
{
	struct race *r = arg;

	pthread_barrier_wait(&r->start);
	dawdle(&r->random[0]);
	promise_end(r->p, number(1));
	return NULL;
}

static void *cancel_it(void *arg)
{
	struct race *r = arg;

	pthread_barrier_wait(&r->start);
	dawdle(&r->random[1]);
	exs_future_cancel(r->f);
	return NULL;
}

/* Completion, cancel, shutdown: one decides, and all is given back. */
TEST(via, races)
{
	struct race r;

	CHECK(!pthread_barrier_init(&r.start, NULL, 3));
	for (int i = 0; i < 3; i++)
		r.random[i] = harness_seed() + (uint64_t)i;
	for (unsigned long round = 0; round < harness_rounds(1000); round++) {
		exs_executor *ex = round % 3 ? exs_thread_pool(1) : exs_inline();
		exs_future *f;
		r.p = promise_made(&f);
		r.f = exs_future_via(f, ex);
		if (round % 4 < 2)
			r.f = exs_future_via(r.f, ex);
		pthread_t threads[] = {thread_start(complete_it, &r), thread_start(cancel_it, &r)};
		pthread_barrier_wait(&r.start);
		dawdle(&r.random[2]);
		if (round % 2)
			exs_shutdown(ex, round % 4 == 1 ? EXS_CANCEL_ALL : EXS_DRAIN, 0);
		thread_join(threads[0]);
		thread_join(threads[1]);
		wait_done(r.f);
		if (exs_future_state(r.f) == EXS_STATE_ERROR)
			CHECK_INT(exs_error_code(exs_future_error(r.f)), EXS_ESHUTDOWN);
		exs_future_unref(r.f);
		exs_executor_free(ex);
		CHECK_INT(atomic_load(&numbers), 0);
	}
	pthread_barrier_destroy(&r.start);
}

TEST(via, simulation)
{
	for (uint64_t seed = 1; seed <= harness_rounds(20); seed++) {
		struct job job;
		sim_begin(seed, NULL);
		exs_executor *ex = exs_sim_pool(support_sim, 2);
		job_init(&job);
		expect_value(exs_future_timeout(exs_future_via(job_submit(ex, &job), ex), 10), &job);
		job_fini(&job);
		exs_executor_free(ex);
		sim_end();
	}
}
