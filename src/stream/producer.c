/* Ordered producer: a push stream, and a consumer that reads it. */
#include <executors/producer.h>

#include "base/memory.h"
#include "stream/stream.h"

#include <executors/functions.h>

/* One reference is the user's, one of the consumer's call, one of the future of the stop. lock guards what follows it. */
struct exs_producer {
	atomic_size_t refs;
	exs_stream *stream; /* paused until the consumer starts */
	exs_consumer_fn *fn;
	void *arg;
	exs_free_fn *arg_free;
	struct exsi_lock lock;
	bool started, stopped;
	bool paused;	      /* by the user; the stream also before the start */
	bool running;	      /* the consumer has started */
	unsigned changes;     /* of these two */
	exs_promise *begun;   /* of the start's future; until then */
	exs_future *consumer; /* the consumer's call */
};

exs_producer *exs_producer_new_sized(exs_executor *ex, const exs_stream_options *options, size_t size)
{
	exs_stream_options o;
	bool known = exsi_options(&o, sizeof(o), options, size);
	const char *wrong = !known	    ? "options that this library does not know"
			    : o.source_free ? "source_free: it has no source"
					    : NULL;
	exs_producer *p = wrong ? NULL : exsi_zalloc(sizeof(*p));

	o.stop_on_error = true;
	if (p)
		p->stream = exs_stream_new(ex, NULL, NULL, NULL, &o);
	else if (wrong)
		exsi_fail(EXS_EINVAL, "exs_producer_new: %s", wrong);
	else
		exsi_fail(EXS_ENOMEM, "exs_producer_new: out of memory");
	if (!p && o.codec_free)
		o.codec_free(o.codec);
	if (!p || !p->stream) {
		exsi_free(p);
		return NULL;
	}
	atomic_init(&p->refs, 1);
	exs_stream_pause(p->stream);
	return p;
}

static void unref(void *arg)
{
	exs_producer *p = arg;

	if (atomic_fetch_sub(&p->refs, 1) != 1)
		return;
	exs_stream_free(p->stream);
	exs_future_unref(p->consumer);
	exsi_free(p);
}

/* --- paused --- */

/* Of several at once the last one leaves the stream as it is to be. */
static void pass_on(exs_producer *p)
{
	unsigned seen;
	bool paused;

	do {
		exsi_lock(&p->lock);
		seen = p->changes;
		paused = p->paused || !p->running;
		exsi_unlock(&p->lock);
		if (paused)
			exs_stream_pause(p->stream);
		else
			exs_stream_resume(p->stream);
		exsi_lock(&p->lock);
		seen -= p->changes;
		exsi_unlock(&p->lock);
	} while (seen);
}

static void set_paused(exs_producer *p, bool paused)
{
	exsi_lock(&p->lock);
	p->paused = paused;
	p->changes++;
	exsi_unlock(&p->lock);
	pass_on(p);
}

/* --- the consumer --- */

/* Once: it has started, or will not. */
static void tell_begun(exs_producer *p, exs_result r)
{
	exsi_lock(&p->lock);
	exs_promise *begun = p->begun;
	p->begun = NULL;
	exsi_unlock(&p->lock);
	if (begun)
		exs_promise_complete(begun, r);
	else
		exs_result_clear(&r);
	exs_promise_free(begun);
}

static void cancel_stream(void *stream)
{
	exs_stream_cancel(stream);
}

static exs_result consume(void *arg, exs_context *ctx)
{
	exs_producer *p = arg;

	if (exs_context_on_cancel(ctx, cancel_stream, p->stream))
		return exs_fail(exsi_error(EXS_ENOMEM));
	tell_begun(p, exs_ok(NULL, NULL));
	exsi_lock(&p->lock);
	p->running = true;
	p->changes++;
	exsi_unlock(&p->lock);
	pass_on(p);
	return p->fn(p->stream, p->arg, ctx);
}

/* It reads no more. */
static void consumed(exs_future *f, void *arg)
{
	exs_producer *p = arg;

	exs_stream_cancel(p->stream);
	exs_result r = exs_future_result(f);
	if (r.kind == EXS_KIND_ERROR)
		exs_error_ref(r.error);
	r.destroy = NULL;
	tell_begun(p, r);
}

static void consumer_free(void *arg)
{
	exs_producer *p = arg;

	if (p->arg_free)
		p->arg_free(p->arg);
	unref(p);
}

/* false: it has been already, or has been stopped. */
static bool may_start(exs_producer *p, exs_promise *begun)
{
	exsi_lock(&p->lock);
	bool may = !p->started && !p->stopped;
	if (may) {
		p->started = true;
		p->begun = begun;
	}
	exsi_unlock(&p->lock);
	return may;
}

/* Without memory for the consumer's call: it has ended. */
static void give_up(exs_producer *p)
{
	exs_stream_cancel(p->stream);
	tell_begun(p, exs_fail(exsi_error(EXS_ENOMEM)));
}

static void submit_consumer(exs_producer *p, exs_executor *ex)
{
	atomic_fetch_add(&p->refs, 2); /* the argument's, the callback's */
	exs_future *f = exs_submit_with(ex, &(exs_task){.fn = consume, .arg = p, .arg_free = consumer_free});
	if (!f) {
		give_up(p);
		unref(p);
		return;
	}
	exsi_lock(&p->lock);
	p->consumer = exs_future_ref(f);
	exsi_unlock(&p->lock);
	if (exs_future_on_done(f, consumed, p, unref))
		give_up(p);
	exs_future_unref(f);
}

static exs_future *refuse_start(void *arg, exs_free_fn *arg_free, int code, const char *why)
{
	if (arg_free)
		arg_free(arg);
	return exsi_returned(exs_fail(exs_error_new(&exs_domain_exs, code, "exs_producer_start: %s", why)));
}

exs_future *exs_producer_start(exs_producer *p, exs_executor *ex, exs_consumer_fn *fn, void *arg, exs_free_fn *arg_free)
{
	exs_future *f = NULL;

	if (!p || !ex || !fn)
		return refuse_start(arg, arg_free, EXS_EINVAL,
				    !p	  ? "producer is NULL"
				    : !ex ? "executor is NULL"
					  : "fn is NULL");
	exs_promise *begun = exs_promise_new(&f);
	if (!begun) {
		if (arg_free)
			arg_free(arg);
		return NULL;
	}
	if (!may_start(p, begun)) {
		exs_promise_free(begun);
		exs_future_unref(f);
		return refuse_start(arg, arg_free, EXS_EALREADY, "it was started or stopped before");
	}
	p->fn = fn;
	p->arg = arg;
	p->arg_free = arg_free;
	submit_consumer(p, ex);
	return f;
}

/* --- produced --- */

exs_future *exs_producer_produce(exs_producer *p, exs_task_fn *fn, void *arg)
{
	return exs_stream_produce(p ? p->stream : NULL, fn, arg);
}

exs_future *exs_producer_produce_with_sized(exs_producer *p, const exs_task *task, size_t size)
{
	return exs_stream_produce_with_sized(p ? p->stream : NULL, task, size);
}

exs_future *exs_producer_produce_async(exs_producer *p, exs_produce_fn *fn, void *arg)
{
	return exs_stream_produce_async(p ? p->stream : NULL, fn, arg);
}

void exs_producer_pause(exs_producer *p)
{
	if (p)
		set_paused(p, true);
}

void exs_producer_resume(exs_producer *p)
{
	if (p)
		set_paused(p, false);
}

/* --- its end --- */

/* What the consumer answers; or the error that has ended the stream before. */
static exs_result outcome(void *arg, exs_result r)
{
	exs_producer *p = arg;
	exs_error *error = exs_stream_error(p->stream);

	if (!error || exs_error_is(error, &exs_domain_exs, EXS_ECANCELLED))
		return r;
	exs_result_clear(&r);
	return exs_fail(exs_error_ref(error));
}

static exs_future *stop_unstarted(exs_producer *p, exs_error *error)
{
	exs_stream_cancel(p->stream);
	return exsi_returned(error ? exs_fail(error) : exs_ok(NULL, NULL));
}

exs_future *exs_producer_stop(exs_producer *p, exs_error *error)
{
	if (!p) {
		exs_error_unref(error);
		return exsi_failed("exs_producer_stop: producer is NULL");
	}
	exsi_lock(&p->lock);
	bool first = !p->stopped;
	exs_future *consumer = p->consumer ? exs_future_ref(p->consumer) : NULL;
	p->stopped = true;
	exsi_unlock(&p->lock);
	if (!first) {
		exs_error_unref(error);
		exs_future_unref(consumer);
		return exsi_returned(exs_ok(NULL, NULL));
	}
	if (!consumer)
		return stop_unstarted(p, error);
	exs_stream_stop(p->stream, error);
	set_paused(p, false);
	atomic_fetch_add(&p->refs, 1);
	return exs_future_map(consumer, outcome, outcome, p, unref);
}

void exs_producer_cancel(exs_producer *p)
{
	if (p)
		exs_stream_cancel(p->stream);
}

void exs_producer_free(exs_producer *p)
{
	if (!p)
		return;
	exsi_lock(&p->lock);
	bool stopped = p->stopped;
	p->stopped = true;
	exsi_unlock(&p->lock);
	if (!stopped)
		exs_stream_cancel(p->stream);
	unref(p);
}
