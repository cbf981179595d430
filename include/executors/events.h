/* Events: what becomes of each call, told to one function of the process. */
#ifndef EXECUTORS_EVENTS_H
#define EXECUTORS_EVENTS_H

#include <executors/executor.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum exs_event_kind {
	EXS_EVENT_SUBMITTED = 0, /* a call was submitted, perhaps to be refused */
	EXS_EVENT_STARTED = 1,	 /* the task's function is about to run */
	EXS_EVENT_ATTEMPT = 2,	 /* the task's function has returned */
	EXS_EVENT_POLLED = 3,	 /* a poll function has returned */
	EXS_EVENT_COMPLETED = 4	 /* the future is about to be done */
} exs_event_kind;

/* All is borrowed, for the time of the call. Times are on the clock of the executor. */
typedef struct exs_event {
	exs_event_kind kind;
	exs_executor *executor; /* that the call was submitted to; POLLED: the poll executor */
	exs_future *future;	/* POLLED: NULL */
	const char *name;	/* the task's, or NULL */
	unsigned attempt;	/* from 1: the attempt that starts or has ended, the last one; 0: none */
	exs_kind outcome;	/* of ATTEMPT, POLLED (an error, or none: EXS_KIND_VALUE), COMPLETED */
	double queue_seconds; /* from the submit to this start; ATTEMPT, COMPLETED: to the first start, or to the end if there was none */
	double run_seconds; /* in this attempt's function, in the poll function; COMPLETED: in the functions of all attempts that have ended */
	size_t n; /* POLLED: descriptors */
} exs_event;

typedef void exs_event_fn(void *ctx, const exs_event *event);

/* Sets (fn NULL: removes) the process's function for events of calls that are submitted from now on; by default there is none, and then it
   costs nothing. It runs on the thread where the event happens, under no lock of the library, and holds up that call: it should be
   short. It may call anything; what it submits has events, too. COMPLETED comes before the future is done and its callbacks run (of
   one that a shutdown's time-out failed: when its task has ended). The calls a batch is made of start together: of them only those that
   exs_batch_run runs are STARTED. MT-safe against events: one under way may still reach the old function after the return. */
EXS_API void exs_set_events(exs_event_fn *fn, void *ctx);

#ifdef __cplusplus
}
#endif
#endif
