/* W8: 100,000 promises, completed in a random order by two threads, read by a third as they complete. What does one cost? */
#include "ours.h"

static exs_promise *promises[OPS8];
static uint32_t order[OPS8];
static pthread_barrier_t barrier;

static void *complete(void *first)
{
	pthread_barrier_wait(&barrier);
	for (long i = unboxed(first); i < OPS8; i += 2)
		exs_promise_complete(promises[order[i]], exs_ok(boxed(order[i]), NULL));
	return NULL;
}

static void once(int round)
{
	exs_set *set = exs_set_new();
	pthread_t threads[2];
	exs_future *f;
	long sum = 0;

	for (long i = 0; i < OPS8; i++) {
		promises[i] = exs_promise_new(&f);
		exs_set_add(set, f);
	}
	pthread_barrier_init(&barrier, NULL, 3);
	for (long i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, complete, boxed(i));
	pthread_barrier_wait(&barrier);
	uint64_t begin = now_ns();
	while (exs_set_next(set, &f, EXS_FOREVER) == EXS_ITEM) {
		sum += unboxed(exs_future_value(f));
		exs_future_unref(f);
	}
	uint64_t end = now_ns();
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&barrier);
	die_unless(sum == OPS8 * (OPS8 - 1) / 2, "sum");
	for (long i = 0; i < OPS8; i++)
		exs_promise_free(promises[i]);
	exs_set_free(set);
	if (round == 2)
		emit("executors", "W8", OPS8, (double)(end - begin) / OPS8, ",\"variant\":\"promises\"");
}

int main(int argc, char **argv)
{
	at_most(0, argc, argv);
	shuffle(order, OPS8);
	for (int round = 0; round < 3; round++)
		once(round);
	return 0;
}
