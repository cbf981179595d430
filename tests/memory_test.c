/* The hooks: log and allocator. */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- log --- */

static unsigned lines;
static exs_log_level last_level;
static char last_executor[64], last_message[256];

static void note_line(void *ctx, exs_log_level level, const char *executor, const char *message)
{
	CHECK(ctx == &lines);
	lines++;
	last_level = level;
	snprintf(last_executor, sizeof(last_executor), "%s", executor);
	snprintf(last_message, sizeof(last_message), "%s", message);
	CHECK(!strchr(message, '\n'));
}

static bool broken_policy(void *ctx, const exs_attempt *attempt, double *delay, exs_error **error)
{
	(void)attempt, (void)delay;
	*error = exs_error_new(&test_domain, 1, "%s", (const char *)ctx);
	return true;
}

/* Makes the library log one error. */
static void provoke(const char *name, const char *text)
{
	exs_retry_options options = {.policy = broken_policy, .ctx = (void *)(uintptr_t)text};
	exs_executor *ex = exs_with_retry(exs_with_name(exs_inline(), name), &options);
	struct job job;

	job_init(&job);
	expect_value(job_submit(ex, &job), &job);
	exs_executor_free(ex);
	job_fini(&job);
}

TEST(log, says_who_and_what)
{
	provoke("silent", "nobody listens");
	exs_set_log(note_line, &lines, EXS_LOG_ERROR);
	provoke("crawler", "policy broke");
	CHECK_INT(lines, 1);
	CHECK_INT(last_level, EXS_LOG_ERROR);
	CHECK_STR(last_executor, "crawler");
	CHECK(strstr(last_message, "retry: the policy failed: policy broke"));
	provoke(NULL, "again");
	CHECK_STR(last_executor, "");
	exs_set_log(NULL, NULL, EXS_LOG_DEBUG);
	provoke("silent", "nobody listens any more");
	CHECK_INT(lines, 2);
}

TEST(log, long_lines_are_cut)
{
	char text[2000];

	lines = 0;
	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	exs_set_log(note_line, &lines, EXS_LOG_DEBUG);
	provoke("crawler", text);
	CHECK_INT(lines, 1);
	exs_set_log(NULL, NULL, EXS_LOG_ERROR);
}

static exs_error *fail_poll(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	(void)ctx, (void)d, (void)n, (void)delay;
	return exs_error_new(&test_domain, 1, "search failed");
}

/* A poll function's failure is a warning, that of the library's user's policy an error. */
TEST(log, levels)
{
	for (int level = EXS_LOG_ERROR; level <= EXS_LOG_DEBUG; level++) {
		exs_executor *ex = exs_with_poll(exs_inline(), fail_poll, NULL, NULL, NULL);
		struct job job;
		log_begin((exs_log_level)level);
		job_init(&job);
		expect_code(job_submit(ex, &job), &test_domain, 1);
		exs_executor_free(ex);
		CHECK_INT(log_lines("poll: search failed"), level >= EXS_LOG_WARNING);
		provoke("x", "broken");
		CHECK_INT(log_lines("broken"), 1);
		job_fini(&job);
		log_end();
	}
}

/* --- allocator --- */

static atomic_long blocks, allocations;

static void *counted_alloc(size_t size)
{
	void *p = malloc(size);

	CHECK(size > 0);
	atomic_fetch_add(&allocations, 1);
	atomic_fetch_add(&blocks, p != NULL);
	return p;
}

static void counted_free(void *p)
{
	CHECK(p);
	atomic_fetch_sub(&blocks, 1);
	free(p);
}

static const exs_allocator counted = {counted_alloc, counted_free};

/* All memory goes through it, and comes back. */
TEST(allocator, is_used_for_everything)
{
	exs_set_allocator(&counted);
	exs_set *set = exs_set_new();
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_retry(exs_with_clock(exs_thread_pool(2), clock), NULL);
	struct job jobs[3];
	exs_future *f;

	ex = exs_with_timeout_mode(exs_with_poll(ex, job_poll, job_cancel, NULL, NULL), 100, EXS_ABANDON);
	for (int i = 0; i < 3; i++) {
		job_init(&jobs[i]);
		CHECK_INT(exs_set_add(set, job_submit(ex, &jobs[i])), EXS_OK);
	}
	while (exs_set_next(set, &f, EXS_FOREVER) == EXS_ITEM)
		exs_future_unref(f);
	CHECK(allocations >= 10);
	CHECK(blocks > 0);
	exs_executor_free(ex);
	exs_set_free(set);
	exs_clock_unref(clock);
	for (int i = 0; i < 3; i++)
		job_fini(&jobs[i]);
	CHECK_INT(blocks, 0);
	exs_set_allocator(NULL);
	long before = allocations;
	exs_executor_free(exs_inline());
	CHECK_INT(allocations, before);
}

static void *no_memory(size_t size)
{
	(void)size;
	return NULL;
}

/* Constructors answer NULL and say so; submit does too, and has freed the argument; an error is the one kept for this. */
TEST(allocator, that_has_nothing)
{
	exs_allocator nothing = {no_memory, free};
	exs_executor *ex = exs_inline();
	struct job job;
	exs_task task = {.fn = job_run, .arg = &job, .arg_free = job_free_arg};
	exs_future *f;

	job_init(&job);
	exs_set_allocator(&nothing);
	CHECK(!exs_submit_with(ex, &task));
	CHECK_INT(exs_error_code(exs_last_error()), EXS_ENOMEM);
	CHECK_INT(job.freed, 1);
	CHECK(!exs_thread_pool(1) && !exs_set_new() && !exs_promise_new(&f) && !f && !exs_clock_manual_new());
	CHECK_INT(exs_call(ex, job_run, &job, 1, NULL), EXS_ENOMEM);
	exs_error *e = exs_error_new(&test_domain, 7, "a message that has no place");
	CHECK(exs_error_is(e, &exs_domain_exs, EXS_ENOMEM));
	CHECK_STR(exs_error_message(e), "out of memory");
	exs_error_unref(e);
	exs_set_allocator(NULL);
	CHECK_INT(job.starts, 0);
	exs_executor_free(ex);
	job_fini(&job);
}
