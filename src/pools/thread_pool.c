/* Thread pool: first in, first out. Its queue with the policies of a full one, its options. The workers: thread_pool_workers.c. */
#include "pools/thread_pool.h"
#include "base/cores.h"
#include "base/memory.h"
#include "future/wait.h"

#include <stdio.h>
#include <string.h>

enum { MAX_WORKERS = 65536, DEFAULT_SPARES = 64, DEFAULT_IDLE = 60 };

/* Where calls can be dropped; one that was is on its way up. */
union drop_slot {
	struct exsi_pool_slot queued;
	exs_link dropped;
};

/* --- the queue, under the lock --- */

/* Makes room; NULL if a canceller was faster: then it is gone anyway. Otherwise the caller has its token. */
static exs_future *drop_oldest(struct exsi_pool *p)
{
	exs_future *f = exsi_slot_call(exsi_pool_shift(p), p->x);

	if (!exs_call_claim(f))
		return NULL; /* its canceller waits for the lock */
	p->stats.dropped++;
	return f;
}

static bool full(const struct exsi_pool *p)
{
	return p->stats.queued >= p->options.queue_limit;
}

/* --- the way in --- */

static exs_error *reject(struct exsi_pool *p)
{
	p->stats.rejected++;
	return exsi_error(EXS_EREJECTED);
}

/* With the lock, which it leaves. NULL: there is room, or there was. */
static exs_error *wait_for_room(struct exsi_pool *p, exs_future *f, uint64_t deadline)
{
	bool in_time = true;

	exsi_pool_unlock(p);
	exsi_continue();
	exsi_block(false, NULL); /* does first what was put off */
	exsi_pool_lock(p);
	p->submitters++;
	while (full(p) && in_time && !exsi_is_closing(p->x, f))
		in_time = exsi_cond_wait(&p->room, &p->lock, deadline);
	p->submitters--;
	bool closed = exsi_is_closing(p->x, f);
	exsi_pool_unlock(p);
	exsi_unblock();
	exsi_pool_lock(p);
	if (closed)
		return exsi_error(EXS_ESHUTDOWN);
	return in_time || !full(p) ? NULL : reject(p);
}

enum way { ENTERS, ENTERS_FOR_OLDEST, RUN_BY_CALLER, WAITS, REFUSED, NO_WORKER };

/* With the lock, of a full queue: only the thread inside the submit is made to wait, is rejected or runs the call. */
static enum way policy(struct exsi_pool *p, exs_future *f)
{
	exs_entry entry = exs_call_entry(f);

	if (entry == EXS_ENTRY_RESTART || exsi_pool_own_worker(p)) {
		p->stats.over_limit++;
		return ENTERS;
	}
	if (p->options.when_full == EXS_FULL_DROP_OLDEST)
		return ENTERS_FOR_OLDEST;
	if (entry == EXS_ENTRY_SUBMIT && p->options.when_full == EXS_FULL_CALLER_RUNS)
		return RUN_BY_CALLER;
	if (entry == EXS_ENTRY_SUBMIT && p->options.when_full == EXS_FULL_BLOCK)
		return WAITS;
	return REFUSED;
}

/* With the lock, which it leaves to start a worker and to wait: after either it looks at both again, so that the answer holds.
   With REFUSED and NO_WORKER there is an error, a reference. */
static enum way admit(struct exsi_pool *p, exs_future *f, exs_error **error)
{
	uint64_t deadline = 0;

	for (;;) {
		if (exsi_pool_lacks_worker(p, 1) && (*error = exsi_pool_provide(p, 1)))
			return NO_WORKER;
		enum way way = full(p) ? policy(p, f) : ENTERS;
		if (way == REFUSED)
			*error = reject(p);
		if (way != WAITS)
			return way;
		deadline = deadline ? deadline : exsi_after(exsi_now(), p->block_ns);
		*error = wait_for_room(p, f, deadline);
		if (*error)
			return REFUSED;
	}
}

/* With the lock, which it gives back. As in inline.c. */
static exs_step run_by_caller(struct exsi_pool *p, exs_future *f, exs_result *r)
{
	struct exsi_pool_run run;

	if (exs_call_stopped(f, p->x)) { /* under the lock: a shutdown closes, then looks at the list */
		exsi_pool_unlock(p);
		exsi_note_cause(f, EXS_CAUSE_SHUTDOWN); /* if it was no canceller */
		*r = exs_cancelled();
		return EXS_UP;
	}
	exsi_pool_begin_run(p, &run, f);
	p->stats.caller_ran++;
	exsi_pool_unlock(p);
	exs_call_run(f, r);
	exsi_pool_lock(p);
	exsi_pool_end_run(p, &run);
	exsi_pool_unlock(p);
	return EXS_UP;
}

/* Without the lock, which may be the pool's end: the outermost driver of this thread sees to it. */
static void let_dropped_go(struct exsi_pool *p, exs_future *f)
{
	union drop_slot *s = exsi_slot(f, p->x);

	exs_call_release(f, p->x, EXS_UP, &p->dropped, &s->dropped);
}

/* --- hooks --- */

/* Onto the worker's own, if calls may begin in any order. A worker that just looks around finds it. */
static bool put_own(struct exsi_pool *p, struct exsi_pool_worker *me, struct exsi_pool_slot *s)
{
	if (!me || exsi_pool_in_order(p) || !exsi_pool_put_own(me, s))
		return false;
	if (atomic_load_explicit(&p->spinning, memory_order_relaxed))
		atomic_store_explicit(&p->spinning, false, memory_order_relaxed);
	return true;
}

/* The slots that this thread pushed last, to whatever pools. */
static _Thread_local struct exsi_trail pushed;

/* Answers whether it was empty. */
static bool push(struct exsi_pool *p, struct exsi_pool_slot *s)
{
	struct exsi_inbox_node *top = exsi_inbox_top(&p->inbox);

	while (!exsi_inbox_push(&p->inbox, &top, &s->link))
		;
	return !top;
}

/* Without the lock. Once others can get the call it may be over, and all that it kept gone: so the pool is kept, where that is not done
   by this thread being one of its workers. */
static exs_step inject(struct exsi_pool *p, exs_future *f, struct exsi_pool_slot *s, exs_result *r)
{
	struct exsi_pool_worker *me = exsi_pool_own_worker(p);
	unsigned closings = atomic_load(&p->closings);

	me = me && me->serves ? me : NULL;
	/* Relaxed: the park, or the push, publishes it. */
	atomic_store_explicit(&s->at, (uintptr_t)exsi_trail_add(&pushed, s) | EXSI_POOL_COMING, memory_order_relaxed);
	if (!me)
		exsi_keep_for_submit(p->x);
	bool parked = exsi_call_park_unknown(f, p->x);
	if (parked && (put_own(p, me, s) || push(p, s)) && atomic_load(&p->mode) & EXSI_POOL_ATTEND)
		exsi_pool_attend(p);
	if (parked && atomic_load(&p->closings) != closings)
		exsi_pool_settle(p); /* a shutdown may have looked between the park and the push */
	if (!me)
		exsi_unkeep_for_submit(p->x);
	if (!parked)
		*r = exs_cancelled();
	return parked ? EXS_HELD : EXS_UP;
}

static exs_step pool_start(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	struct exsi_pool *p = exsi_state(x);
	exs_future *dropped = NULL;
	exs_error *error = NULL;

	/* A restart, whose future is known already, must not be missed by a shutdown for a moment. */
	if (exs_call_entry(f) != EXS_ENTRY_RESTART &&
	    atomic_load_explicit(&p->mode, memory_order_relaxed) & EXSI_POOL_STAFFED)
		return inject(p, f, slot, r);
	exsi_pool_lock(p);
	enum way way = admit(p, f, &error);
	if (way == RUN_BY_CALLER)
		return run_by_caller(p, f, r);
	bool parked = !error && exs_call_park(f, x);
	if (parked) {
		if (way == ENTERS_FOR_OLDEST)
			dropped = drop_oldest(p);
		exsi_pool_append(p, slot);
	} else if (p->submitters && !full(p)) {
		pthread_cond_signal(&p->room); /* for the next that waits: the signal may have been this one's */
	}
	exsi_pool_unlock(p);
	if (dropped)
		let_dropped_go(p, dropped); /* it keeps the pool */
	if (parked)
		return EXS_HELD;
	if (way == NO_WORKER)
		exsi_pool_fail_queued(p, error);
	*r = error ? exs_fail(error) : exs_cancelled();
	return EXS_UP;
}

static exs_step pool_cancel(exs_executor *x, exs_future *f, void *slot, exs_cause cause, exs_result *r)
{
	struct exsi_pool *p = exsi_state(x);

	(void)f, (void)cause, (void)r;
	exsi_pool_lock(p);
	exsi_pool_remove(p, slot);
	exsi_pool_unlock(p);
	return EXS_UP;
}

static void pool_each(exs_executor *x, exs_visit_fn *visit, void *arg)
{
	struct exsi_pool *p = exsi_state(x);

	exsi_pool_lock(p);
	exsi_pool_each(p, visit, arg);
	exsi_pool_unlock(p);
}

static void pool_closing(exs_executor *x)
{
	struct exsi_pool *p = exsi_state(x);

	atomic_fetch_add(&p->closings, 1);
	exsi_pool_lock(p);
	pthread_cond_broadcast(&p->room);
	exsi_pool_unlock(p);
}

static void pool_news(exs_executor *x)
{
	struct exsi_pool *p = exsi_state(x);

	exsi_pool_lock(p);
	exsi_pool_count_news(p);
	exsi_pool_unlock(p);
}

static void pool_stop(exs_executor *x)
{
	struct exsi_pool *p = exsi_state(x);

	exsi_pool_forget(x);
	exsi_pool_end_workers(p);
	pthread_cond_destroy(&p->room);
	pthread_mutex_destroy(&p->lock);
	exsi_free((void *)(uintptr_t)p->options.cpus);
}

static int pool_describe(exs_executor *x, char *buf, size_t size)
{
	struct exsi_pool *p = exsi_state(x);

	return snprintf(buf, size, "%u", p->options.workers);
}

static const exs_layer_ops pool_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "thread_pool",
	.start = pool_start,
	.done = exs_pass_done,
	.cancel = pool_cancel,
	.each = pool_each,
	.closing = pool_closing,
	.stop = pool_stop,
	.describe = pool_describe,
};

/* --- made --- */

/* Each resolves its options, 0 or EXS_EINVAL. */

static int resolve_queue(exs_thread_pool_options *o, uint64_t *block_ns)
{
	if (o->queue_limit == EXS_NONE)
		return exsi_fail(EXS_EINVAL,
				 "exs_thread_pool: queue_limit: EXS_NONE would let no call in; 0 is no limit");
	if (o->when_full < EXS_FULL_BLOCK || o->when_full > EXS_FULL_DROP_OLDEST)
		return exsi_fail(EXS_EINVAL, "exs_thread_pool: when_full is %d: one of EXS_FULL_*", (int)o->when_full);
	if (o->block_seconds != 0 && o->when_full != EXS_FULL_BLOCK)
		return exsi_fail(EXS_EINVAL, "exs_thread_pool: block_seconds is for EXS_FULL_BLOCK alone");
	if (!exsi_duration(exsi_option_seconds(o->block_seconds, EXS_FOREVER), block_ns))
		return exsi_fail(EXS_EINVAL, "exs_thread_pool: block_seconds is %g: 0 (no limit) or more",
				 o->block_seconds);
	if (o->order != EXS_IN_ORDER && o->order != EXS_ANY_ORDER)
		return exsi_fail(EXS_EINVAL, "exs_thread_pool: order is %d: EXS_IN_ORDER or EXS_ANY_ORDER",
				 (int)o->order);
	if (!o->queue_limit || o->queue_limit == EXS_UNLIMITED)
		o->queue_limit = SIZE_MAX;
	return EXS_OK;
}

static int check_threads(const exs_thread_pool_options *o)
{
	unsigned n = exsi_processors();

	if (o->stack_size && o->stack_size < exsi_stack_min())
		return exsi_fail(EXS_EINVAL, "exs_thread_pool: stack_size is %zu bytes: at least %zu, or 0",
				 o->stack_size, exsi_stack_min());
	if (!o->cpus != !o->n_cpus)
		return exsi_fail(EXS_EINVAL, "exs_thread_pool: cpus is %s, but n_cpus is %zu",
				 o->cpus ? "given" : "NULL", o->n_cpus);
	if (o->cpus && !n)
		return exsi_fail(EXS_EINVAL, "exs_thread_pool: cpus: threads can't be bound on this system");
	for (size_t i = 0; i < o->n_cpus; i++) {
		if (o->cpus[i] >= n)
			return exsi_fail(EXS_EINVAL, "exs_thread_pool: cpus[%zu] is %u: this machine has 0 to %u", i,
					 o->cpus[i], n - 1);
		for (size_t k = 0; k < i; k++)
			if (o->cpus[i] == o->cpus[k])
				return exsi_fail(EXS_EINVAL, "exs_thread_pool: cpus: %u is there twice", o->cpus[i]);
	}
	return EXS_OK;
}

static int resolve_workers(exs_thread_pool_options *o, uint64_t *idle_ns)
{
	unsigned quota = o->n_cpus ? exsi_quota("") : 0;

	if (o->workers > MAX_WORKERS)
		return exsi_fail(EXS_EINVAL, "exs_thread_pool: workers is %u: at most %d", o->workers, MAX_WORKERS);
	if (!o->workers)
		o->workers = !o->n_cpus ? exsi_cores() : o->n_cpus < quota ? (unsigned)o->n_cpus : quota;
	if (!o->min_workers)
		o->min_workers = o->workers;
	else if (o->min_workers == EXS_NONE)
		o->min_workers = 0;
	if (o->min_workers > o->workers)
		return exsi_fail(EXS_EINVAL, "exs_thread_pool: min_workers is %u: at most workers, which is %u",
				 o->min_workers, o->workers);
	if (!exsi_duration(exsi_option_seconds(o->idle_seconds, DEFAULT_IDLE), idle_ns))
		return exsi_fail(EXS_EINVAL, "exs_thread_pool: idle_seconds is %g: 0 (%d s), EXS_NONE or more",
				 o->idle_seconds, DEFAULT_IDLE);
	if (!o->max_spares)
		o->max_spares = DEFAULT_SPARES;
	else if (o->max_spares == EXS_NONE)
		o->max_spares = 0;
	return EXS_OK;
}

static int copy_cpus(exs_thread_pool_options *o)
{
	unsigned *copy = o->n_cpus ? exsi_alloc_array(o->n_cpus, sizeof(*copy)) : NULL;

	if (o->n_cpus && !copy)
		return exsi_fail(EXS_ENOMEM, "exs_thread_pool: out of memory");
	if (copy)
		memcpy(copy, o->cpus, o->n_cpus * sizeof(*copy));
	o->cpus = copy;
	return EXS_OK;
}

static void pool_init(struct exsi_pool *p, exs_executor *x, const exs_thread_pool_options *o)
{
	p->x = x;
	p->options = *o;
	p->options.name = NULL; /* the caller's */
	p->dropped = exs_fail(exsi_error(EXS_EDROPPED));
	exsi_crew_init(&p->crew);
	pthread_mutex_init(&p->lock, NULL);
	exsi_cond_init(&p->room);
	p->queue.link.next = &p->queue.link;
	atomic_init(&p->queue.at, (uintptr_t)&p->queue);
	exsi_list_init(&p->workers);
	p->running.next = p->running.prev = &p->running;
}

exs_executor *exs_thread_pool_sized(const exs_thread_pool_options *options, size_t size)
{
	exs_thread_pool_options o;
	uint64_t idle_ns, block_ns;

	if (!exsi_options(&o, sizeof(o), options, size)) {
		exsi_fail(EXS_EINVAL, "exs_thread_pool: options that this library does not know");
		return exsi_own(NULL, o.ctx, o.ctx_free);
	}
	if (check_threads(&o) || resolve_workers(&o, &idle_ns) || resolve_queue(&o, &block_ns) || copy_cpus(&o))
		return exsi_own(NULL, o.ctx, o.ctx_free);
	size_t slot_size =
		o.when_full == EXS_FULL_DROP_OLDEST ? sizeof(union drop_slot) : sizeof(struct exsi_pool_slot);
	exs_executor *x = exs_layer_new(&pool_ops, NULL, sizeof(struct exsi_pool), 0);
	if (!exsi_own(x, o.ctx, o.ctx_free)) {
		exsi_free((void *)(uintptr_t)o.cpus);
		return NULL;
	}
	exsi_layer_share(x, slot_size);
	exs_with_name(x, o.name);
	struct exsi_pool *p = exsi_state(x);
	pool_init(p, x, &o);
	x->workers = o.workers;
	x->news = pool_news;
	if (o.waiters_run) {
		x->run_here = exsi_pool_run_here;
		exsi_waiters_run();
	}
	p->idle_ns = idle_ns;
	p->block_ns = block_ns;
	return x;
}

exs_executor *exs_thread_pool(unsigned workers)
{
	exs_thread_pool_options options = {.workers = workers};

	return exs_thread_pool_with(&options);
}

int exs_thread_pool_get_stats_sized(exs_executor *x, exs_thread_pool_stats *stats, size_t size)
{
	if (!x || !stats || x->leaf->ops.start != pool_start)
		return exsi_fail(
			EXS_EINVAL,
			"exs_thread_pool_get_stats: no thread pool at the bottom of the chain, or stats is NULL");
	struct exsi_pool *p = exsi_state(x->leaf);
	exsi_pool_lock(p);
	exsi_pool_gather(p);
	exs_thread_pool_stats now = p->stats;
	now.queued = exsi_pool_queued(p);
	for (struct exsi_list *node = p->workers.next; node != &p->workers; node = node->next) {
		struct exsi_pool_worker *w = EXSI_CONTAINER_OF(node, struct exsi_pool_worker, all);
		now.running += atomic_load(&w->current) > EXSI_POOL_FETCHING;
		now.started += atomic_load(&w->started);
	}
	exsi_pool_unlock(p);
	exsi_fill_in(stats, size, &now, sizeof(now));
	return EXS_OK;
}
