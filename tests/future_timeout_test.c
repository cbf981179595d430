/* Futures with a deadline: every line of exs_future_timeout, on the manual clock where there is a time to it. */
#define _POSIX_C_SOURCE 200809L
#include "support.h"

#include <executors/functions.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- calls that end when a promise does, on a manual clock --- */

struct later {
	exs_clock *clock;
	exs_executor *ex;
	exs_future *answer;
};

static exs_result nothing(void *arg, exs_context *ctx)
{
	(void)arg, (void)ctx;
	return exs_ok(NULL, NULL);
}

static exs_future *answer(void *later, exs_result in)
{
	struct later *l = later;

	exs_result_clear(&in);
	return l->answer;
}

static void later_init(struct later *l)
{
	l->clock = exs_clock_manual_new();
	l->ex = exs_with_flat_map(exs_with_clock(exs_inline(), l->clock), answer, NULL, l, NULL);
	CHECK(l->ex);
}

static exs_future *later(struct later *l, exs_promise **p)
{
	*p = exs_promise_new(&l->answer);
	CHECK(*p);
	return exs_submit(l->ex, nothing, NULL);
}

static void later_fini(struct later *l)
{
	CHECK_INT(exs_clock_armed(l->clock), 0);
	exs_executor_free(l->ex);
	exs_clock_unref(l->clock);
}

static void expect_timed_out(exs_future *f)
{
	wait_done(f);
	CHECK_INT(exs_future_cause(f), EXS_CAUSE_NONE);
	CHECK(!strncmp(exs_error_message(exs_future_error(f)), "timed out after ", 16));
	expect_code(f, &exs_domain_exs, EXS_ETIMEDOUT);
}

static exs_result same(void *unused, exs_result in)
{
	(void)unused;
	return in;
}

/* --- in time --- */

TEST(future_timeout, value_in_time)
{
	struct later l;
	exs_promise *p;
	exs_result r;

	later_init(&l);
	exs_future *f = exs_future_timeout(later(&l, &p), 10);
	CHECK_INT(exs_clock_armed(l.clock), 1);
	advance(l.clock, 9);
	CHECK_INT(exs_future_state(f), EXS_STATE_PENDING);
	promise_end(p, number(1));
	CHECK_INT(exs_clock_armed(l.clock), 0);
	CHECK_INT(exs_future_take(f, &r), EXS_OK); /* moved: it is the sole reference */
	exs_result_clear(&r);
	exs_future_unref(f);
	CHECK_INT(atomic_load(&numbers), 0);
	later_fini(&l);
}

TEST(future_timeout, error_in_time_is_the_same)
{
	exs_error *error = exs_error_new(&test_domain, 1, "no");
	struct later l;
	exs_promise *p;

	later_init(&l);
	exs_future *f = exs_future_timeout(later(&l, &p), 10);
	promise_end(p, exs_fail(exs_error_ref(error)));
	expect_error(f, error);
	exs_error_unref(error);
	later_fini(&l);
}

TEST(future_timeout, cancelled_in_time)
{
	struct later l;
	exs_promise *p;

	later_init(&l);
	exs_future *f = later(&l, &p), *g = exs_future_timeout(exs_future_ref(f), 10);
	CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
	expect_cancelled(g, EXS_CAUSE_USER);
	exs_future_unref(f);
	exs_promise_free(p);
	later_fini(&l);
}

/* Who else has the input keeps its value; the new future keeps the input. */
TEST(future_timeout, value_that_others_have)
{
	struct later l;
	exs_promise *p;
	exs_result r;

	later_init(&l);
	exs_future *f = later(&l, &p), *g = exs_future_timeout(exs_future_ref(f), 10);
	promise_end(p, number(1));
	CHECK(exs_future_value(f) && exs_future_value(f) == exs_future_value(g));
	exs_future_unref(f);
	CHECK_INT(atomic_load(&numbers), 1);
	CHECK_INT(exs_future_take(g, &r), EXS_EBUSY);
	exs_future_unref(g);
	CHECK_INT(atomic_load(&numbers), 0);
	later_fini(&l);
}

TEST(future_timeout, done_before)
{
	struct later l;
	exs_promise *p;

	later_init(&l);
	for (int i = 0; i < 3; i++) {
		exs_future *f = later(&l, &p);
		promise_end(p, number(1));
		exs_future *g = exs_future_timeout(f, i == 0 ? 0 : i == 1 ? 10 : EXS_FOREVER);
		CHECK_INT(exs_future_state(g), EXS_STATE_VALUE);
		CHECK_INT(exs_clock_armed(l.clock), 0);
		exs_future_unref(g);
	}
	CHECK_INT(atomic_load(&numbers), 0);
	later_fini(&l);
}

/* --- time is up --- */

TEST(future_timeout, fails_at_the_deadline)
{
	struct later l;
	exs_promise *p;

	later_init(&l);
	exs_future *f = later(&l, &p), *g = exs_future_timeout(exs_future_ref(f), 10);
	advance(l.clock, 9.999);
	CHECK(!exs_future_is_done(g));
	advance(l.clock, 0.001);
	CHECK_STR(exs_error_message(exs_future_error(g)), "timed out after 10s");
	expect_timed_out(g);
	expect_cancelled(f, EXS_CAUSE_TIMEOUT);
	promise_end(p, number(1)); /* too late: destroyed */
	CHECK_INT(atomic_load(&numbers), 0);
	later_fini(&l);
}

TEST(future_timeout, at_once)
{
	struct later l;
	exs_promise *p;

	later_init(&l);
	exs_future *f = later(&l, &p), *g = exs_future_timeout(exs_future_ref(f), 0);
	CHECK_INT(exs_future_state(g), EXS_STATE_ERROR);
	expect_timed_out(g);
	expect_cancelled(f, EXS_CAUSE_TIMEOUT);
	exs_promise_free(p);
	later_fini(&l);
}

TEST(future_timeout, without_deadline)
{
	struct later l;
	exs_promise *p;

	later_init(&l);
	exs_future *f = exs_future_timeout(later(&l, &p), EXS_FOREVER);
	CHECK_INT(exs_clock_armed(l.clock), 0);
	advance(l.clock, 1e6);
	CHECK(!exs_future_is_done(f));
	promise_end(p, exs_ok(&l, NULL));
	expect_value(f, &l);
	later_fini(&l);
}

static void wait_with_deadline(struct job *job, exs_context *ctx)
{
	exs_executor *ex = job->more;
	struct job other;

	(void)ctx;
	job_init(&other);
	expect_value(exs_future_timeout(exs_future_timeout(job_submit(ex, &other), 1000), 2000), &other);
	CHECK(pthread_equal(other.thread, pthread_self()));
	job_fini(&other);
}

/* The only worker runs itself what it waits for. */
TEST(future_timeout, wait_on_the_only_worker)
{
	exs_executor *ex = pool_made((exs_thread_pool_options){.workers = 1, .max_spares = EXS_NONE});
	struct job job;

	job_init(&job);
	job.inside = wait_with_deadline;
	job.more = ex;
	expect_value(job_submit(ex, &job), &job);
	job_fini(&job);
	exs_executor_free(ex);
}

/* Asked to stop, and left behind: what it answers in the end is destroyed. */
TEST(future_timeout, running_task_is_left_behind)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_clock(exs_thread_pool(1), clock);
	struct job job;

	job_init(&job);
	job.gated = true;
	exs_future *g = exs_future_timeout(job_submit(ex, &job), 10);
	sem_take(&job.entered);
	advance(clock, 10);
	CHECK(exs_future_is_done(g));
	expect_timed_out(g);
	CHECK_INT(atomic_load(&job.ends), 0);
	sem_post(&job.open);
	job_fini(&job);
	CHECK_INT(atomic_load(&job.stops), 1);
	CHECK_INT(atomic_load(&job.cause), EXS_CAUSE_TIMEOUT);
	exs_executor_free(ex);
	exs_clock_unref(clock);
}

TEST(future_timeout, queued_call_is_cancelled)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_clock(exs_thread_pool(1), clock);
	struct job gate, job;
	exs_future *first;

	pool_occupy(ex, &gate, &first, 1, 1);
	job_init(&job);
	exs_future *g = exs_future_timeout(job_submit(ex, &job), 10);
	advance(clock, 10);
	expect_timed_out(g);
	CHECK_INT(exs_executor_pending(ex), 1);
	pool_let_go(&gate, &first, 1);
	job_fini(&job);
	CHECK_INT(atomic_load(&job.starts), 0);
	exs_executor_free(ex);
	exs_clock_unref(clock);
}

/* --- the clock --- */

TEST(future_timeout, clock_seen_through_futures)
{
	struct later l;
	exs_promise *p;
	exs_executor *ex = exs_inline();

	later_init(&l);
	exs_future *f = exs_future_map(exs_future_timeout(later(&l, &p), EXS_FOREVER), same, NULL, NULL, NULL);
	exs_future *g = exs_future_timeout(exs_future_via(exs_future_timeout(f, 30), ex), 20);
	exs_future *h = exs_future_timeout(exs_future_map(g, same, NULL, NULL, NULL), 10);
	CHECK_INT(exs_clock_armed(l.clock), 3);
	advance(l.clock, 10);
	expect_timed_out(h);
	exs_promise_free(p);
	later_fini(&l);
	exs_executor_free(ex);
}

struct real {
	exs_future *f;
	struct seen seen;
	exs_promise *second;
	exs_future *again;
};

/* At the deadline, on the callback thread. */
static void time_is_up(exs_future *f, void *arg)
{
	struct real *r = arg;

	CHECK_INT(exs_future_state(f), EXS_STATE_ERROR);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK); /* it does not wait for itself */
	r->second = exs_promise_new(&r->again);
	r->again = exs_future_timeout(r->again, 0.001);
	seen_call(f, &r->seen);
}

/* A promise is on the real clock, whose threads end with the last of these futures. */
TEST(future_timeout, real_clock)
{
	int threads = harness_threads();
	struct real r;
	exs_promise *p = exs_promise_new(&r.f);

	seen_init(&r.seen);
	exs_future *g = exs_future_timeout(exs_future_ref(r.f), 0.001);
	CHECK_INT(exs_future_on_done(g, time_is_up, &r, NULL), EXS_OK);
	expect_timed_out(g);
	wait_count(&r.seen.calls, 1);
	CHECK(!pthread_equal(atomic_load(&r.seen.thread), pthread_self()));
	expect_timed_out(r.again);
	expect_cancelled(r.f, EXS_CAUSE_TIMEOUT);
	exs_promise_free(p);
	exs_promise_free(r.second);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	CHECK_INT(harness_threads(), threads);
}

enum ending { IN_TIME, CANCELLED, DROPPED, TOO_LATE, ENDINGS };

/* However it ends: no thread is left, even if nobody asks (there is no executor). */
TEST(future_timeout, threads_end_with_the_last)
{
	int threads = harness_threads();

	for (int ending = 0; ending < ENDINGS; ending++) {
		exs_future *f;
		exs_promise *p = exs_promise_new(&f);
		f = exs_future_timeout(f, ending == TOO_LATE ? 0.001 : 1000);
		CHECK(harness_threads() > threads);
		if (ending == CANCELLED)
			CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
		if (ending == DROPPED)
			exs_future_unref(f);
		if (ending == TOO_LATE)
			wait_done(f);
		promise_end(p, number(1));
		if (ending != DROPPED)
			exs_future_unref(f);
		if (ending == IN_TIME)
			harness_wait_threads(threads);
		CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
		CHECK_INT(harness_threads(), threads);
		CHECK_INT(atomic_load(&numbers), 0);
	}
}

/* While there is an executor the threads stay for the next; it, or exs_quiesce, ends them. */
TEST(future_timeout, threads_stay_for_the_next)
{
	int threads = harness_threads();

	for (int quiesce = 0; quiesce < 2; quiesce++) {
		exs_executor *ex = exs_inline();
		for (int i = 0; i < 3; i++) {
			exs_future *f;
			exs_promise *p = exs_promise_new(&f);
			f = exs_future_timeout(f, 1000);
			CHECK_INT(harness_threads(), threads + 1);
			promise_end(p, exs_ok(NULL, NULL));
			exs_future_unref(f);
		}
		if (quiesce)
			CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
		else
			exs_executor_free(ex);
		CHECK_INT(harness_threads(), threads);
		if (quiesce)
			exs_executor_free(ex);
	}
}

TEST(future_timeout, simulation)
{
	for (uint64_t seed = 1; seed <= harness_rounds(20); seed++) {
		exs_future *f;
		sim_begin(seed, NULL);
		exs_promise *p = exs_promise_new(&f); /* of no chain: this thread's simulation has the time */
		exs_future *g = exs_future_timeout(f, 1000);
		expect_timed_out(g);
		CHECK(exs_clock_now(exs_sim_clock(support_sim)) >= 1000);
		exs_promise_free(p);
		sim_end();
	}
}

/* --- misuse --- */

TEST(future_timeout, bad_seconds)
{
	const double bad[] = {-1, NAN, -INFINITY};

	for (int i = 0; i < 3; i++) {
		exs_future *f;
		exs_promise *p = exs_promise_new(&f);
		exs_future *g = exs_future_timeout(f, bad[i]);
		CHECK(strstr(exs_error_message(exs_future_error(g)),
			     "seconds: the time must be 0 or more, or EXS_FOREVER"));
		expect_code(g, &exs_domain_exs, EXS_EINVAL);
		exs_promise_free(p);
	}
}

TEST(future_timeout, null)
{
	exs_future *g = exs_future_timeout(NULL, 1);

	CHECK_STR(exs_error_message(exs_future_error(g)), "exs_future_timeout: future is NULL");
	expect_code(g, &exs_domain_exs, EXS_EINVAL);
}

/* --- cancel --- */

TEST(future_timeout, cancel_goes_to_the_input)
{
	struct later l;
	exs_promise *p;

	later_init(&l);
	exs_future *f = later(&l, &p), *g = exs_future_timeout(exs_future_ref(f), 10);
	CHECK_INT(exs_future_cancel(g), EXS_CANCELLED);
	CHECK_INT(exs_clock_armed(l.clock), 0);
	expect_cancelled(f, EXS_CAUSE_USER);
	expect_cancelled(g, EXS_CAUSE_USER);
	exs_promise_free(p);
	later_fini(&l);
}

TEST(future_timeout, cancel_all_at_once)
{
	enum { N = 50 };
	struct later l;
	exs_promise *p[N];
	exs_future *f[N];

	later_init(&l);
	for (int i = 0; i < N; i++)
		f[i] = exs_future_timeout(later(&l, &p[i]), 10);
	CHECK_INT(exs_future_cancel_all(f, N), N);
	for (int i = 0; i < N; i++) {
		exs_future_unref(f[i]);
		CHECK_INT(exs_promise_complete(p[i], exs_ok(NULL, NULL)), EXS_EALREADY);
		exs_promise_free(p[i]);
	}
	later_fini(&l);
}

/* --- inside a function of a future its turn comes later, but the input was in time --- */

struct inside {
	struct later l;
	exs_future *g;
};

static exs_result done_inside(void *arg, exs_result in)
{
	struct inside *s = arg;
	exs_promise *p;
	exs_future *f = later(&s->l, &p);

	s->g = exs_future_timeout(f, 10);
	promise_end(p, number(1));
	CHECK(!exs_future_is_done(s->g));
	advance(s->l.clock, 20);
	CHECK(!exs_future_is_done(s->g));
	return in;
}

TEST(future_timeout, done_in_time_and_told_later)
{
	struct inside s;
	exs_future *f;
	exs_promise *p = exs_promise_new(&f);

	later_init(&s.l);
	f = exs_future_map(f, done_inside, NULL, &s, NULL);
	promise_end(p, exs_ok(NULL, NULL));
	exs_future_unref(f);
	CHECK_INT(exs_future_state(s.g), EXS_STATE_VALUE);
	exs_future_unref(s.g);
	CHECK_INT(atomic_load(&numbers), 0);
	later_fini(&s.l);
}

/* --- many --- */

enum { MANY = 100000 };

/* Every other link a map; all that have a time have the same, or each another. */
static exs_future *chain(exs_future *f, double seconds, double step)
{
	for (int i = 0; i < harness_many(MANY); i++) {
		seconds += step;
		f = i % 2 ? exs_future_timeout(f, seconds) : exs_future_map(f, same, NULL, NULL, NULL);
	}
	return f;
}

static void deep(void)
{
	for (int ending = 0; ending < ENDINGS; ending++) {
		struct later l;
		exs_promise *p;
		later_init(&l);
		exs_future *f = chain(later(&l, &p), 10, ending == DROPPED ? -1e-6 : 0);
		CHECK_INT(exs_clock_armed(l.clock), harness_many(MANY) / 2);
		if (ending == CANCELLED)
			CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
		if (ending == TOO_LATE || ending == DROPPED) /* then the outermost is the first that is due */
			advance(l.clock, 10);
		promise_end(p, number(1));
		CHECK_INT(exs_future_state(f), ending == IN_TIME     ? EXS_STATE_VALUE
					       : ending == CANCELLED ? EXS_STATE_CANCELLED
								     : EXS_STATE_ERROR);
		exs_future_unref(f);
		CHECK_INT(atomic_load(&numbers), 0);
		later_fini(&l);
	}
}

TEST(future_timeout, chains_of_100000)
{
	on_small_stack(deep);
}

static void wide(void)
{
	static exs_future *f[MANY];
	static exs_promise *p[MANY];
	struct later l;

	later_init(&l);
	for (int i = 0; i < harness_many(MANY); i++)
		f[i] = exs_future_timeout(later(&l, &p[i]), i % 2 ? 10 : 20);
	CHECK_INT(exs_clock_armed(l.clock), harness_many(MANY));
	advance(l.clock, 10);
	CHECK_INT(exs_clock_armed(l.clock), harness_many(MANY) / 2);
	for (int i = 0; i < harness_many(MANY); i++) {
		CHECK_INT(exs_future_state(f[i]), i % 2 ? EXS_STATE_ERROR : EXS_STATE_PENDING);
		promise_end(p[i], number(1));
		CHECK_INT(exs_future_state(f[i]), i % 2 ? EXS_STATE_ERROR : EXS_STATE_VALUE);
		exs_future_unref(f[i]);
	}
	CHECK_INT(atomic_load(&numbers), 0);
	later_fini(&l);
}

TEST(future_timeout, hundred_thousand_at_once)
{
	on_small_stack(wide);
}

/* --- races --- */

struct race {
	struct later l;
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

static exs_state race(struct race *r, bool cancels, bool real)
{
	pthread_t threads[2];

	CHECK(!pthread_barrier_init(&r->start, NULL, cancels ? 3 : 2));
	exs_future *f = real ? NULL : later(&r->l, &r->p);
	if (real)
		r->p = exs_promise_new(&f);
	r->f = exs_future_timeout(f, real ? 20e-6 : 10);
	threads[0] = thread_start(complete_it, r);
	if (cancels)
		threads[1] = thread_start(cancel_it, r);
	pthread_barrier_wait(&r->start);
	dawdle(&r->random[2]);
	if (!real)
		advance(r->l.clock, 10);
	thread_join(threads[0]);
	if (cancels)
		thread_join(threads[1]);
	wait_done(r->f);
	exs_state state = exs_future_state(r->f);
	if (state == EXS_STATE_ERROR)
		CHECK_INT(exs_error_code(exs_future_error(r->f)), EXS_ETIMEDOUT);
	exs_future_unref(r->f);
	pthread_barrier_destroy(&r->start);
	return state;
}

/* Completion, deadline, cancel: one decides, and all is given back. */
TEST(future_timeout, races)
{
	unsigned seen[EXS_STATE_CANCELLED + 1] = {0};
	struct race r;

	later_init(&r.l);
	for (int i = 0; i < 3; i++)
		r.random[i] = harness_seed() + (uint64_t)i;
	for (unsigned long round = 0; round < harness_rounds(2000); round++) {
		seen[race(&r, round % 2, round % 4 > 1)]++;
		CHECK(!seen[EXS_STATE_PENDING] && !seen[EXS_STATE_RUNNING]);
	}
	harness_wait_futures(0);
	CHECK_INT(atomic_load(&numbers), 0);
	later_fini(&r.l);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
}
