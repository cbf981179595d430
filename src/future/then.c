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

/* Those whose inputs are done, until it is their turn on this thread: one after the other, so in constant stack. */
static _Thread_local struct {
	struct exsi_node *first, **last;
	bool running;
} due;

static bool begin(exs_future *f)
{
	unsigned s = atomic_load(&f->state);

	do {
		if (!(s & EXSI_PARKED))
			return false;
	} while (!atomic_compare_exchange_weak(&f->state, &s, (s & ~EXSI_PARKED) | EXSI_RUNNING | EXSI_BEGUN));
	return true;
}

/* The function's to keep if nobody else has a reference of the input; otherwise a look at what the input keeps. */
static exs_result outcome(exs_future *input, bool *shared)
{
	exs_result r;

	*shared = exsi_take(input, &r) != EXS_OK;
	if (!*shared)
		return r;
	r = exs_future_result(input);
	r.destroy = NULL;
	if (r.kind == EXS_KIND_ERROR)
		exs_error_ref(r.error);
	return r;
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

static void run(struct then *t)
{
	bool shared, begun = begin(&t->future);

	if (!begun) {
		exsi_drop(&t->future);
		return;
	}
	exs_result r = outcome(t->input, &shared);
	call(t, &r);
	bool keeps = shared && r.kind == EXS_KIND_VALUE; /* it may be the input's, or part of it */
	if (keeps)
		t->future.story = EXSI_KEEPS;
	unsigned before = exsi_settle(&t->future, &r);
	if (!keeps) {
		if (!(before & EXSI_NODES)) /* who has looked at input has a reference of it now */
			exsi_nodes_unlock(&t->future, exsi_nodes_lock(&t->future));
		exs_future_unref(t->input);
	}
	exsi_drop_two(&t->future);
}

void exsi_run_due(void)
{
	while (due.first) {
		struct exsi_node *node = due.first;
		due.first = node->next;
		run(EXSI_CONTAINER_OF(node, struct then, node));
	}
}

static void fire(exs_future *input, struct exsi_node *node)
{
	(void)input;
	node->next = NULL;
	if (!due.first)
		due.last = &due.first;
	*due.last = node;
	due.last = &node->next;
	if (due.running)
		return;
	due.running = true;
	exsi_run_due();
	due.running = false;
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
		exsi_nodes_unlock(f, exsi_nodes_lock(f)); /* as in run */
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

static exs_future *failed(const char *what)
{
	exs_future *f;
	exs_promise *p = exs_promise_new(&f);

	exs_promise_complete(p, exs_fail(exs_error_new(&exs_domain_exs, EXS_EINVAL, "%s", what)));
	exs_promise_free(p);
	return f;
}

exs_future *exs_future_map(exs_future *future, exs_map_fn *fn, exs_map_fn *error_fn, void *ctx, exs_free_fn *ctx_free)
{
	struct then *t = future ? exsi_alloc(sizeof(*t)) : NULL;

	if (!t) {
		if (ctx_free)
			ctx_free(ctx);
		if (!future)
			return failed("exs_future_map: future is NULL");
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
