/* Child calls: started, cancelled, left behind; their outcomes handed to their parents. */
#include "executor/child.h"

/* The relay's slot in the child's block. */
struct kid {
	exs_future *parent; /* held, as is its parent, and so on */
	struct exsi_relay *relay;
	double deadline; /* the parent's, on the relay's clock */
	bool left;	 /* nobody waits for it; under the lock */
};

static exs_future *relay_parent(exs_executor *x, exs_future *child)
{
	return ((struct kid *)exsi_slot(child, x))->parent;
}

static struct exsi_parent *slot_of(struct exsi_relay *relay, exs_future *f)
{
	return exsi_slot(f, relay->x);
}

/* --- parents, under the lock --- */

static void list(struct exsi_relay *relay, struct exsi_parent *p)
{
	p->next = relay->parents;
	p->pprev = &relay->parents;
	if (p->next)
		p->next->pprev = &p->next;
	relay->parents = p;
}

static void unlist(struct exsi_parent *p)
{
	*p->pprev = p->next;
	if (p->next)
		p->next->pprev = p->pprev;
	p->pprev = NULL;
}

/* The starts that the child counted are the parent's too. */
static void add_attempts(exs_future *parent, exs_future *child)
{
	struct exsi_story *mine = exsi_story(parent), *its = exsi_story(child);

	if (!mine || !its)
		return;
	unsigned extra = atomic_load(&its->attempt) - 1;
	unsigned sum = atomic_fetch_add(&mine->attempt, extra) + extra, max = atomic_load(&mine->max);
	while (sum > max && !atomic_compare_exchange_weak(&mine->max, &max, sum)) /* with extra_starts alone */
		;
}

/* With the token: f leaves with what came. */
struct departure {
	exs_future *child; /* to be let go; NULL: f stays */
	bool left_behind;
};

static struct departure leave(struct exsi_relay *relay, exs_future *f, exs_result *r)
{
	struct exsi_parent *p = slot_of(relay, f);
	struct departure d = {.child = p->child, .left_behind = !p->delivered};

	unlist(p);
	p->child = NULL;
	add_attempts(f, d.child);
	if (p->delivered) {
		*r = p->outcome;
		return d;
	}
	((struct kid *)exsi_slot(d.child, relay->relay))->left = true;
	relay->left_behind++;
	relay->ops->left(relay, f, r);
	return d;
}

/* Without the lock: the child is asked to stop (if it has ended, that does nothing). */
static void let_go(struct departure d)
{
	if (d.left_behind)
		exsi_cancel(d.child, EXSI_STOP_ALL, EXS_CAUSE_TIMEOUT);
	exs_future_unref(d.child);
}

void exsi_child_leave(struct exsi_relay *relay, exs_future *f)
{
	exs_result r;

	pthread_mutex_lock(relay->lock);
	struct departure d = leave(relay, f, &r);
	pthread_mutex_unlock(relay->lock);
	let_go(d);
	exs_call_resume(f, relay->x, EXS_UP, &r);
}

/* Without the lock, with the token: f is about to leave, other than by exsi_child_leave. */
static void say_leaving(struct exsi_relay *relay, exs_future *f)
{
	if (relay->ops->leaving)
		relay->ops->leaving(relay, f);
}

/* --- waiting for the child --- */

/* Passes on a stop that was asked of f while its token was not to be had. */
static void tell_child(struct exsi_relay *relay, exs_future *f)
{
	exs_cause cause = exs_future_cause(f);
	bool insisted = atomic_fetch_and(&f->state, ~EXSI_INSISTED) & EXSI_INSISTED;

	exsi_cancel(slot_of(relay, f)->child, EXSI_STOP_ALL,
		    insisted && cause == EXS_CAUSE_USER ? EXS_CAUSE_TIMEOUT : cause);
}

bool exsi_child_park(exs_executor *x, exs_future *f, void *slot)
{
	const struct exsi_parent *p = slot;

	return p->told ? exsi_call_park_unless_insisted(f, x) : exsi_call_park_unless_stopped(f, x);
}

static bool try_park(struct exsi_relay *relay, exs_future *f)
{
	return relay->ops->park ? relay->ops->park(relay, f) : exsi_child_park(relay->x, f, slot_of(relay, f));
}

/* Before the child is entered: nothing has come of it. f may be gone on return. */
static void park(struct exsi_relay *relay, exs_future *f)
{
	struct exsi_parent *p = slot_of(relay, f);

	p->told = false;
	while (!try_park(relay, f)) {
		tell_child(relay, f);
		p->told = true;
	}
}

enum settled { GOES_UP, IS_HELD, MUST_TELL };

/* With the token, in a cancel: f goes up with what has come, or is parked again. MUST_TELL: another insists on a stop. */
static enum settled try_settle(struct exsi_relay *relay, exs_future *f, exs_result *r)
{
	struct exsi_parent *p = slot_of(relay, f);
	struct departure d = {.child = NULL};
	enum settled how = GOES_UP;
	bool parked = false;

	pthread_mutex_lock(relay->lock);
	if (!p->delivered && !atomic_load(&p->gone)) {
		parked = exsi_call_park_unless_insisted(f, relay->x);
		how = parked ? IS_HELD : MUST_TELL;
	}
	/* `gone` may have come between the look and the park, and found nothing to claim. */
	if (parked && atomic_load(&p->gone) && exs_call_claim(f))
		how = GOES_UP;
	if (how == GOES_UP)
		d = leave(relay, f, r);
	pthread_mutex_unlock(relay->lock);
	if (d.child) {
		say_leaving(relay, f);
		let_go(d);
	}
	return how;
}

exs_step exsi_child_cancel(struct exsi_relay *relay, exs_future *f, exs_cause cause, exs_result *r)
{
	exs_future *child = slot_of(relay, f)->child;
	enum settled how;

	exsi_hold(child);
	while ((how = try_settle(relay, f, r)) == MUST_TELL)
		tell_child(relay, f);
	if (how == IS_HELD)
		exsi_cancel_next(child, cause);
	else
		exsi_drop(child);
	return how == GOES_UP ? EXS_UP : EXS_HELD;
}

void exsi_child_each(struct exsi_relay *relay, exs_visit_fn *visit, void *arg)
{
	for (struct exsi_parent *p = relay->parents; p; p = p->next)
		visit(exsi_slot_call(p, relay->x), arg);
}

void exsi_child_visit(struct exsi_parent *slot, exs_visit_fn *visit, void *arg)
{
	if (slot->child)
		visit(slot->child, arg);
}

exs_step exsi_relayed_cancel(exs_executor *x, exs_future *f, void *slot, exs_cause cause, exs_result *r)
{
	(void)slot;
	return exsi_child_cancel(exsi_state(x->inner), f, cause, r);
}

void exsi_relayed_each(exs_executor *x, exs_visit_fn *visit, void *arg)
{
	struct exsi_relay *relay = exsi_state(x->inner);

	pthread_mutex_lock(relay->lock);
	exsi_child_each(relay, visit, arg);
	pthread_mutex_unlock(relay->lock);
}

void exsi_relayed_child(exs_executor *x, exs_future *f, void *slot, exs_visit_fn *visit, void *arg)
{
	struct exsi_relay *relay = exsi_state(x->inner);

	(void)f;
	pthread_mutex_lock(relay->lock);
	exsi_child_visit(slot, visit, arg);
	pthread_mutex_unlock(relay->lock);
}

/* --- recalled --- */

/* Where a child does the work of f: that, but for a batch, which is that of others too. What was adopted comes of a function that
   has begun. */
void exsi_child_cancel_unbegun(exs_future *f)
{
	exsi_pin();
	exs_executor *x = exsi_is_call(f) ? exsi_parked_at(f) : NULL;
	bool by_child = x && exsi_has_children(x) && !x->marks_running;
	bool here = x && (!x->ops.child || x->marks_running);
	unsigned depth = x ? x->depth : 0;
	exsi_unpin();
	size_t cursor = 0;
	exs_future *child = by_child ? exsi_child(f, &cursor) : NULL;
	if (here)
		exsi_cancel_unbegun(f, depth);
	if (!child)
		return;
	exsi_child_cancel_unbegun(child);
	exsi_drop(child);
}

/* Marks one that has not been, under the lock. Answers its child with a reference, or NULL. */
static exs_future *mark_recalled(struct exsi_parent *p)
{
	if (p->recalled || p->delivered || !p->child)
		return NULL;
	p->recalled = true;
	return exs_future_ref(p->child);
}

void exsi_child_recall_all(struct exsi_relay *relay)
{
	exs_future *child;

	do {
		child = NULL;
		pthread_mutex_lock(relay->lock);
		for (struct exsi_parent *p = relay->parents; p && !child; p = p->next)
			child = mark_recalled(p);
		pthread_mutex_unlock(relay->lock);
		if (child)
			exsi_child_cancel_unbegun(child);
		exs_future_unref(child);
	} while (child);
}

/* --- the thread that runs one --- */

static _Thread_local struct exsi_run
	*running; /* the calls whose functions are on this stack, of those that are children */

/* f is a child: else NULL. */
static struct exsi_relay *relay_of(exs_future *f)
{
	exs_executor *top = exsi_top(f);

	return top->parent == relay_parent ? exsi_state(top) : NULL;
}

static void lend(bool begins)
{
	struct exsi_relay *relay;

	for (struct exsi_run *run = running; run; run = run->prev)
		for (exs_future *f = run->call; (relay = relay_of(f)); f = exsi_parent(f))
			if (relay->ops->lend)
				relay->ops->lend(relay, begins);
}

static bool hurry_one(exs_future *future, void *unused)
{
	struct exsi_relay *relay;

	(void)unused;
	for (struct exsi_run *run = running; run; run = run->prev)
		for (exs_future *f = run->call; (relay = relay_of(f)); f = exsi_parent(f))
			if (relay->ops->hurry && relay->ops->hurry(relay, future))
				return true;
	return false;
}

static bool hurry(exs_future *f)
{
	return exsi_find_work(f, hurry_one, NULL);
}

void exsi_parents_begun(exs_future *f)
{
	while ((f = exsi_parent(f)))
		atomic_fetch_or(&f->state, EXSI_BEGUN);
}

void exsi_relayed_run_begins(struct exsi_run *run, exs_future *f)
{
	struct exsi_self *self = exsi_self();

	if (!relay_of(f)) /* of one that does the work of many */
		return;
	*run = (struct exsi_run){.call = f, .prev = running};
	exsi_parents_begun(f);
	running = run;
	self->lend = lend;
	self->hurry = hurry;
}

void exsi_relayed_run_ends(struct exsi_run *run)
{
	struct exsi_self *self = exsi_self();

	running = run->prev;
	if (!running) {
		self->lend = NULL;
		self->hurry = NULL;
	}
}

/* --- the child --- */

/* Also the scope of the call that the user made waits for the child. */
static void parents_hold(exs_future *f)
{
	struct exs_scope *scope = exsi_scope_of(f);

	for (; f; f = exsi_parent(f)) {
		exsi_hold(f);
		atomic_fetch_add(&exsi_top(f)->children, 1);
	}
	if (scope)
		exsi_scope_enter(scope);
}

void exsi_parents_drop(exs_future *f, struct exsi_frame *frame)
{
	for (exs_future *up; f; f = up) {
		exs_executor *top = exsi_top(f);
		up = exsi_parent(f);
		exsi_drop(f); /* with the result, perhaps: the user's code */
		if (!up)
			exsi_frame_pop(frame);
		exsi_count_child_done(top); /* f's executors may be gone, those of the others are not */
	}
}

/* Under the lock. Answers whether the parent is ours to take up. */
static bool deliver(struct exsi_relay *relay, exs_future *parent, exs_future *child, const exs_result *r)
{
	struct exsi_parent *p = slot_of(relay, parent);

	bool cancelled = r->kind == EXS_KIND_CANCELLED;

	p->outcome = *r;
	p->delivered = true;
	p->recalled = p->recalled && cancelled && !(atomic_load(&child->state) & EXSI_BEGUN);
	if (cancelled && !p->recalled)
		exsi_note_cause(parent, exs_future_cause(child));
	return exs_call_claim(parent);
}

/* In the child's driver. */
static exs_step relay_done(exs_executor *x, exs_future *child, void *slot, exs_result *r)
{
	struct kid *k = slot;
	struct exsi_relay *relay = k->relay;
	struct exsi_parent *p = slot_of(relay, k->parent);
	struct departure d = {.child = NULL};

	(void)x;
	pthread_mutex_lock(relay->lock);
	bool left = k->left;
	relay->left_behind -= left;
	if (!left && deliver(relay, k->parent, child, r))
		d = leave(relay, k->parent, r);
	pthread_mutex_unlock(relay->lock);
	if (!left)
		*r = exs_ok(NULL, NULL); /* handed over; otherwise it is late, and destroyed with the child */
	if (d.child) { /* an inline child ends below its parent's start: that goes on from there, in constant stack */
		say_leaving(relay, k->parent);
		let_go(d);
		exs_call_release(k->parent, relay->x, EXS_UP, &p->outcome, &p->link);
	}
	return EXS_UP;
}

static double relay_deadline(exs_executor *x, exs_future *child, void *slot)
{
	(void)x, (void)child;
	return ((struct kid *)slot)->deadline;
}

/* With all it needs, but not entered yet: what it holds it lets go when it ends. */
static exs_future *new_kid(struct exsi_relay *relay, exs_future *f)
{
	if (!exsi_arg_is_shared(f)) /* the first attempt, and f no child */
		exsi_arg_share(f, &slot_of(relay, f)->arg);
	struct exsi_shared_arg *arg = f->arg;
	exs_future *child = exsi_new_child(relay->relay, f->fn, arg);
	if (!child)
		return NULL;
	struct kid *k = exsi_slot(child, relay->relay);
	*k = (struct kid){.parent = f, .relay = relay};
	k->deadline = exs_clock_now(relay->relay->clock) + f->source->time_left(f);
	atomic_fetch_add(&arg->users, 1);
	parents_hold(f);
	return child;
}

/* The relay closed perhaps after f was on its way to it: who closed it has not recalled a child that had not been entered. */
static void recall_late(struct exsi_relay *relay, struct exsi_parent *p, exs_future *child)
{
	pthread_mutex_lock(relay->lock);
	bool late = p->child == child && !p->delivered && relay->ops->closed(relay);
	if (late)
		p->recalled = true;
	pthread_mutex_unlock(relay->lock);
	if (late)
		exsi_child_cancel_unbegun(child);
}

/* f's scope waits for this thread, too: it may be the last that has f, and destroys the outcome then. */
static void enter_recallable(struct exsi_relay *relay, exs_future *f, exs_future *child, exs_entry entry)
{
	exs_executor *x = relay->x;
	struct exs_scope *scope = exsi_scope_of(child);

	if (scope)
		exsi_scope_enter(scope);
	exs_future_ref(child);
	exsi_enter_child(child, entry);
	recall_late(relay, slot_of(relay, f), child);
	exs_future_unref(child);
	exsi_executor_unref_within(relay->relay);
	exsi_drop(f);
	exsi_unkeep(x);
	if (scope)
		exsi_scope_leave(scope);
}

bool exsi_child_start(struct exsi_relay *relay, exs_future *f, exs_entry entry)
{
	struct exsi_parent *p = slot_of(relay, f);
	exs_future *child = new_kid(relay, f);
	bool recallable = relay->ops->closed;

	if (!child)
		return false;
	if (recallable) {
		exsi_keep(relay->x);
		exsi_hold(f);
		atomic_fetch_add(&relay->relay->refs, 1);
	}
	atomic_init(&p->gone, false);
	pthread_mutex_lock(relay->lock); /* who found f waiting here in an attempt before this may still look */
	p->child = child;
	p->delivered = p->recalled = false;
	list(relay, p);
	pthread_mutex_unlock(relay->lock);
	park(relay, f); /* it may be gone now, unless it is held */
	if (recallable)
		enter_recallable(relay, f, child, entry);
	else
		exsi_enter_child(child, entry);
	return true;
}

static void relay_stop(exs_executor *x)
{
	struct exsi_relay *relay = exsi_state(x);

	pthread_mutex_destroy(&relay->own);
}

static const exs_layer_ops relay_layer = {
	.size = sizeof(exs_layer_ops),
	.type = exsi_hidden_type,
	.start = exs_pass_start,
	.done = relay_done,
	.cancel = exs_pass_cancel,
	.stop = relay_stop,
	.deadline = relay_deadline,
};

struct exsi_relay *exsi_relay_new(exs_executor *delegate, const struct exsi_relay_ops *ops, size_t state_size)
{
	exs_executor *x = exs_layer_new(&relay_layer, delegate, state_size, sizeof(struct kid));

	if (!x)
		return NULL;
	x->parent = relay_parent;
	struct exsi_relay *relay = exsi_state(x);
	relay->ops = ops;
	relay->relay = x;
	relay->lock = &relay->own;
	pthread_mutex_init(&relay->own, NULL);
	return relay;
}
