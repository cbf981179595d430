/* A pairing heap of nodes that lie in what they order: no allocation, O(1) to add, O(log n) amortised to remove any. */
#ifndef EXSI_BASE_HEAP_H
#define EXSI_BASE_HEAP_H

#include <stdbool.h>
#include <stdint.h>

/* Least first: by key, then by order. */
struct exsi_heap_node {
	uint64_t key, order;
	struct exsi_heap_node *child, *next; /* first child; next child of the same parent */
	struct exsi_heap_node **at;	     /* what points to it */
};

struct exsi_heap {
	struct exsi_heap_node *first; /* the least, or NULL */
};

bool exsi_heap_before(const struct exsi_heap_node *a, const struct exsi_heap_node *b);
void exsi_heap_add(struct exsi_heap *h, struct exsi_heap_node *n);
void exsi_heap_remove(struct exsi_heap *h, struct exsi_heap_node *n);

#endif
