/* Lists: doubly linked rings through their sentinel, which is a node too. Whoever owns one guards it. */
#ifndef EXSI_BASE_LIST_H
#define EXSI_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct exsi_list {
	struct exsi_list *next, *prev; /* of a node: prev NULL once it was removed */
};

static inline void exsi_list_init(struct exsi_list *list)
{
	list->next = list->prev = list;
}

static inline bool exsi_list_is_empty(const struct exsi_list *list)
{
	return list->next == list;
}

static inline void exsi_list_append(struct exsi_list *list, struct exsi_list *node)
{
	node->next = list;
	node->prev = list->prev;
	node->prev->next = node;
	list->prev = node;
}

static inline void exsi_list_remove(struct exsi_list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	node->prev = NULL;
}

#endif
