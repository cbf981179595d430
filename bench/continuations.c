/* W5: 100,000 callbacks on one promise, which is then completed. What does one cost? And a link of a chain, in which each future is
   made of the one before by a function: 100,000 and 1,000,000 of them, on a stack of 64 KiB.
   Usage: continuations [callbacks|links]; both without a name. */
#include "ours.h"

static void count(exs_future *f, void *n)
{
	(void)f;
	++*(long *)n;
}

static void once(int round)
{
	long n = 0;
	exs_future *f;
	uint64_t t0 = now_ns();
	exs_promise *p = exs_promise_new(&f);

	for (long i = 0; i < OPS5; i++)
		exs_future_on_done(f, count, &n, NULL);
	uint64_t t1 = now_ns();
	exs_promise_complete(p, exs_ok(NULL, NULL));
	uint64_t t2 = now_ns();
	die_unless(n == OPS5, "count");
	exs_promise_free(p);
	exs_future_unref(f);
	if (round == 2)
		emit("executors", "W5", OPS5, (double)(t2 - t0) / OPS5,
		     ",\"build_ns\":%.1f,\"run_ns\":%.1f,\"variant\":\"callbacks\"", (double)(t1 - t0) / OPS5,
		     (double)(t2 - t1) / OPS5);
}

static exs_result one_more(void *ctx, exs_result in)
{
	(void)ctx;
	return exs_ok(boxed(unboxed(in.value) + 1), NULL);
}

static void chain(long n, int round)
{
	exs_future *last;
	uint64_t t0 = now_ns();
	exs_promise *first = exs_promise_new(&last);

	for (long i = 0; i < n; i++)
		last = exs_future_map(last, one_more, NULL, NULL, NULL);
	uint64_t t1 = now_ns();
	exs_promise_complete(first, exs_ok(NULL, NULL));
	die_unless(unboxed(exs_future_value(last)) == n, "links");
	uint64_t t2 = now_ns();
	exs_promise_free(first);
	exs_future_unref(last);
	if (round == 2)
		emit("executors", n == OPS5 ? "links 100000" : "links 1000000", n, (double)(t2 - t0) / (double)n,
		     ",\"build_ns\":%.1f,\"run_ns\":%.1f", (double)(t1 - t0) / (double)n,
		     (double)(t2 - t1) / (double)n);
}

static void *chains(void *unused)
{
	for (int round = 0; round < 3; round++)
		chain(OPS5, round);
	for (int round = 0; round < 3; round++)
		chain(10 * OPS5, round);
	return unused;
}

int main(int argc, char **argv)
{
	const char *only = word(argc, argv, 1, "callbacks|links");
	pthread_attr_t small;
	pthread_t thread;

	at_most(1, argc, argv);
	for (int round = 0; round < 3 && (!only || !strcmp(only, "callbacks")); round++)
		once(round);
	if (only && strcmp(only, "links"))
		return 0;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 65536);
	die_unless(!pthread_create(&thread, &small, chains, NULL), "pthread_create");
	pthread_join(thread, NULL);
	pthread_attr_destroy(&small);
	return 0;
}
