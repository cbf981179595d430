/* The window of a stream: places that are filled, become ready, are read or dropped; what each item passes through, inline. */
#ifndef EXSI_STREAM_WINDOW_H
#define EXSI_STREAM_WINDOW_H

#include "stream/stream.h"

/* With the lock. */
static inline bool exsi_is_seen_done(const struct exsi_place *p)
{
	return p->state == EXSI_AWAITED && !p->watched && exsi_is_done(p->future);
}

/* With the lock: it has been answered, nobody has noted when. */
static inline void exsi_place_see(exs_stream *s, struct exsi_place *p)
{
	p->state = EXSI_READY;
	s->retries = 0;
	exsi_stall_moves(s);
}

static inline struct exsi_place *exsi_place_of(struct exsi_list *link)
{
	return EXSI_CONTAINER_OF(link, struct exsi_place, link);
}

/* With the lock: the one with the least number, or NULL. */
static inline struct exsi_place *exsi_place_first(const exs_stream *s)
{
	return exsi_list_is_empty(&s->window) ? NULL : exsi_place_of(s->window.next);
}

/* With the lock: what has arrived is ready now. */
void exsi_stream_receive(exs_stream *s);

/* With the lock: the next one to be read, or NULL. */
static inline struct exsi_place *exsi_place_next(exs_stream *s)
{
	if (s->arrives && !s->ready && !exsi_inbox_is_empty(&s->arrived))
		exsi_stream_receive(s);
	if (s->as_completed)
		return s->ready;
	struct exsi_place *p = exsi_place_first(s);
	return p && (p->state == EXSI_READY || exsi_is_seen_done(p)) ? p : NULL;
}

/* With the lock. Is there something to be read, an end included? */
bool exsi_stream_readable(exs_stream *s);

/* Gives the lock back, and tells those who wait. */
void exsi_stream_unlock_and_tell(exs_stream *s);
static inline void exsi_stream_unlock(exs_stream *s)
{
	if (atomic_load_explicit(&s->waited, memory_order_relaxed)) /* the lock orders it */
		exsi_stream_unlock_and_tell(s);
	else
		exsi_unlock(&s->lock);
}

/* With the lock, which it leaves for a moment: another one that is free. NULL: no memory. */
struct exsi_place *exsi_place_allocate(exs_stream *s);

/* A place with one reference, who fills it has that; counted, but not in the window. NULL: no memory. With the lock, which it may leave
   for a moment. A free one has neither future nor input. */
static inline struct exsi_place *exsi_place_new(exs_stream *s)
{
	struct exsi_place *p = s->free;

	s->count++;
	if (p)
		s->free = p->after;
	else
		p = exsi_place_allocate(s);
	if (!p) {
		s->count--;
		return NULL;
	}
	p->number = s->number;
	p->refs = 1;
	p->state = EXSI_COMING;
	return p;
}

/* With the lock: at the end of the window, COMING, with the next number. */
static inline void exsi_place_append(exs_stream *s, struct exsi_place *p)
{
	p->number = s->number++;
	p->refs++;
	exsi_list_append(&s->window, &p->link);
}

/* With the lock: it has not come into the window. */
void exsi_place_give_back(exs_stream *s, struct exsi_place *p);

/* With the lock. Answers p if it was the last reference and has something to give back: then dispose, without the lock; otherwise NULL. */
static inline struct exsi_place *exsi_place_unref(exs_stream *s, struct exsi_place *p)
{
	if (--p->refs)
		return NULL;
	if (p->future || p->input)
		return p;
	p->after = s->free;
	s->free = p;
	return NULL;
}
void exsi_place_dispose(exs_stream *s, struct exsi_place *p);

/* With the lock, which it gives back, and with a reference of p: p, COMING or dropped since, or AWAITED with its node removed, gets its
   future, a reference of which it takes over (NULL: there was no memory for one). */
void exsi_place_fill_slowly(exs_stream *s, struct exsi_place *p, exs_future *future);
static inline void exsi_place_fill(exs_stream *s, struct exsi_place *p, exs_future *future)
{
	bool done = future && exsi_is_done(future);

	if (!s->looks || !future || p->input || p->state == EXSI_DROPPED || (!done && exsi_stall_is_due(s))) {
		exsi_place_fill_slowly(s, p, future);
		return;
	}
	p->future = future;
	p->watched = false;
	p->state = done ? EXSI_READY : EXSI_AWAITED;
	p->refs--; /* the window has one */
	if (done)
		s->retries = 0;
	exsi_stall_moves(s);
	exsi_stream_unlock(s);
}

/* With the lock, which it gives back: ends the stream with the error (taken over; NULL: none) after what is in it. */
void exsi_stream_close(exs_stream *s, exs_error *error);

/* --- read --- */

/* With the lock. */
static inline void exsi_place_leave(exs_stream *s, struct exsi_place *p)
{
	if (s->looked == &p->link)
		s->looked = p->link.prev;
	exsi_list_remove(&p->link);
	s->count--;
}

/* With the lock: p is the next one. */
static inline void exsi_place_take(exs_stream *s, struct exsi_place *p, exs_item *item)
{
	if (s->as_completed)
		s->ready = p->after;
	if (p->state != EXSI_READY)
		exsi_place_see(s, p);
	exsi_place_leave(s, p);
	*item = (exs_item){p->number, p->future};
	p->future = NULL;
	exsi_place_unref(s, p);
}

/* For exsi_stream_take: with the lock, which it gives back, there is no item. The other: it was lost for want of memory. */
exs_set_status exsi_take_no_item(exs_stream *s, bool is_sink, exs_error **error);
exs_set_status exsi_took_lost(uint64_t number);

/* What can be read now: EXS_ITEM, EXS_EMPTY, EXS_FAILED (*error: the one that it ends with, borrowed; NULL: exs_last_error), or
   EXS_TIMEOUT: nothing. is_sink: for the stage above, which is told of what comes then. Runs the pump. */
static inline exs_set_status exsi_stream_take(exs_stream *s, exs_item *item, bool is_sink, exs_error **error)
{
	*error = NULL;
	exsi_lock(&s->lock);
	struct exsi_place *p = exsi_place_next(s);
	if (!p)
		return exsi_take_no_item(s, is_sink, error);
	exsi_place_take(s, p, item);
	exsi_stream_pump(s, true);
	return item->future ? EXS_ITEM : exsi_took_lost(item->number);
}

#endif
