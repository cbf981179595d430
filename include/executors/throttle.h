/* Throttle: at most so many calls below this layer at a time, the others wait. Follows more-executors' ThrottleExecutor. */
#ifndef EXECUTORS_THROTTLE_H
#define EXECUTORS_THROTTLE_H

#include <executors/executor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How many may be below from now on. *count is preset to the last answer; 0 (or EXS_NONE): none, EXS_UNLIMITED: all. A failure is
   answered (and taken over): it is logged, and the last count stays. Any thread, several at once: what the call that began
   last answers counts. */
typedef exs_error *exs_count_fn(void *ctx, unsigned *count);

typedef struct exs_throttle_options {
	exs_count_fn *count_fn; /* asked when made, at each submit and completion, and every 2 s while calls wait */
	bool block;	       /* exs_submit waits for its turn; shutdown wakes it. false: the call waits, in a queue */
	void *ctx;	       /* of count_fn */
	exs_free_fn *ctx_free; /* once, after the last use, also on failure */
} exs_throttle_options;

/* New executor around ex, which it takes over, also on failure: at most `count` calls (0 and EXS_NONE: none; EXS_UNLIMITED) have gone
   down from here and not come back, whatever has become of their futures (a function that a timeout above left behind still counts);
   the others go down in the order in which they came. A cancel takes a waiting call out at once. With count_fn, count is only
   what its first answer is preset to. options may be NULL.
   block: exs_try_submit fails with EXS_EREJECTED instead; what is started from within (a retry above; a submit in a task,
   callback or hook of the chain, or on a worker that the call itself may need) never blocks but is queued. A timeout above does
   not end a blocked submit; it does end the call when that is let go.
   NULL in gives NULL out; NULL and exs_last_error on failure: EXS_EINVAL, or what count_fn failed with. */
EXS_API exs_executor *exs_with_throttle_sized(exs_executor *ex, unsigned count, const exs_throttle_options *options,
					      size_t size);

static inline exs_executor *exs_with_throttle(exs_executor *ex, unsigned count, const exs_throttle_options *options)
{
	return exs_with_throttle_sized(ex, count, options, sizeof(*options));
}

/* Calls that wait for their turn at the outermost throttle of a chain, those of blocked submitters included. 0 if there is no such
   layer. MT-safe. */
EXS_API size_t exs_throttle_waiting(exs_executor *ex);

#ifdef __cplusplus
}
#endif
#endif
