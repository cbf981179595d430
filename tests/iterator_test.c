/* Iterator: tasks that emit items. */
#define _POSIX_C_SOURCE 200809L
#include "support.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* A task that emits numbers from 0 up. */
struct emits {
	long n;		  /* so many */
	exs_error *error; /* and then fails with this; NULL: returns */
	bool cancels;	  /* or is cancelled */
	atomic_long emitted;
	atomic_int refused; /* what the emit answered that was refused */
	atomic_uint ends, starts;
};

static exs_result emit_all(void *arg, exs_context *ctx)
{
	struct emits *e = arg;

	atomic_fetch_add(&e->starts, 1);
	for (long i = 0; i < e->n; i++) {
		int rc = exs_emit(ctx, number(i));
		if (rc) {
			atomic_store(&e->refused, rc);
			break;
		}
		atomic_fetch_add(&e->emitted, 1);
	}
	atomic_fetch_add(&e->ends, 1);
	if (e->cancels)
		return exs_cancelled();
	return e->error ? exs_fail(exs_error_ref(e->error)) : number(-1);
}

static void expect_next(exs_stream *s, long n)
{
	exs_item item;

	CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_ITEM);
	CHECK_INT(item.number, n);
	CHECK_INT(*(long *)exs_future_value(item.future), n);
	exs_future_unref(item.future);
}

static void expect_end(exs_stream *s, exs_set_status status)
{
	exs_item item;

	CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), status);
	CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_EMPTY);
}

static exs_stream *stream_of(exs_future *f)
{
	wait_done(f);
	CHECK_INT(exs_future_state(f), EXS_STATE_VALUE);
	return exs_future_value(f);
}

static void end(exs_executor *ex)
{
	exs_executor_free(ex);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	CHECK_INT(atomic_load(&numbers), 0);
	harness_wait_futures(0);
}

TEST(iterator, items_of_a_task)
{
	struct emits e = {.n = 100};
	exs_executor *ex = exs_with_iterator(exs_thread_pool(1), 0);
	exs_future *f = exs_submit(ex, emit_all, &e);
	exs_stream *s = stream_of(f);

	for (long i = 0; i < 100; i++) {
		expect_next(s, i);
		CHECK(atomic_load(&e.emitted) <= i + 2 + 1); /* one ahead, and one that it is about to count */
	}
	expect_end(s, EXS_EMPTY);
	CHECK(!exs_stream_error(s));
	exs_future_unref(f);
	end(ex);
}

TEST(iterator, task_that_emits_nothing)
{
	struct emits e = {.n = 0};
	exs_executor *ex = exs_with_iterator(exs_thread_pool(1), 0);
	exs_future *f = exs_submit(ex, emit_all, &e);

	expect_end(stream_of(f), EXS_EMPTY);
	exs_future_unref(f);
	end(ex);
}

static bool has_emitted_six(void *arg)
{
	return atomic_load(&((struct emits *)arg)->emitted) >= 6;
}

static bool has_emitted_two(void *arg)
{
	return atomic_load(&((struct emits *)arg)->emitted) >= 2;
}

TEST(iterator, stays_so_many_items_ahead)
{
	struct emits e = {.n = LONG_MAX};
	exs_executor *ex = exs_with_iterator(exs_thread_pool(1), 5);
	exs_future *f = exs_submit(ex, emit_all, &e);
	exs_stream *s = stream_of(f);
	char text[100];

	exs_describe(ex, text, sizeof(text));
	CHECK_STR(text, "iterator(5) > thread_pool(1)");
	expect_next(s, 0);
	wait_until(has_emitted_six, &e);
	give_time();
	CHECK_INT(atomic_load(&e.emitted), 6);
	exs_future_unref(f); /* the stream goes: the task is asked to stop */
	wait_count(&e.ends, 1);
	CHECK_INT(e.refused, EXS_ECANCELLED);
	CHECK_INT(atomic_load(&e.emitted), 6);
	end(ex);
}

TEST(iterator, error_after_items_ends_the_stream)
{
	exs_error *error = exs_error_new(&test_domain, 4, "no more");
	struct emits e = {.n = 3, .error = error};
	exs_executor *ex = exs_with_iterator(exs_thread_pool(1), 10);
	exs_future *f = exs_submit(ex, emit_all, &e);
	exs_stream *s = stream_of(f);

	for (long i = 0; i < 3; i++)
		expect_next(s, i);
	expect_end(s, EXS_FAILED);
	CHECK(exs_stream_error(s) == error);
	exs_future_unref(f);
	exs_error_unref(error);
	end(ex);
}

TEST(iterator, task_that_fails_before_it_emits)
{
	exs_error *error = exs_error_new(&test_domain, 4, "not today");
	struct emits e = {.error = error};
	exs_executor *ex =
		exs_with_iterator(exs_with_retry(exs_thread_pool(1), &(exs_retry_options){.sleep = EXS_NONE}), 0);
	exs_future *f = exs_submit(ex, emit_all, &e);
	exs_stream *s = stream_of(f);

	expect_end(s, EXS_FAILED);
	CHECK(exs_stream_error(s) == error);
	CHECK_INT(atomic_load(&e.starts), 3); /* the retry is below */
	exs_future_unref(f);
	exs_error_unref(error);
	end(ex);
}

TEST(iterator, cancelled_task)
{
	struct emits e = {.cancels = true}, later = {.n = 2, .cancels = true};
	exs_executor *ex = exs_with_iterator(exs_thread_pool(1), 5);

	exs_future *f = exs_submit(ex, emit_all, &e);
	expect_end(stream_of(f), EXS_FAILED);
	exs_future_unref(f);
	f = exs_submit(ex, emit_all, &later);
	exs_stream *s = stream_of(f);
	expect_next(s, 0);
	expect_next(s, 1);
	expect_end(s, EXS_FAILED);
	CHECK(exs_error_is(exs_stream_error(s), &exs_domain_exs, EXS_ECANCELLED));
	exs_future_unref(f);
	end(ex);
}

TEST(iterator, inline_keeps_all)
{
	struct emits e = {.n = 1000};
	exs_executor *ex = exs_with_iterator(exs_inline(), 0);
	exs_future *f = exs_submit(ex, emit_all, &e);
	exs_stream *s = stream_of(f);

	CHECK_INT(atomic_load(&e.ends), 1);
	for (long i = 0; i < 1000; i++)
		expect_next(s, i);
	expect_end(s, EXS_EMPTY);
	exs_future_unref(f);
	end(ex);
}

TEST(iterator, on_an_event_loop_keeps_all)
{
	struct emits e = {.n = 100};
	exs_executor *ex = exs_with_iterator(exs_event_loop(), 0);
	exs_future *f = exs_submit(ex, emit_all, &e);

	CHECK(exs_event_loop_run_once(ex, 0) >= 1);
	exs_stream *s = stream_of(f);
	for (long i = 0; i < 100; i++)
		expect_next(s, i);
	expect_end(s, EXS_EMPTY);
	exs_future_unref(f);
	end(ex);
}

static sem_t entered, go;

static exs_result wait_then_emit(void *arg, exs_context *ctx)
{
	sem_post(&entered);
	sem_take(&go);
	CHECK_INT(exs_context_cause(ctx), EXS_CAUSE_USER);
	return emit_all(arg, ctx);
}

TEST(iterator, cancel_before_the_first_item)
{
	struct emits e = {.n = 5, .cancels = true};
	exs_executor *ex = exs_with_iterator(exs_thread_pool(1), 0);

	sem_init(&entered, 0, 0);
	sem_init(&go, 0, 0);
	exs_future *f = exs_submit(ex, wait_then_emit, &e);
	sem_take(&entered);
	CHECK_INT(exs_future_cancel(f), EXS_TOO_LATE); /* it is done: with the stream */
	exs_stream_cancel(stream_of(f));
	expect_end(stream_of(f), EXS_EMPTY);
	sem_post(&go);
	wait_count(&e.ends, 1);
	CHECK_INT(e.refused, EXS_ECANCELLED);
	exs_future_unref(f);
	end(ex);
}

/* A task that waits for room is woken when it is asked to stop by a layer below the iterator. */
TEST(iterator, stop_wakes_a_task_that_waits_for_room)
{
	struct emits e = {.n = LONG_MAX, .cancels = true};
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_iterator(exs_with_timeout(exs_with_clock(exs_thread_pool(1), clock), 5), 0);
	exs_future *f = exs_submit(ex, emit_all, &e);
	exs_stream *s = stream_of(f);
	exs_item item;

	expect_next(s, 0);
	wait_until(has_emitted_two, &e);
	give_time();
	wait_next(clock, 5);
	advance(clock, 5);
	wait_count(&e.ends, 1); /* nobody reads */
	while (exs_stream_next(s, &item, EXS_FOREVER) == EXS_ITEM)
		exs_future_unref(item.future);
	CHECK(exs_error_is(exs_stream_error(s), &exs_domain_exs, EXS_ETIMEDOUT));
	CHECK_INT(e.refused, EXS_ECANCELLED);
	exs_future_unref(f);
	end(ex);
	exs_clock_unref(clock);
}

/* The stream is stopped, its task is not: there is no room any more, and that is all it is told. */
TEST(iterator, end_of_the_stream_wakes_a_task_that_waits_for_room)
{
	struct emits e = {.n = LONG_MAX};
	exs_executor *ex = exs_with_iterator(exs_thread_pool(1), 2);
	exs_future *f = exs_submit(ex, emit_all, &e);
	exs_stream *s = stream_of(f);

	wait_until(has_emitted_two, &e);
	give_time();
	exs_stream_stop(s, NULL);
	wait_count(&e.ends, 1);
	CHECK_INT(e.refused, EXS_ECANCELLED);
	expect_next(s, 0);
	expect_next(s, 1);
	expect_end(s, EXS_EMPTY);
	exs_future_unref(f);
	end(ex);
}

/* The waiter does not run it: it would wait for a reader below itself on the stack. */
static exs_result wait_and_read(void *arg, exs_context *ctx)
{
	struct emits e = {.n = 50};
	exs_future *f = exs_submit(arg, emit_all, &e);
	exs_stream *s = stream_of(f);

	(void)ctx;
	for (long i = 0; i < 50; i++)
		expect_next(s, i);
	expect_end(s, EXS_EMPTY);
	exs_future_unref(f);
	wait_count(&e.ends, 1);
	return exs_ok(NULL, NULL);
}

TEST(iterator, read_on_a_worker_of_the_same_pool)
{
	exs_executor *pool = exs_thread_pool(1);
	exs_executor *ex = exs_with_iterator(exs_borrow(pool), 0);

	expect_value(exs_submit(pool, wait_and_read, ex), NULL);
	exs_executor_free(ex);
	end(pool);
}

/* Also through children of children. */
TEST(iterator, argument_is_freed_once)
{
	for (int above = 0; above < 2; above++) {
		struct job job;
		exs_executor *ex = exs_with_iterator(exs_thread_pool(1), 0);
		if (above)
			ex = exs_with_timeout_mode(ex, 60, EXS_ABANDON);
		job_init(&job);
		exs_future *f = job_submit(ex, &job);
		expect_end(stream_of(f), EXS_EMPTY);
		exs_future_unref(f);
		job_fini(&job);
		exs_executor_free(ex);
	}
}

TEST(iterator, above_a_timeout_that_abandons)
{
	struct emits e = {.n = 20};
	exs_executor *ex = exs_with_iterator(exs_with_timeout_mode(exs_thread_pool(1), 60, EXS_ABANDON), 0);
	exs_future *f = exs_submit(ex, emit_all, &e);
	exs_stream *s = stream_of(f);

	for (long i = 0; i < 20; i++)
		expect_next(s, i);
	expect_end(s, EXS_EMPTY);
	exs_future_unref(f);
	end(ex);
}

static bool once_more(void *ctx, const exs_attempt *attempt, double *delay, exs_error **error)
{
	(void)error;
	atomic_fetch_add((atomic_uint *)ctx, 1);
	*delay = 0;
	return attempt->attempt == 1;
}

/* Its task has begun, and its argument is in other hands: a retry above can't have another stream of it. */
TEST(iterator, below_a_retry_that_is_not_content)
{
	atomic_uint asked = 0;
	struct job job;
	exs_executor *ex = exs_with_retry(exs_with_iterator(exs_thread_pool(1), 0),
					  &(exs_retry_options){.policy = once_more, .ctx = &asked});

	job_init(&job);
	expect_code(job_submit(ex, &job), &exs_domain_exs, EXS_EALREADY);
	CHECK_INT(atomic_load(&asked), 2);
	end(ex);
	CHECK(atomic_load(&job.starts) <= 1);
	job_fini(&job);
}

static void check_described(size_t max_results, const char *as)
{
	exs_executor *ex = exs_with_iterator(exs_inline(), max_results);
	char text[100];

	exs_describe(ex, text, sizeof(text));
	CHECK_STR(text, as);
	exs_executor_free(ex);
}

TEST(iterator, says_how_far_it_goes_ahead)
{
	check_described(7, "iterator(7) > inline");
	check_described(EXS_UNLIMITED, "iterator(unlimited) > inline");
}

TEST(iterator, without_limit)
{
	struct emits e = {.n = 5000};
	exs_executor *ex = exs_with_iterator(exs_thread_pool(1), EXS_UNLIMITED);
	exs_future *f = exs_submit(ex, emit_all, &e);

	wait_count(&e.ends, 1); /* nobody reads */
	CHECK_INT(exs_stream_count(stream_of(f)), 5000);
	exs_future_unref(f);
	end(ex);
}

TEST(iterator, misuse)
{
	struct emits e = {.n = 1};
	exs_executor *ex = exs_thread_pool(1);

	exs_future *f = exs_submit(ex, emit_all, &e);
	wait_done(f);
	exs_future_unref(f);
	CHECK_INT(e.refused, EXS_EINVAL);
	CHECK_INT(exs_emit(NULL, number(1)), EXS_EINVAL);
	CHECK(!exs_with_iterator(NULL, 1));
	CHECK(!exs_with_iterator(ex, EXS_NONE));
	CHECK(exs_error_is(exs_last_error(), &exs_domain_exs, EXS_EINVAL));
	CHECK_INT(atomic_load(&numbers), 0);
}
