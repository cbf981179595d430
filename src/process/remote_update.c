/* Remote pool: functions that each worker runs once. */
#include "base/memory.h"
#include "process/remote.h"

/* An update waits for those workers that were there when it came (number <= last) and have neither run it nor gone: waiting counts them. */

struct exsi_update *exsi_update_next(struct exsi_remote *w)
{
	struct exsi_remote_pool *p = w->pool;

	if (w->updated == p->update_numbers) /* mostly */
		return NULL;
	for (struct exsi_list *l = p->updates.next; l != &p->updates; l = l->next) {
		struct exsi_update *u = EXSI_CONTAINER_OF(l, struct exsi_update, node);
		if (u->number > w->updated && (!u->ephemeral || w->number <= u->last))
			return u;
	}
	w->updated = p->update_numbers;
	return NULL;
}

/* No worker runs it any more. */
static void free_update(struct exsi_update *u)
{
	exsi_list_remove(&u->node);
	exs_invocation_free(u->invocation);
	exs_error_unref(u->error);
	exsi_free(u);
}

void exsi_update_complete(struct exsi_update_end end)
{
	if (!end.promise)
		return;
	exs_promise_complete(end.promise, end.result);
	exs_promise_free(end.promise);
}

static struct exsi_update_end finish(struct exsi_update *u)
{
	struct exsi_update_end end = {.promise = u->promise,
				      .result = u->error ? exs_fail(exs_error_ref(u->error)) : exs_ok(NULL, NULL)};

	u->promise = NULL;
	if (u->ephemeral)
		free_update(u);
	return end;
}

struct exsi_update_end exsi_update_ran(struct exsi_remote *w, struct exsi_update *u, exs_error *error)
{
	bool waited = w->number <= u->last;

	if (waited && error && !u->error)
		u->error = exs_error_ref(error);
	exs_error_unref(error);
	if (waited && --u->waiting == 0)
		return finish(u);
	return (struct exsi_update_end){.promise = NULL};
}

struct exsi_update *exsi_update_left(struct exsi_remote *w)
{
	struct exsi_update *u = exsi_update_next(w);

	while (u && w->number > u->last) {
		w->updated = u->number;
		u = exsi_update_next(w);
	}
	if (u)
		w->updated = u->number;
	return u;
}

void exsi_updates_drop(struct exsi_remote_pool *p)
{
	while (!exsi_list_is_empty(&p->updates)) {
		struct exsi_update *u = EXSI_CONTAINER_OF(p->updates.next, struct exsi_update, node);
		struct exsi_update_end end = {.promise = u->promise, .result = exs_fail(exsi_error(EXS_ESHUTDOWN))};
		u->promise = NULL;
		free_update(u);
		exsi_update_complete(end);
	}
}

bool exsi_update_is(struct exsi_remote_pool *p, const exs_future *f)
{
	bool found = false;

	pthread_mutex_lock(&p->lock);
	for (struct exsi_list *l = p->updates.next; l != &p->updates && !found; l = l->next) {
		const struct exsi_update *u = EXSI_CONTAINER_OF(l, struct exsi_update, node);
		found = u->promise && u->future == f;
	}
	pthread_mutex_unlock(&p->lock);
	return found;
}

/* With the lock. Every worker that is there is one that it waits for; those that part with the pool will leave. */
static size_t count_workers(const struct exsi_remote_pool *p)
{
	size_t n = 0;

	for (const struct exsi_list *l = p->workers.next; l != &p->workers; l = l->next)
		n += EXSI_CONTAINER_OF(l, struct exsi_remote, node)->state != EXSI_REMOTE_GONE;
	return n;
}

static struct exsi_update *new_update(exs_invocation *invocation, bool ephemeral, exs_future **future)
{
	struct exsi_update *u = exsi_zalloc(sizeof(*u));

	if (u && (u->promise = exs_promise_new(future))) {
		u->invocation = exsi_invocation_ref(invocation);
		u->ephemeral = ephemeral;
		u->future = *future;
		return u;
	}
	exsi_free(u);
	return exsi_fail_null(EXS_ENOMEM, "exs_process_pool_update: out of memory");
}

static exs_future *update(struct exsi_remote_pool *p, exs_invocation *invocation, bool ephemeral)
{
	struct exsi_update_end end = {.promise = NULL};
	exs_future *f;
	struct exsi_update *u = new_update(invocation, ephemeral, &f);

	if (!u)
		return NULL;
	pthread_mutex_lock(&p->lock);
	u->number = ++p->update_numbers;
	u->last = p->joined;
	u->waiting = count_workers(p);
	exsi_list_append(&p->updates, &u->node);
	if (!u->waiting)
		end = finish(u);
	else
		p->transport->ring(p);
	pthread_mutex_unlock(&p->lock);
	exsi_update_complete(end);
	return f;
}

/* Of the pool at the bottom of the chain, or NULL. */
static struct exsi_remote_pool *pool_of(exs_executor *x)
{
	return x && x->leaf->ops.start == exsi_remote_start ? exsi_state(x->leaf) : NULL;
}

exs_future *exs_process_pool_update(exs_executor *x, exs_invocation *invocation, bool ephemeral)
{
	struct exsi_remote_pool *p = pool_of(x);
	exs_future *f;

	if (!p || !invocation)
		f = exsi_failed("exs_process_pool_update: %s",
				p ? "invocation is NULL" : "no process pool at the bottom of the chain");
	else if (exsi_forked() || atomic_load(&x->leaf->closing))
		f = exsi_returned(exs_fail(exsi_error(exsi_forked() ? EXS_EFORK : EXS_ESHUTDOWN)));
	else
		f = update(p, invocation, ephemeral);
	exs_invocation_free(invocation);
	return f;
}
