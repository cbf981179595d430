/* Inline executor: runs each task in the thread that submits it. */
#include "executor/executor.h"

#include <executors/inline.h>

/* lock guards the list of calls that run. */
struct slot {
	struct slot *next, *prev;
};
struct inline_ {
	pthread_mutex_t lock;
	struct slot running; /* sentinel */
};

static exs_step inline_start(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	struct inline_ *in = exsi_state(x);
	struct slot *s = slot;

	pthread_mutex_lock(&in->lock);
	if (exs_call_stopped(f, x)) { /* under the lock: a shutdown closes, then looks at the list */
		pthread_mutex_unlock(&in->lock);
		exsi_note_cause(f, EXS_CAUSE_SHUTDOWN); /* if it was no canceller */
		*r = exs_cancelled();
		return EXS_UP;
	}
	s->next = &in->running;
	s->prev = in->running.prev;
	s->prev->next = s;
	in->running.prev = s;
	pthread_mutex_unlock(&in->lock);
	exs_call_run(f, r);
	pthread_mutex_lock(&in->lock);
	s->prev->next = s->next;
	s->next->prev = s->prev;
	pthread_mutex_unlock(&in->lock);
	return EXS_UP;
}

static void inline_each(exs_executor *x, exs_visit_fn *visit, void *arg)
{
	struct inline_ *in = exsi_state(x);

	pthread_mutex_lock(&in->lock);
	for (struct slot *s = in->running.next; s != &in->running; s = s->next)
		visit(exsi_slot_call(s, x), arg);
	pthread_mutex_unlock(&in->lock);
}

static void inline_stop(exs_executor *x)
{
	struct inline_ *in = exsi_state(x);

	pthread_mutex_destroy(&in->lock);
}

static const exs_layer_ops inline_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "inline",
	.start = inline_start,
	.done = exs_pass_done,
	.cancel = exs_pass_cancel,
	.each = inline_each,
	.stop = inline_stop,
};

exs_executor *exs_inline(void)
{
	exs_executor *x = exs_layer_new(&inline_ops, NULL, sizeof(struct inline_), sizeof(struct slot));

	if (!x)
		return NULL;
	struct inline_ *in = exsi_state(x);
	pthread_mutex_init(&in->lock, NULL);
	in->running.next = in->running.prev = &in->running;
	return x;
}
