/* Retry: runs the delegate again when it has failed, after a backoff. Follows more-executors' RetryExecutor. */
#ifndef EXECUTORS_RETRY_H
#define EXECUTORS_RETRY_H

#include <executors/executor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Its options, exs_retry_options, are in task.h, since a task can bring its own. */

/* New executor around ex, which it takes over, also on failure; options NULL: the defaults. NULL in gives NULL out; NULL and
   exs_last_error on failure. In exs_task.retry, codes and ctx stay the caller's until the future is done and ctx_free must
   be NULL. */
EXS_API exs_executor *exs_with_retry_sized(exs_executor *ex, const exs_retry_options *options, size_t size);

static inline exs_executor *exs_with_retry(exs_executor *ex, const exs_retry_options *options)
{
	return exs_with_retry_sized(ex, options, sizeof(*options));
}

#ifdef __cplusplus
}
#endif
#endif
