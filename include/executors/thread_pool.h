/* Thread pool: the usual leaf of a chain. */
#ifndef EXECUTORS_THREAD_POOL_H
#define EXECUTORS_THREAD_POOL_H

#include <executors/executor.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum exs_full {
	EXS_FULL_BLOCK = 0, /* submit waits for room; shutdown wakes it */
	EXS_FULL_REJECT = 1 /* the future fails with EXS_EREJECTED */
} exs_full;

typedef struct exs_thread_pool_options {
	unsigned workers;   /* 0: as many as there are cores for this process */
	size_t queue_limit; /* calls waiting for a worker; 0 or EXS_UNLIMITED: no limit; EXS_NONE is an error */
	exs_full when_full;
	unsigned max_spares; /* workers that may stand in for workers that wait on futures; 0: 64; EXS_NONE: none */
	const char *name;    /* of threads "name-1" (cut to 15 bytes) and log lines; default "exs"; copied */
	size_t stack_size;   /* bytes; 0: the system's default */
} exs_thread_pool_options;

/* New pool; first in, first out. Workers start when there is work. Calls restarted from within (retry) and submits of the
   pool's own workers are queued over the limit. A worker that waits on a future of its own pool runs it if it has not begun;
   otherwise, when all workers wait, a spare starts; when no more may start, that wait answers EXS_EDEADLK.
   NULL and exs_last_error on failure. */
EXS_API exs_executor *exs_thread_pool(unsigned workers);
#define exs_thread_pool_with(options) exs_thread_pool_sized((options), sizeof(*(options)))
EXS_API exs_executor *exs_thread_pool_sized(const exs_thread_pool_options *options, size_t size);

typedef struct exs_thread_pool_stats {
	size_t workers;	   /* threads alive */
	size_t idle;	   /* of these, without work */
	size_t waiting;	   /* of these, waiting on a future inside a task */
	size_t queued;	   /* calls waiting for a worker */
	size_t running;	   /* calls whose function runs */
	size_t started;	   /* functions started since the beginning */
	size_t over_limit; /* calls that were queued beyond queue_limit */
	size_t rejected;
} exs_thread_pool_stats;

/* Statistics of the thread pool at the bottom of a chain. Answers 0, or EXS_EINVAL if there is none. MT-safe. */
EXS_API int exs_thread_pool_get_stats(exs_executor *ex, exs_thread_pool_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
