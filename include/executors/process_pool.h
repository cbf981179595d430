/* Process pool: registered functions run in worker processes, which may crash, leak and be killed without harm to this one. Linux. */
#ifndef EXECUTORS_PROCESS_POOL_H
#define EXECUTORS_PROCESS_POOL_H

#include <executors/registry.h>
#include <executors/thread_pool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* To be called at the top of main, after exs_register, by a program that is its own worker (and by a program that is another's): in a
   process that a pool has spawned it serves that pool, and ends the process; in any other it returns at once.

     int main(int argc, char **argv)
     {
	     exs_register("render", render);
	     exs_process_main(argc, argv);
	     exs_executor *ex = exs_process_pool(NULL);   */
EXS_API void exs_process_main(int argc, char **argv);

/* What a worker process begins and ends with: setup runs before its first task, with what exs_context_worker_state then answers; teardown
   after its last, unless it is killed. Types as of thread_pool.h; number: the worker's, from 1, never used twice in a pool. A setup that
   fails ends the worker, and what it says is the error of a call if no worker is left. To be called before exs_process_main; the last one
   counts. */
EXS_API void exs_process_worker_hooks(exs_worker_setup_fn *setup, exs_worker_teardown_fn *teardown, void *ctx);

/* Errors of a worker process that ended while it ran the task; the message says which it was, and what it last wrote on standard error. */
EXS_API extern const exs_domain exs_domain_signal; /* by a signal: code is its number */
EXS_API extern const exs_domain exs_domain_exit;   /* by itself: code is the exit status */

/* A function's error arrives with its domain if that is one of the library's (exs, errno, signal, exit) or was made known here by its name; otherwise
   with this one, its code, and "NAME CODE: " before its message. domain is to live for ever, with a name of 1 to 255 bytes; the same again does
   nothing. Answers 0, EXS_EINVAL (NULL, no such name, another domain of that name), EXS_ENOMEM. MT-safe. */
EXS_API extern const exs_domain exs_domain_remote;
EXS_API int exs_register_domain(const exs_domain *domain);

/* 0 or NULL is the default. Seconds are of real time. */
typedef struct exs_process_pool_options {
	unsigned workers;     /* at most; 0: twice as many as there are processors for this process; at most 4096 */
	unsigned min_workers; /* so many are spawned at once, and stay; 0 or EXS_NONE: none until there is work */
	double idle_seconds;  /* after which one more than these ends; 0 or EXS_UNLIMITED: never */
	const char *name;     /* of log lines, copied; default "exs" */

	/* The program that is spawned: found as by execvp without a search; it has to call exs_process_main. NULL: this one
	   (/proc/self/exe). args: n_args further arguments, before that by which a worker knows itself to be one; copied. */
	const char *program;
	const char *const *args;
	size_t n_args;

	double start_seconds; /* after which a worker that has not reported is killed; 0: 30 */
	/* Between the request to end and SIGKILL; 0: 5; EXS_NONE: SIGKILL at once, without teardown. One that handles SIGTERM by going on
	   is asked again when it has answered its task, and then has its teardown. */
	double stop_seconds;
	size_t max_size; /* bytes of an input, a result, an item or a message; 0: 64 MiB */
	unsigned
		death_retries; /* so often a call is begun again by the pool itself because its worker died; 0 or EXS_NONE: not at all */

	/* Limits of each worker; 0 or EXS_UNLIMITED: none. */
	size_t memory;	    /* bytes of address space (RLIMIT_AS): beyond it allocations fail */
	double cpu_seconds; /* of processor time (RLIMIT_CPU): then it dies by SIGXCPU */
	unsigned tasks;	    /* that it runs before another takes its place */
	double task_seconds; /* that one task may run: then the worker is ended, SIGTERM first, and the call fails with EXS_ETIMEDOUT */
	/* That a running task may take to end once it is asked to stop: then the worker is ended, SIGTERM first, and the call is cancelled. 0 or
	   EXS_UNLIMITED: for ever, and so does exs_executor_free wait for it; EXS_NONE: at once. */
	double cancel_seconds;

	/* No new privileges (set-user-ID programs have no effect), no core dumps, no further processes (RLIMIT_NPROC has no effect on root),
	   at most 64 descriptors, files of no bytes (RLIMIT_FSIZE: writing kills it by SIGXFSZ), and an empty environment. */
	bool restricted;

	/* Where each worker's standard output and error go, which otherwise become lines of the log hook, level EXS_LOG_INFO: a file
	   "log_files.NUMBER", appended to; copied. The last 4 KiB of them are kept in either case for the error when it dies. */
	const char *log_files;
} exs_process_pool_options;

/* New pool, a leaf of chains; runs exs_invoke (registry.h) and nothing else: any other task is an error EXS_EINVAL. First in, first out; a
   queue above it gives priorities. Workers are spawned when there is work (posix_spawn; they never see a descriptor, a signal mask or a
   signal of this process, and are in sessions of their own), and end with this process, however that ends, within a second. Each runs one
   task at a time, in its main thread, and hears of a cancel while it does. One that has answered within 0.2 ms is given up to 8 short
   calls at a time, of which it begins one after the other; those it has not begun are asked back when it has not answered for 1 ms, and go
   back when it dies. Until then a cancel of one of them is EXS_STOP_REQUESTED. A worker that dies, or does not keep to the protocol, is
   killed with all of its process group (what a task has put in another one goes on), and replaced; its call fails (exs_domain_signal,
   exs_domain_exit), at most by one attempt, or is begun again (death_retries). What can't be spawned or ends before it has reported is an
   error of the calls only where there is no worker at all, after three in a row. Calls are completed on the pool's own thread, one for all
   workers: callbacks and the functions of exs_with_map above it should be short; a wait there for a call or an update of the same pool
   answers EXS_EDEADLK. What tasks send and schedule is taken as fast as it comes, and kept here until it is read or run: nothing bounds
   how much that is. options NULL: the defaults. NULL and exs_last_error on failure. MT-safe. */
EXS_API exs_executor *exs_process_pool_sized(const exs_process_pool_options *options, size_t size);

static inline exs_executor *exs_process_pool(const exs_process_pool_options *options)
{
	return exs_process_pool_sized(options, sizeof(*options));
}

/* Runs the invocation, which it takes over, also on failure, once in every worker of the pool at the bottom of the chain, before its next
   task, and in every later one before its first; ephemeral: only in those of now. Answers a future (the caller's reference): the value NULL
   when all workers of now have run it (or have ended), or the first error. A failure there does not keep a worker from its tasks. One that is
   not ephemeral is kept, with its input, as long as the pool: each later worker runs all of them before its first task. NULL only when memory
   is short. MT-safe. */
EXS_API exs_future *exs_process_pool_update(exs_executor *ex, exs_invocation *invocation, bool ephemeral);

/* How a pool is closed. */
typedef enum exs_close {
	EXS_CLOSE_JOIN = 1,   /* everything submitted runs to its end, what that schedules too: EXS_DRAIN */
	EXS_CLOSE_CANCEL = 2, /* running tasks end, what is queued is cancelled: EXS_CANCEL_QUEUED */
	EXS_CLOSE_KILL = 3 /* workers are killed now; running and queued calls are cancelled; not through exs_borrow */
} exs_close;

/* Closes the chain with the pool at its bottom, and waits up to `seconds`, as exs_shutdown does, whose answer it gives. Without that,
   exs_executor_free is CANCEL. An invalid argument does nothing, and answers the calls left (exs_last_error). MT-safe. */
EXS_API size_t exs_process_pool_close(exs_executor *ex, exs_close how, double seconds);

typedef struct exs_process_pool_stats {
	size_t workers;		 /* alive and not asked to end */
	size_t idle;		 /* of these, without a task */
	size_t queued;		 /* calls waiting for a worker */
	size_t running;		 /* calls that a worker has */
	size_t started;		 /* tasks begun since the beginning; the following too */
	size_t completed;	 /* tasks answered by a worker */
	size_t spawned;		 /* workers */
	size_t died;		 /* of these, unasked */
	size_t renewed;		 /* after so many tasks */
	size_t retired;		 /* idle */
	size_t overdue;		 /* ended because of task_seconds or cancel_seconds */
	size_t malformed;	 /* killed for what they sent */
	size_t restarted;	 /* calls begun again by death_retries */
	size_t scheduled;	 /* calls that tasks have submitted */
	size_t messages;	 /* that they have sent */
	uint64_t sent, received; /* bytes of payload */
} exs_process_pool_stats;

/* Statistics of the pool at the bottom of a chain; sizes as exs_thread_pool_get_stats. 0, or EXS_EINVAL. MT-safe. */
EXS_API int exs_process_pool_get_stats_sized(exs_executor *ex, exs_process_pool_stats *stats, size_t size);

static inline int exs_process_pool_get_stats(exs_executor *ex, exs_process_pool_stats *stats)
{
	return exs_process_pool_get_stats_sized(ex, stats, sizeof(*stats));
}

typedef struct exs_process_worker {
	unsigned number; /* from 1 */
	long pid;	 /* until the call returns it may have ended */
	bool busy;
	size_t tasks;	     /* that it has been given */
	double busy_seconds; /* from when it was given a task until it answered, the one under way included */
	size_t memory;	     /* bytes resident; 0: not known */
} exs_process_worker;

/* Up to n of the workers that are alive, by number. Answers how many there are; 0 and exs_last_error if there is no such pool. size: of one.
   MT-safe. */
EXS_API size_t exs_process_pool_workers_sized(exs_executor *ex, exs_process_worker *workers, size_t n, size_t size);

static inline size_t exs_process_pool_workers(exs_executor *ex, exs_process_worker *workers, size_t n)
{
	return exs_process_pool_workers_sized(ex, workers, n, sizeof(*workers));
}

#ifdef __cplusplus
}
#endif
#endif
