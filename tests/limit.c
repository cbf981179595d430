/* A limit on the calls below it. */
#include "limit.h"

#include <pthread.h>

/* A call that waits; link is the library's, for the way down. */
struct waiting {
	struct waiting *next, *prev;
	exs_link link;
};

/* lock guards all of it. */
struct limit {
	pthread_mutex_t lock;
	struct waiting queue; /* sentinel */
	unsigned below, most;
};

static void unlink_waiting(struct waiting *w)
{
	w->prev->next = w->next;
	w->next->prev = w->prev;
	w->next = w->prev = w; /* a canceller may unlink it once more */
}

static exs_step limit_start(exs_executor *ex, exs_future *f, void *slot, exs_result *r)
{
	struct limit *l = exs_layer_state(ex);
	struct waiting *w = slot;
	exs_step step = EXS_DOWN;

	pthread_mutex_lock(&l->lock);
	if (l->below < l->most)
		l->below++;
	else
		step = exs_call_park(f, ex) ? EXS_HELD : EXS_UP;
	if (step == EXS_HELD) {
		w->next = &l->queue;
		w->prev = l->queue.prev;
		w->prev->next = w->next->prev = w;
	}
	pthread_mutex_unlock(&l->lock);
	if (step == EXS_UP)
		*r = exs_cancelled();
	return step;
}

/* The next that no canceller was faster to get; NULL: none, and there is room. */
static struct waiting *next_waiting(exs_executor *ex, struct limit *l)
{
	struct waiting *w;

	while ((w = l->queue.next) != &l->queue) {
		unlink_waiting(w);
		if (exs_call_claim(exs_slot_call(w, ex)))
			return w;
	}
	l->below--;
	return NULL;
}

static exs_step limit_done(exs_executor *ex, exs_future *f, void *slot, exs_result *r)
{
	struct limit *l = exs_layer_state(ex);

	(void)f, (void)slot, (void)r;
	pthread_mutex_lock(&l->lock);
	struct waiting *w = next_waiting(ex, l);
	pthread_mutex_unlock(&l->lock);
	if (w)
		exs_call_release(exs_slot_call(w, ex), ex, EXS_DOWN, NULL, &w->link);
	return EXS_UP;
}

static exs_step limit_cancel(exs_executor *ex, exs_future *f, void *slot, exs_cause cause, exs_result *r)
{
	struct limit *l = exs_layer_state(ex);

	(void)f, (void)cause, (void)r;
	pthread_mutex_lock(&l->lock);
	unlink_waiting(slot);
	pthread_mutex_unlock(&l->lock);
	return EXS_UP;
}

static void limit_each(exs_executor *ex, exs_visit_fn *visit, void *arg)
{
	struct limit *l = exs_layer_state(ex);

	pthread_mutex_lock(&l->lock);
	for (struct waiting *w = l->queue.next; w != &l->queue; w = w->next)
		visit(exs_slot_call(w, ex), arg);
	pthread_mutex_unlock(&l->lock);
}

static void limit_stop(exs_executor *ex)
{
	struct limit *l = exs_layer_state(ex);

	pthread_mutex_destroy(&l->lock);
}

static const exs_layer_ops limit_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "limit",
	.start = limit_start,
	.done = limit_done,
	.cancel = limit_cancel,
	.each = limit_each,
	.stop = limit_stop,
};

exs_executor *limit_new(exs_executor *ex, unsigned most)
{
	exs_executor *x = ex ? exs_layer_new(&limit_ops, ex, sizeof(struct limit), sizeof(struct waiting)) : NULL;

	if (!x)
		return NULL;
	struct limit *l = exs_layer_state(x);
	pthread_mutex_init(&l->lock, NULL);
	l->queue.next = l->queue.prev = &l->queue;
	l->most = most;
	return x;
}
