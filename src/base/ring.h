/* A ring: its owner puts, a thread or whoever has a lock; any thread gets, in the order of the puts, without one; what is in it can be
   withdrawn. The owner can also take back what it put last (then it is a deque after Chase and Lev). */
#ifndef EXSI_BASE_RING_H
#define EXSI_BASE_RING_H

#include "base/sync.h"

#ifndef EXSI_RING_SIZE /* a power of two; tests have a small one */
#define EXSI_RING_SIZE ((size_t)256)
#endif

/* Invariants:
   - head <= tail <= head + size, and head only grows. Place n is cell n mod size. While the owner pops, tail may be head - 1.
   - A cell is NULL, or holds an item, which exactly one exchange takes out: of a getter that has moved head over its place, or of
     who withdraws it.
   - A place has one taker: who moves head over it, or the owner, once it has moved tail below it and then seen head not beyond. A getter
     reads head, then tail, then moves head from what it read; all of it sequentially consistent: so if it has the place that the owner
     has left, head was there when the owner looked, which then moves head itself, or gives it up.
   - A put waits until the cell is NULL. So a getter that is late, between its two steps, loses nothing: at worst it finds what was put
     a round later; then the getter of that place finds none, and goes on.
   - Each item withdrawn makes a hole; each getter that finds no item where head has passed closes one. holes is raised first, so that
     it never falls below 0. */
struct exsi_ring {
	char before[EXSI_LINE];
	atomic_size_t head;
	char between[EXSI_LINE];
	atomic_size_t tail;
	_Atomic(void *) cells[EXSI_RING_SIZE];
	atomic_size_t holes;
	char after[EXSI_LINE];
};

/* Items in it, those just being got aside. */
static inline size_t exsi_ring_count(struct exsi_ring *ring)
{
	size_t head = atomic_load(&ring->head); /* first: it never is beyond tail */
	ptrdiff_t n = (ptrdiff_t)(atomic_load(&ring->tail) - head - atomic_load(&ring->holes));

	return n > 0 ? (size_t)n : 0;
}

/* For the owner: the next place; false: full. */
static inline bool exsi_ring_has_room(struct exsi_ring *ring, size_t *place)
{
	*place = atomic_load_explicit(&ring->tail, memory_order_relaxed);
	return *place - atomic_load_explicit(&ring->head, memory_order_relaxed) < EXSI_RING_SIZE &&
	       !atomic_load_explicit(&ring->cells[*place % EXSI_RING_SIZE], memory_order_acquire);
}

/* At the next place. Who gets the item sees what was written before; order: at least memory_order_release. */
static inline void exsi_ring_put(struct exsi_ring *ring, size_t place, void *item, memory_order order)
{
	atomic_store_explicit(&ring->cells[place % EXSI_RING_SIZE], item, memory_order_release);
	atomic_store_explicit(&ring->tail, place + 1, order);
}

/* With a place that is the caller's. NULL: its item was withdrawn. */
static inline void *exsi_ring_take(struct exsi_ring *ring, size_t place)
{
	void *item = atomic_exchange(&ring->cells[place % EXSI_RING_SIZE], NULL);

	if (!item)
		atomic_fetch_sub(&ring->holes, 1);
	return item;
}

static inline bool exsi_ring_is_before(size_t place, size_t other)
{
	return (ptrdiff_t)(other - place) > 0;
}

/* The oldest, or NULL. */
static inline void *exsi_ring_get(struct exsi_ring *ring)
{
	void *item = NULL;
	size_t place = atomic_load(&ring->head);

	while (!item && exsi_ring_is_before(place, atomic_load(&ring->tail))) {
		if (!atomic_compare_exchange_weak(&ring->head, &place, place + 1))
			continue;
		item = exsi_ring_take(ring, place);
		place = atomic_load(&ring->head);
	}
	return item;
}

/* For the owner: the latest, or NULL. */
static inline void *exsi_ring_pop(struct exsi_ring *ring)
{
	size_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
	void *item = NULL;

	while (!item && tail != atomic_load_explicit(&ring->head, memory_order_relaxed)) {
		atomic_store(&ring->tail, --tail);
		size_t head = atomic_load(&ring->head), place = tail;
		bool last = !exsi_ring_is_before(head, place); /* a getter may have it, or be about to */
		bool gone = last && (head != place || !atomic_compare_exchange_strong(&ring->head, &head, place + 1));
		if (last)
			atomic_store(&ring->tail, ++tail);
		if (gone)
			return NULL;
		item = exsi_ring_take(ring, place);
	}
	return item;
}

/* Takes the item out of its place; false: somebody has got it. */
static inline bool exsi_ring_withdraw(struct exsi_ring *ring, size_t place, void *item)
{
	atomic_fetch_add(&ring->holes, 1);
	if (atomic_compare_exchange_strong(&ring->cells[place % EXSI_RING_SIZE], &item, NULL))
		return true;
	atomic_fetch_sub(&ring->holes, 1);
	return false;
}

/* Wherever it is. */
static inline bool exsi_ring_withdraw_item(struct exsi_ring *ring, void *item)
{
	for (size_t i = 0; i < EXSI_RING_SIZE; i++)
		if (atomic_load_explicit(&ring->cells[i], memory_order_relaxed) == item &&
		    exsi_ring_withdraw(ring, i, item))
			return true;
	return false;
}

/* Takes out the next, from *place on (the head to begin with), that nobody has got; NULL: there is none. */
static inline void *exsi_ring_withdraw_next(struct exsi_ring *ring, size_t *place)
{
	while (exsi_ring_is_before(*place, atomic_load(&ring->tail))) {
		size_t here = (*place)++;
		void *item = atomic_load(&ring->cells[here % EXSI_RING_SIZE]);
		if (item && exsi_ring_withdraw(ring, here, item))
			return item;
	}
	return NULL;
}

#endif
