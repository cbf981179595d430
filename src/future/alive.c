/* The futures alive: a list of those made while it is kept and not done, for exs_dump_alive. */
#include "base/list.h"
#include "base/lock.h"
#include "base/memory.h"
#include "future/future.h"

#include <executors/dump.h>

atomic_uint exsi_watching;

void exsi_watch_on(unsigned what, bool on)
{
	if (on)
		atomic_fetch_or(&exsi_watching, what);
	else
		atomic_fetch_and(&exsi_watching, ~what);
}

/* In the list from the making of its future until the future is done, which tells the node before it drops its reference: so under the lock
   the future of any in it is there. With future NULL: how far somebody has read. */
struct alive {
	struct exsi_node node;
	struct exsi_list link;
	struct stripe *stripe;
	exs_future *future;
	uint64_t made;
};

/* lock guards the list and what is in it. first.next NULL: it has not been used. */
static struct stripe {
	_Alignas(EXSI_LINE) struct exsi_lock lock;
	struct exsi_list list;
} stripes[EXSI_STRIPES];

static atomic_size_t unlisted; /* that are not done */

void exs_alive_enable(bool on)
{
	exsi_watch_on(EXSI_WATCH_ALIVE, on);
}

static void insert(struct alive *a)
{
	exsi_lock(&a->stripe->lock);
	if (!a->stripe->list.next)
		exsi_list_init(&a->stripe->list);
	exsi_list_append(&a->stripe->list, &a->link);
	exsi_unlock(&a->stripe->lock);
}

static void take_out(struct alive *a)
{
	exsi_lock(&a->stripe->lock);
	exsi_list_remove(&a->link);
	exsi_unlock(&a->stripe->lock);
}

static void over(exs_future *f, struct exsi_node *node)
{
	struct alive *a = EXSI_CONTAINER_OF(node, struct alive, node);

	(void)f;
	if (exsi_forked()) /* the lock may be anybody's */
		return;
	take_out(a);
	exsi_free(a);
}

void exsi_alive_add(exs_future *f)
{
	if (exsi_forked())
		return;
	struct alive *a = exsi_alloc(sizeof(*a));

	if (!a) {
		atomic_fetch_add(&unlisted, 1);
		return;
	}
	*a = (struct alive){.node = {.fn = over, .kind = EXSI_WATCHER}, .stripe = &stripes[exsi_stripe()], .future = f};
	a->made = exsi_thread_now();
	insert(a);
	if (!exsi_node_add(f, &a->node))
		over(f, &a->node);
}

typedef void look_fn(exs_future *f, struct exsi_seen *seen);
typedef void visit_fn(struct exsi_seen *seen, void *arg);

/* Looks at the next one after the mark and before the end, and moves the mark behind it. false: there is none. */
static bool read_next(struct alive *mark, const struct alive *end, struct exsi_seen *seen, look_fn *look)
{
	struct alive *a = mark;

	exsi_lock(&mark->stripe->lock);
	do
		a = EXSI_CONTAINER_OF(a->link.next, struct alive, link);
	while (a != end && !a->future);
	bool found = a != end;
	exsi_list_remove(&mark->link);
	exsi_list_append(found ? a->link.next : &a->link, &mark->link); /* before that */
	if (found) {
		uint64_t now = exsi_thread_now();
		*seen = (struct exsi_seen){.age = now > a->made ? (double)(now - a->made) / 1e9 : 0};
		look(a->future, seen);
	}
	exsi_unlock(&mark->stripe->lock);
	return found;
}

static void read_stripe(struct stripe *s, look_fn *look, visit_fn *visit, void *arg)
{
	struct alive mark = {.stripe = s}, end = {.stripe = s};
	struct exsi_seen seen;

	insert(&end); /* what comes after it is not read: so this ends */
	exsi_lock(&s->lock);
	exsi_list_append(s->list.next, &mark.link); /* before the first */
	exsi_unlock(&s->lock);
	while (read_next(&mark, &end, &seen, look))
		visit(&seen, arg);
	take_out(&mark);
	take_out(&end);
}

size_t exsi_alive_each(look_fn *look, visit_fn *visit, void *arg)
{
	for (int i = 0; i < EXSI_STRIPES; i++)
		read_stripe(&stripes[i], look, visit, arg);
	return atomic_load(&unlisted);
}
