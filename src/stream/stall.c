/* A stream in which nothing happens: what is awaited is taken for lost, and begun again. */
#include "stream/stream.h"

/* --- one after the other: each belongs to whom its node was removed by --- */

static exs_result lost(const exs_stream *s, const struct exsi_place *p)
{
	exs_error *error =
		exs_error_new(&exs_domain_exs, EXS_ETIMEDOUT, "item %llu: no answer within %gs, begun %u times",
			      (unsigned long long)p->number, (double)s->timeout / 1e9, s->max_retries + 1);

	if (exs_error_code(error) == EXS_ETIMEDOUT)
		return exs_fail(error);
	return exs_fail(exsi_error(EXS_ETIMEDOUT)); /* no memory for the words */
}

/* p has a reference of its own, and its future one of exsi_hold, which are dropped. */
static void replace(exs_stream *s, struct exsi_place *p, bool again)
{
	exs_future *old = p->suspect;

	if (exsi_node_remove(old, &p->node)) {
		exs_future *f = again ? exsi_item_begin_again(s, p) : exsi_returned(lost(s, p));
		uint64_t now = exsi_stall_now(s, f && !exs_future_is_done(f));
		exsi_lock(&s->lock);
		bool last = !--s->nodes;
		if (p->state == EXSI_DROPPED) /* the place keeps it */
			exs_future_ref(old);
		exsi_place_fill(s, p, f, again ? now : EXSI_NEVER);
		exsi_cancel(old, EXSI_STOP_ALL, EXS_CAUSE_TIMEOUT);
		exs_future_unref(old);
		if (last)
			exsi_stream_unref(s);
	}
	exsi_drop(old);
	exsi_lock(&s->lock);
	p = exsi_place_unref(s, p);
	exsi_unlock(&s->lock);
	exsi_place_dispose(s, p);
}

/* With the lock: all that are awaited, by lost, with a reference of each and of its future: who reads it may be the first. */
static struct exsi_place *collect(exs_stream *s)
{
	struct exsi_place *first = NULL, **to = &first;

	for (struct exsi_list *link = s->window.next; link != &s->window; link = link->next) {
		struct exsi_place *p = EXSI_CONTAINER_OF(link, struct exsi_place, link);
		if (p->state != EXSI_AWAITED)
			continue;
		p->refs++;
		p->suspect = p->future;
		exsi_hold(p->suspect);
		*to = p;
		to = &p->lost;
	}
	*to = NULL;
	return first;
}

uint64_t exsi_stall_tick(exs_stream *s, uint64_t now)
{
	struct exsi_place *p = NULL, *next_lost;
	uint64_t due = exsi_after(s->since, s->timeout), next = s->awaited ? due : EXSI_NEVER;
	bool again = false;

	if (s->awaited && now >= due) {
		again = s->max_retries == EXS_UNLIMITED || s->retries < s->max_retries;
		s->retries += again && s->max_retries != EXS_UNLIMITED;
		s->since = now;
		p = collect(s);
		next = exsi_after(now, s->timeout);
	}
	if (next == EXSI_NEVER)
		exsi_tick_no_more(s);
	exsi_stream_unlock(s);
	for (; p; p = next_lost) {
		next_lost = p->lost;
		replace(s, p, again);
	}
	return next;
}
