/* Timers of calls: one in each slot of a layer, on its clock. */
#ifndef EXSI_EXECUTOR_CALL_TIMER_H
#define EXSI_EXECUTOR_CALL_TIMER_H

#include "executor/executor.h"

/* Hooks of the layer. Static and constant. */
struct exsi_call_timers {
	size_t offset; /* of the struct exsi_timer in the slot; */
	bool shared;   /* or in what the layer shares: the timer is armed only while the call is parked there */
	/* Under the timer's lock, in one with arming: parks the call. NULL: exs_call_park. */
	bool (*park)(exs_executor *x, exs_future *call, void *slot);
	/* The time has come, as in struct exsi_timer_kind. NULL: exs_call_claim. */
	bool (*expire)(exs_executor *x, exs_future *call, void *slot);
	void (*fire)(exs_executor *x, exs_future *call, void *slot);
};

/* In the constructor: x has such timers. To be followed by exsi_hold_clock. */
void exsi_call_timers_init(exs_executor *x, const struct exsi_call_timers *timers);

/* A timer of x's, not armed. */
static inline struct exsi_timer exsi_call_timer(const exs_executor *x, uint64_t at)
{
	return (struct exsi_timer){.at = at, .kind = &x->timer_kind};
}

/* Arms the timer in the call's slot and parks the call. false: neither. */
bool exsi_call_park_until(exs_future *call, exs_executor *x, uint64_t at);

/* For the cancel hook of a layer whose timer is in what it shares: the call is no longer to be waited for. */
void exsi_call_timer_disarm(exs_future *call, exs_executor *x);

/* Hooks for the operations table. each: for layers whose calls are parked while their timer is armed. deadline: the timer's. */
void exsi_call_timer_each(exs_executor *x, exs_visit_fn *visit, void *arg);
double exsi_call_timer_deadline(exs_executor *x, exs_future *call, void *slot);

#endif
