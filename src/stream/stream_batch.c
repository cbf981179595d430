/* A stage of a stream: its items many by many. */
#include "base/memory.h"
#include "stream/window.h"

#include <string.h>

/* The pump's, which never runs twice at a time; the stream's lock guards begun and due. */
struct batch {
	size_t n;    /* items of a full one */
	uint64_t ns; /* EXSI_NEVER: time does not count */
	exs_item *items;
	size_t used, room;
	uint64_t begun; /* when the first of these came; EXSI_NEVER: there is none, or time does not count */
	bool due;	/* that was long enough ago */
};

static void free_items(exs_item *items, size_t n)
{
	for (size_t i = 0; i < n; i++)
		exs_future_unref(items[i].future);
	exsi_free(items);
}

static void items_free(void *value)
{
	exs_items *items = value;

	free_items(items->items, items->n);
	exsi_free(items);
}

/* For one more. */
static bool make_room(struct batch *b)
{
	size_t room = b->room ? 2 * b->room : 8;

	if (b->used < b->room)
		return true;
	if (room > b->n)
		room = b->n;
	exs_item *items = exsi_alloc_array(room, sizeof(*items));
	if (!items)
		return false;
	if (b->used)
		memcpy(items, b->items, b->used * sizeof(*items));
	exsi_free(b->items);
	b->items = items;
	b->room = room;
	return true;
}

/* --- its time --- */

static void note_begun(exs_stream *s, uint64_t now)
{
	struct batch *b = s->extra;

	exsi_lock(&s->lock);
	b->begun = now;
	b->due = false;
	bool begins = now != EXSI_NEVER && exsi_ticks_from_now(s);
	exsi_unlock(&s->lock);
	if (begins)
		exsi_tick_at(s, exsi_after(now, b->ns));
}

static bool is_due(exs_stream *s)
{
	struct batch *b = s->extra;

	exsi_lock(&s->lock);
	bool due = b->due;
	exsi_unlock(&s->lock);
	return due;
}

static uint64_t batch_tick(exs_stream *s, uint64_t now)
{
	struct batch *b = s->extra;
	uint64_t next = exsi_after(b->begun, b->ns);

	b->due = now >= next;
	if (b->due || next == EXSI_NEVER) {
		exsi_tick_no_more(s);
		next = EXSI_NEVER;
	}
	if (b->due)
		exsi_stream_pump(s, false);
	else
		exsi_stream_unlock(s);
	return next;
}

/* --- pulled --- */

static enum exsi_pulled flush(exs_stream *s, struct exsi_place *p)
{
	struct batch *b = s->extra;
	exs_items *items = exsi_alloc(sizeof(*items));

	if (items) {
		*items = (exs_items){b->used, b->items};
		p->future = exsi_returned(exs_ok(items, items_free));
	} else {
		free_items(b->items, b->used);
	}
	b->items = NULL;
	b->used = b->room = 0;
	note_begun(s, EXSI_NEVER);
	return EXSI_PULLED;
}

/* Is it to be handed on, though it is not full? */
static bool is_enough(exs_stream *s, exs_set_status status)
{
	struct batch *b = s->extra;

	return b->used && (status != EXS_TIMEOUT || !b->ns || is_due(s));
}

static enum exsi_pulled batch_pull(exs_stream *s, struct exsi_place *p, exs_error **error)
{
	struct batch *b = s->extra;
	exs_set_status status = EXS_TIMEOUT;
	exs_item item;
	exs_error *why;

	for (;;) {
		bool room = make_room(b);
		item.number = UINT64_MAX;
		if (room)
			status = exsi_stream_take(s->in, &item, true, &why);
		if (!room || (status == EXS_FAILED && !why && item.number == UINT64_MAX))
			return exsi_stage_no_memory(s);
		if (item.number == UINT64_MAX)
			break;
		b->items[b->used++] = item; /* without a future, if it is lost */
		if (b->used == b->n)
			return flush(s, p);
		if (b->used == 1 && b->ns && b->ns != EXSI_NEVER)
			note_begun(s, exsi_clock_ns(s->clock));
	}
	return is_enough(s, status) ? flush(s, p) : exsi_stage_end(s, status, why, error);
}

static void batch_fini(exs_stream *s)
{
	struct batch *b = s->extra;

	if (b)
		free_items(b->items, b->used);
	exsi_free(b);
}

static const struct exsi_stream_kind batch = {.pull = batch_pull, .tick = batch_tick, .fini = batch_fini};

exs_stream *exs_stream_batch_sized(exs_stream *in, size_t n, double seconds, const exs_stream_options *options,
				   size_t size)
{
	uint64_t ns = 0;
	bool known = exsi_duration(seconds, &ns);
	exs_stream *s = exsi_stage(
		in, &(struct exsi_stream_plan){.who = "exs_stream_batch",
					       .kind = &batch,
					       .options = options,
					       .size = size,
					       .max_default = 1,
					       .wrong = !n	 ? "n is 0: a batch has 1 item or more"
							: !known ? "seconds must be 0 or more, or EXS_FOREVER"
								 : NULL});

	if (!s)
		return NULL;
	struct batch *b = exsi_zalloc(sizeof(*b));
	if (!b) {
		exs_stream_free(s);
		return exsi_fail_null(EXS_ENOMEM, "exs_stream_batch: out of memory");
	}
	b->n = n;
	b->ns = ns;
	b->begun = EXSI_NEVER;
	s->extra = b;
	exsi_lock(&s->lock);
	exsi_stream_pump(s, true);
	return s;
}
