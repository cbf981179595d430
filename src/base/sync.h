/* Atomics, spinning, parking on a word, small bit locks. */
#ifndef EXSI_BASE_SYNC_H
#define EXSI_BASE_SYNC_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXSI_CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Bytes that processors pass to and fro as one: what different threads write often lies that far apart. */
enum { EXSI_LINE = 64 };

/* What many threads count has so many stripes: each thread its own (exsi_stripe), in a line of its own, and the sum counts. */
enum { EXSI_STRIPES = 8 };

/* Nanoseconds on CLOCK_MONOTONIC; EXSI_NEVER is "no deadline". */
#define EXSI_NEVER UINT64_MAX

uint64_t exsi_now(void);

/* Seconds to nanoseconds, rounded up; EXSI_NEVER if infinite or too large. NaN and negative: false. */
bool exsi_duration(double seconds, uint64_t *ns);

/* now + duration on the real clock, saturating. */
static inline uint64_t exsi_after(uint64_t now, uint64_t duration)
{
	return duration >= EXSI_NEVER - now ? EXSI_NEVER : now + duration;
}

/* Blocks while *word == value, until woken or `deadline` (real clock). May return for no reason. false: the deadline has passed. */
bool exsi_park(atomic_uint *word, unsigned value, uint64_t deadline);

/* Wakes those parked on word: n, or all. Only the address is used: the word may be gone. */
void exsi_unpark(atomic_uint *word, int n);

/* Conditions on the monotonic clock. wait: until woken or `deadline` (EXSI_NEVER: none); false: it has passed. */
void exsi_cond_init(pthread_cond_t *cond);
bool exsi_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t deadline);

/* Uniform in [0, 1]; from the system, or from the turner of this thread. */
double exsi_random(void);

/* A breath in a spin loop. */
static inline void exsi_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* A breath in a spin loop; after a while it gives up the processor. */
void exsi_relax(unsigned turn);

#endif
