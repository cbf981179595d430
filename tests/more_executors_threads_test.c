/* Counterparts of more-executors' tests of how executors are made (test_executors.py), and of the threads that they leave behind
   (test_executor_threadleak.py): none. On the real clock, whose timers have a thread. */
#include "more_executors.h"

#include <stdlib.h>
#include <string.h>

/* --- what is made --- */

static void expect_described(exs_executor *ex, const char *text)
{
	char described[200];

	CHECK(ex);
	CHECK(exs_describe(ex, described, sizeof(described)) < sizeof(described));
	CHECK(!strncmp(described, text, strlen(text)));
	exs_executor_free(ex);
}

TEST(more_executors, thread_pool)
{
	expect_described(exs_thread_pool(0), "thread_pool(");
}

TEST(more_executors, retry)
{
	expect_described(exs_with_retry(exs_thread_pool(0), NULL), "retry(3) > thread_pool(");
}

static exs_result same(void *ctx, exs_result in)
{
	(void)ctx;
	return in;
}

static exs_executor *with_map(exs_executor *ex)
{
	return exs_with_map(ex, same, NULL, NULL, NULL);
}

TEST(more_executors, map)
{
	expect_described(with_map(exs_thread_pool(0)), "map > thread_pool(");
}

/* --- threads --- */

static exs_executor *retry(void)
{
	return exs_with_retry(exs_inline(), NULL);
}

static exs_executor *with_poll(exs_executor *ex)
{
	return exs_with_poll(ex, more_poll_noop, NULL, NULL, NULL);
}

static exs_executor *poll_(void)
{
	return with_poll(exs_inline());
}

static exs_executor *throttle(void)
{
	return exs_with_throttle(exs_inline(), 2, NULL);
}

static exs_executor *timeout(void)
{
	return exs_with_timeout(exs_inline(), 30);
}

static exs_executor *poll_throttle(void)
{
	return exs_with_throttle(with_poll(exs_inline()), 2, NULL);
}

static exs_executor *thread_pool(void)
{
	return exs_thread_pool(0);
}

static exs_executor *abandon(void)
{
	return exs_with_timeout_mode(exs_thread_pool(2), 30, EXS_ABANDON);
}

static exs_executor *all_layers(void)
{
	exs_executor *ex = exs_with_retry(with_poll(exs_thread_pool(2)), NULL);

	return exs_with_cancel_on_shutdown(with_map(exs_with_timeout(exs_with_throttle(ex, 2, NULL), 30)));
}

static exs_executor *attached(void)
{
	exs_executor *ex = exs_queue(NULL);

	CHECK_INT(exs_queue_attach(ex, exs_thread_pool(2), NULL), 1);
	return ex;
}

/* Theirs, and ours. */
static exs_executor *(*const made[])(void) = {exs_inline, thread_pool,	 retry,	  poll_,
					      throttle,	  poll_throttle, timeout, exs_thread_pool_default,
					      abandon,	  all_layers,	 attached};

enum { MADE = sizeof(made) / sizeof(*made), N = 1000 };

/* Each test frees the executor. */
static void over_made(void (*test)(exs_executor *ex))
{
	for (int i = 0; i < MADE; i++) {
		int threads = harness_threads();
		exs_executor *ex = made[i]();
		CHECK(ex);
		test(ex);
		CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
		CHECK_INT(harness_threads(), threads);
	}
}

TEST(more_threadleak, no_leak_on_noop)
{
	over_made(exs_executor_free);
}

static void discard(exs_executor *ex)
{
	for (int i = 0; i < N; i++)
		exs_future_unref(more_submit(ex, more_twice, num(i)));
	exs_executor_free(ex);
}

TEST(more_threadleak, no_leak_on_discarded_futures)
{
	over_made(discard);
}

static exs_future **submit(exs_executor *ex)
{
	exs_future **f = malloc(N * sizeof(*f));

	CHECK(f);
	for (int i = 0; i < N; i++)
		f[i] = more_submit(ex, more_twice, num(i));
	return f;
}

static void drop(exs_future **f)
{
	for (long i = 0; i < N; i++)
		more_expect(f[i], 2 * i);
	free(f);
}

static void complete(exs_executor *ex)
{
	drop(submit(ex));
	exs_executor_free(ex);
}

TEST(more_threadleak, no_leak_on_completed_futures)
{
	over_made(complete);
}

static void hold(exs_executor *ex)
{
	int threads = harness_threads();
	exs_future **f = submit(ex);

	CHECK_INT(exs_wait_all(f, N, EXS_FOREVER), EXS_OK);
	exs_executor_free(ex);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	CHECK(harness_threads() <= threads);
	drop(f);
}

TEST(more_threadleak, no_leak_on_completed_held_futures)
{
	over_made(hold);
}

/* Theirs ends its threads when the interpreter does. There is none here: the program ends what it has made. */
static void shut_down(exs_executor *ex)
{
	exs_future **f = submit(ex);

	CHECK_INT(exs_future_wait(f[0], EXS_FOREVER), EXS_OK);
	CHECK_INT(exs_shutdown(ex, EXS_CANCEL_ALL, EXS_FOREVER), 0);
	exs_executor_free(ex);
	for (int i = 0; i < N; i++) {
		CHECK(exs_future_is_done(f[i]));
		exs_future_unref(f[i]);
	}
	free(f);
}

TEST(more_threadleak, no_leak_after_exit)
{
	over_made(shut_down);
}
