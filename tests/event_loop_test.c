/* The event loop: order, rounds, stop, descriptor, callbacks and what becomes of them, waits inside tasks, shutdown on its own
   thread. */
#define _GNU_SOURCE
#include "support.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static exs_executor *made(void)
{
	exs_executor *ex = exs_event_loop();

	CHECK(ex);
	return ex;
}

static bool failed_so(int code)
{
	return exs_error_is(exs_last_error(), &exs_domain_exs, code);
}

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int n = poll(&p, 1, 0);

	CHECK(n >= 0 && !(p.revents & ~POLLIN));
	return n == 1;
}

static exs_future *promised(exs_promise **p)
{
	exs_future *f;

	*p = exs_promise_new(&f);
	CHECK(*p);
	return f;
}

static void complete(exs_promise *p)
{
	CHECK_INT(exs_promise_complete(p, exs_ok(NULL, NULL)), EXS_OK);
	exs_promise_free(p);
}

static void *turn(void *ex)
{
	CHECK(exs_event_loop_run(ex) >= 0);
	return NULL;
}

/* --- a thread that is going to sleep --- */

struct sleeper {
	pid_t tid;
	atomic_bool soon;
};

static void sleeps_soon(struct sleeper *s)
{
	s->tid = (pid_t)syscall(SYS_gettid);
	atomic_store(&s->soon, true);
}

static bool asleep(void *arg)
{
	struct sleeper *s = arg;

	return atomic_load(&s->soon) && thread_sleeps((int)s->tid);
}

/* --- order, rounds --- */

struct step {
	unsigned *next, number; /* the numbers in their order */
	exs_executor *ex;	/* or NULL: submits the step `then` */
	struct step *then;
};

static void make_step(void *arg)
{
	struct step *s = arg;

	CHECK_INT((*s->next)++, s->number);
}

static exs_result step_task(void *arg, exs_context *ctx)
{
	struct step *s = arg;

	(void)ctx;
	make_step(s);
	if (s->ex)
		exs_future_unref(exs_submit(s->ex, step_task, s->then));
	return exs_ok(NULL, NULL);
}

static void step_callback(exs_future *f, void *arg)
{
	CHECK(exs_future_is_done(f));
	make_step(arg);
}

TEST(event_loop, tasks_and_callbacks_first_in_first_out)
{
	exs_executor *ex = made();
	exs_promise *p;
	exs_future *f = promised(&p);
	unsigned next = 0;
	struct step s[6];

	for (unsigned i = 0; i < 6; i++)
		s[i] = (struct step){.next = &next, .number = i};
	for (unsigned i = 2; i < 4; i++)
		CHECK_INT(exs_event_loop_on_done(ex, f, step_callback, &s[i], NULL), EXS_OK);
	for (unsigned i = 0; i < 2; i++)
		exs_future_unref(exs_submit(ex, step_task, &s[i]));
	complete(p);
	exs_future_unref(exs_submit(ex, step_task, &s[4]));
	CHECK_INT(exs_event_loop_on_done(ex, f, step_callback, &s[5], NULL), EXS_OK); /* done already: queued as well */
	CHECK_INT(next, 0);
	CHECK_INT(exs_event_loop_poll(ex), 6);
	CHECK_INT(next, 6);
	CHECK_INT(exs_event_loop_poll(ex), 0);
	exs_future_unref(f);
	exs_executor_free(ex);
}

TEST(event_loop, runs_on_the_thread_that_turns_it)
{
	int threads = harness_threads();
	exs_executor *ex = exs_with_retry(exs_with_timeout(made(), 1000), NULL);
	struct job job;
	struct seen seen;

	job_init(&job);
	seen_init(&seen);
	exs_future *f = job_submit(ex, &job);
	CHECK_INT(exs_event_loop_on_done(ex, f, seen_call, &seen, seen_free), EXS_OK);
	CHECK_INT(exs_future_state(f), EXS_STATE_PENDING);
	CHECK_INT(exs_event_loop_run_once(ex, EXS_FOREVER), 1);
	CHECK(exs_future_is_done(f) && seen.calls == 0);
	CHECK_INT(exs_event_loop_run_once(ex, EXS_FOREVER), 1);
	CHECK(pthread_equal(job.thread, pthread_self()) && pthread_equal(seen.thread, pthread_self()));
	CHECK(seen.calls == 1 && seen.frees == 1 && seen.last == f);
	expect_value(f, &job);
	exs_executor_free(ex);
	job_fini(&job);
	exs_executor_free(ex = made());
	harness_wait_threads(threads);
}

/* One that submits itself again and again does not keep a poll from returning. */
TEST(event_loop, poll_runs_what_was_queued_when_it_began)
{
	exs_executor *ex = made();
	unsigned next = 0;
	struct step s[4] = {
		{&next, 0, ex, &s[2]}, {&next, 1, NULL, NULL}, {&next, 2, ex, &s[3]}, {&next, 3, NULL, NULL}};

	for (int i = 0; i < 2; i++)
		exs_future_unref(exs_submit(ex, step_task, &s[i]));
	CHECK_INT(exs_event_loop_poll(ex), 2);
	CHECK_INT(exs_event_loop_poll(ex), 1);
	CHECK_INT(exs_event_loop_poll(ex), 1);
	CHECK_INT(exs_event_loop_poll(ex), 0);
	CHECK_INT(next, 4);
	exs_executor_free(ex);
}

struct submitter {
	exs_executor *ex;
	struct job job;
};

static void *submit_one(void *arg)
{
	struct submitter *s = arg;

	exs_future_unref(job_submit(s->ex, &s->job));
	return NULL;
}

TEST(event_loop, run_once_waits_for_one)
{
	struct submitter s = {.ex = made()};

	for (int i = 0; i < 200; i++) {
		job_init(&s.job);
		pthread_t thread = thread_start(submit_one, &s);
		CHECK_INT(exs_event_loop_run_once(s.ex, EXS_FOREVER), 1);
		thread_join(thread);
		job_fini(&s.job);
	}
	CHECK_INT(exs_event_loop_run_once(s.ex, 0), 0);
	CHECK_INT(exs_event_loop_run_once(s.ex, 1e-3), 0);
	exs_executor_free(s.ex);
}

struct runner {
	exs_executor *ex;
	struct sleeper sleeper;
	long n;
	atomic_bool back;
};

static void *run_noting(void *arg)
{
	struct runner *r = arg;

	sleeps_soon(&r->sleeper);
	r->n = exs_event_loop_run(r->ex);
	atomic_store(&r->back, true);
	return NULL;
}

static atomic_uint steps_made;

static exs_result count_and_queue(void *arg, exs_context *ctx)
{
	unsigned n = atomic_fetch_add(&steps_made, 1) + 1;

	(void)ctx;
	if (n < 3)
		exs_future_unref(exs_submit(arg, count_and_queue, arg));
	return exs_ok(NULL, NULL);
}

/* Round after round; with nothing to do it sleeps. */
TEST(event_loop, run_goes_on_until_it_is_stopped)
{
	struct runner r = {.ex = made()};
	pthread_t thread = thread_start(run_noting, &r);

	atomic_store(&steps_made, 0);
	for (int i = 0; i < 3; i++) {
		struct job job;
		wait_until(asleep, &r.sleeper);
		job_init(&job);
		expect_value(job_submit(r.ex, &job), &job);
		CHECK(pthread_equal(job.thread, thread));
		job_fini(&job);
	}
	exs_future_unref(exs_submit(r.ex, count_and_queue, r.ex)); /* each queues the next: three rounds */
	wait_count(&steps_made, 3);
	CHECK(!r.back);
	CHECK_INT(exs_event_loop_stop(r.ex), EXS_OK);
	thread_join(thread);
	CHECK_INT(r.n, 6);
	exs_executor_free(r.ex);
}

/* --- stop --- */

static exs_result stop_loop(void *ex, exs_context *ctx)
{
	(void)ctx;
	CHECK_INT(exs_event_loop_stop(ex), EXS_OK);
	return exs_ok(NULL, NULL);
}

/* What the round holds runs, what came later stays. */
TEST(event_loop, stop_ends_the_run_after_its_round)
{
	exs_executor *ex = made();
	unsigned next = 0;
	struct step s[2] = {{&next, 0, ex, &s[1]}, {&next, 1, NULL, NULL}};

	exs_future_unref(exs_submit(ex, stop_loop, ex));
	exs_future_unref(exs_submit(ex, step_task, &s[0]));
	CHECK_INT(exs_event_loop_run(ex), 2);
	CHECK_INT(next, 1);
	CHECK_INT(exs_event_loop_poll(ex), 1);
	CHECK_INT(next, 2);
	exs_executor_free(ex);
}

/* As asyncio's: the next run makes one round. Nothing but that heeds it, once. */
TEST(event_loop, stop_before_the_run_is_remembered)
{
	exs_executor *ex = made();
	unsigned next = 0;
	struct step s[3];

	for (unsigned i = 0; i < 3; i++) {
		s[i] = (struct step){.next = &next, .number = i};
		exs_future_unref(exs_submit(ex, step_task, &s[i]));
		CHECK_INT(exs_event_loop_stop(ex), EXS_OK);
		if (i == 0)
			CHECK_INT(exs_event_loop_poll(ex), 1);
		else
			CHECK_INT(i == 1 ? exs_event_loop_run(ex) : exs_event_loop_run_once(ex, EXS_FOREVER), 1);
	}
	CHECK_INT(exs_event_loop_stop(ex), EXS_OK);
	CHECK_INT(exs_event_loop_run(ex), 0);
	CHECK_INT(exs_event_loop_stop(ex), EXS_OK);
	CHECK_INT(exs_event_loop_run_once(ex, EXS_FOREVER), 0);
	CHECK_INT(exs_event_loop_run_once(ex, 0), 0);
	exs_executor_free(ex);
}

TEST(event_loop, stop_from_another_thread)
{
	exs_executor *ex = made();

	for (int i = 0; i < 200; i++) {
		pthread_t thread = thread_start(turn, ex);
		if (i % 2)
			CHECK_INT(exs_call(ex, stop_loop, ex, EXS_FOREVER, NULL), EXS_OK);
		else
			CHECK_INT(exs_event_loop_stop(ex), EXS_OK);
		thread_join(thread);
	}
	exs_executor_free(ex);
}

/* --- turned twice --- */

static void turn_inside(struct job *job, exs_context *ctx)
{
	(void)ctx;
	CHECK_INT(exs_event_loop_poll(job->more), -1);
	CHECK(failed_so(EXS_EBUSY));
	CHECK(exs_event_loop_run_once(job->more, 0) < 0 && failed_so(EXS_EBUSY));
	CHECK(exs_event_loop_run(job->more) < 0 && failed_so(EXS_EBUSY));
}

static void turn_in_callback(exs_future *f, void *ex)
{
	(void)f;
	CHECK(exs_event_loop_poll(ex) < 0 && failed_so(EXS_EBUSY));
}

TEST(event_loop, turned_by_one_at_a_time)
{
	exs_executor *ex = made();
	struct job jobs[2];

	for (int i = 0; i < 2; i++)
		job_init(&jobs[i]);
	jobs[0].inside = turn_inside;
	jobs[0].more = ex;
	exs_future *f = job_submit(ex, &jobs[0]);
	CHECK_INT(exs_event_loop_poll(ex), 1);
	CHECK_INT(exs_event_loop_on_done(ex, f, turn_in_callback, ex, NULL), EXS_OK);
	CHECK_INT(exs_event_loop_poll(ex), 1);
	expect_value(f, &jobs[0]);
	jobs[1].gated = true;
	f = job_submit(ex, &jobs[1]);
	pthread_t thread = thread_start(turn, ex);
	sem_take(&jobs[1].entered);
	CHECK(exs_event_loop_poll(ex) < 0 && failed_so(EXS_EBUSY));
	CHECK(exs_event_loop_run(ex) < 0 && failed_so(EXS_EBUSY));
	CHECK_INT(exs_event_loop_stop(ex), EXS_OK);
	sem_post(&jobs[1].open);
	thread_join(thread);
	CHECK_INT(exs_event_loop_poll(ex), 0); /* now it may */
	expect_value(f, &jobs[1]);
	exs_executor_free(ex);
	for (int i = 0; i < 2; i++)
		job_fini(&jobs[i]);
}

/* --- descriptor --- */

TEST(event_loop, descriptor_is_exact)
{
	exs_executor *ex = made();
	struct job jobs[4];
	struct seen seen;
	exs_future *f[4];
	exs_promise *p;
	exs_future *promise = promised(&p);

	seen_init(&seen);
	for (int i = 0; i < 4; i++)
		job_init(&jobs[i]);
	f[0] = job_submit(ex, &jobs[0]); /* before there is a descriptor */
	int fd = exs_event_loop_fd(ex);
	CHECK(fd >= 0 && fd == exs_event_loop_fd(ex));
	CHECK(readable(fd) && readable(fd));
	CHECK_INT(exs_event_loop_poll(ex), 1);
	CHECK(!readable(fd));
	for (int i = 1; i < 3; i++)
		f[i] = job_submit(ex, &jobs[i]);
	CHECK_INT(exs_future_cancel(f[1]), EXS_CANCELLED);
	CHECK(readable(fd));
	CHECK_INT(exs_future_cancel(f[2]), EXS_CANCELLED);
	CHECK(!readable(fd));
	CHECK_INT(exs_event_loop_on_done(ex, promise, seen_call, &seen, seen_free), EXS_OK);
	CHECK(!readable(fd));
	complete(p);
	CHECK(readable(fd));
	CHECK_INT(exs_event_loop_poll(ex), 1);
	CHECK(!readable(fd) && seen.calls == 1 && seen.frees == 1);
	jobs[3].inside = turn_inside;
	jobs[3].more = ex;
	f[3] = job_submit(ex, &jobs[3]);
	CHECK_INT(exs_shutdown(ex, EXS_CANCEL_QUEUED, EXS_FOREVER), 0);
	CHECK(!readable(fd));
	expect_value(f[0], &jobs[0]);
	for (int i = 1; i < 4; i++)
		expect_cancelled(f[i], i < 3 ? EXS_CAUSE_USER : EXS_CAUSE_SHUTDOWN);
	exs_future_unref(promise);
	exs_executor_free(ex);
	for (int i = 0; i < 4; i++)
		job_fini(&jobs[i]);
}

static void count_down(exs_future *f, void *left)
{
	(void)f;
	--*(unsigned *)left; /* no lock, no atomic: all on one thread */
}

/* A pool works, poll(2) without limit wakes for each callback. */
TEST(event_loop, descriptor_wakes_an_event_loop)
{
	enum { N = 100 };
	exs_executor *pool = exs_thread_pool(2), *ex = made();
	struct pollfd p = {.fd = exs_event_loop_fd(ex), .events = POLLIN};
	struct job jobs[N];
	unsigned left = N;

	for (int i = 0; i < N; i++) {
		job_init(&jobs[i]);
		exs_future *f = job_submit(pool, &jobs[i]);
		CHECK_INT(exs_event_loop_on_done(ex, f, count_down, &left, NULL), EXS_OK);
		exs_future_unref(f);
	}
	while (left) {
		CHECK_INT(poll(&p, 1, -1), 1);
		CHECK(exs_event_loop_poll(ex) > 0);
	}
	CHECK(!readable(p.fd));
	exs_executor_free(ex);
	exs_executor_free(pool);
	for (int i = 0; i < N; i++)
		job_fini(&jobs[i]);
}

/* --- callbacks --- */

/* Not inside on_done, not on the completing thread; cancelled and failed ones too. */
TEST(event_loop, callback_of_any_future)
{
	exs_executor *pool = exs_thread_pool(1), *ex = made();
	struct job jobs[3];
	struct seen seen;
	exs_future *f[3];

	seen_init(&seen);
	for (int i = 0; i < 3; i++) {
		job_init(&jobs[i]);
		jobs[i].error = i == EXS_KIND_ERROR ? exs_error_new(&test_domain, 1, "no") : NULL;
		jobs[i].failures = i == EXS_KIND_ERROR ? ALWAYS : 0;
		jobs[i].cancels = i == EXS_KIND_CANCELLED;
		f[i] = job_submit(pool, &jobs[i]);
		CHECK_INT(exs_event_loop_on_done(ex, f[i], seen_call, &seen, seen_free), EXS_OK);
		wait_done(f[i]);
		CHECK(seen.calls == 0);
	}
	for (long n = 0; n < 3;)
		n += exs_event_loop_run_once(ex, EXS_FOREVER);
	CHECK(seen.calls == 3 && seen.frees == 3 && pthread_equal(seen.thread, pthread_self()));
	CHECK(seen.last == f[2]);
	for (int i = 0; i < 3; i++) {
		CHECK_INT(exs_future_result(f[i]).kind, i);
		exs_future_unref(f[i]);
		job_fini(&jobs[i]);
		exs_error_unref(jobs[i].error);
	}
	exs_executor_free(ex);
	exs_executor_free(pool);
}

/* It keeps its future until it has run. */
TEST(event_loop, callback_holds_its_future)
{
	exs_executor *ex = made();
	exs_promise *p;
	exs_future *f = promised(&p);
	struct seen seen;

	seen_init(&seen);
	CHECK_INT(exs_event_loop_on_done(ex, f, seen_call, &seen, NULL), EXS_OK);
	exs_future_unref(f);
	complete(p);
	CHECK_INT(exs_event_loop_poll(ex), 1);
	CHECK_INT(seen.calls, 1);
	harness_wait_futures(0);
	exs_executor_free(ex);
}

/* A shutdown is about calls: callbacks go on as long as the loop is turned, but no new ones come. */
TEST(event_loop, callbacks_after_a_shutdown)
{
	exs_executor *ex = made();
	exs_promise *p;
	exs_future *f = promised(&p);
	struct seen seen;

	seen_init(&seen);
	CHECK_INT(exs_event_loop_on_done(ex, f, seen_call, &seen, seen_free), EXS_OK);
	CHECK_INT(exs_shutdown(ex, EXS_CANCEL_ALL, EXS_FOREVER), 0);
	CHECK_INT(exs_event_loop_on_done(ex, f, seen_call, &seen, seen_free), EXS_ESHUTDOWN);
	CHECK(failed_so(EXS_ESHUTDOWN) && seen.frees == 1);
	complete(p);
	CHECK_INT(exs_event_loop_poll(ex), 1);
	CHECK(seen.calls == 1 && seen.frees == 2);
	exs_future_unref(f);
	exs_executor_free(ex);
}

/* Waiting for their future, and queued: no function runs, each context is freed before the free returns. */
TEST(event_loop, callbacks_of_a_freed_loop)
{
	exs_executor *ex = made();
	exs_promise *p[2];
	exs_future *f[2] = {promised(&p[0]), promised(&p[1])};
	struct seen seen;

	seen_init(&seen);
	log_begin(EXS_LOG_WARNING);
	for (int i = 0; i < 4; i++)
		CHECK_INT(exs_event_loop_on_done(ex, f[i % 2], seen_call, &seen, seen_free), EXS_OK);
	complete(p[0]);
	CHECK_INT(seen.frees, 0);
	exs_executor_free(ex);
	CHECK(seen.calls == 0 && seen.frees == 4);
	CHECK_INT(log_lines("freed before 4 callbacks could run"), 1);
	complete(p[1]);
	CHECK(seen.calls == 0 && seen.frees == 4);
	for (int i = 0; i < 2; i++)
		exs_future_unref(f[i]);
	log_end();
}

static void free_loop(exs_future *f, void *ex)
{
	(void)f;
	exs_executor_free(ex);
}

/* The completing thread has the callback in its hands while the loop is freed: it frees the context. */
TEST(event_loop, freed_by_an_earlier_callback_of_the_same_future)
{
	exs_executor *ex = made();
	exs_promise *p;
	exs_future *f = promised(&p);
	struct seen seen;

	seen_init(&seen);
	CHECK_INT(exs_future_on_done(f, free_loop, ex, NULL), EXS_OK);
	CHECK_INT(exs_event_loop_on_done(ex, f, seen_call, &seen, seen_free), EXS_OK);
	complete(p);
	CHECK(seen.calls == 0 && seen.frees == 1);
	exs_future_unref(f);
}

static void *complete_many(void *promises)
{
	for (exs_promise **p = promises; *p; p++)
		complete(*p);
	return NULL;
}

/* One thread completes, another frees the loop: each context is freed once, nothing runs after the free. */
TEST(event_loop, freed_while_futures_are_done)
{
	enum { N = 20 };
	unsigned long rounds = harness_rounds(300);

	for (unsigned long round = 0; round < rounds; round++) {
		exs_executor *ex = made();
		exs_promise *p[N + 1] = {NULL};
		struct seen seen[N];
		for (int i = 0; i < N; i++) {
			exs_future *f = promised(&p[i]);
			seen_init(&seen[i]);
			CHECK_INT(exs_event_loop_on_done(ex, f, seen_call, &seen[i], seen_free), EXS_OK);
			exs_future_unref(f);
		}
		pthread_t thread = thread_start(complete_many, p);
		while (round % 2 && exs_event_loop_poll(ex) == 0)
			;
		exs_executor_free(ex);
		unsigned calls = 0, frees = 0;
		for (int i = 0; i < N; i++)
			calls += seen[i].calls;
		thread_join(thread);
		for (int i = 0; i < N; i++) {
			calls -= seen[i].calls;
			frees += seen[i].frees == 1;
		}
		CHECK(calls == 0 && frees == N);
	}
}

/* --- freed while it turns --- */

/* The thread in run leaves it; the free waits for that. */
TEST(event_loop, free_ends_the_run)
{
	struct job job;

	for (int i = 0; i < 200; i++) {
		exs_executor *ex = made();
		pthread_t thread = thread_start(turn, ex);
		job_init(&job);
		expect_value(job_submit(ex, &job), &job); /* it turns */
		exs_executor_free(ex);
		thread_join(thread);
		job_fini(&job);
	}
}

static void submit_and_free(struct job *job, exs_context *ctx)
{
	struct submitter *s = job->more;

	(void)ctx;
	exs_future_unref(job_submit(s->ex, &s->job)); /* cancelled by the free */
	exs_executor_free(s->ex);
	CHECK_INT(s->job.freed, 1);
}

TEST(event_loop, freed_in_a_task)
{
	struct submitter s = {.ex = made()};
	struct job job;

	job_init(&job);
	job_init(&s.job);
	job.inside = submit_and_free;
	job.more = &s;
	exs_future *f = job_submit(s.ex, &job);
	CHECK_INT(exs_event_loop_run(s.ex), 1);
	expect_value(f, &job);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	CHECK_INT(s.job.starts, 0);
	job_fini(&s.job);
	job_fini(&job);
}

TEST(event_loop, freed_in_a_callback)
{
	exs_executor *ex = made();
	struct job job;
	struct seen seen;

	job_init(&job);
	seen_init(&seen);
	exs_future *f = job_submit(ex, &job);
	CHECK_INT(exs_event_loop_poll(ex), 1);
	CHECK_INT(exs_event_loop_on_done(ex, f, free_loop, ex, NULL), EXS_OK);
	CHECK_INT(exs_event_loop_on_done(ex, f, seen_call, &seen, seen_free), EXS_OK);
	CHECK(exs_event_loop_run(ex) >= 1);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	CHECK(seen.frees == 1 && seen.calls <= 1); /* the release may have been faster than the next of the round */
	expect_value(f, &job);
	job_fini(&job);
}

/* --- waiting inside a task --- */

struct inner {
	exs_executor *ex;
	struct job job;
	exs_future *f;
	int how, rc;
	struct sleeper sleeper;
};

static void wait_for_inner(struct inner *in)
{
	exs_set *set = exs_set_new();
	exs_future *f;

	sleeps_soon(&in->sleeper);
	if (in->how == 0)
		in->rc = exs_future_wait(in->f, EXS_FOREVER);
	else if (in->how == 1)
		in->rc = exs_wait_any(&in->f, 1, EXS_FOREVER, NULL);
	else {
		CHECK_INT(exs_set_add(set, exs_future_ref(in->f)), EXS_OK);
		in->rc = exs_set_next(set, &f, EXS_FOREVER) == EXS_ITEM ? EXS_OK : EXS_EDEADLK;
		exs_future_unref(f);
	}
	exs_set_free(set);
}

static void submit_and_wait(struct job *job, exs_context *ctx)
{
	struct inner *in = job->more;

	(void)ctx;
	in->f = job_submit(in->ex, &in->job);
	wait_for_inner(in);
}

/* Advances the clock once the loop's thread sleeps in its wait: then the second attempt is queued, and must wake it. */
static void wait_for_a_retry(int how)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_retry(exs_with_clock(made(), clock), NULL);
	struct inner in = {.ex = ex, .how = how, .rc = -1};
	struct job job;

	job_init(&job);
	job_init(&in.job);
	in.job.failures = 1;
	in.job.error = exs_error_new(&test_domain, 1, "not yet");
	job.inside = submit_and_wait;
	job.more = &in;
	exs_future *f = job_submit(ex, &job);
	pthread_t thread = thread_start(turn, ex);
	CHECK_INT(exs_clock_wait_armed(clock, 1, EXS_FOREVER), EXS_OK);
	wait_until(asleep, &in.sleeper);
	advance(clock, 1);
	expect_value(f, &job);
	CHECK_INT(in.rc, EXS_OK);
	CHECK_INT(in.job.starts, 2);
	expect_value(in.f, &in.job);
	exs_executor_free(ex);
	thread_join(thread);
	exs_clock_unref(clock);
	exs_error_unref(in.job.error);
	job_fini(&in.job);
	job_fini(&job);
}

TEST(event_loop, wait_for_what_is_queued_later)
{
	for (int i = 0; i < 60; i++)
		wait_for_a_retry(i % 3);
}

/* A function on another thread that takes up a call of the loop, which waits there since before, once the loop's own thread sleeps. */
struct takes_up {
	exs_executor *loop, *ex;
	exs_future *inner;
	struct job inner_job, job;
	struct sleeper sleeper;
};

static exs_future *take_up(void *ctx, exs_result in)
{
	struct takes_up *t = ctx;

	exs_result_clear(&in);
	wait_until(asleep, &t->sleeper);
	return t->inner;
}

static void wait_for_the_taker(struct job *job, exs_context *ctx)
{
	struct takes_up *t = job->more;

	(void)ctx;
	job_init(&t->inner_job);
	job_init(&t->job);
	t->inner = job_submit(t->loop, &t->inner_job);
	exs_future *f = job_submit(t->ex, &t->job);
	sleeps_soon(&t->sleeper);
	expect_value(f, &t->inner_job); /* which runs within */
	CHECK(pthread_equal(t->inner_job.thread, pthread_self()));
}

TEST(event_loop, wait_for_what_another_call_takes_up_later)
{
	struct takes_up t = {.loop = made()};
	struct job job;

	t.ex = exs_with_flat_map(exs_thread_pool(1), take_up, NULL, &t, NULL);
	job_init(&job);
	job.inside = wait_for_the_taker;
	job.more = &t;
	exs_future *f = job_submit(t.loop, &job);
	CHECK_INT(exs_event_loop_poll(t.loop), 1);
	expect_value(f, &job);
	exs_executor_free(t.ex);
	exs_executor_free(t.loop);
	job_fini(&t.inner_job);
	job_fini(&t.job);
	job_fini(&job);
}

static void wait_for_itself(struct job *job, exs_context *ctx)
{
	struct inner *in = job->more;

	(void)ctx;
	wait_for_inner(in);
}

/* Plain, and through a child call. */
TEST(event_loop, wait_for_itself_is_told)
{
	for (int i = 0; i < 6; i++) {
		exs_executor *ex = made();
		struct inner in = {.how = i % 3};
		struct job job;
		if (i > 2)
			ex = exs_with_timeout_mode(ex, 1000, EXS_ABANDON);
		job_init(&job);
		job.inside = wait_for_itself;
		job.more = &in;
		in.f = job_submit(ex, &job);
		CHECK_INT(exs_event_loop_poll(ex), 1);
		CHECK_INT(in.rc, EXS_EDEADLK);
		expect_value(in.f, &job);
		exs_executor_free(ex);
		job_fini(&job);
	}
}

struct nest {
	exs_executor *ex;
	unsigned depth, told;
};

static exs_result nest(void *arg, exs_context *ctx)
{
	struct nest *n = arg;

	if (++n->depth == 1000)
		return exs_ok(NULL, NULL);
	exs_future *f = exs_submit(n->ex, nest, n);
	n->told += exs_future_wait(f, EXS_FOREVER) == EXS_EDEADLK;
	exs_future_unref(f);
	(void)ctx;
	return exs_ok(NULL, NULL);
}

/* Each waits for the next: the stack is bounded, what is told so runs later. */
TEST(event_loop, nested_waits_are_bounded_in_depth)
{
	struct nest n = {made(), 0, 0};

	exs_future_unref(exs_submit(n.ex, nest, &n));
	CHECK_INT(exs_event_loop_poll(n.ex), 1);
	CHECK_INT(n.depth, 257);
	CHECK_INT(n.told, 1);
	while (exs_event_loop_poll(n.ex))
		;
	CHECK_INT(n.depth, 1000);
	CHECK_INT(n.told, 3);
	exs_executor_free(n.ex);
}

/* A loop turned inside a task of another one, or of a pool: its tasks may wait for calls of that too. */
struct outer {
	exs_executor *outer, *loop;
	struct inner in;
	struct job job;
};

static void turn_within(struct job *job, exs_context *ctx)
{
	struct outer *o = job->more;

	(void)ctx;
	exs_future *f = job_submit(o->loop, &o->job);
	CHECK_INT(exs_event_loop_run_once(o->loop, EXS_FOREVER), 1);
	expect_value(f, &o->job);
}

TEST(event_loop, turned_inside_a_task)
{
	exs_thread_pool_options options = {.workers = 1, .max_spares = EXS_NONE};

	for (int i = 0; i < 2; i++) {
		exs_executor *ex = i ? exs_thread_pool_with(&options) : made();
		struct outer o = {.outer = ex, .loop = made(), .in.ex = ex};
		struct job job;
		job_init(&job);
		job_init(&o.job);
		job_init(&o.in.job);
		job.inside = turn_within;
		job.more = &o;
		o.job.inside = submit_and_wait;
		o.job.more = &o.in;
		exs_future *f = job_submit(ex, &job);
		if (!i)
			CHECK_INT(exs_event_loop_poll(ex), 1);
		expect_value(f, &job);
		expect_value(o.in.f, &o.in.job);
		exs_executor_free(o.loop);
		exs_executor_free(ex);
		job_fini(&o.in.job);
		job_fini(&o.job);
		job_fini(&job);
	}
}

/* What the loop's task waits for comes to the worker only when a backoff is over: that is the one on whose stack all this is. */
TEST(event_loop, turned_inside_a_task_until_a_backoff_is_over)
{
	exs_thread_pool_options options = {.workers = 1, .max_spares = EXS_NONE};

	for (int how = 0; how < 3; how++) {
		exs_clock *clock = exs_clock_manual_new();
		exs_executor *ex = exs_with_retry(exs_with_clock(exs_thread_pool_with(&options), clock), NULL);
		struct outer o = {.outer = ex, .loop = made(), .in = {.ex = ex, .how = how, .rc = -1}};
		struct job job;
		job_init(&job);
		job_init(&o.job);
		job_init(&o.in.job);
		o.in.job.failures = 1;
		o.in.job.error = exs_error_new(&test_domain, 1, "not yet");
		job.inside = turn_within;
		job.more = &o;
		o.job.inside = submit_and_wait;
		o.job.more = &o.in;
		exs_future *f = job_submit(ex, &job);
		CHECK_INT(exs_clock_wait_armed(clock, 1, EXS_FOREVER), EXS_OK);
		wait_until(asleep, &o.in.sleeper);
		advance(clock, 1);
		expect_value(f, &job);
		CHECK_INT(o.in.rc, EXS_OK);
		CHECK_INT(o.in.job.starts, 2);
		expect_value(o.in.f, &o.in.job);
		exs_executor_free(o.loop);
		exs_executor_free(ex);
		exs_clock_unref(clock);
		exs_error_unref(o.in.job.error);
		job_fini(&o.in.job);
		job_fini(&o.job);
		job_fini(&job);
	}
}

static exs_result ask_for_state(void *arg, exs_context *ctx)
{
	(void)arg;
	return exs_ok(exs_context_worker_state(ctx), NULL);
}

/* Its tasks run on no worker of a pool. */
TEST(event_loop, no_worker_state)
{
	exs_executor *loop = made();
	exs_future *f = exs_submit(loop, ask_for_state, NULL);

	CHECK_INT(exs_event_loop_poll(loop), 1);
	expect_value(f, NULL);
	exs_executor_free(loop);
}

/* --- shutdown on the loop's own thread --- */

enum { QUEUED = 3 };

static void submit_some(exs_executor *ex, struct job *jobs, exs_future **f)
{
	for (int i = 0; i < QUEUED; i++) {
		job_init(&jobs[i]);
		f[i] = job_submit(ex, &jobs[i]);
	}
}

/* It turns the loop itself, backoffs, poll sets and a borrow included; also if nobody has turned it before. */
TEST(event_loop, drained_on_its_own_thread)
{
	exs_retry_options at_once = {.sleep = 1e-3};
	exs_poll_options poll_options = {.interval = 1e-3};

	for (int i = 0; i < 2; i++) {
		exs_executor *loop = made();
		exs_executor *ex = exs_with_retry(i ? exs_borrow(loop) : loop, &at_once);
		struct job jobs[QUEUED];
		exs_future *f[QUEUED];
		ex = exs_with_poll(ex, job_poll, job_cancel, NULL, &poll_options);
		exs_error *error = exs_error_new(&test_domain, 1, "not yet");
		submit_some(ex, jobs, f);
		jobs[1].failures = 2;
		jobs[1].error = error;
		CHECK_INT(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER), 0);
		for (int k = 0; k < QUEUED; k++) {
			expect_value(f[k], &jobs[k]);
			CHECK(pthread_equal(jobs[k].thread, pthread_self()));
			job_fini(&jobs[k]);
		}
		exs_executor_free(ex);
		if (i)
			exs_executor_free(loop);
		exs_error_unref(error);
	}
}

TEST(event_loop, drained_without_time)
{
	exs_executor *ex = made();
	struct job jobs[QUEUED];
	exs_future *f[QUEUED];

	submit_some(ex, jobs, f);
	CHECK_INT(exs_shutdown(ex, EXS_DRAIN, 0), 0); /* they were let go: none is left */
	for (int i = 0; i < QUEUED; i++) {
		expect_code(f[i], &exs_domain_exs, EXS_ESHUTDOWN);
		CHECK_INT(jobs[i].starts, 0);
		job_fini(&jobs[i]);
	}
	exs_executor_free(ex);
}

static exs_result never(void *arg, exs_context *ctx)
{
	(void)ctx;
	return exs_fail(exs_error_ref(arg));
}

/* What never ends does not keep it beyond its time. */
TEST(event_loop, drain_of_an_endless_retry_is_bounded)
{
	exs_retry_options options = {.max_attempts = EXS_UNLIMITED, .sleep = EXS_NONE};
	exs_executor *ex = exs_with_retry(made(), &options);
	exs_error *error = exs_error_new(&test_domain, 1, "never");
	exs_future *f = exs_submit(ex, never, error);

	CHECK_INT(exs_shutdown(ex, EXS_DRAIN, 1e-3), 0); /* it had to wind up in the queue: nothing is left */
	expect_code(f, &exs_domain_exs, EXS_ESHUTDOWN);
	exs_executor_free(ex);
	exs_error_unref(error);
}

struct closer {
	exs_executor *ex;
	size_t left;
	struct sleeper sleeper;
};

static void *drain(void *arg)
{
	struct closer *c = arg;

	sleeps_soon(&c->sleeper);
	c->left = exs_shutdown(c->ex, EXS_DRAIN, EXS_FOREVER);
	return NULL;
}

/* On another thread it runs nothing, and waits for the one that turns. */
TEST(event_loop, drained_by_another_thread)
{
	exs_executor *ex = made();
	struct closer c = {.ex = ex, .left = 1};
	struct job jobs[QUEUED];
	exs_future *f[QUEUED];

	CHECK_INT(exs_event_loop_poll(ex), 0); /* it is this thread's */
	submit_some(ex, jobs, f);
	pthread_t thread = thread_start(drain, &c);
	wait_until(asleep, &c.sleeper);
	for (long n = 0; n < QUEUED;)
		n += exs_event_loop_run_once(ex, EXS_FOREVER);
	thread_join(thread);
	CHECK_INT(c.left, 0);
	for (int i = 0; i < QUEUED; i++) {
		CHECK(pthread_equal(jobs[i].thread, pthread_self()));
		expect_value(f[i], &jobs[i]);
		job_fini(&jobs[i]);
	}
	exs_executor_free(ex);
}

static void drain_in_callback(exs_future *f, void *arg)
{
	struct closer *c = arg;

	(void)f;
	drain(c);
}

/* There it does not wait, for itself least of all: not for a chain that shares the loop either. */
TEST(event_loop, drain_inside_a_callback_does_not_wait)
{
	exs_executor *loop = made(), *ex = exs_borrow(loop);
	struct closer c[2] = {{.ex = ex}, {.ex = loop}};
	struct job jobs[2][QUEUED];
	exs_future *f[2][QUEUED];
	exs_promise *p;
	exs_future *promise = promised(&p);

	for (int i = 0; i < 2; i++)
		CHECK_INT(exs_event_loop_on_done(loop, promise, drain_in_callback, &c[i], NULL), EXS_OK);
	complete(p);
	for (int i = 0; i < 2; i++)
		submit_some(i ? loop : ex, jobs[i], f[i]);
	CHECK_INT(exs_event_loop_poll(loop), 2 + 2 * QUEUED);
	for (int i = 0; i < 2 * QUEUED; i++) {
		CHECK_INT(c[i / QUEUED].left, QUEUED);
		expect_value(f[i / QUEUED][i % QUEUED], &jobs[i / QUEUED][i % QUEUED]);
		job_fini(&jobs[i / QUEUED][i % QUEUED]);
	}
	exs_future_unref(promise);
	exs_executor_free(ex);
	exs_executor_free(loop);
}

/* --- many threads --- */

struct storm {
	exs_executor *loop, *pool;
	atomic_uint ran, called;
	unsigned here; /* on the loop's thread alone */
};

static exs_result nothing(void *arg, exs_context *ctx)
{
	(void)arg, (void)ctx;
	return exs_ok(NULL, NULL);
}

static exs_result storm_task(void *arg, exs_context *ctx)
{
	struct storm *s = arg;

	(void)ctx;
	s->here++;
	atomic_fetch_add(&s->ran, 1);
	return exs_ok(NULL, NULL);
}

static void storm_callback(exs_future *f, void *arg)
{
	struct storm *s = arg;

	(void)f;
	s->here++;
	atomic_fetch_add(&s->called, 1);
}

static void *storm_main(void *arg)
{
	struct storm *s = arg;
	uint64_t random = (uintptr_t)&random;

	for (unsigned long i = 0, n = harness_rounds(500); i < n; i++) {
		exs_future *f = i % 3 ? exs_submit(s->loop, storm_task, s) : exs_submit(s->pool, nothing, NULL);
		CHECK_INT(exs_event_loop_on_done(s->loop, f, storm_callback, s, NULL), EXS_OK);
		if (harness_below(&random, 4) == 0)
			exs_future_cancel(f);
		if (harness_below(&random, 16) == 0)
			CHECK_INT(exs_future_wait(f, EXS_FOREVER), EXS_OK);
		exs_future_unref(f);
	}
	return NULL;
}

/* Threads submit, cancel, wait and register while one turns; nothing is lost, nothing comes twice, all on one thread. */
TEST(event_loop, many_threads)
{
	enum { N = 4 };
	struct storm s = {.loop = made(), .pool = exs_thread_pool(2)};
	pthread_t threads[N];

	for (int i = 0; i < N; i++)
		threads[i] = thread_start(storm_main, &s);
	while (atomic_load(&s.called) < N * harness_rounds(500))
		CHECK(exs_event_loop_run_once(s.loop, EXS_FOREVER) >= 0);
	for (int i = 0; i < N; i++)
		thread_join(threads[i]);
	CHECK_INT(exs_event_loop_poll(s.loop), 0);
	CHECK_INT(s.here, s.ran + s.called);
	CHECK_INT(s.called, N * harness_rounds(500));
	exs_executor_free(s.pool);
	exs_executor_free(s.loop);
}

/* --- nonsense --- */

TEST(event_loop, nonsense)
{
	exs_executor *ex = made(), *other = exs_inline();
	exs_promise *p;
	exs_future *f = promised(&p);
	struct seen seen;
	const double wrong[] = {-1, NAN};

	seen_init(&seen);
	for (int i = 0; i < 2; i++) {
		exs_executor *none = i ? other : NULL;
		CHECK(exs_event_loop_run(none) < 0 && failed_so(EXS_EINVAL));
		CHECK(exs_event_loop_run_once(none, 0) < 0 && failed_so(EXS_EINVAL));
		CHECK(exs_event_loop_poll(none) < 0 && failed_so(EXS_EINVAL));
		CHECK_INT(exs_event_loop_stop(none), EXS_EINVAL);
		CHECK_INT(exs_event_loop_fd(none), -1);
		CHECK(failed_so(EXS_EINVAL));
		CHECK_INT(exs_event_loop_on_done(none, f, seen_call, &seen, seen_free), EXS_EINVAL);
		CHECK(exs_event_loop_run_once(ex, wrong[i]) < 0 && failed_so(EXS_EINVAL));
	}
	CHECK_INT(exs_event_loop_on_done(ex, NULL, seen_call, &seen, seen_free), EXS_EINVAL);
	CHECK_INT(exs_event_loop_on_done(ex, f, NULL, &seen, seen_free), EXS_EINVAL);
	CHECK(seen.calls == 0 && seen.frees == 4);
	complete(p);
	CHECK_INT(exs_event_loop_poll(ex), 0);
	exs_future_unref(f);
	exs_executor_free(ex);
	exs_executor_free(other);
}

TEST(event_loop, describes_itself)
{
	exs_executor *ex = exs_with_timeout(made(), 2);
	char text[64];

	exs_describe(ex, text, sizeof(text));
	CHECK_STR(text, "timeout(2s) > event_loop");
	exs_executor_free(ex);
}

/* Without a function that frees it the context is not touched. */
TEST(event_loop, nonsense_with_a_context_of_ones_own)
{
	exs_executor *ex = made();
	int own = 0;

	CHECK_INT(exs_event_loop_on_done(ex, NULL, storm_callback, &own, NULL), EXS_EINVAL);
	CHECK_INT(own, 0);
	exs_executor_free(ex);
}
