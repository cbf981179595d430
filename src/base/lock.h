/* A lock that is held for some instructions at a time: a word, two atomic operations, and a short spin before a sleep. After Drepper,
   "Futexes are tricky" (2004). */
#ifndef EXSI_BASE_LOCK_H
#define EXSI_BASE_LOCK_H

#include "base/sync.h"

/* 0: free; 1: held; 2: held, and somebody may sleep until it is free. Zeroed it is free. */
struct exsi_lock {
	atomic_uint word;
};

/* It is taken. */
void exsi_lock_wait(struct exsi_lock *lock);

static inline void exsi_lock(struct exsi_lock *lock)
{
	unsigned is_free = 0;

	if (!atomic_compare_exchange_strong(&lock->word, &is_free, 1))
		exsi_lock_wait(lock);
}

static inline void exsi_unlock(struct exsi_lock *lock)
{
	if (atomic_exchange(&lock->word, 0) == 2)
		exsi_unpark(&lock->word, 1);
}

#endif
