/* What the programs that measure libexecutors share. bench.h says what each workload is. */
#ifndef BENCH_OURS_H
#define BENCH_OURS_H

#include "bench.h"

#include <executors/executors.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum { WORKERS = 2 };

static inline void die_unless(bool ok, const char *what)
{
	if (ok)
		return;
	const exs_error *e = exs_last_error();
	fprintf(stderr, "%s: %s\n", what, e ? exs_error_message(e) : "wrong result");
	exit(1);
}

/* --- counts: with COUNTS in the environment, the file to which the number of the library's own allocations is added (bench/counts) --- */

static atomic_ulong allocations;

static inline void *count_alloc(size_t size)
{
	atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
	return malloc(size);
}

static inline void write_allocations(void)
{
	FILE *f = fopen(getenv("COUNTS"), "a");

	if (f && fprintf(f, "\"library_mallocs\":%lu\n", atomic_load(&allocations)) > 0)
		fclose(f);
}

__attribute__((constructor)) static inline void count_allocations(void)
{
	if (!getenv("COUNTS"))
		return;
	exs_set_allocator(&(exs_allocator){count_alloc, free});
	atexit(write_allocations);
}

/* --- pools: with POOL=any_order_waiters_run in the environment, or one of the two, pools have these options, and the results are
   under that name --- */

static inline exs_executor *pool(long workers)
{
	const char *how = getenv("POOL");
	exs_thread_pool_options options = {.workers = (unsigned)workers};

	options.order = how && strstr(how, "any_order") ? EXS_ANY_ORDER : EXS_IN_ORDER;
	options.waiters_run = how && strstr(how, "waiters_run");
	return exs_thread_pool_with(&options);
}

static inline const char *our_name(void)
{
	static char name[64];
	const char *how = getenv("POOL");

	snprintf(name, sizeof(name), "executors%s%s", how ? "_" : "", how ? how : "");
	return name;
}

/* --- tasks --- */

/* The empty task: its value is its argument. */
static inline exs_result same(void *arg, exs_context *ctx)
{
	(void)ctx;
	return exs_ok(arg, NULL);
}

static inline void *boxed(long i)
{
	return (void *)(uintptr_t)i;
}

static inline long unboxed(void *value)
{
	return (long)(uintptr_t)value;
}

static inline exs_result pass(void *ctx, exs_result in)
{
	(void)ctx;
	return in;
}

/* timeout > throttle > retry > map > ex */
static inline exs_executor *four_layers(exs_executor *ex)
{
	return exs_with_timeout(
		exs_with_throttle(exs_with_retry(exs_with_map(ex, pass, NULL, NULL, NULL), NULL), EXS_UNLIMITED, NULL),
		60);
}

/* --- what is done with many --- */

/* Waits for and reads each of n values 0 .. n - 1. */
static inline void read_all(exs_future **f, long n)
{
	long sum = 0;

	for (long i = 0; i < n; i++) {
		exs_future_wait(f[i], EXS_FOREVER);
		sum += unboxed(exs_future_value(f[i]));
	}
	die_unless(sum == n * (n - 1) / 2, "sum");
}

static inline void release_all(exs_future **f, long n)
{
	for (long i = 0; i < n; i++)
		exs_future_unref(f[i]);
	free(f);
}

/* --- the command line: what is wrong there ends the program, with a line that says so --- */

/* Argument i of the program is not what is expected there. */
_Noreturn static inline void refuse(char **argv, int i, const char *expected)
{
	fprintf(stderr, "%s: \"%s\": expected %s\n", argv[0], argv[i], expected);
	exit(2);
}

/* There are no more arguments than so many. */
static inline void at_most(int most, int argc, char **argv)
{
	if (argc > most + 1)
		refuse(argv, most + 1, most ? "no further argument" : "no argument");
}

/* Argument i, which is one of "these|words"; NULL: it is not there. */
static inline const char *word(int argc, char **argv, int i, const char *words)
{
	size_t n = argc > i ? strlen(argv[i]) : 0;

	if (argc <= i)
		return NULL;
	for (const char *w = words; *w; w += strspn(w, "|")) {
		size_t length = strcspn(w, "|");
		if (length == n && !strncmp(w, argv[i], n))
			return argv[i];
		w += length;
	}
	refuse(argv, i, words);
}

/* Argument i, a number above 0, or the default. */
static inline long number(int argc, char **argv, int i, long otherwise)
{
	char *end;

	if (argc <= i)
		return otherwise;
	long n = strtol(argv[i], &end, 10);
	if (n > 0 && n <= INT32_MAX && !*end)
		return n;
	refuse(argv, i, "a number from 1 to 2147483647");
}

#endif
