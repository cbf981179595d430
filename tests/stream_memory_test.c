/* Streams without end take no more memory for ten times as many items, however slow a reader or an item is: no block of the library, no
   page of the process, no stack. An ordinary run goes on to 1,000,000 items, a soak to 10,000,000. */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX = 64, WORKERS = 2, MANY = 100 };

/* --- memory --- */

/* Blocks of the library: those that are there, and the most that were at a time. */
static atomic_long blocks, most_blocks;

static void raise(atomic_long *most, long n)
{
	long before = atomic_load(most);

	while (n > before && !atomic_compare_exchange_weak(most, &before, n))
		;
}

static void *counted_alloc(size_t size)
{
	raise(&most_blocks, atomic_fetch_add(&blocks, 1) + 1);
	return malloc(size);
}

static void counted_free(void *p)
{
	atomic_fetch_sub(&blocks, 1);
	free(p);
}

/* KiB of this process that are in memory. */
static long resident(void)
{
	char line[256];
	long kb = 0;
	FILE *file = fopen("/proc/self/status", "r");

	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, "VmRSS:", 6))
			kb = strtol(line + 6, NULL, 10);
	if (file)
		fclose(file);
	return kb;
}

/* Sanitizers keep for a while what was freed. */
void __asan_init(void) __attribute__((weak));
void __tsan_init(void) __attribute__((weak));

static bool counts_pages(void)
{
	return !__asan_init && !__tsan_init;
}

/* So many items, then ten times as many; `part` of that where it is not a soak. */
static long some(int part)
{
	long n = harness_rounds(1) > 1 ? 1000000 : 100000 / part;

	return counts_pages() ? n : n / 10;
}

/* --- items --- */

static atomic_long given, read_so_far, alive, most_alive, most_there;

static void input_free(void *value)
{
	atomic_fetch_sub(&alive, 1);
	free(value);
}

static bool endless(void *ctx, exs_result *input)
{
	long *value = malloc(sizeof(*value)), n = atomic_fetch_add(&given, 1);

	(void)ctx;
	CHECK(value);
	*value = n;
	raise(&most_alive, atomic_fetch_add(&alive, 1) + 1);
	raise(&most_there, n + 1 - atomic_load(&read_so_far));
	*input = exs_ok(value, input_free);
	return true;
}

/* Every thousandth takes its time. */
static exs_result same(void *value, exs_context *ctx)
{
	long n = *(long *)value;

	if (n % 1000 == 999)
		exs_context_sleep(ctx, 1e-4);
	return number(n);
}

static void read_items(exs_stream *s, long n, bool in_order)
{
	for (long i = 0; i < n; i++) {
		exs_item item;
		CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_ITEM);
		CHECK(!in_order || *(long *)exs_future_value(item.future) == (long)item.number);
		exs_future_unref(item.future);
		atomic_fetch_add(&read_so_far, 1);
		if (i % 10000 == 9999)
			give_time(); /* meanwhile all is begun that may be */
	}
}

/* n items, then 9 n more: of the library's blocks, and of the pages, there are no more than before. */
static void grows_not(exs_stream *s, long n, bool in_order, long there)
{

	read_items(s, n, in_order);
	long before = atomic_load(&most_blocks), pages = resident();
	read_items(s, 9 * n, in_order);
	fprintf(stderr, "%ld items: %ld KiB, most blocks %ld, items %ld, inputs %ld; %ld items: %ld KiB, %ld\n", n,
		pages, before, atomic_load(&most_there), atomic_load(&most_alive), 10 * n, resident(),
		atomic_load(&most_blocks));
	CHECK(atomic_load(&most_blocks) <= before + 8 * (there + WORKERS));
	CHECK(!counts_pages() || resident() <= pages + 1024);
	CHECK(atomic_load(&most_there) <= there + 1); /* one is read, and not counted yet */
	CHECK(atomic_load(&most_alive) <= there + WORKERS + 1);
}

static const exs_allocator counted = {counted_alloc, counted_free};

static void begin(void)
{
	exs_set_allocator(&counted);
	atomic_store(&given, 0);
	atomic_store(&read_so_far, 0);
	atomic_store(&most_alive, 0);
	atomic_store(&most_there, 0);
	atomic_store(&most_blocks, 0);
}

static void end(exs_stream *s, exs_executor *ex)
{
	exs_stream_free(s);
	exs_executor_free(ex);
	harness_wait_futures(0);
	while (atomic_load(&blocks))
		CHECK_INT(exs_quiesce(EXS_FOREVER), EXS_OK);
	CHECK_INT(atomic_load(&alive), 0);
	CHECK_INT(atomic_load(&numbers), 0);
	exs_set_allocator(NULL);
}

static void of_a_pool(bool as_completed)
{
	begin();
	exs_executor *ex = exs_thread_pool(WORKERS);
	exs_stream *s = exs_stream_new(ex, same, endless, NULL,
				       &(exs_stream_options){.max_results = MAX, .as_completed = as_completed});
	grows_not(s, some(as_completed ? 5 : 1), !as_completed, MAX);
	end(s, ex);
}

TEST(stream_memory, in_order)
{
	of_a_pool(false);
}

TEST(stream_memory, as_completed)
{
	of_a_pool(true);
}

TEST(stream_memory, in_stages)
{
	begin();
	exs_executor *ex = exs_thread_pool(WORKERS);
	exs_stream_options o = {.max_results = MAX};
	exs_stream *s = exs_stream_new(ex, same, endless, NULL, &o);
	s = exs_stream_map(s, ex, same, &o);
	grows_not(s, some(5), true, 2 * MAX);
	end(s, ex);
}

/* --- on a small stack --- */

static exs_result of_items(void *value, exs_context *ctx)
{
	const exs_items *items = value;

	(void)ctx;
	CHECK_INT(items->n, MANY);
	return number((long)(items->items[0].number / MANY));
}

static void read_inline(void)
{
	exs_executor *ex = exs_inline();
	exs_stream *s = exs_stream_new(ex, same, endless, NULL, NULL);

	for (int i = 0; i < 8; i++)
		s = exs_stream_map(s, ex, same, NULL);
	s = exs_stream_batch(s, MANY, EXS_FOREVER, NULL);
	s = exs_stream_map(s, ex, of_items, NULL);
	CHECK(s);
	for (long i = 0; i < some(1) / MANY; i++) {
		exs_item item;
		CHECK_INT(exs_stream_next(s, &item, EXS_FOREVER), EXS_ITEM);
		CHECK_INT(*(long *)exs_future_value(item.future), i);
		exs_future_unref(item.future);
	}
	exs_stream_free(s);
	exs_executor_free(ex);
}

TEST(stream_memory, inline_stages_take_no_stack)
{
	on_small_stack(read_inline);
	CHECK_INT(atomic_load(&numbers), 0);
}
