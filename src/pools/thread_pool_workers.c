/* The thread pool's workers: they come with the work, retire, wait inside tasks. */
#include "base/memory.h"
#include "pools/thread_pool.h"

#include <errno.h>
#include <stdio.h>

enum { MAX_HELP = 256, COALESCE = 20 };

/* --- running --- */

/* Without the lock. The running list is left before the call goes on: it may be gone then. */
static void run_call(struct exsi_pool *p, struct exsi_pool_run *run)
{
	exs_future *f = run->call;
	exs_result r;

	exs_call_run(f, &r);
	exsi_pool_lock(p);
	exsi_pool_end_run(p, run);
	exsi_pool_unlock(p);
	exs_call_resume(f, p->x, EXS_UP, &r);
}

/* The next that is ready, as the current; NULL: none. Who looks at what is current waits while it is being fetched. */
static exs_future *fetch(struct exsi_pool *p, struct exsi_pool_worker *me)
{
	/* Released by what takes a call out of a ring: who misses it there sees this. */
	atomic_store_explicit(&me->current, EXSI_POOL_FETCHING, memory_order_relaxed);
	exs_future *f = exsi_pool_next(p, me);

	atomic_store_explicit(&me->current, (uintptr_t)f, memory_order_release);
	if (!f)
		return NULL;
	atomic_store_explicit(&me->started, atomic_load_explicit(&me->started, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	return f;
}

static void clear_current(struct exsi_pool_worker *me, exs_future *f)
{
	uintptr_t expected = (uintptr_t)f;

	for (unsigned turn = 0; !atomic_compare_exchange_strong(&me->current, &expected, 0); turn++) {
		expected = (uintptr_t)f; /* somebody looks at it */
		exsi_relax(turn);
	}
}

/* The current is none any more before it goes on: it may be gone then. */
static void run_current(struct exsi_pool_worker *me, exs_future *f)
{
	exs_result r;

	exs_call_run(f, &r);
	clear_current(me, f);
	exs_call_resume(f, me->pool->x, EXS_UP, &r);
}

/* With the lock, which it leaves; false: there was nothing. Goes on until no call is ready, or more workers are there than may be. */
static bool run_ready(struct exsi_pool *p, struct exsi_pool_worker *me)
{
	bool limited = exsi_pool_is_limited(p);

	exsi_pool_fill(p, me);
	exs_future *f = fetch(p, me);
	if (!f)
		return false;
	if (exsi_pool_queued(p))
		exsi_pool_wake_one(p);
	exsi_pool_unlock(p);
	run_current(me, f);
	while (!limited && !atomic_load_explicit(&p->crowded, memory_order_relaxed) && (f = fetch(p, me)))
		run_current(me, f);
	exsi_pool_lock(p);
	return true;
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
		exsi_pool_ring(p->oldest);
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

static bool has_come(void *pool)
{
	struct exsi_pool *p = pool;

	return exsi_inbox_top(&p->inbox) || !atomic_load_explicit(&p->spinning, memory_order_relaxed);
}

/* Looks for a while whether something comes before it sleeps: one at a time. */
static bool spin(struct exsi_pool *p, struct exsi_pool_worker *me)
{
	if (atomic_load(&p->spinning) || exsi_pool_is_limited(p))
		return false;
	atomic_store(&p->spinning, true);
	p->stats.idle++;
	exsi_pool_unlock(p);
	bool some = exsi_spin(&me->patience, has_come, p);
	for (unsigned turn = 0; turn < COALESCE && some; turn++)
		exsi_pause(); /* more is about to come: fewer trips of the inbox's line */
	exsi_pool_lock(p);
	some = some || !atomic_load(&p->spinning);
	atomic_store(&p->spinning, false);
	p->stats.idle--;
	exsi_pool_set_mode(p);
	return some;
}

/* Sleeps until there is something to look at; false: it has been idle for long enough, and is to end. */
static bool sleep_idle(struct exsi_pool *p, struct exsi_pool_worker *me)
{
	bool retire = false;

	me->since = exsi_now();
	exsi_spin_slept(&me->patience, true);
	lie_down(p, me);
	exsi_pool_set_mode(p);
	while (p->waking != me && !retire && !p->stop && !surplus(p) && !exsi_pool_queued(p) &&
	       exsi_inbox_is_empty(&p->inbox)) {
		me->timed = p->oldest == me && may_retire(p);
		uint64_t until = me->timed ? exsi_after(me->since, p->idle_ns) : EXSI_NEVER;
		atomic_store(&me->bell, 0);
		exsi_pool_unlock(p);
		bool over = !exsi_park(&me->bell, 0, until);
		exsi_pool_lock(p);
		if (over && exsi_pool_queued(p))
			break;
		retire = over && p->waking != me && may_retire(p);
	}
	me->timed = false;
	get_up(p, me);
	exsi_spin_slept(&me->patience, false);
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
	exsi_pool_unlock(p);
	exs_error_unref(before);
	exsi_pool_lock(p);
}

void exsi_pool_fail_queued(struct exsi_pool *p, exs_error *error)
{
	exsi_pool_lock(p);
	bool mine = !p->failing;
	p->failing = true;
	exsi_pool_set_mode(p);
	exsi_pool_recall(p);
	while (mine && p->stats.queued && !exsi_pool_runnable(p)) {
		exs_future *f = exsi_slot_call(exsi_pool_shift(p), p->x);
		if (!exs_call_claim(f))
			continue; /* its canceller waits for the lock, and finds it out of the queue */
		exsi_pool_unlock(p);
		exs_result r = exs_fail(exs_error_ref(error));
		exs_call_resume(f, p->x, EXS_UP, &r);
		exsi_pool_lock(p);
	}
	if (mine)
		p->failing = false;
	exsi_pool_unlock(p);
}

/* --- the thread --- */

/* Until it is to end. Answers whether that is for want of work. */
static bool serve(struct exsi_pool *p, struct exsi_pool_worker *me)
{
	while (!surplus(p)) {
		if (run_ready(p, me))
			continue;
		if (p->stop)
			return false;
		if (spin(p, me))
			continue;
		bool stays = sleep_idle(p, me);
		look_at_oldest(p);
		if (!stays)
			return true;
	}
	return false;
}

/* Is not counted any more; false: what has come meanwhile needs it. */
static bool leave(struct exsi_pool *p, struct exsi_pool_worker *me)
{
	p->stats.workers--;
	exsi_pool_set_mode(p);
	exsi_pool_gather(p);
	exsi_pool_recall_own(p, me);
	if (!exsi_pool_queued(p) || !exsi_pool_lacks_worker(p, 0))
		return true;
	p->stats.workers++;
	return false;
}

static void work(struct exsi_pool *p, struct exsi_pool_worker *me)
{
	bool retired;

	exsi_pool_lock(p);
	p->stats.idle--;
	exsi_list_append(&p->workers, &me->all);
	me->serves = true;
	do
		retired = serve(p, me);
	while (!leave(p, me));
	me->serves = false;
	exsi_list_remove(&me->all);
	p->stats.started += atomic_load(&me->started);
	p->stats.retired += retired;
	if (exsi_pool_queued(p))
		exsi_pool_wake_one(p); /* what woke this one may have been meant for work */
	exsi_pool_unlock(p);
}

/* Its setup failed. */
static void fall_out(struct exsi_pool *p, exs_error *error)
{
	exsi_pool_lock(p);
	count_failure(p, exs_error_ref(error));
	exsi_pool_unlock(p);
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
	w->base = (struct exsi_worker){.help = worker_help,
				       .concerns = worker_concerns,
				       .block = worker_block,
				       .unblock = worker_unblock,
				       .state = worker_state,
				       .replaced = worker_replaced};
	w->pool = p;
	w->number = number;
	snprintf(name, sizeof(name), "%.10s-%u", *p->x->name ? p->x->name : "exs", number);
	int rc = exsi_crew_start(&p->crew, name, p->options.stack_size, worker_main, w);
	if (!rc)
		return 0;
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
	exsi_pool_unlock(p);
	int rc = launch(p, number);
	if (rc)
		exsi_log(EXS_LOG_WARNING, p->x->name, "thread pool: no further thread (error %d)", rc);
	exsi_pool_lock(p);
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
	exsi_pool_lock(p);
	p->stop = true;
	for (struct exsi_pool_worker *w = p->newest; w; w = w->next)
		exsi_pool_ring(w);
	exsi_pool_unlock(p);
	exsi_crew_join(&p->crew);
	exsi_crew_fini(&p->crew);
	exs_error_unref(p->why);
}

/* --- waiting inside a task --- */

static struct exsi_pool_worker *worker_of(struct exsi_worker *w)
{
	return EXSI_CONTAINER_OF(w, struct exsi_pool_worker, base);
}

struct exsi_pool_worker *exsi_pool_own_worker(const struct exsi_pool *p)
{
	struct exsi_worker *w = exsi_self()->worker;

	return w && w->help == worker_help && worker_of(w)->pool == p ? worker_of(w) : NULL;
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
	return exsi_find_need(f, needs_pool, worker_of(w)->pool);
}

/* Takes it out of where it is queued, to be run here. */
static bool take_over(struct exsi_pool *p, exs_future *f, struct exsi_pool_run *run)
{
	exsi_pool_lock(p);
	bool mine = exsi_call_claim_run(f);
	if (mine) {
		exsi_pool_remove(p, exsi_slot(f, p->x));
		exsi_pool_begin_run(p, run, f);
	}
	exsi_pool_unlock(p);
	return mine;
}

bool exsi_pool_run_here(exs_executor *x, exs_future *f)
{
	struct exsi_pool *p = exsi_state(x);
	struct exsi_pool_run run;
	bool mine = take_over(p, f, &run);

	if (mine)
		run_call(p, &run);
	return mine;
}

static bool help_with(exs_future *f, void *worker)
{
	struct exsi_pool_worker *me = worker;

	if (!exsi_stands_on(f, me->pool->x))
		return false;
	me->depth++;
	bool ran = exsi_pool_run_here(me->pool->x, f);
	me->depth--;
	return ran;
}

static bool worker_help(struct exsi_worker *w, exs_future *f)
{
	struct exsi_pool_worker *me = worker_of(w);

	me->heard = atomic_load(&me->pool->news);
	return me->depth < MAX_HELP && exsi_has_stack() && exsi_help_work(f, help_with, me);
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

void exsi_pool_attend(struct exsi_pool *p)
{
	exsi_pool_lock(p);
	exsi_pool_gather(p);
	exs_error *error = exsi_pool_provide(p, 0);
	if (exsi_pool_queued(p))
		exsi_pool_wake_one(p);
	exsi_pool_unlock(p);
	if (error)
		exsi_pool_fail_queued(p, error);
	exs_error_unref(error);
}

/* Under the lock, counted as waiting: is nobody left for what is queued? It may leave the lock. */
static bool is_stuck(struct exsi_pool *p)
{
	if (!exsi_pool_runnable(p) && !exsi_pool_may_grow(p))
		return true;
	exs_error *error = exsi_pool_queued(p) ? exsi_pool_provide(p, 0) : NULL;
	exs_error_unref(error);
	return error;
}

static int worker_block(struct exsi_worker *w, bool concerned, const struct exsi_nudge *nudge)
{
	struct exsi_pool_worker *me = worker_of(w);
	struct exsi_pool *p = me->pool;
	int rc = EXS_OK;

	exsi_pool_lock(p);
	p->stats.waiting++;
	exsi_pool_set_mode(p);
	exsi_pool_gather(p);
	exsi_pool_recall_own(p, me);
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
	else if (stuck && exsi_pool_queued(p))
		exsi_pool_nudge(p);
	if (exsi_pool_queued(p))
		exsi_pool_wake_one(p);
	exsi_pool_unlock(p);
	return rc;
}

static void worker_unblock(struct exsi_worker *w)
{
	struct exsi_pool_worker *me = worker_of(w);
	struct exsi_pool *p = me->pool;

	exsi_pool_lock(p);
	if (me->nudge)
		listen_no_more(p, me);
	p->stats.waiting--;
	look_at_oldest(p); /* of a surplus, it leaves; if none is idle, the next that ends its task */
	exsi_pool_unlock(p);
}

static bool worker_replaced(struct exsi_worker *w)
{
	struct exsi_pool *p = worker_of(w)->pool;

	exsi_pool_lock(p);
	bool replaced = exsi_pool_runnable(p) || exsi_pool_may_grow(p);
	exsi_pool_unlock(p);
	return replaced;
}
