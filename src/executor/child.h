/* Child calls: calls of their own that do the work of others, their parents, on another chain. */
#ifndef EXSI_EXECUTOR_CHILD_H
#define EXSI_EXECUTOR_CHILD_H

#include "executor/executor.h"

struct exsi_relay;

/* Hooks of who makes the children; each may be NULL. */
struct exsi_relay_ops {
	/* With the token: exsi_child_park, with whatever must be in place as soon as the parent is parked. NULL: nothing must. */
	bool (*park)(struct exsi_relay *relay, exs_future *parent);
	/* Under the lock: the parent leaves before its child has ended; *r is to be its outcome. */
	void (*left)(struct exsi_relay *relay, exs_future *parent, exs_result *r);
	/* Without the lock, with the token: the parent is about to leave, other than by exsi_child_leave. */
	void (*leaving)(struct exsi_relay *relay, exs_future *parent);
	/* Under the lock: are the children to be recalled from now on? With this hook they can be. */
	bool (*closed)(struct exsi_relay *relay);
	/* On a thread that runs the function of a child: it is about to block, or has blocked. */
	void (*lend)(struct exsi_relay *relay, bool begins);
	/* On such a thread, which waits for f: if f could be done by a child of relay, and no function of it has begun, makes it one.
	   Any future. */
	bool (*hurry)(struct exsi_relay *relay, exs_future *f);
};

/* Begins the state of a relay: the executor that is the top of the children. */
struct exsi_relay {
	const struct exsi_relay_ops *ops;
	exs_executor *relay; /* itself */
	exs_executor *x;     /* the layer where the parents wait */
	pthread_mutex_t own,
		*lock; /* lock: own, unless relays share one; guards the following, and each struct exsi_parent */
	struct exsi_parent *parents; /* parked, or on their way: doubly linked */
	size_t left_behind;	     /* children that have not ended and whose parents have left */
};

/* Begins the slot of a parent at x; the lock guards all but arg, told and `gone`. Who has news for the parent notes it first (delivered, gone), then claims; who parks the
   parent parks first, then looks for news. */
struct exsi_parent {
	struct exsi_shared_arg arg;
	struct exsi_parent *next, **pprev; /* pprev NULL: not in the list */
	exs_future *child;		   /* one reference; NULL: none under way */
	exs_result outcome;		   /* the child's, if delivered */
	exs_link link;			   /* for going up with it */
	bool delivered;
	bool recalled;	  /* the child is to come back if it has not begun; once delivered: it has come back */
	atomic_bool gone; /* it waits no longer: for who then claims it */
	/* The child was told of a stop that was asked of the parent before it could be parked. Not beside the first two: compilers load
	   those as one word, and this is written without the lock. */
	bool told;
};

/* New relay around delegate, which it takes over, also on failure; its state takes state_size bytes, and x is to be set. */
struct exsi_relay *exsi_relay_new(exs_executor *delegate, const struct exsi_relay_ops *ops, size_t state_size);

/* In a start hook of x: makes a child for f, parks f, and then starts the child: one that is inline runs in here, and f must be
   within reach of a cancel and of the time. f may be gone on return. false: no memory, and nothing was done. */
bool exsi_child_start(struct exsi_relay *relay, exs_future *f, exs_entry entry);

/* Parks the parent, unless a stop was asked of it; or, of one whose child was told of that, unless another insists. */
bool exsi_child_park(exs_executor *x, exs_future *f, void *slot);

/* After `closed` has become true: cancels the children of this relay that have not begun, and those alone: their parents go up with
   `recalled` set, as soon as they can. */
void exsi_child_recall_all(struct exsi_relay *relay);

/* Cancels f if its function has not begun; where a child does its work, the child, so that none that has begun meanwhile is asked
   to stop. */
void exsi_child_cancel_unbegun(exs_future *f);

/* The cancel hook of x. */
exs_step exsi_child_cancel(struct exsi_relay *relay, exs_future *f, exs_cause cause, exs_result *r);

/* With f's token, claimed after `gone` was set: f goes up. */
void exsi_child_leave(struct exsi_relay *relay, exs_future *f);

/* For the hooks `each` and `child` of x, under the lock; each: for the parents of this relay. */
void exsi_child_each(struct exsi_relay *relay, exs_visit_fn *visit, void *arg);
void exsi_child_visit(struct exsi_parent *slot, exs_visit_fn *visit, void *arg);

/* The same as hooks for the operations table of a layer right above the relay of all its calls. */
exs_step exsi_relayed_cancel(exs_executor *x, exs_future *f, void *slot, exs_cause cause, exs_result *r);
void exsi_relayed_each(exs_executor *x, exs_visit_fn *visit, void *arg);
void exsi_relayed_child(exs_executor *x, exs_future *f, void *slot, exs_visit_fn *visit, void *arg);

/* What a child holds to its end: its parent, whose parent, and so on, and by their counts the executors of each. Pops the frame,
   before the last count. */
void exsi_parents_drop(exs_future *parent, struct exsi_frame *frame);

/* f's function has been started, or its batch's: so have those that it does the work of. */
void exsi_parents_begun(exs_future *f);

/* Around the function of a call, on the stack of the thread that runs it. */
struct exsi_run {
	exs_future *call; /* NULL: it is no child of one */
	struct exsi_run *prev;
};
void exsi_relayed_run_begins(struct exsi_run *run, exs_future *f);
void exsi_relayed_run_ends(struct exsi_run *run);

static inline void exsi_run_begin(struct exsi_run *run, exs_future *f)
{
	run->call = NULL;
	if (exsi_top(f)->parent)
		exsi_relayed_run_begins(run, f);
}

static inline void exsi_run_end(struct exsi_run *run)
{
	if (run->call)
		exsi_relayed_run_ends(run);
}

#endif
