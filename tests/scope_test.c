/* Scopes: all have ended when the close returns; the first error; the arena. */
#define _GNU_SOURCE
#include "support.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static exs_future *put(exs_scope *scope, exs_executor *ex, struct job *job)
{
	exs_task task = {.fn = job_run, .arg = job, .arg_free = job_free_arg};
	exs_future *f = exs_scope_submit_with(scope, ex, &task);

	CHECK(f);
	return f;
}

/* Submits it gated, and returns when it runs. */
static exs_future *put_running(exs_scope *scope, exs_executor *ex, struct job *job)
{
	job->gated = true;
	exs_future *f = put(scope, ex, job);
	sem_take(&job->entered);
	return f;
}

static exs_scope *go_on(void)
{
	exs_scope_options options = {.on_error = EXS_ON_ERROR_GO_ON};
	exs_scope *scope = exs_scope_new_with(&options);

	CHECK(scope);
	return scope;
}

static void close_well(exs_scope *scope)
{
	CHECK(!exs_scope_close(scope));
}

static void close_with(exs_scope *scope, const exs_error *error)
{
	exs_error *e = exs_scope_close(scope);

	CHECK(e == error);
	exs_error_unref(e);
}

static void close_code(exs_scope *scope, int code)
{
	exs_error *e = exs_scope_close(scope);

	CHECK(exs_error_is(e, &exs_domain_exs, code));
	exs_error_unref(e);
}

static exs_error *new_error(void)
{
	return exs_error_new(&test_domain, 1, "no");
}

/* --- the usual --- */

TEST(scope, closes_with_nothing)
{
	exs_scope *scope = exs_scope_new();

	CHECK(scope);
	CHECK(!exs_scope_error(scope));
	close_well(scope);
	scope = exs_scope_new();
	exs_scope_cancel(scope);
	close_well(scope);
	close_well(go_on());
}

enum { PARTS = 8 };

static exs_result square(void *arg, exs_context *ctx)
{
	int *n = arg;

	(void)ctx;
	*n *= *n;
	return exs_ok(n, NULL);
}

/* Nobody keeps the futures. */
static int sum_of_squares(exs_executor *ex)
{
	int parts[PARTS], sum = 0;
	exs_scope *scope = exs_scope_new();

	for (int i = 0; i < PARTS; i++) {
		parts[i] = i;
		exs_future_unref(exs_scope_submit(scope, ex, square, &parts[i]));
	}
	close_well(scope);
	for (int i = 0; i < PARTS; i++)
		sum += parts[i];
	return sum;
}

TEST(scope, arguments_and_results_on_the_stack)
{
	exs_executor *ex[] = {exs_inline(), exs_thread_pool(1), exs_thread_pool(4),
			      exs_with_timeout_mode(exs_with_retry(exs_thread_pool(2), NULL), 1000, EXS_ABANDON)};

	for (int i = 0; i < 4; i++) {
		for (unsigned long round = 0; round < harness_rounds(50); round++)
			CHECK_INT(sum_of_squares(ex[i]), 140);
		CHECK_INT(exs_executor_pending(ex[i]), 0);
		exs_executor_free(ex[i]);
	}
}

/* Several executors; futures that are read, and that outlive the scope. */
TEST(scope, members_in_several_executors)
{
	exs_executor *ex[] = {exs_inline(), exs_thread_pool(1), exs_thread_pool(2)};
	exs_scope *scope = exs_scope_new();
	struct job jobs[6];
	exs_future *f[6];

	for (int i = 0; i < 6; i++) {
		job_init(&jobs[i]);
		f[i] = put(scope, ex[i % 3], &jobs[i]);
	}
	expect_value(f[0], &jobs[0]);
	close_well(scope);
	for (int i = 1; i < 6; i++) {
		CHECK_INT(jobs[i].freed, 1);
		expect_value(f[i], &jobs[i]);
	}
	for (int i = 0; i < 6; i++)
		job_fini(&jobs[i]);
	for (int i = 0; i < 3; i++)
		exs_executor_free(ex[i]);
}

static exs_result look(void *arg, exs_context *ctx)
{
	CHECK(exs_context_scope(ctx) == arg);
	CHECK_INT(exs_context_attempt(ctx), 1);
	return exs_ok(NULL, NULL);
}

static exs_result look_named(void *arg, exs_context *ctx)
{
	CHECK_STR(exs_context_name(ctx), "member");
	CHECK_INT(exs_context_max_attempts(ctx), 5);
	CHECK(exs_context_time_left(ctx) <= 77);
	return look(arg, ctx);
}

/* Its scope, also through a child call; and all options of a task at once. */
TEST(scope, context_knows_its_scope)
{
	exs_executor *ex = exs_with_timeout_mode(exs_with_retry(exs_thread_pool(1), NULL), 1000, EXS_ABANDON);
	exs_retry_options retry = {.max_attempts = 5};
	exs_scope *scope = exs_scope_new();
	exs_task task = {
		.fn = look_named, .arg = scope, .name = "member", .priority = 3, .timeout = 77, .retry = &retry};

	expect_value(exs_scope_submit(scope, ex, look, scope), NULL);
	expect_value(exs_scope_submit_with(scope, ex, &task), NULL);
	expect_value(exs_submit(ex, look, NULL), NULL);
	close_well(scope);
	exs_executor_free(ex);
}

/* --- awaited as tasks --- */

/* A thread that opens a scope, submits with an argument on its stack, and closes. */
struct user {
	exs_executor *ex;
	struct job *job; /* its inside works on the thread's stack */
	exs_future *f;
	sem_t submitted;
	atomic_bool closed;
	int code; /* of the close */
	char text[64];
};

struct on_stack {
	struct user *user;
	char text[64];
};

static exs_result write_on_stack(void *arg, exs_context *ctx)
{
	struct on_stack *here = arg;

	exs_result r = job_run(here->user->job, ctx);
	memset(here->text, 'x', sizeof(here->text) - 1);
	CHECK(!here->user->closed);
	return r;
}

static void free_on_stack(void *arg)
{
	struct on_stack *here = arg;

	CHECK(!here->user->closed);
	job_free_arg(here->user->job);
}

static void use_scope(struct user *user)
{
	struct on_stack here = {.user = user};
	exs_scope *scope = exs_scope_new();
	exs_task task = {.fn = write_on_stack, .arg = &here, .arg_free = free_on_stack};

	user->f = exs_scope_submit_with(scope, user->ex, &task);
	CHECK(user->f);
	sem_post(&user->submitted);
	exs_error *e = exs_scope_close(scope);
	atomic_store(&user->closed, true);
	user->code = exs_error_code(e);
	exs_error_unref(e);
	CHECK_INT(strlen(here.text), user->job->starts ? sizeof(here.text) - 1 : 0);
}

static void *user_main(void *user)
{
	use_scope(user);
	return NULL;
}

static pthread_t user_start(struct user *user, exs_executor *ex, struct job *job)
{
	user->ex = ex;
	user->job = job;
	user->code = -1;
	atomic_init(&user->closed, false);
	CHECK(!sem_init(&user->submitted, 0, 0));
	pthread_t thread = thread_start(user_main, user);
	sem_take(&user->submitted);
	return thread;
}

/* Left behind by its timeout, the attempt writes to the stack of a scope that waits for it. */
TEST(scope, abandoned_tasks_are_awaited)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_timeout_mode(exs_with_clock(exs_thread_pool(1), clock), 10, EXS_ABANDON);
	struct user user;
	struct job job;

	job_init(&job);
	job.gated = true;
	pthread_t thread = user_start(&user, ex, &job);
	sem_take(&job.entered);
	advance(clock, 10);
	expect_code(user.f, &exs_domain_exs, EXS_ETIMEDOUT);
	CHECK_INT(exs_timeout_abandoned(ex), 1);
	CHECK(!user.closed);
	sem_post(&job.open);
	thread_join(thread);
	CHECK_INT(user.code, EXS_ETIMEDOUT);
	CHECK_INT(job.freed, 1);
	CHECK_INT(job.values, 0); /* the late value is destroyed before the close returns */
	job_fini(&job);
	exs_executor_free(ex);
	exs_clock_unref(clock);
}

/* Two of its attempts are left behind while the third answers: the close waits for the slowest. */
TEST(scope, losing_attempts_are_awaited)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_timeout_mode(exs_with_clock(exs_thread_pool(3), clock), 10, EXS_ABANDON);
	exs_retry_options options = {.sleep = EXS_NONE};
	struct user user;
	struct job job;

	ex = exs_with_timeout_mode(exs_with_retry(ex, &options), 1000, EXS_ABANDON);
	job_init(&job);
	job.gated = true;
	pthread_t thread = user_start(&user, ex, &job);
	for (int i = 0; i < 2; i++) {
		sem_take(&job.entered);
		advance(clock, 10);
	}
	sem_take(&job.entered);
	sem_post(&job.open); /* one of the three */
	advance(clock, 10);
	wait_done(user.f);
	exs_future_unref(user.f);
	CHECK(!user.closed);
	sem_post(&job.open);
	wait_count(&job.ends, 2);
	CHECK(!user.closed);
	sem_post(&job.open);
	thread_join(thread);
	CHECK_INT(job.ends, 3);
	CHECK_INT(job.values, 0);
	job_fini(&job);
	exs_executor_free(ex);
	exs_clock_unref(clock);
}

/* A shutdown whose time is up fails the future; the task runs on. */
static void shut_down_over(exs_executor *ex)
{
	struct user user;
	struct job job;

	job_init(&job);
	job.gated = true;
	pthread_t thread = user_start(&user, ex, &job);
	sem_take(&job.entered);
	CHECK(exs_shutdown(ex, EXS_CANCEL_ALL, 0) >= 1);
	expect_code(user.f, &exs_domain_exs, EXS_ESHUTDOWN);
	CHECK(!user.closed);
	sem_post(&job.open);
	thread_join(thread);
	CHECK_INT(user.code, EXS_ESHUTDOWN);
	CHECK_INT(job.values, 0);
	job_fini(&job);
	exs_executor_free(ex);
}

TEST(scope, tasks_of_a_shut_down_executor_are_awaited)
{
	shut_down_over(exs_thread_pool(1));
	shut_down_over(exs_with_timeout_mode(exs_thread_pool(1), 1000, EXS_ABANDON));
	shut_down_over(
		exs_with_timeout_mode(exs_with_timeout_mode(exs_thread_pool(1), 1000, EXS_ABANDON), 1000, EXS_ABANDON));
}

/* Freed meanwhile: what was queued is cancelled, which is no error. */
static void *free_executor(void *ex)
{
	exs_executor_free(ex);
	return NULL;
}

TEST(scope, executor_freed_before_the_close)
{
	exs_executor *ex = exs_thread_pool(1);
	struct user user;
	struct job job, queued;
	exs_scope *scope = exs_scope_new();

	job_init(&job);
	job_init(&queued);
	job.gated = true;
	pthread_t thread = user_start(&user, ex, &job);
	sem_take(&job.entered);
	exs_future *f = put(scope, ex, &queued);
	pthread_t freeing = thread_start(free_executor, ex);
	expect_cancelled(f, EXS_CAUSE_SHUTDOWN);
	close_well(scope);
	sem_post(&job.open);
	thread_join(freeing);
	thread_join(thread);
	CHECK_INT(user.code, EXS_OK);
	expect_value(user.f, &job);
	job_fini(&job);
	job_fini(&queued);
}

/* Done callbacks are part of the member. */
static void note_open(exs_future *f, void *arg)
{
	struct user *user = arg;

	(void)f;
	CHECK(!user->closed);
	CHECK(!user->closed);
}

TEST(scope, callbacks_are_awaited)
{
	exs_executor *ex = exs_thread_pool(1);
	struct user user;
	struct job job;

	job_init(&job);
	job.gated = true;
	pthread_t thread = user_start(&user, ex, &job);
	sem_take(&job.entered);
	CHECK_INT(exs_future_on_done(user.f, note_open, &user, NULL), EXS_OK);
	sem_post(&job.open);
	thread_join(thread);
	expect_value(user.f, &job);
	job_fini(&job);
	exs_executor_free(ex);
}

/* The poll function reads a value that lies in the scope, of a call that is cancelled meanwhile. */
static sem_t polling, go_on_polling;

static exs_error *poll_slowly(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	(void)ctx;
	*delay = EXS_FOREVER;
	sem_post(&polling);
	sem_take(&go_on_polling);
	for (size_t i = 0; i < n; i++)
		CHECK_INT(*(int *)exs_descriptor_value(d[i]), 7);
	return NULL;
}

static exs_result in_arena(void *arg, exs_context *ctx)
{
	int *seven = exs_scope_alloc(exs_context_scope(ctx), sizeof(*seven));

	(void)arg;
	*seven = 7;
	return exs_ok(seven, NULL);
}

static atomic_bool scope_closed;

static void *close_scope(void *scope)
{
	close_well(scope);
	atomic_store(&scope_closed, true);
	return scope;
}

TEST(scope, poll_functions_are_awaited)
{
	exs_executor *ex = exs_with_poll(exs_thread_pool(1), poll_slowly, NULL, NULL, NULL);
	exs_scope *scope = exs_scope_new();

	CHECK(!sem_init(&polling, 0, 0) && !sem_init(&go_on_polling, 0, 0));
	exs_future *f = exs_scope_submit(scope, ex, in_arena, NULL);
	sem_take(&polling);
	CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
	expect_cancelled(f, EXS_CAUSE_USER);
	atomic_store(&scope_closed, false);
	pthread_t thread = thread_start(close_scope, scope);
	give_time(); /* to close too early */
	CHECK(!scope_closed);
	sem_post(&go_on_polling);
	thread_join(thread);
	exs_executor_free(ex);
}

/* --- errors and cancels --- */

/* A member in each place where one can be. */
enum { RUNNING, QUEUED, BACKOFF, POLLED, ABANDONABLE, PLACES };

struct places {
	exs_clock *clock;
	exs_executor *pool, *ex[PLACES];
	struct job jobs[PLACES], stubborn;
	exs_future *f[PLACES], *stubborn_f;
	exs_error *error;
};

static void places_start(struct places *p, exs_scope *scope)
{
	p->clock = exs_clock_manual_new();
	p->error = new_error();
	p->pool = exs_with_clock(exs_thread_pool(3), p->clock);
	p->ex[RUNNING] = exs_borrow(p->pool);
	p->ex[QUEUED] = exs_thread_pool(1);
	p->ex[BACKOFF] = exs_with_retry(exs_borrow(p->pool), NULL);
	p->ex[POLLED] = exs_with_poll(exs_borrow(p->pool), job_poll, job_cancel, NULL, NULL);
	p->ex[ABANDONABLE] = exs_with_timeout_mode(exs_borrow(p->pool), 1000, EXS_ABANDON);
	for (int i = 0; i < PLACES; i++) {
		job_init(&p->jobs[i]);
		p->jobs[i].polite = true;
		p->jobs[i].error = p->error;
	}
	job_init(&p->stubborn);
	p->jobs[BACKOFF].failures = 1;
	p->jobs[POLLED].held = true;
	p->jobs[POLLED].refuses = true;
	p->f[BACKOFF] = put(scope, p->ex[BACKOFF], &p->jobs[BACKOFF]);
	wait_next(p->clock, 1);
	p->f[POLLED] = put(scope, p->ex[POLLED], &p->jobs[POLLED]);
	sem_take(&p->jobs[POLLED].in_set);
	p->f[RUNNING] = put_running(scope, p->ex[RUNNING], &p->jobs[RUNNING]);
	p->f[ABANDONABLE] = put_running(scope, p->ex[ABANDONABLE], &p->jobs[ABANDONABLE]);
	p->stubborn_f = put_running(scope, p->ex[QUEUED], &p->stubborn);
	p->f[QUEUED] = put(scope, p->ex[QUEUED], &p->jobs[QUEUED]);
}

/* All that can be stopped is, for this cause; the stubborn one is awaited and its value stands. */
static void places_end(struct places *p, exs_scope *scope, exs_cause cause, const exs_error *error)
{
	for (int i = 0; i < PLACES; i++)
		expect_cancelled(p->f[i], cause);
	CHECK_INT(exs_future_state(p->stubborn_f), EXS_STATE_RUNNING);
	CHECK_INT(exs_future_cause(p->stubborn_f), cause);
	CHECK(exs_scope_error(scope) == error);
	sem_post(&p->stubborn.open);
	close_with(scope, error);
	expect_value(p->stubborn_f, &p->stubborn);
	CHECK_INT(p->jobs[RUNNING].cause, cause);
	CHECK_INT(p->jobs[ABANDONABLE].cause, cause);
	CHECK_INT(p->jobs[POLLED].told, 1);
	CHECK_INT(p->jobs[QUEUED].starts, 0);
	CHECK_INT(p->jobs[BACKOFF].starts, 1);
	for (int i = 0; i < PLACES; i++) {
		exs_executor_free(p->ex[i]);
		job_fini(&p->jobs[i]);
	}
	job_fini(&p->stubborn);
	exs_executor_free(p->pool);
	exs_clock_unref(p->clock);
	exs_error_unref(p->error);
}

TEST(scope, first_error_cancels_the_others)
{
	exs_scope *scope = exs_scope_new();
	struct places p;
	struct job bad;

	job_init(&bad);
	places_start(&p, scope);
	bad.failures = ALWAYS;
	bad.error = p.error;
	expect_error(put(scope, p.pool, &bad), p.error);
	places_end(&p, scope, EXS_CAUSE_SIBLING, p.error);
	job_fini(&bad);
}

TEST(scope, cancelled_by_the_user)
{
	exs_scope *scope = exs_scope_new();
	struct places p;

	places_start(&p, scope);
	p.jobs[POLLED].refuses = false; /* it may, for a user's cancel */
	exs_scope_cancel(scope);
	exs_scope_cancel(scope);
	places_end(&p, scope, EXS_CAUSE_USER, NULL);
}

/* A task that has a scope of its own, which waits for a member that only a stop request can end. */
static exs_result own_scope(void *arg, exs_context *ctx)
{
	struct job *job = arg;
	exs_scope_options options = {.ctx = ctx};
	exs_scope *scope = exs_scope_new_with(&options);

	exs_future *f = put(scope, job->more, job);
	wait_done(f); /* by the stop that this task is asked for */
	expect_cancelled(f, exs_context_cause(ctx));
	CHECK(exs_context_stop_requested(ctx));
	expect_cancelled(exs_scope_submit(scope, job->more, square, NULL), exs_context_cause(ctx));
	close_well(scope);
	return exs_cancelled();
}

static void stop_owner(exs_cause cause)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_timeout(exs_with_clock(exs_thread_pool(2), clock), 10), *own = exs_thread_pool(1);
	struct job job;

	job_init(&job);
	job.gated = job.polite = true;
	job.more = own;
	exs_future *f = exs_submit(ex, own_scope, &job);
	sem_take(&job.entered);
	if (cause == EXS_CAUSE_USER)
		CHECK(exs_future_cancel(f) != EXS_TOO_LATE);
	else if (cause == EXS_CAUSE_TIMEOUT)
		advance(clock, 10);
	else
		exs_shutdown(ex, EXS_CANCEL_ALL, EXS_FOREVER);
	if (cause == EXS_CAUSE_TIMEOUT)
		expect_code(f, &exs_domain_exs, EXS_ETIMEDOUT);
	else
		expect_cancelled(f, cause);
	CHECK_INT(job.cause, cause);
	job_fini(&job);
	exs_executor_free(ex);
	exs_executor_free(own);
	exs_clock_unref(clock);
}

TEST(scope, stops_with_the_task_that_made_it)
{
	stop_owner(EXS_CAUSE_USER);
	stop_owner(EXS_CAUSE_TIMEOUT);
	stop_owner(EXS_CAUSE_SHUTDOWN);
}

/* Asked before: the scope takes nothing at all. */
static exs_result late_scope(void *arg, exs_context *ctx)
{
	struct job *job = arg;
	exs_scope_options options = {.ctx = ctx};

	exs_result r = job_run(job, ctx);
	exs_scope *scope = exs_scope_new_with(&options);
	expect_cancelled(exs_scope_submit(scope, job->more, square, NULL), EXS_CAUSE_USER);
	close_well(scope);
	return r;
}

TEST(scope, made_by_a_task_that_was_stopped)
{
	exs_executor *ex = exs_thread_pool(1);
	exs_task task = {.fn = late_scope, .arg_free = job_free_arg};
	struct job job;

	job_init(&job);
	job.gated = true;
	job.more = ex;
	task.arg = &job;
	exs_future *f = exs_submit_with(ex, &task);
	sem_take(&job.entered);
	CHECK_INT(exs_future_cancel(f), EXS_STOP_REQUESTED);
	sem_post(&job.open);
	expect_value(f, &job);
	job_fini(&job);
	exs_executor_free(ex);
}

/* The very error of the first that failed; later ones are dropped. */
TEST(scope, error_is_the_first_itself)
{
	exs_executor *ex = exs_with_timeout_mode(exs_with_retry(exs_inline(), NULL), 1000, EXS_ABANDON);
	exs_retry_options once = {.max_attempts = 1};
	exs_error *first = new_error();
	struct job jobs[3];

	for (int mode = 0; mode < 2; mode++) {
		exs_scope *scope = mode ? go_on() : exs_scope_new();
		for (int i = 0; i < 3; i++) {
			exs_task task = {.fn = job_run, .arg = &jobs[i], .arg_free = job_free_arg, .retry = &once};
			job_init(&jobs[i]);
			jobs[i].failures = i ? ALWAYS : 0;
			jobs[i].error = i == 1 ? first : new_error();
			exs_future_unref(exs_scope_submit_with(scope, ex, &task));
			CHECK(exs_scope_error(scope) == (i ? first : NULL));
		}
		CHECK_INT(jobs[2].starts, mode); /* going on, it runs */
		close_with(scope, first);
		exs_error_unref(jobs[0].error);
		exs_error_unref(jobs[2].error);
		for (int i = 0; i < 3; i++)
			job_fini(&jobs[i]);
	}
	exs_error_unref(first);
	exs_executor_free(ex);
}

TEST(scope, failed_scope_takes_no_more)
{
	exs_executor *ex = exs_thread_pool(1);
	exs_error *error = new_error();
	exs_scope *scope = exs_scope_new();
	struct job bad, late[2];

	job_init(&bad);
	bad.failures = ALWAYS;
	bad.error = error;
	expect_error(put(scope, ex, &bad), error);
	wait_count(&bad.freed, 1);
	for (int i = 0; i < 2; i++) {
		job_init(&late[i]);
		exs_future *f;
		do { /* the waiter is woken before the scope hears of it */
			f = put(scope, ex, &late[i]);
			if (exs_scope_error(scope))
				break;
			wait_done(f);
			exs_future_unref(f);
			job_fini(&late[i]);
			job_init(&late[i]);
		} while (true);
		wait_done(f);
		if (exs_future_state(f) == EXS_STATE_CANCELLED)
			CHECK_INT(exs_future_cause(f), EXS_CAUSE_SIBLING);
		exs_future_unref(f);
		job_fini(&late[i]);
	}
	struct job after, last;
	job_init(&after);
	expect_value(job_submit(ex, &after), &after); /* the worker has cancelled the members: the next is none */
	job_init(&last);
	expect_cancelled(put(scope, ex, &last), EXS_CAUSE_SIBLING);
	CHECK_INT(last.starts, 0);
	CHECK_INT(last.freed, 1);
	close_with(scope, error);
	job_fini(&bad);
	job_fini(&after);
	job_fini(&last);
	exs_error_unref(error);
	exs_executor_free(ex);
}

/* No cancel is an error: by a user, by the task itself, by a shutdown. */
TEST(scope, cancelled_members_are_no_error)
{
	exs_executor *ex = exs_thread_pool(1);
	exs_scope *scope = exs_scope_new();
	struct job jobs[4];
	exs_future *f[4];

	for (int i = 0; i < 4; i++)
		job_init(&jobs[i]);
	jobs[0].cancels = true;
	f[0] = put(scope, ex, &jobs[0]);
	expect_cancelled(f[0], EXS_CAUSE_NONE);
	f[1] = put_running(scope, ex, &jobs[1]);
	f[2] = put(scope, ex, &jobs[2]);
	f[3] = put(scope, ex, &jobs[3]);
	CHECK_INT(exs_future_cancel(f[2]), EXS_CANCELLED);
	CHECK_INT(exs_shutdown(ex, EXS_CANCEL_QUEUED, 0), 1);
	expect_cancelled(f[2], EXS_CAUSE_USER);
	expect_cancelled(f[3], EXS_CAUSE_SHUTDOWN);
	expect_code(f[1], &exs_domain_exs, EXS_ESHUTDOWN); /* this one is: its result is lost */
	CHECK(exs_error_is(exs_scope_error(scope), &exs_domain_exs, EXS_ESHUTDOWN));
	sem_post(&jobs[1].open);
	close_code(scope, EXS_ESHUTDOWN);
	for (int i = 0; i < 4; i++)
		job_fini(&jobs[i]);
	exs_executor_free(ex);
}

/* A submit that is refused is a failed member: nothing was done. */
TEST(scope, refused_submits_fail_the_scope)
{
	exs_executor *ex = exs_inline(), *closed = exs_inline();
	exs_retry_options retry = {.sleep = 1};
	exs_task wrong[] = {{.fn = NULL}, {.fn = job_run, .timeout = NAN}, {.fn = job_run, .retry = &retry}};

	exs_shutdown(closed, EXS_DRAIN, 0);
	for (int i = 0; i < 5; i++) {
		exs_executor *to = i == 3 ? closed : i == 4 ? NULL : ex;
		exs_task task = i < 3 ? wrong[i] : (exs_task){.fn = job_run};
		int code = i == 3 ? EXS_ESHUTDOWN : EXS_EINVAL;
		exs_scope *scope = exs_scope_new();
		struct job job;
		job_init(&job);
		task.arg = &job;
		task.arg_free = job_free_arg;
		expect_code(exs_scope_submit_with(scope, to, &task), &exs_domain_exs, code);
		CHECK_INT(job.freed, 1);
		expect_cancelled(exs_scope_submit(scope, ex, square, NULL), EXS_CAUSE_SIBLING);
		close_code(scope, code);
		job_fini(&job);
	}
	exs_executor_free(ex);
	exs_executor_free(closed);
}

/* --- from within --- */

struct tree {
	exs_executor *ex;
	int depth;
	atomic_int *leaves;
};

/* Two scopes deep at each level: every task waits for its children in a scope on its stack. */
static exs_result grow(void *arg, exs_context *ctx)
{
	struct tree *t = arg, below[2];

	(void)ctx;
	if (!t->depth) {
		atomic_fetch_add(t->leaves, 1);
		return exs_ok(NULL, NULL);
	}
	exs_scope *scope = exs_scope_new();
	for (int i = 0; i < 2; i++) {
		below[i] = (struct tree){t->ex, t->depth - 1, t->leaves};
		exs_future_unref(exs_scope_submit(scope, t->ex, grow, &below[i]));
	}
	close_well(scope);
	return exs_ok(NULL, NULL);
}

static void nested_on(exs_executor *ex, int depth)
{
	atomic_int leaves = 0;
	struct tree top = {ex, depth, &leaves};

	CHECK(ex);
	expect_value(exs_submit(ex, grow, &top), NULL);
	CHECK_INT(leaves, 1 << depth);
	exs_executor_free(ex);
}

TEST(scope, nested_in_the_tasks_of_a_pool)
{
	exs_thread_pool_options no_spares = {.workers = 1, .max_spares = EXS_NONE};

	nested_on(exs_thread_pool(1), 7);
	nested_on(exs_thread_pool(3), 7);
	nested_on(exs_inline(), 7);
	nested_on(exs_thread_pool_with(&no_spares), 7); /* one thread is all it takes */
	nested_on(exs_with_retry(exs_with_timeout(exs_thread_pool(2), 1000), NULL), 6);
	nested_on(exs_with_throttle(exs_thread_pool(2), 1 << 7, NULL), 6);
	nested_on(exs_with_timeout_mode(exs_thread_pool_with(&no_spares), 1000, EXS_ABANDON), 5);
}

/* An inner scope that fails is an error of the task that has it, if it says so. */
static exs_result fail_inside(void *arg, exs_context *ctx)
{
	struct job *job = arg;
	exs_scope *scope = exs_scope_new();

	(void)ctx;
	exs_future_unref(put(scope, job->more, job));
	exs_error *e = exs_scope_close(scope);
	return e ? exs_fail(e) : exs_ok(NULL, NULL);
}

TEST(scope, errors_climb_through_nested_scopes)
{
	exs_executor *ex = exs_thread_pool(2);
	exs_scope *scope = exs_scope_new();
	struct job job, other;
	exs_error *error = new_error();

	job_init(&job);
	job_init(&other);
	job.failures = ALWAYS;
	job.error = error;
	job.more = ex;
	other.polite = true;
	exs_future *f = put_running(scope, ex, &other);
	expect_error(exs_scope_submit(scope, ex, fail_inside, &job), error);
	expect_cancelled(f, EXS_CAUSE_SIBLING);
	close_with(scope, error);
	job_fini(&job);
	job_fini(&other);
	exs_error_unref(error);
	exs_executor_free(ex);
}

/* Members submit members, while the scope is being closed as well. */
struct splitter {
	exs_executor *ex;
	atomic_int *ends;
	int depth;
};

static exs_result split(void *arg, exs_context *ctx)
{
	struct splitter *s = arg;
	exs_scope *scope = exs_context_scope(ctx);

	for (int i = 0; s->depth && i < 3; i++) {
		struct splitter *next = exs_scope_alloc(scope, sizeof(*next));
		*next = (struct splitter){s->ex, s->ends, s->depth - 1};
		exs_future *f = exs_scope_submit(scope, s->ex, split, next);
		CHECK(f && exs_future_state(f) != EXS_STATE_CANCELLED);
		exs_future_unref(f);
	}
	atomic_fetch_add(s->ends, 1);
	return exs_ok(NULL, NULL);
}

static void split_on(exs_executor *ex)
{
	atomic_int ends = 0;
	struct splitter first = {ex, &ends, 6};
	exs_scope *scope = exs_scope_new();

	exs_future_unref(exs_scope_submit(scope, ex, split, &first));
	close_well(scope);
	CHECK_INT(ends, (3 * 729 - 1) / 2);
}

static exs_result split_in_task(void *ex, exs_context *ctx)
{
	(void)ctx;
	split_on(ex);
	return exs_ok(NULL, NULL);
}

TEST(scope, members_submit_members)
{
	exs_thread_pool_options no_spares = {.workers = 1, .max_spares = EXS_NONE};
	exs_executor *ex[] = {exs_inline(), exs_thread_pool(1), exs_thread_pool(4), exs_thread_pool_with(&no_spares)};

	for (int i = 0; i < 4; i++) {
		split_on(ex[i]);
		expect_value(exs_submit(ex[i], split_in_task, ex[i]), NULL); /* the closing worker runs them */
		exs_executor_free(ex[i]);
	}
}

/* A member of another pool gives the closing worker, the only one of its own, something to run. */
struct cross {
	exs_executor *here, *there;
	sem_t *closing;
	int value;
	bool late; /* the closer is given time to fall asleep */
};

static exs_result set_seven(void *arg, exs_context *ctx)
{
	(void)ctx;
	((struct cross *)arg)->value = 7;
	return exs_ok(NULL, NULL);
}

static exs_result send_back(void *arg, exs_context *ctx)
{
	struct cross *c = arg;

	sem_take(c->closing);
	if (c->late)
		give_time();
	exs_future_unref(exs_scope_submit(exs_context_scope(ctx), c->here, set_seven, c));
	return exs_ok(NULL, NULL);
}

static exs_result close_here(void *arg, exs_context *ctx)
{
	struct cross *c = arg;
	exs_scope *scope = exs_scope_new();

	(void)ctx;
	exs_future_unref(exs_scope_submit(scope, c->there, send_back, c));
	sem_post(c->closing);
	close_well(scope);
	return exs_ok(NULL, NULL);
}

static void close_while_members_come(exs_executor *(*here)(void), bool late)
{
	sem_t closing;

	CHECK(!sem_init(&closing, 0, 0));
	for (unsigned long round = 0; round < harness_rounds(late ? 10 : 200); round++) {
		struct cross c = {here(), exs_thread_pool(1), &closing, 0, late};
		expect_value(exs_submit(c.here, close_here, &c), NULL);
		CHECK_INT(c.value, 7);
		exs_executor_free(c.here);
		exs_executor_free(c.there);
	}
	sem_destroy(&closing);
}

static exs_executor *one_worker(void)
{
	exs_thread_pool_options no_spares = {.workers = 1, .max_spares = EXS_NONE};

	return exs_thread_pool_with(&no_spares);
}

/* Room for two: the pool's only worker is taken, the queue is not. */
static exs_executor *queue_over_one_worker(void)
{
	exs_executor *queue = exs_queue(NULL);
	exs_attach_options two = {.capacity = 2};

	CHECK(exs_queue_attach(queue, one_worker(), &two));
	return queue;
}

static exs_executor *full_queue_over_one_worker(void)
{
	exs_executor *queue = exs_queue(NULL);

	CHECK(exs_queue_attach(queue, one_worker(), NULL));
	return queue;
}

TEST(scope, closing_worker_runs_what_comes_late)
{
	exs_executor *(*const kinds[])(void) = {one_worker, queue_over_one_worker, full_queue_over_one_worker};

	for (int i = 0; i < 3; i++) {
		close_while_members_come(kinds[i], false);
		close_while_members_come(kinds[i], true);
	}
}

static void submit_one_more(exs_future *f, void *arg)
{
	struct cross *c = arg;

	(void)f;
	exs_future_unref(exs_scope_submit(*(exs_scope **)c->closing, c->there, set_seven, c));
}

TEST(scope, callbacks_of_members_submit_members)
{
	exs_executor *ex = exs_thread_pool(1);
	exs_scope *scope = exs_scope_new();
	struct cross c = {ex, ex, (void *)&scope, 0, false};
	struct job job;

	job_init(&job);
	exs_future *f = put_running(scope, ex, &job);
	CHECK_INT(exs_future_on_done(f, submit_one_more, &c, NULL), EXS_OK);
	exs_future_unref(f);
	sem_post(&job.open);
	close_well(scope);
	CHECK_INT(c.value, 7);
	job_fini(&job);
	exs_executor_free(ex);
}

/* On an event loop: its only thread closes, and runs the members, those that come out of a backoff too. */
static exs_result close_on_loop(void *arg, exs_context *ctx)
{
	struct job *jobs = arg;
	exs_scope *scope = exs_scope_new();

	(void)ctx;
	for (int i = 0; i < 3; i++)
		exs_future_unref(put(scope, jobs[i].more, &jobs[i]));
	close_well(scope);
	for (int i = 0; i < 3; i++)
		CHECK_INT(jobs[i].starts, 2 + (i == 1));
	split_on(exs_layer_delegate(jobs[0].more));
	return exs_ok(NULL, NULL);
}

struct passing {
	exs_clock *clock;
	exs_future *until;
};

static void *pass_time(void *arg)
{
	struct passing *p = arg;

	while (!exs_future_is_done(p->until)) {
		if (exs_clock_armed(p->clock))
			advance(p->clock, 1);
		sched_yield();
	}
	return NULL;
}

TEST(scope, close_on_an_event_loop)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *loop = exs_with_clock(exs_event_loop(), clock), *ex = exs_with_retry(loop, NULL);
	struct job jobs[3];
	exs_error *error = new_error();

	for (int i = 0; i < 3; i++) {
		job_init(&jobs[i]);
		jobs[i].failures = 1 + (i == 1);
		jobs[i].error = error;
		jobs[i].more = ex;
	}
	exs_future *f = exs_submit(ex, close_on_loop, jobs);
	pthread_t thread = thread_start(pass_time, &(struct passing){clock, f});
	CHECK(exs_event_loop_run_once(ex, EXS_FOREVER) > 0);
	thread_join(thread);
	expect_value(f, NULL);
	for (int i = 0; i < 3; i++)
		job_fini(&jobs[i]);
	exs_executor_free(ex);
	exs_error_unref(error);
	exs_clock_unref(clock);
}

/* --- what can't be waited for --- */

/* The only worker waits for a member in a backoff, which no other thread could run again. */
static exs_result close_alone(void *arg, exs_context *ctx)
{
	struct job *job = arg;
	exs_scope *scope = go_on();

	(void)ctx;
	exs_future *f = put(scope, job->more, job);
	close_code(scope, EXS_EDEADLK);
	expect_cancelled(f, EXS_CAUSE_SIBLING);
	return exs_ok(NULL, NULL);
}

TEST(scope, close_gives_up_what_no_worker_can_do)
{
	exs_thread_pool_options no_spares = {.workers = 1, .max_spares = EXS_NONE};
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_retry(exs_with_clock(exs_thread_pool_with(&no_spares), clock), NULL);
	struct job job;

	job_init(&job);
	job.failures = ALWAYS;
	job.error = new_error();
	job.more = ex;
	log_begin(EXS_LOG_WARNING);
	expect_value(exs_submit(ex, close_alone, &job), NULL);
	CHECK_INT(log_lines("nobody is left to run the members"), 1);
	log_end();
	CHECK_INT(job.starts, 1);
	job_fini(&job);
	exs_error_unref(job.error);
	exs_executor_free(ex);
	exs_clock_unref(clock);
}

/* A close that would wait for itself says so, and leaves the scope as it is. */
static void close_within(exs_scope *scope)
{
	close_code(scope, EXS_EDEADLK);
	CHECK(!exs_scope_error(scope));
}

static void close_in_task(struct job *job, exs_context *ctx)
{
	(void)ctx;
	close_within(job->more);
}

static void close_in_callback(exs_future *f, void *scope)
{
	(void)f;
	close_within(scope);
}

static void close_in_handler(void *scope)
{
	close_within(scope);
}

static exs_result handle_cancel(void *arg, exs_context *ctx)
{
	CHECK_INT(exs_context_on_cancel(ctx, close_in_handler, exs_context_scope(ctx)), EXS_OK);
	return job_run(arg, ctx);
}

static void close_in_arg_free(void *arg)
{
	struct job *job = arg;

	close_within(job->more);
	job_free_arg(job);
}

static void close_when_told(struct job *job)
{
	close_within(job->more);
}

/* In a task, a task helped by a waiting member, a callback, a handler, an arg_free, a cancel function. */
TEST(scope, close_from_within_is_refused)
{
	exs_executor *ex[] = {exs_thread_pool(2), exs_inline(),
			      exs_with_timeout_mode(exs_thread_pool(2), 1000, EXS_ABANDON)};

	for (int i = 0; i < 3; i++) {
		exs_scope *scope = exs_scope_new();
		struct job jobs[3];
		for (int j = 0; j < 3; j++) {
			job_init(&jobs[j]);
			jobs[j].more = scope;
		}
		jobs[0].inside = close_in_task;
		jobs[0].gated = i != 1;
		exs_future *f = put(scope, ex[i], &jobs[0]);
		if (i != 1)
			CHECK_INT(exs_future_on_done(f, close_in_callback, scope, NULL), EXS_OK);
		sem_post(&jobs[0].open);
		expect_value(f, &jobs[0]);
		exs_task task = {.fn = job_run, .arg = &jobs[1], .arg_free = close_in_arg_free};
		expect_value(exs_scope_submit_with(scope, ex[i], &task), &jobs[1]);
		task = (exs_task){.fn = handle_cancel, .arg = &jobs[2], .arg_free = job_free_arg};
		jobs[2].gated = i != 1;
		f = exs_scope_submit_with(scope, ex[i], &task);
		if (jobs[2].gated) {
			sem_take(&jobs[2].entered);
			CHECK_INT(exs_future_cancel(f), EXS_STOP_REQUESTED);
			sem_post(&jobs[2].open);
		}
		expect_value(f, &jobs[2]);
		close_well(scope);
		for (int j = 0; j < 3; j++)
			job_fini(&jobs[j]);
		exs_executor_free(ex[i]);
	}
}

static void close_twice(exs_future *f, void *scope)
{
	close_in_callback(f, scope);
}

TEST(scope, close_on_a_poll_thread)
{
	exs_executor *ex = exs_with_poll(exs_inline(), job_poll, job_cancel, NULL, NULL);
	exs_scope *scope = exs_scope_new();
	struct job held, other, told;

	job_init(&held);
	job_init(&other);
	job_init(&told);
	atomic_store(&held.held, true);
	atomic_store(&other.held, true);
	exs_future *held_f = put(scope, ex, &held);
	sem_take(&held.in_set);
	exs_future *f = job_submit(ex, &other); /* no member, but done on the thread that the scope waits for */
	sem_take(&other.in_set);
	CHECK_INT(exs_future_on_done(f, close_twice, scope, NULL), EXS_OK);
	atomic_store(&other.held, false);
	exs_poll_notify(ex);
	expect_value(f, &other);
	job_fini(&other);
	atomic_store(&told.held, true);
	told.when_told = close_when_told;
	told.more = scope;
	f = put(scope, ex, &told);
	sem_take(&told.in_set);
	CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
	expect_cancelled(f, EXS_CAUSE_USER);
	atomic_store(&held.held, false);
	exs_poll_notify(ex);
	expect_value(held_f, &held);
	close_well(scope);
	job_fini(&held);
	job_fini(&told);
	exs_executor_free(ex);
}

/* On the poll thread itself, a scope whose members need it: when they have not come to its set yet, and when they have. */
struct own_scope {
	exs_executor *ex;
	exs_scope *scope;
	struct job jobs[2];
	exs_future *f[2];
	unsigned refused;
};

static exs_error *close_own_scope(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	struct own_scope *o = ctx;

	*delay = EXS_FOREVER;
	for (int i = 0; i < 2 && !o->scope; i++) {
		job_init(&o->jobs[i]);
		o->jobs[i].gated = true;
	}
	if (!o->scope) {
		o->scope = exs_scope_new();
		for (int i = 0; i < 2; i++)
			o->f[i] = put(o->scope, o->ex, &o->jobs[i]);
	}
	if (n != 2) /* the starter alone, or all three */
		close_within(o->scope), o->refused++;
	for (int i = 0; i < 2 && n == 1; i++)
		sem_post(&o->jobs[i].open);
	for (size_t i = 0; i < n && n == 3; i++)
		exs_yield_result(d[i], NULL, NULL);
	return NULL;
}

static exs_result start_nothing(void *arg, exs_context *ctx)
{
	(void)arg, (void)ctx;
	return exs_ok(NULL, NULL);
}

TEST(scope, close_in_a_poll_function_of_its_members)
{
	struct own_scope o = {.refused = 0};

	log_begin(EXS_LOG_WARNING);
	o.ex = exs_with_poll(exs_thread_pool(2), close_own_scope, NULL, &o, NULL);
	expect_value(exs_submit(o.ex, start_nothing, NULL), NULL);
	for (int i = 0; i < 2; i++)
		expect_value(o.f[i], NULL);
	CHECK_INT(o.refused, 2);
	CHECK_INT(log_lines("a member needs this very thread"), 1);
	close_well(o.scope);
	exs_executor_free(o.ex);
	for (int i = 0; i < 2; i++)
		job_fini(&o.jobs[i]);
	log_end();
}

/* The member is done, but in the batch that the poll function is still at; what it yields for another has a callback that closes. */
struct batch {
	exs_future *member;
	exs_scope *scope;
	sem_t *known; /* which is the member */
	atomic_uint refused;
};

static void note_refused(exs_future *f, void *arg)
{
	struct batch *b = arg;

	(void)f;
	close_within(b->scope);
	atomic_fetch_add(&b->refused, 1);
}

static exs_error *cancel_one_yield_the_other(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	struct batch *b = ctx;

	*delay = EXS_FOREVER;
	if (n < 2)
		return NULL;
	sem_take(b->known);
	CHECK_INT(exs_future_cancel(b->member), EXS_CANCELLED);
	for (size_t i = 0; i < n; i++)
		exs_yield_result(d[i], NULL, NULL);
	return NULL;
}

TEST(scope, close_in_the_batch_of_a_member)
{
	struct batch b = {.scope = exs_scope_new()};
	exs_executor *ex = exs_with_poll(exs_inline(), cancel_one_yield_the_other, NULL, &b, NULL);
	int seven[2] = {7, 7};

	exs_future *f = exs_submit(ex, square, &seven[0]);
	CHECK_INT(exs_future_on_done(f, note_refused, &b, NULL), EXS_OK);
	sem_t known;
	CHECK(!sem_init(&known, 0, 0));
	b.known = &known;
	b.member = exs_scope_submit(b.scope, ex, square, &seven[1]);
	sem_post(&known);
	expect_value(f, NULL);
	wait_count(&b.refused, 1);
	close_well(b.scope);
	expect_cancelled(b.member, EXS_CAUSE_USER);
	exs_executor_free(ex);
}

/* Two that close: the second is told. */
TEST(scope, closed_by_two_threads)
{
	exs_executor *ex = exs_thread_pool(1);
	exs_scope *scope = exs_scope_new();
	struct job job, late;

	job_init(&job);
	job_init(&late);
	exs_future *f = put_running(scope, ex, &job);
	pthread_t thread = thread_start(close_scope, scope);
	for (;;) { /* the close has begun when a submit is refused */
		struct job probe;
		job_init(&probe);
		exs_future *p = put(scope, ex, &probe);
		bool refused = exs_error_is(exs_future_error(p), &exs_domain_exs, EXS_EALREADY);
		exs_future_cancel(p);
		exs_future_unref(p);
		job_fini(&probe);
		if (refused)
			break;
		sched_yield();
	}
	close_code(scope, EXS_EALREADY);
	expect_code(put(scope, ex, &late), &exs_domain_exs, EXS_EALREADY);
	CHECK_INT(late.starts, 0);
	CHECK(!exs_scope_error(scope)); /* what outsiders do is no business of the members' */
	sem_post(&job.open);
	thread_join(thread);
	expect_value(f, &job);
	job_fini(&job);
	job_fini(&late);
	exs_executor_free(ex);
}

TEST(scope, misuse)
{
	exs_executor *ex = exs_inline();
	struct {
		exs_scope_options options;
		int more;
	} longer = {.more = 1};
	exs_scope_options wrong = {.on_error = (exs_on_error)2};
	struct {
		exs_task task;
		int more;
	} long_task = {{.fn = square}, 1};
	struct job job;

	CHECK(!exs_scope_new_sized(&longer.options, sizeof(longer)));
	CHECK_INT(exs_error_code(exs_last_error()), EXS_EINVAL);
	CHECK(!exs_scope_new_with(&wrong));
	CHECK_INT(exs_error_code(exs_last_error()), EXS_EINVAL);
	job_init(&job);
	expect_code(put(NULL, ex, &job), &exs_domain_exs, EXS_EINVAL);
	CHECK_INT(job.freed, 1);
	job_fini(&job);
	CHECK(!exs_scope_alloc(NULL, 1));
	CHECK_INT(exs_error_code(exs_last_error()), EXS_EINVAL);
	CHECK(!exs_scope_owns(NULL, &job));
	CHECK(!exs_scope_error(NULL));
	exs_scope_cancel(NULL);
	close_code(NULL, EXS_EINVAL);
	exs_scope *scope = exs_scope_new_sized(NULL, 0);
	expect_code(exs_scope_submit_with_sized(scope, ex, &long_task.task, sizeof(long_task)), &exs_domain_exs,
		    EXS_EINVAL);
	close_code(scope, EXS_EINVAL);
	exs_executor_free(ex);
}

/* --- the arena --- */

TEST(scope, arena)
{
	static const size_t sizes[] = {0, 1, 8, 15, 16, 17, 100, 4000, 5000, 100000, 3, 3000000, 7};
	enum { SIZES = sizeof(sizes) / sizeof(*sizes) };
	exs_scope *scope = exs_scope_new();
	char *p[20][SIZES];
	int on_stack;

	CHECK(!exs_scope_owns(scope, &on_stack));
	for (int round = 0; round < 20; round++)
		for (int i = 0; i < SIZES; i++) {
			CHECK(p[round][i] = exs_scope_alloc(scope, sizes[i]));
			CHECK_INT((uintptr_t)p[round][i] % _Alignof(max_align_t), 0);
			memset(p[round][i], round, sizes[i]);
		}
	for (int round = 0; round < 20; round++)
		for (int i = 0; i < SIZES; i++) {
			for (size_t at = 0; at < sizes[i]; at += 99)
				CHECK_INT(p[round][i][at], round);
			CHECK(exs_scope_owns(scope, p[round][i]));
			CHECK(!sizes[i] || exs_scope_owns(scope, p[round][i] + sizes[i] - 1));
		}
	CHECK(!exs_scope_owns(scope, &on_stack) && !exs_scope_owns(scope, scope) && !exs_scope_owns(scope, NULL));
	for (int i = 0; i < 40; i += 13) {
		CHECK(!exs_scope_alloc(scope, SIZE_MAX - (size_t)i));
		CHECK_INT(exs_error_code(exs_last_error()), EXS_ENOMEM);
	}
	close_well(scope);
}

static atomic_ulong arena_blocks;

static void *count_alloc(size_t size)
{
	atomic_fetch_add(&arena_blocks, 1);
	return malloc(size);
}

/* A hundred thousand small ones are a few blocks of the allocator's. */
TEST(scope, arena_takes_memory_in_large_pieces)
{
	static const exs_allocator counting = {count_alloc, free};

	exs_set_allocator(&counting);
	exs_scope *scope = exs_scope_new();
	atomic_store(&arena_blocks, 0);
	for (int i = 0; i < 100000; i++)
		*(char *)exs_scope_alloc(scope, 1 + (size_t)i % 60) = 1;
	CHECK(arena_blocks < 20);
	for (int i = 0; i < 1000; i++) { /* a large one does not waste what is left of the chunk */
		CHECK(exs_scope_alloc(scope, 1000000));
		CHECK(exs_scope_alloc(scope, 16));
	}
	CHECK(arena_blocks < 20 + 1000 + 2);
	close_well(scope);
	exs_set_allocator(NULL);
}

static exs_result fill_arena(void *arg, exs_context *ctx)
{
	exs_scope *scope = exs_context_scope(ctx);
	unsigned char *p[200], byte = (unsigned char)(uintptr_t)arg;

	for (size_t i = 0; i < 200; i++) {
		CHECK(p[i] = exs_scope_alloc(scope, i));
		memset(p[i], byte, i);
		CHECK(exs_scope_owns(scope, p[i]));
	}
	for (size_t i = 0; i < 200; i++)
		for (size_t at = 0; at < i; at++)
			CHECK_INT(p[i][at], byte);
	return exs_ok(p[7], NULL);
}

TEST(scope, arena_from_many_threads)
{
	exs_executor *ex = exs_thread_pool(8);
	exs_scope *scope = exs_scope_new();

	for (unsigned long i = 0; i < harness_rounds(200); i++)
		exs_future_unref(exs_scope_submit(scope, ex, fill_arena, (void *)i));
	close_well(scope);
	exs_executor_free(ex);
}

/* --- many, and races --- */

static exs_result count_up(void *arg, exs_context *ctx)
{
	(void)ctx;
	atomic_fetch_add((atomic_int *)arg, 1);
	return exs_ok(NULL, NULL);
}

TEST(scope, a_hundred_thousand_members)
{
	exs_executor *ex = exs_thread_pool(2);
	exs_scope *scope = exs_scope_new();
	atomic_int count = 0;
	struct job gate;

	job_init(&gate);
	exs_future_unref(put_running(scope, ex, &gate));
	for (int i = 0; i < 100000; i++)
		exs_future_unref(exs_scope_submit(scope, ex, count_up, &count));
	sem_post(&gate.open);
	close_well(scope);
	CHECK_INT(count, 100000);
	job_fini(&gate);
	exs_executor_free(ex);
}

static exs_result fail_now(void *arg, exs_context *ctx)
{
	(void)ctx;
	return exs_fail(exs_error_ref(arg));
}

/* All but one wait in a queue when that one fails. */
TEST(scope, a_hundred_thousand_cancelled_by_one)
{
	exs_executor *ex = exs_thread_pool(1), *other = exs_thread_pool(1);
	exs_scope *scope = exs_scope_new();
	exs_error *error = new_error();
	atomic_int count = 0;
	struct job gate;

	job_init(&gate);
	gate.polite = true;
	exs_future_unref(put_running(scope, ex, &gate));
	for (int i = 0; i < 100000; i++)
		exs_future_unref(exs_scope_submit(scope, ex, count_up, &count));
	exs_future_unref(exs_scope_submit(scope, other, fail_now, error));
	close_with(scope, error);
	CHECK(count < 100000);
	job_fini(&gate);
	exs_error_unref(error);
	exs_executor_free(ex);
	exs_executor_free(other);
}

struct storm {
	exs_executor *ex[4];
	exs_scope *scope;
	exs_error *error;
	unsigned seed, calls;
	atomic_uint submitted, freed, runs;
};

static exs_result storm_task(void *arg, exs_context *ctx)
{
	struct storm *s = arg;
	unsigned n = atomic_fetch_add(&s->runs, 1);

	if (n % 16 == 3) {
		atomic_fetch_add(&s->submitted, 1);
		exs_task again = {.fn = storm_task, .arg = s};
		exs_future_unref(exs_scope_submit_with(exs_context_scope(ctx), s->ex[n / 16 % 4], &again));
		atomic_fetch_add(&s->freed, 1);
	}
	if (n % 64 == 5)
		exs_context_sleep(ctx, 0.001);
	return n == s->seed ? exs_fail(exs_error_ref(s->error)) : exs_ok(s, NULL);
}

static void storm_freed(void *arg)
{
	atomic_fetch_add(&((struct storm *)arg)->freed, 1);
}

static void *storm_main(void *arg)
{
	struct storm *s = arg;

	for (unsigned i = 0; i < s->calls; i++) {
		exs_task task = {.fn = storm_task, .arg = s, .arg_free = storm_freed, .name = i % 3 ? NULL : "storm"};
		atomic_fetch_add(&s->submitted, 1);
		exs_future *f = exs_scope_submit_with(s->scope, s->ex[i % 4], &task);
		CHECK(f);
		if (i % 7 == 0)
			exs_future_cancel(f);
		exs_future_unref(f);
	}
	return NULL;
}

/* Many threads submit, members too, some are cancelled, one fails at any time, abandoned ones run on; then all is over. */
TEST(scope, many_threads_submit_while_one_fails)
{
	exs_retry_options at_once = {.sleep = EXS_NONE};

	for (unsigned long round = 0; round < harness_rounds(60); round++) {
		struct storm s = {.ex = {exs_thread_pool(2),
					 exs_with_timeout_mode(exs_thread_pool(2), 0.0005, EXS_ABANDON),
					 exs_with_retry(exs_thread_pool(1), &at_once), exs_inline()},
				  .scope = round % 2 ? go_on() : exs_scope_new(),
				  .error = new_error(),
				  .seed = (unsigned)round * 5,
				  .calls = 100};
		pthread_t threads[3];
		for (int i = 0; i < 3; i++)
			threads[i] = thread_start(storm_main, &s);
		if (round % 3 == 2)
			exs_scope_cancel(s.scope);
		if (round % 5 == 4)
			exs_shutdown(s.ex[1], EXS_CANCEL_ALL, 0);
		for (int i = 0; i < 3; i++)
			thread_join(threads[i]);
		exs_error_unref(exs_scope_close(s.scope));
		CHECK_INT(s.freed, s.submitted);
		for (int i = 0; i < 4; i++) {
			CHECK_INT(exs_executor_pending(s.ex[i]), 0);
			exs_executor_free(s.ex[i]);
		}
		exs_error_unref(s.error);
	}
}

/* The cancel of a thread that is no member runs into the close. */
static void *cancel_scope(void *arg)
{
	struct user *user = arg;

	exs_scope_cancel(((exs_scope **)user)[0]);
	return NULL;
}

TEST(scope, cancelled_while_it_is_closed)
{
	exs_executor *ex = exs_thread_pool(2);

	for (unsigned long round = 0; round < harness_rounds(300); round++) {
		exs_scope *scope = exs_scope_new();
		struct job job;
		job_init(&job);
		job.polite = true;
		exs_future *f = put_running(scope, ex, &job);
		pthread_t thread = thread_start(cancel_scope, &scope);
		close_well(scope); /* can't return before the cancel has begun */
		thread_join(thread);
		expect_cancelled(f, EXS_CAUSE_USER);
		job_fini(&job);
	}
	exs_executor_free(ex);
}

/* --- simulated: any order, any fault, from a seed --- */

/* A world of tasks, each of which lives on the stack of the one that submitted it. */
struct world {
	exs_executor *ex[3];
	uint64_t seed, random;
	exs_error *error;
	unsigned long given, freed, runs;
};

struct being {
	struct world *world;
	struct being *parent;
	bool alive, closing;
	int depth, runs;
};

static exs_result live(void *arg, exs_context *ctx);

static void unlive(void *arg)
{
	struct being *b = arg;

	CHECK(b->alive && b->parent->alive);
	CHECK_INT(b->runs, 0);
	b->world->freed++;
}

/* Some children in a scope of its own. */
static exs_error *beget(struct being *b, exs_context *ctx)
{
	struct being children[4];
	struct world *w = b->world;
	exs_scope_options options = {.on_error = (exs_on_error)harness_below(&w->random, 2),
				     .ctx = harness_below(&w->random, 2) ? ctx : NULL};
	exs_scope *scope = exs_scope_new_with(&options);

	if (!scope)
		return exs_error_new(&exs_domain_exs, EXS_ENOMEM, "no scope");
	for (int i = 0; i < 4; i++) {
		children[i] = (struct being){.world = w, .parent = b, .alive = true, .depth = b->depth - 1};
		exs_task task = {.fn = live, .arg = &children[i], .arg_free = unlive};
		exs_future *f = exs_scope_submit_with(scope, w->ex[harness_below(&w->random, 3)], &task);
		w->given++;
		if (f && !harness_below(&w->random, 8))
			exs_future_wait(f, 3);
		if (f && !harness_below(&w->random, 16))
			exs_future_cancel(f);
		exs_future_unref(f);
	}
	if (!harness_below(&w->random, 16))
		exs_scope_cancel(scope);
	exs_error *error = exs_scope_close(scope);
	for (int i = 0; i < 4; i++) {
		CHECK_INT(children[i].runs, 0);
		children[i].alive = false;
	}
	CHECK(!exs_error_is(error, &exs_domain_exs, EXS_EDEADLK));
	return error;
}

static exs_result live(void *arg, exs_context *ctx)
{
	struct being *b = arg;
	struct world *w = b->world;
	exs_error *error = NULL;

	CHECK(b->alive && b->parent->alive);
	b->runs++;
	w->runs++;
	if (harness_below(&w->random, 3) == 0)
		exs_context_sleep(ctx, (double)harness_below(&w->random, 20));
	if (b->depth && harness_below(&w->random, 2))
		error = beget(b, ctx);
	CHECK(b->alive && b->parent->alive);
	b->runs--;
	if (!error && harness_below(&w->random, 16) == 0)
		error = exs_error_ref(w->error);
	return error ? exs_fail(error) : exs_ok(NULL, NULL);
}

static void simulate(uint64_t seed)
{
	exs_sim_options options = {
		.fail = 0.05, .lose = 0.05, .cancel = 0.05, .delay = 0.2, .time = 0.05, .no_memory = 0.001};
	exs_sim *sim = exs_sim_new(seed, seed % 2 ? &options : NULL);
	exs_retry_options retry = {.max_attempts = 3, .jitter = EXS_JITTER_FULL};
	struct world w = {.seed = seed, .random = seed, .error = new_error()};
	struct being god = {.world = &w, .alive = true, .depth = 4};

	CHECK(sim);
	w.ex[0] = exs_sim_pool(sim, 2);
	w.ex[1] = exs_with_retry(exs_with_timeout_mode(exs_sim_pool(sim, 3), 15, EXS_ABANDON), &retry);
	w.ex[2] = exs_with_timeout(exs_with_retry(exs_sim_pool(sim, 2), &retry), 100);
	god.parent = &god;
	for (int round = 0; round < 3; round++)
		exs_error_unref(beget(&god, NULL));
	CHECK_INT(w.freed, w.given);
	for (int i = 0; i < 3; i++)
		exs_executor_free(w.ex[i]);
	CHECK_INT(exs_sim_free(sim), EXS_OK);
	exs_error_unref(w.error);
}

TEST(scope, simulated)
{
	uint64_t seed = harness_seed();

	for (unsigned long round = 0; round < harness_rounds(200); round++)
		simulate(seed + round);
}

static exs_result answer_arg(void *arg, exs_context *ctx)
{
	(void)ctx;
	return exs_ok(arg, NULL);
}

/* As soon as it is done; the scope hears of that a moment later. */
TEST(scope, member_whose_value_is_taken)
{
	exs_executor *ex = exs_thread_pool(2);

	for (unsigned round = harness_rounds(5000); round--;) {
		exs_scope *scope = exs_scope_new();
		exs_future *f = exs_scope_submit(scope, ex, answer_arg, scope);
		exs_result r;
		while (!exs_future_is_done(f))
			sched_yield();
		CHECK_INT(exs_future_take(f, &r), EXS_OK);
		CHECK(r.value == scope);
		exs_future_unref(f);
		CHECK(!exs_scope_close(scope));
	}
	exs_executor_free(ex);
}
