/* The lock, when it is taken. */
#include "base/lock.h"

enum { TURNS = 100 };

void exsi_lock_wait(struct exsi_lock *lock)
{
	for (unsigned turn = 0; turn < TURNS; turn++) {
		unsigned is_free = 0;
		/* Relaxed: what follows acquires. */
		if (!atomic_load_explicit(&lock->word, memory_order_relaxed) &&
		    atomic_compare_exchange_strong(&lock->word, &is_free, 1))
			return;
		exsi_pause();
	}
	while (atomic_exchange(&lock->word, 2)) /* got so, it may say too much: one wake in vain */
		exsi_park(&lock->word, 2, EXSI_NEVER);
}
