/* A stream in which nothing happens: what is awaited is taken for lost, and begun again. */
#include "stream/window.h"

/* Nobody is told when an item that is not watched answers: so from time to time somebody looks. */
static uint64_t step(const exs_stream *s)
{
	return s->timeout / 8 + 1;
}

/* Only who has set it ticking is here, and then the timer. */
void exsi_stall_begin(exs_stream *s)
{
	exsi_tick_at(s, exsi_after(exsi_clock_ns(s->clock), step(s)));
}

/* --- one after the other: each was taken out of the hands of who completes it, and of who reads --- */

static exs_result lost(const exs_stream *s, const struct exsi_place *p)
{
	exs_error *error =
		exs_error_new(&exs_domain_exs, EXS_ETIMEDOUT, "item %llu: no answer within %gs, begun %u times",
			      (unsigned long long)p->number, (double)s->timeout / 1e9, s->max_retries + 1);

	if (exs_error_code(error) == EXS_ETIMEDOUT)
		return exs_fail(error);
	return exs_fail(exsi_error(EXS_ETIMEDOUT)); /* no memory for the words */
}

/* What p gets instead of old; or that, which has been answered since. */
static exs_future *instead(exs_stream *s, struct exsi_place *p, exs_future *old, bool again)
{
	if (exsi_is_done(old))
		return old;
	return again ? exsi_item_begin_again(s, p) : exsi_returned(lost(s, p));
}

/* p has a reference of its own, and its future one of exsi_hold, which are dropped. */
static void replace(exs_stream *s, struct exsi_place *p, bool again)
{
	exs_future *old = p->suspect;

	if (!p->watched || exsi_node_remove(old, &p->node)) {
		exs_future *f = instead(s, p, old, again);
		exsi_lock(&s->lock);
		bool last = p->watched && !--s->nodes;
		if (p->state == EXSI_DROPPED) /* the place keeps it */
			exs_future_ref(old);
		exsi_place_fill(s, p, f);
		if (f != old) {
			exsi_cancel(old, EXSI_STOP_ALL, EXS_CAUSE_TIMEOUT);
			exs_future_unref(old);
		}
		if (last)
			exsi_stream_unref(s);
	}
	exsi_drop(old);
	exsi_lock(&s->lock);
	p = exsi_place_unref(s, p);
	exsi_unlock(&s->lock);
	exsi_place_dispose(s, p);
}

/* With the lock: all that are awaited, by lost, with a reference of each and of its future: who reads it may be the first. One that is not
   watched is not AWAITED any more, and has the reference of who fills it. */
static struct exsi_place *collect(exs_stream *s)
{
	struct exsi_place *first = NULL, **to = &first;

	for (struct exsi_list *link = s->window.next; link != &s->window; link = link->next) {
		struct exsi_place *p = exsi_place_of(link);
		if (p->state != EXSI_AWAITED)
			continue;
		p->suspect = p->future;
		p->refs += p->watched ? 1 : 2;
		if (!p->watched)
			p->state = EXSI_COMING;
		exsi_hold(p->suspect);
		*to = p;
		to = &p->lost;
	}
	*to = NULL;
	return first;
}

/* With the lock: is something awaited? Sees what has been answered. */
static bool look_around(exs_stream *s)
{
	bool awaits = false;

	if (s->arrives) /* also behind what is ready */
		exsi_stream_receive(s);
	for (struct exsi_list *link = s->window.next; link != &s->window; link = link->next) {
		struct exsi_place *p = exsi_place_of(link);
		if (exsi_is_seen_done(p))
			exsi_place_see(s, p);
		awaits = awaits || p->state == EXSI_AWAITED;
	}
	return awaits;
}

/* As nothing has moved for so long. Without the lock. */
static void replace_all(exs_stream *s, struct exsi_place *p, bool again)
{
	struct exsi_place *next_lost;

	for (; p; p = next_lost) {
		next_lost = p->lost;
		replace(s, p, again);
	}
}

/* With the lock: all that are awaited, if that has been so for long enough, or NULL. again: they are to be begun again. */
static struct exsi_place *give_up(exs_stream *s, uint64_t now, bool *again)
{
	*again = s->max_retries == EXS_UNLIMITED || s->retries < s->max_retries;
	if (now < exsi_after(s->since, s->timeout))
		return NULL;
	s->retries += *again && s->max_retries != EXS_UNLIMITED;
	s->since = now;
	return collect(s);
}

/* Where something moves it need not look for more. */
uint64_t exsi_stall_tick(exs_stream *s, uint64_t now)
{
	bool again = false, awaits = s->moved || look_around(s);

	if (s->moved)
		s->since = now;
	s->moved = false;
	struct exsi_place *lost = awaits ? give_up(s, now, &again) : NULL;
	uint64_t next = exsi_after(now, step(s)), due = exsi_after(s->since, s->timeout);
	if (!awaits)
		exsi_tick_no_more(s);
	exsi_stream_unlock(s);
	replace_all(s, lost, again);
	if (!awaits)
		return EXSI_NEVER;
	return next < due ? next : due;
}
