/* Queue: calls wait in it in an order, and are run by executors attached to it. */
#ifndef EXECUTORS_QUEUE_H
#define EXECUTORS_QUEUE_H

#include <executors/executor.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { EXS_QUEUE_MAX_LEVELS = 64 };

typedef enum exs_order {
	EXS_BY_LEVEL = 0, /* levels, in a level first in, first out */
	/* exs_task.priority is a niceness, -20 .. 20. The n-th call of a series (from 1) has the key
	   n * (1 + ((niceness + 20) / 10)^2), the least goes first; equal keys in the order of their arrival. As AsynQueue does. */
	EXS_BY_NICENESS = 1
} exs_order;

/* 0 is the default. */
typedef struct exs_queue_options {
	exs_order order;
	/* Of EXS_BY_LEVEL: 2, at most EXS_QUEUE_MAX_LEVELS. Level 0 is the most urgent. A call's level is levels / 2 +
	   exs_task.priority, so that priority 0 is the middle level, of an even number the lower of the two: with 2 levels
	   priority 0 is level 1, and -1 is level 0. Priorities of no level are an error EXS_EINVAL. */
	unsigned levels;
	/* Of EXS_BY_LEVEL: a call that has waited so many seconds (of the queue's clock: exs_with_clock) goes before those that come to
	   the next more urgent level from then on, after twice as many before those of the level above that, and so on.
	   EXS_NONE, the default: calls of a level wait as long as there are any of a more urgent one. */
	double aging;
	unsigned series;  /* 1; a call's exs_task.series is below that; at most 65536 */
	const char *name; /* copied */
} exs_queue_options;

/* New queue, a leaf of chains, with nothing attached: calls wait. They are run by the executors attached to it, as calls of
   their own (a second block; a call fails with EXS_ENOMEM when there is none). A call's priority, series and place are those
   of its exs_task; one that a layer above starts again comes behind those of its level that wait. A call that is cancelled or
   timed out leaves the queue; once an attached executor has it, it is cancelled there. A task that waits for a call of its own
   queue starts it out of turn. While a task waits for anything its place is lent to another call, unless no other thread can
   stand in for its own (an event loop, a pool out of spares): then a wait for a call that comes into the queue only later (a
   retry above it) may need another executor attached. Shutdown and free apply to what is attached too. options NULL: the
   defaults. NULL and exs_last_error on failure. */
EXS_API exs_executor *exs_queue_sized(const exs_queue_options *options, size_t size);

static inline exs_executor *exs_queue(const exs_queue_options *options)
{
	return exs_queue_sized(options, sizeof(*options));
}

/* The exs_task.priority of a level in a queue of so many. */
static inline int exs_queue_priority(unsigned levels, unsigned level)
{
	return (int)level - (int)(levels / 2);
}

typedef struct exs_attach_options {
	/* Calls that it is given at a time, each until it is done: in a backoff or poll set of the chain too. 0: the workers of the
	   thread pool at its bottom, otherwise 1; EXS_UNLIMITED. */
	unsigned capacity;
	const unsigned *series; /* it runs calls of these series alone; copied. NULL: of all */
	size_t n_series;
} exs_attach_options;

/* Attaches executor, a chain of any kind, to the queue at the bottom of the chain `queue`, and takes it over, also on failure.
   Each that has a place free takes the best call that it is qualified for; of several with free places the one that has been free
   the longest. Timeouts and retries in it apply to each call it is given; a call's own timeout and retry options do not reach
   it. Answers its number, from 1; 0 and exs_last_error on failure; executor NULL is one, whose reason is its constructor's.
   options NULL: the defaults. MT-safe. Runs tasks if the executor does so in its submit. */
EXS_API uint64_t exs_queue_attach_sized(exs_executor *queue, exs_executor *executor, const exs_attach_options *options,
					size_t size);

static inline uint64_t exs_queue_attach(exs_executor *queue, exs_executor *executor, const exs_attach_options *options)
{
	return exs_queue_attach_sized(queue, executor, options, sizeof(*options));
}

/* Gives it no further calls. Those that it has and whose functions have never been started go back into the queue, to their
   places; the others end there. The executor is freed by another thread when the last has ended (exs_quiesce waits for
   it if that was before). Does not wait, from anywhere. 0, or EXS_EINVAL: there is no such number (any more). MT-safe. */
EXS_API int exs_queue_detach(exs_executor *queue, uint64_t number);

typedef struct exs_queue_stats {
	size_t attached;		     /* executors */
	size_t leaving;			     /* detached ones with calls that have not ended */
	size_t queued;			     /* calls that wait */
	size_t dispatched;		     /* calls that executors have been given and that have not ended */
	size_t lent;			     /* of these, whose tasks wait */
	size_t given;			     /* since the beginning */
	size_t given_back;		     /* of these, by detach */
	size_t levels[EXS_QUEUE_MAX_LEVELS]; /* of `queued`; EXS_BY_NICENESS: all in the first */
} exs_queue_stats;

/* Of the queue at the bottom of a chain. 0, or EXS_EINVAL if there is none, or stats is NULL. What
   a newer program's struct has beyond this library's is 0; of an older program's, as much is written as it has. MT-safe. */
EXS_API int exs_queue_get_stats_sized(exs_executor *queue, exs_queue_stats *stats, size_t size);

static inline int exs_queue_get_stats(exs_executor *queue, exs_queue_stats *stats)
{
	return exs_queue_get_stats_sized(queue, stats, sizeof(*stats));
}

#ifdef __cplusplus
}
#endif
#endif
