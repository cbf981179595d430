/* The counterparts of CPython's tests of concurrent.futures' executors, named as there; of thread pools, and, where that is
   the same, of a chain of layers on one and of a simulated pool. See concurrent_futures.md. */
#define _GNU_SOURCE
#include "support.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS = 5, POOLS = 3, EXECUTORS };

static exs_executor *executor(int which)
{
	exs_thread_pool_options options = {.workers = WORKERS, .order = which ? EXS_ANY_ORDER : EXS_IN_ORDER};
	exs_retry_options once = {.max_attempts = 1};
	exs_sim_options on_threads = {.threads = true};

	if (which == POOLS)
		sim_begin(harness_seed(), &on_threads);
	exs_executor *ex = support_sim ? exs_sim_pool(support_sim, WORKERS) : exs_thread_pool_with(&options);
	if (which == 2)
		ex = exs_with_timeout(exs_with_retry(ex, &once), 1000);
	CHECK(ex);
	return ex;
}

static void executor_end(exs_executor *ex)
{
	exs_executor_free(ex);
	if (support_sim)
		sim_end();
}

/* --- ExecutorTest --- */

struct pair {
	intptr_t a, b;
};

static intptr_t raised(intptr_t a, intptr_t b)
{
	intptr_t n = 1;

	while (b--)
		n *= a;
	return n;
}

static exs_result power(void *arg, exs_context *ctx)
{
	struct pair *p = arg;

	(void)ctx;
	return exs_ok((void *)raised(p->a, p->b), NULL);
}

static exs_result divide(void *arg, exs_context *ctx)
{
	struct pair *p = arg;

	(void)ctx;
	if (!p->b)
		return exs_fail(exs_error_new(&exs_domain_errno, 33, "%d divided by zero", (int)p->a));
	return exs_ok((void *)(p->a / p->b), NULL);
}

static intptr_t value_of(exs_future *f)
{
	wait_done(f);
	CHECK_INT(exs_future_state(f), EXS_STATE_VALUE);
	intptr_t value = (intptr_t)exs_future_value(f);
	exs_future_unref(f);
	return value;
}

TEST(cf_executor, submit)
{
	for (int i = 0; i < EXECUTORS; i++) {
		exs_executor *ex = executor(i);
		struct pair p = {2, 8};
		CHECK_INT(value_of(exs_submit(ex, power, &p)), 256);
		executor_end(ex);
	}
}

static exs_result look_at_name(void *arg, exs_context *ctx)
{
	CHECK_STR(exs_context_name(ctx), "fn");
	return exs_ok(arg, NULL);
}

/* Options where they have keywords; without a function there is nothing to submit. */
TEST(cf_executor, submit_keyword)
{
	for (int i = 0; i < EXECUTORS; i++) {
		exs_executor *ex = executor(i);
		struct pair p = {2, 4};
		struct job job;
		exs_task task = {.arg = &p, .name = "fn", .fn = look_at_name};
		CHECK(value_of(exs_submit_with(ex, &task)) == (intptr_t)&p);
		job_init(&job);
		task = (exs_task){.arg = &job, .arg_free = job_free_arg};
		expect_code(exs_submit_with(ex, &task), &exs_domain_exs, EXS_EINVAL);
		CHECK_INT(job.freed, 1);
		job_fini(&job);
		expect_code(exs_submit(ex, NULL, &p), &exs_domain_exs, EXS_EINVAL);
		executor_end(ex);
	}
}

TEST(cf_executor, map)
{
	for (int i = 0; i < EXECUTORS; i++) {
		exs_executor *ex = executor(i);
		struct pair p[10];
		exs_future *f[10];
		for (int k = 0; k < 10; k++) {
			p[k] = (struct pair){k, k};
			f[k] = exs_submit(ex, power, &p[k]);
		}
		for (int k = 0; k < 10; k++)
			CHECK_INT(value_of(f[k]), raised(k, k));
		executor_end(ex);
	}
}

TEST(cf_executor, map_exception)
{
	for (int i = 0; i < EXECUTORS; i++) {
		exs_executor *ex = executor(i);
		struct pair p[] = {{4, 2}, {9, 3}, {1, 0}, {5, 5}};
		exs_future *f[4];
		for (int k = 0; k < 4; k++)
			f[k] = exs_submit(ex, divide, &p[k]);
		CHECK_INT(value_of(f[0]), 2);
		CHECK_INT(value_of(f[1]), 3);
		wait_done(f[2]);
		CHECK_STR(exs_error_message(exs_future_error(f[2])), "1 divided by zero");
		expect_code(f[2], &exs_domain_errno, 33);
		CHECK_INT(value_of(f[3]), 1); /* the one after the error is there as well */
		executor_end(ex);
	}
}

TEST(cf_executor, map_timeout)
{
	for (int i = 0; i < EXECUTORS; i++) {
		exs_executor *ex = executor(i);
		struct job jobs[3];
		exs_future *f[3];
		for (int k = 0; k < 3; k++) {
			job_init(&jobs[k]);
			jobs[k].gated = k == 2;
			f[k] = job_submit(ex, &jobs[k]);
		}
		for (int k = 0; k < 2; k++)
			expect_value(f[k], &jobs[k]);
		CHECK_INT(exs_future_wait(f[2], 0.05), EXS_ETIMEDOUT);
		sem_post(&jobs[2].open);
		expect_value(f[2], &jobs[2]);
		executor_end(ex);
		for (int k = 0; k < 3; k++)
			job_fini(&jobs[k]);
	}
}

TEST(cf_executor, shutdown_race_issue12456)
{
	for (unsigned long round = 0; round < harness_rounds(60); round++) {
		exs_executor *ex = executor((int)(round % EXECUTORS));
		struct job jobs[WORKERS + 1];
		exs_future *f[WORKERS + 1];
		for (int k = 0; k < WORKERS + 1; k++) {
			job_init(&jobs[k]);
			f[k] = job_submit(ex, &jobs[k]);
		}
		CHECK_INT(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER), 0);
		for (int k = 0; k < WORKERS + 1; k++) {
			CHECK(exs_future_is_done(f[k]));
			expect_value(f[k], &jobs[k]);
			job_fini(&jobs[k]);
		}
		executor_end(ex);
	}
}

/* Nobody keeps the future: argument and value go as soon as the task has run, while the executor lives. */
TEST(cf_executor, no_stale_references)
{
	for (int i = 0; i < EXECUTORS; i++) {
		exs_executor *ex = executor(i);
		struct job job;
		job_init(&job);
		exs_future_unref(job_submit(ex, &job));
		job_fini(&job); /* waits for both */
		CHECK_INT(job.starts, 1);
		CHECK_INT(job.made, 1);
		executor_end(ex);
	}
}

TEST(cf_executor, max_workers_negative)
{
	CHECK(!exs_thread_pool((unsigned)-1)); /* 0 is the default here */
	CHECK_INT(exs_error_code(exs_last_error()), EXS_EINVAL);
	CHECK(strstr(exs_error_message(exs_last_error()), "workers"));
}

/* What was read and dropped is gone, while the next are still there. */
TEST(cf_executor, free_reference)
{
	for (int i = 0; i < EXECUTORS; i++) {
		exs_executor *ex = executor(i);
		struct job jobs[10];
		exs_future *f[10];
		for (int k = 0; k < 10; k++) {
			job_init(&jobs[k]);
			f[k] = job_submit(ex, &jobs[k]);
		}
		CHECK_INT(exs_wait_all(f, 10, EXS_FOREVER), EXS_OK);
		for (int k = 0; k < 10; k++) {
			CHECK_INT(jobs[k].values, 1);
			expect_value(f[k], &jobs[k]);
			job_fini(&jobs[k]); /* waits for the end of its value */
		}
		executor_end(ex);
	}
}

/* --- ThreadPoolExecutorTest --- */

TEST(cf_thread_pool, map_submits_without_iteration)
{
	for (int i = 0; i < EXECUTORS; i++) {
		exs_executor *ex = executor(i);
		struct job jobs[10];
		for (int k = 0; k < 10; k++) {
			job_init(&jobs[k]);
			exs_future_unref(job_submit(ex, &jobs[k]));
		}
		CHECK_INT(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER), 0);
		for (int k = 0; k < 10; k++) {
			CHECK_INT(jobs[k].ends, 1);
			job_fini(&jobs[k]);
		}
		executor_end(ex);
	}
}

enum { CROWD = 15 * WORKERS };

TEST(cf_thread_pool, saturation)
{
	for (int i = 0; i < POOLS; i++) {
		exs_executor *ex = executor(i);
		struct job jobs[CROWD];
		exs_future *f[CROWD];
		pool_occupy(ex, jobs, f, CROWD, WORKERS);
		CHECK_INT(pool_stats(ex).workers, WORKERS);
		CHECK_INT(pool_stats(ex).running, WORKERS);
		pool_let_go(jobs, f, CROWD);
		CHECK_INT(pool_stats(ex).workers, WORKERS);
		CHECK_INT(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER), 0);
		exs_executor_free(ex);
	}
}

TEST(cf_thread_pool, idle_thread_reuse)
{
	for (int i = 0; i < POOLS; i++) {
		exs_executor *ex = executor(i);
		for (int k = 1; k <= 3; k++) {
			struct pair p = {k, 2};
			CHECK_INT(value_of(exs_submit(ex, power, &p)), k * k);
			wait_until(pool_is_idle, ex); /* done is a moment before idle */
		}
		CHECK_INT(pool_stats(ex).workers, 1);
		exs_executor_free(ex);
	}
}

static exs_result fork_in_task(void *ex, exs_context *ctx)
{
	int status;
	pid_t pid = fork();

	(void)ctx;
	if (!pid) {
		exs_future *f = exs_submit(ex, fork_in_task, ex);
		bool refused = exs_error_is(exs_future_error(f), &exs_domain_exs, EXS_EFORK);
		exs_executor_free(ex);
		harness_end_child(refused ? 0 : 1);
	}
	CHECK(pid > 0);
	CHECK_INT(waitpid(pid, &status, 0), pid);
	return exs_ok((void *)(intptr_t)status, NULL);
}

/* The child neither hangs nor waits for its parent's threads; nor does the parent. */
TEST(cf_thread_pool, process_fork_from_a_threadpool)
{
	for (int i = 0; i < POOLS; i++) {
		exs_executor *ex = executor(i);
		CHECK_INT(value_of(exs_submit(ex, fork_in_task, ex)), 0);
		exs_executor_free(ex);
	}
}

struct endless {
	exs_executor *ex;
	atomic_bool over;
};

static exs_result submit_again(void *arg, exs_context *ctx)
{
	struct endless *e = arg;

	(void)ctx;
	if (!atomic_load(&e->over))
		exs_future_unref(exs_submit(e->ex, submit_again, e));
	return exs_ok(NULL, NULL);
}

/* Children that are forked while a pool takes submits, whatever its threads do just then. */
TEST(cf_thread_pool, hang_global_shutdown_lock)
{
	struct endless e = {.ex = exs_thread_pool(1)};
	int status;

	exs_future_unref(exs_submit(e.ex, submit_again, &e));
	for (int i = 0; i < 50; i++) {
		pid_t pid = fork();
		CHECK(pid >= 0);
		if (!pid) {
			exs_executor *ex = exs_thread_pool(1);
			harness_end_child(!ex && exs_error_is(exs_last_error(), &exs_domain_exs, EXS_EFORK) ? 0 : 1);
		}
		CHECK_INT(waitpid(pid, &status, 0), pid);
		CHECK_INT(status, 0);
	}
	atomic_store(&e.over, true);
	CHECK_INT(exs_shutdown(e.ex, EXS_DRAIN, EXS_FOREVER), 0);
	exs_executor_free(e.ex);
}

/* Giving up on the first to come cancels it and those after it; what ran before runs on. */
TEST(cf_thread_pool, executor_map_current_future_cancel)
{
	exs_executor *ex = exs_thread_pool(1);
	exs_set *set = exs_set_new();
	struct job jobs[3];
	exs_future *f[3], *item;

	pool_occupy(ex, jobs, f, 3, 1);
	CHECK_INT(exs_set_add(set, f[1]), EXS_OK);
	CHECK_INT(exs_set_add(set, f[2]), EXS_OK);
	CHECK_INT(exs_set_next(set, &item, 0), EXS_TIMEOUT);
	CHECK_INT(exs_set_cancel(set), 2);
	exs_set_free(set);
	pool_let_go(jobs, f, 1);
	CHECK_INT(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER), 0);
	exs_executor_free(ex);
	for (int i = 1; i < 3; i++) {
		CHECK_INT(jobs[i].starts, 0);
		job_fini(&jobs[i]);
	}
}

/* Without end; jobs that are taken up are counted. */
static bool next_input(void *taken, exs_result *input)
{
	*input = exs_ok((void *)(intptr_t)++ * (long *)taken, NULL);
	return true;
}

static exs_result same(void *arg, exs_context *ctx)
{
	(void)ctx;
	return exs_ok(arg, NULL);
}

static bool is_full(void *stream)
{
	exs_item item;

	if (exs_stream_count(stream) == 4)
		return true;
	/* An item that was done before its submit returned leaves the next to a read. */
	CHECK_INT(exs_stream_next(stream, &item, EXS_FOREVER), EXS_ITEM);
	exs_future_unref(item.future);
	return false;
}

/* Inputs are taken up as far ahead of the reader as the buffer goes, and one more for each that is read. */
TEST(cf_thread_pool, map_buffersize)
{
	for (int i = 0; i < EXECUTORS; i++) {
		exs_executor *ex = executor(i);
		long taken = 0;
		exs_item item = {.number = 0};
		exs_stream *s = exs_stream_new(ex, same, next_input, &taken, &(exs_stream_options){.max_results = 4});
		while (!is_full(s))
			;
		long before = taken;
		for (long k = 1; k <= 100; k++) {
			CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_ITEM);
			CHECK_INT((intptr_t)exs_future_value(item.future), (intptr_t)item.number + 1);
			exs_future_unref(item.future);
			CHECK(taken <= before + k);
			CHECK_INT(taken, (long)item.number + 1 + (long)exs_stream_count(s));
		}
		exs_stream_free(s);
		executor_end(ex);
	}
}

/* --- InitializerMixin --- */

static exs_error *initialize(void *ctx, unsigned number, void **state)
{
	(void)number;
	*state = ctx;
	return NULL;
}

static exs_error *fail_to_initialize(void *ctx, unsigned number, void **state)
{
	(void)number, (void)state;
	return exs_error_ref(ctx);
}

static exs_result initial_state(void *arg, exs_context *ctx)
{
	(void)arg;
	return exs_ok(exs_context_worker_state(ctx), NULL);
}

TEST(cf_init, initializer)
{
	char status[] = "initialized";
	exs_executor *ex = pool_made((exs_thread_pool_options){.workers = 2, .setup = initialize, .ctx = status});
	exs_future *f[2];

	for (int i = 0; i < 2; i++)
		f[i] = exs_submit(ex, initial_state, NULL);
	for (int i = 0; i < 2; i++)
		CHECK(value_of(f[i]) == (intptr_t)status);
	exs_executor_free(ex);
}

/* Their pool is broken for ever, ours tries again with each call; either way each of these calls fails, with the error. */
TEST(cf_init, failing_initializer)
{
	exs_error *error = exs_error_new(&test_domain, 1, "error in initializer");
	exs_executor *ex =
		pool_made((exs_thread_pool_options){.workers = 2, .setup = fail_to_initialize, .ctx = error});

	log_begin(EXS_LOG_WARNING);
	for (int i = 0; i < 5; i++)
		expect_error(exs_submit(ex, initial_state, NULL), error);
	CHECK(log_lines("error in initializer") >= 5);
	exs_executor_free(ex);
	log_end();
	exs_error_unref(error);
}

/* --- ExecutorShutdownTest, ThreadPoolShutdownTest --- */

TEST(cf_shutdown, run_after_shutdown)
{
	for (int i = 0; i < EXECUTORS; i++) {
		exs_executor *ex = executor(i);
		struct job job;
		CHECK_INT(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER), 0);
		job_init(&job);
		expect_code(job_submit(ex, &job), &exs_domain_exs, EXS_ESHUTDOWN);
		CHECK_INT(job.starts, 0);
		executor_end(ex);
		job_fini(&job);
	}
}

enum { FIFTY = 50 };

TEST(cf_shutdown, hang_issue12364)
{
	for (int i = 0; i < EXECUTORS; i++) {
		exs_executor *ex = executor(i);
		struct job jobs[FIFTY];
		exs_future *f[FIFTY];
		for (int k = 0; k < FIFTY; k++) {
			job_init(&jobs[k]);
			f[k] = job_submit(ex, &jobs[k]);
		}
		CHECK_INT(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER), 0);
		for (int k = 0; k < FIFTY; k++) {
			expect_value(f[k], &jobs[k]);
			job_fini(&jobs[k]);
		}
		executor_end(ex);
	}
}

static void *shut_down(void *ex)
{
	CHECK_INT(exs_shutdown(ex, EXS_CANCEL_QUEUED, EXS_FOREVER), 0);
	return NULL;
}

/* Those that run have their values, all others are cancelled. */
static void check_cancelled_from(struct job *jobs, exs_future **f, int first, int n)
{
	for (int k = first; k < n; k++) {
		expect_cancelled(f[k], EXS_CAUSE_SHUTDOWN);
		CHECK_INT(jobs[k].starts, 0);
		job_fini(&jobs[k]);
	}
}

TEST(cf_shutdown, cancel_futures)
{
	for (int i = 0; i < EXECUTORS; i++) {
		exs_executor *ex = executor(i);
		struct job jobs[FIFTY];
		exs_future *f[FIFTY];
		pool_occupy(ex, jobs, f, FIFTY, WORKERS);
		struct beside beside;
		beside_start(&beside, shut_down, ex);
		check_cancelled_from(jobs, f, WORKERS, FIFTY);
		pool_let_go(jobs, f, WORKERS);
		beside_end(&beside);
		executor_end(ex);
	}
}

/* Time is up at once: what runs is given up, what is queued as well; nothing hangs, and what runs may end when it likes. */
TEST(cf_shutdown, hang_gh83386)
{
	for (int i = 0; i < EXECUTORS; i++) {
		exs_executor *ex = executor(i);
		struct job job;
		exs_future *f;
		pool_occupy(ex, &job, &f, 1, 1);
		CHECK_INT(exs_shutdown(ex, EXS_DRAIN, 0), 1);
		expect_code(f, &exs_domain_exs, EXS_ESHUTDOWN);
		sem_post(&job.open);
		executor_end(ex);
		CHECK_INT(job.ends, 1);
		job_fini(&job);
	}
}

TEST(cf_shutdown, hang_gh94440)
{
	for (unsigned long round = 0; round < harness_rounds(150); round++) {
		exs_executor *ex = executor((int)(round % EXECUTORS));
		struct job first, job;
		job_init(&first);
		job_init(&job);
		expect_value(job_submit(ex, &first), &first);
		exs_future *f = job_submit(ex, &job);
		exs_future_cancel(f);
		CHECK_INT(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER), 0);
		CHECK(exs_future_is_done(f));
		exs_future_unref(f);
		executor_end(ex);
		job_fini(&first);
		job_fini(&job);
	}
}

TEST(cf_shutdown, threads_terminate)
{
	int threads = harness_threads();

	for (int i = 0; i < POOLS; i++) {
		exs_executor *ex = executor(i);
		struct job jobs[3];
		exs_future *f[3];
		pool_occupy(ex, jobs, f, 3, 3);
		CHECK_INT(pool_stats(ex).workers, 3);
		pool_let_go(jobs, f, 3);
		CHECK_INT(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER), 0);
		exs_executor_free(ex);
		harness_wait_threads(threads);
	}
}

/* A scope is their context manager: at its end all has run. */
TEST(cf_shutdown, context_manager_shutdown)
{
	int threads = harness_threads();

	for (int i = 0; i < EXECUTORS; i++) {
		exs_executor *ex = executor(i);
		exs_scope *scope = exs_scope_new();
		struct pair p[10];
		exs_future *f[10];
		for (int k = 0; k < 10; k++) {
			p[k] = (struct pair){k - 5, 2};
			f[k] = exs_scope_submit(scope, ex, power, &p[k]);
		}
		CHECK(!exs_scope_close(scope));
		for (int k = 0; k < 10; k++) {
			CHECK(exs_future_is_done(f[k]));
			CHECK_INT(value_of(f[k]), (k - 5) * (k - 5));
		}
		executor_end(ex);
		harness_wait_threads(threads);
	}
}

/* Results outlive the executor. */
TEST(cf_shutdown, del_shutdown)
{
	int threads = harness_threads();

	for (int i = 0; i < EXECUTORS; i++) {
		exs_executor *ex = executor(i);
		struct pair p[10];
		exs_future *f[10];
		for (int k = 0; k < 10; k++) {
			p[k] = (struct pair){k - 5, 2};
			f[k] = exs_submit(ex, power, &p[k]);
		}
		CHECK_INT(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER), 0);
		executor_end(ex);
		harness_wait_threads(threads);
		for (int k = 0; k < 10; k++)
			CHECK_INT(value_of(f[k]), (k - 5) * (k - 5));
	}
}

struct closing {
	struct job jobs[10];
	exs_future *f[10];
	exs_executor *ex;
	exs_mode mode;
};

/* On a worker, where it does not wait: what they call wait=False. */
static void shut_down_inside(struct job *job, exs_context *ctx)
{
	struct closing *c = job->more;

	(void)ctx;
	CHECK(exs_shutdown(c->ex, c->mode, EXS_FOREVER) >= 1);
}

/* One worker, which closes; nine wait for it. */
static exs_executor *close_from_within(struct closing *c, exs_mode mode, exs_executor *ex)
{
	c->mode = mode;
	c->ex = ex;
	for (int i = 0; i < 10; i++)
		job_init(&c->jobs[i]);
	c->jobs[0].gated = true;
	c->jobs[0].inside = shut_down_inside;
	c->jobs[0].more = c;
	for (int i = 0; i < 10; i++)
		c->f[i] = job_submit(ex, &c->jobs[i]);
	sem_take(&c->jobs[0].entered);
	sem_post(&c->jobs[0].open);
	return ex;
}

TEST(cf_shutdown, shutdown_no_wait)
{
	int threads = harness_threads();
	struct closing c;
	exs_executor *ex = close_from_within(&c, EXS_DRAIN, exs_thread_pool(1));

	for (int i = 0; i < 10; i++)
		expect_value(c.f[i], &c.jobs[i]);
	exs_executor_free(ex);
	harness_wait_threads(threads);
	for (int i = 0; i < 10; i++)
		job_fini(&c.jobs[i]);
}

TEST(cf_shutdown, cancel_futures_wait_false)
{
	struct closing c;
	exs_executor *ex = close_from_within(&c, EXS_CANCEL_QUEUED, exs_thread_pool(1));

	expect_value(c.f[0], &c.jobs[0]);
	check_cancelled_from(c.jobs, c.f, 1, 10);
	exs_executor_free(ex);
	job_fini(&c.jobs[0]);
}

static void look_at_thread_name(struct job *job, exs_context *ctx)
{
	(void)ctx;
	CHECK(!pthread_getname_np(pthread_self(), job->more, 16));
}

/* Of five threads, each its own. */
static void check_thread_names(const char *option, const char *prefix)
{
	exs_executor *ex = pool_made((exs_thread_pool_options){.workers = WORKERS, .name = option});
	struct job jobs[WORKERS];
	exs_future *f[WORKERS];
	char names[WORKERS][16];
	unsigned have = 0, number;

	for (int i = 0; i < WORKERS; i++) {
		job_init(&jobs[i]);
		jobs[i].gated = true;
		jobs[i].inside = look_at_thread_name;
		jobs[i].more = names[i];
		f[i] = job_submit(ex, &jobs[i]);
	}
	for (int i = 0; i < WORKERS; i++)
		sem_take(&jobs[i].entered); /* at the same time: no thread has two */
	pool_let_go(jobs, f, WORKERS);
	for (int i = 0; i < WORKERS; i++) {
		CHECK(!strncmp(names[i], prefix, strlen(prefix)));
		CHECK_INT(sscanf(names[i] + strlen(prefix), "-%u", &number), 1);
		CHECK(number >= 1 && number <= WORKERS);
		have |= 1u << number;
	}
	CHECK_INT(have, (2u << WORKERS) - 2);
	exs_executor_free(ex);
}

TEST(cf_shutdown, thread_names_assigned)
{
	check_thread_names("Special", "Special");
}

TEST(cf_shutdown, thread_names_default)
{
	check_thread_names(NULL, "exs");
}
