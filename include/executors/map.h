/* Map: a function turns the outcome of each call into another. Follows more-executors' MapExecutor. */
#ifndef EXECUTORS_MAP_H
#define EXECUTORS_MAP_H

#include <executors/executor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* New executor around ex, which it takes over, also on failure: fn(ctx, value) when the delegate has answered a value,
   error_fn(ctx, error) when it has failed; error_fn does not see what fn answers. Either may be NULL: that outcome passes as it is.
   A cancelled call always does. They run on the thread that completes the delegate's call (thread_pool: a worker; inline: the
   submitting thread; after a timeout or a backoff: the library's callback thread), for several calls at once, also when the
   call has been asked to stop. ctx_free(ctx), if not NULL, runs once, after the last use, also on failure. NULL in gives NULL
   out; NULL and exs_last_error on failure. */
EXS_API exs_executor *exs_with_map(exs_executor *ex, exs_map_fn *fn, exs_map_fn *error_fn, void *ctx,
				   exs_free_fn *ctx_free);

#ifdef __cplusplus
}
#endif
#endif
