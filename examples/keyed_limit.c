/* A stateful decorator written outside the library: a limit of running calls per key. Public headers only. */
#include "keyed_limit.h"

#include <pthread.h>
#include <stdlib.h>

/* A key in use. The lock of its limiter guards it: running, and those that wait for a place. */
struct bucket {
	struct bucket *next;
	uint64_t key;
	unsigned running;
	struct slot *head, **tail;
};

struct slot {
	exs_link link; /* for letting it go */
	struct bucket *bucket;
	struct slot *next, **pprev; /* waiting; pprev NULL: not in the queue */
};

struct limiter {
	pthread_mutex_t lock; /* guards buckets and all that hangs on them */
	struct bucket *buckets;
	unsigned limit;
	key_fn *key;
};

/* Where the bucket of a key hangs, or is to hang. */
static struct bucket **place(struct limiter *l, uint64_t key)
{
	struct bucket **at = &l->buckets;

	while (*at && (*at)->key != key)
		at = &(*at)->next;
	return at;
}

static void unlink_slot(struct slot *s)
{
	*s->pprev = s->next;
	if (s->next)
		s->next->pprev = s->pprev;
	else
		s->bucket->tail = s->pprev;
	s->pprev = NULL;
}

/* The token is parked under the lock, and claimed under it: whoever finds the call in the queue finds it alive. */
static exs_step limit_start(exs_executor *ex, exs_future *call, void *slot, exs_result *result)
{
	struct limiter *l = exs_layer_state(ex);
	struct slot *s = slot;
	uint64_t key = l->key(exs_call_arg(call));
	exs_step step = EXS_UP;

	*result = exs_cancelled(); /* unless it may go down, or wait */
	*s = (struct slot){.pprev = NULL};
	pthread_mutex_lock(&l->lock);
	struct bucket **at = place(l, key), *b = *at ? *at : malloc(sizeof(*b));
	if (b && !*at)
		*b = (struct bucket){.key = key, .tail = &b->head};
	*at = s->bucket = b;
	if (!b) {
		*result = exs_fail(exs_error_new(&exs_domain_exs, EXS_ENOMEM, "keyed_limit: out of memory"));
	} else if (b->running < l->limit) {
		b->running++;
		step = EXS_DOWN;
	} else if (exs_call_park(call, ex)) { /* false: asked to stop */
		s->pprev = b->tail;
		*b->tail = s;
		b->tail = &s->next;
		step = EXS_HELD;
	}
	pthread_mutex_unlock(&l->lock);
	return step;
}

/* The place goes to the next that waits for this key; with the last, the key goes. */
static exs_step limit_done(exs_executor *ex, exs_future *call, void *slot, exs_result *result)
{
	struct limiter *l = exs_layer_state(ex);
	struct bucket *b = ((struct slot *)slot)->bucket;
	struct slot *next;
	exs_future *heir = NULL;

	(void)call, (void)result;
	pthread_mutex_lock(&l->lock);
	while (!heir && (next = b->head)) {
		unlink_slot(next);
		if (exs_call_claim(exs_slot_call(next, ex)))
			heir = exs_slot_call(next, ex); /* otherwise its canceller has it */
	}
	if (!heir && --b->running == 0) {
		*place(l, b->key) = b->next;
		free(b);
	}
	pthread_mutex_unlock(&l->lock);
	if (heir)
		exs_call_release(heir, ex, EXS_DOWN, NULL, &next->link);
	return EXS_UP;
}

static exs_step limit_cancel(exs_executor *ex, exs_future *call, void *slot, exs_cause cause, exs_result *result)
{
	struct limiter *l = exs_layer_state(ex);

	(void)call, (void)cause, (void)result;
	pthread_mutex_lock(&l->lock);
	if (((struct slot *)slot)->pprev)
		unlink_slot(slot);
	pthread_mutex_unlock(&l->lock);
	return EXS_UP;
}

static void limit_each(exs_executor *ex, exs_visit_fn *visit, void *arg)
{
	struct limiter *l = exs_layer_state(ex);

	pthread_mutex_lock(&l->lock);
	for (struct bucket *b = l->buckets; b; b = b->next)
		for (struct slot *s = b->head; s; s = s->next)
			visit(exs_slot_call(s, ex), arg);
	pthread_mutex_unlock(&l->lock);
}

static void limit_stop(exs_executor *ex)
{
	pthread_mutex_destroy(&((struct limiter *)exs_layer_state(ex))->lock);
}

static const exs_layer_ops limit_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "keyed_limit",
	.start = limit_start,
	.done = limit_done,
	.cancel = limit_cancel,
	.each = limit_each,
	.stop = limit_stop,
};

exs_executor *with_keyed_limit(exs_executor *ex, unsigned limit, key_fn *key)
{
	if (!ex)
		return NULL;
	if (!limit || !key) {
		exs_set_last_error(&exs_domain_exs, EXS_EINVAL, "with_keyed_limit: %s",
				   key ? "limit is 0: at least 1" : "key is NULL");
		exs_executor_free(ex);
		return NULL;
	}
	ex = exs_layer_new(&limit_ops, ex, sizeof(struct limiter), sizeof(struct slot));
	if (!ex)
		return NULL;
	*(struct limiter *)exs_layer_state(ex) = (struct limiter){.limit = limit, .key = key};
	pthread_mutex_init(&((struct limiter *)exs_layer_state(ex))->lock, NULL);
	return ex;
}
