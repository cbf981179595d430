/* Flat map: a function answers a future for the outcome of each call, and the call goes on with that. Follows more-executors'
   FlatMapExecutor. */
#ifndef EXECUTORS_FLAT_MAP_H
#define EXECUTORS_FLAT_MAP_H

#include <executors/executor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* New executor around ex, which it takes over, also on failure: fn(ctx, value) when the delegate has answered a value,
   error_fn(ctx, error) when it has failed; the call is then done when the future that they answer is, with its value, its very
   error, or cancelled. error_fn does not see how that future ends. Either may be NULL: that outcome passes as it is. A cancelled
   call always does. The future should have no other reference, and no callback, when it gets done: a value with a destructor can't be
   moved out of it otherwise, and the call fails with EXS_EBUSY. A call that has been asked to stop starts nothing further: a value is destroyed, and the call cancelled; an
   error stands.
   A cancel, a timeout or a shutdown of a call that waits for its future is passed on to that future, whose outcome then counts; if
   it can only be asked to stop, the call stays until it is done. For EXS_CANCEL_QUEUED such a call counts as queued.
   The functions run where those of exs_with_map do. Chains of calls that wait for each other may be as long as memory allows.
   ctx_free(ctx), if not NULL, runs once, after the last use, also on failure. NULL in gives NULL out; NULL and exs_last_error
   on failure. */
EXS_API exs_executor *exs_with_flat_map(exs_executor *ex, exs_flat_map_fn *fn, exs_flat_map_fn *error_fn, void *ctx,
					exs_free_fn *ctx_free);

#ifdef __cplusplus
}
#endif
#endif
