/* What a running task can ask of its surroundings. A context is valid until the task returns. NULL is one that nobody asks to stop,
   without deadline, name and worker, of the only attempt: so that a task's function can be called without an executor, too. */
#ifndef EXECUTORS_CONTEXT_H
#define EXECUTORS_CONTEXT_H

#include <executors/future.h>
#include <executors/result.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct exs_context exs_context;

/* Has the task been asked to stop, and by whom? Cheap. MT-safe. */
EXS_API bool exs_context_stop_requested(exs_context *ctx);
EXS_API exs_cause exs_context_cause(exs_context *ctx);

/* Seconds left until the earliest deadline of the chain (0 when it has passed); EXS_FOREVER if there is none. */
EXS_API double exs_context_time_left(exs_context *ctx);

/* Which start of this call it is, from 1; and of how many at most (1 without a retry, EXS_UNLIMITED). */
EXS_API unsigned exs_context_attempt(exs_context *ctx);
EXS_API unsigned exs_context_max_attempts(exs_context *ctx);

/* The name given with the task, or NULL. Lives as long as the future. */
EXS_API const char *exs_context_name(exs_context *ctx);

/* What the thread pool's setup made for the worker that runs the task (exs_thread_pool_options); NULL if it made nothing, and where
   the task runs on no worker of its pool: on an inline executor, or in the submitter's own thread (EXS_FULL_CALLER_RUNS). To be
   called by the task itself, on its thread. */
EXS_API void *exs_context_worker_state(exs_context *ctx);

/* Calls fn(arg) once when the task is asked to stop, on the asking thread (for a timeout: on the library's callback thread), at
   once on this thread if it has been. Gone when the task returns, which waits for a handler under way. Answers 0, EXS_ENOMEM or
   EXS_EINVAL (fn NULL). Any thread. */
EXS_API int exs_context_on_cancel(exs_context *ctx, exs_free_fn *fn, void *arg);

/* Takes that back; if the handler is running on another thread, waits until it has ended. Unknown pairs are ignored. */
EXS_API void exs_context_off_cancel(exs_context *ctx, exs_free_fn *fn, void *arg);

/* Sleeps for real `seconds` (in a simulation: simulated ones) or until the task is asked to stop. Answers 0, EXS_ECANCELLED, EXS_EINVAL,
   EXS_ENOMEM; in a simulation EXS_EDEADLK, if nothing is left that could end it. */
EXS_API int exs_context_sleep(exs_context *ctx, double seconds);

#ifdef __cplusplus
}
#endif
#endif
