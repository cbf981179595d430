/* The executor contract: how to write an executor or a decorator of one's own. The built-in ones use no other.

   A call is its future: one block, the future and then one slot per layer. It has one token. A hook gets the token with the call and RETURNS
   where it goes next; it never calls another layer. One driver loop runs the hooks, so nothing recurses.

     exs_submit -> start(top) -> DOWN -> start(next) ... -> start(leaf) parks the call in its queue -> HELD
     a worker: exs_call_claim, exs_call_run, exs_call_resume(UP) -> done(next) -> UP ... -> done(top) -> UP -> future is done

   Parking. A layer that keeps a call (queue, backoff, limit) writes what its cancel hook reads into the slot, then, under the lock
   of the structure it puts the call into, exs_call_park; false means a stop was asked for: do not keep it. Who wants the
   call back finds it in the structure and, under the same lock, exs_call_claim; the winner owns the call. The cancel hook runs
   with the token claimed; it takes the lock, removes the call if it is still linked, and answers UP. */
#ifndef EXECUTORS_LAYER_H
#define EXECUTORS_LAYER_H

#include <executors/executor.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum exs_step {
	EXS_UP,	  /* to the layer that started this one, with *result */
	EXS_DOWN, /* to the delegate */
	EXS_HELD  /* the call is parked or handed over: it may be gone, do not touch it */
} exs_step;

/* Options of a task that a layer sees to; the outermost such layer does. */
typedef enum exs_option { EXS_OPTION_TIMEOUT = 1, EXS_OPTION_RETRY = 2 } exs_option;

typedef void exs_visit_fn(exs_future *call, void *arg);

/* Static and constant. start, done and cancel are required (there are pass-throughs below), the others may be NULL. No hook is
   called under a lock of the library; each may be called by many threads at once, for different calls. */
typedef struct exs_layer_ops {
	size_t size;	  /* sizeof(exs_layer_ops) */
	const char *type; /* "retry", as exs_describe prints it */
	unsigned options; /* of exs_option */

	/* A call arrives from above. UP: *result is the outcome. The slot is uninitialised. */
	exs_step (*start)(exs_executor *ex, exs_future *call, void *slot, exs_result *result);

	/* The delegate's outcome arrives in *result, owned by the hook until it returns UP. DOWN: run the delegate again
	   (clear *result first). */
	exs_step (*done)(exs_executor *ex, exs_future *call, void *slot, exs_result *result);

	/* A stop was asked for while the call was parked here, and the token claimed. Remove the call and answer UP (*result is
	   preset to cancelled), or keep it: exs_call_park_again and HELD. May run user code. */
	exs_step (*cancel)(exs_executor *ex, exs_future *call, void *slot, exs_cause cause, exs_result *result);

	/* As cancel, for n calls claimed here together; the hook sees to each itself, with exs_call_resume. */
	void (*cancel_many)(exs_executor *ex, exs_future **calls, size_t n, exs_cause cause);

	/* Calls visit(call, arg) for each call parked or running here, under the layer's lock. What shutdown finds through this
	   hook it can cancel and, when time is up, fail. */
	void (*each)(exs_executor *ex, exs_visit_fn *visit, void *arg);

	/* Shutdown begins: wake submitters that block. May be called again. */
	void (*closing)(exs_executor *ex);

	/* No call is left. End threads, disarm timers, free what the state owns (the state itself is the library's). Called once,
	   also when a constructor gives up with exs_executor_free before the first submit. */
	void (*stop)(exs_executor *ex);

	/* Writes what stands between the parentheses of exs_describe; NULL: no parentheses. Answers the length as snprintf. */
	int (*describe)(exs_executor *ex, char *buf, size_t size);

	/* The deadline of this call here, in seconds of the chain's clock; EXS_FOREVER: none. */
	double (*deadline)(exs_executor *ex, exs_future *call, void *slot);

	/* Calls visit(future, arg), under the layer's lock, for the future that does the work of this call, if there is one (a call of
	   its own as in abandon, an adopted future): so that a worker waiting for the call can run it. Called when the call was
	   parked here a moment ago; by now it may have left, or have been started again: what the hook reads is to be written
	   under that lock. */
	void (*child)(exs_executor *ex, exs_future *call, void *slot, exs_visit_fn *visit, void *arg);
} exs_layer_ops;

/* Pass-throughs for hooks a layer has no use for. */
EXS_API exs_step exs_pass_start(exs_executor *ex, exs_future *call, void *slot, exs_result *result); /* DOWN */
EXS_API exs_step exs_pass_done(exs_executor *ex, exs_future *call, void *slot, exs_result *result);  /* UP */
EXS_API exs_step exs_pass_cancel(exs_executor *ex, exs_future *call, void *slot, exs_cause cause,
				 exs_result *result); /* UP */

/* New executor around delegate (NULL: a leaf), which it takes over, also on failure; with state_size bytes of zeroed state and
   slot_size bytes in every call (aligned to 8). NULL and exs_last_error on failure. The result is not to be submitted to before
   its state is ready. */
EXS_API exs_executor *exs_layer_new(const exs_layer_ops *ops, exs_executor *delegate, size_t state_size,
				    size_t slot_size);

EXS_API void *exs_layer_state(exs_executor *ex);	    /* NULL for NULL */
EXS_API exs_executor *exs_layer_delegate(exs_executor *ex); /* NULL for a leaf, and for NULL */

/* For a layer that may start its delegate up to `max` times for one call (EXS_UNLIMITED): attempts are counted and shown by
   exs_future_explain. To be called before the layer is wrapped or used; exs_call_restarting before each further start. ex NULL is allowed. */
EXS_API void exs_layer_set_attempts(exs_executor *ex, unsigned max);
EXS_API void exs_call_restarting(exs_future *call);

/* Between a call, its context and its slots. */
EXS_API exs_context *exs_call_context(exs_future *call);
EXS_API void *exs_call_slot(exs_future *call, exs_executor *ex);
EXS_API exs_future *exs_slot_call(void *slot, exs_executor *ex);
EXS_API void *exs_call_arg(exs_future *call);	     /* the task's argument; valid while the call is not done */
EXS_API const char *exs_call_name(exs_future *call); /* or NULL */
EXS_API int exs_call_priority(exs_future *call);
EXS_API unsigned exs_call_series(exs_future *call);
EXS_API exs_place exs_call_place(exs_future *call);

/* How a call came to a layer's start: only the thread inside the submit may block or be rejected. */
typedef enum exs_entry {
	EXS_ENTRY_RESTART = 0, /* started again, or let go, from within */
	EXS_ENTRY_SUBMIT = 1,  /* this thread is in its exs_submit, and may wait */
	EXS_ENTRY_TRY = 2      /* this thread is in its exs_try_submit */
} exs_entry;
EXS_API exs_entry exs_call_entry(exs_future *call);

/* Parks the call at ex. false: a stop was asked for, or the chain is closing: the caller keeps the token. */
EXS_API bool exs_call_park(exs_future *call, exs_executor *ex);
/* For a cancel hook that keeps the call, under the same lock. false: the chain is closing, the call can't be kept: answer UP. */
EXS_API bool exs_call_park_again(exs_future *call, exs_executor *ex);
EXS_API bool exs_call_claim(exs_future *call); /* true: the caller has the token now */

/* Has the layer ex been asked to stop working on this call (no further attempt)? For the holder of the token. */
EXS_API bool exs_call_stopped(exs_future *call, exs_executor *ex);

/* Runs the user's function on this thread (leaves only; with the token). */
EXS_API void exs_call_run(exs_future *call, exs_result *result);

/* Continues a call whose token the caller claimed, from layer ex, with step UP or DOWN. Returns when the call is done or held
   elsewhere; may run user code. No lock may be held. */
EXS_API void exs_call_resume(exs_future *call, exs_executor *ex, exs_step step, exs_result *result);

/* As resume, but left to the outermost driver of this thread if there is one: for letting the next of many go from within a
   hook or a callback, in constant stack. link, and with UP *result too, lie in the call's slot; with DOWN result is NULL. */
typedef struct exs_link {
	struct exs_link *next;
	exs_future *call;
	exs_executor *ex;
	exs_result *result;
} exs_link;
EXS_API void exs_call_release(exs_future *call, exs_executor *ex, exs_step step, exs_result *result, exs_link *link);

#ifdef __cplusplus
}
#endif
#endif
