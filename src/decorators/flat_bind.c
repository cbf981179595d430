/* Flat bind: an executor with a function that answers a future, which the call goes on with. */
#include "executor/adopt.h"

#include <executors/flat_bind.h>

struct flat_bind {
	struct exsi_adopter adopter; /* first */
	exs_flat_bind_fn *fn;	     /* constant */
};

struct slot {
	struct exsi_adoption adoption; /* first */
	atomic_bool
		bound; /* this layer bound the call; written with the same value at each start, and read by its children too */
};

static void drop_future(void *future)
{
	exs_future_unref(future);
}

static exs_step flat_bind_start(exs_executor *x, exs_future *f, void *slot, exs_result *r);

/* The layer that bound this call, or the call that it is a child of, and so on. */
static struct flat_bind *binder(exs_future *f)
{
	for (; f; f = f->source->parent(f))
		for (exs_executor *x = exsi_top(f); x; x = x->new_block ? NULL : x->inner)
			if (x->ops.start == flat_bind_start && atomic_load(&((struct slot *)exsi_slot(f, x))->bound))
				return exsi_state(x);
	return NULL;
}

/* The task: its value is the future, on its way to the layer. */
static exs_result run_bound(void *arg, exs_context *ctx)
{
	unsigned failures = exsi_failures();
	exs_future *inner = binder((exs_future *)(void *)ctx)->fn(arg, ctx);

	return inner ? exs_ok(inner, drop_future) : exsi_no_future("flat_bind: fn", failures);
}

static exs_step flat_bind_start(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	struct slot *s = slot;
	bool bound = f->fn == exs_bound;

	(void)x, (void)r;
	atomic_store(&s->bound, bound);
	if (bound)
		f->fn = run_bound;
	return EXS_DOWN;
}

static exs_step flat_bind_done(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	struct slot *s = slot;

	if (!atomic_load(&s->bound))
		return EXS_UP;
	f->fn = exs_bound; /* for the next start */
	if (r->kind != EXS_KIND_VALUE || r->destroy != drop_future)
		return EXS_UP;
	return exsi_adopt(x, f, &s->adoption, r->value, r);
}

static void flat_bind_stop(exs_executor *x)
{
	struct flat_bind *b = exsi_state(x);

	exsi_adopter_fini(&b->adopter);
}

static const exs_layer_ops flat_bind_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "flat_bind",
	.start = flat_bind_start,
	.done = flat_bind_done,
	.cancel = exsi_adopt_cancel,
	.each = exsi_adopt_each,
	.stop = flat_bind_stop,
	.child = exsi_adopt_child,
};

exs_executor *exs_with_flat_bind(exs_executor *ex, exs_flat_bind_fn *fn)
{
	ex = exsi_checked(ex, "exs_with_flat_bind", true, fn ? NULL : "fn is NULL");
	exs_executor *x = exsi_wrap(&flat_bind_ops, ex, sizeof(struct flat_bind), sizeof(struct slot));
	if (!x)
		return NULL;
	struct flat_bind *b = exsi_state(x);
	b->fn = fn;
	exsi_adopter_init(&b->adopter, x);
	return x;
}
