/* Queue: an order in which calls wait, and executors attached that take them. */
#include "base/heap.h"
#include "base/list.h"
#include "base/memory.h"
#include "executor/child.h"
#include "future/wait.h"

#include <executors/queue.h>
#include <stdio.h>
#include <string.h>

enum { MAX_SERIES = 65536, MAX_NICENESS = 20 };
static const uint64_t MAX_AGING = UINT64_MAX / 256; /* ns, two years: keys don't overflow */

/* Two executors: x, where calls wait in order, and below it the leaf, where they wait for their children on the attached ones. So what
   is queued is parked at x, and what is dispatched at the leaf. */

/* A call's slot in x. All but link under the lock. */
struct waiting {
	struct exsi_heap_node node; /* its key and order are its place, also while it is dispatched */
	struct exsi_list waiting;   /* node of queue.waiting */
	struct worker *to;	    /* which it is dispatched to; NULL: none */
	struct worker *wanted;	    /* by whose task it has been recalled, while that is under way; or NULL */
	unsigned series, level;
	exs_link link;
};

/* An attached executor: the state of its relay. A worker is in queue.workers from its attach until it is detached and has no call
   left; in queue.free as long as it has room and is not detached. */
struct worker {
	struct exsi_relay relay;
	struct queue *q;
	struct exsi_list node, free; /* of the queue's lists */
	uint64_t number;
	size_t capacity, busy, lent; /* busy: calls it has; lent: of these, that do not count for now */
	bool detached;
	bool all;	   /* series */
	bool threads;	   /* of its own, for what it is given */
	unsigned n_series; /* unless all */
	unsigned *series;  /* behind the struct */
};

struct line {
	struct exsi_heap heap;
	uint64_t serial;
};

/* lock guards all that follows it, the workers, and what child.h says. Whenever it is free, no call is queued that a worker in `free`
   is qualified for: who brings about a match makes it. Except for workers without threads that have lent a place. */
struct queue {
	exs_executor *x, *leaf;
	exs_queue_options options; /* constant */
	uint64_t aging;		   /* ns; 0: none */
	pthread_mutex_t lock;
	struct exsi_list waiting, workers,
		free; /* the workers by number, the free ones from the one free for longest */
	uint64_t arrivals, numbers;
	exs_queue_stats stats;
	struct line lines[]; /* one for each series */
};

/* --- workers, under the lock --- */

static struct worker *worker_of(struct exsi_list *node)
{
	return EXSI_CONTAINER_OF(node, struct worker, node);
}

static struct worker *free_of(struct exsi_list *node)
{
	return EXSI_CONTAINER_OF(node, struct worker, free);
}

static bool has_room(const struct worker *w)
{
	return !w->detached && w->busy - w->lent < w->capacity;
}

/* After a change of what has_room looks at. */
static void sort_in(struct worker *w)
{
	bool room = has_room(w), in = w->free.prev;

	if (room && !in)
		exsi_list_append(&w->q->free, &w->free);
	else if (!room && in)
		exsi_list_remove(&w->free);
}

static bool is_qualified(const struct worker *w, unsigned series)
{
	for (unsigned i = 0; i < w->n_series; i++)
		if (w->series[i] == series)
			return true;
	return w->all;
}

static bool may_run(const struct worker *w, const struct waiting *s)
{
	return !w->detached && is_qualified(w, s->series);
}

static struct worker *free_worker(struct queue *q, unsigned series)
{
	struct exsi_list *node = q->free.next;

	while (node != &q->free && !is_qualified(free_of(node), series))
		node = node->next;
	return node == &q->free ? NULL : free_of(node);
}

/* --- calls, under the lock --- */

static struct waiting *waiting_at(struct exsi_list *node)
{
	return EXSI_CONTAINER_OF(node, struct waiting, waiting);
}

static bool is_queued(const struct waiting *s)
{
	return s->waiting.prev;
}

static exs_future *call_of(struct queue *q, struct waiting *s)
{
	return exsi_slot_call(s, q->x);
}

static void push(struct queue *q, struct waiting *s)
{
	exsi_heap_add(&q->lines[s->series].heap, &s->node);
	exsi_list_append(&q->waiting, &s->waiting);
	q->stats.queued++;
	q->stats.levels[s->level]++;
}

static void pull(struct queue *q, struct waiting *s)
{
	exsi_heap_remove(&q->lines[s->series].heap, &s->node);
	exsi_list_remove(&s->waiting);
	q->stats.queued--;
	q->stats.levels[s->level]--;
}

static void assign(struct queue *q, struct waiting *s, struct worker *w)
{
	s->to = w;
	w->busy++;
	sort_in(w);
	q->stats.dispatched++;
	q->stats.given++;
}

static struct waiting *best_of(struct queue *q, unsigned series, struct waiting *best)
{
	struct exsi_heap_node *n = q->lines[series].heap.first;

	if (!n || (best && !exsi_heap_before(n, &best->node)))
		return best;
	return EXSI_CONTAINER_OF(n, struct waiting, node);
}

static struct waiting *best_for(struct queue *q, const struct worker *w)
{
	struct waiting *best = NULL;

	for (unsigned i = 0; w->all && i < q->options.series; i++)
		best = best_of(q, i, best);
	for (unsigned i = 0; !w->all && i < w->n_series; i++)
		best = best_of(q, w->series[i], best);
	return best;
}

/* The next call for w, claimed and assigned; NULL: none, or no room. */
static struct waiting *next_for(struct queue *q, struct worker *w)
{
	struct waiting *s;

	while (has_room(w) && (s = best_for(q, w))) {
		pull(q, s);
		if (!exs_call_claim(call_of(q, s)))
			continue; /* its canceller waits for the lock, and finds it unlinked */
		assign(q, s, w);
		return s;
	}
	return NULL;
}

/* Without the lock. */
static void dispatch(struct queue *q, struct waiting *s)
{
	if (s)
		exs_call_release(call_of(q, s), q->x, EXS_DOWN, NULL, &s->link);
}

/* Is a detached worker over? Then it leaves the queue, and its executor is to be released. */
static bool is_over(struct worker *w)
{
	if (!w->detached || w->busy || !w->node.prev)
		return false;
	exsi_list_remove(&w->node);
	w->q->stats.leaving--;
	return true;
}

/* --- the order --- */

static exs_error *wrong(const char *what, long long given, long long least, long long most)
{
	return exs_error_new(&exs_domain_exs, EXS_EINVAL, "exs_submit: %s %lld: this queue takes %lld .. %lld", what,
			     given, least, most);
}

static exs_error *check_call(const struct queue *q, int priority, unsigned series, exs_place place)
{
	bool nice = q->options.order == EXS_BY_NICENESS;
	int least = nice ? -MAX_NICENESS : exs_queue_priority(q->options.levels, 0);
	int most = nice ? MAX_NICENESS : exs_queue_priority(q->options.levels, q->options.levels - 1);

	if (priority < least || priority > most)
		return wrong(nice ? "niceness" : "priority", priority, least, most);
	if (series >= q->options.series)
		return wrong("series", series, 0, q->options.series - 1);
	if (place > EXS_DO_LAST)
		return wrong("place", place, EXS_IN_TURN, EXS_DO_LAST);
	return NULL;
}

/* Under the lock. 0 and UINT64_MAX are the keys of those out of turn. */
static uint64_t key_of(struct queue *q, struct waiting *s, int priority, exs_place place, uint64_t now)
{
	uint64_t key;

	if (q->options.order == EXS_BY_NICENESS) {
		uint64_t n = (uint64_t)priority + MAX_NICENESS;	    /* 0 .. 40 */
		key = ++q->lines[s->series].serial * (100 + n * n); /* a hundred times what queue.h says */
	} else {
		/* With aging the time by which all that come to level 0 come later. */
		key = q->aging ? now + s->level * q->aging : s->level;
		key += 1;
	}
	if (place == EXS_IN_TURN)
		return key;
	return place == EXS_DO_NEXT ? 0 : UINT64_MAX;
}

/* --- hooks of x --- */

/* With the token: to a worker that is free, or into the queue. */
static exs_step find_place(struct queue *q, exs_future *f, struct waiting *s, exs_result *r)
{
	exs_step step = EXS_UP;

	pthread_mutex_lock(&q->lock);
	struct worker *w = s->wanted && may_run(s->wanted, s) ? s->wanted : free_worker(q, s->series);
	s->wanted = NULL;
	if (w && !exs_call_stopped(f, q->x)) {
		assign(q, s, w);
		step = EXS_DOWN;
	} else if (exs_call_park(f, q->x)) {
		push(q, s);
		step = EXS_HELD;
	}
	pthread_mutex_unlock(&q->lock);
	if (step == EXS_UP)
		*r = exs_cancelled();
	return step;
}

static struct queue *queue_of(exs_executor *x)
{
	return exsi_state(x->inner);
}

static exs_step queue_start(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	struct queue *q = queue_of(x);
	struct waiting *s = slot;
	int priority = exs_call_priority(f);
	unsigned series = exs_call_series(f);
	exs_place place = exs_call_place(f);
	uint64_t now = q->aging ? exsi_clock_ns(x->clock_above) : 0;
	exs_error *error = check_call(q, priority, series, place);

	if (error) {
		*r = exs_fail(error);
		return EXS_UP;
	}
	bool levels = q->options.order == EXS_BY_LEVEL;
	pthread_mutex_lock(&q->lock);
	s->series = series;
	s->level = levels ? (unsigned)(priority + (int)(q->options.levels / 2)) : 0;
	s->to = s->wanted = NULL;
	s->waiting.prev = NULL;
	s->node.order = q->arrivals++;
	s->node.key = key_of(q, s, priority, place, now);
	pthread_mutex_unlock(&q->lock);
	return find_place(q, f, s, r);
}

/* From the leaf: its worker has a place free. A call that was given back waits again. */
static exs_step queue_done(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	struct queue *q = queue_of(x);
	struct waiting *s = slot;
	struct exsi_parent *p = exsi_slot(f, q->leaf);

	pthread_mutex_lock(&q->lock);
	struct worker *w = s->to;
	s->to = NULL;
	w->busy--;
	sort_in(w);
	q->stats.dispatched--;
	bool back = p->recalled;
	q->stats.given_back += back;
	struct waiting *next = next_for(q, w);
	bool over = is_over(w);
	pthread_mutex_unlock(&q->lock);
	if (over)
		exsi_executor_unref_within(w->relay.relay);
	dispatch(q, next);
	return back ? find_place(q, f, s, r) : EXS_UP;
}

static exs_step queue_cancel(exs_executor *x, exs_future *f, void *slot, exs_cause cause, exs_result *r)
{
	struct queue *q = queue_of(x);
	struct waiting *s = slot;

	(void)f, (void)cause, (void)r;
	pthread_mutex_lock(&q->lock);
	if (is_queued(s))
		pull(q, s);
	pthread_mutex_unlock(&q->lock);
	return EXS_UP;
}

static void queue_each(exs_executor *x, exs_visit_fn *visit, void *arg)
{
	struct queue *q = queue_of(x);

	pthread_mutex_lock(&q->lock);
	for (struct exsi_list *node = q->waiting.next; node != &q->waiting; node = node->next)
		visit(call_of(q, waiting_at(node)), arg);
	pthread_mutex_unlock(&q->lock);
}

static int queue_describe(exs_executor *x, char *buf, size_t size)
{
	struct queue *q = queue_of(x);

	if (q->options.order == EXS_BY_NICENESS)
		return snprintf(buf, size, "niceness");
	return snprintf(buf, size, "%u", q->options.levels);
}

static const exs_layer_ops queue_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "queue",
	.start = queue_start,
	.done = queue_done,
	.cancel = queue_cancel,
	.each = queue_each,
	.describe = queue_describe,
};

/* --- hooks of the leaf --- */

static struct waiting *waiting_of(struct queue *q, exs_future *f)
{
	return exsi_slot(f, q->x);
}

static bool is_detached(struct queue *q, const struct worker *w)
{
	pthread_mutex_lock(&q->lock);
	bool detached = w->detached;
	pthread_mutex_unlock(&q->lock);
	return detached;
}

/* Detached since the call was assigned: it goes back, or comes back from the executor; detach may have missed it. */
static exs_step dispatch_start(exs_executor *leaf, exs_future *f, void *slot, exs_result *r)
{
	struct queue *q = exsi_state(leaf);
	struct worker *w = waiting_of(q, f)->to;
	struct exsi_parent *p = slot;

	p->recalled = is_detached(q, w);
	*r = exs_cancelled();
	if (p->recalled)
		return EXS_UP;
	if (exs_call_stopped(f, leaf)) {
		exsi_note_cause(f, EXS_CAUSE_SHUTDOWN); /* if it was no canceller */
		return EXS_UP;
	}
	if (exsi_child_start(&w->relay, f, EXS_ENTRY_RESTART))
		return EXS_HELD;
	*r = exs_fail(exsi_error(EXS_ENOMEM));
	return EXS_UP;
}

static exs_step dispatch_cancel(exs_executor *leaf, exs_future *f, void *slot, exs_cause cause, exs_result *r)
{
	struct worker *w = waiting_of(exsi_state(leaf), f)->to;

	(void)slot;
	return exsi_child_cancel(&w->relay, f, cause, r);
}

static void dispatch_each(exs_executor *leaf, exs_visit_fn *visit, void *arg)
{
	struct queue *q = exsi_state(leaf);

	pthread_mutex_lock(&q->lock);
	for (struct exsi_list *node = q->workers.next; node != &q->workers; node = node->next)
		exsi_child_each(&worker_of(node)->relay, visit, arg);
	pthread_mutex_unlock(&q->lock);
}

static void dispatch_child(exs_executor *leaf, exs_future *f, void *slot, exs_visit_fn *visit, void *arg)
{
	struct queue *q = exsi_state(leaf);

	(void)f;
	pthread_mutex_lock(&q->lock);
	exsi_child_visit(slot, visit, arg);
	pthread_mutex_unlock(&q->lock);
}

static exs_executor *dispatch_attached(exs_executor *leaf, uint64_t *cursor)
{
	struct queue *q = exsi_state(leaf);
	exs_executor *x = NULL;

	pthread_mutex_lock(&q->lock);
	struct exsi_list *node = q->workers.next;
	while (node != &q->workers && worker_of(node)->number <= *cursor)
		node = node->next;
	if (node != &q->workers) {
		*cursor = worker_of(node)->number;
		x = worker_of(node)->relay.relay;
		atomic_fetch_add(&x->refs, 1);
	}
	pthread_mutex_unlock(&q->lock);
	return x;
}

/* All that could run it run it on threads of other. */
static bool dispatch_needs(exs_executor *leaf, exs_future *f, const exs_executor *other)
{
	struct queue *q = exsi_state(leaf);
	unsigned there = 0, elsewhere = 0, series = exs_call_series(f);

	pthread_mutex_lock(&q->lock);
	for (struct exsi_list *node = q->workers.next; node != &q->workers; node = node->next) {
		const struct worker *w = worker_of(node);
		if (w->detached || !is_qualified(w, series))
			continue;
		there += w->relay.relay->leaf == other;
		elsewhere += w->relay.relay->leaf != other;
	}
	pthread_mutex_unlock(&q->lock);
	return there && !elsewhere;
}

/* Attached ones may run their calls on this thread alone. */
static bool dispatch_turn(exs_executor *leaf)
{
	uint64_t cursor = 0;
	bool ran = false;

	for (exs_executor *x; !ran && (x = dispatch_attached(leaf, &cursor)); exsi_executor_unref_within(x))
		ran = x->leaf->turn && x->leaf->turn(x->leaf);
	return ran;
}

static void dispatch_stop(exs_executor *leaf)
{
	struct queue *q = exsi_state(leaf);

	while (!exsi_list_is_empty(&q->workers)) { /* no call is left, nobody else is here */
		struct worker *w = worker_of(q->workers.next);
		exsi_list_remove(&w->node);
		exsi_executor_unref(w->relay.relay);
	}
	pthread_mutex_destroy(&q->lock);
}

static const exs_layer_ops dispatch_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "dispatch",
	.start = dispatch_start,
	.done = exs_pass_done,
	.cancel = dispatch_cancel,
	.each = dispatch_each,
	.stop = dispatch_stop,
	.child = dispatch_child,
};

/* --- tasks that wait --- */

/* A task of w is about to wait, or has: meanwhile it takes no place. Where tasks run on the thread that starts them, that is not to be
   this one: what is queued might itself wait for the task. */
static void worker_lend(struct exsi_relay *relay, bool begins)
{
	struct worker *w = EXSI_CONTAINER_OF(relay, struct worker, relay);
	struct queue *q = w->q;
	exs_result r = exs_ok(NULL, NULL);

	pthread_mutex_lock(&q->lock);
	w->lent += begins ? 1 : (size_t)-1;
	q->stats.lent += begins ? 1 : (size_t)-1;
	sort_in(w);
	struct waiting *next = w->threads ? next_for(q, w) : NULL;
	pthread_mutex_unlock(&q->lock);
	if (next)
		exs_call_resume(call_of(q, next), q->x, EXS_DOWN, &r);
}

/* A task of w waits for f, which is queued: it is claimed and assigned to w, which is full perhaps. */
static bool take_out_of_turn(struct worker *w, exs_future *f)
{
	struct queue *q = w->q;
	struct waiting *s = waiting_of(q, f);

	pthread_mutex_lock(&q->lock);
	bool mine = is_queued(s) && may_run(w, s);
	if (mine)
		pull(q, s);
	mine = mine && exs_call_claim(f); /* otherwise its canceller finds it unlinked */
	if (mine)
		assign(q, s, w);
	pthread_mutex_unlock(&q->lock);
	return mine;
}

/* A task of w waits for f, which another worker has, which may have no thread left for it. Answers the child that is to be
   recalled, with a reference. */
static exs_future *want(struct worker *w, exs_future *f)
{
	struct queue *q = w->q;
	struct waiting *s = waiting_of(q, f);
	struct exsi_parent *p = exsi_slot(f, q->leaf);
	exs_future *child = NULL;

	pthread_mutex_lock(&q->lock);
	if (s->to && s->to != w && may_run(w, s) && p->child && !p->delivered && !p->recalled) {
		p->recalled = true;
		s->wanted = w;
		child = exs_future_ref(p->child);
	}
	pthread_mutex_unlock(&q->lock);
	return child;
}

static bool recall_for(struct worker *w, exs_future *f, exs_future *child)
{
	struct queue *q = w->q;
	struct waiting *s = waiting_of(q, f);
	struct exsi_parent *p = exsi_slot(f, q->leaf);

	exsi_child_cancel_unbegun(child);
	exsi_drain(); /* the call comes back, perhaps */
	pthread_mutex_lock(&q->lock);
	bool mine = s->to == w;
	s->wanted = NULL;
	if (p->child == child && !p->delivered && !s->to->detached) /* it has begun, or is on its way to */
		p->recalled = false;
	pthread_mutex_unlock(&q->lock);
	exs_future_unref(child);
	return mine;
}

/* This thread runs a task of w, whose call keeps w and the queue. */
static bool worker_hurry(struct exsi_relay *relay, exs_future *f)
{
	struct worker *w = EXSI_CONTAINER_OF(relay, struct worker, relay);
	exs_result r = exs_ok(NULL, NULL);
	exs_future *child = NULL;

	exsi_pin();
	exs_executor *x = exsi_is_call(f) ? exsi_parked_at(f) : NULL;
	bool mine = x && x == w->q->x && take_out_of_turn(w, f);
	if (x == w->q->leaf)
		child = want(w, f);
	exsi_unpin();
	if (mine)
		exs_call_resume(f, x, EXS_DOWN, &r);
	return mine || (child && recall_for(w, f, child));
}

static bool worker_closed(struct exsi_relay *relay)
{
	return EXSI_CONTAINER_OF(relay, struct worker, relay)->detached;
}

static const struct exsi_relay_ops worker_ops = {
	.closed = worker_closed,
	.lend = worker_lend,
	.hurry = worker_hurry,
};

/* --- made --- */

static const char *check(const exs_queue_options *o)
{
	uint64_t ns;

	if (o->order > EXS_BY_NICENESS)
		return "order: EXS_BY_LEVEL or EXS_BY_NICENESS";
	if (o->levels > EXS_QUEUE_MAX_LEVELS)
		return "levels: at most 64";
	if (!exsi_duration(exsi_option_seconds(o->aging, 0), &ns))
		return "aging: seconds, 0 or more";
	if (o->order == EXS_BY_NICENESS && (o->levels || ns))
		return "levels, aging: of EXS_BY_LEVEL only";
	if (o->series > MAX_SERIES)
		return "series: at most 65536";
	return NULL;
}

static void set_defaults(struct queue *q, const exs_queue_options *o)
{
	q->options = *o;
	q->options.name = NULL; /* the caller's */
	q->options.levels = o->levels ? o->levels : 2;
	q->options.series = o->series ? o->series : 1;
	exsi_duration(exsi_option_seconds(o->aging, 0), &q->aging);
	if (q->aging > MAX_AGING)
		q->aging = MAX_AGING;
	exsi_list_init(&q->waiting);
	exsi_list_init(&q->workers);
	exsi_list_init(&q->free);
	pthread_mutex_init(&q->lock, NULL);
}

exs_executor *exs_queue_sized(const exs_queue_options *options, size_t size)
{
	exs_queue_options o;
	const char *bad =
		exsi_options(&o, sizeof(o), options, size) ? check(&o) : "options that this library does not know";

	if (bad)
		return exsi_fail_null(EXS_EINVAL, "exs_queue: %s", bad);
	size_t lines = (o.series ? o.series : 1) * sizeof(struct line);
	exs_executor *leaf =
		exs_layer_new(&dispatch_ops, NULL, sizeof(struct queue) + lines, sizeof(struct exsi_parent));
	if (!leaf)
		return NULL;
	struct queue *q = exsi_state(leaf);
	set_defaults(q, &o);
	exs_with_name(leaf, o.name);
	exs_executor *x = exs_layer_new(&queue_ops, leaf, 0, sizeof(struct waiting));
	if (!x)
		return NULL;
	exs_layer_set_attempts(x, 1); /* what an attached executor starts is counted */
	leaf->needs = dispatch_needs;
	leaf->turn = dispatch_turn;
	leaf->attached = dispatch_attached;
	q->x = x;
	q->leaf = leaf;
	return x;
}

/* --- attached, detached --- */

static struct queue *find(exs_executor *x)
{
	return x && x->leaf->ops.start == dispatch_start ? exsi_state(x->leaf) : NULL;
}

static const char *check_attach(struct queue *q, exs_executor *ex, const exs_attach_options *o)
{
	if (!q)
		return "there is no queue at the bottom of the chain";
	if (exsi_uses(ex, q->leaf))
		return "the executor stands on this queue";
	if (o->capacity == EXS_NONE)
		return "capacity: at least 1";
	if (!o->series != !o->n_series)
		return "series and n_series: both or none";
	if (o->n_series > MAX_SERIES)
		return "n_series: at most 65536";
	for (size_t i = 0; i < o->n_series; i++)
		if (o->series[i] >= q->options.series)
			return "series: the queue has fewer";
	return NULL;
}

static struct worker *worker_new(struct queue *q, exs_executor *ex, const exs_attach_options *o)
{
	unsigned threads = ex->leaf->workers;
	struct exsi_relay *relay =
		exsi_relay_new(ex, &worker_ops, sizeof(struct worker) + o->n_series * sizeof(unsigned));

	if (!relay)
		return NULL;
	relay->relay->source.extra_starts = true;
	relay->x = q->leaf;
	relay->lock = &q->lock;
	struct worker *w = EXSI_CONTAINER_OF(relay, struct worker, relay);
	w->q = q;
	w->threads = threads;
	w->capacity = o->capacity ? o->capacity : threads ? threads : 1;
	if (o->capacity == EXS_UNLIMITED)
		w->capacity = SIZE_MAX;
	w->all = !o->n_series;
	w->n_series = (unsigned)o->n_series;
	w->series = (unsigned *)(w + 1);
	if (o->n_series)
		memcpy(w->series, o->series, o->n_series * sizeof(unsigned));
	return w;
}

/* As many calls as it takes: a chain by next, none in a list. */
static struct exsi_list *fill(struct queue *q, struct worker *w)
{
	struct exsi_list *first = NULL, **tail = &first;
	struct waiting *s;

	while ((s = next_for(q, w))) {
		*tail = &s->waiting;
		tail = &s->waiting.next;
	}
	*tail = NULL;
	return first;
}

/* Answers its number; 0: the queue is closing. w may be gone then, or soon. */
static uint64_t enlist(struct queue *q, struct worker *w)
{
	struct exsi_list *first = NULL, *next;

	pthread_mutex_lock(&q->lock);
	uint64_t number = w->number = ++q->numbers;
	exsi_list_append(&q->workers, &w->node);
	bool closing =
		atomic_load(&q->x->closing); /* after it is in the list: shutdown closes, then looks at the list */
	if (closing) {
		w->detached = true;
		q->stats.leaving++;
		is_over(w);
	} else {
		q->stats.attached++;
		sort_in(w);
		first = fill(q, w);
	}
	pthread_mutex_unlock(&q->lock);
	for (; first; first = next) {
		next = first->next;
		dispatch(q, waiting_at(first));
	}
	return closing ? 0 : number;
}

static uint64_t attach(struct queue *q, exs_executor *ex, const exs_attach_options *o)
{
	struct worker *w = worker_new(q, ex, o);

	if (!w)
		return 0;
	exs_executor *relay = w->relay.relay;
	uint64_t number = enlist(q, w);
	if (!number) {
		exsi_executor_unref_within(relay);
		exsi_fail(EXS_ESHUTDOWN, "exs_queue_attach: the queue was shut down");
	}
	return number;
}

uint64_t exs_queue_attach_sized(exs_executor *queue, exs_executor *ex, const exs_attach_options *options, size_t size)
{
	exs_attach_options o;
	struct queue *q = find(queue);

	if (!ex)
		return 0;
	const char *bad = exsi_options(&o, sizeof(o), options, size) ? check_attach(q, ex, &o)
								     : "options that this library does not know";
	if (!bad)
		return attach(q, ex, &o);
	exsi_fail(EXS_EINVAL, "exs_queue_attach: %s", bad);
	exs_executor_free(ex);
	return 0;
}

static struct worker *detach(struct queue *q, uint64_t number)
{
	struct exsi_list *node = q->workers.next;

	while (node != &q->workers && worker_of(node)->number != number)
		node = node->next;
	if (node == &q->workers || worker_of(node)->detached)
		return NULL;
	struct worker *w = worker_of(node);
	w->detached = true;
	sort_in(w);
	q->stats.attached--;
	q->stats.leaving++;
	atomic_fetch_add(&w->relay.relay->refs, 1);
	return w;
}

int exs_queue_detach(exs_executor *queue, uint64_t number)
{
	struct queue *q = find(queue);
	struct worker *w = NULL;

	if (q) {
		pthread_mutex_lock(&q->lock);
		w = detach(q, number);
		pthread_mutex_unlock(&q->lock);
	}
	if (!w)
		return exsi_fail(EXS_EINVAL, "exs_queue_detach: no queue, or nothing attached to it as number %llu",
				 (unsigned long long)number);
	exsi_child_recall_all(&w->relay);
	pthread_mutex_lock(&q->lock);
	bool over = is_over(w);
	pthread_mutex_unlock(&q->lock);
	if (over)
		exsi_executor_unref_within(w->relay.relay);
	exsi_executor_unref_within(w->relay.relay);
	return EXS_OK;
}

int exs_queue_get_stats_sized(exs_executor *queue, exs_queue_stats *stats, size_t size)
{
	struct queue *q = find(queue);

	if (!q || !stats)
		return exsi_fail(EXS_EINVAL,
				 "exs_queue_get_stats: no queue at the bottom of the chain, or stats is NULL");
	pthread_mutex_lock(&q->lock);
	exsi_fill_in(stats, size, &q->stats, sizeof(q->stats));
	pthread_mutex_unlock(&q->lock);
	return EXS_OK;
}
