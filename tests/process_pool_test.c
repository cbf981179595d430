/* Process pool: results and errors, how workers die, and what is told of it. */
#define _GNU_SOURCE
#include "process_functions.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- results --- */

TEST(process_pool, results_of_no_bytes_and_few)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1});

	exs_future *f = call(ex, "nothing", "");
	wait_done(f);
	CHECK_INT(exs_future_state(f), EXS_STATE_VALUE);
	CHECK(!exs_future_value(f));
	exs_future_unref(f);
	f = call(ex, "echo", "");
	wait_done(f);
	CHECK(exs_future_value(f)); /* bytes, though none */
	CHECK_INT(((exs_bytes *)exs_future_value(f))->size, 0);
	exs_future_unref(f);
	expect_text(call(ex, "echo", "1"), "1");
	expect_text(call(ex, "echo", "hello"), "hello");
	CHECK_INT(process_stats(ex).spawned, 1);
	processes_end(ex);
}

/* Both ways. */
static void check_size(exs_executor *ex, size_t size)
{
	unsigned char *data = malloc(size ? size : 1);
	char text[64];

	for (size_t i = 0; i < size; i++)
		data[i] = (unsigned char)i;
	exs_future *f = call_bytes(ex, "check", data, size);
	snprintf(text, sizeof(text), "%zu right", size);
	expect_text(f, text);
	snprintf(text, sizeof(text), "%zu", size);
	f = call(ex, "make", text);
	wait_done(f);
	const exs_bytes *bytes = exs_future_value(f);
	CHECK(bytes);
	CHECK_INT(bytes->size, size);
	CHECK(!size || !memcmp(bytes->data, data, size));
	exs_future_unref(f);
	free(data);
}

static const size_t sizes[] = {0,
			       1,
			       (32 << 10) - 1,
			       32 << 10,
			       (32 << 10) + 1,
			       (64 << 10) - 1,
			       (64 << 10) + 1,
			       (1 << 20) - 1,
			       1 << 20,
			       (1 << 20) + 1,
			       5 << 20};

TEST(process_pool, results_of_all_sizes)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1});

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		check_size(ex, sizes[i]);
	CHECK_INT(process_stats(ex).spawned, 1);
	CHECK_INT(process_stats(ex).died, 0);
	processes_end(ex);
}

TEST(process_pool, sizes_over_the_limit)
{
	static char much[1001];

	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1, .max_size = 1000});
	expect_failure(call_bytes(ex, "echo", much, 1001), &exs_domain_exs, EXS_EINVAL,
		       "process_pool: the input has 1001 bytes: at most 1000 (max_size)");
	expect_failure(call(ex, "make", "1001"), &exs_domain_exs, EXS_EINVAL,
		       "a result of 1001 bytes: at most 1000 (max_size)");
	exs_future *f = call_bytes(ex, "echo", much, 1000);
	wait_done(f);
	CHECK_INT(((exs_bytes *)exs_future_value(f))->size, 1000);
	exs_future_unref(f);
	CHECK_INT(process_stats(ex).spawned, 1);
	CHECK_INT(process_stats(ex).died, 0);
	processes_end(ex);
}

/* An error, a name, the chain's head are no payload of the caller's: they pass though max_size is less. */
TEST(process_pool, max_size_of_one_byte)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1, .max_size = 1});
	expect_text(call(ex, "echo", "1"), "1");
	expect_failure(call(ex, "fail", "x"), &known_domain, -5, "x");
	expect_failure(call(ex, "echo", "12"), &exs_domain_exs, EXS_EINVAL, "max_size");
	expect_failure(call(ex, "pid", ""), &exs_domain_exs, EXS_EINVAL, "max_size");
	CHECK_INT(process_stats(ex).malformed, 0);
	processes_end(ex);
}

/* --- errors --- */

TEST(process_pool, plain_task_is_refused)
{
	struct job job;

	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1});
	job_init(&job);
	expect_failure(job_submit(ex, &job), &exs_domain_exs, EXS_EINVAL,
		       "process_pool: it runs registered functions alone: submit with exs_submit_function");
	job_fini(&job);
	CHECK_INT(job.starts, 0);
	CHECK_INT(process_stats(ex).spawned, 0);
	processes_end(ex);
}

TEST(process_pool, errors_travel)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1});
	exs_future *f = call(ex, "fail", "it failed");
	wait_done(f);
	const exs_error *error = exs_future_error(f);
	CHECK(exs_error_is(error, &known_domain, -5));
	CHECK_STR(exs_error_message(error), "it failed");
	CHECK(exs_error_retry_after(error) == 2.5);
	CHECK(exs_error_backtrace(error));
	CHECK(strchr(exs_error_backtrace(error), '\n'));
	exs_future_unref(f);
	f = call(ex, "fail strangely", "");
	wait_done(f);
	error = exs_future_error(f);
	CHECK(exs_error_is(error, &exs_domain_remote, 9));
	CHECK_STR(exs_error_message(error), "strange 9: how strange");
	CHECK(exs_error_retry_after(error) < 0);
	exs_future_unref(f);
	f = call(ex, "fail all", "");
	wait_done(f);
	error = exs_future_error(f);
	CHECK(exs_error_is(error, &exs_domain_exs, EXS_EALL));
	CHECK_INT(exs_error_count(error), 2);
	CHECK(exs_error_is(exs_error_of(error, 1), &known_domain, 1));
	CHECK_STR(exs_error_message(exs_error_of(error, 1)), "number 1");
	exs_future_unref(f);
	processes_end(ex);
}

TEST(process_pool, wrong_functions)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1});
	expect_failure(call(ex, "no such", ""), &exs_domain_exs, EXS_EINVAL,
		       "\"no such\" is not registered in this process");
	expect_failure(call(ex, "no bytes", ""), &exs_domain_exs, EXS_EINVAL,
		       "no bytes: the value of a registered function must be exs_ok_bytes, or NULL");
	expect_failure(call(ex, "", ""), &exs_domain_exs, EXS_EINVAL, "exs_submit_function");
	expect_cancelled(call(ex, "give up", ""), EXS_CAUSE_NONE);
	CHECK_INT(process_stats(ex).spawned, 1);
	processes_end(ex);
}

TEST(process_pool, chain_of_functions)
{
	exs_invocation_step steps[] = {{.function = "echo", .input = "hello", .size = 5}, {.function = "shout"}};
	exs_invocation_step wrong[] = {{.function = "echo"}, {.function = "fail", .input = "no", .size = 2}};
	exs_invocation_step deadly[] = {{.function = "die", .input = "9", .size = 1}, {.function = "shout"}};

	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1});
	expect_text(exs_submit_invocation(ex, exs_invocation_chain(steps, 2), NULL), "HELLO");
	expect_failure(exs_submit_invocation(ex, exs_invocation_chain(wrong, 2), NULL), &known_domain, -5,
		       "step 2 of 2 (fail): no");
	expect_failure(exs_submit_invocation(ex, exs_invocation_chain(deadly, 2), NULL), &exs_domain_signal, SIGKILL,
		       "while it ran \"die\"");
	processes_end(ex);
}

/* --- deaths --- */

TEST(process_pool, death_by_signal)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1});
	exs_future *f = call(ex, "die", "9 first line\nlast line\n");
	wait_done(f);
	const exs_error *error = exs_future_error(f);
	CHECK(exs_error_is(error, &exs_domain_signal, SIGKILL));
	CHECK(strstr(exs_error_message(error), "worker 1 (pid "));
	CHECK(strstr(exs_error_message(error),
		     ") died by signal 9 (Killed) while it ran \"die\"; it last wrote:\nfirst line\nlast line"));
	exs_future_unref(f);
	expect_failure(call(ex, "die", "15 without an end"), &exs_domain_signal, SIGTERM,
		       "it last wrote:\nwithout an end");
	expect_failure(call(ex, "die", "9"), &exs_domain_signal, SIGKILL, "while it ran \"die\"");
	expect_text(call(ex, "echo", "alive"), "alive");
	exs_process_pool_stats stats = process_stats(ex);
	CHECK_INT(stats.spawned, 4);
	CHECK_INT(stats.died, 3);
	CHECK_INT(stats.started, 4);
	CHECK_INT(stats.completed, 1);
	CHECK_INT(log_lines("worker 1: first line"), 1);
	CHECK_INT(log_lines("worker 2: without an end"), 1);
	processes_end(ex);
}

TEST(process_pool, death_tells_the_last_4_kib)
{
	static char text[9000];

	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1});
	strcpy(text, "9 ");
	for (int i = 0; i < 400; i++)
		sprintf(text + strlen(text), "this is line %d\n", i);
	exs_future *f = call(ex, "die", text);
	wait_done(f);
	const char *message = exs_error_message(exs_future_error(f));
	CHECK(strstr(message, "this is line 399"));
	CHECK(strstr(message, "it last wrote:\nthis is line "));
	CHECK(!strstr(message, "this is line 0\n"));
	CHECK(strlen(message) < 4096 + 200);
	CHECK(strlen(message) > 4000);
	exs_future_unref(f);
	processes_end(ex);
}

TEST(process_pool, crash_tells_its_backtrace)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1});
	expect_failure(call(ex, "die", "6"), &exs_domain_signal, SIGABRT, "signal 6 (Aborted)");
	processes_end(ex);
}

TEST(process_pool, death_by_exit)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1});
	expect_failure(call(ex, "leave", "3"), &exs_domain_exit, 3, "ended with status 3 while it ran \"leave\"");
	expect_failure(call(ex, "leave", "0"), &exs_domain_exit, 0, "ended with status 0");
	processes_end(ex);
}

/* Nobody has waited for it: the system has forgotten how it ended. */
TEST(process_pool, death_that_is_not_known)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1});
	signal(SIGCHLD, SIG_IGN);
	expect_failure(call(ex, "leave", "3"), &exs_domain_exit, -1, "how is not known");
	signal(SIGCHLD, SIG_DFL);
	expect_text(call(ex, "echo", "x"), "x");
	processes_end(ex);
}

static void die_in_others_expecting(const char *last, unsigned retries, unsigned messages)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1, .death_retries = retries});
	exs_future *f = call(ex, "die in others", last);

	for (unsigned i = 0; i < messages; i++) {
		char number[16];
		snprintf(number, sizeof(number), "%u", i + 1);
		expect_message(number);
	}
	CHECK(!next_message());
	if ((unsigned)atoi(last) == messages)
		expect_text(f, last);
	else
		expect_failure(f, &exs_domain_signal, SIGKILL, "died by signal 9");
	CHECK_INT(process_stats(ex).restarted, messages - 1);
	CHECK_INT(process_stats(ex).spawned, messages);
	processes_end(ex);
}

TEST(process_pool, death_retries)
{
	die_in_others_expecting("3", 2, 3);
	die_in_others_expecting("4", 2, 3);
	die_in_others_expecting("2", EXS_NONE, 1);
	die_in_others_expecting("5", EXS_UNLIMITED, 5);
}

static bool one_has_died(void *ex)
{
	return process_stats(ex).died == 1;
}

TEST(process_pool, idle_worker_that_dies_is_replaced)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1});
	pid_t pid = atoi(text_of(call(ex, "pid", "")));

	kill(pid, SIGKILL);
	wait_until(one_has_died, ex);
	CHECK_INT(process_stats(ex).workers, 0);
	expect_text(call(ex, "echo", "x"), "x");
	processes_end(ex);
}

/* What goes on when its task has ended speaks for nobody: not for the next task. */
TEST(process_pool, task_that_leaves_something_behind)
{
	char text[64];

	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1});
	expect_text(call(ex, "leave behind", ""), NULL);
	expect_message("in time");
	snprintf(text, sizeof(text), "%d %d %d", EXS_ECANCELLED, EXS_ECANCELLED, EXS_ECANCELLED);
	expect_text(call(ex, "say late", ""), text);
	expect_message("of the next");
	CHECK(!next_message());
	CHECK_INT(process_stats(ex).scheduled, 0);
	processes_end(ex);
}

/* --- under other layers --- */

TEST(process_pool, retry_above)
{
	processes_begin();
	exs_executor *ex = exs_with_retry(processes((exs_process_pool_options){.workers = 1}),
					  &(exs_retry_options){.max_attempts = 4, .sleep = EXS_NONE});
	expect_text(call(ex, "fail until third", ""), "3 of 4");
	expect_message("1 of 4");
	expect_message("2 of 4");
	expect_message("3 of 4");
	CHECK(!next_message());
	expect_text(call(ex, "context", ""), "1 of 4, context, cause 0, no deadline");
	expect_failure(call(ex, "die", "9"), &exs_domain_signal, SIGKILL, "died");
	CHECK_INT(process_stats(ex).died, 4);
	processes_end(ex);
}

TEST(process_pool, name_and_place)
{
	exs_task named = {.name = "a name"};
	char text[100];

	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 3, .name = "workers"});
	expect_text(exs_submit_invocation(ex, exs_invocation_new("context", NULL, 0), &named),
		    "1 of 1, a name, cause 0, no deadline");
	exs_describe(ex, text, sizeof(text));
	CHECK_STR(text, "messages > process_pool(3)");
	CHECK_STR(exs_executor_name(ex), "workers");
	processes_end(ex);
	processes_begin();
	ex = exs_with_name(exs_process_pool(NULL), "mine");
	CHECK_STR(exs_executor_name(ex), "mine");
	expect_text(call(ex, "echo", "x"), "x");
	processes_end(ex);
}

TEST(process_pool, timeout_above)
{
	for (int abandon = 0; abandon < 2; abandon++) {
		processes_begin();
		exs_executor *ex = processes((exs_process_pool_options){.workers = 1});
		exs_clock *clock = exs_clock_manual_new();
		ex = exs_with_timeout_mode(exs_with_clock(ex, clock), 50, abandon ? EXS_ABANDON : EXS_WAIT);
		double left = atof(text_of(call(ex, "time left", "")));
		CHECK(left > 0 && left <= 50);
		exs_future *f = call(ex, "sleep", "");
		expect_message("entered");
		wait_next(clock, 50);
		advance(clock, 50);
		expect_messages("told", "slept 13, cause 2"); /* by two threads */
		expect_failure(f, &exs_domain_exs, EXS_ETIMEDOUT, "");
		expect_text(call(ex, "echo", "x"), "x");
		CHECK_INT(process_stats(ex).died, 0);
		processes_end(ex);
		exs_clock_unref(clock);
	}
}

/* In real time: the worker's own clock. */
TEST(process_pool, deadline_in_the_worker)
{
	processes_begin();
	exs_executor *ex = exs_with_timeout(processes((exs_process_pool_options){.workers = 1}), 1000);
	double left = atof(text_of(call(ex, "time left", "")));

	CHECK(left > 500 && left <= 1000);
	expect_text(call(ex, "context", ""), "1 of 1, context, cause 0, deadline");
	processes_end(ex);
}

/* --- cancel --- */

TEST(process_pool, cancel_of_one_that_waits)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1});
	exs_future *f = call(ex, "gate", gate());
	expect_message("entered");
	exs_future *queued = call(ex, "tell", "never");
	CHECK_INT(process_stats(ex).queued, 1);
	CHECK_INT(exs_future_cancel(queued), EXS_CANCELLED);
	expect_cancelled(queued, EXS_CAUSE_USER);
	CHECK_INT(process_stats(ex).queued, 0);
	gate_open(1);
	expect_text(f, "open, cause 0");
	CHECK(!next_message());
	CHECK_INT(process_stats(ex).started, 1);
	processes_end(ex);
}

TEST(process_pool, cancel_of_one_that_runs)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1});
	exs_future *f = call(ex, "sleep", "");
	expect_message("entered");
	CHECK_INT(exs_future_state(f), EXS_STATE_RUNNING);
	cancel_running(f);
	expect_messages("told", "slept 13, cause 1"); /* by two threads */
	expect_cancelled(f, EXS_CAUSE_USER);
	CHECK_INT(process_stats(ex).died, 0);
	expect_text(call(ex, "context", ""), "1 of 1, context, cause 0, no deadline");
	processes_end(ex);
}

TEST(process_pool, cancel_of_one_that_ignores_it)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1});
	exs_future *f = call(ex, "gate", gate());
	expect_message("entered");
	CHECK_INT(exs_future_cancel(f), EXS_STOP_REQUESTED);
	CHECK_INT(exs_future_cancel(f), EXS_STOP_REQUESTED);
	gate_open(1);
	wait_done(f);
	const char *text = text_of(f);
	CHECK(!strcmp(text, "open, cause 1") || !strcmp(text, "open, cause 0")); /* the two ways are not in order */
	processes_end(ex);
}
