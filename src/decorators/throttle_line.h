/* The line before a throttle: which calls are let go below, which wait for their turn. */
#ifndef EXSI_DECORATORS_THROTTLE_LINE_H
#define EXSI_DECORATORS_THROTTLE_LINE_H

#include "base/list.h"
#include "executor/ticker.h"

/* The slot of a call, shared. One that waits is parked in the queue; or moving, among the blocked, and its submitter sleeps on `turn`. */
struct exsi_line_slot {
	struct exsi_list node;
	union {
		exs_link link;
		atomic_uint turn;
	};
};

/* Begins the state of the layer. lock guards all that follows it, but for below and waiting.
   - A call goes down without the lock if none waits and there is room. Who is to wait counts itself in waiting, then looks for room; who
     comes back leaves below, then looks at waiting: so one of the two sees the other.
   - While the lock is free and nobody holds on to what it has just seen, nothing waits where there is room: who makes room (a call comes
     back, the limit grows) lets the next go. With a ticker something waits only while that is on. */
struct exsi_line {
	exs_executor *x;
	bool open;	       /* no limit, now or later: none waits, none is counted. Constant */
	atomic_size_t below;   /* calls that went down from here and have not come back */
	atomic_size_t waiting; /* in both lists, or about to be; grows under the lock */
	pthread_mutex_t lock;
	struct exsi_ticker ticker; /* x NULL: there is none */
	struct exsi_list queue, blocked;
	unsigned limit; /* of those below; EXS_UNLIMITED. Without a ticker constant */
};

/* Last in the constructor. ns not 0: while something waits tick(x) runs, again and again after so long. Answers x; or NULL and
   exs_last_error: x is freed. */
exs_executor *exsi_line_init(exs_executor *x, uint64_t ns, void (*tick)(exs_executor *));

/* Without a ticker, and without the lock: the call goes down. false: it is to enter. */
bool exsi_line_pass(struct exsi_line *line);

/* Without the lock: the call has come back. true: some wait, and the caller is to let them go on. */
bool exsi_line_leave(struct exsi_line *line);

/* With the lock, which it gives back. In the start hook: the call goes down, or waits; with may_block the thread does, in a submit. */
exs_step exsi_line_enter(struct exsi_line *line, exs_future *f, void *slot, bool may_block, exs_result *r);

/* With the lock, which it gives back: there may be room now. Runs user code. */
void exsi_line_go_on(struct exsi_line *line);

/* Hooks for the operations table. */
exs_step exsi_line_cancel(exs_executor *x, exs_future *f, void *slot, exs_cause cause, exs_result *r);
void exsi_line_each(exs_executor *x, exs_visit_fn *visit, void *arg);
void exsi_line_closing(exs_executor *x);
void exsi_line_stop(exs_executor *x);

#endif
