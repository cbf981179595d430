/* Reading a stream: waits for the next item, a descriptor, decoded values. */
#include "base/memory.h"
#include "future/wait.h"
#include "stream/window.h"

/* --- the gate: what readers that wait wait for; what they could help with is what it is made of --- */

/* A source does not count: a gate that is not done has a reader, and that the stream. */
struct gate {
	exs_future future;  /* first */
	exs_stream *stream; /* NULL: producers wait, nobody can help */
};

static void gate_cancel(exs_future *f, exs_cause cause)
{
	(void)f, (void)cause; /* nobody does */
}

static void gate_cancel_many(exs_future **futures, size_t n, exs_cause cause)
{
	(void)futures, (void)n, (void)cause;
}

/* With the lock: the first place whose number is at least this, or NULL. It is often behind that of the last time. */
static struct exsi_place *find(exs_stream *s, uint64_t number)
{
	struct exsi_list *link = s->looked ? s->looked : &s->window;

	if (link == &s->window || exsi_place_of(link)->number >= number)
		link = s->window.next;
	while (link != &s->window && exsi_place_of(link)->number < number)
		link = link->next;
	s->looked = link;
	return link == &s->window ? NULL : exsi_place_of(link);
}

/* The next AWAITED one whose number is at least *cursor. */
static exs_future *next_awaited(exs_stream *s, size_t *cursor)
{
	exs_future *f = NULL;
	struct exsi_place *p;

	if (s->kind->input) {
		*cursor = SIZE_MAX;
		return s->kind->input(s);
	}
	exsi_lock(&s->lock);
	while (!f && (p = find(s, *cursor))) {
		if (p->state == EXSI_AWAITED && !exs_future_is_done(p->future))
			f = p->future;
		*cursor = (size_t)p->number + 1;
		if (!s->as_completed)
			break;
	}
	if (f)
		exsi_hold(f);
	if (!f || !s->as_completed)
		*cursor = SIZE_MAX;
	exsi_unlock(&s->lock);
	return f;
}

static exs_future *gate_input(exs_future *f, size_t *cursor)
{
	struct exsi_node *last = exsi_nodes_lock(f);
	exs_stream *s = exs_future_is_done(f) ? NULL : ((struct gate *)(void *)f)->stream;

	if (s)
		exsi_stream_ref(s);
	exsi_nodes_unlock(f, last);
	exs_future *input = s ? next_awaited(s, cursor) : NULL;
	if (s)
		exsi_stream_unref(s);
	else
		*cursor = SIZE_MAX;
	return input;
}

static bool gate_any(exs_future *f)
{
	const exs_stream *s = ((struct gate *)(void *)f)->stream;

	return s && s->as_completed;
}

static const struct exsi_source gates = {
	.cancel = gate_cancel, .cancel_many = gate_cancel_many, .input = gate_input, .any = gate_any, .what = "stream"};

exs_future *exsi_stream_gate(exs_stream *s, exs_future **at, bool (*open)(exs_stream *s))
{
	struct gate *g = exsi_alloc(sizeof(*g));
	exs_future *f = NULL;

	if (!g)
		return NULL;
	exsi_future_init(&g->future, &gates, 0);
	g->stream = at == &s->gate ? s : NULL;
	exsi_lock(&s->lock);
	if (!*at && !open(s)) {
		*at = &g->future;
		s->waited = true;
		exsi_stream_unlock(s);
		return &g->future;
	}
	if (*at && !open(s))
		f = exs_future_ref(*at);
	exsi_unlock(&s->lock);
	exs_result r = exs_ok(NULL, NULL);
	exsi_complete(&g->future, &r);
	if (!f)
		return &g->future;
	exs_future_unref(&g->future);
	return f;
}

/* --- decoded --- */

/* Of a future that keeps another. */
struct decoded {
	exs_future future;
	exs_future *from;
};

static exs_future *decode(exs_stream *s, uint64_t number, exs_future *from)
{
	struct decoded *d = exsi_alloc(sizeof(*d));
	bool shared;

	if (!d) {
		exs_future_unref(from);
		return NULL;
	}
	exs_result r = exsi_outcome(from, &shared);
	r = s->decode(s->contexts.codec, r);
	exsi_check_result(&r, "decode");
	r = exsi_item_coded(number, "decoded", r);
	exsi_future_init(&d->future, NULL, 0);
	d->from = from;
	exsi_settle_from(&d->future, &r, from, shared);
	exsi_drop(&d->future);
	return &d->future;
}

/* Decoded, if it is a value. */
static exs_set_status hand_out(exs_stream *s, exs_item *item)
{
	if (exs_future_state(item->future) != EXS_STATE_VALUE)
		return EXS_ITEM;
	item->future = decode(s, item->number, item->future);
	if (item->future)
		return EXS_ITEM;
	return exsi_took_lost(item->number);
}

/* --- next --- */

static inline exs_set_status look(exs_stream *s, exs_item *item)
{
	exs_error *error;
	exs_set_status status = exsi_stream_take(s, item, false, &error);

	if (status == EXS_ITEM)
		return s->decode ? hand_out(s, item) : EXS_ITEM;
	if (error)
		exs_set_last_error(exs_error_domain(error), exs_error_code(error), "%s", exs_error_message(error));
	return status;
}

/* There was nothing to read: has items begun. */
static exs_set_status look_again(exs_stream *s, exs_item *item)
{
	if (!s->kind->pull)
		return EXS_TIMEOUT;
	exsi_lock(&s->lock);
	return exsi_stream_pump(s, true) ? look(s, item) : EXS_TIMEOUT;
}

static exs_set_status await(exs_stream *s, exs_item *item, uint64_t deadline)
{
	exs_set_status status = EXS_TIMEOUT;

	while (status == EXS_TIMEOUT) {
		exs_future *gate = exsi_stream_gate(s, &s->gate, exsi_stream_readable);
		int rc = gate ? exsi_wait(gate, deadline) : exsi_fail(EXS_ENOMEM, "exs_stream_next: out of memory");
		if (gate)
			exsi_look_over(gate); /* the stream may go, once this is done */
		exs_future_unref(gate);
		if (rc == EXS_ETIMEDOUT)
			return look(s, item);
		if (rc)
			return EXS_FAILED;
		status = look(s, item);
		if (status == EXS_TIMEOUT)
			status = look_again(s, item);
	}
	return status;
}

/* Nothing could be read at first. */
__attribute__((noinline)) static exs_set_status next(exs_stream *s, exs_item *item, double seconds)
{
	exs_set_status status = seconds >= 0 ? look_again(s, item) : EXS_TIMEOUT;
	uint64_t deadline;

	if (status != EXS_TIMEOUT || seconds == 0)
		return status;
	if (exsi_wait_begin("exs_stream_next", seconds, &deadline))
		return EXS_FAILED;
	return await(s, item, deadline);
}

exs_set_status exs_stream_next(exs_stream *s, exs_item *item, double seconds)
{
	if (item)
		*item = (exs_item){.future = NULL};
	if (!s || !item) {
		exsi_fail(EXS_EINVAL, "exs_stream_next: %s is NULL", s ? "item" : "stream");
		return EXS_FAILED;
	}
	exs_set_status status = seconds >= 0 ? look(s, item) : EXS_TIMEOUT;
	return status != EXS_TIMEOUT ? status : next(s, item, seconds);
}

/* --- what else a reader asks --- */

int exs_stream_fd(exs_stream *s)
{
	if (!s)
		return exsi_fail(EXS_EINVAL, "exs_stream_fd: stream is NULL"), -1;
	exsi_lock(&s->lock);
	int rc = s->has_fd ? 0 : exsi_event_make(&s->event);
	int fd = rc ? -1 : s->event.read_fd;
	if (!rc) {
		s->has_fd = true;
		s->waited = true;
	}
	exsi_stream_unlock(s);
	if (rc)
		exsi_fail_errno(rc, "exs_stream_fd");
	return fd;
}

size_t exs_stream_count(exs_stream *s)
{
	if (!s)
		return 0;
	exsi_lock(&s->lock);
	size_t n = s->count;
	exsi_unlock(&s->lock);
	return n;
}

exs_error *exs_stream_error(exs_stream *s)
{
	if (!s)
		return NULL;
	exsi_lock(&s->lock);
	exs_error *error = s->error;
	exsi_unlock(&s->lock);
	return error;
}
