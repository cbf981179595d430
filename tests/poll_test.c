/* The poll executor: every sentence of semantics.md 3, on the manual clock. */
#define _GNU_SOURCE
#include "support.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { JOBS = 8 };

/* poll > inline (or what a test builds): a submit returns when the call has joined the set. The poll function notes what it is given
   and does `act`; it and what it says are changed only while the poll thread sleeps or is held in a gated poll. */
struct scene {
	exs_clock *clock;
	exs_executor *ex;
	exs_poll_options options;
	struct job jobs[JOBS];
	exs_future *f[JOBS];
	/* orders */
	exs_error *(*act)(struct scene *s, exs_descriptor **d, size_t n, double *delay);
	bool gated; /* each poll posts began and takes go */
	bool sets;  /* the delay, to: */
	double delay;
	bool refuse; /* the answer of the cancel function, and how it fails */
	exs_error *cancel_error;
	void (*when_asked)(struct scene *s);
	/* seen */
	sem_t began, go, polled;
	atomic_uint polls, asked, frees;
	size_t n; /* of the last poll */
	struct job *values[JOBS];
	exs_descriptor *d[JOBS];
	double preset;
	pthread_t poller, asker;
	atomic_int poller_tid;
	size_t many; /* of the last cancel_many */
	int yielded;
};

static exs_error *poll_fn(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	struct scene *s = ctx;
	exs_error *error = NULL;

	s->n = n;
	for (size_t i = 0; i < n && i < JOBS; i++) {
		s->values[i] = exs_descriptor_value(d[i]);
		s->d[i] = d[i];
	}
	s->preset = *delay;
	s->poller = pthread_self();
	s->poller_tid = (int)syscall(SYS_gettid);
	atomic_fetch_add(&s->polls, 1);
	if (s->gated) {
		sem_post(&s->began);
		sem_take(&s->go);
	}
	if (s->sets)
		*delay = s->delay;
	if (s->act)
		error = s->act(s, d, n, delay);
	sem_post(&s->polled);
	return error;
}

static bool cancel_fn(void *ctx, void *value, exs_error **error)
{
	struct scene *s = ctx;

	atomic_fetch_add(&((struct job *)value)->told, 1);
	atomic_fetch_add(&s->asked, 1);
	s->asker = pthread_self();
	if (s->when_asked)
		s->when_asked(s);
	if (s->cancel_error)
		*error = exs_error_ref(s->cancel_error);
	return !s->refuse;
}

static void ctx_free(void *ctx)
{
	atomic_fetch_add(&((struct scene *)ctx)->frees, 1);
}

static exs_error *resolve_all(struct scene *s, exs_descriptor **d, size_t n, double *delay)
{
	(void)s, (void)delay;
	for (size_t i = 0; i < n; i++) {
		exs_result r = job_value(exs_descriptor_value(d[i]));
		CHECK(exs_yield_result(d[i], r.value, r.destroy));
	}
	return NULL;
}

static exs_executor *delegate(struct scene *s)
{
	*s = (struct scene){.clock = exs_clock_manual_new(), .options = {.ctx_free = ctx_free}};
	CHECK(!sem_init(&s->began, 0, 0) && !sem_init(&s->go, 0, 0) && !sem_init(&s->polled, 0, 0));
	for (int i = 0; i < JOBS; i++)
		job_init(&s->jobs[i]);
	return exs_with_clock(exs_inline(), s->clock);
}

static exs_executor *with_poll(exs_executor *ex, struct scene *s)
{
	return exs_with_poll(ex, poll_fn, cancel_fn, s, &s->options);
}

static void scene_init(struct scene *s)
{
	s->ex = with_poll(delegate(s), s);
	CHECK(s->ex);
}

static void scene_end(struct scene *s)
{
	exs_executor_free(s->ex);
	CHECK_INT(s->frees, 1);
	CHECK_INT(exs_clock_armed(s->clock), 0);
	for (int i = 0; i < JOBS; i++) {
		if (!s->jobs[i].freed)
			job_free_arg(&s->jobs[i]); /* never submitted */
		exs_future_unref(s->f[i]);
		job_fini(&s->jobs[i]);
	}
	exs_clock_unref(s->clock);
}

static void submit(struct scene *s, unsigned i)
{
	s->f[i] = job_submit(s->ex, &s->jobs[i]);
}

/* A poll that does not end before end_poll; it takes place at once if there is reason for one, or by notify. */
static void await_poll(struct scene *s)
{
	sem_take(&s->began);
}

static void begin_poll(struct scene *s)
{
	s->gated = true;
	exs_poll_notify(s->ex);
	await_poll(s);
}

static void end_poll(struct scene *s, bool next_gated)
{
	s->gated = next_gated;
	sem_post(&s->go);
	sem_take(&s->polled);
}

/* n calls, pending, with one poll that saw them all; the next by the clock. */
static void start_pending(struct scene *s, unsigned n)
{
	s->gated = true;
	submit(s, 0);
	await_poll(s);
	for (unsigned i = 1; i < n; i++)
		submit(s, i);
	if (n > 1) {
		end_poll(s, true);
		await_poll(s);
	}
	end_poll(s, false);
	CHECK_INT(s->n, n);
	wait_next(s->clock, 5);
}

static void poll_now(struct scene *s)
{
	exs_poll_notify(s->ex);
	sem_take(&s->polled);
}

/* --- joining, and the list --- */

TEST(poll, descriptors_oldest_first)
{
	struct scene s;

	scene_init(&s);
	start_pending(&s, JOBS);
	for (int i = 0; i < JOBS; i++) {
		CHECK(s.values[i] == &s.jobs[i]);
		CHECK_INT(exs_future_state(s.f[i]), EXS_STATE_PENDING);
	}
	CHECK_INT(exs_future_cancel(s.f[2]), EXS_CANCELLED);
	poll_now(&s);
	CHECK_INT(s.n, JOBS - 1);
	CHECK(s.values[1] == &s.jobs[1] && s.values[2] == &s.jobs[3]);
	CHECK(!pthread_equal(s.poller, pthread_self()));
	scene_end(&s);
}

static exs_error *check_names(struct scene *s, exs_descriptor **d, size_t n, double *delay)
{
	(void)delay;
	CHECK_INT(n, 2);
	CHECK_STR(exs_descriptor_name(d[0]), "publish 20");
	CHECK_STR(exs_descriptor_name(d[1]), NULL);
	s->yielded = 1;
	return NULL;
}

TEST(poll, descriptors_have_names)
{
	struct scene s;
	exs_task task = {.fn = job_run, .arg = &s.jobs[0], .arg_free = job_free_arg, .name = "publish 20"};

	scene_init(&s);
	s.gated = true;
	s.f[0] = exs_submit_with(s.ex, &task);
	await_poll(&s);
	submit(&s, 1);
	end_poll(&s, true);
	await_poll(&s);
	s.act = check_names;
	end_poll(&s, false);
	CHECK_INT(s.yielded, 1);
	scene_end(&s);
}

/* Failed and cancelled delegates never join; their outcome is the call's. */
TEST(poll, only_values_join)
{
	struct scene s;

	scene_init(&s);
	s.act = resolve_all;
	s.jobs[0].failures = ALWAYS;
	s.jobs[0].error = exs_error_new(&test_domain, 1, "no");
	s.jobs[1].cancels = true;
	for (unsigned i = 0; i < 3; i++)
		submit(&s, i);
	expect_error(exs_future_ref(s.f[0]), s.jobs[0].error);
	expect_cancelled(exs_future_ref(s.f[1]), EXS_CAUSE_NONE);
	expect_value(exs_future_ref(s.f[2]), &s.jobs[2]);
	exs_error_unref(s.jobs[0].error);
	scene_end(&s);
	CHECK_INT(s.polls, 1);
	CHECK_INT(s.asked, 0);
}

/* --- yielding --- */

/* Twice each: the second is ignored, and its value destroyed. */
static exs_error *yield_twice(struct scene *s, exs_descriptor **d, size_t n, double *delay)
{
	struct job *job = exs_descriptor_value(d[0]), *other = exs_descriptor_value(d[1]);
	exs_result r = job_value(job);

	(void)delay;
	CHECK_INT(n, 2);
	CHECK(exs_yield_result(d[0], r.value, r.destroy));
	CHECK(exs_future_is_done(s->f[0])); /* with its callbacks, at once */
	r = job_value(job);
	CHECK(!exs_yield_result(d[0], r.value, r.destroy));
	CHECK(!exs_yield_error(d[0], exs_error_new(&test_domain, 1, "late")));
	CHECK_INT(job->values, 2); /* the future's, and the descriptor's until the poll has ended */
	CHECK(exs_descriptor_value(d[0]) == job);
	CHECK(exs_yield_error(d[1], exs_error_ref(s->cancel_error)));
	r = job_value(other);
	CHECK(!exs_yield_result(d[1], r.value, r.destroy));
	CHECK_INT(other->values, 1);
	return NULL;
}

TEST(poll, yields_once_each)
{
	struct scene s;

	scene_init(&s);
	start_pending(&s, 2);
	s.act = yield_twice;
	s.cancel_error = exs_error_new(&test_domain, 1, "failed over there");
	poll_now(&s);
	expect_value(exs_future_ref(s.f[0]), &s.jobs[0]);
	expect_error(exs_future_ref(s.f[1]), s.cancel_error);
	exs_error_unref(s.cancel_error);
	scene_end(&s);
	CHECK_INT(s.jobs[0].made, 3);
}

static exs_error *yield_nothing(struct scene *s, exs_descriptor **d, size_t n, double *delay)
{
	(void)s, (void)n, (void)delay;
	CHECK(exs_yield_result(d[0], NULL, NULL));
	CHECK(exs_yield_error(d[1], NULL));
	return NULL;
}

TEST(poll, a_descriptor_of_nothing)
{
	struct seen seen;

	seen_init(&seen);
	CHECK(!exs_descriptor_value(NULL) && !exs_descriptor_name(NULL));
	CHECK(!exs_yield_result(NULL, &seen, seen_free) && !exs_yield_error(NULL, NULL));
	CHECK_INT(seen.frees, 1);
	exs_refuse(NULL);
}

TEST(poll, yields_of_nothing)
{
	struct scene s;

	scene_init(&s);
	start_pending(&s, 2);
	s.act = yield_nothing;
	poll_now(&s);
	expect_value(exs_future_ref(s.f[0]), NULL);
	CHECK(strstr(exs_error_message(exs_future_error(s.f[1])), "exs_yield_error: error is NULL"));
	expect_code(exs_future_ref(s.f[1]), &exs_domain_exs, EXS_EINVAL);
	scene_end(&s);
}

static void *yield_there(void *arg)
{
	struct scene *s = arg;
	exs_result r = job_value(s->values[0]);

	s->yielded = exs_yield_result(s->d[0], r.value, r.destroy);
	return NULL;
}

static exs_error *yield_elsewhere(struct scene *s, exs_descriptor **d, size_t n, double *delay)
{
	(void)d, (void)n, (void)delay;
	thread_join(thread_start(yield_there, s));
	return NULL;
}

TEST(poll, yields_on_another_thread)
{
	struct scene s;

	scene_init(&s);
	start_pending(&s, 1);
	s.act = yield_elsewhere;
	poll_now(&s);
	CHECK_INT(s.yielded, 1);
	expect_value(exs_future_ref(s.f[0]), &s.jobs[0]);
	scene_end(&s);
}

/* The descriptor and its value live until the poll function returns; its yield is ignored. */
static exs_error *yield_cancelled(struct scene *s, exs_descriptor **d, size_t n, double *delay)
{
	exs_result r = job_value(&s->jobs[0]);

	(void)n, (void)delay;
	CHECK(exs_descriptor_value(d[0]) == &s->jobs[0]);
	CHECK_INT(s->jobs[0].values, 2);
	s->yielded = exs_yield_result(d[0], r.value, r.destroy);
	CHECK_INT(s->jobs[0].values, 1);
	CHECK(!exs_yield_error(d[0], exs_error_new(&test_domain, 1, "late")));
	return NULL;
}

TEST(poll, cancel_during_a_poll)
{
	struct scene s;

	scene_init(&s);
	start_pending(&s, 1);
	begin_poll(&s);
	CHECK_INT(exs_future_cancel(s.f[0]), EXS_CANCELLED);
	CHECK_INT(s.asked, 1);
	CHECK_INT(s.jobs[0].values, 1);
	s.act = yield_cancelled;
	end_poll(&s, false);
	CHECK_INT(s.yielded, 0);
	expect_cancelled(exs_future_ref(s.f[0]), EXS_CAUSE_USER);
	scene_end(&s);
}

/* A descriptor that a retry entered again ignores yields from the old batch. */
static exs_error *yield_old_and_new(struct scene *s, exs_descriptor **d, size_t n, double *delay)
{
	exs_result r = job_value(&s->jobs[0]);

	(void)n, (void)delay;
	CHECK(exs_yield_error(d[0], exs_error_new(&test_domain, 1, "again")));
	CHECK_INT(s->jobs[0].starts, 2); /* it is in the set once more */
	CHECK(!exs_yield_result(d[0], r.value, r.destroy));
	CHECK(!exs_future_is_done(s->f[0]));
	s->act = resolve_all;
	return NULL;
}

TEST(poll, retried_descriptor_ignores_its_old_batch)
{
	struct scene s;

	scene_init(&s);
	s.ex = exs_with_retry(s.ex, &(exs_retry_options){.sleep = EXS_NONE});
	start_pending(&s, 1);
	s.act = yield_old_and_new;
	poll_now(&s);
	expect_value(exs_future_ref(s.f[0]), &s.jobs[0]);
	scene_end(&s);
	CHECK_INT(s.jobs[0].starts, 2);
}

/* A callback runs inside the yield, on the poll thread; it may cancel others of the batch, and submit. */
static void cancel_next(exs_future *f, void *arg)
{
	struct scene *s = arg;

	(void)f;
	CHECK(pthread_equal(pthread_self(), s->poller));
	CHECK_INT(exs_future_cancel(s->f[1]), EXS_CANCELLED);
	CHECK(pthread_equal(s->asker, s->poller)); /* the cancelling thread */
	submit(s, 2);
}

static exs_error *yield_first(struct scene *s, exs_descriptor **d, size_t n, double *delay)
{
	exs_result r[] = {job_value(&s->jobs[0]), job_value(&s->jobs[1])};

	(void)n, (void)delay;
	CHECK(exs_yield_result(d[0], r[0].value, r[0].destroy));
	CHECK_INT(exs_future_state(s->f[1]), EXS_STATE_CANCELLED);
	CHECK(!exs_yield_result(d[1], r[1].value, r[1].destroy));
	s->act = resolve_all;
	return NULL;
}

TEST(poll, callbacks_in_the_poll_function)
{
	struct scene s;

	scene_init(&s);
	start_pending(&s, 2);
	CHECK_INT(exs_future_on_done(s.f[0], cancel_next, &s, NULL), EXS_OK);
	s.act = yield_first;
	poll_now(&s);
	expect_value(exs_future_ref(s.f[2]), &s.jobs[2]);
	scene_end(&s);
}

/* --- when it polls --- */

TEST(poll, delay_until_the_next)
{
	double delays[] = {0, 2, 300, 1e-6}, next[] = {5, 2, 300, 1e-6};
	struct scene s;

	scene_init(&s);
	start_pending(&s, 1);
	for (int i = 0; i < 4; i++) {
		s.sets = i > 0;
		s.delay = delays[i];
		poll_now(&s);
		wait_next(s.clock, next[i]);
		CHECK(s.preset == 5);
		CHECK(exs_clock_next(s.clock) == next[i]);
		unsigned polls = s.polls;
		advance(s.clock, next[i] / 2);
		CHECK_INT(s.polls, polls);
		advance(s.clock, next[i] / 2);
		sem_take(&s.polled);
		CHECK_INT(s.polls, polls + 1);
		wait_next(s.clock, next[i]);
	}
	scene_end(&s);
}

static exs_error *at_once_until_ten(struct scene *s, exs_descriptor **d, size_t n, double *delay)
{
	*delay = s->polls < 10 ? 0 : EXS_FOREVER;
	(void)d, (void)n;
	return NULL;
}

/* 0: again at once. EXS_FOREVER: only on demand. */
TEST(poll, delay_of_nothing_and_for_ever)
{
	struct scene s;

	scene_init(&s);
	s.act = at_once_until_ten;
	submit(&s, 0);
	for (int i = 0; i < 10; i++)
		sem_take(&s.polled);
	advance(s.clock, 1e6);
	CHECK_INT(s.polls, 10);
	s.act = resolve_all;
	poll_now(&s);
	expect_value(exs_future_ref(s.f[0]), &s.jobs[0]);
	scene_end(&s);
}

TEST(poll, delay_with_nonsense_is_logged_and_replaced)
{
	struct scene s;
	double wrong[] = {NAN, -1};

	log_begin(EXS_LOG_ERROR);
	scene_init(&s);
	start_pending(&s, 1);
	s.sets = true;
	for (unsigned i = 0; i < 2; i++) {
		s.delay = wrong[i];
		poll_now(&s);
		wait_next(s.clock, 5);
		CHECK(exs_clock_next(s.clock) == 5);
		CHECK_INT(log_lines("seconds: the interval is taken instead"), i + 1);
	}
	scene_end(&s);
	log_end();
}

/* A newly pending call is asked for at once, though the next poll is far; so is one on demand, from the top of a chain. */
TEST(poll, woken_by_a_new_call_and_by_notify)
{
	struct scene s;

	scene_init(&s);
	exs_poll_options other = {.interval = 1000};
	s.ex = exs_with_timeout_mode(exs_with_retry(s.ex, NULL), 10000, EXS_ABANDON);
	s.ex = exs_with_timeout(exs_with_poll(s.ex, job_poll, NULL, NULL, &other), 10000);
	start_pending(&s, 1);
	submit(&s, 1);
	sem_take(&s.polled);
	CHECK_INT(s.n, 2);
	exs_executor *borrow = exs_borrow(s.ex);
	exs_poll_notify(borrow);
	sem_take(&s.polled);
	exs_poll_notify(NULL);
	s.act = resolve_all;
	poll_now(&s);
	for (int i = 0; i < 2; i++)
		expect_value(exs_future_ref(s.f[i]), &s.jobs[i]); /* through the upper one as well */
	exs_executor_free(borrow);
	scene_end(&s);
}

/* Whatever comes during a poll causes one more, not many. */
TEST(poll, one_more_for_what_comes_during_a_poll)
{
	struct scene s;

	scene_init(&s);
	s.gated = true;
	submit(&s, 0);
	await_poll(&s);
	for (unsigned i = 1; i < JOBS; i++) {
		submit(&s, i);
		exs_poll_notify(s.ex);
	}
	CHECK_INT(s.n, 1);
	end_poll(&s, true);
	await_poll(&s);
	CHECK_INT(s.n, JOBS);
	exs_poll_notify(s.ex); /* on demand alone, too */
	exs_poll_notify(s.ex);
	end_poll(&s, true);
	await_poll(&s);
	end_poll(&s, false);
	wait_next(s.clock, 5); /* it sleeps */
	CHECK_INT(s.polls, 3);
	scene_end(&s);
}

static bool poller_sleeps(void *scene)
{
	return thread_sleeps(((struct scene *)scene)->poller_tid);
}

/* With nothing pending no timer is armed, and neither time nor notify makes it poll. */
TEST(poll, sleeps_with_nothing_pending)
{
	struct scene s;

	scene_init(&s);
	CHECK_INT(exs_clock_armed(s.clock), 0);
	exs_poll_notify(s.ex);
	advance(s.clock, 100);
	s.act = resolve_all;
	for (unsigned i = 0; i < 3; i++) {
		submit(&s, i);
		expect_value(exs_future_ref(s.f[i]), &s.jobs[i]);
		sem_take(&s.polled);
		wait_until(poller_sleeps, &s);
		CHECK_INT(exs_clock_armed(s.clock), 0);
		advance(s.clock, 100);
		exs_poll_notify(s.ex);
	}
	submit(&s, 3);
	expect_value(exs_future_ref(s.f[3]), &s.jobs[3]);
	scene_end(&s);
	CHECK_INT(s.polls, 4);
}

/* The last one leaves by a cancel: the timer that is armed finds nothing to do. */
TEST(poll, timer_with_nothing_left)
{
	struct scene s;

	scene_init(&s);
	start_pending(&s, 1);
	CHECK_INT(exs_future_cancel(s.f[0]), EXS_CANCELLED);
	advance(s.clock, 100);
	CHECK_INT(exs_clock_armed(s.clock), 0);
	s.act = resolve_all;
	submit(&s, 1);
	expect_value(exs_future_ref(s.f[1]), &s.jobs[1]);
	scene_end(&s);
	CHECK_INT(s.polls, 2);
}

TEST(poll, goes_on_with_an_empty_list_by_option)
{
	struct scene s;
	exs_executor *ex = delegate(&s);

	s.options.poll_empty = true;
	s.options.interval = 7;
	s.ex = with_poll(ex, &s);
	for (unsigned i = 0; i < 5; i++) {
		sem_take(&s.polled);
		CHECK_INT(s.polls, i + 1);
		CHECK_INT(s.n, 0);
		CHECK(s.preset == 7);
		wait_next(s.clock, 7);
		advance(s.clock, 7);
	}
	sem_take(&s.polled);
	wait_next(s.clock, 7);
	s.act = resolve_all;
	submit(&s, 0);
	expect_value(exs_future_ref(s.f[0]), &s.jobs[0]);
	scene_end(&s);
}

/* min(interval, max(first, age / 2)), the age of the youngest: 1, 1, 1, 1.5, 2.25 ..., up to 10; from 1 with the next one. */
TEST(poll, interval_grows_with_age)
{
	struct scene s;
	exs_executor *ex = delegate(&s);
	double begin = 0;

	s.options.interval = 10;
	s.options.first_interval = 1;
	s.ex = with_poll(ex, &s);
	for (unsigned call = 0; call < 2; call++) {
		unsigned polls = s.polls;
		double at = begin;
		submit(&s, call);
		for (int i = 0; i < 12; i++) {
			double age = at - begin, expected = age / 2 > 1 ? age / 2 : 1;
			expected = expected < 10 ? expected : 10;
			sem_take(&s.polled);
			CHECK_INT(s.polls, ++polls);
			CHECK(s.preset == expected);
			wait_next(s.clock, expected);
			CHECK(exs_clock_next(s.clock) == expected);
			advance(s.clock, expected);
			at += expected;
		}
		sem_take(&s.polled);
		wait_next(s.clock, 10);
		begin = exs_clock_now(s.clock);
	}
	scene_end(&s);
}

/* --- errors --- */

static exs_error *fail_all(struct scene *s, exs_descriptor **d, size_t n, double *delay)
{
	*delay = 77; /* of no account */
	if (n > 1) {
		exs_result r = job_value(exs_descriptor_value(d[1]));
		CHECK(exs_yield_result(d[1], r.value, r.destroy));
	}
	return exs_error_ref(s->cancel_error);
}

/* Those of that very call that are still pending fail with that very error; who joined meanwhile does not; it polls on. */
TEST(poll, error_fails_its_own_list)
{
	struct scene s;

	log_begin(EXS_LOG_WARNING);
	scene_init(&s);
	s.cancel_error = exs_error_new(&test_domain, 1, "search answered 500");
	start_pending(&s, 4);
	begin_poll(&s);
	CHECK_INT(exs_future_cancel(s.f[3]), EXS_STOP_REQUESTED); /* its cancel function failed: it stays */
	CHECK_INT(log_lines("the cancel function failed: search answered 500"), 1);
	submit(&s, 4);
	s.act = fail_all;
	end_poll(&s, true);
	await_poll(&s); /* for the one that joined; no error this time */
	CHECK(s.n == 1 && s.values[0] == &s.jobs[4]);
	for (int i = 0; i < 4; i++) {
		if (i == 1)
			expect_value(exs_future_ref(s.f[i]), &s.jobs[i]);
		else
			expect_error(exs_future_ref(s.f[i]), s.cancel_error);
	}
	CHECK_INT(log_lines("poll: search answered 500"), 1);
	end_poll(&s, false); /* it fails as well */
	expect_error(exs_future_ref(s.f[4]), s.cancel_error);
	s.act = resolve_all;
	submit(&s, 5); /* the executor lives on */
	expect_value(exs_future_ref(s.f[5]), &s.jobs[5]);
	scene_end(&s);
	exs_error_unref(s.cancel_error);
	log_end();
}

TEST(poll, error_polls_again_after_the_interval)
{
	struct scene s;
	exs_executor *ex = delegate(&s);

	s.options.poll_empty = true;
	s.options.interval = 7;
	s.act = fail_all;
	s.cancel_error = exs_error_new(&test_domain, 1, "no");
	s.ex = with_poll(ex, &s);
	for (int i = 0; i < 3; i++) {
		sem_take(&s.polled);
		wait_next(s.clock, 7);
		CHECK(exs_clock_next(s.clock) == 7);
		advance(s.clock, 7);
	}
	scene_end(&s);
	exs_error_unref(s.cancel_error);
}

/* --- cancel --- */

/* The cancel function is for those in the pending set: not for one that is queued, runs, or is done. */
TEST(poll, cancel_function_is_for_the_pending)
{
	struct scene s;

	exs_executor_free(delegate(&s));
	s.ex = with_poll(exs_with_clock(exs_thread_pool(1), s.clock), &s);
	s.jobs[0].gated = true;
	submit(&s, 0);
	sem_take(&s.jobs[0].entered);
	submit(&s, 1);
	CHECK_INT(exs_future_cancel(s.f[1]), EXS_CANCELLED);
	CHECK_INT(exs_future_cancel(s.f[0]), EXS_STOP_REQUESTED);
	sem_post(&s.jobs[0].open);
	expect_cancelled(exs_future_ref(s.f[0]), EXS_CAUSE_USER); /* it no longer joins */
	s.act = resolve_all;
	submit(&s, 2);
	expect_value(exs_future_ref(s.f[2]), &s.jobs[2]);
	CHECK_INT(exs_future_cancel(s.f[2]), EXS_TOO_LATE);
	scene_end(&s);
	CHECK_INT(s.asked, 0);
	CHECK_INT(s.polls, 1);
}

/* A user's cancel asks on the cancelling thread; the answers. */
TEST(poll, cancel_answered_yes)
{
	struct scene s;

	scene_init(&s);
	start_pending(&s, 1);
	CHECK_INT(exs_future_cancel(s.f[0]), EXS_CANCELLED);
	CHECK(s.asked == 1 && pthread_equal(s.asker, pthread_self()));
	CHECK_INT(s.jobs[0].values, 0);
	CHECK_INT(exs_future_cancel(s.f[0]), EXS_CANCELLED);
	CHECK_INT(s.asked, 1);
	expect_cancelled(exs_future_ref(s.f[0]), EXS_CAUSE_USER);
	scene_end(&s);
}

TEST(poll, cancel_answered_no)
{
	struct scene s;

	scene_init(&s);
	start_pending(&s, 1);
	s.refuse = true;
	for (unsigned i = 1; i < 4; i++) {
		CHECK_INT(exs_future_cancel(s.f[0]), EXS_STOP_REQUESTED);
		CHECK_INT(s.asked, i);
		CHECK_INT(exs_future_state(s.f[0]), EXS_STATE_PENDING);
	}
	poll_now(&s);
	CHECK_INT(s.n, 1); /* still asked for */
	s.act = resolve_all;
	poll_now(&s);
	expect_value(exs_future_ref(s.f[0]), &s.jobs[0]);
	scene_end(&s);
}

TEST(poll, cancel_refused_and_then_granted)
{
	struct scene s;

	scene_init(&s);
	start_pending(&s, 1);
	s.refuse = true;
	CHECK_INT(exs_future_cancel(s.f[0]), EXS_STOP_REQUESTED);
	s.refuse = false;
	CHECK_INT(exs_future_cancel(s.f[0]), EXS_CANCELLED);
	scene_end(&s);
}

/* It failed: logged, not cancelled, whatever it answers. */
TEST(poll, cancel_function_that_fails)
{
	struct scene s;

	log_begin(EXS_LOG_ERROR);
	scene_init(&s);
	exs_with_name(s.ex, "jobs");
	start_pending(&s, 1);
	s.cancel_error = exs_error_new(&test_domain, 1, "DELETE answered 500");
	CHECK_INT(exs_future_cancel(s.f[0]), EXS_STOP_REQUESTED);
	CHECK_INT(log_lines("jobs: poll: the cancel function failed: DELETE answered 500"), 1);
	exs_error_unref(s.cancel_error);
	s.cancel_error = NULL;
	s.act = resolve_all;
	poll_now(&s);
	expect_value(exs_future_ref(s.f[0]), &s.jobs[0]);
	scene_end(&s);
	log_end();
}

TEST(poll, cancel_without_a_function)
{
	struct scene s;
	exs_executor *ex = delegate(&s);

	s.ex = exs_with_poll(ex, poll_fn, NULL, &s, &s.options);
	start_pending(&s, 2);
	CHECK_INT(exs_future_cancel(s.f[0]), EXS_CANCELLED);
	CHECK_INT(exs_shutdown(s.ex, EXS_CANCEL_QUEUED, EXS_FOREVER), 0);
	expect_cancelled(exs_future_ref(s.f[1]), EXS_CAUSE_SHUTDOWN);
	scene_end(&s);
}

/* For any other cause the poll thread asks, and the answer does not count. */
TEST(poll, shutdown_asks_on_the_poll_thread)
{
	struct scene s;

	scene_init(&s);
	start_pending(&s, 3);
	s.refuse = true;
	CHECK_INT(exs_shutdown(s.ex, EXS_CANCEL_QUEUED, EXS_FOREVER), 0);
	CHECK_INT(s.asked, 3);
	CHECK(pthread_equal(s.asker, s.poller));
	for (int i = 0; i < 3; i++)
		expect_cancelled(exs_future_ref(s.f[i]), EXS_CAUSE_SHUTDOWN);
	scene_end(&s);
}

static exs_result fail_with(void *error, exs_context *ctx)
{
	(void)ctx;
	return exs_fail(exs_error_ref(error));
}

/* So for a timeout, and for a failed sibling in a scope; whether the function says yes or no, or fails. */
TEST(poll, timeouts_and_siblings_ask_on_the_poll_thread)
{
	for (int i = 0; i < 6; i++) {
		struct scene s;
		exs_error *no = exs_error_new(&test_domain, 1, "no"), *e;
		exs_executor *other = exs_inline();
		exs_scope *scope = exs_scope_new();
		log_begin(EXS_LOG_ERROR);
		scene_init(&s);
		s.ex = exs_with_timeout(s.ex, 3);
		s.gated = true;
		s.f[0] = exs_scope_submit_with(scope, s.ex,
					       &(exs_task){.fn = job_run, .arg = &s.jobs[0], .arg_free = job_free_arg});
		await_poll(&s);
		end_poll(&s, false);
		wait_next(s.clock, 3);
		s.refuse = i / 2 == 1;
		s.cancel_error = i / 2 == 2 ? no : NULL;
		if (i % 2)
			advance(s.clock, 3);
		else
			expect_error(exs_scope_submit(scope, other, fail_with, no), no);
		wait_done(s.f[0]);
		if (i % 2)
			expect_code(exs_future_ref(s.f[0]), &exs_domain_exs, EXS_ETIMEDOUT);
		else
			expect_cancelled(exs_future_ref(s.f[0]), EXS_CAUSE_SIBLING);
		CHECK_INT(s.asked, 1);
		CHECK(pthread_equal(s.asker, s.poller));
		CHECK_INT(log_lines("the cancel function failed"), i / 2 == 2);
		e = exs_scope_close(scope);
		CHECK(i % 2 ? exs_error_is(e, &exs_domain_exs, EXS_ETIMEDOUT) : e == no);
		exs_error_unref(e);
		scene_end(&s);
		CHECK_INT(s.polls, 1); /* it left the set */
		exs_executor_free(other);
		exs_error_unref(no);
		log_end();
	}
}

/* DRAIN polls until all are resolved. */
static exs_error *resolve_one(struct scene *s, exs_descriptor **d, size_t n, double *delay)
{
	(void)n;
	*delay = 0;
	return resolve_all(s, d, 1, delay);
}

TEST(poll, drain_polls_to_the_end)
{
	struct scene s;

	scene_init(&s);
	start_pending(&s, 5);
	s.act = resolve_one;
	exs_poll_notify(s.ex);
	CHECK_INT(exs_shutdown(s.ex, EXS_DRAIN, EXS_FOREVER), 0);
	for (int i = 0; i < 5; i++)
		expect_value(exs_future_ref(s.f[i]), &s.jobs[i]);
	scene_end(&s);
	CHECK_INT(s.asked, 0);
}

/* A yield that comes while the cancel function runs is kept: delivered if that says no, destroyed if it says yes. */
static exs_error *yield_kept(struct scene *s, exs_descriptor **d, size_t n, double *delay)
{
	exs_result r = job_value(&s->jobs[0]);

	(void)n, (void)delay;
	s->yielded = exs_yield_result(d[0], r.value, r.destroy);
	CHECK(!exs_yield_error(d[0], exs_error_new(&test_domain, 1, "second")));
	return NULL;
}

static void let_it_yield(struct scene *s)
{
	CHECK_INT(s->jobs[0].values, 1);
	s->act = yield_kept;
	end_poll(s, false);
	CHECK_INT(s->yielded, 1);
	CHECK(!exs_future_is_done(s->f[0]));
}

TEST(poll, yield_while_the_cancel_function_runs)
{
	for (int refuse = 0; refuse < 2; refuse++) {
		struct scene s;
		scene_init(&s);
		start_pending(&s, 1);
		begin_poll(&s);
		s.refuse = refuse;
		s.when_asked = let_it_yield;
		CHECK_INT(exs_future_cancel(s.f[0]), refuse ? EXS_TOO_LATE : EXS_CANCELLED);
		if (refuse)
			expect_value(exs_future_ref(s.f[0]), &s.jobs[0]);
		else
			expect_cancelled(exs_future_ref(s.f[0]), EXS_CAUSE_USER);
		scene_end(&s);
		CHECK_INT(s.jobs[0].made, 2);
	}
}

/* An error of the poll function comes in the same way. */
static void let_it_fail(struct scene *s)
{
	s->cancel_error = s->jobs[0].error;
	s->act = fail_all;
	end_poll(s, false);
	wait_next(s->clock, 5); /* it has failed its list */
	CHECK(!exs_future_is_done(s->f[0]));
	s->cancel_error = NULL;
}

TEST(poll, error_while_the_cancel_function_runs)
{
	for (int refuse = 0; refuse < 2; refuse++) {
		struct scene s;
		scene_init(&s);
		start_pending(&s, 1);
		s.jobs[0].error = exs_error_new(&test_domain, 1, "search failed");
		begin_poll(&s);
		s.refuse = refuse;
		s.when_asked = let_it_fail;
		CHECK_INT(exs_future_cancel(s.f[0]), refuse ? EXS_TOO_LATE : EXS_CANCELLED);
		if (refuse)
			expect_error(exs_future_ref(s.f[0]), s.jobs[0].error);
		else
			expect_cancelled(exs_future_ref(s.f[0]), EXS_CAUSE_USER);
		exs_error_unref(s.jobs[0].error);
		scene_end(&s);
	}
}

/* Shutdown while a user's cancel function is at work, which then says no: it can't be kept. */
static void let_it_close(struct scene *s)
{
	exs_shutdown(s->ex, EXS_CANCEL_QUEUED, 0);
}

TEST(poll, shutdown_while_the_cancel_function_refuses)
{
	struct scene s;

	scene_init(&s);
	start_pending(&s, 1);
	s.refuse = true;
	s.when_asked = let_it_close;
	exs_future_cancel(s.f[0]);
	s.when_asked = NULL;
	CHECK_INT(exs_shutdown(s.ex, EXS_CANCEL_QUEUED, EXS_FOREVER), 0);
	CHECK(exs_future_is_done(s.f[0]));
	CHECK_INT(exs_future_cause(s.f[0]), EXS_CAUSE_USER);
	scene_end(&s);
}

/* --- cancel_many --- */

/* Refuses every third. */
static void cancel_many(void *ctx, exs_descriptor **d, size_t n)
{
	struct scene *s = ctx;

	atomic_fetch_add(&s->asked, 1);
	s->many = n;
	s->asker = pthread_self();
	for (size_t i = 0; i < n; i++) {
		struct job *job = exs_descriptor_value(d[i]);
		atomic_fetch_add(&job->told, 1);
		CHECK_STR(exs_descriptor_name(d[i]), NULL);
		if (s->refuse && i % 3 == 0)
			exs_refuse(d[i]);
	}
}

static void many_init(struct scene *s)
{
	exs_executor *ex = delegate(s);

	s->options.cancel_many = cancel_many;
	s->ex = with_poll(ex, s);
	start_pending(s, JOBS);
}

TEST(poll, cancel_many_is_one_call)
{
	struct scene s;
	exs_set *set = exs_set_new();

	many_init(&s);
	CHECK_INT(exs_future_cancel(s.f[7]), EXS_CANCELLED);
	CHECK(s.asked == 1 && s.many == 1);
	CHECK_INT(exs_future_cancel_all(s.f, 4), 4); /* of its own */
	CHECK(s.asked == 2 && s.many == 4);
	CHECK(pthread_equal(s.asker, pthread_self()));
	for (int i = 3; i < JOBS; i++)
		CHECK_INT(exs_set_add(set, exs_future_ref(s.f[i])), EXS_OK);
	CHECK_INT(exs_set_cancel(set), 5);
	CHECK(s.asked == 3 && s.many == 3);
	for (int i = 0; i < JOBS; i++) {
		CHECK_INT(s.jobs[i].told, 1);
		expect_cancelled(exs_future_ref(s.f[i]), EXS_CAUSE_USER);
	}
	exs_set_free(set);
	scene_end(&s);
}

TEST(poll, cancel_many_refused)
{
	struct scene s;

	many_init(&s);
	s.refuse = true;
	CHECK_INT(exs_future_cancel_all(s.f, JOBS), 5);
	CHECK_INT(s.asked, 1);
	for (int i = 0; i < JOBS; i++)
		CHECK_INT(exs_future_state(s.f[i]), i % 3 ? EXS_STATE_CANCELLED : EXS_STATE_PENDING);
	CHECK_INT(exs_future_cancel_all(s.f, JOBS), 7); /* of the three that are left it refuses the first */
	CHECK_INT(s.many, 3);
	s.act = resolve_all;
	poll_now(&s);
	expect_value(exs_future_ref(s.f[0]), &s.jobs[0]);
	scene_end(&s);
}

TEST(poll, cancel_many_by_shutdown)
{
	struct scene s;

	many_init(&s);
	s.refuse = true;
	CHECK_INT(exs_shutdown(s.ex, EXS_CANCEL_ALL, EXS_FOREVER), 0);
	CHECK_INT(s.asked, 1);
	CHECK_INT(s.many, JOBS);
	CHECK(pthread_equal(s.asker, s.poller));
	for (int i = 0; i < JOBS; i++)
		expect_cancelled(exs_future_ref(s.f[i]), EXS_CAUSE_SHUTDOWN);
	scene_end(&s);
}

/* Those of several executors, promises, running ones and done ones go together; each poll layer gets its own. */
TEST(poll, cancel_many_among_others)
{
	struct scene s, other;
	exs_executor *pool = exs_thread_pool(1);
	struct job gate;
	exs_future *all[2 * JOBS + 4];
	exs_promise *p = exs_promise_new(&all[2 * JOBS]), *done = exs_promise_new(&all[2 * JOBS + 1]);

	many_init(&s);
	many_init(&other);
	for (int i = 0; i < JOBS; i++) {
		all[2 * i] = s.f[i];
		all[2 * i + 1] = other.f[i];
	}
	CHECK_INT(exs_promise_complete(done, exs_ok(NULL, NULL)), EXS_OK);
	job_init(&gate);
	gate.gated = true;
	all[2 * JOBS + 2] = job_submit(pool, &gate);
	sem_take(&gate.entered);
	all[2 * JOBS + 3] = NULL;
	CHECK_INT(exs_future_cancel_all(all, 2 * JOBS + 4), 2 * JOBS + 1);
	CHECK(s.asked == 1 && s.many == JOBS && other.asked == 1 && other.many == JOBS);
	CHECK_INT(exs_future_cause(all[2 * JOBS + 2]), EXS_CAUSE_USER);
	sem_post(&gate.open);
	exs_promise_free(p);
	exs_promise_free(done);
	for (int i = 0; i < 3; i++)
		exs_future_unref(all[2 * JOBS + i]);
	exs_executor_free(pool);
	job_fini(&gate);
	scene_end(&s);
	scene_end(&other);
}

/* Ten thousand: one poll resolves the one half, one request cancels the other. */
enum { CROWD = 10000 };

struct crowd {
	atomic_uint polls, cancels;
	size_t pending, cancelled;
	sem_t go;
};

static exs_error *poll_crowd(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	struct crowd *c = ctx;

	if (atomic_fetch_add(&c->polls, 1) == 0) {
		sem_take(&c->go);
		*delay = 0;
		return NULL;
	}
	*delay = EXS_FOREVER;
	c->pending = n;
	for (size_t i = 0; i < n; i += 2)
		CHECK(exs_yield_result(d[i], exs_descriptor_value(d[i]), NULL));
	sem_post(&c->go);
	return NULL;
}

static void cancel_crowd(void *ctx, exs_descriptor **d, size_t n)
{
	struct crowd *c = ctx;

	(void)d;
	atomic_fetch_add(&c->cancels, 1);
	c->cancelled = n;
}

static exs_result itself(void *arg, exs_context *ctx)
{
	(void)ctx;
	return exs_ok(arg, NULL);
}

static bool crowd_resolved(void *c)
{
	return ((struct crowd *)c)->polls == 2;
}

TEST(poll, ten_thousand_in_one_request)
{
	struct crowd c = {.polls = 0};
	exs_poll_options options = {.cancel_many = cancel_crowd};
	exs_executor *ex = exs_with_poll(exs_inline(), poll_crowd, NULL, &c, &options);
	exs_future **f = malloc(CROWD * sizeof(exs_future *));

	CHECK(!sem_init(&c.go, 0, 0));
	for (size_t i = 0; i < CROWD; i++)
		f[i] = exs_submit(ex, itself, &f[i]);
	sem_post(&c.go);
	wait_until(crowd_resolved, &c);
	sem_take(&c.go);
	CHECK_INT(c.pending, CROWD);
	CHECK_INT(exs_future_cancel_all(f, CROWD), CROWD / 2);
	CHECK_INT(c.cancels, 1);
	CHECK_INT(c.cancelled, CROWD / 2);
	for (size_t i = 0; i < CROWD; i++) {
		if (i % 2)
			expect_cancelled(f[i], EXS_CAUSE_USER);
		else
			expect_value(f[i], &f[i]);
	}
	exs_executor_free(ex);
	free(f);
}

/* --- the thread, options --- */

static exs_error *look_at_thread(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	sigset_t mask;

	(void)n, (void)delay;
	CHECK(!pthread_getname_np(pthread_self(), ctx, 16));
	CHECK(!pthread_sigmask(SIG_SETMASK, NULL, &mask));
	CHECK(sigismember(&mask, SIGINT) && sigismember(&mask, SIGTERM));
	exs_yield_result(d[0], NULL, NULL);
	return NULL;
}

TEST(poll, has_a_thread_of_its_own)
{
	const char *names[] = {NULL, "crawler", "a-very-long-name"};
	const char *expected[] = {"exs-poll", "crawler-poll", "a-very-lon-poll"};

	for (int i = 0; i < 3; i++) {
		char name[16] = "";
		int threads = harness_threads();
		exs_executor *ex = exs_with_clock(exs_with_name(exs_inline(), names[i]), NULL);
		ex = exs_with_poll(ex, look_at_thread, NULL, name, NULL);
		harness_wait_threads(threads + 2); /* and the timer's */
		expect_value(exs_submit(ex, itself, NULL), NULL);
		exs_executor_free(ex);
		CHECK_STR(name, expected[i]);
		harness_wait_threads(threads);
	}
}

TEST(poll, options_with_nonsense)
{
	struct {
		exs_poll_options options;
		char tail[8];
	} longer = {.tail = {[7] = 1}};
	exs_poll_options wrong[] = {
		{.interval = NAN},
		{.interval = -1},
		{.first_interval = NAN},
		{.first_interval = -1},
	};
	struct scene s = {.frees = 0};
	int threads = harness_threads();

	for (unsigned i = 0; i < 4; i++) {
		wrong[i].ctx_free = ctx_free;
		CHECK(!exs_with_poll(exs_inline(), poll_fn, cancel_fn, &s, &wrong[i]));
		CHECK_INT(exs_error_code(exs_last_error()), EXS_EINVAL);
		CHECK_INT(s.frees, i + 1);
	}
	longer.options.ctx_free = ctx_free;
	CHECK(!exs_with_poll_sized(exs_inline(), poll_fn, NULL, &s, &longer.options, sizeof(longer)));
	CHECK(!exs_with_poll(exs_inline(), NULL, cancel_fn, &s, &longer.options));
	CHECK_INT(exs_error_code(exs_last_error()), EXS_EINVAL);
	CHECK(!exs_with_poll(NULL, poll_fn, cancel_fn, &s, &longer.options));
	CHECK_INT(s.frees, 7);
	harness_wait_threads(threads);
	longer.tail[7] = 0;
	exs_executor_free(exs_with_poll_sized(exs_inline(), poll_fn, NULL, &s, &longer.options, sizeof(longer)));
	CHECK_INT(s.frees, 8);
}

TEST(poll, describes_itself)
{
	exs_poll_options options[] = {{.interval = EXS_NONE}, {.interval = 0.25}};
	exs_executor *ex = exs_inline();
	char text[64];

	for (int i = 0; i < 2; i++)
		ex = exs_with_poll(ex, poll_fn, NULL, NULL, &options[i]);
	ex = exs_with_poll(ex, poll_fn, NULL, NULL, NULL);
	exs_describe(ex, text, sizeof(text));
	CHECK_STR(text, "poll(5s) > poll(0.25s) > poll(0s) > inline");
	exs_executor_free(ex);
}
