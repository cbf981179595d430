/* The call: one block per submit, driven through its layers by one loop. */
#include "base/memory.h"
#include "executor/child.h"
#include "executor/watch.h"

#include <executors/scope.h>
#include <limits.h>
#include <string.h>

enum { MAX_NEST = 8 };

/* What this thread is in the middle of. */
static _Thread_local struct {
	unsigned nest;		    /* drivers on the stack */
	exs_link *first, **last;    /* calls let go, for a driver to take up */
	const exs_future *entering; /* being submitted by this thread */
	exs_entry entry;
	const struct exsi_frame *before; /* innermost frame when the submit began */
} me;

static bool is_owned_and_used(exs_executor *layer, bool owned, void *by)
{
	return owned && exsi_uses(by, layer);
}

/* A call for many is at work: so for every chain that stands on its relay. */
static bool is_relay_of(const exs_executor *relay, exs_executor *x)
{
	return relay && relay->parent && exsi_uses(x, relay);
}

static bool inside(const struct exsi_frame *frame, exs_executor *x)
{
	for (; frame; frame = frame->prev) {
		if (exsi_walk(x, true, is_owned_and_used, (void *)(uintptr_t)frame->executor))
			return true;
		if ((frame->layer && exsi_uses(x, frame->layer)) || is_relay_of(frame->executor, x))
			return true;
	}
	return false;
}

bool exsi_inside(exs_executor *x)
{
	return inside(exsi_self()->frame, x);
}

bool exsi_inside_before_submit(exs_executor *x)
{
	return inside(me.before, x);
}

/* --- the driver: the only place that calls start and done --- */

/* The layer that started x for this call; NULL: nobody, x is the top. */
static exs_executor *up(exs_executor *top, exs_executor *x)
{
	if (x == top)
		return NULL;
	/* Relaxed: set before the borrowing executor existed. */
	if (!atomic_load_explicit(&x->shared, memory_order_relaxed))
		return x->outer;
	while (top->inner != x)
		top = top->inner;
	return top;
}

static void push_frame(struct exsi_frame *frame, exs_future *f)
{
	exs_future *root = exsi_root(f);

	exsi_frame_push(frame, exsi_top(root));
	frame->scope = exsi_scope(root);
}

/* The call ends. Its last touch of the executors is the counts; a child keeps those of all its parents. The scope comes last: once
   it is closed, all that its calls used may go. */
static void finish(exs_future *f, exs_executor *top, exs_result *r, struct exsi_frame *frame)
{
	exs_free_fn *arg_free = f->arg_free;
	exs_future *parent = exsi_parent(f);
	exs_scope *scope = (exs_scope *)(uintptr_t)frame->scope;

	exsi_check_result(r, "a layer");
	if (atomic_load(&top->closing) == EXSI_TIME_IS_UP)
		exsi_force(f);

	if (arg_free)
		arg_free(f->arg);
	exsi_complete(f, r);
	if (!parent)
		exsi_frame_pop(frame);
	exsi_count_done(top);
	if (parent)
		exsi_parents_drop(parent, frame);
	if (scope)
		exsi_scope_leave(scope);
}

static inline exs_step start(exs_future *f, exs_executor *x, exs_executor *from, exs_result *r, struct exsi_watch *w)
{
	if (w)
		exsi_watch_starts(f, w, x, from);
	return x->ops.start(x, f, exsi_slot(f, x), r);
}

static inline exs_step step_down(exs_executor **x, exs_future *f, exs_result *r, struct exsi_watch *w)
{
	exs_executor *from = *x;

	if (!from->inner) {
		*r = exs_fail(
			exs_error_new(&exs_domain_exs, EXS_EINVAL, "%s: a leaf can't answer EXS_DOWN", from->ops.type));
		return EXS_UP;
	}
	*x = from->inner;
	return start(f, *x, from, r, w);
}

/* x's hook, or who resumes from x, said step; enter: x has yet to be started. w: what watches f, or NULL: there are two of it. */
__attribute__((always_inline)) static inline void drive_through(exs_future *f, exs_executor *x, exs_step step,
								exs_result *r, bool enter, struct exsi_watch *w)
{
	exs_executor *top = exsi_top(f);
	struct exsi_frame frame;

	push_frame(&frame, f);
	if (enter)
		step = start(f, x, NULL, r, w);
	else if (me.entering == f) /* it had been held, and goes on while its submit is still below on the stack */
		me.entering = NULL;
	while (step != EXS_HELD) {
		if (step == EXS_DOWN) {
			step = step_down(&x, f, r, w);
			continue;
		}
		if (w)
			exsi_watch_leaves(f, w, x, r);
		x = up(top, x);
		if (!x) {
			if (w)
				exsi_watch_ends(f, w, r);
			finish(f, top, r, &frame);
			return;
		}
		if (w)
			exsi_watch_returns(w, x);
		step = x->ops.done(x, f, exsi_slot(f, x), r);
	}
	exsi_frame_pop(&frame);
}

__attribute__((noinline)) static void drive_watched(exs_future *f, exs_executor *x, exs_step step, exs_result *r,
						    bool enter)
{
	drive_through(f, x, step, r, enter, exsi_watch(f));
}

__attribute__((noinline)) static void drive_one(exs_future *f, exs_executor *x, exs_step step, exs_result *r,
						bool enter)
{
	if (exsi_is_watched(f))
		drive_watched(f, x, step, r, enter);
	else
		drive_through(f, x, step, r, enter, NULL);
}

/* Takes up the calls that were let go. Bounded in depth; what is left over the outer drivers take. */
static void drain(void)
{
	while (me.first && me.nest <= MAX_NEST) {
		exs_link *link = me.first;
		exs_future *f = link->call;
		exs_executor *x = link->ex;
		exs_step step = link->result ? EXS_UP : EXS_DOWN;
		exs_result r = link->result ? *link->result : exs_ok(NULL, NULL);
		me.first = link->next; /* the link lies in the call: read it before the call moves on */
		me.nest++;
		drive_one(f, x, step, &r, false);
		me.nest--;
	}
	if (!me.first)
		exsi_self()->drain = NULL;
}

static void drive(exs_future *f, exs_executor *x, exs_step step, exs_result *r, bool enter)
{
	me.nest++;
	drive_one(f, x, step, r, enter);
	if (me.first)
		drain();
	me.nest--;
}

void exs_call_resume(exs_future *f, exs_executor *x, exs_step step, exs_result *r)
{
	drive(f, x, step, r, false);
}

/* A thread about to block drains at any depth: what it waits for may be in its list. */
static void drain_within(bool wait)
{
	unsigned nest = me.nest;

	me.nest = wait ? 0 : nest;
	drain();
	me.nest = nest;
}

void exs_call_release(exs_future *f, exs_executor *x, exs_step step, exs_result *result, exs_link *link)
{
	if (!me.nest) {
		exs_result r = step == EXS_UP ? *result : exs_ok(NULL, NULL);
		drive(f, x, step, &r, false);
		return;
	}
	*link = (exs_link){.next = NULL, .call = f, .ex = x, .result = step == EXS_UP ? result : NULL};
	if (!me.first)
		me.last = &me.first;
	*me.last = link;
	me.last = &link->next;
	exsi_self()->drain = drain_within;
}

/* --- the token --- */

static unsigned parked_at(unsigned s, const exs_executor *x)
{
	return (s & ~(EXSI_LEVELS << EXSI_AT_SHIFT | EXSI_RUNNING)) | EXSI_PARKED | x->depth << EXSI_AT_SHIFT;
}

/* A closing chain takes nothing in: not at a layer that closes, nor for a top that does, its own or a parent's. */
static bool closed_to(exs_future *f, exs_executor *x)
{
	bool closed = atomic_load(&x->closing) >= EXS_CANCEL_QUEUED;

	for (; f && !closed; f = exsi_parent(f))
		closed = atomic_load(&exsi_top(f)->closing) >= EXS_CANCEL_QUEUED;
	return closed;
}

static bool cancels(const exs_executor *x)
{
	int mode = atomic_load(&x->closing);

	return mode == EXS_CANCEL_QUEUED || mode == EXS_CANCEL_ALL;
}

enum exsi_owed exsi_owed(exs_future *f, exs_executor *x)
{
	bool cancelled = cancels(x);

	if (atomic_load(&exsi_top(f)->closing) == EXSI_TIME_IS_UP)
		return EXSI_OWED_FAILURE;
	for (; f && !cancelled; f = exsi_parent(f))
		cancelled = cancels(exsi_top(f));
	return cancelled ? EXSI_OWED_CANCEL : EXSI_OWED_NOTHING;
}

static bool park(exs_future *f, exs_executor *x, bool refuse)
{
	unsigned s = atomic_load(&f->state), next;

	do {
		if (exsi_stop(s) > x->depth)
			return false;
		next = refuse ? exsi_with_stop(s, EXSI_STOP_ALL, EXS_CAUSE_SHUTDOWN) : parked_at(s, x);
	} while (!atomic_compare_exchange_weak(&f->state, &s, next));
	return !refuse;
}

bool exs_call_park(exs_future *f, exs_executor *x)
{
	return park(f, x, closed_to(f, x));
}

bool exsi_call_park_unknown(exs_future *f, exs_executor *x)
{
	if (exsi_top(f) != x || x->parent || f->extra || closed_to(f, x))
		return exs_call_park(f, x);
	/* Relaxed: nobody knows of it; what makes it known releases this. */
	atomic_store_explicit(&f->state, parked_at(0, x), memory_order_relaxed);
	return true;
}

bool exsi_call_park_unless_stopped(exs_future *f, exs_executor *x)
{
	return park(f, x, false);
}

bool exs_call_park_again(exs_future *f, exs_executor *x)
{
	return !closed_to(f, x) && exsi_call_park_unless_insisted(f, x);
}

bool exsi_call_park_unless_insisted(exs_future *f, exs_executor *x)
{
	unsigned s = atomic_load(&f->state);

	do {
		if (s & EXSI_INSISTED)
			return false;
	} while (!atomic_compare_exchange_weak(&f->state, &s, parked_at(s, x)));
	return true;
}

exs_cause exsi_call_park_told(exs_future *f, exs_executor *x, exs_cause cause)
{
	while (!exsi_call_park_unless_insisted(f, x)) {
		exs_cause first = exs_future_cause(f);
		atomic_fetch_and(&f->state, ~EXSI_INSISTED);
		if (cause <= EXS_CAUSE_USER) /* who insists is no user */
			cause = first > EXS_CAUSE_USER ? first : EXS_CAUSE_TIMEOUT;
	}
	return cause;
}

bool exs_call_claim(exs_future *f)
{
	return atomic_fetch_and(&f->state, ~EXSI_PARKED) & EXSI_PARKED;
}

bool exsi_call_set_running(exs_future *f)
{
	unsigned s = atomic_load(&f->state);

	do {
		if (!(s & EXSI_PARKED))
			return false;
	} while (!atomic_compare_exchange_weak(&f->state, &s, s | EXSI_RUNNING | EXSI_BEGUN));
	exsi_parents_begun(f);
	return true;
}

void exsi_call_park_running(exs_future *f, exs_executor *x)
{
	unsigned s = atomic_load(&f->state);

	while (!atomic_compare_exchange_weak(&f->state, &s, (parked_at(s, x) | EXSI_RUNNING) & ~EXSI_INSISTED))
		;
}

bool exsi_call_claim_run(exs_future *f)
{
	unsigned s = atomic_load(&f->state);

	do {
		if (!(s & EXSI_PARKED) || exsi_at(s))
			return false;
	} while (!atomic_compare_exchange_weak(&f->state, &s, (s & ~EXSI_PARKED) | EXSI_RUNNING | EXSI_BEGUN));
	return true;
}

bool exs_call_stopped(exs_future *f, exs_executor *x)
{
	return exsi_stopped(f, x) || closed_to(f, x);
}

void exs_call_restarting(exs_future *f)
{
	struct exsi_watch *w = exsi_watch(f);

	if (f->story)
		atomic_fetch_add(&exsi_story(f)->attempt, 1);
	if (w)
		w->restarting = true;
}

__attribute__((noinline)) static void run_watched(exs_future *f, void *arg, exs_result *r)
{
	struct exsi_watch *w = exsi_watch(f);
	uint64_t begun = exsi_watch_run_begins(f, w);

	*r = f->fn(arg, exs_call_context(f));
	exsi_check_result(r, "the task");
	exsi_watch_run_ends(f, w, begun, r);
}

static void ends_run(exs_future *f)
{
	if (atomic_load(&f->state) & EXSI_INSISTED) /* it was asked, and has answered; whoever insisted needs no more */
		atomic_fetch_and(&f->state, ~EXSI_INSISTED);
	if (atomic_load(&f->state) & EXSI_HOOKS)
		exsi_hooks_end(f);
}

void exs_call_run(exs_future *f, exs_result *r)
{
	void *arg = exs_call_arg(f);
	struct exsi_frame frame;
	struct exsi_run run;

	if (!(atomic_load(&f->state) & EXSI_RUNNING) || !(atomic_load(&f->state) & EXSI_BEGUN))
		atomic_fetch_or(&f->state, EXSI_RUNNING | EXSI_BEGUN);
	push_frame(&frame, f);
	exsi_run_begin(&run, f);
	if (exsi_is_watched(f))
		run_watched(f, arg, r);
	else
		*r = f->fn(arg, (exs_context *)(void *)f);
	exsi_run_end(&run);
	exsi_frame_pop(&frame);
	exsi_check_result(r, "the task");
	ends_run(f);
}

void exsi_call_runs_elsewhere(exs_future *f, uint64_t *begun)
{
	struct exsi_watch *w = exsi_watch(f);

	if (exsi_top(f)->parent)
		exsi_parents_begun(f);
	*begun = w ? exsi_watch_run_begins(f, w) : 0;
}

void exsi_call_ran_elsewhere(exs_future *f, uint64_t begun, const exs_result *r)
{
	struct exsi_watch *w = exsi_watch(f);

	if (w)
		exsi_watch_run_ends(f, w, begun, r);
	ends_run(f);
}

/* --- parts of a call --- */

exs_context *exs_call_context(exs_future *f)
{
	return (exs_context *)(void *)f;
}

void *exs_call_slot(exs_future *f, exs_executor *x)
{
	return exsi_slot(f, x);
}

exs_future *exs_slot_call(void *slot, exs_executor *x)
{
	return exsi_slot_call(slot, x);
}

void *exs_call_arg(exs_future *f)
{
	return exsi_arg_is_shared(f) ? ((struct exsi_shared_arg *)f->arg)->arg : f->arg;
}

const char *exs_call_name(exs_future *f)
{
	return exs_context_name((exs_context *)(void *)f);
}

int exs_call_priority(exs_future *f)
{
	struct exsi_extra *extra = exsi_extra(exsi_root(f));

	return extra ? extra->priority : 0;
}

unsigned exs_call_series(exs_future *f)
{
	struct exsi_extra *extra = exsi_extra(exsi_root(f));

	return extra ? extra->series : 0;
}

exs_place exs_call_place(exs_future *f)
{
	struct exsi_extra *extra = exsi_extra(exsi_root(f));

	return extra ? extra->place : EXS_IN_TURN;
}

exs_entry exs_call_entry(exs_future *f)
{
	return me.entering == f ? me.entry : EXS_ENTRY_RESTART;
}

bool exsi_may_block(exs_executor *x, exs_future *f)
{
	return exs_call_entry(f) != EXS_ENTRY_RESTART && !exsi_concerns(f) && !exsi_inside_before_submit(x);
}

exs_future *exsi_root_above(exs_future *f)
{
	exs_future *parent;

	while ((parent = exsi_parent(f)))
		f = parent;
	return f;
}

exs_scope *exsi_scope_of(exs_future *f)
{
	return exsi_scope(exsi_root(f));
}

static const exs_executor *outermost(const exs_executor *x, exs_option option)
{
	while (x && !(x->ops.options & option))
		x = x->marks_running ? NULL : x->inner;
	return x;
}

bool exsi_is_outermost(const exs_executor *x, exs_future *f, exs_option option)
{
	return outermost(exsi_top(exsi_root(f)), option) == x;
}

void exsi_arg_share(exs_future *f, struct exsi_shared_arg *shared)
{
	atomic_init(&shared->users, 1);
	shared->arg = f->arg;
	shared->arg_free = f->arg_free;
	shared->owner = f;
	exsi_hold(f); /* the users' together */
	f->arg = shared;
	f->arg_free = exsi_arg_drop;
}

bool exsi_arg_is_shared(exs_future *f)
{
	return f->arg_free == exsi_arg_drop;
}

void exsi_arg_drop(void *arg)
{
	struct exsi_shared_arg *shared = arg;

	if (atomic_fetch_sub(&shared->users, 1) != 1)
		return;
	if (shared->arg_free)
		shared->arg_free(shared->arg);
	exsi_drop(shared->owner);
}

/* --- submit --- */

/* The options at the end of the block, with what they point to: the retry options, the member, the name. */
/* Of more than there may be none is copied: the layer refuses them unseen. */
static size_t codes_size(const exs_retry_options *o)
{
	return o && o->codes && o->n_codes <= EXS_UNLIMITED ? o->n_codes * sizeof(*o->codes) : 0;
}

static inline size_t extra_size(const exs_task *t, const exs_scope *scope)
{
	if (!t->name && !t->priority && t->timeout == 0 && !t->retry && !t->series && !t->place && !scope)
		return 0;
	return sizeof(struct exsi_extra) + (t->retry ? sizeof(*t->retry) : 0) + codes_size(t->retry) +
	       (scope ? sizeof(struct exsi_member) : 0) + (t->name ? strlen(t->name) + 1 : 0);
}

static inline void put_extra(exs_future *f, size_t at, const exs_task *t, exs_scope *scope)
{
	struct exsi_extra *e = (struct exsi_extra *)(void *)((char *)f + at);
	void *rest = e + 1;

	f->extra = (uint32_t)at;
	*e = (struct exsi_extra){
		.priority = t->priority, .series = t->series, .place = t->place, .timeout = t->timeout};
	if (t->retry) {
		exs_retry_options *retry = rest;
		*retry = *t->retry;
		e->retry = retry;
		rest = retry + 1;
		size_t codes = codes_size(retry);
		if (codes)
			retry->codes = memcpy(rest, retry->codes, codes);
		rest = (char *)rest + codes;
	}
	if (scope) {
		e->member = rest;
		*e->member = (struct exsi_member){.scope = scope, .call = f};
		rest = e->member + 1;
	}
	if (t->name)
		e->name = strcpy(rest, t->name);
}

static const char out_of_memory[] = "exs_submit: out of memory";

/* With room for so much at the end. */
static exs_future *new_plain(exs_executor *x, exs_task_fn *fn, void *arg, exs_free_fn *arg_free, size_t extra)
{
	exs_future *f = exsi_alloc(sizeof(exs_future) + x->end + extra);

	if (!f)
		return NULL;
	exsi_future_init(f, &x->source, 0);
	f->fn = fn;
	f->arg = arg;
	f->arg_free = arg_free;
	if (x->story) {
		f->story = x->story;
		atomic_init(&exsi_story(f)->attempt, 1);
		atomic_init(&exsi_story(f)->max, x->max_attempts);
	}
	atomic_fetch_add(&x->counts[exsi_stripe()].submitted,
			 1); /* before closing is read: shutdown writes closing, then reads this */
	return f;
}

/* What watches it stands before its options, of which there are some then, if only by name. */
__attribute__((noinline)) static exs_future *new_watched(exs_executor *x, const exs_task *t, exs_scope *scope)
{
	size_t watch = exsi_watch_size(x), extra = extra_size(t, scope);
	size_t all = watch + (extra ? extra : sizeof(struct exsi_extra));
	exs_future *f = all > INT_MAX ? NULL : new_plain(x, t->fn, t->arg, t->arg_free, all);

	if (!f)
		return NULL;
	put_extra(f, sizeof(*f) + x->end + watch, t, scope);
	exsi_watch_init(f, sizeof(*f) + x->end);
	return f;
}

static inline exs_future *new_call(exs_executor *x, const exs_task *t, exs_scope *scope)
{
	if (exsi_watches() && !exsi_forked())
		return new_watched(x, t, scope);
	size_t extra = extra_size(t, scope);
	exs_future *f = extra > INT_MAX ? NULL : new_plain(x, t->fn, t->arg, t->arg_free, extra);
	if (f && extra)
		put_extra(f, sizeof(*f) + x->end, t, scope);
	return f;
}

/* Why the call can't be taken, or NULL. within: of one that runs, which a chain that drains waits for. */
static exs_error *refusal(exs_executor *x, exs_task_fn *fn, const char *wrong, bool within)
{
	if (exsi_forked())
		return exsi_error(EXS_EFORK);
	if (atomic_load(&x->closing) > (within ? EXS_DRAIN : 0))
		return exsi_error(EXS_ESHUTDOWN);
	if (wrong)
		return exs_error_new(&exs_domain_exs, EXS_EINVAL, "exs_submit: %s", wrong);
	if (!fn)
		return exs_error_new(&exs_domain_exs, EXS_EINVAL, "exs_submit: fn is NULL");
	return NULL;
}

/* The same of its options. */
static exs_error *refusal_of_options(exs_executor *x, const exs_task *t)
{
	uint64_t ns;

	if (t->timeout != 0 && !exsi_duration(t->timeout, &ns))
		return exs_error_new(&exs_domain_exs, EXS_EINVAL, "exs_submit: timeout is %g: it must be 0 or more",
				     t->timeout);
	if (t->timeout != 0 && !outermost(x, EXS_OPTION_TIMEOUT))
		return exs_error_new(
			&exs_domain_exs, EXS_EINVAL,
			"exs_submit: a timeout needs a chain with exs_with_timeout, above the batch if there is one");
	if (t->retry && !outermost(x, EXS_OPTION_RETRY))
		return exs_error_new(&exs_domain_exs, EXS_EINVAL,
				     "exs_submit: a retry policy needs a chain with exs_with_retry, above the batch if "
				     "there is one");
	return NULL;
}

static void enter(exs_future *f, exs_executor *x, exs_entry entry)
{
	const exs_future *before = me.entering;
	exs_entry before_entry = me.entry;
	const struct exsi_frame *before_before = me.before;
	exs_result r = exs_ok(NULL, NULL);

	me.entering = f;
	me.entry = entry;
	if (!x->parent) /* a child is submitted within the submit of its root */
		me.before = exsi_self()->frame;
	drive(f, x, EXS_DOWN, &r, true);
	me.entering = before;
	me.entry = before_entry;
	me.before = before_before;
}

static void refuse(exs_future *f, exs_executor *x, exs_result r)
{
	struct exsi_watch *w = exsi_watch(f);
	struct exsi_frame frame;

	push_frame(&frame, f);
	if (w) {
		exsi_watch_starts(f, w, x, NULL);
		exsi_watch_leaves(f, w, x, &r);
		exsi_watch_ends(f, w, &r);
	}
	finish(f, x, &r, &frame);
}

static exs_future *enter_unless(exs_error *error, exs_future *f, exs_executor *x, exs_entry entry)
{
	if (error)
		refuse(f, x, exs_fail(error));
	else
		enter(f, x, entry);
	return f;
}

/* Tells who watches of a new call. */
static void announce(exs_future *f)
{
	struct exsi_frame frame;

	exsi_future_made(f);
	push_frame(&frame, f);
	exsi_watch_submitted(f, exsi_watch(f));
	exsi_frame_pop(&frame);
}

exs_future *exsi_submit_failed(const exs_task *t, exs_error *error)
{
	if (t->arg_free)
		t->arg_free(t->arg);
	return exsi_returned(exs_fail(error));
}

static exs_future *submit_member(exs_executor *x, const exs_task *t, exs_entry entry, const char *wrong,
				 exs_scope *scope, bool within)
{
	exs_future *f = new_call(x, t, scope);
	if (!f) {
		if (t->arg_free)
			t->arg_free(t->arg);
		return exsi_fail_null(EXS_ENOMEM, out_of_memory);
	}
	bool joined = !scope || exsi_scope_join(f);
	if (exsi_is_watched(f))
		announce(f);
	if (!joined) {
		refuse(f, x, exs_cancelled());
		return f;
	}
	exs_error *error = refusal(x, t->fn, wrong, within);
	if (!error && f->extra)
		error = refusal_of_options(x, t);
	return enter_unless(error, f, x, entry);
}

exs_future *exsi_submit(exs_executor *x, const exs_task *t, exs_entry entry, const char *wrong, exs_scope *scope)
{
	return submit_member(x, t, entry, wrong, scope, false);
}

exs_future *exsi_submit_within(exs_executor *x, const exs_task *t, exs_scope *scope)
{
	return submit_member(x, t, EXS_ENTRY_RESTART, NULL, scope, true);
}

static exs_error *no_executor(void)
{
	return exs_error_new(&exs_domain_exs, EXS_EINVAL, "exs_submit: executor is NULL");
}

static exs_future *submit(exs_executor *x, const exs_task *t, exs_entry entry, const char *wrong)
{
	if (x)
		return exsi_submit(x, t, entry, wrong, NULL);
	return exsi_submit_failed(t, no_executor());
}

exs_future *exs_submit(exs_executor *x, exs_task_fn *fn, void *arg)
{
	if (!x)
		return exsi_submit_failed(&(exs_task){.fn = fn}, no_executor());
	if (exsi_watches())
		return exsi_submit(x, &(exs_task){.fn = fn, .arg = arg}, EXS_ENTRY_SUBMIT, NULL, NULL);
	exs_future *f = new_plain(x, fn, arg, NULL, 0);
	if (!f)
		return exsi_fail_null(EXS_ENOMEM, out_of_memory);
	return enter_unless(refusal(x, fn, NULL, false), f, x, EXS_ENTRY_SUBMIT);
}

static exs_future *submit_sized(exs_executor *x, const exs_task *task, size_t size, exs_entry entry)
{
	exs_task known;

	bool all = exsi_options(&known, sizeof(known), task, size);
	return submit(x, &known, entry, all ? NULL : "task options that this library does not know");
}

exs_future *exs_submit_with_sized(exs_executor *x, const exs_task *task, size_t size)
{
	return submit_sized(x, task, size, EXS_ENTRY_SUBMIT);
}

exs_future *exs_try_submit_sized(exs_executor *x, const exs_task *task, size_t size)
{
	return submit_sized(x, task, size, EXS_ENTRY_TRY);
}

exs_future *exsi_submit_relayed(exs_executor *x, const exs_task *task, exs_entry entry, void (*init)(void *, void *),
				void *init_arg)
{
	exs_future *f = new_call(x, task, NULL);

	if (!f)
		return NULL;
	init(exsi_slot(f, x), init_arg);
	enter(f, x, entry);
	return f;
}

exs_future *exsi_new_child(exs_executor *x, exs_task_fn *fn, struct exsi_shared_arg *arg)
{
	exs_task task = {.fn = fn, .arg = arg, .arg_free = exsi_arg_drop};

	return new_call(x, &task, NULL);
}

void exsi_enter_child(exs_future *child, exs_entry entry)
{
	if (child->extra)
		exsi_future_made(child);
	enter(child, exsi_top(child), entry);
}

exs_future *exsi_new_call(exs_executor *x, const exs_task *t)
{
	return new_call(x, t, NULL);
}

void exsi_enter_call(exs_future *f)
{
	exs_executor *x = exsi_top(f);

	enter_unless(refusal(x, f->fn, NULL, false), f, x, EXS_ENTRY_RESTART);
}

int exs_call(exs_executor *x, exs_task_fn *fn, void *arg, double seconds, exs_result *result)
{
	exs_result r = exs_cancelled();

	if (result)
		*result = r;
	if (!(seconds >= 0)) /* NaN is not */
		return exsi_fail(EXS_EINVAL, "exs_call: %g seconds: the time must be 0 or more, or EXS_FOREVER",
				 seconds);
	exs_future *f = exs_submit(x, fn, arg);
	int rc = f ? exs_future_wait(f, seconds) : EXS_ENOMEM;
	if (rc && f)
		exs_future_cancel(f);
	else if (f)
		exs_future_take(f, &r);
	if (result)
		*result = r;
	else
		exs_result_clear(&r);
	exs_future_unref(f);
	return rc;
}
