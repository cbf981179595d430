/* Forced into every source of the library (-include) where the stress test is built with delays: a short random pause around
   each atomic operation and each lock, so that races with windows of a few instructions come about.
   EXS_TEST_DELAY=N pauses at one point in N (default 400); 0 never. */
#ifndef DELAY_H
#define DELAY_H

#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>

/* Answers 0. Defined by the test. */
int test_delay(void);

#undef atomic_load
#undef atomic_store
#undef atomic_exchange
#undef atomic_fetch_add
#undef atomic_fetch_sub
#undef atomic_fetch_and
#undef atomic_fetch_or
#undef atomic_compare_exchange_weak
#undef atomic_compare_exchange_strong
#define atomic_load(p)	       (test_delay(), atomic_load_explicit((p), memory_order_seq_cst))
#define atomic_store(p, v)     (test_delay(), atomic_store_explicit((p), (v), memory_order_seq_cst))
#define atomic_exchange(p, v)  (test_delay(), atomic_exchange_explicit((p), (v), memory_order_seq_cst))
#define atomic_fetch_add(p, v) (test_delay(), atomic_fetch_add_explicit((p), (v), memory_order_seq_cst))
#define atomic_fetch_sub(p, v) (test_delay(), atomic_fetch_sub_explicit((p), (v), memory_order_seq_cst))
#define atomic_fetch_and(p, v) (test_delay(), atomic_fetch_and_explicit((p), (v), memory_order_seq_cst))
#define atomic_fetch_or(p, v)  (test_delay(), atomic_fetch_or_explicit((p), (v), memory_order_seq_cst))
#define atomic_compare_exchange_weak(p, e, v)                                                                          \
	(test_delay(), atomic_compare_exchange_weak_explicit((p), (e), (v), memory_order_seq_cst, memory_order_seq_cst))
#define atomic_compare_exchange_strong(p, e, v)                                                                        \
	(test_delay(),                                                                                                 \
	 atomic_compare_exchange_strong_explicit((p), (e), (v), memory_order_seq_cst, memory_order_seq_cst))

/* Before the lock, and while it is held; after it is given back. */
#define pthread_mutex_lock(m)	(test_delay(), (void)pthread_mutex_lock(m), test_delay())
#define pthread_mutex_unlock(m) ((void)pthread_mutex_unlock(m), test_delay())

#endif
