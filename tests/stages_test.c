/* Stages of streams: one takes its inputs from another; items gathered into batches. */
#define _POSIX_C_SOURCE 200809L
#include "support.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>

static exs_result plus_one(void *arg, exs_context *ctx)
{
	(void)ctx;
	return number(*(long *)arg + 1);
}

static exs_result thirds_fail(void *arg, exs_context *ctx)
{
	long n = *(long *)arg;

	(void)ctx;
	return n % 3 == 2 ? exs_fail(exs_error_new(&test_domain, (int)n, "a third")) : number(n);
}

static void expect_item(exs_stream *s, uint64_t n, long value)
{
	exs_item item;

	CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_ITEM);
	CHECK_INT(item.number, n);
	CHECK_INT(exs_future_state(item.future), EXS_STATE_VALUE);
	CHECK_INT(*(long *)exs_future_value(item.future), value);
	exs_future_unref(item.future);
}

static void expect_end(exs_stream *s)
{
	exs_item item;

	CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_EMPTY);
}

static void expect_failure(exs_stream *s, int code)
{
	exs_item item;

	CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_FAILED);
	CHECK(exs_error_is(exs_last_error(), &test_domain, code));
	CHECK(exs_error_is(exs_stream_error(s), &test_domain, code));
	expect_end(s);
}

static void end(exs_stream *s, exs_executor *a, exs_executor *b)
{
	exs_stream_free(s);
	exs_executor_free(a);
	exs_executor_free(b);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	CHECK_INT(atomic_load(&numbers), 0);
	harness_wait_futures(0);
}

/* --- one function after the other --- */

TEST(stages, two_functions_on_two_executors)
{
	struct number_source c = {.end = 200};
	exs_executor *a = exs_thread_pool(2), *b = exs_thread_pool(2);
	exs_stream *s = exs_stream_new(a, plus_one, number_next, &c,
				       &(exs_stream_options){.max_results = 8, .source_free = number_source_free});

	s = exs_stream_map(s, b, twice_number, &(exs_stream_options){.max_results = 8});
	for (long i = 0; i < 200; i++)
		expect_item(s, (uint64_t)i, 2 * (i + 1));
	expect_end(s);
	CHECK(!exs_stream_error(s));
	end(s, a, b);
	CHECK_INT(c.freed, 1);
}

TEST(stages, many_of_one_pool_with_one_worker)
{
	struct number_source c = {.end = 50};
	exs_executor *a = exs_thread_pool(1);
	exs_stream *s = exs_stream_new(a, plus_one, number_next, &c, &(exs_stream_options){.max_results = 3});

	for (int i = 0; i < 10; i++)
		s = exs_stream_map(s, a, plus_one, &(exs_stream_options){.max_results = 1 + (size_t)i % 3});
	for (long i = 0; i < 50; i++)
		expect_item(s, (uint64_t)i, i + 11);
	expect_end(s);
	end(s, a, NULL);
}

/* Items move on by themselves: the reader has not asked for any. */
static bool is_full(void *stream)
{
	return exs_stream_count(stream) == 5;
}

TEST(stages, bounded_each)
{
	struct number_source c = {.end = LONG_MAX};
	exs_executor *a = exs_thread_pool(1), *b = exs_thread_pool(1);
	exs_stream *in = exs_stream_new(a, plus_one, number_next, &c, &(exs_stream_options){.max_results = 3});
	exs_stream *s = exs_stream_map(in, b, twice_number, &(exs_stream_options){.max_results = 5});
	exs_item item;

	for (int i = 0; i < 20; i++) {
		CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_ITEM);
		exs_future_unref(item.future);
		CHECK(exs_stream_count(in) <= 3);
		CHECK(exs_stream_count(s) <= 5);
	}
	wait_until(is_full, s);
	give_time();
	CHECK(c.n <= 20 + 3 + 5);
	end(s, a, b);
}

TEST(stages, item_that_fails_keeps_its_place)
{
	struct number_source c = {.end = 30};
	exs_executor *a = exs_thread_pool(2), *b = exs_thread_pool(2);
	exs_stream *s = exs_stream_map(exs_stream_new(a, thirds_fail, number_next, &c, NULL), b, twice_number, NULL);
	exs_item item;

	for (int i = 0; i < 30; i++) {
		if (i % 3 < 2) {
			expect_item(s, (uint64_t)i, 2L * i);
			continue;
		}
		CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_ITEM);
		CHECK(exs_error_is(exs_future_error(item.future), &test_domain, i));
		exs_future_unref(item.future);
	}
	expect_end(s);
	end(s, a, b);
}

/* --- ends and errors travel --- */

TEST(stages, source_that_fails_is_told_below)
{
	struct number_source c = {.end = 30, .fails = 4};
	exs_executor *a = exs_thread_pool(2), *b = exs_thread_pool(2);
	exs_stream *s = exs_stream_map(exs_stream_new(a, plus_one, number_next, &c, NULL), b, twice_number, NULL);

	for (long i = 0; i < 4; i++)
		expect_item(s, (uint64_t)i, 2 * (i + 1));
	expect_failure(s, 7);
	end(s, a, b);
}

TEST(stages, cancel_goes_up)
{
	struct number_source c = {.end = LONG_MAX};
	exs_executor *a = exs_thread_pool(1), *b = exs_thread_pool(1);
	exs_stream *in = exs_stream_new(a, plus_one, number_next, &c, NULL);
	exs_stream *s = exs_stream_map(in, b, twice_number, NULL);

	expect_item(s, 0, 2);
	exs_stream_cancel(s);
	expect_end(s);
	CHECK(exs_error_is(exs_stream_error(in), &exs_domain_exs, EXS_ECANCELLED));
	CHECK_INT(exs_stream_count(in), 0);
	end(s, a, b);
}

TEST(stages, cancel_above_comes_down)
{
	struct number_source c = {.end = LONG_MAX};
	exs_executor *a = exs_thread_pool(1), *b = exs_thread_pool(1);
	exs_stream *in = exs_stream_new(a, plus_one, number_next, &c, NULL);
	exs_stream *s = exs_stream_map(in, b, twice_number, NULL);
	exs_item item;
	exs_set_status status;

	expect_item(s, 0, 2);
	exs_stream_cancel(in);
	while ((status = exs_stream_next(s, &item, EXS_FOREVER)) == EXS_ITEM)
		exs_future_unref(item.future);
	CHECK_INT(status, EXS_FAILED);
	CHECK(exs_error_is(exs_stream_error(s), &exs_domain_exs, EXS_ECANCELLED));
	expect_end(s);
	end(s, a, b);
}

static bool has_error(void *s)
{
	return exs_stream_error(s);
}

TEST(stages, stop_on_error_below_cancels_above)
{
	struct number_source c = {.end = LONG_MAX};
	exs_executor *a = exs_thread_pool(1), *b = exs_thread_pool(1);
	exs_stream *in = exs_stream_new(a, plus_one, number_next, &c, NULL);
	exs_stream *s = exs_stream_map(in, b, thirds_fail, &(exs_stream_options){.stop_on_error = true});

	expect_item(s, 0, 1);
	expect_failure(s, 2);
	wait_until(has_error, in); /* it is told after the reader is */
	CHECK(exs_error_is(exs_stream_error(in), &exs_domain_exs, EXS_ECANCELLED));
	end(s, a, b);
}

TEST(stages, stop_lets_what_is_on_its_way_come)
{
	struct number_source c = {.end = LONG_MAX};
	exs_executor *a = exs_inline(), *b = exs_inline();
	exs_stream *in = exs_stream_new(a, plus_one, number_next, &c, NULL);
	exs_stream *s = exs_stream_map(in, b, twice_number, NULL);

	expect_item(s, 0, 2);
	exs_stream_stop(s, exs_error_new(&test_domain, 9, "enough"));
	long asked = c.n;
	for (long i = 1; i < asked; i++)
		expect_item(s, (uint64_t)i, 2 * (i + 1));
	CHECK(asked > 1);
	expect_failure(s, 9);
	CHECK_INT(c.n, asked);
	end(s, a, b);
}

TEST(stages, paused_below_fills_above)
{
	struct number_source c = {.end = LONG_MAX};
	exs_executor *a = exs_inline(), *b = exs_inline();
	exs_stream *in = exs_stream_new(a, plus_one, number_next, &c, &(exs_stream_options){.max_results = 4});
	exs_stream *s = exs_stream_map(in, b, twice_number, NULL);
	exs_item item;

	exs_stream_pause(s);
	expect_item(s, 0, 2);
	CHECK_INT(exs_stream_next(s, &item, 0), EXS_TIMEOUT);
	exs_stream_resume(s);
	expect_item(s, 1, 4);
	end(s, a, b);
}

/* --- batches --- */

static exs_items *expect_batch(exs_stream *s, uint64_t n, size_t size, exs_item *item)
{
	CHECK_INT(exs_stream_next(s, item, EXS_FOREVER), EXS_ITEM);
	CHECK_INT(item->number, n);
	exs_items *items = exs_future_value(item->future);
	CHECK(items != NULL);
	CHECK_INT(items->n, size);
	return items;
}

TEST(stages, batches_and_the_rest)
{
	struct number_source c = {.end = 25};
	exs_executor *a = exs_thread_pool(2);
	exs_stream *s = exs_stream_batch(exs_stream_new(a, plus_one, number_next, &c, NULL), 10, EXS_FOREVER, NULL);
	exs_item item;
	long n = 0;

	for (uint64_t b = 0; b < 3; b++) {
		exs_items *items = expect_batch(s, b, b < 2 ? 10 : 5, &item);
		for (size_t i = 0; i < items->n; i++, n++) {
			CHECK_INT(items->items[i].number, n);
			CHECK_INT(*(long *)exs_future_value(items->items[i].future), n + 1);
		}
		exs_future_unref(item.future);
	}
	expect_end(s);
	end(s, a, NULL);
}

TEST(stages, batch_after_so_many_seconds)
{
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *a = exs_with_clock(exs_thread_pool(1), clock);
	exs_stream *in = exs_stream_new(a, NULL, NULL, NULL, NULL);
	exs_stream *s = exs_stream_batch(in, 10, 2, NULL);
	exs_item item;

	CHECK_INT(exs_stream_push(in, number(1), 0), EXS_OK);
	advance(clock, 1.5);
	CHECK_INT(exs_stream_push(in, number(2), 0), EXS_OK);
	CHECK_INT(exs_stream_next(s, &item, 0), EXS_TIMEOUT);
	advance(clock, 0.5);
	expect_batch(s, 0, 2, &item);
	exs_future_unref(item.future);
	for (int i = 0; i < 10; i++) /* full before the time is up, which counts anew for the next */
		CHECK_INT(exs_stream_push(in, number(i), 0), EXS_OK);
	expect_batch(s, 1, 10, &item);
	exs_future_unref(item.future);
	advance(clock, 1);
	CHECK_INT(exs_stream_push(in, number(3), 0), EXS_OK);
	advance(clock, 1.5);
	CHECK_INT(exs_stream_next(s, &item, 0), EXS_TIMEOUT);
	advance(clock, 0.5);
	expect_batch(s, 2, 1, &item);
	exs_future_unref(item.future);
	exs_stream_stop(s, NULL);
	expect_end(s);
	end(s, a, NULL);
	exs_clock_unref(clock);
}

TEST(stages, batch_of_what_there_is)
{
	exs_executor *a = exs_inline();
	exs_stream *in = exs_stream_new(a, NULL, NULL, NULL, NULL);
	exs_stream *s = exs_stream_batch(in, 10, 0, NULL);
	exs_item item;

	for (int i = 0; i < 4; i++)
		CHECK_INT(exs_stream_push(in, number(i), 0), EXS_OK);
	expect_batch(s, 0, 1, &item); /* the first came alone, and max_results is 1 */
	exs_future_unref(item.future);
	expect_batch(s, 1, 3, &item);
	exs_future_unref(item.future);
	end(s, a, NULL);
}

static exs_result sum_of_batch(void *arg, exs_context *ctx)
{
	const exs_items *items = arg;
	long sum = 0;

	(void)ctx;
	for (size_t i = 0; i < items->n; i++)
		sum += *(long *)exs_future_value(items->items[i].future);
	return number(sum);
}

/* stream -> map on another executor -> batch -> map -> reader */
TEST(stages, four_in_a_row)
{
	struct number_source c = {.end = 1000};
	exs_executor *a = exs_thread_pool(2), *b = exs_thread_pool(2);
	exs_stream *s = exs_stream_new(a, plus_one, number_next, &c, &(exs_stream_options){.max_results = 16});

	s = exs_stream_map(s, b, twice_number, &(exs_stream_options){.max_results = 16});
	s = exs_stream_batch(s, 50, 10, NULL);
	s = exs_stream_map(s, a, sum_of_batch, NULL);
	for (long i = 0; i < 20; i++)
		expect_item(s, (uint64_t)i, 2 * (50 * 50 * i + 50 * 51 / 2));
	expect_end(s);
	end(s, a, b);
}

TEST(stages, misuse)
{
	struct number_source c = {.end = LONG_MAX};
	exs_executor *a = exs_inline();

	CHECK(!exs_stream_map(NULL, a, twice_number, NULL));
	CHECK(!exs_stream_batch(NULL, 1, 1, NULL));
	CHECK(!exs_stream_map(exs_stream_new(a, twice_number, number_next, &c, NULL), NULL, twice_number, NULL));
	CHECK(!exs_stream_map(exs_stream_new(a, twice_number, number_next, &c, NULL), a, NULL, NULL));
	CHECK(!exs_stream_batch(exs_stream_new(a, twice_number, number_next, &c, NULL), 0, 1, NULL));
	CHECK_STR(exs_error_message(exs_last_error()), "exs_stream_batch: n is 0: a batch has 1 item or more");
	CHECK(!exs_stream_batch(exs_stream_new(a, twice_number, number_next, &c, NULL), 1, -1, NULL));
	CHECK(!exs_stream_batch(exs_stream_new(a, twice_number, number_next, &c, NULL), 1, NAN, NULL));
	end(NULL, a, NULL);
}
