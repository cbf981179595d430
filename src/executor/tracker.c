/* A tracker: members that leave when they are done, waiters that are told. */
#include <executors/tracker.h>

#include "base/heap.h"
#include "base/list.h"
#include "base/memory.h"
#include "executor/executor.h"
#include "future/wait.h"

#include <string.h>

/* One reference is the user's; one of each member's until its node was called or removed, one of each waiter's until it is done. lock
   guards what follows it. A waiter is in `fewer` or in `any` until it is decided or cancelled. */
struct exs_tracker {
	atomic_uint refs;
	pthread_mutex_t lock;
	struct member **members; /* count of room places; the last takes the place of one that leaves */
	size_t room, count;
	bool freed;		/* who waits is released */
	struct exsi_heap fewer; /* the greatest n first */
	struct exsi_list any;
	uint64_t order; /* of waiters */
};

/* One reference is its place's, with that of the future, and one its node's, with that of the tracker. */
struct member {
	struct exsi_node node;
	atomic_uint refs;
	exs_tracker *tracker;
	exs_future *future; /* one user reference */
	size_t index;	    /* TAKEN: it has no place any more. The tracker's lock guards it */
};
#define TAKEN SIZE_MAX

/* PARKED at depth 0 until it is decided, by who claims it then, or cancelled. */
struct waiter {
	exs_future future; /* first */
	exs_tracker *tracker;
	size_t n;      /* decided when fewer are tracked; 0: when any is done */
	bool waits;    /* in fewer or any; the tracker's lock guards it */
	bool released; /* it was decided so */
	struct exsi_heap_node node;
	struct exsi_list link;
	struct exsi_node turn; /* to be told, once it is decided */
};

/* In the order in which they were decided. */
struct decided {
	struct exsi_node *first, **last;
	size_t n;
};

exs_tracker *exs_tracker_new(void)
{
	exs_tracker *t = exsi_zalloc(sizeof(*t));

	if (!t)
		return exsi_fail_null(EXS_ENOMEM, "exs_tracker_new: out of memory");
	atomic_init(&t->refs, 1);
	pthread_mutex_init(&t->lock, NULL);
	exsi_list_init(&t->any);
	return t;
}

static void tracker_unref(exs_tracker *t)
{
	if (atomic_fetch_sub(&t->refs, 1) != 1)
		return;
	pthread_mutex_destroy(&t->lock);
	exsi_free(t->members);
	exsi_free(t);
}

/* --- waiters: decided under the lock, told without it --- */

static void leave(exs_tracker *t, struct waiter *w)
{
	w->waits = false;
	if (w->n)
		exsi_heap_remove(&t->fewer, &w->node);
	else
		exsi_list_remove(&w->link);
}

/* Unless a canceller has it. */
static void decide(exs_tracker *t, struct waiter *w, bool released, struct decided *d)
{
	leave(t, w);
	if (!exs_call_claim(&w->future))
		return;
	w->released = released;
	w->turn.next = NULL;
	if (!d->n++)
		d->last = &d->first;
	*d->last = &w->turn;
	d->last = &w->turn.next;
}

static struct waiter *of_heap(struct exsi_heap_node *node)
{
	return EXSI_CONTAINER_OF(node, struct waiter, node);
}

static void decide_any(exs_tracker *t, bool released, struct decided *d)
{
	while (!exsi_list_is_empty(&t->any))
		decide(t, EXSI_CONTAINER_OF(t->any.next, struct waiter, link), released, d);
}

static void decide_fewer(exs_tracker *t, bool released, struct decided *d)
{
	while (t->fewer.first && (released || t->count < of_heap(t->fewer.first)->n))
		decide(t, of_heap(t->fewer.first), released, d);
}

static void settle(exs_future *none, struct exsi_node *node)
{
	struct waiter *w = EXSI_CONTAINER_OF(node, struct waiter, turn);
	exs_result r = w->released ? exs_cancelled() : exs_ok(NULL, NULL);

	(void)none;
	exsi_settle(&w->future, &r);
	exsi_look_over(&w->future);
	tracker_unref(w->tracker);
	exsi_drop(&w->future);
}

static void tell(struct decided *d)
{
	for (struct exsi_node *node = d->first, *next; node; node = next) {
		next = node->next;
		exsi_defer(node, settle);
	}
}

static void waiter_cancel(exs_future *f, exs_cause cause)
{
	struct waiter *w = (struct waiter *)(void *)f;
	exs_tracker *t = w->tracker;

	(void)cause;
	pthread_mutex_lock(&t->lock);
	if (w->waits)
		leave(t, w);
	pthread_mutex_unlock(&t->lock);
	w->released = true;
	settle(NULL, &w->turn);
}

static void waiter_cancel_many(exs_future **futures, size_t n, exs_cause cause)
{
	for (size_t i = 0; i < n; i++)
		waiter_cancel(futures[i], cause);
}

/* From the last to the first: so none is passed over while others leave. *cursor: one more than the index that was the last, or 0. */
static exs_future *next_member(exs_tracker *t, size_t *cursor)
{
	exs_future *f = NULL;

	pthread_mutex_lock(&t->lock);
	size_t i = *cursor && *cursor - 1 < t->count ? *cursor - 1 : t->count;
	while (!f && i) {
		f = t->members[--i]->future;
		if (exs_future_is_done(f))
			f = NULL;
		else
			exsi_hold(f);
	}
	pthread_mutex_unlock(&t->lock);
	*cursor = i ? i + 1 : SIZE_MAX;
	return f;
}

static exs_future *waiter_input(exs_future *f, size_t *cursor)
{
	struct exsi_node *last = exsi_nodes_lock(f);
	exs_tracker *t = exs_future_is_done(f) ? NULL : ((struct waiter *)(void *)f)->tracker;

	if (t)
		atomic_fetch_add(&t->refs, 1);
	exsi_nodes_unlock(f, last);
	*cursor = t ? *cursor : SIZE_MAX;
	exs_future *member = t ? next_member(t, cursor) : NULL;
	if (t)
		tracker_unref(t);
	return member;
}

static bool waiter_any(exs_future *f)
{
	return ((struct waiter *)(void *)f)->n != 1;
}

static const struct exsi_source waiters = {.cancel = waiter_cancel,
					   .cancel_many = waiter_cancel_many,
					   .input = waiter_input,
					   .any = waiter_any,
					   .what = "tracker"};

/* --- members --- */

/* Under the lock. More places, or fewer; false: no memory, and all is as it was. */
static bool resize(exs_tracker *t, size_t room)
{
	struct member **members = exsi_alloc_array(room, sizeof(struct member *));

	if (!members)
		return false;
	if (t->count)
		memcpy(members, t->members, t->count * sizeof(struct member *));
	exsi_free(t->members);
	t->members = members;
	t->room = room;
	return true;
}

enum { FIRST_ROOM = 8 };

static bool insert(exs_tracker *t, struct member *m)
{
	pthread_mutex_lock(&t->lock);
	bool fits = t->count < t->room || resize(t, t->room ? 2 * t->room : FIRST_ROOM);
	if (fits) {
		m->index = t->count;
		t->members[t->count++] = m;
		atomic_fetch_add(&t->refs, 1);
	}
	pthread_mutex_unlock(&t->lock);
	return fits;
}

/* Under the lock. */
static void take_out(exs_tracker *t, struct member *m)
{
	struct member *last = t->members[--t->count];

	last->index = m->index;
	t->members[m->index] = last;
	if (t->room > FIRST_ROOM && t->count < t->room / 4)
		resize(t, t->room / 2);
}

static void member_unref(struct member *m)
{
	if (atomic_fetch_sub(&m->refs, 1) == 1)
		exsi_free(m);
}

static void fired(exs_future *f, struct exsi_node *node)
{
	struct member *m = EXSI_CONTAINER_OF(node, struct member, node);
	exs_tracker *t = m->tracker;
	struct decided d = {.n = 0};

	pthread_mutex_lock(&t->lock);
	bool mine = m->index != TAKEN;
	if (mine) {
		take_out(t, m);
		decide_any(t, false, &d);
		decide_fewer(t, false, &d);
	}
	pthread_mutex_unlock(&t->lock);
	if (mine) {
		member_unref(m);
		exs_future_unref(f);
	}
	member_unref(m);
	tell(&d);
	tracker_unref(t);
}

/* One that is done already. */
static void passes(exs_tracker *t, exs_future *f)
{
	struct decided d = {.n = 0};

	pthread_mutex_lock(&t->lock);
	decide_any(t, false, &d);
	pthread_mutex_unlock(&t->lock);
	exs_future_unref(f);
	tell(&d);
}

int exs_tracker_add(exs_tracker *t, exs_future *f)
{
	struct member *m = NULL;

	if (!t || !f) {
		exs_future_unref(f);
		return exsi_fail(EXS_EINVAL, "exs_tracker_add: %s is NULL", t ? "future" : "tracker");
	}
	if (exs_future_is_done(f)) {
		passes(t, f);
		return EXS_OK;
	}
	m = exsi_alloc(sizeof(*m));
	if (m)
		*m = (struct member){
			.node = {.fn = fired, .kind = EXSI_CONTINUATION}, .refs = 2, .tracker = t, .future = f};
	if (!m || !insert(t, m)) {
		exsi_free(m);
		exs_future_unref(f);
		return exsi_fail(EXS_ENOMEM, "exs_tracker_add: out of memory");
	}
	exsi_hold(f);
	if (!exsi_node_add(f, &m->node))
		fired(f, &m->node);
	exsi_news_of(f);
	exsi_drop(f);
	return EXS_OK;
}

size_t exs_tracker_count(exs_tracker *t)
{
	if (!t)
		return 0;
	pthread_mutex_lock(&t->lock);
	size_t n = t->count;
	pthread_mutex_unlock(&t->lock);
	return n;
}

static void release(exs_tracker *t, struct decided *d)
{
	decide_any(t, true, d);
	decide_fewer(t, true, d);
}

size_t exs_tracker_release(exs_tracker *t)
{
	struct decided d = {.n = 0};

	if (!t)
		return 0;
	pthread_mutex_lock(&t->lock);
	release(t, &d);
	pthread_mutex_unlock(&t->lock);
	tell(&d);
	return d.n;
}

/* Its members are taken from it first: what their nodes find then is not theirs to drop. */
void exs_tracker_free(exs_tracker *t)
{
	struct decided d = {.n = 0};

	if (!t)
		return;
	pthread_mutex_lock(&t->lock);
	struct member **members = t->members;
	size_t n = t->count;
	t->members = NULL;
	t->room = t->count = 0;
	t->freed = true;
	for (size_t i = 0; i < n; i++)
		members[i]->index = TAKEN;
	release(t, &d);
	pthread_mutex_unlock(&t->lock);
	for (size_t i = 0; i < n; i++) {
		exs_future *f = members[i]->future;
		if (exsi_node_remove(f, &members[i]->node)) {
			member_unref(members[i]);
			tracker_unref(t);
		}
		member_unref(members[i]);
		exs_future_unref(f);
	}
	exsi_free(members);
	tell(&d);
	tracker_unref(t);
}

/* --- waits --- */

static bool holds(const exs_tracker *t, size_t n)
{
	return t->count < (n ? n : 1);
}

/* n 0: any. */
static exs_future *waiter_new(exs_tracker *t, size_t n)
{
	struct waiter *w = exsi_alloc(sizeof(*w));
	struct decided d = {.n = 0};

	if (!w)
		return exsi_fail_null(EXS_ENOMEM, "a wait for a tracker: out of memory");
	atomic_fetch_add(&t->refs, 1);
	exsi_future_init(&w->future, &waiters, EXSI_PARKED);
	w->tracker = t;
	w->n = n;
	w->waits = true;
	w->released = false;
	w->node.key = SIZE_MAX - n;
	exsi_future_made(&w->future);
	pthread_mutex_lock(&t->lock);
	w->node.order = t->order++;
	if (n)
		exsi_heap_add(&t->fewer, &w->node);
	else
		exsi_list_append(&t->any, &w->link);
	if (t->freed || holds(t, n))
		decide(t, w, t->freed, &d);
	pthread_mutex_unlock(&t->lock);
	tell(&d);
	return &w->future;
}

static bool holds_now(exs_tracker *t, size_t n)
{
	pthread_mutex_lock(&t->lock);
	bool now = !t->freed && holds(t, n);
	pthread_mutex_unlock(&t->lock);
	return now;
}

static exs_future *future_of(const char *who, exs_tracker *t, size_t n)
{
	if (!t)
		return exsi_failed("%s: tracker is NULL", who);
	return holds_now(t, n) ? exsi_returned(exs_ok(NULL, NULL)) : waiter_new(t, n);
}

exs_future *exs_tracker_all(exs_tracker *t)
{
	return future_of("exs_tracker_all", t, 1);
}

exs_future *exs_tracker_any(exs_tracker *t)
{
	return future_of("exs_tracker_any", t, 0);
}

static const char impossible[] = "exs_tracker_%sfewer: n is 0: it must be 1 or more";

exs_future *exs_tracker_fewer(exs_tracker *t, size_t n)
{
	return n ? future_of("exs_tracker_fewer", t, n) : exsi_failed(impossible, "");
}

static int wait_once(exs_tracker *t, size_t n, bool looks_only, uint64_t deadline)
{
	if (holds_now(t, n))
		return EXS_OK;
	if (looks_only)
		return EXS_ETIMEDOUT;
	exs_future *f = waiter_new(t, n);
	if (!f)
		return EXS_ENOMEM;
	int rc = exsi_wait(f, deadline);
	if (rc)
		exsi_cancel(f, EXSI_STOP_ALL, EXS_CAUSE_USER);
	else if (exs_future_state(f) == EXS_STATE_CANCELLED)
		rc = EXS_ECANCELLED;
	exs_future_unref(f);
	return rc;
}

/* It may be freed meanwhile. */
static int wait(const char *who, exs_tracker *t, size_t n, double seconds)
{
	uint64_t deadline = 0;
	int rc = t ? exsi_wait_begin(who, seconds, &deadline) : exsi_fail(EXS_EINVAL, "%s: tracker is NULL", who);

	if (rc)
		return rc;
	atomic_fetch_add(&t->refs, 1);
	rc = wait_once(t, n, seconds == 0, deadline);
	tracker_unref(t);
	return rc;
}

int exs_tracker_wait_all(exs_tracker *t, double seconds)
{
	return wait("exs_tracker_wait_all", t, 1, seconds);
}

int exs_tracker_wait_any(exs_tracker *t, double seconds)
{
	return wait("exs_tracker_wait_any", t, 0, seconds);
}

int exs_tracker_wait_fewer(exs_tracker *t, size_t n, double seconds)
{
	return n ? wait("exs_tracker_wait_fewer", t, n, seconds) : exsi_fail(EXS_EINVAL, impossible, "wait_");
}
