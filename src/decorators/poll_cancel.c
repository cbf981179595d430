/* Poll: cancels. The cancel function is asked about all together, as far as memory allows. */
#include "base/memory.h"
#include "decorators/poll.h"

static bool ask_one(struct exsi_poll *p, const exs_descriptor *d)
{
	exs_error *error = NULL;

	if (!p->cancel_fn)
		return true;
	bool yes = p->cancel_fn(p->ctx, d->value, &error);
	if (!error)
		return yes;
	exsi_log(EXS_LOG_ERROR, p->hand.x->name, "poll: %.128s%sthe cancel function failed: %s", d->name ? d->name : "",
		 d->name ? ": " : "", exs_error_message(error));
	exs_error_unref(error);
	return false;
}

static void ask(struct exsi_poll *p, struct exsi_descriptors *set)
{
	if (p->options.cancel_many) {
		p->options.cancel_many(p->ctx, set->list, set->n);
		return;
	}
	for (size_t i = 0; i < set->n; i++)
		set->d[i].refused = !ask_one(p, &set->d[i]);
}

/* With the token: the call leaves, unless that was refused. */
static void conclude(struct exsi_poll *p, exs_future *f, bool refused)
{
	struct exsi_poll_slot *s = exsi_slot(f, p->hand.x);
	exs_result r = exs_cancelled();

	pthread_mutex_lock(&p->hand.lock);
	if (refused && !s->held.yielded && exs_call_park_again(f, p->hand.x)) {
		pthread_mutex_unlock(&p->hand.lock);
		return;
	}
	exsi_poll_leave(p->hand.x, &s->held);
	pthread_mutex_unlock(&p->hand.lock);
	if (s->destroy)
		s->destroy(s->value);
	if (s->held.yielded && refused)
		r = s->held.outcome;
	else if (s->held.yielded)
		exs_result_clear(&s->held.outcome);
	exs_call_resume(f, p->hand.x, EXS_UP, &r);
}

void exsi_poll_ask(struct exsi_poll *p, exs_future **calls, size_t n)
{
	struct exsi_descriptors set;

	exsi_descriptors_init(&set);
	exsi_descriptors_reserve(&set, n);
	for (size_t done = 0; done < n; done += set.n) {
		for (set.n = 0; set.n < set.room && done + set.n < n;)
			exsi_descriptors_add(&set, p, calls[done + set.n]);
		ask(p, &set);
		for (size_t i = 0; i < set.n; i++)
			conclude(p, set.d[i].call, set.d[i].refused);
	}
	exsi_descriptors_fini(&set);
}

void exsi_poll_send_off(struct exsi_poll *p, exs_future **calls, size_t n)
{
	pthread_mutex_lock(&p->hand.lock);
	for (size_t i = 0; i < n; i++) {
		struct exsi_poll_slot *s = exsi_slot(calls[i], p->hand.x);
		exsi_hand_take(&s->held); /* the value stays until the thread has told the cancel function */
		exsi_calls_remove(&s->held);
		exsi_calls_append(&p->leaving, &s->held);
	}
	exsi_servant_ring(
		&p->servant); /* under the lock: after it the calls, and with them the executor, may be gone */
	pthread_mutex_unlock(&p->hand.lock);
}

/* They stay linked until each goes up, so that each() still finds them. */
void exsi_poll_see_off(struct exsi_poll *p)
{
	struct exsi_descriptors *set = &p->batch;

	pthread_mutex_lock(&p->hand.lock);
	size_t n = p->leaving.n;
	pthread_mutex_unlock(&p->hand.lock);
	exsi_descriptors_reserve(set, n);
	pthread_mutex_lock(&p->hand.lock);
	for (struct exsi_held *s = p->leaving.first; s && set->n < set->room; s = s->next)
		exsi_descriptors_add(set, p, exsi_slot_call(s, p->hand.x));
	pthread_mutex_unlock(&p->hand.lock);
	ask(p, set);
	for (size_t i = 0; i < set->n; i++)
		conclude(p, set->d[i].call, false);
	set->n = 0;
}
