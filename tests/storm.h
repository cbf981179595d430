/* What the tests of workers that die share: signals at random, and what must be left behind: nothing. */
#ifndef TESTING_STORM_H
#define TESTING_STORM_H

#include "harness.h"

#include <executors/executors.h>
#include <pthread.h>
#include <stdatomic.h>

/* Descriptors and blocks of the library's memory; to be begun while nothing of the library is alive. At the end all of it must be as it was, no
   child be left, ended or not. */
struct storm_rest {
	int descriptors;
};
void storm_begin(struct storm_rest *rest);
void storm_end(struct storm_rest *rest);

/* Blocks that are allocated now; only between these two. */
long storm_blocks(void);

/* Sends a worker at random a signal at random, of those that end it. seasoned: only one that has been given a task. Only ever to a child of this
   process, whoever has got a number that was a worker's. Answers whether there was one. */
bool storm_strike(exs_executor *ex, uint64_t *random, bool seasoned);

/* A thread that strikes `n` times, whenever `pace` more have been counted in `done` (0: as fast as it can), until stop. */
struct storm {
	exs_executor *ex;
	uint64_t random;
	unsigned long n, pace;
	bool seasoned;
	atomic_ulong done, struck;
	atomic_bool stop;
	pthread_t thread;
};
void storm_start(struct storm *storm);
void storm_stop(struct storm *storm);

/* A number that depends on all bits of x. */
uint64_t storm_mix(uint64_t x);

/* Waits for a future that must be a value of size bytes. */
const unsigned char *storm_value(exs_future *f, size_t size);

#endif
