/* The pairing heap. After Fredman, Sedgewick, Sleator and Tarjan, "The pairing heap: a new form of self-adjusting heap" (1986). */
#include "base/heap.h"

#include <stddef.h>

bool exsi_heap_before(const struct exsi_heap_node *a, const struct exsi_heap_node *b)
{
	return a->key != b->key ? a->key < b->key : a->order < b->order;
}

static void put(struct exsi_heap_node **at, struct exsi_heap_node *n)
{
	*at = n;
	if (n)
		n->at = at;
}

/* Two heaps, each without siblings, into one; the greater root becomes the first child of the other. */
static struct exsi_heap_node *meld(struct exsi_heap_node *a, struct exsi_heap_node *b)
{
	if (!a || !b)
		return a ? a : b;
	if (exsi_heap_before(b, a)) {
		struct exsi_heap_node *t = a;
		a = b;
		b = t;
	}
	put(&b->next, a->child);
	put(&a->child, b);
	return a;
}

/* The children of a node that leaves, into one: pair by pair, then all pairs, the last first. */
static struct exsi_heap_node *meld_all(struct exsi_heap_node *list)
{
	struct exsi_heap_node *pairs = NULL, *all = NULL;

	while (list) {
		struct exsi_heap_node *a = list, *b = a->next;
		list = b ? b->next : NULL;
		a->next = NULL;
		if (b)
			b->next = NULL;
		a = meld(a, b);
		a->next = pairs;
		pairs = a;
	}
	while (pairs) {
		struct exsi_heap_node *a = pairs;
		pairs = a->next;
		a->next = NULL;
		all = meld(all, a);
	}
	return all;
}

void exsi_heap_add(struct exsi_heap *h, struct exsi_heap_node *n)
{
	n->child = n->next = NULL;
	put(&h->first, meld(h->first, n));
}

void exsi_heap_remove(struct exsi_heap *h, struct exsi_heap_node *n)
{
	put(n->at, n->next); /* with what was below it out of the heap */
	n->next = NULL;
	put(&h->first, meld(h->first, meld_all(n->child)));
	n->child = NULL;
}
