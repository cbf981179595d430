/* The thread pool's calls on their way: through the inbox into the queue, from there through the ring to the workers. */
#include "pools/thread_pool.h"

static struct exsi_pool_slot *slot_of(struct exsi_inbox_node *link)
{
	return EXSI_CONTAINER_OF(link, struct exsi_pool_slot, link);
}

static uintptr_t at(struct exsi_pool_slot *s)
{
	return atomic_load_explicit(&s->at, memory_order_acquire);
}

static void set_at(struct exsi_pool_slot *s, uintptr_t where)
{
	atomic_store_explicit(&s->at, where, memory_order_release);
}

/* --- the lock --- */

void exsi_pool_set_mode(struct exsi_pool *p)
{
	bool limited = exsi_pool_is_limited(p);
	bool staffed = exsi_pool_runnable(p) && !exsi_pool_may_grow(p);
	bool asleep = p->newest && !p->waking && !atomic_load_explicit(&p->spinning, memory_order_relaxed);
	unsigned mode = (staffed && !limited ? EXSI_POOL_STAFFED : 0) | (asleep || !staffed ? EXSI_POOL_ATTEND : 0);
	bool crowded = exsi_pool_runnable(p) > p->options.workers;

	if (mode != atomic_load_explicit(&p->mode, memory_order_relaxed))
		atomic_store(&p->mode, mode);
	if (crowded != atomic_load_explicit(&p->crowded, memory_order_relaxed))
		atomic_store(&p->crowded, crowded);
}

static bool is_attended(struct exsi_pool *p)
{
	return atomic_load_explicit(&p->mode, memory_order_relaxed) & EXSI_POOL_ATTEND;
}

void exsi_pool_unlock(struct exsi_pool *p)
{
	bool before = is_attended(p);

	exsi_pool_set_mode(p);
	/* Who pushed before that counted on one that was on its way to look: which has looked, perhaps before the push. */
	if (!before && is_attended(p) && (!exsi_inbox_is_empty(&p->inbox) || exsi_pool_queued(p))) {
		exsi_pool_wake_one(p);
		exsi_pool_set_mode(p);
	}
	struct exsi_pool_worker *w = p->to_wake;
	atomic_uint *bell = w ? &w->bell : NULL;
	p->to_wake = NULL;
	if (w)
		atomic_store(&w->bell, 1);
	pthread_mutex_unlock(&p->lock);
	if (bell)
		exsi_unpark(bell, 1); /* by its address alone: the worker may be gone */
}

/* --- the queue --- */

static void link_after(struct exsi_pool *p, struct exsi_pool_slot *before, struct exsi_pool_slot *s)
{
	struct exsi_pool_slot *after = slot_of(before->link.next);

	s->link.next = &after->link;
	set_at(s, (uintptr_t)before);
	before->link.next = &s->link;
	set_at(after, (uintptr_t)s);
	p->stats.queued++;
}

static void link_last(struct exsi_pool *p, struct exsi_pool_slot *s)
{
	link_after(p, (struct exsi_pool_slot *)at(&p->queue), s);
}

void exsi_pool_count_news(struct exsi_pool *p)
{
	atomic_fetch_add_explicit(&p->news, 1, memory_order_relaxed); /* the lock orders it */
	if (!exsi_pool_runnable(p))
		exsi_pool_nudge(p);
}

/* Of a call that is coming: has one brought near that is some steps on. */
static void look_ahead(struct exsi_inbox_node *link, void *pool)
{
	const struct exsi_pool *p = pool;
	uintptr_t ahead = atomic_load_explicit(&slot_of(link)->at, memory_order_relaxed) & ~(uintptr_t)EXSI_POOL_WHERE;

	if (!ahead)
		return;
	__builtin_prefetch((const void *)ahead, 1);
	__builtin_prefetch((const void *)(ahead - p->x->off - sizeof(exs_future)), 1);
}

void exsi_pool_gather(struct exsi_pool *p)
{
	struct exsi_inbox_node *node = exsi_inbox_take(&p->inbox, look_ahead, p), *next;

	if (!node)
		return;
	for (; node; node = next) {
		next = node->next;
		link_last(p, slot_of(node));
	}
	exsi_pool_count_news(p);
}

void exsi_pool_append(struct exsi_pool *p, struct exsi_pool_slot *s)
{
	exsi_pool_gather(p);
	link_last(p, s);
	exsi_pool_count_news(p);
	exsi_pool_wake_one(p);
}

static void unlink_queued(struct exsi_pool *p, struct exsi_pool_slot *s)
{
	struct exsi_pool_slot *prev = (struct exsi_pool_slot *)at(s), *next = slot_of(s->link.next);

	prev->link.next = &next->link;
	set_at(next, (uintptr_t)prev);
	set_at(s, EXSI_POOL_OUT);
	p->stats.queued--;
	if (p->submitters)
		pthread_cond_signal(&p->room);
}

struct exsi_pool_slot *exsi_pool_shift(struct exsi_pool *p)
{
	struct exsi_pool_slot *s = slot_of(p->queue.link.next);

	unlink_queued(p, s);
	return s;
}

/* --- the ring --- */

static uintptr_t in_ring(size_t place)
{
	return place << 2 | EXSI_POOL_RING;
}

static size_t place_in_ring(uintptr_t where)
{
	return where >> 2;
}

static void put_into_ring(struct exsi_pool *p, struct exsi_pool_slot *s, size_t place)
{
	set_at(s, in_ring(place));
	exsi_ring_put(&p->ring, place, s, memory_order_release);
}

static void fill_ring(struct exsi_pool *p)
{
	size_t place;

	while (p->stats.queued && exsi_ring_has_room(&p->ring, &place))
		put_into_ring(p, exsi_pool_shift(p), place);
}

/* What is in the ring comes first in the queue. */
static void recall(struct exsi_pool *p, struct exsi_ring *ring)
{
	size_t place = atomic_load(&ring->head);
	struct exsi_pool_slot *before = &p->queue, *s;

	while ((s = exsi_ring_withdraw_next(ring, &place))) {
		link_after(p, before, s);
		before = s;
	}
	if (before != &p->queue)
		exsi_pool_count_news(p);
}

/* --- workers' own --- */

static struct exsi_pool_worker *worker_in(struct exsi_list *node)
{
	return EXSI_CONTAINER_OF(node, struct exsi_pool_worker, all);
}

size_t exsi_pool_queued(struct exsi_pool *p)
{
	size_t n = p->stats.queued;

	if (exsi_pool_in_order(p))
		return n + exsi_ring_count(&p->ring);
	for (struct exsi_list *node = p->workers.next; node != &p->workers; node = node->next)
		n += exsi_ring_count(&worker_in(node)->own);
	return n;
}

static void put_own(struct exsi_pool_worker *me, struct exsi_pool_slot *s, size_t place)
{
	set_at(s, (uintptr_t)me | EXSI_POOL_OWN);
	exsi_ring_put(&me->own, place, s, memory_order_seq_cst); /* before the mode is looked at */
}

bool exsi_pool_put_own(struct exsi_pool_worker *me, struct exsi_pool_slot *s)
{
	size_t place;
	bool room = exsi_ring_has_room(&me->own, &place);

	if (room)
		put_own(me, s, place);
	return room;
}

void exsi_pool_recall_own(struct exsi_pool *p, struct exsi_pool_worker *w)
{
	if (!exsi_pool_in_order(p))
		recall(p, &w->own);
}

void exsi_pool_recall(struct exsi_pool *p)
{
	exsi_pool_gather(p);
	recall(p, &p->ring);
	for (struct exsi_list *node = p->workers.next; node != &p->workers; node = node->next)
		exsi_pool_recall_own(p, worker_in(node));
}

/* As long as calls take no longer than this, on average, a worker takes twice as many the next time. */
enum { SHORT_CALL = 2000 /* ns */, MOST_SHARED = 32 };

static void learn_share(struct exsi_pool_worker *me)
{
	size_t started = atomic_load_explicit(&me->started, memory_order_relaxed);
	uint64_t now = exsi_now();
	bool brief = now - me->shared_since < (started - me->shared_at) * SHORT_CALL;

	me->share = !brief ? 1 : me->share < MOST_SHARED ? 2 * me->share : me->share;
	me->shared_since = now;
	me->shared_at = started;
}

/* The oldest of the queue, so that the worker begins with the oldest: not more than is left for each of the others. */
static void take_share(struct exsi_pool *p, struct exsi_pool_worker *me)
{
	struct exsi_pool_slot *s = &p->queue, *prev;
	size_t fair = p->stats.queued / (exsi_pool_runnable(p) + !exsi_pool_runnable(p)), n, place;

	learn_share(me);
	n = fair < me->share ? fair : me->share;
	for (size_t i = 0; i < (n ? n : 1); i++)
		s = slot_of(s->link.next);
	for (; s != &p->queue && exsi_ring_has_room(&me->own, &place); s = prev) {
		prev = (struct exsi_pool_slot *)at(s);
		unlink_queued(p, s);
		put_own(me, s, place);
	}
}

/* Half of what one of the others has, the oldest. It is not said where the calls are meanwhile: that takes the lock. */
static void take_from_others(struct exsi_pool *p, struct exsi_pool_worker *me)
{
	struct exsi_pool_slot *s;
	size_t place, n = 0;

	for (struct exsi_list *node = me->all.next; node != &me->all && !n; node = node->next) {
		if (node == &p->workers)
			continue;
		struct exsi_pool_worker *other = worker_in(node);
		size_t half = (exsi_ring_count(&other->own) + 1) / 2;
		while (n < half && exsi_ring_has_room(&me->own, &place) && (s = exsi_ring_get(&other->own))) {
			put_own(me, s, place);
			n++;
		}
	}
}

void exsi_pool_fill(struct exsi_pool *p, struct exsi_pool_worker *me)
{
	exsi_pool_gather(p);
	if (exsi_pool_in_order(p) && !exsi_pool_is_limited(p))
		fill_ring(p);
	else if (!exsi_pool_in_order(p) && p->stats.queued)
		take_share(p, me);
	else if (!exsi_pool_in_order(p) && !exsi_ring_count(&me->own))
		take_from_others(p, me);
}

/* --- the next --- */

/* A canceller with the token finds the slot out only when nothing here touches the call any more. */
static exs_future *claim(struct exsi_pool *p, struct exsi_pool_slot *s)
{
	exs_future *f = exsi_slot_call(s, p->x);
	bool mine = exsi_call_claim_run(f);

	set_at(s, EXSI_POOL_OUT);
	return mine ? f : NULL;
}

/* Own calls are no reason to let those in the queue wait for ever. */
enum { OWN_IN_A_ROW = 64 };

static struct exsi_pool_slot *next_slot(struct exsi_pool *p, struct exsi_pool_worker *me)
{
	if (exsi_pool_in_order(p))
		return exsi_ring_get(&p->ring);
	return ++me->in_a_row % OWN_IN_A_ROW ? exsi_ring_pop(&me->own) : NULL;
}

exs_future *exsi_pool_next(struct exsi_pool *p, struct exsi_pool_worker *me)
{
	struct exsi_pool_slot *s;
	exs_future *f = NULL;

	if (exsi_pool_is_limited(p)) {
		while (!f && p->stats.queued)
			f = claim(p, exsi_pool_shift(p));
		return f;
	}
	while (!f && (s = next_slot(p, me)))
		f = claim(p, s);
	return f;
}

/* --- anywhere --- */

/* A worker that has calls of its own is there: it ends with the lock, once it has none. */
static bool withdraw(struct exsi_pool *p, struct exsi_pool_slot *s, uintptr_t where)
{
	if ((where & EXSI_POOL_WHERE) == EXSI_POOL_RING)
		return exsi_ring_withdraw(&p->ring, place_in_ring(where), s);
	return exsi_ring_withdraw_item(&((struct exsi_pool_worker *)(where & ~(uintptr_t)EXSI_POOL_WHERE))->own, s);
}

/* false: it is between two places, for some instructions of another thread. */
static bool try_remove(struct exsi_pool *p, struct exsi_pool_slot *s)
{
	uintptr_t where = at(s);

	if ((where & EXSI_POOL_WHERE) == EXSI_POOL_COMING)
		return false; /* it is parked, and its submitter is about to push it */
	if ((where & EXSI_POOL_WHERE) >= EXSI_POOL_RING) {
		if (!withdraw(p, s, where))
			return false; /* a worker has got it, and is about to find that it has been claimed */
		set_at(s, EXSI_POOL_OUT);
	} else if (where != EXSI_POOL_OUT) {
		unlink_queued(p, s);
	}
	return true;
}

void exsi_pool_remove(struct exsi_pool *p, struct exsi_pool_slot *s)
{
	exsi_pool_gather(p);
	for (unsigned turn = 0; !try_remove(p, s); turn++) {
		exsi_pool_unlock(p);
		exsi_relax(turn);
		exsi_pool_lock(p);
		exsi_pool_gather(p);
	}
}

/* After the recall: what the worker had got before is its current now. */
static void visit_current(struct exsi_pool_worker *w, exs_visit_fn *visit, void *arg)
{
	uintptr_t f;

	for (unsigned turn = 0; (f = atomic_load(&w->current)) == EXSI_POOL_FETCHING; turn++)
		exsi_relax(turn);
	while (f && !atomic_compare_exchange_weak(&w->current, &f, f | 1))
		;
	if (!f || f == EXSI_POOL_FETCHING)
		return;
	visit((exs_future *)f, arg);
	atomic_store(&w->current, f);
}

void exsi_pool_each(struct exsi_pool *p, exs_visit_fn *visit, void *arg)
{
	exsi_pool_recall(p);
	for (struct exsi_inbox_node *node = p->queue.link.next; node != &p->queue.link; node = node->next)
		visit(exsi_slot_call(slot_of(node), p->x), arg);
	for (struct exsi_pool_run *run = p->running.next; run != &p->running; run = run->next)
		visit(run->call, arg);
	for (struct exsi_list *node = p->workers.next; node != &p->workers; node = node->next)
		visit_current(worker_in(node), visit, arg);
}

/* --- shutdown --- */

/* With the lock: the first in the queue to which something is owed, held; or NULL. */
static exs_future *first_owed(struct exsi_pool *p, enum exsi_owed *owed)
{
	for (struct exsi_inbox_node *node = p->queue.link.next; node != &p->queue.link; node = node->next) {
		exs_future *f = exsi_slot_call(slot_of(node), p->x);
		*owed = exs_future_is_done(f) ? EXSI_OWED_NOTHING : exsi_owed(f, p->x);
		if (*owed == EXSI_OWED_NOTHING || (*owed == EXSI_OWED_CANCEL && !exsi_is_parked(f)))
			continue; /* its canceller waits for the lock */
		exsi_hold(f);
		return f;
	}
	return NULL;
}

void exsi_pool_settle(struct exsi_pool *p)
{
	enum exsi_owed owed;
	exs_future *f;

	do {
		exsi_pool_lock(p);
		exsi_pool_recall(p);
		f = first_owed(p, &owed);
		exsi_pool_wake_one(p); /* for what was recalled */
		exsi_pool_unlock(p);
		if (f && owed == EXSI_OWED_FAILURE)
			exsi_force(f);
		else if (f)
			exsi_cancel(f, EXSI_STOP_ALL, EXS_CAUSE_SHUTDOWN);
		if (f)
			exsi_drop(f);
	} while (f);
}
