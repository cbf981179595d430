/* The time of futures that have timers of their own, and no executor for them. */
#ifndef EXSI_EXECUTOR_TIME_H
#define EXSI_EXECUTOR_TIME_H

#include "executor/executor.h"

/* A clock whose threads live as long as somebody has it. By value: the future that it lies in may go first. */
struct exsi_time {
	exs_clock *clock;     /* a reference; NULL: no time */
	exs_executor *keeper; /* of the real clock's threads; otherwise NULL */
};

/* The clock that f's chain reads, or of what f is made of, with a reference; where there is none, that of this thread's simulation, or the
   real one. */
exs_clock *exsi_clock_of(exs_future *f);

/* The same without a future. */
exs_clock *exsi_clock_here(void);

/* Takes over a reference of the clock, also on failure. false: the threads could not be made, exs_last_error says why. */
bool exsi_time_begin(struct exsi_time *time, exs_clock *clock);

/* Its timer is not armed any more, and was not fired. The reference of the clock is still to be dropped, with exs_clock_unref. */
void exsi_time_end(const struct exsi_time *time);

/* A future that has failed for the reason of exs_last_error; NULL if that is a lack of memory, or this is. */
exs_future *exsi_failed_last(void);

/* Instead of end, where the timer's fire completes the future: around that, for callbacks run there that may need the threads. Until fired
   has ended the time, exs_quiesce waits. */
void exsi_time_fire(const struct exsi_time *time);
void exsi_time_fired(const struct exsi_time *time);

#endif
