/* Map: a function turns the outcome of each call into another. */
#include "executor/executor.h"

#include <executors/map.h>

/* Constant. Nothing is kept per call. */
struct map {
	exs_map_fn *fn, *error_fn; /* or NULL */
	void *ctx;
};

static exs_step map_done(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	const struct map *m = exsi_state(x);
	bool failed = r->kind == EXS_KIND_ERROR;
	exs_map_fn *fn = failed ? m->error_fn : m->fn;

	(void)f, (void)slot;
	if (!fn || r->kind == EXS_KIND_CANCELLED)
		return EXS_UP;
	*r = fn(m->ctx, *r);
	exsi_check_result(r, failed ? "map: error_fn" : "map: fn");
	return EXS_UP;
}

static const exs_layer_ops map_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "map",
	.start = exs_pass_start,
	.done = map_done,
	.cancel = exs_pass_cancel,
};

exs_executor *exs_with_map(exs_executor *ex, exs_map_fn *fn, exs_map_fn *error_fn, void *ctx, exs_free_fn *ctx_free)
{
	exs_executor *x = exsi_own(exsi_wrap(&map_ops, ex, sizeof(struct map), 0), ctx, ctx_free);

	if (x)
		*(struct map *)exsi_state(x) = (struct map){fn, error_fn, ctx};
	return x;
}
