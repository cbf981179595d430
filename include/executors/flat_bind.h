/* Flat bind: an executor with a function that answers a future, which the call goes on with. Follows more-executors' flat_bind. */
#ifndef EXECUTORS_FLAT_BIND_H
#define EXECUTORS_FLAT_BIND_H

#include <executors/bound.h>

#ifdef __cplusplus
extern "C" {
#endif

/* As a task (exs_task_fn), but it answers a future, as exs_flat_map_fn (flat_map.h) does: taken over, NULL is an error. */
typedef exs_future *exs_flat_bind_fn(void *arg, exs_context *ctx);

/* New executor around ex, which it takes over, also on failure: a call submitted with exs_bound (exs_submit_bound) runs fn, and is done
   when the future that fn answers is, and as that; all others pass. The layers below see a call of fn whose value is the
   future. Cancel, timeout and shutdown: as exs_with_flat_map. NULL in gives NULL out; NULL and exs_last_error on failure
   (EXS_EINVAL: fn is NULL). */
EXS_API exs_executor *exs_with_flat_bind(exs_executor *ex, exs_flat_bind_fn *fn);

#ifdef __cplusplus
}
#endif
#endif
