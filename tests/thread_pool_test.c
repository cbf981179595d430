/* The thread pool: order, bounds, workers and spares, names, statistics, options. */
#define _GNU_SOURCE
#include "base/cores.h"
#include "support.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* --- order, number, statistics --- */

struct numbered {
	struct job job; /* first */
	unsigned number, *next;
};

static void in_order(struct job *job, exs_context *ctx)
{
	struct numbered *n = (struct numbered *)(void *)job;

	(void)ctx;
	CHECK_INT(n->number, (*n->next)++);
}

TEST(thread_pool, first_in_first_out)
{
	enum { N = 100 };
	exs_executor *ex = exs_thread_pool(1);
	struct numbered *n = malloc(N * sizeof(*n));
	struct job gate;
	exs_future *first, *f[N];
	unsigned next = 0;

	pool_occupy(ex, &gate, &first, 1, 1);
	for (unsigned i = 0; i < N; i++) {
		job_init(&n[i].job);
		n[i].job.inside = in_order;
		n[i].number = i;
		n[i].next = &next;
		f[i] = job_submit(ex, &n[i].job);
	}
	pool_let_go(&gate, &first, 1);
	for (unsigned i = 0; i < N; i++) {
		expect_value(f[i], &n[i].job);
		job_fini(&n[i].job);
	}
	CHECK_INT(next, N);
	exs_executor_free(ex);
	free(n);
}

/* Threads come with the work, while none is idle, and go with the pool. */
TEST(thread_pool, starts_workers_when_there_is_work)
{
	int before = harness_threads();
	exs_executor *ex = exs_thread_pool(3);
	struct job jobs[6];
	exs_future *f[6];

	CHECK_INT(harness_threads(), before);
	CHECK_INT(pool_stats(ex).workers, 0);
	for (int i = 0; i < 5; i++) {
		pool_occupy(ex, jobs, f, 1, 1);
		CHECK_INT(pool_stats(ex).workers, 1);
		pool_let_go(jobs, f, 1);
		wait_until(pool_is_idle, ex);
	}
	pool_occupy(ex, jobs, f, 6, 0); /* at once: the idle worker does not count for all */
	for (int i = 0; i < 3; i++)
		sem_take(&jobs[i].entered);
	CHECK_INT(pool_stats(ex).workers, 3);
	CHECK_INT(harness_threads(), before + 3);
	pool_let_go(jobs, f, 6);
	exs_executor_free(ex);
	harness_wait_threads(before);
}

/* As an older and a newer program have them: shorter, longer. */
TEST(thread_pool, statistics_of_other_versions)
{
	struct {
		exs_thread_pool_stats known;
		size_t more;
	} newer = {.more = 1};
	exs_thread_pool_stats older = {.idle = 77};
	exs_executor *ex = exs_thread_pool(1);
	struct job job;
	exs_future *f;

	pool_occupy(ex, &job, &f, 1, 1);
	CHECK_INT(exs_thread_pool_get_stats_sized(ex, &newer.known, sizeof(newer)), EXS_OK);
	CHECK(newer.known.workers == 1 && !newer.more);
	CHECK_INT(exs_thread_pool_get_stats_sized(ex, &older, offsetof(exs_thread_pool_stats, idle)), EXS_OK);
	CHECK(older.workers == 1 && older.idle == 77);
	pool_let_go(&job, &f, 1);
	exs_executor_free(ex);
}

TEST(thread_pool, statistics)
{
	exs_executor *ex = exs_with_timeout(exs_with_retry(exs_thread_pool(3), NULL), 100);
	struct job jobs[6];
	exs_future *f[6];

	pool_occupy(ex, jobs, f, 6, 3);
	exs_thread_pool_stats s = pool_stats(ex);
	CHECK(s.workers == 3 && s.running == 3 && s.queued == 3 && s.started == 3);
	CHECK(s.idle == 0 && s.waiting == 0 && s.over_limit == 0 && s.rejected == 0);
	CHECK_INT(exs_future_cancel(f[5]), EXS_CANCELLED);
	CHECK_INT(pool_stats(ex).queued, 2);
	expect_cancelled(f[5], EXS_CAUSE_USER);
	job_fini(&jobs[5]);
	pool_let_go(jobs, f, 5);
	wait_until(pool_is_idle, ex);
	CHECK_INT(pool_stats(ex).started, 5);
	exs_executor_free(ex);
	ex = exs_inline();
	CHECK_INT(exs_thread_pool_get_stats(ex, &s), EXS_EINVAL);
	CHECK_INT(exs_thread_pool_get_stats(NULL, &s), EXS_EINVAL);
	exs_executor_free(ex);
	ex = exs_thread_pool(1);
	CHECK_INT(exs_thread_pool_get_stats(ex, NULL), EXS_EINVAL);
	exs_executor_free(ex);
}

/* --- the bound of the queue --- */

struct submitter {
	exs_executor *ex;
	struct job job;
	exs_future *f;
	atomic_int tid, returned;
	pthread_t thread;
};

static void *submit_main(void *arg)
{
	struct submitter *s = arg;

	atomic_store(&s->tid, (int)syscall(SYS_gettid));
	s->f = job_submit(s->ex, &s->job);
	atomic_store(&s->returned, 1);
	return NULL;
}

static bool sleeps_or_returned(void *arg)
{
	struct submitter *s = arg;

	return atomic_load(&s->tid) && (thread_sleeps(atomic_load(&s->tid)) || atomic_load(&s->returned));
}

/* A submit that must block, on a thread of its own. */
static void submit_blocked(struct submitter *s, exs_executor *ex)
{
	*s = (struct submitter){.ex = ex};
	job_init(&s->job);
	s->thread = thread_start(submit_main, s);
	wait_until(sleeps_or_returned, s);
	CHECK_INT(s->returned, 0);
}

TEST(thread_pool, full_queue_blocks_submits)
{
	exs_executor *ex = pool_made((exs_thread_pool_options){.workers = 1, .queue_limit = 2});
	struct submitter s[2];
	struct job jobs[3];
	exs_future *f[3];

	pool_occupy(ex, jobs, f, 3, 1);
	for (int i = 0; i < 2; i++)
		submit_blocked(&s[i], ex);
	CHECK_INT(pool_stats(ex).queued, 2);
	CHECK_INT(exs_future_cancel(f[1]), EXS_CANCELLED); /* room for one */
	expect_cancelled(f[1], EXS_CAUSE_USER);
	job_fini(&jobs[1]);
	while (!s[0].returned && !s[1].returned)
		sched_yield();
	CHECK_INT(pool_stats(ex).queued, 2);
	pool_let_go(jobs, f, 1);
	pool_let_go(jobs + 2, f + 2, 1);
	for (int i = 0; i < 2; i++) {
		thread_join(s[i].thread);
		expect_value(s[i].f, &s[i].job);
		job_fini(&s[i].job);
	}
	CHECK_INT(pool_stats(ex).over_limit, 0);
	exs_executor_free(ex);
}

/* Of the pool itself, of a chain that owns it, and of one that borrows it. */
TEST(thread_pool, shutdown_wakes_blocked_submits)
{
	for (int i = 0; i < 6; i++) {
		exs_executor *pool = pool_made((exs_thread_pool_options){.workers = 1, .queue_limit = 1});
		exs_executor *borrow = i % 3 == 2 ? exs_borrow(pool) : NULL;
		exs_executor *ex = i % 3 == 0 ? pool : exs_with_timeout(borrow ? borrow : pool, 100);
		struct submitter s;
		struct job jobs[2];
		exs_future *f[2];
		pool_occupy(ex, jobs, f, 2, 1);
		submit_blocked(&s, ex);
		CHECK(exs_shutdown(ex, i < 3 ? EXS_DRAIN : EXS_CANCEL_QUEUED, 0) >= 1);
		thread_join(s.thread);
		expect_code(s.f, &exs_domain_exs, EXS_ESHUTDOWN);
		CHECK_INT(s.job.starts, 0);
		sem_post(&jobs[0].open);
		sem_post(&jobs[1].open);
		exs_executor_free(ex);
		if (borrow)
			exs_executor_free(pool);
		for (int k = 0; k < 2; k++) {
			exs_future_unref(f[k]);
			job_fini(&jobs[k]);
		}
		job_fini(&s.job);
	}
}

static void *drain(void *ex)
{
	CHECK_INT(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER), 0);
	return NULL;
}

/* At once, while the queue is as full as before. */
TEST(thread_pool, shutdown_that_drains_wakes_blocked_submits)
{
	for (int i = 0; i < 3; i++) {
		exs_executor *pool = pool_made((exs_thread_pool_options){.workers = 1, .queue_limit = 1});
		exs_executor *borrow = i == 2 ? exs_borrow(pool) : NULL;
		exs_executor *ex = i == 0 ? pool : exs_with_timeout(borrow ? borrow : pool, 100);
		struct submitter s[2];
		struct job jobs[2];
		exs_future *f[2];
		pool_occupy(ex, jobs, f, 2, 1);
		for (int k = 0; k < 2; k++)
			submit_blocked(&s[k], ex);
		pthread_t thread = thread_start(drain, ex);
		for (int k = 0; k < 2; k++) {
			thread_join(s[k].thread);
			expect_code(s[k].f, &exs_domain_exs, EXS_ESHUTDOWN);
			CHECK_INT(s[k].job.starts, 0);
			job_fini(&s[k].job);
		}
		CHECK(!exs_future_is_done(f[0]) && !exs_future_is_done(f[1]));
		pool_let_go(jobs, f, 2);
		thread_join(thread);
		exs_executor_free(ex);
		if (borrow)
			exs_executor_free(pool);
	}
}

TEST(thread_pool, full_queue_rejects)
{
	exs_executor *ex =
		pool_made((exs_thread_pool_options){.workers = 1, .queue_limit = 1, .when_full = EXS_FULL_REJECT});
	struct job jobs[2], refused;
	exs_future *f[2];

	pool_occupy(ex, jobs, f, 2, 1);
	for (int i = 0; i < 3; i++) {
		job_init(&refused);
		expect_code(job_submit(ex, &refused), &exs_domain_exs, EXS_EREJECTED);
		CHECK_INT(refused.starts, 0);
		job_fini(&refused);
	}
	CHECK_INT(pool_stats(ex).rejected, 3);
	pool_let_go(jobs, f, 2);
	wait_until(pool_is_idle, ex);
	job_init(&refused);
	expect_value(job_submit(ex, &refused), &refused);
	job_fini(&refused);
	exs_executor_free(ex);
}

TEST(thread_pool, try_submit_never_blocks)
{
	exs_executor *ex = pool_made((exs_thread_pool_options){.workers = 1, .queue_limit = 1});
	struct job jobs[2], refused;
	exs_future *f[2];
	exs_task task = {.fn = job_run, .arg = &refused, .arg_free = job_free_arg};

	job_init(&refused);
	pool_occupy(ex, jobs, f, 2, 1);
	expect_code(exs_try_submit(ex, &task), &exs_domain_exs, EXS_EREJECTED);
	CHECK_INT(pool_stats(ex).rejected, 1);
	job_fini(&refused);
	pool_let_go(jobs, f, 2);
	exs_executor_free(ex);
}

/* What is restarted from within neither waits nor is rejected; it is counted. */
TEST(thread_pool, restarts_go_over_the_limit)
{
	exs_retry_options options = {.sleep = EXS_NONE};
	exs_executor *ex = exs_with_retry(
		pool_made((exs_thread_pool_options){.workers = 1, .queue_limit = 1, .when_full = EXS_FULL_REJECT}),
		&options);
	struct job jobs[2];
	exs_future *f[2];

	pool_occupy(ex, jobs, f, 1, 1);
	jobs[0].failures = 2;
	jobs[0].error = exs_error_new(&test_domain, 1, "again");
	job_init(&jobs[1]);
	f[1] = job_submit(ex, &jobs[1]);
	sem_post(&jobs[0].open);
	expect_value(f[1], &jobs[1]); /* it was before the restart in the queue */
	CHECK_INT(pool_stats(ex).over_limit, 1);
	for (int i = 0; i < 2; i++)
		sem_post(&jobs[0].open);
	expect_value(f[0], &jobs[0]);
	CHECK_INT(jobs[0].starts, 3);
	exs_executor_free(ex);
	exs_error_unref(jobs[0].error);
	for (int i = 0; i < 2; i++)
		job_fini(&jobs[i]);
}

struct feeder {
	exs_executor *ex;
	struct job jobs[4];
	exs_future *f[4];
};

static void feed(struct job *job, exs_context *ctx)
{
	struct feeder *feeder = job->more;

	(void)ctx;
	for (int i = 0; i < 4; i++)
		feeder->f[i] = job_submit(feeder->ex, &feeder->jobs[i]);
}

/* Its own worker would wait for itself. */
TEST(thread_pool, own_worker_submits_over_the_limit)
{
	struct feeder feeder = {pool_made((exs_thread_pool_options){.workers = 1, .queue_limit = 1}), {{0}}, {NULL}};
	struct job job;

	for (int i = 0; i < 4; i++)
		job_init(&feeder.jobs[i]);
	job_init(&job);
	job.inside = feed;
	job.more = &feeder;
	expect_value(job_submit(feeder.ex, &job), &job);
	for (int i = 0; i < 4; i++) {
		expect_value(feeder.f[i], &feeder.jobs[i]);
		job_fini(&feeder.jobs[i]);
	}
	CHECK_INT(pool_stats(feeder.ex).over_limit, 3);
	exs_executor_free(feeder.ex);
	job_fini(&job);
}

/* Real time, however little: the queue stays full. */
TEST(thread_pool, full_queue_blocks_up_to_a_time)
{
	const double seconds[] = {0.02, EXS_NONE};

	for (int i = 0; i < 2; i++) {
		exs_executor *ex = pool_made((exs_thread_pool_options){
			.workers = 1, .queue_limit = 1, .when_full = EXS_FULL_BLOCK, .block_seconds = seconds[i]});
		struct job jobs[2], refused;
		exs_future *f[2];
		pool_occupy(ex, jobs, f, 2, 1);
		job_init(&refused);
		expect_code(job_submit(ex, &refused), &exs_domain_exs, EXS_EREJECTED);
		CHECK_INT(refused.starts, 0);
		CHECK_INT(pool_stats(ex).rejected, 1);
		pool_let_go(jobs, f, 2);
		exs_executor_free(ex);
		job_fini(&refused);
	}
}

TEST(thread_pool, room_in_time)
{
	exs_executor *ex =
		pool_made((exs_thread_pool_options){.workers = 1, .queue_limit = 1, .block_seconds = 100000});
	struct submitter s;
	struct job jobs[2];
	exs_future *f[2];

	pool_occupy(ex, jobs, f, 2, 1);
	submit_blocked(&s, ex);
	pool_let_go(jobs, f, 2);
	thread_join(s.thread);
	expect_value(s.f, &s.job);
	CHECK_INT(pool_stats(ex).rejected, 0);
	exs_executor_free(ex);
	job_fini(&s.job);
}

static void has_no_state(struct job *job, exs_context *ctx)
{
	(void)job;
	CHECK(!exs_context_worker_state(ctx));
}

static exs_error *set_state(void *ctx, unsigned number, void **state)
{
	(void)number;
	*state = ctx;
	return NULL;
}

TEST(thread_pool, full_queue_makes_the_caller_run)
{
	int it = 0;
	exs_executor *ex = pool_made((exs_thread_pool_options){
		.workers = 1, .queue_limit = 1, .when_full = EXS_FULL_CALLER_RUNS, .setup = set_state, .ctx = &it});
	struct job jobs[2], own, refused;
	exs_future *f[2];
	exs_task task = {.fn = job_run, .arg = &refused, .arg_free = job_free_arg};

	pool_occupy(ex, jobs, f, 2, 1);
	job_init(&own);
	own.inside = has_no_state;
	exs_future *done = job_submit(ex, &own);
	CHECK(exs_future_is_done(done));
	expect_value(done, &own);
	CHECK(pthread_equal(own.thread, pthread_self()));
	job_init(&refused);
	expect_code(exs_try_submit(ex, &task), &exs_domain_exs, EXS_EREJECTED); /* it never runs the task */
	CHECK_INT(refused.starts, 0);
	exs_thread_pool_stats s = pool_stats(ex);
	CHECK(s.caller_ran == 1 && s.started == 2 && s.running == 1 && s.queued == 1 && s.rejected == 1);
	pool_let_go(jobs, f, 2);
	exs_executor_free(ex);
	job_fini(&own);
	job_fini(&refused);
}

/* A caller that runs the task is found like a worker that does. */
TEST(thread_pool, shutdown_reaches_a_caller_that_runs)
{
	exs_executor *ex =
		pool_made((exs_thread_pool_options){.workers = 1, .queue_limit = 1, .when_full = EXS_FULL_CALLER_RUNS});
	struct submitter s = {.ex = ex};
	struct job jobs[2];
	exs_future *f[2];

	pool_occupy(ex, jobs, f, 2, 1);
	job_init(&s.job);
	s.job.gated = s.job.polite = true;
	s.thread = thread_start(submit_main, &s);
	sem_take(&s.job.entered);
	CHECK(exs_shutdown(ex, EXS_CANCEL_ALL, 0) >= 1);
	thread_join(s.thread);
	CHECK_INT(s.job.cause, EXS_CAUSE_SHUTDOWN);
	wait_done(s.f); /* cancelled, or the time that is up was faster */
	exs_future_unref(s.f);
	sem_post(&jobs[0].open);
	exs_executor_free(ex);
	for (int i = 0; i < 2; i++) {
		exs_future_unref(f[i]);
		job_fini(&jobs[i]);
	}
	job_fini(&s.job);
}

static exs_executor *dropping(unsigned limit)
{
	return pool_made(
		(exs_thread_pool_options){.workers = 1, .queue_limit = limit, .when_full = EXS_FULL_DROP_OLDEST});
}

TEST(thread_pool, full_queue_drops_the_oldest)
{
	exs_executor *ex = dropping(2);
	struct job jobs[6];
	exs_future *f[6];
	exs_task task = {.fn = job_run, .arg = &jobs[5], .arg_free = job_free_arg};

	pool_occupy(ex, jobs, f, 5, 1); /* 1 and 2 are dropped for 3 and 4, */
	job_init(&jobs[5]);
	f[5] = exs_try_submit(ex, &task); /* and 3 for this */
	for (int i = 1; i < 4; i++) {
		CHECK(exs_future_is_done(f[i]));
		expect_code(f[i], &exs_domain_exs, EXS_EDROPPED);
		CHECK_INT(jobs[i].starts, 0);
		job_fini(&jobs[i]);
	}
	CHECK_INT(pool_stats(ex).queued, 2);
	CHECK_INT(pool_stats(ex).dropped, 3);
	CHECK_INT(exs_future_cancel(f[4]), EXS_CANCELLED); /* one that is gone need not be dropped */
	expect_cancelled(f[4], EXS_CAUSE_USER);
	job_fini(&jobs[4]);
	pool_let_go(jobs, f, 1);
	expect_value(f[5], &jobs[5]);
	job_fini(&jobs[5]);
	exs_executor_free(ex);
}

/* A retry above takes it for a failure like any other. */
TEST(thread_pool, dropped_call_is_retried)
{
	exs_retry_options options = {.sleep = EXS_NONE, .max_attempts = 2};
	exs_executor *ex = exs_with_retry(dropping(1), &options);
	struct job jobs[3];
	exs_future *f[3];

	pool_occupy(ex, jobs, f, 2, 1);
	jobs[1].missed = 1;
	job_init(&jobs[2]);
	f[2] = job_submit(ex, &jobs[2]);
	CHECK_INT(pool_stats(ex).dropped, 1);
	CHECK_INT(pool_stats(ex).over_limit, 1); /* its restart */
	CHECK_INT(pool_stats(ex).queued, 2);
	sem_post(&jobs[0].open);
	expect_value(f[2], &jobs[2]);
	sem_post(&jobs[1].open);
	for (int i = 0; i < 2; i++)
		expect_value(f[i], &jobs[i]);
	exs_executor_free(ex);
	for (int i = 0; i < 3; i++)
		job_fini(&jobs[i]);
}

struct dropper {
	exs_executor *ex;
	atomic_uint dropped;
};

static exs_result never(void *arg, exs_context *ctx)
{
	(void)ctx;
	return exs_ok(arg, NULL);
}

static void submit_again(exs_future *f, void *arg)
{
	struct dropper *d = arg;

	if (!exs_error_is(exs_future_error(f), &exs_domain_exs, EXS_EDROPPED))
		return;
	atomic_fetch_add(&d->dropped, 1);
	exs_future_unref(exs_submit(d->ex, never, NULL));
}

/* Each of them drops the next, which does so too: in constant stack. */
TEST(thread_pool, dropped_calls_that_submit_again)
{
	enum { N = 100000 };
	struct dropper d = {dropping(N), 0};
	struct job job;
	exs_future *f;

	pool_occupy(d.ex, &job, &f, 1, 1);
	for (int i = 0; i < N; i++) {
		exs_future *queued = exs_submit(d.ex, never, NULL);
		CHECK_INT(exs_future_on_done(queued, submit_again, &d, NULL), EXS_OK);
		exs_future_unref(queued);
	}
	exs_future_unref(exs_submit(d.ex, never, NULL)); /* begins it */
	CHECK_INT(d.dropped, N);
	CHECK_INT(pool_stats(d.ex).dropped, N + 1); /* the first of the new ones too, for the last */
	CHECK_INT(pool_stats(d.ex).queued, N);
	pool_let_go(&job, &f, 1);
	exs_executor_free(d.ex);
}

/* Whatever becomes of others' submits, those of the pool's own workers and what is restarted is queued. */
TEST(thread_pool, no_policy_is_for_submits_from_within)
{
	for (int policy = EXS_FULL_BLOCK; policy <= EXS_FULL_DROP_OLDEST; policy++) {
		exs_executor *ex = pool_made(
			(exs_thread_pool_options){.workers = 1, .queue_limit = 1, .when_full = (exs_full)policy});
		struct feeder feeder = {ex, {{0}}, {NULL}};
		struct job job;
		for (int i = 0; i < 4; i++)
			job_init(&feeder.jobs[i]);
		job_init(&job);
		job.inside = feed;
		job.more = &feeder;
		expect_value(job_submit(ex, &job), &job);
		for (int i = 0; i < 4; i++) {
			expect_value(feeder.f[i], &feeder.jobs[i]);
			CHECK(pthread_equal(feeder.jobs[i].thread, job.thread));
			job_fini(&feeder.jobs[i]);
		}
		exs_thread_pool_stats s = pool_stats(ex);
		CHECK(s.over_limit == 3 && !s.rejected && !s.dropped && !s.caller_ran);
		exs_executor_free(ex);
		job_fini(&job);
	}
}

static bool one_waits(void *ex)
{
	return pool_stats(ex).waiting == 1;
}

/* Another pool's worker does wait, and a spare stands in for it meanwhile. */
TEST(thread_pool, other_pools_workers_block)
{
	exs_executor *a = exs_thread_pool(1), *b = pool_made((exs_thread_pool_options){.workers = 1, .queue_limit = 1});
	struct feeder feeder = {b, {{0}}, {NULL}};
	struct job jobs[2], job, other;
	exs_future *f[2];

	pool_occupy(b, jobs, f, 2, 1);
	for (int i = 0; i < 4; i++)
		job_init(&feeder.jobs[i]);
	job_init(&job);
	job_init(&other);
	job.inside = feed;
	job.more = &feeder;
	exs_future *blocked = job_submit(a, &job);
	wait_until(one_waits, a);
	expect_value(job_submit(a, &other), &other);
	CHECK(!exs_future_is_done(blocked));
	pool_let_go(jobs, f, 2);
	expect_value(blocked, &job);
	for (int i = 0; i < 4; i++) {
		expect_value(feeder.f[i], &feeder.jobs[i]);
		job_fini(&feeder.jobs[i]);
	}
	CHECK_INT(pool_stats(b).over_limit, 0);
	exs_executor_free(a);
	exs_executor_free(b);
	job_fini(&job);
	job_fini(&other);
}

/* --- waiting inside a task --- */

struct nest {
	exs_executor *ex;
	struct job job; /* is waited for */
	exs_future *f;
	atomic_int rc;
	bool slow;
};

static void wait_inside(struct job *job, exs_context *ctx)
{
	struct nest *nest = job->more;

	(void)ctx;
	nest->rc = exs_future_wait(nest->f, EXS_FOREVER);
}

static void submit_and_wait(struct job *job, exs_context *ctx)
{
	struct nest *nest = job->more;

	nest->f = job_submit(nest->ex, &nest->job);
	wait_inside(job, ctx);
}

TEST(thread_pool, waiter_runs_what_has_not_begun)
{
	exs_executor *ex = pool_made((exs_thread_pool_options){.workers = 1, .max_spares = EXS_NONE});
	struct nest nest = {.ex = ex, .rc = -1};
	struct job job;

	job_init(&nest.job);
	job_init(&job);
	job.inside = submit_and_wait;
	job.more = &nest;
	expect_value(job_submit(ex, &job), &job);
	CHECK_INT(nest.rc, EXS_OK);
	CHECK(pthread_equal(nest.job.thread, job.thread));
	expect_value(nest.f, &nest.job);
	CHECK_INT(pool_stats(ex).started, 2);
	exs_executor_free(ex);
	job_fini(&job);
	job_fini(&nest.job);
}

/* Each waits for the next. */
struct chain {
	exs_executor *ex;
	unsigned last;
	atomic_uint depth, told;
};

static exs_result next_of_chain(void *arg, exs_context *ctx)
{
	struct chain *c = arg;

	(void)ctx;
	if (atomic_fetch_add(&c->depth, 1) + 1 == c->last)
		return exs_ok(NULL, NULL);
	exs_future *f = exs_submit(c->ex, next_of_chain, c);
	if (exs_future_wait(f, EXS_FOREVER) == EXS_EDEADLK)
		atomic_fetch_add(&c->told, 1);
	exs_future_unref(f);
	return exs_ok(NULL, NULL);
}

/* On one worker the stack is bounded; what is told so runs later. */
TEST(thread_pool, nested_waits_are_bounded_in_depth)
{
	struct chain c = {.last = 1000};

	c.ex = pool_made((exs_thread_pool_options){.workers = 1, .max_spares = EXS_NONE});
	expect_value(exs_submit(c.ex, next_of_chain, &c), NULL);
	wait_count(&c.depth, 1000);
	CHECK(c.told > 0);
	exs_executor_free(c.ex);
}

/* So is that of a thread that runs what it waits for: the pool does the rest. */
TEST(thread_pool, nested_waits_of_a_waiter_that_runs)
{
	struct chain c = {.last = 400};

	c.ex = pool_made((exs_thread_pool_options){.workers = 1, .waiters_run = true});
	expect_value(exs_submit(c.ex, next_of_chain, &c), NULL);
	CHECK_INT(c.depth, 400);
	CHECK_INT(c.told, 0);
	exs_executor_free(c.ex);
}

static void shut_down_other(struct job *job, exs_context *ctx)
{
	(void)ctx;
	CHECK_INT(exs_shutdown(job->more, EXS_DRAIN, EXS_FOREVER), 0);
}

/* Its wait is for nothing of its own: it is no deadlock that nobody else is there. */
TEST(thread_pool, only_worker_shuts_down_another_pool)
{
	exs_executor *ex = pool_made((exs_thread_pool_options){.workers = 1, .max_spares = EXS_NONE});
	exs_executor *other = exs_thread_pool(1);
	struct job job, running;
	exs_future *f;

	pool_occupy(other, &running, &f, 1, 1);
	job_init(&job);
	job.inside = shut_down_other;
	job.more = other;
	exs_future *g = job_submit(ex, &job);
	while (pool_stats(ex).waiting != 1)
		sched_yield();
	pool_let_go(&running, &f, 1);
	expect_value(g, &job);
	exs_executor_free(ex);
	exs_executor_free(other);
	job_fini(&job);
}

/* A chain of n tasks, each of which waits for a promise: spares stand in, up to their number. Answers workers then. */
static size_t spares(exs_executor *ex, unsigned n, unsigned running)
{
	struct nest nest = {.ex = ex};
	exs_promise *p = exs_promise_new(&nest.f);
	struct job jobs[8];
	exs_future *f[8];

	for (unsigned i = 0; i < n; i++) {
		job_init(&jobs[i]);
		jobs[i].inside = wait_inside;
		jobs[i].more = &nest;
		f[i] = job_submit(ex, &jobs[i]);
	}
	while (pool_stats(ex).waiting < running)
		sched_yield();
	size_t workers = pool_stats(ex).workers;
	CHECK_INT(pool_stats(ex).started, running);
	CHECK_INT(exs_promise_complete(p, exs_ok(NULL, NULL)), EXS_OK);
	exs_promise_free(p);
	for (unsigned i = 0; i < n; i++) {
		expect_value(f[i], &jobs[i]);
		job_fini(&jobs[i]);
	}
	expect_value(nest.f, NULL);
	return workers;
}

static bool one_worker_left(void *ex)
{
	return pool_stats(ex).workers == 1;
}

TEST(thread_pool, spares_stand_in_and_leave)
{
	exs_executor *ex = pool_made((exs_thread_pool_options){.workers = 1, .max_spares = 3});

	CHECK_INT(spares(ex, 6, 4), 4);
	wait_until(one_worker_left, ex);
	CHECK_INT(pool_stats(ex).waiting, 0);
	struct job job;
	job_init(&job);
	expect_value(job_submit(ex, &job), &job);
	exs_executor_free(ex);
	job_fini(&job);
	ex = pool_made((exs_thread_pool_options){.workers = 1, .max_spares = EXS_NONE});
	CHECK_INT(spares(ex, 3, 1), 1);
	exs_executor_free(ex);
}

/* What a task waits for comes into the queue only when it sleeps, and there is no thread but its own: it is woken and runs that. `late`
   is not yet a call of the pool when the wait begins. */
static exs_future *submit_late(void *ctx, exs_result in)
{
	struct nest *nest = ctx;

	in.destroy(in.value);
	exs_future *f = job_submit(nest->ex, &nest->job);
	if (nest->slow)
		give_time(); /* to be looked for, and not found, before it is adopted */
	return f;
}

static bool waits(void *ex)
{
	return pool_stats(ex).waiting == pool_stats(ex).workers;
}

static bool one_queued(void *ex)
{
	return pool_stats(ex).queued == 1;
}

TEST(thread_pool, waiter_runs_what_comes_late)
{
	exs_executor *ex = pool_made((exs_thread_pool_options){.workers = 1, .max_spares = EXS_NONE});
	struct nest late = {.ex = ex, .slow = true}, nest = {.rc = -1};
	exs_executor *chain = exs_with_flat_map(exs_thread_pool(1), submit_late, NULL, &late, NULL);
	struct job gate, job;

	job_init(&late.job);
	job_init(&job);
	job_init(&gate);
	gate.gated = true;
	nest.f = job_submit(chain, &gate);
	sem_take(&gate.entered);
	job.inside = wait_inside;
	job.more = &nest;
	exs_future *f = job_submit(ex, &job);
	wait_until(waits, ex);
	sem_post(&gate.open);
	expect_value(f, &job);
	CHECK_INT(nest.rc, EXS_OK);
	CHECK(pthread_equal(late.job.thread, job.thread));
	expect_value(nest.f, &late.job);
	exs_executor_free(chain);
	exs_executor_free(ex);
	job_fini(&job);
	job_fini(&late.job);
	job_fini(&gate);
}

/* And it comes while another worker could still run it, which then waits, too. */
TEST(thread_pool, waiter_runs_what_the_last_worker_leaves)
{
	exs_executor *ex = pool_made((exs_thread_pool_options){.workers = 2, .max_spares = EXS_NONE});
	struct nest late = {.ex = ex}, nest[2] = {{.rc = -1}, {.rc = -1}};
	exs_executor *chain = exs_with_flat_map(exs_thread_pool(1), submit_late, NULL, &late, NULL);
	exs_promise *p = exs_promise_new(&nest[1].f);
	struct job gate, jobs[2];
	exs_future *f[2];

	job_init(&late.job);
	job_init(&gate);
	gate.gated = true;
	nest[0].f = job_submit(chain, &gate);
	sem_take(&gate.entered);
	for (int i = 0; i < 2; i++) {
		job_init(&jobs[i]);
		jobs[i].gated = i;
		jobs[i].inside = wait_inside;
		jobs[i].more = &nest[i];
		f[i] = job_submit(ex, &jobs[i]);
	}
	sem_take(&jobs[1].entered);
	wait_until(one_waits, ex);
	sem_post(&gate.open);
	wait_until(one_queued, ex);
	give_time(); /* to be adopted */
	sem_post(&jobs[1].open);
	expect_value(f[0], &jobs[0]);
	CHECK(pthread_equal(late.job.thread, jobs[0].thread));
	CHECK_INT(exs_promise_complete(p, exs_ok(NULL, NULL)), EXS_OK);
	exs_promise_free(p);
	expect_value(f[1], &jobs[1]);
	expect_value(nest[0].f, &late.job);
	expect_value(nest[1].f, NULL);
	exs_executor_free(chain);
	exs_executor_free(ex);
	for (int i = 0; i < 2; i++)
		job_fini(&jobs[i]);
	job_fini(&late.job);
	job_fini(&gate);
}

/* Two tasks wait for the same running one; no deadlock while a worker runs, and EDEADLK where none is left. */
TEST(thread_pool, last_worker_that_would_wait_is_told)
{
	exs_executor *ex = pool_made((exs_thread_pool_options){.workers = 2, .max_spares = EXS_NONE});
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *chain = exs_with_retry(exs_with_clock(exs_borrow(ex), clock), NULL);
	struct nest nest[2] = {{.ex = ex}, {.ex = ex}};
	struct job backoff, jobs[2];
	exs_future *f[2];

	job_init(&backoff);
	backoff.failures = 1;
	backoff.error = exs_error_new(&test_domain, 1, "no");
	exs_future *awaited = job_submit(chain, &backoff);
	CHECK_INT(exs_clock_wait_armed(clock, 1, EXS_FOREVER), EXS_OK);
	for (int i = 0; i < 2; i++) {
		job_init(&jobs[i]);
		nest[i].f = awaited;
		nest[i].rc = -1;
		jobs[i].inside = wait_inside;
		jobs[i].more = &nest[i];
		f[i] = job_submit(ex, &jobs[i]);
		if (i == 0)
			wait_until(one_waits, ex);
	}
	expect_value(f[1], &jobs[1]);
	CHECK_INT(nest[1].rc, EXS_EDEADLK);
	advance(clock, 1); /* the worker that was told is free for it */
	expect_value(f[0], &jobs[0]);
	CHECK_INT(nest[0].rc, EXS_OK);
	expect_value(awaited, &backoff);
	exs_executor_free(chain);
	exs_executor_free(ex);
	exs_error_unref(backoff.error);
	exs_clock_unref(clock);
	job_fini(&backoff);
	for (int i = 0; i < 2; i++)
		job_fini(&jobs[i]);
}

/* --- threads: names, signals, stacks --- */

struct thread {
	char name[16];
	bool signals_blocked, faults_blocked;
	size_t stack;
};

static void look_at_thread(struct job *job, exs_context *ctx)
{
	struct thread *t = job->more;
	pthread_attr_t attr;
	sigset_t mask;

	(void)ctx;
	CHECK(!pthread_getname_np(pthread_self(), t->name, sizeof(t->name)));
	CHECK(!pthread_sigmask(SIG_SETMASK, NULL, &mask));
	t->signals_blocked = sigismember(&mask, SIGINT) && sigismember(&mask, SIGTERM) && sigismember(&mask, SIGUSR1);
	t->faults_blocked = sigismember(&mask, SIGSEGV) || sigismember(&mask, SIGBUS) || sigismember(&mask, SIGFPE);
	CHECK(!pthread_getattr_np(pthread_self(), &attr));
	CHECK(!pthread_attr_getstacksize(&attr, &t->stack));
	pthread_attr_destroy(&attr);
}

static struct thread thread_of(exs_executor *ex)
{
	struct thread t = {.stack = 0};
	struct job job;

	job_init(&job);
	job.inside = look_at_thread;
	job.more = &t;
	expect_value(job_submit(ex, &job), &job);
	exs_executor_free(ex);
	job_fini(&job);
	return t;
}

TEST(thread_pool, names_of_threads)
{
	struct {
		const char *option, *with_name, *thread, *executor;
	} cases[] = {
		{NULL, NULL, "exs-1", ""},
		{"crawl", NULL, "crawl-1", "crawl"},
		{NULL, "named", "named-1", "named"},
		{"crawl", "named", "named-1", "named"},
		{"a-very-long-name-indeed", NULL, "a-very-lon-1", "a-very-long-name-indeed"},
		{"0123456789012345678901234567890123456789", NULL, "0123456789-1", "0123456789012345678901234567890"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char name[64];
		snprintf(name, sizeof(name), "%s", cases[i].option ? cases[i].option : "");
		exs_executor *ex =
			pool_made((exs_thread_pool_options){.workers = 1, .name = cases[i].option ? name : NULL});
		memset(name, 'x', sizeof(name)); /* it was copied */
		if (cases[i].with_name)
			CHECK(exs_with_name(ex, cases[i].with_name) == ex);
		CHECK_STR(exs_executor_name(ex), cases[i].executor);
		struct thread t = thread_of(ex);
		CHECK_STR(t.name, cases[i].thread);
		CHECK(t.signals_blocked);
		CHECK(!t.faults_blocked); /* a crash can be reported */
	}
}

TEST(thread_pool, stack_size)
{
	struct thread t = thread_of(pool_made((exs_thread_pool_options){.workers = 1, .stack_size = 20 << 20}));

	CHECK(t.stack >= 20 << 20); /* more than any that is kept from other threads */
}

/* Not a thread can be made: the call fails, and nothing hangs. */
TEST(thread_pool, no_thread_at_all)
{
	exs_executor *ex =
		pool_made((exs_thread_pool_options){.workers = 2, .stack_size = (size_t)1 << 50, .name = "poor"});
	struct job job;

	log_begin(EXS_LOG_WARNING);
	job_init(&job);
	expect_code(job_submit(ex, &job), &exs_domain_exs, EXS_ETHREAD);
	CHECK_INT(log_lines("poor: thread pool: no further thread"), 1);
	CHECK_INT(pool_stats(ex).workers, 0);
	exs_executor_free(ex);
	job_fini(&job);
	log_end();
}

/* --- options --- */

struct longer {
	exs_thread_pool_options options;
	char tail[16];
};

TEST(thread_pool, unknown_options)
{
	struct longer longer = {.tail = {[15] = 1}};

	CHECK(!exs_thread_pool_sized(&longer.options, sizeof(longer)));
	CHECK_INT(exs_error_code(exs_last_error()), EXS_EINVAL);
	CHECK(!exs_thread_pool(1u << 20));
	CHECK_INT(exs_error_code(exs_last_error()), EXS_EINVAL);
}

static void describes(exs_executor *ex, const char *expected)
{
	char text[64];

	exs_describe(ex, text, sizeof(text));
	CHECK_STR(text, expected);
	exs_executor_free(ex);
}

/* Of other versions of the library: longer with nothing in it, shorter; or none. */
TEST(thread_pool, options_of_any_size)
{
	struct longer longer = {.options = {.workers = 3}};
	exs_thread_pool_options all = {.workers = 2, .queue_limit = EXS_UNLIMITED, .max_spares = EXS_UNLIMITED};
	unsigned workers = 5;
	char text[64];

	describes(exs_thread_pool_sized(&longer.options, sizeof(longer)), "thread_pool(3)");
	describes(exs_thread_pool_sized((exs_thread_pool_options *)(void *)&workers, sizeof(workers)),
		  "thread_pool(5)");
	describes(exs_thread_pool_with(&all), "thread_pool(2)");
	snprintf(text, sizeof(text), "thread_pool(%u)", exsi_cores());
	describes(exs_thread_pool(0), text);
	describes(exs_thread_pool_sized(NULL, 0), text);
}

/* As many workers as there are cores for this process. */
TEST(thread_pool, defaults_to_the_cores_allowed)
{
	cpu_set_t all, one;

	CHECK(!sched_getaffinity(0, sizeof(all), &all));
	CPU_ZERO(&one);
	for (int i = 0; !CPU_COUNT(&one); i++)
		if (CPU_ISSET(i, &all))
			CPU_SET(i, &one);
	CHECK(!sched_setaffinity(0, sizeof(one), &one));
	describes(exs_thread_pool(0), "thread_pool(1)");
	CHECK(!sched_setaffinity(0, sizeof(all), &all));
}
