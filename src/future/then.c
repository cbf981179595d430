/* A function of a future's outcome, as a future: one block for both, run by a loop. */
#include "base/memory.h"
#include "future/future.h"

#include <executors/functions.h>

/* PARKED at depth 0 until the function begins, which takes the token, or a canceller has it. One reference is the node's: from the
   start until the function has run, or will never.
   The future's fn is, in another type, ours; its arg and arg_free are the function's ctx. */
struct then {
	exs_future future;
	exs_future *input; /* one user reference, until it is done; and further, if story says EXSI_KEEPS */
	struct exsi_node node;
	exs_map_fn *error_fn;
};
_Static_assert(offsetof(struct then, input) == sizeof(exs_future), "where release looks for what is kept");

static bool begin(exs_future *f)
{
	unsigned s = atomic_load(&f->state);

	do {
		if (!(s & EXSI_PARKED))
			return false;
	} while (!atomic_compare_exchange_weak(&f->state, &s, (s & ~EXSI_PARKED) | EXSI_RUNNING | EXSI_BEGUN));
	return true;
}

static void call(struct then *t, exs_result *r)
{
	exs_map_fn *fn = (exs_map_fn *)(void (*)(void))t->future.fn;

	if (r->kind == EXS_KIND_ERROR)
		fn = t->error_fn;
	if (fn && r->kind != EXS_KIND_CANCELLED) {
		*r = fn(t->future.arg, *r);
		exsi_check_result(r, "the function of exs_future_map");
	}
	if (t->future.arg_free)
		t->future.arg_free(t->future.arg);
}

static void run(exs_future *none, struct exsi_node *node)
{
	struct then *t = EXSI_CONTAINER_OF(node, struct then, node);
	bool shared;

	(void)none;
	if (!begin(&t->future)) {
		exsi_drop(&t->future);
		return;
	}
	exs_result r = exsi_outcome(t->input, &shared);
	call(t, &r);
	exsi_settle_from(&t->future, &r, t->input, shared);
	exsi_drop_two(&t->future);
}

static void fire(exs_future *input, struct exsi_node *node)
{
	(void)input;
	exsi_defer(node, run);
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
		exsi_nodes_unlock(f, exsi_nodes_lock(f)); /* as in exsi_settle_from */
	if (ctx_free)
		ctx_free(ctx);
	exs_future_unref(input);
	exsi_drop(f);
	if (!removed)
		return;
	exsi_cancel_next(input, cause);
	exsi_drop(f);
}

static void then_cancel_many(exs_future **futures, size_t n, exs_cause cause)
{
	for (size_t i = 0; i < n; i++)
		then_cancel(futures[i], cause);
}

/* Once it is done the input may go, but not before the lock was to be had. */
static exs_future *then_input(exs_future *f)
{
	struct exsi_node *last = exsi_nodes_lock(f);
	exs_future *input = exs_future_is_done(f) ? NULL : ((struct then *)(void *)f)->input;

	if (input)
		exsi_hold(input);
	exsi_nodes_unlock(f, last);
	return input;
}

static const struct exsi_source thens = {.cancel = then_cancel, .cancel_many = then_cancel_many, .input = then_input};

exs_future *exs_future_map(exs_future *future, exs_map_fn *fn, exs_map_fn *error_fn, void *ctx, exs_free_fn *ctx_free)
{
	struct then *t = future ? exsi_alloc(sizeof(*t)) : NULL;

	if (!t) {
		if (ctx_free)
			ctx_free(ctx);
		if (!future)
			return exsi_failed("exs_future_map: future is NULL");
		exs_future_unref(future);
		return exsi_fail_null(EXS_ENOMEM, "exs_future_map: out of memory");
	}
	exsi_future_init(&t->future, &thens, EXSI_PARKED);
	atomic_init(&t->future.refs, EXSI_USER_REF + 2 * EXSI_LIB_REF); /* the token's, the node's */
	t->future.fn = (exs_task_fn *)(void (*)(void))fn;
	t->future.arg = ctx;
	t->future.arg_free = ctx_free;
	t->input = future;
	t->node = (struct exsi_node){.fn = fire, .kind = EXSI_CONTINUATION};
	t->error_fn = error_fn;
	exs_future *f = &t->future;
	if (!exsi_node_add(future, &t->node))
		fire(future, &t->node);
	return f;
}
