/* A task, and the options a call can bring along. */
#ifndef EXECUTORS_TASK_H
#define EXECUTORS_TASK_H

#include <executors/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- how to retry: for exs_with_retry (retry.h), or for one call --- */

typedef enum exs_jitter { EXS_JITTER_NONE = 0, EXS_JITTER_FULL = 1, EXS_JITTER_FRACTION = 2 } exs_jitter;

/* An outcome, as policies and hooks see it; all borrowed. */
typedef struct exs_attempt {
	const exs_result *outcome;
	unsigned attempt; /* the one that ended, from 1 */
	double elapsed;	  /* seconds since the first attempt was started */
	const char *name; /* the task's, or NULL */
} exs_attempt;

/* Decides: true = again after *delay seconds (preset to the exponential backoff), false = the outcome stands. It may retry a
   value; it is not asked about a cancelled one. On failure set *error (taken over): it is logged, and the outcome stands. */
typedef bool exs_retry_fn(void *ctx, const exs_attempt *attempt, double *delay, exs_error **error);

/* Called before each backoff, on the thread that completed the attempt. */
typedef void exs_on_retry_fn(void *ctx, const exs_attempt *attempt, double delay);

typedef struct exs_retry_code {
	const exs_domain *domain;
	int code;
} exs_retry_code;

/* 0 is the default. The delay before attempt n+1 is min(sleep * exponent^(n-1), max_sleep): 1, 2, 4, ... seconds. */
typedef struct exs_retry_options {
	unsigned max_attempts; /* 3; EXS_UNLIMITED */
	double sleep;	       /* 1.0 s; EXS_NONE: at once */
	double exponent;       /* 2.0; at least 1 */
	double max_sleep;      /* 120 s; EXS_UNLIMITED */
	exs_jitter jitter;     /* FULL: uniform in [0, delay]; FRACTION: delay * (1 +- fraction) */
	double fraction;       /* of EXS_JITTER_FRACTION, in (0, 1]; 0: 0.5 */
	double deadline;       /* seconds from the first attempt; a delay that would pass it fails at once; 0: none */
	double max_retry_after; /* 120 s; the error's own hint counts if longer than the backoff; above this: fail at once */
	const exs_retry_code *
		codes; /* only these errors are retried; copied. NULL: all but EXS_ESHUTDOWN, EXS_EINVAL, EXS_EFORK of the library */
	size_t n_codes;
	exs_retry_fn *policy; /* instead of the above */
	exs_on_retry_fn *on_retry;
	void *ctx;	       /* of policy and on_retry */
	exs_free_fn *ctx_free; /* once, after the last use, also on failure */
} exs_retry_options;

/* --- the task --- */

/* A task. arg must live until the task has ended, which can be after its future is done (a timeout in ABANDON mode). It may
   run more than once (retry). pthread_exit, pthread_cancel and longjmp out of it are not supported. */
typedef exs_result exs_task_fn(void *arg, exs_context *ctx);

/* Where an ordering queue (queue.h) puts a call. */
typedef enum exs_place {
	EXS_IN_TURN = 0, /* by its priority */
	EXS_DO_NEXT = 1, /* before all that are in turn */
	EXS_DO_LAST = 2	 /* after all others */
} exs_place;

/* Options of one call; 0 or NULL is the default. */
typedef struct exs_task {
	exs_task_fn *fn;
	void *arg;
	exs_free_fn
		*arg_free; /* runs once, after the last attempt that could read arg, also when the submit is refused */
	const char *name;  /* copied; for exs_future_explain, logs, metrics, events, dumps and the task's context */
	int priority;	   /* for executors that order their queue; 0 is the middle, smaller is more urgent */
	double timeout;	   /* seconds; instead of the outermost timeout layer's own */
	const exs_retry_options *retry; /* instead of the outermost retry layer's own; copied */
	unsigned series;		/* of a queue: which of its attached executors may run it; from 0 */
	exs_place place;		/* in a queue */
} exs_task;

#ifdef __cplusplus
}
#endif
#endif
