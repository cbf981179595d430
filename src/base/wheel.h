/* A hierarchical wheel of timers (a monotone radix queue): exact to the nanosecond, O(1) to add and remove. */
#ifndef EXSI_BASE_WHEEL_H
#define EXSI_BASE_WHEEL_H

#include "base/timer.h"

enum { EXSI_WHEEL_LEVELS = 11, EXSI_WHEEL_SLOTS = 64 };

/* Invariant: a timer due at `at` lies in level L = the highest base-64 digit in which at and base differ, slot = that digit
   of at; one that is due already lies in level 0, slot base mod 64. So at level L only slots beyond base's digit are occupied, and
   whatever lies in a lower level is due before whatever lies in a higher one. */
struct exsi_wheel {
	uint64_t base; /* no timer is due before */
	size_t n;
	uint64_t occupied[EXSI_WHEEL_LEVELS];			      /* bit per slot */
	struct exsi_timer slots[EXSI_WHEEL_LEVELS][EXSI_WHEEL_SLOTS]; /* sentinels of circular lists */
};

void exsi_wheel_init(struct exsi_wheel *w);
void exsi_wheel_add(struct exsi_wheel *w, struct exsi_timer *t);
void exsi_wheel_remove(struct exsi_wheel *w, struct exsi_timer *t);

/* visit(timer, arg) for every timer of this kind. O(timers). */
void exsi_wheel_each(struct exsi_wheel *w, const struct exsi_timer_kind *kind,
		     void (*visit)(struct exsi_timer *, void *), void *arg);

/* Removes the next timer due at or before `now`; NULL if there is none: then base is now. */
struct exsi_timer *exsi_wheel_pop(struct exsi_wheel *w, uint64_t now);

/* The earliest deadline, as armed; EXSI_NEVER if empty. O(timers of one slot). */
uint64_t exsi_wheel_earliest(const struct exsi_wheel *w);

/* Not later than the earliest deadline; EXSI_NEVER if empty. Exact once pop(now) with now = this has been asked. */
uint64_t exsi_wheel_next(const struct exsi_wheel *w);

#endif
