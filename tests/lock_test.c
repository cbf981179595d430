/* The lock: nobody is let in beside another, and nobody who sleeps is forgotten. */
#include "base/lock.h"
#include "harness.h"

#include <pthread.h>

enum { THREADS = 3 };

struct account {
	struct exsi_lock lock;
	size_t sum, each;
	bool slow; /* keeps the lock until somebody sleeps, if there is anybody left to */
	atomic_int left;
};

static void *pay_in(void *arg)
{
	struct account *a = arg;

	for (size_t i = 0; i < a->each; i++) {
		exsi_lock(&a->lock);
		size_t sum = a->sum;
		while (a->slow && i % 16 == 0 && atomic_load(&a->left) == THREADS && atomic_load(&a->lock.word) != 2)
			exsi_pause();
		a->sum = sum + 1;
		exsi_unlock(&a->lock);
	}
	atomic_fetch_sub(&a->left, 1);
	return NULL;
}

static void pay(size_t each, bool slow)
{
	struct account a = {.each = each, .slow = slow, .left = THREADS};
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		CHECK(!pthread_create(&threads[i], NULL, pay_in, &a));
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	CHECK_INT(a.sum, THREADS * each);
	CHECK_INT(atomic_load(&a.lock.word), 0);
}

TEST(lock, one_at_a_time)
{
	pay(harness_rounds(20000), false);
}

TEST(lock, who_sleeps_is_woken)
{
	pay(harness_rounds(500), true);
}
