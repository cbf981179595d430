/* Timeout, mode ABANDON: the delegate runs as a call of its own, which is left behind when time is up. */
#include "decorators/timeout.h"

#include <executors/timeout.h>
#include <stdio.h>

/* Two executors: x, whose calls (the parents) wait parked, and under it the relay, the top of each child call. Parent and child
   tell each other under the lock, which guards all of both slots but the timer and `expired`. Whoever has news for the parent
   first notes it (late, expired), then claims; a canceller that parks the parent again first parks, then looks for news. */
struct abandon {
	exs_executor *x, *relay;
	uint64_t ns;
	exs_error *error;
	struct exsi_timer_kind kind;
	bool holds_clock;
	pthread_mutex_t lock;
	struct slot *parents; /* parked, or on their way: doubly linked */
	size_t abandoned;
};

struct slot {
	struct exsi_timer timer; /* first armed in start */
	struct exsi_shared_arg arg;
	struct slot *next, **pprev; /* pprev NULL: not in the list */
	exs_future *child;	    /* one reference; NULL: none under way */
	exs_result late;	    /* the child's outcome, if delivered */
	exs_link link;		    /* for going up with it */
	bool delivered;
	atomic_bool expired;
};

struct kid {
	exs_future *parent; /* NULL: left behind */
	exs_future *owner;  /* the parent still; held, as is its parent, and so on */
	struct exsi_shared_arg *arg;
	struct abandon *a;
	double deadline;
};

static struct slot *slot_of(struct exsi_timer *timer)
{
	return EXSI_CONTAINER_OF(timer, struct slot, timer);
}

static struct abandon *abandon_of(struct exsi_timer *timer)
{
	return EXSI_CONTAINER_OF(timer->kind, struct abandon, kind);
}

/* --- parents, under the lock --- */

static void list(struct abandon *a, struct slot *s)
{
	s->next = a->parents;
	s->pprev = &a->parents;
	if (s->next)
		s->next->pprev = &s->next;
	a->parents = s;
}

static void unlist(struct slot *s)
{
	*s->pprev = s->next;
	if (s->next)
		s->next->pprev = s->pprev;
	s->pprev = NULL;
}

/* The starts that the child counted are the parent's too. */
static void add_attempts(exs_future *parent, exs_future *child)
{
	if (parent->story && child->story)
		atomic_fetch_add(&exsi_story(parent)->attempt, atomic_load(&exsi_story(child)->attempt) - 1);
}

/* With the token: the call leaves with what came; answers the child, to be let go. */
static exs_future *leave(struct abandon *a, exs_future *f, struct slot *s, exs_result *r)
{
	exs_future *child = s->child;

	unlist(s);
	s->child = NULL;
	add_attempts(f, child);
	if (s->delivered) {
		*r = s->late;
		return child;
	}
	((struct kid *)exsi_slot(child, a->relay))->parent = NULL;
	a->abandoned++;
	uint64_t ns = exsi_timeout_of(a->x, f, a->ns);
	*r = exs_fail(ns == a->ns ? exs_error_ref(a->error) : exsi_timeout_error(ns));
	return child;
}

/* Without the lock: it is asked to stop (if it has ended, that does nothing). */
static void let_go(struct abandon *a, struct slot *s, exs_future *child, bool left_behind)
{
	if (s)
		exsi_timer_disarm(a->x->clock, &s->timer);
	if (left_behind)
		exsi_cancel(child, EXSI_STOP_ALL, EXS_CAUSE_TIMEOUT);
	exs_future_unref(child);
}

/* Passes on a stop that was asked of the call while its token was not to be had. */
static void tell_child(exs_future *f, struct slot *s)
{
	exs_cause cause = exs_future_cause(f);
	bool insisted = atomic_fetch_and(&f->state, ~EXSI_INSISTED) & EXSI_INSISTED;

	exsi_cancel(s->child, EXSI_STOP_ALL, insisted && cause == EXS_CAUSE_USER ? EXS_CAUSE_TIMEOUT : cause);
}

enum settled { GOES_UP, IS_HELD, MUST_TELL };

/* With the token, in a cancel: the call goes up with what has come, or is parked again. MUST_TELL: another insists on a stop. */
static enum settled try_settle(struct abandon *a, exs_future *f, struct slot *s, exs_result *r)
{
	exs_future *child = NULL;
	bool left_behind = false, parked = false;
	enum settled how = GOES_UP;

	pthread_mutex_lock(&a->lock);
	if (!s->delivered && !atomic_load(&s->expired)) {
		parked = exsi_call_park_unless_insisted(f, a->x);
		how = parked ? IS_HELD : MUST_TELL;
	}
	/* The timer's expiry may have come between the look and the park, and found nothing to claim. */
	if (parked && atomic_load(&s->expired) && exs_call_claim(f))
		how = GOES_UP;
	if (how == GOES_UP) {
		left_behind = !s->delivered;
		child = leave(a, f, s, r);
	}
	pthread_mutex_unlock(&a->lock);
	if (child)
		let_go(a, s, child, left_behind);
	return how;
}

/* --- the child --- */

/* What the child holds; its driver counts it off its root's top at the very end. */
static void kid_end(const struct kid *k)
{
	exs_future *f = k->owner, *up;

	exsi_arg_drop(k->arg);
	for (; f; f = up) {
		up = f->source->parent(f);
		exsi_drop(f);
	}
}

/* In the child's driver. */
static exs_step kid_done(exs_executor *relay, exs_future *child, void *slot, exs_result *r)
{
	struct kid *k = slot;
	struct abandon *a = k->a;
	exs_future *parent, *owner = k->owner;
	struct slot *s = exsi_slot(owner, a->x);
	exs_cause cause = exs_future_cause(child);
	bool mine = false;

	(void)relay;
	pthread_mutex_lock(&a->lock);
	parent = k->parent;
	k->parent = NULL;
	if (!parent) {
		a->abandoned--;
	} else {
		s->late = *r;
		s->delivered = true;
		mine = exs_call_claim(parent);
		if (r->kind == EXS_KIND_CANCELLED)
			exsi_note_cause(parent, cause);
	}
	exs_future *me = mine ? leave(a, parent, s, r) : NULL;
	pthread_mutex_unlock(&a->lock);
	if (parent)
		*r = exs_ok(NULL, NULL); /* handed over; otherwise it is late, and destroyed with the child */
	if (mine) { /* an inline child ends below the parent's own start: it goes on from there, in constant stack */
		let_go(a, s, me, false);
		exs_call_release(parent, a->x, EXS_UP, &s->late, &s->link);
	}
	child->arg_free = NULL; /* dropped here, before the count */
	kid_end(k);
	return EXS_UP;
}

static double kid_deadline(exs_executor *relay, exs_future *child, void *slot)
{
	(void)relay, (void)child;
	return ((struct kid *)slot)->deadline;
}

static exs_future *kid_parent(exs_executor *relay, exs_future *child)
{
	return ((struct kid *)exsi_slot(child, relay))->owner;
}

static const exs_layer_ops relay_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "relay",
	.start = exs_pass_start,
	.done = kid_done,
	.cancel = exs_pass_cancel,
	.deadline = kid_deadline,
};

/* --- hooks of the parent --- */

/* With all it needs, but not entered yet: what it holds it lets go when it ends. */
static exs_future *new_child(struct abandon *a, exs_future *f, struct slot *s)
{
	if (!exsi_arg_is_shared(f)) /* the first attempt, and f no child */
		exsi_arg_share(f, &s->arg);
	exs_future *child = exsi_new_child(a->relay, f->fn, f->arg);
	if (!child)
		return NULL;
	struct exsi_shared_arg *arg = f->arg;
	*(struct kid *)exsi_slot(child, a->relay) =
		(struct kid){.parent = f,
			     .owner = f,
			     .arg = arg,
			     .a = a,
			     .deadline = exs_clock_now(a->x->clock) + f->source->time_left(f)};
	atomic_fetch_add(&arg->users, 1);
	exsi_child_begin(exsi_root(f));
	for (exs_future *up = f; up; up = up->source->parent(up))
		exsi_hold(up); /* the child looks at them all */
	return child;
}

static bool park_unless_stopped(struct exsi_timer *timer)
{
	exs_executor *x = abandon_of(timer)->x;

	return exsi_call_park_unless_stopped(exsi_slot_call(slot_of(timer), x), x);
}

static bool park_unless_insisted(struct exsi_timer *timer)
{
	exs_executor *x = abandon_of(timer)->x;

	return exsi_call_park_unless_insisted(exsi_slot_call(slot_of(timer), x), x);
}

/* Parks the call and arms its timer in one. Whoever claims it then finds all in place; it may be gone on return. */
static void park(struct abandon *a, exs_future *f, struct slot *s)
{
	bool (*try)(struct exsi_timer *) = park_unless_stopped;
	bool timed = s->timer.at != EXSI_NEVER;

	while (timed ? !exsi_timer_arm(a->x->clock, &s->timer, s->timer.at, try) : !try(&s->timer)) {
		tell_child(f, s);
		try = park_unless_insisted;
	}
}

/* The call is parked before the child starts: an inline child runs in here, and must be within reach of a cancel and of the time. */
static exs_step abandon_start(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	struct abandon *a = exsi_state(x);
	struct slot *s = slot;
	uint64_t ns = exsi_timeout_of(x, f, a->ns);
	exs_entry entry = exs_call_entry(f);

	s->timer = (struct exsi_timer){.at = exsi_after(exsi_clock_ns(x->clock), ns), .kind = &a->kind};
	s->delivered = false;
	atomic_init(&s->expired, false);
	exs_future *child = new_child(a, f, s);
	if (!child) {
		*r = exs_fail(exsi_error(EXS_ENOMEM));
		return EXS_UP;
	}
	pthread_mutex_lock(&a->lock);
	s->child = child; /* under the lock: abandon_child may still look, when a retry above starts the call again */
	list(a, s);
	pthread_mutex_unlock(&a->lock);
	park(a, f, s);
	exsi_enter_child(child, entry);
	return EXS_HELD;
}

static exs_step abandon_cancel(exs_executor *x, exs_future *f, void *slot, exs_cause cause, exs_result *r)
{
	struct slot *s = slot;
	exs_future *child = s->child;
	enum settled how;

	exsi_hold(child);
	while ((how = try_settle(exsi_state(x), f, s, r)) == MUST_TELL)
		tell_child(f, s);
	if (how == IS_HELD)
		exsi_cancel_next(child, cause);
	else
		exsi_drop(child);
	return how == GOES_UP ? EXS_UP : EXS_HELD;
}

static bool abandon_expire(struct exsi_timer *timer)
{
	struct slot *s = slot_of(timer);

	atomic_store(&s->expired, true);
	return exs_call_claim(exsi_slot_call(s, abandon_of(timer)->x));
}

static void abandon_fire(struct exsi_timer *timer)
{
	struct slot *s = slot_of(timer);
	struct abandon *a = abandon_of(timer);
	exs_future *f = exsi_slot_call(s, a->x);
	exs_result r;

	pthread_mutex_lock(&a->lock);
	bool left_behind = !s->delivered;
	exs_future *child = leave(a, f, s, &r);
	pthread_mutex_unlock(&a->lock);
	let_go(a, NULL, child, left_behind);
	exs_call_resume(f, a->x, EXS_UP, &r);
}

static void abandon_each(exs_executor *x, exs_visit_fn *visit, void *arg)
{
	struct abandon *a = exsi_state(x);

	pthread_mutex_lock(&a->lock);
	for (struct slot *s = a->parents; s; s = s->next)
		visit(exsi_slot_call(s, x), arg);
	pthread_mutex_unlock(&a->lock);
}

static void abandon_child(exs_executor *x, exs_future *f, void *slot, exs_visit_fn *visit, void *arg)
{
	struct abandon *a = exsi_state(x);
	struct slot *s = slot;

	(void)f;
	pthread_mutex_lock(&a->lock);
	if (s->child)
		visit(s->child, arg);
	pthread_mutex_unlock(&a->lock);
}

static double abandon_deadline(exs_executor *x, exs_future *f, void *slot)
{
	struct slot *s = slot;

	(void)x, (void)f;
	return s->timer.at == EXSI_NEVER ? EXS_FOREVER : (double)s->timer.at / 1e9;
}

static void abandon_stop(exs_executor *x)
{
	struct abandon *a = exsi_state(x);

	exsi_wait_quiet(a->relay, EXSI_NEVER); /* those left behind use a */
	if (a->holds_clock)
		exsi_clock_unhold(x->clock);
	exs_error_unref(a->error);
	pthread_mutex_destroy(&a->lock);
}

static int abandon_describe(exs_executor *x, char *buf, size_t size)
{
	struct abandon *a = exsi_state(x);

	if (a->ns == EXSI_NEVER)
		return snprintf(buf, size, "none, abandon");
	return snprintf(buf, size, "%gs, abandon", (double)a->ns / 1e9);
}

static const exs_layer_ops abandon_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "timeout",
	.options = EXS_OPTION_TIMEOUT,
	.start = abandon_start,
	.done = exs_pass_done,
	.cancel = abandon_cancel,
	.each = abandon_each,
	.stop = abandon_stop,
	.describe = abandon_describe,
	.deadline = abandon_deadline,
	.child = abandon_child,
};

exs_executor *exsi_with_abandon(exs_executor *ex, uint64_t ns)
{
	exs_executor *relay = exs_layer_new(&relay_ops, ex, 0, sizeof(struct kid));
	exs_executor *x =
		relay ? exs_layer_new(&abandon_ops, relay, sizeof(struct abandon), sizeof(struct slot)) : NULL;

	if (!x)
		return NULL;
	relay->parent = kid_parent;
	exsi_layer_new_block(x, true);
	struct abandon *a = exsi_state(x);
	*a = (struct abandon){.x = x,
			      .relay = relay,
			      .ns = ns,
			      .kind = {abandon_expire, abandon_fire},
			      .error = exsi_timeout_error(ns)};
	pthread_mutex_init(&a->lock, NULL);
	int rc = exsi_clock_hold(x->clock);
	a->holds_clock = !rc;
	if (!rc)
		return x;
	exs_executor_free(x);
	return exsi_fail_errno(rc, "timeout: no timer thread");
}

bool exsi_is_abandon(const exs_executor *x)
{
	return x->ops.start == abandon_start;
}

size_t exsi_abandoned(exs_executor *x)
{
	struct abandon *a = exsi_state(x);

	pthread_mutex_lock(&a->lock);
	size_t n = a->abandoned;
	pthread_mutex_unlock(&a->lock);
	return n;
}
