/* Simulation in which waits inside tasks are made on threads of their own, one of which goes on at a time. */
#include "support.h"

#include <executors/sim.h>

/* --- helpers --- */

static const exs_sim_options threads = {.threads = true};
static int threads_before;

static void begin(uint64_t seed)
{
	threads_before = harness_threads();
	sim_begin(seed, &threads);
}

static void end(void)
{
	sim_end();
	harness_wait_threads(threads_before);
}

static exs_sim_stats stats(void)
{
	exs_sim_stats s;

	exs_sim_get_stats(support_sim, &s);
	return s;
}

/* --- waits --- */

/* The program goes on while tasks are in the middle of waits, and cancels one of them. */
TEST(sim_threads, a_task_is_held_while_the_program_goes_on)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		begin(seed);
		exs_executor *ex = exs_sim_pool(support_sim, 2);
		struct job jobs[3];
		exs_future *f[3];
		for (int i = 0; i < 3; i++) {
			job_init(&jobs[i]);
			jobs[i].gated = true;
			f[i] = job_submit(ex, &jobs[i]);
		}
		let_all_go_on();
		CHECK_INT(jobs[0].starts + jobs[1].starts + jobs[2].starts, 2);
		for (int i = 0; i < 3; i++) {
			bool runs = jobs[i].starts;
			CHECK_INT(exs_future_cancel(f[i]), runs ? EXS_STOP_REQUESTED : EXS_CANCELLED);
			sem_post(&jobs[i].open);
			if (runs)
				expect_value(f[i], &jobs[i]);
			else
				expect_cancelled(f[i], EXS_CAUSE_USER);
			job_fini(&jobs[i]);
		}
		exs_executor_free(ex);
		end();
	}
}

static exs_future *lower;
static exs_promise *promise;
static exs_future *promised;

static exs_result wait_for_it(void *future, exs_context *ctx)
{
	(void)ctx;
	CHECK_INT(exs_future_wait(*(exs_future **)future, EXS_FOREVER), EXS_OK);
	return exs_ok(NULL, NULL);
}

static exs_result keep_promise(void *arg, exs_context *ctx)
{
	(void)ctx;
	exs_promise_complete(promise, exs_ok(arg, NULL));
	return exs_ok(NULL, NULL);
}

/* As an_inverted_wait_is_told_from_a_deadlock: here it can go on, whatever the order; and each that waits has a spare. */
TEST(sim_threads, no_wait_is_inverted)
{
	for (uint64_t seed = 1; seed <= 100; seed++) {
		begin(seed);
		exs_executor *ex = exs_sim_pool(support_sim, 1);
		promise = exs_promise_new(&promised);
		lower = exs_submit(ex, wait_for_it, &promised);
		exs_future *upper = exs_submit(ex, wait_for_it, &lower);
		exs_future_unref(exs_submit(ex, keep_promise, NULL));
		expect_value(upper, NULL);
		expect_value(lower, NULL);
		CHECK_INT(stats().stuck, 0);
		exs_promise_free(promise);
		exs_future_unref(promised);
		exs_executor_free(ex);
		end();
	}
}

static exs_result wait_in_vain(void *rc, exs_context *ctx)
{
	(void)ctx;
	*(int *)rc = exs_future_wait(promised, EXS_FOREVER);
	return exs_ok(NULL, NULL);
}

/* The latest that waits is told; then the next, if that does not help. */
TEST(sim_threads, deadlocks_are_found)
{
	int rc = -1;

	begin(1);
	exs_executor *ex = exs_sim_pool(support_sim, 1);
	promise = exs_promise_new(&promised);
	exs_future *f = exs_submit(ex, wait_in_vain, &rc);
	CHECK_INT(exs_sim_run(support_sim), EXS_OK);
	CHECK_INT(rc, EXS_EDEADLK);
	expect_value(f, NULL);
	CHECK_INT(exs_future_wait(promised, EXS_FOREVER), EXS_EDEADLK);
	CHECK(exs_error_is(exs_last_error(), &exs_domain_exs, EXS_EDEADLK));
	CHECK_INT(stats().stuck, 2);
	CHECK_INT(stats().inverted, 0);
	exs_promise_free(promise);
	exs_future_unref(promised);
	exs_executor_free(ex);
	end();
}

static exs_result sleep_for(void *seconds, exs_context *ctx)
{
	CHECK_INT(exs_context_sleep(ctx, *(double *)seconds), EXS_OK);
	return exs_ok(NULL, NULL);
}

static bool never(void *unused)
{
	(void)unused;
	return false;
}

TEST(sim_threads, waits_are_measured_on_its_clock)
{
	double seconds[] = {3, 1, 2};
	exs_future *f[3];

	begin(7);
	exs_executor *ex = exs_sim_pool(support_sim, 3);
	exs_clock *clock = exs_sim_clock(support_sim);
	for (int i = 0; i < 3; i++)
		f[i] = exs_submit(ex, sleep_for, &seconds[i]);
	CHECK_INT(exs_future_wait(f[2], 1.5), EXS_ETIMEDOUT);
	CHECK(exs_clock_now(clock) == 1.5);
	CHECK(exs_future_is_done(f[1]) && !exs_future_is_done(f[2]));
	CHECK_INT(exs_sim_wait(support_sim, never, NULL, 1), EXS_ETIMEDOUT);
	CHECK(exs_clock_now(clock) == 2.5);
	CHECK_INT(exs_sim_wait(support_sim, never, NULL, -1), EXS_EINVAL);
	CHECK_INT(exs_sim_wait(support_sim, never, NULL, 0), EXS_ETIMEDOUT);
	CHECK_INT(exs_sim_run(support_sim), EXS_OK);
	CHECK(exs_clock_now(clock) == 3);
	for (int i = 0; i < 3; i++)
		expect_value(f[i], NULL);
	exs_executor_free(ex);
	end();
}

static exs_result map_for(void *seconds, exs_result in)
{
	CHECK_INT(exs_sim_wait(support_sim, never, NULL, *(double *)seconds), EXS_ETIMEDOUT);
	return in;
}

/* A wait runs what its thread has put off: a function that waits, too, and for longer. */
TEST(sim_threads, a_wait_within_another_lets_time_pass)
{
	double seconds[] = {1, 2};
	exs_future *f[2];

	begin(8);
	promise = promise_made(&promised);
	for (int i = 0; i < 2; i++)
		f[i] = exs_future_map(exs_future_ref(promised), map_for, NULL, &seconds[i], NULL);
	promise_done(promise, exs_ok(NULL, NULL));
	for (int i = 0; i < 2; i++)
		expect_value(f[i], NULL);
	CHECK(exs_clock_now(exs_sim_clock(support_sim)) >= 2);
	exs_future_unref(promised);
	end();
}

static bool seldom(void *last)
{
	return exs_clock_now(exs_sim_clock(support_sim)) > *(double *)last;
}

TEST(sim_threads, steps_and_their_end)
{
	exs_sim_options few = {.threads = true, .max_steps = 50};
	struct job job;

	threads_before = harness_threads();
	sim_begin(1, &few);
	exs_executor *ex = exs_sim_pool(support_sim, 1);
	job_init(&job);
	exs_future *f = job_submit(ex, &job);
	CHECK(exs_sim_step(support_sim));
	CHECK(!exs_sim_step(support_sim));
	expect_value(f, &job);
	job_fini(&job);
	exs_poll_options busy = {.interval = EXS_NONE, .poll_empty = true};
	ex = exs_with_poll(ex, job_poll, NULL, NULL, &busy);
	double last = 0;
	CHECK_INT(exs_sim_wait(support_sim, seldom, &last, EXS_FOREVER), EXS_EDEADLK);
	CHECK_INT(exs_sim_run(support_sim), EXS_EDEADLK);
	exs_executor_free(ex);
	end();
}

/* --- where one thread is in the middle of what another needs --- */

static sem_t gate_entered, gate_open;

static void gates_init(void)
{
	CHECK(!sem_init(&gate_entered, 0, 0) && !sem_init(&gate_open, 0, 0));
}

static void gates_fini(void)
{
	sem_destroy(&gate_entered);
	sem_destroy(&gate_open);
}

static void at_gate(void *flag)
{
	sem_post(&gate_entered);
	sem_take(&gate_open);
	*(bool *)flag = true;
}

static exs_result with_slow_handler(void *flag, exs_context *ctx)
{
	CHECK_INT(exs_context_on_cancel(ctx, at_gate, flag), EXS_OK);
	sem_take(&gate_entered); /* it is being called: its end is awaited */
	sem_post(&gate_entered);
	return exs_ok(NULL, NULL);
}

static bool has_ended;

static void note_end(void *unused)
{
	(void)unused;
	CHECK(has_ended);
}

static void *cancel_it(void *future)
{
	exs_future_cancel(future);
	return NULL;
}

TEST(sim_threads, a_task_awaits_its_handler)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct beside other;
		gates_init();
		begin(seed);
		has_ended = false;
		exs_executor *ex = exs_sim_pool(support_sim, 1);
		exs_task task = {.fn = with_slow_handler, .arg = &has_ended, .arg_free = note_end};
		exs_future *f = exs_submit_with(ex, &task);
		while (exs_future_state(f) != EXS_STATE_RUNNING)
			let_others_go_on();
		beside_start(&other, cancel_it, f);
		let_all_go_on();
		CHECK(!exs_future_is_done(f));
		sem_post(&gate_open);
		beside_end(&other);
		expect_value(f, NULL);
		exs_executor_free(ex);
		end();
		gates_fini();
	}
}

static exs_error *poll_at_gate(void *flag, exs_descriptor **d, size_t n, double *delay)
{
	(void)delay;
	for (size_t i = 0; i < n; i++)
		exs_yield_result(d[i], NULL, NULL);
	if (n)
		at_gate(flag);
	return NULL;
}

static void *free_it(void *ex)
{
	exs_executor_free(ex);
	return NULL;
}

/* All calls are over, its poll function is not. */
TEST(sim_threads, a_chain_is_not_released_while_it_polls)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct beside other;
		struct job job;
		bool polled = false;
		gates_init();
		begin(seed);
		exs_executor *ex = exs_with_poll(exs_sim_pool(support_sim, 1), poll_at_gate, NULL, &polled, NULL);
		job_init(&job);
		expect_value(job_submit(ex, &job), NULL);
		beside_start(&other, free_it, ex);
		let_all_go_on();
		CHECK(!exs_future_is_done(other.task));
		sem_post(&gate_open);
		beside_end(&other);
		CHECK(polled);
		job_fini(&job);
		end();
		gates_fini();
	}
}

static bool policy_at_gate(void *flag, const exs_attempt *a, double *delay, exs_error **error)
{
	(void)delay, (void)error;
	if (a->attempt == 2)
		at_gate(flag);
	return a->attempt < 2;
}

static void *advance_it(void *clock)
{
	advance(clock, 10);
	return NULL;
}

/* Two advance the clock; what the first sets off waits. */
TEST(sim_threads, the_clock_is_advanced_by_one_at_a_time)
{
	struct beside first, second;
	struct job job;
	bool asked = false;
	exs_retry_options retry = {.sleep = 5, .policy = policy_at_gate, .ctx = &asked};
	exs_error *error = exs_error_new(&test_domain, 1, "no");

	gates_init();
	begin(3);
	exs_clock *clock = exs_sim_clock(support_sim);
	exs_executor *ex = exs_with_retry(exs_with_clock(exs_inline(), clock), &retry);
	job_init(&job);
	job.failures = ALWAYS;
	job.error = error;
	exs_future *f = job_submit(ex, &job);
	beside_start(&first, advance_it, clock);
	sem_take(&gate_entered);
	beside_start(&second, advance_it, clock);
	let_all_go_on();
	CHECK(!exs_future_is_done(second.task));
	sem_post(&gate_open);
	beside_end(&second);
	beside_end(&first);
	CHECK(exs_clock_now(clock) >= 20);
	expect_error(f, error);
	job_fini(&job);
	exs_error_unref(error);
	exs_executor_free(ex);
	end();
	gates_fini();
}

/* --- the seed --- */

static uint64_t digest_of(uint64_t seed)
{
	struct beside others[3];
	struct job jobs[3];
	exs_sim_options o = {.threads = true, .delay = 0.3, .fail = 0.1, .cancel = 0.1, .time = 0.1};

	sim_begin(seed, &o);
	exs_executor *ex = exs_with_retry(exs_sim_pool(support_sim, 2), NULL);
	for (int i = 0; i < 3; i++) {
		job_init(&jobs[i]);
		jobs[i].unsteady = true;
		beside_start(&others[i], cancel_it, job_submit(ex, &jobs[i]));
	}
	CHECK_INT(exs_sim_run(support_sim), EXS_OK);
	for (int i = 0; i < 3; i++) {
		exs_future_unref(others[i].task);
		exs_future_unref(others[i].arg);
		job_fini(&jobs[i]);
	}
	exs_executor_free(ex);
	uint64_t digest = exs_sim_digest(support_sim);
	sim_end();
	return digest;
}

TEST(sim_threads, the_same_seed_gives_the_same_steps)
{
	unsigned different = 0;

	for (uint64_t seed = 1; seed <= 50; seed++) {
		CHECK(digest_of(seed) == digest_of(seed));
		different += digest_of(seed) != digest_of(seed + 1);
	}
	CHECK(different > 45);
}
