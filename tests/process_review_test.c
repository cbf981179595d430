/* Worker processes: what a review found. The program is its own worker; an argument makes it a worker that cheats. */
#define _GNU_SOURCE
#include "harness.h"
#include "process/channel.h"
#include "process/spawn.h"

#include <executors/executors.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- the worker --- */

static exs_result echo(const exs_bytes *in, exs_context *ctx)
{
	(void)ctx;
	return exs_ok_copy(in->data, in->size);
}

/* Answers the descriptors that a program sees which the function starts. */
static exs_result descriptors(const exs_bytes *in, exs_context *ctx)
{
	char text[256] = "";
	FILE *f = popen("ls /proc/self/fd | tr '\\n' ' '", "r");

	(void)in, (void)ctx;
	if (f && !fgets(text, sizeof(text), f))
		*text = '\0';
	if (f)
		pclose(f);
	return exs_ok_copy(text, strlen(text));
}

static size_t sum(const unsigned char *data, size_t size)
{
	size_t all = 0;

	for (size_t i = 0; i < size; i++)
		all += data[i];
	return all;
}

/* Reads its input again and again. */
static exs_result reads(const exs_bytes *in, exs_context *ctx)
{
	size_t first = sum(in->data, in->size);

	(void)ctx;
	for (int i = 0; i < 20; i++)
		if (sum(in->data, in->size) != first)
			return exs_cancelled();
	return exs_ok_copy(&first, sizeof(first));
}

/* Says that it has done what it has not been given, a moment after it is ready. */
static void answer_early(void)
{
	struct exsi_channel c;
	struct exsi_message m;
	const char *why;

	exsi_channel_init(&c, EXSI_CHILD_DATA, true, EXSI_FRAME_DATA, ~0u);
	exsi_channel_receive(&c, &m, &why);
	exsi_channel_send(&c, EXSI_FRAME_READY, 0, NULL, 0, NULL);
	usleep((useconds_t)getpid() * 37 % 300);
	exsi_channel_send(&c, EXSI_FRAME_NULL, 1, NULL, 0, NULL);
	for (;;)
		pause();
}

static exs_result dies(const exs_bytes *in, exs_context *ctx)
{
	(void)in, (void)ctx;
	_exit(7);
}

__attribute__((constructor)) static void begin(int argc, char **argv)
{
	exs_register("echo", echo);
	exs_register("descriptors", descriptors);
	exs_register("reads", reads);
	exs_register("dies", dies);
	if (argc > 2 && !strcmp(argv[1], "early") && !strcmp(argv[argc - 1], EXSI_CHILD_MARK))
		answer_early();
	exs_process_main(argc, argv);
}

/* --- tests --- */

TEST(process_review, answers_to_what_is_about_to_be_given)
{
	static const char *const early[] = {"early"};
	exs_executor *ex = exs_process_pool(&(exs_process_pool_options){.workers = 2,
									.min_workers = 2,
									.args = early,
									.n_args = 1,
									.task_seconds = 0.05,
									.stop_seconds = EXS_NONE});

	for (unsigned long i = 0; i < harness_rounds(100); i++) {
		exs_future *f = exs_submit_function(ex, "echo", "hello", 5);
		CHECK_INT(exs_future_wait(f, EXS_FOREVER), EXS_OK);
		CHECK(exs_future_state(f) == EXS_STATE_ERROR || !exs_future_value(f));
		exs_future_unref(f);
	}
	exs_executor_free(ex);
}

static void log_nothing(void *ctx, exs_log_level level, const char *name, const char *text)
{
	(void)ctx, (void)level, (void)name, (void)text;
}

/* Those that are to stay are begun again and again, but not without end at full speed. */
TEST(process_review, a_program_that_ends_at_once_is_not_spawned_without_pause)
{
	exs_process_pool_stats stats;

	exs_set_log(log_nothing, NULL, EXS_LOG_ERROR);
	exs_executor *ex =
		exs_process_pool(&(exs_process_pool_options){.workers = 2, .min_workers = 2, .program = "/bin/false"});
	for (int i = 0; i < 20; i++)
		give_time();
	CHECK_INT(exs_process_pool_get_stats(ex, &stats), EXS_OK);
	CHECK(stats.spawned < 20);
	exs_executor_free(ex);
	exs_set_log(NULL, NULL, EXS_LOG_ERROR);
}

/* Those that a retry begins again at once are not those that were waiting. */
TEST(process_review, a_retry_without_end_does_not_occupy_the_pool)
{
	exs_set_log(log_nothing, NULL, EXS_LOG_ERROR);
	exs_executor *ex = exs_process_pool(&(exs_process_pool_options){.workers = 1, .program = "/bin/false"});
	exs_process_pool_stats before, after;
	exs_retry_options retry = {.max_attempts = EXS_UNLIMITED, .sleep = EXS_NONE};

	ex = exs_with_retry(ex, &retry);
	exs_future *f = exs_submit_function(ex, "echo", "hello", 5);
	do {
		exs_process_pool_get_stats(ex, &before);
	} while (before.spawned < 3);
	do {
		exs_process_pool_get_stats(ex, &after);
	} while (after.spawned < before.spawned + 3);
	exs_future_cancel(f);
	exs_future_wait(f, EXS_FOREVER);
	exs_future_unref(f);
	exs_executor_free(ex);
	exs_set_log(NULL, NULL, EXS_LOG_ERROR);
}

TEST(process_review, what_a_task_starts_has_no_socket_of_the_workers)
{
	exs_executor *ex = exs_process_pool(&(exs_process_pool_options){.workers = 1});
	exs_future *f = exs_submit_function(ex, "descriptors", NULL, 0);

	CHECK_INT(exs_future_wait(f, EXS_FOREVER), EXS_OK);
	exs_bytes *text = exs_future_value(f);
	CHECK(text && text->size == 8); /* 0, 1, 2, and the directory as 3 */
	CHECK(!memcmp(text->data, "0 1 2 3 ", 8));
	exs_future_unref(f);
	exs_executor_free(ex);
}

/* A large input is given to a worker as memory while a thread here reads it. */
TEST(process_review, one_invocation_runs_here_and_elsewhere)
{
	exs_executor *threads = exs_thread_pool(1), *ex = exs_process_pool(&(exs_process_pool_options){.workers = 1});
	size_t size = 3 << 20;

	for (int i = 0; i < 5; i++) {
		exs_bytes *input = exs_bytes_new(size);
		memset(input->data, 1, size);
		exs_invocation *invocation = exs_invocation_of("reads", input);
		exs_future *here = exs_submit(threads, exs_invoke, invocation);
		give_time();
		exs_future *elsewhere = exs_submit(ex, exs_invoke, invocation);
		CHECK_INT(exs_future_wait(here, EXS_FOREVER), EXS_OK);
		CHECK_INT(exs_future_wait(elsewhere, EXS_FOREVER), EXS_OK);
		CHECK_INT(*(size_t *)(void *)((exs_bytes *)exs_future_value(here))->data, size);
		CHECK_INT(*(size_t *)(void *)((exs_bytes *)exs_future_value(elsewhere))->data, size);
		exs_future_unref(here);
		exs_future_unref(elsewhere);
		exs_invocation_free(invocation);
	}
	exs_executor_free(ex);
	exs_executor_free(threads);
}

static exs_executor *updated;

static exs_result await_update(void *unused, exs_result in)
{
	exs_future *update = exs_process_pool_update(updated, exs_invocation_new("echo", NULL, 0), false);

	(void)unused;
	CHECK_INT(exs_future_wait(update, EXS_FOREVER), EXS_EDEADLK);
	exs_future_unref(update);
	return in;
}

/* On the thread that would give it to the workers. */
TEST(process_review, an_update_awaited_in_a_callback)
{
	updated = exs_with_map(exs_process_pool(&(exs_process_pool_options){.workers = 1}), await_update, NULL, NULL,
			       NULL);
	exs_future *f = exs_submit_function(updated, "echo", "hello", 5);

	CHECK_INT(exs_future_wait(f, EXS_FOREVER), EXS_OK);
	CHECK(exs_future_value(f));
	exs_future_unref(f);
	exs_executor_free(updated);
}

/* Each worker runs it before its first task: none is able to run any. */
TEST(process_review, an_update_that_ends_every_worker)
{
	exs_executor *ex = exs_process_pool(&(exs_process_pool_options){.workers = 1});

	exs_future_unref(exs_process_pool_update(ex, exs_invocation_new("dies", NULL, 0), false));
	exs_future *f = exs_submit_function(ex, "echo", "hello", 5);
	CHECK_INT(exs_future_wait(f, EXS_FOREVER), EXS_OK);
	CHECK(exs_future_error(f) && exs_error_domain(exs_future_error(f)) == &exs_domain_exit);
	CHECK_INT(exs_error_code(exs_future_error(f)), 7);
	exs_future_unref(f);
	exs_executor_free(ex);
}

TEST(process_review, a_forked_child_gets_efork)
{
	exs_executor *ex = exs_process_pool(&(exs_process_pool_options){.workers = 1, .min_workers = 1});
	pid_t pid = fork();
	int status;

	if (!pid) {
		exs_future *f = exs_process_pool_update(ex, exs_invocation_new("echo", NULL, 0), false);
		bool update = exs_error_code(exs_future_error(f)) == EXS_EFORK;
		exs_future_unref(f);
		exs_process_pool_close(ex, EXS_CLOSE_KILL, 0);
		harness_end_child(update && exs_error_code(exs_last_error()) == EXS_EFORK ? 0 : 1);
	}
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK_INT(status, 0);
	exs_future *f = exs_submit_function(ex, "echo", "hello", 5);
	CHECK_INT(exs_future_wait(f, EXS_FOREVER), EXS_OK);
	CHECK_INT(exs_future_state(f), EXS_STATE_VALUE);
	exs_future_unref(f);
	exs_executor_free(ex);
}
