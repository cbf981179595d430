/* Batch: the call that does the work of a batch, on the relay, from its start to its end. */
#include "decorators/batch.h"

void exsi_batch_leave(exs_executor *x, struct exsi_held *held)
{
	struct exsi_batch *batch = exsi_batch_of(exsi_state(x), held);

	if (batch)
		batch->wanted -= !exsi_batch_slot(held)->stopped;
	if (held->in)
		exsi_calls_remove(held);
	exsi_hand_take(held);
}

static exs_error *without_result(void)
{
	return exs_error_new(&exs_domain_exs, EXS_EINVAL, "batch: start_many left the call without a result");
}

exs_result exsi_batch_run(void *arg, exs_context *context)
{
	struct exsi_batch *batch = arg;
	struct exsi_batcher *b = batch->b;
	struct exsi_batch_items items;

	if (!exsi_batch_give(batch, &items))
		return exs_fail(exsi_error(EXS_ENOMEM));
	exs_error *error = items.n ? b->start_many(b->ctx, items.list, items.n, context) : NULL;
	if (exsi_batch_take_back(b, &items, error))
		return exs_fail(error ? error : without_result());
	exs_error_unref(error);
	return exs_ok(NULL, NULL);
}

void exsi_batch_free(void *arg)
{
	struct exsi_batch *batch = arg;
	exs_executor *x = batch->b->hand.x;

	pthread_mutex_lock(&batch->b->hand.lock);
	batch->prev->next = batch->next;
	batch->next->prev = batch->prev;
	pthread_mutex_unlock(&batch->b->hand.lock);
	exsi_unkeep(x);
}

void exsi_batch_child(exs_executor *x, exs_future *f, void *slot, exs_visit_fn *visit, void *arg)
{
	struct exsi_batcher *b = exsi_state(x);
	struct exsi_batch_slot *s = slot;

	(void)f;
	pthread_mutex_lock(&b->hand.lock);
	struct exsi_batch *batch = exsi_batch_of(b, &s->held);
	if (batch && batch->under_way)
		visit(exsi_batch_call(batch), arg);
	pthread_mutex_unlock(&b->hand.lock);
}

/* --- the relay --- */

static exs_step relay_start(exs_executor *relay, exs_future *f, void *slot, exs_result *r)
{
	struct exsi_batch *batch = slot;

	(void)relay, (void)f;
	pthread_mutex_lock(&batch->b->hand.lock);
	batch->under_way = batch->wanted;
	pthread_mutex_unlock(&batch->b->hand.lock);
	*r = exs_cancelled();
	return batch->under_way ? EXS_DOWN : EXS_UP;
}

/* The batch's outcome is that of those left. Those whose own function runs are not left: they get theirs. */
static struct exsi_held *take_left(struct exsi_batch *batch)
{
	exs_executor *x = batch->b->hand.x;
	struct exsi_held *up = NULL, **last = &up;

	batch->under_way = false;
	for (struct exsi_held *held = batch->calls.first, *next; held; held = next) {
		next = held->next;
		if (exsi_batch_slot(held)->runs)
			continue;
		bool mine = exs_call_claim(exsi_slot_call(held, x)); /* otherwise a canceller waits for the lock */
		if (held->item)
			exsi_batch_tear(x, held);
		exsi_batch_leave(x, held);
		if (!mine)
			continue;
		*last = held;
		last = &held->next;
	}
	*last = NULL;
	return up;
}

static exs_step relay_done(exs_executor *relay, exs_future *f, void *slot, exs_result *r)
{
	struct exsi_batch *batch = slot;
	struct exsi_batcher *b = batch->b;

	(void)relay;
	pthread_mutex_lock(&b->hand.lock);
	struct exsi_held *up = take_left(batch);
	pthread_mutex_unlock(&b->hand.lock);
	if (!up)
		return EXS_UP;
	exs_error *made =
		r->kind == EXS_KIND_VALUE ? without_result() : NULL; /* a value, whoever made it one, is none */
	exsi_batch_send(b->hand.x, up, r->kind == EXS_KIND_ERROR ? r->error : made, exs_future_cause(f));
	exs_error_unref(made);
	return EXS_UP;
}

static exs_future *no_parent(exs_executor *relay, exs_future *f)
{
	(void)relay, (void)f;
	return NULL;
}

static const exs_layer_ops relay_ops = {
	.size = sizeof(exs_layer_ops),
	.type = exsi_hidden_type,
	.start = relay_start,
	.done = relay_done,
	.cancel = exs_pass_cancel,
};

exs_executor *exsi_batch_new(exs_executor *ex, const exs_layer_ops *ops)
{
	exs_executor *relay = exsi_wrap(&relay_ops, ex, 0, sizeof(struct exsi_batch));
	exs_executor *x = exsi_wrap(ops, relay, sizeof(struct exsi_batcher), sizeof(struct exsi_batch_slot));

	if (!x)
		return NULL;
	relay->parent = no_parent;
	exsi_layer_new_block(x, false);
	x->marks_running = true;
	struct exsi_batcher *b = exsi_state(x);
	b->relay = relay;
	exsi_hand_init(&b->hand, x, exsi_batch_leave);
	b->batches.next = b->batches.prev = &b->batches;
	return x;
}
