/* Cancel on shutdown: every call not done is cancelled, in any mode of shutdown; by the owner's, not by a borrower's. */
#define _GNU_SOURCE
#include "support.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static const exs_mode modes[] = {EXS_DRAIN, EXS_CANCEL_QUEUED, EXS_CANCEL_ALL, (exs_mode)0}; /* 0: freed */
enum { N_MODES = 4, MANY = 1000, WORKERS = 2 };

static void close_down(exs_executor **ex, exs_mode mode)
{
	if (mode) {
		CHECK_INT(exs_shutdown(*ex, mode, EXS_FOREVER), 0);
		return;
	}
	exs_executor_free(*ex);
	*ex = NULL;
}

/* Two run, and end when they are asked to; the others have not begun. */
struct crowd {
	struct job jobs[MANY];
	exs_future *f[MANY];
};

static struct crowd *crowd_start(exs_executor *ex)
{
	struct crowd *c = malloc(sizeof(*c));

	CHECK(ex && c);
	for (int i = 0; i < MANY; i++) {
		job_init(&c->jobs[i]);
		c->jobs[i].gated = c->jobs[i].polite = true;
		c->f[i] = job_submit(ex, &c->jobs[i]);
	}
	for (int i = 0; i < WORKERS; i++)
		sem_take(&c->jobs[i].entered);
	return c;
}

static void crowd_end(struct crowd *c)
{
	for (int i = 0; i < MANY; i++) {
		expect_cancelled(c->f[i], EXS_CAUSE_SHUTDOWN);
		CHECK_INT(c->jobs[i].starts, i < WORKERS);
		job_fini(&c->jobs[i]);
	}
	free(c);
}

TEST(cancel_on_shutdown, every_mode_cancels_all_that_is_not_done)
{
	for (int m = 0; m < N_MODES; m++) {
		exs_executor *ex = exs_with_cancel_on_shutdown(exs_thread_pool(WORKERS));
		struct crowd *c = crowd_start(ex);
		close_down(&ex, modes[m]); /* with no help from here */
		exs_executor_free(ex);
		crowd_end(c);
	}
}

/* As a layer of a chain, above children, below a retry that would begin again. */
TEST(cancel_on_shutdown, inside_a_chain)
{
	for (int m = 0; m < N_MODES; m++) {
		exs_retry_options at_once = {.sleep = EXS_NONE};
		exs_executor *ex = exs_with_timeout_mode(exs_thread_pool(WORKERS), 1e6, EXS_ABANDON);
		ex = exs_with_retry(exs_with_cancel_on_shutdown(ex), &at_once);
		struct crowd *c = crowd_start(ex);
		close_down(&ex, modes[m]);
		exs_executor_free(ex);
		crowd_end(c);
	}
}

static atomic_int drain_tid; /* of the last that runs */

static bool drain_sleeps(void *unused)
{
	int tid = atomic_load(&drain_tid);

	(void)unused;
	return tid && thread_sleeps(tid);
}

static void *drain(void *ex)
{
	atomic_store(&drain_tid, (int)syscall(SYS_gettid));
	CHECK_INT(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER), 0);
	return NULL;
}

static bool is_told(void *f)
{
	return exs_future_cause(f) == EXS_CAUSE_SHUTDOWN;
}

/* What runs is asked to stop, and has its own outcome. */
TEST(cancel_on_shutdown, outcome_of_what_runs_stands)
{
	exs_executor *ex = exs_with_cancel_on_shutdown(exs_thread_pool(1));
	struct job job;

	job_init(&job);
	job.gated = true;
	exs_future *f = job_submit(ex, &job);
	sem_take(&job.entered);
	pthread_t thread = thread_start(drain, ex);
	wait_until(is_told, f);
	sem_post(&job.open);
	thread_join(thread);
	CHECK(job.stops == 1 && job.cause == EXS_CAUSE_SHUTDOWN);
	expect_value(f, &job);
	exs_executor_free(ex);
	job_fini(&job);
}

TEST(cancel_on_shutdown, time_is_up)
{
	exs_executor *ex = exs_with_cancel_on_shutdown(exs_thread_pool(1));
	struct job job;

	job_init(&job);
	job.gated = true;
	exs_future *f = job_submit(ex, &job);
	sem_take(&job.entered);
	CHECK_INT(exs_shutdown(ex, EXS_DRAIN, 0), 1);
	CHECK(is_told(f));
	expect_code(f, &exs_domain_exs, EXS_ESHUTDOWN);
	sem_post(&job.open);
	exs_executor_free(ex);
	CHECK_INT(job.stops, 1);
	job_fini(&job);
}

/* --- cancel callbacks --- */

struct submitter {
	exs_executor *ex;
	struct job job;
	exs_future *f;
	exs_answer answer;
};

static void submit_another(exs_future *f, void *arg)
{
	struct submitter *s = arg;

	s->answer = exs_future_cancel(f);
	s->f = job_submit(s->ex, &s->job);
}

/* It errs, and no lock is held: it may even shut down and free. */
TEST(cancel_on_shutdown, submit_from_a_cancel_callback)
{
	exs_executor *ex = exs_with_cancel_on_shutdown(exs_thread_pool(WORKERS));
	struct crowd *c = crowd_start(ex);
	static struct submitter s[MANY];

	for (int i = 0; i < MANY; i++) {
		s[i] = (struct submitter){.ex = ex};
		job_init(&s[i].job);
		CHECK_INT(exs_future_on_done(c->f[i], submit_another, &s[i], NULL), EXS_OK);
	}
	CHECK_INT(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER), 0);
	for (int i = 0; i < MANY; i++) {
		CHECK_INT(s[i].answer, EXS_CANCELLED);
		expect_code(s[i].f, &exs_domain_exs, EXS_ESHUTDOWN);
		CHECK_INT(s[i].job.starts, 0);
		job_fini(&s[i].job);
	}
	exs_executor_free(ex);
	crowd_end(c);
}

static void free_it(exs_future *f, void *ex)
{
	(void)f;
	exs_shutdown(*(exs_executor **)ex, EXS_CANCEL_ALL, EXS_FOREVER);
	exs_executor_free(*(exs_executor **)ex);
}

TEST(cancel_on_shutdown, freed_in_a_cancel_callback)
{
	exs_executor *ex = exs_with_cancel_on_shutdown(exs_thread_pool(WORKERS));
	struct crowd *c = crowd_start(ex);

	CHECK_INT(exs_future_on_done(c->f[MANY / 2], free_it, &ex, NULL), EXS_OK);
	exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	crowd_end(c);
}

/* First everything is cancelled, then the delegate is shut down; a borrower of that sees it. */
struct witness {
	exs_executor *delegate; /* a borrow of it */
	struct job job;
	exs_future *f;
};

static void submit_below(exs_future *f, void *arg)
{
	struct witness *w = arg;

	(void)f;
	w->f = job_submit(w->delegate, &w->job);
}

TEST(cancel_on_shutdown, then_shuts_the_delegate_down)
{
	exs_executor *pool = exs_thread_pool(WORKERS);
	struct witness first = {.delegate = exs_borrow(pool)}, last = {.delegate = first.delegate};
	exs_executor *ex = exs_with_cancel_on_shutdown(pool);
	struct crowd *c = crowd_start(ex);

	job_init(&first.job);
	job_init(&last.job);
	CHECK_INT(exs_future_on_done(c->f[MANY - 1], submit_below, &first, NULL), EXS_OK);
	CHECK_INT(exs_future_on_done(c->f[WORKERS], submit_below, &last, NULL), EXS_OK);
	CHECK_INT(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER), 0);
	expect_value(first.f, &first.job); /* while all were cancelled it was open */
	expect_value(last.f, &last.job);
	job_fini(&first.job);
	job_init(&first.job);
	expect_code(job_submit(first.delegate, &first.job), &exs_domain_exs, EXS_ESHUTDOWN);
	CHECK_INT(first.job.starts, 0);
	exs_executor_free(first.delegate);
	exs_executor_free(ex);
	crowd_end(c);
	job_fini(&first.job);
	job_fini(&last.job);
}

/* --- where the call is --- */

/* In a throttle and in a poll set below it; the cancel function is told once. */
TEST(cancel_on_shutdown, wherever_they_wait_below)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_clock(exs_inline(), clock);
	struct job jobs[2];
	exs_future *f[2];

	ex = exs_with_throttle(exs_with_poll(ex, job_poll, job_cancel, NULL, NULL), 1, NULL);
	ex = exs_with_cancel_on_shutdown(ex);
	for (int i = 0; i < 2; i++) {
		job_init(&jobs[i]);
		jobs[i].held = true;
		f[i] = job_submit(ex, &jobs[i]);
	}
	sem_take(&jobs[0].in_set);
	CHECK_INT(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER), 0);
	for (int i = 0; i < 2; i++)
		expect_cancelled(f[i], EXS_CAUSE_SHUTDOWN);
	CHECK(jobs[0].told == 1 && jobs[0].starts == 1 && jobs[1].starts == 0);
	exs_executor_free(ex);
	exs_clock_unref(clock);
	for (int i = 0; i < 2; i++)
		job_fini(&jobs[i]);
}

static exs_result brief(void *arg, exs_context *ctx)
{
	(void)arg, (void)ctx;
	return exs_ok(NULL, NULL);
}

static bool is_closed(void *ex)
{
	exs_future *f = exs_submit(ex, brief, NULL);
	bool closed = exs_error_is(exs_future_error(f), &exs_domain_exs, EXS_ESHUTDOWN);

	exs_future_unref(f);
	return closed;
}

/* In a backoff above it: cancelled when it comes down. */
TEST(cancel_on_shutdown, call_that_waits_above)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_cancel_on_shutdown(exs_with_clock(exs_inline(), clock));
	exs_error *error = exs_error_new(&test_domain, 1, "no");
	struct job job;

	ex = exs_with_retry(ex, NULL);
	job_init(&job);
	job.failures = ALWAYS;
	job.error = error;
	exs_future *f = job_submit(ex, &job);
	pthread_t thread = thread_start(drain, ex);
	wait_until(is_closed, exs_layer_delegate(ex)); /* which closes after the retry */
	CHECK(!exs_future_is_done(f));
	advance(clock, 1);
	thread_join(thread);
	expect_cancelled(f, EXS_CAUSE_SHUTDOWN);
	CHECK_INT(job.starts, 1);
	exs_executor_free(ex);
	exs_clock_unref(clock);
	exs_error_unref(error);
	job_fini(&job);
}

/* --- borrowed --- */

/* A borrower that is drained drains; the owner's shutdown takes the borrowers' calls along. */
TEST(cancel_on_shutdown, borrowers)
{
	exs_executor *ex = exs_with_cancel_on_shutdown(exs_thread_pool(1)), *b[2];
	struct job jobs[4];
	exs_future *f[4];

	for (int i = 0; i < 2; i++)
		b[i] = exs_borrow(ex);
	for (int i = 0; i < 4; i++) {
		job_init(&jobs[i]);
		jobs[i].gated = true;
		jobs[i].polite = i > 1;
	}
	f[0] = job_submit(b[0], &jobs[0]);
	f[1] = job_submit(b[0], &jobs[1]);
	sem_take(&jobs[0].entered);
	atomic_store(&drain_tid, 0);
	pthread_t thread = thread_start(drain, b[0]);
	wait_until(drain_sleeps, NULL);
	CHECK_INT(exs_future_cause(f[0]), EXS_CAUSE_NONE);
	sem_post(&jobs[0].open);
	sem_post(&jobs[1].open);
	thread_join(thread);
	f[2] = job_submit(b[1], &jobs[2]);
	f[3] = job_submit(b[1], &jobs[3]);
	sem_take(&jobs[2].entered);
	CHECK_INT(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER), 0);
	for (int i = 0; i < 4; i++) {
		if (i > 1)
			expect_cancelled(f[i], EXS_CAUSE_SHUTDOWN);
		else
			expect_value(f[i], &jobs[i]);
		CHECK_INT(jobs[i].starts, i < 3);
	}
	CHECK(is_closed(b[1]));
	for (int i = 0; i < 2; i++)
		exs_executor_free(b[i]);
	exs_executor_free(ex);
	for (int i = 0; i < 4; i++)
		job_fini(&jobs[i]);
}

/* A chain of one's own over a shared pool: its shutdown cancels its calls, and no others. */
TEST(cancel_on_shutdown, over_a_borrowed_pool)
{
	exs_executor *pool = exs_thread_pool(1), *ex = exs_with_cancel_on_shutdown(exs_borrow(pool));
	struct job jobs[3];
	exs_future *f[3];

	for (int i = 0; i < 3; i++) {
		job_init(&jobs[i]);
		jobs[i].gated = i == 0;
		f[i] = job_submit(i == 1 ? ex : pool, &jobs[i]);
	}
	sem_take(&jobs[0].entered);
	CHECK_INT(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER), 0);
	expect_cancelled(f[1], EXS_CAUSE_SHUTDOWN);
	sem_post(&jobs[0].open);
	expect_value(f[0], &jobs[0]);
	expect_value(f[2], &jobs[2]);
	exs_executor_free(ex);
	exs_executor_free(pool);
	CHECK_INT(jobs[1].starts, 0);
	for (int i = 0; i < 3; i++)
		job_fini(&jobs[i]);
}

/* --- races, names --- */

enum { SUBMITTERS = 3 };

struct race {
	exs_executor *ex;
	atomic_uint submitted, values, cancelled, refused;
};

static void note_end(exs_future *f, void *arg)
{
	struct race *r = arg;

	if (exs_future_state(f) == EXS_STATE_VALUE)
		atomic_fetch_add(&r->values, 1);
	else if (exs_future_state(f) == EXS_STATE_CANCELLED)
		atomic_fetch_add(&r->cancelled, exs_future_cause(f) == EXS_CAUSE_SHUTDOWN);
	else
		atomic_fetch_add(&r->refused, exs_error_code(exs_future_error(f)) == EXS_ESHUTDOWN);
}

static void *submit_until_refused(void *arg)
{
	struct race *r = arg;

	while (!atomic_load(&r->refused)) {
		exs_future *f = exs_submit(r->ex, brief, NULL);
		atomic_fetch_add(&r->submitted, 1);
		CHECK_INT(exs_future_on_done(f, note_end, r, NULL), EXS_OK);
		exs_future_unref(f);
	}
	return NULL;
}

/* Everything submitted is done when shutdown returns: with a value, cancelled by it, or refused. */
TEST(cancel_on_shutdown, races_submits)
{
	for (unsigned long round = 0; round < harness_rounds(50); round++) {
		struct race r = {.ex = exs_with_cancel_on_shutdown(exs_thread_pool(2))};
		pthread_t threads[SUBMITTERS];
		for (int i = 0; i < SUBMITTERS; i++)
			threads[i] = thread_start(submit_until_refused, &r);
		while (atomic_load(&r.values) < 20)
			sched_yield();
		exs_shutdown(r.ex, modes[round % 3], EXS_FOREVER);
		for (int i = 0; i < SUBMITTERS; i++)
			thread_join(threads[i]);
		exs_executor_free(r.ex);
		CHECK_INT(r.values + r.cancelled + r.refused, r.submitted);
	}
}

TEST(cancel_on_shutdown, described_and_null)
{
	exs_executor *ex = exs_with_cancel_on_shutdown(exs_inline());
	char text[64];

	exs_describe(ex, text, sizeof(text));
	CHECK_STR(text, "cancel_on_shutdown > inline");
	exs_executor_free(ex);
	CHECK(!exs_with_cancel_on_shutdown(NULL));
}
