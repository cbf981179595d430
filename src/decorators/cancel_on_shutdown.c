/* Cancel on shutdown: keeps a list of the calls below it, and cancels them when it is shut down. */
#include "base/list.h"
#include "base/memory.h"
#include "executor/executor.h"

#include <executors/cancel_on_shutdown.h>

/* lock guards all that follows it. The lists hold the calls that went down from here and have not come back: a call's slot is its node. Who closes sets
   x->closing, then takes the calls from the list; who enters looks at x->closing under the lock: so no call is missed. */
struct gate {
	pthread_mutex_t lock;
	struct exsi_list below, told;
};

static exs_step gate_start(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	struct gate *g = exsi_state(x);

	pthread_mutex_lock(&g->lock);
	bool closed = atomic_load(&x->closing);
	if (!closed)
		exsi_list_append(&g->below, slot);
	pthread_mutex_unlock(&g->lock);
	if (!closed)
		return EXS_DOWN;
	exsi_note_cause(f, EXS_CAUSE_SHUTDOWN);
	*r = exs_cancelled();
	return EXS_UP;
}

static exs_step gate_done(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	struct gate *g = exsi_state(x);

	(void)f, (void)r;
	pthread_mutex_lock(&g->lock);
	exsi_list_remove(slot);
	pthread_mutex_unlock(&g->lock);
	return EXS_UP;
}

/* --- closing --- */

enum { FEW = 64 };

/* So many that have not been told, the newest first; each with a reference. */
static size_t take(exs_executor *x, exs_future **calls, size_t room)
{
	struct gate *g = exsi_state(x);
	size_t n = 0;

	pthread_mutex_lock(&g->lock);
	while (n < room && !exsi_list_is_empty(&g->below)) {
		struct exsi_list *s = g->below.prev;
		exsi_list_remove(s);
		exsi_list_append(&g->told, s);
		calls[n] = exsi_slot_call(s, x);
		exsi_hold(calls[n++]);
	}
	pthread_mutex_unlock(&g->lock);
	return n;
}

static size_t count(exs_executor *x)
{
	struct gate *g = exsi_state(x);
	size_t n = 0;

	pthread_mutex_lock(&g->lock);
	for (struct exsi_list *s = g->below.next; s != &g->below; s = s->next)
		n++;
	pthread_mutex_unlock(&g->lock);
	return n;
}

/* Before what is below begins to close; all together, as far as there is memory. A borrower that closes does not set x->closing. */
static void gate_closing(exs_executor *x)
{
	if (!atomic_load(&x->closing))
		return;
	size_t room = count(x), n;
	exs_future *few[FEW], **calls = room > FEW ? exsi_alloc_array(room, sizeof(exs_future *)) : few;
	struct exsi_frame frame;

	room = calls && calls != few ? room : FEW;
	calls = calls ? calls : few;
	exsi_frame_push(&frame, NULL);
	frame.layer = x; /* callbacks run in here */
	while ((n = take(x, calls, room))) {
		exsi_cancel_all(calls, n, EXS_CAUSE_SHUTDOWN,
				true); /* before what runs ends, and one of these begins */
		exsi_cancel_all(calls, n, EXS_CAUSE_SHUTDOWN, false);
		for (size_t i = 0; i < n; i++)
			exsi_drop(calls[i]);
	}
	exsi_frame_pop(&frame);
	if (calls != few)
		exsi_free(calls);
}

static void gate_stop(exs_executor *x)
{
	struct gate *g = exsi_state(x);

	pthread_mutex_destroy(&g->lock);
}

static const exs_layer_ops gate_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "cancel_on_shutdown",
	.start = gate_start,
	.done = gate_done,
	.cancel = exs_pass_cancel,
	.closing = gate_closing,
	.stop = gate_stop,
};

exs_executor *exs_with_cancel_on_shutdown(exs_executor *ex)
{
	exs_executor *x = exsi_wrap(&gate_ops, ex, sizeof(struct gate), sizeof(struct exsi_list));

	if (!x)
		return NULL;
	struct gate *g = exsi_state(x);
	pthread_mutex_init(&g->lock, NULL);
	exsi_list_init(&g->below);
	exsi_list_init(&g->told);
	return x;
}
