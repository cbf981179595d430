/* Functions on futures: futures made of futures. */
#ifndef EXECUTORS_FUNCTIONS_H
#define EXECUTORS_FUNCTIONS_H

#include <executors/future.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A future that is done: with a value (destroy, if not NULL, frees it), an error (one reference is taken over; NULL is an error
   EXS_EINVAL), or cancelled. NULL when memory is short: value or error is given back then. MT-safe. */
EXS_API exs_future *exs_future_return(void *value, exs_free_fn *destroy);
EXS_API exs_future *exs_future_return_error(exs_error *error);
EXS_API exs_future *exs_future_return_cancelled(void);

/* New future for what fn makes of a value of `future`, or error_fn of an error; either may be NULL: that outcome passes as it is. A
   cancelled one always does. Takes over a reference of `future`, also on failure. If it is the last when the function runs, `in` is the
   function's, as exs_map_fn says; otherwise in has no destroy: the value stays that future's, which then lives as long as the new one.
   Runs on the thread that completes `future` (at once on this one if it is done; inside another such function or a callback, soon
   after that returns, or when it waits). Cancelling the new future cancels `future`, unless the function has begun: then its outcome
   counts. Chains of any length take one block a link and constant stack. ctx_free(ctx), if not NULL, runs once, after the last use,
   also on failure. NULL in gives a future that has failed with EXS_EINVAL; NULL when memory is short. MT-safe. */
EXS_API exs_future *exs_future_map(exs_future *future, exs_map_fn *fn, exs_map_fn *error_fn, void *ctx,
				   exs_free_fn *ctx_free);

#ifdef __cplusplus
}
#endif
#endif
