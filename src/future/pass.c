/* Futures whose outcome is another's as it is: ensure, nocancel. */
#include "base/memory.h"
#include "future/future.h"

#include <executors/functions.h>

/* ensure: PARKED at depth 0 until input is done. A canceller that has the token passes the stop on and parks it again; it, or who
   completes input, runs the function, whoever sees both `fired` and the token. nocancel: there is no token to be had. References: the token's,
   the node's until the function has run, fire's until it has looked for the token. */
struct pass {
	exs_future future;
	exs_future *input; /* one user reference, until it is done; and further, if story says EXSI_KEEPS */
	struct exsi_node node;
	exs_ensure_fn *fn; /* NULL: nocancel */
	void *ctx;
	exs_free_fn *ctx_free;
	atomic_bool fired;
};
_Static_assert(offsetof(struct pass, input) == sizeof(exs_future), "where release looks for what is kept");

static bool claim(struct pass *p)
{
	return atomic_fetch_and(&p->future.state, ~EXSI_PARKED) & EXSI_PARKED;
}

static void pass_run(exs_future *none, struct exsi_node *node)
{
	struct pass *p = EXSI_CONTAINER_OF(node, struct pass, node);
	bool shared;

	(void)none;
	exs_result r = exsi_outcome(p->input, &shared);
	if (p->fn) {
		atomic_fetch_or(&p->future.state, EXSI_RUNNING | EXSI_BEGUN);
		p->fn(p->ctx, &r);
	}
	if (p->ctx_free)
		p->ctx_free(p->ctx);
	exsi_settle_from(&p->future, &r, p->input, shared);
	exsi_drop_two(&p->future);
}

static void pass_fire(exs_future *input, struct exsi_node *node)
{
	struct pass *p = EXSI_CONTAINER_OF(node, struct pass, node);

	(void)input;
	atomic_store(&p->fired, true);
	bool mine = !p->fn || claim(p);
	if (mine)
		exsi_defer(node, pass_run);
	exsi_drop(&p->future);
}

static void ensure_cancel(exs_future *f, exs_cause cause)
{
	struct pass *p = (struct pass *)(void *)f;
	size_t cursor = 0;
	exs_future *input = exsi_input(f, &cursor);

	atomic_fetch_or(&f->state, EXSI_PARKED);
	if (atomic_load(&p->fired) && claim(p))
		exsi_defer(&p->node, pass_run);
	if (input)
		exsi_cancel_next(input, cause);
}

static void ensure_cancel_many(exs_future **futures, size_t n, exs_cause cause)
{
	for (size_t i = 0; i < n; i++)
		ensure_cancel(futures[i], cause);
}

static const struct exsi_source ensures = {
	.cancel = ensure_cancel, .cancel_many = ensure_cancel_many, .input = exsi_input, .what = "ensure"};
static const struct exsi_source nocancels = {.input = exsi_input, .what = "nocancel"};

static exs_future *pass_new(exs_future *input, exs_ensure_fn *fn, void *ctx, exs_free_fn *ctx_free, const char *who)
{
	struct pass *p = input ? exsi_alloc(sizeof(*p)) : NULL;

	if (!p) {
		if (ctx_free)
			ctx_free(ctx);
		if (!input)
			return exsi_failed("%s: future is NULL", who);
		exs_future_unref(input);
		return exsi_fail_null(EXS_ENOMEM, "%s: out of memory", who);
	}
	exsi_future_init(&p->future, fn ? &ensures : &nocancels, fn ? EXSI_PARKED : 0);
	atomic_init(&p->future.refs, EXSI_USER_REF + 3 * EXSI_LIB_REF);
	p->input = input;
	p->node = (struct exsi_node){.fn = pass_fire, .kind = EXSI_CONTINUATION};
	p->fn = fn;
	p->ctx = ctx;
	p->ctx_free = ctx_free;
	atomic_init(&p->fired, false);
	exsi_future_made(&p->future);
	if (!exsi_node_add(input, &p->node))
		pass_fire(input, &p->node);
	return &p->future;
}

exs_future *exs_future_ensure(exs_future *future, exs_ensure_fn *fn, void *ctx, exs_free_fn *ctx_free)
{
	static const char who[] = "exs_future_ensure";

	if (fn)
		return pass_new(future, fn, ctx, ctx_free, who);
	if (ctx_free)
		ctx_free(ctx);
	exs_future_unref(future);
	return exsi_failed("%s: fn is NULL", who);
}

exs_future *exs_future_nocancel(exs_future *future)
{
	return pass_new(future, NULL, NULL, NULL, "exs_future_nocancel");
}
