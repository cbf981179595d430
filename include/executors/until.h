/* A future that is done when something holds that nobody tells of: it is looked at again and again, ever less often. */
#ifndef EXECUTORS_UNTIL_H
#define EXECUTORS_UNTIL_H

#include <executors/clock.h>
#include <executors/result.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Does it hold? true: done, with *result, which is preset to exs_ok(NULL, NULL) and may be set to any outcome (taken over). false: it is
   checked again later; a *result set nevertheless is destroyed. Runs on the callback thread (manual clock: inside
   exs_clock_advance), never twice at a time; should not block for long. */
typedef bool exs_until_fn(void *ctx, exs_result *result);

/* 0 or NULL is the default. */
typedef struct exs_until_options {
	double first;	       /* seconds to the first check, more than 0; 0.001 */
	double factor;	       /* by which each delay is longer than the one before, at least 1; 1.10 */
	double max;	       /* no delay is longer, in seconds, more than 0; EXS_UNLIMITED */
	exs_clock *clock;      /* the simulation's of this thread, or the real one; gains a reference */
	exs_free_fn *ctx_free; /* once, after the last use of ctx, also on failure */
} exs_until_options;

/* New future that is done once fn(ctx) answers true: checked at first after `first` seconds, and each time with a longer delay, from the
   end of one check to the next. A cancel ends it between two checks; one that comes during a check (EXS_STOP_REQUESTED) ends it
   after that, unless that answers true: then its outcome counts. Dropping the last reference does not end it. Callbacks run on
   the callback thread, or that of the canceller. options may be NULL. What is wrong with the arguments is an error EXS_EINVAL of
   the future; a thread that can't be made is one, too. NULL when memory is short. MT-safe, does not block, does not run fn. */
EXS_API exs_future *exs_until_sized(exs_until_fn *fn, void *ctx, const exs_until_options *options, size_t size);

static inline exs_future *exs_until(exs_until_fn *fn, void *ctx, const exs_until_options *options)
{
	return exs_until_sized(fn, ctx, options, sizeof(*options));
}

#ifdef __cplusplus
}
#endif
#endif
