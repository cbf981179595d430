/* Futures that ask until something holds: every line of exs_until, on the manual clock where there is a time to it. */
#define _POSIX_C_SOURCE 200809L
#include "support.h"

#include <executors/functions.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A predicate that holds at a certain check, and remembers when it was asked. */
struct asked {
	exs_clock *clock;
	unsigned at; /* ALWAYS: never */
	exs_result result;
	void (*inside)(struct asked *a);
	exs_future *f;
	sem_t entered, open;
	atomic_uint checks, frees;
	double times[100];
	pthread_t thread;
};

static void asked_init(struct asked *a, unsigned at)
{
	*a = (struct asked){.clock = exs_clock_manual_new(), .at = at, .result = exs_ok(NULL, NULL)};
	sem_init(&a->entered, 0, 0);
	sem_init(&a->open, 0, 0);
}

static void asked_fini(struct asked *a)
{
	CHECK_INT(atomic_load(&a->frees), 1);
	if (a->clock)
		CHECK_INT(exs_clock_armed(a->clock), 0);
	exs_clock_unref(a->clock);
	CHECK_INT(atomic_load(&numbers), 0);
}

static bool ask(void *arg, exs_result *result)
{
	struct asked *a = arg;
	unsigned n = atomic_fetch_add(&a->checks, 1) + 1;

	CHECK_INT(atomic_load(&a->frees), 0);
	CHECK(result->kind == EXS_KIND_VALUE && !result->value && !result->destroy);
	if (n <= 100)
		a->times[n - 1] = exs_clock_now(a->clock);
	a->thread = pthread_self();
	if (a->inside)
		a->inside(a);
	if (n != a->at)
		return false;
	if (a->result.kind != EXS_KIND_VALUE || a->result.value)
		*result = a->result;
	return true;
}

static void asked_free(void *arg)
{
	atomic_fetch_add(&((struct asked *)arg)->frees, 1);
}

static exs_future *start(struct asked *a, exs_until_options options)
{
	options.clock = a->clock;
	options.ctx_free = asked_free;
	return a->f = exs_until(ask, a, &options);
}

static bool near(double a, double b)
{
	return fabs(a - b) < 1e-6;
}

/* --- when --- */

TEST(until, default_delays)
{
	struct asked a;
	double at = 0, delay = 0.001;

	asked_init(&a, 100);
	exs_future *f = start(&a, (exs_until_options){.first = 0});
	CHECK_INT(exs_future_state(f), EXS_STATE_PENDING);
	CHECK_INT(atomic_load(&a.checks), 0); /* not at once */
	advance(a.clock, 0.0009);
	CHECK_INT(atomic_load(&a.checks), 0);
	advance(a.clock, 1000);
	CHECK_INT(atomic_load(&a.checks), 100);
	for (int i = 0; i < 100; i++) {
		at += delay;
		delay *= 1.1;
		CHECK(near(a.times[i], at));
	}
	expect_value(f, NULL);
	asked_fini(&a);
}

TEST(until, delays_of_options)
{
	const double expected[] = {1, 3, 7, 12, 17}; /* 1, 2, 4, and no longer than 5 */
	struct asked a;

	asked_init(&a, 5);
	exs_future *f = start(&a, (exs_until_options){.first = 1, .factor = 2, .max = 5});
	advance(a.clock, 100);
	for (int i = 0; i < 5; i++)
		CHECK(near(a.times[i], expected[i]));
	expect_value(f, NULL);
	asked_fini(&a);
}

TEST(until, first_is_not_longer_than_max)
{
	struct asked a;

	asked_init(&a, 3);
	exs_future *f = start(&a, (exs_until_options){.first = 10, .factor = 1, .max = 2});
	advance(a.clock, 6);
	CHECK(near(a.times[0], 2) && near(a.times[2], 6));
	expect_value(f, NULL);
	asked_fini(&a);
}

TEST(until, holds_at_the_first_check)
{
	struct asked a;

	asked_init(&a, 1);
	exs_future *f = start(&a, (exs_until_options){.first = 1});
	advance(a.clock, 1);
	CHECK(exs_future_is_done(f));
	CHECK_INT(atomic_load(&a.checks), 1);
	CHECK(pthread_equal(a.thread, pthread_self())); /* inside the advance */
	expect_value(f, NULL);
	asked_fini(&a);
}

/* --- what --- */

TEST(until, any_outcome)
{
	exs_error *error = exs_error_new(&test_domain, 1, "no");

	for (int i = 0; i < 4; i++) {
		struct asked a;
		asked_init(&a, 2);
		a.result = i == 0 ? number(1) : i == 1 ? exs_fail(exs_error_ref(error)) : exs_cancelled();
		if (i == 3)
			a.result.kind = (exs_kind)9;
		exs_future *f = start(&a, (exs_until_options){.first = 1});
		advance(a.clock, 10);
		CHECK_INT(exs_future_state(f), i == 0	? EXS_STATE_VALUE
					       : i == 2 ? EXS_STATE_CANCELLED
							: EXS_STATE_ERROR);
		if (i == 1)
			CHECK(exs_future_error(f) == error);
		if (i == 3)
			CHECK(!strncmp(exs_error_message(exs_future_error(f)), "the predicate of exs_until answered",
				       35));
		exs_future_unref(f);
		asked_fini(&a);
	}
	exs_error_unref(error);
}

static bool not_yet(void *arg, exs_result *result)
{
	*result = number(1);
	return ask(arg, &(exs_result){.kind = EXS_KIND_VALUE});
}

/* Set for nothing, and destroyed. */
TEST(until, result_of_a_check_that_fails)
{
	struct asked a;

	asked_init(&a, 3);
	exs_until_options options = {.first = 1, .factor = 1, .clock = a.clock, .ctx_free = asked_free};
	exs_future *f = exs_until(not_yet, &a, &options);
	advance(a.clock, 2);
	CHECK_INT(atomic_load(&numbers), 0);
	advance(a.clock, 1);
	CHECK_INT(exs_future_state(f), EXS_STATE_VALUE);
	exs_future_unref(f);
	asked_fini(&a);
}

/* --- cancel --- */

TEST(until, cancel_between_checks)
{
	struct asked a;

	asked_init(&a, ALWAYS);
	exs_future *f = start(&a, (exs_until_options){.first = 1});
	advance(a.clock, 5);
	unsigned checks = atomic_load(&a.checks);
	CHECK(checks > 1);
	CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
	CHECK_INT(atomic_load(&a.frees), 1);
	advance(a.clock, 100);
	CHECK_INT(atomic_load(&a.checks), checks);
	expect_cancelled(f, EXS_CAUSE_USER);
	asked_fini(&a);
}

static void cancel_itself(struct asked *a)
{
	CHECK_INT(exs_future_state(a->f), EXS_STATE_RUNNING);
	CHECK_INT(exs_future_cancel(a->f), EXS_STOP_REQUESTED);
	CHECK_INT(exs_future_cancel(a->f), EXS_STOP_REQUESTED);
}

TEST(until, cancel_during_a_check)
{
	for (int holds = 0; holds < 2; holds++) {
		struct asked a;
		asked_init(&a, holds ? 1 : ALWAYS);
		a.inside = cancel_itself;
		exs_future *f = start(&a, (exs_until_options){.first = 1});
		advance(a.clock, 100);
		CHECK_INT(atomic_load(&a.checks), 1);
		if (holds)
			expect_value(f, NULL); /* it counts */
		else
			expect_cancelled(f, EXS_CAUSE_USER);
		asked_fini(&a);
	}
}

TEST(until, goes_on_without_references)
{
	struct asked a;

	asked_init(&a, 3);
	exs_future_unref(start(&a, (exs_until_options){.first = 1}));
	advance(a.clock, 100);
	CHECK_INT(atomic_load(&a.checks), 3);
	asked_fini(&a);
}

/* The time of a future made of it is its own. */
TEST(until, with_a_deadline)
{
	struct asked a;

	asked_init(&a, ALWAYS);
	exs_future *f = exs_future_timeout(start(&a, (exs_until_options){.first = 1, .factor = 1}), 3.5);
	advance(a.clock, 10);
	CHECK_INT(atomic_load(&a.checks), 3);
	expect_code(f, &exs_domain_exs, EXS_ETIMEDOUT);
	asked_fini(&a);
}

/* --- the real clock --- */

static void gate(struct asked *a)
{
	sem_post(&a->entered);
	sem_take(&a->open);
}

TEST(until, real_clock)
{
	int threads = harness_threads();

	for (int cancels = 0; cancels < 2; cancels++) {
		struct asked a;
		asked_init(&a, 3);
		exs_clock_unref(a.clock);
		a.clock = NULL;
		a.inside = gate;
		exs_future *f = start(&a, (exs_until_options){.first = 1e-4});
		sem_take(&a.entered);
		CHECK_INT(exs_future_state(f), EXS_STATE_RUNNING);
		if (cancels)
			CHECK_INT(exs_future_cancel(f), EXS_STOP_REQUESTED);
		for (int i = 0; i < 3; i++)
			sem_post(&a.open);
		wait_done(f);
		CHECK(!pthread_equal(a.thread, pthread_self()));
		CHECK_INT(atomic_load(&a.checks), cancels ? 1 : 3);
		CHECK_INT(exs_future_state(f), cancels ? EXS_STATE_CANCELLED : EXS_STATE_VALUE);
		exs_future_unref(f);
		CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
		CHECK_INT(harness_threads(), threads);
		asked_fini(&a);
	}
}

TEST(until, simulation)
{
	for (uint64_t seed = 1; seed <= harness_rounds(20); seed++) {
		struct asked a;
		asked_init(&a, 50);
		exs_clock_unref(a.clock);
		sim_begin(seed, NULL);
		a.clock = exs_sim_clock(support_sim);
		exs_until_options options = {.ctx_free = asked_free};
		expect_value(exs_until(ask, &a, &options), NULL); /* this thread's clock is the default */
		CHECK(a.times[49] > 1);
		a.clock = NULL;
		asked_fini(&a);
		sim_end();
	}
}

/* --- misuse --- */

static void expect_refused(struct asked *a, exs_future *f, const char *why)
{
	CHECK_STR(exs_error_message(exs_future_error(f)), why);
	expect_code(f, &exs_domain_exs, EXS_EINVAL);
	CHECK_INT(atomic_load(&a->frees), 1);
	atomic_store(&a->frees, 0);
}

TEST(until, bad_options)
{
	struct asked a;
	struct {
		exs_until_options known;
		int more;
	} longer = {.known = {.ctx_free = asked_free}, .more = 1};

	asked_init(&a, 1);
	expect_refused(&a, start(&a, (exs_until_options){.first = -1}),
		       "exs_until: first is -1: it must be more than 0, and finite");
	expect_refused(&a, start(&a, (exs_until_options){.first = EXS_NONE}),
		       "exs_until: first is 0: it must be more than 0, and finite");
	expect_refused(&a, start(&a, (exs_until_options){.first = EXS_UNLIMITED}),
		       "exs_until: first is inf: it must be more than 0, and finite");
	expect_refused(&a, start(&a, (exs_until_options){.factor = 0.99}),
		       "exs_until: factor is 0.99: it must be 1 or more, and finite");
	expect_refused(&a, start(&a, (exs_until_options){.factor = INFINITY}),
		       "exs_until: factor is inf: it must be 1 or more, and finite");
	expect_refused(&a, start(&a, (exs_until_options){.factor = NAN}),
		       "exs_until: factor is nan: it must be 1 or more, and finite");
	expect_refused(&a, start(&a, (exs_until_options){.max = EXS_NONE}),
		       "exs_until: max is 0: it must be more than 0");
	expect_refused(&a, start(&a, (exs_until_options){.max = -INFINITY}),
		       "exs_until: max is -inf: it must be more than 0");
	expect_refused(&a, exs_until_sized(ask, &a, &longer.known, sizeof(longer)),
		       "exs_until: options that this library does not know");
	expect_refused(&a, exs_until_sized(NULL, &a, &longer.known, sizeof(longer.known)), "exs_until: fn is NULL");
	CHECK_INT(atomic_load(&a.checks), 0);
	atomic_store(&a.frees, 1);
	asked_fini(&a);
}

/* --- many --- */

TEST(until, hundred_thousand_at_once)
{
	enum { MANY = 100000 };
	static exs_future *f[MANY];
	exs_clock *clock = exs_clock_manual_new();
	struct asked a;

	asked_init(&a, ALWAYS);
	exs_until_options options = {.first = 1, .factor = 1, .clock = clock};
	for (int i = 0; i < MANY; i++)
		f[i] = exs_until(ask, &a, &options);
	advance(clock, 2);
	CHECK_INT(atomic_load(&a.checks), 2 * MANY);
	CHECK_INT(exs_future_cancel_all(f, MANY), MANY);
	CHECK_INT(exs_clock_armed(clock), 0);
	for (int i = 0; i < MANY; i++)
		exs_future_unref(f[i]);
	exs_clock_unref(clock);
	atomic_store(&a.frees, 1);
	asked_fini(&a);
}

/* --- races --- */

struct race {
	exs_future *f;
	uint64_t random[2];
	pthread_barrier_t start;
};

static void *cancel_it(void *arg)
{
	struct race *r = arg;

	pthread_barrier_wait(&r->start);
	dawdle(&r->random[0]);
	exs_future_cancel(r->f);
	return NULL;
}

/* Check against cancel: one decides. */
TEST(until, races)
{
	struct race r;

	CHECK(!pthread_barrier_init(&r.start, NULL, 2));
	for (int i = 0; i < 2; i++)
		r.random[i] = harness_seed() + (uint64_t)i;
	for (unsigned long round = 0; round < harness_rounds(2000); round++) {
		struct asked a;
		asked_init(&a, 3);
		if (round % 2) {
			exs_clock_unref(a.clock);
			a.clock = NULL;
		}
		r.f = start(&a, (exs_until_options){.first = 1e-5, .factor = 1});
		pthread_t thread = thread_start(cancel_it, &r);
		pthread_barrier_wait(&r.start);
		dawdle(&r.random[1]);
		if (a.clock)
			advance(a.clock, 1);
		wait_done(r.f);
		thread_join(thread);
		unsigned checks = atomic_load(&a.checks);
		CHECK_INT(exs_future_state(r.f), checks == 3 ? EXS_STATE_VALUE : EXS_STATE_CANCELLED);
		exs_future_unref(r.f);
		asked_fini(&a);
	}
	pthread_barrier_destroy(&r.start);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
}
