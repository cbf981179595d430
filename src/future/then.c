/* A function of a future's outcome, as a future: map, flat_map. One block for both, run by a loop. */
#include "base/memory.h"
#include "future/future.h"

#include <executors/functions.h>

/* PARKED at depth 0 until the function begins, which takes the token, or a canceller has it; and again, with flat_map, while the future
   that the function answered is awaited. One reference is the node's: from the start until input is done, or the node removed.
   The future's fn is, in another type, ours; its arg and arg_free are the function's ctx. */
struct then {
	exs_future future;
	exs_future *input; /* one user reference, until it is done; and further, if story says EXSI_KEEPS */
	struct exsi_node node;
	void (*error_fn)(void); /* in another type */
};
_Static_assert(offsetof(struct then, input) == sizeof(exs_future), "where release looks for what is kept");

struct flat {
	struct then then;
	exs_future *first; /* the input, while the function's future is awaited in its place; NULL: it has not begun */
};

static bool claim(exs_future *f, unsigned begun)
{
	unsigned s = atomic_load(&f->state);

	do {
		if (!(s & EXSI_PARKED))
			return false;
	} while (!atomic_compare_exchange_weak(&f->state, &s, (s & ~EXSI_PARKED) | begun));
	return true;
}

static bool begin(struct then *t)
{
	bool begun = claim(&t->future, EXSI_RUNNING | EXSI_BEGUN);

	if (!begun)
		exsi_drop(&t->future);
	return begun;
}

/* The one that sees to r, or NULL. */
static void (*function_for(struct then *t, const exs_result *r))(void)
{
	if (r->kind == EXS_KIND_ERROR)
		return t->error_fn;
	return r->kind == EXS_KIND_VALUE ? (void (*)(void))t->future.fn : NULL;
}

static void free_ctx(struct then *t)
{
	if (t->future.arg_free)
		t->future.arg_free(t->future.arg);
}

static void finish(struct then *t, exs_result *r, bool shared)
{
	exsi_settle_from(&t->future, r, t->input, shared);
	exsi_drop_two(&t->future);
}

/* With the token: the function will not run. */
static void then_cancel(exs_future *f, exs_cause cause)
{
	struct then *t = (struct then *)(void *)f;
	exs_future *input = t->input;
	bool removed = exsi_node_remove(input, &t->node); /* otherwise fire has it, and finds the token gone */
	exs_result r = exs_cancelled();
	exs_free_fn *ctx_free = f->arg_free;
	void *ctx = f->arg;

	if (removed)
		exsi_hold(input);
	if (!(exsi_settle(f, &r) & EXSI_NODES))
		exsi_look_over(f);
	if (ctx_free)
		ctx_free(ctx);
	exs_future_unref(input);
	exsi_drop(f);
	if (!removed)
		return;
	exsi_cancel_next(input, cause);
	exsi_drop(f);
}

static struct then *then_new(exs_future *input, const struct exsi_source *source, size_t size,
			     void (*fire)(exs_future *, struct exsi_node *), const char *who)
{
	struct then *t = input ? exsi_alloc(size) : NULL;

	if (!t) {
		exs_future_unref(input);
		return exsi_fail_null(EXS_ENOMEM, "%s: out of memory", who);
	}
	exsi_future_init(&t->future, source, EXSI_PARKED);
	atomic_init(&t->future.refs, EXSI_USER_REF + 2 * EXSI_LIB_REF); /* the token's, the node's */
	t->input = input;
	t->node = (struct exsi_node){.fn = fire, .kind = EXSI_CONTINUATION};
	return t;
}

/* Takes over the context in any case. */
static exs_future *then_begin(struct then *t, exs_future *input, void (*fn)(void), void (*error_fn)(void), void *ctx,
			      exs_free_fn *ctx_free, const char *who)
{
	if (!t) {
		if (ctx_free)
			ctx_free(ctx);
		return input ? NULL : exsi_failed("%s: future is NULL", who);
	}
	t->future.fn = (exs_task_fn *)fn;
	t->future.arg = ctx;
	t->future.arg_free = ctx_free;
	t->error_fn = error_fn;
	exsi_future_made(&t->future);
	if (!exsi_node_add(input, &t->node))
		t->node.fn(input, &t->node);
	return &t->future;
}

/* --- map --- */

static void map_run(exs_future *none, struct exsi_node *node)
{
	struct then *t = EXSI_CONTAINER_OF(node, struct then, node);
	bool shared;

	(void)none;
	if (!begin(t))
		return;
	exs_result r = exsi_outcome(t->input, &shared);
	exs_map_fn *fn = (exs_map_fn *)function_for(t, &r);
	if (fn) {
		r = fn(t->future.arg, r);
		exsi_check_result(&r, "the function of exs_future_map");
	}
	free_ctx(t);
	finish(t, &r, shared);
}

static void map_fire(exs_future *input, struct exsi_node *node)
{
	(void)input;
	exsi_defer(node, map_run);
}

static void then_cancel_many(exs_future **futures, size_t n, exs_cause cause)
{
	for (size_t i = 0; i < n; i++)
		then_cancel(futures[i], cause);
}

static const struct exsi_source maps = {
	.cancel = then_cancel, .cancel_many = then_cancel_many, .input = exsi_input, .what = "map"};

exs_future *exs_future_map(exs_future *future, exs_map_fn *fn, exs_map_fn *error_fn, void *ctx, exs_free_fn *ctx_free)
{
	struct then *t = then_new(future, &maps, sizeof(*t), map_fire, "exs_future_map");

	return then_begin(t, future, (void (*)(void))fn, (void (*)(void))error_fn, ctx, ctx_free, "exs_future_map");
}

/* --- flat_map --- */

static void inner_run(exs_future *none, struct exsi_node *node)
{
	struct flat *m = EXSI_CONTAINER_OF(node, struct flat, then.node);
	exs_future *f = &m->then.future, *inner = m->then.input, *first = m->first;
	bool shared;

	(void)none;
	if (claim(f, 0)) {
		exs_result r = exsi_outcome(inner, &shared);
		finish(&m->then, &r, shared);
	} else { /* a canceller has it, or has been here */
		struct exsi_node *last = exsi_nodes_lock(f);
		m->then.input = NULL;
		exsi_nodes_unlock(f, last);
		exs_future_unref(inner);
		exsi_drop(f);
	}
	exs_future_unref(first);
}

static void inner_fire(exs_future *inner, struct exsi_node *node)
{
	(void)inner;
	exsi_defer(node, inner_run);
}

/* Answers who has asked it to stop meanwhile. */
static exs_cause park(exs_future *f)
{
	unsigned s = atomic_load(&f->state);

	while (!atomic_compare_exchange_weak(&f->state, &s, (s & ~EXSI_RUNNING) | EXSI_PARKED))
		;
	return exsi_cause(s);
}

/* With the token, which it parks. */
static void adopt(struct flat *m, exs_future *inner)
{
	exs_future *f = &m->then.future;
	struct exsi_node *last = exsi_nodes_lock(f);

	m->first = m->then.input;
	m->then.input = inner;
	exsi_nodes_unlock(f, last);
	m->then.node = (struct exsi_node){.fn = inner_fire, .kind = EXSI_CONTINUATION};
	exsi_hold(inner);
	exs_cause cause = park(f); /* the node's reference keeps f */
	if (!exsi_node_add(inner, &m->then.node))
		inner_fire(inner, &m->then.node);
	else
		exsi_news_of(inner);
	if (cause != EXS_CAUSE_NONE)
		exsi_cancel(inner, EXSI_STOP_ALL, cause);
	exsi_drop(inner);
}

static void flat_map_run(exs_future *none, struct exsi_node *node)
{
	struct flat *m = EXSI_CONTAINER_OF(node, struct flat, then.node);
	struct then *t = &m->then;
	exs_future *inner = NULL;
	bool shared;

	(void)none;
	if (!begin(t))
		return;
	exs_result r = exsi_outcome(t->input, &shared);
	exs_flat_map_fn *fn = (exs_flat_map_fn *)function_for(t, &r);
	if (fn) {
		bool failed = r.kind == EXS_KIND_ERROR;
		unsigned failures = exsi_failures();
		inner = fn(t->future.arg, r);
		if (!inner)
			r = exsi_no_future(failed ? "exs_future_flat_map: error_fn" : "exs_future_flat_map: fn",
					   failures);
	}
	free_ctx(t);
	if (inner == &t->future) {
		exs_future_unref(inner);
		inner = NULL;
		r = exs_fail(exs_error_new(&exs_domain_exs, EXS_EDEADLK,
					   "exs_future_flat_map: the function answered its own future, which would "
					   "wait for itself"));
	}
	if (inner)
		adopt(m, inner);
	else
		finish(t, &r, shared);
}

static void flat_map_fire(exs_future *input, struct exsi_node *node)
{
	(void)input;
	exsi_defer(node, flat_map_run);
}

/* The function's future is not let go of before it is done: what it does may read the input's value until then. */
static void flat_map_cancel(exs_future *f, exs_cause cause)
{
	exs_result r = exs_cancelled();
	size_t cursor = 0;

	if (!((struct flat *)(void *)f)->first) {
		then_cancel(f, cause);
		return;
	}
	exs_future *inner = exsi_input(f, &cursor);
	exsi_complete(f, &r);
	if (inner)
		exsi_cancel_next(inner, cause);
}

static void flat_map_cancel_many(exs_future **futures, size_t n, exs_cause cause)
{
	for (size_t i = 0; i < n; i++)
		flat_map_cancel(futures[i], cause);
}

static const struct exsi_source flat_maps = {
	.cancel = flat_map_cancel, .cancel_many = flat_map_cancel_many, .input = exsi_input, .what = "flat_map"};

exs_future *exs_future_flat_map(exs_future *future, exs_flat_map_fn *fn, exs_flat_map_fn *error_fn, void *ctx,
				exs_free_fn *ctx_free)
{
	static const char who[] = "exs_future_flat_map";
	struct then *t = then_new(future, &flat_maps, sizeof(struct flat), flat_map_fire, who);

	if (t)
		((struct flat *)(void *)t)->first = NULL;
	return then_begin(t, future, (void (*)(void))fn, (void (*)(void))error_fn, ctx, ctx_free, who);
}
