/* What the system refuses: threads and descriptors. A constructor says so, what can do without goes on, and what can't yet is made
   up for later. */
#include "support.h"

#include <errno.h>
#include <executors/sim.h>
#include <string.h>

static void check_last_error(int a, int b, const char *part)
{
	const exs_error *error = exs_last_error();

	CHECK(exs_error_is(error, &exs_domain_errno, a) || exs_error_is(error, &exs_domain_errno, b));
	CHECK(strstr(exs_error_message(error), part));
}

TEST(refused, descriptor_of_a_set)
{
	exs_set *set = exs_set_new();
	exs_future *f;
	exs_promise *p = promise_made(&f);

	refuse_descriptors(true);
	CHECK_INT(exs_set_fd(set), -1);
	refuse_descriptors(false);
	check_last_error(EMFILE, EMFILE, "exs_set_fd");
	CHECK_INT(exs_set_add(set, f), EXS_OK);
	CHECK(exs_set_fd(set) >= 0); /* the next time */
	promise_done(p, exs_ok(NULL, NULL));
	CHECK_INT(exs_set_next(set, &f, 0), EXS_ITEM);
	exs_future_unref(f);
	exs_set_free(set);
}

TEST(refused, descriptor_of_an_event_loop)
{
	exs_executor *loop = exs_event_loop();
	struct job job;

	refuse_descriptors(true);
	CHECK_INT(exs_event_loop_fd(loop), -1);
	refuse_descriptors(false);
	check_last_error(EMFILE, EMFILE, "exs_event_loop_fd");
	job_init(&job);
	exs_future *f = job_submit(loop, &job);
	CHECK(exs_event_loop_fd(loop) >= 0);
	CHECK_INT(exs_event_loop_poll(loop), 1); /* tasks, and callbacks */
	expect_value(f, &job);
	exs_executor_free(loop);
	job_fini(&job);
}

/* Both what was given and what was wrapped are freed. */
TEST(refused, thread_of_a_poll_executor)
{
	int threads = harness_threads();
	exs_poll_options options = {.ctx_free = seen_free};
	exs_executor *pool = exs_with_clock(exs_thread_pool(1), NULL);
	struct seen seen;

	seen_init(&seen);
	refuse_threads(true);
	CHECK(!exs_with_poll(pool, job_poll, job_cancel, &seen, &options));
	refuse_threads(false);
	check_last_error(EAGAIN, ENOMEM, "poll: no thread");
	CHECK_INT(seen.frees, 1);
	harness_wait_threads(threads);
}

/* Whoever needs a timer has one or is not made. */
TEST(refused, thread_of_the_timers)
{
	exs_batch_options batch = {.ctx_free = seen_free};
	struct seen seen;
	exs_executor *made[4];

	seen_init(&seen);
	refuse_threads(true);
	made[0] = exs_with_retry(exs_thread_pool(1), NULL);
	check_last_error(EAGAIN, ENOMEM, "retry: no timer thread");
	made[1] = exs_with_timeout(exs_inline(), 1);
	check_last_error(EAGAIN, ENOMEM, "timeout: no timer thread");
	made[2] = exs_with_timeout_mode(exs_inline(), 1, EXS_ABANDON);
	made[3] = exs_with_batch(exs_inline(), NULL, &seen, &batch);
	refuse_threads(false);
	for (int i = 0; i < 4; i++)
		CHECK(!made[i]);
	CHECK_INT(seen.frees, 1);
	exs_executor *ex = exs_with_retry(exs_inline(), NULL);
	CHECK(ex);
	exs_executor_free(ex);
}

static void free_inside(struct job *job, exs_context *ctx)
{
	(void)ctx;
	refuse_threads(true);
	exs_executor_free(job->more);
	refuse_threads(false);
	sem_post(&job->entered);
	sem_take(&job->open);
}

/* A chain that is freed on its own thread, and for which there is none to release it, is released by the next that is freed. */
TEST(refused, thread_that_releases_chains)
{
	int threads = harness_threads();
	exs_executor *other = exs_inline(), *ex = exs_thread_pool(1);
	struct job job;

	log_begin(EXS_LOG_WARNING);
	job_init(&job);
	job.inside = free_inside;
	job.more = ex;
	exs_future *f = job_submit(ex, &job);
	sem_take(&job.entered);
	CHECK_INT(log_lines("no thread to release chains"), 1);
	sem_post(&job.open);
	expect_value(f, &job);
	exs_executor_free(other);
	harness_wait_threads(threads);
	job_fini(&job);
	log_end();
}

static exs_result answer_ok(void *arg, exs_context *ctx)
{
	(void)ctx;
	return exs_ok(arg, NULL);
}

/* Without threads of its own a simulation makes waits on top of each other. */
TEST(refused, threads_of_a_simulation)
{
	exs_sim_options options = {.threads = true};
	exs_sim *sim = exs_sim_new(1, &options);
	exs_executor *ex = exs_sim_pool(sim, 2);

	log_begin(EXS_LOG_WARNING);
	exs_future *f = exs_submit(ex, answer_ok, &options);
	refuse_threads(true);
	expect_value(f, &options);
	refuse_threads(false);
	CHECK(log_lines("no thread for a wait") > 0);
	exs_executor_free(ex);
	CHECK_INT(exs_sim_free(sim), EXS_OK);
	log_end();
}
