/* W5: 100,000 callbacks on one promise, which is then completed. What does one cost? */
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

int main(void)
{
	for (int round = 0; round < 3; round++)
		once(round);
	return 0;
}
