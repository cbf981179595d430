/* Poll: the delegate's value becomes a descriptor; one function, on one thread, resolves all pending ones together.
   Follows more-executors' PollExecutor. */
#ifndef EXECUTORS_POLL_H
#define EXECUTORS_POLL_H

#include <executors/executor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One pending future, as the poll and cancel functions see it: valid until the function that was given it returns. NULL has
   neither value nor name, and what is yielded to it is ignored. */
typedef struct exs_descriptor exs_descriptor;

EXS_API void *exs_descriptor_value(exs_descriptor *d);	    /* the delegate's value; borrowed */
EXS_API const char *exs_descriptor_name(exs_descriptor *d); /* the task's name, or NULL */

/* Resolve a pending future, at most once; takes over what it is given. false: ignored, and the value destroyed, since the
   future has been resolved, cancelled or timed out already. Any thread, while the poll function runs. The future's callbacks
   run inside. error NULL: an EXS_EINVAL that says so. */
EXS_API bool exs_yield_result(exs_descriptor *d, void *value, exs_free_fn *destroy);
EXS_API bool exs_yield_error(exs_descriptor *d, exs_error *error);

/* Resolves any of the n pending descriptors, oldest first. *delay, the seconds until the next poll, is preset to the interval; 0:
   again at once; NaN or negative is logged and replaced by the interval. An error (taken over) fails every one of these
   that is still pending; polling goes on after the interval. Runs on the poll executor's own thread. */
typedef exs_error *exs_poll_fn(void *ctx, exs_descriptor **d, size_t n, double *delay);

/* A pending one is to be cancelled: true = cancelled, false = it stays pending (only a user's cancel can be refused). A failure,
   set in *error (taken over), is logged and counts as false. Called only for those in the pending set; for exs_future_cancel
   on the calling thread, for timeouts and shutdown on the poll thread. value is borrowed. */
typedef bool exs_cancel_fn(void *ctx, void *value, exs_error **error);

/* The same for all that are cancelled together; descriptors are cancelled unless refused. */
typedef void exs_cancel_many_fn(void *ctx, exs_descriptor **d, size_t n);
EXS_API void exs_refuse(exs_descriptor *d);

typedef struct exs_poll_options {
	double interval;       /* 5.0 s; EXS_NONE: 0 */
	bool poll_empty;       /* go on polling while nothing is pending */
	double first_interval; /* > 0: the interval is min(interval, max(first_interval, age/2)), age of the youngest */
	exs_cancel_many_fn *cancel_many; /* used instead of cancel_fn where given */
	exs_free_fn *ctx_free;		 /* once, after the last use of ctx, also on failure */
} exs_poll_options;

/* New executor around ex, which it takes over, also on failure, with a thread of its own (on which the poll function and the callbacks
   of what it yields must not wait for a call that this thread has to poll: such a wait answers EXS_EDEADLK); cancel_fn may be NULL (cancelling
   needs nothing), options may be NULL. Failed and cancelled delegates never become pending. NULL in gives NULL out; NULL and
   exs_last_error on failure. */
EXS_API exs_executor *exs_with_poll_sized(exs_executor *ex, exs_poll_fn *poll_fn, exs_cancel_fn *cancel_fn, void *ctx,
					  const exs_poll_options *options, size_t size);

static inline exs_executor *exs_with_poll(exs_executor *ex, exs_poll_fn *poll_fn, exs_cancel_fn *cancel_fn, void *ctx,
					  const exs_poll_options *options)
{
	return exs_with_poll_sized(ex, poll_fn, cancel_fn, ctx, options, sizeof(*options));
}

/* Makes every poll layer of the chain poll now; during a poll: once more after it. MT-safe, does not block. */
EXS_API void exs_poll_notify(exs_executor *ex);

#ifdef __cplusplus
}
#endif
#endif
