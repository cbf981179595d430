/* What does an item of a stream cost, beside a plain loop that calls the function, and beside a bare submit and wait, or a set, with as
   many in flight through the same chain? Items of no work, of 1 us and 100 us of it (busy) and of 10 ms (asleep); in each round all ways in
   turn. no_timeout: in order, but without the timeout that streams have; the pipeline has two stages (the second without work) and
   batches of 16.
   Usage: stream [CHAIN [WORK [WAY]]]; all, or nothing, means all of them. */
#include "ours.h"

enum { FLIGHT = 64, BATCH = 16 };

/* --- work --- */

static long turns_per_us;

static uint64_t busy(long turns)
{
	uint64_t state = 88172645463325252u;

	while (turns--)
		rng(&state);
	return state;
}

/* The fastest of some: others use the machine, too. */
static void calibrate(void)
{
	enum { TURNS = 100000 };
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < 20; i++) {
		uint64_t begin = now_ns();
		bool never = !busy(TURNS);
		uint64_t ns = now_ns() - begin + never;
		least = ns < least ? ns : least;
	}
	turns_per_us = TURNS * 1000L / (long)least;
}

/* So that it is not left out. */
static exs_result worked(void *arg, uint64_t state)
{
	return state ? exs_ok(arg, NULL) : exs_cancelled();
}

static exs_result busy_1us(void *arg, exs_context *ctx)
{
	(void)ctx;
	return worked(arg, busy(turns_per_us));
}

static exs_result busy_100us(void *arg, exs_context *ctx)
{
	(void)ctx;
	return worked(arg, busy(100 * turns_per_us));
}

static exs_result sleep_10ms(void *arg, exs_context *ctx)
{
	(void)ctx;
	nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	return exs_ok(arg, NULL);
}

static const struct work {
	const char *name;
	exs_task_fn *fn;
	long n;
	int rounds;
} works[] = {
	{"empty", same, 100000, 5},
	{"1us", busy_1us, 10000, 5},
	{"100us", busy_100us, 200, 3},
	{"10ms", sleep_10ms, 8, 1},
};

/* --- ways: the sum of the values 0 .. n - 1 --- */

static long plain_loop(exs_executor *ex, const struct work *work)
{
	long sum = 0;

	(void)ex;
	for (long i = 0; i < work->n; i++)
		sum += unboxed(work->fn(boxed(i), NULL).value);
	return sum;
}

static long value_of(exs_future *f)
{
	long value = unboxed(exs_future_value(f));

	exs_future_unref(f);
	return value;
}

static long bare(exs_executor *ex, const struct work *work)
{
	exs_future *ring[FLIGHT];
	long sum = 0;

	for (long i = 0; i < work->n + FLIGHT; i++) {
		exs_future **place = &ring[i % FLIGHT];
		if (i >= FLIGHT && i - FLIGHT < work->n) {
			exs_future_wait(*place, EXS_FOREVER);
			sum += value_of(*place);
		}
		if (i < work->n)
			*place = exs_submit(ex, work->fn, boxed(i));
	}
	return sum;
}

static long set(exs_executor *ex, const struct work *work)
{
	exs_set *s = exs_set_new();
	exs_future *f;
	long sum = 0, i = 0;

	for (; i < work->n && i < FLIGHT; i++)
		exs_set_add(s, exs_submit(ex, work->fn, boxed(i)));
	while (exs_set_next(s, &f, EXS_FOREVER) == EXS_ITEM) {
		sum += value_of(f);
		if (i < work->n)
			exs_set_add(s, exs_submit(ex, work->fn, boxed(i++)));
	}
	exs_set_free(s);
	return sum;
}

struct count {
	long next, n;
};

static bool count(void *ctx, exs_result *input)
{
	struct count *c = ctx;

	if (c->next == c->n)
		return false;
	input->value = boxed(c->next++);
	return true;
}

static long read_stream(exs_stream *s)
{
	exs_item item;
	long sum = 0;

	while (exs_stream_next(s, &item, EXS_FOREVER) == EXS_ITEM)
		sum += value_of(item.future);
	exs_stream_free(s);
	return sum;
}

static long stream_with(exs_executor *ex, const struct work *work, exs_stream_options options)
{
	struct count c = {.n = work->n};

	options.max_results = FLIGHT;
	return read_stream(exs_stream_new(ex, work->fn, count, &c, &options));
}

static long ordered(exs_executor *ex, const struct work *work)
{
	return stream_with(ex, work, (exs_stream_options){.max_results = FLIGHT});
}

static long without_timeout(exs_executor *ex, const struct work *work)
{
	return stream_with(ex, work, (exs_stream_options){.timeout = EXS_UNLIMITED});
}

static long as_completed(exs_executor *ex, const struct work *work)
{
	return stream_with(ex, work, (exs_stream_options){.as_completed = true});
}

static long sum_of(const exs_items *batch)
{
	long sum = 0;

	for (size_t i = 0; i < batch->n; i++)
		sum += unboxed(exs_future_value(batch->items[i].future));
	return sum;
}

static long pipeline(exs_executor *ex, const struct work *work)
{
	struct count c = {.n = work->n};
	exs_stream_options options = {.max_results = FLIGHT};
	exs_stream *s = exs_stream_new(ex, work->fn, count, &c, &options);
	exs_item item;
	long sum = 0;

	s = exs_stream_batch(exs_stream_map(s, ex, same, &options), BATCH, EXS_FOREVER, NULL);
	while (exs_stream_next(s, &item, EXS_FOREVER) == EXS_ITEM) {
		sum += sum_of(exs_future_value(item.future));
		exs_future_unref(item.future);
	}
	exs_stream_free(s);
	return sum;
}

static const struct way {
	const char *name;
	long (*run)(exs_executor *ex, const struct work *work);
} ways[] = {
	{"loop", plain_loop},		{"bare", bare},
	{"ordered", ordered},		{"set", set},
	{"as_completed", as_completed}, {"no_timeout", without_timeout},
	{"pipeline", pipeline},
};

/* --- chains --- */

static exs_executor *pool_1(void)
{
	return pool(1);
}

static exs_executor *pool_2(void)
{
	return pool(2);
}

static exs_executor *inline_layers(void)
{
	return four_layers(exs_inline());
}

static exs_executor *pool_layers(void)
{
	return four_layers(pool(2));
}

static const struct chain {
	const char *name;
	exs_executor *(*make)(void);
} chains[] = {
	{"inline", exs_inline},		{"pool_1", pool_1}, {"pool_2", pool_2}, {"inline_layers", inline_layers},
	{"pool_2_layers", pool_layers},
};

/* --- all --- */

static void run(const struct chain *chain, exs_executor *ex, const struct work *work, const struct way *way)
{
	uint64_t begin = now_ns(), used = cpu_ns();
	long sum = way->run(ex, work);
	uint64_t end = now_ns();

	used = cpu_ns() - used;
	die_unless(sum == work->n * (work->n - 1) / 2, way->name);
	emit("executors", "stream", work->n, (double)(end - begin) / (double)work->n,
	     ",\"cpu_ns_per_op\":%.1f,\"chain\":\"%s\",\"work\":\"%s\",\"way\":\"%s\"", (double)used / (double)work->n,
	     chain->name, work->name, way->name);
}

static bool is_meant(const char *only, const char *name)
{
	return !only || !strcmp(only, "all") || !strcmp(only, name);
}

static void all_ways(const struct chain *chain, const struct work *work, const char *only)
{
	exs_executor *ex = chain->make();

	die_unless(ex, chain->name);
	for (int round = 0; round < work->rounds; round++)
		for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++)
			if (is_meant(only, ways[i].name))
				run(chain, ex, work, &ways[i]);
	exs_executor_free(ex);
}

int main(int argc, char **argv)
{
	const char *chain = word(argc, argv, 1, "all|inline|pool_1|pool_2|inline_layers|pool_2_layers");
	const char *work = word(argc, argv, 2, "all|empty|1us|100us|10ms");
	const char *way = word(argc, argv, 3, "all|loop|bare|ordered|set|as_completed|no_timeout|pipeline");

	at_most(3, argc, argv);
	calibrate();
	for (size_t i = 0; i < sizeof(chains) / sizeof(*chains); i++)
		for (size_t j = 0; j < sizeof(works) / sizeof(*works); j++)
			if (is_meant(chain, chains[i].name) && is_meant(work, works[j].name))
				all_ways(&chains[i], &works[j], way);
	return 0;
}
