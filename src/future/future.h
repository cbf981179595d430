/* The future inside: one block, one state word, one token. */
#ifndef EXSI_FUTURE_FUTURE_H
#define EXSI_FUTURE_FUTURE_H

#include "base/sync.h"
#include "base/thread.h"
#include "future/error.h"

#include <executors/clock.h>
#include <executors/context.h>
#include <executors/executor.h>
#include <executors/future.h>

/* The state word.
   PARKED: the token lies at depth AT; who clears the bit by a compare-and-swap has it. STOP: everything at a depth below it is asked to
   stop (EXSI_STOP_ALL: all), CAUSE says by whom. DONE is set once and never cleared; FORCED with it: failed from outside (the
   result is EXS_ESHUTDOWN, not in the block), the token is still under way. */
#define EXSI_PARKED	 1u
#define EXSI_DONE	 2u
#define EXSI_FORCED	 4u
#define EXSI_WAITER	 8u   /* somebody sleeps on the word */
#define EXSI_NODES	 16u  /* there are, or were, nodes in the list */
#define EXSI_HOOKS	 32u  /* there are on_cancel handlers */
#define EXSI_RUNNING	 64u  /* the user's function runs; with PARKED: it is part of something that runs (batch) */
#define EXSI_INSISTED	 128u /* a stop that can't be refused came while the token was not to be had */
#define EXSI_AT_SHIFT	 8
#define EXSI_STOP_SHIFT	 18
#define EXSI_CAUSE_SHIFT 28
#define EXSI_LEVELS	 0x3ffu /* 10 bits each */
#define EXSI_STOP_ALL	 EXSI_LEVELS
#define EXSI_MAX_DEPTH	 (EXSI_STOP_ALL - 1)
#define EXSI_BEGUN	 (1u << 31) /* the user's function has been started, here or in a child */

static inline unsigned exsi_at(unsigned state)
{
	return state >> EXSI_AT_SHIFT & EXSI_LEVELS;
}

static inline unsigned exsi_stop(unsigned state)
{
	return state >> EXSI_STOP_SHIFT & EXSI_LEVELS;
}

static inline exs_cause exsi_cause(unsigned state)
{
	return (exs_cause)(state >> EXSI_CAUSE_SHIFT & 7);
}

static inline unsigned exsi_with_stop(unsigned state, unsigned stop, exs_cause cause)
{
	state &= ~(EXSI_LEVELS << EXSI_STOP_SHIFT | 7u << EXSI_CAUSE_SHIFT);
	return state | stop << EXSI_STOP_SHIFT | (unsigned)cause << EXSI_CAUSE_SHIFT;
}

/* References: users' in the low 16 bits, the library's own (token, batch, children ...) in the 15 above, so that take can count the
   former. More than 65,535 users carry: the sum, which decides on the end, stays exact, and MANY says for ever that they may have. */
#define EXSI_USER_REF  1u
#define EXSI_LIB_REF   (1u << 16)
#define EXSI_USER_REFS (EXSI_LIB_REF - 1)
#define EXSI_MANY_REFS (1u << 31)

/* What completes a future: an executor (its first member), or the promises. */
struct exsi_source {
	/* The token was claimed at depth AT by a canceller; sees to the future, and may pass the stop on (exsi_cancel_next). Runs
	   without locks. */
	void (*cancel)(exs_future *future, exs_cause cause);
	/* The same for n futures whose sources all have this function. */
	void (*cancel_many)(exs_future **futures, size_t n, exs_cause cause);
	double (*time_left)(exs_future *future);   /* task's thread only; seconds, EXS_FOREVER */
	exs_future *(*parent)(exs_future *future); /* task's thread only; the call this one does the work of, or NULL */
	bool extra_starts; /* of a child: what it may start its parent does not count in its max */
	/* Of one made of others: the next of these from *cursor (0 to begin with, moved on; SIZE_MAX: that was the last) that is not
	   done, with a reference of exsi_hold; NULL: there is none. */
	exs_future *(*input)(exs_future *future, size_t *cursor);
	bool (*any)(exs_future *future); /* may one of these be enough? NULL: no */
	exs_clock *(*clock)(
		exs_future *future); /* that its chain reads, with a reference, while it is not done; or NULL */
	const char *what;	     /* of one that is no call: "promise", for exs_dump_alive */
};

/* Counts the starts of a call, where the chain can start more than once; lies in the block. */
struct exsi_story {
	atomic_uint attempt;
	atomic_uint max;
};

struct exs_scope;
struct exsi_member;
struct exsi_watch;

/* Options of the call, at the end of the block, where given. */
struct exsi_extra {
	const char *name; /* or NULL */
	int priority;
	unsigned series;
	exs_place place;
	double timeout; /* 0: none */
	const struct exs_retry_options *retry;
	struct exsi_member *member; /* NULL: of no scope */
	struct exsi_watch *watch;   /* NULL: nobody watches it */
};

/* 56 bytes; the slots of the layers follow. */
struct exs_future {
	atomic_uint state;
	atomic_uint refs;
	const struct exsi_source *source; /* not to be touched once DONE, unless a count keeps it */
	atomic_uintptr_t nodes;		  /* struct exsi_node *, the last of a circular list; lowest bit: the lock */
	union {
		struct { /* until the call ends */
			exs_task_fn *fn;
			void *arg;
			exs_free_fn *arg_free;
		};
		exs_result result; /* DONE and not FORCED */
	};
	uint32_t story; /* offset of the struct exsi_story in the block; 0: none; EXSI_KEEPS */
	uint32_t
		extra; /* offset of the struct exsi_extra in the block; 0: none; with EXSI_WATCHED if that has a watch */
};

#define EXSI_WATCHED 1u

/* For a story: behind the future lies a pointer to another, of which this one keeps a user reference, as its value is that one's. */
#define EXSI_KEEPS UINT32_MAX

static inline bool exsi_is_done(exs_future *f)
{
	return atomic_load(&f->state) & EXSI_DONE;
}

static inline struct exsi_story *exsi_story(exs_future *f)
{
	return f->story && f->story != EXSI_KEEPS ? (struct exsi_story *)(void *)((char *)f + f->story) : NULL;
}

static inline struct exsi_extra *exsi_extra(exs_future *f)
{
	return f->extra ? (struct exsi_extra *)(void *)((char *)f + (f->extra & ~EXSI_WATCHED)) : NULL;
}

/* What is to be watched, of calls from their submit on: metrics (executor/metrics.c), events (executor/watch.c); of all futures:
   those alive (alive.c). 0 in ordinary life. */
enum { EXSI_WATCH_METRICS = 1, EXSI_WATCH_EVENTS = 2, EXSI_WATCH_ALIVE = 4 };
extern atomic_uint exsi_watching __attribute__((visibility("hidden")));

static inline unsigned exsi_watches(void)
{
	return atomic_load_explicit(&exsi_watching, memory_order_relaxed); /* sooner or later */
}

void exsi_watch_on(unsigned what, bool on);

/* Is it a call that is watched? What watches it, or NULL. */
static inline bool exsi_is_watched(exs_future *f)
{
	return f->extra & EXSI_WATCHED;
}

static inline struct exsi_watch *exsi_watch(exs_future *f)
{
	return exsi_is_watched(f) ? exsi_extra(f)->watch : NULL;
}

/* At the end of a constructor, before anybody else knows of the future and before it can be done: exs_dump_alive may find it. */
void exsi_alive_add(exs_future *f);
static inline void exsi_future_made(exs_future *f)
{
	if (exsi_watches() & EXSI_WATCH_ALIVE)
		exsi_alive_add(f);
}

/* What is seen of one that is listed. */
struct exsi_seen {
	double age;
	exs_executor *top; /* of a call: kept until the visit; NULL: it is none, or done */
	exs_executor *at;  /* where it is parked, or NULL */
	const char *what;  /* of another: its source's */
	const char *state;
	unsigned attempt, max;
	char name[128];
};

/* For each that is listed, by and large oldest first: look, under a lock, which takes none itself; then, without the lock, visit. Answers
   how many were not listed for want of memory. */
size_t exsi_alive_each(void (*look)(exs_future *f, struct exsi_seen *seen),
		       void (*visit)(struct exsi_seen *seen, void *arg), void *arg);

/* Tests look on through this: done = 0 made, 1 completed, 2 freed. NULL in ordinary life. */
extern void (*exsi_observer)(exs_future *future, int done);

/* Initialises a fresh block: one user reference, one of the library (the token's). */
void exsi_future_init(exs_future *f, const struct exsi_source *source, unsigned state);

void exsi_hold(exs_future *f);
void exsi_drop(exs_future *f);
void exsi_drop_two(exs_future *f);

/* Moves the result out, as exs_future_take. false: not done, or somebody else has a user reference. */
int exsi_take(exs_future *f, exs_result *result);

/* An invalid result that the user's code answered becomes an error, EXS_EINVAL, which names it. */
void exsi_replace_result(exs_result *r, const char *who);
static inline void exsi_check_result(exs_result *r, const char *who)
{
	if (r->kind != EXS_KIND_VALUE && r->kind != EXS_KIND_CANCELLED && (r->kind != EXS_KIND_ERROR || !r->error))
		exsi_replace_result(r, who);
}

/* With the token: completes, wakes, runs callbacks, drops the token's reference. Takes over *r; if the future was forced, *r is
   destroyed. */
void exsi_complete(exs_future *f, exs_result *r);

/* The same, but for the reference, which stays. Answers the state before; if there were NODES, their lock was taken since it is done. */
unsigned exsi_settle(exs_future *f, exs_result *r);

/* Without the token: completes with EXS_ESHUTDOWN now; the token winds up on its own. false: was done. */
bool exsi_force(exs_future *f);

/* Marks everything below level as asked to stop, runs on_cancel handlers, claims the token if it is parked below level and then lets
   the source see to it. Answers whether it claimed. The caller has a reference. */
bool exsi_cancel(exs_future *f, unsigned level, exs_cause cause);
/* The same for n futures at EXSI_STOP_ALL, so that a layer sees those it holds together; only_parked leaves the others alone. */
void exsi_cancel_all(exs_future *const *futures, size_t n, exs_cause cause, bool only_parked);

/* For a cancel hook: the cancel under way on this thread goes on to f, after the hook has returned and its call gone up. So chains of
   futures are cancelled in constant stack. Takes over a reference of exsi_hold. */
void exsi_cancel_next(exs_future *f, exs_cause cause);

/* The same for any number. A stop lies where its giver says until done(stop) is called, which drops what it has of its future. */
struct exsi_stop {
	struct exsi_stop *next;
	exs_future *future;
	void (*done)(struct exsi_stop *stop);
};
void exsi_cancel_next_all(struct exsi_stop *stops);

/* Cancels them, on this thread, now. */
void exsi_cancel_these(struct exsi_stop *stops, exs_cause cause);

/* Notes who asked, where nobody has been noted: a part of the call was cancelled on its own. */
void exsi_note_cause(exs_future *f, exs_cause cause);

/* Cancels it (cause: shutdown) if its function has not been started and it is parked at this depth; otherwise does nothing. */
void exsi_cancel_unbegun(exs_future *f, unsigned depth);

/* Takes a stop at exactly this level back. */
void exsi_stop_clear(exs_future *f, unsigned level);

/* --- nodes: what is to be told of a future --- */

/* A continuation is a callback of the library's own by which a call goes on: a callback before it that waits does not hold it up. */
enum exsi_node_kind { EXSI_WATCHER, EXSI_CALLBACK, EXSI_CONTINUATION, EXSI_HOOK };

struct exsi_node {
	struct exsi_node *next, *prev;
	void (*fn)(exs_future *future, struct exsi_node *node); /* once; it disposes of the node */
	enum exsi_node_kind kind;
	bool linked;
};

/* --- futures made of futures (functions.c) --- */

/* A future that is done, with r, which it takes over. NULL when memory is short: r is destroyed, and exs_last_error says so. */
exs_future *exsi_returned(exs_result r);
/* The same with an error EXS_EINVAL. */
exs_future *exsi_failed(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* For a node that is called: fn(NULL, node) now, or after what this thread runs so already: functions of functions of futures take
   constant stack. fn disposes of the node. */
void exsi_defer(struct exsi_node *node, void (*fn)(exs_future *none, struct exsi_node *node));

/* What input, which is done, was completed with: moved out of it if the caller's user reference is the only one. Otherwise it is shared:
   a value without destroy, which stays input's; an error with a reference. */
exs_result exsi_outcome(exs_future *input, bool *shared);

/* With the token of f, behind which lies a pointer, to input by now: exsi_settle with r, what became of exsi_outcome. Takes over the reference of
   input, which f keeps if a value may be input's. */
void exsi_settle_from(exs_future *f, exs_result *r, exs_future *input, bool shared);

/* The hook `input` of one whose input is the pointer behind it, until f is done. */
exs_future *exsi_input(exs_future *f, size_t *cursor);

/* Hooks `input` look under the lock of f's nodes. Before an input that is no longer to be found, or whose f is done, is given up: who
   looked has a reference of it after this. */
void exsi_look_over(exs_future *f);

/* For a function that answered NULL: because of an error that it caused itself (failures: exsi_failures before it ran), or for no
   reason known, EXS_EINVAL. */
exs_result exsi_no_future(const char *who, unsigned failures);

/* Before this thread blocks: runs the continuations that wait for callbacks on its stack. */
void exsi_continue(void);

/* And the functions of futures whose turn has not come on this thread. */
void exsi_run_due(void);

/* A call as a member of a scope; lies in its block. The scope's lock guards next, prev and linked. */
struct exsi_member {
	struct exs_scope *scope;
	exs_future *call;
	struct exsi_member *next, *prev;
	struct exsi_node node; /* the call's first callback */
	atomic_bool entered;   /* its submit is over: if it waits in a queue, it is there */
	bool linked;	       /* from the submit until the node is called */
};

/* The scope of a call that is no child, or NULL. */
static inline struct exs_scope *exsi_scope(exs_future *f)
{
	struct exsi_extra *extra = exsi_extra(f);

	return extra && extra->member ? extra->member->scope : NULL;
}

/* Adds any but a hook; false: the future is done, and fn will not be called. */
bool exsi_node_add(exs_future *f, struct exsi_node *node);

/* false: it is not linked: fn has run, runs or is about to. */
bool exsi_node_remove(exs_future *f, struct exsi_node *node);

/* The lock of the list; it answers the last node. A few instructions may stand between the two. */
struct exsi_node *exsi_nodes_lock(exs_future *f);
void exsi_nodes_unlock(exs_future *f, struct exsi_node *last);
/* Has the node that the completion will run brought near: with what the set has beside it. */
static inline void exsi_nodes_approach(exs_future *f)
{
	const char *node = (const char *)(atomic_load_explicit(&f->nodes, memory_order_relaxed) & ~(uintptr_t)1);

	if (node) {
		__builtin_prefetch(node, 1);
		__builtin_prefetch(node + sizeof(struct exsi_node), 1);
	}
}

struct exsi_node *exsi_nodes_append(struct exsi_node *last, struct exsi_node *node);
struct exsi_node *exsi_nodes_unlink(struct exsi_node *last, struct exsi_node *node);

/* on_cancel handlers (context.c): run them all; or, when the attempt has ended, throw them away. */
void exsi_hooks_run(exs_future *f);
void exsi_hooks_end(exs_future *f);

#endif
