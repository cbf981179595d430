/* Streams: every line of semantics 6 that is about exs_stream, and of exs_stream.h. */
#define _POSIX_C_SOURCE 200809L
#include "support.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

enum { SOME = 100 };

/* --- sources and functions --- */

static exs_result odd_ones_fail(void *arg, exs_context *ctx)
{
	long n = *(long *)arg;

	(void)ctx;
	return n % 2 ? exs_fail(exs_error_new(&test_domain, (int)n, "odd")) : number(n);
}

/* Later ones are done first: each waits for the one after it, in groups of four. */
struct reversed {
	sem_t done[4];
};
static struct reversed reversed;

static exs_result in_reverse(void *arg, exs_context *ctx)
{
	long n = *(long *)arg;

	(void)ctx;
	if (n % 4 < 3)
		sem_take(&reversed.done[n % 4 + 1]);
	if (n % 4)
		sem_post(&reversed.done[n % 4]);
	return number(n);
}

static long number_in(exs_future *f)
{
	CHECK_INT(exs_future_state(f), EXS_STATE_VALUE);
	return *(long *)exs_future_value(f);
}

static void expect_item(exs_stream *s, uint64_t n, long value)
{
	exs_item item;

	CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_ITEM);
	CHECK_INT(item.number, n);
	CHECK_INT(number_in(item.future), value);
	exs_future_unref(item.future);
}

static void expect_status(exs_stream *s, exs_set_status status)
{
	exs_item item;

	CHECK_INT(exs_stream_next(s, &item, 0), status);
	CHECK(!item.future);
}

static void expect_end(exs_stream *s)
{
	exs_item item;

	CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_EMPTY);
	CHECK(!item.future);
	expect_status(s, EXS_EMPTY);
}

static void end(exs_stream *s, exs_executor *ex)
{
	exs_stream_free(s);
	exs_executor_free(ex);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	CHECK_INT(atomic_load(&numbers), 0);
	harness_wait_futures(0);
}

/* --- in order --- */

TEST(stream, in_the_order_of_the_inputs)
{
	struct number_source c = {.end = SOME};
	exs_executor *ex = exs_thread_pool(4);
	exs_stream *s = exs_stream_new(ex, twice_number, number_next, &c,
				       &(exs_stream_options){.source_free = number_source_free});

	for (int i = 0; i < SOME; i++)
		expect_item(s, (uint64_t)i, 2L * i);
	expect_end(s);
	CHECK(!exs_stream_error(s));
	CHECK_INT(atomic_load(&c.freed), 0);
	end(s, ex);
	CHECK_INT(atomic_load(&c.freed), 1);
}

TEST(stream, in_order_whichever_is_done_first)
{
	struct number_source c = {.end = 40};
	exs_executor *ex = exs_thread_pool(4);

	for (int i = 0; i < 4; i++)
		sem_init(&reversed.done[i], 0, 0);
	exs_stream *s = exs_stream_new(ex, in_reverse, number_next, &c, NULL);
	for (int i = 0; i < 40; i++)
		expect_item(s, (uint64_t)i, i);
	expect_end(s);
	end(s, ex);
}

TEST(stream, inline_is_as_lazy_as_it_can_be)
{
	struct number_source c = {.end = SOME};
	exs_executor *ex = exs_inline();
	exs_stream *s = exs_stream_new(ex, twice_number, number_next, &c, NULL);

	for (int i = 0; i < SOME; i++) {
		CHECK_INT(c.n, i + 1);
		expect_item(s, (uint64_t)i, 2L * i);
	}
	expect_end(s);
	end(s, ex);
}

/* The original fails. */
TEST(stream, empty_source_ends_at_once)
{
	struct number_source c = {.end = 0};
	exs_executor *ex = exs_thread_pool(1);
	exs_stream *s = exs_stream_new(ex, twice_number, number_next, &c, NULL);

	expect_status(s, EXS_EMPTY);
	expect_end(s);
	CHECK(!exs_stream_error(s));
	CHECK_INT(atomic_load(&c.asked), 1);
	end(s, ex);
}

/* In the original reading ends with it. */
TEST(stream, goes_on_after_an_item_that_fails)
{
	struct number_source c = {.end = 10};
	exs_executor *ex = exs_thread_pool(2);
	exs_stream *s = exs_stream_new(ex, odd_ones_fail, number_next, &c, NULL);

	for (int i = 0; i < 10; i++) {
		exs_item item;
		CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_ITEM);
		CHECK_INT(item.number, i);
		CHECK_INT(exs_future_state(item.future), i % 2 ? EXS_STATE_ERROR : EXS_STATE_VALUE);
		if (i % 2)
			CHECK_INT(exs_error_code(exs_future_error(item.future)), i);
		exs_future_unref(item.future);
	}
	expect_end(s);
	CHECK(!exs_stream_error(s));
	end(s, ex);
}

/* The original hangs. */
TEST(stream, source_that_fails_ends_it_after_the_items_before)
{
	struct number_source c = {.end = 10, .fails = 5};
	exs_executor *ex = exs_thread_pool(2);
	exs_stream *s = exs_stream_new(ex, twice_number, number_next, &c, NULL);
	exs_item item;

	for (int i = 0; i < 5; i++)
		expect_item(s, (uint64_t)i, 2L * i);
	CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_FAILED);
	CHECK(exs_error_is(exs_last_error(), &test_domain, 7));
	CHECK_STR(exs_error_message(exs_last_error()), "the source has failed");
	CHECK(exs_error_is(exs_stream_error(s), &test_domain, 7));
	expect_end(s);
	CHECK_INT(atomic_load(&c.asked), 6);
	end(s, ex);
}

/* --- bounded --- */

static exs_result gated(void *arg, exs_context *ctx)
{
	(void)ctx;
	return number(*(long *)arg);
}

static bool has_asked(void *arg)
{
	struct number_source *c = arg;

	return atomic_load(&c->asked) == 5;
}

TEST(stream, slow_reader_pauses_production)
{
	struct number_source c = {.end = LONG_MAX};
	exs_executor *ex = exs_thread_pool(2);
	exs_stream *s = exs_stream_new(ex, gated, number_next, &c, &(exs_stream_options){.max_results = 5});

	while (exs_stream_count(s) < 5) { /* the first that was done in its submit has left the rest to a reader */
		exs_item item;
		CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_ITEM);
		exs_future_unref(item.future);
	}
	(void)has_asked;
	long before = atomic_load(&c.asked);
	wait_until(pool_is_idle, ex);
	give_time();
	CHECK_INT(atomic_load(&c.asked), before);
	CHECK_INT(exs_stream_count(s), 5);
	CHECK(atomic_load(&numbers) <= 5 * 2); /* inputs are gone, or soon */
	end(s, ex);
}

TEST(stream, one_at_a_time)
{
	struct number_source c = {.end = 20};
	exs_executor *ex = exs_thread_pool(2);
	exs_stream *s = exs_stream_new(ex, twice_number, number_next, &c, &(exs_stream_options){.max_results = 1});

	for (int i = 0; i < 20; i++) {
		CHECK(atomic_load(&c.asked) <= i + 1);
		expect_item(s, (uint64_t)i, 2L * i);
	}
	expect_end(s);
	end(s, ex);
}

/* --- its end --- */

/* The original hangs. */
TEST(stream, cancel_with_a_full_buffer)
{
	struct number_source c = {.end = LONG_MAX};
	exs_executor *ex = exs_thread_pool(2);
	exs_stream *s = exs_stream_new(ex, twice_number, number_next, &c, &(exs_stream_options){.max_results = 4});

	wait_until(pool_is_idle, ex);
	exs_stream_cancel(s);
	expect_end(s);
	CHECK(exs_error_is(exs_stream_error(s), &exs_domain_exs, EXS_ECANCELLED));
	exs_stream_cancel(s);
	CHECK_INT(exs_stream_count(s), 0);
	long before = atomic_load(&c.asked);
	expect_status(s, EXS_EMPTY);
	CHECK_INT(atomic_load(&c.asked), before);
	end(s, ex);
}

static exs_result job_of(void *arg, exs_context *ctx)
{
	return job_run(arg, ctx);
}

struct jobs {
	struct job *jobs;
	int n, end;
};

static bool jobs_next(void *ctx, exs_result *input)
{
	struct jobs *j = ctx;

	if (j->n == j->end)
		return false;
	*input = exs_ok(&j->jobs[j->n++], job_free_arg);
	return true;
}

static void init_gated(struct job *jobs, int n)
{
	for (int i = 0; i < n; i++) {
		job_init(&jobs[i]);
		jobs[i].gated = true;
	}
}

static void *cancel_it(void *stream)
{
	exs_stream_cancel(stream);
	return NULL;
}

TEST(stream, cancel_wakes_a_reader_and_stops_what_runs)
{
	struct job jobs[3];
	struct jobs j = {jobs, 0, 3};
	exs_executor *ex = exs_thread_pool(1);
	exs_item item;

	for (int i = 0; i < 3; i++) {
		job_init(&jobs[i]);
		jobs[i].gated = jobs[i].polite = true;
	}
	exs_stream *s = exs_stream_new(ex, job_of, jobs_next, &j, NULL);
	sem_take(&jobs[0].entered);
	pthread_t t = thread_start(cancel_it, s);
	CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_EMPTY);
	thread_join(t);
	wait_count(&jobs[0].stops, 1);
	CHECK_INT(atomic_load(&jobs[0].cause), EXS_CAUSE_USER);
	CHECK_INT(atomic_load(&jobs[1].starts) + atomic_load(&jobs[2].starts), 0);
	exs_stream_free(s);
	exs_executor_free(ex);
	for (int i = 0; i < 3; i++)
		job_fini(&jobs[i]);
}

TEST(stream, stop_ends_it_after_what_is_in_it)
{
	struct number_source c = {.end = LONG_MAX};
	exs_executor *ex = exs_inline();
	exs_stream *s = exs_stream_new(ex, twice_number, number_next, &c, NULL);

	expect_item(s, 0, 0);
	exs_stream_stop(s, NULL);
	expect_item(s, 1, 2);
	expect_end(s);
	CHECK(!exs_stream_error(s));
	exs_stream_stop(s, exs_error_new(&test_domain, 1, "too late"));
	CHECK(!exs_stream_error(s));
	expect_end(s);
	exs_stream_cancel(s);
	CHECK(!exs_stream_error(s)); /* it had ended */
	end(s, ex);
}

TEST(stream, stop_with_an_error)
{
	struct number_source c = {.end = LONG_MAX};
	exs_executor *ex = exs_inline();
	exs_stream *s = exs_stream_new(ex, twice_number, number_next, &c, NULL);

	exs_stream_stop(s, exs_error_new(&test_domain, 3, "enough"));
	exs_stream_stop(s, exs_error_new(&test_domain, 4, "the second does not count"));
	expect_item(s, 0, 0);
	expect_status(s, EXS_FAILED);
	CHECK(exs_error_is(exs_last_error(), &test_domain, 3));
	expect_end(s);
	end(s, ex);
}

TEST(stream, stop_on_error_drops_what_comes_after)
{
	struct number_source c = {.end = 8};
	exs_executor *ex = exs_thread_pool(2);
	exs_stream *s =
		exs_stream_new(ex, odd_ones_fail, number_next, &c, &(exs_stream_options){.stop_on_error = true});
	exs_item item;

	expect_item(s, 0, 0);
	CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_FAILED);
	CHECK(exs_error_is(exs_last_error(), &test_domain, exs_error_code(exs_stream_error(s))));
	expect_end(s);
	CHECK_INT(exs_stream_count(s), 0);
	end(s, ex);
}

TEST(stream, freed_while_items_are_on_their_way)
{
	struct number_source c = {.end = LONG_MAX};
	exs_executor *ex = exs_thread_pool(4);

	for (int i = 0; i < 50; i++) {
		exs_stream *s =
			exs_stream_new(ex, twice_number, number_next, &c, &(exs_stream_options){.max_results = 20});
		for (int k = 0; k < i % 5; k++) {
			exs_item item;
			CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_ITEM);
			exs_future_unref(item.future);
		}
		exs_stream_free(s);
	}
	end(NULL, ex);
}

TEST(stream, outlives_the_executor)
{
	struct number_source c = {.end = LONG_MAX};
	exs_executor *ex = exs_thread_pool(1);
	exs_stream *s = exs_stream_new(ex, twice_number, number_next, &c, &(exs_stream_options){.max_results = 2});
	exs_item item;

	exs_executor_free(ex);
	do {
		CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_ITEM);
		bool failed = exs_error_is(exs_future_error(item.future), &exs_domain_exs, EXS_ESHUTDOWN);
		exs_future_unref(item.future);
		if (failed)
			break;
	} while (true);
	end(s, NULL);
}

/* --- waiting --- */

TEST(stream, next_waits_no_longer_than_it_is_told)
{
	struct job job;
	struct jobs j = {&job, 0, 1};
	exs_executor *ex = exs_thread_pool(1);
	exs_item item;

	job_init(&job);
	job.gated = true;
	exs_stream *s = exs_stream_new(ex, job_of, jobs_next, &j, NULL);
	CHECK_INT(exs_stream_next(s, &item, 0), EXS_TIMEOUT);
	CHECK_INT(exs_stream_next(s, &item, 0.001), EXS_TIMEOUT);
	CHECK_INT(exs_stream_next(s, &item, -1), EXS_FAILED);
	CHECK(exs_error_is(exs_last_error(), &exs_domain_exs, EXS_EINVAL));
	CHECK_INT(exs_stream_next(s, &item, NAN), EXS_FAILED);
	CHECK_INT(exs_stream_next(s, NULL, 0), EXS_FAILED);
	CHECK_INT(exs_stream_next(NULL, &item, 0), EXS_FAILED);
	sem_post(&job.open);
	CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_ITEM);
	CHECK(exs_future_value(item.future) == &job);
	exs_future_unref(item.future);
	expect_end(s);
	exs_stream_free(s);
	exs_executor_free(ex);
	job_fini(&job);
}

static bool readable(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, ms) == 1;
}

TEST(stream, descriptor_says_when_there_is_something_to_read)
{
	struct job jobs[2];
	struct jobs j = {jobs, 0, 2};
	exs_executor *ex = exs_thread_pool(2);
	exs_item item;

	init_gated(jobs, 2);
	exs_stream *s = exs_stream_new(ex, job_of, jobs_next, &j, NULL);
	int fd = exs_stream_fd(s);
	CHECK(fd >= 0);
	CHECK_INT(exs_stream_fd(s), fd);
	CHECK(!readable(fd, 0));
	sem_post(&jobs[1].open);
	wait_count(&jobs[1].ends, 1);
	give_time();
	CHECK(!readable(fd, 0)); /* it is not its turn */
	sem_post(&jobs[0].open);
	CHECK(readable(fd, -1));
	for (int i = 0; i < 2; i++) {
		CHECK(readable(fd, -1));
		CHECK_INT(exs_stream_next(s, &item, 0), EXS_ITEM);
		exs_future_unref(item.future);
	}
	CHECK(readable(fd, 0)); /* the end */
	expect_end(s);
	exs_stream_free(s);
	exs_executor_free(ex);
	for (int i = 0; i < 2; i++)
		job_fini(&jobs[i]);
	CHECK_INT(exs_stream_fd(NULL), -1);
}

TEST(stream, no_descriptor_to_be_had)
{
	struct number_source c = {.end = 2};
	exs_executor *ex = exs_inline();
	exs_stream *s = exs_stream_new(ex, twice_number, number_next, &c, NULL);

	refuse_descriptors(true);
	CHECK_INT(exs_stream_fd(s), -1);
	refuse_descriptors(false);
	CHECK(exs_error_is(exs_last_error(), &exs_domain_errno, EMFILE));
	expect_item(s, 0, 0); /* it goes on */
	int fd = exs_stream_fd(s);
	CHECK(readable(fd, 0));
	expect_item(s, 1, 2);
	expect_end(s);
	end(s, ex);
}

/* A reader that is a worker of the pool. */
static exs_result read_all(void *stream, exs_context *ctx)
{
	exs_item item;
	intptr_t n = 0;

	(void)ctx;
	while (exs_stream_next(stream, &item, EXS_FOREVER) == EXS_ITEM) {
		n++;
		exs_future_unref(item.future);
	}
	return exs_ok((void *)n, NULL);
}

TEST(stream, read_on_the_only_worker)
{
	for (int order = 0; order < 2; order++) {
		struct number_source c = {.end = SOME};
		exs_executor *ex = pool_made((exs_thread_pool_options){.workers = 1, .max_spares = EXS_NONE});
		exs_stream *s = exs_stream_new(ex, twice_number, number_next, &c,
					       &(exs_stream_options){.max_results = 10, .as_completed = order});
		expect_value(exs_submit(ex, read_all, s), (void *)(intptr_t)SOME);
		end(s, ex);
	}
}

/* Between turns, and by a task of the loop, which runs what it waits for. */
TEST(stream, read_on_an_event_loop)
{
	struct number_source c = {.end = SOME};
	exs_executor *ex = exs_event_loop();
	exs_stream *s = exs_stream_new(ex, twice_number, number_next, &c, &(exs_stream_options){.max_results = 3});

	expect_status(s, EXS_TIMEOUT); /* it has not been turned */
	CHECK_INT(exs_event_loop_run_once(ex, 0), 3);
	for (int i = 0; i < 3; i++)
		expect_item(s, (uint64_t)i, 2L * i);
	expect_status(s, EXS_TIMEOUT);
	exs_future *f = exs_submit(ex, read_all, s);
	while (!exs_future_is_done(f))
		CHECK(exs_event_loop_run_once(ex, 0) >= 1);
	expect_value(f, (void *)(intptr_t)(SOME - 3));
	end(s, ex);
}

/* An item that waits for itself. */
static exs_result reads_its_own(void *arg, exs_context *ctx)
{
	exs_stream *s = *(exs_stream **)arg;
	exs_item item;

	(void)ctx;
	CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_FAILED);
	CHECK(exs_error_is(exs_last_error(), &exs_domain_exs, EXS_EDEADLK));
	return exs_ok(NULL, NULL);
}

TEST(stream, item_that_waits_for_itself)
{
	exs_executor *ex = exs_event_loop();
	exs_stream *s = exs_stream_new(ex, NULL, NULL, NULL, NULL);

	exs_future *f = exs_stream_produce(s, reads_its_own, &s);
	CHECK_INT(exs_event_loop_run_once(ex, 0), 1);
	expect_value(f, NULL);
	CHECK_INT(exs_stream_count(s), 1);
	end(s, ex);
}

/* --- as completed --- */

TEST(stream, as_completed)
{
	struct job jobs[3];
	struct jobs j = {jobs, 0, 3};
	exs_executor *ex = exs_thread_pool(3);
	static const int order[] = {2, 0, 1};
	exs_item item;

	init_gated(jobs, 3);
	exs_stream *s = exs_stream_new(ex, job_of, jobs_next, &j, &(exs_stream_options){.as_completed = true});
	for (int i = 0; i < 3; i++) {
		sem_post(&jobs[order[i]].open);
		CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_ITEM);
		CHECK_INT(item.number, order[i]);
		CHECK(exs_future_value(item.future) == &jobs[order[i]]);
		exs_future_unref(item.future);
	}
	expect_end(s);
	exs_stream_free(s);
	exs_executor_free(ex);
	for (int i = 0; i < 3; i++)
		job_fini(&jobs[i]);
}

/* Nobody reads what arrives, before the end and after it. */
TEST(stream, freed_with_what_has_arrived)
{
	struct job jobs[4];
	struct jobs j = {jobs, 0, 4};
	exs_executor *ex = exs_thread_pool(4);

	init_gated(jobs, 4);
	exs_stream *s = exs_stream_new(ex, job_of, jobs_next, &j, &(exs_stream_options){.as_completed = true});
	for (int i = 0; i < 4; i++)
		sem_take(&jobs[i].entered);
	sem_post(&jobs[2].open);
	sem_post(&jobs[1].open);
	harness_wait_undone(2);
	give_time();
	exs_stream_free(s);
	sem_post(&jobs[0].open);
	sem_post(&jobs[3].open);
	exs_executor_free(ex);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	harness_wait_futures(0);
	for (int i = 0; i < 4; i++)
		job_fini(&jobs[i]);
}

TEST(stream, as_completed_drops_what_is_not_done_at_a_failure)
{
	exs_error *error = exs_error_new(&test_domain, 4, "no");
	struct job jobs[3];
	struct jobs j = {jobs, 0, 3};
	exs_executor *ex = exs_thread_pool(3);
	exs_item item;

	init_gated(jobs, 3);
	jobs[0].polite = true;
	jobs[1].failures = ALWAYS;
	jobs[1].error = error;
	exs_stream *s = exs_stream_new(ex, job_of, jobs_next, &j,
				       &(exs_stream_options){.as_completed = true, .stop_on_error = true});
	int fd = exs_stream_fd(s);
	sem_post(&jobs[2].open);
	CHECK(readable(fd, -1)); /* it is, before the failure */
	sem_take(&jobs[0].entered);
	sem_post(&jobs[1].open);
	wait_count(&jobs[0].stops, 1);
	CHECK_INT(atomic_load(&jobs[0].cause), EXS_CAUSE_SIBLING);
	CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_ITEM);
	CHECK_INT(item.number, 2);
	exs_future_unref(item.future);
	expect_status(s, EXS_FAILED);
	CHECK(exs_stream_error(s) == error);
	expect_end(s);
	exs_stream_free(s);
	exs_executor_free(ex);
	for (int i = 0; i < 3; i++)
		job_fini(&jobs[i]);
	exs_error_unref(error);
}

/* --- lost items --- */

/* A chain whose answers never come: descriptors that no poll function resolves. */
static exs_executor *silent(exs_executor *pool, exs_clock *clock)
{
	return exs_with_poll(exs_with_clock(exs_borrow(pool), clock), job_poll, job_cancel, NULL, NULL);
}

static exs_result nothing(void *arg, exs_context *ctx)
{
	(void)arg, (void)ctx;
	return exs_ok(NULL, NULL);
}

/* On a pool of one worker: it has left what it ran before. */
static void pass_through(exs_executor *pool)
{
	CHECK_INT(exs_call(pool, nothing, NULL, EXS_FOREVER, NULL), EXS_OK);
}

/* Each is a call of its own: job_run would look for the number of its attempt. */
static exs_result begun(void *arg, exs_context *ctx)
{
	struct job *j = arg;

	CHECK_INT(exs_context_attempt(ctx), 1);
	CHECK_INT(j->freed, 0);
	atomic_fetch_add(&j->ends, 1);
	atomic_fetch_add(&j->starts, 1);
	return job_value(j);
}

TEST(stream, lost_items_are_begun_again)
{
	exs_clock *clock = exs_clock_manual_new();
	struct job jobs[2];
	struct jobs j = {jobs, 0, 2};
	exs_item item;

	for (int i = 0; i < 2; i++) {
		job_init(&jobs[i]);
		atomic_store(&jobs[i].held, true);
	}
	exs_executor *pool = exs_thread_pool(1), *ex = silent(pool, clock);
	exs_stream *s = exs_stream_new(ex, begun, jobs_next, &j, NULL);
	for (unsigned round = 1; round <= 4; round++) {
		wait_count(&jobs[0].starts, round);
		wait_count(&jobs[1].starts, round);
		pass_through(pool); /* both are descriptors now */
		CHECK_INT(exs_stream_next(s, &item, 0), EXS_TIMEOUT);
		advance(clock, 9.5);
		CHECK_INT(atomic_load(&jobs[0].starts), round);
		advance(clock, 0.5);
	}
	for (int i = 0; i < 2; i++) {
		CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_ITEM);
		CHECK_INT(item.number, i);
		CHECK(exs_error_is(exs_future_error(item.future), &exs_domain_exs, EXS_ETIMEDOUT));
		CHECK_STR(exs_error_message(exs_future_error(item.future)),
			  i ? "item 1: no answer within 10s, begun 4 times"
			    : "item 0: no answer within 10s, begun 4 times");
		exs_future_unref(item.future);
		CHECK_INT(atomic_load(&jobs[i].starts), 4);
		wait_count(&jobs[i].told, 4); /* each attempt was asked to stop */
	}
	expect_end(s);
	exs_stream_free(s);
	exs_executor_free(ex);
	exs_executor_free(pool);
	exs_clock_unref(clock);
	for (int i = 0; i < 2; i++)
		job_fini(&jobs[i]);
}

static bool is_off(void *clock)
{
	return exs_clock_armed(clock) == 0;
}

/* Also where the first item that failed was awaited: the timer has nothing to look at any more. */
TEST(stream, timer_is_off_when_nothing_is_awaited)
{
	for (int stops = 0; stops < 2; stops++) {
		exs_clock *clock = exs_clock_manual_new();
		exs_error *error = exs_error_new(&test_domain, 1, "no");
		struct job job;
		struct jobs j = {&job, 0, 1};
		exs_item item;

		job_init(&job);
		job.gated = true;
		job.failures = ALWAYS;
		job.error = error;
		exs_executor *ex = exs_with_clock(exs_thread_pool(1), clock);
		exs_stream *s =
			exs_stream_new(ex, job_of, jobs_next, &j, &(exs_stream_options){.stop_on_error = stops});
		sem_take(&job.entered);
		CHECK_INT(exs_clock_armed(clock), 1);
		sem_post(&job.open);
		CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), stops ? EXS_FAILED : EXS_ITEM);
		exs_future_unref(item.future);
		advance(clock, 10);
		wait_until(is_off, clock);
		exs_stream_free(s);
		exs_executor_free(ex);
		exs_clock_unref(clock);
		job_fini(&job);
		exs_error_unref(error);
	}
}

/* The timeouts need the thread of the timers. */
TEST(stream, without_a_thread_for_the_timeouts)
{
	struct job job;
	struct jobs j = {&job, 0, 1};
	exs_executor *ex = pool_made((exs_thread_pool_options){.workers = 1, .min_workers = 1});
	exs_item item;

	expect_value(exs_submit(ex, read_all, NULL), NULL); /* it has its thread */
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	job_init(&job);
	job.gated = true;
	refuse_threads(true);
	exs_stream *s = exs_stream_new(ex, job_of, jobs_next, &j, NULL);
	refuse_threads(false);
	CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_FAILED);
	CHECK(exs_error_is(exs_last_error(), &exs_domain_exs, EXS_ETHREAD));
	CHECK(!exs_stream_error(s)); /* and goes on without them */
	sem_post(&job.open);
	CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_ITEM);
	CHECK(exs_future_value(item.future) == &job);
	exs_future_unref(item.future);
	expect_end(s);
	exs_stream_free(s);
	exs_executor_free(ex);
	job_fini(&job);
}

/* Inputs that need no destroy, with options for the calls. */
static bool plain_next(void *ctx, exs_result *input)
{
	struct jobs *j = ctx;

	if (j->n == j->end)
		return false;
	*input = exs_ok(&j->jobs[j->n++], NULL);
	return true;
}

static exs_result named(void *arg, exs_context *ctx)
{
	CHECK_STR(exs_context_name(ctx), "painter");
	return begun(arg, ctx);
}

TEST(stream, plain_inputs_are_begun_again_with_the_options_of_the_task)
{
	exs_clock *clock = exs_clock_manual_new();
	struct job job;
	struct jobs j = {&job, 0, 1};
	exs_item item;

	job_init(&job);
	atomic_store(&job.held, true);
	exs_executor *pool = exs_thread_pool(1), *ex = silent(pool, clock);
	exs_task task = {.name = "painter"};
	exs_stream *s =
		exs_stream_new(ex, named, plain_next, &j, &(exs_stream_options){.task = &task, .max_retries = 1});
	for (unsigned round = 1; round <= 2; round++) {
		wait_count(&job.starts, round);
		pass_through(pool);
		advance(clock, 10);
	}
	CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_ITEM);
	CHECK(exs_error_is(exs_future_error(item.future), &exs_domain_exs, EXS_ETIMEDOUT));
	exs_future_unref(item.future);
	expect_end(s);
	wait_count(&job.told, 2);
	exs_stream_free(s);
	exs_executor_free(ex);
	exs_executor_free(pool);
	exs_clock_unref(clock);
	job_free_arg(&job);
	job_fini(&job);
}

/* --- encoded, decoded --- */

static exs_result encode(void *ctx, exs_result in)
{
	long n = *(long *)in.value;

	(void)ctx;
	exs_result_clear(&in);
	return n == 3 ? exs_fail(exs_error_new(&test_domain, 5, "three is no text")) : number(n + 1000);
}

static exs_result decode(void *ctx, exs_result in)
{
	long n = *(long *)in.value;

	(void)ctx;
	exs_result_clear(&in);
	return n == 2010 ? exs_fail(exs_error_new(&test_domain, 6, "what?")) : number(n - 2000);
}

TEST(stream, items_that_can_not_be_coded_carry_their_number)
{
	struct number_source c = {.end = 8};
	exs_executor *ex = exs_thread_pool(2);
	exs_stream *s = exs_stream_new(ex, twice_number, number_next, &c,
				       &(exs_stream_options){.encode = encode, .decode = decode});
	exs_item item;

	for (int i = 0; i < 8; i++) {
		if (i != 3 && i != 5) {
			expect_item(s, (uint64_t)i, 2L * i);
			continue;
		}
		CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_ITEM);
		CHECK_INT(item.number, i);
		CHECK(exs_error_is(exs_future_error(item.future), &test_domain, i == 3 ? 5 : 6));
		CHECK_STR(exs_error_message(exs_future_error(item.future)),
			  i == 3 ? "item 3 can't be encoded: three is no text" : "item 5 can't be decoded: what?");
		exs_future_unref(item.future);
	}
	expect_end(s);
	end(s, ex);
}

/* --- paused --- */

TEST(stream, paused_begins_none)
{
	struct number_source c = {.end = LONG_MAX};
	exs_executor *ex = exs_inline();
	exs_stream *s = exs_stream_new(ex, twice_number, number_next, &c, NULL);
	exs_item item;

	exs_stream_pause(s);
	expect_item(s, 0, 0);
	CHECK_INT(exs_stream_next(s, &item, 0), EXS_TIMEOUT);
	CHECK_INT(c.n, 1);
	exs_stream_resume(s);
	expect_item(s, 1, 2);
	end(s, ex);
}

TEST(stream, unlimited_begins_all_at_once)
{
	struct number_source c = {.end = 5000};
	exs_executor *ex = exs_thread_pool(1);
	exs_stream *s =
		exs_stream_new(ex, twice_number, number_next, &c, &(exs_stream_options){.max_results = EXS_UNLIMITED});

	CHECK_INT(c.n, 5000);
	CHECK_INT(exs_stream_count(s), 5000);
	end(s, ex);
}

static bool cancelled_next(void *ctx, exs_result *input)
{
	(void)ctx;
	*input = exs_cancelled();
	return true;
}

TEST(stream, source_that_is_cancelled_ends_it)
{
	exs_executor *ex = exs_inline();
	exs_stream *s = exs_stream_new(ex, twice_number, cancelled_next, NULL, NULL);
	exs_item item;

	CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_FAILED);
	CHECK(exs_error_is(exs_last_error(), &exs_domain_exs, EXS_ECANCELLED));
	expect_end(s);
	end(s, ex);
}

TEST(stream, codec_is_freed_with_it)
{
	struct number_source c = {.end = 1}, codec = {.n = 0};
	exs_stream_options o = {.source_free = number_source_free, .codec = &codec, .codec_free = number_source_free};
	exs_executor *ex = exs_inline();
	exs_stream *s = exs_stream_new(ex, twice_number, number_next, &c, &o);

	CHECK_INT(atomic_load(&codec.freed), 0);
	end(s, ex);
	CHECK(!exs_stream_new(NULL, twice_number, number_next, &c, &o));
	CHECK_INT(atomic_load(&codec.freed), 2);
	CHECK_INT(atomic_load(&c.freed), 2);
}

/* --- misuse --- */

TEST(stream, misuse)
{
	struct number_source c = {.end = 1};
	exs_executor *ex = exs_inline();
	exs_task task = {.fn = twice_number}, with_arg = {.arg = &c}, with_free = {.arg_free = number_free};
	struct {
		exs_stream_options known;
		int unknown;
	} newer = {.unknown = 1};

	CHECK(!exs_stream_new(NULL, twice_number, number_next, &c,
			      &(exs_stream_options){.source_free = number_source_free}));
	CHECK_INT(atomic_load(&c.freed), 1);
	CHECK_STR(exs_error_message(exs_last_error()), "exs_stream_new: executor is NULL");
	CHECK(!exs_stream_new(ex, NULL, number_next, &c, NULL));
	CHECK(!exs_stream_new(ex, twice_number, NULL, NULL, NULL));
	CHECK(!exs_stream_new(ex, NULL, NULL, &c, NULL));
	CHECK(!exs_stream_new(ex, twice_number, number_next, &c, &(exs_stream_options){.timeout = -1}));
	CHECK(!exs_stream_new(ex, twice_number, number_next, &c, &(exs_stream_options){.timeout = NAN}));
	CHECK(!exs_stream_new(ex, twice_number, number_next, &c, &(exs_stream_options){.max_results = EXS_NONE}));
	CHECK(!exs_stream_new(ex, twice_number, number_next, &c, &(exs_stream_options){.task = &task}));
	CHECK(!exs_stream_new(ex, twice_number, number_next, &c, &(exs_stream_options){.task = &with_arg}));
	CHECK(!exs_stream_new(ex, twice_number, number_next, &c, &(exs_stream_options){.task = &with_free}));
	CHECK(!exs_stream_new_sized(ex, twice_number, number_next, &c, &newer.known, sizeof(newer)));
	CHECK(exs_error_is(exs_last_error(), &exs_domain_exs, EXS_EINVAL));
	CHECK_INT(atomic_load(&c.asked), 0);
	exs_stream_free(NULL);
	exs_stream_cancel(NULL);
	exs_stream_stop(NULL, exs_error_new(&test_domain, 1, "nobody"));
	exs_stream_pause(NULL);
	exs_stream_resume(NULL);
	CHECK_INT(exs_stream_count(NULL), 0);
	CHECK(!exs_stream_error(NULL));
	end(NULL, ex);
}
