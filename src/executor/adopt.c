/* Adoption: a call goes on with the outcome of another future. */
#include "executor/adopt.h"

void exsi_adopter_init(struct exsi_adopter *a, exs_executor *x)
{
	a->x = x;
	a->first = NULL;
	pthread_mutex_init(&a->lock, NULL);
}

void exsi_adopter_fini(struct exsi_adopter *a)
{
	pthread_mutex_destroy(&a->lock);
}

/* --- under the lock --- */

static void list(struct exsi_adopter *a, struct exsi_adoption *s, exs_future *inner)
{
	s->inner = inner;
	s->done = false;
	s->next = a->first;
	s->pprev = &a->first;
	if (s->next)
		s->next->pprev = &s->next;
	a->first = s;
}

static exs_future *unlist(struct exsi_adoption *s)
{
	exs_future *inner = s->inner;

	*s->pprev = s->next;
	if (s->next)
		s->next->pprev = s->pprev;
	s->inner = NULL;
	return inner;
}

/* --- without it --- */

static exs_result shared_value(const exs_executor *x)
{
	return exs_fail(
		exs_error_new(&exs_domain_exs, EXS_EBUSY,
			      "%s: the value of the future has a destructor, so it must belong to the call alone: "
			      "drop all other references to the future before it is done",
			      x->ops.type));
}

/* What inner was completed with is the call's from now on. */
static exs_result outcome_of(exs_executor *x, exs_future *f, exs_future *inner)
{
	exs_result r = exs_future_result(inner);

	if (r.kind == EXS_KIND_ERROR)
		exs_error_ref(r.error);
	else if (r.kind == EXS_KIND_CANCELLED)
		exsi_note_cause(f, exs_future_cause(inner));
	else if (r.destroy && exs_future_take(inner, &r))
		r = shared_value(x);
	exs_future_unref(inner);
	return r;
}

/* The inner future is done. Who has the token of the call at this moment looks at `done` before parking it; if nobody has, the call
   is parked, and taken up here. */
static void inner_done(exs_future *inner, struct exsi_node *node)
{
	struct exsi_adoption *s = EXSI_CONTAINER_OF(node, struct exsi_adoption, node);
	struct exsi_adopter *a = s->adopter;
	exs_executor *x = a->x;
	exs_future *f = exsi_slot_call(s, x);

	pthread_mutex_lock(&a->lock);
	bool mine = exs_call_claim(f);
	if (mine)
		unlist(s);
	s->done = true;
	pthread_mutex_unlock(&a->lock);
	if (!mine)
		return; /* a, f and s may be gone */
	s->outcome = outcome_of(x, f, inner);
	exs_call_release(f, x, EXS_UP, &s->outcome, &s->link);
}

/* With the token: up, or parked. cause: of a stop that the cancel hook passes on, or none; one may have come since. */
static exs_step go_on(struct exsi_adopter *a, exs_future *f, struct exsi_adoption *s, exs_cause cause, exs_result *r)
{
	bool in_cancel = cause != EXS_CAUSE_NONE;
	exs_future *done = NULL, *tell = NULL;

	pthread_mutex_lock(&a->lock);
	if (s->done) {
		done = unlist(s);
	} else if (in_cancel || !exs_call_park(f, a->x)) {
		tell = s->inner;
		exsi_hold(tell);
		cause = exsi_call_park_told(f, a->x, in_cancel ? cause : exs_future_cause(f));
	}
	pthread_mutex_unlock(&a->lock);
	if (done) {
		*r = outcome_of(a->x, f, done);
		return EXS_UP;
	}
	if (tell && in_cancel) {
		exsi_cancel_next(tell, cause);
	} else if (tell) {
		exsi_cancel(tell, EXSI_STOP_ALL, cause);
		exsi_drop(tell);
	}
	return EXS_HELD;
}

static exs_step adopts_itself(exs_executor *x, exs_future *inner, exs_result *r)
{
	exs_future_unref(inner);
	*r = exs_fail(exs_error_new(&exs_domain_exs, EXS_EDEADLK,
				    "%s: the function answered the future of its own call, which would wait for itself",
				    x->ops.type));
	return EXS_UP;
}

/* A thread that waits for f can run what does its work from now on. */
static exs_step go_on_first(struct exsi_adopter *a, exs_future *f, struct exsi_adoption *s, exs_result *r)
{
	exs_future *inner = s->inner;

	exsi_hold(inner);
	exs_step step = go_on(a, f, s, EXS_CAUSE_NONE, r);
	if (step == EXS_HELD)
		exsi_news_of(inner);
	exsi_drop(inner);
	return step;
}

exs_step exsi_adopt(exs_executor *x, exs_future *f, struct exsi_adoption *s, exs_future *inner, exs_result *r)
{
	struct exsi_adopter *a = exsi_state(x);

	if (inner == exsi_root(f))
		return adopts_itself(x, inner, r);
	if (exs_future_is_done(inner)) {
		*r = outcome_of(x, f, inner);
		return EXS_UP;
	}
	s->adopter = a;
	s->node = (struct exsi_node){.fn = inner_done, .kind = EXSI_CONTINUATION};
	pthread_mutex_lock(&a->lock);
	list(a, s, inner);
	pthread_mutex_unlock(&a->lock);
	if (!exsi_node_add(inner, &s->node))
		s->done = true; /* by nobody else: the node will not be called */
	return go_on_first(a, f, s, r);
}

exs_step exsi_adopt_cancel(exs_executor *x, exs_future *f, void *slot, exs_cause cause, exs_result *r)
{
	return go_on(exsi_state(x), f, slot, cause, r);
}

void exsi_adopt_each(exs_executor *x, exs_visit_fn *visit, void *arg)
{
	struct exsi_adopter *a = exsi_state(x);

	pthread_mutex_lock(&a->lock);
	for (struct exsi_adoption *s = a->first; s; s = s->next)
		visit(exsi_slot_call(s, x), arg);
	pthread_mutex_unlock(&a->lock);
}

void exsi_adopt_child(exs_executor *x, exs_future *f, void *slot, exs_visit_fn *visit, void *arg)
{
	struct exsi_adopter *a = exsi_state(x);
	struct exsi_adoption *s = slot;

	(void)f;
	pthread_mutex_lock(&a->lock);
	if (s->inner)
		visit(s->inner, arg);
	pthread_mutex_unlock(&a->lock);
}
