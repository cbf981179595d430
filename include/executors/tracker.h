/* A changing set of futures, and waits for it: without taking part in their outcome. Follows AsynQueue's DeferredTracker. */
#ifndef EXECUTORS_TRACKER_H
#define EXECUTORS_TRACKER_H

#include <executors/future.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct exs_tracker exs_tracker;

/* New tracker, of no future. NULL and exs_last_error when memory is short. */
EXS_API exs_tracker *exs_tracker_new(void);

/* Lets go of all futures (nothing is cancelled) and of all waiters, as exs_tracker_release, and frees the tracker. Waits may be under way,
   other calls may not. NULL is allowed. */
EXS_API void exs_tracker_free(exs_tracker *tracker);

/* Tracks a future until it is done, in constant time. Takes over one reference, also on failure; it is dropped as soon as the future is
   done, at once if it is already. One that is added twice counts twice. Answers 0, EXS_ENOMEM or EXS_EINVAL. MT-safe. */
EXS_API int exs_tracker_add(exs_tracker *tracker, exs_future *future);

/* Futures tracked: added, and not done. MT-safe. */
EXS_API size_t exs_tracker_count(exs_tracker *tracker);

/* Wait up to `seconds` (as exs_future_wait) until
   - all: none is tracked;
   - any: one is done of those tracked now or added later (which counts if it was done already); at once if none is tracked;
   - fewer: fewer than n are tracked, n 1 or more.
   Those added meanwhile count. Answer 0, EXS_ETIMEDOUT, EXS_ECANCELLED (released), EXS_EINVAL, EXS_ENOMEM, EXS_EFORK, EXS_EDEADLK. On
   a worker of the pool that is to run what is tracked, it is run by the wait if it has not begun. MT-safe. */
EXS_API int exs_tracker_wait_all(exs_tracker *tracker, double seconds);
EXS_API int exs_tracker_wait_any(exs_tracker *tracker, double seconds);
EXS_API int exs_tracker_wait_fewer(exs_tracker *tracker, size_t n, double seconds);

/* The same as futures, done with the value NULL; cancelled when they are released. A cancel ends the wait alone: it does not go on to what
   is tracked. For a limit of time: exs_future_timeout. They may outlive the tracker. What is wrong is an error EXS_EINVAL of the
   future; NULL when memory is short. MT-safe. */
EXS_API exs_future *exs_tracker_all(exs_tracker *tracker);
EXS_API exs_future *exs_tracker_any(exs_tracker *tracker);
EXS_API exs_future *exs_tracker_fewer(exs_tracker *tracker, size_t n);

/* Ends all waits under way: they answer EXS_ECANCELLED, their futures are cancelled (EXS_CAUSE_NONE). Tracking goes on. Answers how many
   there were. May run their callbacks. MT-safe. */
EXS_API size_t exs_tracker_release(exs_tracker *tracker);

#ifdef __cplusplus
}
#endif
#endif
