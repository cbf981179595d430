/* What is watched of a call from its submit to its end: for metrics, for events. */
#ifndef EXSI_EXECUTOR_WATCH_H
#define EXSI_EXECUTOR_WATCH_H

#include "executor/metrics.h"

/* In the block of a call that was submitted while exsi_watches said so. With the token, but for started and ran. */
struct exsi_watch {
	unsigned on; /* of EXSI_WATCH_: fixed, so that what counts up also counts down */
	bool restarting;
	struct exsi_series *top; /* of the executor it was submitted to and its task; or NULL */
	uint64_t submitted;	 /* on the clock of that, as the next two */
	/* Of a call that is no child; its children write here, too. */
	_Atomic(uint64_t) started; /* when its function was first; EXSI_NEVER: not yet */
	_Atomic(uint64_t) ran;	   /* how long its functions, all together, ran */
	uint64_t back;		   /* when the delegate's outcome came to a layer that may start it again */
	uint64_t reached[];	   /* by depth: when the call came to the layer, on its clock */
};

/* Bytes of it for calls with x as top. */
static inline size_t exsi_watch_size(const exs_executor *x)
{
	return sizeof(struct exsi_watch) + (x->depth + 1) * sizeof(uint64_t);
}

/* f has its options; the watch is to be at this offset in the block. What is on by now is watched. */
void exsi_watch_init(exs_future *f, size_t at);

/* Of a call that no executor gets to see as a child: it was submitted, and may be refused yet. */
void exsi_watch_submitted(exs_future *f, struct exsi_watch *w);

/* The driver: x is about to be started, by the layer `from` (NULL: by the submit); x lets the call go up; the outcome is about to go to x's
   hook done; the call has left its top. */
void exsi_watch_starts(exs_future *f, struct exsi_watch *w, exs_executor *x, exs_executor *from);
void exsi_watch_leaves(exs_future *f, struct exsi_watch *w, exs_executor *x, const exs_result *r);
void exsi_watch_returns(struct exsi_watch *w, const exs_executor *x);
void exsi_watch_ends(exs_future *f, struct exsi_watch *w, const exs_result *r);

/* Around its function. begins answers the time. */
uint64_t exsi_watch_run_begins(exs_future *f, struct exsi_watch *w);
void exsi_watch_run_ends(exs_future *f, struct exsi_watch *w, uint64_t begun, const exs_result *r);

/* Around a poll function of x. */
uint64_t exsi_watch_poll_begins(exs_executor *x);
void exsi_watch_poll_ends(exs_executor *x, uint64_t begun, size_t n, bool failed);

#endif
