/* Remote pool: items of iterators, and how many more may come. */
#include "base/lock.h"
#include "base/memory.h"
#include "process/remote.h"
#include "stream/emit.h"

enum { MAX_CREDIT = 1 << 20 };

/* lock guards credit, over and told. Invariant: what the worker may emit, and has emitted and nobody has read, is at most what the
   stream keeps. */
struct exsi_items {
	atomic_uint refs; /* the call's; the node's */
	exs_executor *x;  /* the pool's */
	struct exsi_remote *worker;
	uint64_t id;
	exs_stream *stream;
	struct exsi_lock lock;
	uint32_t credit;
	bool over;	  /* the call has ended, or is about to: after it nothing keeps the pool */
	bool told;	  /* the worker, that nobody reads any more */
	exs_future *more; /* while there is no credit, and so nothing comes: what the node is with */
	struct exsi_node node;
};

static void unref(struct exsi_items *items)
{
	if (atomic_fetch_sub(&items->refs, 1) != 1)
		return;
	exsi_stream_unref(items->stream);
	exsi_remote_unref(items->worker);
	exsi_free(items);
}

void exsi_items_end(struct exsi_items *items)
{
	if (!items)
		return;
	exsi_lock(&items->lock);
	items->over = true;
	exsi_unlock(&items->lock);
	unref(items);
}

static void give_credit(struct exsi_items *items, uint32_t credit)
{
	unsigned char number[4];
	struct exsi_writer w = {.data = number, .room = sizeof(number)};

	exsi_put_u32(&w, credit);
	items->worker->pool->transport->send(items->worker, true, EXSI_FRAME_CREDIT, items->id, w.data, w.size, NULL);
}

/* Takes over `more`. false: it was done already, so look anew. */
static bool wait_for_room(struct exsi_items *items, exs_future *more)
{
	atomic_fetch_add(&items->refs, 1);
	items->more = more;
	if (exsi_node_add(more, &items->node))
		return true;
	exs_future_unref(more);
	unref(items);
	return false;
}

static void replenish(struct exsi_items *items)
{
	for (;;) {
		bool closed = false;
		size_t room = 0;
		exs_future *more = exsi_stream_room(items->stream, &room, &closed);
		exsi_lock(&items->lock);
		/* Without memory to wait for room: one that there may be no room for, rather than none for ever. */
		room = !more && !closed ? (size_t)items->credit + 1 : room < MAX_CREDIT ? room : MAX_CREDIT;
		uint32_t give = room > items->credit ? (uint32_t)room - items->credit : 0;
		/* Not for each item read: only when less than half of what it may is left to it. */
		if (give <= items->credit)
			give = 0;
		bool arm = !give && !closed && !items->credit;
		items->credit += give;
		bool tell = closed && !items->told;
		items->told = items->told || closed;
		exsi_unlock(&items->lock);
		if (arm && !wait_for_room(items, more))
			continue;
		if (!arm)
			exs_future_unref(more);
		if (tell || (give && !closed))
			give_credit(items, tell ? 0 : give);
		return;
	}
}

/* Somebody has read, or nobody will; on that thread. */
static void has_room(exs_future *f, struct exsi_node *node)
{
	struct exsi_items *items = EXSI_CONTAINER_OF(node, struct exsi_items, node);
	exs_executor *x = items->x;
	exs_future *more = items->more;

	(void)f;
	exsi_lock(&items->lock);
	bool over = items->over;
	if (!over)
		exsi_keep(x);
	exsi_unlock(&items->lock);
	exs_future_unref(more);
	if (!over) {
		replenish(items);
		exsi_unkeep(x);
	}
	unref(items);
}

struct exsi_items *exsi_items_new(struct exsi_remote *w, uint64_t id, exs_stream *s, uint32_t *credit)
{
	struct exsi_items *items = exsi_zalloc(sizeof(*items));
	bool closed;
	size_t room; /* less than the stream keeps, if there are items of an attempt before */

	if (!items)
		return NULL;
	exs_future_unref(exsi_stream_room(s, &room, &closed));
	atomic_init(&items->refs, 1);
	atomic_fetch_add(&w->refs, 1);
	exsi_stream_ref(s);
	items->x = w->pool->x;
	items->worker = w;
	items->id = id;
	items->stream = s;
	items->node = (struct exsi_node){.fn = has_room, .kind = EXSI_CONTINUATION};
	items->credit = room < MAX_CREDIT ? (uint32_t)room : MAX_CREDIT;
	*credit = items->credit;
	if (!items->credit)
		replenish(items);
	return items;
}

const char *exsi_items_put(struct exsi_items *items, exs_result r)
{
	exsi_lock(&items->lock);
	bool may = items->credit > 0;
	items->credit -= may;
	exsi_unlock(&items->lock);
	if (!may) {
		exs_result_clear(&r);
		return "more items than it may emit for now";
	}
	if (exsi_emit_beyond(items->stream, r) == EXS_ENOMEM)
		return "there was no memory here for an item";
	replenish(items);
	return NULL;
}
