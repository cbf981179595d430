/* Futures: a result that will come, and what can be done with it. */
#ifndef EXECUTORS_FUTURE_H
#define EXECUTORS_FUTURE_H

#include <executors/result.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum exs_state {
	EXS_STATE_PENDING = 0, /* not begun, or between two attempts, or waiting for something elsewhere */
	EXS_STATE_RUNNING = 1, /* the user's function runs */
	EXS_STATE_VALUE = 2,   /* done */
	EXS_STATE_ERROR = 3,
	EXS_STATE_CANCELLED = 4
} exs_state;

typedef enum exs_answer {
	EXS_CANCELLED = 0,	/* the future is cancelled (or was already) */
	EXS_STOP_REQUESTED = 1, /* something runs: it was asked to stop, and no further attempt will start */
	EXS_TOO_LATE = 2	/* done with a value or an error */
} exs_answer;

/* Who asked a call to stop. */
typedef enum exs_cause {
	EXS_CAUSE_NONE = 0,
	EXS_CAUSE_USER = 1,
	EXS_CAUSE_TIMEOUT = 2,
	EXS_CAUSE_SHUTDOWN = 3,
	EXS_CAUSE_SIBLING = 4
} exs_cause;

/* References. Every future that a function returns carries one, the caller's. Dropping the last user's reference of a
   future that is not done cancels nothing. unref may run the value's destructor; NULL is allowed. MT-safe. */
EXS_API exs_future *exs_future_ref(exs_future *future);
EXS_API void exs_future_unref(exs_future *future);

/* MT-safe, do not block. NULL counts as done with an error (EXS_EINVAL). The cause is EXS_CAUSE_NONE as long as nobody asked the call to stop. */
EXS_API exs_state exs_future_state(exs_future *future);
EXS_API bool exs_future_is_done(exs_future *future);
EXS_API exs_cause exs_future_cause(exs_future *future);

/* Asks the call to stop, wherever it is: in a queue, in a backoff, in a poll set, running. MT-safe. May run, on this thread:
   on_cancel handlers, a poll executor's cancel function, done callbacks, destructors. Library locks: none held. */
EXS_API exs_answer exs_future_cancel(exs_future *future);

/* Cancels all n at once, so that a poll executor's cancel_many gets those that it holds in one call. Answers how many are
   cancelled on return. NULL members are skipped. Otherwise as exs_future_cancel. */
EXS_API size_t exs_future_cancel_all(exs_future *const *futures, size_t n);

/* Waits up to `seconds` (EXS_FOREVER: without limit; 0: does not block). Answers 0 when done, EXS_ETIMEDOUT (the future stays
   as it is), EXS_EINVAL, EXS_EFORK, or EXS_EDEADLK (see thread_pool.h, event_loop.h, poll.h, sim.h). On a worker of the pool that is to run the call it
   runs it itself if it has not begun. MT-safe. */
EXS_API int exs_future_wait(exs_future *future, double seconds);

/* Wait on n futures (n may be 0, which is done at once) up to `seconds`. *first, if not NULL, gets the index that decided:
   of a done one (any), of a failed one (first_error); n if there is none. first_error ends when one has failed, or all are
   done; a cancelled one is no failure. Which of the others are done: ask each. Answers 0, EXS_ETIMEDOUT, EXS_EINVAL, EXS_ENOMEM,
   EXS_EFORK, EXS_EDEADLK. MT-safe. */
EXS_API int exs_wait_any(exs_future *const *futures, size_t n, double seconds, size_t *first);
EXS_API int exs_wait_all(exs_future *const *futures, size_t n, double seconds);
EXS_API int exs_wait_first_error(exs_future *const *futures, size_t n, double seconds, size_t *first);

/* What the future was completed with, borrowed: it lives as long as the future and is not to be cleared. Before completion
   it is an error EXS_EBUSY. MT-safe, does not block. */
EXS_API exs_result exs_future_result(exs_future *future);
EXS_API void *exs_future_value(exs_future *future);	 /* NULL unless done with a value */
EXS_API exs_error *exs_future_error(exs_future *future); /* borrowed; NULL unless done with an error */

/* Moves the result out to the caller, who owns it then; the future keeps an empty value of the same kind (an error stays
   shared). Answers 0, EXS_EBUSY (not done, or another reference exists), EXS_EINVAL. The future still needs its unref. */
EXS_API int exs_future_take(exs_future *future, exs_result *result);

typedef void exs_done_fn(exs_future *future, void *ctx);

/* Runs fn(future, ctx) once when the future is done: on the completing thread after waiters are woken, in the order of
   registration; at once on this thread if it is done already. Never on the timer's thread, never under a lock; any call of
   the library is legal inside. ctx_free(ctx), if not NULL, follows fn. The future is borrowed inside fn. Answers 0 or
   EXS_ENOMEM / EXS_EINVAL, when fn will not run and ctx_free has. MT-safe. */
EXS_API int exs_future_on_done(exs_future *future, exs_done_fn *fn, void *ctx, exs_free_fn *ctx_free);

/* Writes a sentence such as "publish 20: attempt 3 of 3: HTTP 503 from POST http://..." into buf (size bytes, always
   terminated if size > 0; NULL: nothing is written). Answers the length it needs, without the terminator. MT-safe, in any state. */
EXS_API size_t exs_future_explain(exs_future *future, char *buf, size_t size);

/* --- promises: a future that the holder completes --- */

typedef struct exs_promise exs_promise;

/* New promise, in one block with its future, which *future gets (the caller's reference). NULL when memory is short. */
EXS_API exs_promise *exs_promise_new(exs_future **future);

/* Completes the future; takes over the result, also when refused (its value is then destroyed); one that none of exs_ok, exs_fail
   and exs_cancelled makes becomes an error EXS_EINVAL. Answers 0, EXS_EALREADY or EXS_EINVAL. Runs callbacks on this thread. MT-safe. */
EXS_API int exs_promise_complete(exs_promise *promise, exs_result result);

/* Marks the work as running: a cancel is from now on a request that the holder may see. false: cancelled already. */
EXS_API bool exs_promise_start(exs_promise *promise);
EXS_API bool exs_promise_stop_requested(exs_promise *promise);

/* Gives the promise up; a future not yet done fails with EXS_EBROKEN. NULL is allowed. */
EXS_API void exs_promise_free(exs_promise *promise);

#ifdef __cplusplus
}
#endif
#endif
