/* Batch: its calls in the hand of start_many, and what that may do with them. */
#include "base/memory.h"
#include "decorators/batch.h"

void *exs_batch_arg(exs_batch_item *item)
{
	return item ? item->arg : NULL;
}

const char *exs_batch_name(exs_batch_item *item)
{
	return item ? item->name : NULL;
}

bool exs_batch_stop_requested(exs_batch_item *item)
{
	if (!item)
		return false;
	struct exsi_hand *hand = item->item.hand;
	pthread_mutex_lock(&hand->lock);
	bool stopped = item->stopped;
	pthread_mutex_unlock(&hand->lock);
	return stopped;
}

/* Without the lock, with the token. Let go, not resumed: a retry above may start it again, inline, a million times. */
static void send_up(exs_executor *x, exs_future *f, exs_result r)
{
	struct exsi_batch_slot *s = exsi_slot(f, x);

	s->held.outcome = r;
	exs_call_release(f, x, EXS_UP, &s->held.outcome, &s->link);
}

static bool yield(exs_batch_item *item, exs_result r)
{
	exs_executor *x = item ? item->item.hand->x : NULL;
	bool counts;
	exs_future *f = exsi_hand_yield(item ? &item->item : NULL, r, &counts);

	if (f)
		send_up(x, f, r);
	return counts;
}

bool exs_batch_yield_result(exs_batch_item *item, void *value, exs_free_fn *destroy)
{
	return yield(item, exs_ok(value, destroy));
}

bool exs_batch_yield_error(exs_batch_item *item, exs_error *error)
{
	if (!error)
		error = exs_error_new(&exs_domain_exs, EXS_EINVAL, "exs_batch_yield_error: error is NULL");
	return yield(item, exs_fail(error));
}

bool exs_batch_run(exs_batch_item *item)
{
	exs_result r = exs_cancelled();

	if (!item)
		return false;
	struct exsi_hand *hand = item->item.hand;
	exs_executor *x = hand->x;
	pthread_mutex_lock(&hand->lock);
	struct exsi_held *held = item->item.held;
	bool stopped = item->stopped, begins = held && !held->yielded && !stopped;
	if (begins) {
		exsi_batch_slot(held)->runs = true;
		item->item.held = NULL; /* nobody yields now */
	}
	pthread_mutex_unlock(&hand->lock);
	if (!begins)
		return stopped && yield(item, r);
	exs_future *f = exsi_slot_call(held, x); /* stays while it runs */
	exs_call_run(f, &r);
	pthread_mutex_lock(&hand->lock);
	exsi_batch_slot(held)->runs = false;
	exsi_hand_take(held);
	f = exsi_hand_settle(hand, held, r);
	pthread_mutex_unlock(&hand->lock);
	if (f)
		send_up(x, f, r);
	return true;
}

void exsi_batch_send(exs_executor *x, struct exsi_held *first, exs_error *error, exs_cause cause)
{
	for (struct exsi_held *held = first, *next; held; held = next) {
		exs_future *f = exsi_slot_call(held, x);
		next = held->next;
		if (!error)
			exsi_note_cause(f, cause);
		send_up(x, f, error ? exs_fail(exs_error_ref(error)) : exs_cancelled());
	}
}

/* --- in hand --- */

static exs_batch_item *item_of(struct exsi_held *held)
{
	return EXSI_CONTAINER_OF(held->item, exs_batch_item, item);
}

void exsi_batch_stop(struct exsi_batch *batch, struct exsi_held *held)
{
	batch->wanted -= !exsi_batch_slot(held)->stopped;
	exsi_batch_slot(held)->stopped = true;
	item_of(held)->stopped = true;
}

void exsi_batch_tear(exs_executor *x, struct exsi_held *held)
{
	exs_future *f = exsi_slot_call(held, x), *root = exsi_root(f);
	exs_batch_item *item = item_of(held);

	if (!exsi_arg_is_shared(f))
		exsi_arg_share(f, &exsi_batch_slot(held)->arg);
	item->kept = f->arg;
	atomic_fetch_add(&item->kept->users, 1);
	exsi_keep(item->top = exsi_top(root));
	item->scope = exsi_scope(root);
	if (item->scope)
		exsi_scope_enter(item->scope);
	exsi_hand_take(held);
}

bool exsi_batch_give(struct exsi_batch *batch, struct exsi_batch_items *items)
{
	struct exsi_hand *hand = &batch->b->hand;

	pthread_mutex_lock(&hand->lock);
	size_t n = batch->calls.n; /* they only leave */
	pthread_mutex_unlock(&hand->lock);
	*items = (struct exsi_batch_items){.items = NULL};
	if (!n)
		return true;
	items->items = exsi_alloc_array(n, sizeof(exs_batch_item) + sizeof(exs_batch_item *));
	if (!items->items)
		return false;
	items->list = (exs_batch_item **)(void *)(items->items + n);
	pthread_mutex_lock(&hand->lock);
	for (struct exsi_held *held = batch->calls.first; held; held = held->next) {
		exs_future *f = exsi_slot_call(held, hand->x);
		exs_batch_item *item = &items->items[items->n];
		if (exsi_batch_slot(held)->runs || !exsi_call_set_running(f))
			continue; /* in hand still, or a canceller has it */
		if (held->item)
			exsi_batch_tear(hand->x, held);
		*item = (exs_batch_item){.arg = exs_call_arg(f), .name = exs_call_name(f)};
		item->stopped = exsi_batch_slot(held)->stopped;
		exsi_hand_give(hand, held, &item->item);
		items->list[items->n++] = item;
	}
	pthread_mutex_unlock(&hand->lock);
	return true;
}

size_t exsi_batch_take_back(struct exsi_batcher *b, struct exsi_batch_items *items, exs_error *error)
{
	struct exsi_held *up = NULL;
	size_t left = 0;

	pthread_mutex_lock(&b->hand.lock);
	for (size_t i = items->n; i-- > 0;) {
		struct exsi_held *held = items->items[i].item.held;
		if (!held)
			continue;
		exs_future *f = exsi_slot_call(held, b->hand.x);
		bool stopped = exsi_batch_slot(held)->stopped;
		exsi_hand_take(held);
		atomic_fetch_and(&f->state, ~EXSI_RUNNING);
		left += !stopped && !held->yielded;
		if (!stopped || !exs_call_claim(f))
			continue;
		exsi_batch_leave(b->hand.x, held);
		held->next = up;
		up = held;
	}
	pthread_mutex_unlock(&b->hand.lock);
	exsi_batch_send(b->hand.x, up, error, EXS_CAUSE_NONE);
	for (size_t i = 0; i < items->n; i++) {
		exs_batch_item *item = &items->items[i];
		if (!item->kept)
			continue;
		exsi_arg_drop(item->kept);
		exsi_unkeep(item->top);
		if (item->scope)
			exsi_scope_leave(item->scope);
	}
	exsi_free(items->items);
	return left;
}
