/* Remote pool: work is given to workers, and calls go up. */
#include "base/memory.h"
#include "process/remote.h"

#include <errno.h>
#include <limits.h>

void exsi_remote_unref(struct exsi_remote *w)
{
	if (atomic_fetch_sub(&w->refs, 1) != 1)
		return;
	exs_error_unref(w->death);
	w->transport->release(w);
}

/* --- calls go up --- */

void exsi_remote_complete(struct exsi_remote_pool *p, exs_future *f, exs_result *r)
{
	struct exsi_remote_slot *s = exsi_remote_slot(p, f);

	exsi_call_ran_elsewhere(f, s->begun, r); /* after it nobody is about to ask the worker to stop */
	exsi_items_end(s->items);
	exs_call_resume(f, p->x, EXS_UP, r);
}

/* Begun again: false if that is not to be. */
static bool restart(struct exsi_remote_pool *p, exs_future *f, const exs_result *r)
{
	struct exsi_remote_slot *s = exsi_remote_slot(p, f);

	exsi_call_ran_elsewhere(f, s->begun, r);
	exsi_items_end(s->items);
	s->items = NULL;
	s->deaths++;
	return exsi_remote_requeue(p, f);
}

static void count_restart(struct exsi_remote_pool *p)
{
	pthread_mutex_lock(&p->lock);
	p->stats.restarted++;
	pthread_mutex_unlock(&p->lock);
}

static bool is_overdue(const struct exsi_remote *w)
{
	return exs_error_is(w->death, &exs_domain_exs, EXS_ETIMEDOUT);
}

void exsi_remote_bereave(struct exsi_remote *w, exs_future *f)
{
	struct exsi_remote_pool *p = w->pool;
	exs_result r = exs_fail(exs_error_ref(w->death));
	bool heedless = w->heedless && w->heedless == exsi_remote_slot(p, f)->id;
	bool may = !p->killing && !heedless && !is_overdue(w);
	bool again = may && exsi_remote_slot(p, f)->deaths < p->options.death_retries;

	if (again && restart(p, f, &r)) {
		exs_result_clear(&r);
		count_restart(p);
		return;
	}
	if (again || p->killing || heedless) {
		exs_result_clear(&r);
		exsi_note_cause(f, EXS_CAUSE_SHUTDOWN); /* unless there is one */
		r = exs_cancelled();
	}
	if (again)
		exs_call_resume(f, p->x, EXS_UP, &r);
	else
		exsi_remote_complete(p, f, &r);
}

/* --- asked to stop --- */

/* With the lock: what w is at has been asked to stop. */
static void limit_stop(struct exsi_remote *w)
{
	uint64_t by = exsi_after(exsi_now(), w->pool->cancel_ns);

	if (w->state != EXSI_REMOTE_BUSY || by >= w->deadline)
		return;
	w->deadline = by;
	w->asked = true;
	exsi_remote_by(w->pool, by);
}

/* On the thread that asks. The worker is kept: who completes the call waits for this. */
static void ask_to_stop(void *slot)
{
	struct exsi_remote_slot *s = slot;
	struct exsi_remote *w = s->worker;
	unsigned char cause = (unsigned char)exs_future_cause(exsi_slot_call(s, w->pool->x));

	w->pool->transport->send(w, true, EXSI_FRAME_CANCEL, s->id, &cause, 1, NULL); /* if not, it goes, or has gone */
	pthread_mutex_lock(&w->pool->lock);
	s->asked = true;
	if (w->id == s->id && w->call)
		limit_stop(w);
	pthread_mutex_unlock(&w->pool->lock);
}

/* --- given --- */

static uint64_t nanoseconds(double seconds)
{
	uint64_t ns = 0; /* too late */

	exsi_duration(seconds, &ns);
	return ns;
}

static void describe(exs_future *f, struct exsi_task_frame *task)
{
	exs_context *ctx = exs_call_context(f);

	task->attempt = exs_context_attempt(ctx);
	task->max_attempts = exs_context_max_attempts(ctx);
	task->left = nanoseconds(exs_context_time_left(ctx));
	task->name = exs_context_name(ctx);
}

/* Once it is seen to have been given the worker may say that it is done: then the call, and the name in task, may be gone. */
static int send(struct exsi_remote *w, uint64_t id, const struct exsi_task_frame *task, exs_invocation *invocation)
{
	unsigned char room[512];
	struct exsi_writer head = {.data = room, .room = sizeof(room)};
	int rc = ENOMEM;

	exsi_put_task(&head, task, invocation);
	atomic_store(&w->given, id);
	if (!head.failed)
		rc = w->pool->transport->send(w, false, EXSI_FRAME_TASK, id, head.data, head.size, invocation->body);
	exsi_writer_fini(&head);
	return rc;
}

static int send_call(struct exsi_remote *w, exs_future *f, uint64_t id)
{
	struct exsi_remote_slot *s = exsi_remote_slot(w->pool, f);
	struct exsi_task_frame task = {.items = 0};
	exs_stream *stream;
	/* The call may end, of a worker that dies, while its input is being sent. */
	exs_invocation *invocation = exsi_invocation_ref(exsi_remote_invocation(f, &stream));
	int rc = ENOMEM;

	exsi_call_runs_elsewhere(f, &s->begun);
	if (stream)
		s->items = exsi_items_new(w, id, stream, &task.items);
	task.emits = stream;
	describe(f, &task);
	bool ready = (!stream || s->items) && !exs_context_on_cancel(exs_call_context(f), ask_to_stop, s);
	if (ready)
		rc = send(w, id, &task, invocation);
	exs_invocation_free(invocation);
	return rc;
}

/* It has got nothing, and can be given something else. With the lock. */
static void take_back(struct exsi_remote *w)
{
	struct exsi_remote_pool *p = w->pool;

	if (w->state != EXSI_REMOTE_BUSY)
		return;
	exsi_remote_becomes(w, EXSI_REMOTE_IDLE);
	w->deadline = EXSI_NEVER;
	p->transport->ring(p);
}

/* Was it not sent, for want of memory? Otherwise its worker goes, if it has not gone. */
static bool was_not_sent(int rc)
{
	return rc == ENOMEM || rc == EMSGSIZE;
}

void exsi_remote_give(struct exsi_remote *w, exs_future *f, uint64_t id)
{
	struct exsi_remote_pool *p = w->pool;
	int rc = send_call(w, f, id);

	pthread_mutex_lock(&p->lock);
	bool mine = w->giving == id;
	w->giving = mine ? 0 : w->giving;
	bool gone = mine && w->id == id && w->call && w->state == EXSI_REMOTE_GONE;
	bool unsent = mine && w->call && !gone && was_not_sent(rc);
	if (gone || unsent) {
		w->call = NULL;
		exsi_remote_count_running(p, -1);
	}
	if (gone)
		exsi_list_remove(&w->node);
	if (unsent)
		take_back(w);
	pthread_mutex_unlock(&p->lock);
	exs_result r = exs_fail(exsi_error(EXS_ENOMEM));
	if (gone)
		exsi_remote_bereave(w, f);
	else if (unsent)
		exsi_remote_complete(p, f, &r);
	exsi_remote_unref(w);
}

/* --- what comes next --- */

/* With the lock. */
static void begin_work(struct exsi_remote *w)
{
	struct exsi_remote_pool *p = w->pool;

	exsi_remote_becomes(w, EXSI_REMOTE_BUSY);
	w->id = ++w->last;
	w->giving = w->id;
	w->asked = false;
	w->since = exsi_now();
	w->deadline = exsi_after(w->since, p->task_ns);
	atomic_fetch_add(&w->refs, 1);
	exsi_remote_by(p, w->deadline);
}

/* With the lock. */
static void note_given(struct exsi_remote *w, exs_future *f, uint64_t id)
{
	struct exsi_remote_slot *s = exsi_remote_slot(w->pool, f);

	w->tasks++;
	exsi_remote_count_running(w->pool, 1);
	w->pool->stats.started++;
	s->worker = w;
	s->id = id;
	s->asked = false;
}

void exsi_remote_assign(struct exsi_remote *w, exs_future *f)
{
	begin_work(w);
	w->call = f;
	note_given(w, f, w->id);
}

/* --- given ahead --- */

/* So long a worker may take for a call, and be quick: no more than its next costs to be given; and so long what was given ahead waits. */
static const uint64_t QUICK = 200000, PATIENCE = 1000000; /* ns */

/* Calls that have been taken out of the queue for a worker, and are to be sent. */
struct batch {
	exs_future *calls[EXSI_REMOTE_DEPTH];
	unsigned n;
};

/* With the lock. Each worker has its share of what is queued. */
static void fill_ahead(struct exsi_remote *w, struct batch *batch)
{
	struct exsi_remote_pool *p = w->pool;
	size_t share = p->queued / (p->usable ? p->usable : 1);
	bool may = w->state == EXSI_REMOTE_BUSY && w->call && !w->recalled && !p->options.tasks && !p->stopping &&
		   !atomic_load(&p->x->closing);
	exs_future *f;

	batch->n = 0;
	if (!may || w->n_ahead + 1 > w->depth / 2 || exsi_update_next(w))
		return;
	while (w->n_ahead + 1 < w->depth && batch->n < share && (f = exsi_remote_shift_ahead(p))) {
		note_given(w, f, ++w->last);
		exsi_list_append(&w->ahead, &exsi_remote_slot(p, f)->link);
		w->n_ahead++;
		batch->calls[batch->n++] = f;
	}
	if (w->n_ahead && w->recall == EXSI_NEVER) {
		w->recall = exsi_after(w->since, PATIENCE);
		exsi_remote_by(p, w->recall);
	}
}

/* With the lock. */
static void leave_ahead(struct exsi_remote *w, struct exsi_remote_slot *s)
{
	exsi_list_remove(&s->link);
	w->n_ahead--;
	if (!w->n_ahead)
		w->recall = EXSI_NEVER;
}

/* Without the lock. What can't be sent, for want of memory, goes up: on this thread nobody else takes it. */
static void send_ahead(struct exsi_remote *w, const struct batch *batch)
{
	struct exsi_remote_pool *p = w->pool;

	for (unsigned i = 0; i < batch->n; i++) {
		exs_future *f = batch->calls[i];
		struct exsi_remote_slot *s = exsi_remote_slot(p, f);
		if (!was_not_sent(send_call(w, f, s->id)))
			continue;
		pthread_mutex_lock(&p->lock);
		leave_ahead(w, s);
		exsi_remote_count_running(p, -1);
		pthread_mutex_unlock(&p->lock);
		exs_result r = exs_fail(exsi_error(EXS_ENOMEM));
		exsi_remote_complete(p, f, &r);
	}
}

void exsi_remote_take_ahead(struct exsi_remote *w, uint64_t from, struct exsi_list *list)
{
	struct exsi_list *next;

	for (struct exsi_list *l = w->ahead.next; l != &w->ahead; l = next) {
		struct exsi_remote_slot *s = EXSI_CONTAINER_OF(l, struct exsi_remote_slot, link);
		next = l->next;
		if (s->id < from)
			continue;
		leave_ahead(w, s);
		exsi_remote_count_running(w->pool, -1);
		w->tasks--;
		w->pool->stats.started--;
		exsi_list_append(list, l);
	}
}

void exsi_remote_give_back(struct exsi_remote_pool *p, struct exsi_list *list)
{
	while (!exsi_list_is_empty(list)) {
		struct exsi_remote_slot *s = EXSI_CONTAINER_OF(list->prev, struct exsi_remote_slot, link);
		exs_future *f = exsi_slot_call(s, p->x);
		exs_result r = exs_cancelled();
		exsi_list_remove(&s->link);
		exsi_call_ran_elsewhere(f, s->begun, &r); /* nobody looks on: it has not been begun */
		if (exsi_remote_requeue(p, f))
			continue;
		exsi_note_cause(f, EXS_CAUSE_SHUTDOWN); /* if it was no canceller */
		exs_call_resume(f, p->x, EXS_UP, &r);
	}
}

void exsi_remote_recall(struct exsi_remote *w)
{
	struct exsi_remote_pool *p = w->pool;
	uint64_t last = w->last;

	w->recall = EXSI_NEVER;
	w->recalled = last;
	w->depth = 1;
	pthread_mutex_unlock(&p->lock);
	p->transport->send(w, true, EXSI_FRAME_RECALL, last, NULL, 0, NULL); /* if not, it goes, or has gone */
}

/* With the lock: the first of those ahead is what w is at. */
static void promote(struct exsi_remote *w)
{
	struct exsi_remote_pool *p = w->pool;
	struct exsi_remote_slot *s = EXSI_CONTAINER_OF(w->ahead.next, struct exsi_remote_slot, link);

	leave_ahead(w, s);
	w->call = exsi_slot_call(s, p->x);
	w->id = s->id;
	w->asked = false;
	if (w->state == EXSI_REMOTE_BUSY)
		w->deadline = exsi_after(w->since, p->task_ns);
	exsi_remote_by(p, w->deadline);
	if (s->asked)
		limit_stop(w);
	if (w->n_ahead && !w->recalled)
		w->recall = exsi_after(w->since, PATIENCE);
}

static void top_up(struct exsi_remote *w)
{
	struct batch batch;

	pthread_mutex_lock(&w->pool->lock);
	fill_ahead(w, &batch);
	pthread_mutex_unlock(&w->pool->lock);
	send_ahead(w, &batch);
}

void exsi_remote_go_on(struct exsi_remote *w)
{
	struct exsi_remote_pool *p = w->pool;
	uint64_t now = exsi_now(), took = now - w->since;
	struct batch batch;

	w->since = now;
	w->depth = took > QUICK ? 1 : w->depth < EXSI_REMOTE_DEPTH ? 2 * w->depth : EXSI_REMOTE_DEPTH;
	if (!w->n_ahead) {
		exsi_remote_next(w);
		return;
	}
	promote(w);
	fill_ahead(w, &batch);
	pthread_mutex_unlock(&p->lock);
	send_ahead(w, &batch);
}

/* With the lock, which it gives back. */
static void give_update(struct exsi_remote *w, struct exsi_update *u)
{
	struct exsi_remote_pool *p = w->pool;
	struct exsi_task_frame task = {.attempt = 1, .max_attempts = 1, .left = EXSI_NEVER};
	exs_invocation *invocation = exsi_invocation_ref(u->invocation);
	struct exsi_update_end end = {.promise = NULL};

	begin_work(w);
	w->update = u;
	w->updated = u->number;
	uint64_t id = w->id;
	pthread_mutex_unlock(&p->lock);
	int rc = send(w, id, &task, invocation);
	exs_invocation_free(invocation);
	pthread_mutex_lock(&p->lock);
	w->giving = 0; /* on the pool's thread: it can't have gone */
	if (was_not_sent(rc)) {
		w->update = NULL;
		end = exsi_update_ran(w, u, exsi_error(EXS_ENOMEM));
		take_back(w);
	}
	pthread_mutex_unlock(&p->lock);
	exsi_update_complete(end);
	exsi_remote_unref(w);
}

/* With the lock. */
static void rest(struct exsi_remote *w)
{
	struct exsi_remote_pool *p = w->pool;

	exsi_remote_becomes(w, EXSI_REMOTE_IDLE);
	w->since = exsi_now();
	w->deadline = exsi_after(w->since, p->idle_ns);
	exsi_remote_by(p, w->deadline);
}

void exsi_remote_next(struct exsi_remote *w)
{
	struct exsi_remote_pool *p = w->pool;
	struct exsi_update *u = p->stopping ? NULL : exsi_update_next(w);
	exs_future *f;

	if (p->stopping) {
		exsi_remote_part(w, EXSI_PART_POLITELY);
		return;
	}
	if (u) {
		give_update(w, u);
		return;
	}
	if (p->options.tasks && w->tasks >= p->options.tasks) {
		p->stats.renewed++;
		exsi_remote_part(w, EXSI_PART_POLITELY);
		return;
	}
	p->failed = w->able ? p->failed : 0;
	w->able = true;
	f = exsi_remote_shift(p);
	if (!f) {
		rest(w);
		pthread_mutex_unlock(&p->lock);
		return;
	}
	exsi_remote_assign(w, f);
	uint64_t id = w->id;
	pthread_mutex_unlock(&p->lock);
	exsi_remote_give(w, f, id);
	if (w->depth > 1)
		top_up(w);
}

/* With the lock. */
static struct exsi_remote *one_with_work(struct exsi_remote_pool *p)
{
	for (struct exsi_list *l = p->idle.prev; l != &p->idle; l = l->prev) {
		struct exsi_remote *w = EXSI_CONTAINER_OF(l, struct exsi_remote, idle);
		if (!exsi_list_is_empty(&p->queue) || exsi_update_next(w))
			return w;
	}
	return NULL;
}

void exsi_remote_dispatch(struct exsi_remote_pool *p)
{
	struct exsi_remote *w;

	pthread_mutex_lock(&p->lock);
	while (!p->stopping && (w = one_with_work(p))) {
		exsi_remote_next(w);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
}
