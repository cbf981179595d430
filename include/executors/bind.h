/* Bind: an executor with a function, to be called with an argument. Follows more-executors' bind. */
#ifndef EXECUTORS_BIND_H
#define EXECUTORS_BIND_H

#include <executors/bound.h>

#ifdef __cplusplus
extern "C" {
#endif

/* New executor around ex, which it takes over, also on failure: calls submitted with exs_bound (exs_submit_bound) run fn, as if it had
   been submitted; all others pass. Layers may be wrapped around it and below it; of several binds the outermost counts. NULL in
   gives NULL out; NULL and exs_last_error on failure (EXS_EINVAL: fn is NULL). */
EXS_API exs_executor *exs_with_bind(exs_executor *ex, exs_task_fn *fn);

#ifdef __cplusplus
}
#endif
#endif
