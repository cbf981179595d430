/* Streams: items that are lost, with the manual clock; and what else needs a certain order of things. */
#include "support.h"

#include <stdlib.h>

/* --- inputs that may be lost --- */

enum { MOST = 8 };

/* Attempt by attempt: is there no answer? */
struct input {
	unsigned lost; /* so many attempts are */
	atomic_uint starts, ends, destroyed;
	sem_t open[2]; /* of a gated one's attempts */
	bool gated;
};

struct inputs {
	struct input inputs[MOST];
	int n, next;
	bool borrowed; /* they are not destroyed; so nobody but the task has them */
};

static void destroy(void *value)
{
	struct input *i = value;

	CHECK_INT(atomic_load(&i->starts), atomic_load(&i->ends));
	CHECK_INT(atomic_fetch_add(&i->destroyed, 1), 0);
}

static bool source(void *ctx, exs_result *input)
{
	struct inputs *all = ctx;

	if (all->next == all->n)
		return false;
	*input = exs_ok(&all->inputs[all->next++], all->borrowed ? NULL : destroy);
	return true;
}

static void begin(struct inputs *all, int n, unsigned lost)
{
	*all = (struct inputs){.n = n};
	for (int i = 0; i < n; i++) {
		all->inputs[i].lost = lost;
		CHECK(!sem_init(&all->inputs[i].open[0], 0, 0) && !sem_init(&all->inputs[i].open[1], 0, 0));
	}
}

/* The attempt's number is the value: 0 is one that is lost. */
static exs_result attempt(void *arg, exs_context *ctx)
{
	struct input *i = arg;
	unsigned number = atomic_fetch_add(&i->starts, 1) + 1;

	(void)ctx;
	CHECK_INT(atomic_load(&i->destroyed), 0);
	if (i->gated)
		sem_take(&i->open[number - 1]);
	CHECK_INT(atomic_load(&i->destroyed), 0);
	atomic_fetch_add(&i->ends, 1);
	return exs_ok((void *)(uintptr_t)(number > i->lost ? number : 0), NULL);
}

static exs_error *resolve(void *ctx, exs_descriptor **d, size_t n, double *delay)
{
	(void)ctx, (void)delay;
	for (size_t i = 0; i < n; i++)
		if (exs_descriptor_value(d[i]))
			exs_yield_result(d[i], exs_descriptor_value(d[i]), NULL);
	return NULL;
}

static exs_executor *forgetful(exs_clock *clock)
{
	return exs_with_poll(exs_with_clock(exs_thread_pool(2), clock), resolve, NULL, NULL, NULL);
}

static void expect_attempt(exs_stream *s, uint64_t number, unsigned attempts)
{
	exs_item item;

	CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_ITEM);
	CHECK_INT(item.number, number);
	CHECK_INT(exs_future_state(item.future), EXS_STATE_VALUE);
	CHECK_INT((uintptr_t)exs_future_value(item.future), attempts);
	exs_future_unref(item.future);
}

static void expect_lost(exs_stream *s, uint64_t number)
{
	exs_item item;

	CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_ITEM);
	CHECK_INT(item.number, number);
	CHECK(exs_error_is(exs_future_error(item.future), &exs_domain_exs, EXS_ETIMEDOUT));
	exs_future_unref(item.future);
}

static void expect_end(exs_stream *s)
{
	exs_item item;

	CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_EMPTY);
}

static void end(struct inputs *all, exs_stream *s, exs_executor *ex, exs_clock *clock)
{
	exs_stream_free(s);
	exs_executor_free(ex);
	for (int i = 0; i < all->n; i++) {
		wait_count(&all->inputs[i].destroyed, (unsigned)(i < all->next && !all->borrowed));
		sem_destroy(&all->inputs[i].open[0]);
		sem_destroy(&all->inputs[i].open[1]);
	}
	exs_clock_unref(clock);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	harness_wait_futures(0);
}

/* All have been started so often, and their timer is armed. */
static void wait_starts(struct inputs *all, int from, int to, unsigned starts)
{
	for (int i = from; i < to; i++)
		wait_count(&all->inputs[i].starts, starts);
}

/* --- lost --- */

/* Two retries each: with a count for all of the time the last ones would fail. */
TEST(stream_stall, any_answer_begins_the_count_anew)
{
	struct inputs all;
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = forgetful(clock);

	begin(&all, 4, 2);
	exs_stream *s = exs_stream_new(ex, attempt, source, &all,
				       &(exs_stream_options){.max_results = 1, .max_retries = 2, .timeout = 5});
	for (int i = 0; i < 4; i++) {
		for (unsigned starts = 1; starts <= 2; starts++) {
			wait_starts(&all, i, i + 1, starts);
			advance(clock, 5);
		}
		expect_attempt(s, (uint64_t)i, 3);
	}
	expect_end(s);
	end(&all, s, ex, clock);
}

/* An answer of one puts off the time of the others, too. */
TEST(stream_stall, what_is_answered_shows_that_it_goes_on)
{
	struct inputs all;
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_clock(exs_thread_pool(2), clock);

	begin(&all, 2, 0);
	all.inputs[0].gated = all.inputs[1].gated = true;
	exs_stream *s = exs_stream_new(ex, attempt, source, &all, NULL);
	wait_starts(&all, 0, 2, 1);
	advance(clock, 9);
	sem_post(&all.inputs[0].open[0]);
	expect_attempt(s, 0, 1);
	advance(clock, 9);
	CHECK_INT(all.inputs[1].starts, 1);
	advance(clock, 1);
	sem_post(&all.inputs[1].open[0]);
	sem_post(&all.inputs[1].open[1]);
	expect_attempt(s, 1, 2);
	expect_end(s);
	end(&all, s, ex, clock);
}

/* Nobody is told when those are done, as nobody waits for the first: but it is seen, in time. */
TEST(stream_stall, answers_that_nobody_waits_for_are_seen)
{
	struct inputs all;
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_clock(exs_thread_pool(3), clock);

	begin(&all, 3, 0);
	all.borrowed = true;
	for (int i = 0; i < 3; i++)
		all.inputs[i].gated = true;
	exs_stream *s = exs_stream_new(ex, attempt, source, &all, &(exs_stream_options){.timeout = 8});
	wait_starts(&all, 0, 3, 1);
	advance(clock, 5);
	sem_post(&all.inputs[1].open[0]);
	wait_count(&all.inputs[1].ends, 1);
	harness_wait_undone(2);
	advance(clock, 4);
	give_time();
	CHECK_INT(all.inputs[0].starts, 1);
	advance(clock, 5.1); /* an eighth of the timeout later than it was, at most */
	wait_starts(&all, 0, 1, 2);
	for (int i = 0; i < 3; i++) {
		sem_post(&all.inputs[i].open[0]);
		sem_post(&all.inputs[i].open[1]);
	}
	expect_attempt(s, 0, 2);
	expect_attempt(s, 1, 1);
	expect_attempt(s, 2, 2);
	expect_end(s);
	end(&all, s, ex, clock);
}

/* The first answer waits to be read: those after it are seen all the same. */
TEST(stream_stall, answers_behind_one_that_is_not_read_are_seen)
{
	struct inputs all;
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_clock(exs_thread_pool(3), clock);

	begin(&all, 3, 0);
	for (int i = 0; i < 3; i++)
		all.inputs[i].gated = true;
	exs_stream *s =
		exs_stream_new(ex, attempt, source, &all, &(exs_stream_options){.timeout = 8, .as_completed = true});
	wait_starts(&all, 0, 3, 1);
	sem_post(&all.inputs[1].open[0]);
	harness_wait_undone(2);
	give_time();
	advance(clock, 2); /* it has been seen */
	advance(clock, 5);
	sem_post(&all.inputs[2].open[0]);
	harness_wait_undone(1);
	give_time();
	advance(clock, 6);
	give_time();
	CHECK_INT(all.inputs[0].starts, 1);
	advance(clock, 4);
	wait_starts(&all, 0, 1, 2);
	sem_post(&all.inputs[0].open[0]);
	sem_post(&all.inputs[0].open[1]);
	expect_attempt(s, 1, 1);
	expect_attempt(s, 2, 1);
	expect_attempt(s, 0, 2);
	expect_end(s);
	end(&all, s, ex, clock);
}

TEST(stream_stall, without_limit)
{
	struct inputs all;
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = forgetful(clock);

	begin(&all, 2, 40);
	exs_stream *s = exs_stream_new(ex, attempt, source, &all, &(exs_stream_options){.max_retries = EXS_UNLIMITED});
	for (unsigned starts = 1; starts <= 40; starts++) {
		wait_starts(&all, 0, 2, starts);
		advance(clock, 10);
	}
	expect_attempt(s, 0, 41);
	expect_attempt(s, 1, 41);
	expect_end(s);
	end(&all, s, ex, clock);
}

TEST(stream_stall, no_retries)
{
	struct inputs all;
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = forgetful(clock);
	exs_item item;

	begin(&all, 3, 1);
	exs_stream *s = exs_stream_new(ex, attempt, source, &all,
				       &(exs_stream_options){.max_retries = EXS_NONE, .max_results = 2});
	wait_starts(&all, 0, 2, 1);
	advance(clock, 9.5);
	CHECK_INT(exs_stream_next(s, &item, 0), EXS_TIMEOUT);
	advance(clock, 0.5);
	expect_lost(s, 0);
	expect_lost(s, 1);
	wait_starts(&all, 2, 3, 1);
	advance(clock, 10);
	expect_lost(s, 2);
	expect_end(s);
	for (int i = 0; i < 3; i++)
		CHECK_INT(all.inputs[i].starts, 1);
	end(&all, s, ex, clock);
}

static void other_answers(void *arg)
{
	struct input *other = arg;

	sem_post(&other->open[0]);
	harness_wait_undone(1);
}

/* Its being told to stop has the other answer, which is told before its turn comes. */
static exs_result first_helps_second(void *arg, exs_context *ctx)
{
	struct input *i = arg;

	if (i->lost)
		CHECK(!exs_context_on_cancel(ctx, other_answers, i + 1));
	return attempt(arg, ctx);
}

TEST(stream_stall, an_answer_while_others_are_given_up_counts)
{
	struct inputs all;
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_clock(exs_thread_pool(2), clock);

	begin(&all, 2, 0);
	all.borrowed = all.inputs[0].gated = all.inputs[1].gated = true;
	all.inputs[0].lost = 1;
	exs_stream *s =
		exs_stream_new(ex, first_helps_second, source, &all, &(exs_stream_options){.max_retries = EXS_NONE});
	wait_starts(&all, 0, 2, 1);
	give_time();
	advance(clock, 12);
	expect_lost(s, 0);
	expect_attempt(s, 1, 1);
	expect_end(s);
	sem_post(&all.inputs[0].open[0]);
	end(&all, s, ex, clock);
}

TEST(stream_stall, no_timeout)
{
	struct inputs all;
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = forgetful(clock);
	exs_item item;

	begin(&all, 1, 1);
	exs_stream *s = exs_stream_new(ex, attempt, source, &all, &(exs_stream_options){.timeout = EXS_UNLIMITED});
	wait_starts(&all, 0, 1, 1);
	advance(clock, 1e6);
	CHECK_INT(exs_stream_next(s, &item, 0), EXS_TIMEOUT);
	CHECK_INT(all.inputs[0].starts, 1);
	exs_stream_cancel(s);
	expect_end(s);
	end(&all, s, ex, clock);
}

/* The first attempt, which does not hear, is still running when the second has answered, and when the item has been read. */
TEST(stream_stall, input_lives_until_the_last_attempt_has_ended)
{
	struct inputs all;
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_clock(exs_thread_pool(2), clock);

	begin(&all, 1, 0);
	all.inputs[0].gated = true;
	exs_stream *s = exs_stream_new(ex, attempt, source, &all, NULL);
	wait_starts(&all, 0, 1, 1);
	advance(clock, 10);
	wait_starts(&all, 0, 1, 2);
	sem_post(&all.inputs[0].open[1]);
	expect_attempt(s, 0, 2);
	CHECK_INT(all.inputs[0].destroyed, 0);
	expect_end(s);
	exs_stream_free(s);
	CHECK_INT(all.inputs[0].destroyed, 0);
	sem_post(&all.inputs[0].open[0]);
	end(&all, NULL, ex, clock);
}

TEST(stream_stall, as_completed)
{
	struct inputs all;
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = forgetful(clock);

	begin(&all, 4, 1);
	all.inputs[3].lost = 0;
	all.inputs[0].lost = ALWAYS;
	exs_stream *s = exs_stream_new(ex, attempt, source, &all,
				       &(exs_stream_options){.as_completed = true, .max_retries = 1});
	expect_attempt(s, 3, 1);
	wait_starts(&all, 0, 3, 1);
	advance(clock, 10);
	exs_item item;
	for (int i = 0; i < 2; i++) { /* 1 and 2 in any order: each answer begins the count anew */
		CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_ITEM);
		CHECK(item.number == 1 || item.number == 2);
		CHECK_INT((uintptr_t)exs_future_value(item.future), 2);
		exs_future_unref(item.future);
	}
	wait_starts(&all, 0, 1, 2);
	advance(clock, 10);
	wait_starts(&all, 0, 1, 3);
	advance(clock, 10);
	expect_lost(s, 0);
	expect_end(s);
	end(&all, s, ex, clock);
}

static exs_result until_told(void *arg, exs_context *ctx)
{
	struct input *i = arg;
	unsigned number = atomic_fetch_add(&i->starts, 1) + 1;

	if (number <= i->lost)
		CHECK(exs_context_sleep(ctx, EXS_FOREVER));
	atomic_fetch_add(&i->ends, 1);
	return exs_ok((void *)(uintptr_t)number, NULL);
}

/* A pool that is full, of which one sleeps: what is begun again must not wait for room, as the other has not been told to stop. */
TEST(stream_stall, lost_in_a_full_pool)
{
	struct inputs all;
	exs_clock *clock = exs_clock_manual_new();
	exs_executor *ex = exs_with_clock(
		pool_made((exs_thread_pool_options){.workers = 1, .queue_limit = 1, .when_full = EXS_FULL_BLOCK}),
		clock);

	begin(&all, 2, 0);
	all.inputs[0].lost = 1;
	exs_stream *s = exs_stream_new(ex, until_told, source, &all, NULL);
	wait_starts(&all, 0, 1, 1);
	advance(clock, 10);
	expect_attempt(s, 0, 2);
	exs_item item; /* that waited in the queue: which attempt is first is not fixed */
	CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_ITEM);
	CHECK_INT(exs_future_state(item.future), EXS_STATE_VALUE);
	exs_future_unref(item.future);
	expect_end(s);
	end(&all, s, ex, clock);
}

TEST(stream_stall, on_the_real_clock)
{
	struct inputs all;
	exs_executor *ex = exs_thread_pool(2);
	double begun = exs_clock_now(NULL);

	begin(&all, 1, 1);
	all.borrowed = true;
	exs_stream *s = exs_stream_new(ex, until_told, source, &all, &(exs_stream_options){.timeout = 0.1});
	expect_attempt(s, 0, 2);
	CHECK(exs_clock_now(NULL) - begun >= 0.1);
	expect_end(s);
	end(&all, s, ex, NULL);
}

/* --- ends --- */

struct held {
	int next, end, holds; /* the source waits before it gives this one */
	sem_t entered, open;
	atomic_int under_way;
};

static bool held_source(void *ctx, exs_result *input)
{
	struct held *h = ctx;

	atomic_store(&h->under_way, 1);
	if (h->next == h->holds) {
		sem_post(&h->entered);
		sem_take(&h->open);
	}
	*input = exs_ok((void *)(uintptr_t)(h->next + 1), NULL);
	atomic_store(&h->under_way, 0);
	return h->next++ < h->end;
}

static exs_result same(void *arg, exs_context *ctx)
{
	(void)ctx;
	return exs_ok(arg, NULL);
}

static void held_begin(struct held *h, int end, int holds)
{
	*h = (struct held){.end = end, .holds = holds};
	CHECK(!sem_init(&h->entered, 0, 0) && !sem_init(&h->open, 0, 0));
}

static void *read_first(void *stream)
{
	expect_attempt(stream, 0, 1);
	return NULL;
}

/* What the source is about to give when the stream is stopped is in it: no reader is told of the end before. */
TEST(stream_ends, after_what_the_source_is_about_to_give)
{
	struct held h;
	exs_item item;
	exs_executor *ex = exs_inline();

	held_begin(&h, 100, 1);
	exs_stream *s = exs_stream_new(ex, same, held_source, &h, NULL);
	pthread_t t = thread_start(read_first, s);
	sem_take(&h.entered);
	exs_stream_stop(s, exs_error_new(&test_domain, 1, "enough"));
	CHECK_INT(exs_stream_next(s, &item, 0), EXS_TIMEOUT);
	sem_post(&h.open);
	expect_attempt(s, 1, 2);
	CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_FAILED);
	CHECK(exs_error_is(exs_last_error(), &test_domain, 1));
	expect_end(s);
	thread_join(t);
	exs_stream_free(s);
	exs_executor_free(ex);
}

static sem_t task_entered, task_open, built;

/* What it is to be part of is complete. */
static exs_result when_built(void *arg, exs_context *ctx)
{
	(void)ctx;
	sem_take(&built);
	sem_post(&built);
	return exs_ok(arg, NULL);
}

static exs_result gated(void *arg, exs_context *ctx)
{
	(void)ctx;
	sem_post(&task_entered);
	sem_take(&task_open);
	return exs_ok(arg, NULL);
}

struct freeing {
	exs_stream *s;
	struct held *h;
	atomic_uint freed;
};

static void *free_it(void *arg)
{
	struct freeing *f = arg;

	exs_stream_free(f->s);
	CHECK_INT(atomic_load(&f->h->under_way), 0);
	atomic_store(&f->freed, 1);
	return NULL;
}

/* The last stage has a task that runs, so it lives on; the source is asked by a worker of the first, on behalf of the one between. */
TEST(stream_ends, free_waits_for_the_source_of_the_first_stage)
{
	struct held h;
	struct freeing f = {.h = &h};
	exs_executor *first = exs_thread_pool(1), *between = exs_inline(), *last = exs_thread_pool(1);

	CHECK(!sem_init(&task_entered, 0, 0) && !sem_init(&task_open, 0, 0) && !sem_init(&built, 0, 0));
	held_begin(&h, 100, 3);
	exs_stream *s = exs_stream_new(first, when_built, held_source, &h, &(exs_stream_options){.max_results = 2});
	s = exs_stream_map(s, between, same, NULL);
	f.s = s = exs_stream_map(s, last, gated, NULL);
	sem_post(&built);
	sem_take(&task_entered);
	sem_take(&h.entered);
	pthread_t t = thread_start(free_it, &f);
	give_time();
	CHECK_INT(atomic_load(&f.freed), 0);
	sem_post(&h.open);
	thread_join(t);
	CHECK_INT(h.next, 4);
	for (int i = 0; i < 10; i++)
		sem_post(&task_open);
	exs_executor_free(first);
	exs_executor_free(between);
	exs_executor_free(last);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	harness_wait_futures(0);
}

/* It is asked by a worker, on behalf of the stage. */
static bool freeing_source(void *ctx, exs_result *input)
{
	struct freeing *f = ctx;

	*input = exs_ok(NULL, NULL);
	if (++f->h->next == 3) {
		exs_stream_free(f->s);
		atomic_store(&f->freed, 1);
	}
	return true;
}

TEST(stream_ends, freed_by_its_own_source)
{
	struct held h = {.next = 0};
	struct freeing f = {.h = &h};
	exs_executor *ex = exs_thread_pool(1);

	CHECK(!sem_init(&built, 0, 0));
	exs_stream *s = exs_stream_new(ex, when_built, freeing_source, &f, &(exs_stream_options){.max_results = 2});
	f.s = exs_stream_map(s, ex, same, NULL);
	sem_post(&built);
	wait_count(&f.freed, 1);
	exs_executor_free(ex);
	CHECK_INT(h.next, 3);
	CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	harness_wait_futures(0);
}

/* The allocation to be held up: so many after the source's third answer, on the thread that it ran on. */
static struct late {
	sem_t entered, open, given;
	exs_stream *s;
	atomic_uint next, freed;
	int holds_at;
} late;
static _Thread_local int allocations_left;

static void *held_alloc(size_t size)
{
	if (allocations_left && !--allocations_left) {
		sem_post(&late.entered);
		sem_take(&late.open);
	}
	return malloc(size);
}

static bool late_source(void *ctx, exs_result *input)
{
	unsigned n = atomic_fetch_add(&late.next, 1);

	(void)ctx;
	CHECK_INT(atomic_load(&late.freed), 0);
	if (n == 2)
		allocations_left = late.holds_at;
	if (n == 3)
		sem_post(&late.entered);
	*input = exs_ok((void *)(uintptr_t)n, NULL);
	return true;
}

/* The third has to be begun again, later. */
static exs_result third_is_late(void *arg, exs_context *ctx)
{
	(void)ctx;
	if ((uintptr_t)arg < 2)
		return exs_ok(arg, NULL);
	return exs_fail(exs_error_new(&test_domain, 1, "not yet"));
}

static void *free_late(void *unused)
{
	(void)unused;
	exs_stream_free(late.s);
	atomic_store(&late.freed, 1);
	return NULL;
}

/* Whatever a worker that pumps is at just then, as far as it can be held up. */
TEST(stream_ends, source_is_not_asked_after_free)
{
	exs_set_allocator(&(exs_allocator){held_alloc, free});
	for (int i = 1; i < 12; i++) {
		exs_clock *clock = exs_clock_manual_new();
		exs_executor *first = exs_with_retry(exs_with_clock(exs_inline(), clock), NULL);
		exs_executor *between = exs_thread_pool(1), *last = exs_inline();

		late = (struct late){.holds_at = i};
		CHECK(!sem_init(&late.entered, 0, 0) && !sem_init(&late.open, 0, 0) && !sem_init(&built, 0, 0));
		exs_stream *s = exs_stream_new(first, third_is_late, late_source, NULL,
					       &(exs_stream_options){.max_results = 3});
		s = exs_stream_map(s, between, when_built, &(exs_stream_options){.max_results = 1});
		late.s = exs_stream_map(s, last, same, NULL);
		CHECK_INT(late.next, 2);
		sem_post(&built);
		sem_take(&late.entered);
		pthread_t t = thread_start(free_late, NULL);
		give_time();
		sem_post(&late.open);
		thread_join(t);
		exs_executor_free(first);
		exs_executor_free(between);
		exs_executor_free(last);
		exs_clock_unref(clock);
		CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
		harness_wait_futures(0);
	}
	exs_set_allocator(NULL);
}

/* --- from within --- */

/* What the source, the task or the callback of item `at` does to the stream. */
struct within {
	exs_stream *s;
	void (*does)(exs_stream *s);
	int at, next, end;
	atomic_uint done;
};

static void pause_and_resume(exs_stream *s)
{
	exs_stream_pause(s);
	exs_stream_resume(s);
}

static void stop(exs_stream *s)
{
	exs_stream_stop(s, NULL);
}

static void stop_with_error(exs_stream *s)
{
	exs_stream_stop(s, exs_error_new(&test_domain, 1, "from within"));
}

static void act(struct within *w)
{
	atomic_fetch_add(&w->done, 1);
	w->does(w->s);
}

static bool acting_source(void *ctx, exs_result *input)
{
	struct within *w = ctx;

	if (w->next == w->at)
		act(w);
	*input = exs_ok((void *)(uintptr_t)(w->next + 1), NULL);
	return w->next++ < w->end;
}

static struct within *acts;

static exs_result acting_task(void *arg, exs_context *ctx)
{
	(void)ctx;
	if ((uintptr_t)arg == (uintptr_t)acts->at + 1)
		act(acts);
	return exs_ok(arg, NULL);
}

static void acting_callback(exs_future *f, void *within)
{
	(void)f;
	act(within);
}

/* Answers how many items came before the end. */
static long read_to_the_end(exs_stream *s)
{
	exs_set_status status;
	exs_item item;
	long n = 0;

	while ((status = exs_stream_next(s, &item, EXS_FOREVER)) != EXS_EMPTY) {
		CHECK_INT(status == EXS_ITEM ? (int)EXS_ITEM : exs_error_code(exs_last_error()),
			  status == EXS_ITEM ? EXS_ITEM : 1);
		CHECK(status != EXS_ITEM || item.number == (uint64_t)n);
		n += status == EXS_ITEM;
		exs_future_unref(item.future);
	}
	return n;
}

static void in_the_source(exs_executor *ex, void (*does)(exs_stream *), long least, long most)
{
	struct within w = {.does = does, .at = 20, .end = 40};
	exs_stream *s = exs_stream_new(ex, same, acting_source, &w, &(exs_stream_options){.max_results = 8});

	w.s = s;
	long n = read_to_the_end(s);
	CHECK(n >= least && n <= most);
	CHECK_INT(w.done, 1);
	exs_stream_free(s);
}

static void in_a_task(exs_executor *ex, void (*does)(exs_stream *), long least, long most)
{
	struct within w = {.does = does, .at = 20, .next = 0, .end = 40};
	struct within quiet = {.at = -1, .end = 40};

	acts = &w;
	exs_stream *s = exs_stream_new(ex, same, acting_source, &quiet, &(exs_stream_options){.max_results = 8});
	w.s = s = exs_stream_map(s, ex, acting_task, &(exs_stream_options){.max_results = 8});
	long n = read_to_the_end(s);
	CHECK(n >= least && n <= most);
	CHECK_INT(w.done, 1);
	exs_stream_free(s);
	harness_wait_futures(0); /* tasks that look at w */
}

/* In a callback of the item before. */
static void in_a_callback(exs_executor *ex, void (*does)(exs_stream *), long least, long most)
{
	struct within w = {.does = does};
	exs_stream *s = exs_stream_new(ex, NULL, NULL, NULL, NULL);
	exs_future *last = NULL;

	w.s = s;
	for (uintptr_t i = 1; i <= 40; i++) {
		exs_future_unref(last);
		last = exs_stream_produce(s, same, (void *)i);
		if (i == 20)
			CHECK_INT(exs_future_on_done(last, acting_callback, &w, NULL), EXS_OK);
	}
	exs_future_unref(last);
	wait_count(&w.done, 1);
	exs_stream_stop(s, NULL);
	long n = read_to_the_end(s);
	CHECK(n >= least && n <= most);
	exs_stream_free(s);
}

static void everywhere(void (*does)(exs_stream *), long least, long most)
{
	for (int which = 0; which < 2; which++) {
		exs_executor *ex = which ? exs_thread_pool(1) : exs_inline();
		in_the_source(ex, does, least, most);
		in_a_task(ex, does, least, most);
		in_a_callback(ex, does, least, most);
		exs_executor_free(ex);
		CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
		harness_wait_futures(0);
	}
}

TEST(stream_within, cancel)
{
	everywhere(exs_stream_cancel, 0, 20);
}

TEST(stream_within, stop)
{
	everywhere(stop, 20, 40);
	everywhere(stop_with_error, 20, 40);
}

TEST(stream_within, pause_and_resume)
{
	everywhere(pause_and_resume, 40, 40);
}

static sem_t known; /* the stream, to its tasks */

static exs_result frees(void *arg, exs_context *ctx)
{
	(void)ctx;
	sem_take(&known);
	sem_post(&known);
	if ((uintptr_t)arg == 3) {
		exs_stream_free(acts->s);
		atomic_store(&acts->done, 1);
	}
	return exs_ok(arg, NULL);
}

/* By a task that is one of its own items. */
TEST(stream_within, free)
{
	for (int i = 0; i < 20; i++) {
		struct within w = {.s = NULL}, quiet = {.at = -1, .end = 40};
		exs_executor *ex = exs_thread_pool(1 + i % 3);

		CHECK(!sem_init(&known, 0, 0));
		acts = &w;
		exs_stream *s = exs_stream_new(ex, same, acting_source, &quiet, NULL);
		w.s = exs_stream_map(s, ex, frees, &(exs_stream_options){.max_results = 8});
		sem_post(&known);
		wait_count(&w.done, 1);
		exs_executor_free(ex);
		CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
		harness_wait_futures(0);
	}
}
