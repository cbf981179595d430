/* Push streams and the ordered producer: the second half of semantics 6. */
#define _POSIX_C_SOURCE 200809L
#include "support.h"

#include <executors/functions.h>
#include <poll.h>
#include <stdlib.h>

static exs_result answer(void *arg, exs_context *ctx)
{
	(void)ctx;
	return number((long)(intptr_t)arg);
}

static exs_result fails(void *arg, exs_context *ctx)
{
	(void)ctx;
	return exs_fail(exs_error_new(&test_domain, (int)(intptr_t)arg, "item failed"));
}

static void end(exs_executor *ex)
{
	exs_executor_free(ex);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	CHECK_INT(atomic_load(&numbers), 0);
	harness_wait_futures(0);
}

static void drop(exs_future *f)
{
	CHECK(f != NULL);
	exs_future_unref(f);
}

static void *nth(long n)
{
	return (void *)(intptr_t)n;
}

/* --- push streams --- */

static void expect_item(exs_stream *s, long value)
{
	exs_item item;

	CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_ITEM);
	CHECK_INT(*(long *)exs_future_value(item.future), value);
	exs_future_unref(item.future);
}

static void expect_end(exs_stream *s, exs_set_status status)
{
	exs_item item;

	CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), status);
}

TEST(produce, place_is_the_order_of_the_calls)
{
	struct job job;
	exs_executor *ex = exs_thread_pool(2);
	exs_stream *s = exs_stream_new(ex, NULL, NULL, NULL, NULL);
	exs_item item;

	job_init(&job);
	job.gated = true;
	exs_future *first =
		exs_stream_produce_with(s, &(exs_task){.fn = job_run, .arg = &job, .arg_free = job_free_arg});
	exs_future *second = exs_stream_produce(s, answer, nth(2));
	wait_done(second);
	CHECK_INT(exs_stream_next(s, &item, 0), EXS_TIMEOUT);
	sem_post(&job.open);
	CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_ITEM);
	CHECK(item.future == first);
	exs_future_unref(item.future);
	CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_ITEM);
	CHECK(item.future == second);
	exs_future_unref(item.future);
	drop(first);
	drop(second);
	exs_stream_stop(s, NULL);
	expect_end(s, EXS_EMPTY);
	exs_stream_free(s);
	job_fini(&job);
	end(ex);
}

struct producing {
	exs_stream *stream;
	long n;
	atomic_long produced;
};

static void *produce_all(void *arg)
{
	struct producing *p = arg;

	for (long i = 0; i < p->n; i++) {
		drop(exs_stream_produce(p->stream, answer, nth(i)));
		atomic_fetch_add(&p->produced, 1);
	}
	return NULL;
}

TEST(produce, waits_for_room)
{
	exs_executor *ex = exs_thread_pool(2);
	exs_stream *s = exs_stream_new(ex, NULL, NULL, NULL, &(exs_stream_options){.max_results = 3});
	struct producing p = {.stream = s, .n = 100};
	pthread_t t = thread_start(produce_all, &p);

	for (long i = 0; i < 100; i++) {
		CHECK(atomic_load(&p.produced) <= i + 3);
		expect_item(s, i);
	}
	thread_join(t);
	exs_stream_free(s);
	end(ex);
}

TEST(produce, try_does_not_wait_for_room)
{
	exs_executor *ex = exs_inline();
	exs_stream *s = exs_stream_new(ex, NULL, NULL, NULL, &(exs_stream_options){.max_results = 1});
	exs_task task = {.fn = answer, .arg = nth(5)};

	drop(exs_stream_try_produce(s, &task));
	expect_code(exs_stream_try_produce(s, &task), &exs_domain_exs, EXS_EREJECTED);
	CHECK_INT(exs_stream_push(s, number(6), 0), EXS_ETIMEDOUT);
	CHECK_INT(exs_stream_push(s, number(6), 0.001), EXS_ETIMEDOUT);
	expect_item(s, 5);
	CHECK_INT(exs_stream_push(s, number(7), 0), EXS_OK);
	expect_item(s, 7);
	exs_stream_free(s);
	end(ex);
}

TEST(produce, cancel_wakes_a_producer_that_waits)
{
	exs_executor *ex = exs_inline();
	exs_stream *s = exs_stream_new(ex, NULL, NULL, NULL, &(exs_stream_options){.max_results = 1});
	struct producing p = {.stream = s, .n = 3};
	pthread_t t = thread_start(produce_all, &p);

	while (atomic_load(&p.produced) < 1)
		sched_yield();
	give_time();
	CHECK_INT(atomic_load(&p.produced), 1);
	exs_stream_cancel(s);
	thread_join(t);
	CHECK_INT(atomic_load(&p.produced), 3);
	exs_stream_free(s);
	end(ex);
}

static exs_future *unexpected_item(void *arg)
{
	(void)arg;
	CHECK(!"called after the end");
	return NULL;
}

TEST(produce, after_the_end_nothing_runs)
{
	struct job job;
	exs_executor *ex = exs_inline();
	exs_stream *s = exs_stream_new(ex, NULL, NULL, NULL, NULL);

	job_init(&job);
	exs_stream_stop(s, NULL);
	expect_value(exs_stream_produce_with(s, &(exs_task){.fn = job_run, .arg = &job, .arg_free = job_free_arg}),
		     NULL);
	CHECK_INT(atomic_load(&job.starts), 0);
	CHECK_INT(exs_stream_push(s, number(1), 0), EXS_EALREADY);
	expect_value(exs_stream_produce_async(s, unexpected_item, NULL), NULL);
	exs_stream_free(s);
	job_fini(&job);
	end(ex);
}

TEST(produce, paused_items_keep_their_places)
{
	struct job jobs[3];
	exs_executor *ex = exs_inline();
	exs_stream *s = exs_stream_new(ex, NULL, NULL, NULL, NULL);
	exs_future *f[3];
	exs_item item;
	char name[] = "painter";

	exs_stream_pause(s);
	for (int i = 0; i < 3; i++) {
		job_init(&jobs[i]);
		f[i] = exs_stream_produce_with(
			s, &(exs_task){.fn = job_run, .arg = &jobs[i], .arg_free = job_free_arg, .name = name});
	}
	name[0] = 'x'; /* it was copied */
	CHECK_INT(exs_stream_next(s, &item, 0), EXS_TIMEOUT);
	CHECK_INT(exs_future_cancel(f[1]), EXS_CANCELLED); /* that one alone */
	CHECK_INT(atomic_load(&jobs[0].starts), 0);
	exs_stream_resume(s);
	for (int i = 0; i < 3; i++) {
		CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_ITEM);
		CHECK(item.future == f[i]);
		CHECK_INT(exs_future_state(f[i]), i == 1 ? EXS_STATE_CANCELLED : EXS_STATE_VALUE);
		CHECK_INT(atomic_load(&jobs[i].starts), i != 1);
		exs_future_unref(item.future);
		exs_future_unref(f[i]);
	}
	exs_stream_free(s);
	for (int i = 0; i < 3; i++)
		job_fini(&jobs[i]);
	end(ex);
}

TEST(produce, freed_while_paused)
{
	struct job job;
	exs_executor *ex = exs_thread_pool(1);
	exs_stream *s = exs_stream_new(ex, NULL, NULL, NULL, NULL);

	job_init(&job);
	exs_stream_pause(s);
	exs_future *f = exs_stream_produce_with(s, &(exs_task){.fn = job_run, .arg = &job, .arg_free = job_free_arg});
	exs_stream_free(s);
	expect_cancelled(f, EXS_CAUSE_USER);
	job_fini(&job);
	CHECK_INT(atomic_load(&job.starts), 0);
	end(ex);
}

static exs_result fails_twice(void *arg, exs_context *ctx)
{
	return exs_context_attempt(ctx) < 3 ? fails(arg, ctx) : answer(arg, ctx);
}

static void seen_by_retry(void *ctx, const exs_attempt *attempt, double delay)
{
	(void)attempt, (void)delay;
	atomic_fetch_add(&((struct seen *)ctx)->calls, 1);
}

/* What its options point to is copied while it waits; the context stays the caller's. */
TEST(produce, paused_with_a_retry_of_its_own)
{
	for (int goes_on = 0; goes_on < 2; goes_on++) {
		exs_executor *ex = exs_with_retry(exs_thread_pool(1), NULL);
		exs_stream *s = exs_stream_new(ex, NULL, NULL, NULL, NULL);
		exs_retry_code codes[] = {{&test_domain, 8}, {&test_domain, 9}};
		struct seen seen;

		seen_init(&seen);
		exs_retry_options retry = {.sleep = EXS_NONE,
					   .codes = goes_on ? codes : NULL,
					   .n_codes = 2,
					   .on_retry = seen_by_retry,
					   .ctx = &seen};
		exs_task task = {.fn = fails_twice, .arg = nth(9), .retry = &retry, .name = "painter"};
		exs_stream_pause(s);
		drop(exs_stream_produce_with(s, &task));
		codes[1].code = 0;
		retry = (exs_retry_options){.max_attempts = 1};
		if (goes_on) {
			exs_stream_resume(s);
			expect_item(s, 9);
		}
		exs_stream_free(s);
		end(ex);
		CHECK_INT(atomic_load(&seen.calls), goes_on ? 2 : 0);
	}
}

/* --- functions that answer futures --- */

struct later {
	exs_future *future;
	exs_promise *promise;
};

static exs_future *later_item(void *arg)
{
	struct later *l = arg;

	l->promise = promise_made(&l->future);
	return l->future;
}

static exs_future *no_item(void *arg)
{
	(void)arg;
	return NULL;
}

TEST(produce, asynchronous_items)
{
	exs_stream *s = exs_stream_new(NULL, NULL, NULL, NULL, NULL);
	struct later l[2];
	exs_item item;

	for (int i = 0; i < 2; i++)
		drop(exs_stream_produce_async(s, later_item, &l[i]));
	promise_done(l[1].promise, number(1));
	CHECK_INT(exs_stream_next(s, &item, 0), EXS_TIMEOUT);
	promise_done(l[0].promise, number(0));
	expect_item(s, 0);
	expect_item(s, 1);
	expect_code(exs_stream_produce_async(s, no_item, NULL), &exs_domain_exs, EXS_EINVAL);
	expect_code(exs_stream_produce(s, answer, NULL), &exs_domain_exs, EXS_EINVAL);
	exs_stream_free(s);
	end(NULL);
}

static bool is_readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	CHECK(poll(&p, 1, 0) >= 0);
	return p.revents & POLLIN;
}

TEST(produce, descriptor_tells_of_an_item_that_comes_later)
{
	for (int order = 0; order < 2; order++) {
		exs_stream *s = exs_stream_new(NULL, NULL, NULL, NULL, &(exs_stream_options){.as_completed = order});
		struct later l[2];
		int fd = exs_stream_fd(s);

		for (int i = 0; i < 2; i++)
			drop(exs_stream_produce_async(s, later_item, &l[i]));
		CHECK(!is_readable(fd));
		promise_done(l[0].promise, number(0));
		CHECK(is_readable(fd));
		expect_item(s, 0);
		CHECK(!is_readable(fd)); /* from now on the second is watched */
		promise_done(l[1].promise, number(1));
		CHECK(is_readable(fd));
		expect_item(s, 1);
		exs_stream_free(s);
	}
	end(NULL);
}

/* What it was stopped with stays what it ends with. */
TEST(produce, item_that_fails_after_a_stop_with_an_error)
{
	exs_stream *s = exs_stream_new(NULL, NULL, NULL, NULL, &(exs_stream_options){.stop_on_error = true});
	struct later l;

	drop(exs_stream_produce_async(s, later_item, &l));
	exs_stream_stop(s, exs_error_new(&test_domain, 9, "enough"));
	promise_done(l.promise, exs_fail(exs_error_new(&test_domain, 3, "failed")));
	expect_end(s, EXS_FAILED);
	CHECK(exs_error_is(exs_last_error(), &test_domain, 9));
	expect_end(s, EXS_EMPTY);
	exs_stream_free(s);
	end(NULL);
}

/* An item on its way: its callback blocks who completes it. */
struct held_up {
	exs_promise *promise;
	sem_t entered, open;
};

static void hold_up(exs_future *f, void *ctx)
{
	struct held_up *h = ctx;

	(void)f;
	sem_post(&h->entered);
	sem_take(&h->open);
}

static exs_future *held_up_item(void *arg)
{
	struct held_up *h = arg;
	exs_future *f;

	h->promise = promise_made(&f);
	CHECK_INT(exs_future_on_done(f, hold_up, h, NULL), EXS_OK);
	return f;
}

static void *complete(void *arg)
{
	struct held_up *h = arg;

	promise_done(h->promise, number(1));
	return NULL;
}

/* The stream has been freed when the item comes: that goes, and with it what it has kept. */
TEST(produce, freed_while_an_item_is_on_its_way)
{
	for (int order = 0; order < 2; order++) {
		int threads = harness_threads();
		exs_executor *ex = exs_thread_pool(1);
		exs_stream *s = exs_stream_new(ex, NULL, NULL, NULL, &(exs_stream_options){.as_completed = order});
		struct held_up h;
		CHECK(!sem_init(&h.entered, 0, 0) && !sem_init(&h.open, 0, 0));
		drop(exs_stream_produce_async(s, held_up_item, &h));
		pthread_t t = thread_start(complete, &h);
		sem_take(&h.entered);
		exs_stream_free(s);
		sem_post(&h.open);
		thread_join(t);
		end(ex);
		harness_wait_threads(threads);
		sem_destroy(&h.entered);
		sem_destroy(&h.open);
	}
}

static bool no_more(void *ctx, exs_result *input)
{
	(void)ctx, (void)input;
	return false;
}

TEST(produce, misuse)
{
	exs_executor *ex = exs_inline();
	exs_stream *s = exs_stream_new(ex, NULL, NULL, NULL, NULL);

	expect_code(exs_stream_produce(NULL, answer, NULL), &exs_domain_exs, EXS_EINVAL);
	expect_code(exs_stream_produce(s, NULL, NULL), &exs_domain_exs, EXS_EINVAL);
	expect_code(exs_stream_produce_async(s, NULL, NULL), &exs_domain_exs, EXS_EINVAL);
	struct {
		exs_task known;
		int unknown;
	} newer = {{.fn = answer}, 1};
	expect_code(exs_stream_produce_with_sized(s, &newer.known, sizeof(newer)), &exs_domain_exs, EXS_EINVAL);
	exs_stream *other = exs_stream_new(ex, answer, no_more, NULL, NULL);
	expect_code(exs_stream_produce(other, answer, NULL), &exs_domain_exs, EXS_EINVAL);
	CHECK_INT(exs_stream_push(other, number(1), 0), EXS_EINVAL);
	exs_stream_free(other);
	CHECK_INT(exs_stream_push(NULL, number(1), 0), EXS_EINVAL);
	CHECK_INT(exs_stream_push(s, number(1), -1), EXS_EINVAL);
	CHECK_INT(exs_stream_push(s, (exs_result){.kind = (exs_kind)9}, 0), EXS_OK);
	exs_item item;
	CHECK_INT(exs_stream_next(s, &item, 0), EXS_ITEM);
	CHECK(exs_error_is(exs_future_error(item.future), &exs_domain_exs, EXS_EINVAL));
	exs_future_unref(item.future);
	exs_stream_free(s);
	end(ex);
}

/* --- the ordered producer --- */

struct consumer {
	long read[200], n;
	long stops_after; /* 0: reads to the end */
	exs_set_status last;
	exs_error *fails;
	atomic_uint frees, runs;
	sem_t *before;
};

static exs_result consume(exs_stream *items, void *arg, exs_context *ctx)
{
	struct consumer *c = arg;
	exs_item item;

	(void)ctx;
	atomic_fetch_add(&c->runs, 1);
	if (c->before)
		sem_take(c->before);
	while ((!c->stops_after || c->n < c->stops_after) &&
	       (c->last = exs_stream_next(items, &item, EXS_FOREVER)) == EXS_ITEM) {
		c->read[c->n++] = *(long *)exs_future_value(item.future);
		exs_future_unref(item.future);
	}
	return c->fails ? exs_fail(exs_error_ref(c->fails)) : number(c->n);
}

static void consumer_free(void *arg)
{
	atomic_fetch_add(&((struct consumer *)arg)->frees, 1);
}

static void expect_number(exs_future *f, long n)
{
	CHECK_INT(number_of(f), n);
	exs_future_unref(f);
}

TEST(producer, consumer_reads_in_order)
{
	struct consumer c = {.n = 0};
	exs_executor *ex = exs_thread_pool(3);
	exs_producer *p = exs_producer_new(ex, NULL);

	expect_value(exs_producer_start(p, ex, consume, &c, consumer_free), NULL);
	for (long i = 0; i < 100; i++)
		drop(exs_producer_produce(p, answer, nth(i)));
	expect_number(exs_producer_stop(p, NULL), 100);
	for (long i = 0; i < 100; i++)
		CHECK_INT(c.read[i], i);
	CHECK_INT(c.last, EXS_EMPTY);
	exs_producer_free(p);
	end(ex);
	CHECK_INT(c.frees, 1);
}

TEST(producer, consumer_and_items_on_one_worker)
{
	struct consumer c = {.n = 0};
	exs_executor *ex = pool_made((exs_thread_pool_options){.workers = 1, .max_spares = EXS_NONE});
	exs_producer *p = exs_producer_new(ex, NULL);

	for (long i = 0; i < 50; i++)
		drop(exs_producer_produce(p, answer, nth(i)));
	drop(exs_producer_start(p, ex, consume, &c, NULL));
	expect_number(exs_producer_stop(p, NULL), 50);
	exs_producer_free(p);
	end(ex);
}

TEST(producer, items_before_the_start_wait)
{
	struct consumer c = {.n = 0};
	exs_executor *ex = exs_thread_pool(2);
	exs_producer *p = exs_producer_new(ex, NULL);

	exs_future *f = exs_producer_produce(p, answer, nth(3));
	give_time();
	CHECK_INT(exs_future_state(f), EXS_STATE_PENDING);
	expect_value(exs_producer_start(p, ex, consume, &c, NULL), NULL);
	expect_number(f, 3);
	expect_number(exs_producer_stop(p, NULL), 1);
	exs_producer_free(p);
	end(ex);
}

TEST(producer, first_failure_ends_the_iteration_and_is_what_stop_reports)
{
	struct consumer c = {.n = 0};
	exs_executor *ex = exs_thread_pool(1);
	exs_producer *p = exs_producer_new(ex, NULL);
	sem_t before;

	sem_init(&before, 0, 0);
	c.before = &before;
	expect_value(exs_producer_start(p, ex, consume, &c, NULL), NULL);
	drop(exs_producer_produce(p, answer, nth(1)));
	drop(exs_producer_produce(p, fails, nth(7)));
	exs_future *after = exs_producer_produce(p, answer, nth(2));
	sem_post(&before);
	expect_code(exs_producer_stop(p, NULL), &test_domain, 7);
	CHECK_INT(c.n, 1);
	CHECK_INT(c.last, EXS_FAILED);
	wait_done(after);
	exs_future_unref(after);
	expect_value(exs_producer_produce(p, answer, nth(3)), NULL); /* no longer run */
	exs_producer_free(p);
	end(ex);
}

/* In the original items that nobody reads any more are never done, and a stop waits for them for ever. */
TEST(producer, early_exit_of_the_consumer)
{
	struct consumer c = {.stops_after = 2};
	exs_executor *ex = exs_thread_pool(2);
	exs_producer *p = exs_producer_new(ex, &(exs_stream_options){.max_results = 3});

	drop(exs_producer_start(p, ex, consume, &c, NULL));
	for (long i = 0; i < 100; i++)
		drop(exs_producer_produce(p, answer, nth(i)));
	expect_number(exs_producer_stop(p, NULL), 2);
	expect_value(exs_producer_produce(p, answer, nth(3)), NULL);
	exs_producer_free(p);
	end(ex);
}

TEST(producer, second_stop_and_produce_after_it_complete_at_once_with_nothing)
{
	struct consumer c = {.n = 0};
	sem_t before;
	exs_executor *ex = exs_thread_pool(2);
	exs_producer *p = exs_producer_new(ex, NULL);

	sem_init(&before, 0, 0);
	c.before = &before;
	drop(exs_producer_start(p, ex, consume, &c, NULL));
	exs_future *first = exs_producer_stop(p, NULL);
	expect_value(exs_producer_stop(p, NULL), NULL);
	expect_value(exs_producer_stop(p, exs_error_new(&test_domain, 1, "late")), NULL);
	expect_value(exs_producer_produce(p, answer, nth(1)), NULL);
	CHECK(!exs_future_is_done(first));
	sem_post(&before);
	expect_number(first, 0);
	exs_producer_free(p);
	end(ex);
}

TEST(producer, stop_with_an_error)
{
	struct consumer c = {.n = 0};
	exs_executor *ex = exs_thread_pool(2);
	exs_producer *p = exs_producer_new(ex, NULL);

	drop(exs_producer_start(p, ex, consume, &c, NULL));
	drop(exs_producer_produce(p, answer, nth(1)));
	expect_code(exs_producer_stop(p, exs_error_new(&test_domain, 5, "disk full")), &test_domain, 5);
	CHECK_INT(c.n, 1); /* what was pending came */
	CHECK_INT(c.last, EXS_FAILED);
	exs_producer_free(p);
	end(ex);
}

TEST(producer, consumer_that_fails)
{
	exs_error *error = exs_error_new(&test_domain, 6, "consumer");
	struct consumer c = {.fails = error};
	exs_executor *ex = exs_thread_pool(2);
	exs_producer *p = exs_producer_new(ex, NULL);

	drop(exs_producer_start(p, ex, consume, &c, NULL));
	expect_error(exs_producer_stop(p, NULL), error);
	exs_producer_free(p);
	exs_error_unref(error);
	end(ex);
}

TEST(producer, pause_and_resume)
{
	struct consumer c = {.n = 0};
	exs_executor *ex = exs_thread_pool(2);
	exs_producer *p = exs_producer_new(ex, NULL);

	exs_producer_pause(p);
	expect_value(exs_producer_start(p, ex, consume, &c, NULL), NULL);
	exs_future *f = exs_producer_produce(p, answer, nth(4));
	give_time();
	CHECK(!exs_future_is_done(f));
	exs_producer_resume(p);
	expect_number(f, 4);
	exs_producer_pause(p);
	drop(exs_producer_produce(p, answer, nth(5)));
	expect_number(exs_producer_stop(p, NULL), 2); /* ends the pause */
	exs_producer_free(p);
	end(ex);
}

TEST(producer, stop_without_a_start)
{
	exs_executor *ex = exs_thread_pool(1);

	for (int i = 0; i < 2; i++) {
		struct consumer c = {.n = 0};
		exs_producer *p = exs_producer_new(ex, NULL);
		exs_future *f = exs_producer_produce(p, answer, nth(4));
		if (i)
			expect_code(exs_producer_stop(p, exs_error_new(&test_domain, 2, "never mind")), &test_domain,
				    2);
		else
			expect_value(exs_producer_stop(p, NULL), NULL);
		expect_cancelled(f, EXS_CAUSE_USER);
		expect_code(exs_producer_start(p, ex, consume, &c, consumer_free), &exs_domain_exs, EXS_EALREADY);
		CHECK_INT(c.frees, 1);
		exs_producer_free(p);
	}
	end(ex);
}

TEST(producer, start_fails_as_its_submit_does)
{
	struct consumer c = {.n = 0};
	exs_executor *ex = exs_thread_pool(1), *closed = exs_thread_pool(1);
	exs_producer *p = exs_producer_new(ex, NULL);

	exs_shutdown(closed, EXS_DRAIN, 0);
	expect_code(exs_producer_start(p, closed, consume, &c, consumer_free), &exs_domain_exs, EXS_ESHUTDOWN);
	expect_value(exs_producer_produce(p, answer, nth(1)), NULL);
	expect_code(exs_producer_stop(p, NULL), &exs_domain_exs, EXS_ESHUTDOWN);
	exs_producer_free(p);
	CHECK_INT(c.frees, 1);
	CHECK_INT(c.runs, 0);
	exs_executor_free(closed);
	end(ex);
}

TEST(producer, cancel_of_the_stop_asks_the_consumer_to_stop)
{
	struct consumer c = {.n = 0};
	struct later l;
	exs_executor *ex = exs_thread_pool(2);
	exs_producer *p = exs_producer_new(ex, NULL);

	expect_value(exs_producer_start(p, ex, consume, &c, NULL), NULL);
	drop(exs_producer_produce_async(p, later_item, &l)); /* never done */
	exs_future *f = exs_producer_stop(p, NULL);
	exs_future_cancel(f);
	wait_done(f);
	exs_future_unref(f);
	exs_promise_free(l.promise);
	exs_producer_free(p);
	exs_executor_free(ex); /* waits for the consumer, which got the end */
	CHECK_INT(c.last, EXS_EMPTY);
	end(NULL);
}

TEST(producer, cancel_ends_what_the_consumer_reads)
{
	struct consumer c = {.n = 0};
	struct job job;
	exs_executor *ex = exs_thread_pool(2);
	exs_producer *p = exs_producer_new(ex, NULL);

	job_init(&job);
	job.gated = job.polite = true;
	expect_value(exs_producer_start(p, ex, consume, &c, NULL), NULL);
	exs_task task = {.fn = job_run, .arg = &job, .arg_free = job_free_arg, .name = "painter"};
	drop(exs_producer_produce_with(p, &task));
	sem_take(&job.entered);
	exs_producer_cancel(p);
	wait_count(&job.stops, 1);
	expect_number(exs_producer_stop(p, NULL), 0);
	CHECK_INT(c.last, EXS_EMPTY);
	exs_producer_free(p);
	job_fini(&job);
	end(ex);
}

TEST(producer, freed_without_a_stop)
{
	struct consumer c = {.n = 0};
	exs_executor *ex = exs_thread_pool(2);
	exs_producer *p = exs_producer_new(ex, NULL);

	drop(exs_producer_start(p, ex, consume, &c, consumer_free));
	drop(exs_producer_produce(p, answer, nth(1)));
	exs_producer_free(p);
	end(ex);
	CHECK_INT(c.frees, 1);
}

TEST(producer, misuse)
{
	struct consumer c = {.n = 0};
	exs_executor *ex = exs_thread_pool(1);
	exs_producer *p = exs_producer_new(ex, NULL);

	CHECK(!exs_producer_new(ex, &(exs_stream_options){.source_free = consumer_free}));
	CHECK(!exs_producer_new(ex, &(exs_stream_options){.max_results = EXS_NONE}));
	struct {
		exs_stream_options known;
		int unknown;
	} newer = {{.codec = &c, .codec_free = consumer_free}, 1};
	CHECK(!exs_producer_new_sized(ex, &newer.known, sizeof(newer)));
	newer.known.source_free = consumer_free;
	CHECK(!exs_producer_new(ex, &newer.known));
	CHECK_INT(c.frees, 2);
	expect_code(exs_producer_start(NULL, ex, consume, &c, NULL), &exs_domain_exs, EXS_EINVAL);
	expect_code(exs_producer_produce_with(NULL, &(exs_task){.fn = answer}), &exs_domain_exs, EXS_EINVAL);
	expect_code(exs_producer_produce_async(NULL, later_item, NULL), &exs_domain_exs, EXS_EINVAL);
	expect_code(exs_producer_start(NULL, ex, consume, &c, consumer_free), &exs_domain_exs, EXS_EINVAL);
	expect_code(exs_producer_start(p, NULL, consume, &c, consumer_free), &exs_domain_exs, EXS_EINVAL);
	expect_code(exs_producer_start(p, ex, NULL, &c, consumer_free), &exs_domain_exs, EXS_EINVAL);
	CHECK_INT(c.frees, 5);
	drop(exs_producer_start(p, ex, consume, &c, consumer_free));
	expect_code(exs_producer_start(p, ex, consume, &c, consumer_free), &exs_domain_exs, EXS_EALREADY);
	expect_code(exs_producer_produce(NULL, answer, NULL), &exs_domain_exs, EXS_EINVAL);
	expect_code(exs_producer_stop(NULL, NULL), &exs_domain_exs, EXS_EINVAL);
	exs_producer_pause(NULL);
	exs_producer_resume(NULL);
	exs_producer_cancel(NULL);
	exs_producer_free(NULL);
	exs_producer_free(p);
	end(ex);
}
