/* Schedule: running tasks submit further ones. */
#define _POSIX_C_SOURCE 200809L
#include "failing.h"
#include "support.h"

#include <stdlib.h>
#include <string.h>

/* --- functions --- */

static atomic_uint ran;
static sem_t entered, go;

static exs_result count(const exs_bytes *input, exs_context *ctx)
{
	(void)input, (void)ctx;
	atomic_fetch_add(&ran, 1);
	return exs_ok_copy("dropped", 7);
}

static exs_result fails(const exs_bytes *input, exs_context *ctx)
{
	(void)input, (void)ctx;
	atomic_fetch_add(&ran, 1);
	return exs_fail(exs_error_new(&test_domain, 3, "not again"));
}

/* Its input says how deep it goes: two of one less. */
static exs_result tree(const exs_bytes *input, exs_context *ctx)
{
	unsigned char depth = input->data[0];

	atomic_fetch_add(&ran, 1);
	if (!depth--)
		return exs_ok(NULL, NULL);
	for (int i = 0; i < 2; i++)
		CHECK_INT(exs_schedule(ctx, exs_invocation_new("tree", &depth, 1), NULL), EXS_OK);
	return exs_ok(NULL, NULL);
}

/* Schedules the function that its input names, when it is let. */
static exs_result then_schedule(const exs_bytes *input, exs_context *ctx)
{
	char name[32] = "";
	char rc;

	memcpy(name, input->data, input->size);
	sem_post(&entered);
	sem_take(&go);
	rc = (char)exs_schedule(ctx, exs_invocation_new(name, NULL, 0), NULL);
	return exs_ok_copy(&rc, 1);
}

static void begin(void)
{
	CHECK_INT(exs_register("count", count), EXS_OK);
	CHECK_INT(exs_register("fails", fails), EXS_OK);
	CHECK_INT(exs_register("tree", tree), EXS_OK);
	CHECK_INT(exs_register("then", then_schedule), EXS_OK);
	atomic_store(&ran, 0);
	sem_init(&entered, 0, 0);
	sem_init(&go, 0, 0);
}

/* What a then_schedule answered. */
static int code_of(exs_future *f)
{
	wait_done(f);
	const exs_bytes *b = exs_future_value(f);
	CHECK(b && b->size == 1);
	int rc = b->data[0];
	exs_future_unref(f);
	return rc;
}

static exs_future *submit_then(exs_executor *ex, const char *function)
{
	exs_future *f = exs_submit_function(ex, "then", function, strlen(function));

	CHECK(f);
	return f;
}

/* --- over executors --- */

/* A drain waits for what is scheduled while it goes on. */
static void check_tree(exs_executor *ex, unsigned char depth)
{
	begin();
	CHECK(ex);
	exs_future_unref(exs_submit_function(ex, "tree", &depth, 1));
	CHECK_INT(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER), 0);
	CHECK_INT(atomic_load(&ran), (2u << depth) - 1);
	exs_executor_free(ex);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	harness_wait_futures(0);
}

static exs_executor *queue_on(exs_executor *ex)
{
	exs_executor *queue = exs_queue(NULL);

	CHECK(exs_queue_attach(queue, ex, NULL));
	return queue;
}

static exs_executor *bounded(void)
{
	return pool_made((exs_thread_pool_options){.workers = 1, .queue_limit = 1, .when_full = EXS_FULL_BLOCK});
}

TEST(schedule, tree_over_executors)
{
	exs_retry_options retry = {.sleep = EXS_NONE};

	for (int round = 0; round < 20; round++) {
		check_tree(exs_inline(), 6);
		check_tree(exs_thread_pool(1), 6);
		check_tree(exs_thread_pool(4), 8);
		check_tree(bounded(), 6); /* it waits for no room */
		check_tree(exs_with_retry(exs_thread_pool(2), &retry), 6);
		check_tree(exs_with_retry(exs_with_throttle(exs_thread_pool(2), 1, NULL), &retry), 6);
		check_tree(queue_on(exs_thread_pool(2)), 6);
		check_tree(exs_with_timeout_mode(exs_thread_pool(2), 60, EXS_ABANDON), 6);
	}
}

/* It goes through the whole chain: a retry above what the task runs on. */
TEST(schedule, goes_to_the_top_of_the_chain)
{
	exs_retry_options retry = {.sleep = EXS_NONE, .max_attempts = 4};
	exs_executor *ex = exs_with_retry(exs_with_timeout_mode(exs_thread_pool(2), 60, EXS_ABANDON), &retry);

	begin();
	sem_post(&go);
	CHECK_INT(code_of(submit_then(ex, "fails")), EXS_OK);
	CHECK_INT(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER), 0);
	CHECK_INT(atomic_load(&ran), 4);
	exs_executor_free(ex);
}

/* --- shutdown, stop --- */

TEST(schedule, is_refused_when_the_time_of_a_drain_is_up)
{
	exs_executor *ex = exs_thread_pool(1);

	begin();
	exs_future *f = submit_then(ex, "count");
	sem_take(&entered);
	CHECK_INT(exs_shutdown(ex, EXS_DRAIN, 0), 1); /* the time is up: it is failed, and no further one let in */
	sem_post(&go);
	expect_code(f, &exs_domain_exs, EXS_ESHUTDOWN);
	exs_executor_free(ex);
	CHECK_INT(atomic_load(&ran), 0);
}

static void *drain(void *ex)
{
	CHECK_INT(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER), 0);
	CHECK_INT(atomic_load(&ran), 1);
	return NULL;
}

static bool refuses(void *ex)
{
	exs_future *f = exs_submit_function(ex, "nobody", NULL, 0);
	bool refused = exs_error_is(exs_future_error(f), &exs_domain_exs, EXS_ESHUTDOWN);

	exs_future_unref(f);
	return refused;
}

/* What the task is answered that schedules once a thread has begun to close, with ex. */
static int code_during(void *(*closes)(void *ex), exs_executor *ex)
{
	begin();
	exs_future *f = submit_then(ex, "count");
	sem_take(&entered);
	pthread_t thread = thread_start(closes, ex);
	wait_until(refuses, ex);
	sem_post(&go);
	int code = code_of(f);
	thread_join(thread);
	return code;
}

TEST(schedule, drain_waits_for_what_comes_after_it_began)
{
	exs_executor *ex = exs_thread_pool(1);

	CHECK_INT(code_during(drain, ex), EXS_OK);
	exs_executor_free(ex);
}

static void *free_it(void *ex)
{
	exs_executor_free(ex);
	return NULL;
}

TEST(schedule, is_refused_by_a_chain_that_cancels)
{
	CHECK_INT(code_during(free_it, exs_thread_pool(1)), EXS_ESHUTDOWN);
	CHECK_INT(atomic_load(&ran), 0);
}

TEST(schedule, is_refused_to_a_task_that_was_asked_to_stop)
{
	exs_executor *ex = exs_thread_pool(1);

	begin();
	exs_future *f = submit_then(ex, "count");
	sem_take(&entered);
	CHECK_INT(exs_future_cancel(f), EXS_STOP_REQUESTED);
	sem_post(&go);
	CHECK_INT(code_of(f), EXS_ECANCELLED);
	exs_executor_free(ex);
	CHECK_INT(atomic_load(&ran), 0);
}

/* --- what becomes of it --- */

TEST(schedule, error_is_logged)
{
	exs_executor *ex = exs_thread_pool(1);

	begin();
	log_begin(EXS_LOG_WARNING);
	sem_post(&go);
	sem_post(&go);
	CHECK_INT(code_of(submit_then(ex, "fails")), EXS_OK);
	CHECK_INT(code_of(submit_then(ex, "count")), EXS_OK);
	CHECK_INT(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER), 0);
	CHECK_INT(log_lines("fails, scheduled by a task, failed: not again"), 1);
	CHECK_INT(log_lines("scheduled"), 1);
	log_end();
	exs_executor_free(ex);
}

TEST(schedule, is_a_member_of_the_scope)
{
	exs_executor *ex = exs_thread_pool(2);
	unsigned char depth = 6;

	begin();
	exs_scope *scope = exs_scope_new();
	exs_invocation *invocation = exs_invocation_new("tree", &depth, 1);
	exs_future_unref(exs_scope_submit_with(
		scope, ex, &(exs_task){.fn = exs_invoke, .arg = invocation, .arg_free = exs_invocation_free}));
	CHECK(!exs_scope_close(scope));
	CHECK_INT(atomic_load(&ran), (2u << depth) - 1);
	exs_executor_free(ex);
}

/* --- misuse --- */

static exs_result misuse(void *arg, exs_context *ctx)
{
	exs_task wrong[] = {{.fn = misuse},
			    {.arg = arg},
			    {.arg_free = free},
			    {.timeout = 1},
			    {.retry = &(exs_retry_options){.max_attempts = 1}}};
	struct {
		exs_task task;
		int unknown;
	} later = {.unknown = 1};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		CHECK_INT(exs_schedule(ctx, exs_invocation_new("count", NULL, 0), &wrong[i]), EXS_EINVAL);
	CHECK_INT(exs_schedule_sized(ctx, exs_invocation_new("count", NULL, 0), &later.task, sizeof(later)),
		  EXS_EINVAL);
	CHECK_INT(exs_schedule(ctx, NULL, NULL), EXS_EINVAL);
	CHECK_INT(exs_schedule(NULL, exs_invocation_new("count", NULL, 0), NULL), EXS_EINVAL);
	CHECK_INT(exs_schedule(ctx, exs_invocation_new("count", NULL, 0), &(exs_task){.name = "n", .priority = 2}),
		  EXS_OK);
	return exs_ok(NULL, NULL);
}

TEST(schedule, misuse)
{
	exs_executor *ex = exs_thread_pool(1);
	int arg;

	begin();
	expect_value(exs_submit(ex, misuse, &arg), NULL);
	CHECK_INT(exs_shutdown(ex, EXS_DRAIN, EXS_FOREVER), 0);
	CHECK_INT(atomic_load(&ran), 1);
	exs_executor_free(ex);
	CHECK_INT(exs_schedule(NULL, NULL, NULL), EXS_EINVAL);
}

static exs_error *schedules(void *ctx, exs_batch_item **items, size_t n, exs_context *context)
{
	(void)ctx, (void)items, (void)n;
	CHECK_INT(exs_schedule(context, exs_invocation_new("count", NULL, 0), NULL), EXS_EINVAL);
	return exs_error_new(&test_domain, 1, "enough");
}

TEST(schedule, not_by_a_batch)
{
	exs_executor *ex = exs_with_batch(exs_thread_pool(1), schedules, NULL, NULL);

	begin();
	expect_code(exs_submit_function(ex, "count", NULL, 0), &test_domain, 1);
	exs_executor_free(ex);
	CHECK_INT(atomic_load(&ran), 0);
}

/* --- each allocation fails in turn --- */

/* Runs inside its submit. Answers whether the n-th was reached. */
static bool fail_nth(unsigned long n, exs_scope *scope)
{
	exs_executor *ex = exs_inline();
	exs_invocation *invocation = exs_invocation_new("then", "count", 5);
	exs_task task = {.fn = exs_invoke, .arg = invocation, .arg_free = exs_invocation_free};

	begin();
	sem_post(&go);
	atomic_store(&seen, 0);
	atomic_store(&fail_at, n);
	exs_future *f = scope ? exs_scope_submit_with(scope, ex, &task) : exs_submit_with(ex, &task);
	bool reached = atomic_load(&seen) >= n;
	atomic_store(&fail_at, 0);
	bool has_code = f && exs_future_state(f) == EXS_STATE_VALUE;
	if (has_code) { /* it was scheduled, and ran unless there was no memory then for its answer: or the code says so */
		int rc = code_of(f);
		CHECK(rc == EXS_ENOMEM || rc == EXS_OK || rc == EXS_EINVAL);
		CHECK_INT(atomic_load(&ran), rc == EXS_OK);
	} else {
		exs_future_unref(f);
	}
	exs_executor_free(ex);
	return reached;
}

TEST(schedule, each_allocation_fails_in_turn)
{
	exs_allocator failing = {failing_alloc, failing_free};

	begin(); /* what is registered stays: the first time it takes memory */
	for (int in_scope = 0; in_scope < 2; in_scope++) {
		bool reached = true;
		for (unsigned long n = 1; reached; n++) {
			exs_set_allocator(&failing);
			exs_scope *scope = in_scope ? exs_scope_new() : NULL;
			reached = fail_nth(n, scope);
			exs_error_unref(exs_scope_close(scope));
			CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
			CHECK_INT(atomic_load(&blocks), 0);
			exs_set_allocator(NULL);
			CHECK(reached || n > 4);
		}
	}
}
