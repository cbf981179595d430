/* The pauses of delay.h. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

int test_delay(void);
void test_delays(bool on);

static atomic_bool off;

void test_delays(bool on)
{
	atomic_store_explicit(&off, !on, memory_order_relaxed);
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static unsigned one_in;
static _Thread_local uint64_t state;

static void read_rate(void)
{
	const char *text = getenv("EXS_TEST_DELAY");

	one_in = text && *text ? (unsigned)strtoul(text, NULL, 0) : 400;
}

static unsigned chance(void)
{
	if (!state)
		state = (uint64_t)(uintptr_t)&state * UINT64_C(0x9e3779b97f4a7c15) | 1;
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned)(state >> 32);
}

/* Mostly a few yields; now and then long enough for a chain of events on other threads. */
int test_delay(void)
{
	if (atomic_load_explicit(&off, memory_order_relaxed))
		return 0;
	pthread_once(&once, read_rate);
	if (!one_in || chance() % one_in)
		return 0;
	unsigned n = chance() % 8;
	if (n == 0)
		nanosleep(&(struct timespec){.tv_nsec = (long)(chance() % 300000)}, NULL);
	for (; n; n--)
		sched_yield();
	return 0;
}
