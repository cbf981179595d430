/* The thread pool inside: what its queue (thread_pool.c) and its workers (thread_pool_workers.c) share. */
#ifndef EXSI_POOLS_THREAD_POOL_H
#define EXSI_POOLS_THREAD_POOL_H

#include "executor/executor.h"

#include <executors/thread_pool.h>

/* A call in the queue. prev NULL: not in it. */
struct exsi_pool_slot {
	struct exsi_pool_slot *next, *prev;
};

/* A call whose function runs, on the stack of the thread that runs it. */
struct exsi_pool_run {
	struct exsi_pool_run *next, *prev;
	exs_future *call;
};

/* On the heap: from the start of the thread to its end. since, timed: while it sleeps for want of work; nudge: while it waits inside a
   task; next, prev: in the list of those that do the one or the other; all under the lock. */
struct exsi_pool_worker {
	struct exsi_worker base;
	struct exsi_pool *pool;
	unsigned number;
	unsigned depth;	   /* calls it runs inside waits of others, one in the other: bounded, as its stack is */
	atomic_uint heard; /* pool.news before its last look for what it could do of what it waits for */
	void *state;
	struct exsi_pool_worker *next, *prev; /* idle for longer, for shorter */
	const struct exsi_nudge *nudge;
	pthread_cond_t wake;
	uint64_t since;
	bool timed; /* its sleep has an end */
};

/* lock guards all that follows it.
   - At most one wake is in flight: `waking` is set by the waker and cleared by that worker when it leaves its sleep, which then wakes
     the next if there is more to do. The one that went to sleep last is woken first.
   - runnable = alive - waiting. A worker is idle from its count (it is being started, or set up) to its first look at the queue,
     and whenever it sleeps.
   - A worker leaves for want of work only in the same hold of the lock in which it saw the queue empty, and a call is queued only in the same hold in
     which the workers were seen to do (lacks_worker): so no call is left behind.
   - If none is runnable, and none can be started, those that wait inside tasks are nudged when a call is queued and when the last comes
     to wait while some are: each looks whether it needs one of these, and runs it.
   - If more are runnable than min_workers, the longest idle one sleeps with a deadline (timed); no other does. */
struct exsi_pool {
	exs_executor *x;
	exs_thread_pool_options options; /* all values resolved; cpus its own */
	uint64_t idle_ns, block_ns;
	exs_result dropped; /* what dropped calls end with */
	struct exsi_crew crew;
	pthread_mutex_t lock;
	pthread_cond_t room;
	struct exsi_pool_slot queue;  /* sentinel */
	struct exsi_pool_run running; /* sentinel */
	struct exsi_pool_worker *newest, *oldest, *waking;
	struct exsi_pool_worker *waiting; /* inside tasks, with a nudge */
	atomic_uint news;		  /* pushes into the queue, adoptions of what is in it */
	bool stop;
	bool failing;	     /* a thread is in exsi_pool_fail_queued */
	unsigned submitters; /* that wait for room */
	unsigned named;	     /* workers started so far */
	unsigned starting;   /* threads that have left the lock to start one */
	size_t failures;     /* workers that could not be started or set up; */
	exs_error *why;	     /* the last of them */
	exs_thread_pool_stats stats;
};

/* --- under the lock --- */

static inline bool exsi_pool_has_work(const struct exsi_pool *p)
{
	return p->queue.next != &p->queue;
}

static inline void exsi_pool_unlink(struct exsi_pool *p, struct exsi_pool_slot *s)
{
	s->prev->next = s->next;
	s->next->prev = s->prev;
	s->prev = NULL;
	p->stats.queued--;
	if (p->submitters)
		pthread_cond_signal(&p->room);
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
static inline bool exsi_pool_lacks_worker(const struct exsi_pool *p, size_t coming)
{
	return p->stats.queued + coming > p->stats.idle && exsi_pool_may_grow(p);
}

/* Starts workers until none is lacking, and leaves the lock for each. NULL; or why there is none at all, with a reference. */
exs_error *exsi_pool_provide(struct exsi_pool *p, size_t coming);

static inline void exsi_pool_wake_one(struct exsi_pool *p)
{
	if (!p->newest || p->waking)
		return;
	p->waking = p->newest;
	pthread_cond_signal(&p->waking->wake);
}

/* None is there for what is queued but those that wait inside tasks: one may wait for it that has not looked since it came. */
static inline void exsi_pool_nudge(struct exsi_pool *p)
{
	for (struct exsi_pool_worker *w = p->waiting; w; w = w->next)
		if (w->heard != p->news)
			w->nudge->fn(w->nudge->arg);
}

/* --- without it --- */

/* As long as nobody is there to do what is queued, it fails with this error: after a start on which others may have counted has
   come to nothing. On a thread that is no worker of the pool's count; runs user code. */
void exsi_pool_fail_queued(struct exsi_pool *p, exs_error *error);

bool exsi_pool_own_worker(const struct exsi_pool *p);

/* No call is left: ends and joins the workers. */
void exsi_pool_end_workers(struct exsi_pool *p);

/* The process's own pool is no more, if x is that (thread_pool_default.c). */
void exsi_pool_forget(exs_executor *x);

#endif
