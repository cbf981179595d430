/* Remote pool: what workers say, how they come and go, and what time brings. */
#include "base/memory.h"
#include "executor/home.h"
#include "process/errors.h"
#include "process/remote.h"

#include <stdio.h>

enum { HOPELESS = 3 };
static const uint64_t PATIENCE =
	1000000000; /* ns between two starts, where others in a row have failed, and there are workers */

/* --- answers --- */

static const char not_asked[] = "an answer to what it was not given";
static const char unreadable[] = "fields that can't be read";

/* The bytes of the message, which loses them. NULL: none. */
static exs_bytes *bytes_of(struct exsi_message *m)
{
	exs_bytes *bytes = m->body ? m->body : m->head;

	if (m->body)
		m->body = NULL;
	else
		m->head = NULL;
	return bytes;
}

static exs_error *error_of(struct exsi_message *m)
{
	struct exsi_reader r = exsi_message_reader(m);
	exs_error *error = m->body ? NULL : exsi_get_error(&r);

	if (error && exsi_reader_ends(&r))
		return error;
	exs_error_unref(error);
	return NULL;
}

/* A value of no bytes has nothing in it: not NULL. false: no memory. */
static bool value_of(struct exsi_message *m, exs_result *r)
{
	exs_bytes *bytes = bytes_of(m);

	bytes = bytes ? bytes : exs_bytes_new(0);
	*r = bytes ? exs_ok(bytes, exs_bytes_free) : exs_fail(exsi_error(EXS_ENOMEM));
	return bytes;
}

/* The outcome that the message tells. NULL, or how it does not. */
static const char *outcome_of(struct exsi_message *m, exs_result *r)
{
	exs_error *error;

	switch (m->type) {
	case EXSI_FRAME_VALUE:
	case EXSI_FRAME_ITEM:
		value_of(m, r);
		return NULL;
	case EXSI_FRAME_NULL:
	case EXSI_FRAME_ITEM_NULL:
		*r = exs_ok(NULL, NULL);
		return m->head || m->body ? "bytes of what has none" : NULL;
	case EXSI_FRAME_CANCELLED:
		*r = exs_cancelled();
		return m->head || m->body ? "bytes of what has none" : NULL;
	default:
		error = error_of(m);
		*r = exs_fail(error);
		return error ? NULL : unreadable;
	}
}

/* With the lock: it has none; what is said of it from now on is wrong. One that is to end has its time for that still. */
static void leave_task(struct exsi_remote *w)
{
	if (w->state != EXSI_REMOTE_PARTING)
		w->deadline = EXSI_NEVER;
	w->id = 0;
	w->call = NULL;
}

/* With the lock: w has done its task. */
static void note_done(struct exsi_remote *w)
{
	w->busy += exsi_now() - w->since;
	leave_task(w);
}

/* With the lock, which it gives back. One that has been asked to end, and has outlived that, is to end now that it is at rest. */
static void go_on_or_part(struct exsi_remote *w)
{
	if (w->state == EXSI_REMOTE_BUSY || w->n_ahead)
		exsi_remote_go_on(w);
	else if (w->how == EXSI_PART_TERM)
		exsi_remote_part(w, EXSI_PART_POLITELY);
	else
		pthread_mutex_unlock(&w->pool->lock);
}

static void update_done(struct exsi_remote *w, exs_result *r)
{
	struct exsi_update *u = w->update;
	exs_error *error = r->kind == EXS_KIND_ERROR	   ? exs_error_ref(r->error)
			   : r->kind == EXS_KIND_CANCELLED ? exsi_error(EXS_ECANCELLED)
							   : NULL;

	w->update = NULL;
	struct exsi_update_end end = exsi_update_ran(w, u, error);
	go_on_or_part(w);
	exs_result_clear(r);
	exsi_update_complete(end);
}

/* Has it that task, and not only yet to be given it? What it says before is a guess. *call: then its call, or NULL. */
static bool has_been_given(struct exsi_remote *w, uint64_t id, exs_future **call)
{
	bool given = id && atomic_load(&w->given) >= id;

	pthread_mutex_lock(&w->pool->lock);
	given = given && w->id == id && (w->call || w->update);
	*call = given ? w->call : NULL;
	pthread_mutex_unlock(&w->pool->lock);
	return given;
}

void exsi_remote_settle(struct exsi_remote_pool *p)
{
	unsigned n = p->n_answers;

	p->n_answers = 0;
	for (unsigned i = 0; i < n; i++)
		exsi_remote_complete(p, p->answers[i].call, &p->answers[i].result);
}

/* The worker gets its next before the call goes up. */
static const char *answered(struct exsi_remote *w, struct exsi_message *m)
{
	struct exsi_remote_pool *p = w->pool;
	exs_future *f;
	exs_result r;

	if (!has_been_given(w, m->id, &f))
		return not_asked;
	const char *wrong = outcome_of(m, &r);
	if (wrong)
		return wrong;
	pthread_mutex_lock(&p->lock);
	note_done(w);
	exsi_remote_count_running(p, f ? -1 : 0);
	p->stats.completed += f != NULL;
	if (!f) {
		update_done(w, &r);
		return NULL;
	}
	go_on_or_part(w);
	p->answers[p->n_answers++] = (struct exsi_answer){.call = f, .result = r};
	if (p->n_answers == EXSI_REMOTE_DEPTH || !exsi_remote_has_more(w))
		exsi_remote_settle(p);
	return NULL;
}

/* What it has not begun comes back, what it was thought to be at as well if it has not. */
static const char *recalled(struct exsi_remote *w, struct exsi_message *m)
{
	struct exsi_remote_pool *p = w->pool;
	struct exsi_list back;

	exsi_list_init(&back);
	pthread_mutex_lock(&p->lock);
	bool some = m->id <= w->recalled; /* what it has been given since then was not asked for */
	bool asked = w->recalled && (!some || m->id >= w->id) && !m->head && !m->body;
	bool all = asked && some && w->call && m->id == w->id;
	if (all) {
		exsi_list_append(&back, &exsi_remote_slot(p, w->call)->link);
		exsi_remote_count_running(p, -1);
		w->tasks--;
		p->stats.started--;
		leave_task(w);
	}
	if (asked && some)
		exsi_remote_take_ahead(w, m->id, &back);
	w->recalled = asked ? 0 : w->recalled;
	pthread_mutex_unlock(&p->lock);
	exsi_remote_give_back(p, &back);
	pthread_mutex_lock(&p->lock);
	if (all)
		go_on_or_part(w);
	else
		pthread_mutex_unlock(&p->lock);
	return asked ? NULL : "it gives back what it was not asked for";
}

/* The call of task id, which stays w's: on this thread it can't end. NULL: it has none. */
static exs_future *call_of(struct exsi_remote *w, uint64_t id)
{
	exs_future *f;

	has_been_given(w, id, &f);
	return f;
}

static const char *emitted(struct exsi_remote *w, struct exsi_message *m)
{
	exs_future *f = call_of(w, m->id);
	struct exsi_items *items = f ? exsi_remote_slot(w->pool, f)->items : NULL;
	exs_result r;

	if (!items)
		return not_asked;
	const char *wrong = outcome_of(m, &r);
	return wrong ? wrong : exsi_items_put(items, r);
}

static const char *said(struct exsi_remote *w, struct exsi_message *m)
{
	static const char no_memory[] = "there was no memory here for a message";
	exs_future *f = call_of(w, m->id);
	exs_result r;

	if (!f)
		return NULL; /* of an update, or of a thread that a task has left behind: nobody listens */
	if (!value_of(m, &r)) {
		exs_result_clear(&r);
		return no_memory;
	}
	pthread_mutex_lock(&w->pool->lock);
	w->pool->stats.messages++;
	pthread_mutex_unlock(&w->pool->lock);
	return exsi_messages_deliver(f, r.value) == EXS_ENOMEM ? no_memory : NULL;
}

static const char *scheduled(struct exsi_remote *w, struct exsi_message *m)
{
	exs_future *f = call_of(w, m->id);
	struct exsi_reader r = exsi_message_reader(m);
	const char *wrong = unreadable;
	exs_task task;

	exsi_get_schedule(&r, &task);
	exs_bytes *body = m->body;
	m->body = NULL;
	exs_invocation *invocation = exsi_invocation_read(&r, body, &wrong);
	if (!invocation)
		return wrong;
	int rc = f ? exsi_schedule_at(f, invocation, &task) : EXS_EINVAL;
	if (!f)
		exs_invocation_free(invocation);
	if (rc)
		exsi_log(EXS_LOG_WARNING, w->pool->x->name, "worker %u: what its task schedules is lost: %s", w->number,
			 f ? exs_strerror(rc) : "it is no call's");
	pthread_mutex_lock(&w->pool->lock);
	w->pool->stats.scheduled += !rc;
	pthread_mutex_unlock(&w->pool->lock);
	return NULL;
}

static const char *ready(struct exsi_remote *w)
{
	struct exsi_remote_pool *p = w->pool;

	pthread_mutex_lock(&p->lock);
	bool first = w->state == EXSI_REMOTE_STARTING;
	bool parting = w->state == EXSI_REMOTE_PARTING;
	if (first) {
		w->reported = true;
		w->deadline = EXSI_NEVER;
		exsi_remote_next(w); /* gives the lock back */
	} else {
		pthread_mutex_unlock(&p->lock);
	}
	return first || parting ? NULL : "a second report of its start";
}

/* Instead: its setup has failed, and it ends. */
static const char *not_ready(struct exsi_remote *w, struct exsi_message *m)
{
	if (w->reported || w->said)
		return not_asked;
	w->said = error_of(m);
	return w->said ? NULL : unreadable;
}

uint32_t exsi_remote_types(void)
{
	uint32_t types = 0;

	for (unsigned type = EXSI_FRAME_READY; type <= EXSI_FRAME_RECALLED; type++)
		types |= UINT32_C(1) << type;
	return types;
}

static const char *understood(struct exsi_remote *w, struct exsi_message *m)
{
	switch (m->type) {
	case EXSI_FRAME_READY:
		return m->head || m->body ? "bytes of what has none" : ready(w);
	case EXSI_FRAME_ITEM:
	case EXSI_FRAME_ITEM_NULL:
	case EXSI_FRAME_ITEM_ERROR:
		return emitted(w, m);
	case EXSI_FRAME_MESSAGE:
		return said(w, m);
	case EXSI_FRAME_SCHEDULE:
		return scheduled(w, m);
	case EXSI_FRAME_RECALLED:
		return recalled(w, m);
	case EXSI_FRAME_ERROR:
		return m->id ? answered(w, m) : not_ready(w, m);
	default:
		return answered(w, m);
	}
}

/* Errors have a limit of their own, and what is scheduled is measured by its input alone. */
static bool is_too_large(const struct exsi_remote_pool *p, const struct exsi_message *m, uint64_t size)
{
	switch (m->type) {
	case EXSI_FRAME_SCHEDULE:
		return false;
	case EXSI_FRAME_ERROR:
	case EXSI_FRAME_ITEM_ERROR:
		return size > EXSI_ERROR_SIZE;
	default:
		return size > p->options.max_size;
	}
}

const char *exsi_remote_received(struct exsi_remote *w, struct exsi_message *m)
{
	struct exsi_remote_pool *p = w->pool;
	uint64_t size = (m->head ? m->head->size : 0) + (m->body ? m->body->size : 0);

	pthread_mutex_lock(&p->lock);
	p->stats.received += size;
	pthread_mutex_unlock(&p->lock);
	const char *wrong = is_too_large(p, m, size) ? "more bytes than max_size" : understood(w, m);
	exsi_message_fini(m);
	if (wrong) {
		pthread_mutex_lock(&p->lock);
		exsi_remote_broke(w, wrong);
		exsi_remote_part(w, EXSI_PART_KILL);
	}
	return wrong;
}

/* --- coming and going --- */

void exsi_remote_joins(struct exsi_remote_pool *p, struct exsi_remote *w, unsigned number)
{
	w->pool = p;
	w->transport = p->transport;
	w->number = number;
	w->state = EXSI_REMOTE_GONE; /* so far it is none of the pool's */
	atomic_init(&w->refs, 1);
	atomic_init(&w->given, 0);
	exsi_list_init(&w->ahead);
	w->depth = 1;
	w->recall = EXSI_NEVER;
	pthread_mutex_lock(&p->lock);
	exsi_list_append(&p->workers, &w->node);
	p->joined = number;
	exsi_remote_becomes(w, EXSI_REMOTE_STARTING);
	p->stats.spawned++;
	w->since = exsi_now();
	w->deadline = exsi_after(w->since, p->start_ns);
	exsi_remote_by(p, w->deadline);
	pthread_mutex_unlock(&p->lock);
}

void exsi_remote_part(struct exsi_remote *w, enum exsi_parting how)
{
	struct exsi_remote_pool *p = w->pool;

	exsi_remote_becomes(w, EXSI_REMOTE_PARTING);
	w->how = how;
	w->recall = EXSI_NEVER;
	w->deadline = how == EXSI_PART_KILL ? EXSI_NEVER : exsi_after(exsi_now(), p->stop_ns);
	exsi_remote_by(p, w->deadline);
	pthread_mutex_unlock(&p->lock);
	p->transport->part(w, how);
}

void exsi_remote_doing(struct exsi_remote *w, char *text, size_t size)
{
	exs_stream *stream;

	*text = '\0';
	pthread_mutex_lock(&w->pool->lock);
	if (w->call)
		snprintf(text, size, " while it ran \"%s\"",
			 exsi_invocation_name(exsi_remote_invocation(w->call, &stream)));
	pthread_mutex_unlock(&w->pool->lock);
}

/* With the lock: out of all lists. Answers its call, if it is not being given; ahead: those that it has not begun. */
static exs_future *remove_worker(struct exsi_remote *w, struct exsi_list *ahead)
{
	struct exsi_remote_pool *p = w->pool;
	exs_future *f = w->giving == w->id ? NULL : w->call;

	exsi_remote_take_ahead(w, 0, ahead);
	p->stats.died += w->state != EXSI_REMOTE_PARTING;
	exsi_remote_becomes(w, EXSI_REMOTE_GONE);
	w->deadline = EXSI_NEVER;
	if (f || !w->call)
		exsi_list_remove(&w->node);
	if (f) {
		w->call = NULL;
		exsi_remote_count_running(p, -1);
	}
	return f;
}

/* What it was to run first or was running. */
static void drop_updates(struct exsi_remote *w)
{
	struct exsi_remote_pool *p = w->pool;
	struct exsi_update_end end;
	struct exsi_update *u;

	do {
		pthread_mutex_lock(&p->lock);
		u = w->update ? w->update : exsi_update_left(w);
		end = u ? exsi_update_ran(w, u, w->update ? exs_error_ref(w->death) : NULL)
			: (struct exsi_update_end){.promise = NULL};
		w->update = NULL;
		pthread_mutex_unlock(&p->lock);
		exsi_update_complete(end);
	} while (u);
}

/* With the lock: another start has failed. Takes over the error. Is there no hope? Those that are starting are only that: another may have taken
   the place of one that is killed before that has ended. */
static bool note_failure(struct exsi_remote_pool *p, exs_error *error)
{
	exs_error_unref(p->why);
	p->why = error;
	p->failed++;
	p->again = exsi_after(exsi_now(), PATIENCE);
	return p->failed >= HOPELESS + p->starting && p->usable == p->starting;
}

void exsi_remote_gone(struct exsi_remote *w, exs_error *error)
{
	struct exsi_remote_pool *p = w->pool;
	struct exsi_list ahead;
	bool hopeless = false;

	exsi_remote_settle(p);
	exsi_list_init(&ahead);
	if (w->said) {
		exs_error_unref(error);
		error = w->said;
		w->said = NULL;
	}
	pthread_mutex_lock(&p->lock);
	bool in_vain = !w->able && !p->stopping && !p->killing;
	w->death = w->overdue && w->overdue == w->id ? exs_error_new(&exs_domain_exs, EXS_ETIMEDOUT,
								     "it ran for more than %g s (task_seconds): %s",
								     p->options.task_seconds, exs_error_message(error))
						     : exs_error_ref(error);
	exs_future *f = remove_worker(w, &ahead);
	if (in_vain)
		hopeless = note_failure(p, exs_error_ref(error));
	pthread_mutex_unlock(&p->lock);
	exsi_log(EXS_LOG_DEBUG, p->x->name, "%s", exs_error_message(error));
	drop_updates(w);
	exsi_remote_give_back(p, &ahead);
	if (f)
		exsi_remote_bereave(w, f);
	if (hopeless)
		exsi_remote_fail_queued(p, error);
	exs_error_unref(error);
}

/* --- time --- */

/* With the lock, which it gives back: its deadline has passed. */
static void expire(struct exsi_remote *w, uint64_t now)
{
	struct exsi_remote_pool *p = w->pool;

	if (w->deadline > now) {
		exsi_remote_recall(w);
		return;
	}
	w->deadline = EXSI_NEVER;
	if (w->state == EXSI_REMOTE_STARTING) {
		w->broken = "it has not reported in time: does its main call exs_process_main?";
		exsi_remote_part(w, EXSI_PART_KILL);
	} else if (w->state == EXSI_REMOTE_PARTING) {
		exsi_remote_part(w, EXSI_PART_KILL);
	} else if (w->state == EXSI_REMOTE_BUSY) {
		w->overdue = w->asked ? 0 : w->id;
		w->heedless = w->asked ? w->id : 0;
		p->stats.overdue++;
		exsi_remote_part(w, EXSI_PART_TERM);
	} else if (p->usable > p->options.min_workers) { /* it is IDLE: the others that are left have no deadline */
		p->stats.retired++;
		exsi_remote_part(w, EXSI_PART_POLITELY);
	} else {
		pthread_mutex_unlock(&p->lock);
	}
}

/* With the lock: a worker to be ended because the pool is, and how. */
static struct exsi_remote *one_to_end(struct exsi_remote_pool *p, enum exsi_parting *how)
{
	for (struct exsi_list *l = p->workers.next; l != &p->workers; l = l->next) {
		struct exsi_remote *w = EXSI_CONTAINER_OF(l, struct exsi_remote, node);
		bool parting = w->state == EXSI_REMOTE_PARTING;
		*how = EXSI_PART_KILL;
		if (w->state == EXSI_REMOTE_GONE || (parting && w->how == EXSI_PART_KILL))
			continue;
		if (p->killing)
			return w;
		if (parting)
			continue;
		if (w->state != EXSI_REMOTE_STARTING)
			*how = w->state == EXSI_REMOTE_IDLE ? EXSI_PART_POLITELY : EXSI_PART_TERM;
		return w;
	}
	return NULL;
}

/* With the lock: the first whose deadline has passed, or NULL; *next: the least of the others'. */
static struct exsi_remote *one_expired(struct exsi_remote_pool *p, uint64_t now, uint64_t *next)
{
	*next = EXSI_NEVER;
	for (struct exsi_list *l = p->workers.next; l != &p->workers; l = l->next) {
		struct exsi_remote *w = EXSI_CONTAINER_OF(l, struct exsi_remote, node);
		uint64_t due = w->deadline < w->recall ? w->deadline : w->recall;
		if (due <= now)
			return w;
		*next = due < *next ? due : *next;
	}
	return NULL;
}

static void see_to_deadlines(struct exsi_remote_pool *p)
{
	struct exsi_remote *w;
	uint64_t now = 0;

	pthread_mutex_lock(&p->lock);
	if (p->next != EXSI_NEVER)
		now = exsi_now();
	while (p->next <= now && (w = one_expired(p, now, &p->next))) {
		expire(w, now);
		pthread_mutex_lock(&p->lock);
		p->next = 0; /* look anew */
	}
	pthread_mutex_unlock(&p->lock);
}

static void see_to_ends(struct exsi_remote_pool *p)
{
	enum exsi_parting how;
	struct exsi_remote *w;

	pthread_mutex_lock(&p->lock);
	while ((p->killing || p->stopping) && (w = one_to_end(p, &how))) {
		exsi_remote_part(w, how);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
}

/* false: it could not be begun, and there is no use in trying again now. */
static bool begin_worker(struct exsi_remote_pool *p, unsigned number)
{
	exs_error *error = p->transport->open(p, number);

	if (!error)
		return true;
	exsi_log(EXS_LOG_WARNING, p->x->name, "%s", exs_error_message(error));
	pthread_mutex_lock(&p->lock);
	bool hopeless = note_failure(p, exs_error_ref(error));
	bool others = p->usable;
	pthread_mutex_unlock(&p->lock);
	if (hopeless)
		exsi_remote_fail_queued(p, error);
	exs_error_unref(error);
	return !hopeless && !others;
}

/* Answers when it is to look again, because starts have failed. */
static uint64_t see_to_starts(struct exsi_remote_pool *p)
{
	bool more = true;

	while (more) {
		pthread_mutex_lock(&p->lock);
		more = exsi_remote_lacks(p);
		/* Without workers, what waits is to learn soon that there is no hope. */
		bool wait = more && p->failed && (p->usable || !p->queued) && exsi_now() < p->again;
		more = more && !wait;
		unsigned number = more ? ++p->numbers : 0;
		uint64_t again = wait ? p->again : EXSI_NEVER;
		pthread_mutex_unlock(&p->lock);
		if (wait)
			return again;
		more = more && begin_worker(p, number);
	}
	return EXSI_NEVER;
}

uint64_t exsi_remote_turn(struct exsi_remote_pool *p)
{
	exsi_remote_dispatch(p);
	if (p->killing) /* set for ever */
		exsi_remote_fail_queued(p, NULL);
	see_to_ends(p);
	see_to_deadlines(p);
	uint64_t again = see_to_starts(p);
	pthread_mutex_lock(&p->lock);
	uint64_t next = p->next < again ? p->next : again;
	pthread_mutex_unlock(&p->lock);
	return next;
}

bool exsi_remote_is_over(struct exsi_remote_pool *p)
{
	pthread_mutex_lock(&p->lock);
	bool over = p->stopping && exsi_list_is_empty(&p->workers);
	pthread_mutex_unlock(&p->lock);
	return over;
}
