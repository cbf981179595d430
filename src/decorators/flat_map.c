/* Flat map: a function answers a future for the outcome of each call, and the call goes on with that. */
#include "executor/adopt.h"

#include <executors/flat_map.h>

/* A call's slot is its adoption. */
struct flat_map {
	struct exsi_adopter adopter;	/* first; all else is constant */
	exs_flat_map_fn *fn, *error_fn; /* or NULL */
	void *ctx;
};

/* Asked to stop: nothing further is started. */
static void stop_here(exs_future *f, exs_result *r)
{
	if (r->kind != EXS_KIND_VALUE)
		return;
	exsi_note_cause(f, EXS_CAUSE_SHUTDOWN); /* if it was no canceller */
	exs_result_clear(r);
	*r = exs_cancelled();
}

static exs_step flat_map_done(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	const struct flat_map *m = exsi_state(x);
	bool failed = r->kind == EXS_KIND_ERROR;
	exs_flat_map_fn *fn = failed ? m->error_fn : m->fn;

	if (!fn || r->kind == EXS_KIND_CANCELLED)
		return EXS_UP;
	if (exs_call_stopped(f, x)) {
		stop_here(f, r);
		return EXS_UP;
	}
	unsigned failures = exsi_failures();
	exs_future *inner = fn(m->ctx, *r);
	if (inner)
		return exsi_adopt(x, f, slot, inner, r);
	*r = exsi_no_future(failed ? "flat_map: error_fn" : "flat_map: fn", failures);
	return EXS_UP;
}

static void flat_map_stop(exs_executor *x)
{
	struct flat_map *m = exsi_state(x);

	exsi_adopter_fini(&m->adopter);
}

static const exs_layer_ops flat_map_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "flat_map",
	.start = exs_pass_start,
	.done = flat_map_done,
	.cancel = exsi_adopt_cancel,
	.each = exsi_adopt_each,
	.stop = flat_map_stop,
	.child = exsi_adopt_child,
};

exs_executor *exs_with_flat_map(exs_executor *ex, exs_flat_map_fn *fn, exs_flat_map_fn *error_fn, void *ctx,
				exs_free_fn *ctx_free)
{
	exs_executor *x = exsi_wrap(&flat_map_ops, ex, sizeof(struct flat_map), sizeof(struct exsi_adoption));

	if (!exsi_own(x, ctx, ctx_free))
		return NULL;
	struct flat_map *m = exsi_state(x);
	*m = (struct flat_map){.fn = fn, .error_fn = error_fn, .ctx = ctx};
	exsi_adopter_init(&m->adopter, x);
	return x;
}
