/* What the programs that measure libexecutors share. bench.h says what each workload is. */
#ifndef BENCH_OURS_H
#define BENCH_OURS_H

#include "bench.h"

#include <executors/executors.h>
#include <limits.h>
#include <pthread.h>
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

/* A number above 0 from the command line, or the default; anything else ends the program. */
static inline long number(int argc, char **argv, int i, long otherwise)
{
	char *end;

	if (argc <= i)
		return otherwise;
	long n = strtol(argv[i], &end, 10);
	if (n > 0 && n <= INT_MAX && !*end)
		return n;
	fprintf(stderr, "%s: \"%s\" is no number above 0\n", argv[0], argv[i]);
	exit(2);
}

#endif
