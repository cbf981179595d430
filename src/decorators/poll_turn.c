/* Poll: what its thread does, and when. */
#include "base/memory.h"
#include "decorators/poll.h"
#include "executor/watch.h"

/* --- the batch --- */

/* All that are pending, oldest first. */
static void gather(struct exsi_poll *p)
{
	struct exsi_descriptors *set = &p->batch;

	pthread_mutex_lock(&p->hand.lock);
	size_t n = p->pending.n; /* who joins after this says so once more */
	pthread_mutex_unlock(&p->hand.lock);
	if (!exsi_descriptors_reserve(set, n > set->room ? 2 * n : n))
		exsi_log(EXS_LOG_ERROR, p->hand.x->name,
			 "poll: out of memory: only the oldest %zu of %zu are asked for", set->room, n);
	pthread_mutex_lock(&p->hand.lock);
	for (struct exsi_held *s = p->pending.first; s && set->n < set->room; s = s->next) {
		exs_descriptor *d = exsi_descriptors_add(set, p, exsi_slot_call(s, p->hand.x));
		exsi_hand_give(&p->hand, s, &d->item);
		exsi_hold(d->root);
		d->scope = exsi_scope(d->root);
		if (d->scope)
			exsi_scope_enter(d->scope);
	}
	pthread_mutex_unlock(&p->hand.lock);
}

/* Closes the batch for further yields; with an error, fails those that are still in it. The lock is given back for each: others
   may be about to join. */
static void scatter(struct exsi_poll *p, exs_error *error)
{
	struct exsi_descriptors *set = &p->batch;

	for (size_t i = 0; i < set->n; i++) {
		exs_descriptor *d = &set->d[i];
		if (error)
			exs_yield_error(d, exs_error_ref(error));
		pthread_mutex_lock(&p->hand.lock);
		if (d->item.held)
			exsi_hand_take(d->item.held);
		pthread_mutex_unlock(&p->hand.lock);
		if (d->destroy)
			d->destroy(d->value);
		exsi_drop(d->root);
		if (d->scope)
			exsi_scope_leave(d->scope);
		d->scope = NULL;
	}
	set->n = 0;
	exs_error_unref(error);
}

/* --- when --- */

static double interval(struct exsi_poll *p)
{
	const exs_poll_options *o = &p->options;
	double cap = o->interval, age = 0;

	if (!(o->first_interval > 0))
		return cap;
	uint64_t now = exsi_clock_ns(p->hand.x->clock);
	pthread_mutex_lock(&p->hand.lock);
	if (p->pending.n)
		age = (double)(now - ((struct exsi_poll_slot *)(void *)p->pending.last)->joined) / 1e9;
	pthread_mutex_unlock(&p->hand.lock);
	double d = age / 2 > o->first_interval ? age / 2 : o->first_interval;
	return d < cap ? d : cap;
}

static void plan_next(struct exsi_poll *p, double delay)
{
	uint64_t ns;

	pthread_mutex_lock(&p->hand.lock);
	bool idle = !p->pending.n && !p->options.poll_empty; /* whoever joins says so */
	pthread_mutex_unlock(&p->hand.lock);
	if (!exsi_duration(delay, &ns)) {
		exsi_log(EXS_LOG_ERROR, p->hand.x->name, "poll: a delay of %g seconds: the interval is taken instead",
			 delay);
		exsi_duration(interval(p), &ns);
	}
	if (ns == 0 || !idle)
		exsi_servant_call_after(&p->servant, ns);
}

static void poll(struct exsi_poll *p)
{
	exsi_servant_come(&p->servant);
	gather(p);
	double delay = interval(p);
	uint64_t begun = exsi_watch_poll_begins(p->hand.x);
	exs_error *error = p->poll_fn(p->ctx, p->batch.list, p->batch.n, &delay);
	bool failed = error;
	exsi_watch_poll_ends(p->hand.x, begun, p->batch.n, failed);
	if (failed)
		exsi_log(EXS_LOG_WARNING, p->hand.x->name, "poll: %s", exs_error_message(error));
	scatter(p, error);
	plan_next(p, failed ? interval(p) : delay);
}

/* --- the thread --- */

static bool ready(exs_executor *x)
{
	struct exsi_poll *p = exsi_state(x);

	pthread_mutex_lock(&p->hand.lock);
	bool some = p->leaving.n || (atomic_load(&p->servant.due) && (p->pending.n || p->options.poll_empty));
	pthread_mutex_unlock(&p->hand.lock);
	return some;
}

static void turn(exs_executor *x)
{
	struct exsi_poll *p = exsi_state(x);

	pthread_mutex_lock(&p->hand.lock);
	bool some_leave = p->leaving.n;
	pthread_mutex_unlock(&p->hand.lock);
	if (some_leave)
		exsi_poll_see_off(p);
	else
		poll(p);
}

struct search {
	const void *scope;
	bool found;
};

static void look(exs_future *f, void *search)
{
	struct search *s = search;

	s->found = s->found || exsi_scope_of(f) == s->scope;
}

static bool holds(exs_executor *x, const void *scope)
{
	struct exsi_poll *p = exsi_state(x);
	struct search s = {.scope = scope};

	x->ops.each(x, look, &s);
	for (size_t i = 0; i < p->batch.n && !s.found; i++)
		s.found = p->batch.d[i].scope == scope;
	return s.found;
}

const struct exsi_servant_ops exsi_poll_servant = {
	.name = "poll",
	.ready = ready,
	.turn = turn,
	.holds = holds,
};
