/* The window of a stream: what not each item passes through. */
#include "stream/window.h"
#include "base/memory.h"

/* --- places --- */

struct exsi_place *exsi_place_allocate(exs_stream *s)
{
	exsi_unlock(&s->lock);
	struct exsi_place *p = exsi_alloc(sizeof(*p));
	exsi_lock(&s->lock);
	if (p)
		*p = (struct exsi_place){.stream = s};
	return p;
}

void exsi_place_dispose(exs_stream *s, struct exsi_place *p)
{
	if (!p)
		return;
	exs_future_unref(p->future);
	exsi_input_unref(p->input);
	p->future = NULL;
	p->input = NULL;
	exsi_lock(&s->lock);
	p->after = s->free;
	s->free = p;
	exsi_unlock(&s->lock);
}

void exsi_place_give_back(exs_stream *s, struct exsi_place *p)
{
	s->count--;
	exsi_place_unref(s, p);
}

/* --- who waits is told --- */

/* What is on its way into the window still comes, unless the stream was cut. */
static bool has_ended(const exs_stream *s)
{
	return s->closed && (s->cut ? exsi_list_is_empty(&s->window) : !s->count);
}

bool exsi_stream_readable(exs_stream *s)
{
	return exsi_place_next(s) || s->failed || has_ended(s);
}

static exs_future *take_out(exs_future **gate)
{
	exs_future *f = *gate;

	*gate = NULL;
	return f;
}

static void open_gate(exs_future *gate)
{
	exs_result r = exs_ok(NULL, NULL);

	if (!gate)
		return;
	exsi_hold(gate);
	exsi_complete(gate, &r);
	exsi_look_over(gate); /* the stream may go */
	exsi_drop(gate);
}

static void tell_sink(exs_stream *sink)
{
	if (!sink)
		return;
	exsi_lock(&sink->lock);
	exsi_stream_pump(sink, false);
	exsi_stream_unref(sink);
}

static void fired(exs_future *f, struct exsi_node *node);

/* With the lock, and with a reference that is the node's from now on; then, without the lock, watch_now. Answers what to give that. */
static exs_future *watch(exs_stream *s, struct exsi_place *p)
{
	exs_future *gate = exsi_anyone_looks_out() ? s->gate : NULL;

	p->watched = true;
	p->node = (struct exsi_node){.fn = fired, .kind = EXSI_CONTINUATION};
	if (!s->nodes++)
		exsi_stream_ref(s);
	if (gate)
		exsi_hold(gate);
	return gate;
}

static void watch_now(struct exsi_place *p, exs_future *gate)
{
	if (!exsi_node_add(p->future, &p->node))
		fired(p->future, &p->node);
	if (!gate)
		return;
	exsi_news_of(gate);
	exsi_drop(gate);
}

/* With the lock: the place that somebody waits for, if it is not watched yet; with a reference. */
static struct exsi_place *to_be_watched(exs_stream *s)
{
	struct exsi_place *p = s->looks && (s->gate || s->has_fd || s->sink_asked) ? exsi_place_first(s) : NULL;

	if (!p || p->state != EXSI_AWAITED || p->watched)
		return NULL;
	p->refs++;
	return p;
}

void exsi_stream_unlock_and_tell(exs_stream *s)
{
	exs_future *gate = NULL, *room = NULL, *looked_for = NULL;
	exs_stream *sink = NULL;
	bool readable = exsi_stream_readable(s);
	if (s->has_fd)
		exsi_event_assign(&s->event, readable);
	if (readable)
		gate = take_out(&s->gate);
	if (s->room && (s->count < s->max || s->closed || s->interrupted))
		room = take_out(&s->room);
	if (readable && s->sink_asked) {
		s->sink_asked = false;
		sink = s->sink;
		if (sink)
			exsi_stream_ref(sink);
	}
	struct exsi_place *next = readable ? NULL : to_be_watched(s);
	if (next)
		looked_for = watch(s, next);
	s->waited = s->gate || s->room || s->has_fd || s->sink_asked;
	exsi_unlock(&s->lock);
	open_gate(gate);
	open_gate(room);
	tell_sink(sink);
	if (next)
		watch_now(next, looked_for);
}

/* --- dropped --- */

/* With the lock: with the window's reference. */
static void drop(exs_stream *s, struct exsi_place *p, struct exsi_list *dropped)
{
	exsi_place_leave(s, p);
	exsi_list_append(dropped, &p->link);
	p->state = EXSI_DROPPED;
}

/* The futures of those that are not done, in an array; NULL: there is no memory for that. */
static exs_future **undone(struct exsi_list *dropped, size_t *n)
{
	size_t room = 0;

	*n = 0;
	for (struct exsi_list *link = dropped->next; link != dropped; link = link->next)
		room++;
	exs_future **futures = exsi_alloc_array(room, sizeof(exs_future *));
	for (struct exsi_list *link = dropped->next; futures && link != dropped; link = link->next) {
		exs_future *f = exsi_place_of(link)->future;
		if (f && !exs_future_is_done(f))
			futures[(*n)++] = f;
	}
	return futures;
}

static void cancel_dropped(struct exsi_list *dropped, exs_cause cause)
{
	size_t n;
	exs_future **futures = undone(dropped, &n);

	if (futures) { /* those that wait in a queue first: else what is asked to stop makes way for them */
		exsi_cancel_all(futures, n, cause, true);
		exsi_cancel_all(futures, n, cause, false);
	}
	for (struct exsi_list *link = dropped->next; !futures && link != dropped; link = link->next)
		if (exsi_place_of(link)->future)
			exsi_cancel(exsi_place_of(link)->future, EXSI_STOP_ALL, cause);
	exsi_free(futures);
}

/* Without the lock; drops the window's reference. The future is that of when it was dropped. */
static void let_go(exs_stream *s, struct exsi_place *p)
{
	exs_future *f = p->future;
	bool removed = f && p->watched && exsi_node_remove(f, &p->node);

	exsi_lock(&s->lock);
	bool last = removed && !--s->nodes;
	p->refs -= removed;
	p = exsi_place_unref(s, p);
	exsi_unlock(&s->lock);
	exsi_place_dispose(s, p);
	if (last)
		exsi_stream_unref(s);
}

/* Without the lock; the caller has a reference of the stream. */
static void let_all_go(exs_stream *s, struct exsi_list *dropped, exs_cause cause)
{
	if (exsi_list_is_empty(dropped))
		return;
	cancel_dropped(dropped, cause);
	while (!exsi_list_is_empty(dropped)) {
		struct exsi_place *p = exsi_place_of(dropped->next);
		exsi_list_remove(&p->link);
		let_go(s, p);
	}
}

/* --- filled, ready --- */

/* With the lock, as completed: it comes after what is ready. */
static void make_ready(exs_stream *s, struct exsi_place *p)
{
	p->after = NULL;
	if (!s->ready)
		s->ready_to = &s->ready;
	*s->ready_to = p;
	s->ready_to = &p->after;
}

static bool has_failed(const struct exsi_place *p)
{
	return p->future && exs_future_state(p->future) == EXS_STATE_ERROR;
}

/* p, in the window, has failed, and the stream ends with that: what has its place after it is dropped (of those as completed, what is not
   ready), as is p. */
static void fail_at(exs_stream *s, struct exsi_place *p, struct exsi_list *dropped)
{
	struct exsi_list *link = !s->as_completed ? p->link.next : s->window.next, *next;

	if (!s->error)
		s->error = exs_error_ref(exs_future_error(p->future));
	s->closed = true;
	s->cut = true;
	for (; link != &s->window; link = next) {
		next = link->next;
		if (!s->as_completed || exsi_place_of(link)->state != EXSI_READY)
			drop(s, exsi_place_of(link), dropped);
	}
	drop(s, p, dropped);
}

/* With the lock, which it gives back: p in the window has failed, and that is the end. */
__attribute__((noinline)) static void end_at(exs_stream *s, struct exsi_place *p, struct exsi_input *input)
{
	struct exsi_list dropped;

	exsi_list_init(&dropped);
	fail_at(s, p, &dropped);
	exsi_stream_ref(s);
	exsi_stream_unlock(s);
	exsi_input_unref(input);
	if (s->in)
		exs_stream_cancel(s->in);
	let_all_go(s, &dropped, EXS_CAUSE_SIBLING);
	exsi_stream_unref(s);
}

/* With the lock, which it gives back: p in the window is done. s may be gone then. */
static inline void done(exs_stream *s, struct exsi_place *p)
{
	struct exsi_input *input = p->input;

	p->input = NULL;
	p->state = EXSI_READY;
	s->retries = 0;
	if (s->stop_on_error && has_failed(p)) {
		end_at(s, p, input);
		return;
	}
	if (s->arrives) /* before this one */
		exsi_stream_receive(s);
	if (s->as_completed)
		make_ready(s, p);
	exsi_stream_unlock(s);
	if (input)
		exsi_input_unref(input);
}

/* The node of p, which was dropped, is gone: as fired. Answers whether the caller has a reference of s now. */
static bool leave_dropped(exs_stream *s, struct exsi_place *p, bool last)
{
	p = exsi_place_unref(s, p);
	if (p && !last)
		exsi_stream_ref(s);
	exsi_unlock(&s->lock);
	exsi_place_dispose(s, p);
	return p || last;
}

/* Once it has given the lock back only the last node has the stream. */
static void fire(exs_stream *s, struct exsi_place *p)
{
	exsi_lock(&s->lock);
	bool last = !--s->nodes;
	if (p->state == EXSI_DROPPED) {
		last = leave_dropped(s, p, last);
	} else {
		p->refs--; /* the window has one */
		exsi_stall_moves(s);
		done(s, p);
	}
	if (last)
		exsi_stream_unref(s);
}

/* --- arrived --- */

void exsi_stream_receive(exs_stream *s)
{
	struct exsi_inbox_node *at = atomic_load(&s->cut) ? NULL : exsi_inbox_take(&s->arrived, NULL, NULL), *next;
	size_t n = 0;

	for (; at; at = next) {
		struct exsi_place *p = EXSI_CONTAINER_OF(at, struct exsi_place, arrived);
		next = at->next;
		p->refs--; /* the window has one */
		exsi_place_see(s, p);
		make_ready(s, p);
		n++;
	}
	s->nodes -= n;
	if (n && !s->nodes)
		exsi_stream_unref(s); /* not the last one: the caller has one */
}

/* Without the lock, with a reference, after it was cut: nobody else looks what arrives. */
static void sweep(exs_stream *s)
{
	struct exsi_inbox_node *at = exsi_inbox_take(&s->arrived, NULL, NULL), *next;

	for (; at; at = next) {
		next = at->next;
		fire(s, EXSI_CONTAINER_OF(at, struct exsi_place, arrived));
	}
}

/* With a reference: something has arrived where nothing was. */
static void look_after(exs_stream *s)
{
	if (atomic_load(&s->cut)) {
		sweep(s);
	} else if (atomic_load(&s->waited)) {
		exsi_lock(&s->lock);
		exsi_stream_unlock_and_tell(s);
	}
}

/* Once it has arrived where there were others nothing keeps the stream. */
static void arrive(exs_stream *s, struct exsi_place *p)
{
	struct exsi_inbox_node *top = exsi_inbox_top(&s->arrived);

	while (top)
		if (exsi_inbox_push(&s->arrived, &top, &p->arrived))
			return;
	exsi_stream_ref(s);
	while (!exsi_inbox_push(&s->arrived, &top, &p->arrived))
		;
	if (!top)
		look_after(s);
	exsi_stream_unref(s);
}

static void fired(exs_future *f, struct exsi_node *node)
{
	struct exsi_place *p = EXSI_CONTAINER_OF(node, struct exsi_place, node);
	exs_stream *s = p->stream;
	struct exsi_input *input = p->input;

	(void)f;
	if (!s->arrives) {
		fire(s, p);
		return;
	}
	p->input = NULL;
	arrive(s, p);
	exsi_input_unref(input);
}

/* p was dropped before it had this future: that of the time stays with it. */
__attribute__((noinline)) static void fill_dropped(exs_stream *s, struct exsi_place *p, exs_future *f)
{
	exs_cause cause = s->cancelled ? EXS_CAUSE_USER : EXS_CAUSE_SIBLING;

	p = exsi_place_unref(s, p);
	exsi_unlock(&s->lock);
	exsi_place_dispose(s, p);
	if (f)
		exsi_cancel(f, EXSI_STOP_ALL, cause);
	exs_future_unref(f);
}

/* With the lock, which it gives back: the reference that p is filled with is its node's from now on. */
__attribute__((noinline)) static void await(exs_stream *s, struct exsi_place *p)
{
	bool begins = exsi_stall_begins(s);
	bool watches = !s->looks || p->input;
	exs_future *gate = watches ? watch(s, p) : NULL;

	p->state = EXSI_AWAITED;
	p->refs -= !watches; /* the window has one */
	exsi_stream_unlock(s);
	if (watches)
		watch_now(p, gate);
	if (begins)
		exsi_stall_begin(s);
}

void exsi_place_fill_slowly(exs_stream *s, struct exsi_place *p, exs_future *f)
{
	if (p->state == EXSI_DROPPED) {
		fill_dropped(s, p, f);
		return;
	}
	p->future = f;
	p->watched = false;
	exsi_stall_moves(s);
	if (!f || exsi_is_done(f)) {
		p->refs--; /* the window has one */
		done(s, p);
		return;
	}
	await(s, p);
}

/* --- read --- */

/* Not as an item. */
static exs_set_status take_end(exs_stream *s, bool is_sink, exs_error **error)
{
	if (!has_ended(s)) {
		s->sink_asked = s->sink_asked || is_sink;
		s->waited = s->waited || is_sink;
		return EXS_TIMEOUT;
	}
	if (s->told || !s->error)
		return EXS_EMPTY;
	s->told = true;
	*error = s->error;
	return EXS_FAILED;
}

exs_set_status exsi_took_lost(uint64_t number)
{
	exsi_fail(EXS_ENOMEM, "item %llu of a stream: %s", (unsigned long long)number, exs_strerror(EXS_ENOMEM));
	return EXS_FAILED;
}

exs_set_status exsi_take_no_item(exs_stream *s, bool is_sink, exs_error **error)
{
	int failed = s->failed;

	s->failed = 0;
	if (failed) {
		exsi_stream_pump(s, !is_sink); /* which had given up */
		exsi_fail(failed, "a stream: %s", exs_strerror(failed));
		return EXS_FAILED;
	}
	exs_set_status status = take_end(s, is_sink, error);
	exsi_stream_unlock(s);
	return status;
}

/* --- its end --- */

void exsi_stream_close(exs_stream *s, exs_error *error)
{
	exs_error *unused = s->error || s->closed ? error : NULL;

	if (!unused && error)
		s->error = error;
	s->closed = true;
	exsi_stream_unlock(s);
	exs_error_unref(unused);
}

void exs_stream_cancel(exs_stream *s)
{
	struct exsi_list dropped;

	if (!s)
		return;
	exsi_list_init(&dropped);
	exsi_stream_ref(s); /* a reader may see the end, and free it */
	exsi_lock(&s->lock);
	if (!s->cancelled && !has_ended(s)) {
		s->cancelled = s->closed = s->told = true;
		s->cut = true;
		if (!s->error)
			s->error = exs_error_ref(exsi_error(EXS_ECANCELLED));
		while (!exsi_list_is_empty(&s->window))
			drop(s, exsi_place_of(s->window.next), &dropped);
		s->ready = NULL;
	}
	exsi_stream_unlock(s);
	exsi_tick_end(s);
	if (s->in)
		exs_stream_cancel(s->in);
	if (s->kind->cancel)
		s->kind->cancel(s);
	let_all_go(s, &dropped, EXS_CAUSE_USER);
	sweep(s);
	exsi_stream_unref(s);
}

void exs_stream_stop(exs_stream *s, exs_error *error)
{
	while (s && s->in)
		s = s->in;
	if (!s) {
		exs_error_unref(error);
		return;
	}
	exsi_lock(&s->lock);
	exsi_stream_close(s, error);
}
