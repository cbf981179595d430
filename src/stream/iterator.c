/* Iterator: a call is done at once, with a stream; its task runs as a call of its own, and emits what that brings. */
#include <executors/iterator.h>

#include "base/memory.h"
#include "executor/home.h"
#include "stream/emit.h"
#include "stream/window.h"

/* Two executors: one that answers the streams; below it, hidden, the top of the tasks' calls. */
struct iterator {
	size_t max; /* of a stream */
};

/* A task's. One reference is its call's, as its argument; one the node's. */
struct emitter {
	atomic_uint refs;
	exs_executor *x;    /* kept */
	exs_stream *stream; /* a reference */
	exs_task_fn *fn;
	void *arg;
	exs_free_fn *arg_free;
	void *to_free; /* by that: arg, or what it lies in */
	struct exsi_node node;
	pthread_t starter; /* while it is being started */
	atomic_bool starting;
};

static void stream_destroy(void *stream)
{
	exs_stream_free(stream);
}

/* --- the stream: extra is the task's call, with a reference --- */

static void emitted_cancel(exs_stream *s)
{
	if (s->extra)
		exsi_cancel(s->extra, EXSI_STOP_ALL, EXS_CAUSE_USER);
}

static exs_future *emitted_input(exs_stream *s)
{
	exs_future *f = s->extra;

	if (!f || exs_future_is_done(f))
		return NULL;
	exsi_hold(f);
	return f;
}

static void emitted_fini(exs_stream *s)
{
	exs_future_unref(s->extra);
}

static const struct exsi_stream_kind emitted = {.cancel = emitted_cancel, .input = emitted_input, .fini = emitted_fini};

/* --- the task --- */

static void emitter_unref(void *arg)
{
	struct emitter *e = arg;

	if (atomic_fetch_sub(&e->refs, 1) != 1)
		return;
	exs_executor *x = e->x;
	if (e->arg_free)
		e->arg_free(e->to_free);
	exsi_stream_unref(e->stream);
	exsi_free(e);
	exsi_unkeep(x);
}

static void interrupt(void *stream)
{
	exs_stream *s = stream;

	exsi_lock(&s->lock);
	atomic_store(&s->interrupted, true);
	exsi_stream_unlock(s);
}

/* Below there may be a retry: it begins anew. */
static exs_result emitter_run(void *arg, exs_context *ctx)
{
	struct emitter *e = arg;

	atomic_store(&e->stream->interrupted, false);
	if (exs_context_on_cancel(ctx, interrupt, e->stream))
		return exs_fail(exsi_error(EXS_ENOMEM));
	return e->fn(e->arg, ctx);
}

static void emitter_over(exs_future *f, struct exsi_node *node)
{
	struct emitter *e = EXSI_CONTAINER_OF(node, struct emitter, node);
	exs_error *error = exs_error_ref(exs_future_error(f));

	if (exs_future_state(f) == EXS_STATE_CANCELLED)
		error = exs_error_ref(exsi_error(EXS_ECANCELLED));
	exsi_lock(&e->stream->lock);
	exsi_stream_close(e->stream, error);
	emitter_unref(e);
}

/* --- emitted --- */

/* Is there nobody who could read before this returns? */
static bool reader_is_below(const struct emitter *e, exs_future *task)
{
	return exsi_top(task)->leaf->turn || (atomic_load(&e->starting) && pthread_equal(e->starter, pthread_self()));
}

static int emit(struct emitter *e, exs_future *task, exs_context *ctx, exs_result result)
{
	exs_stream *s = e->stream;
	struct exsi_place *p;
	int rc = EXS_ECANCELLED;

	if (!exs_context_stop_requested(ctx))
		rc = reader_is_below(e, task) ? exsi_stream_try_reserve(s, true, &p)
					      : exsi_stream_reserve(s, EXSI_NEVER, &p);
	if (rc) {
		exs_result_clear(&result);
		return rc == EXS_EALREADY ? EXS_ECANCELLED : rc;
	}
	exs_future *f = exsi_returned(result);
	exsi_stream_fill(s, p, f);
	return f ? EXS_OK : EXS_ENOMEM;
}

int exs_emit(exs_context *ctx, exs_result result)
{
	exs_future *task = (exs_future *)(void *)ctx;

	exsi_check_result(&result, "exs_emit");
	if (task && exsi_home(task)) {
		int said = exsi_home(task)->emit(task, result);
		return said ? exsi_fail(said, "exs_emit: %s", exs_strerror(said)) : said;
	}
	if (!task || task->fn != emitter_run) {
		exs_result_clear(&result);
		return exsi_fail(EXS_EINVAL, "exs_emit: %s",
				 ctx ? "the task is below no iterator (exs_with_iterator)" : "ctx is NULL");
	}
	int rc = emit(exs_call_arg(task), task, ctx, result);
	return rc ? exsi_fail(rc, "exs_emit: %s", exs_strerror(rc)) : rc;
}

/* --- emitted elsewhere --- */

struct exsi_work exsi_work_of(exs_future *call)
{
	struct exsi_work work = {.fn = call->fn, .arg = exs_call_arg(call), .stream = NULL};

	if (work.fn == emitter_run) {
		struct emitter *e = work.arg;
		work = (struct exsi_work){.fn = e->fn, .arg = e->arg, .stream = e->stream};
	}
	if (work.fn == exsi_input_run) {
		struct exsi_input *input = work.arg;
		work.fn = input->fn;
		work.arg = input->value.value;
	}
	return work;
}

int exsi_emit_beyond(exs_stream *s, exs_result result)
{
	struct exsi_place *p;
	int rc = exsi_stream_try_reserve(s, true, &p);

	if (rc) {
		exs_result_clear(&result);
		return rc;
	}
	exs_future *f = exsi_returned(result);
	exsi_stream_fill(s, p, f);
	return f ? EXS_OK : EXS_ENOMEM;
}

/* --- hooks --- */

/* What a call is whose argument is the task's by now. */
static exs_result moved(void *arg, exs_context *ctx)
{
	(void)arg, (void)ctx;
	return exs_fail(exs_error_new(&exs_domain_exs, EXS_EALREADY,
				      "iterator: the task of a stream can't be begun again by a retry above"));
}

/* An argument that several blocks use gains a user; that of f alone is not f's any more. */
static void take_argument(struct emitter *e, exs_future *f)
{
	e->fn = f->fn;
	e->arg = exs_call_arg(f);
	e->to_free = f->arg;
	e->arg_free = f->arg_free;
	if (exsi_arg_is_shared(f)) {
		atomic_fetch_add(&((struct exsi_shared_arg *)f->arg)->users, 1);
		return;
	}
	f->fn = moved;
	f->arg = NULL;
	f->arg_free = NULL;
}

static exs_stream *stream_new(exs_executor *x)
{
	const struct iterator *it = exsi_state(x);

	return exsi_stream_make(
		&(struct exsi_stream_plan){.who = "exs_with_iterator", .kind = &emitted, .max_default = it->max});
}

static struct emitter *emitter_new(exs_executor *x, exs_stream *s)
{
	struct emitter *e = s ? exsi_zalloc(sizeof(*e)) : NULL;

	if (!e)
		return NULL;
	atomic_init(&e->refs, 2);
	atomic_init(&e->starting, true);
	e->starter = pthread_self();
	e->x = x;
	e->stream = s;
	e->node = (struct exsi_node){.fn = emitter_over, .kind = EXSI_CONTINUATION};
	return e;
}

/* The task has the call's options but those that layers above see to. NULL: no memory. */
static exs_future *submit_task(exs_executor *x, exs_future *f, struct emitter *e)
{
	exs_task task = {.fn = emitter_run,
			 .arg = e,
			 .arg_free = emitter_unref,
			 .name = exs_call_name(f),
			 .priority = exs_call_priority(f),
			 .series = exs_call_series(f),
			 .place = exs_call_place(f)};

	return exsi_submit(x->inner, &task, exs_call_entry(f), NULL, exsi_scope_of(f));
}

/* The stream of a task that has been submitted, or NULL: no memory. e has what it needs. */
static exs_stream *start_task(exs_executor *x, exs_future *f, struct emitter *e)
{
	exs_stream *s = e->stream;

	exsi_stream_ref(s);
	exsi_keep(x);
	take_argument(e, f);
	exs_future *task = submit_task(x, f, e);
	s->extra = task;
	atomic_store(&e->starting, false);
	if (!task) {
		emitter_unref(e);
		exs_stream_free(s);
		return NULL;
	}
	if (!exsi_node_add(task, &e->node))
		emitter_over(task, &e->node);
	return s;
}

static exs_step iterator_start(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	exs_stream *s = stream_new(x);
	struct emitter *e = emitter_new(x, s);

	(void)slot;
	if (!e || f->fn == moved) {
		*r = e ? moved(NULL, NULL) : exs_fail(exsi_error(EXS_ENOMEM));
		exsi_free(e);
		exs_stream_free(s);
		return EXS_UP;
	}
	s = start_task(x, f, e);
	*r = s ? exs_ok(s, stream_destroy) : exs_fail(exsi_error(EXS_ENOMEM));
	return EXS_UP;
}

static int iterator_describe(exs_executor *x, char *buf, size_t size)
{
	const struct iterator *it = exsi_state(x);

	return exsi_describe_count(buf, size, it->max > EXS_UNLIMITED ? EXS_UNLIMITED : (unsigned)it->max, "");
}

static const exs_layer_ops iterator_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "iterator",
	.start = iterator_start,
	.done = exs_pass_done,
	.cancel = exs_pass_cancel,
	.describe = iterator_describe,
};

/* A stream is what it does the work of, and no call. */
static exs_future *no_parent(exs_executor *x, exs_future *task)
{
	(void)x, (void)task;
	return NULL;
}

static const exs_layer_ops task_ops = {
	.size = sizeof(exs_layer_ops),
	.type = exsi_hidden_type,
	.start = exs_pass_start,
	.done = exs_pass_done,
	.cancel = exs_pass_cancel,
};

exs_executor *exs_with_iterator(exs_executor *ex, size_t max_results)
{
	const char *wrong = NULL;

	if (max_results == EXS_NONE)
		wrong = "max_results: EXS_NONE would let no item in; it must be at least 1";
	exs_executor *below = exsi_wrap(&task_ops, exsi_checked(ex, "exs_with_iterator", true, wrong), 0, 0);
	exs_executor *x = exsi_wrap(&iterator_ops, below, sizeof(struct iterator), 0);
	if (!x)
		return NULL;
	below->alone = true;
	below->parent = no_parent;
	exsi_layer_new_block(x, false);
	struct iterator *it = exsi_state(x);
	it->max = max_results == EXS_UNLIMITED ? SIZE_MAX : max_results ? max_results : 1;
	return x;
}
