/* The thread pool's workers: they come with the work, retire, wait inside tasks. */
#include "base/memory.h"
#include "pools/thread_pool.h"

#include <errno.h>
#include <stdio.h>

enum { MAX_HELP = 256 };

/* --- running --- */

/* With the lock: the next call that no canceller was faster to get. */
static bool pop(struct exsi_pool *p, struct exsi_pool_run *run)
{
	struct exsi_pool_slot *s;

	while ((s = p->queue.next) != &p->queue) {
		exs_future *f = exsi_slot_call(s, p->x);
		exsi_pool_unlink(p, s);
		if (!exsi_call_claim_run(f))
			continue; /* its canceller waits for the lock, and finds it unlinked */
		exsi_pool_begin_run(p, run, f);
		return true;
	}
	return false;
}

/* Without the lock. The running list is left before the call goes on: it may be gone then. */
static void run_call(struct exsi_pool *p, struct exsi_pool_run *run)
{
	exs_future *f = run->call;
	exs_result r;

	exs_call_run(f, &r);
	pthread_mutex_lock(&p->lock);
	exsi_pool_end_run(p, run);
	pthread_mutex_unlock(&p->lock);
	exs_call_resume(f, p->x, EXS_UP, &r);
}

/* --- idle, under the lock --- */

/* More than may be: one leaves at once. */
static bool surplus(const struct exsi_pool *p)
{
	return exsi_pool_runnable(p) > p->options.workers;
}

/* Not before the call is queued for which one is just being started. */
static bool may_retire(const struct exsi_pool *p)
{
	return exsi_pool_runnable(p) > p->options.min_workers && !p->starting;
}

/* After the longest idle one, or what decides on its end, has changed: it may have to end, now or later. */
static void look_at_oldest(struct exsi_pool *p)
{
	if (p->oldest && may_retire(p) && (!p->oldest->timed || surplus(p)))
		pthread_cond_signal(&p->oldest->wake);
}

static void lie_down(struct exsi_pool *p, struct exsi_pool_worker *me)
{
	me->prev = NULL;
	me->next = p->newest;
	if (me->next)
		me->next->prev = me;
	else
		p->oldest = me;
	p->newest = me;
	p->stats.idle++;
}

static void get_up(struct exsi_pool *p, struct exsi_pool_worker *me)
{
	if (me->next)
		me->next->prev = me->prev;
	else
		p->oldest = me->prev;
	if (me->prev)
		me->prev->next = me->next;
	else
		p->newest = me->next;
	if (p->waking == me)
		p->waking = NULL;
	p->stats.idle--;
}

/* Sleeps until there is something to look at; false: it has been idle for long enough, and is to end. */
static bool sleep_idle(struct exsi_pool *p, struct exsi_pool_worker *me)
{
	bool retire = false;

	me->since = p->options.min_workers < p->options.workers ? exsi_now() : 0;
	lie_down(p, me);
	while (p->waking != me && !retire && !p->stop && !surplus(p)) {
		me->timed = p->oldest == me && may_retire(p);
		uint64_t until = me->timed ? exsi_after(me->since, p->idle_ns) : EXSI_NEVER;
		bool over = !exsi_cond_wait(&me->wake, &p->lock, until);
		if (over && exsi_pool_has_work(p))
			break;
		retire = over && p->waking != me && may_retire(p);
	}
	me->timed = false;
	get_up(p, me);
	return !retire;
}

/* --- user code at the beginning and at the end of a worker --- */

static exs_error *set_up(struct exsi_pool *p, struct exsi_pool_worker *me)
{
	struct exsi_frame frame;
	int rc = p->options.n_cpus ? exsi_bind(p->options.cpus, p->options.n_cpus) : 0;

	if (rc)
		exsi_log(EXS_LOG_WARNING, p->x->name,
			 "thread pool: worker %u is not bound to its processors (error %d)", me->number, rc);
	if (!p->options.setup)
		return NULL;
	exsi_frame_push(&frame, NULL);
	frame.layer = p->x;
	exs_error *error = p->options.setup(p->options.ctx, me->number, &me->state);
	exsi_frame_pop(&frame);
	if (error)
		exsi_log(EXS_LOG_WARNING, p->x->name, "thread pool: no further thread (setup of worker %u: %s)",
			 me->number, exs_error_message(error));
	return error;
}

static void tear_down(struct exsi_pool *p, struct exsi_pool_worker *me)
{
	struct exsi_frame frame;

	if (!p->options.teardown)
		return;
	exsi_frame_push(&frame, NULL);
	frame.layer = p->x;
	p->options.teardown(p->options.ctx, me->number, me->state);
	exsi_frame_pop(&frame);
}

/* --- workers that can't be had --- */

/* With the lock, which it leaves for a moment. One that was counted is not to be had; takes over the error. */
static void count_failure(struct exsi_pool *p, exs_error *error)
{
	exs_error *before = p->why;

	p->stats.workers--;
	p->stats.idle--;
	p->failures++;
	p->why = error;
	pthread_mutex_unlock(&p->lock);
	exs_error_unref(before);
	pthread_mutex_lock(&p->lock);
}

void exsi_pool_fail_queued(struct exsi_pool *p, exs_error *error)
{
	pthread_mutex_lock(&p->lock);
	bool mine = !p->failing;
	p->failing = true;
	while (mine && exsi_pool_has_work(p) && !exsi_pool_runnable(p)) {
		struct exsi_pool_slot *s = p->queue.next;
		exs_future *f = exsi_slot_call(s, p->x);
		exsi_pool_unlink(p, s);
		if (!exs_call_claim(f))
			continue; /* as in pop */
		pthread_mutex_unlock(&p->lock);
		exs_result r = exs_fail(exs_error_ref(error));
		exs_call_resume(f, p->x, EXS_UP, &r);
		pthread_mutex_lock(&p->lock);
	}
	if (mine)
		p->failing = false;
	pthread_mutex_unlock(&p->lock);
}

/* --- the thread --- */

static void work(struct exsi_pool *p, struct exsi_pool_worker *me)
{
	struct exsi_pool_run run;
	bool retired = false;

	pthread_mutex_lock(&p->lock);
	p->stats.idle--;
	while (!retired && !surplus(p)) {
		if (!pop(p, &run)) {
			if (p->stop)
				break;
			retired = !sleep_idle(p, me);
			look_at_oldest(p);
			continue;
		}
		if (exsi_pool_has_work(p))
			exsi_pool_wake_one(p);
		pthread_mutex_unlock(&p->lock);
		run_call(p, &run);
		pthread_mutex_lock(&p->lock);
	}
	p->stats.workers--;
	p->stats.retired += retired;
	if (exsi_pool_has_work(p))
		exsi_pool_wake_one(p); /* what woke this one may have been meant for work */
	look_at_oldest(p);
	pthread_mutex_unlock(&p->lock);
}

/* Its setup failed. */
static void fall_out(struct exsi_pool *p, exs_error *error)
{
	pthread_mutex_lock(&p->lock);
	count_failure(p, exs_error_ref(error));
	pthread_mutex_unlock(&p->lock);
	exsi_pool_fail_queued(p, error);
	exs_error_unref(error);
}

static void worker_main(void *arg)
{
	struct exsi_pool_worker *me = arg;
	struct exsi_pool *p = me->pool;

	exsi_self()->worker = &me->base;
	exs_error *error = set_up(p, me);
	if (!error)
		work(p, me);
	exsi_self()->worker = NULL; /* it is not counted any more */
	if (error)
		fall_out(p, error);
	else
		tear_down(p, me);
	pthread_cond_destroy(&me->wake);
	exsi_free(me);
}

static bool worker_help(struct exsi_worker *w, exs_future *f);
static bool worker_concerns(struct exsi_worker *w, exs_future *f);
static int worker_block(struct exsi_worker *w, bool concerned, const struct exsi_nudge *nudge);
static void worker_unblock(struct exsi_worker *w);
static void *worker_state(struct exsi_worker *w, exs_future *f);
static bool worker_replaced(struct exsi_worker *w);

static int launch(struct exsi_pool *p, unsigned number)
{
	struct exsi_pool_worker *w = exsi_zalloc(sizeof(*w));
	char name[48];

	if (!w)
		return ENOMEM;
	w->base = (struct exsi_worker){worker_help, worker_concerns, worker_block,   worker_unblock,
				       NULL,	    worker_state,    worker_replaced};
	w->pool = p;
	w->number = number;
	exsi_cond_init(&w->wake);
	snprintf(name, sizeof(name), "%.10s-%u", *p->x->name ? p->x->name : "exs", number);
	int rc = exsi_crew_start(&p->crew, name, p->options.stack_size, worker_main, w);
	if (!rc)
		return 0;
	pthread_cond_destroy(&w->wake);
	exsi_free(w);
	return rc;
}

/* With the lock, which it leaves. */
static void start_worker(struct exsi_pool *p)
{
	unsigned number = ++p->named;

	p->stats.workers++;
	p->stats.idle++;
	p->starting++;
	pthread_mutex_unlock(&p->lock);
	int rc = launch(p, number);
	if (rc)
		exsi_log(EXS_LOG_WARNING, p->x->name, "thread pool: no further thread (error %d)", rc);
	pthread_mutex_lock(&p->lock);
	p->starting--;
	if (rc)
		count_failure(p, exsi_error(EXS_ETHREAD));
	look_at_oldest(p);
}

exs_error *exsi_pool_provide(struct exsi_pool *p, size_t coming)
{
	size_t failures = p->failures;

	/* Each start leaves the lock: what was idle may have work or be gone. */
	while (exsi_pool_lacks_worker(p, coming)) {
		if (p->failures != failures)
			return exsi_pool_runnable(p) ? NULL : exs_error_ref(p->why);
		start_worker(p);
	}
	return NULL;
}

void exsi_pool_end_workers(struct exsi_pool *p)
{
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	for (struct exsi_pool_worker *w = p->newest; w; w = w->next)
		pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&p->lock);
	exsi_crew_join(&p->crew);
	exsi_crew_fini(&p->crew);
	exs_error_unref(p->why);
}

/* --- waiting inside a task --- */

static struct exsi_pool_worker *worker_of(struct exsi_worker *w)
{
	return EXSI_CONTAINER_OF(w, struct exsi_pool_worker, base);
}

bool exsi_pool_own_worker(const struct exsi_pool *p)
{
	struct exsi_worker *w = exsi_self()->worker;

	return w && w->help == worker_help && worker_of(w)->pool == p;
}

static void *worker_state(struct exsi_worker *w, exs_future *f)
{
	return exsi_top(f)->leaf == worker_of(w)->pool->x ? worker_of(w)->state : NULL;
}

static bool needs_pool(exs_future *f, void *p)
{
	exs_executor *x = ((struct exsi_pool *)p)->x;

	return exsi_stands_on(f, x) || exsi_needs(f, x);
}

static bool worker_concerns(struct exsi_worker *w, exs_future *f)
{
	return exsi_find_work(f, needs_pool, worker_of(w)->pool);
}

struct help {
	struct exsi_pool *pool;
	struct exsi_pool_run run;
};

/* Takes it out of the queue, to be run here. */
static bool take_over(exs_future *f, void *arg)
{
	struct help *help = arg;
	struct exsi_pool *p = help->pool;

	if (!exsi_stands_on(f, p->x))
		return false;
	pthread_mutex_lock(&p->lock);
	bool mine = exsi_call_claim_run(f);
	if (mine) {
		exsi_pool_unlink(p, exsi_slot(f, p->x));
		exsi_pool_begin_run(p, &help->run, f);
	}
	pthread_mutex_unlock(&p->lock);
	return mine;
}

static bool worker_help(struct exsi_worker *w, exs_future *f)
{
	struct exsi_pool_worker *me = worker_of(w);
	struct help help = {.pool = me->pool};

	me->heard = atomic_load(&me->pool->news);
	if (me->depth >= MAX_HELP || !exsi_find_work(f, take_over, &help))
		return false;
	me->depth++;
	run_call(me->pool, &help.run);
	me->depth--;
	return true;
}

static void listen(struct exsi_pool *p, struct exsi_pool_worker *me, const struct exsi_nudge *nudge)
{
	me->nudge = nudge;
	me->prev = NULL;
	me->next = p->waiting;
	if (me->next)
		me->next->prev = me;
	p->waiting = me;
}

static void listen_no_more(struct exsi_pool *p, struct exsi_pool_worker *me)
{
	if (me->next)
		me->next->prev = me->prev;
	if (me->prev)
		me->prev->next = me->next;
	else
		p->waiting = me->next;
	me->nudge = NULL;
}

/* Under the lock, counted as waiting: is nobody left for what is queued? It may leave the lock. */
static bool is_stuck(struct exsi_pool *p)
{
	if (!exsi_pool_runnable(p) && !exsi_pool_may_grow(p))
		return true;
	exs_error *error = exsi_pool_has_work(p) ? exsi_pool_provide(p, 0) : NULL;
	exs_error_unref(error);
	return error;
}

static int worker_block(struct exsi_worker *w, bool concerned, const struct exsi_nudge *nudge)
{
	struct exsi_pool_worker *me = worker_of(w);
	struct exsi_pool *p = me->pool;
	int rc = EXS_OK;

	pthread_mutex_lock(&p->lock);
	p->stats.waiting++;
	bool stuck = is_stuck(p);
	unsigned news = atomic_load(&p->news);
	if (stuck && nudge && me->heard != news)
		rc = EXSI_AGAIN; /* the last look may have been before the last news */
	else if (stuck && concerned)
		rc = EXS_EDEADLK;
	else if (nudge && !me->nudge)
		listen(p, me, nudge);
	me->heard = news; /* as the look was */
	if (rc)
		p->stats.waiting--;
	else if (stuck && exsi_pool_has_work(p))
		exsi_pool_nudge(p);
	pthread_mutex_unlock(&p->lock);
	return rc;
}

static void worker_unblock(struct exsi_worker *w)
{
	struct exsi_pool_worker *me = worker_of(w);
	struct exsi_pool *p = me->pool;

	pthread_mutex_lock(&p->lock);
	if (me->nudge)
		listen_no_more(p, me);
	p->stats.waiting--;
	look_at_oldest(p); /* of a surplus, it leaves; if none is idle, the next that ends its task */
	pthread_mutex_unlock(&p->lock);
}

static bool worker_replaced(struct exsi_worker *w)
{
	struct exsi_pool *p = worker_of(w)->pool;

	pthread_mutex_lock(&p->lock);
	bool replaced = exsi_pool_runnable(p) || exsi_pool_may_grow(p);
	pthread_mutex_unlock(&p->lock);
	return replaced;
}
