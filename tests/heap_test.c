/* The pairing heap against a plain search. */
#include "base/heap.h"
#include "harness.h"

#include <stdlib.h>

enum { N = 300 };

struct model {
	struct exsi_heap heap;
	struct exsi_heap_node nodes[N];
	bool in[N];
};

static int least(const struct model *m)
{
	int best = -1;

	for (int i = 0; i < N; i++)
		if (m->in[i] && (best < 0 || exsi_heap_before(&m->nodes[i], &m->nodes[best])))
			best = i;
	return best;
}

static void check(const struct model *m)
{
	int best = least(m);

	CHECK(m->heap.first == (best < 0 ? NULL : &m->nodes[best]));
}

/* Few keys, so that many are equal: then the order decides. */
TEST(heap, random_adds_and_removes)
{
	struct model *m = calloc(1, sizeof(*m));
	uint64_t random = harness_seed(), order = 0;

	CHECK(m);
	for (unsigned long round = harness_rounds(20000); round; round--) {
		int i = (int)harness_below(&random, N);
		if (harness_below(&random, 3) == 0 && m->heap.first)
			i = (int)(m->heap.first - m->nodes);
		if (m->in[i]) {
			exsi_heap_remove(&m->heap, &m->nodes[i]);
		} else {
			m->nodes[i].key = harness_below(&random, 8);
			m->nodes[i].order = order++;
			exsi_heap_add(&m->heap, &m->nodes[i]);
		}
		m->in[i] = !m->in[i];
		check(m);
	}
	free(m);
}

/* A million in order and against it: no recursion, and no quadratic time. */
TEST(heap, a_million)
{
	enum { MANY = 1000000 };
	struct exsi_heap heap = {NULL};
	struct exsi_heap_node *nodes = calloc(MANY, sizeof(*nodes));

	CHECK(nodes);
	for (uint64_t i = 0; i < MANY; i++) {
		nodes[i].key = i < MANY / 2 ? i : 2 * MANY - i;
		exsi_heap_add(&heap, &nodes[i]);
	}
	for (uint64_t last = 0, i = 0; i < MANY; i++) {
		struct exsi_heap_node *n = heap.first;
		CHECK(n && n->key >= last);
		last = n->key;
		exsi_heap_remove(&heap, n);
	}
	CHECK(!heap.first);
	free(nodes);
}
