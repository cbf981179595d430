/* Counterparts of more-executors' tests of f_or and f_and (futures/test_or.py, futures/test_and.py). */
#include "more_executors.h"

#include <stdlib.h>

/* --- all combinations --- */

enum kind { TRUE_, FALSE_, FAILS, CANCELLED, KINDS };
enum when { BEFORE, FORWARD, BACKWARD, WHENS }; /* the inputs are done: before, or afterwards in either order */
enum { MOST = 4 };

typedef exs_future *function(exs_future *const *futures, size_t n, exs_truth_fn *truth, void *ctx,
			     exs_free_fn *ctx_free);

/* Inputs, each with an outcome of its own. */
struct inputs {
	int n;
	enum kind kinds[MOST];
	bool own_truth; /* values are pointers to bools; otherwise NULL is false */
	bool values[MOST];
	exs_error *errors[MOST];
	exs_promise *promises[MOST];
	exs_future *f[MOST]; /* a second reference */
	unsigned freed;
};

static bool is_true(void *inputs, const void *value)
{
	CHECK(((struct inputs *)inputs)->own_truth);
	return *(const bool *)value;
}

static void count_free(void *inputs)
{
	((struct inputs *)inputs)->freed++;
}

static exs_result outcome(struct inputs *in, int i)
{
	in->values[i] = in->kinds[i] == TRUE_;
	switch (in->kinds[i]) {
	case FAILS:
		return exs_fail(exs_error_ref(in->errors[i]));
	case CANCELLED:
		return exs_cancelled();
	case FALSE_:
		return exs_ok(in->own_truth ? &in->values[i] : NULL, NULL);
	default:
		return exs_ok(&in->values[i], NULL);
	}
}

static void expect_outcome(exs_future *f, struct inputs *in, int i)
{
	exs_result r = outcome(in, i);

	CHECK(exs_future_is_done(f));
	if (r.kind == EXS_KIND_VALUE)
		expect_value(f, r.value);
	else if (r.kind == EXS_KIND_ERROR)
		expect_error(f, r.error);
	else
		expect_cancelled(f, EXS_CAUSE_NONE);
	exs_result_clear(&r);
}

/* Does it end it, if it is not the last? */
static bool decides(function *fn, enum kind kind)
{
	return fn == exs_future_or ? kind == TRUE_ : kind != TRUE_;
}

static void complete(struct inputs *in, int i)
{
	CHECK_INT(exs_promise_complete(in->promises[i], outcome(in, i)), EXS_OK);
}

/* The i-th in time. */
static int in_turn(const struct inputs *in, enum when when, int i)
{
	return when == BACKWARD ? in->n - 1 - i : i;
}

/* Completes those that are not, until one decides, or all are done. Answers its place in time. */
static int complete_until(struct inputs *in, function *fn, enum when when, exs_future *f)
{
	for (int i = 0;; i++) {
		int input = in_turn(in, when, i);
		CHECK_INT(exs_future_is_done(f), when == BEFORE);
		if (when != BEFORE)
			complete(in, input);
		if (i == in->n - 1 || decides(fn, in->kinds[input]))
			return i;
	}
}

static void combine(function *fn, struct inputs *in, enum when when)
{
	in->freed = 0;
	for (int i = 0; i < in->n; i++)
		in->promises[i] = promise_made(&in->f[i]);
	for (int i = 0; i < in->n; i++) {
		if (when == BEFORE)
			complete(in, i);
		exs_future_ref(in->f[i]);
	}
	exs_future *f = fn(in->f, (size_t)in->n, in->own_truth ? is_true : NULL, in, count_free);
	int last = complete_until(in, fn, when, f);
	expect_outcome(f, in, in_turn(in, when, last));
	for (int i = last + 1; i < in->n && when != BEFORE; i++)
		expect_cancelled(exs_future_ref(in->f[in_turn(in, when, i)]), EXS_CAUSE_SIBLING);
	CHECK_INT(in->freed, 1);
	for (int i = 0; i < in->n; i++) {
		exs_promise_free(in->promises[i]);
		exs_future_unref(in->f[i]);
	}
}

/* {true, false, error, cancelled} to the power of n, by both meanings of true. */
static void combine_all(function *fn)
{
	struct inputs in = {.n = 1};

	for (int i = 0; i < MOST; i++)
		in.errors[i] = exs_error_new(&test_domain, i, "simulated error %d", i);
	for (int count = KINDS; in.n <= MOST; in.n++, count *= KINDS)
		for (int k = 0; k < 2 * WHENS * count; k++) {
			for (int i = 0, rest = k / 2 / WHENS; i < in.n; i++, rest /= KINDS)
				in.kinds[i] = (enum kind)(rest % KINDS);
			in.own_truth = k % 2;
			combine(fn, &in, (enum when)(k / 2 % WHENS));
		}
	for (int i = 0; i < MOST; i++)
		exs_error_unref(in.errors[i]);
}

TEST(more_f_or, or_)
{
	combine_all(exs_future_or);
}

TEST(more_f_and, and_)
{
	combine_all(exs_future_and);
}

/* --- order --- */

/* Not true in each way. */
enum { FALSES = 3 };
static exs_future *falsy(int i)
{
	if (i == 0)
		return exs_future_return(NULL, NULL);
	if (i == 1)
		return exs_future_return_error(exs_error_new(&test_domain, 1, "simulated error"));
	return exs_future_return_cancelled();
}

TEST(more_f_or, or_order_sync)
{
	for (int i = 0; i < FALSES; i++) {
		exs_future *f[] = {falsy(i), exs_future_return(num(123), NULL), exs_future_return(num(456), NULL),
				   falsy(i)};
		more_expect(exs_future_or(f, 4, NULL, NULL, NULL), 123);
	}
}

struct later {
	struct gate {
		sem_t open;
		long n;
	} gates[2];
	exs_executor *pool;
	exs_future *f[2];
};

static exs_result wait_at_gate(void *gate, exs_context *ctx)
{
	struct gate *g = gate;

	(void)ctx;
	sem_take(&g->open);
	return exs_ok(num(g->n), NULL);
}

/* Two calls that run: of 123, and of 456. */
static void later_init(struct later *l)
{
	l->pool = exs_thread_pool(2);
	CHECK(l->pool);
	for (int i = 0; i < 2; i++) {
		l->gates[i].n = i ? 456 : 123;
		CHECK(!sem_init(&l->gates[i].open, 0, 0));
		l->f[i] = more_submit(l->pool, wait_at_gate, &l->gates[i]);
	}
}

static void later_end(struct later *l)
{
	sem_post(&l->gates[0].open);
	exs_executor_free(l->pool);
}

TEST(more_f_or, or_order_async)
{
	for (int i = 0; i < FALSES; i++) {
		struct later l;
		later_init(&l);
		exs_future *f[] = {falsy(i), l.f[0], l.f[1], falsy(i)};
		exs_future *any = exs_future_or(f, 4, NULL, NULL, NULL);
		sem_post(&l.gates[1].open);
		more_expect(any, 456);
		later_end(&l);
	}
}

TEST(more_f_and, and_order_sync)
{
	exs_future *f[3];

	for (long i = 0; i < 3; i++)
		f[i] = exs_future_return(num(i + 1), NULL);
	more_expect(exs_future_and(f, 3, NULL, NULL, NULL), 3);
}

/* All true: the last in time. The second's callbacks are over when the first goes on. */
TEST(more_f_and, and_order_async)
{
	struct later l;
	struct seen seen;

	later_init(&l);
	seen_init(&seen);
	exs_future *second = exs_future_ref(l.f[1]), *all = exs_future_and(l.f, 2, NULL, NULL, NULL);
	CHECK_INT(exs_future_on_done(second, seen_call, &seen, NULL), EXS_OK);
	sem_post(&l.gates[1].open);
	sem_take(&seen.called);
	more_expect(second, 456);
	CHECK(!exs_future_is_done(all));
	sem_post(&l.gates[0].open);
	more_expect(all, 123);
	later_end(&l);
}

/* --- what does not matter any more is cancelled, or not --- */

enum { JOBS = 5, WINNER = 1 };

/* Two workers: the first two run, the others wait. */
struct race {
	exs_executor *pool;
	exs_error *error; /* of the winner, or NULL */
	struct job jobs[JOBS];
	exs_future *f[JOBS], *inputs[JOBS];
};

static void race_init(struct race *r, bool fails)
{
	r->pool = exs_thread_pool(2);
	r->error = fails ? exs_error_new(&test_domain, 1, "simulated error") : NULL;
	pool_occupy(r->pool, r->jobs, r->f, JOBS, 2);
	if (fails)
		r->jobs[WINNER].failures = ALWAYS;
	r->jobs[WINNER].error = r->error;
	for (int i = 0; i < JOBS; i++)
		r->inputs[i] = exs_future_ref(r->f[i]);
}

static void race_end(struct race *r)
{
	for (int i = 0; i < JOBS; i++) {
		exs_future_unref(r->f[i]);
		job_fini(&r->jobs[i]);
	}
	exs_executor_free(r->pool);
	exs_error_unref(r->error);
}

static void expect_winner(struct race *r, exs_future *f)
{
	if (r->error)
		expect_error(f, r->error);
	else
		expect_value(f, &r->jobs[WINNER]);
}

static bool others_asked(void *race)
{
	struct race *r = race;

	for (int i = 0; i < JOBS; i++)
		if (i != WINNER && exs_future_cause(r->f[i]) != EXS_CAUSE_SIBLING)
			return false;
	return true;
}

/* The winner's worker may have begun the next before it was cancelled. */
static void cancels(function *fn, bool fails)
{
	struct race r;
	int cancelled = 0;

	race_init(&r, fails);
	exs_future *f = fn(r.inputs, JOBS, NULL, NULL, NULL);
	sem_post(&r.jobs[WINNER].open);
	expect_winner(&r, f);
	wait_until(others_asked, &r);
	for (int i = 0; i < JOBS; i++)
		sem_post(&r.jobs[i].open);
	CHECK_INT(exs_wait_all(r.f, JOBS, EXS_FOREVER), EXS_OK);
	for (int i = 2; i < JOBS; i++)
		cancelled += exs_future_state(r.f[i]) == EXS_STATE_CANCELLED;
	CHECK(cancelled >= 2);
	CHECK(r.jobs[0].starts == 1 && r.jobs[0].stops == 1); /* it was asked to stop, and did not heed it */
	CHECK_INT(exs_future_state(r.f[0]), EXS_STATE_VALUE);
	race_end(&r);
}

TEST(more_f_or, or_cancels)
{
	cancels(exs_future_or, false);
}

TEST(more_f_and, and_cancels)
{
	cancels(exs_future_and, true);
}

static void with_nocancel(function *fn, bool fails)
{
	struct race r;

	race_init(&r, fails);
	for (int i = 0; i < JOBS; i++)
		r.inputs[i] = exs_future_nocancel(r.inputs[i]);
	exs_future *f = fn(r.inputs, JOBS, NULL, NULL, NULL);
	sem_post(&r.jobs[WINNER].open);
	expect_winner(&r, f);
	for (int i = 0; i < JOBS; i++) {
		CHECK(i == WINNER || !exs_future_is_done(r.f[i]));
		sem_post(&r.jobs[i].open);
	}
	for (int i = 0; i < JOBS; i++) {
		wait_done(r.f[i]);
		CHECK(r.jobs[i].starts == 1 && r.jobs[i].stops == 0);
	}
	race_end(&r);
}

TEST(more_f_or, or_with_nocancel)
{
	with_nocancel(exs_future_or, false);
}

TEST(more_f_and, and_with_nocancel)
{
	with_nocancel(exs_future_and, true);
}

/* --- errors: there is no traceback, but the very error --- */

static exs_result fail_with(void *error, exs_context *ctx)
{
	(void)ctx;
	return exs_fail(exs_error_ref(error));
}

/* Three calls in turn: two that fail otherwise (or) or answer a value (and), and one with the error. */
static void propagate(function *fn)
{
	exs_error *error = exs_error_new(&test_domain, 1, "oops"), *other = exs_error_new(&test_domain, 2, "no");
	exs_executor *pool = exs_thread_pool(1);
	exs_future *f[3];

	for (long i = 0; i < 2; i++)
		f[i] = fn == exs_future_or ? more_submit(pool, fail_with, other)
					   : more_submit(pool, more_twice, num(i + 1));
	f[2] = more_submit(pool, fail_with, error);
	expect_error(fn(f, 3, NULL, NULL, NULL), error);
	exs_executor_free(pool);
	exs_error_unref(error);
	exs_error_unref(other);
}

TEST(more_f_or, or_propagate_traceback)
{
	propagate(exs_future_or);
}

TEST(more_f_and, and_propagate_traceback)
{
	propagate(exs_future_and);
}

/* --- many --- */

enum { MANY = 100000 };

/* All undecided but the last in time; inputs that are done, and such as are not yet. */
static void many(function *fn, void *undecided, void *last)
{
	exs_future **f = malloc(MANY * sizeof(*f));
	exs_promise **p = malloc(MANY * sizeof(*p));

	CHECK(f && p);
	for (int i = 0; i < MANY; i++) {
		f[i] = exs_future_return(i == MANY - 1 ? last : undecided, NULL);
		CHECK(f[i]);
	}
	expect_value(fn(f, MANY, NULL, NULL, NULL), last);
	for (int i = 0; i < MANY; i++)
		p[i] = exs_promise_new(&f[i]);
	exs_future *made = fn(f, MANY, NULL, NULL, NULL);
	for (int i = MANY; i--;) {
		CHECK(!exs_future_is_done(made));
		CHECK_INT(exs_promise_complete(p[i], exs_ok(i ? undecided : last, NULL)), EXS_OK);
		exs_promise_free(p[i]);
	}
	expect_value(made, last);
	free(f);
	free(p);
}

TEST(more_f_or, or_large)
{
	many(exs_future_or, NULL, num(1));
}

TEST(more_f_and, and_large)
{
	many(exs_future_and, num(1), NULL);
}
