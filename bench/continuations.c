/* W5: 100,000 callbacks on one promise, which is then completed. What does one cost? And a link of a chain of continuations, calls
   of which each goes on with the future of the one before: 100,000 and 1,000,000 of them, on a stack of 64 KiB.
   Usage: continuations [callbacks]; the first alone. */
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

static exs_future *answer_value(void *ctx, exs_result in)
{
	(void)ctx;
	return in.value;
}

static void *links(void *number_of_them)
{
	long n = unboxed(number_of_them);
	exs_executor *ex = exs_with_flat_map(exs_inline(), answer_value, NULL, NULL, NULL);
	exs_future *last;
	uint64_t begin = now_ns();
	exs_promise *first = exs_promise_new(&last);

	for (long i = 0; i < n; i++)
		last = exs_submit(ex, same, last);
	exs_promise_complete(first, exs_ok(NULL, NULL));
	die_unless(exs_future_is_done(last), "links");
	exs_promise_free(first);
	exs_future_unref(last);
	emit("executors", n == OPS5 ? "links 100000" : "links 1000000", n, (double)(now_ns() - begin) / (double)n, "");
	exs_executor_free(ex);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_attr_t small;
	pthread_t thread;

	(void)argv;
	for (int round = 0; round < 3; round++)
		once(round);
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 65536);
	for (long n = OPS5; argc == 1 && n <= 10 * OPS5; n *= 10) {
		die_unless(!pthread_create(&thread, &small, links, boxed(n)), "pthread_create");
		pthread_join(thread, NULL);
	}
	pthread_attr_destroy(&small);
	return 0;
}
