/* Parking on a word: futex where there is one, otherwise hashed condition variables. */
#define _GNU_SOURCE
#include "base/sync.h"
#include "base/list.h"
#include "base/thread.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#if defined(__linux__) && !defined(EXSI_PORTABLE)
#define EXSI_FUTEX 1
#include <linux/futex.h>
#include <sys/syscall.h>
#endif

uint64_t exsi_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

bool exsi_duration(double seconds, uint64_t *ns)
{
	if (isnan(seconds) || seconds < 0)
		return false;
	double n = seconds * 1e9;
	*ns = n >= 9e18 ? EXSI_NEVER : (uint64_t)n + ((double)(uint64_t)n < n);
	return true;
}

void exsi_relax(unsigned turn)
{
	if (turn >= 64) {
		sched_yield();
		return;
	}
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

static struct timespec to_timespec(uint64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
}

void exsi_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

bool exsi_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t deadline)
{
	struct timespec at = to_timespec(deadline);

	if (deadline == EXSI_NEVER)
		pthread_cond_wait(cond, lock);
	else if (pthread_cond_timedwait(cond, lock, &at) == ETIMEDOUT)
		return false;
	return true;
}

double exsi_random(void)
{
	struct exsi_turner *turner = exsi_self()->turner;
	uint32_t bits;

	if (turner)
		return turner->random(turner);
	if (getentropy(&bits, sizeof(bits)))
		bits = (uint32_t)exsi_now(); /* no entropy to be had: the time's low bits must do */
	return (double)bits / UINT32_MAX;
}

#ifdef EXSI_FUTEX

bool exsi_park(atomic_uint *word, unsigned value, uint64_t deadline)
{
	struct timespec at = to_timespec(deadline);
	long rc = syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, value,
			  deadline == EXSI_NEVER ? NULL : &at, NULL, FUTEX_BITSET_MATCH_ANY);

	return rc == 0 || errno != ETIMEDOUT;
}

void exsi_unpark(atomic_uint *word, int n)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

#else

/* Each bucket's lock guards its sleepers: a waiter looks at the word under it, a waker takes those of its word out. */
enum { BUCKETS = 61 };
static struct bucket {
	pthread_mutex_t lock;
	pthread_cond_t woken;
	struct exsi_list sleepers;
} buckets[BUCKETS];
static pthread_once_t buckets_once = PTHREAD_ONCE_INIT;

struct sleeper {
	struct exsi_list link; /* first; prev NULL: it has been woken */
	atomic_uint *word;
};

static void buckets_empty(void)
{
	for (int i = 0; i < BUCKETS; i++) {
		pthread_mutex_init(&buckets[i].lock, NULL);
		exsi_cond_init(&buckets[i].woken);
		exsi_list_init(&buckets[i].sleepers);
	}
}

/* Who sleeps in the parent is not in the child. */
static void buckets_init(void)
{
	buckets_empty();
	pthread_atfork(NULL, NULL, buckets_empty);
}

static struct bucket *bucket_of(atomic_uint *word)
{
	pthread_once(&buckets_once, buckets_init);
	return &buckets[(uintptr_t)word / sizeof(*word) % BUCKETS];
}

bool exsi_park(atomic_uint *word, unsigned value, uint64_t deadline)
{
	struct bucket *b = bucket_of(word);
	struct sleeper me = {.word = word};
	bool in_time = true;

	pthread_mutex_lock(&b->lock);
	if (atomic_load(word) == value)
		exsi_list_append(&b->sleepers, &me.link);
	while (me.link.prev && in_time)
		in_time = exsi_cond_wait(&b->woken, &b->lock, deadline);
	if (me.link.prev)
		exsi_list_remove(&me.link);
	else
		in_time = true;
	pthread_mutex_unlock(&b->lock);
	return in_time;
}

void exsi_unpark(atomic_uint *word, int n)
{
	struct bucket *b = bucket_of(word);
	struct exsi_list *at, *next;

	pthread_mutex_lock(&b->lock);
	for (at = b->sleepers.next; at != &b->sleepers && n > 0; at = next) {
		next = at->next;
		if (((struct sleeper *)at)->word != word)
			continue;
		exsi_list_remove(at);
		n--;
	}
	pthread_cond_broadcast(&b->woken);
	pthread_mutex_unlock(&b->lock);
}

#endif
