/* The clock a chain reads: the real monotonic one, or one that a test moves by hand. */
#ifndef EXECUTORS_CLOCK_H
#define EXECUTORS_CLOCK_H

#include <executors/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct exs_clock exs_clock;

/* New clock that stands at 0 until it is advanced. NULL when memory is short. Free it with exs_clock_unref; every executor
   that reads it holds a reference of its own. */
EXS_API exs_clock *exs_clock_manual_new(void);
EXS_API void exs_clock_unref(exs_clock *clock);

/* Seconds; clock NULL is the real one (CLOCK_MONOTONIC). MT-safe. */
EXS_API double exs_clock_now(exs_clock *clock);

/* Moves a manual clock on by `seconds`, stopping at each timer on the way in the order of their deadlines. What the expiry
   triggers (callbacks, cancel functions, retried attempts on an inline executor) runs in the calling thread, so it has
   happened on return; what it hands to a pool or to a poll thread goes on there. MT-safe; calls of other threads wait their turn,
   a call from within an expiry adds its seconds to the advance under way. EXS_EINVAL for NaN, negative or infinite seconds (a clock goes to 584 years), or
   if it is no manual clock. */
EXS_API int exs_clock_advance(exs_clock *clock, double seconds);

/* Waits until at least n timers are armed on a manual clock: how a test knows that a backoff has begun. Real time bounds
   the wait. Answers 0, EXS_ETIMEDOUT, EXS_EINVAL. */
EXS_API int exs_clock_wait_armed(exs_clock *clock, size_t n, double seconds);

/* Timers armed now; and seconds until the next is due, EXS_FOREVER if none is. */
EXS_API size_t exs_clock_armed(exs_clock *clock);
EXS_API double exs_clock_next(exs_clock *clock);

/* Makes the layers that are wrapped around ex from now on read `clock` (which gains a reference). Answers ex; NULL in gives NULL
   out; clock NULL is the real one. To be called before the next exs_with_*. Not MT-safe. */
EXS_API exs_executor *exs_with_clock(exs_executor *ex, exs_clock *clock);

#ifdef __cplusplus
}
#endif
#endif
