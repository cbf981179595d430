/* Trees of functions on futures, drawn at random, completed and cancelled by several threads at once: each ends once, with a value, an
   error or cancelled; each context is freed once; of all values and futures none is left. */
#include "support.h"

#include <stdlib.h>

enum { LEAVES = 24, NODES = 40, THREADS = 3, POOL = 2 };

struct tree {
	exs_executor *ex;
	exs_promise *promises[LEAVES];
	exs_future *futures[LEAVES + NODES]; /* a reference of the test's own */
	int n;
	atomic_uint contexts, freed;
};

static exs_future *some(struct tree *t, uint64_t *random)
{
	return exs_future_ref(t->futures[harness_below(random, (uint64_t)t->n)]);
}

static void count_freed(void *tree)
{
	atomic_fetch_add(&((struct tree *)tree)->freed, 1);
}

static void *context(struct tree *t)
{
	atomic_fetch_add(&t->contexts, 1);
	return t;
}

static exs_result map(void *tree, exs_result in)
{
	(void)tree;
	exs_result_clear(&in);
	return number(1);
}

static exs_result answer(void *arg, exs_context *ctx)
{
	(void)arg;
	return exs_context_stop_requested(ctx) ? exs_cancelled() : number(2);
}

static exs_future *flat_map(void *tree, exs_result in)
{
	struct tree *t = tree;

	exs_result_clear(&in);
	return exs_submit(t->ex, answer, NULL);
}

static void ensure(void *tree, const exs_result *outcome)
{
	(void)tree, (void)outcome;
}

static bool truth(void *tree, const void *value)
{
	(void)tree;
	return value != NULL;
}

static exs_future *of_one(struct tree *t, uint64_t *random)
{
	exs_future *f = some(t, random);

	switch (harness_below(random, 4)) {
	case 0:
		return exs_future_map(f, map, NULL, context(t), count_freed);
	case 1:
		return exs_future_flat_map(f, flat_map, flat_map, context(t), count_freed);
	case 2:
		return exs_future_ensure(f, ensure, context(t), count_freed);
	default:
		return exs_future_nocancel(f);
	}
}

static exs_future *of_some(struct tree *t, uint64_t *random)
{
	exs_future *f[5];
	size_t n = 1 + harness_below(random, 5);

	for (size_t i = 0; i < n; i++)
		f[i] = some(t, random);
	switch (harness_below(random, 4)) {
	case 0:
		return exs_future_zip(f, n);
	case 1:
		return exs_future_or(f, n, truth, context(t), count_freed);
	case 2:
		return exs_future_and(f, n, truth, context(t), count_freed);
	default:
		return exs_future_any_ok(f, n);
	}
}

static void plant(struct tree *t, exs_executor *ex, uint64_t *random)
{
	*t = (struct tree){.ex = ex};
	for (int i = 0; i < LEAVES; i++)
		t->promises[i] = promise_made(&t->futures[t->n++]);
	while (t->n < LEAVES + NODES) {
		exs_future *f = harness_below(random, 2) ? of_one(t, random) : of_some(t, random);
		CHECK(f);
		t->futures[t->n++] = f;
	}
}

static exs_result some_outcome(uint64_t *random)
{
	switch (harness_below(random, 6)) {
	case 0:
		return exs_fail(exs_error_new(&test_domain, 1, "no"));
	case 1:
		return exs_cancelled();
	case 2:
		return exs_ok(NULL, NULL);
	default:
		return number(3);
	}
}

/* Threads complete the leaves, each its own, cancel some of all, and drop references, each its own. */
struct gardener {
	struct tree *tree;
	int number;
	uint64_t random;
};

static void *work(void *arg)
{
	struct gardener *g = arg;
	struct tree *t = g->tree;

	for (int i = g->number; i < LEAVES + NODES; i += THREADS) {
		if (i < LEAVES) {
			exs_promise_complete(t->promises[i], some_outcome(&g->random)); /* or it was cancelled */
			exs_promise_free(t->promises[i]);
		}
		if (!harness_below(&g->random, 8))
			exs_future_cancel(t->futures[i]);
		if (harness_below(&g->random, 3))
			continue;
		exs_future_unref(t->futures[i]);
		t->futures[i] = NULL;
	}
	return NULL;
}

static void one_tree(exs_executor *ex, uint64_t *random)
{
	struct tree t;
	struct gardener g[THREADS];
	pthread_t threads[THREADS];

	plant(&t, ex, random);
	for (int i = 0; i < THREADS; i++) {
		g[i] = (struct gardener){&t, i, harness_random(random)};
		threads[i] = thread_start(work, &g[i]);
	}
	for (int i = 0; i < THREADS; i++)
		thread_join(threads[i]);
	for (int i = 0; i < t.n; i++) {
		if (t.futures[i])
			CHECK_INT(exs_future_wait(t.futures[i], EXS_FOREVER), EXS_OK);
		exs_future_unref(t.futures[i]);
	}
	harness_wait_futures(0);
	wait_count(&t.freed, atomic_load(&t.contexts));
	CHECK_INT(atomic_load(&numbers), 0);
}

TEST(trees, completed_and_cancelled_at_random)
{
	uint64_t random = harness_seed();
	exs_executor *ex = exs_thread_pool(POOL);

	for (unsigned long round = 0; round < harness_rounds(200); round++)
		one_tree(ex, &random);
	exs_executor_free(ex);
}

/* The same in a simulation: from a seed. */
static void one_in_sim(uint64_t seed)
{
	uint64_t random = seed;
	struct tree t;

	sim_begin(seed, NULL);
	exs_executor *ex = exs_sim_pool(support_sim, POOL);
	plant(&t, ex, &random);
	for (int i = 0; i < THREADS; i++)
		work(&(struct gardener){&t, i, harness_random(&random)});
	for (int i = 0; i < t.n; i++) {
		if (t.futures[i])
			CHECK_INT(exs_future_wait(t.futures[i], EXS_FOREVER), EXS_OK);
		exs_future_unref(t.futures[i]);
	}
	exs_executor_free(ex);
	sim_end();
	CHECK_INT(atomic_load(&t.freed), atomic_load(&t.contexts));
	CHECK_INT(atomic_load(&numbers), 0);
}

TEST(trees, in_a_simulation)
{
	uint64_t seed = harness_seed();

	for (unsigned long round = 0; round < harness_rounds(300); round++) {
		uint64_t one = harness_random(&seed);
		harness_set_seed(one);
		one_in_sim(one);
	}
}
