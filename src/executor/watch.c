/* Calls watched: their metrics counted, their events told. */
#include "executor/watch.h"

#include <executors/events.h>

/* --- the function of the user's --- */

/* turn is even, or a change is under way; lock guards changes. */
static struct exsi_events {
	pthread_mutex_t lock;
	atomic_uint turn;
	_Atomic(exs_event_fn *) fn;
	void *_Atomic ctx;
} events = {.lock = PTHREAD_MUTEX_INITIALIZER};

void exs_set_events(exs_event_fn *fn, void *ctx)
{
	pthread_mutex_lock(&events.lock);
	atomic_fetch_add(&events.turn, 1);
	atomic_store(&events.fn, fn);
	atomic_store(&events.ctx, ctx);
	atomic_fetch_add(&events.turn, 1);
	exsi_watch_on(EXSI_WATCH_EVENTS, fn != NULL);
	pthread_mutex_unlock(&events.lock);
}

static void tell(const exs_event *event)
{
	exs_event_fn *fn;
	void *ctx;
	unsigned turn;

	do {
		turn = atomic_load(&events.turn);
		fn = atomic_load(&events.fn);
		ctx = atomic_load(&events.ctx);
	} while (turn & 1 || turn != atomic_load(&events.turn));
	if (fn)
		fn(ctx, event);
}

static double seconds(uint64_t from, uint64_t to)
{
	return to > from ? (double)(to - from) / 1e9 : 0;
}

/* Of the user's call f. */
static exs_event event_of(exs_event_kind kind, exs_future *f)
{
	return (exs_event){.kind = kind,
			   .executor = exsi_top(f),
			   .future = f,
			   .name = exs_call_name(f),
			   .outcome = EXS_KIND_VALUE};
}

static bool is_users(exs_future *f)
{
	return !exsi_top(f)->parent;
}

/* --- a call --- */

void exsi_watch_init(exs_future *f, size_t at)
{
	unsigned on = exsi_watches();
	exs_executor *top = exsi_top(f);
	struct exsi_watch *w = (struct exsi_watch *)(void *)((char *)f + at);

	exsi_extra(f)->watch = w;
	f->extra |= EXSI_WATCHED;
	w->on = on;
	w->restarting = false;
	w->top = NULL;
	if (on & EXSI_WATCH_METRICS && is_users(f))
		w->top = exsi_series_of_task(top, exs_call_name(f));
	w->submitted = exsi_clock_ns(top->clock);
	atomic_init(&w->started, EXSI_NEVER);
	atomic_init(&w->ran, 0);
}

void exsi_watch_submitted(exs_future *f, struct exsi_watch *w)
{
	exs_event event = event_of(EXS_EVENT_SUBMITTED, f);

	if (w->on & EXSI_WATCH_EVENTS)
		tell(&event);
}

static struct exsi_series *series_of(exs_future *f, const struct exsi_watch *w, exs_executor *x)
{
	if (x->ops.type == exsi_hidden_type)
		return NULL;
	return x == exsi_top(f) ? w->top : exsi_series_of(x);
}

static void count_restart(struct exsi_watch *w, exs_executor *x)
{
	struct exsi_series *s = exsi_series_of(x);
	uint64_t now = exsi_clock_ns(x->clock);

	w->restarting = false;
	exsi_series_add(s, EXSI_RETRIES, 1);
	exsi_series_add(s, EXSI_RETRIES_NS, now - w->back);
}

void exsi_watch_starts(exs_future *f, struct exsi_watch *w, exs_executor *x, exs_executor *from)
{
	if (!(w->on & EXSI_WATCH_METRICS))
		return;
	if (from && w->restarting)
		count_restart(w, from);
	struct exsi_series *s = series_of(f, w, x);
	if (!s)
		return;
	exsi_series_add(s, EXSI_CALLS, 1);
	w->reached[x->depth] = exsi_clock_ns(x->clock);
}

static bool is_forced(exs_future *f)
{
	return atomic_load(&f->state) & EXSI_FORCED || atomic_load(&exsi_top(f)->closing) == EXSI_TIME_IS_UP;
}

/* Of a call whose future has failed, or is to fail, by force, that is the outcome. */
static exs_kind outcome(exs_future *f, const exs_executor *x, const exs_result *r)
{
	if (x == exsi_top(f) && is_forced(f))
		return EXS_KIND_ERROR;
	return r->kind == EXS_KIND_VALUE || r->kind == EXS_KIND_CANCELLED ? r->kind : EXS_KIND_ERROR;
}

void exsi_watch_leaves(exs_future *f, struct exsi_watch *w, exs_executor *x, const exs_result *r)
{
	struct exsi_series *s = w->on & EXSI_WATCH_METRICS ? series_of(f, w, x) : NULL;

	if (!s)
		return;
	exs_kind kind = outcome(f, x, r);
	exsi_series_add(s, EXSI_CALLS_NS, exsi_clock_ns(x->clock) - w->reached[x->depth]);
	if (kind == EXS_KIND_ERROR)
		exsi_series_add(s, EXSI_CALLS_FAILED, 1);
	if (kind == EXS_KIND_CANCELLED)
		exsi_series_add(s, EXSI_CALLS_CANCELLED, 1);
	if (kind == EXS_KIND_CANCELLED && exs_future_cause(f) == EXS_CAUSE_SHUTDOWN)
		exsi_series_add(exsi_series_of(x), EXSI_CALLS_SHUT_DOWN, 1);
	exsi_series_add(s, EXSI_CALLS_ENDED, 1);
}

void exsi_watch_returns(struct exsi_watch *w, const exs_executor *x)
{
	if (x->counts_starts && w->on & EXSI_WATCH_METRICS)
		w->back = exsi_clock_ns(x->clock);
}

void exsi_watch_ends(exs_future *f, struct exsi_watch *w, const exs_result *r)
{
	if (!(w->on & EXSI_WATCH_EVENTS) || !is_users(f))
		return;
	exs_event event = event_of(EXS_EVENT_COMPLETED, f);
	uint64_t started = atomic_load(&w->started);
	bool never = started == EXSI_NEVER;
	event.attempt = never ? 0 : exs_context_attempt(exs_call_context(f));
	event.outcome = outcome(f, exsi_top(f), r);
	event.queue_seconds = seconds(w->submitted, never ? exsi_clock_ns(exsi_top(f)->clock) : started);
	event.run_seconds = (double)atomic_load(&w->ran) / 1e9;
	tell(&event);
}

/* --- its function --- */

/* The user's call that f does the work of, if its events are told; or NULL. */
static exs_future *told_root(exs_future *f)
{
	exs_future *root = exsi_root(f);
	struct exsi_watch *w = is_users(root) ? exsi_watch(root) : NULL;

	return w && w->on & EXSI_WATCH_EVENTS ? root : NULL;
}

uint64_t exsi_watch_run_begins(exs_future *f, struct exsi_watch *w)
{
	exs_future *root = w->on & EXSI_WATCH_EVENTS ? told_root(f) : NULL;

	if (!root)
		return 0;
	exs_event event = event_of(EXS_EVENT_STARTED, root);
	struct exsi_watch *its = exsi_watch(root);
	exs_clock *clock = exsi_top(root)->clock;
	uint64_t now = exsi_clock_ns(clock), never = EXSI_NEVER;
	atomic_compare_exchange_strong(&its->started, &never, now);
	event.attempt = exs_context_attempt(exs_call_context(f));
	event.queue_seconds = seconds(its->submitted, now);
	tell(&event);
	return exsi_clock_ns(clock); /* the function's own time */
}

void exsi_watch_run_ends(exs_future *f, struct exsi_watch *w, uint64_t begun, const exs_result *r)
{
	exs_future *root = w->on & EXSI_WATCH_EVENTS ? told_root(f) : NULL;

	if (!root)
		return;
	exs_event event = event_of(EXS_EVENT_ATTEMPT, root);
	struct exsi_watch *its = exsi_watch(root);
	uint64_t now = exsi_clock_ns(exsi_top(root)->clock);
	atomic_fetch_add(&its->ran, now > begun ? now - begun : 0);
	event.attempt = exs_context_attempt(exs_call_context(f));
	event.outcome = r->kind;
	event.queue_seconds = seconds(its->submitted, atomic_load(&its->started));
	event.run_seconds = seconds(begun, now);
	tell(&event);
}

/* --- a poll function --- */

uint64_t exsi_watch_poll_begins(exs_executor *x)
{
	if (!exsi_watches())
		return EXSI_NEVER;
	if (exsi_watches() & EXSI_WATCH_METRICS)
		exsi_series_of(x);
	return exsi_clock_ns(x->clock);
}

void exsi_watch_poll_ends(exs_executor *x, uint64_t begun, size_t n, bool failed)
{
	if (begun == EXSI_NEVER)
		return;
	uint64_t now = exsi_clock_ns(x->clock);
	exsi_metrics_count(x, EXSI_POLLS_NS, now - begun);
	exsi_metrics_count(x, EXSI_POLLS_FAILED, failed);
	exsi_metrics_count(x, EXSI_POLLS, 1);
	exs_event event = {.kind = EXS_EVENT_POLLED, .executor = x, .n = n};
	event.outcome = failed ? EXS_KIND_ERROR : EXS_KIND_VALUE;
	event.run_seconds = seconds(begun, now);
	if (exsi_watches() & EXSI_WATCH_EVENTS)
		tell(&event);
}
