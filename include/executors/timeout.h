/* Timeout: a call that is not done in time is cancelled below this layer and fails with EXS_ETIMEDOUT. */
#ifndef EXECUTORS_TIMEOUT_H
#define EXECUTORS_TIMEOUT_H

#include <executors/executor.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum exs_timeout_mode {
	EXS_WAIT = 0,	/* a running function is asked to stop, and its own outcome stands */
	EXS_ABANDON = 1 /* the future fails now; the function runs on, its late result is destroyed */
} exs_timeout_mode;

/* New executor around ex, which it takes over, also on failure. The deadline is `seconds` after the call reaches this layer,
   time in queues included; EXS_FOREVER: only calls with a timeout of their own have one. Work that has not begun, waits in a
   backoff or in a poll set is cancelled and its future fails in both modes. ABANDON runs the delegate as a call of its own (a
   second block), and exs_executor_free waits for abandoned ones. NULL in gives NULL out; NULL and exs_last_error on failure
   (EXS_EINVAL: seconds is NaN or negative). */
EXS_API exs_executor *exs_with_timeout_mode(exs_executor *ex, double seconds, exs_timeout_mode mode);

static inline exs_executor *exs_with_timeout(exs_executor *ex, double seconds)
{
	return exs_with_timeout_mode(ex, seconds, EXS_WAIT);
}

/* Abandoned calls of the outermost timeout layer of a chain whose functions still run. 0 if there is no such layer. MT-safe. */
EXS_API size_t exs_timeout_abandoned(exs_executor *ex);

#ifdef __cplusplus
}
#endif
#endif
