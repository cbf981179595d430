/* Throttle: at most so many calls below at a time; the others wait, first in, first out. */
#include "base/memory.h"
#include "executor/executor.h"
#include "executor/ticker.h"
#include "future/wait.h"

#include <executors/throttle.h>
#include <stdio.h>

enum { TICK = 2000000000 }; /* ns from one question to the next while calls wait */

/* A call that waits: parked in the queue; or moving, among the blocked, and its submitter sleeps on `turn`. */
enum { WAITS, LET_GO, REFUSED, STUCK };
struct slot {
	struct slot *next, *prev; /* prev NULL: in neither */
	union {
		exs_link link;
		atomic_uint turn;
	};
};

/* lock guards all that follows it. While it is free nothing waits where there is room: who makes room (a call comes back, the
   count grows) lets the next go, under the same lock. With a count_fn something waits only while the ticker is on. */
struct throttle {
	exs_executor *x;
	exs_throttle_options options; /* constant */
	pthread_mutex_t lock;
	struct exsi_ticker ticker;
	struct slot queue, blocked; /* sentinels */
	size_t waiting;		    /* in both */
	size_t below;		    /* calls that went down from here and have not come back */
	unsigned count;
	unsigned long asked, answered; /* questions are numbered; of these, the last that was answered */
};

/* --- the count --- */

static exs_error *ask(const exs_throttle_options *o, unsigned *count)
{
	exs_error *error = o->count_fn(o->ctx, count);

	if (!error && *count > EXS_UNLIMITED)
		error = exs_error_new(&exs_domain_exs, EXS_EINVAL, "%u: the count is at most EXS_UNLIMITED", *count);
	*count = *count == EXS_NONE ? 0 : *count;
	return error;
}

/* Asks, then takes the lock; what has room now the caller lets go. An answer that a later question's came before is ignored. */
static void lock_asking(struct throttle *t)
{
	pthread_mutex_lock(&t->lock);
	if (!t->options.count_fn)
		return;
	unsigned count = t->count;
	unsigned long number = ++t->asked;
	pthread_mutex_unlock(&t->lock);
	exs_error *error = ask(&t->options, &count);
	bool failed = error;
	if (failed)
		exsi_log(EXS_LOG_ERROR, t->x->name, "throttle: the count function failed: %s: the last count stays",
			 exs_error_message(error));
	exs_error_unref(error);
	pthread_mutex_lock(&t->lock);
	if (failed || number < t->answered)
		return;
	t->answered = number;
	t->count = count;
}

/* --- under the lock --- */

static bool has_room(const struct throttle *t)
{
	return t->count == EXS_UNLIMITED || t->below < t->count;
}

static void append(struct throttle *t, struct slot *list, struct slot *s)
{
	t->waiting++;
	s->next = list;
	s->prev = list->prev;
	s->prev->next = s;
	list->prev = s;
}

static void unlink_slot(struct throttle *t, struct slot *s)
{
	t->waiting--;
	s->prev->next = s->next;
	s->next->prev = s->prev;
	s->prev = NULL;
}

static void wake(struct throttle *t, struct slot *s, unsigned turn)
{
	unlink_slot(t, s);
	atomic_store(&s->turn, turn); /* it may be gone after */
	exsi_unpark(&s->turn, 1);
}

/* Those for which there is room: of the queue, a list for unlock_and_go, with their tokens; then the blocked. */
static struct slot *take_turns(struct throttle *t)
{
	struct slot *first = NULL, **tail = &first, *s;

	while (has_room(t) && (s = t->queue.next) != &t->queue) {
		unlink_slot(t, s);
		if (!exs_call_claim(exsi_slot_call(s, t->x)))
			continue; /* its canceller waits for the lock, and finds it unlinked */
		t->below++;
		*tail = s;
		tail = &s->next;
	}
	*tail = NULL;
	while (has_room(t) && t->blocked.next != &t->blocked) {
		t->below++;
		wake(t, t->blocked.next, LET_GO);
	}
	return first;
}

/* Gives the lock back, and lets those go whose turn it is. Something keeps x, unless something is left to wait. */
static void unlock_and_go(struct throttle *t, struct slot *first)
{
	exs_executor *x = t->x;
	bool idle = exsi_ticker_is_idle(&t->ticker);

	pthread_mutex_unlock(&t->lock);
	exsi_tell_waiters(); /* among them those that take_turns woke */
	for (struct slot *s = first, *next; s; s = next) {
		next = s->next;
		exs_call_release(exsi_slot_call(s, x), x, EXS_DOWN, NULL, &s->link);
	}
	if (idle)
		exsi_ticker_rest(&t->ticker);
}

static bool waits(exs_executor *x)
{
	struct throttle *t = exsi_state(x);

	return t->waiting;
}

static void tick(exs_executor *x)
{
	struct throttle *t = exsi_state(x);

	lock_asking(t);
	unlock_and_go(t, take_turns(t));
}

/* --- hooks --- */

/* Where there is no room: is it the thread that waits, and not the call? */
static bool blocks(struct throttle *t, exs_future *f)
{
	return t->options.block && exs_call_entry(f) != EXS_ENTRY_RESTART && !exsi_concerns(f) &&
	       !exsi_inside_before_submit(t->x);
}

static bool closing(const exs_executor *x, exs_future *f)
{
	return atomic_load(&x->closing) || atomic_load(&exsi_top(f)->closing);
}

static bool has_turn(void *slot)
{
	return atomic_load(&((struct slot *)slot)->turn) != WAITS;
}

/* Its turn will never come (only a thread with a turner knows that): takes the call out. */
static void give_up_turn(struct throttle *t, struct slot *s)
{
	pthread_mutex_lock(&t->lock);
	wake(t, s, STUCK);
	unlock_and_go(t, NULL);
}

static exs_step sleep_until_turn(exs_executor *x, struct slot *s, exs_result *r)
{
	bool turns = exsi_self()->turner;

	exsi_drain();
	int rc = exsi_block(false, NULL); /* a refusal changes nothing: the wait must be */
	if (x->leaf->turn || turns)
		exsi_wait_turning(x->leaf, has_turn, s, EXSI_NEVER); /* nobody else may run what it waits for */
	if (turns && !has_turn(s))
		give_up_turn(exsi_state(x), s);
	while (!has_turn(s))
		exsi_park(&s->turn, WAITS, EXSI_NEVER);
	if (!rc)
		exsi_unblock();
	unsigned turn = atomic_load(&s->turn);
	if (turn == LET_GO)
		return EXS_DOWN;
	*r = exs_fail(exsi_error(turn == STUCK ? EXS_EDEADLK : EXS_ESHUTDOWN));
	return EXS_UP;
}

/* With the lock: the call goes down, or waits (DOWN and *sleeps: among the blocked), or is refused. */
static exs_step enter(struct throttle *t, exs_future *f, struct slot *s, bool *sleeps, exs_result *r)
{
	bool may_sleep = *sleeps;

	*sleeps = false;
	if (has_room(t)) {
		t->below++;
		return EXS_DOWN;
	}
	if (!may_sleep && exs_call_park(f, t->x)) {
		append(t, &t->queue, s);
		return EXS_HELD;
	}
	*sleeps = may_sleep && exs_call_entry(f) == EXS_ENTRY_SUBMIT && !closing(t->x, f);
	if (*sleeps) {
		atomic_init(&s->turn, WAITS);
		append(t, &t->blocked, s);
		return EXS_DOWN;
	}
	*r = exs_cancelled();
	if (may_sleep)
		*r = exs_fail(exsi_error(closing(t->x, f) ? EXS_ESHUTDOWN : EXS_EREJECTED));
	return EXS_UP;
}

static exs_step throttle_start(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	struct throttle *t = exsi_state(x);
	struct slot *s = slot;
	bool sleeps = blocks(t, f);

	s->prev = NULL;
	lock_asking(t);
	struct slot *first = take_turns(t);
	while (!has_room(t) && t->options.count_fn && !t->ticker.on)
		exsi_ticker_start(&t->ticker);
	exs_step step = enter(t, f, s, &sleeps, r);
	unlock_and_go(t, first);
	return sleeps ? sleep_until_turn(x, s, r) : step;
}

static exs_step throttle_done(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	struct throttle *t = exsi_state(x);

	(void)f, (void)slot, (void)r;
	lock_asking(t);
	t->below--;
	unlock_and_go(t, take_turns(t));
	return EXS_UP;
}

static exs_step throttle_cancel(exs_executor *x, exs_future *f, void *slot, exs_cause cause, exs_result *r)
{
	struct throttle *t = exsi_state(x);
	struct slot *s = slot;

	(void)f, (void)cause, (void)r;
	pthread_mutex_lock(&t->lock);
	if (s->prev)
		unlink_slot(t, s);
	unlock_and_go(t, NULL);
	return EXS_UP;
}

static void throttle_each(exs_executor *x, exs_visit_fn *visit, void *arg)
{
	struct throttle *t = exsi_state(x);

	pthread_mutex_lock(&t->lock);
	for (struct slot *s = t->queue.next; s != &t->queue; s = s->next)
		visit(exsi_slot_call(s, x), arg);
	pthread_mutex_unlock(&t->lock);
}

static void throttle_closing(exs_executor *x)
{
	struct throttle *t = exsi_state(x);

	pthread_mutex_lock(&t->lock);
	for (struct slot *s = t->blocked.next, *next; s != &t->blocked; s = next) {
		next = s->next;
		if (closing(x, exsi_slot_call(s, x)))
			wake(t, s, REFUSED);
	}
	unlock_and_go(t, NULL);
}

static void throttle_stop(exs_executor *x)
{
	struct throttle *t = exsi_state(x);

	if (t->ticker.x)
		exsi_ticker_fini(&t->ticker);
	pthread_mutex_destroy(&t->lock);
	if (t->options.ctx_free)
		t->options.ctx_free(t->options.ctx);
}

static int throttle_describe(exs_executor *x, char *buf, size_t size)
{
	struct throttle *t = exsi_state(x);
	const char *block = t->options.block ? ", block" : "";

	pthread_mutex_lock(&t->lock);
	unsigned count = t->count;
	pthread_mutex_unlock(&t->lock);
	if (count == EXS_UNLIMITED)
		return snprintf(buf, size, "unlimited%s", block);
	return snprintf(buf, size, "%u%s", count, block);
}

static const exs_layer_ops throttle_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "throttle",
	.start = throttle_start,
	.done = throttle_done,
	.cancel = throttle_cancel,
	.each = throttle_each,
	.closing = throttle_closing,
	.stop = throttle_stop,
	.describe = throttle_describe,
};

/* --- made --- */

static exs_executor *give_up(exs_executor *ex, const exs_throttle_options *o)
{
	exs_executor_free(ex);
	if (o->ctx_free)
		o->ctx_free(o->ctx);
	return NULL;
}

/* Is all well, and what is the count now? */
static bool begin(const exs_throttle_options *o, bool known, unsigned *count)
{
	exs_error *error = NULL;

	if (!known || *count > EXS_UNLIMITED) {
		exsi_fail(EXS_EINVAL, "exs_with_throttle: %s",
			  known ? "count: at most EXS_UNLIMITED" : "options that this library does not know");
		return false;
	}
	*count = *count == EXS_NONE ? 0 : *count;
	if (o->count_fn)
		error = ask(o, count);
	if (error)
		exs_set_last_error(exs_error_domain(error), exs_error_code(error),
				   "exs_with_throttle: the count function failed: %s", exs_error_message(error));
	exs_error_unref(error);
	return !error;
}

exs_executor *exs_with_throttle_sized(exs_executor *ex, unsigned count, const exs_throttle_options *options,
				      size_t size)
{
	exs_throttle_options o;
	bool known = exsi_options(&o, sizeof(o), options, size);

	if (!ex || !begin(&o, known, &count))
		return give_up(ex, &o);
	exs_executor *x = exs_layer_new(&throttle_ops, ex, sizeof(struct throttle), sizeof(struct slot));
	if (!x)
		return give_up(NULL, &o);
	struct throttle *t = exsi_state(x);
	t->x = x;
	t->options = o;
	t->count = count;
	pthread_mutex_init(&t->lock, NULL);
	t->queue.next = t->queue.prev = &t->queue;
	t->blocked.next = t->blocked.prev = &t->blocked;
	int rc = o.count_fn ? exsi_ticker_init(&t->ticker, x, &t->lock, TICK, waits, tick) : 0;
	if (!rc)
		return x;
	t->ticker.x = NULL;
	exs_executor_free(x); /* frees ctx as well */
	return exsi_fail_errno(rc, "throttle: no timer thread");
}

size_t exs_throttle_waiting(exs_executor *x)
{
	while (x && x->ops.start != throttle_start)
		x = x->inner;
	if (!x)
		return 0;
	struct throttle *t = exsi_state(x);
	pthread_mutex_lock(&t->lock);
	size_t n = t->waiting;
	pthread_mutex_unlock(&t->lock);
	return n;
}
