/* Remote pool: its queue, and the hooks of the leaf. */
#include "process/remote.h"
#include "base/memory.h"
#include "stream/emit.h"

exs_invocation *exsi_remote_invocation(exs_future *call, exs_stream **stream)
{
	struct exsi_work work = exsi_work_of(call);

	*stream = work.stream;
	return work.fn == exs_invoke ? work.arg : NULL;
}

/* --- the queue, with the lock --- */

static exs_future *call_at(struct exsi_remote_pool *p, struct exsi_list *link)
{
	return exsi_slot_call(EXSI_CONTAINER_OF(link, struct exsi_remote_slot, link), p->x);
}

static void take_out(struct exsi_remote_pool *p, struct exsi_remote_slot *s)
{
	exsi_list_remove(&s->link);
	p->queued--;
}

exs_future *exsi_remote_shift(struct exsi_remote_pool *p)
{
	while (!exsi_list_is_empty(&p->queue)) {
		exs_future *f = call_at(p, p->queue.next);
		take_out(p, exsi_remote_slot(p, f));
		if (exsi_call_claim_run(f)) /* if not, its canceller waits for the lock, and finds it in no queue */
			return f;
	}
	return NULL;
}

enum { SHORT = 4096 }; /* bytes */

exs_future *exsi_remote_shift_ahead(struct exsi_remote_pool *p)
{
	exs_stream *stream;

	if (exsi_list_is_empty(&p->queue))
		return NULL;
	exs_future *f = call_at(p, p->queue.next);
	const exs_invocation *invocation = exsi_remote_invocation(f, &stream);
	bool is_short = !stream && (!invocation->body || invocation->body->size <= SHORT);
	return is_short && !exsi_is_watched(f) ? exsi_remote_shift(p) : NULL;
}

static void enqueue(struct exsi_remote_pool *p, struct exsi_remote_slot *s, bool first)
{
	if (first) {
		s->link.prev = &p->queue;
		s->link.next = p->queue.next;
		s->link.next->prev = &s->link;
		p->queue.next = &s->link;
	} else {
		exsi_list_append(&p->queue, &s->link);
	}
	p->queued++;
}

bool exsi_remote_requeue(struct exsi_remote_pool *p, exs_future *f)
{
	struct exsi_remote_slot *s = exsi_remote_slot(p, f);

	pthread_mutex_lock(&p->lock);
	bool parked = !p->killing && exs_call_park(f, p->x);
	if (parked) {
		enqueue(p, s, true);
		p->transport->ring(p);
	}
	pthread_mutex_unlock(&p->lock);
	return parked;
}

void exsi_remote_fail_queued(struct exsi_remote_pool *p, exs_error *error)
{
	exs_future *f;

	pthread_mutex_lock(&p->lock);
	size_t n = p->queued; /* who submits in a callback of these, or is begun again by a retry, has another chance */
	pthread_mutex_unlock(&p->lock);
	do {
		pthread_mutex_lock(&p->lock);
		f = n ? exsi_remote_shift(p) : NULL;
		pthread_mutex_unlock(&p->lock);
		exs_result r = error && f ? exs_fail(exs_error_ref(error)) : exs_cancelled();
		if (f && !error)
			exsi_note_cause(f, EXS_CAUSE_SHUTDOWN);
		if (f)
			exs_call_resume(f, p->x, EXS_UP, &r);
	} while (f && --n);
}

static bool is_usable(const struct exsi_remote *w)
{
	return w->state < EXSI_REMOTE_PARTING;
}

void exsi_remote_becomes(struct exsi_remote *w, enum exsi_remote_state state)
{
	struct exsi_remote_pool *p = w->pool;

	if (w->state == EXSI_REMOTE_IDLE)
		exsi_list_remove(&w->idle);
	p->starting -= w->state == EXSI_REMOTE_STARTING;
	p->usable -= is_usable(w);
	w->state = state;
	p->usable += is_usable(w);
	p->starting += w->state == EXSI_REMOTE_STARTING;
	if (w->state == EXSI_REMOTE_IDLE)
		exsi_list_append(&p->idle, &w->idle);
}

unsigned exsi_remote_lacks(const struct exsi_remote_pool *p)
{
	size_t room = p->options.workers - p->usable;
	size_t lack = p->queued > p->starting ? p->queued - p->starting : 0;

	if (p->stopping || p->killing)
		return 0;
	if (p->usable < p->options.min_workers && lack < p->options.min_workers - p->usable)
		lack = p->options.min_workers - p->usable;
	return (unsigned)(lack < room ? lack : room);
}

/* --- hooks --- */

/* What keeps the call from being run by a worker at all, or NULL. */
static exs_error *refusal(struct exsi_remote_pool *p, exs_future *f)
{
	exs_stream *stream;
	const exs_invocation *invocation = exsi_remote_invocation(f, &stream);

	if (!invocation)
		return exs_error_new(
			&exs_domain_exs, EXS_EINVAL,
			"%s: it runs registered functions alone: submit with exs_submit_function, or exs_invoke",
			p->x->ops.type);
	if (invocation->body && invocation->body->size > p->options.max_size)
		return exs_error_new(&exs_domain_exs, EXS_EINVAL, "%s: the input has %zu bytes: at most %zu (max_size)",
				     p->x->ops.type, invocation->body->size, p->options.max_size);
	return NULL;
}

/* With the lock, of a call that no list knows, as run_by_caller of a thread pool: a shutdown closes, then looks at the workers. */
static bool begin_at_once(struct exsi_remote_pool *p, exs_future *f)
{
	if (exs_call_stopped(f, p->x))
		return false;
	atomic_fetch_or(&f->state, EXSI_RUNNING | EXSI_BEGUN);
	return true;
}

static exs_step start_at(struct exsi_remote_pool *p, exs_future *f, struct exsi_remote *w, exs_result *r)
{
	if (!begin_at_once(p, f)) {
		pthread_mutex_unlock(&p->lock);
		exsi_note_cause(f, EXS_CAUSE_SHUTDOWN);
		*r = exs_cancelled();
		return EXS_UP;
	}
	exsi_remote_assign(w, f);
	uint64_t id = w->id;
	exsi_keep_for_submit(
		p->x); /* the call may be over, and with it all that it kept, before it is seen to have been given */
	pthread_mutex_unlock(&p->lock);
	exsi_remote_give(w, f, id);
	exsi_unkeep_for_submit(p->x);
	return EXS_HELD;
}

/* One that can begin this call now: nothing comes before it. Or NULL. */
static struct exsi_remote *idle_one(struct exsi_remote_pool *p)
{
	if (exsi_list_is_empty(&p->idle) || !exsi_list_is_empty(&p->queue))
		return NULL;
	struct exsi_remote *w = EXSI_CONTAINER_OF(p->idle.prev, struct exsi_remote, idle);
	return exsi_update_next(w) ? NULL : w;
}

exs_step exsi_remote_start(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	struct exsi_remote_pool *p = exsi_state(x);
	struct exsi_remote_slot *s = slot;
	exs_error *wrong = refusal(p, f);

	if (wrong) {
		*r = exs_fail(wrong);
		return EXS_UP;
	}
	*s = (struct exsi_remote_slot){.link = {NULL, NULL}};
	pthread_mutex_lock(&p->lock);
	if (p->killing) {
		pthread_mutex_unlock(&p->lock);
		*r = exs_fail(exsi_error(EXS_ESHUTDOWN));
		return EXS_UP;
	}
	struct exsi_remote *w = idle_one(p);
	if (w)
		return start_at(p, f, w, r);
	bool parked = exs_call_park(f, x);
	if (parked) {
		enqueue(p, s, false);
		if (exsi_remote_lacks(p) || !exsi_list_is_empty(&p->idle))
			p->transport->ring(p);
	}
	pthread_mutex_unlock(&p->lock);
	if (!parked)
		*r = exs_cancelled();
	return parked ? EXS_HELD : EXS_UP;
}

exs_step exsi_remote_cancel(exs_executor *x, exs_future *f, void *slot, exs_cause cause, exs_result *r)
{
	struct exsi_remote_pool *p = exsi_state(x);
	struct exsi_remote_slot *s = slot;

	(void)f, (void)cause, (void)r;
	pthread_mutex_lock(&p->lock);
	if (s->link.prev)
		take_out(p, s);
	pthread_mutex_unlock(&p->lock);
	return EXS_UP;
}

void exsi_remote_each(exs_executor *x, exs_visit_fn *visit, void *arg)
{
	struct exsi_remote_pool *p = exsi_state(x);

	pthread_mutex_lock(&p->lock);
	for (struct exsi_list *l = p->queue.next; l != &p->queue; l = l->next)
		visit(call_at(p, l), arg);
	for (struct exsi_list *l = p->workers.next; l != &p->workers; l = l->next) {
		struct exsi_remote *w = EXSI_CONTAINER_OF(l, struct exsi_remote, node);
		if (w->call)
			visit(w->call, arg);
		for (struct exsi_list *a = w->ahead.next; a != &w->ahead; a = a->next)
			visit(call_at(p, a), arg);
	}
	pthread_mutex_unlock(&p->lock);
}

/* What has not been begun is to come back at once, to be cancelled, or to be run by others. */
void exsi_remote_closing(exs_executor *x)
{
	struct exsi_remote_pool *p = exsi_state(x);

	pthread_mutex_lock(&p->lock);
	for (struct exsi_list *l = p->workers.next; l != &p->workers; l = l->next) {
		struct exsi_remote *w = EXSI_CONTAINER_OF(l, struct exsi_remote, node);
		if (w->n_ahead && !w->recalled && w->state == EXSI_REMOTE_BUSY)
			w->recall = 0;
	}
	exsi_remote_by(p, 0);
	pthread_mutex_unlock(&p->lock);
}

struct search {
	const void *scope;
	bool found;
};

static void look(exs_future *call, void *arg)
{
	struct search *search = arg;

	search->found = search->found || exsi_scope_of(call) == search->scope;
}

bool exsi_remote_holds(struct exsi_remote_pool *p, const void *scope)
{
	struct search search = {.scope = scope};

	exsi_remote_each(p->x, look, &search);
	return search.found;
}

/* --- its life --- */

void exsi_remote_pool_init(struct exsi_remote_pool *p, exs_executor *x, const struct exsi_transport *transport)
{
	p->x = x;
	p->transport = transport;
	pthread_mutex_init(&p->lock, NULL);
	exsi_list_init(&p->queue);
	exsi_list_init(&p->workers);
	exsi_list_init(&p->idle);
	exsi_list_init(&p->updates);
	p->next = EXSI_NEVER;
}

void exsi_remote_pool_fini(struct exsi_remote_pool *p)
{
	exsi_updates_drop(p);
	exs_error_unref(p->why);
	pthread_mutex_destroy(&p->lock);
}
