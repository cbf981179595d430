/* The marker of a call that leaves its function to the chain: exs_with_bind and exs_with_flat_bind put theirs in its place. */
#ifndef EXECUTORS_BOUND_H
#define EXECUTORS_BOUND_H

#include <executors/executor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* As the function of a submit: "the one that is bound to this executor", which is that of the outermost bind layer below the submit.
   Run itself, where there is none, it answers an error EXS_EINVAL. */
EXS_API exs_result exs_bound(void *arg, exs_context *ctx);

/* Calls the function bound to ex with arg; as exs_submit. With options: exs_submit_with and .fn = exs_bound. */
static inline exs_future *exs_submit_bound(exs_executor *ex, void *arg)
{
	return exs_submit(ex, exs_bound, arg);
}

#ifdef __cplusplus
}
#endif
#endif
