/* Process pool: cancels, kills, closes and streams that are dropped, at any moment. */
#define _GNU_SOURCE
#include "process_functions.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CALLS = 40 };

/* Of one that ran to its end, was cancelled, or whose worker was killed. */
static void check_outcome(exs_future *f, const char *text, bool may_die)
{
	wait_done(f);
	if (exs_future_state(f) == EXS_STATE_VALUE) {
		expect_text(f, text);
		return;
	}
	CHECK(exs_future_state(f) == EXS_STATE_CANCELLED ||
	      (may_die && exs_error_is(exs_future_error(f), &exs_domain_signal, SIGKILL)));
	exs_future_unref(f);
}

static bool three_are_idle(void *ex)
{
	return process_stats(ex).idle == 3;
}

TEST(process_races, cancel_at_any_moment)
{
	uint64_t random = harness_seed();
	exs_future *f[CALLS];

	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 3, .min_workers = 3});
	wait_until(three_are_idle, ex);
	for (unsigned long round = harness_rounds((unsigned long)harness_many(50)); round; round--) {
		for (int i = 0; i < CALLS; i++)
			f[i] = call(ex, harness_below(&random, 4) ? "echo" : "sleep", "x");
		for (int i = 0; i < CALLS; i++) {
			dawdle(&random);
			exs_future_cancel(f[i]);
		}
		for (int i = 0; i < CALLS; i++)
			check_outcome(f[i], "x", false);
	}
	CHECK_INT(process_stats(ex).died, 0);
	CHECK_INT(process_stats(ex).spawned, 3);
	CHECK(process_stats(ex).started > 10);
	processes_end(ex);
}

/* But none that begins: three of these in a row would be an error of the calls. */
static void kill_one(exs_executor *ex, uint64_t *random)
{
	exs_process_worker w[4];
	size_t all = exs_process_pool_workers(ex, w, 4); /* those that end are among them */
	size_t n = all < 4 ? all : 4, i = n ? (size_t)harness_below(random, n) : 0;

	if (n && w[i].tasks)
		kill((pid_t)w[i].pid, SIGKILL);
}

/* Each costs one attempt at most. */
TEST(process_races, workers_killed_under_a_retry)
{
	uint64_t random = harness_seed();
	exs_future *f[CALLS];
	char text[32];

	processes_begin();
	exs_executor *ex = exs_with_retry(processes((exs_process_pool_options){.workers = 4}),
					  &(exs_retry_options){.max_attempts = EXS_UNLIMITED, .sleep = EXS_NONE});
	for (unsigned long round = harness_rounds((unsigned long)harness_many(50)); round; round--) {
		for (int i = 0; i < CALLS; i++) {
			snprintf(text, sizeof(text), "number %d", i);
			f[i] = call(ex, "echo", text);
			if (i % 10 == 0)
				kill_one(ex, &random);
		}
		for (int i = 0; i < CALLS; i++) {
			snprintf(text, sizeof(text), "number %d", i);
			expect_text(f[i], text);
		}
	}
	processes_end(ex);
}

TEST(process_races, workers_killed_with_death_retries)
{
	uint64_t random = harness_seed();
	exs_future *f[CALLS];

	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 4, .death_retries = EXS_UNLIMITED});
	for (unsigned long round = harness_rounds((unsigned long)harness_many(50)); round; round--) {
		for (int i = 0; i < CALLS; i++) {
			f[i] = call(ex, "echo", "x");
			if (i % 10 == 0)
				kill_one(ex, &random);
			if (harness_below(&random, 8) == 0)
				exs_future_cancel(f[i]);
		}
		for (int i = 0; i < CALLS; i++)
			check_outcome(f[i], "x", false);
	}
	processes_end(ex);
}

/* Large inputs, whose sending takes long, to workers that are killed meanwhile. */
TEST(process_races, workers_killed_while_they_are_given_much)
{
	uint64_t random = harness_seed();
	static unsigned char data[600000];
	exs_future *f[8];

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (unsigned char)i;
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 3, .death_retries = EXS_UNLIMITED});
	for (unsigned long round = harness_rounds((unsigned long)harness_many(50)); round; round--) {
		for (int i = 0; i < 8; i++) {
			f[i] = call_bytes(ex, i % 2 ? "check" : "echo", data, sizeof(data));
			if (i % 3 == 0)
				kill_one(ex, &random);
		}
		for (int i = 0; i < 8; i++) {
			wait_done(f[i]);
			CHECK_INT(exs_future_state(f[i]), EXS_STATE_VALUE);
			const exs_bytes *bytes = exs_future_value(f[i]);
			CHECK(i % 2 ? !memcmp(bytes->data, "600000 right", 12)
				    : !memcmp(bytes->data, data, sizeof(data)));
			exs_future_unref(f[i]);
		}
	}
	processes_end(ex);
}

TEST(process_races, streams_dropped_and_workers_killed)
{
	uint64_t random = harness_seed();

	processes_begin();
	exs_executor *ex = exs_with_iterator(processes((exs_process_pool_options){.workers = 3}), 3);
	for (unsigned long round = harness_rounds((unsigned long)harness_many(100)); round; round--) {
		exs_future *f[3];
		exs_item item;
		for (int i = 0; i < 3; i++) {
			f[i] = call(ex, "emit", "100000");
			wait_done(f[i]);
		}
		for (uint64_t n = harness_below(&random, 20); n; n--)
			if (exs_stream_next(exs_future_value(f[n % 3]), &item, EXS_FOREVER) == EXS_ITEM)
				exs_future_unref(item.future);
		if (harness_below(&random, 3) == 0)
			kill_one(ex, &random);
		if (harness_below(&random, 3) == 0)
			exs_stream_stop(exs_future_value(f[0]), NULL);
		for (int i = 0; i < 3; i++)
			exs_future_unref(f[i]);
	}
	processes_end(ex);
}

TEST(process_races, closed_at_any_moment)
{
	static const exs_close hows[] = {EXS_CLOSE_JOIN, EXS_CLOSE_CANCEL, EXS_CLOSE_KILL};
	uint64_t random = harness_seed();
	exs_future *f[CALLS];

	for (unsigned long round = harness_rounds((unsigned long)harness_many(60)); round; round--) {
		processes_begin();
		exs_close how = hows[harness_below(&random, 3)];
		exs_executor *ex =
			processes((exs_process_pool_options){.workers = 3, .tasks = 7, .idle_seconds = 0.001});
		for (int i = 0; i < CALLS; i++) {
			f[i] = call(ex, i % 5 ? "echo" : "schedule", i % 5 ? "x" : "0 0 nothing");
			if (i == CALLS / 2)
				exs_future_unref(
					exs_process_pool_update(ex, exs_invocation_new("echo", NULL, 0), round % 2));
			if (i % 8 == 0)
				dawdle(&random);
		}
		CHECK_INT(exs_process_pool_close(ex, how, EXS_FOREVER), 0);
		for (int i = 0; i < CALLS; i++) {
			CHECK(exs_future_is_done(f[i]));
			CHECK(how != EXS_CLOSE_JOIN || exs_future_state(f[i]) == EXS_STATE_VALUE);
			check_outcome(f[i], i % 5 ? "x" : NULL, false);
		}
		processes_end(ex);
	}
}

static void *submit_and_cancel(void *ex)
{
	uint64_t random = harness_seed() ^ (uint64_t)(uintptr_t)&random;

	for (int i = 0; i < harness_many(300); i++) {
		exs_future *f = call(ex, "echo", "x");
		if (harness_below(&random, 4) == 0)
			exs_future_cancel(f);
		check_outcome(f, "x", true);
	}
	return NULL;
}

TEST(process_races, many_threads)
{
	uint64_t random = harness_seed();
	pthread_t threads[4];

	processes_begin();
	exs_executor *ex = processes(
		(exs_process_pool_options){.workers = 3, .tasks = 50, .min_workers = 1, .idle_seconds = 0.001});
	for (int i = 0; i < 4; i++)
		threads[i] = thread_start(submit_and_cancel, ex);
	for (int i = 0; i < 20; i++) {
		kill_one(ex, &random);
		give_time();
	}
	for (int i = 0; i < 4; i++)
		thread_join(threads[i]);
	processes_end(ex);
}

/* --- over before it is seen to have been given --- */

static _Thread_local bool gives;
static sem_t given, over;
static atomic_bool is_free;

/* What a thread that gives frees first it frees once it has sent: there it is held up, until the call is over and the pool is being freed. */
static void free_late(void *p)
{
	free(p);
	if (!gives)
		return;
	gives = false;
	sem_post(&given);
	sem_take(&over);
	give_time();
	CHECK(!atomic_load(&is_free));
}

static bool is_idle(void *ex)
{
	return process_stats(ex).idle == 1;
}

static bool has_no_worker(void *ex)
{
	return process_stats(ex).completed == 2 && !exs_process_pool_workers(ex, NULL, 0);
}

static void *free_it(void *ex)
{
	sem_take(&given);
	wait_until(has_no_worker, ex);
	sem_post(&over);
	exs_executor_free(ex);
	atomic_store(&is_free, true);
	return NULL;
}

TEST(process_races, freed_while_a_call_that_is_over_is_being_given)
{
	char name[600] = ""; /* does not fit into what a frame has without memory */

	exs_set_allocator(&(exs_allocator){malloc, free_late});
	processes_begin();
	sem_init(&given, 0, 0);
	sem_init(&over, 0, 0);
	atomic_store(&is_free, false);
	memset(name, 'x', sizeof(name) - 1);
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1, .tasks = 2});
	expect_text(call(ex, "echo", "first"), "first");
	wait_until(is_idle, ex);
	pthread_t thread = thread_start(free_it, ex);
	exs_invocation *invocation = exs_invocation_new("echo", "second", 6);
	gives = true;
	exs_future *f = exs_submit_invocation(ex, invocation, &(exs_task){.name = name});
	expect_text(f, "second");
	thread_join(thread);
	processes_end(NULL);
	exs_set_allocator(NULL);
}
