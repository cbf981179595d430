/* Simulation: order from the seed, faults, time, waits that turn it, deadlocks found, nothing left. */
#include "support.h"

#include <executors/sim.h>
#include <stdio.h>
#include <stdlib.h>

/* --- helpers --- */

static int threads_before;

static exs_sim *begin(uint64_t seed, const exs_sim_options *options)
{
	threads_before = harness_threads();
	exs_sim *sim = exs_sim_new(seed, options);
	CHECK(sim);
	return sim;
}

static void end(exs_sim *sim)
{
	CHECK_INT(exs_sim_free(sim), EXS_OK);
	CHECK_INT(harness_threads(), threads_before);
}

static exs_sim_stats stats_of(exs_sim *sim)
{
	exs_sim_stats stats;

	exs_sim_get_stats(sim, &stats);
	return stats;
}

static exs_result answer(void *arg, exs_context *ctx)
{
	(void)ctx;
	return exs_ok(arg, NULL);
}

/* Notes the order in which it is run. */
static unsigned order[64], n_order;

static exs_result note_order(void *arg, exs_context *ctx)
{
	(void)ctx;
	order[n_order++] = (unsigned)(uintptr_t)arg;
	return exs_ok(arg, NULL);
}

/* Runs n calls; answers a number of their order. */
static uint64_t order_of(uint64_t seed, unsigned n)
{
	exs_sim *sim = begin(seed, NULL);
	exs_executor *ex = exs_sim_pool(sim, 4);
	uint64_t number = 0;

	n_order = 0;
	for (uintptr_t i = 0; i < n; i++)
		exs_future_unref(exs_submit(ex, note_order, (void *)i));
	CHECK_INT(n_order, 0); /* nothing runs before somebody turns it */
	CHECK_INT(exs_sim_run(sim), EXS_OK);
	CHECK_INT(n_order, n);
	for (unsigned i = 0; i < n; i++)
		number = number * n + order[i];
	exs_executor_free(ex);
	end(sim);
	return number;
}

TEST(sim, the_order_comes_from_the_seed)
{
	unsigned differ = 0;

	for (uint64_t seed = 1; seed <= 20; seed++) {
		uint64_t first = order_of(seed, 6);
		CHECK(order_of(seed, 6) == first);
		differ += first != order_of(seed + 1, 6);
	}
	CHECK(differ >= 15);
}

/* Every order of three calls comes. */
TEST(sim, every_order_comes)
{
	bool seen[27] = {false};
	unsigned n = 0;

	for (uint64_t seed = 1; seed <= 200; seed++)
		seen[order_of(seed, 3)] = true;
	for (unsigned i = 0; i < 27; i++)
		n += seen[i];
	CHECK_INT(n, 6);
}

TEST(sim, options_and_misuse)
{
	const exs_sim_options bad[] = {{.fail = 1.5},	 {.lose = -0.1}, {.cancel = NAN}, {.max_delay = -1},
				       {.no_memory = 2}, {.time = -1},	 {.delay = 7},	  {.max_delay = INFINITY}};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		CHECK(!exs_sim_new(1, &bad[i]));
		CHECK(exs_error_is(exs_last_error(), &exs_domain_exs, EXS_EINVAL));
	}
	exs_sim *sim = begin(1, &(exs_sim_options){.fail = EXS_NONE, .max_steps = EXS_UNLIMITED});
	CHECK(!exs_sim_new(2, NULL)); /* one for each thread */
	CHECK(exs_error_is(exs_last_error(), &exs_domain_exs, EXS_EBUSY));
	CHECK(!exs_sim_pool(NULL, 1));
	CHECK_STR(exs_sim_kind_name(EXS_SIM_STUCK), "stuck");
	CHECK_STR(exs_sim_kind_name((exs_sim_kind)99), "unknown");
	CHECK_STR(exs_sim_kind_name((exs_sim_kind)0), "unknown");
	end(sim);
	CHECK_INT(exs_sim_free(NULL), EXS_OK);
	sim = begin(1, &(exs_sim_options){.delay = 1, .max_delay = 1e-12, .max_steps = SIZE_MAX});
	exs_executor *ex = exs_sim_pool(sim, 1);
	for (int i = 0; i < 3; i++)
		expect_value(exs_submit(ex, answer, ex), ex);
	exs_executor_free(ex);
	end(sim);
	struct {
		exs_sim_options known;
		int unknown;
	} newer = {.unknown = 1};
	CHECK(!exs_sim_new_sized(1, &newer.known, sizeof(newer)));
	CHECK(exs_error_is(exs_last_error(), &exs_domain_exs, EXS_EINVAL));
}

static exs_result simulate(void *arg, exs_context *ctx)
{
	(void)ctx;
	CHECK(!exs_sim_new(1, NULL));
	CHECK(exs_error_is(exs_last_error(), &exs_domain_exs, EXS_EBUSY));
	return exs_ok(arg, NULL);
}

/* Where a pool would not notice that its worker waits. */
TEST(sim, not_on_a_worker)
{
	exs_executor *ex = exs_thread_pool(1);

	expect_value(exs_submit(ex, simulate, ex), ex);
	exs_executor_free(ex);
}

static bool true_already(void *unused)
{
	(void)unused;
	return true;
}

/* As an older and a newer program have them: shorter, longer. */
TEST(sim, statistics_of_other_versions)
{
	struct {
		exs_sim_stats known;
		size_t more;
	} newer = {.more = 1};
	exs_sim_stats older = {.calls = 77};
	exs_sim *sim = begin(1, NULL);

	exs_sim_run(sim);
	exs_executor *ex = exs_sim_pool(sim, 1);
	CHECK(!exs_call(ex, answer, NULL, EXS_FOREVER, NULL));
	exs_executor_free(ex);
	uint64_t steps = stats_of(sim).steps;
	CHECK(steps);
	exs_sim_get_stats_sized(sim, &newer.known, sizeof(newer));
	CHECK(newer.known.steps == steps && !newer.more);
	exs_sim_get_stats_sized(sim, &older, offsetof(exs_sim_stats, calls));
	CHECK(older.steps == steps && older.calls == 77);
	end(sim);
}

TEST(sim, that_could_not_be_made)
{
	exs_sim_stats stats = {.steps = 1};
	exs_future *f;
	exs_promise *p = exs_promise_new(&f);

	CHECK_INT(exs_sim_run(NULL), EXS_EINVAL);
	CHECK_INT(exs_sim_run_until(NULL, f), EXS_EINVAL);
	CHECK_INT(exs_sim_wait(NULL, true_already, NULL, 1), EXS_EINVAL);
	CHECK(!exs_sim_step(NULL) && !exs_sim_clock(NULL) && !exs_sim_chance(NULL, 1));
	CHECK(!exs_sim_random(NULL, 9) && !(exs_sim_uniform(NULL) > 0) && !exs_sim_digest(NULL));
	exs_sim_trace(NULL, NULL, NULL);
	exs_sim_note(NULL, 1);
	exs_sim_get_stats(NULL, &stats);
	CHECK_INT(stats.steps, 0);
	exs_promise_free(p);
	exs_future_unref(f);
	exs_sim *sim = begin(1, NULL);
	CHECK_INT(exs_sim_wait(sim, NULL, NULL, 1), EXS_EINVAL);
	exs_sim_get_stats(sim, NULL);
	end(sim);
}

TEST(sim, described)
{
	exs_sim *sim = begin(1, NULL);
	exs_executor *ex = exs_with_timeout(exs_sim_pool(sim, 4), 30), *other = exs_sim_pool(sim, 0);
	char text[64];

	exs_describe(ex, text, sizeof(text));
	CHECK_STR(text, "timeout(30s) > sim(4)");
	exs_describe(other, text, sizeof(text));
	CHECK_STR(text, "sim(unlimited)");
	exs_executor_free(other);
	exs_executor_free(ex);
	end(sim);
}

/* --- waits turn it --- */

TEST(sim, waits_turn_it)
{
	exs_sim *sim = begin(harness_seed(), NULL);
	exs_executor *ex = exs_sim_pool(sim, 2);
	exs_future *f = exs_submit(ex, answer, "a"), *both[2];
	exs_result r;
	size_t first;

	expect_value(f, "a");
	CHECK_INT(exs_call(ex, answer, "b", EXS_FOREVER, &r), EXS_OK);
	CHECK_STR(r.value, "b");
	for (int i = 0; i < 2; i++)
		both[i] = exs_submit(ex, answer, "c");
	CHECK_INT(exs_wait_any(both, 2, EXS_FOREVER, &first), EXS_OK);
	CHECK(first < 2 && exs_future_is_done(both[first]) && !exs_future_is_done(both[1 - first]));
	CHECK_INT(exs_wait_all(both, 2, 10), EXS_OK);
	CHECK(exs_clock_now(exs_sim_clock(sim)) == 0);
	exs_set *set = exs_set_new();
	exs_set_add(set, both[0]);
	exs_set_add(set, both[1]);
	exs_set_add(set, exs_submit(ex, answer, "d"));
	for (int i = 0; i < 3; i++) {
		CHECK_INT(exs_set_next(set, &f, EXS_FOREVER), EXS_ITEM);
		exs_future_unref(f);
	}
	CHECK_INT(exs_set_next(set, &f, EXS_FOREVER), EXS_EMPTY);
	exs_set_free(set);
	exs_executor_free(ex);
	end(sim);
}

static bool two_have_run(void *unused)
{
	(void)unused;
	return n_order == 2;
}

TEST(sim, waits_for_a_condition_of_the_programs_own)
{
	exs_sim *sim = begin(1, NULL);
	exs_executor *ex = exs_sim_pool(sim, 1);

	n_order = 0;
	for (uintptr_t i = 0; i < 3; i++)
		exs_future_unref(exs_submit(ex, note_order, (void *)i));
	CHECK_INT(exs_sim_wait(sim, two_have_run, NULL, EXS_FOREVER), EXS_OK);
	CHECK_INT(n_order, 2);
	CHECK_INT(exs_sim_run(sim), EXS_OK);
	CHECK_INT(exs_sim_wait(sim, two_have_run, NULL, 3), EXS_ETIMEDOUT);
	CHECK(exs_clock_now(exs_sim_clock(sim)) == 3);
	CHECK_INT(exs_sim_wait(sim, two_have_run, NULL, EXS_FOREVER), EXS_EDEADLK);
	CHECK_INT(exs_sim_wait(sim, two_have_run, NULL, -1), EXS_EINVAL);
	exs_executor_free(ex);
	end(sim);
}

TEST(sim, waits_are_measured_on_its_clock)
{
	exs_sim *sim = begin(1, NULL);
	exs_future *f;
	exs_promise *p = exs_promise_new(&f);
	exs_set *set = exs_set_new();

	CHECK_INT(exs_future_wait(f, 3600), EXS_ETIMEDOUT);
	CHECK(exs_clock_now(exs_sim_clock(sim)) == 3600);
	CHECK_INT(exs_wait_any(&f, 1, 400, NULL), EXS_ETIMEDOUT);
	CHECK(exs_clock_now(exs_sim_clock(sim)) == 4000);
	exs_set_add(set, exs_future_ref(f));
	exs_future *g;
	CHECK_INT(exs_set_next(set, &g, 1000), EXS_TIMEOUT);
	CHECK_INT(exs_set_deadline(set, 500), EXS_OK);
	CHECK_INT(exs_set_next(set, &g, EXS_FOREVER), EXS_TIMEOUT);
	CHECK(exs_clock_now(exs_sim_clock(sim)) == 5500);
	CHECK_INT(exs_clock_wait_armed(exs_sim_clock(sim), 1, 500), EXS_ETIMEDOUT);
	CHECK(exs_clock_now(exs_sim_clock(sim)) == 6000);
	exs_set_free(set);
	exs_promise_free(p);
	exs_future_unref(f);
	end(sim);
}

static void sleep_a_minute(struct job *job, exs_context *ctx)
{
	(void)job;
	CHECK_INT(exs_context_sleep(ctx, 60), EXS_OK);
}

static void sleep_until_told(struct job *job, exs_context *ctx)
{
	(void)job;
	CHECK_INT(exs_context_sleep(ctx, 600), EXS_ECANCELLED);
}

TEST(sim, sleeps_take_no_time)
{
	exs_sim *sim = begin(1, NULL);
	exs_executor *ex = exs_with_timeout(exs_sim_pool(sim, 2), 100);
	struct job sleeps = {0}, told = {0};

	job_init(&sleeps);
	job_init(&told);
	sleeps.inside = sleep_a_minute;
	expect_value(job_submit(ex, &sleeps), &sleeps);
	CHECK(exs_clock_now(exs_sim_clock(sim)) == 60);
	told.inside = sleep_until_told;
	told.polite = true;
	expect_code(job_submit(ex, &told), &exs_domain_exs, EXS_ETIMEDOUT);
	CHECK(exs_clock_now(exs_sim_clock(sim)) == 160);
	exs_executor_free(ex);
	job_fini(&sleeps);
	job_fini(&told);
	end(sim);
}

/* --- layers --- */

TEST(sim, retries_in_simulated_time)
{
	exs_sim *sim = begin(1, NULL);
	exs_executor *ex = exs_with_retry(exs_sim_pool(sim, 1), NULL);
	struct job job;

	job_init(&job);
	job.failures = 2;
	job.error = exs_error_new(&test_domain, 1, "again");
	expect_value(job_submit(ex, &job), &job);
	CHECK_INT(job.starts, 3);
	CHECK(exs_clock_now(exs_sim_clock(sim)) == 3);
	exs_executor_free(ex);
	exs_error_unref(job.error);
	job_fini(&job);
	end(sim);
}

TEST(sim, a_poll_layer_has_no_thread)
{
	exs_sim *sim = begin(1, NULL);
	exs_executor *ex = exs_with_poll(exs_sim_pool(sim, 1), job_poll, job_cancel, NULL, NULL);
	struct job job, held;

	job_init(&job);
	job_init(&held);
	held.held = true;
	CHECK_INT(harness_threads(), threads_before);
	exs_future *f = job_submit(ex, &held);
	expect_value(job_submit(ex, &job), &job);
	CHECK_INT(exs_future_wait(f, 60), EXS_ETIMEDOUT);
	CHECK(held.polls >= 12); /* each five seconds */
	CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
	CHECK_INT(held.told, 1);
	expect_cancelled(f, EXS_CAUSE_USER);
	exs_executor_free(ex);
	job_fini(&job);
	job_fini(&held);
	end(sim);
}

TEST(sim, a_timeout_takes_a_pending_descriptor)
{
	exs_sim *sim = begin(1, NULL);
	exs_executor *ex = exs_with_timeout(exs_with_poll(exs_sim_pool(sim, 1), job_poll, job_cancel, NULL, NULL), 30);
	struct job job;

	job_init(&job);
	job.held = true;
	expect_code(job_submit(ex, &job), &exs_domain_exs, EXS_ETIMEDOUT);
	CHECK_INT(job.told, 1);
	CHECK(exs_clock_now(exs_sim_clock(sim)) == 30);
	exs_executor_free(ex);
	job_fini(&job);
	end(sim);
}

static exs_future *awaited;
static int wait_answer;

static exs_error *poll_and_wait(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	(void)ctx, (void)delay;
	if (n && awaited)
		wait_answer = exs_future_wait(awaited, EXS_FOREVER);
	for (size_t i = 0; i < n; i++)
		exs_yield_result(d[i], NULL, NULL);
	return NULL;
}

/* As on the poll thread. */
TEST(sim, a_poll_function_must_not_wait_for_what_it_polls)
{
	exs_sim *sim = begin(1, NULL);
	exs_executor *ex = exs_with_poll(exs_sim_pool(sim, 1), poll_and_wait, NULL, NULL, NULL);

	wait_answer = EXS_OK;
	awaited = exs_submit(ex, answer, NULL);
	CHECK_INT(exs_sim_run_until(sim, awaited), EXS_OK);
	CHECK_INT(wait_answer, EXS_EDEADLK);
	exs_future_unref(awaited);
	awaited = NULL;
	exs_executor_free(ex);
	end(sim);
}

TEST(sim, jitter_comes_from_the_seed)
{
	double waited[3];

	for (int i = 0; i < 3; i++) {
		exs_sim *sim = begin(i == 2 ? 8 : 7, &(exs_sim_options){.fail = 1});
		exs_retry_options o = {.jitter = EXS_JITTER_FULL};
		exs_executor *ex = exs_with_retry(exs_sim_pool(sim, 1), &o);
		expect_code(exs_submit(ex, answer, NULL), &exs_domain_sim, EXS_SIM_EFAILED);
		waited[i] = exs_clock_now(exs_sim_clock(sim));
		exs_executor_free(ex);
		end(sim);
	}
	CHECK(waited[0] == waited[1] && waited[0] != waited[2]);
	CHECK(waited[0] > 0 && waited[0] <= 3);
}

/* --- waits inside tasks --- */

struct family {
	exs_executor *ex;
	unsigned depth;
	unsigned *deepest;
	int rc;
};

static exs_result have_children(void *arg, exs_context *ctx)
{
	struct family *me = arg, child[2];
	exs_future *f[2];

	(void)ctx;
	if (me->depth > *me->deepest)
		*me->deepest = me->depth;
	if (me->depth == 4)
		return exs_ok(NULL, NULL);
	for (int i = 0; i < 2; i++) {
		child[i] = (struct family){me->ex, me->depth + 1, me->deepest, 0};
		f[i] = exs_submit(me->ex, have_children, &child[i]);
	}
	me->rc = exs_wait_all(f, 2, EXS_FOREVER);
	for (int i = 0; i < 2; i++)
		exs_future_unref(f[i]);
	return exs_ok(NULL, NULL);
}

struct chain {
	exs_executor *ex;
	unsigned depth, told;
};

static exs_result next_of_chain(void *arg, exs_context *ctx)
{
	struct chain *c = arg;

	(void)ctx;
	if (++c->depth == 300)
		return exs_ok(NULL, NULL);
	exs_future *f = exs_submit(c->ex, next_of_chain, c);
	c->told += exs_future_wait(f, EXS_FOREVER) == EXS_EDEADLK;
	exs_future_unref(f);
	return exs_ok(NULL, NULL);
}

/* Each waits for the next, on top of it: there is an end to that, and what is told so runs later. */
TEST(sim, nested_waits_are_bounded_in_depth)
{
	exs_sim *sim = begin(1, NULL);
	struct chain c = {.ex = exs_sim_pool(sim, 0)};

	expect_value(exs_submit(c.ex, next_of_chain, &c), NULL);
	CHECK_INT(exs_sim_run(sim), EXS_OK);
	CHECK_INT(c.depth, 300);
	CHECK(c.told > 0);
	exs_executor_free(c.ex);
	end(sim);
}

TEST(sim, a_task_runs_what_it_waits_for)
{
	for (uint64_t seed = 1; seed <= 50; seed++) {
		exs_sim *sim = begin(seed, NULL);
		exs_executor *ex = exs_sim_pool(sim, 1);
		unsigned deepest = 0;
		struct family root = {ex, 0, &deepest, 1};
		expect_value(exs_submit(ex, have_children, &root), NULL);
		CHECK_INT(root.rc, EXS_OK);
		CHECK_INT(deepest, 4);
		exs_executor_free(ex);
		end(sim);
	}
}

static exs_promise *promise;
static exs_future *promised;

static exs_result wait_for_promise(void *arg, exs_context *ctx)
{
	(void)ctx;
	*(int *)arg = exs_future_wait(promised, EXS_FOREVER);
	return exs_ok(NULL, NULL);
}

static exs_result keep_promise(void *arg, exs_context *ctx)
{
	(void)ctx;
	exs_promise_complete(promise, exs_ok(arg, NULL));
	return exs_ok(NULL, NULL);
}

/* Two tasks that wait for what a third does: with two workers they may both wait first, with three not. */
TEST(sim, deadlocks_are_found)
{
	unsigned stuck[2] = {0, 0};

	for (unsigned i = 0; i < 100; i++) {
		exs_sim *sim = begin(i, NULL);
		exs_executor *ex = exs_sim_pool(sim, 2 + i % 2);
		int rc[2] = {-1, -1};
		promise = exs_promise_new(&promised);
		for (int k = 0; k < 2; k++)
			exs_future_unref(exs_submit(ex, wait_for_promise, &rc[k]));
		exs_future_unref(exs_submit(ex, keep_promise, NULL));
		CHECK_INT(exs_sim_run(sim), EXS_OK);
		for (int k = 0; k < 2; k++)
			CHECK(rc[k] == EXS_OK || rc[k] == EXS_EDEADLK);
		stuck[i % 2] += rc[0] || rc[1];
		CHECK_INT(stats_of(sim).stuck > 0, rc[0] || rc[1]);
		CHECK_INT(stats_of(sim).inverted, 0);
		exs_promise_free(promise);
		exs_future_unref(promised);
		exs_executor_free(ex);
		end(sim);
	}
	CHECK(stuck[0] > 10 && stuck[0] < 50);
	CHECK_INT(stuck[1], 0);
}

TEST(sim, a_wait_for_nothing_says_so)
{
	exs_sim *sim = begin(1, NULL);
	exs_future *f, *g;
	exs_promise *p = exs_promise_new(&f);
	exs_set *set = exs_set_new();

	CHECK_INT(exs_future_wait(f, EXS_FOREVER), EXS_EDEADLK);
	CHECK(exs_error_is(exs_last_error(), &exs_domain_exs, EXS_EDEADLK));
	CHECK_INT(exs_wait_first_error(&f, 1, EXS_FOREVER, NULL), EXS_EDEADLK);
	exs_set_add(set, exs_future_ref(f));
	CHECK_INT(exs_set_next(set, &g, EXS_FOREVER), EXS_FAILED);
	CHECK(exs_error_is(exs_last_error(), &exs_domain_exs, EXS_EDEADLK));
	CHECK_INT(stats_of(sim).stuck, 3);
	exs_set_free(set);
	exs_promise_free(p);
	exs_future_unref(f);
	end(sim);
}

static exs_future *lower;

static exs_result wait_for_lower(void *arg, exs_context *ctx)
{
	(void)ctx;
	*(int *)arg = exs_future_wait(lower, EXS_FOREVER);
	return exs_ok(NULL, NULL);
}

/* The call that waits for the promise may have the one that waits for it on top: the promise is kept, and neither can go on. */
TEST(sim, an_inverted_wait_is_told_from_a_deadlock)
{
	unsigned inverted = 0, fine = 0;

	for (uint64_t seed = 1; seed <= 100; seed++) {
		exs_sim *sim = begin(seed, NULL);
		exs_executor *ex = exs_sim_pool(sim, 0);
		int first = -1, second = -1;
		promise = exs_promise_new(&promised);
		lower = exs_submit(ex, wait_for_promise, &first);
		exs_future_unref(exs_submit(ex, wait_for_lower, &second));
		exs_future_unref(exs_submit(ex, keep_promise, NULL));
		CHECK_INT(exs_sim_run(sim), EXS_OK);
		CHECK_INT(first, EXS_OK);
		CHECK(second == EXS_OK || second == EXS_EDEADLK);
		CHECK_INT(stats_of(sim).inverted, second == EXS_EDEADLK);
		inverted += second == EXS_EDEADLK;
		fine += second == EXS_OK;
		exs_promise_free(promise);
		exs_future_unref(promised);
		exs_future_unref(lower);
		exs_executor_free(ex);
		end(sim);
	}
	CHECK(inverted && fine);
}

TEST(sim, an_endless_wait_ends)
{
	exs_sim *sim = begin(1, &(exs_sim_options){.max_steps = 500});
	exs_executor *ex = exs_with_poll(exs_sim_pool(sim, 1), job_poll, NULL, NULL, NULL);
	struct job job;

	job_init(&job);
	job.held = true;
	exs_future *f = job_submit(ex, &job);
	CHECK_INT(exs_future_wait(f, EXS_FOREVER), EXS_EDEADLK);
	CHECK_INT(exs_sim_run(sim), EXS_EDEADLK);
	CHECK_INT(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER), 1); /* it gives up, and fails what is left */
	expect_code(f, &exs_domain_exs, EXS_ESHUTDOWN);
	exs_executor_free(ex);
	job_fini(&job);
	end(sim);
}

/* A layer that polls again at once does not stop the time. */
TEST(sim, time_passes_beside_a_busy_poller)
{
	exs_sim *sim = begin(1, NULL);
	exs_poll_options o = {.interval = EXS_NONE};
	exs_executor *ex = exs_with_timeout(exs_with_poll(exs_sim_pool(sim, 1), job_poll, NULL, NULL, &o), 30);
	struct job job;

	job_init(&job);
	job.held = true;
	expect_code(job_submit(ex, &job), &exs_domain_exs, EXS_ETIMEDOUT);
	CHECK(job.polls > 10);
	exs_executor_free(ex);
	job_fini(&job);
	end(sim);
}

/* --- faults --- */

enum { CALLS = 200 };

/* Answers how many of the calls ended with this code of exs_domain_sim. */
static unsigned faulty_calls(exs_executor *ex, int code, unsigned *runs)
{
	unsigned n = 0;
	exs_future *f[CALLS];
	struct job *jobs[CALLS];

	*runs = 0;
	for (int i = 0; i < CALLS; i++) {
		jobs[i] = job_new();
		f[i] = job_submit(ex, jobs[i]);
	}
	CHECK_INT(exs_wait_all(f, CALLS, EXS_FOREVER), EXS_OK);
	for (int i = 0; i < CALLS; i++) {
		n += exs_error_is(exs_future_error(f[i]), &exs_domain_sim, code);
		exs_future_unref(f[i]);
		*runs += jobs[i]->starts;
		job_delete(jobs[i]);
	}
	return n;
}

TEST(sim, tasks_are_failed_before_they_run)
{
	exs_sim *sim = begin(harness_seed(), &(exs_sim_options){.fail = 0.25});
	exs_executor *ex = exs_sim_pool(sim, 4);
	unsigned runs, n = faulty_calls(ex, EXS_SIM_EFAILED, &runs);

	CHECK(n > 10 && n < 120);
	CHECK_INT(runs, CALLS - n);
	CHECK_INT(stats_of(sim).failed, n);
	exs_executor_free(ex);
	end(sim);
}

TEST(sim, outcomes_are_lost)
{
	exs_sim *sim = begin(harness_seed(), &(exs_sim_options){.lose = 0.25});
	exs_executor *ex = exs_sim_pool(sim, 4);
	unsigned runs, n = faulty_calls(ex, EXS_SIM_ELOST, &runs);

	CHECK(n > 10 && n < 120);
	CHECK_INT(runs, CALLS);
	CHECK_INT(stats_of(sim).lost, n);
	CHECK_STR(exs_domain_sim.describe(EXS_SIM_ELOST), "lost by the simulation");
	CHECK(!exs_domain_sim.describe(99));
	exs_executor_free(ex);
	end(sim);
}

TEST(sim, calls_are_cancelled)
{
	enum { BATCH = 20 };
	unsigned cancelled = 0, told = 0, made = 0;
	exs_future *f[BATCH];
	struct job *jobs[BATCH];

	for (uint64_t seed = 1; seed <= 20; seed++) {
		exs_sim *sim = begin(seed, &(exs_sim_options){.cancel = 0.5});
		exs_executor *ex = exs_with_poll(exs_sim_pool(sim, 4), job_poll, job_cancel, NULL, NULL);
		for (int i = 0; i < BATCH; i++) {
			jobs[i] = job_new();
			jobs[i]->held = true; /* whatever becomes of it, it is cancelled: queued, running or pending */
			f[i] = job_submit(ex, jobs[i]);
		}
		exs_wait_all(f, BATCH, 1000);
		for (int i = 0; i < BATCH; i++) {
			CHECK_INT(exs_future_is_done(f[i]), exs_future_cause(f[i]) == EXS_CAUSE_USER);
			cancelled += exs_future_is_done(f[i]);
			told += jobs[i]->told;
			exs_future_cancel(f[i]);
			exs_future_unref(f[i]);
			job_delete(jobs[i]);
		}
		made += (unsigned)stats_of(sim).cancelled;
		exs_executor_free(ex);
		end(sim);
	}
	CHECK_INT(made, cancelled);
	CHECK(cancelled > 100 && cancelled < 300);
	CHECK(told > 0 && told < cancelled);
}

/* More than can be planned at a time: the others run. */
TEST(sim, many_calls_are_cancelled)
{
	enum { CROWD = 200 };
	exs_sim *sim = begin(1, &(exs_sim_options){.cancel = 1});
	exs_executor *ex = exs_sim_pool(sim, 1);
	unsigned cancelled = 0;
	exs_future *f[CROWD];

	for (int i = 0; i < CROWD; i++)
		f[i] = exs_submit(ex, answer, ex);
	CHECK_INT(exs_wait_all(f, CROWD, EXS_FOREVER), EXS_OK);
	for (int i = 0; i < CROWD; i++) {
		cancelled += exs_future_state(f[i]) == EXS_STATE_CANCELLED;
		exs_future_unref(f[i]);
	}
	CHECK(cancelled > 0 && cancelled <= 32);
	exs_executor_free(ex);
	end(sim);
}

TEST(sim, delayed_calls_time_out)
{
	exs_sim *sim = begin(harness_seed(), &(exs_sim_options){.delay = 0.5, .max_delay = 20});
	exs_executor *ex = exs_with_timeout(exs_sim_pool(sim, 4), 10);
	unsigned timed_out = 0;
	exs_future *f[CALLS];

	for (int i = 0; i < CALLS; i++)
		f[i] = exs_submit(ex, answer, NULL);
	CHECK_INT(exs_wait_all(f, CALLS, EXS_FOREVER), EXS_OK);
	for (int i = 0; i < CALLS; i++) {
		timed_out += exs_error_is(exs_future_error(f[i]), &exs_domain_exs, EXS_ETIMEDOUT);
		exs_future_unref(f[i]);
	}
	CHECK(timed_out > 20 && timed_out < 100);
	exs_executor_free(ex);
	end(sim);
}

/* Timers strike though calls wait to be run. */
TEST(sim, time_may_pass_early)
{
	unsigned timed_out = 0;

	for (uint64_t seed = 1; seed <= 50; seed++) {
		exs_sim *sim = begin(seed, &(exs_sim_options){.time = 0.2});
		exs_executor *ex = exs_with_timeout(exs_sim_pool(sim, 4), 10);
		exs_future *f = exs_submit(ex, answer, NULL);
		CHECK_INT(exs_future_wait(f, EXS_FOREVER), EXS_OK);
		timed_out += exs_error_is(exs_future_error(f), &exs_domain_exs, EXS_ETIMEDOUT);
		exs_future_unref(f);
		exs_executor_free(ex);
		end(sim);
	}
	CHECK(timed_out > 1 && timed_out < 30);
}

static exs_executor *nested_on;
static unsigned refused;

static exs_result submit_more(void *arg, exs_context *ctx)
{
	exs_future *f = exs_submit(nested_on, answer, arg);

	(void)ctx;
	refused += !f;
	exs_future_unref(f);
	return exs_ok(NULL, NULL);
}

/* Within steps only: the program's own submits succeed. */
TEST(sim, allocations_fail_within_steps)
{
	exs_sim *sim = begin(harness_seed(), &(exs_sim_options){.no_memory = 0.25});

	nested_on = exs_with_timeout_mode(exs_sim_pool(sim, 4), 10, EXS_ABANDON);
	refused = 0;
	for (int i = 0; i < CALLS; i++) {
		exs_future *f = exs_submit(nested_on, submit_more, NULL);
		CHECK(f);
		exs_future_unref(f);
	}
	CHECK_INT(exs_sim_run(sim), EXS_OK);
	CHECK(refused > 10 && refused < 120);
	CHECK(stats_of(sim).no_memory >= refused);
	exs_executor_free(nested_on);
	end(sim);
}

/* --- shutdown, free --- */

TEST(sim, shutdown_turns_it)
{
	static const exs_mode modes[] = {EXS_DRAIN, EXS_CANCEL_QUEUED, EXS_CANCEL_ALL};

	for (int i = 0; i < 3; i++) {
		exs_sim *sim = begin(1, NULL);
		exs_executor *ex = exs_with_retry(exs_sim_pool(sim, 2), NULL);
		exs_future *f = exs_submit(ex, answer, "x");
		CHECK_INT(exs_shutdown(ex, modes[i], EXS_FOREVER), 0);
		if (modes[i] == EXS_DRAIN)
			expect_value(f, "x");
		else
			expect_cancelled(f, EXS_CAUSE_SHUTDOWN);
		expect_code(exs_submit(ex, answer, NULL), &exs_domain_exs, EXS_ESHUTDOWN);
		exs_executor_free(ex);
		end(sim);
	}
}

static void free_it(exs_future *f, void *ex)
{
	(void)f;
	exs_executor_free(ex);
}

static exs_result free_within(void *arg, exs_context *ctx)
{
	(void)ctx;
	exs_executor_free(arg);
	return exs_cancelled();
}

/* No reaper: a step releases it. */
TEST(sim, freed_from_within)
{
	exs_sim *sim = begin(1, NULL);
	exs_executor *a = exs_with_poll(exs_sim_pool(sim, 2), job_poll, NULL, NULL, NULL), *b = exs_sim_pool(sim, 1);
	exs_future *f = exs_submit(b, answer, NULL);

	CHECK_INT(exs_future_on_done(f, free_it, b, NULL), EXS_OK);
	exs_future_unref(f);
	exs_future_unref(exs_submit(a, free_within, a));
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	CHECK_INT(harness_threads(), threads_before);
	end(sim);
}

static exs_error *poll_on(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	(void)delay;
	for (size_t i = 0; i < n; i++)
		exs_yield_result(d[i], NULL, NULL); /* a callback frees the executor: no call is left */
	CHECK_INT(exs_future_wait(ctx, 5), EXS_ETIMEDOUT);
	return NULL;
}

/* Its poll function, below on the stack, still runs. */
TEST(sim, a_chain_in_use_is_not_released)
{
	exs_sim *sim = begin(1, NULL);
	exs_future *never;
	exs_promise *p = exs_promise_new(&never);
	exs_executor *ex = exs_with_poll(exs_sim_pool(sim, 1), poll_on, NULL, never, NULL);
	exs_future *f = exs_submit(ex, answer, NULL);

	CHECK_INT(exs_future_on_done(f, free_it, ex, NULL), EXS_OK);
	CHECK_INT(exs_sim_run(sim), EXS_OK);
	expect_value(f, NULL);
	CHECK_INT(exs_quiesce(0), EXS_OK);
	exs_promise_free(p);
	exs_future_unref(never);
	end(sim);
}

static exs_step drop_start(exs_executor *ex, exs_future *call, void *slot, exs_result *result)
{
	(void)slot, (void)result;
	exs_call_park(call, ex); /* and nobody remembers it */
	return EXS_HELD;
}

static const exs_layer_ops loser_ops = {.size = sizeof(exs_layer_ops),
					.type = "loser",
					.start = drop_start,
					.done = exs_pass_done,
					.cancel = exs_pass_cancel};

/* A layer that loses a call: shutdown and free end all the same, and say so. */
TEST(sim, a_lost_call_is_reported)
{
	exs_sim *sim = begin(1, NULL);
	exs_executor *ex = exs_layer_new(&loser_ops, exs_sim_pool(sim, 1), 0, 0);
	exs_future *f = exs_submit(ex, answer, NULL);

	CHECK_INT(exs_shutdown(ex, EXS_DRAIN, 5), 1);
	CHECK_INT(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER), 1);
	exs_executor_free(ex);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_EDEADLK);
	exs_future_cancel(f); /* found again */
	exs_future_unref(f);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	end(sim);
}

/* The call below the throttle never comes back: the submitter is not left waiting. */
TEST(sim, a_submit_that_would_block_for_ever)
{
	exs_sim *sim = begin(1, NULL);
	exs_executor *ex = exs_layer_new(&loser_ops, exs_sim_pool(sim, 1), 0, 0);

	ex = exs_with_throttle(ex, 1, &(exs_throttle_options){.block = true});
	exs_future *f = exs_submit(ex, answer, NULL);
	expect_code(exs_submit(ex, answer, NULL), &exs_domain_exs, EXS_EDEADLK);
	CHECK_INT(stats_of(sim).stuck, 1);
	CHECK_INT(exs_future_cancel(f), EXS_CANCELLED);
	exs_future_unref(f);
	exs_executor_free(ex);
	end(sim);
}

static exs_sim *to_free;

static exs_result free_the_simulation(void *arg, exs_context *ctx)
{
	(void)ctx;
	*(int *)arg = exs_sim_free(to_free);
	return exs_ok(NULL, NULL);
}

static void *free_it_elsewhere(void *rc)
{
	*(int *)rc = exs_sim_free(to_free);
	return NULL;
}

TEST(sim, its_end)
{
	exs_sim *sim = to_free = begin(1, NULL);
	exs_executor *ex = exs_sim_pool(sim, 1), *late = exs_with_retry(exs_sim_pool(sim, 1), NULL);
	int rc = 0;

	expect_value(exs_submit(ex, free_the_simulation, &rc), NULL);
	CHECK_INT(rc, EXS_EBUSY); /* within a step */
	pthread_t thread = thread_start(free_it_elsewhere, &rc);
	thread_join(thread);
	CHECK_INT(rc, EXS_EBUSY);
	exs_future *f = exs_submit(late, answer, "ran");
	exs_executor_free(ex);
	end(sim);
	expect_value(f, "ran"); /* exs_sim_free runs what is left */
	expect_code(exs_submit(late, answer, NULL), &exs_domain_exs, EXS_ESHUTDOWN);
	exs_executor_free(late);
	sim = begin(2, NULL); /* the thread may have another */
	end(sim);
}

static exs_error *poll_for_ever(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	(void)ctx, (void)d, (void)n;
	*delay = 0;
	return NULL;
}

/* What never comes to an end is given up, and said. */
TEST(sim, its_end_with_a_poll_that_never_rests)
{
	exs_sim *sim = begin(1, &(exs_sim_options){.max_steps = 1000});
	exs_executor *ex = exs_with_poll(exs_sim_pool(sim, 1), poll_for_ever, NULL, NULL, NULL);
	exs_future *f = exs_submit(ex, answer, NULL);

	CHECK_INT(exs_future_wait(f, EXS_FOREVER), EXS_EDEADLK);
	CHECK_INT(exs_sim_run(sim), EXS_EDEADLK);
	CHECK(!exs_future_is_done(f));
	exs_executor_free(ex);
	expect_cancelled(f, EXS_CAUSE_SHUTDOWN);
	end(sim);
}

static void *submit_elsewhere(void *ex)
{
	return exs_submit(ex, answer, NULL);
}

TEST(sim, other_threads_are_refused)
{
	exs_sim *sim = begin(1, NULL);
	exs_executor *ex = exs_sim_pool(sim, 1);
	void *f;
	pthread_t thread = thread_start(submit_elsewhere, ex);

	CHECK(!pthread_join(thread, &f));
	expect_code(f, &exs_domain_exs, EXS_EINVAL);
	exs_executor_free(ex);
	end(sim);
}

/* --- digest, trace, draws --- */

static void count_event(void *ctx, const exs_sim_event *event)
{
	CHECK(event->time >= 0);
	((unsigned *)ctx)[event->kind]++;
}

static uint64_t busy_digest(uint64_t seed, unsigned *events)
{
	exs_sim_options o = {.fail = 0.1, .lose = 0.1, .cancel = 0.1, .delay = 0.2, .time = 0.1, .no_memory = 0.02};
	exs_sim *sim = begin(seed, &o);
	exs_executor *ex = exs_with_poll(exs_with_retry(exs_sim_pool(sim, 2), NULL), poll_and_wait, NULL, NULL, NULL);

	if (events)
		exs_sim_trace(sim, count_event, events);
	for (int i = 0; i < 20; i++)
		exs_future_unref(exs_submit(ex, answer, NULL));
	exs_sim_note(sim, exs_sim_random(sim, 100));
	CHECK(exs_sim_uniform(sim) < 1);
	CHECK(!exs_sim_chance(sim, 0) && exs_sim_chance(sim, 1));
	CHECK(exs_sim_random(sim, 0) == 0);
	CHECK_INT(exs_sim_run(sim), EXS_OK);
	uint64_t digest = exs_sim_digest(sim);
	exs_executor_free(ex);
	end(sim);
	return digest;
}

TEST(sim, the_digest_tells_traces_apart)
{
	unsigned events[EXS_SIM_NOTE + 1] = {0};
	uint64_t before = 0;

	for (uint64_t seed = 1; seed <= 100; seed++) {
		uint64_t digest = busy_digest(seed, events);
		CHECK(digest == busy_digest(seed, NULL));
		CHECK(digest != before);
		before = digest;
	}
	for (int kind = EXS_SIM_QUEUED; kind <= EXS_SIM_NOTE; kind++)
		CHECK(events[kind] > 0 || kind == EXS_SIM_STUCK || kind == EXS_SIM_RELEASE);
	CHECK_INT(events[EXS_SIM_NOTE], 100);
	CHECK_INT(events[EXS_SIM_DRAW], 500);
}

/* --- an event loop on its thread --- */

static unsigned failures_left;

static exs_result fail_at_first(void *arg, exs_context *ctx)
{
	(void)ctx;
	if (!failures_left)
		return exs_ok(arg, NULL);
	failures_left--;
	return exs_fail(exs_error_new(&test_domain, 1, "again"));
}

static void stop_loop(exs_future *f, void *loop)
{
	(void)f;
	CHECK_INT(exs_event_loop_stop(loop), EXS_OK);
}

/* Its timers are steps of the simulation, which the loop turns while it has nothing to do. */
TEST(sim, an_event_loop_waits_for_steps)
{
	exs_sim *sim = begin(1, NULL);
	exs_executor *loop = exs_with_clock(exs_event_loop(), exs_sim_clock(sim));
	exs_executor *ex = exs_with_retry(exs_borrow(loop), NULL);

	failures_left = 2;
	exs_future *f = exs_submit(ex, fail_at_first, "x");
	CHECK_INT(exs_future_on_done(f, stop_loop, loop, NULL), EXS_OK);
	CHECK_INT(exs_event_loop_run(loop), 3);
	CHECK(exs_clock_now(exs_sim_clock(sim)) == 3);
	expect_value(f, "x");
	CHECK_INT(exs_event_loop_run(loop), 0); /* nothing is left that could stop it */
	CHECK_INT(exs_event_loop_run_once(loop, 5), 0);
	CHECK(exs_clock_now(exs_sim_clock(sim)) == 8);
	failures_left = 1;
	f = exs_submit(ex, fail_at_first, "y");
	CHECK_INT(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER), 0); /* on the loop's own thread */
	expect_value(f, "y");
	exs_executor_free(ex);
	exs_executor_free(loop);
	end(sim);
}

/* --- scopes --- */

static exs_result fail(void *arg, exs_context *ctx)
{
	(void)arg, (void)ctx;
	return exs_fail(exs_error_new(&test_domain, 7, "no"));
}

static exs_result close_a_scope(void *arg, exs_context *ctx)
{
	exs_scope *scope = exs_scope_new();

	(void)ctx;
	for (int i = 0; i < 3; i++)
		exs_future_unref(exs_scope_submit(scope, arg, answer, NULL));
	exs_error *error = exs_scope_close(scope);
	return error ? exs_fail(error) : exs_ok(NULL, NULL);
}

TEST(sim, closing_a_scope_turns_it)
{
	unsigned cancelled = 0;

	for (uint64_t seed = 1; seed <= 50; seed++) {
		exs_sim *sim = begin(seed, NULL);
		exs_executor *ex = exs_with_retry(exs_sim_pool(sim, 1), NULL);
		exs_scope *scope = exs_scope_new();
		exs_retry_options once = {.max_attempts = 1};
		exs_task task = {.fn = fail, .retry = &once};
		exs_future *f = exs_scope_submit(scope, ex, answer, NULL);
		exs_future_unref(exs_scope_submit_with(scope, ex, &task));
		exs_error *error = exs_scope_close(scope);
		CHECK(exs_error_is(error, &test_domain, 7));
		cancelled += exs_future_cause(f) == EXS_CAUSE_SIBLING;
		exs_error_unref(error);
		exs_future_unref(f);
		expect_value(exs_submit(ex, close_a_scope, ex), NULL); /* on the pool's only worker */
		exs_executor_free(ex);
		end(sim);
	}
	CHECK(cancelled > 5 && cancelled < 45);
}

/* A member that a layer has lost: the scope gives it up, and so finds it. */
TEST(sim, a_scope_that_can_never_end)
{
	exs_sim *sim = begin(1, NULL);
	exs_executor *ex = exs_layer_new(&loser_ops, exs_sim_pool(sim, 1), 0, 0);
	exs_scope *scope = exs_scope_new();

	exs_future_unref(exs_scope_submit(scope, ex, answer, NULL)); /* cancelling finds it */
	exs_error *error = exs_scope_close(scope);
	CHECK(exs_error_is(error, &exs_domain_exs, EXS_EDEADLK));
	exs_error_unref(error);
	exs_executor_free(ex);
	end(sim);
}
