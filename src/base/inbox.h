/* An inbox: any thread pushes without a lock; who empties it takes all at once, in the order in which they came (a stack after
   Treiber, turned over; nothing is popped singly, so there is no ABA). */
#ifndef EXSI_BASE_INBOX_H
#define EXSI_BASE_INBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct exsi_inbox_node {
	struct exsi_inbox_node *next;
};

/* Invariant: from top follow, by next, all that were pushed since it was last empty, the latest first. A node belongs to its pusher
   until the compare-and-swap, to the inbox until it is taken, and then to the taker. */
struct exsi_inbox {
	char before[64]; /* the line is the pushers' */
	_Atomic(struct exsi_inbox_node *) top;
	char after[64];
};

/* Sequentially consistent: who says first that it will be sleeping, and then finds it empty, is seen by who pushes next. */
static inline bool exsi_inbox_is_empty(struct exsi_inbox *inbox)
{
	return !atomic_load(&inbox->top);
}

/* What a push is to expect. */
static inline struct exsi_inbox_node *exsi_inbox_top(struct exsi_inbox *inbox)
{
	return atomic_load_explicit(&inbox->top, memory_order_relaxed);
}

/* Pushes onto *top; false: *top was not the top any more, and is now. Sequentially consistent, as the look of the sleeper is. */
static inline bool exsi_inbox_push(struct exsi_inbox *inbox, struct exsi_inbox_node **top, struct exsi_inbox_node *node)
{
	node->next = *top;
	return atomic_compare_exchange_weak(&inbox->top, top, node);
}

/* All, the latest first, linked by next; NULL: none. Acquires what the pushers wrote. */
static inline struct exsi_inbox_node *exsi_inbox_take_stack(struct exsi_inbox *inbox)
{
	return exsi_inbox_is_empty(inbox) ? NULL : atomic_exchange(&inbox->top, NULL);
}

/* All, the oldest first. meet(node, arg), if there is one, for each before it is touched otherwise, the latest first. */
static inline struct exsi_inbox_node *exsi_inbox_take(struct exsi_inbox *inbox,
						      void (*meet)(struct exsi_inbox_node *node, void *arg), void *arg)
{
	struct exsi_inbox_node *node = exsi_inbox_take_stack(inbox), *first = NULL, *next;

	for (; node; node = next) {
		if (meet)
			meet(node, arg);
		next = node->next;
		node->next = first;
		first = node;
	}
	return first;
}

#endif
