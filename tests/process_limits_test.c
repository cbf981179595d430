/* Process pool: limits of its workers, how many there are, and what each runs once (updates). */
#define _GNU_SOURCE
#include "process_functions.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Present under these only. */
void __asan_init(void) __attribute__((weak));
void __tsan_init(void) __attribute__((weak));

/* --- how many --- */

TEST(process_limits, renewed_after_so_many_tasks)
{
	char pids[5][32];

	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1, .tasks = 2});
	for (int i = 0; i < 5; i++)
		snprintf(pids[i], sizeof(*pids), "%s", text_of(call(ex, "pid", "")));
	CHECK_STR(pids[0], pids[1]);
	CHECK(strcmp(pids[1], pids[2]) != 0);
	CHECK_STR(pids[2], pids[3]);
	CHECK(strcmp(pids[3], pids[4]) != 0);
	exs_process_pool_stats stats = process_stats(ex);
	CHECK_INT(stats.renewed, 2);
	CHECK_INT(stats.died, 0);
	CHECK_INT(stats.spawned, 3);
	processes_end(ex);
}

static bool two_are_left(void *ex)
{
	return process_stats(ex).workers == 2;
}

TEST(process_limits, idle_workers_end)
{
	exs_future *f[4];

	processes_begin();
	const char *path = gate();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 4, .min_workers = 2, .idle_seconds = 0.001});
	wait_until(two_are_left, ex);
	for (int i = 0; i < 4; i++)
		f[i] = call(ex, "gate", path);
	for (int i = 0; i < 4; i++)
		expect_message("entered");
	CHECK_INT(process_stats(ex).workers, 4);
	gate_open(4);
	for (int i = 0; i < 4; i++)
		expect_text(f[i], "open, cause 0");
	wait_until(two_are_left, ex);
	give_time();
	exs_process_pool_stats stats = process_stats(ex);
	CHECK_INT(stats.workers, 2);
	CHECK_INT(stats.retired, 2);
	CHECK_INT(stats.died, 0);
	expect_text(call(ex, "echo", "x"), "x");
	processes_end(ex);
}

static bool none_is_left(void *ex)
{
	return process_stats(ex).workers == 0 && exs_process_pool_workers(ex, NULL, 0) == 0;
}

TEST(process_limits, idle_workers_end_at_once)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 2, .idle_seconds = EXS_NONE});
	for (int i = 0; i < 3; i++) {
		expect_text(call(ex, "echo", "x"), "x");
		wait_until(none_is_left, ex);
	}
	CHECK_INT(process_stats(ex).died, 0);
	CHECK_INT(process_stats(ex).retired, process_stats(ex).spawned);
	processes_end(ex);
}

static bool three_are_idle(void *ex)
{
	return process_stats(ex).idle == 3;
}

TEST(process_limits, min_workers_are_there_at_once)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 5, .min_workers = 3});
	wait_until(three_are_idle, ex);
	CHECK_INT(process_stats(ex).spawned, 3);
	exs_process_worker w[3];
	CHECK_INT(exs_process_pool_workers(ex, w, 3), 3);
	kill((pid_t)w[1].pid, SIGKILL);
	while (process_stats(ex).died < 1)
		let_others_go_on();
	wait_until(three_are_idle, ex);
	CHECK_INT(process_stats(ex).spawned, 4);
	processes_end(ex);
}

/* --- time --- */

TEST(process_limits, task_seconds)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){
		.workers = 1, .task_seconds = 0.05, .stop_seconds = 1000, .death_retries = 5});
	expect_failure(call(ex, "heed TERM", ""), &exs_domain_exs, EXS_ETIMEDOUT,
		       "it ran for more than 0.05 s (task_seconds): worker 1 (pid ");
	exs_future *f = call(ex, "spin", "");
	wait_done(f);
	const char *text = exs_error_message(exs_future_error(f));
	CHECK(strstr(text, "died by signal 15 (Terminated) while it ran \"spin\""));
	exs_future_unref(f);
	exs_process_pool_stats stats = process_stats(ex);
	CHECK_INT(stats.overdue, 2);
	CHECK_INT(stats.restarted, 0);
	processes_end(ex);
}

/* It takes tasks as before. On a busy machine the first may be overdue as well. */
static void expect_service(exs_executor *ex)
{
	bool overdue;

	do {
		exs_future *f = call(ex, "echo", "x");
		wait_done(f);
		overdue = exs_error_is(exs_future_error(f), &exs_domain_exs, EXS_ETIMEDOUT);
		if (overdue)
			exs_future_unref(f);
		else
			expect_text(f, "x");
	} while (overdue);
}

/* In each worker before its first task: it can't be asked to end too early. */
static void hold_term(exs_executor *ex)
{
	expect_value(exs_process_pool_update(ex, exs_invocation_new("hold TERM", NULL, 0), false), NULL);
}

TEST(process_limits, task_seconds_of_one_that_ignores_the_request)
{
	static const double stops[] = {0.05, EXS_NONE};

	for (int i = 0; i < 2; i++) {
		processes_begin();
		exs_executor *ex = processes(
			(exs_process_pool_options){.workers = 1, .task_seconds = 0.05, .stop_seconds = stops[i]});
		hold_term(ex);
		expect_failure(call(ex, "ignore TERM", ""), &exs_domain_exs, EXS_ETIMEDOUT, "died by signal 9");
		expect_service(ex);
		processes_end(ex);
	}
}

/* What it answers counts; it ends all the same, and at once. */
TEST(process_limits, task_seconds_of_one_that_answers_then)
{
	processes_begin();
	exs_executor *ex =
		processes((exs_process_pool_options){.workers = 1, .task_seconds = 0.05, .stop_seconds = 1000});
	hold_term(ex);
	expect_text(call(ex, "outlive TERM", ""), "late");
	expect_service(ex);
	exs_process_pool_stats stats = process_stats(ex);
	CHECK(stats.overdue >= 1);
	CHECK_INT(stats.spawned, 1 + stats.overdue);
	processes_end(ex);
}

/* Its time is its own. */
TEST(process_limits, task_seconds_begin_anew)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1, .task_seconds = 1000});
	for (int i = 0; i < 3; i++)
		expect_text(call(ex, "echo", "x"), "x");
	CHECK_INT(process_stats(ex).overdue, 0);
	processes_end(ex);
}

TEST(process_limits, cpu_seconds)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1, .cpu_seconds = 0.5});
	expect_failure(call(ex, "spin", ""), &exs_domain_signal, SIGXCPU, "while it ran \"spin\"");
	processes_end(ex);
}

/* --- asked to stop --- */

/* Of a task that does not, once it has been asked. */
static void cancel_heedless(const char *function, exs_process_pool_options options)
{
	processes_begin();
	options.workers = 1;
	options.death_retries = 5;
	exs_executor *ex = processes(options);
	exs_future *f = call(ex, function, "");
	expect_message("entered");
	cancel_running(f);
	expect_cancelled(f, EXS_CAUSE_USER);
	expect_text(call(ex, "echo", "x"), "x");
	exs_process_pool_stats stats = process_stats(ex);
	CHECK_INT(stats.overdue, 1);
	CHECK_INT(stats.restarted, 0);
	CHECK_INT(stats.died, 0);
	CHECK_INT(stats.spawned, 2);
	processes_end(ex);
}

TEST(process_limits, cancel_seconds)
{
	cancel_heedless("spin", (exs_process_pool_options){.cancel_seconds = 0.05, .stop_seconds = 1000});
	cancel_heedless("heed TERM", (exs_process_pool_options){.cancel_seconds = EXS_NONE, .stop_seconds = 1000});
	cancel_heedless("ignore TERM", (exs_process_pool_options){.cancel_seconds = 0.05, .stop_seconds = 0.05});
	cancel_heedless("ignore TERM",
			(exs_process_pool_options){.cancel_seconds = EXS_NONE, .stop_seconds = EXS_NONE});
	cancel_heedless("spin", (exs_process_pool_options){.cancel_seconds = 0.05, .task_seconds = 1000});
}

/* Whichever comes first. */
TEST(process_limits, task_seconds_before_cancel_seconds)
{
	processes_begin();
	exs_executor *ex =
		processes((exs_process_pool_options){.workers = 1, .task_seconds = 0.1, .cancel_seconds = 1000});
	exs_future *f = call(ex, "spin", "");
	expect_message("entered");
	exs_future_cancel(f);
	expect_failure(f, &exs_domain_exs, EXS_ETIMEDOUT, "task_seconds");
	processes_end(ex);
}

/* The release waits for it, but not for ever. */
TEST(process_limits, cancel_seconds_at_a_shutdown)
{
	processes_begin();
	exs_executor *ex =
		processes((exs_process_pool_options){.workers = 1, .cancel_seconds = 0.05, .stop_seconds = EXS_NONE});
	exs_future *f = call(ex, "ignore TERM", "");
	expect_message("entered");
	CHECK_INT(exs_shutdown(ex, EXS_CANCEL_ALL, EXS_FOREVER), 0);
	expect_cancelled(f, EXS_CAUSE_SHUTDOWN);
	processes_end(ex);
}

/* Those that heed it, or that are not asked, are left alone. */
TEST(process_limits, cancel_seconds_of_one_that_stops)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1, .cancel_seconds = 1000});
	const char *pid = text_of(call(ex, "pid", ""));
	char before[32];
	snprintf(before, sizeof(before), "%s", pid);
	exs_future *f = call(ex, "sleep", "");
	expect_message("entered");
	cancel_running(f);
	expect_cancelled(f, EXS_CAUSE_USER);
	CHECK_STR(text_of(call(ex, "pid", "")), before);
	CHECK_INT(process_stats(ex).overdue, 0);
	processes_end(ex);
}

/* --- memory, and the rest --- */

TEST(process_limits, memory)
{
	if (__asan_init || __tsan_init) /* whose shadow is larger than any limit */
		return;
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1, .memory = (size_t)512 << 20});
	expect_text(call(ex, "memory", "100000000"), "there is");
	expect_text(call(ex, "memory", "600000000"), "there is not");
	expect_failure(call(ex, "make", "600000000"), &exs_domain_exs, EXS_ENOMEM, "");
	expect_text(call(ex, "echo", "x"), "x");
	CHECK_INT(process_stats(ex).died, 0);
	processes_end(ex);
}

TEST(process_limits, restricted)
{
	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1, .restricted = true});
	expect_text(call(ex, "limits", ""), "privileges 1, core 0, files 64, size 0, processes 0, variables none");
	CHECK_INT(process_stats(ex).died, 0);
	processes_end(ex);
	processes_begin();
	ex = processes((exs_process_pool_options){.workers = 1});
	const char *text = text_of(call(ex, "limits", ""));
	CHECK(strstr(text, "privileges 0") && strstr(text, "variables some"));
	processes_end(ex);
}

/* Files of memory are files, too: their bytes go another way. */
TEST(process_limits, large_results_of_a_restricted_worker)
{
	enum { SIZE = 5 << 20 };

	processes_begin();
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1, .restricted = true});
	exs_future *f = call(ex, "make", "5242880");
	wait_done(f);
	const exs_bytes *bytes = exs_future_value(f);
	CHECK(bytes);
	CHECK_INT(bytes->size, SIZE);
	exs_bytes *copy = exs_bytes_copy(bytes->data, bytes->size);
	exs_future_unref(f);
	expect_text(exs_submit_invocation(ex, exs_invocation_of("check", copy), NULL), "5242880 right");
	CHECK_INT(process_stats(ex).died, 0);
	processes_end(ex);
}

TEST(process_limits, restricted_worker_that_writes_a_file)
{
	char input[200];

	processes_begin();
	snprintf(input, sizeof(input), "%s text", new_path());
	exs_executor *ex = processes((exs_process_pool_options){.workers = 1, .restricted = true});
	expect_failure(call(ex, "append", input), &exs_domain_signal, SIGXFSZ, "while it ran \"append\"");
	processes_end(ex);
}

/* --- updates --- */

static char said[64], input[100];

static exs_executor *updated(exs_process_pool_options options)
{
	processes_begin();
	snprintf(said, sizeof(said), "%s", new_path());
	return processes(options);
}

static exs_future *update(exs_executor *ex, const char *text, bool ephemeral)
{
	snprintf(input, sizeof(input), "%s %s", said, text);
	exs_future *f = exs_process_pool_update(ex, exs_invocation_new("append", input, strlen(input)), ephemeral);
	CHECK(f);
	return f;
}

TEST(process_limits, update_of_all_workers)
{
	exs_executor *ex = updated((exs_process_pool_options){.workers = 3, .min_workers = 3});

	wait_until(three_are_idle, ex);
	expect_value(update(ex, "a", false), NULL);
	const char *text = content(said);
	CHECK_INT(strlen(text), 12);
	CHECK(strstr(text, "a 1;") && strstr(text, "a 2;") && strstr(text, "a 3;"));
	CHECK_INT(process_stats(ex).started, 0); /* they are no tasks */
	CHECK_INT(process_stats(ex).completed, 0);
	processes_end(ex);
}

TEST(process_limits, update_of_workers_that_begin)
{
	exs_executor *ex = updated((exs_process_pool_options){.workers = 2, .min_workers = 2});

	expect_value(update(ex, "a", false), NULL);
	CHECK_INT(strlen(content(said)) % 4, 0);
	wait_until(two_are_left, ex);
	exs_process_pool_close(ex, EXS_CLOSE_JOIN, EXS_FOREVER);
	processes_end(ex);
}

TEST(process_limits, update_before_the_next_task)
{
	exs_executor *ex = updated((exs_process_pool_options){.workers = 1});

	const char *path = gate();
	exs_future *f = call(ex, "gate", path);
	expect_message("entered");
	exs_future *a = update(ex, "a", false), *b = update(ex, "b", true);
	snprintf(input, sizeof(input), "%s task", said);
	exs_future *task = call(ex, "append", input);
	CHECK(!exs_future_is_done(a));
	gate_open(1);
	expect_text(f, "open, cause 0");
	expect_text(task, NULL);
	expect_value(a, NULL);
	expect_value(b, NULL);
	CHECK_STR(content(said), "a 1;b 1;task 1;");
	processes_end(ex);
}

TEST(process_limits, update_of_later_workers)
{
	exs_executor *ex = updated((exs_process_pool_options){.workers = 1, .tasks = 1});

	expect_value(update(ex, "early", false), NULL); /* there is none */
	expect_value(update(ex, "ephemeral", true), NULL);
	CHECK_STR(content(said), "");
	snprintf(input, sizeof(input), "%s task", said);
	expect_text(call(ex, "append", input), NULL);
	expect_text(call(ex, "append", input), NULL);
	CHECK_STR(content(said), "early 1;task 1;early 2;task 2;");
	expect_value(update(ex, "second", false), NULL);
	snprintf(input, sizeof(input), "%s task", said);
	expect_text(call(ex, "append", input), NULL);
	CHECK_STR(content(said), "early 1;task 1;early 2;task 2;early 3;second 3;task 3;");
	processes_end(ex);
}

TEST(process_limits, update_that_fails)
{
	exs_executor *ex = updated((exs_process_pool_options){.workers = 1, .min_workers = 1});

	expect_text(call(ex, "echo", "x"), "x");
	exs_future *f = exs_process_pool_update(ex, exs_invocation_new("fail", "no", 2), false);
	expect_failure(f, &known_domain, -5, "no");
	expect_text(call(ex, "echo", "x"), "x"); /* it keeps nobody from its tasks */
	expect_failure(exs_process_pool_update(ex, exs_invocation_new("give up", NULL, 0), false), &exs_domain_exs,
		       EXS_ECANCELLED, "");
	expect_failure(exs_process_pool_update(ex, exs_invocation_new("no such", NULL, 0), true), &exs_domain_exs,
		       EXS_EINVAL, "not registered");
	CHECK_INT(process_stats(ex).died, 0);
	processes_end(ex);
}

TEST(process_limits, update_that_fails_in_several)
{
	exs_executor *ex = updated((exs_process_pool_options){.workers = 3, .min_workers = 3});

	wait_until(three_are_idle, ex);
	expect_failure(exs_process_pool_update(ex, exs_invocation_new("fail", "no", 2), false), &known_domain, -5,
		       "no");
	processes_end(ex);
}

TEST(process_limits, update_that_schedules)
{
	exs_executor *ex = updated((exs_process_pool_options){.workers = 1, .min_workers = 1});

	expect_text(call(ex, "echo", "x"), "x");
	expect_value(exs_process_pool_update(ex, exs_invocation_new("schedule", "0 0 echo", 8), true), NULL);
	expect_text(call(ex, "echo", "x"), "x"); /* by now it has been heard */
	CHECK_INT(process_stats(ex).scheduled, 0);
	processes_end(ex);
}

TEST(process_limits, worker_that_dies_in_an_update)
{
	exs_executor *ex = updated((exs_process_pool_options){.workers = 1, .min_workers = 1});

	expect_text(call(ex, "echo", "x"), "x");
	expect_failure(exs_process_pool_update(ex, exs_invocation_new("die", "9", 1), true), &exs_domain_signal,
		       SIGKILL, "died by signal 9");
	expect_text(call(ex, "echo", "x"), "x");
	CHECK_INT(process_stats(ex).spawned, 2);
	processes_end(ex);
}

/* It waits for one that has gone no more. */
TEST(process_limits, worker_that_dies_before_an_update)
{
	exs_executor *ex = updated((exs_process_pool_options){.workers = 1});

	exs_future *f = call(ex, "ignore TERM", "");
	expect_message("entered");
	exs_future *u = update(ex, "a", false);
	exs_process_worker w;
	CHECK_INT(exs_process_pool_workers(ex, &w, 1), 1);
	kill((pid_t)w.pid, SIGKILL);
	expect_failure(f, &exs_domain_signal, SIGKILL, "");
	expect_value(u, NULL);
	CHECK_STR(content(said), "");
	expect_text(call(ex, "echo", "x"), "x");
	CHECK_STR(content(said), "a 2;");
	processes_end(ex);
}

TEST(process_limits, update_in_a_pool_that_is_released)
{
	exs_executor *ex = updated((exs_process_pool_options){.workers = 1});

	const char *path = gate();
	exs_future *f = call(ex, "gate", path);
	expect_message("entered");
	exs_future *u = update(ex, "a", false);
	CHECK_INT(exs_future_cancel(u), EXS_CANCELLED);
	exs_future_unref(u);
	u = update(ex, "b", false);
	gate_open(1);
	exs_executor_free(ex);
	expect_text(f, "open, cause 0");
	wait_done(u); /* it ran, or had to be dropped */
	exs_future_unref(u);
	processes_end(NULL);
}

TEST(process_limits, update_of_what_is_no_process_pool)
{
	exs_executor *threads = exs_thread_pool(1);
	exs_executor *ex = updated((exs_process_pool_options){.workers = 1});

	expect_failure(update(threads, "a", false), &exs_domain_exs, EXS_EINVAL,
		       "exs_process_pool_update: no process pool at the bottom of the chain");
	expect_failure(update(NULL, "a", false), &exs_domain_exs, EXS_EINVAL, "no process pool");
	expect_failure(exs_process_pool_update(ex, NULL, false), &exs_domain_exs, EXS_EINVAL, "invocation is NULL");
	exs_executor_free(threads);
	processes_end(ex);
}
