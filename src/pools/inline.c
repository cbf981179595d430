/* Inline executor: runs each task in the thread that submits it. */
#include "base/list.h"
#include "base/lock.h"
#include "executor/executor.h"

#include <executors/inline.h>

/* lock guards the list of calls that run: a call's slot is its node. */
struct inline_ {
	struct exsi_lock lock;
	struct exsi_list running;
};

static exs_step inline_start(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	struct inline_ *in = exsi_state(x);

	exsi_lock(&in->lock);
	if (exs_call_stopped(f, x)) { /* under the lock: a shutdown closes, then looks at the list */
		exsi_unlock(&in->lock);
		exsi_note_cause(f, EXS_CAUSE_SHUTDOWN); /* if it was no canceller */
		*r = exs_cancelled();
		return EXS_UP;
	}
	exsi_list_append(&in->running, slot);
	exsi_unlock(&in->lock);
	exs_call_run(f, r);
	exsi_lock(&in->lock);
	exsi_list_remove(slot);
	exsi_unlock(&in->lock);
	return EXS_UP;
}

static void inline_each(exs_executor *x, exs_visit_fn *visit, void *arg)
{
	struct inline_ *in = exsi_state(x);

	exsi_lock(&in->lock);
	for (struct exsi_list *s = in->running.next; s != &in->running; s = s->next)
		visit(exsi_slot_call(s, x), arg);
	exsi_unlock(&in->lock);
}

static const exs_layer_ops inline_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "inline",
	.start = inline_start,
	.done = exs_pass_done,
	.cancel = exs_pass_cancel,
	.each = inline_each,
};

exs_executor *exs_inline(void)
{
	exs_executor *x = exs_layer_new(&inline_ops, NULL, sizeof(struct inline_), 0);

	if (!x)
		return NULL;
	exsi_layer_share(x, sizeof(struct exsi_list));
	struct inline_ *in = exsi_state(x);
	exsi_list_init(&in->running);
	return x;
}
