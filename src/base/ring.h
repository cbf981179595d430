/* A ring: one thread at a time puts, under its owner's lock; any thread gets, in the order of the puts, without one; what is in it
   can be withdrawn. */
#ifndef EXSI_BASE_RING_H
#define EXSI_BASE_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#ifndef EXSI_RING_SIZE /* a power of two; tests have a small one */
#define EXSI_RING_SIZE ((size_t)256)
#endif

/* Invariants:
   - head <= tail <= head + size, and both only grow. Place n is cell n mod size.
   - A cell is NULL, or holds an item, which exactly one exchange takes out: of a getter that has moved head over its place, or of
     who withdraws it.
   - A put waits until the cell is NULL. So a getter that is late, between its two steps, loses nothing: at worst it finds what was put
     a round later; then the getter of that place finds none, and goes on.
   - Each item withdrawn makes a hole; each getter that finds no item where head has passed closes one. holes is raised first, so that
     it never falls below 0. */
struct exsi_ring {
	char before[64];
	atomic_size_t head;
	char between[64];
	atomic_size_t tail;
	_Atomic(void *) cells[EXSI_RING_SIZE];
	atomic_size_t holes;
	char after[64];
};

/* Items in it, those just being got aside. */
static inline size_t exsi_ring_count(struct exsi_ring *ring)
{
	size_t head = atomic_load(&ring->head); /* first: it never is beyond tail */
	size_t n = atomic_load(&ring->tail) - head, holes = atomic_load(&ring->holes);

	return n > holes ? n - holes : 0;
}

/* Under the owner's lock: the next place; false: full. */
static inline bool exsi_ring_has_room(struct exsi_ring *ring, size_t *place)
{
	*place = atomic_load_explicit(&ring->tail, memory_order_relaxed);
	return *place - atomic_load_explicit(&ring->head, memory_order_relaxed) < EXSI_RING_SIZE &&
	       !atomic_load_explicit(&ring->cells[*place % EXSI_RING_SIZE], memory_order_acquire);
}

/* At the next place. Who gets the item sees what was written before. */
static inline void exsi_ring_put(struct exsi_ring *ring, size_t place, void *item)
{
	atomic_store_explicit(&ring->cells[place % EXSI_RING_SIZE], item, memory_order_release);
	atomic_store_explicit(&ring->tail, place + 1, memory_order_release);
}

/* The oldest, or NULL. */
static inline void *exsi_ring_get(struct exsi_ring *ring)
{
	size_t place = atomic_load_explicit(&ring->head, memory_order_relaxed);

	while (place != atomic_load_explicit(&ring->tail, memory_order_acquire)) {
		if (!atomic_compare_exchange_weak(&ring->head, &place, place + 1))
			continue;
		void *item = atomic_exchange(&ring->cells[place % EXSI_RING_SIZE], NULL);
		if (item)
			return item;
		atomic_fetch_sub(&ring->holes, 1);
		place = atomic_load_explicit(&ring->head, memory_order_relaxed);
	}
	return NULL;
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

/* Under the owner's lock: takes out the next, from *place on (the head to begin with), that nobody has got; NULL: there is none. */
static inline void *exsi_ring_withdraw_next(struct exsi_ring *ring, size_t *place)
{
	while (*place != atomic_load_explicit(&ring->tail, memory_order_relaxed)) {
		size_t here = (*place)++;
		void *item = atomic_load(&ring->cells[here % EXSI_RING_SIZE]);
		if (item && exsi_ring_withdraw(ring, here, item))
			return item;
	}
	return NULL;
}

#endif
