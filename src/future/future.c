/* Futures: completion, cancel, references, results. */
#include "future/future.h"
#include "base/memory.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

void (*exsi_observer)(exs_future *future, int done);

static void observe(exs_future *f, int done)
{
	if (exsi_observer)
		exsi_observer(f, done);
}

void exsi_future_init(exs_future *f, const struct exsi_source *source, unsigned state)
{
	atomic_init(&f->state, state);
	atomic_init(&f->refs, EXSI_USER_REF + EXSI_LIB_REF);
	f->source = source;
	atomic_init(&f->nodes, 0);
	f->story = 0;
	f->extra = 0;
	observe(f, 0);
}

/* --- references --- */

/* Nobody can add to the last reference but who has it: then there is no need to count it down. */
static bool is_last(exs_future *f, unsigned unit)
{
	return atomic_load_explicit(&f->refs, memory_order_acquire) == unit ||
	       (atomic_fetch_sub(&f->refs, unit) & ~EXSI_MANY_REFS) == unit;
}

/* And what it keeps, and so on. */
static void destroy(exs_future *f)
{
	exs_future *kept;

	do {
		observe(f, 2);
		if (!(atomic_load(&f->state) & EXSI_FORCED))
			exs_result_clear(&f->result);
		kept = f->story == EXSI_KEEPS ? *(exs_future **)(void *)(f + 1) : NULL;
		exsi_free(f);
		f = kept;
	} while (kept && is_last(kept, EXSI_USER_REF));
}

static void release(exs_future *f, unsigned unit)
{
	if (is_last(f, unit))
		destroy(f);
}

void exsi_hold(exs_future *f)
{
	atomic_fetch_add_explicit(&f->refs, EXSI_LIB_REF, memory_order_relaxed); /* who adds has one */
}

void exsi_drop(exs_future *f)
{
	release(f, EXSI_LIB_REF);
}

void exsi_drop_two(exs_future *f)
{
	release(f, 2 * EXSI_LIB_REF);
}

/* Long before the count carries: whoever can take then finds it noted. */
static bool are_many(unsigned refs)
{
	return refs & (EXSI_USER_REFS + 1) / 2;
}

exs_future *exs_future_ref(exs_future *f)
{
	if (f &&
	    are_many(atomic_fetch_add_explicit(&f->refs, EXSI_USER_REF, memory_order_relaxed))) /* who adds has one */
		atomic_fetch_or_explicit(&f->refs, EXSI_MANY_REFS, memory_order_relaxed);	/* as above */
	return f;
}

/* Has nobody else one of the users'? */
static bool is_sole(exs_future *f)
{
	unsigned refs = atomic_load(&f->refs);

	return (refs & EXSI_MANY_REFS ? refs & ~EXSI_MANY_REFS : refs & EXSI_USER_REFS) == EXSI_USER_REF;
}

void exs_future_unref(exs_future *f)
{
	if (f)
		release(f, EXSI_USER_REF);
}

/* --- nodes --- */

struct exsi_node *exsi_nodes_lock(exs_future *f)
{
	uintptr_t n = atomic_load_explicit(&f->nodes, memory_order_relaxed); /* the exchange below acquires */

	for (unsigned turn = 0;; turn++) {
		n &= ~(uintptr_t)1;
		if (atomic_compare_exchange_weak(&f->nodes, &n, n | 1))
			return (struct exsi_node *)n;
		exsi_relax(turn);
	}
}

void exsi_nodes_unlock(exs_future *f, struct exsi_node *last)
{
	atomic_store_explicit(&f->nodes, (uintptr_t)last, memory_order_release);
}

struct exsi_node *exsi_nodes_append(struct exsi_node *last, struct exsi_node *node)
{
	node->linked = true;
	if (!last) {
		node->next = node->prev = node;
		return node;
	}
	node->prev = last;
	node->next = last->next;
	last->next->prev = node;
	last->next = node;
	return node;
}

struct exsi_node *exsi_nodes_unlink(struct exsi_node *last, struct exsi_node *node)
{
	struct exsi_node *prev = node->prev;

	node->linked = false;
	if (node->next == node)
		return NULL;
	prev->next = node->next;
	node->next->prev = prev;
	return node == last ? prev : last;
}

/* Takes the watchers and callbacks out of the list, which is locked, and unlocks it; the rest are the hooks of a task that
   still runs (a forced future). */
static struct exsi_node *take_nodes(exs_future *f, struct exsi_node *last)
{
	struct exsi_node *hooks = NULL, *taken = NULL, **tail = &taken;

	for (struct exsi_node *n = last ? last->next : NULL, *next; n; n = next) {
		next = n == last ? NULL : n->next;
		n->linked = false;
		if (n->kind == EXSI_HOOK) {
			hooks = exsi_nodes_append(hooks, n);
			continue;
		}
		*tail = n;
		tail = &n->next;
	}
	*tail = NULL;
	exsi_nodes_unlock(f, hooks);
	return taken;
}

/* Futures whose callbacks this thread is running, the innermost first, with those not yet begun. */
struct telling {
	exs_future *future;
	struct exsi_node *callbacks;
	struct telling *outer;
};
static _Thread_local struct telling *telling;

/* Runs them: watchers first, since they run no user code, then callbacks in their order. The list is locked. */
static void run_several(exs_future *f, struct exsi_node *last)
{
	struct telling t = {.future = f, .outer = telling};
	struct exsi_node **tail = &t.callbacks, *n, *next;

	for (n = take_nodes(f, last); n; n = next) {
		next = n->next;
		if (n->kind == EXSI_WATCHER) {
			n->fn(f, n);
			continue;
		}
		*tail = n;
		tail = &n->next;
	}
	*tail = NULL;
	telling = &t;
	while ((n = t.callbacks)) {
		t.callbacks = n->next;
		n->fn(f, n);
	}
	telling = t.outer;
}

/* Of a sole one nothing is left, while it runs, that is not begun. */
static void run_nodes(exs_future *f)
{
	struct exsi_node *last = exsi_nodes_lock(f);

	if (!last || last->next != last || last->kind == EXSI_HOOK) {
		run_several(f, last);
		return;
	}
	last->linked = false;
	exsi_nodes_unlock(f, NULL);
	last->fn(f, last);
}

static struct exsi_node *take_continuation(struct telling *t)
{
	struct exsi_node **at = &t->callbacks, *n;

	while ((n = *at) && n->kind != EXSI_CONTINUATION)
		at = &n->next;
	if (n)
		*at = n->next;
	return n;
}

void exsi_continue(void)
{
	struct exsi_node *n;

	for (struct telling *t = telling; t; t = t->outer)
		while ((n = take_continuation(t)))
			n->fn(t->future, n);
	exsi_run_due();
}

bool exsi_node_add(exs_future *f, struct exsi_node *node)
{
	struct exsi_node *last = exsi_nodes_lock(f);
	unsigned s = atomic_load(&f->state);
	bool done = s & EXSI_DONE;

	if (!done) {
		last = exsi_nodes_append(last, node);
		if (!(s & EXSI_NODES)) /* under the lock: once the node has fired, f may be gone */
			s = atomic_fetch_or(&f->state, EXSI_NODES);
	}
	exsi_nodes_unlock(f, last);
	if (done)
		return false;
	/* Who completes looks for the flag as it sets DONE, then for the lock: if it did not find it, the list is ours to run. */
	if (s & EXSI_DONE && !(s & EXSI_NODES))
		run_nodes(f);
	return !done;
}

bool exsi_node_remove(exs_future *f, struct exsi_node *node)
{
	struct exsi_node *last = exsi_nodes_lock(f);
	bool linked = node->linked;

	if (linked)
		last = exsi_nodes_unlink(last, node);
	exsi_nodes_unlock(f, last);
	return linked;
}

/* --- completion --- */

void exsi_replace_result(exs_result *r, const char *who)
{
	*r = exs_fail(exs_error_new(&exs_domain_exs, EXS_EINVAL,
				    "%s answered no valid result: use exs_ok, exs_fail(error) or exs_cancelled", who));
}

static void tell(exs_future *f, unsigned state)
{
	observe(f, 1);
	if (state & EXSI_WAITER)
		exsi_unpark(&f->state, INT_MAX);
	if (state & EXSI_NODES)
		run_nodes(f);
}

unsigned exsi_settle(exs_future *f, exs_result *r)
{
	unsigned s = atomic_load(&f->state);

	do {
		if (s & EXSI_DONE) { /* forced: the result comes late */
			exs_result_clear(r);
			return s;
		}
		f->result = *r;
	} while (!atomic_compare_exchange_weak(&f->state, &s, (s | EXSI_DONE) & ~EXSI_RUNNING));
	tell(f, s);
	return s;
}

void exsi_complete(exs_future *f, exs_result *r)
{
	exsi_settle(f, r);
	exsi_drop(f);
}

/* --- cancel --- */

/* Answers the state before. *claimed: the caller has the token. */
static unsigned mark(exs_future *f, unsigned level, exs_cause cause, bool only_parked, bool *claimed)
{
	unsigned s = atomic_load(&f->state), next;

	do {
		*claimed = s & EXSI_PARKED && exsi_at(s) < level && !(only_parked && s & EXSI_RUNNING);
		if (s & EXSI_DONE || (only_parked && !*claimed)) {
			*claimed = false;
			return s;
		}
		next = exsi_stop(s) < level ? exsi_with_stop(s, level, cause) : s;
		if (*claimed)
			next &= ~EXSI_PARKED;
		else if (cause != EXS_CAUSE_USER)
			next |= EXSI_INSISTED;
	} while (!atomic_compare_exchange_weak(&f->state, &s, next));
	if (s & EXSI_HOOKS)
		exsi_hooks_run(f);
	return s;
}

/* The stops that cancel hooks pass on while a cancel is under way on this thread: n of room in next, and links. */
struct passed_on {
	exs_future **next;
	size_t n, room;
	struct exsi_stop *links;
	size_t n_links;
	exs_future **buffer; /* next lies in it, or it is NULL */
	exs_cause cause;
	struct passed_on *outer;
};
static _Thread_local struct passed_on *passed_on;

/* References are counted in 15 bits, and as many may wait here for the same future as are made of it. */
static bool is_held_often(exs_future *f)
{
	return (atomic_load(&f->refs) & ~EXSI_MANY_REFS) >= EXSI_LIB_REF << 13;
}

void exsi_cancel_next(exs_future *f, exs_cause cause)
{
	struct passed_on *p = passed_on;

	if (p && p->n < p->room && p->cause == cause && !is_held_often(f)) {
		p->next[p->n++] = f;
		return;
	}
	exsi_cancel(f, EXSI_STOP_ALL, cause);
	exsi_drop(f);
}

/* Hands the claimed ones over in groups with the same cancel_many. The groups are few: executors, promises. */
static void cancel_groups(exs_future **claimed, size_t n, exs_cause cause)
{
	while (n) {
		void (*fn)(exs_future **, size_t, exs_cause) = claimed[0]->source->cancel_many;
		size_t same = 0;
		for (size_t i = 0; i < n; i++) {
			exs_future *f = claimed[i];
			if (f->source->cancel_many != fn)
				continue;
			claimed[i] = claimed[same];
			claimed[same++] = f;
		}
		fn(claimed, same, cause);
		claimed += same;
		n -= same;
	}
}

/* Marks them, and gathers those whose tokens it got in claimed. */
static size_t mark_all(exs_future *const *futures, size_t n, exs_cause cause, bool only_parked, exs_future **claimed)
{
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		bool mine = false;
		if (futures[i])
			mark(futures[i], EXSI_STOP_ALL, cause, only_parked, &mine);
		if (mine)
			claimed[k++] = futures[i];
	}
	return k;
}

static void pass_on_one(exs_future *f, exs_cause cause)
{
	bool claimed;

	mark(f, EXSI_STOP_ALL, cause, false, &claimed);
	if (claimed)
		f->source->cancel(f, cause);
}

/* All that has been passed on so far. p takes what they pass on in their turn, if there is memory. */
static void pass_on_many(struct passed_on *p)
{
	size_t n = p->n, total = n + p->n_links;
	exs_future **now = exsi_alloc_array(3 * total, sizeof(exs_future *)), **old = p->buffer;
	struct exsi_stop *link = p->links;

	if (!now) { /* one by one */
		while (p->n) {
			exs_future *f = p->next[--p->n];
			exsi_cancel(f, EXSI_STOP_ALL, p->cause);
			exsi_drop(f);
		}
		for (; link; link = p->links) {
			p->links = link->next;
			p->n_links--;
			exsi_cancel(link->future, EXSI_STOP_ALL, p->cause);
			link->done(link);
		}
		return;
	}
	memcpy(now, p->next, n * sizeof(*now));
	for (size_t i = n; i < total; i++, link = link->next)
		now[i] = link->future;
	link = p->links;
	exsi_free(old);
	*p = (struct passed_on){
		.next = now + 2 * total, .room = total, .buffer = now, .cause = p->cause, .outer = p->outer};
	cancel_groups(now + total, mark_all(now, total, p->cause, false, now + total), p->cause);
	for (size_t i = 0; i < n; i++)
		exsi_drop(now[i]);
	for (struct exsi_stop *after; link; link = after) {
		after = link->next;
		link->done(link);
	}
}

/* One after the other, or round by round: all that was passed on, then all that those pass on, and so on. */
static void pass_on(struct passed_on *p)
{
	while (p->n + p->n_links) {
		struct exsi_stop *link = p->links;
		if (p->n + p->n_links > 1) {
			pass_on_many(p);
			continue;
		}
		exs_future *f = link ? link->future : p->next[0];
		p->n = p->n_links = 0;
		p->links = NULL;
		pass_on_one(f, p->cause);
		if (link)
			link->done(link);
		else
			exsi_drop(f);
	}
	exsi_free(p->buffer);
	passed_on = p->outer;
}

void exsi_cancel_next_all(struct exsi_stop *stops)
{
	struct passed_on *p = passed_on;
	struct exsi_stop **last = &stops;
	size_t n = 0;

	for (; *last; last = &(*last)->next)
		n++;
	*last = p->links;
	p->links = stops;
	p->n_links += n;
}

/* With the token; then on to what the stop is passed on to. */
static void cancel_claimed(exs_future *f, exs_cause cause)
{
	exs_future *next;
	struct passed_on p = {.next = &next, .room = 1, .cause = cause, .outer = passed_on};

	passed_on = &p;
	f->source->cancel(f, cause);
	pass_on(&p);
}

void exsi_cancel_these(struct exsi_stop *stops, exs_cause cause)
{
	exs_future *next;
	struct passed_on p = {.next = &next, .room = 1, .cause = cause, .outer = passed_on};

	passed_on = &p;
	exsi_cancel_next_all(stops);
	pass_on(&p);
}

void exsi_cancel_unbegun(exs_future *f, unsigned depth)
{
	unsigned s = atomic_load(&f->state), next;

	do {
		if (!(s & EXSI_PARKED) || exsi_at(s) != depth || s & (EXSI_BEGUN | EXSI_DONE))
			return;
		next = exsi_with_stop(s & ~EXSI_PARKED, EXSI_STOP_ALL, EXS_CAUSE_SHUTDOWN);
	} while (!atomic_compare_exchange_weak(&f->state, &s, next));
	cancel_claimed(f, EXS_CAUSE_SHUTDOWN);
}

bool exsi_force(exs_future *f)
{
	unsigned s = atomic_load(&f->state), next;
	struct exsi_frame frame;

	do {
		if (s & EXSI_DONE)
			return false;
		next = exsi_with_stop(s & ~EXSI_PARKED, EXSI_STOP_ALL, EXS_CAUSE_SHUTDOWN);
		next |= EXSI_DONE | EXSI_FORCED | EXSI_INSISTED;
	} while (!atomic_compare_exchange_weak(&f->state, &s, next));
	exsi_frame_push(&frame, NULL);
	frame.scope = s & EXSI_PARKED ? exsi_scope(f) : NULL; /* otherwise another thread ends the call */
	tell(f, s);
	if (s & EXSI_HOOKS)
		exsi_hooks_run(f);
	if (s & EXSI_PARKED) /* claimed: it winds up now */
		cancel_claimed(f, EXS_CAUSE_SHUTDOWN);
	exsi_frame_pop(&frame);
	return true;
}

static exs_answer answer(exs_future *f)
{
	switch (exs_future_state(f)) {
	case EXS_STATE_CANCELLED:
		return EXS_CANCELLED;
	case EXS_STATE_VALUE:
	case EXS_STATE_ERROR:
		return EXS_TOO_LATE;
	default:
		return EXS_STOP_REQUESTED;
	}
}

bool exsi_cancel(exs_future *f, unsigned level, exs_cause cause)
{
	bool claimed;

	mark(f, level, cause, false, &claimed);
	if (claimed)
		cancel_claimed(f, cause);
	return claimed;
}

/* The end of a call that was just cancelled may be among what this thread has put off. */
static void drain(void)
{
	if (exsi_self()->drain)
		exsi_self()->drain(false);
}

exs_answer exs_future_cancel(exs_future *f)
{
	if (!f || exsi_forked())
		return EXS_TOO_LATE;
	exs_future_ref(f); /* a callback that runs inside may drop the caller's */
	exsi_cancel(f, EXSI_STOP_ALL, EXS_CAUSE_USER);
	if (!exs_future_is_done(f))
		drain();
	exs_answer a = answer(f);
	exs_future_unref(f);
	return a;
}

static void cancel_one_by_one(exs_future *const *futures, size_t n, exs_cause cause, bool only_parked)
{
	exs_future *one;

	for (size_t i = 0; i < n; i++)
		if (mark_all(&futures[i], 1, cause, only_parked, &one))
			cancel_claimed(one, cause);
}

/* Round by round: first those given. */
void exsi_cancel_all(exs_future *const *futures, size_t n, exs_cause cause, bool only_parked)
{
	exs_future **room = exsi_alloc_array(n ? n : 1, 2 * sizeof(exs_future *));
	struct passed_on p = {.room = n, .buffer = room, .cause = cause, .outer = passed_on};

	if (!room) {
		cancel_one_by_one(futures, n, cause, only_parked);
		return;
	}
	p.next = room + n;
	passed_on = &p;
	cancel_groups(room, mark_all(futures, n, cause, only_parked, room), cause);
	pass_on(&p);
}

size_t exs_future_cancel_all(exs_future *const *futures, size_t n)
{
	size_t cancelled = 0;

	if (!futures && n) {
		exsi_fail(EXS_EINVAL, "exs_future_cancel_all: futures is NULL, but n is %zu", n);
		return 0;
	}
	for (size_t i = 0; i < n; i++)
		exs_future_ref(futures[i]);
	exsi_cancel_all(futures, n, EXS_CAUSE_USER, false);
	drain();
	for (size_t i = 0; i < n; i++) {
		cancelled += futures[i] && exs_future_state(futures[i]) == EXS_STATE_CANCELLED;
		exs_future_unref(futures[i]);
	}
	return cancelled;
}

void exsi_note_cause(exs_future *f, exs_cause cause)
{
	unsigned s = atomic_load(&f->state);

	while (exsi_cause(s) == EXS_CAUSE_NONE &&
	       !atomic_compare_exchange_weak(&f->state, &s, exsi_with_stop(s, exsi_stop(s), cause)))
		;
}

void exsi_stop_clear(exs_future *f, unsigned level)
{
	unsigned s = atomic_load(&f->state);

	while (exsi_stop(s) == level &&
	       !atomic_compare_exchange_weak(&f->state, &s, exsi_with_stop(s & ~EXSI_INSISTED, 0, EXS_CAUSE_NONE)))
		;
}

/* --- looking at it --- */

exs_state exs_future_state(exs_future *f)
{
	unsigned s = f ? atomic_load(&f->state) : EXSI_FORCED;

	if (s & EXSI_FORCED)
		return EXS_STATE_ERROR;
	if (s & EXSI_DONE)
		return (exs_state)(EXS_STATE_VALUE + (int)f->result.kind);
	return s & EXSI_RUNNING ? EXS_STATE_RUNNING : EXS_STATE_PENDING;
}

bool exs_future_is_done(exs_future *f)
{
	return !f || exsi_is_done(f);
}

exs_cause exs_future_cause(exs_future *f)
{
	return f ? exsi_cause(atomic_load(&f->state)) : EXS_CAUSE_NONE;
}

exs_result exs_future_result(exs_future *f)
{
	unsigned s = f ? atomic_load(&f->state) : 0;

	if (!(s & EXSI_DONE))
		return exs_fail(exsi_error(f ? EXS_EBUSY : EXS_EINVAL));
	if (s & EXSI_FORCED)
		return exs_fail(exsi_error(EXS_ESHUTDOWN));
	return f->result;
}

void *exs_future_value(exs_future *f)
{
	exs_result r = exs_future_result(f);

	return r.kind == EXS_KIND_VALUE ? r.value : NULL;
}

exs_error *exs_future_error(exs_future *f)
{
	exs_state state = f ? exs_future_state(f) : EXS_STATE_PENDING;

	if (state != EXS_STATE_ERROR)
		return NULL; /* the value may just be taken (exsi_take) */
	return exs_future_result(f).error;
}

int exsi_take(exs_future *f, exs_result *result)
{
	/* A sole reference stays sole: nobody else can add one. But the completing thread may look what kind it is: that stays. */
	if (!exs_future_is_done(f) || !is_sole(f) || f->story == EXSI_KEEPS)
		return EXS_EBUSY;
	*result = exs_future_result(f);
	if (result->kind == EXS_KIND_ERROR)
		exs_error_ref(result->error);
	if (result->kind == EXS_KIND_VALUE) {
		f->result.value = NULL;
		f->result.destroy = NULL;
	}
	return EXS_OK;
}

int exs_future_take(exs_future *f, exs_result *result)
{
	if (!f || !result)
		return exsi_fail(EXS_EINVAL, "exs_future_take: %s is NULL", f ? "result" : "future");
	if (exsi_take(f, result))
		return exsi_fail(EXS_EBUSY,
				 "exs_future_take: the future is not done, or somebody else has a reference, "
				 "of it or of the one whose value it has (exs_future_map)");
	return EXS_OK;
}

/* --- callbacks --- */

struct callback {
	struct exsi_node node;
	exs_done_fn *fn;
	void *ctx;
	exs_free_fn *ctx_free;
};

static void run_callback(exs_future *f, struct exsi_node *node)
{
	struct callback cb = *EXSI_CONTAINER_OF(node, struct callback, node);

	exsi_free(EXSI_CONTAINER_OF(node, struct callback, node));
	cb.fn(f, cb.ctx);
	if (cb.ctx_free)
		cb.ctx_free(cb.ctx);
	exs_future_unref(f);
}

int exs_future_on_done(exs_future *f, exs_done_fn *fn, void *ctx, exs_free_fn *ctx_free)
{
	struct callback *cb = f && fn ? exsi_alloc(sizeof(*cb)) : NULL;

	if (!cb) {
		if (ctx_free)
			ctx_free(ctx);
		if (f && fn)
			return exsi_fail(EXS_ENOMEM, "exs_future_on_done: out of memory");
		return exsi_fail(EXS_EINVAL, "exs_future_on_done: %s is NULL", f ? "fn" : "future");
	}
	*cb = (struct callback){
		.node = {.fn = run_callback, .kind = EXSI_CALLBACK}, .fn = fn, .ctx = ctx, .ctx_free = ctx_free};
	exs_future_ref(f); /* the callback's */
	if (!exsi_node_add(f, &cb->node))
		run_callback(f, &cb->node);
	return EXS_OK;
}
