/* Thread pool: first in, first out; workers come with the work. */
#include "base/memory.h"
#include "executor/executor.h"

#include <executors/thread_pool.h>
#include <stdio.h>

enum { DEFAULT_SPARES = 64, MAX_HELP = 256 };

/* A call in the queue. prev NULL: not in it. */
struct slot {
	struct slot *next, *prev;
};

/* A call whose function runs, on the stack of the thread that runs it. */
struct run {
	struct run *next, *prev;
	exs_future *call;
};

/* lock guards all that follows it. At most one wake is in flight: `waking` is set by the waker, and cleared by each worker that
   leaves its sleep, which wakes the next if there is more. runnable = alive - waiting. */
struct pool {
	exs_executor *x;
	exs_thread_pool_options options; /* constant */
	struct exsi_crew crew;
	pthread_mutex_t lock;
	pthread_cond_t work, room;
	struct slot queue;  /* sentinel */
	struct run running; /* sentinel */
	bool stop, waking;
	unsigned submitters;	     /* that wait for room */
	unsigned named;		     /* threads started so far */
	exs_thread_pool_stats stats; /* workers = alive */
};

struct worker {
	struct exsi_worker base;
	struct pool *pool;
	unsigned depth; /* calls it runs inside waits of others, one in the other: bounded, as its stack is */
};

/* --- queue and running list, under the lock --- */

static void push(struct pool *p, struct slot *s)
{
	s->next = &p->queue;
	s->prev = p->queue.prev;
	s->prev->next = s;
	p->queue.prev = s;
	p->stats.queued++;
}

static void unlink_slot(struct pool *p, struct slot *s)
{
	s->prev->next = s->next;
	s->next->prev = s->prev;
	s->prev = NULL;
	p->stats.queued--;
	if (p->submitters)
		pthread_cond_signal(&p->room);
}

static void begin_run(struct pool *p, struct run *run, exs_future *f)
{
	run->call = f;
	run->next = &p->running;
	run->prev = p->running.prev;
	run->prev->next = run;
	p->running.prev = run;
	p->stats.running++;
	p->stats.started++;
}

/* The next call that no canceller was faster to get. */
static bool pop(struct pool *p, struct run *run)
{
	struct slot *s;

	while ((s = p->queue.next) != &p->queue) {
		exs_future *f = exsi_slot_call(s, p->x);
		unlink_slot(p, s);
		if (!exsi_call_claim_run(f))
			continue; /* its canceller waits for the lock, and finds it unlinked */
		begin_run(p, run, f);
		return true;
	}
	return false;
}

/* Without the lock. The running list is left before the call goes on: it may be gone then. */
static void run_call(struct pool *p, struct run *run)
{
	exs_future *f = run->call;
	exs_result r;

	exs_call_run(f, &r);
	pthread_mutex_lock(&p->lock);
	run->prev->next = run->next;
	run->next->prev = run->prev;
	p->stats.running--;
	pthread_mutex_unlock(&p->lock);
	exs_call_resume(f, p->x, EXS_UP, &r);
}

/* --- workers --- */

static unsigned runnable(const struct pool *p)
{
	return (unsigned)(p->stats.workers - p->stats.waiting);
}

static bool surplus(const struct pool *p)
{
	return runnable(p) > p->options.workers;
}

static void wake_one(struct pool *p)
{
	if (!p->stats.idle || p->waking)
		return;
	p->waking = true;
	pthread_cond_signal(&p->work);
}

static bool worker_help(struct exsi_worker *w, exs_future *f);
static bool worker_concerns(struct exsi_worker *w, exs_future *f);
static int worker_block(struct exsi_worker *w, bool concerned, const struct exsi_nudge *nudge);
static void worker_unblock(struct exsi_worker *w);

static void worker_main(void *arg)
{
	struct pool *p = arg;
	struct worker me = {{worker_help, worker_concerns, worker_block, worker_unblock, NULL}, p, 0};
	struct run run;

	exsi_self()->worker = &me.base;
	pthread_mutex_lock(&p->lock);
	while (!surplus(p)) {
		if (!pop(p, &run)) {
			if (p->stop)
				break;
			p->stats.idle++;
			pthread_cond_wait(&p->work, &p->lock);
			p->stats.idle--;
			p->waking = false;
			continue;
		}
		if (p->queue.next != &p->queue)
			wake_one(p);
		pthread_mutex_unlock(&p->lock);
		run_call(p, &run);
		pthread_mutex_lock(&p->lock);
	}
	p->stats.workers--;
	wake_one(p); /* what woke this one may have been meant for work */
	pthread_mutex_unlock(&p->lock);
}

/* Without the lock, the thread counted already. */
static bool start_worker(struct pool *p, unsigned number)
{
	char name[48];

	snprintf(name, sizeof(name), "%.10s-%u", *p->x->name ? p->x->name : "exs", number);
	int rc = exsi_crew_start(&p->crew, name, p->options.stack_size, worker_main, p);
	if (!rc)
		return true;
	exsi_log(EXS_LOG_WARNING, p->x->name, "thread pool: no further thread (error %d)", rc);
	pthread_mutex_lock(&p->lock);
	p->stats.workers--;
	pthread_mutex_unlock(&p->lock);
	return false;
}

static bool may_grow(const struct pool *p)
{
	return p->stats.workers < (size_t)p->options.workers + p->options.max_spares &&
	       runnable(p) < p->options.workers;
}

/* With the lock, which it leaves to start a thread: one for work about to come. false: there is none at all to do it. */
static bool provide_worker(struct pool *p)
{
	if (p->stats.queued < p->stats.idle ||
	    !may_grow(p)) /* those that are idle may have been woken for what is queued */
		return true;
	p->stats.workers++;
	unsigned number = ++p->named;
	pthread_mutex_unlock(&p->lock);
	bool started = start_worker(p, number);
	pthread_mutex_lock(&p->lock);
	return started || runnable(p);
}

/* --- waiting inside a task --- */

static struct pool *pool_of(struct exsi_worker *w)
{
	return EXSI_CONTAINER_OF(w, struct worker, base)->pool;
}

static bool needs_pool(exs_future *f, void *p)
{
	return exsi_stands_on(f, ((struct pool *)p)->x);
}

static bool worker_concerns(struct exsi_worker *w, exs_future *f)
{
	return exsi_find_work(f, needs_pool, pool_of(w));
}

struct help {
	struct pool *pool;
	struct run run;
};

/* Takes it out of the queue, to be run here. */
static bool take_over(exs_future *f, void *arg)
{
	struct help *help = arg;
	struct pool *p = help->pool;

	if (!needs_pool(f, p))
		return false;
	pthread_mutex_lock(&p->lock);
	bool mine = exsi_call_claim_run(f);
	if (mine) {
		unlink_slot(p, exsi_slot(f, p->x));
		begin_run(p, &help->run, f);
	}
	pthread_mutex_unlock(&p->lock);
	return mine;
}

static bool worker_help(struct exsi_worker *w, exs_future *f)
{
	struct worker *me = EXSI_CONTAINER_OF(w, struct worker, base);
	struct help help = {.pool = me->pool};

	if (me->depth >= MAX_HELP || !exsi_find_work(f, take_over, &help))
		return false;
	me->depth++;
	run_call(me->pool, &help.run);
	me->depth--;
	return true;
}

static int worker_block(struct exsi_worker *w, bool concerned, const struct exsi_nudge *nudge)
{
	struct pool *p = pool_of(w);

	(void)nudge;
	pthread_mutex_lock(&p->lock);
	p->stats.waiting++;
	bool stuck = concerned && !runnable(p) && !may_grow(p);
	if (!stuck && p->queue.next != &p->queue)
		stuck = !provide_worker(p) && concerned;
	if (stuck)
		p->stats.waiting--;
	pthread_mutex_unlock(&p->lock);
	return stuck ? EXS_EDEADLK : EXS_OK;
}

static void worker_unblock(struct exsi_worker *w)
{
	struct pool *p = pool_of(w);

	pthread_mutex_lock(&p->lock);
	p->stats.waiting--;
	if (surplus(p))
		pthread_cond_signal(&p->work); /* an idle one leaves; otherwise the next that ends its task */
	pthread_mutex_unlock(&p->lock);
}

/* --- hooks --- */

static bool is_own_worker(struct pool *p)
{
	struct exsi_worker *w = exsi_self()->worker;

	return w && w->help == worker_help && pool_of(w) == p;
}

static bool full(const struct pool *p)
{
	return p->stats.queued >= p->options.queue_limit;
}

static bool closing(const struct pool *p, exs_future *f)
{
	return atomic_load(&p->x->closing) || atomic_load(&exsi_top(f)->closing);
}

/* With the lock, which it leaves. NULL when there is room. */
static exs_error *wait_for_room(struct pool *p, exs_future *f)
{
	pthread_mutex_unlock(&p->lock);
	int rc = exsi_block(false, NULL);
	pthread_mutex_lock(&p->lock);
	p->submitters++;
	while (full(p) && !closing(p, f))
		pthread_cond_wait(&p->room, &p->lock);
	p->submitters--;
	bool closed = closing(p, f);
	pthread_mutex_unlock(&p->lock);
	if (!rc)
		exsi_unblock();
	pthread_mutex_lock(&p->lock);
	return closed ? exsi_error(EXS_ESHUTDOWN) : NULL;
}

/* With the lock: may the call be queued? Only the thread inside the submit is made to wait, or rejected. */
static exs_error *admit(struct pool *p, exs_future *f)
{
	exs_entry entry = exs_call_entry(f);
	exs_error *error = NULL;

	while (!error && full(p)) {
		if (entry == EXS_ENTRY_RESTART || is_own_worker(p)) {
			p->stats.over_limit++;
			return NULL;
		}
		if (entry == EXS_ENTRY_TRY || p->options.when_full == EXS_FULL_REJECT) {
			p->stats.rejected++;
			return exsi_error(EXS_EREJECTED);
		}
		error = wait_for_room(p, f);
	}
	return error;
}

static exs_step pool_start(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	struct pool *p = exsi_state(x);

	pthread_mutex_lock(&p->lock);
	/* The worker first, since that leaves the lock: the room that admit finds must still be there at the push. */
	exs_error *error = provide_worker(p) ? admit(p, f) : exsi_error(EXS_ETHREAD);
	bool parked = !error && exs_call_park(f, x);
	if (parked) {
		push(p, slot);
		wake_one(p);
	} else if (p->submitters && !full(p)) {
		pthread_cond_signal(&p->room); /* for the next that waits: the signal may have been this one's */
	}
	pthread_mutex_unlock(&p->lock);
	if (parked)
		return EXS_HELD;
	*r = error ? exs_fail(error) : exs_cancelled();
	return EXS_UP;
}

static exs_step pool_cancel(exs_executor *x, exs_future *f, void *slot, exs_cause cause, exs_result *r)
{
	struct pool *p = exsi_state(x);
	struct slot *s = slot;

	(void)f, (void)cause, (void)r;
	pthread_mutex_lock(&p->lock);
	if (s->prev)
		unlink_slot(p, s);
	pthread_mutex_unlock(&p->lock);
	return EXS_UP;
}

static void pool_each(exs_executor *x, exs_visit_fn *visit, void *arg)
{
	struct pool *p = exsi_state(x);

	pthread_mutex_lock(&p->lock);
	for (struct slot *s = p->queue.next; s != &p->queue; s = s->next)
		visit(exsi_slot_call(s, x), arg);
	for (struct run *run = p->running.next; run != &p->running; run = run->next)
		visit(run->call, arg);
	pthread_mutex_unlock(&p->lock);
}

static void pool_closing(exs_executor *x)
{
	struct pool *p = exsi_state(x);

	pthread_mutex_lock(&p->lock);
	pthread_cond_broadcast(&p->room);
	pthread_mutex_unlock(&p->lock);
}

static void pool_stop(exs_executor *x)
{
	struct pool *p = exsi_state(x);

	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	exsi_crew_join(&p->crew);
	exsi_crew_fini(&p->crew);
	pthread_cond_destroy(&p->work);
	pthread_cond_destroy(&p->room);
	pthread_mutex_destroy(&p->lock);
}

static int pool_describe(exs_executor *x, char *buf, size_t size)
{
	struct pool *p = exsi_state(x);

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

static const char *check(const exs_thread_pool_options *o)
{
	if (o->workers > 65536)
		return "workers: at most 65536";
	if (o->queue_limit == EXS_NONE)
		return "queue_limit: EXS_NONE would let no call in; 0 is no limit";
	if (o->when_full != EXS_FULL_BLOCK && o->when_full != EXS_FULL_REJECT)
		return "when_full: EXS_FULL_BLOCK or EXS_FULL_REJECT";
	return NULL;
}

static void set_defaults(exs_thread_pool_options *o)
{
	if (!o->workers)
		o->workers = exsi_cores();
	if (!o->queue_limit || o->queue_limit == EXS_UNLIMITED)
		o->queue_limit = SIZE_MAX;
	if (!o->max_spares)
		o->max_spares = DEFAULT_SPARES;
	else if (o->max_spares == EXS_NONE)
		o->max_spares = 0;
}

exs_executor *exs_thread_pool_sized(const exs_thread_pool_options *options, size_t size)
{
	exs_thread_pool_options o;

	if (!exsi_options(&o, sizeof(o), options, size))
		return exsi_fail_null(EXS_EINVAL, "exs_thread_pool: options that this library does not know");
	const char *wrong = check(&o);
	if (wrong)
		return exsi_fail_null(EXS_EINVAL, "exs_thread_pool: %s", wrong);
	exs_executor *x = exs_layer_new(&pool_ops, NULL, sizeof(struct pool), sizeof(struct slot));
	if (!x)
		return NULL;
	exs_with_name(x, o.name);
	o.name = NULL; /* the caller's */
	set_defaults(&o);
	struct pool *p = exsi_state(x);
	p->x = x;
	p->options = o;
	exsi_crew_init(&p->crew);
	pthread_mutex_init(&p->lock, NULL);
	exsi_cond_init(&p->work);
	exsi_cond_init(&p->room);
	p->queue.next = p->queue.prev = &p->queue;
	p->running.next = p->running.prev = &p->running;
	return x;
}

exs_executor *exs_thread_pool(unsigned workers)
{
	exs_thread_pool_options options = {.workers = workers};

	return exs_thread_pool_with(&options);
}

int exs_thread_pool_get_stats(exs_executor *x, exs_thread_pool_stats *stats)
{
	if (!x || !stats || x->leaf->ops.start != pool_start)
		return exsi_fail(
			EXS_EINVAL,
			"exs_thread_pool_get_stats: no thread pool at the bottom of the chain, or stats is NULL");
	struct pool *p = exsi_state(x->leaf);
	pthread_mutex_lock(&p->lock);
	*stats = p->stats;
	pthread_mutex_unlock(&p->lock);
	return EXS_OK;
}
