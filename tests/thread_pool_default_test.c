/* The process's own thread pool: shared by all who ask, ended by the last who frees it. */
#define _GNU_SOURCE
#include "base/cores.h"
#include "support.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static void run_one(exs_executor *ex)
{
	struct job job;

	job_init(&job);
	expect_value(job_submit(ex, &job), &job);
	job_fini(&job);
}

TEST(thread_pool_default, is_shared_and_ends_with_its_last_user)
{
	int before = harness_threads();
	char text[64], expected[64];

	for (int i = 0; i < 3; i++) {
		exs_executor *a = exs_thread_pool_default(), *b = exs_thread_pool_default();
		CHECK(a && b && a != b);
		exs_describe(a, text, sizeof(text));
		snprintf(expected, sizeof(expected), "borrow > thread_pool(%u)", exsi_cores());
		CHECK_STR(text, expected);
		run_one(a);
		run_one(b);
		CHECK_INT(pool_stats(a).started, 2); /* the same */
		exs_executor_free(a);
		exs_executor *c = exs_with_retry(exs_with_timeout(exs_thread_pool_default(), 1000), NULL);
		run_one(c);
		CHECK_INT(pool_stats(b).started, 3);
		exs_executor_free(b);
		run_one(c);
		exs_executor_free(c);
		harness_wait_threads(before);
	}
}

/* A user's shutdown is its own affair. */
TEST(thread_pool_default, shut_down_by_one_user)
{
	exs_executor *a = exs_thread_pool_default(), *b = exs_thread_pool_default();
	struct job job;

	CHECK_INT(exs_shutdown(a, EXS_CANCEL_ALL, EXS_FOREVER), 0);
	job_init(&job);
	expect_code(job_submit(a, &job), &exs_domain_exs, EXS_ESHUTDOWN);
	job_fini(&job);
	run_one(b);
	exs_executor_free(a);
	run_one(b);
	exs_executor_free(b);
}

static void free_inside(struct job *job, exs_context *ctx)
{
	(void)ctx;
	exs_executor_free(job->more);
}

TEST(thread_pool_default, freed_by_its_own_task)
{
	int before = harness_threads();
	exs_executor *ex = exs_thread_pool_default();
	struct job job;

	job_init(&job);
	job.inside = free_inside;
	job.more = ex;
	expect_value(job_submit(ex, &job), &job);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	harness_wait_threads(before);
	job_fini(&job);
}

static void *come_and_go(void *arg)
{
	for (unsigned long i = 0; i < harness_rounds(200); i++) {
		exs_executor *ex = exs_thread_pool_default();
		CHECK(ex);
		if (i % 2)
			run_one(ex);
		exs_executor_free(ex);
	}
	return arg;
}

/* Its end and its beginning meet. */
TEST(thread_pool_default, users_come_and_go)
{
	int before = harness_threads();
	pthread_t threads[3];

	for (int i = 0; i < 3; i++)
		threads[i] = thread_start(come_and_go, NULL);
	for (int i = 0; i < 3; i++)
		thread_join(threads[i]);
	harness_wait_threads(before);
}

TEST(thread_pool_default, forked_child_is_told)
{
	exs_executor *ex = exs_thread_pool_default();
	int status;

	run_one(ex);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		struct job job;
		alarm(60);
		CHECK(!exs_thread_pool_default());
		CHECK_INT(exs_error_code(exs_last_error()), EXS_EFORK);
		job_init(&job);
		expect_code(job_submit(ex, &job), &exs_domain_exs, EXS_EFORK);
		exs_executor_free(ex);
		harness_end_child(0);
	}
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK_INT(status, 0);
	run_one(ex);
	exs_executor_free(ex);
}
