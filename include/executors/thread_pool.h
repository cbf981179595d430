/* Thread pool: the usual leaf of a chain. */
#ifndef EXECUTORS_THREAD_POOL_H
#define EXECUTORS_THREAD_POOL_H

#include <executors/executor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What becomes of a submit while the queue is full. Only the thread inside exs_submit is ever made to wait, is rejected or runs
   the call itself: calls started again from within (retry) and submits of the pool's own workers are queued over the limit. */
typedef enum exs_full {
	EXS_FULL_BLOCK = 0,	  /* it waits for room, up to block_seconds: then EXS_EREJECTED. Shutdown wakes it */
	EXS_FULL_REJECT = 1,	  /* the future fails with EXS_EREJECTED */
	EXS_FULL_CALLER_RUNS = 2, /* the submitting thread runs the task, on its own stack, before exs_submit returns */
	EXS_FULL_DROP_OLDEST = 3  /* the call that has waited for longest makes room: it fails with EXS_EDROPPED */
} exs_full;

/* In which order calls begin. */
typedef enum exs_pool_order {
	EXS_IN_ORDER = 0, /* first in, first out */
	/* As it is fastest, for many short tasks and for tasks that submit tasks: a worker begins what its own tasks submit first, the
	   latest first, and takes several short calls of the queue at a time; one without work takes from the others. Tasks must not
	   wait for each other other than by futures: one may be behind another on the same worker. With a queue_limit calls stay in
	   order. */
	EXS_ANY_ORDER = 1
} exs_pool_order;

/* Begins a worker, on its thread, before its first task: *state (preset to NULL) is what exs_context_worker_state answers to its
   tasks. number: the one in its thread's name, from 1, never used twice. Answers NULL, or an error (taken over): it is logged, and
   the thread ends as if it could not have been made. It must not wait for calls of its own pool. */
typedef exs_error *exs_worker_setup_fn(void *ctx, unsigned number, void **state);

/* Ends it, on the same thread, after its last task; not called where setup failed. */
typedef void exs_worker_teardown_fn(void *ctx, unsigned number, void *state);

typedef struct exs_thread_pool_options {
	unsigned workers; /* at most; 0: as many as there are processors for this process (affinity, cgroup quota) */
	unsigned min_workers; /* so many stay when there is no work; 0: all; EXS_NONE */
	double idle_seconds; /* of real time, after which one more than these ends, the longest idle first; 0: 60; EXS_NONE: at once */
	unsigned max_spares; /* workers that may stand in for workers that wait on futures; 0: 64; EXS_NONE: none */
	size_t queue_limit;  /* calls waiting for a worker; 0 or EXS_UNLIMITED: no limit; EXS_NONE is an error */
	exs_full when_full;
	double block_seconds; /* for EXS_FULL_BLOCK, in real time; 0 or EXS_UNLIMITED: no limit */
	const char *name;     /* of threads "name-1" (cut to 15 bytes) and log lines; default "exs"; copied */
	size_t stack_size;    /* of a worker, in bytes; 0: the system's default */
	const unsigned *
		cpus; /* n_cpus processors, numbered from 0, to which the workers are bound together; copied. NULL: any */
	size_t n_cpus;
	exs_worker_setup_fn *setup; /* each thread's beginning and end, with or without a state; either may be NULL */
	exs_worker_teardown_fn *teardown; /* (for what other libraries call start and stop hooks too) */
	void *ctx;			  /* of both */
	exs_free_fn *ctx_free;		  /* once, after the last use of ctx, also on failure */
	exs_pool_order order;
	/* A thread that waits without a limit of time (exs_future_wait, exs_wait_*, exs_set_next) for a call that no worker has begun runs
	   it itself, and so need not wait for another thread: on its own stack, without a worker's state. A worker of the pool does
	   so anyway, the library's callback thread never. Such a thread must hold no lock that the task takes; and what would end its
	   wait meanwhile (a timeout in mode EXS_ABANDON, another future of exs_wait_any) it notices when the task has returned. */
	bool waiters_run;
} exs_thread_pool_options;

/* New pool; first in, first out, unless options say otherwise. Workers start when there is work; those that end are started again when there is more. A thread
   that can't be made (or set up) is logged, and an error of the call (EXS_ETHREAD, or the one that setup answered) only where there is none at
   all. A worker that waits on a future of its own pool runs it if it has not begun; otherwise, when all workers wait, a
   spare starts; when no more may start, that wait answers EXS_EDEADLK. A worker without work, and a thread that waits for a
   future, spins for up to some 10 us before it sleeps, where there is a second processor: for less and less while that is in vain, down to not
   at all, but every 32nd time then for some 100 us (5,000 pauses; 130 us on an AMD EPYC), in case it is worth while again.
   exs_try_submit neither waits nor runs the task: it is rejected where exs_submit would do either; it drops the oldest. A dropped
   call fails like any other: a retry above runs it again. NULL and exs_last_error on failure. MT-safe. */
EXS_API exs_executor *exs_thread_pool(unsigned workers);
EXS_API exs_executor *exs_thread_pool_sized(const exs_thread_pool_options *options, size_t size);

static inline exs_executor *exs_thread_pool_with(const exs_thread_pool_options *options)
{
	return exs_thread_pool_sized(options, sizeof(*options));
}

/* The process's own pool, as exs_thread_pool(0) makes it, shared by all who ask: answers a borrow of it, to be wrapped and freed as
   any other executor. It is made for the first, and ends with its threads when the last is freed; the next makes a new one. NULL
   and exs_last_error on failure. MT-safe. */
EXS_API exs_executor *exs_thread_pool_default(void);

typedef struct exs_thread_pool_stats {
	size_t workers;	   /* alive */
	size_t idle;	   /* of these, without work */
	size_t waiting;	   /* of these, waiting on a future inside a task */
	size_t queued;	   /* calls waiting for a worker */
	size_t running;	   /* calls whose function runs */
	size_t started;	   /* functions started since the beginning */
	size_t caller_ran; /* of these, in the submitter's own thread */
	size_t over_limit; /* calls that were queued beyond queue_limit */
	size_t rejected;
	size_t dropped; /* from a full queue */
	size_t retired; /* workers that ended because they were idle */
} exs_thread_pool_stats;

/* Statistics of the thread pool at the bottom of a chain. Answers 0, or EXS_EINVAL if there is none, or stats is NULL. What
   a newer program's struct has beyond this library's is 0; of an older program's, as much is written as it has. MT-safe. */
EXS_API int exs_thread_pool_get_stats_sized(exs_executor *ex, exs_thread_pool_stats *stats, size_t size);

static inline int exs_thread_pool_get_stats(exs_executor *ex, exs_thread_pool_stats *stats)
{
	return exs_thread_pool_get_stats_sized(ex, stats, sizeof(*stats));
}

#ifdef __cplusplus
}
#endif
#endif
