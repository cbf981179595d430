/* One future made of many that one decides: or, and, any_ok. */
#include "support.h"

#include <stdio.h>
#include <string.h>

enum { MANY = 100000 };

/* n promises and their futures. */
struct many {
	exs_promise *p[4];
	exs_future *f[4];
};

static void many_made(struct many *m, int n)
{
	for (int i = 0; i < n; i++)
		m->p[i] = promise_made(&m->f[i]);
}

/* --- or, and --- */

enum { TRUTHY, FALSY, ERROR, CANCELLED, KINDS };

static exs_result outcome_of(int kind, exs_error *error)
{
	switch (kind) {
	case TRUTHY:
		return number(1);
	case FALSY:
		return exs_ok(NULL, NULL);
	case ERROR:
		return exs_fail(exs_error_ref(error));
	default:
		return exs_cancelled();
	}
}

static int kind_of(exs_future *f)
{
	switch (exs_future_state(f)) {
	case EXS_STATE_VALUE:
		return exs_future_value(f) ? TRUTHY : FALSY;
	case EXS_STATE_ERROR:
		return ERROR;
	default:
		CHECK_INT(exs_future_state(f), EXS_STATE_CANCELLED);
		return CANCELLED;
	}
}

typedef exs_future *choose_fn(exs_future *const *futures, size_t n, exs_truth_fn *truth, void *ctx,
			      exs_free_fn *ctx_free);

/* Two inputs get done, one after the other, in either order; `decides` tells whether the first does. */
static void over_all_pairs(choose_fn *choose, bool (*decides)(int kind))
{
	exs_error *errors[2] = {exs_error_new(&test_domain, 0, "a"), exs_error_new(&test_domain, 1, "b")};

	for (int pair = 0; pair < KINDS * KINDS; pair++)
		for (int first = 0; first < 2; first++) {
			int kinds[2] = {pair / KINDS, pair % KINDS}, second = 1 - first;
			struct many m;
			many_made(&m, 2);
			exs_future *f = choose(m.f, 2, NULL, NULL, NULL);
			promise_done(m.p[first], outcome_of(kinds[first], errors[first]));
			bool decided = decides(kinds[first]);
			CHECK_INT(exs_future_is_done(f), decided);
			exs_result r = outcome_of(kinds[second], errors[second]);
			CHECK_INT(exs_promise_complete(m.p[second], r), decided ? EXS_EALREADY : EXS_OK);
			exs_promise_free(m.p[second]);
			int winner = decided ? first : second;
			CHECK_INT(kind_of(f), kinds[winner]);
			if (kinds[winner] == ERROR)
				CHECK(exs_future_error(f) == errors[winner]);
			exs_future_unref(f);
			CHECK_INT(atomic_load(&numbers), 0);
		}
	exs_error_unref(errors[0]);
	exs_error_unref(errors[1]);
}

static bool is_truthy(int kind)
{
	return kind == TRUTHY;
}

static bool is_not_truthy(int kind)
{
	return kind != TRUTHY;
}

TEST(gather, or_over_all_pairs)
{
	over_all_pairs(exs_future_or, is_truthy);
}

TEST(gather, and_over_all_pairs)
{
	over_all_pairs(exs_future_and, is_not_truthy);
}

TEST(gather, one_input)
{
	for (int kind = 0; kind < KINDS; kind++)
		for (int and = 0; and < 2; and++) {
			exs_error *error = exs_error_new(&test_domain, 0, "a");
			exs_future *f;
			promise_done(promise_made(&f), outcome_of(kind, error));
			f = (and? exs_future_and : exs_future_or)(&f, 1, NULL, NULL, NULL);
			CHECK(exs_future_is_done(f));
			CHECK_INT(kind_of(f), kind);
			exs_future_unref(f);
			exs_error_unref(error);
		}
	CHECK_INT(atomic_load(&numbers), 0);
}

static bool is_even(void *calls, const void *value)
{
	atomic_fetch_add((atomic_uint *)calls, 1);
	return *(const long *)value % 2 == 0;
}

TEST(gather, truth_is_a_function)
{
	struct seen seen;
	struct many m;

	seen_init(&seen);
	many_made(&m, 3);
	exs_future *f = exs_future_or(m.f, 3, is_even, &seen.calls, NULL);
	promise_done(m.p[0], number(1));
	CHECK_INT(atomic_load(&numbers), 0); /* it is given back */
	promise_done(m.p[2], number(2));
	CHECK_INT(number_of(f), 2);
	CHECK_INT(atomic_load(&seen.calls), 2);
	CHECK_INT(exs_promise_complete(m.p[1], number(4)), EXS_EALREADY);
	exs_promise_free(m.p[1]);
	exs_future_unref(f);
	CHECK_INT(atomic_load(&numbers), 0);
}

TEST(gather, context_is_freed_once)
{
	struct seen seen;
	struct many m;

	seen_init(&seen);
	many_made(&m, 2);
	exs_future *f = exs_future_and(m.f, 2, NULL, &seen, seen_free);
	promise_done(m.p[0], number(1));
	CHECK_INT(atomic_load(&seen.frees), 0);
	promise_done(m.p[1], number(3));
	CHECK_INT(atomic_load(&seen.frees), 1);
	CHECK_INT(number_of(f), 3);
	exs_future_unref(f);
	exs_future *const none[] = {number_returned(1), NULL};
	f = exs_future_or(none, 2, NULL, &seen, seen_free);
	CHECK_STR(exs_error_message(exs_future_error(f)), "exs_future_or: futures[1] of 2 is NULL");
	expect_code(f, &exs_domain_exs, EXS_EINVAL);
	f = exs_future_and(NULL, 0, NULL, &seen, seen_free);
	CHECK_STR(exs_error_message(exs_future_error(f)), "exs_future_and: n is 0: there must be one future at least");
	expect_code(f, &exs_domain_exs, EXS_EINVAL);
	expect_code(exs_future_or(NULL, 3, NULL, &seen, seen_free), &exs_domain_exs, EXS_EINVAL);
	CHECK_INT(atomic_load(&seen.frees), 4);
	CHECK_INT(atomic_load(&numbers), 0);
}

/* A function of the truth that completes another input meanwhile. */
struct meddler {
	exs_promise *other;
};

static bool meddle(void *ctx, const void *value)
{
	struct meddler *m = ctx;

	if (m->other)
		promise_done(m->other, number(2));
	m->other = NULL;
	return *(const long *)value == 1;
}

TEST(gather, truth_completes_another)
{
	struct many m;

	many_made(&m, 2);
	struct meddler meddler = {m.p[1]};
	exs_future *f = exs_future_or(m.f, 2, meddle, &meddler, NULL);
	promise_done(m.p[0], number(1));
	CHECK_INT(number_of(f), 1);
	exs_future_unref(f);
	CHECK_INT(atomic_load(&numbers), 0);
}

/* --- the rest is cancelled --- */

TEST(gather, the_rest_is_cancelled_once_it_is_decided)
{
	struct many m;
	exs_future *kept[3];

	many_made(&m, 3);
	for (int i = 0; i < 3; i++)
		kept[i] = exs_future_ref(m.f[i]);
	exs_future *f = exs_future_or(m.f, 3, NULL, NULL, NULL);
	CHECK(exs_promise_start(m.p[2]));
	promise_done(m.p[1], number(7));
	CHECK_INT(number_of(f), 7);
	CHECK_INT(exs_future_state(kept[0]), EXS_STATE_CANCELLED);
	CHECK_INT(exs_future_cause(kept[0]), EXS_CAUSE_SIBLING);
	CHECK(exs_promise_stop_requested(m.p[2]));
	CHECK_INT(exs_future_state(kept[2]), EXS_STATE_RUNNING);
	exs_promise_free(m.p[0]);
	promise_done(m.p[2], number(8));
	for (int i = 0; i < 3; i++)
		exs_future_unref(kept[i]);
	CHECK_INT(number_of(f), 7); /* others had it: it is kept */
	exs_future_unref(f);
	CHECK_INT(atomic_load(&numbers), 0);
}

/* Decided while it is made: those behind are cancelled all the same. */
TEST(gather, decided_at_once)
{
	struct many m;

	many_made(&m, 3);
	promise_done(m.p[1], number(1));
	exs_future *last = exs_future_ref(m.f[2]);
	exs_future *f = exs_future_or(m.f, 3, NULL, NULL, NULL);
	CHECK(exs_future_is_done(f));
	CHECK_INT(number_of(f), 1);
	expect_cancelled(last, EXS_CAUSE_SIBLING);
	CHECK_INT(exs_promise_complete(m.p[0], number(1)), EXS_EALREADY);
	exs_promise_free(m.p[0]);
	exs_promise_free(m.p[2]);
	exs_future_unref(f);
	CHECK_INT(atomic_load(&numbers), 0);
}

TEST(gather, a_cancel_goes_to_all)
{
	struct seen seen;
	struct many m;
	exs_future *first;

	seen_init(&seen);
	many_made(&m, 3);
	first = exs_future_ref(m.f[0]);
	promise_done(m.p[1], exs_ok(NULL, NULL));
	exs_future *f = exs_future_or(m.f, 3, NULL, &seen, seen_free);
	CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
	CHECK_INT(atomic_load(&seen.frees), 1);
	expect_cancelled(first, EXS_CAUSE_USER);
	expect_cancelled(f, EXS_CAUSE_USER);
	CHECK_INT(exs_promise_complete(m.p[2], number(1)), EXS_EALREADY);
	exs_promise_free(m.p[0]);
	exs_promise_free(m.p[2]);
}

/* One cancel of the whole is one for the service. */
static atomic_uint told;

static void cancel_many(void *ctx, exs_descriptor **d, size_t n)
{
	(void)ctx, (void)d;
	atomic_fetch_add(&told, 1);
	CHECK_INT(n, 50);
}

static exs_error *poll_nothing(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	(void)ctx, (void)d, (void)n, (void)delay;
	return NULL;
}

static exs_result start_job(void *arg, exs_context *ctx)
{
	(void)arg, (void)ctx;
	return exs_ok(NULL, NULL);
}

TEST(gather, a_cancel_is_one_for_a_poll_set)
{
	exs_poll_options options = {.cancel_many = cancel_many, .interval = 1000};
	exs_executor *ex = exs_with_poll(exs_inline(), poll_nothing, NULL, NULL, &options);
	exs_future *f[50];

	for (int i = 0; i < 50; i++)
		f[i] = exs_submit(ex, start_job, NULL);
	exs_future *all[2] = {exs_future_zip(f, 25), exs_future_or(f + 25, 25, NULL, NULL, NULL)};
	exs_future *zip = exs_future_zip(all, 2);
	CHECK_INT(exs_future_cancel(zip), EXS_CANCELLED);
	CHECK_INT(atomic_load(&told), 1);
	exs_future_unref(zip);
	exs_executor_free(ex);
}

/* --- any_ok --- */

TEST(gather, any_ok_takes_the_first_value)
{
	struct many m;

	many_made(&m, 3);
	exs_future *f = exs_future_any_ok(m.f, 3);
	promise_done(m.p[2], exs_fail(exs_error_new(&test_domain, 1, "no")));
	promise_done(m.p[1], exs_ok(NULL, NULL)); /* false is a value */
	expect_value(f, NULL);
	CHECK_INT(exs_promise_complete(m.p[0], number(1)), EXS_EALREADY);
	exs_promise_free(m.p[0]);
}

TEST(gather, any_ok_all_errors)
{
	struct many m;
	char text[300];

	memset(text, 'x', 299);
	text[299] = 0;
	many_made(&m, 4);
	exs_future *f = exs_future_any_ok(m.f, 4);
	promise_done(m.p[3], exs_fail(exs_error_new(&test_domain, 3, "d")));
	promise_done(m.p[0], exs_fail(exs_error_new(&test_domain, 0, "%s", text)));
	promise_done(m.p[2], exs_fail(exs_error_new(&test_domain, 2, "c")));
	promise_done(m.p[1], exs_cancelled());
	exs_error *error = exs_future_error(f);
	CHECK(exs_error_is(error, &exs_domain_exs, EXS_EALL));
	CHECK_INT(exs_error_count(error), 4);
	for (size_t i = 0; i < 4; i++)
		CHECK_INT(exs_error_code(exs_error_of(error, i)), i == 1 ? EXS_ECANCELLED : (int)i);
	CHECK(!exs_error_of(error, 4));
	text[160] = 0;
	char expected[400];
	snprintf(expected, sizeof(expected), "all 4 failed: %s; stopped by a cancel; c; ...", text);
	CHECK_STR(exs_error_message(error), expected);
	CHECK_INT(exs_error_count(exs_error_of(error, 0)), 0);
	CHECK_INT(exs_error_count(NULL), 0);
	CHECK(!exs_error_of(NULL, 0));
	exs_future_unref(f);
}

TEST(gather, any_ok_all_cancelled)
{
	struct many m;

	many_made(&m, 2);
	exs_future *f = exs_future_any_ok(m.f, 2);
	promise_done(m.p[0], exs_cancelled());
	promise_done(m.p[1], exs_cancelled());
	expect_cancelled(f, EXS_CAUSE_NONE);
	expect_code(exs_future_any_ok(NULL, 0), &exs_domain_exs, EXS_EINVAL);
	exs_future *const none[] = {NULL};
	expect_code(exs_future_any_ok(none, 1), &exs_domain_exs, EXS_EINVAL);
}

/* Errors of errors of errors: their messages stay short, and they end in constant stack. */
TEST(gather, any_ok_nested)
{
	exs_future *f = exs_future_return_error(exs_error_new(&test_domain, 1, "no"));

	for (int i = 0; i < MANY; i++)
		f = exs_future_any_ok(&f, 1);
	CHECK(strlen(exs_error_message(exs_future_error(f))) < 200);
	expect_code(f, &exs_domain_exs, EXS_EALL);
}

/* --- many --- */

/* In an order that is neither theirs nor its reverse. */
static size_t mixed(size_t i)
{
	return i * 7919 % MANY;
}

static exs_promise *promises[MANY];
static exs_future *futures[MANY];

static void all_made(void)
{
	for (int i = 0; i < MANY; i++)
		promises[i] = promise_made(&futures[i]);
}

TEST(gather, a_hundred_thousand_inputs)
{
	for (int and = 0; and < 2; and++) {
		all_made();
		exs_future *g = and? exs_future_and(futures, MANY, NULL, NULL, NULL) : exs_future_any_ok(futures, MANY);
		for (size_t i = 0; i < MANY - 1; i++) {
			promise_done(promises[mixed(i)],
				     and? number(1) : exs_fail(exs_error_new(&test_domain, 1, "no")));
			CHECK_INT(atomic_load(&numbers), 0); /* each is given back */
		}
		CHECK(!exs_future_is_done(g));
		promise_done(promises[mixed(MANY - 1)], number(2));
		CHECK_INT(number_of(g), 2);
		exs_future_unref(g);
		CHECK_INT(atomic_load(&numbers), 0);
	}
}

TEST(gather, a_hundred_thousand_inputs_cancelled)
{
	for (int by_user = 0; by_user < 2; by_user++) {
		all_made();
		exs_future *g = exs_future_or(futures, MANY, NULL, NULL, NULL);
		if (by_user)
			CHECK_INT(exs_future_cancel(g), EXS_CANCELLED);
		else
			CHECK_INT(exs_promise_complete(promises[mixed(5)], number(1)), EXS_OK);
		for (size_t i = 0; i < MANY; i++) {
			CHECK_INT(exs_promise_complete(promises[i], number(1)), EXS_EALREADY);
			exs_promise_free(promises[i]);
		}
		exs_future_unref(g);
		CHECK_INT(atomic_load(&numbers), 0);
	}
}

/* A chain: each is made of the one before and of a promise of its own; decided at its end, or cancelled at its top. */
TEST(gather, a_hundred_thousand_deep)
{
	for (int by_user = 0; by_user < 2; by_user++) {
		exs_promise *first;
		exs_future *g;
		all_made();
		first = promise_made(&g);
		for (int i = 0; i < MANY; i++) {
			exs_future *both[] = {futures[i], g};
			g = i % 2 ? exs_future_or(both, 2, NULL, NULL, NULL) : exs_future_any_ok(both, 2);
		}
		if (by_user)
			CHECK_INT(exs_future_cancel(g), EXS_CANCELLED);
		CHECK_INT(exs_promise_complete(first, number(1)), by_user ? EXS_EALREADY : EXS_OK);
		exs_promise_free(first);
		for (int i = 0; i < MANY; i++) {
			CHECK_INT(exs_promise_complete(promises[i], number(1)), EXS_EALREADY);
			exs_promise_free(promises[i]);
		}
		CHECK_INT(exs_future_state(g), by_user ? EXS_STATE_CANCELLED : EXS_STATE_VALUE);
		exs_future_unref(g);
		CHECK_INT(atomic_load(&numbers), 0);
	}
}

/* --- threads --- */

struct racer {
	exs_promise *p;
	long n;
};

static void *race(void *arg)
{
	struct racer *r = arg;

	exs_promise_complete(r->p, r->n ? number(r->n) : exs_fail(exs_error_new(&test_domain, 1, "no")));
	exs_promise_free(r->p);
	return NULL;
}

static void *cancel_it(void *future)
{
	exs_future_cancel(future);
	exs_future_unref(future);
	return NULL;
}

/* Three complete while one cancels: it ends one way, and all is given back. */
TEST(gather, complete_and_cancel)
{
	uint64_t random = harness_seed();

	for (unsigned long round = 0; round < harness_rounds(700); round++) {
		struct seen seen;
		struct many m;
		struct racer racers[3];
		pthread_t threads[4];
		seen_init(&seen);
		many_made(&m, 3);
		exs_future *g = round % 3 == 0	 ? exs_future_or(m.f, 3, NULL, &seen, seen_free)
				: round % 3 == 1 ? exs_future_and(m.f, 3, NULL, &seen, seen_free)
						 : exs_future_any_ok(m.f, 3);
		for (int i = 0; i < 3; i++) {
			racers[i] = (struct racer){m.p[i], (long)harness_below(&random, 3)};
			threads[i] = thread_start(race, &racers[i]);
		}
		threads[3] = thread_start(cancel_it, exs_future_ref(g));
		for (int i = 0; i < 4; i++)
			thread_join(threads[i]);
		CHECK(exs_future_is_done(g));
		exs_future_unref(g);
		CHECK_INT(atomic_load(&seen.frees), round % 3 < 2);
		CHECK_INT(atomic_load(&numbers), 0);
	}
}

/* --- waits --- */

static void complete_other(exs_future *f, void *p)
{
	(void)f;
	promise_done(p, exs_ok(NULL, NULL));
}

/* The first input is not done before the last has been run. */
static void wait_for_all(struct job *job, exs_context *ctx)
{
	exs_executor *ex = job->more;
	struct job jobs[6];
	exs_future *inner[6], *all[4];

	(void)ctx;
	for (int i = 0; i < 6; i++) {
		job_init(&jobs[i]);
		inner[i] = job_submit(ex, &jobs[i]);
	}
	CHECK_INT(exs_future_on_done(inner[5], complete_other, promise_made(&all[0]), NULL), EXS_OK);
	all[1] = exs_future_zip(inner, 3);
	all[2] = exs_future_and(inner + 3, 3, NULL, NULL, NULL);
	all[3] = exs_future_return(NULL, NULL);
	exs_future *f = exs_future_zip(all, 4);
	CHECK_INT(exs_future_wait(f, EXS_FOREVER), EXS_OK);
	CHECK_INT(exs_future_state(f), EXS_STATE_VALUE);
	exs_future_unref(f);
	for (int i = 0; i < 6; i++)
		job_fini(&jobs[i]);
}

/* The only worker runs itself all that what it waits for is made of. */
TEST(gather, wait_inside_a_task)
{
	exs_executor *ex = pool_made((exs_thread_pool_options){.workers = 1, .max_spares = EXS_NONE});
	struct job job;

	job_init(&job);
	job.inside = wait_for_all;
	job.more = ex;
	expect_value(job_submit(ex, &job), &job);
	job_fini(&job);
	exs_executor_free(ex);
}

enum { DEEP = 40 };

struct deep {
	exs_executor *ex;
	exs_promise *p[DEEP];
};

static void complete_all(exs_future *f, void *arg)
{
	struct deep *d = arg;

	(void)f;
	for (int i = 0; i < DEEP; i++)
		promise_done(d->p[i], exs_ok(NULL, NULL));
}

/* What it needs is the first input of the first of the first; on the way are many others. */
static void wait_for_the_deepest(struct job *job, exs_context *ctx)
{
	struct deep *d = job->more;
	struct job needed;
	exs_future *both[2];

	(void)ctx;
	job_init(&needed);
	exs_future *f = job_submit(d->ex, &needed), *needed_f = exs_future_ref(f);
	for (int i = 0; i < DEEP; i++) {
		both[0] = f;
		d->p[i] = promise_made(&both[1]);
		f = exs_future_zip(both, 2);
	}
	CHECK_INT(exs_future_on_done(needed_f, complete_all, d, NULL), EXS_OK);
	CHECK_INT(exs_future_wait(f, EXS_FOREVER), EXS_OK);
	CHECK_INT(exs_future_state(f), EXS_STATE_VALUE);
	exs_future_unref(f);
	exs_future_unref(needed_f);
	job_fini(&needed);
}

TEST(gather, wait_inside_a_task_for_what_is_deep)
{
	struct deep d = {.ex = pool_made((exs_thread_pool_options){.workers = 1, .max_spares = EXS_NONE})};
	struct job job;

	job_init(&job);
	job.inside = wait_for_the_deepest;
	job.more = &d;
	expect_value(job_submit(d.ex, &job), &job);
	exs_executor_free(d.ex);
	job_fini(&job);
}

TEST(gather, wait_inside_a_task_of_the_loop)
{
	exs_executor *ex = exs_event_loop();
	struct job job;

	job_init(&job);
	job.inside = wait_for_all;
	job.more = ex;
	exs_future *f = job_submit(ex, &job);
	CHECK(exs_event_loop_poll(ex) > 0);
	expect_value(f, &job);
	job_fini(&job);
	exs_executor_free(ex);
}

/* A wait for one of two never ends if neither can come; if one can, it is an ordinary one. */
struct either {
	exs_future *self;
	bool other; /* the other can */
	int rc;
};

static void wait_for_either(struct job *job, exs_context *ctx)
{
	struct either *e = job->more;
	exs_future *both[2] = {exs_future_ref(e->self), exs_future_ref(e->self)};
	exs_promise *other = NULL;

	(void)ctx;
	if (e->other) {
		exs_future_unref(both[1]);
		other = promise_made(&both[1]);
	}
	exs_future *f = exs_future_nocancel(exs_future_or(both, 2, NULL, NULL, NULL));
	e->rc = exs_future_wait(f, 0.01);
	exs_promise_free(other);
	exs_future_unref(f);
}

/* Each made of the one before it and a call of its own: the way down is not gone anew for each. */
static exs_result nothing(void *arg, exs_context *ctx)
{
	(void)arg, (void)ctx;
	return exs_ok(NULL, NULL);
}

static void wait_for_a_long_row(struct job *job, exs_context *ctx)
{
	exs_executor *ex = job->more;
	exs_future *f = exs_submit(ex, nothing, NULL);

	(void)ctx;
	for (int i = 0; i < 50000; i++) {
		exs_future *both[] = {f, exs_submit(ex, nothing, NULL)};
		f = exs_future_zip(both, 2);
	}
	CHECK_INT(exs_future_wait(f, EXS_FOREVER), EXS_OK);
	CHECK_INT(exs_future_state(f), EXS_STATE_VALUE);
	exs_future_unref(f);
}

TEST(gather, wait_inside_a_task_for_a_long_row)
{
	for (int loop = 0; loop < 2; loop++) {
		exs_thread_pool_options one = {.workers = 1, .max_spares = EXS_NONE};
		exs_executor *ex = loop ? exs_event_loop() : pool_made(one);
		struct job job;
		job_init(&job);
		job.inside = wait_for_a_long_row;
		job.more = ex;
		exs_future *f = job_submit(ex, &job);
		if (loop)
			CHECK(exs_event_loop_poll(ex) > 0);
		expect_value(f, &job);
		job_fini(&job);
		exs_executor_free(ex);
	}
}

/* Of which one is enough, of these, and so on: as many ways as there are atoms. */
static void wait_for_any_of_any(struct job *job, exs_context *ctx)
{
	struct either *e = job->more;
	exs_future *f = exs_future_nocancel(exs_future_ref(e->self));

	(void)ctx;
	for (int i = 0; i < 15; i++) {
		exs_future *many[] = {f, f, f, f, f, f, f, f};
		for (int k = 1; k < 8; k++)
			exs_future_ref(f);
		f = exs_future_or(many, 8, NULL, NULL, NULL);
	}
	e->rc = exs_future_wait(f, 0.01);
	exs_future_unref(f);
}

TEST(gather, wait_for_any_of_any_ends)
{
	exs_executor *ex = pool_made((exs_thread_pool_options){.workers = 1, .max_spares = EXS_NONE});
	struct job job;
	struct either e = {.rc = -1};

	job_init(&job);
	job.gated = true;
	job.inside = wait_for_any_of_any;
	job.more = &e;
	e.self = job_submit(ex, &job);
	sem_post(&job.open);
	expect_value(exs_future_ref(e.self), &job);
	CHECK_INT(e.rc, EXS_ETIMEDOUT);
	exs_future_unref(e.self);
	exs_executor_free(ex);
	job_fini(&job);
}

TEST(gather, wait_for_either_of_which_one_waits_for_itself)
{
	for (int other = 0; other < 2; other++) {
		exs_executor *ex = pool_made((exs_thread_pool_options){.workers = 1, .max_spares = EXS_NONE});
		struct job job;
		struct either e = {.other = other, .rc = -1};
		job_init(&job);
		job.gated = true;
		job.inside = wait_for_either;
		job.more = &e;
		e.self = job_submit(ex, &job);
		sem_post(&job.open);
		expect_value(exs_future_ref(e.self), &job);
		CHECK_INT(e.rc, other ? EXS_ETIMEDOUT : EXS_EDEADLK);
		exs_future_unref(e.self);
		exs_executor_free(ex);
		job_fini(&job);
	}
}
