/* Workers that are killed at random, at any moment of their lives: every future is done, with the right result where something tries again, and
   nothing is left. EXS_TEST_SOAK=50: 100,000 tasks and 2,000 kills, twice. */
#define _GNU_SOURCE
#include "storm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { WORKERS = 4, WINDOW = 48, TASKS = 2000, KILLS = 40, SMALL = 16 };
enum { LARGE = (1 << 20) + 4096, MIDDLE = 200 << 10 };

/* --- in the workers --- */

static uint64_t input_number(const exs_bytes *input)
{
	uint64_t x;

	memcpy(&x, input->data, sizeof(x));
	return x;
}

/* A number, for a moment: mixed. */
static exs_result kill_mix(const exs_bytes *input, exs_context *ctx)
{
	uint64_t x = input_number(input), y = storm_mix(x);

	(void)ctx;
	for (uint64_t i = storm_mix(x + 1) % 20000; i; i--)
		__asm__ volatile("");
	return exs_ok_copy(&y, sizeof(y));
}

/* Bytes: each turned over. */
static exs_result kill_turn(const exs_bytes *input, exs_context *ctx)
{
	exs_bytes *bytes = exs_bytes_new(input->size);

	(void)ctx;
	for (size_t i = 0; bytes && i < input->size; i++)
		bytes->data[i] = (unsigned char)~input->data[i];
	return exs_ok_bytes(bytes);
}

enum { ITEMS = 40 };

static exs_result kill_items(const exs_bytes *input, exs_context *ctx)
{
	uint64_t x = input_number(input);

	for (uint64_t i = 0; i < ITEMS; i++) {
		uint64_t y = x + i;
		if (exs_emit(ctx, exs_ok_copy(&y, sizeof(y))))
			return exs_cancelled();
	}
	return exs_ok(NULL, NULL);
}

static exs_error *set_up(void *ctx, unsigned number, void **state)
{
	(void)ctx, (void)state;
	usleep(number % 4 * 500); /* so that some are killed here */
	return NULL;
}

__attribute__((constructor)) static void be_worker(int argc, char **argv)
{
	exs_register("kill_mix", kill_mix);
	exs_register("kill_turn", kill_turn);
	exs_register("kill_items", kill_items);
	exs_process_worker_hooks(set_up, NULL, NULL);
	exs_process_main(argc, argv);
}

/* --- here --- */

static exs_executor *pool(unsigned death_retries)
{
	exs_executor *ex = exs_process_pool(
		&(exs_process_pool_options){.workers = WORKERS, .death_retries = death_retries, .name = "storm"});

	CHECK(ex);
	return ex;
}

static exs_executor *retried(exs_executor *ex)
{
	ex = exs_with_retry(ex, &(exs_retry_options){.max_attempts = EXS_UNLIMITED, .sleep = EXS_NONE});
	CHECK(ex);
	return ex;
}

/* Task x: mostly a number; some carry more than a packet, some a file of memory, both ways. */
static size_t size_of_task(uint64_t x)
{
	return x % 97 == 5 ? LARGE : x % 31 == 7 ? MIDDLE : 0;
}

static exs_future *submit(exs_executor *ex, uint64_t x)
{
	size_t size = size_of_task(x);

	if (!size)
		return exs_submit_function(ex, "kill_mix", &x, sizeof(x));
	exs_bytes *input = exs_bytes_new(size);
	CHECK(input);
	memset(input->data, (int)(x & 0xff), size);
	return exs_submit_invocation(ex, exs_invocation_of("kill_turn", input), &(exs_task){.priority = 0});
}

static void check(exs_future *f, uint64_t x)
{
	size_t size = size_of_task(x);
	uint64_t y = storm_mix(x);

	CHECK(f);
	const unsigned char *data = storm_value(f, size ? size : sizeof(y));
	if (!size)
		CHECK(!memcmp(data, &y, sizeof(y)));
	for (size_t i = 0; i < size; i++)
		if (data[i] != (unsigned char)~x)
			CHECK_INT(data[i], (unsigned char)~x);
	exs_future_unref(f);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* All tasks, while the storm goes on, WINDOW of them at a time. */
static void weather(exs_executor *ex, struct storm *s, unsigned long tasks)
{
	exs_future *f[WINDOW];
	long most = 0;

	storm_start(s);
	for (unsigned long i = 0; i < tasks + WINDOW; i++) {
		if (i >= WINDOW) {
			check(f[i % WINDOW], i - WINDOW);
			atomic_fetch_add(&s->done, 1);
		}
		if (i < tasks)
			f[i % WINDOW] = submit(ex, i);
		if (i % 256 == 0 && i < tasks)
			most = storm_blocks() > most ? storm_blocks() : most;
		CHECK(most < 100 * WINDOW); /* not growing with the number of tasks */
	}
	storm_stop(s);
}

static void storm_over(exs_executor *ex, bool seasoned, unsigned long tasks, unsigned long kills)
{
	struct storm s = {.ex = ex, .random = harness_seed(), .n = kills, .pace = tasks / kills, .seasoned = seasoned};
	exs_process_pool_stats stats;
	double begun = now();

	weather(ex, &s, tasks);
	CHECK_INT(exs_process_pool_get_stats(ex, &stats), 0);
	CHECK_INT(stats.malformed, 0);
	CHECK_INT(stats.queued + stats.running, 0);
	fprintf(stderr, "%lu tasks, %lu kills: %zu workers, %zu died, %zu starts of tasks, %.1f s\n", tasks,
		atomic_load(&s.struck), stats.spawned, stats.died, stats.started, now() - begun);
	exs_executor_free(ex);
}

TEST(process_kill, with_retry_every_result_is_right)
{
	struct storm_rest rest;

	storm_begin(&rest);
	storm_over(retried(pool(0)), false, harness_rounds((unsigned long)harness_many(TASKS)),
		   harness_rounds((unsigned long)harness_many(KILLS)));
	storm_end(&rest);
}

/* Of workers that have begun: three in a row that can't begin fail what waits. */
TEST(process_kill, with_death_retries_every_result_is_right)
{
	struct storm_rest rest;

	storm_begin(&rest);
	storm_over(pool(1000000), true, harness_rounds((unsigned long)harness_many(TASKS)),
		   harness_rounds((unsigned long)harness_many(KILLS)));
	storm_end(&rest);
}

/* As fast as they can be found: hardly one ever gets as far as READY. */
TEST(process_kill, while_they_begin)
{
	struct storm_rest rest;
	unsigned long rounds = harness_rounds(2);

	storm_begin(&rest);
	uint64_t random = harness_seed();
	for (unsigned long i = 0; i < rounds; i++) {
		exs_executor *ex = retried(pool(0));
		struct storm s = {.ex = ex, .random = harness_random(&random), .n = 20};
		weather(ex, &s, 20);
		exs_executor_free(ex);
	}
	storm_end(&rest);
}

static void expect_done(exs_future *f)
{
	CHECK(f);
	CHECK_INT(exs_future_wait(f, EXS_FOREVER), 0);
	exs_future_unref(f);
}

/* The updates are done, whether their workers have run them or not; and what is given meanwhile is right. */
TEST(process_kill, while_they_are_updated)
{
	struct storm_rest rest;
	unsigned long rounds = harness_rounds(3);

	storm_begin(&rest);
	uint64_t random = harness_seed();
	for (unsigned long i = 0; i < rounds; i++) {
		exs_executor *ex = retried(pool(0));
		struct storm s = {.ex = ex, .random = harness_random(&random), .n = 10};
		exs_future *tasks[20], *updates[20];
		storm_start(&s);
		for (uint64_t k = 0; k < 20; k++) {
			tasks[k] = submit(ex, k);
			updates[k] = exs_process_pool_update(ex, exs_invocation_new("kill_mix", &k, sizeof(k)), k % 2);
		}
		for (uint64_t k = 0; k < 20; k++) {
			check(tasks[k], k);
			expect_done(updates[k]);
		}
		storm_stop(&s);
		exs_executor_free(ex);
	}
	storm_end(&rest);
}

/* Reads all of it: in order; anew from the first (`again`), or never. Answers how many came in a row at the end. */
static uint64_t read_items(exs_future *f, uint64_t x, bool again)
{
	exs_stream *stream;
	exs_item item;
	uint64_t next = 0;

	CHECK(f);
	CHECK_INT(exs_future_wait(f, EXS_FOREVER), 0);
	stream = exs_future_value(f);
	CHECK(stream);
	while (exs_stream_next(stream, &item, EXS_FOREVER) == EXS_ITEM) {
		const unsigned char *data = storm_value(item.future, sizeof(uint64_t));
		uint64_t y;
		memcpy(&y, data, sizeof(y));
		if (again && y == x)
			next = 0;
		CHECK_INT(y, x + next);
		next++;
		exs_future_unref(item.future);
	}
	exs_future_unref(f);
	return next;
}

/* No more at a time than there are workers: one that begins again would wait behind those that wait for it to be read. */
static void emit_some(exs_executor *ex, bool again)
{
	exs_future *f[WORKERS];

	for (uint64_t k = 0; k < WORKERS; k++)
		f[k] = exs_submit_function(ex, "kill_items", &(uint64_t){k * 1000}, sizeof(k));
	for (uint64_t k = 0; k < WORKERS; k++) {
		uint64_t n = read_items(f[k], k * 1000, again);
		CHECK(again ? n == ITEMS : n <= ITEMS);
	}
}

static void items(bool again)
{
	struct storm_rest rest;
	unsigned long rounds = harness_rounds(2);

	storm_begin(&rest);
	uint64_t random = harness_seed();
	for (unsigned long i = 0; i < rounds; i++) {
		exs_executor *ex = exs_with_iterator(again ? retried(pool(0)) : pool(0), 3);
		CHECK(ex);
		struct storm s = {.ex = ex, .random = harness_random(&random), .n = 10};
		storm_start(&s);
		for (int k = 0; k < 6; k++)
			emit_some(ex, again);
		storm_stop(&s);
		exs_executor_free(ex);
	}
	storm_end(&rest);
}

TEST(process_kill, while_they_emit)
{
	items(false);
}

TEST(process_kill, while_they_emit_and_something_tries_again)
{
	items(true);
}

/* One that is closed in each way, at a random moment. */
static void close_one(uint64_t *random)
{
	exs_executor *ex = harness_below(random, 2) ? retried(pool(0)) : pool((unsigned)harness_below(random, 3));
	struct storm s = {.ex = ex, .random = harness_random(random), .n = 15};
	exs_close how = (exs_close)(1 + harness_below(random, 3));
	exs_future *f[40];

	storm_start(&s);
	for (uint64_t k = 0; k < 40; k++)
		f[k] = submit(ex, harness_below(random, 1000));
	for (uint64_t k = harness_below(random, 20); k; k--)
		CHECK_INT(exs_future_wait(f[k], EXS_FOREVER), 0);
	CHECK_INT(exs_process_pool_close(ex, how, EXS_FOREVER), 0);
	for (uint64_t k = 0; k < 40; k++) {
		CHECK(exs_future_is_done(f[k]));
		exs_future_unref(f[k]);
	}
	storm_stop(&s);
	exs_executor_free(ex);
}

TEST(process_kill, while_the_pool_is_closed)
{
	struct storm_rest rest;
	unsigned long rounds = harness_rounds(6);

	storm_begin(&rest);
	uint64_t random = harness_seed();
	for (unsigned long i = 0; i < rounds; i++)
		close_one(&random);
	storm_end(&rest);
}
