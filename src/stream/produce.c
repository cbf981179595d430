/* Push streams: items that anybody produces, in the order of the calls. */
#include "base/memory.h"
#include "future/wait.h"
#include "stream/emit.h"
#include "stream/window.h"

#include <executors/functions.h>
#include <string.h>

/* --- a place --- */

static bool has_room(exs_stream *s)
{
	return s->count < s->max || s->closed || s->interrupted;
}

int exsi_stream_try_reserve(exs_stream *s, bool beyond, struct exsi_place **place)
{
	struct exsi_place *p = NULL;
	int rc = EXS_OK;

	exsi_lock(&s->lock);
	bool full = s->count >= s->max && !beyond;
	if (!s->closed && !full)
		p = exsi_place_new(s);
	if (s->closed) /* also: by now */
		rc = EXS_EALREADY;
	else if (!p)
		rc = full ? EXS_EREJECTED : EXS_ENOMEM;
	if (!rc)
		exsi_place_append(s, p);
	else if (p)
		exsi_place_give_back(s, p);
	exsi_stream_unlock(s);
	*place = rc ? NULL : p;
	return rc;
}

exs_future *exsi_stream_room(exs_stream *s, size_t *room, bool *closed)
{
	exs_future *more = exsi_stream_gate(s, &s->room, has_room);

	exsi_lock(&s->lock);
	*room = s->count < s->max ? s->max - s->count : 0;
	*closed = s->closed;
	exsi_unlock(&s->lock);
	return more;
}

int exsi_stream_reserve(exs_stream *s, uint64_t deadline, struct exsi_place **place)
{
	int rc;

	while ((rc = exsi_stream_try_reserve(s, false, place)) == EXS_EREJECTED) {
		exs_future *room = exsi_stream_gate(s, &s->room, has_room);
		rc = room ? exsi_wait(room, deadline) : EXS_ENOMEM;
		exs_future_unref(room);
		if (rc)
			return rc;
		if (s->interrupted)
			return EXS_ECANCELLED;
	}
	return rc;
}

void exsi_stream_fill(exs_stream *s, struct exsi_place *p, exs_future *f)
{
	exsi_lock(&s->lock);
	exsi_place_fill(s, p, f);
}

/* --- while it is paused: a task that is submitted later --- */

struct held {
	exs_stream *stream;
	exs_task task;
	exs_retry_options retry;
	bool begun; /* the task's argument is in other hands */
};

static void held_free(void *arg)
{
	struct held *h = arg;

	if (!h->begun && h->task.arg_free)
		h->task.arg_free(h->task.arg);
	exsi_stream_unref(h->stream);
	exsi_free(h);
}

static exs_future *held_begin(void *arg, exs_result resumed)
{
	struct held *h = arg;

	(void)resumed;
	h->begun = true;
	return exs_submit_with(h->stream->ex, &h->task);
}

/* A copy, with all that it points to but its argument, in one block. NULL: no memory. */
static struct held *hold(exs_stream *s, const exs_task *task)
{
	size_t name = task->name ? strlen(task->name) + 1 : 0;
	size_t n_codes = task->retry && task->retry->codes ? task->retry->n_codes : 0;
	size_t codes = n_codes * sizeof(exs_retry_code);
	struct held *h = n_codes > EXS_UNLIMITED ? NULL : exsi_alloc(sizeof(*h) + codes + name);

	if (!h)
		return NULL;
	*h = (struct held){.stream = s, .task = *task};
	exsi_stream_ref(s);
	if (task->retry) {
		h->retry = *task->retry;
		h->task.retry = &h->retry;
	}
	if (codes)
		h->retry.codes = memcpy(h + 1, task->retry->codes, codes);
	if (name)
		h->task.name = memcpy((char *)(h + 1) + codes, task->name, name);
	return h;
}

/* What is done when the stream goes on; a cancel of it does not matter to others. NULL: no memory. */
static exs_future *until_resumed(exs_stream *s)
{
	exs_future *made = NULL;
	exs_promise *promise = exs_promise_new(&made);

	exsi_lock(&s->lock);
	if (promise && s->paused && !s->resume) {
		s->resume = promise;
		s->resumed = made;
		promise = NULL;
		made = NULL;
	}
	exs_future *f = s->resumed ? exs_future_ref(s->resumed) : NULL;
	exsi_unlock(&s->lock);
	if (promise && !f) { /* it goes on already */
		exs_promise_complete(promise, exs_ok(NULL, NULL));
		f = exs_future_ref(made);
	}
	exs_promise_free(promise);
	exs_future_unref(made);
	return f ? exs_future_nocancel(f) : NULL;
}

static exs_future *submit_later(exs_stream *s, const exs_task *task)
{
	exs_future *resumed = until_resumed(s);
	struct held *h = resumed ? hold(s, task) : NULL;

	if (h)
		return exs_future_flat_map(resumed, held_begin, NULL, h, held_free);
	exs_future_unref(resumed);
	if (task->arg_free)
		task->arg_free(task->arg);
	return exsi_fail_null(EXS_ENOMEM, "exs_stream_produce: out of memory");
}

/* --- produced --- */

static bool is_paused(exs_stream *s)
{
	exsi_lock(&s->lock);
	bool paused = s->paused;
	exsi_unlock(&s->lock);
	return paused;
}

/* What the caller gets where there is no place. */
static exs_future *refuse(const exs_stream *s, const exs_task *task, int rc)
{
	if (rc == EXS_EREJECTED)
		return exsi_submit_failed(task,
					  exs_error_new(&exs_domain_exs, rc,
							"exs_stream_try_produce: %zu items, as many as max_results, "
							"are in the stream",
							s->max));
	if (rc != EXS_EALREADY && rc != EXS_ENOMEM)
		return exsi_submit_failed(task, exs_error_ref(exsi_error((exs_code)rc)));
	if (task->arg_free)
		task->arg_free(task->arg);
	if (rc == EXS_ENOMEM)
		return exsi_fail_null(rc, "exs_stream_produce: out of memory");
	return exsi_returned(exs_ok(NULL, NULL));
}

static exs_future *produce(exs_stream *s, const exs_task *task, bool waits)
{
	struct exsi_place *p;
	int rc = waits ? exsi_stream_reserve(s, EXSI_NEVER, &p) : exsi_stream_try_reserve(s, false, &p);

	if (rc)
		return refuse(s, task, rc);
	exs_future *f = is_paused(s) ? submit_later(s, task)
			: waits	     ? exs_submit_with(s->ex, task)
				     : exs_try_submit(s->ex, task);
	exsi_stream_fill(s, p, f ? exs_future_ref(f) : NULL);
	return f;
}

static const char *wrong_call(const exs_stream *s, bool has_fn, bool needs_executor)
{
	if (!s)
		return "stream is NULL";
	if (s->kind->pull)
		return "the stream has a source; only one made without is produced for";
	if (needs_executor && !s->ex)
		return "the stream was made without an executor: use exs_stream_produce_async or exs_stream_push";
	return has_fn ? NULL : "fn is NULL";
}

static exs_future *produce_sized(exs_stream *s, const exs_task *given, size_t size, bool waits)
{
	exs_task task;
	bool known = exsi_options(&task, sizeof(task), given, size);
	const char *wrong = known ? wrong_call(s, task.fn, true) : "options that this library does not know";

	if (!wrong)
		return produce(s, &task, waits);
	return exsi_submit_failed(&task, exs_error_new(&exs_domain_exs, EXS_EINVAL, "exs_stream_produce: %s", wrong));
}

exs_future *exs_stream_produce_with_sized(exs_stream *s, const exs_task *task, size_t size)
{
	return produce_sized(s, task, size, true);
}

exs_future *exs_stream_try_produce_sized(exs_stream *s, const exs_task *task, size_t size)
{
	return produce_sized(s, task, size, false);
}

exs_future *exs_stream_produce(exs_stream *s, exs_task_fn *fn, void *arg)
{
	return exs_stream_produce_with(s, &(exs_task){.fn = fn, .arg = arg});
}

exs_future *exs_stream_produce_async(exs_stream *s, exs_produce_fn *fn, void *arg)
{
	const char *wrong = wrong_call(s, fn, false);
	struct exsi_place *p;
	exs_task none = {.fn = NULL};

	if (wrong)
		return exsi_failed("exs_stream_produce_async: %s", wrong);
	int rc = exsi_stream_reserve(s, EXSI_NEVER, &p);
	if (rc)
		return refuse(s, &none, rc);
	unsigned failures = exsi_failures();
	exs_future *f = fn(arg);
	if (!f)
		f = exsi_returned(exsi_no_future("exs_stream_produce_async: fn", failures));
	exsi_stream_fill(s, p, f ? exs_future_ref(f) : NULL);
	return f;
}

/* --- pushed --- */

static int push(exs_stream *s, exs_result result, double seconds)
{
	struct exsi_place *p;
	uint64_t deadline = 0;
	int rc = exsi_wait_begin("exs_stream_push", seconds, &deadline);

	if (rc) {
		exs_result_clear(&result);
		return rc;
	}
	rc = seconds == 0 ? exsi_stream_try_reserve(s, false, &p) : exsi_stream_reserve(s, deadline, &p);
	if (rc) {
		exs_result_clear(&result);
		rc = rc == EXS_EREJECTED ? EXS_ETIMEDOUT : rc;
		return exsi_fail(rc, "exs_stream_push: %s", exs_strerror(rc));
	}
	exs_future *f = exsi_returned(result);
	rc = f ? EXS_OK : EXS_ENOMEM;
	exsi_stream_fill(s, p, f);
	return rc;
}

int exs_stream_push(exs_stream *s, exs_result result, double seconds)
{
	const char *wrong = wrong_call(s, true, false);

	exsi_check_result(&result, "exs_stream_push");
	if (!wrong)
		return push(s, result, seconds);
	exs_result_clear(&result);
	return exsi_fail(EXS_EINVAL, "exs_stream_push: %s", wrong);
}
