/* Poll: the delegate's values become descriptors; one function, on one thread, resolves all pending ones together. */
#include "base/memory.h"
#include "executor/executor.h"

#include <executors/poll.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* A call of this layer. PENDING: in the pending list, parked, or with a user's canceller at work. LEAVING: claimed for another cause;
   the poll thread will tell the cancel function and send it up. The lock guards all of it. */
struct slot {
	struct slot *next, *prev; /* in pending or leaving */
	exs_result value;	  /* the delegate's */
	exs_result stash;	  /* yielded while a canceller was at work */
	bool has_stash;
	struct exs_descriptor *d; /* in the batch under way; NULL: not in it, or out of it again */
	uint64_t joined;	  /* on the chain's clock */
};

struct exs_descriptor {
	exs_future *call; /* one of the library's references */
	exs_future *root; /* another: the name lies in its block */
	void *value;
	const char *name;
	struct poll *poll;
	exs_result owned; /* a value that left the set during the batch: to be destroyed after it */
	struct exs_scope
		*scope; /* of the root, which waits for the end of the batch: the value may belong to it; or NULL */
	bool refused;
};

/* lock guards all that follows it. Only the poll thread touches batch. The thread sleeps on `bell`, which everybody rings who has news for it. */
struct poll {
	exs_executor *x;
	exs_poll_fn *poll_fn;
	exs_cancel_fn *cancel_fn;
	void *ctx;
	exs_poll_options options; /* constant */
	struct exsi_timer_kind kind;
	struct exsi_timer timer; /* the next poll */
	struct exsi_crew crew;
	struct exsi_worker worker; /* the poll thread as one that waits */
	struct exsi_chore chore;   /* instead of the thread, where the clock has a turner: then next is not NULL */
	bool holds_clock;
	atomic_uint bell;
	atomic_bool due; /* poll as soon as something is pending */
	struct {
		exs_descriptor *d, **list;
		size_t room, n; /* n: until those are let go */
	} batch;
	pthread_mutex_t lock;
	struct slot pending, leaving; /* sentinels */
	size_t n;
	bool stop;
};

static void ring(struct poll *p)
{
	atomic_fetch_add(&p->bell, 1);
	exsi_unpark(&p->bell, 1);
}

static void append(struct slot *list, struct slot *s)
{
	s->next = list;
	s->prev = list->prev;
	s->prev->next = s;
	list->prev = s;
}

static void unlink_slot(struct slot *s)
{
	s->prev->next = s->next;
	s->next->prev = s->prev;
}

/* Takes a call out of the pending set, under the lock. Answers the value for the caller to destroy, unless the poll function
   may be reading it. */
static exs_result take(struct poll *p, struct slot *s)
{
	exs_result value = s->value;

	unlink_slot(s);
	p->n--;
	if (s->d) {
		s->d->owned = value;
		s->d = NULL;
		value = exs_ok(NULL, NULL);
	}
	return value;
}

/* --- joining --- */

static exs_step poll_done(exs_executor *x, exs_future *f, void *slot, exs_result *r)
{
	struct poll *p = exsi_state(x);
	struct slot *s = slot;
	exs_result value = *r;

	if (r->kind != EXS_KIND_VALUE)
		return EXS_UP;
	uint64_t now = exsi_clock_ns(x->clock);
	pthread_mutex_lock(&p->lock);
	*s = (struct slot){.value = value,
			   .joined = now}; /* under the lock: the batch of its last time may still look at it */
	bool joins = exs_call_park(f, x);
	if (joins) {
		append(&p->pending, s);
		p->n++;
		atomic_store(&p->due, true);
		ring(p); /* under the lock: after it the call, and with it the executor, may be gone */
	}
	pthread_mutex_unlock(&p->lock);
	if (joins)
		return EXS_HELD;
	exs_result_clear(&value);
	*r = exs_cancelled();
	return EXS_UP;
}

/* --- what a poll function may do --- */

void *exs_descriptor_value(exs_descriptor *d)
{
	return d->value;
}

const char *exs_descriptor_name(exs_descriptor *d)
{
	return d->name;
}

static bool yield(exs_descriptor *d, exs_result r)
{
	struct poll *p = d->poll;
	struct slot *s = exsi_slot(d->call, p->x);
	bool mine = false, kept = false;

	pthread_mutex_lock(&p->lock);
	if (s->d == d && !s->has_stash) { /* otherwise it has left the set, or left and come again */
		mine = exs_call_claim(d->call);
		if (mine)
			take(p, s); /* it is in the batch: the value goes to the descriptor */
		kept = !mine;	    /* a canceller is at work, whose cancel function may yet say no */
		s->has_stash = kept;
		if (kept)
			s->stash = r;
	}
	pthread_mutex_unlock(&p->lock);
	if (mine)
		exs_call_resume(d->call, p->x, EXS_UP, &r);
	else if (!kept)
		exs_result_clear(&r);
	return mine || kept;
}

bool exs_yield_result(exs_descriptor *d, void *value, exs_free_fn *destroy)
{
	return yield(d, exs_ok(value, destroy));
}

bool exs_yield_error(exs_descriptor *d, exs_error *error)
{
	return yield(d, exs_fail(error ? error : exsi_error(EXS_EINVAL)));
}

void exs_refuse(exs_descriptor *d)
{
	d->refused = true;
}

/* --- cancel --- */

/* Asks the cancel function about one. */
static bool ask(struct poll *p, void *value)
{
	exs_error *error = NULL;

	if (!p->cancel_fn)
		return true;
	bool yes = p->cancel_fn(p->ctx, value, &error);
	if (!error)
		return yes;
	exsi_log(EXS_LOG_ERROR, p->x->name, "poll: the cancel function failed: %s", exs_error_message(error));
	exs_error_unref(error);
	return false;
}

/* After a user's cancel: the call leaves the set unless that was refused. With the token. */
static exs_step conclude(struct poll *p, exs_future *f, struct slot *s, bool yes, exs_result *r)
{
	pthread_mutex_lock(&p->lock);
	if (!yes && !s->has_stash && exs_call_park_again(f, p->x)) {
		pthread_mutex_unlock(&p->lock);
		return EXS_HELD;
	}
	exs_result value = take(p, s), stash = s->stash;
	bool has_stash = s->has_stash;
	pthread_mutex_unlock(&p->lock);
	exs_result_clear(&value);
	if (has_stash && !yes)
		*r = stash;
	else if (has_stash)
		exs_result_clear(&stash);
	return EXS_UP;
}

enum { FEW = 32 };

/* Asks about n at once, through cancel_many where there is one; refused[i] of each in the descriptors. */
static void ask_all(struct poll *p, exs_descriptor *d, exs_descriptor **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		list[i] = &d[i];
	if (p->options.cancel_many) {
		p->options.cancel_many(p->ctx, list, n);
		return;
	}
	for (size_t i = 0; i < n; i++)
		d[i].refused = !ask(p, d[i].value);
}

/* Calls fn on calls in as large groups as memory allows: all in one, or FEW at a time. */
static void in_groups(struct poll *p, exs_future **calls, size_t n, void (*fn)(struct poll *, exs_descriptor *, size_t))
{
	exs_descriptor few_d[FEW], *d = few_d;
	exs_descriptor *few_list[FEW], **list = few_list;
	size_t room = n;

	if (n > FEW) {
		d = exsi_alloc_array(n, sizeof(*d));
		list = exsi_alloc_array(n, sizeof(*list));
	}
	if (!d || !list) {
		exsi_free(d);
		exsi_free(list);
		d = few_d;
		list = few_list;
		room = FEW;
	}
	for (size_t done = 0; done < n; done += room) {
		size_t k = n - done < room ? n - done : room;
		for (size_t i = 0; i < k; i++) {
			struct slot *s = exsi_slot(calls[done + i], p->x);
			d[i] = (exs_descriptor){.call = calls[done + i], .value = s->value.value, .poll = p};
			d[i].name = exs_call_name(d[i].call);
		}
		ask_all(p, d, list, k);
		fn(p, d, k);
	}
	if (d != few_d)
		exsi_free(d);
	if (list != few_list)
		exsi_free(list);
}

static void conclude_users(struct poll *p, exs_descriptor *d, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		exs_result r = exs_cancelled();
		exs_future *f = d[i].call;
		if (conclude(p, f, exsi_slot(f, p->x), !d[i].refused, &r) == EXS_UP)
			exs_call_resume(f, p->x, EXS_UP, &r);
	}
}

/* A timeout or shutdown takes the call, whatever the cancel function answers; on the poll thread. */
static void send_off(struct poll *p, exs_future **calls, size_t n)
{
	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < n; i++) {
		struct slot *s = exsi_slot(calls[i], p->x);
		s->d = NULL; /* later yields are ignored; the value stays until the thread has told the cancel function */
		unlink_slot(s);
		p->n--;
		append(&p->leaving, s);
	}
	ring(p); /* under the lock, as in poll_done */
	pthread_mutex_unlock(&p->lock);
}

static void poll_cancel_many(exs_executor *x, exs_future **calls, size_t n, exs_cause cause)
{
	struct poll *p = exsi_state(x);

	if (cause == EXS_CAUSE_USER)
		in_groups(p, calls, n, conclude_users);
	else
		send_off(p, calls, n);
}

static exs_step poll_cancel(exs_executor *x, exs_future *f, void *slot, exs_cause cause, exs_result *r)
{
	(void)slot, (void)r;
	poll_cancel_many(x, &f, 1, cause);
	return EXS_HELD;
}

static void conclude_leavers(struct poll *p, exs_descriptor *d, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		exs_future *f = d[i].call;
		struct slot *s = exsi_slot(f, p->x);
		exs_result r = exs_cancelled();
		pthread_mutex_lock(&p->lock);
		unlink_slot(s);
		exs_result value = s->value;
		pthread_mutex_unlock(&p->lock);
		exs_result_clear(&value);
		if (s->has_stash)
			exs_result_clear(&s->stash);
		exs_call_resume(f, p->x, EXS_UP, &r);
	}
}

/* --- the poll thread --- */

static void grow(struct poll *p, size_t n)
{
	if (n <= p->batch.room)
		return;
	exs_descriptor *d = exsi_alloc_array(2 * n, sizeof(*d));
	exs_descriptor **list = exsi_alloc_array(2 * n, sizeof(*list));
	if (!d || !list) {
		exsi_free(d);
		exsi_free(list);
		exsi_log(EXS_LOG_ERROR, p->x->name, "poll: out of memory: only the oldest %zu of %zu are asked for",
			 p->batch.room, n);
		return;
	}
	exsi_free(p->batch.d);
	exsi_free(p->batch.list);
	p->batch.d = d;
	p->batch.list = list;
	p->batch.room = 2 * n;
}

/* The batch: all pending calls, oldest first. */
static size_t gather(struct poll *p)
{
	size_t n = 0;

	pthread_mutex_lock(&p->lock);
	for (struct slot *s = p->pending.next; s != &p->pending && n < p->batch.room; s = s->next, n++) {
		exs_descriptor *d = &p->batch.d[n];
		*d = (exs_descriptor){.call = exsi_slot_call(s, p->x), .value = s->value.value, .poll = p};
		d->name = exs_call_name(d->call); /* now: once it is done, the layers above may be gone */
		d->root = exsi_root(d->call);
		exsi_hold(d->call);
		exsi_hold(d->root);
		d->scope = exsi_scope(d->root);
		if (d->scope)
			exsi_scope_enter(d->scope);
		s->d = p->batch.list[n] = d;
	}
	pthread_mutex_unlock(&p->lock);
	p->batch.n = n;
	return n;
}

/* Closes the batch for further yields; with an error, fails those that are still in it. */
static void scatter(struct poll *p, size_t n, exs_error *error)
{
	for (size_t i = 0; i < n; i++) {
		exs_descriptor *d = &p->batch.d[i];
		struct slot *s = exsi_slot(d->call, p->x);
		if (error)
			yield(d, exs_fail(exs_error_ref(error)));
		pthread_mutex_lock(&p->lock);
		if (s->d == d)
			s->d = NULL;
		pthread_mutex_unlock(&p->lock);
		exs_result_clear(&d->owned);
		exsi_drop(d->root);
		exsi_drop(d->call);
		if (d->scope)
			exsi_scope_leave(d->scope);
		d->scope = NULL;
	}
	p->batch.n = 0;
	exs_error_unref(error);
}

static double interval(struct poll *p)
{
	const exs_poll_options *o = &p->options;
	double cap = o->interval, age = 0;

	if (!(o->first_interval > 0))
		return cap;
	uint64_t now = exsi_clock_ns(p->x->clock);
	pthread_mutex_lock(&p->lock);
	if (p->n)
		age = (double)(now - p->pending.prev->joined) / 1e9;
	pthread_mutex_unlock(&p->lock);
	double d = age / 2 > o->first_interval ? age / 2 : o->first_interval;
	return d < cap ? d : cap;
}

static void plan_next(struct poll *p, double delay)
{
	uint64_t ns;

	pthread_mutex_lock(&p->lock);
	bool idle = !p->n && !p->options.poll_empty; /* whoever joins says so */
	pthread_mutex_unlock(&p->lock);
	if (!exsi_duration(delay, &ns)) {
		exsi_log(EXS_LOG_ERROR, p->x->name, "poll: a delay of %g seconds: the interval is taken instead",
			 delay);
		exsi_duration(interval(p), &ns);
	}
	if (ns == 0)
		atomic_store(&p->due, true);
	else if (ns != EXSI_NEVER && !idle)
		exsi_timer_arm(p->x->clock, &p->timer, exsi_after(exsi_clock_ns(p->x->clock), ns), NULL);
}

static void poll_once(struct poll *p)
{
	double delay;

	exsi_timer_disarm(p->x->clock, &p->timer);
	atomic_store(&p->due, false);
	pthread_mutex_lock(&p->lock);
	size_t pending = p->n; /* who joins after this says so once more */
	pthread_mutex_unlock(&p->lock);
	grow(p, pending);
	size_t n = gather(p);
	delay = interval(p);
	exs_error *error = p->poll_fn(p->ctx, p->batch.list, n, &delay);
	if (error)
		exsi_log(EXS_LOG_WARNING, p->x->name, "poll: %s", exs_error_message(error));
	bool failed = error;
	scatter(p, n, error);
	plan_next(p, failed ? interval(p) : delay);
}

static bool poll_expire(struct exsi_timer *timer)
{
	struct poll *p = EXSI_CONTAINER_OF(timer, struct poll, timer);

	atomic_store(&p->due, true);
	ring(p);
	return false;
}

/* Those that a timeout or shutdown took: they stay linked until each goes up, so that each() still finds them. */
static void see_off(struct poll *p, size_t n)
{
	exs_future *few[FEW], **calls = n > FEW ? exsi_alloc_array(n, sizeof(exs_future *)) : few;
	size_t room = calls ? n : FEW, k = 0;

	calls = calls ? calls : few;
	pthread_mutex_lock(&p->lock);
	for (struct slot *s = p->leaving.next; s != &p->leaving && k < room; s = s->next)
		calls[k++] = exsi_slot_call(s, p->x);
	pthread_mutex_unlock(&p->lock);
	in_groups(p, calls, k, conclude_leavers);
	if (calls != few)
		exsi_free(calls);
}

static size_t count(struct slot *list)
{
	size_t n = 0;

	for (struct slot *s = list->next; s != list; s = s->next)
		n++;
	return n;
}

enum work { WORK_NONE, WORK_STOP, WORK_LEAVERS, WORK_POLL };

/* What there is to do now. */
static enum work next_work(struct poll *p)
{
	enum work work = WORK_NONE;

	pthread_mutex_lock(&p->lock);
	if (p->leaving.next != &p->leaving)
		work = WORK_LEAVERS;
	else if (p->stop)
		work = WORK_STOP;
	else if (atomic_load(&p->due) && (p->n || p->options.poll_empty))
		work = WORK_POLL;
	pthread_mutex_unlock(&p->lock);
	return work;
}

static void do_work(struct poll *p, enum work work)
{
	if (work == WORK_POLL) {
		poll_once(p);
		return;
	}
	pthread_mutex_lock(&p->lock);
	size_t leavers = count(&p->leaving);
	pthread_mutex_unlock(&p->lock);
	see_off(p, leavers);
}

/* --- waiting on the poll thread, in a callback --- */

static bool poll_help(struct exsi_worker *w, exs_future *f)
{
	(void)w, (void)f;
	return false;
}

static bool goes_through(exs_future *f, void *layer)
{
	bool through = false;

	exsi_pin();
	if (!exs_future_is_done(f) && f->source->time_left) /* not a promise */
		through = exsi_uses(exsi_top(f), layer);
	exsi_unpin();
	return through;
}

/* Is f a call that this thread has to poll? */
static bool poll_concerns(struct exsi_worker *w, exs_future *f)
{
	struct poll *p = EXSI_CONTAINER_OF(w, struct poll, worker);

	return exsi_find_work(f, goes_through, p->x);
}

static int poll_block(struct exsi_worker *w, bool concerned, const struct exsi_nudge *nudge)
{
	(void)w, (void)nudge;
	return concerned ? EXS_EDEADLK : EXS_OK;
}

static void poll_unblock(struct exsi_worker *w)
{
	(void)w;
}

static bool list_holds(struct poll *p, struct slot *list, const void *scope)
{
	for (struct slot *s = list->next; s != list; s = s->next)
		if (exsi_scope_of(exsi_slot_call(s, p->x)) == scope)
			return true;
	return false;
}

static bool poll_holds(struct exsi_worker *w, const void *scope)
{
	struct poll *p = EXSI_CONTAINER_OF(w, struct poll, worker);

	pthread_mutex_lock(&p->lock);
	bool holds = list_holds(p, &p->pending, scope) || list_holds(p, &p->leaving, scope);
	pthread_mutex_unlock(&p->lock);
	for (size_t i = 0; i < p->batch.n && !holds; i++)
		holds = p->batch.d[i].scope == scope;
	return holds;
}

static void poll_main(void *arg)
{
	struct poll *p = arg;
	struct exsi_frame frame;

	exsi_self()->worker = &p->worker;
	exsi_frame_push(&frame, p->x);
	frame.layer = p->x;
	for (;;) {
		unsigned heard = atomic_load(&p->bell);
		enum work work = next_work(p);
		if (work == WORK_STOP)
			break;
		if (work == WORK_NONE)
			exsi_park(&p->bell, heard, EXSI_NEVER);
		else
			do_work(p, work);
	}
	exsi_frame_pop(&frame);
}

/* --- the same as a chore --- */

static struct poll *poll_of(struct exsi_chore *chore)
{
	return EXSI_CONTAINER_OF(chore, struct poll, chore);
}

static bool poll_ready(struct exsi_chore *chore)
{
	return next_work(poll_of(chore)) >= WORK_LEAVERS;
}

static void poll_turn(struct exsi_chore *chore)
{
	struct poll *p = poll_of(chore);
	struct exsi_self *self = exsi_self();
	struct exsi_worker *before = self->worker;
	struct exsi_frame frame;

	self->worker = &p->worker;
	exsi_frame_push(&frame, p->x);
	frame.layer = p->x;
	do_work(p, next_work(p));
	exsi_frame_pop(&frame);
	self->worker = before;
}

static bool is_poll(const exs_executor *x)
{
	return x->ops.cancel == poll_cancel;
}

static bool notify(exs_executor *x, bool owned, void *arg)
{
	(void)owned, (void)arg;
	if (is_poll(x)) {
		struct poll *p = exsi_state(x);
		atomic_store(&p->due, true);
		ring(p);
	}
	return false;
}

void exs_poll_notify(exs_executor *x)
{
	exsi_walk(x, true, notify, NULL);
}

/* --- the other hooks --- */

static void poll_each(exs_executor *x, exs_visit_fn *visit, void *arg)
{
	struct poll *p = exsi_state(x);

	pthread_mutex_lock(&p->lock);
	for (struct slot *s = p->pending.next; s != &p->pending; s = s->next)
		visit(exsi_slot_call(s, x), arg);
	for (struct slot *s = p->leaving.next; s != &p->leaving; s = s->next)
		visit(exsi_slot_call(s, x), arg);
	pthread_mutex_unlock(&p->lock);
}

static void poll_stop(exs_executor *x)
{
	struct poll *p = exsi_state(x);

	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_mutex_unlock(&p->lock);
	ring(p);
	if (p->chore.next)
		exsi_dismiss(&p->chore);
	exsi_crew_join(&p->crew);
	exsi_crew_fini(&p->crew);
	exsi_timer_disarm(x->clock, &p->timer);
	if (p->holds_clock)
		exsi_clock_unhold(x->clock);
	exsi_free(p->batch.d);
	exsi_free(p->batch.list);
	pthread_mutex_destroy(&p->lock);
	if (p->options.ctx_free)
		p->options.ctx_free(p->ctx);
}

static int poll_describe(exs_executor *x, char *buf, size_t size)
{
	struct poll *p = exsi_state(x);

	return snprintf(buf, size, "%gs", p->options.interval);
}

static const exs_layer_ops poll_ops = {
	.size = sizeof(exs_layer_ops),
	.type = "poll",
	.start = exs_pass_start,
	.done = poll_done,
	.cancel = poll_cancel,
	.cancel_many = poll_cancel_many,
	.each = poll_each,
	.stop = poll_stop,
	.describe = poll_describe,
};

/* --- made --- */

static const char *check(exs_poll_fn *poll_fn, exs_poll_options *o)
{
	uint64_t ns;

	if (!poll_fn)
		return "poll_fn is NULL";
	if (!exsi_duration(o->interval, &ns) || !exsi_duration(o->first_interval, &ns))
		return "interval, first_interval: seconds, 0 or more";
	o->interval = exsi_option_seconds(o->interval, 5.0);
	return NULL;
}

/* Thread (or chore) and clock; the state is complete enough for poll_stop in any case. */
static bool begin(struct poll *p)
{
	char name[48];
	struct exsi_turner *turner = exsi_clock_turner(p->x->clock);
	int rc = exsi_clock_hold(p->x->clock);

	p->holds_clock = !rc;
	if (turner) {
		exsi_enlist(turner, &p->chore);
		return true;
	}
	snprintf(name, sizeof(name), "%.10s-poll", *p->x->name ? p->x->name : "exs");
	if (!rc)
		rc = exsi_crew_start(&p->crew, name, 0, poll_main, p);
	if (rc)
		exsi_fail_errno(rc, "poll: no thread");
	return !rc;
}

static exs_executor *give_up(exs_executor *ex, void *ctx, const exs_poll_options *o)
{
	exs_executor_free(ex);
	if (o->ctx_free)
		o->ctx_free(ctx);
	return NULL;
}

exs_executor *exs_with_poll_sized(exs_executor *ex, exs_poll_fn *poll_fn, exs_cancel_fn *cancel_fn, void *ctx,
				  const exs_poll_options *options, size_t size)
{
	exs_poll_options o;
	bool known = exsi_options(&o, sizeof(o), options, size);
	const char *wrong = known ? check(poll_fn, &o) : "options that this library does not know";

	if (ex && wrong)
		exsi_fail(EXS_EINVAL, "exs_with_poll: %s", wrong);
	if (!ex || wrong)
		return give_up(ex, ctx, &o);
	exs_executor *x = exs_layer_new(&poll_ops, ex, sizeof(struct poll), sizeof(struct slot));
	if (!x)
		return give_up(NULL, ctx, &o);
	struct poll *p = exsi_state(x);
	p->x = x;
	p->poll_fn = poll_fn;
	p->cancel_fn = cancel_fn;
	p->ctx = ctx;
	p->options = o;
	p->worker = (struct exsi_worker){poll_help, poll_concerns, poll_block, poll_unblock, poll_holds, NULL, NULL};
	p->chore = (struct exsi_chore){.ready = poll_ready, .turn = poll_turn};
	p->kind.expire = poll_expire;
	p->timer.kind = &p->kind;
	atomic_init(&p->bell, 0);
	atomic_init(&p->due, o.poll_empty);
	exsi_crew_init(&p->crew);
	pthread_mutex_init(&p->lock, NULL);
	p->pending.next = p->pending.prev = &p->pending;
	p->leaving.next = p->leaving.prev = &p->leaving;
	grow(p, FEW);
	if (p->batch.room && begin(p))
		return x;
	if (!p->batch.room)
		exsi_fail(EXS_ENOMEM, "exs_with_poll: out of memory");
	exs_executor_free(x); /* frees ctx as well */
	return NULL;
}
