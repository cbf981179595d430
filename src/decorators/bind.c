/* Bind: an executor with a function, to be called with an argument. */
#include "executor/executor.h"

#include <executors/bind.h>

/* Constant. Nothing is kept per call. */
struct bind {
	exs_task_fn *fn;
};

/* A call that is started again, or whose child passes here once more, has its function by then. */
static exs_step bind_start(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	const struct bind *b = exsi_state(x);

	(void)slot, (void)r;
	if (f->fn == exs_bound)
		f->fn = b->fn;
	return EXS_DOWN;
}

static const exs_layer_ops bind_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "bind",
	.start = bind_start,
	.done = exs_pass_done,
	.cancel = exs_pass_cancel,
};

exs_executor *exs_with_bind(exs_executor *ex, exs_task_fn *fn)
{
	ex = exsi_checked(ex, "exs_with_bind", true, fn ? NULL : "fn is NULL");
	exs_executor *x = exsi_wrap(&bind_ops, ex, sizeof(struct bind), 0);
	if (x)
		((struct bind *)exsi_state(x))->fn = fn;
	return x;
}
