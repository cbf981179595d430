/* The executor inside, and the call as a thread drives it. */
#ifndef EXSI_EXECUTOR_EXECUTOR_H
#define EXSI_EXECUTOR_EXECUTOR_H

#include "base/list.h"
#include "base/timer.h"
#include "future/future.h"

#include <executors/layer.h>

struct exsi_call_timers;
struct exsi_home;
struct exs_bytes;

/* Of calls with an executor as top. completed is the last touch of each. */
struct exsi_counts {
	atomic_size_t submitted, completed;
	char rest[EXSI_LINE - 2 * sizeof(atomic_size_t)];
};

struct exs_executor {
	struct exsi_source source; /* first: a call's source is its top executor */
	exs_layer_ops ops;
	exs_executor *inner, *outer;
	exs_executor *leaf;
	bool borrow;	/* inner is somebody else's too */
	bool new_block; /* what is below has its slots in the block of a child call */
	/* Below, one call does the work of many that are parked here: they are RUNNING while it runs, and their options end here. */
	bool marks_running;
	atomic_bool shared; /* is borrowed: outer does not tell who started a call */
	/* Behind the future: this layer's slot, if it has one of its own; what it shares (exsi_layer_share); the end of both. */
	uint32_t off, shares, shares_size, end;
	uint32_t depth; /* 0: a leaf */
	uint32_t story; /* offset in the block of the innermost counting layer's story; 0: none */
	unsigned max_attempts;
	exs_clock *clock;
	exs_clock *clock_above; /* of the layers that are wrapped around it; usually the same */
	char name[32];
	/* Of a relay (a child call's top): the call that the child does the work of; NULL: of many. */
	exs_future *(*parent)(exs_executor *relay, exs_future *child);
	/* Of a leaf whose calls run on a thread of the user's: if this is that thread, runs the next of what is queued; false: it is
	   not, or there is none. Who queues a call says exsi_tell_waiters, without a lock. May be NULL. */
	bool (*turn)(exs_executor *leaf);
	/* Of a leaf whose threads run, while they wait, what they wait for: a call of it may be found to be that only now. Or NULL. */
	void (*news)(exs_executor *leaf);
	atomic_uint refs;   /* its owner (or the layer around it), and its borrows */
	atomic_int closing; /* 0 or an exs_mode; only grows */
	exs_executor *next_unreaped;
	/* Of a leaf that has executors attached to it, each the top of a chain of its own: the first one after *cursor (0 to begin with,
	   moved on), with a reference (exsi_executor_unref_within), or NULL. */
	exs_executor *(*attached)(exs_executor *leaf, uint64_t *cursor);
	/* Of such a leaf: has a call of it no other way on than through this other one? */
	bool (*needs)(exs_executor *leaf, exs_future *call, const exs_executor *other);
	/* Of a leaf whose calls a thread that waits for one may run, or NULL: runs f, which stands on it, if it is queued there; false: it
	   is not. */
	bool (*run_here)(exs_executor *leaf, exs_future *f);
	unsigned workers; /* of a leaf: threads of its own that run calls; 0: it has none */
	void *ctx;	  /* of the user's callbacks; what the executor owns beside its state */
	exs_free_fn *ctx_free;
	/* Of a layer for messages of the tasks below it: takes one over, also on failure. 0 or a code. Or NULL. */
	int (*message)(exs_executor *layer, struct exs_bytes *message);
	const struct exsi_home *home; /* of a top whose tasks run for calls elsewhere (home.h); or NULL */
	bool holds_clock;
	bool counts_starts;  /* it may start its delegate more than once for a call */
	bool counts_as_open; /* in its series */
	bool hidden;	     /* no user knows of it */
	bool alone;	     /* a relay: a thread that waits for its calls does not run them below that wait */
	const struct exsi_call_timers *timers; /* in the slots of its calls (call_timer.h); or NULL */
	struct exsi_timer_kind timer_kind;
	struct exsi_series *_Atomic series; /* metrics (metrics.h); NULL: none yet */
	/* calls made for calls of this as top, or for their children, not yet ended: they look at it; keeps */
	atomic_size_t children;
	char before[EXSI_LINE];
	struct exsi_counts counts[EXSI_STRIPES];
	/* For metrics. timed: calls that are parked here until their timer fires, if what it shares holds the timer; waiting: how many
	   wait here now, in a backoff or in line, or NULL. */
	struct exsi_list living;
	atomic_size_t timed;
	atomic_size_t *_Atomic waiting;
};

static inline exs_executor *exsi_top(exs_future *f)
{
	return (exs_executor *)(uintptr_t)f->source; /* source is its first member */
}

static inline void *exsi_slot(exs_future *f, const exs_executor *x)
{
	return (char *)f + sizeof(*f) + x->off;
}

/* What x shares with the layers below it, while the call is at x. */
static inline void *exsi_shared(exs_future *f, const exs_executor *x)
{
	return (char *)f + sizeof(*f) + x->shares;
}

static inline exs_future *exsi_slot_call(void *slot, const exs_executor *x)
{
	return (exs_future *)(void *)((char *)slot - x->off - sizeof(exs_future));
}

/* Behind the modes, in closing: a shutdown's time is up, what is left has failed or will as it ends. */
enum { EXSI_TIME_IS_UP = EXS_CANCEL_ALL + 1 };

enum { EXSI_STATE_OFFSET = (sizeof(exs_executor) + 15) / 16 * 16 };

static inline void *exsi_state(exs_executor *x)
{
	return (char *)x + EXSI_STATE_OFFSET;
}

/* a * b, or EXS_UNLIMITED. */
unsigned exsi_times(unsigned a, unsigned b);

/* In a constructor, after exs_layer_new: x needs so many bytes more in each call, but only while the call is at x: from a hook (start,
   done, cancel) of x, through the time that it is held here, until x lets it go on UP or DOWN. All layers of a block share them, for
   a call is at one at a time: whatever x puts there nobody has a pointer to once the call has left (the hooks child and deadline
   may come later: what they read does not belong there), and it is uninitialised when the call comes back. If x has no other slot
   these bytes are it: the hooks get them, exsi_slot finds them. */
void exsi_layer_share(exs_executor *x, size_t size);

/* The layer's slots lie in a block of their own: what is above it begins a new block (ABANDON, batch). counts: what is started below
   counts as attempts of the calls here. */
void exsi_layer_new_block(exs_executor *x, bool counts);

/* --- for constructors: each takes over the executor, also on failure, and NULL in gives NULL out --- */

/* Is all well with what else the user gave? known: what exsi_options answered; wrong: what is, or NULL. Answers ex, or NULL and
   exs_last_error. */
exs_executor *exsi_checked(exs_executor *ex, const char *who, bool known, const char *wrong);

/* exs_layer_new for decorators. */
exs_executor *exsi_wrap(const exs_layer_ops *ops, exs_executor *ex, size_t state_size, size_t slot_size);

/* x owns the ctx of its user's callbacks: ctx_free(ctx), if there is one, runs once, after x has stopped; x NULL: now. Answers x. */
exs_executor *exsi_own(exs_executor *x, void *ctx, exs_free_fn *ctx_free);

/* x, which its stop hook can end already, has timers: its clock's threads live until it has stopped. Answers x, or NULL and
   exs_last_error. */
exs_executor *exsi_hold_clock(exs_executor *x);

/* Hook describe: "3" or "unlimited", and then more. */
int exsi_describe_count(char *buf, size_t size, unsigned count, const char *more);

/* Adds a reference, unless the last has gone and the layer is ending. */
bool exsi_executor_try_ref(exs_executor *x);

/* Releases one reference; with the last, ends the layer and goes on to what it wraps. Blocks until its calls have ended. */
void exsi_executor_unref(exs_executor *x);

/* The same without blocking: the last reference goes to a reaper. */
void exsi_executor_unref_within(exs_executor *x);

/* The same of a hidden one: the last reference is left to who frees an executor next, or to exs_quiesce; a reaper comes only if no executor
   is left. It may be referenced again before. */
void exsi_executor_unref_at_last(exs_executor *x);

/* Layers that are not hidden. */
extern atomic_size_t exsi_executors;

/* Calls visit for each layer of x's chain from the top, and of those attached to it, until it answers true, which is the answer.
   owned: by x, if the first is. No lock is held. */
typedef bool exsi_layer_fn(exs_executor *layer, bool owned, void *arg);
bool exsi_walk(exs_executor *x, bool owned, exsi_layer_fn *visit, void *arg);

/* Is layer in x's chain, or in one attached to it? */
bool exsi_uses(exs_executor *x, const exs_executor *layer);

/* Is this thread in the middle of something that uses a layer that x owns? */
bool exsi_inside(exs_executor *x);

/* The same of when this thread began the submit that it is in. */
bool exsi_inside_before_submit(exs_executor *x);

/* The type, by its address, of what no metrics are to show: a relay, which is part of the layer above it; a hidden one. */
extern const char exsi_hidden_type[];

/* --- calls --- */

/* The argument of a call that several blocks use: the last one frees it. Lies in the owner's block and keeps it. */
struct exsi_shared_arg {
	atomic_uint users;
	void *arg;
	exs_free_fn *arg_free;
	exs_future *owner;
};
/* The call that f does the work of, or NULL. */
static inline exs_future *exsi_parent(exs_future *f)
{
	exs_executor *top = exsi_top(f);

	return top->parent ? top->parent(top, f) : NULL;
}

/* The call that the user made, of which f may be a child: its options count for all. above: of a relay's. */
exs_future *exsi_root_above(exs_future *f);
static inline exs_future *exsi_root(exs_future *f)
{
	return exsi_top(f)->parent ? exsi_root_above(f) : f;
}

/* The scope that the call, or the one it does the work of, is a member of; or NULL. */
struct exs_scope *exsi_scope_of(exs_future *f);

/* What the user submitted it to. */
static inline exs_executor *exsi_root_top(exs_future *f)
{
	return exsi_top(exsi_root(f));
}

/* Is x the first layer in the whole chain of the call, children included, that sees to this option of the call? */
bool exsi_is_outermost(const exs_executor *x, exs_future *f, exs_option option);

/* As exs_layer_set_attempts, of this call alone; x is the outermost layer that counts. */
void exsi_call_set_attempts(exs_future *f, exs_executor *x, unsigned max);

/* In the start hook of x, if there is no room for the call: is it the thread that has to wait (or to be rejected), and not the call?
   Without a lock. */
bool exsi_may_block(exs_executor *x, exs_future *f);

/* Does x, or what the call was submitted to, take no more submits? For threads that wait in one. */
static inline bool exsi_is_closing(const exs_executor *x, exs_future *f)
{
	return atomic_load(&x->closing) || atomic_load(&exsi_top(f)->closing);
}

/* Makes f's argument shared, with f as its first user; once. drop also serves as f's arg_free. */
void exsi_arg_share(exs_future *f, struct exsi_shared_arg *shared);
bool exsi_arg_is_shared(exs_future *f);
void exsi_arg_drop(void *shared);

/* A call on a relay; init gets its slot before it starts. The executor may be closing: what is below refuses it then.
   NULL: no memory, and nothing was taken. */
exs_future *exsi_submit_relayed(exs_executor *x, const exs_task *task, exs_entry entry,
				void (*init)(void *slot, void *), void *init_arg);

/* A call on x that nobody has submitted; it may be cancelled at once, and must be entered: as a restart, so it is not to wait for room.
   NULL: no memory, and nothing was taken. */
exs_future *exsi_new_call(exs_executor *x, const exs_task *task);
void exsi_enter_call(exs_future *call);

/* A call on x that does the work of another; it may be cancelled at once, and must be entered. NULL: no memory, and nothing was
   taken. */
exs_future *exsi_new_child(exs_executor *x, exs_task_fn *fn, struct exsi_shared_arg *arg);
void exsi_enter_child(exs_future *child, exs_entry entry);

/* As exs_submit; a member of the scope, if there is one. x is not NULL, all is wrong if `wrong` says so. */
exs_future *exsi_submit(exs_executor *x, const exs_task *task, exs_entry entry, const char *wrong,
			struct exs_scope *scope);

/* The same by a call of x, or one that does the work of it, which runs: as a restart, so it waits for no room, and is let in while x drains. */
exs_future *exsi_submit_within(exs_executor *x, const exs_task *task, struct exs_scope *scope);

/* In the scope of a call that runs, by which it is kept open; scope NULL: exsi_submit_within. */
exs_future *exsi_scope_submit_within(struct exs_scope *scope, exs_executor *x, const exs_task *task);

/* No executor gets to see the task: a future that has failed already. Takes over the error. */
exs_future *exsi_submit_failed(const exs_task *task, exs_error *error);

/* --- scopes: what the call must tell them (scope.c) --- */

/* Before anything else becomes of a new call. false: the scope takes no more, the call is to be cancelled. Either way it
   will leave. */
bool exsi_scope_join(exs_future *f);

/* Whatever the scope's close must wait for. After leave the scope may be gone. */
void exsi_scope_enter(struct exs_scope *scope);
void exsi_scope_leave(struct exs_scope *scope);

/* For a layer that marks_running. PARKED becomes PARKED and RUNNING; false: a canceller has it. And, with the token, as
   exs_call_park_again, come what may: the cancel hook has noted the stop. */
bool exsi_call_set_running(exs_future *f);
void exsi_call_park_running(exs_future *f, exs_executor *x);

/* What a shutdown that has looked at leaf x, and missed the call, would have done: cancels it, if it is to cancel what has not
   begun (OWED_CANCEL); or fails it, once its time is up, and lets it run (OWED_FAILURE). */
enum exsi_owed { EXSI_OWED_NOTHING, EXSI_OWED_CANCEL, EXSI_OWED_FAILURE };
enum exsi_owed exsi_owed(exs_future *f, exs_executor *x);

/* Claim, if it is parked at a leaf, and RUNNING in the same step. */
bool exsi_call_claim_run(exs_future *f);

/* Instead of exs_call_run, by a leaf with the token, where the function runs in another process: it is about to begin there (the call is RUNNING
   already); and it has ended, with this result. Both may run user code; ran waits for a handler of exs_context_on_cancel under way. */
void exsi_call_runs_elsewhere(exs_future *f, uint64_t *begun);
void exsi_call_ran_elsewhere(exs_future *f, uint64_t begun, const exs_result *r);

/* As exs_call_park, by a leaf's start hook that has not let anybody know of the call. */
bool exsi_call_park_unknown(exs_future *f, exs_executor *x);

/* As exs_call_park and exs_call_park_again, but not looking at whether the chain is closing. */
bool exsi_call_park_unless_stopped(exs_future *f, exs_executor *x);
bool exsi_call_park_unless_insisted(exs_future *f, exs_executor *x);

/* Parks a call, of which a stop is to be passed on to what does its work. Answers the cause to pass on: `cause`, or that of one who
   insists and has come since. */
exs_cause exsi_call_park_told(exs_future *f, exs_executor *x, exs_cause cause);

/* Has a canceller asked layer x to stop? Not looking at whether the chain is closing. */
static inline bool exsi_stopped(exs_future *f, const exs_executor *x)
{
	return exsi_stop(atomic_load(&f->state)) > x->depth;
}

static inline bool exsi_is_parked(exs_future *f)
{
	return atomic_load(&f->state) & EXSI_PARKED;
}

/* Between pin and unpin no executor's memory is freed whose calls were not all done at the pin: so a future that is not done
   after a pin has a source that can be looked at. Short, and not to block in. */
void exsi_pin(void);
void exsi_unpin(void);

/* For a waiting thread that has a reference of f. Is f a call, not done, whose chain stands on this leaf? */
bool exsi_stands_on(exs_future *f, const exs_executor *leaf);
/* What does the work of f where it is parked (child), or one of those that it is made of, as the hook `input` says. */
exs_future *exsi_child(exs_future *f, size_t *cursor);
/* Does test hold for f, for what does its work, for what does the work of that, and so on? */
bool exsi_find_work(exs_future *f, bool (*test)(exs_future *, void *), void *arg);
/* Runs one after the other for which run does, until f is done or there are no more: so the way to each is not looked for anew. Did it
   run any? */
bool exsi_do_work(exs_future *f, bool (*run)(exs_future *, void *), void *arg);
/* As exsi_find_work and exsi_do_work, but not what is to run alone. */
bool exsi_find_help(exs_future *f, bool (*test)(exs_future *, void *), void *arg);
bool exsi_help_work(exs_future *f, bool (*run)(exs_future *, void *), void *arg);
/* As exsi_find_work, but where one of several is enough (any), for all of them. */
bool exsi_find_need(exs_future *f, bool (*test)(exs_future *, void *), void *arg);
/* Is it one that waits in a queue from which nothing but this leaf can take it? */
bool exsi_needs(exs_future *f, const exs_executor *leaf);
/* With a pin: is it a call, not a promise, and not done? Then it has its executors. */
static inline bool exsi_is_call(exs_future *f)
{
	return !exs_future_is_done(f) && f->source->time_left;
}
/* From now on there may be executors with a hook run_here. */
void exsi_waiters_run(void);

/* To the leaf that it stands on: news. */
void exsi_tell_leaf(exs_future *f);
/* Where f is parked, or NULL; with a pin, if exsi_is_call. */
exs_executor *exsi_parked_at(exs_future *f);
/* Is a call parked at x where its work is a call of its own, in another block? */
static inline bool exsi_has_children(const exs_executor *x)
{
	return x->new_block || x->attached;
}

/* Wakes those who wait for x's calls to end, if there are any. */
void exsi_count_done(exs_executor *x);
void exsi_count_child_done(exs_executor *x);

/* There is news for threads that wait for an executor's calls to end, or in exsi_wait_turning. Without a lock. */
void exsi_tell_waiters(void);

/* Where the leaf has a turn hook, or this thread a turner: waits until done(arg), which only reads atomics, and meanwhile runs what the
   leaf lets only this thread run. Who makes it true says exsi_tell_waiters. false: the deadline has passed, or (a turner) it will never be.
   Runs user code. */
bool exsi_wait_turning(exs_executor *leaf, bool (*done)(void *), void *arg, uint64_t deadline);

/* Blocks this thread, in a hook of x, while *word == value; who changes that calls exsi_unpark(word) and exsi_tell_waiters.
   false (a turner): nobody ever will. Runs user code. */
bool exsi_block_while(exs_executor *x, atomic_uint *word, unsigned value);

/* Between the two x is not released, though it may be without a call (its timer is at work). keep: while a call keeps x. */
static inline void exsi_keep(exs_executor *x)
{
	atomic_fetch_add(&x->children, 1);
}

static inline void exsi_unkeep(exs_executor *x)
{
	exsi_count_child_done(x);
}

/* The same for the time of a submit: so it may show as a call of x. */
static inline void exsi_keep_for_submit(exs_executor *x)
{
	atomic_fetch_add(&x->counts[exsi_stripe()].submitted, 1);
}

static inline void exsi_unkeep_for_submit(exs_executor *x)
{
	exsi_count_done(x);
}

/* Waits until all calls with x as top have ended. false: the deadline has passed. */
bool exsi_wait_quiet(exs_executor *x, uint64_t deadline);

/* What this thread, which has a turner, was left with to release: one chain that can be released now, or NULL; releases it.
   What can't be by the end of the turner is given up. */
exs_executor *exsi_reapable(void);
void exsi_reap(exs_executor *x);
void exsi_reap_none(void);

/* Between the two exs_quiesce waits, but on this thread. */
void exsi_end_begin(void);
void exsi_end_over(void);

/* Cancels (or, with force, fails) what the layers of x's chain hold, as far as it belongs to x. */
void exsi_sweep(exs_executor *x, bool only_parked, bool force);

#endif
