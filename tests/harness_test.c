/* The harness itself, as far as a test that passes can show it; planted/ shows the rest. */
#include "harness.h"

#include <executors/future.h>
#include <pthread.h>
#include <stdatomic.h>

TEST(harness, checks_pass)
{
	CHECK(1);
	CHECK_INT(-1, -1);
	CHECK_STR("a", "a");
	CHECK_STR(NULL, NULL);
}

static void *stay(void *arg)
{
	while (!atomic_load((atomic_bool *)arg))
		;
	return NULL;
}

TEST(harness, counts_threads)
{
	atomic_bool go = false;
	pthread_t thread;
	int before = harness_threads();

	CHECK(!pthread_create(&thread, NULL, stay, &go));
	CHECK_INT(harness_threads(), before + 1);
	atomic_store(&go, true);
	CHECK(!pthread_join(thread, NULL));
	harness_wait_threads(before);
}

TEST(harness, counts_futures)
{
	long alive = harness_futures(), undone = harness_undone();
	exs_future *f;
	exs_promise *p = exs_promise_new(&f);

	CHECK(p);
	CHECK_INT(harness_futures(), alive + harness_observing());
	CHECK_INT(harness_undone(), undone + harness_observing());
	CHECK_INT(exs_promise_complete(p, exs_ok(NULL, NULL)), 0);
	CHECK_INT(harness_undone(), undone);
	exs_promise_free(p);
	exs_future_unref(f);
	harness_wait_futures(alive);
}

TEST(harness, same_seed_same_numbers)
{
	uint64_t a = harness_seed(), b = harness_seed();

	for (int i = 0; i < 100; i++)
		CHECK(harness_random(&a) == harness_random(&b));
	for (int i = 0; i < 100; i++)
		CHECK(harness_below(&a, 7) < 7);
}
