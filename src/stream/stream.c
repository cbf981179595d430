/* Streams made and freed; those of a source. */
#include "base/memory.h"
#include "stream/window.h"

#include <string.h>

/* --- options --- */

/* What is wrong with them, or NULL. */
static const char *wrong_options(const exs_stream_options *o)
{
	if (o->max_results == EXS_NONE)
		return "max_results: EXS_NONE would let no item in; it must be at least 1";
	if (!(exsi_option_seconds(o->timeout, 1) > 0))
		return "timeout: it must be more than 0 seconds, or EXS_UNLIMITED";
	if (o->task && (o->task->fn || o->task->arg || o->task->arg_free))
		return "task: its fn, arg and arg_free must be NULL: the stream's own function and input take their "
		       "place";
	return NULL;
}

static void free_contexts(const struct exsi_stream_contexts *c)
{
	if (c->source_free)
		c->source_free(c->source);
	if (c->codec_free)
		c->codec_free(c->codec);
}

static void set_options(exs_stream *s, const exs_stream_options *o, size_t max_default)
{
	s->max = o->max_results ? o->max_results : max_default;
	if (o->max_results == EXS_UNLIMITED)
		s->max = SIZE_MAX;
	s->as_completed = o->as_completed;
	s->stop_on_error = o->stop_on_error;
	s->arrives = s->as_completed && !s->stop_on_error;
	s->looks = !s->as_completed && !s->stop_on_error;
	s->timeout = EXSI_NEVER;
	if (s->kind->pull && s->ex)
		exsi_duration(exsi_option_seconds(o->timeout, 10), &s->timeout);
	s->max_retries = o->max_retries ? o->max_retries : 3;
	if (o->max_retries == EXS_NONE)
		s->max_retries = 0;
	s->encode = o->encode;
	s->decode = o->decode;
	s->has_task = o->task;
	if (o->task)
		s->task = *o->task;
}

static void init(exs_stream *s)
{
	atomic_init(&s->refs, 1);
	exsi_list_init(&s->window);
	s->event.read_fd = s->event.write_fd = -1;
}

exs_stream *exsi_stream_make(const struct exsi_stream_plan *plan)
{
	exs_stream_options o;
	bool known = exsi_options(&o, sizeof(o), plan->options, plan->size);
	struct exsi_stream_contexts contexts = {plan->ctx, o.source_free, o.codec, o.codec_free};
	const char *wrong = known ? wrong_options(&o) : "options that this library does not know";
	exs_stream *s = NULL;

	if (plan->wrong || wrong)
		exsi_fail(EXS_EINVAL, "%s: %s", plan->who, plan->wrong ? plan->wrong : wrong);
	else if (!(s = exsi_zalloc(sizeof(*s))))
		exsi_fail(EXS_ENOMEM, "%s: out of memory", plan->who);
	if (!s) {
		free_contexts(&contexts);
		return NULL;
	}
	init(s);
	exsi_tick_init(s);
	s->kind = plan->kind;
	s->fn = plan->fn;
	s->contexts = contexts;
	if (plan->ex && !exsi_executor_try_ref(plan->ex)) {
		exs_stream_free(s);
		return exsi_fail_null(EXS_ESHUTDOWN, "%s: the executor is being freed", plan->who);
	}
	s->ex = plan->ex;
	s->lazy = s->ex && !s->ex->leaf->workers && !s->ex->leaf->turn;
	/* In a simulation a chain that has been given no clock has that of the simulation. */
	bool has_clock = s->ex && s->ex->clock_above != exsi_clock(NULL);
	s->clock = has_clock ? exsi_clock_ref(s->ex->clock_above) : exsi_clock_here();
	set_options(s, &o, plan->max_default);
	s->tells = s->timeout != EXSI_NEVER && exsi_clock_is_manual(s->clock);
	return s;
}

/* --- freed --- */

static void destroy(exs_stream *s)
{
	struct exsi_place *p;

	if (s->kind->fini)
		s->kind->fini(s);
	exs_stream_free(s->in);
	while ((p = s->free)) {
		s->free = p->after;
		exsi_free(p);
	}
	exs_promise_free(s->resume);
	exs_future_unref(s->resumed);
	free_contexts(&s->contexts);
	exs_error_unref(s->error);
	exsi_event_close(&s->event);
	if (s->has_time) {
		exsi_time_end(&s->time);
		exs_clock_unref(s->time.clock);
	}
	exs_clock_unref(s->clock);
	if (s->ex)
		exsi_executor_unref_within(s->ex);
	exsi_free(s);
}

void exsi_stream_unref(exs_stream *s)
{
	if (atomic_fetch_sub(&s->refs, 1) == 1)
		destroy(s);
}

static bool has_asked(void *arg)
{
	return !atomic_load(&((exs_stream *)arg)->asking);
}

/* A source that runs on another thread: it is not asked again. The pump may go on after that. */
static void wait_for_source(exs_stream *s)
{
	struct exsi_turner *turner = exsi_self()->turner;
	unsigned asks = 1;

	exsi_lock(&s->lock);
	bool waits = atomic_load(&s->asking) && !pthread_equal(s->pumper, pthread_self());
	exsi_unlock(&s->lock);
	if (!waits)
		return;
	atomic_compare_exchange_strong(&s->asking, &asks, 2);
	exsi_block(false, NULL);
	while (!has_asked(s))
		if (turner)
			turner->until(turner, has_asked, s, EXSI_NEVER);
		else
			exsi_park(&s->asking, 2, EXSI_NEVER);
	exsi_unblock();
}

/* From now on nobody tells the stage above. */
static void leave_sink(exs_stream *in)
{
	exsi_lock(&in->lock);
	in->sink = NULL;
	exsi_unlock(&in->lock);
}

void exs_stream_free(exs_stream *s)
{
	exs_stream *first;

	if (!s)
		return;
	if (s->in)
		leave_sink(s->in);
	exs_stream_cancel(s);
	for (first = s; first->in; first = first->in)
		;
	wait_for_source(first);
	exsi_stream_unref(s);
}

void exsi_stream_follow(exs_stream *s, exs_stream *in)
{
	s->in = in;
	if (!s->ex) {
		exs_clock_unref(s->clock);
		s->clock = exsi_clock_ref(in->clock);
	}
	exsi_lock(&in->lock);
	in->sink = s;
	in->followed = true;
	exsi_unlock(&in->lock);
}

/* --- of a source --- */

static const struct exsi_stream_kind pushed = {.pull = NULL};

static const char *wrong_arguments(const exs_executor *ex, exs_task_fn *fn, exs_source_fn *source, const void *ctx)
{
	if (source && !ex)
		return "executor is NULL";
	if (source && !fn)
		return "fn is NULL";
	if (!source && fn)
		return "source is NULL: of a push stream fn must be NULL, too";
	return !source && ctx ? "source is NULL: of a push stream ctx must be NULL, too" : NULL;
}

exs_stream *exs_stream_new_sized(exs_executor *ex, exs_task_fn *fn, exs_source_fn *source, void *ctx,
				 const exs_stream_options *options, size_t size)
{
	exs_stream *s = exsi_stream_make(&(struct exsi_stream_plan){.who = "exs_stream_new",
								    .kind = source ? &exsi_of_source : &pushed,
								    .ex = ex,
								    .fn = fn,
								    .ctx = ctx,
								    .options = options,
								    .size = size,
								    .max_default = 1024,
								    .wrong = wrong_arguments(ex, fn, source, ctx)});

	if (!s || !source)
		return s;
	s->source = source;
	exsi_lock(&s->lock);
	exsi_stream_pump(s, true);
	return s;
}

/* --- paused --- */

void exs_stream_pause(exs_stream *s)
{
	if (!s)
		return;
	exsi_lock(&s->lock);
	s->paused = true;
	exsi_stream_unlock(s);
}

void exs_stream_resume(exs_stream *s)
{
	if (!s)
		return;
	exsi_lock(&s->lock);
	exs_promise *resume = s->resume;
	exs_future *resumed = s->resumed;
	s->resume = NULL;
	s->resumed = NULL;
	s->paused = false;
	exsi_stream_pump(s, false);
	if (!resume)
		return;
	exs_promise_complete(resume, exs_ok(NULL, NULL));
	exs_promise_free(resume);
	exs_future_unref(resumed);
}
