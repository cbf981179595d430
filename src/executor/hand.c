/* Calls in hand: yields, and the lists that they are in. */
#include "executor/hand.h"

void exsi_hand_init(struct exsi_hand *hand, exs_executor *x, void (*leave)(exs_executor *x, struct exsi_held *held))
{
	hand->x = x;
	hand->leave = leave;
	pthread_mutex_init(&hand->lock, NULL);
}

void exsi_hand_fini(struct exsi_hand *hand)
{
	pthread_mutex_destroy(&hand->lock);
}

void exsi_calls_each(const struct exsi_calls *calls, exs_executor *x, exs_visit_fn *visit, void *arg)
{
	for (struct exsi_held *held = calls->first; held; held = held->next)
		visit(exsi_slot_call(held, x), arg);
}

exs_future *exsi_hand_settle(struct exsi_hand *hand, struct exsi_held *held, exs_result r)
{
	exs_future *f = exsi_slot_call(held, hand->x);

	if (exs_call_claim(f)) {
		hand->leave(hand->x, held);
		return f;
	}
	held->yielded = true; /* a canceller was faster: its hook finds this once it has the lock */
	held->outcome = r;
	return NULL;
}

exs_future *exsi_hand_yield(struct exsi_item *item, exs_result r, bool *counts)
{
	struct exsi_hand *hand = item ? item->hand : NULL;
	exs_future *f = NULL;

	*counts = false;
	if (hand) {
		pthread_mutex_lock(&hand->lock);
		struct exsi_held *held = item->held;
		*counts = held && !held->yielded;
		if (*counts)
			f = exsi_hand_settle(hand, held, r);
		pthread_mutex_unlock(&hand->lock);
	}
	if (!*counts)
		exs_result_clear(&r);
	return f;
}
