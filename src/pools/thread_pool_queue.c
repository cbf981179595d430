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
	bool limited = p->options.queue_limit != SIZE_MAX;
	bool staffed = exsi_pool_runnable(p) && !exsi_pool_may_grow(p);
	bool asleep = p->newest && !p->waking && !atomic_load_explicit(&p->spinning, memory_order_relaxed);
	unsigned mode = (staffed && !limited ? EXSI_POOL_STAFFED : 0) | (asleep || !staffed ? EXSI_POOL_ATTEND : 0);
	bool crowded = exsi_pool_runnable(p) > p->options.workers;

	if (mode != atomic_load_explicit(&p->mode, memory_order_relaxed))
		atomic_store(&p->mode, mode);
	if (crowded != atomic_load_explicit(&p->crowded, memory_order_relaxed))
		atomic_store(&p->crowded, crowded);
}

void exsi_pool_unlock(struct exsi_pool *p)
{
	struct exsi_pool_worker *w = p->to_wake;
	atomic_uint *bell = w ? &w->bell : NULL;

	p->to_wake = NULL;
	if (w)
		atomic_store(&w->bell, 1);
	exsi_pool_set_mode(p);
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

void exsi_pool_gather(struct exsi_pool *p)
{
	struct exsi_inbox_node *node = exsi_inbox_take(&p->inbox), *next;

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

static bool is_limited(const struct exsi_pool *p)
{
	return p->options.queue_limit != SIZE_MAX;
}

void exsi_pool_fill(struct exsi_pool *p)
{
	size_t place;

	exsi_pool_gather(p);
	if (is_limited(p))
		return;
	while (p->stats.queued && exsi_ring_has_room(&p->ring, &place)) {
		struct exsi_pool_slot *s = exsi_pool_shift(p);
		set_at(s, in_ring(place));
		exsi_ring_put(&p->ring, place, s);
	}
}

void exsi_pool_recall(struct exsi_pool *p)
{
	size_t place = atomic_load(&p->ring.head);
	struct exsi_pool_slot *before = &p->queue, *s;

	exsi_pool_gather(p);
	while ((s = exsi_ring_withdraw_next(&p->ring, &place))) {
		link_after(p, before, s);
		before = s;
	}
}

/* A canceller with the token finds the slot out only when nothing here touches the call any more. */
static exs_future *claim(struct exsi_pool *p, struct exsi_pool_slot *s)
{
	exs_future *f = exsi_slot_call(s, p->x);
	bool mine = exsi_call_claim_run(f);

	set_at(s, EXSI_POOL_OUT);
	return mine ? f : NULL;
}

exs_future *exsi_pool_next(struct exsi_pool *p)
{
	struct exsi_pool_slot *s;
	exs_future *f = NULL;

	if (is_limited(p)) {
		while (!f && p->stats.queued)
			f = claim(p, exsi_pool_shift(p));
		return f;
	}
	while (!f && (s = exsi_ring_get(&p->ring)))
		f = claim(p, s);
	return f;
}

/* --- anywhere --- */

/* false: it is between two places, for some instructions of another thread. */
static bool try_remove(struct exsi_pool *p, struct exsi_pool_slot *s)
{
	uintptr_t where = at(s);

	if (where == EXSI_POOL_COMING)
		return false; /* it is parked, and its submitter is about to push it */
	if (where & EXSI_POOL_RING) {
		if (!exsi_ring_withdraw(&p->ring, place_in_ring(where), s))
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
		visit_current(EXSI_CONTAINER_OF(node, struct exsi_pool_worker, all), visit, arg);
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
