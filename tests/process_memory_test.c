/* Process pool: each allocation of the parent fails in turn. No call hangs, nothing is left, and the pool goes on. */
#define _GNU_SOURCE
#include "process_functions.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Any thread: the allocation that finds 0 fails. */
static atomic_long left = -1;
static atomic_long blocks;

static void *faulty_alloc(size_t size)
{
	void *p = atomic_load(&left) >= 0 && atomic_fetch_sub(&left, 1) == 0 ? NULL : malloc(size);

	atomic_fetch_add(&blocks, p != NULL);
	return p;
}

static void faulty_free(void *p)
{
	atomic_fetch_sub(&blocks, 1);
	free(p);
}

/* A scenario makes its own pool; what it does between arm and disarm is what may fail. */
static long nth;
static bool armed, fired;

static void arm(void)
{
	armed = true;
	atomic_store(&left, nth);
}

static void disarm(void)
{
	fired = fired || (armed && atomic_load(&left) < 0);
	armed = false;
	atomic_store(&left, -1);
}

static void fail_in_turn(void (*scenario)(void))
{
	for (nth = 0, fired = true; fired; nth++) {
		fired = false;
		exs_set_allocator(&(exs_allocator){faulty_alloc, faulty_free});
		processes_begin();
		scenario();
		exs_set_allocator(NULL);
		CHECK_INT(atomic_load(&blocks), 0);
		CHECK(nth < 500);
	}
}

static exs_executor *ready_pool(exs_process_pool_options options)
{
	exs_executor *ex = processes(options);

	expect_text(call(ex, "echo", "warm"), "warm");
	return ex;
}

/* Waits; answers whether it has a value. Otherwise it is an error of memory, or of a worker that was given up for want of it. */
static bool ended_well(exs_future *f)
{
	if (!f) {
		CHECK(exs_error_is(exs_last_error(), &exs_domain_exs, EXS_ENOMEM));
		return false;
	}
	wait_done(f);
	const exs_error *error = exs_future_error(f);
	CHECK_INT(exs_future_state(f), error ? EXS_STATE_ERROR : EXS_STATE_VALUE);
	CHECK(!error || exs_error_is(error, &exs_domain_exs, EXS_ENOMEM) ||
	      exs_error_is(error, &exs_domain_signal, SIGKILL) || exs_error_is(error, &exs_domain_exit, 0));
	return !error;
}

static void end(exs_executor *ex)
{
	disarm();
	expect_text(call(ex, "echo", "still there"), "still there");
	processes_end(ex);
}

/* --- the constructor, the first worker --- */

static void construct(void)
{
	static const char *const args[] = {"a", "b"};

	arm();
	exs_executor *ex = exs_process_pool(&(exs_process_pool_options){
		.program = "/proc/self/exe", .args = args, .n_args = 2, .log_files = "/tmp/none"});
	disarm();
	CHECK(ex || exs_error_is(exs_last_error(), &exs_domain_exs, EXS_ENOMEM) ||
	      exs_error_is(exs_last_error(), &exs_domain_errno, ENOMEM)); /* its thread */
	CHECK(!ex == fired);
	processes_end(ex);
}

TEST(process_memory, constructor)
{
	fail_in_turn(construct);
}

static void call_first(void)
{
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1});

	arm();
	exs_future *f = exs_submit_function(ex, "echo", "x", 1);
	if (ended_well(f))
		CHECK_INT(((exs_bytes *)exs_future_value(f))->size, 1);
	exs_future_unref(f);
	end(ex);
}

TEST(process_memory, first_call)
{
	fail_in_turn(call_first);
}

/* --- calls --- */

static size_t size;

static void call_of_size(void)
{
	exs_executor *ex = ready_pool((exs_process_pool_options){.workers = 1});
	char *data = malloc(size);

	memset(data, 7, size);
	arm();
	exs_future *f = exs_submit_function(ex, "echo", data, size);
	if (ended_well(f)) {
		const exs_bytes *bytes = exs_future_value(f);
		CHECK_INT(bytes->size, size);
		CHECK(!memcmp(bytes->data, data, size));
	}
	exs_future_unref(f);
	free(data);
	end(ex);
}

TEST(process_memory, calls_of_all_sizes)
{
	static const size_t sizes[] = {1, 100000, 900000, 2 << 20};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		size = sizes[i];
		fail_in_turn(call_of_size);
	}
}

static void fail_once(void)
{
	exs_executor *ex = ready_pool((exs_process_pool_options){.workers = 1});

	arm();
	exs_future *f = exs_submit_function(ex, "fail all", NULL, 0);
	if (f)
		wait_done(f);
	CHECK(!f || exs_future_error(f));
	exs_future_unref(f);
	end(ex);
}

TEST(process_memory, error)
{
	fail_in_turn(fail_once);
}

static void die_twice(void)
{
	exs_executor *ex = ready_pool((exs_process_pool_options){.workers = 1, .death_retries = 1});

	arm();
	exs_future *f = exs_submit_function(ex, "die", "9 words", 7);
	if (f)
		wait_done(f);
	CHECK(!f || exs_future_error(f));
	exs_future_unref(f);
	end(ex);
}

TEST(process_memory, death)
{
	fail_in_turn(die_twice);
}

static void cancel_one(void)
{
	exs_executor *ex = ready_pool((exs_process_pool_options){.workers = 1});

	exs_future *f = call(ex, "sleep", "");
	expect_message("entered");
	arm();
	cancel_running(f);
	wait_done(f);
	exs_future_unref(f);
	end(ex);
}

TEST(process_memory, cancel)
{
	fail_in_turn(cancel_one);
}

/* --- items, messages, what is scheduled, updates --- */

static void read_items(void)
{
	exs_executor *ex = exs_with_iterator(ready_pool((exs_process_pool_options){.workers = 1}), 2);

	arm();
	exs_future *f = exs_submit_function(ex, "emit", "3", 1);
	exs_stream *s = f && ended_well(f) ? exs_future_value(f) : NULL;
	exs_set_status status = EXS_EMPTY;
	exs_item item;
	int n = 0;
	while (s && (status = exs_stream_next(s, &item, EXS_FOREVER)) == EXS_ITEM) {
		n++;
		exs_future_unref(item.future);
	}
	disarm();
	CHECK(!s || status == EXS_FAILED || n == 3);
	exs_future_unref(f);
	f = call(ex, "emit", "1");
	wait_done(f);
	CHECK_INT(exs_stream_next(exs_future_value(f), &item, EXS_FOREVER), EXS_ITEM);
	expect_text(item.future, "0");
	exs_future_unref(f);
	processes_end(ex);
}

TEST(process_memory, items)
{
	fail_in_turn(read_items);
}

/* If the call ends well, all are there. */
static void hear_messages(void)
{
	exs_executor *ex = ready_pool((exs_process_pool_options){.workers = 1});
	int n = 0;

	arm();
	exs_future *f = exs_submit_function(ex, "send many", "3", 1);
	bool well = ended_well(f);
	disarm();
	while (next_message())
		n++;
	CHECK(well ? n == 3 : n <= 3);
	exs_future_unref(f);
	end(ex);
}

TEST(process_memory, messages)
{
	fail_in_turn(hear_messages);
}

static void schedule_some(void)
{
	exs_executor *ex = ready_pool((exs_process_pool_options){.workers = 1});
	int n = 0;

	arm();
	exs_future *f = exs_submit_function(ex, "grow", "1", 1);
	bool well = ended_well(f);
	CHECK_INT(exs_process_pool_close(ex, EXS_CLOSE_JOIN, EXS_FOREVER), 0);
	disarm();
	while (next_message())
		n++;
	CHECK(!well || n == 3 || fired);
	exs_future_unref(f);
	processes_end(ex);
}

TEST(process_memory, scheduled)
{
	fail_in_turn(schedule_some);
}

static void update_all(void)
{
	exs_executor *ex = ready_pool((exs_process_pool_options){.workers = 1});
	exs_invocation *invocation = exs_invocation_new("echo", "x", 1);

	arm();
	exs_future *f = exs_process_pool_update(ex, invocation, true);
	ended_well(f);
	exs_future_unref(f);
	end(ex);
}

TEST(process_memory, update)
{
	fail_in_turn(update_all);
}

static void end_by_killing(void)
{
	exs_executor *ex = ready_pool((exs_process_pool_options){.workers = 1});
	exs_future *f = call(ex, "ignore TERM", ""), *g = call(ex, "echo", "");

	expect_message("entered");
	arm();
	CHECK_INT(exs_process_pool_close(ex, EXS_CLOSE_KILL, EXS_FOREVER), 0);
	disarm();
	expect_cancelled(f, EXS_CAUSE_SHUTDOWN);
	expect_cancelled(g, EXS_CAUSE_SHUTDOWN);
	processes_end(ex);
}

TEST(process_memory, kill)
{
	fail_in_turn(end_by_killing);
}
