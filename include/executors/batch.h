/* Batch: many submits are gathered and started by one function, each with a future of its own: what a bulk request of a service
   needs. The counterpart of poll, and usually under it: poll(batch(thread_pool)). */
#ifndef EXECUTORS_BATCH_H
#define EXECUTORS_BATCH_H

#include <executors/executor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One gathered call, as start_many sees it: valid until start_many returns; its argument and name until it has its outcome. NULL has
   neither argument nor name, is not to stop, and what is yielded to it is ignored. */
typedef struct exs_batch_item exs_batch_item;

EXS_API void *exs_batch_arg(exs_batch_item *item);	  /* the task's argument */
EXS_API const char *exs_batch_name(exs_batch_item *item); /* the task's name, or NULL */
EXS_API bool
exs_batch_stop_requested(exs_batch_item *item); /* has this call been cancelled? what is yielded all the same stands */

/* Give a call its outcome, once; take over what they are given (error NULL: an EXS_EINVAL that says so). false: ignored, and the
   value destroyed, since it has one already, or another start_many has it (a timeout below left this one behind, and a retry
   began again). Any thread, until start_many returns. The future's callbacks run inside, or on this thread a little later (over exs_inline). */
EXS_API bool exs_batch_yield_result(exs_batch_item *item, void *value, exs_free_fn *destroy);
EXS_API bool exs_batch_yield_error(exs_batch_item *item, exs_error *error);

/* Runs the call's own function on this thread, and yields what it answers; one that has been asked to stop is not begun but
   cancelled. false: it had an outcome already, or is run by another thread. Must have returned before start_many returns. */
EXS_API bool exs_batch_run(exs_batch_item *item);

/* Gives each of the n items (n > 0, in the order of their submits) an outcome. Those left without one when it returns fail with the
   error it answers (taken over), that very one; if that is NULL, with an EXS_EINVAL that says so, or they are cancelled if they
   were asked to stop. context is the batch's (deadline, attempt, on_cancel): it is asked to stop when all of its items are. Runs where
   the delegate runs its tasks; several at once, for different batches. */
typedef exs_error *exs_start_many_fn(void *ctx, exs_batch_item **items, size_t n, exs_context *context);

typedef struct exs_batch_options {
	unsigned max; /* calls that make a batch; 100; EXS_UNLIMITED */
	double seconds; /* on the chain's clock, from the first call of a batch, after which it is started with fewer; 0.01 s;
				  EXS_NONE: each submit starts what there is; EXS_UNLIMITED */
	exs_free_fn *ctx_free; /* once, after the last use of ctx, also on failure */
} exs_batch_options;

/* New executor around ex, which it takes over, also on failure. A call waits here until there are `max`, or `seconds` have passed, or
   somebody flushes; then one call of start_many is submitted to ex (two blocks per batch; without memory for them its calls fail with
   EXS_ENOMEM). A submit that makes a batch full carries it: it may block, run the batch, or have it rejected, as ex does.
   - Whatever ex makes of the batch (it rejects it, cancels it, a timeout below ends it) its calls have as their own outcome, the
     errors themselves. A retry above starts one call again; a retry below the batch, with what has no outcome yet.
   - A cancel takes out a call whose batch does not run; of one that runs it is a request. With all of its calls cancelled or asked
     to stop the batch is cancelled too.
   - Shutdown: EXS_DRAIN starts what was gathered at once, EXS_CANCEL_QUEUED cancels it.
   - Layers below see the batch, not its calls: a priority is lost there, a timeout or retry in the options of a task needs its layer
     above (EXS_EINVAL). A timeout in mode ABANDON below waits for a function that exs_batch_run runs.
   options may be NULL. NULL in gives NULL out; NULL and exs_last_error on failure. */
EXS_API exs_executor *exs_with_batch_sized(exs_executor *ex, exs_start_many_fn *start_many, void *ctx,
					   const exs_batch_options *options, size_t size);

static inline exs_executor *exs_with_batch(exs_executor *ex, exs_start_many_fn *start_many, void *ctx,
					   const exs_batch_options *options)
{
	return exs_with_batch_sized(ex, start_many, ctx, options, sizeof(*options));
}

/* Starts at once what the batch layers of the chain have gathered. MT-safe; may run it. */
EXS_API void exs_batch_flush(exs_executor *ex);

#ifdef __cplusplus
}
#endif
#endif
