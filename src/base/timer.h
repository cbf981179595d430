/* Timers on a clock: O(1) arm and disarm, fired in the order of their deadlines. */
#ifndef EXSI_BASE_TIMER_H
#define EXSI_BASE_TIMER_H

#include "base/sync.h"

#include <executors/clock.h>

struct exsi_timer;

/* One per owner (an executor), so that its address says whose a timer is. */
struct exsi_timer_kind {
	/* The deadline has passed; under the lock that guards the timer, so it takes no lock, runs no user code and is over before a disarm
	   returns. true: the timer is claimed, fire will follow. */
	bool (*expire)(struct exsi_timer *timer);
	/* On the callback thread (real clock) or inside exs_clock_advance (manual clock). May run user code. */
	void (*fire)(struct exsi_timer *timer);
};

struct exsi_timer {
	struct exsi_timer *next, *prev; /* prev NULL: not armed */
	uint64_t at;			/* ns on the clock */
	const struct exsi_timer_kind *kind;
};

/* The clock, never NULL: clock itself or the real one. */
exs_clock *exsi_clock(exs_clock *clock);
exs_clock *exsi_clock_ref(exs_clock *clock);
uint64_t exsi_clock_ns(exs_clock *clock);
bool exsi_clock_is_manual(const exs_clock *clock);

/* Before the first timer of an executor is armed on the clock, and after its last: the real clock's threads live between.
   0 or an errno. unhold joins them with the last; not to be called on the callback thread. */
int exsi_clock_hold(exs_clock *clock);
void exsi_clock_unhold(exs_clock *clock);

/* Arms a timer that is not armed. park, if not NULL, runs first, under the lock that guards the timer; if it says no, nothing is armed and
   the answer is false. The timer must not be touched after the return unless something else keeps it. */
bool exsi_timer_arm(exs_clock *clock, struct exsi_timer *timer, uint64_t at, bool (*park)(struct exsi_timer *));

/* false: it was not armed, or has expired: then expire has returned, fire may still be to come. */
bool exsi_timer_disarm(exs_clock *clock, struct exsi_timer *timer);

/* visit(timer, arg) for every armed timer of this kind, under the lock that guards the timer. O(armed timers of the clock). */
void exsi_timer_each(exs_clock *clock, const struct exsi_timer_kind *kind, void (*visit)(struct exsi_timer *, void *),
		     void *arg);

/* When the earliest armed timer is due; EXSI_NEVER if there is none. */
uint64_t exsi_clock_earliest(exs_clock *clock);

/* Of a manual clock, without stopping it as an advance does: moves it on to its next timer and runs what the expiry
   triggers, if that is due by `limit`; otherwise moves it on to limit (unless that is EXSI_NEVER) and answers false. */
bool exsi_clock_step(exs_clock *clock, uint64_t limit);

/* A manual clock's turner: layers that read this clock have it do the work of their threads. NULL: none. Not MT-safe. */
struct exsi_turner;
void exsi_clock_set_turner(exs_clock *clock, struct exsi_turner *turner);
struct exsi_turner *exsi_clock_turner(exs_clock *clock);

/* Is the calling thread the real clock's callback thread? */
bool exsi_on_callback_thread(void);

#endif
