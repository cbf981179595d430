/* Functions on futures: futures made of futures. */
#ifndef EXECUTORS_FUNCTIONS_H
#define EXECUTORS_FUNCTIONS_H

#include <executors/future.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What holds for all of them:
   - Each takes over one reference of every future that it is given, also on failure, and drops it once that is done and read, or is
     known not to matter. The new future carries one reference, the caller's.
   - A NULL among them gives a future that has failed with EXS_EINVAL and says which. NULL is answered only when memory is short. Either
     way ctx_free(ctx), if it is not NULL, runs once, after the last use of ctx.
   - A value belongs to the future completed with it. If the reference given was the last when that is done, it moves on: to the function,
     to the new future. Otherwise the new future's value is the same pointer, and it keeps the old one alive; exs_future_take on it answers
     EXS_EBUSY. Errors keep their identity.
   - Functions run on the thread that completes the last future they need: at once on this one if that is done; inside another such
     function or a callback soon after that returns, or when it waits. No lock is held; any call of the library is legal inside. So
     chains and trees of futures may be as deep as memory allows: they take constant stack, one block each, and linear time.
   - A cancel of the new future cancels those it waits for (but exs_future_nocancel). It is done at once, but with exs_future_ensure.
   - A thread that waits for one helps with whatever that is made of, where it may (thread_pool.h, event_loop.h). All are MT-safe. */

/* A future that is done: with a value (destroy, if not NULL, frees it), an error (one reference is taken over; NULL is an error
   EXS_EINVAL), or cancelled. When memory is short value or error is given back. */
EXS_API exs_future *exs_future_return(void *value, exs_free_fn *destroy);
EXS_API exs_future *exs_future_return_error(exs_error *error);
EXS_API exs_future *exs_future_return_cancelled(void);

/* --- of one --- */

/* What fn makes of a value, or error_fn of an error; either may be NULL: that outcome passes as it is. A cancelled one always does. If the
   reference was the last, `in` is the function's, as exs_map_fn says; otherwise in has no destroy: the value stays that future's, which
   then lives as long as the new one. A cancel while the function runs comes too late for it: its outcome counts. */
EXS_API exs_future *exs_future_map(exs_future *future, exs_map_fn *fn, exs_map_fn *error_fn, void *ctx,
				   exs_free_fn *ctx_free);

/* The same, but the functions answer a future, and the outcome is that one's. error_fn is not asked about that. `future`
   is kept until then: a value that stayed its own can be read by what the function has started. A cancel goes to whichever of the two is awaited. */
EXS_API exs_future *exs_future_flat_map(exs_future *future, exs_flat_map_fn *fn, exs_flat_map_fn *error_fn, void *ctx,
					exs_free_fn *ctx_free);

/* What error_fn makes of an error; everything else passes. */
static inline exs_future *exs_future_recover(exs_future *future, exs_map_fn *error_fn, void *ctx, exs_free_fn *ctx_free)
{
	return exs_future_map(future, NULL, error_fn, ctx, ctx_free);
}

/* The outcome as it is, after fn(ctx, outcome) has seen it: a value, an error, or cancelled; outcome is borrowed. A cancel is passed on,
   and the new future is done when `future` is, and fn has run. fn NULL is an error EXS_EINVAL. */
typedef void exs_ensure_fn(void *ctx, const exs_result *outcome);
EXS_API exs_future *exs_future_ensure(exs_future *future, exs_ensure_fn *fn, void *ctx, exs_free_fn *ctx_free);

/* The outcome as it is. A cancel of the new future changes nothing: it is answered with EXS_STOP_REQUESTED, and not passed on. */
EXS_API exs_future *exs_future_nocancel(exs_future *future);

/* --- of many --- */

/* All the values, in the order of the futures. values lives as long as this does. */
typedef struct exs_values {
	size_t n;
	void **values;
} exs_values;

/* A value of exs_values *, once all have one; at once if n is 0. The first that fails, or is cancelled, is the outcome, and the others are
   cancelled (EXS_CAUSE_SIBLING). exs_future_sequence is another name for it. */
EXS_API exs_future *exs_future_zip(exs_future *const *futures, size_t n);
static inline exs_future *exs_future_sequence(exs_future *const *futures, size_t n)
{
	return exs_future_zip(futures, n);
}

/* exs_future_zip of fn(ctx, items[0]), ... fn(ctx, items[n - 1]), called now and in this order. Should one answer NULL, the others
   are cancelled, and the error is the one that fn has caused (exs_last_error), or EXS_EINVAL. */
typedef exs_future *exs_traverse_fn(void *ctx, void *item);
EXS_API exs_future *exs_future_traverse(exs_traverse_fn *fn, void *ctx, void *const *items, size_t n);

/* A function with what it knows. args and their values are borrowed until it returns. */
typedef struct exs_function {
	exs_result (*fn)(void *ctx, void *const *args, size_t n);
	void *ctx;
} exs_function;

/* What the function, which is `function`'s value (exs_function *), answers for the values of args (n of them, which may be 0). Ends as
   exs_future_zip does if one of them all has no value. */
EXS_API exs_future *exs_future_apply(exs_future *function, exs_future *const *args, size_t n);

/* The first to come with a true value; otherwise the outcome of the last to be done, whatever it is. exs_future_and: the first to come with
   a false value, an error or cancelled; otherwise the value of the last to be done. What does not matter any more is cancelled
   (EXS_CAUSE_SIBLING). n must be 1 or more. truth tells (NULL: a value is true if it is not NULL); it may run on several threads at
   once. */
typedef bool exs_truth_fn(void *ctx, const void *value);
EXS_API exs_future *exs_future_or(exs_future *const *futures, size_t n, exs_truth_fn *truth, void *ctx,
				  exs_free_fn *ctx_free);
EXS_API exs_future *exs_future_and(exs_future *const *futures, size_t n, exs_truth_fn *truth, void *ctx,
				   exs_free_fn *ctx_free);

/* The first to succeed, with any value; the others are cancelled (EXS_CAUSE_SIBLING). If none does: an error EXS_EALL with all their
   errors (exs_error_of), in the order of the futures, EXS_ECANCELLED for a cancelled one; cancelled if all are. n must be 1 or more. */
EXS_API exs_future *exs_future_any_ok(exs_future *const *futures, size_t n);

/* --- a deadline, a place --- */

/* The outcome, if it comes within `seconds` from now; otherwise the new future fails then with EXS_ETIMEDOUT, and `future` is cancelled
   (EXS_CAUSE_TIMEOUT): a task that runs is asked to stop, and left behind. 0: at once, unless it is done; EXS_FOREVER: no deadline;
   NaN and negative are an error EXS_EINVAL. The clock is that of the chain of `future`, if it is a call or made of one; otherwise
   that of this thread's simulation, or the real one, whose threads then end with the last such future. At the deadline callbacks run
   on the callback thread (manual clock: inside exs_clock_advance). Constant time, whatever `future` is made of by this function. A thread
   that can't be made is an error of the new future. */
EXS_API exs_future *exs_future_timeout(exs_future *future, double seconds);

/* The outcome, on a thread of ex, so that what follows it runs there: a call on ex carries it over. That call succeeds, whatever the
   outcome (none is retried), waits for no room in a queue, and ends after the callbacks of the new future. If it fails or is cancelled
   before it runs (ex was shut down, its time was up), so does the new future, and the outcome is dropped. A cancel goes to
   `future` or, once that is done, to the call on ex. ex is borrowed, and must not be freed before the new future is done; NULL is an error
   EXS_EINVAL. */
EXS_API exs_future *exs_future_via(exs_future *future, exs_executor *ex);

#ifdef __cplusplus
}
#endif
#endif
