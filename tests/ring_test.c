/* The ring: small, with getters and withdrawers that are late at any step (delay.h). */
#define EXSI_RING_SIZE ((size_t)4)
#include "base/ring.h"
#include "harness.h"

#include <pthread.h>
#include <stdlib.h>

/* An empty ring, with items that go to these places. */
static void fill(struct exsi_ring *ring, int items[4], size_t place[4])
{
	for (int i = 0; i < 4; i++) {
		CHECK(exsi_ring_has_room(ring, &place[i]));
		exsi_ring_put(ring, place[i], &items[i], memory_order_release);
		CHECK_INT(exsi_ring_count(ring), i + 1);
	}
}

TEST(ring, gives_in_the_order_of_the_puts)
{
	static struct exsi_ring ring;
	int items[4];
	size_t place[4], next;

	for (int round = 0; round < 3; round++) {
		CHECK(!exsi_ring_get(&ring));
		fill(&ring, items, place);
		CHECK(!exsi_ring_has_room(&ring, &next));
		for (int i = 0; i < 4; i++)
			CHECK(exsi_ring_get(&ring) == &items[i]);
	}
}

TEST(ring, what_is_withdrawn_is_not_got)
{
	static struct exsi_ring ring;
	int items[4];
	size_t place[4], from;

	fill(&ring, items, place);
	CHECK(exsi_ring_withdraw(&ring, place[1], &items[1]));
	CHECK(!exsi_ring_withdraw(&ring, place[1], &items[1]));
	CHECK_INT(exsi_ring_count(&ring), 3);
	CHECK(exsi_ring_get(&ring) == &items[0]);
	CHECK(exsi_ring_get(&ring) == &items[2]);
	from = place[3];
	CHECK(exsi_ring_withdraw_next(&ring, &from) == &items[3]);
	CHECK(!exsi_ring_withdraw_next(&ring, &from));
	CHECK_INT(exsi_ring_count(&ring), 0);
	CHECK(!exsi_ring_get(&ring));
	CHECK_INT(exsi_ring_count(&ring), 0);
}

TEST(ring, the_owner_takes_the_latest_back)
{
	static struct exsi_ring ring;
	int items[4];
	size_t place[4];

	for (int round = 0; round < 3; round++) {
		CHECK(!exsi_ring_pop(&ring));
		fill(&ring, items, place);
		CHECK(exsi_ring_pop(&ring) == &items[3]);
		CHECK(exsi_ring_get(&ring) == &items[0]);
		CHECK(exsi_ring_withdraw_item(&ring, &items[2]));
		CHECK(!exsi_ring_withdraw_item(&ring, &items[2]));
		CHECK_INT(exsi_ring_count(&ring), 1);
		CHECK(exsi_ring_pop(&ring) == &items[1]);
		CHECK_INT(exsi_ring_count(&ring), 0);
	}
	CHECK(!exsi_ring_pop(&ring));
	CHECK(!exsi_ring_get(&ring));
}

/* Each item is taken exactly once: by a getter, by the owner that takes it back, or by one that withdraws it. */
enum { THREADS = 3 };

struct item {
	atomic_size_t place; /* + 1 */
	atomic_int taken;
};

struct crowd {
	struct exsi_ring ring;
	struct item *items;
	size_t n;
	atomic_size_t left;
};

static void take(struct crowd *c, struct item *item)
{
	CHECK_INT(atomic_fetch_add(&item->taken, 1), 0);
	atomic_fetch_sub(&c->left, 1);
}

static void *get_all(void *arg)
{
	struct crowd *c = arg;

	while (atomic_load(&c->left)) {
		struct item *item = exsi_ring_get(&c->ring);
		if (item)
			take(c, item);
	}
	return NULL;
}

static void *withdraw_some(void *arg)
{
	struct crowd *c = arg;
	uint64_t random = harness_seed();

	while (atomic_load(&c->left)) {
		struct item *item = &c->items[harness_below(&random, c->n)];
		size_t place = atomic_load(&item->place);
		if (place && exsi_ring_withdraw(&c->ring, place - 1, item))
			take(c, item);
	}
	return NULL;
}

static void *withdraw_any(void *arg)
{
	struct crowd *c = arg;
	uint64_t random = harness_seed() + 1;

	while (atomic_load(&c->left)) {
		struct item *item = &c->items[harness_below(&random, c->n)];
		if (exsi_ring_withdraw_item(&c->ring, item))
			take(c, item);
	}
	return NULL;
}

/* The owner, which puts and takes back at random. */
static void put_and_pop(struct crowd *c)
{
	uint64_t random = harness_seed() + 2;
	struct item *item;
	size_t place, i = 0;

	while (atomic_load(&c->left)) {
		if (i < c->n && harness_below(&random, 3) && exsi_ring_has_room(&c->ring, &place))
			exsi_ring_put(&c->ring, place, &c->items[i++], memory_order_release);
		else if ((item = exsi_ring_pop(&c->ring)))
			take(c, item);
	}
}

static void *get_or_withdraw(void *arg)
{
	static atomic_uint turns;

	return atomic_fetch_add(&turns, 1) % 3 ? get_all(arg) : withdraw_any(arg);
}

TEST(ring, each_is_taken_once_also_by_the_owner)
{
	struct crowd *c = calloc(1, sizeof(*c));
	pthread_t threads[THREADS];

	CHECK(c);
	c->n = harness_rounds(2000);
	c->items = calloc(c->n, sizeof(*c->items));
	atomic_store(&c->left, c->n);
	for (int i = 0; i < THREADS; i++)
		CHECK(!pthread_create(&threads[i], NULL, get_or_withdraw, c));
	put_and_pop(c);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < c->n; i++)
		CHECK_INT(atomic_load(&c->items[i].taken), 1);
	CHECK(!exsi_ring_pop(&c->ring));
	CHECK_INT(exsi_ring_count(&c->ring), 0);
	CHECK_INT(atomic_load(&c->ring.holes), 0);
	free(c->items);
	free(c);
}

TEST(ring, each_is_taken_once)
{
	struct crowd *c = calloc(1, sizeof(*c));
	pthread_t threads[2 * THREADS];
	size_t place;

	CHECK(c);
	c->n = harness_rounds(2000);
	c->items = calloc(c->n, sizeof(*c->items));
	atomic_store(&c->left, c->n);
	for (int i = 0; i < 2 * THREADS; i++)
		CHECK(!pthread_create(&threads[i], NULL, i % 2 ? get_all : withdraw_some, c));
	for (size_t i = 0; i < c->n; i++) {
		while (!exsi_ring_has_room(&c->ring, &place))
			;
		atomic_store(&c->items[i].place, place + 1);
		exsi_ring_put(&c->ring, place, &c->items[i], memory_order_release);
	}
	for (int i = 0; i < 2 * THREADS; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < c->n; i++)
		CHECK_INT(atomic_load(&c->items[i].taken), 1);
	CHECK(!exsi_ring_get(&c->ring));
	CHECK_INT(exsi_ring_count(&c->ring), 0);
	CHECK_INT(atomic_load(&c->ring.holes), 0);
	free(c->items);
	free(c);
}
