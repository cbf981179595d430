/* The inbox: pushers and takers that are late at any step (delay.h), and one that parks and is woken at every push. */
#include "base/inbox.h"
#include "base/sync.h"
#include "harness.h"

#include <limits.h>
#include <pthread.h>
#include <stdlib.h>

enum { PUSHERS = 3 };

struct letter {
	struct exsi_inbox_node node;
	int from;
	size_t number;
};

struct post {
	struct exsi_inbox inbox;
	atomic_uint sleeps; /* the reader's: 1 from before its last look to its waking */
	atomic_int next;
	size_t each;
};

static bool push(struct post *p, struct exsi_inbox_node *node)
{
	struct exsi_inbox_node *top = exsi_inbox_top(&p->inbox);

	while (!exsi_inbox_push(&p->inbox, &top, node))
		;
	return !top;
}

static void *push_all(void *arg)
{
	struct post *p = arg;
	int me = atomic_fetch_add(&p->next, 1);

	for (size_t i = 0; i < p->each; i++) {
		struct letter *l = malloc(sizeof(*l));
		*l = (struct letter){.from = me, .number = i};
		if (push(p, &l->node) && atomic_exchange(&p->sleeps, 0))
			exsi_unpark(&p->sleeps, INT_MAX);
	}
	return NULL;
}

/* With a push for each sleep, a wake that is lost is a hang. */
static void sleep_for_more(struct post *p)
{
	atomic_store(&p->sleeps, 1);
	while (exsi_inbox_is_empty(&p->inbox) && atomic_load(&p->sleeps))
		exsi_park(&p->sleeps, 1, EXSI_NEVER);
	atomic_store(&p->sleeps, 0);
}

TEST(inbox, each_pusher_in_order_and_no_wake_is_lost)
{
	struct post p = {.each = harness_rounds(3000)};
	pthread_t threads[PUSHERS];
	size_t seen[PUSHERS] = {0};

	for (int i = 0; i < PUSHERS; i++)
		CHECK(!pthread_create(&threads[i], NULL, push_all, &p));
	for (size_t n = 0; n < PUSHERS * p.each;) {
		struct exsi_inbox_node *node = exsi_inbox_take(&p.inbox, NULL, NULL), *next;
		if (!node)
			sleep_for_more(&p);
		for (; node; node = next, n++) {
			struct letter *l = EXSI_CONTAINER_OF(node, struct letter, node);
			next = node->next;
			CHECK_INT(l->number, seen[l->from]++);
			free(l);
		}
	}
	CHECK(exsi_inbox_is_empty(&p.inbox));
	for (int i = 0; i < PUSHERS; i++)
		pthread_join(threads[i], NULL);
}
