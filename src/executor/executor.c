/* Executors as objects: made, wrapped, named, described. */
#include "executor/executor.h"
#include "base/memory.h"
#include "executor/metrics.h"
#include "future/wait.h"

#include <stdio.h>
#include <string.h>

enum { MAX_SLOTS = 1 << 20 };

/* --- what a future asks of its top executor --- */

static double time_left(exs_future *f)
{
	double least = EXS_FOREVER;

	for (exs_executor *x = exsi_top(f); x; x = x->new_block ? NULL : x->inner) {
		if (!x->ops.deadline)
			continue;
		double left = x->ops.deadline(x, f, exsi_slot(f, x)) - exs_clock_now(x->clock);
		if (left < least)
			least = left > 0 ? left : 0;
	}
	return least;
}

static exs_clock *source_clock(exs_future *f)
{
	return exsi_clock_ref(exsi_top(f)->clock_above);
}

exs_executor *exsi_parked_at(exs_future *f)
{
	unsigned s = atomic_load(&f->state);
	exs_executor *x = exsi_top(f);

	if (!(s & EXSI_PARKED))
		return NULL;
	while (x && x->depth != exsi_at(s))
		x = x->inner;
	return x;
}

bool exsi_stands_on(exs_future *f, const exs_executor *leaf)
{
	exsi_pin();
	bool stands = exsi_is_call(f) && exsi_top(f)->leaf == leaf;
	exsi_unpin();
	return stands;
}

bool exsi_needs(exs_future *f, const exs_executor *leaf)
{
	exsi_pin();
	exs_executor *own = exsi_is_call(f) ? exsi_top(f)->leaf : NULL;
	bool needs = own && own->needs && own->needs(own, f, leaf);
	exsi_unpin();
	return needs;
}

void exsi_tell_leaf(exs_future *f)
{
	exsi_pin();
	exs_executor *leaf = exsi_is_call(f) ? exsi_top(f)->leaf : NULL;
	if (leaf && leaf->news)
		leaf->news(leaf);
	exsi_unpin();
}

/* Its leaf, with a reference, if a waiting thread may run f; or NULL. */
static exs_executor *runnable_here(exs_future *f)
{
	exsi_pin();
	exs_executor *leaf = exsi_is_call(f) ? exsi_top(f)->leaf : NULL;
	if (leaf && (!leaf->run_here || !exsi_executor_try_ref(leaf)))
		leaf = NULL;
	exsi_unpin();
	return leaf;
}

static bool run_here(exs_future *f, void *unused)
{
	exs_executor *leaf = runnable_here(f);

	(void)unused;
	if (!leaf)
		return false;
	bool ran = leaf->run_here(leaf, f);
	exsi_executor_unref_within(leaf);
	return ran;
}

/* A task that runs so may wait, and run what it waits for so. */
static bool run_awaited(exs_future *f)
{
	enum { MAX_NESTED = 64 };
	static _Thread_local unsigned nested;

	nested++;
	bool ran = nested <= MAX_NESTED && exsi_has_stack() && exsi_help_work(f, run_here, NULL);
	nested--;
	return ran;
}

void exsi_waiters_run(void)
{
	exsi_run_awaited_by(run_awaited);
}

static void hold_child(exs_future *child, void *held)
{
	exsi_hold(child);
	*(exs_future **)held = child;
}

exs_future *exsi_child(exs_future *f, size_t *cursor)
{
	exs_future *child = NULL;

	exsi_pin();
	exs_executor *x = exsi_is_call(f) ? exsi_parked_at(f) : NULL;
	if (x && x->ops.child) {
		x->ops.child(x, f, exsi_slot(f, x), hold_child, &child);
		*cursor = SIZE_MAX;
	} else if (!x && !exs_future_is_done(f) && f->source->input) {
		child = f->source->input(f, cursor);
	}
	exsi_unpin();
	return child;
}

/* The way down to what is looked at: those that have more children, each with a reference, and where they go on. */
struct way {
	struct fork {
		exs_future *f;
		size_t cursor;
	} few[16], *forks;
	size_t n, room;
};

/* Without memory it is forgotten: what else f is made of is not looked at. */
static void remember(struct way *way, exs_future *f, size_t cursor)
{
	if (way->n == way->room) {
		struct fork *more = exsi_alloc_array(way->room * 2, sizeof(*more));
		if (!more) {
			exsi_drop(f);
			return;
		}
		memcpy(more, way->forks, way->n * sizeof(*more));
		if (way->forks != way->few)
			exsi_free(way->forks);
		way->forks = more;
		way->room *= 2;
	}
	way->forks[way->n++] = (struct fork){f, cursor};
}

static bool is_alone(exs_future *f)
{
	exsi_pin();
	bool alone = exsi_is_call(f) && exsi_top(f)->alone;
	exsi_unpin();
	return alone;
}

/* As exsi_child; helps: but none that is to run alone. */
static exs_future *next_child(exs_future *f, size_t *cursor, bool helps)
{
	exs_future *child = exsi_child(f, cursor);

	while (child && helps && is_alone(child)) {
		exsi_drop(child);
		child = *cursor == SIZE_MAX ? NULL : exsi_child(f, cursor);
	}
	return child;
}

/* The first child of f, which is given up or remembered; or (also if f is not to be gone into) the next of one that is. NULL: there
   is nothing more. */
static exs_future *step(struct way *way, exs_future *f, bool past, bool helps)
{
	size_t cursor = 0;
	exs_future *child = past ? NULL : next_child(f, &cursor, helps);

	while (!child) {
		exsi_drop(f);
		if (!way->n)
			return NULL;
		struct fork *fork = &way->forks[--way->n];
		f = fork->f;
		cursor = fork->cursor;
		child = next_child(f, &cursor, helps);
	}
	if (cursor == SIZE_MAX)
		exsi_drop(f);
	else
		remember(way, f, cursor);
	return child;
}

static bool is_any(exs_future *f)
{
	exsi_pin();
	bool any = !exs_future_is_done(f) && f->source->any && f->source->any(f);
	exsi_unpin();
	return any;
}

static void forget(struct way *way)
{
	while (way->n)
		exsi_drop(way->forks[--way->n].f);
	if (way->forks != way->few)
		exsi_free(way->forks);
}

/* What several are made of is looked at several times: there is an end to it. */
enum { MAX_LOOKS = 1 << 20, MAX_ANY = 16 };

struct search {
	bool (*test)(exs_future *, void *);
	void *arg;
	unsigned looks;
	unsigned any; /* how deep among those of which one is enough; MAX_ANY: that does not matter */
	bool helps;   /* not for what is to run alone */
};

static bool search(struct search *s, exs_future *f);

static bool all_need(struct search *s, exs_future *f)
{
	exs_future *child;
	size_t cursor = 0, n = 0;
	bool all = true;

	s->any++;
	for (; all && cursor != SIZE_MAX && (child = exsi_child(f, &cursor)); n++) {
		all = s->any < MAX_ANY && s->looks++ < MAX_LOOKS && search(s, child);
		exsi_drop(child);
	}
	s->any--;
	return all && n;
}

static bool search(struct search *s, exs_future *f)
{
	struct way way = {.forks = way.few, .room = sizeof(way.few) / sizeof(way.few[0])};
	bool found = false, any;

	exsi_hold(f);
	while (f && (!way.n || s->looks++ < MAX_LOOKS) && !(found = s->test(f, s->arg))) {
		any = s->any < MAX_ANY && is_any(f);
		found = any && all_need(s, f);
		if (found)
			break;
		f = step(&way, f, any, s->helps);
	}
	if (f)
		exsi_drop(f);
	forget(&way);
	return found;
}

struct work {
	exs_future *awaited;
	bool (*run)(exs_future *, void *);
	void *arg;
	bool some;
};

static bool run_until_done(exs_future *f, void *arg)
{
	struct work *work = arg;

	if (!work->run(f, work->arg))
		return false;
	work->some = true;
	exsi_drain(); /* what it has put off may decide that the rest is not needed */
	return exs_future_is_done(work->awaited);
}

bool exsi_do_work(exs_future *f, bool (*run)(exs_future *, void *), void *arg)
{
	struct work work = {f, run, arg, false};

	exsi_find_work(f, run_until_done, &work);
	return work.some;
}

bool exsi_help_work(exs_future *f, bool (*run)(exs_future *, void *), void *arg)
{
	struct work work = {f, run, arg, false};

	exsi_find_help(f, run_until_done, &work);
	return work.some;
}

bool exsi_find_work(exs_future *f, bool (*test)(exs_future *, void *), void *arg)
{
	return search(&(struct search){.test = test, .arg = arg, .any = MAX_ANY}, f);
}

bool exsi_find_help(exs_future *f, bool (*test)(exs_future *, void *), void *arg)
{
	return search(&(struct search){.test = test, .arg = arg, .any = MAX_ANY, .helps = true}, f);
}

bool exsi_find_need(exs_future *f, bool (*test)(exs_future *, void *), void *arg)
{
	return search(&(struct search){.test = test, .arg = arg}, f);
}

static bool tell_leaf(exs_future *f, void *unused)
{
	(void)unused;
	exsi_tell_leaf(f);
	return false;
}

static void tell_leaves(exs_future *f)
{
	exsi_find_work(f, tell_leaf, NULL);
}

/* A canceller has the token, at depth AT. */
static exs_executor *layer_of(exs_future *f)
{
	unsigned depth = exsi_at(atomic_load(&f->state));
	exs_executor *x = exsi_top(f);

	while (x->depth != depth)
		x = x->inner;
	return x;
}

static void cancel_at(exs_future *f, exs_executor *x, exs_cause cause)
{
	struct exsi_frame frame;
	exs_result r = exs_cancelled();

	exsi_frame_push(&frame, NULL);
	frame.layer = x; /* never looked into: the hook may end the call, and all may be gone */
	frame.scope = exsi_scope_of(f);
	exs_step step = x->ops.cancel(x, f, exsi_slot(f, x), cause, &r);
	exsi_frame_pop(&frame);
	if (step != EXS_HELD)
		exs_call_resume(f, x, step, &r);
}

static void source_cancel(exs_future *f, exs_cause cause)
{
	cancel_at(f, layer_of(f), cause);
}

static void cancel_group(exs_future **calls, size_t n, exs_executor *x, exs_cause cause)
{
	struct exsi_frame frame;

	if (!x->ops.cancel_many) {
		for (size_t i = 0; i < n; i++)
			cancel_at(calls[i], x, cause);
		return;
	}
	exsi_frame_push(&frame, NULL);
	frame.layer = x;
	x->ops.cancel_many(x, calls, n, cause);
	exsi_frame_pop(&frame);
}

/* Hands them over in groups of the same layer. The layers are few. */
static void source_cancel_many(exs_future **calls, size_t n, exs_cause cause)
{
	while (n) {
		exs_executor *x = layer_of(calls[0]);
		size_t same = 0;
		for (size_t i = 0; i < n; i++) {
			exs_future *f = calls[i];
			if (layer_of(f) != x)
				continue;
			calls[i] = calls[same];
			calls[same++] = f;
		}
		cancel_group(calls, same, x, cause);
		calls += same;
		n -= same;
	}
}

/* --- its layers --- */

static bool walk_attached(exs_executor *leaf, bool owned, exsi_layer_fn *visit, void *arg)
{
	uint64_t cursor = 0;
	bool found = false;

	for (exs_executor *x; !found && (x = leaf->attached(leaf, &cursor)); exsi_executor_unref_within(x))
		found = exsi_walk(x, owned, visit, arg);
	return found;
}

bool exsi_walk(exs_executor *x, bool owned, exsi_layer_fn *visit, void *arg)
{
	for (; x; x = x->inner) {
		if (visit(x, owned, arg) || (x->attached && walk_attached(x, owned, visit, arg)))
			return true;
		owned = owned && !x->borrow;
	}
	return false;
}

static bool is_layer(exs_executor *layer, bool owned, void *arg)
{
	(void)owned;
	return layer == arg;
}

bool exsi_uses(exs_executor *x, const exs_executor *layer)
{
	return exsi_walk(x, false, is_layer, (void *)(uintptr_t)layer);
}

/* --- made --- */

static bool check(const exs_layer_ops *ops, const exs_executor *inner, size_t slot_size)
{
	const char *what = NULL;

	if (!ops->type || !ops->start || !ops->done || !ops->cancel)
		what = "type, start, done and cancel are required (exs_pass_* if there is nothing to do)";
	else if (inner && inner->depth + 1 >= EXSI_MAX_DEPTH)
		what = "the chain is too deep: at most 1021 layers";
	else if (slot_size > MAX_SLOTS || (inner && inner->end + slot_size > MAX_SLOTS))
		what = "the slots of a chain may take at most 1 MiB";
	if (what)
		exsi_fail(EXS_EINVAL, "exs_layer_new: %s", what);
	return !what;
}

static void join(exs_executor *x, exs_executor *inner, bool borrow)
{
	x->inner = inner;
	x->borrow = borrow;
	x->leaf = inner ? inner->leaf : x;
	x->clock = exsi_clock_ref(inner ? inner->clock_above : exsi_clock(NULL));
	x->clock_above = exsi_clock_ref(x->clock);
	x->max_attempts = 1;
	if (!inner)
		return;
	x->depth = inner->depth + 1;
	x->off = inner->end;
	x->shares = inner->shares;
	x->shares_size = inner->shares_size;
	x->story = inner->story;
	x->max_attempts = inner->max_attempts;
	memcpy(x->name, inner->name, sizeof(x->name));
	if (borrow) {
		atomic_fetch_add(&inner->refs, 1);
		atomic_store(&inner->shared, true);
	} else {
		inner->outer = x;
	}
}

static uint32_t in_words(size_t size)
{
	return (uint32_t)(size + 7) / 8 * 8;
}

const char exsi_hidden_type[] = "hidden";

static exs_executor *layer_new(const exs_layer_ops *ops, exs_executor *inner, size_t state_size, size_t slot_size,
			       bool borrow)
{
	exs_layer_ops known;

	if (!ops || !exsi_options(&known, sizeof(known), ops, ops->size))
		return exsi_fail_null(EXS_EINVAL, "exs_layer_new: %s",
				      ops ? "hooks that this library does not know" : "ops is NULL");
	if (exsi_forked())
		return exsi_fail_null(EXS_EFORK, "%s", exs_strerror(EXS_EFORK));
	if (!check(&known, inner, slot_size))
		return NULL;
	exs_executor *x =
		state_size > SIZE_MAX - EXSI_STATE_OFFSET ? NULL : exsi_zalloc(EXSI_STATE_OFFSET + state_size);
	if (!x)
		return exsi_fail_null(EXS_ENOMEM, "%s: out of memory", known.type);
	exsi_fork_watch();
	x->source = (struct exsi_source){.cancel = source_cancel,
					 .cancel_many = source_cancel_many,
					 .time_left = time_left,
					 .parent = exsi_parent,
					 .clock = source_clock};
	exsi_news_of_by(tell_leaves);
	x->ops = known;
	atomic_init(&x->refs, 1);
	atomic_init(&x->shared, false);
	atomic_init(&x->closing, 0);
	atomic_init(&x->children, 0);
	join(x, inner, borrow);
	x->end = x->off + in_words(slot_size);
	atomic_fetch_add(&exsi_executors, 1);
	exsi_metrics_made(x);
	return x;
}

exs_executor *exs_layer_new(const exs_layer_ops *ops, exs_executor *delegate, size_t state_size, size_t slot_size)
{
	exs_executor *x = layer_new(ops, delegate, state_size, slot_size, false);

	if (!x)
		exs_executor_free(delegate);
	return x;
}

exs_executor *exsi_checked(exs_executor *ex, const char *who, bool known, const char *wrong)
{
	wrong = known ? wrong : "options that this library does not know";
	if (!ex || !wrong)
		return ex;
	exs_executor_free(ex);
	return exsi_fail_null(EXS_EINVAL, "%s: %s", who, wrong);
}

exs_executor *exsi_wrap(const exs_layer_ops *ops, exs_executor *ex, size_t state_size, size_t slot_size)
{
	return ex ? exs_layer_new(ops, ex, state_size, slot_size) : NULL;
}

exs_executor *exsi_own(exs_executor *x, void *ctx, exs_free_fn *ctx_free)
{
	if (x) {
		x->ctx = ctx;
		x->ctx_free = ctx_free;
	} else if (ctx_free) {
		ctx_free(ctx);
	}
	return x;
}

exs_executor *exsi_hold_clock(exs_executor *x)
{
	char what[64];
	int rc = exsi_clock_hold(x->clock);

	x->holds_clock = !rc;
	if (!rc)
		return x;
	snprintf(what, sizeof(what), "%s: no timer thread", x->ops.type);
	exs_executor_free(x);
	return exsi_fail_errno(rc, what);
}

void *exs_layer_state(exs_executor *x)
{
	return x ? exsi_state(x) : NULL;
}

exs_executor *exs_layer_delegate(exs_executor *x)
{
	return x ? x->inner : NULL;
}

unsigned exsi_times(unsigned a, unsigned b)
{
	a = a ? a : 1;
	return b >= EXS_UNLIMITED / a ? EXS_UNLIMITED : a * b;
}

void exs_layer_set_attempts(exs_executor *x, unsigned max)
{
	if (!x)
		return;
	if (!x->story) {
		x->story = (uint32_t)sizeof(exs_future) + x->end;
		x->end += (uint32_t)sizeof(struct exsi_story);
	}
	x->max_attempts = exsi_times(max, x->max_attempts);
	x->counts_starts = true;
}

void exsi_call_set_attempts(exs_future *f, exs_executor *x, unsigned max)
{
	max = exsi_times(max, x->inner->max_attempts);
	for (; f; f = exsi_parent(f))
		atomic_store(&exsi_story(f)->max, max);
}

/* It grows if there is nothing behind it; otherwise a larger one is begun, and that one is left to those below. */
void exsi_layer_share(exs_executor *x, size_t size)
{
	uint32_t own = x->end - x->off, end = x->off;

	if (size > x->shares_size) {
		if (x->shares + x->shares_size != end)
			x->shares = end;
		x->shares_size = in_words(size);
		end = x->shares + x->shares_size;
	}
	x->off = own ? end : x->shares;
	x->end = end + own;
}

void exsi_layer_new_block(exs_executor *x, bool counts)
{
	unsigned max = counts && x->story ? x->max_attempts : 0;

	x->new_block = true;
	x->end -= x->off;
	x->off = x->shares = x->shares_size = 0;
	x->story = 0;
	x->max_attempts = 1;
	if (max) /* what the child counts is added up here */
		exs_layer_set_attempts(x, max);
}

/* --- borrow: a pass-through that does not own --- */

static exs_step borrow_start(exs_executor *x, exs_future *call, void *slot, exs_result *r)
{
	(void)call, (void)slot;
	if (!atomic_load(&x->inner->closing))
		return EXS_DOWN;
	*r = exs_fail(exsi_error(EXS_ESHUTDOWN));
	return EXS_UP;
}

static const exs_layer_ops borrow_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "borrow",
	.start = borrow_start,
	.done = exs_pass_done,
	.cancel = exs_pass_cancel,
};

exs_executor *exs_borrow(exs_executor *x)
{
	return x ? layer_new(&borrow_ops, x, 0, 0, true) : NULL;
}

exs_step exs_pass_start(exs_executor *x, exs_future *call, void *slot, exs_result *r)
{
	(void)x, (void)call, (void)slot, (void)r;
	return EXS_DOWN;
}

exs_step exs_pass_done(exs_executor *x, exs_future *call, void *slot, exs_result *r)
{
	(void)x, (void)call, (void)slot, (void)r;
	return EXS_UP;
}

exs_step exs_pass_cancel(exs_executor *x, exs_future *call, void *slot, exs_cause cause, exs_result *r)
{
	(void)x, (void)call, (void)slot, (void)cause, (void)r;
	return EXS_UP;
}

/* --- named, described --- */

exs_executor *exs_with_clock(exs_executor *x, exs_clock *clock)
{
	if (!x)
		return NULL;
	exs_clock *old = x->clock_above;
	x->clock_above = exsi_clock_ref(exsi_clock(clock));
	exs_clock_unref(old);
	return x;
}

exs_executor *exs_with_name(exs_executor *x, const char *name)
{
	if (x)
		exsi_metrics_name(x, name ? name : "");
	return x;
}

const char *exs_executor_name(exs_executor *x)
{
	return x ? x->name : "";
}

/* What is written so far; n counts on when there is no more room. */
struct text {
	char *buf;
	size_t size, n;
};

static void put(struct text *t, const char *a, const char *b, const char *c)
{
	const char *const parts[] = {a, b, c};

	for (int i = 0; i < 3; i++) {
		size_t left = t->n < t->size ? t->size - t->n : 0;
		t->n += (size_t)snprintf(left ? t->buf + t->n : NULL, left, "%s", parts[i]);
	}
}

static void describe(struct text *t, exs_executor *x);

static void describe_attached(struct text *t, exs_executor *leaf)
{
	uint64_t cursor = 0;

	const char *before = "";

	put(t, "[", "", "");
	for (exs_executor *x; (x = leaf->attached(leaf, &cursor)); exsi_executor_unref_within(x)) {
		put(t, before, "", "");
		describe(t, x);
		before = " | ";
	}
	put(t, "]", "", "");
}

static void describe(struct text *t, exs_executor *x)
{
	for (; x; x = x->inner) {
		char args[128] = "";
		if (x->parent)
			continue; /* a relay is part of the layer above it */
		if (x->attached) {
			describe_attached(t, x);
			continue;
		}
		bool has = x->ops.describe && x->ops.describe(x, args, sizeof(args)) >= 0;
		put(t, x->ops.type, has ? "(" : "", args);
		put(t, has ? ")" : "", x->inner ? " > " : "", "");
	}
}

size_t exs_describe(exs_executor *x, char *buf, size_t size)
{
	struct text t = {.buf = buf, .size = buf ? size : 0};

	if (t.size)
		*buf = '\0';
	describe(&t, x);
	return t.n;
}

int exsi_describe_count(char *buf, size_t size, unsigned count, const char *more)
{
	if (count == EXS_UNLIMITED)
		return snprintf(buf, size, "unlimited%s", more);
	return snprintf(buf, size, "%u%s", count, more);
}

size_t exs_executor_pending(exs_executor *x)
{
	size_t submitted = 0, completed = 0;

	if (!x)
		return 0;
	/* All of completed first: it never runs ahead of submitted, and 0 is what was true in between. */
	for (unsigned i = 0; i < EXSI_STRIPES; i++)
		completed += atomic_load(&x->counts[i].completed);
	for (unsigned i = 0; i < EXSI_STRIPES; i++)
		submitted += atomic_load(&x->counts[i].submitted);
	return submitted - completed;
}
