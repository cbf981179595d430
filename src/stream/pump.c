/* The pump of a stream: inputs become calls, while there is room for them. */
#include "base/memory.h"
#include "stream/window.h"

/* --- inputs --- */

exs_result exsi_input_run(void *arg, exs_context *ctx)
{
	struct exsi_input *input = arg;

	return input->fn(input->value.value, ctx);
}

void exsi_input_unref(void *arg)
{
	struct exsi_input *input = arg;

	if (!input || atomic_fetch_sub(&input->refs, 1) != 1)
		return;
	exs_result_clear(&input->value);
	exs_future_unref(input->from);
	exsi_free(input);
}

/* One reference is p's. */
static bool keep_input(exs_stream *s, struct exsi_place *p, exs_result value, exs_future *from)
{
	struct exsi_input *input = exsi_alloc(sizeof(*input));

	if (!input)
		return false;
	*input = (struct exsi_input){.fn = s->fn, .value = value, .from = from};
	atomic_init(&input->refs, 1);
	p->input = input;
	return true;
}

static exs_future *submit_kept(exs_stream *s, struct exsi_place *p, exs_entry entry)
{
	exs_task task = s->task;

	if (p->input) {
		atomic_fetch_add(&p->input->refs, 1);
		task.fn = exsi_input_run;
		task.arg = p->input;
		task.arg_free = exsi_input_unref;
	} else {
		task.fn = s->fn;
		task.arg = p->arg;
	}
	return exsi_submit(s->ex, &task, entry, NULL, NULL);
}

/* On the timer's callbacks' thread: it does not wait for room. */
exs_future *exsi_item_begin_again(exs_stream *s, struct exsi_place *p)
{
	return submit_kept(s, p, EXS_ENTRY_RESTART);
}

/* Nothing but the call needs the input. */
__attribute__((noinline)) static exs_future *begin_with_options(exs_stream *s, const exs_result *input)
{
	exs_task task = s->task;

	task.fn = s->fn;
	task.arg = input->value;
	task.arg_free = input->destroy;
	return exs_submit_with(s->ex, &task);
}

__attribute__((noinline)) static exs_future *begin_kept(exs_stream *s, struct exsi_place *p, exs_result *input,
							exs_future *from)
{
	bool again = s->timeout != EXSI_NEVER && s->max_retries;

	if (!from && !again)
		return begin_with_options(s, input);
	if (keep_input(s, p, *input, from)) {
		exs_future *f = submit_kept(s, p, EXS_ENTRY_SUBMIT);
		if (!again) {
			exsi_input_unref(p->input);
			p->input = NULL;
		}
		return f;
	}
	exs_result_clear(input);
	exs_future_unref(from);
	return NULL;
}

static inline exs_future *begin(exs_stream *s, struct exsi_place *p, exs_result *input, exs_future *from)
{
	p->arg = input->value;
	if (from || input->destroy)
		return begin_kept(s, p, input, from);
	return s->has_task ? begin_with_options(s, input) : exs_submit(s->ex, s->fn, input->value);
}

/* --- encoded --- */

exs_result exsi_item_coded(uint64_t number, const char *what, exs_result r)
{
	exs_error *why = r.kind == EXS_KIND_ERROR ? r.error : NULL;

	if (!why)
		return r;
	exs_error *error = exs_error_new(exs_error_domain(why), exs_error_code(why), "item %llu can't be %s: %s",
					 (unsigned long long)number, what, exs_error_message(why));
	exs_error_unref(why);
	return exs_fail(error);
}

/* What is encoded does not live in the future that the input came from. */
__attribute__((noinline)) static exs_future *encode(exs_stream *s, struct exsi_place *p, const exs_result *input,
						    exs_future *from)
{
	bool shared = false;
	exs_result r = from ? exsi_outcome(from, &shared) : *input;

	r = s->encode(s->contexts.codec, r);
	exsi_check_result(&r, "encode");
	if (r.kind != EXS_KIND_VALUE) {
		exs_future_unref(from);
		return exsi_returned(exsi_item_coded(p->number, "encoded", r));
	}
	if (shared) /* it may be from's, or part of it */
		return begin(s, p, &r, from);
	exs_future_unref(from);
	return begin(s, p, &r, NULL);
}

static inline exs_future *item_begin(exs_stream *s, struct exsi_place *p, exs_result *input, exs_future *from)
{
	return s->encode ? encode(s, p, input, from) : begin(s, p, input, from);
}

exs_future *exsi_item_begin(exs_stream *s, struct exsi_place *p, exs_result *input, exs_future *from)
{
	return item_begin(s, p, input, from);
}

/* --- of a source --- */

static inline enum exsi_pulled source_pull(exs_stream *s, struct exsi_place *p, exs_error **error)
{
	exs_result input = exs_ok(NULL, NULL);

	bool more = s->source(s->contexts.source, &input);
	if (s->followed && atomic_exchange(&s->asking, 0) == 2) /* who frees waits for this */
		exsi_unpark(&s->asking, 1);
	if (!more) {
		exs_result_clear(&input);
		return EXSI_PULLED_LAST;
	}
	exsi_check_result(&input, "the source of a stream");
	if (input.kind != EXS_KIND_VALUE) {
		*error = input.kind == EXS_KIND_ERROR ? input.error : exs_error_ref(exsi_error(EXS_ECANCELLED));
		return EXSI_PULLED_LAST;
	}
	p->future = item_begin(s, p, &input, NULL);
	return EXSI_PULLED;
}

const struct exsi_stream_kind exsi_of_source = {.pull = source_pull};

/* --- the pump --- */

static bool may_pull(const exs_stream *s)
{
	return s->count < s->max && s->kind->pull && !s->closed && !s->paused && !s->failed;
}

/* With the lock: p has been pulled, and comes into the window without its future, which is the answer. */
static exs_future *put(exs_stream *s, struct exsi_place *p)
{
	exs_future *f = p->future;

	p->future = NULL;
	if (!s->cut) {
		exsi_place_append(s, p);
		return f;
	}
	s->number++;
	s->count--;
	p->state = EXSI_DROPPED;
	return f;
}

/* With the lock, which it gives back: nothing has been pulled. Answers whether to go on. */
static bool put_nothing(exs_stream *s, struct exsi_place *p, enum exsi_pulled pulled, exs_error *error)
{
	exsi_place_give_back(s, p);
	if (pulled == EXSI_PULLED_LAST) {
		s->pumping = false;
		exsi_stream_close(s, error);
		return false;
	}
	bool more = s->pump_again && may_pull(s);
	if (!more)
		s->pumping = false;
	exsi_stream_unlock(s);
	return more;
}

/* With the lock: will there be something to read when p, which was put, is filled with what is done? */
static bool is_for_reader(exs_stream *s, const struct exsi_place *p)
{
	return s->as_completed || s->window.next == &p->link || exsi_stream_readable(s);
}

/* With the lock, which it gives back. Answers whether to go on; if not, this thread pumps no more. */
static bool pull(exs_stream *s, bool for_reader)
{
	struct exsi_place *p = exsi_place_new(s);
	exs_error *error = NULL;

	if (!p) {
		s->failed = EXS_ENOMEM;
		s->pumping = false;
		exsi_stream_unlock(s);
		return false;
	}
	if (s->closed || s->paused) /* by now: memory for it may have been made without the lock */
		return put_nothing(s, p, EXSI_NOTHING, NULL);
	s->pump_again = false;
	if (s->followed)
		atomic_store_explicit(&s->asking, s->source != NULL, memory_order_relaxed); /* as of the lock */
	exsi_unlock(&s->lock);
	/* the usual kind inline */
	enum exsi_pulled pulled = s->source ? source_pull(s, p, &error) : s->kind->pull(s, p, &error);
	bool at_once = pulled == EXSI_PULLED && (!p->future || exsi_is_done(p->future));
	exsi_lock(&s->lock);
	if (pulled != EXSI_PULLED)
		return put_nothing(s, p, pulled, error);
	exs_future *f = put(s, p);
	bool more = !(for_reader && s->lazy && at_once && is_for_reader(s, p)) && may_pull(s);
	if (!more)
		s->pumping = false;
	exsi_place_fill(s, p, f);
	return more;
}

/* Invariant: who finds another thread pumping says so to it, and that looks again before it leaves. The caller keeps the stream until then; not
   longer: what is told last may free it. */
bool exsi_stream_pump(exs_stream *s, bool for_reader)
{
	if (s->pumping || !may_pull(s)) {
		s->pump_again = true;
		exsi_stream_unlock(s);
		return false;
	}
	s->pumping = true;
	if (s->followed)
		s->pumper = pthread_self();
	while (pull(s, for_reader)) {
		exsi_lock(&s->lock);
		if (may_pull(s))
			continue;
		s->pumping = false;
		exsi_stream_unlock(s);
		break;
	}
	return true;
}
