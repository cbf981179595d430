/* Trackers: every line of exs_tracker. */
#define _POSIX_C_SOURCE 200809L
#include "support.h"

#include <executors/functions.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SEVERAL = 10, MANY = 100000 };

static void track(exs_tracker *t, exs_promise **p, int n)
{
	for (int i = 0; i < n; i++) {
		exs_future *f;
		p[i] = promise_made(&f);
		CHECK_INT(exs_tracker_add(t, f), EXS_OK);
	}
}

/* --- tracking --- */

TEST(tracker, drops_what_is_done)
{
	exs_tracker *t = exs_tracker_new();
	exs_future *f[2];
	exs_result r;
	exs_promise *p[] = {promise_made(&f[0]), promise_made(&f[1])};

	for (int i = 0; i < 2; i++)
		CHECK_INT(exs_tracker_add(t, exs_future_ref(f[i])), EXS_OK);
	CHECK_INT(exs_tracker_count(t), 2);
	promise_end(p[0], exs_ok(NULL, NULL));
	CHECK_INT(exs_tracker_count(t), 1);
	CHECK_INT(exs_future_take(f[0], &r), EXS_OK); /* no reference is left */
	CHECK_INT(exs_future_cancel(f[1]), EXS_CANCELLED);
	CHECK_INT(exs_tracker_count(t), 0);
	CHECK_INT(exs_tracker_add(t, exs_future_ref(f[0])), EXS_OK);
	CHECK_INT(exs_tracker_count(t), 0); /* done: dropped at once */
	for (int i = 0; i < 2; i++)
		exs_future_unref(f[i]);
	exs_promise_free(p[1]);
	exs_tracker_free(t);
}

TEST(tracker, added_twice_counts_twice)
{
	exs_tracker *t = exs_tracker_new();
	exs_future *f;
	exs_promise *p = promise_made(&f);

	CHECK_INT(exs_tracker_add(t, exs_future_ref(f)), EXS_OK);
	CHECK_INT(exs_tracker_add(t, f), EXS_OK);
	CHECK_INT(exs_tracker_count(t), 2);
	promise_end(p, exs_ok(NULL, NULL));
	CHECK_INT(exs_tracker_count(t), 0);
	exs_tracker_free(t);
}

/* It lets go of them, and changes nothing about them. */
TEST(tracker, freed_before_they_are_done)
{
	exs_tracker *t = exs_tracker_new();
	exs_future *f;
	exs_result r;
	exs_promise *p = promise_made(&f);

	CHECK_INT(exs_tracker_add(t, exs_future_ref(f)), EXS_OK);
	exs_tracker_free(t);
	CHECK_INT(exs_future_state(f), EXS_STATE_PENDING);
	promise_end(p, exs_ok(NULL, NULL));
	CHECK_INT(exs_future_take(f, &r), EXS_OK);
	exs_future_unref(f);
	exs_tracker_free(NULL);
}

TEST(tracker, misuse)
{
	exs_tracker *t = exs_tracker_new();
	exs_future *f;
	exs_promise *p = promise_made(&f);

	CHECK_INT(exs_tracker_add(NULL, f), EXS_EINVAL);
	CHECK_STR(exs_error_message(exs_last_error()), "exs_tracker_add: tracker is NULL");
	CHECK_INT(exs_tracker_add(t, NULL), EXS_EINVAL);
	CHECK_STR(exs_error_message(exs_last_error()), "exs_tracker_add: future is NULL");
	CHECK_INT(exs_tracker_count(NULL), 0);
	CHECK_INT(exs_tracker_release(NULL), 0);
	CHECK_INT(exs_tracker_wait_all(NULL, 1), EXS_EINVAL);
	CHECK_STR(exs_error_message(exs_last_error()), "exs_tracker_wait_all: tracker is NULL");
	CHECK_INT(exs_tracker_wait_any(t, -1), EXS_EINVAL);
	CHECK_STR(exs_error_message(exs_last_error()),
		  "exs_tracker_wait_any: -1 seconds: the time must be 0 or more, or EXS_FOREVER");
	CHECK_INT(exs_tracker_wait_any(t, NAN), EXS_EINVAL);
	CHECK_INT(exs_tracker_wait_fewer(t, 0, 1), EXS_EINVAL);
	CHECK_STR(exs_error_message(exs_last_error()), "exs_tracker_wait_fewer: n is 0: it must be 1 or more");
	expect_code(exs_tracker_fewer(t, 0), &exs_domain_exs, EXS_EINVAL);
	expect_code(exs_tracker_any(NULL), &exs_domain_exs, EXS_EINVAL);
	expect_code(exs_tracker_all(NULL), &exs_domain_exs, EXS_EINVAL);
	exs_promise_free(p);
	exs_tracker_free(t);
}

/* --- waits --- */

TEST(tracker, nothing_is_tracked)
{
	exs_tracker *t = exs_tracker_new();

	CHECK_INT(exs_tracker_wait_all(t, EXS_FOREVER), EXS_OK);
	CHECK_INT(exs_tracker_wait_any(t, EXS_FOREVER), EXS_OK);
	CHECK_INT(exs_tracker_wait_fewer(t, 1, 0), EXS_OK);
	expect_value(exs_tracker_all(t), NULL);
	expect_value(exs_tracker_any(t), NULL);
	expect_value(exs_tracker_fewer(t, 1), NULL);
	exs_tracker_free(t);
}

/* Each is done exactly when it is to be: after so many of ten. */
TEST(tracker, done_in_time)
{
	exs_tracker *t = exs_tracker_new();
	exs_promise *p[SEVERAL];

	track(t, p, SEVERAL);
	exs_future *f[] = {exs_tracker_any(t), exs_tracker_fewer(t, 8), exs_tracker_fewer(t, 4),
			   exs_tracker_fewer(t, 8), exs_tracker_all(t)};
	const int after[] = {1, 3, 7, 3, SEVERAL};
	for (int done = 0; done <= SEVERAL; done++) {
		CHECK_INT(exs_tracker_count(t), SEVERAL - done);
		for (int i = 0; i < 5; i++)
			CHECK_INT(exs_future_is_done(f[i]), done >= after[i]);
		CHECK_INT(exs_tracker_wait_fewer(t, 4, 0), done >= 7 ? EXS_OK : EXS_ETIMEDOUT);
		CHECK_INT(exs_tracker_wait_all(t, 0), done == SEVERAL ? EXS_OK : EXS_ETIMEDOUT);
		CHECK_INT(exs_tracker_wait_any(t, 0), done == SEVERAL ? EXS_OK : EXS_ETIMEDOUT);
		if (done < SEVERAL)
			promise_end(p[done], exs_ok(NULL, NULL));
	}
	for (int i = 0; i < 5; i++)
		expect_value(f[i], NULL);
	exs_tracker_free(t);
}

/* What is added meanwhile counts. */
TEST(tracker, added_while_somebody_waits)
{
	exs_tracker *t = exs_tracker_new();
	exs_promise *p[3];

	track(t, p, 2);
	exs_future *all = exs_tracker_all(t), *any = exs_tracker_any(t);
	track(t, &p[2], 1);
	promise_end(p[0], exs_ok(NULL, NULL));
	promise_end(p[1], exs_ok(NULL, NULL));
	CHECK(exs_future_is_done(any) && !exs_future_is_done(all));
	promise_end(p[2], exs_ok(NULL, NULL));
	CHECK(exs_future_is_done(all));
	exs_future_unref(any);
	exs_future_unref(all);
	track(t, p, 1);
	any = exs_tracker_any(t);
	CHECK_INT(exs_tracker_add(t, exs_future_return(NULL, NULL)), EXS_OK); /* one that is done */
	expect_value(any, NULL);
	promise_end(p[0], exs_ok(NULL, NULL));
	exs_tracker_free(t);
}

TEST(tracker, time_is_up)
{
	exs_tracker *t = exs_tracker_new();
	exs_promise *p;

	track(t, &p, 1);
	CHECK_INT(exs_tracker_wait_all(t, 0.001), EXS_ETIMEDOUT);
	CHECK_INT(exs_tracker_wait_any(t, 0.001), EXS_ETIMEDOUT);
	CHECK_INT(exs_tracker_wait_fewer(t, 1, 0.001), EXS_ETIMEDOUT);
	CHECK_INT(exs_tracker_release(t), 0); /* none is left */
	expect_code(exs_future_timeout(exs_tracker_all(t), 0.001), &exs_domain_exs, EXS_ETIMEDOUT);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK); /* the wait was cancelled after that */
	CHECK_INT(exs_tracker_release(t), 0);
	CHECK_INT(exs_tracker_count(t), 1);
	promise_end(p, exs_ok(NULL, NULL));
	exs_tracker_free(t);
}

/* It ends the wait alone. */
TEST(tracker, cancel_a_wait)
{
	exs_tracker *t = exs_tracker_new();
	exs_promise *p[3];
	exs_future *f[3];

	track(t, p, 3);
	f[0] = exs_tracker_all(t);
	f[1] = exs_tracker_any(t);
	f[2] = exs_tracker_fewer(t, 2);
	CHECK_INT(exs_future_cancel_all(f, 3), 3);
	CHECK_INT(exs_tracker_release(t), 0);
	for (int i = 0; i < 3; i++) {
		expect_cancelled(f[i], EXS_CAUSE_USER);
		CHECK_INT(exs_promise_complete(p[i], exs_ok(NULL, NULL)), EXS_OK);
		exs_promise_free(p[i]);
	}
	CHECK_INT(exs_tracker_count(t), 0);
	exs_tracker_free(t);
}

/* --- release --- */

struct blocked {
	exs_tracker *t;
	int kind, rc;
	pthread_t thread;
};

static void *block(void *arg)
{
	struct blocked *b = arg;

	b->rc = b->kind == 0   ? exs_tracker_wait_all(b->t, EXS_FOREVER)
		: b->kind == 1 ? exs_tracker_wait_any(b->t, EXS_FOREVER)
			       : exs_tracker_wait_fewer(b->t, 2, 3600);
	return NULL;
}

static void block_three(exs_tracker *t, struct blocked *b)
{
	for (int i = 0; i < 3; i++) {
		b[i] = (struct blocked){.t = t, .kind = i, .rc = -1};
		b[i].thread = thread_start(block, &b[i]);
	}
}

/* Once they wait; freeing releases as well. */
TEST(tracker, release)
{
	for (int frees = 0; frees < 2; frees++) {
		exs_tracker *t = exs_tracker_new();
		exs_promise *p[3];
		struct blocked b[3];
		track(t, p, 3);
		exs_future *all = exs_tracker_all(t), *any = exs_tracker_any(t);
		block_three(t, b);
		if (frees) { /* all that may be under way are waits: so they must be */
			harness_wait_undone(3 + 2 + 3);
			if (!harness_observing())
				give_time();
			exs_tracker_free(t);
		}
		for (unsigned released = 2; !frees && released < 7;) {
			size_t n = exs_tracker_release(t);
			released += (unsigned)n;
		}
		for (int i = 0; i < 3; i++) {
			thread_join(b[i].thread);
			CHECK_INT(b[i].rc, EXS_ECANCELLED);
		}
		expect_cancelled(all, EXS_CAUSE_NONE);
		expect_cancelled(any, EXS_CAUSE_NONE);
		if (!frees)
			CHECK_INT(exs_tracker_count(t), 3); /* it goes on */
		for (int i = 0; i < 3; i++)
			promise_end(p[i], exs_ok(NULL, NULL));
		if (!frees)
			exs_tracker_free(t);
	}
}

TEST(tracker, blocked_until_done)
{
	exs_tracker *t = exs_tracker_new();
	exs_promise *p[3];
	struct blocked b[3];

	track(t, p, 3);
	block_three(t, b);
	promise_end(p[0], exs_ok(NULL, NULL));
	promise_end(p[1], exs_ok(NULL, NULL));
	thread_join(b[2].thread);
	CHECK_INT(b[2].rc, EXS_OK);
	promise_end(p[2], exs_ok(NULL, NULL));
	for (int i = 0; i < 2; i++) {
		thread_join(b[i].thread);
		CHECK_INT(b[i].rc, EXS_OK);
	}
	exs_tracker_free(t);
}

/* --- on a worker --- */

struct nest {
	exs_executor *ex;
	struct job jobs[3];
	sem_t waits;
	exs_tracker *t;
	int rc;
};

static void wait_for_all(struct job *job, exs_context *ctx)
{
	struct nest *n = job->more;

	(void)ctx;
	for (int i = 0; i < 2; i++)
		CHECK_INT(exs_tracker_add(n->t, job_submit(n->ex, &n->jobs[i])), EXS_OK);
	sem_post(&n->waits);
	n->rc = exs_tracker_wait_all(n->t, EXS_FOREVER);
}

/* The only worker runs itself what it waits for, behind what it can't, and what is added when it sleeps. */
TEST(tracker, wait_on_the_only_worker)
{
	exs_executor *ex = pool_made((exs_thread_pool_options){.workers = 1, .max_spares = EXS_NONE});
	struct nest n = {.ex = ex, .t = exs_tracker_new(), .rc = -1};
	struct job job;
	exs_promise *p;

	track(n.t, &p, 1);
	sem_init(&n.waits, 0, 0);
	for (int i = 0; i < 3; i++)
		job_init(&n.jobs[i]);
	job_init(&job);
	job.inside = wait_for_all;
	job.more = &n;
	exs_future *f = job_submit(ex, &job);
	sem_take(&n.waits);
	wait_count(&n.jobs[1].ends, 1);
	exs_future *queued = job_submit(ex, &n.jobs[2]);
	give_time(); /* it sleeps, and does not know that it will wait for that */
	CHECK_INT(exs_tracker_add(n.t, queued), EXS_OK);
	wait_count(&n.jobs[2].ends, 1);
	promise_end(p, exs_ok(NULL, NULL));
	expect_value(f, &job);
	CHECK_INT(n.rc, EXS_OK);
	for (int i = 0; i < 3; i++)
		job_fini(&n.jobs[i]);
	job_fini(&job);
	exs_tracker_free(n.t);
	exs_executor_free(ex);
}

TEST(tracker, simulation)
{
	for (uint64_t seed = 1; seed <= harness_rounds(20); seed++) {
		struct job jobs[3];
		sim_begin(seed, NULL);
		exs_executor *ex = exs_sim_pool(support_sim, 2);
		exs_tracker *t = exs_tracker_new();
		for (int i = 0; i < 3; i++) {
			job_init(&jobs[i]);
			CHECK_INT(exs_tracker_add(t, job_submit(ex, &jobs[i])), EXS_OK);
		}
		CHECK_INT(exs_tracker_wait_any(t, 10), EXS_OK);
		CHECK_INT(exs_tracker_wait_fewer(t, 2, 10), EXS_OK);
		expect_value(exs_future_timeout(exs_tracker_all(t), 10), NULL);
		for (int i = 0; i < 3; i++)
			job_fini(&jobs[i]);
		exs_tracker_free(t);
		exs_executor_free(ex);
		sim_end();
	}
}

/* --- many --- */

TEST(tracker, hundred_thousand)
{
	static exs_promise *p[MANY];
	static exs_future *f[MANY];
	exs_tracker *t = exs_tracker_new();

	track(t, p, MANY);
	for (int i = 0; i < MANY; i++) /* as many waits, each for another number */
		f[i] = exs_tracker_fewer(t, (size_t)(1 + (i * 7919L) % MANY));
	for (int i = 0; i < MANY; i++)
		promise_end(p[(i * 7907L) % MANY], exs_ok(NULL, NULL));
	for (int i = 0; i < MANY; i++)
		expect_value(f[i], NULL);
	CHECK_INT(exs_tracker_count(t), 0);
	track(t, p, MANY);
	exs_tracker_free(t); /* with all of them */
	for (int i = 0; i < MANY; i++)
		promise_end(p[i], exs_ok(NULL, NULL));
}

/* Each tracks the wait for the one before it. */
static void deep(void)
{
	static exs_tracker *t[MANY];
	exs_promise *p;
	exs_future *f = NULL;

	for (int i = 0; i < MANY; i++) {
		t[i] = exs_tracker_new();
		if (i)
			CHECK_INT(exs_tracker_add(t[i], f), EXS_OK);
		else
			track(t[i], &p, 1);
		f = i % 2 ? exs_tracker_all(t[i]) : exs_tracker_any(t[i]);
	}
	promise_end(p, exs_ok(NULL, NULL));
	expect_value(f, NULL);
	for (int i = 0; i < MANY; i++)
		exs_tracker_free(t[i]);
}

TEST(tracker, chains_of_100000)
{
	on_small_stack(deep);
}

/* --- races --- */

struct race {
	exs_tracker *t;
	exs_promise *p[SEVERAL];
	uint64_t random[2];
	pthread_barrier_t start;
};

static void *complete_all(void *arg)
{
	struct race *r = arg;

	pthread_barrier_wait(&r->start);
	for (int i = 0; i < SEVERAL; i++) {
		dawdle(&r->random[0]);
		promise_end(r->p[i], exs_ok(NULL, NULL));
	}
	return NULL;
}

static void meet(struct race *r, int what, exs_future **f)
{
	if (what == 0)
		exs_tracker_release(r->t);
	if (what == 1)
		exs_future_cancel_all(f, 3);
	if (what == 2)
		CHECK(exs_tracker_wait_any(r->t, EXS_FOREVER) == EXS_OK);
	if (what == 3)
		CHECK(exs_tracker_wait_fewer(r->t, 3, EXS_FOREVER) == EXS_OK);
	if (what == 4) {
		exs_tracker_free(r->t);
		r->t = NULL;
	}
	for (int i = 0; i < 3; i++) {
		wait_done(f[i]);
		CHECK(exs_future_state(f[i]) == EXS_STATE_VALUE ||
		      (what != 2 && what != 3 && exs_future_state(f[i]) == EXS_STATE_CANCELLED));
		exs_future_unref(f[i]);
	}
}

/* Completions against a release, a cancel, a wait, a free. */
TEST(tracker, races)
{
	struct race r;

	CHECK(!pthread_barrier_init(&r.start, NULL, 2));
	for (int i = 0; i < 2; i++)
		r.random[i] = harness_seed() + (uint64_t)i;
	for (unsigned long round = 0; round < harness_rounds(2500); round++) {
		r.t = exs_tracker_new();
		track(r.t, r.p, SEVERAL);
		exs_future *f[] = {exs_tracker_any(r.t), exs_tracker_fewer(r.t, 5), exs_tracker_all(r.t)};
		pthread_t thread = thread_start(complete_all, &r);
		pthread_barrier_wait(&r.start);
		dawdle(&r.random[1]);
		meet(&r, (int)(round % 5), f);
		thread_join(thread);
		if (r.t)
			CHECK_INT(exs_tracker_count(r.t), 0);
		exs_tracker_free(r.t);
	}
	pthread_barrier_destroy(&r.start);
}
