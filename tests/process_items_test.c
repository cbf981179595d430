/* Process pool: items of iterators, messages, and what tasks schedule. */
#define _GNU_SOURCE
#include "process_functions.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- items --- */

static exs_stream *stream_of(exs_future *f)
{
	wait_done(f);
	CHECK_INT(exs_future_state(f), EXS_STATE_VALUE);
	return exs_future_value(f);
}

/* Every fourth is an error. */
static void expect_item(exs_stream *s, int n)
{
	exs_item item;
	char text[32];

	CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_ITEM);
	snprintf(text, sizeof(text), n % 4 == 3 ? "item %d" : "%d", n);
	if (n % 4 == 3)
		expect_failure(item.future, &known_domain, n, text);
	else
		expect_text(item.future, text);
}

static void expect_end(exs_stream *s, exs_set_status status)
{
	exs_item item;

	CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), status);
	CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_EMPTY);
}

static exs_executor *iterating(size_t max_results)
{
	processes_begin();
	return exs_with_iterator(processes((exs_process_pool_options){.workers = 1}), max_results);
}

TEST(process_items, in_order)
{
	for (size_t ahead = 0; ahead < 300; ahead = ahead * 16 + 1) {
		exs_executor *ex = iterating(ahead);
		exs_future *f = call(ex, "emit", "200");
		exs_stream *s = stream_of(f);
		for (int i = 0; i < 200; i++)
			expect_item(s, i);
		expect_end(s, EXS_EMPTY);
		exs_future_unref(f);
		processes_end(ex);
	}
}

TEST(process_items, without_limit)
{
	exs_executor *ex = iterating(EXS_UNLIMITED);
	exs_future *f = call(ex, "emit", "3000");
	unsigned n = 0;

	while (next_message())
		n++;
	CHECK_INT(n, 3000); /* nobody reads */
	exs_stream *s = stream_of(f);
	for (int i = 0; i < 3000; i++)
		expect_item(s, i);
	expect_end(s, EXS_EMPTY);
	exs_future_unref(f);
	processes_end(ex);
}

TEST(process_items, none)
{
	exs_executor *ex = iterating(0);
	exs_future *f = call(ex, "emit", "0");

	expect_end(stream_of(f), EXS_EMPTY);
	exs_future_unref(f);
	f = call(ex, "echo", "dropped");
	expect_end(stream_of(f), EXS_EMPTY);
	exs_future_unref(f);
	processes_end(ex);
}

/* As the worker sees it: a message follows each item that it has got rid of. */
TEST(process_items, worker_stays_so_many_ahead)
{
	exs_executor *ex = iterating(3);
	exs_future *f = call(ex, "emit", "1000000");
	exs_stream *s = stream_of(f);

	expect_message("0");
	expect_message("1");
	expect_message("2");
	expect_no_message();
	expect_item(s, 0);
	expect_message("3");
	expect_no_message();
	exs_future_unref(f); /* nobody reads any more */
	expect_message("refused 13");
	CHECK(!next_message());
	CHECK_INT(process_stats(ex).died, 0);
	processes_end(ex);
}

/* The worker hears of it while it waits for room; and the stream keeps what it has. */
TEST(process_items, cancelled)
{
	exs_executor *ex = iterating(2);
	exs_future *f = call(ex, "emit", "1000000");
	exs_stream *s = stream_of(f);

	expect_message("0");
	expect_message("1");
	exs_stream_cancel(s);
	expect_message("refused 13");
	CHECK(!next_message());
	exs_future_unref(f);
	processes_end(ex);
}

TEST(process_items, stopped)
{
	exs_executor *ex = iterating(2);
	exs_future *f = call(ex, "emit", "1000000");
	exs_stream *s = stream_of(f);

	expect_message("0");
	expect_message("1");
	exs_stream_stop(s, NULL);
	expect_message("refused 13");
	expect_item(s, 0);
	expect_item(s, 1);
	CHECK(!next_message());
	exs_future_unref(f);
	processes_end(ex);
}

/* What was emitted before counts. */
static void check_end_after_three(const char *input, const exs_domain *domain, int code)
{
	exs_executor *ex = iterating(10);
	exs_future *f = call(ex, "emit", input);
	exs_stream *s = stream_of(f);

	for (int i = 0; i < 3; i++)
		expect_item(s, i);
	expect_end(s, EXS_FAILED);
	CHECK(exs_error_is(exs_stream_error(s), domain, code));
	exs_future_unref(f);
	processes_end(ex);
}

TEST(process_items, failure_at_the_end)
{
	check_end_after_three("3 fail", &known_domain, 77);
}

TEST(process_items, death_at_the_end)
{
	check_end_after_three("3 die", &exs_domain_signal, SIGKILL);
}

TEST(process_items, death_in_the_middle)
{
	exs_executor *ex = iterating(2);
	exs_future *f = call(ex, "emit", "1000000");
	exs_stream *s = stream_of(f);
	exs_process_worker worker;

	expect_message("0");
	expect_message("1");
	CHECK_INT(exs_process_pool_workers(ex, &worker, 1), 1);
	kill((pid_t)worker.pid, SIGKILL);
	expect_item(s, 0);
	CHECK(!next_message());
	expect_item(s, 1);
	exs_item item;
	exs_set_status status;
	while ((status = exs_stream_next(s, &item, EXS_FOREVER)) == EXS_ITEM) /* one that was on its way */
		exs_future_unref(item.future);
	CHECK_INT(status, EXS_FAILED);
	CHECK(exs_error_is(exs_stream_error(s), &exs_domain_signal, SIGKILL));
	exs_future_unref(f);
	f = call(ex, "emit", "1");
	expect_item(stream_of(f), 0);
	exs_future_unref(f);
	processes_end(ex);
}

/* It emits anew, after what it had emitted before. */
TEST(process_items, retry_below)
{
	for (size_t ahead = 1; ahead < 100; ahead += 49) {
		processes_begin();
		exs_executor *ex = exs_with_retry(processes((exs_process_pool_options){.workers = 1}),
						  &(exs_retry_options){.sleep = EXS_NONE});
		ex = exs_with_iterator(ex, ahead);
		exs_future *f = call(ex, "emit", "5 retry");
		exs_stream *s = stream_of(f);
		for (int i = 0; i < 10; i++)
			expect_item(s, i % 5);
		expect_end(s, EXS_EMPTY);
		exs_future_unref(f);
		processes_end(ex);
	}
}

TEST(process_items, death_retries)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1, .death_retries = 2});
	ex = exs_with_iterator(ex, 2);
	exs_future *f = call(ex, "emit", "5 die");
	exs_stream *s = stream_of(f);

	for (int i = 0; i < 15; i++)
		expect_item(s, i % 5);
	expect_end(s, EXS_FAILED);
	exs_future_unref(f);
	CHECK_INT(process_stats(ex).restarted, 2);
	processes_end(ex);
}

TEST(process_items, worker_emits_wrongly)
{
	exs_executor *ex = iterating(5);
	exs_future *f = call(ex, "emit wrongly", "");
	exs_item item;

	expect_message("1 0");
	CHECK_INT(exs_stream_next(stream_of(f), &item, EXS_FOREVER), EXS_ITEM);
	expect_text(item.future, NULL);
	expect_end(exs_future_value(f), EXS_EMPTY);
	exs_future_unref(f);
	processes_end(ex);
	processes_begin();
	ex = processes((exs_process_pool_options){.workers = 1});
	expect_text(call(ex, "emit wrongly", ""), NULL);
	expect_message("1 1"); /* no iterator */
	processes_end(ex);
}

TEST(process_items, several_streams_at_once)
{
	exs_future *f[6];

	processes_begin();
	exs_executor *ex = exs_with_iterator(processes((exs_process_pool_options){.workers = 3}), 2);
	for (int i = 0; i < 6; i++)
		f[i] = call(ex, "emit", "40");
	for (int i = 0; i < 6; i++) /* those that come later wait for a worker until an earlier one is read */
		for (int n = 0; n < 40; n++)
			expect_item(stream_of(f[i]), n);
	for (int i = 0; i < 6; i++) {
		expect_end(stream_of(f[i]), EXS_EMPTY);
		exs_future_unref(f[i]);
	}
	processes_end(ex);
}

/* The only input is an invocation, which waits at the gate of that path. */
static bool one_invocation(void *path, exs_result *input)
{
	const char **left = path;

	if (*left)
		*input = exs_ok(exs_invocation_new("gate", *left, strlen(*left)), exs_invocation_free);
	bool more = *left;
	*left = NULL;
	return more;
}

/* Taken for lost, it is submitted once more as it was. */
TEST(process_items, stream_of_invocations_that_are_begun_again)
{
	exs_item item;

	processes_begin();
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_clock(processes((exs_process_pool_options){.workers = 2}), clock);
	const char *path = gate();
	exs_stream *s = exs_stream_new(ex, exs_invoke, one_invocation, &path, NULL);
	expect_message("entered");
	advance(clock, 13);
	expect_message("entered");
	gate_open(2);
	CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_ITEM);
	CHECK(!strncmp(text_of(item.future), "open", 4));
	expect_end(s, EXS_EMPTY);
	exs_stream_free(s);
	processes_end(ex);
	exs_clock_unref(clock);
}

TEST(process_items, plain_task_is_refused)
{
	struct job job;
	exs_executor *ex = iterating(2);

	job_init(&job);
	exs_future *f = job_submit(ex, &job);
	expect_end(stream_of(f), EXS_FAILED);
	CHECK(exs_error_is(exs_stream_error(exs_future_value(f)), &exs_domain_exs, EXS_EINVAL));
	exs_future_unref(f);
	job_fini(&job);
	processes_end(ex);
}

/* --- messages --- */

TEST(process_items, messages_in_order)
{
	char text[16];

	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1});
	exs_future_unref(call(ex, "send many", "5000"));
	for (int i = 0; i < 5000; i++) {
		snprintf(text, sizeof(text), "%d", i);
		expect_message(text);
	}
	CHECK(!next_message());
	CHECK_INT(process_stats(ex).messages, 5000);
	processes_end(ex);
}

TEST(process_items, last_message_is_never_lost)
{
	unsigned n = 0, rounds = (unsigned)harness_rounds((unsigned long)harness_many(3000));

	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 2});
	for (unsigned i = 0; i < rounds; i++) {
		exs_future_unref(call(ex, "tell", "x"));
		expect_message("x");
		n += next_message() == NULL;
	}
	CHECK_INT(n, rounds);
	processes_end(ex);
}

TEST(process_items, messages_without_an_inbox)
{
	processes_begin();
	exs_executor *ex = exs_process_pool(&(exs_process_pool_options){.workers = 1});
	expect_text(call(ex, "tell", "nobody"), NULL);
	CHECK_INT(process_stats(ex).messages, 1);
	processes_end(ex);
}

TEST(process_items, messages_of_all_sizes)
{
	static const size_t sizes[] = {0, 1, 32767, 32768, 32769, 1 << 20, (1 << 20) + 1, 3 << 20};

	processes_begin();
	exs_messages *inbox = exs_messages_new();
	exs_executor *ex = exs_with_messages(exs_process_pool(&(exs_process_pool_options){.workers = 1}), inbox);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		exs_bytes *bytes = exs_bytes_new(sizes[i]), *message;
		if (sizes[i])
			memset(bytes->data, 'a' + (int)i, sizes[i]);
		exs_future_unref(exs_submit_invocation(ex, exs_invocation_of("tell", bytes), NULL));
		CHECK_INT(exs_messages_next(inbox, &message, EXS_FOREVER), EXS_ITEM);
		CHECK_INT(message->size, sizes[i]);
		CHECK(!sizes[i] || message->data[sizes[i] - 1] == 'a' + (int)i);
		exs_bytes_free(message);
		CHECK_INT(exs_messages_next(inbox, &message, EXS_FOREVER), EXS_EMPTY);
	}
	exs_executor_free(ex);
	exs_messages_free(inbox);
	processes_end(NULL);
}

TEST(process_items, what_is_refused_in_a_worker)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1, .max_size = 4096});
	expect_text(call(ex, "ask wrongly", ""), "1 1 1 1 1");
	CHECK(!next_message());
	CHECK_INT(process_stats(ex).scheduled, 0);
	CHECK_INT(process_stats(ex).died, 0);
	processes_end(ex);
}

/* --- scheduled --- */

TEST(process_items, tasks_that_schedule_tasks)
{
	unsigned n = 0;
	const char *text;

	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 2});
	exs_future_unref(call(ex, "grow", "6"));
	while ((text = next_message())) {
		CHECK_STR(text, "grown");
		n++;
	}
	CHECK_INT(n, 127);
	CHECK_INT(process_stats(ex).scheduled, 126);
	CHECK_INT(process_stats(ex).completed, 127);
	processes_end(ex);
}

/* They go through the whole chain. */
TEST(process_items, scheduled_through_the_chain)
{
	processes_begin();
	exs_executor *ex = heard(exs_with_retry(exs_process_pool(&(exs_process_pool_options){.workers = 1}),
						&(exs_retry_options){.max_attempts = 3, .sleep = EXS_NONE}));
	expect_text(call(ex, "schedule", "0 0 fail until third"), NULL);
	expect_message("1 of 3");
	expect_message("2 of 3");
	expect_message("3 of 3");
	CHECK(!next_message());
	processes_end(ex);
}

TEST(process_items, failure_of_a_scheduled_one_is_logged)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1});
	expect_text(call(ex, "schedule", "0 0 fail"), NULL);
	CHECK(!next_message());
	processes_end(ex);
	processes_begin();
	ex = processes((exs_process_pool_options){.workers = 1});
	expect_text(call(ex, "schedule", "0 0 fail strangely"), NULL);
	CHECK_INT(exs_process_pool_close(ex, EXS_CLOSE_JOIN, EXS_FOREVER), 0);
	CHECK_INT(log_lines("fail strangely, scheduled by a task, failed: strange 9: how strange"), 1);
	processes_end(ex);
}

TEST(process_items, scheduled_in_a_scope)
{
	unsigned n = 0;

	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 2});
	exs_scope *scope = exs_scope_new();
	exs_task task = {.fn = exs_invoke, .arg = exs_invocation_new("grow", "4", 1), .arg_free = exs_invocation_free};
	exs_future_unref(exs_scope_submit_with(scope, ex, &task));
	CHECK(!exs_scope_close(scope));
	CHECK_INT(process_stats(ex).completed, 31); /* all have ended */
	while (next_message())
		n++;
	CHECK_INT(n, 31);
	scope = exs_scope_new();
	task = (exs_task){.fn = exs_invoke,
			  .arg = exs_invocation_new("schedule", "0 0 fail", 8),
			  .arg_free = exs_invocation_free};
	exs_future_unref(exs_scope_submit_with(scope, ex, &task));
	exs_error *error = exs_scope_close(scope);
	CHECK(exs_error_is(error, &known_domain, -5));
	exs_error_unref(error);
	processes_end(ex);
}

/* Threads and processes below one queue: series 0 for threads, 1 for processes; its levels order what waits. */
TEST(process_items, scheduled_over_a_queue)
{
	static const unsigned threads[] = {0}, workers[] = {1};

	processes_begin();
	exs_messages *inbox = exs_messages_new();
	exs_executor *queue = exs_queue(&(exs_queue_options){.levels = 4, .series = 2});
	exs_executor *pool = exs_process_pool(&(exs_process_pool_options){.workers = 1});
	CHECK(exs_queue_attach(queue, exs_thread_pool(1), &(exs_attach_options){.series = threads, .n_series = 1}));
	CHECK(exs_queue_attach(queue, exs_borrow(pool), &(exs_attach_options){.series = workers, .n_series = 1}));
	exs_executor *ex = exs_with_messages(queue, inbox);
	static const char *const steps[][2] = {{"0 0 name", "a name in a thread"}, {"1 0 name", "a name in a worker"}};
	for (unsigned from = 0; from < 2; from++) {
		for (unsigned to = 0; to < 2; to++) {
			exs_bytes *message;
			exs_task task = {.series = from};
			exs_invocation *inv = exs_invocation_new("schedule", steps[to][0], strlen(steps[to][0]));
			exs_future_unref(exs_submit_invocation(ex, inv, &task));
			CHECK_INT(exs_messages_next(inbox, &message, EXS_FOREVER), EXS_ITEM);
			CHECK_INT(message->size, strlen(steps[to][1]));
			CHECK(!memcmp(message->data, steps[to][1], message->size));
			exs_bytes_free(message);
			CHECK_INT(exs_messages_next(inbox, &message, EXS_FOREVER), EXS_EMPTY);
		}
	}
	CHECK_INT(process_stats(pool).completed, 4);
	exs_executor_free(ex);
	exs_executor_free(pool);
	exs_messages_free(inbox);
	processes_end(NULL);
}

TEST(process_items, priorities_of_a_queue)
{
	static const char *const texts[] = {"later", "urgent", "middle"};
	static const int priorities[] = {1, -2, 0};
	static const char *const order[] = {"urgent", "middle", "later"};

	processes_begin();
	const char *path = gate();
	exs_executor *queue = exs_queue(&(exs_queue_options){.levels = 4});
	CHECK(exs_queue_attach(queue, exs_process_pool(&(exs_process_pool_options){.workers = 1}), NULL));
	queue = heard(queue);
	exs_future *f = call(queue, "gate", path);
	expect_message("entered");
	for (int i = 0; i < 3; i++) {
		exs_task task = {.priority = priorities[i]};
		exs_invocation *inv = exs_invocation_new("tell", texts[i], strlen(texts[i]));
		exs_future_unref(exs_submit_invocation(queue, inv, &task));
	}
	gate_open(1);
	for (int i = 0; i < 3; i++)
		expect_message(order[i]);
	expect_text(f, "open, cause 0");
	processes_end(queue);
}
