/* Counterparts of more-executors' tests of any executor (test_executor.py), each over the matrix. */
#include "more_executors.h"

#include <stdlib.h>
#include <string.h>

/* --- results --- */

enum { N = 1000 };

static exs_future **submit_thousand(struct more_env *env)
{
	exs_future **f = malloc(N * sizeof(*f));

	CHECK(f);
	for (long i = 0; i < N; i++)
		f[i] = more_submit(env->ex, more_twice, num(i));
	for (int i = 0; i < N; i++)
		CHECK(exs_future_state(f[i]) != EXS_STATE_CANCELLED);
	return f;
}

OVER_MATRIX(more_executor, submit_results)
{
	exs_future **f = submit_thousand(env);

	for (long i = 0; i < N; i++)
		more_expect(f[i], 2 * i);
	free(f);
}

static void free_executor(struct more_env *env)
{
	exs_executor_free(env->ex);
	env->ex = NULL;
}

OVER_MATRIX(more_executor, future_outlive_executor)
{
	exs_future *f[4];

	for (long i = 0; i < 4; i++)
		f[i] = more_submit(env->ex, more_twice, num(i + 1));
	if (env->cancels)
		CHECK_INT(exs_wait_all(f, 4, EXS_FOREVER), EXS_OK);
	CHECK_INT(exs_shutdown(env->ex, EXS_DRAIN, EXS_FOREVER), 0);
	free_executor(env);
	for (long i = 0; i < 4; i++)
		more_expect(f[i], 2 * (i + 1));
}

/* Freed at once, what has not begun is cancelled; none is left behind. */
OVER_MATRIX(more_executor, future_outlive_executor_freed_at_once)
{
	exs_future *f[40];

	for (long i = 0; i < 40; i++)
		f[i] = more_submit(env->ex, more_twice, num(i));
	free_executor(env);
	for (long i = 0; i < 40; i++) {
		CHECK(exs_future_is_done(f[i]));
		if (exs_future_state(f[i]) == EXS_STATE_VALUE)
			more_expect(f[i], 2 * i);
		else
			expect_cancelled(f[i], EXS_CAUSE_SHUTDOWN);
	}
}

static exs_result fail_on_even(void *arg, exs_context *ctx)
{
	long n = (long)(intptr_t)arg;

	return n % 2 ? more_twice(arg, ctx)
		     : exs_fail(exs_error_new(&test_domain, (int)n, "simulated error on %ld", n));
}

OVER_MATRIX(more_executor, submit_mixed)
{
	exs_future *f[5];

	for (long i = 1; i < 5; i++)
		f[i] = more_submit(env->ex, fail_on_even, num(i));
	more_expect(f[1], 2);
	more_expect(f[3], 6);
	wait_done(f[4]);
	CHECK_STR(exs_error_message(exs_future_error(f[4])), "simulated error on 4");
	CHECK(exs_future_result(f[4]).error == exs_future_error(f[4]));
	expect_code(f[2], &test_domain, 2);
	expect_code(f[4], &test_domain, 4);
}

/* --- broken callbacks: in C they do not throw, but use the library as nobody should --- */

struct broken {
	struct more_env *env;
	int number;
	exs_future *f, *sub; /* its own, and one that it submits */
	atomic_uint calls, inner, frees;
};

static void count_inner(exs_future *f, void *ctx)
{
	struct broken *b = ctx;

	CHECK(f == b->f);
	atomic_fetch_add(&b->inner, 1);
}

static void broken_callback(exs_future *f, void *ctx)
{
	struct broken *b = ctx;
	exs_result r;

	CHECK(f == b->f && exs_future_is_done(f));
	switch (b->number % 6) {
	case 0: /* submits */
		b->sub = more_submit(b->env->ex, more_twice, num(b->number));
		break;
	case 1: /* cancels, itself and what it has just submitted */
		CHECK_INT(exs_future_cancel(f), EXS_TOO_LATE);
		b->sub = more_submit(b->env->ex, more_twice, num(b->number));
		exs_future_cancel(b->sub);
		break;
	case 2: /* adds a callback */
		CHECK_INT(exs_future_on_done(f, count_inner, b, NULL), EXS_OK);
		break;
	case 3: /* waits, takes and drops */
		CHECK_INT(exs_future_wait(f, EXS_FOREVER), EXS_OK);
		CHECK_INT(exs_future_take(f, &r), EXS_EBUSY);
		exs_future_unref(exs_future_ref(f));
		break;
	case 4: /* makes an executor, and frees it */
		more_expect(more_submit(b->env->base, more_twice, num(1)), 2);
		exs_executor_free(exs_with_retry(exs_inline(), NULL));
		break;
	default: /* fails */
		CHECK(exs_future_wait(NULL, 0) != EXS_OK);
		CHECK(!exs_with_timeout(exs_inline(), -1));
	}
	atomic_fetch_add(&b->calls, 1);
}

static void count_free(void *ctx)
{
	atomic_fetch_add(&((struct broken *)ctx)->frees, 1);
}

static void check_broken(struct broken *b)
{
	wait_count(&b->frees, 1);
	CHECK_INT(b->calls, 1);
	CHECK_INT(b->inner, b->number % 6 == 2);
	exs_future_unref(b->f);
	if (!b->sub)
		return;
	wait_done(b->sub);
	if (b->number % 6 == 0 || exs_future_state(b->sub) == EXS_STATE_VALUE)
		more_expect(b->sub, 2 * b->number);
	else
		expect_cancelled(b->sub, EXS_CAUSE_USER);
}

OVER_MATRIX(more_executor, broken_callback)
{
	exs_future **f = submit_thousand(env);
	struct broken *all = calloc(N, sizeof(*all));

	CHECK(all);
	for (int i = 0; i < N; i++) {
		all[i].env = env;
		all[i].number = i;
		all[i].f = f[i];
		CHECK_INT(exs_future_on_done(f[i], broken_callback, &all[i], count_free), EXS_OK);
	}
	for (long i = 0; i < N; i++)
		more_expect(exs_future_ref(f[i]), 2 * i);
	for (int i = 0; i < N; i++)
		check_broken(&all[i]);
	free(all);
	free(f);
}

/* --- while tasks wait --- */

/* What tasks wait for: each takes first, and then second. */
struct gates {
	sem_t entered, first, second;
};

struct gated {
	struct gates *gates;
	long n;
};

static void gates_init(struct gates *g)
{
	CHECK(!sem_init(&g->entered, 0, 0));
	CHECK(!sem_init(&g->first, 0, 0) && !sem_init(&g->second, 0, 0));
}

static void gates_open(struct gates *g, int first, int second)
{
	for (; first; first--)
		sem_post(&g->first);
	for (; second; second--)
		sem_post(&g->second);
}

static exs_result pass_gates(void *arg, exs_context *ctx)
{
	struct gated *g = arg;

	sem_post(&g->gates->entered);
	sem_take(&g->gates->first);
	sem_take(&g->gates->second);
	return more_twice(num(g->n), ctx);
}

static void await_three(struct more_env *env, struct gates *gates, exs_future **f)
{
	for (int i = 0; i < 3; i++)
		sem_take(&gates->entered);
	for (int i = 0; i < 3; i++)
		CHECK_INT(exs_future_state(f[i]), env->elsewhere ? EXS_STATE_PENDING : EXS_STATE_RUNNING);
}

static void submit_three(struct more_env *env, struct gates *gates, struct gated *args, exs_future **f)
{
	for (int i = 0; i < 3; i++) {
		args[i] = (struct gated){gates, i + 1};
		f[i] = more_submit(env->ex, pass_gates, &args[i]);
		CHECK(exs_future_state(f[i]) != EXS_STATE_CANCELLED);
	}
}

OVER_MATRIX(more_executor, submit_delayed_results)
{
	struct gates gates;
	struct gated args[3];
	exs_future *f[3];

	if (env->one_by_one)
		return;
	gates_init(&gates);
	submit_three(env, &gates, args, f);
	await_three(env, &gates, f);
	gates_open(&gates, 3, 3);
	for (int i = 0; i < 3; i++)
		more_expect(f[i], 2 * (i + 1));
}

/* Waits until two of the six are done, by waits for the first completed of those that are left. */
static void wait_for_two(exs_future **f)
{
	exs_future *left[6];
	int n, done = 0;
	size_t first;

	memcpy(left, f, sizeof(left));
	for (n = 6; done < 2; done = 6 - n) {
		CHECK_INT(exs_wait_any(left, (size_t)n, EXS_FOREVER, &first), EXS_OK);
		CHECK(exs_future_is_done(left[first]));
		left[first] = left[--n];
	}
	for (int i = 0; i < n; i++)
		CHECK(!exs_future_is_done(left[i]));
}

static void stagger(struct more_env *env)
{
	struct gates gates;
	struct gated args[6];
	exs_future *f[6];

	gates_init(&gates);
	submit_three(env, &gates, args, f);
	await_three(env, &gates, f);
	gates_open(&gates, 3, 0);
	submit_three(env, &gates, args + 3, f + 3);
	gates_open(&gates, 0, 2);
	wait_for_two(f);
	gates_open(&gates, 3, 4);
	for (int i = 0; i < 6; i++)
		more_expect(f[i], 2 * (i % 3 + 1));
}

OVER_MATRIX(more_executor, submit_staggered)
{
	for (int i = 0; i < 100 && !env->one_by_one; i++)
		stagger(env);
}

/* --- cancel --- */

static void check_cancelled(exs_future *f)
{
	for (int i = 0; i < 3; i++) {
		CHECK_INT(exs_future_state(f), EXS_STATE_CANCELLED);
		CHECK(exs_future_is_done(f));
		CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
	}
	expect_cancelled(f, EXS_CAUSE_USER);
}

struct quick {
	long n;
	atomic_bool ran;
};

static exs_result run_quickly(void *quick, exs_context *ctx)
{
	struct quick *q = quick;

	CHECK(!atomic_exchange(&q->ran, true));
	return more_twice(num(q->n), ctx);
}

/* It may have been cancelled, have been asked to stop on its way, while it ran, or be done. */
static void check_answer(struct more_env *env, struct quick *q, exs_future *f, exs_answer answer)
{
	wait_done(f);
	bool cancelled = exs_future_state(f) == EXS_STATE_CANCELLED;
	CHECK(answer != EXS_CANCELLED || cancelled);
	CHECK(answer != EXS_TOO_LATE || !cancelled);
	CHECK(!cancelled || env->late || !q->ran);
	if (cancelled)
		check_cancelled(f);
	else
		more_expect(f, 2 * q->n);
}

static void cancel_three(struct more_env *env)
{
	struct quick args[3] = {{.n = 1}, {.n = 2}, {.n = 3}};
	exs_answer answers[3];
	exs_future *f[3];

	for (int i = 0; i < 3; i++)
		f[i] = more_submit(env->ex, run_quickly, &args[i]);
	for (int i = 0; i < 3; i++) {
		answers[i] = exs_future_cancel(f[i]);
		CHECK(answers[i] != EXS_CANCELLED || exs_future_is_done(f[i]));
	}
	for (int i = 0; i < 3; i++)
		check_answer(env, &args[i], f[i], answers[i]);
}

OVER_MATRIX(more_executor, cancel)
{
	for (int i = 0; i < 100; i++)
		cancel_three(env);
}

/* A running task is not cancelled, but asked to stop; its outcome stands. */
OVER_MATRIX(more_executor, blocked_cancel)
{
	struct job job;

	if (env->here)
		return;
	job_init(&job);
	job.gated = true;
	exs_future *f = job_submit(env->ex, &job);
	sem_take(&job.entered);
	for (int i = 0; i < 2; i++) {
		CHECK_INT(exs_future_cancel(f), EXS_STOP_REQUESTED);
		CHECK_INT(exs_future_state(f), env->elsewhere ? EXS_STATE_PENDING : EXS_STATE_RUNNING);
	}
	sem_post(&job.open);
	wait_done(f);
	if (env->late && exs_future_state(f) == EXS_STATE_CANCELLED)
		expect_cancelled(f, EXS_CAUSE_USER);
	else
		expect_value(f, &job);
	CHECK_INT(job.stops, 1);
	job_fini(&job);
}

/* --- shutdown --- */

OVER_MATRIX(more_executor, double_shutdown)
{
	static const exs_mode modes[] = {EXS_DRAIN, EXS_DRAIN, EXS_CANCEL_QUEUED, EXS_CANCEL_ALL, EXS_DRAIN};

	for (int i = 0; i < 5; i++)
		CHECK_INT(exs_shutdown(env->ex, modes[i], EXS_FOREVER), 0);
}

OVER_MATRIX(more_executor, submit_after_shutdown)
{
	CHECK_INT(exs_shutdown(env->ex, EXS_CANCEL_QUEUED, EXS_FOREVER), 0);
	expect_code(more_submit(env->ex, more_twice, num(123)), &exs_domain_exs, EXS_ESHUTDOWN);
}
