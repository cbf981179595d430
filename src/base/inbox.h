/* An inbox: any thread pushes without a lock; who empties it takes all at once, in the order in which they came (a stack after
   Treiber, turned over; nothing is popped singly, so there is no ABA). */
#ifndef EXSI_BASE_INBOX_H
#define EXSI_BASE_INBOX_H

#include "base/sync.h"

struct exsi_inbox_node {
	struct exsi_inbox_node *next;
};

/* Invariant: from top follow, by next, all that were pushed since it was last empty, the latest first. A node belongs to its pusher
   until the compare-and-swap, to the inbox until it is taken, and then to the taker. */
struct exsi_inbox {
	char before[EXSI_LINE]; /* the line is the pushers' */
	_Atomic(struct exsi_inbox_node *) top;
	char after[EXSI_LINE];
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

/* All, the oldest first, linked by next; NULL: none. Acquires what the pushers wrote. meet(node, arg), if there is one, for each before
   it is touched otherwise, the latest first. */
static inline struct exsi_inbox_node *exsi_inbox_take(struct exsi_inbox *inbox,
						      void (*meet)(struct exsi_inbox_node *node, void *arg), void *arg)
{
	struct exsi_inbox_node *node = exsi_inbox_is_empty(inbox) ? NULL : atomic_exchange(&inbox->top, NULL);
	struct exsi_inbox_node *first = NULL, *next;

	for (; node; node = next) {
		if (meet)
			meet(node, arg);
		next = node->next;
		node->next = first;
		first = node;
	}
	return first;
}

/* What somebody has met or pushed of late. What lies anywhere, written by other threads, is reached by way of a list only one after the
   other, each as slowly as all the rest of the work; so each is given word of one some steps on, to be brought near in time. The word may
   be of what is gone: it is for prefetching only. */
enum { EXSI_STEPS = 8 };

struct exsi_trail {
	const void *last[EXSI_STEPS];
	unsigned n;
};

/* Adds it; answers what was added so many steps before, or NULL. */
static inline const void *exsi_trail_add(struct exsi_trail *trail, const void *here)
{
	const void **last = &trail->last[trail->n++ % EXSI_STEPS], *before = *last;

	*last = here;
	return before;
}

#endif
