/* Calls in the hand of a user's function, which yields each its outcome, on any thread, while others cancel them. For layers: the
   state begins with a struct exsi_hand, the slot with a struct exsi_held, and what the function sees of a call with a struct
   exsi_item. */
#ifndef EXSI_EXECUTOR_HAND_H
#define EXSI_EXECUTOR_HAND_H

#include "executor/executor.h"

struct exsi_held;

/* lock guards the lists, the slots of the calls in them and their items, and what else the layer says. */
struct exsi_hand {
	exs_executor *x;
	pthread_mutex_t lock;
	/* Under the lock, with the token: the call goes up with what was yielded. The hook takes it out. */
	void (*leave)(exs_executor *x, struct exsi_held *held);
};

/* A list of calls, in their order; empty if zeroed. */
struct exsi_calls {
	struct exsi_held *first, *last;
	size_t n;
};

/* In a list while it is parked here, or a canceller has it whose hook has yet to decide. */
struct exsi_held {
	struct exsi_held *next, *prev;
	struct exsi_calls *in;	/* NULL: in none */
	struct exsi_item *item; /* as the function has it; NULL: it has not, or no more */
	bool yielded;		/* while a canceller was at work */
	exs_result outcome;	/* if yielded */
};

struct exsi_item {
	struct exsi_hand *hand;
	struct exsi_held *held; /* NULL: not in hand: what is yielded is ignored */
};

void exsi_hand_init(struct exsi_hand *hand, exs_executor *x, void (*leave)(exs_executor *x, struct exsi_held *held));
void exsi_hand_fini(struct exsi_hand *hand);

/* --- under the lock --- */

static inline void exsi_calls_append(struct exsi_calls *calls, struct exsi_held *held)
{
	held->in = calls;
	held->next = NULL;
	held->prev = calls->last;
	*(held->prev ? &held->prev->next : &calls->first) = held;
	calls->last = held;
	calls->n++;
}

static inline void exsi_calls_remove(struct exsi_held *held)
{
	struct exsi_calls *calls = held->in;

	*(held->prev ? &held->prev->next : &calls->first) = held->next;
	*(held->next ? &held->next->prev : &calls->last) = held->prev;
	held->in = NULL;
	calls->n--;
}

void exsi_calls_each(const struct exsi_calls *calls, exs_executor *x, exs_visit_fn *visit, void *arg);

/* Into the hand of the function; and out of it, if it is there. */
static inline void exsi_hand_give(struct exsi_hand *hand, struct exsi_held *held, struct exsi_item *item)
{
	*item = (struct exsi_item){.hand = hand, .held = held};
	held->item = item;
}

static inline void exsi_hand_take(struct exsi_held *held)
{
	if (held->item)
		held->item->held = NULL;
	held->item = NULL;
}

/* The outcome of a call that has none yet, in hand or not. Answers the call if it is to be sent up with r now, by the caller, who has
   its token. */
exs_future *exsi_hand_settle(struct exsi_hand *hand, struct exsi_held *held, exs_result r);

/* --- without it --- */

/* The function yields r (taken over) to item, which may be NULL; as settle. *counts: it is the outcome, unless a canceller that is at work decides otherwise. */
exs_future *exsi_hand_yield(struct exsi_item *item, exs_result r, bool *counts);

#endif
