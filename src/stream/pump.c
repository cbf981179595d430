/* The pump of a stream: inputs become calls, while there is room for them. */
#include "base/memory.h"
#include "stream/stream.h"

/* --- inputs --- */

static exs_result input_run(void *arg, exs_context *ctx)
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
		task.fn = input_run;
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
static exs_future *begin_once(exs_stream *s, exs_result input)
{
	exs_task task = s->task;

	if (!s->has_task && !input.destroy)
		return exs_submit(s->ex, s->fn, input.value);
	task.fn = s->fn;
	task.arg = input.value;
	task.arg_free = input.destroy;
	return exs_submit_with(s->ex, &task);
}

static exs_future *begin(exs_stream *s, struct exsi_place *p, exs_result input, exs_future *from)
{
	bool again = s->timeout != EXSI_NEVER && s->max_retries;

	p->arg = input.value;
	if (!from && (!input.destroy || !again))
		return begin_once(s, input);
	if (keep_input(s, p, input, from)) {
		exs_future *f = submit_kept(s, p, EXS_ENTRY_SUBMIT);
		if (!again) {
			exsi_input_unref(p->input);
			p->input = NULL;
		}
		return f;
	}
	exs_result_clear(&input);
	exs_future_unref(from);
	return NULL;
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
static exs_future *encode(exs_stream *s, struct exsi_place *p, exs_result input, exs_future *from)
{
	bool shared = false;

	if (from)
		input = exsi_outcome(from, &shared);
	exs_result r = s->encode(s->contexts.codec, input);
	exsi_check_result(&r, "encode");
	if (r.kind != EXS_KIND_VALUE) {
		exs_future_unref(from);
		return exsi_returned(exsi_item_coded(p->number, "encoded", r));
	}
	if (shared) /* it may be from's, or part of it */
		return begin(s, p, r, from);
	exs_future_unref(from);
	return begin(s, p, r, NULL);
}

exs_future *exsi_item_begin(exs_stream *s, struct exsi_place *p, exs_result input, exs_future *from)
{
	return s->encode ? encode(s, p, input, from) : begin(s, p, input, from);
}

/* --- the pump --- */

static bool may_pull(const exs_stream *s)
{
	return s->kind->pull && !s->closed && !s->paused && !s->failed && s->count < s->max;
}

enum next { BEGUN, DONE_AT_ONCE, NOTHING_NOW, NOTHING_MORE };

/* With the lock, which it gives back: the place has been pulled. */
static void put(exs_stream *s, struct exsi_place *p, uint64_t now)
{
	if (s->cut) {
		s->number++;
		s->count--;
		p->state = EXSI_DROPPED;
	} else {
		exsi_place_append(s, p);
	}
	exs_future *f = p->future;
	p->future = NULL;
	exsi_place_fill(s, p, f, now);
}

/* As put: nothing has been pulled. */
static enum next put_nothing(exs_stream *s, struct exsi_place *p, enum exsi_pulled pulled, exs_error *error)
{
	exsi_place_give_back(s, p);
	if (pulled == EXSI_NOTHING) {
		exsi_stream_unlock(s);
		return NOTHING_NOW;
	}
	exsi_stream_close(s, error);
	return NOTHING_MORE;
}

/* With the lock, which it leaves. */
static enum next pull(exs_stream *s)
{
	struct exsi_place *p = exsi_place_new(s);
	exs_error *error = NULL;
	enum next next = BEGUN;

	if (!p) {
		s->failed = EXS_ENOMEM;
		return NOTHING_NOW;
	}
	atomic_store(&s->asking, s->source != NULL);
	exsi_unlock(&s->lock);
	enum exsi_pulled pulled = s->kind->pull(s, p, &error);
	if (pulled == EXSI_PULLED && (!p->future || exs_future_is_done(p->future)))
		next = DONE_AT_ONCE;
	uint64_t now = pulled == EXSI_PULLED ? exsi_stall_now(s, next == BEGUN) : EXSI_NEVER;
	exsi_lock(&s->lock);
	if (pulled == EXSI_PULLED)
		put(s, p, now);
	else
		next = put_nothing(s, p, pulled, error);
	exsi_lock(&s->lock);
	return next;
}

/* With the lock, which it leaves. Answers whether it is to be asked again. */
static bool pull_all(exs_stream *s, bool for_reader)
{
	while (may_pull(s)) {
		enum next next = pull(s);
		if (next == NOTHING_NOW || next == NOTHING_MORE)
			break;
		if (for_reader && next == DONE_AT_ONCE && exsi_stream_readable(s))
			return false;
	}
	return s->pump_again && may_pull(s);
}

/* Invariant: who finds another thread pumping says so to it, and that looks again before it leaves. */
void exsi_stream_pump(exs_stream *s, bool for_reader)
{
	if (atomic_load(&s->pumping) || !may_pull(s)) {
		s->pump_again = true;
		exsi_stream_unlock(s);
		return;
	}
	atomic_store(&s->pumping, 1);
	s->pumper = pthread_self();
	exsi_stream_ref(s);
	do
		s->pump_again = false;
	while (pull_all(s, for_reader));
	atomic_store(&s->pumping, 0);
	exsi_stream_unlock(s);
	exsi_stream_unref(s);
}
