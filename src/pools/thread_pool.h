/* The thread pool inside: what its queue (thread_pool.c) and its workers (thread_pool_workers.c) share. */
#ifndef EXSI_POOLS_THREAD_POOL_H
#define EXSI_POOLS_THREAD_POOL_H

#include "base/inbox.h"
#include "base/list.h"
#include "base/ring.h"
#include "executor/executor.h"

#include <executors/thread_pool.h>

/* Shared with the layers above. Where a call is: in the inbox, in the queue, in the ring, in a worker's own ring, or nowhere (of these). */
struct exsi_pool_slot {
	struct exsi_inbox_node link;
	/* EXSI_POOL_OUT; what this thread pushed some steps before (may be gone) | EXSI_POOL_COMING; its place in the ring << 2 | EXSI_POOL_RING; the worker | EXSI_POOL_OWN; or the previous in
	   the queue */
	atomic_uintptr_t at;
};
enum { EXSI_POOL_OUT = 0, EXSI_POOL_COMING = 1, EXSI_POOL_RING = 2, EXSI_POOL_OWN = 3, EXSI_POOL_WHERE = 3 };
enum { EXSI_POOL_FETCHING = 1 }; /* a worker's current: it is about to have one, or none */

/* A call whose function runs, on the stack of the thread that runs it. */
struct exsi_pool_run {
	struct exsi_pool_run *next, *prev;
	exs_future *call;
};

/* On the heap: from the start of the thread to its end. nudge: while it waits inside a task; next, prev: in the list of those that do,
   or of those that sleep for want of work; all under the pool's lock, but for what is said. */
struct exsi_pool_worker {
	struct exsi_worker base;
	struct exsi_pool *pool;
	unsigned number;
	unsigned depth;	   /* calls it runs inside waits of others, one in the other: bounded, as its stack is */
	atomic_uint heard; /* pool.news before its last look for what it could do of what it waits for */
	struct exsi_patience patience; /* its own */
	void *state;
	struct exsi_list all;		      /* in pool.workers */
	struct exsi_pool_worker *next, *prev; /* idle for longer, for shorter */
	const struct exsi_nudge *nudge;
	atomic_uint bell; /* what it sleeps on, 0; whoever is to wake it makes it 1 */
	uint64_t since;
	bool timed; /* its sleep has an end */
	/* The call whose function it runs, those inside waits aside; lowest bit: somebody looks at it, and the worker waits. */
	atomic_uintptr_t current;
	atomic_size_t started; /* written by the worker alone */
	unsigned in_a_row;     /* counts its own calls */
	unsigned share;	       /* calls that it takes from the queue at a time */
	bool serves;	       /* in pool.workers */
	size_t shared_at;      /* started, and when it last took some */
	uint64_t shared_since;
	struct exsi_ring own; /* its own, where calls may begin in any order; it is the owner */
};

/* lock guards all that follows it.
   - Calls come through the inbox, without the lock, while `mode` says STAFFED: there is no limit to the queue, and no worker to be
     started. Otherwise they enter the queue under it.
   - ATTEND: who pushes onto an empty inbox is to look after the pool (exsi_pool_attend). It is set, with a sequentially consistent
     store, before a worker looks into the inbox for the last time to sleep, to block or to end; so one of the two sees the other.
     Not while another is on its way to look: waking, or spinning; as soon as that has looked, it is, and the one that sets it then looks
     once more (exsi_pool_unlock).
   - Without a limit to the queue, its first calls lie in the ring, from which workers take them without the lock: all in the ring
     are older than all in the queue, and these than all in the inbox. A worker sleeps only in the same hold in which it saw all
     three empty.
   - Where calls may begin in any order the ring is not used. A worker has some in its own: what its tasks submit, the latest first, and
     some of the queue at a time, more if they are short. Who puts onto its empty own attends as if it had pushed; a worker that
     finds the queue empty takes from the others', and sleeps only when it has seen all theirs empty too. A worker that blocks or ends
     puts its own into the queue.
   - A shutdown says that it closes, and raises closings, before it looks at what is queued and what is current. Who pushes looks at
     closings before the park and after the push; a worker says that it fetches a call before it takes one out of a ring, and the
     shutdown waits for what it gets. So the shutdown finds the call, queued or as one that runs; or the pusher does what it would have
     done (exsi_pool_settle).
   - At most one wake is in flight: `waking` is set by the waker and cleared by that worker when it leaves its sleep, which then wakes
     the next if there is more to do. The one that went to sleep last is woken first.
   - runnable = alive - waiting. A worker is idle from its count (it is being started, or set up) to its first look at the queue,
     and whenever it sleeps.
   - If none is runnable, and none can be started, those that wait inside tasks are nudged when a call is queued and when the last comes
     to wait while some are: each looks whether it needs one of these, and runs it.
   - If more are runnable than min_workers, the longest idle one sleeps with a deadline (timed); no other does. */
struct exsi_pool {
	exs_executor *x;
	exs_thread_pool_options options; /* all values resolved; cpus its own */
	uint64_t idle_ns, block_ns;
	exs_result dropped; /* what dropped calls end with */
	struct exsi_crew crew;
	struct exsi_inbox inbox;
	struct exsi_ring ring; /* filled under the lock */
	atomic_uint mode;      /* EXSI_POOL_STAFFED, EXSI_POOL_ATTEND; written under the lock */
	atomic_uint closings;  /* of chains that stand on this */
	atomic_bool crowded;   /* more are runnable than may be; as mode */
	atomic_bool spinning;  /* a worker does, idle; written under the lock, where who has something calls it off */
	pthread_mutex_t lock;
	pthread_cond_t room;
	struct exsi_pool_slot queue;  /* sentinel */
	struct exsi_pool_run running; /* sentinel; but for those that workers run in their loops */
	struct exsi_list workers;     /* those that have been set up */
	struct exsi_pool_worker *newest, *oldest, *waking;
	struct exsi_pool_worker *to_wake; /* once the lock is given back; or NULL */
	struct exsi_pool_worker *waiting; /* inside tasks, with a nudge */
	atomic_uint news;		  /* pushes into the queue, adoptions of what is in it */
	bool stop;
	bool failing;		     /* a thread is in exsi_pool_fail_queued */
	unsigned submitters;	     /* that wait for room */
	unsigned named;		     /* workers started so far */
	unsigned starting;	     /* threads that have left the lock to start one */
	size_t failures;	     /* workers that could not be started or set up; */
	exs_error *why;		     /* the last of them */
	exs_thread_pool_stats stats; /* queued, running, started: but for the workers' own */
};
enum { EXSI_POOL_STAFFED = 1, EXSI_POOL_ATTEND = 2 };

/* --- the lock --- */

static inline void exsi_pool_lock(struct exsi_pool *p)
{
	pthread_mutex_lock(&p->lock);
}

/* After a change of what it depends on, before the inbox is looked at. */
void exsi_pool_set_mode(struct exsi_pool *p);

/* Also sets the mode, and wakes who is to be woken. */
void exsi_pool_unlock(struct exsi_pool *p);

/* --- where calls are (thread_pool_queue.c), under the lock --- */

/* Moves what is in the inbox to the queue. */
void exsi_pool_gather(struct exsi_pool *p);

/* There is something new in the queue, or known of what is in it. */
void exsi_pool_count_news(struct exsi_pool *p);

/* Queues a call that is parked. */
void exsi_pool_append(struct exsi_pool *p, struct exsi_pool_slot *s);

/* With the call's token: out of wherever it is. May leave the lock for a moment. */
void exsi_pool_remove(struct exsi_pool *p, struct exsi_pool_slot *s);

/* Moves what is in the rings back to the queue; or what is in the worker's own. */
void exsi_pool_recall(struct exsi_pool *p);
void exsi_pool_recall_own(struct exsi_pool *p, struct exsi_pool_worker *w);

/* The oldest in the queue, out of it; there must be one. Its canceller may be faster to get its token: then it waits for the lock. */
struct exsi_pool_slot *exsi_pool_shift(struct exsi_pool *p);

/* Sees to it that the worker finds the next call, where there is one: fills the ring, or its own. */
void exsi_pool_fill(struct exsi_pool *p, struct exsi_pool_worker *me);

/* With the lock, if there is a limit, otherwise without: the next call that no canceller was faster to get. NULL: none is ready. */
exs_future *exsi_pool_next(struct exsi_pool *p, struct exsi_pool_worker *me);

/* Without the lock, on the worker: a call that is COMING, onto its own. false: no room. */
bool exsi_pool_put_own(struct exsi_pool_worker *me, struct exsi_pool_slot *s);

/* visit(call, arg) for all, wherever they are, also those that run. */
void exsi_pool_each(struct exsi_pool *p, exs_visit_fn *visit, void *arg);

/* --- under the lock --- */

/* Calls not yet begun, but for those in the inbox. */
size_t exsi_pool_queued(struct exsi_pool *p);

static inline bool exsi_pool_is_limited(const struct exsi_pool *p)
{
	return p->options.queue_limit != SIZE_MAX;
}

/* Then calls begin in the order of their submits. */
static inline bool exsi_pool_in_order(const struct exsi_pool *p)
{
	return p->options.order == EXS_IN_ORDER || exsi_pool_is_limited(p);
}

static inline void exsi_pool_begin_run(struct exsi_pool *p, struct exsi_pool_run *run, exs_future *f)
{
	run->call = f;
	run->next = &p->running;
	run->prev = p->running.prev;
	run->prev->next = run;
	p->running.prev = run;
	p->stats.running++;
	p->stats.started++;
}

static inline void exsi_pool_end_run(struct exsi_pool *p, struct exsi_pool_run *run)
{
	run->prev->next = run->next;
	run->next->prev = run->prev;
	p->stats.running--;
}

static inline unsigned exsi_pool_runnable(const struct exsi_pool *p)
{
	return (unsigned)(p->stats.workers - p->stats.waiting);
}

static inline bool exsi_pool_may_grow(const struct exsi_pool *p)
{
	return p->stats.workers < (size_t)p->options.workers + p->options.max_spares &&
	       exsi_pool_runnable(p) < p->options.workers;
}

/* Must one more be started for what is queued and for so many calls that are about to be? The idle ones see to as many calls. */
static inline bool exsi_pool_lacks_worker(struct exsi_pool *p, size_t coming)
{
	return exsi_pool_may_grow(p) && exsi_pool_queued(p) + coming > p->stats.idle;
}

/* Starts workers until none is lacking, and leaves the lock for each. NULL; or why there is none at all, with a reference. */
exs_error *exsi_pool_provide(struct exsi_pool *p, size_t coming);

static inline void exsi_pool_wake_one(struct exsi_pool *p)
{
	if (atomic_load_explicit(&p->spinning, memory_order_relaxed)) {
		atomic_store_explicit(&p->spinning, false, memory_order_relaxed);
		return; /* it looks now, and wakes the next if there is more */
	}
	if (!p->newest || p->waking)
		return;
	p->waking = p->to_wake = p->newest;
}

/* One that sleeps is to look around. */
static inline void exsi_pool_ring(struct exsi_pool_worker *w)
{
	atomic_store(&w->bell, 1);
	exsi_unpark(&w->bell, 1);
}

/* None is there for what is queued but those that wait inside tasks: one may wait for it that has not looked since it came. */
static inline void exsi_pool_nudge(struct exsi_pool *p)
{
	for (struct exsi_pool_worker *w = p->waiting; w; w = w->next)
		if (w->heard != p->news)
			w->nudge->fn(w->nudge->arg);
}

/* --- without it --- */

/* Does to what is queued what shutdowns owe to it. Runs user code. */
void exsi_pool_settle(struct exsi_pool *p);

/* After a push onto an empty inbox: wakes or starts a worker, nudges those that wait. Keep the pool meanwhile. */
void exsi_pool_attend(struct exsi_pool *p);

/* As long as nobody is there to do what is queued, it fails with this error: after a start on which others may have counted has
   come to nothing. On a thread that is no worker of the pool's count; runs user code. */
void exsi_pool_fail_queued(struct exsi_pool *p, exs_error *error);

/* This thread, if it is a worker of p; or NULL. */
struct exsi_pool_worker *exsi_pool_own_worker(const struct exsi_pool *p);

/* Hook run_here of the pool. */
bool exsi_pool_run_here(exs_executor *x, exs_future *f);

/* No call is left: ends and joins the workers. */
void exsi_pool_end_workers(struct exsi_pool *p);

/* The process's own pool is no more, if x is that (thread_pool_default.c). */
void exsi_pool_forget(exs_executor *x);

#endif
